//! What a stream tells its driver: new versions to publish, and words for people.

use std::sync::Arc;

use super::{
    cues::{Confirmation, Refusal},
    ladder::{Failure, Feed},
    plan::Obstacle,
    window::Snapshot,
};
use crate::{
    media::{Hdr, Rendition},
    wire::m3u8::multivariant::Multivariant,
};

/// Something a broadcaster or operator should read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// No segment is promised to begin with a key frame.
    #[error("{_0}")]
    NotIndependent(Obstacle),
    /// The source is encoded instead of passed through.
    #[error("the source is encoded, not passed through: {_0}")]
    Encoded(Obstacle),
    /// Encoded renditions do not look everywhere as they should.
    #[error(
        "colours are approximate: HDR ({_0}) is encoded with 8 bits and not made fit for standard displays; for colours \
         that are right everywhere send SDR (OBS: Settings > Advanced > Color Space, Rec. 709)"
    )]
    Colours(Hdr),
    /// The pictures of a rendition come no more.
    #[error("{rendition}: {reason}; it goes on with gaps")]
    RungLost {
        /// The rendition.
        rendition: Rendition,
        /// Why.
        reason: Failure,
    },
    /// The encoders failed before anything could be shown.
    #[error("nothing can be encoded: the source is passed through as it is")]
    Unencoded,
    /// The session's tracks do not fit the running epoch.
    #[error("tracks changed: players are asked to start over")]
    NewEpoch,
    /// The session joined the running epoch.
    #[error("publisher is back: the broadcast goes on")]
    Joined,
    /// Nothing arrives.
    #[error("no media for {silent_ms} ms: playlists go on with {stopgap}")]
    Starving {
        /// How long nothing arrived, in milliseconds.
        silent_ms: u64,
        /// What playlists grow with.
        stopgap: Stopgap,
    },
    /// An event that the publisher sent between its media is not placed.
    #[error("an event in the publisher's stream was not placed: {_0}")]
    EventRefused(Refusal),
    /// A session ended before anything of it could be played.
    #[error("nothing playable was received: no key frame and no sound")]
    Nothing,
}

/// What playlists grow with while nothing arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopgap {
    /// The last picture and silence, encoded.
    #[error("the last picture and silence")]
    Slate,
    /// Missing media.
    #[error("gaps")]
    Gaps,
}

/// Where the samples of a rendition come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The publisher: they are passed through as they came.
    Passthrough,
    /// An encoder.
    Encoded {
        /// Why not the publisher; of the best pictures alone, and while it is known.
        because: Option<Obstacle>,
        /// Why none come any more: the rendition goes on with gaps.
        lost: Option<Failure>,
    },
}

/// What the driver must publish.
#[derive(Clone, Debug)]
pub enum Output {
    /// An epoch's constants are fixed, or what its multivariant playlist says changed.
    Presentation(Arc<Multivariant>),
    /// A rendition has a new version; one whose edge did not move only reports on the others.
    Snapshot {
        /// The epoch.
        epoch: u64,
        /// The rendition.
        rendition: Rendition,
        /// Its new version.
        snapshot: Arc<Snapshot>,
    },
    /// What the encoders of the epoch take next, in order.
    Feed(Vec<Feed>),
    /// An event stands in every rendition that carries it.
    Placed(Confirmation),
    /// Every playlist of the epoch has its ENDLIST; a new epoch may follow.
    Ended {
        /// The epoch.
        epoch: u64,
    },
    /// Grace is over: the stream is gone once its retention is.
    Closed,
    /// Something a broadcaster or operator should read.
    Notice(Notice),
}
