//! The rules of `docs/conformance.md` that whole broadcasts must keep, one test each.
//!
//! Two plays: every customary rhythm (the golden playlists' own broadcasts), and one story with everything that may happen
//! to a broadcast. Each test lets the model player judge a play by its rule alone, so that what fails is named; that the
//! player finds a broken rule is shown by its own tests. What the model player has no rule for is measured here.

use super::{
    End, Item, Kind, Rendition,
    golden::{RATES, rhythm, sounds},
    rig::Rig,
    source::{Source, avc_large},
};
use crate::{engine::player::judged_by, wire::m3u8::media::Form};

/// Every rhythm for twelve seconds: two longer than a full list of one-second segments is not, six target durations are.
fn rhythms(mut see: impl FnMut(&Rig)) {
    for (_, rate) in RATES {
        for (_, sound) in sounds() {
            let mut rig = Rig::new(frame_ms(rate));
            rig.broadcast(&rhythm(rate, sound), 12);
            see(&rig);
        }
    }
}

/// The longest frame of a rhythm: a picture, or 2048 samples of HE-AAC at 44.1 kHz.
fn frame_ms((num, den): (u32, u32)) -> u64 {
    u64::from((den * 1000).div_ceil(num)).max(47)
}

/// Half a minute as usual, lost pictures, a lost network, another camera, a publisher who stops, and the end.
fn story() -> Rig {
    let mut rig = Rig::new(50);
    rig.broadcast(&Source::usual(), 32);
    let frozen = Source::usual().items(32_000, 36_000).into_iter();
    let frozen =
        frozen.filter(|(_, item)| matches!(item, Item::Frame(frame) if frame.kind == Kind::Audio));
    rig.send(frozen.map(|(ms, item)| (ms - 32_000, item)));
    rig.close(End::Lost);
    rig.pass(8_000);
    let mut other = Source {
        first_timestamp: 77,
        ..Source::usual()
    };
    other.pictures.as_mut().expect("pictures").config = avc_large();
    rig.broadcast(&other, 40);
    rig.close(End::Stopped);
    rig.pass(5_000);
    assert!(rig.closed && rig.shown().ended);
    rig
}

fn every_rhythm_keeps(rule: &'static str) {
    assert!(
        judged_by(rule, || rhythms(|_| {})) > 1000,
        "{rule} was not judged"
    );
}

fn the_story_keeps(rule: &'static str) {
    let judged = judged_by(rule, || {
        story()
            .epochs
            .values_mut()
            .for_each(|shown| shown.player.finish())
    });
    assert!(judged > 0, "{rule} was not judged");
}

#[test]
fn the_story_has_what_the_rules_are_about() {
    let rig = story();
    let end = rig.playlist(Rendition::High);
    assert!(
        end.ends_with("#EXT-X-ENDLIST\n") && end.contains("init1.mp4"),
        "{end}"
    );
    let snapshot = &rig.shown().snapshots[&Rendition::High];
    let all = || snapshot.retained.iter().chain(&snapshot.listed);
    assert!(all().any(|segment| segment.gap()) && all().any(|segment| segment.discontinuity));
    assert!(snapshot.listed[0].msn > 0 && snapshot.discontinuity_sequence > 0);
}

#[test]
fn t1_the_target_duration_is_fixed_and_no_segment_is_longer() {
    every_rhythm_keeps("T1");
    the_story_keeps("T1");
}

#[test]
fn t2_parts_are_as_long_as_promised() {
    every_rhythm_keeps("T2");
    the_story_keeps("T2");
}

#[test]
fn t3_lengths_add_up_to_within_a_frame() {
    every_rhythm_keeps("T3");
    the_story_keeps("T3");
}

#[test]
fn t7_part_hold_back_is_three_of_the_longest_part() {
    every_rhythm_keeps("T7");
    the_story_keeps("T7");
}

#[test]
fn p6_the_version_is_that_of_the_newest_feature_used() {
    every_rhythm_keeps("P6");
    the_story_keeps("P6");
}

#[test]
fn p7_every_segment_has_a_date_time() {
    every_rhythm_keeps("P7");
    the_story_keeps("P7");
}

#[test]
fn t8_no_hold_back_is_below_three_target_durations() {
    the_story_keeps("T8");
}

#[test]
fn t9_t10_deltas_are_offered_from_six_target_durations_on() {
    the_story_keeps("T9");
}

