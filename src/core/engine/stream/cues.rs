//! What a stream knows of its events, whatever the epoch: what they may cost, what was answered, what lasts, what is
//! repeated. It places each in the epoch that runs ([`crate::engine::cues`]), and is kept over a restart, so that nothing is
//! placed twice.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value};

use crate::{
    engine::{
        cues::{
            Allowance, Confirmation, Placement, Refusal,
            budget::Budget,
            memory::Memory,
            ranges::Ranges,
            repeat::{Repeat, is_repeat},
            rest::{event, place},
        },
        epoch::Epoch,
        saved,
    },
    limits,
    media::{Now, WallTime},
    wire::{
        event::{Event, Placed},
        m3u8::range::Range,
    },
};

/// The events of a stream.
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
            if known.is_none() && is_repeat(&event.event) {
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

impl Cues {
    /// All but what every publish brings anew.
    pub(in crate::engine) fn save(&self) -> saved::Cues {
        let answer = |(id, placement): (&String, &Placement)| saved::Answer {
            id: id.clone(),
            epoch: placement.place.epoch,
            media_time_ms: placement.place.media_time_ms,
            program_date_time_ms: placement.place.program_date_time.0,
            shifted_ms: placement.shifted_ms,
            part: placement.part,
            closed: placement.closed,
        };
        let range = |range: &Range| saved::Range {
            start_ms: range.start.0,
            end_ms: range.end.map(|end| end.0),
            value: range.value.clone(),
        };
        let state = |repeat: &Repeat| (Value::from(repeat.state.clone()).to_string(), repeat.seq);
        saved::Cues {
            answers: self.memory.iter().map(answer).collect(),
            ranges: self.ranges.listed().iter().map(range).collect(),
            repeat: { self.repeat.as_ref() }
                .map(state)
                .filter(|(text, _)| fits_stream(text)),
        }
    }

    /// What [`Self::save`] left.
    ///
    /// # Errors
    /// What in it cannot be.
    pub(in crate::engine) fn restore(saved: saved::Cues, now: Now) -> Result<Self, saved::Error> {
        let mut cues = Self::default();
        saved::hold(
            saved.answers.len() <= limits::EVENTS_REMEMBERED_MAX,
            "more events than are remembered",
        )?;
        cues.memory = restored_memory(saved.answers)?;
        for range in saved.ranges {
            add_range(&mut cues.ranges, range)?;
        }
        if let Some((state, seq)) = saved.repeat {
            saved::hold(fits_stream(&state), "a state larger than any")?;
            let Ok(Value::Object(state)) = serde_json::from_str(&state) else {
                return Err(saved::contradiction("a state that is none"));
            };
            cues.repeat(now, state, seq);
        }
        Ok(cues)
    }
}

/// Whether a state can be told in an event.
fn fits_stream(state: &str) -> bool {
    state.len() <= limits::EVENT_VALUE_BYTES_MAX
}

fn restored_memory(answers: Vec<saved::Answer>) -> Result<Memory, saved::Error> {
    let mut memory = Memory::default();
    for answer in answers {
        let fits = answer.id.len() <= limits::EVENT_ID_BYTES_MAX;
        saved::hold(fits, "an event's id longer than any")?;
        let known = memory.answer(&answer.id).is_some();
        saved::hold(!known, "two answers to one event")?;
        let placement = Placement {
            place: place(
                answer.epoch,
                answer.media_time_ms,
                answer.program_date_time_ms,
            )?,
            shifted_ms: answer.shifted_ms,
            part: answer.part,
            closed: answer.closed,
        };
        memory.keep(&answer.id, placement, |_| false);
    }
    Ok(memory)
}

fn add_range(ranges: &mut Ranges, saved: saved::Range) -> Result<(), saved::Error> {
    let event = event(&saved.value)?;
    let start = WallTime(saved::number(saved.start_ms)?);
    let end = saved.end_ms.map(saved::number).transpose()?.map(WallTime);
    saved::hold(event.is_range(), "a range that does not last")?;
    let open = event.duration_ms.is_none() && end.is_none_or(|end| start <= end);
    saved::hold(end.is_none() || open, "a range that ends twice")?;
    let range = Range {
        id: event.id,
        kind: event.kind.name,
        start,
        duration_ms: event.duration_ms,
        end,
        value: saved.value,
    };
    let fits = ranges.check(&range).is_ok();
    saved::hold(fits, "more ranges than are listed")?;
    let known = ranges.has(&range.id);
    saved::hold(!known, "a range twice")?;
    ranges.add(range);
    Ok(())
}
