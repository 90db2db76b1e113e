//! The two clocks, read in this one file of the live floor.
//!
//! Monotonic time is tokio's, so that a paused test clock moves everything; wall time only anchors program date-time and
//! names epochs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use vitrine_core::media::{Now, WallTime};

/// Reads the monotonic and the wall clock. Cheap to copy; all copies share the origin of monotonic time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    /// Wall time at the origin, when wall time is to follow the monotonic clock.
    fixed: Option<WallTime>,
}

impl Clock {
    /// The clocks of this machine. Needs a tokio runtime.
    pub fn system() -> Self {
        Self {
            origin: Instant::now(),
            fixed: None,
        }
    }

    /// A wall clock that shows `wall` now and then follows the monotonic one: for tests.
    pub fn starting_at(wall: WallTime) -> Self {
        Self {
            origin: Instant::now(),
            fixed: Some(wall),
        }
    }

    /// Both clocks now.
    pub fn now(&self) -> Now {
        let mono = self.origin.elapsed();
        let wall = match self.fixed {
            Some(WallTime(start)) => WallTime(start + millis(mono)),
            None => WallTime(millis(
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default(),
            )),
        };
        Now { mono, wall }
    }

    /// The instant at which the monotonic clock shows `mono`.
    pub fn at(&self, mono: Duration) -> Instant {
        self.origin + mono
    }
}

fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}
