//! Real edges as child processes: Debian's Varnish and nginx with the configurations of `conf/edge/`, in folders of their
//! own on ports of their own; and a [`Tap`] between edge and origin that notes every request.
//!
//! Only site values are changed: addresses, folders, the user. A configuration that lost one of them fails the start.
//! Dropping an [`Edge`] ends its processes; nothing here touches the system's services.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream},
};

/// How long an edge may take to answer its first request.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Varnish,
    Nginx,
}

/// nginx never asks twice for what it waits for: as strict as Varnish, at up to 500 ms.
pub(crate) const STRICT: &[(&str, &str)] = &[(
    "proxy_cache_lock_timeout 250ms;",
    "proxy_cache_lock_timeout 30s;",
)];

/// A running edge.
pub(crate) struct Edge {
    child: Child,
    folder: TempDir,
    address: SocketAddr,
}

impl Edge {
    /// Starts an edge before two origins (or one, given twice), with `edits` of its configuration, and waits until a
    /// request comes through to an origin.
    pub(crate) async fn start(
        kind: Kind,
        origins: [SocketAddr; 2],
        edits: &[(&str, &str)],
    ) -> Self {
        let folder = TempDir::with_prefix("vitrine-edge-").expect("a temporary folder");
        let address = free_address();
        let mut command = match kind {
            Kind::Varnish => varnish(folder.path(), address, origins, edits),
            Kind::Nginx => nginx(folder.path(), address, origins, edits),
        };
        let log = fs::File::create(folder.path().join("log")).expect("a log");
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{kind:?} does not start: {error}"));
        let mut edge = Self {
            child,
            folder,
            address,
        };
        edge.wait().await;
        edge
    }

    async fn wait(&mut self) {
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).await.is_err() {
            let ended = self.child.try_wait().expect("our own child");
            let late = Instant::now() > end;
            assert!(ended.is_none() && !late, "no edge: {}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Where it listens.
    #[allow(dead_code)] // asked for by the proofs
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its first process and what it forked.
    #[allow(dead_code)] // asked for by the proofs
    pub(crate) fn pids(&self) -> Vec<u32> {
        let mut pids = vec![self.child.id()];
        let path = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = fs::read_to_string(path).unwrap_or_default();
        pids.extend(
            children
                .split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
        pids
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // Both have children of their own, which they take along when asked.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the edge's last words ---\n{}", self.log());
        }
    }
}

fn varnish(
    folder: &Path,
    address: SocketAddr,
    origins: [SocketAddr; 2],
    edits: &[(&str, &str)],
) -> Command {
    let mut text = configuration("varnish.vcl");
    for origin in origins {
        text = once(&text, "\"8080\"", &format!("\"{}\"", origin.port()));
    }
    let path = written(folder, "vitrine.vcl", text, edits);
    let mut command = server("varnishd");
    // Its own jail needs users that a test has not.
    command.args(["-F", "-j", "none", "-T", "none", "-s", "malloc,256M"]);
    command.args(["-p", "thread_pool_min=200"]);
    command.arg("-a").arg(address.to_string());
    command.arg("-n").arg(folder.join("varnish"));
    command.arg("-f").arg(path);
    command
}

fn nginx(
    folder: &Path,
    address: SocketAddr,
    origins: [SocketAddr; 2],
    edits: &[(&str, &str)],
) -> Command {
    let mut text = configuration("nginx.conf");
    for origin in origins {
        text = once(&text, "server 127.0.0.1:8080", &format!("server {origin}"));
    }
    text = once(&text, "listen 80;", &format!("listen {address};"));
    let cache = folder.join("cache").display().to_string();
    text = once(&text, "/var/cache/vitrine", &cache);
    let root = fs::metadata(folder).expect("just made").uid() == 0;
    text = once(
        &text,
        "user www-data;",
        if root { "user root;" } else { "" },
    );
    let own = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| {
        let path = folder.join(kind);
        format!("{kind}_temp_path {};\n", path.display())
    });
    text = once(&text, "http {\n", &format!("http {{\n{}", own.concat()));
    let path = written(folder, "nginx.conf", text, edits);
    let mut command = server("nginx");
    command.arg("-p").arg(folder).arg("-e").arg("stderr");
    command.arg("-c").arg(path);
    let pid = folder.join("pid");
    command
        .arg("-g")
        .arg(format!("daemon off; pid {};", pid.display()));
    command
}

fn configuration(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("conf/edge")
        .join(name);
    fs::read_to_string(path).expect("part of the product")
}

fn written(folder: &Path, name: &str, mut text: String, edits: &[(&str, &str)]) -> PathBuf {
    for (from, to) in edits {
        if text.contains(from) {
            text = once(&text, from, to);
        }
    }
    let path = folder.join(name);
    fs::write(&path, text).expect("written");
    path
}

/// The text with a site value put in; it must be there.
fn once(text: &str, from: &str, to: &str) -> String {
    assert!(
        text.contains(from),
        "{from:?} is gone from the configuration"
    );
    text.replacen(from, to, 1)
}

/// A server program; a user's PATH may lack sbin.
fn server(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    let found = Path::new("/usr/sbin").join(name);
    if found.exists() {
        command = Command::new(found);
    }
    command.env("PATH", format!("{path}:/usr/sbin"));
    command
}

/// An address nobody listens on now; neither edge can say which port the system chose for it.
pub(crate) fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("bound")
}

