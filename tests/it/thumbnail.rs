//! The still of a broadcast at `thumbnail.jpg`, and what the control door tells of its renditions: one that is encoded
//! whole, because of its long groups of pictures, and one that is only passed through.

use std::{path::Path, time::Duration};

use reqwest::{Response, StatusCode, header};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    daemon::{Config, Daemon},
    ladder::TURN,
    probe,
    sources::{self, Encoder, Recipe},
    viewer::{Viewer, client},
};

/// A key frame every ten seconds: nothing to cut at.
const LONG_GOP: Recipe = Recipe {
    name: "long-gop",
    container: "flv",
    video: "testsrc2=size=640x360:rate=30:duration=20",
    audio: "sine=frequency=440:sample_rate=48000:duration=20",
    codecs: "-c:v libx264 -preset ultrafast -tune zerolatency -b:v 500k -g 300 -keyint_min 300 -sc_threshold 0 \
             -c:a aac -b:a 48k",
};

/// How long a first still may take on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// The still, once there is one.
async fn still(viewer: &Viewer, stream: &str) -> Response {
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = viewer
            .response(&format!("/live/{stream}/thumbnail.jpg"))
            .await;
        if answer.status() != StatusCode::NOT_FOUND || Instant::now() > end {
            assert_eq!(answer.status(), StatusCode::OK, "{stream}");
            return answer;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// What an independent reader says of a still.
async fn described(still: Response, folder: &Path) -> String {
    let file = folder.join("still.jpg");
    let bytes = still.bytes().await.expect("a body");
    std::fs::write(&file, bytes).expect("written");
    probe::decodes(&file);
    probe::describe(&file, "v:0", "codec_name,width,height")
}

async fn status(daemon: &Daemon, stream: &str) -> Value {
    let text = daemon.control(&format!("/v1/streams/{stream}")).await;
    serde_json::from_str(&text).expect("JSON")
}

fn rendition<'a>(status: &'a Value, name: &str) -> &'a Value {
    let mut renditions = status["renditions"].as_array().expect("a list").iter();
    let found = renditions.find(|it| it["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {status}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_broadcast_has_a_still_and_tells_what_becomes_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let _turn = TURN.acquire().await.expect("never closed");
    let config = Config::new().ladder().max_encoded(1);
    let config = config.key("shop-key", "shop").key("booth-key", "booth");
    let daemon = Daemon::start(&config);
    let viewer = Viewer::new(&daemon.url(""));
    let url = daemon.publish_url("shop-key");
    let shop = Encoder::ffmpeg(&LONG_GOP.file(), &url);
    viewer.multivariant("shop").await;
    let url = daemon.publish_url("booth-key");
    let _booth = Encoder::ffmpeg(&sources::LONG.file(), &url);
    viewer.multivariant("booth").await;

    let first = still(&viewer, "shop").await;
    assert_eq!(first.headers()[header::CONTENT_TYPE], "image/jpeg");
    assert_eq!(first.headers()[header::CACHE_CONTROL], "max-age=5");
    let etag = first.headers()[header::ETAG].clone();
    assert_eq!(described(first, folder.path()).await, "mjpeg,640,360");

    let told = status(&daemon, "shop").await;
    assert_eq!(told["transcoding"], "on", "{told}");
    for (name, width, height) in [("high", 640, 360), ("mid", 426, 240), ("low", 320, 180)] {
        let made = rendition(&told, name);
        assert_eq!(made["source"], "encoded", "{made}");
        assert_eq!(made["state"], "ok", "{made}");
        assert_eq!(
            (&made["width"], &made["height"]),
            (&width.into(), &height.into())
        );
        assert_eq!(made["frames_per_second"], 30.0, "{made}");
        let (average, peak) = (&made["average_bandwidth"], &made["bandwidth"]);
        assert!(
            average.as_u64() > Some(0) && average.as_u64() <= peak.as_u64(),
            "{made}"
        );
        let codecs = made["codecs"].as_str().expect("codecs");
        assert!(
            codecs.starts_with("avc1.") && codecs.ends_with(",mp4a.40.2"),
            "{codecs}"
        );
    }
    let words = &rendition(&told, "high")["source_detail"];
    let words = words.as_str().expect("why it is encoded");
    assert!(
        words.contains("keyframe interval") && words.contains("1 s"),
        "{words}"
    );
    assert_eq!(rendition(&told, "audio")["source"], "passthrough");

    // No encoder was left for this one: a key frame is enough.
    let second = still(&viewer, "booth").await;
    assert_eq!(described(second, folder.path()).await, "mjpeg,320,180");
    let told = status(&daemon, "booth").await;
    assert_eq!(told["transcoding"], "full", "{told}");
    let words = told["transcoding_detail"].as_str().expect("what to do");
    assert!(words.contains("transcode.max_streams"), "{words}");
    assert_eq!(rendition(&told, "high")["source"], "passthrough");

    // Another picture comes; and the last one stays when the publisher is gone.
    let client = client().build().expect("a client");
    let address = daemon.url("/live/shop/thumbnail.jpg");
    let conditional = || client.get(&address).header(header::IF_NONE_MATCH, &etag);
    let end = Instant::now() + PATIENCE;
    while conditional().send().await.expect("answered").status() == StatusCode::NOT_MODIFIED {
        assert!(Instant::now() < end, "the still never changes");
        sleep(Duration::from_millis(200)).await;
    }
    drop(shop);
    while status(&daemon, "shop").await["state"] != "grace" {
        assert!(Instant::now() < end, "the publisher is still there");
        sleep(Duration::from_millis(100)).await;
    }
    let kept = viewer.response("/live/shop/thumbnail.jpg").await;
    assert_eq!(kept.status(), StatusCode::OK);
    let none = viewer.response("/live/nobody/thumbnail.jpg").await;
    assert_eq!(none.status(), StatusCode::NOT_FOUND);
}
