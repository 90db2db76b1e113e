//! The real daemon as a child process, on ports the system chose and a data folder of its own.
//!
//! [`Daemon::start`] writes a configuration with the names that operators write, runs the binary, and returns once every
//! door has said on standard output where it listens. All that the daemon writes is kept, in memory for assertions and in
//! a file for people; a failing test prints the end of it. Dropping a [`Daemon`] kills and reaps it; [`Exit::restart`]
//! runs another in the same folder, on the same ports.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Read, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// How long the daemon may take to open its doors, and to leave after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(30);

/// The bearer token of the control door, of which the configuration holds the SHA-256.
pub(crate) const CONTROL_TOKEN: &str = "token-of-the-integration-tests";

/// The same of a token that may only look.
pub(crate) const READ_TOKEN: &str = "token-of-those-who-look";

/// Streams that a daemon with a ladder encodes at once. Tests run few at a time, but one that ended a moment ago counts.
const MAX_ENCODED: usize = 8;

/// What a test wants of its daemon beyond the defaults.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    top: String,
    keys: Vec<(String, String)>,
    key_option: &'static str,
    /// Streams with a ladder of their own, and its name.
    ladders: BTreeMap<String, &'static str>,
    tls: bool,
    static_dir: Option<PathBuf>,
    rtmp: String,
    http: String,
    publish: String,
    hls: String,
    playback: String,
    /// `[transcode]` and what follows it; without, nothing is encoded.
    ladder: Option<String>,
    /// In place of [`MAX_ENCODED`].
    max_encoded: Option<usize>,
    preset: Option<String>,
    /// `[[hooks.endpoints]]`
    hooks: String,
    log: Option<&'static str>,
    admission: String,
    env: Vec<(&'static str, String)>,
    under: &'static [&'static str],
}

impl Config {
    /// Nothing but defaults and no stream key.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a line above all sections.
    pub(crate) fn top(mut self, line: &str) -> Self {
        self.top.push_str(line);
        self.top.push('\n');
        self
    }

    /// Lets `key` publish `stream`.
    pub(crate) fn key(mut self, key: &str, stream: &str) -> Self {
        self.keys.push((key.to_owned(), stream.to_owned()));
        self
    }

    /// Adds a line to every key.
    pub(crate) fn key_option(mut self, line: &'static str) -> Self {
        self.key_option = line;
        self
    }

    /// Makes `stream` of the ladder of this name, one of the sections in [`Self::ladder_of`].
    #[allow(dead_code, reason = "for the proofs")]
    pub(crate) fn ladder_for(mut self, stream: &str, ladder: &'static str) -> Self {
        self.ladders.insert(stream.to_owned(), ladder);
        self
    }

    /// Takes the permission of `key` back.
    pub(crate) fn without_key(mut self, key: &str) -> Self {
        self.keys.retain(|(known, _)| known != key);
        self
    }

