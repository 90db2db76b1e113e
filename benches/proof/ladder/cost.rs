//! CPU seconds per second of stream: the daemon's ladder, one ffmpeg command, one for each rendition, and x264 alone.
//!
//! The daemon's ladder is what it uses beyond the control, the same daemon with `transcode.enabled = false` and the same
//! publisher; what is not the ladder (network, packaging of what is passed through) is in neither. Whoever encodes a rendition
//! also packages it, the commands as HLS in fragmented MP4 and in memory; what the one command costs when it throws away
//! what it makes stands beside. All are measured in the same seconds of the recording, in turns, from a moment at which
//! each has long started. What is judged is measured as often as the plan says; what only stands beside it, once.

use std::{
    io,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{DEFAULT_PRESET, KEY, Plan, RATE, Rung, Source, check, commands, scrape::Scrape};
use crate::{
    daemon::Daemon,
    host::{Usage, load_average},
    sources::Encoder,
    table::{Table, bar},
    viewer::Viewer,
};

/// Until everything has started: the daemon's probe, two segments, encoders.
const WARM_UP: Duration = Duration::from_secs(4);

/// Who makes the ladder.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// The daemon without one.
    Control,
    Daemon,
    OneCommand,
    /// The same, thrown away.
    Unpackaged,
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
    let load_before = load_average();
    for &source in &plan.sources {
        let folder = TempDir::with_prefix_in("vitrine-proof-", commands::memory())?;
        commands::frames(
            source,
            WARM_UP + plan.time + Duration::from_secs(3),
            folder.path(),
        )?;
        for run in 0..plan.runs {
            let control = daemon(source, None, plan).await?;
            table.note(row(source, "", Way::Control), &control);
            for preset in plan.presets.iter().filter(|it| run < plan.runs_of(it)) {
                let measure = |commands| commands::measure(commands, WARM_UP, plan.time);
                let out = TempDir::with_prefix_in("vitrine-proof-", commands::memory())?;
                let one = |output: &dyn Fn(&Rung) -> Vec<String>| {
                    vec![commands::one(source, preset, commands::REAL_TIME, output)]
                };
                let packaged = one(&|rung| commands::packaged(rung, out.path()));
                let ours = daemon(source, Some(preset), plan).await?;
                table.note(row(source, preset, Way::Daemon), &ours);
                table.note(row(source, preset, Way::OneCommand), &measure(packaged)?);
                if run > 0 {
                    continue;
                }
                let thrown_away = one(&|_| commands::nowhere());
                table.note(row(source, preset, Way::Unpackaged), &measure(thrown_away)?);
                let each = commands::each(source, preset, out.path());
                table.note(row(source, preset, Way::CommandEach), &measure(each)?);
                let floor = commands::floor(source, preset, folder.path());
                table.note(row(source, preset, Way::Floor), &measure(vec![floor])?);
            }
        }
    }
    print(plan, &table, &load_before);
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

fn print(plan: &Plan, table: &Table, load_before: &str) {
    println!(
        "\nThe ladder, CPU seconds per second of stream (medians and extremes of {} interleaved runs of {} s, of {} with \
         other presets than {DEFAULT_PRESET}); load average {} before, {} after\n",
        plan.runs,
        plan.time.as_secs(),
        plan.others,
        load_before,
        load_average()
    );
    println!(
        "| source | preset | the daemon's ladder | control: without | one ffmpeg | the same, thrown away | an ffmpeg each | \
         floor: x264 alone | ours / one | ours / each | pace: ours, one, each | pictures shed |"
    );
    println!("|-|-|-|-|-|-|-|-|-|-|-|-|");
    let mut ratios = Vec::new();
    for &source in &plan.sources {
        let control = table.median(row(source, "", Way::Control), 0);
        for preset in &plan.presets {
            let median = |way, column| table.median(row(source, preset, way), column);
            // As with the commands: what it has not made it has not paid for.
            let ours = (median(Way::Daemon, 0) - control) / median(Way::Daemon, 1);
            let [one, away, each, floor] = [
                Way::OneCommand,
                Way::Unpackaged,
                Way::CommandEach,
                Way::Floor,
            ]
            .map(|way| median(way, 0));
            let extremes = |way, less: f64| {
                let [least, most] = table.extremes(row(source, preset, way), 0);
                format!("{:.3} to {:.3}", least - less, most - less)
            };
            let ours_extremes = extremes(Way::Daemon, control);
            let one_extremes = extremes(Way::OneCommand, 0.0);
            let [pace, pace_one, pace_each] =
                [Way::Daemon, Way::OneCommand, Way::CommandEach].map(|way| median(way, 1));
            println!(
                "| {source} | {preset} | {ours:.3} ({ours_extremes}) | {control:.3} | {one:.3} ({one_extremes}) | {away:.3} | \
                 {each:.3} | {floor:.3} | {:.3} | {:.2} | \
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
