//! What operators want of a stream's task, on its way there: before whatever waits in the inbox, and answered.
//!
//! Plain values; [`operations`](super::operations) sends them, the task carries them out.

use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::oneshot;
use vitrine_core::wire::hook::Events;

use super::{SessionId, claim::Terms};

/// What of its [`Terms`] a publish gets anew; `None` leaves a field as it is.
///
/// Epoch, ladder and stream id are constants of a broadcast and stand in no change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// Whether others may take the stream from this publish.
    pub takeover: Option<bool>,
    /// Highest bitrate in thousand bits a second.
    pub max_kbps: Option<u32>,
    /// How long the publish may last, from when it was accepted; `Some(None)` takes the limit away.
    pub lifetime: Option<Option<Duration>>,
    /// How often admission is asked again; `Some(None)` is never.
    pub revalidate: Option<Option<Duration>>,
    /// What events it may carry.
    pub events: Events,
    /// What is told with every event from now on.
    pub metadata: Option<Map<String, Value>>,
}

impl Change {
    /// Carries it out.
    pub(super) fn apply(self, terms: &mut Terms) {
        fn set<T>(field: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *field = value;
            }
        }
        set(&mut terms.takeover, self.takeover);
        set(&mut terms.max_kbps, self.max_kbps);
        set(&mut terms.lifetime, self.lifetime);
        set(&mut terms.revalidate, self.revalidate);
        terms.allow(self.events);
        set(&mut terms.metadata, self.metadata);
    }
}

/// What was taken down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenDown {
    /// The epochs of which nothing is served any more, oldest first.
    pub epochs: Vec<u64>,
    /// Path under which every copy elsewhere has to go.
    pub purge_prefix: String,
}

/// Why an operation was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no publisher to do it to.
    #[error("nobody publishes this stream")]
    NotPublishing,
    /// It is over already.
    #[error("the stream has ended")]
    Ended,
    /// The stream or the server is about to go, or does not answer.
    #[error("the stream does not answer: it or the server is about to end")]
    Unavailable,
}

/// What travels to a stream's task, before everything else.
#[derive(Debug)]
pub(super) enum Order {
    /// Cut the publisher; ban its key for so long.
    Disconnect {
        ban: Option<Duration>,
        answer: Answer<SessionId>,
    },
    /// End the stream; ban the key for so long.
    End { ban: Duration, answer: Answer<()> },
    /// Serve nothing of it any more.
    TakeDown {
        reason: String,
        answer: Answer<TakenDown>,
    },
    /// Change what the publish may do.
    Change {
        change: Change,
        answer: Answer<Terms>,
    },
    /// Fail as by a fault of ours.
    #[cfg(test)]
    Panic,
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, Refused>>;
