//! The decoder's thread: a source's access units become pictures, and each picture goes to the rungs that take it, scaled
//! from the one above. While there is no source the last picture is shown again, scaled once.
//!
//! A rung that has no room is waited for, which makes pictures late, which the least rungs then leave out
//! ([`overload`]); one that hangs is not waited for twice, is found by its progress and let go. Not here: threads of rungs,
//! and which picture is a key frame.

use std::{
    panic,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use ffmpeg_next::frame::Video;
use vitrine_core::{
    engine::ladder::{Encoded, Failure, Feed, Rung},
    limits,
    media::{Config, Sample},
};

use super::{
    cadence::{Backlog, Keys, SECOND, nominal_ticks},
    decode::Decoder,
    ffi,
    meters::{self, Cpu, Stage},
    overload::{self, Tally},
    rung::{Handle, Stream},
    thumbnail::Thumbnails,
};

/// The thread's state.
pub(super) struct Pipeline {
    stream: Stream,
    backlog: Backlog,
    decoder: Option<Decoder>,
    fan: Fan,
    cpu: Cpu,
}

/// What becomes of pictures.
struct Fan {
    stream: Stream,
    /// Of the source, largest first.
    rungs: Vec<Handle>,
    /// Of earlier sources, whose threads wait.
    idle: Vec<Handle>,
    keys: Keys,
    /// Where parts end.
    ends: Keys,
    /// Ticks that a picture of the source lasts.
    frame: i64,
    /// When the last picture was shown.
    last: Option<i64>,
    /// Access units since then.
    futile: u32,
    /// When what is at work now was fed.
    fed: Instant,
    tally: Tally,
    /// What was shown last, of whatever source.
    shown: Option<Video>,
    /// The same as each rung has it, in their order, while it is shown again.
    slate: Vec<Video>,
    thumbnails: Thumbnails,
}

impl Pipeline {
    pub(super) fn new(stream: Stream, thumbnails: Thumbnails) -> Self {
        Self {
            fan: Fan {
                stream: stream.clone(),
                rungs: Vec::new(),
                idle: Vec::new(),
                keys: Keys::default(),
                ends: Keys::default(),
                frame: SECOND / 30,
                last: None,
                futile: 0,
                fed: Instant::now(),
                tally: Tally::default(),
                shown: None,
                slate: Vec::new(),
                thumbnails,
            },
            stream,
            backlog: Backlog::default(),
            decoder: None,
            cpu: Cpu::of(Stage::Decode),
        }
    }

    /// Until nobody feeds, or `stop`.
    pub(super) fn run(mut self, feeds: &Receiver<(Instant, Feed)>, stop: &Arc<AtomicBool>) {
        loop {
            let feed = if self.fan.watch() {
                feeds.recv_timeout(limits::TRANSCODE_WATCH)
            } else {
                feeds.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let (since, feed) = match feed {
                Ok(feed) => feed,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            meters::waited(Stage::Decode, since);
            self.fan.fed = since;
            let late = since.elapsed() > limits::TRANSCODE_LATE;
            let take = panic::AssertUnwindSafe(|| self.take(feed, late));
            if panic::catch_unwind(take).is_err() {
                self.fail();
            }
        }
    }

    fn take(&mut self, feed: Feed, late: bool) {
        match feed {
            Feed::Source { config, rungs } => self.open(&config, &rungs),
            Feed::Key { at } => {
                self.fan.keys.push(at);
                self.cpu.tell();
            }
            Feed::Seal { until } => {
                self.fan.ends.push(until);
                if let Some(last) = self.fan.last {
                    self.fan.seal(last);
                }
            }
            Feed::Picture(sample) if self.backlog.leaves_out(sample.sync, late) => {
                meters::left_out();
            }
            Feed::Picture(sample) => self.decode(&sample),
            Feed::Slate { rungs } => self.rest(&rungs),
            Feed::Repeat { .. } if late => meters::left_out(),
            Feed::Repeat { at } => self.fan.repeat(at),
            Feed::Stop { rendition } => {
                let mut rungs = self.fan.rungs.iter_mut();
                if let Some(rung) = rungs.find(|it| it.rendition() == rendition) {
                    rung.lose(&self.stream, Failure::Late);
                }
            }
            Feed::Drain => {
                self.drain();
                for rung in self.fan.rungs.iter_mut().filter(|rung| !rung.is_lost()) {
                    rung.drain();
                }
            }
        }
    }

    fn open(&mut self, config: &Config, rungs: &[Rung]) {
        self.drain();
        self.decoder = None; // its memory first
        self.fan.open(rungs);
        let rate = config.frame_rate();
        if let Some(rate) = rate.or(rungs.first().map(|rung| rung.frame_rate)) {
            self.fan.frame = i64::from(nominal_ticks(rate)).clamp(1, SECOND);
        }
        match Decoder::open(config) {
            Ok(decoder) => self.decoder = Some(decoder),
            Err(error) => {
                let codecs = config.codecs();
                let (width, height) = config.resolution().unwrap_or_default();
                tracing::warn!(%codecs, width, height, "the source cannot be decoded: {error}");
                self.fail();
            }
        }
    }

    /// The source has ended; what it showed last goes on.
    fn rest(&mut self, rungs: &[Rung]) {
        self.drain();
        self.decoder = None;
        self.fan.open(rungs);
        if let Err(error) = self.fan.hold() {
            tracing::warn!("the last picture cannot be shown again: {error}");
            self.fail();
        }
    }

    fn decode(&mut self, sample: &Sample) {
        let Some(decoder) = &mut self.decoder else {
            return;
        };
        let fan = &mut self.fan;
        if sample.duration > 0 {
            fan.frame = i64::from(sample.duration).min(SECOND);
        }
        fan.futile += 1;
        let (began, mut elsewhere) = (Instant::now(), Duration::ZERO);
        let errors = decoder.decode(sample, &mut |picture| {
            let shown = Instant::now();
            fan.show(picture);
            elsewhere += shown.elapsed();
        });
        meters::decoded(began.elapsed().saturating_sub(elsewhere));
        meters::undecodable(errors);
        if fan.futile > limits::TRANSCODE_FUTILE_MAX {
            let units = fan.futile;
            tracing::warn!(units, "the source cannot be decoded: no picture came of it");
            self.fail();
        }
    }

    fn drain(&mut self) {
        if let Some(decoder) = &mut self.decoder {
            let fan = &mut self.fan;
            meters::undecodable(decoder.drain(&mut |picture| fan.show(picture)));
        }
    }

    /// Nothing comes of this source any more.
    fn fail(&mut self) {
        self.decoder = None;
        for rung in &mut self.fan.rungs {
            rung.lose(&self.stream, Failure::Decoder);
        }
    }
}

impl Fan {
    fn open(&mut self, rungs: &[Rung]) {
        let mut known = std::mem::take(&mut self.rungs);
        known.append(&mut self.idle);
        known.retain(Handle::is_usable);
        for rung in rungs {
            let own = known.iter().position(|it| it.rendition() == rung.rendition);
            match own.map(|at| known.remove(at)) {
                Some(mut handle) => {
                    handle.open(&self.stream, rung);
                    self.rungs.push(handle);
                }
                None => match Handle::start(&self.stream, rung) {
                    Ok(handle) => self.rungs.push(handle),
                    Err(error) => {
                        tracing::error!(%rung, "rendition lost: no thread: {error}");
                        meters::lost(Failure::Encoder);
                        self.stream.emit(vec![Encoded::Lost {
                            rendition: rung.rendition,
                            reason: Failure::Encoder,
                        }]);
                    }
                },
            }
        }
        known.iter_mut().for_each(Handle::close);
        self.idle = known;
        self.keys.at_once();
        self.last = None;
        self.futile = 0;
        self.tally = Tally::default();
        self.slate.clear();
    }

    /// Prepares what was shown last to be shown again.
    fn hold(&mut self) -> Result<(), ffmpeg_next::Error> {
        let mut above = ffi::shared(self.shown.as_ref().ok_or(ffmpeg_next::Error::InvalidData)?)?;
        for rung in &mut self.rungs {
            above = rung.scale(&above)?;
            self.slate.push(ffi::shared(&above)?);
        }
        Ok(())
    }

    /// Shows it at `pts`.
    fn repeat(&mut self, pts: i64) {
        if self.last.is_some_and(|last| pts <= last) {
            return;
        }
        self.last = Some(pts);
        let key = self.keys.take(pts, self.frame);
        let takes = self.takes(pts, key);
        for ((rung, picture), takes) in self.rungs.iter_mut().zip(&self.slate).zip(takes) {
            if takes {
                match ffi::again(picture, pts) {
                    Ok(picture) => rung.push(picture, key),
                    Err(_) => rung.lose(&self.stream, Failure::Encoder),
                }
            }
        }
        self.seal(pts);
    }

    fn show(&mut self, picture: Video) {
        self.futile = 0;
        let pts = picture.pts().or(picture.timestamp());
        let Some(pts) = pts.filter(|pts| self.last.is_none_or(|last| last < *pts)) else {
            return meters::undecodable(1); // shown when its time has passed
        };
        self.last = Some(pts);
        self.thumbnails.consider(&picture, pts);
        #[cfg(test)]
        (self.stream.fault)(None, pts).expect("a decoder may only panic");
        let key = self.keys.take(pts, self.frame);
        let takes = self.takes(pts, key);
        let through = takes
            .iter()
            .rposition(|takes| *takes)
            .map_or(0, |at| at + 1);
        let mut above = None;
        for (at, rung) in self.rungs.iter_mut().enumerate() {
            if !takes[at] {
                rung.leave_out(&picture);
            }
            // Those that do not take it but stand above one that does are scaled all the same: how a picture looks must
            // not depend on the load.
            if at >= through || rung.is_lost() {
                continue;
            }
            let began = Instant::now();
            let scaled = rung.scale(above.as_ref().unwrap_or(&picture));
            meters::scaled(rung.rendition(), began.elapsed());
            let pushed = scaled.and_then(|scaled| {
                if takes[at] {
                    rung.push(ffi::shared(&scaled)?, key);
                }
                above = Some(scaled);
                Ok(())
            });
            if let Err(error) = pushed {
                let format = picture.format();
                tracing::warn!(rendition = %rung.rendition(), ?format, "pictures cannot be scaled: {error}");
                rung.lose(&self.stream, Failure::Decoder);
            }
        }
        self.shown = Some(picture);
        self.seal(pts);
    }

    /// Rungs hand over what they have made when a part ends with the picture shown at `pts`.
    fn seal(&mut self, pts: i64) {
        if self.ends.take(pts.saturating_add(self.frame), self.frame) {
            self.rungs.iter_mut().for_each(Handle::seal);
        }
    }

    /// Which rungs take the picture shown at `pts`. What is late the least ones leave out, and one that leaves out too much
    /// is given up.
    fn takes(&mut self, pts: i64, key: bool) -> Vec<bool> {
        let shed = if key {
            0
        } else {
            overload::shed(self.fed.elapsed())
        };
        let mut below = self.rungs.iter().filter(|rung| !rung.is_lost()).count();
        let mut takes = Vec::with_capacity(self.rungs.len());
        for rung in &mut self.rungs {
            below -= usize::from(!rung.is_lost());
            let keeps = rung.keeps(pts, key, self.frame);
            let taken = keeps && rung.takes(key, below < shed);
            takes.push(taken);
            let is_least = keeps && below == 0;
            if is_least && self.tally.is_hopeless(rung.rendition(), pts, taken) {
                rung.give_up(&self.stream);
            }
        }
        takes
    }

    /// Lets rungs go that hang. Whether any is at work.
    fn watch(&mut self) -> bool {
        let now = Instant::now();
        let mut at_work = false;
        for rung in self.rungs.iter_mut().chain(&mut self.idle) {
            match rung.watch(now) {
                Ok(has_work) => at_work |= has_work,
                Err(reason) => {
                    if rung.is_usable() {
                        tracing::warn!(rendition = %rung.rendition(), "rendition lost: {reason}");
                        rung.lose(&self.stream, reason);
                        rung.let_go();
                    }
                }
            }
        }
        at_work
    }
}
