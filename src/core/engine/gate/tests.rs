//! The verdicts, rule by rule, over one list: segments 0 to 2 of two parts each, 2 all missing, and one part of 3.

use bytes::Bytes;

use super::{super::window::Window, *};
use crate::{
    media::{MediaTime, Timescale, WallTime},
    wire::m3u8::media::Constants,
};

fn window(part_target_ms: u32) -> Window {
    let constants = Constants {
        target_duration: 2,
        part_target_ms,
        part_hold_back_ms: 3 * part_target_ms,
    };
    let mut window = Window::new(constants, Timescale::MILLIS, MediaTime::from_ms(60_000));
    let init = window.add_init(Bytes::from_static(b"init"));
    for msn in 0..4 {
        window.begin_segment(msn * 1000, WallTime(msn * 1000), false, init);
        for part in 0..if msn == 3 { 1 } else { 2 } {
            window.add_part(
                500,
                part == 0,
                (msn != 2).then(|| Bytes::from_static(b"part")),
            );
        }
        if msn < 3 {
            window.end_segment((msn + 1) * 1000);
        }
    }
    window
}

fn asked(snapshot: &Snapshot, msn: u64, part: impl Into<Option<u64>>) -> Playlist {
    let directive = Directive {
        at_least: Some((msn, part.into())),
        skip: false,
    };
    playlist(snapshot, directive)
}

const FULL: Playlist = Playlist::Serve(Form::Full);

#[test]
fn b2_b3_b4_b5_over_a_growing_segment() {
    let snapshot = window(501).snapshot(Vec::new());
    let table = [
        // B5: what has passed is answered with what there is now.
        (0, None, FULL),
        (0, Some(0), FULL),
        (0, Some(900), FULL),
        (2, None, FULL),
        (2, Some(1), FULL),
        // B4: past the end of a segment is part 0 of the next, and that is there.
        (2, Some(2), FULL),
        (2, Some(u64::MAX), FULL),
        // B11: never less than asked for.
        (3, None, Playlist::Wait),
        (3, Some(0), FULL),
        (3, Some(1), Playlist::Wait),
        // B3: 5 x 0.501 s is within three seconds of parts, 6 x is not.
        (3, Some(5), Playlist::Wait),
        (3, Some(6), Playlist::TooFar),
        (3, Some(u64::MAX), Playlist::TooFar),
        // hls.js asks for part 0 of a segment to come, whether or not it plays parts.
        (4, Some(0), Playlist::Wait),
        (4, Some(4), Playlist::Wait),
        (4, Some(5), Playlist::TooFar),
        // B2: the last segment is 2.
        (4, None, Playlist::Wait),
        (5, None, Playlist::TooFar),
        (5, Some(0), Playlist::TooFar),
        (u64::MAX, None, Playlist::TooFar),
    ];
    for (msn, part, want) in table {
        assert_eq!(asked(&snapshot, msn, part), want, "{msn} {part:?}");
    }
}

#[test]
fn b2_b4_between_segments() {
    let mut window = window(501);
    window.end_segment(3500);
    let snapshot = window.snapshot(Vec::new());
    let table = [
        (3, None, FULL),
        (3, Some(0), FULL),
        (3, Some(1), Playlist::Wait),
        (4, Some(0), Playlist::Wait),
        (4, None, Playlist::Wait),
        (5, None, Playlist::Wait),
        (6, None, Playlist::TooFar),
    ];
    for (msn, part, want) in table {
        assert_eq!(asked(&snapshot, msn, part), want, "{msn} {part:?}");
    }
}

#[test]
fn b3_three_parts_when_they_last_a_second_or_longer() {
    let snapshot = window(1500).snapshot(Vec::new());
    assert_eq!(asked(&snapshot, 3, 3), Playlist::Wait);
    assert_eq!(asked(&snapshot, 3, 4), Playlist::TooFar);
}

#[test]
fn b7_directives_are_ignored_once_ended() {
    let mut window = window(501);
    window.end_segment(3500);
    window.end();
    let snapshot = window.snapshot(Vec::new());
    let directive = Directive {
        at_least: Some((900, Some(9))),
        skip: true,
    };
    assert_eq!(playlist(&snapshot, directive), FULL);
    assert_eq!(part(&snapshot, snapshot.next_part), Media::Missing);
}

#[test]
fn b8_the_skip_directive_asks_for_a_delta_update() {
    let snapshot = window(501).snapshot(Vec::new());
    let skip = Directive {
        at_least: None,
        skip: true,
    };
    assert_eq!(playlist(&snapshot, skip), Playlist::Serve(Form::Delta));
    assert_eq!(playlist(&snapshot, Directive::default()), FULL);
}

#[test]
fn nothing_is_served_before_the_first_part() {
    let window = Window::new(
        Constants {
            target_duration: 2,
            part_target_ms: 501,
            part_hold_back_ms: 1503,
        },
        Timescale::MILLIS,
        MediaTime::ZERO,
    );
    let mut snapshot = window.snapshot(Vec::new());
    assert_eq!(playlist(&snapshot, Directive::default()), Playlist::Wait);
    assert_eq!(asked(&snapshot, 0, 0), Playlist::Wait);
    snapshot.ended = true;
    assert_eq!(playlist(&snapshot, Directive::default()), FULL);
}

#[test]
fn h3_h4_only_the_hinted_part_is_waited_for_and_gaps_are_missing() {
    let snapshot = window(501).snapshot(Vec::new());
    let parts = [
        (0, Media::Serve),
        (4, Media::Missing),
        (6, Media::Serve),
        (7, Media::Wait),
        (8, Media::Missing),
    ];
    for (number, want) in parts {
        assert_eq!(part(&snapshot, number), want, "part {number}");
    }
    let segments = [
        (0, Media::Serve),
        (2, Media::Missing),
        (3, Media::Missing),
        (9, Media::Missing),
    ];
    for (msn, want) in segments {
        assert_eq!(segment(&snapshot, msn), want, "segment {msn}");
    }
}
