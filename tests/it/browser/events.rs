//! Events in players: each fires once, on the picture where it was placed, whichever player brings it and whatever its viewer
//! does meanwhile.
//!
//! Four players in one Chromium watch an encoded broadcast, each with `examples/player/vitrine-events.js`
//! (`tests/browser/events.mjs`): the example player, whose level changes every three seconds and whose viewer goes back ten
//! seconds; hls.js again, heard by its cues alone; Shaka Player; video.js. The clock of the test card tells which picture was
//! on screen when an event fired. How late one is on a busy machine is not asserted, but that it is never early, and that the
//! library knows what is on screen.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::levels;
use crate::{
    daemon::{Config, Daemon},
    shop::Shop,
    sources::Encoder,
    viewer::Viewer,
};

/// Events posted, and how often: as long as the page takes to go back, and longer.
const EVENTS: usize = 64;
const EVERY: Duration = Duration::from_millis(250);
/// Every so many of them another product is pinned.
const PIN_EVERY: usize = 8;
/// Milliseconds of a frame of the test card.
const FRAME_MS: f64 = 1000.0 / 30.0;
/// How far the picture on screen may be from the date that the library goes by, milliseconds: what lies between asking the
/// player and reading the picture, on a busy machine.
const OFF_MS: f64 = 200.0;
/// Events that fire later than this came late, or were skipped: around a seek, or a change of the level.
const LATE_MS: f64 = 400.0;
/// How often in a row, ten times a second, the page may be found behind a picture that changed the product: the library looks
/// five times a second.
const BEHIND: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn every_player_fires_each_event_once_at_its_picture() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("events");
    fs::create_dir_all(&folder).expect("a folder");
    let card = levels::card(&folder);
    let config = Config::new().key("events-key", "events").ladder();
    let config = config.hls("window = \"30s\"").log("info");
    let daemon = Daemon::start(&config.static_dir(root.join("examples/player")));
    let _encoder = Encoder::ffmpeg(&card, &daemon.publish_url("events-key"));
    Viewer::new(&daemon.url("")).multivariant("events").await;

    let report = folder.join("report.json");
    let mut node = Command::new("node")
        .arg(root.join("tests/browser/events.mjs"))
        .args([daemon.url(""), "events".to_owned()])
        .args([&report, &folder.join("screenshot.png")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node runs");
    let mut said = node.stdout.take().expect("piped");
    let playing = spawn_blocking(move || said.read(&mut [0; 8]).is_ok_and(|bytes| bytes > 0));
    let playing = playing.await.expect("ran");
    let shop = Shop::of(&daemon, "events");
    let mut placed = Vec::new();
    for number in 0..if playing { EVENTS } else { 0 } {
        let event = event(number);
        let (answer, _) = shop.place(&event).await;
        placed.push(Placed::new(&event, &answer));
        tokio::time::sleep(EVERY).await;
    }
    drop(node.stdin.take());
    let status = spawn_blocking(move || node.wait()).await.expect("ran");
    assert!(status.expect("waited for").success(), "a player is dark");
    let text = fs::read_to_string(&report).expect("a report");
    let seen: Seen = serde_json::from_str(&text).expect("what the page script writes");
    let broken = seen.broken(&placed);
    assert!(
        broken.is_empty(),
        "{broken:#?}; {:?}; {}",
        seen.console_errors,
        folder.display()
    );
}

/// What the shop posts: a product now and then, and what is a matter of a moment.
fn event(number: usize) -> Value {
    let id = format!("evt_{number}");
    let product = format!("lst_{}", number / PIN_EVERY);
    let data = json!({ "listing": product, "title": product, "count": number });
    let closes = number
        .checked_sub(PIN_EVERY)
        .filter(|_| number.is_multiple_of(PIN_EVERY));
    match (number % PIN_EVERY, closes) {
        (0, Some(former)) => {
            json!({ "id": id, "type": "listing.pinned", "data": data, "close": format!("evt_{former}") })
        }
        (0, None) => json!({ "id": id, "type": "listing.pinned", "data": data }),
        (of, _) => {
            let types = ["stamp.sent", "price.changed", "like.count", "sale.happened"];
            json!({ "id": id, "type": types[of % types.len()], "data": data })
        }
    }
}

/// What the answer to a post told.
#[derive(Clone, Debug)]
struct Placed {
    id: String,
    time_ms: f64,
    /// The product that it pins.
    pins: Option<String>,
}

impl Placed {
    fn new(event: &Value, answer: &Value) -> Self {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let pins = (event["type"] == "listing.pinned").then(|| text(&event["data"]["listing"]));
        Self {
            id: text(&event["id"]),
            time_ms: answer["media_time_ms"].as_f64().expect("a number"),
            pins,
        }
    }
}

/// What tests/browser/events.mjs writes.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    players: Vec<Player>,
    console_errors: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Player {
    name: String,
    /// Id, media time, milliseconds late, number of the frame on screen.
    fired: Vec<(String, f64, f64, Option<f64>)>,
    /// Ids of the copies that the player gave of boxes, and of ranges.
    boxes: BTreeSet<String>,
    ranges: BTreeSet<String>,
    /// Number of a frame, and the product that the page showed over it.
    shown: Vec<(Option<f64>, Option<String>)>,
    /// How the level was changed, of how many.
    levels: Vec<(String, usize, u32)>,
    /// Seconds.
    went_back: Vec<f64>,
    errors: Vec<Value>,
}

impl Seen {
    /// The promises that were broken.
    fn broken(&self, placed: &[Placed]) -> Vec<String> {
        let names: Vec<_> = { self.players.iter() }
            .map(|player| player.name.as_str())
            .collect();
        let mut broken = Vec::new();
        if names != ["page", "cues", "shaka", "videojs"] {
            broken.push(format!("four players, not {names:?}"));
        }
        for player in &self.players {
            let of_player = player.broken(placed).into_iter();
            broken.extend(of_player.map(|promise| format!("{}: {promise}", player.name)));
        }
        broken
    }
}

impl Player {
    fn broken(&self, placed: &[Placed]) -> Vec<String> {
        let mut broken = Vec::new();
        let mut demand = |kept: bool, promise: String| {
            if !kept {
                broken.push(promise);
            }
        };
        let all: BTreeSet<_> = placed.iter().map(|placed| placed.id.clone()).collect();
        let pins = placed.iter().filter(|placed| placed.pins.is_some());
        let pins: BTreeSet<_> = pins.map(|placed| placed.id.clone()).collect();
        let fired: BTreeSet<_> = self.fired.iter().map(|fired| fired.0.clone()).collect();
        demand(
            fired == all && all.len() == EVENTS,
            format!("all fire, but not {:?}", all.difference(&fired)),
        );
        demand(
            self.fired.len() == fired.len(),
            format!("each once, not {} of {}", self.fired.len(), fired.len()),
        );
        demand(
            self.boxes.is_superset(&all),
            format!("its boxes are told: {:?}", all.difference(&self.boxes)),
        );
        // The first cue of a track that hls.js makes may be lost while the browser opens the track.
        let lost = usize::from(self.name == "cues");
        demand(
            self.ranges.is_subset(&pins) && self.ranges.len() + lost >= pins.len(),
            format!("its ranges are told: {:?}", self.ranges),
        );
        for (id, time_ms, late_ms, frame) in &self.fired {
            let told = placed.iter().find(|placed| placed.id == *id);
            demand(
                told.is_some_and(|told| told.time_ms == *time_ms),
                format!("{id} is where the answer said, {told:?}, not {time_ms}"),
            );
            demand(*late_ms >= 0.0, format!("{id} is not early: {late_ms}"));
            let off = frame.map(|frame| frame * FRAME_MS - (time_ms + late_ms));
            demand(
                *late_ms > LATE_MS || off.is_none_or(|off| off.abs() < OFF_MS),
                format!("{id} fires at its picture: {off:?} ms off, {late_ms} late"),
            );
        }
        let late = { self.fired.iter() }
            .filter(|fired| fired.2 > LATE_MS)
            .count();
        demand(
            late * 4 < EVENTS,
            format!("most come in time: {late} were late"),
        );
        let fatal = self.errors.iter().find(|error| error["fatal"] == true);
        demand(fatal.is_none(), format!("no fatal error: {fatal:?}"));
        if self.name == "page" {
            broken.extend(self.viewer_broken(placed));
        }
        broken
    }

    /// What is owed to the viewer who changes levels and goes back.
    fn viewer_broken(&self, placed: &[Placed]) -> Vec<String> {
        let mut broken = Vec::new();
        if self.levels.len() < 6 || self.levels.iter().any(|(_, levels, _)| *levels != 3) {
            broken.push(format!("levels change: {:?}", self.levels));
        }
        if !matches!(self.went_back[..], [seconds] if (9.0..11.0).contains(&seconds)) {
            broken.push(format!("goes back: {:?}", self.went_back));
        }
        let (mut newest, mut earlier, mut behind) = ((0.0, None), 0, 0);
        for (frame, product) in &self.shown {
            let Some(time_ms) = frame.map(|frame| frame * FRAME_MS) else {
                continue;
            };
            let mut pins = placed.iter().filter(|placed| placed.pins.is_some());
            let wanted = pins.rfind(|placed| placed.time_ms <= time_ms);
            let wanted = wanted.and_then(|placed| placed.pins.clone());
            behind = if *product == wanted { 0 } else { behind + 1 };
            if behind > BEHIND {
                broken.push(format!("at {time_ms} ms {product:?} for {wanted:?}"));
            }
            if time_ms > newest.0 {
                newest = (time_ms, product.clone());
            } else if product.is_some() && *product == wanted && *product != newest.1 {
                earlier += 1;
            }
        }
        if earlier == 0 {
            broken.push("whoever goes back sees the earlier product".to_owned());
        }
        broken.truncate(9);
        broken
    }
}

#[test]
fn the_verdict_can_be_against() {
    let placed: Vec<_> = (0..EVENTS)
        .map(|number| {
            let answer = json!({ "media_time_ms": 20_000 + 250 * number });
            Placed::new(&event(number), &answer)
        })
        .collect();
    let of = |name: &str| Player {
        name: name.to_owned(),
        fired: { placed.iter() }
            .map(|placed| {
                let frame = (placed.time_ms / FRAME_MS).ceil();
                (placed.id.clone(), placed.time_ms, 20.0, Some(frame))
            })
            .collect(),
        boxes: placed.iter().map(|placed| placed.id.clone()).collect(),
        ranges: (0..EVENTS)
            .step_by(PIN_EVERY)
            .map(|number| format!("evt_{number}"))
            .collect(),
        shown: [21_000.0, 31_000.0, 21_000.0, 21_000.0]
            .into_iter()
            .flat_map(|time_ms: f64| [time_ms; 8])
            .map(|time_ms| {
                let product = ((time_ms - 20_000.0) / 2000.0).floor();
                (Some(time_ms / FRAME_MS), Some(format!("lst_{product}")))
            })
            .collect(),
        levels: vec![("nextLevel".to_owned(), 3, 360); 8],
        went_back: vec![10.0],
        errors: vec![],
    };
    let good = Seen {
        players: ["page", "cues", "shaka", "videojs"].map(of).into(),
        console_errors: vec![],
    };
    assert_eq!(good.broken(&placed), Vec::<String>::new());
    let bad: [fn(&mut Seen); 12] = [
        |seen| seen.players.truncate(3),
        |seen| seen.players[3].fired.truncate(EVENTS - 1),
        |seen| {
            let again = seen.players[2].fired[4].clone();
            seen.players[2].fired.push(again);
        },
        |seen| seen.players[1].boxes.clear(),
        |seen| seen.players[2].ranges.clear(),
        |seen| seen.players[0].fired[7].1 += 1.0,
        |seen| seen.players[0].fired[7].2 = -1.0,
        |seen| seen.players[1].fired[7].3 = Some(1.0),
        |seen| {
            seen.players[1]
                .fired
                .iter_mut()
                .for_each(|fired| fired.2 = 5000.0);
        },
        |seen| seen.players[0].levels.clear(),
        |seen| seen.players[0].went_back.clear(),
        |seen| {
            let shown = seen.players[0].shown[16..].iter_mut();
            shown.for_each(|shown| shown.1 = Some("lst_5".to_owned()));
        },
    ];
    for (index, spoil) in bad.iter().enumerate() {
        let mut seen = good.clone();
        spoil(&mut seen);
        assert!(
            !seen.broken(&placed).is_empty(),
            "case {index} went unnoticed"
        );
    }
}
