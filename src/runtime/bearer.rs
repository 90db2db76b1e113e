//! Secrets that callers present: kept only as SHA-256 digests, compared in constant time, never shown.
//!
//! [`Digest`] is the stored form of any high-entropy secret (a stream key, an API token); [`Tokens`] is the list of an
//! HTTP door, presented as `Authorization: Bearer <token>` (RFC 6750, 2.1), each with what its holder may do
//! ([`Access`]). An empty list means that the door is open: whether that is allowed is decided where the door is
//! configured.

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

/// What the holder of a token may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Look and change.
    #[default]
    Full,
    /// Look.
    Read,
}

impl Access {
    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Read => "read",
        }
    }
}

impl config::Value for Access {
    const EXPECTED: &'static str = "\"full\" or \"read\"";

    fn from_toml(value: &toml::Value) -> Option<Self> {
        let name = value.as_str()?;
        [Self::Full, Self::Read]
            .into_iter()
            .find(|access| access.name() == name)
    }

    fn show(&self) -> String {
        self.name().to_owned().show()
    }
}

/// One token of a door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What the logs say in its place.
    pub name: String,
    /// What is kept of the secret.
    pub digest: Digest,
    /// What its holder may do.
    pub access: Access,
}

/// The tokens of one HTTP door.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens(Vec<Token>);

impl Tokens {
    /// The list; empty, the door asks for none.
    pub fn new(tokens: Vec<Token>) -> Self {
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
        let holder = known.find(|token| token.digest == presented);
        holder.map(Bearer::Holder).ok_or(Error::Unknown)
    }
}

/// Who came through the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearer<'a> {
    /// The door asks for no token.
    Anyone,
    /// The holder of this token.
    Holder(&'a Token),
}

impl Bearer<'_> {
    /// What the logs call it.
    pub fn name(&self) -> &str {
        match self {
            Self::Anyone => "anyone",
            Self::Holder(token) => &token.name,
        }
    }

    /// What it may do.
    pub fn access(&self) -> Access {
        match self {
            Self::Anyone => Access::Full,
            Self::Holder(token) => token.access,
        }
    }
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
        let token = |name: &str, digest, access| Token {
            name: name.to_owned(),
            digest,
            access,
        };
        let ops = token(
            "ops",
            Digest::parse(&abc.to_uppercase()).unwrap(),
            Access::Full,
        );
        let ci = token("ci", Digest::of(b"other"), Access::Read);
        let tokens = Tokens::new(vec![ops.clone(), ci.clone()]);
        for (header, expect) in [
            (Some("Bearer abc"), Ok(Bearer::Holder(&ops))),
            (Some("bearer other"), Ok(Bearer::Holder(&ci))),
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
        let told =
            [Bearer::Anyone, Bearer::Holder(&ci)].map(|it| (it.name().to_owned(), it.access()));
        let wanted = [
            ("anyone".to_owned(), Access::Full),
            ("ci".to_owned(), Access::Read),
        ];
        assert_eq!(told, wanted);
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
