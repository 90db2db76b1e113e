//! What the process tells the service manager that started it (sd_notify(3)): ready, reading its settings again, about to
//! end, still alive. Without one (`NOTIFY_SOCKET` is not set) every call does nothing.
//!
//! A message that cannot be sent is logged and forgotten: being told of is no reason to fail.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Every port is bound; or the settings have been read again.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The settings are being read again, until [`ready`].
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "cannot tell the service manager"),
    }
}

/// The process ends in good order.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says that the runtime still turns, twice in every `WatchdogSec=`, until `shutdown`; without one it only waits. A
/// process that drains may take longer than that, but its runtime turns until the end.
pub async fn watchdog(shutdown: CancellationToken) {
    let Some(patience) = sd_notify::watchdog_enabled() else {
        return shutdown.cancelled().await;
    };
    let mut beat = interval((patience / 2).max(BEAT_MIN));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(beat.tick()).await.is_some() {
        tell(&[NotifyState::Watchdog]);
    }
    // The last beat: the process has all of the interval to leave.
    tell(&[NotifyState::Watchdog]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}

/// Least time between two signs of life, whatever is asked for.
const BEAT_MIN: Duration = Duration::from_millis(100);
