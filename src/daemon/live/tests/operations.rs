//! What operators do to a stream, what backends are told of it, and that each thing is told once whatever ends it.

use std::{
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};
use vitrine_core::{
    engine::{saved, stream::End},
    media::{self, Rendition, WallTime},
    wire::flv,
};
use vitrine_runtime::{
    bearer::Digest,
    clock::Clock,
    deliver::{Event, Life},
};

use super::{AWAY, HOME, claim, fixture, playlists, speak};
use crate::live::{
    Busy, Claim, Fence, Herald, Live, Publisher, Registry, Stores, StreamId,
    operations::{Change, Refused},
    states::{Left, StateStore},
    status::State,
};

/// A registry and what its backends are told.
struct Rig {
    registry: Registry,
    told: Arc<Mutex<Vec<Event>>>,
}

impl Rig {
    fn new() -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let record = told.clone();
        let record = move |event| record.lock().expect("no panic").push(event);
        let herald = Herald::of(record, "n1", Some("https://live.shop.example"));
        let registry = fixture::registry_telling(&herald);
        Self { registry, told }
    }

    /// Publishes `count` frames of sound, of 21 ms each.
    async fn publish(&self, claim: Claim, count: u32) -> Publisher {
        let publisher = self.registry.claim(claim).await.expect("accepted");
        let config = media::aac::Config::parse(&vec![0x11, 0x90].into());
        let config = media::Config::Aac(config.expect("AAC-LC, 48 kHz, stereo"));
        let config = flv::Item::Config(config);
        { publisher.media(config, Instant::now()).await }.expect("listened to");
        speak(&publisher, count).await;
        publisher
    }

    fn live(&self) -> Live {
        self.registry.lookup("demo").expect("there")
    }

    /// The types told so far, and the causes of those that have one.
    fn story(&self) -> Vec<String> {
        let told = self.told.lock().expect("no panic");
        let name = |event: &Event| match event.data.get("cause") {
            Some(cause) => format!("{}: {}", event.kind, cause.as_str().expect("text")),
            None => event.kind.to_owned(),
        };
        told.iter().map(name).collect()
    }

    fn data(&self, kind: &str) -> Map<String, Value> {
        let told = self.told.lock().expect("no panic");
        let found = told.iter().rev().find(|event| event.kind == kind);
        found.unwrap_or_else(|| panic!("no {kind}")).data.clone()
    }
}

#[tokio::test]
async fn a_ban_reaches_the_disk_though_nobody_waits_for_it() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (stores, herald) = (
        Stores::in_folder(folder.path()).expect("read"),
        Herald::of(|_| {}, "n1", None),
    );
    let registry = Registry::new(fixture::settings(), None, stores, herald, Clock::start());
    let _publisher = registry.claim(claim(HOME, true)).await.expect("free");
    let live = registry.lookup("demo").expect("there");
    let mut order = Box::pin(live.disconnect("ops", Some(Duration::from_secs(60))));
    // The order is on its way; whoever gave it does not wait for the answer.
    let waits =
        std::future::poll_fn(|context| Poll::Ready(order.as_mut().poll(context).is_pending()));
    assert!(waits.await);
    drop(order);
    let path = folder.path().join("bans.json");
    let kept = || std::fs::read_to_string(&path).is_ok_and(|text| text.contains("ban_"));
    for _ in 0..500 {
        if kept() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("it is not on the disk");
}

