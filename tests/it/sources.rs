//! What is broadcast in the tests: files made once by Debian's ffmpeg, and the real encoders that push.
//!
//! Files are kept in cargo's folder for test output under a name that holds a digest of their recipe, so a second run makes
//! none. Pushing one with `-c copy` costs no encoding, and what was pushed is known to the byte. An [`Encoder`] is killed
//! and reaped when dropped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Mutex,
};

use sha2::{Digest, Sha256};

/// How a broadcast file is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    /// File name without digest and extension.
    pub(crate) name: &'static str,
    /// Container, as the file's extension.
    pub(crate) container: &'static str,
    /// lavfi source of pictures; empty for none. `CLOCK` in it is the filter that puts the machine clock of
    /// `conf/testcard.sh` into each, which [`crate::probe::numbers`] reads.
    pub(crate) video: &'static str,
    /// lavfi source of sound; empty for none.
    pub(crate) audio: &'static str,
    /// Codec options, space separated.
    pub(crate) codecs: &'static str,
}

/// What OBS sends on its defaults: two B-frames, a key frame each second.
pub(crate) const B_FRAMES: Recipe = Recipe {
    name: "b-frames",
    container: "flv",
    video: "testsrc2=size=640x360:rate=30:duration=7",
    audio: "sine=frequency=440:sample_rate=48000:duration=7",
    codecs: "-c:v libx264 -preset veryfast -profile:v high -b:v 500k -g 30 -keyint_min 30 -sc_threshold 0 -bf 2 \
             -c:a aac -b:a 96k -ac 2",
};

/// Fifty frames a second and CD sampling rate.
pub(crate) const FPS_50: Recipe = Recipe {
    name: "fps-50",
    container: "flv",
    video: "testsrc2=size=640x360:rate=50:duration=6",
    audio: "sine=frequency=330:sample_rate=44100:duration=6",
    codecs: "-c:v libx264 -preset veryfast -tune zerolatency -b:v 500k -g 50 -c:a aac -b:a 96k -ac 2",
};

/// A telephone held upright.
pub(crate) const VERTICAL: Recipe = Recipe {
    name: "vertical",
    container: "flv",
    video: "testsrc2=size=1080x1920:rate=30:duration=5",
    audio: "sine=frequency=550:sample_rate=48000:duration=5",
    codecs: "-c:v libx264 -preset ultrafast -b:v 900k -g 30 -c:a aac -b:a 64k",
};

/// Sound alone.
pub(crate) const AUDIO_ONLY: Recipe = Recipe {
    name: "audio-only",
    container: "flv",
    video: "",
    audio: "sine=frequency=440:sample_rate=48000:duration=6",
    codecs: "-c:a aac -b:a 96k -ac 2",
};

/// Pictures alone, with B-frames.
pub(crate) const VIDEO_ONLY: Recipe = Recipe {
    name: "video-only",
    container: "flv",
    video: "testsrc2=size=320x180:rate=25:duration=6",
    audio: "",
    codecs: "-c:v libx264 -preset veryfast -b:v 200k -g 25 -bf 2",
};

/// Small and cheap, for tests about everything but the picture; half a minute, to be cut short at will.
pub(crate) const LONG: Recipe = Recipe {
    name: "long",
    container: "flv",
    video: "testsrc2=size=320x180:rate=30:duration=40",
    audio: "sine=frequency=440:sample_rate=48000:duration=40",
    codecs: "-c:v libx264 -preset ultrafast -tune zerolatency -b:v 150k -g 30 -c:a aac -b:a 48k",
};

/// Small and short, for tests that push a broadcast to its end.
pub(crate) const SHORT: Recipe = Recipe {
    name: "short",
    container: "flv",
    video: "testsrc2=size=320x180:rate=30:duration=3",
    audio: "sine=frequency=440:sample_rate=48000:duration=3",
    codecs: "-c:v libx264 -preset ultrafast -tune zerolatency -b:v 150k -g 30 -c:a aac -b:a 48k",
};

/// H.265, which legacy FLV cannot hold.
pub(crate) const HEVC: Recipe = Recipe {
    name: "hevc",
    container: "mp4",
    video: "testsrc2=size=320x180:rate=30:duration=3",
    audio: "",
    codecs: "-c:v libx265 -preset ultrafast -tag:v hvc1 \
             -x265-params keyint=30:min-keyint=30:scenecut=0:open-gop=0:bframes=2:log-level=error",
};

/// AV1.
pub(crate) const AV1: Recipe = Recipe {
    name: "av1",
    container: "mp4",
    video: "testsrc2=size=320x180:rate=30:duration=3,format=yuv420p",
    audio: "",
    codecs: "-c:v libaom-av1 -cpu-used 8 -usage realtime -lag-in-frames 0 -g 30 -b:v 200k",
};

/// Opus.
pub(crate) const OPUS: Recipe = Recipe {
    name: "opus",
    container: "mp4",
    video: "",
    audio: "sine=frequency=440:sample_rate=48000:duration=3",
    codecs: "-c:a libopus -b:a 64k -ac 2 -strict -2",
};

