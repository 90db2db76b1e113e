//! Events at rest: what one process leaves to the next, so that a restart places nothing twice and loses nothing.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{
    Cue, Cues, Placement,
    memory::Memory,
    queue::{Queue, Sealed},
    ranges::Ranges,
    repeat::Repeat,
};
use crate::{
    engine::saved,
    limits,
    media::{Now, Rendition, WallTime},
    wire::{
        event::{Event, Place, Placed},
        m3u8::range::Range,
    },
};

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

impl Queue {
    /// The events that have their place.
    pub(in crate::engine) fn save(&self) -> saved::Queue {
        let event = |number: u32, event: &Placed, sealed: Option<&Sealed>| saved::Event {
            number,
            media_time_ms: event.place.media_time_ms,
            program_date_time_ms: event.place.program_date_time.0,
            value: event.value().to_owned(),
            sealed: sealed.map(|sealed| saved::Sealed {
                copies: { sealed.copies.iter() }
                    .map(|(rendition, msn, part)| (saved::index(*rendition), *msn, *part))
                    .collect(),
                missing: sealed.missing.iter().copied().map(saved::index).collect(),
                owed: sealed.owed.iter().copied().map(saved::index).collect(),
            }),
        };
        let waiting = { self.waiting.iter() }.map(|((_, number), it)| event(*number, it, None));
        let sealed = { self.sealed.iter() }
            .map(|(number, sealed)| event(*number, &sealed.event, Some(sealed)));
        saved::Queue {
            next: self.next,
            events: waiting.chain(sealed).collect(),
        }
    }

    /// What [`Self::save`] left of `epoch`, and what each rendition still has before it, in order.
    ///
    /// # Errors
    /// What in it cannot be.
    pub(in crate::engine) fn restore(
        saved: saved::Queue,
        epoch: u64,
    ) -> Result<(Self, Vec<(Rendition, Cue)>), saved::Error> {
        let mut queue = Self {
            next: saved.next,
            ..Self::default()
        };
        let count = saved.events.len();
        saved::hold(count <= limits::EVENTS_WAITING_MAX, "more events than wait")?;
        let mut owed = BTreeMap::new();
        for saved in saved.events {
            let number = saved.number;
            let place = place(epoch, saved.media_time_ms, saved.program_date_time_ms)?;
            let placed = Arc::new(Placed::new(event(&saved.value)?, place));
            queue.bytes += placed.value().len();
            let key = (place.media_time_ms, number);
            let twice = match saved.sealed {
                None => queue.waiting.insert(key, placed).is_some(),
                Some(left) => {
                    let sealed = restored(left, Arc::clone(&placed))?;
                    let cue = Cue {
                        number,
                        media_time_ms: place.media_time_ms,
                        emsg: placed.emsg(number),
                    };
                    owed.insert(key, (sealed.owed.clone(), cue));
                    queue.sealed.insert(number, sealed).is_some()
                }
            };
            saved::hold(!twice && number < queue.next, "an event twice")?;
        }
        let each = |(of, cue): (Vec<Rendition>, Cue)| {
            { of.into_iter() }.map(move |rendition| (rendition, cue.clone()))
        };
        Ok((queue, owed.into_values().flat_map(each).collect()))
    }
}

fn restored(saved: saved::Sealed, event: Arc<Placed>) -> Result<Sealed, saved::Error> {
    let all = |indices: Vec<u8>| -> Result<Vec<_>, saved::Error> {
        indices.into_iter().map(saved::rendition).collect()
    };
    let copies = { saved.copies.into_iter() }
        .map(|(index, msn, part)| Ok((saved::rendition(index)?, msn, part)))
        .collect::<Result<Vec<_>, saved::Error>>()?;
    let sealed = Sealed {
        event,
        copies,
        missing: all(saved.missing)?,
        owed: all(saved.owed)?,
    };
    let copied = sealed.copies.iter().map(|(rendition, ..)| rendition);
    let mut every: Vec<_> = copied.chain(&sealed.missing).chain(&sealed.owed).collect();
    let count = every.len();
    every.sort();
    every.dedup();
    saved::hold(every.len() == count, "an event twice in a rendition")?;
    Ok(sealed)
}

/// The event that is told by `value`, its text in the stream.
fn event(value: &str) -> Result<Event, saved::Error> {
    Event::parse(value.as_bytes()).map_err(|_| saved::contradiction("an event cannot be read"))
}

fn place(epoch: u64, media_time_ms: i64, date_time_ms: i64) -> Result<Place, saved::Error> {
    Ok(Place {
        epoch,
        media_time_ms: saved::number(media_time_ms)?,
        program_date_time: WallTime(saved::number(date_time_ms)?),
    })
}
