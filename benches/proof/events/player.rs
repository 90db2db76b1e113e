//! hls.js in Chromium that changes its level every three seconds, at the live edge and ten seconds behind: does it get each
//! event, once, at its picture?
//!
//! The broadcast carries the clocks of `conf/testcard.sh`: the number of each picture, and when it was made. The page
//! (`tests/proof/events.mjs`) reads both back, and notes where each cue stands and which picture is on screen when it
//! fires; an event says its media time, which is the number of a picture, and when it was posted. The control is what
//! hls.js itself delivers, as often as it does: what the player's library makes of it fires once.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{config, post, until_live};
use crate::{daemon::Daemon, host::load_average, shop::Shop, sources::Encoder};

const STREAM: &str = "shop";
/// Seconds between two changes of the level.
const SWITCH_SECONDS: u32 = 3;
/// Row name, and seconds behind the live edge; 0 is as near as hls.js goes.
const ROWS: [(&str, u32); 2] = [("at the live edge", 0), ("10 s behind", 10)];
/// Milliseconds of a part.
const PART_MS: f64 = 200.0;

/// Posts so many events at `rate` a second while each row's player plays.
pub(super) async fn run(events: u64, rate: u64) -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = pages(root)?;
    let config = config(&[STREAM.to_owned()])
        .ladder()
        .static_dir(folder.path());
    let daemon = Daemon::start(&config);
    let _card = Encoder::card(&daemon.publish_url(&format!("key-of-{STREAM}")));
    let shop = Shop::of(&daemon, STREAM);
    until_live(&shop).await;
    println!(
        "\n{events} events, {rate}/s, hls.js in Chromium, another level every {SWITCH_SECONDS} s, 640x360 at 30 fps in three renditions\n"
    );
    println!(
        "| player | events | lost | twice | delivered by hls.js | switches | stalls | cue to picture, p50 / p95 ms | fired to picture, p50 / p95 ms | posted to picture, p50 / p95 ms | load average | bar: none lost, none twice, p95 <= 1 part |"
    );
    println!("|-|-|-|-|-|-|-|-|-|-|-|-|");
    for (row, (name, behind)) in (0..).zip(ROWS) {
        let url = daemon.url("");
        let mut page = tokio::task::spawn_blocking(move || Page::open(&url, behind))
            .await
            .map_err(io::Error::other)??;
        let (from, to) = (row * events, (row + 1) * events);
        let posted = post(std::slice::from_ref(&shop), from, to, rate).await;
        let seen = tokio::task::spawn_blocking(move || page.close(from, to));
        let seen = seen.await.map_err(io::Error::other)??;
        print_row(name, posted.answers.len(), &seen);
    }
    Ok(())
}

fn print_row(name: &str, events: usize, seen: &Value) {
    let list = |name: &str| seen[name].as_array().map_or(0, Vec::len);
    let quantiles = |name: &str| (seen[name]["p50"].as_f64(), seen[name]["p95"].as_f64());
    let pair = |name: &str| match quantiles(name) {
        (Some(p50), Some(p95)) => format!("{p50:.0} / {p95:.0}"),
        _ => "none".to_owned(),
    };
    let within = |name: &str| quantiles(name).1.is_some_and(|p95| p95 <= PART_MS);
    let met = list("lost") == 0 && list("twice") == 0 && within("cue") && within("fired");
    let met = met && seen["fatal"].is_null();
    println!(
        "| {name} | {events} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        list("lost"),
        list("twice"),
        seen["delivered"],
        seen["switches"],
        seen["stalls"],
        pair("cue"),
        pair("fired"),
        pair("posted"),
        load_average(),
        if met { "met" } else { "MISSED" },
    );
    for what in ["lost", "twice", "fatal", "missing"] {
        if list(what) > 0 || seen[what].is_string() {
            println!("  {what}: {}", seen[what]);
        }
    }
}

/// A browser, driven by its script.
struct Page {
    child: Child,
}

impl Page {
    /// Opens a browser and returns once it plays. Blocking.
    fn open(url: &str, behind: u32) -> io::Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proof/events.mjs");
        let mut child = Command::new("node")
            .arg(script)
            .args([
                url,
                STREAM,
                &behind.to_string(),
                &SWITCH_SECONDS.to_string(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let first = read_line(&mut child)?;
        match first.trim() {
            "playing" => Ok(Self { child }),
            other => Err(io::Error::other(format!("the page says {other:?}"))),
        }
    }

    /// Tells which events were posted, and gets what was seen of them. Blocking.
    fn close(&mut self, from: u64, to: u64) -> io::Result<Value> {
        let mut stdin = self.child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(stdin, "{from} {to}")?;
        drop(stdin);
        let line = read_line(&mut self.child)?;
        self.child.wait()?;
        serde_json::from_str(&line).map_err(io::Error::other)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One line, and no byte more, of what it writes.
fn read_line(child: &mut Child) -> io::Result<String> {
    let mut line = String::new();
    let stdout = child.stdout.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
    // It writes the second line only when it was asked to.
    BufReader::new(stdout).read_line(&mut line)?;
    Ok(line)
}

/// hls.js, the library, and a page with nothing but a video.
fn pages(root: &Path) -> io::Result<TempDir> {
    let folder = TempDir::with_prefix("vitrine-events-")?;
    for file in ["hls.min.js", "vitrine-events.js"] {
        fs::copy(
            root.join("examples/player").join(file),
            folder.path().join(file),
        )?;
    }
    fs::write(
        folder.path().join("bare.html"),
        "<!doctype html><video muted autoplay playsinline></video><script src=\"hls.min.js\"></script>",
    )?;
    Ok(folder)
}
