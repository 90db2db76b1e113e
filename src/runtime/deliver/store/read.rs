//! What is read of an outbox: parcels for the couriers, pages for operators, counts for the metrics.
//!
//! A connection of its own, so that reading never waits for a commit (WAL). Nothing here writes. All calls block.

use std::path::Path;

use bytes::Bytes;
use rusqlite::{Connection, Row, params};
use vitrine_core::media::WallTime;

use super::super::{
    Delivery, Page, State,
    courier::{Due, Parcel},
    meters::Counts,
};

/// The connection that reads.
#[derive(Debug)]
pub(in super::super) struct Reader {
    db: Connection,
}

/// Which deliveries a page shows: all that apply must hold.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Selection {
    pub(in super::super) state: Option<State>,
    /// Numbers of endpoints.
    pub(in super::super) endpoints: Option<Vec<i64>>,
    pub(in super::super) subject: Option<String>,
    /// Event and endpoint of the last delivery on the page before.
    pub(in super::super) after: Option<(i64, i64)>,
    /// Numbers of the endpoints to which attempts are made.
    pub(in super::super) active: Vec<i64>,
}

impl Reader {
    /// A second connection to the database at `path`.
    pub(in super::super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let db = super::connect(path)?;
        db.pragma_update(None, "query_only", "ON")?;
        Ok(Self { db })
    }

    /// Deliveries without an attempt, of events beyond `after`, in order.
    pub(in super::super) fn fresh(
        &self,
        endpoint: i64,
        after: i64,
        limit: usize,
    ) -> rusqlite::Result<Vec<Parcel>> {
        let mut parcels = self.db.prepare_cached(
            "SELECT e.number, e.id, e.subject, e.body, d.attempts, e.at, e.kind, e.hook_seq
             FROM delivery AS d JOIN event AS e ON e.number = d.event
             WHERE d.endpoint = ?1 AND d.state = 'fresh' AND d.event > ?2 ORDER BY d.event LIMIT ?3",
        )?;
        let parcels = parcels.query_map(params![endpoint, after, limit as i64], parcel)?;
        parcels.collect()
    }

    /// Deliveries that failed and are due by `now`, the most overdue first; and when the next one is.
    pub(in super::super) fn due(
        &self,
        endpoint: i64,
        now: WallTime,
        limit: usize,
    ) -> rusqlite::Result<Due> {
        let mut parcels = self.db.prepare_cached(
            "SELECT e.number, e.id, e.subject, e.body, d.attempts, e.at, e.kind, e.hook_seq
             FROM delivery AS d JOIN event AS e ON e.number = d.event
             WHERE d.endpoint = ?1 AND d.state = 'again' AND d.due_at <= ?2 ORDER BY d.due_at LIMIT ?3",
        )?;
        let parcels = parcels.query_map(params![endpoint, now.0, limit as i64], parcel)?;
        let mut next = self.db.prepare_cached(
            "SELECT min(due_at) FROM delivery WHERE endpoint = ?1 AND state = 'again' AND due_at > ?2",
        )?;
        let next: Option<i64> = next.query_row(params![endpoint, now.0], |row| row.get(0))?;
        Ok(Due {
            parcels: parcels.collect::<Result<_, _>>()?,
            next: next.map(WallTime),
        })
    }

    /// One delivery.
    pub(in super::super) fn delivery(
        &self,
        event: &str,
        endpoint: i64,
        active: &[i64],
    ) -> rusqlite::Result<Delivery> {
        let one = format!("{DELIVERY} WHERE e.id = ?1 AND d.endpoint = ?2");
        self.db
            .query_row(&one, params![event, endpoint], |row| delivery(row, active))
    }

