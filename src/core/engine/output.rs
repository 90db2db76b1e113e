//! What a stream tells its driver: new versions to publish, and words for people.

use std::sync::Arc;

use super::{
    ladder::{Failure, Feed},
    plan::Obstacle,
    window::Snapshot,
};
use crate::{media::Rendition, wire::m3u8::multivariant::Multivariant};

/// Something a broadcaster or operator should read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// No segment is promised to begin with a key frame.
    #[error("{_0}")]
    NotIndependent(Obstacle),
    /// The source is encoded instead of passed through.
    #[error("the source is encoded, not passed through: {_0}")]
    Encoded(Obstacle),
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
    /// Nothing arrives: playlists grow with gaps.
    #[error("no media for {silent_ms} ms: playlists go on with gaps")]
    Starving {
        /// How long nothing arrived, in milliseconds.
        silent_ms: u64,
    },
    /// A session ended before anything of it could be played.
    #[error("nothing playable was received: no key frame and no sound")]
    Nothing,
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
