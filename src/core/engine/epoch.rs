//! One run of a stream: the segmenter and the packagers that share its constants, and what it promises about itself.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{
    output::Output,
    packager::{Anchor, Packager},
    probe::{Plan, same_shape},
    saved::{self, Saved},
    segmenter::{Segmenter, Step},
    timeline::Timeline,
};
use crate::{
    limits,
    media::{Config, Kind, MediaTime, Now, Rendition, Sample, Timescale, WallTime},
    wire::{
        flv::Frame,
        m3u8::{
            media::Report,
            multivariant::{Multivariant, Variant},
        },
    },
};

/// A running epoch.
#[derive(Debug)]
pub(super) struct Epoch {
    number: u64,
    began: Duration,
    plan: Plan,
    segmenter: Segmenter,
    packagers: Vec<Packager>,
    /// Configurations that the next segment begins with.
    pending: Vec<Config>,
    /// Program date-time is counted from the number, by media time alone: the same in every origin that is told the same.
    /// Otherwise from the arrival of each session's first media.
    named: bool,
    anchor: Anchor,
    bitrate: Bitrate,
    presentation: Option<Arc<Multivariant>>,
    last_arrival: Duration,
    /// Where media stood, and when, as starvation began.
    starving_since: Option<(Duration, MediaTime)>,
    changed: bool,
    samples: Vec<(Kind, Sample)>,
    steps: Vec<Step>,
}

impl Epoch {
    /// An epoch that begins at `began` (monotonic) with `plan`, whose first media arrived at `arrived`; `length` is the
    /// wanted list.
    pub(super) fn new(
        number: u64,
        began: Duration,
        plan: Plan,
        length: MediaTime,
        named: bool,
        arrived: Now,
    ) -> (Self, Timeline) {
        let timeline = Timeline::new(
            MediaTime::ZERO,
            plan.video.as_ref(),
            plan.audio.as_ref(),
            plan.frame_ticks,
        );
        let tracks = [
            (Rendition::High, &plan.video),
            (Rendition::Audio, &plan.audio),
        ];
        let packagers = tracks
            .into_iter()
            .filter_map(|(rendition, config)| config.clone().map(|config| (rendition, config)))
            .map(|(rendition, config)| Packager::new(rendition, config, plan.constants, length))
            .collect();
        let epoch = Self {
            number,
            began,
            segmenter: Segmenter::new(plan.clone()),
            packagers,
            pending: Vec::new(),
            named,
            anchor: Anchor {
                media: MediaTime::ZERO,
                wall: if named {
                    // To the last second that has a date.
                    WallTime(number.min(253_402_300_799) as i64 * 1000)
                } else {
                    arrived.wall
                },
            },
            bitrate: Bitrate::default(),
            presentation: None,
            last_arrival: arrived.mono,
            starving_since: None,
            changed: false,
            samples: Vec::new(),
            steps: Vec::new(),
            plan,
        };
        (epoch, timeline)
    }

    /// The epoch at rest, [flushed](Self::flush) and without a session, which lives on for `grace`. `None` while no
    /// rendition has been shown.
    pub(super) fn save(&self, now: Now, grace: Duration) -> Option<Saved> {
        let shown = |packager: &Packager| packager.window().edge().is_some();
        if !self.packagers.iter().all(shown) {
            return None;
        }
        let mut media = Vec::new();
        let tracks: Option<Vec<_>> = (self.packagers.iter())
            .map(|packager| packager.save(&mut media))
            .collect();
        let (since, from) = self
            .starving_since
            .unwrap_or((self.last_arrival, self.end()));
        let grown_ms = millis(now.mono.saturating_sub(since)) + from.ms();
        let head = saved::Head {
            epoch: self.number,
            saved_at_ms: now.wall.0,
            grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
            owed_ms: u64::try_from(grown_ms - self.end().ms()).unwrap_or(0),
            named: self.named,
            anchor_ms: (self.anchor.media.ms(), self.anchor.wall.0),
            bitrate: (
                self.bitrate.bandwidth,
                self.bitrate.average,
                self.bitrate.measured_msn,
            ),
            plan: self.plan.save(),
            cuts: self.segmenter.save()?,
            tracks: tracks?,
        };
        Some(Saved { head, media })
    }

