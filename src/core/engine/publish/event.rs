//! Events that an encoder sends between its media: `onTextData` and `onCuePoint`, bare or wrapped in `@setDataFrame` (FLV
//! 10.1, E.5; contracts, section 5).
//!
//! | message | the event |
//! |-|-|
//! | `onTextData` | the JSON text in `text`, or the text itself |
//! | `onCuePoint` | type: `name`; all else: `parameters`, whose unknown fields are its data unless there is a `data` |
//!
//! Where it belongs is the message's timestamp: an `at` is passed over. Tools write numbers as text, as FLV wants them in
//! parameters; both are taken. An event without an id gets one that no other
//! has.

use serde_json::{Map, Number, Value as Json};

use crate::wire::{
    amf0::{self, Value},
    event::{self, Event},
};

/// An event as a publisher sent it, not yet understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// RTMP timestamp of the message, milliseconds.
    pub timestamp: u32,
    /// How many others its connection sent before it.
    number: u32,
    handler: Handler,
    argument: Value,
}

/// What was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handler {
    TextData,
    CuePoint,
}

/// Why what was sent is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing in it to read an event from.
    #[error("{handler} without {what}")]
    Missing {
        /// `onTextData` or `onCuePoint`.
        handler: &'static str,
        /// What should be there.
        what: &'static str,
    },
    /// The event itself.
    #[error("{handler}: {source}")]
    Event {
        /// `onTextData` or `onCuePoint`.
        handler: &'static str,
        /// What is wrong with it.
        source: event::Error,
    },
}

/// The event in the values of a data message; `None` when it is another one, such as onMetaData.
pub(super) fn parse(
    timestamp: u32,
    number: u32,
    values: impl Iterator<Item = Result<Value, amf0::Error>>,
) -> Option<Sent> {
    let mut values = values.map_while(Result::ok).peekable();
    values.next_if(|value| value.as_str() == Some("@setDataFrame"));
    let handler = Handler::parse(values.next()?.as_str()?)?;
    Some(Sent {
        timestamp,
        number,
        handler,
        argument: values.next().unwrap_or(Value::Undefined),
    })
}

impl Sent {
    /// The event, if there is one. `session` tells the connection from all others: at most 40 letters, digits, `-` and `_`,
    /// of which an id is made where there is none.
    ///
    /// # Errors
    /// What cannot be understood.
    pub fn read(self, session: &str) -> Result<Event, Error> {
        let handler = self.handler.name();
        let missing = |what| Error::Missing { handler, what };
        let mut fields = match self.handler {
            Handler::TextData => {
                let text = self.argument.as_str();
                let text = text.or_else(|| self.argument.property("text")?.as_str());
                let text = text.ok_or(missing("a text"))?;
                object(text).ok_or(Error::Event {
                    handler,
                    source: event::Error::Syntax,
                })?
            }
            Handler::CuePoint => cue_point(self.argument).ok_or(missing("a name"))?,
        };
        fields.remove("at");
        if fields.get("id").is_none_or(Json::is_null) {
            let id = format!("{session}_{}_{}", self.timestamp, self.number);
            fields.insert("id".to_owned(), id.into());
        }
        Event::read(fields).map_err(|source| Error::Event { handler, source })
    }
}

impl Handler {
    fn parse(name: &str) -> Option<Self> {
        let all = [Self::TextData, Self::CuePoint];
        all.into_iter().find(|handler| handler.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::TextData => "onTextData",
            Self::CuePoint => "onCuePoint",
        }
    }
}

/// Fields of an event that are no data.
const TEXTS: [&str; 3] = ["id", "close", "sync"];
const NUMBERS: [&str; 3] = ["seq", "ttl_ms", "duration_ms"];

/// The fields of a cue point's event; `None` without a name.
fn cue_point(argument: Value) -> Option<Map<String, Json>> {
    let kind = argument.property("name")?.as_str()?.to_owned();
    let parameters = argument.property("parameters").cloned();
    let Json::Object(mut rest) = json(parameters.unwrap_or(Value::Null)) else {
        return Some(Map::from_iter([("type".to_owned(), kind.into())]));
    };
    let mut fields = Map::new();
    fields.insert("type".to_owned(), kind.into());
    for name in TEXTS {
        fields.extend(rest.remove_entry(name));
    }
    for name in NUMBERS {
        let number = |value: Json| match value.as_str().and_then(|text| text.trim().parse().ok()) {
            Some(number) => Json::Number(number),
            None => value,
        };
        let entry = rest.remove_entry(name);
        fields.extend(entry.map(|(name, value)| (name, number(value))));
    }
    rest.remove("at");
    let data = match rest.remove("data") {
        None | Some(Json::Null) => Json::Object(rest),
        Some(Json::String(text)) => object(&text).map_or(Json::String(text), Json::Object),
        Some(data) => data,
    };
    fields.insert("data".to_owned(), data);
    Some(fields)
}

fn object(text: &str) -> Option<Map<String, Json>> {
    serde_json::from_str(text).ok()
}

/// The same value in JSON: whole numbers without a point, dates as their milliseconds.
fn json(value: Value) -> Json {
    match value {
        Value::Number(number) | Value::Date(number) => json_number(number),
        Value::Boolean(boolean) => boolean.into(),
        Value::String(text) => text.into(),
        Value::Object(properties) => {
            let properties = properties.into_iter();
            Json::Object(
                properties
                    .map(|(name, value)| (name, json(value)))
                    .collect(),
            )
        }
        Value::Null | Value::Undefined => Json::Null,
        Value::Array(values) => values.into_iter().map(json).collect(),
    }
}

