//! One process ends, another goes on: what players see of it, and what becomes of a file that is none.

use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    EPOCH, End, Input, Output, Rendition, Rig, Source, Stream, aac, avc_large, avc_small,
    lose_pictures, rig::settings, segments,
};
use crate::{
    engine::saved::{Codec, Error, Saved},
    media::{Config, Now, WallTime, opus},
    wire::{event::Event, m3u8::media::Form},
};

const FRAME_MS: u64 = 50;

fn rig() -> Rig {
    let mut rig = Rig::new(FRAME_MS);
    rig.broadcast(&Source::usual(), 15);
    rig
}

#[test]
fn what_was_shown_last_is_shown_first_down_to_the_bytes() {
    let mut rig = rig();
    let before = [Rendition::High, Rendition::Audio].map(|rendition| segments(&rig, rendition));
    // `restart` compares the playlists; nothing has expired yet, so these are the first versions.
    rig.restart(1_000).expect("within grace");
    let after = [Rendition::High, Rendition::Audio].map(|rendition| segments(&rig, rendition));
    for (before, after) in before.iter().flatten().zip(after.iter().flatten()) {
        // The last flush of the process that ended may have added a part.
        assert_eq!(before.msn, after.msn);
        assert!(
            after.parts.starts_with(&before.parts),
            "segment {}",
            before.msn
        );
    }
    let bytes: usize = after.iter().flatten().map(|segment| segment.bytes()).sum();
    assert!(bytes > 100_000, "{bytes}");
}

#[test]
fn the_time_away_becomes_gaps_and_the_publisher_returns_at_one_discontinuity() {
    let mut rig = rig();
    let end_ms = rig.stream.edge().expect("an epoch").1.ms();
    rig.restart(5_000).expect("within grace");
    rig.pass(1);
    let grown_ms = rig.stream.edge().expect("an epoch").1.ms() - end_ms;
    assert!(
        (4_700..=5_100).contains(&grown_ms),
        "{grown_ms} ms of gaps for 5 s away"
    );
    rig.broadcast(&Source::usual(), 5);
    assert_eq!(rig.epochs.len(), 1, "the epoch goes on");
    let discontinuities = [Rendition::High, Rendition::Audio].map(|rendition| {
        let segments = segments(&rig, rendition).into_iter();
        let begun = segments.filter(|segment| segment.discontinuity);
        begun.map(|segment| segment.msn).collect::<Vec<_>>()
    });
    assert_eq!(discontinuities[0].len(), 1);
    assert_eq!(discontinuities[0], discontinuities[1]);
}

#[test]
fn grace_counts_the_time_away() {
    let mut rig = rig();
    rig.close(End::Lost);
    rig.pass(6_000);
    rig.restart(6_000).expect("within grace");
    rig.pass(7_500);
    assert!(!rig.closed);
    rig.pass(700);
    assert!(rig.closed && rig.shown().ended);
}

#[test]
fn who_comes_too_late_finds_nothing() {
    let mut lost = rig();
    assert_eq!(
        lost.restart(20_000),
        Err(Error::Expired {
            grace_ms: 20_000,
            age_ms: 20_000
        })
    );
    let mut stopped = rig();
    stopped.close(End::Stopped);
    stopped.pass(1_000);
    assert!(matches!(stopped.restart(2_000), Err(Error::Expired { .. })));
}

#[test]
fn a_clock_set_back_between_sets_no_date_time_back() {
    let mut rig = rig();
    let file = rig.save();
    rig.clock_ms = -3_600_000;
    rig.resume(file, 2_000)
        .expect("no time has passed, as far as can be told");
    rig.broadcast(&Source::usual(), 5);
    let segments = segments(&rig, Rendition::High);
    assert!(segments.iter().any(|segment| segment.discontinuity));
    assert!(segments.is_sorted_by_key(|segment| segment.program_date_time));
}

#[test]
fn a_clock_set_far_ahead_ends_the_stream() {
    let mut rig = rig();
    let file = rig.save();
    rig.clock_ms = 3_600_000;
    assert!(matches!(rig.resume(file, 0), Err(Error::Expired { .. })));
}

#[test]
fn a_stream_long_without_pictures_goes_on() {
    let sound_alone = Source {
        pictures: None,
        ..Source::usual()
    };
    let mut alone = Rig::new(FRAME_MS);
    alone.broadcast(&sound_alone, 70);
    let mut frozen = Rig::new(FRAME_MS);
    let mut items = Source::usual().items(0, 90_000);
    lose_pictures(&mut items, 15_000..u64::MAX);
    frozen.open();
    frozen.send(items);
    for mut rig in [alone, frozen] {
        rig.restart(1_000).expect("within grace");
        rig.broadcast(&Source::usual(), 5);
    }
}

#[test]
fn what_nobody_has_seen_is_not_saved() {
    let mut rig = Rig::new(FRAME_MS);
    assert_eq!(rig.save(), None, "no publisher");
    rig.open();
    rig.send(Source::usual().items(0, 0));
    assert_eq!(rig.save(), None, "no media");
    let mut over = self::rig();
    over.close(End::Stopped);
    over.pass(4_000);
    assert_eq!(over.save(), None, "ended");
}

#[test]
fn a_session_still_probed_is_saved_with_what_it_sent() {
    let mut rig = Rig::new(FRAME_MS);
    rig.broadcast(&Source::usual(), 1);
    assert!(rig.epochs.is_empty(), "one key frame is not enough yet");
    rig.restart(500).expect("within grace");
    assert_eq!(rig.shown().snapshots.len(), 2);
}

