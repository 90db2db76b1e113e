//! Events of one epoch that have a place: first they wait for the part that holds it to be sealed, then for every rendition
//! that is to carry them.
//!
//! In the order of their times, and of those with one time in that in which they were placed. Each leaves exactly once: as a
//! [`Confirmation`], or, when the epoch ends before any rendition had it, to be placed anew.

use std::{collections::BTreeMap, sync::Arc};

use super::{Confirmation, Cue, Refusal};
use crate::{
    limits,
    media::{MediaTime, Rendition},
    wire::event::Placed,
};

/// Where an event landed in a rendition: media sequence number and number of the part; `None` where it never will.
pub(in crate::engine) type Landing = (u32, Option<(u64, u64)>);

/// The events of an epoch.
#[derive(Debug, Default)]
pub(in crate::engine) struct Queue {
    pub(in crate::engine) next: u32,
    /// By time in milliseconds, and number.
    pub(in crate::engine) waiting: BTreeMap<(i64, u32), Arc<Placed>>,
    /// Sealed into a part, by number.
    pub(in crate::engine) sealed: BTreeMap<u32, Sealed>,
    /// Of the texts of both.
    pub(in crate::engine) bytes: usize,
}

#[derive(Debug)]
pub(in crate::engine) struct Sealed {
    pub(in crate::engine) event: Arc<Placed>,
    pub(in crate::engine) copies: Vec<(Rendition, u64, u64)>,
    pub(in crate::engine) missing: Vec<Rendition>,
    /// Renditions that have it before them.
    pub(in crate::engine) owed: Vec<Rendition>,
}

impl Queue {
    /// The number that the next event gets.
    pub(in crate::engine) fn next(&self) -> u32 {
        self.next
    }

    /// Whether there is room for a text of `bytes`.
    ///
    /// # Errors
    /// [`Refusal::TooMany`].
    pub(in crate::engine) fn check(&self, bytes: usize) -> Result<(), Refusal> {
        let count = self.waiting.len() + self.sealed.len();
        let fits = count < limits::EVENTS_WAITING_MAX
            && self.bytes + bytes <= limits::EVENTS_WAITING_BYTES_MAX;
        fits.then_some(()).ok_or(Refusal::TooMany {
            what: "events that wait for their pictures",
            retry_after_ms: 1000,
        })
    }

    /// Takes an event that has its place.
    pub(in crate::engine) fn push(&mut self, event: Arc<Placed>) {
        self.bytes += event.value().len();
        let key = (event.place.media_time_ms, self.next);
        self.waiting.insert(key, event);
        self.next = self.next.wrapping_add(1);
    }

    /// Whether there is an event for a part that ends at `until`.
    pub(in crate::engine) fn waits_before(&self, until: MediaTime) -> bool {
        let first = self.waiting.first_key_value();
        first.is_some_and(|((ms, _), _)| MediaTime::from_ms(*ms) < until)
    }

    /// The first event, for the renditions `of` to carry.
    pub(in crate::engine) fn due(&mut self, of: Vec<Rendition>) -> Option<Cue> {
        let ((media_time_ms, number), event) = self.waiting.pop_first()?;
        let emsg = event.emsg(number);
        let sealed = Sealed {
            event,
            copies: Vec::new(),
            missing: Vec::new(),
            owed: of,
        };
        self.sealed.insert(number, sealed);
        Some(Cue {
            number,
            media_time_ms,
            emsg,
        })
    }

    /// Whether some are on their way through the renditions.
    pub(in crate::engine) fn is_owed(&self) -> bool {
        !self.sealed.is_empty()
    }

    /// What became of an event in `rendition`.
    pub(in crate::engine) fn landed(&mut self, rendition: Rendition, (number, at): Landing) {
        let Some(sealed) = self.sealed.get_mut(&number) else {
            return;
        };
        let Some(owed) = sealed.owed.iter().position(|owed| *owed == rendition) else {
            return;
        };
        sealed.owed.remove(owed);
        match at {
            Some((msn, part)) => sealed.copies.push((rendition, msn, part)),
            None => sealed.missing.push(rendition),
        }
    }

    /// Renditions are those that `exists` tells: others carry nothing, and nobody misses them.
    pub(in crate::engine) fn disown(&mut self, exists: impl Fn(Rendition) -> bool) {
        for sealed in self.sealed.values_mut() {
            sealed.owed.retain(|owed| exists(*owed));
        }
    }

    /// Those that stand in every rendition, or never will.
    pub(in crate::engine) fn confirmed(&mut self) -> impl Iterator<Item = Confirmation> {
        let done = { self.sealed.iter() }.filter(|(_, sealed)| sealed.owed.is_empty());
        let done: Vec<_> = done.map(|(number, _)| *number).collect();
        done.into_iter().filter_map(|number| {
            let sealed = self.sealed.remove(&number)?;
            self.bytes -= sealed.event.value().len();
            Some(sealed.confirm())
        })
    }

    /// Asserts what must always hold, `open` being where the open part began; for tests and fuzzing.
    pub(in crate::engine) fn check_invariants(&self, open: MediaTime) {
        let events = self
            .waiting
            .values()
            .chain(self.sealed.values().map(|it| &it.event));
        let bytes: usize = events.map(|event| event.value().len()).sum();
        assert_eq!(bytes, self.bytes, "the bytes that wait are counted");
        let count = self.waiting.len() + self.sealed.len();
        assert!(count <= limits::EVENTS_WAITING_MAX, "{count} events wait");
        assert!(!self.waits_before(open), "what is published takes no event");
    }

    /// The epoch, whose renditions `of` carry events, ends: what some have, and what none will.
    pub(in crate::engine) fn end(self, of: &[Rendition]) -> (Vec<Confirmation>, Vec<Confirmation>) {
        let sealed = self.sealed.into_values().map(Sealed::confirm);
        let waiting = self.waiting.into_values().map(|event| Confirmation {
            event,
            copies: Vec::new(),
            missing: of.to_vec(),
        });
        sealed
            .chain(waiting)
            .partition(|confirmation| !confirmation.copies.is_empty())
    }
}

impl Sealed {
    fn confirm(mut self) -> Confirmation {
        self.copies.sort();
        self.missing.append(&mut self.owed);
        self.missing.sort();
        Confirmation {
            event: self.event,
            copies: self.copies,
            missing: self.missing,
        }
    }
}
