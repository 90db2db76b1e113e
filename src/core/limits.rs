//! Every upper bound of the daemon, with its unit and its reason. A limit that a stranger can reach belongs here.

use std::time::Duration;

// ingest: the RTMP door

/// From the first byte to the end of C2. Encoders need two round trips; a slow-loris needs patience.
pub const RTMP_HANDSHAKE: Duration = Duration::from_secs(5);
/// One write to a publisher. Answers are small, so a peer that cannot take one is not reading at all.
pub const RTMP_WRITE: Duration = Duration::from_secs(5);
/// From our last words to the close: long enough for them to cross the world and for the peer to hang up first.
pub const RTMP_LINGER: Duration = Duration::from_secs(1);
/// TLS handshake of RTMPS, before the RTMP handshake.
pub const RTMPS_HANDSHAKE: Duration = Duration::from_secs(5);
/// A frame waiting for the stream's task. That task never blocks: longer means it is gone.
pub const RTMP_HAND_OFF: Duration = Duration::from_secs(10);
/// The answer to a publish request; beyond it the request is denied (hooks: 3 s and a margin).
pub const RTMP_VERDICT: Duration = Duration::from_secs(5);
/// Bytes read from a publisher's socket at once: half a second of a 1 Mbit/s broadcast, one read of a 4K key frame's part.
pub const RTMP_READ_BYTES: usize = 64 * 1024;
/// Connections per address (IPv4) or per /64 (IPv6): a studio behind one NAT, not a flood.
pub const RTMP_CONNECTIONS_PER_ADDRESS: usize = 64;
/// Connections in all: each may hold buffers of several hundred kilobytes.
pub const RTMP_CONNECTIONS: usize = 4096;
/// Media ahead of its arrival, beyond which the socket is not read until the clock catches up.
pub const PACE_LEAD: Duration = Duration::from_secs(10);
/// Media behind its arrival that a burst may make good at once; as long as the longest silence we endure (idle limit).
pub const PACE_LAG: Duration = Duration::from_secs(15);
/// A step between neighbouring timestamps beyond this is a jump of the publisher's clock, not media to wait for.
pub const PACE_STEP: Duration = Duration::from_secs(10);
/// Time that a capped publisher's bits may be ahead of its cap: a burst after the longest silence we endure passes.
pub const BITRATE_BURST: Duration = Duration::from_secs(15);

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

// Codec configurations and access units

/// NAL units or OBUs in one access unit. One slice per macroblock row of 8K is 270; an encoder that sends more than
/// this is not sending video.
pub const MAX_UNITS_PER_SAMPLE: usize = 1024;

/// Parameter sets of one type in a configuration: what `numOfSequenceParameterSets` can say (5 bits).
pub const MAX_PARAMETER_SETS: usize = 31;

/// Bytes of one parameter set or AudioSpecificConfig. Real ones stay under 300; the length field allows 65,535.
pub const MAX_CONFIG_BYTES: usize = 4096;

/// Width or height of a picture in pixels: 16K, and what a sample entry's 16 bit can hold.
pub const MAX_PICTURE_SIDE_PX: u32 = 16_384;

/// Bytes of standalone SEI kept for the next access unit; more than this without a picture is dropped.
pub const MAX_PENDING_SEI_BYTES: usize = 64 * 1024;

