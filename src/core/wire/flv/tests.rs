use bytes::{BufMut, BytesMut};

use super::*;

const HIGH: &str = "0164001effe1001a6764001eacd940a02ff970110000030001000003003c0f162d9601000668ebe3cb22c0fdf8f800";
const MAIN: &str =
    "014d4028ffe10019674d4028f403c0227ef011000003000100000300321f162ea001000468de0fc8";
const DELTA: &[u8] = &[0, 0, 0, 3, 0x41, 0x9a, 0x24];
const KEY: &[u8] = &[0, 0, 0, 3, 0x65, 0x88, 0x84];
const SEI: &[u8] = &[0, 0, 0, 3, 0x06, 0x05, 0x80];
const ASC: &[u8] = &[0x11, 0x90];

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

/// `parts`, one after the other.
fn body(parts: &[&[u8]]) -> Bytes {
    parts.concat().into()
}

fn video(demuxer: &mut Demuxer, parts: &[&[u8]]) -> Result<Vec<Item>, Error> {
    let mut out = Vec::new();
    demuxer.video(40, &body(parts), &mut out).map(|()| out)
}

fn audio(demuxer: &mut Demuxer, parts: &[&[u8]]) -> Result<Vec<Item>, Error> {
    let mut out = Vec::new();
    demuxer.audio(40, &body(parts), &mut out).map(|()| out)
}

/// Configured with H.264 High and AAC-LC by legacy messages.
fn configured() -> Demuxer {
    let mut demuxer = Demuxer::default();
    let items = video(&mut demuxer, &[&[0x17, 0, 0, 0, 0], &hex(HIGH)]).expect("configuration");
    assert!(matches!(items[..], [Item::Config(Config::Avc(_))]));
    let items = audio(&mut demuxer, &[&[0xaf, 0], ASC]).expect("configuration");
    assert!(matches!(items[..], [Item::Config(Config::Aac(_))]));
    demuxer
}

fn frame(items: Result<Vec<Item>, Error>) -> Frame {
    match items.expect("a frame").pop() {
        Some(Item::Frame(frame)) => frame,
        other => panic!("no frame: {other:?}"),
    }
}

fn refusal(result: Result<Vec<Item>, Error>) -> String {
    let error = result.expect_err("refused");
    assert!(matches!(
        error,
        Error::Media(media::Error::Unsupported { .. })
    ));
    error.to_string()
}

fn malformed(result: Result<Vec<Item>, Error>) -> bool {
    use media::Error::{Malformed, Truncated};
    matches!(
        result,
        Err(Error::Media(Malformed { .. } | Truncated { .. }))
    )
}

/// A multitrack entry: track, 24-bit size, payload.
fn track(number: u8, payload: &[u8]) -> Vec<u8> {
    let mut entry = BytesMut::new();
    entry.put_u8(number);
    entry.put_uint(payload.len() as u64, 3);
    entry.extend_from_slice(payload);
    entry.to_vec()
}

#[test]
fn s17_frames_before_their_configuration_hold_nothing() {
    let mut demuxer = Demuxer::default();
    assert_eq!(video(&mut demuxer, &[&[0x17, 1, 0, 0, 0], KEY]), Ok(vec![]));
    assert_eq!(audio(&mut demuxer, &[&[0xaf, 1, 0x21, 0x10]]), Ok(vec![]));
    // A frame of another codec than the configured one, too.
    let mut demuxer = configured();
    assert_eq!(video(&mut demuxer, &[&[0x1c, 1, 0, 0, 0], KEY]), Ok(vec![]));
}

#[test]
fn s17_a_repeated_configuration_is_told_once_and_a_changed_one_again() {
    let mut demuxer = configured();
    assert_eq!(
        video(&mut demuxer, &[&[0x17, 0, 0, 0, 0], &hex(HIGH)]),
        Ok(vec![])
    );
    assert_eq!(audio(&mut demuxer, &[&[0xaf, 0], ASC]), Ok(vec![]));
    for record in [MAIN, HIGH] {
        let items = video(&mut demuxer, &[&[0x17, 0, 0, 0, 0], &hex(record)]);
        assert!(
            matches!(items.expect("changed")[..], [Item::Config(_)]),
            "{record}"
        );
    }
    let items = audio(&mut demuxer, &[&[0xaf, 0, 0x12, 0x10]]).expect("changed");
    assert!(matches!(items[..], [Item::Config(Config::Aac(_))]));
}

