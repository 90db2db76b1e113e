//! What an operator chooses: the encoder, and how much work it spends on a picture.

use std::{fmt, str::FromStr};

/// How renditions are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The encoder, of those that FFmpeg may have.
    pub encoder: Encoder,
    /// How much work x264 spends; other encoders keep their own default.
    pub preset: Preset,
}

/// An encoder of H.264, by FFmpeg's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoder {
    /// `libx264`: on the processor, everywhere.
    #[default]
    X264,
    /// `h264_vaapi`: Intel and AMD graphics.
    Vaapi,
    /// `h264_nvenc`: NVIDIA graphics.
    Nvenc,
    /// `h264_qsv`: Intel Quick Sync.
    Qsv,
}

/// A preset of x264, fastest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "x264's own names")]
pub enum Preset {
    Ultrafast,
    #[default]
    Superfast,
    Veryfast,
    Faster,
    Fast,
    Medium,
}

/// A name that stands for no encoder or preset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {}", .0.join(", "))]
pub struct UnknownName(&'static [&'static str]);

impl Encoder {
    /// Every encoder, in the order of their names in [`UnknownName`].
    pub const ALL: [Self; 4] = [Self::X264, Self::Vaapi, Self::Nvenc, Self::Qsv];
    const NAMES: [&'static str; 4] = ["libx264", "h264_vaapi", "h264_nvenc", "h264_qsv"];

    /// FFmpeg's name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

impl Preset {
    /// Every preset, fastest first.
    pub const ALL: [Self; 6] = [
        Self::Ultrafast,
        Self::Superfast,
        Self::Veryfast,
        Self::Faster,
        Self::Fast,
        Self::Medium,
    ];
    const NAMES: [&'static str; 6] = [
        "ultrafast",
        "superfast",
        "veryfast",
        "faster",
        "fast",
        "medium",
    ];

    /// x264's name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

impl FromStr for Encoder {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let found = Self::ALL.into_iter().find(|it| it.name() == name);
        found.ok_or(UnknownName(&Self::NAMES))
    }
}

impl FromStr for Preset {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let found = Self::ALL.into_iter().find(|it| it.name() == name);
        found.ok_or(UnknownName(&Self::NAMES))
    }
}

impl fmt::Display for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_ffmpeg_and_x264() {
        for encoder in Encoder::ALL {
            assert_eq!(encoder.name().parse(), Ok(encoder));
        }
        for preset in Preset::ALL {
            assert_eq!(preset.name().parse(), Ok(preset));
        }
        let error = "x264".parse::<Encoder>().expect_err("FFmpeg's is libx264");
        assert_eq!(
            error.to_string(),
            "expected one of libx264, h264_vaapi, h264_nvenc, h264_qsv"
        );
        assert!("placebo".parse::<Preset>().is_err());
    }
}
