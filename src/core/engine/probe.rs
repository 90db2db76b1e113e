//! The first media of a session, held back until what it is can be known; and the plan that follows from it.
//!
//! An epoch's promises (track set, frame rate, part target, target duration) can never change in it, so they are fixed
//! from evidence: everything up to the second sync sample, or `max_gop` of media. Then all that was held is packaged
//! at once: the probe costs start-up, never latency. Metadata is a hint, never evidence.

use std::time::Duration;

use super::publish::Metadata;
use crate::{
    limits,
    media::{Config, Kind, MediaTime, Now, avc, captions},
    wire::flv::{Frame, Item},
};

/// The wanted shape of the output, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets {
    /// Wanted part length.
    pub part: Duration,
    /// Wanted segment length.
    pub segment: Duration,
    /// Longest GOP that is passed through.
    pub max_gop: Duration,
    /// `PART-HOLD-BACK`, when wanted longer than three part targets.
    pub part_hold_back: Option<Duration>,
}

/// Holds back a session's first items until [`Self::ready`].
#[derive(Debug)]
pub struct Probe {
    max_gop_ms: i64,
    /// Whether to wait for the second sync sample, which measures the GOP; a session that joins an epoch does not.
    measure_gop: bool,
    metadata: Metadata,
    video: Option<Config>,
    audio: Option<Config>,
    held: Vec<(Now, Frame)>,
    bytes: usize,
    first_arrival: Option<Duration>,
}

impl Probe {
    /// A probe for a session that begins an epoch (`measure_gop`) or joins a running one.
    pub fn new(targets: &Targets, measure_gop: bool) -> Self {
        Self {
            max_gop_ms: MediaTime::from_duration(targets.max_gop).ms(),
            measure_gop,
            metadata: Metadata::default(),
            video: None,
            audio: None,
            held: Vec::new(),
            bytes: 0,
            first_arrival: None,
        }
    }

    /// A probe that already knows the configurations of a session in progress.
    pub fn resume(
        targets: &Targets,
        metadata: Metadata,
        video: Option<Config>,
        audio: Option<Config>,
    ) -> Self {
        Self {
            metadata,
            video,
            audio,
            ..Self::new(targets, true)
        }
    }

    /// Takes the session's metadata: whether to expect pictures, and the announced frame rate.
    pub fn metadata(&mut self, metadata: Metadata) {
        self.metadata = metadata;
    }

    /// Holds `item`, which arrived at `now`.
    pub fn push(&mut self, now: Now, item: Item) {
        self.first_arrival.get_or_insert(now.mono);
        match item {
            Item::Config(config) => match config.kind() {
                Kind::Video => self.reconfigure_video(config),
                Kind::Audio => self.audio = Some(config),
            },
            Item::Frame(frame) => {
                // Nothing before the first sync sample can be shown, and sound alone is not kept longer than a probe.
                if frame.kind == Kind::Video && !frame.sync && self.first_sync().is_none() {
                    return;
                }
                self.bytes += frame.data.len();
                self.held.push((now, frame));
                if self.expects_video() && self.first_sync().is_none() {
                    self.forget_sound_before(now);
                }
            }
        }
    }

    /// Whether enough is known, at `now` (monotonic).
    pub fn ready(&self, now: Duration) -> bool {
        if self.held.is_empty() {
            return false;
        }
        if self.full() {
            return true;
        }
        match self.first_sync() {
            Some(first) => {
                let sound_known = !self.expects_audio() || self.audio.is_some();
                let gop_known = !self.measure_gop || self.syncs().nth(1).is_some();
                (gop_known && sound_known)
                    || self.span_ms(first) >= self.max_gop_ms
                    || self.waited(now, self.patience_ms())
            }
            None if self.video.is_some() => self.waited(now, limits::SYNC_WAIT_MS),
            None => {
                self.held
                    .first()
                    .is_some_and(|(_, first)| self.span_ms(first) >= self.max_gop_ms)
                    || self.waited(now, self.patience_ms())
            }
        }
    }

    /// Whether no more can be held.
    pub fn full(&self) -> bool {
        self.bytes >= limits::PROBE_BYTES || self.held.len() >= limits::PROBE_ITEMS
    }

    /// When [`Self::ready`] may become true without another item.
    pub fn deadline(&self) -> Option<Duration> {
        let wait_ms = if self.video.is_some() && self.first_sync().is_none() {
            limits::SYNC_WAIT_MS
        } else {
            self.patience_ms()
        };
        if self.held.is_empty() {
            None
        } else {
            Some(self.first_arrival? + millis(wait_ms))
        }
    }

