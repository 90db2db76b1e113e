//! Where segments and parts begin and end: decided once, for every rendition, on the samples as they pass.
//!
//! Parts tile time: each begins where the one before it ended, whether media fills it, has a hole in it, or is missing
//! altogether ([`Op::Seal`] without a sample: a gap). So a segment is exactly as long as its parts, whatever a publisher
//! sends, and no part is longer than the part target. A sample belongs to the part that is open at its decode time and
//! may hang over its end by less than its own length.
//!
//! A segment has media or is a gap, never both: hls.js 1.7 that loads a gap right behind media of the same segment waits
//! for ever for the end of that segment. So a gap begins a segment, and media after a gap begins another; a hole that is
//! shorter than a part goes to the first part of the segment behind it.
//!
//! Pictures lead. With a steady frame rate a part is sealed by its own last frame, whose length is predicted, not by
//! the next frame. A segment begins with a sync sample once the wanted length is reached, and without one only where
//! the target duration would be broken. Sound follows: it is held until the pictures of its time have passed, and cut
//! at its first frame boundary at or after theirs. Without pictures sound alone is cut by the grid that missing
//! pictures have.

mod rest;

use std::collections::VecDeque;

use bytes::Bytes;

use super::{cues::Cue, plan::Plan};
use crate::{
    limits,
    media::{Config, Kind, MediaTime, Sample, Timescale},
};

/// What happens on one track; what a packager or an encoder's rung takes. Ticks are of the track's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A segment begins where the last part was sealed.
    Begin {
        /// Where.
        at: i64,
        /// Whether the timestamps or parameters before and after do not continue.
        discontinuity: bool,
    },
    /// An access unit of the open part.
    Sample(Sample),
    /// An event whose time the open part holds, before that is sealed. Cuts are made here, events are bound by the epoch.
    Cue(Cue),
    /// The open part ends; one without samples is missing media.
    Seal {
        /// Where it ends and the next begins.
        until: i64,
        /// Decode time of the sample that follows, as known or predicted: where the part's media ends.
        next: i64,
    },
}

/// An [`Op`] and its track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The track.
    pub kind: Kind,
    /// What happens on it.
    pub op: Op,
}

/// A decided boundary that sound has yet to follow.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Part { at: i64 },
    Segment { at: i64, discontinuity: bool },
}

impl Cut {
    fn at(self) -> MediaTime {
        let (Self::Part { at } | Self::Segment { at, .. }) = self;
        Timescale::VIDEO.at(at)
    }
}

/// The state machine; one for all renditions of an epoch.
#[derive(Debug)]
pub struct Segmenter {
    plan: Plan,
    /// The next segment begins with a discontinuity, as soon as one can.
    discontinuity: bool,
    broke_independence: bool,
    lead: Lead,
    sound: Sound,
    cuts: VecDeque<Cut>,
}

/// The pictures, in 90 kHz ticks; without any, the grid that sound alone is cut by.
#[derive(Debug, Default)]
struct Lead {
    /// Where the newest segment began; `None` before the first.
    segment_start: Option<i64>,
    /// Whether it began with a sync sample.
    independent: bool,
    /// Where the open part began: no cut still to come lies before.
    part_start: i64,
    /// Whether the open part has a picture.
    filled: bool,
    /// Whether the newest segment has media, pictures or, where they ended, sound; a gap has neither.
    media: bool,
    /// End of the newest picture, as predicted.
    next: i64,
    last_dts: Option<i64>,
    last_sync: Option<i64>,
    longest_gop: i64,
    /// Pictures in a row whose distance was that of the frame rate.
    steady: u32,
    /// Pictures before `part_start` were given up: only a sync sample can follow.
    missing: bool,
}

#[derive(Debug)]
struct Sound {
    scale: Timescale,
    /// Waits for the pictures of its time.
    held: VecDeque<Sample>,
    /// Where the open part began; `None` before the first segment.
    part_start: Option<i64>,
    /// End of the newest sound, or of the gap after it.
    next: i64,
}

