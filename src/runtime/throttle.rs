//! One log line a second for each reason: a flood of strangers must not become a flood of lines.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Lets one line a second through for each reason, and counts the rest. Reasons are names in the code: few.
#[derive(Debug, Default)]
pub struct OncePerSecond(Mutex<HashMap<&'static str, (Instant, u64)>>);

impl OncePerSecond {
    /// The number of lines held back since the last one, when this one may be written.
    pub fn pass(&self, reason: &'static str, now: Instant) -> Option<u64> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((last, held_back)) = lines.get_mut(reason) else {
            lines.insert(reason, (now, 0));
            return Some(0);
        };
        if now.duration_since(*last) < Duration::from_secs(1) {
            *held_back += 1;
            return None;
        }
        *last = now;
        Some(std::mem::take(held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_one_a_second_are_counted_not_written() {
        let lines = OncePerSecond::default();
        let start = Instant::now();
        assert_eq!(lines.pass("a", start), Some(0));
        assert_eq!(lines.pass("b", start), Some(0), "each reason for itself");
        assert_eq!(lines.pass("a", start), None);
        assert_eq!(lines.pass("a", start + Duration::from_millis(999)), None);
        assert_eq!(lines.pass("a", start + Duration::from_secs(1)), Some(2));
    }
}
