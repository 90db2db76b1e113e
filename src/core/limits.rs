//! Every upper bound of the daemon, with its unit and its reason. A limit that a stranger can reach belongs here.

use std::time::Duration;

// Time and packaging

/// Largest step back of the publisher's clock, in milliseconds, that is taken as sent (reordered or repeated frames);
/// beyond it the clock jumped and the frame follows its predecessor instead.
pub const CLOCK_BACKWARD_MS: i64 = 1_000;
/// Largest step of the publisher's clock ahead of the time that passed, in milliseconds; beyond it the clock jumped.
pub const CLOCK_FORWARD_MS: i64 = 10_000;
/// Largest composition offset, in milliseconds either way: the deepest reordering of 16 pictures at 5 per second.
pub const COMPOSITION_MAX_MS: i32 = 3_200;
/// How far from exactly 2^24 ms a step back may be, in milliseconds, to be a 24-bit wrap.
pub const CLOCK_WRAP_SLACK_MS: i64 = 60_000;
/// Distance of sound from its count, in milliseconds, beyond which it is moved at once instead of slowly.
pub const AUDIO_RESYNC_MS: i64 = 100;
/// Longest silence written for one hole, in milliseconds; longer holes stay holes.
pub const SILENCE_MAX_MS: i64 = 10_000;
/// How far behind pictures of its time sound is expected, in milliseconds at most, because it arrived so in the probe.
pub const AUDIO_LAG_MS: i64 = 500;
/// How far sound may fall behind the picture, in milliseconds, before silence stands in for it.
pub const AUDIO_LATE_MS: i64 = 300;
/// How far sound may be published ahead of pictures that encoders owe, in milliseconds: beyond, it is not they who wait.
pub const SOUND_AHEAD_MS: i64 = 500;
/// Shortest segment, in milliseconds, except before a discontinuity: longer than any audio frame, so that every
/// rendition has media in every segment.
pub const SEGMENT_MIN_MS: i64 = 130;
/// Shortest part in percent of the part target, but for the last of a segment and gaps (draft-pantos-hls-rfc8216bis,
/// 4.4.4.9).
pub const PART_MIN_PERCENT: i64 = 85;
/// Frames whose distance must agree before a part is sealed on its last frame instead of on the next one.
pub const STEADY_FRAMES: u32 = 8;
/// Most bytes a probe holds back before it decides on what it has: 4 s at 64 Mb/s.
pub const PROBE_BYTES: usize = 32 << 20;
/// Most items a probe holds back: 10 s of 120 fps video and 100 audio frames per second, and room.
pub const PROBE_ITEMS: usize = 4_096;
/// How much longer than `hls.max_gop` an arrival is waited for, when media time has not decided: jitter of a bad uplink.
pub const PROBE_SLACK_MS: i64 = 500;
/// How long a session that has announced pictures may go without a sync sample before it begins without them.
pub const SYNC_WAIT_MS: i64 = 10_000;
/// How long encoders may owe the pictures before a cut until a rendition goes on without them: as long as the shortest
/// target duration that passes anything through; players wait three.
pub const LADDER_LATE: Duration = Duration::from_secs(2);
/// How soon a rendition whose encoder failed is tried again, the first time: a burst of load has passed by then.
pub const LADDER_PAUSE_MIN: Duration = Duration::from_secs(10);
/// How late, at last: the pause doubles, for a machine that is too small stays so.
pub const LADDER_PAUSE_MAX: Duration = Duration::from_secs(320);
/// Outputs of one input to a stream, before they are drained: a snapshot per rendition and a few words; more means that
/// the driver broke the usage law.
pub const STREAM_OUTPUTS: usize = 64;
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
// RTMP wire (chunks, AMF0) and publish session.

