//! The one table of what a caller of the control API is told when it does not get what it asked for (RFC 9457).
//!
//! The `type` is for programs and never changes its meaning; words are for people, and may.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value};
use vitrine_core::{engine::cues::Refusal, limits, wire::event};
use vitrine_runtime::{
    bearer,
    problem::{Fault, Problem},
};

/// Why the control API does not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Bearer(#[from] bearer::Error),
    #[error(
        "the token \"{name}\" has access = \"read\": it may look at everything and change nothing"
    )]
    ReadOnly { name: String },
    #[error(
        "a page of another origin asks, and this door asks for no token: changes from browsers need one"
    )]
    CrossOrigin,
    #[error(
        "this door asks for no token and is called \"{host}\" here: call it localhost or by its address, or give it tokens"
    )]
    ForeignHost { host: String },
    #[error("there is no such path")]
    NoSuchPath,
    #[error("no stream \"{stream}\": it never was, or is over and gone")]
    NoSuchStream { stream: String },
    #[error("no ban \"{id}\": it is over, was lifted, or never was")]
    NoSuchBan { id: String },
    #[error("no delivery \"{id}\": it is finished and forgotten, or never was")]
    NoSuchDelivery { id: String },
    #[error("nobody publishes \"{stream}\" now")]
    NoPublisher { stream: String },
    #[error("\"{stream}\" is over: it can be taken down, but not changed")]
    Over { stream: String },
    #[error("\"{stream}\" is not live: there is no picture to place anything at")]
    NotLive { stream: String },
    #[error(transparent)]
    Refused(Refusal),
    #[error(transparent)]
    Event(event::Error),
    #[error("the path has no such method")]
    Method,
    #[error("the body must be one JSON object: it is not at line {line}, column {column}")]
    NoObject { line: usize, column: usize },
    #[error(
        "the body must not have more than {} bytes",
        limits::CONTROL_BODY_BYTES_MAX
    )]
    TooLarge,
    #[error("the body did not come within {} s", limits::CONTROL_BODY.as_secs())]
    Slow,
    #[error("the body ended before its time")]
    Cut,
    #[error("{}", told(_0))]
    Fields(Vec<Fault>),
    #[error("part of the contract, but not built yet")]
    NotSupported { field: Option<String> },
    #[error("{0}")]
    Unavailable(&'static str),
    #[error("shutting down")]
    Draining,
}

/// All of them; a fault of no field is one of the whole.
fn told(faults: &[Fault]) -> String {
    let told = faults.iter().map(|fault| match fault.field.as_str() {
        "" => fault.detail.clone(),
        field => format!("{field}: {}", fault.detail),
    });
    told.collect::<Vec<_>>().join("; ")
}

/// The kind of the problem that an answer is, for the audit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind(pub(super) &'static str);

impl Error {
    /// Status and kind.
    pub(super) fn told(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Bearer(_) => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::ReadOnly { .. } => (StatusCode::FORBIDDEN, "read-only"),
            Self::CrossOrigin => (StatusCode::FORBIDDEN, "cross-origin"),
            Self::ForeignHost { .. } => (StatusCode::FORBIDDEN, "foreign-host"),
            Self::NoSuchPath
            | Self::NoSuchStream { .. }
            | Self::NoSuchBan { .. }
            | Self::NoSuchDelivery { .. } => (StatusCode::NOT_FOUND, "not-found"),
            Self::NoPublisher { .. } => (StatusCode::CONFLICT, "no-publisher"),
            Self::Over { .. } => (StatusCode::CONFLICT, "stream-over"),
            Self::NotLive { .. } => (StatusCode::NOT_FOUND, "not-live"),
            Self::Refused(refusal) => match refusal {
                Refusal::NotLive => (StatusCode::NOT_FOUND, "not-live"),
                Refusal::Starving => (StatusCode::CONFLICT, "starving"),
                Refusal::Stale { .. } => (StatusCode::GONE, "stale"),
                Refusal::TooFarAhead { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "too-far-ahead"),
                Refusal::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "too-many"),
                Refusal::RangesFull { .. } => (StatusCode::TOO_MANY_REQUESTS, "ranges-full"),
                Refusal::RangesTooLarge { .. } => {
                    (StatusCode::PAYLOAD_TOO_LARGE, "ranges-too-large")
                }
            },
            Self::Event(error) => match error {
                event::Error::Syntax => (StatusCode::BAD_REQUEST, "malformed-body"),
                event::Error::Fields(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-field"),
                event::Error::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "event-too-large"),
            },
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed"),
            Self::NoObject { .. } | Self::Cut => (StatusCode::BAD_REQUEST, "malformed-body"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "too-slow"),
            Self::Fields(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-field"),
            Self::NotSupported { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "not-supported"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Self::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        }
    }

    /// Of a body that is no JSON object, told where.
    pub(super) fn no_object(body: &[u8]) -> Self {
        let read = serde_json::from_slice::<Map<String, Value>>(body);
        let (line, column) = read.map_or_else(|error| (error.line(), error.column()), |_| (1, 0));
        Self::NoObject { line, column }
    }

    /// Seconds after which asking again may help.
    fn retry_seconds(&self) -> Option<u64> {
        match self {
            Self::Refused(Refusal::TooMany { retry_after_ms, .. }) => {
                Some(retry_after_ms.div_ceil(1000).max(1))
            }
            Self::Refused(Refusal::RangesFull { .. }) => Some(limits::RANGES_RETRY_SECONDS),
            Self::Refused(Refusal::Starving) | Self::Unavailable(_) => {
                Some(limits::EVENT_RETRY_SECONDS)
            }
            _ => None,
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, kind) = self.told();
        let problem = Problem::new(status, kind).detail(&self);
        let retry_seconds = self.retry_seconds();
        let problem = match self {
            Self::Fields(faults) => problem.faults(faults),
            Self::Event(event::Error::Fields(faults)) => {
                let fault = |fault: &event::Fault| Fault {
                    field: fault.field.to_owned(),
                    detail: format!("expected {}", fault.expected),
                };
                problem.faults(faults.iter().map(fault).collect())
            }
            Self::Event(event::Error::TooLarge { .. }) => problem.field("data"),
            Self::Refused(Refusal::Stale { .. } | Refusal::TooFarAhead { .. }) => {
                problem.field("at")
            }
            Self::NotSupported { field: Some(field) } => problem.field(field),
            _ => problem,
        };
        let mut response = problem.response().map(Body::new);
        response.extensions_mut().insert(Kind(kind));
        if let Some(seconds) = retry_seconds {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        if matches!(kind, "too-large" | "too-slow") {
            // What is left of the body is not read.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    }
}
