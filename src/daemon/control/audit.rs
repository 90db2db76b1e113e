//! Who changed what: one line of the target `vitrine::audit` for every request that is not a mere look, done or refused.
//!
//! Written where all of them pass, so that no handler can forget it; a handler adds what it changed ([`Change`]). What
//! backends ask for many times a second is written at level `debug`. Callers
//! without a right are counted, and heard once a second for each reason: a flood of them is no flood of lines. Queries,
//! bodies and headers are not written, for secrets stand in them.

use std::net::SocketAddr;

use axum::{
    http::{Method, Uri},
    response::Response,
};
use metrics::counter;
use tokio::time::Instant;
use vitrine_core::limits;
use vitrine_runtime::throttle::OncePerSecond;

use super::error::{Error, Kind};

/// Where the connection of a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// What a handler changed, in an answer's extensions.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    /// How it was; empty when that says nothing.
    pub(super) from: String,
    /// How it is.
    pub(super) to: String,
}

/// One request, as the audit names it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) who: String,
    peer: Option<Peer>,
    method: Method,
    path: String,
}

/// The reasons of denials, as the counter names them.
const REASONS: [&str; 4] = ["unauthorized", "read-only", "cross-origin", "foreign-host"];

/// Series exist from the start.
pub(super) fn register() {
    for reason in REASONS {
        counter!("vitrine_control_denied_total", "reason" => reason).increment(0);
    }
}

impl Request {
    pub(super) fn new(who: &str, peer: Option<Peer>, method: &Method, uri: &Uri) -> Self {
        let path = uri.path();
        Self {
            who: who.to_owned(),
            peer,
            method: method.clone(),
            // A URI is ASCII.
            path: path[..path.len().min(limits::CONTROL_PATH_LOGGED_MAX)].to_owned(),
        }
    }

    /// Writes what came of it.
    pub(super) fn done(&self, response: &Response) {
        let change = response.extensions().get::<Change>();
        let Change { from, to } = change.cloned().unwrap_or_default();
        let kind = response.extensions().get::<Kind>();
        let outcome = kind.map_or("done", |Kind(kind)| kind);
        let status = response.status().as_u16();
        let words = if kind.is_none() {
            "changed"
        } else {
            "not changed"
        };
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "vitrine::audit",
                    who = self.who,
                    peer = %self.from(),
                    method = %self.method,
                    path = self.path,
                    stream = stream(&self.path),
                    from,
                    to,
                    outcome,
                    status,
                    "{words}"
                )
            };
        }
        match self.is_routine() {
            true => line!(debug),
            false => line!(info),
        }
    }

    /// Whether backends ask for it many times a second: events of the shop, and its state.
    fn is_routine(&self) -> bool {
        self.path.starts_with("/v1/streams/")
            && (self.path.ends_with("/events") || self.path.ends_with("/state"))
    }

    /// Counts that it was not let in, and says so once a second for each reason.
    pub(super) fn denied(&self, error: &Error, lines: &OncePerSecond) {
        let (status, kind) = error.told();
        counter!("vitrine_control_denied_total", "reason" => kind).increment(1);
        debug_assert!(REASONS.contains(&kind), "{kind} has a series");
        if let Some(held_back) = lines.pass(kind, Instant::now()) {
            tracing::warn!(
                target: "vitrine::audit",
                who = self.who,
                peer = %self.from(),
                method = %self.method,
                path = self.path,
                outcome = kind,
                status = status.as_u16(),
                held_back,
                "denied: {error}"
            );
        }
    }

    fn from(&self) -> String {
        self.peer
            .map_or_else(String::new, |Peer(address)| address.to_string())
    }
}

/// The stream that a path names; nothing of other paths.
fn stream(path: &str) -> Option<&str> {
    path.strip_prefix("/v1/streams/")?.split('/').next()
}
