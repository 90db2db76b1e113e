//! Viewer tokens (contracts, section 2): leave to watch, carried in the path of a URL, `/live/~<token>/<stream>/...`.
//!
//! ```text
//! token     = text "." signature
//! text      = "v1." key "." expires "." stream
//! key       = 1*32( ALPHA / DIGIT / "_" / "-" )          ; which key signed; so several are good at once, and one can go
//! expires   = Unix seconds in digits, no leading zero    ; good before, not at it
//! stream    = stream id / "*"                            ; the one stream, or every
//! signature = base64url( HMAC-SHA256(secret, text) / Ed25519(key, text) ), without padding   ; RFC 2104, 8032, 4648
//! ```
//!
//! A key is of one algorithm, so a token does not say which. One text has one form: whatever differs in a bit is refused.
//! MACs are compared in constant time. The clock is the caller's; so is what a request needs a token for.

use std::{fmt, time::Duration};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::{limits, media::WallTime};

const VERSION: &str = "v1";

/// In place of a stream id: every stream.
pub const EVERY_STREAM: &str = "*";

/// Why a token opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no token at all.
    #[error("the viewer token is not of the form v1.<key>.<expires>.<stream>.<signature>")]
    Malformed,
    /// It names a key that is not, or no longer, known.
    #[error("the viewer token is signed with a key that is not known here")]
    UnknownKey,
    /// It was not made, or not left, by who holds the key.
    #[error("the viewer token's signature is wrong")]
    Forged,
    /// It is for another stream than the one asked for.
    #[error("the viewer token is for another stream")]
    OtherStream,
    /// Its time is over.
    #[error("the viewer token has expired")]
    Expired,
}

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAKey {
    /// No name of a key.
    #[error("expected 1 to 32 letters, digits, _ or -")]
    Id,
    /// No secret of HMAC-SHA256.
    #[error("expected the base64 of 32 to 64 random bytes")]
    Secret,
    /// No public key of Ed25519, or one for which anybody can sign.
    #[error("expected the base64 of an Ed25519 public key, 32 bytes")]
    Public,
    /// No key to sign with.
    #[error("expected hmac: and the base64 of 32 to 64 bytes, or ed25519: and the base64 of 32")]
    Signing,
}

/// The name of a key in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyId(String);

impl KeyId {
    /// Reads a name.
    ///
    /// # Errors
    /// [`NotAKey::Id`] for what cannot stand in a token.
    pub fn parse(text: &str) -> Result<Self, NotAKey> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let right = (1..=limits::TOKEN_KEY_ID_BYTES_MAX).contains(&text.len());
        match right && text.bytes().all(plain) {
            true => Ok(Self(text.to_owned())),
            false => Err(NotAKey::Id),
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A secret of HMAC-SHA256: who can verify with it can sign.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Reads base64.
    ///
    /// # Errors
    /// [`NotAKey::Secret`] for anything else, and for fewer than 32 or more than 64 bytes.
    pub fn parse(text: &str) -> Result<Self, NotAKey> {
        let bytes = STANDARD.decode(text).map_err(|_| NotAKey::Secret)?;
        match bytes.len() {
            32..=64 => Ok(Self(bytes)),
            _ => Err(NotAKey::Secret),
        }
    }

    fn mac(&self, text: &str) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0);
        mac.expect("HMAC takes keys of any length")
            .chain_update(text.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A key that tells genuine tokens from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verifier {
    /// Shared with whoever signs.
    Hmac(Secret),
    /// Public: who signs keeps the other half.
    Ed25519(VerifyingKey),
}

impl Verifier {
    /// Reads the base64 of an Ed25519 public key.
    ///
    /// # Errors
    /// [`NotAKey::Public`] for what is none, and for weak ones.
    pub fn ed25519(text: &str) -> Result<Self, NotAKey> {
        let bytes = STANDARD.decode(text).map_err(|_| NotAKey::Public)?;
        let bytes = bytes.try_into().map_err(|_| NotAKey::Public)?;
        match VerifyingKey::from_bytes(&bytes) {
            Ok(key) if !key.is_weak() => Ok(Self::Ed25519(key)),
            _ => Err(NotAKey::Public),
        }
    }

    /// How a configuration names it: the algorithm, and the base64 that goes with it.
    pub fn show(&self) -> (&'static str, String) {
        match self {
            Self::Hmac(secret) => ("hmac", STANDARD.encode(&secret.0)),
            Self::Ed25519(key) => ("ed25519", STANDARD.encode(key.as_bytes())),
        }
    }

    fn is_genuine(&self, text: &str, signature: &[u8]) -> bool {
        match self {
            Self::Hmac(secret) => secret.mac(text).verify_slice(signature).is_ok(),
            Self::Ed25519(key) => Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(text.as_bytes(), &signature).is_ok()),
        }
    }
}

/// The keys whose tokens are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyring(Vec<(KeyId, Verifier)>);

impl Keyring {
    /// These keys, each with another name.
    pub fn new(keys: Vec<(KeyId, Verifier)>) -> Self {
        Self(keys)
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `token` was made by one of these keys, and left as it was.
    ///
    /// # Errors
    /// [`Refused::UnknownKey`] or [`Refused::Forged`].
    pub fn verify(&self, token: &Token<'_>) -> Result<(), Refused> {
        let known = self.0.iter().find(|(id, _)| id.0 == token.key);
        let (_, verifier) = known.ok_or(Refused::UnknownKey)?;
        match verifier.is_genuine(token.text, &token.signature) {
            true => Ok(()),
            false => Err(Refused::Forged),
        }
    }

    /// Whether telling a genuine token from others takes long: tens of microseconds instead of one.
    pub fn is_slow(&self) -> bool {
        let mut keys = self.0.iter();
        keys.any(|(_, key)| matches!(key, Verifier::Ed25519(_)))
    }
}

/// A time in Unix seconds as it is written here.
fn seconds(digits: &str) -> Option<u64> {
    let plain = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// What a token says of itself: to be believed only when [`Keyring::verify`] finds it genuine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    text: &'a str,
    key: &'a str,
    stream: &'a str,
    /// Unix seconds.
    expires: u64,
    signature: Vec<u8>,
}

impl<'a> Token<'a> {
    /// Reads a token.
    ///
    /// # Errors
    /// [`Refused::Malformed`] for what is none.
    pub fn read(token: &'a str) -> Result<Self, Refused> {
        Self::parse(token).ok_or(Refused::Malformed)
    }

