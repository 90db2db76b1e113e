//! HTTP/1.1 (RFC 9112) and HTTP/2 (RFC 9113) on a listener, by hyper: in clear the client's first bytes decide, under
//! TLS ALPN has spoken before.
//!
//! Every wait on a client is bounded here: for the first request, for the next head, for the answer to a ping, for an
//! open window (by the socket's own timeout). What a request waits for inside the service is the service's business.

use std::{
    convert::Infallible, error::Error as StdError, net::SocketAddr, pin::pin, sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    service::Service,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{sync::Notify, time};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{Admission, Listener, Stream};

/// Serves HTTP until `shutdown`, then lets the requests under way finish, and returns. `service` makes the service of
/// one connection, given the peer's address.
pub async fn http<M, S, B>(
    listener: Listener,
    admission: Admission,
    tls: Option<TlsAcceptor>,
    shutdown: CancellationToken,
    service: M,
) where
    M: Fn(SocketAddr) -> S + Clone + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let draining = shutdown.clone();
    let serve = move |stream, peer| connection(stream, service(peer), draining.clone());
    super::connections(listener, admission, tls, shutdown, serve).await;
}

async fn connection<S, B>(stream: Stream, service: S, shutdown: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let builder = builder();
    let begun = Arc::new(Notify::new());
    let signal = begun.clone();
    let service = hyper::service::service_fn(move |request| {
        signal.notify_one();
        service.call(request)
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // hyper-util looks for the HTTP/2 preface without any timeout, and hyper for the first HTTP/2 request likewise.
    let outcome = tokio::select! {
        outcome = &mut connection => outcome,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = silence(&begun) => return,
    };
    if let Err(error) = outcome {
        tracing::trace!(error, "a connection ended early");
    }
}

/// Ends when no request has begun in time, never otherwise.
async fn silence(begun: &Notify) {
    if time::timeout(HEAD_TIMEOUT, begun.notified()).await.is_ok() {
        std::future::pending().await
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // Without a timer hyper panics on the first connection (h1) or ignores its timeouts (h2).
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HTTP1_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS)
        .max_header_list_size(HTTP2_HEADERS)
        .max_pending_accept_reset_streams(HTTP2_PENDING_RESETS)
        .max_local_error_reset_streams(HTTP2_ERROR_RESETS)
        .max_send_buf_size(HTTP2_SEND_BUFFER)
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_TIMEOUT);
    builder
}

/// For a whole request head, counted from the connection's start or from the answer before: also how long an idle
/// HTTP/1.1 connection is kept. Longer than any playlist's reload interval.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of an HTTP/1.1 head, and of written heads that wait for the socket. Players send well under 4 KiB.
const HTTP1_BUFFER: usize = 32 * 1024;

/// Requests at once on an HTTP/2 connection: a player needs under ten, an edge that shares one connection more.
const HTTP2_STREAMS: u32 = 128;

/// Bytes of a decoded HTTP/2 head.
const HTTP2_HEADERS: u32 = 16 * 1024;

/// Streams reset by the peer before we took them up (CVE-2023-44487, rapid reset): beyond, the connection ends.
const HTTP2_PENDING_RESETS: usize = 20;

/// Streams we reset for the peer's errors (CVE-2025-8671): beyond, the connection ends.
const HTTP2_ERROR_RESETS: usize = 256;

/// Bytes copied per HTTP/2 stream while its window is closed: a part of 200 ms at 6 Mb/s fits.
const HTTP2_SEND_BUFFER: usize = 256 * 1024;

/// Between pings to a silent HTTP/2 client.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);

/// For the answer to a ping.
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);
