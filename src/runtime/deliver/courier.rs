//! The deliveries of one endpoint: which attempt is made when, and how many at once.
//!
//! First attempts leave in the order of events, one at a time for each subject: the next follows as soon as there is an
//! outcome, whatever it is. Further attempts go beside them when they are due, so that neither wait for the other, and
//! volatile events beside both. Every endpoint has its own courier, so a dead one delays nobody.
//!
//! Where deliveries come from and what becomes of them is a [`Ledger`]'s to know: it may be any database.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    future::{Future, pending},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::{
    sync::Notify,
    task::{self, JoinSet},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use vitrine_core::{limits, media::WallTime};

use super::{
    Endpoint,
    attempt::{Outcome, Sender},
    clock::Steady,
    meters::Meters,
    schedule::{Next, Schedule},
    volatile::Slots,
};

/// Where deliveries are kept. Order of events: their numbers.
pub trait Ledger: Send + Sync + 'static {
    /// Why it cannot be read.
    type Error: std::error::Error + Send;

    /// Deliveries to `endpoint` without an attempt, of events beyond `after`, in order.
    fn fresh(
        &self,
        endpoint: i64,
        after: i64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Parcel>, Self::Error>> + Send;

    /// Deliveries to `endpoint` that failed and are due by `now`, the most overdue first.
    fn due(
        &self,
        endpoint: i64,
        now: WallTime,
        limit: usize,
    ) -> impl Future<Output = Result<Due, Self::Error>> + Send;

    /// Writes what came of an attempt, however long that takes; until then the delivery is not attempted again.
    fn settle(&self, settlement: Settlement) -> impl Future<Output = ()> + Send;
}

/// An event on its way to one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Number of the event: their order.
    pub event: i64,
    /// Its id.
    pub id: String,
    /// Whom it happened to: first attempts of one subject leave one after another.
    pub subject: String,
    /// Its `type`.
    pub kind: String,
    /// Its number among the subject's.
    pub hook_seq: i64,
    /// When it happened.
    pub at: WallTime,
    /// What is posted.
    pub body: Bytes,
    /// Attempts that failed.
    pub attempts: u32,
}

/// Deliveries that are due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The most overdue first.
    pub parcels: Vec<Parcel>,
    /// When the next one after them is.
    pub next: Option<WallTime>,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Number of the event.
    pub event: i64,
    /// Number of the endpoint.
    pub endpoint: i64,
    /// Attempts made, this one among them.
    pub attempts: u32,
    /// When it was over.
    pub at: WallTime,
    /// Status of the answer.
    pub status: Option<u16>,
    /// What went wrong, in words.
    pub error: Option<String>,
    /// What becomes of the delivery.
    pub then: Then,
}

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It is done.
    Delivered,
    /// It is attempted again at this time.
    Again(WallTime),
    /// It is a dead letter.
    Dead,
}

/// How a courier is told that there is something new.
#[derive(Debug, Default)]
pub struct Bell {
    notify: Notify,
    rewind: AtomicBool,
    stopped: AtomicBool,
}

impl Bell {
    /// There are new events.
    pub fn ring(&self) {
        self.notify.notify_one();
    }

    /// Events of the past are to be delivered, by an operator's wish: also to an endpoint that has said 410.
    pub fn rewind(&self) {
        self.rewind.store(true, Ordering::Release);
        self.stopped.store(false, Ordering::Release);
        self.ring();
    }

