//! AMF0, the notation of RTMP's commands and metadata (Adobe AMF 0 file format, sections 2.2 to 2.18).
//!
//! [`Values`] reads a stranger's bytes value by value; nesting and count are bounded, and every byte string ends in
//! values, then at most one error: what stood before a fault can still be used. [`write()`] is its inverse and writes
//! properties in the order given, so that the same reply is the same bytes.
//!
//! It does not read AMF3: the switch to it (2.17) is refused by name, and no encoder needs it.

#[cfg(test)]
mod tests;

use crate::limits;

/// A value, stripped of distinctions no reader of commands or metadata needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// 2.2.
    Number(f64),
    /// 2.3.
    Boolean(bool),
    /// A string, long string or XML document (2.4, 2.14, 2.17); what is not UTF-8 is replaced.
    String(String),
    /// An object, ECMA array or typed object (2.5, 2.10, 2.18) in the order sent; the class name is dropped.
    Object(Vec<(String, Value)>),
    /// 2.7.
    Null,
    /// 2.8; also an unsupported value (2.15) and a reference (2.9), which would let few bytes stand for many values.
    Undefined,
    /// A strict array, 2.12.
    Array(Vec<Value>),
    /// 2.13: milliseconds since the Unix epoch, UTC; the reserved time zone is dropped.
    Date(f64),
}

/// Why reading stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No value begins with this byte.
    #[error("malformed AMF0: {got:#04x} at byte {at} begins no value")]
    Malformed {
        /// Offset in the bytes given.
        at: usize,
        /// The byte.
        got: u8,
    },
    /// The bytes end inside a value.
    #[error("AMF0 ends inside a value")]
    Truncated,
    /// A value this server does not read.
    #[error("unsupported AMF0 value: {what}")]
    Unsupported {
        /// Which.
        what: &'static str,
    },
    /// More than this server is willing to decode.
    #[error("AMF0 {which} exceeds {max}")]
    Limit {
        /// The limit, in words.
        which: &'static str,
        /// Its value.
        max: usize,
    },
}

impl Value {
    /// The property `name` of an object; the last one wins when repeated, as in ECMAScript.
    pub fn property(&self, name: &str) -> Option<&Value> {
        let Self::Object(properties) = self else {
            return None;
        };
        properties
            .iter()
            .rev()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value)
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is one and finite.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) if number.is_finite() => Some(*number),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

/// The values of one message body, in order; ends after the first error.
#[derive(Debug)]
pub struct Values<'a> {
    bytes: &'a [u8],
    at: usize,
    left: usize,
}

/// Reads the values that `bytes` hold one after another.
pub fn parse(bytes: &[u8]) -> Values<'_> {
    Values {
        bytes,
        at: 0,
        left: limits::AMF0_VALUES_MAX,
    }
}

impl Iterator for Values<'_> {
    type Item = Result<Value, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.bytes.len() {
            return None;
        }
        let value = self.value(0);
        if value.is_err() {
            self.at = self.bytes.len();
        }
        Some(value)
    }
}

