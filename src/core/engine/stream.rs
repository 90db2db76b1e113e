//! One named live channel: one publisher after another in, the snapshots of every rendition out.
//!
//! A session is probed, then settled: it joins the running epoch (one discontinuity, at one media sequence number, in
//! every rendition) or, where its tracks cannot, ends that and begins another. After a session, the epoch stays for a
//! grace; while nothing arrives it grows in real time, with the last picture or with gaps, so that no player's blocked
//! reload starves.
//!
//! Invariants: items of any session but the latest are ignored; media sequence numbers, media time and program date-time
//! never go back in an epoch; a snapshot never has less than one before it.

mod cues;
mod events;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    cues::{Allowance, Confirmation},
    epoch::Epoch,
    ladder::{Encoded, Ladder},
    plan::Plan,
    probe::{Findings, Probe, Targets},
    publish::Metadata,
    saved::{self, Saved},
    timeline::Timeline,
};
use crate::{
    limits,
    media::{Config, Kind, MediaTime, Now, Rendition},
    wire::{
        event::Event,
        flv::{Frame, Item},
    },
};

use cues::Cues;

pub use super::output::{Notice, Output, Source, Stopgap};

/// The wanted shape of the output; fixed at start-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Wanted part length.
    pub part: Duration,
    /// Wanted segment length.
    pub segment: Duration,
    /// Longest GOP that can be passed through.
    pub max_gop: Duration,
    /// Wanted length of the sliding list.
    pub window: Duration,
    /// `PART-HOLD-BACK`, when wanted longer than three part targets.
    pub part_hold_back: Option<Duration>,
    /// How long a stream survives the loss of its publisher.
    pub grace: Duration,
    /// How long it survives a deliberate stop.
    pub grace_after_stop: Duration,
}

impl Settings {
    fn targets(&self) -> Targets {
        Targets {
            part: self.part,
            segment: self.segment,
            max_gop: self.max_gop,
            part_hold_back: self.part_hold_back,
        }
    }
}

/// How a publish ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The publisher said so: grace is short.
    Stopped,
    /// The connection ended without a word: grace is long.
    Lost,
}

/// What happens to a stream. Sessions are numbered by the caller, rising; items of any but the latest are ignored.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A publish was accepted; it fences all former ones.
    Open {
        /// Number of the session.
        session: u64,
        /// The epoch to begin if none goes on.
        epoch: u64,
        /// Whether it was named from outside, to several origins alike: then it is the only one to go on with, and its
        /// program date-time is counted from its number, the Unix second it began in.
        named: bool,
        /// The renditions to make of it; `None` for the source alone.
        ladder: Option<Ladder>,
        /// What events it may carry.
        events: Allowance,
    },
    /// An event that the session's publisher sent between its media (`onTextData`, `onCuePoint`).
    Event {
        /// Number of the session.
        session: u64,
        /// RTMP timestamp of the message in milliseconds: where on the publisher's clock it belongs.
        timestamp: u32,
        /// The event.
        event: Event,
    },
    /// What events the session's publish may carry from now on.
    Allow {
        /// Number of the session.
        session: u64,
        /// What it may.
        events: Allowance,
    },
    /// `onMetaData` of the session.
    Metadata {
        /// Number of the session.
        session: u64,
        /// What it announced.
        metadata: Metadata,
    },
    /// A configuration or frame of the session.
    Media {
        /// Number of the session.
        session: u64,
        /// What came.
        item: Item,
    },
    /// The publish ended.
    Close {
        /// Number of the session.
        session: u64,
        /// How.
        end: End,
    },
    /// An encoder handed something back.
    Encoded(Encoded),
    /// The stream ends now, without grace: every playlist gets its ENDLIST, every session is fenced.
    End,
}

