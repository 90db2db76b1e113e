//! Who asks: the client behind the proxies that are trusted, and its share of the requests under way.
//!
//! A trusted proxy names whom it asks for in `X-Forwarded-For`, or in `Forwarded` (RFC 7239), and appends: the right-most
//! address that is no trusted proxy is the client; whatever stands left of it anyone may have written. The invariant:
//! what a peer that is not trusted says of itself is never heard.

use std::net::{IpAddr, SocketAddr};

use hyper::{
    HeaderMap,
    header::{FORWARDED, HeaderName},
};
use vitrine_core::limits::REQUESTS_PER_CLIENT_MAX;
use vitrine_runtime::{
    network::Networks,
    serve::{Admission, Refused, Slot},
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// All clients of the origin. Clones share their counts.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    proxies: Networks,
    requests: Admission,
}

impl Clients {
    /// Clients behind `proxies`, or without any.
    pub(super) fn behind(proxies: Networks) -> Self {
        let requests = Admission::with_max_per_address(u32::MAX, REQUESTS_PER_CLIENT_MAX);
        Self {
            requests: requests.except(proxies.clone()),
            proxies,
        }
    }

    /// Leave for one more request of `client`, until dropped.
    ///
    /// # Errors
    /// It has its share; proxies that are trusted have no limit.
    pub(super) fn admit(&self, client: IpAddr) -> Result<Slot, Refused> {
        self.requests.admit(client)
    }

    /// The address of who asks through `peer`: the peer's own unless it is a trusted proxy that names another.
    pub(super) fn address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.proxies.contains(client) {
            return client;
        }
        for hop in hops(headers) {
            // An obfuscated or unknown hop: the proxy before it is as near as one can get.
            let Some(address) = hop else { break };
            client = address;
            if !self.proxies.contains(client) {
                break;
            }
        }
        client
    }
}

/// The addresses that proxies have noted, nearest first; `None` for one that is not told.
///
/// Only one of the two headers counts: a proxy that keeps one passes on what a client wrote into the other.
fn hops(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let (name, read): (_, fn(&str) -> Option<IpAddr>) = match headers.contains_key(X_FORWARDED_FOR)
    {
        true => (X_FORWARDED_FOR, node),
        false => (FORWARDED, forwarded),
    };
    let lines: Vec<&str> = (headers.get_all(name).iter())
        .map(|line| line.to_str().unwrap_or_default())
        .collect();
    let elements = lines.into_iter().rev().flat_map(|line| line.rsplit(','));
    elements.map(move |element| read(element.trim()))
}

/// The `for` of an element of `Forwarded`. A comma or semicolon inside quotes, where no address has one, makes it no
/// address.
fn forwarded(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    let value = value.trim();
    let quoted = value.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    node(quoted.unwrap_or(value))
}

/// An address with or without a port (RFC 7239, section 6); brackets around an IPv6 address may be missing, as in
/// `X-Forwarded-For`.
fn node(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse::<IpAddr>();
    let with_port = || text.parse::<SocketAddr>().map(|it| it.ip());
    Some(address.or_else(|_| with_port()).ok()?.to_canonical())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn client(peer: &str, headers: &[(&'static str, &str)]) -> String {
        let proxies = ["10.0.0.0/8", "2001:db8:1::/48"].map(|it| it.parse().unwrap());
        let clients = Clients::behind(proxies.into_iter().collect());
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let headers = HeaderMap::from_iter(headers);
        clients.address(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let claim = [("x-forwarded-for", "203.0.113.7")];
        assert_eq!(client("198.51.100.1", &claim), "198.51.100.1");
        assert_eq!(client("10.1.2.3", &claim), "203.0.113.7");
        assert_eq!(client("::ffff:10.1.2.3", &claim), "203.0.113.7");
        assert_eq!(client("10.1.2.3", &[]), "10.1.2.3");
    }

    #[test]
    fn the_client_is_the_right_most_address_that_is_no_proxy() {
        for (list, expect) in [
            ("192.0.2.66, 203.0.113.7, 10.0.0.9", "203.0.113.7"),
            ("192.0.2.66,203.0.113.7:4711", "203.0.113.7"),
            ("2001:db8:7::1, [2001:db8:1::5]:443", "2001:db8:7::1"),
            ("[2001:db8:7::1]", "2001:db8:7::1"),
            ("10.0.0.8, 10.0.0.9", "10.0.0.8"), // a client inside
            ("203.0.113.7, unknown, 10.0.0.9", "10.0.0.9"),
            ("203.0.113.7, ", "10.1.2.3"),
            ("", "10.1.2.3"),
        ] {
            let got = client("10.1.2.3", &[("x-forwarded-for", list)]);
            assert_eq!(got, expect, "{list}");
        }
        let lines = [
            ("x-forwarded-for", "192.0.2.66"),
            ("x-forwarded-for", "203.0.113.7, 10.0.0.9"),
        ];
        assert_eq!(client("10.1.2.3", &lines), "203.0.113.7");
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        for (list, expect) in [
            (
                "for=192.0.2.66, For=203.0.113.7;proto=https;by=10.0.0.1",
                "203.0.113.7",
            ),
            ("for=\"[2001:db8:7::1]:4711\"", "2001:db8:7::1"),
            (
                "proto=http; for=\"203.0.113.7:80\", for=10.0.0.9",
                "203.0.113.7",
            ),
            ("for=203.0.113.7, for=_hidden", "10.1.2.3"),
            ("for=203.0.113.7, for=unknown, for=10.0.0.9", "10.0.0.9"),
            ("for=203.0.113.7, by=\"a,b\"", "10.1.2.3"),
            ("for", "10.1.2.3"),
        ] {
            let got = client("10.1.2.3", &[("forwarded", list)]);
            assert_eq!(got, expect, "{list}");
        }
        let both = [
            ("forwarded", "for=192.0.2.66"),
            ("x-forwarded-for", "203.0.113.7"),
        ];
        assert_eq!(client("10.1.2.3", &both), "203.0.113.7");
    }

    #[test]
    fn a_client_has_its_share_of_requests_and_a_proxy_has_all() {
        let clients = Clients::behind(["10.0.0.1".parse().unwrap()].into_iter().collect());
        let ask = |address: &str| clients.admit(address.parse().unwrap());
        let share: Vec<_> = (0..REQUESTS_PER_CLIENT_MAX)
            .map(|_| (ask("203.0.113.7").unwrap(), ask("10.0.0.1").unwrap()))
            .collect();
        assert!(ask("203.0.113.7").is_err());
        assert!(ask("10.0.0.1").is_ok() && ask("203.0.113.8").is_ok());
        drop(share);
        assert!(ask("203.0.113.7").is_ok());
    }
}
