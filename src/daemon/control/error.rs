//! The one table of what a caller of the control API is told when it does not get what it asked for (RFC 9457).
//!
//! The `type` is for programs and never changes its meaning; words are for people, and may.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use vitrine_core::limits;
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
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, kind) = self.told();
        let problem = Problem::new(status, kind).detail(&self);
        let problem = match self {
            Self::Fields(faults) => problem.faults(faults),
            Self::NotSupported { field: Some(field) } => problem.field(field),
            _ => problem,
        };
        let mut response = problem.response().map(Body::new);
        response.extensions_mut().insert(Kind(kind));
        if matches!(kind, "too-large" | "too-slow") {
            // What is left of the body is not read.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    }
}
