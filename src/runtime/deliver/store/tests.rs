//! The rules of the file: who may read it, what a start finds and mends, how numbers go on, what is forgotten when.

#![allow(clippy::unwrap_used)]

use std::{fs, os::unix::fs::PermissionsExt as _};

use tempfile::TempDir;

use super::*;
use crate::deliver::{State, Types};

const DAY_MS: i64 = 86_400_000;
const NOW: WallTime = WallTime(1_800_000_000_000);

fn endpoint(url: &str) -> Endpoint {
    Endpoint {
        url: url.parse().unwrap(),
        secrets: Vec::new(),
        types: Types::new(vec!["*".to_owned()]),
    }
}

fn event(subject: &str, at: WallTime) -> Event {
    Event {
        subject: subject.to_owned(),
        kind: "stream.live",
        at,
        data: Map::new(),
        life: Life::Goes,
    }
}

struct Rig {
    folder: TempDir,
    store: Store,
    endpoints: Vec<(i64, Arc<Endpoint>)>,
}

impl Rig {
    fn open(urls: &[&str]) -> Self {
        Self::open_in(TempDir::new().unwrap(), urls, NOW).unwrap()
    }

    fn open_in(folder: TempDir, urls: &[&str], now: WallTime) -> Result<Self, OpenError> {
        let endpoints: Vec<_> = urls.iter().map(|url| endpoint(url)).collect();
        let latest = WallTime(now.0 + DAY_MS);
        let path = folder.path().join("outbox.db");
        let (store, left) = Store::open(&path, &endpoints, now, latest)?;
        let endpoints = endpoints.into_iter().map(Arc::new);
        Ok(Self {
            folder,
            store,
            endpoints: left.numbers.into_iter().zip(endpoints).collect(),
        })
    }

    fn write<T>(&mut self, write: impl FnOnce(&Batch<'_>, &[Wanting<'_>]) -> T) -> T {
        let batch = self.store.begin().unwrap();
        let endpoints = self.endpoints.iter();
        let endpoints: Vec<_> = endpoints.map(|(number, it)| (*number, it)).collect();
        let done = write(&batch, &endpoints);
        batch.commit().unwrap();
        done
    }

    fn record(&mut self, events: &[Event]) {
        self.write(|batch, endpoints| batch.record(events, endpoints, NOW).unwrap());
    }

    /// What the delivery of the `event`-th event to the first endpoint comes to.
    fn settle(&mut self, event: i64, then: Then) {
        let endpoint = self.endpoints[0].0;
        let settlement = Settlement {
            event,
            endpoint,
            attempts: 1,
            at: NOW,
            status: None,
            error: None,
            then,
        };
        self.write(|batch, _| batch.settle([settlement].iter()).unwrap());
    }

    /// Subjects and numbers of what is there, the oldest first.
    fn kept(&self) -> Vec<(String, u64)> {
        let reader = self.reader();
        let mut all = reader.page(&Selection::default(), 1000).unwrap().deliveries;
        all.reverse();
        let name = |delivery: super::super::Delivery| (delivery.subject, delivery.hook_seq);
        all.into_iter().map(name).collect()
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.folder.path().join("outbox.db")).unwrap()
    }

    fn prune(&mut self, active: &[i64], now: i64) {
        let now = WallTime(now);
        while self.write(|batch, _| batch.prune(active, now).unwrap().more) {}
    }
}

