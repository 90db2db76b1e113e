//! What can be wrong with a configuration, told so that it can be put right without opening the manual: key, value,
//! expected form, origin, nearest known key.

use std::{io, path::PathBuf};

use super::Origin;

/// Which of the `known` words is spelt most like `word`.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |it: &&str| strsim::normalized_damerau_levenshtein(it, word);
    let known = known.into_iter();
    known.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Unreadable {
        /// The path as it was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Everything that is wrong, in the order of the file, then of the environment.
    #[error("{}", .0.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Fault>),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The text is no TOML.
    #[error("{origin}: {message}")]
    Syntax {
        /// What the parser said.
        message: String,
        /// Where.
        origin: Origin,
    },
    /// No such key.
    #[error("{origin}: unknown key {key}; the nearest known key is {nearest}")]
    Unknown {
        /// The key or variable as written.
        key: String,
        /// The known one that is spelt most alike.
        nearest: String,
        /// Where.
        origin: Origin,
    },
    /// The value cannot be used.
    #[error("{origin}: {key} = {value}: expected {expected}")]
    Value {
        /// The dotted key.
        key: String,
        /// The value as TOML, or `(secret)`.
        value: String,
        /// The form or range that would do.
        expected: String,
        /// Where.
        origin: Origin,
    },
    /// A key without a default is absent.
    #[error("{origin}: {key} is missing: expected {expected}")]
    Missing {
        /// The dotted key.
        key: String,
        /// The form that would do.
        expected: String,
        /// Where its table stands.
        origin: Origin,
    },
    /// The key is known, but what it asks for is not there.
    #[error("{origin}: {key} is not supported by {lack}")]
    Unsupported {
        /// The dotted key.
        key: String,
        /// What lacks it.
        lack: Lack,
        /// Where.
        origin: Origin,
    },
}

/// Why what a key asks for is not there; completes "not supported by".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    /// A later version will have it.
    #[error("this version yet")]
    Version,
    /// This program was built without that feature of its package.
    #[error("this build: it was made without the feature {0:?}")]
    Feature(&'static str),
}

impl Fault {
    pub(super) fn unknown(key: &str, known: &[String], origin: Origin) -> Self {
        let nearest = nearest(key, known.iter().map(String::as_str));
        Self::Unknown {
            key: key.to_owned(),
            nearest: nearest.unwrap_or_default().to_owned(),
            origin,
        }
    }

    /// Where the fault stands.
    pub fn origin(&self) -> &Origin {
        match self {
            Self::Syntax { origin, .. }
            | Self::Unknown { origin, .. }
            | Self::Value { origin, .. }
            | Self::Missing { origin, .. }
            | Self::Unsupported { origin, .. } => origin,
        }
    }
}
