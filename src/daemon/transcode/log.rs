//! FFmpeg's log as events of `tracing`, target `ffmpeg`, in the span of the stream whose thread it is about.
//!
//! What FFmpeg calls an error is mostly a broadcaster's broken picture, so its levels come out one lower; the banner of
//! x264 (`INFO`) is for debugging. A stranger's stream may not flood the log: each thread has its share.

use std::{cell::Cell, time::Instant};

use ffmpeg_next::ffi::{AV_LOG_ERROR, AV_LOG_FATAL, AV_LOG_WARNING};
use vitrine_core::limits;

use super::ffi;

thread_local! {
    /// When this thread's present interval began, and the lines since.
    static SHARE: Cell<(Option<Instant>, u32)> = const { Cell::new((None, 0)) };
}

/// From now on FFmpeg's log is ours.
pub(super) fn install() {
    ffi::on_log(line);
}

fn line(level: i32, text: &str) {
    if text.is_empty() {
        return;
    }
    if level > AV_LOG_WARNING || !has_share() {
        tracing::debug!(target: "ffmpeg", "{text}");
    } else if level <= AV_LOG_FATAL {
        tracing::error!(target: "ffmpeg", "{text}");
    } else if level <= AV_LOG_ERROR {
        tracing::warn!(target: "ffmpeg", "{text}");
    } else {
        tracing::info!(target: "ffmpeg", "{text}");
    }
}

/// Whether this thread may say one more line aloud. Tells of those that it might not.
fn has_share() -> bool {
    let now = Instant::now();
    SHARE.with(|share| {
        let (began, lines) = share.get();
        let began = began.filter(|began| now - *began < limits::FFMPEG_LOG_INTERVAL);
        let Some(began) = began else {
            share.set((Some(now), 1));
            let unsaid = lines.saturating_sub(limits::FFMPEG_LOG_LINES_MAX);
            if unsaid > 0 {
                tracing::info!(target: "ffmpeg", unsaid, "more of this was said at debug level only");
            }
            return true;
        };
        share.set((Some(began), lines.saturating_add(1)));
        lines < limits::FFMPEG_LOG_LINES_MAX
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_says_its_share_and_no_more() {
        let said = |lines: u32| (0..lines).filter(|_| has_share()).count();
        let max = limits::FFMPEG_LOG_LINES_MAX;
        assert_eq!(said(3 * max), max as usize);
        let other = std::thread::spawn(move || (0..3).filter(|_| has_share()).count());
        assert_eq!(other.join().expect("ended"), 3);
    }
}
