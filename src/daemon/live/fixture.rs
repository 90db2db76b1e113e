//! A stream whose every part is placed by hand: for the tests of what reads streams.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use vitrine_core::{
    engine::{
        stream::{Input, Settings, Source, Stream},
        window::Window,
    },
    media::{Config, Kind, MediaTime, Now, Rendition, Timescale, WallTime, aac},
    wire::{
        event::{Event, Place, Placed},
        flv::{Frame, Item},
        m3u8::{
            media::Constants,
            multivariant::{Multivariant, Variant},
        },
    },
};
use vitrine_runtime::clock::Clock;

use super::{
    Herald, Live, Registry, Stores, StreamId,
    chronicle::Chronicle,
    publication::Publication,
    published::Shared,
    publisher::Message,
    states::{Left, Story},
    status::{State, Untranscoded},
};

/// What the demo is configured to.
pub(crate) fn settings() -> Settings {
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

/// A registry without streams and without a disk.
pub(crate) fn registry() -> Registry {
    registry_telling(&Herald::of(|_| {}, "n1", None))
}

/// The same, whose events go to `herald`.
pub(crate) fn registry_telling(herald: &Herald) -> Registry {
    let (stores, clock) = (Stores::forgetful(), Clock::start());
    Registry::new(settings(), None, stores, herald.clone(), clock)
}

/// Three seconds of sound whose publisher was lost at `now`, saved then.
pub(crate) fn saved_at(now: Now) -> Left {
    let mut stream = Stream::new(settings());
    let record = Bytes::from_static(b"\x11\x90"); // LC, 48 kHz, stereo
    let config = aac::Config::parse(&record).expect("a real configuration");
    let (session, epoch) = (1, 1_767_268_800);
    let named = false;
    let open = Input::Open {
        session,
        epoch,
        named,
        ladder: None,
        events: vitrine_core::engine::cues::Allowance::default(),
    };
    stream.push(now, open);
    let sound = (0..140_u32).map(|n| {
        Item::Frame(Frame {
            kind: Kind::Audio,
            timestamp: n * 64 / 3,
            nanos: 0,
            composition_ms: 0,
            sync: true,
            data: n.to_be_bytes().repeat(20).into(),
        })
    });
    for item in std::iter::once(Item::Config(Config::Aac(config))).chain(sound) {
        stream.push(now, Input::Media { session, item });
        while stream.poll().is_some() {}
    }
    Left {
        saved: stream.save(now).expect("a stream that goes on"),
        story: None,
        timeline: None,
    }
}

/// What was told of a life that its publisher has ended.
pub(crate) fn story() -> Story {
    let story = serde_json::json!({
        "session_id": "ses_1", "app": "live", "protocol": "rtmp", "remote_addr": "192.0.2.1:5000", "encoder": "test",
        "metadata": {}, "key": vitrine_runtime::bearer::Digest::of(b"key").hex(), "epoch": 1_767_268_800,
        "started_at": 1_767_268_700_000_i64, "bytes": 4711,
        "progress": {"live": true, "interrupted": true, "lost": []},
        "parting": {"cause": "stopped", "reason": null}, "rested_at": 1_767_268_803_000_i64,
    });
    serde_json::from_value(story).expect("a story")
}

/// [`saved_at`] noon.
pub(crate) fn saved() -> Left {
    saved_at(Now {
        mono: Duration::ZERO,
        wall: WallTime(1_767_268_800_000),
    })
}

/// Parts of 200 ms, five to a segment, target duration 2 s.
pub(crate) const CONSTANTS: Constants = Constants {
    target_duration: 2,
    part_target_ms: 201,
    part_hold_back_ms: 603,
};
/// Parts of a segment.
pub(crate) const PARTS: u64 = 5;
const PART_TICKS: u32 = 18_000;

/// The stream `demo` in a registry.
pub(crate) struct Stage {
    pub(crate) registry: Registry,
    pub(crate) live: Live,
    publication: Publication,
    windows: BTreeMap<(u64, Rendition), (Window, u64)>,
    _inbox: mpsc::Receiver<Message>,
}

impl Stage {
    /// Connecting: nothing is published.
    pub(crate) fn new() -> Self {
        let (sender, inbox) = mpsc::channel(1);
        let (ordering, _) = mpsc::channel(1);
        let (master, presentation) = watch::channel(None);
        let id: StreamId = "demo".parse().expect("valid");
        let herald = Herald::of(|_| {}, "n1", None);
        let chronicle = Chronicle::new(herald, id.clone());
        let registry = registry();
        let stores = registry.stores().clone();
        let shared = Shared::new(id, chronicle, stores, sender, ordering, presentation);
        let shared = Arc::new(shared);
        let live = Live(shared.clone());
        registry.insert(live.clone());
        Self {
            registry,
            live,
            publication: Publication::new(shared, master, settings().window),
            windows: BTreeMap::new(),
            _inbox: inbox,
        }
    }

    /// The multivariant playlist of an epoch of picture and sound is known.
    pub(crate) fn present(&mut self, epoch: u64) {
        let presentation = Arc::new(Multivariant {
            epoch,
            variants: vec![Variant {
                rendition: Rendition::High,
                bandwidth: 3_000_000,
                average_bandwidth: 2_500_000,
                codecs: vec!["avc1.64001f".to_owned(), "mp4a.40.2".to_owned()],
                resolution: Some((1280, 720)),
                frame_rate: Some((30, 1)),
                hdr: None,
            }],
            audio_channels: Some(2),
            captions: false,
            independent_segments: true,
        });
        self.live.0.status().presentation = Some(presentation.clone());
        self.publication.presentation(presentation);
    }

    /// Publishes the next part of a rendition; its bytes are `<rendition><number>`.
    pub(crate) fn part(&mut self, epoch: u64, rendition: Rendition) {
        let data = |number| Some(Bytes::from(format!("{rendition}{number}")));
        self.add(epoch, rendition, data);
    }

    /// Publishes missing media in place of the next part.
    pub(crate) fn gap(&mut self, epoch: u64, rendition: Rendition) {
        self.add(epoch, rendition, |_| None);
    }

    fn add(&mut self, epoch: u64, rendition: Rendition, data: impl Fn(u64) -> Option<Bytes>) {
        let (window, number) = self.windows.entry((epoch, rendition)).or_insert_with(|| {
            let length = MediaTime::from_duration(settings().window);
            (Window::new(CONSTANTS, Timescale::VIDEO, length), 0)
        });
        if number.is_multiple_of(PARTS) {
            let at = window.end_time();
            window.end_segment(at);
            let init = window.add_init(Bytes::from_static(b"init"));
            window.begin_segment(at, WallTime(1_767_268_800_000 + at / 90), false, init);
        }
        window.add_part(PART_TICKS, number.is_multiple_of(PARTS), data(*number));
        *number += 1;
        let snapshot = Arc::new(window.snapshot(Vec::new()));
        self.publication.snapshot(epoch, rendition, snapshot);
    }

    /// Ends every rendition of an epoch.
    pub(crate) fn end(&mut self, epoch: u64, publishing: bool) {
        for ((of, rendition), (window, _)) in &mut self.windows {
            if *of == epoch {
                let at = window.end_time();
                window.end_segment(at);
                window.end();
                let snapshot = Arc::new(window.snapshot(Vec::new()));
                self.publication.snapshot(epoch, *rendition, snapshot);
            }
        }
        self.publication.ended(epoch, Instant::now(), publishing);
    }

    /// Sets what is told about the stream.
    pub(crate) fn state(&self, state: State) {
        self.live.0.status().state = state;
    }

    /// An event of this id stands in the stream.
    pub(crate) fn event(&self, epoch: u64, id: &str) {
        let event = format!(r#"{{"id":"{id}","type":"price.changed"}}"#);
        let event = Event::parse(event.as_bytes()).expect("an event");
        let place = Place {
            epoch,
            media_time_ms: 0,
            program_date_time: WallTime(1_767_268_800_000),
        };
        self.publication.placed(&Placed::new(event, place));
    }

    /// A still has been made.
    pub(crate) fn thumbnail(&mut self, still: &'static [u8]) {
        self.publication.thumbnail(Bytes::from_static(still));
    }

    /// Sets where the renditions of an epoch come from, and whether any are encoded.
    pub(crate) fn sources(
        &self,
        epoch: u64,
        sources: impl IntoIterator<Item = (Rendition, Source)>,
        transcoding: Result<(), Untranscoded>,
    ) {
        let mut status = self.live.0.status();
        status.sources = Some((epoch, sources.into_iter().collect()));
        status.transcoding = Some(transcoding);
    }

    /// It is taken down, as by its task.
    pub(crate) fn take_down(&mut self) {
        let epochs = self.publication.epochs();
        let takedowns = &self.live.0.stores.takedowns;
        takedowns.add(self.live.id(), epochs, "stolen goods");
        self.publication.clear();
    }

    /// A publisher has come.
    pub(crate) fn opened(&mut self) {
        self.live.0.stores.takedowns.reopen(self.live.id());
        self.publication.opened();
    }

    /// Time has passed.
    pub(crate) fn expire(&mut self) {
        self.publication.expire(Instant::now());
    }
}