fn with_key(key: &str, claim: Claim) -> Claim {
    let identity = Digest::of(key.as_bytes());
    Claim { identity, ..claim }
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_is_told_from_its_beginning_to_its_end() {
    let rig = Rig::new();
    let first = claim(HOME, true);
    let session = first.session.to_string();
    let publisher = rig.publish(first, 200).await;
    let started = rig.data("stream.started");
    assert_eq!(started["node"], "n1");
    assert_eq!(started["stream_id"], "demo");
    assert_eq!(started["session_id"], session);
    assert_eq!(started["app"], "live");
    assert_eq!(started["protocol"], "rtmp");
    assert_eq!(started["remote_addr"], HOME);
    assert_eq!(started["encoder"], "test");
    let epoch = rig.live().renditions()[0].0;
    assert_eq!(started["epoch"], epoch);
    let live = rig.data("stream.live");
    assert_eq!(live["epoch"], epoch);
    assert_eq!(live["renditions"], json!(["audio"]));
    assert_eq!(live["playback_path"], "/live/demo/index.m3u8");
    let url = "https://live.shop.example/live/demo/index.m3u8";
    assert_eq!(live["playback_url"], url);

    // Silent, and heard again.
    sleep(Duration::from_secs(5)).await;
    assert_eq!(
        rig.story().last().expect("told"),
        "stream.interrupted: silent"
    );
    speak(&publisher, 200).await;
    assert_eq!(rig.story().last().expect("told"), "stream.resumed");
    // Taken over, twice at once told once.
    let second = rig.publish(claim(AWAY, true), 200).await;
    let takeover = rig.data("stream.takeover");
    assert_eq!(takeover["from_session_id"], session);
    assert_eq!(takeover["from_remote_addr"], HOME);
    assert_eq!(takeover["remote_addr"], AWAY);
    drop(publisher);
    second.close(End::Stopped).await;
    sleep(Duration::from_secs(90)).await;
    let wanted = [
        "stream.started",
        "stream.live",
        "stream.interrupted: silent",
        "stream.resumed",
        "stream.takeover",
        // Until it is known that sound is all there is of it.
        "stream.interrupted: silent",
        "stream.resumed",
        "stream.interrupted: stopped",
        "stream.ended: stopped",
    ];
    assert_eq!(rig.story(), wanted);
    let ended = rig.data("stream.ended");
    assert_eq!(ended["bytes"], 600 * 200);
    assert!(ended["duration_ms"].is_u64() && ended.get("reason").is_none());
    let told = rig.told.lock().expect("no panic");
    assert_eq!(told[0].life, Life::Begins);
    assert_eq!(told.last().expect("told").life, Life::Ends);
    let secret = Digest::of(b"key").hex();
    assert!(!format!("{told:?}").contains(&secret), "no key in any form");
}

#[tokio::test(start_paused = true)]
async fn a_kicked_publisher_is_told_so_and_stays_away_as_long_as_its_ban_says() {
    let rig = Rig::new();
    let publisher = rig.publish(claim(HOME, true), 200).await;
    let kicked = rig.live().disconnect("ops", None).await.expect("there");
    assert_eq!(publisher.fenced().await, Fence::Kicked);
    assert_eq!(rig.data("stream.started")["session_id"], kicked.as_str());
    assert_eq!(rig.live().status().state, State::Grace);
    let again = rig.live().disconnect("ops", None).await;
    assert_eq!(again, Err(Refused::NotPublishing));
    // Not banned: it comes back, and is banned.
    let back = rig.publish(claim(HOME, true), 200).await;
    let hour = Some(Duration::from_secs(3600));
    { rig.live().disconnect("ops", hour).await }.expect("there");
    drop((publisher, back));
    let refused = rig.registry.claim(claim(HOME, true)).await;
    assert_eq!(refused.err(), Some(Busy::Banned));
    let bans = rig.registry.bans().list();
    assert_eq!(bans.len(), 1);
    assert_eq!(
        (bans[0].stream.as_str(), bans[0].until.is_some()),
        ("demo", true)
    );
    assert!(bans[0].reason.contains("operator"), "{}", bans[0].reason);
    // Another key of the stream may.
    let other = rig.publish(with_key("other", claim(HOME, true)), 200).await;
    other.close(End::Lost).await;
    { rig.registry.bans().lift(&bans[0].id).await }.expect("lifted");
    let lifted = rig.registry.claim(claim(HOME, true)).await;
    { rig.live().disconnect("ops", None).await }.expect("there");
    drop(lifted);
    sleep(Duration::from_secs(90)).await;
    let wanted = [
        "stream.started",
        "stream.live",
        "stream.interrupted: kicked",
        "stream.resumed",
        "stream.interrupted: kicked",
        "stream.resumed",
        "stream.interrupted: lost",
        "stream.ended: kicked",
    ];
    assert_eq!(rig.story(), wanted);
    let reason = &rig.data("stream.ended")["reason"];
    assert_eq!(reason, "disconnected by an operator");
}

#[tokio::test(start_paused = true)]
async fn an_ended_stream_has_its_endlist_at_once_and_its_encoder_does_not_begin_it_anew() {
    let rig = Rig::new();
    let publisher = rig.publish(claim(HOME, true), 200).await;
    rig.live().end("ops", None).await.expect("live");
    assert_eq!(publisher.fenced().await, Fence::Ended);
    let lists = playlists(&rig.registry);
    assert!(lists[0].ends_with("#EXT-X-ENDLIST\n"), "{lists:?}");
    assert_eq!(rig.live().status().state, State::Ended);
    assert_eq!(rig.live().end("ops", None).await, Err(Refused::Ended));
    let back = rig.registry.claim(claim(HOME, true)).await;
    assert_eq!(back.err(), Some(Busy::Banned));
    let ban = rig.registry.bans().list().remove(0);
    let until = ban.until.expect("for a while").0 - ban.since.0;
    assert_eq!(until, 30_000);
    let wanted = ["stream.started", "stream.live", "stream.ended: ended"];
    assert_eq!(rig.story(), wanted);
    // In grace as well, and before anything can be played.
    let grace = Rig::new();
    drop(grace.publish(claim(HOME, true), 200).await);
    sleep(Duration::from_secs(5)).await;
    grace.live().end("ops", None).await.expect("in grace");
    assert_eq!(grace.story().last().expect("told"), "stream.ended: ended");
    let mute = Rig::new();
    let _publisher = mute.registry.claim(claim(HOME, true)).await;
    mute.live().end("ops", None).await.expect("connecting");
    assert_eq!(mute.story(), ["stream.started", "stream.ended: ended"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_down_is_gone_from_memory_and_another_key_begins_a_new_epoch() {
    let rig = Rig::new();
    let publisher = rig.publish(claim(HOME, true), 200).await;
    let live = rig.live();
    let epoch = live.renditions()[0].0;
    let mut waiting = live.rendition(epoch, Rendition::Audio).expect("there");
    waiting.borrow_and_update();
    let down = live.take_down("ops", "stolen goods".to_owned()).await;
    let down = down.expect("live");
    assert_eq!(
        (down.epochs, down.purge_prefix.as_str()),
        (vec![epoch], "/live/demo/")
    );
    assert_eq!(publisher.fenced().await, Fence::TakenDown);
    assert!(waiting.changed().await.is_err(), "whoever waits is woken");
    assert!(live.is_taken_down(Some(epoch)) && live.is_taken_down(None));
    assert!(live.renditions().is_empty() && live.master().borrow().is_none());
    let back = rig.registry.claim(claim(HOME, true)).await;
    assert_eq!(back.err(), Some(Busy::Banned));
    assert_eq!(
        rig.registry.bans().list()[0].until,
        None,
        "until it is lifted"
    );

    let _other = rig.publish(with_key("other", claim(AWAY, true)), 200).await;
    let next = rig.live().master().borrow().as_ref().expect("ready").epoch;
    assert!(next > epoch);
    let live = rig.live();
    assert!(!live.is_taken_down(None) && !live.is_taken_down(Some(next)));
    assert!(live.is_taken_down(Some(epoch)), "for ever");
    let wanted = [
        "stream.started",
        "stream.live",
        "stream.taken_down",
        "stream.ended: taken_down",
        "stream.started",
        "stream.live",
    ];
    assert_eq!(rig.story(), wanted);
    let told = rig.data("stream.taken_down");
    assert_eq!(told["reason"], "stolen goods");
    assert_eq!(told["epochs"], json!([epoch]));
    assert_eq!(told["purge_url"], "https://live.shop.example/live/demo/");
    assert_eq!(rig.data("stream.ended")["reason"], "stolen goods");
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_can_still_be_taken_down() {
    let rig = Rig::new();
    let publisher = rig.publish(claim(HOME, true), 200).await;
    publisher.close(End::Stopped).await;
    sleep(Duration::from_secs(10)).await;
    { rig.live().take_down("ops", "late".to_owned()).await }.expect("kept for a while");
    assert!(rig.live().renditions().is_empty());
    let story = rig.story();
    assert_eq!(
        story[story.len() - 2..],
        ["stream.ended: stopped", "stream.taken_down"]
    );
    let told = rig.told.lock().expect("no panic");
    assert_eq!(
        told.last().expect("told").life,
        Life::Goes,
        "its life is over already"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_publish_may_do_changes_while_it_lasts() {
    let rig = Rig::new();
    let publisher = rig.publish(claim(HOME, true), 200).await;
    let metadata = json!({"show": "42"});
    let change = Change {
        takeover: Some(false),
        max_kbps: Some(4000),
        lifetime: Some(Some(Duration::from_secs(60))),
        metadata: metadata.as_object().cloned(),
        ..Change::default()
    };
    let mut terms = publisher.terms().subscribe();
    let now = rig.live().change("ops", change).await.expect("live");
    assert_eq!(*terms.borrow_and_update(), now);
    assert_eq!((now.max_kbps, now.revalidate), (4000, None));
    let told = rig.live().status().session.expect("live").terms;
    assert_eq!(*told.borrow(), now);
    let refused = rig.registry.claim(claim(AWAY, true)).await;
    assert_eq!(refused.err(), Some(Busy::Live));
    let unlimited = Change {
        takeover: Some(true),
        lifetime: Some(None),
        ..Change::default()
    };
    rig.live().change("ops", unlimited).await.expect("live");
    assert_eq!(terms.borrow_and_update().lifetime, None);
    // An operator's word is about the stream as it is, whatever the claimant's own verdict says.
    let second = rig.publish(claim(AWAY, false), 200).await;
    assert_eq!(
        rig.data("stream.takeover").get("metadata"),
        None,
        "its own verdict's"
    );
    second.close(End::Lost).await;
    let idle = rig.live().change("ops", Change::default()).await;
    assert_eq!(idle, Err(Refused::NotPublishing));
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_the_door_cut_is_told_of_with_the_reason() {
    for (fence, words) in [
        (
            Fence::Expired,
            "the time allowed for this broadcast is over",
        ),
        (Fence::Revoked, "this broadcast is not allowed any longer"),
        (
            Fence::TooFast { max_kbps: 8 },
            "bitrate above the 8 kbit/s allowed",
        ),
    ] {
        let rig = Rig::new();
        rig.publish(claim(HOME, true), 200).await.cut(fence).await;
        sleep(Duration::from_secs(90)).await;
        assert_eq!(rig.story().last().expect("told"), "stream.ended: kicked");
        assert_eq!(rig.data("stream.ended")["reason"], words);
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_ends_its_stream_for_backends_and_the_publisher() {
    let rig = Rig::new();
    let publisher = rig.publish(claim(HOME, true), 200).await;
    rig.live().fail().await;
    assert_eq!(publisher.fenced().await, Fence::Crashed);
    sleep(Duration::from_secs(1)).await;
    assert!(rig.registry.lookup("demo").is_none());
    drop(rig.publish(claim(HOME, true), 200).await);
    sleep(Duration::from_secs(90)).await;
    let wanted = [
        "stream.started",
        "stream.live",
        "stream.ended: crash",
        "stream.started",
        "stream.live",
        "stream.interrupted: lost",
        "stream.ended: lost",
    ];
    assert_eq!(rig.story(), wanted);
}

#[tokio::test(start_paused = true)]
async fn the_life_of_a_task_that_failed_is_over_before_the_next_one_begins() {
    let rig = Rig::new();
    let (claim, now) = (claim(HOME, true), Clock::start().now().wall);
    let live = rig.registry.orphan(&claim.stream);
    live.0.chronicle().accepted(now, 1, &claim, 1, 0);
    let _publisher = rig.registry.claim(claim).await.expect("accepted");
    let wanted = ["stream.started", "stream.ended: crash", "stream.started"];
    assert_eq!(rig.story(), wanted);
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_told_as_an_interruption_by_the_process_that_goes_on() {
    let first = Rig::new();
    let _publisher = first.publish(claim(HOME, true), 200).await;
    let (stream, left) = first.registry.drain().await.remove(0);
    assert_eq!(
        first.story(),
        ["stream.started", "stream.live"],
        "it goes on"
    );
    let folder = tempfile::tempdir().expect("temporary folder");
    let states = StateStore::in_folder(folder.path());
    states.save(&stream, &left).expect("a disk");
    assert_eq!(states.take().streams, [(stream.clone(), left.clone())]);
    let rest = std::fs::read_dir(folder.path()).expect("a folder");
    assert_eq!(rest.count(), 0);

    let second = Rig::new();
    second
        .registry
        .resume(&stream, left)
        .await
        .expect("within grace");
    assert_eq!(second.story(), ["stream.interrupted: lost"]);
    let data = second.data("stream.interrupted");
    assert_eq!(data["session_id"], first.data("stream.live")["session_id"]);
    assert_eq!(data["started_at"], first.data("stream.live")["started_at"]);
    // Its key is known, without anybody having published here.
    let back = second.publish(claim(AWAY, true), 200).await;
    back.close(End::Stopped).await;
    sleep(Duration::from_secs(10)).await;
    let wanted = [
        "stream.interrupted: lost",
        "stream.resumed",
        "stream.interrupted: stopped",
        "stream.ended: stopped",
    ];
    assert_eq!(second.story(), wanted);
    assert_eq!(second.data("stream.ended")["bytes"], 400 * 200);
}

#[tokio::test(start_paused = true)]
async fn what_a_process_left_without_media_has_recovered_when_media_is_back() {
    let first = Rig::new();
    let _publisher = first.publish(claim(HOME, true), 200).await;
    let (stream, mut left) = first.registry.drain().await.remove(0);
    // As if its encoder had failed.
    let mut story = serde_json::to_value(&left.story).expect("JSON");
    story["progress"]["lost"] = json!(["audio"]);
    left.story = serde_json::from_value(story).expect("a story");
    let second = Rig::new();
    { second.registry.resume(&stream, left).await }.expect("within grace");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(second.story(), ["stream.interrupted: lost"]);
    let _publisher = second.publish(claim(HOME, true), 200).await;
    let mut story = second.story();
    story.sort();
    let wanted = [
        "stream.interrupted: lost",
        "stream.recovered",
        "stream.resumed",
    ];
    assert_eq!(story, wanted);
}

#[tokio::test(start_paused = true)]
async fn what_a_process_left_in_grace_can_be_taken_down_by_the_next_and_its_key_is_known() {
    let first = Rig::new();
    let _publisher = first.publish(claim(HOME, true), 200).await;
    let (stream, left) = first.registry.drain().await.remove(0);
    let second = Rig::new();
    second
        .registry
        .resume(&stream, left)
        .await
        .expect("within grace");
    { second.live().take_down("ops", "stolen".to_owned()).await }.expect("in grace");
    let back = second.registry.claim(claim(HOME, true)).await;
    assert_eq!(back.err(), Some(Busy::Banned));
}

#[tokio::test(start_paused = true)]
async fn a_life_that_cannot_go_on_is_ended_by_whoever_knows() {
    // Nothing to go on with: this process knows.
    let mute = Rig::new();
    let _publisher = mute.registry.claim(claim(HOME, true)).await;
    assert!(mute.registry.drain().await.is_empty());
    assert_eq!(mute.story(), ["stream.started", "stream.ended: ended"]);
    // Killed: the next one knows. A stream that goes on without its story is told of anew.
    let first = Rig::new();
    let _publisher = first.publish(claim(HOME, true), 200).await;
    let (stream, left) = first.registry.drain().await.remove(0);
    let next = Rig::new();
    next.registry
        .resume(&stream, left)
        .await
        .expect("within grace");
    let other = "mute".parse().expect("valid");
    let now = Clock::start().now();
    { next.registry.resume(&other, fixture::saved_at(now)).await }.expect("within grace");
    let last = json!({"node": "n1", "stream_id": "x", "session_id": "ses_1", "cause": "silent", "hook_seq": 7});
    let last = last.as_object().expect("an object").clone();
    let unfinished = ["demo", "gone", "mute"].map(|stream| (stream.to_owned(), last.clone()));
    next.registry.bury(Vec::new(), unfinished.into());
    let wanted = [
        "stream.interrupted: lost",
        "stream.ended: crash",
        "stream.ended: crash",
    ];
    assert_eq!(next.story(), wanted, "one goes on");
    let told = next.told.lock().expect("no panic")[1].clone();
    assert_eq!((told.subject.as_str(), told.life), ("gone", Life::Ends));
    assert_eq!(told.data.len(), 4, "{:?}", told.data);
}

#[tokio::test(start_paused = true)]
async fn a_life_whose_grace_ran_out_between_two_processes_ended_as_its_publisher_did() {
    let rig = Rig::new();
    let stream: StreamId = "demo".parse().expect("valid");
    let left = Left {
        story: Some(fixture::story()),
        ..fixture::saved()
    };
    let refused = rig.registry.resume(&stream, left).await;
    assert!(matches!(refused, Err(saved::Error::Expired { .. })));
    let unfinished = vec![("demo".to_owned(), Map::new())];
    let stories = vec![(stream, fixture::story())];
    rig.registry.bury(stories, unfinished);
    assert_eq!(rig.story(), ["stream.ended: stopped"]);
    let ended = rig.data("stream.ended");
    assert_eq!(ended["started_at"], "2026-01-01T11:58:20.000Z");
    assert_eq!(
        (&ended["duration_ms"], &ended["bytes"]),
        (&json!(103_000), &json!(4711))
    );
    let told = rig.told.lock().expect("no panic")[0].clone();
    assert_eq!(told.at, WallTime(1_767_268_803_000));
    assert_eq!(told.life, Life::Ends);
    assert!(rig.registry.bans().list().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_down_while_its_process_ended_is_told_by_the_next() {
    let first = Rig::new();
    let _publisher = first.publish(claim(HOME, true), 200).await;
    let (stream, left) = first.registry.drain().await.remove(0);
    let live = first.live();
    let late = live.take_down("ops", "stolen goods".to_owned()).await;
    assert_eq!(late, Err(Refused::Unavailable));
    assert_eq!(first.story(), ["stream.started", "stream.live"]);

    let second = Rig::new();
    let epoch = left.saved.epoch();
    { second.registry.takedowns() }.add(&stream, [epoch], "stolen goods");
    let story = left.story.expect("it lives");
    second.registry.bury(vec![(stream, story)], Vec::new());
    let wanted = ["stream.taken_down", "stream.ended: taken_down"];
    assert_eq!(second.story(), wanted);
    let told = second.data("stream.taken_down");
    assert_eq!(told["epochs"], json!([epoch]));
    assert_eq!(told["purge_url"], "https://live.shop.example/live/demo/");
    let ended = second.data("stream.ended");
    assert_eq!(ended["reason"], "stolen goods");
    assert_eq!(ended["bytes"], 200 * 200);
    let back = second.registry.claim(claim(HOME, true)).await;
    assert_eq!(back.err(), Some(Busy::Banned));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_kept_for_another_process_ends_with_this_one() {
    let rig = Rig::new();
    let publisher = rig.publish(claim(HOME, true), 200).await;
    publisher.close(End::Stopped).await;
    sleep(Duration::from_secs(1)).await;
    let (stream, _) = rig.registry.drain().await.remove(0);
    rig.registry.give_up(&stream);
    let story = rig.story();
    assert_eq!(story.last().expect("told"), "stream.ended: stopped");
    assert_eq!(rig.data("stream.ended")["bytes"], 200 * 200);
}
