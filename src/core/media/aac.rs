//! Stub.
use super::{Error, Timescale};
use bytes::Bytes;

/// An AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {}

impl Config {
    /// Reads an AudioSpecificConfig.
    ///
    /// # Errors
    /// [`Error`] naming what is malformed or unsupported (960-sample frames, other object types).
    pub fn parse(_asc: &Bytes) -> Result<Self, Error> {
        todo!()
    }
    /// The AudioSpecificConfig as it stands in `esds`.
    pub fn record(&self) -> &Bytes {
        todo!()
    }
    /// RFC 6381: `mp4a.40.2`, `.5` or `.29`.
    pub fn codecs(&self) -> String {
        todo!()
    }
    /// The output sampling rate.
    pub fn timescale(&self) -> Timescale {
        todo!()
    }
    /// Samples per access unit on [`Self::timescale`]: 1024, or 2048 when SBR doubles the rate.
    pub fn frame_samples(&self) -> u32 {
        todo!()
    }
    /// Output channels.
    pub fn channels(&self) -> u8 {
        todo!()
    }

    /// Channels of the core coder: one below [`Self::channels`] when parametric stereo adds the second.
    pub fn core_channels(&self) -> u8 {
        todo!()
    }
}