impl Segmenter {
    /// A segmenter for an epoch that begins with `plan`.
    pub fn new(plan: Plan) -> Self {
        let scale = plan
            .audio
            .as_ref()
            .map_or(Timescale::MILLIS, Config::timescale);
        Self {
            plan,
            discontinuity: false,
            broke_independence: false,
            lead: Lead {
                missing: true,
                ..Lead::default()
            },
            sound: Sound {
                scale,
                held: VecDeque::new(),
                part_start: None,
                next: 0,
            },
            cuts: VecDeque::new(),
        }
    }

    /// Takes a sample in order of its track; appends what follows from it.
    pub fn push(&mut self, kind: Kind, sample: Sample, out: &mut Vec<Step>) {
        match kind {
            Kind::Video => self.push_picture(sample, out),
            Kind::Audio if self.plan.video.is_some() => {
                self.sound.held.push_back(sample);
                self.release_held(out);
            }
            Kind::Audio => self.push_sound_alone(sample, out),
        }
    }

    /// The next sample, a sync sample, begins a segment with `EXT-X-DISCONTINUITY` in every rendition. Not before
    /// [`Self::ripe`].
    pub fn discontinue(&mut self) {
        self.discontinuity = true;
    }

    /// The next sample, a sync sample, is the first that encoders see: they make the key frames of `plan`'s segments.
    pub(super) fn stop_passing(&mut self, plan: &Plan) {
        self.plan = plan.clone();
        self.discontinue();
    }

    /// The sound's configuration changes with the next segment: what is held of the former one would stand in it.
    pub fn forget_held_sound(&mut self) {
        self.sound.held.clear();
    }

    /// Whether the newest segment is long enough for another to begin: in every rendition it has media, or a gap.
    pub fn ripe(&self) -> bool {
        self.ripe_at().is_none_or(|at| self.lead_end() >= at)
    }

    /// A new session continues the epoch with `plan`, discontinuous: answers where its media begins.
    pub fn restart(&mut self, plan: Plan, out: &mut Vec<Step>) -> MediaTime {
        self.flush(out);
        self.plan = plan;
        // A whole millisecond, because sessions are placed on those.
        let ripe = self.ripe_at().map(|at| Timescale::VIDEO.at(at));
        let base = ripe.map_or(self.end(), |at| at.max(self.end()));
        let base = base.ticks_at_ceil(Timescale::MILLIS) * 90;
        self.advance(base, false, out);
        self.close(base, out);
        self.discontinuity = true;
        self.lead = Lead {
            segment_start: self.lead.segment_start,
            part_start: self.lead.part_start,
            media: self.lead.media,
            next: base,
            missing: true,
            ..Lead::default()
        };
        self.follow(Timescale::VIDEO.at(base), out);
        Timescale::VIDEO.at(base)
    }

    /// Adds a part of one picture without bytes, at which a segment may begin, where the last part ended.
    pub(super) fn push_slate(&mut self, out: &mut Vec<Step>) {
        let end = self.slate_end();
        let picture = Sample {
            dts: self.lead.part_start,
            composition_offset: 0,
            duration: u32::try_from(self.part()).unwrap_or(u32::MAX),
            sync: true,
            data: Bytes::new(),
        };
        self.push_picture(picture, out);
        if self.lead.filled {
            self.seal(end, end, out);
        }
        self.release_held(out);
    }

    /// Where the part ends that [`Self::push_slate`] would add next, in 90 kHz ticks.
    pub(super) fn slate_end(&self) -> i64 {
        self.lead.part_start + self.part()
    }

    /// The session ended or starves: seals what is open, after all sound still held.
    pub fn flush(&mut self, out: &mut Vec<Step>) {
        let sound_end = self.held_end();
        self.seal_predicted(sound_end.unwrap_or_default(), out);
        if let Some(end) = sound_end {
            self.outlast(end, out);
        }
        while let Some(sample) = self.sound.held.pop_front() {
            self.release(sample, out);
        }
        self.follow(Timescale::VIDEO.at(self.lead.part_start), out);
        self.seal_sound(self.sound.next, out);
    }

