//! What viewers call a stream whose backend has no word for it (contracts, section 3: the naming rule).
//!
//! In the servers whose dialects are spoken the published name is public, but many use it as the secret. So the name serves
//! as it is only where the secret is seen to be elsewhere, or where the configuration says so; otherwise a keyed hash of it
//! does, which is the same on every node that has the same secret, and from which the name cannot be guessed.

use crate::wire::{hook::Publish, sign::Secret};

/// The public name of `publish`. `secret` makes names of what may be a secret; `None` when every name is public.
pub fn public_name(publish: &Publish, secret: Option<&Secret>) -> String {
    match secret {
        Some(secret) if !has_secret(&publish.query) => {
            let named = format!("{}/{}", publish.app, publish.name);
            base32(secret.hash(named.as_bytes()))
        }
        _ => publish.name.clone(),
    }
}

/// Whether a raw query has a parameter that is a secret by its name.
fn has_secret(query: &str) -> bool {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.any(|(name, value)| SECRETS.contains(&name) && !value.is_empty())
}

/// Parameters in which encoders of those servers are told to put their secret.
const SECRETS: [&str; 10] = [
    "key", "token", "pass", "password", "passwd", "pwd", "psk", "secret", "auth", "sign",
];

/// The first 80 bits in base32 (RFC 4648, section 6), in lower case: a stream id of 16 characters.
fn base32(hash: [u8; 32]) -> String {
    let bits = hash[..10]
        .iter()
        .fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    let letter = |at: u32| char::from(ALPHABET[(bits >> (75 - 5 * at)) as usize & 31]);
    (0..16).map(letter).collect()
}

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eighty_bits_are_sixteen_letters() {
        // RFC 4648, section 10: "foobar" is MZXW6YTBOI.
        let mut hash = [0; 32];
        hash[..6].copy_from_slice(b"foobar");
        assert_eq!(base32(hash), "mzxw6ytboiaaaaaa");
        assert_eq!(base32([0xff; 32]), "7777777777777777");
    }

    #[test]
    fn a_query_has_a_secret_by_the_name_of_a_parameter_with_a_value() {
        for query in ["token=x", "user=u&pass=p", "a=b&key=c", "psk=%20"] {
            assert!(has_secret(query), "{query}");
        }
        for query in ["", "token", "token=", "user=u", "tokens=x", "encoder=7"] {
            assert!(!has_secret(query), "{query}");
        }
    }
}
