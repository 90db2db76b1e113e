//! Sound that not every player takes becomes AAC-LC, at the rate that was set, without a hole, and stays with its pictures:
//! the sources flash and beep at once, and what was served is decoded and compared.

use std::{fs, net::SocketAddr, path::Path, thread, time::Duration};

use tokio::task::{JoinHandle, JoinSet, spawn_blocking};

use super::{Broadcast, config, folder};
use crate::{
    daemon::{Config, Daemon},
    enhanced, probe,
    publisher::{Publisher, flv},
    sources::{self, Encoder, Recipe},
};

/// Half a second after each whole one: three white pictures on black.
const FLASHES: &str = "color=c=black:size=320x180:rate=30:duration=7,\
    drawbox=c=white:t=fill:enable='lt(mod(t+0.5,1),0.1)'";

/// As long, and with it: a tone above a hiss, which costs an encoder what it may spend.
macro_rules! beeps {
    ($rate:literal, $($channel:tt)+) => {
        concat!(
            "aevalsrc=", $($channel)+, ":s=", $rate, ":d=7"
        )
    };
}
macro_rules! beep {
    () => {
        "if(lt(mod(t+0.5\\,1)\\,0.1)\\,sin(2*PI*1000*t)*0.6\\,0)+0.04*(random(0)-0.5)"
    };
}

const MONO: &str = beeps!("22050", beep!());
const STEREO_24: &str = beeps!("24000", beep!(), "|", beep!());
const STEREO_44: &str = beeps!("44100", beep!(), "|", beep!());
const STEREO_48: &str = beeps!("48000", beep!(), "|", beep!());
const STEREO_96: &str = beeps!("96000", beep!(), "|", beep!());
const SURROUND: &str = beeps!("48000", beep!(), "|0|0|0|0|", beep!(), ":c=5.1");

const VIDEO: &str = "-c:v libx264 -preset ultrafast -tune zerolatency -b:v 300k -g 30 -keyint_min 30 -sc_threshold 0";

const fn clip(name: &'static str, audio: &'static str, codecs: &'static str) -> Recipe {
    Recipe {
        name,
        container: "flv",
        video: FLASHES,
        audio,
        codecs,
    }
}

macro_rules! codecs {
    ($audio:literal) => {
        concat!(
            "-c:v libx264 -preset ultrafast -tune zerolatency -b:v 300k -g 30 -keyint_min 30 -sc_threshold 0 ",
            $audio
        )
    };
}

const MP3: Recipe = clip("sound-mp3", STEREO_44, codecs!("-c:a libmp3lame -b:a 128k"));
const AAC_96: Recipe = clip("sound-96", STEREO_96, codecs!("-c:a aac -b:a 128k"));
const AAC_22: Recipe = clip("sound-22", MONO, codecs!("-c:a aac -b:a 64k"));
const AAC_24: Recipe = clip("sound-24", STEREO_24, codecs!("-c:a aac -b:a 64k"));
const AAC_5_1: Recipe = clip("sound-5-1", SURROUND, codecs!("-c:a aac -b:a 256k"));
const AAC: Recipe = clip("sound-aac", STEREO_48, codecs!("-c:a aac -b:a 128k"));
const PICTURES: Recipe = clip("sound-pictures", "", VIDEO);
const OPUS: Recipe = Recipe {
    name: "sound-opus",
    container: "mp4",
    video: "",
    audio: STEREO_48,
    codecs: "-c:a libopus -b:a 96k -strict -2",
};

/// How a source is pushed.
#[derive(Clone, Copy, Debug)]
enum Push {
    /// By ffmpeg, as it stands.
    Flv(Recipe),
    /// Opus, as enhanced RTMP: Debian's ffmpeg cannot.
    Opus,
    /// AAC-LC, said to be the core of HE-AAC: no encoder of it is free.
    HeAac,
}

/// A source, and what must become of its sound.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    push: Push,
    ladder: &'static str,
    rate: u32,
    channels: u32,
    /// Kilobits per second.
    kbps: f64,
    /// Seconds that the sound may be off the pictures.
    apart: f64,
    /// What the broadcaster is told.
    words: &'static [&'static str],
}

/// RTMP counts milliseconds, and so does what a sine takes to become loud.
const EXACT: f64 = 0.003;
/// A frame of AAC.
const FRAME: f64 = 1024.0 / 48_000.0;

