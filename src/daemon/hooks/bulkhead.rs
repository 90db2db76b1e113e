//! The bulkhead of a backend: so many calls at once, so many waiting for a place among them, and no more.
//!
//! However slow the backend is, what it can hold up is bounded; who finds no room is answered at once. How long one waits is
//! its caller's business.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Places and waiting room.
#[derive(Debug)]
pub(super) struct Bulkhead {
    places: Semaphore,
    waiters: Semaphore,
}

/// A place; its drop frees it.
#[derive(Debug)]
pub(super) struct Place<'a>(#[allow(dead_code, reason = "held")] SemaphorePermit<'a>);

/// No place, and no room to wait for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Bulkhead {
    /// Room for so many calls and so many waiters.
    pub(super) fn new(places: usize, waiters: usize) -> Self {
        Self {
            places: Semaphore::new(places),
            waiters: Semaphore::new(waiters),
        }
    }

    /// Waits for a place. Cancel safe.
    pub(super) async fn enter(&self) -> Result<Place<'_>, Full> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(Place(place));
        }
        let _waiting = self.waiters.try_acquire().map_err(|_| Full)?;
        let _counted = Counted::new();
        let place = self.places.acquire().await;
        Ok(Place(place.expect("nobody closes it")))
    }
}

/// One that waits, in the metrics.
struct Counted;

impl Counted {
    fn new() -> Self {
        metrics::gauge!("vitrine_admission_waiting").increment(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("vitrine_admission_waiting").decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::{Pin, pin},
        task::{Context, Waker},
    };

    use super::*;

    fn assert_pending(future: Pin<&mut impl Future>) {
        let mut context = Context::from_waker(Waker::noop());
        assert!(future.poll(&mut context).is_pending());
    }

    #[tokio::test]
    async fn who_finds_no_room_is_told_at_once_and_places_go_to_who_waits() {
        let bulkhead = Bulkhead::new(1, 1);
        let first = bulkhead.enter().await.expect("a place");
        let mut second = pin!(bulkhead.enter());
        assert_pending(second.as_mut());
        assert_eq!(bulkhead.enter().await.err(), Some(Full));
        drop(first);
        let second = second.await.expect("its turn");
        drop(second);
        bulkhead.enter().await.expect("free again");
    }

    #[tokio::test]
    async fn who_gives_up_waiting_leaves_its_room() {
        let bulkhead = Bulkhead::new(1, 1);
        let _first = bulkhead.enter().await.expect("a place");
        for _ in 0..2 {
            let mut waiting = Box::pin(bulkhead.enter());
            assert_pending(waiting.as_mut());
        }
    }
}
