//! Events at the doors: what a backend is answered and told, what people see by command, and what is left in logs, metrics and
//! caches. Where events land in the media is [`crate::timed`]'s.

use std::{
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    backend::SECRET,
    daemon::{CONTROL_TOKEN, Config, Daemon, READ_TOKEN},
    receiver::{Call, Receiver},
    restart::{restart, stop},
    shop::{Answer, Shop, confirmed, event, timeline, until_confirmed},
    sources::{self, Encoder},
    timed::Scene,
    viewer::{Viewer, client},
};

/// What a command said that must succeed.
fn told(daemon: &Daemon, arguments: &[&str]) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_vitrine"))
        .args(arguments)
        .env_clear()
        .env("VITRINE_CONTROL", daemon.control_url(""))
        .env("VITRINE_TOKEN", CONTROL_TOKEN)
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let (said, wrong) = (
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr),
    );
    assert_eq!(status.code(), Some(0), "{arguments:?}: {said}{wrong}");
    said.into_owned()
}

fn kind(answer: &Answer) -> (u16, &str) {
    let kind = answer.body["type"].as_str().expect("a problem");
    (
        answer.status.as_u16(),
        kind.trim_start_matches("urn:vitrine:problem:"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_answered_shown_counted_and_told_before_the_end() {
    let mut scene = Scene::start(Config::new()).await;
    let early = scene.shop.post(&event("evt_early", "price.changed")).await;
    assert_eq!(kind(&early), (404, "not-found"));
    let _encoder = scene.publish(&sources::LONG);
    let recording = scene.record().await;

    let (pinned, _) = scene.place(event("evt_pinned", "listing.pinned")).await;
    for (field, fits) in [
        ("epoch", pinned["epoch"].is_u64()),
        ("media_time_ms", pinned["media_time_ms"].is_u64()),
        (
            "program_date_time",
            pinned["program_date_time"]
                .as_str()
                .is_some_and(|it| it.ends_with('Z')),
        ),
        ("closed", pinned.get("closed").is_none()),
    ] {
        assert!(fits, "{field}: {pinned}");
    }
    assert!(!pinned.to_string().contains("null"), "{pinned}");
    // Its answer was lost: the same again, and nothing twice.
    let again = scene
        .shop
        .post(&event("evt_pinned", "listing.pinned"))
        .await;
    assert_eq!((again.status, &again.body), (StatusCode::ACCEPTED, &pinned));
    let clock = scene.shop.clock().await;
    assert_eq!(clock.status, StatusCode::OK, "{clock:?}");
    assert_eq!(clock.body["epoch"], pinned["epoch"]);
    assert!(clock.body["media_time_ms"].as_i64() >= pinned["media_time_ms"].as_i64());

    // By hand.
    let arguments = [
        "event",
        "shop",
        "listing.unpinned",
        "--id",
        "evt_hand",
        "--close",
        "evt_pinned",
        "--data",
        r#"{"by":"hand"}"#,
    ];
    let said = told(&scene.daemon, &arguments);
    assert!(
        said.contains("evt_hand at ") && said.contains("evt_pinned is closed"),
        "{said}"
    );
    let json = [&arguments[..], &["--json"]].concat();
    let same: Value = serde_json::from_str(&told(&scene.daemon, &json)).expect("JSON");
    assert_eq!(same["closed"], true, "{same}");
    scene.answers.insert("evt_hand".to_owned(), same);
    let said = told(&scene.daemon, &["clock", "shop"]);
    assert!(
        said.contains("media time") && said.contains("wall"),
        "{said}"
    );
    until_confirmed(&scene.receiver, "shop", 2).await;
    let said = told(&scene.daemon, &["streams", "shop"]);
    assert!(said.contains("2 placed"), "{said}");

    // Who may only look may ask for the clock.
    let http = client().build().expect("a client");
    for (method, path, status) in [
        (Method::GET, "/v1/streams/shop/clock", StatusCode::OK),
        (
            Method::POST,
            "/v1/streams/shop/events",
            StatusCode::FORBIDDEN,
        ),
        (Method::PUT, "/v1/streams/shop/state", StatusCode::FORBIDDEN),
    ] {
        let request = http.request(method, scene.daemon.control_url(path));
        let answer = request
            .bearer_auth(READ_TOKEN)
            .send()
            .await
            .expect("answered");
        assert_eq!(answer.status(), status, "{path}");
    }
    let metrics = scene.daemon.control("/metrics").await;
    for series in [
        "vitrine_events_total{outcome=\"placed\"} 2",
        "vitrine_event_place_seconds_count 4",
        "vitrine_event_ranges 1",
        "vitrine_lifecycle_events_total{type=\"events.placed\"} ",
    ] {
        assert!(metrics.contains(series), "{series} not in {metrics}");
    }

    let written = scene.daemon.written();
    assert!(
        !written.contains("evt_"),
        "a line for each event: {written}"
    );
    let calls = scene.receiver.calls().clone();
    assert!(
        calls
            .iter()
            .all(|call| call.json()["type"] != "stream.ended")
    );
    // The last is on its way when the stream ends.
    scene.place(event("evt_last", "price.changed")).await;
    let (renditions, _) = scene.end(recording).await;
    assert_eq!(renditions["high"].ids().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_stream_is_told_before_its_end_and_gone_with_a_takedown() {
    let scene = Scene::start(Config::new()).await;
    let _encoder = scene.publish(&sources::LONG);
    let viewer = Viewer::new(&scene.daemon.url(""));
    viewer.multivariant("shop").await;
    let (first, _) = scene.shop.place(&event("evt_0", "price.changed")).await;
    let folder = viewer
        .renditions("shop")
        .await
        .remove("high")
        .expect("pictures");
    let published = |list: &crate::viewer::Playlist| list.duration() > 2.0;
    viewer.follow_until(&folder, published).await;
    let body = json!({"takedown": true, "reason": "stolen goods"});
    let http = client().build().expect("a client");
    let end = http.post(scene.daemon.control_url("/v1/streams/shop/end"));
    let end = end.bearer_auth(CONTROL_TOKEN).body(body.to_string());
    assert!(end.send().await.expect("answered").status().is_success());
    let gone = [
        "/live/shop/timeline.json".to_owned(),
        format!("/live/shop/{}/timeline.json", first["epoch"]),
    ];
    for path in gone {
        let answer = http
            .get(scene.daemon.url(&path))
            .send()
            .await
            .expect("answered");
        assert_eq!(answer.status(), StatusCode::GONE, "{path}");
    }
    let over = scene.shop.post(&event("evt_over", "price.changed")).await;
    assert_eq!(kind(&over), (404, "not-live"));
    let clock = scene.shop.clock().await;
    assert_eq!(kind(&clock), (404, "not-live"));
    let ended = |calls: &[Call]| {
        calls
            .iter()
            .any(|call| call.json()["type"] == "stream.ended")
    };
    scene.receiver.wait("the end", ended).await;
    let calls = scene.receiver.calls();
    let numbered = calls.iter().map(Call::json);
    let numbered = numbered.filter(|body| body["data"]["hook_seq"].is_u64());
    let kinds: Vec<_> = numbered
        .map(|body| (body["data"]["hook_seq"].as_u64(), body["type"].clone()))
        .collect();
    assert!(kinds.is_sorted_by_key(|(seq, _)| *seq), "{kinds:?}");
    let at = |kind: &str| kinds.iter().position(|(_, it)| it == kind);
    assert!(
        at("events.placed").is_some() && at("events.placed") < at("stream.ended"),
        "{kinds:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_goes_on_in_the_process_that_goes_on_with_the_stream() {
    let receiver = Receiver::willing().await;
    let config = Config::new().publish("grace = \"20s\"").key("k3y", "shop");
    let config = config.hook_endpoint(&receiver.url("/hooks"), SECRET);
    let daemon = Daemon::start(&config);
    let encoder = Encoder::ffmpeg(&sources::LONG.file(), &daemon.publish_url("k3y"));
    Viewer::new(&daemon.url("")).multivariant("shop").await;
    let (before, _) = Shop::of(&daemon, "shop")
        .place(&event("evt_before", "listing.pinned"))
        .await;
    until_confirmed(&receiver, "shop", 1).await;
    let daemon = restart(stop(daemon).await, config).await;
    drop(encoder);
    let (shop, viewer) = (Shop::of(&daemon, "shop"), Viewer::new(&daemon.url("")));
    let listed = timeline(&viewer, "shop").await;
    assert_eq!(listed.keys().collect::<Vec<_>>(), ["evt_before"]);
    let again = shop.post(&event("evt_before", "listing.pinned")).await;
    assert_eq!(
        (again.status, &again.body["media_time_ms"]),
        (StatusCode::ACCEPTED, &before["media_time_ms"])
    );
    let _encoder = Encoder::ffmpeg(&sources::LONG.file(), &daemon.publish_url("k3y"));
    let mut closing = event("evt_after", "listing.unpinned");
    closing["close"] = "evt_before".into();
    let (after, _) = shop.place(&closing).await;
    assert_eq!(
        (&after["epoch"], &after["closed"]),
        (&before["epoch"], &json!(true)),
        "{after}"
    );
    until_confirmed(&receiver, "shop", 2).await;
    let end = Instant::now() + Duration::from_secs(30);
    let listed = loop {
        let listed = timeline(&viewer, "shop").await;
        if listed.len() == 2 {
            break listed;
        }
        assert!(Instant::now() < end, "{listed:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(listed["evt_before"]["end"], after["program_date_time"]);
    let told = confirmed(&receiver, "shop");
    assert_eq!(told.len(), 2, "{told:?}");
}
