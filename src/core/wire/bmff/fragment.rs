//! Fragments: the `CMAF chunk` of ISO/IEC 23000-19, 7.3.2.3, which is what a part is.
//!
//! ```text
//! styp  cmfs; msdh cmfs              first part of a segment only
//! emsg  events placed in it, if any  written by `emsg`
//! moof
//!   mfhd  sequence number
//!   traf
//!     tfhd  default-base-is-moof, and whatever all samples share
//!     tfdt  version 1: decode time of the first sample
//!     trun  version 1: sizes, and whatever samples do not share
//! mdat
//! ```
//!
//! One allocation of the exact size, one copy of the media. `trex` is never relied upon (`cmf2`).

use bytes::{BufMut, Bytes};

use super::{TRACK_ID, write_box, write_full_box};
use crate::media::{Kind, Sample};

// tf_flags and tr_flags (ISO/IEC 14496-12, 8.8.7 and 8.8.8).
const DEFAULT_DURATION: u32 = 0x08;
const DEFAULT_FLAGS: u32 = 0x20;
const DEFAULT_BASE_IS_MOOF: u32 = 0x2_0000;
const DATA_OFFSET: u32 = 0x001;
const SAMPLE_DURATION: u32 = 0x100;
const SAMPLE_SIZE: u32 = 0x200;
const SAMPLE_FLAGS: u32 = 0x400;
const SAMPLE_COMPOSITION_OFFSET: u32 = 0x800;

// Sample flags (8.8.3.1).
const SYNC: u32 = 2 << 24; // depends on no other sample
const NON_SYNC: u32 = 1 << 24 | 1 << 16; // depends on others, sample_is_non_sync_sample

const HEADER_BYTES: usize = 8;
const FULL_HEADER_BYTES: usize = 12;
const STYP_BYTES: usize = HEADER_BYTES + 16;

/// One CMAF chunk: (`styp`) (`emsg`...) `moof` + `mdat`. `starts_segment` writes the `styp` (segments are the concatenation
/// of their parts); `cues` are whole `emsg` boxes, in the order in which players are to see them. `end` is the decode time at which the next sample is due; sample durations are the differences of
/// decode times, so they add up to what the playlist says. Decode times are expected to be 0 or later and to rise; a
/// fall is written as a duration of 0.
pub fn fragment(
    kind: Kind,
    sequence: u32,
    starts_segment: bool,
    cues: &[Bytes],
    samples: &[Sample],
    end: i64,
) -> Bytes {
    let run = Run::new(kind, samples, end);
    let moof_bytes = run.moof_bytes();
    let media_bytes: usize = samples.iter().map(|sample| sample.data.len()).sum();
    let styp_bytes = if starts_segment { STYP_BYTES } else { 0 };
    let cue_bytes: usize = cues.iter().map(Bytes::len).sum();
    let size = styp_bytes + cue_bytes + moof_bytes + HEADER_BYTES + media_bytes;
    let mut out = Vec::with_capacity(size);
    if starts_segment {
        write_box(&mut out, b"styp", |out| {
            out.extend_from_slice(b"cmfs\0\0\0\0msdhcmfs");
        });
    }
    for cue in cues {
        out.extend_from_slice(cue);
    }
    write_box(&mut out, b"moof", |out| {
        write_full_box(out, b"mfhd", 0, 0, |out| out.put_u32(sequence));
        write_box(out, b"traf", |out| {
            run.write_tfhd(out);
            let start = samples.first().map_or(end, |sample| sample.dts);
            write_full_box(out, b"tfdt", 1, 0, |out| {
                out.put_u64(u64::try_from(start).unwrap_or(0));
            });
            run.write_trun(out, moof_bytes + HEADER_BYTES);
        });
    });
    write_box(&mut out, b"mdat", |out| {
        for sample in samples {
            out.extend_from_slice(&sample.data);
        }
    });
    debug_assert_eq!(out.len(), size, "one allocation, of the exact size");
    out.into()
}

/// A run of samples, with what they share.
struct Run<'a> {
    samples: &'a [Sample],
    end: i64,
    /// The duration of all of them; `None` when they differ.
    duration: Option<u32>,
    /// The flags of all of them; `None` when they differ.
    flags: Option<u32>,
    composition_offsets: bool,
}

impl<'a> Run<'a> {
    fn new(kind: Kind, samples: &'a [Sample], end: i64) -> Self {
        let mut run = Self {
            samples,
            end,
            duration: None,
            flags: None,
            composition_offsets: kind == Kind::Video
                && samples.iter().any(|sample| sample.composition_offset != 0),
        };
        run.duration = shared(run.durations());
        run.flags = shared(samples.iter().map(flags));
        run
    }

    fn durations(&self) -> impl Iterator<Item = u32> {
        let ends = self.samples.iter().skip(1).map(|sample| sample.dts);
        self.samples
            .iter()
            .zip(ends.chain([self.end]))
            .map(|(sample, end)| u32::try_from(end.saturating_sub(sample.dts)).unwrap_or(0))
    }

    fn write_tfhd(&self, out: &mut Vec<u8>) {
        let present = flag(self.duration.is_some(), DEFAULT_DURATION)
            | flag(self.flags.is_some(), DEFAULT_FLAGS);
        write_full_box(out, b"tfhd", 0, DEFAULT_BASE_IS_MOOF | present, |out| {
            out.put_u32(TRACK_ID);
            for default in [self.duration, self.flags].into_iter().flatten() {
                out.put_u32(default);
            }
        });
    }

    fn write_trun(&self, out: &mut Vec<u8>, data_offset: usize) {
        let present = flag(self.duration.is_none(), SAMPLE_DURATION)
            | flag(self.flags.is_none(), SAMPLE_FLAGS)
            | flag(self.composition_offsets, SAMPLE_COMPOSITION_OFFSET);
        write_full_box(
            out,
            b"trun",
            1,
            DATA_OFFSET | SAMPLE_SIZE | present,
            |out| {
                out.put_u32(self.samples.len() as u32);
                out.put_u32(data_offset as u32);
                for (sample, duration) in self.samples.iter().zip(self.durations()) {
                    if self.duration.is_none() {
                        out.put_u32(duration);
                    }
                    out.put_u32(sample.data.len() as u32);
                    if self.flags.is_none() {
                        out.put_u32(flags(sample));
                    }
                    if self.composition_offsets {
                        out.put_i32(sample.composition_offset);
                    }
                }
            },
        );
    }

    /// The size of `moof`, known before it is written: `trun` points behind it.
    fn moof_bytes(&self) -> usize {
        let shared = [self.duration.is_some(), self.flags.is_some()];
        let defaults = shared.iter().filter(|shared| **shared).count();
        let fields = 1 + (shared.len() - defaults) + usize::from(self.composition_offsets);
        let mfhd = FULL_HEADER_BYTES + 4;
        let tfhd = FULL_HEADER_BYTES + 4 + 4 * defaults;
        let tfdt = FULL_HEADER_BYTES + 8;
        let trun = FULL_HEADER_BYTES + 8 + 4 * fields * self.samples.len();
        HEADER_BYTES + mfhd + HEADER_BYTES + tfhd + tfdt + trun
    }
}

fn flag(present: bool, flag: u32) -> u32 {
    if present { flag } else { 0 }
}

fn flags(sample: &Sample) -> u32 {
    if sample.sync { SYNC } else { NON_SYNC }
}

/// The value that all have; `None` when they differ or there are none.
fn shared(mut values: impl Iterator<Item = u32>) -> Option<u32> {
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}
