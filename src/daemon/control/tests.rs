//! The control API as its callers see it; events of the shop, in `events`.

mod events;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use axum::{body::Body, http::Request};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;
use tracing::{Event, Metadata, Subscriber, span};
use vitrine_core::{
    engine::{ladder::Failure, plan::Obstacle, stream::Source},
    limits,
    media::Rendition,
};
use vitrine_runtime::{
    bearer::{Access, Digest, Token, Tokens},
    deliver::Outbox,
    telemetry,
};

use super::{parts, router};
use crate::live::{
    Registry,
    fixture::Stage,
    status::{State, Untranscoded},
};

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
    let (outbox, metrics) = (Outbox::none(), telemetry::metrics());
    let router = router(registry.clone(), outbox, metrics, tokens);
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
    with_access(secret, Access::Full)
}

fn with_access(secret: &str, access: Access) -> Tokens {
    Tokens::new(vec![Token {
        name: "ops".to_owned(),
        digest: Digest::of(secret.as_bytes()),
        access,
    }])
}

#[tokio::test(start_paused = true)]
async fn what_is_not_built_says_so_and_every_error_is_a_problem() {
    let stage = Stage::new();
    for (method, path, status) in [
        ("GET", "/v1/streams/nobody", 404),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/streams", 405),
        ("PATCH", "/v1/streams/demo", 422),
        ("POST", "/v1/streams/demo/events", 400),
        ("PUT", "/v1/streams/demo/state", 422),
        ("GET", "/v1/streams/nobody/clock", 404),
        ("DELETE", "/v1/streams/nobody/session", 404),
        ("DELETE", "/v1/streams/demo/session?ban=1", 422),
        ("POST", "/v1/streams/nobody/end", 404),
        ("DELETE", "/v1/bans/ban_x", 404),
        ("GET", "/v1/hooks/deliveries?state=lost", 422),
        ("POST", "/v1/hooks/deliveries/x/retry", 404),
        ("POST", "/v1/hooks/replay", 422),
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
async fn a_token_for_reading_changes_nothing() {
    let stage = Stage::new();
    let tokens = || with_access("right", Access::Read);
    for path in [
        "/metrics",
        "/v1/streams",
        "/v1/bans",
        "/v1/hooks/deliveries",
    ] {
        let (status, ..) = call(&stage.registry, tokens(), "GET", path).await;
        assert_eq!(status, 200, "{path}");
    }
    for (method, path) in changes() {
        let path = path.replace("{id}", "demo");
        let (status, _, body) = call(&stage.registry, tokens(), &method, &path).await;
        assert_eq!(status, 403, "{method} {path}");
        let problem: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(problem["type"], "urn:vitrine:problem:read-only");
        let words = problem["detail"].as_str().expect("words");
        assert!(
            words.contains("\"ops\"") && words.contains("access = \"read\""),
            "{words}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_of_another_origin_changes_nothing_at_a_door_without_tokens() {
    let stage = Stage::new();
    for (tokens, origin, expect) in [
        (Tokens::default(), true, 403),
        (Tokens::default(), false, 404),
        (tokens("right"), true, 404),
    ] {
        let request = Request::builder()
            .method("POST")
            .uri("/v1/streams/nobody/end")
            .header("authorization", "Bearer right");
        let request = match origin {
            true => request.header("origin", "https://evil.example"),
            false => request,
        };
        let (outbox, metrics) = (Outbox::none(), telemetry::metrics());
        let router = router(stage.registry.clone(), outbox, metrics, tokens);
        let request = request.body(Body::empty()).expect("valid");
        let response = router.oneshot(request).await.expect("infallible");
        assert_eq!(response.status(), expect, "origin {origin}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_door_without_tokens_is_called_by_no_name_that_anybody_could_give_it() {
    let stage = Stage::new();
    let ask = async |host: &'static str, uri: &'static str, tokens| {
        let request = Request::builder()
            .uri(uri)
            .header("authorization", "Bearer right")
            .header("host", host);
        let (outbox, metrics) = (Outbox::none(), telemetry::metrics());
        let router = router(stage.registry.clone(), outbox, metrics, tokens);
        let request = request.body(Body::empty()).expect("valid");
        router.oneshot(request).await.expect("infallible").status()
    };
    for host in [
        "127.0.0.1:8081",
        "[::1]:8081",
        "10.0.0.1",
        "LocalHost",
        "localhost:1",
    ] {
        assert_eq!(
            ask(host, "/v1/streams", Tokens::default()).await,
            200,
            "{host}"
        );
    }
    for host in [
        "evil.example",
        "evil.example:8081",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "",
        "a b",
    ] {
        for path in ["/v1/streams", "/metrics"] {
            assert_eq!(ask(host, path, Tokens::default()).await, 403, "{host}");
        }
        assert_eq!(
            ask(host, "/v1/streams", tokens("right")).await,
            200,
            "{host}"
        );
        assert_eq!(
            ask(host, "/healthz", Tokens::default()).await,
            200,
            "{host}"
        );
    }
    let absolute = "http://evil.example/v1/streams";
    assert_eq!(ask("localhost", absolute, Tokens::default()).await, 403);
}

/// Counts the lines of the audit.
#[derive(Clone, Default)]
struct Audited(Arc<AtomicUsize>);

impl Subscriber for Audited {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "vitrine::audit"
    }

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn what_a_caller_asked_for_is_done_and_audited_though_it_hangs_up() {
    let audited = Audited::default();
    let _here = tracing::subscriber::set_default(audited.clone());
    let stage = Stage::new();
    let request = Request::delete("/v1/streams/nobody/session");
    let request = request.body(Body::empty()).expect("valid");
    let (outbox, metrics) = (Outbox::none(), telemetry::metrics());
    let router = router(stage.registry.clone(), outbox, metrics, Tokens::default());
    let mut call = Box::pin(router.oneshot(request));
    // It is looked at once and not again.
    let waits =
        std::future::poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_pending()));
    assert!(waits.await);
    drop(call);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(audited.0.load(Ordering::Relaxed), 1);
}

fn document() -> Value {
    let (_, _, document) = parts();
    serde_json::from_slice(&document).expect("JSON")
}

/// Method, upper case, and path of each operation in the document.
fn operations() -> BTreeSet<(String, String)> {
    let document = document();
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().expect("operations").keys();
        methods.map(move |method| (method.to_uppercase(), path.clone()))
    });
    operations.collect()
}

fn changes() -> impl Iterator<Item = (String, String)> {
    let operations = operations().into_iter();
    operations.filter(|(method, _)| method != "GET")
}

#[tokio::test(start_paused = true)]
async fn the_document_has_every_route_with_its_methods_and_no_other() {
    let (open, guarded, _) = parts();
    // axum tells its paths in this way alone.
    let routes = format!("{open:?}{guarded:?}");
    let routes: BTreeSet<_> = { routes.split('"').skip(1).step_by(2) }
        .filter(|text| text.starts_with('/') && *text != "/" && !text.contains("{*"))
        .collect();
    let operations = operations();
    let paths: BTreeSet<_> = operations.iter().map(|(_, path)| path.as_str()).collect();
    assert!(paths.len() > 12, "{paths:?}");
    assert_eq!(routes, paths);
    let stage = Stage::new();
    for path in paths {
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH"] {
            let told = operations.contains(&(method.to_owned(), path.to_owned()));
            let path = path.replace("{id}", "nobody");
            let (status, ..) = call(&stage.registry, Tokens::default(), method, &path).await;
            assert_eq!(status != 405, told, "{method} {path}: {status}");
        }
    }
}

#[test]
fn the_document_says_who_may_call_what_errors_look_like_and_that_nothing_is_null() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(
        document["components"]["securitySchemes"]["bearer"]["scheme"],
        "bearer"
    );
    for (method, path) in operations() {
        let operation = &document["paths"][&path][method.to_lowercase()];
        let open = path == "/healthz" || path == "/readyz";
        assert_eq!(operation["security"].is_array(), open, "{method} {path}");
        for name in ["summary", "operationId", "tags"] {
            assert!(!operation[name].is_null(), "{method} {path} has no {name}");
        }
        let responses = operation["responses"].as_object().expect("responses");
        assert_eq!(responses.contains_key("401"), !open, "{method} {path}");
        for (status, response) in responses {
            let content = &response["content"];
            let problem = &content["application/problem+json"]["schema"]["$ref"];
            let is_error = status.as_str() >= "400";
            assert_eq!(
                problem == "#/components/schemas/Problem",
                is_error,
                "{method} {path} {status}"
            );
            assert!(!content.is_null(), "{method} {path} {status}");
        }
    }
    let schemas = document["components"]["schemas"]
        .as_object()
        .expect("schemas");
    for (name, schema) in schemas {
        assert!(schema["description"].is_string(), "{name} says nothing");
        let null = schema.to_string().contains("\"null\"");
        assert_eq!(null, name == "Patch", "{name}");
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

async fn stream(stage: &Stage) -> Value {
    let (registry, tokens) = (&stage.registry, Tokens::default());
    let (_, _, body) = call(registry, tokens, "GET", "/v1/streams/demo").await;
    assert!(!body.contains("null"), "{body}");
    serde_json::from_str(&body).expect("JSON")
}

#[tokio::test(start_paused = true)]
async fn each_rendition_tells_what_it_is_and_where_it_comes_from() {
    let mut stage = Stage::new();
    stage.present(7);
    for rendition in [Rendition::High, Rendition::Low, Rendition::Audio] {
        stage.part(7, rendition);
    }
    stage.part(6, Rendition::High);
    let told = stream(&stage).await;
    assert!(
        told.get("transcoding").is_none(),
        "nobody published: {told}"
    );
    let obstacle = Obstacle::LongGop {
        gop_ms: Some(4_000),
        max_ms: 2_000,
    };
    let encoded = |because, lost| Source::Encoded { because, lost };
    let sources = [
        (Rendition::High, encoded(Some(obstacle), None)),
        (Rendition::Low, encoded(None, Some(Failure::Late))),
        (Rendition::Audio, Source::Passthrough),
    ];
    stage.sources(7, sources, Ok(()));
    let told = stream(&stage).await;
    assert_eq!(told["transcoding"], "on");
    assert!(told.get("transcoding_detail").is_none(), "{told}");
    let by_name = |epoch: u64, name: &str| {
        let mut renditions = told["renditions"].as_array().expect("a list").iter();
        let found = renditions.find(|it| it["epoch"] == epoch && it["name"] == name);
        found.expect("a rendition").clone()
    };
    let high = by_name(7, "high");
    assert_eq!(high["source"], "encoded");
    assert_eq!(high["state"], "ok");
    let words = high["source_detail"].as_str().expect("words");
    assert!(
        words.contains("4000 ms") && words.contains("OBS"),
        "{words}"
    );
    assert_eq!(high["codecs"], "avc1.64001f,mp4a.40.2");
    assert_eq!(
        (&high["width"], &high["height"]),
        (&1280.into(), &720.into())
    );
    assert_eq!(high["frames_per_second"], 30.0);
    assert_eq!(high["bandwidth"], 3_000_000);
    assert_eq!(high["average_bandwidth"], 2_500_000);
    let low = by_name(7, "low");
    assert_eq!(
        (&low["source"], &low["state"]),
        (&"encoded".into(), &"lost".into())
    );
    assert_eq!(low["state_detail"], "encoding cannot keep up");
    let audio = by_name(7, "audio");
    assert_eq!(
        (&audio["source"], &audio["codecs"]),
        (&"passthrough".into(), &"mp4a.40.2".into())
    );
    let older = by_name(6, "high");
    assert!(
        older.get("source").is_none() && older.get("state").is_none(),
        "{older}"
    );
}

#[tokio::test(start_paused = true)]
async fn why_nothing_is_encoded_is_told_in_words_that_name_the_setting() {
    let mut stage = Stage::new();
    stage.part(7, Rendition::High);
    let passed = [(Rendition::High, Source::Passthrough)];
    for (transcoding, name, words) in [
        (Ok(()), "on", "fewer than 240 lines"),
        (Err(Untranscoded::Full), "full", "transcode.max_streams"),
        (Err(Untranscoded::Disabled), "off", "transcode.enabled"),
        (Err(Untranscoded::Unbuilt), "off", "build"),
        (Err(Untranscoded::Failed), "off", "encoding failed"),
    ] {
        stage.sources(7, passed, transcoding);
        let told = stream(&stage).await;
        assert_eq!(told["transcoding"], name);
        let detail = told["transcoding_detail"].as_str().expect("words");
        assert!(detail.contains(words), "{detail}");
    }
}

#[tokio::test(start_paused = true)]
async fn metadata_that_no_verdict_may_have_is_refused_by_name() {
    let stage = Stage::new();
    // Within it, it is the stream that has no answer: it has no task.
    let least = r#"{"k":""}"#.len();
    for (bytes, status) in [
        (limits::VERDICT_METADATA_BYTES, 503),
        (limits::VERDICT_METADATA_BYTES + 1, 422),
    ] {
        let text = "x".repeat(bytes - least);
        let body = serde_json::json!({"metadata": {"k": text}}).to_string();
        let request = Request::patch("/v1/streams/demo").body(Body::from(body));
        let (outbox, metrics) = (Outbox::none(), telemetry::metrics());
        let router = router(stage.registry.clone(), outbox, metrics, Tokens::default());
        let response = router.oneshot(request.expect("valid")).await;
        let response = response.expect("infallible");
        assert_eq!(response.status(), status, "{bytes}");
        let body = response.into_body().collect().await.expect("no I/O");
        let problem: Value = serde_json::from_slice(&body.to_bytes()).expect("JSON");
        assert_eq!(
            problem["errors"][0]["field"] == "metadata",
            status == 422,
            "{problem}"
        );
    }
}
