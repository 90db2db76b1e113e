//! What the control door changes, and whom it lets change it.

use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use super::{call, problem};
use crate::{
    daemon::{CONTROL_TOKEN, Config, Daemon, READ_TOKEN},
    sources::{self, Encoder},
    viewer::{Viewer, client},
};

/// One caller with full access.
struct Operator<'a> {
    daemon: &'a Daemon,
    http: Client,
}

impl<'a> Operator<'a> {
    fn new(daemon: &'a Daemon) -> Self {
        let http = client().build().expect("a client");
        Self { daemon, http }
    }

    /// Status and answer.
    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let request = self.http.request(method, self.daemon.control_url(path));
        let request = request.bearer_auth(CONTROL_TOKEN);
        let request = match body {
            Some(body) => request.body(body.to_string()),
            None => request,
        };
        let response = request.send().await.expect("answered");
        let status = response.status().as_u16();
        (status, response.json().await.expect("JSON"))
    }

    /// The `type` of a problem, without what all have in common.
    async fn refused(&self, method: &str, path: &str, body: Option<Value>) -> (u16, String) {
        let (status, problem) = self.ask(method, path, body).await;
        let kind = problem["type"]
            .as_str()
            .unwrap_or_else(|| panic!("{problem}"));
        let kind = kind.trim_start_matches("urn:vitrine:problem:").to_owned();
        (status, kind)
    }
}

/// A stream that can be played.
async fn live(daemon: &Daemon, key: &str, stream: &str) -> Encoder {
    let encoder = Encoder::ffmpeg(&sources::LONG.file(), &daemon.publish_url(key));
    Viewer::new(&daemon.url("")).multivariant(stream).await;
    encoder
}

