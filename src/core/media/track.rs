//! A track: what kind it is, and the configuration its decoder needs.

use super::{Hdr, Timescale, aac, av1, avc, hevc, mp3, opus};

/// The two kinds of media a broadcast carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// The decoder configuration of a track: one initialization segment per value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Config {
    /// AAC-LC, HE-AAC or HE-AAC v2.
    Aac(aac::Config),
    /// AV1.
    Av1(av1::Config),
    /// H.264.
    Avc(avc::Config),
    /// H.265.
    Hevc(hevc::Config),
    /// MP3.
    Mp3(mp3::Config),
    /// Opus.
    Opus(opus::Config),
}

impl Config {
    /// Whether this configures pictures or sound.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Av1(_) | Self::Avc(_) | Self::Hevc(_) => Kind::Video,
            Self::Aac(_) | Self::Mp3(_) | Self::Opus(_) => Kind::Audio,
        }
    }

    /// The clock the track's samples are counted on: 90 kHz for video, the sampling rate for audio (48 kHz for Opus,
    /// the output rate for HE-AAC).
    pub fn timescale(&self) -> Timescale {
        match self {
            Self::Av1(_) | Self::Avc(_) | Self::Hevc(_) => Timescale::VIDEO,
            Self::Aac(config) => config.timescale(),
            Self::Mp3(config) => config.timescale(),
            Self::Opus(_) => opus::TIMESCALE,
        }
    }

    /// The RFC 6381 codecs parameter, as it stands in `CODECS`.
    pub fn codecs(&self) -> String {
        match self {
            Self::Aac(config) => config.codecs(),
            Self::Av1(config) => config.codecs(),
            Self::Avc(config) => config.codecs(),
            Self::Hevc(config) => config.codecs(),
            Self::Mp3(_) => "mp4a.40.34".to_owned(),
            Self::Opus(_) => "opus".to_owned(),
        }
    }

    /// Coded width and height in pixels, after cropping; `None` for audio.
    pub fn resolution(&self) -> Option<(u32, u32)> {
        match self {
            Self::Av1(config) => Some(config.resolution()),
            Self::Avc(config) => Some(config.resolution()),
            Self::Hevc(config) => Some(config.resolution()),
            Self::Aac(_) | Self::Mp3(_) | Self::Opus(_) => None,
        }
    }

    /// [`Self::resolution`] as it is to be shown: with square pixels, the height kept (draft-pantos-hls-rfc8216bis, 4.4.6.2,
    /// `RESOLUTION`).
    pub fn display_resolution(&self) -> Option<(u32, u32)> {
        let (num, den) = match self {
            Self::Avc(config) => config.sample_aspect_ratio(),
            Self::Hevc(config) => config.sample_aspect_ratio(),
            Self::Av1(_) | Self::Aac(_) | Self::Mp3(_) | Self::Opus(_) => (1, 1),
        };
        let (width, height) = self.resolution()?;
        let den = u64::from(den).max(1);
        let shown = (u64::from(width) * u64::from(num) + den / 2) / den;
        let shown = u32::try_from(shown).ok().filter(|shown| *shown > 0);
        Some((shown.unwrap_or(width), height))
    }

    /// Frames per second as the bitstream itself declares it, as numerator and denominator; `None` where it does not.
    pub fn frame_rate(&self) -> Option<(u32, u32)> {
        match self {
            Self::Av1(config) => config.frame_rate(),
            Self::Avc(config) => config.frame_rate(),
            Self::Hevc(config) => config.frame_rate(),
            Self::Aac(_) | Self::Mp3(_) | Self::Opus(_) => None,
        }
    }

    /// What goes beyond standard displays, where the bitstream says so; `None` for audio.
    pub fn hdr(&self) -> Option<Hdr> {
        match self {
            Self::Av1(config) => config.hdr(),
            Self::Avc(config) => config.hdr(),
            Self::Hevc(config) => config.hdr(),
            Self::Aac(_) | Self::Mp3(_) | Self::Opus(_) => None,
        }
    }

    /// Output channels, as players hear them; `None` for video.
    pub fn channels(&self) -> Option<u8> {
        match self {
            Self::Aac(config) => Some(config.channels()),
            Self::Mp3(config) => Some(config.channels()),
            Self::Opus(config) => Some(config.channels()),
            Self::Av1(_) | Self::Avc(_) | Self::Hevc(_) => None,
        }
    }

    /// Ticks of [`Self::timescale`] that the access unit `data` lasts: exact for sound; `None` for pictures, whose length
    /// is the distance to the next one, and for an impossible Opus packet or what is no MP3.
    pub fn frame_samples(&self, data: &[u8]) -> Option<u32> {
        match self {
            Self::Aac(config) => Some(config.frame_samples()),
            Self::Mp3(config) => config.packet_samples(data),
            Self::Opus(_) => opus::packet_samples(data),
            Self::Av1(_) | Self::Avc(_) | Self::Hevc(_) => None,
        }
    }
}
