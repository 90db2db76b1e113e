//! Events of the shop on a stream's timeline (contracts, section 5): bound once, before the renditions part ways.
//!
//! An [`Event`] is bound to a media time and becomes a [`Placed`] whose bytes every rendition carries; the answer to whoever
//! posted it is binding, and the [`Confirmation`] tells where it landed in each rendition.
//!
//! `Cues` belongs to the stream: who may place how much (`budget`), what was answered (`memory`), what lasts (`ranges`), what
//! is repeated (`repeat`). What has a place and waits for its part belongs to the epoch whose times those are (`queue`), as
//! does the clock that wall times are mapped by (`arrival`). A stream without events costs an empty look at each sealed part.

pub(super) mod arrival;
mod budget;
mod memory;
pub(super) mod queue;
pub(super) mod ranges;
mod repeat;
mod rest;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Map, Value};

use self::{budget::Budget, memory::Memory, ranges::Ranges, repeat::Repeat};
use super::epoch::Epoch;
use crate::{
    limits,
    media::{Now, Rendition, WallTime},
    wire::{
        event::{Event, Place, Placed},
        m3u8::range::Range,
    },
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
    fn bits_per_second(self) -> u64 {
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

/// What a stream knows of its events, whatever the epoch.
#[derive(Debug)]
pub(super) struct Cues {
    offset_ms: i64,
    bits_per_second: u64,
    budget: Budget,
    memory: Memory,
    ranges: Ranges,
    repeat: Option<Repeat>,
}

/// Where an event is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// Where its own time says, or at the newest picture; behind what the backend tells, by the offset.
    Told,
    /// At a media time, in milliseconds.
    Media(i64),
}

impl Default for Cues {
    fn default() -> Self {
        Self {
            offset_ms: 0,
            bits_per_second: 0,
            budget: Budget::new(Allowance::default()),
            memory: Memory::default(),
            ranges: Ranges::default(),
            repeat: None,
        }
    }
}

impl Cues {
    /// The publish that is there may carry that from now on.
    pub(super) fn allow(&mut self, now: Now, allowance: Allowance) {
        let most = limits::EVENT_OFFSET_MS_MAX;
        self.offset_ms = allowance.offset_ms.clamp(-most, most).into();
        self.budget.set(now.mono, allowance);
        self.bits_per_second = allowance.bits_per_second();
    }

    /// Bits per second that events may take in every rendition that carries them, their boxes included.
    pub(super) fn bits_per_second(&self) -> u64 {
        self.bits_per_second
    }

    /// What was answered when this event was placed.
    pub(super) fn answer(&self, event: &Event) -> Option<&Placement> {
        self.memory.answer(&event.id)
    }

    /// What playlists list.
    pub(super) fn ranges(&mut self) -> &mut Ranges {
        &mut self.ranges
    }

    /// Places `event` in `epoch`, unless it was before.
    pub(super) fn place_once(
        &mut self,
        now: Now,
        epoch: &mut Epoch,
        event: Event,
        wanted: Wanted,
    ) -> Result<Placement, Refusal> {
        match self.answer(&event) {
            Some(answer) => Ok(answer.clone()),
            None => self.place(now, epoch, event, wanted),
        }
    }

    /// Places `event`, which is not known, in `epoch`.
    pub(super) fn place(
        &mut self,
        now: Now,
        epoch: &mut Epoch,
        event: Event,
        wanted: Wanted,
    ) -> Result<Placement, Refusal> {
        let wanted_ms = match wanted {
            Wanted::Media(ms) => ms,
            Wanted::Told => self.wanted_ms(now, epoch, &event)?,
        };
        let place = epoch.locate(wanted_ms);
        let placed = Placed::new(event, place);
        let (bytes, batch) = (placed.value().len(), placed.event.kind.name == "chat.batch");
        epoch.queue().check(bytes)?;
        self.budget.check(now.mono, bytes as u64, batch)?;
        let range = Range::of(&placed);
        if let Some(range) = &range {
            self.ranges.check(range)?;
        }
        self.budget.take(bytes as u64, batch);
        let ends = placed.place.program_date_time;
        let close = placed.event.close.as_ref();
        let closed = close.map(|id| self.ranges.close(id, ends));
        if let Some(range) = range {
            self.ranges.add(range);
        }
        let placement = Placement {
            place,
            shifted_ms: place.media_time_ms - wanted_ms,
            part: epoch.open_part(place.media_time_ms),
            closed,
        };
        let listed = |id: &str| self.ranges.has(id);
        { &mut self.memory }.keep(&placed.event.id, placement.clone(), listed);
        epoch.enqueue(Arc::new(placed));
        Ok(placement)
    }

    fn wanted_ms(&self, now: Now, epoch: &Epoch, event: &Event) -> Result<i64, Refusal> {
        let Some(at) = event.at else {
            return Ok(epoch.newest_ms() + self.offset_ms);
        };
        let ahead_ms = at.0.saturating_sub(now.wall.0);
        let age_ms = ahead_ms.saturating_neg();
        if age_ms > event.ttl_ms.into() {
            let ttl_ms = event.ttl_ms;
            return Err(Refusal::Stale { age_ms, ttl_ms });
        }
        let max_ms = limits::EVENT_AHEAD_MS_MAX;
        if ahead_ms > max_ms {
            return Err(Refusal::TooFarAhead { ahead_ms, max_ms });
        }
        Ok(epoch.arriving_ms(now) + ahead_ms + self.offset_ms)
    }

    /// An epoch ended before any of its renditions had these: they keep their date-times, in the one that follows. A state
    /// that is repeated is told anew there.
    pub(super) fn place_again(&mut self, epoch: &mut Epoch, events: Vec<Confirmation>) {
        if let Some(repeat) = &mut self.repeat {
            repeat.due = Duration::ZERO;
        }
        for Confirmation { event, .. } in events {
            let known = self.memory.answer(&event.event.id).cloned();
            if known.is_none() && repeat::is_repeat(&event.event) {
                continue;
            }
            let wanted_ms = epoch.media_time_ms(event.place.program_date_time);
            let place = epoch.locate(wanted_ms);
            let placed = Placed::new(event.event.clone(), place);
            if let Some(known) = known {
                let placement = Placement {
                    place,
                    part: None,
                    ..known
                };
                let listed = |id: &str| self.ranges.has(id);
                { &mut self.memory }.keep(&placed.event.id, placement, listed);
            }
            epoch.enqueue(Arc::new(placed));
        }
    }

    /// Repeats `state` from now on; nothing, if it is empty.
    pub(super) fn repeat(&mut self, now: Now, state: Map<String, Value>, seq: Option<u64>) {
        let due = now.mono;
        self.repeat = (!state.is_empty()).then_some(Repeat { state, seq, due });
    }

    /// Tells the state that is repeated, once that is due.
    pub(super) fn tell(&mut self, now: Now, epoch: &mut Epoch) {
        let Some(repeat) = self.repeat.as_mut().filter(|repeat| repeat.due <= now.mono) else {
            return;
        };
        repeat.due = now.mono + limits::STATE_REPEAT;
        let number = epoch.queue().next();
        let event = repeat.event(epoch.number(), number);
        let place = epoch.locate(epoch.newest_ms());
        let placed = Placed::new(event, place);
        if epoch.queue().check(placed.value().len()).is_ok() {
            epoch.enqueue(Arc::new(placed));
        }
    }
}
