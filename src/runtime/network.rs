//! Addresses as limits and trust see them: networks in CIDR notation (RFC 4632, RFC 4291), and what counts as one
//! address.
//!
//! An IPv4 address in an IPv6 socket (`::ffff:192.0.2.1`) is the IPv4 address everywhere. What is trusted with what is
//! the business of those who ask.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
};

use ipnet::IpNet;

/// An address or a network: `192.0.2.1`, `10.0.0.0/8`, `2001:db8::/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Whether `address` lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

/// No address and no network, or a network whose address is one inside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address or a network")]
pub struct Invalid;

impl FromStr for Network {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.to_canonical().into()));
        }
        let network: IpNet = text.parse().map_err(|_| Invalid)?;
        // 10.1.2.3/8 may mean 10.1.2.3 or 10.0.0.0/8: too different to guess where trust is given.
        (network.trunc() == network)
            .then_some(Self(network))
            .ok_or(Invalid)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            return self.0.addr().fmt(f);
        }
        self.0.fmt(f)
    }
}

/// A set of networks. Clones share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Arc<[Network]>);

impl Networks {
    /// Whether `address` lies in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &Network> {
        self.0.iter()
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

/// What counts as one address: an IPv4 address, or the /64 of an IPv6 address (RFC 6177: what one site is given at
/// least), since a host may use any address of it.
pub fn site(address: IpAddr) -> IpAddr {
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
    fn networks_hold_their_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"),
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("2001:db8::/32", "2001:db8:7::1", "2001:db9::1"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert_eq!(parsed.to_string(), network);
            let contains = |address: &str| parsed.contains(address.parse().unwrap());
            assert!(contains(inside) && !contains(outside), "{network}");
        }
        for wrong in [
            "",
            "10.1.2.3/8",
            "10.0.0.0/33",
            "10.0.0",
            "localhost",
            "::/129",
        ] {
            assert_eq!(wrong.parse::<Network>(), Err(Invalid), "{wrong}");
        }
    }

    #[test]
    fn an_ipv6_site_is_one_address_and_a_mapped_ipv4_address_is_itself() {
        let site = |address: &str| site(address.parse().unwrap()).to_string();
        assert_eq!(site("2001:db8:0:1:ffff::2"), "2001:db8:0:1::");
        assert_eq!(site("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(site("192.0.2.1"), "192.0.2.1");
    }
}
