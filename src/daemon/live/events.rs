//! Events of the shop on their way to a live stream, and what its clock says (contracts, section 5).
//!
//! They travel through the same inbox as media, so that what was posted before a frame arrived is placed before it; and
//! are answered by the task. This side waits for a bounded time. What it gives up on may be placed all the same: whoever
//! posts it again, by the same id, is told where.

use metrics::histogram;
use serde_json::{Map, Value};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};
use vitrine_core::{
    engine::cues::{Clock, Placement, Refusal},
    limits,
    wire::event::Event,
};

use super::{Live, meters, publisher::Message};

/// Why an event has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unplaced {
    /// It cannot have one.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The stream's task does not answer: it is behind, or about to end.
    #[error("the stream does not answer: it is busy, or it or the server is about to end")]
    Busy,
}

impl Unplaced {
    /// The name in metrics.
    fn outcome(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Refused(refusal) => match refusal {
                Refusal::NotLive => "not_live",
                Refusal::Starving => "starving",
                Refusal::Stale { .. } => "stale",
                Refusal::TooFarAhead { .. } => "too_far_ahead",
                Refusal::TooMany { .. } => "too_many",
                Refusal::RangesFull { .. } => "ranges_full",
                Refusal::RangesTooLarge { .. } => "ranges_too_large",
            },
        }
    }
}

impl Live {
    /// Places an event, or tells again where the one of that id is.
    ///
    /// # Errors
    /// [`Unplaced`].
    pub async fn place(&self, event: Event) -> Result<Placement, Unplaced> {
        let posted = Instant::now();
        let event = Box::new(event);
        let placed = self.ask(|answer| Message::Place { event, answer }).await;
        let placed = placed.and_then(|placed| placed.map_err(Unplaced::from));
        histogram!("vitrine_event_place_seconds").record(posted.elapsed());
        if let Err(unplaced) = &placed {
            meters::event_refused(unplaced.outcome());
        }
        placed
    }

    /// Repeats `state` for players that come late, until another or an empty one; `seq` is the number of the last event
    /// that it takes into account.
    ///
    /// # Errors
    /// [`Unplaced`].
    pub async fn repeat(
        &self,
        state: Map<String, Value>,
        seq: Option<u64>,
    ) -> Result<(), Unplaced> {
        let repeated = self.ask(|answer| Message::Repeat { state, seq, answer });
        Ok(repeated.await??)
    }

    /// The stream's clock.
    ///
    /// # Errors
    /// [`Unplaced`].
    pub async fn clock(&self) -> Result<Clock, Unplaced> {
        let clock = self.ask(|answer| Message::Clock { answer }).await?;
        Ok(clock.ok_or(Refusal::NotLive)?)
    }

    async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<T>) -> Message,
    ) -> Result<T, Unplaced> {
        let (answer, answered) = oneshot::channel();
        let asked = timeout(limits::EVENT_WAIT, async {
            self.inbox().send(message(answer)).await.ok()?;
            answered.await.ok()
        });
        asked.await.ok().flatten().ok_or(Unplaced::Busy)
    }
}
