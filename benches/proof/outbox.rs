//! `make proof-outbox`: what it costs to lose no callback, and that dead endpoints delay nobody.
//!
//! Durable events a second, in turns on the same disk: an outbox that is given ten thousand events at once, the same one
//! given one at a time, each waited for, and the least that anything durable can cost, a file that is appended to and
//! synced per event. Then the library as the daemon runs it, in this process with its endpoints: ninety good ones alone
//! and with ten dead ones beside them, half of which accept and never answer and half refuse. A first attempt's delay is
//! from the event to the whole request at the endpoint.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Map;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use vitrine_core::wire::sign::Secret;
use vitrine_runtime::{
    clock::wall,
    deliver::{Endpoint, Event, Life, Outbox, Settings, Types},
};

use crate::{
    host,
    receiver::{Receiver, Reply},
    table::{Table, bar},
};

/// Given at once.
const MANY: u64 = 10_000;
/// Given one at a time.
const FEW: u64 = 500;
/// Streams of which events are recorded.
const STREAMS: u64 = 40;
const GOOD: usize = 90;
const DEAD: usize = 10;

/// `outbox [runs=N] [seconds=N] [rate=N]`; the rate is in events a second, of which each endpoint is told.
pub(crate) async fn run(arguments: &[String]) -> io::Result<()> {
    let number = |name: &str, usual: u32| {
        let values = arguments.iter().filter_map(|it| it.strip_prefix(name));
        values
            .filter_map(|value| value.parse().ok())
            .next_back()
            .unwrap_or(usual)
    };
    let (runs, seconds) = (number("runs=", 5), number("seconds=", 20));
    let rate = number("rate=", 10);
    println!("load average before: {}", host::load_average());
    durable(runs).await?;
    neighbours(runs.min(3), seconds, rate).await?;
    println!("\nload average after: {}", host::load_average());
    Ok(())
}

async fn durable(runs: u32) -> io::Result<()> {
    let mut table = Table::default();
    for _ in 0..runs {
        // On the disk that holds the build, not in memory.
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        let outbox = open(&folder, vec![endpoint("http://127.0.0.1:9/")])?;
        let began = Instant::now();
        (0..MANY).for_each(|n| outbox.record(event(n)));
        outbox.flush().await;
        let group = began.elapsed();
        let began = Instant::now();
        for n in 0..FEW {
            outbox.record(event(n));
            outbox.flush().await;
        }
        let single = began.elapsed();
        outbox.close().await;
        let append = append(folder.path())?;
        let append = per_second(FEW, append);
        for (row, rate) in [
            (GROUPED, per_second(MANY, group)),
            (SINGLE, per_second(FEW, single)),
            (APPENDED, append),
        ] {
            table.note(row, &[rate, rate / append]);
        }
    }
    table.print(
        "Durable events a second",
        &[("events/s", 0), ("x append", 2)],
    );
    let ratio = table.median(APPENDED, 0) / table.median(GROUPED, 0);
    bar(
        "a synced append, as a share of the outbox' rate",
        ratio,
        1.0,
    );
    Ok(())
}

const GROUPED: &str = "outbox, as many per commit as there are";
const SINGLE: &str = "outbox, one commit per event";
const APPENDED: &str = "control: append and fdatasync per event";

/// How long the control takes.
fn append(folder: &Path) -> io::Result<Duration> {
    let mut options = OpenOptions::new();
    let mut file = options.create(true).append(true).open(folder.join("log"))?;
    let line = serde_json::to_vec(&event(0).data)?;
    let began = Instant::now();
    for _ in 0..FEW {
        file.write_all(&line)?;
        file.sync_data()?;
    }
    Ok(began.elapsed())
}

