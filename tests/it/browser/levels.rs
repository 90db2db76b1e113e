//! A viewer's player goes through all levels of the ladder, up and down: nothing stalls, and the picture goes on where it
//! was, because segments, key frames and times are the same in every rendition.
//!
//! The clock of the test card tells which picture was on screen at which media time (`tests/browser/levels.mjs`): over all
//! levels it is one straight line.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;
use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::{
    daemon::{Config, Daemon},
    sources::Encoder,
    viewer::Viewer,
};

/// Frames per second of the test card.
const RATE: f64 = 30.0;
/// How far a picture may be from its time: renditions count milliseconds.
const OFF_FRAMES: f64 = 0.5;
/// Of the frames in the seconds that each level is watched: headless Chromium on a busy machine composes fewer.
const FRAMES_AT_LEAST: usize = 10;
/// The promise that a busy machine breaks now and then, and a broken ladder each time.
const NO_STALL: &str = "no stall";
/// How often a way through the levels is gone until that holds.
const ATTEMPTS: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn hls_js_goes_through_all_levels_up_and_down_without_a_stall() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("levels");
    fs::create_dir_all(&folder).expect("a folder");
    let card = card(&folder);
    let mut broken = Vec::new();
    for _ in 0..ATTEMPTS {
        broken = watch(&folder, &card).await.broken();
        if broken.iter().any(|promise| !promise.starts_with(NO_STALL)) || broken.is_empty() {
            break;
        }
        println!("again: {broken:?}");
    }
    assert!(
        broken.is_empty(),
        "{}: {}",
        broken.join(", "),
        folder.display()
    );
}

/// Two minutes of the test card, made in `folder`, to be pushed as they are: with sound that is encoded as well.
pub(super) fn card(folder: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let card = folder.join("card.flv");
    let output = Command::new(root.join("conf/testcard.sh"))
        .env("SIZE", "640x360")
        .env("BITRATE", "800k")
        .env("PRESET", "ultrafast")
        .env("PACE", "free")
        .env("SECONDS_LONG", "120")
        .args(["-c:a", "libmp3lame", "-ar", "44100"])
        .args(["-f", "flv", "-y"])
        .arg(&card)
        .output()
        .expect("the test card runs");
    assert!(output.status.success(), "{output:?}");
    card
}

/// What a player showed on its way through the levels of a broadcast of `card`; the page's report stays in `folder`.
async fn watch(folder: &Path, card: &Path) -> Seen {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = Config::new()
        .key("levels-key", "levels")
        .ladder()
        .log("info");
    let daemon = Daemon::start(&config.static_dir(root.join("examples/player")));
    let _encoder = Encoder::ffmpeg(card, &daemon.publish_url("levels-key"));
    Viewer::new(&daemon.url("")).multivariant("levels").await;

    let report = folder.join("report.json");
    let mut node = Command::new("node");
    node.arg(root.join("tests/browser/levels.mjs"))
        .arg(daemon.url("/?stream=levels&muted"))
        .args([&report, &folder.join("screenshot.png")])
        .stdin(Stdio::null());
    let output = spawn_blocking(move || node.output()).await.expect("ran");
    let output = output.expect("node runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let text = fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert!(output.status.success(), "no picture: {said}\n{text}");
    serde_json::from_str(&text).expect("what the page script writes")
}

/// What was on screen, as tests/browser/levels.mjs writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    levels: Vec<Level>,
    switches: Vec<Switch>,
    /// Media time in seconds, number of the frame if it could be read, height of the picture.
    shown: Vec<(f64, Option<i64>, u32)>,
    next_level: Way,
    errors: Vec<Value>,
}

