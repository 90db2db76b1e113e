//! Every upper bound of the daemon, with its unit and its reason. A limit that a stranger can reach belongs here.

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