    /// Whether the endpoint has answered 410, and nothing is sent to it.
    pub fn has_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// What a courier carries, where to and how.
#[derive(Clone, Debug)]
pub struct Route {
    /// Number of the endpoint.
    pub number: i64,
    /// What logs and metrics call it.
    pub name: String,
    /// The endpoint; its secrets may change.
    pub endpoint: Arc<ArcSwap<Endpoint>>,
    /// Rung when there is something new.
    pub bell: Arc<Bell>,
    /// Volatile events for it.
    pub volatile: Arc<Slots>,
    /// Makes attempts.
    pub sender: Sender,
    /// When to make them again.
    pub schedule: Schedule,
    /// What `due` is measured by.
    pub clock: Steady,
}

impl Route {
    /// Whether the endpoint wants to be told of events of type `kind`.
    pub fn wants(&self, kind: &str) -> bool {
        self.endpoint.load().types.include(kind)
    }
}

/// Carries what `ledger` has for an endpoint, until `shutdown`; attempts under way may end then, within
/// `limits::OUTBOX_DRAIN`.
pub async fn run<L: Ledger>(route: Route, ledger: Arc<L>, shutdown: CancellationToken) {
    let meters = Meters::new(&route.name);
    let mut courier = Courier {
        context: Arc::new(Context {
            route,
            ledger,
            meters,
        }),
        waiting: BTreeMap::new(),
        seen: 0,
        more: true,
        overdue: Some(WallTime(0)),
        flights: HashMap::new(),
        passed: HashSet::new(),
        landed: BTreeSet::new(),
        tasks: JoinSet::new(),
        failing: false,
        faulty_until: None,
    };
    while shutdown.run_until_cancelled(courier.turn()).await.is_some() {}
    // Cut off what takes longer: it is attempted again by the next process.
    let rest = async { while courier.tasks.join_next().await.is_some() {} };
    let _ = timeout(limits::OUTBOX_DRAIN, rest).await;
}

struct Context<L> {
    route: Route,
    ledger: Arc<L>,
    meters: Meters,
}

struct Courier<L> {
    context: Arc<Context<L>>,
    /// Those without an attempt, by event; a window of what the ledger has.
    waiting: BTreeMap<i64, Parcel>,
    /// The latest event that was in the window.
    seen: i64,
    /// Whether there may be more beyond the window.
    more: bool,
    /// When to ask for what is due.
    overdue: Option<WallTime>,
    flights: HashMap<task::Id, Flight>,
    /// Events under way that the ledger had without an attempt: that may be how they were, or how they are again.
    passed: HashSet<i64>,
    /// Those of them that are under way no longer: to be looked at once more.
    landed: BTreeSet<i64>,
    tasks: JoinSet<Option<Landing>>,
    /// Whether the latest attempt failed: told once.
    failing: bool,
    /// Until when the ledger is not asked, because it could not answer.
    faulty_until: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Flight {
    First { event: i64, subject: String },
    Further { event: i64 },
    Volatile,
}

/// What the courier needs to know of an attempt.
struct Landing {
    failed: Option<String>,
    gone: bool,
    due: Option<WallTime>,
}

impl<L: Ledger> Courier<L> {
    /// Starts what can be started, then waits for something to happen.
    async fn turn(&mut self) {
        let bell = self.context.route.bell.clone();
        if bell.rewind.swap(false, Ordering::AcqRel) {
            (self.seen, self.more) = (0, true);
        }
        let rest = self
            .faulty_until
            .is_some_and(|until| until > Instant::now());
        if !bell.has_stopped() {
            if !rest {
                self.faulty_until = None;
                self.look_again().await;
                self.look_ahead().await;
                self.start_further().await;
            }
            self.start_first();
            self.start_volatile();
        }
        let alarm = self.alarm(bell.has_stopped());
        tokio::select! {
            Some(landed) = self.tasks.join_next_with_id() => self.land(landed),
            () = bell.notify.notified() => self.more = true,
            () = alarm => {}
        }
    }

