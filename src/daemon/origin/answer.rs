//! The one table that turns an origin's errors into HTTP statuses, and everything it answers into a cache lifetime.
//!
//! Lifetimes: contracts, section 2 (draft-pantos-hls-rfc8216bis, appendix "Low-Latency", cache lifetimes: an answer to a
//! blocking request lives six target durations, for its URI will never mean anything else). No other file names a status
//! of an error or writes a lifetime.

use std::io;

use hyper::{StatusCode, header::HeaderValue};
use vitrine_core::wire::{directive, token};

/// Why a request is not answered with what it asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The delivery directives contradict themselves.
    #[error(transparent)]
    Directive(#[from] directive::Error),
    /// The directives ask for what is too far in the future.
    #[error("the playlist is not that far")]
    TooFar,
    /// There is no such stream, epoch, rendition, segment or part.
    #[error("not found")]
    NotFound,
    /// An operator took it down; it will never be there again.
    #[error("taken down")]
    TakenDown,
    /// The hinted part or segment was waited for and will not come.
    #[error("the hinted media did not come")]
    NeverCame {
        /// Target duration, seconds.
        target_duration: u32,
    },
    /// The stream is for viewers with a token, and there is none.
    #[error("this stream is for viewers with a token: /live/~<token>/<stream>/...")]
    NoToken,
    /// There is one, and it does not open this.
    #[error(transparent)]
    Token(#[from] token::Refused),
    /// Not a method of this resource.
    #[error("only GET, HEAD and OPTIONS")]
    Method,
    /// What was waited for is not there after three target durations.
    #[error("not there in time")]
    Late,
    /// Nobody can tell yet what the stream will be.
    #[error("the stream is about to begin")]
    NotReady,
    /// Too many requests of this stream wait already.
    #[error("too many requests are waiting")]
    TooManyWaiters,
    /// The stream failed or the server stops, so that asking again helps; or a file cannot be read.
    #[error("not available")]
    Unavailable,
}

impl Error {
    /// Every reason of [`Error::reason`].
    pub const REASONS: [&str; 12] = [
        "directive",
        "too_far",
        "not_found",
        "taken_down",
        "never_came",
        "no_token",
        "token",
        "method",
        "late",
        "not_ready",
        "too_many_waiters",
        "unavailable",
    ];

    /// The name in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Directive(_) => "directive",
            Self::TooFar => "too_far",
            Self::NotFound => "not_found",
            Self::TakenDown => "taken_down",
            Self::NeverCame { .. } => "never_came",
            Self::NoToken => "no_token",
            Self::Token(_) => "token",
            Self::Method => "method",
            Self::Late => "late",
            Self::NotReady => "not_ready",
            Self::TooManyWaiters => "too_many_waiters",
            Self::Unavailable => "unavailable",
        }
    }

    /// The status and the lifetime of the answer.
    pub fn table(&self) -> (StatusCode, Cache) {
        match self {
            Self::Directive(_) | Self::TooFar => (StatusCode::BAD_REQUEST, Cache::BAD_REQUEST),
            Self::NotFound => (StatusCode::NOT_FOUND, Cache::Seconds(1)),
            Self::TakenDown => (StatusCode::GONE, Cache::Never),
            Self::NeverCame { target_duration } => {
                (StatusCode::NOT_FOUND, Cache::Seconds(4 * target_duration))
            }
            Self::NoToken => (StatusCode::UNAUTHORIZED, Cache::Never),
            Self::Token(_) => (StatusCode::FORBIDDEN, Cache::Never),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, Cache::Never),
            Self::Late | Self::NotReady | Self::TooManyWaiters | Self::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, Cache::Never)
            }
        }
    }
}

impl From<io::Error> for Error {
    /// Of a file that was asked for by name.
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
        match error.kind() {
            NotFound | NotADirectory | PermissionDenied => Self::NotFound,
            _ => Self::Unavailable,
        }
    }
}

/// How long an answer may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// For a year, without asking again: the URI never means anything else.
    Immutable,
    /// For so many seconds.
    Seconds(u32),
    /// Not at all.
    Never,
}

impl Cache {
    /// Of the multivariant playlist: a new epoch must be found soon.
    pub const MULTIVARIANT: Self = Self::Seconds(1);

    /// Of the last still: as long as there is no other.
    pub const THUMBNAIL: Self = Self::Seconds(5);

    /// Of the events of an epoch.
    pub fn timeline(ended: bool) -> Self {
        Self::Seconds(if ended { 60 } else { 1 })
    }

    /// Of what was asked for wrongly (400, 416).
    pub const BAD_REQUEST: Self = Self::Seconds(1);

    /// Of a media playlist.
    pub fn playlist(target_duration: u32, blocking: bool, ended: bool) -> Self {
        Self::Seconds(match (ended, blocking) {
            (true, _) => 60,
            (false, true) => 6 * target_duration,
            (false, false) => (target_duration / 2).max(1),
        })
    }

    /// The value of `Cache-Control`.
    pub fn header(self) -> HeaderValue {
        match self {
            Self::Immutable => HeaderValue::from_static("max-age=31536000, immutable"),
            Self::Seconds(seconds) => {
                HeaderValue::try_from(format!("max-age={seconds}")).expect("letters and digits")
            }
            Self::Never => HeaderValue::from_static("no-store"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_those_of_the_contract() {
        for (cache, header) in [
            (Cache::MULTIVARIANT, "max-age=1"),
            (Cache::playlist(1, false, false), "max-age=1"),
            (Cache::playlist(2, false, false), "max-age=1"),
            (Cache::playlist(5, false, false), "max-age=2"),
            (Cache::playlist(2, true, false), "max-age=12"),
            (Cache::playlist(2, false, true), "max-age=60"),
            (Cache::playlist(2, true, true), "max-age=60"),
            (Cache::THUMBNAIL, "max-age=5"),
            (Cache::timeline(false), "max-age=1"),
            (Cache::timeline(true), "max-age=60"),
            (Cache::Immutable, "max-age=31536000, immutable"),
            (Cache::Never, "no-store"),
        ] {
            assert_eq!(cache.header(), header);
        }
    }

    #[test]
    fn errors_answer_as_the_contract_says() {
        for (error, status, header) in [
            (directive::Error::PartWithoutMsn.into(), 400, "max-age=1"),
            (Error::TooFar, 400, "max-age=1"),
            (Error::NotFound, 404, "max-age=1"),
            (Error::TakenDown, 410, "no-store"),
            (Error::NeverCame { target_duration: 2 }, 404, "max-age=8"),
            (Error::NoToken, 401, "no-store"),
            (token::Refused::Expired.into(), 403, "no-store"),
            (Error::Method, 405, "no-store"),
            (Error::Late, 503, "no-store"),
            (Error::NotReady, 503, "no-store"),
            (Error::TooManyWaiters, 503, "no-store"),
            (Error::Unavailable, 503, "no-store"),
        ] {
            let (got, cache) = error.table();
            assert_eq!(
                (got.as_u16(), cache.header()),
                (status, HeaderValue::from_static(header)),
                "{error}"
            );
        }
    }
}
