//! The sequence parameter set of H.265 (ITU-T H.265, 7.3.2.2) as far as serving needs it: profile, tier and level,
//! picture size inside the conformance window, and of the VUI (E.2.1) the sample aspect ratio and the frame rate. What
//! stands between is stepped over.

use std::fmt::Write;

use crate::{
    limits,
    media::{
        Error,
        bits::Reader,
        nal,
        vui::{self, Hdr},
    },
};

const WHAT: &str = "sequence parameter set";

/// What the sequence parameter set says about the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sps {
    pub(super) profile: Profile,
    pub(super) temporal_layers: u8,
    pub(super) temporal_id_nested: bool,
    pub(super) chroma_format: u8,
    pub(super) bit_depth_luma_minus8: u8,
    pub(super) bit_depth_chroma_minus8: u8,
    pub(super) resolution: (u32, u32),
    pub(super) sample_aspect_ratio: (u32, u32),
    pub(super) hdr: Option<Hdr>,
    pub(super) frame_rate: Option<(u32, u32)>,
}

/// The general part of `profile_tier_level` (7.3.3), as the configuration record repeats it: profile space, tier and
/// profile; four bytes of compatibility flags; six of constraint flags; the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Profile(pub(super) [u8; 12]);

impl Profile {
    /// ISO/IEC 14496-15, annex E.3: compatibility flags in reverse bit order, constraint bytes without trailing zeros.
    pub(super) fn codecs(&self) -> String {
        let [first, c0, c1, c2, c3, constraints @ .., level] = self.0;
        let space = ["", "A", "B", "C"][usize::from(first >> 6)];
        let tier = if first & 0x20 == 0 { 'L' } else { 'H' };
        let compatibility = u32::from_be_bytes([c0, c1, c2, c3]).reverse_bits();
        let profile = first & 0x1f;
        let mut codecs = format!("hvc1.{space}{profile}.{compatibility:x}.{tier}{level}");
        let told = 6 - constraints
            .iter()
            .rev()
            .take_while(|byte| **byte == 0)
            .count();
        for byte in &constraints[..told] {
            let _ = write!(codecs, ".{byte:x}"); // a String takes everything
        }
        codecs
    }
}

/// `sps_seq_parameter_set_id`.
pub(super) fn id(unit: &[u8]) -> Result<u32, Error> {
    let rbsp = nal::rbsp(unit);
    let mut bits = Reader::new(WHAT, &rbsp);
    parse_head(&mut bits).map(|(_, id)| id)
}

impl Sps {
    pub(super) fn parse(unit: &[u8]) -> Result<Self, Error> {
        let rbsp = nal::rbsp(unit);
        let mut bits = Reader::new(WHAT, &rbsp);
        let (mut sps, _) = parse_head(&mut bits)?;
        sps.parse_picture(&mut bits)?;
        // What follows holds hints alone: a stream is not refused for it, decoders do without.
        let _ = sps.parse_hints(&mut bits);
        Ok(sps)
    }

    fn parse_picture(&mut self, bits: &mut Reader<'_>) -> Result<(), Error> {
        self.chroma_format = bits.ue_to(3, "chroma_format_idc of at most 3")? as u8;
        let separate_planes = self.chroma_format == 3 && bits.flag()?;
        let width = bits.ue_to(
            limits::MAX_PICTURE_SIDE_PX,
            "a width of at most 16384 pixels",
        )?;
        let height = bits.ue_to(
            limits::MAX_PICTURE_SIDE_PX,
            "a height of at most 16384 pixels",
        )?;
        let mut window = [0; 4];
        if bits.flag()? {
            for side in &mut window {
                *side = bits.ue_to(limits::MAX_PICTURE_SIDE_PX, "a window inside the picture")?;
            }
        }
        let (unit_x, unit_y) = match (self.chroma_format, separate_planes) {
            (1, _) => (2, 2),
            (2, _) => (2, 1),
            _ => (1, 1),
        };
        let [left, right, top, bottom] = window;
        let inside = |side: u32, cut: u32| side.checked_sub(cut).filter(|side| *side > 0);
        self.resolution = match (
            inside(width, unit_x * (left + right)),
            inside(height, unit_y * (top + bottom)),
        ) {
            (Some(width), Some(height)) => (width, height),
            _ => {
                return Err(
                    bits.malformed("a window inside the picture", left + right + top + bottom)
                );
            }
        };
        self.bit_depth_luma_minus8 = bits.ue_to(7, "a bit depth of at most 15")? as u8;
        self.bit_depth_chroma_minus8 = bits.ue_to(7, "a bit depth of at most 15")? as u8;
        Ok(())
    }

