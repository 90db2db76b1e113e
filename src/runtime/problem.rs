//! Errors of an HTTP API as `application/problem+json` (RFC 9457).
//!
//! A [`Problem`] is a kind (stable, for programs), a status, and words for people. Which error is which problem is
//! decided in one table per door, not here.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode, header};
use serde::{Serialize, Serializer};

/// One problem document (RFC 9457, 3.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The kind, such as `not-supported`; on the wire the URI `urn:vitrine:problem:not-supported`.
    #[serde(rename = "type", serialize_with = "kind_as_uri")]
    pub kind: &'static str,
    /// What the kind is called by its status: never differs between occurrences.
    pub title: &'static str,
    /// The HTTP status.
    #[serde(serialize_with = "status_as_number")]
    pub status: StatusCode,
    /// What happened this time, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The offending field of the request, dotted; the first, when there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Every offending field, when what is wrong was looked for in all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
}

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Its name, dotted.
    pub field: String,
    /// What was expected of it, for people.
    pub detail: String,
}

impl Problem {
    /// A problem of `kind`, titled by its status.
    pub fn new(status: StatusCode, kind: &'static str) -> Self {
        Self {
            kind,
            title: status.canonical_reason().unwrap_or("Error"),
            status,
            detail: None,
            field: None,
            errors: Vec::new(),
        }
    }

    /// The same with words about this occurrence.
    #[must_use]
    pub fn detail(self, detail: impl ToString) -> Self {
        let detail = Some(detail.to_string());
        Self { detail, ..self }
    }

    /// The same naming the offending field.
    #[must_use]
    pub fn field(self, field: impl Into<String>) -> Self {
        let field = Some(field.into());
        Self { field, ..self }
    }

    /// The same naming every offending field.
    #[must_use]
    pub fn faults(self, errors: Vec<Fault>) -> Self {
        let field = errors.first().map(|fault| fault.field.clone());
        Self {
            field,
            errors,
            ..self
        }
    }

    /// The answer: never stored by a cache; a 401 names the scheme (RFC 6750, 3).
    pub fn response(&self) -> Response<Full<Bytes>> {
        let body = serde_json::to_vec(self).expect("strings and a number serialize");
        let mut response = Response::builder()
            .status(self.status)
            .header(header::CONTENT_TYPE, "application/problem+json")
            .header(header::CACHE_CONTROL, "no-store");
        if self.status == StatusCode::UNAUTHORIZED {
            response = response.header(header::WWW_AUTHENTICATE, "Bearer");
        }
        response
            .body(Full::from(body))
            .expect("the headers are constants")
    }
}

fn kind_as_uri<S: Serializer>(kind: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("urn:vitrine:problem:{kind}"))
}

fn status_as_number<S: Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_problem_is_json_with_only_the_members_it_has() {
        let problem =
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "not-supported").field("ladder.high");
        let response = problem.response();
        assert_eq!(response.status(), 422);
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(
            body,
            r#"{"type":"urn:vitrine:problem:not-supported","title":"Unprocessable Entity","status":422,"field":"ladder.high"}"#
        );
    }

    #[test]
    fn a_401_names_the_scheme() {
        let response = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized").response();
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
    }
}
