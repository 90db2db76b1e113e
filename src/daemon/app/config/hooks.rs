//! `[hooks]`: the backend that decides who may publish (contracts, sections 3 and 7).
//!
//! What a dialect has no use for is refused, and so is everything while no backend is named: a setting is used or refused,
//! never ignored. Secrets are never shown; of a URL neither is its query.

use std::time::Duration;

use vitrine_core::wire::{
    hook::Dialect,
    sign::{NotASecret, Secret},
};
use vitrine_runtime::config::{Reader, Value, toml};

use crate::hooks::{BackendUrl, OnFailure, Settings};

/// Who is asked, and who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// The backend that decides who may publish, when there is one.
    pub admission: Option<Settings>,
}

/// `[hooks]`
pub(super) fn read(reader: &mut Reader<'_>) -> Hooks {
    Hooks {
        admission: admission(reader),
    }
}

fn admission(reader: &mut Reader<'_>) -> Option<Settings> {
    let Words(dialect) = reader.value("hooks.dialect", Words(Dialect::Vitrine));
    let admission_url = reader.optional::<BackendUrl>("hooks.admission_url");
    let Secrets(secrets) = reader.value("hooks.secret", Secrets::default());
    let deadline = reader.value("hooks.deadline", DEADLINE);
    let on_failure = reader.value("hooks.on_failure", Failure::Deny);
    let known_for = reader.value("hooks.known_for", KNOWN_FOR);
    let name_is_public = reader.value("hooks.name_is_public", false);
    let done_url = reader.optional::<BackendUrl>("hooks.done_url");
    let update_url = reader.optional::<BackendUrl>("hooks.update_url");
    let update_every = reader.value("hooks.update_every", UPDATE_EVERY);

    let Some(admission_url) = admission_url else {
        for (set, key) in [
            (dialect != Dialect::Vitrine, "hooks.dialect"),
            (!secrets.is_empty(), "hooks.secret"),
            (deadline != DEADLINE, "hooks.deadline"),
            (on_failure != Failure::Deny, "hooks.on_failure"),
            (known_for != KNOWN_FOR, "hooks.known_for"),
            (name_is_public, "hooks.name_is_public"),
            (done_url.is_some(), "hooks.done_url"),
            (update_url.is_some(), "hooks.update_url"),
            (update_every != UPDATE_EVERY, "hooks.update_every"),
        ] {
            reader.require(
                !set,
                key,
                "hooks.admission_url beside it: without, nobody is asked",
            );
        }
        return None;
    };
    let foreign = dialect != Dialect::Vitrine;
    reader.require(
        foreign || !secrets.is_empty(),
        "hooks.secret",
        "at least one secret to sign with: whsec_ and the base64 of 24 to 64 random bytes",
    );
    reader.require(
        !foreign || name_is_public || !secrets.is_empty(),
        "hooks.secret",
        "a secret to make public names with (whsec_ and the base64 of 24 to 64 random bytes), \
         or hooks.name_is_public = true",
    );
    reader.require(
        foreign || !name_is_public,
        "hooks.name_is_public",
        "false: with dialect \"vitrine\" the backend names the stream",
    );
    let at_most = Duration::from_secs(10);
    reader.require(
        (Duration::from_millis(100)..=at_most).contains(&deadline),
        "hooks.deadline",
        "100ms to 10s",
    );
    let day = Duration::from_secs(86_400);
    reader.require(
        (Duration::from_secs(1)..=day).contains(&known_for),
        "hooks.known_for",
        "1s to 24h",
    );
    reader.require(
        on_failure == Failure::AllowKnown || known_for == KNOWN_FOR,
        "hooks.known_for",
        "hooks.on_failure = \"allow_known\" beside it, or none",
    );
    let ends = matches!(dialect, Dialect::Srs | Dialect::NginxRtmp);
    reader.require(
        ends || done_url.is_none(),
        "hooks.done_url",
        "none: only the dialects \"srs\" and \"nginx-rtmp\" have this call",
    );
    reader.require(
        dialect == Dialect::NginxRtmp || update_url.is_none(),
        "hooks.update_url",
        "none: only the dialect \"nginx-rtmp\" has this call",
    );
    reader.require(
        update_url.is_some() || update_every == UPDATE_EVERY,
        "hooks.update_every",
        "hooks.update_url beside it, or none",
    );
    reader.require(
        update_every >= Duration::from_secs(1),
        "hooks.update_every",
        "at least 1s",
    );
    Some(Settings {
        dialect,
        admission_url,
        secrets,
        deadline,
        on_failure: match on_failure {
            Failure::Deny => OnFailure::Deny,
            Failure::AllowKnown => OnFailure::AllowKnown(known_for),
        },
        name_is_public,
        done_url,
        update: update_url.map(|url| (url, update_every)),
    })
}

const DEADLINE: Duration = Duration::from_secs(3);
const KNOWN_FOR: Duration = Duration::from_secs(600);
const UPDATE_EVERY: Duration = Duration::from_secs(30);

/// Secrets of one endpoint: one, or several while they rotate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Secrets(pub(super) Vec<Secret>);

impl Value for Secrets {
    const EXPECTED: &'static str =
        "a list of secrets, each whsec_ and the base64 of 24 to 64 random bytes";
    const SECRET: bool = true;

    fn from_toml(value: &toml::Value) -> Option<Self> {
        let one = std::slice::from_ref(value);
        let list = value.as_array().map_or(one, Vec::as_slice);
        let secrets = list
            .iter()
            .map(|secret| Secret::parse(secret.as_str().ok_or(NotASecret)?));
        secrets.collect::<Result<_, _>>().ok().map(Self)
    }

    fn show(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// `hooks.on_failure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Deny,
    AllowKnown,
}

impl Value for Failure {
    const EXPECTED: &'static str = "\"deny\" or \"allow_known\"";

    fn from_toml(value: &toml::Value) -> Option<Self> {
        match value.as_str()? {
            "deny" => Some(Self::Deny),
            "allow_known" => Some(Self::AllowKnown),
            _ => None,
        }
    }

    fn show(&self) -> String {
        let name = match self {
            Self::Deny => "deny",
            Self::AllowKnown => "allow_known",
        };
        name.to_owned().show()
    }
}

/// `hooks.dialect`.
#[derive(Clone, Copy, Debug)]
struct Words(Dialect);

impl Value for Words {
    const EXPECTED: &'static str = "\"vitrine\", \"srs\", \"nginx-rtmp\" or \"mediamtx\"";

    fn from_toml(value: &toml::Value) -> Option<Self> {
        let name = value.as_str()?;
        let known = Dialect::ALL.into_iter().find(|it| it.name() == name);
        known.map(Self)
    }

    fn show(&self) -> String {
        self.0.name().to_owned().show()
    }
}

impl Value for BackendUrl {
    const EXPECTED: &'static str = "a URL that begins with http:// or https://";

    fn from_toml(value: &toml::Value) -> Option<Self> {
        Self::parse(value.as_str()?)
    }

    fn show(&self) -> String {
        self.to_string().show()
    }
}
