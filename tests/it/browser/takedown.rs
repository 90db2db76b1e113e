//! A takedown, seen from the page: the frame leaves the screen, and nothing of the stream is served any more.
//!
//! `tests/browser/takedown.mjs` plays, calls, and reads the screen back pixel by pixel; the verdict is here. How soon the frame
//! went is printed and bounded generously: the bar (1 s) is a figure of a machine at rest.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    daemon::{CONTROL_TOKEN, Config, Daemon},
    sources::Encoder,
    viewer::Viewer,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_down_leaves_the_screen_and_every_address() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = Config::new().key("card-key", "card");
    let daemon = Daemon::start(&config.static_dir(root.join("examples/player")));
    let _card = Encoder::card(&daemon.publish_url("card-key"));
    let viewer = Viewer::new(&daemon.url(""));
    let folders = viewer.renditions("card").await;

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser");
    fs::create_dir_all(&folder).expect("a folder");
    let out = folder.join("takedown.json");
    let mut node = Command::new("node");
    node.arg(root.join("tests/browser/takedown.mjs"))
        .arg(daemon.url("/?stream=card&muted"))
        .arg(daemon.control_url("/v1/streams/card/end"))
        .args([CONTROL_TOKEN])
        .arg(&out)
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || node.output()).await;
    let output = output.expect("ran").expect("node runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let text = fs::read_to_string(&out).unwrap_or_else(|error| panic!("{error}: {said}"));
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert!(output.status.success(), "no picture: {said}");
    println!(
        "the frame was gone {} ms after the call",
        report["goneAfterMs"]
    );
    verdict(&report);

    // Whatever the page had asked for, and the rest of it.
    let asked = report["asked"].as_array().expect("a list");
    let paths = asked
        .iter()
        .filter_map(|it| it["url"].as_str()?.split_once("/live/"));
    let mut paths: Vec<_> = paths.map(|(_, path)| format!("/live/{path}")).collect();
    for folder in folders.values() {
        let names = ["index.m3u8", "init0.mp4", "p0.m4s", "s0.m4s"];
        paths.extend(names.map(|name| format!("{folder}{name}")));
    }
    paths.extend(["index.m3u8", "thumbnail.jpg"].map(|name| format!("/live/card/{name}")));
    assert!(paths.len() > 20, "{report:#}");
    for path in paths {
        let answer = viewer.response(&path).await;
        assert_eq!(answer.status().as_u16(), 410, "{path}");
        assert_eq!(answer.headers()["cache-control"], "no-store", "{path}");
    }
}

fn verdict(report: &Value) {
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_f64);
    assert_eq!(
        number("/answer/status"),
        Some(200.0),
        "{}",
        report["answer"]
    );
    assert!(
        number("/bright/before") > Some(0.2),
        "no picture: {report:#}"
    );
    assert!(
        number("/bright/after") < Some(0.05),
        "a frame stayed: {report:#}"
    );
    assert!(
        number("/goneAfterMs").is_some_and(|ms| ms < 10_000.0),
        "{report:#}"
    );
    assert_eq!(report["title"], "This broadcast was removed", "{report:#}");
}
