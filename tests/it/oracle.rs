//! Independent witnesses of the playlists: readers that other people wrote, over every golden playlist and over a live
//! stream of the real binary (`docs/conformance.md` says which were looked for, and what each judges).
//!
//! `tests/oracle/lint.mjs` runs hls-parser, which judges, and m3u8-parser, which warns; both must have nothing to say, and
//! must have read what our own reader reads. A text with a fault must be complained of, or this file proves nothing.
//! Their packages come from npm: `make test-setup` fetches them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    daemon::Config,
    judge,
    serve::Live,
    viewer::{Playlist, check_succession},
};

/// Complaints of hls-parser that the draft does not make, and why.
const NOT_IN_THE_DRAFT: [(&str, &str); 2] = [
    (
        "Remove EXT-X-PART tags",
        "it counts three segments where the draft counts three target durations; P9 is tested by our own reader",
    ),
    (
        "at least 85% of PART-TARGET",
        "it knows no exemption of independent parts (4.4.4.9), and all parts of sound are independent",
    ),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What the readers answer, one value per text.
fn ask(texts: &[String]) -> Vec<Value> {
    let answers = judge::ask("lint.mjs", &json!(texts));
    let answers = answers.as_array().expect("a list").clone();
    assert_eq!(answers.len(), texts.len());
    answers
}

/// What is wrong with `text` by the `answer` of the readers, or between their reading and ours.
fn faults(text: &str, answer: &Value) -> Vec<String> {
    let sound = !text.contains("#EXT-X-PART:")
        || text
            .lines()
            .filter(|line| line.starts_with("#EXT-X-PART:"))
            .all(|part| part.contains("INDEPENDENT=YES"));
    let forgiven = |complaint: &str| {
        let known = NOT_IN_THE_DRAFT
            .iter()
            .position(|(known, _)| complaint.contains(known));
        known == Some(0) || (known == Some(1) && sound)
    };
    let mut faults = Vec::new();
    for (reader, said) in answer.as_object().expect("an object per text") {
        for complaint in said["complaints"].as_array().expect("an array") {
            let complaint = complaint.as_str().expect("text");
            if !forgiven(complaint) {
                faults.push(format!("{reader}: {complaint}"));
            }
        }
        let read = &said["read"];
        let media = text.contains("#EXT-X-TARGETDURATION");
        if !media && read.is_null() {
            continue;
        }
        let mut ours = reading(&Playlist::parse(text));
        if reader == "hls-parser" && ours["ranges"].as_array().is_some_and(|all| all.len() > 1) {
            // It keeps one of them.
            let kept = read["ranges"].as_array().filter(|kept| kept.len() == 1);
            let known = kept.is_some_and(|kept| {
                ours["ranges"]
                    .as_array()
                    .is_some_and(|all| all.contains(&kept[0]))
            });
            if known {
                ours["ranges"] = read["ranges"].clone();
            }
        }
        if *read != ours {
            faults.push(format!("{reader} read {read}, we {ours}"));
        }
    }
    faults
}

/// Our own reading, in the words of `lint.mjs`.
fn reading(list: &Playlist) -> Value {
    let first = list.segments.first().map_or(0, |segment| segment.msn);
    let parts = list.segments.iter().flat_map(|segment| &segment.parts);
    let ranges = list.ranges.values().map(|range| {
        let attributes = ["ID", "CLASS", "START-DATE", "X-VITRINE"];
        attributes.map(|name| range.get(name).cloned().unwrap_or_default())
    });
    json!({
        "target_duration": list.target_duration,
        "part_target": list.part_target,
        "msn": first - list.skipped,
        "skipped": list.skipped,
        "segments": list.segments.iter().filter_map(|segment| segment.uri.as_ref()).collect::<Vec<_>>(),
        "parts": parts.map(|part| &part.uri).collect::<Vec<_>>(),
        "hint": list.hint,
        "reports": list.reports,
        "ranges": ranges.collect::<Vec<_>>(),
        "ended": list.ended,
    })
}

fn assert_blameless(texts: &[String]) {
    for (text, answer) in texts.iter().zip(ask(texts)) {
        let faults = faults(text, &answer);
        assert!(faults.is_empty(), "{}\n{text}", faults.join("\n"));
    }
}

/// The playlists in a golden file, each behind a line that names it.
fn golden(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).expect("UTF-8");
    let lists = text.split("== ").skip(1);
    lists
        .filter_map(|named| named.split_once('\n'))
        .map(|(_, list)| list.to_owned())
        .collect()
}

#[test]
fn golden_playlists_are_without_fault() {
    let files = fs::read_dir(root().join("tests/golden")).expect("the folder");
    let files = files.map(|entry| entry.expect("readable").path());
    let lists = files.filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "m3u8")
    });
    let texts: Vec<_> = lists.flat_map(|path| golden(&path)).collect();
    assert!(texts.len() >= 195, "{} playlists", texts.len());
    assert_blameless(&texts);
}

