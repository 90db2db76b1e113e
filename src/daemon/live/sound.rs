//! The sound of one stream that not every player takes: to its encoder and back, in front of the engine.
//!
//! The engine never sees what was sent, only the AAC that it becomes: its configuration at once, so that nothing waits for
//! the encoder, and frames as they come. What comes back is of the present publish, because each has an encoder of its
//! own. One that fails or hangs costs the sound alone, for which the engine puts silence; it is started again after a
//! pause. Sound that every player takes goes past it, and so does all sound of a publish of which nothing is encoded.

use std::{future::pending, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout_at},
};
use vitrine_core::{
    engine::{ladder::Failure, sound::Target},
    limits,
    media::{Config, Kind},
    wire::flv::{Frame, Item},
};

use crate::transcode;

/// The way to the encoder and back.
#[derive(Debug)]
pub(super) struct Sound {
    span: tracing::Span,
    /// What sound of the present publish goes to the encoder.
    source: Option<(Config, Target)>,
    running: Option<Running>,
    /// When it is started again, if it failed, and how long the pause after the next failure is.
    retry: (Option<Instant>, Duration),
}

#[derive(Debug)]
struct Running {
    encoder: transcode::Sound,
    frames: mpsc::Receiver<Frame>,
    /// Units dealt with when last looked after, and since when no more were.
    watched: (u64, Instant),
}

impl Sound {
    /// None yet; `span` is what its encoder logs in.
    pub(super) fn new(span: tracing::Span) -> Self {
        Self {
            span,
            source: None,
            running: None,
            retry: (None, limits::LADDER_PAUSE_MIN),
        }
    }

    /// From now on sound is of `config`. What it becomes; `None` when it is passed through.
    pub(super) fn open(&mut self, config: &Config) -> Option<Target> {
        self.close();
        let target = Target::of(config)?;
        self.source = Some((config.clone(), target.clone()));
        self.start();
        Some(target)
    }

    /// Nothing goes to the encoder, and nothing comes back.
    fn close(&mut self) {
        self.source = None;
        self.running = None;
        self.retry = (None, limits::LADDER_PAUSE_MIN);
    }

    /// Takes what goes to the encoder, and answers the rest.
    pub(super) fn take(&mut self, item: Item) -> Option<Item> {
        match item {
            Item::Frame(frame) if frame.kind == Kind::Audio && self.source.is_some() => {
                if { self.retry.0 }.is_some_and(|at| at <= Instant::now()) {
                    self.start();
                }
                if let Some(running) = &mut self.running {
                    running.feed(frame);
                }
                None
            }
            item => Some(item),
        }
    }

    /// Whether its encoder failed and is not started again yet.
    pub(super) fn is_lost(&self) -> bool {
        self.retry.0.is_some()
    }

    /// What comes back next, or why nothing will; never, while nothing is encoded. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Frame, Failure> {
        let Some(running) = &mut self.running else {
            return pending().await;
        };
        let Running {
            encoder,
            frames,
            watched,
        } = running;
        let failure = tokio::select! {
            frame = frames.recv() => match frame {
                Some(frame) => return Ok(frame),
                None => Failure::Encoder,
            },
            () = stalled(encoder, watched) => Failure::Late,
        };
        self.lose(failure);
        Err(failure)
    }

    /// What the encoder still has, as far as it comes soon; then nothing.
    pub(super) async fn finish(&mut self) -> Vec<Frame> {
        let mut rest = Vec::new();
        if let Some(mut running) = self.running.take() {
            running.encoder.finish();
            let deadline = Instant::now() + limits::SOUND_FINISH;
            while let Ok(Some(frame)) = timeout_at(deadline, running.frames.recv()).await {
                rest.push(frame);
            }
        }
        self.close();
        rest
    }

    fn start(&mut self) {
        let Some((config, target)) = &self.source else {
            return;
        };
        self.retry.0 = None;
        match transcode::Sound::start(config, target, self.span.clone()) {
            Ok((encoder, frames)) => {
                self.running = Some(Running {
                    encoder,
                    frames,
                    watched: (0, Instant::now()),
                });
            }
            Err(error) => {
                { &self.span }
                    .in_scope(|| tracing::error!("no thread to encode sound in: {error}"));
                self.lose(Failure::Encoder);
            }
        }
    }

    fn lose(&mut self, failure: Failure) {
        transcode::lost(failure);
        self.running = None;
        let (at, pause) = &mut self.retry;
        *at = Some(Instant::now() + *pause);
        *pause = (*pause * 2).min(limits::LADDER_PAUSE_MAX);
    }
}