    /// The epoch that [`Self::save`] left, and what is left of its grace. It starves until a session joins it: the next
    /// [`Self::starve`] writes gaps for the time between.
    ///
    /// # Errors
    /// [`saved::Error::Expired`], or what in it cannot be.
    pub(super) fn restore(saved: Saved, now: Now) -> Result<(Self, Duration), saved::Error> {
        let Saved { head, media } = saved;
        // A wall clock that was set back tells nothing: no time has passed.
        let away_ms = u64::try_from(now.wall.0.saturating_sub(head.saved_at_ms)).unwrap_or(0);
        let longest_ms = u64::try_from(limits::STATE_GRACE_MAX.as_millis()).unwrap_or(u64::MAX);
        let grace_ms = head.grace_ms.min(longest_ms);
        if away_ms >= grace_ms {
            return Err(saved::Error::Expired {
                grace_ms,
                age_ms: away_ms,
            });
        }
        let number = head.epoch;
        saved::hold(number < u64::MAX, "an epoch that none can follow")?;
        let plan = |video, audio| Plan::restore(&head.plan, video, audio);
        let constants = plan(None, None)?.constants;
        let mut media = media.into_iter();
        let packagers = (head.tracks.into_iter())
            .map(|track| Packager::restore(track, constants, &mut media))
            .collect::<Result<Vec<_>, _>>()?;
        let [video, audio] = [Kind::Video, Kind::Audio].map(|kind| {
            let mut of_kind = packagers.iter().filter(|packager| packager.kind() == kind);
            (of_kind.next(), of_kind.next())
        });
        let ((video, None), (audio, None)) = (video, audio) else {
            return Err(saved::contradiction("two tracks of a kind"));
        };
        saved::hold(video.or(audio).is_some(), "no track")?;
        let config =
            |packager: Option<&Packager>| packager.map(|packager| packager.config().clone());
        let plan = plan(config(video), config(audio))?;
        let end =
            |packager: Option<&Packager>| packager.map(|packager| packager.window().end_time());
        let segmenter = Segmenter::restore(plan.clone(), &head.cuts, end(audio))?;
        saved::hold(
            end(video).is_none_or(|end| end == segmenter.part_start()),
            "pictures that end elsewhere than their cuts",
        )?;
        let (anchor_media_ms, anchor_wall_ms) = head.anchor_ms;
        let (bandwidth, average, measured_msn) = head.bitrate;
        let owed_ms = i64::try_from(head.owed_ms)
            .unwrap_or(i64::MAX)
            .min(limits::STATE_SKEW_MS);
        let from_ms = segmenter.end().ms() + owed_ms + i64::try_from(away_ms).unwrap_or(0);
        let epoch = Self {
            number,
            began: Duration::ZERO,
            segmenter,
            packagers,
            pending: Vec::new(),
            named: head.named,
            anchor: Anchor {
                media: MediaTime::from_ms(saved::number(anchor_media_ms)?),
                wall: WallTime(saved::number(anchor_wall_ms)?),
            },
            bitrate: Bitrate {
                bandwidth,
                average,
                measured_msn,
            },
            presentation: None,
            last_arrival: now.mono,
            starving_since: Some((now.mono, MediaTime::from_ms(from_ms))),
            changed: true,
            samples: Vec::new(),
            steps: Vec::new(),
            plan,
        };
        Ok((epoch, Duration::from_millis(grace_ms - away_ms)))
    }

    /// Its number: the first path segment of its URIs.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// When it began (monotonic).
    pub(super) fn began(&self) -> Duration {
        self.began
    }

    /// What it promises.
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// End of its longest rendition.
    pub(super) fn end(&self) -> MediaTime {
        self.segmenter.end()
    }

    /// Whether it carries a track of this kind.
    pub(super) fn has(&self, kind: Kind) -> bool {
        self.packagers
            .iter()
            .any(|packager| packager.kind() == kind)
    }

    /// Whether a track of the epoch can go on with `config`, at a discontinuity at worst.
    pub(super) fn fits(&self, config: &Config) -> bool {
        self.packagers.iter().any(|packager| {
            packager.kind() == config.kind() && same_shape(Some(packager.config()), Some(config))
        })
    }

    /// A new session, with `plan`, whose first media arrived at `arrived`, goes on where the last one ended.
    pub(super) fn join(&mut self, plan: Plan, arrived: Now) -> Timeline {
        let base = self.segmenter.restart(plan.clone(), &mut self.steps);
        self.carry_out();
        if !self.named {
            let wall = arrived.wall.max(self.anchor.program_date_time(base));
            self.anchor = Anchor { media: base, wall };
        }
        self.pending = plan.video.iter().chain(&plan.audio).cloned().collect();
        self.starving_since = None;
        let timeline = Timeline::new(
            base,
            plan.video.as_ref(),
            plan.audio.as_ref(),
            plan.frame_ticks,
        );
        self.plan = plan;
        timeline
    }

