use super::*;

/// The parameter sets of ffmpeg 5.1 with x265: 318 x 182, 30 frames per second, Main.
const VPS_UNIT: &str = "40010c01ffff01600000030090000003000003003c959809";
const SPS_UNIT: &str =
    "42010101600000030090000003000003003ca00a080b9d565959a4932bc05a020000030002000003003c10";
const PPS_UNIT: &str = "4401c172b46240";

const DELTA: &[u8] = &[0x02, 0x01, 0xd0];
const SEI: &[u8] = &[0x4e, 0x01, 0x01, 0x80];

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

/// A record of `arrays`, each of one unit.
fn record(arrays: &[(u8, &[u8])]) -> Bytes {
    let mut record = hex("0101600000009000000000003cf000fcfdf8f800000f");
    record.push(arrays.len() as u8);
    for (kind, unit) in arrays {
        record.extend([0x80 | kind, 0, 1, 0, unit.len() as u8]);
        record.extend_from_slice(unit);
    }
    record.into()
}

fn main_profile() -> Config {
    let (vps, sps, pps) = (hex(VPS_UNIT), hex(SPS_UNIT), hex(PPS_UNIT));
    Config::parse(&record(&[(VPS, &vps), (SPS, &sps), (PPS, &pps)])).expect("a real record")
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

#[test]
fn a_real_record_tells_codec_size_and_rate() {
    let config = main_profile();
    assert_eq!(config.codecs(), "hvc1.1.6.L60.90");
    assert_eq!(config.resolution(), (318, 182));
    assert_eq!(config.sample_aspect_ratio(), (1, 1));
    assert_eq!(config.frame_rate(), Some((30, 1)));
    let (vps, sps, pps) = (hex(VPS_UNIT), hex(SPS_UNIT), hex(PPS_UNIT));
    assert_eq!(
        *config.record(),
        record(&[(VPS, &vps), (SPS, &sps), (PPS, &pps)])
    );
    assert_eq!(Config::parse(config.record()), Ok(config));
}

#[test]
fn codecs_follow_annex_e() {
    let cases = [
        ("01 60000000 900000000000 5d", "hvc1.1.6.L93.90"),
        ("01 60000000 000000000000 5d", "hvc1.1.6.L93"),
        ("22 20000000 900000000000 99", "hvc1.2.4.H153.90"),
        ("41 40000000 000000010000 3c", "hvc1.A1.2.L60.0.0.0.1"),
        ("84 08000000 b0a800000000 78", "hvc1.B4.10.L120.b0.a8"),
    ];
    for (profile, codecs) in cases {
        let bytes = hex(&profile.replace(' ', ""));
        let profile = sps::Profile(bytes.try_into().expect("12 bytes"));
        assert_eq!(profile.codecs(), codecs);
    }
}

#[test]
fn the_encoders_signature_is_left_out_and_mastering_display_kept() {
    let (vps, sps, pps) = (hex(VPS_UNIT), hex(SPS_UNIT), hex(PPS_UNIT));
    let light: &[u8] = &[0x4e, 0x01, 144, 4, 0x03, 0xe8, 0x01, 0x90, 0x80];
    for (sei, arrays) in [(light, 4), (&[0x4e, 0x01, 5, 1, 0x41, 0x80][..], 3)] {
        let whole = record(&[(VPS, &vps), (SPS, &sps), (PPS, &pps), (PREFIX_SEI, sei)]);
        let config = Config::parse(&whole).expect("a record");
        assert_eq!(config.record()[22], arrays);
    }
}

#[test]
fn s17_records_that_hold_nothing_are_named() {
    let (vps, sps) = (hex(VPS_UNIT), hex(SPS_UNIT));
    assert_eq!(
        Config::parse(&Bytes::new()),
        Err(Error::Truncated { what: WHAT })
    );
    let cases = [
        (record(&[]), "at least one video parameter set"),
        (
            record(&[(VPS, &vps)]),
            "at least one sequence parameter set",
        ),
        (
            record(&[(VPS, &vps), (SPS, &sps)]),
            "at least one picture parameter set",
        ),
    ];
    for (record, wanted) in cases {
        match Config::parse(&record) {
            Err(Error::Malformed { want, .. }) => assert_eq!(want, wanted),
            other => panic!("{wanted}: {other:?}"),
        }
    }
}

#[test]
fn every_truncation_of_a_record_is_an_error_not_a_panic() {
    let record = main_profile().record().clone();
    for end in 0..record.len() {
        assert!(Config::parse(&record.slice(..end)).is_err(), "{end} bytes");
    }
    // Of the parameter set, only the hints may be missing.
    let sps = hex(SPS_UNIT);
    for end in 0..sps.len() {
        if let Ok(short) = Sps::parse(&sps[..end]) {
            assert_eq!(short.resolution, (318, 182), "{end} bytes");
        }
    }
}

#[test]
fn s18_parameter_sets_and_delimiters_stay_out_of_mdat_and_new_ones_configure() {
    let config = main_profile();
    let (vps, sps, pps) = (hex(VPS_UNIT), hex(SPS_UNIT), hex(PPS_UNIT));
    let key: &[u8] = &[0x26, 0x01, 0xaf];
    let data = framed(&[&[0x46, 0x01, 0x50], &vps, &sps, &pps, SEI, key]);
    let unit = config.unit(&data).expect("well-formed");
    assert_eq!(unit.data, framed(&[SEI, key]));
    assert_eq!(
        unit.data.as_ptr(),
        data[data.len() - unit.data.len()..].as_ptr()
    );
    assert!(unit.sync && unit.picture && unit.config.is_none());

    let mut other = pps.clone();
    other[4] ^= 1;
    let unit = config.unit(&framed(&[&other, key])).expect("well-formed");
    let changed = unit.config.expect("a new picture parameter set");
    assert_eq!(changed.sets.picture.len(), 1, "the same id is replaced");
    assert_eq!(changed.sets.picture[0].unit, other);
    assert!(!config.unit(&framed(&[SEI])).expect("well-formed").picture);
}

#[test]
fn s19_sync_is_an_irap_picture() {
    for (kind, sync) in [
        (1, false),
        (9, false),
        (16, true),
        (19, true),
        (20, true),
        (21, true),
        (22, false),
    ] {
        let unit = main_profile()
            .unit(&framed(&[&[kind << 1, 1, 0xaf]]))
            .expect("well-formed");
        assert_eq!((unit.sync, unit.picture), (sync, true), "type {kind}");
    }
    assert!(
        !main_profile()
            .unit(&framed(&[DELTA]))
            .expect("well-formed")
            .sync
    );
}

#[test]
fn a_written_record_is_read_as_the_same_configuration() {
    let config = main_profile();
    assert_eq!(Config::parse(config.record()), Ok(config));
}

#[test]
fn high_dynamic_range_is_read_from_the_colour_description() {
    // ffmpeg 5.1 with x265, Main 10, `-color_trc arib-std-b67`.
    const VPS_UNIT: &str = "40010c01ffff02200000030090000003000003003c959409";
    const SPS_UNIT: &str = "42010102200000030090000003000003003ca00a080f136595952930bc05a848904820000003002000000303c1";
    const PPS_UNIT: &str = "4401c073c189";
    let (vps, sps, pps) = (hex(VPS_UNIT), hex(SPS_UNIT), hex(PPS_UNIT));
    let record = record(&[(VPS, &vps), (SPS, &sps), (PPS, &pps)]);
    let config = Config::parse(&record).expect("a real record");
    assert_eq!(config.hdr(), Some(Hdr::Hlg));
    assert_eq!(main_profile().hdr(), None);
}
