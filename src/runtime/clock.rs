//! The one place that reads the clocks. Everything below it takes time as an argument ([`Now`]).
//!
//! Monotonic time is tokio's, so that a test with a paused runtime drives everything; wall time is the system's and
//! serves only as data (program date-time, logs).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use vitrine_core::media::{Now, WallTime};

/// Both clocks; monotonic time counts from the moment this was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts at zero now.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Both clocks at this moment.
    pub fn now(&self) -> Now {
        Now {
            mono: self.start.elapsed(),
            wall: wall(),
        }
    }

    /// The instant at which this clock shows `mono`: what a timer waits for when a state machine names a deadline.
    /// A deadline too far ahead to be told is a day ahead.
    pub fn instant(&self, mono: Duration) -> Instant {
        let far = || Instant::now() + Duration::from_secs(86_400);
        self.start.checked_add(mono).unwrap_or_else(far)
    }
}

/// Wall time, to the millisecond. A clock set before 1970 shows zero.
pub fn wall() -> WallTime {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    WallTime(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn deadlines_are_told_on_the_clock_that_tokio_waits_by() {
        let clock = Clock::start();
        tokio::time::sleep_until(clock.instant(Duration::from_secs(3))).await;
        assert_eq!(clock.now().mono, Duration::from_secs(3));
        assert!(clock.now().wall > WallTime(1_700_000_000_000));
        assert!(clock.instant(Duration::MAX) > Instant::now());
    }
}
