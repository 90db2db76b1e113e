//! Stub.
use crate::media::{Kind, Sample};
use bytes::Bytes;

/// One CMAF chunk: (`styp`) `moof` + `mdat`. `starts_segment` writes the `styp` (segments are the concatenation of their parts).
/// `end` is the decode time at which the next sample is due; sample durations are the differences of decode times.
pub fn fragment(
    _kind: Kind,
    _sequence: u32,
    _starts_segment: bool,
    _samples: &[Sample],
    _end: i64,
) -> Bytes {
    todo!()
}
