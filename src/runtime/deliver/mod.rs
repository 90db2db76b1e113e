//! Callbacks that are never lost: events written to disk, then posted to every endpoint until it has taken them.
//!
//! [`Outbox::record`] never waits. One thread ([`writer`]) writes what was recorded, as many events per commit as there
//! are ([`store`], SQLite): with an event its number in its stream (`hook_seq`, gapless) and a delivery for each endpoint
//! that wants it. A task per endpoint ([`courier`]) posts them, signed ([`attempt`]), first attempts in order, and tries
//! again by the [`schedule`]. At least once: the process may be killed at any moment, and an event keeps its id and its
//! bytes whatever happens. Volatile events ([`volatile`]) are neither numbered nor written.
//!
//! Where events come from (writer, store) and how they are sent (courier, attempt, schedule) know each other by one trait
//! only, [`courier::Ledger`]: a program that writes events in transactions of its own brings its own.
//!
//! What an event says is the program's to know. Wire: Standard Webhooks 1.0 (`vitrine_core::wire::sign`).

pub mod attempt;
mod clock;
pub mod courier;
mod endpoint;
mod message;
mod meters;
pub mod schedule;
mod store;
mod volatile;
mod writer;

use std::{path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use serde_json::{Map, Value};
use tokio::{
    sync::{Mutex, oneshot},
    task::{JoinSet, spawn_blocking},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use vitrine_core::{limits, media::WallTime};

use self::{
    attempt::Sender,
    courier::{Due, Ledger, Parcel, Route, Settlement},
    store::{Reader, Selection, Store},
    volatile::Gathering,
    writer::{Wish, Writer},
};
pub use self::{
    clock::Steady,
    endpoint::{Endpoint, Types, matches, shown},
    schedule::Schedule,
    store::OpenError,
};

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

/// What an outbox needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whom to tell; no URL twice.
    pub endpoints: Vec<Endpoint>,
    /// When to try again.
    pub schedule: Schedule,
    /// How long one attempt may take.
    pub patience: Duration,
}

impl Settings {
    /// The contract's schedule and patience.
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        Self {
            endpoints,
            schedule: Schedule::default(),
            patience: limits::OUTBOX_ATTEMPT,
        }
    }
}

/// The way to every endpoint. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Outbox(Option<Arc<Desk>>);

/// What the clones of an [`Outbox`] share.
#[derive(Debug)]
struct Desk {
    writer: Writer,
    reader: Arc<Mutex<Reader>>,
    routes: Vec<Route>,
    gathering: Gathering,
    unfinished: Vec<(String, Map<String, Value>)>,
}

impl Outbox {
    /// Of a program that tells nobody: takes everything, keeps nothing.
    pub fn none() -> Self {
        meters::register();
        Self(None)
    }

    /// Opens the database at `path`, which is made when missing. Nothing is delivered before [`Self::run`].
    ///
    /// # Errors
    /// What is wrong with the database, where, and what to do about it.
    pub fn open(path: &Path, settings: Settings) -> Result<Self, OpenError> {
        meters::register();
        let clock = Steady::start();
        let sender = Sender::new(settings.patience)?;
        let (now, latest) = (clock.now(), clock.after(settings.schedule.longest()));
        let (store, left) = Store::open(path, &settings.endpoints, now, latest)?;
        let names = endpoint::names(&settings.endpoints);
        let endpoints = { settings.endpoints.into_iter() }
            .zip(left.numbers)
            .zip(names);
        let routes: Vec<_> = endpoints
            .map(|((endpoint, number), name)| Route {
                number,
                name,
                endpoint: Arc::new(ArcSwap::from_pointee(endpoint)),
                bell: Arc::default(),
                volatile: Arc::default(),
                sender: sender.clone(),
                schedule: settings.schedule.clone(),
                clock,
            })
            .collect();
        let reader = Reader::open(path).map_err(|source| OpenError::Database {
            path: path.to_owned(),
            source,
        })?;
        let writer = Writer::start(store, routes.clone(), clock).map_err(OpenError::Thread)?;
        Ok(Self(Some(Arc::new(Desk {
            writer,
            reader: Arc::new(Mutex::new(reader)),
            routes,
            gathering: Gathering::default(),
            unfinished: left.unfinished,
        }))))
    }

    /// Writes `event` down, soon, and has it delivered from then on. Never waits: what finds the queue full, because the
    /// disk has not answered for long, is lost, logged and counted, and leaves a gap in the subject's numbers.
    pub fn record(&self, event: Event) {
        if let Some(desk) = &self.0 {
            desk.writer.record(event);
        }
    }

    /// Tells `event`, or a later one like it. Never waits, keeps nothing.
    pub fn tell(&self, event: Volatile) {
        if let Some(desk) = &self.0
            && self.wants(event.kind)
        {
            match event.merge {
                Merge::Latest => desk.hand_out(&[event]),
                Merge::Count => desk.gathering.tell(event),
            }
        }
    }

    /// Whether any endpoint is to be told of events of this type.
    pub fn wants(&self, kind: &str) -> bool {
        let routes = self.0.as_ref().map_or(&[][..], |desk| &desk.routes);
        routes.iter().any(|route| route.wants(kind))
    }

