//! The stream engine: whatever publishers do, and in whatever order, no panic, and every playlist keeps its promises.
//!
//! Invariants: those of [`Stream::check_invariants`]; a segment is as long as its parts, no part is longer than the part
//! target, no rounded segment than the target duration; what ended does not go on. What versions of a playlist owe to
//! one another is the model player's to check, not repeated here.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use arbitrary::Arbitrary;
use bytes::Bytes;
use vitrine_core::{
    engine::{
        ladder::{Encoded, Failure, Feed, Ladder},
        publish::Metadata,
        stream::{End, Input, Output, Settings, Stream},
        window::Snapshot,
    },
    media::{Config, Kind, MediaTime, Now, Rendition, Sample, WallTime, aac, avc, opus},
    wire::{
        flv::{Frame, Item},
        m3u8::media::Form,
    },
};

/// One thing that happens to a stream.
#[derive(Arbitrary, Debug)]
enum Operation {
    Open {
        epoch: u8,
    },
    Close {
        stopped: bool,
        /// Sessions back from the newest.
        age: u8,
    },
    Metadata {
        frame_rate: Option<f64>,
        video: bool,
        audio: bool,
    },
    Config {
        which: u8,
    },
    /// A frame in step with the one before it on its track.
    Next {
        video: bool,
        sync: bool,
        step_ms: u8,
    },
    /// A frame anywhere.
    Frame {
        video: bool,
        sync: bool,
        timestamp: u32,
        nanos: u32,
        composition_ms: i32,
        data: Vec<u8>,
    },
    /// A second of regular broadcast in this many milliseconds.
    Second {
        in_ms: u8,
        video: bool,
        audio: bool,
    },
    Pass {
        ms: u16,
    },
    /// Encoders hand back some of what they owe.
    Encoders {
        items: u8,
    },
    /// An encoder hands back what nobody asked for.
    Encoded {
        rendition: u8,
        what: u8,
        at: i32,
        sync: bool,
    },
}

/// Operations on one stream.
pub fn packager(data: &[u8]) {
    let Ok(operations) = Vec::<Operation>::arbitrary_take_rest(arbitrary::Unstructured::new(data))
    else {
        return;
    };
    let mut rig = Rig::new();
    // Longer lists only find what shorter ones find.
    for operation in operations.into_iter().take(64) {
        rig.perform(operation);
    }
}

struct Rig {
    stream: Stream,
    now_ms: u64,
    sessions: u64,
    /// Next timestamps of pictures and of sound.
    next: [u32; 2],
    pictures: u32,
    /// What encoders have not handed back.
    owed: VecDeque<Encoded>,
    /// Whose they are.
    rungs: Vec<Rendition>,
    /// Of the source they had last.
    config: Option<Config>,
    ended: BTreeSet<u64>,
}

impl Rig {
    fn new() -> Self {
        let settings = Settings {
            part: Duration::from_millis(200),
            segment: Duration::from_secs(1),
            max_gop: Duration::from_secs(2),
            window: Duration::from_secs(12),
            part_hold_back: None,
            grace: Duration::from_secs(20),
            grace_after_stop: Duration::from_secs(3),
        };
        Self {
            stream: Stream::new(settings),
            now_ms: 0,
            sessions: 0,
            next: [0; 2],
            pictures: 0,
            owed: VecDeque::new(),
            rungs: Vec::new(),
            config: None,
            ended: BTreeSet::new(),
        }
    }

