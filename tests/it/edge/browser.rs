//! hls.js in Chromium behind an edge: with two origins, one of which is killed, the picture goes on; so it does with a token
//! that is renewed, and without renewal it ends.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    daemon::{Config, Daemon},
    edges::{Edge, Kind},
    sources::Encoder,
    splitter::{Splitter, unix_seconds},
    tokens::Key,
    viewer::Viewer,
};

/// Seconds of watching, and of them those before one origin dies.
const WATCHED: u64 = 24;
const BEFORE: u64 = 9;

#[tokio::test(flavor = "multi_thread")]
async fn a_player_behind_varnish_outlives_an_origin() {
    outlive(Kind::Varnish).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_behind_nginx_outlives_an_origin() {
    outlive(Kind::Nginx).await;
}

async fn outlive(kind: Kind) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for needed in ["tests/browser/node_modules", "examples/player/hls.min.js"] {
        let there = root.join(needed).exists();
        assert!(there, "{needed} is missing: run `make assets` first");
    }
    let config = Config::new().key("card-key", "card");
    let config = config
        .key_option("epoch = \"publisher\"")
        .static_dir(root.join("examples/player"));
    let origins = [Daemon::start(&config), Daemon::start(&config)];
    let doors = origins.each_ref().map(|origin| origin.address("rtmp"));
    let mut card = Command::new(root.join("conf/testcard.sh"))
        .env("SIZE", "640x360")
        .env("BITRATE", "600k")
        .env("PRESET", "ultrafast")
        .args(["-f", "flv", "pipe:1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ffmpeg starts");
    let flv = card.stdout.take().expect("piped");
    let mut splitter = Splitter::connect(&doors, "card-key", unix_seconds()).expect("accepted");
    let splitting = std::thread::spawn(move || splitter.pipe(flv));
    let edge = Edge::start(
        kind,
        origins.each_ref().map(|origin| origin.address("http")),
        &[],
    )
    .await;
    Viewer::new(&edge.url("")).multivariant("card").await;

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser");
    fs::create_dir_all(&folder).expect("a folder");
    let report = folder.join(format!("edge-{kind:?}.json"));
    let mut node = Command::new("node");
    node.arg(root.join("tests/browser/play.mjs"))
        .args([edge.url("/?stream=card"), WATCHED.to_string()])
        .arg(&report)
        .stdin(Stdio::null());
    let watching = tokio::task::spawn_blocking(move || node.output());
    // The one that is asked: the edge asks it first as long as it lives.
    tokio::time::sleep(Duration::from_secs(BEFORE)).await;
    assert!(control_requests(&origins[0]).await > 0, "nobody asked it");
    let [first, second] = origins;
    first.kill();
    let output = watching.await.expect("ran").expect("node runs");
    let _ = (card.kill(), card.wait());
    let _ = splitting.join();
    let said = String::from_utf8_lossy(&output.stderr);
    let text = fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert!(output.status.success(), "no picture: {said}\n{text}");
    assert!(
        control_requests(&second).await > 0,
        "nobody asked the other"
    );
    verdict(&serde_json::from_str(&text).expect("JSON"));
}

/// Two players begin with a token that is soon over, a session included; one is given another in time. It is the player's
/// doing: behind either edge the same, so one shows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_while_the_picture_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let key = Key::ed25519("k1");
    let own = format!("~{}/", key.token("*", 3600));
    let config = Config::new()
        .key("card-key", "card")
        .playback(&Key::signed(&[&key]))
        .playback("max_session = \"1s\"")
        .static_dir(root.join("examples/player"));
    let daemon = Daemon::start(&config);
    let _card = Encoder::card(&daemon.publish_url("card-key"));
    let leave = format!("X-Own-Token = \"{own}\"");
    let origin = daemon.address("http");
    let edge = Edge::start(
        Kind::Varnish,
        [origin; 2],
        &[("X-Own-Token = \"\"", &leave)],
    )
    .await;
    Viewer::new(&daemon.url(""))
        .multivariant(&format!("{own}card"))
        .await;

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser");
    fs::create_dir_all(&folder).expect("a folder");
    let out = folder.join("renew.json");
    // Two browsers have to begin while it is good.
    let (short, fresh) = (key.token("card", 20), key.token("card", 600));
    let mut node = Command::new("node");
    node.arg(root.join("tests/browser/renew.mjs"))
        .args([
            edge.url(&format!("/?stream=card&muted&token={short}")),
            fresh,
        ])
        .arg(&out)
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || node.output()).await;
    let output = output.expect("ran").expect("node runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let text = fs::read_to_string(&out).unwrap_or_else(|error| panic!("{error}: {said}"));
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert!(output.status.success(), "no picture: {said} {report:#}");
    let (before, renewed, left) = (&report["before"], &report["renewed"], &report["left"]);
    let number = |of: &Value, pointer: &str| of.pointer(pointer).and_then(Value::as_f64);
    let played = |of: &Value| number(of, "/stats/currentTime").unwrap_or_default();
    assert!(played(renewed) > played(before) + 5.0, "{report:#}");
    assert_eq!(
        number(renewed, "/stats/fatalErrors"),
        Some(0.0),
        "{report:#}"
    );
    let stalls = |of: &Value| number(of, "/stats/stalls");
    assert_eq!(stalls(renewed), stalls(before), "a stall: {report:#}");
    assert!(number(renewed, "/renewed") > Some(20.0), "{report:#}");
    // Without renewal it is over: the first token did end.
    assert_eq!(left["title"], "You may not watch this stream", "{report:#}");
    assert_eq!(number(left, "/renewed"), Some(0.0), "{report:#}");
}

/// Requests for anything of the stream, by the origin's own count.
async fn control_requests(origin: &Daemon) -> u64 {
    let client = crate::viewer::client().build().expect("a client");
    let request = client.get(origin.control_url("/v1/streams/card"));
    let response = request
        .bearer_auth(crate::daemon::CONTROL_TOKEN)
        .send()
        .await;
    let status: Value = response.expect("answered").json().await.expect("JSON");
    status["requests"]
        .as_u64()
        .unwrap_or_else(|| panic!("{status:#}"))
}

/// The picture goes on to the end of the watch, and nothing fatal was reported.
fn verdict(report: &Value) {
    let frames = |name: &str| report["frames"][name].as_u64().unwrap_or_default();
    assert_eq!(
        frames("backward"),
        0,
        "the picture went back in time: {report:#}"
    );
    assert!(frames("shown") >= 200, "too few frames: {report:#}");
    let went_on = frames("last").saturating_sub(frames("first"));
    // 30 a second; what is lost to the start and to a freeze is at most a quarter.
    assert!(
        went_on >= WATCHED * 30 * 3 / 4,
        "the counter stood still: {report:#}"
    );
    let errors = report["errors"].as_array().expect("a list");
    let fatal = errors.iter().find(|error| error["fatal"] == true);
    assert!(fatal.is_none(), "a fatal error: {report:#}");
}
