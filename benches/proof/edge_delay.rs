//! Edge delay: from the publisher's socket write of the last frame of a part until that part is downloaded by a request
//! that was already waiting. The whole daemon, over real sockets, seen from outside.
//!
//! A publisher writes a prepared 720p30 broadcast (two B-frames, key frame each second) in real time and notes when it began
//! to write each frame. A viewer asks for one part after the other, so each request is the preload hint's and waits. The
//! frames in a part are counted in its `trun`; counting from part 0 tells which frame is a part's last. A part whose request
//! was sent after its last frame is left out (the first few, which the probe holds) and counted.
//!
//! Beside each part, on the same machine in the same moment, the controls: a bare HTTP round trip to the daemon's
//! `/healthz`, and a TCP echo in this process. The load average is printed before and after.
//! `cargo bench --bench proof -- edge_delay [seconds]`; the bar (p95 <= 15 ms) is judged by whoever reads it.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use reqwest::{Client, StatusCode};

use crate::{
    daemon::{Config, Daemon},
    host::{Usage, load_average},
    publisher::{Publisher, VIDEO, flv},
    sources::Recipe,
};

/// Seconds of broadcast unless told otherwise: more than 500 parts of 200 ms.
const SECONDS: u32 = 110;
/// Milliseconds that design demands of the 95th percentile.
const BAR_MS: f64 = 15.0;

const KEY: &str = "edge-key";

/// The broadcast that other servers were measured with.
const BROADCAST: Recipe = Recipe {
    name: "edge-delay",
    container: "flv",
    video: "testsrc2=size=1280x720:rate=30:duration=120",
    audio: "sine=frequency=440:sample_rate=48000:duration=120",
    codecs: "-c:v libx264 -preset superfast -b:v 2500k -maxrate 2500k -bufsize 2500k -g 30 -keyint_min 30 \
             -sc_threshold 0 -bf 2 -c:a aac -b:a 96k -ac 2",
};

/// When the publisher began to write each frame, in decode order.
pub(crate) type Sent = Arc<Mutex<Vec<Instant>>>;

/// Runs it for as many seconds as the first argument says, at most the recording's.
///
/// # Errors
/// The publisher's.
pub(crate) async fn run(arguments: &[String]) -> io::Result<()> {
    let seconds = arguments.first().and_then(|seconds| seconds.parse().ok());
    let seconds = seconds.unwrap_or(SECONDS).min(118);
    let tags = flv::read(BROADCAST.file())?;
    let daemon = Daemon::start(&Config::new().key(KEY, "edge").log("warn"));
    let (http, control) = (daemon.address("http"), daemon.address("control"));
    let before = load_average();

    let sent = Sent::default();
    let publisher = std::thread::spawn({
        let (address, sent) = (daemon.address("rtmp"), Arc::clone(&sent));
        move || publish(address, KEY, &tags, seconds * 1000, &sent)
    });
    let mut measured = Measured::default();
    measured.follow(http, control, &sent).await;
    publisher.join().expect("the publisher does not panic")?;

    println!();
    println!(
        "edge delay, {seconds} s of 720p30 at 2.5 Mb/s, 2 B-frames, parts of 200 ms, {} parts",
        measured.delay.len()
    );
    println!(
        "({} more were not waited for and do not count)",
        measured.left_out
    );
    let Usage { cpu, rss } = Usage::of(daemon.pid());
    println!(
        "the daemon used {:.2} s of CPU, and {} KiB at the end",
        cpu.as_secs_f64(),
        rss / 1024
    );
    println!("load average before {before}, after {}", load_average());
    println!();
    println!("| what | p50 ms | p95 ms | max ms |");
    println!("|-|-|-|-|");
    let edge = row(
        "last frame of a part written -> part downloaded",
        &mut measured.delay,
    );
    row(
        "control: GET /healthz of the same daemon",
        &mut measured.healthz,
    );
    row("control: TCP echo on the same machine", &mut measured.echo);
    let verdict = if edge <= BAR_MS { "met" } else { "missed" };
    println!("\nbar: p95 <= {BAR_MS} ms: {verdict}");
    Ok(())
}

