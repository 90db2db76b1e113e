//! MediaMTX's words: its external authentication over HTTP (`authMethod: http`).
//!
//! User and password of an RTMP publisher stand in its query as `user` and `pass`; MediaMTX takes them out of the query.

use serde_json::json;

use super::{Allow, Answer, Body, Publish, Unfit, Verdict, denied};

pub(super) fn ask(publish: &Publish) -> Body {
    let parameter = |wanted: &str| {
        let mut pairs = publish
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        let found = pairs.find(|(name, _)| *name == wanted);
        found.map_or("", |(_, value)| value)
    };
    Body::json(&json!({
        "user": parameter("user"),
        "password": parameter("pass"),
        "token": parameter("token"),
        "ip": publish.peer.ip().to_string(),
        "action": "publish",
        "path": format!("{}/{}", publish.app, publish.name),
        "protocol": publish.protocol,
        "id": publish.session,
        "query": publish.query,
        "userAgent": publish.encoder,
    }))
}

/// 20x allows, everything else denies; bodies say nothing.
pub(super) fn verdict(answer: &Answer<'_>) -> Result<Verdict, Unfit> {
    Ok(match answer.status {
        200..=209 => Verdict::Allow(Allow::default()),
        _ => denied(),
    })
}
