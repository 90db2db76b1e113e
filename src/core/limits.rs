//! Every upper bound of the daemon, with its unit and its reason. A limit that a stranger can reach belongs here.

// Delivery.

/// Segments beyond the last complete one that a blocked reload may ask for: two, the draft's own bound
/// (draft-pantos-hls-rfc8216bis, 6.2.5.2). Counted from the segment that is growing, which is the first of them.
pub const BLOCK_AHEAD_SEGMENTS: u64 = 2;

/// Milliseconds of parts beyond the newest one that a blocked reload may ask for: the draft's Advance Part Limit, three
/// seconds of parts, or three parts when they last a second or longer (6.2.5.2).
pub const ADVANCE_PART_LIMIT_MS: u64 = 3000;

/// Shortest sliding list, in target durations, whatever is configured: beyond the skip boundary (six) with room for a
/// delta update to skip something.
pub const WINDOW_TARGET_DURATIONS_MIN: i64 = 9;

/// Milliseconds of media kept beyond what the draft promises for what left a list. Retention is counted in media time,
/// and media may run this far ahead of its arrival before the publisher is paced: without it, such a burst would make
/// bytes vanish early.
pub const RETENTION_SLACK_MS: i64 = 10_000;
