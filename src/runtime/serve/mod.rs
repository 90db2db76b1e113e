//! Listeners: bind, accept, admit, PROXY header, TLS, drain. What is spoken on a connection is the caller's: raw streams through
//! [`connections`] (RTMP, RTMPS), HTTP/1.1 and HTTP/2 through [`http()`].
//!
//! The invariant: whatever a stranger does, a connection costs one slot of [`Admission`] and ends in bounded time
//! unless its handler keeps it; a refused one is closed at once and counted
//! (`vitrine_connections_refused_total{listener,reason}`), with one log line a second for each reason. A panic in a
//! handler ends that connection alone. Dropping a listener's future closes all its connections: wrap it in a timeout to
//! bound a drain.

mod admission;
mod http;
mod proxy;
pub mod tls;

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinError, JoinSet},
    time,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{either::Either, sync::CancellationToken};

use crate::{network::Networks, throttle::OncePerSecond};

pub use self::{
    admission::{Admission, Refused, Slot},
    http::http,
};

/// An accepted connection, in clear or under TLS.
pub type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// A bound socket that does not accept yet.
#[derive(Debug)]
pub struct Listener {
    name: &'static str,
    socket: TcpListener,
    local: SocketAddr,
    proxies: Option<Networks>,
}

impl Listener {
    /// Binds `address`; port 0 lets the system choose. `name` (`rtmp`, `https`) labels logs and metrics. Must be
    /// called inside a tokio runtime.
    ///
    /// # Errors
    /// [`Error`] with the address and what the system said.
    pub fn bind(name: &'static str, address: SocketAddr) -> Result<Self, Error> {
        let open = || {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            // A restart must not wait for the connections of the process before to leave TIME_WAIT.
            socket.set_reuse_address(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            let socket = TcpListener::from_std(socket.into())?;
            let local = socket.local_addr()?;
            Ok(Self {
                name,
                socket,
                local,
                proxies: None,
            })
        };
        open().map_err(|source| Error {
            name,
            address,
            source,
        })
    }

    /// Every connection must begin with a PROXY header, before TLS; the address it carries is the peer's. `proxies` are
    /// those who may send one; without any, whoever reaches the port is believed.
    pub fn behind(self, proxies: Networks) -> Self {
        Self {
            proxies: Some(proxies),
            ..self
        }
    }

    /// The address that was bound, with the port the system chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for {name} on {address}: {source}")]
pub struct Error {
    /// The listener's name.
    pub name: &'static str,
    /// The address asked for.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// Accepts until `shutdown`, then waits until every connection has ended. Each admitted connection runs `serve` in a
/// task of its own, after the TLS handshake when there is `tls`; `serve` watches `shutdown` by itself.
pub async fn connections<S, F>(
    listener: Listener,
    admission: Admission,
    tls: Option<TlsAcceptor>,
    shutdown: CancellationToken,
    serve: S,
) where
    S: Fn(Stream, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let Listener {
        name,
        socket,
        proxies,
        ..
    } = listener;
    let gate = Arc::new(Gate {
        name,
        admission,
        proxies,
        tls,
        refusals: OncePerSecond::default(),
    });
    register(name);
    let mut tasks = JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = accept(name, &socket) => accepted,
            Some(ended) = tasks.join_next() => {
                note_panic(name, ended);
                continue;
            }
            () = shutdown.cancelled() => break,
        };
        let slot = match gate.admit(peer) {
            Ok(slot) => slot,
            Err(refusal) => {
                gate.note(&refusal, peer);
                continue;
            }
        };
        let (gate, serve) = (gate.clone(), serve.clone());
        tasks.spawn(async move {
            let _open = OpenConnection::count(name);
            match gate.pass(stream, peer, slot).await {
                Ok((stream, peer, _slot)) => serve(stream, peer).await,
                Err(refusal) => gate.note(&refusal, peer),
            }
        });
    }
    drop(socket);
    while let Some(ended) = tasks.join_next().await {
        note_panic(name, ended);
    }
}

/// What stands between accept(2) and the handler.
struct Gate {
    name: &'static str,
    admission: Admission,
    proxies: Option<Networks>,
    tls: Option<TlsAcceptor>,
    refusals: OncePerSecond,
}

/// Why a connection does not reach its handler.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Full(#[from] Refused),
    #[error(transparent)]
    Header(#[from] proxy::Error),
    #[error("refused: not one of the trusted proxies")]
    Stranger,
    #[error("no TLS session: {0}")]
    Tls(#[from] io::Error),
}

impl Refusal {
    const REASONS: [&str; 7] = [
        "total",
        "address",
        "proxy_header_missing",
        "proxy_header_malformed",
        "proxy_header_timeout",
        "untrusted_proxy",
        "tls",
    ];

    fn reason(&self) -> &'static str {
        match self {
            Self::Full(refused) => refused.reason(),
            Self::Header(error) => error.reason(),
            Self::Stranger => "untrusted_proxy",
            Self::Tls(_) => "tls",
        }
    }
}

impl Gate {
    /// A slot for what was just accepted from `peer`; behind proxies it belongs to nobody yet.
    fn admit(&self, peer: SocketAddr) -> Result<Slot, Refusal> {
        match &self.proxies {
            None => Ok(self.admission.admit(peer.ip())?),
            Some(proxies) if proxies.is_empty() || proxies.contains(peer.ip()) => {
                Ok(self.admission.admit_unnamed()?)
            }
            Some(_) => Err(Refusal::Stranger),
        }
    }

