//! H.264: the decoder configuration (ISO/IEC 14496-15, 5.3.3), its sequence parameter set (ITU-T H.264, 7.3.2.1.1 and
//! E.1.1), and access units made fit for `mdat`.
//!
//! A configuration is rebuilt from its parameter sets, never copied: what we serve always has 4-byte lengths and the
//! High-profile extension, and two records that mean the same are equal. Access units leave here without parameter
//! sets (sample entry `avc1` keeps them out of band), delimiters and filler. Slices are not read beyond their type.

mod sps;
#[cfg(test)]
mod tests;

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    Error,
    bits::Reader,
    nal::{self, ParameterSet},
    vui::Hdr,
};
use crate::limits;
use sps::Sps;

/// An access unit made fit for `mdat`.
pub type Unit = super::Unit<Config>;

const WHAT: &str = "AVCDecoderConfigurationRecord";

// nal_unit_type (ITU-T H.264, table 7-1).
const IDR: u8 = 5;
const SEI: u8 = 6;
const SPS: u8 = 7;
const PPS: u8 = 8;
const DELIMITER: u8 = 9;
const FILLER: u8 = 12;
const SPS_EXTENSION: u8 = 13;

/// Whether the pictures from this access unit on, fit for `mdat`, are whole although none is an IDR picture: it has an
/// SEI message "recovery point" (ITU-T H.264, D.2.8) with no pictures to go. So do key frames of an open GOP.
pub fn is_recovery_point(data: &[u8]) -> bool {
    let Ok(split) = nal::split(data, nal::LENGTH_BYTES) else {
        return false;
    };
    let mut units = split.units.into_iter().map(|range| &data[range]);
    units.any(|unit| unit[0] & 0x1f == SEI && says_recovery(&nal::rbsp(&unit[1..])))
}

/// Whether one of these SEI messages (ITU-T H.264, 7.3.2.3) is a recovery point after no pictures.
fn says_recovery(mut messages: &[u8]) -> bool {
    const RECOVERY_POINT: usize = 6;
    let number = |messages: &mut &[u8]| {
        let mut sum = 0;
        loop {
            let (&byte, rest) = messages.split_first()?;
            *messages = rest;
            sum += usize::from(byte);
            if byte != 0xff {
                return Some(sum);
            }
        }
    };
    while let Some(kind) = number(&mut messages)
        && let Some(size) = number(&mut messages)
        && let Some((payload, rest)) = messages.split_at_checked(size)
    {
        // recovery_frame_cnt, ue(v): a leading one is 0.
        if kind == RECOVERY_POINT && payload.first().is_some_and(|byte| byte & 0x80 != 0) {
            return true;
        }
        messages = rest;
    }
    false
}

/// A decoder configuration (AVCDecoderConfigurationRecord).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    sequence: Vec<ParameterSet>,
    picture: Vec<ParameterSet>,
    sps: Sps,
    record: Bytes,
    /// Of the access units as they come in; what leaves has [`nal::LENGTH_BYTES`].
    length_bytes: usize,
}

impl Config {
    /// Reads an AVCDecoderConfigurationRecord, as the sequence header of an FLV stream holds it.
    ///
    /// # Errors
    /// [`Error::Truncated`] (also for an empty one) or [`Error::Malformed`], such as for one without parameter sets.
    pub fn parse(record: &Bytes) -> Result<Self, Error> {
        let [1, _, _, _, lengths, ..] = record[..] else {
            return Err(match record.first() {
                Some(&version) if version != 1 => malformed("version 1", version.into()),
                _ => Error::Truncated { what: WHAT },
            });
        };
        let length_bytes = usize::from(lengths & 3) + 1;
        if length_bytes == 3 {
            return Err(malformed("a length size of 1, 2 or 4", 3));
        }
        let mut at = 5;
        let sequence = parse_sets(record, &mut at, 0x1f)?;
        let picture = parse_sets(record, &mut at, 0xff)?;
        Self::new(
            identified(&sequence, sps_id)?,
            identified(&picture, pps_id)?,
            length_bytes,
        )
    }

