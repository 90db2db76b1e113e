//! Broadcasts with a ladder: every rendition is cut at the same instants, whatever its encoder does.

use super::{
    End, FRAME_MS, Notice, Rendition, Rig, Source, aac, avc_high, avc_large, frames, seconds,
    segments,
};
use crate::{
    engine::{
        ladder::{Failure, Ladder},
        plan::Obstacle,
        stream::Source as Made,
    },
    limits,
    media::{Kind, Segment},
};

pub(super) const RUNGS: [Rendition; 2] = [Rendition::Mid, Rendition::Low];

pub(super) fn rig(behind: usize) -> Rig {
    let mut rig = Rig::new(FRAME_MS);
    rig.ladder = Some(Ladder::default());
    rig.encoders.behind = behind;
    rig
}

/// A source large enough for a ladder.
pub(super) fn large(mut source: Source) -> Source {
    source.pictures.as_mut().expect("pictures").config = avc_large();
    source
}

/// What renditions share of a segment: number, length in parts, begin, discontinuity.
pub(super) fn cuts(rig: &Rig, rendition: Rendition) -> Vec<(u64, Vec<u32>, bool)> {
    let shape = |segment: &Segment| {
        let parts = segment.parts.iter().map(|part| part.duration).collect();
        (segment.msn, parts, segment.discontinuity)
    };
    segments(rig, rendition).iter().map(shape).collect()
}

pub(super) fn gaps(segment: &Segment) -> usize {
    segment
        .parts
        .iter()
        .filter(|part| part.data.is_none())
        .count()
}

/// Every segment begins with a key frame and has no gap.
fn assert_whole(rig: &Rig, rendition: Rendition) {
    for segment in segments(rig, rendition) {
        let whole = segment.parts[0].independent && gaps(&segment) == 0;
        assert!(whole, "{rendition}: {segment:?}");
    }
}

#[test]
fn all_renditions_are_cut_alike_and_every_segment_begins_with_a_key_frame() {
    for (source, behind) in [
        (Source::usual(), 0),
        (Source::new((30_000, 1001), 30, Some(aac(44_100, false))), 2),
        (Source::new((60, 1), 60, Some(aac(48_000, false))), 5),
        (Source::new((25, 1), 12, None), 3),
    ] {
        let mut rig = rig(behind);
        rig.broadcast(&large(source), 12);
        rig.close(End::Stopped);
        assert_eq!(
            rig.multivariant().variants.len(),
            3,
            "{:?}",
            rig.multivariant()
        );
        let high = cuts(&rig, Rendition::High);
        assert!(high.len() >= 8, "{high:?}");
        for rung in RUNGS {
            assert_eq!(cuts(&rig, rung), high, "{rung}");
            assert_whole(&rig, rung);
        }
    }
}

#[test]
fn sound_is_published_no_further_than_the_pictures_but_for_half_a_second() {
    for behind in [0, 6, 12, 45] {
        let mut rig = rig(behind);
        rig.spread_ms = 3_000;
        rig.broadcast(&large(Source::usual()), 6);
        let end_ms = |rendition| {
            let all = segments(&rig, rendition);
            assert_eq!(all[0].msn, 0, "none is forgotten");
            let seconds = all.iter().map(|segment| seconds(segment, &rig, rendition));
            (seconds.sum::<f64>() * 1000.0).round() as i64
        };
        let (audio, high) = (end_ms(Rendition::Audio), end_ms(Rendition::High));
        let slowest = end_ms(Rendition::Low).min(end_ms(Rendition::Mid));
        let shown = slowest.max(high - limits::SOUND_AHEAD_MS);
        let frame_ms = 22;
        let part_ms = 222;
        assert!(
            (shown - part_ms..=shown + frame_ms).contains(&audio),
            "{behind} behind: {audio} of {slowest} and {high}"
        );
        rig.close(End::Stopped);
        rig.pass(500);
        assert_eq!(
            cuts(&rig, Rendition::Audio).len(),
            cuts(&rig, Rendition::Low).len()
        );
    }
}

#[test]
fn what_cannot_be_passed_through_is_encoded_on_a_grid() {
    let mut source = Source::new((30, 1), 240, Some(aac(48_000, false)));
    if let Some(pictures) = &mut source.pictures {
        pictures.b_frames = true;
    }
    let mut rig = rig(3);
    rig.broadcast(&large(source), 12);
    rig.close(End::Stopped);
    let obstacle = Obstacle::LongGop {
        gop_ms: None,
        max_ms: 2_000,
    };
    assert_eq!(rig.notices, [Notice::Encoded(obstacle)]);
    let encoded = |because| Made::Encoded {
        because,
        lost: None,
    };
    let sources = [
        (Rendition::High, encoded(Some(obstacle))),
        (Rendition::Mid, encoded(None)),
        (Rendition::Low, encoded(None)),
        (Rendition::Audio, Made::Passthrough),
    ];
    let (_, told) = rig.stream.sources().expect("in grace");
    assert_eq!(told, sources.into());
    assert!(rig.multivariant().independent_segments);
    let renditions = rig
        .multivariant()
        .variants
        .iter()
        .map(|variant| variant.rendition);
    assert_eq!(
        renditions.collect::<Vec<_>>(),
        [Rendition::High, Rendition::Mid, Rendition::Low]
    );
    let high = cuts(&rig, Rendition::High);
    assert_eq!(
        rig.shown().snapshots[&Rendition::High]
            .constants
            .target_duration,
        1
    );
    for rendition in [Rendition::High, Rendition::Mid, Rendition::Low] {
        assert_eq!(cuts(&rig, rendition), high);
        assert_whole(&rig, rendition);
    }
}

