//! Every upper bound of the daemon, with its unit and its reason. A limit that a stranger can reach belongs here.

/// Milliseconds of media kept beyond what the draft promises for what left a list. Retention is counted in media time,
/// and media may run this far ahead of its arrival before the publisher is paced: without it, such a burst would make
/// bytes vanish early.
pub const RETENTION_SLACK_MS: i64 = 10_000;

