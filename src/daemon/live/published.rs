//! The read side of a stream: what every request is answered from, without a lock or any work per viewer.
//!
//! Hand-off B (design, section 5): one watch per rendition, so that a waiting request wakes once per version. A version is
//! a [`Rendered`]: an immutable snapshot whose playlist texts are each written at most once, when first asked for; a
//! stream that nobody watches costs no writing. The write half is `publication`.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use vitrine_core::{engine::window::Snapshot, limits, media::Rendition, wire::m3u8::media::Form};

pub use super::text::{Body, Text};
use super::{
    Stores, StreamId, chronicle::Chronicle, orders::Order, publisher::Message, status::Status,
    timeline::Timeline,
};

/// One version of a rendition, and its playlist texts once somebody has asked for them.
#[derive(Debug)]
pub struct Rendered {
    snapshot: Arc<Snapshot>,
    published: Instant,
    full: OnceLock<Text>,
    delta: OnceLock<Text>,
}

impl Rendered {
    /// A version nobody has asked for yet.
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self {
            snapshot,
            published: Instant::now(),
            full: OnceLock::new(),
            delta: OnceLock::new(),
        }
    }

    /// What it was made from.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// When it could first be asked for.
    pub fn published(&self) -> Instant {
        self.published
    }

    /// Bytes of media that can be fetched through it.
    pub fn bytes_retained(&self) -> usize {
        let snapshot = &self.snapshot;
        let segments = snapshot
            .retained
            .iter()
            .chain(&snapshot.listed)
            .chain(&snapshot.open);
        segments.map(|segment| segment.bytes()).sum()
    }

    /// The media playlist in `form`.
    pub fn playlist(&self, form: Form) -> &Text {
        let text = match form {
            Form::Full => &self.full,
            Form::Delta => &self.delta,
        };
        text.get_or_init(|| Text::new(self.snapshot.playlist(form)))
    }
}

/// The multivariant playlist of the newest epoch that is ready.
#[derive(Debug)]
pub struct Master {
    /// The epoch its URIs name.
    pub epoch: u64,
    /// The playlist.
    pub text: Text,
}

/// The renditions of one epoch, in the order of their names in playlists.
#[derive(Clone, Debug)]
pub(super) struct Epoch {
    pub(super) number: u64,
    pub(super) renditions: Vec<(Rendition, watch::Receiver<Arc<Rendered>>)>,
    pub(super) timeline: Arc<Timeline>,
}

/// What all handles of a stream share. Written by its task alone, except for the counters.
pub(super) struct Shared {
    pub(super) id: StreamId,
    pub(super) inbox: mpsc::Sender<Message>,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) stores: Stores,
    pub(super) master: watch::Receiver<Option<Arc<Master>>>,
    /// Newest last; changes when an epoch or a rendition begins or is dropped.
    pub(super) epochs: ArcSwap<Vec<Epoch>>,
    /// The last still.
    pub(super) thumbnail: ArcSwapOption<Body>,
    pub(super) status: Mutex<Status>,
    chronicle: Mutex<Chronicle>,
    waiters: AtomicUsize,
    requests: AtomicU64,
    /// When the message that the task has in hand was received: microseconds on the stream's clock, and one. Zero: none.
    in_hand: AtomicU64,
}

impl Shared {
    pub(super) fn new(
        id: StreamId,
        chronicle: Chronicle,
        stores: Stores,
        inbox: mpsc::Sender<Message>,
        orders: mpsc::Sender<Order>,
        master: watch::Receiver<Option<Arc<Master>>>,
    ) -> Self {
        Self {
            id,
            inbox,
            orders,
            stores,
            master,
            epochs: ArcSwap::default(),
            thumbnail: ArcSwapOption::empty(),
            status: Mutex::default(),
            chronicle: Mutex::new(chronicle),
            waiters: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            in_hand: AtomicU64::new(0),
        }
    }

    /// Notes that the task takes up a message received at `received` (monotonic), or has none.
    pub(super) fn take_up(&self, received: Option<Duration>) {
        let micros = received.map_or(0, |received| {
            u64::try_from(received.as_micros()).map_or(u64::MAX, |micros| micros.saturating_add(1))
        });
        self.in_hand.store(micros, Ordering::Relaxed);
    }