#[test]
fn a_source_of_more_bits_than_may_pass_is_encoded() {
    for (pass_max, passes) in [(4_000_000, false), (5_000_000, true)] {
        let mut rig = rig(1);
        rig.ladder = Some(Ladder {
            pass_max,
            ..Ladder::default()
        });
        rig.open();
        let mut items = large(Source::usual()).items(0, 5_000);
        for (_, frame) in frames(&mut items, Kind::Video) {
            frame.data = vec![7; 4_500_000 / 8 / 30].into();
        }
        rig.send(items);
        let obstacle = Obstacle::Bitrate {
            kbps: 4_500,
            max_kbps: 4_000,
        };
        let told = [Notice::Encoded(obstacle)];
        assert_eq!(rig.notices, if passes { &[][..] } else { &told });
    }
}

#[test]
fn an_open_gop_is_called_so() {
    // SEI, recovery point, recovery_frame_cnt 0; then a slice that is no IDR picture.
    const RECOVERY: &[u8] = &[0, 0, 0, 5, 6, 6, 1, 0xc4, 0x80, 0, 0, 0, 2, 0x41, 0x9a];
    let mut rig = rig(1);
    rig.open();
    let mut items = large(Source::usual()).items(0, 5_000);
    for (_, frame) in frames(&mut items, Kind::Video).filter(|(_, frame)| frame.timestamp > 500) {
        if std::mem::take(&mut frame.sync) {
            frame.data = RECOVERY.into();
        }
    }
    rig.send(items);
    assert_eq!(rig.notices, [Notice::Encoded(Obstacle::OpenGop)]);
}

#[test]
fn sound_alone_is_a_variant_for_who_wants_it() {
    let mut rig = rig(1);
    rig.ladder = Some(Ladder {
        audio_only: true,
        ..Ladder::default()
    });
    rig.broadcast(&large(Source::usual()), 5);
    let last = |rig: &Rig| {
        rig.multivariant()
            .variants
            .last()
            .cloned()
            .expect("variants")
    };
    assert_eq!(last(&rig).rendition, Rendition::Audio);
    assert_eq!(last(&rig).codecs, ["mp4a.40.2"]);
    rig.restart(1_000).expect("within grace");
    rig.ladder = Some(Ladder::default());
    rig.broadcast(&large(Source::usual()), 5);
    assert_eq!(rig.epochs.len(), 1);
    assert_eq!(
        last(&rig).rendition,
        Rendition::Audio,
        "promised is promised"
    );
}

#[test]
fn the_source_may_change_its_size_and_come_back() {
    let mut rig = rig(2);
    rig.broadcast(&large(Source::usual()), 5);
    rig.close(End::Lost);
    rig.pass(4_000);
    rig.broadcast(&large(Source::usual()), 5);
    let discontinuities = RUNGS.map(|rung| cuts(&rig, rung).iter().filter(|cut| cut.2).count());
    assert_eq!(discontinuities, [2, 2], "the slate and the return");
    assert_eq!(rig.epochs.len(), 1);
}

#[test]
fn a_session_with_other_parameters_has_them_from_its_first_picture_on() {
    let mut other = Source::usual();
    other.pictures.as_mut().expect("pictures").config = avc_high();
    for behind in [0, 3] {
        let mut rig = rig(behind);
        rig.broadcast(&large(Source::usual()), 5);
        rig.close(End::Lost);
        rig.broadcast(&other, 5);
        for rung in [Rendition::High, Rendition::Mid, Rendition::Low] {
            let all = segments(&rig, rung);
            let changed = all.windows(2).filter(|pair| pair[0].init != pair[1].init);
            let changed: Vec<_> = changed.map(|pair| pair[1].msn).collect();
            let tags = all.iter().filter(|segment| segment.discontinuity);
            let tags: Vec<_> = tags.map(|segment| segment.msn).collect();
            assert_eq!((changed.len(), &changed), (1, &tags), "{rung}");
        }
    }
}

