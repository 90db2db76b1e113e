//! The encoders of one stream: started when the engine has something to encode, ended when it has not.
//!
//! The way to them is bounded and never waited for. When they cannot keep up, whole groups of pictures are left out; when
//! not even that helps, the encoded renditions are given up and the source goes on alone.
//!
//! Stills of the broadcast come from their decoder; where there is none, a key frame is decoded now and then.

use std::{future::pending, sync::Arc};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::{JoinHandle, spawn_blocking},
};
use vitrine_core::{
    engine::ladder::{Encoded, Failure, Feed, Ladder},
    limits,
    media::{Config, Rendition},
    wire::flv::Frame,
};

pub(super) use super::sound::Sound;
use super::status::Untranscoded;
use crate::transcode::{self, Settings, Transcoder};

/// What a daemon can encode, shared by its streams.
#[derive(Clone, Debug)]
pub struct Encoding {
    settings: Settings,
    /// One for each stream that may be encoded at once.
    slots: Arc<Semaphore>,
    /// One for each key frame that may be decoded at once for a still.
    glances: Arc<Semaphore>,
}

impl Encoding {
    /// Encoders so set, for as many streams at once.
    pub fn new(settings: Settings, max_streams: u32) -> Self {
        Self {
            settings,
            slots: Arc::new(Semaphore::new(max_streams as usize)),
            glances: Arc::new(Semaphore::new(limits::GLANCES_MAX)),
        }
    }
}

/// The way to the encoders and back.
#[derive(Debug)]
pub(super) struct Encoders {
    encoding: Option<Encoding>,
    span: tracing::Span,
    slot: Option<OwnedSemaphorePermit>,
    running: Option<Running>,
    rungs: Vec<Rendition>,
    /// Pictures are left out up to the next sync sample.
    shedding: bool,
    /// A still in the making, while none are running.
    glance: Option<JoinHandle<Option<Bytes>>>,
    /// RTMP time of the key frame that was looked at last, in milliseconds.
    glanced: Option<u32>,
}

#[derive(Debug)]
struct Running {
    transcoder: Transcoder,
    encoded: mpsc::Receiver<Vec<Encoded>>,
    stills: watch::Receiver<Option<Bytes>>,
}

impl Encoders {
    /// None yet; `span` is what they log in.
    pub(super) fn new(encoding: Option<Encoding>, span: tracing::Span) -> Self {
        Self {
            encoding,
            span,
            slot: None,
            running: None,
            rungs: Vec::new(),
            shedding: false,
            glance: None,
            glanced: None,
        }
    }

    /// The ladder for a publisher who asked for this one, or for none in particular.
    ///
    /// # Errors
    /// Nothing is encoded of this one.
    pub(super) fn admit(&mut self, wanted: Option<Ladder>) -> Result<Ladder, Untranscoded> {
        self.glanced = None;
        let encoding = self.encoding.as_ref().ok_or(Untranscoded::Disabled)?;
        if self.slot.is_none() {
            let slot = encoding.slots.clone().try_acquire_owned();
            self.slot = Some(slot.map_err(|_| Untranscoded::Full)?);
        }
        Ok(wanted.unwrap_or_default())
    }

    /// Makes a still of a key frame, where nothing is decoded anyway and it is time for one.
    pub(super) fn glance(&mut self, config: &Config, key: &Frame) {
        let since = |at| key.timestamp.wrapping_sub(at);
        let due = { self.glanced }.is_none_or(|at| since(at) >= limits::GLANCE_INTERVAL_MS);
        let idle = self.running.is_none() && self.glance.is_none();
        let Some(encoding) = self.encoding.as_ref().filter(|_| due && idle) else {
            return;
        };
        let Ok(turn) = encoding.glances.clone().try_acquire_owned() else {
            return;
        };
        self.glanced = Some(key.timestamp);
        let (config, data, span) = (config.clone(), key.data.clone(), self.span.clone());
        self.glance = Some(spawn_blocking(move || {
            let _turn = turn;
            span.in_scope(|| transcode::still(&config, data))
        }));
    }

    /// Gives them what is next; answers what they cannot take.
    pub(super) fn feed(&mut self, feeds: Vec<Feed>) -> Vec<Encoded> {
        let mut lost = Vec::new();
        for feed in feeds {
            match &feed {
                Feed::Source { rungs, .. } | Feed::Slate { rungs } => {
                    self.rungs = rungs.iter().map(|rung| rung.rendition).collect();
                    self.shedding = false;
                    if let (None, Some(encoding)) = (&self.running, &self.encoding) {
                        let (transcoder, encoded) =
                            Transcoder::start(&encoding.settings, self.span.clone());
                        let stills = transcoder.thumbnails();
                        self.running = Some(Running {
                            transcoder,
                            encoded,
                            stills,
                        });
                        self.glance = None;
                    }
                }
                Feed::Picture(sample) if self.shedding => {
                    self.shedding = !sample.sync;
                }
                _ => {}
            }
            if self.shedding && matches!(feed, Feed::Picture(_)) {
                metrics::counter!("vitrine_transcode_frames_shed_total", "rendition" => "source")
                    .increment(1);
                continue;
            }
            let Some(running) = &self.running else {
                continue;
            };
            if let Err(transcode::Full(feed)) = running.transcoder.feed(feed) {
                match *feed {
                    Feed::Picture(_) => self.shedding = true,
                    Feed::Repeat { .. } | Feed::Seal { .. } => {} // the next one will do
                    _ => lost.extend(self.give_up()),
                }
            }
        }
        lost
    }

    /// What they hand back next, or a still; never, while nothing is made.
    pub(super) async fn next(&mut self) -> (Vec<Encoded>, Option<Bytes>) {
        match (&mut self.running, &mut self.glance) {
            (Some(running), _) => tokio::select! {
                encoded = running.encoded.recv() => match encoded {
                    Some(encoded) => (encoded, None),
                    None => (self.give_up().collect(), None),
                },
                Ok(()) = running.stills.changed() => {
                    (Vec::new(), running.stills.borrow_and_update().clone())
                }
            },
            (None, Some(glance)) => {
                let still = glance.await;
                self.glance = None;
                // A panic of the decoder's is no still.
                (Vec::new(), still.ok().flatten())
            }
            (None, None) => pending().await,
        }
    }

    /// Nothing is encoded until another publisher is admitted.
    pub(super) fn stop(&mut self) {
        (self.running, self.slot, self.glance) = (None, None, None);
    }

    fn give_up(&mut self) -> impl Iterator<Item = Encoded> {
        self.running = None;
        let lost = |rendition| Encoded::Lost {
            rendition,
            reason: Failure::Late,
        };
        std::mem::take(&mut self.rungs).into_iter().map(lost)
    }
}