/// Chunk streams one connection may use, a count. Encoders use 3 to 8; each costs an assembly buffer.
pub const CHUNK_STREAMS_MAX: usize = 64;
/// Largest chunk size accepted, in bytes: no chunk is longer than a message, whose length has 24 bits.
pub const CHUNK_SIZE_MAX: u32 = 0xFF_FFFF;
/// Largest audio, video or aggregate message, in bytes: a 4K key frame at 100 Mb/s is below 4 MiB.
pub const MEDIA_MESSAGE_MAX: u32 = 8 << 20;
/// Largest data message, in bytes: `onMetaData` of a file carries a key frame index.
pub const DATA_MESSAGE_MAX: u32 = 256 << 10;
/// Largest command, control or unknown message, in bytes: ffmpeg's longest `connect` is about 2 KiB.
pub const COMMAND_MESSAGE_MAX: u32 = 64 << 10;
/// Bytes of unfinished messages a publisher may leave with us: one of the largest and its neighbours.
pub const CHUNK_BUFFERED_MAX: usize = 16 << 20;
/// The same before the verdict, when anyone may be at the other end: one key frame of an impatient encoder.
pub const CHUNK_BUFFERED_STRANGER_MAX: usize = 2 << 20;
/// Bytes reserved when a message begins; from there a buffer grows with what arrived, never with what was announced.
pub const CHUNK_RESERVE: usize = 16 << 10;
/// Nesting of AMF0 objects and arrays, a count. `onMetaData` with a key frame index needs 3.
pub const AMF0_DEPTH_MAX: usize = 16;
/// Values in one AMF0 message, a count: about a mebibyte decoded.
pub const AMF0_VALUES_MAX: usize = 16 << 10;
/// Message streams one connection may create, a count. Encoders create 1.
pub const MESSAGE_STREAMS_MAX: u32 = 8;
/// Bytes of metadata and codec configurations kept while a publish awaits its verdict.
pub const PUBLISH_HELD_MAX: usize = 256 << 10;
/// Characters of a reason sent to a publisher, so that every reply fits one chunk.
pub const REASON_MAX: usize = 512;
/// From the end of the handshake to `publish`, and from the end of one publish to the next on the connection.
pub const CONNECT_TO_PUBLISH: Duration = Duration::from_secs(10);
/// Without an audio or video message after the verdict: longer than the stalls a mobile network recovers from.
pub const PUBLISH_IDLE: Duration = Duration::from_secs(15);
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
/// Bytes of an access unit that are searched for captions, which stand in front of the picture: some SEI of other kinds,
/// an encoder's signature among them, may stand before.
pub const CAPTIONS_FRONT_BYTES: usize = 4096;
/// Bytes of standalone SEI kept for the next access unit; more than this without a picture is dropped.
pub const MAX_PENDING_SEI_BYTES: usize = 64 * 1024;
// ingest: the RTMP door

/// One write to a publisher. Answers are small, so a peer that cannot take one is not reading at all.
pub const RTMP_WRITE: Duration = Duration::from_secs(5);
/// From our last words to the close: long enough for them to cross the world and for the peer to hang up first.
pub const RTMP_LINGER: Duration = Duration::from_secs(1);
/// A frame waiting for the stream's task. That task never blocks: longer means it is gone.
pub const RTMP_HAND_OFF: Duration = Duration::from_secs(10);
/// The answer to a publish request; beyond it the request is denied (`hooks.deadline`, at most 10 s, and a margin).
pub const RTMP_VERDICT: Duration = Duration::from_secs(12);
/// Bytes read from a publisher's socket at once: half a second of a 1 Mbit/s broadcast, one read of a 4K key frame's part.
pub const RTMP_READ_BYTES: usize = 64 * 1024;
/// Media ahead of its arrival, beyond which the socket is not read until the clock catches up.
pub const PACE_LEAD: Duration = Duration::from_secs(10);
/// Media behind its arrival that a burst may make good at once; as long as the longest silence we endure (idle limit).
pub const PACE_LAG: Duration = Duration::from_secs(15);
/// A step between neighbouring timestamps beyond this is a jump of the publisher's clock, not media to wait for.
pub const PACE_STEP: Duration = Duration::from_secs(10);
/// Time that a capped publisher's bits may be ahead of its cap: a burst after the longest silence we endure passes.
pub const BITRATE_BURST: Duration = Duration::from_secs(15);
// live

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
/// Distance of a named epoch from the clock, either way: program date-time is counted from it, and the next one must be
/// beyond it, so a name far off would spoil dates now and numbers for as long.
pub const EPOCH_SLACK: Duration = Duration::from_secs(3600);
/// Least time between two timers of a stream: the grain of the clocks.
pub const TIMER_REST: Duration = Duration::from_millis(1);
/// How long a request for the multivariant playlist waits for a stream that is about to begin: some probes long, below
/// the request timeout of players and edges.
pub const MULTIVARIANT_WAIT: Duration = Duration::from_secs(8);
// restart: streams saved by one process and resumed by the next

