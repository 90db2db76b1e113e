//! The process that writes and sends is killed, at moments nobody chose, or finds no room on the disk.
//!
//! That process is this test binary again, told by its environment to run [`driver`] and nothing else: it records events
//! where the one before it left off, which it asks the outbox itself, and delivers until it is killed.

use std::{
    collections::{BTreeMap, HashMap},
    env,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use vitrine_runtime::deliver::{Event, Filter, Outbox, Settings, State};

use super::{database, endpoint, event, settings, verdicts};
use crate::{
    backend::SECRET,
    receiver::{Call, Receiver, Reply},
};

/// Says where the driver's outbox is; absent, it is a test that does nothing.
const FOLDER: &str = "OUTBOX_DRIVER_FOLDER";
/// Where its endpoint listens.
const ENDPOINT: &str = "OUTBOX_DRIVER_ENDPOINT";
/// Events of each stream that it records, before and after those it finds.
const EVENTS: &str = "OUTBOX_DRIVER_EVENTS";

const STREAMS: usize = 20;

fn number(name: &str) -> u64 {
    env::var(name).expect("set").parse().expect("a number")
}

/// An event that says what it must contain.
fn sealed(stream: &str, n: u64) -> Event {
    let mut event = event(stream, n);
    let seal = seal(stream, n);
    event.data.insert("seal".into(), seal.into());
    event
}

fn seal(stream: &str, n: u64) -> String {
    let digest = Sha256::digest(format!("{stream} {n}"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn patient(url: &str) -> Settings {
    Settings {
        patience: Duration::from_secs(2),
        // More of them than an endpoint fails in a row.
        ..settings(vec![endpoint(url, &["*"])], &[20; 40])
    }
}

/// The process that is killed.
#[tokio::test(flavor = "multi_thread")]
async fn driver() {
    let Ok(folder) = env::var(FOLDER) else { return };
    let url = env::var(ENDPOINT).expect("set");
    let outbox = Outbox::open(&database(Path::new(&folder)), patient(&url)).expect("it opens");
    tokio::spawn(outbox.clone().run(CancellationToken::new()));
    let left = outbox.unfinished().into_iter();
    let left: HashMap<_, _> = left
        .map(|(stream, data)| (stream, data["n"].as_u64().expect("a number")))
        .collect();
    let (all, streams) = (
        number(EVENTS),
        (0..STREAMS).map(|stream| format!("s{stream}")),
    );
    let streams: Vec<_> = streams.collect();
    // Several of one stream in a row, which must not overtake each other.
    for first in (1..=all).step_by(10) {
        for stream in &streams {
            let done = left.get(stream).copied().unwrap_or(0);
            for n in first.max(done + 1)..=all.min(first + 9) {
                outbox.record(sealed(stream, n));
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::future::pending().await
}

/// Ends the driver when a test ends.
struct Driver(Child);

impl Driver {
    /// Starts one, by a shell that first does `before`.
    fn start(before: &str, folder: &TempDir, url: &str, events: u64) -> Self {
        let binary = env::current_exe().expect("this one");
        let child = Command::new("bash")
            .arg("-c")
            .arg(format!("{before} exec \"$@\""))
            .args(["driver".as_ref(), binary.as_os_str()])
            .args(["--exact", "outbox::killed::driver", "--nocapture"])
            .env(FOLDER, folder.path())
            .env(ENDPOINT, url)
            .env(EVENTS, events.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("the driver starts"))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Dice that fall the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Streams and numbers of the events that were taken.
fn taken(calls: &[Call]) -> usize {
    let taken = calls.iter().filter(|call| call.answered == Some(200));
    let ids: std::collections::HashSet<_> = taken.map(Call::id).collect();
    ids.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_thousand_events_none_is_lost_altered_or_out_of_order_however_often_it_is_killed() {
    let each = 500;
    let all = STREAMS * 500;
    let dice = std::sync::Mutex::new(Dice(0x5eed));
    let receiver = Receiver::start(move |_, _| {
        let mut dice = dice.lock().expect("nobody panics with it");
        match dice.below(1000) {
            0..120 => Reply::status(503),
            120..200 => Reply::status(500),
            200..300 => Reply::Close,
            300..302 => Reply::Hang,
            _ => Reply::status(200),
        }
    })
    .await;
    let folder = TempDir::new().expect("a folder");
    let url = receiver.url("/");
    let mut dice = Dice(0xd1ce);
    let (mut kills, mut known) = (0, 0);
    let end = Instant::now() + Duration::from_secs(240);
    while known < all {
        assert!(Instant::now() < end, "{known} of {all} came, {kills} kills");
        let driver = Driver::start("", &folder, &url, each);
        // Each has got somewhere when it is killed, or a slow machine would never end this; the last are left alone.
        let (goal, most) = (known + dice.below(900) as usize, Duration::from_secs(20));
        let pause = Duration::from_millis(dice.below(60));
        let began = Instant::now();
        while known < all && (known <= goal || kills >= 25) && began.elapsed() < most {
            tokio::time::sleep(Duration::from_millis(5)).await;
            known = taken(&receiver.calls());
        }
        tokio::time::sleep(pause).await;
        drop(driver);
        kills += 1;
    }
    assert!(kills > 8, "{kills} kills");
    check(&receiver.calls(), each);

    let outbox = Outbox::open(&database(folder.path()), patient(&url)).expect("it opens");
    let dead = Filter {
        state: Some(State::Dead),
        ..Filter::default()
    };
    let page = outbox.deliveries(&dead, None, 10).await.expect("read");
    assert_eq!(page.deliveries, []);
}

/// That every stream's numbers are all there, first seen in order, each with one id and one body, as it was recorded.
fn check(calls: &[Call], each: u64) {
    let mut first_seen = BTreeMap::<String, Vec<u64>>::new();
    let mut bodies = HashMap::<&str, &[u8]>::new();
    for call in calls {
        let body = call.json();
        let data = &body["data"];
        let stream = data["stream"].as_str().expect("text");
        let n = data["n"].as_u64().expect("a number");
        assert_eq!(data["hook_seq"], n, "{stream}");
        assert_eq!(data["seal"], seal(stream, n), "{stream} {n}");
        match bodies.get(call.id()) {
            Some(body) => assert_eq!(*body, call.body, "{stream} {n} was altered"),
            None => {
                bodies.insert(call.id(), &call.body);
                first_seen.entry(stream.to_owned()).or_default().push(n);
            }
        }
    }
    assert_eq!(first_seen.len(), STREAMS);
    for (stream, seen) in first_seen {
        assert!(seen.iter().copied().eq(1..=each), "{stream}: {seen:?}");
    }
    let some: Vec<_> = calls.iter().step_by(calls.len() / 200).collect();
    assert!(verdicts(some, SECRET).iter().all(Option::is_none));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_room_on_the_disk_is_written_when_there_is_some() {
    let receiver = Receiver::start(|_, _| Reply::status(200)).await;
    let folder = TempDir::new().expect("a folder");
    let (each, url) = (200, receiver.url("/"));
    // Files may not grow beyond this, as on a disk that is full; the signal for it is ignored, so that writes fail.
    let full = "trap '' XFSZ; ulimit -S -f 400;";
    let driver = Driver::start(full, &folder, &url, each);
    let size = || {
        let log = folder.path().join("outbox.db-wal");
        std::fs::metadata(log).map_or(0, |log| log.len())
    };
    let end = Instant::now() + Duration::from_secs(60);
    while size() < 380 * 1024 {
        assert!(Instant::now() < end, "the log grows to {}", size());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let came = taken(&receiver.calls());
    assert!(came < STREAMS * 200, "it never was full");
    let pid = driver.0.id().to_string();
    let lifted = Command::new("prlimit")
        .args(["--pid", &pid, "--fsize=unlimited"])
        .status();
    assert!(lifted.expect("prlimit runs").success());
    let all = |calls: &[Call]| taken(calls) == STREAMS * 200;
    receiver.wait("all", all).await;
    check(&receiver.calls(), each);
}
