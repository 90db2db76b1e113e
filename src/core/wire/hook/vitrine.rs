//! Our own words: JSON with the same envelope as every other hook.

use serde_json::{Map, Value, json};

use super::{Allow, Answer, Body, DENIED, Events, Publish, Unfit, Verdict, denied};
use crate::limits;

pub(super) fn ask(publish: &Publish) -> Body {
    envelope("publish.requested", publish, json!({}))
}

/// The same question about a publish that goes on as `stream_id`.
pub(super) fn ask_again(publish: &Publish, stream_id: &str) -> Body {
    let known = json!({ "stream_id": stream_id });
    envelope("publish.revalidated", publish, known)
}

fn envelope(kind: &str, publish: &Publish, known: Value) -> Body {
    let mut data = json!({
        "node": publish.node,
        "session_id": publish.session,
        "app": publish.app,
        "stream_key": publish.stream_key,
        "query": publish.query,
        "tc_url": publish.tc_url,
        "protocol": publish.protocol,
        "remote_addr": publish.peer.to_string(),
        "encoder": publish.encoder,
    });
    if let (Value::Object(data), Value::Object(known)) = (&mut data, known) {
        data.extend(known);
    }
    Body::json(&json!({ "type": kind, "timestamp": publish.at.to_string(), "data": data }))
}

pub(super) fn verdict(answer: &Answer<'_>) -> Result<Verdict, Unfit> {
    match answer.status {
        200 => {}
        401 | 403 | 404 => return Ok(denied()),
        status => {
            return Err(Unfit::Status {
                status,
                expected: "200 with a verdict, or 401, 403 or 404",
            });
        }
    }
    let expected = r#"a JSON object with "allow""#;
    let Ok(Value::Object(fields)) = serde_json::from_slice(answer.body) else {
        return Err(Unfit::Body { expected });
    };
    let mut fields = Fields(fields);
    let allow = fields.read("allow", "true or false", |it| it.as_bool())?;
    match allow.ok_or(Unfit::Body { expected })? {
        true => fields.allow().map(Verdict::Allow),
        false => Ok(Verdict::Deny {
            reason: fields.reason(),
        }),
    }
}

/// What is left to be read; what nobody reads is ignored.
struct Fields(Map<String, Value>);

impl Fields {
    /// The field called `field`; absent and null are one.
    fn read<T>(
        &mut self,
        field: &'static str,
        expected: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, Unfit> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(value)
                .map(Some)
                .ok_or(Unfit::Field { field, expected }),
        }
    }

    fn text(&mut self, field: &'static str) -> Result<Option<String>, Unfit> {
        self.read(field, "a text", |it| it.as_str().map(str::to_owned))
    }

    fn number(&mut self, field: &'static str) -> Result<Option<u32>, Unfit> {
        let positive = |value: &Value| u32::try_from(value.as_u64()?).ok().filter(|it| *it > 0);
        self.read(field, "a whole number from 1 to 4294967295", positive)
    }

    fn reason(&mut self) -> String {
        let reason = self
            .0
            .get("reason")
            .and_then(Value::as_str)
            .unwrap_or(DENIED);
        reason.chars().take(limits::VERDICT_REASON_CHARS).collect()
    }

    fn events(&mut self) -> Result<Events, Unfit> {
        let within = |value: &Value, least: u32, most: u32| {
            let number = u32::try_from(value.as_u64()?).ok()?;
            (least..=most).contains(&number).then_some(number)
        };
        let offset = limits::EVENT_OFFSET_MS_MAX;
        let budget = self.read("events", "an object", |it| it.as_object().cloned())?;
        let mut budget = Fields(
            budget
                .unwrap_or_default()
                .into_iter()
                .map(|(name, it)| (format!("events.{name}"), it))
                .collect(),
        );
        Ok(Events {
            amf: self.read("amf_events", "true or false", Value::as_bool)?,
            offset_ms: self.read("event_offset_ms", OFFSET, |it| {
                let ms = i32::try_from(it.as_i64()?).ok()?;
                (-offset..=offset).contains(&ms).then_some(ms)
            })?,
            per_second: budget.read("events.per_second", PER_SECOND, |it| {
                within(it, 1, limits::EVENTS_PER_SECOND_MAX)
            })?,
            bytes_per_second: budget.read("events.bytes_per_second", BYTES_PER_SECOND, |it| {
                within(
                    it,
                    limits::EVENT_BYTES_PER_SECOND_MIN,
                    limits::EVENT_BYTES_PER_SECOND_MAX,
                )
            })?,
        })
    }

    fn allow(&mut self) -> Result<Allow, Unfit> {
        for field in NOT_BUILT {
            if self
                .0
                .get(field)
                .is_some_and(|value| *value != Value::Bool(false))
            {
                return Err(Unfit::NotSupported { field });
            }
        }
        let stream_id = self.text("stream_id")?;
        let metadata = self.read("metadata", METADATA, |it| {
            let small = it.to_string().len() <= limits::VERDICT_METADATA_BYTES;
            it.as_object().filter(|_| small).cloned()
        })?;
        Ok(Allow {
            stream_id: Some(stream_id.ok_or(Unfit::Field {
                field: "stream_id",
                expected: "the public name of the stream",
            })?),
            ladder: self.text("ladder")?,
            takeover: self.read("takeover", "true or false", |it| it.as_bool())?,
            max_kbps: self.number("max_kbps")?,
            epoch: self.read("epoch", "a time in Unix seconds", Value::as_u64)?,
            lifetime_seconds: self.number("lifetime_seconds")?,
            revalidate_seconds: self.number("revalidate_seconds")?,
            events: self.events()?,
            metadata: metadata.unwrap_or_default(),
        })
    }
}

/// What `events` may hold; the numbers are [`limits::EVENTS_PER_SECOND_MAX`], [`limits::EVENT_BYTES_PER_SECOND_MIN`] and
/// [`limits::EVENT_BYTES_PER_SECOND_MAX`].
const PER_SECOND: &str = "a whole number from 1 to 1000";
const BYTES_PER_SECOND: &str = "a whole number from 1024 to 65536";

/// What `event_offset_ms` must be; the number is [`limits::EVENT_OFFSET_MS_MAX`].
const OFFSET: &str = "milliseconds, -30000 to 30000";

/// What `metadata` must be; the number is [`limits::VERDICT_METADATA_BYTES`].
const METADATA: &str = "an object of at most 4096 bytes";

/// Fields of the contract whose time has not come.
const NOT_BUILT: [&str; 1] = ["record"];
