//! `streams`, `kick`, `end`, `takedown`.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    client::{Client, Failure},
    table::{Cell, Paper, Table, Tone, count, distance, milliseconds, rate, size, span},
    view,
};

/// Lists the streams, or tells all about one.
pub(super) async fn list(
    client: &Client,
    stream: Option<&str>,
    json: bool,
    paper: &mut Paper,
) -> Result<(), Failure> {
    let path: Vec<_> = ["v1", "streams"].into_iter().chain(stream).collect();
    if json {
        let answer: Value = client.get(&path, &[]).await?;
        paper.json(&answer);
        return Ok(());
    }
    let now = Timestamp::now();
    if stream.is_some() {
        one(&client.get(&path, &[]).await?, now, paper);
        return Ok(());
    }
    let view::Streams { streams } = client.get(&path, &[]).await?;
    match streams.is_empty() {
        true => paper.line("no stream is live", Tone::Faint),
        false => paper.table(&table(&streams, now)),
    }
    Ok(())
}

fn table(streams: &[view::Stream], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        "STREAM",
        "STATE",
        "FOR",
        "IN",
        "LATENCY",
        "RENDITIONS",
        "REQUESTS",
        "WAITING",
        "PUBLISHER",
        "ENCODER",
    ]);
    for stream in streams {
        let session = stream.session.clone().unwrap_or_default();
        let lost = stream.newest().any(view::Rendition::is_lost);
        let latency = stream.latency.part_publish_p95_ms;
        table.row(vec![
            Cell::of(&stream.id).tone(Tone::Strong),
            Cell::of(stream.standing()).tone(tone(stream)),
            Cell::number(dashed(distance(&session.since, now).map(span))),
            Cell::number(rate(stream.rates.in_kbps)),
            Cell::number(dashed(latency.map(milliseconds))),
            Cell::of(renditions(stream)).tone(if lost { Tone::Bad } else { Tone::Plain }),
            Cell::number(count(stream.requests)),
            Cell::number(count(stream.waiters)),
            Cell::of(dashed(Some(session.peer))),
            Cell::of(dashed(Some(session.encoder))).tone(Tone::Faint),
        ]);
    }
    table
}

/// All about one stream.
fn one(stream: &view::Stream, now: Timestamp, paper: &mut Paper) {
    let mut facts = Table::new(&[]);
    let mut fact = |name: &str, cell: Cell| facts.row(vec![Cell::of(name).tone(Tone::Faint), cell]);
    fact("stream", Cell::of(&stream.id).tone(Tone::Strong));
    fact("state", Cell::of(stream.standing()).tone(tone(stream)));
    if let Some(session) = &stream.session {
        let since = dashed(distance(&session.since, now).map(span));
        let (id, since_at) = (&session.id, &session.since);
        let publisher = format!("{} by {}", session.peer, session.protocol);
        fact("publisher", Cell::of(publisher));
        fact("encoder", Cell::of(&session.encoder));
        fact(
            "session",
            Cell::of(format!("{id}, for {since} (since {since_at})")),
        );
    }
    for track in &stream.tracks {
        fact(&track.kind, Cell::of(described(track)));
    }
    let (kbps, bytes) = (stream.rates.in_kbps, stream.rates.in_bytes);
    fact(
        "received",
        Cell::of(format!("{}, {} in all", rate(kbps), size(bytes))),
    );
    let latency = &stream.latency;
    let latencies = (latency.part_publish_p50_ms).zip(latency.part_publish_p95_ms);
    if let Some((p50, p95)) = latencies {
        let words = format!(
            "{} in half of the parts, {} in 95 %",
            milliseconds(p50),
            milliseconds(p95)
        );
        fact("latency", Cell::of(words));
    }
    let queue = &stream.queues;
    let words = format!(
        "{} of {} messages",
        queue.inbox_messages, queue.inbox_messages_max
    );
    fact("inbox", Cell::of(words));
    let words = format!("{}, {} wait", count(stream.requests), count(stream.waiters));
    fact("requests", Cell::of(words));
    if stream.events_placed > 0 {
        let words = format!("{} placed", count(stream.events_placed));
        fact("events", Cell::of(words));
    }
    if let Some(transcoding) = &stream.transcoding {
        let detail = stream.transcoding_detail.as_deref();
        let words = detail.map(|detail| format!("{transcoding}: {detail}"));
        fact("encoding", Cell::of(words.as_ref().unwrap_or(transcoding)));
    }
    paper.table(&facts);
    if !stream.renditions.is_empty() {
        paper.line("", Tone::Plain);
        paper.table(&rendition_table(stream));
    }
    if !stream.notices.is_empty() {
        paper.line("", Tone::Plain);
        let mut notices = Table::new(&["AT", "NOTICE"]);
        for notice in &stream.notices {
            notices.row(vec![
                Cell::of(&notice.at).tone(Tone::Faint),
                Cell::of(&notice.text),
            ]);
        }
        paper.table(&notices);
    }
}

