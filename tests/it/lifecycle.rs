//! The life of a stream as its backend is told it: each thing once, in order, whatever ends the publish, the stream or the
//! process; and that what was taken down is gone, for whoever waits and over a restart.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::task::{JoinSet, spawn_blocking};

use crate::{
    backend::SECRET,
    daemon::{CONTROL_TOKEN, Config, Daemon},
    publisher::{Publisher, WAIT},
    receiver::Receiver,
    restart::{kill, publish, restart, stop},
    sources::{self, Encoder},
    viewer::{Playlist, Viewer, client},
};

async fn order(daemon: &Daemon, method: Method, path: &str, body: Option<Value>) {
    let client = client().build().expect("a client");
    let mut request = client.request(method, daemon.control_url(path));
    if let Some(body) = body {
        request = request
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.to_string());
    }
    let answer = { request.bearer_auth(CONTROL_TOKEN).send().await }.expect("answered");
    let status = answer.status();
    let text = answer.text().await.expect("a body");
    assert!(status.is_success(), "{path}: {status} {text}");
}

/// What a backend was told of one stream: the data of each event by its number, which begin at 1 and have no holes.
struct Told(Vec<(String, Value)>);

impl Told {
    fn of(receiver: &Receiver, stream: &str) -> Self {
        let mut events = BTreeMap::new();
        for call in receiver.calls().iter() {
            let body = call.json();
            if body["data"]["stream_id"] != stream {
                continue;
            }
            let (kind, id) = (body["type"].as_str().expect("text"), call.id().to_owned());
            let told = (id, kind.to_owned(), body["data"].clone());
            // At least once: what comes again is the same.
            let known = events
                .entry(call.hook_seq())
                .or_insert_with(|| told.clone());
            assert_eq!(*known, told);
        }
        let numbers: Vec<_> = events.keys().copied().collect();
        let wanted: Vec<_> = (1..=numbers.len() as u64).collect();
        assert_eq!(numbers, wanted, "{stream}");
        let events = events.into_values();
        Self(events.map(|(_, kind, data)| (kind, data)).collect())
    }

    /// The events, each with its cause where it has one.
    fn story(&self) -> Vec<String> {
        let name = |(kind, data): &(String, Value)| {
            let kind = kind.trim_start_matches("stream.");
            match data["cause"].as_str() {
                Some(cause) => format!("{kind} {cause}"),
                None => kind.to_owned(),
            }
        };
        self.0.iter().map(name).collect()
    }

    fn data(&self, kind: &str) -> &Value {
        let found = self.0.iter().find(|(known, _)| known == kind);
        &found
            .unwrap_or_else(|| panic!("no {kind} in {:?}", self.story()))
            .1
    }
}

