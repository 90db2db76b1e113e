//! Delivery directives: the `_HLS_*` query parameters of a playlist request (draft-pantos-hls-rfc8216bis, 6.2.5).
//!
//! Total over every string: what is not a directive is ignored, so that no query ever changes an answer it has no
//! business with. Names and values may be percent-encoded; of a directive given twice the first counts. Nothing is
//! allocated. Whether the directive can be honoured is [`crate::engine::gate`]'s to judge.

/// What a request for a media playlist asks of its delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directive {
    /// `_HLS_msn`, with `_HLS_part` inside it, for a part alone is refused.
    pub at_least: Option<(u64, Option<u64>)>,
    /// `_HLS_skip=YES` or `v2`.
    pub skip: bool,
}

/// Why a query is refused with 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `_HLS_part` without `_HLS_msn` (6.2.5.2).
    #[error("_HLS_part needs _HLS_msn beside it")]
    PartWithoutMsn,
    /// Not a decimal integer.
    #[error("{name} must be a decimal integer")]
    NotANumber {
        /// The directive.
        name: &'static str,
    },
}

const MSN: &str = "_HLS_msn";
const PART: &str = "_HLS_part";
const SKIP: &str = "_HLS_skip";

impl Directive {
    /// Reads the raw query of a request (without `?`). Unknown parameters, `_HLS_` ones included, are ignored.
    ///
    /// # Errors
    /// [`Error`], which answers 400.
    pub fn parse(query: &str) -> Result<Self, Error> {
        let (mut msn, mut part, mut skip) = (None, None, None);
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if same(name, MSN) {
                msn = msn.or(Some(value));
            } else if same(name, PART) {
                part = part.or(Some(value));
            } else if same(name, SKIP) {
                skip = skip.or(Some(value));
            }
        }
        let part = part.map(|value| number(PART, value)).transpose()?;
        let msn = msn.map(|value| number(MSN, value)).transpose()?;
        if msn.is_none() && part.is_some() {
            return Err(Error::PartWithoutMsn);
        }
        Ok(Self {
            at_least: msn.map(|msn| (msn, part)),
            skip: skip.is_some_and(|value| same(value, "YES") || same(value, "v2")),
        })
    }
}

/// A decimal-integer (4.2): 1 to 20 digits, at most 2^64 - 1.
fn number(name: &'static str, value: &str) -> Result<u64, Error> {
    let mut number = None;
    for byte in decoded(value) {
        let digit = (byte as char).to_digit(10).map(u64::from);
        number =
            digit.and_then(|digit| number.unwrap_or(0_u64).checked_mul(10)?.checked_add(digit));
        if number.is_none() {
            break;
        }
    }
    number.ok_or(Error::NotANumber { name })
}

fn same(raw: &str, plain: &str) -> bool {
    decoded(raw).eq(plain.bytes())
}

/// The bytes `raw` stands for (RFC 3986, 2.1); a `%` that escapes nothing stands for itself.
fn decoded(raw: &str) -> impl Iterator<Item = u8> {
    let hex = |byte: &u8| (*byte as char).to_digit(16);
    let mut rest = raw.as_bytes();
    std::iter::from_fn(move || {
        let (&first, mut tail) = rest.split_first()?;
        let mut byte = first;
        if let (b'%', [high, low, after @ ..]) = (first, tail)
            && let (Some(high), Some(low)) = (hex(high), hex(low))
        {
            byte = (high * 16 + low) as u8;
            tail = after;
        }
        rest = tail;
        Some(byte)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at_least(msn: u64, part: Option<u64>) -> Result<Directive, Error> {
        Ok(Directive {
            at_least: Some((msn, part)),
            skip: false,
        })
    }

    #[test]
    fn b10_reads_what_the_draft_defines_and_ignores_the_rest() {
        let skip = Ok(Directive {
            at_least: None,
            skip: true,
        });
        let both = Ok(Directive {
            at_least: Some((273, Some(3))),
            skip: true,
        });
        let table = [
            ("", Ok(Directive::default())),
            ("a=b&token=x", Ok(Directive::default())),
            ("_HLS_msn=7", at_least(7, None)),
            ("_HLS_msn=0007", at_least(7, None)),
            ("_HLS_part=0&_HLS_msn=7", at_least(7, Some(0))),
            ("_HLS_msn=273&_HLS_part=3&_HLS_skip=YES", both),
            ("_HLS_msn=18446744073709551615", at_least(u64::MAX, None)),
            ("_HLS_skip=YES", skip.clone()),
            ("x&&_HLS_skip=v2&", skip.clone()),
            ("_HLS_skip=NO", Ok(Directive::default())),
            ("_HLS_skip=yes", Ok(Directive::default())),
            // B10: reserved names of a later draft change nothing.
            ("_HLS_push=1&_HLS_report=x", Ok(Directive::default())),
            ("_hls_msn=x", Ok(Directive::default())),
            // Percent-encoding, whole or in parts; a stray % is itself.
            ("%5FHLS_msn=%31%32", at_least(12, None)),
            ("_HLS%5fskip=%59ES", skip),
            ("a=%&b=%zz&c=%4&_HLS_msn=1", at_least(1, None)),
            // Of two the first counts.
            ("_HLS_msn=1&_HLS_msn=2", at_least(1, None)),
            ("_HLS_msn=1&_HLS_msn=x", at_least(1, None)),
        ];
        for (query, want) in table {
            assert_eq!(Directive::parse(query), want, "{query:?}");
        }
    }

    #[test]
    fn b1_a_part_without_a_segment_is_refused() {
        assert_eq!(Directive::parse("_HLS_part=3"), Err(Error::PartWithoutMsn));
    }

    #[test]
    fn what_is_no_decimal_integer_is_refused_by_name() {
        for value in [
            "",
            "-1",
            "+1",
            " 1",
            "1.0",
            "0x1",
            "1%",
            "18446744073709551616",
            "٣",
        ] {
            for name in [MSN, PART] {
                let query = format!("{name}={value}");
                assert_eq!(
                    Directive::parse(&query),
                    Err(Error::NotANumber { name }),
                    "{query:?}"
                );
            }
        }
        assert_eq!(
            Directive::parse("_HLS_msn"),
            Err(Error::NotANumber { name: MSN })
        );
    }

    proptest! {
        #[test]
        fn is_total(query in "\\PC*|([_%&=A-Za-z0-9]|_HLS_msn=|_HLS_part=|_HLS_skip=){0,40}") {
            let _ = Directive::parse(&query);
        }

        #[test]
        fn every_number_comes_back(msn: u64, part: u64) {
            prop_assert_eq!(
                Directive::parse(&format!("_HLS_msn={msn}&_HLS_part={part}")),
                at_least(msn, Some(part))
            );
        }
    }
}
