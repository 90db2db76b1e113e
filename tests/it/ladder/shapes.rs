//! Every shape of source becomes the renditions that suit it: size, shape of pixels, frame rate, CODECS; and in all of
//! them the same cuts, the same key frames, the right picture at every time, and the sound where it belongs.

use std::path::Path;

use tokio::task::{JoinHandle, JoinSet, spawn_blocking};

use super::{
    Broadcast, RENDITIONS, config, enhanced_tags,
    facts::{self, Facts, Run},
    folder, none, publish,
};
use crate::{
    daemon::Daemon,
    probe,
    sources::{Encoder, Recipe},
};

/// How a source is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Push {
    /// By ffmpeg, as it stands.
    Flv,
    /// By our own publisher as enhanced RTMP: Debian's ffmpeg cannot. FourCC and the box that holds the configuration.
    Enhanced(&'static [u8; 4], &'static [u8; 4]),
}

/// A source, and what must become of it.
#[derive(Clone, Copy, Debug)]
struct Shape {
    source: Recipe,
    push: Push,
    /// Coded sizes of `high`, `mid` and `low`.
    sizes: [(u64, u64); 3],
    /// Frames per second of the source; `None` where it varies.
    rate: Option<(f64, usize)>,
    /// `high` is the source itself; otherwise the words that tell the broadcaster why not.
    passes: Result<(), &'static [&'static str]>,
}

/// What OBS is told in the README: a key frame each second.
const GOP_30: &str = "-c:v libx264 -preset veryfast -profile:v high -b:v 2500k -maxrate 2500k -bufsize 2500k \
    -g 30 -keyint_min 30 -sc_threshold 0 -bf 2 -c:a aac -b:a 64k -ac 2";
const GOP_25: &str = "-c:v libx264 -preset ultrafast -tune zerolatency -b:v 1500k -maxrate 1500k -bufsize 1500k \
    -g 25 -keyint_min 25 -sc_threshold 0 -c:a aac -b:a 64k -ac 2";
const GOP_50: &str = "-c:v libx264 -preset ultrafast -tune zerolatency -b:v 3M -maxrate 3M -bufsize 3M \
    -g 50 -keyint_min 50 -sc_threshold 0 -c:a aac -b:a 64k -ac 2";
const GOP_60: &str = "-c:v libx264 -preset ultrafast -tune zerolatency -b:v 3M -maxrate 3M -bufsize 3M \
    -g 60 -keyint_min 60 -sc_threshold 0 -c:a aac -b:a 64k -ac 2";

const fn clip(name: &'static str, video: &'static str, codecs: &'static str) -> Recipe {
    Recipe {
        name,
        container: "flv",
        video,
        // No two of its frames are alike.
        audio: "aevalsrc=sin(2*PI*(220+40*t)*t)/4:s=48000:d=6",
        codecs,
    }
}

const fn shape(source: Recipe, sizes: [(u64, u64); 3], rate: f64, thinned: usize) -> Shape {
    Shape {
        source,
        push: Push::Flv,
        sizes,
        rate: Some((rate, thinned)),
        passes: Ok(()),
    }
}

impl Shape {
    /// With a `high` that is encoded, for a reason told in these words.
    const fn encoded(self, words: &'static [&'static str]) -> Self {
        Self {
            passes: Err(words),
            ..self
        }
    }

    const fn enhanced(self, fourcc: &'static [u8; 4], configuration: &'static [u8; 4]) -> Self {
        let mut source = self.source;
        (source.container, source.audio) = ("mp4", "");
        Self {
            source,
            push: Push::Enhanced(fourcc, configuration),
            ..self
        }
    }
}

/// What helps against key frames that are too far apart.
const KEY_FRAMES: &[&str] = &["keyframe interval", "set it to 1 s", "OBS"];
/// What helps against pictures that browsers cannot show.
const CODEC: &[&str] = &["not passed through", "OBS"];

