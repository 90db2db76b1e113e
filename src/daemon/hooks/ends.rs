//! The news that a publish has ended, to backends of other servers' dialects: tried a few times, from memory.
//!
//! A backend may also have said yes to nobody: the publisher was gone, or the deadline over. It is told an end then too,
//! after a while, lest the end overtake the yes.
//!
//! What waits is bounded, and so is what is told at once; beyond, news is dropped and counted. What must not be lost is the
//! outbox's.

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
    wire::hook::Body,
};
use vitrine_runtime::throttle::OncePerSecond;

use super::{
    backend::{BackendUrl, Caller, Trouble},
    meters,
};

/// What tells a backend of ends.
pub(super) struct Ends {
    caller: Caller,
    url: Option<BackendUrl>,
    deadline: Duration,
    /// Those that may wait.
    room: Arc<Semaphore>,
    /// Those that are told at once.
    places: Arc<Semaphore>,
    /// Publishes whose end is to be told, and news on the way.
    pub(super) tracker: TaskTracker,
    lost: OncePerSecond,
}

impl Ends {
    /// Tells them at `url`, if there is one.
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

    /// Watches over a question until somebody knows what came of it.
    pub(super) fn unread(&self) -> Unread<'_> {
        Unread {
            ends: self,
            done: None,
        }
    }

    /// Tells of an end, after `wait` or a little later.
    pub(super) fn tell(&self, body: Body, wait: Duration) {
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
            sleep(wait).await;
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

/// A question to whose answer nobody may come to listen. Dropped with an end to tell, it has it told: as long later as the
/// backend was given for its answer, for it may still be at it.
pub(super) struct Unread<'a> {
    ends: &'a Ends,
    done: Option<Body>,
}

impl Unread<'_> {
    /// The question goes out; should its answer stay unread, `done` is the news.
    pub(super) fn asked(&mut self, done: Option<Body>) {
        self.done = done;
    }

    /// There is nothing to tell, or somebody else will.
    pub(super) fn settle(&mut self) {
        self.done = None;
    }
}

impl Drop for Unread<'_> {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            self.ends.tell(done, self.ends.deadline);
        }
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
    let reply = reply.unwrap_or(Err(Trouble::Deadline(deadline)))?;
    reply.answer().map(|_| ())
}