    /// The subjects whose lives had begun and not ended when the outbox was opened, by name, each with the data of its
    /// latest event: what a process that was killed has left.
    pub fn unfinished(&self) -> Vec<(String, Map<String, Value>)> {
        let desk = self.0.as_ref();
        desk.map(|desk| desk.unfinished.clone()).unwrap_or_default()
    }

    /// Takes secrets and wanted types of the endpoints that have the same URL; returns those of `endpoints` that are not
    /// known, and told only after a restart.
    pub fn reconfigure(&self, endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
        let routes = self.0.as_ref().map_or(&[][..], |desk| &desk.routes);
        let known = |endpoint: &Endpoint| {
            let same = |route: &&Route| route.endpoint.load().url == endpoint.url;
            routes.iter().find(same)
        };
        let mut unknown = Vec::new();
        for endpoint in endpoints {
            match known(&endpoint) {
                Some(route) => route.endpoint.store(Arc::new(endpoint)),
                None => unknown.push(endpoint),
            }
        }
        unknown
    }

    /// Delivers, until `shutdown`. What is under way then is cut soon, and attempted again by the next process.
    pub async fn run(self, shutdown: CancellationToken) {
        let Some(desk) = &self.0 else {
            return shutdown.cancelled().await;
        };
        let mut couriers = JoinSet::new();
        for route in &desk.routes {
            couriers.spawn(carry(route.clone(), desk.clone(), shutdown.clone()));
        }
        let mut measure = interval(limits::OUTBOX_GAUGE);
        measure.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                events = desk.gathering.ripe() => desk.hand_out(&events),
                _ = measure.tick() => desk.measure().await,
                () = shutdown.cancelled() => break,
            }
        }
        while couriers.join_next().await.is_some() {}
    }

    /// Returns once everything recorded before is on disk, or the disk will not have it.
    pub async fn flush(&self) {
        if let Some(desk) = &self.0 {
            desk.writer.ask(Wish::Flush).await;
        }
    }

    /// Writes what was recorded and ends the thread that writes; what is recorded later is lost.
    pub async fn close(&self) {
        if let Some(desk) = self.0.clone() {
            let closed = spawn_blocking(move || desk.writer.close()).await;
            closed.unwrap_or_else(|error| tracing::error!(%error, "outbox not closed"));
        }
    }

    /// Deliveries that match `filter`, the newest first: those after `cursor` ([`Page::next`] of the page before), `limit`
    /// at most, and never more than `limits::OUTBOX_PAGE_MAX`.
    ///
    /// # Errors
    /// [`Error::Cursor`] for a cursor that is none, [`Error::Disk`].
    pub async fn deliveries(
        &self,
        filter: &Filter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page, Error> {
        let after = cursor.map(|cursor| {
            let (event, endpoint) = cursor.split_once('-').ok_or(Error::Cursor)?;
            let number = |text: &str| text.parse().map_err(|_| Error::Cursor);
            Ok::<_, Error>((number(event)?, number(endpoint)?))
        });
        let after = after.transpose()?;
        let Some(desk) = &self.0 else {
            return Ok(Page::default());
        };
        let mut selection = Selection {
            state: filter.state,
            endpoints: None,
            subject: filter.subject.clone(),
            after,
            active: desk.active(),
        };
        let limit = limit.min(limits::OUTBOX_PAGE_MAX);
        let wanted = filter.endpoint.clone();
        let named = wanted.as_deref().and_then(|wanted| desk.route(wanted));
        let named = named.map(|route| route.number);
        let page = desk.read(move |reader| {
            if let Some(wanted) = wanted {
                let one = |url: &str| endpoint::is(url, &wanted);
                let mut numbers = reader.endpoints(one)?;
                numbers.extend(named);
                selection.endpoints = Some(numbers);
            }
            reader.page(&selection, limit)
        });
        Ok(page.await?)
    }

    /// Delivers `delivery` (its id) again, now, whatever became of it; its schedule begins anew.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Disk`], [`Error::Unanswered`].
    pub async fn retry(&self, delivery: &str) -> Result<Delivery, Error> {
        let unknown = || Error::Unknown(delivery.to_owned());
        let desk = self.0.as_ref().ok_or_else(unknown)?;
        let (event, endpoint) = parse_delivery_id(delivery).ok_or_else(unknown)?;
        let wanted = event.clone();
        let retried = desk.wish(|done| Wish::Retry {
            event: wanted,
            endpoint,
            done,
        });
        let known = retried.await??;
        if !known {
            return Err(unknown());
        }
        let active = desk.active();
        let read = desk.read(move |reader| reader.delivery(&event, endpoint, &active));
        Ok(read.await?)
    }

    /// Delivers again every event since `since` that is still kept, to all endpoints that want it or to one (by its name
    /// or URL); returns how many deliveries these are. All or none: what waits beyond the bound would be given up.
    ///
    /// # Errors
    /// [`Error::NoEndpoint`], [`Error::TooMany`], [`Error::Disk`], [`Error::Unanswered`].
    pub async fn replay(&self, since: WallTime, endpoint: Option<&str>) -> Result<u64, Error> {
        let desk = self.0.as_ref();
        let routes = desk.map_or(&[][..], |desk| &desk.routes);
        let endpoints = match endpoint {
            None => routes.iter().map(|route| route.number).collect(),
            Some(name) => {
                let found = desk.and_then(|desk| desk.route(name));
                let found = found.ok_or_else(|| Error::NoEndpoint(name.to_owned()))?;
                vec![found.number]
            }
        };
        let Some(desk) = desk else { return Ok(0) };
        let replayed = desk.wish(|done| Wish::Replay {
            since,
            endpoints,
            done,
        });
        replayed.await?
    }
}

