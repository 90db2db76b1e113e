//! Events in renditions that are encoded: the same boxes at the same pictures in all, while a slate stands in for the
//! publisher, and none where a rendition has no media.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::{ATTEMPTS, RENDITIONS, TURN, overload};
use crate::{
    daemon::Config,
    publisher::{Publisher, VIDEO, flv},
    shop::event,
    sources::Recipe,
    timed::{KEY, Scene},
};

const SOURCE: Recipe = Recipe {
    name: "timed",
    container: "flv",
    video: "testsrc2=size=640x360:rate=30:duration=30",
    audio: "sine=frequency=440:sample_rate=48000:duration=30",
    codecs: "-c:v libx264 -preset veryfast -tune zerolatency -b:v 500k -g 30 -keyint_min 30 -sc_threshold 0 \
             -c:a aac -b:a 64k -ac 2",
};
/// How long a rendition may take to be lost.
const PATIENCE: Duration = Duration::from_secs(40);

async fn scene() -> Scene {
    spawn_blocking(|| drop(SOURCE.file())).await.expect("made");
    Scene::start(Config::new().ladder().publish("grace = \"15s\"")).await
}

impl Scene {
    async fn status(&self) -> String {
        self.daemon.control("/v1/streams/shop").await
    }

    /// Until so much more media is published.
    async fn more(&self, milliseconds: i64) {
        let there = self.media_time_ms().await + milliseconds;
        while self.media_time_ms().await < there {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rendition_has_the_same_events_also_where_a_slate_stands_in() {
    let _turn = TURN.acquire().await.expect("never closed");
    for attempt in 1..=ATTEMPTS {
        let mut scene = scene().await;
        let encoder = scene.publish(&SOURCE);
        let recording = scene.record().await;
        scene.place(event("evt_before", "listing.pinned")).await;
        scene.more(500).await;
        drop(encoder);
        while !scene.status().await.contains("\"slate\"") {
            sleep(Duration::from_millis(100)).await;
        }
        let (_, refused) = scene.place(event("evt_slate", "price.changed")).await;
        assert_eq!(refused, 0, "there are pictures");
        scene.more(500).await;
        let _encoder = scene.publish(&SOURCE);
        while scene.status().await.contains("\"slate\"") {
            sleep(Duration::from_millis(100)).await;
        }
        scene.place(event("evt_after", "price.changed")).await;
        scene.more(1_500).await;
        let overload = overload(&scene.daemon, &scene.status().await).await;
        if !overload.is_empty() && attempt < ATTEMPTS {
            println!("again: {overload:?}");
            continue;
        }
        let (renditions, _) = scene.end(recording).await;
        for rendition in RENDITIONS {
            let ids = renditions[rendition].ids();
            assert_eq!(
                ids,
                ["evt_before", "evt_slate", "evt_after"],
                "{rendition}, {overload:?}"
            );
        }
        return;
    }
}

/// The broadcast with pictures that nothing can decode from `from_ms` on; what passes them through does not look.
fn broken(mut tags: Vec<flv::Tag>, from_ms: u32) -> Vec<flv::Tag> {
    let pictures = tags
        .iter_mut()
        .filter(|tag| tag.kind == VIDEO && tag.timestamp >= from_ms);
    for tag in pictures.filter(|tag| tag.body.get(1) == Some(&1)) {
        let mut rest = &mut tag.body[5..];
        while let Some((length, tail)) = rest.split_first_chunk_mut::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let (unit, tail) = tail.split_at_mut(length);
            // The header of a NAL unit stays, and so do those that are no slices.
            if matches!(unit[0] & 0x1f, 1 | 5) {
                unit[1..].fill(0xff);
            }
            rest = tail;
        }
    }
    tags
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rendition_that_is_lost_has_no_events_and_it_is_told() {
    let _turn = TURN.acquire().await.expect("never closed");
    let mut scene = scene().await;
    let rtmp = scene.daemon.address("rtmp");
    let publishing = spawn_blocking(move || {
        let tags = broken(flv::read(SOURCE.file()).expect("made just now"), 3_000);
        let (mut publisher, _) = Publisher::publish(rtmp, "live", KEY).expect("connected");
        // Ends with the stream.
        let _ = publisher.push(&tags, 0, Some(1.0));
    });
    let recording = scene.record().await;
    scene.place(event("evt_before", "price.changed")).await;
    let end = Instant::now() + PATIENCE;
    loop {
        let metrics = scene.daemon.control("/metrics").await;
        let lost = |line: &str| {
            line.starts_with("vitrine_transcode_rungs_lost_total") && line.ends_with(" 2")
        };
        if metrics.lines().any(lost) {
            break;
        }
        assert!(Instant::now() < end, "nothing was lost:\n{metrics}");
        sleep(Duration::from_millis(200)).await;
    }
    scene.more(1_000).await;
    scene.place(event("evt_after", "price.changed")).await;
    scene.more(2_000).await;
    let told = scene.told("evt_after").await;
    let (renditions, _) = scene.end(recording).await;
    publishing.await.expect("no panic");
    assert_eq!(renditions["high"].ids(), ["evt_before", "evt_after"]);
    for rendition in ["mid", "low"] {
        assert_eq!(renditions[rendition].ids(), ["evt_before"], "{rendition}");
    }
    let missing = told["missing"].as_array().expect("a list").iter();
    let missing: BTreeSet<_> = missing.filter_map(Value::as_str).collect();
    assert_eq!(missing, BTreeSet::from(["low", "mid"]), "{told}");
}
