//! A source that changes its size does so in every rendition at once: one discontinuity at one media sequence number, a
//! new initialization segment, and renditions that suit the new size.

use std::{collections::BTreeMap, net::SocketAddr, thread, time::Duration};

use tokio::task::{JoinSet, spawn_blocking};

use super::{
    Broadcast, RENDITIONS, config,
    facts::{self, Facts, Run},
    none,
};
use crate::{
    daemon::Daemon,
    publisher::{Publisher, flv},
    sources::Recipe,
};

const CODECS: &str = "-c:v libx264 -preset ultrafast -tune zerolatency -b:v 1M -maxrate 1M -bufsize 1M -g 30 \
    -keyint_min 30 -sc_threshold 0 -c:a aac -b:a 64k -ac 2";
const BEFORE: Recipe = Recipe {
    name: "before",
    container: "flv",
    video: "testsrc2=size=640x360:rate=30:duration=4,CLOCK",
    audio: "sine=frequency=440:sample_rate=48000:duration=4",
    codecs: CODECS,
};
const AFTER: Recipe = Recipe {
    name: "after",
    container: "flv",
    video: "testsrc2=size=480x854:rate=30:duration=4,CLOCK",
    audio: "sine=frequency=440:sample_rate=48000:duration=4",
    codecs: CODECS,
};
/// Coded sizes of the renditions, before and after.
const SIZES: [[(u64, u64); 3]; 2] = [
    [(640, 360), (426, 240), (320, 180)],
    [(480, 854), (360, 640), (240, 428)],
];
/// Milliseconds of [`BEFORE`].
const CHANGE_MS: u32 = 4_000;

/// How the encoder changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// A telephone that is turned: another sequence header, in the same session.
    Session,
    /// A program that starts again: another session, within grace.
    Reconnect,
}

#[tokio::test(flavor = "multi_thread")]
async fn another_size_of_a_source_that_is_passed_through_is_another_in_every_rendition() {
    change("passed", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_size_of_a_source_that_is_encoded_is_another_in_every_rendition() {
    change("encoded", "high = { pass = false }").await;
}

async fn change(name: &'static str, ladder: &str) {
    spawn_blocking(|| drop((BEFORE.file(), AFTER.file())))
        .await
        .expect("made");
    let mut running = JoinSet::new();
    for (stream, how) in [("session", How::Session), ("reconnect", How::Reconnect)] {
        let config = config(&[stream]).publish("grace = \"10s\"");
        // What a slate shows between two sessions, and after the last, is other tests' to see.
        let config = config.ladder_of(&format!("{ladder}\n[ladder]\nslate = false"));
        running.spawn(async move {
            let publish = |daemon: &Daemon| {
                let address = daemon.address("rtmp");
                spawn_blocking(move || how.publish(address, &format!("key-of-{stream}")))
            };
            let broadcast = Broadcast::run(&config, stream, publish).await;
            let check = move || check(&format!("{name}-{stream}"), how, &broadcast);
            spawn_blocking(check).await.expect("see above");
        });
    }
    running.join_all().await;
}

impl How {
    fn publish(self, address: SocketAddr, key: &str) {
        let read = |recipe: Recipe| flv::read(recipe.file()).expect("made just now");
        let start = || {
            let (publisher, status) = Publisher::publish(address, "live", key).expect("connected");
            assert_eq!(status.code, "NetStream.Publish.Start");
            publisher
        };
        let mut publisher = start();
        publisher.push(&read(BEFORE), 0, Some(1.0)).expect("taken");
        if self == Self::Reconnect {
            publisher.reset().expect("cut");
            thread::sleep(Duration::from_millis(500));
            publisher = start();
        }
        publisher
            .push(&read(AFTER), CHANGE_MS, Some(1.0))
            .expect("taken");
        publisher.stop().expect("stopped");
    }
}

fn check(what: &str, how: How, broadcast: &Broadcast) {
    let facts = broadcast.facts(what);
    let mut complaints = Vec::new();
    for rendition in RENDITIONS {
        let facts = &facts[rendition];
        complaints.extend(facts::segments_begin_with_keys(facts));
        let sizes: Vec<_> = facts.runs.iter().map(Run::size).collect();
        let index = RENDITIONS
            .iter()
            .position(|known| *known == rendition)
            .expect("one of them");
        let expect: Vec<_> = SIZES.iter().map(|sizes| sizes[index]).collect();
        assert_eq!(sizes, expect, "{what} {rendition}");
        for run in &facts.runs {
            complaints.extend(facts::steady(rendition, run, 1.0 / 30.0));
            complaints.extend(facts::shows_its_time(rendition, run, 30.0));
            assert_eq!(run.pictures.len(), 120, "{what} {rendition}");
        }
        complaints.extend(one_change(facts));
    }
    for rendition in &RENDITIONS[1..] {
        complaints.extend(facts::together(&facts["high"], &facts[*rendition]));
    }
    complaints.extend(the_same_change(&facts));
    none(what, &complaints);
    if how == How::Session {
        let high = &facts["high"].runs;
        let apart = high[1].span().0 - high[0].span().1;
        assert!(
            (apart - 1.0 / 30.0).abs() < 0.002,
            "{what}: {apart} s between two pictures"
        );
    }
    let notices = broadcast.notices();
    assert!(
        !notices.contains("it goes on with gaps"),
        "{what}: {notices}"
    );
}

/// Within a rendition: one discontinuity, with another initialization segment from there on and not before, and times
/// that only go forward.
fn one_change(facts: &Facts) -> Vec<String> {
    let mut complaints = Vec::new();
    for pair in facts.cuts.windows(2) {
        let [cut, next] = pair else { continue };
        let changed = next.discontinuity - cut.discontinuity;
        let mapped = next.map != cut.map;
        let forward = next.start >= cut.start + cut.seconds - facts::FRAME
            && next.date_ms >= cut.date_ms + (cut.seconds * 1000.0) as i64 - 2;
        if changed > 1 || mapped != (changed == 1) || !forward {
            complaints.push(format!("{}: {cut:?} {next:?}", facts.name));
        }
    }
    let (first, last) = (facts.cuts.first(), facts.cuts.last());
    let changes = last
        .zip(first)
        .map(|(last, first)| last.discontinuity - first.discontinuity);
    if changes != Some(1) {
        complaints.push(format!("{}: {changes:?} discontinuities", facts.name));
    }
    complaints
}

/// The sound, too, has its discontinuity where the pictures have theirs.
pub(super) fn the_same_change(facts: &BTreeMap<String, Facts>) -> Vec<String> {
    let at = |facts: &Facts| -> Vec<u64> {
        let pairs = facts
            .cuts
            .windows(2)
            .filter(|pair| pair[1].discontinuity != pair[0].discontinuity);
        pairs.map(|pair| pair[1].msn).collect()
    };
    let changes: BTreeMap<_, _> = facts
        .iter()
        .map(|(name, facts)| (name, at(facts)))
        .collect();
    let same = changes
        .values()
        .all(|msns| Some(msns) == changes.values().next());
    { (!same).then(|| format!("discontinuities at {changes:?}")) }
        .into_iter()
        .collect()
}