#[test]
fn s17_a_broken_message_leaves_the_demuxer_usable() {
    let mut demuxer = configured();
    assert!(
        malformed(video(&mut demuxer, &[&[0x17, 0, 0, 0, 0]])),
        "empty AVCC"
    );
    assert!(malformed(video(
        &mut demuxer,
        &[&[0x27, 1, 0, 0, 0, 9, 9, 9, 9, 9]]
    )));
    assert!(malformed(video(&mut demuxer, &[&[0x27, 1, 0]])));
    assert_eq!(
        frame(video(&mut demuxer, &[&[0x27, 1, 0, 0, 0], DELTA])).data,
        DELTA
    );
}

#[test]
fn s18_in_band_parameter_sets_configure_before_their_frame() {
    let mut demuxer = configured();
    let main = avc::Config::parse(&hex(MAIN).into()).expect("a record");
    let record = hex(MAIN);
    let (sps, pps) = (&record[6..8 + 25], &record[record.len() - 6..]);
    let data = [&[0, 0], sps, &[0, 0], pps, KEY].concat();
    let items = video(&mut demuxer, &[&[0x17, 1, 0, 0, 0], &data]).expect("in-band");
    let [Item::Config(config), Item::Frame(frame)] = &items[..] else {
        panic!("{items:?}");
    };
    assert_eq!(*config, Config::Avc(main));
    assert_eq!(frame.data, KEY);
}

#[test]
fn s18_standalone_sei_joins_the_next_access_unit() {
    let mut demuxer = configured();
    assert_eq!(video(&mut demuxer, &[&[0x27, 1, 0, 0, 0], SEI]), Ok(vec![]));
    let joined = frame(video(&mut demuxer, &[&[0x17, 1, 0, 0, 0], KEY]));
    assert_eq!(joined.data, body(&[SEI, KEY]));
    assert_eq!(
        frame(video(&mut demuxer, &[&[0x27, 1, 0, 0, 0], DELTA])).data,
        DELTA
    );
    let endless = SEI.repeat(limits::MAX_UNITS_PER_SAMPLE - 1);
    for _ in 0..limits::MAX_PENDING_SEI_BYTES / endless.len() + 1 {
        assert_eq!(
            video(&mut demuxer, &[&[0x27, 1, 0, 0, 0], &endless]),
            Ok(vec![])
        );
        assert!(demuxer.pending.len() <= limits::MAX_PENDING_SEI_BYTES);
    }
}

#[test]
fn s18_commands_empty_messages_and_ends_hold_nothing() {
    let mut demuxer = configured();
    let cases: [&[u8]; 7] = [
        &[],
        &[0x57, 0],                      // command frame
        &[0x52, 1],                      // command frame of a codec we do not carry
        &[0x10],                         // codec id 0
        &[0x17, 2, 0, 0, 0],             // end of sequence
        &[0xd1, 0],                      // extended command frame
        &[0x92, b'a', b'v', b'c', b'1'], // extended end of sequence
    ];
    for bytes in cases {
        assert_eq!(video(&mut demuxer, &[bytes]), Ok(vec![]), "{bytes:x?}");
    }
    for bytes in [
        &[][..],
        &[0xaf],
        &[0xaf, 1],
        &[0x92, b'm', b'p', b'4', b'a'],
    ] {
        assert_eq!(audio(&mut demuxer, &[bytes]), Ok(vec![]), "{bytes:x?}");
    }
}

#[test]
fn s19_composition_time_is_signed_24_bit_and_key_frames_are_seen_not_told() {
    let mut demuxer = configured();
    for (wire, composition_ms) in [
        ([0, 0, 67], 67),
        ([0xff, 0xff, 0xdf], -33),
        ([0x80, 0, 0], -8_388_608),
        ([0x7f, 0xff, 0xff], 8_388_607),
    ] {
        let frame = frame(video(&mut demuxer, &[&[0x27, 1], &wire, DELTA]));
        assert_eq!(frame.composition_ms, composition_ms);
        assert_eq!(
            (frame.kind, frame.timestamp, frame.nanos),
            (Kind::Video, 40, 0)
        );
    }
    assert!(!frame(video(&mut demuxer, &[&[0x17, 1, 0, 0, 0], DELTA])).sync);
    assert!(frame(video(&mut demuxer, &[&[0x27, 1, 0, 0, 0], KEY])).sync);
}

