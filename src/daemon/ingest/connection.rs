//! One publisher's connection, from the handshake to the close: the loop between its socket, the session's state machine
//! (`engine::publish`), the verdict and the stream's task (hand-off A).
//!
//! The connection is one task that owns everything it uses. Invariant: nothing in it waits without an end. Reading ends by
//! the session's deadlines; writing, the verdict and the hand-off each have a limit; a fence (takeover) and the door's
//! drain end it from outside. While the hand-off waits or media is too far ahead, the socket is not read: TCP pushes back.
//! Bytes and their meaning are the state machine's business, statuses the table's in `status`.

use std::{future::pending, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{Span, debug, info};
use vitrine_core::{
    engine::{
        publish::{self, Output, Request, Session, event::Sent},
        stream::End,
    },
    limits::{RTMP_HAND_OFF, RTMP_LINGER, RTMP_READ_BYTES, RTMP_WRITE},
    wire::flv::Item,
};

use super::{
    Accepted, Ingest,
    admission::PublishRequest,
    events::Told,
    handshake,
    pace::{Cap, Pace},
    status::Refusal,
    tenure::{Over, Tenure},
};
use crate::live::{Fence, Gone, Publisher, SessionId, Terms};

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("bitrate above the {max_kbps} kbit/s allowed")]
    Bitrate { max_kbps: u32 },
    #[error("closed by the peer")]
    ByPeer,
    #[error("{0}")]
    BySession(String),
    #[error(transparent)]
    Fenced(#[from] Gone),
    #[error("stream took no media for {} s", RTMP_HAND_OFF.as_secs())]
    HandOffTimeout,
    #[error(transparent)]
    Over(#[from] Over),
    #[error("server is shutting down")]
    ShuttingDown,
    #[error(transparent)]
    Session(#[from] publish::Error),
    #[error(transparent)]
    Socket(#[from] io::Error),
    #[error("peer took no answer for {} s", RTMP_WRITE.as_secs())]
    WriteTimeout,
}

impl Cause {
    /// Whether the end is our doing, so that the peer must be told why.
    fn is_ours(&self) -> bool {
        matches!(
            self,
            Self::Bitrate { .. }
                | Self::Fenced(_)
                | Self::HandOffTimeout
                | Self::Over(_)
                | Self::ShuttingDown
        )
    }

    /// The name in metrics: a cause of `stream.ended` (contracts, section 3).
    fn label(&self) -> &'static str {
        match self {
            Self::Bitrate { .. }
            | Self::BySession(_)
            | Self::Fenced(Gone(
                Fence::Unplayable
                | Fence::Kicked
                | Fence::Expired
                | Fence::Revoked
                | Fence::TooFast { .. },
            ))
            | Self::Over(_) => "kicked",
            Self::ByPeer | Self::Session(_) | Self::Socket(_) | Self::WriteTimeout => "lost",
            Self::Fenced(Gone(Fence::Takeover)) => "takeover",
            Self::Fenced(Gone(Fence::Crashed)) | Self::HandOffTimeout => "crash",
            Self::Fenced(Gone(Fence::ShuttingDown | Fence::Ended)) | Self::ShuttingDown => "ended",
            Self::Fenced(Gone(Fence::TakenDown)) => "taken_down",
        }
    }

    /// What the stream is told of it, where it was the door that ended the publish.
    fn cut(&self) -> Option<Fence> {
        match self {
            Self::Bitrate { max_kbps } => Some(Fence::TooFast {
                max_kbps: *max_kbps,
            }),
            Self::Over(over) => Some(over.fence()),
            Self::ShuttingDown => Some(Fence::ShuttingDown),
            _ => None,
        }
    }
}

/// Every cause that `vitrine_sessions_ended_total` tells.
pub(super) const CAUSES: [&str; 7] = [
    "stopped",
    "lost",
    "kicked",
    "takeover",
    "crash",
    "ended",
    "taken_down",
];

/// What the loop wakes up for.
enum Wake {
    Deadline,
    Decided(Box<Result<Accepted, Refusal>>),
    Draining,
    Fenced(Fence),
    Over(Over),
    Read,
    ShuttingDown,
}

/// An accepted publish.
struct Publish {
    publisher: Publisher,
    /// Counts it among those a drain waits for.
    _counted: TaskTrackerToken,
    encoder: String,
    since: Instant,
    /// Bytes of the connection when it began.
    from: u64,
    max_kbps: u32,
    cap: Cap,
    pace: Pace,
    tenure: Tenure,
    /// As an operator last changed them.
    terms: watch::Receiver<Terms>,
    /// `CODECS` of the configurations before the first frame.
    codecs: Vec<String>,
    live: bool,
    /// What was said of the events that it sends.
    told: Told,
}

type Deciding = Pin<Box<dyn Future<Output = Result<Accepted, Refusal>> + Send>>;

/// One connection and all that belongs to it.
pub(super) struct Connection<S> {
    door: Arc<Ingest>,
    socket: S,
    address: SocketAddr,
    protocol: &'static str,
    id: SessionId,
    /// Origin of the session's monotonic time.
    start: Instant,
    session: Session,
    buffer: BytesMut,
    deciding: Option<Deciding>,
    /// As the request named it, until the publish is accepted.
    encoder: String,
    publish: Option<Publish>,
    told_to_leave: bool,
    /// It was asked to, and said that it can.
    reconnects: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    /// Serves a connection until its end. Never fails: what went wrong is in the log, with its place.
    pub(super) async fn serve(
        door: Arc<Ingest>,
        mut socket: S,
        address: SocketAddr,
        protocol: &'static str,
        id: SessionId,
    ) {
        let shaken = tokio::select! {
            shaken = handshake::accept(&mut socket, door.settings.handshake_timeout) => shaken,
            () = door.stop.cancelled() => return,
        };
        let early = match shaken {
            Ok(early) => early,
            Err(error) => return debug!(%error, "no handshake"),
        };
        debug!("connected");
        let limits = door.settings.session;
        let mut connection = Self {
            door,
            socket,
            address,
            protocol,
            id,
            start: Instant::now(),
            session: Session::with_limits(Duration::ZERO, limits),
            buffer: BytesMut::with_capacity(RTMP_READ_BYTES),
            deciding: None,
            encoder: String::new(),
            publish: None,
            told_to_leave: false,
            reconnects: false,
        };
        let cause = connection.converse(early).await;
        connection.part(cause).await;
    }

    async fn converse(&mut self, early: Bytes) -> Cause {
        self.buffer.extend_from_slice(&early);
        let mut wake = Wake::Read;
        loop {
            let stepped = self.step(wake);
            // Even after an error: what the peer sent before it counts.
            let carried_out = self.carry_out().await;
            if let Err(cause) = stepped.and(carried_out) {
                return cause;
            }
            wake = match self.wake().await {
                Ok(wake) => wake,
                Err(cause) => return cause,
            };
        }
    }

    /// Waits for the next thing to happen. Cancel safe: what was read stays in the buffer.
    async fn wake(&mut self) -> Result<Wake, Cause> {
        let publish = self.publish.as_ref();
        let hold = publish.and_then(|publish| publish.pace.hold_until());
        let hold = hold.map(|until| self.start + until);
        let read = async {
            if let Some(until) = hold {
                sleep_until(until).await;
            }
            self.socket.read_buf(&mut self.buffer).await
        };
        tokio::select! {
            biased;
            fence = fenced(publish) => Ok(Wake::Fenced(fence)),
            over = over(publish) => Ok(Wake::Over(over)),
            () = self.door.stop.cancelled() => Ok(Wake::ShuttingDown),
            () = self.door.draining.cancelled(), if !self.told_to_leave => Ok(Wake::Draining),
            decided = decided(&mut self.deciding) => Ok(Wake::Decided(Box::new(decided))),
            () = due(self.start, self.session.deadline()) => Ok(Wake::Deadline),
            read = read => match read? {
                0 => Err(Cause::ByPeer),
                _ => Ok(Wake::Read),
            },
        }
    }

    /// Lets the state machine know what happened.
    fn step(&mut self, wake: Wake) -> Result<(), Cause> {
        let now = self.start.elapsed();
        match wake {
            Wake::Deadline => self.session.expire(now)?,
            Wake::Decided(decided) => {
                self.deciding = None;
                self.answer(now, *decided);
            }
            Wake::Draining => {
                self.told_to_leave = true;
                self.reconnects = self.session.drain("server is shutting down");
                debug!(asked = self.reconnects, "draining");
            }
            Wake::Fenced(fence) => return Err(Gone(fence).into()),
            Wake::Over(over) => return Err(over.into()),
            Wake::Read => {
                let bytes = self.buffer.len();
                metrics::counter!("vitrine_rtmp_received_bytes_total").increment(bytes as u64);
                self.check_cap(now, bytes)?;
                self.session.push(now, &self.buffer)?;
                self.buffer.clear();
            }
            Wake::ShuttingDown => return Err(Cause::ShuttingDown),
        }
        Ok(())
    }

    fn check_cap(&mut self, now: Duration, bytes: usize) -> Result<(), Cause> {
        let Some(publish) = &mut self.publish else {
            return Ok(());
        };
        if publish.terms.has_changed().unwrap_or(false) {
            let max_kbps = publish.terms.borrow_and_update().max_kbps;
            if max_kbps != publish.max_kbps {
                publish.max_kbps = max_kbps;
                publish.cap = Cap::new(max_kbps, now);
            }
        }
        if publish.cap.take(now, bytes) {
            return Ok(());
        }
        let max_kbps = publish.max_kbps;
        Err(Cause::Bitrate { max_kbps })
    }

    /// Does what the state machine asks for, in order.
    async fn carry_out(&mut self) -> Result<(), Cause> {
        let received = Instant::now();
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(bytes) => self.write(&bytes).await?,
                Output::Publish(request) => self.ask(request),
                Output::Metadata(metadata) => {
                    if let Some(publish) = &self.publish {
                        publish.publisher.metadata(metadata).await?;
                    }
                }
                Output::Event(sent) => self.event(sent).await?,
                Output::Media(item) => self.hand_over(item, received).await?,
                Output::Stopped => self.stopped().await,
                Output::Close(why) => return Err(Cause::BySession(why)),
            }
        }
        Ok(())
    }

    fn ask(&mut self, words: Request) {
        self.encoder.clone_from(&words.encoder);
        let request = PublishRequest {
            session: self.id.clone(),
            protocol: self.protocol,
            peer: self.address,
            words,
        };
        let door = Arc::clone(&self.door);
        self.deciding = Some(Box::pin(async move { door.decide(request).await }));
    }

    fn answer(&mut self, now: Duration, decided: Result<Accepted, Refusal>) {
        match decided {
            Ok(accepted) => {
                Span::current().record("stream", accepted.stream.as_str());
                let mut terms = accepted.publisher.terms().subscribe();
                let max_kbps = terms.borrow_and_update().max_kbps;
                self.publish = Some(Publish {
                    publisher: accepted.publisher,
                    _counted: self.door.publishes.token(),
                    encoder: std::mem::take(&mut self.encoder),
                    since: Instant::now(),
                    from: self.session.received(),
                    max_kbps,
                    cap: Cap::new(max_kbps, now),
                    pace: Pace::default(),
                    tenure: accepted.tenure,
                    terms,
                    codecs: Vec::new(),
                    live: false,
                    told: Told::default(),
                });
                self.session.verdict(now, publish::Verdict::Accept);
            }
            Err(refusal) => {
                self.door.note_refusal(&refusal, self.address);
                self.session.verdict(now, (&refusal).into());
            }
        }
    }

    async fn hand_over(&mut self, item: Item, received: Instant) -> Result<(), Cause> {
        // Nothing flows before the verdict, nor after the end of a publish.
        let Some(publish) = &mut self.publish else {
            return Ok(());
        };
        match &item {
            Item::Config(config) if !publish.live => publish.codecs.push(config.codecs()),
            Item::Config(config) => debug!(codecs = config.codecs(), "configuration changed"),
            Item::Frame(frame) => {
                publish.pace.arrive(received - self.start, frame.timestamp);
                publish.tenure.reached(frame.timestamp);
                if !publish.live {
                    publish.live = true;
                    let codecs = publish.codecs.join(",");
                    info!(encoder = publish.encoder, codecs, "published");
                }
            }
        }
        let handed = timeout(RTMP_HAND_OFF, publish.publisher.media(item, received));
        match handed.await {
            Ok(handed) => Ok(handed?),
            Err(_) => Err(Cause::HandOffTimeout),
        }
    }

    /// An event that belongs between the media before and after it.
    async fn event(&mut self, sent: Sent) -> Result<(), Cause> {
        let Some(publish) = &mut self.publish else {
            return Ok(());
        };
        let (timestamp, allowed) = (sent.timestamp, publish.terms.borrow().amf_events);
        let handed = match publish.told.read(sent, self.id.as_str(), allowed) {
            Ok(event) => publish.publisher.event(timestamp, event).await,
            Err(Some(words)) => publish.publisher.notice(words).await,
            Err(None) => Ok(()),
        };
        Ok(handed?)
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        let socket = &mut self.socket;
        let written = timeout(RTMP_WRITE, async {
            socket.write_all(bytes).await?;
            socket.flush().await
        });
        match written.await {
            Ok(written) => Ok(written?),
            Err(_) => Err(Cause::WriteTimeout),
        }
    }

    /// The publisher ended its publish in words; it may publish again on the same connection.
    async fn stopped(&mut self) {
        self.deciding = None;
        if let Some(publish) = self.publish.take() {
            self.ended(&publish, &"stopped", "stopped");
            // One that was asked to reconnect will be back: its stream waits as for a lost one.
            let end = if self.reconnects {
                End::Lost
            } else {
                End::Stopped
            };
            publish.publisher.close(end).await;
        }
    }

    /// Says the last words, so that they arrive, and lets go of everything.
    async fn part(mut self, cause: Cause) {
        match self.publish.take() {
            Some(publish) => {
                self.ended(&publish, &cause, cause.label());
                if let Some(fence) = cause.cut() {
                    publish.publisher.cut(fence).await;
                }
            }
            None => debug!(%cause, position = self.session.received(), "connection ended"),
        }
        if matches!(
            cause,
            Cause::ByPeer | Cause::Socket(_) | Cause::WriteTimeout
        ) {
            return;
        }
        if cause.is_ours() {
            self.session.kick(&cause.to_string());
        }
        while let Some(output) = self.session.poll() {
            if let Output::Send(bytes) = output
                && self.write(&bytes).await.is_err()
            {
                return;
            }
        }
        // A socket closed with unread bytes in it is reset, and a reset may overtake the status that was just sent.
        let farewell = async {
            self.socket.shutdown().await?;
            while self.socket.read_buf(&mut self.buffer).await? > 0 {
                self.buffer.clear();
            }
            io::Result::Ok(())
        };
        let _ = timeout(RTMP_LINGER, farewell).await;
    }

    fn ended(&self, publish: &Publish, cause: &dyn std::fmt::Display, label: &'static str) {
        metrics::counter!("vitrine_sessions_ended_total", "cause" => label).increment(1);
        let bytes = self.session.received() - publish.from;
        let seconds = publish.since.elapsed().as_secs();
        info!(%cause, seconds, bytes, position = self.session.received(), "ended");
    }
}

/// The fence of a publish; without one, never.
async fn fenced(publish: Option<&Publish>) -> Fence {
    match publish {
        Some(publish) => publish.publisher.fenced().await,
        None => pending().await,
    }
}

/// What ends a publish that was allowed for a while; without one, never.
async fn over(publish: Option<&Publish>) -> Over {
    match publish {
        Some(publish) => publish.tenure.over().await,
        None => pending().await,
    }
}

/// The pending decision; without one, never.
async fn decided(deciding: &mut Option<Deciding>) -> Result<Accepted, Refusal> {
    match deciding {
        Some(deciding) => deciding.await,
        None => pending().await,
    }
}

/// The session's deadline; without one, never.
async fn due(start: Instant, deadline: Option<Duration>) {
    match deadline {
        Some(deadline) => sleep_until(start + deadline).await,
        None => pending().await,
    }
}
