//! Sound beside pictures that come back from encoders: it is published no further than they are.
//!
//! The segmenter decides cuts of sound at once, while the pictures of the same time are on their way through an encoder.
//! A player that is told of sound without its pictures fetches it, runs out of pictures and stalls. So what happens on the
//! sound waits here, in order, until every rendition of pictures has come as far, but no longer than
//! [`SOUND_AHEAD_MS`](crate::limits::SOUND_AHEAD_MS) of media: an encoder that fails must not silence a broadcast.

use std::collections::VecDeque;

use super::{packager::Anchor, segmenter::Op};
use crate::media::{MediaTime, Timescale};

/// What waits; whole parts leave.
#[derive(Debug, Default)]
pub(super) struct Lockstep {
    waiting: VecDeque<(Op, Anchor)>,
}

impl Lockstep {
    /// Keeps what happens on the sound.
    pub(super) fn push(&mut self, op: Op, anchor: Anchor) {
        self.waiting.push_back((op, anchor));
    }

    /// What leads to the end of the next part, on a clock of `scale`, if that lies before `until`.
    pub(super) fn next_part(
        &mut self,
        scale: Timescale,
        until: MediaTime,
    ) -> Option<impl Iterator<Item = (Op, Anchor)> + '_> {
        let seal = |(at, (op, _)): (usize, &(Op, Anchor))| match op {
            Op::Seal { until, .. } => Some((at, scale.at(*until))),
            _ => None,
        };
        let (at, end) = self.waiting.iter().enumerate().find_map(seal)?;
        (end < until).then(|| self.waiting.drain(..=at))
    }

    /// All of it.
    pub(super) fn rest(&mut self) -> impl Iterator<Item = (Op, Anchor)> + '_ {
        self.waiting.drain(..)
    }
}
