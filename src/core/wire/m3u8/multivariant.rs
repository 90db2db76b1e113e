//! Stub: the multivariant playlist.
use crate::media::Rendition;

/// One `EXT-X-STREAM-INF`.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Its playlist.
    pub rendition: Rendition,
    /// `BANDWIDTH`, bits per second, audio included.
    pub bandwidth: u64,
    /// `AVERAGE-BANDWIDTH`, bits per second, audio included; at most `bandwidth`.
    pub average_bandwidth: u64,
    /// RFC 6381 strings, video before audio.
    pub codecs: Vec<String>,
    /// Width and height, for pictures.
    pub resolution: Option<(u32, u32)>,
    /// Frames per second as a fraction, for pictures.
    pub frame_rate: Option<(u32, u32)>,
}

/// The multivariant playlist of an epoch, ready to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Multivariant {
    /// The epoch: first path segment of every URI.
    pub epoch: u64,
    /// Best first.
    pub variants: Vec<Variant>,
    /// Output channels of the separate audio rendition, when there is one.
    pub audio_channels: Option<u8>,
    /// `EXT-X-INDEPENDENT-SEGMENTS`: every segment begins with a sync sample, and that is kept.
    pub independent_segments: bool,
}

impl Multivariant {
    /// The text.
    pub fn write(&self) -> String {
        todo!()
    }
}
