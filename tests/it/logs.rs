//! No secret in anything that was written: a busy run with keys in every place, then a search through all of it.

use std::time::Duration;

use crate::{
    daemon::{CONTROL_TOKEN, Config, Daemon},
    publisher::{Publisher, flv},
    sources::{self, Encoder},
    viewer::{Viewer, client},
};

/// Keys that are right, each in a place where encoders put keys.
const RIGHT: [(&str, &str, &str); 6] = [
    ("live", "secret-in-name", "secret-in-name"),
    ("live", "name?key=secret-in-key", "secret-in-key"),
    ("live", "name?token=secret-in-token&a=b", "secret-in-token"),
    ("live?key=secret-in-app", "name", "secret-in-app"),
    ("live?token=secret-in-tcurl", "", "secret-in-tcurl"),
    (
        "live",
        "secret-with-query?password=secret-unasked",
        "secret-with-query",
    ),
];
/// Keys that are wrong; a mistyped key is nearly a key.
const WRONG: [(&str, &str); 4] = [
    ("live", "secret-mistyped"),
    ("live", "name?key=secret-mistyped"),
    ("live?token=secret-mistyped", "name"),
    ("live/secret-mistyped", "name"),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_ever_written() {
    let config = RIGHT
        .iter()
        .enumerate()
        .fold(Config::new(), |config, (index, (_, _, key))| {
            config.key(key, &format!("stream{index}"))
        });
    let daemon = Daemon::start(&config);
    let address = daemon.address("rtmp");
    let publishers = tokio::task::spawn_blocking(move || {
        let tags = flv::read(sources::SHORT.file()).expect("made just now");
        let mut live = Vec::new();
        for (app, name, _) in RIGHT {
            let (mut publisher, status) =
                Publisher::publish(address, app, name).expect("connected");
            assert_eq!(status.code, "NetStream.Publish.Start", "{app} {name}");
            publisher.push(&tags, 0, None).expect("taken");
            // A body that cannot be used: its complaint must not quote the session's request.
            publisher.video(4000, &[0x17, 1]).expect("taken");
            live.push(publisher);
        }
        for (app, name) in WRONG {
            if let Ok((mut refused, _)) = Publisher::publish(address, app, name) {
                refused.closes_within(Duration::from_secs(2));
            }
        }
        let (again, _) = Publisher::publish(address, "live", "secret-in-name").expect("connected");
        live.push(again);
        live
    });
    let mut publishers = publishers.await.expect("a busy run");
    let url = format!("{}?key=secret-in-key", daemon.publish_url("name"));
    let encoder = Encoder::ffmpeg(&sources::SHORT.file(), &url);
    Viewer::new(&daemon.url("")).multivariant("stream0").await;

    let mut written = String::new();
    let client = client().build().expect("a client");
    for path in [
        "/metrics",
        "/v1/streams",
        "/v1/streams/stream0",
        "/v1/streams/stream1",
    ] {
        let request = client
            .get(daemon.control_url(path))
            .bearer_auth(CONTROL_TOKEN);
        let answer = request.send().await.expect("answered");
        written += &answer.text().await.expect("a body");
    }
    for publisher in publishers.drain(..) {
        let _ = publisher.reset();
    }
    let _ = tokio::task::spawn_blocking(move || encoder.wait()).await;
    let exit = tokio::task::spawn_blocking(move || daemon.stop())
        .await
        .expect("it leaves");
    assert!(
        exit.written.contains("stream0"),
        "sessions are logged by their stream"
    );
    written += &exit.written;
    for secret in ["secret-", CONTROL_TOKEN] {
        let found: Vec<&str> = written
            .lines()
            .filter(|line| line.contains(secret))
            .collect();
        assert!(
            found.is_empty(),
            "{secret} was written:\n{}",
            found.join("\n")
        );
    }
}