/// One request as the origin got it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    /// Path and query.
    pub(crate) target: String,
    /// The form that was asked for.
    pub(crate) gzip: bool,
}

/// A relay to an origin that notes what is asked for. Its requests have no bodies.
#[derive(Clone)]
pub(crate) struct Tap(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    origin: Mutex<SocketAddr>,
    seen: Mutex<Vec<Seen>>,
    verdicts: Mutex<Vec<String>>,
}

impl Tap {
    /// A relay to `origin`, which lives as long as the runtime.
    pub(crate) async fn start(origin: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let tap = Self(Arc::new(Inner {
            address: listener.local_addr().expect("bound"),
            origin: Mutex::new(origin),
            seen: Mutex::default(),
            verdicts: Mutex::default(),
        }));
        let relay = tap.clone();
        tokio::spawn(async move {
            while let Ok((edge, _)) = listener.accept().await {
                tokio::spawn(relay.clone().relay(edge));
            }
        });
        tap
    }

    /// Where the edge connects.
    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Relays new connections to another origin.
    pub(crate) fn aim(&self, origin: SocketAddr) {
        *lock(&self.0.origin) = origin;
    }

    /// What was asked about viewers so far: `/live/~<token>/<stream>/verify/...`.
    #[allow(dead_code)] // the proofs ask nothing of the kind
    pub(crate) fn verdicts(&self) -> Vec<String> {
        lock(&self.0.verdicts).clone()
    }

    /// All playback requests so far, health checks and verdicts left out.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.0.seen).clone()
    }

    /// How often `target` was asked for, in any form.
    pub(crate) fn count(&self, target: &str) -> usize {
        let seen = lock(&self.0.seen);
        seen.iter().filter(|seen| seen.target == target).count()
    }

    async fn relay(self, edge: TcpStream) {
        let origin = *lock(&self.0.origin);
        let Ok(origin) = TcpStream::connect(origin).await else {
            return;
        };
        let _ = (edge.set_nodelay(true), origin.set_nodelay(true));
        let (mut from_edge, mut to_edge) = edge.into_split();
        let (mut from_origin, mut to_origin) = origin.into_split();
        let back = tokio::spawn(async move {
            let _ = copy(&mut from_origin, &mut to_edge).await;
        });
        let (mut buffer, mut head) = ([0; 16 * 1024], Vec::new());
        while let Ok(count @ 1..) = from_edge.read(&mut buffer).await {
            head.extend_from_slice(&buffer[..count]);
            while let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                let text: Vec<u8> = head.drain(..end + 4).collect();
                self.note(&String::from_utf8_lossy(&text));
            }
            if to_origin.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
        let _ = to_origin.shutdown().await;
        let _ = back.await;
    }

    fn note(&self, head: &str) {
        let mut words = head.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return;
        };
        if target.contains("/verify/") {
            lock(&self.0.verdicts).push(target.to_owned());
        } else if method != "OPTIONS" {
            let gzip = head.lines().any(|line| {
                let line = line.to_lowercase();
                line.starts_with("accept-encoding:") && line.contains("gzip")
            });
            lock(&self.0.seen).push(Seen {
                target: target.to_owned(),
                gzip,
            });
        }
    }
}

/// What is behind it is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
