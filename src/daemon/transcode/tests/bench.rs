//! A transcoder at work, for the tests.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ffmpeg_next::frame::Video;
use tokio::{
    sync::mpsc::{self, Receiver},
    time,
};
use vitrine_core::{
    engine::ladder::{Encoded, Feed, Rung},
    limits,
    media::{Config, Rendition, Sample},
};

use super::{
    super::{
        Full, Settings, Transcoder,
        decode::Decoder,
        rung::{Fault, Stream},
    },
    source::Clip,
};

/// Longer than anything here takes on a machine with much else to do.
pub(super) const LONG: Duration = Duration::from_secs(60);

/// Pictures on their way, at most.
const IN_FLIGHT: usize = 20;
/// How long one is waited for, which may be one that cannot be decoded.
const SHORT: Duration = Duration::from_secs(1);

pub(super) fn rung(rendition: Rendition, width: u32, height: u32, rate: (u32, u32)) -> Rung {
    Rung {
        rendition,
        width,
        height,
        frame_rate: rate,
        bitrate: width * height * 6,
    }
}

pub(super) fn ladder(rate: (u32, u32)) -> Vec<Rung> {
    vec![
        rung(Rendition::High, 320, 180, rate),
        rung(Rendition::Mid, 212, 120, rate),
        rung(Rendition::Low, 160, 90, rate),
    ]
}

/// A transcoder at work and what came of it.
pub(super) struct Bench {
    pub(super) transcoder: Transcoder,
    pub(super) encoded: Receiver<Vec<Encoded>>,
    pub(super) got: BTreeMap<Rendition, Vec<Encoded>>,
    /// How often it was drained.
    pub(super) drains: usize,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(Arc::new(|_, _| Ok(())))
    }

    /// One in which this goes wrong.
    pub(super) fn with(fault: Fault) -> Self {
        let (out, encoded) = mpsc::channel(limits::TRANSCODE_ENCODED_MAX);
        let span = tracing::Span::none();
        let stream = Stream {
            fault,
            ..Stream::new(&Settings::default(), span, out)
        };
        Self {
            transcoder: Transcoder::of(&stream),
            encoded,
            got: BTreeMap::new(),
            drains: 0,
        }
    }

    /// Feeds, and takes what comes back meanwhile.
    pub(super) async fn feed(&mut self, feed: Feed) {
        let mut feed = Some(feed);
        while let Some(next) = feed.take() {
            if let Err(Full(back)) = self.transcoder.feed(next) {
                feed = Some(*back);
                self.take().await;
            }
            while let Ok(encoded) = self.encoded.try_recv() {
                self.note(encoded);
            }
        }
    }

    pub(super) async fn source(&mut self, clip: &Clip, rungs: &[Rung]) {
        let (config, rungs) = (clip.config.clone(), rungs.to_vec());
        self.feed(Feed::Source { config, rungs }).await;
    }

    pub(super) async fn play(&mut self, clip: &Clip, keys: &[i64]) {
        for at in keys {
            self.feed(Feed::Key { at: *at }).await;
        }
        let before = self.most();
        for (fed, sample) in clip.samples.iter().enumerate() {
            self.feed(Feed::Picture(sample.clone())).await;
            // No faster than encoders are, on however busy a machine: nothing is to be shed here.
            while fed > self.most() - before + IN_FLIGHT {
                match time::timeout(SHORT, self.encoded.recv()).await {
                    Ok(encoded) => self.note(encoded.expect("the transcoder lives")),
                    Err(_) => break,
                }
            }
        }
    }

    /// Pictures of the rung that is ahead.
    fn most(&self) -> usize {
        let is_picture = |it: &&Encoded| matches!(it, Encoded::Picture { .. });
        let counts = self
            .got
            .values()
            .map(|got| got.iter().filter(is_picture).count());
        counts.max().unwrap_or(0)
    }

    pub(super) async fn take(&mut self) {
        let encoded = time::timeout(LONG, self.encoded.recv()).await;
        let so_far: Vec<_> = self.got.iter().map(|(it, got)| (*it, got.len())).collect();
        let encoded = encoded.unwrap_or_else(|_| panic!("nothing comes back after {so_far:?}"));
        self.note(encoded.expect("the transcoder lives"));
    }

    pub(super) fn note(&mut self, encoded: Vec<Encoded>) {
        for encoded in encoded {
            let known = self.got.entry(encoded.rendition()).or_default();
            known.push(encoded);
        }
    }

    /// Drains, and takes what comes back until each of `renditions` has said that there is no more.
    pub(super) async fn drain(&mut self, renditions: &[Rendition]) {
        self.drains += 1;
        self.feed(Feed::Drain).await;
        while !renditions.iter().all(|it| self.has_ended(*it)) {
            self.take().await;
        }
    }

    pub(super) fn has_ended(&self, rendition: Rendition) -> bool {
        let got = self.of(rendition);
        let is_drained = |it: &&Encoded| matches!(it, Encoded::Drained { .. });
        matches!(got.last(), Some(Encoded::Lost { .. }))
            || got.iter().filter(is_drained).count() == self.drains
    }

    pub(super) fn forget(&mut self) {
        self.got.clear();
        self.drains = 0;
    }

    pub(super) fn of(&self, rendition: Rendition) -> &[Encoded] {
        self.got.get(&rendition).map_or(&[], Vec::as_slice)
    }

    pub(super) fn samples(&self, rendition: Rendition) -> Vec<&Sample> {
        let got = self.of(rendition).iter();
        got.filter_map(|encoded| match encoded {
            Encoded::Picture { sample, .. } => Some(sample),
            _ => None,
        })
        .collect()
    }

    pub(super) fn pts(&self, rendition: Rendition) -> Vec<i64> {
        let samples = self.samples(rendition);
        samples.iter().map(|sample| sample.dts).collect()
    }

    pub(super) fn keys(&self, rendition: Rendition) -> Vec<i64> {
        let samples = self.samples(rendition);
        let keys = samples.iter().filter(|sample| sample.sync);
        keys.map(|sample| sample.dts).collect()
    }

    pub(super) fn configs(&self, rendition: Rendition) -> Vec<&Config> {
        let got = self.of(rendition).iter();
        got.filter_map(|encoded| match encoded {
            Encoded::Config { config, .. } => Some(config),
            _ => None,
        })
        .collect()
    }

    /// What a player sees of a rendition with one configuration.
    pub(super) fn pictures(&self, rendition: Rendition) -> Vec<Video> {
        let config = self.configs(rendition)[0];
        let mut decoder = Decoder::open(config).expect("decodable");
        let mut pictures = Vec::new();
        let mut errors = 0;
        for sample in self.samples(rendition) {
            errors += decoder.decode(sample, &mut |picture| pictures.push(picture));
        }
        errors += decoder.drain(&mut |picture| pictures.push(picture));
        assert_eq!(errors, 0);
        pictures
    }
}
