//! What an event costs: bytes in every rendition that carries it, and CPU of the daemon from the post to the box.
//!
//! In turns on one stream that one viewer downloads: nothing but the broadcast, the clock asked for as often as events would
//! be posted, and events. The difference between the first and the last is what events cost with all that is around
//! them; the clock's turn tells how much of that is HTTP. One in a second is a range, which playlists list as well.

use std::{collections::BTreeMap, io, time::Duration};

use tokio::time::sleep;

use super::{answers::clocks, config, end, post, push_forever, until_live};
use crate::{
    boxes,
    daemon::Daemon,
    host::Usage,
    shop::Shop,
    sources,
    table::{Table, bar},
    viewer::Viewer,
};

const STREAM: &str = "shop";
/// Milliseconds of CPU that an event may take: fifty a second, the most a stream has by itself, are a twentieth of a core.
const CPU_MS_MAX: f64 = 1.0;
/// Bytes around the JSON text of an event: box, scheme, tag and frame.
const WRAPPING_BYTES_MAX: f64 = 128.0;

/// So many turns of each, of so many seconds.
pub(super) async fn run(runs: u64, seconds: u64, rate: u64) -> io::Result<()> {
    let daemon = Daemon::start(&config(&[STREAM.to_owned()]));
    let file = tokio::task::spawn_blocking(|| sources::LONG.file());
    let file = file.await.map_err(io::Error::other)?;
    let encoder = push_forever(&file, &daemon.publish_url(&format!("key-of-{STREAM}")));
    let (viewer, shop) = (Viewer::new(&daemon.url("")), Shop::of(&daemon, STREAM));
    until_live(&shop).await;
    let recording = {
        let viewer = viewer.clone();
        tokio::spawn(async move { viewer.record(STREAM).await })
    };
    let cpu_ms = || Usage::of(daemon.pid()).cpu.as_secs_f64() * 1000.0;
    let count = seconds * rate;
    let mut table = Table::default();
    let mut answers = BTreeMap::new();
    for run in 0..runs {
        let before = cpu_ms();
        sleep(Duration::from_secs(seconds)).await;
        let nothing = cpu_ms() - before;
        table.note(NOTHING, &[nothing / seconds as f64, 0.0]);
        let before = cpu_ms();
        clocks(std::slice::from_ref(&shop), count, rate).await;
        let asked = cpu_ms() - before;
        table.note(
            CLOCK,
            &[asked / seconds as f64, (asked - nothing) / count as f64],
        );
        let before = cpu_ms();
        let posted = post(
            std::slice::from_ref(&shop),
            run * count,
            (run + 1) * count,
            rate,
        )
        .await;
        let placed = cpu_ms() - before;
        answers.extend(posted.answers);
        table.note(
            EVENT,
            &[placed / seconds as f64, (placed - nothing) / count as f64],
        );
    }
    sleep(Duration::from_secs(1)).await;
    end(&daemon, STREAM).await?;
    drop(encoder);
    let recordings = recording.await.map_err(io::Error::other)?;
    let title = format!(
        "The daemon's CPU with one stream and one viewer, {rate} events a second, {seconds} s each"
    );
    table.print(&title, &[("ms per second", 2), ("ms per event", 3)]);
    bar("CPU per event, in ms", table.median(EVENT, 1), CPU_MS_MAX);
    let epoch = answers
        .values()
        .next()
        .and_then(|answer: &serde_json::Value| answer["epoch"].as_u64());
    let boxes = boxes::read(epoch.unwrap_or(0), &recordings);
    print_bytes(&boxes, rate);
    Ok(())
}

const NOTHING: &str = "control: no event";
const CLOCK: &str = "control: GET clock";
const EVENT: &str = "events";

fn print_bytes(boxes: &boxes::Renditions, rate: u64) {
    println!("\nBytes per event in the stream\n");
    println!("| rendition | events | bytes of its box | of which JSON | kbit/s at {rate}/s |");
    println!("|-|-|-|-|-|");
    let mut wrapping: f64 = 0.0;
    for (name, carried) in boxes {
        let events = carried.cues.len();
        let each = |bytes: usize| {
            if events == 0 {
                0.0
            } else {
                bytes as f64 / events as f64
            }
        };
        let json = carried
            .cues
            .values()
            .map(|cue| cue.value.to_string().len())
            .sum();
        let (box_bytes, json_bytes) = (each(carried.bytes()), each(json));
        wrapping = wrapping.max(box_bytes - json_bytes);
        let kbits = box_bytes * 8.0 * rate as f64 / 1000.0;
        println!("| {name} | {events} | {box_bytes:.1} | {json_bytes:.1} | {kbits:.1} |");
    }
    bar("bytes around the JSON text", wrapping, WRAPPING_BYTES_MAX);
}