    /// Deliveries, the newest first.
    pub(in super::super) fn page(
        &self,
        selection: &Selection,
        limit: usize,
    ) -> rusqlite::Result<Page> {
        let numbers = |numbers: &[i64]| {
            let numbers: Vec<_> = numbers.iter().map(i64::to_string).collect();
            numbers.join(", ")
        };
        let active = numbers(&selection.active);
        let mut conditions = vec!["true".to_owned()];
        conditions.extend(selection.state.map(|state| match state {
            State::Delivered => "d.state = 'delivered'".to_owned(),
            State::Dead => "d.state = 'dead'".to_owned(),
            State::Pending => {
                format!("d.state IN ('fresh', 'again') AND d.endpoint IN ({active})")
            }
            State::Parked => {
                format!("d.state IN ('fresh', 'again') AND d.endpoint NOT IN ({active})")
            }
        }));
        let only = selection.endpoints.as_ref();
        conditions.extend(only.map(|only| format!("d.endpoint IN ({})", numbers(only))));
        let after = selection.after;
        conditions.extend(
            after.map(|(event, endpoint)| format!("(d.event, d.endpoint) < ({event}, {endpoint})")),
        );
        if selection.subject.is_some() {
            conditions.push("e.subject = ?2".to_owned());
        }
        let page = format!(
            "{DELIVERY} WHERE ?2 IS ?2 AND {} ORDER BY d.event DESC, d.endpoint DESC LIMIT ?1",
            conditions.join(" AND ")
        );
        let mut page = self.db.prepare(&page)?;
        let limit = limit.max(1);
        // One more tells whether there is more.
        let rows = page.query_map(params![limit as i64 + 1, selection.subject], |row| {
            let place: (i64, i64) = (row.get("event")?, row.get("endpoint")?);
            Ok((place, delivery(row, &selection.active)?))
        })?;
        let mut rows: Vec<_> = rows.collect::<Result<_, _>>()?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| more);
        Ok(Page {
            next: last.map(|((event, endpoint), _)| format!("{event}-{endpoint}")),
            deliveries: rows.into_iter().map(|(_, delivery)| delivery).collect(),
        })
    }

    /// The numbers of the endpoints whose URL `is` one that is looked for, configured or not.
    pub(in super::super) fn endpoints(
        &self,
        is: impl Fn(&str) -> bool,
    ) -> rusqlite::Result<Vec<i64>> {
        let mut all = self.db.prepare_cached("SELECT number, url FROM endpoint")?;
        let mut rows = all.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            if is(row.get_ref("url")?.as_str()?) {
                found.push(row.get("number")?);
            }
        }
        Ok(found)
    }

    /// What waits for an endpoint.
    pub(in super::super) fn counts(&self, endpoint: i64) -> rusqlite::Result<Counts> {
        let mut counts = self.db.prepare_cached(
            "SELECT waiting, (SELECT at FROM event WHERE number = first),
                (SELECT count(*) FROM delivery WHERE endpoint = ?1 AND state = 'dead')
             FROM (SELECT sum(waiting) AS waiting, min(first) AS first FROM (
                SELECT count(*) AS waiting, min(event) AS first FROM delivery
                WHERE endpoint = ?1 AND state = 'fresh'
                UNION ALL
                SELECT count(*), min(event) FROM delivery WHERE endpoint = ?1 AND state = 'again'))",
        )?;
        counts.query_row([endpoint], |row| {
            Ok(Counts {
                waiting: row.get::<_, i64>(0)?.unsigned_abs(),
                oldest: row.get::<_, Option<i64>>(1)?.map(WallTime),
                dead: row.get::<_, i64>(2)?.unsigned_abs(),
            })
        })
    }
}

const DELIVERY: &str = "SELECT d.*, e.id, e.subject, e.hook_seq, e.kind, e.at, p.url
    FROM delivery AS d JOIN event AS e ON e.number = d.event JOIN endpoint AS p ON p.number = d.endpoint";

fn parcel(row: &Row<'_>) -> rusqlite::Result<Parcel> {
    Ok(Parcel {
        event: row.get(0)?,
        id: row.get(1)?,
        subject: row.get(2)?,
        body: Bytes::from(row.get::<_, Vec<u8>>(3)?),
        attempts: row.get(4)?,
        at: WallTime(row.get(5)?),
        kind: row.get(6)?,
        hook_seq: row.get(7)?,
    })
}

fn delivery(row: &Row<'_>, active: &[i64]) -> rusqlite::Result<Delivery> {
    let (event, endpoint): (String, i64) = (row.get("id")?, row.get("endpoint")?);
    let stored = row.get_ref("state")?.as_str()?;
    let state = match stored {
        "delivered" => State::Delivered,
        "dead" => State::Dead,
        _ if active.contains(&endpoint) => State::Pending,
        _ => State::Parked,
    };
    let due = (state == State::Pending)
        .then(|| row.get("due_at"))
        .transpose()?;
    let settled: Option<i64> = row.get("settled_at")?;
    let url: String = row.get("url")?;
    Ok(Delivery {
        id: super::super::delivery_id(&event, endpoint),
        event,
        kind: row.get("kind")?,
        subject: row.get("subject")?,
        hook_seq: row.get::<_, i64>("hook_seq")?.unsigned_abs(),
        at: WallTime(row.get("at")?),
        endpoint: reqwest::Url::parse(&url).map_or(url, |url| super::super::endpoint::shown(&url)),
        state,
        attempts: row.get("attempts")?,
        last_status: row.get("status")?,
        last_error: row.get("error")?,
        next_attempt: due.map(WallTime),
        settled_at: settled.map(WallTime),
    })
}
