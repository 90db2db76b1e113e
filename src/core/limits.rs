//! Every upper bound of the daemon, with its unit and its reason. A limit that a stranger can reach belongs here.

use std::time::Duration;

// live

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
