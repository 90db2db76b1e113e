//! How much of the picture is left: SSIM of each rendition against the source scaled to its size, the daemon's beside that
//! of the ffmpeg command with the same settings, over the same frames, and at what bit rate.
//!
//! Frames are matched by their time stamps, counted from the first. Both sides encode from the first frame of the
//! recording. VMAF is not measured: Debian's ffmpeg is built without libvmaf.

use std::{fs, io, path::Path};

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{KEY, Plan, RATE, Rung, STREAM, Source, commands};
use crate::{
    daemon::Daemon,
    sources::{Encoder, ffmpeg},
    table::{Table, bar},
    viewer::{Playlist, Viewer},
};

/// How far below the command's a rendition's SSIM may be.
const BAR: f64 = 0.005;

/// Measures and prints.
///
/// # Errors
/// A command's.
pub(super) async fn run(plan: &Plan) -> io::Result<()> {
    let mut table = Table::default();
    for &source in &plan.sources {
        for preset in &plan.presets {
            let folder = TempDir::with_prefix("vitrine-proof-")?;
            record(source, preset, plan, folder.path()).await;
            encode(source, preset, plan, folder.path())?;
            for rung in source.rungs() {
                let of = |who: &str| measure(source, rung, &folder.path().join(file(who, rung)));
                let (ours, command) = (of(OURS)?, of(COMMAND)?);
                let frames = ours.ssim.len().min(command.ssim.len());
                let mean = |ssim: &[f64]| ssim[..frames].iter().sum::<f64>() / frames as f64;
                let values = [
                    mean(&ours.ssim),
                    mean(&command.ssim),
                    ours.kbps(),
                    command.kbps(),
                    frames as f64,
                ];
                table.note(row(source, preset, rung), &values);
            }
        }
    }
    table.print(
        "SSIM of renditions against the scaled source",
        &[
            ("ours", 4),
            ("one ffmpeg", 4),
            ("ours kb/s", 0),
            ("one ffmpeg kb/s", 0),
            ("frames", 0),
        ],
    );
    for &source in &plan.sources {
        for preset in &plan.presets {
            for rung in source.rungs() {
                let row = row(source, preset, rung);
                let below = table.median(&row, 1) - table.median(&row, 0);
                bar(&format!("{row}: SSIM below the command's"), below, BAR);
            }
        }
    }
    Ok(())
}

const OURS: &str = "ours";
const COMMAND: &str = "command";

fn file(who: &str, rung: &Rung) -> String {
    format!("{who}-{}.mp4", rung.name)
}

fn row(source: Source, preset: &str, rung: &Rung) -> String {
    format!(
        "{source}, {preset}, {} {}x{}",
        rung.name, rung.width, rung.height
    )
}

/// Broadcasts the source and keeps what the daemon serves of each rung.
async fn record(source: Source, preset: &str, plan: &Plan, folder: &Path) {
    let daemon = Daemon::start(&source.config(Some(preset)));
    let _publisher = Encoder::ffmpeg(&source.clip(), &daemon.publish_url(KEY));
    let viewer = Viewer::new(&daemon.url(""));
    let folders = viewer.renditions(STREAM).await;
    let segments = plan.time.as_secs(); // of a second each
    let mut followed = JoinSet::new();
    for rung in source.rungs() {
        let (viewer, served, path) = (
            viewer.clone(),
            folders[rung.name].clone(),
            folder.join(file(OURS, rung)),
        );
        followed.spawn(async move {
            let enough = |playlist: &Playlist| {
                let mut complete = playlist
                    .segments
                    .iter()
                    .rev()
                    .filter(|segment| segment.uri.is_some());
                complete
                    .next()
                    .is_some_and(|segment| segment.msn + 1 >= segments)
            };
            let recording = viewer.follow_until(&served, enough).await;
            recording.write(&path);
        });
    }
    while let Some(followed) = followed.join_next().await {
        followed.expect("a rule of playlists was broken: see above");
    }
}

/// The same by one ffmpeg command, as fast as it goes.
fn encode(source: Source, preset: &str, plan: &Plan, folder: &Path) -> io::Result<()> {
    let seconds = plan.time.as_secs().to_string();
    commands::finish(commands::one(source, preset, &["-t", &seconds], |rung| {
        let path = folder.join(file(COMMAND, rung));
        vec![path.to_string_lossy().into_owned()]
    }))
}

/// What a file holds.
struct Measured {
    /// Of each frame, luma and chroma together.
    ssim: Vec<f64>,
    bytes: u64,
    frames: u64,
}

impl Measured {
    fn kbps(&self) -> f64 {
        self.bytes as f64 * 8.0 / 1000.0 / (self.frames as f64 / f64::from(RATE))
    }
}

fn measure(source: Source, rung: &Rung, path: &Path) -> io::Result<Measured> {
    let statistics = path.with_extension("ssim");
    // In frames since the first: the source's milliseconds, rounded.
    let by_frame = format!("setpts=PTS-STARTPTS,settb=1/{RATE}");
    let graph = format!(
        "[0:v]{by_frame}[made];[1:v]{},{by_frame}[source];[made][source]ssim=shortest=1:stats_file={}",
        commands::scale(rung),
        statistics.display()
    );
    let mut command = ffmpeg();
    command.arg("-i").arg(path).arg("-i").arg(source.clip());
    command.args(["-filter_complex", &graph, "-an", "-f", "null", "-"]);
    commands::finish(command)?;
    let statistics = fs::read_to_string(statistics)?;
    let all = statistics.lines().filter_map(|line| {
        let (_, value) = line.split_once("All:")?;
        value.split(' ').next()?.parse().ok()
    });
    let mut probe = std::process::Command::new("ffprobe");
    probe.args([
        "-v",
        "error",
        "-select_streams",
        "v",
        "-show_entries",
        "packet=size",
        "-of",
        "csv=p=0",
    ]);
    let sizes = probe.arg(path).output()?;
    let sizes = String::from_utf8_lossy(&sizes.stdout).into_owned();
    let sizes: Vec<u64> = sizes
        .lines()
        .filter_map(|line| line.trim_end_matches(',').parse().ok())
        .collect();
    let measured = Measured {
        ssim: all.collect(),
        bytes: sizes.iter().sum(),
        frames: sizes.len() as u64,
    };
    if measured.ssim.is_empty() || measured.frames == 0 {
        return Err(io::Error::other(format!("{path:?} holds no picture")));
    }
    Ok(measured)
}
