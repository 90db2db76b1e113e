//! The two identities of a broadcast: the public name of a stream, and the id of one accepted publish.
//!
//! Neither is a secret; the stream key never takes either form. Contracts, section 2 (stream id) and the preamble (ids
//! are prefixed ULIDs).

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use ulid::Ulid;
use vitrine_core::limits;

/// The public name of a stream: `[A-Za-z0-9_-]{1,64}`, fit for a path segment, a file name and a log line as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(Arc<str>);

/// A name that is no stream id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stream id is 1 to 64 of the characters A-Z a-z 0-9 _ -")]
pub struct InvalidStreamId;

impl StreamId {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StreamId {
    type Err = InvalidStreamId;

    fn from_str(name: &str) -> Result<Self, InvalidStreamId> {
        let valid = (1..=limits::STREAM_ID_BYTES_MAX).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        valid.then(|| Self(name.into())).ok_or(InvalidStreamId)
    }
}

impl Borrow<str> for StreamId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of one accepted publish, connect to end: `ses_` and a ULID.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// A new one.
    #[expect(
        clippy::new_without_default,
        reason = "two of them are never equal, which a default would suggest"
    )]
    pub fn new() -> Self {
        Self(format!("ses_{}", Ulid::new()).into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_id_is_fit_for_a_path_as_it_is() {
        for good in ["a", "shop42", "A_b-9", &"x".repeat(64)] {
            assert_eq!(good.parse::<StreamId>().expect(good).as_str(), good);
        }
        for bad in ["", "a/b", "..", "a.b", "a b", "é", "a%20", &"x".repeat(65)] {
            assert_eq!(bad.parse::<StreamId>(), Err(InvalidStreamId), "{bad}");
        }
    }

    #[test]
    fn session_ids_are_prefixed_and_differ() {
        let (one, two) = (SessionId::new(), SessionId::new());
        assert!(one.as_str().starts_with("ses_"));
        assert_ne!(one, two);
    }
}