/// Lines of the audit so far that hold all of `words`; they are JSON, as for every daemon without a terminal.
fn audited(daemon: &Daemon, words: &[&str]) -> usize {
    // What the daemon wrote before it answered may be read a moment later.
    let mut written = daemon.written();
    for _ in 0..50 {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let known = std::mem::replace(&mut written, daemon.written());
        if known == written {
            break;
        }
    }
    let lines = written
        .lines()
        .filter(|line| line.contains("vitrine::audit"));
    lines
        .filter(|line| words.iter().all(|word| line.contains(word)))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_is_cut_with_a_reason_banned_and_let_in_again() {
    let daemon = Daemon::start(&Config::new().key("k3y", "shop"));
    let operator = Operator::new(&daemon);
    let encoder = live(&daemon, "k3y", "shop").await;
    let path = "/v1/streams/shop/session";
    let (status, done) = operator
        .ask("DELETE", &format!("{path}?ban_seconds=600"), None)
        .await;
    assert_eq!((status, &done["ban_seconds"]), (200, &json!(600)), "{done}");
    assert!(
        done["session"].as_str().expect("an id").starts_with("ses_"),
        "{done}"
    );
    let (content, _) = tokio::task::spawn_blocking(|| encoder.wait())
        .await
        .expect("ended");
    assert!(!content, "ffmpeg must not believe that all is well");
    assert_eq!(
        operator.refused("DELETE", path, None).await,
        (409, "no-publisher".to_owned())
    );

    let again = Encoder::ffmpeg(&sources::SHORT.file(), &daemon.publish_url("k3y"));
    let (_, said) = tokio::task::spawn_blocking(|| again.wait())
        .await
        .expect("ended");
    assert!(
        said.contains("Server error") && said.contains("refused until"),
        "{said}"
    );
    let (_, bans) = operator.ask("GET", "/v1/bans", None).await;
    let [ban] = &bans["bans"].as_array().expect("a list")[..] else {
        panic!("one ban: {bans}");
    };
    assert_eq!(ban["stream"], "shop");
    assert!(ban["until"].is_string(), "{ban}");
    let id = ban["id"].as_str().expect("an id");
    let (status, lifted) = operator
        .ask("DELETE", &format!("/v1/bans/{id}"), None)
        .await;
    assert_eq!((status, &lifted), (200, ban));
    let path = format!("/v1/bans/{id}");
    assert_eq!(
        operator.refused("DELETE", &path, None).await,
        (404, "not-found".to_owned())
    );
    let _encoder = live(&daemon, "k3y", "shop").await;

    for words in [
        &[
            "\"who\":\"it\"",
            "DELETE",
            "\"stream\":\"shop\"",
            "\"from\":\"live\"",
            "600 s",
            "\"outcome\":\"done\"",
        ][..],
        &["\"outcome\":\"no-publisher\"", "\"status\":409"],
        &["/v1/bans/", "lifted"],
    ] {
        assert_eq!(audited(&daemon, words), 1, "{words:?}");
    }
    assert_eq!(
        audited(&daemon, &["\"GET\""]),
        0,
        "who only looks is not audited"
    );
    assert!(!daemon.written().contains(CONTROL_TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_ended_once_and_taken_down_even_then() {
    let config = Config::new().key("one", "one").key("two", "two");
    let daemon = Daemon::start(&config);
    let operator = Operator::new(&daemon);
    let (_one, _two) = tokio::join!(live(&daemon, "one", "one"), live(&daemon, "two", "two"));
    let viewer = Viewer::new(&daemon.url(""));
    let folder = viewer.renditions("one").await["high"].clone();
    let end = "/v1/streams/one/end";
    let (status, done) = operator.ask("POST", end, None).await;
    assert_eq!(
        (status, &done["takedown"], &done["ban_seconds"]),
        (200, &json!(false), &json!(30))
    );
    let list = viewer.playlist(&folder, "").await;
    assert!(list.ended, "ENDLIST is there when the call returns");
    let down = json!({"takedown": true, "reason": "stolen goods"});
    for stream in ["one", "two"] {
        let path = format!("/v1/streams/{stream}/end");
        let (status, done) = operator.ask("POST", &path, Some(down.clone())).await;
        assert_eq!((status, &done["takedown"]), (200, &json!(true)), "{done}");
        assert_eq!(
            done["epochs"].as_array().expect("a list").len(),
            1,
            "{done}"
        );
        assert!(
            done["purge_prefix"]
                .as_str()
                .expect("a path")
                .contains(stream),
            "{done}"
        );
        let gone = client().build().expect("a client");
        let gone = gone.get(daemon.url(&format!("/live/{stream}/index.m3u8")));
        assert_eq!(
            gone.send().await.expect("answered").status(),
            StatusCode::GONE
        );
    }
    assert_eq!(
        operator.refused("POST", "/v1/streams/two/end", None).await,
        (409, "stream-over".to_owned())
    );
    let (_, bans) = operator.ask("GET", "/v1/bans", None).await;
    for ban in bans["bans"].as_array().expect("a list") {
        assert!(ban.get("until").is_none(), "until somebody lifts it: {ban}");
    }
    assert_eq!(
        audited(
            &daemon,
            &["\"stream\":\"two\"", "taken down", "\"outcome\":\"done\""]
        ),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_publish_may_do_is_changed_while_it_lasts() {
    let daemon = Daemon::start(&Config::new().key("k3y", "shop"));
    let operator = Operator::new(&daemon);
    let _encoder = live(&daemon, "k3y", "shop").await;
    let path = "/v1/streams/shop";
    let change = json!({"max_kbps": 6000, "lifetime_seconds": 7200, "metadata": {"show": "s1"}});
    let (status, terms) = operator.ask("PATCH", path, Some(change.clone())).await;
    assert_eq!(status, 200, "{terms}");
    for (name, value) in change.as_object().expect("an object") {
        assert_eq!(&terms[name], value, "{terms}");
    }
    assert_eq!(terms["takeover"], true, "what is left out stays");
    let change = json!({"lifetime_seconds": null, "takeover": false});
    let (_, terms) = operator.ask("PATCH", path, Some(change)).await;
    assert!(terms.get("lifetime_seconds").is_none(), "{terms}");
    assert_eq!(
        (&terms["takeover"], &terms["max_kbps"]),
        (&json!(false), &json!(6000))
    );
    assert_eq!(
        audited(
            &daemon,
            &["PATCH", "\"from\":\"takeover true", "lifetime 7200 s"]
        ),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_is_named_and_whoever_may_not_is_told_why() {
    let daemon = Daemon::start(&Config::new());
    let operator = Operator::new(&daemon);
    let end = "/v1/streams/shop/end";
    for (method, path, body, status, fields) in [
        (
            "POST",
            end,
            json!({"takedwn": true, "ban_seconds": -1}),
            422,
            &["ban_seconds", "takedwn"][..],
        ),
        ("POST", end, json!({"takedown": true}), 422, &["reason"]),
        (
            "POST",
            end,
            json!({"takedown": true, "reason": "x", "ban_seconds": 5}),
            422,
            &["ban_seconds"],
        ),
        ("POST", end, json!({"reason": "x"}), 422, &["reason"]),
        (
            "POST",
            "/v1/streams/shop/end?takedown=true",
            json!({}),
            422,
            &["takedown"],
        ),
        ("PATCH", "/v1/streams/shop", json!({}), 422, &[""]),
        (
            "PATCH",
            "/v1/streams/shop",
            json!({"max_kbps": 0, "takeover": null}),
            422,
            &["max_kbps", "takeover"],
        ),
        (
            "POST",
            "/v1/hooks/replay",
            json!({"endpoint": 7}),
            422,
            &["endpoint", "since"],
        ),
    ] {
        let (got, problem) = operator.ask(method, path, Some(body.clone())).await;
        assert_eq!(
            (got, &problem["type"]),
            (status, &json!("urn:vitrine:problem:invalid-field")),
            "{body}: {problem}"
        );
        let errors = problem["errors"].as_array().expect("errors");
        let mut named: Vec<_> = errors
            .iter()
            .map(|it| it["field"].as_str().expect("a name"))
            .collect();
        assert_eq!(problem["field"], named[0]);
        named.sort_unstable();
        assert_eq!(named, fields, "{problem}");
    }
    let (status, problem) = operator
        .ask("PATCH", "/v1/streams/shop", Some(json!({"ladder": "x"})))
        .await;
    assert_eq!(
        (status, &problem["field"]),
        (422, &json!("ladder")),
        "{problem}"
    );
    assert_eq!(problem["type"], "urn:vitrine:problem:not-supported");
    for (method, path) in [
        ("POST", end),
        ("DELETE", "/v1/streams/shop/session"),
        ("POST", "/v1/hooks/deliveries/dlv_x/retry"),
    ] {
        assert_eq!(
            operator.refused(method, path, None).await,
            (404, "not-found".to_owned()),
            "{path}"
        );
    }
    let large = json!({"reason": "x".repeat(70_000)});
    assert_eq!(
        operator.refused("POST", end, Some(large)).await,
        (413, "too-large".to_owned())
    );
    let http = client().build().expect("a client");
    let odd = http
        .post(daemon.control_url(end))
        .bearer_auth(CONTROL_TOKEN)
        .body("[1,");
    problem_of(
        odd.send().await.expect("answered"),
        StatusCode::BAD_REQUEST,
        "malformed-body",
    )
    .await;

    for _ in 0..20 {
        let refused = call(&daemon, Method::POST, end, Some(READ_TOKEN)).await;
        problem_of(refused, StatusCode::FORBIDDEN, "read-only").await;
    }
    let refused = call(&daemon, Method::POST, end, Some("s3cret-but-wrong")).await;
    problem_of(refused, StatusCode::UNAUTHORIZED, "unauthorized").await;
    let seen = call(&daemon, Method::GET, "/v1/streams", Some(READ_TOKEN)).await;
    assert_eq!(seen.status(), StatusCode::OK);
    let denied = audited(&daemon, &["denied", "\"who\":\"look\"", "read-only"]);
    assert!(
        (1..20).contains(&denied),
        "once a second, not {denied} times"
    );
    let metrics = daemon.control("/metrics").await;
    let counted = "vitrine_control_denied_total{reason=\"read-only\"} 20";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(!daemon.written().contains("s3cret-but-wrong"));
}

async fn problem_of(response: reqwest::Response, status: StatusCode, kind: &str) {
    let told = problem(response, status).await;
    assert_eq!(
        told["type"],
        format!("urn:vitrine:problem:{kind}"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_trickles_is_not_waited_for_forever() {
    use std::io::{Read as _, Write as _};
    let daemon = Daemon::start(&Config::new());
    let address = daemon.address("control");
    let answer = tokio::task::spawn_blocking(move || {
        let mut socket = std::net::TcpStream::connect(address).expect("connected");
        let patience = Some(Duration::from_secs(30));
        socket.set_read_timeout(patience).expect("a timeout");
        let head = format!(
            "POST /v1/streams/shop/end HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {CONTROL_TOKEN}\r\ncontent-length: 50\r\n\r\n{{"
        );
        socket.write_all(head.as_bytes()).expect("taken");
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).expect("an answer");
        answer
    });
    let answer = answer.await.expect("ended");
    assert_eq!(&answer, b"HTTP/1.1 408");
}
