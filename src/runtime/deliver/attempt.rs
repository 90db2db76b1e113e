//! One attempt: a signed POST, and what its answer means. Headers: Standard Webhooks 1.0; Retry-After: RFC 9110, 10.2.3.
//!
//! Redirects are not followed, proxies of the environment not asked. A status is all that counts of an answer; some of its
//! body is read so that the connection can serve again. When to try again is not decided here.

use std::{error::Error as _, time::Duration};

use bytes::Bytes;
use jiff::{Timestamp, fmt::rfc2822};
use reqwest::{Client, Response, StatusCode, header, redirect};
use tokio::time::timeout;
use vitrine_core::{limits, media::WallTime, wire::sign};

use super::Endpoint;
use crate::clock;

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx.
    Taken {
        /// Which.
        status: u16,
    },
    /// 410: the endpoint wants to hear no more.
    Gone,
    /// Any other status.
    Refused {
        /// Which.
        status: u16,
        /// When the endpoint wants to be asked again; only of 429 and 503.
        retry_after: Option<Duration>,
    },
    /// No answer.
    Failed(Failure),
}

/// Why there was no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection, no TLS.
    #[error("cannot connect: {cause}")]
    Connect {
        /// What the system said.
        cause: String,
    },
    /// The connection ended before an answer.
    #[error("the connection failed before an answer: {cause}")]
    Exchange {
        /// What the system said.
        cause: String,
    },
    /// Nothing within the time for an attempt.
    #[error("no answer in time")]
    Timeout,
}

impl Outcome {
    /// The status, when there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Taken { status } | Self::Refused { status, .. } => Some(*status),
            Self::Gone => Some(StatusCode::GONE.as_u16()),
            Self::Failed(_) => None,
        }
    }

    /// What went wrong, in words; `None` when nothing did.
    pub fn error(&self) -> Option<String> {
        match self {
            Self::Taken { .. } => None,
            Self::Gone => Some("HTTP 410: the endpoint wants to hear no more".to_owned()),
            Self::Refused { status, .. } => {
                let known = StatusCode::from_u16(*status).ok();
                let reason = known.and_then(|status| status.canonical_reason());
                let reason = reason.map(|reason| format!(" {reason}"));
                let redirect = match status {
                    300..400 => ": redirects are not followed",
                    _ => "",
                };
                Some(format!(
                    "HTTP {status}{}{redirect}",
                    reason.unwrap_or_default()
                ))
            }
            Self::Failed(failure) => Some(failure.to_string()),
        }
    }
}

/// Makes attempts. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Sender {
    client: Client,
    patience: Duration,
}

impl Sender {
    /// Gives each attempt `patience`.
    ///
    /// # Errors
    /// When the system's certificates cannot be used.
    pub fn new(patience: Duration) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(limits::OUTBOX_FIRST_ATTEMPTS_MAX)
            .user_agent(concat!("Vitrine/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, patience })
    }

    /// Posts the message `id` to `endpoint`, signed at this moment.
    pub async fn post(&self, endpoint: &Endpoint, id: &str, body: Bytes) -> Outcome {
        let now = clock::wall();
        let seconds = u64::try_from(now.0 / 1000).unwrap_or_default();
        let signatures = sign::sign(&endpoint.secrets, id, seconds, &body);
        let request = { self.client.post(endpoint.url.clone()) }
            .header(header::CONTENT_TYPE, "application/json")
            .header(sign::ID, id)
            .header(sign::TIMESTAMP, seconds)
            .header(sign::SIGNATURE, signatures)
            .body(body);
        match timeout(self.patience, request.send()).await {
            Err(_) => Outcome::Failed(Failure::Timeout),
            Ok(Err(error)) => Outcome::Failed(failure(&error)),
            Ok(Ok(answer)) => {
                let outcome = judge(&answer, now);
                // Whatever it says: what counts is known.
                let _ = timeout(limits::OUTBOX_ANSWER_READ, drain(answer)).await;
                outcome
            }
        }
    }
}

fn judge(answer: &Response, now: WallTime) -> Outcome {
    let status = answer.status();
    match status {
        StatusCode::GONE => Outcome::Gone,
        _ if status.is_success() => Outcome::Taken {
            status: status.as_u16(),
        },
        _ => {
            let waits = [
                StatusCode::TOO_MANY_REQUESTS,
                StatusCode::SERVICE_UNAVAILABLE,
            ];
            let named = answer.headers().get(header::RETRY_AFTER);
            let named = named.filter(|_| waits.contains(&status));
            Outcome::Refused {
                status: status.as_u16(),
                retry_after: named.and_then(|value| retry_after(value.to_str().ok()?, now)),
            }
        }
    }
}

/// Seconds, or a date.
fn retry_after(value: &str, now: WallTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has are a long time too.
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds));
    }
    let date = rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    let ms = Timestamp::as_millisecond(date).saturating_sub(now.0);
    Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

async fn drain(mut answer: Response) {
    let mut bytes = 0;
    while let Ok(Some(chunk)) = answer.chunk().await {
        bytes += chunk.len();
        if bytes > limits::OUTBOX_ANSWER_BYTES_MAX {
            return;
        }
    }
}

fn failure(error: &reqwest::Error) -> Failure {
    // The innermost: those around it repeat the URL, which may hold a secret.
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(|cause| cause.source()) {
        cause = Some(inner);
    }
    let cause = cause.map_or_else(|| "unknown".to_owned(), ToString::to_string);
    match error.is_connect() {
        true => Failure::Connect { cause },
        false => Failure::Exchange { cause },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = WallTime(1_445_412_480_000); // Wed, 21 Oct 2015 07:28:00 GMT, of RFC 9110's like
        for (value, expect) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Wed, 21 Oct 2015 07:29:30 GMT", Some(90)),
            ("Wed, 21 Oct 2015 07:00:00 GMT", Some(0)),
            ("soon", None),
            ("-5", None),
            ("", None),
        ] {
            let expect = expect.map(Duration::from_secs);
            assert_eq!(retry_after(value, now), expect, "{value:?}");
        }
    }
}
