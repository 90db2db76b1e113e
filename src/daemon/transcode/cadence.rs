//! Which pictures become key frames, and which are left out where a rung has fewer frames per second than its source.
//!
//! Pure arithmetic on the 90 kHz media clock. Every rung asks with the same instants and gets the same answers, which is
//! why key frames stand at the same pictures in all of them.

use std::collections::VecDeque;

use vitrine_core::{engine::ladder::thinning, limits};

/// Ticks of the media clock in a second.
pub(super) const SECOND: i64 = 90_000;

/// Where key frames are due.
#[derive(Debug, Default)]
pub(super) struct Keys {
    due: VecDeque<i64>,
    /// The next picture is one, wherever it stands.
    at_once: bool,
}

impl Keys {
    pub(super) fn at_once(&mut self) {
        self.at_once = true;
    }

    pub(super) fn push(&mut self, at: i64) {
        if self.due.len() == limits::TRANSCODE_KEYS_MAX {
            self.due.pop_front(); // whichever picture comes next is at or after the one behind it, or none comes at all
        }
        self.due.push_back(at);
    }

    /// Whether the picture shown at `pts`, for `frame` ticks, is a key frame; asked once for each, in their order.
    pub(super) fn take(&mut self, pts: i64, frame: i64) -> bool {
        let mut key = std::mem::take(&mut self.at_once);
        while self.due.front().is_some_and(|at| reaches(pts, *at, frame)) {
            self.due.pop_front();
            key = true;
        }
        key
    }
}

/// Whether a picture at `pts` is at or after `at`, or less than half of it before.
fn reaches(pts: i64, at: i64, frame: i64) -> bool {
    at <= pts || (i128::from(at) - i128::from(pts)) * 2 < i128::from(frame)
}

/// Leaves out the pictures that a rung has no room for.
#[derive(Debug)]
pub(super) struct Thinner {
    rate: (u32, u32),
    /// Of how many pictures one is kept; decided anew at each key frame.
    factor: u32,
    /// The last key frame.
    phase: i64,
    /// The next picture that is kept, counted in the rung's frames from `phase`.
    next: i64,
}

impl Thinner {
    /// For a rung with this many frames per second, as a fraction.
    pub(super) fn new(rate: (u32, u32)) -> Self {
        Self {
            rate: (rate.0.max(1), rate.1.max(1)),
            factor: 1,
            phase: 0,
            next: 0,
        }
    }

    /// Whether the picture shown at `pts` is kept, where the source has one every `frame` ticks. A key frame always is,
    /// and the count begins again with it.
    pub(super) fn keeps(&mut self, pts: i64, key: bool, frame: i64) -> bool {
        let (num, den) = (i128::from(self.rate.0), i128::from(self.rate.1));
        let period = i128::from(SECOND) * den; // in ticks, times `num`
        if key {
            let ticks = u32::try_from(frame).unwrap_or(u32::MAX).max(1);
            self.factor = thinning((SECOND as u32, ticks), self.rate);
            (self.phase, self.next) = (pts, 1);
            return true;
        }
        if self.factor <= 1 {
            return true;
        }
        let since = (i128::from(pts) - i128::from(self.phase)) * num;
        let early = i128::from(self.next) * period - since;
        if early * 2 >= i128::from(frame) * num {
            return false;
        }
        // The nearest place, so that a hole in the source is not made good by a burst.
        let nearest = (since * 2 + period) / (period * 2);
        self.next = i64::try_from(nearest).unwrap_or(self.next).max(self.next) + 1;
        true
    }
}

/// Leaves out what cannot be decoded in time: from a picture that is late to the next that stands alone. A decoder that
/// never catches up so makes key frames only.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    leaving_out: bool,
}

impl Backlog {
    /// Whether an access unit is left out; `late` says whether it waited too long.
    pub(super) fn leaves_out(&mut self, sync: bool, late: bool) -> bool {
        self.leaving_out = !sync && (self.leaving_out || late);
        self.leaving_out
    }
}

