//! A narrow, shaky link between a player and the daemon: a TCP relay that lets bytes through late and no faster than a
//! mobile network does.
//!
//! Each direction is one queue that all connections share. A piece of data leaves it when the pieces before it have, at
//! the link's rate; then it travels for half the round trip, longer or shorter by the jitter, and never overtakes (the
//! order of a TCP stream). Once a minute nothing moves for a moment, as when a telephone changes cells. When the queue is
//! full the relay stops reading, and TCP pushes back to whoever sends. Nothing is lost: a loss looks to the endpoints of
//! a TCP connection as a pause does. What is not modelled: packets, and TCP's own slow start over the long round trip.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

/// What a link does to what passes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    /// Bits per second, each way.
    pub(crate) rate_bps: u64,
    /// Round trip, without the queue.
    pub(crate) round_trip: Duration,
    /// The round trip varies by as much either way.
    pub(crate) jitter: Duration,
    /// From one freeze to the next; the first comes after half of it.
    pub(crate) freeze_every: Duration,
    /// How long nothing moves.
    pub(crate) freeze: Duration,
}

/// A telephone on a fair day: what the product is judged by.
pub(crate) const MOBILE: Profile = Profile {
    rate_bps: 3_000_000,
    round_trip: Duration::from_millis(80),
    jitter: Duration::from_millis(30),
    freeze_every: Duration::from_secs(60),
    freeze: Duration::from_millis(500),
};

/// Data in the queue of one direction, at most: the time it takes to send it.
const QUEUE: Duration = Duration::from_millis(200);
/// Bytes moved at once: 11 ms of the link.
const PIECE_BYTES: usize = 4096;
/// Pieces of one connection on their way at once; the round trip holds fewer.
const PIECES_MAX: usize = 256;
/// How long one draw of the jitter stays: radio conditions change within a few pictures.
const WEATHER: Duration = Duration::from_millis(100);

/// A running relay; dropping it ends it and every connection through it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    accept: JoinHandle<()>,
}

impl Link {
    /// Relays connections to `to`.
    ///
    /// # Errors
    /// The listener's.
    pub(crate) async fn open(profile: Profile, to: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let up = Arc::new(Direction::new(profile, 1));
        let down = Arc::new(Direction::new(profile, 2));
        let accept = tokio::spawn(async move {
            // Dropped with this task, and with it every connection.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((here, _)) = listener.accept().await {
                let (up, down) = (Arc::clone(&up), Arc::clone(&down));
                connections.spawn(relay(here, to, up, down));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, accept })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

/// One connection, until both ways have ended.
async fn relay(
    here: TcpStream,
    to: SocketAddr,
    up: Arc<Direction>,
    down: Arc<Direction>,
) -> io::Result<()> {
    let there = TcpStream::connect(to).await?;
    here.set_nodelay(true)?;
    there.set_nodelay(true)?;
    // The kernel has already accepted in no time: the round trip of a TCP handshake comes before the first byte.
    sleep_until(Instant::now() + up.profile.round_trip).await;
    let (from_player, to_player) = here.into_split();
    let (from_daemon, to_daemon) = there.into_split();
    let _ = tokio::join!(
        carry(from_player, to_daemon, &up),
        carry(from_daemon, to_player, &down)
    );
    Ok(())
}

/// Carries one way until its end, which travels like data.
async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    direction: &Direction,
) -> io::Result<()> {
    // Full: the reader waits, as it does for a full queue.
    let (sender, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    let read = async move {
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let count = from.read(&mut piece).await.unwrap_or(0);
            piece.truncate(count);
            let (room, arrival) = direction.admit(Instant::now(), count);
            if sender.send((arrival, piece)).await.is_err() || count == 0 {
                return;
            }
            sleep_until(room).await;
        }
    };
    let write = async move {
        while let Some((arrival, piece)) = arriving.recv().await {
            sleep_until(arrival).await;
            if piece.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&piece).await?;
        }
        Ok(())
    };
    tokio::join!(read, write).1
}

/// One way of a link.
#[derive(Debug)]
struct Direction {
    profile: Profile,
    opened: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the last admitted byte has left.
    free: Instant,
    /// When the last admitted byte arrives.
    arrived: Instant,
    /// The one-way delay of the moment, and until when.
    delay: Duration,
    weather_ends: Instant,
    dice: u64,
}

impl Direction {
    fn new(profile: Profile, seed: u64) -> Self {
        let opened = Instant::now();
        let state = State {
            free: opened,
            arrived: opened,
            delay: profile.round_trip / 2,
            weather_ends: opened,
            dice: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15),
        };
        Self {
            profile,
            opened,
            state: Mutex::new(state),
        }
    }

    /// Takes `count` bytes into the queue: when there is room for more, and when they arrive.
    fn admit(&self, now: Instant, count: usize) -> (Instant, Instant) {
        let mut state = self.state.lock().expect("no panic while it is held");
        let send = Duration::from_nanos(count as u64 * 8 * 1_000_000_000 / self.profile.rate_bps);
        state.free = self.thawed(state.free.max(now) + send);
        if now >= state.weather_ends {
            state.weather_ends = now + WEATHER;
            state.dice ^= state.dice << 13;
            state.dice ^= state.dice >> 7;
            state.dice ^= state.dice << 17;
            let span = self.profile.jitter.as_micros() as u64;
            let drawn = Duration::from_micros(state.dice % (span + 1));
            state.delay = self.profile.round_trip / 2 + drawn - self.profile.jitter / 2;
        }
        let arrival = self.thawed(state.free + state.delay);
        state.arrived = state.arrived.max(arrival);
        (state.free - QUEUE.min(state.free - now), state.arrived)
    }

    /// `at`, or the end of the freeze that it falls into.
    fn thawed(&self, at: Instant) -> Instant {
        let every = self.profile.freeze_every.as_micros();
        let since = (at - self.opened).as_micros();
        let into = Duration::from_micros(((since + every / 2) % every) as u64);
        at + self.profile.freeze.saturating_sub(into)
    }
}
