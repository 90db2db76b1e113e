//! What an operator can do to a live stream (contracts, section 4): cut its publisher, end it, take it down, change what
//! its verdict set.
//!
//! The stream's task carries it out, in total order with claims and media but before whatever waits in the inbox; this
//! side waits for its answer, for a bounded time. Who asked is for the log; whether they may is the caller's business.
//! Disks are waited for here, after the fact, and never by the task.

use std::time::Duration;

use tokio::{sync::oneshot, time::timeout};
use vitrine_core::limits;

pub use super::orders::{Change, Refused, TakenDown};
use super::{
    Live, SessionId,
    claim::Terms,
    orders::{Answer, Order},
};

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