#[test]
fn t11_the_list_stays_longer_than_three_target_durations() {
    the_story_keeps("T11");
}

#[test]
fn p1_sequence_numbers_never_fall() {
    the_story_keeps("P1");
}

#[test]
fn p2_the_discontinuity_sequence_is_always_there() {
    the_story_keeps("P2");
}

#[test]
fn p3_a_version_changes_only_what_it_may() {
    the_story_keeps("P3");
}

#[test]
fn p4_a_uri_never_means_other_bytes() {
    the_story_keeps("P4");
}

#[test]
fn p5_a_sliding_list_has_no_type() {
    the_story_keeps("P5");
}

#[test]
fn p8_tags_of_a_segment_stand_before_its_parts() {
    the_story_keeps("P8");
}

#[test]
fn p9_parts_leave_the_list_three_target_durations_from_its_end() {
    the_story_keeps("P9");
}

#[test]
fn p10_missing_media_is_a_gap_in_segment_and_parts() {
    the_story_keeps("P10");
}

#[test]
fn p11_server_control_is_the_same_in_all_renditions() {
    the_story_keeps("P11");
}

#[test]
fn p14_a_map_follows_every_discontinuity() {
    the_story_keeps("P14");
}

#[test]
fn h1_one_part_is_hinted() {
    the_story_keeps("H1");
}

#[test]
fn h2_what_was_hinted_is_what_comes() {
    the_story_keeps("H2");
}

#[test]
fn h3_the_hinted_part_is_waited_for() {
    the_story_keeps("H3");
}

#[test]
fn h5_nothing_is_hinted_after_the_end() {
    the_story_keeps("H5");
}

#[test]
fn h6_what_left_the_list_stays_for_as_long_as_promised() {
    the_story_keeps("H6");
}

#[test]
fn h7_everything_listed_is_there() {
    the_story_keeps("H7");
}

#[test]
fn b5_what_has_passed_is_answered_at_once() {
    the_story_keeps("B5");
}

#[test]
fn b8_a_delta_is_given_when_asked_for_and_the_whole_after_the_end() {
    the_story_keeps("B8");
}

#[test]
fn b9_a_delta_skips_what_ends_beyond_the_boundary_and_adds_up() {
    the_story_keeps("B9");
}

#[test]
fn b11_no_answer_has_less_than_was_asked_for() {
    the_story_keeps("B11");
}

#[test]
fn r1_reports_tell_where_the_others_are_now() {
    the_story_keeps("R1");
}

#[test]
fn r2_renditions_agree_in_target_discontinuities_and_end() {
    the_story_keeps("R2");
}

#[test]
fn r3_segments_begin_together_in_all_renditions() {
    the_story_keeps("R3");
}

#[test]
fn t4_a_part_comes_within_a_part_target_and_a_segment_within_one_and_a_half_target_durations() {
    rhythms(|rig| {
        for (rendition, growth) in &rig.shown().growth {
            let constants = rig.shown().snapshots[rendition].constants;
            // A part is out when its last frame is in, and a frame is in on a whole millisecond.
            let within = |count: fn(&(u64, u64, u64)) -> u64, most_ms: u64| {
                let steps = growth
                    .windows(2)
                    .filter(|pair| count(&pair[1]) > count(&pair[0]));
                let at: Vec<u64> = growth
                    .iter()
                    .take(1)
                    .chain(steps.map(|pair| &pair[1]))
                    .map(|step| step.0)
                    .collect();
                assert!(at.len() > 5, "{rendition} does not grow");
                for pair in at.windows(2) {
                    assert!(
                        pair[1] - pair[0] <= most_ms,
                        "{rendition} at {} ms, then {}",
                        pair[0],
                        pair[1]
                    );
                }
            };
            within(|step| step.1, u64::from(constants.part_target_ms));
            within(|step| step.2, u64::from(constants.target_duration) * 1500);
        }
    });
}

/// Whether a part of pictures holds an IDR access unit.
fn has_idr(part: &[u8]) -> bool {
    let mut rest = part;
    while let Some((head, _)) = rest.split_first_chunk::<8>() {
        let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if &head[4..] == b"mdat" {
            let mut units = &rest[8..size];
            while let Some((length, unit)) = units.split_first_chunk::<4>() {
                if unit[0] & 0x1f == 5 {
                    return true;
                }
                units = &unit[u32::from_be_bytes(*length) as usize..];
            }
        }
        rest = &rest[size..];
    }
    false
}

