//! Endurance: the real daemon at normal speed, with publishers that come and go, viewers that check the rules of low-latency
//! HLS at every reload, and neighbours that mean harm; memory, descriptors, threads and tasks every ten seconds.
//!
//! Five streams of 320x180 ([`publishers`]), four viewers each ([`viewers`]), strangers beside them ([`neighbours`]). The
//! daemon may not fail anybody, and none of its figures may grow: a straight line is laid through each by least squares,
//! the warm-up left out, and what it gains from one end to the other is held against a bound. When everybody has left, so
//! have what they cost. `cargo bench --bench proof -- soak [minutes]`; the exit code is 1 when a rule was broken.
//!
//! [`ladder`] is the same with encoders at work: `soak-ladder [minutes]`, and under valgrind `soak-memcheck [minutes]`.

mod ladder;
mod neighbours;
mod publishers;
mod viewers;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use reqwest::Client;
use tokio::task::JoinSet;

use crate::{
    daemon::{CONTROL_TOKEN, Config, Daemon},
    host::{Usage, load_average},
    link::{Link, Profile},
    sources::LONG,
};
pub(crate) use ladder::{memcheck, run as run_ladder};
use publishers::Film;

/// Minutes unless told otherwise.
const MINUTES: f64 = 60.0;
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// Left out of the trend: windows fill, ended streams are kept for a minute, allocators find their size.
const WARM_UP_SECONDS: f64 = 120.0;
/// And at least so much of the whole.
const WARM_UP_SHARE: f64 = 0.2;
/// Fewer samples than this make no trend.
const TREND_SAMPLES_MIN: usize = 6;
/// Broken rules that are told apart.
const BROKEN_MAX: usize = 40;
/// After the last has left: the grace of a stream, the minute that its end stays fetchable, and room.
const DEPARTURE: Duration = Duration::from_secs(110);

/// What is broadcast, and who is there.
#[derive(Clone, Debug)]
struct Scene {
    streams: usize,
    viewers_per_stream: usize,
    /// Whether strangers knock.
    strangers: bool,
    film: Film,
    /// A relay that publishers and every second viewer go through.
    link: Option<Profile>,
    /// Threads of encoders are there in the middle of it, and gone in the end.
    encodes: bool,
    /// Whether the daemon can be asked for its metrics. Under valgrind it cannot: the crate that reads `/proc` for them
    /// looks for the kernel's page of functions where valgrind has put nothing.
    asks: bool,
}

impl Scene {
    /// Five streams that are passed through.
    fn passed() -> Self {
        Self {
            streams: 5,
            viewers_per_stream: 4,
            strangers: true,
            film: Film::new(&[LONG], Duration::MAX),
            link: None,
            encodes: false,
            asks: true,
        }
    }

    /// Its streams with their keys, beyond `config`.
    fn keys(&self, config: Config) -> Config {
        { 0..self.streams }.fold(config, |config, number| {
            config.key(&key(number), &stream(number))
        })
    }
}

/// A figure of the daemon: its name, its unit, and what a straight line through it may gain at most: this share of its
/// mean, and so many more.
struct Figure {
    name: &'static str,
    share: f64,
    more: f64,
    of: fn(&Sample) -> f64,
}

const FIGURES: [Figure; 5] = [
    Figure {
        name: "RSS, MiB",
        share: 0.05,
        more: 2.0,
        of: |sample| sample.rss_mib,
    },
    Figure {
        name: "descriptors",
        share: 0.05,
        more: 4.0,
        of: |sample| sample.descriptors,
    },
    Figure {
        name: "threads",
        share: 0.1,
        more: 1.0,
        // Those of encoders come and go with publishers.
        of: |sample| sample.threads - sample.encoders,
    },
    Figure {
        name: "threads of encoders",
        share: 0.25,
        more: 1.0,
        of: |sample| sample.encoders,
    },
    Figure {
        name: "tasks",
        share: 0.05,
        more: 4.0,
        of: |sample| sample.tasks,
    },
];

/// What the daemon was at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    seconds: f64,
    rss_mib: f64,
    descriptors: f64,
    threads: f64,
    /// Of the threads, those that decode and encode.
    encoders: f64,
    tasks: f64,
    waiters: f64,
    retained_mib: f64,
    cpu_percent: f64,
    /// Pictures encoded, pictures shed and renditions lost, so far.
    encoded: f64,
    shed: f64,
    lost: f64,
}

