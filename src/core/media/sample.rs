//! A sample: one access unit with its place on the media timeline.

use bytes::Bytes;

/// One access unit (ISO/IEC 14496-12 sense), timed on its track's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Decode time in ticks since the epoch's first sample.
    pub dts: i64,
    /// Presentation time minus decode time, in ticks; may be negative (`trun` version 1).
    pub composition_offset: i32,
    /// Ticks until the next sample is expected: exact for audio, predicted from the frame rate for video.
    pub duration: u32,
    /// Whether decoding can start here.
    pub sync: bool,
    /// The access unit as it stands in `mdat` (length-prefixed NAL units, OBUs, raw AAC, an Opus packet).
    pub data: Bytes,
}
