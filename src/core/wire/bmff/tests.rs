use std::io::Cursor;

use bytes::Bytes;
use mp4::Mp4Reader;
use mp4_atom::{Any, Codec, DecodeMaybe};
use proptest::prelude::*;

use super::*;
use crate::media::{Config, Kind, Sample, aac, av1, avc, hevc, mp3, opus};

fn hex(text: &str) -> Bytes {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

/// 320 x 180 with samples of 4:3.
fn h264() -> Config {
    let record = "0142c00dffe100176742c00dd901419f9f0e1000003e90000ea608f142a48001000568cb83cb20";
    Config::Avc(avc::Config::parse(&hex(record)).expect("a record"))
}

fn h265() -> Config {
    let record = concat!(
        "0101600000009000000000003cf000fcfdf8f800000f03",
        "a00001001840010c01ffff01600000030090000003000003003c959809",
        "a10001002b42010101600000030090000003000003003ca00a080b9d565959a4932bc05a020000030002000003003c10",
        "a2000100074401c172b46240",
    );
    Config::Hevc(hevc::Config::parse(&hex(record)).expect("a record"))
}

fn av1() -> Config {
    let record = hex("81000c000a0b000000043cf6d4daf90040");
    Config::Av1(av1::Config::parse(&record).expect("a record"))
}

fn aac(asc: &str) -> Config {
    Config::Aac(aac::Config::parse(&hex(asc)).expect("a configuration"))
}

fn mp3() -> Config {
    Config::Mp3(mp3::Config::detect(&[0xff, 0xfb, 0x90, 0x64]).expect("a header"))
}

fn opus() -> Config {
    let head = hex("4f707573486561640102380180bb0000000000");
    Config::Opus(opus::Config::parse(&head).expect("a header"))
}

/// The box tree of `bytes`: names and sizes by depth, with the body of the leaves that a reader may want to see.
fn tree(bytes: &[u8]) -> String {
    fn walk(bytes: &[u8], depth: usize, out: &mut String) {
        let mut at = 0;
        while at < bytes.len() {
            let word =
                |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
            let size = word(at) as usize;
            let name = std::str::from_utf8(&bytes[at + 4..at + 8]).expect("a name");
            let body = &bytes[at + 8..at + size];
            // How much stands in front of the boxes inside; none for leaves.
            let inner = match name {
                "moov" | "trak" | "mdia" | "minf" | "dinf" | "stbl" | "mvex" | "moof" | "traf" => {
                    Some(0)
                }
                "stsd" | "dref" => Some(8),
                "avc1" | "hvc1" | "av01" => Some(78),
                "mp4a" | "Opus" => Some(28),
                _ => None,
            };
            *out += &format!("{:width$}{name} {size}", "", width = 2 * depth);
            if matches!(
                name,
                "ftyp"
                    | "styp"
                    | "mfhd"
                    | "tfhd"
                    | "tfdt"
                    | "trun"
                    | "trex"
                    | "pasp"
                    | "esds"
                    | "dOps"
            ) {
                let body: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
                *out += &format!(" {body}");
            }
            out.push('\n');
            if let Some(inner) = inner {
                walk(&body[inner..], depth + 1, out);
            }
            at += size;
        }
        assert_eq!(at, bytes.len(), "sizes add up");
    }
    let mut out = String::new();
    walk(bytes, 0, &mut out);
    out
}

fn sample(dts: i64, composition_offset: i32, sync: bool, data: &'static [u8]) -> Sample {
    Sample {
        dts,
        composition_offset,
        duration: 0,
        sync,
        data: Bytes::from_static(data),
    }
}

/// Every atom of `bytes`, read strictly: no byte of a box may be left over.
fn atoms(bytes: &[u8]) -> Vec<Any> {
    let mut cursor = Cursor::new(bytes);
    let mut atoms = Vec::new();
    while let Some(atom) = Any::decode_maybe(&mut cursor).expect("strict") {
        atoms.push(atom);
    }
    assert_eq!(cursor.position(), bytes.len() as u64);
    atoms
}

#[test]
fn the_tree_of_an_h264_initialization_segment() {
    let expected = "\
ftyp 32 636d66630000000069736f36636d6663636d663261696433
moov 639
  mvhd 108
  trak 483
    tkhd 92
    mdia 383
      mdhd 32
      hdlr 38
      minf 305
        vmhd 20
        dinf 36
          dref 28
            url  12
        stbl 241
          stsd 165
            avc1 149
              avcC 47
              pasp 16 0000000400000003
          stts 16
          stsc 16
          stsz 20
          stco 16
  mvex 40
    trex 32 000000000000000100000001000000000000000000000000
";
    let found = tree(&init(&h264()));
    assert_eq!(found, expected, "\n{found}");
}

#[test]
fn sample_entries_of_every_codec() {
    let cases = [
        (h264(), "avc1", "avcC"),
        (h265(), "hvc1", "hvcC"),
        (av1(), "av01", "av1C"),
        (aac("1190"), "mp4a", "esds"),
        (mp3(), "mp4a", "esds"),
        (opus(), "Opus", "dOps"),
    ];
    for (config, entry, inside) in cases {
        let tree = tree(&init(&config));
        let at = tree.find(&format!(" {entry} ")).expect(entry);
        assert!(tree[at..].contains(&format!(" {inside} ")), "{tree}");
        assert_eq!(tree.contains("vmhd"), config.kind() == Kind::Video);
        assert_eq!(tree.contains("smhd"), config.kind() == Kind::Audio);
        assert_eq!(tree.contains("61763031\n"), entry == "av01", "its brand");
    }
}

#[test]
fn esds_holds_the_whole_configuration() {
    let found = tree(&init(&aac("2b118800")));
    let esds = "00000000031b000000041340150000000000000000000000050".to_owned() + "42b118800060102";
    assert!(found.contains(&esds), "{found}");
    // A configuration of 128 bytes or more needs lengths of two digits.
    let long = "11905600".to_owned() + &"00".repeat(196);
    assert!(tree(&init(&aac(&long))).contains("0581481190"));
}

#[test]
fn the_mp4_crate_reads_what_we_write() {
    let read = |config: &Config| {
        let samples = [sample(0, 0, true, &[1]), sample(3000, 0, false, &[2, 3])];
        let part = fragment(config.kind(), 1, true, &[], &samples, 6000);
        let file = [init(config), part].concat();
        let size = file.len() as u64;
        Mp4Reader::read_header(Cursor::new(file), size).expect("a file")
    };
    for (config, width, height) in [(h264(), 426, 180), (h265(), 318, 182)] {
        let reader = read(&config);
        let trak = &reader.moov.traks[0];
        assert_eq!((trak.tkhd.track_id, reader.moov.mvhd.next_track_id), (1, 2));
        let size = (trak.tkhd.width.value(), trak.tkhd.height.value());
        assert_eq!(size, (width, height));
        assert_eq!(trak.mdia.mdhd.timescale, 90_000);
        assert!(reader.is_fragmented() && reader.moov.mvex.is_some());
        assert_eq!(reader.sample_count(1).expect("track 1"), 2);
    }
    let reader = read(&aac("1190"));
    let stsd = &reader.moov.traks[0].mdia.minf.stbl.stsd;
    let mp4a = stsd.mp4a.as_ref().expect("mp4a");
    assert_eq!((mp4a.channelcount, mp4a.samplerate.value()), (2, 48_000));
}

#[test]
fn mp4_atom_reads_what_we_write_strictly() {
    let moov = |config: &Config| match &atoms(&init(config))[..] {
        [Any::Ftyp(_), Any::Moov(moov)] => moov.clone(),
        other => panic!("{other:?}"),
    };
    let codec = |config: &Config| moov(config).trak[0].mdia.minf.stbl.stsd.codecs[0].clone();
    let Codec::Avc1(avc1) = codec(&h264()) else {
        panic!("avc1");
    };
    assert_eq!((avc1.visual.width, avc1.visual.height), (320, 180));
    let pasp = avc1.pasp.expect("4:3 samples");
    assert_eq!((pasp.h_spacing, pasp.v_spacing), (4, 3));
    assert_eq!(
        (
            avc1.avcc.sequence_parameter_sets.len(),
            avc1.avcc.length_size
        ),
        (1, 4)
    );
    assert!(matches!(codec(&h265()), Codec::Hvc1(hvc1) if hvc1.pasp.is_none()));
    assert!(matches!(codec(&av1()), Codec::Av01(av01) if av01.visual.width == 318));
    assert!(matches!(codec(&opus()), Codec::Opus(opus) if opus.dops.pre_skip == 312));
    // SBR told hierarchically: the entry speaks of the output, esds of all.
    assert!(matches!(codec(&aac("2b118800")), Codec::Mp4a(mp4a) if mp4a.audio.channel_count == 2));
    assert_eq!(moov(&h264()).mvex.expect("mvex").trex[0].track_id, 1);
}

#[test]
fn the_tree_of_a_video_fragment_with_b_frames() {
    let samples = [
        sample(90_000, 0, true, &[1, 2, 3]),
        sample(93_000, 3000, false, &[4]),
        sample(96_000, -3000, false, &[5, 6]),
    ];
    let found = tree(&fragment(Kind::Video, 7, true, &[], &samples, 99_000));
    let expected = "\
styp 24 636d6673000000006d736468636d6673
moof 128
  mfhd 16 0000000000000007
  traf 104
    tfhd 20 000200080000000100000bb8
    tfdt 20 010000000000000000015f90
    trun 56 01000e01000000030000008800000003020000000000000000000001010100000000\
0bb80000000201010000fffff448
mdat 14
";
    assert_eq!(found, expected, "\n{found}");
}

#[test]
fn the_tree_of_an_audio_fragment() {
    let samples = [sample(0, 0, true, &[1]), sample(1024, 0, true, &[2, 3])];
    let found = tree(&fragment(Kind::Audio, 1, false, &[], &samples, 2048));
    let expected = "\
moof 104
  mfhd 16 0000000000000001
  traf 80
    tfhd 24 00020028000000010000040002000000
    tfdt 20 010000000000000000000000
    trun 28 0100020100000002000000700000000100000002
mdat 11
";
    assert_eq!(found, expected, "\n{found}");
}

#[test]
fn equal_input_gives_equal_bytes() {
    assert_eq!(init(&h264()), init(&h264()));
    let samples = [sample(0, 0, true, &[1])];
    let once = fragment(Kind::Video, 1, true, &[], &samples, 3000);
    assert_eq!(once, fragment(Kind::Video, 1, true, &[], &samples, 3000));
}

proptest! {
    /// Whatever the samples, two readers that are not ours get back what went in.
    #[test]
    fn fragments_read_back(
        steps in prop::collection::vec((1u32..9000, -9000i32..9000, any::<bool>(), 0usize..50), 1..20),
        start in 0i64..1 << 40,
        sequence: u32,
        starts_segment: bool,
        audio: bool,
    ) {
        let kind = if audio { Kind::Audio } else { Kind::Video };
        let mut end = start;
        let mut samples = Vec::new();
        for (number, (duration, composition_offset, sync, size)) in steps.iter().enumerate() {
            samples.push(Sample {
                dts: end,
                composition_offset: if audio { 0 } else { *composition_offset },
                duration: *duration,
                sync: *sync,
                data: vec![number as u8; *size].into(),
            });
            end += i64::from(*duration);
        }
        let bytes = fragment(kind, sequence, starts_segment, &[], &samples, end);
        let atoms = atoms(&bytes);
        prop_assert_eq!(matches!(atoms[0], Any::Styp(_)), starts_segment);
        let [.., Any::Moof(moof), Any::Mdat(mdat)] = &atoms[..] else {
            panic!("{atoms:?}");
        };
        prop_assert_eq!(moof.mfhd.sequence_number, sequence);
        let traf = &moof.traf[0];
        prop_assert!(traf.tfhd.default_base_is_moof);
        prop_assert_eq!(traf.tfdt.as_ref().map(|tfdt| tfdt.base_media_decode_time), Some(start as u64));
        let trun = &traf.trun[0];
        let moof_bytes = bytes.len() - mdat.data.len() - 8 - if starts_segment { 24 } else { 0 };
        prop_assert_eq!(trun.data_offset, Some(moof_bytes as i32 + 8));
        prop_assert_eq!(trun.samples.len(), samples.len());
        for (entry, sample) in trun.samples.iter().zip(&samples) {
            let duration = entry.duration.or(traf.tfhd.default_sample_duration);
            prop_assert_eq!(duration, Some(sample.duration));
            let flags = entry.flags.or(traf.tfhd.default_sample_flags);
            prop_assert_eq!(flags.map(|flags| flags & 0x1_0000 == 0), Some(sample.sync));
            prop_assert_eq!(entry.size, Some(sample.data.len() as u32));
            prop_assert_eq!(entry.cts.unwrap_or(0), i64::from(sample.composition_offset));
        }
        let media: Vec<u8> = samples.iter().flat_map(|sample| sample.data.to_vec()).collect();
        prop_assert_eq!(&mdat.data, &media);
    }
}
