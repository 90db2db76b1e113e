//! The servers that are measured: ours, Debian's nginx with nginx-rtmp, and Rushls, each a child process (or a tree of
//! them) on ports of its own, in a temporary folder, set to the same job: segments of 1 s, parts of 200 ms where there
//! are parts, a window of 12 s, no access log.
//!
//! Rushls 0.2.0 ends the publish of this recording (30 fps in whole milliseconds, two B-frames) at every part target that
//! was tried from 100 to 334 ms ("part repair exceeded"); it is given 500 ms, which costs it fewer requests than 200 ms.
//!
//! nginx keeps its HLS on tmpfs (`/dev/shm`): it shall not wait for a disk. A server is killed and its folder removed when
//! dropped.

use std::{
    fmt, fs, io,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    daemon::{Config, Daemon},
    host::Usage,
};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Peer {
    Vitrine,
    Nginx,
    Rushls,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Vitrine => "Vitrine",
            Self::Nginx => "nginx (rtmp)",
            Self::Rushls => "Rushls",
        })
    }
}

/// A running server.
pub(super) struct Server {
    pub(super) peer: Peer,
    pub(super) rtmp: SocketAddr,
    pub(super) http: SocketAddr,
    /// Where it speaks TLS, if asked to.
    pub(super) https: Option<SocketAddr>,
    process: Process,
}

enum Process {
    Ours(Daemon),
    Theirs { child: Child, folder: TempDir },
}

/// Names of streams that can be published: `s0`, `s1`...
const STREAMS: usize = 50;

/// How long a server may take to open its ports.
const PATIENCE: Duration = Duration::from_secs(20);

impl Server {
    /// Starts one.
    ///
    /// # Errors
    /// The system's, or `NotFound` when the program is missing.
    pub(super) fn start(peer: Peer, tls: bool) -> io::Result<Self> {
        match peer {
            Peer::Vitrine => Ok(Self::ours(tls)),
            Peer::Nginx => Self::theirs(peer, "/dev/shm", tls),
            Peer::Rushls => Self::theirs(peer, "/tmp", tls),
        }
    }

    fn ours(tls: bool) -> Self {
        // Every viewer of a proof comes from one address.
        let mut config = Config::new()
            .log("warn")
            .http("max_connections_per_address = 16384");
        for stream in names(STREAMS) {
            config = config.key(&stream, &stream);
        }
        let daemon = Daemon::start(&if tls { config.tls() } else { config });
        Self {
            peer: Peer::Vitrine,
            rtmp: daemon.address("rtmp"),
            http: daemon.address("http"),
            https: tls.then(|| daemon.address("https")),
            process: Process::Ours(daemon),
        }
    }

