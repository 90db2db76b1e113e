//! Half a minute of the example player, hls.js in Debian's Chromium: it starts, never stalls, and time only goes forward.
//!
//! The picture carries a frame counter (`conf/testcard.sh`), read back in the page by `tests/browser/play.mjs`, whose report
//! holds facts without a verdict; the verdict is here. The screenshot stays in cargo's folder for test output, to be
//! looked at. What the page loads comes from npm: `make assets` fetches it.

mod captions;
#[cfg(feature = "transcode")]
mod events;
#[cfg(feature = "transcode")]
mod levels;
mod outage;
mod relay;
mod takedown;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    daemon::{Config, Daemon},
    sources::Encoder,
    viewer::Viewer,
};

/// Of the frames that 30 s of a 30 fps broadcast hold, how many must be seen; headless Chromium on a busy machine composes
/// fewer than there are, which is no fault of the stream.
const FRAMES_AT_LEAST: u64 = 300;

#[tokio::test(flavor = "multi_thread")]
async fn chromium_plays_half_a_minute_without_a_stall() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for needed in ["tests/browser/node_modules", "examples/player/hls.min.js"] {
        assert!(
            root.join(needed).exists(),
            "{needed} is missing: run `make assets` first"
        );
    }
    let config = Config::new().key("card-key", "card");
    let daemon = Daemon::start(&config.static_dir(root.join("examples/player")));
    let _card = Encoder::card(&daemon.publish_url("card-key"));
    Viewer::new(&daemon.url("")).multivariant("card").await;

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser");
    fs::create_dir_all(&folder).expect("a folder");
    let (report, picture) = (folder.join("report.json"), folder.join("screenshot.png"));
    let page = daemon.url("/?stream=card");
    let mut node = Command::new("node");
    node.arg(root.join("tests/browser/play.mjs"))
        .args([&page, "30"])
        .args([&report, &picture])
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || node.output())
        .await
        .expect("ran");
    let output = output.expect("node runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let text = fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert!(output.status.success(), "no picture: {said}\n{text}");
    verdict(&serde_json::from_str(&text).expect("JSON"));
}

/// What a viewer is owed. No figure of latency: that is the proof's business, on a machine at rest.
fn verdict(report: &Value) {
    assert!(
        report["firstFrameMs"].is_number(),
        "never started: {report:#}"
    );
    let frames = |name: &str| report["frames"][name].as_u64().unwrap_or(u64::MAX);
    assert_eq!(
        frames("backward"),
        0,
        "the picture went back in time: {report:#}"
    );
    assert!(
        frames("shown") >= FRAMES_AT_LEAST,
        "too few frames: {report:#}"
    );
    assert!(
        frames("unreadable") * 10 <= frames("shown"),
        "torn pictures: {report:#}"
    );
    let errors = report["errors"].as_array().expect("a list");
    let fatal = errors.iter().find(|error| error["fatal"] == true);
    assert!(fatal.is_none(), "a fatal error: {report:#}");
    let stalls = report["stats"]["stalls"].as_u64();
    assert_eq!(stalls, Some(0), "stalled: {report:#}");
}

#[test]
fn the_verdict_can_be_against() {
    let good = serde_json::json!({
        "firstFrameMs": 800,
        "frames": { "shown": 880, "unreadable": 0, "backward": 0, "repeated": 2, "skipped": 9 },
        "errors": [{ "details": "fragGap", "fatal": false }],
        "stats": { "stalls": 0 },
    });
    verdict(&good);
    for (pointer, bad) in [
        ("/firstFrameMs", Value::Null),
        ("/frames/shown", 20.into()),
        ("/frames/unreadable", 500.into()),
        ("/frames/backward", 1.into()),
        ("/errors/0/fatal", true.into()),
        ("/stats/stalls", 1.into()),
        ("/stats", Value::Null),
    ] {
        let mut report = good.clone();
        *report.pointer_mut(pointer).expect("there") = bad;
        let check = std::panic::AssertUnwindSafe(|| verdict(&report));
        assert!(
            std::panic::catch_unwind(check).is_err(),
            "{pointer} went unnoticed"
        );
    }
}
