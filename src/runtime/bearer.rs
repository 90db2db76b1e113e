//! Secrets that callers present: kept only as SHA-256 digests, compared in constant time, never shown.
//!
//! [`Digest`] is the stored form of any high-entropy secret (a stream key, an API token); [`Tokens`] is the list of an
//! HTTP door, presented as `Authorization: Bearer <token>` (RFC 6750, 2.1). An empty list means that the door is open:
//! whether that is allowed is decided where the door is configured.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::config;

/// The SHA-256 of a secret. A plain hash is enough because the secrets are random, not chosen (32 bytes of entropy).
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `secret` as presented.
    pub fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Reads 64 hexadecimal digits; `None` for anything else.
    pub fn parse(hex: &str) -> Option<Self> {
        if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut digest = [0; 32];
        for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&hex[at..at + 2], 16).ok()?;
        }
        Some(Self(digest))
    }

    /// What [`Self::parse`] reads: for a file that only its owner may read, never for logs or answers.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl config::Value for Digest {
    const EXPECTED: &'static str = "a SHA-256 as 64 hexadecimal digits";
    const SECRET: bool = true;

    fn from_toml(value: &toml::Value) -> Option<Self> {
        Self::parse(value.as_str()?)
    }

    fn show(&self) -> String {
        format!("{self:?}")
    }
}

/// The tokens of one HTTP door.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens(Vec<(String, Digest)>);

impl Tokens {
    /// Tokens by name; the name goes to the logs in the token's place.
    pub fn new(tokens: Vec<(String, Digest)>) -> Self {
        Self(tokens)
    }

    /// Whether there is no token: the door asks for none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who presents `authorization`, the value of that header.
    ///
    /// # Errors
    /// [`Error`] says what to answer with 401.
    pub fn verify(&self, authorization: Option<&[u8]>) -> Result<Bearer<'_>, Error> {
        if self.is_empty() {
            return Ok(Bearer::Anyone);
        }
        let header = authorization.ok_or(Error::Missing)?;
        let (scheme, token) = header.split_at_checked(7).ok_or(Error::Malformed)?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return Err(Error::Malformed);
        }
        let presented = Digest::of(token);
        let mut known = self.0.iter();
        let holder = known.find(|(_, digest)| *digest == presented);
        holder
            .map(|(name, _)| Bearer::Named(name))
            .ok_or(Error::Unknown)
    }
}

/// Who came through the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearer<'a> {
    /// The door asks for no token.
    Anyone,
    /// The holder of the token of this name.
    Named(&'a str),
}

/// Why a caller is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No `Authorization` header.
    #[error("this needs a bearer token")]
    Missing,
    /// The header is of another scheme.
    #[error("the authorization header is not of the form: Bearer <token>")]
    Malformed,
    /// No such token.
    #[error("the bearer token is not known")]
    Unknown,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_holder_of_a_token_is_named_and_everyone_else_refused() {
        // SHA-256 of "abc": FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let tokens = Tokens::new(vec![
            ("ops".into(), Digest::parse(&abc.to_uppercase()).unwrap()),
            ("ci".into(), Digest::of(b"other")),
        ]);
        for (header, expect) in [
            (Some("Bearer abc"), Ok(Bearer::Named("ops"))),
            (Some("bearer other"), Ok(Bearer::Named("ci"))),
            (Some("Bearer abd"), Err(Error::Unknown)),
            (Some("Bearer "), Err(Error::Unknown)),
            (Some("Basic abc"), Err(Error::Malformed)),
            (Some("abc"), Err(Error::Malformed)),
            (None, Err(Error::Missing)),
        ] {
            assert_eq!(
                tokens.verify(header.map(str::as_bytes)),
                expect,
                "{header:?}"
            );
        }
        assert_eq!(Tokens::default().verify(None), Ok(Bearer::Anyone));
    }

    #[test]
    fn a_digest_is_64_hexadecimal_digits_and_never_shown() {
        let right = "0".repeat(64);
        assert_eq!(format!("{:?}", Digest::parse(&right).unwrap()), "(secret)");
        for wrong in [
            "",
            "00",
            &"0".repeat(63),
            &"0".repeat(65),
            &"g".repeat(64),
            &"é".repeat(32),
            &"+1".repeat(32),
        ] {
            assert!(Digest::parse(wrong).is_none(), "{wrong}");
        }
    }
}
