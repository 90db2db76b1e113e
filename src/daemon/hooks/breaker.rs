//! The circuit breaker of a backend: after some calls in a row without an answer it is left alone for a while, then one
//! call probes it.
//!
//! Failures of one address in a row count as one: what a single publisher sends may make a backend fail that serves all
//! others. Closed, every call passes. Open, none does, until the pause is over; then one does, the probe, and its outcome closes the
//! breaker or opens it again for twice as long, up to a bound. An answer to any call closes it: late ones prove as much as a
//! probe. A call that is given up by its caller proves nothing. Each change is logged once. Time is an argument.

use std::{
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::time::{Duration, Instant};
use tracing::{info, warn};
use vitrine_core::limits::{HOOK_FAILURES_MAX, HOOK_PAUSE_MAX, HOOK_PAUSE_MIN};

use super::meters;

/// One backend's breaker.
#[derive(Debug)]
pub(super) struct Breaker(Mutex<Health>);

#[derive(Debug)]
struct Health {
    state: State,
    /// Whose call failed last, if none was answered since.
    culprit: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many calls in a row failed, no two neighbours of one address.
    Closed { failures: u32 },
    /// Nobody asks before `until`.
    Open { until: Instant, pause: Duration },
    /// One asks; if it gives up, the next may.
    HalfOpen { since: Instant, pause: Duration },
}

/// Leave to make one call. Dropped without an outcome, the call proves nothing.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    probes: bool,
}

impl Breaker {
    /// A closed one.
    pub(super) fn new() -> Self {
        meters::breaker("closed");
        Self(Mutex::new(Health::good()))
    }

