//! How long a publish may go on: an age at which it ends, and a backend that is asked again (contracts, section 3:
//! `lifetime_seconds`, `revalidate_seconds`; nginx-rtmp's `on_update`).
//!
//! One task per publish keeps the times, so that whatever the connection does cannot put them off. A backend that says no
//! ends the publish; one that does not answer lets it run, and is asked again soon. The age counts from the acceptance. What
//! holds is what stands in `live::Terms`, whoever wrote it last: an operator, or the backend, whose words are put there.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep_until},
};
use vitrine_core::limits::HOOK_AGAIN_RETRY;

use crate::{
    hooks::{Again, Allowance},
    live::{Fence, Terms},
};

/// Why a publish may not go on, in words for its broadcaster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Over {
    /// It is as old as it may become.
    #[error("{} ({} s)", Fence::Expired, _0.as_secs())]
    Expired(Duration),
    /// Its backend has changed its mind.
    #[error("{reason}")]
    Revoked {
        /// What the backend gave as its reason.
        reason: String,
    },
}

impl Over {
    /// What the stream is told of it.
    pub(super) fn fence(&self) -> Fence {
        match self {
            Self::Expired(_) => Fence::Expired,
            Self::Revoked { .. } => Fence::Revoked,
        }
    }
}

/// How long one publish may go on. Its drop ends the keeping of times, and with it what the backend allowed.
#[derive(Debug)]
pub(super) struct Tenure {
    over: watch::Receiver<Option<Over>>,
    timestamp: Arc<AtomicU32>,
    keeper: AbortHandle,
}

impl Tenure {
    /// Of a publish that was accepted now on these terms.
    pub(super) fn begin(terms: watch::Sender<Terms>, allowance: Option<Allowance>) -> Self {
        let (verdict, over) = watch::channel(None);
        let timestamp = Arc::new(AtomicU32::new(0));
        let mut keeper = Keeper {
            since: Instant::now(),
            revalidate: None,
            asks: None,
            updates: None,
            terms,
            allowance,
            timestamp: Arc::clone(&timestamp),
        };
        keeper.plan_update();
        let keeper = tokio::spawn(async move {
            let over = keeper.keep().await;
            verdict.send_replace(Some(over));
            // Its drop would say that nobody knows.
            pending::<()>().await;
        });
        Self {
            over,
            timestamp,
            keeper: keeper.abort_handle(),
        }
    }

    /// Media of this timestamp (RTMP milliseconds) has come.
    pub(super) fn reached(&self, timestamp: u32) {
        self.timestamp.store(timestamp, Ordering::Relaxed);
    }

    /// Waits until the publish may not go on. Cancel safe.
    pub(super) async fn over(&self) -> Over {
        let mut over = self.over.clone();
        let known = over.wait_for(Option::is_some).await;
        match known.ok().and_then(|over| over.clone()) {
            Some(over) => over,
            // The runtime ends.
            None => pending().await,
        }
    }
}

impl Drop for Tenure {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

struct Keeper {
    since: Instant,
    /// As it was when `asks` was planned.
    revalidate: Option<Duration>,
    /// When the backend is asked next.
    asks: Option<Instant>,
    /// When it is told next.
    updates: Option<Instant>,
    terms: watch::Sender<Terms>,
    allowance: Option<Allowance>,
    timestamp: Arc<AtomicU32>,
}

impl Keeper {
    /// Keeps the times until one of them ends the publish.
    async fn keep(mut self) -> Over {
        let mut changes = self.terms.subscribe();
        self.heed();
        loop {
            let lifetime = self.terms.borrow().lifetime;
            let expires = lifetime.map(|lifetime| self.since + lifetime);
            // Also while the backend takes its time.
            let over = tokio::select! {
                biased;
                () = until(expires) => Some(Over::Expired(lifetime.unwrap_or_default())),
                _ = changes.changed() => {
                    self.heed();
                    None
                }
                over = self.consult() => over,
            };
            if let Some(over) = over {
                return over;
            }
        }
    }

    /// Plans the next question anew, if the time between two has changed.
    fn heed(&mut self) {
        let revalidate = self.terms.borrow().revalidate;
        if self.revalidate != revalidate {
            self.revalidate = revalidate;
            self.asks = revalidate.map(|after| Instant::now() + after);
        }
    }

    /// Waits for what is due next with the backend, and does it. Given up, it is done anew.
    async fn consult(&mut self) -> Option<Over> {
        tokio::select! {
            () = until(self.asks) => self.ask().await,
            () = until(self.updates) => self.update().await,
        }
    }

    async fn ask(&mut self) -> Option<Over> {
        let again = match &self.allowance {
            Some(allowance) => allowance.ask_again().await,
            // It was a static key: nobody says more about it.
            None => {
                self.asks = None;
                return None;
            }
        };
        let mut wait = self.revalidate.unwrap_or(HOOK_AGAIN_RETRY);
        match again {
            Again::Allow {
                lifetime,
                revalidate,
            } => {
                wait = revalidate.unwrap_or(wait);
                self.terms.send_modify(|terms| {
                    terms.lifetime = lifetime.or(terms.lifetime);
                    terms.revalidate = revalidate.or(terms.revalidate);
                });
            }
            Again::Unknown => wait = wait.min(HOOK_AGAIN_RETRY),
            Again::Deny { reason } => return Some(Over::Revoked { reason }),
        }
        self.asks = Some(Instant::now() + wait);
        None
    }

    async fn update(&mut self) -> Option<Over> {
        let timestamp = self.timestamp.load(Ordering::Relaxed);
        let goes_on = match &self.allowance {
            Some(allowance) => allowance.update(timestamp).await,
            None => true,
        };
        self.plan_update();
        let reason = Fence::Revoked.to_string();
        (!goes_on).then_some(Over::Revoked { reason })
    }

    fn plan_update(&mut self) {
        let allowance = self.allowance.as_ref();
        let every = allowance.and_then(Allowance::update_every);
        self.updates = every.map(|every| Instant::now() + every);
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lifetime: Option<Duration>) -> Terms {
        Terms {
            lifetime,
            revalidate: Some(Duration::from_secs(1)),
            ..Terms::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_publish_ends_at_its_age_and_one_without_goes_on() {
        let start = Instant::now();
        let seven = Duration::from_secs(7);
        let tenure = Tenure::begin(watch::Sender::new(of(Some(seven))), None);
        assert_eq!(tenure.over().await, Over::Expired(seven));
        assert_eq!(start.elapsed(), seven);
        // As often as it is asked.
        assert_eq!(tenure.over().await, Over::Expired(seven));
        let endless = Tenure::begin(watch::Sender::new(of(None)), None);
        let day = Duration::from_secs(86_400);
        tokio::time::timeout(day, endless.over())
            .await
            .expect_err("nobody says that it is over");
    }

    #[tokio::test(start_paused = true)]
    async fn other_terms_hold_from_the_acceptance_on() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let terms = watch::Sender::new(of(Some(9 * second)));
        let tenure = Tenure::begin(terms.clone(), None);
        for (at, lifetime) in [(2, Some(5)), (4, None), (6, Some(8))] {
            tokio::time::sleep_until(start + at * second).await;
            terms.send_replace(of(lifetime.map(|it| it * second)));
        }
        assert_eq!(tenure.over().await, Over::Expired(8 * second));
        assert_eq!(start.elapsed(), 8 * second);
    }
}
