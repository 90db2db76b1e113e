//! What a stream does with events: those that are posted, those that its publisher sends between its media, and the state
//! that is repeated.
//!
//! An event is placed while playlists grow with media. Where a session is being probed that means: behind what the former
//! one sent, for that is where the new one's media will be; what it sends itself waits with its media, and is placed on its
//! clock.

use std::collections::VecDeque;

use serde_json::{Map, Value};

use super::{Notice, Output, Phase, Stopgap, Stream, cues::Wanted};
use crate::{
    engine::{
        cues::{Allowance, Clock, Placement, Refusal},
        epoch::Epoch,
        timeline::Timeline,
    },
    limits,
    media::{MediaTime, Now},
    wire::event::Event,
};

/// Events that a publisher sent while its media was probed.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// With when it came, and its timestamp.
    events: VecDeque<(Now, u32, Event)>,
    /// Whether it was told that some are not placed.
    told: bool,
}

impl Held {
    /// Keeps an event; the oldest gives way, for a reason.
    fn push(&mut self, event: (Now, u32, Event)) -> Option<Refusal> {
        self.events.push_back(event);
        let full = self.events.len() > limits::EVENTS_HELD_MAX;
        full.then(|| {
            self.events.pop_front();
            Refusal::TooMany {
                what: "events before its media is known",
                retry_after_ms: 0,
            }
        })
    }
}

impl Stream {
    /// Places `event`, which came at `now`; one that was placed before, by its id, gets the same answer again. Outputs are
    /// drained as after an input.
    ///
    /// # Errors
    /// [`Refusal`]; nothing was placed.
    pub fn place(&mut self, now: Now, event: Event) -> Result<Placement, Refusal> {
        self.tick(now);
        let placed = self.bind(now, event);
        self.publish();
        placed
    }

    /// Repeats `state`, an object, every [`limits::STATE_REPEAT`] as an event `state.repeat`, for players that come late;
    /// `seq` is the number of the last event it takes into account. An empty one is repeated no more. While nothing arrives
    /// it waits for media.
    ///
    /// # Errors
    /// [`Refusal::NotLive`].
    pub fn repeat(
        &mut self,
        now: Now,
        state: Map<String, Value>,
        seq: Option<u64>,
    ) -> Result<(), Refusal> {
        if self.epoch.is_none() {
            return Err(Refusal::NotLive);
        }
        self.cues.repeat(now, state, seq);
        self.tick(now);
        self.publish();
        Ok(())
    }

    /// The clock of the running epoch at `now`; `None` while nothing is shown.
    pub fn clock(&self, now: Now) -> Option<Clock> {
        self.epoch.as_ref()?.clock(now)
    }

    /// Whether playlists grow with media, or will as soon as it is known what the session sends.
    pub(super) fn grows(&self) -> bool {
        match self.stopgap() {
            Some(Stopgap::Gaps) => false,
            Some(Stopgap::Slate) => true,
            None => self.session.is_some(),
        }
    }

    fn bind(&mut self, now: Now, event: Event) -> Result<Placement, Refusal> {
        if let Some(answer) = self.cues.answer(&event) {
            return Ok(answer.clone());
        }
        let grows = self.grows();
        let epoch = self.epoch.as_mut().ok_or(Refusal::NotLive)?;
        match grows {
            true => self.cues.place(now, epoch, event, Wanted::Told),
            false => Err(Refusal::Starving),
        }
    }

    /// What events the session that is there may carry.
    pub(super) fn allow(&mut self, now: Now, events: Allowance) {
        self.cues.allow(now, events);
        if let Some(epoch) = &mut self.epoch {
            epoch.promise_events(self.cues.bits_per_second());
        }
    }

    /// An event came between the session's media, whose clock said `timestamp`.
    pub(super) fn event(&mut self, now: Now, timestamp: u32, event: Event) {
        let grows = self.grows();
        let Some(session) = &mut self.session else {
            return;
        };
        let refused = match (&session.phase, &mut self.epoch) {
            (Phase::Live(timeline), Some(epoch)) if grows => {
                let wanted = wanted(epoch, timeline, now, timestamp);
                { self.cues.place_once(now, epoch, event, wanted) }.err()
            }
            (Phase::Live(_), _) => Some(Refusal::Starving),
            (Phase::Probing(_), _) => session.held.push((now, timestamp, event)),
        };
        self.tell_refusal(refused);
    }

    /// Places the events that wait with the session's media and came before `until` (monotonic), or all.
    pub(super) fn place_held(&mut self, until: Option<Now>, timeline: &Timeline) {
        loop {
            let (Some(session), Some(epoch)) = (&mut self.session, &mut self.epoch) else {
                return;
            };
            let due = |came: &Now| until.is_none_or(|until| came.mono < until.mono);
            let first = session.held.events.front();
            if !first.is_some_and(|(came, ..)| due(came)) {
                return;
            }
            let Some((came, timestamp, event)) = session.held.events.pop_front() else {
                return;
            };
            let wanted = wanted(epoch, timeline, came, timestamp);
            let placed = self.cues.place_once(came, epoch, event, wanted);
            self.tell_refusal(placed.err());
        }
    }

    /// Once a session: a publisher has nobody to be answered.
    fn tell_refusal(&mut self, refusal: Option<Refusal>) {
        if let (Some(refusal), Some(session)) = (refusal, &mut self.session)
            && !std::mem::replace(&mut session.held.told, true)
        {
            let notice = Notice::EventRefused(refusal);
            self.outputs.push_back(Output::Notice(notice));
        }
    }
}

/// Where `timestamp` is in the epoch; the newest picture, before the session's clock is known.
fn wanted(epoch: &Epoch, timeline: &Timeline, now: Now, timestamp: u32) -> Wanted {
    let at = timeline.media_time(now.mono, timestamp);
    Wanted::Media(at.map_or_else(|| epoch.newest_ms(), MediaTime::ms))
}
