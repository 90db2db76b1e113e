//! Stub: FLV audio and video bodies, legacy and enhanced, to configurations and frames.
use bytes::Bytes;

use crate::media::{self, Config, Kind};

/// What one audio or video message holds, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The track's decoder configuration; repeated equal ones are not reported.
    Config(Config),
    /// One access unit.
    Frame(Frame),
}

/// One access unit as it came off the wire, on the publisher's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The track it belongs to.
    pub kind: Kind,
    /// RTMP message timestamp in milliseconds: decode time modulo 2^32.
    pub timestamp: u32,
    /// Nanoseconds to add to the timestamp (enhanced RTMP ModEx), 0..=999_999.
    pub nanos: u32,
    /// Presentation minus decode time in milliseconds (signed 24 bit on the wire).
    pub composition_ms: i32,
    /// Whether decoding can start here; judged from the bitstream.
    pub sync: bool,
    /// The access unit, fit for `mdat`.
    pub data: Bytes,
}

/// Why a message cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The message contradicts the format.
    #[error(transparent)]
    Media(#[from] media::Error),
}

/// Reads the audio and video messages of one publisher; holds each track's current configuration.
#[derive(Debug, Default)]
pub struct Demuxer {}

impl Demuxer {
    /// Reads the body of a video message (type 9), appending what it holds to `out`.
    ///
    /// # Errors
    /// What is malformed or unsupported; items already appended stand.
    pub fn video(
        &mut self,
        _timestamp: u32,
        _body: &Bytes,
        _out: &mut Vec<Item>,
    ) -> Result<(), Error> {
        todo!()
    }

    /// Reads the body of an audio message (type 8), appending what it holds to `out`.
    ///
    /// # Errors
    /// What is malformed or unsupported; items already appended stand.
    pub fn audio(
        &mut self,
        _timestamp: u32,
        _body: &Bytes,
        _out: &mut Vec<Item>,
    ) -> Result<(), Error> {
        todo!()
    }
}
