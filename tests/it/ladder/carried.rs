//! What travels with pictures through decoder and encoder: what their colours mean, and captions.

use std::{fs, path::Path};

use m3u8_rs::ClosedCaptionGroupId;
use tokio::task::spawn_blocking;

use super::{Broadcast, RENDITIONS, config, enhanced_tags, folder, publish};
use crate::{
    captions::{SAID, captioned},
    probe,
    publisher::flv,
    sources::{self, Recipe, ffmpeg, stderr},
};

/// What a camera in HDR sends, and most encoders do not.
const HLG: Recipe = Recipe {
    name: "hlg",
    container: "mp4",
    video: "testsrc2=size=640x360:rate=30:duration=4,format=yuv420p10le",
    audio: "",
    codecs: "-c:v libx265 -preset ultrafast -b:v 1M -tag:v hvc1 \
             -color_primaries bt2020 -color_trc arib-std-b67 -colorspace bt2020nc -color_range tv \
             -x265-params keyint=30:min-keyint=30:scenecut=0:open-gop=0:bframes=0:log-level=error",
};

/// Writes what was served of each rendition of pictures; their file of this stream.
fn served(broadcast: &Broadcast, stream: &str, rendition: &str) -> std::path::PathBuf {
    let folder = folder().join(stream);
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join(format!("{rendition}-0.mp4"));
    broadcast.recordings[rendition].write(&file);
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn hdr_keeps_its_meaning_and_who_broadcasts_it_is_told_what_to_set() {
    let tags = spawn_blocking(|| enhanced_tags(&HLG, b"hvc1", b"hvcC"));
    let tags = tags.await.expect("made");
    let broadcast = Broadcast::run(&config(&["hlg"]), "hlg", |daemon| {
        publish(daemon, "hlg", tags.clone())
    })
    .await;
    let files = RENDITIONS.map(|rendition| served(&broadcast, "hlg", rendition));
    let looks = spawn_blocking(move || files.map(|file| probe::video_stream(&file)));
    for (rendition, look) in RENDITIONS.iter().zip(looks.await.expect("probed")) {
        let said = |field: &str| look[field].as_str().unwrap_or_default().to_owned();
        assert_eq!(said("pix_fmt"), "yuv420p", "{rendition}");
        assert_eq!(said("color_transfer"), "arib-std-b67", "{rendition}");
        assert_eq!(said("color_primaries"), "bt2020", "{rendition}");
        assert_eq!(said("color_space"), "bt2020nc", "{rendition}");
        assert_eq!(said("color_range"), "tv", "{rendition}");
    }
    for variant in &broadcast.multivariant.variants {
        let others = variant.other_attributes.as_ref().expect("VIDEO-RANGE");
        assert_eq!(others["VIDEO-RANGE"].as_str(), "HLG", "{}", variant.uri);
    }
    let notices = broadcast.notices();
    let words = [
        "approximate",
        "HLG",
        "8 bits",
        "OBS",
        "Color Space",
        "Rec. 709",
    ];
    let says = |text: &str| words.iter().all(|word| text.contains(word));
    assert!(notices.lines().any(says), "{notices}");
    assert!(broadcast.written.lines().any(says), "{}", broadcast.written);
    assert_eq!(broadcast.status["tracks"][0]["hdr"], "HLG");
    let renditions = broadcast.status["renditions"].as_array().expect("a list");
    assert_eq!(renditions.len(), 3, "{}", broadcast.status);
    for rendition in renditions {
        let detail = rendition["colours_detail"]
            .as_str()
            .expect("colours_detail");
        assert!(says(detail), "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn captions_are_in_every_rendition_letter_by_letter() {
    let tags =
        spawn_blocking(|| captioned(flv::read(sources::B_FRAMES.file()).expect("a file"), 1));
    let tags = tags.await.expect("made");
    let broadcast = Broadcast::run(&config(&["captions"]), "captions", |daemon| {
        publish(daemon, "captions", tags.clone())
    })
    .await;
    for variant in &broadcast.multivariant.variants {
        let group = ClosedCaptionGroupId::GroupId("captions".to_owned());
        assert_eq!(variant.closed_captions, Some(group), "{}", variant.uri);
    }
    for rendition in RENDITIONS {
        let file = served(&broadcast, "captions", rendition);
        let text = spawn_blocking(move || read_aloud(&file))
            .await
            .expect("read");
        let places = SAID.map(|words| {
            text.match_indices(words)
                .map(|(at, _)| at)
                .collect::<Vec<_>>()
        });
        let once = places.iter().all(|at| at.len() == 1) && places.is_sorted();
        assert!(once, "{rendition}: {text}");
    }
}

/// The captions of a file, as ffmpeg decodes them into subtitles.
fn read_aloud(file: &Path) -> String {
    let source = format!("movie={}[out+subcc]", file.display());
    let output = ffmpeg()
        .args([
            "-f", "lavfi", "-i", &source, "-map", "0:s", "-f", "srt", "-",
        ])
        .output()
        .expect("ffmpeg runs");
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
