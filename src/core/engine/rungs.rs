//! All rungs of an epoch: what their encoders are given, and the cutters of what they hand back.
//!
//! A rung that fails is tried again with a key frame of the source, after a pause that doubles from one failure to the
//! next: a machine that is too small for it is not asked every few seconds.

use std::{collections::VecDeque, time::Duration};

use super::{
    ladder::{Encoded, Failure, Feed, Rung},
    output::{Notice, Output, Source},
    packager::{Anchor, Packager},
    plan::Obstacle,
    rung::Cutter,
    segmenter::Op,
};
use crate::{
    limits,
    media::{Config, MediaTime, Rendition, Sample},
    wire::m3u8::media::Constants,
};

/// The rungs; none of an epoch whose pictures are only passed through.
#[derive(Debug)]
pub(super) struct Rungs {
    cutters: Vec<Cutter>,
    constants: Constants,
    /// Wanted length of the lists.
    length: MediaTime,
    /// What the encoders work on.
    source: Option<(Config, Vec<Rung>)>,
    /// No source follows: they show the last picture.
    slate: bool,
    /// What the encoders are given next.
    feeds: Vec<Feed>,
    notices: Vec<Notice>,
    /// What time it is (monotonic).
    now: Duration,
    /// When a rung was given up last.
    relieved: Duration,
    /// When the rungs that failed are tried again, and how long that takes the next time.
    retry: (Option<Duration>, Duration),
    /// Whether the open part has pictures.
    filled: bool,
    /// Where the newest segment began, until it has pictures.
    begun: Option<i64>,
}

impl Rungs {
    /// Of an epoch that begins `now` with these promises; `length` is the wanted list.
    pub(super) fn new(
        renditions: impl Iterator<Item = Rendition>,
        constants: Constants,
        length: MediaTime,
        now: Duration,
    ) -> Self {
        Self {
            cutters: renditions.map(Cutter::new).collect(),
            constants,
            length,
            source: None,
            slate: false,
            feeds: Vec::new(),
            notices: Vec::new(),
            now,
            relieved: Duration::ZERO,
            retry: (None, limits::LADDER_PAUSE_MIN),
            filled: false,
            begun: None,
        }
    }

