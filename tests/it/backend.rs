//! A tiny backend of hooks over HTTP/1.1: notes what it is asked and answers what the test says, or misbehaves as it says.
//!
//! A [`Behave`] gets the request and the socket itself, so that it can trickle, stall or close where it likes; [`answer`]
//! is the usual one. One thread per connection; dropping a [`Backend`] stops listening.

use std::{
    fmt::Write as _,
    io::{self, Read as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// The secret that daemon and backend share.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// `/ask`
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    /// The value of a header; empty without.
    pub(crate) fn header(&self, wanted: &str) -> &str {
        let mut headers = self.headers.iter();
        headers
            .find(|(name, _)| name == wanted)
            .map_or("", |(_, value)| value)
    }
}

/// What becomes of a request.
pub(crate) type Behave = dyn Fn(&Asked, &mut TcpStream) -> io::Result<()> + Send + Sync;

/// A running backend.
pub(crate) struct Backend {
    address: SocketAddr,
    behave: Arc<Mutex<Arc<Behave>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    stopped: Arc<AtomicBool>,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
}

impl Backend {
    /// Listens where the system chooses.
    pub(crate) fn start(
        behave: impl Fn(&Asked, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let behave: Arc<Behave> = Arc::new(behave);
        let backend = Self {
            address: listener.local_addr().expect("bound"),
            behave: Arc::new(Mutex::new(behave)),
            asked: Arc::default(),
            stopped: Arc::default(),
            sockets: Arc::default(),
        };
        let (behave, asked) = (Arc::clone(&backend.behave), Arc::clone(&backend.asked));
        let (stopped, sockets) = (Arc::clone(&backend.stopped), Arc::clone(&backend.sockets));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (behave, asked) = (Arc::clone(&behave), Arc::clone(&asked));
                let kept = socket.try_clone().expect("a second handle");
                sockets.lock().expect("no panic").push(kept);
                // Who asks may hang up at any time.
                std::thread::spawn(move || drop(serve(socket, &behave, &asked)));
            }
        });
        backend
    }

    /// Behaves otherwise from the next request on.
    pub(crate) fn behave(
        &self,
        behave: impl Fn(&Asked, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) {
        *self.behave.lock().expect("no panic") = Arc::new(behave);
    }

    /// All that was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }

    /// Waits until something like it was asked; gives all of it.
    pub(crate) fn wait_for(&self, wanted: impl Fn(&[Asked]) -> bool) -> Vec<Asked> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let asked = self.asked();
            if wanted(&asked) {
                return asked;
            }
            assert!(Instant::now() < end, "never asked: {asked:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Is gone: connections are closed, and whoever connects anew is refused.
    pub(crate) fn stop(&self) {
        if !self.stopped.swap(true, Ordering::Relaxed) {
            // Wakes the listener.
            let _ = TcpStream::connect(self.address);
            for socket in self.sockets.lock().expect("no panic").drain(..) {
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(
    mut socket: TcpStream,
    behave: &Mutex<Arc<Behave>>,
    asked: &Mutex<Vec<Asked>>,
) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let (request, length) = loop {
            if let Some(whole) = parse(&bytes) {
                break whole;
            }
            match socket.read(&mut buffer)? {
                0 => return Ok(()),
                read => bytes.extend(&buffer[..read]),
            }
        };
        bytes.drain(..length);
        asked.lock().expect("no panic").push(request.clone());
        let behave = Arc::clone(&*behave.lock().expect("no panic"));
        behave(&request, &mut socket)?;
    }
}

/// A whole request and its length.
pub(crate) fn parse(bytes: &[u8]) -> Option<(Asked, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(bytes).expect("HTTP") {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => return None,
    };
    let path = request.path.expect("whole").to_owned();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = request.headers.iter();
    let headers: Vec<_> = headers
        .map(|header| (header.name.to_lowercase(), text(header.value)))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = head + length.map_or(0, |(_, length)| length.parse().expect("a number"));
    let body = text(bytes.get(head..length)?);
    let asked = Asked {
        path,
        headers,
        body,
    };
    Some((asked, length))
}

/// An answer with this status line (`200 OK`, more headers behind it), and body.
pub(crate) fn answer(socket: &mut impl io::Write, status: &str, body: &str) -> io::Result<()> {
    let mut text = String::new();
    let _ = write!(
        text,
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(text.as_bytes())
}