    fn theirs(peer: Peer, place: &str, tls: bool) -> io::Result<Self> {
        let folder = TempDir::with_prefix_in("vitrine-proof-", place)?;
        let [rtmp, http, https] = [free_port()?, free_port()?, free_port()?];
        let path = folder.path();
        let mut command = match peer {
            Peer::Nginx => nginx(path, rtmp, http, tls.then_some(https))?,
            _ => rushls(path, rtmp, http)?,
        };
        let log = fs::File::create(path.join("log"))?;
        let child = command
            .current_dir(path)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let server = Self {
            peer,
            rtmp,
            http,
            https: tls.then_some(https),
            process: Process::Theirs { child, folder },
        };
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(rtmp).is_err() || TcpStream::connect(http).is_err() {
            if Instant::now() > end {
                let log = fs::read_to_string(server.folder().join("log"))?;
                return Err(io::Error::other(format!("{peer} does not start: {log}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// CPU and memory of all its processes so far.
    pub(super) fn usage(&self) -> Usage {
        Usage::of_tree(match &self.process {
            Process::Ours(daemon) => daemon.pid(),
            Process::Theirs { child, .. } => child.id(),
        })
    }

    /// The folder whose `www` nginx serves at `/`.
    pub(super) fn folder(&self) -> &Path {
        match &self.process {
            Process::Ours(_) => Path::new("/nonexistent"),
            Process::Theirs { folder, .. } => folder.path(),
        }
    }

    /// The certificate of its TLS, PEM.
    pub(super) fn certificate(&self) -> io::Result<Vec<u8>> {
        match &self.process {
            Process::Ours(daemon) => Ok(daemon.certificate()),
            Process::Theirs { folder, .. } => fs::read(folder.path().join("cert.pem")),
        }
    }

    /// The path of the playlist that is published about `stream`: a multivariant one, or nginx-rtmp's only one.
    pub(super) fn entry(&self, stream: &str) -> String {
        match self.peer {
            Peer::Nginx => format!("/hls/{stream}.m3u8"),
            Peer::Vitrine | Peer::Rushls => format!("/live/{stream}/index.m3u8"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Process::Theirs { child, .. } = &mut self.process {
            // A master that is asked takes its workers along; one that is killed leaves them.
            let pid = child.id().to_string();
            let _ = Command::new("kill").args(["-TERM", &pid]).status();
            let end = Instant::now() + Duration::from_secs(5);
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The first `count` names that can be published.
pub(super) fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("s{number}")).collect()
}

fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn nginx(
    folder: &Path,
    rtmp: SocketAddr,
    http: SocketAddr,
    https: Option<SocketAddr>,
) -> io::Result<Command> {
    fs::create_dir_all(folder.join("www/hls"))?;
    let tls = match https {
        None => String::new(),
        Some(https) => {
            crate::daemon::write_certificate(folder);
            format!(
                "listen {https} ssl http2; ssl_certificate cert.pem; ssl_certificate_key key.pem;"
            )
        }
    };
    let folder = folder.display();
    // `user root`: the workers write into a folder of ours; for others the line is a warning.
    let text = format!(
        "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
daemon off; user root; worker_processes auto; worker_rlimit_nofile 40000;
pid {folder}/pid; error_log {folder}/error.log warn;
events {{ worker_connections 20000; }}
rtmp {{ server {{ listen {rtmp}; chunk_size 4096;
  application live {{ live on; hls on; hls_path {folder}/www/hls; hls_fragment 1s; hls_playlist_length 12s; }} }} }}
http {{
  include /etc/nginx/mime.types; types {{ application/vnd.apple.mpegurl m3u8; video/mp2t ts; video/mp4 m4s; }}
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on;
  keepalive_timeout 75s; keepalive_requests 100000000;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen {http} backlog=1024; {tls} root {folder}/www; }}
}}
"
    );
    fs::write(format!("{folder}/nginx.conf"), text)?;
    let program = ["/usr/sbin/nginx", "nginx"];
    let program = program.iter().find(|path| Path::new(path).exists());
    let mut command = Command::new(program.unwrap_or(&"nginx"));
    command.args(["-p", &folder.to_string(), "-c", "nginx.conf"]);
    Ok(command)
}

fn rushls(folder: &Path, rtmp: SocketAddr, http: SocketAddr) -> io::Result<Command> {
    let srt = free_port()?;
    let text = format!(
        "[ingest.rtmp]\nlisten = \"{rtmp}\"\n[ingest.srt]\nlisten = \"{srt}\"\n\
         [http]\nlisten = \"{http}\"\nmax_connections = 20000\nmax_requests = 20000\n\
         [hls]\nsegment = \"1s\"\npart = \"500ms\"\nwindow = \"12s\"\nscrubbing = false\n[log]\nlevel = \"warn\"\n"
    );
    fs::write(folder.join("rushls.toml"), text)?;
    let mut command = Command::new(rushls_program()?);
    command.args(["--config", "rushls.toml"]);
    Ok(command)
}

/// `RUSHLS`, or where `make proof-peers` installs it.
fn rushls_program() -> io::Result<PathBuf> {
    if let Some(program) = std::env::var_os("RUSHLS") {
        return Ok(program.into());
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let program = cache.map(|cache| cache.join("vitrine/peers/bin/rushls"));
    program.filter(|path| path.exists()).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "no rushls: run `make proof-peers`, or set RUSHLS",
        )
    })
}
