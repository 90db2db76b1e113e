//! While nothing arrives the last picture goes on in every rendition, and silence: what players would else find missing.

use std::{fs, net::SocketAddr, path::Path, process::Stdio, time::Duration};

use tokio::{
    task::{JoinSet, spawn_blocking},
    time::sleep,
};

use super::{
    Broadcast, RENDITIONS,
    changes::the_same_change,
    config,
    facts::{self, Facts, Run},
    none,
};
use crate::{
    daemon::{CONTROL_TOKEN, Daemon},
    publisher::{Publisher, flv},
    sources::{Recipe, ffmpeg},
};

const SOURCE: Recipe = Recipe {
    name: "outage",
    container: "flv",
    video: "testsrc2=size=640x360:rate=30:duration=4,CLOCK",
    audio: "sine=frequency=440:sample_rate=48000:duration=4",
    codecs: "-c:v libx264 -preset veryfast -profile:v main -tune zerolatency -b:v 1M -maxrate 1M -bufsize 1M -g 30 -keyint_min 30 \
        -sc_threshold 0 -c:a aac -b:a 64k -ac 2",
};
/// Milliseconds of [`SOURCE`].
const LONG_MS: u32 = 4_000;
/// Number of its last picture.
const LAST: u32 = 119;
/// Seconds of a part, which each picture of a slate is.
const PART: f64 = 0.2;
/// How long nothing comes.
const AWAY: Duration = Duration::from_secs(6);

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// The connection is reset, and another begins.
    Reconnect,
    /// The connection stays, and nothing comes.
    Jam,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_picture_and_silence_go_on_until_the_source_is_back() {
    spawn_blocking(|| drop(SOURCE.file())).await.expect("made");
    let mut running = JoinSet::new();
    for (stream, how, lines) in [
        ("away", How::Reconnect, ""),
        ("jam", How::Jam, ""),
        ("encoded", How::Reconnect, "high = { pass = false }"),
    ] {
        running.spawn(async move {
            let config = config(&[stream]).publish("grace = \"15s\"");
            let config = match lines {
                "" => config,
                // What is encoded has target durations of a segment: one must not pass between the stop and the end.
                lines => config.ladder_of(lines).hls("segment = \"2s\""),
            };
            let publish = |daemon: &Daemon| {
                let rtmp = daemon.address("rtmp");
                let status = daemon.control_url(&format!("/v1/streams/{stream}"));
                tokio::spawn(how.publish(rtmp, stream, status))
            };
            let broadcast = Broadcast::run(&config, stream, publish).await;
            let check = move || check(stream, &broadcast, lines.is_empty());
            spawn_blocking(check).await.expect("see above");
        });
    }
    running.join_all().await;
}

impl How {
    async fn publish(self, rtmp: SocketAddr, stream: &'static str, status: String) {
        let key = format!("key-of-{stream}");
        let tags = flv::read(SOURCE.file()).expect("made just now");
        let start = move || {
            let (publisher, status) = Publisher::publish(rtmp, "live", &key).expect("connected");
            assert_eq!(status.code, "NetStream.Publish.Start");
            publisher
        };
        let (mut publisher, start, tags) = spawn_blocking(move || {
            let mut publisher = start();
            publisher.push(&tags, 0, Some(1.0)).expect("taken");
            let publisher = match self {
                Self::Jam => Some(publisher),
                Self::Reconnect => {
                    publisher.reset().expect("cut");
                    None
                }
            };
            (publisher, start, tags)
        })
        .await
        .expect("published");
        assert_eq!(stopgap(&status).await, None);
        sleep(AWAY).await;
        assert_eq!(stopgap(&status).await.as_deref(), Some("slate"));
        let rest = spawn_blocking(move || {
            let away_ms = AWAY.as_millis() as u32;
            let mut publisher = publisher.take().unwrap_or_else(start);
            publisher
                .push(&tags, LONG_MS + away_ms, Some(1.0))
                .expect("taken");
            publisher
        });
        let mut publisher = rest.await.expect("published");
        assert_eq!(stopgap(&status).await, None);
        publisher.stop().expect("stopped");
    }
}

