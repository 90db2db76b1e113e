//! A day of broadcast on the virtual clock: whatever happens in it, what the engine holds at the end of an hour is what it
//! held an hour before.
//!
//! Memory is what a counting allocator says of this thread, engine, snapshots and test source together; the model player
//! looks at every version for the first minute of every ten, and what it remembers is dropped with it. Each hour is random:
//! jitter, losses, freezes, takeovers, stops, restarts of ours, long and short absences, clocks that drift and wrap,
//! encoders that come back changed. From the ninth hour to the fourteenth one publisher stays, so that a clock of 24 bits wraps where it does
//! (4 h 39 min 37 s). Every hour ends with three regular minutes, so that hours can be compared.
//!
//! `make test` plays two hours, `make soak` twenty-four (MODEL_HOURS).

use allocation_counter::AllocationInfo;

use super::{
    End,
    model::{Act, Broadcast},
    source::{Source, aac, avc_large},
};

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
/// A viewer comes this often, and looks for a minute.
const VIEW_EVERY_MS: u64 = 10 * MINUTE_MS;
/// The hours through which one publisher stays.
const LONG_SESSION: std::ops::Range<u64> = 8..13;
/// Between the ends of two hours: one more segment than the other time, longer numbers, a queue with more room.
const GROWTH_MAX_BYTES: u64 = 128 << 10;

/// What is held, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    segments: usize,
    parts: usize,
    media_bytes: usize,
    inits: usize,
}

/// A broadcaster's day.
struct Day {
    broadcast: Broadcast,
    viewer_came_ms: u64,
    /// Twists of the plot so far.
    sessions: u64,
}

impl Day {
    fn begin() -> Self {
        Self {
            broadcast: Broadcast::open(Source::usual(), 0x5EEC),
            viewer_came_ms: 0,
            sessions: 1,
        }
    }

    fn hour(&mut self, hour: u64) {
        let end_ms = (hour + 1) * HOUR_MS;
        let stays = LONG_SESSION.contains(&hour);
        if hour == LONG_SESSION.start {
            let clock_mask = (1 << 24) - 1;
            self.reopen(Source {
                clock_mask,
                ..Source::usual()
            });
        }
        while self.broadcast.rig.now_ms < end_ms - 4 * MINUTE_MS {
            self.look();
            if !stays && self.broadcast.roll(12) == 0 {
                self.twist();
            } else {
                let act = self.act(stays);
                self.broadcast.act(&act);
            }
        }
        if !stays {
            self.reopen(Source::usual());
        }
        let left_ms = end_ms - self.broadcast.rig.now_ms;
        for ms in [left_ms - 3 * MINUTE_MS, MINUTE_MS, MINUTE_MS, MINUTE_MS] {
            let jitter_ms = 0;
            self.broadcast.act(&Act::Send { ms, jitter_ms });
        }
        self.broadcast.rig.change_viewers();
        // The rig's own notes of when what was seen are no part of what the engine holds.
        for shown in self.broadcast.rig.epochs.values_mut() {
            shown.growth.clear();
        }
    }

    /// Something that happens while a publisher stays.
    fn act(&mut self, stays: bool) -> Act {
        let mut upto = |ms| self.broadcast.roll(ms);
        match upto(if stays { 9 } else { 12 }) {
            0 => Act::Freeze {
                ms: 40 + upto(6_000),
            },
            1 => Act::Mute {
                ms: 40 + upto(6_000),
            },
            2 => Act::Stall {
                ms: 40 + upto(8_000),
            },
            3..9 => Act::Send {
                ms: 500 + upto(20_000),
                jitter_ms: upto(80),
            },
            9 => Act::Drought {
                ms: 500 + upto(6_000),
            },
            10 => Act::Restart {
                away_ms: upto(8_000),
                ms: upto(8_000),
            },
            _ => Act::Reconnect { ms: upto(15_000) },
        }
    }

