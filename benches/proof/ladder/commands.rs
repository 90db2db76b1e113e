//! The same ladder made by ffmpeg commands, and how one is measured while it runs.
//!
//! x264 has the settings that the daemon gives it; decoder, scaler and encoder have one thread each, which costs the least
//! CPU. Time stamps are the source's, on the daemon's clock of 90 kHz. A command that cannot keep up falls behind, so what
//! it has used is divided by the media it has made, not by the time that has passed.

use std::{
    io::{self, BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{RATE, Rung, Source};
use crate::{host::Usage, sources::ffmpeg};

/// x264's own options beside those that ffmpeg has names for.
const X264: &str =
    "scenecut=0:keyint=infinite:open-gop=0:bframes=0:rc-lookahead=0:sync-lookahead=0";

/// Where key frames stand.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keys {
    /// Where the source has them.
    Source,
    /// Each second.
    Grid,
}

/// Encoding of a rung, up to the output's name.
pub(super) fn encoding(rung: &Rung, preset: &str, keys: Keys) -> Vec<String> {
    let rate = format!("{}k", rung.kbps);
    let keys = match keys {
        Keys::Source => "source",
        Keys::Grid => "expr:gte(t,n_forced)",
    };
    let options = format!(
        "-c:v libx264 -preset {preset} -tune zerolatency -profile:v high -forced-idr 1 -threads 1 -x264-params {X264} \
         -b:v {rate} -maxrate {rate} -bufsize {rate} -bf 0 -flags +cgop -fps_mode passthrough -enc_time_base 1:90000 \
         -force_key_frames {keys}"
    );
    options.split(' ').map(str::to_owned).collect()
}

/// The filter of a rung on its own.
pub(super) fn scale(rung: &Rung) -> String {
    format!("scale={}:{}:flags=bicubic", rung.width, rung.height)
}

/// The filters that make all rungs, each from the one above it; outputs carry their names.
pub(super) fn cascade(source: Source) -> String {
    let rungs = source.rungs();
    let mut graph = Vec::new();
    let mut above = "0:v".to_owned();
    for (at, rung) in rungs.iter().enumerate() {
        let Rung { name, width, .. } = rung;
        let scaled = if *width == source.width() {
            "null".to_owned()
        } else {
            scale(rung)
        };
        if at + 1 == rungs.len() {
            graph.push(format!("[{above}]{scaled}[{name}]"));
        } else {
            graph.push(format!("[{above}]{scaled},split[{name}][under-{name}]"));
        }
        above = format!("under-{name}");
    }
    graph.join(";")
}

/// One command that decodes once and makes every rung; `output` names where each goes.
pub(super) fn one(
    source: Source,
    preset: &str,
    input: &[&str],
    output: impl Fn(&Rung) -> Vec<String>,
) -> Command {
    let mut command = ffmpeg();
    command
        .args(input)
        .args(["-threads", "1", "-i"])
        .arg(source.clip());
    command.args([
        "-filter_complex_threads",
        "1",
        "-filter_complex",
        &cascade(source),
    ]);
    for rung in source.rungs() {
        command.args(["-map", &format!("[{}]", rung.name)]);
        command
            .args(encoding(rung, preset, Keys::Source))
            .args(output(rung));
    }
    command
}

/// A command for each rendition, as people run them behind nginx-rtmp: each decodes, and scales from the source. What is
/// passed through is copied, and thrown away.
pub(super) fn each(source: Source, preset: &str, folder: &Path) -> Vec<Command> {
    let rungs = source.rungs().iter().map(|rung| {
        let mut command = ffmpeg();
        command
            .args(REAL_TIME)
            .args(["-threads", "1", "-i"])
            .arg(source.clip());
        if rung.width != source.width() {
            command.args(["-filter_threads", "1", "-vf", &scale(rung)]);
        }
        command.arg("-an");
        command
            .args(encoding(rung, preset, Keys::Source))
            .args(packaged(rung, folder));
        command
    });
    let mut commands: Vec<Command> = rungs.collect();
    if source.passes() {
        let mut command = ffmpeg();
        command.args(REAL_TIME).arg("-i").arg(source.clip());
        command.args(["-c", "copy"]).args(nowhere());
        commands.push(command);
    }
    commands
}

/// x264 and nothing else, on frames that are scaled already ([`frames`]).
pub(super) fn floor(source: Source, preset: &str, folder: &Path) -> Command {
    let mut command = ffmpeg();
    command.args(["-v", "error"]); // it warns that it guesses how long they are
    for rung in source.rungs() {
        let size = format!("{}x{}", rung.width, rung.height);
        command
            .args(REAL_TIME)
            .args(["-f", "rawvideo", "-pixel_format", "yuv420p"]);
        command.args(["-video_size", &size, "-framerate", &RATE.to_string(), "-i"]);
        command.arg(folder.join(rung.name));
    }
    for (at, rung) in source.rungs().iter().enumerate() {
        command.args(["-map", &format!("{at}:v")]);
        command
            .args(encoding(rung, preset, Keys::Grid))
            .args(nowhere());
    }
    command
}

/// Writes the scaled frames of every rung, `length` of them, into a folder: hundreds of MB.
///
/// # Errors
/// The command's.
pub(super) fn frames(source: Source, length: Duration, folder: &Path) -> io::Result<()> {
    let mut command = ffmpeg();
    command
        .arg("-i")
        .arg(source.clip())
        .args(["-filter_complex", &cascade(source)]);
    for rung in source.rungs() {
        let seconds = length.as_secs().to_string();
        command.args(["-map", &format!("[{}]", rung.name), "-t", &seconds]);
        command
            .args(["-pix_fmt", "yuv420p", "-f", "rawvideo"])
            .arg(folder.join(rung.name));
    }
    finish(command)
}

/// Options of an input that is read in real time.
pub(super) const REAL_TIME: &[&str] = &["-re"];

/// An output that is packaged as the daemon does it: HLS in fragmented MP4, a segment a second, into `folder`.
pub(super) fn packaged(rung: &Rung, folder: &Path) -> Vec<String> {
    let name = rung.name;
    let options = format!(
        "-v error -f hls -hls_time 1 -hls_list_size 8 -hls_flags delete_segments -hls_segment_type fmp4 \
         -hls_fmp4_init_filename {name}.mp4"
    );
    let options = options.split(' ').map(str::to_owned);
    let playlist = folder.join(format!("{name}.m3u8"));
    options.chain([playlist.display().to_string()]).collect()
}

/// An output that is thrown away.
pub(super) fn nowhere() -> Vec<String> {
    ["-f", "null", "-"].map(str::to_owned).to_vec()
}

/// Runs a command to its end.
///
/// # Errors
/// The system's, or what the command wrote.
pub(super) fn finish(mut command: Command) -> io::Result<()> {
    let output = command.output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "{command:?}: {}",
            crate::sources::stderr(&output)
        ))),
    }
}

