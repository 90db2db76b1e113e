//! What it costs to be asked about: `make proof-admission`.
//!
//! Rush: publishers with keys that a backend decides about and publishers with static keys ask to publish in the same second,
//! in turns; the backend takes 20 ms. Flood: one address presents thousands of wrong keys, as fast as it is let, while good
//! publishers come one after another from elsewhere; before it, the same without the flood. The figures are from `publish`
//! written to `NetStream.Publish.Start` read; of the flood also the backend's calls and what was written to disk.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    backend::{Asked, Backend, SECRET, answer},
    daemon::{Config, Daemon},
    host,
    publisher::Publisher,
};

/// How long the backend thinks.
const THINKS: Duration = Duration::from_millis(20);
/// What a publisher waits longer at most because its key is decided about elsewhere, thinking apart.
const RUSH_BAR_MS: f64 = 50.0;
/// What a good publisher waits longer at most because of the flood.
const FLOOD_BAR_MS: f64 = 20.0;
/// Connections that the flood has at once: as many as one address may.
const CULPRITS: usize = 64;
/// Good publishers without a flood.
const CALM: usize = 100;
/// From one good publisher to the next, beside the flood.
const PACE: Duration = Duration::from_millis(100);

/// Runs it: `[rush=200] [flood=5000]`.
///
/// # Errors
/// The system's.
pub(crate) async fn run(arguments: &[String]) -> io::Result<()> {
    let number = |name: &str, default: usize| {
        let given = arguments
            .iter()
            .find_map(|it| it.strip_prefix(name)?.strip_prefix('='));
        given
            .and_then(|number| number.parse().ok())
            .unwrap_or(default)
    };
    let (rush, flood) = (number("rush", 200), number("flood", 5000));
    tokio::task::spawn_blocking(move || {
        println!("load average {} before", host::load_average());
        rushed(rush)?;
        flooded(flood)?;
        println!("\nload average {} after", host::load_average());
        Ok(())
    })
    .await
    .map_err(io::Error::other)?
}

/// Allows keys that begin with `key-`, each its stream; denies all others.
fn decide(asked: &Asked, socket: &mut TcpStream) -> io::Result<()> {
    thread::sleep(THINKS);
    let key = key(asked);
    let verdict = match key.strip_prefix("key-") {
        Some(name) => format!(r#"{{"allow":true,"stream_id":"{name}"}}"#),
        None => r#"{"allow":false,"reason":"unknown stream key"}"#.to_owned(),
    };
    answer(socket, "200 OK", &verdict)
}

fn key(asked: &Asked) -> String {
    let body: serde_json::Value = serde_json::from_str(&asked.body).unwrap_or_default();
    body["data"]["stream_key"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn config(backend: &Backend) -> Config {
    Config::new()
        .log("warn")
        .rtmp("max_connections = 2000")
        .hooks(&format!("admission_url = {:?}", backend.url("/ask")))
        .hooks(&format!("secret = [{SECRET:?}]"))
}

/// A source address of loopback.
fn source(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 7, (n / 250) as u8, (n % 250 + 1) as u8)
}

fn connect(from: Ipv4Addr, rtmp: SocketAddr) -> io::Result<Publisher> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect(&rtmp.into())?;
    Publisher::connect_over(socket.into(), "live")
}

fn rushed(publishers: usize) -> io::Result<()> {
    let backend = Backend::start(decide);
    let config = (0..publishers).fold(config(&backend), |config, n| {
        config.key(&format!("static-{n}"), &format!("static-{n}"))
    });
    let daemon = Daemon::start(&config);
    let rtmp = daemon.address("rtmp");
    let times: Mutex<BTreeMap<&str, Vec<f64>>> = Mutex::default();
    let connected = std::sync::Barrier::new(2 * publishers);
    thread::scope(|scope| {
        for n in 0..publishers {
            for (place, kind) in [("hook", "key"), ("static", "static")]
                .into_iter()
                .enumerate()
            {
                let (times, connected) = (&times, &connected);
                scope.spawn(move || {
                    let publisher = connect(source(n), rtmp);
                    connected.wait();
                    let turn = (2 * n + place) as f64 / (2 * publishers) as f64;
                    thread::sleep(Duration::from_secs_f64(turn));
                    let (column, kind) = kind;
                    if let Ok(mut publisher) = publisher
                        && let Some(ms) = start(&mut publisher, &format!("{kind}-{n}"))
                    {
                        times
                            .lock()
                            .expect("no panic")
                            .entry(column)
                            .or_default()
                            .push(ms);
                        // It stays until all have begun.
                        thread::sleep(Duration::from_secs(2));
                    }
                });
            }
        }
    });
    let mut times = times.into_inner().expect("no panic");
    let mut row = |column| {
        let times = times.get_mut(column).expect("measured");
        times.sort_by(f64::total_cmp);
        (times.len(), at(times, 0.5), at(times, 0.99), at(times, 1.0))
    };
    let (hook, fixed) = (row("hook"), row("static"));
    println!(
        "\n| {publishers} + {publishers} publishers in one second | accepted | p50 ms | p99 ms | max ms |\n|-|-|-|-|-|"
    );
    for (label, (count, p50, p99, max)) in [
        (
            format!("asked of a backend that takes {} ms", THINKS.as_millis()),
            hook,
        ),
        ("control: static keys, in the same second".to_owned(), fixed),
    ] {
        println!("| {label} | {count} | {p50:.1} | {p99:.1} | {max:.1} |");
    }
    let added = hook.2 - fixed.2 - THINKS.as_secs_f64() * 1000.0;
    let complete = hook.0 == publishers && fixed.0 == publishers;
    println!(
        "\nbar: all accepted, p99 at most {RUSH_BAR_MS} ms above the control and the backend's own time: {added:.1} ms: {}",
        met(complete && added <= RUSH_BAR_MS)
    );
    Ok(())
}

/// Milliseconds from the request to Start; `None` when it is refused.
fn start(publisher: &mut Publisher, key: &str) -> Option<f64> {
    let asked = Instant::now();
    let status = publisher.request_publish(key).ok()?;
    let ms = asked.elapsed().as_secs_f64() * 1000.0;
    (status.code == "NetStream.Publish.Start").then_some(ms)
}

fn flooded(keys: usize) -> io::Result<()> {
    let backend = Backend::start(decide);
    let told = Backend::start(|_, socket| answer(socket, "200 OK", ""));
    let config = config(&backend).hook_endpoint(&told.url("/"), SECRET);
    let daemon = Daemon::start(&config);
    let rtmp = daemon.address("rtmp");
    let durable = durable(&daemon.data())?;
    let calm = good(rtmp, &AtomicUsize::new(0), |so_far| so_far < CALM);
    let count = AtomicUsize::new(CALM);

    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let began = Instant::now();
    let culprit = Ipv4Addr::new(127, 66, 0, 1);
    let mut refused = 0;
    let mut beside = Vec::new();
    thread::scope(|scope| {
        let culprits: Vec<_> = (0..CULPRITS)
            .map(|_| {
                let next = &next;
                scope.spawn(move || {
                    let mut refused = 0;
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= keys {
                            return refused;
                        }
                        // A connection may be closed at once while the one before is still being let go.
                        let answer = (0..100).find_map(|_| {
                            let mut publisher = connect(culprit, rtmp).ok()?;
                            publisher.request_publish(&format!("guess-{n}")).ok()
                        });
                        refused += usize::from(answer.is_some_and(|it| it.level == "error"));
                    }
                })
            })
            .collect();
        let (over, count) = (&over, &count);
        let good = scope.spawn(move || good(rtmp, count, |_| !over.load(Ordering::Relaxed)));
        refused = culprits.into_iter().filter_map(|it| it.join().ok()).sum();
        over.store(true, Ordering::Relaxed);
        beside = good.join().unwrap_or_default();
    });
    let seconds = began.elapsed().as_secs_f64();
    let asked = backend.asked();
    let guesses = asked
        .iter()
        .filter(|it| key(it).starts_with("guess-"))
        .count();
    let (calm_p50, calm_p99) = (at(&calm, 0.5), at(&calm, 0.99));
    let (p50, p99) = (at(&beside, 0.5), at(&beside, 0.99));
    println!(
        "\n| good publishers, one each {} ms | accepted | p50 ms | p99 ms |\n|-|-|-|-|",
        PACE.as_millis()
    );
    println!(
        "| control: nobody else | {} | {calm_p50:.1} | {calm_p99:.1} |",
        calm.len()
    );
    println!(
        "| beside {refused} wrong keys of one address | {} | {p50:.1} | {p99:.1} |",
        beside.len()
    );
    let rows = self::durable(&daemon.data())?.abs_diff(durable);
    let summaries = told
        .asked()
        .iter()
        .filter(|it| it.body.contains("publish.rejected"))
        .count();
    println!(
        "\nthe flood: {refused} refused in {seconds:.0} s, {guesses} calls to the backend ({:.1} a second), {rows} durable rows and files, {summaries} summaries told",
        guesses as f64 / seconds
    );
    let added = p50 - calm_p50;
    println!(
        "bar: no durable row, p50 at most {FLOOD_BAR_MS} ms above the control: {added:.1} ms: {}",
        met(rows == 0 && added <= FLOOD_BAR_MS && refused == keys)
    );
    Ok(())
}

