//! The types a setting can have: how each is read from TOML, shown as TOML, and described to who wrote it wrong.
//!
//! Lengths of time and sizes carry their unit, so that no number in a file can be taken for another; bitrates are
//! written as encoders take them.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::network::Networks;

/// A type that settings can have.
pub trait Value: Sized {
    /// The right form; completes "expected ...".
    const EXPECTED: &'static str;
    /// Whether it must never be shown, neither in a report nor in an error.
    const SECRET: bool = false;

    /// Reads it; `None` when the form is wrong.
    fn from_toml(value: &toml::Value) -> Option<Self>;

    /// Shows it as TOML would write it.
    fn show(&self) -> String;
}

/// A number of bytes, or of bits per second: `"64KiB"`, `"2500k"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

impl Value for Size {
    const EXPECTED: &'static str =
        r#"a size with its unit (k, M, G; KiB, MiB, GiB), such as "64KiB" or "2500k""#;

    fn from_toml(value: &toml::Value) -> Option<Self> {
        parse_quantity(value.as_str()?, &SIZES).map(Self)
    }

    fn show(&self) -> String {
        show_quantity(self.0, &SIZES)
    }
}

/// A number of bits per second: `"2500k"`, `"2.5M"`, 2500000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bitrate(pub u32);

impl Value for Bitrate {
    const EXPECTED: &'static str = r#"bits per second, such as "2500k", "2.5M" or 2500000"#;

    fn from_toml(value: &toml::Value) -> Option<Self> {
        let bits = match value {
            toml::Value::Integer(bits) => u32::try_from(*bits).ok(),
            toml::Value::String(text) => parse_bitrate(text),
            _ => None,
        };
        bits.map(Self)
    }

    fn show(&self) -> String {
        show_quantity(self.0.into(), &BITRATES)
    }
}

impl Value for Duration {
    const EXPECTED: &'static str = r#"a duration with its unit (ms, s, m, h), such as "200ms""#;

    fn from_toml(value: &toml::Value) -> Option<Self> {
        parse_quantity(value.as_str()?, &MILLISECONDS).map(Self::from_millis)
    }

    fn show(&self) -> String {
        show_quantity(
            u64::try_from(self.as_millis()).unwrap_or(u64::MAX),
            &MILLISECONDS,
        )
    }
}

impl Value for bool {
    const EXPECTED: &'static str = "true or false";

    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_bool()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for u32 {
    const EXPECTED: &'static str = "a whole number from 0 to 4294967295";

    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_integer()?.try_into().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    const EXPECTED: &'static str = "a text";

    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }

    fn show(&self) -> String {
        quoted(self)
    }
}

impl Value for PathBuf {
    const EXPECTED: &'static str = "a path";

    fn from_toml(value: &toml::Value) -> Option<Self> {
        value
            .as_str()
            .filter(|path| !path.is_empty())
            .map(Self::from)
    }

    fn show(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

impl Value for SocketAddr {
    const EXPECTED: &'static str =
        r#"an IP address and a port, such as "0.0.0.0:1935" or "[::]:1935""#;

    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Value for Networks {
    const EXPECTED: &'static str =
        r#"a list of IP addresses and networks, such as ["192.0.2.1", "10.0.0.0/8"]"#;

    fn from_toml(value: &toml::Value) -> Option<Self> {
        let networks = value.as_array()?.iter();
        networks.map(|it| it.as_str()?.parse().ok()).collect()
    }

    fn show(&self) -> String {
        let networks: Vec<_> = self.iter().map(|it| quoted(&it.to_string())).collect();
        format!("[{}]", networks.join(", "))
    }
}

impl<T: Value> Value for Vec<T> {
    const EXPECTED: &'static str = "a list";
    const SECRET: bool = T::SECRET;

    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_array()?.iter().map(T::from_toml).collect()
    }

    fn show(&self) -> String {
        let items: Vec<_> = self.iter().map(T::show).collect();
        format!("[{}]", items.join(", "))
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

type Unit = (&'static str, u64);

fn parse_quantity(text: &str, units: &[Unit]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// As [`parse_quantity`], with decimals: `2.5M`. They must come to whole bits.
fn parse_bitrate(text: &str) -> Option<u32> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let (_, factor) = BITRATES.iter().find(|(name, _)| *name == unit)?;
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
    let number = |digits: &str| {
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<u64>().ok())?
    };
    let share = 10_u64.checked_pow(u32::try_from(decimals.len()).ok()?)?;
    let part = number(decimals)?.checked_mul(*factor)?;
    let bits = number(whole)?
        .checked_mul(*factor)?
        .checked_add(part / share)?;
    let bits = part.is_multiple_of(share).then_some(bits)?;
    u32::try_from(bits).ok()
}

/// In the largest unit that leaves no remainder.
fn show_quantity(amount: u64, units: &[Unit]) -> String {
    let whole =
        |(_, factor): &&Unit| amount.is_multiple_of(*factor) && (amount > 0 || *factor == 1);
    let unit = units.iter().filter(whole).max_by_key(|(_, factor)| *factor);
    let (name, factor) = unit.copied().unwrap_or(("", 1));
    quoted(&format!("{}{name}", amount / factor))
}

const MILLISECONDS: [Unit; 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

const SIZES: [Unit; 7] = [
    ("", 1),
    ("k", 1000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

const BITRATES: [Unit; 3] = [("", 1), ("k", 1000), ("M", 1_000_000)];
