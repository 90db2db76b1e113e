//! Encoders that hand back what they are told to, a few pictures late; nothing is encoded.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{
    engine::ladder::{Encoded, Failure, Feed, Rung},
    media::{Config, Rendition, Sample},
};

/// Pictures that a decoder holds until it knows which is shown next.
const REORDERED: usize = 3;

/// All encoders of a stream.
#[derive(Debug, Default)]
pub(super) struct Encoders {
    /// Pictures that are held back beside those that a source may reorder.
    pub(super) behind: usize,
    /// Makes nothing of these.
    pub(super) failing: Vec<Rendition>,
    /// Takes everything and answers nothing, until the next source or slate.
    pub(super) hanging: bool,
    /// What encoders make of a slate has, where it is another than the source's.
    pub(super) slate: Option<Config>,
    config: Option<Config>,
    /// Configurations, which encoders know only with their first picture.
    opened: Vec<Encoded>,
    rungs: Vec<(Rung, i64)>,
    keys: VecDeque<i64>,
    held: Vec<Sample>,
    made: u32,
}

impl Encoders {
    pub(super) fn new(behind: usize) -> Self {
        Self {
            behind,
            ..Self::default()
        }
    }

    pub(super) fn take(&mut self, feed: Feed) -> Vec<Encoded> {
        let mut out = Vec::new();
        if matches!(feed, Feed::Source { .. } | Feed::Slate { .. }) {
            self.hanging = false;
        }
        if self.hanging {
            return out;
        }
        match feed {
            Feed::Source { config, rungs } => {
                self.open(&config, rungs, &mut out);
                self.config = Some(config);
            }
            Feed::Slate { rungs } => {
                let config = self.slate.clone().or(self.config.clone());
                self.open(&config.expect("a source before a slate"), rungs, &mut out);
            }
            Feed::Repeat { at } => {
                self.held.push(Sample {
                    dts: at,
                    composition_offset: 0,
                    duration: 0,
                    sync: true,
                    data: Bytes::new(),
                });
                self.release(self.behind, &mut out);
            }
            Feed::Stop { rendition } => self.rungs.retain(|(rung, _)| rung.rendition != rendition),
            Feed::Key { at } => self.keys.push_back(at),
            Feed::Seal { .. } => {}
            Feed::Picture(sample) => {
                let place = self
                    .held
                    .partition_point(|held| shown(held) <= shown(&sample));
                self.held.insert(place, sample);
                self.release(REORDERED + self.behind, &mut out);
            }
            Feed::Drain => {
                self.release(0, &mut out);
                let rungs = self.rungs.iter().map(|(rung, _)| rung.rendition);
                out.extend(rungs.map(|rendition| Encoded::Drained { rendition }));
            }
        }
        out
    }

    fn open(&mut self, config: &Config, rungs: Vec<Rung>, out: &mut Vec<Encoded>) {
        self.release(0, out);
        self.keys.clear();
        for rung in &rungs {
            let (rendition, config) = (rung.rendition, config.clone());
            match self.failing.contains(&rendition) {
                false => self.opened.push(Encoded::Config { rendition, config }),
                true => out.push(Encoded::Lost {
                    rendition,
                    reason: Failure::Encoder,
                }),
            }
        }
        self.rungs = rungs.into_iter().map(|rung| (rung, i64::MIN)).collect();
    }

    fn release(&mut self, keep: usize, out: &mut Vec<Encoded>) {
        while self.held.len() > keep {
            out.append(&mut self.opened);
            let at = shown(&self.held.remove(0));
            let mut key = false;
            while self.keys.front().is_some_and(|key| *key <= at + 750) {
                self.keys.pop_front();
                key = true;
            }
            for (rung, due) in &mut self.rungs {
                if self.failing.contains(&rung.rendition) || !(key || at + 750 >= *due) {
                    continue;
                }
                *due = if key { at } else { (*due).max(at - 750) } + rung.frame_ticks();
                self.made += 1;
                out.push(Encoded::Picture {
                    rendition: rung.rendition,
                    sample: Sample {
                        dts: at,
                        composition_offset: 0,
                        duration: u32::try_from(rung.frame_ticks()).expect("a frame"),
                        sync: key,
                        data: Bytes::copy_from_slice(&self.made.to_be_bytes()),
                    },
                });
            }
        }
    }
}

fn shown(sample: &Sample) -> i64 {
    sample.dts + i64::from(sample.composition_offset)
}
