//! A restart is an outage, not an end: SIGTERM saves, a start within grace goes on; a crash begins anew; grace ends lists.

use std::{collections::BTreeMap, fs, net::SocketAddr, time::Duration};

use bytes::Bytes;
use reqwest::{Response, StatusCode, header};
use tokio::task::{JoinSet, spawn_blocking};

use crate::{
    daemon::{Config, Daemon, Exit},
    publisher::{Publisher, flv},
    sources::{self, Encoder},
    viewer::{Playlist, Viewer, check_succession},
};

/// Nobody waits long for a publisher that is asked to go.
fn config() -> Config {
    Config::new()
        .key("k3y", "shop")
        .top("shutdown_timeout = \"2s\"")
}

/// Publishes three seconds at once and stays.
pub(crate) async fn publish(address: SocketAddr, key: &'static str) -> Publisher {
    spawn_blocking(move || {
        let tags = flv::read(sources::SHORT.file()).expect("made just now");
        let (mut publisher, status) = Publisher::publish(address, "live", key).expect("connected");
        assert_eq!(status.code, "NetStream.Publish.Start", "{status:?}");
        publisher.push(&tags, 0, None).expect("taken");
        publisher
    })
    .await
    .expect("no panic")
}

/// Ends a daemon in good order, whatever it said.
pub(crate) async fn stop(daemon: Daemon) -> Exit {
    let exit = spawn_blocking(move || daemon.stop())
        .await
        .expect("it leaves");
    assert_eq!(exit.code, Some(0), "{}", exit.written);
    exit
}

/// Ends a daemon by SIGKILL.
pub(crate) async fn kill(daemon: Daemon) -> Exit {
    spawn_blocking(move || daemon.kill())
        .await
        .expect("it leaves")
}

/// Another daemon in the place of one that left.
pub(crate) async fn restart(exit: Exit, config: Config) -> Daemon {
    spawn_blocking(move || exit.restart(&config))
        .await
        .expect("it starts")
}

/// What a player knows of a rendition: its playlist, and all that was behind what it lists, with its validator.
struct Known {
    folder: String,
    playlist: Playlist,
    media: BTreeMap<String, (Bytes, String)>,
}

impl Known {
    async fn of(viewer: &Viewer, folder: &str) -> Self {
        let playlist = viewer.playlist(folder, "").await;
        let mut media = BTreeMap::new();
        for segment in &playlist.segments {
            let whole = segment.uri.iter().filter(|_| !segment.gap);
            let parts = segment.parts.iter().filter(|part| !part.gap);
            let uris = segment
                .map
                .iter()
                .chain(whole)
                .chain(parts.map(|part| &part.uri));
            for uri in uris {
                let response = viewer.response(&format!("{folder}{uri}")).await;
                assert_eq!(response.status(), StatusCode::OK, "{folder}{uri}");
                let etag = etag(&response);
                let bytes = response.bytes().await.expect("a body");
                media.insert(uri.clone(), (bytes, etag));
            }
        }
        let folder = folder.to_owned();
        Self {
            folder,
            playlist,
            media,
        }
    }

    /// All of it is still there, and the list goes on.
    async fn check_goes_on(&self, viewer: &Viewer) -> Playlist {
        for (uri, (bytes, known)) in &self.media {
            let path = format!("{}{uri}", self.folder);
            let response = viewer.response(&path).await;
            assert_eq!(
                (response.status(), &etag(&response)),
                (StatusCode::OK, known),
                "{path}"
            );
            assert!(
                response.bytes().await.expect("a body") == bytes,
                "{path} is another"
            );
        }
        let playlist = viewer.playlist(&self.folder, "").await;
        check_succession(&self.playlist, &playlist);
        check_date_times(&playlist);
        playlist
    }
}

fn etag(response: &Response) -> String {
    let etag = response.headers()[header::ETAG].to_str();
    etag.expect("ASCII").to_owned()
}