    fn perform(&mut self, operation: Operation) {
        let session = self.sessions;
        match operation {
            Operation::Open { epoch } => {
                self.sessions += 1;
                self.push(Input::Open {
                    session: self.sessions,
                    epoch: epoch.into(),
                    named: epoch % 2 == 1,
                    ladder: (epoch % 4 < 2).then(Ladder::default),
                    events: vitrine_core::engine::cues::Allowance::default(),
                });
            }
            Operation::Close { stopped, age } => self.push(Input::Close {
                session: session.saturating_sub(u64::from(age % 4)),
                end: if stopped { End::Stopped } else { End::Lost },
            }),
            Operation::Metadata {
                frame_rate,
                video,
                audio,
            } => {
                let metadata = Metadata {
                    frame_rate,
                    video,
                    audio,
                    ..Metadata::default()
                };
                self.push(Input::Metadata { session, metadata });
            }
            Operation::Config { which } => self.item(Item::Config(config(which))),
            Operation::Next {
                video,
                sync,
                step_ms,
            } => self.next(video, sync, step_ms.into()),
            Operation::Frame {
                video,
                sync,
                timestamp,
                nanos,
                composition_ms,
                data,
            } => self.item(Item::Frame(Frame {
                kind: if video { Kind::Video } else { Kind::Audio },
                timestamp,
                // What the FLV reader can hand over: below a millisecond, and 24 bits.
                nanos: nanos % 1_000_000,
                composition_ms: composition_ms >> 8,
                sync: sync || !video,
                data: Bytes::from(data),
            })),
            Operation::Second {
                in_ms,
                video,
                audio,
            } => self.second(in_ms.into(), video, audio),
            Operation::Pass { ms } => self.pass(ms.into()),
            Operation::Encoders { items } => {
                for _ in 0..items {
                    let Some(encoded) = self.owed.pop_front() else {
                        break;
                    };
                    self.push(Input::Encoded(encoded));
                }
            }
            Operation::Encoded {
                rendition,
                what,
                at,
                sync,
            } => self.push(Input::Encoded(stray(rendition, what, at, sync))),
        }
    }

    /// 25 pictures and 50 frames of sound, a key frame first.
    fn second(&mut self, in_ms: u64, video: bool, audio: bool) {
        for n in 0..25 {
            self.pass(in_ms / 25);
            if video {
                self.next(true, n == 0, 40);
            }
            if audio {
                self.next(false, true, 20);
                self.next(false, true, 20);
            }
        }
    }

    fn next(&mut self, video: bool, sync: bool, step_ms: u32) {
        let timestamp = self.next[usize::from(!video)];
        self.next[usize::from(!video)] = timestamp.wrapping_add(step_ms);
        self.pictures = self.pictures.wrapping_add(1);
        self.item(Item::Frame(Frame {
            kind: if video { Kind::Video } else { Kind::Audio },
            timestamp,
            nanos: 0,
            composition_ms: 0,
            sync: sync || !video,
            data: Bytes::copy_from_slice(&self.pictures.to_be_bytes()),
        }));
    }

    /// Encoders that make of every picture one like it, a key frame where it was one.
    fn feed(&mut self, feed: Feed) {
        if let Feed::Source { config, .. } = &feed {
            self.config = Some(config.clone());
        }
        if let (Feed::Source { rungs, .. } | Feed::Slate { rungs }, Some(config)) =
            (&feed, &self.config)
        {
            self.rungs = rungs.iter().map(|rung| rung.rendition).collect();
            let config = |rendition| Encoded::Config {
                rendition,
                config: config.clone(),
            };
            self.owed.extend(self.rungs.iter().copied().map(config));
        }
        for rendition in self.rungs.iter().copied() {
            match &feed {
                Feed::Picture(sample) => self.owed.push_back(Encoded::Picture {
                    rendition,
                    sample: sample.clone(),
                }),
                Feed::Repeat { at } => self.owed.push_back(Encoded::Picture {
                    rendition,
                    sample: Sample {
                        dts: *at,
                        composition_offset: 0,
                        duration: 3000,
                        sync: at % 90_000 == 0,
                        data: Bytes::from_static(b"again"),
                    },
                }),
                Feed::Drain => self.owed.push_back(Encoded::Drained { rendition }),
                Feed::Source { .. }
                | Feed::Slate { .. }
                | Feed::Key { .. }
                | Feed::Seal { .. }
                | Feed::Stop { .. } => {}
            }
        }
    }

    fn item(&mut self, item: Item) {
        let session = self.sessions;
        self.push(Input::Media { session, item });
    }

    fn push(&mut self, input: Input) {
        self.stream.push(self.now(), input);
        self.drain();
    }

    /// Lets time pass with the timers in it; a timer that does not move would spin its driver.
    fn pass(&mut self, ms: u64) {
        let until = Duration::from_millis(self.now_ms + ms);
        while let Some(due) = self.stream.deadline().filter(|due| *due <= until) {
            self.now_ms = self.now_ms.max(due.as_micros().div_ceil(1000) as u64);
            self.stream.expire(self.now());
            self.drain();
            assert_ne!(self.stream.deadline(), Some(due), "a timer moves");
        }
        self.now_ms = self.now_ms.max(until.as_millis() as u64);
    }