    /// Opens the `rtmps` and `https` doors with a certificate of our own for `localhost`.
    pub(crate) fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Serves a folder at `/`.
    pub(crate) fn static_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.static_dir = Some(folder.into());
        self
    }

    /// Adds a line to `[rtmp]`.
    pub(crate) fn rtmp(mut self, line: &str) -> Self {
        self.rtmp.push_str(line);
        self.rtmp.push('\n');
        self
    }

    /// Adds a line to `[http]`.
    pub(crate) fn http(mut self, line: &str) -> Self {
        self.http.push_str(line);
        self.http.push('\n');
        self
    }

    /// Adds a line to `[publish]`.
    pub(crate) fn publish(mut self, line: &str) -> Self {
        self.publish.push_str(line);
        self.publish.push('\n');
        self
    }

    /// Adds a line to `[hls]`.
    pub(crate) fn hls(mut self, line: &str) -> Self {
        self.hls.push_str(line);
        self.hls.push('\n');
        self
    }

    /// Adds lines to `[playback]`.
    pub(crate) fn playback(mut self, lines: &str) -> Self {
        self.playback.push_str(lines);
        self.playback.push('\n');
        self
    }

    /// Makes a ladder of every broadcast, with the least work: tests of everything else want one variant, and the CPU.
    pub(crate) fn ladder(mut self) -> Self {
        self.ladder.get_or_insert_default();
        self
    }

    /// As [`Self::ladder`], of other renditions than suit the source: lines of `[ladder.default]`.
    pub(crate) fn ladder_of(mut self, lines: &str) -> Self {
        self.ladder = Some(format!("[ladder.default]\n{lines}\n"));
        self
    }

    /// Encodes no more streams at once than these.
    #[cfg(feature = "transcode")]
    pub(crate) fn max_encoded(mut self, streams: usize) -> Self {
        self.max_encoded = Some(streams);
        self
    }

    /// Lets x264 work as much as this preset says, with a ladder.
    pub(crate) fn preset(mut self, preset: &str) -> Self {
        self.preset = Some(preset.to_owned());
        self
    }

    /// Tells an endpoint with this secret of every event.
    #[allow(dead_code, reason = "for the tests")]
    pub(crate) fn hook_endpoint(mut self, url: &str, secret: &str) -> Self {
        let _ = write!(
            self.hooks,
            "[[hooks.endpoints]]\nurl = {url:?}\nsecret = [{secret:?}]\ntypes = [\"*\"]\n"
        );
        self
    }

    /// Logs at `level` instead of `debug`.
    pub(crate) fn log(mut self, level: &'static str) -> Self {
        self.log = Some(level);
        self
    }

    /// Adds a line to `[hooks]`.
    pub(crate) fn hooks(mut self, line: &str) -> Self {
        self.admission.push_str(line);
        self.admission.push('\n');
        self
    }

    /// Sets a variable of the daemon's environment.
    pub(crate) fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    /// Runs the daemon by a command that takes it and its arguments, such as valgrind.
    #[allow(dead_code, reason = "for the proofs")]
    pub(crate) fn under(mut self, command: &'static [&'static str]) -> Self {
        self.under = command;
        self
    }

    fn doors(&self) -> &'static [&'static str] {
        if self.tls {
            &["rtmp", "http", "control", "rtmps", "https"]
        } else {
            &["rtmp", "http", "control"]
        }
    }

    /// The text of the configuration file of a daemon that lives in `folder`; doors without an address in `listeners`
    /// listen where the system chooses.
    fn toml(&self, folder: &Path, listeners: &Listeners) -> String {
        let data = folder.join("data");
        let mut text = format!("data_dir = {data:?}\nnode = \"it\"\n{}", self.top);
        for door in self.doors() {
            let more = match *door {
                "rtmp" => self.rtmp.as_str(),
                "http" => self.http.as_str(),
                _ => "",
            };
            let listen = listeners
                .get(*door)
                .map_or("127.0.0.1:0".to_owned(), SocketAddr::to_string);
            let _ = write!(text, "[{door}]\nlisten = \"{listen}\"\n{more}");
            if let ("http", Some(static_dir)) = (*door, &self.static_dir) {
                let _ = writeln!(text, "static_dir = {static_dir:?}");
            }
        }
        if self.tls {
            let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
            let _ = write!(text, "[tls]\ncert = {cert:?}\nkey = {key:?}\n");
        }
        for (name, token, access) in [("it", CONTROL_TOKEN, "full"), ("look", READ_TOKEN, "read")] {
            let digest = Sha256::digest(token);
            let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = write!(
                text,
                "[[control.tokens]]\nname = \"{name}\"\nsha256 = \"{digest}\"\naccess = \"{access}\"\n"
            );
        }
        let _ = write!(text, "[publish]\n{}[hls]\n{}", self.publish, self.hls);
        let _ = write!(text, "[playback]\n{}", self.playback);
        let _ = write!(text, "[hooks]\n{}", self.admission);
        let preset = self.preset.as_deref().unwrap_or("ultrafast");
        let _ = match &self.ladder {
            None => text.write_str("[transcode]\nenabled = false\n"),
            Some(ladder) => write!(
                text,
                "[transcode]\nenabled = true\npreset = {preset:?}\nmax_streams = {}\n{ladder}",
                self.max_encoded.unwrap_or(MAX_ENCODED)
            ),
        };
        text.push_str(&self.hooks);
        for (key, stream) in &self.keys {
            let _ = write!(
                text,
                "[[publish.keys]]\nkey = {key:?}\nstream = {stream:?}\n{}\n",
                self.key_option
            );
            if let Some(ladder) = self.ladders.get(stream) {
                let _ = writeln!(text, "ladder = {ladder:?}");
            }
        }
        text
    }
}

/// Where each door listens, by its name.
type Listeners = BTreeMap<String, SocketAddr>;

/// How a daemon left, and what it left.
#[derive(Debug)]
pub(crate) struct Exit {
    /// The exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// All it wrote to standard output and standard error.
    pub(crate) written: String,
    folder: Arc<TempDir>,
    listeners: Listeners,
}

