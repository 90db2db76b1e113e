//! The sequence parameter set of H.264 (ITU-T H.264, 7.3.2.1.1) as far as serving needs it: profile, picture size after
//! cropping, sample aspect ratio and fixed frame rate (E.1.1). Colour, HRD and bitstream restrictions are not read.

use crate::{
    limits,
    media::{
        Error,
        bits::Reader,
        nal,
        vui::{self, Hdr},
    },
};

/// What the sequence parameter set says about the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sps {
    /// `profile_idc`, the constraint flags, `level_idc`: bytes 1 to 3 of the unit.
    pub(super) profile: [u8; 3],
    pub(super) chroma_format: u8,
    pub(super) bit_depth_luma_minus8: u8,
    pub(super) bit_depth_chroma_minus8: u8,
    pub(super) resolution: (u32, u32),
    pub(super) sample_aspect_ratio: (u32, u32),
    pub(super) hdr: Option<Hdr>,
    pub(super) frame_rate: Option<(u32, u32)>,
}

impl Sps {
    pub(super) fn parse(unit: &[u8]) -> Result<Self, Error> {
        let rbsp = nal::rbsp(unit);
        let mut bits = Reader::new("sequence parameter set", &rbsp);
        bits.skip(8)?;
        let mut sps = Self {
            profile: [
                bits.bits(8)? as u8,
                bits.bits(8)? as u8,
                bits.bits(8)? as u8,
            ],
            chroma_format: 1,
            bit_depth_luma_minus8: 0,
            bit_depth_chroma_minus8: 0,
            resolution: (0, 0),
            sample_aspect_ratio: (1, 1),
            hdr: None,
            frame_rate: None,
        };
        bits.ue()?; // seq_parameter_set_id
        let separate_planes = sps.has_chroma_format() && sps.parse_chroma_format(&mut bits)?;
        skip_picture_order(&mut bits)?;
        sps.resolution = sps.parse_resolution(&mut bits, separate_planes)?;
        if bits.flag()? {
            // A broken VUI costs the hints in it, not the stream: decoders do without.
            let _ = sps.parse_vui(&mut bits);
        }
        Ok(sps)
    }

    /// Whether this profile codes its chroma format, and its configuration record repeats it.
    pub(super) fn has_chroma_format(&self) -> bool {
        !matches!(self.profile[0], 66 | 77 | 88)
    }

    /// Answers `separate_colour_plane_flag`.
    fn parse_chroma_format(&mut self, bits: &mut Reader<'_>) -> Result<bool, Error> {
        self.chroma_format = bits.ue_to(3, "chroma_format_idc of at most 3")? as u8;
        let separate_planes = self.chroma_format == 3 && bits.flag()?;
        self.bit_depth_luma_minus8 = bits.ue_to(6, "a bit depth of at most 14")? as u8;
        self.bit_depth_chroma_minus8 = bits.ue_to(6, "a bit depth of at most 14")? as u8;
        bits.skip(1)?; // qpprime_y_zero_transform_bypass_flag
        if bits.flag()? {
            let lists = if self.chroma_format == 3 { 12 } else { 8 };
            for list in 0..lists {
                if bits.flag()? {
                    skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
        Ok(separate_planes)
    }

    fn parse_resolution(
        &self,
        bits: &mut Reader<'_>,
        separate_planes: bool,
    ) -> Result<(u32, u32), Error> {
        const SIDE: u32 = limits::MAX_PICTURE_SIDE_PX / 16;
        let width = 16 * (bits.ue_to(SIDE - 1, "a width of at most 16384 pixels")? + 1);
        let map_units = bits.ue_to(SIDE - 1, "a height of at most 16384 pixels")? + 1;
        let frame_mbs_only = bits.flag()?;
        let fields = if frame_mbs_only { 1 } else { 2 };
        let height = 16 * map_units * fields;
        if height > limits::MAX_PICTURE_SIDE_PX {
            return Err(bits.malformed("a height of at most 16384 pixels", height));
        }
        if !frame_mbs_only {
            bits.skip(1)?; // mb_adaptive_frame_field_flag
        }
        bits.skip(1)?; // direct_8x8_inference_flag
        let mut crop = [0; 4];
        if bits.flag()? {
            for side in &mut crop {
                *side = bits.ue_to(limits::MAX_PICTURE_SIDE_PX, "cropping inside the picture")?;
            }
        }
        let (unit_x, unit_y) = match (self.chroma_format, separate_planes) {
            (1, _) => (2, 2),
            (2, _) => (2, 1),
            _ => (1, 1),
        };
        let cropped = |side: u32, crop: u32| side.checked_sub(crop).filter(|side| *side > 0);
        let [left, right, top, bottom] = crop;
        match (
            cropped(width, unit_x * (left + right)),
            cropped(height, unit_y * fields * (top + bottom)),
        ) {
            (Some(width), Some(height)) => Ok((width, height)),
            _ => Err(bits.malformed("cropping inside the picture", left + right + top + bottom)),
        }
    }

    fn parse_vui(&mut self, bits: &mut Reader<'_>) -> Result<(), Error> {
        let look = vui::parse_picture(bits)?;
        (self.sample_aspect_ratio, self.hdr) = (look.sample_aspect_ratio, look.hdr);
        if bits.flag()? {
            let units_in_tick = bits.bits(32)?;
            let time_scale = bits.bits(32)?;
            let fixed = bits.flag()?;
            // A tick is a field: two to the frame (E.2.1).
            self.frame_rate = fixed
                .then(|| vui::lowest_terms(time_scale.into(), 2 * u64::from(units_in_tick)))
                .flatten();
        }
        Ok(())
    }
}

fn skip_scaling_list(bits: &mut Reader<'_>, size: u32) -> Result<(), Error> {
    let (mut last, mut next) = (8i64, 8i64);
    for _ in 0..size {
        if next != 0 {
            next = (last + bits.se()?).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Ok(())
}

fn skip_picture_order(bits: &mut Reader<'_>) -> Result<(), Error> {
    bits.ue()?; // log2_max_frame_num_minus4
    match bits.ue_to(2, "pic_order_cnt_type of at most 2")? {
        0 => {
            bits.ue()?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            bits.skip(1)?; // delta_pic_order_always_zero_flag
            bits.se()?; // offset_for_non_ref_pic
            bits.se()?; // offset_for_top_to_bottom_field
            for _ in 0..bits.ue_to(255, "at most 255 reference frames in a cycle")? {
                bits.se()?;
            }
        }
        _ => {}
    }
    bits.ue()?; // max_num_ref_frames
    bits.skip(1) // gaps_in_frame_num_value_allowed_flag
}
