//! The one thread that writes: it takes everything that has piled up since its last commit, and commits it as one.
//!
//! Recording adds to the pile under a lock that is never held over anything slow. A commit that fails is tried again until
//! it succeeds, in order, while the pile grows to its bound; then events are lost, and numbers skipped for them, so that
//! receivers see that something is missing. Operators' wishes are transactions of their own, whose faults are theirs to
//! know.

use std::{
    collections::HashMap,
    io, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Instant,
};

use tokio::sync::oneshot;
use vitrine_core::{limits, media::WallTime};

use super::{
    Endpoint, Error, Event,
    clock::Steady,
    courier::{Route, Settlement},
    message, meters,
    store::{Pruned, Store},
};
use crate::throttle::OncePerSecond;

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Writer {
    inbox: Arc<Inbox>,
    thread: Mutex<Option<JoinHandle<()>>>,
    lines: OncePerSecond,
}

#[derive(Debug, Default)]
struct Inbox {
    pile: Mutex<Pile>,
    something: Condvar,
}

/// What is to be written. Settlements are bounded by the attempts under way, wishes by the connections of operators.
#[derive(Debug, Default)]
struct Pile {
    events: Vec<Event>,
    /// Events that found no room, by subject.
    lost: HashMap<String, u32>,
    settlements: Vec<(Settlement, oneshot::Sender<()>)>,
    wishes: Vec<Wish>,
    closing: bool,
}

/// What somebody asks for, and waits for.
#[derive(Debug)]
pub(super) enum Wish {
    /// An answer when all before it is written.
    Flush(oneshot::Sender<()>),
    /// A delivery again; whether there is one.
    Retry {
        /// Id of the event.
        event: String,
        /// Number of the endpoint.
        endpoint: i64,
        /// Told of the outcome.
        done: oneshot::Sender<rusqlite::Result<bool>>,
    },
    /// All deliveries since a time; how many.
    Replay {
        /// The time.
        since: WallTime,
        /// Numbers of the endpoints.
        endpoints: Vec<i64>,
        /// Told of the outcome.
        done: oneshot::Sender<Result<u64, Error>>,
    },
    #[cfg(test)]
    Panic(oneshot::Sender<()>),
}

impl Wish {
    /// Whether nobody waits for it any more: it is not granted behind the back of who was told that it failed.
    fn is_taken_back(&self) -> bool {
        match self {
            Self::Flush(done) => done.is_closed(),
            Self::Retry { done, .. } => done.is_closed(),
            Self::Replay { done, .. } => done.is_closed(),
            #[cfg(test)]
            Self::Panic(done) => done.is_closed(),
        }
    }
}

impl Writer {
    /// Starts the thread, which rings the bells of `routes` when there is something new.
    pub(super) fn start(store: Store, routes: Vec<Route>, clock: Steady) -> io::Result<Self> {
        let inbox = Arc::<Inbox>::default();
        let mut scribe = Scribe {
            inbox: inbox.clone(),
            store,
            routes,
            clock,
            writing: 0,
        };
        let thread = thread::Builder::new().name("outbox".to_owned());
        // What was being written is lost, not what comes later; whoever waited for it is answered.
        let thread = thread.spawn(move || {
            while catch_unwind(AssertUnwindSafe(|| scribe.run())).is_err() {
                let events = mem::take(&mut scribe.writing);
                meters::lost(events);
                tracing::error!(
                    events,
                    "the outbox' thread failed by a fault of ours: begun anew"
                );
            }
        })?;
        Ok(Self {
            inbox,
            thread: Mutex::new(Some(thread)),
            lines: OncePerSecond::default(),
        })
    }

    /// Has `event` written. Never waits.
    pub(super) fn record(&self, event: Event) {
        let mut pile = self.inbox.lock();
        if !pile.closing && pile.events.len() < limits::OUTBOX_RECORDS_MAX {
            pile.events.push(event);
            drop(pile);
            return self.inbox.something.notify_one();
        }
        meters::lost(1);
        let (subject, kind) = (event.subject.clone(), event.kind);
        if pile.lost.len() < limits::OUTBOX_RECORDS_MAX || pile.lost.contains_key(&subject) {
            *pile.lost.entry(event.subject).or_default() += 1;
        }
        drop(pile);
        if let Some(held_back) = self.lines.pass("lost", tokio::time::Instant::now()) {
            tracing::error!(
                stream = subject,
                kind,
                held_back,
                "event lost: the outbox cannot be written to, and too many wait already"
            );
        }
    }

