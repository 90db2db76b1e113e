//! MP3: the header of an MPEG audio frame, layer III (ISO/IEC 11172-3, 2.4.1.3; ISO/IEC 13818-3, 2.4.2.3 for the lower
//! rates; MPEG-2.5 for the lowest), which is all the configuration there is.
//!
//! Frames come bare, one or more in an access unit. They are never decoded here, and what stands between two headers is
//! not looked into: a header that does not parse is the decoder's business.

use bytes::Bytes;

use super::{Error, Timescale};

/// `sampling_frequency` of MPEG-1, in Hz; half of it in MPEG-2, a quarter in MPEG-2.5.
const RATES: [u32; 3] = [44_100, 48_000, 32_000];
/// `bitrate_index` in kb/s: of MPEG-1, and of the lower sampling rates. Index 0 is free format.
const BITRATES: [[u32; 15]; 2] = [
    [
        0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
    ],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];

/// What every frame of a broadcast has in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    timescale: Timescale,
    channels: u8,
    record: Bytes,
}

impl Config {
    /// Reads the header that `frame` begins with; `None` where there is none.
    pub fn detect(frame: &[u8]) -> Option<Self> {
        let header = Header::read(frame)?;
        Some(Self {
            timescale: Timescale::new(header.rate)?,
            channels: header.channels,
            // Without what differs from frame to frame: bit rate, padding, how stereo is coded, and flags.
            record: Bytes::copy_from_slice(&[
                0xff,
                frame[1] | 1,
                1 << 4 | frame[2] & 0x0c,
                if header.channels == 1 { 0xc0 } else { 0 },
            ]),
        })
    }

    /// As [`Self::detect`], of what [`Self::record`] answered.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is no header.
    pub fn parse(record: &Bytes) -> Result<Self, Error> {
        Self::detect(record).ok_or(Error::Malformed {
            what: "MPEG audio header",
            want: "layer III",
            got: record.first().copied().unwrap_or(0).into(),
        })
    }

    /// A header that says the same.
    pub fn record(&self) -> &Bytes {
        &self.record
    }

    /// The sampling rate.
    pub fn timescale(&self) -> Timescale {
        self.timescale
    }

    /// Output channels.
    pub fn channels(&self) -> u8 {
        self.channels
    }

    /// Samples per frame: 1152, or half as many below 32 kHz.
    pub fn frame_samples(&self) -> u32 {
        if self.timescale.hz() < 32_000 {
            576
        } else {
            1152
        }
    }

    /// Samples that the frames in `data` last; `None` when it begins with no header.
    pub fn packet_samples(&self, mut data: &[u8]) -> Option<u32> {
        let mut samples = 0_u32;
        while let Some(header) = Header::read(data) {
            samples = samples.saturating_add(header.samples);
            data = data.get(header.frame_bytes..).unwrap_or_default();
        }
        (samples > 0).then_some(samples)
    }
}

struct Header {
    rate: u32,
    channels: u8,
    samples: u32,
    /// To the next header.
    frame_bytes: usize,
}

impl Header {
    fn read(data: &[u8]) -> Option<Self> {
        const LAYER_III: u8 = 1;
        const MONO: u8 = 3;
        let &[sync, version, rates, mode, ..] = data else {
            return None;
        };
        if sync != 0xff || version & 0xe0 != 0xe0 || version >> 1 & 3 != LAYER_III {
            return None;
        }
        let (halvings, lower) = match version >> 3 & 3 {
            3 => (0, 0), // MPEG-1
            2 => (1, 1), // MPEG-2
            0 => (2, 1), // MPEG-2.5
            _ => return None,
        };
        let rate = RATES.get(usize::from(rates >> 2 & 3))? >> halvings;
        let kbps = *BITRATES[lower].get(usize::from(rates >> 4))?;
        let samples = 1152_u32 >> lower;
        let frame_bytes = match kbps {
            0 => data.len(), // free format: alone
            _ => (samples / 8 * kbps * 1000 / rate + u32::from(rates >> 1 & 1)) as usize,
        };
        Some(Self {
            rate,
            channels: if mode >> 6 == MONO { 1 } else { 2 },
            samples,
            frame_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(header: [u8; 4]) -> Option<(u32, u8)> {
        Config::detect(&header).map(|config| (config.timescale().hz(), config.channels()))
    }

    #[test]
    fn headers_say_rate_and_channels() {
        assert_eq!(config([0xff, 0xfb, 0x90, 0x64]), Some((44_100, 2)));
        assert_eq!(config([0xff, 0xfb, 0x94, 0xc4]), Some((48_000, 1)));
        assert_eq!(config([0xff, 0xfa, 0x98, 0x04]), Some((32_000, 2)));
        assert_eq!(config([0xff, 0xf3, 0x80, 0xc4]), Some((22_050, 1)));
        assert_eq!(config([0xff, 0xe3, 0x28, 0xc4]), Some((8_000, 1)));
        for other in [
            [0xff, 0xfd, 0x90, 0x64], // layer II
            [0xff, 0xeb, 0x90, 0x64], // no version
            [0xff, 0xfb, 0x9c, 0x64], // no rate
            [0xff, 0xfb, 0xf0, 0x64], // no bit rate
            [0x21, 0x00, 0x49, 0x90],
        ] {
            assert_eq!(config(other), None, "{other:x?}");
        }
        assert_eq!(Config::detect(&[0xff, 0xfb, 0x90]), None);
    }

    #[test]
    fn what_differs_from_frame_to_frame_is_no_other_configuration() {
        let detect = |header: [u8; 4]| Config::detect(&header).expect("a header");
        let one = detect([0xff, 0xfb, 0x90, 0x64]);
        assert_eq!(one, detect([0xff, 0xfa, 0xe2, 0x24]));
        assert_ne!(one, detect([0xff, 0xfb, 0x90, 0xc4]));
        assert_eq!(Config::parse(one.record()), Ok(one));
        assert!(Config::parse(&Bytes::from_static(b"\xff")).is_err());
    }

    #[test]
    fn a_unit_lasts_as_long_as_its_frames() {
        let mut frame = vec![0; 417]; // 128 kb/s at 44.1 kHz
        frame[..4].copy_from_slice(&[0xff, 0xfb, 0x90, 0x64]);
        let config = Config::detect(&frame).expect("a header");
        let samples = |data: &[u8]| config.packet_samples(data);
        assert_eq!(samples(&frame), Some(1152));
        assert_eq!(samples(&frame.repeat(3)), Some(3 * 1152));
        assert_eq!(samples(&frame[1..]), None);
        frame[2] = 0; // free format
        assert_eq!(samples(&frame), Some(1152));
    }
}
