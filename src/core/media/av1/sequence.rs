//! The sequence header of AV1 (AV1 specification, 5.5) from its first bit to the chroma sample position: profile, level
//! and tier of the first operating point, size, colour format, and the frame rate when pictures come at equal intervals.

use super::Reader;
use crate::{
    limits,
    media::{
        Error,
        vui::{self, Hdr},
    },
};

/// What the sequence header says about the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sequence {
    pub(super) profile: u8,
    /// `reduced_still_picture_header`: the one frame is a key frame, and its header does not say so.
    pub(super) still_picture: bool,
    pub(super) level: u8,
    pub(super) tier: bool,
    pub(super) resolution: (u32, u32),
    pub(super) frame_rate: Option<(u32, u32)>,
    pub(super) high_bit_depth: bool,
    pub(super) twelve_bit: bool,
    pub(super) monochrome: bool,
    /// Across, down.
    pub(super) subsampling: (bool, bool),
    pub(super) chroma_sample_position: u8,
    pub(super) hdr: Option<Hdr>,
}

impl Sequence {
    pub(super) fn parse(payload: &[u8]) -> Result<Self, Error> {
        let mut bits = Reader::new("sequence header", payload);
        let mut sequence = Self {
            profile: bits.bits(3)? as u8,
            ..Self::default()
        };
        if sequence.profile > 2 {
            return Err(bits.malformed("a profile of at most 2", sequence.profile.into()));
        }
        bits.skip(1)?; // still_picture
        sequence.still_picture = bits.flag()?;
        if sequence.still_picture {
            sequence.level = bits.bits(5)? as u8;
        } else {
            sequence.parse_operating_points(&mut bits)?;
        }
        sequence.parse_resolution(&mut bits)?;
        sequence.skip_tools(&mut bits)?;
        sequence.parse_colour(&mut bits)?;
        Ok(sequence)
    }

    /// Bits per sample.
    pub(super) fn bit_depth(&self) -> u8 {
        match (self.high_bit_depth, self.twelve_bit) {
            (_, true) => 12,
            (true, _) => 10,
            _ => 8,
        }
    }

    /// Timing, decoder model, and the operating points, of which the first is ours.
    fn parse_operating_points(&mut self, bits: &mut Reader<'_>) -> Result<(), Error> {
        let mut delay_bits = None;
        if bits.flag()? {
            let units_in_tick = bits.bits(32)?;
            let time_scale = bits.bits(32)?;
            if bits.flag()? {
                let ticks = u64::from(bits.ue()?) + 1;
                self.frame_rate = u64::from(units_in_tick)
                    .checked_mul(ticks)
                    .and_then(|units| vui::lowest_terms(time_scale.into(), units));
            }
            if bits.flag()? {
                delay_bits = Some(bits.bits(5)? as usize + 1);
                bits.skip(32 + 5 + 5)?; // decoding tick, lengths of removal and presentation times
            }
        }
        let initial_display_delay = bits.flag()?;
        for point in 0..=bits.bits(5)? {
            bits.skip(12)?; // operating_point_idc
            let level = bits.bits(5)? as u8;
            let tier = level > 7 && bits.flag()?;
            if point == 0 {
                (self.level, self.tier) = (level, tier);
            }
            if let Some(delay_bits) = delay_bits
                && bits.flag()?
            {
                bits.skip(2 * delay_bits + 1)?; // buffer delays, low_delay_mode_flag
            }
            if initial_display_delay && bits.flag()? {
                bits.skip(4)?; // initial_display_delay_minus_1
            }
        }
        Ok(())
    }

    fn parse_resolution(&mut self, bits: &mut Reader<'_>) -> Result<(), Error> {
        let width_bits = bits.bits(4)? + 1;
        let height_bits = bits.bits(4)? + 1;
        self.resolution = (bits.bits(width_bits)? + 1, bits.bits(height_bits)? + 1);
        let side = self.resolution.0.max(self.resolution.1);
        if side > limits::MAX_PICTURE_SIDE_PX {
            return Err(bits.malformed("sides of at most 16384 pixels", side));
        }
        if !self.still_picture && bits.flag()? {
            bits.skip(4 + 3)?; // lengths of frame ids
        }
        Ok(())
    }

    /// The coding tools, from `use_128x128_superblock` to `enable_restoration`.
    fn skip_tools(&self, bits: &mut Reader<'_>) -> Result<(), Error> {
        bits.skip(3)?; // superblock size, filter intra, intra edge filter
        if !self.still_picture {
            bits.skip(4)?; // interintra and masked compound, warped motion, dual filter
            let order_hint = bits.flag()?;
            if order_hint {
                bits.skip(2)?; // joint compound, reference frame motion vectors
            }
            let chosen_per_frame = bits.flag()?;
            let screen_content = chosen_per_frame || bits.flag()?;
            if screen_content && !bits.flag()? {
                bits.skip(1)?; // seq_force_integer_mv
            }
            if order_hint {
                bits.skip(3)?; // order_hint_bits_minus_1
            }
        }
        bits.skip(3) // superres, cdef, restoration
    }

    /// `color_config` (5.5.2).
    fn parse_colour(&mut self, bits: &mut Reader<'_>) -> Result<(), Error> {
        /// BT.709 primaries, sRGB transfer, identity matrix.
        const SRGB: u32 = 1 << 16 | 13 << 8;
        self.high_bit_depth = bits.flag()?;
        self.twelve_bit = self.profile == 2 && self.high_bit_depth && bits.flag()?;
        self.monochrome = self.profile != 1 && bits.flag()?;
        let description = if bits.flag()? { bits.bits(24)? } else { 0 };
        self.hdr = Hdr::of(description >> 8 & 0xff);
        if self.monochrome {
            self.subsampling = (true, true);
            return bits.skip(1); // color_range
        }
        if description == SRGB {
            return Ok(());
        }
        bits.skip(1)?; // color_range
        self.subsampling = match self.profile {
            0 => (true, true),
            1 => (false, false),
            _ if self.twelve_bit => {
                let across = bits.flag()?;
                (across, across && bits.flag()?)
            }
            _ => (true, false),
        };
        if self.subsampling == (true, true) {
            self.chroma_sample_position = bits.bits(2)? as u8;
        }
        Ok(())
    }
}
