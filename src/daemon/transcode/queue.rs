//! The way from the decoder to one encoder: a queue whose sender asks for room before it makes a picture, waits for it no
//! longer than it says, and may put in what must not be lost even when there is none.
//!
//! One thread puts in, one takes out. Not here: what is shed when there is no room.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The queue.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    /// Items taken out and dealt with.
    done: u64,
    /// An item was taken out and is being dealt with.
    busy: bool,
    closed: bool,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                items: VecDeque::new(),
                done: 0,
                busy: false,
                closed: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Puts `item` behind the others. Bounded by who calls: after [`Self::has_room`], or for the few that must not be lost.
    pub(super) fn push(&self, item: T) {
        self.state().items.push_back(item);
        self.changed.notify_all();
    }

    /// Whether fewer than `max` items wait, now or within `patience`.
    pub(super) fn has_room(&self, max: usize, patience: Duration) -> bool {
        let (state, _) = self
            .changed
            .wait_timeout_while(self.state(), patience, |state| {
                state.items.len() >= max && !state.closed
            })
            .unwrap_or_else(PoisonError::into_inner);
        state.items.len() < max
    }

    /// The next item; the one before it is dealt with. Waits for one, and answers `None` when there will be none.
    pub(super) fn next(&self) -> Option<T> {
        let mut state = self.state();
        if std::mem::take(&mut state.busy) {
            state.done += 1;
        }
        let mut state = self
            .changed
            .wait_while(state, |state| state.items.is_empty() && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        let item = state.items.pop_front();
        state.busy = item.is_some();
        self.changed.notify_all();
        item
    }

    pub(super) fn is_open(&self) -> bool {
        !self.state().closed
    }

    /// Nothing follows, and what waits is dropped.
    pub(super) fn abandon(&self) {
        let dropped = {
            let mut state = self.state();
            state.closed = true;
            std::mem::take(&mut state.items)
        };
        drop(dropped); // not under the lock: these are pictures
        self.changed.notify_all();
    }

    /// Items dealt with so far, and how many are not.
    pub(super) fn progress(&self) -> (u64, usize) {
        let state = self.state();
        (state.done, state.items.len() + usize::from(state.busy))
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Nothing here panics with the lock held, and each change is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn room_is_waited_for_and_progress_is_seen() {
        let queue = Arc::new(Queue::new());
        assert!(queue.has_room(1, Duration::ZERO));
        queue.push(1);
        queue.push(2);
        assert!(!queue.has_room(2, Duration::ZERO) && queue.has_room(3, Duration::ZERO));
        assert_eq!(queue.progress(), (0, 2));
        let taker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || std::iter::from_fn(|| queue.next()).collect::<Vec<_>>()
        });
        assert!(queue.has_room(1, LONG));
        queue.push(3);
        while queue.progress() != (3, 0) {
            thread::yield_now();
        }
        assert!(queue.has_room(1, LONG));
        queue.abandon();
        assert_eq!(taker.join().expect("ended"), [1, 2, 3]);
        assert_eq!(queue.progress(), (3, 0));
    }

    #[test]
    fn an_item_in_work_is_not_done() {
        let queue = Queue::new();
        queue.push(1);
        queue.next();
        assert_eq!(queue.progress(), (0, 1));
        queue.push(2);
        queue.abandon();
        assert_eq!(queue.progress(), (0, 1));
        assert_eq!(queue.next(), None);
        assert_eq!(queue.progress(), (1, 0));
        assert!(queue.has_room(1, LONG));
    }
}
