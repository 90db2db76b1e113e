//! Golden texts of the media playlist.

use bytes::Bytes;

use super::*;
use crate::media::WallTime;

const CONSTANTS: Constants = Constants {
    target_duration: 2,
    part_target_ms: 1002,
    part_hold_back_ms: 3006,
};

/// Segment `msn` of two parts of a second of 90 kHz, the first of them independent.
fn segment(msn: u64) -> Segment {
    let part = |index: u64| Part {
        number: msn * 2 + index,
        duration: 90_000,
        independent: index == 0,
        data: Some(Bytes::from_static(b"media")),
    };
    let start = i64::try_from(msn).expect("small") * 180_000;
    Segment {
        msn,
        start,
        duration: 180_000,
        program_date_time: WallTime(1_767_268_800_000 + start / 90),
        discontinuity: false,
        init: 0,
        parts: vec![part(0), part(1)],
    }
}

fn write(segments: Vec<Segment>, open: Option<&Segment>, ended: bool, form: Form) -> String {
    write_with(segments, open, ended, &[], form)
}

fn write_with(
    segments: Vec<Segment>,
    open: Option<&Segment>,
    ended: bool,
    ranges: &[Range],
    form: Form,
) -> String {
    let segments: Vec<_> = segments.into_iter().map(Arc::new).collect();
    let last = open.or(segments.last().map(|last| &**last));
    let next = last
        .and_then(|last| last.parts.last())
        .map_or(0, |part| part.number + 1);
    let report = Report {
        uri: "../audio/index.m3u8".to_owned(),
        last_msn: 4,
        last_part: 1,
    };
    Playlist {
        constants: &CONSTANTS,
        timescale: Timescale::VIDEO,
        discontinuity_sequence: 0,
        segments: &segments,
        open,
        ranges,
        hint: (!ended).then_some(next),
        reports: &[report],
        ended,
    }
    .write(form)
}

/// The text from the first line that starts with `from` on.
fn tail<'a>(text: &'a str, from: &str) -> &'a str {
    &text[text
        .find(from)
        .unwrap_or_else(|| panic!("no {from} in {text}"))..]
}

#[test]
fn a_list_at_the_live_edge() {
    let mut open = segment(4);
    open.parts.truncate(1);
    open.duration = 90_000;
    let text = write(
        (0..4).map(segment).collect(),
        Some(&open),
        false,
        Form::Full,
    );
    let want = r#"#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:2
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=3.006,CAN-SKIP-UNTIL=12.000
#EXT-X-PART-INF:PART-TARGET=1.002
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-DISCONTINUITY-SEQUENCE:0
#EXT-X-MAP:URI="init0.mp4"
#EXT-X-PROGRAM-DATE-TIME:2026-01-01T12:00:00.000Z
#EXTINF:2.000,
s0.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-01-01T12:00:02.000Z
#EXT-X-PART:DURATION=1.000,URI="p2.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=1.000,URI="p3.m4s"
#EXTINF:2.000,
s1.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-01-01T12:00:04.000Z
#EXT-X-PART:DURATION=1.000,URI="p4.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=1.000,URI="p5.m4s"
#EXTINF:2.000,
s2.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-01-01T12:00:06.000Z
#EXT-X-PART:DURATION=1.000,URI="p6.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=1.000,URI="p7.m4s"
#EXTINF:2.000,
s3.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-01-01T12:00:08.000Z
#EXT-X-PART:DURATION=1.000,URI="p8.m4s",INDEPENDENT=YES
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="p9.m4s"
#EXT-X-RENDITION-REPORT:URI="../audio/index.m3u8",LAST-MSN=4,LAST-PART=1
"#;
    assert_eq!(text, want);
}