/// The state machine.
#[derive(Debug)]
pub struct Stream {
    settings: Settings,
    session: Option<Session>,
    epoch: Option<Epoch>,
    last_epoch: u64,
    grace_ends: Option<Duration>,
    cues: Cues,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
struct Session {
    number: u64,
    epoch: u64,
    named: bool,
    ladder: Option<Ladder>,
    metadata: Metadata,
    video: Option<Config>,
    audio: Option<Config>,
    phase: Phase,
    /// Events between media that is being probed.
    held: events::Held,
}

#[derive(Debug)]
enum Phase {
    Probing(Probe),
    Live(Timeline),
}

impl Stream {
    /// A stream without a publisher.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            session: None,
            epoch: None,
            last_epoch: 0,
            grace_ends: None,
            cues: Cues::default(),
            outputs: VecDeque::new(),
        }
    }

    /// The stream that [`Self::save`] left, in grace for what is left of it: the first outputs are the versions that were
    /// published last, and the next [`Self::expire`] writes gaps for the time between.
    ///
    /// # Errors
    /// [`saved::Error::Expired`] when the grace ran out meanwhile, or what in it cannot be.
    pub fn restore(settings: Settings, saved: Saved, now: Now) -> Result<Self, saved::Error> {
        let mut saved = saved;
        let cues = Cues::restore(std::mem::take(&mut saved.head.cues), now)?;
        let (epoch, grace) = Epoch::restore(saved, now)?;
        let mut stream = Self {
            cues,
            last_epoch: epoch.number(),
            epoch: Some(epoch),
            grace_ends: Some(now.mono + grace),
            ..Self::new(settings)
        };
        stream.publish();
        Ok(stream)
    }

    /// Lets go of a publisher, as if it was lost, and answers what another process can [`Self::restore`]: `None` when
    /// there is nothing to go on with. Outputs are drained as after an input, then nothing more is pushed.
    pub fn save(&mut self, now: Now) -> Option<Saved> {
        if self.session.is_some() {
            self.close(now, End::Lost);
        }
        if let Some(epoch) = &mut self.epoch {
            epoch.rest();
        }
        self.publish();
        let grace = self.grace_ends?.checked_sub(now.mono)?;
        let mut saved = self.epoch.as_ref()?.save(now, grace)?;
        saved.head.cues = self.cues.save();
        Some(saved)
    }

    /// Takes one input.
    pub fn push(&mut self, now: Now, input: Input) {
        self.tick(now);
        match input {
            Input::Open {
                session,
                epoch,
                named,
                ladder,
                events,
            } => {
                self.allow(now, events);
                self.open(session, epoch, named, ladder);
            }
            Input::Event {
                session,
                timestamp,
                event,
            } => {
                if self.is_current(session) {
                    self.event(now, timestamp, event);
                }
            }
            Input::Allow { session, events } => {
                if self.is_current(session) {
                    self.allow(now, events);
                }
            }
            Input::Metadata { session, metadata } => {
                if let Some(current) = self
                    .session
                    .as_mut()
                    .filter(|current| current.number == session)
                {
                    current.metadata = metadata.clone();
                    if let Phase::Probing(probe) = &mut current.phase {
                        probe.metadata(metadata);
                    }
                }
            }
            Input::Media { session, item } => {
                if self.is_current(session) {
                    self.media(now, item);
                }
            }
            Input::Close { session, end } => {
                if self.is_current(session) {
                    self.close(now, end);
                }
            }
            Input::Encoded(encoded) => self.encoded(encoded),
            Input::End => {
                self.close(now, End::Stopped);
                self.leave();
            }
        }
        self.publish();
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::expire`] must be called next (monotonic).
    pub fn deadline(&self) -> Option<Duration> {
        let probe = self
            .session
            .as_ref()
            .and_then(|session| match &session.phase {
                Phase::Probing(probe) => probe.deadline(),
                Phase::Live(_) => None,
            });
        let starvation = self.epoch.as_ref().and_then(Epoch::starvation_deadline);
        [probe, starvation, self.grace_ends]
            .into_iter()
            .flatten()
            .min()
    }

    /// A deadline has come.
    pub fn expire(&mut self, now: Now) {
        self.tick(now);
        let ready = self
            .session
            .as_ref()
            .is_some_and(|session| match &session.phase {
                Phase::Probing(probe) => probe.ready(now.mono),
                Phase::Live(_) => false,
            });
        if ready {
            self.settle(now, false);
        }
        if self.grace_ends.is_some_and(|ends| ends <= now.mono) {
            self.leave();
        }
        if let Some(epoch) = &mut self.epoch
            && let Some((silent, stopgap)) = epoch.starve(now)
        {
            let silent_ms = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
            let notice = Notice::Starving { silent_ms, stopgap };
            self.outputs.push_back(Output::Notice(notice));
        }
        self.publish();
    }

    /// The newest media time of the running epoch, with its number.
    pub fn edge(&self) -> Option<(u64, MediaTime)> {
        self.epoch
            .as_ref()
            .map(|epoch| (epoch.number(), epoch.end()))
    }

    /// Where the renditions of the running epoch come from, with its number; of those that are shown, or soon will be.
    pub fn sources(&self) -> Option<(u64, BTreeMap<Rendition, Source>)> {
        let epoch = self.epoch.as_ref()?;
        Some((epoch.number(), epoch.sources().collect()))
    }

    /// What playlists grow with because nothing arrives; `None` while something does.
    pub fn stopgap(&self) -> Option<Stopgap> {
        self.epoch.as_ref()?.stopgap()
    }

    /// Whether what the publisher sends goes into the playlists: its tracks are known, and nothing stands in for it.
    pub fn flows(&self) -> bool {
        let phase = self.session.as_ref().map(|session| &session.phase);
        matches!(phase, Some(Phase::Live(_))) && self.stopgap().is_none()
    }

    /// Asserts what must always hold; for tests and fuzzing.
    pub fn check_invariants(&self) {
        if let Some(epoch) = &self.epoch {
            epoch.check_invariants();
        }
    }

    fn tick(&mut self, now: Now) {
        if let Some(epoch) = &mut self.epoch {
            epoch.tick(now.mono);
        }
        if self.grows()
            && let Some(epoch) = &mut self.epoch
        {
            self.cues.tell(now, epoch);
        }
    }

    fn is_current(&self, session: u64) -> bool {
        self.session
            .as_ref()
            .is_some_and(|current| current.number == session)
    }

    fn open(&mut self, number: u64, epoch: u64, named: bool, ladder: Option<Ladder>) {
        if let Some(epoch) = &mut self.epoch {
            epoch.flush();
        }
        self.grace_ends = None;
        let probe = Probe::new(&self.settings.targets(), self.epoch.is_none());
        self.session = Some(Session {
            number,
            epoch,
            named,
            ladder,
            metadata: Metadata::default(),
            video: None,
            audio: None,
            phase: Phase::Probing(probe),
            held: events::Held::default(),
        });
    }

    fn close(&mut self, now: Now, end: End) {
        if matches!(
            self.session.as_ref().map(|session| &session.phase),
            Some(Phase::Probing(_))
        ) {
            self.settle(now, true);
        }
        self.session = None;
        if let Some(epoch) = &mut self.epoch {
            epoch.flush();
            if end == End::Lost {
                epoch.lose_publisher();
            }
        }
        let grace = match end {
            End::Stopped => self.settings.grace_after_stop,
            End::Lost => self.settings.grace,
        };
        self.grace_ends = Some(now.mono + grace);
    }

    fn media(&mut self, now: Now, item: Item) {
        let Some(session) = &mut self.session else {
            return;
        };
        if let Item::Config(config) = &item {
            let known = match config.kind() {
                Kind::Video => &mut session.video,
                Kind::Audio => &mut session.audio,
            };
            *known = Some(config.clone());
        }
        match (&mut session.phase, &mut self.epoch) {
            (Phase::Probing(probe), _) => {
                probe.push(now, item);
                if probe.ready(now.mono) {
                    self.settle(now, false);
                }
            }
            (Phase::Live(timeline), Some(epoch)) => {
                let fits = match &item {
                    Item::Config(config) => epoch.fits(config),
                    Item::Frame(frame) => epoch.has(frame.kind),
                };
                match item {
                    Item::Frame(frame) if fits => epoch.frame(now, timeline, frame),
                    Item::Config(config) if fits => epoch.reconfigure(config),
                    item => self.probe_again(now, item),
                }
            }
            (Phase::Live(_), None) => {}
        }
    }

    fn encoded(&mut self, encoded: Encoded) {
        let Some(epoch) = &mut self.epoch else { return };
        epoch.encoded(encoded);
        if let Some(session) = &mut self.session
            && epoch.is_blind()
            && session.ladder.take().is_some()
        {
            self.outputs.push_back(Output::Notice(Notice::Unencoded));
            self.probe_anew();
        }
    }

    /// A track appeared, or became one that the epoch cannot carry: what it is must be known again.
    fn probe_again(&mut self, now: Now, item: Item) {
        self.probe_anew();
        if let Some(Session {
            phase: Phase::Probing(probe),
            ..
        }) = &mut self.session
        {
            probe.push(now, item);
        }
    }

    /// The probe has seen enough, or all it ever will (`last`): the session joins the running epoch or begins one, and
    /// what was held is packaged.
    fn settle(&mut self, now: Now, last: bool) {
        let targets = self.settings.targets();
        let Some(Session {
            epoch: wanted,
            named,
            ladder,
            phase: Phase::Probing(probe),
            ..
        }) = &mut self.session
        else {
            return;
        };
        let Some(findings) = probe.findings() else {
            self.outputs.push_back(Output::Notice(Notice::Nothing));
            self.probe_anew();
            return;
        };
        let joined = self
            .epoch
            .as_ref()
            .filter(|epoch| !*named || epoch.number() == *wanted)
            .and_then(|epoch| epoch.plan().join(&targets, &findings, ladder.as_ref()));
        if joined.is_none() {
            probe.measure_gop();
            // A publisher that changes its tracks back and forth costs players a start at most every `max_gop`, which is
            // also how long a probe waits at most.
            let soon = self
                .epoch
                .as_ref()
                .is_some_and(|epoch| now.mono < epoch.began() + targets.max_gop);
            if !last && (!probe.ready(now.mono) || (soon && !probe.full())) {
                return;
            }
        }
        let held = self.probe_anew();
        let timeline = match (joined, &mut self.epoch) {
            (Some(plan), Some(epoch)) => {
                self.outputs.push_back(Output::Notice(Notice::Joined));
                epoch.join(plan, findings.arrived)
            }
            _ => self.begin_epoch(now, &findings),
        };
        self.replay(now, timeline, held);
    }

    /// Takes what the session's probe held, leaving one that knows only the session's tracks.
    fn probe_anew(&mut self) -> Vec<(Now, Frame)> {
        let targets = self.settings.targets();
        let Some(session) = &mut self.session else {
            return Vec::new();
        };
        let (video, audio) = (session.video.clone(), session.audio.clone());
        let fresh = Probe::resume(&targets, session.metadata.clone(), video, audio);
        match std::mem::replace(&mut session.phase, Phase::Probing(fresh)) {
            Phase::Probing(probe) => probe.release(),
            Phase::Live(_) => Vec::new(),
        }
    }

    fn begin_epoch(&mut self, now: Now, findings: &Findings) -> Timeline {
        let targets = self.settings.targets();
        let mut unplaced = Vec::new();
        if self.epoch.is_some() {
            self.outputs.push_back(Output::Notice(Notice::NewEpoch));
            unplaced = self.end_epoch();
        }
        let (wanted, named, ladder) = self.session.as_ref().map_or((0, false, None), |session| {
            (session.epoch, session.named, session.ladder)
        });
        self.last_epoch = wanted.max(self.last_epoch + 1);
        let plan = Plan::new(&targets, findings, ladder.as_ref());
        let long = || findings.long_gop(&targets).map(Notice::NotIndependent);
        let obstacle = plan.obstacle.map(Notice::Encoded).or_else(long);
        self.outputs.extend(obstacle.map(Output::Notice));
        let length = MediaTime::from_duration(self.settings.window);
        let (mut epoch, timeline) = Epoch::new(
            self.last_epoch,
            now.mono,
            plan,
            length,
            named,
            findings.arrived,
        );
        epoch.promise_events(self.cues.bits_per_second());
        self.cues.place_again(&mut epoch, unplaced);
        self.epoch = Some(epoch);
        timeline
    }

    fn replay(&mut self, now: Now, mut timeline: Timeline, held: Vec<(Now, Frame)>) {
        for (arrived, frame) in held {
            self.place_held(Some(arrived), &timeline);
            if let Some(epoch) = self.epoch.as_mut().filter(|epoch| epoch.has(frame.kind)) {
                epoch.frame(arrived, &mut timeline, frame);
            }
        }
        self.place_held(None, &timeline);
        if let (Some(session), Some(epoch)) = (&mut self.session, &mut self.epoch) {
            epoch.touch(now);
            session.phase = Phase::Live(timeline);
        }
    }

    /// Grace is over.
    fn leave(&mut self) {
        self.grace_ends = None;
        let unplaced = self.end_epoch();
        self.outputs
            .extend(unplaced.into_iter().map(Output::Placed));
        self.outputs.push_back(Output::Closed);
    }

    /// The events that no rendition of it carries.
    fn end_epoch(&mut self) -> Vec<Confirmation> {
        let Some(mut epoch) = self.epoch.take() else {
            return Vec::new();
        };
        epoch.end_lists();
        epoch.publish(self.cues.ranges(), &mut self.outputs);
        let (placed, unplaced) = epoch.end_cues();
        self.outputs.extend(placed.into_iter().map(Output::Placed));
        self.outputs.push_back(Output::Ended {
            epoch: epoch.number(),
        });
        unplaced
    }

    fn publish(&mut self) {
        if let Some(epoch) = &mut self.epoch {
            epoch.publish(self.cues.ranges(), &mut self.outputs);
        }
        debug_assert!(
            self.outputs.len() <= limits::STREAM_OUTPUTS + limits::EVENTS_WAITING_MAX,
            "outputs are drained after every input"
        );
    }
}

#[cfg(test)]
mod tests;
