//! Events where something begins or ends: parts, segments, sessions, epochs, encoders, processes, the stream.

use super::{
    super::{aac, lose_pictures},
    *,
};

/// Posts an event behind every frame of `source` for two seconds; each stands in its part, in order.
fn sweep(mut rig: Rig, source: &Source, carriers: &[Rendition]) {
    let mut wanted = Vec::new();
    let items: Vec<_> = source.items(10_000, 12_000);
    for (n, (at_ms, item)) in items.into_iter().enumerate() {
        rig.advance_to(at_ms);
        rig.item(item);
        if n % 2 == 0 && n < 160 {
            let placed = rig
                .place(price(&format!("e{n}")))
                .expect("within the budget");
            assert_eq!(placed.shifted_ms, 0);
            wanted.push((format!("e{n}"), placed.place.media_time_ms));
        }
    }
    go_on(&mut rig, source, 12_000..15_000);
    assert!(wanted.len() > 40);
    for rendition in carriers {
        let found = copies(&rig, *rendition);
        let times: Vec<_> = { found.iter() }
            .map(|copy| (copy.id.clone(), copy.t))
            .collect();
        assert_eq!(times, wanted, "{rendition}");
        assert!(found.iter().all(in_its_part), "{rendition}: {found:?}");
        let parts: std::collections::BTreeSet<_> = found.iter().map(|copy| copy.part).collect();
        let segments: std::collections::BTreeSet<_> = found.iter().map(|copy| copy.msn).collect();
        assert!(parts.len() >= 10 && segments.len() >= 2);
    }
    assert_eq!(rig.confirmed.len(), wanted.len());
    assert!(
        rig.confirmed
            .iter()
            .all(|it| it.missing.is_empty() && it.copies.len() == carriers.len())
    );
}

#[test]
fn behind_every_frame_of_parts_and_segments() {
    for rate in [(30, 1), (30_000, 1001), (25, 1)] {
        let source = Source::new(
            rate,
            u64::from(rate.0.div_ceil(rate.1)),
            Some(aac(48_000, false)),
        );
        let mut rig = Rig::new(FRAME_MS);
        rig.broadcast(&source, 10);
        sweep(rig, &source, &[Rendition::High]);
    }
    let (rig, source) = ladder(10);
    sweep(rig, &source, &PICTURES);
}

#[test]
fn sound_carries_events_where_there_are_no_pictures() {
    let source = Source {
        pictures: None,
        ..Source::usual()
    };
    let mut rig = Rig::new(FRAME_MS);
    rig.broadcast(&source, 10);
    sweep(rig, &source, &[Rendition::Audio]);
}

#[test]
fn a_burst_of_a_hundred_is_placed_in_order_and_the_next_is_told_to_wait() {
    let (mut rig, source) = ladder(10);
    for n in 0..100 {
        rig.place(price(&format!("e{n}")))
            .expect("within the burst");
    }
    let refused = Refusal::TooMany {
        what: "events a second",
        retry_after_ms: 20,
    };
    assert_eq!(rig.place(price("e100")), Err(refused));
    go_on(&mut rig, &source, 10_000..12_000);
    let wanted: Vec<_> = (0..100).map(|n| format!("e{n}")).collect();
    for rendition in PICTURES {
        assert_eq!(ids(copies(&rig, rendition)), wanted);
    }
    rig.place(price("e100")).expect("two seconds later");
}

