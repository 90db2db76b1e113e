//! Events of the shop in a whole broadcast: where each lands in every rendition, read from the parts' own boxes.

mod boundaries;
mod model;

use std::ops::Range;

use super::{End, Rig, Source, avc_large, witness::Copy};
use crate::{
    engine::{
        cues::{Placement, Refusal},
        ladder::Ladder,
    },
    media::{Rendition, WallTime},
    wire::event::{Event, Place},
};

const FRAME_MS: u64 = 50;
const PICTURES: [Rendition; 3] = [Rendition::High, Rendition::Mid, Rendition::Low];

fn event(json: &str) -> Event {
    Event::parse(json.as_bytes()).expect("an event")
}

/// A change of price, with that id.
fn price(id: &str) -> Event {
    event(&format!(r#"{{"id":"{id}","type":"price.changed"}}"#))
}

/// The same, wanted `ms` after now.
fn price_in(rig: &Rig, id: &str, ms: i64) -> Event {
    Event {
        at: Some(WallTime(rig.now().wall.0 + ms)),
        ..price(id)
    }
}

/// The publisher goes on from `ms.start`, which is now, to `ms.end` of its own time.
fn go_on(rig: &mut Rig, source: &Source, ms: Range<u64>) {
    let items = source.items(ms.start, ms.end).into_iter();
    rig.send(items.map(|(at_ms, item)| (at_ms - ms.start, item)));
}

/// A broadcast of `seconds` so far, with a ladder of three renditions whose encoders are four pictures behind.
fn ladder(seconds: u64) -> (Rig, Source) {
    let mut rig = Rig::new(FRAME_MS);
    rig.ladder = Some(Ladder::default());
    rig.encoders.behind = 4;
    // Encoders that hang hold their renditions back for as long as they are waited for.
    rig.spread_ms = 7_500;
    let mut source = Source::usual();
    source.pictures.as_mut().expect("pictures").config = avc_large();
    rig.broadcast(&source, seconds);
    (rig, source)
}

/// The usual broadcast of `seconds` so far.
fn usual(seconds: u64) -> (Rig, Source) {
    let mut rig = Rig::new(FRAME_MS);
    rig.broadcast(&Source::usual(), seconds);
    (rig, Source::usual())
}

/// Every event in a rendition of the newest epoch, in the order of its parts.
fn copies(rig: &Rig, rendition: Rendition) -> &[Copy] {
    let (epoch, _) = rig.epochs.last_key_value().expect("an epoch");
    rig.witness.copies(*epoch, rendition)
}

fn ids(copies: &[Copy]) -> Vec<&str> {
    copies.iter().map(|copy| &copy.id[..]).collect()
}

fn in_its_part(copy: &Copy) -> bool {
    (copy.begins_ms..copy.ends_ms).contains(&copy.t)
}

#[test]
fn a_posted_event_stands_in_the_part_of_its_picture_with_the_same_bytes_in_every_rendition() {
    let (mut rig, source) = ladder(10);
    let Placement {
        place,
        shifted_ms,
        closed,
        ..
    } = rig.place(price("evt_1")).expect("live");
    assert_eq!((shifted_ms, closed), (0, None));
    assert_eq!(place.media_time_ms, 10_000);
    go_on(&mut rig, &source, 10_000..13_000);
    let all: Vec<_> = { PICTURES.iter() }.map(|it| copies(&rig, *it)).collect();
    for found in &all {
        let [copy] = found else {
            panic!("one copy: {found:?}")
        };
        assert_eq!((&copy.id[..], copy.t), ("evt_1", 10_000));
        assert!(in_its_part(copy), "{copy:?}");
        assert_eq!(copy.bytes, all[0][0].bytes);
    }
    assert_eq!(copies(&rig, Rendition::Audio), []);
    let [confirmation] = &rig.confirmed[..] else {
        panic!("{:?}", rig.confirmed)
    };
    let wanted: Vec<_> = { PICTURES.iter().zip(&all) }
        .map(|(rendition, copy)| (*rendition, copy[0].msn, copy[0].part))
        .collect();
    assert_eq!(confirmation.copies, wanted);
    assert_eq!(confirmation.missing, []);
    assert_eq!(confirmation.event.place, place);
}

#[test]
fn an_event_that_comes_again_is_answered_again_and_placed_once() {
    let (mut rig, source) = usual(10);
    let first = rig.place(price("twice"));
    go_on(&mut rig, &source, 10_000..11_000);
    assert_eq!(rig.place(price("twice")), first);
    assert_eq!(
        rig.place(price_in(&rig, "twice", -20_000)),
        first,
        "stale or not"
    );
    go_on(&mut rig, &source, 11_000..13_000);
    assert_eq!(ids(copies(&rig, Rendition::High)), ["twice"]);
    rig.close(End::Lost);
    rig.pass(5_000);
    assert_eq!(rig.place(price("twice")), first, "starving or not");
}

#[test]
fn what_lasts_is_in_every_playlist_until_it_is_over() {
    let (mut rig, source) = usual(10);
    rig.place(event(r#"{"id":"pin","type":"listing.pinned"}"#))
        .expect("live");
    rig.place(event(
        r#"{"id":"flash","type":"flash.started","duration_ms":5000}"#,
    ))
    .expect("live");
    go_on(&mut rig, &source, 10_000..15_000);
    assert!(rig.playlist(Rendition::Audio).contains(r#"ID="flash""#));
    go_on(&mut rig, &source, 15_000..40_000);
    for rendition in [Rendition::High, Rendition::Audio] {
        let playlist = rig.playlist(rendition);
        assert!(
            playlist.contains(r#"#EXT-X-DATERANGE:ID="pin""#),
            "{playlist}"
        );
        assert!(!playlist.contains("END-DATE") && !playlist.contains("flash"));
    }
    let unpin = r#"{"id":"unpin","type":"listing.unpinned","close":"pin"}"#;
    assert_eq!(rig.place(event(unpin)).expect("live").closed, Some(true));
    let again = r#"{"id":"again","type":"listing.unpinned","close":"pin"}"#;
    assert_eq!(rig.place(event(again)).expect("live").closed, Some(false));
    go_on(&mut rig, &source, 40_000..42_000);
    assert!(rig.playlist(Rendition::Audio).contains("END-DATE"));
    go_on(&mut rig, &source, 42_000..80_000);
    assert!(!rig.playlist(Rendition::High).contains("DATERANGE"));
    assert_eq!(
        ids(copies(&rig, Rendition::High)),
        ["pin", "flash", "unpin", "again"]
    );
}

#[test]
fn ranges_beyond_what_playlists_list_are_refused_until_some_are_over() {
    let (mut rig, source) = usual(10);
    let lasting = |n: u32| {
        event(&format!(
            r#"{{"id":"r{n}","type":"notice.posted","duration_ms":1000}}"#
        ))
    };
    for n in 0..32 {
        rig.place(lasting(n)).expect("room");
    }
    let full = Refusal::RangesFull { open: 32, max: 32 };
    assert_eq!(rig.place(lasting(32)), Err(full));
    rig.place(price("no_range")).expect("no range");
    go_on(&mut rig, &source, 10_000..35_000);
    rig.place(lasting(32)).expect("the others are over");
    let long = "x".repeat(850);
    let large = |n: u32| {
        event(&format!(
            r#"{{"id":"l{n}","type":"notice.posted","data":{{"text":"{long}"}}}}"#
        ))
    };
    let refused = (0..32).find_map(|n| {
        let ms = 35_000 + u64::from(n) * 500;
        go_on(&mut rig, &source, ms..ms + 500);
        rig.place(large(n)).err()
    });
    assert!(
        matches!(refused, Some(Refusal::RangesTooLarge { max: 32_768, .. })),
        "{refused:?}"
    );
}

#[test]
fn at_is_mapped_by_when_media_arrives() {
    let (mut rig, source) = usual(10);
    // What arrives now is the picture of 9.967 s, which ends at 10.
    let now = rig.now_ms as i64;
    for (id, ms) in [("later", 700), ("much_later", 30_000)] {
        let placed = rig.place(price_in(&rig, id, ms)).expect("live");
        let off = placed.place.media_time_ms - (now + ms);
        assert!(
            (0..=40).contains(&off) && placed.shifted_ms == 0,
            "{placed:?} at {now}"
        );
    }
    let past = rig.place(price_in(&rig, "past", -3_000)).expect("live");
    assert!((2_900..=3_000).contains(&past.shifted_ms), "{past:?}");
    let stale = rig.place(price_in(&rig, "stale", -10_001));
    let (age_ms, ttl_ms) = (10_001, 10_000);
    assert_eq!(stale, Err(Refusal::Stale { age_ms, ttl_ms }));
    let far = rig.place(price_in(&rig, "far", 60_001));
    let (ahead_ms, max_ms) = (60_001, 60_000);
    assert_eq!(far, Err(Refusal::TooFarAhead { ahead_ms, max_ms }));
    go_on(&mut rig, &source, 10_000..45_000);
    let found = copies(&rig, Rendition::High);
    assert_eq!(ids(found), ["past", "later", "much_later"]);
    assert!(found.iter().all(in_its_part), "{found:?}");
}

#[test]
fn an_offset_moves_what_the_backend_tells() {
    for (offset_ms, shifted) in [(1_500, 0..=0), (-1_500, 1_300..=1_500)] {
        let (mut rig, source) = usual(10);
        let events = super::super::Allowance {
            offset_ms,
            ..Default::default()
        };
        rig.push(super::Input::Allow { session: 1, events });
        let placed = rig.place(price("offset")).expect("live");
        assert!(shifted.contains(&placed.shifted_ms), "{placed:?}");
        let wanted_ms = placed.place.media_time_ms - placed.shifted_ms;
        assert_eq!(wanted_ms, 10_000 + i64::from(offset_ms));
        go_on(&mut rig, &source, 10_000..13_000);
        assert!(in_its_part(&copies(&rig, Rendition::High)[0]));
    }
}

#[test]
fn what_a_publisher_sends_stands_at_its_own_timestamp_while_probed_and_after() {
    // The clock wraps between the two.
    let source = Source {
        first_timestamp: u32::MAX - 4_000,
        ..Source::usual()
    };
    let mut rig = Rig::new(FRAME_MS);
    rig.open();
    let sent = |rig: &mut Rig, id, ms: u32| {
        rig.send_event(source.first_timestamp.wrapping_add(ms), price(id))
    };
    go_on(&mut rig, &source, 0..500);
    sent(&mut rig, "probed", 466);
    go_on(&mut rig, &source, 500..7_900);
    sent(&mut rig, "live", 7_866);
    sent(&mut rig, "ahead", 8_500);
    sent(&mut rig, "live", 9_000);
    go_on(&mut rig, &source, 7_900..12_000);
    let found = copies(&rig, Rendition::High);
    let times: Vec<_> = { found.iter() }
        .map(|copy| (&copy.id[..], copy.t))
        .collect();
    assert_eq!(times, [("probed", 466), ("live", 7_866), ("ahead", 8_500)]);
    assert!(found.iter().all(in_its_part), "{found:?}");
}

#[test]
fn events_before_media_and_without_a_publisher_are_refused_each_for_its_reason() {
    let mut rig = Rig::new(FRAME_MS);
    assert_eq!(rig.place(price("e")), Err(Refusal::NotLive));
    assert_eq!(rig.stream.clock(rig.now()), None);
    rig.broadcast(&Source::usual(), 5);
    rig.pass(2_500);
    assert_eq!(
        rig.place(price("e")),
        Err(Refusal::Starving),
        "a stalled network"
    );
    go_on(&mut rig, &Source::usual(), 7_500..9_000);
    rig.place(price("e")).expect("media is back");
    rig.close(End::Lost);
    assert_eq!(
        rig.place(price("f")),
        Err(Refusal::Starving),
        "lost just now"
    );
    rig.pass(25_000);
    assert_eq!(rig.place(price("f")), Err(Refusal::NotLive));
    assert_eq!(rig.confirmed.len(), 1);
}

#[test]
fn the_state_is_repeated_every_ten_seconds_at_once_first_and_over_a_reconnect() {
    let (mut rig, source) = usual(10);
    let state = |text: &str| serde_json::from_str(text).expect("an object");
    let now = rig.now();
    rig.stream
        .repeat(now, state(r#"{"pinned":"lst_1"}"#), Some(7))
        .expect("live");
    go_on(&mut rig, &source, 10_000..35_500);
    let found = copies(&rig, Rendition::High);
    let times: Vec<_> = found.iter().map(|copy| copy.t).collect();
    assert!(
        times
            .windows(2)
            .all(|two| (9_960..=10_040).contains(&(two[1] - two[0]))),
        "{times:?}"
    );
    assert_eq!(times.len(), 3);
    let text = String::from_utf8_lossy(&found[0].bytes);
    assert!(
        text.contains(r#""pinned":"lst_1""#) && text.contains(r#""seq":7"#),
        "{text}"
    );
    let mut unique = ids(found);
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), 3);
    rig.close(End::Lost);
    rig.pass(8_000);
    rig.broadcast(&source, 4);
    assert_eq!(
        copies(&rig, Rendition::High).len(),
        4,
        "told at once to those who came back"
    );
    let now = rig.now();
    rig.stream.repeat(now, state("{}"), None).expect("live");
    go_on(&mut rig, &source, 4_000..20_000);
    assert_eq!(copies(&rig, Rendition::High).len(), 4);
}

#[test]
fn the_clock_tells_the_newest_picture_and_how_far_dates_are_ahead() {
    let (rig, _) = usual(10);
    let clock = rig.stream.clock(rig.now()).expect("shown");
    assert_eq!(clock.newest.media_time_ms, 10_000);
    assert_eq!(clock.msn, 9);
    assert!((0..=40).contains(&clock.pdt_minus_wall_ms), "{clock:?}");
    let Place {
        program_date_time,
        media_time_ms,
        ..
    } = clock.newest;
    assert_eq!(
        program_date_time.0,
        super::EPOCH as i64 * 1000 + media_time_ms
    );
}

#[test]
fn bandwidth_counts_what_events_may_take() {
    let (rig, _) = usual(10);
    let multivariant = rig.multivariant();
    let bandwidth = multivariant.variants[0].bandwidth;
    let mut quiet = Rig::new(FRAME_MS);
    quiet.push(super::Input::Open {
        session: 1,
        epoch: super::EPOCH,
        named: false,
        ladder: None,
        events: super::super::Allowance {
            bytes_per_second: 0,
            ..Default::default()
        },
    });
    for (ms, item) in Source::usual().items(0, 10_000) {
        quiet.advance_to(ms);
        quiet.push(super::Input::Media { session: 1, item });
    }
    let without = quiet.multivariant().variants[0].bandwidth;
    assert!(
        bandwidth - without >= 8 * 4096,
        "{bandwidth} against {without}"
    );
}
