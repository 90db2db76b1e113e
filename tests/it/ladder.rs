//! The ladder (the daemon's `transcode` feature): what is pushed becomes renditions between which a player may switch at
//! every segment.
//!
//! | module | shows |
//! |-|-|
//! | [`shapes`] | every shape of source becomes the renditions that suit it, the same cuts and key frames in all |
//! | [`bitrates`] | what a rung was given is what it takes, over a minute and in every second |
//! | [`carried`] | what travels with pictures: the meaning of their colours, and captions |
//! | [`changes`] | a source that changes its size does so in every rendition at once |
//! | [`sound`] | sound that not every player takes becomes AAC, and stays with its pictures |
//! | [`leaks`] | what begins and ends often leaves nothing behind |
//! | [`slate`] | while nothing arrives the last picture goes on, and silence |
//! | [`timed`] | events of the shop are at the same pictures in every rendition |
//! | [`facts`] | the witnesses, and the rules |
//!
//! Encoders take CPU that others are measured by: never more than [`AT_ONCE`] broadcasts are encoded at the same time,
//! whichever tests run side by side. The pictures are the test's own, the daemon and its encoders the real ones.

mod bitrates;
mod carried;
mod changes;
mod facts;
mod leaks;
mod shapes;
mod slate;
mod sound;
mod timed;

use std::{collections::BTreeMap, path::PathBuf};

use m3u8_rs::MasterPlaylist;
use serde_json::Value;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::{JoinHandle, spawn_blocking},
};

use crate::{
    daemon::{Config, Daemon},
    enhanced,
    publisher::{Publisher, flv},
    sources::Recipe,
    viewer::{Recording, Viewer},
};
use facts::Facts;

/// Broadcasts that are encoded at the same time: as many as two cores bear beside a debug build of the rest.
const AT_ONCE: usize = 2;
/// How often a broadcast that the machine could not keep up with is encoded: a busy machine is late now and then, a
/// product that is late stays so.
const ATTEMPTS: usize = 3;

/// Who holds a permit may have a broadcast encoded.
pub(crate) static TURN: Semaphore = Semaphore::const_new(AT_ONCE);

/// The renditions of pictures, best first.
const RENDITIONS: [&str; 3] = ["high", "mid", "low"];

/// The configuration of a daemon with a ladder and a stream of each name, whose key is `key-of-` and its name.
fn config(streams: &[&str]) -> Config {
    let key = |config: Config, stream: &&str| config.key(&format!("key-of-{stream}"), stream);
    let config = streams.iter().fold(Config::new(), key);
    // Shorter than a target duration, after which a slate would begin.
    let config = config.ladder().publish("grace_after_stop = \"300ms\"");
    config.log("info")
}

/// Our own publisher pushes `tags` as `stream`, in real time.
fn publish(daemon: &Daemon, stream: &str, tags: Vec<flv::Tag>) -> JoinHandle<()> {
    let (address, key) = (daemon.address("rtmp"), format!("key-of-{stream}"));
    spawn_blocking(move || {
        let (mut publisher, status) = Publisher::publish(address, "live", &key).expect("connected");
        assert_eq!(status.code, "NetStream.Publish.Start");
        publisher.push(&tags, 0, Some(1.0)).expect("taken");
        publisher.stop().expect("stopped");
    })
}

/// The pictures of a plain file as enhanced RTMP carries them: FourCC, and the box that holds the configuration.
fn enhanced_tags(source: &Recipe, fourcc: &[u8; 4], configuration: &[u8; 4]) -> Vec<flv::Tag> {
    let (samples, configuration) = enhanced::read(source, configuration);
    let tags = enhanced::video(fourcc, &samples, &configuration, fourcc == b"hvc1").into_iter();
    let tag = |(kind, timestamp, body)| flv::Tag {
        kind,
        timestamp,
        body,
    };
    tags.map(tag).collect()
}

/// A broadcast that was encoded from its beginning to its end.
struct Broadcast {
    multivariant: MasterPlaylist,
    recordings: BTreeMap<String, Recording>,
    /// What the control door told of it in the end.
    status: Value,
    /// The daemon's log.
    written: String,
    /// Whoever looks at it takes CPU as well.
    _turn: SemaphorePermit<'static>,
}

impl Broadcast {
    /// Has `stream` encoded by a daemon of its own, which `push` publishes to.
    async fn run(config: &Config, stream: &str, push: impl Fn(&Daemon) -> JoinHandle<()>) -> Self {
        let mut attempts = 1;
        loop {
            let turn = TURN.acquire().await.expect("never closed");
            let mut daemon = Daemon::start(config);
            let pushing = push(&daemon);
            let viewer = Viewer::new(&daemon.url(""));
            let multivariant = viewer.multivariant(stream).await;
            let recordings = viewer.record(stream).await;
            pushing.await.expect("published to its end");
            let status = daemon.control(&format!("/v1/streams/{stream}")).await;
            let overload = overload(&daemon, &status).await;
            if overload.is_empty() || attempts == ATTEMPTS {
                assert!(
                    overload.is_empty(),
                    "{stream}: too busy a machine: {overload:?}\n{status}"
                );
                assert!(daemon.alive(), "{stream}");
                return Self {
                    multivariant,
                    recordings,
                    status: serde_json::from_str(&status).expect("JSON"),
                    written: daemon.written(),
                    _turn: turn,
                };
            }
            println!("{stream}: again, {overload:?}");
            attempts += 1;
        }
    }

    /// All that the broadcaster is told, line by line.
    fn notices(&self) -> String {
        let notices = self.status["notices"].as_array().expect("a list").iter();
        let texts: Vec<_> = notices
            .filter_map(|notice| notice["text"].as_str())
            .collect();
        texts.join("\n")
    }

    fn facts(&self, folder: &str) -> BTreeMap<String, Facts> {
        facts::facts(&self.recordings, &self::folder().join(folder))
    }
}

/// What tells of encoders that could not keep up: metrics, and the words of the stream's status.
async fn overload(daemon: &Daemon, status: &str) -> Vec<String> {
    let tells = |line: &&str| {
        let late = line.contains("_shed_total") || line.contains("reason=\"late\"");
        line.starts_with("vitrine_transcode_") && late && !line.ends_with(" 0")
    };
    let metrics = daemon.control("/metrics").await;
    let waited = |up_to: &str| {
        let name = "vitrine_transcode_queue_seconds_bucket{stage=\"sound\"";
        let mut lines = metrics.lines().filter(|line| line.starts_with(name));
        lines.find(|line| line.contains(&format!("le=\"{up_to}\"")))
    };
    let count = |line: Option<&str>| line?.rsplit(' ').next().map(str::to_owned);
    // Silence stands in for sound that is later.
    let silence = (count(waited("0.25")) != count(waited("+Inf"))).then_some("sound was late");
    let lines = metrics.lines().filter(tells);
    let words = "encoding cannot keep up";
    let words = status.contains(words).then_some(words);
    lines
        .chain(silence)
        .chain(words)
        .map(str::to_owned)
        .collect()
}

/// Where what was served is kept for people to look at.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("ladder")
}

/// Fails with many complaints at once.
fn none(what: &str, complaints: &[String]) {
    let first = &complaints[..complaints.len().min(20)];
    assert!(complaints.is_empty(), "{what}:\n{}", first.join("\n"));
}
