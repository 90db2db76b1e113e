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
