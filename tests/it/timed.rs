//! Events over a real daemon with real encoders, where it is hard: publishers that change, vanish and come back, processes
//! that are stopped or killed between two tries, more than the stream may carry, too early, too late, sound alone.
//!
//! Every test ends the same way: what was answered, what `events.placed` told, what `timeline.json` lists and what stands in
//! the boxes and ranges of every rendition is one story ([`Scene::end`]). What happens to renditions that are encoded is in
//! `ladder::timed`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::sleep};

use crate::{
    backend::SECRET,
    boxes::{self, Renditions},
    daemon::{CONTROL_TOKEN, Config, Daemon},
    receiver::Receiver,
    restart::{kill, restart, stop},
    shop::{Shop, confirmed, differences, event, timeline, until_confirmed},
    sources::{self, Encoder, Recipe},
    viewer::{Playlist, Recording, Viewer, client},
};

const STREAM: &str = "shop";
pub(crate) const KEY: &str = "key-of-shop";

type Recordings = BTreeMap<String, Recording>;

/// A stream with a viewer, a backend that posts, and one that is told.
pub(crate) struct Scene {
    pub(crate) daemon: Daemon,
    pub(crate) viewer: Viewer,
    pub(crate) shop: Shop,
    pub(crate) receiver: Receiver,
    /// What was answered, by id.
    pub(crate) answers: BTreeMap<String, Value>,
}

impl Scene {
    /// A daemon with this configuration, and a stream nobody publishes yet.
    pub(crate) async fn start(config: Config) -> Self {
        let receiver = Receiver::willing().await;
        let config = Self::config(config, &receiver);
        Self::of(Daemon::start(&config), receiver)
    }

    fn config(config: Config, receiver: &Receiver) -> Config {
        let config = config.key(KEY, STREAM).log("info");
        config.hook_endpoint(&receiver.url("/hooks"), SECRET)
    }

    fn of(daemon: Daemon, receiver: Receiver) -> Self {
        Self {
            viewer: Viewer::new(&daemon.url("")),
            shop: Shop::of(&daemon, STREAM),
            answers: BTreeMap::new(),
            daemon,
            receiver,
        }
    }

    /// A real encoder pushes this file; it is killed when dropped.
    pub(crate) fn publish(&self, recipe: &Recipe) -> Encoder {
        Encoder::ffmpeg(&recipe.file(), &self.daemon.publish_url(KEY))
    }

    /// Records all renditions to their ends, from when there are some.
    pub(crate) async fn record(&self) -> JoinHandle<Recordings> {
        let viewer = self.viewer.clone();
        viewer.renditions(STREAM).await;
        tokio::spawn(async move { viewer.record(STREAM).await })
    }

    /// Places an event, however often it takes; gives the answer, and how often it was refused before.
    pub(crate) async fn place(&mut self, event: Value) -> (Value, u32) {
        let (answer, refused) = self.shop.place(&event).await;
        let id = event["id"].as_str().expect("text").to_owned();
        assert_eq!(answer["id"], id, "{answer}");
        let known = self.answers.insert(id, answer.clone());
        assert!(
            known.is_none_or(|known| same_place(&known, &answer)),
            "{answer}"
        );
        (answer, refused)
    }

    /// The milliseconds of the epoch that are published by now.
    pub(crate) async fn media_time_ms(&self) -> i64 {
        let clock = self.shop.clock().await;
        clock.body["media_time_ms"]
            .as_i64()
            .unwrap_or_else(|| panic!("{clock:?}"))
    }

    /// What `events.placed` says of an event, once it does.
    #[cfg(feature = "transcode")]
    pub(crate) async fn told(&self, id: &str) -> Value {
        let of = |call: &crate::receiver::Call| {
            let body = call.json();
            let events = body["data"]["events"].as_array().cloned();
            events.into_iter().flatten().find(|event| event["id"] == id)
        };
        self.receiver
            .wait(id, |calls| calls.iter().any(|call| of(call).is_some()))
            .await;
        let calls = self.receiver.calls();
        calls.iter().find_map(of).expect("waited for")
    }

