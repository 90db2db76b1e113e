//! What the machine says of itself and of a process: the figures that stand beside every measurement.
//!
//! Everything is read from `/proc` (proc(5)), so servers written by others are measured as ours is.

use std::{fs, time::Duration};

/// The load average of the last minute, as text.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// CPU time, user and system, of all its threads.
    pub(crate) cpu: Duration,
    /// Resident memory in bytes.
    pub(crate) rss: u64,
}

impl Usage {
    /// Of the process `pid`; zeros once it is gone.
    pub(crate) fn of(pid: u32) -> Self {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The second field is a name that may hold spaces; the third follows its parenthesis.
        let fields: Vec<&str> = stat
            .rsplit_once(") ")
            .map_or(Vec::new(), |(_, rest)| rest.split(' ').collect());
        let field = |number: usize| -> u64 {
            let text = fields.get(number - 3);
            text.and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        Self {
            // Ticks are coarse, and know of threads that have ended; the scheduler counts nanoseconds of those that have not.
            cpu: Duration::from_millis((field(14) + field(15)) * 1000 / TICKS_PER_SECOND)
                .max(scheduled(pid)),
            rss: field(24) * PAGE_BYTES,
        }
    }
}

impl Usage {
    /// Of the process `pid` and all its descendants: a server may be a master and its workers. Memory that they share is
    /// counted in each.
    pub(crate) fn of_tree(pid: u32) -> Self {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let children = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok());
        children
            .map(Self::of_tree)
            .fold(Self::of(pid), |sum, child| Self {
                cpu: sum.cpu + child.cpu,
                rss: sum.rss + child.rss,
            })
    }
}

/// CPU time of all threads that run now (`/proc/<pid>/task/<tid>/schedstat`).
fn scheduled(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let nanoseconds = threads
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse().ok()
        });
    Duration::from_nanos(nanoseconds.sum())
}

/// `USER_HZ`, which Linux fixes for every architecture that matters here.
const TICKS_PER_SECOND: u64 = 100;
const PAGE_BYTES: u64 = 4096;
