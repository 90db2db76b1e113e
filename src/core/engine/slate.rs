//! What players see while nothing arrives and encoders are at work: the last picture, again and again, and silence.
//!
//! A slate goes through the segmenter like a publisher's media, in real time, at the distances that pictures had: what is
//! cut, sealed and numbered how is decided there, alike for every rendition. Its pictures have no bytes; the encoders know
//! what they show. It ends with a session that joins, or with a key frame of the session that had fallen silent.
//!
//! Not here: when there is one, and what becomes of the renditions ([`super::epoch`]).

use std::time::Duration;

use bytes::Bytes;

use super::{
    plan::Plan,
    segmenter::{Segmenter, Step},
    timeline::Timeline,
};
use crate::{
    limits,
    media::{Kind, MediaTime, Sample, Timescale},
    wire::flv::Frame,
};

/// A slate in the making. Ticks are of the 90 kHz clock.
#[derive(Debug)]
pub(super) struct Slate {
    /// Where the next picture stands.
    next: i64,
    /// Distance of two pictures.
    frame_ticks: u32,
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
            next: 0,
            frame_ticks: plan.frame_ticks,
            sound: audio.map(|_| Timeline::new(end, None, audio, plan.frame_ticks)),
            back: Duration::ZERO,
        };
        slate.fall_silent(segmenter.flush_end(), segmenter, out);
        let base = segmenter.restart(plan.clone(), out);
        slate.next = base.ticks_at_ceil(Timescale::VIDEO);
        slate
    }

    /// Something else follows.
    pub(super) fn end(mut self, segmenter: &mut Segmenter, out: &mut Vec<Step>) {
        self.fall_silent(segmenter.flush_end(), segmenter, out);
    }

    /// Where the next picture stands: when time has come there, [`Self::grow`] adds it.
    pub(super) fn next(&self) -> MediaTime {
        Timescale::VIDEO.at(self.next)
    }

    /// Adds the pictures up to `until`, no more than [`limits::SLATE_BURST_MS`] of them, and silence, or gaps where the
    /// codec has none.
    pub(super) fn grow(
        &mut self,
        until: MediaTime,
        segmenter: &mut Segmenter,
        out: &mut Vec<Step>,
    ) {
        let burst = self.next + limits::SLATE_BURST_MS * 90;
        let until = until.ticks_at_floor(Timescale::VIDEO).min(burst);
        while self.next <= until {
            let picture = Sample {
                dts: self.next,
                composition_offset: 0,
                duration: self.frame_ticks,
                sync: true,
                data: Bytes::new(),
            };
            segmenter.push(Kind::Video, picture, out);
            self.next += i64::from(self.frame_ticks);
        }
        self.fall_silent(self.next(), segmenter, out);
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

    /// Whether the session that `timeline` follows goes on with `frame`, which arrived at `now` (monotonic), after a
    /// pause of `silent`: with a key frame of about now. What a network held back is old, and is passed over for as long
    /// as it may yet catch up.
    pub(super) fn ends_with(
        &mut self,
        now: Duration,
        silent: bool,
        timeline: &mut Timeline,
        frame: &Frame,
    ) -> bool {
        if silent {
            self.back = now;
        }
        if frame.kind == Kind::Audio {
            return false;
        }
        let mut placed = Vec::new();
        timeline.place(now, frame.clone(), &mut placed);
        let old = |dts| self.next - dts > limits::SLATE_LATE_MS * 90;
        let old = placed.first().is_none_or(|(_, sample)| old(sample.dts));
        let waited = now.saturating_sub(self.back) >= limits::SLATE_RETURN;
        frame.sync && (!old || waited)
    }
}
