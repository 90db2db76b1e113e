//! AV1: the decoder configuration (AV1 Codec ISO Media File Format Binding, 2.3), the sequence header in it, and
//! temporal units made fit for `mdat` (2.4).
//!
//! The configuration is rebuilt from its sequence header. Temporal units leave here without temporal delimiters,
//! padding and tile lists; sequence headers stay in band, for a sync sample must hold one. Frames are read up to
//! `show_frame` and no further.

mod sequence;
#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::{Error, bits::Reader, vui::Hdr};
use crate::limits;
use sequence::Sequence;

/// A temporal unit made fit for `mdat`.
pub type Unit = super::Unit<Config>;

const WHAT: &str = "AV1CodecConfigurationRecord";

// obu_type (AV1 specification, 6.2.2).
const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const FRAME_HEADER: u8 = 3;
const METADATA: u8 = 5;
const FRAME: u8 = 6;
const TILE_LIST: u8 = 8;
const PADDING: u8 = 15;

/// A decoder configuration (AV1CodecConfigurationRecord).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The payload of the sequence header OBU.
    header: Bytes,
    metadata: Bytes,
    sequence: Sequence,
    record: Bytes,
}

impl Config {
    /// Reads an AV1CodecConfigurationRecord.
    ///
    /// # Errors
    /// [`Error::Truncated`], or [`Error::Malformed`], such as for one without a sequence header.
    pub fn parse(record: &Bytes) -> Result<Self, Error> {
        const FIXED_BYTES: usize = 4;
        const MARKER_AND_VERSION: u8 = 0x81;
        let fixed = record
            .get(..FIXED_BYTES)
            .ok_or(Error::Truncated { what: WHAT })?;
        if fixed[0] != MARKER_AND_VERSION {
            return Err(malformed("marker and version 1", fixed[0].into()));
        }
        if record.len() > limits::MAX_CONFIG_BYTES {
            return Err(malformed("at most 4096 bytes", record.len() as u64));
        }
        let mut header = None;
        let mut metadata = Vec::new();
        for obu in split(&record[FIXED_BYTES..])? {
            let whole = &record[FIXED_BYTES..][obu.whole.clone()];
            match obu.kind {
                SEQUENCE_HEADER if header.is_none() => {
                    header = Some(&record[FIXED_BYTES..][obu.payload]);
                }
                METADATA => metadata.extend_from_slice(whole),
                _ => {}
            }
        }
        let header = header.ok_or(malformed("a sequence header", 0))?;
        Self::new(Bytes::copy_from_slice(header), metadata.into())
    }

    fn new(header: Bytes, metadata: Bytes) -> Result<Self, Error> {
        let sequence = Sequence::parse(&header)?;
        let record = write_record(&sequence, &header, &metadata);
        Ok(Self {
            header,
            metadata,
            sequence,
            record,
        })
    }

    /// The record as it stands in the sample entry.
    pub fn record(&self) -> &Bytes {
        &self.record
    }

    /// Turns a temporal unit as it stands in an FLV tag into one fit for `mdat`.
    ///
    /// # Errors
    /// [`Error::Malformed`] when sizes contradict the bytes or an in-band sequence header is broken.
    pub fn unit(&self, data: &Bytes) -> Result<Unit, Error> {
        let mut kept: Vec<Range<usize>> = Vec::new();
        let mut header = None;
        let mut first_frame = None;
        for obu in split(data)? {
            match obu.kind {
                TEMPORAL_DELIMITER | TILE_LIST | PADDING => continue,
                SEQUENCE_HEADER => header = Some(&data[obu.payload]),
                FRAME_HEADER | FRAME if first_frame.is_none() => {
                    first_frame = data.get(obu.payload.start);
                }
                _ => {}
            }
            match kept.last_mut() {
                Some(last) if last.end == obu.whole.start => last.end = obu.whole.end,
                _ => kept.push(obu.whole),
            }
        }
        let config = match header {
            Some(header) if *header != self.header[..] => Some(Self::new(
                Bytes::copy_from_slice(header),
                self.metadata.clone(),
            )?),
            _ => None,
        };
        Ok(Unit {
            data: join(data, &kept),
            sync: header.is_some() && first_frame.is_some_and(|byte| self.starts_decoding(*byte)),
            picture: first_frame.is_some(),
            config,
        })
    }