    /// Leave to call, if there is any at `now`.
    pub(super) fn enter(&self, now: Instant) -> Option<Pass<'_>> {
        let state = &mut self.health().state;
        let probes = match *state {
            State::Closed { .. } => false,
            State::Open { until, pause } if now >= until => {
                *state = State::HalfOpen { since: now, pause };
                meters::breaker("half_open");
                true
            }
            State::Open { .. } | State::HalfOpen { .. } => return None,
        };
        let breaker = self;
        Some(Pass { breaker, probes })
    }

    /// Whether nobody may call at `now`.
    pub(super) fn rests(&self, now: Instant) -> bool {
        match self.health().state {
            State::Closed { .. } => false,
            State::Open { until, .. } => now < until,
            State::HalfOpen { .. } => true,
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Health {
    fn good() -> Self {
        Self {
            state: State::Closed { failures: 0 },
            culprit: None,
        }
    }
}

impl Pass<'_> {
    /// The backend answered.
    pub(super) fn answered(mut self) {
        self.probes = false;
        let mut health = self.breaker.health();
        if !matches!(health.state, State::Closed { .. }) {
            meters::breaker("closed");
            info!("the admission backend answers again");
        }
        *health = Health::good();
    }

    /// It did not, asked about a publisher at `address`.
    pub(super) fn failed(mut self, address: IpAddr, now: Instant) {
        let probes = std::mem::take(&mut self.probes);
        let mut health = self.breaker.health();
        let again = health.culprit.replace(address) == Some(address);
        let (state, mut until) = (&mut health.state, now);
        let pause = match *state {
            State::Closed { .. } if again => return,
            State::Closed { failures } if failures + 1 < HOOK_FAILURES_MAX => {
                let failures = failures + 1;
                *state = State::Closed { failures };
                return;
            }
            State::Closed { .. } => {
                warn!(
                    calls = HOOK_FAILURES_MAX,
                    "the admission backend does not answer: it is left alone, and probed from time to time"
                );
                HOOK_PAUSE_MIN
            }
            // The next one may probe at once: this one would fail whatever the backend does.
            State::HalfOpen { pause, .. } if probes && again => {
                *state = State::Open { until, pause };
                return meters::breaker("open");
            }
            State::HalfOpen { pause, .. } if probes => (pause * 2).min(HOOK_PAUSE_MAX),
            // Calls that were under way when it opened say nothing new.
            State::Open { .. } | State::HalfOpen { .. } => return,
        };
        until += pause;
        *state = State::Open { until, pause };
        meters::breaker("open");
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.probes {
            return;
        }
        let state = &mut self.breaker.health().state;
        if let State::HalfOpen { since, pause } = *state {
            let until = since;
            *state = State::Open { until, pause };
            meters::breaker("open");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// The call of another address every time.
    fn fail(breaker: &Breaker, now: Instant) {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let address = IpAddr::from(LAST.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        breaker.enter(now).expect("may call").failed(address, now);
    }

    /// The call of one and the same.
    fn fail_again(breaker: &Breaker, now: Instant) {
        let address = [203, 0, 113, 7].into();
        breaker.enter(now).expect("may call").failed(address, now);
    }

    fn opened(now: Instant) -> Breaker {
        let breaker = Breaker::new();
        for _ in 0..HOOK_FAILURES_MAX {
            fail(&breaker, now);
        }
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_not_before() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        for _ in 0..2 {
            for _ in 1..HOOK_FAILURES_MAX {
                fail(&breaker, now);
            }
            breaker.enter(now).expect("still closed").answered();
        }
        assert!(!breaker.rests(now));
        let breaker = opened(now);
        assert!(breaker.rests(now) && breaker.enter(now).is_none());
    }

    #[test]
    fn one_address_neither_opens_it_nor_keeps_it_open() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        for _ in 0..10 * HOOK_FAILURES_MAX {
            fail_again(&breaker, now);
        }
        assert!(!breaker.rests(now));
        let (breaker, later) = (opened(now), now + HOOK_PAUSE_MIN);
        fail_again(&breaker, later);
        assert!(breaker.rests(later), "as much as any other");
        let later = later + 2 * HOOK_PAUSE_MIN;
        for _ in 0..10 {
            fail_again(&breaker, later);
            assert!(!breaker.rests(later), "the next may probe");
        }
        fail(&breaker, later);
        assert!(breaker.rests(later + 4 * HOOK_PAUSE_MIN - MS));
        assert!(!breaker.rests(later + 4 * HOOK_PAUSE_MIN));
    }

    #[test]
    fn one_probes_after_the_pause_and_its_answer_closes() {
        let now = Instant::now();
        let breaker = opened(now);
        assert!(breaker.enter(now + HOOK_PAUSE_MIN - MS).is_none());
        let later = now + HOOK_PAUSE_MIN;
        let probe = breaker.enter(later).expect("the probe");
        assert!(breaker.enter(later).is_none(), "one at a time");
        probe.answered();
        for _ in 1..HOOK_FAILURES_MAX {
            fail(&breaker, later);
        }
        assert!(!breaker.rests(later), "failures count from zero");
    }

    #[test]
    fn pauses_double_up_to_a_bound() {
        let mut now = Instant::now();
        let breaker = opened(now);
        let mut pause = HOOK_PAUSE_MIN;
        for _ in 0..8 {
            assert!(breaker.rests(now + pause - MS));
            now += pause;
            fail(&breaker, now);
            pause = (pause * 2).min(HOOK_PAUSE_MAX);
        }
        assert_eq!(pause, HOOK_PAUSE_MAX);
    }

    #[test]
    fn a_probe_that_is_given_up_leaves_its_place_to_the_next() {
        let now = Instant::now();
        let breaker = opened(now);
        let later = now + HOOK_PAUSE_MIN;
        drop(breaker.enter(later));
        assert!(!breaker.rests(later));
        breaker.enter(later).expect("the next probe").answered();
        drop(breaker.enter(later));
        assert!(!breaker.rests(later));
    }

    #[test]
    fn calls_under_way_at_the_opening_may_close_it_but_prolong_nothing() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        let late = [(); 2].map(|()| breaker.enter(now).expect("closed"));
        for _ in 0..HOOK_FAILURES_MAX {
            fail(&breaker, now);
        }
        let [failing, answering] = late;
        failing.failed([203, 0, 113, 7].into(), now + HOOK_PAUSE_MIN - MS);
        assert!(!breaker.rests(now + HOOK_PAUSE_MIN), "as long as before");
        answering.answered();
        assert!(!breaker.rests(now));
    }
}
