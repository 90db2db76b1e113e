//! `[transcode]`: who encodes, and how much (contracts, section 7).
//!
//! A build without the feature `transcode` refuses to be asked for anything of it, and of [`super::ladder`]. Whether the
//! machine has the encoder shows when the daemon starts.

use vitrine_runtime::config::{Lack, Reader};
#[cfg(feature = "transcode")]
use vitrine_runtime::config::{Value, toml};

#[cfg(feature = "transcode")]
use crate::transcode::{Encoder, Preset, Settings};

/// Whether this build can transcode.
pub(super) const BUILT: bool = cfg!(feature = "transcode");

/// Why one cannot.
pub(super) const LACK: Lack = Lack::Feature("transcode");

/// How streams are transcoded.
#[cfg(feature = "transcode")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transcode {
    /// Of each stream.
    pub settings: Settings,
    /// Streams transcoded at once; the next ones are passed through only.
    pub max_streams: u32,
}

/// How streams are transcoded: none is, in this build.
#[cfg(not(feature = "transcode"))]
pub type Transcode = std::convert::Infallible;

/// `[transcode]`, when on.
#[cfg(feature = "transcode")]
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Transcode> {
    let enabled = reader.value("transcode.enabled", true);
    let usual = Settings::default();
    let settings = Settings {
        encoder: reader.value("transcode.encoder", usual.encoder),
        preset: reader.value("transcode.preset", usual.preset),
    };
    let max_streams = reader.optional("transcode.max_streams");
    reader.require(
        settings.encoder == Encoder::X264 || !reader.has("transcode.preset"),
        "transcode.preset",
        "none: only transcode.encoder = \"libx264\" has presets",
    );
    reader.require(
        max_streams != Some(0),
        "transcode.max_streams",
        "at least 1; transcode.enabled = false for none",
    );
    enabled.then(|| Transcode {
        settings,
        max_streams: max_streams.unwrap_or_else(cpus),
    })
}

/// `[transcode]`, which may only say that it is off.
#[cfg(not(feature = "transcode"))]
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Transcode> {
    let enabled = reader.value("transcode.enabled", false);
    reader.unsupported_if(enabled, "transcode.enabled", LACK);
    for key in ["encoder", "preset", "max_streams"] {
        reader.unsupported(&format!("transcode.{key}"), LACK);
    }
    None
}

#[cfg(feature = "transcode")]
impl Value for Encoder {
    const EXPECTED: &'static str = r#""libx264", "h264_vaapi", "h264_nvenc" or "h264_qsv""#;

    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }

    fn show(&self) -> String {
        self.to_string().show()
    }
}

#[cfg(feature = "transcode")]
impl Value for Preset {
    const EXPECTED: &'static str =
        r#""ultrafast", "superfast", "veryfast", "faster", "fast" or "medium""#;

    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }

    fn show(&self) -> String {
        self.to_string().show()
    }
}

/// As many streams as CPUs: `mid` and `low` of a 1080p source at `superfast` took half of one, and `high` may be encoded too.
#[cfg(feature = "transcode")]
fn cpus() -> u32 {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cpus).unwrap_or(u32::MAX)
}
