use super::*;

/// Sequence headers as ffmpeg 5.1 with x264 writes them: plain, with `force-cfr=1` and a pixel shape, and interlaced.
const HIGH: &str = "0164001effe1001a6764001eacd940a02ff970110000030001000003003c0f162d9601000668ebe3cb22c0fdf8f800";
const BASELINE: &str =
    "0142c00dffe100176742c00dd901419f9f0e1000003e90000ea608f142a48001000568cb83cb20";
const INTERLACED: &str =
    "014d4028ffe10019674d4028f403c0227ef011000003000100000300321f162ea001000468de0fc8";

fn hex(text: &str) -> Bytes {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

fn high() -> Config {
    Config::parse(&hex(HIGH)).expect("a real record")
}

/// `units`, each behind a 4-byte length.
fn framed(units: &[&[u8]]) -> Bytes {
    let mut data = BytesMut::new();
    for unit in units {
        data.put_u32(unit.len() as u32);
        data.extend_from_slice(unit);
    }
    data.freeze()
}

const DELTA: &[u8] = &[0x41, 0x9a, 0x24];
const KEY: &[u8] = &[0x65, 0x88, 0x84];
const SEI: &[u8] = &[0x06, 0x05, 0x01, 0x80];

#[test]
fn real_records_tell_codec_size_shape_and_rate() {
    let cases = [
        (HIGH, "avc1.64001e", (640, 360), (1, 1), None),
        (
            BASELINE,
            "avc1.42c00d",
            (320, 180),
            (4, 3),
            Some((30_000, 1001)),
        ),
        (INTERLACED, "avc1.4d4028", (1920, 1080), (1, 1), None),
    ];
    for (record, codecs, resolution, ratio, rate) in cases {
        let config = Config::parse(&hex(record)).expect("a real record");
        assert_eq!(config.codecs(), codecs);
        assert_eq!(config.resolution(), resolution, "{codecs}");
        assert_eq!(config.sample_aspect_ratio(), ratio, "{codecs}");
        let shown = (resolution.0 * ratio.0 + ratio.1 / 2) / ratio.1;
        let display = crate::media::Config::Avc(config.clone()).display_resolution();
        assert_eq!(display, Some((shown, resolution.1)), "{codecs}");
        assert_eq!(config.frame_rate(), rate, "{codecs}");
        assert_eq!(
            *config.record(),
            hex(record),
            "{codecs} is rebuilt as it was"
        );
    }
}

#[test]
fn the_high_extension_is_added_where_an_encoder_forgot_it() {
    let whole = hex(HIGH);
    let config =
        Config::parse(&whole.slice(..whole.len() - 4)).expect("the extension is optional to read");
    assert_eq!(config, high());
    assert_eq!(*config.record(), whole);
}

#[test]
fn s17_records_that_hold_nothing_are_named() {
    let record = hex(HIGH);
    assert_eq!(
        Config::parse(&Bytes::new()),
        Err(Error::Truncated { what: WHAT })
    );
    let cases: [(&[u8], &str); 4] = [
        (
            &[1, 0x64, 0, 0x1e, 0xff, 0xe0, 0],
            "at least one sequence parameter set",
        ),
        (&record[..8 + 26], "at least one picture parameter set"),
        (&[2, 0x64, 0, 0x1e, 0xff, 0xe0, 0], "version 1"),
        (
            &[1, 0x64, 0, 0x1e, 0xfe, 0xe0, 0],
            "a length size of 1, 2 or 4",
        ),
    ];
    for (bytes, wanted) in cases {
        let bytes = [
            bytes,
            if wanted.contains("picture") {
                &[0][..]
            } else {
                &[]
            },
        ]
        .concat();
        match Config::parse(&bytes.into()) {
            Err(Error::Malformed {
                what: WHAT, want, ..
            }) => assert_eq!(want, wanted),
            other => panic!("{wanted}: {other:?}"),
        }
    }
}

#[test]
fn every_truncation_of_a_record_is_an_error_not_a_panic() {
    let record = hex(INTERLACED);
    for end in 0..record.len() {
        assert!(Config::parse(&record.slice(..end)).is_err(), "{end} bytes");
    }
}

#[test]
fn s17_two_parameter_sets_stay_two_and_the_first_describes_the_picture() {
    let other = Config::parse(&hex(BASELINE)).expect("a real record");
    let sps = [
        high().sequence[0].unit.clone(),
        other.sequence[0].unit.clone(),
    ];
    let pps = [high().picture[0].unit.clone()];
    let config = Config::from_parameter_sets(&sps, &pps).expect("two sets");
    assert_eq!(config.resolution(), (640, 360));
    assert_eq!(config.record()[5], 0xe2);
    assert_eq!(Config::parse(config.record()), Ok(config.clone()));
}

#[test]
fn s17_lengths_of_any_size_leave_as_four_bytes_and_fit_ones_uncopied() {
    let data = framed(&[SEI, DELTA]);
    let unit = high().unit(&data).expect("well-formed");
    assert_eq!(unit.data.as_ptr(), data.as_ptr());
    assert_eq!(unit.data, data);

    let mut record = BytesMut::from(&hex(HIGH)[..]);
    record[4] = 0xfd;
    let short = Config::parse(&record.freeze()).expect("2-byte lengths");
    assert_eq!(short.record(), high().record());
    let data = Bytes::from([&[0, 4], SEI, &[0, 3], DELTA].concat());
    assert_eq!(
        short.unit(&data).expect("well-formed").data,
        framed(&[SEI, DELTA])
    );
}

#[test]
fn s18_parameter_sets_delimiters_and_filler_stay_out_of_mdat() {
    let config = high();
    let (sps, pps) = (&config.sequence[0].unit, &config.picture[0].unit);
    let data = framed(&[&[9, 0xf0], sps, pps, SEI, KEY]);
    let unit = config.unit(&data).expect("well-formed");
    assert_eq!(unit.data, framed(&[SEI, KEY]));
    assert_eq!(
        unit.data.as_ptr(),
        data[data.len() - unit.data.len()..].as_ptr(),
        "a tail is a slice"
    );
    assert!(unit.sync && unit.picture && unit.config.is_none());

    let unit = config
        .unit(&framed(&[DELTA, &[12, 0xff, 0x80], DELTA]))
        .expect("well-formed");
    assert_eq!(unit.data, framed(&[DELTA, DELTA]));
}

#[test]
fn s18_annex_b_payloads_are_understood() {
    let start = [0, 0, 0, 1];
    let data = [&start[..], &[9, 0xf0], &start, SEI, &start[1..], KEY].concat();
    let unit = high().unit(&data.into()).expect("start codes");
    assert_eq!(unit.data, framed(&[SEI, KEY]));
    assert!(unit.sync);
}

#[test]
fn s18_new_in_band_sets_are_a_new_configuration() {
    let other = Config::parse(&hex(BASELINE)).expect("a real record");
    let data = framed(&[&other.sequence[0].unit, &other.picture[0].unit, KEY]);
    let unit = high().unit(&data).expect("well-formed");
    assert_eq!(unit.data, framed(&[KEY]));
    assert_eq!(unit.config, Some(other.clone()));
    assert_eq!(other.unit(&data).expect("well-formed").config, None);
}

#[test]
fn s18_standalone_sei_is_no_picture() {
    let unit = high().unit(&framed(&[SEI])).expect("well-formed");
    assert!(!unit.picture && !unit.sync);
    assert_eq!(unit.data, framed(&[SEI]));
    assert!(
        high()
            .unit(&framed(&[&[9, 0xf0]]))
            .expect("well-formed")
            .data
            .is_empty()
    );
}

#[test]
fn s19_sync_is_an_idr_and_a_recovery_point_is_none() {
    let recovery_point: &[u8] = &[0x06, 0x06, 0x01, 0xc4, 0x80];
    let intra: &[u8] = &[0x61, 0x88, 0x84];
    assert!(
        !high()
            .unit(&framed(&[recovery_point, intra]))
            .expect("well-formed")
            .sync
    );
    assert!(high().unit(&framed(&[SEI, KEY])).expect("well-formed").sync);
}

#[test]
fn oversized_pictures_and_crops_are_refused() {
    // Baseline: id 0, frame_num, order type 2, 1 reference, no gaps; 16 x 16 pixels; left crop of 8 x 2 pixels.
    let bits = "1 1 011 010 0  1 1 1 1  1 0001001 1 1 1  0 1000000".replace(' ', "");
    let mut sps = vec![0x67, 66, 0, 30];
    sps.extend(bits.as_bytes().chunks_exact(8).map(|byte| {
        byte.iter()
            .fold(0u8, |value, bit| value << 1 | (bit - b'0'))
    }));
    assert!(matches!(
        Sps::parse(&sps),
        Err(Error::Malformed {
            want: "cropping inside the picture",
            got: 8,
            ..
        })
    ));
}

#[test]
fn high_dynamic_range_is_read_from_the_colour_description() {
    // ffmpeg 5.1 with x264, 10 bit, `-color_trc smpte2084`.
    const PQ: &str = "016e000dffe1001b676e000da6cb40a0fd80b509100940000003004000000f03c50aa801000468ce0fc8fdfafa00";
    let config = Config::parse(&hex(PQ)).expect("a real record");
    assert_eq!(config.hdr(), Some(Hdr::Pq));
    assert_eq!(high().hdr(), None);
}
