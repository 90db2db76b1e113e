//! What real encoders push is served to the last packet: same payloads, same order, same times, and it decodes clean.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    daemon::{Config, Daemon},
    probe::{self, Packet},
    sources::{self, Encoder},
    viewer::{Recording, Viewer},
};

/// Audio frames that may come before the first key frame, from which publishing starts.
const LEADING_AUDIO: usize = 4;
/// RTMP counts milliseconds; source and output round on their own.
const ROUNDING_SECONDS: f64 = 0.003;

/// What a served broadcast is held against.
struct Broadcast {
    stream: &'static str,
    source: PathBuf,
    /// `codec_name,width,height` of the picture.
    picture: Option<&'static str>,
    frame_rate: Option<f64>,
    /// `codec_name,sample_rate,channels` of the sound.
    sound: Option<&'static str>,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_encoders_push_is_served_to_the_last_packet() {
    // Kept for people to look at.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("publish");
    fs::create_dir_all(&folder).expect("a folder");
    let gstreamer = folder.join("gstreamer.flv");
    let broadcasts = broadcasts(&gstreamer);
    let config = broadcasts
        .iter()
        .fold(Config::new(), |config, broadcast| {
            config.key(&format!("key-of-{}", broadcast.stream), broadcast.stream)
        })
        .publish("grace_after_stop = \"1s\"");
    let mut daemon = Daemon::start(&config);
    let viewer = Viewer::new(&daemon.url(""));

    let mut running = Vec::new();
    for broadcast in broadcasts {
        let url = daemon.publish_url(&format!("key-of-{}", broadcast.stream));
        let encoder = if broadcast.source == gstreamer {
            Encoder::gstreamer(5, &gstreamer, &url)
        } else {
            Encoder::ffmpeg(&broadcast.source, &url)
        };
        let viewer = viewer.clone();
        let recorded = tokio::spawn(async move {
            let multivariant = viewer.multivariant(broadcast.stream).await;
            (multivariant, viewer.record(broadcast.stream).await)
        });
        running.push((broadcast, encoder, recorded));
    }
    for (broadcast, encoder, recorded) in running {
        let (multivariant, renditions) = recorded.await.expect("served by the rules");
        let (content, said) = encoder.wait();
        assert!(content, "{}: the encoder says: {said}", broadcast.stream);
        broadcast.check_multivariant(&multivariant);
        broadcast.check_media(&renditions, &folder);
    }
    assert!(daemon.alive());
}

fn broadcasts(gstreamer: &Path) -> Vec<Broadcast> {
    vec![
        Broadcast {
            stream: "b-frames",
            source: sources::B_FRAMES.file(),
            picture: Some("h264,640,360"),
            frame_rate: Some(30.0),
            sound: Some("aac,48000,2"),
        },
        Broadcast {
            stream: "fps-50",
            source: sources::FPS_50.file(),
            picture: Some("h264,640,360"),
            frame_rate: Some(50.0),
            sound: Some("aac,44100,2"),
        },
        Broadcast {
            stream: "vertical",
            source: sources::VERTICAL.file(),
            picture: Some("h264,1080,1920"),
            frame_rate: Some(30.0),
            sound: Some("aac,48000,1"),
        },
        Broadcast {
            stream: "audio-only",
            source: sources::AUDIO_ONLY.file(),
            picture: None,
            frame_rate: None,
            sound: Some("aac,48000,2"),
        },
        Broadcast {
            stream: "video-only",
            source: sources::VIDEO_ONLY.file(),
            picture: Some("h264,320,180"),
            frame_rate: Some(25.0),
            sound: None,
        },
        Broadcast {
            stream: "gstreamer",
            source: gstreamer.to_owned(),
            picture: Some("h264,320,180"),
            frame_rate: Some(30.0),
            sound: Some("aac,48000,2"),
        },
    ]
}

