//! What the daemon encodes: `[transcode]` and the ladders `[ladder.<name>]` (contracts, section 7).
//!
//! A build without the feature `transcode` refuses to be asked for any of it. What a ladder becomes for a given source is
//! `engine::ladder`'s business; whether the machine has the encoder shows when the daemon starts.

use std::{collections::BTreeMap, thread};

use vitrine_core::engine::ladder::{Ladder, Target, Targets};
use vitrine_runtime::config::{Bitrate, Lack, Reader, Value, toml};

/// Whether this build can transcode.
pub const BUILT: bool = cfg!(feature = "transcode");

/// How streams are transcoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transcode {
    /// Who encodes pictures.
    pub encoder: Encoder,
    /// Speed against quality, of [`Encoder::Libx264`] only.
    pub preset: Preset,
    /// Streams transcoded at once; the next ones are passed through only.
    pub max_streams: u32,
}

/// Who encodes pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoder {
    /// x264, in software.
    Libx264,
    /// VA-API: GPUs of Intel and AMD.
    Vaapi,
    /// NVENC: GPUs of NVIDIA.
    Nvenc,
    /// Quick Sync: GPUs of Intel.
    Qsv,
}

impl Encoder {
    const ALL: [Self; 4] = [Self::Libx264, Self::Vaapi, Self::Nvenc, Self::Qsv];

    /// What FFmpeg calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Libx264 => "libx264",
            Self::Vaapi => "h264_vaapi",
            Self::Nvenc => "h264_nvenc",
            Self::Qsv => "h264_qsv",
        }
    }
}

impl Value for Encoder {
    const EXPECTED: &'static str = r#""libx264", "h264_vaapi", "h264_nvenc" or "h264_qsv""#;

    fn from_toml(value: &toml::Value) -> Option<Self> {
        let name = value.as_str()?;
        Self::ALL.into_iter().find(|encoder| encoder.name() == name)
    }

    fn show(&self) -> String {
        self.name().to_owned().show()
    }
}

/// A preset of x264. Those slower than `medium` do not suit a live broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset(&'static str);

impl Preset {
    const NAMES: [&'static str; 6] = [
        "ultrafast",
        "superfast",
        "veryfast",
        "faster",
        "fast",
        "medium",
    ];

    /// What x264 calls it.
    pub fn name(self) -> &'static str {
        self.0
    }
}

impl Default for Preset {
    fn default() -> Self {
        Self("superfast")
    }
}

impl Value for Preset {
    const EXPECTED: &'static str =
        r#""ultrafast", "superfast", "veryfast", "faster", "fast" or "medium""#;

    fn from_toml(value: &toml::Value) -> Option<Self> {
        let name = value.as_str()?;
        let known = Self::NAMES.into_iter().find(|known| *known == name);
        known.map(Self)
    }

    fn show(&self) -> String {
        self.0.to_owned().show()
    }
}

impl Transcode {
    /// The settings, when transcoding is on.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let enabled = reader.value("transcode.enabled", BUILT);
        if !BUILT {
            reader.unsupported_if(enabled, "transcode.enabled", LACK);
            for key in ["encoder", "preset", "max_streams"] {
                reader.unsupported(&format!("transcode.{key}"), LACK);
            }
            return None;
        }
        let transcode = Self {
            encoder: reader.value("transcode.encoder", Encoder::Libx264),
            preset: reader.value("transcode.preset", Preset::default()),
            max_streams: reader
                .optional("transcode.max_streams")
                .unwrap_or_else(cpus),
        };
        reader.require(
            transcode.encoder == Encoder::Libx264 || !reader.has("transcode.preset"),
            "transcode.preset",
            "none: only transcode.encoder = \"libx264\" has presets",
        );
        reader.require(
            transcode.max_streams >= 1,
            "transcode.max_streams",
            "at least 1; transcode.enabled = false for none",
        );
        enabled.then_some(transcode)
    }
}

/// The ladders that are written down, by name.
pub(super) fn ladders(reader: &mut Reader<'_>) -> BTreeMap<String, Ladder> {
    if !BUILT {
        reader.unsupported("ladder", LACK);
        return BTreeMap::new();
    }
    let audio_only = reader.value("ladder.audio_only", false);
    reader.unsupported_if(audio_only, "ladder.audio_only", Lack::Version);
    reader.tables("ladder", DEFAULT, ladder)
}

/// The ladder that a stream key names.
pub(super) fn named(entry: &mut Reader<'_>) -> Option<String> {
    if !BUILT {
        entry.unsupported("ladder", LACK);
        return None;
    }
    entry.optional("ladder")
}

fn ladder(reader: &mut Reader<'_>) -> Option<Ladder> {
    let usual = Targets::built_in(0, false);
    let pass = reader.value("high.pass", true);
    let high = target(reader, "high", usual.high, None);
    let mid = target(reader, "mid", usual.mid, Some(("high", high)));
    let low = target(reader, "low", usual.low, Some(("mid", mid)));
    Some(Ladder {
        pass,
        targets: Targets { high, mid, low },
    })
}

/// The target of the rendition `name`, less in everything than the one above it.
fn target(
    reader: &mut Reader<'_>,
    name: &str,
    usual: Target,
    above: Option<(&str, Target)>,
) -> Target {
    let [sides, bits] = [
        above.map(|(name, above)| (name, above.short_side)),
        above.map(|(name, above)| (name, above.bitrate)),
    ];
    let bits = bits.map(|(name, bits)| (name, Bitrate(bits)));
    let key = (name, "short_side");
    let short_side = bounded(reader, key, usual.short_side, SHORT_SIDES, sides);
    let key = (name, "bitrate");
    let bitrate = bounded(reader, key, Bitrate(usual.bitrate), BITRATES, bits);
    Target {
        short_side,
        bitrate: bitrate.0,
    }
}

fn bounded<T: Value + Ord + Copy>(
    reader: &mut Reader<'_>,
    (name, key): (&str, &str),
    usual: T,
    (least, most): (T, T),
    above: Option<(&str, T)>,
) -> T {
    let full = format!("{name}.{key}");
    let value = reader.value(&full, usual);
    let expected = match above {
        _ if value < least || value > most => format!("{} to {}", least.show(), most.show()),
        Some((name, above)) if value >= above => {
            format!("less than {name}.{key}, which is {}", above.show())
        }
        _ => return value,
    };
    reader.require(false, &full, expected);
    value
}

/// As many streams as CPUs: the three rungs of a 1080p source at `superfast` took three quarters of one.
fn cpus() -> u32 {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cpus).unwrap_or(u32::MAX)
}

/// The ladder of keys that name none.
pub(super) const DEFAULT: &str = "default";

const LACK: Lack = Lack::Feature("transcode");

/// Below the least there is nothing to see; above the most no H.264 level of phones goes.
const SHORT_SIDES: (u32, u32) = (120, 2160);

/// Below the least x264 cannot hold even the smallest picture; the most is beyond any live encoder's.
const BITRATES: (Bitrate, Bitrate) = (Bitrate(50_000), Bitrate(50_000_000));
