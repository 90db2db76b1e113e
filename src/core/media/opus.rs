//! Opus: the identification header (RFC 7845, 5.1) that Enhanced RTMP carries, the box it becomes (Encapsulation of
//! Opus in ISO BMFF, 4.3.2), and how long a packet lasts (RFC 6716, 3.1).
//!
//! Packets are never decoded. Pre-skip is told in the box and left to the player: a live stream is joined in its
//! middle, where there is nothing to skip.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Error, Timescale};

/// Opus counts at 48 kHz whatever it codes (RFC 6716, 2; RFC 7845, 4).
pub const TIMESCALE: Timescale = Timescale::new(48_000).expect("not zero");

const WHAT: &str = "OpusHead";
const MAGIC: &[u8] = b"OpusHead";

/// 120 ms, the longest packet (RFC 6716, 3.2.5), at 48 kHz.
const MAX_PACKET_SAMPLES: u32 = 5760;

/// An identification header (RFC 7845, 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    channels: u8,
    specific_box: Bytes,
}

impl Config {
    /// Reads an `OpusHead`, as enhanced RTMP carries it.
    ///
    /// # Errors
    /// [`Error`] naming what is malformed.
    pub fn parse(head: &Bytes) -> Result<Self, Error> {
        let truncated = |_| Error::Truncated { what: WHAT };
        let malformed = |want, got: u8| Error::Malformed {
            what: WHAT,
            want,
            got: got.into(),
        };
        let mut head = &head[..];
        if !head.starts_with(MAGIC) {
            return Err(malformed(
                "the magic OpusHead",
                head.first().copied().unwrap_or(0),
            ));
        }
        head.advance(MAGIC.len());
        let version = head.try_get_u8().map_err(truncated)?;
        if version >= 16 {
            return Err(malformed("a version below 16", version));
        }
        let channels = head.try_get_u8().map_err(truncated)?;
        let pre_skip = head.try_get_u16_le().map_err(truncated)?;
        let input_rate = head.try_get_u32_le().map_err(truncated)?;
        let output_gain = head.try_get_i16_le().map_err(truncated)?;
        let mapping_family = head.try_get_u8().map_err(truncated)?;

        let mut specific_box = BytesMut::new();
        specific_box.put_u8(0); // Version: the box has its own
        specific_box.put_u8(channels);
        specific_box.put_u16(pre_skip);
        specific_box.put_u32(input_rate);
        specific_box.put_i16(output_gain);
        specific_box.put_u8(mapping_family);
        match (mapping_family, channels) {
            (0, 1..=2) => {}
            (0, _) => return Err(malformed("1 or 2 channels in mapping family 0", channels)),
            (_, 1..=8) => {
                let mapping = head
                    .get(..2 + usize::from(channels))
                    .ok_or(Error::Truncated { what: WHAT })?;
                specific_box.extend_from_slice(mapping);
            }
            _ => return Err(malformed("1 to 8 channels", channels)),
        }
        Ok(Self {
            channels,
            specific_box: specific_box.freeze(),
        })
    }

    /// Output channels.
    pub fn channels(&self) -> u8 {
        self.channels
    }

    /// The identification header, as it was read.
    pub fn head(&self) -> Bytes {
        let mut fields = &self.specific_box[..];
        let mut head = BytesMut::from(MAGIC);
        head.put_u8(fields.get_u8() + 1); // Version: 1 in the header, 0 in the box
        head.put_u8(fields.get_u8());
        head.put_u16_le(fields.get_u16());
        head.put_u32_le(fields.get_u32());
        head.put_i16_le(fields.get_i16());
        head.put_slice(fields);
        head.freeze()
    }

    /// The payload of `dOps`: the same fields, most significant byte first.
    pub fn specific_box(&self) -> &Bytes {
        &self.specific_box
    }
}

/// Samples at 48 kHz that `packet` lasts (RFC 6716, 3.1: the TOC byte); `None` when it is empty or impossible.
pub fn packet_samples(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let config = toc >> 3;
    let frame_samples = match config {
        0..=11 => [480, 960, 1920, 2880][usize::from(config & 3)],
        12..=15 => [480, 960][usize::from(config & 1)],
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    Some(frame_samples * frames).filter(|samples| (1..=MAX_PACKET_SAMPLES).contains(samples))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(channels: u8, family: u8, mapping: &[u8]) -> Bytes {
        let fixed = [1, channels, 0x38, 0x01, 0x80, 0xbb, 0, 0, 0, 0, family];
        [MAGIC, &fixed, mapping].concat().into()
    }

    #[test]
    fn the_header_becomes_its_box() {
        let stereo = Config::parse(&head(2, 0, &[])).expect("stereo");
        assert_eq!(stereo.channels(), 2);
        assert_eq!(
            stereo.specific_box()[..],
            [0, 2, 0x01, 0x38, 0, 0, 0xbb, 0x80, 0, 0, 0]
        );
        let surround = Config::parse(&head(6, 1, &[4, 2, 0, 4, 1, 2, 3, 5])).expect("5.1");
        assert_eq!(surround.specific_box()[10..], [1, 4, 2, 0, 4, 1, 2, 3, 5]);
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let whole = head(6, 1, &[4, 2, 0, 4, 1, 2, 3, 5]);
        for end in 0..whole.len() {
            assert!(Config::parse(&whole.slice(..end)).is_err(), "{end} bytes");
        }
        for (channels, family) in [(0, 0), (3, 0), (0, 1), (9, 255)] {
            assert!(Config::parse(&head(channels, family, &[0; 16])).is_err());
        }
    }

    #[test]
    fn packets_last_what_their_first_byte_says() {
        let cases: [(&[u8], Option<u32>); 9] = [
            (&[31 << 3], Some(960)),
            (&[31 << 3 | 1], Some(1920)),
            (&[16 << 3 | 2], Some(240)),
            (&[3 << 3], Some(2880)),
            (&[15 << 3 | 3, 3], Some(2880)),
            (&[3 << 3 | 3, 2], Some(5760)),
            (&[3 << 3 | 3, 3], None),
            (&[31 << 3 | 3, 0], None),
            (&[], None),
        ];
        for (packet, samples) in cases {
            assert_eq!(packet_samples(packet), samples, "{packet:x?}");
        }
    }
}
