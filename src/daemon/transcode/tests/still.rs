//! Stills of key frames, where nothing else is decoded.

use bytes::Bytes;
use vitrine_core::media::{Config, aac};

use super::{super::still, source::Shape};

#[test]
fn a_key_frame_alone_is_a_still_and_anything_else_is_none() {
    let shape = Shape {
        b_frames: 3,
        frames: 8,
        ..Shape::default()
    };
    let clip = shape.clip();
    let key = clip.samples[0].data.clone();
    let made = still(&clip.config, key.clone()).expect("a picture");
    assert!(made.starts_with(&[0xff, 0xd8, 0xff]) && made.ends_with(&[0xff, 0xd9]));
    let sound = aac::Config::parse(&Bytes::from_static(b"\x11\x90")).expect("a configuration");
    for (config, data) in [
        (&clip.config, Bytes::new()),
        (&clip.config, Bytes::from_static(b"no access unit")),
        (&Config::Aac(sound), key),
    ] {
        assert_eq!(still(config, data), None);
    }
}