#[test]
fn over_a_takeover_nothing_is_lost_or_doubled() {
    let (mut rig, source) = ladder(10);
    rig.place(event(r#"{"id":"pin","type":"listing.pinned"}"#))
        .expect("live");
    rig.place(price_in(&rig, "over", 2_500)).expect("live");
    go_on(&mut rig, &source, 10_000..10_100);
    // Another encoder takes over, and is being probed.
    rig.open();
    go_on(&mut rig, &source, 0..200);
    rig.place(price("between"))
        .expect("what follows is under way");
    go_on(&mut rig, &source, 200..6_000);
    assert_eq!(rig.epochs.len(), 1);
    for rendition in PICTURES {
        let found = copies(&rig, rendition);
        assert_eq!(ids(found), ["pin", "between", "over"], "{rendition}");
        assert!(
            found
                .iter()
                .all(|copy| copy.t < copy.ends_ms && copy.free_from_ms <= copy.t),
            "{found:?}"
        );
    }
    assert!(rig.playlist(Rendition::Audio).contains(r#"ID="pin""#));
    assert!(rig.confirmed.iter().all(|it| it.missing.is_empty()));
}

#[test]
fn an_event_for_a_gap_comes_with_the_next_media() {
    let (mut rig, source) = usual(10);
    let mut items = source.items(10_000, 18_000);
    lose_pictures(&mut items, 10_500..14_000);
    let placed = rig.place(price_in(&rig, "frozen", 2_000)).expect("live");
    rig.send(items.into_iter().map(|(ms, item)| (ms - 10_000, item)));
    let [copy] = copies(&rig, Rendition::High) else {
        panic!("one copy")
    };
    assert_eq!(copy.t, placed.place.media_time_ms);
    assert!(
        copy.begins_ms >= 13_900 && copy.free_from_ms <= copy.t,
        "{copy:?}"
    );
    let [confirmation] = &rig.confirmed[..] else {
        panic!("confirmed")
    };
    assert_eq!(
        confirmation.copies,
        [(Rendition::High, copy.msn, copy.part)]
    );
}

#[test]
fn a_rendition_that_is_lost_is_told_missing() {
    let (mut rig, source) = ladder(10);
    rig.encoders.hanging = true;
    rig.place(price("e")).expect("live");
    go_on(&mut rig, &source, 10_000..20_000);
    let [confirmation] = &rig.confirmed[..] else {
        panic!("{:?}", rig.confirmed)
    };
    let has: Vec<_> = { confirmation.copies.iter() }
        .map(|(rendition, ..)| *rendition)
        .collect();
    let passed = copies(&rig, Rendition::High).len();
    assert_eq!(passed, has.len());
    assert!(
        confirmation.missing.contains(&Rendition::Low),
        "{confirmation:?}"
    );
    assert_eq!(has.len() + confirmation.missing.len(), 3);
}

#[test]
fn a_slate_carries_events() {
    let (mut rig, source) = ladder(10);
    rig.close(End::Lost);
    rig.pass(1_000);
    rig.place(price("slate")).expect("the last picture goes on");
    rig.pass(2_000);
    for rendition in PICTURES {
        let [copy] = copies(&rig, rendition) else {
            panic!("one copy in {rendition}")
        };
        assert!(in_its_part(copy), "{copy:?}");
    }
    rig.broadcast(&source, 3);
    assert_eq!(rig.confirmed.len(), 1);
}

#[test]
fn an_epoch_that_ends_hands_on_what_it_has_not_shown_and_what_lasts() {
    let (mut rig, source) = usual(10);
    rig.place(event(r#"{"id":"pin","type":"listing.pinned"}"#))
        .expect("live");
    let placed = rig.place(price_in(&rig, "later", 9_000)).expect("live");
    go_on(&mut rig, &source, 10_000..12_000);
    rig.close(End::Lost);
    rig.pass(500);
    // Sound of another kind cannot join.
    let other = Source::new((30, 1), 30, Some(aac(44_100, false)));
    rig.broadcast(&other, 12);
    assert_eq!(rig.epochs.len(), 2);
    let [copy] = copies(&rig, Rendition::High) else {
        panic!("{:?}", copies(&rig, Rendition::High))
    };
    assert_eq!(copy.id, "later");
    assert!(in_its_part(copy), "{copy:?}");
    let confirmed: Vec<_> = { rig.confirmed.iter() }.map(|it| &it.event).collect();
    assert_eq!(confirmed.len(), 2);
    let (then, now) = (placed.place, confirmed[1].place);
    assert!(now.epoch > then.epoch);
    assert_eq!(
        now.program_date_time, then.program_date_time,
        "its date-time binds"
    );
    assert_eq!(rig.place(price("later")).expect("known").place, now);
    assert!(
        rig.playlist(Rendition::Audio).contains(r#"ID="pin""#),
        "what lasts goes on"
    );
}

#[test]
fn what_the_end_of_the_stream_leaves_is_told_missing() {
    let (mut rig, source) = ladder(10);
    rig.place(price_in(&rig, "never", 40_000)).expect("live");
    rig.place(price("now")).expect("live");
    go_on(&mut rig, &source, 10_000..11_000);
    rig.push(super::super::Input::End);
    let confirmed: Vec<_> = { rig.confirmed.iter() }
        .map(|it| (&it.event.event.id[..], it.copies.len(), it.missing.clone()))
        .collect();
    assert_eq!(
        confirmed,
        [("now", 3, vec![]), ("never", 0, PICTURES.to_vec())]
    );
}

#[test]
fn a_restart_between_retries_places_nothing_twice_and_loses_nothing() {
    for restart_in_gap in [false, true] {
        let (mut rig, source) = ladder(10);
        let first = rig.place(price("retried"));
        rig.place(event(r#"{"id":"pin","type":"listing.pinned"}"#))
            .expect("live");
        rig.place(price_in(&rig, "later", 7_000)).expect("live");
        go_on(&mut rig, &source, 10_000..10_500);
        if restart_in_gap {
            rig.encoders.hanging = true;
            rig.close(End::Lost);
            rig.pass(9_000);
        }
        rig.restart(1_000).expect("within grace");
        assert_eq!(rig.place(price("retried")), first);
        assert!(rig.playlist(Rendition::Audio).contains(r#"ID="pin""#));
        rig.pass(1_000);
        rig.broadcast(&source, 10);
        assert_eq!(rig.place(price("retried")), first);
        assert_eq!(rig.epochs.len(), 1);
        for confirmation in &rig.confirmed {
            let carried = confirmation.copies.len() + confirmation.missing.len();
            assert_eq!(carried, 3, "{confirmation:?}");
        }
        assert_eq!(rig.confirmed.len(), 3);
        assert_eq!(
            ids(copies(&rig, Rendition::High)),
            ["retried", "pin", "later"]
        );
        let closing = r#"{"id":"unpin","type":"listing.unpinned","close":"pin"}"#;
        assert_eq!(rig.place(event(closing)).expect("live").closed, Some(true));
    }
}

#[test]
fn a_restart_in_a_gap_keeps_what_waits_for_media() {
    let (mut rig, source) = usual(10);
    let placed = rig.place(price_in(&rig, "gap", 3_000)).expect("live");
    rig.close(End::Lost);
    rig.pass(7_000);
    assert_eq!(copies(&rig, Rendition::High), []);
    rig.restart(1_000).expect("within grace");
    rig.broadcast(&source, 3);
    let [copy] = copies(&rig, Rendition::High) else {
        panic!("one copy")
    };
    assert_eq!(copy.t, placed.place.media_time_ms);
    assert!(
        copy.free_from_ms <= copy.t && copy.begins_ms > 17_000,
        "{copy:?}"
    );
    let [confirmation] = &rig.confirmed[..] else {
        panic!("{:?}", rig.confirmed)
    };
    assert_eq!(
        confirmation.copies,
        [(Rendition::High, copy.msn, copy.part)]
    );
    assert_eq!(confirmation.missing, []);
}