#[test]
fn golden_ranges_are_read_and_faults_in_them_found() {
    let show = golden(&root().join("tests/golden/show.m3u8"));
    let listed = |text: &str| text.matches("#EXT-X-DATERANGE:").count();
    assert!(
        show.iter().filter(|text| listed(text) >= 3).count() >= 2,
        "whole and delta"
    );
    assert_blameless(&show);
    let delta = show
        .iter()
        .find(|text| text.contains("#EXT-X-SKIP:"))
        .expect("a delta");
    let table = [
        ("m3u8-parser", "START-DATE=", "STARTED=", true),
        (
            "m3u8-parser",
            ",DURATION=",
            ",END-ON-NEXT=YES,DURATION=",
            true,
        ),
        ("m3u8-parser", "X-VITRINE=\"e", "X-VITRINE=\"f", false),
        ("hls-parser", "X-VITRINE=\"e", "X-VITRINE=\"f", false),
    ];
    let texts: Vec<_> = { table.iter() }
        .map(|(_, from, to, _)| delta.replace(from, to))
        .collect();
    for ((reader, from, to, complains), (text, answer)) in
        table.iter().zip(texts.iter().zip(ask(&texts)))
    {
        assert_ne!(text, delta, "{from:?} is not there");
        let complained = answer[reader]["complaints"]
            .as_array()
            .is_some_and(|all| !all.is_empty());
        let found = match complains {
            true => complained,
            false => !faults(delta, &answer).is_empty(),
        };
        assert!(found, "{reader} takes {from:?} to be {to:?}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_stream_is_without_fault() {
    let (live, push) = Live::with_history().await;
    let mut texts = vec![live.viewer.text("/live/shop/index.m3u8").await];
    for folder in live.viewer.renditions("shop").await.into_values() {
        let mut whole = live.viewer.playlist(&folder, "").await;
        for _ in 0..8 {
            let (msn, part) = whole.next();
            let asked = format!("{folder}index.m3u8?_HLS_msn={msn}&_HLS_part={part}");
            let delta = live.viewer.text(&format!("{asked}&_HLS_skip=YES")).await;
            assert!(delta.contains("#EXT-X-SKIP:"), "{delta}");
            let newer = live
                .viewer
                .playlist(&folder, &asked[asked.find('?').expect("a query")..])
                .await;
            check_succession(&whole, &newer);
            texts.extend([delta, newer.text.clone()]);
            whole = newer;
        }
    }
    tokio::task::spawn_blocking(move || assert_blameless(&texts))
        .await
        .expect("blameless");
    drop(live);
    push.join().expect("pushed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_that_knows_no_part_finds_picture_and_sound() {
    let live = Live::start(Config::new()).await;
    live.viewer.multivariant("shop").await;
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args([
        "-v",
        "error",
        "-show_entries",
        "stream=codec_name",
        "-of",
        "csv=p=0",
    ]);
    ffprobe.arg(live.daemon.url("/live/shop/index.m3u8"));
    let probed = tokio::task::spawn_blocking(move || ffprobe.output()).await;
    let output = probed.expect("it ran").expect("ffprobe runs");
    let codecs = String::from_utf8_lossy(&output.stdout);
    for codec in ["h264", "aac"] {
        assert!(
            codecs.contains(codec),
            "{codecs}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn a_fault_is_found() {
    let [_, high, _] = &golden(&root().join("tests/golden/30fps-aac48.m3u8"))[..] else {
        panic!("three playlists");
    };
    let skip = "#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n#EXT-X-MAP";
    // Reader, what is changed into what; one table for each, for they judge different things.
    let table = [
        ("hls-parser", "PART-TARGET=0.215", "PART-TARGET=0.199"),
        ("hls-parser", "PART-TARGET=0.215", "PART-TARGET=0.240"),
        (
            "hls-parser",
            "CAN-SKIP-UNTIL=12.000",
            "CAN-SKIP-UNTIL=11.000",
        ),
        ("hls-parser", ",CAN-SKIP", ",HOLD-BACK=5.0,CAN-SKIP"),
        ("hls-parser", "CAN-BLOCK-RELOAD=YES,", ""),
        (
            "hls-parser",
            "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"p30.m4s\"\n",
            "",
        ),
        ("hls-parser", "#EXTINF:1.000,\ns3", "#EXTINF:2.600,\ns3"),
        ("hls-parser", "#EXT-X-MAP", skip),
        (
            "hls-parser",
            "URI=\"p25.m4s\",INDEPENDENT=YES\n",
            "URI=\"p25.m4s\",INDEPENDENT=YES\n#EXT-X-DISCONTINUITY\n",
        ),
        (
            "hls-parser",
            "../audio/",
            "https://elsewhere.example/audio/",
        ),
        (
            "m3u8-parser",
            "PART-HOLD-BACK=0.645",
            "PART-HOLD-BACK=0.400",
        ),
        (
            "m3u8-parser",
            "DURATION=0.200,URI=\"p27.m4s\"",
            "URI=\"p27.m4s\"",
        ),
        ("m3u8-parser", ":TYPE=PART,", ":"),
        ("m3u8-parser", "URI=\"../audio/index.m3u8\",", ""),
        ("m3u8-parser", "PART-INF:PART-TARGET=0.215", "PART-INF:X=1"),
    ];
    let texts: Vec<_> = table
        .iter()
        .map(|(_, from, to)| high.replacen(from, to, 1))
        .collect();
    for ((reader, from, to), (text, answer)) in table.iter().zip(texts.iter().zip(ask(&texts))) {
        assert_ne!(text, high, "{from:?} is not there");
        let complaints: Vec<_> = answer[reader]["complaints"]
            .as_array()
            .expect("an array")
            .iter()
            .map(|said| said.as_str().unwrap_or_default())
            .collect();
        let own = complaints
            .iter()
            .any(|said| !said.contains(NOT_IN_THE_DRAFT[0].0));
        assert!(own, "{reader} takes {from:?} to be {to:?}: {complaints:?}");
    }
    // What is read differently is found too.
    let other = ask(&[high.replace("p27.m4s", "p72.m4s")]);
    assert!(!faults(high, &other[0]).is_empty());
}
