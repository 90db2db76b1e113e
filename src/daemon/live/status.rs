//! What is told about a stream: kept by its task, read by the control API.
//!
//! Plain data; the JSON form is the control floor's. Nothing here decides anything.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use tokio::sync::watch;
use vitrine_core::{
    engine::{
        sound::Target,
        stream::{Source, Stopgap},
    },
    limits,
    media::{Config, Kind, Rendition, WallTime},
    wire::m3u8::multivariant::Multivariant,
};

use super::{Claim, SessionId, Terms};

/// Where a stream stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Somebody publishes; nothing is playable yet.
    #[default]
    Connecting,
    /// Somebody publishes and it can be played.
    Live,
    /// The publisher is gone and may come back.
    Grace,
    /// Over; what was published can be fetched for a while.
    Ended,
}

impl State {
    /// The name in the control API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Live => "live",
            Self::Grace => "grace",
            Self::Ended => "ended",
        }
    }
}

/// The publish that is listened to.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The publisher's address.
    pub peer: SocketAddr,
    /// `rtmp` or `rtmps`.
    pub protocol: &'static str,
    /// The encoder as it calls itself.
    pub encoder: String,
    /// RTMP application it was published to.
    pub app: String,
    /// When it was accepted.
    pub since: WallTime,
    /// What it may do, at any time.
    pub terms: watch::Receiver<Terms>,
}

impl Session {
    pub(super) fn new(claim: Claim, terms: watch::Receiver<Terms>, since: WallTime) -> Self {
        Self {
            id: claim.session,
            peer: claim.peer,
            protocol: claim.protocol,
            encoder: claim.encoder,
            app: claim.app,
            since,
            terms,
        }
    }
}

/// Why nothing is encoded of a stream, in words for who runs the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untranscoded {
    /// It is switched off.
    #[error("transcode.enabled is false: everything is passed through as it is")]
    Disabled,
    /// It is not there.
    #[error(
        "this build has no encoders (feature \"transcode\"): everything is passed through as it is"
    )]
    Unbuilt,
    /// Every stream that may be encoded is.
    #[error(
        "as many streams as transcode.max_streams allows are encoded already: this one is passed through as it is; \
         to encode it, publish again when another has ended, or raise transcode.max_streams"
    )]
    Full,
    /// The encoders failed before anything could be shown.
    #[error("encoding failed: the source is passed through as it is; the log tells why")]
    Failed,
}

/// Everything that is told.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Where the stream stands.
    pub state: State,
    /// The publish that is listened to, if any.
    pub session: Option<Session>,
    /// The tracks that the publisher sends, by their latest configuration.
    pub tracks: BTreeMap<Kind, Config>,
    /// What the newest multivariant playlist says: bandwidths and frame rates.
    pub presentation: Option<std::sync::Arc<Multivariant>>,
    /// Where the renditions of the newest epoch, of this number, come from.
    pub sources: Option<(u64, BTreeMap<Rendition, Source>)>,
    /// What the sound of the latest publisher is encoded into, where not every player takes it, and whether its encoder
    /// failed: then silence stands in.
    pub sound: Option<(Target, bool)>,
    /// Whether renditions are encoded of what the latest publisher sends; `None` before the first.
    pub transcoding: Option<Result<(), Untranscoded>>,
    /// What comes in.
    pub input: Meter,
    /// Receipt of a part's last frame to its publication.
    pub latency: Latency,
    /// How far the newest media is behind its own clock, in milliseconds: wall time of its publication less its program
    /// date-time. It grows when the publisher's clock is slow or its network holds it up; negative when it is fast.
    pub media_lag_ms: Option<i64>,
    /// What playlists grow with because nothing arrives; `None` while something does.
    pub stopgap: Option<Stopgap>,
    /// Events that stand in the stream, since its task began.
    pub events_placed: u64,
    /// What somebody should read, oldest first.
    pub notices: VecDeque<(WallTime, String)>,
}

impl Status {
    pub(super) fn notice(&mut self, at: WallTime, text: String) {
        if self.notices.len() == limits::NOTICES_MAX {
            self.notices.pop_front();
        }
        self.notices.push_back((at, text));
    }
}

/// Bytes counted by the second.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    total: u64,
    /// The second of monotonic time that `seconds[0]` counts.
    second: u64,
    /// Newest first.
    seconds: [u64; SECONDS + 1],
}

/// Whole seconds a rate is averaged over.
const SECONDS: usize = 5;

impl Meter {
    /// Counts `bytes` that came at `now` (monotonic).
    pub fn add(&mut self, now: Duration, bytes: u64) {
        self.turn(now);
        self.total += bytes;
        self.seconds[0] += bytes;
    }

    /// All bytes counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Mean rate over the last five whole seconds before `now`, in kilobits per second.
    pub fn kbps(&self, now: Duration) -> u64 {
        let mut turned = self.clone();
        turned.turn(now);
        turned.seconds[1..].iter().sum::<u64>() * 8 / 1000 / SECONDS as u64
    }

    fn turn(&mut self, now: Duration) {
        let passed = now.as_secs().saturating_sub(self.second);
        self.second += passed;
        for _ in 0..passed.min(self.seconds.len() as u64) {
            self.seconds.rotate_right(1);
            self.seconds[0] = 0;
        }
    }
}

/// The latest latencies.
#[derive(Clone, Debug, Default)]
pub struct Latency(VecDeque<Duration>);

impl Latency {
    /// Counts one; the oldest is forgotten.
    pub fn add(&mut self, latency: Duration) {
        if self.0.len() == limits::LATENCIES_KEPT_MAX {
            self.0.pop_front();
        }
        self.0.push_back(latency);
    }

    /// The latency that `percent` of them do not pass; `None` before the first.
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut sorted: Vec<_> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_counts_whole_seconds_and_forgets() {
        let mut meter = Meter::default();
        for second in 100..110 {
            meter.add(Duration::from_secs(second), 125_000);
        }
        assert_eq!(meter.total(), 1_250_000);
        assert_eq!(meter.kbps(Duration::from_secs(110)), 1000);
        assert_eq!(meter.kbps(Duration::from_secs(113)), 400);
        assert_eq!(meter.kbps(Duration::from_secs(1 << 40)), 0);
    }

    #[test]
    fn percentiles_are_of_the_latest() {
        let mut latency = Latency::default();
        assert_eq!(latency.percentile(50), None);
        for ms in 1..=1000 {
            latency.add(Duration::from_millis(ms));
        }
        assert_eq!(latency.percentile(100), Some(Duration::from_millis(1000)));
        assert_eq!(latency.percentile(50), Some(Duration::from_millis(936)));
        assert_eq!(latency.percentile(0), Some(Duration::from_millis(873)));
    }
}