/// Program date-time never goes back, and gaps have none in it but at a discontinuity.
fn check_date_times(playlist: &Playlist) {
    for pair in playlist.segments.windows(2) {
        let [before, after] = [&pair[0], &pair[1]].map(|segment| segment.program_date_time);
        let step_ms = after.expect("P7") - before.expect("P7");
        let duration_ms = (pair[0].duration * 1000.0).round() as i64;
        let meets = (step_ms - duration_ms).abs() <= 2;
        let jumps = pair[1].discontinuity && step_ms >= duration_ms - 2;
        assert!(meets || jumps, "{}", playlist.text);
    }
}

/// Follows a list by blocking reloads until one of its segments is as wanted.
async fn until(viewer: &Viewer, folder: &str, wanted: impl Fn(&Playlist) -> bool) -> Playlist {
    let mut playlist = viewer.playlist(folder, "").await;
    while !wanted(&playlist) {
        assert!(!playlist.ended, "it ended before:\n{}", playlist.text);
        let (msn, part) = playlist.next();
        let next = viewer
            .playlist(folder, &format!("?_HLS_msn={msn}&_HLS_part={part}"))
            .await;
        check_succession(&playlist, &next);
        playlist = next;
    }
    playlist
}

/// The discontinuities of a list with media behind them: their numbers.
fn discontinuities(playlist: &Playlist) -> Vec<u64> {
    let begun =
        |parts: &[crate::viewer::Part]| parts.is_empty() || parts.iter().any(|part| !part.gap);
    (playlist.segments.iter())
        .filter(|segment| segment.discontinuity && !segment.gap && begun(&segment.parts))
        .map(|segment| segment.msn)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_within_grace_goes_on_and_a_crash_after_it_begins_anew() {
    let daemon = Daemon::start(&config());
    let viewer = Viewer::new(&daemon.url(""));
    let encoder = Encoder::ffmpeg(&sources::LONG.file(), &daemon.publish_url("k3y"));
    let folders = viewer.renditions("shop").await;
    assert_eq!(folders.len(), 2, "{folders:?}");
    let mut known = Vec::new();
    for folder in folders.values() {
        until(&viewer, folder, |playlist| playlist.next().0 >= 3).await;
        known.push(Known::of(&viewer, folder).await);
    }
    let exit = stop(daemon).await;
    drop(encoder);
    assert!(exit.data().join("streams/shop").is_file(), "saved");

    let daemon = restart(exit, config()).await;
    let viewer = Viewer::new(&daemon.url(""));
    assert_eq!(
        viewer.renditions("shop").await,
        folders,
        "the same epoch at once"
    );
    for known in &known {
        let playlist = known.check_goes_on(&viewer).await;
        assert!(!playlist.ended);
        let hole = |playlist: &Playlist| {
            let newest = playlist
                .segments
                .last()
                .and_then(|segment| segment.parts.last());
            newest.is_some_and(|part| part.gap)
        };
        until(&viewer, &known.folder, hole).await;
    }

    let _encoder = Encoder::ffmpeg(&sources::LONG.file(), &daemon.publish_url("k3y"));
    let mut joined = Vec::new();
    for known in &known {
        let back = |playlist: &Playlist| !discontinuities(playlist).is_empty();
        let playlist = until(&viewer, &known.folder, back).await;
        check_date_times(&playlist);
        joined.push(discontinuities(&playlist));
        known.check_goes_on(&viewer).await;
    }
    assert_eq!(joined[0].len(), 1);
    assert_eq!(
        joined[0], joined[1],
        "one discontinuity, at one number everywhere"
    );

    let exit = kill(daemon).await;
    let daemon = restart(exit, config()).await;
    let viewer = Viewer::new(&daemon.url(""));
    check_gone(&viewer, &folders).await;
    let _publisher = publish(daemon.address("rtmp"), "k3y").await;
    check_new_epoch(&viewer, &folders).await;
}

/// Nothing of an epoch is served: its URLs will never mean anything else.
async fn check_gone(viewer: &Viewer, folders: &BTreeMap<String, String>) {
    for folder in folders.values() {
        for name in ["index.m3u8", "init0.mp4", "s1.m4s", "p1.m4s"] {
            let response = viewer.response(&format!("{folder}{name}")).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{folder}{name}");
        }
    }
}

/// The stable address leads to an epoch with a higher number.
async fn check_new_epoch(viewer: &Viewer, before: &BTreeMap<String, String>) {
    let number = |folders: &BTreeMap<String, String>| -> u64 {
        let epoch = folders["high"]
            .split('/')
            .nth(3)
            .expect("/live/shop/17/high/");
        epoch.parse().expect("a number")
    };
    let after = viewer.renditions("shop").await;
    assert!(number(&after) > number(before), "{before:?} then {after:?}");
    check_gone(viewer, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_begins_a_new_epoch_at_the_same_address() {
    let daemon = Daemon::start(&config());
    let _publisher = publish(daemon.address("rtmp"), "k3y").await;
    let folders = Viewer::new(&daemon.url("")).renditions("shop").await;
    let daemon = restart(kill(daemon).await, config()).await;
    let viewer = Viewer::new(&daemon.url(""));
    check_gone(&viewer, &folders).await;
    let _publisher = publish(daemon.address("rtmp"), "k3y").await;
    check_new_epoch(&viewer, &folders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_after_grace_is_an_end() {
    let config = || config().publish("grace = \"1s\"");
    let daemon = Daemon::start(&config());
    let _publisher = publish(daemon.address("rtmp"), "k3y").await;
    let folders = Viewer::new(&daemon.url("")).renditions("shop").await;
    let exit = stop(daemon).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let data = exit.data();
    let daemon = restart(exit, config()).await;
    let viewer = Viewer::new(&daemon.url(""));
    let said = daemon.written();
    assert!(
        said.contains("saved stream not resumed") && said.contains("ran out"),
        "{said}"
    );
    assert!(!data.join("streams/shop").exists(), "it is not tried again");
    let response = viewer.response("/live/shop/index.m3u8").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let _publisher = publish(daemon.address("rtmp"), "k3y").await;
    check_new_epoch(&viewer, &folders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_costs_its_stream_and_nothing_else() {
    let config = || config().key("other-k3y", "other");
    let daemon = Daemon::start(&config());
    let viewer = Viewer::new(&daemon.url(""));
    let _publishers = [
        publish(daemon.address("rtmp"), "k3y").await,
        publish(daemon.address("rtmp"), "other-k3y").await,
    ];
    let folders = viewer.renditions("shop").await;
    let other = viewer.renditions("other").await;
    let exit = stop(daemon).await;
    let path = exit.data().join("streams/shop");
    let mut bytes = fs::read(&path).expect("saved");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&path, bytes).expect("written");

    let daemon = restart(exit, config()).await;
    let viewer = Viewer::new(&daemon.url(""));
    let said = daemon.written();
    let complaints = said.lines().filter(|line| line.contains("not resumed"));
    assert_eq!(complaints.count(), 1, "{said}");
    assert!(said.contains("damaged"), "{said}");
    assert!(!path.exists(), "it is not tried again");
    check_gone(&viewer, &folders).await;
    assert_eq!(viewer.renditions("other").await, other);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_answers_every_waiter_and_ends_no_list() {
    let daemon = Daemon::start(&config());
    let encoder = Encoder::ffmpeg(&sources::LONG.file(), &daemon.publish_url("k3y"));
    let viewer = Viewer::new(&daemon.url(""));
    let mut watching = JoinSet::new();
    for folder in viewer.renditions("shop").await.into_values() {
        let viewer = viewer.clone();
        // One request is always waiting; the last is told to come again.
        watching.spawn(async move {
            let mut playlist = viewer.playlist(&folder, "").await;
            loop {
                assert!(!playlist.ended, "{}", playlist.text);
                let (msn, part) = playlist.next();
                let path = format!("{folder}index.m3u8?_HLS_msn={msn}&_HLS_part={part}");
                let response = viewer.response(&path).await;
                if response.status() != StatusCode::OK {
                    return response;
                }
                playlist = Playlist::parse(&response.text().await.expect("a body"));
            }
        });
    }
    daemon.signal("TERM");
    while let Some(last) = watching.join_next().await {
        let last = last.expect("no panic");
        assert_eq!(last.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(last.headers()[header::CACHE_CONTROL], "no-store");
        assert_eq!(last.headers()[header::RETRY_AFTER], "1");
    }
    let exit = spawn_blocking(move || daemon.wait())
        .await
        .expect("it leaves");
    assert_eq!(exit.code, Some(0), "{}", exit.written);
    drop(encoder);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_asked_to_reconnect_is_waited_for() {
    let config = || config().publish("grace_after_stop = \"1ms\"");
    let daemon = Daemon::start(&config());
    let address = daemon.address("rtmp");
    let publisher = spawn_blocking(move || {
        let tags = flv::read(sources::SHORT.file()).expect("made just now");
        let mut publisher = Publisher::connect_reconnecting(address, "live").expect("connected");
        let status = publisher.request_publish("k3y").expect("told");
        assert_eq!(status.code, "NetStream.Publish.Start");
        publisher.push(&tags, 0, None).expect("taken");
        publisher
    });
    let mut publisher = publisher.await.expect("no panic");
    let folders = Viewer::new(&daemon.url("")).renditions("shop").await;
    daemon.signal("TERM");
    let left = spawn_blocking(move || {
        let asked = publisher.status().expect("told");
        // It leaves in good order, and means to come back.
        publisher.stop().expect("a socket");
        asked.code
    });
    let asked = left.await.expect("no panic");
    assert_eq!(asked, "NetConnection.Connect.ReconnectRequest");
    let exit = spawn_blocking(move || daemon.wait()).await;
    let daemon = restart(exit.expect("it leaves"), config()).await;
    let viewer = Viewer::new(&daemon.url(""));
    assert_eq!(viewer.renditions("shop").await, folders, "not over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigterm_ends_at_once() {
    let daemon = Daemon::start(
        &Config::new()
            .key("k3y", "shop")
            .top("shutdown_timeout = \"10m\""),
    );
    let _publisher = publish(daemon.address("rtmp"), "k3y").await;
    daemon.signal("TERM");
    // The first one is understood once nobody new may publish.
    let address = daemon.address("rtmp");
    let refused = spawn_blocking(move || {
        loop {
            let (_, status) = Publisher::publish(address, "live", "k3y").expect("told");
            if status.code == "NetStream.Publish.Denied" {
                return status.description;
            }
        }
    });
    assert_eq!(refused.await.expect("told"), "server is shutting down");
    daemon.signal("TERM");
    let exit = spawn_blocking(move || daemon.wait())
        .await
        .expect("it leaves");
    assert_eq!(exit.code, Some(1), "{}", exit.written);
    assert!(exit.written.contains("second signal"), "{}", exit.written);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_soon_waking_all_while_a_loss_is_waited_for() {
    let config = config().key("lost-k3y", "lost");
    let config = config.publish("grace = \"30s\"\ngrace_after_stop = \"1s\"");
    let daemon = Daemon::start(&config);
    let viewer = Viewer::new(&daemon.url(""));
    let mut stopped = publish(daemon.address("rtmp"), "k3y").await;
    let lost = publish(daemon.address("rtmp"), "lost-k3y").await;
    let folders = viewer.renditions("shop").await;
    let waited_for = viewer.renditions("lost").await;

    let mut waiters = JoinSet::new();
    for n in 0..40 {
        let viewer = viewer.clone();
        let folder = folders[if n % 2 == 0 { "high" } else { "audio" }].clone();
        waiters.spawn(async move { until(&viewer, &folder, |playlist| playlist.ended).await });
    }
    lost.reset().expect("a socket");
    stopped.stop().expect("a socket");
    while let Some(woken) = waiters.join_next().await {
        assert!(woken.expect("answered").ended);
    }
    for folder in folders.values() {
        let ended = Known::of(&viewer, folder).await;
        assert!(ended.playlist.ended && !ended.media.is_empty());
        ended.check_goes_on(&viewer).await;
    }
    for folder in waited_for.values() {
        assert!(
            !viewer.playlist(folder, "").await.ended,
            "its grace is longer"
        );
    }
    let _back = publish(daemon.address("rtmp"), "lost-k3y").await;
    assert_eq!(
        viewer.renditions("lost").await,
        waited_for,
        "in time for the same epoch"
    );
    until(&viewer, &waited_for["high"], |playlist| {
        !discontinuities(playlist).is_empty()
    })
    .await;
}
