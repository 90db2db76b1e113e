//! One run of a stream: the segmenter and the packagers that share its constants, and what it promises about itself.

mod outage;
mod placing;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{
    cues::{arrival::Arrival, queue::Queue, ranges::Ranges},
    ladder::{Encoded, Rung},
    lockstep::Lockstep,
    output::{Output, Source},
    packager::{Anchor, Packager},
    plan::{Obstacle, Plan, audio_frame, same_shape},
    presentation::Promises,
    rungs::Rungs,
    saved::{self, Saved},
    segmenter::{Op, Segmenter, Step},
    slate::Slate,
    timeline::Timeline,
};
use crate::{
    limits,
    media::{Config, Kind, MediaTime, Now, Rendition, Sample, Timescale, WallTime},
    wire::{
        flv::Frame,
        m3u8::{media::Report, multivariant::Multivariant},
    },
};

/// A running epoch.
#[derive(Debug)]
pub(super) struct Epoch {
    number: u64,
    began: Duration,
    plan: Plan,
    segmenter: Segmenter,
    /// Of the sound, and of pictures that are passed through.
    packagers: Vec<Packager>,
    /// Of pictures that come back from encoders.
    rungs: Rungs,
    /// Sound that waits for them.
    lockstep: Lockstep,
    /// Configurations that the next segment begins with.
    pending: Vec<Config>,
    /// Program date-time is counted from the number, by media time alone: the same in every origin that is told the same.
    /// Otherwise from the arrival of each session's first media.
    named: bool,
    anchor: Anchor,
    promises: Promises,
    presentation: Option<Arc<Multivariant>>,
    last_arrival: Duration,
    /// The publisher is gone, and a slate need not wait until nothing has come for long.
    gone: bool,
    /// Where media stood, and when, as starvation began.
    starving_since: Option<(Duration, MediaTime)>,
    /// What is shown meanwhile, where it is more than gaps.
    slate: Option<Slate>,
    /// Which media time arrives when.
    arrival: Arrival,
    /// Events that have their place.
    queue: Queue,
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
        let passed = plan.video.as_ref().filter(|_| plan.passes);
        let tracks = [
            (Rendition::High, passed),
            (Rendition::Audio, plan.audio.as_ref()),
        ];
        let packagers = tracks
            .into_iter()
            .filter_map(|(rendition, config)| config.cloned().map(|config| (rendition, config)))
            .map(|(rendition, config)| Packager::new(rendition, config, plan.constants, length))
            .collect();
        let renditions = plan.rungs.iter().map(|rung| rung.rendition);
        let mut epoch = Self {
            number,
            began,
            segmenter: Segmenter::new(plan.clone()),
            packagers,
            rungs: Rungs::new(renditions, plan.constants, length, began),
            lockstep: Lockstep::default(),
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
            promises: Promises::default(),
            presentation: None,
            last_arrival: arrived.mono,
            gone: false,
            starving_since: None,
            slate: None,
            arrival: Arrival::default(),
            queue: Queue::default(),
            changed: false,
            samples: Vec::new(),
            steps: Vec::new(),
            plan,
        };
        epoch.set_source();
        (epoch, timeline)
    }

    /// The epoch at rest, at [rest](Self::rest) and without a session, which lives on for `grace`. `None` while no
    /// rendition has been shown.
    pub(super) fn save(&self, now: Now, grace: Duration) -> Option<Saved> {
        if !self.is_shown() {
            return None;
        }
        let mut media = Vec::new();
        let tracks: Option<Vec<_>> = (self.packagers())
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
            bitrates: self.promises.save(),
            events: self.promises.events(),
            plan: self.plan.save(),
            cuts: self.segmenter.save()?,
            tracks: tracks?,
            cues: saved::Cues::default(),
            queue: self.queue.save(),
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
        let mut packagers = (head.tracks.into_iter())
            .map(|track| Packager::restore(track, constants, &mut media))
            .collect::<Result<Vec<_>, _>>()?;
        let (queue, owed) = Queue::restore(head.queue, number)?;
        for (rendition, cue) in owed {
            let found = packagers.iter_mut().find(|it| it.rendition() == rendition);
            if let Some(packager) = found {
                packager.push(Op::Cue(cue), Anchor::default());
            }
        }
        let of = |rendition| {
            let mut found = packagers.iter().filter(|it| it.rendition() == rendition);
            (found.next(), found.next().is_none())
        };
        let (video, audio) = (of(Rendition::High), of(Rendition::Audio));
        let alone = Rendition::ALL.into_iter().all(|rendition| of(rendition).1);
        saved::hold(alone, "a rendition twice")?;
        let (video, audio) = (video.0, audio.0);
        saved::hold(video.or(audio).is_some(), "no track")?;
        let config =
            |packager: Option<&Packager>| packager.map(|packager| packager.config().clone());
        let plan = plan(config(video), config(audio))?;
        let end =
            |packager: Option<&Packager>| packager.map(|packager| packager.window().end_time());
        let segmenter = Segmenter::restore(plan.clone(), &head.cuts, end(audio))?;
        let together = |it: &Packager| it.window().end_time() == segmenter.part_start();
        saved::hold(
            { packagers.iter() }
                .filter(|it| it.kind() == Kind::Video)
                .all(together),
            "pictures that end elsewhere than their cuts",
        )?;
        let (anchor_media_ms, anchor_wall_ms) = head.anchor_ms;
        let owed_ms = i64::try_from(head.owed_ms)
            .unwrap_or(i64::MAX)
            .min(limits::STATE_SKEW_MS);
        let from_ms = segmenter.end().ms() + owed_ms + i64::try_from(away_ms).unwrap_or(0);
        let passed = |it: &Packager| match it.rendition() {
            Rendition::High => plan.passes,
            rendition => rendition == Rendition::Audio,
        };
        let (packagers, rungs): (Vec<_>, Vec<_>) = packagers.into_iter().partition(passed);
        let epoch = Self {
            number,
            began: Duration::ZERO,
            segmenter,
            packagers,
            rungs: Rungs::resume(rungs, plan.constants, now.mono),
            lockstep: Lockstep::default(),
            pending: Vec::new(),
            named: head.named,
            anchor: Anchor {
                media: MediaTime::from_ms(saved::number(anchor_media_ms)?),
                wall: WallTime(saved::number(anchor_wall_ms)?),
            },
            promises: Promises::restore(&head.bitrates, head.events)?,
            presentation: None,
            last_arrival: now.mono,
            gone: false,
            starving_since: Some((now.mono, MediaTime::from_ms(from_ms))),
            slate: None,
            arrival: Arrival::default(),
            queue,
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
        self.plan.track(kind).is_some()
    }

    /// Whether a track of the epoch can go on with `config`, at a discontinuity at worst.
    pub(super) fn fits(&self, config: &Config) -> bool {
        let current = self.current(config.kind());
        current.is_some() && same_shape(current, Some(config))
    }

    /// A new session, with `plan`, whose first media arrived at `arrived`, goes on where the last one ended.
    pub(super) fn join(&mut self, mut plan: Plan, arrived: Now) -> Timeline {
        let slate = self.slate.take();
        let bridged = slate.is_some();
        if let Some(slate) = slate {
            slate.end(&mut self.segmenter, &mut self.steps);
        }
        let base = self.segmenter.restart(plan.clone(), &mut self.steps);
        self.carry_out();
        if bridged && plan.passes {
            let high = self.rungs.give_back(Rendition::High);
            self.packagers.extend(high);
            self.changed = true;
        }
        let had = |rung: &Rung| self.rungs.has(rung.rendition);
        plan.rungs.retain(had);
        if !self.named {
            let wall = arrived.wall.max(self.anchor.program_date_time(base));
            self.anchor = Anchor { media: base, wall };
        }
        self.pending = plan.video.iter().chain(&plan.audio).cloned().collect();
        (self.starving_since, self.gone) = (None, false);
        self.arrival = Arrival::default();
        let timeline = Timeline::new(
            base,
            plan.video.as_ref(),
            plan.audio.as_ref(),
            plan.frame_ticks,
        );
        self.plan = plan;
        self.set_source();
        timeline
    }

    /// The track goes on with `config` from the next segment, which begins as soon as one can.
    pub(super) fn reconfigure(&mut self, config: Config) {
        self.pending
            .retain(|pending| pending.kind() != config.kind());
        if self.current(config.kind()) != Some(&config) {
            self.pending.push(config);
        }
    }

    /// Takes a frame of the session that `timeline` follows.
    pub(super) fn frame(&mut self, now: Now, timeline: &mut Timeline, frame: Frame) {
        let goes_on = self.slate.is_none() || self.end_slate(now, timeline, &frame);
        self.touch(now);
        if !goes_on {
            return;
        }
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
        if frame.kind == Kind::Video
            && frame.sync
            && self.plan.passes
            && self.segmenter.broke_independence()
            && self.segmenter.ripe()
        {
            self.stop_passing();
        }
        let leads = frame.kind == self.leads();
        let mut samples = std::mem::take(&mut self.samples);
        timeline.place(now.mono, frame, &mut samples);
        for (kind, sample) in samples.drain(..) {
            self.segmenter.push(kind, sample, &mut self.steps);
            self.carry_out();
        }
        if leads {
            let newest = self.segmenter.video_end().unwrap_or(self.end());
            self.arrival.observe(now.mono, newest);
        }
        self.replace_late_sound(timeline, &mut samples);
        self.samples = samples;
    }

    /// It is `now` (monotonic): encoders that owe too much are given up.
    pub(super) fn tick(&mut self, now: Duration) {
        if self.rungs.tick(now) {
            self.follow_rungs();
        }
    }

    /// Media arrived at `now`: nothing starves, unless that media cannot be shown yet.
    pub(super) fn touch(&mut self, now: Now) {
        self.last_arrival = now.mono;
        self.gone = false;
        if self.slate.is_none() {
            self.starving_since = None;
        }
    }

    /// The publish ended: everything received is in the list. A slate has no such end.
    pub(super) fn flush(&mut self) {
        if self.slate.is_none() {
            self.seal();
        }
    }

    fn seal(&mut self) {
        self.segmenter.flush(&mut self.steps);
        self.carry_out();
        self.rungs.drain();
    }

    /// Nothing follows, whatever encoders still owe.
    pub(super) fn rest(&mut self) {
        self.seal();
        self.changed |= self.rungs.rest();
        self.release_all_sound();
    }

    /// A publish may carry `events` bits per second of those.
    pub(super) fn promise_events(&mut self, events: u64) {
        self.promises.allow(events);
    }

    /// Takes what an encoder handed back.
    pub(super) fn encoded(&mut self, encoded: Encoded) {
        if self.rungs.encoded(encoded) {
            self.follow_rungs();
        }
    }

    /// A list of the rungs changed, for which sound may have waited.
    fn follow_rungs(&mut self) {
        self.changed = true;
        self.release_sound();
    }

    /// Where its renditions come from.
    pub(super) fn sources(&self) -> impl Iterator<Item = (Rendition, Source)> {
        let passed = { self.packagers.iter() }.map(|it| (it.rendition(), Source::Passthrough));
        passed.chain(self.rungs.sources(self.plan.obstacle))
    }

    /// Whether its pictures should have come from an encoder, and never will.
    pub(super) fn is_blind(&self) -> bool {
        let shows = |packager: &Packager| packager.kind() == Kind::Video;
        self.has(Kind::Video) && self.rungs.is_empty() && !self.packagers.iter().any(shows)
    }

    /// `EXT-X-ENDLIST` everywhere.
    pub(super) fn end_lists(&mut self) {
        self.rest();
        self.packagers.iter_mut().for_each(Packager::end);
        self.rungs.end_lists();
        self.changed = true;
    }

    /// Appends what changed since it was last called, beside `ranges`.
    pub(super) fn publish(&mut self, ranges: &mut Ranges, outputs: &mut VecDeque<Output>) {
        self.rungs.publish(outputs);
        // Renditions report on each other, so none is shown before all have something.
        if !self.is_shown() {
            return;
        }
        if std::mem::take(&mut self.changed) {
            self.show(ranges, outputs);
        }
        self.confirm(outputs);
    }

    fn show(&mut self, ranges: &mut Ranges, outputs: &mut VecDeque<Output>) {
        // What is promised is the broadcast, which a slate stands in for.
        if self.slate.is_none() {
            self.promise(outputs);
        }
        let oldest = { self.packagers() }.filter_map(|it| it.window().oldest());
        if let Some(oldest) = oldest.min() {
            ranges.forget(oldest);
        }
        for packager in self.packagers() {
            let rendition = packager.rendition();
            let mut snapshot = packager.snapshot(self.reports(rendition));
            snapshot.ranges = Arc::clone(ranges.listed());
            outputs.push_back(Output::Snapshot {
                epoch: self.number,
                rendition,
                snapshot: Arc::new(snapshot),
            });
        }
    }

    /// Asserts what must always hold; for tests and fuzzing.
    pub(super) fn check_invariants(&self) {
        for packager in self.packagers() {
            packager.check_invariants();
        }
    }

    /// A segment begins here: every track takes its pending configuration.
    fn apply_pending(&mut self, timeline: &mut Timeline) {
        for config in std::mem::take(&mut self.pending) {
            let kind = config.kind();
            if self.current(kind) == Some(&config) {
                continue;
            }
            self.segmenter.discontinue();
            match kind {
                Kind::Video => {
                    timeline.reconfigure_video();
                    if self.plan.video.as_ref() != Some(&config) {
                        self.plan.replace_video(config.clone());
                        self.set_source();
                    }
                }
                Kind::Audio => {
                    self.segmenter.forget_held_sound();
                    self.release_all_sound();
                    timeline.reconfigure_audio(&config);
                }
            }
            if let Some(packager) = packager_of(&mut self.packagers, kind) {
                packager.reconfigure(config);
            }
        }
    }

    /// The configuration that a track has now.
    fn current(&self, kind: Kind) -> Option<&Config> {
        let packager = self
            .packagers
            .iter()
            .find(|packager| packager.kind() == kind);
        packager.map(Packager::config).or(self.plan.track(kind))
    }

    fn packagers(&self) -> impl Iterator<Item = &Packager> + Clone {
        self.packagers.iter().chain(self.rungs.packagers())
    }

    /// Whether every rendition has something to show.
    fn is_shown(&self) -> bool {
        let begun = |packager: &Packager| packager.window().edge().is_some();
        self.rungs.is_ready() && self.packagers().all(begun)
    }

    /// Sets the encoders up for the pictures to come.
    fn set_source(&mut self) {
        if let Some(config) = self.plan.video.clone() {
            self.rungs.set_source(config, self.plan.rungs.clone());
        }
    }

    /// Segments could not begin with the source's key frames: from here on `high` is encoded like every other rendition.
    fn stop_passing(&mut self) {
        if self.has_passed() && self.plan.stop_passing() {
            self.encode_high(self.plan.obstacle);
            self.segmenter.stop_passing(&self.plan);
            self.set_source();
        }
    }

    /// Whether pictures are passed through.
    fn has_passed(&self) -> bool {
        self.packagers.iter().any(|it| it.kind() == Kind::Video)
    }

    /// Pictures that were passed through come from an encoder from here on, because of `obstacle`.
    fn encode_high(&mut self, obstacle: Option<Obstacle>) {
        let high = { self.packagers.iter() }.position(|it| it.kind() == Kind::Video);
        if let Some(high) = high {
            self.rungs.adopt(self.packagers.remove(high), obstacle);
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
        let mut steps = std::mem::take(&mut self.steps);
        for Step { kind, op } in steps.drain(..) {
            if kind == self.leads() {
                self.cue(&op);
            }
            self.deliver(kind, op);
        }
        self.steps = steps;
        self.release_sound();
    }

    fn deliver(&mut self, kind: Kind, op: Op) {
        if kind == Kind::Video && !self.rungs.is_empty() {
            self.changed |= self.rungs.take(&op, self.anchor);
        }
        if kind == Kind::Audio {
            self.lockstep.push(op, self.anchor);
        } else if let Some(high) = packager_of(&mut self.packagers, kind) {
            self.changed |= high.push(op, self.anchor);
        }
    }

    /// Publishes the sound of the time for which every rendition of pictures is published.
    fn release_sound(&mut self) {
        if self.rungs.is_empty() {
            return self.release_all_sound();
        }
        let Some(sound) = packager_of(&mut self.packagers, Kind::Audio) else {
            return;
        };
        let cut = self.segmenter.part_start();
        let slowest = self.rungs.end().unwrap_or(cut);
        let shown = slowest.max(cut - limits::SOUND_AHEAD_MS * 90);
        // Sound is cut at its first boundary at or after the pictures' cut.
        let scale = sound.config().timescale();
        let frame = audio_frame(sound.config()).ticks_at_ceil(scale);
        let until = scale.at(Timescale::VIDEO.at(shown).ticks_at_ceil(scale) + frame);
        while let Some(part) = self.lockstep.next_part(scale, until) {
            for (op, anchor) in part {
                self.changed |= sound.push(op, anchor);
            }
        }
    }

    fn release_all_sound(&mut self) {
        if let Some(sound) = packager_of(&mut self.packagers, Kind::Audio) {
            for (op, anchor) in self.lockstep.rest() {
                self.changed |= sound.push(op, anchor);
            }
        }
    }

    fn reports(&self, of: Rendition) -> Vec<Report> {
        self.packagers()
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
        let packagers = { &self.packagers }.iter().chain(self.rungs.packagers());
        let independent = self.plan.independent && !self.segmenter.broke_independence();
        let multivariant =
            { &mut self.promises }.multivariant(self.number, &self.plan, packagers, independent);
        if self.presentation.as_deref() != Some(&multivariant) {
            let multivariant = Arc::new(multivariant);
            self.presentation = Some(Arc::clone(&multivariant));
            outputs.push_back(Output::Presentation(multivariant));
        }
    }
}

fn packager_of(packagers: &mut [Packager], kind: Kind) -> Option<&mut Packager> {
    packagers
        .iter_mut()
        .find(|packager| packager.kind() == kind)
}

fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX / 2)
}
