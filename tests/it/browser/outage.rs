//! The outage matrix (design.md 7, Starvation and grace): what hls.js in Chromium makes of a broadcast that breaks.
//!
//! Every row is a broadcast of its own, from a real ffmpeg through a [`Relay`] to one daemon; all players stand side by
//! side in one page, and all broadcasts break at once. The counter in the picture tells what was on screen when.
//! A row holds when no player had a fatal error, time only went forward, and the picture of the returned broadcast was on
//! screen within [`BACK_WITHIN_MS`] of its first byte at the daemon and stayed. That bound is the one place where a test
//! asserts a time: it is what broadcasters are promised.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::{sync::watch, task::spawn_blocking, time::sleep};

use super::relay::{Cut, Relay, wall_ms};
use crate::{
    daemon::{Config, Daemon},
    sources::{Encoder, ffmpeg},
    viewer::Viewer,
};

/// From the first media of a returned broadcast to its first picture on screen.
const BACK_WITHIN_MS: i64 = 2_000;
/// How long broadcasts are watched after their return.
const WATCHED_AFTER: Duration = Duration::from_secs(8);
/// Of the pictures that [`WATCHED_AFTER`] has beyond [`BACK_WITHIN_MS`], how many must be seen.
const FRAMES_AT_LEAST: usize = 60;
/// Number of the first frame of a broadcast that returns.
const RETURNED: i64 = 1_000_000;
/// Where a microphone or camera fails in a broadcast that goes on, seconds.
const HOLE: (i64, i64) = (40, 70);

/// A broadcast file: the test card, made once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Card {
    name: &'static str,
    environment: &'static [(&'static str, &'static str)],
}

const FIRST: Card = Card {
    name: "first",
    environment: &[("SECONDS_LONG", "95")],
};
const SILENT: Card = Card {
    name: "silent",
    environment: &[("SECONDS_LONG", "95"), ("TRACKS", "v")],
};
const SAME: Card = Card {
    name: "same",
    environment: &[("FIRST", "1000000")],
};
const LARGER: Card = Card {
    name: "larger",
    environment: &[("FIRST", "1000000"), ("SIZE", "480x270")],
};
const SLOWER: Card = Card {
    name: "slower",
    environment: &[("FIRST", "1000000"), ("RATE", "25"), ("GOP", "25")],
};
const WITHOUT_SOUND: Card = Card {
    name: "without-sound",
    environment: &[("FIRST", "1000000"), ("TRACKS", "v")],
};

impl Card {
    fn path(&self) -> PathBuf {
        folder().join(format!("{}.flv", self.name))
    }

    /// Makes the file. Blocking.
    fn make(&self) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = Command::new(root.join("conf/testcard.sh"))
            .env("SIZE", "320x180")
            .env("BITRATE", "200k")
            .env("PRESET", "ultrafast")
            .env("PACE", "free")
            .env("SECONDS_LONG", "40")
            .envs(self.environment.iter().copied())
            .arg("-y")
            .arg(self.path())
            .output()
            .expect("the test card runs");
        assert!(output.status.success(), "{self:?}: {output:?}");
    }
}

/// What breaks.
#[derive(Clone, Copy, Debug)]
enum Break {
    /// The cable between encoder and daemon.
    Cable(Cut),
    /// The encoder, killed.
    Kill,
    /// The microphone: pictures go on.
    Microphone,
    /// The camera: sound goes on.
    Camera,
}

/// What plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Player {
    /// hls.js as the README sets it, and nothing else.
    HlsJs,
    /// hls.js on its own defaults.
    Defaults,
    /// The example player.
    Page,
}

/// One broadcast.
#[derive(Clone, Copy, Debug)]
struct Row {
    name: &'static str,
    breaks: Break,
    away: Duration,
    before: Card,
    after: Card,
    /// Who watches.
    player: Player,
}

const fn row(name: &'static str, breaks: Break, away_s: u64, after: Card) -> Row {
    Row {
        name,
        breaks,
        away: Duration::from_secs(away_s),
        before: FIRST,
        after,
        player: Player::HlsJs,
    }
}

impl Row {
    const fn before(self, before: Card) -> Self {
        Self { before, ..self }
    }

    const fn defaults(self) -> Self {
        Self {
            player: Player::Defaults,
            ..self
        }
    }

    const fn page(self) -> Self {
        Self {
            player: Player::Page,
            ..self
        }
    }
}

