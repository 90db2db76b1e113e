//! Who publishes: claims, takeovers, fences, ends. What is published: readiness, epochs, retention. What operators do to
//! it, and what backends are told of it all, is in `operations`; where events stand, in `placed`.

mod operations;
mod placed;

use std::time::Duration;

use tokio::time::{Instant, advance, sleep};
use vitrine_core::{
    engine::{saved, stream::End},
    limits,
    media::{self, Kind, Rendition},
    wire::{flv, m3u8::media::Form},
};
use vitrine_runtime::{bearer::Digest, clock::Clock};

use super::{
    Busy, Claim, Fence, Gone, Registry, SessionId, Terms,
    fixture::{self, Stage},
    published::Rendered,
    status::State,
};

const HOME: &str = "192.0.2.1:5000";
const AWAY: &str = "192.0.2.2:5000";

fn claim(peer: &str, takeover: bool) -> Claim {
    Claim {
        stream: "demo".parse().expect("valid"),
        session: SessionId::new(),
        peer: peer.parse().expect("an address"),
        protocol: "rtmp",
        encoder: "test".to_owned(),
        app: "live".to_owned(),
        identity: Digest::of(b"key"),
        own_name: false,
        terms: Terms {
            takeover,
            ..Terms::default()
        },
        ladder: None,
        epoch: None,
    }
}

fn frame(bytes: usize) -> flv::Item {
    flv::Item::Frame(flv::Frame {
        kind: Kind::Audio,
        timestamp: 0,
        nanos: 0,
        composition_ms: 0,
        sync: true,
        data: vec![0; bytes].into(),
    })
}

async fn session_of(registry: &Registry) -> Option<SessionId> {
    tokio::task::yield_now().await;
    let live = registry.lookup("demo").expect("live");
    live.status().session.map(|session| session.id)
}

#[tokio::test(start_paused = true)]
async fn a_takeover_fences_the_incumbent_and_nothing_it_sends_counts() {
    let registry = fixture::registry();
    let first = registry.claim(claim(HOME, true)).await.expect("free");
    first
        .media(frame(1000), Instant::now())
        .await
        .expect("listened to");
    let second = claim(AWAY, true);
    let id = second.session.clone();
    let second = registry.claim(second).await.expect("taken over");
    assert_eq!(first.fenced().await, Fence::Takeover);
    assert_eq!(
        first.media(frame(1), Instant::now()).await,
        Err(Gone(Fence::Takeover))
    );
    // The end of the fenced one ends nothing.
    first.close(End::Stopped).await;
    assert_eq!(session_of(&registry).await, Some(id));
    second
        .media(frame(1000), Instant::now())
        .await
        .expect("listened to");
}

#[tokio::test(start_paused = true)]
async fn without_takeover_a_live_stream_is_busy_until_its_publisher_ends() {
    let registry = fixture::registry();
    let first = registry.claim(claim(HOME, true)).await.expect("free");
    assert_eq!(
        registry.claim(claim(AWAY, false)).await.err(),
        Some(Busy::Live)
    );
    // Dropped: lost. A claim right behind it is not refused for the sake of a dead publisher.
    drop(first);
    registry
        .claim(claim(AWAY, false))
        .await
        .expect("free again");
}

#[tokio::test(start_paused = true)]
async fn a_name_of_the_publishers_own_is_one_application_s_alone() {
    let registry = fixture::registry();
    let of = |app: &str, own_name| Claim {
        app: app.to_owned(),
        own_name,
        ..claim(AWAY, true)
    };
    let first = registry.claim(of("live", true)).await.expect("free");
    let other = async || registry.claim(of("other", true)).await.err();
    assert_eq!(other().await, Some(Busy::OtherApp));
    let again = registry.claim(of("live", true)).await.expect("a takeover");
    // It may be back, and finds its stream as it was.
    drop((first, again));
    assert_eq!(other().await, Some(Busy::OtherApp));
    // Named by who decides: whatever it was published to.
    let named = registry.claim(of("other", false)).await;
    drop(named.expect("a takeover"));
    sleep(Duration::from_secs(21)).await;
    registry.claim(of("live", true)).await.expect("free again");
}

