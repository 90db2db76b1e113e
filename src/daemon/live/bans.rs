//! Stream keys that are refused although they are right: until a time, or until somebody lifts it.
//!
//! A key, or what else tells a publisher from others ([`Claim::identity`](super::Claim)), is known by its digest alone, which is
//! shown to nobody; people know a ban by its id. One ban per key, the latest;
//! bounded, and kept in `data_dir` so that a restart lifts none. The door asks before it asks admission, and a stream's
//! task once more before it accepts.

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use metrics::counter;
use serde::{Deserialize, Serialize};
use ulid::Ulid;
use vitrine_core::{limits, media::WallTime};
use vitrine_runtime::{bearer::Digest, clock};

use super::{
    StreamId,
    ledger::{self, Ledger},
};

/// One key that is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// `ban_` and a ULID.
    pub id: String,
    /// The stream whose publisher held the key.
    pub stream: String,
    /// Why, in words fit for the broadcaster's eyes.
    pub reason: String,
    /// When it began.
    pub since: WallTime,
    /// When it ends; when somebody lifts it if `None`.
    pub until: Option<WallTime>,
}

impl Ban {
    fn holds(&self, now: WallTime) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl fmt::Display for Ban {
    /// What a broadcaster is told.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.until {
            Some(until) => write!(
                f,
                "this stream key is refused until {until}: {}",
                self.reason
            ),
            None => write!(f, "this stream key is refused: {}", self.reason),
        }
    }
}

/// The bans of this process. A cheap handle.
#[derive(Clone, Debug)]
pub struct Bans(Arc<Inner>);

struct Inner {
    /// By the digest of the key, in hexadecimal digits.
    table: Mutex<Table>,
    ledger: Ledger,
}

type Table = BTreeMap<String, Ban>;

impl fmt::Debug for Inner {
    /// Without the digests.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bans").finish_non_exhaustive()
    }
}

impl Bans {
    /// Those of the process before, kept in the file at `path`; without one, none. Blocks.
    ///
    /// # Errors
    /// [`ledger::Error`].
    pub(super) fn at(path: Option<PathBuf>) -> Result<Self, ledger::Error> {
        let ledger = Ledger::at(path);
        let table = Mutex::new(ledger.read()?);
        Ok(Self(Arc::new(Inner { table, ledger })))
    }

    /// Bans a key that published `stream`, for so long or until somebody lifts it, and waits for the disk. A longer ban of
    /// the same key stays.
    pub async fn ban(
        &self,
        key: &Digest,
        stream: &StreamId,
        length: Option<Duration>,
        reason: &str,
    ) -> Ban {
        let ban = self.impose(key, stream, length, reason);
        self.keep().await;
        ban
    }

    /// Ends a ban by its id, and waits for the disk; `None` when there is none.
    pub async fn lift(&self, id: &str) -> Option<Ban> {
        let lifted = {
            let mut table = self.table();
            let key = table.iter().find(|(_, ban)| ban.id == id)?.0.clone();
            table.remove(&key)
        };
        self.keep().await;
        lifted
    }

    /// Every ban that holds, oldest first.
    pub fn list(&self) -> Vec<Ban> {
        let now = clock::wall();
        let mut bans: Vec<_> = self.table().values().cloned().collect();
        bans.retain(|ban| ban.holds(now));
        bans.sort_by(|a, b| (a.since, &a.id).cmp(&(b.since, &b.id)));
        bans
    }

    /// The ban of a key, if one holds.
    pub fn find(&self, key: &Digest) -> Option<Ban> {
        let ban = self.table().get(&key.hex()).cloned();
        ban.filter(|ban| ban.holds(clock::wall()))
    }

    /// [`Self::ban`] without waiting for the disk: [`Self::keep`] follows.
    pub(super) fn impose(
        &self,
        key: &Digest,
        stream: &StreamId,
        length: Option<Duration>,
        reason: &str,
    ) -> Ban {
        let since = clock::wall();
        let ban = Ban {
            id: format!("ban_{}", Ulid::new()),
            stream: stream.to_string(),
            reason: reason.chars().take(limits::REASON_CHARS_MAX).collect(),
            since,
            until: length.map(|length| after(since, length)),
        };
        counter!("vitrine_bans_total").increment(1);
        let ban = enter(&mut self.table(), key.hex(), ban);
        tracing::info!(%stream, ban = ban.id, until = ban.until.map(|until| until.to_string()), "stream key banned");
        ban
    }