/// Bytes of one saved stream: ten minutes of list and the ten minutes that left it, at 6 Mb/s, and room.
pub const STATE_BYTES_MAX: u64 = 1 << 30;
/// Bytes of a saved stream apart from its media: a hundred thousand parts take less.
pub const STATE_HEAD_BYTES_MAX: u32 = 4 << 20;
/// Longest downtime that gaps are written for when a stream is resumed, whatever grace it was saved with.
pub const STATE_GRACE_MAX: Duration = Duration::from_secs(3600);
/// Shortest part, in milliseconds, that a saved stream may have planned: a resumed list is grown by whole parts at once.
pub const STATE_PART_MIN_MS: i64 = 50;
/// Initialization segments that an epoch may have had when it was saved: a publisher cannot change its configuration
/// so often in a year.
pub const STATE_INITS_MAX: i64 = 1 << 30;
/// How far the tracks of a saved stream may stand apart, in milliseconds; they are cut together, so that a part and an
/// audio frame is what is found. As long, at most, were gaps owed.
pub const STATE_SKEW_MS: i64 = 60_000;
/// Largest number, tick, millisecond or count in a saved stream, about 400 years at 90 kHz: sums of a few cannot
/// overflow.
pub const STATE_NUMBER_MAX: i64 = 1 << 50;

// doors: what one address may do

/// Refused publishes of one address that cost it nothing: a mistyped key, tried again by an eager encoder.
pub const REFUSALS_FORGIVEN: u32 = 10;
/// Until one refused publish of an address is forgotten; whole seconds.
pub const REFUSAL_FORGOTTEN: Duration = Duration::from_secs(10);
/// What each refused publish beyond the forgiven ones adds to the wait before the address is decided about again.
pub const REFUSAL_WAIT_STEP: Duration = Duration::from_millis(250);
/// The longest such wait: encoders wait longer for an answer, so a right key still gets through.
pub const REFUSAL_WAIT_MAX: Duration = Duration::from_secs(4);
/// Addresses whose refused publishes are remembered: some 400 KiB.
pub const REFUSED_ADDRESSES_MAX: usize = 4096;
/// Playback requests of one address under way at once; beyond, 503. Four for each of the 4096 viewers that may share a
/// carrier's address: without it the streams of HTTP/2 would multiply what a limit on connections allows.
pub const REQUESTS_PER_CLIENT_MAX: u32 = 16_384;

// transcode

