//! An event as it crosses the wire: an id, and `{"type","timestamp","data"}`. Pure but for the dice in an id.

use serde::Serialize;
use serde_json::{Map, Value};
use ulid::Ulid;
use vitrine_core::media::WallTime;

use super::Event;

/// Of the data, what an event that would be too long is told without: others have put it in, as long as they liked.
pub(super) const SPARE: &str = "metadata";

/// The id of a new event.
pub(super) fn new_id() -> String {
    format!("evt_{}", Ulid::new())
}

/// The body of an event, numbered among those of its subject, and its data alone.
pub(super) fn numbered(event: &Event, hook_seq: i64) -> (Vec<u8>, String) {
    #[derive(Serialize)]
    struct Data<'a> {
        #[serde(flatten)]
        data: &'a Map<String, Value>,
        hook_seq: i64,
    }
    let data = Data {
        data: &event.data,
        hook_seq,
    };
    let data = serde_json::to_string(&data).expect("a map with text for keys");
    (body(event.kind, event.at, &data), data)
}

/// The body of an event of type `kind` with this `data`, which is JSON.
pub(super) fn body(kind: &str, at: WallTime, data: &str) -> Vec<u8> {
    let kind = Value::from(kind);
    format!(r#"{{"type":{kind},"timestamp":"{at}","data":{data}}}"#).into_bytes()
}
