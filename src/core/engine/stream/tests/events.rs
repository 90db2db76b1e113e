//! Events of the shop in a whole broadcast: where each lands in every rendition, read from the parts' own boxes.

use std::ops::Range;

use bytes::Bytes;
use serde_json::Value;

use super::{Rig, Source, avc_large, segments};
use crate::{
    engine::{cues::Placement, ladder::Ladder},
    media::Rendition,
    wire::{event::Event, id3},
};

const FRAME_MS: u64 = 50;

fn event(json: &str) -> Event {
    Event::parse(json.as_bytes()).expect("an event")
}

/// A change of price, with that id and other fields.
fn price(id: &str, more: &str) -> Event {
    event(&format!(r#"{{"id":"{id}","type":"price.changed"{more}}}"#))
}

/// The publisher goes on from `ms.start`, which is now, to `ms.end` of its own time.
fn go_on(rig: &mut Rig, source: &Source, ms: Range<u64>) {
    let items = source.items(ms.start, ms.end).into_iter();
    rig.send(items.map(|(at_ms, item)| (at_ms - ms.start, item)));
}

/// A copy of an event in a part.
#[derive(Clone, Debug, PartialEq)]
struct Copy {
    id: String,
    t: i64,
    msn: u64,
    part: u64,
    /// The whole box.
    bytes: Vec<u8>,
    /// Media time, in milliseconds, at which the part's samples begin and the part ends.
    begins_ms: i64,
    ends_ms: i64,
}

/// The boxes of a part that come before its `moof`.
fn boxes(part: &Bytes) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = &part[..];
    std::iter::from_fn(move || {
        let size = u32::from_be_bytes(rest.first_chunk().copied()?) as usize;
        let (own, after) = rest.split_at(size);
        rest = after;
        Some((&own[4..8], own))
    })
}

/// Every event in a rendition, in the order of its parts.
fn copies(rig: &Rig, rendition: Rendition) -> Vec<Copy> {
    let mut copies = Vec::new();
    let scale = rig.shown().snapshots[&rendition].timescale;
    for segment in segments(rig, rendition) {
        let mut at = segment.start;
        for part in &segment.parts {
            let begins_ms = scale.at(at).ms();
            at += i64::from(part.duration);
            for (name, own) in part.data.iter().flat_map(boxes) {
                if name == b"emsg" {
                    let tag = own
                        .windows(4)
                        .position(|four| four == b"ID3\x04")
                        .expect("a tag");
                    let (description, value) = id3::read_user_text(&own[tag..]).expect("a frame");
                    assert_eq!(description, "vitrine");
                    let value: Value = serde_json::from_str(value).expect("JSON");
                    copies.push(Copy {
                        id: value["id"].as_str().expect("an id").to_owned(),
                        t: value["t"].as_i64().expect("a time"),
                        msn: segment.msn,
                        part: part.number,
                        bytes: own.to_vec(),
                        begins_ms,
                        ends_ms: scale.at(at).ticks_at_ceil(crate::media::Timescale::MILLIS),
                    });
                }
            }
        }
    }
    copies
}

#[test]
fn a_posted_event_stands_in_the_part_of_its_picture_with_the_same_bytes_in_every_rendition() {
    let mut rig = Rig::new(FRAME_MS);
    rig.ladder = Some(Ladder::default());
    rig.encoders.behind = 4;
    let mut source = Source::usual();
    source.pictures.as_mut().expect("pictures").config = avc_large();
    rig.broadcast(&source, 10);
    let placement = rig.place(price("evt_1", "")).expect("live");
    let Placement {
        place,
        shifted_ms,
        closed,
        ..
    } = placement;
    assert_eq!((shifted_ms, closed), (0, None));
    assert_eq!(place.media_time_ms, 10_000);
    go_on(&mut rig, &source, 10_000..13_000);
    let pictures = [Rendition::High, Rendition::Mid, Rendition::Low];
    let all: Vec<_> = pictures.map(|rendition| copies(&rig, rendition)).to_vec();
    for found in &all {
        let [copy] = &found[..] else {
            panic!("one copy: {found:?}")
        };
        assert_eq!((&copy.id[..], copy.t), ("evt_1", 10_000));
        assert!((copy.begins_ms..copy.ends_ms).contains(&copy.t), "{copy:?}");
        assert_eq!(copy.bytes, all[0][0].bytes);
    }
    assert_eq!(copies(&rig, Rendition::Audio), []);
    let [confirmation] = &rig.confirmed[..] else {
        panic!("{:?}", rig.confirmed)
    };
    let wanted: Vec<_> = pictures
        .iter()
        .zip(&all)
        .map(|(r, copy)| (*r, copy[0].msn, copy[0].part))
        .collect();
    assert_eq!(
        (&confirmation.copies, &confirmation.missing),
        (&wanted, &vec![])
    );
    assert_eq!(confirmation.event.place, place);
}

#[test]
fn what_lasts_is_in_every_playlist_until_it_is_over() {
    let mut rig = Rig::new(FRAME_MS);
    rig.broadcast(&Source::usual(), 10);
    rig.place(event(r#"{"id":"pin","type":"listing.pinned"}"#))
        .expect("live");
    go_on(&mut rig, &Source::usual(), 10_000..40_000);
    for rendition in [Rendition::High, Rendition::Audio] {
        let playlist = rig.playlist(rendition);
        assert!(
            playlist.contains(r#"#EXT-X-DATERANGE:ID="pin""#),
            "{playlist}"
        );
        assert!(!playlist.contains("END-DATE"));
    }
    let placement = rig.place(event(
        r#"{"id":"unpin","type":"listing.unpinned","close":"pin"}"#,
    ));
    assert_eq!(placement.expect("live").closed, Some(true));
    go_on(&mut rig, &Source::usual(), 40_000..42_000);
    assert!(rig.playlist(Rendition::Audio).contains("END-DATE"));
    go_on(&mut rig, &Source::usual(), 42_000..80_000);
    assert!(!rig.playlist(Rendition::High).contains("DATERANGE"));
}
