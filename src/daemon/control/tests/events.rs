//! What is told of an event that cannot be placed: which field it is, whether it helps to post it again, and when.

use axum::{
    body::Body,
    http::Request,
    response::{IntoResponse as _, Response},
};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use vitrine_core::{engine::cues::Refusal, limits};
use vitrine_runtime::{bearer::Tokens, deliver::Outbox, telemetry};

use super::super::{error::Error, router};
use crate::live::{fixture::Stage, status::State};

const EVENTS: &str = "/v1/streams/demo/events";
const STATE: &str = "/v1/streams/demo/state";

/// Status, `Retry-After` and problem.
async fn told(response: Response) -> (u16, Option<String>, Value) {
    let status = response.status().as_u16();
    let retry = response.headers().get("retry-after");
    let retry = retry.map(|it| it.to_str().expect("ASCII").to_owned());
    let body = response.into_body().collect().await.expect("no I/O");
    let problem = serde_json::from_slice(&body.to_bytes()).expect("JSON");
    (status, retry, problem)
}

async fn ask(stage: &Stage, method: &str, path: &str, body: impl Into<Body>) -> (u16, Value) {
    let (outbox, metrics) = (Outbox::none(), telemetry::metrics());
    let router = router(stage.registry.clone(), outbox, metrics, Tokens::default());
    let request = Request::builder().method(method).uri(path);
    let request = request.body(body.into()).expect("valid");
    let response = router.oneshot(request).await.expect("infallible");
    let (status, _, problem) = told(response).await;
    (status, problem)
}

/// Status, kind and named fields of a refusal.
fn fields(answer: &(u16, Value)) -> (u16, &str, Vec<&str>) {
    let (status, problem) = answer;
    let kind = problem["type"].as_str().expect("a kind");
    let errors = problem["errors"].as_array();
    let named = match errors {
        Some(errors) => errors
            .iter()
            .filter_map(|it| it["field"].as_str())
            .collect(),
        None => problem["field"].as_str().into_iter().collect(),
    };
    (
        *status,
        kind.trim_start_matches("urn:vitrine:problem:"),
        named,
    )
}

#[tokio::test(start_paused = true)]
async fn every_wrong_field_of_an_event_is_named() {
    let stage = Stage::new();
    let right = r#"{"id":"e","type":"price.changed"}"#;
    let long = json!({"id": "e", "type": "price.changed", "data": {"words": "x".repeat(1024)}});
    let huge = "x".repeat(limits::CONTROL_BODY_BYTES_MAX + 1);
    for (path, body, status, kind, named) in [
        (EVENTS, "", 400, "malformed-body", &[][..]),
        (EVENTS, "[]", 400, "malformed-body", &[]),
        (EVENTS, "{", 400, "malformed-body", &[]),
        (EVENTS, "{}", 422, "invalid-field", &["id", "type"]),
        (
            EVENTS,
            r#"{"id":"e e","type":"price.fell","sync":"now","seq":-1,"at":"noon","ttl_ms":0,"duration_ms":0.5,"close":"","data":7}"#,
            422,
            "invalid-field",
            &[
                "id",
                "type",
                "sync",
                "seq",
                "at",
                "ttl_ms",
                "duration_ms",
                "close",
                "data",
            ],
        ),
        (
            EVENTS,
            r#"{"id":"e","type":"price.changed","sync":"now"}"#,
            422,
            "invalid-field",
            &["sync"],
        ),
        (EVENTS, &long.to_string(), 413, "event-too-large", &["data"]),
        (EVENTS, &huge, 413, "too-large", &[]),
        (
            "/v1/streams/demo/events?id=e",
            right,
            422,
            "invalid-field",
            &["id"],
        ),
        ("/v1/streams/nobody/events", right, 404, "not-found", &[]),
    ] {
        let answer = ask(&stage, "POST", path, body.to_owned()).await;
        assert_eq!(
            fields(&answer),
            (status, kind, named.to_vec()),
            "{body:.99}"
        );
    }
    let (_, told) = ask(&stage, "POST", EVENTS, "{\n\"id\":,").await;
    assert!(told["detail"].to_string().contains("line 2"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn every_wrong_field_of_a_state_is_named() {
    let stage = Stage::new();
    let long = json!({"data": {"words": "x".repeat(1024)}}).to_string();
    for (path, body, status, kind, named) in [
        (STATE, "", 422, "invalid-field", &["data"][..]),
        (STATE, "7", 400, "malformed-body", &[]),
        (
            STATE,
            r#"{"data":[],"seq":"1","more":1}"#,
            422,
            "invalid-field",
            &["seq", "data", "more"],
        ),
        (STATE, &long, 413, "event-too-large", &["data"]),
        (
            "/v1/streams/nobody/state",
            r#"{"data":{}}"#,
            404,
            "not-found",
            &[],
        ),
    ] {
        let answer = ask(&stage, "PUT", path, body.to_owned()).await;
        assert_eq!(
            fields(&answer),
            (status, kind, named.to_vec()),
            "{body:.99}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_answer_is_not_waited_for() {
    let stage = Stage::new();
    stage.state(State::Live);
    for (method, path, body) in [
        ("POST", EVENTS, r#"{"id":"e","type":"price.changed"}"#),
        ("PUT", STATE, r#"{"data":{}}"#),
        ("GET", "/v1/streams/demo/clock", ""),
    ] {
        let answer = ask(&stage, method, path, body).await;
        assert_eq!(fields(&answer), (503, "unavailable", vec![]), "{path}");
    }
}

#[tokio::test]
async fn a_refusal_says_whether_and_when_to_post_again() {
    let many = |retry_after_ms| Refusal::TooMany {
        what: "events",
        retry_after_ms,
    };
    for (refusal, status, kind, field, retry) in [
        (Refusal::NotLive, 404, "not-live", None, None),
        (Refusal::Starving, 409, "starving", None, Some("1")),
        (
            Refusal::Stale {
                age_ms: 12_000,
                ttl_ms: 10_000,
            },
            410,
            "stale",
            Some("at"),
            None,
        ),
        (
            Refusal::TooFarAhead {
                ahead_ms: 61_000,
                max_ms: 60_000,
            },
            422,
            "too-far-ahead",
            Some("at"),
            None,
        ),
        (many(0), 429, "too-many", None, Some("1")),
        (many(1001), 429, "too-many", None, Some("2")),
        (
            Refusal::RangesFull { open: 32, max: 32 },
            429,
            "ranges-full",
            None,
            Some("5"),
        ),
        (
            Refusal::RangesTooLarge {
                bytes: 40_000,
                max: 32_768,
            },
            413,
            "ranges-too-large",
            None,
            None,
        ),
    ] {
        let (got, again, problem) = told(Error::Refused(refusal).into_response()).await;
        assert_eq!((got, again.as_deref()), (status, retry), "{refusal}");
        assert_eq!(problem["type"], format!("urn:vitrine:problem:{kind}"));
        assert_eq!(problem["field"].as_str(), field, "{refusal}");
        assert_eq!(problem["detail"], refusal.to_string());
    }
}
