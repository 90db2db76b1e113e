//! Silence, encoded: what fills a hole in the sound so that playback does not stall on it.
//!
//! The frames are the shortest raw data blocks that decode to digital silence: for AAC one single-channel or channel-pair
//! element with all spectral data zero (ISO/IEC 14496-3, 4.4.2), for Opus a CELT-only 20 ms packet (RFC 6716, 3.1).

use bytes::Bytes;

use super::Config;

const AAC_MONO: &[u8] = &[0x00, 0xc8, 0x00, 0x80, 0x23, 0x80];
const AAC_STEREO: &[u8] = &[0x21, 0x00, 0x49, 0x90, 0x02, 0x19, 0x00, 0x23, 0x80];
const OPUS_20_MS: &[u8] = &[0xf8, 0xff, 0xfe];

/// One silent frame for `config` and its length in ticks; `None` where there is none (more than two channels, pictures).
pub fn frame(config: &Config) -> Option<(Bytes, u32)> {
    let data = match config {
        // HE-AAC decoders take a plain LC block: without SBR data they extend the spectrum with nothing.
        Config::Aac(aac) => match aac.core_channels() {
            1 => AAC_MONO,
            2 => AAC_STEREO,
            _ => return None,
        },
        Config::Opus(opus) if opus.channels() <= 2 => OPUS_20_MS,
        _ => return None,
    };
    let data = Bytes::from_static(data);
    let length = config.frame_samples(&data)?;
    Some((data, length))
}

#[cfg(test)]
mod tests {
    use super::{super::bits::Reader, *};

    /// The rest of an `individual_channel_stream` of one scale factor band: nothing but zeros to decode.
    fn nothing(reader: &mut Reader<'_>) {
        let mut bits = |count| reader.bits(count).expect("enough bits");
        assert_eq!(
            (bits(4), bits(5)),
            (0, 1),
            "one section of ZERO_HCB, one band long"
        );
        assert_eq!(bits(3), 0, "no pulses, no noise shaping, no gain control");
    }

    fn one_long_window(reader: &mut Reader<'_>) {
        let mut bits = |count| reader.bits(count).expect("enough bits");
        assert_eq!(bits(4), 0, "reserved, ONLY_LONG_SEQUENCE, sine window");
        assert_eq!((bits(6), bits(1)), (1, 0), "max_sfb, no prediction");
    }

    #[test]
    fn aac_frames_are_one_element_of_zeros_and_an_end() {
        let mut mono = Reader::new("silence", AAC_MONO);
        assert_eq!(mono.bits(7).expect("enough bits"), 0, "SCE 0");
        // A single channel has its gain in front of its window.
        assert_eq!(mono.bits(8).expect("enough bits"), 100, "global_gain");
        one_long_window(&mut mono);
        nothing(&mut mono);
        assert_eq!(mono.bits(3).expect("enough bits"), 7, "ID_END");
        assert!(mono.left() < 8, "padding only");

        let mut stereo = Reader::new("silence", AAC_STEREO);
        assert_eq!(
            stereo.bits(8).expect("enough bits"),
            0b0010_0001,
            "CPE 0, common window"
        );
        one_long_window(&mut stereo);
        assert_eq!(
            stereo.bits(3).expect("enough bits"),
            0b010,
            "M/S by band, none used"
        );
        for _ in 0..2 {
            assert_eq!(stereo.bits(8).expect("enough bits"), 100, "global_gain");
            nothing(&mut stereo);
        }
        assert_eq!(stereo.bits(3).expect("enough bits"), 7, "ID_END");
        assert!(stereo.left() < 8, "padding only");
    }
}
