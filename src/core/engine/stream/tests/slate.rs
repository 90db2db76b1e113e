//! Broadcasts that fall silent while encoders are at work: the last picture goes on, and silence.

use super::{
    End, Notice, Rendition, Rig, Source, aac, avc_high,
    ladder::{RUNGS, cuts, gaps, large, rig},
    segments,
};
use crate::{
    engine::{
        ladder::{Failure, Ladder},
        stream::{Source as Made, Stopgap},
    },
    limits,
    media::Segment,
};

const PICTURES: [Rendition; 3] = [Rendition::High, Rendition::Mid, Rendition::Low];

/// A rig whose encoders make something else of a slate than the source was.
fn starving(behind: usize) -> Rig {
    let mut rig = rig(behind);
    rig.encoders.slate = Some(avc_high());
    rig
}

/// What the notices of outages say, and nothing else: for how long nothing came, and what goes on.
fn outages(rig: &Rig) -> Vec<(u64, Stopgap)> {
    let notices = rig.notices.iter().filter_map(|notice| match notice {
        Notice::Starving { silent_ms, stopgap } => Some((*silent_ms, *stopgap)),
        _ => None,
    });
    notices.collect()
}

/// The numbers of segments with a discontinuity.
fn discontinuities(rig: &Rig, rendition: Rendition) -> Vec<u64> {
    let all = segments(rig, rendition);
    let all = all.iter().filter(|segment| segment.discontinuity);
    all.map(|segment| segment.msn).collect()
}

fn assert_without_gaps(rig: &Rig) {
    for rendition in rig.shown().snapshots.keys() {
        for segment in segments(rig, *rendition) {
            assert_eq!(gaps(&segment), 0, "{rendition}: {segment:?}");
        }
    }
}

/// Pictures are cut alike, begin with key frames, and are discontinuous where the sound is.
fn assert_alike(rig: &Rig) {
    let high = cuts(rig, Rendition::High);
    let at = discontinuities(rig, Rendition::High);
    for rendition in PICTURES {
        assert_eq!(cuts(rig, rendition), high, "{rendition}");
        let dependent = |segment: &Segment| !segment.parts[0].independent;
        assert!(!segments(rig, rendition).iter().any(dependent));
    }
    assert_eq!(discontinuities(rig, Rendition::Audio), at);
}

#[test]
fn while_nothing_arrives_every_rendition_goes_on_and_the_source_passes_again_when_it_is_back() {
    for (source, behind) in [
        (Source::usual(), 0),
        (Source::new((30_000, 1001), 30, Some(aac(44_100, true))), 3),
        (Source::new((60, 1), 60, Some(aac(48_000, false))), 1),
        (Source::new((25, 2), 12, Some(aac(32_000, false))), 0),
    ] {
        let mut rig = starving(behind);
        rig.broadcast(&large(source.clone()), 10);
        rig.close(End::Lost);
        let promised = rig.multivariant().clone();
        rig.pass(8_000);
        let [(silent_ms, Stopgap::Slate)] = outages(&rig)[..] else {
            panic!("{:?}", rig.notices);
        };
        assert!(
            silent_ms < 100,
            "a publisher that is lost is not waited for"
        );
        assert_eq!(rig.stream.stopgap(), Some(Stopgap::Slate));
        assert_eq!(*rig.multivariant(), promised);
        let end = rig.stream.edge().expect("in grace").1.ms();
        assert!((17_800..18_300).contains(&end), "in real time: {end}");
        assert_without_gaps(&rig);
        rig.broadcast(&large(source), 6);
        assert_eq!((rig.epochs.len(), rig.stream.stopgap()), (1, None));
        rig.close(End::Stopped);
        assert_without_gaps(&rig);
        assert_alike(&rig);
        let at = discontinuities(&rig, Rendition::High);
        assert_eq!(at.len(), 2, "the slate and the return");
        let inits = segments(&rig, Rendition::High);
        let inits = inits.iter().map(|segment| (segment.msn, segment.init));
        for (msn, init) in inits {
            let slate = (at[0]..at[1]).contains(&msn);
            assert_eq!(init, u32::from(slate), "segment {msn}");
        }
        let (_, sources) = rig.stream.sources().expect("in grace");
        assert_eq!(sources[&Rendition::High], Made::Passthrough);
    }
}