/// Runs a courier, again should it fail by a fault of ours.
async fn carry(route: Route, desk: Arc<Desk>, shutdown: CancellationToken) {
    loop {
        let courier = courier::run(route.clone(), desk.clone(), shutdown.clone());
        match tokio::spawn(courier).await {
            Ok(()) => return,
            Err(error) if error.is_panic() => {
                tracing::error!(endpoint = route.name, %error, "a courier failed by a fault of ours");
                tokio::time::sleep(limits::OUTBOX_WRITE_RETRY).await;
            }
            Err(_) => return,
        }
    }
}

impl Desk {
    /// Asks the thread that writes for something, and waits as long as somebody does who has asked for it.
    async fn wish<T>(&self, wish: impl FnOnce(oneshot::Sender<T>) -> Wish) -> Result<T, Error> {
        let answer = timeout(limits::OUTBOX_WISH, self.writer.ask(wish)).await;
        answer.ok().flatten().ok_or(Error::Unanswered)
    }

    /// Reads on a thread where that may take its time.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> rusqlite::Result<T> + Send + 'static,
    ) -> rusqlite::Result<T> {
        // Waited for here: a hundred couriers that wake at once take one thread, not a hundred.
        let reader = self.reader.clone().lock_owned().await;
        let panicked = |_| Err(rusqlite::Error::UnwindingPanic);
        { spawn_blocking(move || read(&reader)).await }.unwrap_or_else(panicked)
    }

    /// The configured endpoint of this name or URL.
    fn route(&self, wanted: &str) -> Option<&Route> {
        let is = |route: &&Route| {
            route.name == wanted || endpoint::is(route.endpoint.load().url.as_str(), wanted)
        };
        self.routes.iter().find(is)
    }

    /// The numbers of the endpoints to which attempts are made.
    fn active(&self) -> Vec<i64> {
        let active = self.routes.iter().filter(|route| !route.bell.has_stopped());
        active.map(|route| route.number).collect()
    }

    /// Hands volatile events to the couriers.
    fn hand_out(&self, events: &[Volatile]) {
        for event in events {
            let message = volatile::of(event);
            for route in self.routes.iter().filter(|route| route.wants(event.kind)) {
                route.volatile.put(event, message.clone());
                route.bell.ring();
            }
        }
    }

    async fn measure(&self) {
        for route in &self.routes {
            let number = route.number;
            match self.read(move |reader| reader.counts(number)).await {
                Ok(counts) => meters::waiting(&route.name, counts, route.clock.now()),
                Err(error) => tracing::error!(%error, "what waits cannot be counted"),
            }
        }
    }
}

impl Ledger for Desk {
    type Error = rusqlite::Error;

    async fn fresh(
        &self,
        endpoint: i64,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Parcel>, rusqlite::Error> {
        let read = self.read(move |reader| reader.fresh(endpoint, after, limit));
        read.await
    }

    async fn due(
        &self,
        endpoint: i64,
        now: WallTime,
        limit: usize,
    ) -> Result<Due, rusqlite::Error> {
        let read = self.read(move |reader| reader.due(endpoint, now, limit));
        read.await
    }

    async fn settle(&self, settlement: Settlement) {
        self.writer.settle(settlement).await;
    }
}

/// The id of the delivery of `event` (its id) to the endpoint of this number.
fn delivery_id(event: &str, endpoint: i64) -> String {
    format!("dlv_{}_{endpoint}", event.trim_start_matches("evt_"))
}

/// Event and endpoint of a delivery.
fn parse_delivery_id(id: &str) -> Option<(String, i64)> {
    let (event, endpoint) = id.strip_prefix("dlv_")?.rsplit_once('_')?;
    Some((format!("evt_{event}"), endpoint.parse().ok()?))
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
    /// With what waits already, it would be more than may wait for one endpoint.
    #[error(
        "{waiting} deliveries would wait for one endpoint, and at most {} may: name a later time, or wait",
        limits::OUTBOX_WAITING_MAX
    )]
    TooMany {
        /// How many would.
        waiting: i64,
    },
    /// Not in time, or not before the end of the process: it is not done, unless it was being done just then.
    #[error("the outbox has not been written to within {} s", limits::OUTBOX_WISH.as_secs())]
    Unanswered,
    /// There is no such delivery, or it is not kept any more.
    #[error("no delivery {0:?} is kept")]
    Unknown(String),
}
