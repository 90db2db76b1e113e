//! Where segments and parts begin and end: decided once, for every rendition, on the samples as they pass.
//!
//! Pictures lead. A video part is a fixed number of whole frames counted from the segment's start; with a steady frame
//! rate it is sealed by its own last frame, whose length is predicted, not by the next frame. A segment begins with a
//! sync sample once the wanted length is reached, and without one only where the target duration would be broken. Sound
//! follows: it is held until the pictures of its time have passed, and cut at its first frame boundary at or after
//! theirs. Without pictures the grid of parts and segments is cut into the sound itself.
//!
//! Invariants: every track gets the same number of segment starts in the same order; a part is never longer than the
//! part target as listed; missing media becomes [`Op::Gap`], never silence in the list.

use std::collections::VecDeque;

use super::probe::Plan;
use crate::{
    limits,
    media::{Kind, MediaTime, Sample, Timescale},
};

/// The beginning of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentStart {
    /// Whether the timestamps or parameters before and after do not continue.
    pub discontinuity: bool,
}

/// What happens on one track; what a packager or an encoder's rung takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A sample, with the decisions made at it.
    Sample {
        /// The access unit.
        sample: Sample,
        /// It begins a segment (and a part).
        segment: Option<SegmentStart>,
        /// It begins a part.
        part: bool,
        /// It ends its part: seal at `dts + duration`.
        seals: bool,
    },
    /// Missing media: one part of it. A part still open is sealed at `from`.
    Gap {
        /// Where it begins, in ticks of the track's clock.
        from: i64,
        /// Where it ends.
        until: i64,
        /// It begins a segment.
        segment: Option<SegmentStart>,
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
struct Cut {
    at: MediaTime,
    segment: Option<SegmentStart>,
}

/// The state machine; one for all renditions of an epoch.
#[derive(Debug)]
pub struct Segmenter {
    plan: Plan,
    discontinuity: bool,
    /// A segment began without a sync sample.
    broke_independence: bool,
    video: Video,
    audio: Audio,
    cuts: VecDeque<Cut>,
}

#[derive(Debug, Default)]
struct Video {
    segment_start: Option<i64>,
    segment_independent: bool,
    part_start: i64,
    part_frames: u32,
    /// Nothing of the current part follows: it was sealed by its last frame.
    sealed: bool,
    /// End of the newest picture or gap, as predicted.
    next: i64,
    last_dts: Option<i64>,
    last_sync: Option<i64>,
    longest_gop: i64,
    steady: u32,
    /// Media is missing before here: only a sync sample can follow.
    await_sync: bool,
}

#[derive(Debug)]
struct Audio {
    scale: Timescale,
    held: VecDeque<Sample>,
    next: Option<i64>,
    part_open: bool,
    /// Sound alone: where its own grid stands.
    grid: Option<Grid>,
}

#[derive(Clone, Copy, Debug)]
struct Grid {
    segment_start: MediaTime,
    part_cuts: i64,
}

impl Segmenter {
    /// A segmenter for an epoch that begins with `plan`.
    pub fn new(plan: Plan) -> Self {
        let scale = plan
            .audio
            .as_ref()
            .map_or(Timescale::MILLIS, crate::media::Config::timescale);
        Self {
            plan,
            discontinuity: false,
            broke_independence: false,
            video: Video {
                await_sync: true,
                ..Video::default()
            },
            audio: Audio {
                scale,
                held: VecDeque::new(),
                next: None,
                part_open: false,
                grid: None,
            },
            cuts: VecDeque::new(),
        }
    }

    /// Takes a sample in order of its track; appends what follows from it.
    pub fn push(&mut self, kind: Kind, sample: Sample, out: &mut Vec<Step>) {
        match kind {
            Kind::Video => self.push_video(sample, out),
            Kind::Audio => self.push_audio(sample, out),
        }
    }

    /// The next sync sample (or sound, without pictures) begins a segment with `EXT-X-DISCONTINUITY` in every rendition.
    pub fn discontinue(&mut self) {
        self.discontinuity = true;
    }

    /// A new session continues the epoch with `plan`, after [`Self::flush`]: at [`Self::end`], discontinuous.
    pub fn restart(&mut self, plan: Plan) {
        let end = self.end();
        self.video = Video {
            next: end.ticks_at(Timescale::VIDEO).max(self.video.next),
            segment_start: self.video.segment_start,
            await_sync: true,
            ..Video::default()
        };
        self.audio.grid = None;
        self.plan = plan;
        self.discontinuity = true;
    }

    /// The session ended, or its tracks changed: releases the sound still held.
    pub fn flush(&mut self, out: &mut Vec<Step>) {
        while let Some(sample) = self.audio.held.pop_front() {
            self.release(sample, out);
        }
    }

    /// End of the longest track, gaps included.
    pub fn end(&self) -> MediaTime {
        let video = Timescale::VIDEO.at(self.video.next);
        self.audio
            .next
            .map_or(video, |next| video.max(self.audio.scale.at(next)))
    }

    /// Whether a segment had to begin without a sync sample.
    pub fn broke_independence(&self) -> bool {
        self.broke_independence
    }

    /// How far pictures have come, as predicted; `None` without pictures, or before the first.
    pub fn video_end(&self) -> Option<MediaTime> {
        self.plan.video.as_ref()?;
        self.video
            .segment_start
            .map(|_| Timescale::VIDEO.at(self.video.next))
    }

    /// Grows every track with gaps up to `until`, in whole parts: nothing has arrived for too long.
    pub fn starve(&mut self, until: MediaTime, out: &mut Vec<Step>) {
        self.flush(out);
        if self.plan.video.is_some() {
            self.gap_video(until.ticks_at_floor(Timescale::VIDEO), false, out);
            if self.plan.audio.is_some() {
                self.gap_audio(Timescale::VIDEO.at(self.video.next), out);
            }
        } else {
            self.gap_sound_alone(until, out);
        }
    }

    /// Grows the sound with gaps up to `until`: pictures run, sound does not, and there is no silence to stand in.
    pub fn starve_sound(&mut self, until: MediaTime, out: &mut Vec<Step>) {
        self.gap_audio(until, out);
    }

    fn push_video(&mut self, sample: Sample, out: &mut Vec<Step>) {
        if sample.dts < self.video.next - self.tolerance()
            && self.video.await_sync
            && self.video.segment_start.is_some()
        {
            return;
        }
        let limit =
            self.video.segment_start.unwrap_or(sample.dts) + self.segment_max() + self.half_frame();
        let hole = sample.dts - self.video.next;
        if self.video.segment_start.is_some()
            && sample.dts > limit
            && hole > self.part_target()
            && !self.discontinuity
        {
            // The list cannot stretch over the hole without breaking the target duration.
            self.gap_video(sample.dts, true, out);
        }
        if self.video.await_sync && !sample.sync {
            return;
        }
        self.video.await_sync = false;
        self.observe_rhythm(&sample);
        let segment = self.video_segment(&sample);
        let part_end = self.video.part_start + self.part_target();
        let part = segment.is_some()
            || self.video.sealed
            || self.video.part_frames >= self.plan.part_frames
            || sample.dts + i64::from(sample.duration) > part_end;
        if segment.is_some() || (part && !self.video.sealed) {
            self.cuts.push_back(Cut {
                at: Timescale::VIDEO.at(sample.dts),
                segment,
            });
        }
        if part {
            self.video.part_start = sample.dts;
            self.video.part_frames = 0;
        }
        self.video.part_frames += 1;
        self.video.next = sample.dts + i64::from(sample.duration);
        self.video.last_dts = Some(sample.dts);
        let seals = self.video.part_frames == self.plan.part_frames
            && self.video.steady >= limits::STEADY_FRAMES;
        if seals {
            self.cuts.push_back(Cut {
                at: Timescale::VIDEO.at(self.video.next),
                segment: None,
            });
        }
        self.video.sealed = seals;
        out.push(Step {
            kind: Kind::Video,
            op: Op::Sample {
                sample,
                segment,
                part,
                seals,
            },
        });
        self.release_held(out);
    }

    /// Follows the distances of frames and of sync samples.
    fn observe_rhythm(&mut self, sample: &Sample) {
        let frame = i64::from(self.plan.frame_ticks);
        if let Some(last) = self.video.last_dts {
            // RTMP rounds to the millisecond, and some encoders truncate: one millisecond either way.
            let on_beat = (sample.dts - last - frame).abs() <= 91;
            self.video.steady = if on_beat {
                self.video.steady.saturating_add(1)
            } else {
                0
            };
        }
        if sample.sync {
            if let Some(last) = self.video.last_sync {
                self.video.longest_gop = self
                    .video
                    .longest_gop
                    .max(sample.dts - last)
                    .min(self.segment_max());
            }
            self.video.last_sync = Some(sample.dts);
        }
    }

    fn video_segment(&mut self, sample: &Sample) -> Option<SegmentStart> {
        let Some(start) = self.video.segment_start else {
            return Some(self.begin_segment(sample));
        };
        let elapsed = sample.dts - start;
        let half_frame = self.half_frame();
        let must =
            elapsed >= self.segment_max() - half_frame || (self.discontinuity && sample.sync);
        let long_enough = elapsed >= self.plan.segment.ticks_at(Timescale::VIDEO) - half_frame;
        let cannot_wait = elapsed + self.video.longest_gop > self.segment_max() + half_frame;
        let not_too_short = elapsed >= limits::SEGMENT_MIN_MS * 90;
        let may = sample.sync
            && not_too_short
            && (long_enough || cannot_wait || !self.video.segment_independent);
        (must || may).then(|| self.begin_segment(sample))
    }

    fn begin_segment(&mut self, sample: &Sample) -> SegmentStart {
        self.video.segment_start = Some(sample.dts);
        self.video.segment_independent = sample.sync;
        self.broke_independence |= !sample.sync;
        SegmentStart {
            discontinuity: std::mem::take(&mut self.discontinuity),
        }
    }

    /// Parts of missing pictures from the end of the newest one; `whole` fills up to `until` to the tick.
    fn gap_video(&mut self, until: i64, whole: bool, out: &mut Vec<Step>) {
        let part = self.plan.part.ticks_at(Timescale::VIDEO);
        let segment = self.plan.segment.ticks_at(Timescale::VIDEO);
        let Some(mut segment_start) = self.video.segment_start else {
            return;
        };
        loop {
            let from = self.video.next;
            let starts = (from - segment_start >= segment).then_some(SegmentStart {
                discontinuity: false,
            });
            if starts.is_some() {
                segment_start = from;
            }
            let end = (from + part).min(segment_start + segment);
            let end = if whole { end.min(until) } else { end };
            if end > until || from >= until {
                break;
            }
            if !(self.video.sealed && starts.is_none()) {
                self.cuts.push_back(Cut {
                    at: Timescale::VIDEO.at(from),
                    segment: starts,
                });
            }
            self.video.segment_start = Some(segment_start);
            self.video.segment_independent = false;
            self.video.sealed = true;
            self.video.next = end;
            self.video.await_sync = true;
            self.video.steady = 0;
            self.video.last_dts = None;
            self.video.last_sync = None;
            self.cuts.push_back(Cut {
                at: Timescale::VIDEO.at(end),
                segment: None,
            });
            out.push(Step {
                kind: Kind::Video,
                op: Op::Gap {
                    from,
                    until: end,
                    segment: starts,
                },
            });
        }
    }

    fn push_audio(&mut self, sample: Sample, out: &mut Vec<Step>) {
        if self.audio.next.is_some_and(|next| sample.dts < next) {
            return;
        }
        self.audio.held.push_back(sample);
        self.release_held(out);
    }

    /// Releases the sound whose cuts are known, and what has waited too long for them.
    fn release_held(&mut self, out: &mut Vec<Step>) {
        loop {
            let (Some(first), Some(last)) = (self.audio.held.front(), self.audio.held.back())
            else {
                return;
            };
            let decided = match self.video_end() {
                Some(video_end) => self.audio.scale.at(first.dts) < video_end,
                None => self.plan.video.is_none(),
            };
            let held_ms = self.audio.scale.at(last.dts - first.dts).ms();
            if !decided && held_ms < limits::AUDIO_HOLD_MS {
                return;
            }
            let Some(sample) = self.audio.held.pop_front() else {
                return;
            };
            if !decided {
                self.follow_sound(&sample, out);
            }
            self.release(sample, out);
        }
    }

    /// Sound goes on while pictures do not: once the pictures are a target duration late, they are missing.
    fn follow_sound(&mut self, sample: &Sample, out: &mut Vec<Step>) {
        let at = self
            .audio
            .scale
            .at(sample.dts)
            .ticks_at_floor(Timescale::VIDEO);
        let patience =
            i64::from(self.plan.constants.target_duration) * i64::from(Timescale::VIDEO.hz());
        let missing_since = self.video.next;
        if at - missing_since >= patience
            || (self.video.await_sync && self.video.segment_start.is_some())
        {
            self.gap_video(at, false, out);
        }
    }

    fn release(&mut self, sample: Sample, out: &mut Vec<Step>) {
        let at = self.audio.scale.at(sample.dts);
        let end = self.audio.scale.at(sample.dts + i64::from(sample.duration));
        if self.plan.video.is_none() {
            self.cut_grid(at, end);
        }
        if self
            .audio
            .next
            .is_some_and(|next| at > self.audio.scale.at(next + self.audio_part_target()))
        {
            self.gap_audio(at, out);
        }
        let (segment, part) = self.follow_cuts(at, out);
        if segment.is_none() && self.audio.next.is_none() {
            // Sound before the first segment of pictures has no segment to stand in.
            return;
        }
        let seals = self.cuts.front().is_some_and(|cut| cut.at <= end);
        let part = segment.is_some() || part || !self.audio.part_open;
        self.audio.next = Some(sample.dts + i64::from(sample.duration));
        self.audio.part_open = !seals;
        out.push(Step {
            kind: Kind::Audio,
            op: Op::Sample {
                sample,
                segment,
                part,
                seals,
            },
        });
    }

    /// Takes the cuts up to `at`: whether a segment or a part begins there. A segment that sound has nothing in gets a
    /// gap, so that segment numbers agree over all renditions.
    fn follow_cuts(&mut self, at: MediaTime, out: &mut Vec<Step>) -> (Option<SegmentStart>, bool) {
        let mut pending: Option<Cut> = None;
        let mut part = false;
        while let Some(&cut) = self.cuts.front().filter(|cut| cut.at <= at) {
            self.cuts.pop_front();
            part = true;
            if cut.segment.is_none() {
                continue;
            }
            if let Some(Cut { at: from, segment }) = pending.replace(cut) {
                let from = from
                    .ticks_at_ceil(self.audio.scale)
                    .max(self.audio.next.unwrap_or(i64::MIN));
                let until = cut.at.ticks_at_ceil(self.audio.scale).max(from + 1);
                self.audio.next = Some(until);
                self.audio.part_open = false;
                out.push(Step {
                    kind: Kind::Audio,
                    op: Op::Gap {
                        from,
                        until,
                        segment,
                    },
                });
            }
        }
        (pending.and_then(|cut| cut.segment), part)
    }

    /// Gaps in the sound along the cuts of the pictures, whole parts up to `until`.
    fn gap_audio(&mut self, until: MediaTime, out: &mut Vec<Step>) {
        while let Some(next) = self.audio.next {
            let (segment, _) = self.follow_cuts(self.audio.scale.at(next), out);
            let from = self.audio.next.unwrap_or(next);
            let Some(cut) = self.cuts.front().filter(|cut| cut.at <= until) else {
                if segment.is_some() {
                    // The segment begins here whatever fills it: keep the cut for what comes.
                    let at = self.audio.scale.at(from);
                    self.cuts.push_front(Cut { at, segment });
                }
                return;
            };
            let until = cut.at.ticks_at_ceil(self.audio.scale);
            self.audio.next = Some(until);
            self.audio.part_open = false;
            out.push(Step {
                kind: Kind::Audio,
                op: Op::Gap {
                    from,
                    until,
                    segment,
                },
            });
        }
    }

    /// Sound alone: plans the cuts that the frame from `at` to `end` meets.
    fn cut_grid(&mut self, at: MediaTime, end: MediaTime) {
        let part = self.plan.part.ticks_at(Timescale::VIDEO);
        let segment = self.plan.segment.ticks_at(Timescale::VIDEO);
        let at_ticks = at.ticks_at_ceil(Timescale::VIDEO);
        let start = self
            .audio
            .grid
            .map(|grid| grid.segment_start.ticks_at_ceil(Timescale::VIDEO));
        let begins = start.is_none_or(|start| at_ticks - start >= segment || self.discontinuity);
        if begins {
            let discontinuity = std::mem::take(&mut self.discontinuity);
            self.cuts.push_back(Cut {
                at,
                segment: Some(SegmentStart { discontinuity }),
            });
            self.audio.grid = Some(Grid {
                segment_start: at,
                part_cuts: 1,
            });
        }
        let Some(grid) = &mut self.audio.grid else {
            return;
        };
        let start = grid.segment_start.ticks_at_ceil(Timescale::VIDEO);
        let next = start + (grid.part_cuts * part).min(segment);
        if Timescale::VIDEO.at(next) <= end {
            grid.part_cuts += 1;
            self.cuts.push_back(Cut {
                at: Timescale::VIDEO.at(next),
                segment: None,
            });
        }
    }

    fn gap_sound_alone(&mut self, until: MediaTime, out: &mut Vec<Step>) {
        let part = self.plan.part.ticks_at(self.audio.scale);
        let until = until.ticks_at_floor(self.audio.scale);
        while let Some(from) = self.audio.next {
            let end = from + part;
            if end > until {
                return;
            }
            let at = self.audio.scale.at(from);
            self.cut_grid(at, self.audio.scale.at(end));
            let (segment, _) = self.follow_cuts(at, out);
            self.audio.next = Some(end);
            self.audio.part_open = false;
            out.push(Step {
                kind: Kind::Audio,
                op: Op::Gap {
                    from,
                    until: end,
                    segment,
                },
            });
        }
    }

    fn part_target(&self) -> i64 {
        i64::from(self.plan.constants.part_target_ms) * 90
    }

    fn audio_part_target(&self) -> i64 {
        MediaTime::from_ms(i64::from(self.plan.constants.part_target_ms)).ticks_at(self.audio.scale)
    }

    fn segment_max(&self) -> i64 {
        self.plan.segment_max.ticks_at(Timescale::VIDEO)
    }

    fn half_frame(&self) -> i64 {
        i64::from(self.plan.frame_ticks / 2)
    }

    /// How far a predicted end may be off: a millisecond of rounding.
    fn tolerance(&self) -> i64 {
        90 + self.half_frame()
    }
}
