//! Where events go in an epoch: to a place that no part is sealed beyond, and from there into the parts that hold it.
//!
//! They go in front of the cut that seals such a part, on the way that every cut goes: so renditions cannot disagree about
//! where an event is. Pictures carry them; sound does where there are none.

use std::{collections::VecDeque, sync::Arc};

use super::{
    super::{
        cues::{Clock, Confirmation, queue::Queue},
        output::{Output, Stopgap},
        packager::Packager,
        segmenter::Op,
    },
    Epoch,
};
use crate::{
    media::{Kind, MediaTime, Now, Rendition, Timescale, WallTime},
    wire::event::{Place, Placed},
};

impl Epoch {
    /// Milliseconds of media time at which the newest picture ends, or sound without pictures.
    pub(in crate::engine) fn newest_ms(&self) -> i64 {
        let end = self.segmenter.video_end().unwrap_or(self.end());
        end.ticks_at_ceil(Timescale::MILLIS)
    }

    /// The media time, in milliseconds, that has this date-time; before the epoch's, a negative one.
    pub(in crate::engine) fn media_time_ms(&self, date_time: WallTime) -> i64 {
        date_time.0 - self.anchor.wall.0 + self.anchor.media.ms()
    }

    /// Milliseconds of media time that arrive at `now`, as far as can be told.
    pub(in crate::engine) fn arriving_ms(&self, now: Now) -> i64 {
        match self.stopgap() {
            Some(Stopgap::Slate | Stopgap::Gaps) => self.newest_ms(),
            None => self.arrival.at(now.mono).unwrap_or(self.newest_ms()),
        }
    }

    /// The first place at or after `wanted_ms` of media time that is not published yet.
    pub(in crate::engine) fn locate(&self, wanted_ms: i64) -> Place {
        let open_ms = self.segmenter.open_part().ticks_at_ceil(Timescale::MILLIS);
        self.place_of(wanted_ms.max(open_ms).max(0))
    }

    /// The place of a media time in milliseconds.
    pub(in crate::engine) fn place_of(&self, media_time_ms: i64) -> Place {
        let at = MediaTime::from_ms(media_time_ms);
        Place {
            epoch: self.number,
            media_time_ms,
            program_date_time: self.anchor.program_date_time(at),
        }
    }

    /// Media sequence number and index of the part that holds `media_time_ms`, if that is open in every rendition of
    /// pictures.
    pub(in crate::engine) fn open_part(&self, media_time_ms: i64) -> Option<(u64, u64)> {
        let holds = self.segmenter.holds(MediaTime::from_ms(media_time_ms));
        let shows = |it: &&Packager| it.kind() == Kind::Video;
        let mut open = { self.packagers() }
            .filter(shows)
            .map(|it| it.window().growing());
        let first = open.next().flatten().filter(|_| holds)?;
        open.all(|other| other == Some(first)).then_some(first)
    }

    /// The events that have their place in it.
    pub(in crate::engine) fn queue(&mut self) -> &mut Queue {
        &mut self.queue
    }

    /// Its clock at `now`; `None` while nothing is shown.
    pub(in crate::engine) fn clock(&self, now: Now) -> Option<Clock> {
        let msn = { self.packagers() }.filter_map(|it| it.window().edge());
        let msn = msn.map(|(msn, _)| msn).max().filter(|_| self.is_shown())?;
        let arriving = self.place_of(self.arriving_ms(now));
        Some(Clock {
            newest: self.place_of(self.newest_ms()),
            msn,
            pdt_minus_wall_ms: arriving.program_date_time.0 - now.wall.0,
            wall: now.wall,
        })
    }

    /// The renditions that carry events.
    pub(in crate::engine) fn carriers(&self) -> Vec<Rendition> {
        let leads = |it: &&Packager| it.kind() == self.leads();
        let passed = { self.packagers.iter() }.filter(leads);
        { passed.map(Packager::rendition) }
            .chain(self.rungs.renditions())
            .collect()
    }

    /// The kind of media that carries events.
    pub(super) fn leads(&self) -> Kind {
        match self.has(Kind::Video) {
            true => Kind::Video,
            false => Kind::Audio,
        }
    }

    /// What happens on the track that leads: before a part of it is sealed, the events whose times it holds go into it.
    pub(super) fn cue(&mut self, op: &Op) {
        let Op::Seal { until, .. } = op else { return };
        let kind = self.leads();
        let scale = self
            .plan
            .track(kind)
            .map_or(Timescale::MILLIS, |config| config.timescale());
        let until = scale.at(*until);
        while self.queue.waits_before(until) {
            let carriers = self.carriers();
            let Some(cue) = self.queue.due(carriers) else {
                return;
            };
            self.deliver(kind, Op::Cue(cue));
        }
    }

    /// Tells where events landed, once that is shown.
    pub(super) fn confirm(&mut self, outputs: &mut VecDeque<Output>) {
        if !self.queue.is_owed() {
            return;
        }
        let packagers = self.packagers.iter_mut().chain(self.rungs.packagers_mut());
        for packager in packagers {
            let rendition = packager.rendition();
            for landing in packager.landings() {
                self.queue.landed(rendition, landing);
            }
        }
        let carriers = self.carriers();
        self.queue.disown(|rendition| carriers.contains(&rendition));
        outputs.extend(self.queue.confirmed().map(Output::Placed));
    }

    /// At [rest](Self::rest), for good: what some renditions have, and what none has.
    pub(in crate::engine) fn end_cues(&mut self) -> (Vec<Confirmation>, Vec<Confirmation>) {
        let carriers = self.carriers();
        std::mem::take(&mut self.queue).end(&carriers)
    }

    /// Takes an event that was placed by what [`Self::locate`] answered.
    pub(in crate::engine) fn enqueue(&mut self, event: Arc<Placed>) {
        self.queue.push(event);
    }
}
