//! The document of the control API, judged by others: valid, and true of what the daemon answers.

use reqwest::Method;
use serde_json::{Value, json};

use super::call;
use crate::{
    backend::SECRET,
    daemon::{CONTROL_TOKEN, Config, Daemon, READ_TOKEN},
    judge,
    sources::{self, Encoder},
    viewer::{Viewer, client},
};

/// What `tests/oracle/openapi.mjs` complains of.
fn complaints(document: &Value, answers: &[Value]) -> Vec<String> {
    let question = json!({ "document": document, "answers": answers });
    serde_json::from_value(judge::ask("openapi.mjs", &question)).expect("a list of texts")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_valid_and_true_of_every_answer() {
    let config = Config::new().key("k3y", "shop").key("other", "other");
    // Nobody listens there: what is to be told stays in the outbox.
    let config = config.hook_endpoint("http://127.0.0.1:9/hooks", SECRET);
    let daemon = Daemon::start(&config);
    let document: Value =
        serde_json::from_str(&daemon.control("/v1/openapi.json").await).expect("JSON");
    let _encoders = ["k3y", "other"]
        .map(|key| Encoder::ffmpeg(&sources::LONG.file(), &daemon.publish_url(key)));
    for stream in ["shop", "other"] {
        Viewer::new(&daemon.url("")).multivariant(stream).await;
    }
    let mut answers = Vec::new();
    let full = Some(CONTROL_TOKEN);
    for (verb, template, body) in [
        (
            Method::POST,
            "/v1/streams/{id}/events",
            json!({"id": "e", "type": "listing.pinned", "close": "d"}),
        ),
        (
            Method::POST,
            "/v1/streams/{id}/events",
            json!({"id": "f", "type": "price.changed", "at": "2026-01-01T12:00:00Z"}),
        ),
        (
            Method::PUT,
            "/v1/streams/{id}/state",
            json!({"seq": 1, "data": {"listing": "l"}}),
        ),
    ] {
        let path = daemon.control_url(&template.replace("{id}", "shop"));
        let request = client()
            .build()
            .expect("a client")
            .request(verb.clone(), path);
        let request = request.bearer_auth(CONTROL_TOKEN).body(body.to_string());
        let response = request.send().await.expect("answered");
        let status = response.status().as_u16();
        let media_type = response.headers()["content-type"]
            .to_str()
            .expect("ASCII")
            .to_owned();
        let body = response.text().await.expect("a body");
        answers.push(json!({
            "method": verb.as_str(), "path": template, "status": status, "media_type": media_type, "body": body
        }));
    }
    let placed: Vec<_> = answers.iter().map(|answer| &answer["status"]).collect();
    assert_eq!(placed, [202, 410, 200], "{answers:?}");
    for (method, template, path, token) in [
        ("GET", "/healthz", "/healthz", None),
        ("GET", "/readyz", "/readyz", None),
        ("GET", "/metrics", "/metrics", full),
        ("GET", "/v1/openapi.json", "/v1/openapi.json", full),
        ("GET", "/v1/streams", "/v1/streams", full),
        ("GET", "/v1/streams", "/v1/streams", None),
        ("GET", "/v1/streams/{id}", "/v1/streams/shop", full),
        ("GET", "/v1/streams/{id}", "/v1/streams/nobody", full),
        ("PATCH", "/v1/streams/{id}", "/v1/streams/shop?", full),
        (
            "PATCH",
            "/v1/streams/{id}",
            "/v1/streams/shop",
            Some(READ_TOKEN),
        ),
        (
            "POST",
            "/v1/streams/{id}/events",
            "/v1/streams/shop/events",
            full,
        ),
        (
            "PUT",
            "/v1/streams/{id}/state",
            "/v1/streams/shop/state",
            full,
        ),
        (
            "GET",
            "/v1/streams/{id}/clock",
            "/v1/streams/shop/clock",
            full,
        ),
        (
            "GET",
            "/v1/streams/{id}/clock",
            "/v1/streams/nobody/clock",
            full,
        ),
        (
            "DELETE",
            "/v1/streams/{id}/session",
            "/v1/streams/shop/session?bann=1",
            full,
        ),
        (
            "DELETE",
            "/v1/streams/{id}/session",
            "/v1/streams/shop/session?ban_seconds=60",
            full,
        ),
        (
            "DELETE",
            "/v1/streams/{id}/session",
            "/v1/streams/shop/session",
            full,
        ),
        (
            "POST",
            "/v1/streams/{id}/end",
            "/v1/streams/other/end",
            full,
        ),
        ("GET", "/v1/bans", "/v1/bans", full),
        ("DELETE", "/v1/bans/{id}", "/v1/bans/ban_x", full),
        ("GET", "/v1/hooks/deliveries", "/v1/hooks/deliveries", full),
        (
            "GET",
            "/v1/hooks/deliveries",
            "/v1/hooks/deliveries?limit=0",
            full,
        ),
        (
            "POST",
            "/v1/hooks/deliveries/{id}/retry",
            "/v1/hooks/deliveries/dlv_x/retry",
            full,
        ),
        ("POST", "/v1/hooks/replay", "/v1/hooks/replay", full),
    ] {
        let verb = Method::from_bytes(method.as_bytes()).expect("a method");
        let response = call(&daemon, verb, path, token).await;
        let status = response.status().as_u16();
        let media_type = response.headers()["content-type"]
            .to_str()
            .expect("ASCII")
            .to_owned();
        let body = response.text().await.expect("a body");
        answers.push(json!({
            "method": method, "path": template, "status": status, "media_type": media_type, "body": body
        }));
    }
    let deliveries: Value =
        serde_json::from_str(&daemon.control("/v1/hooks/deliveries").await).expect("JSON");
    let id = deliveries["deliveries"][0]["id"]
        .as_str()
        .expect("one at least");
    let (begun, http) = ("2020-01-01T00:00:00Z", client().build().expect("a client"));
    for (template, path, body) in [
        (
            "/v1/hooks/deliveries/{id}/retry",
            format!("/v1/hooks/deliveries/{id}/retry"),
            json!({}),
        ),
        (
            "/v1/hooks/replay",
            "/v1/hooks/replay".to_owned(),
            json!({ "since": begun }),
        ),
        (
            "/v1/streams/{id}/end",
            "/v1/streams/shop/end".to_owned(),
            json!({"takedown": true, "reason": "stolen goods"}),
        ),
    ] {
        let request = http
            .post(daemon.control_url(&path))
            .bearer_auth(CONTROL_TOKEN);
        let response = request
            .body(body.to_string())
            .send()
            .await
            .expect("answered");
        let status = response.status().as_u16();
        assert!((200..300).contains(&status), "{path}: {status}");
        let body = response.text().await.expect("a body");
        answers.push(json!({
            "method": "POST", "path": template, "status": status, "media_type": "application/json", "body": body
        }));
    }
    let found = complaints(&document, &answers);
    assert!(found.is_empty(), "{}", found.join("\n"));

    // A judge that finds nothing in what is wrong would prove nothing.
    let mut wrong = document.clone();
    wrong["paths"]["/v1/streams"]["get"]["responses"] = json!([]);
    assert!(
        !complaints(&wrong, &[]).is_empty(),
        "the document is judged"
    );
    let streams = |answer: &&Value| answer["path"] == "/v1/streams";
    let mut wrong = answers.iter().find(streams).expect("asked").clone();
    wrong["body"] = json!(r#"{"streams":[{"id":7}]}"#);
    assert!(
        !complaints(&document, &[wrong]).is_empty(),
        "answers are judged"
    );
}
