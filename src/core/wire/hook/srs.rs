//! SRS's words: its HTTP callback (`http_hooks`), `on_publish` and `on_unpublish`.
//!
//! `client_id` and the like are ours in its place; `vhost` is what SRS says without virtual hosts.

use serde_json::{Value, json};

use super::{Allow, Answer, Body, Publish, Unfit, Verdict, denied};

pub(super) fn ask(publish: &Publish) -> Body {
    call("on_publish", publish)
}

/// `on_unpublish`.
pub(super) fn done(publish: &Publish) -> Body {
    call("on_unpublish", publish)
}

fn call(action: &str, publish: &Publish) -> Body {
    let Publish { app, name, .. } = publish;
    let host = host(&publish.tc_url);
    let param = match publish.query.as_str() {
        "" => String::new(),
        query => format!("?{query}"),
    };
    Body::json(&json!({
        "server_id": publish.node,
        "service_id": publish.node,
        "action": action,
        "client_id": publish.session,
        "ip": publish.peer.ip().to_string(),
        "vhost": "__defaultVhost__",
        "app": app,
        "tcUrl": publish.tc_url,
        "stream": name,
        "param": param,
        "stream_url": format!("{host}/{app}/{name}"),
        "stream_id": publish.session,
    }))
}

/// 200 or 201 with `0` or a JSON object whose `code` is 0; any other code denies.
pub(super) fn verdict(answer: &Answer<'_>) -> Result<Verdict, Unfit> {
    if !matches!(answer.status, 200 | 201) {
        return Ok(denied());
    }
    let said: Option<Value> = serde_json::from_slice(answer.body.trim_ascii()).ok();
    let code = said
        .as_ref()
        .and_then(|said| said.get("code").unwrap_or(said).as_i64());
    match code {
        Some(0) => Ok(Verdict::Allow(Allow::default())),
        Some(_) => Ok(denied()),
        None => Err(Unfit::Body {
            expected: r#"0 or {"code":0}"#,
        }),
    }
}

/// The host of an RTMP URL, without its port.
fn host(tc_url: &str) -> &str {
    let rest = tc_url.split_once("://").map_or(tc_url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}
