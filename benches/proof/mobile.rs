//! A telephone's network: hls.js in Chromium over TLS and HTTP/2, through a link of 3 Mb/s with a round trip of 80 +- 30 ms
//! that freezes for half a second once a minute ([`crate::link`]).
//!
//! The broadcast carries the clock of `conf/testcard.sh`, read back in the page (`tests/proof/mobile.mjs`), so latency is
//! glass to glass. Every row has a browser, a link and ten minutes of its own, one after the other. Stalls count from the
//! first picture on; latency once the player has settled. Every request must have gone over HTTP/2, or there is no row.
//! The control is the example player on the same daemon without the link.
//! `cargo bench --bench proof -- mobile [minutes] [row]`; the bar (no stall in ten minutes) is judged here.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    daemon::{Config, Daemon},
    host::load_average,
    link::{Link, MOBILE},
    sources::Encoder,
};

/// Minutes per row unless told otherwise.
const MINUTES: f64 = 10.0;
/// Before latency counts: catching up and learning take less.
const SETTLE_SECONDS: f64 = 30.0;
/// What fits 3 Mb/s with its audio, its playlists and room to catch up: the pictures' bits per second.
const VIDEO_BITRATE: &str = "1200k";
const SIZE: &str = "960x540";
/// Three round trips and more: hls.js asks for one part after the other, so each costs a round trip beside its bytes.
const PART: &str = "333ms";

/// Row name, argument of the page's script, and whether the link stands between.
const ROWS: [(&str, &str, bool); 4] = [
    (
        "control: the example player, no link between",
        "page",
        false,
    ),
    ("hls.js alone, `lowLatencyMode`", "default", true),
    ("hls.js alone, the setting for phones", "phones", true),
    ("the example player", "page", true),
];

/// Runs the rows, or the one whose number is the second argument.
///
/// # Errors
/// Those of the page's script, which must have written why.
pub(crate) async fn run(arguments: &[String]) -> io::Result<()> {
    let minutes = arguments.first().and_then(|minutes| minutes.parse().ok());
    let seconds = minutes.unwrap_or(MINUTES) * 60.0;
    let only: Option<usize> = arguments.get(1).and_then(|row| row.parse().ok());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = pages(root)?;
    let config = Config::new().key("mobile-key", "card").tls();
    let config = config.hls(&format!("part = {PART:?}"));
    let daemon = Daemon::start(&config.static_dir(folder.path()).log("warn"));
    let card = root.join("conf/testcard.sh");
    let _encoder = Encoder::start(
        Command::new(card)
            .env("SIZE", SIZE)
            .env("BITRATE", VIDEO_BITRATE)
            .args(["-f", "flv", &daemon.publish_url("mobile-key")]),
    );
    println!(
        "\n{SIZE} at 30 fps, {VIDEO_BITRATE}b/s and 128 kb/s of sound, GOP 1 s, parts of {PART}; {MOBILE:?}"
    );
    println!("{seconds} s per row, load average {}\n", load_average());
    println!(
        "| player | p50 ms | p95 ms | max ms | stalls | stalled ms | goal ms | load average | bar: no stall |"
    );
    println!("|-|-|-|-|-|-|-|-|-|");
    let https = daemon.address("https");
    for (number, (name, player, narrow)) in ROWS.into_iter().enumerate() {
        if only.is_none_or(|only| only == number) {
            row(root, https, name, player, narrow, seconds).await?;
        }
    }
    Ok(())
}

/// One browser, one link, one line of the table.
async fn row(
    root: &Path,
    https: SocketAddr,
    name: &str,
    player: &str,
    narrow: bool,
    seconds: f64,
) -> io::Result<()> {
    let link = Link::open(MOBILE, https).await?;
    let address = if narrow { link.address } else { https };
    let mut node = Command::new("node");
    node.arg(root.join("tests/proof/mobile.mjs"))
        .args([&format!("https://{address}"), player])
        .args([SETTLE_SECONDS.to_string(), seconds.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = tokio::task::spawn_blocking(move || node.output());
    let output = output.await.expect("it does not panic")?;
    let seen: Value = serde_json::from_slice(&output.stdout).map_err(io::Error::other)?;
    let [p50, p95, max, stalls, stalled, goal] =
        ["p50", "p95", "max", "stalls", "stalledMs", "goalMs"].map(|name| &seen[name]);
    let verdict = match (stalls.as_u64(), &seen["fatal"]) {
        (Some(0), Value::Null) => "met",
        _ => "missed",
    };
    let load = load_average();
    println!(
        "| {name} | {p50} | {p95} | {max} | {stalls} | {stalled} | {goal} | {load} | {verdict} |"
    );
    Ok(())
}

/// The player page, and beside it one without a player.
fn pages(root: &Path) -> io::Result<TempDir> {
    let folder = TempDir::with_prefix("vitrine-mobile-")?;
    let files = fs::read_dir(root.join("examples/player"))?;
    let files: io::Result<Vec<PathBuf>> = files.map(|entry| Ok(entry?.path())).collect();
    for file in files?.iter().filter(|file| file.is_file()) {
        fs::copy(
            file,
            folder.path().join(file.file_name().unwrap_or_default()),
        )?;
    }
    fs::write(
        folder.path().join("bare.html"),
        "<!doctype html><video muted autoplay playsinline></video><script src=\"hls.min.js\"></script>",
    )?;
    Ok(folder)
}
