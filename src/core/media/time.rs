//! Time: media time on a track's clock, wall time as data, and the `now` that drivers pass in.

use std::{cmp::Ordering, fmt, num::NonZeroU32, time::Duration};

use serde::{Deserialize, Serialize};

/// Ticks per second of a track's clock (ISO/IEC 14496-12, 8.4.2: `timescale`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timescale(NonZeroU32);

impl Timescale {
    /// 90 kHz, the clock of every video track: a whole number of ticks per RTMP millisecond and per nominal frame of
    /// all whole frame rates.
    pub const VIDEO: Self = Self(NonZeroU32::new(90_000).expect("not zero"));
    /// One tick per millisecond, the clock of RTMP and of everything spoken about in milliseconds.
    pub const MILLIS: Self = Self(NonZeroU32::new(1000).expect("not zero"));

    /// A clock of `hz` ticks per second; `None` when `hz` is zero.
    pub const fn new(hz: u32) -> Option<Self> {
        match NonZeroU32::new(hz) {
            Some(hz) => Some(Self(hz)),
            None => None,
        }
    }

    /// Ticks per second.
    pub const fn hz(self) -> u32 {
        self.0.get()
    }

    /// The instant `ticks` on this clock.
    pub const fn at(self, ticks: i64) -> MediaTime {
        MediaTime { ticks, scale: self }
    }
}

/// An instant or a length on a track's clock. Compared exactly across clocks, never through floating point.
#[derive(Clone, Copy, Debug)]
pub struct MediaTime {
    /// Ticks since the epoch's first sample (or a length in ticks).
    pub ticks: i64,
    /// The clock the ticks are counted on.
    pub scale: Timescale,
}

impl Default for MediaTime {
    fn default() -> Self {
        Self::ZERO
    }
}

impl MediaTime {
    /// The start of the epoch.
    pub const ZERO: Self = Timescale::MILLIS.at(0);

    /// `ms` milliseconds.
    pub const fn from_ms(ms: i64) -> Self {
        Timescale::MILLIS.at(ms)
    }

    /// `length`, to the microsecond.
    pub fn from_duration(length: Duration) -> Self {
        let micros = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
        Timescale::new(1_000_000).expect("not zero").at(micros)
    }

    /// Milliseconds, rounded down.
    pub fn ms(self) -> i64 {
        self.ticks_at_floor(Timescale::MILLIS)
    }

    /// Seconds, for display and playlists; exact to well under a microsecond for a year of media.
    pub fn seconds(self) -> f64 {
        self.ticks as f64 / f64::from(self.scale.hz())
    }

    /// The same instant in ticks of `scale`, rounded to the nearest tick (halves up).
    pub fn ticks_at(self, scale: Timescale) -> i64 {
        let (num, den) = self.scaled(scale);
        i64::try_from((2 * num + den).div_euclid(2 * den)).unwrap_or(i64::MAX)
    }

    /// The same instant in ticks of `scale`, rounded down.
    pub fn ticks_at_floor(self, scale: Timescale) -> i64 {
        let (num, den) = self.scaled(scale);
        i64::try_from(num.div_euclid(den)).unwrap_or(i64::MAX)
    }

    /// The same instant in ticks of `scale`, rounded up.
    pub fn ticks_at_ceil(self, scale: Timescale) -> i64 {
        let (num, den) = self.scaled(scale);
        i64::try_from((num + den - 1).div_euclid(den)).unwrap_or(i64::MAX)
    }

    fn scaled(self, scale: Timescale) -> (i128, i128) {
        (
            i128::from(self.ticks) * i128::from(scale.hz()),
            i128::from(self.scale.hz()),
        )
    }
}

impl Ord for MediaTime {
    fn cmp(&self, other: &Self) -> Ordering {
        let left = i128::from(self.ticks) * i128::from(other.scale.hz());
        let right = i128::from(other.ticks) * i128::from(self.scale.hz());
        left.cmp(&right)
    }
}

impl PartialOrd for MediaTime {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for MediaTime {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for MediaTime {}

impl fmt::Display for MediaTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}s", self.seconds())
    }
}

/// Milliseconds since the Unix epoch, UTC. Data that entered with an input, never read from a clock here.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct WallTime(pub i64);

impl fmt::Display for WallTime {
    /// RFC 3339, UTC, milliseconds: `2026-01-01T12:00:00.000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

/// The two clocks of the driver at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time since a point the driver chose; timers and deadlines compare against it.
    pub mono: Duration,
    /// Wall time; used only to anchor program date-time.
    pub wall: WallTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_of_different_clocks_compare_exactly() {
        let frame = Timescale::new(48_000).expect("not zero").at(1024);
        assert!(frame > MediaTime::from_ms(21));
        assert!(frame < MediaTime::from_ms(22));
        assert_eq!(Timescale::VIDEO.at(90), MediaTime::from_ms(1));
        assert_eq!(frame.ticks_at(Timescale::VIDEO), 1920);
        assert_eq!(frame.ticks_at_floor(Timescale::MILLIS), 21);
        assert_eq!(frame.ticks_at_ceil(Timescale::MILLIS), 22);
        assert_eq!(
            Timescale::MILLIS
                .at(-1)
                .ticks_at_floor(Timescale::new(1).expect("not zero")),
            -1
        );
    }

    #[test]
    fn wall_time_prints_rfc_3339_with_milliseconds() {
        assert_eq!(
            WallTime(1_767_268_800_000).to_string(),
            "2026-01-01T12:00:00.000Z"
        );
        assert_eq!(
            WallTime(1_767_268_800_007).to_string(),
            "2026-01-01T12:00:00.007Z"
        );
    }
}
