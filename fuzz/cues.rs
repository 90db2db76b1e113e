//! Events in the stream engine: whatever is posted, sent and repeated between whatever publishers and encoders do, over
//! restarts too.
//!
//! Invariants, beside those of [`engine`]: an event that comes again is answered again; none is placed before the epoch, or
//! told of twice; by the end of the stream each that was accepted is told of.

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::Arbitrary;
use serde_json::json;
use vitrine_core::{
    engine::{
        cues::{Allowance, Placement},
        saved::Error,
        stream::{Input, Stream},
    },
    media::WallTime,
    wire::event::{Event, Kind},
};

use crate::engine::{self, Rig};

/// One thing that happens.
#[derive(Arbitrary, Debug)]
enum Operation {
    /// To the stream.
    Engine(engine::Operation),
    /// A backend posts an event.
    Post(Posted),
    /// The publisher sends one between its media.
    Send { timestamp: u32, posted: Posted },
    /// Another state is repeated.
    Repeat { value: u8 },
    /// The publish may carry something else.
    Allow {
        per_second: u16,
        bytes_per_second: u16,
        offset_ms: i32,
    },
    /// Another process goes on.
    Restart,
}

/// What is posted.
#[derive(Arbitrary, Debug)]
struct Posted {
    id: u8,
    kind: u8,
    at_ms: Option<i32>,
    ttl_ms: u16,
    duration_ms: Option<u16>,
    close: Option<u8>,
    text: u8,
}

/// Operations on one stream.
pub fn cues(data: &[u8]) {
    play(data);
}

/// How many copies of events it was told of.
fn play(data: &[u8]) -> usize {
    let Ok(operations) = Vec::<Operation>::arbitrary_take_rest(arbitrary::Unstructured::new(data))
    else {
        return 0;
    };
    let mut shop = Shop::default();
    for operation in operations.into_iter().take(64) {
        shop.perform(operation);
    }
    shop.rig.push(Input::End);
    shop.listen();
    let told = shop.told.iter();
    let untold: Vec<_> = { shop.answers.keys() }
        .filter(|id| !shop.told.contains(*id))
        .collect();
    assert!(untold.is_empty(), "{untold:?} of {told:?}");
    shop.copies
}

#[derive(Default)]
struct Shop {
    rig: Rig,
    answers: BTreeMap<String, Placement>,
    told: BTreeSet<String>,
    copies: usize,
}

impl Shop {
    fn perform(&mut self, operation: Operation) {
        match operation {
            Operation::Engine(operation) => self.rig.perform(operation),
            Operation::Post(posted) => self.post(&posted),
            Operation::Send { timestamp, posted } => {
                let (session, event) = (self.rig.sessions, self.event(&posted));
                self.rig.push(Input::Event {
                    session,
                    timestamp,
                    event,
                });
            }
            Operation::Repeat { value } => {
                let state = json!({ "value": value });
                let state = state.as_object().cloned().filter(|_| value != 0);
                let now = self.rig.now();
                let _ = { &mut self.rig.stream }.repeat(now, state.unwrap_or_default(), None);
                self.rig.drain();
            }
            Operation::Allow {
                per_second,
                bytes_per_second,
                offset_ms,
            } => {
                let session = self.rig.sessions;
                let events = Allowance {
                    per_second: per_second.into(),
                    bytes_per_second: bytes_per_second.into(),
                    offset_ms,
                };
                self.rig.push(Input::Allow { session, events });
            }
            Operation::Restart => self.restart(),
        }
        self.listen();
    }

    fn event(&self, posted: &Posted) -> Event {
        let kind = &Kind::ALL[usize::from(posted.kind) % Kind::ALL.len()].name;
        let text = "x".repeat(usize::from(posted.text) * 3);
        let event =
            json!({ "id": format!("e{}", posted.id), "type": kind, "data": { "text": text } });
        let event = Event::parse(event.to_string().as_bytes()).expect("an event");
        let wall = self.rig.now().wall.0;
        Event {
            at: posted.at_ms.map(|ms| WallTime(wall + i64::from(ms))),
            ttl_ms: u32::from(posted.ttl_ms) + 1,
            duration_ms: posted.duration_ms.map(|ms| u32::from(ms) + 1),
            close: posted.close.map(|id| format!("e{id}")),
            ..event
        }
    }

    fn post(&mut self, posted: &Posted) {
        let event = self.event(posted);
        let id = event.id.clone();
        let now = self.rig.now();
        let answer = self.rig.stream.place(now, event);
        self.rig.drain();
        let known = self.answers.get(&id);
        if let Ok(placement) = &answer {
            assert!(placement.place.media_time_ms >= 0);
        }
        if let Some(known) = known {
            // What an epoch left unplaced has another place in the next one.
            let answer = answer.as_ref().expect("known");
            assert!(answer.place.epoch > known.place.epoch || answer == known);
        }
        if let Ok(answer) = answer {
            self.answers.insert(id, answer);
        }
    }

