//! Events that an encoder sends between its media: each stands in every rendition at its own timestamp, where it may.
//!
//! A publisher of our own sends them (`onTextData`, `onCuePoint`) among the messages of a real broadcast, so that what the
//! `mp4` crate finds in the parts can be compared with timestamps known to the millisecond.

use std::{collections::BTreeMap, net::SocketAddr, thread};

use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};
use vitrine_core::wire::amf0::{self, Value};

use crate::{
    boxes,
    daemon::{CONTROL_TOKEN, Config, Daemon},
    probe,
    publisher::{DATA, Publisher, flv},
    sources,
    viewer::{Recording, Viewer, client},
};

/// RTMP message type of AMF3 data, which is AMF0 behind a zero byte.
const DATA_AMF3: u8 = 15;

fn object<const N: usize>(properties: [(&str, Value); N]) -> Value {
    let properties = properties.into_iter();
    Value::Object(
        properties
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

fn body(values: &[Value]) -> Vec<u8> {
    let mut body = Vec::new();
    values
        .iter()
        .for_each(|value| amf0::write(value, &mut body));
    body
}

fn text(json: &Json) -> Value {
    object([("text", json.to_string().as_str().into())])
}

/// What the encoder says beside its media: at which timestamp, in which type of message, with which body.
fn words() -> Vec<(u32, u8, Vec<u8>)> {
    let pin = object([
        ("id", "evt_pin".into()),
        ("listing", "lst_1".into()),
        ("duration_ms", "1500".into()),
    ]);
    let pin = object([("name", "listing.pinned".into()), ("parameters", pin)]);
    let price = json!({"id": "evt_price", "type": "price.changed", "at": "2001-01-01T00:00:00Z", "data": {"price": 7}});
    let nameless = object([("name", "show.ended".into())]);
    let set = Value::from("@setDataFrame");
    let cue = [&[0], &body(&["onCuePoint".into(), nameless])[..]].concat();
    let noise = || body(&["onTextData".into(), object([("text", "not for us".into())])]);
    vec![
        (2_000, DATA, body(&["onCuePoint".into(), pin])),
        (2_517, DATA, body(&[set, "onTextData".into(), text(&price)])),
        (3_000, DATA, noise()),
        (3_021, DATA_AMF3, cue),
        (3_500, DATA, noise()),
    ]
}

/// Pushes a broadcast of some seconds in real time, with [`words`] in between; gives the first timestamp of its media.
fn push(address: SocketAddr, key: &'static str) -> thread::JoinHandle<u32> {
    let tags = flv::read(sources::B_FRAMES.file()).expect("made just now");
    thread::spawn(move || {
        let (mut publisher, status) = Publisher::publish(address, "live", key).expect("connected");
        assert_eq!(status.code, "NetStream.Publish.Start", "{status:?}");
        let mut from = 0;
        for (timestamp, kind, body) in words() {
            let until = tags.partition_point(|tag| tag.timestamp < timestamp);
            publisher
                .push(&tags[from..until], 0, Some(1.0))
                .expect("taken");
            publisher.message(kind, timestamp, &body).expect("taken");
            from = until;
        }
        publisher.push(&tags[from..], 0, Some(1.0)).expect("taken");
        publisher.stop().expect("said");
        let frames = tags
            .iter()
            .filter(|tag| !tag.body.starts_with(&[0x17, 0]) && !tag.body.starts_with(&[0xaf, 0]));
        let first = frames
            .filter(|tag| matches!(tag.kind, 8 | 9))
            .map(|tag| tag.timestamp)
            .min();
        first.expect("media")
    })
}

/// Readers that know nothing of events read and decode what has some in front of its fragments.
fn read_by_others(name: &str, recording: &Recording) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("recorded.mp4");
    recording.write(&file);
    probe::decodes(&file);
    let (_, samples) = probe::fragments(&recording.files()[0]);
    let track = if name == "audio" { "a:0" } else { "v:0" };
    assert_eq!(
        probe::packets(&file, track).len(),
        samples as usize,
        "{name}"
    );
}

async fn shown(daemon: &Daemon, stream: &str) -> Json {
    let url = daemon.control_url(&format!("/v1/streams/{stream}"));
    let asked = client().build().expect("a client").get(url);
    let answer = asked.bearer_auth(CONTROL_TOKEN).send().await;
    let text = answer.expect("answered").text().await.expect("a body");
    serde_json::from_str(&text).expect("JSON")
}

fn notices(stream: &Json) -> Vec<&str> {
    let notices = stream["notices"].as_array().expect("a list");
    notices
        .iter()
        .filter_map(|it| it["text"].as_str())
        .collect()
}

/// How many events had this outcome.
async fn counted(daemon: &Daemon, outcome: &str) -> String {
    let name = format!("vitrine_amf_events_total{{outcome=\"{outcome}\"}} ");
    let page = daemon.control("/metrics").await;
    let line = page.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("no {name}: {page}"))
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_encoder_tells_stands_at_its_own_timestamp_in_every_rendition() {
    let config = Config::new()
        .key("k3y", "shop")
        .publish("amf_events = true");
    let config = config.publish("grace_after_stop = \"1s\"").ladder();
    let daemon = Daemon::start(&config);
    let viewer = Viewer::new(&daemon.url(""));
    let pushing = push(daemon.address("rtmp"), "k3y");
    let folder = viewer
        .renditions("shop")
        .await
        .remove("high")
        .expect("pictures");
    let recordings = viewer.record("shop").await;
    let first = tokio::task::spawn_blocking(move || pushing.join().expect("pushed"));
    let first = i64::from(first.await.expect("pushed"));

    let epoch = folder.split('/').find_map(|word| word.parse().ok());
    let renditions = boxes::read(epoch.expect("an epoch"), &recordings);
    let complaints = boxes::compare(&renditions);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    for (name, recording) in &recordings {
        read_by_others(name, recording);
    }
    let pictures: Vec<_> = renditions
        .iter()
        .filter(|(name, _)| *name != "audio")
        .collect();
    assert!(!pictures.is_empty());
    for (name, carried) in pictures {
        let found: BTreeMap<_, _> = carried
            .cues
            .iter()
            .map(|(id, cue)| {
                let id = if id.starts_with("ses_") { "made" } else { id };
                (
                    id,
                    (cue.media_time_ms as i64 + first, cue.value["type"].clone()),
                )
            })
            .collect();
        let wanted = [
            ("evt_pin", 2_000, "listing.pinned"),
            ("evt_price", 2_517, "price.changed"),
            ("made", 3_021, "show.ended"),
        ];
        let wanted = wanted.map(|(id, at, kind)| (id, (at, json!(kind))));
        assert_eq!(found, BTreeMap::from(wanted), "{name}");
        assert_eq!(carried.cues["evt_price"].value["data"], json!({"price": 7}));
        assert_eq!(
            carried.cues["evt_pin"].value["data"],
            json!({"listing": "lst_1"})
        );
    }
    assert_eq!(counted(&daemon, "taken").await, "3");
    assert_eq!(counted(&daemon, "not_understood").await, "2");
    let stream = shown(&daemon, "shop").await;
    let told = notices(&stream)
        .into_iter()
        .filter(|it| it.contains("onTextData"))
        .count();
    assert_eq!(told, 1, "once: {stream}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoder_that_may_not_is_told_once_until_an_operator_lets_it() {
    let daemon = Daemon::start(&Config::new().key("k3y", "shop"));
    let viewer = Viewer::new(&daemon.url(""));
    let pushing = push(daemon.address("rtmp"), "k3y");
    viewer.renditions("shop").await;
    let stream = shown(&daemon, "shop").await;
    assert_eq!(stream["session"]["terms"]["amf_events"], false, "{stream}");
    let change = json!({"amf_events": true, "event_offset_ms": -40, "events": {"per_second": 7}});
    let url = daemon.control_url("/v1/streams/shop");
    let asked = client()
        .build()
        .expect("a client")
        .request(Method::PATCH, url);
    // Not before something was refused.
    while counted(&daemon, "not_allowed").await == "0" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let answer = asked
        .bearer_auth(CONTROL_TOKEN)
        .body(change.to_string())
        .send()
        .await;
    let answer = answer.expect("answered");
    assert_eq!(answer.status(), StatusCode::OK);
    let terms: Json = serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON");
    assert_eq!(
        terms["events"],
        json!({"per_second": 7, "bytes_per_second": 4096})
    );
    assert_eq!(
        (&terms["amf_events"], &terms["event_offset_ms"]),
        (&json!(true), &json!(-40))
    );
    let pushed = tokio::task::spawn_blocking(move || pushing.join().map(|_| ()));
    pushed.await.expect("joined").expect("pushed");
    let stream = shown(&daemon, "shop").await;
    let told = notices(&stream)
        .into_iter()
        .filter(|it| it.contains("amf_events"))
        .count();
    assert_eq!(told, 1, "once: {stream}");
    assert_ne!(counted(&daemon, "taken").await, "0", "allowed in time");
}
