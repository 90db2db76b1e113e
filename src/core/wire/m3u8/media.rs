//! Stub: the media playlist.
use std::sync::Arc;

use crate::media::{Segment, Timescale};

/// The timing promises of a playlist: fixed when its epoch begins, never changed in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constants {
    /// `EXT-X-TARGETDURATION`, seconds.
    pub target_duration: u32,
    /// `PART-TARGET`, milliseconds.
    pub part_target_ms: u32,
    /// `PART-HOLD-BACK`, milliseconds; at least three part targets.
    pub part_hold_back_ms: u32,
}

/// `EXT-X-RENDITION-REPORT`: how far another rendition has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Relative URI of the other playlist, e.g. `../audio/index.m3u8`.
    pub uri: String,
    /// Its last segment's number, complete or not.
    pub last_msn: u64,
    /// Index of the last part within that segment.
    pub last_part: u64,
}

/// Which text of a playlist: whole, or a delta update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Every segment in the window.
    Full,
    /// `EXT-X-SKIP` in place of the segments beyond the skip boundary.
    Delta,
}

/// A media playlist, ready to be written.
#[derive(Clone, Copy, Debug)]
pub struct Playlist<'a> {
    /// Timing promises.
    pub constants: &'a Constants,
    /// Clock of the segments' ticks.
    pub timescale: Timescale,
    /// `EXT-X-DISCONTINUITY-SEQUENCE`.
    pub discontinuity_sequence: u64,
    /// The complete segments in the window, oldest first.
    pub segments: &'a [Arc<Segment>],
    /// The segment still growing, with at least one part.
    pub open: Option<&'a Segment>,
    /// Number of the part that the preload hint names; `None` once ended.
    pub hint: Option<u64>,
    /// The other renditions.
    pub reports: &'a [Report],
    /// `EXT-X-ENDLIST`.
    pub ended: bool,
}

impl Playlist<'_> {
    /// The text in `form`; the delta falls back to the whole when there is nothing to skip.
    pub fn write(&self, _form: Form) -> String {
        todo!()
    }
}