    /// Takes the PROXY header off and shakes hands for TLS, as far as the listener wants them. The peer may be another
    /// one then.
    async fn pass(
        &self,
        mut stream: TcpStream,
        mut peer: SocketAddr,
        mut slot: Slot,
    ) -> Result<(Stream, SocketAddr, Slot), Refusal> {
        tune(&stream)?;
        if self.proxies.is_some() {
            peer = proxy::accept(&mut stream).await?.unwrap_or(peer);
            slot = slot.name(peer.ip())?;
        }
        let stream = match &self.tls {
            None => Either::Left(stream),
            Some(tls) => {
                let handshake = time::timeout(TLS_HANDSHAKE_TIMEOUT, tls.accept(stream));
                Either::Right(handshake.await.map_err(io::Error::from)??)
            }
        };
        Ok((stream, peer, slot))
    }

    /// Counts a refusal, and tells of it unless there is a flood of them.
    fn note(&self, refusal: &Refusal, peer: SocketAddr) {
        let (listener, reason) = (self.name, refusal.reason());
        metrics::counter!("vitrine_connections_refused_total", "listener" => listener, "reason" => reason)
            .increment(1);
        if let Some(held_back) = self.refusals.pass(reason, time::Instant::now()) {
            tracing::info!(listener, %peer, %refusal, held_back, "connection refused");
        }
    }
}

/// The next connection. Errors of accept(2) belong to one connection that is gone, or to a lack (EMFILE, ENFILE,
/// ENOBUFS) that would make a tight loop of retries: then it breathes first.
async fn accept(name: &'static str, socket: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match socket.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                metrics::counter!("vitrine_accept_errors_total", "listener" => name).increment(1);
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    tracing::warn!(listener = name, %error, "cannot accept");
                    time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }
}

/// Parts leave when written (no Nagle), and a peer that vanished without a word is noticed by the kernel: when idle by
/// keep-alive, when it is sent something by the user timeout (tcp(7)).
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_TIME)
            .with_interval(KEEPALIVE_INTERVAL),
    )?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT))?;
    Ok(())
}

fn note_panic(name: &'static str, ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        metrics::counter!("vitrine_connection_panics_total", "listener" => name).increment(1);
        tracing::error!(listener = name, %error, "a connection's task panicked");
    }
}

/// Brings a listener's series into being: an alert needs the rate of a counter from zero on.
fn register(name: &'static str) {
    metrics::gauge!("vitrine_connections", "listener" => name).increment(0);
    metrics::counter!("vitrine_accept_errors_total", "listener" => name).increment(0);
    metrics::counter!("vitrine_connection_panics_total", "listener" => name).increment(0);
    for reason in Refusal::REASONS {
        metrics::counter!("vitrine_connections_refused_total", "listener" => name, "reason" => reason)
            .increment(0);
    }
}

/// Shows itself in the gauge `vitrine_connections{listener}` while it lives.
struct OpenConnection(metrics::Gauge);

impl OpenConnection {
    fn count(name: &'static str) -> Self {
        let gauge = metrics::gauge!("vitrine_connections", "listener" => name);
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// Connections the kernel holds for us between two turns of the accept loop: a burst of viewers at a show's start.
const BACKLOG: i32 = 1024;

/// Pause after accept(2) failed for lack of something: long against a loop, short against a client's patience.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// From the first byte to an established TLS session: four round trips of a very bad mobile network.
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Silence before the first keep-alive probe.
const KEEPALIVE_TIME: Duration = Duration::from_secs(30);

/// Between probes; the kernel gives up after its own count (9 on Linux).
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How long sent bytes may stay unacknowledged, or a window closed: a viewer that reads nothing for this long is gone.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
