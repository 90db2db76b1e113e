//! Edges: what 500 viewers who follow the live edge cost the origin, and what the edge adds to their latency.
//!
//! One origin, one broadcast. Viewers are HTTP/1.1 keep-alive connections that do what hls.js does: a blocked reload for the
//! next part, then that part. They go through Varnish, through nginx in three settings, and straight to the origin (the
//! control), in turns, so that the machine's mood is everybody's. An observer on a connection of its own at the origin says
//! when each part was to be had; latency is from there to the viewer's last byte. A tap between edge and origin counts.
//!
//! `cargo bench --bench proof -- edge [viewers] [seconds per turn] [rounds]`; bar: at most one origin request per part and form.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    task::JoinSet,
};

use crate::{
    daemon::{Config, Daemon},
    edges::{Edge, Kind, STRICT, Tap},
    host::{Usage, load_average},
    publisher::{Publisher, flv},
    sources::Recipe,
};

/// Small enough for 500 viewers, their edge, the origin and the measuring on two cores.
const BROADCAST: Recipe = Recipe {
    name: "edge",
    container: "flv",
    video: "testsrc2=size=640x360:rate=30:duration=20",
    audio: "sine=frequency=440:sample_rate=48000:duration=20",
    codecs: "-c:v libx264 -preset superfast -tune zerolatency -b:v 400k -maxrate 400k -bufsize 400k -g 30 -keyint_min 30 \
             -sc_threshold 0 -c:a aac -b:a 96k -ac 2",
};

/// Where viewers are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Direct,
    Varnish,
    /// As shipped: waits a little more than a part.
    Nginx,
    /// Waits as long as it takes.
    NginxStrict,
    /// Waits just long enough for what is there already.
    NginxEager,
}

impl Way {
    const ALL: [Self; 5] = [
        Self::Direct,
        Self::Varnish,
        Self::Nginx,
        Self::NginxStrict,
        Self::NginxEager,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Direct => "control: no edge",
            Self::Varnish => "Varnish",
            Self::Nginx => "nginx, lock_timeout 250ms (as shipped)",
            Self::NginxStrict => "nginx, lock_timeout 30s",
            Self::NginxEager => "nginx, lock_timeout 20ms",
        }
    }

    async fn edge(self, tap: SocketAddr) -> Option<Edge> {
        let eager = [("lock_timeout 250ms;", "lock_timeout 20ms;")];
        let (kind, edits) = match self {
            Self::Direct => return None,
            Self::Varnish => (Kind::Varnish, &[][..]),
            Self::Nginx => (Kind::Nginx, &[][..]),
            Self::NginxStrict => (Kind::Nginx, STRICT),
            Self::NginxEager => (Kind::Nginx, &eager[..]),
        };
        Some(Edge::start(kind, [tap; 2], edits).await)
    }
}

/// What all turns on one way gave.
#[derive(Default)]
struct Measured {
    playlists_ms: Vec<f64>,
    parts_ms: Vec<f64>,
    /// Origin requests for blocked playlists, and for parts, each by target and form.
    asked: [HashMap<(String, bool), usize>; 2],
    edge_cpu: Duration,
    origin_cpu: Duration,
    failures: usize,
    seconds: f64,
}

/// Runs it with `[viewers] [seconds per turn] [rounds]`.
///
/// # Errors
/// A socket's.
pub(crate) async fn run(arguments: &[String]) -> io::Result<()> {
    let argument = |index: usize, default: u64| {
        let given = arguments.get(index).and_then(|text| text.parse().ok());
        given.unwrap_or(default)
    };
    let (viewers, turn, rounds) = (argument(0, 500), argument(1, 15), argument(2, 3));
    let daemon = Daemon::start(&Config::new().key("edge-key", "edge").log("warn"));
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = publish(daemon.address("rtmp"), Arc::clone(&stop))?;
    let origin = daemon.address("http");
    let folder = folder(origin).await?;
    let before = load_average();
    let mut measured: BTreeMap<Way, Measured> = BTreeMap::new();
    for _ in 0..rounds {
        for way in Way::ALL {
            let measured = measured.entry(way).or_default();
            measure(
                way,
                &daemon,
                &folder,
                viewers,
                Duration::from_secs(turn),
                measured,
            )
            .await?;
        }
    }
    stop.store(true, Ordering::Release);
    publisher.join().expect("the publisher does not panic")?;
    println!(
        "\nedges: {viewers} viewers, {rounds} turns of {turn} s each, 360p30 at 0.5 Mb/s, parts of 200 ms; load average {before} before, {} after\n",
        load_average()
    );
    println!(
        "| way | requests at the origin per playlist version and form | per part | playlist p50 / p95 ms | part p50 / p95 ms | edge CPU % | origin CPU % | failures | bar |"
    );
    println!("|-|-|-|-|-|-|-|-|-|");
    for (way, measured) in &mut measured {
        row(*way, measured);
    }
    Ok(())
}

