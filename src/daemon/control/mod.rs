//! The control API (contracts, section 4): what runs, how it fares, and what to do about it.
//!
//! | module | holds |
//! |-|-|
//! | `streams` | a stream as it is told |
//! | `operations`, `events`, `bans`, `hooks` | what is asked for, and done |
//! | `fields` | queries and bodies, read field by field |
//! | `error` | the one table of refusals (RFC 9457) |
//! | `audit` | who changed what |
//! | `openapi` | all of it as a document |
//! | `meters` | the metrics |
//!
//! An axum router on a listener of its own, loopback by default. Liveness and readiness are open to whoever reaches it,
//! for orchestrators hold no tokens; everything else asks for one when any is configured, and for one that may change
//! things where it changes any. What the contract names and is not built yet answers 422 `not-supported`, never a silent
//! yes.

mod audit;
mod bans;
mod error;
mod events;
mod fields;
mod hooks;
mod meters;
mod openapi;
mod operations;
mod streams;

#[cfg(test)]
mod tests;

use std::{fmt, net::IpAddr, sync::Arc};

use axum::{
    Extension, Router,
    extract::{Request, State},
    http::{header, uri::Authority},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use utoipa::OpenApi as _;
use utoipa_axum::{router::OpenApiRouter, routes};
use vitrine_core::limits;
use vitrine_runtime::{
    bearer::{Access, Tokens},
    deliver::Outbox,
    telemetry::Metrics,
    throttle::OncePerSecond,
};

pub use self::audit::Peer;
use self::error::Error;
use crate::live::Registry;

/// What the control API looks at.
#[derive(Clone)]
struct Control {
    registry: Registry,
    outbox: Outbox,
    metrics: &'static Metrics,
    tokens: Arc<Tokens>,
    /// Lines about callers that were not let in.
    denials: Arc<OncePerSecond>,
    /// The contract.
    document: Bytes,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

/// What the logs call the caller.
#[derive(Clone, Debug)]
struct Caller(String);

/// The control API over the streams of `registry` and the deliveries of `outbox`, for the holders of `tokens` (everyone,
/// when there are none). Where a request comes from, the extension [`Peer`] says.
pub fn router(
    registry: Registry,
    outbox: Outbox,
    metrics: &'static Metrics,
    tokens: Tokens,
) -> Router {
    meters::describe();
    audit::register();
    let (open, guarded, document) = parts();
    let control = Control {
        registry,
        outbox,
        metrics,
        tokens: Arc::new(tokens),
        denials: Arc::default(),
        document,
    };
    open.merge(guarded.route_layer(middleware::from_fn_with_state(control.clone(), guard)))
        .fallback(|| async { Error::NoSuchPath })
        .method_not_allowed_fallback(|| async { Error::Method })
        .with_state(control)
}

/// The routes that are open, those that are guarded, and the document about both.
fn parts() -> (Router<Control>, Router<Control>, Bytes) {
    let (open, mut api) = OpenApiRouter::with_openapi(openapi::Document::openapi())
        .routes(routes!(alive))
        .routes(routes!(ready))
        .split_for_parts();
    let (guarded, rest) = OpenApiRouter::new()
        .routes(routes!(metrics_text))
        .routes(routes!(openapi::serve))
        .routes(routes!(streams::list))
        .routes(routes!(streams::one, operations::change))
        .routes(routes!(operations::disconnect))
        .routes(routes!(operations::end))
        .routes(routes!(events::place))
        .routes(routes!(events::set_state))
        .routes(routes!(events::clock))
        .routes(routes!(bans::list))
        .routes(routes!(bans::lift))
        .routes(routes!(hooks::list))
        .routes(routes!(hooks::retry))
        .routes(routes!(hooks::replay))
        .split_for_parts();
    api.merge(rest);
    (open, guarded, openapi::write(&api))
}

/// Lets in who may do this, and sees to it that the audit hears of it.
async fn guard(
    State(control): State<Control>,
    peer: Option<Extension<Peer>>,
    mut request: Request,
    next: Next,
) -> Response {
    let (caller, admitted) = admit(&control, &request);
    let peer = peer.map(|Extension(peer)| peer);
    let audited = audit::Request::new(&caller, peer, request.method(), request.uri());
    if let Err(error) = admitted {
        audited.denied(&error, &control.denials);
        return error.into_response();
    }
    request.extensions_mut().insert(Caller(caller));
    if request.method().is_safe() {
        return next.run(request).await;
    }
    // A caller that hangs up leaves nothing half done or unsaid. Whatever a change waits for has a bound.
    let done = tokio::spawn(async move {
        let response = next.run(request).await;
        audited.done(&response);
        response
    });
    let failed = |_| Error::Unavailable(FAILED).into_response();
    done.await.unwrap_or_else(failed)
}

const FAILED: &str = "it failed by a fault of ours: the log tells more";

/// Who asks, and whether it may.
fn admit(control: &Control, request: &Request) -> (String, Result<(), Error>) {
    let headers = request.headers();
    let authorization = headers.get(header::AUTHORIZATION);
    let bearer = match control.tokens.verify(authorization.map(|it| it.as_bytes())) {
        Ok(bearer) => bearer,
        Err(error) => return ("unknown".to_owned(), Err(error.into())),
    };
    let name = bearer.name().to_owned();
    if control.tokens.is_empty()
        && let Some(host) = foreign_host(request)
    {
        return (name, Err(Error::ForeignHost { host }));
    }
    let changes = !request.method().is_safe();
    let admitted = match bearer.access() {
        Access::Read if changes => Err(Error::ReadOnly { name: name.clone() }),
        // A token does not travel by itself, but without one any page in an operator's browser could ask.
        _ if changes && control.tokens.is_empty() && headers.contains_key(header::ORIGIN) => {
            Err(Error::CrossOrigin)
        }
        _ => Ok(()),
    };
    (name, admitted)
}

/// The name by which the caller knows this door, where it is one that anybody's name server could have given it: a page in an
/// operator's browser then asks as one of its own origin ("DNS rebinding"). Whoever sends none is no browser.
fn foreign_host(request: &Request) -> Option<String> {
    let named = request.headers().get_all(header::HOST).iter();
    let named = named.map(|host| String::from_utf8_lossy(host.as_bytes()));
    let asked = request.uri().authority().map(|it| it.as_str().into());
    let foreign = named.chain(asked).find(|host| {
        let host: Option<Authority> = host.parse().ok();
        host.is_none_or(|host| {
            let host = host.host().trim_matches(['[', ']']);
            host.parse::<IpAddr>().is_err() && !host.eq_ignore_ascii_case("localhost")
        })
    });
    foreign.map(|host| host.chars().take(limits::CONTROL_NAME_CHARS_MAX).collect())
}

/// Whether the process is alive
#[utoipa::path(
    get, path = "/healthz", tag = "process", operation_id = "alive", security(()),
    responses((status = 200, description = "It is", body = String, content_type = "text/plain"))
)]
async fn alive() -> &'static str {
    "alive\n"
}

/// Whether it takes new publishes
#[utoipa::path(
    get, path = "/readyz", tag = "process", operation_id = "ready", security(()),
    responses(
        (status = 200, description = "It does", body = String, content_type = "text/plain"),
        (status = 503, description = "It is shutting down"),
    )
)]
async fn ready(State(control): State<Control>) -> Result<&'static str, Error> {
    match control.registry.draining() {
        true => Err(Error::Draining),
        false => Ok("ready\n"),
    }
}

/// The metrics, for Prometheus
#[utoipa::path(
    get, path = "/metrics", tag = "process", operation_id = "metrics",
    responses((status = 200, description = "Text exposition format", body = String, content_type = "text/plain"))
)]
async fn metrics_text(State(control): State<Control>) -> impl IntoResponse {
    meters::measure(&control.registry);
    let media_type = "text/plain; version=0.0.4; charset=utf-8";
    (
        [(header::CONTENT_TYPE, media_type)],
        control.metrics.render(),
    )
}