/// Publishes in real time until `end_ms` of media, then stops.
///
/// # Errors
/// The socket's.
pub(crate) fn publish(
    address: SocketAddr,
    key: &str,
    tags: &[flv::Tag],
    end_ms: u32,
    sent: &Sent,
) -> io::Result<()> {
    let (mut publisher, status) = Publisher::publish(address, "live", key)?;
    assert_eq!(status.code, "NetStream.Publish.Start");
    let start = Instant::now();
    for tag in tags.iter().take_while(|tag| tag.timestamp < end_ms) {
        let due = start + Duration::from_millis(u64::from(tag.timestamp));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        // Packet type 1 of legacy H.264 is a frame; the configuration and the end of the sequence are none.
        if tag.kind == VIDEO && tag.body.get(1) == Some(&1) {
            sent.lock().expect("no panic").push(Instant::now());
        }
        publisher.message(tag.kind, tag.timestamp, &tag.body)?;
    }
    publisher.stop()
}

#[derive(Default)]
struct Measured {
    delay: Vec<f64>,
    healthz: Vec<f64>,
    echo: Vec<f64>,
    left_out: usize,
}

impl Measured {
    /// Downloads part after part until there are no more.
    async fn follow(&mut self, http: SocketAddr, control: SocketAddr, sent: &Sent) {
        let client = Client::builder().no_proxy().build().expect("a client");
        let folder = folder(&client, http).await;
        let healthz = format!("http://{control}/healthz");
        let mut echo = echo().expect("a port");
        let mut frames = 0;
        for number in 0.. {
            let asked = Instant::now();
            let response = client.get(format!("{folder}p{number}.m4s")).send().await;
            let response = response.expect("answered");
            if response.status() != StatusCode::OK {
                return;
            }
            let part = response.bytes().await.expect("a body");
            let arrived = Instant::now();
            frames += sample_count(&part);
            let last = sent
                .lock()
                .expect("no panic")
                .get(frames.saturating_sub(1))
                .copied();
            let last = last.expect("a frame that was not sent cannot be served");
            if asked < last {
                self.delay.push(ms(arrived - last));
            } else {
                self.left_out += 1;
            }
            let start = Instant::now();
            let answer = client.get(&healthz).send().await.expect("answered");
            let _ = answer.bytes().await;
            self.healthz.push(ms(start.elapsed()));
            let start = Instant::now();
            let _ = echo
                .write_all(b"?")
                .and_then(|()| echo.read_exact(&mut [0]));
            self.echo.push(ms(start.elapsed()));
        }
    }
}

/// The folder of the video rendition, once the stream is there.
async fn folder(client: &Client, http: SocketAddr) -> String {
    loop {
        let multivariant = format!("http://{http}/live/edge/index.m3u8");
        let response = client.get(multivariant).send().await.expect("answered");
        if response.status() == StatusCode::OK {
            let text = response.text().await.expect("a body");
            let uri = text
                .lines()
                .find_map(|line| line.strip_suffix("/high/index.m3u8"));
            return format!("http://{http}/live/edge/{}/high/", uri.expect("a picture"));
        }
        // Before the publisher is accepted, the stream is unknown.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Samples in all runs of a part: `trun` is a full box whose count follows version and flags.
pub(crate) fn sample_count(part: &[u8]) -> usize {
    let counts = part
        .windows(12)
        .filter(|window| window.starts_with(b"trun"));
    // Media data could spell "trun" too; the fragment's head comes first and holds one.
    let first = counts
        .map(|window| u32::from_be_bytes([window[8], window[9], window[10], window[11]]))
        .next();
    first.map_or(0, |count| count as usize)
}

/// A connection whose other end sends every byte back.
fn echo() -> io::Result<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let here = TcpStream::connect(listener.local_addr()?)?;
    let (mut there, _) = listener.accept()?;
    here.set_nodelay(true)?;
    there.set_nodelay(true)?;
    std::thread::spawn(move || {
        let mut byte = [0];
        while there.read_exact(&mut byte).is_ok() && there.write_all(&byte).is_ok() {}
    });
    Ok(here)
}

fn ms(length: Duration) -> f64 {
    length.as_secs_f64() * 1000.0
}

/// Prints one line of the table; gives its 95th percentile.
fn row(what: &str, values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |quantile: f64| {
        let index = (quantile * values.len() as f64) as usize;
        values
            .get(index.min(values.len().saturating_sub(1)))
            .copied()
            .unwrap_or(f64::NAN)
    };
    println!(
        "| {what} | {:.2} | {:.2} | {:.2} |",
        at(0.5),
        at(0.95),
        at(1.0)
    );
    at(0.95)
}