    fn now(&self) -> Now {
        Now {
            mono: Duration::from_millis(self.now_ms),
            wall: WallTime(1_767_268_800_000 + self.now_ms as i64),
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.stream.poll() {
            match output {
                Output::Placed(_) => {}
                Output::Feed(feeds) => feeds.into_iter().for_each(|feed| self.feed(feed)),
                Output::Snapshot {
                    epoch, snapshot, ..
                } => {
                    assert!(
                        !self.ended.contains(&epoch),
                        "an ended epoch stays as it is"
                    );
                    holds(&snapshot);
                }
                Output::Ended { epoch } => assert!(self.ended.insert(epoch), "ended once"),
                Output::Presentation(multivariant) => drop(multivariant.write()),
                Output::Closed | Output::Notice(_) => {}
            }
        }
        self.stream.check_invariants();
    }
}

fn holds(snapshot: &Snapshot) {
    let seconds = |ticks: i64| snapshot.timescale.at(ticks).seconds();
    let part_target = MediaTime::from_ms(snapshot.constants.part_target_ms.into());
    for segment in snapshot.listed.last().into_iter().chain(&snapshot.open) {
        let parts: i64 = segment
            .parts
            .iter()
            .map(|part| i64::from(part.duration))
            .sum();
        assert_eq!(parts, segment.duration, "{segment:?}");
        let longest = f64::from(snapshot.constants.target_duration) + 0.5;
        assert!(seconds(segment.duration) <= longest, "{segment:?}");
        for part in &segment.parts {
            assert!(part.duration > 0, "{segment:?}");
            assert!(
                snapshot.timescale.at(part.duration.into()) <= part_target,
                "{segment:?}"
            );
        }
    }
    snapshot.playlist(Form::Delta);
}

/// Something of an encoder, at a place within some hours before or after the beginning.
fn stray(rendition: u8, what: u8, at: i32, sync: bool) -> Encoded {
    let rendition = Rendition::ALL[usize::from(rendition) % Rendition::ALL.len()];
    match what % 4 {
        0 => Encoded::Config {
            rendition,
            config: config(what / 4),
        },
        1 => Encoded::Drained { rendition },
        2 => Encoded::Lost {
            rendition,
            reason: Failure::Encoder,
        },
        _ => Encoded::Picture {
            rendition,
            sample: Sample {
                dts: at.into(),
                composition_offset: 0,
                duration: 3000,
                sync,
                data: Bytes::from_static(b"picture"),
            },
        },
    }
}

/// A configuration that publishers have.
pub(crate) fn config(which: u8) -> Config {
    const AVC: [&[u8]; 2] = [
        b"\x01\x64\x00\x0d\xff\xe1\x00\x1a\x67\x64\x00\x0d\xac\xd9\x41\x41\x9f\x9f\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\xc0\xf1\x42\x99\x60\x01\x00\x06\x68\xeb\xe3\xcb\x22\xc0\xfd\xf8\xf8\x00",
        b"\x01\x42\xc0\x1e\xff\xe1\x00\x19\x67\x42\xc0\x1e\xda\x02\x80\xbf\xe5\xc0\x44\x00\x00\x03\x00\x04\x00\x00\x03\x00\xf0\x3c\x58\xba\x80\x01\x00\x04\x68\xce\x0f\xc8",
    ];
    // LC 48 kHz stereo, LC 44.1 kHz stereo, LC 8 kHz mono, LC 48 kHz 5.1, HE-AAC 48 kHz stereo.
    const AAC: [&[u8]; 5] = [
        b"\x11\x90",
        b"\x12\x10",
        b"\x15\x88",
        b"\x11\xb0",
        b"\x2b\x11\x88\x00",
    ];
    const OPUS: &[u8] = b"OpusHead\x01\x02\x00\x00\x80\xbb\x00\x00\x00\x00\x00";
    let which = usize::from(which % 8);
    match which {
        0..2 => Config::Avc(avc::Config::parse(&Bytes::from_static(AVC[which])).expect("real")),
        2..7 => Config::Aac(aac::Config::parse(&Bytes::from_static(AAC[which - 2])).expect("real")),
        _ => Config::Opus(opus::Config::parse(&Bytes::from_static(OPUS)).expect("real")),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// Every seed and every crash once found, on stable.
    #[test]
    fn corpora_replay() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/packager");
        let seeds: Vec<_> = fs::read_dir(corpus).expect("a corpus").collect();
        assert!(seeds.len() >= 8);
        for seed in seeds {
            super::packager(&fs::read(seed.expect("a seed").path()).expect("a file"));
        }
    }

    #[test]
    fn every_configuration_is_real() {
        (0..8).for_each(|which| drop(super::config(which)));
    }
}