    /// The configuration that `sps` and `pps` (NAL units, without start code or length) announce, for access units
    /// with 4-byte lengths or start codes.
    ///
    /// # Errors
    /// [`Error::Truncated`] or [`Error::Malformed`], naming the parameter set.
    pub fn from_parameter_sets(sps: &[Bytes], pps: &[Bytes]) -> Result<Self, Error> {
        Self::new(
            identified(sps, sps_id)?,
            identified(pps, pps_id)?,
            nal::LENGTH_BYTES,
        )
    }

    /// The configuration that the parameter sets among `units` announce, which stand behind 4-byte lengths or start codes:
    /// an encoder's words out of band.
    ///
    /// # Errors
    /// [`Error::Truncated`] or [`Error::Malformed`], such as for units without parameter sets.
    pub fn announced_in(units: &Bytes) -> Result<Self, Error> {
        let split = nal::split(units, nal::LENGTH_BYTES)?;
        let of = |kind: u8| {
            let units = split.units.iter().map(|range| units.slice(range.clone()));
            units
                .filter(|unit| unit[0] & 0x1f == kind)
                .collect::<Vec<_>>()
        };
        Self::from_parameter_sets(&of(SPS), &of(PPS))
    }

    fn new(
        sequence: Vec<ParameterSet>,
        picture: Vec<ParameterSet>,
        length_bytes: usize,
    ) -> Result<Self, Error> {
        let first = sequence
            .first()
            .ok_or(malformed("at least one sequence parameter set", 0))?;
        if picture.is_empty() {
            return Err(malformed("at least one picture parameter set", 0));
        }
        for sets in [&sequence, &picture] {
            if sets.len() > limits::MAX_PARAMETER_SETS {
                return Err(malformed("at most 31 parameter sets", sets.len() as u64));
            }
        }
        let sps = Sps::parse(&first.unit)?;
        let record = write_record(&sps, &sequence, &picture);
        Ok(Self {
            sequence,
            picture,
            sps,
            record,
            length_bytes,
        })
    }

    /// The record as it stands in the sample entry: 4-byte lengths, High-profile extension where it belongs.
    pub fn record(&self) -> &Bytes {
        &self.record
    }

    /// Turns an access unit as it stands in an FLV tag into one fit for `mdat`.
    ///
    /// # Errors
    /// [`Error::Malformed`] when lengths contradict the bytes or an in-band parameter set is broken.
    pub fn unit(&self, data: &Bytes) -> Result<Unit, Error> {
        let split = nal::split(data, self.length_bytes)?;
        let mut kept = Vec::with_capacity(split.units.len());
        let (mut sequence, mut picture) = (Vec::new(), Vec::new());
        let mut unit = Unit {
            data: Bytes::new(),
            sync: false,
            picture: false,
            config: None,
        };
        for range in split.units {
            match data[range.start] & 0x1f {
                SPS => sequence.push(data.slice(range)),
                PPS => picture.push(data.slice(range)),
                DELIMITER | FILLER | SPS_EXTENSION => {}
                kind => {
                    unit.sync |= kind == IDR;
                    unit.picture |= (1..=IDR).contains(&kind);
                    kept.push(range);
                }
            }
        }
        unit.data = nal::join(data, &kept, split.fit);
        unit.config = self.announced(&sequence, &picture)?;
        Ok(unit)
    }

    /// What in-band parameter sets make of this configuration; `None` when nothing new.
    fn announced(&self, sequence: &[Bytes], picture: &[Bytes]) -> Result<Option<Self>, Error> {
        let knows = |known: &[ParameterSet], unit| known.iter().any(|set| set.unit == unit);
        if sequence.iter().all(|unit| knows(&self.sequence, unit))
            && picture.iter().all(|unit| knows(&self.picture, unit))
        {
            return Ok(None);
        }
        // Detached from the message, which must not live as long as the configuration does.
        let detached = |units: &[Bytes]| {
            units
                .iter()
                .map(|unit| Bytes::copy_from_slice(unit))
                .collect()
        };
        let sequence: Vec<Bytes> = detached(sequence);
        let picture: Vec<Bytes> = detached(picture);
        let config = Self::new(
            nal::merge(&identified(&sequence, sps_id)?, &self.sequence),
            nal::merge(&identified(&picture, pps_id)?, &self.picture),
            self.length_bytes,
        )?;
        Ok((config != *self).then_some(config))
    }

