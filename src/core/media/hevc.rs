//! H.265: the decoder configuration (ISO/IEC 14496-15, 8.3.3), its sequence parameter set (ITU-T H.265, 7.3.2.2), and
//! access units made fit for `mdat`.
//!
//! As for H.264 the configuration is rebuilt from its parameter sets, so that `hvc1` is true: every array complete, no
//! parameter set in band, 4-byte lengths. SEI of the configuration (mastering display, light level) is kept. Sync
//! samples are IRAP pictures: IDR, CRA and BLA; leading pictures that cannot be decoded after a CRA stay, for players
//! skip them.

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

const WHAT: &str = "HEVCDecoderConfigurationRecord";

// nal_unit_type (ITU-T H.265, table 7-1).
const FIRST_IRAP: u8 = 16;
const LAST_IRAP: u8 = 21;
const LAST_PICTURE: u8 = 31;
const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;
const DELIMITER: u8 = 35;
const FILLER: u8 = 38;
const PREFIX_SEI: u8 = 39;

/// payloadType `user_data_unregistered` (ITU-T H.265, D.2.1): where encoders sign with kilobytes of settings.
const USER_DATA: u8 = 5;

/// A decoder configuration (HEVCDecoderConfigurationRecord).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    sets: Sets,
    sps: Sps,
    record: Bytes,
    /// Of the access units as they come in; what leaves has [`nal::LENGTH_BYTES`].
    length_bytes: usize,
}

/// The units of a configuration, by type. Those that we are given lie in the message that brought them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sets {
    video: Vec<ParameterSet>,
    sequence: Vec<ParameterSet>,
    picture: Vec<ParameterSet>,
    sei: Vec<Bytes>,
}

impl Config {
    /// Reads an HEVCDecoderConfigurationRecord, as the sequence header of an FLV stream holds it.
    ///
    /// # Errors
    /// [`Error::Truncated`] (also for an empty one) or [`Error::Malformed`], such as for one without parameter sets.
    pub fn parse(record: &Bytes) -> Result<Self, Error> {
        const FIXED_BYTES: usize = 23;
        let Some(fixed) = record.get(..FIXED_BYTES) else {
            return Err(Error::Truncated { what: WHAT });
        };
        // Version 0 is what encoders wrote before the format was final; the layout is the same.
        if fixed[0] > 1 {
            return Err(malformed("version 1", fixed[0].into()));
        }
        let length_bytes = usize::from(fixed[21] & 3) + 1;
        if length_bytes == 3 {
            return Err(malformed("a length size of 1, 2 or 4", 3));
        }
        let mut at = FIXED_BYTES;
        let mut sets = Sets::default();
        for _ in 0..fixed[22] {
            let kind = take(record, &mut at, 1)?[0] & 0x3f;
            let count = take_u16(record, &mut at)?;
            for _ in 0..count {
                let length = take_u16(record, &mut at)?;
                sets.push(kind, take(record, &mut at, length.into())?)?;
            }
        }
        Self::new(sets, length_bytes)
    }

    fn new(sets: Sets, length_bytes: usize) -> Result<Self, Error> {
        for (of, want) in [
            (&sets.video, "at least one video parameter set"),
            (&sets.sequence, "at least one sequence parameter set"),
            (&sets.picture, "at least one picture parameter set"),
        ] {
            if of.is_empty() {
                return Err(malformed(want, 0));
            }
        }
        for count in sets.counts() {
            if count > limits::MAX_PARAMETER_SETS {
                return Err(malformed("at most 31 parameter sets", count as u64));
            }
        }
        let sps = Sps::parse(&sets.sequence[0].unit)?;
        let record = write_record(&sps, &sets);
        Ok(Self {
            sets,
            sps,
            record,
            length_bytes,
        })
    }

    /// The record as it stands in the sample entry: 4-byte lengths, complete arrays.
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
        let mut in_band = Sets::default();
        let mut unit = Unit {
            data: Bytes::new(),
            sync: false,
            picture: false,
            config: None,
        };
        for range in split.units {
            match data[range.start] >> 1 & 0x3f {
                kind @ (VPS | SPS | PPS) => {
                    if !self.sets.knows(&data[range.clone()]) {
                        in_band.push(kind, &data[range])?;
                    }
                }
                DELIMITER | FILLER => {}
                kind => {
                    unit.sync |= (FIRST_IRAP..=LAST_IRAP).contains(&kind);
                    unit.picture |= kind <= LAST_PICTURE;
                    kept.push(range);
                }
            }
        }
        unit.data = nal::join(data, &kept, split.fit);
        if in_band != Sets::default() {
            unit.config = Some(Self::new(in_band.over(&self.sets), self.length_bytes)?);
        }
        Ok(unit)
    }

    /// RFC 6381, as ISO/IEC 14496-15, annex E spells it: `hvc1.1.6.L93.90`.
    pub fn codecs(&self) -> String {
        self.sps.profile.codecs()
    }

    /// Width and height inside the conformance window.
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

    /// Declared frames per second, in lowest terms.
    pub fn frame_rate(&self) -> Option<(u32, u32)> {
        self.sps.frame_rate
    }
}

