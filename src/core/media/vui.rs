//! Video usability information, the fields that H.264 (ITU-T H.264, E.1.1) and H.265 (ITU-T H.265, E.2.1) share: the
//! head up to the chroma location, of which the sample aspect ratio and HDR are kept, and rates in lowest terms.

use std::fmt;

use super::{Error, bits::Reader};

/// Aspect ratios by `aspect_ratio_idc`, from 1 (H.264, table E-1; H.265, table E.1 is the same).
const ASPECT_RATIOS: [(u32, u32); 16] = [
    (1, 1),
    (12, 11),
    (10, 11),
    (16, 11),
    (40, 33),
    (24, 11),
    (20, 11),
    (32, 11),
    (80, 33),
    (18, 11),
    (15, 11),
    (64, 33),
    (160, 99),
    (4, 3),
    (3, 2),
    (2, 1),
];
const EXTENDED_SAR: u32 = 255;

/// How a broadcast's brightness goes beyond what standard displays show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hdr {
    /// Perceptual quantizer (SMPTE ST 2084), as HDR10 has it.
    Pq,
    /// Hybrid log-gamma (ARIB STD-B67).
    Hlg,
}

impl Hdr {
    /// What `transfer_characteristics` says (ITU-T H.273, table 3), which all codecs here have in common.
    pub(super) fn of(transfer: u32) -> Option<Self> {
        match transfer {
            16 => Some(Self::Pq),
            18 => Some(Self::Hlg),
            _ => None,
        }
    }

    /// As `VIDEO-RANGE` names it (draft-pantos-hls-rfc8216bis, 4.4.6.2).
    pub fn name(self) -> &'static str {
        match self {
            Self::Pq => "PQ",
            Self::Hlg => "HLG",
        }
    }
}

impl fmt::Display for Hdr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is said of pictures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// (1, 1) when unspecified.
    pub(super) sample_aspect_ratio: (u32, u32),
    pub(super) hdr: Option<Hdr>,
}

/// Reads from `aspect_ratio_info_present_flag` to the chroma location.
pub(super) fn parse_picture(bits: &mut Reader<'_>) -> Result<Look, Error> {
    let sample_aspect_ratio = if bits.flag()? {
        parse_aspect_ratio(bits)?
    } else {
        (1, 1)
    };
    if bits.flag()? {
        bits.skip(1)?; // overscan_appropriate_flag
    }
    let mut hdr = None;
    if bits.flag()? {
        bits.skip(4)?; // video_format, video_full_range_flag
        if bits.flag()? {
            bits.skip(8)?; // colour_primaries
            hdr = Hdr::of(bits.bits(8)?);
            bits.skip(8)?; // matrix_coefficients
        }
    }
    if bits.flag()? {
        bits.ue()?; // chroma_sample_loc_type_top_field
        bits.ue()?; // chroma_sample_loc_type_bottom_field
    }
    Ok(Look {
        sample_aspect_ratio,
        hdr,
    })
}

fn parse_aspect_ratio(bits: &mut Reader<'_>) -> Result<(u32, u32), Error> {
    let ratio = match bits.bits(8)? {
        EXTENDED_SAR => (bits.bits(16)?, bits.bits(16)?),
        idc => usize::try_from(idc)
            .ok()
            .and_then(|idc| ASPECT_RATIOS.get(idc.checked_sub(1)?))
            .copied()
            .unwrap_or((1, 1)),
    };
    Ok(if ratio.0 == 0 || ratio.1 == 0 {
        (1, 1)
    } else {
        ratio
    })
}

/// A rate in lowest terms; `None` when it is no rate or its terms do not fit 32 bits.
pub(super) fn lowest_terms(num: u64, den: u64) -> Option<(u32, u32)> {
    if num == 0 || den == 0 {
        return None;
    }
    let (mut a, mut b) = (num, den);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    Some((u32::try_from(num / a).ok()?, u32::try_from(den / a).ok()?))
}