    /// Of an epoch that goes on with what encoders of another process had made.
    pub(super) fn resume(packagers: Vec<Packager>, constants: Constants, now: Duration) -> Self {
        Self {
            cutters: packagers.into_iter().map(Cutter::resume).collect(),
            ..Self::new(std::iter::empty(), constants, MediaTime::ZERO, now)
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.cutters.is_empty()
    }

    /// Whether players can be shown all of them.
    pub(super) fn is_ready(&self) -> bool {
        self.cutters
            .iter()
            .all(|cutter| cutter.packager().is_some())
    }

    /// Whether this rendition is one of them.
    pub(super) fn has(&self, rendition: Rendition) -> bool {
        self.cutters
            .iter()
            .any(|cutter| cutter.rendition() == rendition)
    }

    /// Where they come from; `high` because of `obstacle`.
    pub(super) fn sources(
        &self,
        obstacle: Option<Obstacle>,
    ) -> impl Iterator<Item = (Rendition, Source)> {
        self.cutters.iter().map(move |cutter| {
            let rendition = cutter.rendition();
            let because = obstacle.filter(|_| rendition == Rendition::High);
            let lost = cutter.failure();
            (rendition, Source::Encoded { because, lost })
        })
    }

    /// Up to where all of them are packaged, in 90 kHz ticks; `None` while there is none to be shown.
    pub(super) fn end(&self) -> Option<i64> {
        self.packagers().map(|it| it.window().end_time()).min()
    }

    /// What they have packaged.
    pub(super) fn packagers(&self) -> impl Iterator<Item = &Packager> + Clone {
        self.cutters.iter().filter_map(Cutter::packager)
    }

    /// The same, to be asked.
    pub(super) fn packagers_mut(&mut self) -> impl Iterator<Item = &mut Packager> {
        { self.cutters.iter_mut() }.filter_map(Cutter::packager_mut)
    }

    /// Which they are, shown or not.
    pub(super) fn renditions(&self) -> impl Iterator<Item = Rendition> {
        self.cutters.iter().map(Cutter::rendition)
    }

    /// A rendition that was passed through is one of them from now on, because of `obstacle`.
    pub(super) fn adopt(&mut self, packager: Packager, obstacle: Option<Obstacle>) {
        self.notices.extend(obstacle.map(Notice::Encoded));
        self.cutters.insert(0, Cutter::resume(packager));
    }

    /// A rendition that was one of them is none from now on: its packager.
    pub(super) fn give_back(&mut self, rendition: Rendition) -> Option<Packager> {
        let is = |cutter: &Cutter| cutter.rendition() == rendition;
        let at = self.cutters.iter().position(is)?;
        self.cutters.remove(at).give_back()
    }

    /// Whether encoders have made pictures, the last of which can go on as a slate.
    pub(super) fn are_running(&self) -> bool {
        self.cutters.iter().any(Cutter::is_running)
    }

    /// Pictures from here on are the last one again, whatever they bring, and are made into `rungs`.
    pub(super) fn set_slate(&mut self, rungs: Vec<Rung>) {
        self.slate = true;
        self.restart(&rungs);
        self.feeds.push(Feed::Slate { rungs });
    }

    /// Pictures from here on are of `config`, and are made into `rungs`.
    pub(super) fn set_source(&mut self, config: Config, rungs: Vec<Rung>) {
        self.slate = false;
        if !rungs.is_empty() {
            let told = { &self.source }
                .as_ref()
                .and_then(|(config, _)| config.hdr());
            let hdr = config.hdr().filter(|_| told != config.hdr());
            self.notices.extend(hdr.map(Notice::Colours));
            self.source = Some((config, rungs));
            self.feed_source();
        }
    }

    /// What happens to the pictures. Whether a list changed; so answer all that follow.
    pub(super) fn take(&mut self, op: &Op, anchor: Anchor) -> bool {
        match op {
            Op::Begin { at, .. } => {
                self.begun = Some(*at);
                self.feeds.push(Feed::Key { at: *at });
            }
            Op::Sample(sample) => self.feed(sample),
            Op::Cue(_) => {}
            Op::Seal { .. } if !std::mem::take(&mut self.filled) => self.drain(),
            Op::Seal { until, .. } => self.feeds.push(Feed::Seal { until: *until }),
        }
        let now = self.now;
        let slate = self.slate;
        let cut = |changed, cutter: &mut Cutter| changed | cutter.cut(now, op, anchor, slate);
        self.cutters.iter_mut().fold(false, cut)
    }

    /// What an encoder handed back.
    pub(super) fn encoded(&mut self, encoded: Encoded) -> bool {
        let (constants, length) = (self.constants, self.length);
        let packager = |rendition, config| Packager::new(rendition, config, constants, length);
        let rendition = encoded.rendition();
        let cutter = self
            .cutters
            .iter_mut()
            .find(|it| it.rendition() == rendition);
        let Some(cutter) = cutter else { return false };
        match encoded {
            Encoded::Config { config, .. } => cutter.configure(config, packager),
            Encoded::Picture { sample, .. } => cutter.picture(sample),
            Encoded::Drained { .. } => cutter.drained(),
            Encoded::Lost { reason, .. } => self.lose(rendition, reason),
        }
    }

    /// It is `now` (monotonic): of encoders that owe too much, that of the least rendition is given up, and the others have
    /// as long again to use what it leaves.
    pub(super) fn tick(&mut self, now: Duration) -> bool {
        self.now = now;
        let late = { self.cutters.iter() }.filter(|cutter| cutter.is_late(now, self.relieved));
        let Some(least) = late.map(Cutter::rendition).max() else {
            return false;
        };
        self.relieved = now;
        self.feeds.push(Feed::Stop { rendition: least });
        self.lose(least, Failure::Late)
    }

    /// Nothing follows: encoders hand back what they have.
    pub(super) fn drain(&mut self) {
        let now = self.now;
        let owes = |any, cutter: &mut Cutter| any | cutter.drain(now);
        if self.cutters.iter_mut().fold(false, owes) {
            self.feeds.push(Feed::Drain);
        }
    }

    /// Everything is in the lists that ever will be.
    pub(super) fn rest(&mut self) -> bool {
        { self.cutters.iter_mut() }.fold(false, |changed, it| changed | it.lose())
    }

    /// `EXT-X-ENDLIST`, at [rest](Self::rest).
    pub(super) fn end_lists(&mut self) {
        for packager in self.cutters.iter_mut().filter_map(Cutter::packager_mut) {
            packager.end();
        }
    }

    /// Appends what the encoders are given, and words for people.
    pub(super) fn publish(&mut self, outputs: &mut VecDeque<Output>) {
        outputs.extend(self.notices.drain(..).map(Output::Notice));
        if !self.feeds.is_empty() {
            outputs.push_back(Output::Feed(std::mem::take(&mut self.feeds)));
        }
    }

    fn feed(&mut self, sample: &Sample) {
        let begun = self.begun.take();
        // What fails in a slate is tried again with the source.
        let due = self.retry.0.is_some_and(|at| at <= self.now) && !self.slate;
        if due && sample.sync {
            self.retry.0 = None;
            self.feed_source();
            // The key of a segment that begins here is for the new source.
            self.feeds.extend(begun.map(|at| Feed::Key { at }));
        }
        self.filled = true;
        self.feeds.push(match self.slate {
            true => Feed::Repeat { at: sample.dts },
            false => Feed::Picture(sample.clone()),
        });
        let now = self.now;
        { self.cutters.iter_mut() }.for_each(|cutter| cutter.fed(now));
    }

    fn feed_source(&mut self) {
        let Some((config, rungs)) = self.source.clone() else {
            return;
        };
        self.restart(&rungs);
        self.feeds.push(Feed::Source { config, rungs });
    }

    fn restart(&mut self, rungs: &[Rung]) {
        for cutter in &mut self.cutters {
            let rung = rungs.iter().find(|it| it.rendition == cutter.rendition());
            if let Some(rung) = rung {
                cutter.restart(rung.frame_ticks());
            }
        }
    }

    /// A rendition goes on with gaps; one that players never saw is none.
    fn lose(&mut self, rendition: Rendition, reason: Failure) -> bool {
        let cutter = self
            .cutters
            .iter_mut()
            .find(|it| it.rendition() == rendition);
        let Some(cutter) = cutter.filter(|cutter| !cutter.is_lost()) else {
            return false;
        };
        cutter.fail(reason);
        self.notices.push(Notice::RungLost { rendition, reason });
        self.cutters
            .retain(|cutter| !cutter.is_lost() || cutter.packager().is_some());
        let (at, pause) = &mut self.retry;
        if at.is_none() {
            *at = Some(self.now + *pause);
            *pause = (*pause * 2).min(limits::LADDER_PAUSE_MAX);
        }
        true
    }
}