fn rendition_table(stream: &view::Stream) -> Table {
    let mut table = Table::new(&[
        "RENDITION",
        "EPOCH",
        "STATE",
        "SOURCE",
        "SIZE",
        "BANDWIDTH",
        "PARTS",
        "KEPT",
        "CODECS",
        "WHY",
    ]);
    for rendition in &stream.renditions {
        let (state, tone) = match (rendition.is_lost(), rendition.ended) {
            (true, _) => ("lost", Tone::Bad),
            (false, true) => ("ended", Tone::Faint),
            (false, false) => ("ok", Tone::Good),
        };
        let why = rendition
            .state_detail
            .as_ref()
            .or(rendition.source_detail.as_ref());
        let pixels = rendition.width.zip(rendition.height);
        table.row(vec![
            Cell::of(&rendition.name).tone(Tone::Strong),
            Cell::of(rendition.epoch),
            Cell::of(state).tone(tone),
            Cell::of(dashed(rendition.source.clone())),
            Cell::of(dashed(
                pixels.map(|(width, height)| format!("{width}x{height}")),
            )),
            Cell::number(dashed(rendition.bandwidth.map(|bits| rate(bits / 1000)))),
            Cell::number(count(rendition.parts)),
            Cell::number(size(rendition.bytes_retained)),
            Cell::of(dashed(rendition.codecs.clone())),
            Cell::of(why.map_or("", String::as_str)),
        ]);
    }
    table
}

fn described(track: &view::Track) -> String {
    let mut words = vec![track.codecs.clone()];
    let pixels = track.width.zip(track.height);
    words.extend(pixels.map(|(width, height)| format!("{width}x{height}")));
    words.extend(
        track
            .frames_per_second
            .map(|rate| format!("{rate:.2} pictures/s")),
    );
    words.extend(track.sample_rate_hz.map(|rate| format!("{rate} Hz")));
    words.extend(
        track
            .channels
            .map(|channels| format!("{channels} channels")),
    );
    words.join(", ")
}

/// The renditions by name, the lost ones marked.
pub(super) fn renditions(stream: &view::Stream) -> String {
    let names = stream.newest().map(|it| match it.is_lost() {
        true => format!("{}!", it.name),
        false => it.name.clone(),
    });
    dashed(Some(names.collect::<Vec<_>>().join(" ")))
}

/// How the standing of a stream is meant.
pub(super) fn tone(stream: &view::Stream) -> Tone {
    match (stream.state.as_str(), &stream.stopgap) {
        ("live", None) => Tone::Good,
        ("ended", _) => Tone::Faint,
        _ => Tone::Warning,
    }
}

/// A dash for nothing.
pub(super) fn dashed(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty())
        .unwrap_or_else(|| "-".to_owned())
}

/// Disconnects the publisher.
pub(super) async fn kick(
    client: &Client,
    stream: &str,
    ban: Option<Duration>,
    paper: &mut Paper,
) -> Result<(), Failure> {
    let done = cut(client, stream, ban).await?;
    let banned = done.ban_seconds.map(|ban| span(Duration::from_secs(ban)));
    let banned = banned.map_or_else(
        || "it may come back at once".to_owned(),
        |ban| format!("its key is refused for {ban} (vitrine bans)"),
    );
    let words = format!(
        "{stream}: publisher {} disconnected; {banned}",
        done.session
    );
    paper.line(&words, Tone::Plain);
    Ok(())
}

/// The call behind `kick`.
pub(super) async fn cut(
    client: &Client,
    stream: &str,
    ban: Option<Duration>,
) -> Result<view::Done, Failure> {
    let ban = ban.map(seconds).map(|ban| ban.to_string());
    let query: Vec<_> = { ban.as_deref() }
        .map(|ban| ("ban_seconds", ban))
        .into_iter()
        .collect();
    let path = ["v1", "streams", stream, "session"];
    client.call(Method::DELETE, &path, &query, None).await
}

/// Ends the stream.
pub(super) async fn end(
    client: &Client,
    stream: &str,
    ban: Option<Duration>,
    paper: &mut Paper,
) -> Result<(), Failure> {
    let body = ban.map(|ban| json!({ "ban_seconds": seconds(ban) }));
    let path = ["v1", "streams", stream, "end"];
    let done: view::Done = client.call(Method::POST, &path, &[], body.as_ref()).await?;
    let banned = done.ban_seconds.map(|ban| span(Duration::from_secs(ban)));
    let banned = banned.map(|ban| format!("; its key is refused for {ban} (vitrine bans)"));
    let words = format!("{stream}: ended{}", banned.unwrap_or_default());
    paper.line(&words, Tone::Plain);
    Ok(())
}

/// Takes the stream down.
pub(super) async fn take_down(
    client: &Client,
    stream: &str,
    reason: &str,
    paper: &mut Paper,
) -> Result<(), Failure> {
    let body = json!({ "takedown": true, "reason": reason });
    let path = ["v1", "streams", stream, "end"];
    let done: view::Done = client.call(Method::POST, &path, &[], Some(&body)).await?;
    let words =
        format!("{stream}: taken down; its key is refused until you lift that (vitrine bans)");
    paper.line(&words, Tone::Plain);
    if let Some(prefix) = done.purge_prefix {
        let words = format!("copies in caches that ask nobody: purge {prefix}");
        paper.line(&words, Tone::Warning);
    }
    Ok(())
}

/// Whole seconds; of a part of one, a whole one.
fn seconds(duration: Duration) -> u64 {
    duration
        .as_millis()
        .div_ceil(1000)
        .try_into()
        .unwrap_or(u64::MAX)
}
