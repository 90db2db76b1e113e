//! `event`, `clock`: an event of the shop placed by hand, and the clock that it is placed by.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Map, Value, json};
use ulid::Ulid;

use super::{
    client::{Client, Failure},
    duration,
    table::{Cell, Paper, Table, Tone},
    view,
};

/// What happened.
#[derive(Debug, Args)]
pub struct Event {
    /// Name of the stream
    stream: String,
    /// What happened: listing.pinned, price.changed, notice.posted and so on
    #[arg(value_name = "TYPE")]
    kind: String,
    /// What players get of it: a JSON object
    #[arg(long, value_name = "JSON", value_parser = object)]
    data: Option<Map<String, Value>>,
    /// How long it lasts: 30s, 10m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,
    /// When it is to be seen, instead of now: 2026-01-01T12:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// How old it may be: 10s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    ttl: Option<Duration>,
    /// Id of the earlier event that it ends
    #[arg(long, value_name = "ID")]
    close: Option<String>,
    /// The show's own number
    #[arg(long)]
    seq: Option<u64>,
    /// Its id, when it is posted again [default: a new one]
    #[arg(long)]
    id: Option<String>,
    /// The API's own answer, for programs
    #[arg(long)]
    json: bool,
}

/// Places an event.
pub(super) async fn place(client: &Client, event: Event, paper: &mut Paper) -> Result<(), Failure> {
    let id = { event.id }.unwrap_or_else(|| format!("evt_{}", Ulid::new()));
    let mut body = json!({ "id": id, "type": event.kind });
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body[name] = value;
        }
    };
    let milliseconds = |duration: Duration| Value::from(duration.as_millis() as u64);
    set("data", event.data.map(Value::from));
    set("duration_ms", event.duration.map(milliseconds));
    set("at", event.at.map(|at| format!("{at:.3}").into()));
    set("ttl_ms", event.ttl.map(milliseconds));
    set("close", event.close.clone().map(Value::from));
    set("seq", event.seq.map(Value::from));
    let path = ["v1", "streams", &event.stream, "events"];
    let answer: Value = client.call(Method::POST, &path, &[], Some(&body)).await?;
    if event.json {
        paper.json(&answer);
        return Ok(());
    }
    let placed: view::Placed = serde_json::from_value(answer).unwrap_or_default();
    let mut words = format!(
        "{}: {} {id} at {} of epoch {}, {}",
        event.stream,
        event.kind,
        seconds(placed.media_time_ms),
        placed.epoch,
        placed.program_date_time
    );
    if let Some(shifted_ms) = placed.shifted_ms {
        words += &format!("; {} later than wanted", seconds(shifted_ms));
    }
    match (event.close, placed.closed) {
        (Some(close), Some(true)) => words += &format!("; {close} is closed"),
        (Some(close), _) => words += &format!("; {close} was not open"),
        (None, _) => {}
    }
    paper.line(&words, Tone::Plain);
    Ok(())
}

/// Tells where a stream's clock stands.
pub(super) async fn clock(
    client: &Client,
    stream: &str,
    json: bool,
    paper: &mut Paper,
) -> Result<(), Failure> {
    let path = ["v1", "streams", stream, "clock"];
    let answer: Value = client.get(&path, &[]).await?;
    if json {
        paper.json(&answer);
        return Ok(());
    }
    let clock: view::Clock = serde_json::from_value(answer).unwrap_or_default();
    let mut facts = Table::new(&[]);
    let mut fact = |name: &str, words: String| {
        facts.row(vec![Cell::of(name).tone(Tone::Faint), Cell::of(words)]);
    };
    fact("stream", stream.to_owned());
    fact("epoch", clock.epoch.to_string());
    fact("media time", seconds(clock.media_time_ms));
    fact("date", clock.program_date_time);
    fact("segment", clock.msn.to_string());
    let ahead = clock.pdt_minus_wall_ms;
    let side = if ahead < 0 { "behind" } else { "ahead of" };
    let apart = seconds(ahead.abs());
    fact(
        "wall",
        format!("{} (the stream is {apart} {side} it)", clock.wall),
    );
    paper.table(&facts);
    Ok(())
}

/// Seconds to the millisecond.
fn seconds(ms: i64) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("expected a JSON object: {error}"))
}
