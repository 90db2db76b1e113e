//! Who may connect: a bound on connections in total and per address, shared by all listeners that clone it.
//!
//! An address is an IPv4 address, or the /64 of an IPv6 address (RFC 6177: what one site is given at least), since a
//! host may use any address of it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

/// Hands out slots. Clones share their slots.
#[derive(Clone, Debug)]
pub struct Admission {
    max: u32,
    max_per_address: u32,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    total: u32,
    by_address: BTreeMap<IpAddr, u32>,
}

impl Admission {
    /// At most `max` connections, and as many from one address.
    pub fn new(max: u32) -> Self {
        Self::with_max_per_address(max, max)
    }

    /// At most `max` connections, at most `max_per_address` of them from one address.
    pub fn with_max_per_address(max: u32, max_per_address: u32) -> Self {
        Self {
            max,
            max_per_address,
            taken: Arc::default(),
        }
    }

    /// A slot for a connection from `address`, held until dropped.
    ///
    /// # Errors
    /// [`Refused`] names the bound that is reached.
    pub fn admit(&self, address: IpAddr) -> Result<Slot, Refused> {
        let address = site(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.total >= self.max {
            return Err(Refused::Total { max: self.max });
        }
        let here = taken.by_address.get(&address).copied().unwrap_or(0);
        if here >= self.max_per_address {
            return Err(Refused::Address {
                max: self.max_per_address,
            });
        }
        taken.total += 1;
        taken.by_address.insert(address, here + 1);
        Ok(Slot {
            address,
            taken: self.taken.clone(),
        })
    }
}

/// The right to one connection; dropping it gives it back.
#[derive(Debug)]
pub struct Slot {
    address: IpAddr,
    taken: Arc<Mutex<Taken>>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.total -= 1;
        if let Some(here) = taken.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

/// Why a connection is closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// All slots are taken.
    #[error("refused: {max} connections are open")]
    Total {
        /// The bound, in connections.
        max: u32,
    },
    /// The address has its share.
    #[error("refused: {max} connections from this address are open")]
    Address {
        /// The bound, in connections.
        max: u32,
    },
}

impl Refused {
    pub(super) const REASONS: [&str; 2] = ["total", "address"];

    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Total { .. } => "total",
            Self::Address { .. } => "address",
        }
    }
}

fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn slots_run_out_in_total_and_per_address_and_come_back() {
        let admission = Admission::with_max_per_address(3, 2);
        let admit = |address: &str| admission.admit(address.parse().unwrap());
        let first = admit("192.0.2.1").unwrap();
        // The same address as a dual-stack socket shows it.
        let _second = admit("::ffff:192.0.2.1").unwrap();
        assert_eq!(admit("192.0.2.1").unwrap_err(), Refused::Address { max: 2 });
        let _third = admit("192.0.2.2").unwrap();
        assert_eq!(admit("192.0.2.3").unwrap_err(), Refused::Total { max: 3 });
        drop(first);
        admit("192.0.2.1").unwrap();
    }

    #[test]
    fn an_ipv6_site_is_one_address() {
        let admission = Admission::with_max_per_address(9, 1);
        let admit = |address: &str| admission.admit(address.parse().unwrap());
        let _slot = admit("2001:db8:0:1::1").unwrap();
        assert!(admit("2001:db8:0:1:ffff::2").is_err());
        assert!(admit("2001:db8:0:2::1").is_ok());
    }

    #[test]
    fn nothing_is_remembered_of_who_has_left() {
        let admission = Admission::new(1);
        drop(admission.admit("192.0.2.1".parse().unwrap()).unwrap());
        assert!(admission.taken.lock().unwrap().by_address.is_empty());
    }
}