impl Sets {
    /// Adds a copy of `unit`, for a message must not live as long as the configuration does. Other types than those of
    /// a configuration are left out.
    fn push(&mut self, kind: u8, unit: &[u8]) -> Result<(), Error> {
        if unit.len() > limits::MAX_CONFIG_BYTES {
            return Err(malformed(
                "a parameter set of at most 4096 bytes",
                unit.len() as u64,
            ));
        }
        let id = match kind {
            VPS => vps_id(unit)?,
            SPS => sps::id(unit)?,
            PPS => pps_id(unit)?,
            _ => 0,
        };
        let unit = Bytes::copy_from_slice(unit);
        match kind {
            VPS => self.video.push(ParameterSet { id, unit }),
            SPS => self.sequence.push(ParameterSet { id, unit }),
            PPS => self.picture.push(ParameterSet { id, unit }),
            PREFIX_SEI if unit.get(2).is_some_and(|kind| *kind != USER_DATA) => self.sei.push(unit),
            _ => {}
        }
        Ok(())
    }

    fn knows(&self, unit: &[u8]) -> bool {
        [&self.video, &self.sequence, &self.picture]
            .into_iter()
            .flatten()
            .any(|set| set.unit == unit)
    }

    /// These sets in force before the `old` ones.
    fn over(&self, old: &Self) -> Self {
        Self {
            video: nal::merge(&self.video, &old.video),
            sequence: nal::merge(&self.sequence, &old.sequence),
            picture: nal::merge(&self.picture, &old.picture),
            sei: old.sei.clone(),
        }
    }

    fn counts(&self) -> [usize; 4] {
        [
            self.video.len(),
            self.sequence.len(),
            self.picture.len(),
            self.sei.len(),
        ]
    }
}

fn malformed(want: &'static str, got: u64) -> Error {
    Error::Malformed {
        what: WHAT,
        want,
        got,
    }
}

fn take<'a>(record: &'a Bytes, at: &mut usize, bytes: usize) -> Result<&'a [u8], Error> {
    let taken = record
        .get(*at..*at + bytes)
        .ok_or(Error::Truncated { what: WHAT })?;
    *at += bytes;
    Ok(taken)
}

fn take_u16(record: &Bytes, at: &mut usize) -> Result<u16, Error> {
    let bytes = take(record, at, 2)?;
    Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn vps_id(unit: &[u8]) -> Result<u32, Error> {
    let mut bits = Reader::new("video parameter set", unit);
    bits.skip(16)?;
    bits.bits(4)
}

fn pps_id(unit: &[u8]) -> Result<u32, Error> {
    let rbsp = nal::rbsp(unit);
    let mut bits = Reader::new("picture parameter set", &rbsp);
    bits.skip(16)?;
    bits.ue_to(63, "pps_pic_parameter_set_id of at most 63")
}

fn write_record(sps: &Sps, sets: &Sets) -> Bytes {
    let mut record = BytesMut::new();
    record.put_u8(1);
    record.extend_from_slice(&sps.profile.0);
    record.put_u16(0xf000); // min_spatial_segmentation_idc: no promise
    record.put_u8(0xfc); // parallelismType: unknown
    record.put_u8(0xfc | sps.chroma_format);
    record.put_u8(0xf8 | sps.bit_depth_luma_minus8);
    record.put_u8(0xf8 | sps.bit_depth_chroma_minus8);
    record.put_u16(0); // avgFrameRate: unspecified
    record.put_u8(
        sps.temporal_layers << 3
            | u8::from(sps.temporal_id_nested) << 2
            | (nal::LENGTH_BYTES - 1) as u8,
    );
    let units = |sets: &[ParameterSet]| sets.iter().map(|set| set.unit.clone()).collect();
    let arrays: [(u8, Vec<Bytes>); 4] = [
        (VPS, units(&sets.video)),
        (SPS, units(&sets.sequence)),
        (PPS, units(&sets.picture)),
        (PREFIX_SEI, sets.sei.clone()),
    ];
    let arrays = arrays.iter().filter(|(_, units)| !units.is_empty());
    record.put_u8(arrays.clone().count() as u8);
    for (kind, units) in arrays {
        // SEI may come in band besides; of parameter sets there are no others (array_completeness).
        let complete = if *kind == PREFIX_SEI { 0 } else { 0x80 };
        record.put_u8(complete | kind);
        record.put_u16(units.len() as u16);
        for unit in units {
            record.put_u16(unit.len() as u16);
            record.extend_from_slice(unit);
        }
    }
    record.freeze()
}
