//! The outage matrix: what hls.js in Chromium makes of a broadcast that breaks.
//!
//! Every row is a broadcast of its own, from a real ffmpeg through a [`Relay`] to one daemon; all players stand side by
//! side in one page, and all broadcasts break at once. The counter in the picture tells what was on screen when.
//! A row holds when no player had a fatal error, time only went forward, and the picture of the returned broadcast was on
//! screen within [`BACK_WITHIN_MS`] of its first byte at the daemon and stayed. That bound is the one place where a test
//! asserts a time: it is what broadcasters are promised.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde::Deserialize;
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
/// How long broadcasts are watched after their return: hls.js 1.7.4 that loaded a segment whole, and then seeks into it,
/// may wait for the end of that segment's parts, three target durations, before it goes on (`docs/outages.md`).
const WATCHED_AFTER: Duration = Duration::from_secs(12);
/// How often a row that was late is run again, alone: a busy machine is late now and then, a product that is late stays so.
const AGAIN: usize = 2;
/// Players side by side: two cores show as many without being late themselves.
const PLAYERS_AT_ONCE: usize = 3;
/// Of the pictures that [`WATCHED_AFTER`] holds (every second one is read), how many must be seen.
const FRAMES_AT_LEAST: usize = 40;
/// A pause that viewers see: longer than a picture of a slate stays. hls.js jumps over what it takes for a hole where a slate
/// begins in some 25 ms.
const STALL_MS: i64 = 250;
/// Of the pictures of a slate, five a second, how many must be seen in eight seconds.
const STILLS_AT_LEAST: usize = 25;
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
/// Large enough for a ladder.
const LADDER: Card = Card {
    name: "ladder",
    environment: &[("SECONDS_LONG", "95"), ("SIZE", "480x270")],
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
    /// The daemon, restarted by SIGTERM; it is the row's own.
    Daemon,
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

    /// Whether the returned broadcast cannot go on in the same epoch.
    fn new_epoch(&self) -> bool {
        self.before == SILENT || self.after == WITHOUT_SOUND
    }

    /// Whether the last picture goes on meanwhile, encoded.
    fn bridged(&self) -> bool {
        self.before == LADDER
    }

    /// Whether the picture must be back in time: not where it never left, and not for hls.js on its own defaults, which
    /// looks for the end of a gap once a second.
    fn bounded(&self) -> bool {
        !matches!(self.breaks, Break::Microphone) && self.player != Player::Defaults
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
    row("restart", Break::Daemon, 1, SAME),
    row("microphone", Break::Microphone, 0, FIRST),
    row("camera", Break::Camera, 0, FIRST),
    row("camera-page", Break::Camera, 0, FIRST).page(),
];

/// A broadcast with a ladder.
#[cfg(feature = "transcode")]
const BRIDGED: Row = row("slate", Break::Kill, 8, LARGER).before(LADDER);

/// A broadcast that is back.
struct Returned {
    row: Row,
    /// When its first media reached the daemon, milliseconds since 1970.
    at_ms: i64,
    /// Its first picture.
    frame: i64,
    _encoder: Encoder,
    _relay: Relay,
    _daemon: Option<Daemon>,
}

async fn broadcast(
    row: Row,
    rtmp: SocketAddr,
    mut own: Option<(Daemon, Config)>,
    mut playing: watch::Receiver<bool>,
) -> Returned {
    let relay = Relay::start(rtmp).await;
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
        Break::Cable(_) | Break::Kill | Break::Daemon => {
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
            if let Some((daemon, config)) = own.take() {
                let restarted = spawn_blocking(move || {
                    let daemon = daemon.stop().restart(&config);
                    (daemon, config)
                });
                own = Some(restarted.await.expect("it starts again"));
            }
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
        _daemon: own.map(|(daemon, _)| daemon),
    }
}

fn push(row: Row, url: &str) -> Encoder {
    let lost = match row.breaks {
        Break::Microphone => "-bsf:a",
        Break::Camera => "-bsf:v",
        Break::Cable(_) | Break::Kill | Break::Daemon => {
            return Encoder::ffmpeg(&row.before.path(), url);
        }
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
    for card in [FIRST, SILENT, SAME, LARGER, SLOWER, WITHOUT_SOUND] {
        card.make();
    }
    // OUTAGES=pull,camera: only those, to look closer.
    let wanted = std::env::var("OUTAGES").unwrap_or_default();
    let mut rows = ROWS.to_vec();
    rows.retain(|row| wanted.is_empty() || wanted.split(',').any(|name| name == row.name));
    let mut late = Vec::new();
    for rows in rows.chunks(PLAYERS_AT_ONCE) {
        late.extend(run(rows).await);
    }
    for _ in 0..AGAIN {
        if late.is_empty() {
            break;
        }
        println!("again: {late:?}");
        for row in std::mem::take(&mut late) {
            late.extend(run(&[row]).await);
        }
    }
    assert!(late.is_empty(), "later than {BACK_WITHIN_MS} ms: {late:?}");
}

#[cfg(feature = "transcode")]
#[tokio::test(flavor = "multi_thread")]
async fn hls_js_plays_on_through_an_outage_where_there_is_a_ladder() {
    fs::create_dir_all(folder()).expect("a folder");
    for card in [LADDER, LARGER] {
        card.make();
    }
    for _ in 0..=AGAIN {
        let _turn = crate::ladder::TURN.acquire().await.expect("never closed");
        if run(&[BRIDGED]).await.is_empty() {
            return;
        }
    }
    panic!("it stalls, or its picture is late: {}", folder().display());
}

/// Breaks every row; answers those that came back late, and panics where another promise was broken.
async fn run(rows: &[Row]) -> Vec<Row> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config = Config::new()
        .static_dir(root.join("examples/player"))
        .log("info");
    for row in rows {
        config = config.key(&format!("key-{}", row.name), row.name);
    }
    if rows.iter().any(Row::bridged) {
        config = config.ladder();
    }
    let daemon = Daemon::start(&config);
    let mut own: Vec<Option<Daemon>> = rows
        .iter()
        .map(|row| matches!(row.breaks, Break::Daemon).then(|| Daemon::start(&config)))
        .collect();
    let servers: Vec<String> = own
        .iter()
        .map(|own| own.as_ref().unwrap_or(&daemon).url(""))
        .collect();
    let (playing, watch) = watch::channel(false);
    let mut broadcasts = tokio::task::JoinSet::new();
    for (row, own) in rows.iter().zip(&mut own) {
        let own = own.take().map(|own| (own, config.clone()));
        let rtmp = own.as_ref().map_or(&daemon, |(own, _)| own).address("rtmp");
        broadcasts.spawn(broadcast(*row, rtmp, own, watch.clone()));
    }
    for (row, server) in rows.iter().zip(&servers) {
        Viewer::new(server).multivariant(row.name).await;
    }
    let players = Players::start(&daemon.url(""), rows, &servers).await;
    playing.send_replace(true);
    let returned = broadcasts.join_all().await;
    let last_ms = returned.iter().map(|returned| returned.at_ms).max();
    let since = wall_ms() - last_ms.expect("there are rows");
    sleep(WATCHED_AFTER.saturating_sub(Duration::from_millis(since.unsigned_abs()))).await;
    let report = players.report().await;

    let (mut late, mut broken) = (Vec::new(), Vec::new());
    println!("| outage | player | picture back after |\n|-|-|-|");
    for Returned {
        row, at_ms, frame, ..
    } in &returned
    {
        let seen = report.iter().find(|seen| seen.name == row.name);
        let seen = seen.expect("one for each row");
        let back_ms = seen.back_ms(*at_ms, *frame);
        println!("| {} | {:?} | {back_ms:?} ms |", row.name, row.player);
        broken.extend(seen.broken(*row, *at_ms, *frame));
        let stalls = seen.stalls(at_ms - row.away.as_millis() as i64);
        if row.bridged() && stalls > 0 {
            println!("{}: {stalls} stalls", row.name);
            late.push(*row);
        } else if row.bounded() && back_ms.is_none_or(|ms| ms > BACK_WITHIN_MS) {
            late.push(*row);
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    late
}

/// Chromium with all players.
struct Players {
    node: Child,
    report: PathBuf,
}

impl Players {
    /// All of them show pictures.
    async fn start(server: &str, rows: &[Row], servers: &[String]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let report = folder().join("report.json");
        let mut node = Command::new("node")
            .arg(root.join("tests/browser/outage.mjs"))
            .arg(server)
            .args([&report, &folder().join("screenshot.png")])
            .args(rows.iter().zip(servers).map(|(row, server)| {
                let page = match row.player {
                    Player::HlsJs => "bare?",
                    Player::Defaults => "bare?defaults&",
                    Player::Page => "?muted&",
                };
                format!("{0}=/{page}src={server}/live/{0}/index.m3u8", row.name)
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
    async fn report(mut self) -> Vec<Seen> {
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

/// What one player showed, as tests/browser/outage.mjs writes it.
#[derive(Clone, Debug, Deserialize)]
struct Seen {
    name: String,
    /// Wall clock in milliseconds, media time and current time in seconds, number of the frame if it could be read.
    shown: Vec<(i64, f64, f64, Option<i64>)>,
    /// Wall clock in milliseconds, current time, bytes of sound decoded, buffered ranges.
    ticks: Vec<(i64, f64, i64, Value)>,
    /// Wall clock in milliseconds, event of the video element, current time.
    events: Vec<(i64, String, f64)>,
    errors: Vec<Value>,
}

impl Seen {
    /// How often the player had to wait for media for longer than [`STALL_MS`], an outage and all that came after it long.
    fn stalls(&self, from_ms: i64) -> usize {
        let waits = |event: &&(i64, String, f64)| event.0 >= from_ms && event.1 == "waiting";
        let plays = |at_ms| {
            let mut later = self.events.iter().filter(move |event| event.0 >= at_ms);
            later.find(|event| event.1 == "playing")
        };
        let waits = self.events.iter().filter(waits);
        let long = waits.filter(|wait| plays(wait.0).is_none_or(|it| it.0 > wait.0 + STALL_MS));
        long.count()
    }

    /// How long after `at_ms` frame `frame` or a later one was on screen.
    fn back_ms(&self, at_ms: i64, frame: i64) -> Option<i64> {
        let first = self.shown.iter().find(|shown| shown.3 >= Some(frame))?;
        Some(first.0 - at_ms)
    }

    /// The promises to the viewers of `row` that were broken, time apart.
    fn broken(&self, row: Row, at_ms: i64, frame: i64) -> Vec<String> {
        let forward = |row: &[f64]| row.windows(2).all(|pair| pair[0] <= pair[1]);
        let numbers: Vec<f64> = self
            .shown
            .iter()
            .filter_map(|shown| Some(shown.3? as f64))
            .collect();
        let times: Vec<f64> = self.shown.iter().map(|shown| shown.2).collect();
        let frames = |from: i64, until: i64, least: Option<i64>| {
            self.shown
                .iter()
                .filter(|shown| (from..until).contains(&shown.0) && shown.3 >= least)
                .count()
        };
        let hole_ms = at_ms - (HOLE.1 - HOLE.0) * 1_000;
        let sound = |from: i64, until: i64| {
            let ticks = self
                .ticks
                .iter()
                .filter(|tick| (from..until).contains(&tick.0));
            let bytes: Vec<i64> = ticks.map(|tick| tick.2).collect();
            bytes.last() > bytes.first()
        };
        let microphone = matches!(row.breaks, Break::Microphone);
        let after = if microphone { None } else { Some(frame) };
        let promises = [
            (
                "no fatal error",
                !self.errors.iter().any(|error| error["fatal"] == true),
            ),
            ("pictures never go back", forward(&numbers)),
            ("time never goes back", row.new_epoch() || forward(&times)),
            (
                "the last picture is shown again and again",
                !row.bridged()
                    || frames(at_ms - row.away.as_millis() as i64, at_ms, None) >= STILLS_AT_LEAST,
            ),
            (
                "pictures go on",
                frames(at_ms, i64::MAX, after) >= FRAMES_AT_LEAST,
            ),
            (
                "sound goes on",
                row.after == WITHOUT_SOUND || sound(at_ms, i64::MAX),
            ),
            (
                "pictures outlive the microphone",
                !microphone || frames(hole_ms, at_ms, None) >= FRAMES_AT_LEAST,
            ),
            (
                "silence stands in for it",
                !microphone || sound(hole_ms + 5_000, at_ms),
            ),
        ];
        let broken = promises.into_iter().filter(|(_, kept)| !kept);
        broken
            .map(|(promise, _)| format!("{}: {promise}", row.name))
            .collect()
    }
}

#[test]
fn the_verdict_can_be_against() {
    let at_ms = 100_000;
    let shown = |i: i64| {
        (
            at_ms - 5_000 + i * 100,
            i as f64 / 10.0,
            i as f64 / 10.0,
            Some(RETURNED - 56 + i),
        )
    };
    let good = Seen {
        name: ROWS[0].name.to_owned(),
        shown: (0..150).map(shown).collect(),
        ticks: (0..150)
            .map(|i| (at_ms - 5_000 + i * 100, 0.0, i * 1_000, Value::Null))
            .collect(),
        events: vec![(at_ms, "waiting".to_owned(), 5.0)],
        errors: vec![serde_json::json!({ "details": "fragGap", "fatal": false })],
    };
    assert_eq!(good.broken(ROWS[0], at_ms, RETURNED), Vec::<String>::new());
    assert_eq!(good.back_ms(at_ms, RETURNED), Some(600));
    assert_eq!((good.stalls(at_ms), good.stalls(at_ms + 1)), (1, 0));
    let play = |after_ms| {
        let mut seen = good.clone();
        let played = (at_ms + after_ms, "playing".to_owned(), 5.0);
        seen.events.push(played);
        seen.stalls(at_ms)
    };
    assert_eq!((play(STALL_MS), play(STALL_MS + 1)), (0, 1));
    let bad: [fn(&mut Seen); 5] = [
        |seen| seen.errors[0]["fatal"] = true.into(),
        |seen| seen.shown[80].3 = Some(RETURNED + 50),
        |seen| seen.shown[80].2 = 30.0,
        |seen| seen.shown.truncate(60),
        |seen| seen.ticks.truncate(40),
    ];
    for (index, spoil) in bad.iter().enumerate() {
        let mut seen = good.clone();
        spoil(&mut seen);
        let broken = seen.broken(ROWS[0], at_ms, RETURNED);
        assert_eq!(broken.len(), 1, "case {index}: {broken:?}");
    }
}
