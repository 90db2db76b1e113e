//! Codec configurations and FLV bodies: whatever the bytes, no panic, and what is accepted holds together.

use bytes::{Buf, Bytes};
use vitrine_core::{
    media::{Config, Kind, aac, avc},
    wire::{
        bmff,
        flv::{Demuxer, Frame, Item},
    },
};

/// The messages of one publisher: each a type (odd for video), a 16-bit length, a body.
pub fn flv(mut data: &[u8]) {
    let mut demuxer = Demuxer::default();
    let mut items = Vec::new();
    while data.len() >= 3 {
        let kind = if data.get_u8() % 2 == 1 {
            Kind::Video
        } else {
            Kind::Audio
        };
        let size = usize::from(data.get_u16()).min(data.len());
        let body = data.copy_to_bytes(size);
        // An error is an answer; the next message must be read all the same.
        let _ = match kind {
            Kind::Video => demuxer.video(0, &body, &mut items),
            Kind::Audio => demuxer.audio(0, &body, &mut items),
        };
    }
    let mut video = None;
    for item in items {
        match item {
            Item::Config(config) => {
                config_holds(&config);
                if config.kind() == Kind::Video {
                    video = Some(config);
                }
            }
            Item::Frame(frame) => frame_holds(&frame, video.as_ref()),
        }
    }
}

/// An AVCDecoderConfigurationRecord.
pub fn avc_config(data: &[u8]) {
    let Ok(config) = avc::Config::parse(&Bytes::copy_from_slice(data)) else {
        return;
    };
    let again = avc::Config::parse(config.record()).expect("our own record");
    assert_eq!(again.record(), config.record());
    config_holds(&Config::Avc(config));
}

/// An AudioSpecificConfig, and an ADTS frame.
pub fn aac_config(data: &[u8]) {
    if let Some(adts) = aac::Adts::detect(data) {
        assert!(adts.header_bytes < data.len());
    }
    let Ok(config) = aac::Config::parse(&Bytes::copy_from_slice(data)) else {
        return;
    };
    assert!(matches!(config.frame_samples(), 1024 | 2048));
    config_holds(&Config::Aac(config));
}

fn config_holds(config: &Config) {
    if let Some((width, height)) = config.resolution() {
        assert!((1..=16_384).contains(&width) && (1..=16_384).contains(&height));
    }
    if let Some(channels) = config.channels() {
        assert!((1..=8).contains(&channels));
    }
    assert!(config.codecs().is_ascii());
    assert_eq!(bmff::init(config), bmff::init(config));
}

fn frame_holds(frame: &Frame, video: Option<&Config>) {
    assert!(frame.nanos <= 999_999);
    assert!((-0x80_0000..0x80_0000).contains(&frame.composition_ms));
    assert!(!frame.data.is_empty());
    if frame.kind == Kind::Audio {
        return;
    }
    // What left once is fit for `mdat`: as lengths of 4 bytes that hold to the end, or as sized OBUs.
    match video.expect("no frame before its configuration") {
        Config::Avc(_) | Config::Hevc(_) => {
            let mut rest = &frame.data[..];
            while !rest.is_empty() {
                let size = rest.get_u32() as usize;
                assert!(size > 0);
                rest.advance(size);
            }
        }
        Config::Av1(config) => {
            let again = config.unit(&frame.data).expect("what we wrote");
            assert_eq!(again.data, frame.data);
        }
        Config::Aac(_) | Config::Mp3(_) | Config::Opus(_) => panic!("a picture of a sound"),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// Every seed and every crash once found, on stable.
    #[test]
    fn corpora_replay() {
        type Target = (&'static str, fn(&[u8]));
        let targets: [Target; 3] = [
            ("flv", super::flv),
            ("avc_config", super::avc_config),
            ("aac_config", super::aac_config),
        ];
        for (target, run) in targets {
            let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("corpus")
                .join(target);
            let seeds: Vec<_> = fs::read_dir(corpus).expect("a corpus").collect();
            assert!(seeds.len() >= 12, "{target}");
            for seed in seeds {
                run(&fs::read(seed.expect("a seed").path()).expect("a file"));
            }
        }
    }
}
