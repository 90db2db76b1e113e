//! When a delivery is tried again, and when it is given up. Pure: time and dice are arguments.

use std::{borrow::Cow, time::Duration};

use vitrine_core::limits;

use super::attempt::Outcome;

/// The waits between attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(Cow<'static, [Duration]>);

impl Default for Schedule {
    /// The contract's.
    fn default() -> Self {
        Self(Cow::Borrowed(&limits::OUTBOX_RETRIES))
    }
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing more: it was taken.
    Delivered,
    /// Another attempt after so long.
    Again(Duration),
    /// Nothing more: it is given up.
    Dead,
}

impl Schedule {
    /// These waits; one attempt more than there are waits.
    pub fn new(waits: Vec<Duration>) -> Self {
        Self(Cow::Owned(waits))
    }

    /// What becomes of a delivery whose `attempts`-th attempt (from 1) had this `outcome`; `dice` are from 0 to 1. An
    /// endpoint that names a time is not asked before it, nor before the schedule.
    pub fn next(&self, outcome: &Outcome, attempts: u32, dice: f64) -> Next {
        let asked = match outcome {
            Outcome::Taken { .. } => return Next::Delivered,
            Outcome::Gone => return Next::Dead,
            Outcome::Refused { retry_after, .. } => *retry_after,
            Outcome::Failed(_) => None,
        };
        let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        let Some(wait) = self.0.get(index) else {
            return Next::Dead;
        };
        let share = f64::from(limits::OUTBOX_JITTER_PERCENT) / 100.0 * dice.clamp(0.0, 1.0);
        let asked = asked.unwrap_or_default();
        let least = asked.min(limits::OUTBOX_RETRY_AFTER_MAX);
        Next::Again((*wait).max(least).mul_f64(1.0 + share))
    }

    /// The longest wait that [`Self::next`] can name.
    pub fn longest(&self) -> Duration {
        let longest = self.0.iter().max().copied().unwrap_or_default();
        longest.max(limits::OUTBOX_RETRY_AFTER_MAX) * (100 + limits::OUTBOX_JITTER_PERCENT) / 100
    }
}

#[cfg(test)]
mod tests {
    use super::{super::attempt::Failure, *};

    const SILENT: Outcome = Outcome::Failed(Failure::Timeout);

    #[test]
    fn twelve_waits_of_the_contract_and_then_a_dead_letter() {
        let schedule = Schedule::default();
        let waits: Vec<_> = (1..=13)
            .map(|attempts| schedule.next(&SILENT, attempts, 0.0))
            .collect();
        let seconds = [
            2, 5, 15, 60, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400,
        ];
        let again = seconds.map(|seconds| Next::Again(Duration::from_secs(seconds)));
        assert_eq!(waits[..12], again);
        assert_eq!(waits[12], Next::Dead);
    }

    #[test]
    fn what_failed_together_does_not_return_together() {
        let wait = |dice| Schedule::default().next(&SILENT, 4, dice);
        assert_eq!(wait(0.5), Next::Again(Duration::from_secs(63)));
        assert_eq!(wait(1.0), Next::Again(Duration::from_secs(66)));
        assert_eq!(wait(7.0), wait(1.0));
    }

    #[test]
    fn an_endpoint_may_ask_for_more_time_but_not_for_less_nor_for_ever() {
        let refused = |seconds| Outcome::Refused {
            status: 503,
            retry_after: Some(Duration::from_secs(seconds)),
        };
        let wait = |seconds, attempts| Schedule::default().next(&refused(seconds), attempts, 0.0);
        assert_eq!(wait(120, 1), Next::Again(Duration::from_secs(120)));
        assert_eq!(wait(1, 6), Next::Again(Duration::from_secs(1800)));
        assert_eq!(wait(u64::MAX, 1), Next::Again(Duration::from_secs(86_400)));
        assert_eq!(wait(120, 13), Next::Dead);
    }

    #[test]
    fn taken_and_gone_are_the_end_of_it() {
        let next = |outcome| Schedule::default().next(&outcome, 1, 0.0);
        assert_eq!(next(Outcome::Taken { status: 204 }), Next::Delivered);
        assert_eq!(next(Outcome::Gone), Next::Dead);
    }
}