    fn parse(token: &'a str) -> Option<Self> {
        if token.len() > limits::TOKEN_BYTES_MAX {
            return None;
        }
        let (text, signature) = token.rsplit_once('.')?;
        let mut fields = text.split('.');
        let version = fields.next()?;
        let (key, expires, stream) = (fields.next()?, fields.next()?, fields.next()?);
        let whole = version == VERSION && fields.next().is_none();
        whole.then_some(Self {
            text,
            key,
            stream,
            expires: seconds(expires)?,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    /// Seconds, at least one, for which it opens `stream` at `now`, when it is good for `after` beyond its own end.
    ///
    /// # Errors
    /// [`Refused::OtherStream`] or [`Refused::Expired`].
    pub fn opens(&self, stream: &str, now: WallTime, after: Duration) -> Result<u64, Refused> {
        if self.stream != EVERY_STREAM && self.stream != stream {
            return Err(Refused::OtherStream);
        }
        let now = u64::try_from(now.0).unwrap_or_default() / 1000;
        let end = self.expires.saturating_add(after.as_secs());
        match end.saturating_sub(now) {
            0 => Err(Refused::Expired),
            left => Ok(left),
        }
    }
}

/// A key that makes tokens.
#[derive(Clone)]
pub enum Signer {
    /// Makes the tokens of [`Verifier::Hmac`].
    Hmac(Secret),
    /// Makes the tokens of [`Verifier::Ed25519`].
    Ed25519(Box<SigningKey>),
}

impl Signer {
    /// An HMAC secret of these bytes, which must be random.
    pub fn hmac(bytes: [u8; 32]) -> Self {
        Self::Hmac(Secret(bytes.to_vec()))
    }

    /// An Ed25519 key of these bytes, which must be random.
    pub fn ed25519(bytes: [u8; 32]) -> Self {
        Self::Ed25519(Box::new(SigningKey::from_bytes(&bytes)))
    }

    /// Reads what [`Signer::reveal`] writes.
    ///
    /// # Errors
    /// [`NotAKey::Signing`] for anything else.
    pub fn parse(text: &str) -> Result<Self, NotAKey> {
        if let Some(secret) = text.strip_prefix("hmac:") {
            let secret = Secret::parse(secret).map_err(|_| NotAKey::Signing)?;
            return Ok(Self::Hmac(secret));
        }
        let seed = text.strip_prefix("ed25519:").ok_or(NotAKey::Signing)?;
        let seed = STANDARD.decode(seed).map_err(|_| NotAKey::Signing)?;
        let seed = seed.try_into().map_err(|_| NotAKey::Signing)?;
        Ok(Self::ed25519(seed))
    }

    /// The key itself: `hmac:` or `ed25519:` and the base64 of its bytes.
    pub fn reveal(&self) -> String {
        match self {
            Self::Hmac(secret) => format!("hmac:{}", STANDARD.encode(&secret.0)),
            Self::Ed25519(key) => format!("ed25519:{}", STANDARD.encode(key.as_bytes())),
        }
    }

    /// The key that knows its tokens.
    pub fn verifier(&self) -> Verifier {
        match self {
            Self::Hmac(secret) => Verifier::Hmac(secret.clone()),
            Self::Ed25519(key) => Verifier::Ed25519(key.verifying_key()),
        }
    }

    /// A token by this key, known as `id`, for `stream` (or [`EVERY_STREAM`]) until `expires` (Unix seconds).
    pub fn sign(&self, id: &KeyId, stream: &str, expires: u64) -> String {
        let text = format!("{VERSION}.{id}.{expires}.{stream}");
        let signature = match self {
            Self::Hmac(secret) => secret.mac(&text).finalize().into_bytes().to_vec(),
            Self::Ed25519(key) => key.sign(text.as_bytes()).to_bytes().to_vec(),
        };
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests;