impl Exit {
    /// Runs another daemon in the same folder, on the same ports.
    pub(crate) fn restart(&self, config: &Config) -> Daemon {
        Daemon::run(config, Arc::clone(&self.folder), self.listeners.clone())
    }

    /// The folder of what outlives a daemon.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

/// A running daemon.
pub(crate) struct Daemon {
    child: Child,
    folder: Arc<TempDir>,
    listeners: Listeners,
    written: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Daemon {
    /// Runs the binary and waits for its doors.
    pub(crate) fn start(config: &Config) -> Self {
        let folder = TempDir::with_prefix("vitrine-it-").expect("a temporary folder");
        if config.tls {
            write_certificate(folder.path());
        }
        Self::run(config, Arc::new(folder), Listeners::new())
    }

    fn run(config: &Config, folder: Arc<TempDir>, listeners: Listeners) -> Self {
        fs::write(
            folder.path().join("vitrine.toml"),
            config.toml(folder.path(), &listeners),
        )
        .expect("the configuration is written");
        let binary = env!("CARGO_BIN_EXE_vitrine");
        let mut command = match config.under {
            [] => Command::new(binary),
            [under, arguments @ ..] => {
                let mut command = Command::new(under);
                command.args(arguments).arg(binary);
                command
            }
        };
        let mut child = command
            .arg("--config")
            .arg(folder.path().join("vitrine.toml"))
            .current_dir(folder.path())
            .env("RUST_LOG", config.log.unwrap_or("debug"))
            .envs(config.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the daemon starts");
        let written = Arc::new(Mutex::new(String::new()));
        let file = log_file(!listeners.is_empty());
        let (lines, listening) = mpsc::channel();
        let stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");
        let readers = vec![
            keep(stdout, &written, &file, Some(lines)),
            keep(stderr, &written, &file, None),
        ];
        let mut daemon = Self {
            child,
            folder,
            listeners: Listeners::new(),
            written,
            readers,
        };
        daemon.wait_for_doors(config, &listening);
        daemon
    }

    fn wait_for_doors(&mut self, config: &Config, lines: &mpsc::Receiver<String>) {
        let end = Instant::now() + PATIENCE;
        while config
            .doors()
            .iter()
            .any(|door| !self.listeners.contains_key(*door))
        {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = lines.recv_timeout(left) else {
                panic!("the daemon did not open its doors:\n{}", self.written());
            };
            if let Some((door, address)) = parse_listening(&line) {
                self.listeners.insert(door, address);
            }
        }
    }

    /// Its configuration file.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.folder.path().join("vitrine.toml")
    }

    /// The folder of what outlives it.
    #[allow(dead_code, reason = "for the proofs")]
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where a door listens.
    pub(crate) fn address(&self, door: &str) -> SocketAddr {
        self.listeners[door]
    }

    /// The URL to which an encoder with `key` publishes.
    pub(crate) fn publish_url(&self, key: &str) -> String {
        format!("rtmp://{}/live/{key}", self.address("rtmp"))
    }

    /// The URL of a path of the playback door.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address("http"))
    }

    /// The URL of a path of the control door.
    pub(crate) fn control_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address("control"))
    }

    /// What a path of the control door answers.
    pub(crate) async fn control(&self, path: &str) -> String {
        let client = crate::viewer::client().build().expect("a client");
        let request = client.get(self.control_url(path));
        let answer = request.bearer_auth(CONTROL_TOKEN).send().await;
        answer.expect("answered").text().await.expect("a body")
    }

    /// The certificate that clients must trust, PEM.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        fs::read(self.folder.path().join("cert.pem")).expect("started with tls")
    }

    /// Replaces the configuration file and asks for it to be read again.
    pub(crate) fn reload(&self, config: &Config) {
        let path = self.folder.path().join("vitrine.toml");
        fs::write(path, config.toml(self.folder.path(), &self.listeners))
            .expect("the configuration is written");
        self.signal("HUP");
    }

    /// Sends a signal, named without `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status()
            .expect("kill runs");
        assert!(status.success(), "the daemon is gone:\n{}", self.written());
    }

    /// All it has written so far.
    pub(crate) fn written(&self) -> String {
        self.written.lock().expect("no reader panics").clone()
    }

    /// Whether it still runs.
    pub(crate) fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends SIGTERM and waits for the end. Blocking.
    pub(crate) fn stop(self) -> Exit {
        self.signal("TERM");
        self.wait()
    }

    /// Ends it without a word, as a crash does. Blocking.
    pub(crate) fn kill(self) -> Exit {
        self.signal("KILL");
        self.wait()
    }

    /// Waits for an end that was asked for. Blocking.
    pub(crate) fn wait(mut self) -> Exit {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                break status;
            }
            assert!(
                Instant::now() < end,
                "still here {PATIENCE:?} after SIGTERM:\n{}",
                self.written()
            );
            std::thread::sleep(Duration::from_millis(20));
        };
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        Exit {
            code: status.code(),
            written: self.written(),
            folder: Arc::clone(&self.folder),
            listeners: self.listeners.clone(),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let written = self.written();
            let tail: Vec<&str> = written.lines().rev().take(60).collect();
            eprintln!("--- the daemon's last words ---");
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}

