//! NAL units as H.264 and H.265 share them: length prefixes of 1, 2 and 4 bytes (ISO/IEC 14496-15, 4.3.3), Annex B
//! start codes, emulation prevention (ITU-T H.264, 7.4.1), and sets of parameter sets.
//!
//! [`split`] finds the units of an access unit, [`join`] writes those to keep with 4-byte lengths, as a slice of the
//! input where that is possible. What a unit means is the codec's business, not known here.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::Error;
use crate::limits;

const WHAT: &str = "access unit";

/// Length prefixes in everything we write. Also the only size that needs no rewriting.
pub(super) const LENGTH_BYTES: usize = 4;

/// The units of an access unit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// Where each unit lies in the bytes, in order; none is empty.
    pub(super) units: Vec<Range<usize>>,
    /// Whether each unit stands behind a length of [`LENGTH_BYTES`].
    pub(super) fit: bool,
}

/// Finds the units of `data`, whose lengths take `length_bytes` (1, 2 or 4).
///
/// Annex B start codes in their place are understood too: encoders mix the two up (and `00 00 00 01` is a length as
/// well as a start code, so what holds as lengths to the last byte is read as lengths).
///
/// # Errors
/// [`Error::Malformed`] when lengths contradict the bytes, or for more than [`limits::MAX_UNITS_PER_SAMPLE`].
pub(super) fn split(data: &[u8], length_bytes: usize) -> Result<Split, Error> {
    match split_lengths(data, length_bytes) {
        Err(_) if data.starts_with(&[0, 0, 1]) || data.starts_with(&[0, 0, 0, 1]) => Ok(Split {
            units: split_start_codes(data)?,
            fit: false,
        }),
        units => Ok(Split {
            units: units?,
            fit: length_bytes == LENGTH_BYTES,
        }),
    }
}

fn split_lengths(data: &[u8], length_bytes: usize) -> Result<Vec<Range<usize>>, Error> {
    let mut units = Vec::new();
    let mut at = 0;
    while at < data.len() {
        let start = at + length_bytes;
        let prefix = data.get(at..start).ok_or(Error::Truncated { what: WHAT })?;
        let length = prefix
            .iter()
            .fold(0usize, |length, byte| length << 8 | usize::from(*byte));
        at = start + length;
        if at > data.len() {
            return Err(Error::Malformed {
                what: WHAT,
                want: "a NAL unit length within the message",
                got: length as u64,
            });
        }
        push(&mut units, start..at)?;
    }
    Ok(units)
}

fn split_start_codes(data: &[u8]) -> Result<Vec<Range<usize>>, Error> {
    let mut units = Vec::new();
    let mut start = None;
    let mut at = 0;
    while let Some(code) = data.get(at..at + 3) {
        if code == [0, 0, 1] {
            if let Some(start) = start {
                push(&mut units, trimmed(data, start, at))?;
            }
            at += 3;
            start = Some(at);
        } else {
            // A start code ends in 1, so a byte above it rules out the three places that would cover it.
            at += if code[2] > 1 { 3 } else { 1 };
        }
    }
    if let Some(start) = start {
        push(&mut units, trimmed(data, start, data.len()))?;
    }
    Ok(units)
}

/// Without the zero bytes that belong to the following start code: a NAL unit never ends in one (H.264, 7.4.1).
fn trimmed(data: &[u8], start: usize, end: usize) -> Range<usize> {
    let zeros = data[start..end]
        .iter()
        .rev()
        .take_while(|byte| **byte == 0)
        .count();
    start..end - zeros
}

fn push(units: &mut Vec<Range<usize>>, unit: Range<usize>) -> Result<(), Error> {
    if units.len() == limits::MAX_UNITS_PER_SAMPLE {
        return Err(Error::Malformed {
            what: WHAT,
            want: "at most 1024 NAL units",
            got: units.len() as u64 + 1,
        });
    }
    if !unit.is_empty() {
        units.push(unit);
    }
    Ok(())
}

/// The units at `kept` of `data`, each behind its length. A slice of `data` when `fit` and they lie side by side.
pub(super) fn join(data: &Bytes, kept: &[Range<usize>], fit: bool) -> Bytes {
    let (Some(first), Some(last)) = (kept.first(), kept.last()) else {
        return Bytes::new();
    };
    let side_by_side = |pair: &[Range<usize>]| pair[0].end + LENGTH_BYTES == pair[1].start;
    if fit && kept.windows(2).all(side_by_side) {
        return data.slice(first.start - LENGTH_BYTES..last.end);
    }
    let size = kept.iter().map(|unit| LENGTH_BYTES + unit.len()).sum();
    let mut joined = BytesMut::with_capacity(size);
    for unit in kept {
        joined.put_u32(u32::try_from(unit.len()).expect("a slice of one message"));
        joined.extend_from_slice(&data[unit.clone()]);
    }
    joined.freeze()
}