/// The machine clock, small.
pub(crate) const CLOCK: Recipe = Recipe {
    name: "clock",
    container: "flv",
    video: "testsrc2=size=320x180:rate=30:duration=2,CLOCK",
    audio: "",
    codecs: "-c:v libx264 -preset ultrafast -b:v 150k",
};

impl Recipe {
    /// The file, made now if it is not there. Blocking.
    pub(crate) fn file(&self) -> PathBuf {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sources");
        let video = with_clock(self.video);
        let digest = Sha256::digest(format!("{self:?}{video}"));
        let Self {
            name, container, ..
        } = self;
        let path = folder.join(format!(
            "{name}-{:02x}{:02x}.{container}",
            digest[0], digest[1]
        ));
        // A former test may have failed while it held the lock; the file system tells what is there.
        let _guard = ONE_AT_A_TIME
            .lock()
            .unwrap_or_else(|lock| lock.into_inner());
        if !path.exists() {
            fs::create_dir_all(&folder).expect("a folder for sources");
            let half = folder.join(format!("half-{}-{name}.{container}", std::process::id()));
            let mut ffmpeg = ffmpeg();
            for source in [&*video, self.audio] {
                if !source.is_empty() {
                    ffmpeg.args(["-f", "lavfi", "-i", source]);
                }
            }
            ffmpeg
                .args(self.codecs.split_whitespace())
                .arg("-y")
                .arg(&half);
            let output = ffmpeg.output().expect("ffmpeg runs");
            assert!(output.status.success(), "{name}: {}", stderr(&output));
            fs::rename(&half, &path).expect("the file is put in its place");
        }
        path
    }
}

/// The source with the test card's machine clock in the place of `CLOCK`.
fn with_clock(source: &str) -> String {
    if !source.contains("CLOCK") {
        return source.to_owned();
    }
    let size = source
        .split(['=', ':'])
        .nth(2)
        .expect("the size comes first");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/testcard.sh");
    let mut script = Command::new(script);
    let output = script.arg("--filter").env("SIZE", size).output();
    let output = output.expect("the test card runs");
    assert!(output.status.success(), "{}", stderr(&output));
    source.replace("CLOCK", String::from_utf8_lossy(&output.stdout).trim())
}

/// `ffmpeg`, quiet but for warnings.
pub(crate) fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-nostdin", "-nostats", "-v", "warning"]);
    command
}

/// What a command wrote to standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A real encoder, pushing.
pub(crate) struct Encoder {
    child: Child,
}

impl Encoder {
    /// ffmpeg pushes a file as it stands, in real time.
    pub(crate) fn ffmpeg(file: &Path, url: &str) -> Self {
        Self::start(
            ffmpeg()
                .arg("-re")
                .arg("-i")
                .arg(file)
                .args(["-c", "copy", "-f", "flv", url]),
        )
    }

    /// `conf/testcard.sh`, small and cheap, until this is dropped.
    pub(crate) fn card(url: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/testcard.sh");
        Self::start(
            Command::new(script)
                .env("SIZE", "640x360")
                .env("BITRATE", "600k")
                .env("PRESET", "ultrafast")
                .args(["-f", "flv", url]),
        )
    }

    /// GStreamer's own encoders and muxer push `seconds` of test pictures by `rtmp2sink`; what the muxer makes is also
    /// written to `copy`. The sink keeps time: live sources would let the machine's load into the timestamps.
    pub(crate) fn gstreamer(seconds: u32, copy: &Path, url: &str) -> Self {
        let pictures = format!("num-buffers={}", seconds * 30);
        let sounds = format!("num-buffers={}", seconds * 50); // of 960 samples each
        let copy = format!("location={}", copy.display());
        let url = format!("location={url}");
        let pipeline = [
            "-q -e flvmux name=mux streamable=true ! tee name=split",
            "split. ! queue ! rtmp2sink",
            &url,
            "split. ! queue ! filesink",
            &copy,
            "videotestsrc pattern=ball",
            &pictures,
            "! video/x-raw,width=320,height=180,framerate=30/1",
            "! x264enc tune=zerolatency speed-preset=ultrafast bitrate=200 key-int-max=30 ! h264parse ! mux.",
            "audiotestsrc samplesperbuffer=960",
            &sounds,
            "! audio/x-raw,rate=48000,channels=2 ! audioconvert ! avenc_aac bitrate=64000 ! aacparse ! mux.",
        ];
        let mut command = Command::new("gst-launch-1.0");
        for piece in pipeline {
            // A path may hold a blank; nothing else of ours does.
            if piece.starts_with("location=") {
                command.arg(piece);
            } else {
                command.args(piece.split_whitespace());
            }
        }
        Self::start(&mut command)
    }

    /// Any other command that pushes.
    pub(crate) fn start(command: &mut Command) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        Self { child }
    }

    /// Waits until it ends by itself; gives whether it was content, and its warnings. Blocking.
    pub(crate) fn wait(mut self) -> (bool, String) {
        let mut warnings = String::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            let _ = std::io::Read::read_to_string(&mut pipe, &mut warnings);
        }
        let status = self.child.wait().expect("our own child");
        (status.success(), warnings)
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
