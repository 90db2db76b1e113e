//! A stream at rest: what one process leaves to the next, so that a restart is an outage and not an end.
//!
//! [`Saved`] is made by [`Stream::save`](super::stream::Stream::save) and turned back by `Stream::restore`. It is a
//! purpose-made value, not a copy of anybody's internals: what can be counted (media sequence numbers, part numbers,
//! where a segment begins) is counted again, so that it cannot contradict itself. In bytes:
//!
//! ```text
//! magic 8 | version u16 | head length u32 | head (postcard) | media, one part after another | CRC-32 of all before u32
//! ```
//!
//! Integers are little-endian. Media is never copied: encoding gives a chain of chunks, decoding slices of what was
//! read. Whatever the bytes, decoding and restoring end in a value or an [`Error`], with allocations bounded by their
//! length. Files and when they are written are not known here.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::{
    limits,
    media::{self, Config, Rendition, aac, av1, avc, hevc, mp3, opus},
};

const MAGIC: &[u8; 8] = b"vitrine\n";
/// Of the head: any change of a type below is a new version.
const VERSION: u16 = 3;
const PRELUDE_BYTES: usize = 14;
const CHECKSUM_BYTES: usize = 4;

/// Why bytes are no stream that can be resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes do not begin as a saved stream does.
    #[error("not a saved stream")]
    Foreign,
    /// Another version of this program wrote it.
    #[error("saved in format {got}, wanted {VERSION}")]
    Version {
        /// The format it is in.
        got: u16,
    },
    /// Cut short, or changed since it was written.
    #[error("damaged: length or checksum do not agree")]
    Damaged,
    /// Intact, but nothing that a stream of ours can be.
    #[error("contradicts itself: {what}")]
    Contradiction {
        /// What cannot be.
        what: &'static str,
    },
    /// Nobody waits for it any more.
    #[error("grace of {grace_ms} ms ran out: saved {age_ms} ms ago")]
    Expired {
        /// What was left of its grace when it was saved, in milliseconds.
        grace_ms: u64,
        /// How long ago that was, in milliseconds.
        age_ms: u64,
    },
}

/// A stream at rest.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    pub(super) head: Head,
    /// Initialization segments and parts, in the order in which the head counts them.
    pub(super) media: Vec<Bytes>,
}

impl Saved {
    /// The epoch that goes on.
    pub fn epoch(&self) -> u64 {
        self.head.epoch
    }

    /// The bytes to write, one chunk after another; media is shared, not copied. Two equal values give equal bytes.
    pub fn encode(&self) -> Vec<Bytes> {
        let head = postcard::to_allocvec(&self.head).expect("memory takes every write");
        let mut start = BytesMut::with_capacity(PRELUDE_BYTES + head.len());
        start.put_slice(MAGIC);
        start.put_u16_le(VERSION);
        start.put_u32_le(u32::try_from(head.len()).unwrap_or(u32::MAX));
        start.put_slice(&head);
        let mut chunks = Vec::with_capacity(self.media.len() + 2);
        chunks.push(start.freeze());
        chunks.extend(self.media.iter().cloned());
        let mut checksum = crc32fast::Hasher::new();
        chunks.iter().for_each(|chunk| checksum.update(chunk));
        let checksum = checksum.finalize().to_le_bytes();
        chunks.push(Bytes::copy_from_slice(&checksum));
        chunks
    }

