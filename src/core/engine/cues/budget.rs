//! How many events a stream may carry: token buckets of events and of the bytes of their texts, and one batch of chat a
//! second. Every viewer fetches every event, and `BANDWIDTH` promises how much that is.

use std::time::Duration;

use super::{Allowance, Refusal};
use crate::limits;

/// The buckets of a stream.
#[derive(Debug)]
pub(in crate::engine) struct Budget {
    events: Bucket,
    bytes: Bucket,
    batches: Bucket,
}

impl Budget {
    /// Full buckets, by `allowance`.
    pub(in crate::engine) fn new(allowance: Allowance) -> Self {
        let batch = limits::CHAT_BATCH_VALUE_BYTES_MAX as u64;
        let bytes = u64::from(allowance.bytes_per_second);
        let events = u64::from(allowance.per_second);
        Self {
            events: Bucket::new(events, events * 2),
            // The largest event must fit, however slowly it is paid for.
            bytes: Bucket::new(bytes, (bytes * 4).max(batch)),
            batches: Bucket::new(1, 1),
        }
    }

    /// Other rates from now on; what is left stays, as far as it fits.
    pub(in crate::engine) fn set(&mut self, now: Duration, allowance: Allowance) {
        let fresh = Self::new(allowance);
        let Self {
            events,
            bytes,
            batches: _,
        } = fresh;
        self.events.become_like(now, events);
        self.bytes.become_like(now, bytes);
    }

    /// Whether an event of `bytes`, of chat or not, may be placed at `now` (monotonic).
    ///
    /// # Errors
    /// [`Refusal::TooMany`] with the wait until it may.
    pub(in crate::engine) fn check(
        &mut self,
        now: Duration,
        bytes: u64,
        batch: bool,
    ) -> Result<(), Refusal> {
        let wanted = [
            (&mut self.events, 1, "events a second"),
            (&mut self.bytes, bytes, "bytes of events a second"),
            (&mut self.batches, u64::from(batch), "chat.batch a second"),
        ];
        let waits = wanted.map(|(bucket, tokens, what)| (bucket.wait_ms(now, tokens), what));
        let longest = waits.into_iter().max_by_key(|(wait_ms, _)| *wait_ms);
        match longest {
            Some((retry_after_ms @ 1.., what)) => Err(Refusal::TooMany {
                what,
                retry_after_ms,
            }),
            _ => Ok(()),
        }
    }

    /// Takes what [`Self::check`] allowed.
    pub(in crate::engine) fn take(&mut self, bytes: u64, batch: bool) {
        self.events.take(1);
        self.bytes.take(bytes);
        self.batches.take(u64::from(batch));
    }
}

/// Tokens, in thousandths: what a second brings, a millisecond brings of those.
#[derive(Debug)]
struct Bucket {
    per_second: u64,
    most: u64,
    level: u64,
    /// When that was the level (monotonic, milliseconds).
    at_ms: u64,
}

impl Bucket {
    fn new(per_second: u64, most: u64) -> Self {
        Self {
            per_second,
            most: most * 1000,
            level: most * 1000,
            at_ms: 0,
        }
    }

    fn fill(&mut self, now: Duration) {
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let passed_ms = now_ms.saturating_sub(self.at_ms);
        let brought = passed_ms.saturating_mul(self.per_second);
        self.level = self.level.saturating_add(brought).min(self.most);
        self.at_ms = now_ms;
    }

    fn become_like(&mut self, now: Duration, other: Self) {
        self.fill(now);
        let spent = self.most - self.level;
        *self = Self {
            level: other.most.saturating_sub(spent),
            at_ms: self.at_ms,
            ..other
        };
    }

    /// Milliseconds until `tokens` are there.
    fn wait_ms(&mut self, now: Duration, tokens: u64) -> u64 {
        self.fill(now);
        let missing = (tokens * 1000).saturating_sub(self.level);
        match self.per_second {
            _ if missing == 0 => 0,
            0 => limits::EVENT_RETRY_MS_MAX,
            rate => missing.div_ceil(rate).min(limits::EVENT_RETRY_MS_MAX),
        }
    }

    fn take(&mut self, tokens: u64) {
        self.level = self.level.saturating_sub(tokens * 1000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// How many of `bytes` each may be placed at `now`, and what the next one is told.
    fn placed(budget: &mut Budget, now: Duration, bytes: u64) -> (u32, Refusal) {
        let mut count = 0;
        loop {
            match budget.check(now, bytes, false) {
                Ok(()) => budget.take(bytes, false),
                Err(refusal) => return (count, refusal),
            }
            count += 1;
        }
    }

    fn too_many(what: &'static str, retry_after_ms: u64) -> Refusal {
        Refusal::TooMany {
            what,
            retry_after_ms,
        }
    }

    #[test]
    fn a_burst_of_a_hundred_then_fifty_a_second() {
        let mut budget = Budget::new(Allowance::default());
        let refused = too_many("events a second", 20);
        assert_eq!(placed(&mut budget, ms(0), 10), (100, refused));
        assert_eq!(placed(&mut budget, ms(1000), 10), (50, refused));
        assert_eq!(placed(&mut budget, ms(1020), 10), (1, refused));
    }

    #[test]
    fn bytes_are_a_budget_of_their_own() {
        let mut budget = Budget::new(Allowance::default());
        let refused = too_many("bytes of events a second", 250);
        assert_eq!(placed(&mut budget, ms(0), 1024), (16, refused));
        assert_eq!(placed(&mut budget, ms(250), 1024), (1, refused));
    }

    #[test]
    fn one_batch_of_chat_a_second() {
        let mut budget = Budget::new(Allowance::default());
        assert_eq!(budget.check(ms(0), 4096, true), Ok(()));
        budget.take(4096, true);
        let refused = too_many("chat.batch a second", 600);
        assert_eq!(budget.check(ms(400), 100, true), Err(refused));
        assert_eq!(budget.check(ms(1000), 100, true), Ok(()));
    }

    #[test]
    fn what_may_never_be_is_not_waited_for_for_ever() {
        let mut budget = Budget::new(Allowance {
            per_second: 0,
            bytes_per_second: 0,
            offset_ms: 0,
        });
        let refused = too_many("events a second", limits::EVENT_RETRY_MS_MAX);
        assert_eq!(budget.check(ms(0), 10, false), Err(refused));
    }

    #[test]
    fn other_rates_give_no_second_burst() {
        let mut budget = Budget::new(Allowance::default());
        assert_eq!(placed(&mut budget, ms(0), 1).0, 100);
        budget.set(ms(0), Allowance::default());
        assert_eq!(placed(&mut budget, ms(0), 1).0, 0);
        budget.set(
            ms(0),
            Allowance {
                per_second: 60,
                ..Allowance::default()
            },
        );
        assert_eq!(placed(&mut budget, ms(0), 1).0, 20);
    }
}
