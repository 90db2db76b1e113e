//! What is given up where a machine is too small: pictures of the least rendition first, then that rendition.
//!
//! Renditions share the processors, so it does not matter whose queue is full: the work of the least one is what the
//! others can be given. How late a picture is says how much of it: the later, the more renditions leave it out. Not here:
//! key frames, which are never left out; what a rung does that makes no progress at all, which is its own affair.

use std::time::Duration;

use vitrine_core::{limits, media::Rendition};

use super::cadence::SECOND;

/// How many of the least renditions leave out a picture that is so late.
pub(super) fn shed(late: Duration) -> usize {
    match late.checked_sub(limits::TRANSCODE_SHED_AGE) {
        None => 0,
        Some(more) => 1 + (more.as_nanos() / limits::TRANSCODE_SHED_STEP.as_nanos()) as usize,
    }
}

/// How much of what the least rendition should have made was left out.
#[derive(Debug, Default)]
pub(super) struct Tally {
    of: Option<Rendition>,
    since: i64,
    made: u32,
    shed: u32,
}

impl Tally {
    /// Notes what became of the picture shown at `pts` in the least rendition. Whether more was left out than made for so
    /// long that it is of no use; then the next one has as long.
    pub(super) fn is_hopeless(&mut self, least: Rendition, pts: i64, made: bool) -> bool {
        if self.of != Some(least) {
            *self = Self {
                of: Some(least),
                since: pts,
                ..Self::default()
            };
        }
        *if made { &mut self.made } else { &mut self.shed } += 1;
        if pts.saturating_sub(self.since) < SHED_WINDOW {
            return false;
        }
        let done = std::mem::take(self);
        done.shed > done.made
    }
}

/// Ticks of media after which it is judged whether a rendition leaves out too much.
const SHED_WINDOW: i64 = 10 * SECOND;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_a_picture_the_more_renditions_leave_it_out() {
        let shed_at = |ms| shed(Duration::from_millis(ms));
        let seen = [0, 1_249, 1_250, 1_499, 1_500, 1_750, 2_000, 60_000].map(shed_at);
        assert_eq!(seen, [0, 0, 1, 1, 2, 3, 4, 236]);
        let all = limits::TRANSCODE_SHED_AGE + 2 * limits::TRANSCODE_SHED_STEP;
        assert!(all < limits::LADDER_LATE, "before a rendition is given up");
    }

    #[test]
    fn a_rendition_that_leaves_out_most_for_ten_seconds_is_hopeless() {
        let judge = |made: fn(i64) -> bool| {
            let mut tally = Tally::default();
            (0..1000).any(|n| tally.is_hopeless(Rendition::Low, n * 3000, made(n)))
        };
        assert!(!judge(|_| true) && !judge(|n| n % 3 > 0) && judge(|n| n % 3 == 0));
    }

    #[test]
    fn each_is_judged_for_as_long_when_it_is_the_least() {
        let mut tally = Tally::default();
        let mut least = Rendition::Low;
        let mut given_up = Vec::new();
        for n in 0..1000 {
            if tally.is_hopeless(least, n * 3000, false) {
                given_up.push((least, n));
                least = Rendition::Mid;
            }
        }
        assert_eq!(given_up[0], (Rendition::Low, 300));
        assert_eq!(given_up[1], (Rendition::Mid, 601));
    }
}