/// Access units waiting for the decoder: what the longest probe holds, at 60 pictures per second, handed over at once.
pub const TRANSCODE_FEEDS_MAX: usize = 512;
/// Pictures waiting for one encoder: the jitter of encoding. Each is a whole picture, 1.4 MB at 720 lines.
pub const TRANSCODE_PICTURES_MAX: usize = 4;
/// Jobs waiting for one encoder, key frames among them, which are not shed; beyond, it is too late.
pub const TRANSCODE_JOBS_MAX: usize = 16;
/// How long an access unit may wait for the decoder: what the longest probe hands over at once is dealt with by then, and
/// players have given up on a rendition that is later.
pub const TRANSCODE_LATE: Duration = Duration::from_secs(4);
/// How late a picture may be when it is shown until the least rendition leaves it out: what comes in a burst, as the
/// probe's hold does, is encoded whole.
pub const TRANSCODE_SHED_AGE: Duration = Duration::from_millis(1250);
/// How much later for each rendition above that one; three of them are below [`LADDER_LATE`].
pub const TRANSCODE_SHED_STEP: Duration = Duration::from_millis(250);
/// How long one picture waits for a place: an encoder that takes longer for a picture hangs, or may as well.
pub const TRANSCODE_PICTURE_PATIENCE: Duration = Duration::from_millis(500);
/// Without a picture done in spite of work, after which an encoder counts as hung.
pub const TRANSCODE_WATCHDOG: Duration = Duration::from_secs(2);
/// How often an encoder at work is looked after while nothing else comes.
pub const TRANSCODE_WATCH: Duration = Duration::from_millis(100);
/// Key frames asked for and not yet due: the segments and parts of the longest hold.
pub const TRANSCODE_KEYS_MAX: usize = 64;
/// Pixels of a picture that is decoded: 4K in any shape. A decoder may hold 17 of them, 12 MB each.
pub const TRANSCODE_PIXELS_MAX: u32 = 4096 * 2304;
/// Access units in a row that gave no picture, after which the source counts as undecodable: some seconds.
pub const TRANSCODE_FUTILE_MAX: u32 = 300;
/// What all encoders of a stream have handed over and its task has not taken: parts of some 2 s of three renditions.
pub const TRANSCODE_ENCODED_MAX: usize = 32;
/// Access units that an encoder's thread keeps until their part is whole: half a second, longer than most parts.
pub const TRANSCODE_MADE_MAX: usize = 15;
/// Lines of FFmpeg's log that one thread may say in [`FFMPEG_LOG_INTERVAL`]; a broken stream has several per picture.
pub const FFMPEG_LOG_LINES_MAX: u32 = 20;
/// See [`FFMPEG_LOG_LINES_MAX`].
pub const FFMPEG_LOG_INTERVAL: Duration = Duration::from_secs(10);

// slate: what goes on while nothing arrives

/// Milliseconds of pictures that a slate adds at once: the longest usual target duration, twice. What a process that was
/// suspended still owes follows in turns, in which encoders come to answer.
pub const SLATE_BURST_MS: i64 = 4_000;
/// How far behind the slate the key frame may stand, in milliseconds, that a session goes on with: the jitter of a
/// network. Players fall behind by as much.
pub const SLATE_LATE_MS: i64 = 500;
/// How long media that is older than that is passed over while it catches up; a publisher that stays late is shown late.
pub const SLATE_RETURN: Duration = Duration::from_secs(5);

// stills

/// Key frames decoded at once, in the whole process, for stills of broadcasts that are passed through: one processor at
/// most, whatever their number. Who finds no turn tries again at its next key frame.
pub const GLANCES_MAX: usize = 1;
/// Milliseconds of media from one such still to the next, at least.
pub const GLANCE_INTERVAL_MS: u32 = 5_000;

// sound

/// Access units of sound waiting to be encoded: what the longest probe hands over at once, and some seconds.
pub const SOUND_UNITS_MAX: usize = 512;
/// Frames of encoded sound that wait for the stream's task: some 5 s.
pub const SOUND_ENCODED_MAX: usize = 256;
/// Bytes of an access unit of sound that is decoded: 120 ms of Opus in 48 packets of its largest, which is more than any
/// other codec's.
pub const SOUND_UNIT_BYTES_MAX: usize = 64 << 10;
/// How far, in milliseconds, sound that is encoded may stand from its count to go on with it, either way: a hole is filled
/// with silence. Below what the engine waits for sound, so that it never fills the same hole.
pub const SOUND_HOLE_MS: i64 = AUDIO_RESYNC_MS;
/// How much of that is the publisher's clock alone: rounding, and stamps by arrival. Lost frames are longer.
pub const SOUND_JITTER_MS: i64 = 30;
/// What part of the distance between clock and count is made good with each access unit: one in so many.
pub const SOUND_CORRECTION: i64 = 32;
/// How long the sound that is still being encoded is waited for when its publish ends: far more than it needs.
pub const SOUND_FINISH: Duration = Duration::from_millis(250);

// hooks

