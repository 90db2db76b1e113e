//! What was decided a moment ago, by key: bounded, expiring, in memory only.
//!
//! Every entry lives equally long, so the oldest is the next to go, by its age or for want of room. Keys are whatever tells
//! decisions apart without being secret. Time is an argument.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::time::{Duration, Instant};

/// Entries of the last `life`, the newest `max` of them.
pub(super) struct Recent<K, V> {
    life: Duration,
    max: usize,
    entries: Mutex<Entries<K, V>>,
}

struct Entries<K, V> {
    by_key: HashMap<K, Entry<V>>,
    /// Keys in the order in which they were noted, stale ones of entries that were noted again included.
    by_age: VecDeque<(K, Instant, u64)>,
    /// Notes so far.
    count: u64,
}

struct Entry<V> {
    value: V,
    since: Instant,
    /// Which note it was.
    number: u64,
}

impl<K, V> fmt::Debug for Recent<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recent").finish_non_exhaustive()
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Recent<K, V> {
    /// Nothing yet.
    pub(super) fn new(life: Duration, max: usize) -> Self {
        let entries = Entries {
            by_key: HashMap::new(),
            by_age: VecDeque::new(),
            count: 0,
        };
        Self {
            life,
            max,
            entries: Mutex::new(entries),
        }
    }

    /// What was noted for `key` and has not expired at `now`.
    pub(super) fn find(&self, key: &K, now: Instant) -> Option<V> {
        let entries = self.entries();
        let entry = entries.by_key.get(key)?;
        let age = now.saturating_duration_since(entry.since);
        (age < self.life).then(|| entry.value.clone())
    }

    /// Notes `value` for `key`, in the place of what was noted before.
    pub(super) fn note(&self, key: K, value: V, now: Instant) {
        let entries = &mut *self.entries();
        entries.count += 1;
        let entry = Entry {
            value,
            since: now,
            number: entries.count,
        };
        entries.by_key.insert(key.clone(), entry);
        entries.by_age.push_back((key, now, entries.count));
        // A key that is noted over and over leaves as many stale ages.
        while let Some((key, since, number)) = entries.by_age.front()
            && (now.saturating_duration_since(*since) >= self.life
                || entries.by_key.len() > self.max
                || entries.by_age.len() > 2 * self.max)
        {
            let same = |entry: &Entry<V>| entry.number == *number;
            if entries.by_key.get(key).is_some_and(same) {
                entries.by_key.remove(key);
            }
            entries.by_age.pop_front();
        }
    }

    /// Forgets what was noted for `key`.
    pub(super) fn forget(&self, key: &K) {
        self.entries().by_key.remove(key);
    }

    fn entries(&self) -> MutexGuard<'_, Entries<K, V>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(10);

    #[test]
    fn entries_expire_and_are_renewed_and_forgotten() {
        let (recent, start) = (Recent::new(LIFE, 8), Instant::now());
        recent.note("a", 1, start);
        assert_eq!(recent.find(&"a", start + LIFE / 2), Some(1));
        recent.note("a", 2, start + LIFE / 2);
        assert_eq!(recent.find(&"a", start + LIFE), Some(2));
        assert_eq!(recent.find(&"a", start + LIFE / 2 + LIFE), None);
        recent.note("a", 3, start + LIFE);
        recent.forget(&"a");
        assert_eq!(recent.find(&"a", start + LIFE), None);
    }

    #[test]
    fn room_is_bounded_and_the_oldest_makes_it() {
        let (recent, start) = (Recent::new(LIFE, 4), Instant::now());
        for n in 0..10 {
            recent.note(n, (), start);
        }
        assert!(recent.find(&5, start).is_none() && recent.find(&6, start).is_some());
        for _ in 0..100 {
            recent.note(9, (), start);
        }
        assert!(recent.find(&9, start).is_some());
        let entries = recent.entries();
        assert!(entries.by_key.len() <= 4 && entries.by_age.len() <= 8);
    }
}
