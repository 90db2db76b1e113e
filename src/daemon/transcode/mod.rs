//! The ladder's workshop: a source is decoded once, scaled in cascade, and encoded into each rung by a thread of its own.
//!
//! The only room that names `ffmpeg_next`, and [`ffi`] in it the only file with unsafe code. Who uses it: the task of a
//! stream ([`crate::live`]) starts a [`Transcoder`] where renditions are to be made, feeds it and cuts what comes back; the
//! daemon [`probes`](Settings::probe) its encoder at start. Sound has a [`Sound`] of its own, where it is to be encoded. Built
//! with the feature `transcode`; without it this module is not there, and broadcasts are passed through.
//!
//! # What holds
//!
//! - **A key frame that is asked for is one in every rung**, at the same picture, whatever is shed around it.
//! - **A rung fails alone**: an error, a panic or a hang of one is [`Encoded::Lost`] of that one. What FFmpeg takes down
//!   with a fault of its own is the process; only owned bytes and plain data cross this boundary, so that a process of its
//!   own could stand behind it.
//! - **Every queue is bounded**, and every wait but that for work: `TRANSCODE_*` in `vitrine_core::limits`.
//! - **No thread outlives its transcoder**, but one that never comes back from its encoder.
//!
//! Not here: what is a segment, which rungs there are, what a stream does when one is lost.

mod cadence;
mod decode;
mod encode;
mod ffi;
mod log;
mod meters;
mod overload;
mod pipeline;
mod queue;
mod rung;
mod scale;
mod settings;
mod sound;
#[cfg(test)]
mod tests;
mod thumbnail;

use std::{
    sync::{
        Arc, Once,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    time::Instant,
};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use vitrine_core::{
    engine::ladder::{Encoded, Feed},
    limits,
};

pub use encode::Error;
pub(crate) use meters::lost;
use pipeline::Pipeline;
use rung::Stream;
pub use settings::{Encoder, Preset, Settings, UnknownName};
pub use sound::Sound;
use thumbnail::Thumbnails;
pub use thumbnail::still;

/// The transcoder of one stream. Dropping it ends its threads: what they have not handed back is lost.
#[derive(Debug)]
pub struct Transcoder {
    feeds: SyncSender<(Instant, Feed)>,
    stop: Arc<AtomicBool>,
    thumbnails: watch::Receiver<Option<Bytes>>,
}

/// The transcoder has as much to do as it can hold, and hands back what it was given.
#[derive(Debug, thiserror::Error)]
#[error("the transcoder is behind")]
pub struct Full(pub Box<Feed>);

impl Transcoder {
    /// A transcoder without a source; its threads log in `stream`'s span. What comes back waits in the receiver, which
    /// must be read: an encoder that cannot hand over for two seconds counts as hung. Of what was on its way something may
    /// come after [`Encoded::Lost`]. The receiver ends with the last thread.
    pub fn start(
        settings: &Settings,
        stream: tracing::Span,
    ) -> (Self, mpsc::Receiver<Vec<Encoded>>) {
        // Full: encoders wait, then are shed.
        let (out, encoded) = mpsc::channel(limits::TRANSCODE_ENCODED_MAX);
        (Self::of(&Stream::new(settings, stream, out)), encoded)
    }

    fn of(stream: &Stream) -> Self {
        prepare();
        // Full: see `feed`.
        let (feeds, fed) = sync_channel(limits::TRANSCODE_FEEDS_MAX);
        let stop = Arc::new(AtomicBool::new(false));
        let (stills, thumbnails) = watch::channel(None);
        let run = {
            let (stream, stop) = (stream.clone(), Arc::clone(&stop));
            move || Pipeline::new(stream, Thumbnails::new(stills)).run(&fed, &stop)
        };
        if let Err(error) = stream.spawn("decode".to_owned(), run) {
            stream
                .span
                .in_scope(|| tracing::error!("no thread to transcode in: {error}"));
        }
        Self {
            feeds,
            stop,
            thumbnails,
        }
    }

    /// The last still of the broadcast, a JPEG in the shape the broadcast is seen in: a new one every five seconds of media.
    /// They come of all that is decoded, with or without rungs; the last one stays when the transcoder is gone.
    pub fn thumbnails(&self) -> watch::Receiver<Option<Bytes>> {
        self.thumbnails.clone()
    }

    /// Takes `feed`, without waiting.
    ///
    /// # Errors
    /// [`Full`]: the caller leaves out what is fed up to the next [`Feed::Key`] and its sync sample; of a slate, that one
    /// [`Feed::Repeat`]. [`Feed::Source`], [`Feed::Slate`] and [`Feed::Drain`] are to be tried again.
    pub fn feed(&self, feed: Feed) -> Result<(), Full> {
        match self.feeds.try_send((Instant::now(), feed)) {
            // Without its thread nothing comes back, which the receiver's end has said.
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
            Err(TrySendError::Full((_, feed))) => Err(Full(Box::new(feed))),
        }
    }
}

impl Drop for Transcoder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Makes FFmpeg fit to be used in this process.
fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::install();
        if let Err(error) = ffmpeg_next::init() {
            tracing::error!("FFmpeg does not start: {error}");
        }
    });
}
