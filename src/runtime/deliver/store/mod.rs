//! The outbox on disk (SQLite): opened and checked, written by one thread, read through a second connection.
//!
//! WAL with `synchronous = FULL`: what a commit has answered survives the process and the machine. Everything of a group
//! of events is one transaction: their numbers, their rows, a delivery for each endpoint that wants them, the lives of
//! their subjects. All calls block. When and by whom is not known here.

mod read;
mod schema;

use std::{
    collections::HashMap,
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rusqlite::{
    Connection, ErrorCode, OptionalExtension as _, Transaction, TransactionBehavior, params,
};
use serde_json::{Map, Value};
use vitrine_core::{limits, media::WallTime};

use super::{
    Endpoint, Error, Event, Life,
    courier::{Settlement, Then},
    message,
};

pub(super) use self::read::{Reader, Selection};

/// Why an outbox cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be made or opened.
    #[error("{}: cannot be opened: {source}", path.display())]
    File {
        /// The database.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk has no room for what a start writes.
    #[error("{}: the disk is full: make room and start again", path.display())]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// It is no database, or a broken one.
    #[error("{}: damaged ({what}): restore it, or move it and its -wal and -shm files away to begin with an empty one; what \
             was not delivered yet is not sent then, and the numbers of all streams begin at 1", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// Another version has left it.
    #[error("{}: left by a newer version (schema {found}, this one knows {}): use that version, or move the file away", path.display(), schema::STEPS.len())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: usize,
    },
    /// Anything else that SQLite says.
    #[error("{}: cannot be used ({source}): look at its permissions, and at its disk and the room there", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What it said.
        source: rusqlite::Error,
    },
    /// Nothing can be posted with.
    #[error("no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// There is no thread to write with.
    #[error("no thread to write with: {0}")]
    Thread(io::Error),
}

impl OpenError {
    fn of(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Damaged {
                path,
                what: source.to_string(),
            },
            _ => Self::Database { path, source },
        }
    }
}

/// The connection that writes.
#[derive(Debug)]
pub(super) struct Store {
    db: Connection,
}

/// What the process before has left.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Subjects whose lives had not ended, with the data of their latest events.
    pub(super) unfinished: Vec<(String, Map<String, Value>)>,
    /// The numbers of the endpoints, in the order given.
    pub(super) numbers: Vec<i64>,
}

/// What a group of events has come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Events.
    pub(super) events: u64,
    /// Subjects of events longer than a body may be: told without what they can be told without.
    pub(super) trimmed: Vec<String>,
    /// Subjects of those that are longer even so: told nobody.
    pub(super) oversized: Vec<String>,
}

/// What a round of forgetting has come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pruned {
    /// Whether there may be more to forget.
    pub(super) more: bool,
    /// Endpoints, by number, for which too much waited, and the dead letters made of it.
    pub(super) given_up: Vec<(i64, u64)>,
}

impl Store {
    /// Opens the database at `path`, which is made when missing, for `endpoints`. What was due long after `now` by a
    /// clock that has been set back is due at `latest`.
    pub(super) fn open(
        path: &Path,
        endpoints: &[Endpoint],
        now: WallTime,
        latest: WallTime,
    ) -> Result<(Self, Left), OpenError> {
        // URLs may hold secrets; SQLite gives its other files the same mode.
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        options.open(path).map_err(|source| OpenError::File {
            path: path.to_owned(),
            source,
        })?;
        let failed = |source| OpenError::of(path, source);
        let mut db = connect(path).map_err(failed)?;
        let found: usize = { db.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)) }
            .map_err(failed)?
            .try_into()
            .unwrap_or(usize::MAX);
        let path = path.to_owned();
        if found > schema::STEPS.len() {
            return Err(OpenError::Newer { path, found });
        }
        let check: String =
            { db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)) }.map_err(failed)?;
        if check != "ok" {
            return Err(OpenError::Damaged { path, what: check });
        }
        let left = prepare(&mut db, found, endpoints, now, latest).map_err(failed)?;
        Ok((Self { db }, left))
    }

    /// Begins what is written together.
    pub(super) fn begin(&mut self) -> rusqlite::Result<Batch<'_>> {
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.db.transaction_with_behavior(behavior)?;
        Ok(Batch { transaction })
    }
}

