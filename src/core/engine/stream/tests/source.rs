//! A model encoder: what arrives from a publisher with a given rhythm, as items with their arrival times.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    media::{Config, Kind, aac, avc},
    wire::flv::{Frame, Item},
};

/// 320x180, High, as ffmpeg's libx264 writes it with B-frames.
const AVC_SMALL: &str = "0164000dffe1001a6764000dacd941419f9f0110000003001000000303c0f142996001000668ebe3cb22c0fdf8f800";
/// 640x360, Constrained Baseline.
const AVC_LARGE: &str =
    "0142c01effe100196742c01eda0280bfe5c044000003000400000300f03c58ba8001000468ce0fc8";
/// 640x360, High.
const AVC_HIGH: &str = "0164001effe1001a6764001eacd940a02ff970110000030001000003003c0f162d9601000668ebe3cb22c0fdf8f800";

fn bytes(hex: &str) -> Bytes {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(digit).collect()
}

pub(super) fn avc_small() -> Config {
    Config::Avc(avc::Config::parse(&bytes(AVC_SMALL)).expect("a real configuration"))
}

pub(super) fn avc_large() -> Config {
    Config::Avc(avc::Config::parse(&bytes(AVC_LARGE)).expect("a real configuration"))
}

pub(super) fn avc_high() -> Config {
    Config::Avc(avc::Config::parse(&bytes(AVC_HIGH)).expect("a real configuration"))
}

/// Stereo AAC: object type (2 LC, 5 explicit SBR over an LC core of half the rate) at an output rate.
pub(super) fn aac(rate: u32, sbr: bool) -> Config {
    const RATES: [u32; 12] = [
        96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025,
        8_000,
    ];
    let index = |rate: u32| {
        RATES
            .iter()
            .position(|&known| known == rate)
            .expect("a customary rate") as u32
    };
    let asc = if sbr {
        // 5 bits AOT 5, 4 bits core rate, 4 bits channels, 4 bits output rate, 5 bits AOT 2, 3 bits of GASpecificConfig.
        (5 << 27) | (index(rate / 2) << 23) | (2 << 19) | (index(rate) << 15) | (2 << 10)
    } else {
        (2 << 27) | (index(rate) << 23) | (2 << 19)
    };
    let length = if sbr { 4 } else { 2 };
    let record = Bytes::copy_from_slice(&u32::to_be_bytes(asc)[..length]);
    Config::Aac(aac::Config::parse(&record).expect("a real configuration"))
}

/// Pictures: their rate, the frames between key frames, and whether two B-frames stand between references.
#[derive(Clone, Debug)]
pub(super) struct Pictures {
    pub(super) config: Config,
    pub(super) rate: (u32, u32),
    pub(super) gop: u64,
    pub(super) b_frames: bool,
}

impl Pictures {
    /// The number of a frame at or before `ms`.
    fn before(&self, ms: u64) -> u64 {
        ms * u64::from(self.rate.0) / u64::from(self.rate.1) / 1000
    }
}

fn frame_samples(sound: &Config) -> u64 {
    let samples = sound.frame_samples(&[]);
    u64::from(samples.expect("AAC frames have one length"))
}

/// A publisher with regular pictures and sound, from a first timestamp on.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) pictures: Option<Pictures>,
    pub(super) sound: Option<Config>,
    pub(super) first_timestamp: u32,
    /// How many millionths faster than ours its clock runs.
    pub(super) drift_ppm: i64,
    /// The bits that its timestamps have.
    pub(super) clock_mask: u32,
}

impl Source {
    /// 30 fps, GOP 1 s, AAC 48 kHz: the customary broadcast.
    pub(super) fn usual() -> Self {
        Self::new((30, 1), 30, Some(aac(48_000, false)))
    }

    pub(super) fn new(rate: (u32, u32), gop: u64, sound: Option<Config>) -> Self {
        let pictures = Pictures {
            config: avc_small(),
            rate,
            gop,
            b_frames: false,
        };
        Self {
            pictures: Some(pictures),
            sound,
            first_timestamp: 0,
            drift_ppm: 0,
            clock_mask: u32::MAX,
        }
    }

    /// Everything from `from_ms` to `until_ms` of the source's own time, in order, with its time in milliseconds:
    /// configurations first.
    pub(super) fn items(&self, from_ms: u64, until_ms: u64) -> Vec<(u64, Item)> {
        let mut items: Vec<(u64, Item)> = Vec::new();
        if let Some(pictures) = &self.pictures {
            items.extend(
                (pictures.before(from_ms)..)
                    .map(|n| self.picture(pictures, n))
                    .take_while(|(ms, _)| *ms < until_ms),
            );
        }
        if let Some(sound) = &self.sound {
            let before = from_ms * u64::from(sound.timescale().hz()) / 1000 / frame_samples(sound);
            items.extend(
                (before..)
                    .map(|n| self.sound(sound, n))
                    .take_while(|(ms, _)| *ms < until_ms),
            );
        }
        items.retain(|(ms, _)| *ms >= from_ms);
        items.sort_by_key(|(ms, _)| *ms);
        let configs = self
            .pictures
            .iter()
            .map(|pictures| &pictures.config)
            .chain(&self.sound);
        let mut all: Vec<_> = configs
            .map(|config| (from_ms, Item::Config(config.clone())))
            .collect();
        all.append(&mut items);
        all
    }

    fn timestamp(&self, ms: u64) -> u32 {
        let drifted = ms as i64 + ms as i64 * self.drift_ppm / 1_000_000;
        self.first_timestamp.wrapping_add(drifted as u32) & self.clock_mask
    }

    fn picture(&self, pictures: &Pictures, n: u64) -> (u64, Item) {
        let (num, den) = (u64::from(pictures.rate.0), u64::from(pictures.rate.1));
        let ms = |n: u64| n * 1000 * den / num;
        let in_gop = n % pictures.gop;
        // Decode order I P B B P B B: a reference is shown three frames after its turn, the key frame one.
        let reorder = match in_gop {
            _ if !pictures.b_frames => 0,
            0 => 1,
            _ if (in_gop - 1).is_multiple_of(3) => 3,
            _ => 0,
        };
        let sync = in_gop == 0;
        let frame = Frame {
            kind: Kind::Video,
            timestamp: self.timestamp(ms(n)),
            nanos: 0,
            composition_ms: (ms(n + reorder) - ms(n)) as i32,
            sync,
            data: payload(
                if sync { 0x65 } else { 0x41 },
                n,
                if sync { 900 } else { 180 },
            ),
        };
        (ms(n), Item::Frame(frame))
    }

    fn sound(&self, config: &Config, n: u64) -> (u64, Item) {
        let ms = n * frame_samples(config) * 1000 / u64::from(config.timescale().hz());
        let frame = Frame {
            kind: Kind::Audio,
            timestamp: self.timestamp(ms),
            nanos: 0,
            composition_ms: 0,
            sync: true,
            data: payload(0x21, n, 96),
        };
        (ms, Item::Frame(frame))
    }
}

/// An access unit of one length-prefixed unit that no other access unit equals.
fn payload(header: u8, n: u64, length: usize) -> Bytes {
    let mut data = BytesMut::with_capacity(length + 4);
    data.put_u32(length as u32);
    data.put_u8(header);
    data.put_u64(n);
    data.resize(length + 4, header);
    data.freeze()
}
