//! Which media time arrives now: the running regression of arrival to media time that wall times are mapped by.
//!
//! Its slope is one, for publishers' clocks drift by millionths; what it follows is how far media is ahead of the monotonic
//! clock. A network delays and never hurries, so what is ahead of all before is believed at once, and what is behind only
//! little by little: a stall and its burst hardly move it, a publisher that stays late moves it within seconds.

use std::time::Duration;

use crate::media::{MediaTime, Timescale};

const MICROS: Timescale = Timescale::new(1_000_000).expect("not zero");
/// One in so many microseconds of a delay is believed, at each picture.
const PATIENCE: i64 = 64;

/// How far a session's media is ahead of the clock, in microseconds.
#[derive(Debug, Default)]
pub(in crate::engine) struct Arrival {
    ahead_us: Option<i64>,
}

impl Arrival {
    /// Media up to `end` has arrived at `now` (monotonic).
    pub(in crate::engine) fn observe(&mut self, now: Duration, end: MediaTime) {
        let ahead = end.ticks_at_floor(MICROS) - us(now);
        self.ahead_us = Some(match self.ahead_us {
            Some(known) if ahead < known => known + (ahead - known) / PATIENCE,
            _ => ahead,
        });
    }

    /// The media time, in milliseconds, that arrives at `now` (monotonic); `None` before any has.
    pub(in crate::engine) fn at(&self, now: Duration) -> Option<i64> {
        Some((us(now) + self.ahead_us?).div_euclid(1000))
    }
}

fn us(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told 10 s after its beginning of media of 40 ms that arrives `late_ms` after its time.
    fn told(late_ms: impl Fn(i64) -> i64) -> i64 {
        let mut arrival = Arrival::default();
        let mut last = 0;
        for n in 0..250 {
            last = (n * 40 + late_ms(n)).max(last);
            let now = Duration::from_millis(last.unsigned_abs());
            arrival.observe(now, MediaTime::from_ms(n * 40));
        }
        arrival.at(Duration::from_secs(10)).expect("media")
    }

    #[test]
    fn nothing_is_known_before_media_came() {
        assert_eq!(Arrival::default().at(Duration::from_secs(1)), None);
    }

    #[test]
    fn steady_media_is_mapped_exactly() {
        assert_eq!(told(|_| 0), 10_000);
        assert_eq!(told(|_| 350), 9_650);
    }

    #[test]
    fn a_stall_and_its_burst_hardly_move_it() {
        // Frames 200 to 224 all come with the last of them, a second late at worst.
        let told = told(|n| {
            if (200..225).contains(&n) {
                (225 - n) * 40
            } else {
                0
            }
        });
        assert!((9_990..=10_000).contains(&told), "{told}");
    }

    #[test]
    fn a_publisher_that_stays_late_is_followed() {
        let told = told(|n| if n >= 50 { 2_000 } else { 0 });
        assert!((8_000..=8_100).contains(&told), "{told}");
    }
}