#[test]
fn a_frame_that_needs_no_change_is_a_slice_of_its_message() {
    let mut demuxer = configured();
    let message = body(&[&[0x27, 1, 0, 0, 0], DELTA]);
    let mut out = Vec::new();
    demuxer.video(0, &message, &mut out).expect("a frame");
    let Some(Item::Frame(frame)) = out.pop() else {
        panic!("no frame");
    };
    assert_eq!(frame.data.as_ptr(), message[5..].as_ptr());
}

#[test]
fn s20_resolution_may_change_and_hdr_metadata_passes_by() {
    let mut demuxer = configured();
    assert_eq!(
        video(&mut demuxer, &[&[0x94], b"avc1", &[2, 0, 9]]),
        Ok(vec![])
    );
    let items = video(&mut demuxer, &[&[0x90], b"avc1", &hex(MAIN)]).expect("changed");
    let [Item::Config(config)] = &items[..] else {
        panic!("{items:?}");
    };
    assert_eq!(config.resolution(), Some((1920, 1080)));
    assert!(frame(video(&mut demuxer, &[&[0x93], b"avc1", KEY])).sync);
}

#[test]
fn s21_aac_frames_come_bare_and_adts_is_stripped() {
    let mut demuxer = configured();
    let bare = frame(audio(&mut demuxer, &[&[0xaf, 1, 0x21, 0x10, 0x04]]));
    assert_eq!(
        (bare.kind, bare.sync, &bare.data[..]),
        (Kind::Audio, true, &[0x21, 0x10, 0x04][..])
    );
    let adts = [0xff, 0xf1, 0x4c, 0x80, 0x01, 0x5f, 0xfc, 0x21, 0x10, 0x04];
    assert_eq!(
        frame(audio(&mut demuxer, &[&[0xaf, 1], &adts])).data[..],
        [0x21, 0x10, 0x04]
    );
    let items = audio(&mut Demuxer::default(), &[&[0xaf, 1], &adts]).expect("configures itself");
    assert!(matches!(items[..], [Item::Config(_), Item::Frame(_)]));
}

#[test]
fn mp3_configures_itself_by_the_header_of_its_frames() {
    const MP3: &[u8] = &[0xff, 0xfb, 0x90, 0x64, 1, 2, 3];
    const MONO: &[u8] = &[0xff, 0xfb, 0x90, 0xc4, 1, 2, 3];
    let forms: [&[&[u8]]; 3] = [&[&[0x2f]], &[&[0xe2]], &[&[0x91], b".mp3"]];
    for head in forms {
        let mut demuxer = Demuxer::default();
        let mut message = |data: &[u8]| audio(&mut demuxer, &[head, &[data]].concat());
        assert_eq!(message(b"junk"), Ok(vec![]), "before the first header");
        let items = message(MP3).expect("a frame");
        let [Item::Config(Config::Mp3(config)), Item::Frame(frame)] = &items[..] else {
            panic!("{items:?}");
        };
        assert_eq!((config.timescale().hz(), config.channels()), (44_100, 2));
        assert_eq!((&frame.data[..], frame.sync), (MP3, true));
        assert_eq!(message(MP3).expect("another").len(), 1);
        // What is no frame is for the decoder to say.
        assert_eq!(message(b"junk").expect("taken").len(), 1);
        assert!(matches!(
            message(MONO).expect("another")[..],
            [Item::Config(_), Item::Frame(_)]
        ));
        assert_eq!(message(&[]), Ok(vec![]));
    }
    let start = audio(&mut Demuxer::default(), &[&[0x90], b".mp3", MP3]);
    assert_eq!(start, Ok(vec![]), "a start that says nothing");
}

