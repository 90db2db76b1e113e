//! What lasts in the shop, as every playlist of the stream lists it.
//!
//! A range is listed from when it is placed until its end is older than every list. Nothing of it ever changes but that an
//! open one gets its end. The bound is on what is listed, so a shop that closes nothing is told, not its viewers.

use std::sync::Arc;

use super::Refusal;
use crate::{limits, media::WallTime, wire::m3u8::range::Range};

/// The ranges of a stream, in the order in which they begin.
#[derive(Debug, Default)]
pub(in crate::engine) struct Ranges {
    listed: Arc<[Range]>,
}

impl Ranges {
    /// What playlists list.
    pub(in crate::engine) fn listed(&self) -> &Arc<[Range]> {
        &self.listed
    }

    /// Whether the range `id` is listed: it must not be placed again.
    pub(in crate::engine) fn has(&self, id: &str) -> bool {
        self.listed.iter().any(|range| range.id == id)
    }

    /// Whether `range` can be listed beside the others.
    ///
    /// # Errors
    /// [`Refusal::RangesFull`], [`Refusal::RangesTooLarge`].
    pub(in crate::engine) fn check(&self, range: &Range) -> Result<(), Refusal> {
        let (open, max) = (self.listed.len(), limits::RANGES_MAX);
        if open >= max {
            return Err(Refusal::RangesFull { open, max });
        }
        let others: usize = self.listed.iter().map(Range::line_bytes_max).sum();
        let (bytes, max) = (others + range.line_bytes_max(), limits::RANGES_BYTES_MAX);
        match bytes <= max {
            true => Ok(()),
            false => Err(Refusal::RangesTooLarge { bytes, max }),
        }
    }

    /// Lists `range`, after those that began no later.
    pub(in crate::engine) fn add(&mut self, range: Range) {
        let mut listed = self.listed.to_vec();
        let at = listed.partition_point(|known| known.start <= range.start);
        listed.insert(at, range);
        self.listed = listed.into();
    }

    /// Ends the open range `id` at `end`, or where it begins if that is later. Whether there was one.
    pub(in crate::engine) fn close(&mut self, id: &str, end: WallTime) -> bool {
        let is_open = |range: &Range| range.id == id && range.ends().is_none();
        let Some(at) = self.listed.iter().position(is_open) else {
            return false;
        };
        let mut listed = self.listed.to_vec();
        listed[at].end = Some(end.max(listed[at].start));
        self.listed = listed.into();
        true
    }

    /// Lists begin at `oldest`: what ended before is listed no more.
    pub(in crate::engine) fn forget(&mut self, oldest: WallTime) {
        let over = |range: &Range| range.ends().is_some_and(|end| end < oldest);
        if self.listed.iter().any(over) {
            self.listed = { self.listed.iter() }
                .filter(|range| !over(range))
                .cloned()
                .collect();
        }
    }
}