    /// The track goes on with `config` from the next segment, which begins as soon as one can.
    pub(super) fn reconfigure(&mut self, config: Config) {
        self.pending
            .retain(|pending| pending.kind() != config.kind());
        if self
            .packagers
            .iter()
            .any(|packager| *packager.config() == config)
        {
            return;
        }
        self.pending.push(config);
    }

    /// Takes a frame of the session that `timeline` follows.
    pub(super) fn frame(&mut self, now: Now, timeline: &mut Timeline, frame: Frame) {
        self.touch(now);
        if !self.pending.is_empty() {
            let leads = frame.sync && (frame.kind == Kind::Video || !self.has(Kind::Video));
            if leads && self.segmenter.ripe() {
                self.apply_pending(timeline);
            } else if self
                .pending
                .iter()
                .any(|config| config.kind() == frame.kind)
            {
                // Media of another configuration must not stand in a segment that began with the former one.
                return;
            }
        }
        let mut samples = std::mem::take(&mut self.samples);
        timeline.place(now.mono, frame, &mut samples);
        for (kind, sample) in samples.drain(..) {
            self.segmenter.push(kind, sample, &mut self.steps);
            self.carry_out();
        }
        self.replace_late_sound(timeline, &mut samples);
        self.samples = samples;
    }

    /// Media arrived at `now`: nothing starves.
    pub(super) fn touch(&mut self, now: Now) {
        self.last_arrival = now.mono;
        self.starving_since = None;
    }

    /// The publish ended: everything received is in the list.
    pub(super) fn flush(&mut self) {
        self.segmenter.flush(&mut self.steps);
        self.carry_out();
    }

    /// `EXT-X-ENDLIST` everywhere.
    pub(super) fn end_lists(&mut self) {
        self.flush();
        for packager in &mut self.packagers {
            packager.end();
        }
        self.changed = true;
    }

    /// When [`Self::starve`] must be called next.
    pub(super) fn starvation_deadline(&self) -> Option<Duration> {
        match self.starving_since {
            None => Some(self.last_arrival + self.patience()),
            Some((since, from)) => {
                let gap_end_ms = self.segmenter.gap_end()?.ticks_at_ceil(Timescale::MILLIS);
                let ahead_ms = u64::try_from(gap_end_ms - from.ms()).unwrap_or(0);
                Some(since + Duration::from_millis(ahead_ms))
            }
        }
    }

    /// Grows every rendition with gaps as far as time has gone, once nothing arrived for a target duration. Answers how
    /// long that is, when starvation begins.
    pub(super) fn starve(&mut self, now: Now) -> Option<Duration> {
        let silent = now.mono.saturating_sub(self.last_arrival);
        let began = self.starving_since.is_none();
        if began && silent < self.patience() {
            return None;
        }
        let end = self.end();
        let (since, from) = *self.starving_since.get_or_insert((self.last_arrival, end));
        if began {
            self.flush();
        }
        let grown_ms = millis(now.mono.saturating_sub(since));
        self.segmenter
            .starve(MediaTime::from_ms(from.ms() + grown_ms), &mut self.steps);
        self.carry_out();
        began.then_some(silent)
    }

    /// Appends what changed since it was last called.
    pub(super) fn publish(&mut self, outputs: &mut VecDeque<Output>) {
        // Renditions report on each other, so none is shown before all have something.
        let ready = self
            .packagers
            .iter()
            .all(|packager| packager.window().edge().is_some());
        if !ready || !std::mem::take(&mut self.changed) {
            return;
        }
        self.promise(outputs);
        for packager in &self.packagers {
            let snapshot = Arc::new(packager.snapshot(self.reports(packager.rendition())));
            let rendition = packager.rendition();
            outputs.push_back(Output::Snapshot {
                epoch: self.number,
                rendition,
                snapshot,
            });
        }
    }

    /// Asserts what must always hold; for tests and fuzzing.
    pub(super) fn check_invariants(&self) {
        for packager in &self.packagers {
            packager.check_invariants();
        }
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(u64::from(self.plan.constants.target_duration))
    }

    /// A segment begins here: every track takes its pending configuration.
    fn apply_pending(&mut self, timeline: &mut Timeline) {
        for config in std::mem::take(&mut self.pending) {
            let Some(packager) = self
                .packagers
                .iter_mut()
                .find(|packager| packager.kind() == config.kind())
            else {
                continue;
            };
            if *packager.config() == config {
                continue;
            }
            self.segmenter.discontinue();
            match config.kind() {
                Kind::Video => timeline.reconfigure_video(),
                Kind::Audio => {
                    self.segmenter.forget_held_sound();
                    timeline.reconfigure_audio(&config);
                }
            }
            packager.reconfigure(config);
        }
    }

