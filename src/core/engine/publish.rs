//! Stub: the server side of one RTMP publish, from the end of the handshake to the end of the connection.
use std::time::Duration;

use bytes::Bytes;

use crate::wire::flv;

/// What the publisher asks for, in its own words; the door adds session id, protocol and address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Application name, without query and key.
    pub app: String,
    /// The secret: the stream name, or `key`/`token` of a query when given there. Never logged.
    pub stream_key: String,
    /// Raw query of the stream name, tcUrl or app; may hold secrets.
    pub query: String,
    /// `tcUrl` as sent, without query.
    pub tc_url: String,
    /// `flashVer`, or the encoder named in metadata.
    pub encoder: String,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `NetStream.Publish.Start`; media flows from the next sync sample.
    Accept,
    /// `NetStream.Publish.Denied` with this reason, then close.
    Deny(String),
    /// `NetStream.Publish.BadName` with this reason, then close.
    Busy(String),
}

/// What the door must do next.
#[derive(Debug)]
pub enum Output {
    /// Write these bytes to the peer.
    Send(Bytes),
    /// Ask whether it may publish, and answer with [`Session::verdict`].
    Publish(Request),
    /// `onMetaData`, numbers and strings by name; a hint only.
    Metadata(Metadata),
    /// A configuration or a frame, only after an accepting verdict.
    Media(flv::Item),
    /// The publisher ended its publish deliberately (FCUnpublish, deleteStream, closeStream).
    Stopped,
    /// Send what is pending, then close. The text is for the log.
    Close(String),
}

/// The fields of `onMetaData` that a server may use as hints.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// Frames per second as announced.
    pub frame_rate: Option<f64>,
    /// Announced width in pixels.
    pub width: Option<f64>,
    /// Announced height in pixels.
    pub height: Option<f64>,
    /// Whether a video codec is announced.
    pub video: bool,
    /// Whether an audio codec is announced.
    pub audio: bool,
    /// Encoder name.
    pub encoder: Option<String>,
}

/// Why the connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {}

/// The state of one connection.
#[derive(Debug)]
pub struct Session {}

impl Session {
    /// A session whose handshake ended at `now` (monotonic).
    pub fn new(_now: Duration) -> Self {
        todo!()
    }

    /// Takes bytes the peer sent. After an error, drain [`Self::poll`] and close.
    ///
    /// # Errors
    /// What the peer did wrong, and where.
    pub fn push(&mut self, _now: Duration, _bytes: &[u8]) -> Result<(), Error> {
        todo!()
    }

    /// Answers the pending [`Output::Publish`].
    pub fn verdict(&mut self, _now: Duration, _verdict: Verdict) {
        todo!()
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        todo!()
    }

    /// When [`Self::expire`] must be called next.
    pub fn deadline(&self) -> Option<Duration> {
        todo!()
    }

    /// A deadline has come: idle, or too long without publishing.
    ///
    /// # Errors
    /// The limit that was passed.
    pub fn expire(&mut self, _now: Duration) -> Result<(), Error> {
        todo!()
    }
}
