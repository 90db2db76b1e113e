//! Sound that not every player takes: why it is encoded beside a ladder, and into what.
//!
//! AAC-LC at 32, 44.1 or 48 kHz with one or two channels is played wherever low-latency HLS is; it stays as it came.
//! Whatever else comes is made into that. Where nothing is encoded, sound is passed through as far as it can be.

use std::fmt;

use crate::media::{Config, Kind, aac};

/// Bits per second of each channel: 128 kb/s in stereo. Mono has half, which is as much for each channel, and with
/// FFmpeg's encoder the same bandwidth of 16 kHz.
const BITRATE_PER_CHANNEL: u32 = 64_000;

/// Why sound is not passed through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// Not every player can decode it.
    #[error(
        "{codec} is not played everywhere: set the encoder to AAC (OBS: Settings > Output > Audio Encoder)"
    )]
    Codec {
        /// Its name.
        codec: &'static str,
    },
    /// Nor play so many channels.
    #[error(
        "{channels} channels are not played everywhere: set the encoder to stereo (OBS: Settings > Audio > Channels)"
    )]
    Channels {
        /// How many.
        channels: u8,
    },
    /// Nor play at its rate.
    #[error(
        "a sampling rate of {hz} Hz is not played everywhere: set the encoder to 48 kHz (OBS: Settings > Audio > Sample Rate)"
    )]
    Rate {
        /// Samples per second.
        hz: u32,
    },
}

/// What sound is encoded into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// AAC-LC at 48 or 44.1 kHz, mono or stereo.
    pub config: aac::Config,
    /// Average bits per second.
    pub bitrate: u32,
    /// Why it is encoded at all.
    pub because: Obstacle,
}

impl Target {
    /// What becomes of sound of this configuration; `None` when it can be passed through, and for pictures.
    pub fn of(config: &Config) -> Option<Self> {
        let because = obstacle(config)?;
        // By a whole factor where there is one; the clocks of sound cards are multiples of these two.
        let rate = match config.timescale().hz() {
            rate if rate.is_multiple_of(11_025) => 44_100,
            _ => 48_000,
        };
        let channels = config.channels().unwrap_or(2).clamp(1, 2);
        Some(Self {
            config: aac::Config::low_complexity(rate, channels).ok()?,
            bitrate: BITRATE_PER_CHANNEL * u32::from(channels),
            because,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kbps = self.bitrate / 1000;
        write!(
            f,
            "the sound is encoded to AAC {kbps} kb/s, not passed through: {}",
            self.because
        )
    }
}

/// Whether sound can be passed through at all: some player must take it.
pub fn passes(config: &Config) -> bool {
    !matches!(config, Config::Mp3(_))
}

fn obstacle(config: &Config) -> Option<Obstacle> {
    let codec = match config {
        Config::Aac(aac) if aac.is_low_complexity() => None,
        Config::Aac(_) => Some("HE-AAC"),
        Config::Mp3(_) => Some("MP3"),
        Config::Opus(_) => Some("Opus"),
        Config::Av1(_) | Config::Avc(_) | Config::Hevc(_) => return None,
    };
    debug_assert_eq!(config.kind(), Kind::Audio);
    let (channels, hz) = (config.channels().unwrap_or(2), config.timescale().hz());
    match (codec, channels, hz) {
        (Some(codec), _, _) => Some(Obstacle::Codec { codec }),
        (None, 3.., _) => Some(Obstacle::Channels { channels }),
        (None, _, 32_000 | 44_100 | 48_000) => None,
        (None, _, hz) => Some(Obstacle::Rate { hz }),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::media::{mp3, opus};

    fn aac(record: &'static [u8]) -> Config {
        Config::Aac(aac::Config::parse(&Bytes::from_static(record)).expect("a configuration"))
    }

    fn lc(rate: u32, channels: u8) -> Config {
        Config::Aac(aac::Config::low_complexity(rate, channels).expect("indexed"))
    }

    #[test]
    fn what_every_player_takes_is_passed_through() {
        for (rate, channels) in [
            (32_000, 2),
            (44_100, 1),
            (44_100, 2),
            (48_000, 1),
            (48_000, 2),
        ] {
            assert_eq!(
                Target::of(&lc(rate, channels)),
                None,
                "{rate} Hz, {channels}"
            );
        }
    }

    #[test]
    fn the_rest_becomes_aac_of_the_nearest_kind() {
        let head = Bytes::from_static(b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0");
        let opus = Config::Opus(opus::Config::parse(&head).expect("a header"));
        let mp3 = |header: &[u8; 4]| Config::Mp3(mp3::Config::detect(header).expect("a header"));
        let codec = |codec| Obstacle::Codec { codec };
        let cases = [
            (opus, 48_000, 2, codec("Opus")),
            (mp3(&[0xff, 0xfb, 0x90, 0x64]), 44_100, 2, codec("MP3")),
            (mp3(&[0xff, 0xf3, 0x80, 0xc4]), 44_100, 1, codec("MP3")),
            (mp3(&[0xff, 0xe3, 0x28, 0xc4]), 48_000, 1, codec("MP3")),
            (aac(&[0x2b, 0x11, 0x88, 0x00]), 48_000, 2, codec("HE-AAC")),
            (aac(&[0xeb, 0x09, 0x88, 0x00]), 48_000, 2, codec("HE-AAC")), // v2, one channel coded
            (lc(48_000, 6), 48_000, 2, Obstacle::Channels { channels: 6 }),
            (lc(22_050, 2), 44_100, 2, Obstacle::Rate { hz: 22_050 }),
            (lc(11_025, 1), 44_100, 1, Obstacle::Rate { hz: 11_025 }),
            (lc(96_000, 2), 48_000, 2, Obstacle::Rate { hz: 96_000 }),
            (lc(24_000, 1), 48_000, 1, Obstacle::Rate { hz: 24_000 }),
        ];
        for (source, rate, channels, because) in cases {
            let target = Target::of(&source).expect("encoded");
            let Config::Aac(config) = lc(rate, channels) else {
                panic!("no AAC");
            };
            assert_eq!(
                target,
                Target {
                    config,
                    bitrate: 64_000 * u32::from(channels),
                    because
                }
            );
            assert_eq!(Target::of(&Config::Aac(target.config)), None);
        }
    }

    #[test]
    fn it_says_what_to_set() {
        let told = Target::of(&lc(96_000, 2)).expect("encoded").to_string();
        assert_eq!(
            told,
            "the sound is encoded to AAC 128 kb/s, not passed through: a sampling rate of 96000 Hz is not played \
             everywhere: set the encoder to 48 kHz (OBS: Settings > Audio > Sample Rate)"
        );
    }
}