impl Broadcast {
    fn check_multivariant(&self, multivariant: &m3u8_rs::MasterPlaylist) {
        let stream = self.stream;
        assert!(multivariant.independent_segments, "{stream}");
        let [variant] = &multivariant.variants[..] else {
            panic!("{stream}: passed through, one variant expected: {multivariant:?}");
        };
        let codecs = variant.codecs.as_deref().unwrap_or_default();
        assert_eq!(
            codecs.contains("avc1."),
            self.picture.is_some(),
            "{stream}: {codecs}"
        );
        assert_eq!(
            codecs.contains("mp4a.40.2"),
            self.sound.is_some(),
            "{stream}: {codecs}"
        );
        assert!(variant.bandwidth > 0, "{stream}");
        let size = variant
            .resolution
            .map(|size| format!("h264,{},{}", size.width, size.height));
        assert_eq!(size.as_deref(), self.picture, "{stream}");
        match (variant.frame_rate, self.frame_rate) {
            (Some(told), Some(rate)) => assert!((told - rate).abs() < 0.01, "{stream}: {told}"),
            (told, rate) => assert_eq!(told, rate, "{stream}"),
        }
        let apart = self.picture.is_some() && self.sound.is_some();
        assert_eq!(
            variant.audio.is_some(),
            apart,
            "{stream}: audio is a rendition of its own"
        );
        assert_eq!(
            multivariant.alternatives.len(),
            usize::from(apart),
            "{stream}"
        );
    }

    fn check_media(&self, renditions: &BTreeMap<String, Recording>, folder: &Path) {
        let mut offset = None;
        for (name, track, wanted) in [("high", "v:0", self.picture), ("audio", "a:0", self.sound)] {
            let Some(wanted) = wanted else {
                assert!(!renditions.contains_key(name), "{}: {name}", self.stream);
                continue;
            };
            let recording = &renditions[name];
            let file = folder.join(format!("{}-{name}.mp4", self.stream));
            recording.write(&file);
            let entries = match name {
                "high" => "codec_name,width,height",
                _ => "codec_name,sample_rate,channels",
            };
            assert_eq!(
                probe::describe(&file, track, entries),
                wanted,
                "{}",
                self.stream
            );
            probe::decodes(&file);
            let source = match name {
                "high" => probe::avc1_packets(&self.source, &folder.join("filtered.flv")),
                _ => probe::packets(&self.source, track),
            };
            let mut served = probe::packets(&file, track);
            let first = probe::first_presentation(&recording.files()[0]);
            let off = served[0].pts.expect("timed") - first;
            for packet in &mut served {
                packet.pts = packet.pts.map(|pts| pts - off);
            }
            let (_, samples) = probe::fragments(&recording.files()[0]);
            assert_eq!(
                samples as usize,
                served.len(),
                "{}: mp4 and ffprobe disagree",
                self.stream
            );
            let leading = if name == "audio" { LEADING_AUDIO } else { 0 };
            let what = format!("{} {name}", self.stream);
            check_packets(&what, &source, &served, leading, &mut offset);
        }
    }
}

/// `served` must be `source` but for at most `leading` packets at its beginning, all shifted by the same `offset` in
/// time: that of the first track checked, so that sound stays with the picture.
fn check_packets(
    what: &str,
    source: &[Packet],
    served: &[Packet],
    leading: usize,
    offset: &mut Option<f64>,
) {
    let dropped = source.len().checked_sub(served.len());
    let dropped = dropped
        .filter(|dropped| *dropped <= leading)
        .unwrap_or_else(|| {
            panic!(
                "{what}: {} packets pushed, {} served",
                source.len(),
                served.len()
            )
        });
    for (index, (pushed, got)) in source[dropped..].iter().zip(served).enumerate() {
        assert_eq!(pushed.hash, got.hash, "{what}: payload of packet {index}");
        let (Some(pushed), Some(got)) = (pushed.pts, got.pts) else {
            panic!("{what}: packet {index} has no time");
        };
        let shift = got - pushed;
        let expected = *offset.get_or_insert(shift);
        assert!(
            (shift - expected).abs() <= ROUNDING_SECONDS,
            "{what}: packet {index} at {got} was pushed for {pushed}, shift of the first {expected}"
        );
    }
}

#[test]
fn a_lost_a_changed_and_a_late_packet_are_noticed() {
    let packet = |index: u32| Packet {
        pts: Some(f64::from(index) * 0.04),
        hash: format!("MD5:{index}"),
    };
    let source: Vec<Packet> = (0..10).map(packet).collect();
    let check = |served: &[Packet], leading| {
        std::panic::catch_unwind(|| check_packets("", &source, served, leading, &mut None)).is_ok()
    };
    assert!(check(&source, 0));
    assert!(check(&source[2..], 2));
    assert!(!check(&source[2..], 1), "too many dropped");
    assert!(
        !check(&[&source[..4], &source[5..]].concat(), 4),
        "one lost in the middle"
    );
    let mut late = source.clone();
    late[7].pts = Some(0.29);
    assert!(!check(&late, 0));
}
