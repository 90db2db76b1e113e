//! Events of which only the latest matters: gathered here, told once, never written.
//!
//! Two rooms, both bounded: what is being gathered (all of ten seconds are one summary), and per endpoint what waits for
//! its courier, where a later event takes the place of an earlier one about the same thing.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use serde_json::Value;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use vitrine_core::limits;

use super::{Merge, Volatile, message, meters};

/// What is being gathered.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    rooms: Mutex<HashMap<Key, Gathered>>,
    notify: Notify,
}

/// Type, and what it is about.
type Key = (&'static str, String);

#[derive(Debug)]
struct Gathered {
    latest: Volatile,
    count: u64,
    until: Instant,
}

impl Gathering {
    /// Takes `event` in.
    pub(super) fn tell(&self, event: Volatile) {
        let now = Instant::now();
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let full = rooms.len() >= limits::OUTBOX_VOLATILE_MAX;
        let key = (event.kind, event.about.clone());
        if let Some(gathered) = rooms.get_mut(&key) {
            gathered.count += 1;
            gathered.latest = event;
            return;
        }
        if full {
            return meters::volatile_dropped();
        }
        let until = match event.merge {
            Merge::Latest => now,
            Merge::Count => now + limits::OUTBOX_SUMMARY,
        };
        let gathered = Gathered {
            latest: event,
            count: 1,
            until,
        };
        rooms.insert(key, gathered);
        self.notify.notify_one();
    }

    /// What is ripe, once something is.
    pub(super) async fn ripe(&self) -> Vec<Volatile> {
        loop {
            let (ripe, next) = self.take(Instant::now());
            if !ripe.is_empty() {
                return ripe;
            }
            match next {
                None => self.notify.notified().await,
                Some(next) => tokio::select! {
                    () = self.notify.notified() => {}
                    () = sleep_until(next) => {}
                },
            }
        }
    }

    fn take(&self, now: Instant) -> (Vec<Volatile>, Option<Instant>) {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let (ripe, rest) = mem::take(&mut *rooms)
            .into_iter()
            .partition::<HashMap<_, _>, _>(|(_, gathered)| gathered.until <= now);
        let next = rest.values().map(|gathered| gathered.until).min();
        *rooms = rest;
        let ripe = ripe.into_values().map(|gathered| {
            let mut event = gathered.latest;
            if event.merge == Merge::Count {
                event.data.insert("count".to_owned(), gathered.count.into());
            }
            event
        });
        (ripe.collect(), next)
    }
}

/// What waits for the courier of one endpoint: id and body.
#[derive(Debug, Default)]
pub struct Slots(Mutex<VecDeque<(Key, Message)>>);

/// Id and body.
type Message = (String, Bytes);

impl Slots {
    /// Puts an event in, in the place of an earlier one about the same.
    pub(super) fn put(&self, event: &Volatile, message: Message) {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |(key, _): &&mut (Key, Message)| key.0 == event.kind && key.1 == event.about;
        if let Some((_, earlier)) = slots.iter_mut().find(same) {
            *earlier = message;
        } else if slots.len() < limits::OUTBOX_VOLATILE_MAX {
            slots.push_back(((event.kind, event.about.clone()), message));
        } else {
            meters::volatile_dropped();
        }
    }

    /// The one that has waited longest.
    pub(super) fn take(&self) -> Option<Message> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.pop_front().map(|(_, message)| message)
    }
}

/// Id and body of `event`, as it is posted.
pub(super) fn of(event: &Volatile) -> Message {
    let data = Value::Object(event.data.clone()).to_string();
    let body = message::body(event.kind, event.at, &data);
    (message::new_id(), body.into())
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};
    use tokio::time::{Duration, advance, timeout};
    use vitrine_core::media::WallTime;

    use super::*;

    fn event(kind: &'static str, about: &str, at: i64, merge: Merge) -> Volatile {
        let mut data = Map::new();
        data.insert("n".to_owned(), at.into());
        Volatile {
            kind,
            about: about.to_owned(),
            at: WallTime(at),
            data,
            merge,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_of_ten_seconds_are_one_summary_with_their_count() {
        let gathering = Gathering::default();
        for at in 0..5 {
            gathering.tell(event("publish.rejected", "192.0.2.1 key", at, Merge::Count));
            advance(Duration::from_secs(1)).await;
        }
        gathering.tell(event("publish.rejected", "192.0.2.2 key", 9, Merge::Count));
        let start = Instant::now();
        let ripe = gathering.ripe().await;
        assert!(start.elapsed() >= Duration::from_secs(5));
        assert_eq!(ripe.len(), 1);
        assert_eq!(
            Value::Object(ripe[0].data.clone()),
            json!({"n": 4, "count": 5})
        );
        let ripe = gathering.ripe().await;
        assert_eq!(ripe[0].data["count"], 1);
        assert!(
            timeout(Duration::from_secs(60), gathering.ripe())
                .await
                .is_err()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_thumbnail_is_told_at_once_and_takes_the_place_of_one_that_waits() {
        let (gathering, slots) = (Gathering::default(), Slots::default());
        for at in [1, 2] {
            gathering.tell(event("thumbnail.updated", "shop", at, Merge::Latest));
            for event in gathering.ripe().await {
                slots.put(&event, of(&event));
            }
        }
        let (id, body) = slots.take().expect("one waits");
        assert!(id.starts_with("evt_"));
        let wanted =
            r#"{"type":"thumbnail.updated","timestamp":"1970-01-01T00:00:00.002Z","data":{"n":2}}"#;
        assert_eq!(body, wanted.as_bytes());
        assert_eq!(slots.take(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_from_everywhere_takes_a_bounded_room() {
        let (gathering, slots) = (Gathering::default(), Slots::default());
        for address in 0..limits::OUTBOX_VOLATILE_MAX + 10 {
            gathering.tell(event(
                "publish.rejected",
                &address.to_string(),
                0,
                Merge::Count,
            ));
        }
        let ripe = gathering.ripe().await;
        assert_eq!(ripe.len(), limits::OUTBOX_VOLATILE_MAX);
        for event in &ripe {
            slots.put(event, of(event));
        }
        slots.put(&event("x", "one too many", 0, Merge::Latest), of(&ripe[0]));
        let waiting = std::iter::from_fn(|| slots.take()).count();
        assert_eq!(waiting, limits::OUTBOX_VOLATILE_MAX);
    }
}