impl Running {
    fn feed(&mut self, frame: Frame) {
        let (done, left) = self.encoder.progress();
        if left == 0 {
            self.watched = (done, Instant::now());
        }
        self.encoder.feed(frame);
    }
}

/// Waits until an encoder has made no progress for too long since it was `watched`; never, without work. Cancel safe.
async fn stalled(encoder: &transcode::Sound, watched: &mut (u64, Instant)) {
    loop {
        let (done, left) = encoder.progress();
        if left == 0 {
            return pending().await;
        }
        if done != watched.0 {
            *watched = (done, Instant::now());
        }
        sleep_until(watched.1 + limits::TRANSCODE_WATCHDOG).await;
        if encoder.progress().0 == watched.0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::time::{advance, pause};
    use vitrine_core::media::{aac, opus};

    use super::*;

    /// Opus in so many streams of packets, of which decoders refuse none at all.
    fn opus(streams: u8) -> Config {
        let head = [
            &b"OpusHead\x01\x02\x00\x00\x80\xbb\0\0\0\0\x01"[..],
            &[streams, 1, 0, 1],
        ]
        .concat();
        Config::Opus(opus::Config::parse(&head.into()).expect("a header"))
    }

    /// 20 ms of silence.
    fn packet(number: u32) -> Item {
        Item::Frame(Frame {
            kind: Kind::Audio,
            timestamp: 20 * number,
            nanos: 0,
            composition_ms: 0,
            sync: true,
            data: Bytes::from_static(&[0xfc, 0xff, 0xfe]),
        })
    }

    fn sound() -> Sound {
        Sound::new(tracing::Span::none())
    }

    #[tokio::test]
    async fn what_is_encoded_is_swallowed_and_comes_back_to_its_end() {
        let mut sound = sound();
        let target = sound.open(&opus(1)).expect("encoded");
        assert_eq!(target.config.codecs(), "mp4a.40.2");
        for number in 0..50 {
            assert_eq!(sound.take(packet(number)), None);
        }
        let first = sound.next().await.expect("a frame");
        assert_eq!((first.timestamp, first.nanos), (0, 0));
        let rest = sound.finish().await;
        // A second, to the last frame that is needed for it.
        assert_eq!(1 + rest.len(), 48_000_usize.div_ceil(1024));
        // And now nothing goes there.
        assert_eq!(sound.take(packet(50)), Some(packet(50)));

        let config = aac::Config::low_complexity(48_000, 2).expect("indexed");
        assert_eq!(sound.open(&Config::Aac(config)), None);
        assert_eq!(sound.take(packet(0)), Some(packet(0)));
    }

    #[tokio::test]
    async fn what_comes_back_is_never_of_what_was_before() {
        let mut sound = sound();
        sound.open(&opus(1)).expect("encoded");
        for number in 0..50 {
            sound.take(packet(number));
        }
        sound.open(&opus(1)).expect("encoded");
        for number in 1_000..1_050 {
            sound.take(packet(number));
        }
        let rest = sound.finish().await;
        assert!(!rest.is_empty() && rest.iter().all(|frame| frame.timestamp >= 20_000));
    }

    #[tokio::test]
    async fn an_encoder_that_fails_is_tried_again_after_pauses_that_grow() {
        let mut sound = sound();
        sound.open(&opus(0)).expect("to be encoded");
        pause();
        let mut wait = limits::LADDER_PAUSE_MIN;
        for _ in 0..8 {
            assert!(!sound.is_lost());
            sound.next().await.expect_err("failed");
            assert!(sound.is_lost());
            advance(wait - Duration::from_millis(1)).await;
            assert_eq!(sound.take(packet(0)), None, "swallowed all the same");
            assert!(sound.is_lost());
            advance(Duration::from_millis(1)).await;
            assert_eq!(sound.take(packet(0)), None);
            wait = (2 * wait).min(limits::LADDER_PAUSE_MAX);
        }
        sound.finish().await;
        assert!(!sound.is_lost());
    }

    #[tokio::test]
    async fn an_encoder_that_hangs_is_let_go() {
        let mut sound = sound();
        sound.open(&opus(1)).expect("encoded");
        // It waits for ever for somebody to read what it made.
        let (_nobody, nothing) = mpsc::channel(1);
        let unread =
            { sound.running.as_mut() }.map(|it| std::mem::replace(&mut it.frames, nothing));
        for number in 0..limits::SOUND_UNITS_MAX as u32 {
            sound.take(packet(number));
        }
        assert_eq!(sound.next().await, Err(Failure::Late));
        assert!(sound.is_lost() && sound.running.is_none());
        drop(unread);
    }
}
