//! Addresses that present one wrong key after another wait before they are decided about, longer each time.
//!
//! Nobody is shut out: a right key from the same address, an office's or a carrier's, gets through after the wait. What is
//! bounded is how often one address may have a key tried and a backend asked: its connections at once, divided by the
//! longest wait. Pure; time is an argument.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use vitrine_core::limits::{
    REFUSAL_FORGOTTEN, REFUSAL_WAIT_MAX, REFUSAL_WAIT_STEP, REFUSALS_FORGIVEN,
    REFUSED_ADDRESSES_MAX,
};
use vitrine_runtime::network::site;

/// The memory of refused publishes, one leaky bucket for each address.
#[derive(Debug, Default)]
pub(super) struct Tarpit(Mutex<HashMap<IpAddr, Refusals>>);

/// Refusals that are not forgotten yet.
#[derive(Clone, Copy, Debug)]
struct Refusals {
    count: u32,
    /// When the last of them was forgotten or the first was noted.
    since: Instant,
}

impl Refusals {
    /// As they are remembered at `now`.
    fn at(self, now: Instant) -> Self {
        let passed = now.saturating_duration_since(self.since).as_secs();
        let forgotten = passed / REFUSAL_FORGOTTEN.as_secs();
        let forgotten = u32::try_from(forgotten).unwrap_or(u32::MAX);
        Self {
            count: self.count.saturating_sub(forgotten),
            since: self.since + REFUSAL_FORGOTTEN * forgotten.min(self.count),
        }
    }
}

impl Tarpit {
    /// How long a request from `address` must wait at `now`; mostly not at all.
    pub(super) fn wait(&self, address: IpAddr, now: Instant) -> Duration {
        let addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = addresses
            .get(&site(address))
            .map_or(0, |it| it.at(now).count);
        let beyond = count.saturating_sub(REFUSALS_FORGIVEN);
        (REFUSAL_WAIT_STEP * beyond).min(REFUSAL_WAIT_MAX)
    }

    /// Notes that `address` was refused at `now`. When the memory is full of others, it is not: they wait, not this one.
    pub(super) fn refused(&self, address: IpAddr, now: Instant) {
        let mut addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = site(address);
        if addresses.len() >= REFUSED_ADDRESSES_MAX && !addresses.contains_key(&address) {
            addresses.retain(|_, it| it.at(now).count > 0);
            if addresses.len() >= REFUSED_ADDRESSES_MAX {
                return;
            }
        }
        let fresh = Refusals {
            count: 0,
            since: now,
        };
        let noted = addresses.entry(address).or_insert(fresh);
        *noted = noted.at(now);
        if noted.count == 0 {
            *noted = fresh;
        }
        // More than makes the longest wait would only be remembered for longer.
        noted.count = (noted.count + 1).min(COUNT_MAX);
    }
}

/// Refusals that make the longest wait.
const COUNT_MAX: u32 =
    REFUSALS_FORGIVEN + (REFUSAL_WAIT_MAX.as_millis() / REFUSAL_WAIT_STEP.as_millis()) as u32;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_few_mistakes_cost_nothing_and_a_flood_waits_longer_and_longer_up_to_a_bound() {
        let (tarpit, now) = (Tarpit::default(), Instant::now());
        let culprit = address("203.0.113.7");
        for _ in 0..REFUSALS_FORGIVEN {
            tarpit.refused(culprit, now);
            assert_eq!(tarpit.wait(culprit, now), Duration::ZERO);
        }
        tarpit.refused(culprit, now);
        assert_eq!(tarpit.wait(culprit, now), REFUSAL_WAIT_STEP);
        for _ in 0..1000 {
            tarpit.refused(culprit, now);
        }
        assert_eq!(tarpit.wait(culprit, now), REFUSAL_WAIT_MAX);
        assert_eq!(tarpit.wait(address("203.0.113.8"), now), Duration::ZERO);
    }

    #[test]
    fn refusals_are_forgotten_one_by_one() {
        let (tarpit, start) = (Tarpit::default(), Instant::now());
        let culprit = address("2001:db8::1");
        for _ in 0..REFUSALS_FORGIVEN + 2 {
            tarpit.refused(culprit, start);
        }
        let neighbour = address("2001:db8::2"); // the same site
        let wait = |after: Duration| tarpit.wait(neighbour, start + after);
        assert_eq!(wait(REFUSAL_FORGOTTEN / 2), 2 * REFUSAL_WAIT_STEP);
        assert_eq!(wait(REFUSAL_FORGOTTEN), REFUSAL_WAIT_STEP);
        assert_eq!(wait(2 * REFUSAL_FORGOTTEN), Duration::ZERO);
        tarpit.refused(culprit, start + REFUSAL_FORGOTTEN);
        assert_eq!(wait(REFUSAL_FORGOTTEN), 2 * REFUSAL_WAIT_STEP);
    }

    #[test]
    fn the_memory_is_bounded_and_those_forgotten_make_room() {
        let (tarpit, start) = (Tarpit::default(), Instant::now());
        let nth = |n: u32| IpAddr::from(n.to_be_bytes());
        let full = u32::try_from(REFUSED_ADDRESSES_MAX).unwrap();
        for n in 0..full + 10 {
            tarpit.refused(nth(n), start);
        }
        let known = |n| tarpit.0.lock().unwrap().contains_key(&nth(n));
        assert!(known(0) && !known(full));
        tarpit.refused(nth(full), start + REFUSAL_FORGOTTEN);
        assert!(known(full) && !known(0));
    }
}
