//! Events of which only the latest matters: told once, never written.
//!
//! Two rooms, both bounded: what is counted is gathered for ten seconds and told as one summary; per endpoint there waits
//! for its courier what a later event about the same thing takes the place of. What is counted comes from strangers: it has
//! a small room of its own in both, and goes after everything else.

use std::{
    collections::{HashMap, VecDeque},
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

/// What is being counted.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    room: Mutex<Room>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Room {
    gathered: HashMap<Key, Gathered>,
    /// When each is ripe; all take as long, so the oldest is the first.
    order: VecDeque<(Instant, Key)>,
}

/// Type, and what it is about.
type Key = (&'static str, String);

#[derive(Debug)]
struct Gathered {
    latest: Volatile,
    count: u64,
}

impl Gathering {
    /// Takes `event` in, to be counted.
    pub(super) fn tell(&self, event: Volatile) {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (event.kind, event.about.clone());
        if let Some(gathered) = room.gathered.get_mut(&key) {
            gathered.count += 1;
            gathered.latest = event;
            return;
        }
        if room.gathered.len() >= limits::OUTBOX_SUMMARIES_MAX {
            return meters::volatile_dropped();
        }
        let ripe = Instant::now() + limits::OUTBOX_SUMMARY;
        room.order.push_back((ripe, key.clone()));
        let (latest, count) = (event, 1);
        room.gathered.insert(key, Gathered { latest, count });
        if room.order.len() == 1 {
            self.notify.notify_one();
        }
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
                Some(next) => sleep_until(next).await,
            }
        }
    }

    fn take(&self, now: Instant) -> (Vec<Volatile>, Option<Instant>) {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let Room { gathered, order } = &mut *room;
        let mut ripe = Vec::new();
        while order.front().is_some_and(|(ripe, _)| *ripe <= now)
            && let Some((_, key)) = order.pop_front()
        {
            ripe.extend(gathered.remove(&key).map(|gathered| {
                let mut event = gathered.latest;
                event.data.insert("count".to_owned(), gathered.count.into());
                event
            }));
        }
        (ripe, order.front().map(|(ripe, _)| *ripe))
    }
}

/// What waits for the courier of one endpoint.
#[derive(Debug, Default)]
pub struct Slots(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    latest: Queue,
    counted: Queue,
}

/// Things in the order in which they were first told, each with its latest message.
#[derive(Debug, Default)]
struct Queue {
    messages: HashMap<Key, Message>,
    order: VecDeque<Key>,
}

/// Id and body.
type Message = (String, Bytes);

impl Slots {
    /// Puts an event in, in the place of an earlier one about the same.
    pub(super) fn put(&self, event: &Volatile, message: Message) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (queue, most) = match event.merge {
            Merge::Latest => (&mut waiting.latest, limits::OUTBOX_LATEST_MAX),
            Merge::Count => (&mut waiting.counted, limits::OUTBOX_SUMMARIES_MAX),
        };
        let key = (event.kind, event.about.clone());
        if let Some(earlier) = queue.messages.get_mut(&key) {
            *earlier = message;
        } else if queue.order.len() < most {
            queue.order.push_back(key.clone());
            queue.messages.insert(key, message);
        } else {
            meters::volatile_dropped();
        }
    }

    /// The one that has waited longest; those that are counted after all others.
    pub(super) fn take(&self) -> Option<Message> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = waiting.latest.pop();
        latest.or_else(|| waiting.counted.pop())
    }
}

impl Queue {
    fn pop(&mut self) -> Option<Message> {
        let key = self.order.pop_front()?;
        self.messages.remove(&key)
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

    #[test]
    fn a_thumbnail_takes_the_place_of_one_that_waits() {
        let slots = Slots::default();
        for at in [1, 2] {
            let event = event("thumbnail.updated", "shop", at, Merge::Latest);
            slots.put(&event, of(&event));
        }
        let (id, body) = slots.take().expect("one waits");
        assert!(id.starts_with("evt_"));
        let wanted =
            r#"{"type":"thumbnail.updated","timestamp":"1970-01-01T00:00:00.002Z","data":{"n":2}}"#;
        assert_eq!(body, wanted.as_bytes());
        assert_eq!(slots.take(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_from_everywhere_takes_a_small_room_and_keeps_no_thumbnail_from_being_told() {
        let (gathering, slots) = (Gathering::default(), Slots::default());
        for address in 0..limits::OUTBOX_LATEST_MAX {
            let address = address.to_string();
            gathering.tell(event("publish.rejected", &address, 0, Merge::Count));
        }
        let ripe = gathering.ripe().await;
        assert_eq!(ripe.len(), limits::OUTBOX_SUMMARIES_MAX);
        for event in &ripe {
            slots.put(event, of(event));
        }
        let one_too_many = event("publish.rejected", "another", 0, Merge::Count);
        slots.put(&one_too_many, of(&one_too_many));
        for stream in 0..=limits::OUTBOX_LATEST_MAX {
            let stream = stream.to_string();
            let event = event("thumbnail.updated", &stream, 0, Merge::Latest);
            slots.put(&event, of(&event));
        }
        let waiting: Vec<_> = std::iter::from_fn(|| slots.take()).collect();
        let (latest, counted) = waiting.split_at(limits::OUTBOX_LATEST_MAX);
        assert_eq!(counted.len(), limits::OUTBOX_SUMMARIES_MAX);
        let of_kind = |kind: &[u8], (_, body): &Message| body[9..].starts_with(kind);
        assert!(latest.iter().all(|it| of_kind(b"thumbnail.updated", it)));
        assert!(counted.iter().all(|it| of_kind(b"publish.rejected", it)));
    }
}
