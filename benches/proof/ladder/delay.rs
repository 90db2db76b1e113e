//! How late a rendition is: from the publisher's write of as many frames as a part ends with until that part is downloaded,
//! for every rendition at once, each part asked for ahead; and how long each stage inside takes of that.
//!
//! The recording has two B-frames, so a decoder gives a picture two frames (67 ms) after it was written: that is in the
//! figures of whatever is encoded, and not in those of what is passed through.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use tokio::task::JoinSet;

use super::{KEY, Plan, STREAM, Source, check, scrape::Scrape};
use crate::{
    daemon::Daemon,
    edge_delay::{Sent, publish, sample_count},
    publisher::flv,
    viewer::Viewer,
};

/// Until what the probe had held has been encoded.
const WARM_UP: Duration = Duration::from_secs(5);

/// Measures and prints.
///
/// # Errors
/// The publisher's.
pub(super) async fn run(plan: &Plan) -> io::Result<()> {
    println!(
        "\nHow late renditions are, {} s of each source: last frame of a part written -> part downloaded\n",
        plan.time.as_secs()
    );
    println!(
        "| source | preset | rendition | p50 ms | p95 ms | behind high p50 ms | p95 ms | parts | shed |"
    );
    println!("|-|-|-|-|-|-|-|-|-|");
    let mut stages = Vec::new();
    for &source in &plan.sources {
        for preset in &plan.presets {
            stages.extend(one(source, preset, plan).await?);
        }
    }
    println!(
        "\nWhat each stage adds, from the daemon's own histograms, per access unit or picture\n"
    );
    println!("| source | preset | stage | rendition | p50 ms | p95 ms |");
    println!("|-|-|-|-|-|-|");
    stages.iter().for_each(|row| println!("{row}"));
    Ok(())
}

/// Prints how late renditions were; answers the rows of the stages.
async fn one(source: Source, preset: &str, plan: &Plan) -> io::Result<Vec<String>> {
    let tags = flv::read(source.clip())?;
    let daemon = Daemon::start(&source.config(Some(preset)));
    let viewer = Viewer::new(&daemon.url(""));
    let sent = Sent::default();
    let start = Instant::now();
    let publisher = std::thread::spawn({
        let (address, sent) = (daemon.address("rtmp"), Arc::clone(&sent));
        let end = WARM_UP + plan.time;
        let end_ms = u32::try_from(end.as_millis()).unwrap_or(u32::MAX);
        move || publish(address, KEY, &tags, end_ms, &sent)
    });
    let folders = viewer.renditions(STREAM).await;
    check(&viewer, source).await?;
    let mut followed = JoinSet::new();
    for name in ["high", "mid", "low"] {
        let (viewer, folder, sent) = (viewer.clone(), folders[name].clone(), Arc::clone(&sent));
        followed
            .spawn(async move { (name, follow(&viewer, &folder, &sent, start + WARM_UP).await) });
    }
    tokio::time::sleep_until((start + WARM_UP).into()).await;
    let before = Scrape::of(&daemon).await;
    // The publisher ends a moment later than that; what comes then is not the ladder's work.
    tokio::time::sleep_until((start + WARM_UP + plan.time).into()).await;
    let after = Scrape::of(&daemon).await;
    let mut renditions = followed.join_all().await;
    publisher.join().expect("the publisher does not panic")?;
    renditions.sort_by_key(|(name, _)| {
        ["high", "mid", "low"]
            .iter()
            .position(|known| known == name)
    });
    let shed = after.grown(&before, "vitrine_transcode_frames_shed_total");
    print(source, preset, &renditions, shed);
    Ok(stages(source, preset, &before, &after))
}

/// A part as it came.
#[derive(Clone, Copy, Debug)]
struct Arrived {
    number: usize,
    at: Instant,
    /// After the last of its frames was written.
    late: Duration,
}

/// Downloads part after part until there are no more; keeps those whose last frame was written after `from`. Each is asked
/// for when the one before it has come: what is late cannot be waited for any earlier, and counts.
async fn follow(viewer: &Viewer, folder: &str, sent: &Sent, from: Instant) -> Vec<Arrived> {
    let mut arrived = Vec::new();
    let mut frames = 0;
    for number in 0.. {
        let response = viewer.response(&format!("{folder}p{number}.m4s")).await;
        if response.status() != StatusCode::OK {
            break;
        }
        let Ok(part) = response.bytes().await else {
            break;
        };
        let at = Instant::now();
        frames += sample_count(&part);
        let last = sent
            .lock()
            .expect("no panic")
            .get(frames.saturating_sub(1))
            .copied();
        if let Some(last) = last.filter(|last| from < *last) {
            arrived.push(Arrived {
                number,
                at,
                late: at - last,
            });
        }
    }
    arrived
}

fn print(source: Source, preset: &str, renditions: &[(&str, Vec<Arrived>)], shed: f64) {
    let high = renditions
        .first()
        .map_or(&[][..], |(_, high)| high.as_slice());
    for (name, parts) in renditions {
        let [p50, p95] = quantiles(parts.iter().map(|part| ms(part.late)));
        let behind = parts.iter().filter_map(|part| {
            let same = high.iter().find(|high| high.number == part.number)?;
            // Where nothing is passed through, any rendition may be the first.
            let later = part.at.saturating_duration_since(same.at);
            Some(ms(later) - ms(same.at.saturating_duration_since(part.at)))
        });
        let [behind_p50, behind_p95] = quantiles(behind);
        println!(
            "| {source} | {preset} | {name} | {p50:.1} | {p95:.1} | {behind_p50:.1} | {behind_p95:.1} | {} | {shed:.0} |",
            parts.len()
        );
    }
}

/// Waits and work, in the order in which a picture meets them.
fn stages(source: Source, preset: &str, before: &Scrape, after: &Scrape) -> Vec<String> {
    const QUEUE: &str = "vitrine_transcode_queue_seconds";
    const WORK: &str = "vitrine_transcode_work_seconds";
    let row = |words: &str, histogram, stage: &str, rendition: Option<&str>| {
        let mut labels = vec![format!("stage=\"{stage}\"")];
        labels.extend(rendition.map(|rendition| format!("rendition=\"{rendition}\"")));
        let [p50, p95] =
            [0.5, 0.95].map(|of| 1000.0 * after.quantile(before, histogram, &labels, of));
        let rendition = rendition.unwrap_or("all");
        format!("| {source} | {preset} | {words} | {rendition} | {p50:.1} | {p95:.1} |")
    };
    let mut rows = vec![
        row("wait for the decoder", QUEUE, "decode", None),
        row("decode", WORK, "decode", Some("source")),
    ];
    let rungs = source.rungs().iter().map(|rung| rung.name);
    rows.extend({ rungs.clone() }.map(|name| row("scale", WORK, "scale", Some(name))));
    rows.push(row("wait for an encoder", QUEUE, "encode", None));
    rows.extend(rungs.map(|name| row("encode", WORK, "encode", Some(name))));
    rows
}

fn ms(length: Duration) -> f64 {
    length.as_secs_f64() * 1000.0
}

/// Median and 95th percentile; not numbers when there is nothing.
fn quantiles(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    [0.5, 0.95].map(|of| {
        let index = (of * values.len() as f64) as usize;
        values.get(index).copied().unwrap_or(f64::NAN)
    })
}