/// Publishes the broadcast over and over in real time.
fn publish(
    address: SocketAddr,
    stop: Arc<AtomicBool>,
) -> io::Result<std::thread::JoinHandle<io::Result<()>>> {
    let tags = flv::read(BROADCAST.file())?;
    let (mut publisher, status) = Publisher::publish(address, "live", "edge-key")?;
    assert_eq!(status.code, "NetStream.Publish.Start");
    Ok(std::thread::spawn(move || {
        let start = Instant::now();
        for shift_ms in (0..).step_by(20_000) {
            for tag in tags.iter().filter(|tag| tag.timestamp < 20_000) {
                if stop.load(Ordering::Acquire) {
                    return publisher.stop();
                }
                let at = tag.timestamp + shift_ms;
                let due = start + Duration::from_millis(at.into());
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                publisher.message(tag.kind, at, &tag.body)?;
            }
        }
        Ok(())
    }))
}

/// When each position was to be had at the origin: its playlist, and with it its part.
type Times = Arc<Mutex<HashMap<(u64, u64), Instant>>>;

async fn measure(
    way: Way,
    daemon: &Daemon,
    folder: &str,
    viewers: u64,
    turn: Duration,
    measured: &mut Measured,
) -> io::Result<()> {
    let origin = daemon.address("http");
    let tap = Tap::start(origin).await;
    let edge = way.edge(tap.address()).await;
    let door = edge.as_ref().map_or(origin, Edge::address);
    let times = Times::default();
    let observer = tokio::spawn(observe(origin, folder.to_owned(), Arc::clone(&times)));
    let parsed = Arc::new(Mutex::new(HashMap::new()));
    let warm = Instant::now() + Duration::from_secs(3);
    let end = warm + turn;
    let mut crowd = JoinSet::new();
    for _ in 0..viewers {
        crowd.spawn(follow(
            door,
            folder.to_owned(),
            Arc::clone(&parsed),
            warm,
            end,
        ));
    }
    tokio::time::sleep_until(warm.into()).await;
    let from = tap.seen().len();
    let cpu = || {
        let edge = edge
            .iter()
            .flat_map(Edge::pids)
            .map(|pid| Usage::of(pid).cpu)
            .sum::<Duration>();
        (edge, Usage::of(daemon.pid()).cpu)
    };
    let before = cpu();
    tokio::time::sleep_until(end.into()).await;
    let after = cpu();
    measured.edge_cpu += after.0.saturating_sub(before.0);
    measured.origin_cpu += after.1.saturating_sub(before.1);
    measured.seconds += turn.as_secs_f64();
    for seen in &tap.seen()[from..] {
        let kind = usize::from(!seen.target.contains("_HLS_msn"));
        if kind == 0 || seen.target.contains("/p") {
            let key = (format!("{way:?}{}", seen.target), seen.gzip);
            *measured.asked[kind].entry(key).or_default() += 1;
        }
    }
    let mut followed = Vec::new();
    while let Some(viewer) = crowd.join_next().await {
        match viewer.expect("no viewer panics") {
            Ok(seen) => followed.extend(seen),
            Err(_) => measured.failures += 1,
        }
    }
    observer.abort();
    let times = times.lock().expect("no panic");
    for arrived in followed {
        let Some(there) = times.get(&arrived.position) else {
            continue;
        };
        measured
            .playlists_ms
            .push(ms(arrived.playlist.saturating_duration_since(*there)));
        measured
            .parts_ms
            .push(ms(arrived.part.saturating_duration_since(*there)));
    }
    Ok(())
}

/// What one viewer got of one part.
struct Arrived {
    position: (u64, u64),
    playlist: Instant,
    part: Instant,
}

/// A playlist's next position and its newest part, read once for all viewers.
type Parsed = Arc<Mutex<HashMap<Vec<u8>, ((u64, u64), String)>>>;

/// Follows the live edge until `end`; keeps what came after `warm`.
async fn follow(
    door: SocketAddr,
    folder: String,
    parsed: Parsed,
    warm: Instant,
    end: Instant,
) -> io::Result<Vec<Arrived>> {
    let mut connection = Connection::open(door).await?;
    let body = connection.get(&format!("{folder}index.m3u8"), true).await?;
    let (mut next, _) = read(&parsed, body)?;
    let mut arrived = Vec::new();
    while Instant::now() < end {
        let position = next;
        let target = format!(
            "{folder}index.m3u8?_HLS_msn={}&_HLS_part={}",
            position.0, position.1
        );
        let body = connection.get(&target, true).await?;
        let playlist = Instant::now();
        let (following, part) = read(&parsed, body)?;
        connection.get(&format!("{folder}{part}"), false).await?;
        if playlist > warm && playlist < end {
            let part = Instant::now();
            arrived.push(Arrived {
                position,
                playlist,
                part,
            });
        }
        next = following;
    }
    Ok(arrived)
}

fn read(parsed: &Parsed, body: Vec<u8>) -> io::Result<((u64, u64), String)> {
    if let Some(known) = parsed.lock().expect("no panic").get(&body) {
        return Ok(known.clone());
    }
    let mut text = String::new();
    io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&body[..]), &mut text)?;
    let read = edge_of(&text).ok_or(io::ErrorKind::InvalidData)?;
    parsed.lock().expect("no panic").insert(body, read.clone());
    Ok(read)
}