#[test]
fn segments_of_a_slate_are_of_the_wanted_length() {
    let mut rig = starving(2);
    // Key frames every two seconds, so that segments may last as long.
    rig.broadcast(&large(Source::new((30, 1), 60, None)), 10);
    rig.close(End::Lost);
    rig.pass(9_000);
    let at = discontinuities(&rig, Rendition::High)[0];
    let all = segments(&rig, Rendition::High);
    let slate: Vec<_> = all.iter().filter(|segment| segment.msn >= at).collect();
    let (_, complete) = slate.split_last().expect("some");
    assert!(complete.len() >= 7, "{}", complete.len());
    for segment in complete {
        assert_eq!((segment.duration, segment.parts.len()), (90_000, 5));
    }
}

#[test]
fn a_network_that_jams_is_bridged_and_what_it_held_back_is_passed_over() {
    let mut rig = starving(1);
    rig.open();
    let mut items = large(Source::usual()).items(0, 24_000);
    for (at_ms, _) in items.iter_mut().filter(|(ms, _)| *ms > 10_000) {
        *at_ms = (*at_ms).max(17_300);
    }
    rig.send(items);
    assert_eq!(outages(&rig), [(2_000, Stopgap::Slate)]);
    assert_eq!(rig.stream.stopgap(), None);
    rig.close(End::Lost);
    assert_without_gaps(&rig);
    assert_alike(&rig);
    let at = discontinuities(&rig, Rendition::High);
    assert_eq!(at.len(), 2, "{at:?}");
    let all = segments(&rig, Rendition::High);
    let back = &all.iter().find(|it| it.msn == at[1]).expect("listed").start;
    let back_ms = back / 90;
    assert!((17_000..18_400).contains(&back_ms), "back at {back_ms} ms");
    let end = rig.stream.edge().expect("live").1.ms();
    assert!((23_900..24_600).contains(&end), "no later for it: {end}");
}

#[test]
fn a_publisher_that_stays_late_is_shown_late() {
    let mut rig = starving(0);
    rig.open();
    let mut items = large(Source::usual()).items(0, 24_000);
    for (at_ms, _) in items.iter_mut().filter(|(ms, _)| *ms > 10_000) {
        *at_ms += 6_000;
    }
    rig.send(items);
    let at = discontinuities(&rig, Rendition::High);
    assert_eq!(at.len(), 2, "{at:?}");
    assert_without_gaps(&rig);
    let all = segments(&rig, Rendition::High);
    let back = all.iter().find(|it| it.msn == at[1]).expect("listed").start / 90;
    let waited = 16_000 + limits::SLATE_RETURN.as_millis() as i64;
    assert!((waited..waited + 1_400).contains(&back), "{back}");
}

#[test]
fn a_slate_goes_on_until_a_session_can_be_shown_whoever_it_is() {
    let mut other = Source::usual();
    other.pictures.as_mut().expect("pictures").config = avc_high();
    let mut rig = starving(1);
    rig.broadcast(&large(Source::usual()), 8);
    rig.pass(5_000);
    // A takeover; its first key frame comes late.
    rig.open();
    let items = other.items(0, 8_000).into_iter();
    let items = items.map(|(ms, item)| (ms + 1_500, item));
    rig.send(items);
    assert_eq!(rig.epochs.len(), 1);
    assert!(rig.notices.contains(&Notice::Joined));
    rig.close(End::Lost);
    assert_without_gaps(&rig);
    assert_alike(&rig);
    assert_eq!(discontinuities(&rig, Rendition::High).len(), 2);
}

#[test]
fn what_is_always_encoded_goes_on_alike_and_grace_ends_it() {
    let mut rig = starving(2);
    let long = Source::new((30, 1), 240, Some(aac(48_000, false)));
    rig.broadcast(&large(long), 10);
    rig.close(End::Lost);
    rig.pass(19_500);
    assert_without_gaps(&rig);
    assert_alike(&rig);
    assert!(!rig.closed);
    rig.pass(1_000);
    assert!(rig.closed && rig.shown().ended);
    assert_without_gaps(&rig);
}