/// What the control door says that playlists grow with.
async fn stopgap(status: &str) -> Option<String> {
    let client = crate::viewer::client().build().expect("a client");
    let answer = client.get(status).bearer_auth(CONTROL_TOKEN).send().await;
    let text = answer.expect("answered").text().await.expect("a body");
    let status: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    status["stopgap"].as_str().map(str::to_owned)
}

fn check(what: &str, broadcast: &Broadcast, passes: bool) {
    let facts = broadcast.facts(what);
    let mut complaints = Vec::new();
    for rendition in RENDITIONS {
        let facts = &facts[rendition];
        let [before, slate, after] = &facts.runs[..] else {
            panic!(
                "{what} {rendition}: {:?}\n{}",
                facts.cuts, broadcast.written
            );
        };
        complaints.extend(facts::segments_begin_with_keys(facts));
        for (run, apart) in [(before, facts::FRAME), (slate, PART), (after, facts::FRAME)] {
            complaints.extend(facts::steady(rendition, run, apart));
        }
        for run in [before, after] {
            complaints.extend(facts::shows_its_time(rendition, run, 30.0));
        }
        complaints.extend(shows_the_last(rendition, slate));
        assert_eq!(before.size(), slate.size(), "{what} {rendition}");
        // What passes through has an initialization segment of its own, before and after.
        let mut maps: Vec<_> = facts.cuts.iter().map(|cut| &cut.map).collect();
        maps.dedup();
        let wanted = match passes && rendition == "high" {
            true => &["init0.mp4", "init1.mp4", "init0.mp4"][..],
            false => &["init0.mp4"],
        };
        assert_eq!(maps, wanted, "{what} {rendition}");
        complaints.extend(goes_on(facts));
    }
    for rendition in &RENDITIONS[1..] {
        complaints.extend(facts::together(&facts["high"], &facts[*rendition]));
    }
    complaints.extend(the_same_change(&facts));
    complaints.extend(sounds(&broadcast.recordings["audio"].files(), what));
    none(what, &complaints);
    let notices = broadcast.notices();
    let told = "playlists go on with the last picture and silence";
    assert!(notices.contains(told), "{what}: {notices}");
}

/// All that a run shows is the last picture of the one before it.
fn shows_the_last(name: &str, run: &Run) -> Vec<String> {
    let others = { &run.numbers }
        .iter()
        .filter(|number| **number != Some(LAST));
    let others: Vec<_> = others.collect();
    let seconds = run.pictures.len() as f64 * PART;
    let long = (AWAY.as_secs_f64() - 0.5..AWAY.as_secs_f64() + 2.5).contains(&seconds);
    { (!long || !others.is_empty()).then(|| format!("{name}: {seconds} s of {others:?}")) }
        .into_iter()
        .collect()
}

/// No segment is missing, and between two runs there is no more than a part's rest.
fn goes_on(facts: &Facts) -> Vec<String> {
    let mut complaints = Vec::new();
    for pair in facts.cuts.windows(2) {
        if pair[1].msn != pair[0].msn + 1 {
            complaints.push(format!("{}: {pair:?}", facts.name));
        }
    }
    for pair in facts.runs.windows(2) {
        let apart = pair[1].span().0 - pair[0].span().1;
        if !(0.02..0.25).contains(&apart) {
            complaints.push(format!("{}: {apart} s between runs", facts.name));
        }
    }
    complaints
}

/// Sound, silence, and sound again.
fn sounds(runs: &[Vec<u8>], what: &str) -> Vec<String> {
    let loud: Vec<_> = (runs.iter().enumerate())
        .map(|(index, bytes)| {
            let file = super::folder()
                .join(what)
                .join(format!("audio-{index}.mp4"));
            fs::write(&file, bytes).expect("a file is written");
            loudest(&file) > -60.0
        })
        .collect();
    { (loud != [true, false, true]).then(|| format!("loud: {loud:?}")) }
        .into_iter()
        .collect()
}

/// The loudest sample of a file, in decibels.
fn loudest(file: &Path) -> f64 {
    let output = ffmpeg()
        .args(["-loglevel", "info", "-i"])
        .arg(file)
        .args(["-af", "volumedetect", "-f", "null", "-"])
        .stdin(Stdio::null())
        .output()
        .expect("ffmpeg runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let level = said.split("max_volume:").nth(1).expect("a level");
    let level = level.split_whitespace().next().expect("a number");
    level.parse().expect("decibels")
}
