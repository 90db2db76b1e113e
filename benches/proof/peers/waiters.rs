//! Ten thousand requests wait for the same part: what each costs in memory, and how long the last is behind the first.
//!
//! Over HTTP/1.1 each has a connection; over HTTP/2 a hundred share one. All wait for the media playlist with a part that
//! comes a second and a half later; the clock starts when the publisher begins to write the last frame of that part. Memory
//! is what the server has grown by when all are connected and wait, before the first answer.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::TcpStream,
    sync::{Barrier, watch},
    task::JoinSet,
    time::sleep,
};

use super::{
    Meter, Peer, Plan, Recording, Server, client::Connection, publishers::Publishers,
    servers::names, viewers::stage,
};
use crate::table::{Table, bar};

/// Requests waiting at once.
const WAITERS: usize = 10_000;

/// Requests on one HTTP/2 connection.
const STREAMS: usize = 100;

/// Waits in a row; the first, in which everything is new, counts for memory alone.
const ROUNDS: usize = 4;

/// Frames in a part of 200 ms, and in a segment of 1 s.
const FRAMES_PER_PART: usize = 6;
const FRAMES_PER_SEGMENT: usize = 30;

/// The part of a segment that is waited for.
const PART: usize = 2;

/// When each answer was complete.
type Answered = Arc<Mutex<Vec<Instant>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Http1,
    Http2,
}

/// Measures and prints.
///
/// # Errors
/// A server's or a socket's.
pub(super) async fn run(plan: Plan, recording: &Recording) -> io::Result<()> {
    let many = plan.many.unwrap_or(WAITERS);
    let mut table = Table::default();
    for _ in 0..plan.runs {
        for (row, way) in [(HTTP1, Way::Http1), (HTTP2, Way::Http2)] {
            one(recording, way, many, row, &mut table).await?;
        }
    }
    table.print(
        &format!("{many} requests wait for one part"),
        &[
            ("first answer ms", 1),
            ("last answer ms", 1),
            ("CPU ms per woken viewer", 4),
            ("generator's", 4),
            ("RSS KB per waiter", 1),
            ("control: /healthz ms", 2),
        ],
    );
    for (row, most) in [(HTTP1, 40.0), (HTTP2, 8.0)] {
        bar(
            &format!("{row}: last answer, ms"),
            table.median(row, 1),
            250.0,
        );
        bar(&format!("{row}: KB per waiter"), table.median(row, 4), most);
    }
    Ok(())
}

const HTTP1: &str = "HTTP/1.1";
const HTTP2: &str = "HTTP/2 in clear";

async fn one(
    recording: &Recording,
    way: Way,
    many: usize,
    row: &str,
    table: &mut Table,
) -> io::Result<()> {
    let server = Server::start(Peer::Vitrine, false)?;
    let publishers = Publishers::start(server.rtmp, "live", &names(1), recording)?;
    let playlist = stage::open(&server).await?.swap_remove(0).playlist;
    let before = server.usage().rss;
    let (goal, goals) = watch::channel(0);
    let answered = Answered::default();
    let ready = Arc::new(Barrier::new(many + 1));
    let mut waiters = JoinSet::new();
    let waiter = Waiter {
        playlist,
        goals,
        ready: ready.clone(),
        answered: answered.clone(),
    };
    match way {
        Way::Http1 => {
            for _ in 0..many {
                waiters.spawn(waiter.clone().http1(server.http));
            }
        }
        Way::Http2 => {
            for first in (0..many).step_by(STREAMS) {
                waiter
                    .clone()
                    .http2(server.http, STREAMS.min(many - first), &mut waiters)
                    .await?;
            }
        }
    }
    ready.wait().await;
    let mut rss = 0.0;
    for round in 0..ROUNDS {
        answered.lock().expect("no panic").clear();
        // Counted from the first frame, which the server puts at the start of segment 0.
        let sent = (0..).find(|frame| publishers.sent(*frame).is_none());
        let msn = sent.unwrap_or(0).div_ceil(FRAMES_PER_SEGMENT) + 1;
        let last_frame = msn * FRAMES_PER_SEGMENT + (PART + 1) * FRAMES_PER_PART - 1;
        // As early as it may be asked for, so that all have asked well before it is there.
        until_sent(&publishers, (msn - 1) * FRAMES_PER_SEGMENT).await;
        goal.send_replace(msn);
        until_sent(&publishers, last_frame - FRAMES_PER_PART / 2).await;
        if round == 0 {
            rss = (server.usage().rss.saturating_sub(before)) as f64 / 1000.0 / many as f64;
        }
        let early = answered.lock().expect("no panic").len();
        let meter = Meter::start(&server);
        while answered.lock().expect("no panic").len() < many {
            if let Some(ended) = waiters.try_join_next() {
                return ended.map_err(io::Error::other)?;
            }
            sleep(Duration::from_millis(5)).await;
        }
        let (cpu, own) = meter.read(&server);
        let (first, last) = {
            let mut answered = answered.lock().expect("no panic");
            answered.sort();
            (answered[0], answered[many - 1])
        };
        let written = publishers.sent(last_frame).ok_or(io::ErrorKind::NotFound)?;
        let ms = |at: Instant| at.saturating_duration_since(written).as_secs_f64() * 1000.0;
        let control = control(&server).await?;
        if early > 0 {
            eprintln!("  {early} answers came before the part");
        }
        if round > 0 {
            let each = 1000.0 / many as f64;
            table.note(
                row,
                &[ms(first), ms(last), cpu * each, own * each, rss, control],
            );
        }
    }
    waiters.shutdown().await;
    publishers.stop()
}

