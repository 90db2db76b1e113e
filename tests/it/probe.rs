//! Independent witnesses of what was served: ffprobe, ffmpeg's decoders and the `mp4` crate.

use std::{
    io::Cursor,
    path::Path,
    process::{Command, Output},
};

use crate::sources::{ffmpeg, stderr};

/// A packet as ffprobe sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Packet {
    /// Presentation time in seconds, if known.
    pub(crate) pts: Option<f64>,
    /// `MD5:` and the digest of the payload.
    pub(crate) hash: String,
}

/// The packets of the first video (`v:0`) or audio (`a:0`) track, in decode order. ffprobe must have nothing to say.
pub(crate) fn packets(file: &Path, track: &str) -> Vec<Packet> {
    let arguments = [
        "-select_streams",
        track,
        "-show_data_hash",
        "md5",
        "-of",
        "json",
    ];
    let output = ffprobe(file, &arguments)
        .args(["-show_entries", "packet=pts_time,data_hash"])
        .output()
        .expect("ffprobe runs");
    silent(file, &output);
    parse_packets(&output.stdout)
}

/// As [`packets`] of the first video track of an H.264 file, with payloads as they must be served: parameter sets are not
/// allowed in samples of an `avc1` track (ISO/IEC 14496-15, 5.3.3), and delimiters say nothing that its boxes do not say.
pub(crate) fn avc1_packets(file: &Path, scratch: &Path) -> Vec<Packet> {
    let output = ffmpeg()
        .arg("-i")
        .arg(file)
        .args([
            "-map",
            "0:v:0",
            "-c",
            "copy",
            "-bsf:v",
            "filter_units=remove_types=7-9",
        ])
        .args(["-f", "flv", "-y"])
        .arg(scratch)
        .output()
        .expect("ffmpeg runs");
    assert!(output.status.success(), "{}", stderr(&output));
    let filtered = packets(scratch, "v:0");
    let mut packets = packets(file, "v:0");
    assert_eq!(
        packets.len(),
        filtered.len(),
        "the filter keeps every packet"
    );
    for (packet, filtered) in packets.iter_mut().zip(filtered) {
        packet.hash = filtered.hash; // the times are the file's: ffmpeg moves them
    }
    packets
}

fn parse_packets(json: &[u8]) -> Vec<Packet> {
    let read: serde_json::Value = serde_json::from_slice(json).expect("JSON");
    let packets = read["packets"].as_array().expect("packets").iter();
    packets
        .map(|packet| Packet {
            pts: packet["pts_time"].as_str().and_then(|pts| pts.parse().ok()),
            hash: packet["data_hash"].as_str().expect("asked for").to_owned(),
        })
        .collect()
}

/// A picture as ffprobe sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Picture {
    /// Presentation time in seconds.
    pub(crate) pts: f64,
    /// Whether decoding can begin with it.
    pub(crate) key: bool,
    /// Length of its access unit.
    pub(crate) bytes: u32,
}

/// The pictures of the first video track, in decode order. ffprobe must have nothing to say.
#[cfg(feature = "transcode")]
pub(crate) fn pictures(file: &Path) -> Vec<Picture> {
    units(file, "v:0")
}

/// The same of any track.
#[cfg(feature = "transcode")]
pub(crate) fn units(file: &Path, track: &str) -> Vec<Picture> {
    let output = ffprobe(file, &["-select_streams", track, "-of", "json"])
        .args(["-show_entries", "packet=pts_time,flags,size"])
        .output()
        .expect("ffprobe runs");
    silent(file, &output);
    parse_pictures(&output.stdout)
}

fn parse_pictures(json: &[u8]) -> Vec<Picture> {
    let read: serde_json::Value = serde_json::from_slice(json).expect("JSON");
    let number = |text: &serde_json::Value| text.as_str().expect("asked for").to_owned();
    let packets = read["packets"].as_array().expect("packets").iter();
    packets
        .map(|packet| Picture {
            pts: number(&packet["pts_time"]).parse().expect("seconds"),
            key: number(&packet["flags"]).starts_with('K'),
            bytes: number(&packet["size"]).parse().expect("bytes"),
        })
        .collect()
}

/// What ffprobe says of the first video track: `codec_name`, `profile`, `level`, `width` and so on.
#[cfg(feature = "transcode")]
pub(crate) fn video_stream(file: &Path) -> serde_json::Value {
    let output = ffprobe(file, &["-select_streams", "v:0", "-of", "json"])
        .arg("-show_streams")
        .output()
        .expect("ffprobe runs");
    silent(file, &output);
    let mut read: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    read["streams"][0].take()
}

