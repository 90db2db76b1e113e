//! A commerce backend for Vitrine: decides who may publish, and hears what becomes of it (docs/hooks.md).
//! HOOK_SECRET=whsec_... STREAM_KEY=... STREAM_ID=shop42 PORT=9000 cargo run --example hook_backend
//! Both `hooks.admission_url` and the url of a `[[hooks.endpoints]]` point at <http://127.0.0.1:9000/hooks>, with that
//! secret. What is not signed by who knows the secret is answered 401, and for a publisher that is a no.
use std::{collections::HashSet, env, error::Error, sync::Arc, sync::Mutex, time::UNIX_EPOCH};

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::{Router, body::Bytes, extract::State, routing::post};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const TOLERANCE_SECONDS: u64 = 5 * 60; // older, or further ahead: it may be a replay
const IDS_MAX: usize = 10_000;

pub(crate) struct Backend {
    pub(crate) secret: Vec<u8>,
    pub(crate) stream_key: String,
    pub(crate) stream_id: String,
    pub(crate) seen: Mutex<HashSet<String>>, // a real shop: a unique column, written with what the event changes
}

/// Standard Webhooks: HMAC-SHA256 over id.timestamp.body; several signatures while a secret rotates.
fn verified_id<'a>(secret: &[u8], headers: &'a HeaderMap, body: &[u8]) -> Option<&'a str> {
    let field = |name: &str| headers.get(name)?.to_str().ok();
    let (id, timestamp) = (field("webhook-id")?, field("webhook-timestamp")?);
    let off = (UNIX_EPOCH.elapsed().ok()?.as_secs()).abs_diff(timestamp.parse().ok()?);
    let mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    let mac = mac
        .chain_update(format!("{id}.{timestamp}."))
        .chain_update(body);
    let mut signatures = field("webhook-signature")?
        .split(' ')
        .filter_map(|it| it.strip_prefix("v1,"));
    let is_ours = |text| {
        STANDARD
            .decode(text)
            .is_ok_and(|it| mac.clone().verify_slice(&it).is_ok())
    }; // constant time
    (off <= TOLERANCE_SECONDS && signatures.any(is_ours)).then_some(id)
}

fn admit(backend: &Backend, data: &Value) -> Value {
    let key = data["stream_key"].as_str().unwrap_or_default();
    match Sha256::digest(key) == Sha256::digest(&backend.stream_key) {
        true => json!({ "allow": true, "stream_id": backend.stream_id }),
        false => json!({ "allow": false, "reason": "unknown stream key" }),
    }
}

async fn hook(State(backend): State<Arc<Backend>>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(id) = verified_id(&backend.secret, &headers, &body) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let Ok(hook) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    if hook["type"] == "publish.requested" {
        return Json(admit(&backend, &hook["data"])).into_response();
    }
    let mut seen = backend
        .seen
        .lock()
        .expect("nothing panics while it is held");
    if seen.len() >= IDS_MAX {
        seen.clear();
    }
    if seen.insert(id.to_owned()) {
        // events come at least once: the same id is the same event
        println!(
            "{} {}",
            hook["type"].as_str().unwrap_or_default(),
            hook["data"]
        );
    }
    StatusCode::NO_CONTENT.into_response()
}

pub(crate) fn router(backend: Backend) -> Router {
    Router::new()
        .route("/hooks", post(hook))
        .with_state(Arc::new(backend)) // bodies: axum's limit
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let or = |name: &str, usual: &str| env::var(name).unwrap_or_else(|_| usual.to_owned());
    let secret = STANDARD.decode(env::var("HOOK_SECRET")?.trim_start_matches("whsec_"))?;
    let (stream_key, stream_id) = (or("STREAM_KEY", "demo-key"), or("STREAM_ID", "demo"));
    let listener =
        tokio::net::TcpListener::bind(("127.0.0.1", or("PORT", "9000").parse()?)).await?;
    println!("listening {}", listener.local_addr()?);
    let backend = Backend {
        secret,
        stream_key,
        stream_id,
        seen: Mutex::default(),
    };
    Ok(axum::serve(listener, router(backend)).await?)
}
