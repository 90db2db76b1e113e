//! The player catches what it is there to catch: a correct life of two versions, then one fault at a time in the
//! second version's text, each found under its own rule.

use std::cell::RefCell;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use super::*;

const HEADER: &str = "#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:1
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.800,CAN-SKIP-UNTIL=6.000
#EXT-X-PART-INF:PART-TARGET=0.580
";

/// The line of a range that starts at `second` of the minute, `rest` behind its start.
fn range(id: &str, second: &str, rest: &str) -> String {
    let start = format!("2026-01-01T12:00:{second}Z");
    let event = format!(r#"{{"id":"{id}","pdt":"{start}","type":"slide.changed"}}"#);
    let value = BASE64_URL_SAFE_NO_PAD.encode(event);
    format!(
        r#"#EXT-X-DATERANGE:ID="{id}",CLASS="vitrine.slide.changed",START-DATE="{start}"{rest},X-VITRINE="{value}""#
    ) + "\n"
}

/// One that is over when segment 0 leaves, one whose end is known, one that lasts.
fn ranges(first: u64) -> String {
    let over = range("over", "00.500", ",DURATION=0.400");
    let left = if first > 0 { "" } else { &over };
    let long = range("long", "02.500", ",DURATION=30.000");
    format!("{left}{long}{}", range("open", "03.500", ""))
}

/// A list of one-second segments `first..=last` of two parts each, and `open` parts of the next; segment 2 begins with
/// a discontinuity, segment 4 is missing. `skipped` of them are.
fn text(first: u64, last: u64, open: u64, skipped: u64) -> String {
    let mut text = HEADER.to_owned();
    if skipped > 0 {
        text = text.replace("VERSION:6", "VERSION:9");
    }
    text += &format!(
        "#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-DISCONTINUITY-SEQUENCE:{}\n",
        u64::from(first > 2)
    );
    if skipped > 0 {
        text += &format!("#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}\n");
    }
    text += &ranges(first);
    for msn in first + skipped..=last + 1 {
        let parts = if msn > last { open } else { 2 };
        if parts == 0 {
            continue;
        }
        if msn == 2 {
            text += "#EXT-X-DISCONTINUITY\n";
        }
        if msn == first || msn == 2 {
            text += "#EXT-X-MAP:URI=\"init0.mp4\"\n";
        }
        text += &format!("#EXT-X-PROGRAM-DATE-TIME:2026-01-01T12:00:{msn:02}.000Z\n");
        let to_edge = (last + 1) * 1000 + open * 500 - (msn + 1) * 1000 * u64::from(msn <= last);
        if msn > last || to_edge <= 3000 {
            for part in 0..parts {
                let independent = if part == 0 && msn != 4 {
                    ",INDEPENDENT=YES"
                } else {
                    ""
                };
                let gap = if msn == 4 { ",GAP=YES" } else { "" };
                text += &format!(
                    "#EXT-X-PART:DURATION=0.500,URI=\"p{}.m4s\"{independent}{gap}\n",
                    msn * 2 + part
                );
            }
        }
        if msn <= last {
            text += if msn == 4 { "#EXT-X-GAP\n" } else { "" };
            text += &format!("#EXTINF:1.000,\ns{msn}.m4s\n");
        }
    }
    text + &format!(
        "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"p{}.m4s\"\n",
        (last + 1) * 2 + open
    )
}

/// Versions in order; the last is published with its text changed by `fault`.
fn play(fault: impl Fn(&mut String, &mut String)) -> Checked {
    play_with(fault, |uri, _| Some(uri.len() as u64))
}

fn play_with(
    fault: impl Fn(&mut String, &mut String),
    fetch: impl Fn(&str, bool) -> Option<u64>,
) -> Checked {
    let mut player = Player::new(34.0).wanting_independent_segments();
    let end = RefCell::new(0);
    // Part p<n> exists once the edge has passed it; segment 4 never does.
    let there = |uri: &str, last: bool| {
        let part = uri
            .strip_prefix('p')
            .and_then(|rest| rest.strip_suffix(".m4s"));
        let part = part.and_then(|number| number.parse::<u64>().ok());
        let gap = matches!(uri, "s4.m4s" | "p8.m4s" | "p9.m4s");
        if gap || part.is_some_and(|part| part >= *end.borrow()) {
            None
        } else {
            fetch(uri, last)
        }
    };
    let versions = [(0, 8, 0, 2), (0, 8, 1, 3), (1, 9, 0, 2), (1, 9, 1, 3)];
    for (index, (first, last, open, skipped)) in versions.into_iter().enumerate() {
        let final_one = index == versions.len() - 1;
        *end.borrow_mut() = (last + 1) * 2 + open;
        let (mut full, mut delta) = (text(first, last, open, 0), text(first, last, open, skipped));
        if final_one {
            fault(&mut full, &mut delta);
        }
        let now_ms = (last * 1000 + open * 500) as i64;
        player.check(now_ms, Rendition::High, &full, &delta, &|uri| {
            there(uri, final_one)
        })?;
    }
    Ok(())
}

/// The same change in both texts.
fn both(from: &'static str, to: &'static str) -> impl Fn(&mut String, &mut String) {
    move |full, delta| {
        assert!(full.contains(from), "no {from:?} to change in {full}");
        *full = full.replace(from, to);
        *delta = delta.replace(from, to);
    }
}

#[test]
fn a_correct_life_passes() {
    assert_eq!(play(|_, _| {}), Ok(()));
}

#[test]
fn every_changed_text_is_caught_by_its_rule() {
    let table = [
        ("T1", "TARGETDURATION:1", "TARGETDURATION:0"),
        (
            "T2",
            "DURATION=0.500,URI=\"p20.m4s\"",
            "DURATION=0.601,URI=\"p20.m4s\"",
        ),
        (
            "T2",
            "DURATION=0.500,URI=\"p18.m4s\",INDEPENDENT=YES",
            "DURATION=0.400,URI=\"p18.m4s\"",
        ),
        ("T3", "12:00:07.000Z", "12:00:07.040Z"),
        (
            "T3",
            "DURATION=0.500,URI=\"p19.m4s\"",
            "DURATION=0.400,URI=\"p19.m4s\"",
        ),
        ("T7", "PART-HOLD-BACK=1.800", "PART-HOLD-BACK=1.739"),
        (
            "T8",
            "CAN-SKIP-UNTIL=6.000",
            "HOLD-BACK=2.900,CAN-SKIP-UNTIL=6.000",
        ),
        ("T9", "CAN-SKIP-UNTIL=6.000", "CAN-SKIP-UNTIL=5.999"),
        ("P0", "#EXT-X-PRELOAD-HINT", "#EXT-X-PRELOAD-HINTS"),
        ("P3", "#EXT-X-GAP\n", ""),
        (
            "P10",
            "#EXTINF:1.000,\ns9.m4s",
            "#EXT-X-GAP\n#EXTINF:1.000,\ns9.m4s",
        ),
        ("P1", "MEDIA-SEQUENCE:1", "MEDIA-SEQUENCE:0"),
        ("P1", "DISCONTINUITY-SEQUENCE:0", "DISCONTINUITY-SEQUENCE:1"),
        ("P2", "#EXT-X-DISCONTINUITY-SEQUENCE:0\n", ""),
        ("P3", "URI=\"p17.m4s\"", "URI=\"p17.m4s\",INDEPENDENT=YES"),
        ("P3", "s6.m4s", "t6.m4s"),
        (
            "P5",
            "#EXT-X-PART-INF",
            "#EXT-X-PLAYLIST-TYPE:EVENT\n#EXT-X-PART-INF",
        ),
        ("P6", "VERSION:6", "VERSION:10"),
        (
            "P7",
            "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T12:00:05.000Z\n",
            "",
        ),
        ("P11", "PART-HOLD-BACK=1.800", "PART-HOLD-BACK=1.900"),
        (
            "P14",
            "#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init0.mp4\"\n",
            "#EXT-X-DISCONTINUITY\n",
        ),
        (
            "P14",
            "#EXT-X-MAP:URI=\"init0.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:2026-01-01T12:00:01.000Z\n",
            "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T12:00:01.000Z\n",
        ),
        ("H1", "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"p21.m4s\"\n", ""),
        ("H2", "URI=\"p20.m4s\"", "URI=\"p30.m4s\""),
        (
            "H2",
            "TYPE=PART,URI=\"p21.m4s\"",
            "TYPE=PART,URI=\"p20.m4s\"",
        ),
        (
            "H5",
            "URI=\"p21.m4s\"\n",
            "URI=\"p21.m4s\"\n#EXT-X-ENDLIST\n",
        ),
        ("H8", "URI=\"p18.m4s\",INDEPENDENT=YES", "URI=\"p18.m4s\""),
        (
            "R1",
            "TYPE=PART,URI=\"p21.m4s\"\n",
            "TYPE=PART,URI=\"p21.m4s\"\n#EXT-X-RENDITION-REPORT:URI=\"../high/index.m3u8\",LAST-MSN=1,LAST-PART=1\n",
        ),
    ];
    for (rule, from, to) in table {
        let found = play(both(from, to)).expect_err(rule);
        assert_eq!(found.rule, rule, "{from:?} to {to:?}: {found:?}");
    }
}

#[test]
fn ranges_that_are_not_what_they_were_are_caught() {
    let rule = |from: &str, to: &str| {
        let (from, to) = (from.to_owned(), to.to_owned());
        let found = play(move |full, delta| {
            for text in [full, delta] {
                assert!(text.contains(&from), "no {from:?} to change in {text}");
                *text = text.replace(&from, &to);
            }
        });
        found.map_err(|found| found.rule)
    };
    let [long, open] = [("02.500", ",DURATION=30.000"), ("03.500", "")];
    let long = range("long", long.0, long.1);
    let open = range("open", open.0, open.1);
    let start = "START-DATE=\"2026-01-01T12:00:03.500Z\"";
    let end = |second: &str| format!("{start},END-DATE=\"2026-01-01T12:00:{second}Z\"");
    assert_eq!(rule(start, &end("09.000")), Ok(()), "it was closed");
    assert_eq!(rule(start, &end("03.000")), Err("D1"), "before it began");
    assert_eq!(rule(&format!(",{start}"), ""), Err("D1"));
    assert_eq!(rule(&long, ""), Err("D2"));
    assert_eq!(rule(&open, ""), Err("D2"));
    assert_eq!(rule(start, &format!("{start},X-MORE=\"1\"")), Err("D3"));
    assert_eq!(rule("DURATION=30.000", "DURATION=31.000"), Err("D3"));
    assert_eq!(rule(&open, &open.repeat(2)), Err("D3"));
    let over = range("over", "00.500", ",DURATION=0.400");
    let back = format!("{open}{over}");
    assert_eq!(rule(&open, &back), Err("D3"), "it came back");
    assert_eq!(
        rule("DURATION=30.000", "DURATION=30.000,END-ON-NEXT=YES"),
        Err("D5")
    );
    assert_eq!(rule(start, &format!("{start},COLOUR=\"red\"")), Err("D8"));
    let other = range("open2", "03.500", "").replace("open2", "open");
    assert_eq!(rule(&open, &other), Err("D8"), "the event of another");
    let hidden = play(|_, delta| *delta = delta.replace(&open, ""));
    assert_eq!(hidden.map_err(|found| found.rule), Err("D7"));
}

#[test]
fn parts_before_their_tags_or_far_from_the_end_are_caught() {
    let date = "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T12:00:10.000Z\n";
    let part = "#EXT-X-PART:DURATION=0.500,URI=\"p20.m4s\",INDEPENDENT=YES\n";
    let swapped = play(|full, delta| {
        for text in [full, delta] {
            *text = text.replace(&format!("{date}{part}"), &format!("{part}{date}"));
        }
    });
    assert_eq!(swapped.map_err(|found| found.rule), Err("P8"));
    let late = both(
        "#EXTINF:1.000,\ns6.m4s",
        "#EXT-X-PART:DURATION=0.500,URI=\"p12.m4s\",INDEPENDENT=YES\n#EXT-X-PART:DURATION=0.500,URI=\"p13.m4s\"\n#EXTINF:1.000,\ns6.m4s",
    );
    assert_eq!(play(late).map_err(|found| found.rule), Err("P9"));
    let early = both(
        "#EXT-X-PART:DURATION=0.500,URI=\"p14.m4s\",INDEPENDENT=YES\n#EXT-X-PART:DURATION=0.500,URI=\"p15.m4s\"\n",
        "",
    );
    assert_eq!(play(early).map_err(|found| found.rule), Err("P9"));
}

#[test]
fn a_delta_update_that_does_not_add_up_is_caught() {
    let skip_less = |_: &mut String, delta: &mut String| *delta = text(1, 9, 1, 2);
    let skip_more = |_: &mut String, delta: &mut String| *delta = text(1, 9, 1, 4);
    let miscount =
        |_: &mut String, delta: &mut String| *delta = delta.replace("SEGMENTS=3", "SEGMENTS=2");
    let alter = |_: &mut String, delta: &mut String| *delta = delta.replace("p19", "p91");
    for fault in [skip_less, skip_more, miscount, alter] {
        assert_eq!(play(fault).map_err(|found| found.rule), Err("B9"));
    }
    let whole = |full: &mut String, delta: &mut String| delta.clone_from(full);
    assert_eq!(play(whole).map_err(|found| found.rule), Err("B8"));
    let version =
        |_: &mut String, delta: &mut String| *delta = delta.replace("VERSION:9", "VERSION:6");
    assert_eq!(play(version).map_err(|found| found.rule), Err("P6"));
}

#[test]
fn bytes_that_are_missing_or_others_are_caught() {
    let but = |lost: &'static str, bytes: Option<u64>| {
        play_with(
            |_, _| {},
            move |uri, last| {
                if last && uri == lost {
                    bytes
                } else {
                    Some(uri.len() as u64)
                }
            },
        )
        .map_err(|found| found.rule)
    };
    assert_eq!(but("s9.m4s", None), Err("H7"), "404 where there were bytes");
    assert_eq!(but("p20.m4s", None), Err("H7"), "listed but never there");
    assert_eq!(but("s5.m4s", Some(99)), Err("P4"), "other bytes");
    assert_eq!(but("s0.m4s", None), Err("H6"), "left the list a moment ago");
    assert_eq!(
        but("p13.m4s", None),
        Err("H6"),
        "its tag left the list a moment ago"
    );
    assert_eq!(
        but("p21.m4s", None),
        Ok(()),
        "the hinted part is not there yet"
    );
}

