//! Every upper bound of the daemon, with its unit and its reason. A limit that a stranger can reach belongs here.

// Time and packaging

/// Largest step back of the publisher's clock, in milliseconds, that is taken as sent (reordered or repeated frames);
/// beyond it the clock jumped and the frame follows its predecessor instead.
pub const CLOCK_BACKWARD_MS: i64 = 1_000;
/// Largest step of the publisher's clock ahead of the time that passed, in milliseconds; beyond it the clock jumped.
pub const CLOCK_FORWARD_MS: i64 = 10_000;
/// How far from exactly 2^24 ms a step back may be, in milliseconds, to be a 24-bit wrap.
pub const CLOCK_WRAP_SLACK_MS: i64 = 60_000;
/// Distance of sound from its count, in milliseconds, beyond which it is moved at once instead of slowly.
pub const AUDIO_RESYNC_MS: i64 = 100;
/// Longest silence written for one hole, in milliseconds; longer holes stay holes.
pub const SILENCE_MAX_MS: i64 = 10_000;
/// How long sound waits for the picture that decides its cut, in milliseconds of media.
pub const AUDIO_HOLD_MS: i64 = 500;
/// How far sound may fall behind the picture, in milliseconds, before silence stands in for it.
pub const AUDIO_LATE_MS: i64 = 300;
/// Shortest segment, in milliseconds, except before a discontinuity: longer than any audio frame, so that every
/// rendition has media in every segment.
pub const SEGMENT_MIN_MS: i64 = 130;
/// Frames whose distance must agree before a part is sealed on its last frame instead of on the next one.
pub const STEADY_FRAMES: u32 = 8;
/// Most bytes a probe holds back before it decides on what it has: 4 s at 64 Mb/s.
pub const PROBE_BYTES: usize = 32 << 20;
/// Most items a probe holds back: 10 s of 120 fps video and 100 audio frames per second, and room.
pub const PROBE_ITEMS: usize = 4_096;
/// How long a session that has announced pictures may go without a sync sample before it begins without them.
pub const SYNC_WAIT_MS: i64 = 10_000;
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
