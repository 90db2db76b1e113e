//! The nouns of a broadcast: time, tracks, samples and the configurations of their codecs.

pub mod aac;
pub mod av1;
pub mod avc;
mod bits;
pub mod captions;
pub mod hevc;
pub mod mp3;
mod nal;
pub mod opus;
mod sample;
mod segment;
pub mod silence;
mod time;
mod track;
mod unit;
mod vui;

pub use sample::Sample;
pub use segment::{Part, Rendition, Segment, UnknownRendition};
pub use time::{MediaTime, Now, Timescale, WallTime};
pub use track::{Config, Kind};
pub use unit::Unit;
pub use vui::Hdr;

/// Why a codec configuration or an access unit cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes contradict the format they claim to be.
    #[error("malformed {what}: wanted {want}, got {got}")]
    Malformed {
        /// The structure being read, e.g. `AVCDecoderConfigurationRecord`.
        what: &'static str,
        /// What the format asks for at this place.
        want: &'static str,
        /// What stood there instead.
        got: u64,
    },
    /// The bytes end before the structure does.
    #[error("truncated {what}")]
    Truncated {
        /// The structure being read.
        what: &'static str,
    },
    /// Well-formed, but nothing this server can serve; the name is fit for the broadcaster's eyes.
    #[error("unsupported {what}")]
    Unsupported {
        /// The codec, profile or feature, in words.
        what: &'static str,
    },
}
