//! What a caller sent beside the path, read field by field: the query, or a JSON object.
//!
//! Nothing is guessed and nothing ignored: a field of the wrong form, one that is not known and one whose feature is not
//! built yet are each a fault that names it (RFC 9457, 3), and all of them are told at once. Bodies are bounded in bytes
//! and in time. `Content-Type` is not looked at: there is one form.

use std::{collections::BTreeSet, fmt::Display, ops::RangeInclusive};

use axum::{
    body::{Body, to_bytes},
    http::Uri,
};
use bytes::Bytes;
use serde_json::{Map, Value};
use tokio::time::timeout;
use vitrine_core::{limits, media::WallTime};
use vitrine_runtime::problem::Fault;

use super::error::Error;

/// The fields of one request that are not read yet, and what was wrong with those that were.
#[derive(Debug)]
pub(super) struct Fields {
    unread: Map<String, Value>,
    /// The names that were there.
    given: BTreeSet<String>,
    /// In a query everything is text.
    textual: bool,
    faults: Vec<Fault>,
    unsupported: Option<String>,
}

impl Fields {
    /// Those of a query.
    pub(super) fn of_query(uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        let (mut unread, mut faults) = (Map::new(), Vec::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let known = unread.insert(name.to_string(), Value::String(value.into_owned()));
            if known.is_some() {
                faults.push(fault(&name, "given more than once"));
            }
        }
        Self {
            faults,
            ..Self::new(unread, true)
        }
    }

    /// Those of a JSON object; none of an empty body. What stands in the query instead is a fault, lest it be passed over.
    ///
    /// # Errors
    /// The body does not come, is too large, or is no object.
    pub(super) async fn of_body(uri: &Uri, body: Body) -> Result<Self, Error> {
        let bytes = read(body).await?;
        let unread = match bytes.iter().all(u8::is_ascii_whitespace) {
            true => Map::new(),
            false => serde_json::from_slice(&bytes).map_err(|_| Error::no_object(&bytes))?,
        };
        let faults = misplaced(uri);
        Ok(Self {
            faults,
            ..Self::new(unread, false)
        })
    }

    fn new(unread: Map<String, Value>, textual: bool) -> Self {
        Self {
            given: unread.keys().cloned().collect(),
            unread,
            textual,
            faults: Vec::new(),
            unsupported: None,
        }
    }

    /// Whether there is a field that has not been read.
    pub(super) fn is_empty(&self) -> bool {
        self.unread.is_empty()
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, name: &str) -> Option<bool> {
        let textual = self.textual;
        self.take(name, "true or false", |value| match value {
            Value::Bool(flag) => Some(flag),
            Value::String(text) if textual => text.parse().ok(),
            _ => None,
        })
    }

    /// A whole number within `range`.
    pub(super) fn number(&mut self, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let textual = self.textual;
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.take(name, expected, |value| {
            let number = match value {
                Value::Number(number) => number.as_u64(),
                Value::String(text) if textual => text.parse().ok(),
                _ => None,
            };
            number.filter(|number| range.contains(number))
        })
    }

    /// A whole number within `range`, on either side of zero.
    pub(super) fn signed(&mut self, name: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.take(name, expected, |value| {
            value.as_i64().filter(|number| range.contains(number))
        })
    }