/// Characters of a refusal's reason that a backend gives and a broadcaster is told: more do not fit an encoder's window.
pub const VERDICT_REASON_CHARS: usize = 200;
/// Bytes, as JSON, of what a backend wants to be told with every event of a stream.
pub const VERDICT_METADATA_BYTES: usize = 4096;
/// Bytes of a backend's answer that are read; more is no verdict. One with all its fields and metadata is below 6 KiB.
pub const HOOK_ANSWER_BYTES_MAX: usize = 16 << 10;
/// Bytes of the headers of such an answer over HTTP/2; over HTTP/1.1 the client has a bound of its own.
pub const HOOK_HEADER_BYTES_MAX: u32 = 16 << 10;
/// Questions to a backend under way at once: what a backend of a few workers still answers within the deadline.
pub const HOOK_CALLS_MAX: usize = 64;
/// Questions that wait for a place among those; beyond, the answer is no at once.
pub const HOOK_WAITERS_MAX: usize = 1024;
/// The same of questions about publishes that run: few, so that they never take the place of one that wants to begin.
pub const HOOK_CALLS_AGAIN_MAX: usize = 8;
/// Calls in a row without an answer after which a backend is left alone for a while.
pub const HOOK_FAILURES_MAX: u32 = 5;
/// How long it is left alone at first; twice as long after each probe that fails.
pub const HOOK_PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest such pause: so long may a backend be back and not be asked.
pub const HOOK_PAUSE_MAX: Duration = Duration::from_secs(15);
/// How long a connection to a backend is kept for the next question: shorter than any usual server keeps it, which would
/// close it under a question.
pub const HOOK_IDLE: Duration = Duration::from_secs(1);
/// Keys that are remembered as allowed, in case their backend fails: some 10 MiB, metadata apart.
pub const HOOK_KNOWN_MAX: usize = 16 << 10;
/// How long a wrong key is remembered for the address that presented it, and denied without a call.
pub const HOOK_DENIED_FOR: Duration = Duration::from_secs(2);
/// Wrong keys that are remembered so.
pub const HOOK_DENIED_MAX: usize = 4096;
/// How long a backend that did not answer about a publish that runs is left alone with it, at most.
pub const HOOK_AGAIN_RETRY: Duration = Duration::from_secs(10);
/// Ends of publishes that wait to be told to a backend; beyond, they are dropped and counted.
pub const HOOK_DONE_MAX: usize = 4096;
/// Ends of publishes that are being told at once.
pub const HOOK_DONE_CALLS_MAX: usize = 8;
/// Waits before the second and later attempts to tell of one; after the last it is given up.
pub const HOOK_DONE_RETRIES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(15),
];
/// How long the ends of publishes may still be told when the server stops.
pub const HOOK_DONE_FLUSH: Duration = Duration::from_secs(2);

// viewer tokens

/// Bytes of a key's name in a token.
pub const TOKEN_KEY_ID_BYTES_MAX: usize = 32;
/// Bytes of a token: the longest key name, time, stream id and signature.
pub const TOKEN_BYTES_MAX: usize = 2 + 32 + 20 + STREAM_ID_BYTES_MAX + 86 + 4;
/// Keys of viewer tokens at once: one that signs and one that goes, of some backends.
pub const TOKEN_KEYS_MAX: usize = 16;
/// Genuine tokens of a slow algorithm that are remembered, in each of two generations, so that they are verified once: the
/// viewers of an origin without an edge. Some 400 bytes each.
pub const TOKENS_REMEMBERED_MAX: usize = 16_384;
/// Seconds for which an edge may go on with what it was told about a token: so long may a viewer whose key was withdrawn.
pub const TOKEN_VERDICT_SECONDS_MAX: u64 = 60;
/// Longest `playback.max_session`: a day.
pub const TOKEN_SESSION_MAX: Duration = Duration::from_secs(86_400);

// operations on live streams