#[test]
fn only_its_owner_may_read_the_file() {
    let mut rig = Rig::open(&[]);
    rig.record(&[event("a", NOW)]);
    for name in ["outbox.db", "outbox.db-wal", "outbox.db-shm"] {
        let file = fs::metadata(rig.folder.path().join(name)).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[test]
fn numbers_go_on_over_a_restart_and_endpoints_keep_theirs() {
    let mut rig = Rig::open(&["http://a/", "http://b/"]);
    let numbers: Vec<_> = rig.endpoints.iter().map(|(number, _)| *number).collect();
    rig.record(&[event("s", NOW), event("t", NOW), event("s", NOW)]);
    drop(rig.store);
    let mut rig = Rig::open_in(rig.folder, &["http://b/"], NOW).unwrap();
    assert_eq!(rig.endpoints[0].0, numbers[1]);
    rig.record(&[event("s", NOW)]);
    let once: Vec<_> = ["s", "t", "s"].into_iter().zip([1, 1, 2]).collect();
    let mut wanted: Vec<_> = once.iter().flat_map(|one| [*one, *one]).collect();
    wanted.push(("s", 3));
    let kept = rig.kept();
    let kept: Vec<_> = kept
        .iter()
        .map(|(name, seq)| (name.as_str(), *seq))
        .collect();
    assert_eq!(kept, wanted);
}

#[test]
fn events_that_were_lost_leave_a_gap() {
    let mut rig = Rig::open(&["http://a/"]);
    rig.record(&[event("s", NOW)]);
    let lost = HashMap::from([("s".to_owned(), 2), ("new".to_owned(), 1)]);
    rig.write(|batch, _| batch.skip(&lost, NOW).unwrap());
    let mut long = event("s", NOW);
    let text = "x".repeat(limits::OUTBOX_BODY_BYTES_MAX);
    long.data.insert("text".to_owned(), text.into());
    rig.record(&[event("s", NOW), event("new", NOW), long, event("s", NOW)]);
    let wanted = [("s", 1), ("s", 4), ("new", 2), ("s", 6)];
    assert_eq!(rig.kept(), wanted.map(|(name, seq)| (name.to_owned(), seq)));
}

#[test]
fn an_event_that_its_metadata_makes_too_long_is_told_without_it() {
    let mut rig = Rig::open(&["http://a/"]);
    let mut long = event("s", NOW);
    let text = "x".repeat(limits::OUTBOX_BODY_BYTES_MAX);
    let metadata = Map::from_iter([("text".to_owned(), text.into())]);
    long.data.insert("metadata".to_owned(), metadata.into());
    long.data.insert("epoch".to_owned(), 7.into());
    long.life = Life::Begins;
    rig.record(&[long]);
    let fresh = rig.reader().fresh(rig.endpoints[0].0, 0, 9).unwrap();
    let body: Value = serde_json::from_slice(&fresh[0].body).unwrap();
    assert_eq!(body["data"], serde_json::json!({"epoch": 7, "hook_seq": 1}));
    drop(rig.store);
    let path = rig.folder.path().join("outbox.db");
    let (_, left) = Store::open(&path, &[], NOW, NOW).unwrap();
    assert_eq!(Value::from(left.unfinished[0].1.clone()), body["data"]);
}

#[test]
fn what_a_clock_that_was_ahead_put_off_is_due_at_once() {
    let mut rig = Rig::open(&["http://a/"]);
    rig.record(&[event("s", NOW), event("s", NOW)]);
    let soon = WallTime(NOW.0 + DAY_MS / 2);
    rig.settle(1, Then::Again(WallTime(NOW.0 + 400 * DAY_MS)));
    rig.settle(2, Then::Again(soon));
    drop(rig.store);
    let rig = Rig::open_in(rig.folder, &["http://a/"], NOW).unwrap();
    let due = rig.reader().due(rig.endpoints[0].0, NOW, 9).unwrap();
    assert_eq!(due.parcels.len(), 1);
    assert_eq!((due.parcels[0].event, due.parcels[0].attempts), (1, 1));
    assert_eq!(due.next, Some(soon));
}

#[test]
fn another_versions_file_is_left_alone() {
    let rig = Rig::open(&[]);
    rig.store
        .db
        .pragma_update(None, "user_version", 99)
        .unwrap();
    drop(rig.store);
    let error = Rig::open_in(rig.folder, &[], NOW).map(drop).unwrap_err();
    assert!(
        matches!(error, OpenError::Newer { found: 99, .. }),
        "{error:?}"
    );
}

#[test]
fn a_page_that_was_scribbled_on_is_found_at_start() {
    let mut rig = Rig::open(&["http://a/"]);
    for _ in 0..200 {
        rig.record(&[event("s", NOW)]);
    }
    let path = rig.folder.path().join("outbox.db");
    rig.store.db.close().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    let error = Rig::open_in(rig.folder, &[], NOW).map(drop).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
}

#[test]
fn what_was_delivered_is_forgotten_after_a_week_and_a_dead_letter_after_a_month() {
    let mut rig = Rig::open(&["http://a/"]);
    let active = [rig.endpoints[0].0];
    rig.record(&["delivered", "dead", "waiting"].map(|name| event(name, NOW)));
    rig.settle(1, Then::Delivered);
    rig.settle(2, Then::Dead);
    let all = ["delivered", "dead", "waiting"];
    let mut after = |active: &[i64], days: i64, wanted: &[&str]| {
        rig.prune(active, NOW.0 + days * DAY_MS);
        let kept: Vec<_> = rig.kept().into_iter().map(|(name, _)| name).collect();
        assert_eq!(kept, wanted, "after {days} days");
    };
    after(&active, 6, &all);
    after(&active, 8, &all[1..]);
    after(&active, 29, &all[1..]);
    after(&active, 31, &all[2..]);
    after(&active, 400, &all[2..]);
    // Nobody is configured who could take it.
    after(&[], 400, &[]);
}

#[test]
fn a_stream_that_is_not_heard_of_begins_at_one_again_but_not_while_anything_of_it_is_kept() {
    let mut rig = Rig::open(&["http://a/"]);
    let active = [rig.endpoints[0].0];
    rig.record(&[event("s", NOW), event("kept", NOW)]);
    rig.settle(1, Then::Delivered);
    let later = NOW.0 + 91 * DAY_MS;
    rig.prune(&active, later);
    rig.record(&[event("s", WallTime(later)), event("kept", WallTime(later))]);
    let wanted = [("kept", 1), ("s", 1), ("kept", 2)];
    assert_eq!(rig.kept(), wanted.map(|(name, seq)| (name.to_owned(), seq)));
}

#[test]
fn more_than_may_wait_for_an_endpoint_become_dead_letters_the_oldest_first() {
    let mut rig = Rig::open(&["http://a/"]);
    let active = [rig.endpoints[0].0];
    let most = usize::try_from(limits::OUTBOX_WAITING_MAX).unwrap();
    let events: Vec<_> = (0..most + 2).map(|_| event("s", NOW)).collect();
    rig.record(&events);
    // Nothing of what somebody wants again is given up for it: it is all or nothing.
    rig.settle(1, Then::Delivered);
    rig.settle(2, Then::Delivered);
    let batch = rig.store.begin().unwrap();
    let (number, endpoint) = &rig.endpoints[0];
    let replayed = batch.replay(NOW, (*number, endpoint), NOW);
    let waiting = limits::OUTBOX_WAITING_MAX + 2;
    assert!(
        matches!(replayed, Err(Error::TooMany { waiting: told }) if told == waiting),
        "{replayed:?}"
    );
    drop(batch);
    rig.prune(&active, NOW.0);
    let counts = rig.reader().counts(active[0]).unwrap();
    assert_eq!((counts.waiting, counts.dead), (most as u64, 0));
    rig.write(|batch, _| {
        for event in [1, 2] {
            let again = "UPDATE delivery SET state = 'fresh' WHERE event = ?1";
            batch.transaction.execute(again, [event]).unwrap();
        }
    });

    let pruned = rig.write(|batch, _| batch.prune(&active, NOW).unwrap());
    assert_eq!(pruned.given_up, [(active[0], 2)], "counted");
    let dead = Selection {
        state: Some(State::Dead),
        active: active.to_vec(),
        ..Selection::default()
    };
    let dead = rig.reader().page(&dead, 9).unwrap().deliveries;
    let numbers: Vec<_> = dead.iter().map(|delivery| delivery.hook_seq).collect();
    assert_eq!(numbers, [2, 1]);
    let counts = rig.reader().counts(active[0]).unwrap();
    assert_eq!((counts.waiting, counts.dead), (most as u64, 2));
    assert_eq!(counts.oldest, Some(NOW));
}