fn range(id: &str, duration_ms: Option<u32>, end: Option<WallTime>) -> Range {
    Range {
        id: id.to_owned(),
        kind: "listing.pinned",
        start: WallTime(1_767_268_803_000),
        duration_ms,
        end,
        value: format!(r#"{{"id":"{id}"}}"#),
    }
}

/// Equal texts from the ranges on: what a delta update leaves out is segments alone.
#[test]
fn ranges_stand_above_the_segments_whole_or_not() {
    let list = || (0..9).map(segment).collect::<Vec<_>>();
    let closed = Some(WallTime(1_767_268_803_500));
    let ranges = [
        range("evt_1", None, None),
        range("evt_2", Some(30_040), None),
        range("evt_3", None, closed),
    ];
    let lines = r##"#EXT-X-DATERANGE:ID="evt_1",CLASS="vitrine.listing.pinned",START-DATE="2026-01-01T12:00:03.000Z",X-VITRINE="eyJpZCI6ImV2dF8xIn0"
#EXT-X-DATERANGE:ID="evt_2",CLASS="vitrine.listing.pinned",START-DATE="2026-01-01T12:00:03.000Z",DURATION=30.040,X-VITRINE="eyJpZCI6ImV2dF8yIn0"
#EXT-X-DATERANGE:ID="evt_3",CLASS="vitrine.listing.pinned",START-DATE="2026-01-01T12:00:03.000Z",END-DATE="2026-01-01T12:00:03.500Z",X-VITRINE="eyJpZCI6ImV2dF8zIn0"
"##;
    for (form, before) in [
        (Form::Full, "#EXT-X-DISCONTINUITY-SEQUENCE:0\n"),
        (Form::Delta, "#EXT-X-SKIP:SKIPPED-SEGMENTS=2\n"),
    ] {
        let with = write_with(list(), None, false, &ranges, form);
        let without = write(list(), None, false, form);
        assert_eq!(
            with,
            without.replace(before, &format!("{before}{lines}")),
            "{form:?}"
        );
    }
}

#[test]
fn the_longest_line_of_a_range_is_foreseen() {
    let end = Some(WallTime(1_767_268_803_500));
    for range in [
        range("e", None, end),
        range(&"x".repeat(64), Some(86_400_000), None),
    ] {
        let long = Range {
            value: "x".repeat(1025),
            kind: "listing.unpinned",
            ..range
        };
        let (line, max) = (long.to_string().len() + 1, long.line_bytes_max());
        assert!((line..line + 80).contains(&max), "{line} of {max}");
    }
}

#[test]
fn h5_the_end_takes_the_hint_and_no_promise_away() {
    let text = write(vec![segment(4)], None, true, Form::Full);
    let want = r#"#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:2
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=3.006,CAN-SKIP-UNTIL=12.000
#EXT-X-PART-INF:PART-TARGET=1.002
#EXT-X-MEDIA-SEQUENCE:4
#EXT-X-DISCONTINUITY-SEQUENCE:0
#EXT-X-MAP:URI="init0.mp4"
#EXT-X-PROGRAM-DATE-TIME:2026-01-01T12:00:08.000Z
#EXT-X-PART:DURATION=1.000,URI="p8.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=1.000,URI="p9.m4s"
#EXTINF:2.000,
s4.m4s
#EXT-X-RENDITION-REPORT:URI="../audio/index.m3u8",LAST-MSN=4,LAST-PART=1
#EXT-X-ENDLIST
"#;
    assert_eq!(text, want);
    assert_eq!(write(vec![segment(4)], None, true, Form::Delta), want);
}

#[test]
fn p8_p10_p14_a_new_publisher_after_missing_media() {
    let mut gap = segment(1);
    gap.parts
        .iter_mut()
        .for_each(|part| (part.data, part.independent) = (None, false));
    let mut again = segment(2);
    again.discontinuity = true;
    let mut other = segment(3);
    (other.discontinuity, other.init) = (true, 7);
    let text = write(
        vec![segment(0), gap, again],
        Some(&other),
        false,
        Form::Full,
    );
    let want = r#"s0.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-01-01T12:00:02.000Z
#EXT-X-PART:DURATION=1.000,URI="p2.m4s",GAP=YES
#EXT-X-PART:DURATION=1.000,URI="p3.m4s",GAP=YES
#EXT-X-GAP
#EXTINF:2.000,
s1.m4s
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI="init0.mp4"
#EXT-X-PROGRAM-DATE-TIME:2026-01-01T12:00:04.000Z
#EXT-X-PART:DURATION=1.000,URI="p4.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=1.000,URI="p5.m4s"
#EXTINF:2.000,
s2.m4s
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI="init7.mp4"
#EXT-X-PROGRAM-DATE-TIME:2026-01-01T12:00:06.000Z
#EXT-X-PART:DURATION=1.000,URI="p6.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=1.000,URI="p7.m4s"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="p8.m4s"
#EXT-X-RENDITION-REPORT:URI="../audio/index.m3u8",LAST-MSN=4,LAST-PART=1
"#;
    assert_eq!(tail(&text, "s0.m4s"), want);
}

/// Segments 0 to 8 end at 2, 4 ... 18 s; what ends more than 12 s before the end is skipped.
#[test]
fn b9_a_delta_update_skips_what_ends_beyond_the_boundary_and_no_more() {
    let list = || (0..9).map(segment).collect::<Vec<_>>();
    let mut open = segment(9);
    open.parts.truncate(1);
    open.duration = 90_000;
    for (open, skipped) in [(None, 2), (Some(&open), 3)] {
        let full = write(list(), open, false, Form::Full);
        let delta = write(list(), open, false, Form::Delta);
        let head = format!(
            r#"#EXTM3U
#EXT-X-VERSION:9
#EXT-X-TARGETDURATION:2
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=3.006,CAN-SKIP-UNTIL=12.000
#EXT-X-PART-INF:PART-TARGET=1.002
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-DISCONTINUITY-SEQUENCE:0
#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}
"#
        );
        let last_skipped = format!("s{}.m4s\n", skipped - 1);
        let kept = tail(&full, &last_skipped).strip_prefix(&*last_skipped);
        let map = "#EXT-X-MAP:URI=\"init0.mp4\"\n";
        assert_eq!(delta.strip_prefix(&*format!("{head}{map}")), kept);
    }
}

#[test]
fn b9_tags_of_the_first_segment_kept_stay_and_the_map_in_force_is_repeated() {
    let mut list: Vec<_> = (0..9).map(segment).collect();
    let delta = write(list.clone(), None, false, Form::Delta);
    assert!(
        tail(&delta, "#EXT-X-SKIP").contains("SKIPPED-SEGMENTS=2\n#EXT-X-MAP:URI=\"init0.mp4\"\n"),
        "{delta}"
    );
    list[2].init = 1;
    let delta = write(list.clone(), None, false, Form::Delta);
    assert!(
        tail(&delta, "#EXT-X-SKIP").contains("SKIPPED-SEGMENTS=2\n#EXT-X-MAP:URI=\"init1.mp4\"\n"),
        "{delta}"
    );
    list[2].discontinuity = true;
    let delta = write(list, None, false, Form::Delta);
    assert!(
        delta.contains("SKIPPED-SEGMENTS=2\n#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init1.mp4\"\n"),
        "{delta}"
    );
}

#[test]
fn b9_nothing_to_skip_is_the_whole_list() {
    let list = || (0..7).map(segment).collect::<Vec<_>>();
    assert_eq!(
        write(list(), None, false, Form::Delta),
        write(list(), None, false, Form::Full)
    );
}

#[test]
fn lengths_are_milliseconds_where_exact_and_microseconds_elsewhere() {
    let table = [
        (90_000, 90_000, "1.000"),
        (90_000, 18_090, "0.201"),
        (30_000, 6006, "0.200200"),
        (90_000, 3003 * 6, "0.200200"),
        (48_000, 1024 * 9, "0.192"),
        (48_000, 1024 * 10, "0.213333"),
        (44_100, 1024 * 9, "0.208980"),
        (90_000, 90_000 * 4_294_968 - 1, "4294967.999989"),
        (90_000, 0, "0.000"),
    ];
    for (hz, ticks, want) in table {
        let mut text = Text::with_capacity(0);
        text.seconds(Timescale::new(hz).expect("not zero").at(ticks));
        assert_eq!(text.0, want, "{ticks} / {hz}");
    }
}

#[test]
fn one_allocation_is_enough() {
    let mut open = segment(40);
    open.discontinuity = true;
    let list: Vec<_> = (0..40).map(|msn| Arc::new(segment(msn))).collect();
    let playlist = Playlist {
        constants: &CONSTANTS,
        timescale: Timescale::VIDEO,
        discontinuity_sequence: 0,
        segments: &list,
        open: Some(&open),
        ranges: &[],
        hint: Some(82),
        reports: &[],
        ended: false,
    };
    let estimate = playlist.estimated_len(list.len(), &list[36..]);
    assert!(playlist.write(Form::Full).len() <= estimate);
}
