//! Sound that not every player takes becomes AAC-LC ([`Target`]): a thread of its own decodes, resamples, mixes down and
//! encodes, and what comes back stands on the publisher's clock as what went in did.
//!
//! One [`Sound`] is for one configuration of one publish, so that nothing of one can come out of another. The way in and
//! the way back are bounded. An encoder that fails ends its receiver; one that hangs is found by its
//! [progress](Sound::progress) and let go by who feeds it.
//!
//! Not here: which sound is encoded, and what stands in for sound that is missing.

mod aac;
mod line;
#[cfg(test)]
mod tests;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Instant,
};

use tokio::sync::mpsc;
use vitrine_core::{
    engine::sound::Target,
    limits,
    media::{Config, Rendition},
    wire::flv::Frame,
};

use super::meters::{self, Cpu, Stage};
use line::Line;

/// The encoder of one publish's sound. Dropping it ends its thread: what it has not handed back is lost.
#[derive(Debug)]
pub struct Sound {
    /// Until it is finished.
    units: Option<SyncSender<(Instant, Frame)>>,
    taken: u64,
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Sound {
    /// Encodes sound of `config` into `target`; the thread logs in `stream`'s span. Frames of AAC come back in the
    /// receiver, which ends with the thread: after [`Self::finish`], or because it failed.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(
        config: &Config,
        target: &Target,
        stream: tracing::Span,
    ) -> io::Result<(Self, mpsc::Receiver<Frame>)> {
        super::prepare();
        // Full: see `feed`.
        let (units, fed) = sync_channel(limits::SOUND_UNITS_MAX);
        // Full: the thread waits.
        let (out, encoded) = mpsc::channel(limits::SOUND_ENCODED_MAX);
        let sound = Self {
            units: Some(units),
            taken: 0,
            done: Arc::default(),
            stop: Arc::default(),
        };
        let worker = Worker {
            fed,
            out,
            done: Arc::clone(&sound.done),
            stop: Arc::clone(&sound.stop),
        };
        let (config, target) = (config.clone(), target.clone());
        let run = move || stream.in_scope(|| worker.run(&config, &target));
        thread::Builder::new()
            .name("encode-audio".to_owned())
            .spawn(run)?;
        Ok((sound, encoded))
    }

    /// Takes an access unit, without waiting. One that finds no room is left out, and counted.
    pub fn feed(&mut self, unit: Frame) {
        let Some(units) = &self.units else { return };
        match units.try_send((Instant::now(), unit)) {
            Ok(()) => self.taken += 1,
            Err(TrySendError::Full(_)) => meters::shed(Rendition::Audio),
            // Which the receiver's end says.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    /// Nothing follows: what was taken comes back, then the receiver ends.
    pub fn finish(&mut self) {
        self.units = None;
    }

    /// Access units dealt with so far, and how many are not.
    pub fn progress(&self) -> (u64, u64) {
        let done = self.done.load(Ordering::Relaxed);
        (done, self.taken.saturating_sub(done))
    }
}

impl Drop for Sound {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The thread.
struct Worker {
    fed: Receiver<(Instant, Frame)>,
    out: mpsc::Sender<Frame>,
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn run(self, config: &Config, target: &Target) {
        if let Err(error) = self.encode(config, target) {
            tracing::warn!(
                codecs = config.codecs(),
                "the sound cannot be encoded: {error}"
            );
        }
    }

    fn encode(&self, config: &Config, target: &Target) -> Result<(), ffmpeg_next::Error> {
        let mut line = Line::open(config, target)?;
        let mut cpu = Cpu::of(Stage::Sound);
        let mut emit = |frame| {
            meters::made(Rendition::Audio);
            // A receiver that is gone wants nothing.
            let _ = self.out.blocking_send(frame);
        };
        while let Ok((since, unit)) = self.fed.recv() {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            meters::waited(Stage::Sound, since);
            line.take(&unit, &mut emit)?;
            let done = self.done.fetch_add(1, Ordering::Relaxed);
            if done.is_multiple_of(64) {
                cpu.tell();
            }
        }
        if !self.stop.load(Ordering::Relaxed) {
            line.finish(&mut emit)?;
        }
        cpu.tell();
        Ok(())
    }
}
