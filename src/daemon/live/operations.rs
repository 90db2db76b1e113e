//! What an operator can do to a live stream (contracts, section 4): cut its publisher, end it, take it down, change what
//! its verdict set.
//!
//! The stream's task carries it out, in total order with claims and media but before whatever waits in the inbox; this
//! side waits for its answer, for a bounded time. Who asked is for the log; whether they may is the caller's business.
//! Disks are waited for here, after the fact, and never by the task.

use std::time::Duration;

use serde_json::{Map, Value};
use tokio::{sync::oneshot, time::timeout};
use vitrine_core::limits;

use super::{Live, SessionId, claim::Terms};

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

impl Live {
    /// Cuts the publisher, whose session is answered; with `ban` its key is refused for so long. The stream waits out its
    /// grace.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn disconnect(&self, by: &str, ban: Option<Duration>) -> Result<SessionId, Refused> {
        let session = self
            .order(|answer| Order::Disconnect { ban, answer })
            .await?;
        let (stream, ban_seconds) = (self.id(), ban.map(|ban| ban.as_secs()));
        tracing::info!(%stream, %session, by, ban_seconds, "publisher disconnected");
        if ban.is_some() {
            self.0.stores.bans.keep().await;
        }
        Ok(session)
    }

    /// Ends the stream now: every playlist gets its `ENDLIST`, the publisher is cut, and its key refused for `ban`
    /// (`None`: [`limits::END_BAN`]), because encoders come back by themselves.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn end(&self, by: &str, ban: Option<Duration>) -> Result<(), Refused> {
        let ban = ban.unwrap_or(limits::END_BAN);
        self.order(|answer| Order::End { ban, answer }).await?;
        tracing::info!(stream = %self.id(), by, "ended by an operator");
        self.0.stores.bans.keep().await;
        Ok(())
    }

    /// Takes the stream down: nothing of it is served any more, the publisher is cut and its key banned until somebody
    /// lifts that. What is asked for after this returns, or waits meanwhile, is answered with 410; that outlives the
    /// process.
    ///
    /// # Errors
    /// [`Refused`]; what could be fetched is taken down all the same.
    pub async fn take_down(&self, by: &str, reason: String) -> Result<TakenDown, Refused> {
        // At once, even if the task is busy; it adds what begins until it hears of it.
        let known = self.renditions().into_iter().map(|(epoch, _, _)| epoch);
        self.0.stores.takedowns.add(self.id(), known, &reason);
        let told = self
            .order(|answer| Order::TakeDown {
                reason: reason.clone(),
                answer,
            })
            .await;
        tracing::warn!(stream = %self.id(), by, reason, "taken down");
        self.0.stores.takedowns.keep().await;
        self.0.stores.bans.keep().await;
        told
    }

    /// Changes what the publish may do while it lasts; answers what holds now.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn change(&self, by: &str, change: Change) -> Result<Terms, Refused> {
        let terms = self
            .order(|answer| Order::Change { change, answer })
            .await?;
        tracing::info!(stream = %self.id(), by, "terms changed");
        Ok(terms)
    }

    #[cfg(test)]
    pub(super) async fn fail(&self) {
        self.0.orders.send(Order::Panic).await.expect("a task");
    }

    async fn order<T>(&self, order: impl FnOnce(Answer<T>) -> Order) -> Result<T, Refused> {
        let (answer, answered) = oneshot::channel();
        let sent = self.0.orders.send(order(answer));
        let done = timeout(limits::ORDER_WAIT, async {
            sent.await.ok()?;
            answered.await.ok()
        });
        done.await
            .ok()
            .flatten()
            .unwrap_or(Err(Refused::Unavailable))
    }
}