#[tokio::test(start_paused = true)]
async fn a_contested_stream_stays_with_its_incumbent() {
    let registry = fixture::registry();
    let mut held = vec![registry.claim(claim(HOME, true)).await.expect("free")];
    for peer in [AWAY, HOME, AWAY] {
        held.push(registry.claim(claim(peer, true)).await.expect("a takeover"));
    }
    assert_eq!(
        registry.claim(claim(HOME, true)).await.err(),
        Some(Busy::Contested)
    );
    advance(Duration::from_secs(61)).await;
    held.push(
        registry
            .claim(claim(HOME, true))
            .await
            .expect("a minute later"),
    );
}

#[tokio::test(start_paused = true)]
async fn a_draining_server_fences_its_publishers_and_takes_no_others() {
    let registry = fixture::registry();
    let publisher = registry.claim(claim(HOME, true)).await.expect("free");
    registry.drain().await;
    assert_eq!(publisher.fenced().await, Fence::ShuttingDown);
    assert_eq!(
        registry.claim(claim(HOME, true)).await.err(),
        Some(Busy::ShuttingDown)
    );
}

/// What every request for a media playlist would be answered with.
fn playlists(registry: &Registry) -> Vec<String> {
    let live = registry.lookup("demo").expect("there");
    let playlist = |version: &Rendered| version.playlist(Form::Full).plain().bytes.clone();
    (live.renditions().iter())
        .map(|(_, _, version)| String::from_utf8(playlist(version).into()).expect("text"))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_drained_stream_is_saved_stays_as_it_is_and_goes_on_in_another_process() {
    let now = Clock::start().now();
    let stream = "demo".parse().expect("valid");
    let first = fixture::registry();
    let saved = fixture::saved_at(now);
    let epoch = saved.saved.epoch();
    first.resume(&stream, saved).await.expect("within grace");
    let live = first.lookup("demo").expect("there at once");
    assert_eq!(live.status().state, State::Grace);
    assert!(live.master().borrow().is_some(), "players find it at once");
    let mut waiting = live.rendition(epoch, Rendition::Audio).expect("there");

    let mut left = first.drain().await;
    let last = playlists(&first);
    assert!(
        last[0].contains("EXT-X-PART") && !last[0].contains("ENDLIST"),
        "{last:?}"
    );
    while waiting.changed().await.is_ok() {}
    let (id, saved) = left.pop().expect("it goes on");
    assert_eq!((id, left.len()), (stream.clone(), 0));

    let second = fixture::registry();
    second.resume(&stream, saved).await.expect("within grace");
    assert_eq!(playlists(&second), last);
    let publisher = second.claim(claim(HOME, false)).await.expect("in grace");
    drop(publisher);
    // Nothing playable came: the epoch ends with its grace.
    sleep(Duration::from_secs(21)).await;
    let ended = playlists(&second);
    assert!(ended[0].ends_with("#EXT-X-ENDLIST\n"), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_go_on_is_not_there() {
    let registry = fixture::registry();
    let stream = "demo".parse().expect("valid");
    // Of another year.
    let refused = registry.resume(&stream, fixture::saved()).await;
    assert!(
        matches!(refused, Err(saved::Error::Expired { .. })),
        "{refused:?}"
    );
    assert!(registry.lookup("demo").is_none());
    assert!(registry.drain().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn messages_larger_than_the_whole_inbox_still_pass() {
    let registry = fixture::registry();
    let publisher = registry.claim(claim(HOME, true)).await.expect("free");
    let bytes = limits::INBOX_KIB_MAX as usize * 1024 + 1;
    for _ in 0..2 {
        publisher
            .media(frame(bytes), Instant::now())
            .await
            .expect("listened to");
    }
}

#[tokio::test(start_paused = true)]
async fn the_multivariant_playlist_appears_when_every_rendition_has_a_part() {
    let mut stage = Stage::new();
    let ready = |stage: &Stage| {
        stage
            .live
            .master()
            .borrow()
            .as_ref()
            .map(|master| master.epoch)
    };
    stage.part(7, Rendition::High);
    stage.present(7);
    assert_eq!(ready(&stage), None);
    stage.part(7, Rendition::Audio);
    assert_eq!(ready(&stage), Some(7));
    // Over, and nobody is publishing: it stays. Somebody comes: whoever asks now waits for the next epoch.
    stage.end(7, false);
    assert_eq!(ready(&stage), Some(7));
    stage.opened();
    assert_eq!(ready(&stage), None);
    stage.present(8);
    stage.part(8, Rendition::High);
    stage.part(8, Rendition::Audio);
    assert_eq!(ready(&stage), Some(8));
    // The tracks changed beyond the epoch's constants while somebody publishes.
    stage.end(8, true);
    assert_eq!(ready(&stage), None);
}

#[tokio::test(start_paused = true)]
async fn ended_epochs_stay_for_their_retention_and_never_more_than_a_few() {
    let mut stage = Stage::new();
    let there = |stage: &Stage, epoch| stage.live.rendition(epoch, Rendition::High).is_some();
    stage.part(1, Rendition::High);
    stage.end(1, false);
    stage.part(2, Rendition::High);
    advance(Duration::from_secs(59)).await;
    stage.expire();
    assert!(there(&stage, 1) && there(&stage, 2));
    advance(Duration::from_secs(1)).await;
    stage.expire();
    assert!(!there(&stage, 1) && there(&stage, 2));
    for epoch in 3..=5 {
        stage.part(epoch, Rendition::High);
    }
    assert!(!there(&stage, 2) && there(&stage, 3) && there(&stage, 5));
}

#[tokio::test(start_paused = true)]
async fn only_so_many_requests_of_a_stream_wait() {
    let stage = Stage::new();
    let mut waiters: Vec<_> = (0..limits::WAITERS_PER_STREAM_MAX)
        .map(|_| stage.live.wait().expect("room"))
        .collect();
    assert!(stage.live.wait().is_none());
    waiters.pop();
    assert!(stage.live.wait().is_some());
}

/// Sends `count` frames of AAC, 1024 samples at 48 kHz each, as fast as they would be spoken.
async fn speak(publisher: &super::Publisher, count: u32) {
    for index in 0..count {
        let timestamp = index * 64 / 3;
        let frame = flv::Frame {
            kind: Kind::Audio,
            timestamp,
            nanos: 0,
            composition_ms: 0,
            sync: true,
            data: vec![0x21; 200].into(),
        };
        publisher
            .media(flv::Item::Frame(frame), Instant::now())
            .await
            .expect("listened to");
        tokio::time::sleep(Duration::from_micros(21_333)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_is_published_survives_its_publisher_and_ends() {
    let registry = fixture::registry();
    let config =
        media::aac::Config::parse(&vec![0x11, 0x90].into()).expect("AAC-LC, 48 kHz, stereo");
    let config = || flv::Item::Config(media::Config::Aac(config.clone()));
    let state = |registry: &Registry| registry.lookup("demo").expect("live").status().state;

    let publisher = registry.claim(claim(HOME, true)).await.expect("free");
    publisher
        .media(config(), Instant::now())
        .await
        .expect("listened to");
    speak(&publisher, 1000).await;
    let live = registry.lookup("demo").expect("live");
    assert_eq!(live.status().state, State::Live);
    let epoch = live.master().borrow().as_ref().expect("ready").epoch;
    let first = live.renditions();
    assert_eq!(
        first
            .iter()
            .map(|(of, name, _)| (*of, *name))
            .collect::<Vec<_>>(),
        [(epoch, Rendition::Audio)]
    );
    assert!(live.status().latency.percentile(50).is_some());

    // Lost, and back within grace: the same epoch goes on.
    drop(publisher);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(state(&registry), State::Grace);
    let publisher = registry.claim(claim(AWAY, true)).await.expect("free");
    publisher
        .media(config(), Instant::now())
        .await
        .expect("listened to");
    speak(&publisher, 1000).await;
    assert_eq!(state(&registry), State::Live);
    assert_eq!(live.renditions().len(), 1, "the same epoch");
    assert!(live.renditions()[0].2.snapshot().next_part > first[0].2.snapshot().next_part);

    // Stopped: over after the short grace, fetchable for a minute, then gone.
    publisher.close(End::Stopped).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(state(&registry), State::Ended);
    assert!(live.renditions()[0].2.snapshot().ended);
    tokio::time::sleep(Duration::from_secs(55)).await;
    assert!(registry.lookup("demo").is_some());

    // Somebody comes at the last moment: the same address, a new epoch, and the old one's media are still there.
    let publisher = registry.claim(claim(AWAY, true)).await.expect("free");
    publisher
        .media(config(), Instant::now())
        .await
        .expect("listened to");
    speak(&publisher, 150).await;
    let again = registry.lookup("demo").expect("live");
    let next = again.master().borrow().as_ref().expect("ready").epoch;
    assert!(next > epoch);
    assert!(again.rendition(epoch, Rendition::Audio).is_some());
    drop(publisher);
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert!(registry.lookup("demo").is_none());
}
