//! The backends of `examples/`, in three languages: what they take, what they refuse, and beside a real daemon.
//!
//! Messages are signed by the independent `standardwebhooks` package (npm), so that neither the examples nor the daemon are
//! measured by each other's idea of a signature. Each example is run as its reader would run it; the one in Rust as the
//! module that `cargo run --example` makes a program of.

#[allow(dead_code)] // its main
#[path = "../../examples/hook_backend.rs"]
mod hook_backend;

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    backend::SECRET,
    daemon::{Config, Daemon},
    judge,
    publisher::Publisher,
    sources::{self, Encoder},
    viewer::{Viewer, client},
};

const OTHER: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

#[derive(Clone, Copy, Debug)]
enum Kind {
    Python,
    Node,
    Rust,
}

/// A running backend that knows the key `shop-key` of the stream `shop42`.
struct Backend {
    address: SocketAddr,
    /// What it printed; of the one in Rust, which prints into this process, nothing.
    printed: Option<Arc<Mutex<String>>>,
    child: Option<Child>,
}

impl Backend {
    async fn start(kind: Kind) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let mut command = match kind {
            Kind::Python => Command::new("python3"),
            Kind::Node => Command::new("node"),
            Kind::Rust => return Self::here().await,
        };
        command.arg(root.join(match kind {
            Kind::Python => "hook_backend.py",
            _ => "hook_backend.mjs",
        }));
        let mut child = command
            .env("HOOK_SECRET", SECRET)
            .env("STREAM_KEY", "shop-key")
            .env("STREAM_ID", "shop42")
            .env("PORT", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let first = lines.next().expect("a first line").expect("text");
        let address = first.strip_prefix("listening ").expect("where it listens");
        let printed = Arc::new(Mutex::new(String::new()));
        let keep = Arc::clone(&printed);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *keep.lock().expect("nobody panics with it") += &format!("{line}\n");
            }
        });
        Self {
            address: address.parse().expect("an address"),
            printed: Some(printed),
            child: Some(child),
        }
    }

    async fn here() -> Self {
        use base64::Engine as _;
        let secret = SECRET.trim_start_matches("whsec_");
        let secret = base64::engine::general_purpose::STANDARD.decode(secret);
        let stream = ["shop-key", "shop42"].map(str::to_owned);
        let shop = (secret.expect("base64"), stream, Default::default());
        let router = hook_backend::router(Arc::new(shop));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            printed: None,
            child: None,
        }
    }

    async fn post(&self, message: &Message, signatures: &str) -> (StatusCode, String) {
        let client = client().build().expect("a client");
        let request = client
            .post(format!("http://{}/hooks", self.address))
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", message.timestamp.to_string())
            .header("webhook-signature", signatures)
            .header("content-type", "application/json")
            .body(message.body.clone());
        let answer = request.send().await.expect("answered");
        (answer.status(), answer.text().await.expect("a body"))
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = (child.kill(), child.wait());
        }
    }
}

#[derive(Clone)]
struct Message {
    id: String,
    timestamp: u64,
    body: String,
}

impl Message {
    fn new(id: &str, seconds_ago: i64, hook: &Value) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = i64::try_from(now.expect("after 1970").as_secs()).expect("before 2262");
        Self {
            id: id.to_owned(),
            timestamp: u64::try_from(now - seconds_ago).expect("after 1970"),
            body: hook.to_string(),
        }
    }
}

/// The signatures of messages, by the package.
fn sign(secret: &str, messages: &[&Message]) -> Vec<String> {
    let messages: Vec<_> = { messages.iter() }
        .map(|it| json!({ "id": it.id, "timestamp": it.timestamp, "body": it.body }))
        .collect();
    let answer = judge::ask(
        "webhook.mjs",
        &json!({ "secret": secret, "sign": messages }),
    );
    serde_json::from_value(answer["signatures"].clone()).expect("one for each")
}

fn asked(key: &str) -> Value {
    json!({ "type": "publish.requested", "timestamp": "2026-01-01T12:00:00.000Z",
        "data": { "app": "live", "stream_key": key, "protocol": "rtmp" } })
}

fn told(kind: &str) -> Value {
    json!({ "type": kind, "timestamp": "2026-01-01T12:00:00.000Z",
        "data": { "stream_id": "shop42", "hook_seq": 7, "note": "é ✓" } })
}