#[test]
fn an_encoder_that_fails_in_a_slate_leaves_gaps_and_returns_with_the_source() {
    for failing in PICTURES {
        let mut rig = starving(1);
        rig.broadcast(&large(Source::usual()), 8);
        rig.close(End::Lost);
        rig.encoders.failing = vec![failing];
        rig.pass(8_000);
        let reason = Failure::Encoder;
        let rendition = failing;
        let lost = Notice::RungLost { rendition, reason };
        assert!(rig.notices.contains(&lost), "{:?}", rig.notices);
        for rendition in PICTURES {
            let newest = segments(&rig, rendition).pop().expect("a segment");
            assert_eq!(newest.gap(), rendition == failing, "{rendition}");
        }
        rig.encoders.failing.clear();
        rig.broadcast(&large(Source::usual()), 4);
        rig.close(End::Stopped);
        for rendition in PICTURES {
            let newest = segments(&rig, rendition).pop().expect("a segment");
            assert_eq!(gaps(&newest), 0, "{rendition}");
        }
    }
}

#[test]
fn there_are_gaps_where_no_slate_is_wanted_and_where_no_encoder_has_a_picture() {
    type Prepare = fn(&mut Rig);
    let prepare: [(&str, Prepare); 4] = [
        ("without a ladder", |rig| rig.ladder = None),
        ("switched off", |rig| {
            rig.ladder = Some(Ladder {
                slate: false,
                ..Ladder::default()
            });
        }),
        ("no encoder", |rig| {
            rig.encoders.failing = vec![Rendition::Mid, Rendition::Low];
        }),
        ("encoders that hang", |rig| rig.spread_ms = 20_000),
    ];
    for (name, prepare) in prepare {
        let mut rig = starving(0);
        prepare(&mut rig);
        rig.broadcast(&large(Source::usual()), 6);
        if name == "encoders that hang" {
            rig.encoders.hanging = true;
            let rest = large(Source::usual()).items(6_000, 13_000).into_iter();
            rig.send(rest.map(|(ms, item)| (ms - 6_000, item)));
        }
        rig.close(End::Lost);
        rig.pass(6_000);
        assert_eq!(outages(&rig), [(2_000, Stopgap::Gaps)], "{name}");
        assert_eq!(rig.stream.stopgap(), Some(Stopgap::Gaps), "{name}");
        for rendition in [Rendition::High, Rendition::Audio] {
            let newest = segments(&rig, rendition).pop().expect("a segment");
            assert!(newest.gap(), "{name}: {rendition}");
        }
        assert!(discontinuities(&rig, Rendition::High).is_empty(), "{name}");
    }
}

#[test]
fn a_restart_in_a_slate_goes_on_with_gaps_and_the_source_passes_again() {
    let mut rig = starving(2);
    rig.broadcast(&large(Source::usual()), 8);
    rig.close(End::Lost);
    rig.pass(5_000);
    rig.restart(1_000).expect("within grace");
    rig.encoders.slate = Some(avc_high());
    rig.pass(3_000);
    assert_eq!(rig.stream.stopgap(), Some(Stopgap::Gaps));
    for rendition in PICTURES {
        let newest = segments(&rig, rendition).pop().expect("a segment");
        assert!(newest.gap(), "{rendition}");
    }
    rig.broadcast(&large(Source::usual()), 5);
    assert_eq!(rig.epochs.len(), 1);
    let (_, sources) = rig.stream.sources().expect("live");
    assert_eq!(sources[&Rendition::High], Made::Passthrough);
    assert_eq!(discontinuities(&rig, Rendition::High).len(), 2);
    for rung in RUNGS {
        let newest = segments(&rig, rung).pop().expect("a segment");
        assert_eq!(gaps(&newest), 0, "{rung}");
    }
    // And another outage is bridged again.
    rig.close(End::Lost);
    rig.pass(4_000);
    assert_eq!(rig.stream.stopgap(), Some(Stopgap::Slate));
}