/// How long a stream's task is waited for that is to carry out an order: it answers within milliseconds, or is ending.
pub const ORDER_WAIT: Duration = Duration::from_secs(5);
/// Orders that wait for a stream's task: those of a few operators at once.
pub const ORDERS_MAX: usize = 8;
/// How long the key of a stream that an operator has ended is refused, unless told otherwise: encoders give up or their
/// users have noticed by then.
pub const END_BAN: Duration = Duration::from_secs(30);
/// Keys that are banned at once; beyond, the ban that would end first makes room.
pub const BANS_MAX: usize = 10_000;
/// Streams of which it is remembered that something was taken down; beyond, the oldest is forgotten.
pub const TAKEDOWNS_MAX: usize = 4_096;
/// Epochs remembered of each of them.
pub const TAKEDOWN_EPOCHS_MAX: usize = 64;
/// Characters of what a publisher calls itself and its application that events tell: a stranger does not make them fat.
pub const TOLD_CHARS_MAX: usize = 200;
/// Characters kept of an operator's reason.
pub const REASON_CHARS_MAX: usize = 500;

// outbox: callbacks that are never lost

/// Recorded events that may wait for the disk, and as many being written: some minutes of a busy node. Beyond, they are
/// lost, and counted.
pub const OUTBOX_RECORDS_MAX: usize = 16_384;
/// Bytes of an event as it is posted: receivers count on callbacks being thin.
pub const OUTBOX_BODY_BYTES_MAX: usize = 20 * 1024;
/// From a write that failed to the next try: what a full disk needs is a person.
pub const OUTBOX_WRITE_RETRY: Duration = Duration::from_secs(1);
/// How long an operator's wish waits for the disk; then it is taken back. Commands wait longer for their answer.
pub const OUTBOX_WISH: Duration = Duration::from_secs(10);
/// Tries of the last write of a process that ends.
pub const OUTBOX_LAST_WRITES_MAX: u32 = 3;
/// From each failed attempt to the next one (contracts, section 3); after the last of them a delivery is a dead letter.
pub const OUTBOX_RETRIES: [Duration; 12] = [
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
    Duration::from_secs(14 * 3600),
    Duration::from_secs(20 * 3600),
    Duration::from_secs(24 * 3600),
];
/// How much longer than that a wait may be, as a share of it in percent: what failed together does not return together.
pub const OUTBOX_JITTER_PERCENT: u32 = 10;
/// Longest Retry-After that is honoured: the longest wait of the schedule.
pub const OUTBOX_RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);
/// One attempt, from the connection to the status (contracts, section 3).
pub const OUTBOX_ATTEMPT: Duration = Duration::from_secs(15);
/// Bytes of an answer that are read, for the connection to be used again; beyond, it is closed.
pub const OUTBOX_ANSWER_BYTES_MAX: usize = 16 * 1024;
/// How long they are waited for: the status was all that matters.
pub const OUTBOX_ANSWER_READ: Duration = Duration::from_secs(1);
/// First attempts under way at once to one endpoint, each of another stream.
pub const OUTBOX_FIRST_ATTEMPTS_MAX: usize = 8;
/// Further attempts under way at once to one endpoint: beside first ones, so that neither wait for the other.
pub const OUTBOX_RETRIES_MAX: usize = 4;
/// Deliveries of one endpoint in memory that wait for their first attempt; the others wait on disk.
pub const OUTBOX_WINDOW_MAX: usize = 512;
/// How long attempts under way may take when the process ends; they are made again by the next.
pub const OUTBOX_DRAIN: Duration = Duration::from_secs(2);
/// How long an event is kept to be replayed.
pub const OUTBOX_KEPT: Duration = Duration::from_secs(7 * 86_400);
/// The same while it is a dead letter to an endpoint, or waits for one that is not configured.
pub const OUTBOX_DEAD_KEPT: Duration = Duration::from_secs(30 * 86_400);
/// Events kept, whatever their age: about 200 MB. What waits for an attempt is kept beyond.
pub const OUTBOX_EVENTS_KEPT_MAX: i64 = 200_000;
/// Deliveries that may wait for one endpoint; beyond, the oldest become dead letters.
pub const OUTBOX_WAITING_MAX: i64 = 100_000;
/// How long the numbers of a stream that is not heard of go on; the next one of its name begins at 1 again.
pub const OUTBOX_SUBJECT_KEPT: Duration = Duration::from_secs(90 * 86_400);
/// Between two rounds of forgetting.
pub const OUTBOX_PRUNE: Duration = Duration::from_secs(60);
/// Events forgotten in one transaction: some milliseconds of it.
pub const OUTBOX_PRUNE_EVENTS_MAX: i64 = 1000;
/// Between two measurements of what waits.
pub const OUTBOX_GAUGE: Duration = Duration::from_secs(5);
/// For how long volatile events that are counted are gathered into one.
pub const OUTBOX_SUMMARY: Duration = Duration::from_secs(10);
/// Things of which the latest waits to be told to an endpoint: every stream's thumbnail. Beyond, they are dropped, and
/// counted.
pub const OUTBOX_LATEST_MAX: usize = STREAMS_MAX;
/// Things that are counted at once, and as many summaries that wait for each endpoint: addresses that were refused, each
/// with a reason. Beyond, they are dropped, and counted.
pub const OUTBOX_SUMMARIES_MAX: usize = 256;
/// Endpoints of one daemon: each costs a task, and connections.
pub const OUTBOX_ENDPOINTS_MAX: usize = 256;
/// Deliveries on one page of a listing.
pub const OUTBOX_PAGE_MAX: usize = 1000;