/// Waits until so many lives of a stream have begun or ended, as `kind` says.
async fn until(receiver: &Receiver, stream: &str, kind: &str, times: usize) {
    let of = |body: &Value| body["data"]["stream_id"] == stream && body["type"] == kind;
    let what = format!("{kind} of {stream}");
    let enough = |calls: &[crate::receiver::Call]| {
        let of = calls.iter().filter(|call| of(&call.json()));
        of.map(|call| call.hook_seq())
            .collect::<BTreeSet<_>>()
            .len()
            >= times
    };
    receiver.wait(&what, enough).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_end_is_told_once_with_its_cause() {
    let receiver = Receiver::willing().await;
    let streams = [
        "killed", "reset", "stopped", "silent", "kicked", "ended", "down", "taken",
    ];
    let config = Config::new()
        .publish("grace = \"2s\"")
        .publish("grace_after_stop = \"1s\"")
        .rtmp("idle_timeout = \"3s\"")
        .hook_endpoint(&receiver.url("/hooks"), SECRET);
    let config = streams
        .iter()
        .fold(config, |config, stream| config.key(stream, stream));
    let daemon = Daemon::start(&config);
    let rtmp = daemon.address("rtmp");

    let encoder = Encoder::ffmpeg(&sources::LONG.file(), &daemon.publish_url("killed"));
    let mut publishers = BTreeMap::new();
    for stream in &streams[1..] {
        publishers.insert(*stream, publish(rtmp, stream).await);
    }
    for stream in streams {
        until(&receiver, stream, "stream.live", 1).await;
    }
    let mut take = |stream| publishers.remove(stream).expect("it publishes");
    // Dropped: SIGKILL.
    drop(encoder);
    let (reset, mut stopped, old) = (take("reset"), take("stopped"), take("taken"));
    spawn_blocking(move || {
        reset.reset().expect("reset");
        stopped.stop().expect("still connected");
        drop(stopped);
    })
    .await
    .expect("no panic");
    let new = publish(rtmp, "taken").await;
    order(
        &daemon,
        Method::DELETE,
        "/v1/streams/kicked/session?ban_seconds=60",
        None,
    )
    .await;
    order(&daemon, Method::POST, "/v1/streams/ended/end", None).await;
    let down = json!({"takedown": true, "reason": "stolen goods"});
    order(&daemon, Method::POST, "/v1/streams/down/end", Some(down)).await;
    spawn_blocking(move || {
        let (mut old, mut new) = (old, new);
        let last = old.status().expect("told");
        assert_eq!(last.description, "another publisher took over");
        new.stop().expect("still connected");
    })
    .await
    .expect("no panic");
    let mut told = BTreeMap::new();
    for stream in streams {
        until(&receiver, stream, "stream.ended", 1).await;
    }
    // Whoever was cut is still connected to nothing: none of it is told again.
    drop(publishers);
    tokio::time::sleep(Duration::from_secs(3)).await;
    for stream in streams {
        let story = Told::of(&receiver, stream);
        let last = story.story();
        let live = story.data("stream.live");
        let path = format!("/live/{stream}/index.m3u8");
        assert_eq!(live["playback_path"], path, "{stream}");
        assert!(
            live["epoch"].is_u64() && live["session_id"].is_string(),
            "{live}"
        );
        let ended = story.data("stream.ended");
        assert!(
            ended["bytes"].as_u64() > Some(0) && ended["duration_ms"].is_u64(),
            "{ended}"
        );
        told.insert(stream, last);
    }
    for (stream, tail) in [
        ("killed", &["interrupted lost", "ended lost"][..]),
        ("reset", &["interrupted lost", "ended lost"]),
        ("stopped", &["interrupted stopped", "ended stopped"]),
        ("silent", &["interrupted silent", "ended lost"]),
        ("kicked", &["interrupted kicked", "ended kicked"]),
        ("ended", &["ended ended"]),
        ("down", &["taken_down", "ended taken_down"]),
        (
            "taken",
            &["takeover", "interrupted stopped", "ended stopped"],
        ),
    ] {
        let story = &told[stream];
        assert_eq!(story[..2], ["started", "live"], "{stream}: {story:?}");
        // Publishers that have sent all they have are silent before they end, except one.
        match stream {
            "killed" => assert_eq!(story[2..], *tail, "{stream}"),
            _ => assert_eq!(
                calm(story),
                calm(&[&["started", "live"], tail].concat()),
                "{stream}"
            ),
        }
        check_pauses(story);
    }
    let written = daemon.written();
    assert!(!written.contains("panicked"), "{written}");
}

/// Without interruptions and what ends them.
fn calm<T: AsRef<str>>(story: &[T]) -> Vec<&str> {
    let pause = |kind: &&str| kind.starts_with("interrupted") || *kind == "resumed";
    let story = story.iter().map(T::as_ref);
    story.filter(|kind| !pause(kind)).collect()
}

/// Interruptions and what ends them come in turns, within what can be played.
fn check_pauses(story: &[String]) {
    let (mut live, mut interrupted) = (false, false);
    for kind in story {
        match kind.as_str() {
            "started" => (live, interrupted) = (false, false),
            "live" => live = true,
            "resumed" => assert!(std::mem::take(&mut interrupted), "{story:?}"),
            kind if kind.starts_with("interrupted") => {
                assert!(
                    live && !std::mem::replace(&mut interrupted, true),
                    "{story:?}"
                );
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_goes_on_over_a_restart_and_a_crash_ends_it_once() {
    let receiver = Receiver::willing().await;
    let config = Config::new()
        .key("goes-on", "goes-on")
        .key("damaged", "damaged")
        .top("shutdown_timeout = \"2s\"")
        .hook_endpoint(&receiver.url("/hooks"), SECRET);
    let daemon = Daemon::start(&config);
    let rtmp = daemon.address("rtmp");
    let first = [
        publish(rtmp, "goes-on").await,
        publish(rtmp, "damaged").await,
    ];
    for stream in ["goes-on", "damaged"] {
        until(&receiver, stream, "stream.live", 1).await;
    }
    let exit = stop(daemon).await;
    drop(first);
    fs::write(exit.data().join("streams/damaged"), "no stream").expect("written");
    let daemon = restart(exit, config.clone()).await;
    until(&receiver, "damaged", "stream.ended", 1).await;
    let rtmp = daemon.address("rtmp");
    let _second = publish(rtmp, "goes-on").await;
    until(&receiver, "goes-on", "stream.resumed", 1).await;
    let exit = kill(daemon).await;
    let daemon = restart(exit, config.clone()).await;
    until(&receiver, "goes-on", "stream.ended", 1).await;
    // And begins anew, with numbers that go on.
    let _third = publish(daemon.address("rtmp"), "goes-on").await;
    until(&receiver, "goes-on", "stream.live", 2).await;
    stop(daemon).await;

    let damaged = Told::of(&receiver, "damaged");
    assert_eq!(calm(&damaged.story()), ["started", "live", "ended lost"]);
    let told = Told::of(&receiver, "goes-on");
    let story = told.story();
    let wanted = ["started", "live", "ended crash", "started", "live"];
    assert_eq!(calm(&story), wanted, "{story:?}");
    check_pauses(&story);
    assert!(story.iter().any(|kind| kind == "resumed"), "{story:?}");
    let ended = told.data("stream.ended");
    assert_eq!(
        ended["started_at"],
        told.data("stream.started")["started_at"]
    );
    assert_ne!(
        ended["session_id"],
        told.data("stream.started")["session_id"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_that_no_process_goes_on_with_ends_as_it_went_and_not_as_a_crash() {
    let receiver = Receiver::willing().await;
    let config = Config::new()
        .key("late", "late")
        .key("unsaved", "unsaved")
        .publish("grace = \"2s\"")
        .top("shutdown_timeout = \"2s\"")
        .hook_endpoint(&receiver.url("/hooks"), SECRET);
    let daemon = Daemon::start(&config);
    let _late = publish(daemon.address("rtmp"), "late").await;
    until(&receiver, "late", "stream.live", 1).await;
    let exit = stop(daemon).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let folder = exit.data().join("streams");
    let daemon = restart(exit, config.clone()).await;
    until(&receiver, "late", "stream.ended", 1).await;
    // Nothing can be written there any more.
    fs::remove_dir(&folder).expect("empty");
    fs::write(&folder, "in the way").expect("written");
    let _unsaved = publish(daemon.address("rtmp"), "unsaved").await;
    until(&receiver, "unsaved", "stream.live", 1).await;
    let exit = stop(daemon).await;
    let daemon = restart(exit, config).await;
    until(&receiver, "unsaved", "stream.ended", 1).await;
    stop(daemon).await;
    for stream in ["late", "unsaved"] {
        let told = Told::of(&receiver, stream);
        let story = told.story();
        assert_eq!(calm(&story), ["started", "live", "ended lost"], "{story:?}");
        let ended = told.data("stream.ended");
        assert!(ended["bytes"].as_u64() > Some(0), "{ended}");
        assert!(ended["duration_ms"].is_u64(), "{ended}");
    }
}

/// Every URL that the playlists of a stream name, its own and the stable ones among them.
async fn urls(viewer: &Viewer, stream: &str) -> Vec<String> {
    let mut urls = vec![
        format!("/live/{stream}/index.m3u8"),
        format!("/live/{stream}/thumbnail.jpg"),
    ];
    for folder in viewer.renditions(stream).await.into_values() {
        let playlist = viewer.playlist(&folder, "").await;
        urls.push(format!("{folder}index.m3u8"));
        urls.push(format!("{folder}index.m3u8?_HLS_skip=YES"));
        for segment in &playlist.segments {
            let parts = segment.parts.iter().map(|part| &part.uri);
            let names = segment.map.iter().chain(&segment.uri).chain(parts);
            urls.extend(names.map(|name| format!("{folder}{name}")));
        }
    }
    urls
}

/// Waits for one segment after another of a list, two ahead, until something else is answered: its status and lifetime.
async fn follow(folder: &str) -> (StatusCode, String) {
    let client = client().build().expect("a client");
    let mut query = String::new();
    loop {
        let url = format!("{folder}index.m3u8{query}");
        let answer = client.get(url).send().await.expect("answered");
        let status = answer.status();
        if status != StatusCode::OK {
            let lifetime = answer.headers()[header::CACHE_CONTROL].to_str();
            return (status, lifetime.expect("ASCII").to_owned());
        }
        let playlist = Playlist::parse(&answer.text().await.expect("a body"));
        query = format!("?_HLS_msn={}", playlist.next().0 + 1);
    }
}

async fn all_gone(viewer: &Viewer, urls: &[String]) {
    for url in urls {
        let answer = viewer.response(url).await;
        assert_eq!(answer.status(), StatusCode::GONE, "{url}");
        let headers = answer.headers();
        assert_eq!(headers[header::CACHE_CONTROL], "no-store", "{url}");
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*", "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_down_is_gone_for_whoever_waits_and_after_a_restart() {
    let config = Config::new()
        .key("first", "shop")
        .key("second", "shop")
        .top("shutdown_timeout = \"2s\"");
    let daemon = Daemon::start(&config);
    let viewer = Viewer::new(&daemon.url(""));
    let _encoder = Encoder::ffmpeg(&sources::LONG.file(), &daemon.publish_url("first"));
    let folders = viewer.renditions("shop").await;
    let before = urls(&viewer, "shop").await;
    assert!(before.len() > 10, "{before:?}");

    let folders: Vec<_> = folders.into_values().collect();
    let mut waiting = JoinSet::new();
    for n in 0..50 {
        let folder = daemon.url(&folders[n % folders.len()]);
        waiting.spawn(async move { follow(&folder).await });
    }
    let held = || async {
        let status = daemon.control("/v1/streams/shop").await;
        let status: Value = serde_json::from_str(&status).expect("JSON");
        status["waiters"].as_u64().expect("a number")
    };
    let end = Instant::now() + WAIT;
    while held().await < 50 {
        assert!(Instant::now() < end, "they wait");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let down = json!({"takedown": true, "reason": "stolen goods"});
    order(&daemon, Method::POST, "/v1/streams/shop/end", Some(down)).await;
    while let Some(last) = waiting.join_next().await {
        let (status, lifetime) = last.expect("no panic");
        assert_eq!((status, lifetime.as_str()), (StatusCode::GONE, "no-store"));
    }
    all_gone(&viewer, &before).await;
    refused(daemon.address("rtmp"), "first").await;

    let exit = stop(daemon).await;
    let daemon = restart(exit, config.clone()).await;
    let viewer = Viewer::new(&daemon.url(""));
    all_gone(&viewer, &before).await;
    refused(daemon.address("rtmp"), "first").await;
    let _publisher = publish(daemon.address("rtmp"), "second").await;
    let after = viewer.renditions("shop").await;
    assert!(
        after.values().all(|folder| !folders.contains(folder)),
        "{after:?}"
    );
    all_gone(&viewer, &before[2..]).await;
}

/// A publish with `key` is refused, with words that say why.
async fn refused(address: SocketAddr, key: &'static str) {
    spawn_blocking(move || {
        let (mut publisher, status) = Publisher::publish(address, "live", key).expect("answered");
        assert_eq!(status.code, "NetStream.Publish.Denied");
        assert!(
            status.description.contains("taken down by an operator"),
            "{status:?}"
        );
        assert!(publisher.closes_within(WAIT));
    })
    .await
    .expect("no panic");
}
