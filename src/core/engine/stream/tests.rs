//! What a whole broadcast looks like from outside, told as stories on a virtual clock; every playlist on the way is
//! checked by the model player.

mod day;
mod encoders;
mod events;
mod golden;
mod ladder;
mod model;
mod ranges;
mod restart;
mod rig;
mod rules;
mod slate;
mod source;
mod twins;

use self::{
    rig::{EPOCH, Rig},
    source::{Source, aac, avc_high, avc_large, avc_small},
};
use super::{End, Input, Notice, Output, Settings, Stream};
use crate::{
    engine::plan::Obstacle,
    media::{Kind, Rendition, Segment},
    wire::flv::{Frame, Item},
};

const FRAME_MS: u64 = 50;

fn segments(rig: &Rig, rendition: Rendition) -> Vec<Segment> {
    let snapshot = &rig.shown().snapshots[&rendition];
    let all = snapshot
        .retained
        .iter()
        .chain(&snapshot.listed)
        .chain(&snapshot.open);
    all.map(|segment| (**segment).clone()).collect()
}

/// Samples of every part: their number by segment.
fn seconds(segment: &Segment, rig: &Rig, rendition: Rendition) -> f64 {
    rig.shown().snapshots[&rendition]
        .timescale
        .at(segment.duration)
        .seconds()
}

fn frames(items: &mut [(u64, Item)], kind: Kind) -> impl Iterator<Item = (u64, &mut Frame)> {
    items.iter_mut().filter_map(move |(ms, item)| match item {
        Item::Frame(frame) if frame.kind == kind => Some((*ms, frame)),
        _ => None,
    })
}

/// Takes the pictures that would arrive in `when`, in milliseconds.
fn lose_pictures(items: &mut Vec<(u64, Item)>, when: std::ops::Range<u64>) {
    items.retain(|(at_ms, item)| {
        let picture = matches!(item, Item::Frame(frame) if frame.kind == Kind::Video);
        !(picture && when.contains(at_ms))
    });
}

#[test]
fn a_usual_broadcast_has_one_second_segments_of_five_parts() {
    let mut rig = Rig::new(FRAME_MS);
    rig.broadcast(&Source::usual(), 30);
    let constants = rig.shown().snapshots[&Rendition::High].constants;
    assert_eq!(
        (
            constants.target_duration,
            constants.part_target_ms,
            constants.part_hold_back_ms
        ),
        (2, 215, 645)
    );
    for segment in &segments(&rig, Rendition::High)[..20] {
        assert_eq!(segment.parts.len(), 5, "segment {}", segment.msn);
        assert!((seconds(segment, &rig, Rendition::High) - 1.0).abs() < 0.002);
        assert!(segment.parts[0].independent && !segment.parts[1].independent);
    }
    for segment in &segments(&rig, Rendition::Audio)[..20] {
        assert_eq!(segment.parts.len(), 5, "segment {}", segment.msn);
        assert!((seconds(segment, &rig, Rendition::Audio) - 1.0).abs() < 0.022);
    }
    assert!(rig.multivariant().independent_segments);
    assert_eq!(rig.notices, []);
}

#[test]
fn t4_a_part_is_published_with_its_last_frame_not_with_the_next() {
    let mut rig = Rig::new(FRAME_MS);
    let items = Source::usual().items(0, 10_000);
    let (before, last) = items.split_at(
        items
            .iter()
            .position(|(ms, item)| {
                *ms == 5_166 && matches!(item, Item::Frame(frame) if frame.kind == Kind::Video)
            })
            .expect("frame 155"),
    );
    rig.open();
    rig.send(before.to_vec());
    let edge = rig.shown().snapshots[&Rendition::High].next_part;
    rig.push(Input::Media {
        session: 1,
        item: last[0].1.clone(),
    });
    assert_eq!(
        rig.shown().snapshots[&Rendition::High].next_part,
        edge + 1,
        "frame 155 ends part 26 of six frames"
    );
}

#[test]
fn b_frames_shift_decode_times_so_that_sync_samples_have_no_offset() {
    let mut source = Source::usual();
    source.pictures.as_mut().expect("pictures").b_frames = true;
    let mut rig = Rig::new(FRAME_MS);
    rig.broadcast(&source, 6);
    assert_eq!(
        segments(&rig, Rendition::High)[0].start,
        0,
        "the first picture stands at the epoch's zero"
    );
    for segment in segments(&rig, Rendition::High) {
        assert!(
            (segment.start - segment.msn as i64 * 90_000).abs() <= 90,
            "{segment:?}"
        );
    }
}

