//! AAC: the AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1) of LC, HE-AAC and HE-AAC v2, and ADTS headers sent by
//! mistake (1.A.2).
//!
//! SBR and PS are known only when the configuration signals them, hierarchically (object type 5 or 29) or by the
//! backward compatible extension. Implicit SBR cannot be seen without decoding: such a stream is described by its core
//! rate, as its configuration says, and since 1024 core samples last as long as 2048 output samples, all its times are
//! right. Access units are never read.

use bytes::Bytes;

use super::{Error, Timescale, bits::Reader};
use crate::limits;

const WHAT: &str = "AudioSpecificConfig";

/// Sampling rates by `samplingFrequencyIndex`, in Hz (table 1.18).
const SAMPLING_RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000,
    7350,
];
const RESERVED_RATE: usize = 13;
const EXPLICIT_RATE: u32 = 15;

// audioObjectType (table 1.17).
const LC: u32 = 2;
const SBR: u32 = 5;
const PS: u32 = 29;

/// An AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    record: Bytes,
    object_type: u32,
    timescale: Timescale,
    frame_samples: u32,
    channels: u8,
}

impl Config {
    /// Reads an AudioSpecificConfig.
    ///
    /// # Errors
    /// [`Error`] naming what is malformed or unsupported (960-sample frames, other object types).
    pub fn parse(asc: &Bytes) -> Result<Self, Error> {
        let mut bits = Reader::new(WHAT, asc);
        if asc.len() > limits::MAX_CONFIG_BYTES {
            return Err(bits.malformed("at most 4096 bytes", asc.len() as u32));
        }
        let mut object_type = parse_object_type(&mut bits)?;
        let core_rate = parse_rate(&mut bits)?;
        let channel_configuration = bits.bits(4)?;
        let mut rate = core_rate;
        let mut core = object_type;
        if matches!(object_type, SBR | PS) {
            rate = parse_rate(&mut bits)?;
            core = parse_object_type(&mut bits)?;
        }
        if core != LC {
            return Err(Error::Unsupported {
                what: object_type_name(core),
            });
        }
        let mut channels = parse_ga_specific(&mut bits, channel_configuration)?;
        if object_type == LC
            && let Some((extension, extended)) = parse_extension(&mut bits)?
        {
            object_type = extension;
            rate = extended;
        }
        if object_type == PS {
            channels = 2;
        }
        if rate != core_rate && rate != 2 * core_rate {
            return Err(bits.malformed("an SBR rate of once or twice the core rate", rate));
        }
        Ok(Self {
            record: Bytes::copy_from_slice(asc),
            object_type,
            timescale: Timescale::new(rate).ok_or(bits.malformed("a sampling rate", 0))?,
            frame_samples: 1024 * (rate / core_rate),
            channels,
        })
    }

    /// AAC-LC of `channels` (1 or 2) at one of the rates that have an index (table 1.18), in Hz.
    ///
    /// # Errors
    /// [`Error`] for other channels and rates.
    pub fn low_complexity(rate: u32, channels: u8) -> Result<Self, Error> {
        let index = { SAMPLING_RATES.iter() }.position(|known| *known == rate);
        let index = index.unwrap_or(RESERVED_RATE) as u32;
        let record = (LC << 11 | index << 7 | u32::from(channels.min(15)) << 3) as u16;
        Self::parse(&Bytes::copy_from_slice(&record.to_be_bytes()))
    }

    /// Whether it is AAC-LC alone, as far as it tells.
    pub fn is_low_complexity(&self) -> bool {
        self.object_type == LC
    }

    /// The AudioSpecificConfig as it stands in `esds`.
    pub fn record(&self) -> &Bytes {
        &self.record
    }

    /// RFC 6381: `mp4a.40.2`, `.5` or `.29`.
    pub fn codecs(&self) -> String {
        format!("mp4a.40.{}", self.object_type)
    }

    /// The output sampling rate.
    pub fn timescale(&self) -> Timescale {
        self.timescale
    }

    /// Samples per access unit on [`Self::timescale`]: 1024, or 2048 when SBR doubles the rate.
    pub fn frame_samples(&self) -> u32 {
        self.frame_samples
    }

    /// Channels of the core coder: one when parametric stereo adds the second.
    pub fn core_channels(&self) -> u8 {
        if self.object_type == PS {
            1
        } else {
            self.channels
        }
    }

    /// Output channels.
    pub fn channels(&self) -> u8 {
        self.channels
    }
}

fn parse_object_type(bits: &mut Reader<'_>) -> Result<u32, Error> {
    Ok(match bits.bits(5)? {
        31 => 32 + bits.bits(6)?,
        object_type => object_type,
    })
}

