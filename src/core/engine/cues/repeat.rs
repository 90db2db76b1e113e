//! The state of a show, repeated for players that come late.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::{
    limits,
    wire::event::{Event, Kind},
};

/// The type of these events.
const TYPE: &str = "state.repeat";

/// A state, and when it is told next.
#[derive(Debug)]
pub(in crate::engine) struct Repeat {
    pub(in crate::engine) state: Map<String, Value>,
    /// Number of the last event that it takes into account.
    pub(in crate::engine) seq: Option<u64>,
    /// Monotonic.
    pub(in crate::engine) due: Duration,
}

impl Repeat {
    /// The event that tells it, the one that gets `number` in `epoch`.
    pub(in crate::engine) fn event(&self, epoch: u64, number: u32) -> Event {
        Event {
            id: format!("repeat_{epoch}_{number}"),
            kind: Kind::parse(TYPE).expect("a type of events"),
            seq: self.seq,
            at: None,
            ttl_ms: limits::EVENT_TTL_MS,
            duration_ms: None,
            close: None,
            data: self.state.clone(),
        }
    }
}

/// Whether this is such an event.
pub(in crate::engine) fn is_repeat(event: &Event) -> bool {
    event.kind.name == TYPE
}
