//! Who may connect: a bound on connections in total and per address, shared by all listeners that clone it.
//!
//! What counts as one address is [`site`]'s to say. Proxies that speak for many may be excepted from their share.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::network::{Networks, site};

/// Hands out slots. Clones share their slots.
#[derive(Clone, Debug)]
pub struct Admission {
    max: u32,
    max_per_address: u32,
    excepted: Networks,
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
            excepted: Networks::default(),
            taken: Arc::default(),
        }
    }

    /// As this one, but addresses of `networks` may take all slots.
    pub fn except(self, networks: Networks) -> Self {
        Self {
            excepted: networks,
            ..self
        }
    }

    /// A slot for a connection from `address`, held until dropped.
    ///
    /// # Errors
    /// [`Refused`] names the bound that is reached.
    pub fn admit(&self, address: IpAddr) -> Result<Slot, Refused> {
        self.admit_unnamed()?.name(address)
    }

    /// A slot for a connection whose address is yet to be told; it counts in total only.
    ///
    /// # Errors
    /// [`Refused::Total`].
    pub fn admit_unnamed(&self) -> Result<Slot, Refused> {
        let mut taken = self.lock();
        if taken.total >= self.max {
            return Err(Refused::Total { max: self.max });
        }
        taken.total += 1;
        Ok(Slot {
            address: None,
            of: self.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to one connection; dropping it gives it back.
#[derive(Debug)]
pub struct Slot {
    address: Option<IpAddr>,
    of: Admission,
}

impl Slot {
    /// The slot, now counted to `address` too; given back when that has its share.
    ///
    /// # Errors
    /// [`Refused::Address`].
    pub fn name(mut self, address: IpAddr) -> Result<Self, Refused> {
        let max = self.of.max_per_address;
        let site = site(address);
        let mut taken = self.of.lock();
        let here = taken.by_address.entry(site).or_default();
        if *here >= max && !self.of.excepted.contains(address) {
            drop(taken);
            return Err(Refused::Address { max });
        }
        *here += 1;
        drop(taken);
        self.address = Some(site);
        Ok(self)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.of.lock();
        taken.total -= 1;
        if let Some(address) = self.address
            && let Some(here) = taken.by_address.get_mut(&address)
        {
            *here -= 1;
            if *here == 0 {
                taken.by_address.remove(&address);
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
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Total { .. } => "total",
            Self::Address { .. } => "address",
        }
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
    fn an_excepted_proxy_may_take_all_slots_and_no_more() {
        let proxies = ["192.0.2.0/24".parse().unwrap()];
        let admission = Admission::with_max_per_address(3, 1).except(proxies.into_iter().collect());
        let admit = |address: &str| admission.admit(address.parse().unwrap());
        let _two = [admit("192.0.2.1").unwrap(), admit("192.0.2.1").unwrap()];
        let _one = admit("198.51.100.1").unwrap();
        assert_eq!(admit("192.0.2.1").unwrap_err(), Refused::Total { max: 3 });
    }

    #[test]
    fn a_slot_counts_to_an_address_once_it_has_one() {
        let admission = Admission::with_max_per_address(3, 1);
        let name = |slot: Slot| slot.name("192.0.2.1".parse().unwrap());
        let unnamed = [(); 3].map(|()| admission.admit_unnamed().unwrap());
        assert_eq!(
            admission.admit_unnamed().unwrap_err(),
            Refused::Total { max: 3 }
        );
        let [first, second, _third] = unnamed;
        let _first = name(first).unwrap();
        assert_eq!(name(second).unwrap_err(), Refused::Address { max: 1 });
        admission.admit_unnamed().expect("what was refused is free");
    }

    #[test]
    fn nothing_is_remembered_of_who_has_left() {
        let admission = Admission::new(1);
        drop(admission.admit("192.0.2.1".parse().unwrap()).unwrap());
        assert!(admission.taken.lock().unwrap().by_address.is_empty());
    }
}
