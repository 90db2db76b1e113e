//! Placed events at rest: what one process leaves to the next, so that a restart loses nothing.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Cue,
    queue::{Queue, Sealed},
};
use crate::{
    engine::saved,
    limits,
    media::{Rendition, WallTime},
    wire::event::{Event, Place, Placed},
};

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
pub(in crate::engine) fn event(value: &str) -> Result<Event, saved::Error> {
    Event::parse(value.as_bytes()).map_err(|_| saved::contradiction("an event cannot be read"))
}

pub(in crate::engine) fn place(
    epoch: u64,
    media_time_ms: i64,
    date_time_ms: i64,
) -> Result<Place, saved::Error> {
    Ok(Place {
        epoch,
        media_time_ms: saved::number(media_time_ms)?,
        program_date_time: WallTime(saved::number(date_time_ms)?),
    })
}