/// Good publishers one after another, each from an address of its own, as long as `more` says; sorted milliseconds to Start.
fn good(rtmp: SocketAddr, count: &AtomicUsize, more: impl Fn(usize) -> bool) -> Vec<f64> {
    let mut times = Vec::new();
    while more(times.len()) {
        let n = count.fetch_add(1, Ordering::Relaxed);
        // Some hundreds of streams, again and again.
        let name = format!("key-good-{}", n % 200);
        let publisher = connect(source(n % 5000), rtmp);
        if let Ok(mut publisher) = publisher
            && let Some(ms) = start(&mut publisher, &name)
        {
            times.push(ms);
            let _ = publisher.stop();
        }
        thread::sleep(PACE);
    }
    times.sort_by(f64::total_cmp);
    times
}

/// Rows of the outbox and files that are about no good publisher.
fn durable(data: &Path) -> io::Result<usize> {
    let outbox = rusqlite::Connection::open(data.join("outbox.db")).map_err(io::Error::other)?;
    let rows = "SELECT (SELECT count(*) FROM event WHERE subject NOT LIKE 'good-%') \
                     + (SELECT count(*) FROM subject WHERE name NOT LIKE 'good-%')";
    let rows: i64 = outbox
        .query_row(rows, [], |row| row.get(0))
        .map_err(io::Error::other)?;
    Ok(usize::try_from(rows).unwrap_or_default() + files(data)?)
}

fn files(folder: &Path) -> io::Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // SQLite's own come and go.
        if entry.file_type()?.is_dir() {
            count += files(&entry.path())?;
        } else if !name.starts_with("good-") && !name.starts_with("outbox.db") {
            count += 1;
        }
    }
    Ok(count)
}

/// The value at a quantile of sorted ones.
fn at(sorted: &[f64], quantile: f64) -> f64 {
    let index = (quantile * sorted.len() as f64) as usize;
    let last = sorted.len().saturating_sub(1);
    sorted.get(index.min(last)).copied().unwrap_or(f64::NAN)
}

fn met(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
}
