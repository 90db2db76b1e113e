//! The control API as its callers see it.

use axum::{body::Body, http::Request};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;
use vitrine_core::media::Rendition;
use vitrine_runtime::{
    bearer::{Digest, Tokens},
    telemetry,
};

use super::router;
use crate::live::{Registry, fixture::Stage, status::State};

async fn call(
    registry: &Registry,
    tokens: Tokens,
    method: &str,
    path: &str,
) -> (u16, String, String) {
    let request = Request::builder().method(method).uri(path);
    let request = request
        .header("authorization", "Bearer right")
        .body(Body::empty())
        .expect("valid");
    let router = router(registry.clone(), telemetry::metrics(), tokens);
    let response = router.oneshot(request).await.expect("infallible");
    let status = response.status().as_u16();
    let media_type = response
        .headers()
        .get("content-type")
        .map_or("", |value| value.to_str().expect("ASCII"));
    let media_type = media_type.to_owned();
    let body = response
        .into_body()
        .collect()
        .await
        .expect("no I/O")
        .to_bytes();
    (
        status,
        media_type,
        String::from_utf8(body.to_vec()).expect("UTF-8"),
    )
}

fn tokens(secret: &str) -> Tokens {
    Tokens::new(vec![("ops".to_owned(), Digest::of(secret.as_bytes()))])
}

#[tokio::test(start_paused = true)]
async fn what_is_not_built_says_so_and_every_error_is_a_problem() {
    let stage = Stage::new();
    for (method, path, status) in [
        ("GET", "/v1/streams/nobody", 404),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/streams", 405),
        ("PATCH", "/v1/streams/demo", 422),
        ("POST", "/v1/streams/demo/events", 422),
        ("PUT", "/v1/streams/demo/state", 422),
        ("GET", "/v1/streams/demo/clock", 422),
        ("DELETE", "/v1/streams/demo/session", 422),
        ("POST", "/v1/streams/demo/end", 422),
        ("GET", "/v1/hooks/deliveries", 422),
        ("POST", "/v1/hooks/deliveries/x/retry", 422),
        ("GET", "/v1/openapi.json", 422),
    ] {
        let (got, media_type, body) = call(&stage.registry, Tokens::default(), method, path).await;
        assert_eq!(got, status, "{method} {path}");
        assert_eq!(media_type, "application/problem+json", "{method} {path}");
        let problem: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(problem["status"], status);
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_guard_everything_but_health() {
    let stage = Stage::new();
    for (path, without) in [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/metrics", 401),
        ("/v1/streams", 401),
        ("/v1/streams/demo", 401),
    ] {
        assert_eq!(
            call(&stage.registry, tokens("right"), "GET", path).await.0,
            200,
            "{path}"
        );
        assert_eq!(
            call(&stage.registry, tokens("other"), "GET", path).await.0,
            without,
            "{path}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_draining_server_is_alive_but_not_ready() {
    let stage = Stage::new();
    stage.registry.drain().await;
    assert_eq!(
        call(&stage.registry, Tokens::default(), "GET", "/healthz")
            .await
            .0,
        200
    );
    assert_eq!(
        call(&stage.registry, Tokens::default(), "GET", "/readyz")
            .await
            .0,
        503
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_told_in_numbers_with_units_and_without_nulls() {
    let mut stage = Stage::new();
    stage.present(7);
    stage.part(7, Rendition::High);
    stage.part(7, Rendition::Audio);
    stage.state(State::Live);
    let (status, media_type, body) = call(
        &stage.registry,
        Tokens::default(),
        "GET",
        "/v1/streams/demo",
    )
    .await;
    assert_eq!((status, media_type.as_str()), (200, "application/json"));
    assert!(!body.contains("null"), "{body}");
    let stream: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(stream["id"], "demo");
    assert_eq!(stream["state"], "live");
    assert_eq!(stream["renditions"][0]["name"], "high");
    assert_eq!(stream["renditions"][0]["msn"], 0);
    assert_eq!(stream["renditions"][0]["parts"], 1);
    assert_eq!(stream["renditions"][0]["bytes_retained"], "high0".len());
    let (_, _, body) = call(&stage.registry, Tokens::default(), "GET", "/v1/streams").await;
    let list: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(list["streams"][0], stream);
    let (_, media_type, text) = call(&stage.registry, Tokens::default(), "GET", "/metrics").await;
    assert!(media_type.starts_with("text/plain"));
    assert!(text.contains("vitrine_streams{state=\"live\"}"), "{text}");
}
