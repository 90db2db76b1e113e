//! The RTMP door: from an accepted socket to the stream's task (RTMP 1.0, Enhanced RTMP v2; contracts, section 1).
//!
//! | module | holds |
//! |-|-|
//! | [`admission`] | who may publish, and as what: static keys, then the backend |
//! | `connection` | one publisher's connection: the loop around the session's state machine |
//! | `events` | what becomes of the events that an encoder sends |
//! | `handshake` | plain and digest handshakes |
//! | `pace` | how fast a publisher may deliver |
//! | `status` | the one table of what a broadcaster is told |
//! | `tarpit` | who presents one wrong key after another, waits |
//! | `tenure` | how long a publish may go on: its age, and what its backend says |
//!
//! One task per connection; listening, connection limits and TLS are `vitrine_runtime::serve`'s. A stranger's bytes meet the handshake, then `vitrine_core::engine::publish`; nothing here
//! parses them. Stream keys are seen by admission alone and never written anywhere: not the key, not the query, not the
//! tcUrl.

pub mod admission;
mod connection;
mod events;
mod handshake;
mod pace;
mod status;
mod tarpit;
mod tenure;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde_json::Map;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, field, info, info_span};
use vitrine_core::{engine::publish, limits::RTMP_VERDICT, wire::hook::Events};
use vitrine_runtime::{
    bearer::Digest,
    clock,
    deliver::{Merge, Outbox, Volatile},
    network,
    throttle::OncePerSecond,
};

use self::{
    admission::{Admission, Admitted, PublishRequest, Verdict},
    connection::Connection,
    status::Refusal,
    tarpit::Tarpit,
    tenure::Tenure,
};
use crate::live::{Busy, Claim, Publisher, Registry, SessionId, StreamId, Terms};

/// What the configuration says about the door.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// From the first byte to the end of the handshake.
    pub handshake_timeout: Duration,
    /// How long a session waits for a publish and for media.
    pub session: publish::Limits,
    /// Whether a right key takes the stream from the publisher that holds it, unless the verdict says otherwise.
    pub takeover: bool,
    /// Highest bitrate of a publisher in thousand bits a second, unless the verdict says otherwise.
    pub max_kbps: u32,
    /// What events a publish may carry, unless the verdict says otherwise.
    pub events: Events,
}

/// The RTMP door of one process, behind all its listeners.
#[derive(Debug)]
pub struct Ingest {
    settings: Settings,
    admission: Admission,
    registry: Registry,
    outbox: Outbox,
    refusals: OncePerSecond,
    tarpit: Tarpit,
    /// Accepted publishes, as long as they last.
    publishes: TaskTracker,
    /// No new publishes; those who can are asked to leave.
    draining: CancellationToken,
    /// Every connection ends now.
    stop: CancellationToken,
}

/// A publish that admission and registry have agreed to.
struct Accepted {
    publisher: Publisher,
    stream: StreamId,
    tenure: Tenure,
}

