//! How many files and sockets the process may hold open (`RLIMIT_NOFILE`, getrlimit(2)).
//!
//! The soft limit is raised to the hard one at start: its low default (1024) is for programs that call select(2).
//! Whether the limit suffices is checked against the configuration before a port is bound.

use std::io;

use rlimit::Resource;

/// Descriptors kept for what is not a connection: listeners, logs, recordings, the runtime's own.
pub const RESERVED: u64 = 256;

/// Raises the soft limit to the hard one and returns it, in descriptors.
///
/// # Errors
/// What the system said when it refused.
pub fn raise() -> io::Result<u64> {
    let (soft, hard) = Resource::NOFILE.get()?;
    if soft < hard {
        Resource::NOFILE.set(hard, hard)?;
    }
    Ok(hard)
}

/// Why the configured connections cannot all be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{wanted} connections and {RESERVED} descriptors besides exceed the {limit} that this process may hold open; \
     lower max_connections or raise the hard limit (ulimit -Hn, LimitNOFILE=)"
)]
pub struct Exceeded {
    /// Connections, all listeners together.
    pub wanted: u64,
    /// The limit of the process.
    pub limit: u64,
}

/// Checks that `connections` fit under `limit` beside [`RESERVED`].
///
/// # Errors
/// [`Exceeded`] when they do not.
pub fn check(connections: u64, limit: u64) -> Result<(), Exceeded> {
    if connections.saturating_add(RESERVED) <= limit {
        return Ok(());
    }
    Err(Exceeded {
        wanted: connections,
        limit,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = raise().unwrap();
        assert_eq!(Resource::NOFILE.get().unwrap(), (limit, limit));
    }

    #[test]
    fn connections_above_the_limit_are_refused() {
        assert_eq!(check(1000, 1000 + RESERVED), Ok(()));
        let refused = check(1001, 1000 + RESERVED).unwrap_err();
        assert!(
            refused.to_string().contains("1001 connections"),
            "{refused}"
        );
        assert!(check(u64::MAX, u64::MAX - 1).is_err());
    }
}
