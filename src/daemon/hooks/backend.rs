//! Calls to a backend: one POST, one answer, both bounded.
//!
//! No redirect is followed, no proxy of the environment is used, no answer is decompressed, and of its body no more is read
//! than a verdict can need. The time limit is the caller's, one for the whole call: names, connection, TLS, request, headers
//! and body. Certificates are judged by the system's roots (`SSL_CERT_FILE` names others). Errors tell what failed, never
//! the URL, whose query may be secret.

use std::{error::Error as _, fmt, time::Duration};

use bytes::{Bytes, BytesMut};
use reqwest::{Client, Url, header, redirect};
use vitrine_core::{
    limits::{HOOK_ANSWER_BYTES_MAX, HOOK_HEADER_BYTES_MAX, HOOK_IDLE},
    wire::hook::{Answer, Body, Unfit},
};
use vitrine_runtime::deliver::shown;

/// Where a backend is called. Shown without what may be secret in it.
#[derive(Clone, PartialEq, Eq)]
pub struct BackendUrl(Url);

impl BackendUrl {
    /// Reads an `http:` or `https:` URL; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let fit = matches!(url.scheme(), "http" | "https") && url.has_host();
        fit.then_some(Self(url))
    }
}

impl fmt::Display for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

impl fmt::Debug for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Not all of an answer came in time.
    #[error("no whole answer within {} ms", _0.as_millis())]
    Deadline(Duration),
    /// No connection, or none that could be trusted, or it broke.
    #[error("{}", Chain(_0))]
    Unreachable(#[source] reqwest::Error),
    /// It answers that it fails.
    #[error("the backend answered {status}")]
    Failing {
        /// HTTP status, 500 or above.
        status: u16,
    },
    /// More than a verdict can be.
    #[error("the backend's answer is longer than {HOOK_ANSWER_BYTES_MAX} bytes")]
    TooLong,
    /// It cannot be understood.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// Too many questions wait for it.
    #[error("too many questions wait for the backend")]
    Full,
    /// It is left alone, for it did not answer lately.
    #[error("the backend is left alone, for it did not answer lately")]
    Resting,
}

impl Trouble {
    /// The name in metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Deadline(_) => "deadline",
            Self::Unreachable(_) | Self::Failing { .. } => "unreachable",
            Self::TooLong | Self::Unfit(_) => "unfit",
            Self::Full => "full",
            Self::Resting => "resting",
        }
    }

    /// Whether the backend seems to be down, rather than wrong.
    pub(super) fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Deadline(_) | Self::Unreachable(_) | Self::Failing { .. } | Self::TooLong
        )
    }

    /// Whether the backend cannot have meant yes.
    pub(super) fn excludes_yes(&self) -> bool {
        match self {
            Self::Unreachable(error) => error.is_connect(),
            Self::Failing { .. } => true,
            _ => false,
        }
    }

    /// What a broadcaster is told.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Full => "too many publishers at once, try again in a moment",
            _ => "the stream key cannot be checked at the moment, try again later",
        }
    }
}

impl From<reqwest::Error> for Trouble {
    fn from(error: reqwest::Error) -> Self {
        Self::Unreachable(error.without_url())
    }
}

/// An error and its causes, in one line.
struct Chain<'a>(&'a reqwest::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    status: u16,
    location: Option<String>,
    body: Bytes,
}

impl Reply {
    /// For a dialect to understand.
    ///
    /// # Errors
    /// A server that fails says nothing, in whatever dialect: what stands in front of a backend that is down answers so.
    pub(super) fn answer(&self) -> Result<Answer<'_>, Trouble> {
        match self.status {
            status @ 500.. => Err(Trouble::Failing { status }),
            status => Ok(Answer {
                status,
                location: self.location.as_deref(),
                body: &self.body,
            }),
        }
    }
}

/// What calls backends; connections are shared.
#[derive(Clone, Debug)]
pub(super) struct Caller(Client);

impl Caller {
    /// One without connections.
    ///
    /// # Errors
    /// When the system's roots cannot be used.
    pub(super) fn new() -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .user_agent(concat!("vitrine/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .http2_max_header_list_size(HOOK_HEADER_BYTES_MAX)
            .pool_idle_timeout(HOOK_IDLE)
            .build()?;
        Ok(Self(client))
    }

    /// Posts `body` with `headers` beside its type. Waits without an end: the caller's is the limit.
    pub(super) async fn post(
        &self,
        url: &BackendUrl,
        body: Body,
        headers: &[(&'static str, String)],
    ) -> Result<Reply, Trouble> {
        let request = self.0.post(url.0.clone());
        let request = request.header(header::CONTENT_TYPE, body.content_type);
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, value)
        });
        let mut response = request.body(body.bytes).send().await?;
        let location = response.headers().get(header::LOCATION);
        let location = location.and_then(|it| it.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        let mut read = BytesMut::new();
        while let Some(chunk) = response.chunk().await? {
            if read.len() + chunk.len() > HOOK_ANSWER_BYTES_MAX {
                return Err(Trouble::TooLong);
            }
            read.extend_from_slice(&chunk);
        }
        let body = read.freeze();
        Ok(Reply {
            status,
            location,
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_of_http_and_hides_what_may_be_secret() {
        let shown = |text| BackendUrl::parse(text).map(|url| format!("{url} {url:?}"));
        let url = "https://shop.example/hooks";
        assert_eq!(shown(url), Some(format!("{url} {url}")));
        let secret = shown("http://user:s3cr3t@shop.example/hooks?token=s3cr3t").expect("a URL");
        assert!(!secret.contains("s3cr3t"), "{secret}");
        for wrong in [
            "",
            "shop.example",
            "ftp://shop.example/",
            "http://",
            "file:///x",
        ] {
            assert_eq!(BackendUrl::parse(wrong), None, "{wrong}");
        }
    }
}
