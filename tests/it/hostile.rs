//! Hostile neighbours of a live stream, one after the other: the stream misses no part, and afterwards the daemon is as it
//! was.
//!
//! A real encoder publishes in real time and a viewer follows by blocking reloads, fetching all that is listed, while
//! thousands of connections from many loopback addresses do what strangers do. The attacks have folders of their own:
//!
//! | module | attacks |
//! |-|-|
//! | [`keys`] | wrong keys, by the thousand and from one address |
//! | [`requests`] | absent streams, HTTP/2 rapid reset, readers that do not read |
//! | [`sockets`] | garbage, half handshakes, slow lorises, ten thousand connections |
//!
//! The attacks on RTMP's grammar are those of [`crate::limits`]. No time is asserted.

mod keys;
mod requests;
mod sockets;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::{
    daemon::{Config, Daemon},
    limits,
    sources::{self, Encoder, ffmpeg},
    viewer::{Recording, Viewer, part_number},
};

/// How long the daemon may take to let go of what the attackers held: longer than its longest patience with a socket.
const SETTLING: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hostile_neighbours_cost_a_live_stream_nothing() {
    vitrine_runtime::descriptors::raise().expect("a process may raise its own soft limit");
    let config = Config::new()
        .key("good-key", "good")
        .key("odd-key", "odd")
        .key("late-key", "late")
        .publish("grace_after_stop = \"1s\"\ngrace = \"1s\"")
        // A machine that tests at full load may halt the encoder itself for as long as a shorter target duration.
        .hls("max_gop = \"4s\"")
        .rtmp("handshake_timeout = \"2s\"\npublish_timeout = \"2s\"")
        .log("info");
    let daemon = Arc::new(Daemon::start(&config));
    let encoder = endless(&daemon.publish_url("good-key"));
    let viewer = Viewer::new(&daemon.url(""));
    let folder = viewer.renditions("good").await["high"].clone();
    let over = Arc::new(AtomicBool::new(false));
    let recording = tokio::spawn({
        let (viewer, folder, over) = (viewer.clone(), folder.clone(), Arc::clone(&over));
        async move {
            let enough = |_: &_| over.load(Ordering::Acquire);
            viewer.follow_until(&folder, enough).await
        }
    });

    let attacked = tokio::task::spawn_blocking({
        let daemon = Arc::clone(&daemon);
        move || attack(&daemon, &folder)
    });
    let attacked = attacked.await;
    over.store(true, Ordering::Release);
    let recording = recording.await.expect("a rule was broken: see above");
    drop(encoder);
    if let Err(failed) = attacked {
        std::panic::resume_unwind(failed.into_panic());
    }
    assert_nothing_missing(&recording);
    let written = daemon.written();
    assert!(!written.contains("panicked"), "no task may panic");
    // Two hundred thousand deeds: what is told of them is bounded by the time they took.
    let lines = written.lines().count();
    assert!(lines < 1000, "{lines} lines were written");
}

/// A real encoder that never ends.
fn endless(url: &str) -> Encoder {
    let source = sources::LONG.file();
    Encoder::start(
        ffmpeg()
            .args(["-re", "-stream_loop", "-1", "-i"])
            .arg(source)
            .args(["-c", "copy", "-f", "flv", url]),
    )
}

/// Warms up, so that what the daemon sets up once is there; then the attacks: many that hold little at once, crowds that
/// hold much. Afterwards memory, descriptors and threads return to their level.
fn attack(daemon: &Daemon, folder: &str) {
    be_nice();
    floods(daemon, folder, 10);
    let before = Level::of(daemon);
    floods(daemon, folder, 1);
    let between = Level::of(daemon);
    let unread = crowds(daemon, folder);
    let after = Level::returned(daemon, before);
    eprintln!("before {before:?}\nbetween {between:?}\nafter {after:?}");
    // The readers that never read are still there on this side: the daemon has given them up.
    drop(unread);
}

/// Attackers have machines of their own: here they take what the daemon, the encoder and the viewer leave of this one.
/// Threads begin as nice as the one that makes them.
fn be_nice() {
    let thread = fs::read_link("/proc/thread-self").expect("Linux has it");
    let id = thread.file_name().expect("the last part is its id");
    let renice = Command::new("renice")
        .args(["-n", "15", "-p"])
        .arg(id)
        .output();
    assert!(renice.expect("renice runs").status.success());
}

/// Connections held at once to the playback door, all of them admitted.
const VIEWERS: usize = 10_000;
/// And to the RTMP door, half as many again as it admits.
const PUBLISHERS: usize = 1500;

/// What may stay of the attacks: the live stream's own window fills meanwhile, by a few MiB. A hundred bytes for each of the
/// absent streams, two KiB for each wrong key or one for each connection held would be more.
const RSS_MARGIN_KIB: u64 = 10 * 1024;

/// A viewer's and an encoder's connections may come and go.
const DESCRIPTORS_MARGIN: usize = 8;

/// Says when an attack was over, for whoever reads a failure.
fn done(daemon: &Daemon, what: &str) {
    eprintln!("{:7} KiB after {what}", Level::of(daemon).rss_kib);
}