// control: the API and the commands that call it

/// Bytes of a request's body: metadata of a verdict is the largest thing anybody sends.
pub const CONTROL_BODY_BYTES_MAX: usize = 64 << 10;
/// From a request's head to the end of its body: operators send a few hundred bytes.
pub const CONTROL_BODY: Duration = Duration::from_secs(10);
/// Characters of an unknown name, of a field or a thing, that are told back.
pub const CONTROL_NAME_CHARS_MAX: usize = 64;
/// Bytes of a path in a line of the audit: those that mean something are shorter.
pub const CONTROL_PATH_LOGGED_MAX: usize = 200;
/// Seconds of the longest ban or lifetime that is asked for in seconds: a year. For good is another word.
pub const CONTROL_SECONDS_MAX: u64 = 366 * 24 * 3600;
/// Bytes of a URL or a cursor in a request.
pub const CONTROL_URL_BYTES_MAX: usize = 2048;
/// Deliveries in one answer, at most.
pub const CONTROL_PAGE_MAX: u64 = 500;
/// Deliveries in one answer when nobody says.
pub const CONTROL_PAGE: u64 = 100;
/// Until a command has a connection to the daemon.
pub const CLI_CONNECT: Duration = Duration::from_secs(5);
/// Until a command has its answer: longer than the daemon waits for a stream.
pub const CLI_ANSWER: Duration = Duration::from_secs(15);
/// Bytes of an answer that a command reads: 4,096 streams, each with its notices, are 30 MB.
pub const CLI_ANSWER_BYTES_MAX: usize = 64 << 20;
/// Least time between two looks of the live view: a daemon's CPU is for its streams.
pub const CLI_TOP_EVERY_MIN: Duration = Duration::from_millis(200);
/// Keys that wait to be read by the live view.
pub const CLI_EVENTS_MAX: usize = 16;
/// How often the reader of keys looks whether anybody still wants them.
pub const CLI_EVENT_POLL: Duration = Duration::from_millis(100);

// events

