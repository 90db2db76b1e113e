//! Every upper bound of the daemon, with its unit and its reason. A limit that a stranger can reach belongs here.

use std::time::Duration;

// Live streams and their origin.

/// Bytes of a stream id: fits a file name and a log line (contracts, section 2).
pub const STREAM_ID_BYTES_MAX: usize = 64;
/// Streams in one process, counting the ended ones that are still fetchable: each costs two tasks and its window.
pub const STREAMS_MAX: usize = 4096;
/// Messages waiting for a stream's task: two seconds of 60 fps video and its audio. When full the socket is not read.
pub const INBOX_MESSAGES_MAX: usize = 256;
/// KiB of media waiting for a stream's task; above the largest message, below what a burst of them could pile up.
pub const INBOX_KIB_MAX: u32 = 16 * 1024;
/// Attempts to claim a stream whose task is just ending; each finds either a task or none.
pub const CLAIM_ATTEMPTS_MAX: usize = 3;
/// Epochs of one stream that stay fetchable: the running one and two before it.
pub const EPOCHS_KEPT_MAX: usize = 3;
/// Notices kept for the control API; the oldest is dropped.
pub const NOTICES_MAX: usize = 16;
/// How long an ended epoch's playlists and media stay fetchable at least (contracts, section 2), and the stream with them.
pub const ENDED_RETENTION: Duration = Duration::from_secs(60);
/// Requests of one stream that may wait at once; beyond, 503. Twice the fan-out that is measured.
pub const WAITERS_PER_STREAM_MAX: usize = 20_000;
/// Parts whose publish latency the control API summarises: some 25 s of 200 ms parts.
pub const LATENCIES_KEPT_MAX: usize = 128;
/// How long a request for the multivariant playlist waits for a stream that is about to begin: some probes long, below
/// the request timeout of players and edges.
pub const MULTIVARIANT_WAIT: Duration = Duration::from_secs(8);

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
