//! The RTMP door: from an accepted socket to the stream's task (RTMP 1.0, Enhanced RTMP v2; contracts, section 1).
//!
//! | module | holds |
//! |-|-|
//! | [`admission`] | who may publish, and as what: the seam that hooks will fill |
//! | `capacity` | how many connections there may be, in all and per address |
//! | `connection` | one publisher's connection: the loop around the session's state machine |
//! | `handshake` | plain and digest handshakes |
//! | `pace` | how fast a publisher may deliver |
//! | `status` | the one table of what a broadcaster is told |
//!
//! One task per connection. A stranger's bytes meet the handshake, then `vitrine_core::engine::publish`; nothing here
//! parses them. Stream keys are seen by admission alone and never written anywhere: not the key, not the query, not the
//! tcUrl.

pub mod admission;
mod capacity;
mod connection;
mod handshake;
mod pace;
mod status;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, field, info, info_span};
use vitrine_core::limits::RTMP_VERDICT;

pub use self::capacity::Permit;
use self::{
    admission::{Admission, PublishRequest, Verdict},
    capacity::{Capacity, OncePerSecond},
    connection::Connection,
    status::Refusal,
};
use crate::live::{Busy, Claim, Publisher, Registry, SessionId, StreamId};

/// What the configuration says about the door.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whether a right key takes the stream from the publisher that holds it, unless the verdict says otherwise.
    pub takeover: bool,
    /// Connections in all.
    pub connections_max: usize,
    /// Connections from one address.
    pub connections_per_address_max: usize,
}

/// The RTMP door of one process, behind all its listeners.
#[derive(Debug)]
pub struct Ingest {
    settings: Settings,
    admission: Admission,
    registry: Registry,
    capacity: Arc<Capacity>,
    crowded: OncePerSecond,
    refused: OncePerSecond,
    sessions: TaskTracker,
    /// No new publishes; those who can are asked to leave.
    draining: CancellationToken,
    /// Every connection ends now.
    stop: CancellationToken,
}

/// A publish that admission and registry have agreed to.
struct Accepted {
    publisher: Publisher,
    stream: StreamId,
    max_kbps: Option<u32>,
}

impl Ingest {
    /// A door without connections.
    pub fn new(settings: Settings, admission: Admission, registry: Registry) -> Arc<Self> {
        Arc::new(Self {
            capacity: Capacity::new(
                settings.connections_max,
                settings.connections_per_address_max,
            ),
            settings,
            admission,
            registry,
            crowded: OncePerSecond::default(),
            refused: OncePerSecond::default(),
            sessions: TaskTracker::new(),
            draining: CancellationToken::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Counts a connection from `address` in. `None`: the door is full, and the socket should be closed at once.
    pub fn admit(&self, address: IpAddr) -> Option<Permit> {
        match self.capacity.admit(address) {
            Ok(permit) => Some(permit),
            Err(full) => {
                let reason = full.label();
                metrics::counter!("vitrine_rtmp_connections_refused_total", "reason" => reason)
                    .increment(1);
                if let Some(held_back) = self.crowded.pass(reason, Instant::now()) {
                    info!(%address, %full, %held_back, "connection refused");
                }
                None
            }
        }
    }

    /// Serves one connection until its end, handshake first.
    pub async fn serve<S>(
        self: Arc<Self>,
        permit: Permit,
        socket: S,
        address: SocketAddr,
        protocol: &'static str,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let sessions = self.sessions.clone();
        let id = SessionId::new();
        let span = info_span!("session", session = %id, peer = %address, stream = field::Empty);
        let serve = Connection::serve(self, socket, address, protocol, id).instrument(span);
        sessions.track_future(serve).await;
        drop(permit);
    }

    /// Refuses new publishes from now on, and asks the encoders that can reconnect elsewhere to do so.
    pub fn begin_drain(&self) {
        self.draining.cancel();
    }

    /// Waits for the connections to end by themselves, `patience` at most, then ends those that are left.
    pub async fn drain(&self, patience: Duration) {
        self.begin_drain();
        self.sessions.close();
        if timeout(patience, self.sessions.wait()).await.is_err() {
            self.stop.cancel();
            self.sessions.wait().await;
        }
    }

    /// Asks admission, then claims the stream.
    async fn decide(&self, request: PublishRequest) -> Result<Accepted, Refusal> {
        if self.draining.is_cancelled() {
            return Err(Busy::ShuttingDown.into());
        }
        let decided = timeout(RTMP_VERDICT, self.admission.decide(&request)).await;
        let grant = match decided.map_err(|_| Refusal::NoAnswer)? {
            Verdict::Allow(grant) => grant,
            Verdict::Deny { reason } => return Err(Refusal::Denied { reason }),
        };
        let claim = Claim {
            stream: grant.stream.clone(),
            session: request.session,
            peer: request.peer,
            protocol: request.protocol,
            encoder: request.words.encoder,
            takeover: grant.takeover.unwrap_or(self.settings.takeover),
            epoch: grant.epoch,
        };
        Ok(Accepted {
            publisher: self.registry.claim(claim).await?,
            stream: grant.stream,
            max_kbps: grant.max_kbps,
        })
    }

    /// Counts a refused publish, and tells of it unless there is a flood of them.
    fn note_refusal(&self, refusal: &Refusal) {
        let reason = refusal.label();
        metrics::counter!("vitrine_publishes_refused_total", "reason" => reason).increment(1);
        if let Some(held_back) = self.refused.pass(reason, Instant::now()) {
            info!(%refusal, %held_back, "publish refused");
        }
    }
}