/// Bytes of an event's id.
pub const EVENT_ID_BYTES_MAX: usize = 64;
/// Milliseconds after which an event is too late to be placed, where its backend does not say.
pub const EVENT_TTL_MS: u32 = 10_000;
/// The longest that a backend may say: what is older than ten minutes belongs to no live picture.
pub const EVENT_TTL_MS_MAX: u32 = 600_000;
/// The longest an event may last, in milliseconds: a day, as no show is longer.
pub const EVENT_DURATION_MS_MAX: u32 = 86_400_000;
/// Milliseconds that a cue without a duration lasts: long enough for a player to see it between two looks at its clock.
pub const EVENT_EDGE_MS: u32 = 1_000;
/// Bytes of an event's JSON text in the stream: every viewer fetches it, and an `X-` attribute of a playlist line repeats it.
pub const EVENT_VALUE_BYTES_MAX: usize = 1_024;
/// The same of a batch of chat messages, of which there is one a second at most.
pub const CHAT_BATCH_VALUE_BYTES_MAX: usize = 4_096;
/// Time between two repetitions of a stream's state, for players that come late.
pub const STATE_REPEAT: Duration = Duration::from_secs(10);
/// Events that a stream may carry, lasting, where the verdict does not say.
pub const EVENTS_PER_SECOND: u32 = 50;
/// Bytes of their JSON texts that it may carry a second, lasting, where the verdict does not say.
pub const EVENT_BYTES_PER_SECOND: u32 = 4_096;
/// The most events a second that anybody may allow: more is no shop, and each is a box in every rendition.
pub const EVENTS_PER_SECOND_MAX: u32 = 1_000;
/// The least bytes a second that anybody may allow: four times this may come at once, and one batch of chat must.
pub const EVENT_BYTES_PER_SECOND_MIN: u32 = 1_024;
/// The most bytes of events a second that anybody may allow: half a megabit that every viewer fetches.
pub const EVENT_BYTES_PER_SECOND_MAX: u32 = 64 << 10;
/// Milliseconds that a publish's pictures may be said to stand behind or before its events: no encoder is slower.
pub const EVENT_OFFSET_MS_MAX: i32 = 30_000;
/// How long a stream's task is waited for that is to place an event or to tell its clock: it answers within milliseconds, or
/// is busy, and whoever posts events has a deadline of its own.
pub const EVENT_WAIT: Duration = Duration::from_secs(1);
/// Seconds after which an event may be posted again that found nothing to be placed at, or nobody to place it.
pub const EVENT_RETRY_SECONDS: u64 = 1;
/// The same where the playlists list as many ranges as they may: time for some of them to end.
pub const RANGES_RETRY_SECONDS: u64 = 5;
/// Between two batches of `events.placed` of one stream (contracts, section 3).
pub const PLACED_EVERY: Duration = Duration::from_secs(1);
/// Bytes of confirmations that wait for the next batch: ten seconds of what a stream may carry where the verdict does not
/// say. Beyond, batches leave at once.
pub const PLACED_WAITING_BYTES_MAX: usize = 128 << 10;
/// Bytes of the JSON texts in the timeline of one epoch, of which there are three: a show of three hours with more than an
/// event a second. Beyond, the oldest go, chat and counters first.
pub const TIMELINE_BYTES_MAX: usize = 4 << 20;
/// Between two writings of a timeline: four mebibytes to be hashed and packed are a tenth of a second of a processor.
pub const TIMELINE_REST: Duration = Duration::from_secs(1);
/// How far ahead an event may be wanted, in milliseconds (contracts, section 5).
pub const EVENT_AHEAD_MS_MAX: i64 = 60_000;
/// Longest wait told to who has posted too much, in milliseconds.
pub const EVENT_RETRY_MS_MAX: u64 = 60_000;
/// Events of a stream whose answers are remembered for who posts them again: three minutes at the lasting rate.
pub const EVENTS_REMEMBERED_MAX: usize = 8_192;
/// Events of a stream that have a place and wait for their part, or for media behind a gap: a minute at the lasting rate,
/// and room.
pub const EVENTS_WAITING_MAX: usize = 4_096;
/// Bytes of their JSON texts.
pub const EVENTS_WAITING_BYTES_MAX: usize = 1 << 20;
/// Ranges that a playlist lists (contracts, section 5): each is a line that every reload fetches.
pub const RANGES_MAX: usize = 32;
/// Bytes of those lines.
pub const RANGES_BYTES_MAX: usize = 32 * 1024;
/// Events between the media of a session that is being probed, which wait with it; beyond, the oldest are dropped.
pub const EVENTS_HELD_MAX: usize = 64;
/// Bytes of the box around an event's JSON text, rounded up: `emsg`, its scheme, and the ID3 tag.
pub const EVENT_BOX_BYTES: u64 = 112;
/// Bytes of the shortest such text with an id as backends make them, rounded down.
pub const EVENT_VALUE_BYTES_MIN: u64 = 128;
