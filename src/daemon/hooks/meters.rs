//! What the admission by hooks counts. Every series is there from the start, hooks or not.

use tokio::time::Duration;

/// What can come of a question.
const OUTCOMES: [&str; 8] = [
    "allowed",
    "denied",
    "repeated",
    "deadline",
    "unreachable",
    "unfit",
    "full",
    "resting",
];

/// The states of the breaker.
const STATES: [&str; 3] = ["closed", "open", "half_open"];

/// What can come of the news that a publish has ended.
const ENDS: [&str; 3] = ["told", "failed", "dropped"];

/// Brings the series into being, for a daemon that asks no backend too.
pub fn register() {
    for outcome in OUTCOMES {
        metrics::counter!("vitrine_admission_requests_total", "outcome" => outcome).increment(0);
    }
    for outcome in ENDS {
        metrics::counter!("vitrine_admission_ends_total", "outcome" => outcome).increment(0);
    }
    metrics::counter!("vitrine_admission_known_total").increment(0);
    metrics::gauge!("vitrine_admission_waiting").increment(0.0);
    let _ = metrics::histogram!("vitrine_admission_seconds");
    breaker("closed");
}

/// A question has come to this.
pub(super) fn request(outcome: &'static str) {
    metrics::counter!("vitrine_admission_requests_total", "outcome" => outcome).increment(1);
}

/// A question was put to the backend, and so long did it take.
pub(super) fn took(time: Duration) {
    metrics::histogram!("vitrine_admission_seconds").record(time);
}

/// A key was let in because it was known, its backend failing.
pub(super) fn known() {
    metrics::counter!("vitrine_admission_known_total").increment(1);
}

/// The breaker stands so now.
pub(super) fn breaker(state: &'static str) {
    for known in STATES {
        let here = f64::from(u8::from(known == state));
        metrics::gauge!("vitrine_admission_breaker", "state" => known).set(here);
    }
}

/// The news of an end has come to this.
pub(super) fn end(outcome: &'static str) {
    metrics::counter!("vitrine_admission_ends_total", "outcome" => outcome).increment(1);
}