/// One transaction.
pub(super) struct Batch<'a> {
    transaction: Transaction<'a>,
}

/// An endpoint as far as writing knows it: its number and what it wants.
pub(super) type Wanting<'a> = (i64, &'a Arc<Endpoint>);

impl Batch<'_> {
    /// Writes `events` in their order, each with a delivery due `now` for those of `endpoints` that want it.
    pub(super) fn record(
        &self,
        events: &[Event],
        endpoints: &[Wanting<'_>],
        now: WallTime,
    ) -> rusqlite::Result<Written> {
        let mut count = self.transaction.prepare_cached(COUNT)?;
        let mut row = self.transaction.prepare_cached(
            "INSERT INTO event (id, subject, hook_seq, kind, at, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let mut delivery = self.transaction.prepare_cached(
            "INSERT INTO delivery (event, endpoint, state, attempts, due_at) VALUES (?1, ?2, 'fresh', 0, ?3)",
        )?;
        let mut live = self
            .transaction
            .prepare_cached("UPDATE subject SET data = ?2 WHERE name = ?1")?;
        let mut written = Written::default();
        for event in events {
            let (seq, alive): (i64, bool) = count
                .query_row(params![event.subject, 1, now.0], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?;
            let (mut body, mut data) = message::numbered(event, seq);
            if body.len() > limits::OUTBOX_BODY_BYTES_MAX && event.data.contains_key(message::SPARE)
            {
                let mut event = event.clone();
                event.data.remove(message::SPARE);
                (body, data) = message::numbered(&event, seq);
                written.trimmed.push(event.subject);
            }
            match event.life {
                Life::Begins => live.execute(params![event.subject, data])?,
                Life::Goes if alive => live.execute(params![event.subject, data])?,
                Life::Goes => 0,
                Life::Ends => live.execute(params![event.subject, None::<String>])?,
            };
            if body.len() > limits::OUTBOX_BODY_BYTES_MAX {
                written.oversized.push(event.subject.clone());
                continue;
            }
            let id = message::new_id();
            row.execute(params![
                id,
                event.subject,
                seq,
                event.kind,
                event.at.0,
                body
            ])?;
            let number = self.transaction.last_insert_rowid();
            for (endpoint, wants) in endpoints {
                if wants.types.include(event.kind) {
                    delivery.execute(params![number, endpoint, now.0])?;
                }
            }
            written.events += 1;
        }
        Ok(written)
    }

    /// Leaves gaps in the numbers of subjects whose events were lost.
    pub(super) fn skip(&self, lost: &HashMap<String, u32>, now: WallTime) -> rusqlite::Result<()> {
        let mut count = self.transaction.prepare_cached(COUNT)?;
        for (subject, events) in lost {
            count.query_row(params![subject, events, now.0], |_| Ok(()))?;
        }
        Ok(())
    }

    /// Writes what came of attempts.
    pub(super) fn settle<'s>(
        &self,
        settlements: impl Iterator<Item = &'s Settlement>,
    ) -> rusqlite::Result<()> {
        let mut settle = self.transaction.prepare_cached(
            "UPDATE delivery SET state = ?3, attempts = ?4, due_at = ?5, settled_at = ?6, status = ?7, error = ?8
             WHERE event = ?1 AND endpoint = ?2",
        )?;
        for done in settlements {
            let (state, due, settled) = match done.then {
                Then::Delivered => ("delivered", done.at, Some(done.at.0)),
                Then::Again(due) => ("again", due, None),
                Then::Dead => ("dead", done.at, Some(done.at.0)),
            };
            let (event, endpoint) = (done.event, done.endpoint);
            let (status, error) = (done.status, &done.error);
            let attempts = done.attempts;
            settle.execute(params![
                event, endpoint, state, attempts, due.0, settled, status, error
            ])?;
        }
        Ok(())
    }

    /// Makes a delivery fresh; whether there is one.
    pub(super) fn retry(
        &self,
        event: &str,
        endpoint: i64,
        now: WallTime,
    ) -> rusqlite::Result<bool> {
        let changed = self.transaction.execute(
            "UPDATE delivery SET state = 'fresh', attempts = 0, due_at = ?3, settled_at = NULL
             WHERE event = (SELECT number FROM event WHERE id = ?1) AND endpoint = ?2",
            params![event, endpoint, now.0],
        )?;
        Ok(changed > 0)
    }

    /// Makes fresh the deliveries to an endpoint of all events since `since` that it wants; how many.
    ///
    /// # Errors
    /// [`Error::TooMany`]: more than may wait; not to be committed. [`Error::Disk`].
    pub(super) fn replay(
        &self,
        since: WallTime,
        (number, endpoint): Wanting<'_>,
        now: WallTime,
    ) -> Result<u64, Error> {
        let mut kinds = self
            .transaction
            .prepare("SELECT DISTINCT kind FROM event WHERE at >= ?1")?;
        let kinds: Vec<String> =
            { kinds.query_map([since.0], |row| row.get(0))? }.collect::<Result<_, _>>()?;
        let wanted = kinds
            .into_iter()
            .filter(|kind| endpoint.types.include(kind));
        let wanted = Value::from_iter(wanted).to_string();
        let changed = self.transaction.execute(
            "INSERT INTO delivery (event, endpoint, state, attempts, due_at)
             SELECT number, ?2, 'fresh', 0, ?3 FROM event
             WHERE at >= ?1 AND kind IN (SELECT value FROM json_each(?4)) ORDER BY number
             ON CONFLICT DO UPDATE SET state = 'fresh', attempts = 0, due_at = ?3, settled_at = NULL",
            params![since.0, number, now.0, wanted],
        )?;
        let waiting = { self.waiting()?.into_iter() }.find(|(endpoint, _)| *endpoint == number);
        match waiting {
            Some((_, waiting)) if waiting > limits::OUTBOX_WAITING_MAX => {
                Err(Error::TooMany { waiting })
            }
            _ => Ok(changed as u64),
        }
    }

    /// Forgets some of what is kept no longer. `active` are the numbers of the endpoints that are configured.
    pub(super) fn prune(&self, active: &[i64], now: WallTime) -> rusqlite::Result<Pruned> {
        let before = |age: Duration| now.0.saturating_sub_unsigned(age.as_millis() as u64);
        let active = Value::from_iter(active.iter().copied()).to_string();
        let most = limits::OUTBOX_PRUNE_EVENTS_MAX;
        // What waits for an attempt is never forgotten; a dead letter and what waits for nobody are kept longer.
        let forgotten = self.transaction.execute(
            "DELETE FROM event WHERE number IN (
                SELECT number FROM event AS e WHERE at < ?1 AND NOT EXISTS (
                    SELECT 1 FROM delivery WHERE event = e.number AND state <> 'delivered') LIMIT ?2)",
            params![before(limits::OUTBOX_KEPT), most],
        )? + self.transaction.execute(
            "DELETE FROM event WHERE number IN (
                SELECT number FROM event AS e
                WHERE (at < ?1 OR number <= (SELECT max(number) FROM event) - ?2) AND NOT EXISTS (
                    SELECT 1 FROM delivery WHERE event = e.number AND state IN ('fresh', 'again')
                    AND endpoint IN (SELECT value FROM json_each(?3))) LIMIT ?4)",
            params![
                before(limits::OUTBOX_DEAD_KEPT),
                limits::OUTBOX_EVENTS_KEPT_MAX,
                active,
                most
            ],
        )?;
        let given_up = self.give_up(now)?;
        // A number is never given twice to what can still be seen.
        self.transaction.execute(
            "DELETE FROM subject WHERE data IS NULL AND changed_at < ?1
             AND NOT EXISTS (SELECT 1 FROM event WHERE event.subject = name)",
            params![before(limits::OUTBOX_SUBJECT_KEPT)],
        )?;
        Ok(Pruned {
            more: forgotten as i64 >= most,
            given_up,
        })
    }

    /// How many deliveries wait for each endpoint that any waits for.
    fn waiting(&self) -> rusqlite::Result<Vec<(i64, i64)>> {
        let mut waiting = self.transaction.prepare_cached(
            "SELECT endpoint, sum(waiting) FROM (
                SELECT endpoint, count(*) AS waiting FROM delivery WHERE state = 'fresh' GROUP BY endpoint
                UNION ALL
                SELECT endpoint, count(*) FROM delivery WHERE state = 'again' GROUP BY endpoint)
             GROUP BY endpoint",
        )?;
        let waiting = waiting.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        waiting.collect()
    }

    /// Makes dead letters of what waits for an endpoint beyond the bound, the oldest first; how many of each.
    fn give_up(&self, now: WallTime) -> rusqlite::Result<Vec<(i64, u64)>> {
        let mut given_up = Vec::new();
        for (endpoint, count) in self.waiting()? {
            let beyond = count - limits::OUTBOX_WAITING_MAX;
            if beyond > 0 {
                let error = format!("given up: more than {} waited", limits::OUTBOX_WAITING_MAX);
                self.transaction.execute(
                    "UPDATE delivery SET state = 'dead', settled_at = ?3, error = ?4
                     WHERE endpoint = ?1 AND event IN (
                        SELECT event FROM delivery WHERE endpoint = ?1 AND state IN ('fresh', 'again')
                        ORDER BY event LIMIT ?2)",
                    params![endpoint, beyond, now.0, error],
                )?;
                given_up.push((endpoint, beyond.unsigned_abs()));
            }
        }
        Ok(given_up)
    }

    /// Makes it durable.
    pub(super) fn commit(self) -> rusqlite::Result<()> {
        self.transaction.commit()
    }
}