/// Two renditions at one moment; `audio` is the other one's text.
fn play_two(report: &str, audio: impl Fn(String) -> String) -> Checked {
    let mut player = Player::new(34.0).wanting_spread_ms(600);
    let fetch = |uri: &str| {
        (uri < "p20" || uri.len() < 7)
            .then_some(1)
            .filter(|_| uri != "s4.m4s")
    };
    let plain = text(3, 9, 0, 0);
    for now_ms in [10_000, 10_001] {
        let high = plain.clone() + report;
        player.check(now_ms, Rendition::High, &high, &high, &fetch)?;
        let own = "#EXT-X-RENDITION-REPORT:URI=\"../high/index.m3u8\",LAST-MSN=9,LAST-PART=1\n";
        let low = audio(plain.clone()) + own;
        player.check(now_ms, Rendition::Audio, &low, &low, &fetch)?;
    }
    player.settle()
}

#[test]
fn renditions_that_disagree_are_caught() {
    let report = "#EXT-X-RENDITION-REPORT:URI=\"../audio/index.m3u8\",LAST-MSN=9,LAST-PART=1\n";
    assert_eq!(play_two(report, |text| text), Ok(()));
    let rule = |report: &str, from: &str, to: &str| {
        let checked = play_two(report, |text| text.replace(from, to));
        checked.expect_err("a fault").rule
    };
    assert_eq!(rule("", "", ""), "R1", "no report");
    assert_eq!(
        rule(&report.replace("PART=1", "PART=0"), "", ""),
        "R1",
        "a report that lags"
    );
    assert_eq!(
        rule(&report.replace("MSN=9", "MSN=10"), "", ""),
        "R1",
        "a report of what never was"
    );
    assert_eq!(rule(&report.repeat(2), "", ""), "R1", "two reports");
    let open = range("open", "03.500", "");
    assert_eq!(rule(report, &open, ""), "D4", "a range of one alone");
    assert_eq!(rule(report, "SEQUENCE:1", "SEQUENCE:2"), "R2");
    assert_eq!(rule(report, "BACK=1.800", "BACK=1.900"), "P11");
    assert_eq!(rule(report, ".000Z", ".036Z"), "R3");
    let behind = report.replace("MSN=9", "MSN=7");
    let checked = play_two(&behind, |_| text(3, 7, 0, 0).replace("p16", "p20"));
    assert_eq!(
        checked.expect_err("it lags").rule,
        "R2",
        "two seconds behind"
    );
}