    /// The fields of an object, read by `read`; each is told as `name.field`.
    pub(super) fn within<T: Default>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let Some(object) = self.object(name) else {
            return T::default();
        };
        let mut inner = Self::new(object, false);
        let value = read(&mut inner);
        let unknown = inner
            .unread
            .keys()
            .map(|name| fault(name, "not known here"));
        inner.faults.extend(unknown);
        self.faults.extend(inner.faults.into_iter().map(|it| Fault {
            field: format!("{name}.{}", it.field),
            ..it
        }));
        value
    }

    /// Text of 1 to `max` bytes, without control characters: it is read in logs and terminals.
    pub(super) fn text(&mut self, name: &str, max: usize) -> Option<String> {
        let expected = format!("text of 1 to {max} bytes without control characters");
        self.take(name, expected, |value| match value {
            Value::String(text) if !text.contains(char::is_control) => Some(text),
            _ => None,
        })
        .filter(|text| {
            let fits = (1..=max).contains(&text.len());
            if !fits {
                let detail = format!("expected 1 to {max} bytes");
                self.faults.push(fault(name, detail));
            }
            fits
        })
    }

    /// A time.
    pub(super) fn time(&mut self, name: &str) -> Option<WallTime> {
        let expected = "a time of RFC 3339, such as 2026-01-01T12:00:00Z";
        self.take(name, expected, |value| {
            let time: jiff::Timestamp = value.as_str()?.parse().ok()?;
            Some(WallTime(time.as_millisecond()))
        })
    }

    /// A JSON object.
    pub(super) fn object(&mut self, name: &str) -> Option<Map<String, Value>> {
        self.take(name, "an object", |value| match value {
            Value::Object(object) => Some(object),
            _ => None,
        })
    }

    /// One of `words`.
    pub(super) fn word(&mut self, name: &str, words: &[&'static str]) -> Option<&'static str> {
        let expected = format!("one of {}", words.join(", "));
        self.take(name, expected, |value| {
            let text = value.as_str()?;
            words.iter().copied().find(|word| *word == text)
        })
    }

    /// Removes a `null`, which takes back what was set (RFC 7396); whether it was there.
    pub(super) fn null(&mut self, name: &str) -> bool {
        let null = self.unread.get(name).is_some_and(Value::is_null);
        if null {
            self.unread.remove(name);
        }
        null
    }

    /// A field that the contract names and this version cannot do.
    pub(super) fn unsupported(&mut self, name: &str) {
        if self.unread.remove(name).is_some() {
            self.unsupported.get_or_insert_with(|| name.to_owned());
        }
    }

    /// One that must be there, read by `read`.
    pub(super) fn required<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self, &str) -> Option<T>,
    ) -> Option<T> {
        self.require(name, "missing");
        read(self, name)
    }

    /// Says that `name` must be there, if it was not.
    pub(super) fn require(&mut self, name: &str, detail: &str) {
        if !self.given.contains(name) {
            self.faults.push(fault(name, detail));
        }
    }

    /// Says that `name` is wrong for a reason of its own.
    pub(super) fn refuse(&mut self, name: &str, detail: impl Display) {
        self.faults.push(fault(name, detail));
    }

    /// Whether everything was right, nothing unknown left.
    ///
    /// # Errors
    /// Every fault there is.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        let unknown = self.unread.keys().map(|name| fault(name, "not known here"));
        self.faults.extend(unknown);
        if !self.faults.is_empty() {
            return Err(Error::Fields(self.faults));
        }
        match self.unsupported {
            Some(field) => Err(Error::NotSupported { field: Some(field) }),
            None => Ok(()),
        }
    }

    fn take<T>(
        &mut self,
        name: &str,
        expected: impl Display,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Option<T> {
        let value = read(self.unread.remove(name)?);
        if value.is_none() {
            self.faults
                .push(fault(name, format_args!("expected {expected}")));
        }
        value
    }
}

/// A body that is read by others. What stands in the query instead is a fault.
///
/// # Errors
/// The body does not come or is too large.
pub(super) async fn whole(uri: &Uri, body: Body) -> Result<Bytes, Error> {
    match misplaced(uri) {
        faults if faults.is_empty() => read(body).await,
        faults => Err(Error::Fields(faults)),
    }
}

/// A body, of bounded length and in bounded time.
async fn read(body: Body) -> Result<Bytes, Error> {
    let max = limits::CONTROL_BODY_BYTES_MAX;
    let read = timeout(limits::CONTROL_BODY, to_bytes(body, max)).await;
    match read {
        Err(_) => Err(Error::Slow),
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            let error = std::error::Error::source(&error);
            let large = error.is_some_and(|it| it.is::<http_body_util::LengthLimitError>());
            Err(if large { Error::TooLarge } else { Error::Cut })
        }
    }
}