    /// Reads what [`Self::encode`] wrote. The media are slices of `file`.
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::Version`], [`Error::Damaged`], or [`Error::Contradiction`] for a head that is none.
    pub fn decode(file: &Bytes) -> Result<Self, Error> {
        let mut prelude = file.get(..PRELUDE_BYTES).ok_or(Error::Foreign)?;
        if !prelude.starts_with(MAGIC) {
            return Err(Error::Foreign);
        }
        prelude.advance(MAGIC.len());
        let version = prelude.get_u16_le();
        if version != VERSION {
            return Err(Error::Version { got: version });
        }
        let head_bytes = prelude.get_u32_le();
        let end = file.len() - CHECKSUM_BYTES.min(file.len());
        let checksum = crc32fast::hash(&file[..end]).to_le_bytes();
        if end < PRELUDE_BYTES || file[end..] != checksum {
            return Err(Error::Damaged);
        }
        let (head, mut media) = file
            .slice(PRELUDE_BYTES..end)
            .split_at_checked(head_bytes.min(limits::STATE_HEAD_BYTES_MAX))
            .ok_or(Error::Damaged)?;
        let head: Head = match postcard::take_from_bytes(&head) {
            Ok((head, [])) => head,
            Ok(_) | Err(_) => return Err(contradiction("its head is of another shape")),
        };
        let lengths = head.tracks.iter().flat_map(Track::media_bytes);
        let mut parts = Vec::new();
        for length in lengths {
            let (part, rest) = media.split_at_checked(length).ok_or(MEDIA_LENGTH)?;
            parts.push(part);
            media = rest;
        }
        if !media.is_empty() {
            return Err(MEDIA_LENGTH);
        }
        let media = parts;
        Ok(Self { head, media })
    }
}

const MEDIA_LENGTH: Error = contradiction("as much media as its head counts");

pub(super) const fn contradiction(what: &'static str) -> Error {
    Error::Contradiction { what }
}

/// `Ok` where `holds`; else what cannot be.
pub(super) fn hold(holds: bool, what: &'static str) -> Result<(), Error> {
    if holds {
        Ok(())
    } else {
        Err(contradiction(what))
    }
}

/// A tick, millisecond or count that sums of a few cannot overflow.
pub(super) fn number(number: i64) -> Result<i64, Error> {
    let possible = (0..=limits::STATE_NUMBER_MAX).contains(&number);
    hold(possible, "a number is out of range").map(|()| number)
}

/// [`number`] for counts.
pub(super) fn count(count: u64) -> Result<u64, Error> {
    number(i64::try_from(count).unwrap_or(-1)).map(|_| count)
}

/// A rendition as it is saved.
pub(super) fn index(rendition: Rendition) -> u8 {
    match rendition {
        Rendition::High => 0,
        Rendition::Mid => 1,
        Rendition::Low => 2,
        Rendition::Audio => 3,
    }
}

/// The rendition that [`index`] is of.
pub(super) fn rendition(saved: u8) -> Result<Rendition, Error> {
    let known = Rendition::ALL
        .into_iter()
        .find(|known| index(*known) == saved);
    known.ok_or(contradiction("an unknown rendition"))
}

trait Split: Sized {
    fn split_at_checked(self, at: u32) -> Option<(Self, Self)>;
}

impl Split for Bytes {
    fn split_at_checked(self, at: u32) -> Option<(Self, Self)> {
        let at = usize::try_from(at).ok().filter(|at| *at <= self.len())?;
        Some((self.slice(..at), self.slice(at..)))
    }
}

/// All but the media. Times are milliseconds, ticks of 90 kHz, or, in a track, ticks of its own clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) epoch: u64,
    /// Wall time when it was saved.
    pub(super) saved_at_ms: i64,
    /// What was left of the grace then.
    pub(super) grace_ms: u64,
    /// How much of the time without media had no gap yet.
    pub(super) owed_ms: u64,
    /// Whether the epoch was named from outside.
    pub(super) named: bool,
    /// Media time and wall time of the anchor.
    pub(super) anchor_ms: (i64, i64),
    pub(super) bitrates: Vec<Bitrate>,
    /// Bits per second promised for events.
    pub(super) events: u64,
    pub(super) plan: Plan,
    pub(super) cuts: Cuts,
    pub(super) tracks: Vec<Track>,
    pub(super) cues: Cues,
    pub(super) queue: Queue,
}

/// Events of the stream, whatever the epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Cues {
    /// Oldest first.
    pub(super) answers: Vec<Answer>,
    pub(super) ranges: Vec<Range>,
    /// A JSON object, with its number.
    pub(super) repeat: Option<(String, Option<u64>)>,
}

/// What was answered to an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) id: String,
    pub(super) epoch: u64,
    pub(super) media_time_ms: i64,
    pub(super) program_date_time_ms: i64,
    pub(super) shifted_ms: i64,
    pub(super) part: Option<(u64, u64)>,
    pub(super) closed: Option<bool>,
}

/// A range that is listed; the rest is in the text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Range {
    pub(super) start_ms: i64,
    pub(super) end_ms: Option<i64>,
    pub(super) value: String,
}

/// Events of the epoch that have a place and are not everywhere yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Queue {
    /// Number of the next one.
    pub(super) next: u32,
    pub(super) events: Vec<Event>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Event {
    pub(super) number: u32,
    pub(super) media_time_ms: i64,
    pub(super) program_date_time_ms: i64,
    /// Its JSON text.
    pub(super) value: String,
    /// `None` while its part is open, or to come.
    pub(super) sealed: Option<Sealed>,
}

/// By the [`index`] of each rendition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Sealed {
    pub(super) copies: Vec<(u8, u64, u64)>,
    pub(super) missing: Vec<u8>,
    pub(super) owed: Vec<u8>,
}

/// What was promised of a variant, in bits per second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Bitrate {
    pub(super) rendition: u8,
    pub(super) bandwidth: u64,
    pub(super) average: u64,
    /// The segment measured last.
    pub(super) measured_msn: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) frame_rate: Option<(u32, u32)>,
    pub(super) frame_ticks: u32,
    pub(super) part: i64,
    pub(super) segment: i64,
    pub(super) segment_max: i64,
    pub(super) audio_late: i64,
    pub(super) target_duration: u32,
    pub(super) part_target_ms: u32,
    pub(super) part_hold_back_ms: u32,
    pub(super) independent: bool,
    /// Whether the best picture is the source itself.
    pub(super) passes: bool,
}

/// Where the segmenter stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Cuts {
    pub(super) segment_start: i64,
    pub(super) part_start: i64,
    pub(super) next: i64,
    pub(super) sound_next: i64,
    /// Whether the newest segment has media.
    pub(super) media: bool,
    pub(super) broke_independence: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Track {
    /// Its [`index`].
    pub(super) rendition: u8,
    pub(super) codec: Codec,
    /// The codec's configuration record.
    pub(super) record: Vec<u8>,
    /// Initialization segment of the next segment.
    pub(super) init: u32,
    pub(super) fragments: u32,
    pub(super) list: List,
}

impl Track {
    /// Length of each of its initialization segments and parts.
    fn media_bytes(&self) -> impl Iterator<Item = u32> {
        let list = &self.list;
        let retained = list.retained.iter().map(|(segment, _)| segment);
        let parts = retained.chain(&list.listed).flat_map(|left| &left.parts);
        let inits = list.inits.iter().map(|(_, bytes)| *bytes);
        inits.chain(parts.filter_map(|part| part.bytes))
    }
}

/// A window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct List {
    pub(super) length: i64,
    pub(super) discontinuity_sequence: u64,
    /// Numbers of the first segment and of its first part, and where it begins.
    pub(super) first: (u64, u64, i64),
    /// With the time until which each can be fetched.
    pub(super) retained: Vec<(Segment, i64)>,
    /// The last one is open.
    pub(super) listed: Vec<Segment>,
    /// The next segment begins with a discontinuity.
    pub(super) discontinuity: bool,
    /// Number and length in bytes.
    pub(super) inits: Vec<(u32, u32)>,
    pub(super) next_init: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Segment {
    pub(super) program_date_time_ms: i64,
    pub(super) discontinuity: bool,
    pub(super) init: u32,
    pub(super) parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) duration: u32,
    pub(super) independent: bool,
    pub(super) bytes: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Codec {
    Aac,
    Av1,
    Avc,
    Hevc,
    Opus,
    Mp3, // last: what was saved before it was there reads as it did
}

impl Codec {
    /// The codec of `config`, and the record it can be read from again.
    pub(super) fn of(config: &Config) -> (Self, Bytes) {
        match config {
            Config::Aac(aac) => (Self::Aac, aac.record().clone()),
            Config::Av1(av1) => (Self::Av1, av1.record().clone()),
            Config::Avc(avc) => (Self::Avc, avc.record().clone()),
            Config::Hevc(hevc) => (Self::Hevc, hevc.record().clone()),
            Config::Mp3(mp3) => (Self::Mp3, mp3.record().clone()),
            Config::Opus(opus) => (Self::Opus, opus.head()),
        }
    }

    /// The configuration that `record` is.
    pub(super) fn config(self, record: Vec<u8>) -> Result<Config, Error> {
        let record = Bytes::from(record);
        let config: Result<_, media::Error> = match self {
            Self::Aac => aac::Config::parse(&record).map(Config::Aac),
            Self::Av1 => av1::Config::parse(&record).map(Config::Av1),
            Self::Avc => avc::Config::parse(&record).map(Config::Avc),
            Self::Hevc => hevc::Config::parse(&record).map(Config::Hevc),
            Self::Mp3 => mp3::Config::parse(&record).map(Config::Mp3),
            Self::Opus => opus::Config::parse(&record).map(Config::Opus),
        };
        config.map_err(|_| contradiction("a configuration cannot be read"))
    }
}
