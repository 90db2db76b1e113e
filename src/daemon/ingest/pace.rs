//! How fast one publisher may deliver: media time against arrival, and bits against its cap (design: Time, Verdict).
//!
//! Both are leaky buckets with time as an argument. The invariant they share: a publisher that was held up by its network
//! for as long as we endure silence, and then sends everything at once, is neither slowed down nor blamed. What is done
//! about an excess is the connection's business.

use std::time::Duration;

use vitrine_core::limits::{BITRATE_BURST, PACE_LAG, PACE_LEAD, PACE_STEP};

/// How far media is ahead of its arrival.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<(Duration, u32)>,
    /// Microseconds of media beyond the time that passed; negative while behind.
    lead_micros: i64,
}

impl Pace {
    /// Notes that media with this RTMP timestamp arrived at `now`.
    ///
    /// Time drains a thousandth faster than it passes: a publisher's clock that runs fast by less must never add up to
    /// a hold, however long the broadcast.
    pub(super) fn arrive(&mut self, now: Duration, timestamp: u32) {
        if let Some((then, before)) = self.last {
            let passed = micros(now.saturating_sub(then));
            self.lead_micros = (self.lead_micros - passed - passed / 1000).max(-micros(PACE_LAG));
            let step = i64::from(timestamp.wrapping_sub(before).cast_signed()) * 1000;
            if step.abs() <= micros(PACE_STEP) {
                self.lead_micros += step;
            }
        }
        self.last = Some((now, timestamp));
    }

    /// When the socket may be read again; `None` when it may be now.
    pub(super) fn hold_until(&self) -> Option<Duration> {
        let (then, _) = self.last?;
        let excess = u64::try_from(self.lead_micros - micros(PACE_LEAD)).ok()?;
        (excess > 0).then(|| then + Duration::from_micros(excess))
    }
}

/// A cap on the bits of one publisher.
#[derive(Debug)]
pub(super) struct Cap {
    bits_per_second: u64,
    last: Duration,
    /// Bits, times a million, that are still free.
    credit: u128,
}

impl Cap {
    /// A cap of `kbps` thousand bits a second, from `now` on.
    pub(super) fn new(kbps: u32, now: Duration) -> Self {
        let mut cap = Self {
            bits_per_second: u64::from(kbps) * 1000,
            last: now,
            credit: 0,
        };
        cap.credit = cap.worth(BITRATE_BURST);
        cap
    }

    /// Takes `bytes` that arrived at `now`; false once the cap is exceeded.
    pub(super) fn take(&mut self, now: Duration, bytes: usize) -> bool {
        let earned = self.worth(now.saturating_sub(self.last));
        self.last = now;
        self.credit = (self.credit + earned).min(self.worth(BITRATE_BURST));
        match self.credit.checked_sub(bytes as u128 * 8_000_000) {
            Some(left) => self.credit = left,
            None => return false,
        }
        true
    }

    fn worth(&self, time: Duration) -> u128 {
        time.as_micros() * u128::from(self.bits_per_second)
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_file_pushed_at_once_is_held_ten_seconds_ahead() {
        let mut pace = Pace::default();
        for frame in 0..=250 {
            pace.arrive(ms(0), frame * 40);
        }
        assert_eq!(pace.hold_until(), None, "10 s ahead is allowed");
        pace.arrive(ms(0), 251 * 40);
        assert_eq!(pace.hold_until(), Some(ms(40)));
        pace.arrive(ms(40), 251 * 40);
        assert_eq!(pace.hold_until(), None, "the clock caught up");
    }

    #[test]
    fn a_burst_after_a_stall_passes_at_once() {
        let mut pace = Pace::default();
        pace.arrive(ms(0), 0);
        for frame in 1..=14 * 25 {
            pace.arrive(ms(14_000), frame * 40);
            assert_eq!(pace.hold_until(), None);
        }
    }

    #[test]
    fn jumps_and_wraps_of_the_publishers_clock_hold_nothing() {
        let mut pace = Pace::default();
        let day = 86_400_000;
        for (at, timestamp) in [
            (0, u32::MAX - 19),
            (40, 20),
            (80, day),
            (120, 7),
            (160, day),
        ] {
            pace.arrive(ms(at), timestamp);
            assert_eq!(pace.hold_until(), None, "at {at}");
        }
    }

    #[test]
    fn a_clock_that_runs_fast_by_500_ppm_is_never_held_in_a_week() {
        let mut pace = Pace::default();
        for second in 0..7 * 86_400_u64 {
            let media = second * 1_000_500 / 1000;
            pace.arrive(ms(second * 1000), media as u32);
            assert_eq!(pace.hold_until(), None, "after {second} s");
        }
    }

    #[test]
    fn the_cap_lets_a_stalled_publisher_catch_up_and_stops_a_greedy_one() {
        // 1000 kbit/s = 125 bytes a millisecond.
        let mut cap = Cap::new(1000, ms(0));
        for second in 1..=60 {
            assert!(cap.take(ms(second * 1000), 125_000), "exactly the cap");
        }
        assert!(cap.take(ms(75_000), 15 * 125_000), "what a stall held back");
        let mut cap = Cap::new(1000, ms(0));
        let greedy = (1..).find(|second| !cap.take(ms(second * 1000), 250_000));
        assert_eq!(greedy, Some(15), "twice the cap uses up the burst");
    }
}
