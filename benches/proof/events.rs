//! `make proof-events`: events of a shop in the stream, from the post to the picture.
//!
//! | part | shows |
//! |-|-|
//! | [`player`] | hls.js in Chromium that changes its level every three seconds gets each event once, at its picture |
//! | [`reconnects`] | what was answered, told, listed and carried is the same, however often the publisher comes back |
//! | [`answers`] | how long a backend waits for the answer |
//! | [`cost`] | what an event costs in bytes and in CPU |
//!
//! Everything runs on the whole daemon from outside, each figure beside a control. The names of parts as arguments run only
//! those; `events=`, `rate=`, `seconds=` and `runs=` shorten them.

mod answers;
mod cost;
mod player;
mod reconnects;

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{
    daemon::{CONTROL_TOKEN, Config, Daemon},
    host,
    shop::Shop,
    sources::{Encoder, ffmpeg},
    viewer::client,
};

/// More than any part posts, so that none measures a budget.
const ALLOWED: &str = "events = { per_second = 1000, bytes_per_second = 65536 }";
/// Posts that wait for their answers at the same time.
const POSTS_MAX: usize = 256;

/// Arguments as numbers.
struct Given<'a>(&'a [String]);

impl Given<'_> {
    fn number(&self, name: &str, usual: u64) -> u64 {
        let values = self.0.iter().filter_map(|argument| {
            let (given, value) = argument.split_once('=')?;
            (given == name).then(|| value.parse().ok()).flatten()
        });
        values.last().unwrap_or(usual)
    }

    /// Whether this part is to be run: it is named, or none is.
    fn wants(&self, part: &str) -> bool {
        let mut parts = self.0.iter().filter(|it| !it.contains('=')).peekable();
        parts.peek().is_none() || parts.any(|it| it == part)
    }
}

/// `events [player|reconnects|answers|cost]... [events=N] [rate=N] [seconds=N] [runs=N]`
pub(crate) async fn run(arguments: &[String]) -> io::Result<()> {
    let given = Given(arguments);
    println!("load average before: {}", host::load_average());
    if given.wants("player") {
        player::run(given.number("events", 2_000), given.number("rate", 45)).await?;
    }
    if given.wants("reconnects") {
        reconnects::run(given.number("events", 10_000), given.number("rate", 50)).await?;
    }
    let (runs, seconds) = (given.number("runs", 5), given.number("seconds", 20));
    if given.wants("answers") {
        answers::run(runs, seconds, given.number("rate", 200)).await?;
    }
    if given.wants("cost") {
        cost::run(runs, seconds, given.number("rate", 50)).await?;
    }
    println!("\nload average after: {}", host::load_average());
    Ok(())
}

/// A daemon's configuration with these streams, whose keys are `key-of-` and their names.
fn config(streams: &[String]) -> Config {
    let key = |config: Config, stream: &String| config.key(&format!("key-of-{stream}"), stream);
    let config = streams.iter().fold(Config::new(), key);
    config.key_option(ALLOWED).log("warn")
}

/// A file pushed as it stands, again and again.
fn push_forever(file: &Path, url: &str) -> Encoder {
    let mut command = ffmpeg();
    command.args(["-re", "-stream_loop", "-1", "-i"]).arg(file);
    Encoder::start(command.args(["-c", "copy", "-f", "flv", url]))
}

/// The event with this number, as a shop has them: prices, stock and hearts, and a product that stays until the next.
/// One of `pinned_every` is that.
fn event(number: u64, pinned_every: u64) -> Value {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let wall_ms = since_1970.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(0));
    let kinds = [
        "price.changed",
        "stock.changed",
        "like.count",
        "sale.happened",
    ];
    let mut event = json!({
        "id": id(number),
        "type": kinds[usize::try_from(number % 4).unwrap_or(0)],
        "seq": number + 1,
        "ttl_ms": 120_000,
        "data": {
            "listing": "lst_01JDC5T3B7M8N2M3ZD5T0V9YQ4",
            "price": { "amount": 198_000, "currency": "JPY" },
            "wall_ms": wall_ms,
        },
    });
    if number.is_multiple_of(pinned_every) {
        event["type"] = "listing.pinned".into();
        if let Some(before) = number.checked_sub(pinned_every) {
            event["close"] = id(before).into();
        }
    }
    event
}

fn id(number: u64) -> String {
    format!("evt_{number}")
}

/// What became of posts.
#[derive(Debug, Default)]
struct Posted {
    /// The answers by id.
    answers: BTreeMap<String, Value>,
    /// Posts that were refused for now, and came again.
    refused: u64,
    /// Milliseconds from each post to its answer, where none was refused.
    waits_ms: Vec<f64>,
}

/// Posts events `from..to`, `rate` a second, in turns to `shops`, each until it is placed.
async fn post(shops: &[Shop], from: u64, to: u64, rate: u64) -> Posted {
    let mut tick = interval(Duration::from_secs(1) / u32::try_from(rate).unwrap_or(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let room = Arc::new(Semaphore::new(POSTS_MAX));
    let mut posts = JoinSet::new();
    let mut posted = Posted::default();
    for (number, shop) in (from..to).zip(shops.iter().cycle()) {
        tick.tick().await;
        let permit = room.clone().acquire_owned().await.expect("never closed");
        let shop = shop.clone();
        posts.spawn(async move {
            let event = event(number, rate);
            let began = Instant::now();
            let (answer, refused) = shop.place(&event).await;
            drop(permit);
            (id(number), answer, u64::from(refused), began.elapsed())
        });
        while let Some(done) = posts.try_join_next() {
            posted.note(done.expect("see above"));
        }
    }
    while let Some(done) = posts.join_next().await {
        posted.note(done.expect("see above"));
    }
    posted
}

impl Posted {
    fn note(&mut self, (id, answer, refused, wait): (String, Value, u64, Duration)) {
        self.answers.insert(id, answer);
        self.refused += refused;
        if refused == 0 {
            self.waits_ms.push(wait.as_secs_f64() * 1000.0);
        }
    }
}

/// A quantile of values, not a number when there are none.
fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    let at = ((values.len() as f64 * q) as usize).min(last);
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// Until the stream has a clock: it is live, and shows something.
async fn until_live(shop: &Shop) {
    while !shop.clock().await.status.is_success() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Ends a stream: every playlist of it gets its end.
async fn end(daemon: &Daemon, stream: &str) -> io::Result<()> {
    let client = client().build().map_err(io::Error::other)?;
    let order = client.post(daemon.control_url(&format!("/v1/streams/{stream}/end")));
    let answer = order.bearer_auth(CONTROL_TOKEN).send().await;
    let answer = answer.and_then(reqwest::Response::error_for_status);
    answer.map(drop).map_err(io::Error::other)
}