    /// From now on wait for the second sync sample: the session begins an epoch after all.
    pub fn measure_gop(&mut self) {
        self.measure_gop = true;
    }

    /// What was found so far; `None` when nothing can be played.
    pub fn findings(&self) -> Option<Findings> {
        let first_sync = self.first_sync();
        let video = self.video.clone().filter(|_| first_sync.is_some());
        if video.is_none() && self.audio.is_none() {
            return None;
        }
        let second_sync = self.syncs().nth(1);
        Some(Findings {
            frame_rate: video.as_ref().and_then(|config| self.frame_rate(config)),
            video,
            audio: self.audio.clone(),
            gop_ms: first_sync
                .zip(second_sync)
                .map(|(first, second)| elapsed_ms(first, second)),
            bitrate: self.bitrate(),
            open_gop: self.open_gop(),
            captions: self.captions(),
            audio_lag_ms: self.audio_lag_ms(),
            arrived: self.held.first()?.0,
        })
    }

    /// What was held, in order of arrival but for one thing: the first sync sample leads, because everything else is
    /// placed against it.
    pub fn release(mut self) -> Vec<(Now, Frame)> {
        let sync = |(_, frame): &(Now, Frame)| frame.kind == Kind::Video && frame.sync;
        if let Some(first) = self.held.iter().position(sync) {
            self.held[..=first].rotate_right(1);
        }
        self.held
    }

    /// A changed configuration makes the pictures held so far useless: they need the former one.
    fn reconfigure_video(&mut self, config: Config) {
        if self.video.as_ref().is_some_and(|known| *known != config) {
            self.held.retain(|(_, frame)| frame.kind != Kind::Video);
        }
        self.video = Some(config);
    }

    fn expects_video(&self) -> bool {
        self.video.is_some() || self.metadata.video
    }

    fn expects_audio(&self) -> bool {
        self.audio.is_some() || self.metadata.audio
    }

    fn forget_sound_before(&mut self, now: Now) {
        let keep = millis(self.max_gop_ms);
        let stale = self
            .held
            .iter()
            .take_while(|(arrived, _)| arrived.mono + keep < now.mono)
            .count();
        self.bytes -= self
            .held
            .drain(..stale)
            .map(|(_, frame)| frame.data.len())
            .sum::<usize>();
    }

    fn syncs(&self) -> impl Iterator<Item = &Frame> {
        self.held
            .iter()
            .map(|(_, frame)| frame)
            .filter(|frame| frame.kind == Kind::Video && frame.sync)
    }

    fn first_sync(&self) -> Option<&Frame> {
        self.syncs().next()
    }

    /// Media held since `first`, in milliseconds of its own track.
    fn span_ms(&self, first: &Frame) -> i64 {
        let same_track = self
            .held
            .iter()
            .rev()
            .find(|(_, frame)| frame.kind == first.kind);
        same_track.map_or(0, |(_, last)| elapsed_ms(first, last))
    }

    /// How long an arrival is waited for. Media time decides first: a key frame that is due after exactly `max_gop` must
    /// not lose against the clock for having travelled.
    fn patience_ms(&self) -> i64 {
        self.max_gop_ms + limits::PROBE_SLACK_MS
    }

    fn waited(&self, now: Duration, ms: i64) -> bool {
        self.first_arrival
            .is_some_and(|first| now >= first + millis(ms))
    }

    /// Bits per second of the pictures, over whole GOPs where there are any.
    fn bitrate(&self) -> Option<u32> {
        let pictures = { self.held.iter() }.map(|(_, frame)| frame);
        let pictures: Vec<_> = pictures.filter(|it| it.kind == Kind::Video).collect();
        let whole = { pictures.iter() }.rposition(|frame| frame.sync);
        let last = whole
            .filter(|last| *last > 0)
            .or(pictures.len().checked_sub(1))?;
        let span_ms = elapsed_ms(pictures[0], pictures[last]);
        let bytes: u64 = { &pictures[..last] }
            .iter()
            .map(|it| it.data.len() as u64)
            .sum();
        let bitrate = (bytes * 8000).checked_div(u64::try_from(span_ms).ok()?)?;
        Some(u32::try_from(bitrate).unwrap_or(u32::MAX))
    }