const ROWS: &[Row] = &[
    row("pull", Break::Cable(Cut::Silence), 20, SAME),
    row("pull-defaults", Break::Cable(Cut::Silence), 20, SAME).defaults(),
    row("pull-page", Break::Cable(Cut::Silence), 20, SAME).page(),
    row("takeover", Break::Cable(Cut::Silence), 8, SAME),
    row("reset", Break::Cable(Cut::Reset), 20, SAME),
    row("kill", Break::Kill, 20, SAME),
    row("resolution", Break::Kill, 5, LARGER),
    row("frame-rate", Break::Kill, 5, SLOWER),
    row("frame-rate-page", Break::Kill, 5, SLOWER).page(),
    row("sound-lost", Break::Kill, 5, WITHOUT_SOUND).page(),
    row("sound-won", Break::Kill, 5, SAME).before(SILENT).page(),
    row("microphone", Break::Microphone, 0, FIRST),
    row("camera", Break::Camera, 0, FIRST),
    row("camera-page", Break::Camera, 0, FIRST).page(),
];

/// A broadcast that is back.
struct Returned {
    row: Row,
    /// When its first media reached the daemon, milliseconds since 1970.
    at_ms: i64,
    /// Its first picture.
    frame: i64,
    _encoder: Encoder,
    _relay: Relay,
}

async fn broadcast(
    row: Row,
    daemon: std::net::SocketAddr,
    mut playing: watch::Receiver<bool>,
) -> Returned {
    let relay = Relay::start(daemon).await;
    let url = relay.publish_url(&format!("key-{}", row.name));
    let encoder = push(row, &url);
    let began_ms = relay.media_began(0).await;
    playing
        .wait_for(|playing| *playing)
        .await
        .expect("the players begin");
    let (at_ms, frame, encoder) = match row.breaks {
        Break::Microphone | Break::Camera => {
            let back_ms = began_ms + HOLE.1 * 1_000;
            assert!(
                began_ms + HOLE.0 * 1_000 > wall_ms(),
                "the players began too late"
            );
            sleep(Duration::from_millis((back_ms - wall_ms()) as u64)).await;
            (back_ms, HOLE.1 * 30, encoder)
        }
        Break::Cable(_) | Break::Kill => {
            let encoder = match row.breaks {
                Break::Cable(cut) => {
                    relay.cut(cut);
                    Some(encoder)
                }
                _ => {
                    drop(encoder);
                    None
                }
            };
            sleep(row.away).await;
            drop(encoder);
            let encoder = Encoder::ffmpeg(&row.after.path(), &url);
            (relay.media_began(1).await, RETURNED, encoder)
        }
    };
    Returned {
        row,
        at_ms,
        frame,
        _encoder: encoder,
        _relay: relay,
    }
}

fn push(row: Row, url: &str) -> Encoder {
    let lost = match row.breaks {
        Break::Microphone => "-bsf:a",
        Break::Camera => "-bsf:v",
        Break::Cable(_) | Break::Kill => return Encoder::ffmpeg(&row.before.path(), url),
    };
    let (from, until) = HOLE;
    let drop = format!("noise=drop=gte(pts*tb\\,{from})*lt(pts*tb\\,{until})");
    // The muxer would wait ten seconds for the track that fails.
    let input = ["-re", "-i"];
    let output = [
        "-c",
        "copy",
        "-max_interleave_delta",
        "1",
        lost,
        &drop,
        "-f",
        "flv",
        url,
    ];
    Encoder::start(ffmpeg().args(input).arg(row.before.path()).args(output))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("outage")
}

