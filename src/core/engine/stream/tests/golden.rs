//! Expected playlists and boxes of every customary rhythm, kept as text beside the integration tests. What changes them
//! changes what players see: read the difference, then accept it with `UPDATE_GOLDEN=1`.

use std::{fmt::Write as _, fs, path::PathBuf};

use super::{
    End, ladder, ranges,
    rig::Rig,
    source::{Source, aac, avc_high},
};
use crate::{
    media::{Config, Rendition},
    wire::m3u8::media::Form,
};

pub(super) const RATES: [(&str, (u32, u32)); 13] = [
    ("10", (10, 1)),
    ("12", (12, 1)),
    ("12.5", (25, 2)),
    ("15", (15, 1)),
    ("20", (20, 1)),
    ("23.976", (24_000, 1001)),
    ("24", (24, 1)),
    ("25", (25, 1)),
    ("29.97", (30_000, 1001)),
    ("30", (30, 1)),
    ("50", (50, 1)),
    ("59.94", (60_000, 1001)),
    ("60", (60, 1)),
];

pub(super) fn sounds() -> [(&'static str, Config); 5] {
    [
        ("aac32", aac(32_000, false)),
        ("aac44.1", aac(44_100, false)),
        ("aac48", aac(48_000, false)),
        ("heaac44.1", aac(44_100, true)),
        ("heaac48", aac(48_000, true)),
    ]
}

/// A broadcast of key frames every second, with B-frames.
pub(super) fn rhythm(rate: (u32, u32), sound: Config) -> Source {
    let gop = u64::from(rate.0.div_ceil(rate.1));
    let mut source = Source::new(rate, gop, Some(sound));
    source.pictures.as_mut().expect("pictures").b_frames = true;
    source
}

/// Compares `text` with the golden file `name`, or writes it when asked to.
fn check(name: &str, text: &str, wrong: &mut Vec<String>) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).expect("the golden folder is writable");
    } else if fs::read_to_string(&path).unwrap_or_default() != text {
        wrong.push(name.to_owned());
    }
}

/// A box tree: one line per box with its size, and the payload of small leaves in hexadecimal.
fn boxes(data: &[u8], depth: usize, out: &mut String) {
    const CONTAINERS: [&[u8]; 8] = [
        b"moov", b"trak", b"mdia", b"minf", b"stbl", b"mvex", b"moof", b"traf",
    ];
    let mut rest = data;
    while rest.len() >= 8 {
        let size = u32::from_be_bytes(rest[..4].try_into().expect("four bytes")) as usize;
        let name = &rest[4..8];
        let body = &rest[8..size];
        write!(
            out,
            "{:indent$}{} {size}",
            "",
            String::from_utf8_lossy(name),
            indent = depth * 2
        )
        .expect("memory");
        if CONTAINERS.contains(&name) {
            out.push('\n');
            boxes(body, depth + 1, out);
        } else {
            if name != b"mdat" {
                out.push(' ');
                body.iter()
                    .for_each(|byte| write!(out, "{byte:02x}").expect("memory"));
            }
            out.push('\n');
        }
        rest = &rest[size..];
    }
    assert!(rest.is_empty(), "bytes after the last box");
}

#[test]
fn playlists_and_boxes_of_every_rhythm_are_as_expected() {
    let mut wrong = Vec::new();
    for (rate_name, rate) in RATES {
        for (sound_name, sound) in sounds() {
            let source = rhythm(rate, sound);
            let mut rig = Rig::new(50);
            rig.broadcast(&source, 6);
            let case = format!("{rate_name}fps-{sound_name}");

            let mut text = format!("== index.m3u8\n{}", rig.multivariant().write());
            let mut tree = String::new();
            for rendition in [Rendition::High, Rendition::Audio] {
                write!(
                    text,
                    "== {rendition}/index.m3u8\n{}",
                    rig.playlist(rendition)
                )
                .expect("memory");
                let snapshot = &rig.shown().snapshots[&rendition];
                writeln!(tree, "== {rendition}/init0.mp4").expect("memory");
                boxes(snapshot.init(0).expect("an init"), 0, &mut tree);
                for part in 0..2 {
                    writeln!(tree, "== {rendition}/p{part}.m4s").expect("memory");
                    boxes(snapshot.part(part).expect("a part"), 0, &mut tree);
                }
            }
            check(&format!("{case}.m3u8"), &text, &mut wrong);
            check(&format!("{case}.boxes"), &tree, &mut wrong);
        }
    }
    assert!(
        wrong.is_empty(),
        "not as expected (UPDATE_GOLDEN=1 accepts): {wrong:?}"
    );
}

#[test]
fn the_playlists_of_an_outage_that_a_slate_bridges_are_as_expected() {
    let mut rig = ladder::rig(1);
    rig.encoders.slate = Some(avc_high());
    let source = ladder::large(rhythm((30, 1), aac(48_000, false)));
    rig.broadcast(&source, 4);
    rig.close(End::Lost);
    rig.pass(3_700);
    rig.broadcast(&source, 3);
    let mut text = format!("== index.m3u8\n{}", rig.multivariant().write());
    for rendition in Rendition::ALL {
        let list = rig.playlist(rendition);
        write!(text, "== {rendition}/index.m3u8\n{list}").expect("memory");
    }
    let mut wrong = Vec::new();
    check("slate.m3u8", &text, &mut wrong);
    assert!(wrong.is_empty(), "{wrong:?}: UPDATE_GOLDEN=1 accepts them");
}

#[test]
fn the_playlists_and_boxes_of_a_show_are_as_expected() {
    let (rig, _) = ranges::on_air();
    let (mut text, mut tree) = (String::new(), String::new());
    for (rendition, snapshot) in &rig.shown().snapshots {
        for (name, form) in [("whole", Form::Full), ("delta", Form::Delta)] {
            let list = snapshot.playlist(form);
            write!(text, "== {rendition}/index.m3u8, {name}\n{list}").expect("memory");
        }
        let listed = snapshot.listed.iter().flat_map(|segment| &segment.parts);
        for part in listed {
            let data = part.data.as_deref().unwrap_or_default();
            if data.windows(4).any(|four| four == b"emsg") {
                writeln!(tree, "== {rendition}/p{}.m4s", part.number).expect("memory");
                boxes(data, 0, &mut tree);
            }
        }
    }
    let mut wrong = Vec::new();
    check("show.m3u8", &text, &mut wrong);
    check("show.boxes", &tree, &mut wrong);
    assert!(wrong.is_empty(), "{wrong:?}: UPDATE_GOLDEN=1 accepts them");
}