    /// What the stream told.
    fn listen(&mut self) {
        for confirmation in self.rig.placed.drain(..) {
            self.copies += confirmation.copies.len();
            let event = &confirmation.event.event;
            assert!(self.told.insert(event.id.clone()), "{event:?} again");
        }
    }

    fn restart(&mut self) {
        let now = self.rig.now();
        let saved = self.rig.stream.save(now);
        self.rig.drain();
        self.listen();
        let restored = saved.map(|saved| Stream::restore(engine::settings(), saved, now));
        self.rig.stream = match restored {
            Some(Ok(stream)) => stream,
            // Nobody has seen it, or its time is over: another begins, and knows of nothing.
            Some(Err(Error::Expired { .. })) | None => {
                (self.answers, self.told) = Default::default();
                Stream::new(engine::settings())
            }
            Some(Err(error)) => panic!("saved just now: {error}"),
        };
        self.rig.drain();
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    fn corpus() -> PathBuf {
        [env!("CARGO_MANIFEST_DIR"), "corpus", "cues"]
            .iter()
            .collect()
    }

    /// Every seed and every crash once found, on stable.
    #[test]
    fn corpora_replay() {
        let mut copies = 0;
        for seed in fs::read_dir(corpus()).expect("a corpus") {
            copies += play(&fs::read(seed.expect("a seed").path()).expect("a file"));
        }
        assert!(copies > 20, "seeds place events: {copies}");
    }

    /// Writes operations as `arbitrary` reads them: a variant is where a number stands among all numbers.
    struct Story(Vec<u8>);

    impl Story {
        fn operation(&mut self, variant: u64, fields: &[u8]) {
            self.0.push(1);
            self.variant(variant, 6);
            self.0.extend_from_slice(fields);
        }

        fn engine(&mut self, variant: u64, fields: &[u8]) {
            self.0.push(1);
            self.variant(0, 6);
            self.variant(variant, 10);
            self.0.extend_from_slice(fields);
        }

        fn variant(&mut self, variant: u64, of: u64) {
            let number = ((variant << 32) / of + 1) as u32;
            self.0.extend_from_slice(&number.to_le_bytes());
        }

        /// A publisher connects; with a ladder, or without.
        fn open(&mut self, ladder: bool) {
            self.engine(0, &[if ladder { 0 } else { 2 }]);
            self.engine(3, &[0]);
            self.engine(3, &[2]);
            for _ in 0..3 {
                self.second();
            }
        }

        /// A second of media, in a quarter of one, and what encoders make of it.
        fn second(&mut self) {
            self.engine(6, &[250, 1, 1]);
            self.engine(8, &[255]);
        }
    }

    /// A shop that opens, posts, is interrupted, and goes on, as dice will have it.
    fn dice(mut seed: u64) -> Vec<u8> {
        let ladder = seed.is_multiple_of(2);
        let mut roll = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed.to_le_bytes()
        };
        let mut story = Story(Vec::new());
        story.open(ladder);
        for _ in 0..20 {
            let [what, id, kind, when, text, close, ..] = roll();
            let mut posted = vec![id % 16, kind, when & 1];
            if when & 1 == 1 {
                posted.extend_from_slice(&(i32::from(when) * 8 - 500).to_le_bytes());
            }
            posted.extend_from_slice(&[0, 40, text & 1]);
            if text & 1 == 1 {
                posted.extend_from_slice(&[text, 4]);
            }
            posted.push(close & 1);
            if close & 1 == 1 {
                posted.push(close % 16);
            }
            posted.push(text / 8);
            match what % 8 {
                0..3 => story.operation(1, &posted),
                3 => {
                    let timestamp = 2_000_u32.to_le_bytes();
                    story.operation(2, &[&timestamp[..], &posted].concat());
                }
                4..6 => story.second(),
                6 => story.operation(3, &[text]),
                _ => {
                    story.operation(5, &[]);
                    story.open(ladder);
                }
            }
        }
        story.0
    }

    #[test]
    #[ignore = "writes the seeds anew, after a change of the operations"]
    fn seeds_are_written() {
        let mut written = 0;
        for seed in 1..100_000 {
            let data = dice(seed);
            if written < 12 && play(&data) > 2 {
                written += 1;
                fs::write(corpus().join(format!("dice-{seed}")), data).expect("written");
            }
        }
        assert_eq!(written, 12);
    }
}
