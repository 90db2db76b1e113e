//! A shop's event as it crosses the wire: posted to the control API, and riding in the stream (contracts, section 5).
//!
//! [`Event::parse`] reads what a backend posts and names every field that is wrong. Where the engine binds an event to a
//! picture it becomes [`Placed`], whose bytes are the same in every rendition: a JSON text without what was only for the
//! way here, in one TXXX frame ([`super::id3`]), in one `emsg` box. Fields that nobody knows are left out, never refused.
//! Nothing is counted, remembered or timed here.

mod kind;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde_json::{Map, Value, json};

pub use self::kind::{Class, Kind};
use super::{bmff, id3};
use crate::{limits, media::WallTime};

/// Description of the TXXX frame that carries an event.
pub const DESCRIPTION: &str = "vitrine";

/// What happened in the shop, as posted.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// By which it is known for ever: one id, one event.
    pub id: String,
    /// What happened.
    pub kind: &'static Kind,
    /// The show's own number, carried and not looked at.
    pub seq: Option<u64>,
    /// When it happened, or is to be seen; when it arrives if not told.
    pub at: Option<WallTime>,
    /// Milliseconds after which it is too late to be placed.
    pub ttl_ms: u32,
    /// Milliseconds that it lasts, if that is known.
    pub duration_ms: Option<u32>,
    /// Id of the earlier event that it ends.
    pub close: Option<String>,
    /// What the backend tells of it.
    pub data: Map<String, Value>,
}

/// Why a posted event is refused, field by field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not JSON, or no object.
    #[error("expected one event as a JSON object")]
    Syntax,
    /// Fields that cannot be used; at least one.
    #[error("{}", join(_0))]
    Fields(Vec<Fault>),
    /// In the stream it would take more bytes than an event of its kind may.
    #[error("takes {bytes} bytes in the stream, {} carries at most {limit}", kind.name)]
    TooLarge {
        /// What it takes.
        bytes: usize,
        /// What it may take.
        limit: usize,
        /// Its kind.
        kind: &'static Kind,
    },
}

/// One field that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected {expected}")]
pub struct Fault {
    /// Its name.
    pub field: &'static str,
    /// What would have been understood.
    pub expected: &'static str,
}

fn join(faults: &[Fault]) -> String {
    let faults: Vec<_> = faults.iter().map(Fault::to_string).collect();
    faults.join("; ")
}

impl Event {
    /// Reads one posted event.
    ///
    /// # Errors
    /// [`Error::Fields`] with every field that is wrong, [`Error::Syntax`], [`Error::TooLarge`].
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        match serde_json::from_slice(json) {
            Ok(Value::Object(fields)) => Self::read(fields),
            _ => Err(Error::Syntax),
        }
    }

    /// Reads one event whose fields are there already.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn read(fields: Map<String, Value>) -> Result<Self, Error> {
        let mut reader = Reader {
            fields,
            faults: Vec::new(),
        };
        let id = reader.required("id", ID, read_id);
        let kind = reader.required(
            "type",
            "a type of events that ride in the stream",
            |value| Kind::parse(value.as_str()?),
        );
        reader.read(
            "sync",
            r#""media": what is for now belongs to the hub"#,
            |value| (value == "media").then_some(()),
        );
        let seq = reader.read("seq", "a whole number", Value::as_u64);
        let at = reader.read("at", "a time such as 2026-01-01T12:00:00.000Z", |value| {
            let at: jiff::Timestamp = value.as_str()?.parse().ok()?;
            Some(WallTime(at.as_millisecond()))
        });
        let ttl_ms = reader.read("ttl_ms", "milliseconds, 1 to 600000", |value| {
            milliseconds(value, limits::EVENT_TTL_MS_MAX)
        });
        let duration_ms = reader.read("duration_ms", "milliseconds, 1 to 86400000", |value| {
            milliseconds(value, limits::EVENT_DURATION_MS_MAX)
        });
        let close = reader.read("close", ID, read_id);
        let data = reader.read("data", "an object", |value| value.as_object().cloned());
        let (Some(id), Some(kind), []) = (id, kind, &reader.faults[..]) else {
            return Err(Error::Fields(reader.faults));
        };
        let event = Self {
            id,
            kind,
            seq,
            at,
            ttl_ms: ttl_ms.unwrap_or(limits::EVENT_TTL_MS),
            duration_ms,
            close,
            data: data.unwrap_or_default(),
        };
        event.fits()?;
        Ok(event)
    }

    /// Whether players see it as a range: it is known how long it lasts, or that it does.
    pub fn is_range(&self) -> bool {
        self.duration_ms.is_some() || self.kind.lasts
    }

    /// Judged by the longest place there is, so that no event is refused for where it happens to land.
    fn fits(&self) -> Result<(), Error> {
        let longest = Place {
            epoch: i64::MAX.unsigned_abs(),
            media_time_ms: i64::from(u32::MAX) * 1000,
            program_date_time: WallTime(0),
        };
        let bytes = self.value(&longest).len();
        let limit = self.kind.value_bytes_max();
        match bytes <= limit {
            true => Ok(()),
            false => Err(Error::TooLarge {
                bytes,
                limit,
                kind: self.kind,
            }),
        }
    }

    /// The JSON text in the stream: what was posted without `at` and `ttl_ms`, and where it landed.
    fn value(&self, place: &Place) -> String {
        let mut value = json!({
            "id": self.id,
            "type": self.kind.name,
            "sync": "media",
            "data": self.data,
            "epoch": place.epoch,
            "t": place.media_time_ms,
            "pdt": place.program_date_time.to_string(),
        });
        if let Some(seq) = self.seq {
            value["seq"] = seq.into();
        }
        if let Some(duration_ms) = self.duration_ms {
            value["duration_ms"] = duration_ms.into();
        }
        if let Some(close) = &self.close {
            value["close"] = close.as_str().into();
        }
        value.to_string()
    }
}

