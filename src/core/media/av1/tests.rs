use super::*;

/// av1C of ffmpeg 5.1 with libaom: 318 x 182, Main, 8 bit.
const RECORD: &[u8] = &[
    0x81, 0x00, 0x0c, 0x00, 0x0a, 0x0b, 0x00, 0x00, 0x00, 0x04, 0x3c, 0xf6, 0xd4, 0xda, 0xf9, 0x00,
    0x40,
];
const DELIMITER: &[u8] = &[0x12, 0x00];
const KEY: &[u8] = &[0x32, 0x02, 0x10, 0xaa];
const INTER: &[u8] = &[0x32, 0x02, 0x30, 0xaa];

fn config() -> Config {
    Config::parse(&Bytes::from_static(RECORD)).expect("a real record")
}

fn unit(parts: &[&[u8]]) -> Unit {
    config().unit(&parts.concat().into()).expect("well-formed")
}

#[test]
fn a_real_record_tells_codec_and_size() {
    assert_eq!(config().codecs(), "av01.0.00M.08");
    assert_eq!(config().resolution(), (318, 182));
    assert_eq!(config().frame_rate(), None);
    assert_eq!(config().record()[..], *RECORD, "rebuilt as it was");
}

#[test]
fn every_truncation_of_a_record_is_an_error_not_a_panic() {
    for end in 0..RECORD.len() {
        assert!(
            Config::parse(&Bytes::from_static(&RECORD[..end])).is_err(),
            "{end} bytes"
        );
    }
    let mut other = RECORD.to_vec();
    other[0] = 0x01;
    assert!(matches!(
        Config::parse(&other.into()),
        Err(Error::Malformed { .. })
    ));
}

#[test]
fn timing_level_and_tier_are_read_from_the_first_operating_point() {
    // profile 0, not still; timing 1001 / 30000, equal interval of 1 tick; no decoder model; no display delay; one
    // point of level 13, high tier; 16 x 16.
    let text = format!(
        "000 0 0 1 {:032b} {:032b} 1 1 0 0 00000 000000000000 01101 1 0011 0011 1111 1111 0 \
         000 0000 0 1 1 000 1 0 0 0 00 0000000",
        1001, 30_000
    );
    let bits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    let header: Vec<u8> = bits
        .chunks_exact(8)
        .map(|byte| byte.iter().fold(0, |value, bit| value << 1 | (bit - b'0')))
        .collect();
    let sequence = Sequence::parse(&header).expect("by hand");
    assert_eq!(sequence.frame_rate, Some((30_000, 1001)));
    assert_eq!((sequence.level, sequence.tier), (13, true));
    assert_eq!(sequence.resolution, (16, 16));
    assert_eq!(sequence.bit_depth(), 10);
    let config = Config::new(header.into(), Bytes::new()).expect("by hand");
    assert_eq!(config.codecs(), "av01.0.13H.10");
    assert_eq!(Config::parse(config.record()), Ok(config));
}

#[test]
fn s18_delimiters_stay_out_of_mdat_and_sequence_headers_in() {
    let header = &RECORD[4..];
    let key = unit(&[DELIMITER, header, KEY]);
    assert_eq!(key.data[..], [header, KEY].concat());
    assert!(key.sync && key.picture && key.config.is_none());
    let padded = unit(&[header, &[0x7a, 0x01, 0x80], KEY]);
    assert_eq!(padded.data[..], [header, KEY].concat());
    // The last may leave out its size.
    assert_eq!(
        unit(&[DELIMITER, &[0x30, 0x30, 0xaa]]).data[..],
        [0x30, 0x30, 0xaa]
    );
    assert!(!unit(&[DELIMITER]).picture);

    let data = Bytes::from([DELIMITER, INTER].concat());
    let delta = config().unit(&data).expect("well-formed");
    assert_eq!(
        delta.data.as_ptr(),
        data[2..].as_ptr(),
        "a slice, not a copy"
    );
}

#[test]
fn s19_sync_is_a_shown_key_frame_behind_a_sequence_header() {
    let header = &RECORD[4..];
    assert!(!unit(&[KEY]).sync, "without a sequence header");
    assert!(!unit(&[header, INTER]).sync);
    assert!(
        !unit(&[header, &[0x32, 0x02, 0x00, 0xaa]]).sync,
        "not shown"
    );
    assert!(
        !unit(&[header, &[0x1a, 0x01, 0x80]]).sync,
        "an existing frame shown again"
    );
    assert!(
        unit(&[header, &[0x1a, 0x01, 0x10], INTER]).sync,
        "a frame header of its own"
    );
}

#[test]
fn s18_a_new_sequence_header_is_a_new_configuration() {
    let mut header = RECORD[4..].to_vec();
    header[6] ^= 0x01; // one bit of the width
    let changed = unit(&[&header, KEY]).config.expect("changed");
    assert_ne!(changed.resolution(), config().resolution());
}

#[test]
fn sizes_that_lie_are_refused() {
    for bytes in [
        &[0x32, 0x05, 0x10][..],
        &[0x32],
        &[0x32, 0xff, 0xff],
        &[0x32; 3],
        &[0xb2, 0],
    ] {
        assert!(
            config().unit(&Bytes::copy_from_slice(bytes)).is_err(),
            "{bytes:x?}"
        );
    }
    let many = DELIMITER.repeat(limits::MAX_UNITS_PER_SAMPLE + 1);
    assert!(config().unit(&many.into()).is_err());
}

#[test]
fn sizes_of_two_bytes_are_little_endian_base_128() {
    let header = &RECORD[4..];
    let mut frame = vec![0x32, 0x81, 0x02]; // 257 bytes
    frame.resize(3 + 257, 0x10);
    let tail = [0x7a, 0x01, 0x80];
    assert_eq!(
        unit(&[header, &frame, &tail]).data[..],
        [header, &frame].concat()
    );
}

#[test]
fn a_written_record_is_read_as_the_same_configuration() {
    let config = Config::parse(&Bytes::from_static(RECORD)).expect("real");
    assert_eq!(Config::parse(config.record()), Ok(config));
}

#[test]
fn high_dynamic_range_is_read_from_the_colour_description() {
    // ffmpeg 5.1 with libaom, 10 bit, `-color_trc smpte2084`.
    const PQ: &[u8] = &[
        0x81, 0x00, 0x4c, 0x00, 0x0a, 0x0e, 0x00, 0x00, 0x00, 0x04, 0x3c, 0xff, 0xbc, 0xda, 0xf9,
        0x50, 0x91, 0x00, 0x90, 0x40,
    ];
    let pq = Config::parse(&Bytes::from_static(PQ)).expect("a real record");
    assert_eq!(pq.hdr(), Some(Hdr::Pq));
    assert_eq!(config().hdr(), None);
}
