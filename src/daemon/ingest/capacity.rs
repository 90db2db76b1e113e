//! How many connections the RTMP door holds at once, in all and per address.
//!
//! Invariant: what was admitted is given back exactly once, when its [`Permit`] drops. Refusals are counted by reason and
//! told in the log at most once a second per reason: a flood must not become a flood of lines.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The counts, shared by every listener of the door.
#[derive(Debug)]
pub(super) struct Capacity {
    total_max: usize,
    per_address_max: usize,
    held: Mutex<HashMap<IpAddr, usize>>,
}

/// Why a connection is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    /// The address holds as many connections as one may.
    #[error("too many connections from one address")]
    Address,
    /// The door holds as many connections as it may.
    #[error("too many connections")]
    Total,
}

impl Full {
    /// Name of the reason in metrics.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Total => "total",
        }
    }
}

impl Capacity {
    /// Room for `total_max` connections, `per_address_max` of them from one address.
    pub(super) fn new(total_max: usize, per_address_max: usize) -> Arc<Self> {
        Arc::new(Self {
            total_max,
            per_address_max,
            held: Mutex::default(),
        })
    }

    /// Counts one connection from `address` in, until the permit drops.
    ///
    /// # Errors
    /// Which limit is reached.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Permit, Full> {
        let address = site(address);
        let mut held = self.held();
        if held.values().sum::<usize>() >= self.total_max {
            return Err(Full::Total);
        }
        let count = held.entry(address).or_default();
        if *count >= self.per_address_max {
            return Err(Full::Address);
        }
        *count += 1;
        drop(held);
        Ok(Permit {
            capacity: Arc::clone(self),
            address,
        })
    }

    /// The counts are whole after every change, so a panic elsewhere under the lock cannot have torn them.
    fn held(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One admitted connection; dropping it makes room.
#[derive(Debug)]
pub struct Permit {
    capacity: Arc<Capacity>,
    address: IpAddr,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut held = self.capacity.held();
        if let Some(count) = held.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.address);
            }
        }
    }
}

/// What counts as one address: IPv4 as it is (mapped ones too), IPv6 by its /64, which is what one subscriber is given.
fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = address.to_bits() >> 64 << 64;
            Ipv6Addr::from_bits(prefix).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// Lets one line a second through for each reason, and counts the rest. Reasons are names in the code: few.
#[derive(Debug, Default)]
pub(super) struct OncePerSecond(Mutex<HashMap<&'static str, (Instant, u64)>>);

impl OncePerSecond {
    /// The number of lines held back since the last one, when this one may be written.
    pub(super) fn pass(&self, reason: &'static str, now: Instant) -> Option<HeldBack> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((last, held_back)) = lines.get_mut(reason) else {
            lines.insert(reason, (now, 0));
            return Some(HeldBack(0));
        };
        if now.duration_since(*last) < Duration::from_secs(1) {
            *held_back += 1;
            return None;
        }
        *last = now;
        Some(HeldBack(std::mem::take(held_back)))
    }
}

/// Lines held back before this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeldBack(u64);

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_is_capped_and_a_dropped_permit_makes_room() {
        let capacity = Capacity::new(10, 2);
        let first = capacity.admit(ip("192.0.2.1")).expect("room");
        let _second = capacity.admit(ip("::ffff:192.0.2.1")).expect("room");
        assert_eq!(capacity.admit(ip("192.0.2.1")).err(), Some(Full::Address));
        let _other = capacity.admit(ip("192.0.2.2")).expect("another address has room");
        drop(first);
        assert!(capacity.admit(ip("192.0.2.1")).is_ok());
    }

    #[test]
    fn an_ipv6_subscriber_counts_as_one_address() {
        let capacity = Capacity::new(10, 1);
        let _one = capacity.admit(ip("2001:db8:1:2::1")).expect("room");
        assert_eq!(capacity.admit(ip("2001:db8:1:2:ffff::9")).err(), Some(Full::Address));
        assert!(capacity.admit(ip("2001:db8:1:3::1")).is_ok());
    }

    #[test]
    fn the_total_is_capped() {
        let capacity = Capacity::new(1, 5);
        let permit = capacity.admit(ip("192.0.2.1")).expect("room");
        assert_eq!(capacity.admit(ip("192.0.2.2")).err(), Some(Full::Total));
        drop(permit);
        assert!(capacity.admit(ip("192.0.2.2")).is_ok());
    }

    #[test]
    fn lines_beyond_one_a_second_are_counted_not_written() {
        let lines = OncePerSecond::default();
        let start = Instant::now();
        assert_eq!(lines.pass("a", start), Some(HeldBack(0)));
        assert_eq!(lines.pass("b", start), Some(HeldBack(0)), "each reason for itself");
        assert_eq!(lines.pass("a", start), None);
        assert_eq!(lines.pass("a", start + Duration::from_millis(999)), None);
        assert_eq!(lines.pass("a", start + Duration::from_secs(1)), Some(HeldBack(2)));
    }
}
