//! Listeners: bind, accept, admit, TLS, drain. What is spoken on a connection is the caller's: raw streams through
//! [`connections`] (RTMP, RTMPS), HTTP/1.1 and HTTP/2 through [`http()`].
//!
//! The invariant: whatever a stranger does, a connection costs one slot of [`Admission`] and ends in bounded time
//! unless its handler keeps it; a refused one is closed at once and counted
//! (`vitrine_connections_refused_total{listener,reason}`). A panic in a handler ends that connection alone. Dropping a
//! listener's future closes all its connections: wrap it in a timeout to bound a drain.

mod admission;
mod http;
pub mod tls;

use std::{future::Future, io, net::SocketAddr, time::Duration};

use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinError, JoinSet},
    time,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{either::Either, sync::CancellationToken};

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
            })
        };
        open().map_err(|source| Error {
            name,
            address,
            source,
        })
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
    let Listener { name, socket, .. } = listener;
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
        let slot = match admission.admit(peer.ip()) {
            Ok(slot) => slot,
            Err(refused) => {
                metrics::counter!("vitrine_connections_refused_total", "listener" => name, "reason" => refused.reason())
                    .increment(1);
                tracing::debug!(listener = name, %peer, "{refused}");
                continue;
            }
        };
        let (tls, serve) = (tls.clone(), serve.clone());
        tasks.spawn(async move {
            let _slot = slot;
            let _open = OpenConnection::count(name);
            match secure(stream, tls).await {
                Ok(stream) => serve(stream, peer).await,
                Err(error) => tracing::debug!(listener = name, %peer, %error, "no connection"),
            }
        });
    }
    drop(socket);
    while let Some(ended) = tasks.join_next().await {
        note_panic(name, ended);
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

async fn secure(stream: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<Stream> {
    tune(&stream)?;
    match tls {
        None => Ok(Either::Left(stream)),
        Some(tls) => Ok(Either::Right(
            time::timeout(TLS_HANDSHAKE_TIMEOUT, tls.accept(stream)).await??,
        )),
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
    for reason in Refused::REASONS {
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
