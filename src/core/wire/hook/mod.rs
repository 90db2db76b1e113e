//! Asking a backend whether a stream key may publish, and reading its answer: bytes both ways, nothing sent here.
//!
//! A backend that was written for another server is asked in that server's words ([`Dialect`]) and answers in them:
//!
//! | dialect | asked by | allows |
//! |-|-|-|
//! | `vitrine` | signed JSON, `publish.requested` | 200 and `{"allow":true,"stream_id":...}` |
//! | `srs` | JSON, `on_publish` (SRS 5 and 6, HTTP callback) | 200 or 201 and `0` or `{"code":0}` |
//! | `nginx-rtmp` | form, `call=publish` (nginx-rtmp-module 1.2, `on_publish`) | 2xx; 3xx gives another name |
//! | `mediamtx` | JSON, `"action":"publish"` (MediaMTX 1, `authMethod: http`) | 20x |
//!
//! A backend of `srs` or `nginx-rtmp` is also told in those words when an allowed publish has ended ([`Dialect::done`]),
//! one of `nginx-rtmp` how it goes ([`Dialect::update`]); lifecycle events of our own are no business of this module. What a
//! stream is called for viewers, where the dialect has no word for it, is [`public_name`]'s.
//!
//! Answers are a stranger's bytes: what cannot be understood denies, in words that name what was wrong. Keys are in no
//! error and no `Debug`.

mod mediamtx;
mod name;
mod nginx_rtmp;
mod srs;
#[cfg(test)]
mod tests;
mod vitrine;

use core::net::SocketAddr;
use std::fmt;

use bytes::Bytes;

pub use self::name::public_name;
use crate::media::WallTime;

/// In whose words a backend is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Ours.
    #[default]
    Vitrine,
    /// SRS's.
    Srs,
    /// The nginx-rtmp module's.
    NginxRtmp,
    /// MediaMTX's.
    Mediamtx,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 4] = [Self::Vitrine, Self::Srs, Self::NginxRtmp, Self::Mediamtx];

    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vitrine => "vitrine",
            Self::Srs => "srs",
            Self::NginxRtmp => "nginx-rtmp",
            Self::Mediamtx => "mediamtx",
        }
    }

    /// The question whether `publish` is allowed.
    pub fn ask(self, publish: &Publish) -> Body {
        match self {
            Self::Vitrine => vitrine::ask(publish),
            Self::Srs => srs::ask(publish),
            Self::NginxRtmp => nginx_rtmp::ask(publish),
            Self::Mediamtx => mediamtx::ask(publish),
        }
    }

    /// The question whether `publish`, which goes on as `stream_id`, is still allowed; `None` where the dialect has none.
    pub fn ask_again(self, publish: &Publish, stream_id: &str) -> Option<Body> {
        (self == Self::Vitrine).then(|| vitrine::ask_again(publish, stream_id))
    }

    /// The news that `publish`, which was allowed, has ended; `None` where the dialect has none.
    pub fn done(self, publish: &Publish) -> Option<Body> {
        match self {
            Self::Srs => Some(srs::done(publish)),
            Self::NginxRtmp => Some(nginx_rtmp::done(publish)),
            Self::Vitrine | Self::Mediamtx => None,
        }
    }

    /// The news that `publish` goes on; `None` where the dialect has none.
    pub fn update(self, publish: &Publish, progress: Progress) -> Option<Body> {
        (self == Self::NginxRtmp).then(|| nginx_rtmp::update(publish, progress))
    }

    /// Whether `answer` to an update lets the publish go on.
    pub fn goes_on(self, answer: &Answer<'_>) -> bool {
        self != Self::NginxRtmp || nginx_rtmp::goes_on(answer)
    }

    /// What `answer` says.
    ///
    /// # Errors
    /// What in it cannot be understood; then it denies.
    pub fn verdict(self, answer: &Answer<'_>) -> Result<Verdict, Unfit> {
        match self {
            Self::Vitrine => vitrine::verdict(answer),
            Self::Srs => srs::verdict(answer),
            Self::NginxRtmp => nginx_rtmp::verdict(answer),
            Self::Mediamtx => mediamtx::verdict(answer),
        }
    }
}