    /// Writes what holds.
    pub(super) async fn keep(&self) {
        let table = || {
            let (mut table, now) = (self.table(), clock::wall());
            table.retain(|_, ban| ban.holds(now));
            table.clone()
        };
        self.0.ledger.write(table).await;
    }

    /// The table, which is whole between any two statements.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Enters a ban, unless a longer one of the key holds; answers the one that does. A full table loses what ends first.
fn enter(table: &mut Table, key: String, ban: Ban) -> Ban {
    let end = |ban: &Ban| ban.until.unwrap_or(WallTime(i64::MAX));
    if let Some(known) = table.get(&key).filter(|known| end(known) > end(&ban)) {
        return known.clone();
    }
    table.remove(&key);
    if table.len() >= limits::BANS_MAX {
        let first = table.iter().min_by_key(|(_, ban)| end(ban));
        let first = first.map(|(key, _)| key.clone());
        first.map(|key| table.remove(&key));
    }
    table.insert(key, ban.clone());
    ban
}

fn after(since: WallTime, length: Duration) -> WallTime {
    let length_ms = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
    WallTime(since.0.saturating_add(length_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> StreamId {
        "shop42".parse().expect("valid")
    }

    fn key(number: usize) -> Digest {
        Digest::of(&number.to_be_bytes())
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_ban_holds_until_its_time_or_until_it_is_lifted_and_outlives_the_process() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = Some(folder.path().join("bans.json"));
        let bans = Bans::at(path.clone()).expect("read");
        let over = bans
            .ban(&key(0), &stream(), Some(Duration::ZERO), "spam")
            .await;
        let minute = bans.ban(&key(1), &stream(), Some(MINUTE), "spam").await;
        let lasting = bans.ban(&key(2), &stream(), None, "stolen goods").await;
        assert_eq!(bans.find(&key(0)), None);
        assert_eq!(bans.lift(&over.id).await, None, "it is over");
        let again = Bans::at(path.clone()).expect("read");
        assert_eq!(again.list(), [minute.clone(), lasting.clone()]);
        assert_eq!(again.find(&key(1)), Some(minute));
        assert_eq!(again.find(&key(3)), None);
        assert_eq!(again.lift(&lasting.id).await, Some(lasting));
        assert_eq!(again.find(&key(2)), None);
        assert_eq!(Bans::at(path).expect("read").list().len(), 1);
    }

    #[tokio::test]
    async fn a_short_ban_never_shortens_a_long_one() {
        let bans = Bans::at(None).expect("read");
        let long = bans.ban(&key(1), &stream(), None, "taken down").await;
        let short = bans.ban(&key(1), &stream(), Some(MINUTE), "ended").await;
        assert_eq!(short, long);
        let longer = Bans::at(None).expect("read");
        longer.ban(&key(1), &stream(), Some(MINUTE), "ended").await;
        let last = longer.ban(&key(1), &stream(), None, "taken down").await;
        assert_eq!(longer.list(), [last]);
    }

    #[test]
    fn a_full_table_loses_what_would_end_first() {
        let ban = |until| Ban {
            id: String::new(),
            stream: String::new(),
            reason: String::new(),
            since: WallTime(0),
            until,
        };
        let mut table = Table::new();
        enter(&mut table, "for ever".to_owned(), ban(None));
        for number in 0..limits::BANS_MAX {
            let until = Some(WallTime(number as i64));
            enter(&mut table, format!("{number:05}"), ban(until));
        }
        assert_eq!(table.len(), limits::BANS_MAX);
        assert!(table.contains_key("for ever") && !table.contains_key("00000"));
    }

    #[test]
    fn a_broadcaster_is_told_why_and_until_when() {
        let mut ban = Ban {
            id: String::new(),
            stream: "shop42".to_owned(),
            reason: "disconnected by an operator".to_owned(),
            since: WallTime(0),
            until: Some(WallTime(1_767_268_800_000)),
        };
        assert_eq!(
            ban.to_string(),
            "this stream key is refused until 2026-01-01T12:00:00.000Z: disconnected by an operator"
        );
        ban.until = None;
        assert_eq!(
            ban.to_string(),
            "this stream key is refused: disconnected by an operator"
        );
    }
}
