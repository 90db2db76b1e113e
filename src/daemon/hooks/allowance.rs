//! What a backend allowed, while it lasts: it can be asked about again, is told how it goes, and exactly once that it ended.
//!
//! In our own dialect a publish may be revalidated; the others are told of its end (`on_unpublish`, `on_publish_done`), and
//! nginx-rtmp's of its progress (`on_update`). A backend that does not answer about what runs lets it run. The news of an
//! end is tried a few times from memory: what must not be lost is the outbox's.

use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};
use vitrine_core::{
    limits::{HOOK_DONE_CALLS_MAX, HOOK_DONE_MAX, HOOK_DONE_RETRIES},
    wire::hook::{Body, Progress, Publish},
};
use vitrine_runtime::throttle::OncePerSecond;

use super::{
    Fingerprint, Hooks, Trouble,
    backend::{BackendUrl, Caller, Reply},
    meters,
};
use crate::live::StreamId;

/// What a backend says about a publish that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Again {
    /// It may go on.
    Allow {
        /// Its new age limit, if the answer has one.
        lifetime: Option<Duration>,
        /// When to ask again, if the answer says.
        revalidate: Option<Duration>,
    },
    /// It may not.
    Deny {
        /// What the broadcaster is told.
        reason: String,
    },
    /// Nobody could say; it goes on.
    Unknown,
}

/// A publish that a backend allowed. Its drop tells the backend that it ended.
pub struct Allowance {
    hooks: Hooks,
    publish: Publish,
    stream: StreamId,
    since: Instant,
}

impl std::fmt::Debug for Allowance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Allowance")
            .field("publish", &self.publish)
            .finish_non_exhaustive()
    }
}

impl Allowance {
    pub(super) fn new(hooks: Hooks, publish: Publish, stream: StreamId) -> Self {
        Self {
            hooks,
            publish,
            stream,
            since: Instant::now(),
        }
    }

    /// Whether the publish may go on.
    pub async fn ask_again(&self) -> Again {
        let inner = &*self.hooks.0;
        let dialect = inner.settings.dialect;
        let Some(body) = dialect.ask_again(&self.publish, self.stream.as_str()) else {
            return Again::Unknown;
        };
        let verdict = inner.consult(&inner.running, body).await;
        let fingerprint = Fingerprint::of(&self.publish);
        match verdict.and_then(|verdict| inner.read(&self.publish, verdict)) {
            Ok(Ok(allowed)) => {
                meters::request("allowed");
                if allowed.stream != self.stream {
                    warn!(named = %allowed.stream, "a publish that runs keeps its stream: stream_id of the backend is ignored");
                }
                let seconds = |seconds: u32| Duration::from_secs(seconds.into());
                Again::Allow {
                    lifetime: allowed.allow.lifetime_seconds.map(seconds),
                    revalidate: allowed.allow.revalidate_seconds.map(seconds),
                }
            }
            Ok(Err(reason)) => {
                meters::request("denied");
                inner.forget(&fingerprint);
                Again::Deny { reason }
            }
            Err(trouble) => {
                meters::request(trouble.label());
                inner.tell(&trouble);
                Again::Unknown
            }
        }
    }

    /// How often the backend wants to hear of the publish.
    pub fn update_every(&self) -> Option<Duration> {
        let update = self.hooks.0.settings.update.as_ref();
        update.map(|(_, every)| *every)
    }

    /// Tells how far the publish has come, its latest timestamp being `timestamp` (RTMP milliseconds); gives whether it may
    /// go on.
    pub async fn update(&self, timestamp: u32) -> bool {
        let inner = &*self.hooks.0;
        let settings = &inner.settings;
        let progress = Progress {
            seconds: self.since.elapsed().as_secs(),
            timestamp,
        };
        let body = settings.dialect.update(&self.publish, progress);
        let (Some((url, _)), Some(body)) = (&settings.update, body) else {
            return true;
        };
        let call = async {
            let Ok(_place) = inner.running.enter().await else {
                return Err(Trouble::Full);
            };
            inner.caller.post(url, body, &[]).await
        };
        let replied = timeout(settings.deadline, call).await;
        match replied.unwrap_or(Err(Trouble::Deadline(settings.deadline))) {
            Ok(reply) => settings.dialect.goes_on(&reply.answer()),
            Err(trouble) => {
                inner.tell(&trouble);
                true
            }
        }
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        let inner = &*self.hooks.0;
        if let Some(body) = inner.settings.dialect.done(&self.publish) {
            inner.ends.tell(body);
        }
    }
}

/// What tells a backend of ends.
pub(super) struct Ends {
    caller: Caller,
    url: Option<BackendUrl>,
    deadline: Duration,
    /// Those that may wait.
    room: Arc<Semaphore>,
    /// Those that are told at once.
    places: Arc<Semaphore>,
    pub(super) tracker: TaskTracker,
    lost: OncePerSecond,
}

impl Ends {
    pub(super) fn new(caller: Caller, url: Option<BackendUrl>, deadline: Duration) -> Self {
        Self {
            caller,
            url,
            deadline,
            room: Arc::new(Semaphore::new(HOOK_DONE_MAX)),
            places: Arc::new(Semaphore::new(HOOK_DONE_CALLS_MAX)),
            tracker: TaskTracker::new(),
            lost: OncePerSecond::default(),
        }
    }

    /// Tells of an end, now or a little later.
    fn tell(&self, body: Body) {
        let Some(url) = self.url.clone() else { return };
        let room = Arc::clone(&self.room).try_acquire_owned();
        // Outside of the runtime, as when it ends, there is nobody left to tell it.
        let (Ok(room), Ok(runtime)) = (room, Handle::try_current()) else {
            meters::end("dropped");
            if let Some(held_back) = self.lost.pass("dropped", Instant::now()) {
                warn!(
                    held_back,
                    "too many ends of publishes wait to be told: one is not"
                );
            }
            return;
        };
        let (caller, places, deadline) =
            (self.caller.clone(), Arc::clone(&self.places), self.deadline);
        let telling = async move {
            let mut waits = HOOK_DONE_RETRIES.iter();
            loop {
                let attempt = attempt(&caller, &places, deadline, &url, body.clone()).await;
                match (attempt, waits.next()) {
                    (Ok(()), _) => break meters::end("told"),
                    (Err(trouble), Some(wait)) => {
                        debug!(%trouble, again = ?wait, "the end of a publish was not told");
                        sleep(*wait).await;
                    }
                    (Err(trouble), None) => {
                        warn!(%trouble, "the end of a publish was not told: given up");
                        break meters::end("failed");
                    }
                }
            }
            drop(room);
        };
        self.tracker.spawn_on(telling, &runtime);
    }
}

/// One attempt; what the backend answers does not matter, unless that it fails.
async fn attempt(
    caller: &Caller,
    places: &Semaphore,
    deadline: Duration,
    url: &BackendUrl,
    body: Body,
) -> Result<(), Trouble> {
    let _place = places.acquire().await;
    let reply = timeout(deadline, caller.post(url, body, &[])).await;
    match reply.unwrap_or(Err(Trouble::Deadline(deadline)))? {
        reply if reply.answer().status >= 500 => Err(failing(&reply)),
        _ => Ok(()),
    }
}

fn failing(reply: &Reply) -> Trouble {
    let status = reply.answer().status;
    Trouble::Failing { status }
}
