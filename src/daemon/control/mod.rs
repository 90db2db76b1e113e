//! The control API (contracts, section 4): what runs, how it fares, and soon what to do about it.
//!
//! An axum router on a listener of its own, loopback by default. Liveness and readiness are open to whoever reaches it,
//! for orchestrators hold no tokens; everything else asks for one when any is configured. What the contract names and is
//! not built yet answers 422 `not-supported`, never a silent yes. Errors are RFC 9457 problems, written in one table.

mod meters;
mod streams;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use serde::Serialize;
use vitrine_runtime::{
    bearer::{self, Tokens},
    problem::Problem,
    telemetry::Metrics,
};

use crate::live::Registry;

/// What the control API looks at.
#[derive(Clone, Debug)]
struct Control {
    registry: Registry,
    metrics: &'static Metrics,
    tokens: Arc<Tokens>,
}

/// The control API over the streams of `registry`, for the holders of `tokens` (everyone, when there are none).
pub fn router(registry: Registry, metrics: &'static Metrics, tokens: Tokens) -> Router {
    meters::describe();
    let control = Control {
        registry,
        metrics,
        tokens: Arc::new(tokens),
    };
    let guarded = Router::new()
        .route("/metrics", get(metrics_text))
        .route("/v1/streams", get(list))
        .route("/v1/streams/{id}", get(one).patch(not_supported))
        .route("/v1/streams/{id}/events", any(not_supported))
        .route("/v1/streams/{id}/state", any(not_supported))
        .route("/v1/streams/{id}/clock", any(not_supported))
        .route("/v1/streams/{id}/session", any(not_supported))
        .route("/v1/streams/{id}/end", any(not_supported))
        .route("/v1/hooks/deliveries", any(not_supported))
        .route("/v1/hooks/deliveries/{id}/retry", any(not_supported))
        .route("/v1/openapi.json", any(not_supported))
        .route_layer(middleware::from_fn_with_state(control.clone(), guard));
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .merge(guarded)
        .fallback(|| async { Error::NoSuchPath })
        .method_not_allowed_fallback(|| async { Error::Method })
        .with_state(control)
}

async fn guard(
    State(control): State<Control>,
    request: Request,
    next: Next,
) -> Result<Response, Error> {
    let authorization = request.headers().get(header::AUTHORIZATION);
    control
        .tokens
        .verify(authorization.map(|value| value.as_bytes()))?;
    Ok(next.run(request).await)
}

async fn ready(State(control): State<Control>) -> Result<&'static str, Error> {
    match control.registry.draining() {
        true => Err(Error::Draining),
        false => Ok("ready\n"),
    }
}

async fn metrics_text(State(control): State<Control>) -> impl IntoResponse {
    meters::measure(&control.registry);
    let media_type = "text/plain; version=0.0.4; charset=utf-8";
    (
        [(header::CONTENT_TYPE, media_type)],
        control.metrics.render(),
    )
}

#[derive(Serialize)]
struct Streams {
    streams: Vec<streams::Stream>,
}

async fn list(State(control): State<Control>) -> Json<Streams> {
    let now = control.registry.clock().now().mono;
    let streams = control.registry.streams();
    Json(Streams {
        streams: streams
            .iter()
            .map(|live| streams::Stream::of(live, now))
            .collect(),
    })
}

async fn one(
    State(control): State<Control>,
    Path(id): Path<String>,
) -> Result<Json<streams::Stream>, Error> {
    let now = control.registry.clock().now().mono;
    let live = control.registry.lookup(&id).ok_or(Error::NoSuchStream)?;
    Ok(Json(streams::Stream::of(&live, now)))
}

async fn not_supported() -> Error {
    Error::NotSupported
}

/// Why the control API does not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Bearer(#[from] bearer::Error),
    #[error("there is no such path")]
    NoSuchPath,
    #[error("no stream of this id is live")]
    NoSuchStream,
    #[error("the path has no such method")]
    Method,
    #[error("part of the contract, but not built yet")]
    NotSupported,
    #[error("shutting down")]
    Draining,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, kind) = match self {
            Self::Bearer(_) => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::NoSuchPath | Self::NoSuchStream => (StatusCode::NOT_FOUND, "not-found"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed"),
            Self::NotSupported => (StatusCode::UNPROCESSABLE_ENTITY, "not-supported"),
            Self::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        };
        Problem::new(status, kind)
            .detail(self)
            .response()
            .map(Body::new)
    }
}
