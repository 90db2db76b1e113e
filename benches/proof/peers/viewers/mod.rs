//! Two thousand people watch one stream: with low latency (blocking reloads, every part), or as plain HLS (the playlist
//! and a segment each second).
//!
//! A viewer has one connection for each media playlist: one where picture and sound come together (nginx-rtmp's TS), two
//! where they are apart (CMAF). Each loads every part or segment that a playlist brings, one after the other.

pub(super) mod stage;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, interval_at, sleep},
};

use self::stage::{Rendition, open_segment, resolve, segments, tail, text};
use super::{
    MIB, Meter, Peer, Plan, Recording, Server, client::Connection, publishers::Publishers,
    servers::names,
};
use crate::table::{Table, bar};

/// People watching.
const VIEWERS: usize = 2_000;

/// All have come after this time, evenly.
const ARRIVAL: Duration = Duration::from_secs(3);

/// From the last arrival to the measurement.
const SETTLE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    LowLatency,
    Plain,
}

/// What all viewers together got.
#[derive(Debug, Default)]
struct Tally {
    requests: AtomicU64,
    bytes: AtomicU64,
    /// Playlists that brought media, and those that brought more than one part or segment.
    reloads: AtomicU64,
    late: AtomicU64,
    failed: AtomicU64,
}

/// Measures and prints.
///
/// # Errors
/// A server's or a socket's.
pub(super) async fn run(plan: Plan, recording: &Recording) -> io::Result<()> {
    let many = plan.many.unwrap_or(VIEWERS);
    let mut table = Table::default();
    for _ in 0..plan.runs {
        for (row, peer, way) in [
            (OURS, Peer::Vitrine, Way::LowLatency),
            ("Vitrine, plain HLS", Peer::Vitrine, Way::Plain),
            (NGINX, Peer::Nginx, Way::Plain),
            ("Rushls, low latency", Peer::Rushls, Way::LowLatency),
        ] {
            let values = one(plan, recording, peer, way, many).await?;
            table.note(row, &values);
        }
    }
    table.print(
        &format!("{many} viewers of one stream, 720p30 at 2.5 Mb/s, HTTP/1.1"),
        &[
            ("CPU s per 1000 viewer-minutes", 1),
            ("generator's", 1),
            ("Mb/s per viewer", 2),
            ("requests/s per viewer", 1),
            ("late reloads %", 1),
            ("failed", 0),
            ("RSS MiB", 0),
        ],
    );
    let ratio = table.median(OURS, 0) / table.median(NGINX, 0);
    bar(
        "CPU per viewer, ours with low latency / nginx plain HLS",
        ratio,
        1.0,
    );
    Ok(())
}

const OURS: &str = "Vitrine, low latency";
const NGINX: &str = "nginx, plain HLS";

async fn one(
    plan: Plan,
    recording: &Recording,
    peer: Peer,
    way: Way,
    many: usize,
) -> io::Result<[f64; 7]> {
    let server = Server::start(peer, false)?;
    let publishers = Publishers::start(server.rtmp, "live", &names(1), recording)?;
    let renditions = stage::open(&server).await?;
    let tally = Arc::<Tally>::default();
    let mut viewers = JoinSet::new();
    for number in 0..many {
        let begins = ARRIVAL.mul_f64(number as f64 / many as f64);
        for Rendition { playlist } in renditions.clone() {
            viewers.spawn(view(server.http, playlist, way, begins, tally.clone()));
        }
    }
    sleep(ARRIVAL + SETTLE).await;
    let count = |counter: &AtomicU64| counter.load(Relaxed) as f64;
    let read =
        |tally: &Tally| [&tally.requests, &tally.bytes, &tally.reloads, &tally.late].map(count);
    let (meter, before, time) = (Meter::start(&server), read(&tally), plan.time(15));
    sleep(time).await;
    let ((cpu, own), after) = (meter.read(&server), read(&tally));
    let rss = server.usage().rss as f64 / MIB;
    viewers.shutdown().await;
    publishers.stop()?;
    let [requests, bytes, reloads, late] = std::array::from_fn(|at| after[at] - before[at]);
    let seconds = many as f64 * time.as_secs_f64();
    let per = 60_000.0 / seconds;
    Ok([
        cpu * per,
        own * per,
        bytes * 8.0 / 1e6 / seconds,
        requests / seconds,
        100.0 * late / reloads,
        count(&tally.failed),
        rss,
    ])
}

async fn view(
    address: SocketAddr,
    playlist: String,
    way: Way,
    begins: Duration,
    tally: Arc<Tally>,
) {
    sleep(begins).await;
    let watched = match way {
        Way::LowLatency => low_latency(address, &playlist, &tally).await,
        Way::Plain => plain(address, &playlist, &tally).await,
    };
    if watched.is_err() {
        tally.failed.fetch_add(1, Relaxed);
    }
}

async fn low_latency(address: SocketAddr, playlist: &str, tally: &Tally) -> io::Result<()> {
    let mut connection = Connection::open(address).await?;
    let (mut msn, mut part, mut known) = connection
        .text(playlist, |_, body| {
            let tail = tail(text(body), "");
            let known = tail.parts.last().cloned().unwrap_or_default();
            (open_segment(text(body)), tail.open, known)
        })
        .await?;
    let mark = if playlist.contains('?') { '&' } else { '?' };
    loop {
        let path = format!("{playlist}{mark}_HLS_msn={msn}&_HLS_part={part}");
        let (status, tail) = connection
            .text(&path, |status, body| (status, tail(text(body), &known)))
            .await?;
        expect(status)?;
        // Never beyond what the list shows: at most asked for again at once.
        if tail.open <= part {
            msn += 1;
        }
        part = tail.open;
        tally.note(tail.parts.len());
        for uri in tail.parts {
            tally.media(connection.media(&resolve(playlist, &uri)).await?)?;
            known = uri;
        }
    }
}

async fn plain(address: SocketAddr, playlist: &str, tally: &Tally) -> io::Result<()> {
    let mut connection = Connection::open(address).await?;
    let mut known: Option<String> = None;
    let second = Duration::from_secs(1);
    let mut ticks = interval_at(Instant::now(), second);
    loop {
        ticks.tick().await;
        let (status, new) = connection
            .text(playlist, |status, body| {
                let new = segments(text(body)).take_while(|uri| Some(*uri) != known.as_deref());
                let new: Vec<String> = new.map(str::to_owned).collect();
                (status, new)
            })
            .await?;
        expect(status)?;
        // A viewer that has just come begins with the newest.
        let new = if known.is_none() {
            &new[..new.len().min(1)]
        } else {
            &new
        };
        tally.note(new.len());
        for uri in new.iter().rev() {
            tally.media(connection.media(&resolve(playlist, uri)).await?)?;
            known = Some(uri.clone());
        }
    }
}

impl Tally {
    /// A playlist has brought so many parts or segments.
    fn note(&self, new: usize) {
        self.requests.fetch_add(1, Relaxed);
        self.reloads.fetch_add(u64::from(new > 0), Relaxed);
        self.late.fetch_add(u64::from(new > 1), Relaxed);
    }

    /// A part or segment was loaded.
    fn media(&self, (status, size): (u16, usize)) -> io::Result<()> {
        self.requests.fetch_add(1, Relaxed);
        self.bytes.fetch_add(size as u64, Relaxed);
        expect(status)
    }
}

fn expect(status: u16) -> io::Result<()> {
    match status {
        200 => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("answered {status}"),
        )),
    }
}