#[test]
fn a_draft_playlist_parses_like_m3u8_rs_reads_it() {
    let text = "#EXTM3U
#EXT-X-TARGETDURATION:4
#EXT-X-VERSION:6
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.0,CAN-SKIP-UNTIL=24.0
#EXT-X-PART-INF:PART-TARGET=0.33334
#EXT-X-MEDIA-SEQUENCE:266
#EXT-X-DISCONTINUITY-SEQUENCE:0
#EXT-X-MAP:URI=\"init.mp4\"
#EXT-X-PROGRAM-DATE-TIME:2019-02-14T02:13:36.106Z
#EXTINF:4.00008,
fileSequence266.mp4
#EXTINF:4.00008,
fileSequence267.mp4
#EXT-X-PART:DURATION=0.33334,URI=\"filePart268.0.mp4\"
#EXT-X-PART:DURATION=0.33334,URI=\"filePart268.1.mp4\",INDEPENDENT=YES
#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"filePart268.2.mp4\"
#EXT-X-RENDITION-REPORT:URI=\"../1M/waitForMSN.php\",LAST-MSN=268,LAST-PART=1
";
    let list = Playlist::parse(text).expect("it parses");
    list.agrees_with_m3u8_rs(text).expect("both read the same");
    assert_eq!(list.edge(), Some((268, 1)));
    assert_eq!(list.micros(), 2 * 4_000_080 + 2 * 333_340);
    assert_eq!(list.segments[1].map.as_deref(), Some("init.mp4"));
    assert_eq!(list.segments[1].date_time_ms, None);
    assert_eq!(list.reports[0].edge, (268, 1));
}
