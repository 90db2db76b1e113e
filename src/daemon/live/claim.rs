//! A publish that admission allowed, on its way to its stream; and why the stream may still refuse it.

use std::net::SocketAddr;

use vitrine_core::engine::ladder::Ladder;

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
    /// Whether it may take the stream from a publisher that holds it.
    pub takeover: bool,
    /// The renditions to make of it; the built-in ladder when none.
    pub ladder: Option<Ladder>,
    /// The epoch that was named for it, if one was: that or none.
    pub epoch: Option<u64>,
}

/// Why a claim is refused although the key is right (contracts, section 1: `NetStream.Publish.BadName`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// Somebody publishes and takeover is off.
    #[error("stream is already live")]
    Live,
    /// Two places quarrel over the stream; the one that holds it stays for a while.
    #[error("stream is contested, try again in a minute")]
    Contested,
    /// No new publishes are taken.
    #[error("server is shutting down")]
    ShuttingDown,
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
    pub const ALL: [Self; 6] = [
        Self::Live,
        Self::Contested,
        Self::ShuttingDown,
        Self::TooMany,
        Self::Epoch(Unfit::Far { named: 0 }),
        Self::Unavailable,
    ];

    /// The name in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Contested => "contested",
            Self::ShuttingDown => "shutting_down",
            Self::TooMany => "too_many",
            Self::Epoch(_) => "epoch",
            Self::Unavailable => "unavailable",
        }
    }
}
