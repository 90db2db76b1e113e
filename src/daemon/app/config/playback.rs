//! `[playback]`: who may watch, and the keys of viewer tokens (contracts, sections 2 and 7).
//!
//! Keys are read whatever the policy is, so that they can be handed out before it changes. What a token is, and what it
//! opens, is not decided here.

use std::time::Duration;

use vitrine_core::{
    limits,
    wire::token::{KeyId, Keyring, Secret, Verifier},
};
use vitrine_runtime::config::{Reader, Value, toml};

use crate::origin::guard::Policy;

/// What `playback.policy` says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Public,
    Signed,
}

impl Value for Name {
    const EXPECTED: &'static str = "\"public\" or \"signed\"";

    fn from_toml(value: &toml::Value) -> Option<Self> {
        match value.as_str()? {
            "public" => Some(Self::Public),
            "signed" => Some(Self::Signed),
            _ => None,
        }
    }

    fn show(&self) -> String {
        let name = match self {
            Self::Public => "public",
            Self::Signed => "signed",
        };
        name.to_owned().show()
    }
}

impl Value for Id {
    const EXPECTED: &'static str = "a name of 1 to 32 letters, digits, _ or -";

    fn from_toml(value: &toml::Value) -> Option<Self> {
        KeyId::parse(value.as_str()?).ok().map(Self)
    }

    fn show(&self) -> String {
        self.0.to_string().show()
    }
}

struct Id(KeyId);

/// A shared secret.
struct Hmac(Verifier);

impl Value for Hmac {
    const EXPECTED: &'static str = "the base64 of 32 to 64 random bytes";
    const SECRET: bool = true;

    fn from_toml(value: &toml::Value) -> Option<Self> {
        let secret = Secret::parse(value.as_str()?).ok()?;
        Some(Self(Verifier::Hmac(secret)))
    }

    fn show(&self) -> String {
        "(secret)".to_owned()
    }
}

/// A public key.
struct Ed25519(Verifier);

impl Value for Ed25519 {
    const EXPECTED: &'static str = "the base64 of an Ed25519 public key, 32 bytes";

    fn from_toml(value: &toml::Value) -> Option<Self> {
        Verifier::ed25519(value.as_str()?).ok().map(Self)
    }

    fn show(&self) -> String {
        self.0.show().1.show()
    }
}

/// Reads the section.
pub(super) fn read(reader: &mut Reader<'_>) -> Policy {
    let name = reader.value("playback.policy", Name::Public);
    let max_session = reader.value("playback.max_session", Duration::from_secs(6 * 3600));
    let keys = reader.entries("playback.keys", key);
    reader.require(
        max_session <= limits::TOKEN_SESSION_MAX,
        "playback.max_session",
        "at most 24h",
    );
    reader.require(
        keys.len() <= limits::TOKEN_KEYS_MAX,
        "playback.keys",
        format_args!("at most {} keys", limits::TOKEN_KEYS_MAX),
    );
    for (index, (id, _)) in keys.iter().enumerate() {
        let twice = keys[..index].iter().any(|(earlier, _)| earlier == id);
        let key = format!("playback.keys[{index}].id");
        reader.require(!twice, &key, "another name than those before");
    }
    match name {
        Name::Public => Policy::Public,
        Name::Signed => {
            let expected = "at least one [[playback.keys]] beside it, or \"public\"";
            reader.require(!keys.is_empty(), "playback.policy", expected);
            Policy::Signed {
                keys: Keyring::new(keys),
                max_session,
            }
        }
    }
}

fn key(entry: &mut Reader<'_>) -> Option<(KeyId, Verifier)> {
    let id = entry.required::<Id>("id");
    let hmac = entry.optional::<Hmac>("hmac").map(|key| key.0);
    let ed25519 = entry.optional::<Ed25519>("ed25519").map(|key| key.0);
    let one = entry.has("hmac") != entry.has("ed25519");
    entry.require(one, "hmac", "exactly one of hmac and ed25519");
    Some((id?.0, hmac.or(ed25519)?))
}
