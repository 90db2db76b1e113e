//! The encoders of one stream: started when the engine has something to encode, ended when it has not.
//!
//! The way to them is bounded and never waited for. When they cannot keep up, whole groups of pictures are left out; when
//! not even that helps, the encoded renditions are given up and the source goes on alone.

use std::{future::pending, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use vitrine_core::{
    engine::ladder::{Encoded, Failure, Feed, Ladder},
    media::Rendition,
};

use crate::transcode::{Settings, Transcoder};

/// What a daemon can encode, shared by its streams.
#[derive(Clone, Debug)]
pub struct Encoding {
    settings: Settings,
    /// One for each stream that may be encoded at once.
    slots: Arc<Semaphore>,
}

impl Encoding {
    /// Encoders so set, for as many streams at once.
    pub fn new(settings: Settings, max_streams: u32) -> Self {
        Self {
            settings,
            slots: Arc::new(Semaphore::new(max_streams as usize)),
        }
    }
}

/// Every stream that can be encoded is: another one is passed through.
#[derive(Debug, thiserror::Error)]
#[error("transcode.max_streams are encoded already: this one is passed through as it is")]
pub(super) struct Full;

/// The way to the encoders and back.
#[derive(Debug)]
pub(super) struct Encoders {
    encoding: Option<Encoding>,
    span: tracing::Span,
    slot: Option<OwnedSemaphorePermit>,
    running: Option<(Transcoder, mpsc::Receiver<Encoded>)>,
    rungs: Vec<Rendition>,
    /// Pictures are left out up to the next sync sample.
    shedding: bool,
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
        }
    }

    /// The ladder for a publisher who asked for this one, or for none in particular; `None` where nothing is encoded.
    ///
    /// # Errors
    /// No more streams may be encoded.
    pub(super) fn admit(&mut self, wanted: Option<Ladder>) -> Result<Option<Ladder>, Full> {
        let Some(encoding) = &self.encoding else {
            return Ok(None);
        };
        if self.slot.is_none() {
            let slot = encoding.slots.clone().try_acquire_owned();
            self.slot = Some(slot.map_err(|_| Full)?);
        }
        Ok(Some(wanted.unwrap_or_default()))
    }

    /// Gives them what is next; answers what they cannot take.
    pub(super) fn feed(&mut self, feeds: Vec<Feed>) -> Vec<Encoded> {
        let mut lost = Vec::new();
        for feed in feeds {
            match &feed {
                Feed::Source { rungs, .. } => {
                    self.rungs = rungs.iter().map(|rung| rung.rendition).collect();
                    self.shedding = false;
                    if let (None, Some(encoding)) = (&self.running, &self.encoding) {
                        let started = Transcoder::start(&encoding.settings, self.span.clone());
                        self.running = Some(started);
                    }
                }
                Feed::Picture(sample) if self.shedding => {
                    self.shedding = !sample.sync;
                }
                _ => {}
            }
            let picture = matches!(feed, Feed::Picture(_));
            if picture && self.shedding {
                metrics::counter!("vitrine_transcode_frames_shed_total", "rendition" => "source")
                    .increment(1);
                continue;
            }
            let Some((transcoder, _)) = &self.running else {
                continue;
            };
            match transcoder.feed(feed) {
                Ok(()) => {}
                Err(_) if picture => self.shedding = true,
                Err(_) => lost.extend(self.give_up()),
            }
        }
        lost
    }

    /// What they hand back next; never, while there are none.
    pub(super) async fn next(&mut self) -> Vec<Encoded> {
        let Some((_, encoded)) = &mut self.running else {
            return pending().await;
        };
        match encoded.recv().await {
            Some(encoded) => vec![encoded],
            None => self.give_up().collect(),
        }
    }

    /// Nothing is encoded until another publisher is admitted.
    pub(super) fn stop(&mut self) {
        (self.running, self.slot) = (None, None);
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
