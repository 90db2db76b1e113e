//! What players see while nothing arrives and encoders are at work: the last picture, again and again, and silence.
//!
//! A slate goes through the segmenter like a publisher's media, in real time, a picture in each part: what is cut, sealed
//! and numbered how is decided there, alike for every rendition. Its pictures have no bytes; the encoders know what they
//! show. It ends with a session that joins, or with a key frame of the session that had fallen silent.
//!
//! Not here: when there is one, and what becomes of the renditions ([`super::epoch`]).

use std::time::Duration;

use super::{
    plan::Plan,
    segmenter::{Segmenter, Step},
    timeline::Timeline,
};
use crate::{
    limits,
    media::{Kind, MediaTime, Timescale},
    wire::flv::Frame,
};

/// A slate in the making.
#[derive(Debug)]
pub(super) struct Slate {
    /// Of the silence; `None` without sound.
    sound: Option<Timeline>,
    /// Since when the session sends again (monotonic).
    back: Duration,
}

impl Slate {
    /// Ends what `segmenter` has, and begins a slate by its `plan`.
    pub(super) fn begin(plan: &Plan, segmenter: &mut Segmenter, out: &mut Vec<Step>) -> Self {
        let (end, audio) = (segmenter.sound_end(), plan.audio.as_ref());
        let mut slate = Self {
            sound: audio.map(|_| Timeline::new(end, None, audio, plan.frame_ticks)),
            back: Duration::ZERO,
        };
        slate.fall_silent(segmenter.flush_end(), segmenter, out);
        segmenter.hold_picture();
        segmenter.restart(plan.clone(), out);
        slate
    }

    /// Something else follows.
    pub(super) fn end(mut self, segmenter: &mut Segmenter, out: &mut Vec<Step>) {
        self.fall_silent(segmenter.flush_end(), segmenter, out);
    }

    /// Adds the parts that end up to `until`, no more than [`limits::SLATE_BURST_MS`] of them: pictures, and silence, or
    /// gaps where the codec has none.
    pub(super) fn grow(
        &mut self,
        until: MediaTime,
        segmenter: &mut Segmenter,
        out: &mut Vec<Step>,
    ) {
        let burst = segmenter.part_start() + limits::SLATE_BURST_MS * 90;
        let until = until.ticks_at_floor(Timescale::VIDEO).min(burst);
        while segmenter.slate_end() <= until {
            segmenter.push_slate(out);
        }
        let end = Timescale::VIDEO.at(segmenter.part_start());
        self.fall_silent(end, segmenter, out);
    }

    fn fall_silent(&mut self, until: MediaTime, segmenter: &mut Segmenter, out: &mut Vec<Step>) {
        let Some(timeline) = &mut self.sound else {
            return;
        };
        let mut silence = Vec::new();
        let silenced = timeline.fill_silence(until, &mut silence);
        for (kind, sample) in silence {
            segmenter.push(kind, sample, out);
        }
        if !silenced {
            segmenter.starve_sound(until, out);
        }
    }

    /// Whether the session that `timeline` follows goes on with `frame`, which arrived at `now` (monotonic), the first after
    /// a pause or not: with a key frame of about now, where pictures `end` (90 kHz ticks). What a network held back is old,
    /// and is passed over for as long as it may yet catch up.
    pub(super) fn ends_with(
        &mut self,
        now: Duration,
        first: bool,
        timeline: &mut Timeline,
        frame: &Frame,
        end: i64,
    ) -> bool {
        if first {
            self.back = now;
        }
        if frame.kind == Kind::Audio {
            return false;
        }
        let mut placed = Vec::new();
        timeline.place(now, frame.clone(), &mut placed);
        let old = |dts| end - dts > limits::SLATE_LATE_MS * 90;
        let old = placed.first().is_none_or(|(_, sample)| old(sample.dts));
        let waited = now.saturating_sub(self.back) >= limits::SLATE_RETURN;
        frame.sync && (!old || waited)
    }
}