#[test]
fn timestamps_may_wrap_at_32_bits_and_at_24_bits() {
    for (first_timestamp, mask) in [
        (u32::MAX - 5_000, u32::MAX),
        ((1 << 24) - 5_000, (1 << 24) - 1),
    ] {
        let source = Source {
            first_timestamp,
            ..Source::usual()
        };
        let mut items = source.items(0, 20_000);
        for kind in [Kind::Video, Kind::Audio] {
            frames(&mut items, kind).for_each(|(_, frame)| frame.timestamp &= mask);
        }
        let mut rig = Rig::new(FRAME_MS);
        rig.open();
        rig.send(items);
        for segment in segments(&rig, Rendition::High) {
            assert!(
                (segment.start - segment.msn as i64 * 90_000).abs() <= 90,
                "mask {mask:x}: {segment:?}"
            );
            assert!(!segment.discontinuity);
        }
    }
}

#[test]
fn a_jump_of_hours_keeps_the_timeline_and_lip_sync() {
    for jump in [4 * 3_600_000_i64, -3_600_000, -8_000] {
        let mut items = Source {
            first_timestamp: 8_000_000,
            ..Source::usual()
        }
        .items(0, 20_000);
        for kind in [Kind::Video, Kind::Audio] {
            frames(&mut items, kind)
                .filter(|(ms, _)| *ms >= 8_000)
                .for_each(|(_, frame)| {
                    frame.timestamp = (i64::from(frame.timestamp) + jump) as u32
                });
        }
        let mut rig = Rig::new(FRAME_MS);
        rig.open();
        rig.send(items);
        let video = segments(&rig, Rendition::High);
        let audio = segments(&rig, Rendition::Audio);
        for (video, audio) in video.iter().zip(&audio) {
            assert!(
                (video.start - video.msn as i64 * 90_000).abs() <= 9_000,
                "jump {jump}: {}",
                video.start
            );
            let apart = video.start as f64 / 90_000.0 - audio.start as f64 / 48_000.0;
            assert!(
                apart.abs() < 0.025,
                "jump {jump}: sound {apart} s from the picture in {}",
                video.msn
            );
        }
    }
}

#[test]
fn falling_and_equal_decode_times_become_rising_ones() {
    let mut items = Source::usual().items(0, 10_000);
    for (n, (_, frame)) in frames(&mut items, Kind::Video).enumerate() {
        match n % 30 {
            7 => frame.timestamp -= 34,
            13 => frame.timestamp -= 50,
            _ => {}
        }
    }
    let mut rig = Rig::new(FRAME_MS);
    rig.open();
    rig.send(items);
    let received = segments(&rig, Rendition::High).len();
    assert!(received >= 8, "{received} segments");
}

#[test]
fn t5_r5_a_gop_of_eight_seconds_is_cut_at_max_gop_and_promises_nothing() {
    let mut rig = Rig::new(FRAME_MS);
    rig.broadcast(&Source::new((30, 1), 240, Some(aac(48_000, false))), 30);
    assert!(!rig.multivariant().independent_segments);
    assert!(
        matches!(
            rig.notices[..],
            [Notice::NotIndependent(Obstacle::LongGop {
                gop_ms: None,
                max_ms: 2_000
            })]
        ),
        "{:?}",
        rig.notices
    );
    for segment in segments(&rig, Rendition::High) {
        assert_eq!(
            segment.parts[0].independent,
            segment.msn % 4 == 0,
            "segment {}",
            segment.msn
        );
    }
}

#[test]
fn r5_a_key_frame_after_exactly_max_gop_may_travel_late() {
    let source = Source::new((30, 1), 60, Some(aac(48_000, false)));
    let mut items = source.items(0, 10_000);
    for (ms, _) in items.iter_mut().filter(|(ms, _)| *ms >= 1_900) {
        *ms += 120;
    }
    let mut rig = Rig::new(FRAME_MS);
    rig.open();
    rig.send(items);
    assert!(rig.multivariant().independent_segments);
    assert!(rig.notices.is_empty(), "{:?}", rig.notices);
}

#[test]
fn r5_a_key_frame_drought_withdraws_the_promise_of_independent_segments() {
    let mut items = Source::usual().items(0, 20_000);
    frames(&mut items, Kind::Video)
        .filter(|(ms, _)| (5_000..9_000).contains(ms))
        .for_each(|(_, frame)| frame.sync = false);
    let mut rig = Rig::new(FRAME_MS);
    rig.open();
    rig.send(items);
    assert!(!rig.multivariant().independent_segments);
    let dependent = segments(&rig, Rendition::High)
        .iter()
        .filter(|segment| !segment.parts[0].independent)
        .count();
    assert!(
        (1..=2).contains(&dependent),
        "{dependent} segments without a sync sample"
    );
}