/// A publish that somebody is to decide about.
#[derive(Clone, PartialEq, Eq)]
pub struct Publish {
    /// Which daemon asks.
    pub node: String,
    /// Id of the session that begins if it is allowed.
    pub session: String,
    /// When the publisher asked.
    pub at: WallTime,
    /// Application.
    pub app: String,
    /// The published name as sent, without its query: in other servers the public name of the stream.
    pub name: String,
    /// The secret, wherever the publisher put it.
    pub stream_key: String,
    /// Raw query, without its question mark.
    pub query: String,
    /// `tcUrl` as sent.
    pub tc_url: String,
    /// `rtmp` or `rtmps`.
    pub protocol: &'static str,
    /// The publisher's address.
    pub peer: SocketAddr,
    /// The encoder as it calls itself.
    pub encoder: String,
}

/// How far a publish has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Whole seconds since it was asked for.
    pub seconds: u64,
    /// The latest timestamp that it sent, RTMP milliseconds.
    pub timestamp: u32,
}

impl fmt::Debug for Publish {
    /// Without what holds, or may hold, the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish")
            .field("session", &self.session)
            .field("peer", &self.peer)
            .field("encoder", &self.encoder)
            .finish_non_exhaustive()
    }
}

/// What is posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The bytes.
    pub bytes: Bytes,
}

impl Body {
    fn json(value: &serde_json::Value) -> Self {
        Self {
            content_type: "application/json",
            bytes: value.to_string().into(),
        }
    }
}

/// What came back.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// HTTP status.
    pub status: u16,
    /// `Location`, where there is one.
    pub location: Option<&'a str>,
    /// The body, whole.
    pub body: &'a [u8],
}

/// A decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The publish may begin.
    Allow(Allow),
    /// It may not.
    Deny {
        /// What the broadcaster is told.
        reason: String,
    },
}

/// What an allowed publisher may do; what is `None` follows the configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allow {
    /// Public name of the stream; `None` where the dialect has no word for it.
    pub stream_id: Option<String>,
    /// Name of the ladder.
    pub ladder: Option<String>,
    /// Whether it may take the stream from the publisher that holds it.
    pub takeover: Option<bool>,
    /// Highest bitrate in thousand bits a second.
    pub max_kbps: Option<u32>,
    /// The epoch to begin or go on with, Unix seconds.
    pub epoch: Option<u64>,
    /// Seconds after which the publish ends.
    pub lifetime_seconds: Option<u32>,
    /// Seconds after which the backend is asked again.
    pub revalidate_seconds: Option<u32>,
    /// What events it may carry.
    pub events: Events,
    /// What the backend wants to be told with every event of the stream.
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// What events a publish may carry; what is `None` is for somebody else to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// `amf_events`: whether those that its encoder sends are placed.
    pub amf: Option<bool>,
    /// `event_offset_ms`: added to where an event without a timestamp of its own is placed; within
    /// [`crate::limits::EVENT_OFFSET_MS_MAX`] either way.
    pub offset_ms: Option<i32>,
    /// Events a second, 1 to [`crate::limits::EVENTS_PER_SECOND_MAX`].
    pub per_second: Option<u32>,
    /// Bytes of their JSON texts a second, [`crate::limits::EVENT_BYTES_PER_SECOND_MIN`] to
    /// [`crate::limits::EVENT_BYTES_PER_SECOND_MAX`].
    pub bytes_per_second: Option<u32>,
}

impl Events {
    /// These, and of `others` what these leave open.
    pub fn or(self, others: Self) -> Self {
        Self {
            amf: self.amf.or(others.amf),
            offset_ms: self.offset_ms.or(others.offset_ms),
            per_second: self.per_second.or(others.per_second),
            bytes_per_second: self.bytes_per_second.or(others.bytes_per_second),
        }
    }
}

/// Why an answer cannot be understood; it denies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A status that neither allows nor denies.
    #[error("the backend answered {status}, expected {expected}")]
    Status {
        /// HTTP status.
        status: u16,
        /// What would have been understood.
        expected: &'static str,
    },
    /// The body is not what the dialect has.
    #[error("the backend's answer is not {expected}")]
    Body {
        /// What would have been understood.
        expected: &'static str,
    },
    /// A field of it cannot be used.
    #[error("{field} in the backend's answer: expected {expected}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What would have been understood.
        expected: &'static str,
    },
    /// It asks for what this version cannot do.
    #[error("{field} in the backend's answer is not supported by this version")]
    NotSupported {
        /// Its name.
        field: &'static str,
    },
}

/// What a broadcaster is told where the backend gives no reason.
const DENIED: &str = "not allowed to publish";

fn denied() -> Verdict {
    Verdict::Deny {
        reason: DENIED.to_owned(),
    }
}