/// A command at work; killed and reaped when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU seconds that all these commands together use for a second of media, after `warm_up` and for `time`; and how many
/// seconds of media the slowest makes in a second.
///
/// # Errors
/// The system's, or `UnexpectedEof` when a command ends before it was measured.
pub(super) fn measure(
    commands: Vec<Command>,
    warm_up: Duration,
    time: Duration,
) -> io::Result<[f64; 2]> {
    let running = commands.into_iter().map(|mut command| {
        command.args(["-progress", "pipe:1", "-stats_period", "0.2"]);
        let child = command
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Running(child))
    });
    let running = running.collect::<io::Result<Vec<Running>>>()?;
    let watched = running
        .into_iter()
        .map(|mut running| std::thread::spawn(move || watch(&mut running, warm_up, time)));
    let watched: Vec<_> = watched.collect();
    let mut sum = [0.0, f64::INFINITY];
    for watched in watched {
        let [cost, pace] = watched.join().expect("watching does not panic")?;
        sum = [sum[0] + cost, sum[1].min(pace)];
    }
    Ok(sum)
}

/// Follows what a command says of its progress.
fn watch(running: &mut Running, warm_up: Duration, time: Duration) -> io::Result<[f64; 2]> {
    let start = Instant::now();
    let pid = running.0.id();
    let progress = running.0.stdout.take().expect("piped");
    let mut from = None;
    for line in BufReader::new(progress).lines() {
        let line = line?;
        // Each report begins with it, written by the thread that works.
        let Some(frame) = line.strip_prefix("frame=") else {
            continue;
        };
        let frame: f64 = frame.trim().parse().map_err(io::Error::other)?;
        let (now, cpu) = (Instant::now(), Usage::of(pid).cpu);
        match from {
            None if now >= start + warm_up => from = Some((now, frame, cpu)),
            Some((began, first, before)) if now >= began + time => {
                let media = (frame - first) / f64::from(RATE);
                let used = cpu.saturating_sub(before).as_secs_f64();
                return Ok([used / media, media / (now - began).as_secs_f64()]);
            }
            _ => {}
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// Where frames are kept that no disk shall delay: in memory, if the system has a place for that.
pub(super) fn memory() -> &'static str {
    const MEMORY: &str = "/dev/shm";
    if Path::new(MEMORY).is_dir() {
        MEMORY
    } else {
        "/tmp"
    }
}
