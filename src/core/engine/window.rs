//! Stub: the sliding list of one rendition, and its immutable published view.
use std::sync::Arc;

use bytes::Bytes;

use crate::{
    media::{Segment, Timescale},
    wire::m3u8::media::{Constants, Form, Playlist, Report},
};

/// One version of a rendition: everything a request can be answered from, immutable.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Timing promises of the epoch.
    pub constants: Constants,
    /// Clock of the ticks.
    pub timescale: Timescale,
    /// `EXT-X-DISCONTINUITY-SEQUENCE`.
    pub discontinuity_sequence: u64,
    /// Complete segments that left the list but stay fetchable, oldest first.
    pub retained: Vec<Arc<Segment>>,
    /// Complete segments in the list, oldest first.
    pub listed: Vec<Arc<Segment>>,
    /// The segment still growing; `None` between segments.
    pub open: Option<Arc<Segment>>,
    /// Number of the next part to come: the preload hint.
    pub next_part: u64,
    /// Number of the next segment to begin.
    pub next_msn: u64,
    /// Initialization segments by number.
    pub inits: Vec<Bytes>,
    /// The other renditions, as they stood when this was published.
    pub reports: Vec<Report>,
    /// Whether `EXT-X-ENDLIST` was written.
    pub ended: bool,
}

impl Snapshot {
    /// The media playlist in `form`.
    pub fn playlist(&self, form: Form) -> String {
        Playlist {
            constants: &self.constants,
            timescale: self.timescale,
            discontinuity_sequence: self.discontinuity_sequence,
            segments: &self.listed,
            open: self.open.as_deref(),
            hint: (!self.ended).then_some(self.next_part),
            reports: &self.reports,
            ended: self.ended,
        }
        .write(form)
    }

    /// The initialization segment `number`.
    pub fn init(&self, number: u32) -> Option<&Bytes> {
        self.inits.get(number as usize)
    }

    /// The complete segment `msn`, listed or retained; gaps included.
    pub fn segment(&self, _msn: u64) -> Option<&Arc<Segment>> {
        todo!()
    }

    /// The bytes of part `number`, listed or retained; `None` for a gap.
    pub fn part(&self, _number: u64) -> Option<&Bytes> {
        todo!()
    }
}

/// The mutable list of one rendition.
#[derive(Debug)]
pub struct Window {}

#[allow(missing_docs, clippy::todo)]
impl Window {
    pub fn new(
        _constants: Constants,
        _timescale: Timescale,
        _length: crate::media::MediaTime,
    ) -> Self {
        todo!()
    }
    pub fn add_init(&mut self, _bytes: Bytes) -> u32 {
        todo!()
    }
    pub fn begin_segment(
        &mut self,
        _start: i64,
        _program_date_time: crate::media::WallTime,
        _discontinuity: bool,
        _init: u32,
    ) {
        todo!()
    }
    pub fn add_part(&mut self, _duration: u32, _independent: bool, _data: Option<Bytes>) {
        todo!()
    }
    pub fn end_segment(&mut self, _next_start: i64) {
        todo!()
    }
    pub fn end(&mut self) {
        todo!()
    }
    pub fn edge(&self) -> Option<(u64, u64)> {
        todo!()
    }
    pub fn end_time(&self) -> i64 {
        todo!()
    }
    pub fn snapshot(&self, _reports: Vec<Report>) -> Snapshot {
        todo!()
    }
    pub fn check_invariants(&self) {
        todo!()
    }
}
