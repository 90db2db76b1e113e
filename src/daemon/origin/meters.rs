//! What the origin counts for the metrics; what each metric means is said by the control floor, in one list.
//!
//! Every handle is resolved once, so that a request costs two additions and one sample: no lookup, no lock, no label made
//! at run time. Kinds and reasons are few and fixed; no label names a stream.

use std::sync::LazyLock;

use hyper::{Response, body::Body as _};
use metrics::{Counter, Histogram, counter, histogram};
use tokio::time::Instant;

use super::{answer::Error, body::Body};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Multivariant,
    Thumbnail,
    Timeline,
    Playlist,
    Init,
    Segment,
    Part,
    Verdict,
    Static,
    Options,
    /// Anything, of a client that has its share of requests already.
    Refused,
    /// A path that means nothing.
    Unknown,
}

impl Kind {
    const ALL: [Self; 12] = [
        Self::Multivariant,
        Self::Thumbnail,
        Self::Timeline,
        Self::Playlist,
        Self::Init,
        Self::Segment,
        Self::Part,
        Self::Verdict,
        Self::Static,
        Self::Options,
        Self::Refused,
        Self::Unknown,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Multivariant => "multivariant",
            Self::Thumbnail => "thumbnail",
            Self::Timeline => "timeline",
            Self::Playlist => "playlist",
            Self::Init => "init",
            Self::Segment => "segment",
            Self::Part => "part",
            Self::Verdict => "verdict",
            Self::Static => "static",
            Self::Options => "options",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// The moment from which an answer is owed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    /// The request was read, and never held.
    AtOnce(Instant),
    /// It was held, and what it waited for was published.
    Released(Instant),
    /// It is or was held for something that did not come.
    Held,
}

/// The handles of one kind.
struct Handles {
    /// By status class: 2xx to 5xx.
    requests: [Counter; CLASSES.len()],
    body_bytes: Counter,
    answer: Histogram,
    wake: Histogram,
}

const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

static HANDLES: LazyLock<[Handles; Kind::ALL.len()]> = LazyLock::new(|| {
    Kind::ALL.map(|kind| {
        let name = kind.name();
        Handles {
            requests: CLASSES.map(|class| {
                let requests =
                    counter!("vitrine_http_requests_total", "kind" => name, "class" => class);
                requests.increment(0);
                requests
            }),
            body_bytes: counter!("vitrine_http_body_bytes_total", "kind" => name),
            answer: histogram!("vitrine_http_answer_seconds", "kind" => name),
            wake: match kind {
                Kind::Playlist | Kind::Segment | Kind::Part => {
                    histogram!("vitrine_http_wake_seconds", "kind" => name)
                }
                // Never held for a version.
                _ => Histogram::noop(),
            },
        }
    })
});

/// In the order of [`Error::REASONS`].
static REFUSALS: LazyLock<[Counter; Error::REASONS.len()]> = LazyLock::new(|| {
    Error::REASONS.map(|reason| counter!("vitrine_http_refusals_total", "reason" => reason))
});

/// Brings the series into being.
pub(super) fn register() {
    for handles in HANDLES.iter() {
        handles.body_bytes.increment(0);
    }
    for refusals in REFUSALS.iter() {
        refusals.increment(0);
    }
}

/// A request is about to be answered.
pub(super) fn answered(kind: Kind, due: Due, response: &Response<Body>) {
    let handles = &HANDLES[kind as usize];
    let class = usize::from(response.status().as_u16() / 100).saturating_sub(2);
    handles.requests[class.min(CLASSES.len() - 1)].increment(1);
    if let Some(size) = response.body().size_hint().exact() {
        handles.body_bytes.increment(size);
    }
    match due {
        Due::AtOnce(since) => handles.answer.record(since.elapsed()),
        Due::Released(since) => handles.wake.record(since.elapsed()),
        Due::Held => {}
    }
}

/// A request is not answered with what it asked for.
pub(super) fn refused(error: &Error) {
    let known = Error::REASONS.iter().zip(REFUSALS.iter());
    for (_, refusals) in known.filter(|(reason, _)| **reason == error.reason()) {
        refusals.increment(1);
    }
}