#[test]
fn a_process_with_other_settings_begins_an_epoch_where_they_do_not_fit() {
    let mut rig = rig();
    let file = rig.save().expect("a stream");
    let mut other = settings();
    other.part *= 3;
    let saved = Saved::decode(&file).expect("whole");
    rig.stream = Stream::restore(other, saved, rig.now()).expect("within grace");
    rig.broadcast(&Source::usual(), 5);
    assert_eq!(rig.epochs.len(), 2);
    assert!(rig.epochs[&EPOCH].ended, "its promises are kept to the end");
}

#[test]
fn media_is_read_without_a_copy() {
    let file = rig().save().expect("a stream");
    let saved = Saved::decode(&file).expect("whole");
    let range = file.as_ptr_range();
    assert!(
        saved
            .media
            .iter()
            .all(|part| range.contains(&part.as_ptr()))
    );
    let written: Bytes = saved.encode().concat().into();
    assert!(written == file, "the same value is the same bytes");
}

#[test]
fn a_file_cut_anywhere_or_changed_anywhere_is_refused() {
    let mut rig = Rig::new(FRAME_MS);
    rig.broadcast(&Source::usual(), 3);
    let file = rig.save().expect("a stream");
    for length in (0..file.len()).step_by(7) {
        assert!(
            Saved::decode(&file.slice(..length)).is_err(),
            "{length} bytes"
        );
    }
    for at in (0..file.len()).step_by(7) {
        let mut changed = file.to_vec();
        changed[at] ^= 0x10;
        let refused = Saved::decode(&changed.into()).expect_err("changed");
        let wanted = match at {
            0..8 => matches!(refused, Error::Foreign),
            8..10 => matches!(refused, Error::Version { .. }),
            _ => matches!(refused, Error::Damaged),
        };
        assert!(wanted, "byte {at}: {refused}");
    }
}

/// Other bytes here mean another format: raise its version.
#[test]
fn the_format_is_what_its_version_says() {
    let mut rig = Rig::new(FRAME_MS);
    rig.broadcast(&Source::usual(), 3);
    let file = rig.save().expect("a stream");
    let (body, checksum) = file.split_at(file.len() - 4);
    assert_eq!(crc32fast::hash(body).to_le_bytes(), checksum);
    assert_eq!((body.len(), crc32fast::hash(body)), (39_057, 1954421032));
}

#[test]
fn every_codec_of_a_stream_is_known_again() {
    let opus = opus::Config::parse(&Bytes::from_static(
        b"OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00\x10\x00\x00",
    ));
    let opus = Config::Opus(opus.expect("real"));
    for config in [avc_small(), avc_large(), aac(48_000, true), opus] {
        let (codec, record) = Codec::of(&config);
        assert_eq!(codec.config(record.to_vec()), Ok(config));
    }
}

/// A stream whose head was changed at some bytes, and its checksum mended: as good as the worst file can be.
fn forged(file: &Bytes, changes: &[(prop::sample::Index, u8)]) -> Bytes {
    let mut bytes = file.to_vec();
    let head_bytes = u32::from_le_bytes([bytes[10], bytes[11], bytes[12], bytes[13]]);
    for (at, value) in changes {
        bytes[14 + at.index(head_bytes as usize)] = *value;
    }
    let end = bytes.len() - 4;
    let checksum = crc32fast::hash(&bytes[..end]).to_le_bytes();
    bytes[end..].copy_from_slice(&checksum);
    bytes.into()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_forged_file_is_refused_or_becomes_a_stream_that_works(
        starved in any::<bool>(),
        changes in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4),
    ) {
        static FILES: LazyLock<[Bytes; 2]> = LazyLock::new(|| {
            [0, 30_000].map(|silent_ms| {
                let mut rig = Rig::new(FRAME_MS);
                rig.broadcast(&Source::usual(), 3);
                for json in [r#"{"id":"pin","type":"listing.pinned"}"#, r#"{"id":"later","type":"price.changed"}"#] {
                    let event = Event::parse(json.as_bytes()).expect("an event");
                    let at = (event.id == "later").then(|| WallTime(rig.now().wall.0 + 9_000));
                    rig.place(Event { at, ..event }).expect("live");
                }
                rig.push(Input::Close { session: 1, end: End::Lost });
                rig.pass(silent_ms / 2);
                rig.save().expect("a stream")
            })
        });
        let file = forged(&FILES[usize::from(starved)], &changes);
        let Ok(saved) = Saved::decode(&file) else { return Ok(()) };
        let mut now = Rig::new(FRAME_MS).now();
        let Ok(mut stream) = Stream::restore(settings(), saved, now) else { return Ok(()) };
        let drain = |stream: &mut Stream| {
            while let Some(output) = stream.poll() {
                if let Output::Snapshot { snapshot, .. } = output {
                    snapshot.playlist(Form::Full);
                }
            }
            stream.check_invariants();
        };
        drain(&mut stream);
        for _ in 0..3 {
            now.mono += Duration::from_millis(500);
            stream.expire(now);
            drain(&mut stream);
        }
        stream.push(now, Input::Open { session: 1, epoch: 1, named: false, ladder: None, events: crate::engine::cues::Allowance::default() });
        for (ms, item) in Source::usual().items(0, 1_500) {
            let now = Now { mono: now.mono + Duration::from_millis(ms), ..now };
            stream.push(now, Input::Media { session: 1, item });
            drain(&mut stream);
        }
        stream.push(now, Input::End);
        drain(&mut stream);
    }
}