    /// The pictures ended, the sound goes on to `end`: a gap as long, so that what follows begins at one instant on both.
    fn outlast(&mut self, end: i64, out: &mut Vec<Step>) {
        self.give_up_pictures(end, out);
        if self.lead.segment_start.is_some() {
            if end - self.lead.part_start > self.half_frame() {
                if self.lead.media {
                    self.begin(false, false, out);
                    self.lead.missing = true;
                }
                let end = end.max(self.ripe_at().unwrap_or(end));
                self.seal(end.min(self.lead.part_start + self.part_max()), end, out);
            }
            self.lead.media = true;
        }
    }

    /// Where the open part of the pictures began.
    pub(super) fn part_start(&self) -> i64 {
        self.lead.part_start
    }

    /// Where the open part began of the track that leads: nothing before is still to be sealed.
    pub(super) fn open_part(&self) -> MediaTime {
        match (&self.plan.video, self.sound.part_start) {
            (None, Some(start)) => self.sound.scale.at(start),
            _ => Timescale::VIDEO.at(self.lead.part_start),
        }
    }

    /// Whether pictures at `at` stand in the open part, wherever it will end.
    pub(super) fn holds(&self, at: MediaTime) -> bool {
        let newest = self.lead.last_dts.filter(|_| self.lead.filled);
        newest.is_some_and(|newest| {
            (Timescale::VIDEO.at(self.lead.part_start)..Timescale::VIDEO.at(newest)).contains(&at)
        })
    }

    /// End of the longest track, gaps included.
    pub fn end(&self) -> MediaTime {
        let lead = Timescale::VIDEO.at(self.lead_end());
        lead.max(self.sound.scale.at(self.sound.next))
    }

    /// End of the sound, gaps and what is held included.
    pub(super) fn sound_end(&self) -> MediaTime {
        let held = { self.sound.held.back() }.map(|last| last.dts + i64::from(last.duration));
        self.sound.scale.at(held.unwrap_or(self.sound.next))
    }

    /// End of the sound that is held, in 90 kHz ticks.
    fn held_end(&self) -> Option<i64> {
        let last = self.sound.held.back()?;
        let end = self.sound.scale.at(last.dts + i64::from(last.duration));
        Some(end.ticks_at_floor(Timescale::VIDEO))
    }

    /// The last picture stays for as long as [`Self::flush`] makes its part, so that nothing is missing before what follows.
    pub(super) fn hold_picture(&mut self) {
        if self.lead.filled {
            self.lead.next = self.predicted_end(self.held_end().unwrap_or_default());
        }
    }

    /// Where [`Self::flush`] would end the pictures.
    pub(super) fn flush_end(&self) -> MediaTime {
        Timescale::VIDEO.at(match self.lead.filled {
            true => self.predicted_end(0),
            false => self.lead.part_start,
        })
    }

    /// Whether a segment had to begin without a sync sample.
    pub fn broke_independence(&self) -> bool {
        self.broke_independence
    }

    /// How far pictures have come, as predicted; `None` without pictures, or before the first.
    pub fn video_end(&self) -> Option<MediaTime> {
        let begun = self.plan.video.is_some() && self.lead.segment_start.is_some();
        begun.then(|| Timescale::VIDEO.at(self.lead_end()))
    }

    /// Where the part ends that [`Self::starve`] would add next; `None` before the first segment.
    pub fn gap_end(&self) -> Option<MediaTime> {
        let start = self.lead.segment_start?;
        let (_, end) = self.gap_part(start, false);
        Some(Timescale::VIDEO.at(end))
    }

    /// Grows every track with gaps up to `until`, in whole parts, after [`Self::flush`]: nothing arrives.
    pub fn starve(&mut self, until: MediaTime, out: &mut Vec<Step>) {
        self.give_up_pictures(until.ticks_at_floor(Timescale::VIDEO), out);
        self.follow(Timescale::VIDEO.at(self.lead.part_start), out);
    }

    /// Grows the sound with gaps up to `until`: pictures run, sound does not, and there is no silence to stand in.
    pub fn starve_sound(&mut self, until: MediaTime, out: &mut Vec<Step>) {
        self.follow(until, out);
    }