    /// Sound that falls behind the pictures is replaced: by silence, or where there is none by gaps.
    fn replace_late_sound(&mut self, timeline: &mut Timeline, samples: &mut Vec<(Kind, Sample)>) {
        if !self.has(Kind::Audio) {
            return;
        }
        let Some(video_end) = self.segmenter.video_end() else {
            return;
        };
        let late = Timescale::VIDEO
            .at(video_end.ticks_at(Timescale::VIDEO)
                - self.plan.audio_late.ticks_at(Timescale::VIDEO));
        if timeline.audio_end().is_some_and(|end| end >= late) {
            return;
        }
        let silenced = timeline.fill_silence(late, samples);
        for (kind, sample) in samples.drain(..) {
            self.segmenter.push(kind, sample, &mut self.steps);
        }
        if !silenced {
            self.segmenter.starve_sound(late, &mut self.steps);
        }
        self.carry_out();
    }

    fn carry_out(&mut self) {
        for Step { kind, op } in self.steps.drain(..) {
            for packager in self
                .packagers
                .iter_mut()
                .filter(|packager| packager.kind() == kind)
            {
                self.changed |= packager.push(op.clone(), self.anchor);
            }
        }
    }

    fn reports(&self, of: Rendition) -> Vec<Report> {
        self.packagers
            .iter()
            .filter(|packager| packager.rendition() != of)
            .filter_map(|packager| {
                let (last_msn, last_part) = packager.window().edge()?;
                Some(Report {
                    uri: format!("../{}/index.m3u8", packager.rendition()),
                    last_msn,
                    last_part,
                })
            })
            .collect()
    }

    /// Says what the multivariant playlist must say now, if it changed.
    fn promise(&mut self, outputs: &mut VecDeque<Output>) {
        self.bitrate.observe(&self.packagers);
        let multivariant = self.multivariant();
        if self.presentation.as_deref() != Some(&multivariant) {
            let multivariant = Arc::new(multivariant);
            self.presentation = Some(Arc::clone(&multivariant));
            outputs.push_back(Output::Presentation(multivariant));
        }
    }

    fn multivariant(&self) -> Multivariant {
        let config = |kind| {
            self.packagers
                .iter()
                .map(Packager::config)
                .find(|config| config.kind() == kind)
        };
        let (video, audio) = (config(Kind::Video), config(Kind::Audio));
        let variant = Variant {
            rendition: if video.is_some() {
                Rendition::High
            } else {
                Rendition::Audio
            },
            bandwidth: self.bitrate.bandwidth,
            average_bandwidth: self.bitrate.average,
            codecs: video
                .iter()
                .chain(&audio)
                .map(|config| config.codecs())
                .collect(),
            resolution: video.and_then(Config::resolution),
            frame_rate: video.and(self.plan.frame_rate),
        };
        Multivariant {
            epoch: self.number,
            variants: vec![variant],
            audio_channels: video.and(audio).and_then(Config::channels),
            independent_segments: self.plan.independent && !self.segmenter.broke_independence(),
        }
    }
}

fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX / 2)
}

/// `BANDWIDTH` and `AVERAGE-BANDWIDTH`: fixed by the first media, raised when exceeded, never lowered.
#[derive(Debug, Default)]
struct Bitrate {
    bandwidth: u64,
    average: u64,
    /// Complete segments up to here are measured.
    measured_msn: Option<u64>,
}

impl Bitrate {
    /// Measures the newest complete segment of all renditions together.
    fn observe(&mut self, packagers: &[Packager]) {
        let newest = packagers
            .iter()
            .filter_map(|packager| {
                packager
                    .window()
                    .newest_complete()
                    .map(|segment| segment.msn)
            })
            .min();
        let first = self.bandwidth == 0;
        if newest == self.measured_msn && !first {
            return;
        }
        self.measured_msn = newest;
        let peak = packagers
            .iter()
            .map(|packager| rate(packager, newest))
            .sum::<u64>();
        if peak > self.bandwidth {
            self.bandwidth = peak + peak / 4;
            self.average = peak;
        }
    }
}

/// Bits per second of segment `msn` of one rendition; of all media held before a first one is complete.
fn rate(packager: &Packager, msn: Option<u64>) -> u64 {
    let window = packager.window();
    let (bytes, length) = match msn.and_then(|msn| window.segment(msn)) {
        Some(segment) => (segment.bytes(), segment.duration),
        None => (window.retained_bytes(), window.end_time()),
    };
    let seconds = packager.config().timescale().at(length.max(1)).seconds();
    (bytes as f64 * 8.0 / seconds) as u64
}