async fn takes_what_is_signed_and_nothing_else(kind: Kind) {
    let backend = Backend::start(kind).await;
    let right = Message::new("evt_1", 0, &asked("shop-key"));
    let wrong = Message::new("evt_2", 0, &asked("shop-kez"));
    let event = Message::new("evt_3", 0, &told("stream.started"));
    let aside = Message::new("evt_4", 0, &told("stream.live"));
    let late = Message::new("evt_5", 600, &told("stream.late"));
    let early = Message::new("evt_6", -600, &told("stream.early"));
    let signed = sign(SECRET, &[&right, &wrong, &event, &aside, &late, &early]);
    let [by_right, by_wrong, by_event, by_aside, by_late, by_early] = &signed[..] else {
        panic!("{signed:?}");
    };
    let foreign = sign(OTHER, &[&event, &aside]);

    // Admission: a yes with the stream, a no in words; asked again it is answered again.
    for _ in 0..2 {
        let (status, text) = backend.post(&right, by_right).await;
        assert_eq!(status, StatusCode::OK, "{kind:?}");
        let verdict: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(verdict, json!({ "allow": true, "stream_id": "shop42" }));
    }
    let (status, text) = backend.post(&wrong, by_wrong).await;
    let verdict: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((status, &verdict["allow"]), (StatusCode::OK, &json!(false)));
    assert_eq!(verdict["reason"], "unknown stream key");

    // Forged, altered, moved, too old, from the future, unsigned.
    let altered = Message {
        body: event.body.replace('7', "8"),
        ..event.clone()
    };
    let renamed = Message {
        id: "evt_9".to_owned(),
        ..event.clone()
    };
    let moved = Message {
        timestamp: event.timestamp + 1,
        ..event.clone()
    };
    let cut = &by_event[..by_event.len() - 4];
    for (message, signatures) in [
        (&event, foreign[0].as_str()),
        (&altered, by_event),
        (&renamed, by_event),
        (&moved, by_event),
        (&late, by_late),
        (&early, by_early),
        (&event, by_aside),
        (&event, cut),
        (&event, "v1,"),
        (&event, ""),
        (&right, by_event),
    ] {
        let (status, _) = backend.post(message, signatures).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{kind:?}: {signatures}");
    }

    // Events: once each, however often they come; by either secret while one rotates.
    for signatures in [by_event.clone(), format!("{} {by_event}", foreign[0])] {
        let (status, _) = backend.post(&event, &signatures).await;
        assert!(status.is_success(), "{kind:?}: {status}");
    }
    let both = format!("{} {by_aside}", foreign[1]);
    let (status, _) = backend.post(&aside, &both).await;
    assert!(status.is_success(), "{kind:?}: {status}");
    if let Some(printed) = &backend.printed {
        let mut lines = String::new();
        for _ in 0..200 {
            lines = printed.lock().expect("nobody panics with it").clone();
            if lines.contains("stream.live") {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let kinds: Vec<_> = lines
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert_eq!(
            kinds,
            ["stream.started", "stream.live"],
            "{kind:?}: {lines}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_backend_takes_what_is_signed_and_nothing_else() {
    takes_what_is_signed_and_nothing_else(Kind::Python).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_backend_takes_what_is_signed_and_nothing_else() {
    takes_what_is_signed_and_nothing_else(Kind::Node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_backend_takes_what_is_signed_and_nothing_else() {
    takes_what_is_signed_and_nothing_else(Kind::Rust).await;
}

/// The daemon asks it, encoders are let in or refused by what it says, and it is told of the life that follows.
async fn decides_and_is_told_beside_the_daemon(kind: Kind) {
    let backend = Backend::start(kind).await;
    let url = format!("http://{}/hooks", backend.address);
    let config = Config::new()
        .hooks(&format!("admission_url = {url:?}"))
        .hooks(&format!("secret = [{SECRET:?}]"))
        .hook_endpoint(&url, SECRET);
    let daemon = Daemon::start(&config);
    let address = daemon.address("rtmp");
    let (_, refused) = Publisher::publish(address, "live", "other-key").expect("answered");
    assert_eq!(refused.code, "NetStream.Publish.Denied", "{refused:?}");
    assert!(
        refused.description.contains("unknown stream key"),
        "{refused:?}"
    );
    let encoder = Encoder::ffmpeg(&sources::LONG.file(), &daemon.publish_url("shop-key"));
    Viewer::new(&daemon.url("")).multivariant("shop42").await;
    drop(encoder);
    let took = async || -> Vec<Value> {
        let list = daemon
            .control("/v1/hooks/deliveries?stream=shop42&state=delivered")
            .await;
        let list: Value = serde_json::from_str(&list).unwrap_or_default();
        list["deliveries"].as_array().cloned().unwrap_or_default()
    };
    for _ in 0..400 {
        if took().await.len() >= 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(took().await.len() >= 2, "{kind:?}: {}", daemon.written());
    if let Some(printed) = &backend.printed {
        let lines = printed.lock().expect("nobody panics with it").clone();
        for kind in ["stream.started {", "stream.live {"] {
            assert_eq!(lines.matches(kind).count(), 1, "{lines}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_backend_decides_and_is_told_beside_the_daemon() {
    decides_and_is_told_beside_the_daemon(Kind::Python).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_backend_decides_and_is_told_beside_the_daemon() {
    decides_and_is_told_beside_the_daemon(Kind::Node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_backend_decides_and_is_told_beside_the_daemon() {
    decides_and_is_told_beside_the_daemon(Kind::Rust).await;
}

#[test]
fn each_backend_is_short_enough_to_be_read() {
    for name in ["hook_backend.rs", "hook_backend.py", "hook_backend.mjs"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("examples")
            .join(name);
        let lines = std::fs::read_to_string(path).expect("part of the product");
        let lines = lines.lines().count();
        assert!(lines < 80, "{name}: {lines} lines");
    }
}
