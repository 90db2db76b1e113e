//! One encoder's pictures, cut where the segmenter cut their source.
//!
//! Encoders answer late and know no cuts. So every cut of the source waits here as a mark until the encoder's pictures
//! have come past it, and is carried out then: same numbers, same instants, same discontinuities as every other
//! rendition, by construction. With nothing on its way a mark is carried out at once, so that gaps grow in real time.
//!
//! An encoder that fails leaves gaps. A segment it had begun is filled with its key frame, because a segment has media or
//! is a gap, never both ([`super::segmenter`]); pictures return with a segment.

use std::{collections::VecDeque, time::Duration};

use super::{
    cues::Cue,
    ladder::Failure,
    packager::{Anchor, Packager},
    segmenter::Op,
};
use crate::{
    limits,
    media::{Config, MediaTime, Rendition, Sample, Timescale},
};

/// Cuts and packages one rung. Times are 90 kHz media ticks.
#[derive(Debug)]
pub(super) struct Cutter {
    rendition: Rendition,
    /// Half the distance of two pictures: how far before a cut a picture may stand that belongs behind it.
    half_frame: i64,
    /// Each with when it was made (monotonic).
    marks: VecDeque<(Duration, Mark)>,
    /// Drains without an answer.
    drains: u32,
    /// The encoder was given pictures since it was last told to drain.
    fed: bool,
    /// When that was last (monotonic).
    fed_at: Duration,
    state: State,
    /// Why the encoder makes nothing, where it failed.
    failure: Option<Failure>,
    /// `None` until the encoder's configuration is known.
    packager: Option<Packager>,
    /// Configuration from the next discontinuity on.
    pending: Option<Config>,
    open: Open,
    /// The one picture of a slate that is over, which stands for all that did not come back.
    still: Option<Sample>,
    /// Events whose parts are marked to be sealed.
    cues: VecDeque<Cue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Pictures follow each other.
    Running,
    /// Pictures come again with a key frame that begins a segment.
    Waiting,
    /// None come.
    Lost,
}

#[derive(Clone, Copy, Debug)]
enum Mark {
    Begin {
        at: i64,
        discontinuity: bool,
        anchor: Anchor,
    },
    Seal {
        until: i64,
        /// The part is that of a slate, one picture long.
        slate: bool,
    },
    Drain,
}

/// What was begun and not finished.
#[derive(Debug, Default)]
struct Open {
    /// Where the open part began.
    part_start: i64,
    /// Whether no part of the newest segment is finished.
    first_part: bool,
    /// Whether the open part has a picture.
    filled: bool,
    /// The key frame that the newest segment began with; `None` for a gap.
    key: Option<Sample>,
    /// End of the newest picture.
    next: i64,
}

impl Cutter {
    /// Of an encoder that is being set up.
    pub(super) fn new(rendition: Rendition) -> Self {
        Self {
            rendition,
            half_frame: 0,
            marks: VecDeque::new(),
            drains: 0,
            fed: false,
            fed_at: Duration::ZERO,
            state: State::Waiting,
            failure: None,
            packager: None,
            pending: None,
            open: Open::default(),
            still: None,
            cues: VecDeque::new(),
        }
    }

    /// Of an encoder that a former process had; it makes gaps until [`Self::restart`].
    pub(super) fn resume(packager: Packager) -> Self {
        let fresh = Self::new(packager.rendition());
        Self {
            state: State::Lost,
            open: Open {
                part_start: packager.window().end_time(),
                ..Open::default()
            },
            packager: Some(packager),
            ..fresh
        }
    }

    /// Which rendition it is.
    pub(super) fn rendition(&self) -> Rendition {
        self.rendition
    }

    /// What it has packaged; `None` until the encoder's configuration is known.
    pub(super) fn packager(&self) -> Option<&Packager> {
        self.packager.as_ref()
    }

    /// The same, to be ended or asked.
    pub(super) fn packager_mut(&mut self) -> Option<&mut Packager> {
        self.packager.as_mut()
    }

