//! Where events stand, told in batches (`events.placed`; contracts, section 3): at most one a second for a stream, each
//! within what one callback may have.
//!
//! Nothing is lost: what does not fit into a batch is in the next one, what is left at the end of a life is told before
//! the end. Only where more waits than is good for memory, which no stream with the usual allowance can bring about, do
//! batches follow each other at once.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};
use tokio::time::Instant;
use vitrine_core::{engine::cues::Confirmation, limits, media::WallTime};
use vitrine_runtime::deliver::Life;

use super::{Chronicle, Data, PLACED};

/// What waits to be told.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Each with the bytes it takes.
    events: VecDeque<(Value, usize)>,
    bytes: usize,
    /// When the next batch may leave.
    next: Option<Instant>,
}

impl Chronicle {
    /// An event stands in the stream.
    pub(in crate::live) fn placed(&mut self, confirmation: &Confirmation) {
        if !self.herald.wants(PLACED) {
            return;
        }
        let told = described(confirmation);
        let bytes = told.to_string().len() + 1;
        self.waiting.bytes += bytes;
        self.waiting.events.push_back((told, bytes));
    }

    /// When [`Self::tell_placed`] has something to tell.
    pub(in crate::live) fn placed_due(&self) -> Option<Instant> {
        self.waiting.next.filter(|_| self.waiting.bytes > 0)
    }

    /// Tells the next batch if it is time to.
    pub(in crate::live) fn tell_placed(&mut self, now: Instant, wall: WallTime) {
        let rests = self.waiting.next.is_some_and(|next| now < next);
        if self.waiting.bytes == 0 || (rests && !self.waiting.is_full()) {
            return;
        }
        self.waiting.next = Some(now + limits::PLACED_EVERY);
        self.tell_batch(wall);
        while self.waiting.is_full() {
            self.tell_batch(wall);
        }
    }

    /// Tells all that waits.
    pub(in crate::live) fn tell_all_placed(&mut self, wall: WallTime) {
        while self.waiting.bytes > 0 {
            self.tell_batch(wall);
        }
    }

    fn tell_batch(&mut self, wall: WallTime) {
        let mut data = self.data();
        let room = limits::OUTBOX_BODY_BYTES_MAX.saturating_sub(length(&data) + ENVELOPE_BYTES);
        let events = self.waiting.take(room);
        data.insert("events".to_owned(), events.into());
        let stream = self.stream.as_str();
        self.herald.record(stream, PLACED, wall, Life::Goes, data);
    }
}

/// Bytes of a callback around its data: type, timestamp, number, and the name of the list.
const ENVELOPE_BYTES: usize = 256;

impl Waiting {
    fn is_full(&self) -> bool {
        self.bytes > limits::PLACED_WAITING_BYTES_MAX
    }

    /// The oldest that fit into so many bytes; one at least.
    fn take(&mut self, room: usize) -> Vec<Value> {
        let (mut taken, mut total) = (Vec::new(), 0);
        while let Some((_, bytes)) = self.events.front()
            && (taken.is_empty() || total + bytes <= room)
            && let Some((event, bytes)) = self.events.pop_front()
        {
            total += bytes;
            taken.push(event);
        }
        self.bytes -= total;
        taken
    }
}

fn length(data: &Data) -> usize {
    data.iter()
        .map(|(name, value)| name.len() + value.to_string().len() + 4)
        .sum()
}

/// One event, and where each rendition carries it.
fn described(confirmation: &Confirmation) -> Value {
    let (event, place) = (&confirmation.event.event, &confirmation.event.place);
    let copies = confirmation.copies.iter().map(|(rendition, msn, part)| {
        let copy = json!({ "msn": msn, "part": part });
        (rendition.name().to_owned(), copy)
    });
    let mut told = json!({
        "id": event.id,
        "type": event.kind.name,
        "epoch": place.epoch,
        "media_time_ms": place.media_time_ms,
        "program_date_time": place.program_date_time.to_string(),
        "renditions": copies.collect::<Map<_, _>>(),
    });
    if let Some(seq) = event.seq {
        told["seq"] = seq.into();
    }
    if !confirmation.missing.is_empty() {
        let missing = confirmation
            .missing
            .iter()
            .map(|rendition| rendition.name());
        told["missing"] = missing.collect::<Vec<_>>().into();
    }
    told
}