    fn parse_hints(&mut self, bits: &mut Reader<'_>) -> Result<(), Error> {
        let order_bits = bits.ue_to(12, "log2_max_pic_order_cnt_lsb of at most 16")? + 4;
        let layers = if bits.flag()? {
            self.temporal_layers
        } else {
            1
        };
        for _ in 0..3 * layers {
            bits.ue()?; // max_dec_pic_buffering, max_num_reorder, max_latency_increase
        }
        for _ in 0..6 {
            bits.ue()?; // block sizes and transform depths
        }
        if bits.flag()? && bits.flag()? {
            skip_scaling_lists(bits)?;
        }
        bits.skip(2)?; // amp_enabled_flag, sample_adaptive_offset_enabled_flag
        if bits.flag()? {
            bits.skip(8)?; // PCM bit depths
            bits.ue()?;
            bits.ue()?;
            bits.skip(1)?; // pcm_loop_filter_disabled_flag
        }
        skip_short_term_sets(bits)?;
        if bits.flag()? {
            for _ in 0..bits.ue_to(32, "at most 32 long-term reference pictures")? {
                bits.skip(order_bits as usize + 1)?;
            }
        }
        bits.skip(2)?; // sps_temporal_mvp_enabled_flag, strong_intra_smoothing_enabled_flag
        if bits.flag()? {
            self.parse_vui(bits)?;
        }
        Ok(())
    }

    fn parse_vui(&mut self, bits: &mut Reader<'_>) -> Result<(), Error> {
        let look = vui::parse_picture(bits)?;
        (self.sample_aspect_ratio, self.hdr) = (look.sample_aspect_ratio, look.hdr);
        bits.skip(3)?; // neutral_chroma_indication_flag, field_seq_flag, frame_field_info_present_flag
        if bits.flag()? {
            for _ in 0..4 {
                bits.ue()?; // default display window
            }
        }
        if bits.flag()? {
            let units_in_tick = bits.bits(32)?;
            let time_scale = bits.bits(32)?;
            self.frame_rate = vui::lowest_terms(time_scale.into(), units_in_tick.into());
        }
        Ok(())
    }
}

/// From the unit header to the id.
fn parse_head(bits: &mut Reader<'_>) -> Result<(Sps, u32), Error> {
    bits.skip(16 + 4)?; // nal_unit_header, sps_video_parameter_set_id
    let max_sub_layers_minus1 = bits.bits(3)?;
    if max_sub_layers_minus1 > 6 {
        return Err(bits.malformed("at most 7 temporal layers", max_sub_layers_minus1 + 1));
    }
    let temporal_id_nested = bits.flag()?;
    let mut profile = [0; 12];
    for byte in &mut profile {
        *byte = bits.bits(8)? as u8;
    }
    let mut sub_layer_bits = 0;
    for _ in 0..max_sub_layers_minus1 {
        sub_layer_bits += if bits.flag()? { 88 } else { 0 }; // profile
        sub_layer_bits += if bits.flag()? { 8 } else { 0 }; // level
    }
    if max_sub_layers_minus1 > 0 {
        sub_layer_bits += 2 * (8 - max_sub_layers_minus1 as usize);
    }
    bits.skip(sub_layer_bits)?;
    let id = bits.ue_to(15, "sps_seq_parameter_set_id of at most 15")?;
    let sps = Sps {
        profile: Profile(profile),
        temporal_layers: max_sub_layers_minus1 as u8 + 1,
        temporal_id_nested,
        chroma_format: 1,
        bit_depth_luma_minus8: 0,
        bit_depth_chroma_minus8: 0,
        resolution: (0, 0),
        sample_aspect_ratio: (1, 1),
        hdr: None,
        frame_rate: None,
    };
    Ok((sps, id))
}

/// `scaling_list_data` (7.3.4).
fn skip_scaling_lists(bits: &mut Reader<'_>) -> Result<(), Error> {
    for size in 0..4 {
        let matrices = if size == 3 { 2 } else { 6 };
        for _ in 0..matrices {
            if !bits.flag()? {
                bits.ue()?; // scaling_list_pred_matrix_id_delta
                continue;
            }
            if size > 1 {
                bits.se()?; // scaling_list_dc_coef_minus8
            }
            for _ in 0..64.min(1 << (4 + 2 * size)) {
                bits.se()?;
            }
        }
    }
    Ok(())
}

/// The `st_ref_pic_set`s (7.3.7), each of which may be told by its difference to the one before it.
fn skip_short_term_sets(bits: &mut Reader<'_>) -> Result<(), Error> {
    const MANY: &str = "at most 16 pictures in a reference picture set";
    let mut pictures = 0;
    for set in 0..bits.ue_to(64, "at most 64 reference picture sets")? {
        if set > 0 && bits.flag()? {
            bits.skip(1)?; // delta_rps_sign
            bits.ue()?; // abs_delta_rps_minus1
            let mut kept = 0;
            for _ in 0..=pictures {
                // used_by_curr_pic_flag, else use_delta_flag
                kept += u32::from(bits.flag()? || bits.flag()?);
            }
            pictures = kept;
        } else {
            let (negative, positive) = (bits.ue_to(16, MANY)?, bits.ue_to(16, MANY)?);
            pictures = negative + positive;
            for _ in 0..pictures {
                bits.ue()?; // delta_poc_minus1
                bits.skip(1)?; // used_by_curr_pic_flag
            }
        }
        if pictures > 16 {
            return Err(bits.malformed(MANY, pictures));
        }
    }
    Ok(())
}