/// The position after the newest part of a media playlist, and that part.
fn edge_of(text: &str) -> Option<((u64, u64), String)> {
    let number = |tag: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(tag)?.parse::<u64>().ok())
    };
    let first = number("#EXT-X-MEDIA-SEQUENCE:")?;
    let complete = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .count() as u64;
    let after = text.rfind("\n#EXTINF:").map_or("", |at| &text[at..]);
    let open = after
        .lines()
        .skip_while(|line| line.is_empty() || line.starts_with("#EXTINF"));
    let parts = open.filter(|line| line.starts_with("#EXT-X-PART:")).count() as u64;
    let newest = text
        .lines()
        .rev()
        .find(|line| line.starts_with("#EXT-X-PART:"))?;
    let (_, uri) = newest.split_once("URI=\"")?;
    Some(((first + complete, parts), uri.split('"').next()?.to_owned()))
}

/// Notes when each position is to be had at the origin, by waiting for it there.
async fn observe(origin: SocketAddr, folder: String, times: Times) -> io::Result<()> {
    let parsed = Parsed::default();
    let mut connection = Connection::open(origin).await?;
    let body = connection.get(&format!("{folder}index.m3u8"), true).await?;
    let (mut next, _) = read(&parsed, body)?;
    loop {
        let target = format!(
            "{folder}index.m3u8?_HLS_msn={}&_HLS_part={}",
            next.0, next.1
        );
        let body = connection.get(&target, true).await?;
        times.lock().expect("no panic").insert(next, Instant::now());
        (next, _) = read(&parsed, body)?;
    }
}

/// One keep-alive connection.
struct Connection {
    socket: BufReader<TcpStream>,
    host: SocketAddr,
}

impl Connection {
    async fn open(host: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(host).await?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket: BufReader::with_capacity(16 * 1024, socket),
            host,
        })
    }

    /// The body of a path, which must be answered 200 with a length or in chunks.
    async fn get(&mut self, path: &str, gzip: bool) -> io::Result<Vec<u8>> {
        let coding = if gzip {
            "Accept-Encoding: gzip\r\n"
        } else {
            ""
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{coding}\r\n", self.host);
        self.socket.write_all(request.as_bytes()).await?;
        let status = self.line().await?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line().await?.to_lowercase();
            match line.split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap_or(0),
                Some(("transfer-encoding", _)) => chunked = true,
                Some(_) => {}
                None => break,
            }
        }
        let mut body = Vec::new();
        loop {
            if chunked {
                let size = self.line().await?;
                length = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            }
            let from = body.len();
            body.resize(from + length, 0);
            self.socket.read_exact(&mut body[from..]).await?;
            if !chunked {
                break;
            }
            self.line().await?;
            if length == 0 {
                break;
            }
        }
        match status.contains(" 200 ") {
            true => Ok(body),
            false => Err(io::Error::other(format!("{path}: {status}"))),
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.socket.read_line(&mut line).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

/// The folder of the video rendition, once the stream is there.
async fn folder(origin: SocketAddr) -> io::Result<String> {
    loop {
        let mut connection = Connection::open(origin).await?;
        if let Ok(body) = connection.get("/live/edge/index.m3u8", false).await {
            let text = String::from_utf8_lossy(&body);
            let uri = text
                .lines()
                .find_map(|line| line.strip_suffix("/high/index.m3u8"));
            return Ok(format!("/live/edge/{}/high/", uri.expect("a picture")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn ms(length: Duration) -> f64 {
    length.as_secs_f64() * 1000.0
}

fn row(way: Way, measured: &mut Measured) {
    let quantiles = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        let at = |quantile: f64| {
            let index = (quantile * values.len() as f64) as usize;
            values
                .get(index.min(values.len().saturating_sub(1)))
                .copied()
        };
        let [p50, p95] = [0.5, 0.95].map(|quantile| at(quantile).unwrap_or(f64::NAN));
        format!("{p50:.1} / {p95:.1}")
    };
    let percent = |cpu: Duration| 100.0 * cpu.as_secs_f64() / measured.seconds.max(1.0);
    let (edge, origin) = (percent(measured.edge_cpu), percent(measured.origin_cpu));
    let asked = measured.asked.each_ref().map(|asked| {
        let total: usize = asked.values().sum();
        let mean = total as f64 / asked.len().max(1) as f64;
        (mean, asked.values().copied().max().unwrap_or(0))
    });
    let [playlists, parts] = asked.map(|(mean, most)| format!("{mean:.2} (most {most})"));
    let most = asked.iter().map(|(_, most)| *most).max().unwrap_or(0);
    let bar = match (way, most) {
        (Way::Direct, _) => "",
        (_, 0..=1) => "met",
        _ => "missed",
    };
    println!(
        "| {} | {playlists} | {parts} | {} | {} | {edge:.0} | {origin:.0} | {} | {bar} |",
        way.name(),
        quantiles(&mut measured.playlists_ms),
        quantiles(&mut measured.parts_ms),
        measured.failures
    );
}