/// Adds to the latest number of a subject; returns it, and whether its life lasts.
const COUNT: &str = "INSERT INTO subject (name, hook_seq, changed_at) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET hook_seq = hook_seq + ?2, changed_at = ?3
    RETURNING hook_seq, data IS NOT NULL";

pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    // Somebody may look at it with tools of their own.
    db.busy_timeout(Duration::from_secs(5))?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", "ON")?;
    db.pragma_update(None, "journal_size_limit", 64 << 20)?;
    Ok(db)
}

/// Brings the schema up to date, and finds what the process before has left.
fn prepare(
    db: &mut Connection,
    found: usize,
    endpoints: &[Endpoint],
    now: WallTime,
    latest: WallTime,
) -> rusqlite::Result<Left> {
    let start = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in &schema::STEPS[found..] {
        start.execute_batch(step)?;
    }
    start.pragma_update(None, "user_version", schema::STEPS.len() as i64)?;
    let mut left = Left::default();
    for endpoint in endpoints {
        let url = endpoint.url.as_str();
        start.execute("INSERT OR IGNORE INTO endpoint (url) VALUES (?1)", [url])?;
        let number = "SELECT number FROM endpoint WHERE url = ?1";
        left.numbers
            .push(start.query_row(number, [url], |row| row.get(0))?);
    }
    start.execute(
        "UPDATE delivery SET due_at = ?1 WHERE state = 'again' AND due_at > ?2",
        params![now.0, latest.0],
    )?;
    {
        let mut alive =
            start.prepare("SELECT name, data FROM subject WHERE data IS NOT NULL ORDER BY name")?;
        let mut rows = alive.query([])?;
        while let Some(row) = rows.next()? {
            let data: String = row.get(1)?;
            let data = serde_json::from_str(&data).unwrap_or_default();
            left.unfinished.push((row.get(0)?, data));
        }
    }
    start.commit()?;
    // Fails here, and not at the first event, on a disk without room.
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
        row.get::<_, i64>(0)
    })
    .optional()?;
    Ok(left)
}

#[cfg(test)]
mod tests;