/// The fields of a query, where a body is expected.
fn misplaced(uri: &Uri) -> Vec<Fault> {
    let given = Fields::of_query(uri).given.into_iter();
    given
        .map(|name| fault(&name, "expected in the body, not in the query"))
        .collect()
}

fn fault(field: &str, detail: impl Display) -> Fault {
    Fault {
        // Unknown names come from outside.
        field: field.chars().take(limits::CONTROL_NAME_CHARS_MAX).collect(),
        detail: detail.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(body: impl Into<Body>) -> Result<Fields, Error> {
        Fields::of_body(&Uri::from_static("/x"), body.into()).await
    }

    async fn of(body: &'static str) -> Fields {
        let fields = read(body).await;
        fields.unwrap_or_else(|error| panic!("{body}: {error}"))
    }

    #[tokio::test]
    async fn every_wrong_and_every_unknown_field_is_named_at_once() {
        let mut fields = of(r#"{"a":"x","b":70000,"c":null,"d":"","e":"y","z":1}"#).await;
        assert_eq!(fields.flag("a"), None);
        assert_eq!(fields.number("b", 1..=65_535), None);
        assert!(fields.null("c"));
        assert_eq!(fields.text("d", 8), None);
        assert_eq!(fields.text("e", 8).as_deref(), Some("y"));
        let Err(Error::Fields(faults)) = fields.finish() else {
            panic!("four faults");
        };
        let named: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(named, ["a", "b", "d", "z"]);
        assert!(faults[1].detail.contains("1 to 65535"), "{:?}", faults[1]);
    }

    #[tokio::test]
    async fn a_query_is_text_and_json_is_not() {
        let uri: Uri = "/x?n=7&f=true&t=2026-01-01T12:00:00.5Z&n=8"
            .parse()
            .expect("valid");
        let mut fields = Fields::of_query(&uri);
        assert_eq!(fields.number("n", 0..=9), Some(8));
        assert_eq!(fields.flag("f"), Some(true));
        let time = fields.time("t").expect("a time");
        assert_eq!(time.to_string(), "2026-01-01T12:00:00.500Z");
        assert!(matches!(fields.finish(), Err(Error::Fields(faults)) if faults[0].field == "n"));
        let mut fields = of(r#"{"n":"7","f":"true"}"#).await;
        assert_eq!((fields.number("n", 0..=9), fields.flag("f")), (None, None));
    }

    #[tokio::test]
    async fn what_belongs_in_the_body_is_not_passed_over_in_the_query() {
        let uri = Uri::from_static("/x?takedown=true");
        let fields = Fields::of_body(&uri, Body::empty()).await.expect("read");
        assert!(
            matches!(fields.finish(), Err(Error::Fields(faults)) if faults[0].field == "takedown")
        );
    }

    #[tokio::test]
    async fn a_body_is_an_object_or_nothing_and_bounded() {
        assert!(of(" \n").await.is_empty());
        for (body, line) in [("[]", 1), ("{\n,", 2), ("7", 1)] {
            let fields = read(body).await;
            assert!(
                matches!(fields, Err(Error::NoObject { line: at, .. }) if at == line),
                "{body}: {fields:?}"
            );
        }
        let large = vec![b' '; limits::CONTROL_BODY_BYTES_MAX + 1];
        let fields = read(large).await;
        assert!(matches!(fields, Err(Error::TooLarge)), "{fields:?}");
    }

    #[tokio::test]
    async fn what_is_not_built_is_refused_by_name_but_faults_come_first() {
        let mut fields = of(r#"{"ladder":"x"}"#).await;
        fields.unsupported("ladder");
        fields.unsupported("record");
        let Err(Error::NotSupported { field }) = fields.finish() else {
            panic!("not supported");
        };
        assert_eq!(field.as_deref(), Some("ladder"));
    }
}
