//! What the outbox counts. No label holds a URL: endpoints go by their name, host and port.
//!
//! Series without an endpoint exist at zero from the start, with or without endpoints; those of an endpoint when it is
//! known.

use std::time::Duration;

use metrics::{
    Counter, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};
use vitrine_core::media::WallTime;

use super::clock::Steady;

/// What waits for an endpoint, and what it never took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) waiting: u64,
    pub(super) dead: u64,
    /// When the oldest that waits happened.
    pub(super) oldest: Option<WallTime>,
}

/// Brings the series into being, and says what they are.
pub(super) fn register() {
    let count = |name: &'static str, words: &'static str| describe_counter!(name, words);
    count(
        "vitrine_hooks_recorded_total",
        "Lifecycle events written to the outbox",
    );
    count(
        "vitrine_hooks_lost_total",
        "Lifecycle events that could not be written, because the disk had not answered for long or they were too long",
    );
    count(
        "vitrine_hooks_write_failures_total",
        "Writes to the outbox that failed and were tried again",
    );
    count(
        "vitrine_hooks_volatile_dropped_total",
        "Volatile events that were not told, because too many waited",
    );
    count(
        "vitrine_hooks_delivered_total",
        "Events that an endpoint took, by endpoint",
    );
    count(
        "vitrine_hooks_attempts_failed_total",
        "Attempts to tell an event that failed, by endpoint",
    );
    count(
        "vitrine_hooks_dead_letters_total",
        "Lifecycle events given up, after the last attempt or because too many waited, by endpoint",
    );
    describe_gauge!(
        "vitrine_hooks_pending",
        "Lifecycle events that an endpoint has not taken yet, by endpoint"
    );
    describe_gauge!(
        "vitrine_hooks_dead_letters",
        "Dead letters that are kept, by endpoint"
    );
    describe_gauge!(
        "vitrine_hooks_oldest_age_seconds",
        "Seconds since the oldest lifecycle event happened that an endpoint has not taken, by endpoint; 0 without one"
    );
    describe_histogram!(
        "vitrine_hooks_first_attempt_seconds",
        "Seconds from a lifecycle event to the first attempt to tell it, by endpoint"
    );
    for name in [
        "vitrine_hooks_recorded_total",
        "vitrine_hooks_lost_total",
        "vitrine_hooks_write_failures_total",
        "vitrine_hooks_volatile_dropped_total",
    ] {
        counter!(name).increment(0);
    }
}

pub(super) fn recorded(events: u64) {
    counter!("vitrine_hooks_recorded_total").increment(events);
}

pub(super) fn lost(events: u64) {
    counter!("vitrine_hooks_lost_total").increment(events);
}

pub(super) fn write_failed() {
    counter!("vitrine_hooks_write_failures_total").increment(1);
}

pub(super) fn volatile_dropped() {
    counter!("vitrine_hooks_volatile_dropped_total").increment(1);
}

/// Dead letters to the endpoint called `name`, without an attempt.
pub(super) fn given_up(name: &str, deliveries: u64) {
    counter!("vitrine_hooks_dead_letters_total", "endpoint" => name.to_owned())
        .increment(deliveries);
}

/// What waits for the endpoint called `name`.
pub(super) fn waiting(name: &str, counts: Counts, now: WallTime) {
    let age_ms = counts.oldest.map_or(0, |oldest| now.0 - oldest.0);
    let name = name.to_owned();
    gauge!("vitrine_hooks_pending", "endpoint" => name.clone()).set(counts.waiting as f64);
    gauge!("vitrine_hooks_dead_letters", "endpoint" => name.clone()).set(counts.dead as f64);
    gauge!("vitrine_hooks_oldest_age_seconds", "endpoint" => name)
        .set(age_ms.max(0) as f64 / 1000.0);
}

/// The counters of one endpoint.
#[derive(Clone)]
pub(super) struct Meters {
    delivered: Counter,
    failed: Counter,
    dead: Counter,
    first: Histogram,
}

impl Meters {
    pub(super) fn new(endpoint: &str) -> Self {
        let name = || endpoint.to_owned();
        let meters = Self {
            delivered: counter!("vitrine_hooks_delivered_total", "endpoint" => name()),
            failed: counter!("vitrine_hooks_attempts_failed_total", "endpoint" => name()),
            dead: counter!("vitrine_hooks_dead_letters_total", "endpoint" => name()),
            first: histogram!("vitrine_hooks_first_attempt_seconds", "endpoint" => name()),
        };
        for counter in [&meters.delivered, &meters.failed, &meters.dead] {
            counter.increment(0);
        }
        meters
    }

    pub(super) fn attempted(&self, taken: bool) {
        let counter = if taken { &self.delivered } else { &self.failed };
        counter.increment(1);
    }

    pub(super) fn dead(&self) {
        self.dead.increment(1);
    }

    pub(super) fn first(&self, clock: &Steady, happened: WallTime) {
        let ms = u64::try_from(clock.now().0 - happened.0).unwrap_or(0);
        self.first.record(Duration::from_millis(ms));
    }
}
