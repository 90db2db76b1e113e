//! A bit reader over configurations and parameter sets: fixed fields, and the Exp-Golomb codes of ITU-T H.264 (9.1)
//! and H.265 (9.2).
//!
//! Reading past the end is [`Error::Truncated`], never a panic, and every read consumes at least one bit: a loop that
//! reads is bounded by the bytes it reads from. Emulation prevention is not known here; see [`super::nal::rbsp`].

use super::Error;

/// A cursor over the bits of a slice, most significant first.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads from the first bit of `bytes`; `what` names the structure in errors.
    pub(super) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, what }
    }

    /// Bits not read yet.
    pub(super) fn left(&self) -> usize {
        (self.bytes.len() * 8).saturating_sub(self.at)
    }

    /// The next bit as a flag.
    pub(super) fn flag(&mut self) -> Result<bool, Error> {
        let byte = self
            .bytes
            .get(self.at / 8)
            .ok_or(Error::Truncated { what: self.what })?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(bit == 1)
    }

    /// The next `count` bits (at most 32) as a number.
    pub(super) fn bits(&mut self, count: u32) -> Result<u32, Error> {
        let mut value = 0u32;
        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }
        Ok(value)
    }

    /// Passes over `count` bits.
    pub(super) fn skip(&mut self, count: usize) -> Result<(), Error> {
        if count > self.left() {
            return Err(Error::Truncated { what: self.what });
        }
        self.at += count;
        Ok(())
    }

    /// Passes over the bits left in the current byte.
    pub(super) fn align(&mut self) {
        self.at = self.at.next_multiple_of(8);
    }

    /// `ue(v)`: an unsigned Exp-Golomb code.
    pub(super) fn ue(&mut self) -> Result<u32, Error> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros == 32 {
                return Err(self.malformed("an Exp-Golomb code of at most 31 leading zeros", 32));
            }
        }
        Ok((1u32 << zeros) - 1 + self.bits(zeros)?)
    }

    /// `ue(v)` that must not exceed `max`.
    pub(super) fn ue_to(&mut self, max: u32, want: &'static str) -> Result<u32, Error> {
        let value = self.ue()?;
        if value > max {
            return Err(self.malformed(want, value));
        }
        Ok(value)
    }

    /// `se(v)`: a signed Exp-Golomb code.
    pub(super) fn se(&mut self) -> Result<i64, Error> {
        let code = i64::from(self.ue()?);
        Ok(if code % 2 == 0 {
            -(code / 2)
        } else {
            code / 2 + 1
        })
    }

    /// [`Error::Malformed`] about the structure being read.
    pub(super) fn malformed(&self, want: &'static str, got: u32) -> Error {
        Error::Malformed {
            what: self.what,
            want,
            got: u64::from(got),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes_read_as_the_standards_table_says() {
        // 1 010 011 00100 00101 00110 00111 0001000: H.264 table 9-2, codes 0..=7.
        let bytes = [0b1010_0110, 0b0100_0010, 0b1001_1000, 0b1110_0010, 0];
        let mut unsigned = Reader::new("table", &bytes);
        for want in 0..=7 {
            assert_eq!(unsigned.ue(), Ok(want));
        }
        let mut signed = Reader::new("table", &bytes);
        for want in [0, 1, -1, 2, -2, 3, -3, 4] {
            assert_eq!(signed.se(), Ok(want));
        }
    }

    #[test]
    fn the_end_and_endless_zeros_are_errors() {
        assert_eq!(
            Reader::new("x", &[0xff]).bits(9),
            Err(Error::Truncated { what: "x" })
        );
        assert!(matches!(
            Reader::new("x", &[0; 8]).ue(),
            Err(Error::Malformed { .. })
        ));
        let longest = [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Reader::new("x", &longest).ue(), Ok(u32::MAX - 1));
    }
}