/// What comes in thousands, a few at a time, at a size divided by `by`.
fn floods(daemon: &Daemon, folder: &str, by: usize) {
    let (rtmp, http) = (daemon.address("rtmp"), daemon.address("http"));
    if by == 1 {
        for (name, attack) in limits::ATTACKS {
            let _ = attack(rtmp);
            assert!(limits::answers(rtmp), "after {name}");
        }
        done(daemon, "attacks on the grammar");
    }
    sockets::garbage(&[rtmp, http], 300 / by);
    done(daemon, "garbage");
    keys::wrong(rtmp, 5000 / by);
    done(daemon, "wrong keys");
    requests::absent(http, 100_000 / by);
    done(daemon, "absent streams");
    requests::rapid_reset(http, folder, 50 / by);
    done(daemon, "rapid reset");
}

/// What stays. The readers that never read are returned: they are still open.
fn crowds(daemon: &Daemon, folder: &str) -> Vec<TcpStream> {
    let (rtmp, http) = (daemon.address("rtmp"), daemon.address("http"));
    let unread = requests::never_reading(http, folder, 100);
    sockets::half_handshakes(rtmp, 480);
    done(daemon, "half handshakes and slow lorises on RTMP");
    sockets::slow_heads(http, 1000);
    done(daemon, "slow lorises on HTTP");
    let held = sockets::hold(http, VIEWERS, rtmp, PUBLISHERS);
    let peak = Level::of(daemon).descriptors;
    assert!(peak > VIEWERS, "{peak} descriptors at the peak");
    done(daemon, "ten thousand connections came");
    drop(held);
    unread
}

/// Every part and every segment in order, with media in each.
fn assert_nothing_missing(recording: &Recording) {
    let last = recording.last.as_ref().expect("followed");
    assert!(!last.ended, "the stream ended:\n{}", last.text);
    let numbers: Vec<u64> = recording.parts.keys().copied().collect();
    assert_eq!(missing(&numbers), [0; 0], "parts");
    assert!(numbers.len() > 100, "{} parts alone", numbers.len());
    let msns: Vec<u64> = (recording.segments.iter())
        .map(|kept| kept.segment.msn)
        .collect();
    assert_eq!(missing(&msns), [0; 0], "segments");
    for kept in &recording.segments {
        assert!(!kept.segment.discontinuity, "at {}", kept.segment.msn);
    }
    let listed = last.segments.iter().flat_map(|segment| &segment.parts);
    let listed = listed.map(|part| part_number(&part.uri)).max();
    assert_eq!(listed, numbers.last().copied());
}

/// The numbers between the first and the last of `seen` that are not in it.
fn missing(seen: &[u64]) -> Vec<u64> {
    let (Some(first), Some(last)) = (seen.first(), seen.last()) else {
        return Vec::new();
    };
    (*first..*last).filter(|it| !seen.contains(it)).collect()
}

/// What the daemon holds of the machine.
#[derive(Clone, Copy, Debug)]
struct Level {
    rss_kib: u64,
    descriptors: usize,
    threads: u64,
}

impl Level {
    fn of(daemon: &Daemon) -> Self {
        let folder = format!("/proc/{}", daemon.pid());
        let status = fs::read_to_string(format!("{folder}/status")).expect("it runs");
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
            number.expect("Linux tells it")
        };
        Self {
            rss_kib: field("VmRSS:"),
            descriptors: fs::read_dir(format!("{folder}/fd"))
                .expect("our own child")
                .count(),
            threads: field("Threads:"),
        }
    }

    /// The level once it is that of `before` again.
    fn returned(daemon: &Daemon, before: Self) -> Self {
        let end = Instant::now() + SETTLING;
        loop {
            let level = Self::of(daemon);
            if level.descriptors <= before.descriptors + DESCRIPTORS_MARGIN
                && level.threads <= before.threads
                && level.rss_kib <= before.rss_kib + RSS_MARGIN_KIB
            {
                return level;
            }
            assert!(Instant::now() < end, "before {before:?}, now {level:?}");
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

/// The `n`th of the addresses that attackers come from, all of them this machine's.
fn source(n: usize) -> Ipv4Addr {
    let [third, fourth] = [n / 250 + 1, n % 250 + 1].map(|byte| u8::try_from(byte).expect("few"));
    Ipv4Addr::new(127, 0, third, fourth)
}

/// Connects from an address of choice. When dropped it is reset, so that no port waits for its time to pass.
fn connect_from(source: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    connect_with(source, to, |_| Ok(()))
}

/// As [`connect_from`], with options set before.
fn connect_with(
    source: Ipv4Addr,
    to: SocketAddr,
    options: impl Fn(&Socket) -> std::io::Result<()>,
) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_linger(Some(Duration::ZERO))?;
    options(&socket)?;
    socket.bind(&SockAddr::from(SocketAddrV4::new(source, 0)))?;
    socket.connect(&SockAddr::from(to))?;
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(SETTLING))?;
    socket.set_write_timeout(Some(SETTLING))?;
    Ok(socket)
}