#[tokio::test(flavor = "multi_thread")]
async fn hls_js_survives_every_outage() {
    fs::create_dir_all(folder()).expect("a folder");
    let wanted = std::env::var("ROWS").unwrap_or_default();
    let rows: Vec<Row> = ROWS
        .iter()
        .copied()
        .filter(|row| wanted.is_empty() || wanted.split(',').any(|name| name == row.name))
        .collect();
    for card in [FIRST, SILENT, SAME, LARGER, SLOWER, WITHOUT_SOUND] {
        card.make();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config = Config::new()
        .static_dir(root.join("examples/player"))
        .publish("grace = \"30s\"");
    for row in &rows {
        config = config.key(&format!("key-{}", row.name), row.name);
    }
    let daemon = Daemon::start(&config);
    let (playing, watch) = watch::channel(false);
    let mut broadcasts = tokio::task::JoinSet::new();
    for row in &rows {
        broadcasts.spawn(broadcast(*row, daemon.address("rtmp"), watch.clone()));
    }
    for row in &rows {
        Viewer::new(&daemon.url("")).multivariant(row.name).await;
    }
    let players = Players::start(&daemon.url(""), &rows).await;
    playing.send_replace(true);
    let returned = broadcasts.join_all().await;
    let last_ms = returned
        .iter()
        .map(|returned| returned.at_ms)
        .max()
        .expect("rows");
    sleep(WATCHED_AFTER - Duration::from_millis((wall_ms() - last_ms) as u64)).await;
    let report = players.report().await;
    let broken: Vec<String> = returned
        .iter()
        .filter_map(|returned| {
            let seen = report
                .iter()
                .find(|seen| seen["name"] == returned.row.name)
                .expect("one per row");
            verdict(returned.row, returned.at_ms, returned.frame, seen)
        })
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Chromium with all players.
struct Players {
    node: Child,
    report: PathBuf,
}

impl Players {
    /// All of them show pictures.
    async fn start(server: &str, rows: &[Row]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let report = folder().join("report.json");
        let mut node = Command::new("node")
            .arg(root.join("tests/browser/outage.mjs"))
            .arg(server)
            .args([&report, &folder().join("screenshot.png")])
            .args(rows.iter().map(|row| {
                let path = match row.player {
                    Player::HlsJs => "bare?",
                    Player::Defaults => "bare?defaults&",
                    Player::Page => "?",
                };
                format!("{0}=/{path}stream={0}&muted", row.name)
            }))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node runs");
        let said = BufReader::new(node.stdout.take().expect("piped"));
        let players = Self { node, report };
        let line = spawn_blocking(move || said.lines().next());
        let line = line.await.expect("it reads");
        assert!(
            matches!(line, Some(Ok(line)) if line == "playing"),
            "a player did not begin: {}",
            players.report.display()
        );
        players
    }

    /// What each has shown up to now.
    async fn report(mut self) -> Vec<Value> {
        spawn_blocking(move || {
            drop(self.node.stdin.take());
            assert!(self.node.wait().expect("our own child").success());
            let text = fs::read_to_string(&self.report).expect("written");
            serde_json::from_str(&text).expect("JSON")
        })
        .await
        .expect("written")
    }
}

impl Drop for Players {
    fn drop(&mut self) {
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}

/// What a row owes its viewers, and did not give them.
fn verdict(row: Row, at_ms: i64, frame: i64, seen: &Value) -> Option<String> {
    let shown: Vec<(i64, f64, f64, Option<i64>)> =
        serde_json::from_value(seen["shown"].clone()).expect("frames");
    let first = shown
        .iter()
        .find(|shown| shown.3.is_some_and(|number| number >= frame));
    let back_ms = first.map(|first| first.0 - at_ms);
    let after = shown
        .iter()
        .filter(|shown| {
            shown.0 > at_ms + BACK_WITHIN_MS && shown.3.is_some_and(|number| number >= frame)
        })
        .count();
    let fatal: Vec<&Value> = seen["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .filter(|error| error["fatal"] == true)
        .collect();
    let mut backward = 0;
    let numbers: Vec<i64> = shown.iter().filter_map(|shown| shown.3).collect();
    for pair in numbers.windows(2) {
        if pair[1] < pair[0] {
            backward += 1;
        }
    }
    let sound = |from: i64, to: i64| {
        let ticks = seen["ticks"].as_array().expect("ticks");
        let bytes: Vec<i64> = ticks
            .iter()
            .filter(|tick| (from..to).contains(&tick[0].as_i64().unwrap()))
            .map(|tick| tick[2].as_i64().unwrap_or(-1))
            .collect();
        bytes.last().copied().unwrap_or(0) - bytes.first().copied().unwrap_or(0)
    };
    let freeze = shown.windows(2).map(|pair| pair[1].0 - pair[0].0).max();
    let details: std::collections::BTreeMap<String, usize> = seen["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .fold(Default::default(), |mut map, error| {
            *map.entry(error["details"].as_str().unwrap_or("?").to_owned())
                .or_default() += 1;
            map
        });
    println!(
        "{:16} back {back_ms:?} ms, {after} after, backward {backward}, longest freeze {freeze:?}, sound during {} after {}, {details:?} fatal {fatal:?}",
        row.name,
        sound(at_ms - 10000, at_ms),
        sound(at_ms + BACK_WITHIN_MS, at_ms + 100_000)
    );
    let good = back_ms.is_some_and(|ms| ms <= BACK_WITHIN_MS)
        && fatal.is_empty()
        && backward == 0
        && after >= FRAMES_AT_LEAST;
    (!good).then(|| row.name.to_owned())
}
