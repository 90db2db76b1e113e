//! Stub.
use super::Error;
use bytes::Bytes;

/// A decoder configuration (AV1CodecConfigurationRecord).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {}

/// An access unit made fit for `mdat`.
pub type Unit = super::Unit<Config>;

impl Config {
    /// Reads a AV1CodecConfigurationRecord.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Malformed`], or [`Error::Unsupported`] with the profile named.
    pub fn parse(_record: &Bytes) -> Result<Self, Error> {
        todo!()
    }
    /// The record as it stands in the sample entry.
    pub fn record(&self) -> &Bytes {
        todo!()
    }
    /// Turns an access unit as it stands in an FLV tag into one fit for `mdat`.
    ///
    /// # Errors
    /// [`Error::Malformed`] when lengths contradict the bytes.
    pub fn unit(&self, _data: &Bytes) -> Result<Unit, Error> {
        todo!()
    }
    /// RFC 6381.
    pub fn codecs(&self) -> String {
        todo!()
    }
    /// Width and height after cropping.
    pub fn resolution(&self) -> (u32, u32) {
        todo!()
    }
    /// Declared frames per second.
    pub fn frame_rate(&self) -> Option<(u32, u32)> {
        todo!()
    }
}