    fn push_picture(&mut self, sample: Sample, out: &mut Vec<Step>) {
        let begun = self.lead.segment_start.is_some();
        let late = begun && sample.dts < self.lead.part_start - self.half_frame();
        if self.lead.missing && (late || !sample.sync) {
            // What cannot be shown still says how far time has gone.
            self.give_up_pictures(sample.dts, out);
            return self.release_held(out);
        }
        if begun && sample.dts - self.lead.part_start > self.part_max() {
            if self.lead.filled {
                // The picture stays until this one, longer than a part may be listed.
                self.seal(self.lead.part_start + self.part(), sample.dts, out);
            }
            self.advance(sample.dts, false, out);
            if self.lead.missing && !sample.sync {
                return self.release_held(out);
            }
        }
        self.observe_rhythm(&sample);
        if self.starts_segment(&sample) {
            if begun {
                self.close(sample.dts, out);
            } else {
                self.lead.part_start = sample.dts;
            }
            let discontinuity = std::mem::take(&mut self.discontinuity);
            let independent = sample.sync || !self.plan.passes;
            self.begin(discontinuity, independent, out);
            self.broke_independence |= !independent;
        } else if self.lead.filled && self.completes_part(sample.dts) {
            self.seal(sample.dts, sample.dts, out);
        }
        self.lead.filled = true;
        self.lead.media = true;
        self.lead.missing = false;
        self.lead.next = sample.dts + i64::from(sample.duration);
        self.emit(Kind::Video, Op::Sample(sample), out);
        // Publishers' clocks have whole milliseconds, most of them rounded down: the next one.
        let end = self.lead.next + (-self.lead.next).rem_euclid(90);
        if self.lead.steady >= limits::STEADY_FRAMES && self.completes_part(end) {
            self.seal(end.min(self.lead.part_start + self.part_max()), end, out);
        }
        self.release_held(out);
    }

    /// Whether the open part is full at `end`: most of another picture would lie beyond it, and it is not so short that
    /// players would not take it.
    fn completes_part(&self, end: i64) -> bool {
        let length = end - self.lead.part_start;
        let shortest =
            i64::from(self.plan.constants.part_target_ms) * limits::PART_MIN_PERCENT * 90 / 100;
        length >= shortest && length + self.half_frame() > self.part()
    }

    /// Follows the distances of frames and of sync samples.
    fn observe_rhythm(&mut self, sample: &Sample) {
        let frame = i64::from(self.plan.frame_ticks);
        if let Some(last) = self.lead.last_dts {
            // RTMP rounds to the millisecond, and some encoders truncate: one millisecond either way.
            let on_beat = (sample.dts - last - frame).abs() <= 91;
            self.lead.steady = if on_beat {
                self.lead.steady.saturating_add(1)
            } else {
                0
            };
        }
        self.lead.last_dts = Some(sample.dts);
        if sample.sync {
            if let Some(last) = self.lead.last_sync {
                let gop = (sample.dts - last).min(self.segment_max());
                self.lead.longest_gop = self.lead.longest_gop.max(gop);
            }
            self.lead.last_sync = Some(sample.dts);
        }
    }

    fn starts_segment(&self, sample: &Sample) -> bool {
        let Some(start) = self.lead.segment_start else {
            return true;
        };
        let elapsed = sample.dts - start;
        let half_frame = self.half_frame();
        let must =
            elapsed >= self.segment_max() - half_frame || (self.discontinuity && sample.sync);
        let long_enough = elapsed >= self.plan.segment.ticks_at(Timescale::VIDEO) - half_frame;
        let cannot_wait = elapsed + self.lead.longest_gop > self.segment_max() + half_frame;
        let not_too_short = elapsed >= limits::SEGMENT_MIN_MS * 90;
        let may = self.plan.passes
            && sample.sync
            && not_too_short
            && (long_enough || cannot_wait || !self.lead.independent);
        must || may
    }

    /// The pictures up to `until` are missing: whole parts of gap.
    fn give_up_pictures(&mut self, until: i64, out: &mut Vec<Step>) {
        if self.lead.segment_start.is_some() && self.gap_fits(until) {
            self.seal_predicted(0, out);
            self.lead.missing = true;
            self.advance(until, false, out);
        }
    }

