//! One call of the control API of a running daemon, and in words what can go wrong with it.
//!
//! Answers are bounded in bytes and in time; redirects are not followed and no proxy is used, for the token travels along.

use std::{fmt, time::Duration};

use reqwest::{Method, StatusCode, Url, redirect};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use vitrine_core::limits;

/// Where a daemon's control API listens when nobody says.
const DEFAULT: &str = "http://127.0.0.1:8081";

/// Who to call, and as whom.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.base.as_str())
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Of the daemon at `control`, an address with or without its scheme.
    pub(super) fn new(control: Option<&str>, token: Option<&str>) -> Result<Self, Failure> {
        let given = control.unwrap_or(DEFAULT);
        let url = match given.contains("://") {
            true => Url::parse(given),
            false => Url::parse(&format!("http://{given}")),
        };
        let base = { url.ok() }
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| Failure::Address {
                given: given.to_owned(),
            })?;
        let http = reqwest::Client::builder()
            .user_agent(concat!("vitrine/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(limits::CLI_CONNECT)
            .timeout(limits::CLI_ANSWER)
            .redirect(redirect::Policy::none())
            .no_proxy()
            // A machine without certificates can still be asked in clear.
            .tls_built_in_root_certs(base.scheme() == "https")
            .build()
            .map_err(|error| Failure::unreachable(&base, &error))?;
        Ok(Self {
            http,
            base,
            token: token.map(str::to_owned),
        })
    }

    /// The address that is called, for people.
    pub(super) fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// What is at a path, of whose segments each is one word.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, Failure> {
        self.call(Method::GET, path, query, None).await
    }

    /// Asks for a change.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<T, Failure> {
        let bytes = self.bytes(method, path, query, body).await?;
        serde_json::from_slice(&bytes).map_err(|_| self.foreign(StatusCode::OK))
    }

    /// The metrics.
    pub(super) async fn metrics(&self) -> Result<String, Failure> {
        let bytes = self.bytes(Method::GET, &["metrics"], &[], None).await?;
        String::from_utf8(bytes).map_err(|_| self.foreign(StatusCode::OK))
    }

    async fn bytes(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Vec<u8>, Failure> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let unreachable = |error| Failure::unreachable(&self.base, &error);
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > limits::CLI_ANSWER_BYTES_MAX {
                return Err(self.foreign(status));
            }
        }
        match status.is_success() {
            true => Ok(bytes),
            false => Err(self.refused(status, &bytes)),
        }
    }

    fn foreign(&self, status: StatusCode) -> Failure {
        Failure::Foreign {
            address: self.address().to_owned(),
            status: status.as_u16(),
        }
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Failure {
        let Ok(problem) = serde_json::from_slice::<Problem>(body) else {
            return self.foreign(status);
        };
        let detail = problem.detail.unwrap_or(problem.title);
        match status {
            StatusCode::UNAUTHORIZED if self.token.is_none() => Failure::Denied {
                detail: format!(
                    "{} asks for a token: set VITRINE_TOKEN, or give --token",
                    self.address()
                ),
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Denied { detail },
            _ => Failure::Refused { detail },
        }
    }
}

/// What is shown of a problem document.
#[derive(Deserialize)]
struct Problem {
    title: String,
    detail: Option<String>,
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The address of the daemon cannot be one.
    #[error(
        "--control {given:?}: expected the address of a control API, such as http://127.0.0.1:8081"
    )]
    Address {
        /// As given.
        given: String,
    },
    /// Nobody answers there.
    #[error(
        "no daemon answers at {address}: {cause}\n\
         another one: --control URL or VITRINE_CONTROL; that of a configuration: --config FILE"
    )]
    Unreachable {
        /// What was called.
        address: String,
        /// What the system said.
        cause: String,
    },
    /// Somebody else answers there.
    #[error(
        "what answers at {address} (status {status}) is not Vitrine's control API\n\
         the right one: --control URL or VITRINE_CONTROL; that of a configuration: --config FILE"
    )]
    Foreign {
        /// What was called.
        address: String,
        /// Its HTTP status.
        status: u16,
    },
    /// The daemon does not let the caller in.
    #[error("not allowed: {detail}")]
    Denied {
        /// Why.
        detail: String,
    },
    /// The daemon does not do it.
    #[error("{detail}")]
    Refused {
        /// Why.
        detail: String,
    },
    /// The live view without a terminal.
    #[error("top needs a terminal; for programs there is: vitrine streams --json")]
    NoTerminal,
    /// The terminal failed.
    #[error("the terminal: {0}")]
    Terminal(#[from] std::io::Error),
    /// A time that is neither a moment nor a duration.
    #[error(
        "{given:?}: expected a duration before now, such as 1h, or a time, such as 2026-01-01T12:00:00Z"
    )]
    Time {
        /// As given.
        given: String,
    },
}

impl Failure {
    /// The exit status, after sysexits.h where it has one.
    pub fn status(&self) -> u8 {
        match self {
            Self::Address { .. } | Self::Time { .. } => 2,
            Self::Unreachable { .. } | Self::Foreign { .. } => 69,
            Self::Denied { .. } => 77,
            Self::Refused { .. } | Self::NoTerminal | Self::Terminal(_) => 1,
        }
    }

    fn unreachable(base: &Url, error: &reqwest::Error) -> Self {
        let patience = |limit: Duration| format!("no answer within {} s", limit.as_secs());
        let cause = match (error.is_timeout(), error.is_connect()) {
            (true, true) => patience(limits::CLI_CONNECT),
            (true, false) => patience(limits::CLI_ANSWER),
            (false, _) => innermost(error).to_string(),
        };
        Self::Unreachable {
            address: base.as_str().trim_end_matches('/').to_owned(),
            cause,
        }
    }
}

/// What the outer errors only repeat.
fn innermost<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> &'a (dyn std::error::Error + 'static) {
    error.source().map_or(error, innermost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_or_gets_one() {
        for (given, called) in [
            (None, "http://127.0.0.1:8081"),
            (Some("10.0.0.7:8081"), "http://10.0.0.7:8081"),
            (
                Some("vitrine.internal:8081"),
                "http://vitrine.internal:8081",
            ),
            (
                Some("https://ops.example/vitrine/"),
                "https://ops.example/vitrine",
            ),
        ] {
            let client = Client::new(given, None).expect("an address");
            assert_eq!(client.address(), called);
        }
        for given in ["", "http://", "ftp://x", "unix:///run/x", "a b"] {
            let failure = Client::new(Some(given), None).expect_err(given);
            assert_eq!(failure.status(), 2, "{given}: {failure}");
        }
    }

    #[test]
    fn a_refusal_says_what_the_daemon_said_and_what_is_no_problem_is_not_its() {
        let anonymous = Client::new(None, None).expect("the default");
        let named = Client::new(None, Some("t")).expect("the default");
        let body = br#"{"type":"x","title":"Unauthorized","status":401,"detail":"words","more":1}"#;
        for (client, status, body, exit, words) in [
            (&anonymous, 401, &body[..], 77, "VITRINE_TOKEN"),
            (&named, 401, body, 77, "words"),
            (&named, 403, body, 77, "words"),
            (&named, 409, body, 1, "words"),
            (&named, 404, b"<html>", 69, "not Vitrine's"),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            let failure = client.refused(status, body);
            assert_eq!(failure.status(), exit, "{failure}");
            assert!(failure.to_string().contains(words), "{failure}");
        }
    }
}
