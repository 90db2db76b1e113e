//! Callbacks that are never lost: events written to disk, then posted to every endpoint until it has taken them.
//!
//! [`Outbox::record`] never waits. One thread writes what was recorded, as many events per commit as there are
//! (SQLite): with an event it writes its number in its stream (`hook_seq`, gapless) and a delivery for each
//! endpoint that wants it. A task per endpoint posts them, signed, first attempts in order, and tries again by
//! a schedule. At least once: the process may be killed at any moment, and an event keeps its
//! id and its bytes whatever happens. Volatile events are neither numbered nor written.
//!
//! What an event says is the program's to know. Wire: Standard Webhooks 1.0 (`vitrine_core::wire::sign`).

mod endpoint;

use std::sync::Arc;

use serde_json::{Map, Value};
use vitrine_core::media::WallTime;

pub use self::endpoint::{Endpoint, Types};

/// Something that happened to a subject (a stream), to be told at least once, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Whom it happened to: events of one subject are numbered and leave in order. A stream's id.
    pub subject: String,
    /// The `type`, such as `stream.started`.
    pub kind: &'static str,
    /// When it happened.
    pub at: WallTime,
    /// The `data`, to which `hook_seq` is added.
    pub data: Map<String, Value>,
    /// What it does to the subject's life; see [`Outbox::unfinished`].
    pub life: Life,
}

/// What an event does to the life of its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It begins.
    Begins,
    /// It goes on, or is over and stays so.
    Goes,
    /// It ends.
    Ends,
}

/// Something of which only the latest matters: told once, if at all, and never written to disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Volatile {
    /// The `type`, such as `thumbnail.updated`.
    pub kind: &'static str,
    /// What it is about, with its type: a later one takes the place of one that still waits.
    pub about: String,
    /// When it happened.
    pub at: WallTime,
    /// The `data`.
    pub data: Map<String, Value>,
    /// How several become one.
    pub merge: Merge,
}

/// How several volatile events about one thing become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// The latest is told, at once.
    Latest,
    /// One is told for all of ten seconds (`OUTBOX_SUMMARY`), the latest with a `count` of them in its data.
    Count,
}

/// The way to every endpoint. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Outbox(Option<Arc<()>>);

impl Outbox {
    /// Of a program that tells nobody: takes everything, keeps nothing.
    pub fn none() -> Self {
        Self(None)
    }

    /// Writes `event` down, soon, and has it delivered from then on. Never waits: what finds the queue full, because the
    /// disk has not answered for long, is lost, logged and counted, and leaves a gap in the subject's numbers.
    pub fn record(&self, event: Event) {
        let _ = (self, event);
    }

    /// Tells `event`, or a later one like it. Never waits, keeps nothing.
    pub fn tell(&self, event: Volatile) {
        let _ = (self, event);
    }

    /// The subjects whose lives had begun and not ended when the outbox was opened, by name, each with the data of its
    /// latest event: what a process that was killed has left.
    pub fn unfinished(&self) -> Vec<(String, Map<String, Value>)> {
        Vec::new()
    }

    /// Deliveries that match `filter`, the newest first: those after `cursor` ([`Page::next`] of the page before), `limit`
    /// at most.
    ///
    /// # Errors
    /// [`Error::Cursor`] for a cursor that is none, [`Error::Disk`].
    pub async fn deliveries(
        &self,
        filter: &Filter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page, Error> {
        let _ = (filter, cursor, limit);
        Ok(Page::default())
    }

    /// Delivers `delivery` (its id) again, now, whatever became of it; its schedule begins anew.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Disk`].
    pub async fn retry(&self, delivery: &str) -> Result<Delivery, Error> {
        Err(Error::Unknown(delivery.to_owned()))
    }

    /// Delivers again every event since `since` that is still kept, to all endpoints that want it or to one (by its name
    /// or URL); returns how many deliveries these are.
    ///
    /// # Errors
    /// [`Error::NoEndpoint`], [`Error::Disk`].
    pub async fn replay(&self, since: WallTime, endpoint: Option<&str>) -> Result<u64, Error> {
        let _ = since;
        match endpoint {
            Some(name) => Err(Error::NoEndpoint(name.to_owned())),
            None => Ok(0),
        }
    }
}

/// One event on its way to one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// `dlv_`, the event's ULID, `_` and the number of the endpoint: the same through all attempts.
    pub id: String,
    /// The event's id: `webhook-id` of every attempt.
    pub event: String,
    /// The event's `type`.
    pub kind: String,
    /// Whom the event happened to.
    pub subject: String,
    /// Its number among the subject's events.
    pub hook_seq: u64,
    /// When it happened.
    pub at: WallTime,
    /// The endpoint's URL, without what may be secret in it (userinfo, query).
    pub endpoint: String,
    /// What became of it.
    pub state: State,
    /// Attempts made since it was recorded, retried or replayed.
    pub attempts: u32,
    /// HTTP status of the latest attempt, if it was answered.
    pub last_status: Option<u16>,
    /// What went wrong with the latest attempt, in words.
    pub last_error: Option<String>,
    /// When the next attempt is due, if one is.
    pub next_attempt: Option<WallTime>,
    /// When it was delivered or given up.
    pub settled_at: Option<WallTime>,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Attempts are made, or will be.
    Pending,
    /// The endpoint has taken it.
    Delivered,
    /// Given up: a dead letter. It can be retried.
    Dead,
    /// Not attempted: its endpoint is not configured any more, or has answered 410.
    Parked,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Delivered, Self::Dead, Self::Parked];

    /// Its name in the control API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Parked => "parked",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// Which deliveries are asked for; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// What became of them.
    pub state: Option<State>,
    /// Name or URL of their endpoint.
    pub endpoint: Option<String>,
    /// Whom the event happened to.
    pub subject: Option<String>,
}

/// Some of the deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The newest first.
    pub deliveries: Vec<Delivery>,
    /// Where the next page begins, when there is more.
    pub next: Option<String>,
}

/// Why the outbox does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cursor is not of a page before.
    #[error("the cursor is not one of ours")]
    Cursor,
    /// The disk does not do its part.
    #[error("the outbox cannot be read or written: {0}")]
    Disk(#[from] rusqlite::Error),
    /// No endpoint of that name or URL is configured.
    #[error("no endpoint {0:?} is configured")]
    NoEndpoint(String),
    /// There is no such delivery, or it is not kept any more.
    #[error("no delivery {0:?} is kept")]
    Unknown(String),
}
