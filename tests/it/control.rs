//! The control door, by real HTTP: what it tells, what it changes, whom it lets in, and that its document is true.

mod changes;
mod openapi;

use reqwest::{Method, Response, StatusCode, header};
use serde_json::Value;

use crate::{
    daemon::{CONTROL_TOKEN, Config, Daemon},
    sources::{self, Encoder},
    viewer::{Viewer, client},
};

async fn call(daemon: &Daemon, method: Method, path: &str, token: Option<&str>) -> Response {
    let client = client().build().expect("a client");
    let mut request = client.request(method, daemon.control_url(path));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().await.expect("answered")
}

/// A refusal must be `application/problem+json` with the status inside.
async fn problem(response: Response, status: StatusCode) -> Value {
    assert_eq!(response.status(), status);
    let kind = response.headers()[header::CONTENT_TYPE]
        .to_str()
        .expect("ASCII");
    assert!(kind.starts_with("application/problem+json"), "{kind}");
    let problem: Value = response.json().await.expect("JSON");
    assert_eq!(problem["status"], status.as_u16(), "{problem}");
    assert!(
        problem["title"].is_string() || problem["detail"].is_string(),
        "{problem}"
    );
    problem
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_door_tells_what_is_live() {
    let daemon = Daemon::start(&Config::new().key("k3y-of-the-shop", "shop"));
    let token = Some(CONTROL_TOKEN);
    for path in ["/healthz", "/readyz"] {
        let response = call(&daemon, Method::GET, path, None).await;
        assert_eq!(
            response.status(),
            StatusCode::OK,
            "{path}: load balancers have no token"
        );
    }
    let idle = call(&daemon, Method::GET, "/v1/streams/shop", token).await;
    problem(idle, StatusCode::NOT_FOUND).await;

    let _encoder = Encoder::ffmpeg(
        &sources::LONG.file(),
        &daemon.publish_url("k3y-of-the-shop"),
    );
    Viewer::new(&daemon.url("")).multivariant("shop").await;
    for path in ["/v1/streams", "/v1/streams/shop"] {
        let response = call(&daemon, Method::GET, path, token).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let text = response.json::<Value>().await.expect("JSON").to_string();
        for word in ["\"shop\"", "ses_", "high", "audio"] {
            assert!(
                path == "/v1/streams" || text.contains(word),
                "{path}: {word} not in {text}"
            );
        }
        assert!(text.contains("\"shop\""), "{text}");
        assert!(!text.contains("k3y-of-the-shop"), "{text}");
    }
    let text = daemon.control("/v1/streams/shop").await;
    let told: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(told["transcoding"], "off", "{text}");
    let words = told["transcoding_detail"].as_str().expect("why");
    assert!(words.contains("transcode"), "{words}");
    let metrics = call(&daemon, Method::GET, "/metrics", token).await;
    assert_eq!(metrics.status(), StatusCode::OK);
    let metrics = metrics.text().await.expect("a body");
    let samples = metrics
        .lines()
        .filter(|line| line.starts_with("vitrine_"))
        .count();
    assert!(samples > 0, "{metrics}");

    problem(
        call(&daemon, Method::GET, "/v1/nothing", token).await,
        StatusCode::NOT_FOUND,
    )
    .await;
    for token in [None, Some("another token")] {
        let refused = call(&daemon, Method::GET, "/v1/streams", token).await;
        problem(refused, StatusCode::UNAUTHORIZED).await;
    }
}