    /// The next moment to do something unasked.
    fn alarm(&self, stopped: bool) -> impl Future<Output = ()> + use<L> {
        let clock = self.context.route.clock;
        let free = self.count(|flight| matches!(flight, Flight::Further { .. }))
            < limits::OUTBOX_RETRIES_MAX;
        let due = self.overdue.filter(|_| free).map(|due| clock.instant(due));
        let at = self.faulty_until.or(due).filter(|_| !stopped);
        async move {
            match at {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        }
    }

    /// Fills the window.
    async fn look_ahead(&mut self) {
        if !self.more || self.waiting.len() > limits::OUTBOX_WINDOW_MAX / 2 {
            return;
        }
        let room = limits::OUTBOX_WINDOW_MAX - self.waiting.len();
        let Context { route, ledger, .. } = &*self.context;
        match ledger.fresh(route.number, self.seen, room).await {
            Ok(parcels) => {
                self.more = parcels.len() == room;
                self.seen = parcels.last().map_or(self.seen, |last| last.event);
                let flying: HashSet<_> = self.flights.values().filter_map(Flight::event).collect();
                for parcel in parcels {
                    if flying.contains(&parcel.event) {
                        self.passed.insert(parcel.event);
                    } else {
                        self.waiting.insert(parcel.event, parcel);
                    }
                }
            }
            Err(error) => self.rest(&error),
        }
    }

    /// Takes into the window what was asked for again just when an attempt of it was written.
    async fn look_again(&mut self) {
        let Context { route, ledger, .. } = &*self.context;
        while let Some(event) = self.landed.pop_first() {
            match ledger.fresh(route.number, event - 1, 1).await {
                Ok(parcels) => {
                    let same = parcels.into_iter().filter(|parcel| parcel.event == event);
                    self.waiting.extend(same.map(|parcel| (event, parcel)));
                }
                Err(error) => {
                    self.landed.insert(event);
                    return self.rest(&error);
                }
            }
        }
    }

    /// Starts first attempts, the oldest event of an idle subject first.
    fn start_first(&mut self) {
        loop {
            let busy: HashSet<_> = self.flights.values().filter_map(Flight::subject).collect();
            if busy.len() >= limits::OUTBOX_FIRST_ATTEMPTS_MAX {
                return;
            }
            let idle = |parcel: &&Parcel| !busy.contains(parcel.subject.as_str());
            let Some(event) = self.waiting.values().find(idle).map(|parcel| parcel.event) else {
                return;
            };
            let Some(parcel) = self.waiting.remove(&event) else {
                return;
            };
            let subject = parcel.subject.clone();
            self.context
                .meters
                .first(&self.context.route.clock, parcel.at);
            self.start(Flight::First { event, subject }, parcel);
        }
    }

    /// Starts further attempts that are due.
    async fn start_further(&mut self) {
        let Context { route, ledger, .. } = &*self.context;
        let now = route.clock.now();
        let flying: HashSet<_> = self.flights.values().filter_map(Flight::event).collect();
        let further = self.count(|flight| matches!(flight, Flight::Further { .. }));
        let room = limits::OUTBOX_RETRIES_MAX - further;
        if room == 0 || self.overdue.is_none_or(|due| due > now) {
            return;
        }
        // Those under way are due too, until they are settled.
        let limit = room + flying.len();
        match ledger.due(route.number, now, limit).await {
            Ok(due) => {
                let all = due.parcels.len() < limit;
                self.overdue = if all { due.next } else { Some(now) };
                let new = due.parcels.into_iter();
                let new = new.filter(|parcel| !flying.contains(&parcel.event));
                for parcel in new.take(room).collect::<Vec<_>>() {
                    let event = parcel.event;
                    self.start(Flight::Further { event }, parcel);
                }
            }
            Err(error) => self.rest(&error),
        }
    }

    /// Starts a volatile event: one at a time, or an old thumbnail might come after a new one.
    fn start_volatile(&mut self) {
        if self.count(|flight| *flight == Flight::Volatile) > 0 {
            return;
        }
        let Some((id, body)) = self.context.route.volatile.take() else {
            return;
        };
        let context = self.context.clone();
        let task = self.tasks.spawn(async move {
            let endpoint = context.route.endpoint.load_full();
            let outcome = context.route.sender.post(&endpoint, &id, body).await;
            context.meters.attempted(outcome.error().is_none());
            debug!(
                endpoint = context.route.name,
                event = id,
                ?outcome,
                "volatile event told"
            );
            None
        });
        self.flights.insert(task.id(), Flight::Volatile);
    }

    fn start(&mut self, flight: Flight, parcel: Parcel) {
        let context = self.context.clone();
        let task = self
            .tasks
            .spawn(async move { Some(context.attempt(parcel).await) });
        self.flights.insert(task.id(), flight);
    }

    /// An attempt is over, and written.
    fn land(&mut self, landed: Result<(task::Id, Option<Landing>), task::JoinError>) {
        let name = &self.context.route.name;
        let (id, landing) = match landed {
            Ok(landed) => landed,
            Err(panic) => {
                error!(endpoint = name, %panic, "an attempt failed by a fault of ours");
                // It is found again as it was.
                self.context
                    .route
                    .bell
                    .rewind
                    .store(true, Ordering::Release);
                self.overdue = Some(self.context.route.clock.now());
                self.faulty_until = Some(Instant::now() + limits::OUTBOX_WRITE_RETRY);
                (panic.id(), None)
            }
        };
        let event = self.flights.remove(&id).and_then(|it| it.event());
        let passed = event.filter(|event| self.passed.remove(event));
        self.landed.extend(passed);
        let Some(landing) = landing else { return };
        self.overdue = [self.overdue, landing.due].into_iter().flatten().min();
        match (&landing.failed, self.failing) {
            (Some(error), false) => {
                warn!(
                    endpoint = name,
                    error, "endpoint does not take events: they are tried again"
                );
            }
            (None, true) => info!(endpoint = name, "endpoint takes events again"),
            _ => {}
        }
        self.failing = landing.failed.is_some();
        if landing.gone && !self.context.route.bell.stopped.swap(true, Ordering::AcqRel) {
            error!(
                endpoint = name,
                "endpoint answered 410: nothing more is sent to it until a retry, a replay or a restart"
            );
        }
    }

    fn rest(&mut self, error: &L::Error) {
        error!(endpoint = self.context.route.name, %error, "what is to be delivered cannot be read: trying again");
        self.faulty_until = Some(Instant::now() + limits::OUTBOX_WRITE_RETRY);
    }

    fn count(&self, which: impl Fn(&Flight) -> bool) -> usize {
        self.flights.values().filter(|flight| which(flight)).count()
    }
}

impl Flight {
    fn event(&self) -> Option<i64> {
        match self {
            Self::First { event, .. } | Self::Further { event } => Some(*event),
            Self::Volatile => None,
        }
    }