/// Where on a stream's timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The epoch.
    pub epoch: u64,
    /// Milliseconds since the epoch's first sample; not negative.
    pub media_time_ms: i64,
    /// The program date-time of that.
    pub program_date_time: WallTime,
}

/// An event that is bound to its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// The event.
    pub event: Event,
    /// Its place.
    pub place: Place,
    value: String,
}

impl Placed {
    /// Binds `event` to `place`.
    pub fn new(event: Event, place: Place) -> Self {
        let value = event.value(&place);
        Self {
            event,
            place,
            value,
        }
    }

    /// The JSON text that players get.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The box in front of the part that holds its place; `number` tells it from the other events of the epoch, and must be
    /// the same in every rendition.
    pub fn emsg(&self, number: u32) -> Bytes {
        let cue = bmff::Cue {
            number,
            media_time_ms: self.place.media_time_ms.max(0).unsigned_abs(),
            duration_ms: self.event.duration_ms.unwrap_or(limits::EVENT_EDGE_MS),
            id3: &id3::user_text(DESCRIPTION, &self.value),
        };
        bmff::emsg(&cue)
    }
}

const ID: &str = "1 to 64 letters, digits, - or _";

fn read_id(value: &Value) -> Option<String> {
    let id = value.as_str()?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let fits = (1..=limits::EVENT_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(allowed);
    fits.then(|| id.to_owned())
}

fn milliseconds(value: &Value, max: u32) -> Option<u32> {
    let number = u32::try_from(value.as_u64()?).ok()?;
    (1..=max).contains(&number).then_some(number)
}

/// Reads fields and remembers all that are wrong.
struct Reader {
    fields: Map<String, Value>,
    faults: Vec<Fault>,
}

impl Reader {
    /// The field called `field`; absent and null are one.
    fn read<T>(
        &mut self,
        field: &'static str,
        expected: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.fields.get(field).filter(|value| !value.is_null())?;
        let read = read(value);
        if read.is_none() {
            self.faults.push(Fault { field, expected });
        }
        read
    }

    fn required<T>(
        &mut self,
        field: &'static str,
        expected: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        if self.fields.get(field).is_none_or(Value::is_null) {
            self.faults.push(Fault { field, expected });
            return None;
        }
        self.read(field, expected, read)
    }
}

impl Kind {
    /// Most bytes of an event's JSON text in the stream.
    fn value_bytes_max(&self) -> usize {
        match self.name {
            "chat.batch" => limits::CHAT_BATCH_VALUE_BYTES_MAX,
            _ => limits::EVENT_VALUE_BYTES_MAX,
        }
    }
}
