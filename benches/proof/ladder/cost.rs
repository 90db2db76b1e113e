//! CPU seconds per second of stream: the daemon's ladder, one ffmpeg command, one for each rendition, and x264 alone.
//!
//! The daemon's ladder is what it uses beyond the control, the same daemon with `transcode.enabled = false` and the same
//! publisher; what is not the ladder (network, packaging of what is passed through) is in neither. Packaging its renditions
//! is in the daemon's figure, while the commands throw theirs away. All are measured in the same seconds of the recording,
//! in turns, from a moment at which each has long started.

use std::{
    io,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{KEY, Plan, RATE, Source, check, commands, scrape::Scrape};
use crate::{
    daemon::Daemon,
    host::Usage,
    sources::Encoder,
    table::{Table, bar},
    viewer::Viewer,
};

/// Until everything has started: the daemon's probe, two segments, encoders.
const WARM_UP: Duration = Duration::from_secs(5);

/// Who makes the ladder.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// The daemon without one.
    Control,
    Daemon,
    OneCommand,
    CommandEach,
    /// x264 alone.
    Floor,
}

/// Measures and prints.
///
/// # Errors
/// A command's or the daemon's.
pub(super) async fn run(plan: &Plan) -> io::Result<()> {
    let mut table = Table::default();
    for &source in &plan.sources {
        let folder = TempDir::with_prefix_in("vitrine-proof-", commands::memory())?;
        commands::frames(
            source,
            WARM_UP + plan.time + Duration::from_secs(3),
            folder.path(),
        )?;
        for _ in 0..plan.runs {
            let control = daemon(source, None, plan).await?;
            table.note(row(source, "", Way::Control), &control);
            for preset in &plan.presets {
                let measure = |commands| commands::measure(commands, WARM_UP, plan.time);
                let one =
                    commands::one(source, preset, commands::REAL_TIME, |_| commands::nowhere());
                let ours = daemon(source, Some(preset), plan).await?;
                table.note(row(source, preset, Way::Daemon), &ours);
                table.note(row(source, preset, Way::OneCommand), &measure(vec![one])?);
                let each = commands::each(source, preset);
                table.note(row(source, preset, Way::CommandEach), &measure(each)?);
                let floor = commands::floor(source, preset, folder.path());
                table.note(row(source, preset, Way::Floor), &measure(vec![floor])?);
            }
        }
    }
    print(plan, &table);
    Ok(())
}

/// CPU seconds of the daemon per second of stream, seconds of media that every rung makes in a second, and pictures shed.
async fn daemon(source: Source, preset: Option<&str>, plan: &Plan) -> io::Result<[f64; 3]> {
    let daemon = Daemon::start(&source.config(preset));
    let _publisher = Encoder::ffmpeg(&source.clip(), &daemon.publish_url(KEY));
    tokio::time::sleep(WARM_UP).await;
    if preset.is_some() {
        check(&Viewer::new(&daemon.url("")), source).await?;
    }
    let before = Scrape::of(&daemon).await;
    let (start, cpu) = (Instant::now(), Usage::of(daemon.pid()).cpu);
    tokio::time::sleep(plan.time).await;
    let used = Usage::of(daemon.pid())
        .cpu
        .saturating_sub(cpu)
        .as_secs_f64();
    let seconds = start.elapsed().as_secs_f64();
    let after = Scrape::of(&daemon).await;
    let made = after.grown(&before, "vitrine_transcode_frames_total");
    let shed = after.grown(&before, "vitrine_transcode_frames_shed_total");
    let rungs = if preset.is_some() {
        source.rungs().len()
    } else {
        0
    };
    let wanted = seconds * f64::from(RATE) * rungs as f64;
    if rungs > 0 && made < wanted / 2.0 {
        let written = daemon.written();
        return Err(io::Error::other(format!(
            "the daemon made {made} pictures where {wanted:.0} were wanted: {written}"
        )));
    }
    Ok([
        used / seconds,
        if rungs > 0 { made / wanted } else { 1.0 },
        shed,
    ])
}

fn row(source: Source, preset: &str, way: Way) -> String {
    format!("{source}, {preset}, {way:?}")
}

fn print(plan: &Plan, table: &Table) {
    println!(
        "\nThe ladder, CPU seconds per second of stream (medians of {} interleaved runs of {} s)\n",
        plan.runs,
        plan.time.as_secs()
    );
    println!(
        "| source | preset | the daemon's ladder | control: without | one ffmpeg | an ffmpeg each | floor: x264 alone | \
         ours / one | ours / each | pace: ours, one, each | pictures shed |"
    );
    println!("|-|-|-|-|-|-|-|-|-|-|-|");
    let mut ratios = Vec::new();
    for &source in &plan.sources {
        let control = table.median(row(source, "", Way::Control), 0);
        for preset in &plan.presets {
            let median = |way, column| table.median(row(source, preset, way), column);
            // As with the commands: what it has not made it has not paid for.
            let ours = (median(Way::Daemon, 0) - control) / median(Way::Daemon, 1);
            let [one, each, floor] =
                [Way::OneCommand, Way::CommandEach, Way::Floor].map(|way| median(way, 0));
            let [pace, pace_one, pace_each] =
                [Way::Daemon, Way::OneCommand, Way::CommandEach].map(|way| median(way, 1));
            println!(
                "| {source} | {preset} | {ours:.3} | {control:.3} | {one:.3} | {each:.3} | {floor:.3} | {:.2} | {:.2} | \
                 {pace:.2}, {pace_one:.2}, {pace_each:.2} | {:.0} |",
                ours / one,
                ours / each,
                median(Way::Daemon, 2)
            );
            ratios.push((format!("{source}, {preset}"), ours / one));
        }
    }
    for (what, ratio) in ratios {
        bar(
            &format!("{what}: CPU, the daemon's ladder / one ffmpeg"),
            ratio,
            1.0,
        );
    }
}
