//! What a rendition is cut into: segments, and the parts they are chains of.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::WallTime;

/// One media playlist's worth of media. The name is its path segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rendition {
    /// The best picture: the source itself when it qualifies.
    High,
    /// The middle rung.
    Mid,
    /// The lowest rung.
    Low,
    /// The sound.
    Audio,
}

impl Rendition {
    /// All renditions, in the order in which playlists list them.
    pub const ALL: [Self; 4] = [Self::High, Self::Mid, Self::Low, Self::Audio];

    /// The path segment: `high`, `mid`, `low`, `audio`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Mid => "mid",
            Self::Low => "low",
            Self::Audio => "audio",
        }
    }
}

impl fmt::Display for Rendition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A path segment that names no rendition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such rendition, wanted high, mid, low or audio")]
pub struct UnknownRendition;

impl FromStr for Rendition {
    type Err = UnknownRendition;

    fn from_str(name: &str) -> Result<Self, UnknownRendition> {
        Self::ALL
            .into_iter()
            .find(|rendition| rendition.name() == name)
            .ok_or(UnknownRendition)
    }
}

/// A partial segment: what `EXT-X-PART` lists, one CMAF chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Counts through the whole rendition and epoch, so that a preload hint is right even when an unforeseen key frame
    /// starts a new segment. Its URI is `p<number>.m4s`.
    pub number: u64,
    /// Length in ticks of the track's clock.
    pub duration: u32,
    /// Whether it contains a frame at which decoding can start.
    pub independent: bool,
    /// The bytes; `None` for missing media (`GAP=YES`), whose URI answers 404.
    pub data: Option<Bytes>,
}

/// A media segment: the chain of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Media sequence number. Its URI is `s<msn>.m4s`.
    pub msn: u64,
    /// Decode time of its first sample, in ticks since the epoch's first sample.
    pub start: i64,
    /// Length in ticks: to the start of the next segment when complete, else to the end of the last part.
    pub duration: i64,
    /// Wall time of `start`.
    pub program_date_time: WallTime,
    /// Whether `EXT-X-DISCONTINUITY` precedes it.
    pub discontinuity: bool,
    /// Number of the initialization segment it needs: `init<n>.mp4`.
    pub init: u32,
    /// Its parts, oldest first; at least one once listed.
    pub parts: Vec<Part>,
}

impl Segment {
    /// Whether all of it is missing media (`EXT-X-GAP`).
    pub fn gap(&self) -> bool {
        self.parts.iter().all(|part| part.data.is_none())
    }

    /// Where it ends, in ticks since the epoch's first sample.
    pub fn end(&self) -> i64 {
        self.start.saturating_add(self.duration)
    }

    /// Bytes of media it holds.
    pub fn bytes(&self) -> usize {
        self.parts
            .iter()
            .filter_map(|part| part.data.as_ref())
            .map(Bytes::len)
            .sum()
    }
}
