//! The map of live streams; the only file that names `dashmap`.
//!
//! No guard of the map crosses an await or leaves this file: callers get cheap clones. A stream is created by the first
//! accepted claim, or resumed from what another process left, and removed by the end of its task, whatever ended it;
//! looking up a missing one allocates nothing. When the server stops, streams stay as they are to the end of the process:
//! what a playlist lists is not missing while the last connections finish.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use dashmap::DashMap;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vitrine_core::{
    engine::{lifecycle::Cause, saved, stream::Settings},
    limits,
};
use vitrine_runtime::clock::Clock;

use super::{
    Busy, Claim, Encoding, Fence, Herald, Live, Publisher, Stores, StreamId,
    bans::Bans,
    chronicle::Chronicle,
    meters,
    published::Shared,
    publisher::Message,
    states::{Left, Story},
    takedowns::Takedowns,
    task::{Ends, Task},
};

/// The live streams of this process. A cheap handle.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    settings: Settings,
    encoding: Option<Encoding>,
    stores: Stores,
    herald: Herald,
    clock: Clock,
    streams: DashMap<StreamId, Live>,
    tasks: TaskTracker,
    stop: CancellationToken,
    draining: AtomicBool,
    /// What tasks left when the server stopped.
    left: Mutex<Vec<(StreamId, Left)>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("streams", &self.0.streams.len())
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// A registry without streams; without `encoding` all of them are passed through.
    pub fn new(
        settings: Settings,
        encoding: Option<Encoding>,
        stores: Stores,
        herald: Herald,
        clock: Clock,
    ) -> Self {
        meters::register();
        Self(Arc::new(Inner {
            settings,
            encoding,
            stores,
            herald,
            clock,
            streams: DashMap::new(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            draining: AtomicBool::new(false),
            left: Mutex::default(),
        }))
    }

    /// Asks for the write side of a stream, which is created when it is not there.
    ///
    /// # Errors
    /// [`Busy`], fit for the broadcaster's eyes.
    pub async fn claim(&self, claim: Claim) -> Result<Publisher, Busy> {
        for _ in 0..limits::CLAIM_ATTEMPTS_MAX {
            let live = self.open(&claim.stream)?;
            let (answer, answered) = oneshot::channel();
            let message = Message::Claim {
                claim: Box::new(claim.clone()),
                answer,
            };
            // Either fails only when the task is ending; the next round then finds it gone. When the server stops it stays,
            // for players.
            if live.inbox().send(message).await.is_ok()
                && let Ok(answer) = answered.await
            {
                return answer;
            }
            if !self.draining() {
                self.remove(&live);
            }
        }
        Err(Busy::Unavailable)
    }

    /// The read side of a stream; `None` when there is none of that name. Allocates nothing.
    pub fn lookup(&self, stream: &str) -> Option<Live> {
        self.0.streams.get(stream).map(|live| live.value().clone())
    }

    /// All streams by name, ended ones that are still fetchable included.
    pub fn streams(&self) -> Vec<Live> {
        let mut streams: Vec<_> =
            (self.0.streams.iter().map(|live| live.value().clone())).collect();
        streams.sort_by(|a, b| a.id().cmp(b.id()));
        streams
    }

    /// The clock the streams live by.
    pub fn clock(&self) -> Clock {
        self.0.clock
    }

    /// Stream keys that are refused.
    pub fn bans(&self) -> &Bans {
        &self.0.stores.bans
    }

    /// What was taken down.
    pub fn takedowns(&self) -> &Takedowns {
        &self.0.stores.takedowns
    }

    /// Refuses new claims from now on; publishers and streams go on until [`Registry::drain`].
    pub fn begin_drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// Whether [`Registry::begin_drain`] has been called.
    pub fn draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }

    /// Goes on with a stream that another process left; it is served when this returns. Not for one that is there.
    ///
    /// # Errors
    /// Why it cannot go on; nothing is there then.
    pub async fn resume(&self, stream: &StreamId, left: Left) -> Result<(), saved::Error> {
        let (mut task, live) = self.task(stream);
        task.resume(left).await?;
        self.0.streams.insert(stream.clone(), live.clone());
        self.run(task, live);
        Ok(())
    }

    /// Tells the end of each life that is not gone on with: of those that the process before has left in good order, as
    /// their `stories` say; of those that were `unfinished` besides, each with what was told of it last, that it crashed.
    pub fn bury(
        &self,
        stories: Vec<(StreamId, Story)>,
        mut unfinished: Vec<(String, Map<String, Value>)>,
    ) {
        let goes_on = |stream: &str| {
            let live = self.lookup(stream);
            live.is_some_and(|live| live.0.chronicle().is_alive())
        };
        for (stream, story) in stories {
            unfinished.retain(|(name, _)| name != stream.as_str());
            if !goes_on(stream.as_str()) {
                self.conclude(&stream, story);
            }
        }
        for (stream, last) in unfinished {
            if !goes_on(&stream) {
                self.0.herald.crashed(&stream, last);
            }
        }
    }

    /// A takedown that came too late for the process before is carried out with it.
    fn conclude(&self, stream: &StreamId, story: Story) {
        let Stores {
            bans, takedowns, ..
        } = &self.0.stores;
        let takedown = { story.epoch() }.and_then(|epoch| takedowns.find(stream, epoch));
        let taken_down = takedown.is_some();
        let mut chronicle = Chronicle::new(self.0.herald.clone(), stream.clone());
        chronicle.conclude(story, takedown);
        if let Some(key) = chronicle.key().filter(|_| taken_down) {
            bans.impose(&key, stream, None, &Fence::TakenDown.to_string());
            let bans = bans.clone();
            tokio::spawn(async move { bans.keep().await });
        }
    }

    /// Tells the end of a stream that [`Self::drain`] has answered, and that cannot be kept for another process.
    pub fn give_up(&self, stream: &StreamId) {
        if let Some(live) = self.lookup(stream.as_str()) {
            let metered = live.status().input.total();
            let now = self.0.clock.now().wall;
            live.0.chronicle().over(now, None, metered);
        }
    }

    /// Refuses new claims, fences every publisher, stops every stream and answers those that can go on in another
    /// process. What was published can still be fetched; whoever waits for more is told to come again.
    pub async fn drain(&self) -> Vec<(StreamId, Left)> {
        self.begin_drain();
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        let mut left = self.0.left.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *left)
    }

    /// The stream, created when it is not there.
    fn open(&self, stream: &StreamId) -> Result<Live, Busy> {
        if self.draining() {
            return Err(Busy::ShuttingDown);
        }
        if let Some(live) = self.lookup(stream.as_str()) {
            return Ok(live);
        }
        // Counted before the entry is locked: the length takes every shard's lock. Two at once may pass by one.
        if self.0.streams.len() >= limits::STREAMS_MAX {
            return Err(Busy::TooMany);
        }
        let live = self
            .0
            .streams
            .entry(stream.clone())
            .or_insert_with(|| self.spawn(stream));
        Ok(live.value().clone())
    }

    fn spawn(&self, stream: &StreamId) -> Live {
        let (task, live) = self.task(stream);
        self.run(task, live.clone());
        live
    }

    fn task(&self, stream: &StreamId) -> (Task, Live) {
        let inner = &self.0;
        let (sender, inbox) = mpsc::channel(limits::INBOX_MESSAGES_MAX);
        let (ordering, orders) = mpsc::channel(limits::ORDERS_MAX);
        let (master, presentation) = watch::channel(None);
        let shared = Arc::new(Shared::new(
            stream.clone(),
            Chronicle::new(inner.herald.clone(), stream.clone()),
            inner.stores.clone(),
            sender,
            ordering,
            presentation,
        ));
        let task = Task::new(
            inner.settings.clone(),
            inner.clock,
            inner.stop.clone(),
            inner.encoding.clone(),
            shared.clone(),
            Ends {
                inbox,
                orders,
                master,
            },
        );
        (task, Live(shared))
    }

    /// Starts the task of a stream, and beside it what cleans up after it, panics included.
    fn run(&self, task: Task, live: Live) {
        let run = tokio::spawn(task.run());
        let registry = self.clone();
        self.0.tasks.spawn(async move {
            match run.await {
                Ok(Some(left)) => {
                    let all = &registry.0.left;
                    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                    all.push((live.id().clone(), left));
                }
                Ok(None) if registry.0.stop.is_cancelled() => {}
                Ok(None) => registry.remove(&live),
                Err(error) => {
                    tracing::error!(stream = %live.id(), %error, "stream task failed");
                    metrics::counter!("vitrine_stream_panics_total").increment(1);
                    registry.remove(&live);
                }
            }
        });
    }

    #[cfg(test)]
    pub(super) fn stores(&self) -> &Stores {
        &self.0.stores
    }

    /// Puts a stream without a task into the map.
    #[cfg(test)]
    pub(super) fn insert(&self, live: Live) {
        self.0.streams.insert(live.id().clone(), live);
    }

    /// Puts a stream into the map whose task has gone, and nobody has cleaned up after it yet.
    #[cfg(test)]
    pub(super) fn orphan(&self, stream: &StreamId) -> Live {
        let (_, live) = self.task(stream);
        self.insert(live.clone());
        live
    }

    /// Removes this very stream, whose task has ended, not a successor of the same name. A life that the task could not end
    /// any more is over before the next one of that name can begin.
    fn remove(&self, gone: &Live) {
        let metered = gone.status().input.total();
        let now = self.0.clock.now().wall;
        let cause = Some((Cause::Crash, None));
        gone.0.chronicle().over(now, cause, metered);
        self.0.streams.remove_if(gone.id(), |_, live| live.is(gone));
    }
}