#[test]
fn s21_codecs_we_do_not_carry_are_refused_by_name() {
    let legacy_audio = [
        (0x7f, "G.711 audio"),
        (0x8f, "G.711 audio"),
        (0xb2, "Speex audio"),
        (0x5e, "Nellymoser audio"),
        (0x3e, "PCM audio"),
    ];
    for (first, name) in legacy_audio {
        let refused = refusal(audio(&mut configured(), &[&[first, 0]]));
        assert_eq!(refused, format!("unsupported {name}"));
    }
    for (first, name) in [(0x22, "Sorenson H.263 video"), (0x14, "VP6 video")] {
        let refused = refusal(video(&mut configured(), &[&[first, 0]]));
        assert_eq!(refused, format!("unsupported {name}"));
    }
}

#[test]
fn s22_enhanced_video_packets() {
    let mut demuxer = Demuxer::default();
    let items = video(&mut demuxer, &[&[0x90], b"avc1", &hex(HIGH)]).expect("sequence start");
    assert!(matches!(items[..], [Item::Config(Config::Avc(_))]));
    let coded = frame(video(
        &mut demuxer,
        &[&[0xa1], b"avc1", &[0xff, 0xff, 0xff], DELTA],
    ));
    assert_eq!((coded.composition_ms, &coded.data[..]), (-1, DELTA));
    let without_offset = frame(video(&mut demuxer, &[&[0xa3], b"avc1", DELTA]));
    assert_eq!(
        (without_offset.composition_ms, &without_offset.data[..]),
        (0, DELTA)
    );
    // HDR metadata, also as a command frame, and packet types of the future.
    for first in [0x94, 0xd4, 0x98, 0x9f] {
        assert_eq!(
            video(&mut demuxer, &[&[first], b"avc1", &[2, 0, 0]]),
            Ok(vec![])
        );
    }
    for (four_cc, name) in [
        (b"vp08", "VP8 video"),
        (b"vp09", "VP9 video"),
        (b"hev1", "hev1 video (hvc1 is supported)"),
        (b"vvc1", "VVC video"),
        (b"DJI ", "video codec"),
    ] {
        let refused = refusal(video(&mut demuxer, &[&[0x91], four_cc, &[0; 8]]));
        assert_eq!(refused, format!("unsupported {name}"));
    }
    assert_eq!(
        refusal(video(&mut demuxer, &[&[0x95], b"av01", &[0; 8]])),
        "unsupported MPEG-2 TS sequence start"
    );
}

#[test]
fn s23_enhanced_audio_packets() {
    let mut demuxer = Demuxer::default();
    let items = audio(&mut demuxer, &[&[0x90], b"mp4a", ASC]).expect("sequence start");
    assert!(matches!(items[..], [Item::Config(Config::Aac(_))]));
    assert_eq!(
        frame(audio(&mut demuxer, &[&[0x91], b"mp4a", &[0x21, 9]])).data[..],
        [0x21, 9]
    );
    assert_eq!(
        audio(&mut demuxer, &[&[0x94], b"mp4a", &[1, 2]]),
        Ok(vec![])
    );
    for (four_cc, name) in [
        (b"ac-3", "AC-3 audio"),
        (b"ec-3", "E-AC-3 audio"),
        (b"fLaC", "FLAC audio"),
        (b"xxxx", "audio codec"),
    ] {
        let refused = refusal(audio(&mut demuxer, &[&[0x91], four_cc, &[0; 8]]));
        assert_eq!(refused, format!("unsupported {name}"));
    }
}

#[test]
fn s24_track_0_is_used_and_the_others_stepped_over() {
    let one = [&[0x96, 0x00], &b"avc1"[..], &[0], &hex(HIGH)].concat();
    let many = [
        &[0x96, 0x10],
        &b"avc1"[..],
        &track(1, &hex(MAIN)),
        &track(0, &hex(HIGH)),
    ]
    .concat();
    let own = [
        &[0x96, 0x20],
        &b"vp09"[..],
        &track(2, &[1, 2, 3]),
        b"avc1",
        &track(0, &hex(HIGH)),
        b"av01",
        &track(1, &[]),
    ]
    .concat();
    let high = Config::Avc(avc::Config::parse(&hex(HIGH).into()).expect("a record"));
    for message in [one, many, own] {
        let mut demuxer = Demuxer::default();
        let items = video(&mut demuxer, &[&message]);
        assert_eq!(items, Ok(vec![Item::Config(high.clone())]), "{message:x?}");
    }
    let other_track_alone = [&[0x96, 0x00], &b"vp09"[..], &[1, 0x82]].concat();
    assert_eq!(video(&mut configured(), &[&other_track_alone]), Ok(vec![]));

    let mut demuxer = configured();
    let many = [
        &[0x95, 0x11],
        &b"mp4a"[..],
        &track(0, &[7]),
        &track(1, &[8]),
    ]
    .concat();
    assert_eq!(frame(audio(&mut demuxer, &[&many])).data[..], [7]);
}

