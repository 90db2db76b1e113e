//! Byte ranges of a GET (RFC 9110, section 14): one range; several at once are answered with the whole, which a server
//! may always do.

use std::ops::Range;

/// What becomes of a `Range` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranged {
    /// Answer as if it were not there: absent, not understood, or several ranges.
    Whole,
    /// 206 with these bytes.
    Part(Range<u64>),
    /// 416.
    Unsatisfiable,
}

/// Reads the value of `Range` for a resource of `size` bytes.
pub fn parse(value: &str, size: u64) -> Ranged {
    let Some((unit, spec)) = value.split_once('=') else {
        return Ranged::Whole;
    };
    let Some((first, last)) = spec.trim().split_once('-') else {
        return Ranged::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Ranged::Whole;
    }
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..size.min(last.saturating_add(1)),
        (Some(first), None) if last.is_empty() => first..size,
        (None, Some(suffix)) if first.is_empty() => size.saturating_sub(suffix)..size,
        _ => return Ranged::Whole,
    };
    if range.is_empty() {
        Ranged::Unsatisfiable
    } else {
        Ranged::Part(range)
    }
}

/// A number of digits alone; one too long to be held is beyond the end of everything.
fn number(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_honoured_and_everything_strange_is_the_whole() {
        use Ranged::{Part, Unsatisfiable, Whole};
        for (value, want) in [
            ("bytes=0-0", Part(0..1)),
            ("bytes=2-5", Part(2..6)),
            ("bytes=2-", Part(2..10)),
            ("Bytes = 2-99", Part(2..10)),
            ("bytes=-3", Part(7..10)),
            ("bytes=-99", Part(0..10)),
            ("bytes=0-99999999999999999999999", Part(0..10)),
            ("bytes=10-", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=5-2", Whole),
            ("bytes=-", Whole),
            ("bytes=0-1,3-4", Whole),
            ("bytes=+1-2", Whole),
            ("items=0-1", Whole),
            ("", Whole),
        ] {
            assert_eq!(parse(value, 10), want, "{value}");
        }
        assert_eq!(parse("bytes=0-", 0), Unsatisfiable);
    }
}
