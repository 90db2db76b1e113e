//! What becomes of an epoch while nothing arrives: after a target duration, or at once where a publisher is lost and
//! encoders can go on, it grows in real time, with a [slate](Slate) or with gaps, until media is back.

use std::time::Duration;

use super::{
    super::{output::Stopgap, slate::Slate, timeline::Timeline},
    Epoch, millis,
};
use crate::{
    media::{Kind, MediaTime, Now, Timescale},
    wire::flv::Frame,
};

impl Epoch {
    /// When [`Self::starve`] must be called next.
    pub(in crate::engine) fn starvation_deadline(&self) -> Option<Duration> {
        match self.starving_since {
            None => Some(self.starves_at()),
            Some((since, from)) => {
                let next = match &self.slate {
                    Some(_) => Timescale::VIDEO.at(self.segmenter.slate_end()),
                    None => self.segmenter.gap_end()?,
                };
                let ahead_ms = next.ticks_at_ceil(Timescale::MILLIS) - from.ms();
                let ahead_ms = u64::try_from(ahead_ms).unwrap_or(0);
                Some(since + Duration::from_millis(ahead_ms))
            }
        }
    }

    /// Grows every rendition as far as time has gone, once nothing arrived for a target duration or a slate need not wait
    /// so long: with one where it is wanted and can be, else with gaps. Answers how long that is, and with what, when
    /// starvation begins.
    pub(in crate::engine) fn starve(&mut self, now: Now) -> Option<(Duration, Stopgap)> {
        let silent = now.mono.saturating_sub(self.last_arrival);
        let began = self.starving_since.is_none();
        if began && now.mono < self.starves_at() {
            return None;
        }
        let end = self.end();
        let (since, from) = *self.starving_since.get_or_insert((self.last_arrival, end));
        if began && !self.begin_slate() {
            self.flush();
        }
        let grown_ms = millis(now.mono.saturating_sub(since));
        let until = MediaTime::from_ms(from.ms() + grown_ms);
        let (segmenter, steps) = (&mut self.segmenter, &mut self.steps);
        match &mut self.slate {
            Some(slate) => slate.grow(until, segmenter, steps),
            None => segmenter.starve(until, steps),
        }
        self.carry_out();
        Some(silent).filter(|_| began).zip(self.stopgap())
    }

    /// What it grows with because nothing arrives.
    pub(in crate::engine) fn stopgap(&self) -> Option<Stopgap> {
        self.starving_since?;
        Some(match self.slate {
            Some(_) => Stopgap::Slate,
            None => Stopgap::Gaps,
        })
    }

    /// The publisher is lost, and may be back: what can go on without it does so at once.
    pub(in crate::engine) fn lose_publisher(&mut self) {
        self.gone = self.rungs.are_running() && self.plan.slate().is_some();
    }

    /// When it counts as starving, unless something arrives.
    fn starves_at(&self) -> Duration {
        match self.gone {
            true => self.last_arrival,
            false => self.last_arrival + self.patience(),
        }
    }

    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(u64::from(self.plan.constants.target_duration))
    }

    /// What encoders showed last goes on, discontinuous, in every rendition. Whether they showed anything.
    fn begin_slate(&mut self) -> bool {
        let Some(mut plan) = self.plan.slate().filter(|_| self.rungs.are_running()) else {
            return false;
        };
        plan.audio = self.current(Kind::Audio).cloned();
        let slate = Slate::begin(&plan, &mut self.segmenter, &mut self.steps);
        self.slate = Some(slate);
        self.carry_out();
        self.rungs.drain();
        self.encode_high(None);
        plan.rungs.retain(|rung| self.rungs.has(rung.rendition));
        self.rungs.set_slate(plan.rungs);
        true
    }

    /// Whether the session that fell silent goes on with `frame`: then it joins, and `timeline` follows it from there.
    pub(super) fn end_slate(&mut self, now: Now, timeline: &mut Timeline, frame: &Frame) -> bool {
        let first = now.mono.saturating_sub(self.last_arrival) >= self.patience();
        let end = self.segmenter.part_start();
        let Some(slate) = &mut self.slate else {
            return true;
        };
        if !slate.ends_with(now.mono, first, timeline, frame, end) {
            return false;
        }
        let mut plan = self.plan.clone();
        plan.audio = self.current(Kind::Audio).cloned();
        for config in std::mem::take(&mut self.pending) {
            match config.kind() {
                Kind::Video => plan.replace_video(config),
                Kind::Audio => plan.audio = Some(config),
            }
        }
        *timeline = self.join(plan, now);
        true
    }
}
