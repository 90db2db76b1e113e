//! Events of the shop, as the task of the stream has the engine place them, and hears where they stand.

use tokio::time::Instant;
use vitrine_core::{
    engine::cues::{Confirmation, Placement, Refusal},
    wire::event::Event,
};

use super::Task;
use crate::live::meters;

impl Task {
    /// Has `event` placed; outputs are to be carried out next.
    pub(super) fn place(&mut self, event: Event) -> Result<Placement, Refusal> {
        let (id, kind) = (event.id.clone(), event.kind.name);
        let placed = self.stream.place(self.clock.now(), event);
        let stream = &self.shared.id;
        match &placed {
            Ok(placement) => tracing::debug!(
                %stream,
                event = id,
                kind,
                epoch = placement.place.epoch,
                media_time_ms = placement.place.media_time_ms,
                shifted_ms = placement.shifted_ms,
                "event taken"
            ),
            Err(refusal) => tracing::debug!(%stream, event = id, kind, "event refused: {refusal}"),
        }
        placed
    }

    /// An event stands in the stream. A repeated state is nothing that happened.
    pub(super) fn confirm(&mut self, confirmation: &Confirmation) {
        let placed = &confirmation.event;
        if placed.event.kind.name == REPEAT {
            return;
        }
        meters::event_placed(&confirmation.missing);
        tracing::debug!(
            stream = %self.shared.id,
            event = placed.event.id,
            copies = confirmation.copies.len(),
            missing = confirmation.missing.len(),
            "event placed"
        );
        self.publication.placed(placed);
        self.shared.status().events_placed += 1;
        self.shared.chronicle().placed(confirmation);
    }

    /// Tells backends where events stand, when it is time to.
    pub(super) fn tell_placed(&self) {
        let wall = self.clock.now().wall;
        self.shared.chronicle().tell_placed(Instant::now(), wall);
    }
}

/// What the engine makes of a state that is repeated.
const REPEAT: &str = "state.repeat";