    /// Has a settlement written, and returns when it is, or never will be.
    pub(super) async fn settle(&self, settlement: Settlement) {
        loop {
            let (done, settled) = oneshot::channel();
            {
                let mut pile = self.inbox.lock();
                if pile.closing {
                    return;
                }
                pile.settlements.push((settlement.clone(), done));
            }
            self.inbox.something.notify_one();
            if settled.await.is_ok() {
                return;
            }
            // The process ends, or the thread has failed and begins anew.
            tokio::time::sleep(limits::OUTBOX_WRITE_RETRY).await;
        }
    }

    /// Asks for something; `None` when the thread ends before there is an answer. Who stops waiting takes its wish back.
    pub(super) async fn ask<T>(&self, wish: impl FnOnce(oneshot::Sender<T>) -> Wish) -> Option<T> {
        let (done, answer) = oneshot::channel();
        {
            let mut pile = self.inbox.lock();
            if pile.closing {
                return None;
            }
            pile.wishes.retain(|wish| !wish.is_taken_back());
            pile.wishes.push(wish(done));
        }
        self.inbox.something.notify_one();
        answer.await.ok()
    }

    /// Has everything written and waits for the thread to end. Blocks.
    pub(super) fn close(&self) {
        self.inbox.lock().closing = true;
        self.inbox.something.notify_one();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(Err(_)) = thread.map(JoinHandle::join) {
            tracing::error!("the outbox' thread failed by a fault of ours");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.inbox.lock().closing = true;
        self.inbox.something.notify_one();
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Pile> {
        self.pile.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything there is, once there is something, or at `until`; and whether it is the last.
    fn take(&self, until: Instant) -> (Pile, bool) {
        let patience = until.saturating_duration_since(Instant::now());
        let pile = self.lock();
        let idle = |pile: &mut Pile| pile.is_empty() && !pile.closing;
        let waited = self.something.wait_timeout_while(pile, patience, idle);
        let (mut pile, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let closing = pile.closing;
        let taken = mem::take(&mut *pile);
        pile.closing = closing;
        (taken, closing)
    }

    /// A pause after a failure, cut short by the end of the process.
    fn rest(&self) {
        let pause = |pile: &mut Pile| !pile.closing;
        let waited =
            self.something
                .wait_timeout_while(self.lock(), limits::OUTBOX_WRITE_RETRY, pause);
        drop(waited);
    }
}

impl Pile {
    fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.lost.is_empty()
            && self.settlements.is_empty()
            && self.wishes.is_empty()
    }
}

/// The thread.
struct Scribe {
    inbox: Arc<Inbox>,
    store: Store,
    routes: Vec<Route>,
    clock: Steady,
    /// Events being written.
    writing: u64,
}

impl Scribe {
    fn run(&mut self) {
        let mut prune = Instant::now() + limits::OUTBOX_PRUNE;
        loop {
            let (pile, last) = self.inbox.take(prune);
            self.writing = pile.events.len() as u64;
            if !pile.is_empty() && !self.write(pile) {
                return;
            }
            if last && self.inbox.lock().is_empty() {
                return;
            }
            if Instant::now() >= prune {
                let more = self.prune();
                prune = Instant::now()
                    + if more {
                        limits::OUTBOX_WRITE_RETRY
                    } else {
                        limits::OUTBOX_PRUNE
                    };
            }
        }
    }

    /// Writes a pile, however often that takes; gives up only when the process ends.
    fn write(&mut self, pile: Pile) -> bool {
        let mut failures = 0;
        while let Err(error) = self.try_write(&pile) {
            failures += 1;
            meters::write_failed();
            if failures == 1 || failures % FAILURES_PER_LINE == 0 {
                let (events, attempts) = (pile.events.len(), pile.settlements.len());
                tracing::error!(%error, failures, events, attempts, "the outbox cannot be written to: trying again");
            }
            if self.inbox.lock().closing && failures >= limits::OUTBOX_LAST_WRITES_MAX {
                meters::lost(pile.events.len() as u64);
                tracing::error!(
                    events = pile.events.len(),
                    "events lost: the outbox cannot be written to"
                );
                return false;
            }
            self.inbox.rest();
            if self.inbox.lock().closing {
                thread::sleep(limits::OUTBOX_WRITE_RETRY / 10);
            }
        }
        if failures > 0 {
            tracing::info!(failures, "the outbox is written to again");
        }
        for (_, done) in pile.settlements {
            // Nobody waits for it when its courier has been cut.
            let _ = done.send(());
        }
        if !pile.events.is_empty() {
            self.routes.iter().for_each(|route| route.bell.ring());
        }
        self.writing = 0;
        let wanted = pile.wishes.into_iter();
        for wish in wanted.filter(|wish| !wish.is_taken_back()) {
            self.grant(wish);
        }
        true
    }

    fn try_write(&mut self, pile: &Pile) -> rusqlite::Result<()> {
        if pile.events.is_empty() && pile.settlements.is_empty() && pile.lost.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let endpoints = self.endpoints();
        let wanting: Vec<_> = endpoints.iter().map(|(number, it)| (*number, it)).collect();
        let batch = self.store.begin()?;
        batch.settle(pile.settlements.iter().map(|(settlement, _)| settlement))?;
        let written = batch.record(&pile.events, &wanting, now)?;
        batch.skip(&pile.lost, now)?;
        batch.commit()?;
        meters::recorded(written.events);
        for stream in written.trimmed {
            tracing::error!(
                stream,
                "event told without its {}: longer than {} bytes with it",
                message::SPARE,
                limits::OUTBOX_BODY_BYTES_MAX
            );
        }
        for stream in written.oversized {
            meters::lost(1);
            tracing::error!(
                stream,
                "event lost: longer than {} bytes",
                limits::OUTBOX_BODY_BYTES_MAX
            );
        }
        Ok(())
    }

    fn grant(&mut self, wish: Wish) {
        // Who asks may have gone just now.
        match wish {
            #[cfg(test)]
            Wish::Panic(done) => panic!("asked to, by {done:?}"),
            Wish::Flush(done) => drop(done.send(())),
            Wish::Retry {
                event,
                endpoint,
                done,
            } => {
                let retried = self.retry(&event, endpoint);
                self.rewind(&[endpoint]);
                drop(done.send(retried));
            }
            Wish::Replay {
                since,
                endpoints,
                done,
            } => {
                let replayed = self.replay(since, &endpoints);
                self.rewind(&endpoints);
                drop(done.send(replayed));
            }
        }
    }

    fn retry(&mut self, event: &str, endpoint: i64) -> rusqlite::Result<bool> {
        let now = self.clock.now();
        let batch = self.store.begin()?;
        let known = batch.retry(event, endpoint, now)?;
        batch.commit()?;
        Ok(known)
    }

    fn replay(&mut self, since: WallTime, numbers: &[i64]) -> Result<u64, Error> {
        let now = self.clock.now();
        let endpoints = self.endpoints();
        let batch = self.store.begin()?;
        let mut deliveries = 0;
        for (number, endpoint) in endpoints
            .iter()
            .filter(|(number, _)| numbers.contains(number))
        {
            deliveries += batch.replay(since, (*number, endpoint), now)?;
        }
        batch.commit()?;
        Ok(deliveries)
    }

    fn rewind(&self, numbers: &[i64]) {
        let routes = self.routes.iter();
        let routes = routes.filter(|route| numbers.contains(&route.number));
        routes.for_each(|route| route.bell.rewind());
    }

    /// Forgets what is kept no longer; whether there may be more.
    fn prune(&mut self) -> bool {
        let active: Vec<_> = self.routes.iter().map(|route| route.number).collect();
        let now = self.clock.now();
        let pruned = self.store.begin().and_then(|batch| {
            let pruned = batch.prune(&active, now)?;
            batch.commit()?;
            Ok(pruned)
        });
        let pruned = pruned.unwrap_or_else(|error| {
            tracing::error!(%error, "what is kept no longer cannot be removed from the outbox");
            Pruned::default()
        });
        for (number, deliveries) in pruned.given_up {
            let route = self.routes.iter().find(|route| route.number == number);
            // One that is not configured has no name any more.
            let endpoint = route.map_or("", |route| &route.name);
            if route.is_some() {
                meters::given_up(endpoint, deliveries);
            }
            tracing::error!(
                endpoint,
                number,
                deliveries,
                "given up, dead letters: more than {} waited",
                limits::OUTBOX_WAITING_MAX
            );
        }
        pruned.more
    }

    fn endpoints(&self) -> Vec<(i64, Arc<Endpoint>)> {
        let routes = self.routes.iter();
        let endpoint = |route: &Route| (route.number, route.endpoint.load_full());
        routes.map(endpoint).collect()
    }
}

/// Failures in a row of which one is a line: one a minute.
const FAILURES_PER_LINE: u32 = 60;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rusqlite::Connection;
    use serde_json::Map;

    use super::{super::Life, *};

    fn event(n: u64) -> Event {
        let mut data = Map::new();
        data.insert("n".to_owned(), n.into());
        Event {
            subject: "shop".to_owned(),
            kind: "stream.live",
            at: WallTime(0),
            data,
            life: Life::Begins,
        }
    }

    #[tokio::test]
    async fn a_disk_that_does_not_answer_keeps_nobody_waiting_and_what_is_lost_leaves_a_gap() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.db");
        let clock = Steady::start();
        let (store, _) = Store::open(&path, &[], clock.now(), clock.now()).unwrap();
        let writer = Writer::start(store, Vec::new(), clock).unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        writer.record(event(1));
        // The thread has taken it, and waits for the other.
        while !writer.inbox.lock().events.is_empty() {
            tokio::task::yield_now().await;
        }
        let most = limits::OUTBOX_RECORDS_MAX as u64;
        for n in 2..=most + 11 {
            writer.record(event(n));
        }
        assert_eq!(writer.inbox.lock().lost["shop"], 10);
        other.execute_batch("ROLLBACK").unwrap();
        writer.ask(Wish::Flush).await.unwrap();
        writer.record(event(0));
        writer.close();
        let latest = |sql| {
            other
                .query_row(sql, [], |row| row.get::<_, i64>(0))
                .unwrap() as u64
        };
        assert_eq!(latest("SELECT count(*) FROM event"), most + 2);
        assert_eq!(latest("SELECT max(hook_seq) FROM event"), most + 12);
    }

    #[tokio::test]
    async fn a_wish_whose_asker_has_gone_is_not_granted_and_keeps_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.db");
        let clock = Steady::start();
        let endpoint = Endpoint {
            url: "http://127.0.0.1:1/".parse().unwrap(),
            secrets: Vec::new(),
            types: crate::deliver::Types::new(vec!["*".to_owned()]),
        };
        let (store, left) = Store::open(&path, &[endpoint], clock.now(), clock.now()).unwrap();
        let number = left.numbers[0];
        let writer = Writer::start(store, Vec::new(), clock).unwrap();
        writer.record(event(1));
        writer.ask(Wish::Flush).await.unwrap();
        let other = Connection::open(&path).unwrap();
        let dead = "INSERT INTO delivery VALUES (1, ?1, 'dead', 1, 0, 0, NULL, NULL)";
        other.execute(dead, [number]).unwrap();
        let id: String = { other.query_row("SELECT id FROM event", [], |row| row.get(0)) }.unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        writer.record(event(2));
        while !writer.inbox.lock().events.is_empty() {
            tokio::task::yield_now().await;
        }
        for _ in 0..9 {
            let retry = writer.ask(|done| Wish::Retry {
                event: id.clone(),
                endpoint: number,
                done,
            });
            let waited = tokio::time::timeout(std::time::Duration::ZERO, retry).await;
            assert!(waited.is_err(), "the disk does not answer");
        }
        assert_eq!(writer.inbox.lock().wishes.len(), 1, "the others are gone");
        other.execute_batch("ROLLBACK").unwrap();
        writer.close();
        let state = "SELECT state FROM delivery";
        let state: String = { other.query_row(state, [], |row| row.get(0)) }.unwrap();
        assert_eq!(state, "dead");
    }

    #[tokio::test]
    async fn a_thread_that_fails_keeps_nobody_waiting_and_writes_what_comes_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.db");
        let clock = Steady::start();
        let (store, _) = Store::open(&path, &[], clock.now(), clock.now()).unwrap();
        let writer = Writer::start(store, Vec::new(), clock).unwrap();
        writer.record(event(1));
        assert_eq!(writer.ask(Wish::Panic).await, None);
        writer.record(event(2));
        let soon = std::time::Duration::from_secs(20);
        let flushed = tokio::time::timeout(soon, writer.ask(Wish::Flush)).await;
        assert_eq!(flushed.expect("it goes on"), Some(()));
        writer.close();
        let other = Connection::open(&path).unwrap();
        let events: i64 =
            { other.query_row("SELECT count(*) FROM event", [], |row| row.get(0)) }.unwrap();
        assert_eq!(events, 2);
    }
}
