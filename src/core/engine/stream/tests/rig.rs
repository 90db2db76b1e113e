//! A virtual clock around a [`Stream`]: inputs at their times, timers in between, every output seen by a model player.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use super::{
    End, Input, Notice, Output, Settings, Stream, encoders::Encoders, source::Source,
    witness::Witness,
};
use crate::{
    engine::{
        cues::{Confirmation, Placement, Refusal},
        ladder::{Encoded, Ladder},
        player::Player,
        saved::{self, Saved},
        window::Snapshot,
    },
    media::{Now, Rendition, WallTime},
    wire::{
        event::Event,
        flv::Item,
        m3u8::{media::Form, multivariant::Multivariant},
    },
};

pub(super) const EPOCH: u64 = 1_767_268_800;

pub(super) fn settings() -> Settings {
    Settings {
        part: Duration::from_millis(200),
        segment: Duration::from_secs(1),
        max_gop: Duration::from_secs(2),
        window: Duration::from_secs(12),
        part_hold_back: None,
        grace: Duration::from_secs(20),
        grace_after_stop: Duration::from_secs(3),
    }
}

/// What one epoch has shown so far.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) player: Player,
    pub(super) multivariant: Option<Arc<Multivariant>>,
    pub(super) snapshots: BTreeMap<Rendition, Arc<Snapshot>>,
    /// When each rendition grew, with its parts and complete segments since the beginning.
    pub(super) growth: BTreeMap<Rendition, Vec<(u64, u64, u64)>>,
    pub(super) ended: bool,
}

#[derive(Debug)]
pub(super) struct Rig {
    pub(super) stream: Stream,
    pub(super) now_ms: u64,
    /// When the process began that runs the stream: its monotonic time is zero there.
    boot_ms: u64,
    pub(super) epochs: BTreeMap<u64, Shown>,
    pub(super) notices: Vec<Notice>,
    pub(super) confirmed: Vec<Confirmation>,
    /// Ids of events that were answered a place.
    pub(super) accepted: BTreeSet<String>,
    pub(super) closed: bool,
    /// How far the wall clock was set ahead, or back.
    pub(super) clock_ms: i64,
    /// Whether the model player looks.
    pub(super) watching: bool,
    /// What publishes are made into.
    pub(super) ladder: Option<Ladder>,
    pub(super) encoders: Encoders,
    /// How far apart renditions may end: a second, and what encoders may owe.
    pub(super) spread_ms: i64,
    /// What the parts' own boxes carry.
    pub(super) witness: Witness,
    sessions: u64,
    frame_ms: u64,
}

impl Rig {
    /// `frame_ms`: the longest frame of any track, the tolerance of timing rules.
    pub(super) fn new(frame_ms: u64) -> Self {
        Self {
            stream: Stream::new(settings()),
            now_ms: 0,
            boot_ms: 0,
            epochs: BTreeMap::new(),
            notices: Vec::new(),
            confirmed: Vec::new(),
            accepted: BTreeSet::new(),
            closed: false,
            clock_ms: 0,
            watching: true,
            ladder: None,
            encoders: Encoders::new(0),
            spread_ms: 1_000,
            witness: Witness::default(),
            sessions: 0,
            frame_ms,
        }
    }

    pub(super) fn open(&mut self) {
        let epoch = EPOCH + self.now_ms / 1000;
        self.open_as(epoch, false);
    }

    pub(super) fn open_as(&mut self, epoch: u64, named: bool) {
        self.sessions += 1;
        self.push(Input::Open {
            session: self.sessions,
            epoch,
            named,
            ladder: self.ladder,
            events: crate::engine::cues::Allowance::default(),
        });
    }

    pub(super) fn close(&mut self, end: End) {
        self.push(Input::Close {
            session: self.sessions,
            end,
        });
    }

    /// Sends `items`, each at its own time after now.
    pub(super) fn send(&mut self, items: impl IntoIterator<Item = (u64, Item)>) {
        let start_ms = self.now_ms;
        for (ms, item) in items {
            self.advance_to(start_ms + ms);
            self.item(item);
        }
    }

    /// Sends one item now.
    pub(super) fn item(&mut self, item: Item) {
        self.push(Input::Media {
            session: self.sessions,
            item,
        });
    }

    /// A whole publish of `seconds`, from connect to the last frame; the session stays open.
    pub(super) fn broadcast(&mut self, source: &Source, seconds: u64) {
        self.open();
        self.send(source.items(0, seconds * 1000));
    }

    /// Lets time pass, with all timers in it.
    pub(super) fn advance_to(&mut self, ms: u64) {
        while let Some(deadline) = self.stream.deadline() {
            let due_ms = self.boot_ms + deadline.as_micros().div_ceil(1000) as u64;
            if due_ms > ms {
                break;
            }
            self.now_ms = self.now_ms.max(due_ms);
            self.stream.expire(self.now());
            self.drain();
            assert!(
                self.stream.deadline() != Some(deadline),
                "a timer that has come must move"
            );
        }
        self.now_ms = self.now_ms.max(ms);
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.advance_to(self.now_ms + ms);
    }

    /// The process ends: what it leaves, in bytes.
    pub(super) fn save(&mut self) -> Option<Bytes> {
        let saved = self.stream.save(self.now());
        self.drain();
        saved.map(|saved| saved.encode().concat().into())
    }

    /// The process ends, and another goes on after `away_ms` with what the first one left.
    pub(super) fn restart(&mut self, away_ms: u64) -> Result<(), saved::Error> {
        let file = self.save();
        self.resume(file, away_ms)
    }

