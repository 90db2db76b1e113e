//! What is done to a broadcast: bits flipped, bytes taken out and put in, units of other broadcasts spliced in, parameter
//! sets exchanged, configurations of others, instants that run backwards or wild, feeds out of order.
//!
//! All from one seed. Nothing here is worse than what may stand in an access unit on its way to the decoder: configurations
//! are those that our parsers accept, sizes of renditions those that a ladder has.

use bytes::Bytes;
use vitrine_core::{
    engine::ladder::{Feed, Rung},
    media::{Config, Rendition, Sample},
};

use super::{Clip, config};

/// Numbers that look thrown (SplitMix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0, fewer than `sides`.
    pub(super) fn below(&mut self, sides: usize) -> usize {
        (self.roll() % sides.max(1) as u64) as usize
    }

    pub(super) fn one_in(&mut self, sides: usize) -> bool {
        self.below(sides) == 0
    }

    pub(super) fn of<'a, T>(&mut self, choice: &'a [T]) -> &'a T {
        let at = self.below(choice.len());
        &choice[at]
    }

    /// What a decoder of `clip` is told: mostly what belongs to it.
    pub(super) fn config(&mut self, clip: &Clip, clips: &[Clip]) -> Config {
        match self.below(6) {
            0 => self.of(clips).config.clone(),
            1 => {
                let (kind, record): (&[u8; 4], _) = match &clip.config {
                    Config::Avc(config) => (b"avcC", config.record()),
                    Config::Hevc(config) => (b"hvcC", config.record()),
                    Config::Av1(config) => (b"av1C", config.record()),
                    Config::Aac(_) | Config::Mp3(_) | Config::Opus(_) => {
                        return clip.config.clone();
                    }
                };
                let wild = (0..8).find_map(|_| config(kind, &self.flipped(record, 4)));
                wild.unwrap_or_else(|| clip.config.clone())
            }
            _ => clip.config.clone(),
        }
    }

    /// Up to three, even, of any shape, largest first or not.
    pub(super) fn rungs(&mut self) -> Vec<Rung> {
        let mut rungs = Vec::new();
        for rendition in [Rendition::High, Rendition::Mid, Rendition::Low] {
            if self.one_in(5) {
                continue;
            }
            rungs.push(Rung {
                rendition,
                width: 2 * (8 + self.below(160) as u32),
                height: 2 * (8 + self.below(100) as u32),
                frame_rate: *self.of(&[(30, 1), (15, 1), (60_000, 1001), (1, 1)]),
                bitrate: 50_000 + self.below(1_000_000) as u32,
            });
        }
        rungs
    }

    /// Ticks that a broadcast is shifted by.
    pub(super) fn shift(&mut self) -> i64 {
        match self.below(10) {
            0 => i64::MAX - 90_000,
            1 => i64::MIN,
            2 => self.roll() as i64,
            3 => -90_000,
            _ => self.below(1 << 40) as i64,
        }
    }

    /// What stands in the place of `sample`.
    pub(super) fn feeds(&mut self, sample: &Sample, shift: i64, clips: &[Clip]) -> Vec<Feed> {
        let mut made = sample.clone();
        made.dts = made.dts.saturating_add(shift);
        match self.below(16) {
            0 => return Vec::new(),
            1 => return vec![Feed::Picture(made.clone()), Feed::Picture(made)],
            2 => made.dts = self.roll() as i64,
            3 => made.dts = made.dts.saturating_sub(9_000),
            4 => made.composition_offset = self.roll() as i32,
            5 => made.duration = self.roll() as u32,
            6 => made.sync = !made.sync,
            7 => {
                let rendition = *self.of(&[Rendition::High, Rendition::Mid, Rendition::Low]);
                return match self.below(4) {
                    0 => vec![Feed::Drain, Feed::Picture(made)],
                    1 => vec![Feed::Stop { rendition }, Feed::Picture(made)],
                    2 => vec![Feed::Key {
                        at: self.roll() as i64,
                    }],
                    _ => vec![Feed::Drain, Feed::Drain],
                };
            }
            _ => made.data = self.mutated(&sample.data, clips),
        }
        vec![Feed::Picture(made)]
    }

    /// An access unit in the place of `data`.
    pub(super) fn mutated(&mut self, data: &Bytes, clips: &[Clip]) -> Bytes {
        let at = self.below(data.len() + 1);
        let clip = self.of(clips);
        let other = &self.of(&clip.samples).data;
        let span = 1 + self.below(32);
        match self.below(10) {
            0 => data.slice(..at),
            1 => [&data[..at], &data[data.len().min(at + span)..]]
                .concat()
                .into(),
            // The head of one and the tail of another.
            2 => [&data[..at], &other[self.below(other.len())..]]
                .concat()
                .into(),
            3 => other.clone(),
            // Parameter sets of another broadcast, in band; where lengths do not suit they are noise.
            4 | 5 => [&parameter_sets(&clip.config), &data[..]].concat().into(),
            6 => {
                let noise = (0..span).map(|_| self.roll() as u8);
                let noise: Vec<u8> = noise.collect();
                [&data[..at], &noise, &data[at..]].concat().into()
            }
            // The head of a unit is where formats say most.
            7 => {
                let head = data.len().min(40);
                let flipped = self.flipped(&data.slice(..head), 4);
                [&flipped[..], &data[head..]].concat().into()
            }
            _ => self.flipped(data, 16),
        }
    }

    /// Some bits of `data` the other way round.
    fn flipped(&mut self, data: &Bytes, most: usize) -> Bytes {
        let mut data = data.to_vec();
        for _ in 0..=self.below(most) {
            let (at, bit) = (self.below(data.len()), self.below(8));
            if let Some(byte) = data.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        data.into()
    }
}

/// The parameter sets of a configuration as they stand in an access unit: behind their lengths, or as an OBU.
fn parameter_sets(config: &Config) -> Vec<u8> {
    let mut units = Vec::new();
    let (record, mut at) = match config {
        Config::Avc(config) => (config.record(), 5),
        Config::Hevc(config) => (config.record(), 23),
        Config::Av1(config) => return config.record().get(4..).unwrap_or_default().to_vec(),
        Config::Aac(_) | Config::Mp3(_) | Config::Opus(_) => return units,
    };
    // Counts and types stand between them, of known length (ISO 14496-15, 5.3.3.1.2 and 8.3.3.1.2).
    let gap = if let Config::Hevc(_) = config { 3 } else { 1 };
    at += gap;
    while let Some(&[high, low]) = record.get(at..at + 2).and_then(|it| it.as_array()) {
        let size = usize::from(u16::from_be_bytes([high, low]));
        let Some(unit) = record.get(at + 2..at + 2 + size) else {
            break;
        };
        units.extend((size as u32).to_be_bytes());
        units.extend(unit);
        at += 2 + size + gap;
    }
    units
}