    /// The status, which is whole between any two statements: a panic elsewhere does not spoil it.
    pub(super) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is told of the stream; what the task leaves unsaid when it panics is said by the registry.
    pub(super) fn chronicle(&self) -> MutexGuard<'_, Chronicle> {
        self.chronicle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The read side of one stream. A cheap handle.
#[derive(Clone)]
pub struct Live(pub(super) Arc<Shared>);

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Live").field(&self.0.id).finish()
    }
}

impl Live {
    /// The public name.
    pub fn id(&self) -> &StreamId {
        &self.0.id
    }

    /// The multivariant playlist, `None` while no epoch is ready. The watch ends with the stream.
    pub fn master(&self) -> watch::Receiver<Option<Arc<Master>>> {
        self.0.master.clone()
    }

    /// The versions of a rendition; `None` when the epoch or the rendition is unknown or gone. The watch ends with the
    /// stream, or when the epoch is dropped.
    pub fn rendition(
        &self,
        epoch: u64,
        rendition: Rendition,
    ) -> Option<watch::Receiver<Arc<Rendered>>> {
        let epochs = self.0.epochs.load();
        let epoch = epochs.iter().find(|known| known.number == epoch)?;
        let (_, versions) = (epoch.renditions.iter()).find(|(name, _)| *name == rendition)?;
        Some(versions.clone())
    }

    /// The last still of the broadcast, a JPEG; `None` before the first.
    pub fn thumbnail(&self) -> Option<Arc<Body>> {
        self.0.thumbnail.load_full()
    }

    /// The events of an epoch, the newest unless one is named; `None` when it is unknown or gone.
    pub fn timeline(&self, epoch: Option<u64>) -> Option<Arc<Timeline>> {
        let epochs = self.0.epochs.load();
        let epoch = match epoch {
            Some(number) => epochs.iter().find(|known| known.number == number),
            None => epochs.last(),
        };
        epoch.map(|epoch| epoch.timeline.clone())
    }

    /// The newest version of every rendition of every epoch that is still fetchable, oldest epoch first.
    pub fn renditions(&self) -> Vec<(u64, Rendition, Arc<Rendered>)> {
        let epochs = self.0.epochs.load();
        (epochs.iter())
            .flat_map(|epoch| {
                (epoch.renditions.iter())
                    .map(|(name, versions)| (epoch.number, *name, versions.borrow().clone()))
            })
            .collect()
    }

    /// What the control API tells.
    pub fn status(&self) -> Status {
        self.0.status().clone()
    }

    /// Counts a request that may have to wait; `None` when too many do already.
    pub fn wait(&self) -> Option<Waiter> {
        let counted = self
            .0
            .waiters
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
                (now < limits::WAITERS_PER_STREAM_MAX).then_some(now + 1)
            });
        counted.is_ok().then(|| Waiter(self.0.clone()))
    }

    /// Requests that wait right now.
    pub fn waiters(&self) -> usize {
        self.0.waiters.load(Ordering::Acquire)
    }

    /// Counts a request for anything of this stream.
    pub fn count_request(&self) {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests for anything of this stream, since it began.
    pub fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// Messages waiting for the stream's task.
    pub fn inbox_depth(&self) -> usize {
        self.0.inbox.max_capacity() - self.0.inbox.capacity()
    }

    /// Age, at `now` (monotonic), of the oldest message that was received and is not yet dealt with.
    pub fn inbox_age(&self, now: Duration) -> Duration {
        match self.0.in_hand.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            micros => now.saturating_sub(Duration::from_micros(micros - 1)),
        }
    }

    /// Whether nothing of this epoch is served any more; without one, nothing at the stable addresses.
    pub fn is_taken_down(&self, epoch: Option<u64>) -> bool {
        self.0.stores.takedowns.cover(self.0.id.as_str(), epoch)
    }

    pub(super) fn inbox(&self) -> &mpsc::Sender<Message> {
        &self.0.inbox
    }

    /// Whether both are handles of the same run of the stream's task.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// One request that waits; counted until dropped.
pub struct Waiter(Arc<Shared>);

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Waiter").field(&self.0.id).finish()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::AcqRel);
    }
}