const SIZES_360: [(u64, u64); 3] = [(640, 360), (426, 240), (320, 180)];
const SIZES_720: [(u64, u64); 3] = [(1280, 720), (854, 480), (640, 360)];

const SHAPES: &[Shape] = &[
    shape(
        clip("hd", "testsrc2=size=1920x1080:rate=30:duration=6,CLOCK", GOP_30),
        [(1920, 1080), (1280, 720), (768, 432)],
        30.0,
        1,
    ),
    shape(
        clip("fps-50-720", "testsrc2=size=1280x720:rate=50:duration=6,CLOCK", GOP_50),
        SIZES_720,
        50.0,
        2,
    ),
    shape(
        clip("fps-60", "testsrc2=size=1280x720:rate=60:duration=6,CLOCK", GOP_60),
        SIZES_720,
        60.0,
        2,
    ),
    shape(
        clip("portrait", "testsrc2=size=720x1280:rate=30:duration=6,CLOCK", GOP_30),
        [(720, 1280), (480, 854), (360, 640)],
        30.0,
        1,
    ),
    shape(
        clip("square", "testsrc2=size=480x480:rate=25:duration=6,CLOCK", GOP_25),
        [(480, 480), (360, 360), (240, 240)],
        25.0,
        1,
    ),
    shape(
        clip("ntsc", "testsrc2=size=640x360:rate=30000/1001:duration=6,CLOCK", GOP_30),
        SIZES_360,
        30_000.0 / 1001.0,
        1,
    ),
    shape(
        clip("anamorphic", "testsrc2=size=720x576:rate=25:duration=6,CLOCK,setsar=16/11", GOP_25),
        [(720, 576), (600, 480), (450, 360)],
        25.0,
        1,
    ),
    Shape {
        rate: None,
        ..shape(
            clip(
                "variable",
                // Every third picture is missing in each second second.
                "testsrc2=size=640x360:rate=30:duration=6,CLOCK,select='lt(mod(t,2),1)+mod(n+2,3)'",
                "-fps_mode vfr -c:v libx264 -preset ultrafast -tune zerolatency -b:v 1M -g 300 -sc_threshold 0 \
                 -force_key_frames expr:gte(t,n_forced) -c:a aac -b:a 64k -ac 2",
            ),
            SIZES_360,
            30.0,
            1,
        )
    },
    shape(
        clip(
            "long-gop",
            "testsrc2=size=854x480:rate=30:duration=6,CLOCK",
            "-c:v libx264 -preset veryfast -b:v 1M -g 120 -keyint_min 120 -sc_threshold 0 -bf 2 -c:a aac -b:a 64k -ac 2",
        ),
        [(854, 480), (640, 360), (428, 240)],
        30.0,
        1,
    )
    .encoded(KEY_FRAMES),
    shape(
        clip(
            "open-gop",
            "testsrc2=size=640x360:rate=30:duration=6,CLOCK",
            "-c:v libx264 -preset veryfast -b:v 1M -bf 2 -c:a aac -b:a 64k -ac 2 \
             -x264-params open-gop=1:keyint=30:min-keyint=30:scenecut=0",
        ),
        SIZES_360,
        30.0,
        1,
    )
    .encoded(&["open GOP", "open-gop=0"]),
    shape(
        clip(
            "ten-bit",
            "testsrc2=size=640x360:rate=30:duration=6,CLOCK",
            "-c:v libx264 -preset ultrafast -pix_fmt yuv420p10le -profile:v high10 -b:v 1M -g 30 -keyint_min 30 \
             -sc_threshold 0 -c:a aac -b:a 64k -ac 2",
        ),
        SIZES_360,
        30.0,
        1,
    )
    .encoded(CODEC),
    shape(
        clip(
            "four-two-two",
            "testsrc2=size=640x360:rate=30:duration=6,CLOCK",
            "-c:v libx264 -preset ultrafast -pix_fmt yuv422p -profile:v high422 -b:v 1M -g 30 -keyint_min 30 \
             -sc_threshold 0 -c:a aac -b:a 64k -ac 2",
        ),
        SIZES_360,
        30.0,
        1,
    )
    .encoded(CODEC),
    shape(
        clip(
            "hevc-360",
            "testsrc2=size=640x360:rate=30:duration=6,CLOCK",
            "-c:v libx265 -preset ultrafast -b:v 1M -tag:v hvc1 \
             -x265-params keyint=30:min-keyint=30:scenecut=0:open-gop=0:bframes=2:log-level=error",
        ),
        SIZES_360,
        30.0,
        1,
    )
    .enhanced(b"hvc1", b"hvcC")
    .encoded(CODEC),
    shape(
        clip(
            "av1-270",
            "testsrc2=size=480x270:rate=30:duration=4,CLOCK,format=yuv420p",
            "-c:v libaom-av1 -cpu-used 8 -usage realtime -lag-in-frames 0 -g 30 -b:v 600k",
        ),
        [(480, 270), (426, 240), (320, 180)],
        30.0,
        1,
    )
    .enhanced(b"av01", b"av1C")
    .encoded(CODEC),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_shape_of_source_becomes_the_renditions_that_suit_it() {
    // SHAPES=hd,square: only those, to look closer.
    let wanted = std::env::var("SHAPES").unwrap_or_default();
    let mut shapes = SHAPES.to_vec();
    shapes.retain(|shape| {
        wanted.is_empty() || wanted.split(',').any(|name| name == shape.source.name)
    });
    let sources = shapes.clone();
    spawn_blocking(move || sources.iter().for_each(|shape| drop(shape.source.file())))
        .await
        .expect("made");
    let mut running = JoinSet::new();
    for shape in shapes {
        running.spawn(async move {
            let name = shape.source.name;
            let broadcast =
                Broadcast::run(&config(&[name]), name, |daemon| shape.push(daemon)).await;
            let check = spawn_blocking(move || shape.check(&broadcast));
            check.await.map_err(|_| name)
        });
    }
    let results = running.join_all().await.into_iter();
    let failed: Vec<_> = results.filter_map(Result::err).collect();
    assert!(failed.is_empty(), "see above: {failed:?}");
}

impl Shape {
    fn push(&self, daemon: &Daemon) -> JoinHandle<()> {
        let Push::Enhanced(fourcc, configuration) = self.push else {
            let file = self.source.file();
            let url = daemon.publish_url(&format!("key-of-{}", self.source.name));
            return spawn_blocking(move || {
                let (content, said) = Encoder::ffmpeg(&file, &url).wait();
                assert!(content, "the encoder says: {said}");
            });
        };
        let tags = enhanced_tags(&self.source, fourcc, configuration);
        publish(daemon, self.source.name, tags)
    }

    fn has_sound(&self) -> bool {
        !self.source.audio.is_empty()
    }

    fn check(&self, broadcast: &Broadcast) {
        let name = self.source.name;
        let facts = broadcast.facts(name);
        let videos: Vec<&Facts> = RENDITIONS
            .iter()
            .map(|rendition| &facts[*rendition])
            .collect();
        self.check_multivariant(broadcast, &videos);
        let mut complaints = self.of_pictures(&videos);
        if self.has_sound() {
            for video in &videos {
                complaints.extend(facts::sound_follows(
                    video,
                    &facts["audio"],
                    1024.0 / 48_000.0,
                ));
            }
        }
        none(name, &complaints);
        self.check_source(broadcast, &facts["high"]);
        self.check_words(broadcast);
    }

    /// What the multivariant playlist says is what ffprobe sees.
    fn check_multivariant(&self, broadcast: &Broadcast, videos: &[&Facts]) {
        let name = self.source.name;
        let variants = &broadcast.multivariant.variants;
        let source = probe::video_stream(&self.source.file());
        assert!(broadcast.multivariant.independent_segments, "{name}");
        assert_eq!(variants.len(), RENDITIONS.len(), "{name}: {variants:?}");
        for (index, (rendition, video)) in RENDITIONS.iter().zip(videos).enumerate() {
            let what = format!("{name} {rendition}");
            let mut listed = variants.iter();
            let variant =
                listed.find(|variant| variant.uri.ends_with(&format!("/{rendition}/index.m3u8")));
            let variant = variant.unwrap_or_else(|| panic!("{what} is not listed: {variants:?}"));
            let run = video.run();
            assert_eq!(run.size(), self.sizes[index], "{what}");
            let size = variant.resolution.expect("RESOLUTION");
            let shown = size.width as f64 / size.height as f64;
            assert_eq!(size.height, run.size().1, "{what}: {size:?}");
            assert!(
                (run.shown_aspect() - shown).abs() < 0.01,
                "{what}: {size:?}"
            );
            assert_eq!(run.pixels(), "yuv420p", "{what}: what every browser shows");
            let codecs = variant.codecs.clone().expect("CODECS");
            assert!(
                matches(&codecs, &run.codecs()),
                "{what}: {codecs}, ffprobe: {}",
                run.codecs()
            );
            assert_eq!(
                codecs.ends_with(",mp4a.40.2"),
                self.has_sound(),
                "{what}: {codecs}"
            );
            if let Some((rate, thinned)) = self.rate {
                let expect = rate / if index == 0 { 1.0 } else { thinned as f64 };
                let told = variant.frame_rate.expect("FRAME-RATE");
                assert!((told - expect).abs() < 0.01, "{what}: {told}, not {expect}");
            }
            assert_eq!(variant.audio.is_some(), self.has_sound(), "{what}");
            // Shown as the source is, but for even sides.
            let aspect = run.shown_aspect() / facts::shown_aspect(&source);
            assert!(
                (aspect - 1.0).abs() < 0.006,
                "{what}: its shape is {aspect} of the source's"
            );
        }
        let bandwidths: Vec<_> = variants.iter().map(|variant| variant.bandwidth).collect();
        assert!(
            bandwidths.iter().all(|bandwidth| *bandwidth > 0),
            "{name}: {bandwidths:?}"
        );
    }

    fn of_pictures(&self, videos: &[&Facts]) -> Vec<String> {
        let high = videos[0];
        let mut complaints = Vec::new();
        for (rendition, video) in RENDITIONS.iter().zip(videos) {
            complaints.extend(facts::segments_begin_with_keys(video));
            complaints.extend(facts::together(high, video));
            let (rate, thinned) = self.rate.unwrap_or((30.0, 1));
            let thinned = if *rendition == "high" { 1 } else { thinned };
            let (run, frame) = (video.run(), thinned as f64 / rate);
            if self.rate.is_some() {
                complaints.extend(facts::steady(rendition, run, frame));
            }
            complaints.extend(facts::one_of(thinned, high.run(), run));
            complaints.extend(facts::shows_its_time(rendition, run, rate));
            complaints.extend(a_second_apart(rendition, run, 1.0 / rate));
        }
        complaints
    }

    /// Nothing of the source is lost, and its sound stays with its pictures.
    fn check_source(&self, broadcast: &Broadcast, high: &Facts) {
        let (name, source) = (self.source.name, self.source.file());
        let served = |rendition: &str| folder().join(name).join(format!("{rendition}-0.mp4"));
        let pushed = probe::pictures(&source);
        assert_eq!(
            high.run().pictures.len(),
            pushed.len(),
            "{name}: pictures pushed and served"
        );
        if self.passes.is_ok() {
            let scratch = folder().join(name).join("filtered.flv");
            let hashes = |packets: Vec<probe::Packet>| -> Vec<String> {
                packets.into_iter().map(|packet| packet.hash).collect()
            };
            let pushed = hashes(probe::avc1_packets(&source, &scratch));
            assert!(
                pushed == hashes(probe::packets(&served("high"), "v:0")),
                "{name}: not passed through"
            );
        }
        if self.has_sound() {
            let first = pushed
                .iter()
                .map(|picture| picture.pts)
                .fold(f64::MAX, f64::min);
            let pictures_moved = high.run().span().0 - first;
            let sound_moved = sound_moved(broadcast, &source, name);
            let apart = (sound_moved - pictures_moved).abs();
            let frame = self.rate.map_or(1.0 / 30.0, |(rate, _)| 1.0 / rate);
            assert!(
                apart <= frame,
                "{name}: sound is {apart} s off the pictures"
            );
        }
    }

    /// The broadcaster is told what is not as it should be, and nothing else.
    fn check_words(&self, broadcast: &Broadcast) {
        let (name, notices) = (self.source.name, broadcast.notices());
        match self.passes {
            Ok(()) => assert_eq!(notices, "", "{name}: {:#}", broadcast.status),
            Err(words) => {
                let stream = format!("\"stream\":\"{name}\"");
                let logged = |word: &str| {
                    broadcast
                        .written
                        .lines()
                        .any(|line| line.contains(&stream) && line.contains(word))
                };
                for word in words {
                    assert!(
                        notices.contains(word),
                        "{name}: {word:?} is not in {notices:?}"
                    );
                    assert!(logged(word), "{name}: {word:?} is not in the log");
                }
            }
        }
        let renditions = broadcast.status["renditions"]
            .as_array()
            .expect("a list")
            .iter();
        let names: Vec<_> = renditions
            .filter_map(|rendition| rendition["name"].as_str())
            .collect();
        for rendition in RENDITIONS {
            assert!(names.contains(&rendition), "{name}: {names:?}");
        }
    }
}

/// Key frames stand a second apart, but for a picture: the source's are set so, and so is the grid of the encoders.
fn a_second_apart(rendition: &str, run: &Run, frame: f64) -> Vec<String> {
    let keys = run.keys();
    let odd = |pair: &[f64]| (pair[1] - pair[0] - 1.0).abs() > frame + 0.002;
    let odd = keys.windows(2).any(odd) || keys.len() < 4;
    { odd.then(|| format!("{rendition}: key frames at {keys:?}")) }
        .into_iter()
        .collect()
}

/// How far the sound was moved on its way, seconds.
fn sound_moved(broadcast: &Broadcast, source: &Path, name: &str) -> f64 {
    let file = folder().join(name).join("audio-0.mp4");
    let recording = &broadcast.recordings["audio"];
    recording.write(&file);
    let (pushed, served) = (probe::packets(source, "a:0"), probe::packets(&file, "a:0"));
    let pts = |packet: &probe::Packet| packet.pts.expect("timed");
    // One in the middle: at its beginning the encoder's frames are all alike.
    let middle = &served[served.len() / 2];
    let mut alike = pushed.iter().filter(|packet| packet.hash == middle.hash);
    let (Some(found), None) = (alike.next(), alike.next()) else {
        panic!("{name}: the sound was not passed through");
    };
    let first = probe::first_presentation(&recording.files()[0]);
    pts(middle) - pts(&served[0]) + first - pts(found)
}

/// Whether `text` has `pattern` in it, where a dot stands for any character.
fn matches(text: &str, pattern: &str) -> bool {
    let fits = |piece: &[u8]| {
        { piece.iter() }
            .zip(pattern.as_bytes())
            .all(|(is, wanted)| is == wanted || *wanted == b'.')
    };
    text.as_bytes().windows(pattern.len()).any(fits)
}

#[test]
fn codecs_are_compared_but_for_their_flags() {
    assert!(matches("avc1.64001f,mp4a.40.2", "avc1.64..1f"));
    assert!(!matches("avc1.64001e,mp4a.40.2", "avc1.64..1f"));
}
