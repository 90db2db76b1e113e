//! Stub.
use super::{Error, Timescale};
use bytes::Bytes;

/// Opus counts at 48 kHz whatever it codes (RFC 6716, 2; RFC 7845, 4).
pub const TIMESCALE: Timescale = Timescale::new(48_000).expect("not zero");

/// An identification header (RFC 7845, 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {}

impl Config {
    /// Reads an `OpusHead`, as enhanced RTMP carries it.
    ///
    /// # Errors
    /// [`Error`] naming what is malformed.
    pub fn parse(_head: &Bytes) -> Result<Self, Error> {
        todo!()
    }
    /// Output channels.
    pub fn channels(&self) -> u8 {
        todo!()
    }
}

/// Samples at 48 kHz that `packet` lasts (RFC 6716, 3.1: the TOC byte); `None` when it is empty or impossible.
pub fn packet_samples(_packet: &[u8]) -> Option<u32> {
    todo!()
}
