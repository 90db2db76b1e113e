//! What operators order, carried out by the task of the stream (`super::super::operations`).

use std::time::Duration;

use tokio::time::Instant;
use vitrine_core::engine::{
    lifecycle::Cause,
    stream::{Input, Stream},
};

use super::{Departure, Fence, State, Task};
use crate::live::{
    SessionId,
    claim::Terms,
    orders::{Change, Order, Refused, TakenDown},
};

impl Task {
    pub(super) async fn obey(&mut self, order: Order) {
        // Whoever asked may have gone away meanwhile.
        match order {
            Order::Disconnect { ban, answer } => {
                let done = self.disconnect(ban).await;
                let _ = answer.send(done);
            }
            Order::End { ban, answer } => {
                let done = self.end(ban).await;
                let _ = answer.send(done);
            }
            Order::TakeDown { reason, answer } => {
                let done = self.take_down(&reason).await;
                let _ = answer.send(Ok(done));
            }
            Order::Change { change, answer } => {
                let done = self.change(change).await;
                let _ = answer.send(done);
            }
            #[cfg(test)]
            Order::Panic => panic!("asked to"),
        }
    }

    async fn disconnect(&mut self, ban: Option<Duration>) -> Result<SessionId, Refused> {
        self.close_if_ended().await;
        let session = self.shared.status().session.clone();
        let session = session.ok_or(Refused::NotPublishing)?.id;
        if ban.is_some() {
            self.ban(ban, Fence::Kicked);
        }
        metrics::counter!("vitrine_kicks_total").increment(1);
        self.cut(Fence::Kicked).await;
        Ok(session)
    }

    async fn end(&mut self, ban: Duration) -> Result<(), Refused> {
        if self.leaves.is_some() {
            return Err(Refused::Ended);
        }
        // Before its encoder can be back.
        if !ban.is_zero() {
            self.ban(Some(ban), Fence::Ended);
        }
        self.finish_sound().await;
        self.dismiss(Fence::Ended);
        self.push(Input::End, None).await;
        Ok(())
    }

    async fn take_down(&mut self, reason: &str) -> TakenDown {
        let now = self.clock.now().wall;
        let id = &self.shared.id;
        let epochs = self.publication.epochs();
        { &self.shared.stores.takedowns }.add(id, epochs.iter().copied(), reason);
        // Whoever waits is woken by this, and asks what was taken down before it answers.
        self.publication.clear();
        let purge_prefix = format!("/live/{id}/");
        metrics::counter!("vitrine_takedowns_total").increment(1);
        self.ban(None, Fence::TakenDown);
        self.dismiss(Fence::TakenDown);
        {
            let chronicle = self.shared.chronicle();
            chronicle.taken_down(now, &epochs, &purge_prefix, reason);
        }
        let metered = self.metered();
        let cause = Some((Cause::TakenDown, Some(reason.to_owned())));
        self.shared.chronicle().over(now, cause, metered);
        self.stream = Stream::new(self.settings.clone());
        self.encoders.stop();
        self.lost.clear();
        self.leaves = Some(Instant::now() + self.publication.retention());
        {
            let mut status = self.shared.status();
            (status.state, status.stopgap) = (State::Ended, None);
            (status.presentation, status.sources, status.sound) = (None, None, None);
        }
        // Into nothing.
        self.sound.finish().await;
        TakenDown {
            epochs,
            purge_prefix,
        }
    }

    async fn change(&mut self, change: Change) -> Result<Terms, Refused> {
        self.close_if_ended().await;
        let (held, _) = self.held.as_ref().ok_or(Refused::NotPublishing)?;
        self.yields = change.takeover.or(self.yields);
        held.terms.send_modify(|terms| change.apply(terms));
        let (session, terms) = (held.session, held.terms.borrow().clone());
        let events = terms.events;
        self.push(Input::Allow { session, events }, None).await;
        self.shared.chronicle().annotate(terms.metadata.clone());
        Ok(terms)
    }

    /// Refuses the key of the latest publish, with the words that its broadcaster was told.
    fn ban(&self, length: Option<Duration>, why: Fence) {
        let key = self.shared.chronicle().key();
        if let Some(key) = key {
            let bans = self.shared.stores.bans.clone();
            bans.impose(&key, &self.shared.id, length, &why.to_string());
            // Whoever ordered it waits for the disk too, unless it has gone away.
            tokio::spawn(async move { bans.keep().await });
        }
    }

    /// The publisher is listened to no longer, and nobody waits for it.
    fn dismiss(&mut self, fence: Fence) {
        { self.shared.chronicle() }.dismissed(Departure::Cut(fence));
        self.fence(fence);
        self.shared.status().session = None;
    }
}