    /// RFC 6381: `avc1.` and the profile, constraint and level bytes of the sequence parameter set.
    pub fn codecs(&self) -> String {
        let [profile, constraints, level] = self.sps.profile;
        format!("avc1.{profile:02x}{constraints:02x}{level:02x}")
    }

    /// Whether every player shows it: 8 bits, 4:2:0.
    pub fn is_common(&self) -> bool {
        let sps = &self.sps;
        let depths = (sps.bit_depth_luma_minus8, sps.bit_depth_chroma_minus8);
        sps.chroma_format == 1 && depths == (0, 0)
    }

    /// Width and height after cropping.
    pub fn resolution(&self) -> (u32, u32) {
        self.sps.resolution
    }

    /// Width and height of one sample of the picture: (1, 1) unless declared otherwise.
    pub fn sample_aspect_ratio(&self) -> (u32, u32) {
        self.sps.sample_aspect_ratio
    }

    /// What goes beyond standard displays, where the bitstream says so (ITU-T H.273, table 3).
    pub fn hdr(&self) -> Option<Hdr> {
        self.sps.hdr
    }

    /// Declared frames per second, in lowest terms; `None` unless the stream declares a fixed rate.
    pub fn frame_rate(&self) -> Option<(u32, u32)> {
        self.sps.frame_rate
    }
}

fn malformed(want: &'static str, got: u64) -> Error {
    Error::Malformed {
        what: WHAT,
        want,
        got,
    }
}

/// A count under `mask`, then as many units behind 16-bit lengths.
fn parse_sets(record: &Bytes, at: &mut usize, mask: u8) -> Result<Vec<Bytes>, Error> {
    let truncated = Error::Truncated { what: WHAT };
    let count = record.get(*at).ok_or(truncated.clone())? & mask;
    *at += 1;
    let mut sets = Vec::new();
    for _ in 0..count {
        let &[high, low] = record.get(*at..*at + 2).ok_or(truncated.clone())? else {
            return Err(truncated);
        };
        let start = *at + 2;
        let end = start + usize::from(u16::from_be_bytes([high, low]));
        let set = record.get(start..end).ok_or(truncated.clone())?;
        sets.push(Bytes::copy_from_slice(set));
        *at = end;
    }
    Ok(sets)
}

fn identified(
    units: &[Bytes],
    id: fn(&[u8]) -> Result<u32, Error>,
) -> Result<Vec<ParameterSet>, Error> {
    units
        .iter()
        .map(|unit| {
            if unit.len() > limits::MAX_CONFIG_BYTES {
                return Err(malformed(
                    "a parameter set of at most 4096 bytes",
                    unit.len() as u64,
                ));
            }
            Ok(ParameterSet {
                id: id(unit)?,
                unit: unit.clone(),
            })
        })
        .collect()
}

fn sps_id(unit: &[u8]) -> Result<u32, Error> {
    let rbsp = nal::rbsp(unit);
    let mut bits = Reader::new("sequence parameter set", &rbsp);
    bits.skip(32)?;
    bits.ue_to(31, "seq_parameter_set_id of at most 31")
}

fn pps_id(unit: &[u8]) -> Result<u32, Error> {
    let rbsp = nal::rbsp(unit);
    let mut bits = Reader::new("picture parameter set", &rbsp);
    bits.skip(8)?;
    bits.ue_to(255, "pic_parameter_set_id of at most 255")
}

fn write_record(sps: &Sps, sequence: &[ParameterSet], picture: &[ParameterSet]) -> Bytes {
    let mut record = BytesMut::new();
    record.put_u8(1);
    record.extend_from_slice(&sps.profile);
    record.put_u8(0b1111_1100 | (nal::LENGTH_BYTES - 1) as u8);
    for (mark, sets) in [(0b1110_0000, sequence), (0, picture)] {
        record.put_u8(mark | sets.len() as u8);
        for set in sets {
            record.put_u16(set.unit.len() as u16);
            record.extend_from_slice(&set.unit);
        }
    }
    if sps.has_chroma_format() {
        record.put_u8(0b1111_1100 | sps.chroma_format);
        record.put_u8(0b1111_1000 | sps.bit_depth_luma_minus8);
        record.put_u8(0b1111_1000 | sps.bit_depth_chroma_minus8);
        record.put_u8(0); // SPS extensions: they describe auxiliary pictures, which we do not carry
    }
    record.freeze()
}