    /// Seals the pictures of the open part where they are expected to end; later, where sound goes on to `sound_end` or
    /// the segment is too short.
    fn seal_predicted(&mut self, sound_end: i64, out: &mut Vec<Step>) {
        if self.lead.filled {
            self.seal(self.predicted_end(sound_end), self.lead.next, out);
        }
    }

    fn predicted_end(&self, sound_end: i64) -> i64 {
        let (start, end) = (self.lead.part_start, self.lead.next);
        let until = end.max(sound_end).max(self.ripe_at().unwrap_or(end));
        until.clamp(start + 1, start + self.part_max())
    }

    /// Adds whole parts without pictures up to `until`: gaps, or (`eager`) sound that leads itself. A segment begins with
    /// its first part, or (`eager`) as soon as the former one is full.
    fn advance(&mut self, until: i64, eager: bool, out: &mut Vec<Step>) {
        while let Some(start) = self.lead.segment_start {
            let (begins, end) = self.gap_part(start, eager);
            let fits = end <= until;
            if begins && (fits || eager) {
                self.begin(false, false, out);
                self.lead.missing = true;
            }
            if !fits {
                return;
            }
            self.seal(end, end, out);
            self.lead.steady = 0;
            self.lead.last_dts = None;
            self.lead.last_sync = None;
        }
    }

    /// The next part without pictures behind a segment from `segment_start`: whether it begins another, and its end.
    fn gap_part(&self, segment_start: i64, eager: bool) -> (bool, i64) {
        let segment = self.plan.segment.ticks_at(Timescale::VIDEO);
        let end = self.lead.part_start + self.part();
        let full = self.lead.part_start - segment_start >= segment;
        if full || (self.lead.media && !eager) {
            (true, end)
        } else {
            (false, end.min(segment_start + segment))
        }
    }

    /// Seals at `at`, a part's length away at most, what is open there: pictures, or the rest of a gap.
    fn close(&mut self, at: i64, out: &mut Vec<Step>) {
        let gap = !self.lead.media && at - self.lead.part_start > self.half_frame();
        if self.lead.filled || gap {
            // Pictures that come sooner than predicted may end before their part begins: it has a tick all the same.
            self.seal(at.max(self.lead.part_start + 1), at, out);
        }
    }

    fn begin(&mut self, discontinuity: bool, independent: bool, out: &mut Vec<Step>) {
        let at = self.lead.part_start;
        self.lead.segment_start = Some(at);
        self.lead.independent = independent;
        self.lead.media = false;
        self.cut(Cut::Segment { at, discontinuity });
        self.emit(Kind::Video, Op::Begin { at, discontinuity }, out);
    }

    fn seal(&mut self, until: i64, next: i64, out: &mut Vec<Step>) {
        debug_assert!(until > self.lead.part_start, "parts tile time");
        self.lead.part_start = until;
        self.lead.filled = false;
        self.cut(Cut::Part { at: until });
        self.emit(Kind::Video, Op::Seal { until, next }, out);
    }

    fn cut(&mut self, cut: Cut) {
        if self.plan.audio.is_some() {
            self.cuts.push_back(cut);
        }
    }

    fn emit(&self, kind: Kind, op: Op, out: &mut Vec<Step>) {
        if kind == Kind::Audio || self.plan.video.is_some() {
            out.push(Step { kind, op });
        }
    }

    /// Releases the sound whose cuts are decided. Once pictures are a target duration late, they are missing.
    fn release_held(&mut self, out: &mut Vec<Step>) {
        if let Some(last) = self.sound.held.back() {
            let newest = self
                .sound
                .scale
                .at(last.dts)
                .ticks_at_floor(Timescale::VIDEO);
            let patience =
                i64::from(self.plan.constants.target_duration) * i64::from(Timescale::VIDEO.hz());
            if self.lead.missing || newest - self.lead.next >= patience {
                self.give_up_pictures(newest, out);
            }
        }
        // No cut still to come lies before the newest picture, or before the open part.
        let decided = match self.lead.last_dts {
            Some(last) if self.lead.filled => last,
            _ => self.lead.part_start,
        };
        let decided = Timescale::VIDEO.at(decided);
        while let Some(first) = self.sound.held.front()
            && self.sound.scale.at(first.dts) < decided
            && let Some(sample) = self.sound.held.pop_front()
        {
            self.release(sample, out);
        }
    }