#[test]
fn s24_nested_multitrack_and_sizes_that_lie_are_errors_after_what_was_right() {
    let mut demuxer = configured();
    assert!(malformed(video(
        &mut demuxer,
        &[&[0x96, 0x06], b"avc1", &[0; 9]]
    )));
    assert!(malformed(audio(
        &mut demuxer,
        &[&[0x95, 0x05], b"mp4a", &[0; 9]]
    )));
    assert!(malformed(video(
        &mut demuxer,
        &[&[0x96, 0x31], b"avc1", &[0; 9]]
    )));

    let mut out = Vec::new();
    let lying = body(&[&[0x95, 0x11], b"mp4a", &track(0, &[7]), &[1, 0, 0, 9, 8]]);
    assert!(demuxer.audio(0, &lying, &mut out).is_err());
    assert_eq!(out.len(), 1, "the first track stands");
}

#[test]
fn s25_modifiers_loop_until_a_plain_type() {
    let mut demuxer = configured();
    let nano = [2, 0x0f, 0x42, 0x3f, 0x01]; // 999,999 ns, then CodedFrames
    let coded = frame(video(
        &mut demuxer,
        &[&[0xa7], &nano, b"avc1", &[0, 0, 0], DELTA],
    ));
    assert_eq!((coded.nanos, &coded.data[..]), (999_999, DELTA));

    let unknown_then_nano = [0, 0xaa, 0x17, 2, 0, 0, 5, 0x01];
    let coded = frame(audio(
        &mut demuxer,
        &[&[0x97], &unknown_then_nano, b"mp4a", &[7]],
    ));
    assert_eq!(coded.nanos, 5);

    let long = [&[255, 1, 0x2b][..], &[0; 300], &[0x11]].concat();
    assert_eq!(
        frame(audio(&mut demuxer, &[&[0x97], &long, b"mp4a", &[7]])).nanos,
        0
    );

    for broken in [
        &[2, 0x0f, 0x42, 0x40, 0x01][..],
        &[1, 0, 0, 0x01],
        &[9, 0],
        &[],
    ] {
        assert!(
            malformed(audio(&mut demuxer, &[&[0x97], broken])),
            "{broken:x?}"
        );
    }
}

#[test]
fn s28_h265_as_codec_12_has_the_layout_of_h264() {
    let record = concat!(
        "0101600000009000000000003cf000fcfdf8f800000f03",
        "a00001001840010c01ffff01600000030090000003000003003c959809",
        "a10001002b42010101600000030090000003000003003ca00a080b9d565959a4932bc05a020000030002000003003c10",
        "a2000100074401c172b46240",
    );
    let key = [0, 0, 0, 3, 0x26, 0x01, 0xaf];
    let mut demuxer = Demuxer::default();
    let items = video(&mut demuxer, &[&[0x1c, 0, 0, 0, 0], &hex(record)]).expect("configuration");
    assert!(matches!(items[..], [Item::Config(Config::Hevc(_))]));
    let legacy = frame(video(&mut demuxer, &[&[0x1c, 1, 0xff, 0xff, 0xff], &key]));
    assert_eq!(
        (legacy.sync, legacy.composition_ms, &legacy.data[..]),
        (true, -1, &key[..])
    );
    // An encoder that changes to the enhanced header keeps its configuration.
    assert_eq!(
        video(&mut demuxer, &[&[0x90], b"hvc1", &hex(record)]),
        Ok(vec![])
    );
    assert_eq!(
        frame(video(&mut demuxer, &[&[0x93], b"hvc1", &key])).data[..],
        key
    );
}
