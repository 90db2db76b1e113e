//! Ten thousand events while the publisher is cut again and again: what the daemon answered, what `events.placed` told,
//! what `timeline.json` lists and what boxes every downloaded part and segment of every rendition holds is the same.
//!
//! The ladder is on, so that there are renditions to disagree. An event that finds nobody publishing and no slate is refused
//! (409, Retry-After) and posted again. The control is the viewer itself, which checks every playlist it is served.

use std::{io, time::Duration};

use tokio::{task::JoinHandle, time::sleep};

use super::{ALLOWED, config, end, post, push_forever, until_live};
use crate::{
    boxes,
    daemon::Daemon,
    host::load_average,
    receiver::Receiver,
    shop::{Shop, confirmed, differences, timeline, until_confirmed},
    sources::Recipe,
    viewer::Viewer,
};

/// Enough for three renditions.
pub(super) const SOURCE: Recipe = Recipe {
    name: "events",
    container: "flv",
    video: "testsrc2=size=640x360:rate=30:duration=30",
    audio: "sine=frequency=440:sample_rate=48000:duration=30",
    codecs: "-c:v libx264 -preset veryfast -tune zerolatency -b:v 600k -maxrate 600k -bufsize 600k -g 30 -keyint_min 30 \
        -sc_threshold 0 -c:a aac -b:a 64k -ac 2",
};
const STREAM: &str = "shop";
/// How long a publisher stays.
const STAYS: Duration = Duration::from_secs(15);
/// How long it is away: at once again, before anybody notices, and long enough for a slate.
const AWAY: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(1_200),
    Duration::from_secs(5),
];
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Posts so many events at `rate` a second and compares.
pub(super) async fn run(events: u64, rate: u64) -> io::Result<()> {
    let file = tokio::task::spawn_blocking(|| SOURCE.file());
    let file = file.await.map_err(io::Error::other)?;
    let receiver = Receiver::willing().await;
    let config = config(&[STREAM.to_owned()]).ladder();
    let config = config.hook_endpoint(&receiver.url("/hooks"), SECRET);
    let daemon = Daemon::start(&config);
    let url = daemon.publish_url(&format!("key-of-{STREAM}"));
    let publisher: JoinHandle<()> = tokio::spawn(async move {
        for away in AWAY.iter().cycle() {
            let encoder = push_forever(&file, &url);
            sleep(STAYS).await;
            drop(encoder);
            sleep(*away).await;
        }
    });
    let (viewer, shop) = (Viewer::new(&daemon.url("")), Shop::of(&daemon, STREAM));
    until_live(&shop).await;
    let recording = {
        let viewer = viewer.clone();
        tokio::spawn(async move { viewer.record(STREAM).await })
    };

    let posted = post(std::slice::from_ref(&shop), 0, events, rate).await;
    // Until the last stands everywhere; rungs come after what is passed through.
    sleep(Duration::from_secs(5)).await;
    end(&daemon, STREAM).await?;
    publisher.abort();
    let recordings = recording.await.map_err(io::Error::other)?;
    until_confirmed(&receiver, STREAM, posted.answers.len()).await;

    let epoch = posted
        .answers
        .values()
        .next()
        .and_then(|answer| answer["epoch"].as_u64());
    let boxes = boxes::read(epoch.unwrap_or(0), &recordings);
    let (told, listed) = (
        confirmed(&receiver, STREAM),
        timeline(&viewer, STREAM).await,
    );
    let mut wrong = boxes::compare(&boxes);
    wrong.extend(differences(&posted.answers, &listed, &told, &boxes));
    let joins = recordings.values().next().map_or(0, |recording| {
        recording
            .segments
            .iter()
            .filter(|kept| kept.segment.discontinuity)
            .count()
    });
    println!(
        "\n{events} events, {rate}/s, {ALLOWED}; the publisher is cut every {STAYS:?} and away for {AWAY:?} in turns\n"
    );
    let names: Vec<_> = boxes.keys().map(|name| format!("in {name}")).collect();
    println!(
        "| answered | posted again | events.placed | timeline.json | {} | ranges | discontinuities | differences | load average | bar: 0 differences |",
        names.join(" | ")
    );
    println!("|{}", "-|".repeat(names.len() + 9));
    let counts: Vec<_> = boxes
        .values()
        .map(|carried| carried.cues.len().to_string())
        .collect();
    let ranges = recordings
        .values()
        .map(|recording| recording.ranges.len())
        .max();
    println!(
        "| {} | {} | {} | {} | {} | {} | {joins} | {} | {} | {} |",
        posted.answers.len(),
        posted.refused,
        told.len(),
        listed.len(),
        counts.join(" | "),
        ranges.unwrap_or(0),
        wrong.len(),
        load_average(),
        if wrong.is_empty() { "met" } else { "MISSED" },
    );
    for difference in wrong.iter().take(20) {
        println!("  {difference}");
    }
    Ok(())
}