    /// Sound without pictures: it leads itself, by the grid that missing pictures have.
    fn push_sound_alone(&mut self, sample: Sample, out: &mut Vec<Step>) {
        let start = self.sound.scale.at(sample.dts);
        let end = self.sound.scale.at(sample.dts + i64::from(sample.duration));
        let start = start.ticks_at_ceil(Timescale::VIDEO);
        if self.lead.segment_start.is_none() {
            self.lead.part_start = start;
            self.begin(false, true, out);
        } else if std::mem::take(&mut self.discontinuity) {
            self.advance(start, false, out);
            self.close(start, out);
            self.begin(true, true, out);
        }
        // A segment must have begun before sound is placed in it.
        self.advance(end.ticks_at_floor(Timescale::VIDEO), true, out);
        self.lead.media = true;
        self.release(sample, out);
    }

    /// Places a sample whose cuts are decided.
    fn release(&mut self, sample: Sample, out: &mut Vec<Step>) {
        self.follow(self.sound.scale.at(sample.dts), out);
        if self.sound.part_start.is_none() || sample.dts < self.sound.next {
            // Before the first segment, or where a gap already stands.
            return;
        }
        self.sound.next = sample.dts + i64::from(sample.duration);
        self.emit(Kind::Audio, Op::Sample(sample), out);
        self.follow(self.sound.scale.at(self.sound.next), out);
    }

    /// Takes the cuts up to `until`, each at the first boundary of sound at or after it.
    fn follow(&mut self, until: MediaTime, out: &mut Vec<Step>) {
        while let Some(&cut) = self.cuts.front().filter(|cut| cut.at() <= until) {
            self.cuts.pop_front();
            let at = cut
                .at()
                .ticks_at_ceil(self.sound.scale)
                .max(self.sound.next);
            self.seal_sound(at, out);
            if let Cut::Segment { discontinuity, .. } = cut {
                let at = *self.sound.part_start.get_or_insert(at);
                self.sound.next = self.sound.next.max(at);
                self.emit(Kind::Audio, Op::Begin { at, discontinuity }, out);
            }
        }
    }

    /// Seals the sound at `at`, or where the part target ends, if sound that began late in its part hangs over that. Two
    /// cuts may fall on one boundary: only the first has a part.
    fn seal_sound(&mut self, at: i64, out: &mut Vec<Step>) {
        let Some(start) = self.sound.part_start.filter(|start| at > *start) else {
            return;
        };
        let target = MediaTime::from_ms(i64::from(self.plan.constants.part_target_ms));
        let until = at.min(start + target.ticks_at_floor(self.sound.scale));
        let next = self.sound.next;
        self.emit(Kind::Audio, Op::Seal { until, next }, out);
        self.sound.part_start = Some(until);
        self.sound.next = next.max(until);
    }

    /// A frame later than the shortest segment, because where the next picture stands is a prediction.
    fn ripe_at(&self) -> Option<i64> {
        let frame_ms = i64::from(self.plan.frame_ticks) / 90 + 1;
        let start = self.lead.segment_start?;
        Some(start + (limits::SEGMENT_MIN_MS + frame_ms) * 90)
    }

    fn lead_end(&self) -> i64 {
        self.lead.next.max(self.lead.part_start)
    }

    fn gap_fits(&self, until: i64) -> bool {
        self.gap_end()
            .is_some_and(|end| end <= Timescale::VIDEO.at(until))
    }

    /// Planned length of a part.
    fn part(&self) -> i64 {
        self.plan.part.ticks_at(Timescale::VIDEO)
    }

    /// Longest distance of two cuts: pictures stand on whole milliseconds. The part target is planned from it.
    fn part_max(&self) -> i64 {
        self.part() + 90
    }

    fn segment_max(&self) -> i64 {
        self.plan.segment_max.ticks_at(Timescale::VIDEO)
    }

    fn half_frame(&self) -> i64 {
        i64::from(self.plan.frame_ticks / 2)
    }
}