impl Ingest {
    /// A door without connections; of those it refuses, `outbox` is told.
    pub fn new(
        settings: Settings,
        admission: Admission,
        registry: Registry,
        outbox: Outbox,
    ) -> Arc<Self> {
        register();
        Arc::new(Self {
            settings,
            admission,
            registry,
            outbox,
            refusals: OncePerSecond::default(),
            tarpit: Tarpit::default(),
            publishes: TaskTracker::new(),
            draining: CancellationToken::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Serves one connection until its end, handshake first. `protocol` is `rtmp` or `rtmps`.
    pub async fn serve<S>(self: Arc<Self>, socket: S, peer: SocketAddr, protocol: &'static str)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let id = SessionId::new();
        let span = info_span!("session", session = %id, %peer, stream = field::Empty);
        Connection::serve(self, socket, peer, protocol, id)
            .instrument(span)
            .await;
    }

    /// Cancelled when every connection ends: the time to stop listening. Until then, even while draining, whoever
    /// connects is told why it may not publish.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Refuses new publishes, asks the encoders that can reconnect elsewhere to do so, and waits for the publishes to end
    /// by themselves, `patience` at most. Then ends every connection that is left.
    pub async fn drain(&self, patience: Duration) {
        self.draining.cancel();
        self.publishes.close();
        if timeout(patience, self.publishes.wait()).await.is_err() {
            info!(
                publishes = self.publishes.len(),
                "still publishing at the end of patience"
            );
        }
        self.stop.cancel();
    }

    /// Asks admission, then claims the stream.
    async fn decide(&self, request: PublishRequest) -> Result<Accepted, Refusal> {
        if self.draining.is_cancelled() {
            return Err(Busy::ShuttingDown.into());
        }
        let address = request.peer.ip();
        let wait = self.tarpit.wait(address, Instant::now());
        if !wait.is_zero() {
            metrics::counter!("vitrine_publishes_delayed_total").increment(1);
            sleep(wait).await;
        }
        let bans = self.registry.bans();
        let key = Digest::of(request.words.stream_key.as_bytes());
        if let Some(ban) = bans.find(&key) {
            return Err(ban.into());
        }
        let decided = timeout(RTMP_VERDICT, self.admission.decide(&request)).await;
        let Admitted {
            grant,
            identity,
            allowance,
        } = match decided.map_err(|_| Refusal::NoAnswer)? {
            Verdict::Allow(admitted) => *admitted,
            Verdict::Deny { reason } => {
                self.tarpit.refused(address, Instant::now());
                return Err(Refusal::Denied { reason });
            }
            Verdict::Undecided { reason } => {
                self.tarpit.refused(address, Instant::now());
                return Err(Refusal::Undecided { reason });
            }
        };
        if let Some(ban) = bans.find(&identity) {
            return Err(ban.into());
        }
        let mut terms = Terms {
            takeover: grant.takeover.unwrap_or(self.settings.takeover),
            max_kbps: grant.max_kbps.unwrap_or(self.settings.max_kbps),
            lifetime: grant.lifetime,
            revalidate: grant.revalidate,
            metadata: grant.metadata,
            ..Terms::default()
        };
        terms.allow(grant.events.or(self.settings.events));
        let claim = Claim {
            stream: grant.stream.clone(),
            session: request.session,
            peer: request.peer,
            protocol: request.protocol,
            encoder: request.words.encoder,
            app: request.words.app,
            identity,
            own_name: grant.own_name,
            terms,
            ladder: grant.ladder,
            epoch: grant.epoch,
        };
        let publisher = self.registry.claim(claim).await?;
        let tenure = Tenure::begin(publisher.terms(), allowance);
        Ok(Accepted {
            publisher,
            stream: grant.stream,
            tenure,
        })
    }

    /// Counts a refused publish and tells of it, once for many of an address: of IPv6, of all that one host may use.
    fn note_refusal(&self, refusal: &Refusal, peer: SocketAddr) {
        let reason = refusal.label();
        let address = peer.ip().to_canonical();
        let said = refusal.to_string();
        self.outbox.tell(Volatile {
            kind: "publish.rejected",
            about: format!("{} {said}", network::site(address)),
            at: clock::wall(),
            data: Map::from_iter([
                ("remote_addr".to_owned(), address.to_string().into()),
                ("reason".to_owned(), said.into()),
            ]),
            merge: Merge::Count,
        });
        metrics::counter!("vitrine_publishes_refused_total", "reason" => reason).increment(1);
        if let Some(held_back) = self.refusals.pass(reason, Instant::now()) {
            info!(%refusal, held_back, "publish refused");
        }
    }
}

/// Brings the series into being: an alert needs the rate of a counter from zero on.
fn register() {
    metrics::counter!("vitrine_rtmp_received_bytes_total").increment(0);
    metrics::counter!("vitrine_publishes_delayed_total").increment(0);
    let refusals = ["denied", "undecided", "no_answer"].into_iter();
    for reason in refusals.chain(Busy::ALL.map(Busy::label)) {
        metrics::counter!("vitrine_publishes_refused_total", "reason" => reason).increment(0);
    }
    events::register();
    for cause in connection::CAUSES {
        metrics::counter!("vitrine_sessions_ended_total", "cause" => cause).increment(0);
    }
}

#[cfg(test)]
mod tests;
