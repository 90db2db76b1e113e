//! What a backend allowed, while it lasts: it can be asked about again, is told how it goes, and exactly once that it ended.
//!
//! In our own dialect a publish may be revalidated; the others are told of its end (`on_unpublish`, `on_publish_done`), and
//! nginx-rtmp's of its progress (`on_update`). A backend that does not answer about what runs lets it run.

use std::{fmt, time::Duration};

use tokio::time::{Instant, timeout};
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::warn;
use vitrine_core::wire::hook::{Progress, Publish};

use super::{
    backend::Trouble,
    client::{Fingerprint, Hooks},
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
    /// Counts it among those whose end will have to be told.
    _counted: TaskTrackerToken,
}

impl fmt::Debug for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Allowance")
            .field("publish", &self.publish)
            .finish_non_exhaustive()
    }
}

impl Allowance {
    /// Follows `publish`, which the backend of `hooks` allowed as `stream`, to its end.
    pub fn new(hooks: Hooks, publish: Publish, stream: StreamId) -> Self {
        Self {
            _counted: hooks.0.ends.tracker.token(),
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
        let verdict = inner
            .consult(&inner.running, &self.publish, body, || {})
            .await;
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
        let replied = replied.unwrap_or(Err(Trouble::Deadline(settings.deadline)));
        match replied.and_then(|reply| Ok(settings.dialect.goes_on(&reply.answer()?))) {
            Ok(true) => true,
            Ok(false) => {
                inner.forget(&Fingerprint::of(&self.publish));
                false
            }
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
            inner.ends.tell(body, Duration::ZERO);
        }
    }
}
