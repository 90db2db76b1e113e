//! Where events stand is told in batches: at most one a second, each of a size that callbacks may have, none lost, and all
//! before the end.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;
use vitrine_core::{
    engine::{cues::Confirmation, lifecycle::Cause},
    limits,
    media::{Rendition, WallTime},
    wire::event::{Event, Place, Placed},
};
use vitrine_runtime::deliver;

use super::{HOME, claim};
use crate::live::{Herald, chronicle::Chronicle};

const NOON: WallTime = WallTime(1_767_268_800_000);
const SECOND: Duration = limits::PLACED_EVERY;

/// A stream's life that has begun, and what is told of it.
struct Rig {
    chronicle: Chronicle,
    told: Arc<Mutex<Vec<deliver::Event>>>,
    now: Instant,
}

impl Rig {
    fn new() -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let record = told.clone();
        let record = move |event| record.lock().expect("no panic").push(event);
        let herald = Herald::of(record, "n1", None);
        let mut chronicle = Chronicle::new(herald, "demo".parse().expect("valid"));
        let mut claim = claim(HOME, true);
        // As much as a verdict may bring along.
        let words = "x".repeat(4000);
        claim
            .terms
            .metadata
            .insert("words".to_owned(), words.into());
        chronicle.accepted(NOON, 1, &claim, 7, 0);
        chronicle.playable(NOON, 1, &[Rendition::High]);
        Self {
            chronicle,
            told,
            now: Instant::now(),
        }
    }

    fn place(&mut self, numbers: std::ops::Range<u64>) {
        for n in numbers {
            let event = json!({"id": format!("e{n}"), "type": "stock.changed", "seq": n});
            let event = Event::parse(event.to_string().as_bytes()).expect("an event");
            let place = Place {
                epoch: 7,
                media_time_ms: 40 * n as i64,
                program_date_time: NOON,
            };
            self.chronicle.placed(&Confirmation {
                event: Arc::new(Placed::new(event, place)),
                copies: vec![(Rendition::High, n / 5, n), (Rendition::Mid, n / 5, n)],
                missing: vec![Rendition::Low],
            });
        }
        self.chronicle.tell_placed(self.now, NOON);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.chronicle.tell_placed(self.now, NOON);
    }

    /// Ids of the events in each batch so far.
    fn batches(&self) -> Vec<Vec<String>> {
        let told = self.told.lock().expect("no panic");
        let batches = told.iter().filter(|event| event.kind == "events.placed");
        let ids = |batch: &deliver::Event| {
            let events = batch.data["events"].as_array().expect("a list").iter();
            let ids = events.map(|event| event["id"].as_str().expect("text").to_owned());
            ids.collect()
        };
        batches.map(ids).collect()
    }
}

fn ids(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|n| format!("e{n}")).collect()
}

#[test]
fn the_first_is_told_at_once_and_others_once_a_second_in_order() {
    let mut rig = Rig::new();
    assert_eq!(rig.chronicle.placed_due(), None);
    rig.place(0..3);
    assert_eq!(rig.batches(), [ids(0..3)]);
    rig.place(3..4);
    rig.pass(SECOND / 2);
    rig.place(4..6);
    assert_eq!(rig.batches().len(), 1, "not yet");
    assert!(rig.chronicle.placed_due().is_some());
    rig.pass(SECOND / 2);
    assert_eq!(rig.batches(), [ids(0..3), ids(3..6)]);
    assert_eq!(rig.chronicle.placed_due(), None);
    let told = rig.told.lock().expect("no panic");
    let data = &told.last().expect("told").data;
    for (name, value) in [
        ("stream_id", json!("demo")),
        ("node", json!("n1")),
        ("epoch", json!(7)),
    ] {
        assert_eq!(data[name], value);
    }
    let event = json!({
        "id": "e5", "type": "stock.changed", "seq": 5, "epoch": 7, "media_time_ms": 200,
        "program_date_time": "2026-01-01T12:00:00.000Z",
        "renditions": {"high": {"msn": 1, "part": 5}, "mid": {"msn": 1, "part": 5}}, "missing": ["low"]
    });
    assert_eq!(data["events"][2], event);
}

#[test]
fn a_burst_is_split_over_batches_of_the_size_that_callbacks_may_have() {
    let mut rig = Rig::new();
    rig.place(0..200);
    for _ in 0..10 {
        rig.pass(SECOND);
    }
    let batches = rig.batches();
    assert!((2..10).contains(&batches.len()), "{}", batches.len());
    assert_eq!(batches.concat(), ids(0..200), "none lost, none twice");
    for event in rig.told.lock().expect("no panic").iter() {
        let data = Value::from(event.data.clone()).to_string();
        let bytes = data.len() + 120; // type, timestamp, hook_seq
        assert!(bytes <= limits::OUTBOX_BODY_BYTES_MAX, "{bytes}");
    }
}

#[test]
fn what_waits_is_bounded_and_told_before_the_end() {
    let mut rig = Rig::new();
    rig.place(0..2000);
    let told: usize = rig.batches().iter().map(Vec::len).sum();
    assert!((1000..2000).contains(&told), "{told}");
    rig.place(2000..2010);
    rig.chronicle.over(NOON, Some((Cause::Ended, None)), 0);
    let told = rig.batches().concat();
    assert!(told == ids(0..2010), "{} told", told.len());
    let told = rig.told.lock().expect("no panic");
    assert_eq!(told.last().expect("told").kind, "stream.ended");
}