/// What everyone writes down.
#[derive(Clone, Debug, Default)]
struct Book(Arc<Mutex<Pages>>);

/// How often it was, by name.
#[derive(Clone, Debug, Default)]
struct Pages {
    deeds: BTreeMap<String, u64>,
    broken: BTreeMap<String, u64>,
}

impl Book {
    fn deed(&self, name: &str) {
        self.deeds(name, 1);
    }

    fn deeds(&self, name: &str, count: u64) {
        *self.pages().deeds.entry(name.to_owned()).or_default() += count;
    }

    fn broken(&self, rule: &str) {
        let mut pages = self.pages();
        let known = pages.broken.contains_key(rule) || pages.broken.len() < BROKEN_MAX;
        let rule = if known {
            rule
        } else {
            "more than can be told apart"
        };
        *pages.broken.entry(rule.to_owned()).or_default() += 1;
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Numbers that look random and are the same in every run.
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// A number in `from..to`.
    fn roll(&mut self, from: u64, to: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        from + self.0 % (to - from)
    }
}

fn stream(number: usize) -> String {
    format!("soak{number}")
}

fn key(number: usize) -> String {
    format!("soak-key-{number}")
}

/// Runs it for as many minutes as the first argument says.
///
/// # Errors
/// Never; what goes wrong is in the verdict.
pub(crate) async fn run(arguments: &[String]) -> io::Result<()> {
    let scene = Scene::passed();
    let daemon = Daemon::start(&scene.keys(Config::new().log("warn")));
    let book = Book::default();
    let whole = play(&scene, &daemon, length(arguments, MINUTES), &book).await?;
    end(daemon, whole, &book)
}

/// As many minutes as the first argument says, or else so many.
fn length(arguments: &[String], minutes: f64) -> Duration {
    let wanted = arguments.first().and_then(|minutes| minutes.parse().ok());
    Duration::from_secs_f64(wanted.unwrap_or(minutes) * 60.0)
}

/// Plays a scene to a daemon and judges it; whether all is well.
///
/// # Errors
/// The relay's.
async fn play(scene: &Scene, daemon: &Daemon, length: Duration, book: &Book) -> io::Result<bool> {
    // A viewer's broken rule is a panic with two playlists in it; the book keeps what matters of it.
    std::panic::set_hook(Box::new(|_| {}));
    let mut meter = Meter::new(daemon, scene.asks);
    let idle = meter.sample().await;
    println!(
        "\nsoak: {} publishers, {} viewers, {:.1} minutes, load average {}\n",
        scene.streams,
        scene.streams * scene.viewers_per_stream,
        length.as_secs_f64() / 60.0,
        load_average()
    );

    let end = Instant::now() + length;
    let (rtmp, http) = (daemon.address("rtmp"), daemon.address("http"));
    let links = match scene.link {
        None => None,
        Some(profile) => Some((
            Link::open(profile, rtmp).await?,
            Link::open(profile, http).await?,
        )),
    };
    let (publish_at, far) = match &links {
        None => (rtmp, http),
        Some((up, down)) => (up.address, down.address),
    };
    let mut threads = publishers::start(publish_at, scene, end, book);
    let mut others = JoinSet::new();
    for number in 0..scene.streams * scene.viewers_per_stream {
        let stream = stream(number / scene.viewers_per_stream);
        let root = format!("http://{}", if number % 2 == 1 { far } else { http });
        others.spawn(viewers::watch(root, stream, number, end, book.clone()));
    }
    if scene.strangers {
        threads.push(neighbours::start(rtmp, end, book));
        others.spawn(neighbours::browse(http, scene.streams, end, book.clone()));
    }
    let samples = follow(&mut meter, end, length).await;
    while others.join_next().await.is_some() {}
    for thread in threads {
        if thread.join().is_err() {
            book.broken("a thread of the soak itself ended early");
        }
    }
    if scene.encodes {
        let fetched = book.pages().deeds.clone();
        for name in ["fetched of mid", "fetched of low"] {
            if fetched.get(name).is_none_or(|count| *count == 0) {
                book.broken(&format!("nothing was {name}"));
            }
        }
    }
    let after = departed(&mut meter, idle, book).await;
    Ok(verdict(&samples, idle, after, book))
}

/// Ends the process with what was found, the daemon's own end included.
fn end(daemon: Daemon, flat: bool, book: &Book) -> io::Result<()> {
    let before = book.pages().broken.len();
    let exit = daemon.stop();
    if exit.code != Some(0) {
        book.broken("the daemon did not end well: see what it wrote");
    }
    if exit.written.contains("panicked") {
        book.broken("a task of the daemon panicked: see its log");
    }
    let Pages { broken, .. } = book.pages().clone();
    if broken.len() > before {
        println!("{}\n{broken:?}: missed", exit.written);
    }
    if !flat || !broken.is_empty() {
        std::process::exit(1);
    }
    Ok(())
}

/// Samples until `end`; prints each in a short run, one a minute in a long one.
async fn follow(meter: &mut Meter, end: Instant, length: Duration) -> Vec<Sample> {
    let each = if length > Duration::from_secs(600) {
        6
    } else {
        1
    };
    println!(
        "| s | RSS MiB | descriptors | threads | of encoders | tasks | waiting | retained MiB | CPU % | encoded | shed | lost |"
    );
    println!("|-|-|-|-|-|-|-|-|-|-|-|-|");
    let mut samples = Vec::new();
    // The last moments are not a sample: some have left already.
    while Instant::now() + SAMPLE_EVERY < end {
        tokio::time::sleep(SAMPLE_EVERY).await;
        let sample = meter.sample().await;
        if samples.len() % each == 0 {
            print(&sample);
        }
        samples.push(sample);
    }
    tokio::time::sleep_until(end.into()).await;
    samples
}

fn print(sample: &Sample) {
    println!(
        "| {:.0} | {:.1} | {} | {} | {} | {} | {} | {:.1} | {:.0} | {} | {} | {} |",
        sample.seconds,
        sample.rss_mib,
        sample.descriptors,
        sample.threads,
        sample.encoders,
        sample.tasks,
        sample.waiters,
        sample.retained_mib,
        sample.cpu_percent,
        sample.encoded,
        sample.shed,
        sample.lost,
    );
}

/// Waits until descriptors, tasks and media are back where they were when nobody had come yet.
async fn departed(meter: &mut Meter, idle: Sample, book: &Book) -> Sample {
    let end = Instant::now() + DEPARTURE;
    loop {
        let sample = meter.sample().await;
        // The meter's own connection is one of each.
        let left = sample.descriptors > idle.descriptors + 2.0
            || sample.tasks > idle.tasks + 2.0
            || sample.encoders > 0.0
            || sample.retained_mib > 0.0;
        if !left {
            return sample;
        }
        if Instant::now() > end {
            book.broken("something is left when everybody has gone");
            return sample;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// Prints the trends, the deeds and the broken rules; whether all is well.
fn verdict(samples: &[Sample], idle: Sample, after: Sample, book: &Book) -> bool {
    let last = samples.last().map_or(0.0, |sample| sample.seconds);
    let warm_up = WARM_UP_SECONDS.max(last * WARM_UP_SHARE);
    let warm: Vec<&Sample> = samples
        .iter()
        .filter(|sample| sample.seconds >= warm_up)
        .collect();
    println!("\n| figure | idle | mean | most | the line gains | bound | after | |");
    println!("|-|-|-|-|-|-|-|-|");
    let long_enough = warm.len() >= TREND_SAMPLES_MIN;
    let mut flat = true;
    for Figure {
        name,
        share,
        more,
        of,
    } in FIGURES
    {
        let points: Vec<(f64, f64)> = warm.iter().map(|at| (at.seconds, of(at))).collect();
        let mean = points.iter().map(|(_, y)| y).sum::<f64>() / points.len() as f64;
        let most = points.iter().map(|(_, y)| *y).fold(0.0, f64::max);
        let (gain, bound) = (gain(&points), share * mean + more);
        let held = !(gain > bound && long_enough);
        flat &= held;
        let word = if held { "" } else { "NOT FLAT" };
        println!(
            "| {name} | {:.1} | {mean:.1} | {most:.1} | {gain:+.2} | {bound:.2} | {:.1} | {word} |",
            of(&idle),
            of(&after)
        );
    }
    println!(
        "\ntrends over {:.0} s, after {warm_up:.0} s of warm-up, {} samples; load average {}",
        (last - warm_up).max(0.0),
        warm.len(),
        load_average()
    );
    let Pages { deeds, broken } = book.pages().clone();
    let deeds: Vec<String> = deeds
        .iter()
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    println!("done: {}", deeds.join(", "));
    for (rule, count) in &broken {
        println!("BROKEN {count} times: {rule}");
    }
    let trend = match (long_enough, flat) {
        (false, _) => "too short to tell whether it is flat",
        (true, true) => "flat",
        (true, false) => "not flat",
    };
    let whole = flat && broken.is_empty();
    let word = if whole { "met" } else { "missed" };
    println!("\nverdict: {trend}, {} broken rules: {word}", broken.len());
    whole
}

/// What a line through `points`, by least squares, gains from the first to the last.
fn gain(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
        let distances = points.iter().map(|(x, y)| (x - mean_x, y - mean_y));
        distances.map(|(x, y)| of(x, y)).sum()
    };
    let slope = sum(&|x, y| x * y) / sum(&|x, _| x * x);
    match (points.first(), points.last()) {
        (Some(first), Some(last)) => slope * (last.0 - first.0),
        _ => f64::NAN,
    }
}

/// Takes samples of one daemon.
struct Meter {
    pid: u32,
    /// Where it tells of itself, if it does.
    metrics: Option<String>,
    client: Client,
    began: Instant,
    last: (Instant, Duration),
}

impl Meter {
    fn new(daemon: &Daemon, asks: bool) -> Self {
        let pid = daemon.pid();
        let now = Instant::now();
        Self {
            pid,
            metrics: asks.then(|| daemon.control_url("/metrics")),
            client: crate::viewer::client().build().expect("a client"),
            began: now,
            last: (now, Usage::of(pid).cpu),
        }
    }

    async fn sample(&mut self) -> Sample {
        let text = match &self.metrics {
            Some(url) => {
                let request = self.client.get(url).bearer_auth(CONTROL_TOKEN);
                match request.send().await {
                    Ok(response) => response.text().await.unwrap_or_default(),
                    Err(_) => String::new(),
                }
            }
            None => String::new(),
        };
        let metric = |name: &str| -> f64 {
            let value = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value
                .and_then(|value| value.parse().ok())
                .unwrap_or(f64::NAN)
        };
        let sum = |name: &str| -> f64 {
            let series = text.lines().filter_map(|line| {
                let labels = line.strip_prefix(name)?.strip_prefix('{')?;
                labels.rsplit_once(' ')?.1.parse::<f64>().ok()
            });
            series.fold(0.0, |sum, value| sum + value)
        };
        let usage = Usage::of(self.pid);
        let now = Instant::now();
        let (then, cpu) = std::mem::replace(&mut self.last, (now, usage.cpu));
        Sample {
            seconds: (now - self.began).as_secs_f64(),
            rss_mib: usage.rss as f64 / f64::from(1 << 20),
            descriptors: entries(self.pid, "fd"),
            threads: entries(self.pid, "task"),
            encoders: encoders(self.pid),
            tasks: metric("vitrine_tasks"),
            waiters: metric("vitrine_waiters"),
            retained_mib: metric("vitrine_media_retained_bytes") / f64::from(1 << 20),
            cpu_percent: 100.0 * usage.cpu.saturating_sub(cpu).as_secs_f64()
                / (now - then).as_secs_f64().max(0.001),
            encoded: sum("vitrine_transcode_frames_total"),
            shed: sum("vitrine_transcode_frames_shed_total"),
            lost: sum("vitrine_transcode_rungs_lost_total"),
        }
    }
}

/// Entries of a folder of `/proc/<pid>`: `fd` is descriptors, `task` is threads.
fn entries(pid: u32, folder: &str) -> f64 {
    std::fs::read_dir(format!("/proc/{pid}/{folder}"))
        .map_or(f64::NAN, |entries| entries.count() as f64)
}

/// Threads that decode or encode, by their names.
fn encoders(pid: u32) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let names = threads.into_iter().flatten().flatten();
    let names = names.filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
    names
        .filter(|name| name.starts_with("encode-") || name.trim_end() == "decode")
        .count() as f64
}
