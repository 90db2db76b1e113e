//! What enhanced RTMP carries is passed through: right CODECS, right payloads.
//!
//! Debian's ffmpeg cannot write enhanced RTMP, so it makes plain files whose access units our own publisher wraps.

use std::{fs, path::Path};

use tempfile::TempDir;

use crate::{
    daemon::{Config, Daemon},
    probe::{self, Sample},
    publisher::{Publisher, body, flv},
    sources::{self, Recipe},
    viewer::Viewer,
};

/// A message: FLV tag type, timestamp, body.
pub(crate) type Message = (u8, u32, Vec<u8>);

/// Publishes `messages` as `stream`, and gives its CODECS and the file made of all that `rendition` served.
async fn broadcast(messages: Vec<Message>, rendition: &str, file: &Path) -> String {
    let config = Config::new().key("enhanced-key", "enhanced");
    let daemon = Daemon::start(&config.publish("grace_after_stop = \"1s\""));
    let address = daemon.address("rtmp");
    let viewer = Viewer::new(&daemon.url(""));
    let publishing = tokio::task::spawn_blocking(move || {
        let (mut publisher, status) =
            Publisher::publish(address, "live", "enhanced-key").expect("connected");
        assert_eq!(status.code, "NetStream.Publish.Start");
        for (kind, timestamp, body) in messages {
            publisher.message(kind, timestamp, &body).expect("taken");
        }
        publisher.stop().expect("stopped");
        publisher
    });
    let multivariant = viewer.multivariant("enhanced").await;
    let mut recorded = viewer.record("enhanced").await;
    drop(publishing.await.expect("published"));
    recorded.remove(rendition).expect("served").write(file);
    multivariant.variants[0].codecs.clone().expect("CODECS")
}

/// The access units of a file and the box that configures them.
pub(crate) fn read(recipe: &Recipe, configuration: &[u8; 4]) -> (Vec<Sample>, Vec<u8>) {
    let bytes = fs::read(recipe.file()).expect("made just now");
    let found = probe::find_box(&bytes, configuration).expect("configured");
    (probe::samples(&bytes), found.to_vec())
}

/// Enhanced video messages: a sequence start, then each access unit by `wrap`.
pub(crate) fn video(
    fourcc: &[u8; 4],
    samples: &[Sample],
    configuration: &[u8],
    with_offset: bool,
) -> Vec<Message> {
    let start = (9, 0, body::video(true, body::START, fourcc, configuration));
    let frames = samples.iter().map(|sample| {
        let mut data = Vec::new();
        if with_offset {
            data.extend(&sample.composition_ms.to_be_bytes()[1..]);
        }
        data.extend(&sample.data);
        (
            9,
            sample.dts_ms,
            body::video(sample.sync, body::FRAMES, fourcc, &data),
        )
    });
    std::iter::once(start).chain(frames).collect()
}

/// Enhanced messages of Opus.
pub(crate) fn opus(recipe: &Recipe) -> Vec<Message> {
    let (samples, dops) = read(recipe, b"dOps");
    let start = (8, 0, body::audio(body::START, b"Opus", &opus_head(&dops)));
    let frames = samples.iter().map(|sample| {
        (
            8,
            sample.dts_ms,
            body::audio(body::FRAMES, b"Opus", &sample.data),
        )
    });
    std::iter::once(start).chain(frames).collect()
}

/// The payloads that were served must be those of the source.
fn same_payloads(source: &Path, served: &Path, track: &str) {
    let hashes = |file: &Path| -> Vec<String> {
        let packets = probe::packets(file, track).into_iter();
        packets.map(|packet| packet.hash).collect()
    };
    let (pushed, got) = (hashes(source), hashes(served));
    assert_eq!(pushed.len(), got.len(), "packets pushed and served");
    assert_eq!(pushed, got);
    probe::decodes(served);
}

#[tokio::test(flavor = "multi_thread")]
async fn hevc_with_b_frames_is_passed_through() {
    let folder = TempDir::new().expect("a folder");
    let served = folder.path().join("served.mp4");
    let (samples, configuration) = read(&sources::HEVC, b"hvcC");
    let codecs = broadcast(
        video(b"hvc1", &samples, &configuration, true),
        "high",
        &served,
    )
    .await;
    assert!(codecs.starts_with("hvc1."), "{codecs}");
    assert_eq!(
        probe::describe(&served, "v:0", "codec_name,width,height"),
        "hevc,320,180"
    );
    same_payloads(&sources::HEVC.file(), &served, "v:0");
}

#[tokio::test(flavor = "multi_thread")]
async fn av1_is_passed_through() {
    let folder = TempDir::new().expect("a folder");
    let served = folder.path().join("served.mp4");
    let (samples, configuration) = read(&sources::AV1, b"av1C");
    let codecs = broadcast(
        video(b"av01", &samples, &configuration, false),
        "high",
        &served,
    )
    .await;
    assert!(codecs.starts_with("av01."), "{codecs}");
    assert_eq!(
        probe::describe(&served, "v:0", "codec_name,width,height"),
        "av1,320,180"
    );
    same_payloads(&sources::AV1.file(), &served, "v:0");
}

#[tokio::test(flavor = "multi_thread")]
async fn opus_is_passed_through() {
    let folder = TempDir::new().expect("a folder");
    let served = folder.path().join("served.mp4");
    let codecs = broadcast(opus(&sources::OPUS), "audio", &served).await;
    assert_eq!(codecs, "opus");
    assert_eq!(
        probe::describe(&served, "a:0", "codec_name,channels"),
        "opus,2"
    );
    same_payloads(&sources::OPUS.file(), &served, "a:0");
}

/// The identification header (RFC 7845, 5.1) that says what a `dOps` box says; the box is big-endian.
fn opus_head(dops: &[u8]) -> Vec<u8> {
    let mut head = b"OpusHead\x01".to_vec();
    head.push(dops[1]); // channels
    head.extend([dops[3], dops[2]]); // pre-skip
    head.extend([dops[7], dops[6], dops[5], dops[4]]); // input rate
    head.extend([dops[9], dops[8]]); // gain
    head.extend(&dops[10..]); // channel mapping
    head
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_tracks_the_first_is_served() {
    let folder = TempDir::new().expect("a folder");
    let served = folder.path().join("served.mp4");
    let source = sources::SHORT.file();
    let tags = flv::read(&source).expect("made just now");
    // Legacy H.264 bodies: frame type and codec, packet type, composition offset, data. Enhanced ones keep the offset in
    // front of coded frames only. The second track repeats the first cut in half, which no decoder would take.
    let messages = tags.iter().filter(|tag| tag.kind == 9).filter_map(|tag| {
        let (sync, packet) = (tag.body[0] >> 4 == 1, tag.body[1]);
        let data = match packet {
            body::START => &tag.body[5..],
            body::FRAMES => &tag.body[2..],
            _ => return None, // end of sequence
        };
        let tracks = [(0, data), (1, &data[..data.len() / 2])];
        Some((
            9,
            tag.timestamp,
            body::video_tracks(sync, packet, b"avc1", &tracks),
        ))
    });
    let codecs = broadcast(messages.collect(), "high", &served).await;
    assert!(codecs.starts_with("avc1."), "{codecs}");
    same_payloads(&source, &served, "v:0");
}

#[test]
fn the_opus_header_says_what_the_box_says() {
    let dops = [0, 2, 0x01, 0x38, 0, 0, 0xBB, 0x80, 0, 0, 0];
    let head = opus_head(&dops);
    assert_eq!(
        head,
        b"OpusHead\x01\x02\x38\x01\x80\xBB\x00\x00\x00\x00\x00"
    );
}