    /// Ends the stream, and finds that all tell the same of it.
    pub(crate) async fn end(self, recording: JoinHandle<Recordings>) -> (Renditions, Recordings) {
        // Once a picture stands behind the last: where there is none, there is no part to carry it.
        let times = self
            .answers
            .values()
            .map(|answer| answer["media_time_ms"].as_i64());
        let last = times.max().flatten();
        let carried = async { while Some(self.media_time_ms().await) <= last {} };
        // What was placed in a former epoch may stand later than this one will ever come.
        let _ = tokio::time::timeout(Duration::from_secs(2), carried).await;
        self.order_end().await;
        let recordings = recording.await.expect("a rule was broken: see above");
        let renditions = self.agree(&recordings).await;
        (renditions, recordings)
    }

    async fn order_end(&self) {
        let client = client().build().expect("a client");
        let url = self
            .daemon
            .control_url(&format!("/v1/streams/{STREAM}/end"));
        let order = client.request(Method::POST, url).bearer_auth(CONTROL_TOKEN);
        let status = order.send().await.expect("answered").status();
        assert!(status.is_success(), "{status}");
    }

    /// Finds that all tell the same of the newest epoch.
    async fn agree(&self, recordings: &Recordings) -> Renditions {
        let epoch = self
            .answers
            .values()
            .next()
            .and_then(|answer| answer["epoch"].as_u64());
        let epoch = epoch.expect("something was placed");
        until_confirmed(&self.receiver, STREAM, self.answers.len()).await;
        let renditions = boxes::read(epoch, recordings);
        let mut complaints = boxes::compare(&renditions);
        let mut told = confirmed(&self.receiver, STREAM);
        told.retain(|(of, _), _| *of == epoch);
        let timeline = timeline(&self.viewer, STREAM).await;
        complaints.extend(differences(&self.answers, &timeline, &told, &renditions));
        let first: Vec<_> = complaints.iter().take(20).map(String::as_str).collect();
        assert!(first.is_empty(), "{}", first.join("\n"));
        renditions
    }
}

fn same_place(one: &Value, other: &Value) -> bool {
    ["epoch", "media_time_ms", "program_date_time"]
        .iter()
        .all(|field| one[*field] == other[*field])
}

/// So many milliseconds from now, as events have it.
fn wall(ahead_ms: i64) -> String {
    let now = jiff::Timestamp::try_from(SystemTime::now()).expect("after 1970");
    let at = now + jiff::SignedDuration::from_millis(ahead_ms);
    format!("{at:.3}")
}