const fn case(name: &'static str, push: Push, words: &'static [&'static str]) -> Case {
    Case {
        name,
        push,
        ladder: "",
        rate: 48_000,
        channels: 2,
        kbps: 128.0,
        apart: EXACT,
        words,
    }
}

const CASES: [Case; 7] = [
    case("opus", Push::Opus, &["Opus", "AAC", "OBS"]),
    Case {
        ladder: "high = { pass = false }",
        ..case("opus-encoded", Push::Opus, &["Opus", "AAC", "OBS"])
    },
    Case {
        rate: 44_100,
        ..case("mp3", Push::Flv(MP3), &["MP3", "AAC", "OBS"])
    },
    case("rate-96", Push::Flv(AAC_96), &["96000 Hz", "48 kHz", "OBS"]),
    Case {
        rate: 44_100,
        channels: 1,
        kbps: 64.0,
        ..case("rate-22", Push::Flv(AAC_22), &["22050 Hz", "48 kHz", "OBS"])
    },
    case(
        "surround",
        Push::Flv(AAC_5_1),
        &["6 channels", "stereo", "OBS"],
    ),
    Case {
        // The filters of SBR take their time, as they do in players.
        apart: FRAME,
        ..case("he-aac", Push::HeAac, &["HE-AAC", "AAC", "OBS"])
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn what_not_every_player_takes_becomes_aac_and_stays_with_its_pictures() {
    let mut running = JoinSet::new();
    for case in CASES {
        running.spawn(async move {
            spawn_blocking(move || case.push.make())
                .await
                .expect("made");
            let config = config(&[case.name]);
            let config = match case.ladder {
                "" => config,
                lines => config.ladder_of(lines),
            };
            let push = |daemon: &Daemon| case.push.publish(daemon, case.name);
            let broadcast = Broadcast::run(&config, case.name, push).await;
            let check = move || case.check(&broadcast);
            spawn_blocking(check).await.expect("see above");
        });
    }
    running.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_comes_back_goes_on_with_the_same_sound() {
    spawn_blocking(|| {
        Push::Opus.make();
        AAC.file();
    })
    .await
    .expect("made");
    let mut running = JoinSet::new();
    for (stream, second) in [("again", Push::Opus), ("other", Push::Flv(AAC))] {
        running.spawn(async move {
            let config = config(&[stream]).publish("grace = \"10s\"");
            let publish = |daemon: &Daemon| {
                let (address, key) = (daemon.address("rtmp"), format!("key-of-{stream}"));
                spawn_blocking(move || {
                    let mut publisher = start(address, &key);
                    publisher
                        .push(&Push::Opus.tags(), 0, Some(1.0))
                        .expect("taken");
                    publisher.reset().expect("cut");
                    thread::sleep(Duration::from_millis(500));
                    let mut publisher = start(address, &key);
                    publisher.push(&second.tags(), 0, Some(1.0)).expect("taken");
                    publisher.stop().expect("stopped");
                })
            };
            let broadcast = Broadcast::run(&config, stream, publish).await;
            let check = move || {
                let notices = broadcast.notices();
                assert!(notices.contains("publisher is back"), "{notices}");
                assert!(!notices.contains("tracks changed"), "{notices}");
                let [high, audio] = ["high", "audio"].map(|name| files(stream, &broadcast, name));
                assert_eq!((high.len(), audio.len()), (2, 2), "{stream}");
                for (pictures, sound) in high.iter().zip(&audio) {
                    assert_together(stream, pictures, (sound, 48_000), EXACT);
                }
            };
            spawn_blocking(check).await.expect("see above");
        });
    }
    running.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mp3_without_a_ladder_is_refused_with_what_to_do() {
    let daemon = Daemon::start(&Config::new().key("key-of-mp3", "mp3"));
    let address = daemon.address("rtmp");
    let status = spawn_blocking(move || {
        let mut publisher = start(address, "key-of-mp3");
        let tags = flv::read(MP3.file()).expect("made just now");
        // It may be told before all of them are taken.
        let _ = publisher.push(&tags, 0, None);
        publisher.status().expect("told")
    });
    let status = status.await.expect("told");
    assert_eq!(status.code, "NetStream.Publish.Rejected");
    for word in ["unsupported MP3 audio", "AAC", "OBS"] {
        assert!(status.description.contains(word), "{status:?}");
    }
}

fn start(address: SocketAddr, key: &str) -> Publisher {
    let (publisher, status) = Publisher::publish(address, "live", key).expect("connected");
    assert_eq!(status.code, "NetStream.Publish.Start");
    publisher
}

impl Push {
    fn make(self) {
        match self {
            Self::Flv(recipe) => drop(recipe.file()),
            Self::Opus => drop((PICTURES.file(), OPUS.file())),
            Self::HeAac => drop(AAC_24.file()),
        }
    }

    fn publish(self, daemon: &Daemon, stream: &str) -> JoinHandle<()> {
        let (address, key) = (daemon.address("rtmp"), format!("key-of-{stream}"));
        let url = daemon.publish_url(&key);
        spawn_blocking(move || match self {
            Self::Flv(recipe) => {
                let (content, warnings) = Encoder::ffmpeg(&recipe.file(), &url).wait();
                assert!(content, "{warnings}");
            }
            Self::Opus | Self::HeAac => {
                let mut publisher = start(address, &key);
                publisher.push(&self.tags(), 0, Some(1.0)).expect("taken");
                publisher.stop().expect("stopped");
            }
        })
    }

    /// What is sent.
    fn tags(self) -> Vec<flv::Tag> {
        let read = |recipe: Recipe| flv::read(recipe.file()).expect("made just now");
        match self {
            Self::Flv(recipe) => read(recipe),
            Self::Opus => {
                // Packets are stamped with when what they decode to begins, which leaves out the pre-skip: the pictures
                // are later by as much, 312 samples.
                let pictures = read(PICTURES).into_iter().map(|tag| flv::Tag {
                    timestamp: tag.timestamp + 7,
                    ..tag
                });
                let sound = enhanced::opus(&OPUS).into_iter();
                let sound = sound.map(|(kind, timestamp, body)| flv::Tag {
                    kind,
                    timestamp,
                    body,
                });
                let mut tags: Vec<_> = pictures.chain(sound).collect();
                tags.sort_by_key(|tag| tag.timestamp);
                tags
            }
            Self::HeAac => {
                let mut tags = read(AAC_24);
                // SBR to 48 kHz, told hierarchically.
                let first = { tags.iter_mut() }.find(|tag| tag.kind == 8 && tag.body[1] == 0);
                first.expect("configured").body = vec![0xaf, 0, 0x2b, 0x11, 0x88, 0x00];
                tags
            }
        }
    }
}

impl Case {
    fn check(&self, broadcast: &Broadcast) {
        let name = self.name;
        let codecs = broadcast.multivariant.variants[0].codecs.as_deref();
        assert!(
            codecs.expect("CODECS").ends_with(",mp4a.40.2"),
            "{name}: {codecs:?}"
        );
        let [high, audio] = ["high", "audio"].map(|it| files(name, broadcast, it));
        let ([high], [audio]) = (&high[..], &audio[..]) else {
            panic!("{name}: discontinuities");
        };
        assert_eq!(
            probe::describe(audio, "a:0", "codec_name,profile,sample_rate,channels"),
            format!("aac,LC,{},{}", self.rate, self.channels),
            "{name}"
        );
        probe::decodes(audio);
        self.check_frames(audio);
        assert_together(name, high, (audio, self.rate), self.apart);
        self.check_words(broadcast);
    }

    /// One after the other, as many bits as were set, from the beginning of the source to its end.
    fn check_frames(&self, audio: &Path) {
        let (name, length) = (self.name, 1024.0 / f64::from(self.rate));
        let frames = probe::units(audio, "a:0");
        for pair in frames.windows(2) {
            let step = pair[1].pts - pair[0].pts;
            assert!(
                (step - length).abs() < 0.000_2,
                "{name}: {step} s at {}",
                pair[0].pts
            );
        }
        let seconds = frames.len() as f64 * length;
        assert!((6.7..7.2).contains(&seconds), "{name}: {seconds} s");
        let bytes: u32 = frames.iter().map(|frame| frame.bytes).sum();
        let kbps = f64::from(bytes) * 0.008 / seconds;
        assert!((kbps / self.kbps - 1.0).abs() < 0.15, "{name}: {kbps} kb/s");
    }

    fn check_words(&self, broadcast: &Broadcast) {
        let (name, notices) = (self.name, broadcast.notices());
        let renditions = broadcast.status["renditions"].as_array().expect("a list");
        let audio = { renditions.iter() }.find(|it| it["name"] == "audio");
        let audio = audio.expect("listed");
        assert_eq!(
            (&audio["source"], &audio["state"]),
            (&"encoded".into(), &"ok".into())
        );
        let detail = audio["source_detail"].as_str().expect("told");
        let stream = format!("\"stream\":\"{name}\"");
        let mut lines = broadcast.written.lines();
        let logged = lines.find(|line| line.contains(&stream) && line.contains(detail));
        assert!(logged.is_some(), "{name}: {detail:?} is not in the log");
        for word in self.words {
            assert!(
                notices.contains(word),
                "{name}: {word:?} is not in {notices:?}"
            );
            assert!(
                detail.contains(word),
                "{name}: {word:?} is not in {detail:?}"
            );
        }
    }
}

/// What was served of a rendition, one file between discontinuities.
fn files(what: &str, broadcast: &Broadcast, rendition: &str) -> Vec<std::path::PathBuf> {
    let folder = folder().join(format!("sound-{what}"));
    fs::create_dir_all(&folder).expect("a folder");
    let runs = broadcast.recordings[rendition].files().into_iter();
    runs.enumerate()
        .map(|(index, bytes)| {
            let file = folder.join(format!("{rendition}-{index}.mp4"));
            fs::write(&file, bytes).expect("a file is written");
            file
        })
        .collect()
}

/// Each beep is heard when its flash is seen.
fn assert_together(what: &str, high: &Path, audio: (&Path, u32), apart: f64) {
    let (flashes, beeps) = (flashes(high), beeps(audio.0, audio.1));
    assert!(flashes.len() >= 5, "{what}: {flashes:?}");
    for flash in flashes {
        let nearest =
            { beeps.iter().map(|beep| beep - flash) }.min_by(|a, b| a.abs().total_cmp(&b.abs()));
        let nearest = nearest.expect("beeps");
        println!("{what}: {nearest:+.4} s at {flash:.3}");
        assert!(
            nearest.abs() <= apart,
            "{what}: a beep {nearest} s from its flash at {flash}"
        );
    }
}

/// When the picture turns white, on the media clock.
fn flashes(file: &Path) -> Vec<f64> {
    let mut times: Vec<_> = probe::pictures(file)
        .iter()
        .map(|picture| picture.pts)
        .collect();
    times.sort_by(f64::total_cmp);
    let bytes = fs::read(file).expect("written just now");
    let moved = probe::first_presentation(&bytes) - times[0];
    let pixels = decoded(
        file,
        &[
            "-vf",
            "scale=1:1",
            "-pix_fmt",
            "gray",
            "-fps_mode",
            "passthrough",
            "-f",
            "rawvideo",
        ],
    );
    assert_eq!(pixels.len(), times.len());
    let white: Vec<_> = pixels.iter().map(|pixel| *pixel > 128).collect();
    { white.windows(2).zip(&times[1..]) }
        .filter(|(pair, _)| !pair[0] && pair[1])
        .map(|(_, time)| time + moved)
        .collect()
}

/// When it becomes loud, on the media clock.
fn beeps(file: &Path, rate: u32) -> Vec<f64> {
    let bytes = fs::read(file).expect("written just now");
    let first = probe::first_presentation(&bytes);
    let samples = decoded(file, &["-ac", "1", "-f", "s16le"]);
    let (samples, _) = samples.as_chunks::<2>();
    let mut beeps = Vec::new();
    let mut loud = f64::MIN;
    for (at, sample) in samples.iter().enumerate() {
        if i16::from_le_bytes(*sample).unsigned_abs() > 4_000 {
            let time = first + at as f64 / f64::from(rate);
            if time - loud > 0.2 {
                beeps.push(time);
            }
            loud = time;
        }
    }
    beeps
}

fn decoded(file: &Path, arguments: &[&str]) -> Vec<u8> {
    let mut ffmpeg = sources::ffmpeg();
    ffmpeg.arg("-i").arg(file).args(arguments).arg("-");
    let output = ffmpeg.output().expect("ffmpeg runs");
    assert!(output.status.success(), "{}", sources::stderr(&output));
    output.stdout
}