/// Reads `listening <door> <address>`.
fn parse_listening(line: &str) -> Option<(String, SocketAddr)> {
    let (door, address) = line.strip_prefix("listening ")?.split_once(' ')?;
    Some((door.to_owned(), address.trim().parse().ok()?))
}

/// Keeps what comes out of a pipe, line by line.
fn keep(
    pipe: impl Read + Send + 'static,
    written: &Arc<Mutex<String>>,
    file: &Arc<Mutex<File>>,
    lines: Option<mpsc::Sender<String>>,
) -> JoinHandle<()> {
    let (written, file) = (Arc::clone(written), Arc::clone(file));
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(pipe.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line);
            written.lock().expect("no reader panics").push_str(&text);
            let _ = file.lock().expect("no reader panics").write_all(&line);
            if let Some(lines) = &lines {
                // Nobody listens any more once the doors are open.
                let _ = lines.send(text.trim_end().to_owned());
            }
            line.clear();
        }
    })
}

/// Where the log of the running test's daemon is kept for people; `again`, when it follows another.
fn log_file(again: bool) -> Arc<Mutex<File>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("daemon");
    fs::create_dir_all(&folder).expect("a folder for logs");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("daemon").replace("::", ".");
    let path = folder.join(format!("{test}.log"));
    let mut options = OpenOptions::new();
    let options = options
        .create(true)
        .write(true)
        .append(again)
        .truncate(!again);
    Arc::new(Mutex::new(options.open(path).expect("a log file")))
}

/// Writes `cert.pem` and `key.pem` for `localhost` into a folder.
pub(crate) fn write_certificate(folder: &Path) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    fs::write(folder.join("cert.pem"), made.cert.pem()).expect("the certificate is written");
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem())
        .expect("the key is written");
}

#[test]
fn a_listening_line_names_the_door_and_its_address() {
    let read = parse_listening("listening rtmp 127.0.0.1:41935");
    let address = "127.0.0.1:41935".parse().expect("an address");
    assert_eq!(read, Some(("rtmp".to_owned(), address)));
    assert_eq!(parse_listening("INFO listening somewhere"), None);
}

#[test]
fn the_configuration_is_toml_with_the_documented_names() {
    let config = Config::new()
        .key("secret", "shop")
        .tls()
        .static_dir("/player");
    let config = config.publish("takeover = false").hls("window = \"8s\"");
    let text = config.toml(Path::new("/folder"), &Listeners::new());
    for line in [
        "[rtmps]\nlisten = \"127.0.0.1:0\"",
        "static_dir = \"/player\"",
        "[tls]\ncert = \"/folder/cert.pem\"",
        "[publish]\ntakeover = false",
        "[hls]\nwindow = \"8s\"",
        "[[publish.keys]]\nkey = \"secret\"\nstream = \"shop\"",
    ] {
        assert!(text.contains(line), "{line} not in\n{text}");
    }
    assert!(text.contains("[transcode]\nenabled = false\n"), "{text}");
    let ladder = config.clone().ladder_of("high = { pass = false }");
    let ladder = ladder.preset("fast");
    let text = ladder.toml(Path::new("/folder"), &Listeners::new());
    for line in [
        "[transcode]\nenabled = true\npreset = \"fast\"\n",
        "[ladder.default]\nhigh = { pass = false }\n[[publish.keys]]",
    ] {
        assert!(text.contains(line), "{line} not in\n{text}");
    }
    assert!(
        !config
            .without_key("secret")
            .toml(Path::new("/"), &Listeners::new())
            .contains("secret")
    );
}