/// An event like [`event`] with one more field.
fn with(mut event: Value, field: &str, value: impl Into<Value>) -> Value {
    event[field] = value.into();
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_placed_once_whatever_becomes_of_the_publisher() {
    let mut scene = Scene::start(Config::new().publish("grace = \"20s\"")).await;
    let first = scene.publish(&sources::B_FRAMES);
    let recording = scene.record().await;
    scene.place(event("evt_first", "price.changed")).await;
    // For a picture of the next publisher.
    let at = with(event("evt_ahead", "price.changed"), "at", wall(4_000));
    let (ahead, _) = scene.place(at).await;
    let second = scene.publish(&sources::LONG);
    scene.place(event("evt_over", "listing.pinned")).await;
    while scene.media_time_ms().await < ahead["media_time_ms"].as_i64().expect("a number") {
        sleep(Duration::from_millis(100)).await;
    }
    drop(first);
    drop(second);
    let starving = scene.until_starving().await;
    assert_eq!(starving.status, StatusCode::CONFLICT, "{starving:?}");
    assert_eq!(starving.retry_after, Some(1), "{starving:?}");
    let _third = scene.publish(&sources::LONG);
    let (_, refused) = scene.place(event("evt_back", "price.changed")).await;
    assert!(refused > 0, "nobody published");
    let last = scene.media_time_ms().await;
    while scene.media_time_ms().await < last + 1_000 {
        sleep(Duration::from_millis(100)).await;
    }
    let (renditions, recordings) = scene.end(recording).await;
    let high = &renditions["high"];
    for id in ["evt_first", "evt_ahead", "evt_over", "evt_back"] {
        assert!(high.cues.contains_key(id), "{id} of {:?}", high.ids());
    }
    let begins = recordings["high"]
        .segments
        .iter()
        .filter(|kept| kept.segment.discontinuity);
    assert_eq!(begins.count(), 2, "one for each that came");
}

impl Scene {
    /// The first answer that says that no media comes; what was placed before it was known remains.
    async fn until_starving(&mut self) -> crate::shop::Answer {
        for number in 0.. {
            let id = format!("evt_away_{number}");
            let answer = self.shop.post(&event(&id, "price.changed")).await;
            if answer.status != StatusCode::ACCEPTED {
                return answer;
            }
            self.answers.insert(id, answer.body);
            sleep(Duration::from_millis(200)).await;
        }
        unreachable!("it counts on")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_posted_again_after_a_restart_is_there_already_and_after_a_crash_once_more() {
    let receiver = Receiver::willing().await;
    let config = Config::new()
        .top("shutdown_timeout = \"2s\"")
        .publish("grace = \"20s\"");
    let config = Scene::config(config, &receiver);
    let mut scene = Scene::of(Daemon::start(&config), receiver);
    let encoder = scene.publish(&sources::LONG);
    scene.viewer.renditions(STREAM).await;
    let (first, _) = scene.place(event("evt_1", "price.changed")).await;
    let (range, _) = scene.place(event("evt_range", "listing.pinned")).await;
    // The viewer sees them before the process goes.
    let there = range["media_time_ms"].as_i64().expect("a number") + 1_000;
    while scene.media_time_ms().await < there {
        sleep(Duration::from_millis(100)).await;
    }

    let Scene {
        daemon,
        receiver,
        answers,
        ..
    } = scene;
    let exit = stop(daemon).await;
    drop(encoder);
    let daemon = restart(exit, config.clone()).await;
    let mut scene = Scene {
        answers,
        ..Scene::of(daemon, receiver)
    };
    // Its answer was lost on the way: it comes again, before there is a publisher and after.
    let (again, _) = scene.place(event("evt_1", "price.changed")).await;
    assert!(same_place(&first, &again), "{first} then {again}");
    let _encoder = scene.publish(&sources::LONG);
    scene.place(event("evt_2", "price.changed")).await;
    let (again, _) = scene.place(event("evt_1", "price.changed")).await;
    assert!(same_place(&first, &again), "{first} then {again}");
    let there = scene.media_time_ms().await + 1_000;
    while scene.media_time_ms().await < there {
        sleep(Duration::from_millis(100)).await;
    }
    until_confirmed(&scene.receiver, STREAM, 3).await;
    let recorded = boxes_so_far(&scene).await;
    let cues = |ids: &[&str]| {
        ids.iter()
            .map(|id| (*id).to_owned())
            .collect::<BTreeSet<_>>()
    };
    let found: BTreeSet<_> = recorded["high"].cues.keys().cloned().collect();
    assert_eq!(found, cues(&["evt_1", "evt_2", "evt_range"]));

    let Scene {
        daemon, receiver, ..
    } = scene;
    let daemon = restart(kill(daemon).await, config).await;
    let mut scene = Scene::of(daemon, receiver);
    let _encoder = scene.publish(&sources::LONG);
    let recording = scene.record().await;
    let (anew, _) = scene.place(event("evt_1", "price.changed")).await;
    assert!(
        anew["epoch"].as_u64() > first["epoch"].as_u64(),
        "{first} then {anew}"
    );
    let there = scene.media_time_ms().await + 1_000;
    while scene.media_time_ms().await < there {
        sleep(Duration::from_millis(100)).await;
    }
    let told = confirmed(&scene.receiver, STREAM);
    let ids: BTreeSet<_> = told.keys().map(|(_, id)| id.clone()).collect();
    assert_eq!(
        ids,
        cues(&["evt_1", "evt_2", "evt_range"]),
        "one id, one event"
    );
    let (renditions, _) = scene.end_told(recording, 4).await;
    assert_eq!(renditions["high"].ids(), ["evt_1"]);
}

/// What the lists as they are lead to.
async fn boxes_so_far(scene: &Scene) -> Renditions {
    let mut recordings = Recordings::new();
    for (name, folder) in scene.viewer.renditions(STREAM).await {
        let recording = scene.viewer.follow_until(&folder, |_| true).await;
        recordings.insert(name, recording);
    }
    let epoch = scene.answers["evt_1"]["epoch"].as_u64().expect("a number");
    let renditions = boxes::read(epoch, &recordings);
    assert_eq!(boxes::compare(&renditions), Vec::<String>::new());
    renditions
}

impl Scene {
    /// As [`Self::end`], of a stream of which so many events were told over all epochs.
    async fn end_told(
        self,
        recording: JoinHandle<Recordings>,
        count: usize,
    ) -> (Renditions, Recordings) {
        until_confirmed(&self.receiver, STREAM, count).await;
        self.end(recording).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_placed_and_who_posts_more_is_told_when_to_come_again() {
    let mut scene = Scene::start(Config::new()).await;
    let _encoder = scene.publish(&sources::LONG);
    let recording = scene.record().await;
    let mut number = 0;
    let refusal = loop {
        let id = format!("e{number}");
        let answer = scene
            .shop
            .post(&json!({ "id": id, "type": "stock.changed" }))
            .await;
        if answer.status != StatusCode::ACCEPTED {
            break answer;
        }
        scene.answers.insert(id, answer.body);
        number += 1;
        assert!(number < 1_000, "no end of it");
    };
    assert!(number >= 100, "a burst of {number}: {refusal:?}");
    assert_eq!(refusal.status, StatusCode::TOO_MANY_REQUESTS, "{refusal:?}");
    let seconds = refusal.retry_after.expect("told when");
    assert!((1..=10).contains(&seconds), "{refusal:?}");
    sleep(Duration::from_secs(seconds)).await;
    let again = scene
        .shop
        .post(&event(&format!("e{number}"), "stock.changed"))
        .await;
    assert_eq!(again.status, StatusCode::ACCEPTED, "as was told: {again:?}");
    scene.answers.insert(format!("e{number}"), again.body);
    let (renditions, _) = scene.end(recording).await;
    let order: Vec<_> = (0..=number).map(|number| format!("e{number}")).collect();
    let mut ids = renditions["high"].ids();
    ids.sort_by_key(|id| (id.len(), id.to_owned()));
    assert_eq!(ids, order, "all of them, each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_end_by_their_close_and_what_is_too_late_or_too_early_is_not_placed() {
    // A short list, of which deltas leave out something soon.
    let mut scene = Scene::start(Config::new().hls("max_gop = \"1s\"")).await;
    let _encoder = scene.publish(&sources::LONG);
    let recording = scene.record().await;
    let state = json!({ "seq": 7, "data": { "pinned": "lst_1" } });
    loop {
        let answer = scene.shop.put_state(&state).await;
        if answer.status.is_success() {
            break;
        }
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{answer:?}");
        sleep(Duration::from_millis(100)).await;
    }
    scene.place(event("evt_open", "listing.pinned")).await;
    let short = with(event("evt_short", "notice.posted"), "duration_ms", 1500);
    scene.place(short).await;
    for (id, at_ms, wanted) in [
        ("evt_stale", -10_500, StatusCode::GONE),
        ("evt_far", 61_000, StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let answer = scene
            .shop
            .post(&with(event(id, "price.changed"), "at", wall(at_ms)))
            .await;
        assert_eq!(answer.status, wanted, "{answer:?}");
    }
    let past = with(event("evt_past", "price.changed"), "at", wall(-9_000));
    let (past, _) = scene.place(past).await;
    assert!(
        past["shifted_ms"].as_i64().is_some_and(|ms| ms > 0),
        "{past}"
    );
    let close = with(event("evt_close", "listing.unpinned"), "close", "evt_open");
    scene.place(close).await;
    let folder = scene
        .viewer
        .renditions(STREAM)
        .await
        .remove("high")
        .expect("pictures");
    let enough = |list: &Playlist| list.duration() > list.skip_boundary() + 4.5;
    scene.viewer.follow_until(&folder, enough).await;
    scene.place(event("evt_late", "coupon.pinned")).await;
    deltas_hold_the_same_ranges(&scene.viewer, &folder).await;
    let (renditions, recordings) = scene.end(recording).await;
    for (name, recording) in &recordings {
        let ranges = &recording.ranges;
        let ids: Vec<_> = ranges.keys().map(String::as_str).collect();
        assert_eq!(ids, ["evt_late", "evt_open", "evt_short"], "{name}");
        let closed = renditions["high"].cues["evt_close"].value["pdt"].as_str();
        assert_eq!(
            ranges["evt_open"].get("END-DATE").map(String::as_str),
            closed,
            "{name}"
        );
        assert_eq!(ranges["evt_short"]["DURATION"].parse(), Ok(1.5), "{name}");
        assert!(!ranges["evt_late"].contains_key("END-DATE"), "{name}");
    }
    let repeated = renditions["high"].cues.values();
    let repeated = repeated.filter(|cue| cue.value["type"] == "state.repeat");
    let states: Vec<_> = repeated
        .map(|cue| (&cue.value["seq"], &cue.value["data"]))
        .collect();
    assert!(!states.is_empty(), "{:?}", renditions["high"].ids());
    for (seq, data) in states {
        assert_eq!((seq, data), (&json!(7), &state["data"]));
    }
}

/// A delta update lists the ranges that the whole list does, and leaves segments out.
async fn deltas_hold_the_same_ranges(viewer: &Viewer, folder: &str) {
    let ranges = |list: &Playlist| list.ranges.clone();
    for _ in 0..20 {
        let whole = viewer.playlist(folder, "").await;
        let (msn, part) = whole.next();
        let asked = format!("?_HLS_msn={msn}&_HLS_part={part}");
        let skipping = format!("{asked}&_HLS_skip=YES");
        let skipping = format!("{folder}index.m3u8{skipping}");
        let (whole, delta) = tokio::join!(viewer.playlist(folder, &asked), viewer.text(&skipping));
        // What it leaves out is not checked: it says less than a version must.
        let delta = Playlist::parse(&delta);
        if whole.next() == delta.next() && !whole.ranges.is_empty() {
            assert!(delta.skipped > 0, "{}", delta.text);
            assert_eq!(
                ranges(&whole),
                ranges(&delta),
                "{}\n{}",
                whole.text,
                delta.text
            );
            return;
        }
    }
    panic!("never the same version twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_alone_carries_events_itself() {
    let mut scene = Scene::start(Config::new()).await;
    let _encoder = scene.publish(&sources::AUDIO_ONLY);
    let recording = scene.record().await;
    scene.place(event("evt_a", "price.changed")).await;
    scene.place(event("evt_b", "listing.pinned")).await;
    let there = scene.media_time_ms().await + 1_000;
    while scene.media_time_ms().await < there {
        sleep(Duration::from_millis(100)).await;
    }
    let (renditions, _) = scene.end(recording).await;
    assert_eq!(renditions.keys().collect::<Vec<_>>(), ["audio"]);
    assert_eq!(renditions["audio"].ids(), ["evt_a", "evt_b"]);
}