#[test]
fn late_sound_is_preceded_by_silence_and_absent_sound_is_silence() {
    for silent_until_ms in [900, 7_000, 30_000] {
        let mut items = Source::usual().items(0, 15_000);
        items.retain(|(ms, item)| {
            !matches!(item, Item::Frame(frame) if frame.kind == Kind::Audio && *ms < silent_until_ms)
        });
        let mut rig = Rig::new(FRAME_MS);
        rig.open();
        rig.send(items);
        let (video, audio) = (
            segments(&rig, Rendition::High),
            segments(&rig, Rendition::Audio),
        );
        assert!(
            audio.len() + 1 >= video.len(),
            "{} segments of sound, {} of pictures",
            audio.len(),
            video.len()
        );
        assert!(
            audio
                .iter()
                .all(|segment| segment.parts.iter().all(|part| part.data.is_some()))
        );
    }
}

#[test]
fn sound_that_was_never_configured_is_not_listed() {
    let mut rig = Rig::new(FRAME_MS);
    rig.broadcast(&Source::new((25, 1), 25, None), 10);
    assert_eq!(
        rig.shown().snapshots.keys().collect::<Vec<_>>(),
        [&Rendition::High]
    );
    assert_eq!(rig.multivariant().audio_channels, None);
}

#[test]
fn sound_alone_is_the_variant() {
    let mut rig = Rig::new(FRAME_MS);
    rig.broadcast(
        &Source {
            pictures: None,
            ..Source::usual()
        },
        20,
    );
    assert_eq!(
        rig.shown().snapshots.keys().collect::<Vec<_>>(),
        [&Rendition::Audio]
    );
    let constants = rig.shown().snapshots[&Rendition::Audio].constants;
    assert_eq!(
        (constants.target_duration, constants.part_target_ms),
        (1, 215)
    );
    assert_eq!(rig.multivariant().variants[0].rendition, Rendition::Audio);
}

#[test]
fn p13_a_publisher_that_returns_within_grace_joins_the_epoch_at_one_discontinuity() {
    let mut rig = Rig::new(FRAME_MS);
    rig.broadcast(&Source::usual(), 10);
    rig.close(End::Lost);
    rig.pass(700);
    rig.broadcast(
        &Source {
            first_timestamp: 77,
            ..Source::usual()
        },
        10,
    );
    assert_eq!(rig.epochs.len(), 1);
    let at = |rendition| {
        let all = segments(&rig, rendition);
        all.iter()
            .filter(|segment| segment.discontinuity)
            .map(|segment| segment.msn)
            .collect::<Vec<_>>()
    };
    assert_eq!(at(Rendition::High).len(), 1);
    assert_eq!(at(Rendition::High), at(Rendition::Audio));
    assert!(rig.notices.contains(&Notice::Joined));
}

#[test]
fn p10_an_outage_grows_every_rendition_with_gaps_and_ends_with_grace() {
    let mut rig = Rig::new(FRAME_MS);
    rig.broadcast(&Source::usual(), 10);
    rig.close(End::Lost);
    rig.pass(15_000);
    for rendition in [Rendition::High, Rendition::Audio] {
        assert!(
            segments(&rig, rendition)
                .iter()
                .filter(|segment| segment.gap())
                .count()
                >= 10,
            "{rendition}"
        );
        assert!(
            rig.playlist(rendition).contains("#EXT-X-GAP"),
            "{rendition}"
        );
    }
    rig.broadcast(&Source::usual(), 5);
    assert_eq!(rig.epochs.len(), 1);
    rig.close(End::Lost);
    rig.pass(20_000);
    assert!(rig.closed && rig.shown().ended);
    assert!(
        rig.playlist(Rendition::High)
            .trim_end()
            .ends_with("#EXT-X-ENDLIST")
    );
}

#[test]
fn a_deliberate_stop_ends_after_its_short_grace() {
    let mut rig = Rig::new(FRAME_MS);
    rig.broadcast(&Source::usual(), 5);
    rig.close(End::Stopped);
    rig.pass(2_900);
    assert!(!rig.closed);
    rig.pass(200);
    assert!(rig.closed);
}

#[test]
fn an_ordered_end_needs_no_grace_and_keeps_what_was_received() {
    let mut rig = Rig::new(FRAME_MS);
    rig.broadcast(&Source::usual(), 5);
    let parts = rig.shown().snapshots[&Rendition::High].next_part;
    rig.push(Input::End);
    assert!(rig.closed && rig.shown().ended);
    assert!(rig.shown().snapshots[&Rendition::High].next_part >= parts);
    assert_eq!(rig.stream.deadline(), None, "nothing is left to wait for");
}

