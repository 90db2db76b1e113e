//! Stub: one named live channel: one publisher after another in, the snapshots of every rendition out.
use std::{sync::Arc, time::Duration};

use super::{publish::Metadata, window::Snapshot};
use crate::{
    media::{Now, Rendition},
    wire::{flv, m3u8::multivariant::Multivariant},
};

/// The wanted shape of the output; fixed at start-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Wanted part length.
    pub part: Duration,
    /// Wanted segment length.
    pub segment: Duration,
    /// Longest GOP that can be passed through.
    pub max_gop: Duration,
    /// Wanted length of the sliding list.
    pub window: Duration,
    /// `PART-HOLD-BACK`, when wanted longer than three part targets.
    pub part_hold_back: Option<Duration>,
    /// How long a stream survives the loss of its publisher.
    pub grace: Duration,
    /// How long it survives a deliberate stop.
    pub grace_after_stop: Duration,
}

/// How a publish ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The publisher said so: grace is short.
    Stopped,
    /// The connection ended without a word: grace is long.
    Lost,
}

/// What happens to a stream. Sessions are numbered by the caller, rising; items of any but the latest are ignored.
#[derive(Debug)]
pub enum Input {
    /// A publish was accepted; it fences all former ones. `epoch` names the epoch to begin if none goes on.
    Open { session: u64, epoch: u64 },
    /// `onMetaData` of the session.
    Metadata { session: u64, metadata: Metadata },
    /// A configuration or frame of the session.
    Media { session: u64, item: flv::Item },
    /// The publish ended.
    Close { session: u64, end: End },
}

/// What the driver must publish.
#[derive(Clone, Debug)]
pub enum Output {
    /// An epoch's constants are fixed, or its bandwidth was raised: the multivariant playlist.
    Presentation(Arc<Multivariant>),
    /// A rendition has a new version.
    Snapshot {
        epoch: u64,
        rendition: Rendition,
        snapshot: Arc<Snapshot>,
    },
    /// Every playlist of the epoch has its ENDLIST; a new epoch may follow.
    Ended { epoch: u64 },
    /// Grace is over: the stream is gone once its retention is.
    Closed,
    /// Something a broadcaster or operator should read, e.g. a key-frame interval beyond `max_gop`.
    Notice(String),
}

/// The state machine.
#[derive(Debug)]
pub struct Stream {}

impl Stream {
    /// A stream without a publisher.
    pub fn new(_settings: Settings) -> Self {
        todo!()
    }
    /// Takes one input.
    pub fn push(&mut self, _now: Now, _input: Input) {
        todo!()
    }
    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        todo!()
    }
    /// When [`Self::expire`] must be called next (monotonic).
    pub fn deadline(&self) -> Option<Duration> {
        todo!()
    }
    /// A deadline has come.
    pub fn expire(&mut self, _now: Now) {
        todo!()
    }
}