impl Values<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, Error> {
        self.left = self.left.checked_sub(1).ok_or(Error::Limit {
            which: "number of values",
            max: limits::AMF0_VALUES_MAX,
        })?;
        if depth > limits::AMF0_DEPTH_MAX {
            return Err(Error::Limit {
                which: "nesting",
                max: limits::AMF0_DEPTH_MAX,
            });
        }
        let at = self.at;
        let [marker] = self.take()?;
        Ok(match marker {
            marker::NUMBER => Value::Number(f64::from_be_bytes(self.take()?)),
            marker::BOOLEAN => Value::Boolean(self.take::<1>()? != [0]),
            marker::STRING => Value::String(self.short_string()?),
            marker::OBJECT => self.object(depth)?,
            marker::NULL => Value::Null,
            marker::UNDEFINED | marker::UNSUPPORTED => Value::Undefined,
            marker::REFERENCE => {
                self.take::<2>()?;
                Value::Undefined
            }
            marker::ECMA_ARRAY => {
                // The count is a hint that encoders get wrong; the end marker decides.
                self.take::<4>()?;
                self.object(depth)?
            }
            marker::STRICT_ARRAY => {
                let count = u32::from_be_bytes(self.take()?);
                let values = (0..count).map(|_| self.value(depth + 1));
                Value::Array(values.collect::<Result<_, _>>()?)
            }
            marker::DATE => {
                let date = f64::from_be_bytes(self.take()?);
                self.take::<2>()?;
                Value::Date(date)
            }
            marker::LONG_STRING | marker::XML => {
                let length = u32::from_be_bytes(self.take()?);
                Value::String(self.text(length as usize)?)
            }
            marker::TYPED_OBJECT => {
                self.short_string()?;
                self.object(depth)?
            }
            marker::AVMPLUS => return Err(Error::Unsupported { what: "AMF3" }),
            got => return Err(Error::Malformed { at, got }),
        })
    }

    fn object(&mut self, depth: usize) -> Result<Value, Error> {
        let mut properties = Vec::new();
        loop {
            let name = self.short_string()?;
            if name.is_empty() && self.bytes.get(self.at) == Some(&marker::OBJECT_END) {
                self.at += 1;
                return Ok(Value::Object(properties));
            }
            properties.push((name, self.value(depth + 1)?));
        }
    }

    fn short_string(&mut self) -> Result<String, Error> {
        let length = u16::from_be_bytes(self.take()?);
        self.text(usize::from(length))
    }

    fn text(&mut self, length: usize) -> Result<String, Error> {
        let bytes = self.bytes[self.at..]
            .get(..length)
            .ok_or(Error::Truncated)?;
        self.at += length;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let bytes = self.bytes[self.at..]
            .first_chunk()
            .ok_or(Error::Truncated)?;
        self.at += N;
        Ok(*bytes)
    }
}

/// Appends `value` to `out`. A property whose name exceeds 65,535 bytes, which the notation cannot express, is left out.
pub fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Number(number) => {
            out.push(marker::NUMBER);
            out.extend(number.to_be_bytes());
        }
        Value::Boolean(boolean) => out.extend([marker::BOOLEAN, u8::from(*boolean)]),
        Value::String(text) => {
            match u16::try_from(text.len()) {
                Ok(length) => {
                    out.push(marker::STRING);
                    out.extend(length.to_be_bytes());
                }
                Err(_) => {
                    out.push(marker::LONG_STRING);
                    out.extend((text.len() as u32).to_be_bytes());
                }
            }
            out.extend(text.as_bytes());
        }
        Value::Object(properties) => {
            out.push(marker::OBJECT);
            for (name, value) in properties {
                let Ok(length) = u16::try_from(name.len()) else {
                    continue;
                };
                out.extend(length.to_be_bytes());
                out.extend(name.as_bytes());
                write(value, out);
            }
            out.extend([0, 0, marker::OBJECT_END]);
        }
        Value::Null => out.push(marker::NULL),
        Value::Undefined => out.push(marker::UNDEFINED),
        Value::Array(values) => {
            out.push(marker::STRICT_ARRAY);
            out.extend((values.len() as u32).to_be_bytes());
            for value in values {
                write(value, out);
            }
        }
        Value::Date(date) => {
            out.push(marker::DATE);
            out.extend(date.to_be_bytes());
            out.extend([0, 0]);
        }
    }
}

/// Type markers (2.1).
mod marker {
    pub(super) const NUMBER: u8 = 0x00;
    pub(super) const BOOLEAN: u8 = 0x01;
    pub(super) const STRING: u8 = 0x02;
    pub(super) const OBJECT: u8 = 0x03;
    pub(super) const NULL: u8 = 0x05;
    pub(super) const UNDEFINED: u8 = 0x06;
    pub(super) const REFERENCE: u8 = 0x07;
    pub(super) const ECMA_ARRAY: u8 = 0x08;
    pub(super) const OBJECT_END: u8 = 0x09;
    pub(super) const STRICT_ARRAY: u8 = 0x0A;
    pub(super) const DATE: u8 = 0x0B;
    pub(super) const LONG_STRING: u8 = 0x0C;
    pub(super) const UNSUPPORTED: u8 = 0x0D;
    pub(super) const XML: u8 = 0x0F;
    pub(super) const TYPED_OBJECT: u8 = 0x10;
    pub(super) const AVMPLUS: u8 = 0x11;
}
