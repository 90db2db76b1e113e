//! The events of one epoch, for `timeline.json` (contracts, section 2): what was placed, as players get it, in the order
//! of media time.
//!
//! Bounded in bytes: when it is full the oldest make way, chat and counters before what a shop's state is made of, and the
//! page says how many did. The page is written at most once in a while, however often it is asked for and events come, so
//! that it costs no stream its processor. It outlives the epoch as playlists do, and a restart as the epoch does.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwapOption;
use serde_json::Value;
use tokio::time::Instant;
use vitrine_core::{
    limits,
    media::WallTime,
    wire::event::{Class, Kind, Placed},
};

use super::{StreamId, text::Text};

/// The timeline of one epoch.
#[derive(Debug)]
pub struct Timeline {
    stream: StreamId,
    epoch: u64,
    log: Mutex<Log>,
    page: ArcSwapOption<Page>,
    /// Held by who writes the page.
    writing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Log {
    entries: VecDeque<Entry>,
    /// Of their texts.
    bytes: usize,
    /// How many made way.
    dropped: u64,
    /// Every playlist of the epoch has its end.
    ended: bool,
    /// Counts changes.
    version: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    id: String,
    media_time_ms: i64,
    class: Class,
    /// Whether it is a range that nothing has ended.
    open: bool,
    /// The JSON text that players got, and the end of an open range once it is known.
    text: Arc<str>,
}

/// One writing of a timeline.
#[derive(Debug)]
pub struct Page {
    /// The JSON text.
    pub text: Text,
    /// Whether nothing will be added any more.
    pub ended: bool,
    version: u64,
    written: Instant,
}

impl Timeline {
    /// Without events.
    pub(super) fn new(stream: StreamId, epoch: u64) -> Self {
        Self {
            stream,
            epoch,
            log: Mutex::default(),
            page: ArcSwapOption::empty(),
            writing: Mutex::default(),
        }
    }

    /// Takes an event that stands in the stream.
    pub(super) fn add(&self, placed: &Placed) {
        let event = &placed.event;
        let mut log = self.log();
        if let Some(close) = &event.close {
            log.close(close, placed.place.program_date_time);
        }
        log.push(Entry {
            id: event.id.clone(),
            media_time_ms: placed.place.media_time_ms,
            class: event.kind.class,
            open: event.is_range() && event.duration_ms.is_none(),
            text: placed.value().into(),
        });
    }

    /// Nothing will be added any more.
    pub(super) fn end(&self) {
        let mut log = self.log();
        log.ended = true;
        log.version += 1;
    }

    /// The page as it is, if it need not be written anew.
    pub fn page(&self) -> Option<Arc<Page>> {
        let page = self.page.load_full()?;
        let log = self.log();
        let rests = page.written.elapsed() < limits::TIMELINE_REST && page.ended == log.ended;
        (rests || page.version == log.version).then_some(page)
    }

    /// The page, written where it has to be: packed as well, which may take a tenth of a second. Blocks.
    pub fn write(&self) -> Arc<Page> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // Others may have written it meanwhile.
        if let Some(page) = self.page() {
            return page;
        }
        let (entries, dropped, ended, version) = {
            let log = self.log();
            let entries: Vec<_> = log.entries.iter().map(|it| it.text.clone()).collect();
            (entries, log.dropped, log.ended, log.version)
        };
        let page = Arc::new(Page {
            text: Text::new(self.json(&entries, dropped, ended)),
            ended,
            version,
            written: Instant::now(),
        });
        page.text.gzip();
        self.page.store(Some(page.clone()));
        page
    }

    fn json(&self, events: &[Arc<str>], dropped: u64, ended: bool) -> String {
        let (stream, epoch) = (&self.stream, self.epoch);
        let dropped = match dropped {
            0 => String::new(),
            dropped => format!(r#""dropped":{dropped},"#),
        };
        let events = events.join(",\n");
        format!(
            "{{\"stream\":\"{stream}\",\"epoch\":{epoch},\"ended\":{ended},{dropped}\"events\":[\n{events}\n]}}\n"
        )
    }

    /// What another process needs to go on; `None` of a timeline without events.
    pub(super) fn leave(&self) -> Option<String> {
        let log = self.log();
        let events: Vec<_> = log.entries.iter().map(|it| it.text.clone()).collect();
        let any = !events.is_empty() || log.dropped > 0;
        any.then(|| self.json(&events, log.dropped, false))
    }

    /// Goes on with what another process left of this epoch; what is none of it is passed over.
    pub(super) fn resume(&self, left: &str) {
        let Ok(Value::Object(left)) = serde_json::from_str(left) else {
            return;
        };
        if left.get("epoch").and_then(Value::as_u64) != Some(self.epoch) {
            return;
        }
        let mut log = self.log();
        log.dropped = left.get("dropped").and_then(Value::as_u64).unwrap_or(0);
        let events = left.get("events").and_then(Value::as_array);
        let entries = events.into_iter().flatten().filter_map(Entry::read);
        entries.for_each(|entry| log.push(entry));
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn read(event: &Value) -> Option<Self> {
        let kind = Kind::parse(event.get("type")?.as_str()?)?;
        let has = |name| event.get(name).is_some();
        Some(Self {
            id: event.get("id")?.as_str()?.to_owned(),
            media_time_ms: event.get("t")?.as_i64()?,
            class: kind.class,
            open: kind.lasts && !has("duration_ms") && !has("end"),
            text: event.to_string().into(),
        })
    }
}

impl Log {
    fn push(&mut self, entry: Entry) {
        self.version += 1;
        self.bytes += entry.text.len();
        let after = |it: &Entry| it.media_time_ms <= entry.media_time_ms;
        let at = self.entries.partition_point(after);
        self.entries.insert(at, entry);
        while self.bytes > limits::TIMELINE_BYTES_MAX {
            let lesser = (self.entries.iter()).position(|it| it.class != Class::State);
            let Some(gone) = self.entries.remove(lesser.unwrap_or(0)) else {
                break;
            };
            self.bytes -= gone.text.len();
            self.dropped += 1;
        }
    }

    /// The open range of that id ends.
    fn close(&mut self, id: &str, end: WallTime) {
        let open = |entry: &&mut Entry| entry.open && entry.id == id;
        if let Some(entry) = self.entries.iter_mut().rev().find(open) {
            let rest = entry.text.strip_suffix('}').unwrap_or(&entry.text);
            let text = format!("{rest},\"end\":\"{end}\"}}");
            self.bytes += text.len() - entry.text.len();
            (entry.text, entry.open) = (text.into(), false);
        }
    }
}

#[cfg(test)]
mod tests;