fn parse_rate(bits: &mut Reader<'_>) -> Result<u32, Error> {
    let index = bits.bits(4)?;
    let rate = match index {
        EXPLICIT_RATE => bits.bits(24)?,
        _ => SAMPLING_RATES.get(index as usize).copied().unwrap_or(0),
    };
    match rate {
        1..=192_000 => Ok(rate),
        _ => Err(bits.malformed("a sampling rate of at most 192 kHz", rate)),
    }
}

/// GASpecificConfig (4.4.1). Answers the number of channels.
fn parse_ga_specific(bits: &mut Reader<'_>, channel_configuration: u32) -> Result<u8, Error> {
    if bits.flag()? {
        return Err(Error::Unsupported {
            what: "AAC with 960-sample frames",
        });
    }
    if bits.flag()? {
        bits.skip(14)?; // coreCoderDelay
    }
    bits.skip(1)?; // extensionFlag: nothing follows it for LC
    match channel_configuration {
        0 => parse_program_config(bits),
        1..=6 => Ok(channel_configuration as u8),
        7 | 12 | 14 => Ok(8),
        11 => Ok(7),
        _ => Err(bits.malformed(
            "a channel configuration of at most 8 channels",
            channel_configuration,
        )),
    }
}

/// `program_config_element` (4.4.1.1): its elements hold one channel each, two when paired.
fn parse_program_config(bits: &mut Reader<'_>) -> Result<u8, Error> {
    bits.skip(4 + 2 + 4)?; // element_instance_tag, object_type, sampling_frequency_index
    let [front, side, back] = [bits.bits(4)?, bits.bits(4)?, bits.bits(4)?];
    let [lfe, assoc_data, coupling] = [bits.bits(2)?, bits.bits(3)?, bits.bits(4)?];
    for width in [4, 4, 3] {
        if bits.flag()? {
            bits.skip(width)?; // mono, stereo and matrix mixdown
        }
    }
    let mut channels = lfe;
    for _ in 0..front + side + back {
        channels += if bits.flag()? { 2 } else { 1 };
        bits.skip(4)?;
    }
    bits.skip((4 * lfe + 4 * assoc_data + 5 * coupling) as usize)?;
    bits.align();
    let comment = bits.bits(8)?;
    bits.skip(8 * comment as usize)?;
    match channels {
        1..=8 => Ok(channels as u8),
        _ => Err(bits.malformed("1 to 8 channels", channels)),
    }
}

/// The backward compatible extension (1.6.2.1): the object type it signals, with the output rate.
fn parse_extension(bits: &mut Reader<'_>) -> Result<Option<(u32, u32)>, Error> {
    const SBR_FOLLOWS: u32 = 0x2b7;
    const PS_FOLLOWS: u32 = 0x548;
    if bits.left() < 16 || bits.bits(11)? != SBR_FOLLOWS || parse_object_type(bits)? != SBR {
        return Ok(None);
    }
    if bits.left() == 0 || !bits.flag()? {
        return Ok(None);
    }
    let rate = parse_rate(bits)?;
    let ps = bits.left() >= 12 && bits.bits(11)? == PS_FOLLOWS && bits.flag()?;
    Ok(Some((if ps { PS } else { SBR }, rate)))
}

fn object_type_name(object_type: u32) -> &'static str {
    match object_type {
        1 => "AAC Main audio",
        3 => "AAC SSR audio",
        4 => "AAC LTP audio",
        17 | 23 | 39 => "AAC low delay audio",
        32..=34 => "MPEG-1 audio",
        42 => "xHE-AAC audio",
        _ => "audio object type",
    }
}

/// An ADTS frame where a bare access unit was due: what its header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adts {
    /// Bytes of the header, to be stripped.
    pub header_bytes: usize,
    /// The AudioSpecificConfig that says the same.
    pub config: Bytes,
}

