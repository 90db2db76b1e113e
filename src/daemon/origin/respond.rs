//! From what was found, or why it was not, to an HTTP answer: validators, ranges, lengths, HEAD, CORS.
//!
//! RFC 9110 for the semantics; contracts, section 2 for CORS, which stands on errors too: a player that may not read an
//! error cannot tell 404 from a broken network.

use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{self, HeaderValue},
};

use super::{
    answer::{Cache, Error},
    body::{Body, Content},
    range::{self, Ranged},
};

/// A representation of a resource, ready to be sent.
#[derive(Debug)]
pub(super) struct Found {
    /// Media type.
    pub(super) media_type: &'static str,
    /// Strong validator.
    pub(super) etag: HeaderValue,
    /// Lifetime.
    pub(super) cache: Cache,
    /// How it may be sent.
    pub(super) coding: Coding,
    /// The bytes.
    pub(super) content: Content,
}

/// What of a representation is negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// A playlist as it is; the other choice was gzip.
    Plain,
    /// A playlist by gzip.
    Gzip,
    /// Media: ranges of it may be asked for.
    Ranges,
}

/// The parts of a request that shape the answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
}

impl Asked<'_> {
    fn text(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether gzip is acceptable (RFC 9110, 12.5.3).
    pub(super) fn gzip(&self) -> bool {
        let offers = self
            .text(header::ACCEPT_ENCODING)
            .unwrap_or_default()
            .split(',');
        let weight = |wanted: &str| {
            offers.clone().find_map(|offer| {
                let (coding, weight) = offer.split_once(';').unwrap_or((offer, "q=1"));
                let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
                (coding.trim().eq_ignore_ascii_case(wanted))
                    .then(|| weight.parse().unwrap_or(0.0_f32))
            })
        };
        weight("gzip")
            .or_else(|| weight("*"))
            .is_some_and(|weight| weight > 0.0)
    }

    /// Whether the requester has the representation already (RFC 9110, 13.1.2; weak comparison).
    fn has(&self, etag: &HeaderValue) -> bool {
        let Some(known) = self.text(header::IF_NONE_MATCH) else {
            return false;
        };
        known.trim() == "*"
            || (known.split(','))
                .any(|known| known.trim().trim_start_matches("W/").as_bytes() == etag)
    }

    fn range(&self, found: &Found) -> Ranged {
        let current = self
            .headers
            .get(header::IF_RANGE)
            .is_none_or(|etag| *etag == found.etag);
        match self.text(header::RANGE) {
            Some(range)
                if found.coding == Coding::Ranges && *self.method == Method::GET && current =>
            {
                range::parse(range, found.content.size())
            }
            _ => Ranged::Whole,
        }
    }
}

/// Answers with what was found.
pub(super) fn found(asked: Asked<'_>, found: Found) -> Response<Body> {
    let ranged = asked.range(&found);
    let size = found.content.size();
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(header::CACHE_CONTROL, found.cache.header());
    headers.insert(header::ETAG, found.etag.clone());
    match found.coding {
        Coding::Ranges => {
            headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        }
        Coding::Plain | Coding::Gzip => {
            headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
    }
    if asked.has(&found.etag) {
        return assemble(StatusCode::NOT_MODIFIED, headers, Body::empty());
    }
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(found.media_type),
    );
    if found.coding == Coding::Gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let (status, range) = match ranged {
        Ranged::Whole => (StatusCode::OK, 0..size),
        Ranged::Part(range) => {
            let shown = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            headers.insert(header::CONTENT_RANGE, printable(shown));
            (StatusCode::PARTIAL_CONTENT, range)
        }
        Ranged::Unsatisfiable => {
            headers.insert(header::CONTENT_RANGE, printable(format!("bytes */{size}")));
            // It is the request that was wrong: what it asked about may be kept for a year, this not.
            headers.insert(header::CACHE_CONTROL, Cache::BAD_REQUEST.header());
            (StatusCode::RANGE_NOT_SATISFIABLE, 0..0)
        }
    };
    headers.insert(
        header::CONTENT_LENGTH,
        HeaderValue::from(range.end - range.start),
    );
    let body = match *asked.method {
        Method::HEAD => Body::empty(),
        _ => found.content.body(range),
    };
    assemble(status, headers, body)
}

/// Answers with an error.
pub(super) fn failed(asked: Asked<'_>, error: &Error) -> Response<Body> {
    let (status, cache) = error.table();
    let text = format!("{error}\n");
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CACHE_CONTROL, cache.header());
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if status == StatusCode::UNAUTHORIZED {
        // RFC 9110, 15.5.2 wants a challenge; no browser knows this one, so none asks its user for a password.
        let challenge = HeaderValue::from_static("ViewerToken");
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static(METHODS));
    }
    let body = match *asked.method {
        Method::HEAD => Body::empty(),
        _ => text.into(),
    };
    assemble(status, headers, body)
}

/// Answers that a viewer may watch, which holds as long as `cache` says.
pub(super) fn granted(cache: Cache) -> Response<Body> {
    let headers = HeaderMap::from_iter([(header::CACHE_CONTROL, cache.header())]);
    assemble(StatusCode::NO_CONTENT, headers, Body::empty())
}

/// Answers OPTIONS, a CORS preflight among them.
pub(super) fn options() -> Response<Body> {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::ALLOW, HeaderValue::from_static(METHODS));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static(METHODS),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Range, If-Range, If-None-Match, Cache-Control"),
    );
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static("86400"),
    );
    assemble(StatusCode::NO_CONTENT, headers, Body::empty())
}

fn assemble(status: StatusCode, mut headers: HeaderMap, body: Body) -> Response<Body> {
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Age, Date, ETag, Content-Range"),
    );
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn printable(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("letters, digits and punctuation")
}

const METHODS: &str = "GET, HEAD, OPTIONS";
