//! The time that retries are due by: wall time when the outbox was opened, and from there what the monotonic clock adds.
//!
//! So a clock that is set while the process runs moves no retry; what is due by a former process' clock is bounded when it
//! is read. What is told to receivers is the wall's time as it is.

use std::time::Duration;

use tokio::time::Instant;
use vitrine_core::media::WallTime;

use crate::clock::wall;

/// Wall time that is never set.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    start: WallTime,
    since: Instant,
}

impl Steady {
    /// Right now, and steady from here.
    pub fn start() -> Self {
        Self {
            start: wall(),
            since: Instant::now(),
        }
    }

    /// The time.
    pub fn now(&self) -> WallTime {
        self.after(Duration::ZERO)
    }

    /// The time after `wait`.
    pub fn after(&self, wait: Duration) -> WallTime {
        let passed = self.since.elapsed().saturating_add(wait).as_millis();
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        WallTime(self.start.0.saturating_add(passed))
    }

    /// The instant of `time`; now, when it has passed, and a day ahead when it is further than can be told.
    pub fn instant(&self, time: WallTime) -> Instant {
        let ahead = u64::try_from(time.0.saturating_sub(self.start.0)).unwrap_or(0);
        let far = || Instant::now() + Duration::from_secs(86_400);
        // A millisecond on, for it counts in whole ones: never too early.
        let instant = self
            .since
            .checked_add(Duration::from_millis(ahead.saturating_add(1)));
        instant.unwrap_or_else(far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn retries_are_due_by_a_clock_that_nobody_sets() {
        let clock = Steady::start();
        let due = clock.after(Duration::from_secs(5));
        tokio::time::sleep_until(clock.instant(due)).await;
        assert!(clock.now() >= due);
        assert!(clock.now().0 - due.0 < 10);
        assert!(clock.instant(WallTime(0)) <= Instant::now() + Duration::from_millis(1));
        assert!(clock.instant(WallTime(i64::MAX)) > Instant::now());
    }
}