/// Until the publisher has begun to write a frame.
async fn until_sent(publishers: &Publishers, frame: usize) {
    while publishers.sent(frame).is_none() {
        sleep(Duration::from_millis(5)).await;
    }
}

/// Milliseconds of a bare request that waits for nothing.
async fn control(server: &Server) -> io::Result<f64> {
    let mut connection = Connection::open(server.http).await?;
    connection.text("/", |_, _| ()).await?;
    let asked = Instant::now();
    connection.text("/", |_, _| ()).await?;
    Ok(asked.elapsed().as_secs_f64() * 1000.0)
}

/// One that waits for a part of whichever segment is the goal.
#[derive(Clone)]
struct Waiter {
    playlist: String,
    goals: watch::Receiver<usize>,
    ready: Arc<Barrier>,
    answered: Answered,
}

impl Waiter {
    async fn http1(mut self, address: SocketAddr) -> io::Result<()> {
        let mut connection = Connection::open(address).await?;
        self.ready.wait().await;
        loop {
            let path = self.next().await?;
            let status = connection.text(&path, |status, _| status).await?;
            self.note(status)?;
        }
    }

    async fn http2(
        self,
        address: SocketAddr,
        streams: usize,
        waiters: &mut JoinSet<io::Result<()>>,
    ) -> io::Result<()> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (requests, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_connection_window_size(64 << 20)
            .handshake(TokioIo::new(socket))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(connection);
        for _ in 0..streams {
            let (mut waiter, mut requests) = (self.clone(), requests.clone());
            waiters.spawn(async move {
                waiter.ready.wait().await;
                loop {
                    let path = waiter.next().await?;
                    let request = Request::get(format!("http://{address}{path}"));
                    let request = request
                        .body(Empty::<Bytes>::new())
                        .map_err(io::Error::other)?;
                    let answer = requests
                        .send_request(request)
                        .await
                        .map_err(io::Error::other)?;
                    let status = answer.status().as_u16();
                    let mut body = answer.into_body();
                    while let Some(frame) = body.frame().await {
                        frame.map_err(io::Error::other)?;
                    }
                    waiter.note(status)?;
                }
            });
        }
        Ok(())
    }

    async fn next(&mut self) -> io::Result<String> {
        self.goals.changed().await.map_err(io::Error::other)?;
        let msn = *self.goals.borrow_and_update();
        Ok(format!("{}?_HLS_msn={msn}&_HLS_part={PART}", self.playlist))
    }

    fn note(&self, status: u16) -> io::Result<()> {
        if status != 200 {
            return Err(io::Error::other(format!("answered {status}")));
        }
        self.answered.lock().expect("no panic").push(Instant::now());
        Ok(())
    }
}