    /// Another process goes on with `file` after `away_ms`.
    pub(super) fn resume(&mut self, file: Option<Bytes>, away_ms: u64) -> Result<(), saved::Error> {
        self.now_ms += away_ms;
        self.boot_ms = self.now_ms;
        self.sessions = 0;
        self.encoders = Encoders::new(self.encoders.behind);
        self.stream = match file {
            Some(file) => Stream::restore(settings(), Saved::decode(&file)?, self.now())?,
            None => {
                // What nobody has seen is over.
                self.accepted.clear();
                Stream::new(settings())
            }
        };
        let before = self.playlists();
        self.drain();
        let after = self.playlists();
        assert_eq!(before, after, "what was shown last is shown first");
        Ok(())
    }

    pub(super) fn push(&mut self, input: Input) {
        self.stream.push(self.now(), input);
        self.drain();
    }

    pub(super) fn shown(&self) -> &Shown {
        self.epochs.last_key_value().expect("an epoch began").1
    }

    pub(super) fn playlist(&self, rendition: Rendition) -> String {
        self.shown().snapshots[&rendition].playlist(Form::Full)
    }

    fn playlists(&self) -> Option<Vec<String>> {
        let (_, shown) = self.epochs.last_key_value()?;
        let all = shown.snapshots.values();
        Some(all.map(|snapshot| snapshot.playlist(Form::Full)).collect())
    }

    pub(super) fn multivariant(&self) -> &Multivariant {
        self.shown()
            .multivariant
            .as_ref()
            .expect("an epoch presents itself")
    }

    pub(super) fn now(&self) -> Now {
        let wall = WallTime((EPOCH * 1000 + self.now_ms) as i64 + self.clock_ms);
        Now {
            mono: Duration::from_millis(self.now_ms - self.boot_ms),
            wall,
        }
    }

    /// The publisher sends `event` between its media.
    pub(super) fn send_event(&mut self, timestamp: u32, event: Event) {
        self.push(Input::Event {
            session: self.sessions,
            timestamp,
            event,
        });
    }

    /// A backend posts `event`.
    pub(super) fn place(&mut self, event: Event) -> Result<Placement, Refusal> {
        let id = event.id.clone();
        let placed = self.stream.place(self.now(), event);
        self.accepted.extend(placed.is_ok().then_some(id));
        self.drain();
        placed
    }

    fn drain(&mut self) {
        let mut encoded = VecDeque::new();
        loop {
            self.carry_out(&mut encoded);
            let Some(encoded) = encoded.pop_front() else {
                break;
            };
            self.stream.push(self.now(), Input::Encoded(encoded));
        }
        self.stream.check_invariants();
        for shown in self.epochs.values() {
            let ranges: Vec<_> = shown.snapshots.values().map(|it| &it.ranges).collect();
            assert!(
                ranges.windows(2).all(|two| two[0] == two[1]),
                "one set of ranges"
            );
        }
    }

    fn carry_out(&mut self, encoded: &mut VecDeque<Encoded>) {
        while let Some(output) = self.stream.poll() {
            match output {
                Output::Placed(confirmation) => self.confirmed.push(confirmation),
                Output::Feed(feeds) => {
                    encoded.extend(feeds.into_iter().flat_map(|feed| self.encoders.take(feed)));
                }
                Output::Presentation(multivariant) => {
                    let epoch = multivariant.epoch;
                    self.shown_of(epoch).multivariant = Some(multivariant);
                }
                Output::Snapshot {
                    epoch,
                    rendition,
                    snapshot,
                } => {
                    let (now_ms, watching) = (self.now_ms, self.watching);
                    let mut witness = std::mem::take(&mut self.witness);
                    let shown = self.shown_of(epoch);
                    assert!(!shown.ended, "nothing follows the end of an epoch");
                    witness.observe(epoch, rendition, &snapshot);
                    if watching {
                        shown.player.observe(now_ms as i64, rendition, &snapshot);
                    }
                    let complete = snapshot.next_msn - u64::from(snapshot.open.is_some());
                    let grown = (now_ms, snapshot.next_part, complete);
                    shown.growth.entry(rendition).or_default().push(grown);
                    shown.snapshots.insert(rendition, snapshot);
                    self.witness = witness;
                }
                Output::Ended { epoch } => {
                    let shown = self.shown_of(epoch);
                    assert!(shown.snapshots.values().all(|snapshot| snapshot.ended));
                    shown.ended = true;
                }
                Output::Closed => self.closed = true,
                Output::Notice(notice) => self.notices.push(notice),
            }
        }
    }

    /// The viewer leaves and another comes, to whom what is over was never shown.
    pub(super) fn change_viewers(&mut self) {
        self.notices = Vec::new();
        self.epochs.retain(|_, shown| !shown.ended);
        for shown in self.epochs.values_mut() {
            shown.player = new_player(self.frame_ms, self.spread_ms);
        }
    }

    fn shown_of(&mut self, epoch: u64) -> &mut Shown {
        let (frame_ms, spread_ms) = (self.frame_ms, self.spread_ms);
        self.epochs.entry(epoch).or_insert_with(|| Shown {
            player: new_player(frame_ms, spread_ms),
            multivariant: None,
            snapshots: BTreeMap::new(),
            growth: BTreeMap::new(),
            ended: false,
        })
    }
}

fn new_player(frame_ms: u64, spread_ms: i64) -> Player {
    Player::new(frame_ms as f64).wanting_spread_ms(spread_ms)
}