    /// Whether the frame whose header begins with `byte` is a key frame that is shown at once (5.9.2).
    fn starts_decoding(&self, byte: u8) -> bool {
        // show_existing_frame 0, frame_type KEY_FRAME, show_frame 1
        self.sequence.still_picture || byte & 0xf0 == 0x10
    }

    /// RFC 6381: profile, level and tier, bit depth, as in `av01.0.04M.08`.
    pub fn codecs(&self) -> String {
        let Sequence {
            profile,
            level,
            tier,
            ..
        } = self.sequence;
        let tier = if tier { 'H' } else { 'M' };
        let bit_depth = self.sequence.bit_depth();
        format!("av01.{profile}.{level:02}{tier}.{bit_depth:02}")
    }

    /// Largest width and height of the sequence.
    pub fn resolution(&self) -> (u32, u32) {
        self.sequence.resolution
    }

    /// Declared frames per second, in lowest terms; `None` unless pictures come at equal intervals.
    pub fn frame_rate(&self) -> Option<(u32, u32)> {
        self.sequence.frame_rate
    }

    /// What goes beyond standard displays, where the sequence header says so (ITU-T H.273, table 3).
    pub fn hdr(&self) -> Option<Hdr> {
        self.sequence.hdr
    }
}

fn malformed(want: &'static str, got: u64) -> Error {
    Error::Malformed {
        what: WHAT,
        want,
        got,
    }
}

/// An open bitstream unit, by its place.
struct Obu {
    kind: u8,
    whole: Range<usize>,
    payload: Range<usize>,
}

/// Finds the OBUs of `data` (5.3). Only the last may leave out its size.
fn split(data: &[u8]) -> Result<Vec<Obu>, Error> {
    const OBUS: &str = "OBU sequence";
    let truncated = Error::Truncated { what: OBUS };
    let mut obus = Vec::new();
    let mut at = 0;
    while let Some(&first) = data.get(at) {
        let start = at;
        let (has_extension, has_size) = (first & 4 != 0, first & 2 != 0);
        at += 1 + usize::from(has_extension);
        let size = if has_size {
            leb128(data, &mut at).ok_or(truncated.clone())?
        } else {
            data.len().saturating_sub(at)
        };
        let end = at.saturating_add(size);
        if first & 0x80 != 0 || end > data.len() || obus.len() == limits::MAX_UNITS_PER_SAMPLE {
            return Err(Error::Malformed {
                what: OBUS,
                want: "at most 1024 OBUs, each within the message",
                got: size as u64,
            });
        }
        obus.push(Obu {
            kind: first >> 3 & 0xf,
            whole: start..end,
            payload: at..end,
        });
        at = end;
    }
    Ok(obus)
}

/// `leb128()` (4.10.5): at most 8 bytes; a value is below 2^32.
fn leb128(data: &[u8], at: &mut usize) -> Option<usize> {
    let mut value = 0u64;
    for shift in (0..56).step_by(7) {
        let byte = *data.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return usize::try_from(u32::try_from(value).ok()?).ok();
        }
    }
    None
}

fn join(data: &Bytes, kept: &[Range<usize>]) -> Bytes {
    match kept {
        [] => Bytes::new(),
        [all] => data.slice(all.clone()),
        _ => {
            let mut joined = BytesMut::with_capacity(kept.iter().map(Range::len).sum());
            for range in kept {
                joined.extend_from_slice(&data[range.clone()]);
            }
            joined.freeze()
        }
    }
}

fn write_record(sequence: &Sequence, header: &[u8], metadata: &[u8]) -> Bytes {
    let mut record = BytesMut::new();
    record.put_u8(0x81); // marker, version 1
    record.put_u8(sequence.profile << 5 | sequence.level);
    record.put_u8(
        u8::from(sequence.tier) << 7
            | u8::from(sequence.high_bit_depth) << 6
            | u8::from(sequence.twelve_bit) << 5
            | u8::from(sequence.monochrome) << 4
            | u8::from(sequence.subsampling.0) << 3
            | u8::from(sequence.subsampling.1) << 2
            | sequence.chroma_sample_position,
    );
    record.put_u8(0); // no initial presentation delay told
    record.put_u8(SEQUENCE_HEADER << 3 | 2);
    let mut size = header.len();
    while size >= 0x80 {
        record.put_u8(size as u8 & 0x7f | 0x80);
        size >>= 7;
    }
    record.put_u8(size as u8);
    record.extend_from_slice(header);
    record.extend_from_slice(metadata);
    record.freeze()
}