#[test]
fn p13_other_tracks_begin_another_epoch() {
    let mut rig = Rig::new(FRAME_MS);
    rig.broadcast(&Source::usual(), 5);
    rig.close(End::Lost);
    rig.broadcast(
        &Source {
            sound: Some(aac(44_100, false)),
            ..Source::usual()
        },
        5,
    );
    assert_eq!(rig.epochs.len(), 2);
    assert!(
        rig.epochs[&EPOCH].ended,
        "players of the old epoch must not wait"
    );
    assert!(rig.notices.contains(&Notice::NewEpoch));
}

#[test]
fn p13_p14_a_change_of_resolution_is_a_new_init_at_one_discontinuity_in_all_renditions() {
    let mut rig = Rig::new(FRAME_MS);
    rig.broadcast(&Source::usual(), 5);
    let mut large = Source::usual();
    large.pictures.as_mut().expect("pictures").config = avc_large();
    rig.send(
        large
            .items(5_000, 10_000)
            .into_iter()
            .map(|(ms, item)| (ms - 5_000, item)),
    );
    assert_eq!(rig.multivariant().variants[0].resolution, Some((640, 360)));
    let (video, audio) = (
        segments(&rig, Rendition::High),
        segments(&rig, Rendition::Audio),
    );
    for (video, audio) in video.iter().zip(&audio) {
        assert_eq!(video.discontinuity, video.msn == 5, "picture {}", video.msn);
        assert_eq!(
            audio.discontinuity, video.discontinuity,
            "sound {}",
            video.msn
        );
        assert_eq!((video.init, audio.init), (u32::from(video.msn >= 5), 0));
    }
}

#[test]
fn a_fenced_session_changes_nothing() {
    let mut rig = Rig::new(FRAME_MS);
    rig.broadcast(&Source::usual(), 5);
    rig.open();
    rig.send(Source::usual().items(0, 3_000));
    let before = rig.playlist(Rendition::High);
    rig.push(Input::Media {
        session: 1,
        item: Item::Config(avc_large()),
    });
    rig.push(Input::Close {
        session: 1,
        end: End::Stopped,
    });
    assert_eq!(rig.playlist(Rendition::High), before);
    rig.pass(3_500);
    assert!(!rig.closed);
}

#[test]
fn sound_that_joins_later_begins_an_epoch_that_has_it() {
    let mut rig = Rig::new(FRAME_MS);
    let mut items = Source::usual().items(0, 16_000);
    items.retain(|(ms, item)| match item {
        Item::Config(config) => config.kind() == Kind::Video,
        Item::Frame(frame) => frame.kind == Kind::Video || *ms >= 6_000,
    });
    let at = items
        .iter()
        .position(|(ms, _)| *ms >= 6_000)
        .expect("long enough");
    items.insert(at, (6_000, Item::Config(aac(48_000, false))));
    rig.open();
    rig.send(items);
    assert_eq!(rig.epochs.len(), 2);
    assert_eq!(rig.shown().snapshots.len(), 2);
}

#[test]
fn an_unplayable_session_says_so() {
    let mut rig = Rig::new(FRAME_MS);
    rig.open();
    rig.push(Input::Media {
        session: 1,
        item: Item::Config(avc_small()),
    });
    rig.close(End::Stopped);
    assert_eq!(rig.notices, [Notice::Nothing]);
    rig.pass(3_000);
    assert!(rig.closed && rig.epochs.is_empty());
}

#[test]
fn p4_the_same_input_gives_the_same_bytes() {
    let play = || {
        let mut rig = Rig::new(FRAME_MS);
        rig.broadcast(
            &Source::new((30_000, 1001), 60, Some(aac(44_100, false))),
            20,
        );
        rig
    };
    let (first, second) = (play(), play());
    for rendition in [Rendition::High, Rendition::Audio] {
        assert_eq!(first.playlist(rendition), second.playlist(rendition));
        assert_eq!(segments(&first, rendition), segments(&second, rendition));
    }
}

#[test]
fn sound_that_outlives_its_pictures_ends_where_their_gap_does() {
    let mut rig = Rig::new(FRAME_MS);
    let mut items = Source::new((24, 1), 17, Some(aac(32_000, false))).items(0, 12_000);
    items.retain(|(ms, item)| {
        !matches!(item, Item::Frame(frame) if frame.kind == Kind::Video && *ms > 10_830)
    });
    rig.open();
    rig.send(items);
    rig.close(End::Lost);
    rig.pass(10_000);
}

