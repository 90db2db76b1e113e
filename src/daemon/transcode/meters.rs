//! What the ladder counts for the metrics; what each means is said by the control floor, and the registry of streams brings
//! the series into being, also where this module is not built.

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use metrics::{counter, histogram};
use vitrine_core::{engine::ladder::Failure, media::Rendition};

/// Where work waits and processors are used.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    /// Decoding and scaling.
    Decode,
    /// Encoding.
    Encode,
    /// All that is done with sound.
    Sound,
}

impl Stage {
    const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Encode => "encode",
            Self::Sound => "sound",
        }
    }
}

/// Milliseconds of processor time, by stage: counters are whole.
static CPU_MS: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Something was taken out of the queue before `stage`.
pub(super) fn waited(stage: Stage, since: Instant) {
    histogram!("vitrine_transcode_queue_seconds", "stage" => stage.name()).record(since.elapsed());
}

/// An access unit took so long to decode.
pub(super) fn decoded(took: Duration) {
    worked("decode", "source", took);
}

/// A picture took so long to be brought to the size of a rendition.
pub(super) fn scaled(rendition: Rendition, took: Duration) {
    worked("scale", rendition.name(), took);
}

/// A picture took so long to be encoded.
pub(super) fn encoded(rendition: Rendition, took: Duration) {
    worked("encode", rendition.name(), took);
}

fn worked(stage: &'static str, rendition: &'static str, took: Duration) {
    histogram!("vitrine_transcode_work_seconds", "stage" => stage, "rendition" => rendition)
        .record(took);
}

/// A picture, or a frame of sound, came out of an encoder.
pub(super) fn made(rendition: Rendition) {
    counter!("vitrine_transcode_frames_total", "rendition" => rendition.name()).increment(1);
}

/// A picture, or an access unit of sound, was left out because its encoder was behind.
pub(super) fn shed(rendition: Rendition) {
    counter!("vitrine_transcode_frames_shed_total", "rendition" => rendition.name()).increment(1);
}

/// An access unit was left out because the decoder was behind.
pub(super) fn left_out() {
    counter!("vitrine_transcode_frames_shed_total", "rendition" => "source").increment(1);
}

/// Access units that could not be decoded.
pub(super) fn undecodable(units: u32) {
    counter!("vitrine_transcode_undecodable_total").increment(units.into());
}

/// A rung, or the sound, makes nothing more.
pub(crate) fn lost(reason: Failure) {
    let reason = match reason {
        Failure::Decoder => "decoder",
        Failure::Encoder => "encoder",
        Failure::Late => "late",
    };
    counter!("vitrine_transcode_rungs_lost_total", "reason" => reason).increment(1);
}

/// The processor time of the calling thread, told from time to time.
#[derive(Debug)]
pub(super) struct Cpu {
    stage: Stage,
    told_ms: u64,
}

impl Cpu {
    pub(super) fn of(stage: Stage) -> Self {
        Self { stage, told_ms: 0 }
    }

    /// Adds what was used since the last time.
    pub(super) fn tell(&mut self) {
        // Nanoseconds on a processor, those in wait for one, and turns (Linux, Documentation/scheduler/sched-stats).
        let used_ns = fs::read_to_string("/proc/thread-self/schedstat")
            .ok()
            .and_then(|line| line.split(' ').next()?.parse::<u64>().ok());
        let used_ms = used_ns.unwrap_or(0) / 1_000_000;
        let new_ms = used_ms.saturating_sub(self.told_ms);
        self.told_ms += new_ms;
        let known_ms = CPU_MS[self.stage as usize].fetch_add(new_ms, Ordering::Relaxed);
        counter!("vitrine_transcode_cpu_seconds_total", "stage" => self.stage.name())
            .absolute((known_ms + new_ms) / 1000);
    }
}