/// Ticks that a frame lasts at `rate`.
pub(super) fn nominal_ticks((num, den): (u32, u32)) -> u32 {
    let ticks = u64::from(den) * SECOND as u64;
    let num = u64::from(num.max(1));
    u32::try_from((ticks + num / 2) / num).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_first_picture_at_its_instant_or_less_than_half_a_picture_before() {
        let keys = |at: &[i64], frame: i64| -> Vec<i64> {
            let mut keys = Keys::default();
            at.iter().for_each(|at| keys.push(*at));
            (0..100)
                .map(|n| n * frame)
                .filter(|pts| keys.take(*pts, frame))
                .collect()
        };
        assert_eq!(keys(&[0, 90_000], 3000), [0, 90_000]);
        assert_eq!(keys(&[4499], 3000), [3000]);
        assert_eq!(keys(&[4500], 3000), [6000], "exactly half is not less");
        assert_eq!(keys(&[5000, 5001, 6000], 3000), [6000], "one for all");
        assert!(keys(&[i64::MAX], 3000).is_empty());
        assert_eq!(keys(&[i64::MIN], 3000), [0]);
        let mut keys = Keys::default();
        keys.at_once();
        assert!(keys.take(-7, 3000) && !keys.take(5000, 3000));
        (0..1000).for_each(|at| keys.push(at));
        assert!(keys.take(999, 1) && !keys.take(2000, 1));
    }

    fn kept(rung: (u32, u32), frame: i64, pictures: &[i64], key: impl Fn(i64) -> bool) -> Vec<i64> {
        let mut thinner = Thinner::new(rung);
        let keeps = |pts: &i64| thinner.keeps(*pts, key(*pts), frame);
        pictures.iter().copied().filter(keeps).collect()
    }

    #[test]
    fn every_second_of_sixty_is_kept_and_the_count_begins_again_at_each_key() {
        let sixty: Vec<i64> = (0..20).map(|n| n * 1500).collect();
        let wanted: Vec<i64> = sixty
            .iter()
            .copied()
            .filter(|pts| pts % 3000 == 0)
            .collect();
        assert_eq!(kept((30, 1), 1500, &sixty, |pts| pts == 0), wanted);
        // The key at an odd place turns the phase.
        let wanted = [0, 3000, 6000, 7500, 10_500, 13_500];
        let seen = kept((30, 1), 1500, &sixty[..10], |pts| pts == 0 || pts == 7500);
        assert_eq!(seen, wanted);
    }

    #[test]
    fn milliseconds_do_not_upset_the_count() {
        for (num, den, factor) in [(60_000, 1001, 2), (50, 1, 2), (90, 1, 3), (120, 1, 4)] {
            let wire =
                |n: i64| (n * 1000 * i64::from(den) + i64::from(num) / 2) / i64::from(num) * 90;
            let pictures: Vec<i64> = (0..1000).map(wire).collect();
            let rung = (num, den * factor);
            let seen = kept(rung, nominal_ticks((num, den)).into(), &pictures, |pts| {
                pts == 0
            });
            let wanted: Vec<i64> = pictures.iter().copied().step_by(factor as usize).collect();
            assert_eq!(seen, wanted, "{num}/{den}");
        }
    }

    #[test]
    fn a_source_no_faster_than_the_rung_keeps_all_however_it_jitters() {
        let pictures = [0, 100, 9000, 9001, 9002, 20_000, 20_090];
        assert_eq!(kept((30, 1), 3000, &pictures, |pts| pts == 0), pictures);
    }

    #[test]
    fn a_hole_is_not_made_good() {
        let pictures = [0, 1500, 30_000, 31_500, 33_000, 34_500];
        let seen = kept((30, 1), 1500, &pictures, |pts| pts == 0);
        assert_eq!(seen, [0, 30_000, 33_000]);
    }

    #[test]
    fn absurd_instants_are_endured() {
        let pictures = [0, i64::MAX, i64::MIN, 5, i64::MAX];
        kept((1, u32::MAX), 90_000, &pictures, |pts| pts == 0);
        kept((u32::MAX, 1), 1, &pictures, |_| false);
        kept((30, 1), 1, &pictures, |pts| pts == 0);
    }

    #[test]
    fn a_late_decoder_goes_on_at_the_next_sync_sample() {
        let mut backlog = Backlog::default();
        let units = [
            (true, false, false),
            (false, false, false),
            (false, true, true),
            (false, false, true),
            (true, true, false),
            (false, true, true),
            (true, false, false),
            (false, false, false),
        ];
        for (sync, late, left_out) in units {
            assert_eq!(backlog.leaves_out(sync, late), left_out);
        }
    }

    #[test]
    fn frames_last_what_their_rate_says() {
        assert_eq!(nominal_ticks((30, 1)), 3000);
        assert_eq!(nominal_ticks((30_000, 1001)), 3003);
        assert_eq!(nominal_ticks((24_000, 1001)), 3754);
        assert_eq!(nominal_ticks((0, 1)), 90_000);
    }
}