    /// Why its encoder makes nothing, where it failed.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure
    }

    /// Whether its encoder makes pictures.
    pub(super) fn is_running(&self) -> bool {
        self.state == State::Running
    }

    /// Its packager, after a slate: what the encoder still owes of it looks like what it made.
    pub(super) fn give_back(mut self) -> Option<Packager> {
        self.still = self.open.key.clone();
        self.lose();
        self.packager
    }

    /// Whether its encoder makes nothing.
    pub(super) fn is_lost(&self) -> bool {
        self.state == State::Lost
    }

    /// The encoder was given a new source, whose pictures it hands back `frame_ticks` apart.
    pub(super) fn restart(&mut self, frame_ticks: i64) {
        self.half_frame = frame_ticks / 2;
        if self.state == State::Lost {
            self.state = State::Waiting;
        }
        self.failure = None;
    }

    /// The encoder was given a picture.
    pub(super) fn fed(&mut self, now: Duration) {
        self.fed = self.state != State::Lost;
        self.fed_at = now;
    }

    /// Nothing follows. Whether the encoder has anything to hand back, and so must be told.
    pub(super) fn drain(&mut self, now: Duration) -> bool {
        let drains = self.state != State::Lost && self.fed;
        if drains {
            self.fed = false;
            self.drains += 1;
            // What it could not know to be complete it is asked for only now.
            self.marks.iter_mut().for_each(|(since, _)| *since = now);
            self.marks.push_back((now, Mark::Drain));
        }
        drains
    }

    /// The source was cut, or a `slate`. Whether the list changed; so answer all that follow.
    pub(super) fn cut(&mut self, now: Duration, op: &Op, anchor: Anchor, slate: bool) -> bool {
        let mark = match *op {
            Op::Begin { at, discontinuity } => Mark::Begin {
                at,
                discontinuity,
                anchor,
            },
            Op::Seal { until, .. } => Mark::Seal { until, slate },
            Op::Sample(_) => return false,
            Op::Cue(ref cue) => {
                self.cues.push_back(cue.clone());
                return false;
            }
        };
        self.marks.push_back((now, mark));
        // What begins shows only when it is sealed whether it is a gap: a picture may bring another configuration first.
        matches!(mark, Mark::Seal { .. }) && self.idle() && self.pass(i64::MAX)
    }

    /// The encoder's pictures from here on are of `config`; the first makes a packager.
    pub(super) fn configure(
        &mut self,
        config: Config,
        packager: impl FnOnce(Rendition, Config) -> Packager,
    ) -> bool {
        match &self.packager {
            None => {
                self.packager = Some(packager(self.rendition, config));
                self.idle() && self.pass(i64::MAX)
            }
            Some(packager) => {
                self.pending = (*packager.config() != config).then_some(config);
                false
            }
        }
    }

    /// A picture came back.
    pub(super) fn picture(&mut self, sample: Sample) -> bool {
        if self.state == State::Lost || self.packager.is_none() {
            return false;
        }
        if self.open.filled {
            self.open.next = sample.dts.max(self.open.next - self.half_frame);
        }
        let mut changed = self.pass(sample.dts + self.half_frame);
        if self.pending.is_some() {
            // Other parameters need a discontinuity in every rendition.
            return changed | self.fail(Failure::Encoder);
        }
        let begins = sample.sync && self.open.first_part && !self.open.filled;
        if self.state == State::Lost || (self.state == State::Waiting && !begins) {
            return changed;
        }
        self.state = State::Running;
        if begins {
            self.open.key = Some(sample.clone());
        }
        self.open.filled = true;
        self.open.next = sample.dts + i64::from(sample.duration);
        self.package(Op::Sample(sample), None);
        // The next picture, on its beat, would stand behind the cut: the part is whole.
        if let Some(&(_, mark @ Mark::Seal { until, slate })) = self.marks.front()
            && (slate || until <= self.open.next + self.half_frame)
        {
            self.marks.pop_front();
            self.carry_out(mark);
            changed = true;
        }
        changed
    }

    /// All that was given to the encoder before the oldest drain came back.
    pub(super) fn drained(&mut self) -> bool {
        let Some(drains) = self.drains.checked_sub(1) else {
            return false;
        };
        self.drains = drains;
        let mut changed = false;
        while let Some((_, mark)) = self.marks.pop_front()
            && !matches!(mark, Mark::Drain)
        {
            changed |= self.carry_out(mark);
        }
        changed | (self.idle() && self.pass(i64::MAX))
    }

    /// The encoder failed, or is given up.
    pub(super) fn fail(&mut self, reason: Failure) -> bool {
        self.failure = Some(reason);
        self.lose()
    }

    /// Whatever the encoder still owes is not waited for.
    pub(super) fn lose(&mut self) -> bool {
        self.state = State::Lost;
        (self.drains, self.fed) = (0, false);
        self.pass(i64::MAX)
    }

    /// Whether the encoder is to be given up at `now`: it owes pictures for longer than players wait, although it was given
    /// more, and another was given up when it was `relieved`.
    pub(super) fn is_late(&self, now: Duration, relieved: Duration) -> bool {
        let owes = self.state != State::Lost && !self.idle();
        let oldest = self.marks.front().filter(|_| owes);
        let asked = if self.drains == 0 { self.fed_at } else { now };
        oldest.is_some_and(|(since, _)| {
            asked.saturating_sub(relieved.max(*since)) > limits::LADDER_LATE
        })
    }

    /// Nothing is on its way.
    fn idle(&self) -> bool {
        self.packager.is_some() && self.drains == 0 && !self.fed
    }

    /// Carries out the marks up to `until`.
    fn pass(&mut self, until: i64) -> bool {
        let mut changed = false;
        while let Some(&(_, mark)) = self.marks.front() {
            match mark {
                Mark::Begin { at, .. } | Mark::Seal { until: at, .. } if at > until => break,
                Mark::Drain if self.state != State::Lost => break,
                _ => {}
            }
            self.marks.pop_front();
            changed |= self.carry_out(mark);
        }
        changed
    }

    fn carry_out(&mut self, mark: Mark) -> bool {
        match mark {
            Mark::Begin {
                at,
                discontinuity,
                anchor,
            } => self.begin(at, discontinuity, anchor),
            Mark::Seal { until, slate } => {
                if slate {
                    self.open.next = until;
                }
                self.seal(until);
            }
            Mark::Drain => return false,
        }
        true
    }

    fn begin(&mut self, at: i64, discontinuity: bool, anchor: Anchor) {
        if discontinuity
            && let Some(packager) = &mut self.packager
            && let Some(config) = self.pending.take()
        {
            packager.reconfigure(config);
        }
        self.open = Open {
            part_start: at,
            first_part: true,
            key: self.still.clone(),
            ..Open::default()
        };
        self.package(Op::Begin { at, discontinuity }, Some(anchor));
    }

    fn seal(&mut self, until: i64) {
        if !self.open.filled
            && let Some(key) = self.open.key.clone()
        {
            // What follows cannot be decoded behind a key frame it was not made for.
            if self.state == State::Running {
                self.state = State::Waiting;
            }
            let start = self.open.part_start;
            self.open.next = until;
            self.package(
                Op::Sample(Sample {
                    dts: start,
                    duration: u32::try_from(until - start).unwrap_or(0),
                    ..key
                }),
                None,
            );
        }
        let next = match self.open.filled && self.still.is_none() {
            true => self.open.next,
            false => until,
        };
        self.package_cues(until);
        self.package(Op::Seal { until, next }, None);
        if let Some(packager) = self.packager.as_mut().filter(|_| self.failure.is_some()) {
            packager.give_up_cues();
        }
        self.open.part_start = until;
        (self.open.first_part, self.open.filled) = (false, false);
    }

    /// Every event came before the mark that seals its part, and its time tells which that is.
    fn package_cues(&mut self, until: i64) {
        let until = Timescale::VIDEO.at(until);
        let due = |cue: &&Cue| MediaTime::from_ms(cue.media_time_ms) < until;
        while self.cues.front().filter(due).is_some()
            && let Some(cue) = self.cues.pop_front()
        {
            self.package(Op::Cue(cue), None);
        }
    }

    /// Only the beginning of a segment has a date.
    fn package(&mut self, op: Op, anchor: Option<Anchor>) {
        let anchor = anchor.unwrap_or_default();
        if let Some(packager) = &mut self.packager {
            packager.push(op, anchor);
        }
    }
}