fn json_number(number: f64) -> Json {
    /// Up to here every whole number is a double, and no two are the same (ECMA-262, `Number.MAX_SAFE_INTEGER`).
    const EXACT: f64 = 9_007_199_254_740_991.0;
    match number.fract() == 0.0 && number.abs() <= EXACT {
        true => Json::from(number as i64),
        false => Number::from_f64(number).map_or(Json::Null, Json::Number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::publish::reply::object as amf, wire::event::Fault};

    const SESSION: &str = "ses_01JABCDEFGHJKMNPQRSTVWXYZ0";

    fn read(values: &[Value]) -> Option<Result<Event, Error>> {
        let sent = parse(u32::MAX, u32::MAX, values.iter().cloned().map(Ok))?;
        Some(sent.read(SESSION))
    }

    fn event(values: &[Value]) -> Event {
        read(values).expect("one of ours").expect("right")
    }

    fn cue(parameters: Value) -> [Value; 2] {
        let fields = [
            ("name", Value::from("listing.pinned")),
            ("type", Value::from("event")),
            ("time", Value::from(12.5)),
            ("parameters", parameters),
        ];
        ["onCuePoint".into(), amf(fields)]
    }

    #[test]
    fn text_data_is_the_event_as_a_backend_would_post_it() {
        let text = r#"{"id":"e1","type":"listing.pinned","seq":7,"at":"2026-01-01T12:00:00Z","data":{"listing":"l"}}"#;
        let posted = Event::parse(text.as_bytes()).expect("right");
        let wanted = Event { at: None, ..posted };
        let fields = amf([("language", Value::from("und")), ("text", text.into())]);
        let set = Value::from("@setDataFrame");
        assert_eq!(event(&["onTextData".into(), fields.clone()]), wanted);
        assert_eq!(event(&[set, "onTextData".into(), fields]), wanted);
        assert_eq!(event(&["onTextData".into(), text.into()]), wanted);
    }

    #[test]
    fn a_cue_point_is_its_name_and_its_parameters() {
        let price = amf([("amount", 198_000.0.into()), ("currency", "JPY".into())]);
        let flat = amf([
            ("id", "e1".into()),
            ("seq", "1042".into()),
            ("duration_ms", 30_000.0.into()),
            ("at", "noon".into()),
            ("listing", "lst_1".into()),
            ("price", price),
            ("rate", 0.5.into()),
            ("sold", Value::Boolean(false)),
        ]);
        let text = r#"{"listing":"lst_1","price":{"amount":198000,"currency":"JPY"},"rate":0.5,"sold":false}"#;
        let told = [
            ("id", "e1".into()),
            ("seq", 1042.0.into()),
            ("duration_ms", " 30000".into()),
        ];
        let nested = |data: Value| {
            let [id, seq, duration_ms] = told.clone();
            amf([id, seq, duration_ms, ("data", data)])
        };
        let wanted = format!(
            r#"{{"id":"e1","type":"listing.pinned","seq":1042,"duration_ms":30000,"data":{text}}}"#
        );
        let wanted = Event::parse(wanted.as_bytes()).expect("right");
        assert_eq!(event(&cue(flat.clone())), wanted);
        assert_eq!(event(&cue(nested(text.into()))), wanted);
        let set = [&["@setDataFrame".into()][..], &cue(flat)].concat();
        assert_eq!(event(&set), wanted);
    }

    #[test]
    fn what_has_no_id_gets_one_that_fits() {
        let made = event(&cue(Value::Null));
        assert_eq!(made.id, format!("{SESSION}_4294967295_4294967295"));
        assert!(made.data.is_empty());
        let again =
            Event::parse(format!(r#"{{"id":"{}","type":"show.ended"}}"#, made.id).as_bytes());
        assert!(again.is_ok(), "{again:?}");
    }

    #[test]
    fn what_cannot_be_understood_is_told_and_what_is_none_of_ours_is_not() {
        let words = |values: &[Value]| read(values).map(|it| it.expect_err("wrong").to_string());
        for (values, wanted) in [
            (vec![], None),
            (vec!["onMetaData".into()], None),
            (vec!["@setDataFrame".into()], None),
            (vec!["onTextData".into()], Some("onTextData without a text")),
            (
                vec!["onCuePoint".into(), 7.0.into()],
                Some("onCuePoint without a name"),
            ),
            (
                vec!["onTextData".into(), amf([("text", "hello".into())])],
                Some("onTextData: expected one event as a JSON object"),
            ),
            (
                vec!["onCuePoint".into(), amf([("name", "chapter 1".into())])],
                Some("onCuePoint: type: expected a type of events that ride in the stream"),
            ),
        ] {
            assert_eq!(words(&values).as_deref(), wanted, "{values:?}");
        }
        let odd = cue(amf([
            ("duration_ms", "long".into()),
            ("data", "none".into()),
        ]));
        let faults = match read(&odd).expect("one of ours") {
            Err(Error::Event {
                source: event::Error::Fields(faults),
                ..
            }) => faults,
            other => panic!("{other:?}"),
        };
        let fields: Vec<_> = faults.iter().map(|Fault { field, .. }| *field).collect();
        assert_eq!(fields, ["duration_ms", "data"]);
    }

    #[test]
    fn numbers_are_whole_where_they_are() {
        for (number, wanted) in [
            (1.0, "1"),
            (-0.0, "0"),
            (0.25, "0.25"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (1e300, "1e+300"),
            (f64::NAN, "null"),
            (f64::INFINITY, "null"),
        ] {
            assert_eq!(json(Value::Number(number)).to_string(), wanted);
        }
        assert_eq!(
            json(Value::Date(1_767_268_800_000.0)).to_string(),
            "1767268800000"
        );
        let mixed = Value::Array(vec![Value::Undefined, "a".into()]);
        assert_eq!(json(mixed).to_string(), r#"[null,"a"]"#);
    }
}
