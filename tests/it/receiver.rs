//! An endpoint of callbacks: plain HTTP/1.1 on a port the system chose, that keeps all it is sent and answers as it is told.
//!
//! What arrives is noted in the order in which requests were whole, before anything is answered: what was noted has left the
//! sender, whatever becomes of the answer.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Method, target and version.
    pub(crate) line: String,
    /// By name, in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// As sent.
    pub(crate) body: Vec<u8>,
    /// When it was whole.
    #[allow(dead_code, reason = "for the proofs")]
    pub(crate) at: Instant,
    /// The status it was answered with, if it was.
    pub(crate) answered: Option<u16>,
}

impl Call {
    /// `webhook-id`
    pub(crate) fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    /// The body.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// Its `data.hook_seq`.
    pub(crate) fn hook_seq(&self) -> u64 {
        self.json()["data"]["hook_seq"].as_u64().expect("a number")
    }
}

/// What a request meets with.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A status, with lines of headers (each ended by CRLF), and an empty body.
    Status(u16, String),
    /// The connection ends.
    Close,
    /// Nothing, for ever.
    Hang,
}

impl Reply {
    /// A status and nothing else.
    pub(crate) fn status(status: u16) -> Self {
        Self::Status(status, String::new())
    }
}

/// A running endpoint; it ends when dropped.
pub(crate) struct Receiver {
    url: String,
    calls: Arc<Mutex<Vec<Call>>>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// Listens, and answers each request with what `reply` says; it is given how many there were before.
    pub(crate) async fn start(
        reply: impl Fn(&Call, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let calls = Arc::<Mutex<Vec<Call>>>::default();
        let (noted, reply) = (calls.clone(), Arc::new(reply));
        let task = tokio::spawn(async move {
            // Connections end with the listener.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (noted, reply) = (noted.clone(), reply.clone());
                connections.spawn(async move { serve(socket, &noted, &*reply).await });
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            url: format!("http://{address}"),
            calls,
            task,
        }
    }

    /// Answers everything with 204.
    pub(crate) async fn willing() -> Self {
        Self::start(|_, _| Reply::status(204)).await
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// What has come so far.
    pub(crate) fn calls(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().expect("nobody panics with it")
    }

    /// Waits until `enough`, generously.
    pub(crate) async fn wait(&self, what: &str, enough: impl Fn(&[Call]) -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !enough(&self.calls()) {
            let came = self.calls().len();
            assert!(Instant::now() < end, "{what}: {came} calls came");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut socket: TcpStream,
    calls: &Mutex<Vec<Call>>,
    reply: &(dyn Fn(&Call, usize) -> Reply + Send + Sync),
) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(call) = read(&mut socket, &mut buffer).await? {
        let reply = {
            let mut calls = calls.lock().expect("nobody panics with it");
            let index = calls.len();
            let reply = reply(&call, index);
            calls.push(call);
            if let Reply::Status(status, _) = reply {
                calls[index].answered = Some(status);
            }
            reply
        };
        match reply {
            Reply::Close => return Ok(()),
            Reply::Hang => std::future::pending().await,
            Reply::Status(status, headers) => {
                let length = if status == 204 {
                    ""
                } else {
                    "content-length: 0\r\n"
                };
                let answer = format!("HTTP/1.1 {status} Status\r\n{length}{headers}\r\n");
                socket.write_all(answer.as_bytes()).await?;
            }
        }
    }
    Ok(())
}

/// The next request; `None` when the other side has ended.
async fn read(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Call>> {
    let head = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if socket.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let text = String::from_utf8_lossy(&buffer[..head]).into_owned();
    let mut lines = text.lines();
    let line = lines.next().unwrap_or_default().to_owned();
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_lowercase(), value.trim().to_owned()))
    };
    let headers: BTreeMap<_, _> = lines.filter_map(header).collect();
    let length = headers.get("content-length");
    let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    while buffer.len() < head + length {
        if socket.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let body = buffer[head..head + length].to_vec();
    buffer.drain(..head + length);
    Ok(Some(Call {
        line,
        headers,
        body,
        at: Instant::now(),
        answered: None,
    }))
}
