//! A publish that admission allowed, on its way to its stream; and why the stream may still refuse it.
//!
//! What the verdict set and an operator may change while the publish lasts is in its [`Terms`] (contracts, section 4).

use std::{net::SocketAddr, time::Duration};

use serde_json::{Map, Value};
use vitrine_core::{
    engine::{cues::Allowance, ladder::Ladder},
    wire::hook::Events,
};
use vitrine_runtime::bearer::Digest;

use super::{SessionId, StreamId, epochs::Unfit};

/// A wish to publish that has passed admission.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The stream the key belongs to.
    pub stream: StreamId,
    /// Id of this publish.
    pub session: SessionId,
    /// The publisher's address.
    pub peer: SocketAddr,
    /// `rtmp` or `rtmps`.
    pub protocol: &'static str,
    /// The encoder as it calls itself.
    pub encoder: String,
    /// RTMP application it was published to.
    pub app: String,
    /// What is banned when it is to stay away: of the key it came with, or of what else tells it from others.
    pub identity: Digest,
    /// Whether `stream` is the publisher's own word, which means nothing to who publishes to another application.
    pub own_name: bool,
    /// What it may do, as far as that can change.
    pub terms: Terms,
    /// The renditions to make of it; the built-in ladder when none.
    pub ladder: Option<Ladder>,
    /// The epoch that was named for it, if one was: that or none.
    pub epoch: Option<u64>,
}

/// What a publish may do, as far as an operator can change it while it lasts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terms {
    /// Of a claim: whether it may take the stream from a publisher that holds it. Once changed by an operator: whether
    /// others may take the stream from this publish.
    pub takeover: bool,
    /// Highest bitrate in thousand bits a second.
    pub max_kbps: u32,
    /// How long the publish may last, from when it was accepted; no limit when `None`.
    pub lifetime: Option<Duration>,
    /// How often admission is asked again; never when `None`.
    pub revalidate: Option<Duration>,
    /// Whether the events that its encoder sends are placed.
    pub amf_events: bool,
    /// What events it may carry, whoever sends them.
    pub events: Allowance,
    /// What the backend wants to be told with every event of the stream.
    pub metadata: Map<String, Value>,
}

impl Terms {
    /// Takes over what `wanted` says of events.
    pub fn allow(&mut self, wanted: Events) {
        let events = &mut self.events;
        self.amf_events = wanted.amf.unwrap_or(self.amf_events);
        events.offset_ms = wanted.offset_ms.unwrap_or(events.offset_ms);
        events.per_second = wanted.per_second.unwrap_or(events.per_second);
        events.bytes_per_second = wanted.bytes_per_second.unwrap_or(events.bytes_per_second);
    }
}

/// Why a claim is refused although the key is right (contracts, section 1: `NetStream.Publish.BadName`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// Somebody publishes and takeover is off.
    #[error("stream is already live")]
    Live,
    /// The name is in use by a publisher of another application, which knows nothing of this one.
    #[error("a stream of this name is live from another application")]
    OtherApp,
    /// Two places quarrel over the stream; the one that holds it stays for a while.
    #[error("stream is contested, try again in a minute")]
    Contested,
    /// No new publishes are taken.
    #[error("server is shutting down")]
    ShuttingDown,
    /// The key was banned between admission and here; the door tells until when, the next time.
    #[error("this stream key is banned")]
    Banned,
    /// The process is full.
    #[error("too many streams")]
    TooMany,
    /// The epoch it was to have cannot be had.
    #[error(transparent)]
    Epoch(#[from] Unfit),
    /// The stream's task ended under every attempt.
    #[error("stream is not available")]
    Unavailable,
}

impl Busy {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Live,
        Self::OtherApp,
        Self::Contested,
        Self::ShuttingDown,
        Self::Banned,
        Self::TooMany,
        Self::Epoch(Unfit::Far { named: 0 }),
        Self::Unavailable,
    ];

    /// The name in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::OtherApp => "other_app",
            Self::Contested => "contested",
            Self::ShuttingDown => "shutting_down",
            Self::Banned => "banned",
            Self::TooMany => "too_many",
            Self::Epoch(_) => "epoch",
            Self::Unavailable => "unavailable",
        }
    }
}
