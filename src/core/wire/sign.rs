//! Signatures of hooks (Standard Webhooks 1.0, "Signature scheme"): HMAC-SHA256 over `id.timestamp.body`, symmetric (`v1`).
//!
//! A secret belongs to one endpoint. While it rotates there are two, and a message carries a signature by each, so that a
//! receiver that knows either takes it. The clock is the caller's, and so is what happens to what is not signed.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Name of the header that says which message this is, the same in every attempt.
pub const ID: &str = "webhook-id";
/// Name of the header that says when this attempt was made, in Unix seconds.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// Name of the header with the signatures.
pub const SIGNATURE: &str = "webhook-signature";

/// Seconds that a message may be old, or ahead of the receiver's clock: later it may be a replay.
pub const TOLERANCE_SECONDS: u64 = 5 * 60;

const PREFIX: &str = "whsec_";
const VERSION: &str = "v1,";

/// Why a text is no [`Secret`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected whsec_ and the base64 of 24 to 64 random bytes")]
pub struct NotASecret;

/// Why a message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// The timestamp is no number of seconds.
    #[error("webhook-timestamp is no time in Unix seconds")]
    Timestamp,
    /// Too old, or from the future.
    #[error("webhook-timestamp is more than {TOLERANCE_SECONDS} s away from now")]
    Late,
    /// None of the signatures is by one of the secrets.
    #[error("webhook-signature is by none of the secrets")]
    Signature,
}

/// What an endpoint and its senders share.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Reads `whsec_` and base64.
    ///
    /// # Errors
    /// [`NotASecret`] for anything else, and for fewer than 24 or more than 64 bytes.
    pub fn parse(text: &str) -> Result<Self, NotASecret> {
        let encoded = text.strip_prefix(PREFIX).ok_or(NotASecret)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| NotASecret)?;
        match bytes.len() {
            24..=64 => Ok(Self(bytes)),
            _ => Err(NotASecret),
        }
    }

    /// HMAC-SHA256 of `message`: a name for it that tells nothing about it, the same wherever the secret is.
    pub fn hash(&self, message: &[u8]) -> [u8; 32] {
        let mut mac = self.keyed();
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    fn keyed(&self) -> Hmac<Sha256> {
        Hmac::new_from_slice(&self.0).expect("HMAC takes keys of any length")
    }

    fn mac(&self, id: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.keyed();
        for piece in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(piece);
        }
        mac
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The value of [`SIGNATURE`] for a message `id` sent at `seconds` (Unix): a signature by each secret.
pub fn sign(secrets: &[Secret], id: &str, seconds: u64, body: &[u8]) -> String {
    let timestamp = seconds.to_string();
    let signed = |secret: &Secret| {
        let mac = secret.mac(id, &timestamp, body).finalize().into_bytes();
        format!("{VERSION}{}", STANDARD.encode(mac))
    };
    let signatures: Vec<_> = secrets.iter().map(signed).collect();
    signatures.join(" ")
}

/// Whether a message with these headers is by who knows one of `secrets`, at `now` (Unix seconds). Compared in constant time.
///
/// # Errors
/// What is wrong with it.
pub fn verify(
    secrets: &[Secret],
    id: &str,
    timestamp: &str,
    signatures: &str,
    body: &[u8],
    now: u64,
) -> Result<(), Forged> {
    let seconds: u64 = timestamp.parse().map_err(|_| Forged::Timestamp)?;
    if now.abs_diff(seconds) > TOLERANCE_SECONDS {
        return Err(Forged::Late);
    }
    let signatures = { signatures.split(' ') }
        .filter_map(|signature| STANDARD.decode(signature.strip_prefix(VERSION)?).ok());
    let mut signatures = signatures.take(SIGNATURES_MAX);
    let by = |signature: &[u8], secret: &Secret| {
        let mac = secret.mac(id, timestamp, body);
        mac.verify_slice(signature).is_ok()
    };
    match signatures.any(|signature| secrets.iter().any(|secret| by(&signature, secret))) {
        true => Ok(()),
        false => Err(Forged::Signature),
    }
}

/// Signatures of one message that are looked at: each costs a hash of the body.
const SIGNATURES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// From the specification's reference libraries.
    const KNOWN: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const AT: u64 = 1_614_265_330;

    fn secret(text: &str) -> Secret {
        Secret::parse(text).expect("a secret")
    }

    #[test]
    fn the_vector_of_the_reference_libraries() {
        let signature = sign(&[secret(KNOWN)], ID, AT, BODY);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn while_a_secret_rotates_either_verifies() {
        let other = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let both = [secret(KNOWN), secret(other)];
        let signatures = sign(&both, ID, AT, BODY);
        assert_eq!(signatures.split(' ').count(), 2);
        for one in both {
            let check = |id, timestamp: &str, body| {
                verify(
                    std::slice::from_ref(&one),
                    id,
                    timestamp,
                    &signatures,
                    body,
                    AT + 9,
                )
            };
            let at = AT.to_string();
            assert_eq!(check(ID, &at, BODY), Ok(()));
            assert_eq!(check("msg_other", &at, BODY), Err(Forged::Signature));
            assert_eq!(check(ID, &at, b"{}"), Err(Forged::Signature));
            assert_eq!(check(ID, "1614265331", BODY), Err(Forged::Signature));
            assert_eq!(check(ID, "soon", BODY), Err(Forged::Timestamp));
            assert_eq!(check(ID, "1614265030", BODY), Err(Forged::Late));
        }
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for text in [
            "",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_c2hvcnQ=",
            "whsec_!",
        ] {
            assert_eq!(Secret::parse(text), Err(NotASecret), "{text}");
        }
        assert_eq!(format!("{:?}", secret(KNOWN)), "(secret)");
    }
}