    /// Whether decoding could begin at pictures that are no sync samples, but for those that follow and refer back.
    fn open_gop(&self) -> bool {
        let Some(Config::Avc(_)) = self.video else {
            return false;
        };
        { self.held.iter() }.any(|(_, frame)| {
            frame.kind == Kind::Video && !frame.sync && avc::is_recovery_point(&frame.data)
        })
    }

    fn captions(&self) -> bool {
        let pictures = { self.held.iter() }.map(|(_, frame)| frame);
        let mut pictures = pictures.filter(|it| it.kind == Kind::Video);
        pictures.any(|it| captions::are_in(&it.data))
    }

    /// How far sound arrives behind pictures of the same time, in milliseconds; 0 when it does not.
    fn audio_lag_ms(&self) -> i64 {
        let mut newest_video = None;
        let mut lag_ms = 0;
        for (_, frame) in &self.held {
            match (frame.kind, newest_video) {
                (Kind::Video, _) => newest_video = Some(frame),
                (Kind::Audio, Some(video)) => lag_ms = lag_ms.max(elapsed_ms(frame, video)),
                (Kind::Audio, None) => {}
            }
        }
        lag_ms.min(limits::AUDIO_LAG_MS)
    }

    /// Frames per second: what the bitstream or the metadata says where the measured times agree, else the measured
    /// rate, rounded to a customary one where one is near. `None` where nothing says.
    fn frame_rate(&self, config: &Config) -> Option<(u32, u32)> {
        let mut video = self
            .held
            .iter()
            .map(|(_, frame)| frame)
            .filter(|frame| frame.kind == Kind::Video);
        let first = video.next();
        let (frames, last) = video.fold((0, first), |(frames, _), frame| (frames + 1, Some(frame)));
        let span_ms = first
            .zip(last)
            .map_or(0, |(first, last)| elapsed_ms(first, last));
        let announced = config
            .frame_rate()
            .or_else(|| self.metadata.frame_rate.and_then(customary));
        if frames == 0 || span_ms <= 0 {
            return announced;
        }
        let measured = f64::from(frames) * 1000.0 / span_ms as f64;
        // A millisecond of rounding at either end of the span.
        let tolerance = (measured * 2.0 / span_ms as f64).max(measured * 0.005);
        let agrees = |&(num, den): &(u32, u32)| {
            (f64::from(num) / f64::from(den) - measured).abs() <= tolerance
        };
        let odd = (
            (measured * 1000.0).round().clamp(1.0, 1_000_000.0) as u32,
            1000,
        );
        announced
            .filter(agrees)
            .or_else(|| customary(measured).filter(agrees))
            .or(Some(odd))
    }
}

/// Frame rates that encoders are set to.
const CUSTOMARY: [(u32, u32); 17] = [
    (5, 1),
    (10, 1),
    (12, 1),
    (25, 2),
    (15, 1),
    (20, 1),
    (24_000, 1001),
    (24, 1),
    (25, 1),
    (30_000, 1001),
    (30, 1),
    (48, 1),
    (50, 1),
    (60_000, 1001),
    (60, 1),
    (120_000, 1001),
    (120, 1),
];

/// The customary rate nearest to `rate`, when it is within half a percent.
fn customary(rate: f64) -> Option<(u32, u32)> {
    let distance = |(num, den): (u32, u32)| (f64::from(num) / f64::from(den) - rate).abs();
    CUSTOMARY
        .into_iter()
        .min_by(|&a, &b| distance(a).total_cmp(&distance(b)))
        .filter(|&near| distance(near) <= rate.abs() * 0.005)
}

/// Milliseconds from `first` to `last` on the publisher's clock, 0 when it went back.
fn elapsed_ms(first: &Frame, last: &Frame) -> i64 {
    i64::from(last.timestamp.wrapping_sub(first.timestamp) as i32).max(0)
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq)]
pub struct Findings {
    /// Configuration of the pictures, when a sync sample came.
    pub video: Option<Config>,
    /// Configuration of the sound.
    pub audio: Option<Config>,
    /// Frames per second as a fraction; `None` where nothing says.
    pub frame_rate: Option<(u32, u32)>,
    /// Distance of the first two sync samples, when both came.
    pub gop_ms: Option<i64>,
    /// Bits per second of the pictures; `None` while too few are known.
    pub bitrate: Option<u32>,
    /// Whether key frames are none that a segment could begin with, because pictures behind them refer further back.
    pub open_gop: bool,
    /// Whether pictures bring captions.
    pub captions: bool,
    /// How far sound arrives behind pictures of the same time.
    pub audio_lag_ms: i64,
    /// When the first thing held arrived.
    pub arrived: Now,
}
