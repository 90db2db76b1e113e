//! Captions that a broadcast brings can be read along in hls.js, which looks for them only where the multivariant playlist
//! says that there are some.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::{
    captions::{SAID, captioned},
    daemon::{Config, Daemon},
    publisher::{Publisher, flv},
    sources::LONG,
    viewer::Viewer,
};

#[tokio::test(flavor = "multi_thread")]
async fn hls_js_shows_captions_as_the_playlist_names_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = Config::new().key("captions-key", "captions");
    let daemon = Daemon::start(&config.static_dir(root.join("examples/player")));
    let address = daemon.address("rtmp");
    // Half a minute, of which a player that comes in the middle of it sees enough.
    let publishing = spawn_blocking(move || {
        let tags = captioned(flv::read(LONG.file()).expect("a file"), 20);
        let (mut publisher, status) =
            Publisher::publish(address, "live", "captions-key").expect("connected");
        assert_eq!(status.code, "NetStream.Publish.Start");
        // The test may have seen enough before its end.
        let _ = publisher.push(&tags, 0, Some(1.0));
    });
    Viewer::new(&daemon.url("")).multivariant("captions").await;
    let mut node = Command::new("node");
    node.arg(root.join("tests/browser/captions.mjs"))
        .arg(daemon.url("/?stream=captions&muted"))
        .args(SAID)
        .stdin(Stdio::null());
    let output = spawn_blocking(move || node.output()).await.expect("ran");
    let output = output.expect("node runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let tracks: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert!(output.status.success(), "{tracks:#} {said}");
    let tracks = tracks.as_array().expect("a list");
    assert_eq!(tracks.len(), 1, "{tracks:?}");
    assert_eq!(tracks[0]["label"], "Captions", "{tracks:?}");
    drop(daemon);
    publishing.await.expect("ends with the daemon");
}