/// The number that the machine clock of `conf/testcard.sh` shows in each picture of `file`, in presentation order; `None`
/// where it cannot be read.
pub(crate) fn numbers(file: &Path) -> Vec<Option<u32>> {
    let filter = format!(
        "format=gray,crop=iw:iw/16:0:0,scale={}:{}:flags=area",
        CELL * 32,
        CELL * 2
    );
    let output = ffmpeg()
        .arg("-i")
        .arg(file)
        .args([
            "-vf",
            &filter,
            "-fps_mode",
            "passthrough",
            "-f",
            "rawvideo",
            "-",
        ])
        .output()
        .expect("ffmpeg runs");
    silent(file, &output);
    { output.stdout }
        .chunks_exact(CELL * 32 * CELL * 2)
        .map(number)
        .collect()
}

/// Pixels along a cell of the clock, once it was scaled.
const CELL: usize = 8;

/// The first row of the clock: white, black, 24 bits, 4 check bits, black, white.
fn number(strip: &[u8]) -> Option<u32> {
    // The middle of a cell: its rim is where codecs and scalers smear.
    let brightness = |cell: usize| {
        let pixel = |x: usize, y: usize| u32::from(strip[y * CELL * 32 + cell * CELL + x]);
        (pixel(3, 3) + pixel(4, 3) + pixel(3, 4) + pixel(4, 4)) / 4
    };
    let white = brightness(0).min(brightness(31));
    let black = brightness(1).max(brightness(30));
    if white < black + 64 {
        return None;
    }
    let bit = |cell| u32::from(brightness(cell) > (white + black) / 2);
    let word = (2..30).fold(0, |word, cell| word << 1 | bit(cell));
    let value = word >> 4;
    (value % 15 == word & 15).then_some(value)
}

/// Stream entries such as `codec_name,width,height` of one track.
pub(crate) fn describe(file: &Path, track: &str, entries: &str) -> String {
    let output = ffprobe(file, &["-select_streams", track, "-of", "csv=p=0"])
        .args(["-show_entries", &format!("stream={entries}")])
        .output()
        .expect("ffprobe runs");
    silent(file, &output);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Decodes the whole file; ffmpeg must neither fail nor have anything to say.
pub(crate) fn decodes(file: &Path) {
    let output = ffmpeg()
        .args(["-xerror", "-i"])
        .arg(file)
        .args(["-f", "null", "-"])
        .output()
        .expect("ffmpeg runs");
    assert!(
        output.status.success(),
        "{}: {}",
        file.display(),
        stderr(&output)
    );
    silent(file, &output);
}

fn ffprobe(file: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "warning"]).args(arguments).arg(file);
    command
}

fn silent(file: &Path, output: &Output) {
    let said = stderr(output);
    assert!(
        output.status.success() && said.is_empty(),
        "{}: {said}",
        file.display()
    );
}

/// Reads an initialization segment and the fragments behind it with the `mp4` crate; gives fragments and samples.
pub(crate) fn fragments(bytes: &[u8]) -> (usize, u32) {
    let size = bytes.len() as u64;
    let reader = mp4::Mp4Reader::read_header(Cursor::new(bytes), size).expect("mp4 reads it");
    assert!(reader.is_fragmented(), "mvex is missing");
    assert_eq!(reader.tracks().len(), 1, "CMAF: one track per file");
    let samples = reader.tracks().values().map(mp4::Mp4Track::sample_count);
    (reader.moofs.len(), samples.sum())
}

/// Presentation time, in seconds, of the first sample of an initialization segment and the fragments behind it, as its
/// boxes say it: `tfdt` plus composition offset. ffmpeg adds to all presentation times of a file what makes its negative
/// offsets positive, so ffprobe tells distances only.
pub(crate) fn first_presentation(bytes: &[u8]) -> f64 {
    let size = bytes.len() as u64;
    let reader = mp4::Mp4Reader::read_header(Cursor::new(bytes), size).expect("mp4 reads it");
    let timescale = reader
        .tracks()
        .values()
        .next()
        .expect("one track")
        .timescale();
    let fragment = &reader.moofs[0].trafs[0];
    let decode = fragment.tfdt.as_ref().expect("tfdt").base_media_decode_time;
    let run = fragment.trun.as_ref().expect("trun");
    let offset = run.sample_cts.first().map_or(0, |&offset| offset as i32); // signed in version 1
    (decode as f64 + f64::from(offset)) / f64::from(timescale)
}