    fn subject(&self) -> Option<&str> {
        match self {
            Self::First { subject, .. } => Some(subject),
            Self::Further { .. } | Self::Volatile => None,
        }
    }
}

impl<L: Ledger> Context<L> {
    /// Makes one attempt and has its outcome written.
    async fn attempt(&self, parcel: Parcel) -> Landing {
        let route = &self.route;
        let endpoint = route.endpoint.load_full();
        let outcome = route.sender.post(&endpoint, &parcel.id, parcel.body).await;
        let attempts = parcel.attempts.saturating_add(1);
        let at = route.clock.now();
        let next = route.schedule.next(&outcome, attempts, rand::random());
        let then = match next {
            Next::Delivered => Then::Delivered,
            Next::Again(wait) => Then::Again(route.clock.after(wait)),
            Next::Dead => Then::Dead,
        };
        let failed = outcome.error();
        self.meters.attempted(failed.is_none());
        let (event, kind, stream) = (&parcel.id, &parcel.kind, &parcel.subject);
        let hook_seq = parcel.hook_seq;
        match &failed {
            None => debug!(
                endpoint = route.name,
                event, kind, stream, hook_seq, attempts, "delivered"
            ),
            Some(error) if next == Next::Dead => {
                self.meters.dead();
                error!(
                    endpoint = route.name,
                    event, kind, stream, hook_seq, attempts, error, "given up: a dead letter"
                );
            }
            Some(error) => {
                debug!(
                    endpoint = route.name,
                    event,
                    kind,
                    stream,
                    hook_seq,
                    attempts,
                    error,
                    ?next,
                    "attempt failed"
                );
            }
        }
        let settlement = Settlement {
            event: parcel.event,
            endpoint: route.number,
            attempts,
            at,
            status: outcome.status(),
            error: failed.clone(),
            then,
        };
        self.ledger.settle(settlement).await;
        Landing {
            failed,
            gone: outcome == Outcome::Gone,
            due: match then {
                Then::Again(due) => Some(due),
                Then::Delivered | Then::Dead => None,
            },
        }
    }
}

#[cfg(test)]
mod tests;