#[test]
fn t5_h8_r5_segments_begin_with_the_key_frame_that_their_first_part_tells_of() {
    rhythms(|rig| {
        assert!(rig.multivariant().independent_segments);
        let snapshot = &rig.shown().snapshots[&Rendition::High];
        for segment in snapshot.listed.iter().chain(&snapshot.open) {
            assert!(segment.parts[0].independent, "segment {}", segment.msn);
            for part in &segment.parts {
                let idr = has_idr(part.data.as_ref().expect("no gap"));
                assert_eq!(part.independent, idr, "part {}", part.number);
            }
        }
    });
}

#[test]
fn p6_a_delta_is_of_version_9_and_the_multivariant_of_none() {
    let mut rig = Rig::new(50);
    rig.broadcast(&Source::usual(), 20);
    let delta = rig.shown().snapshots[&Rendition::High].playlist(Form::Delta);
    assert!(
        delta.contains("#EXT-X-VERSION:9\n") && delta.contains("#EXT-X-SKIP:"),
        "{delta}"
    );
    let full = rig.playlist(Rendition::High);
    assert!(
        full.contains("#EXT-X-VERSION:6\n") && full.contains("#EXT-X-MAP:"),
        "{full}"
    );
    let multivariant = rig.multivariant().write();
    assert!(!multivariant.contains("VERSION"), "{multivariant}");
}

/// Ten minutes of scenes: some a hundred times as busy as others.
#[test]
fn r6_bandwidth_is_above_what_is_measured() {
    let mut rig = Rig::new(50);
    rig.open();
    let mut bits = std::collections::BTreeMap::<u64, (f64, f64)>::new();
    let mut scene = 1_u64;
    for (ms, mut item) in Source::usual().items(0, 600_000) {
        if let Item::Frame(frame) = &mut item
            && frame.kind == Kind::Video
        {
            if frame.sync && ms % 7_000 == 0 {
                scene = scene
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
            }
            let mut data = frame.data.to_vec();
            let more = data.len() * (scene >> 58) as usize;
            data.resize(data.len() + more, 0);
            let length = data.len() as u32 - 4;
            data[..4].copy_from_slice(&length.to_be_bytes());
            frame.data = data.into();
        }
        rig.watching = false;
        rig.advance_to(ms);
        rig.item(item);
        if ms % 5_000 == 0 && rig.epochs.is_empty() {
            continue;
        }
        if ms % 5_000 == 0 {
            for (rendition, snapshot) in &rig.shown().snapshots {
                for segment in &snapshot.listed {
                    let rate = segment.bytes() as f64 * 8.0
                        / snapshot.timescale.at(segment.duration).seconds();
                    let sum = bits.entry(segment.msn).or_default();
                    match rendition {
                        Rendition::High => sum.0 = rate,
                        _ => sum.1 = rate,
                    }
                }
            }
        }
    }
    let rates: Vec<f64> = bits.values().map(|(high, audio)| high + audio).collect();
    let peak = rates.iter().copied().fold(0.0, f64::max);
    let average = rates.iter().sum::<f64>() / rates.len() as f64;
    let variant = &rig.multivariant().variants[0];
    assert!(
        rates.len() > 580 && peak > 1.5 * average,
        "scenes differ: {peak} {average}"
    );
    assert!(
        peak <= variant.bandwidth as f64,
        "peak {peak} of {variant:?}"
    );
    assert!(
        average <= variant.average_bandwidth as f64,
        "average {average} of {variant:?}"
    );
    assert!(
        variant.bandwidth as f64 <= 1.25 * peak + 1.0,
        "far above the peak {peak}: {variant:?}"
    );
}

#[test]
fn r4_the_variant_tells_all_that_a_player_chooses_by() {
    rhythms(|rig| {
        let text = rig.multivariant().write();
        for attribute in [
            "BANDWIDTH=",
            "AVERAGE-BANDWIDTH=",
            "CODECS=\"avc1.64000d,mp4a.40.",
            "RESOLUTION=320x180",
            "FRAME-RATE=",
        ] {
            assert!(text.contains(attribute), "{attribute} in {text}");
        }
    });
}