/// `unit` without its emulation prevention bytes: what its syntax is read from.
pub(super) fn rbsp(unit: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(unit.len());
    let mut zeros = 0;
    for &byte in unit {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        clean.push(byte);
    }
    clean
}

/// A parameter set with the id that later units name it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ParameterSet {
    pub(super) id: u32,
    pub(super) unit: Bytes,
}

/// `new` and then those of `old` that no set of `new` replaces by its id, so that the set in force stands first. Within
/// `new`, a later set of the same id wins.
pub(super) fn merge(new: &[ParameterSet], old: &[ParameterSet]) -> Vec<ParameterSet> {
    let replaced =
        |set: &ParameterSet, by: &[ParameterSet]| by.iter().any(|other| other.id == set.id);
    let newest = (1..)
        .zip(new)
        .filter(|(after, set)| !replaced(set, &new[*after..]))
        .map(|(_, set)| set);
    let kept = old.iter().filter(|set| !replaced(set, new));
    newest.chain(kept).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s17_lengths_of_one_two_and_four_bytes_split() {
        let cases: [(&[u8], usize); 3] = [
            (&[2, 0x41, 1, 1, 0x06], 1),
            (&[0, 2, 0x41, 1, 0, 1, 0x06], 2),
            (&[0, 0, 0, 2, 0x41, 1, 0, 0, 0, 1, 0x06], 4),
        ];
        for (bytes, length_bytes) in cases {
            let data = Bytes::from_static(bytes);
            let split = split(&data, length_bytes).expect("well-formed");
            let joined = join(&data, &split.units, split.fit);
            assert_eq!(joined[..], *cases[2].0, "length of {length_bytes}");
            // Only what was written fit is passed on without a copy.
            assert_eq!(joined.as_ptr() == data.as_ptr(), length_bytes == 4);
        }
    }

    #[test]
    fn s18_annex_b_becomes_lengths() {
        let cases: [&[u8]; 4] = [
            &[0, 0, 0, 1, 0x41, 1, 0, 0, 1, 0x06],
            &[0, 0, 1, 0x41, 1, 0, 0, 0, 1, 0x06],
            &[0, 0, 1, 0x41, 1, 0, 0, 0, 0, 1, 0x06, 0, 0],
            &[0, 0, 1, 0x41, 1, 0, 0, 1, 0, 0, 1, 0x06],
        ];
        for bytes in cases {
            let data = Bytes::from_static(bytes);
            let split = split(&data, 4).expect("start codes");
            let joined = join(&data, &split.units, split.fit);
            assert_eq!(
                joined[..],
                [0, 0, 0, 2, 0x41, 1, 0, 0, 0, 1, 0x06],
                "{bytes:x?}"
            );
        }
    }

    #[test]
    fn kept_neighbours_are_a_slice_and_kept_strangers_a_copy() {
        let data = Bytes::from_static(&[0, 0, 0, 1, 9, 0, 0, 0, 1, 6, 0, 0, 0, 1, 5]);
        let units = split(&data, 4).expect("well-formed").units;
        assert_eq!(join(&data, &units[1..], true), data.slice(5..));
        let ends = [units[0].clone(), units[2].clone()];
        assert_eq!(join(&data, &ends, true)[..], [0, 0, 0, 1, 9, 0, 0, 0, 1, 5]);
        assert!(join(&data, &[], true).is_empty());
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for bytes in [&[0, 0, 0, 9, 0x41][..], &[0, 0, 0], &[0xff; 12]] {
            assert!(split(bytes, 4).is_err(), "{bytes:x?}");
        }
        let many = [0, 0, 0, 1, 0x41].repeat(limits::MAX_UNITS_PER_SAMPLE + 1);
        assert!(matches!(
            split(&many, 4),
            Err(Error::Malformed { got: 1025, .. })
        ));
    }

    #[test]
    fn emulation_prevention_is_removed_once_per_pair_of_zeros() {
        assert_eq!(rbsp(&[0, 0, 3, 1, 0, 0, 3, 3]), [0, 0, 1, 0, 0, 3]);
        assert_eq!(rbsp(&[0, 3, 0, 0, 0, 3]), [0, 3, 0, 0, 0]);
    }

    #[test]
    fn merged_sets_put_the_newest_first_and_keep_the_rest() {
        let set = |id, byte| ParameterSet {
            id,
            unit: Bytes::copy_from_slice(&[byte]),
        };
        let merged = merge(&[set(1, 10), set(1, 11)], &[set(0, 20), set(1, 21)]);
        assert_eq!(merged, [set(1, 11), set(0, 20)]);
    }
}