impl Adts {
    /// Looks for an ADTS header that claims exactly `data`. A bare access unit cannot be mistaken for one: its first
    /// three bits would be the END element.
    pub fn detect(data: &[u8]) -> Option<Self> {
        let &[sync, flags, format, channels, length, rest, _, ..] = data else {
            return None;
        };
        let frame_bytes =
            usize::from(channels & 3) << 11 | usize::from(length) << 3 | usize::from(rest) >> 5;
        if sync != 0xff || flags & 0xf6 != 0xf0 || frame_bytes != data.len() {
            return None;
        }
        let header_bytes = if flags & 1 == 1 { 7 } else { 9 };
        let object_type = (format >> 6) + 1;
        let rate_index = format >> 2 & 0xf;
        let channel_configuration = (format & 1) << 2 | channels >> 6;
        (frame_bytes > header_bytes).then(|| Self {
            header_bytes,
            config: Bytes::copy_from_slice(&[
                object_type << 3 | rate_index >> 1,
                rate_index << 7 | channel_configuration << 3,
            ]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s21_configurations_say_codec_rate_frame_and_channels() {
        type Case = (&'static str, &'static [u8], &'static str, u32, u32, u8);
        let cases: [Case; 12] = [
            (
                "LC stereo 48 kHz",
                &[0x11, 0x90],
                "mp4a.40.2",
                48_000,
                1024,
                2,
            ),
            (
                "LC stereo 44.1 kHz",
                &[0x12, 0x10],
                "mp4a.40.2",
                44_100,
                1024,
                2,
            ),
            (
                "LC mono 16 kHz",
                &[0x14, 0x08],
                "mp4a.40.2",
                16_000,
                1024,
                1,
            ),
            ("LC 5.1", &[0x11, 0xb0], "mp4a.40.2", 48_000, 1024, 6),
            ("LC 7.1", &[0x11, 0xb8], "mp4a.40.2", 48_000, 1024, 8),
            (
                "ffmpeg: no SBR, said so",
                &[0x11, 0x90, 0x56, 0xe5, 0x00],
                "mp4a.40.2",
                48_000,
                1024,
                2,
            ),
            (
                "HE hierarchical 24 -> 48 kHz",
                &[0x2b, 0x11, 0x88, 0x00],
                "mp4a.40.5",
                48_000,
                2048,
                2,
            ),
            (
                "HE compatible 22.05 -> 44.1 kHz",
                &[0x13, 0x90, 0x56, 0xe5, 0xa0],
                "mp4a.40.5",
                44_100,
                2048,
                2,
            ),
            (
                "HE v2 hierarchical, mono core",
                &[0xeb, 0x09, 0x88, 0x00],
                "mp4a.40.29",
                48_000,
                2048,
                2,
            ),
            (
                "HE v2 compatible",
                &[0x13, 0x88, 0x56, 0xe5, 0xa5, 0x48, 0x80],
                "mp4a.40.29",
                44_100,
                2048,
                2,
            ),
            (
                "HE implicit: as signalled",
                &[0x13, 0x10],
                "mp4a.40.2",
                24_000,
                1024,
                2,
            ),
            (
                "rate spelt out",
                &[0x17, 0x80, 0x56, 0x22, 0x10],
                "mp4a.40.2",
                44_100,
                1024,
                2,
            ),
        ];
        for (name, asc, codecs, rate, samples, channels) in cases {
            let asc = Bytes::copy_from_slice(asc);
            let config = Config::parse(&asc).expect(name);
            assert_eq!(config.codecs(), codecs, "{name}");
            assert_eq!(config.timescale().hz(), rate, "{name}");
            assert_eq!(config.frame_samples(), samples, "{name}");
            assert_eq!(config.channels(), channels, "{name}");
            assert_eq!(*config.record(), asc, "{name}");
        }
    }

    #[test]
    fn a_program_config_element_is_counted() {
        // 5.1 as elements: front 1 single + 1 pair, back 1 pair, 1 LFE, no comment.
        let text = "00010 0011 0000 0 0 0  0000 01 0011 0010 0000 0001 01 000 0000 0 0 0 \
                    0 0000 1 0000  1 0001  0000  0000000 00000000";
        let bits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
        let asc: Bytes = bits
            .chunks(8)
            .map(|byte| {
                byte.iter().fold(0, |value, bit| value << 1 | (bit - b'0')) << (8 - byte.len())
            })
            .collect();
        assert_eq!(Config::parse(&asc).expect("5.1").channels(), 6);
    }

    #[test]
    fn s21_what_cannot_be_served_is_named() {
        let cases: [(&[u8], &str); 4] = [
            (&[0x11, 0x94], "AAC with 960-sample frames"),
            (&[0x09, 0x90], "AAC Main audio"),
            (&[0xf9, 0x46, 0x40], "xHE-AAC audio"),
            (&[0xba, 0x10], "AAC low delay audio"),
        ];
        for (asc, name) in cases {
            assert_eq!(
                Config::parse(&Bytes::copy_from_slice(asc)),
                Err(Error::Unsupported { what: name })
            );
        }
        for asc in [
            &[][..],
            &[0x11],
            &[0x16, 0x90],
            &[0x11, 0xc8],
            &[0x10, 0x80],
        ] {
            assert!(
                Config::parse(&Bytes::copy_from_slice(asc)).is_err(),
                "{asc:x?}"
            );
        }
    }

    #[test]
    fn s21_adts_by_mistake_is_detected_only_when_it_fits() {
        let mut frame = vec![0xff, 0xf1, 0x4c, 0x80, 0x01, 0x7f, 0xfc, 1, 2, 3, 4];
        let adts = Adts::detect(&frame).expect("ADTS");
        assert_eq!(
            (adts.header_bytes, &adts.config[..]),
            (7, &[0x11, 0x90][..])
        );
        frame.push(5);
        assert_eq!(Adts::detect(&frame), None, "the length must match");
        assert_eq!(
            Adts::detect(&[0x21, 0x10, 0x04, 0x60, 0x8c, 0x1c, 0, 0]),
            None
        );
    }
}
