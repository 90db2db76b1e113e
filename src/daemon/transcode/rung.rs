//! A rung: the thread of one encoder, and the hand by which the decoder's thread holds it.
//!
//! The two share a queue and nothing else. A rung that fails says so and ignores everything until the next source; one
//! that does not come back from its encoder is let go, thread and all, by the other side. A panic is a failure of the rung.
//!
//! Not here: what becomes of the other rungs, which never notice.

use std::{
    io, mem, panic,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ffmpeg_next::frame::Video;
use tokio::sync::mpsc;
use vitrine_core::{
    engine::ladder::{Encoded, Failure, Rung},
    limits,
    media::{Config, Rendition, Sample},
};

use super::{
    cadence::Thinner,
    encode::{self, Encoder, Error, Unit},
    ffi::{self, Look},
    meters::{self, Cpu, Stage},
    queue::Queue,
    scale::{Range, Scaler},
    settings::Settings,
};

/// What every thread of a stream has.
#[derive(Clone)]
pub(super) struct Stream {
    pub(super) settings: Settings,
    pub(super) span: tracing::Span,
    pub(super) out: mpsc::Sender<Vec<Encoded>>,
    #[cfg(test)]
    pub(super) fault: Fault,
}

/// What goes wrong in a test before the picture shown at an instant is encoded into a rendition, or without one leaves the
/// decoder.
#[cfg(test)]
pub(super) type Fault = Arc<dyn Fn(Option<Rendition>, i64) -> Result<(), Error> + Send + Sync>;

impl Stream {
    pub(super) fn new(
        settings: &Settings,
        span: tracing::Span,
        out: mpsc::Sender<Vec<Encoded>>,
    ) -> Self {
        Self {
            settings: *settings,
            span,
            out,
            #[cfg(test)]
            fault: Arc::new(|_, _| Ok(())),
        }
    }

    /// Hands `encoded` over, waiting for room. A receiver that is gone wants nothing.
    pub(super) fn emit(&self, encoded: Vec<Encoded>) {
        let _ = self.out.blocking_send(encoded);
    }

    /// Starts a thread that logs in the stream's span.
    pub(super) fn spawn(
        &self,
        name: String,
        run: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let span = self.span.clone();
        let run = move || span.in_scope(run);
        thread::Builder::new().name(name).spawn(run).map(drop)
    }
}

/// Work for an encoder.
enum Job {
    /// Pictures from here on are for this rung and of the source of this number.
    Open(Rung, u64),
    Picture {
        picture: Video,
        key: bool,
        since: Instant,
    },
    /// A part is whole.
    Seal,
    Drain,
    /// There is no such rung any more.
    Close,
}

/// What the decoder's thread knows of a rung.
pub(super) struct Handle {
    rendition: Rendition,
    link: Arc<Link>,
    /// Number of the present source, from 1.
    source: u64,
    /// It has pictures since it was last told that a part is whole.
    given: bool,
    /// Of pictures that were left out, for the next one.
    captions: Vec<u8>,
    thinner: Thinner,
    scaler: Scaler,
    /// It was waited for in vain, and is not waited for again until it has made something.
    stuck: bool,
    /// Jobs done when last looked after, and since when no more were.
    watched: (u64, Instant),
}

struct Link {
    rendition: Rendition,
    jobs: Queue<Job>,
    /// Number of the last source whose rest the rung makes nothing of.
    lost: AtomicU64,
    /// Held by the side that says something: that a rung is lost is the last word about its source.
    word: Mutex<()>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.link.jobs.abandon();
    }
}

impl Link {
    /// Says that nothing more is made of `source`, unless that was said. A thread that was let go says nothing after it:
    /// another may have taken its place.
    fn lose(&self, stream: &Stream, source: u64, reason: Failure) {
        let _word = self.word();
        if self.lost.fetch_max(source, Ordering::AcqRel) < source {
            meters::lost(reason);
            let rendition = self.rendition;
            stream.emit(vec![Encoded::Lost { rendition, reason }]);
        }
    }

    /// Hands over what was made of `source`, unless that is lost.
    fn hand_over(&self, stream: &Stream, source: u64, made: Vec<Encoded>) {
        let _word = self.word();
        if !made.is_empty() && !self.has_lost(source) {
            stream.emit(made);
        }
    }

    fn word(&self) -> MutexGuard<'_, ()> {
        self.word.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_lost(&self, source: u64) -> bool {
        self.lost.load(Ordering::Acquire) >= source
    }
}