#[test]
fn a_rung_that_fails_goes_on_with_gaps_that_never_share_a_segment_with_media() {
    let mut rig = rig(1);
    rig.spread_ms = 5_300;
    rig.open();
    let items = large(Source::usual()).items(0, 12_000);
    let (before, after) = items.split_at(items.partition_point(|(ms, _)| *ms < 5_500));
    rig.send(before.to_vec());
    rig.encoders.hanging = true;
    let start_ms = rig.now_ms;
    rig.send(
        after
            .iter()
            .map(|(ms, item)| (ms.saturating_sub(start_ms), item.clone())),
    );
    for rung in RUNGS {
        let lost = Notice::RungLost {
            rendition: rung,
            reason: Failure::Late,
        };
        assert!(rig.notices.contains(&lost), "{:?}", rig.notices);
        let all = segments(&rig, rung);
        assert!(all.iter().any(|segment| gaps(segment) > 0));
        for segment in all {
            assert!(
                gaps(&segment) == 0 || gaps(&segment) == segment.parts.len(),
                "{segment:?}"
            );
        }
    }
    let high = segments(&rig, Rendition::High);
    assert!(high.iter().all(|segment| gaps(segment) == 0));
    let source = |rig: &Rig, rendition| rig.stream.sources().expect("live").1[&rendition];
    assert_eq!(source(&rig, Rendition::High), Made::Passthrough);
    let because = None;
    let lost = Some(Failure::Late);
    let encoded = |lost| Made::Encoded { because, lost };
    assert_eq!(source(&rig, Rendition::Low), encoded(lost));
    rig.close(End::Lost);
    rig.pass(1_000);
    rig.encoders.hanging = false;
    rig.broadcast(&large(Source::usual()), 3);
    assert_eq!(source(&rig, Rendition::Low), encoded(None), "it returns");
}

#[test]
fn a_rung_that_cannot_be_had_is_no_rendition() {
    let mut rig = rig(1);
    rig.encoders.failing = vec![Rendition::Mid];
    rig.broadcast(&large(Source::usual()), 5);
    let renditions = rig
        .multivariant()
        .variants
        .iter()
        .map(|variant| variant.rendition);
    assert_eq!(
        renditions.collect::<Vec<_>>(),
        [Rendition::High, Rendition::Low]
    );
}

#[test]
fn without_encoders_what_cannot_be_passed_through_is_passed_through_all_the_same() {
    let mut rig = rig(0);
    rig.encoders.failing = vec![Rendition::High, Rendition::Mid, Rendition::Low];
    rig.broadcast(
        &large(Source::new((30, 1), 120, Some(aac(48_000, false)))),
        20,
    );
    assert!(
        rig.notices.contains(&Notice::Unencoded),
        "{:?}",
        rig.notices
    );
    assert_eq!(rig.multivariant().variants.len(), 1);
    assert!(segments(&rig, Rendition::High).len() > 4);
}

#[test]
fn a_ladder_survives_a_restart() {
    let mut rig = rig(2);
    rig.broadcast(&large(Source::usual()), 8);
    rig.restart(2_000).expect("within grace");
    rig.encoders.behind = 2;
    rig.broadcast(&large(Source::usual()), 5);
    assert_eq!(rig.epochs.len(), 1, "the epoch goes on");
    for rung in RUNGS {
        let newest = segments(&rig, rung).pop().expect("a segment");
        assert!(
            gaps(&newest) == 0 && newest.parts[0].independent,
            "{rung}: {newest:?}"
        );
    }
}

#[test]
fn a_rung_that_failed_comes_back_with_a_segment() {
    let mut rig = rig(1);
    rig.spread_ms = 5_300;
    rig.open();
    let mut items = large(Source::usual()).items(0, 40_000);
    let rest = items.split_off(items.partition_point(|(ms, _)| *ms < 5_500));
    rig.send(items);
    rig.encoders.hanging = true;
    let start_ms = rig.now_ms;
    rig.send(
        rest.into_iter()
            .map(|(ms, item)| (ms.saturating_sub(start_ms), item)),
    );
    rig.close(End::Stopped);
    for rung in RUNGS {
        let newest = segments(&rig, rung).pop().expect("a segment");
        assert!(
            gaps(&newest) == 0 && newest.parts[0].independent,
            "{rung}: {newest:?}"
        );
        assert_eq!(cuts(&rig, rung), cuts(&rig, Rendition::High));
    }
}

#[test]
fn a_source_whose_key_frames_drift_apart_is_encoded_from_the_next_one_on() {
    let mut rig = rig(2);
    rig.open();
    let mut items = large(Source::usual()).items(0, 30_000);
    for (_, frame) in frames(&mut items, Kind::Video) {
        let at_ms = frame.timestamp;
        frame.sync &= at_ms < 10_000 || at_ms % 5_000 == 0;
    }
    rig.send(items);
    rig.close(End::Stopped);
    let encoded = |notice: &Notice| matches!(notice, Notice::Encoded(Obstacle::LongGop { .. }));
    assert!(rig.notices.iter().any(encoded), "{:?}", rig.notices);
    assert_eq!(rig.epochs.len(), 1);
    let high = cuts(&rig, Rendition::High);
    assert_eq!(
        high.iter().filter(|cut| cut.2).count(),
        1,
        "one discontinuity"
    );
    for rendition in [Rendition::High, Rendition::Mid, Rendition::Low] {
        assert_eq!(cuts(&rig, rendition), high, "{rendition}");
        for segment in segments(&rig, rendition).iter().rev().take(8) {
            assert!(
                segment.parts[0].independent && gaps(segment) == 0,
                "{segment:?}"
            );
        }
    }
}
