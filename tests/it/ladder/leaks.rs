//! What begins and ends often leaves nothing behind: threads, descriptors and renditions are as many as before.

use std::{fs, net::SocketAddr, ops::Range, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep},
};

use super::{AT_ONCE, RENDITIONS, TURN, config};
use crate::{
    daemon::Daemon,
    publisher::{Publisher, flv},
    sources::Recipe,
    viewer::Viewer,
};

/// Two seconds, small enough for three at once, of which all is encoded.
const SMALL: Recipe = Recipe {
    name: "small",
    container: "flv",
    video: "testsrc2=size=320x240:rate=30:duration=2",
    audio: "sine=frequency=440:sample_rate=44100:duration=2",
    codecs: "-c:v libx264 -preset ultrafast -tune zerolatency -b:v 200k -g 15 -keyint_min 15 -sc_threshold 0 \
             -c:a libmp3lame -b:a 48k",
};
const STREAMS: [&str; 3] = ["a", "b", "c"];
/// How often they start and stop.
const ROUNDS: usize = 20;
/// How long anything may take to go away. The runtime keeps an idle thread for ten seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    threads: usize,
    descriptors: usize,
}

impl Held {
    fn by(pid: u32) -> Self {
        let count = |of: &str| {
            fs::read_dir(format!("/proc/{pid}/{of}"))
                .expect("it runs")
                .count()
        };
        Self {
            threads: count("task"),
            descriptors: count("fd"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_starts_and_stops_of_three_streams_leave_nothing_behind() {
    let tags = spawn_blocking(|| flv::read(SMALL.file()).expect("made just now"));
    let tags = Arc::new(tags.await.expect("made"));
    let daemon = Daemon::start(&config(&STREAMS).publish("grace = \"300ms\""));
    // What the first use of anything brings, once and for all, was not left behind.
    rounds(&daemon, &tags, 0..1).await;
    let before = settled(&daemon, None).await;
    let most = rounds(&daemon, &tags, 1..ROUNDS + 1).await;
    assert!(
        most.threads > before.threads && most.descriptors > before.descriptors,
        "nothing was encoded: {before:?}, at most {most:?}"
    );
    let after = settled(&daemon, Some(before)).await;
    assert!(
        after.threads <= before.threads && after.descriptors <= before.descriptors,
        "{after:?} are left of {most:?}, {before:?} were there before: {:?}",
        names(daemon.pid())
    );
    let written = daemon.written();
    assert!(!written.contains("panicked"), "{written}");
}

/// The most that the daemon held in any of these rounds.
async fn rounds(daemon: &Daemon, tags: &Arc<Vec<flv::Tag>>, numbers: Range<usize>) -> Held {
    let turn = TURN.acquire_many(AT_ONCE as u32).await;
    let _turn = turn.expect("never closed");
    let mut most = Held::by(daemon.pid());
    for number in numbers {
        let during = round(daemon, tags, number).await;
        most.threads = most.threads.max(during.threads);
        most.descriptors = most.descriptors.max(during.descriptors);
    }
    most
}

/// Three streams at once, each ending in its own way, some in the middle; until nothing of them goes on. What the daemon
/// held meanwhile.
async fn round(daemon: &Daemon, tags: &Arc<Vec<flv::Tag>>, number: usize) -> Held {
    let address = daemon.address("rtmp");
    let mut publishing = JoinSet::new();
    for (index, stream) in STREAMS.iter().enumerate() {
        let (tags, key) = (Arc::clone(tags), format!("key-of-{stream}"));
        publishing.spawn_blocking(move || publish(address, &key, &tags, number + index));
    }
    for stream in STREAMS {
        let renditions = Viewer::new(&daemon.url("")).renditions(stream).await;
        for rendition in RENDITIONS {
            assert!(
                renditions.contains_key(rendition),
                "round {number}: {renditions:?}"
            );
        }
    }
    let during = Held::by(daemon.pid());
    publishing.join_all().await;
    let end = Instant::now() + PATIENCE;
    loop {
        let streams: Value =
            serde_json::from_str(&daemon.control("/v1/streams").await).expect("JSON");
        let streams = streams["streams"].as_array().expect("a list");
        if streams.iter().all(has_ended) {
            return during;
        }
        assert!(
            Instant::now() < end,
            "round {number} does not end: {streams:#?}"
        );
        sleep(Duration::from_millis(50)).await;
    }
}

/// No rendition of it goes on.
fn has_ended(stream: &Value) -> bool {
    let renditions = stream["renditions"].as_array().expect("a list");
    stream["state"] == "ended"
        && renditions
            .iter()
            .all(|rendition| rendition["ended"] == true)
}

fn publish(address: SocketAddr, key: &str, tags: &[flv::Tag], way: usize) {
    let (mut publisher, status) = Publisher::publish(address, "live", key).expect("connected");
    assert_eq!(status.code, "NetStream.Publish.Start");
    let until = if way.is_multiple_of(2) {
        tags.len()
    } else {
        tags.len() * 3 / 4
    };
    publisher.push(&tags[..until], 0, Some(4.0)).expect("taken");
    match way % 3 {
        0 => publisher.stop().expect("stopped"),
        1 => publisher.finish().expect("closed"),
        _ => publisher.reset().expect("cut"),
    }
}

/// What the daemon holds once that is no more than `expect`, or does not change any more.
async fn settled(daemon: &Daemon, expect: Option<Held>) -> Held {
    let end = Instant::now() + PATIENCE;
    let (mut held, mut since) = (Held::by(daemon.pid()), Instant::now());
    loop {
        sleep(Duration::from_millis(200)).await;
        let now = Held::by(daemon.pid());
        if now != held {
            (held, since) = (now, Instant::now());
        }
        let enough = match expect {
            Some(expect) => now.threads <= expect.threads && now.descriptors <= expect.descriptors,
            None => since.elapsed() > Duration::from_secs(12), // longer than the runtime keeps an idle thread
        };
        if enough || Instant::now() > end {
            return held;
        }
    }
}

/// Names of its threads, for whoever looks for the one that is left.
fn names(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .expect("it runs")
        .flatten();
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    tasks
        .filter_map(name)
        .map(|name| name.trim().to_owned())
        .collect()
}