#[derive(Clone, Debug, Deserialize)]
struct Level {
    height: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Switch {
    how: String,
    level: usize,
    /// Until it was on screen; none, if it never was.
    after_ms: Option<f64>,
    /// Whether it still was after a while.
    stays: bool,
}

#[derive(Clone, Debug, Deserialize)]
struct Way {
    stalls: u64,
}

impl Seen {
    /// The promises that were broken.
    fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut demand = |kept: bool, promise: String| {
            if !kept {
                broken.push(promise);
            }
        };
        let heights: Vec<u32> = self.levels.iter().map(|level| level.height).collect();
        demand(
            heights == [180, 240, 360],
            format!("three levels, not {heights:?}"),
        );
        for Switch {
            how,
            level,
            after_ms,
            stays,
        } in &self.switches
        {
            demand(
                after_ms.is_some() && *stays,
                format!("{how} {level} is shown"),
            );
        }
        demand(
            self.next_level.stalls == 0,
            format!("{NO_STALL}, not {}", self.next_level.stalls),
        );
        let fatal = self.errors.iter().find(|error| error["fatal"] == true);
        demand(fatal.is_none(), format!("no fatal error: {fatal:?}"));
        let forward = self.shown.windows(2).all(|pair| pair[0].0 <= pair[1].0);
        demand(forward, "time only goes forward".to_owned());
        let read: Vec<_> = { self.shown.iter() }
            .filter_map(|(time, number, height)| Some((*time, (*number)?, *height)))
            .collect();
        let forward = read.windows(2).all(|pair| pair[0].1 <= pair[1].1);
        demand(forward, "pictures only go forward".to_owned());
        let off = |height: Option<u32>| {
            let of = read
                .iter()
                .filter(|shown| height.is_none_or(|height| height == shown.2));
            let mut off: Vec<f64> = of
                .map(|(time, number, _)| *number as f64 - time * RATE)
                .collect();
            off.sort_by(f64::total_cmp);
            off
        };
        // Whoever reads a frame late reads the next: there may be some ahead of their time, and none behind.
        let least = off(None).first().copied().unwrap_or_default();
        for level in &heights {
            let off = off(Some(*level));
            let usual = off.get(off.len() / 2).copied().unwrap_or_default() - least;
            demand(
                usual < OFF_FRAMES,
                format!("{level} lines show the picture of their time: {usual} frames off"),
            );
        }
        for level in heights {
            let count = read
                .iter()
                .filter(|(_, _, height)| *height == level)
                .count();
            demand(
                count >= FRAMES_AT_LEAST,
                format!("{level} lines are watched: {count} frames"),
            );
        }
        broken
    }
}

#[test]
fn the_verdict_can_be_against() {
    let shown = |i: i64| {
        (
            i as f64 / RATE,
            Some(100 + i),
            [180, 240, 360][i as usize / 30],
        )
    };
    let switch = |level| Switch {
        how: "nextLevel".to_owned(),
        level,
        after_ms: Some(900.0),
        stays: true,
    };
    let good = Seen {
        levels: [180, 240, 360].map(|height| Level { height }).into(),
        switches: (0..3).map(switch).collect(),
        shown: (0..90).map(shown).collect(),
        next_level: Way { stalls: 0 },
        errors: vec![serde_json::json!({ "details": "fragGap", "fatal": false })],
    };
    assert_eq!(good.broken(), Vec::<String>::new());
    let bad: [fn(&mut Seen); 9] = [
        |seen| {
            seen.levels.pop();
        },
        |seen| seen.switches[1].after_ms = None,
        |seen| seen.switches[1].stays = false,
        |seen| seen.next_level.stalls = 1,
        |seen| seen.errors[0]["fatal"] = true.into(),
        |seen| seen.shown[40].0 = 1.0,
        |seen| seen.shown[40].1 = Some(100),
        |seen| {
            seen.shown[60..]
                .iter_mut()
                .for_each(|shown| shown.1 = shown.1.map(|number| number + 1))
        },
        |seen| seen.shown.truncate(65),
    ];
    for (index, spoil) in bad.iter().enumerate() {
        let mut seen = good.clone();
        spoil(&mut seen);
        assert!(!seen.broken().is_empty(), "case {index} went unnoticed");
    }
}