impl Handle {
    /// Starts the thread of a rung.
    pub(super) fn start(stream: &Stream, rung: &Rung) -> io::Result<Self> {
        let link = Arc::new(Link {
            rendition: rung.rendition,
            jobs: Queue::new(),
            lost: AtomicU64::new(0),
            word: Mutex::default(),
        });
        let worker = Worker {
            stream: stream.clone(),
            rendition: rung.rendition,
            link: Arc::clone(&link),
            rung: None,
            source: 0,
            fresh: false,
            encoder: None,
            made: Vec::new(),
            cpu: Cpu::of(Stage::Encode),
        };
        stream.spawn(format!("encode-{}", rung.rendition), || worker.run())?;
        let mut handle = Self {
            rendition: rung.rendition,
            link,
            source: 0,
            given: false,
            captions: Vec::new(),
            thinner: Thinner::new(rung.frame_rate),
            scaler: scaler(stream, rung),
            stuck: false,
            watched: (0, Instant::now()),
        };
        handle.open(stream, rung);
        Ok(handle)
    }

    pub(super) fn rendition(&self) -> Rendition {
        self.rendition
    }

    /// Whether the rung can be opened again: its thread was not let go.
    pub(super) fn is_usable(&self) -> bool {
        self.link.jobs.is_open()
    }

    /// Whether the rung makes nothing until the next source.
    pub(super) fn is_lost(&self) -> bool {
        self.link.has_lost(self.source)
    }

    /// Pictures from here on are of a new source, for `rung`.
    pub(super) fn open(&mut self, stream: &Stream, rung: &Rung) {
        self.thinner = Thinner::new(rung.frame_rate);
        self.scaler = scaler(stream, rung);
        self.stuck = false; // what it was stuck in may be over
        self.watched.1 = Instant::now();
        self.source += 1;
        self.link.jobs.push(Job::Open(*rung, self.source));
    }

    /// No pictures until [`open`](Self::open).
    pub(super) fn close(&mut self) {
        self.link.jobs.push(Job::Close);
    }

    /// What it was given so far is wanted now.
    pub(super) fn seal(&mut self) {
        if mem::take(&mut self.given) {
            self.link.jobs.push(Job::Seal);
        }
    }

    pub(super) fn drain(&mut self) {
        self.link.jobs.push(Job::Drain);
    }

    /// Whether the rung keeps the picture shown at `pts`, by its rate; a key frame always.
    pub(super) fn keeps(&mut self, pts: i64, key: bool, frame: i64) -> bool {
        !self.is_lost() && self.thinner.keeps(pts, key, frame)
    }

    /// Whether the rung takes a picture that it keeps: a key frame, and any that is not `shed` for which there is room,
    /// now or soon.
    pub(super) fn takes(&mut self, key: bool, shed: bool) -> bool {
        let has_room = !shed && self.has_room();
        let takes = key || has_room;
        if !takes {
            meters::shed(self.rendition);
        }
        takes
    }

    fn has_room(&mut self) -> bool {
        let patience = match self.stuck {
            true => Duration::ZERO,
            false => limits::TRANSCODE_PICTURE_PATIENCE,
        };
        let has_room = (self.link.jobs).has_room(limits::TRANSCODE_PICTURES_MAX, patience);
        self.stuck = !has_room;
        has_room
    }

    /// Is given up because the machine is too small for it.
    pub(super) fn give_up(&mut self, stream: &Stream) {
        tracing::warn!(rendition = %self.rendition, "rendition lost: {}", Failure::Late);
        self.lose(stream, Failure::Late);
        self.close();
    }

    /// `picture` in the rung's size.
    pub(super) fn scale(&mut self, picture: &Video) -> Result<Video, ffmpeg_next::Error> {
        self.scaler.run(picture)
    }

    /// Keeps the captions of a picture that is left out: a caption is spelled over many.
    pub(super) fn leave_out(&mut self, picture: &Video) {
        let (pairs, _) = ffi::captions(picture).as_chunks::<3>();
        let said = pairs.iter().filter(|pair| pair[0] & CAPTION_VALID != 0);
        self.captions.extend(said.flatten());
        self.captions.truncate(CAPTIONS_MAX);
    }

    /// Hands over a picture that the rung [`takes`](Self::takes), in its size.
    pub(super) fn push(&mut self, mut picture: Video, key: bool) {
        if !self.captions.is_empty() {
            let mut captions = mem::take(&mut self.captions);
            captions.extend_from_slice(ffi::captions(&picture));
            captions.truncate(CAPTIONS_MAX);
            ffi::set_captions(&mut picture, &captions);
        }
        self.given = true;
        self.link.jobs.push(Job::Picture {
            picture,
            key,
            since: Instant::now(),
        });
    }

    /// Whether it has work; and [`Failure::Late`] when it makes no progress with it or has too much of it.
    pub(super) fn watch(&mut self, now: Instant) -> Result<bool, Failure> {
        let (done, left) = self.link.jobs.progress();
        let (seen, since) = self.watched;
        if done != seen || left == 0 {
            self.watched = (done, now);
        } else if now - since >= limits::TRANSCODE_WATCHDOG {
            return Err(Failure::Late);
        }
        if left > limits::TRANSCODE_JOBS_MAX {
            return Err(Failure::Late);
        }
        Ok(left > 0)
    }

    /// Says that the rung makes nothing more, unless it said so itself.
    pub(super) fn lose(&mut self, stream: &Stream, reason: Failure) {
        self.link.lose(stream, self.source, reason);
    }

