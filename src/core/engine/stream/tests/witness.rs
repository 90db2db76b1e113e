//! A reader of the boxes in front of every part, as it is published: which events stand in it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

use crate::{
    engine::window::Snapshot,
    media::{Rendition, Timescale},
    wire::id3,
};

/// A copy of an event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Copy {
    pub(super) id: String,
    /// Its own media time in milliseconds.
    pub(super) t: i64,
    pub(super) msn: u64,
    pub(super) part: u64,
    /// The whole box.
    pub(super) bytes: Vec<u8>,
    /// Milliseconds at which its part begins and ends, and at which the media before it ended.
    pub(super) begins_ms: i64,
    pub(super) ends_ms: i64,
    pub(super) free_from_ms: i64,
}

/// What one rendition has published.
#[derive(Clone, Debug, Default)]
struct Seen {
    next_part: u64,
    media_end: i64,
    copies: Vec<Copy>,
}

/// What all renditions of all epochs have published.
#[derive(Clone, Debug, Default)]
pub(super) struct Witness(BTreeMap<(u64, Rendition), Seen>);

impl Witness {
    /// Reads what is new in `snapshot`.
    pub(super) fn observe(&mut self, epoch: u64, rendition: Rendition, snapshot: &Snapshot) {
        let seen = self.0.entry((epoch, rendition)).or_default();
        let newest = snapshot.listed.iter().rev().take_while(|segment| {
            let last = segment.parts.last().map(|part| part.number);
            last.is_some_and(|last| last >= seen.next_part)
        });
        let newest = newest.count();
        let listed = &snapshot.listed[snapshot.listed.len() - newest..];
        for segment in listed.iter().chain(&snapshot.open) {
            let mut at = segment.start;
            for part in &segment.parts {
                let begins = at;
                at += i64::from(part.duration);
                let Some(data) = part.data.as_ref().filter(|_| part.number >= seen.next_part)
                else {
                    continue;
                };
                for (id, t, bytes) in events(data) {
                    seen.copies.push(Copy {
                        id,
                        t,
                        msn: segment.msn,
                        part: part.number,
                        bytes,
                        begins_ms: snapshot.timescale.at(begins).ms(),
                        ends_ms: snapshot.timescale.at(at).ticks_at_ceil(Timescale::MILLIS),
                        free_from_ms: snapshot.timescale.at(seen.media_end).ms(),
                    });
                }
                seen.media_end = at;
            }
        }
        seen.next_part = snapshot.next_part;
    }

    /// Every event in a rendition, in the order of its parts.
    pub(super) fn copies(&self, epoch: u64, rendition: Rendition) -> &[Copy] {
        { self.0.get(&(epoch, rendition)) }.map_or(&[], |seen| &seen.copies)
    }

    /// All that was published.
    pub(super) fn all(&self) -> impl Iterator<Item = (u64, Rendition, &[Copy])> {
        { self.0.iter() }.map(|((epoch, rendition), seen)| (*epoch, *rendition, &seen.copies[..]))
    }
}

/// Id, media time and box of every event in front of a part's `moof`; none may stand behind it.
fn events(part: &Bytes) -> Vec<(String, i64, Vec<u8>)> {
    let (mut rest, mut events, mut moof) = (&part[..], Vec::new(), false);
    while let Some(size) = rest.first_chunk().map(|size| u32::from_be_bytes(*size)) {
        let (own, after) = rest.split_at(size as usize);
        rest = after;
        moof |= &own[4..8] == b"moof";
        if &own[4..8] != b"emsg" {
            continue;
        }
        assert!(!moof, "events come before the media");
        let tag = own.windows(4).position(|four| four == b"ID3\x04");
        let (description, value) =
            id3::read_user_text(&own[tag.expect("a tag")..]).expect("a frame of text");
        assert_eq!(description, "vitrine");
        let value: Value = serde_json::from_str(value).expect("JSON");
        let id = value["id"].as_str().expect("an id").to_owned();
        events.push((id, value["t"].as_i64().expect("a time"), own.to_vec()));
    }
    events
}