    /// The publisher goes, or is thrown out, and another encoder comes.
    fn twist(&mut self) {
        let rig = &mut self.broadcast.rig;
        match self.sessions % 4 {
            0 => {} // takeover
            1 => rig.close(End::Stopped),
            _ => rig.close(End::Lost),
        }
        let away_ms = self.broadcast.roll(30_000); // grace is 20 s, or 3 s
        self.broadcast.rig.pass(away_ms);
        let mut source = match self.broadcast.roll(4) {
            0 => Source::new((25, 1), 50, Some(aac(44_100, false))),
            1 => Source::new((30, 1), 60, None),
            _ => Source::usual(),
        };
        if let Some(pictures) = &mut source.pictures {
            pictures.b_frames = self.broadcast.roll(2) == 0;
            if self.broadcast.roll(2) == 0 {
                pictures.config = avc_large();
            }
        }
        source.drift_ppm = self.broadcast.roll(400) as i64 - 200;
        // Half of the clocks wrap within a minute, at 32 bits or at 24.
        if self.broadcast.roll(2) == 0 {
            source.clock_mask = u32::MAX >> (8 * self.broadcast.roll(2));
            source.first_timestamp = source.clock_mask - self.broadcast.roll(MINUTE_MS) as u32;
        }
        self.reopen(source);
    }

    fn reopen(&mut self, source: Source) {
        self.sessions += 1;
        self.broadcast.reopen(source);
    }

    /// Lets a viewer come or go as the time says.
    fn look(&mut self) {
        let rig = &mut self.broadcast.rig;
        if rig.now_ms - self.viewer_came_ms >= VIEW_EVERY_MS {
            self.viewer_came_ms = rig.now_ms;
            rig.change_viewers();
        }
        rig.watching = rig.now_ms - self.viewer_came_ms < MINUTE_MS;
    }

    fn held(&self) -> Held {
        let snapshots = self.broadcast.rig.shown().snapshots.values();
        let segments = || {
            snapshots
                .clone()
                .flat_map(|snapshot| snapshot.retained.iter().chain(&snapshot.listed))
        };
        let parts = || segments().flat_map(|segment| &segment.parts);
        Held {
            segments: segments().count(),
            parts: parts().count(),
            media_bytes: parts()
                .flat_map(|part| &part.data)
                .map(|data| data.len())
                .sum(),
            inits: snapshots.map(|snapshot| snapshot.inits.len()).sum(),
        }
    }
}

#[test]
fn an_hour_ends_with_no_more_memory_than_the_one_before() {
    let hours = std::env::var("MODEL_HOURS").ok();
    let hours = hours.and_then(|hours| hours.parse().ok()).unwrap_or(2);
    let mut day = Day::begin();
    let mut first = None;
    let mut net = 0_i64;
    println!(
        "| hour | sessions | bytes held more than after the first | peak above the hour's start | segments | parts | media bytes | inits |"
    );
    println!("|-|-|-|-|-|-|-|-|");
    for hour in 0..hours {
        let AllocationInfo {
            bytes_current,
            bytes_max,
            ..
        } = allocation_counter::measure(|| day.hour(hour));
        let held = day.held();
        let Held {
            segments,
            parts,
            media_bytes,
            inits,
        } = held;
        net += if first.is_some() { bytes_current } else { 0 };
        let sessions = day.sessions;
        println!(
            "| {hour} | {sessions} | {net} | {bytes_max} | {segments} | {parts} | {media_bytes} | {inits} |"
        );
        let (first_held, first_peak): (Held, u64) = *first.get_or_insert((held, bytes_max));
        assert!(
            net.unsigned_abs() <= GROWTH_MAX_BYTES,
            "hour {hour} ends with {net} bytes more than the first"
        );
        assert!(
            bytes_max <= first_peak,
            "hour {hour} needs more than the first, which began with nothing"
        );
        let drift = held.segments.abs_diff(first_held.segments);
        assert!(drift <= 4, "hour {hour}: {held:?}, at first {first_held:?}");
    }
}

#[test]
fn a_leak_is_counted() {
    let leak = || std::mem::forget(std::hint::black_box(vec![0_u8; 4096]));
    assert_eq!(allocation_counter::measure(leak).bytes_current, 4096);
}