/// The body of the first box of this type, wherever it is nested. Good enough for files of our own making.
pub(crate) fn find_box<'a>(bytes: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    let at = bytes.windows(4).position(|window| window == name)?;
    let size: [u8; 4] = bytes.get(at.checked_sub(4)?..at)?.try_into().ok()?;
    bytes.get(at + 4..at - 4 + u32::from_be_bytes(size) as usize)
}

/// An access unit of a plain file.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Decode time in milliseconds.
    pub(crate) dts_ms: u32,
    /// Presentation minus decode time, milliseconds.
    pub(crate) composition_ms: i32,
    pub(crate) sync: bool,
    pub(crate) data: Vec<u8>,
}

/// The samples of the only track of a plain (not fragmented) file.
pub(crate) fn samples(bytes: &[u8]) -> Vec<Sample> {
    let size = bytes.len() as u64;
    let mut reader = mp4::Mp4Reader::read_header(Cursor::new(bytes), size).expect("mp4 reads it");
    let (&id, track) = reader.tracks().iter().next().expect("one track");
    let (timescale, count) = (i64::from(track.timescale()), track.sample_count());
    (1..=count)
        .map(|number| {
            let sample = reader
                .read_sample(id, number)
                .expect("read")
                .expect("listed");
            // Each presentation time is rounded for itself, as an encoder that counts milliseconds does.
            let ms = |time: i64| i32::try_from(time * 1000 / timescale).expect("seconds");
            let (decode, shown) = (sample.start_time as i64, i64::from(sample.rendering_offset));
            Sample {
                dts_ms: ms(decode).unsigned_abs(),
                composition_ms: ms(decode + shown) - ms(decode),
                sync: sample.is_sync,
                data: sample.bytes.to_vec(),
            }
        })
        .collect()
}

#[test]
fn our_reader_of_plain_files_agrees_with_ffprobe() {
    use crate::sources::{AV1, HEVC, OPUS};
    for (recipe, configuration, track) in [
        (HEVC, b"hvcC", "v:0"),
        (AV1, b"av1C", "v:0"),
        (OPUS, b"dOps", "a:0"),
    ] {
        let file = recipe.file();
        let bytes = std::fs::read(&file).expect("made just now");
        let name = recipe.name;
        assert!(
            find_box(&bytes, configuration).is_some_and(|found| found.len() > 3),
            "{name}"
        );
        let (ours, theirs) = (samples(&bytes), packets(&file, track));
        assert!(!ours.is_empty());
        assert_eq!(ours.len(), theirs.len(), "{name}");
        assert!(ours[0].sync && !ours[0].data.is_empty(), "{name}");
        assert_eq!(
            ours.iter().any(|sample| !sample.sync),
            track == "v:0",
            "{name}"
        );
        assert_eq!(
            ours.iter().any(|sample| sample.composition_ms != 0),
            name == "hevc",
            "{name}"
        );
        decodes(&file);
    }
}

#[test]
fn packets_of_ffprobe_are_read() {
    let json =
        br#"{"packets":[{"pts_time":"0.066000","data_hash":"MD5:01"},{"data_hash":"MD5:02"}]}"#;
    let [first, second] = &parse_packets(json)[..] else {
        panic!("two packets");
    };
    assert_eq!((first.pts, first.hash.as_str()), (Some(0.066), "MD5:01"));
    assert_eq!(second.pts, None);
}

#[test]
fn pictures_of_ffprobe_are_read() {
    let json = br#"{"packets":[{"pts_time":"1.000000","size":"812","flags":"K_"},
        {"pts_time":"1.033000","size":"7","flags":"__"}]}"#;
    let [first, second] = parse_pictures(json)[..] else {
        panic!("two pictures");
    };
    assert_eq!((first.pts, first.key, first.bytes), (1.0, true, 812));
    assert!(!second.key);
}

#[test]
fn the_clock_is_read_in_every_picture() {
    let file = crate::sources::CLOCK.file();
    let expect: Vec<_> = (0..60).map(Some).collect();
    assert_eq!(numbers(&file), expect);
    let without = numbers(&crate::sources::SHORT.file());
    assert_eq!(without, vec![None; 90]);
}

#[test]
fn a_box_is_found_by_name() {
    let file = [
        0, 0, 0, 20, b'm', b'o', b'o', b'v', 0, 0, 0, 12, b'a', b'v', b'1', b'C', 1, 2, 3, 4,
    ];
    assert_eq!(find_box(&file, b"av1C"), Some(&[1, 2, 3, 4][..]));
    assert_eq!(find_box(&file, b"hvcC"), None);
}
