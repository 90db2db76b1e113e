//! What a stream tells its driver: new versions to publish, and words for people.

use std::sync::Arc;

use super::window::Snapshot;
use crate::{media::Rendition, wire::m3u8::multivariant::Multivariant};

/// Something a broadcaster or operator should read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// Key frames are too far apart: no segment is promised to begin with one.
    #[error("keyframe interval {gop}: set it to 1 s in the encoder (OBS: Settings > Output > Keyframe Interval)", gop = gop_words(*gop_ms, *max_ms))]
    LongGop {
        /// Distance of key frames in milliseconds, where a second one came in time.
        gop_ms: Option<i64>,
        /// The longest that passes, in milliseconds.
        max_ms: i64,
    },
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

fn gop_words(gop_ms: Option<i64>, max_ms: i64) -> String {
    match gop_ms {
        Some(gop_ms) => format!("is {gop_ms} ms, longer than {max_ms} ms"),
        None => format!("is longer than {max_ms} ms"),
    }
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
