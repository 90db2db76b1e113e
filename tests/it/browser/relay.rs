//! A cable between an encoder and the daemon that can be pulled out: a TCP relay of our own.
//!
//! What is cut are the connections of that moment; the next one passes again. [`Cut::Silence`] is a pulled cable: both ends
//! stay open and neither hears a word, no FIN, no RST. The relay also tells when media began to flow, which it knows by the
//! daemon's `NetStream.Publish.Start`.

use std::{
    future,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// How connections are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Nothing passes any more, and nobody is told.
    Silence,
    /// A TCP reset to both ends.
    Reset,
}

/// The relay; its end takes the connections with it.
pub(super) struct Relay {
    address: SocketAddr,
    cut: watch::Sender<Option<Cut>>,
    flows: Arc<Mutex<Vec<i64>>>,
    task: JoinHandle<()>,
}

impl Relay {
    /// A relay to `daemon`.
    pub(super) async fn start(daemon: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let (cut, _) = watch::channel(None);
        let flows = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(accept(listener, daemon, cut.clone(), Arc::clone(&flows)));
        Self {
            address,
            cut,
            flows,
            task,
        }
    }

    /// Where an encoder with `key` publishes.
    pub(super) fn publish_url(&self, key: &str) -> String {
        format!("rtmp://{}/live/{key}", self.address)
    }

    /// Cuts every connection there is now.
    pub(super) fn cut(&self, how: Cut) {
        self.cut.send_replace(Some(how));
    }

    /// When the first media of publish number `index` passed: milliseconds since 1970.
    pub(super) async fn media_began(&self, index: usize) -> i64 {
        loop {
            if let Some(at) = self.flows.lock().expect("no holder panics").get(index) {
                return *at;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Milliseconds since 1970, as pages count them.
pub(super) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.expect("after 1970").as_millis()).expect("before the year 292277026")
}

async fn accept(
    listener: TcpListener,
    daemon: SocketAddr,
    cut: watch::Sender<Option<Cut>>,
    flows: Arc<Mutex<Vec<i64>>>,
) {
    let mut cables = tokio::task::JoinSet::new();
    loop {
        let (encoder, _) = listener.accept().await.expect("the relay accepts");
        let mut cut = cut.subscribe();
        let flows = Arc::clone(&flows);
        cables.spawn(async move {
            let Ok(mut daemon) = TcpStream::connect(daemon).await else {
                return;
            };
            let mut encoder = encoder;
            tokio::select! {
                () = pass(&mut encoder, &mut daemon, &flows) => {}
                Ok(()) = cut.changed() => {
                    let how = *cut.borrow();
                    match how {
                    Some(Cut::Silence) => future::pending().await,
                    Some(Cut::Reset) => for socket in [&encoder, &daemon] {
                        socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO)).expect("a socket");
                    },
                    None => {}
                }},
            }
        });
    }
}

/// Passes bytes on until either side hangs up.
async fn pass(encoder: &mut TcpStream, daemon: &mut TcpStream, flows: &Mutex<Vec<i64>>) {
    const ACCEPTED: &[u8] = b"NetStream.Publish.Start";
    let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 4 << 10]);
    let mut answers = Vec::new();
    let mut flows_now = false;
    loop {
        tokio::select! {
            read = encoder.read(&mut up) => {
                let Some(count) = read.ok().filter(|count| *count > 0) else { return };
                if !flows_now && answers.windows(ACCEPTED.len()).any(|window| window == ACCEPTED) {
                    flows_now = true;
                    flows.lock().expect("no holder panics").push(wall_ms());
                }
                if daemon.write_all(&up[..count]).await.is_err() { return }
            }
            read = daemon.read(&mut down) => {
                let Some(count) = read.ok().filter(|count| *count > 0) else { return };
                if !flows_now { answers.extend_from_slice(&down[..count]); }
                if encoder.write_all(&down[..count]).await.is_err() { return }
            }
        }
    }
}
