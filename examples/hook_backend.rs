//! A commerce backend for Vitrine: decides who may publish, and hears what becomes of it (docs/hooks.md).
//!
//! HOOK_SECRET=whsec_... STREAM_KEY=... STREAM_ID=shop42 PORT=9000 cargo run --example hook_backend
//!
//! Both `hooks.admission_url` and the url of a `[[hooks.endpoints]]` point at <http://127.0.0.1:9000/hooks>, with that
//! secret. What is not signed by who knows the secret is answered 401, and for a publisher that is a no.

use std::{collections::HashSet, env, error::Error, sync::Arc, time::UNIX_EPOCH};

use axum::http::{HeaderMap, StatusCode};
use axum::{Json, Router, body::Bytes, extract::State, routing::post};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, sync::Mutex};

const TOLERANCE_SECONDS: u64 = 5 * 60; // older, or further ahead: it may be a replay
const IDS_MAX: usize = 10_000;

/// The secret; the one known key, and its stream; the ids of events that came (in a real shop: a unique column).
pub(crate) type Shop = Arc<(Vec<u8>, [String; 2], Mutex<HashSet<String>>)>;

/// Standard Webhooks: HMAC-SHA256 over id.timestamp.body; several signatures while a secret rotates.
fn verified_id<'a>(secret: &[u8], headers: &'a HeaderMap, body: &[u8]) -> Option<&'a str> {
    let field = |name: &str| headers.get(name)?.to_str().ok();
    let (id, timestamp) = (field("webhook-id")?, field("webhook-timestamp")?);
    let now = UNIX_EPOCH.elapsed().ok()?.as_secs();
    let in_time = now.abs_diff(timestamp.parse().ok()?) <= TOLERANCE_SECONDS;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    let in_constant_time = |signature: Vec<u8>| mac.clone().verify_slice(&signature).is_ok();
    let decode = |text: &str| STANDARD.decode(text.strip_prefix("v1,")?).ok();
    let mut signatures = field("webhook-signature")?.split(' ').filter_map(decode);
    (in_time && signatures.any(in_constant_time)).then_some(id)
}

fn admit([known, stream]: &[String; 2], data: &Value) -> Value {
    let key = data["stream_key"].as_str().unwrap_or_default();
    match Sha256::digest(key) == Sha256::digest(known) {
        true => json!({ "allow": true, "stream_id": stream }),
        false => json!({ "allow": false, "reason": "unknown stream key" }),
    }
}

type Answer = Result<Json<Value>, StatusCode>;
async fn hook(State(shop): State<Shop>, headers: HeaderMap, body: Bytes) -> Answer {
    let (secret, streams, seen) = &*shop;
    let id = verified_id(secret, &headers, &body).ok_or(StatusCode::UNAUTHORIZED)?;
    let hook: Value = serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    if hook["type"] == "publish.requested" {
        return Ok(Json(admit(streams, &hook["data"])));
    }
    let mut seen = seen.lock().await; // events come at least once: the same id is the same event
    if seen.insert(id.to_owned()) {
        println!("{} {}", hook["type"].as_str().unwrap_or(""), hook["data"]);
    }
    if seen.len() > IDS_MAX {
        seen.clear();
    }
    Ok(Json(json!({})))
}

pub(crate) fn router(shop: Shop) -> Router {
    Router::new().route("/hooks", post(hook)).with_state(shop)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let var = |name: &str, usual: &str| env::var(name).unwrap_or(usual.to_owned());
    let secret = STANDARD.decode(env::var("HOOK_SECRET")?.trim_start_matches("whsec_"))?;
    let stream = [var("STREAM_KEY", "demo-key"), var("STREAM_ID", "demo")];
    let listener = TcpListener::bind(("127.0.0.1", var("PORT", "9000").parse()?)).await?;
    println!("listening {}", listener.local_addr()?);
    let shop = Arc::new((secret, stream, Mutex::default()));
    Ok(axum::serve(listener, router(shop)).await?)
}