async fn neighbours(runs: u32, seconds: u32, rate: u32) -> io::Result<()> {
    let mut table = Table::default();
    for _ in 0..runs {
        for (row, dead) in [(ALONE, 0), (BESIDE, DEAD)] {
            let (median, p99) = first_attempts(dead, seconds, rate).await?;
            table.note(row, &[median, p99]);
        }
    }
    let columns = [("p50 ms", 1), ("p99 ms", 1)];
    let title = format!("First attempts at the good endpoints, {rate} events/s to each");
    table.print(&title, &columns);
    bar(
        "p99 beside dead endpoints, in ms",
        table.median(BESIDE, 1),
        1000.0,
    );
    Ok(())
}

const ALONE: &str = "control: 90 good endpoints alone";
const BESIDE: &str = "90 good endpoints, 10 dead";

/// Median and 99th percentile, in milliseconds.
async fn first_attempts(dead: usize, seconds: u32, rate: u32) -> io::Result<(f64, f64)> {
    let good = Receiver::start(|_, _| Reply::status(204)).await;
    let hanging = Receiver::start(|_, _| Reply::Hang).await;
    let refusing = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let good_urls = (0..GOOD).map(|path| good.url(&format!("/{path}")));
    let dead_urls = (0..dead).map(|path| match path % 2 {
        0 => hanging.url(&format!("/{path}")),
        _ => format!("http://{refusing}/{path}"),
    });
    let endpoints = good_urls.chain(dead_urls).map(|url| endpoint(&url));
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let outbox = open(&folder, endpoints.collect())?;
    let shutdown = CancellationToken::new();
    let work = tokio::spawn(outbox.clone().run(shutdown.clone()));

    let epoch = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_secs(1) / rate);
    let events = u64::from(seconds * rate);
    for n in 0..events {
        tick.tick().await;
        let mut event = event(n);
        let at_us = u64::try_from(epoch.elapsed().as_micros()).unwrap_or(u64::MAX);
        event.data.insert("at_us".to_owned(), at_us.into());
        outbox.record(event);
    }
    let all = GOOD * usize::try_from(events).unwrap_or(0);
    good.wait("first attempts", |calls| calls.len() >= all)
        .await;
    let calls = good.calls().clone();
    let delay_ms = |call: &crate::receiver::Call| {
        let at_us = call.json()["data"]["at_us"].as_u64().unwrap_or(0);
        let at = epoch + Duration::from_micros(at_us);
        call.at.saturating_duration_since(at).as_secs_f64() * 1000.0
    };
    let mut delays: Vec<_> = calls.iter().map(delay_ms).collect();
    delays.sort_by(f64::total_cmp);
    shutdown.cancel();
    work.await.map_err(io::Error::other)?;
    outbox.close().await;
    Ok((delays[delays.len() / 2], delays[delays.len() * 99 / 100]))
}

fn open(folder: &TempDir, endpoints: Vec<Endpoint>) -> io::Result<Outbox> {
    let path = folder.path().join("outbox.db");
    Outbox::open(&path, Settings::new(endpoints)).map_err(io::Error::other)
}

fn endpoint(url: &str) -> Endpoint {
    let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    Endpoint {
        url: url.parse().expect("a URL"),
        secrets: vec![secret.expect("a secret")],
        types: Types::new(vec!["*".to_owned()]),
    }
}

/// As long as real ones.
fn event(n: u64) -> Event {
    let stream = format!("shop{}", n % STREAMS);
    let mut data = Map::new();
    for (name, value) in [
        ("stream_id", stream.as_str()),
        ("node", "n1"),
        ("session_id", "ses_01KAGXR0F7M8C2M3ZD5T0V9YQ4"),
        ("app", "live"),
        ("protocol", "rtmps"),
        ("remote_addr", "203.0.113.7:50312"),
        ("encoder", "obs-output module (libobs version 30.2.3)"),
        ("started_at", "2026-11-21T15:12:01.870Z"),
        ("playback_path", "/live/shop42/index.m3u8"),
    ] {
        data.insert(name.to_owned(), value.into());
    }
    Event {
        subject: stream,
        kind: "stream.live",
        at: wall(),
        data,
        life: Life::Goes,
    }
}

fn per_second(events: u64, time: Duration) -> f64 {
    events as f64 / time.as_secs_f64()
}
