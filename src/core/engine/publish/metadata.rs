//! `onMetaData`, bare or wrapped in `@setDataFrame`, to the hints a server may use (FLV 10.1, E.5; Enhanced RTMP v2,
//! "Enhancing onMetaData").
//!
//! Encoders write false, NaN, zero or text where a number belongs, and announce tracks that never come: a field that
//! makes no sense is absent, never an error.

use super::Metadata;
use crate::wire::amf0::{Error, Value};

/// The metadata in the values of a data message; `None` when it is another one.
pub(super) fn parse(values: impl Iterator<Item = Result<Value, Error>>) -> Option<Metadata> {
    let mut values = values.map_while(Result::ok).peekable();
    values.next_if(|value| value.as_str() == Some("@setDataFrame"));
    values.next_if(|value| value.as_str() == Some("onMetaData"))?;
    // A strict array holds no names to go by, and so tells nothing.
    let fields = values.next().unwrap_or(Value::Undefined);
    let number = |name| fields.property(name).and_then(number);
    Some(Metadata {
        frame_rate: number("framerate").or(number("videoframerate")),
        width: number("width"),
        height: number("height"),
        video: fields.property("videocodecid").is_some_and(names_codec),
        audio: fields.property("audiocodecid").is_some_and(names_codec),
        encoder: fields
            .property("encoder")
            .and_then(Value::as_str)
            .map(str::to_owned),
    })
}

/// A positive number, or text that reads as one.
fn number(value: &Value) -> Option<f64> {
    let number = value
        .as_number()
        .or_else(|| value.as_str()?.trim().parse().ok())?;
    (number.is_finite() && number > 0.0).then_some(number)
}

/// Codecs go by FLV id, by FourCC as a number, or by a name. Audio id 0 (raw PCM) is none we serve.
fn names_codec(value: &Value) -> bool {
    number(value).is_some() || value.as_str().is_some_and(|name| !name.is_empty())
}