#[test]
fn a_gap_never_stands_behind_media_in_its_segment() {
    for (from_ms, ms) in [(400, 100), (3_950, 450), (3_000, 1_900), (11_700, 300)] {
        let mut rig = Rig::new(FRAME_MS);
        let mut items = Source::new((30, 1), 3, Some(aac(48_000, false))).items(0, 12_000);
        lose_pictures(&mut items, from_ms..from_ms + ms);
        rig.open();
        rig.send(items);
        rig.close(End::Lost);
        rig.pass(5_000);
        for rendition in [Rendition::High, Rendition::Audio] {
            let all = segments(&rig, rendition);
            let gap = |segment: &Segment| segment.parts.iter().all(|part| part.data.is_none());
            assert!(all.iter().any(gap), "{rendition}");
            for segment in all {
                let mixed = segment
                    .parts
                    .windows(2)
                    .any(|pair| pair[0].data.is_some() && pair[1].data.is_none());
                assert!(!mixed, "{rendition} {} of {from_ms}+{ms}", segment.msn);
            }
        }
    }
}

#[test]
fn lost_pictures_leave_segments_as_long_as_their_parts() {
    for (from_ms, ms) in [
        (500, 237),
        (400, 100),
        (3_950, 450),
        (3_000, 1_900),
        (3_000, 5_900),
    ] {
        let mut rig = Rig::new(FRAME_MS);
        let mut items = Source::new((10, 1), 2, Some(aac(32_000, false))).items(0, 12_000);
        lose_pictures(&mut items, from_ms..from_ms + ms);
        rig.open();
        rig.send(items);
        for rendition in [Rendition::High, Rendition::Audio] {
            let all = segments(&rig, rendition);
            assert!(all.len() >= 9, "{} segments", all.len());
            for segment in all {
                let parts: i64 = segment
                    .parts
                    .iter()
                    .map(|part| i64::from(part.duration))
                    .sum();
                assert_eq!(parts, segment.duration, "{rendition} {}", segment.msn);
            }
        }
    }
}

#[test]
fn a_publisher_that_returns_just_after_a_segment_began_is_not_kept_out() {
    for lost_after_ms in (3_000..3_260).step_by(20) {
        let mut rig = Rig::new(FRAME_MS);
        rig.open();
        rig.send(Source::new((12, 1), 12, None).items(0, lost_after_ms));
        rig.close(End::Lost);
        rig.pass(500);
        rig.open();
        rig.send(Source::new((12, 1), 120, None).items(0, 1_500));
        rig.close(End::Lost);
        let all = segments(&rig, Rendition::High);
        let back = all
            .iter()
            .find(|segment| segment.discontinuity)
            .expect("the return");
        assert!(back.parts[0].independent, "lost after {lost_after_ms} ms");
    }
}

#[test]
fn configurations_back_and_forth_keep_few_inits_and_long_enough_segments() {
    let mut rig = Rig::new(FRAME_MS);
    rig.broadcast(&Source::new((30, 1), 1, Some(aac(48_000, false))), 5);
    let mut large = Source::new((30, 1), 1, Some(aac(48_000, false)));
    large.pictures.as_mut().expect("pictures").config = avc_large();
    let small = Source::new((30, 1), 1, Some(aac(48_000, false)));
    for n in 0..200 {
        let source = if n % 2 == 0 { &large } else { &small };
        let from_ms = 5_000 + n * 50;
        let items = source.items(from_ms, from_ms + 50).into_iter();
        rig.send(items.map(|(ms, item)| (ms - from_ms, item)));
    }
    for rendition in [Rendition::High, Rendition::Audio] {
        let all = segments(&rig, rendition);
        assert!((10..=100).contains(&all.len()), "{} segments", all.len());
        assert!(rig.shown().snapshots[&rendition].inits.len() <= 2);
    }
}

#[test]
fn tracks_back_and_forth_begin_an_epoch_every_max_gop_at_most() {
    let mut rig = Rig::new(FRAME_MS);
    rig.open();
    for n in 0..100 {
        let rate = if n % 2 == 0 { 48_000 } else { 44_100 };
        let source = Source::new((30, 1), 1, Some(aac(rate, false)));
        let items = source.items(n * 100, n * 100 + 100).into_iter();
        rig.send(items.map(|(ms, item)| (ms - n * 100, item)));
    }
    assert!((2..=6).contains(&rig.epochs.len()), "{}", rig.epochs.len());
}