    /// Lets the thread go, which may never come back from its encoder.
    pub(super) fn let_go(&mut self) {
        self.link.jobs.abandon();
    }
}

fn scaler(stream: &Stream, rung: &Rung) -> Scaler {
    let size = (rung.width, rung.height);
    Scaler::new(size, encode::format(&stream.settings), Range::Kept)
}

/// Of the first of the three bytes of a caption's pair (CTA-708, table 2): the pair says something.
const CAPTION_VALID: u8 = 4;
/// Bytes of captions in one picture: a count of pairs has five bits.
const CAPTIONS_MAX: usize = 31 * 3;

/// The thread.
struct Worker {
    stream: Stream,
    rendition: Rendition,
    link: Arc<Link>,
    rung: Option<Rung>,
    /// Number of the present source.
    source: u64,
    /// The next picture is the first of a source.
    fresh: bool,
    encoder: Option<Encoder>,
    /// Not handed over: a part's pictures go together, which wakes the stream's task once and not for each.
    made: Vec<Encoded>,
    cpu: Cpu,
}

impl Worker {
    fn run(mut self) {
        let link = Arc::clone(&self.link);
        while let Some(job) = link.jobs.next() {
            let work = panic::AssertUnwindSafe(|| self.work(job));
            match panic::catch_unwind(work) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(rendition = %self.rendition, "rendition lost: {error}");
                    self.fail();
                }
                Err(_) => self.fail(), // the hook of panics has told of it
            }
        }
    }

    fn fail(&mut self) {
        self.hand_over();
        self.encoder = None;
        self.rung = None;
        (self.link).lose(&self.stream, self.source, Failure::Encoder);
    }

    fn work(&mut self, job: Job) -> Result<(), Error> {
        match job {
            Job::Open(rung, source) => {
                self.hand_over();
                (self.rung, self.source) = (Some(rung), source);
                self.fresh = true;
            }
            Job::Picture {
                picture,
                key,
                since,
            } => {
                meters::waited(Stage::Encode, since);
                self.encode(picture, key)?;
                if key {
                    self.cpu.tell();
                }
            }
            Job::Seal => self.hand_over(),
            Job::Drain => {
                self.finish()?;
                if let Some(rung) = self.rung {
                    let rendition = rung.rendition;
                    self.made.push(Encoded::Drained { rendition });
                }
                self.hand_over();
            }
            Job::Close => {
                self.finish()?;
                self.hand_over();
                self.encoder = None;
                self.rung = None;
            }
        }
        Ok(())
    }

    fn encode(&mut self, picture: Video, key: bool) -> Result<(), Error> {
        let Some(rung) = self.rung else {
            return Ok(());
        };
        if self.fresh || self.encoder.is_none() {
            let look = Look::of(&picture);
            if !self.encoder.as_ref().is_some_and(|it| it.fits(&rung, look)) {
                self.finish()?;
                self.encoder = None; // its memory first
                self.encoder = Some(Encoder::open(&self.stream.settings, &rung, look)?);
            }
            self.fresh = false;
            if let Some(encoder) = &self.encoder {
                let (rendition, config) = (self.rendition, encoder.config().clone());
                let config = Config::Avc(config);
                self.made.push(Encoded::Config { rendition, config });
                self.hand_over(); // what it is called is asked for before it is there
            }
        }
        #[cfg(test)]
        (self.stream.fault)(Some(self.rendition), picture.pts().unwrap_or_default())?;
        let began = Instant::now();
        if let Some(encoder) = &mut self.encoder {
            encoder.send(picture, key)?;
        }
        let made = self.receive();
        meters::encoded(self.rendition, began.elapsed());
        made
    }

    /// Hands over what an encoder holds back; one that did takes nothing more.
    fn finish(&mut self) -> Result<(), Error> {
        let Some(encoder) = self.encoder.as_mut().filter(|it| it.holds_back()) else {
            return Ok(());
        };
        encoder.finish()?;
        self.receive()?;
        self.encoder = None;
        Ok(())
    }

    fn receive(&mut self) -> Result<(), Error> {
        while let Some(encoder) = &mut self.encoder {
            let Some(unit) = encoder.receive()? else {
                break;
            };
            let duration = encoder.frame_ticks();
            self.keep(unit, duration);
        }
        Ok(())
    }

    fn keep(&mut self, unit: Unit, duration: u32) {
        let rendition = self.rendition;
        if let Some(config) = unit.config {
            let config = Config::Avc(config);
            self.made.push(Encoded::Config { rendition, config });
        }
        meters::made(rendition);
        let sample = Sample {
            dts: unit.pts,
            composition_offset: 0,
            duration,
            sync: unit.sync,
            data: unit.data,
        };
        self.made.push(Encoded::Picture { rendition, sample });
        if self.made.len() >= limits::TRANSCODE_MADE_MAX {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        let made = mem::take(&mut self.made);
        self.link.hand_over(&self.stream, self.source, made);
    }
}
