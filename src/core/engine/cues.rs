//! Events of the shop on a stream's timeline (contracts, section 5): bound once, before the renditions part ways.
//!
//! An [`Event`](crate::wire::event::Event) is bound to a media time and becomes a [`Placed`] whose bytes every rendition carries; the answer to whoever
//! posted it is binding, and the [`Confirmation`] tells where it landed in each rendition.
//!
//! The stream has who may place how much (`budget`), what was answered (`memory`), what lasts (`ranges`), what is repeated
//! (`repeat`). What has a place and waits for its part belongs to the epoch whose times those are (`queue`), as does the
//! clock that wall times are mapped by (`arrival`). A stream without events costs an empty look at each sealed part.

pub(super) mod arrival;
pub(super) mod budget;
pub(super) mod memory;
pub(super) mod queue;
pub(super) mod ranges;
pub(super) mod repeat;
pub(super) mod rest;

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    limits,
    media::{Rendition, WallTime},
    wire::event::{Place, Placed},
};

/// What a publish may place, and how far its pictures stand behind what its backend tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Events a second, lasting; twice as many may come at once.
    pub per_second: u32,
    /// Bytes a second of their JSON texts, lasting; four times as many may come at once.
    pub bytes_per_second: u32,
    /// Milliseconds added to where an event is placed, by its `at` or its arrival: the delay of encoder and network, negative
    /// to place it earlier. Not to what the publisher sends between its media, whose timestamp is exact.
    pub offset_ms: i32,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            per_second: limits::EVENTS_PER_SECOND,
            bytes_per_second: limits::EVENT_BYTES_PER_SECOND,
            offset_ms: 0,
        }
    }
}

impl Allowance {
    /// What that is of every rendition's bits, lasting: texts, and a box around each of as many as can be.
    pub(super) fn bits_per_second(self) -> u64 {
        let bytes = u64::from(self.bytes_per_second);
        let events = (bytes / limits::EVENT_VALUE_BYTES_MIN).min(self.per_second.into());
        8 * (bytes + events * limits::EVENT_BOX_BYTES)
    }
}

/// Where an event was placed: what whoever posted it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Its place; binding.
    pub place: Place,
    /// Milliseconds that it stands behind where it was wanted, because that was published already; 0 when it is there.
    pub shifted_ms: i64,
    /// Media sequence number and index of its part, if that part is open in every rendition.
    pub part: Option<(u64, u64)>,
    /// Whether the range that it was to close was open; `None` when it closes none.
    pub closed: Option<bool>,
}

/// Why an event is not placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no broadcast.
    #[error("the stream is not live")]
    NotLive,
    /// Its publisher is away, and there are no pictures to place it at; it may be back soon.
    #[error("no media arrives: there is no picture to place it at")]
    Starving,
    /// It came too late.
    #[error("older than its ttl_ms: it happened {age_ms} ms ago, {ttl_ms} ms were allowed")]
    Stale {
        /// Milliseconds since it happened.
        age_ms: i64,
        /// Milliseconds that it was allowed to take.
        ttl_ms: u32,
    },
    /// It is for a time that is too far away.
    #[error("at: {ahead_ms} ms ahead, expected at most {max_ms}")]
    TooFarAhead {
        /// Milliseconds until then.
        ahead_ms: i64,
        /// The most that is taken.
        max_ms: i64,
    },
    /// More, or more bytes, than the stream may carry.
    #[error("more {what} than the stream may carry")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// Milliseconds until there is room again.
        retry_after_ms: u64,
    },
    /// The playlists list as many ranges as they may.
    #[error("{open} ranges are listed, at most {max}: close some")]
    RangesFull {
        /// Ranges listed.
        open: usize,
        /// The most there may be.
        max: usize,
    },
    /// The ranges that playlists list would take more bytes than they may.
    #[error("the listed ranges would take {bytes} bytes, at most {max}")]
    RangesTooLarge {
        /// What they would take.
        bytes: usize,
        /// What they may.
        max: usize,
    },
}

/// An event that stands in every rendition that carries it.
#[derive(Clone, Debug, PartialEq)]
pub struct Confirmation {
    /// The event, at its place.
    pub event: Arc<Placed>,
    /// Rendition, media sequence number and part number of each copy.
    pub copies: Vec<(Rendition, u64, u64)>,
    /// Renditions that have no media there, and so no copy.
    pub missing: Vec<Rendition>,
}

/// The clock of a live stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The newest media time, and its program date-time.
    pub newest: Place,
    /// Media sequence number of the newest segment.
    pub msn: u64,
    /// Milliseconds that the program date-time of what arrives now is ahead of the wall clock.
    pub pdt_minus_wall_ms: i64,
    /// The wall clock.
    pub wall: WallTime,
}

/// One event on its way through the renditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cue {
    /// Tells it from the other events of the epoch.
    pub number: u32,
    /// Milliseconds since the epoch's first sample.
    pub media_time_ms: i64,
    /// Its `emsg` box: the same bytes in every rendition.
    pub emsg: Bytes,
}
