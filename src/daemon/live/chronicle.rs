//! What backends are told of a stream's life (contracts, section 3): the facts of `engine::lifecycle`, each as an event
//! with all that is known of the publish.
//!
//! The task of the stream tells what happens, in order; if it panics, the registry tells the end in its place, and after
//! a crash of the process the next one does, as it does of what cannot go on. `engine::lifecycle` sees to it that each thing is said once. Nothing is
//! waited for here: the outbox has a queue of its own. Keys are in no event; their digest is kept for bans alone.

mod placed;

use std::{collections::BTreeSet, fmt, sync::Arc};

use metrics::counter;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tracing::info;
use vitrine_core::{
    engine::lifecycle::{Cause, Fact, Input, Lifecycle, Progress},
    limits,
    media::{Rendition, WallTime},
};
use vitrine_runtime::{
    bearer::Digest,
    clock,
    deliver::{Event, Life, Merge, Outbox, Volatile},
};

use super::{
    Claim, StreamId,
    publisher::{Departure, Fence},
    takedowns::Takedown,
};

type Data = Map<String, Value>;

/// Fields of every event, which the event of a crash takes over from the last one that was told.
const COMMON: [&str; 10] = [
    "node",
    "stream_id",
    "epoch",
    "session_id",
    "app",
    "protocol",
    "remote_addr",
    "encoder",
    "metadata",
    "started_at",
];

/// Whom the events of all streams are given, and what is in each of them. A cheap handle.
#[derive(Clone)]
pub struct Herald {
    record: Arc<dyn Fn(Event) + Send + Sync>,
    /// Whether anybody wants to be told of where events stand.
    wants: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    outbox: Outbox,
    node: Arc<str>,
    public_url: Option<Arc<str>>,
}

impl fmt::Debug for Herald {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Herald")
            .field("node", &self.node)
            .field("public_url", &self.public_url)
            .finish_non_exhaustive()
    }
}

impl Herald {
    /// Gives events to `outbox`; `node` is this daemon, `public_url` where players find it, without a slash at its end.
    pub fn new(outbox: Outbox, node: &str, public_url: Option<&str>) -> Self {
        let (recording, wanting) = (outbox.clone(), outbox.clone());
        let record = move |event| recording.record(event);
        Self {
            outbox,
            wants: Arc::new(move |kind| wanting.wants(kind)),
            ..Self::of(record, node, public_url)
        }
    }

    /// Gives events, of every type, to `record`, which must not wait.
    pub(super) fn of(
        record: impl Fn(Event) + Send + Sync + 'static,
        node: &str,
        public_url: Option<&str>,
    ) -> Self {
        for kind in KINDS {
            counter!("vitrine_lifecycle_events_total", "type" => kind).increment(0);
        }
        for cause in Cause::ALL.map(Cause::name) {
            counter!("vitrine_lifecycle_ends_total", "cause" => cause).increment(0);
        }
        Self {
            record: Arc::new(record),
            wants: Arc::new(|_| true),
            outbox: Outbox::none(),
            node: node.into(),
            public_url: public_url.map(Into::into),
        }
    }

    /// Tells the end of a life that a process which is no more left unfinished; `last` is what it told last.
    pub(super) fn crashed(&self, stream: &str, mut last: Data) {
        last.retain(|name, _| COMMON.contains(&name.as_str()));
        last.insert("cause".to_owned(), Cause::Crash.name().into());
        let session = last.get("session_id").and_then(Value::as_str);
        info!(stream, session, "stream ended: the process before crashed");
        ended(Cause::Crash);
        let fact = Fact::Ended(Cause::Crash);
        self.tell(stream, &fact, clock::wall(), last);
    }

    fn tell(&self, stream: &str, fact: &Fact, at: WallTime, data: Data) {
        let life = match fact {
            Fact::Started => Life::Begins,
            Fact::Ended(_) => Life::Ends,
            _ => Life::Goes,
        };
        self.record(stream, fact.name(), at, life, data);
    }

    fn record(&self, stream: &str, kind: &'static str, at: WallTime, life: Life, data: Data) {
        counter!("vitrine_lifecycle_events_total", "type" => kind).increment(1);
        (self.record)(Event {
            subject: stream.to_owned(),
            kind,
            at,
            data,
            life,
        });
    }

    /// Whether events of this type are told anybody: those that come every second are not written for nobody.
    fn wants(&self, kind: &str) -> bool {
        (self.wants)(kind)
    }

    fn url(&self, path: &str) -> Option<String> {
        { self.public_url.as_ref() }.map(|url| format!("{url}{path}"))
    }
}

const TAKEN_DOWN: &str = "stream.taken_down";
const PLACED: &str = "events.placed";

/// The types of all events.
const KINDS: [&str; 10] = [
    "stream.started",
    "stream.live",
    "stream.interrupted",
    "stream.resumed",
    "stream.takeover",
    "stream.degraded",
    "stream.recovered",
    "stream.ended",
    TAKEN_DOWN,
    PLACED,
];

fn ended(cause: Cause) {
    counter!("vitrine_lifecycle_ends_total", "cause" => cause.name()).increment(1);
}

/// How the latest publish went, in case that it is the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Parting {
    cause: Cause,
    /// What the broadcaster was told, where it was we who cut it.
    reason: Option<String>,
}

impl From<Departure> for Parting {
    fn from(departure: Departure) -> Self {
        let (cause, reason) = match departure {
            Departure::Stopped => (Cause::Stopped, None),
            Departure::Lost | Departure::Cut(Fence::Crashed) => (Cause::Lost, None),
            Departure::Cut(fence @ (Fence::ShuttingDown | Fence::Takeover)) => {
                (Cause::Lost, Some(fence))
            }
            Departure::Cut(fence @ Fence::Ended) => (Cause::Ended, Some(fence)),
            Departure::Cut(fence @ Fence::TakenDown) => (Cause::TakenDown, Some(fence)),
            Departure::Cut(fence) => (Cause::Kicked, Some(fence)),
        };
        let reason = reason.map(|fence| fence.to_string());
        Self { cause, reason }
    }
}

/// What is known of one life of a stream, as far as another process needs it to go on telling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Story {
    session_id: String,
    app: String,
    protocol: String,
    remote_addr: String,
    encoder: String,
    metadata: Data,
    #[serde(with = "digest")]
    key: Option<Digest>,
    epoch: Option<u64>,
    started_at: WallTime,
    /// Media bytes that other processes have received.
    bytes: u64,
    /// As far as another process has told it.
    progress: Progress,
    parting: Parting,
    /// When another process left it.
    #[serde(default = "clock::wall")]
    rested_at: WallTime,
}

impl Story {
    /// The epoch it was about.
    pub(super) fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// Renditions that have no pictures, or no sound, as it was told.
    pub(super) fn lost(&self) -> &BTreeSet<Rendition> {
        self.progress.lost()
    }
}

/// A key in a file that only its owner may read.
mod digest {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use vitrine_runtime::bearer::Digest;

    pub(super) fn serialize<S: Serializer>(key: &Option<Digest>, to: S) -> Result<S::Ok, S::Error> {
        match key {
            Some(key) => to.serialize_str(&key.hex()),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(
        from: D,
    ) -> Result<Option<Digest>, D::Error> {
        let hex = Option::<String>::deserialize(from)?;
        Ok(hex.and_then(|hex| Digest::parse(&hex)))
    }
}

/// The life of one stream, told.
#[derive(Debug)]
pub(super) struct Chronicle {
    herald: Herald,
    stream: StreamId,
    lifecycle: Lifecycle,
    /// Of the life that goes on, or of the last one.
    story: Option<Story>,
    /// What the stream's meter showed when this life, or this process's part of it, began.
    metered: u64,
    /// Where events stand that nobody was told of yet.
    waiting: placed::Waiting,
}

impl Chronicle {
    /// Of a stream that has not begun.
    pub(super) fn new(herald: Herald, stream: StreamId) -> Self {
        Self {
            herald,
            stream,
            lifecycle: Lifecycle::default(),
            story: None,
            metered: 0,
            waiting: placed::Waiting::default(),
        }
    }

    /// Goes on with what another process left.
    pub(super) fn resume(&mut self, now: WallTime, story: Story) {
        self.lifecycle = Lifecycle::resume(story.progress.clone());
        self.story = Some(story);
        let shutdown = Departure::Cut(Fence::ShuttingDown);
        self.push(now, Input::Departed { session: 0 }, |data| {
            parted(data, &shutdown.into());
        });
    }

    /// Tells the end of what another process left in good order, and nobody goes on with: it was over when that process was,
    /// as its last publish went, or is because of this takedown.
    pub(super) fn conclude(&mut self, story: Story, takedown: Option<Takedown>) {
        let at = takedown.as_ref().map_or(story.rested_at, |down| down.at);
        self.lifecycle = Lifecycle::resume(story.progress.clone());
        self.story = Some(story);
        let cause = takedown.map(|down| {
            let epochs: Vec<_> = down.epochs.into_iter().collect();
            let purge_prefix = format!("/live/{}/", self.stream);
            self.taken_down(at, &epochs, &purge_prefix, &down.reason);
            (Cause::TakenDown, Some(down.reason))
        });
        self.over(at, cause, 0);
    }

    /// What another process needs to go on; `None` when there is no life. `metered`: all bytes received so far.
    pub(super) fn rest(&self, metered: u64) -> Option<Story> {
        let progress = self.lifecycle.progress()?.clone();
        let story = self.story.clone()?;
        Some(Story {
            bytes: self.bytes(&story, metered),
            progress,
            rested_at: clock::wall(),
            ..story
        })
    }

    /// Whether there is a life that goes on.
    pub(super) fn is_alive(&self) -> bool {
        self.lifecycle.progress().is_some()
    }

    /// Whether the life that goes on was published to another application than `app`.
    pub(super) fn is_of_other_app(&self, app: &str) -> bool {
        let story = self.story.as_ref().filter(|_| self.is_alive());
        story.is_some_and(|story| story.app != clipped(app))
    }

    /// What a ban of the latest publish is of.
    pub(super) fn key(&self) -> Option<Digest> {
        self.story.as_ref()?.key
    }

    /// A publish was accepted, which goes on with the running epoch or begins `epoch`.
    pub(super) fn accepted(
        &mut self,
        now: WallTime,
        session: u64,
        claim: &Claim,
        epoch: u64,
        metered: u64,
    ) {
        let former = { self.story.take() }.filter(|_| self.is_alive());
        if former.is_none() {
            self.metered = metered;
        }
        self.story = Some(Story {
            session_id: claim.session.to_string(),
            app: clipped(&claim.app),
            protocol: claim.protocol.to_owned(),
            remote_addr: claim.peer.to_string(),
            encoder: clipped(&claim.encoder),
            metadata: claim.terms.metadata.clone(),
            key: Some(claim.identity),
            epoch: { former.as_ref() }
                .and_then(|former| former.epoch)
                .or(Some(epoch)),
            started_at: former.as_ref().map_or(now, |former| former.started_at),
            bytes: former.as_ref().map_or(0, |former| former.bytes),
            progress: Progress::default(),
            parting: Departure::Lost.into(),
            rested_at: now,
        });
        self.push(now, Input::Accepted { session }, |data| {
            if let Some(former) = former {
                // Of a takeover: the first event of a life has nobody before it.
                data.insert("from_session_id".to_owned(), former.session_id.into());
                data.insert("from_remote_addr".to_owned(), former.remote_addr.into());
            }
        });
    }

    /// What is told with every event has changed.
    pub(super) fn annotate(&mut self, metadata: Data) {
        if let Some(story) = &mut self.story {
            story.metadata = metadata;
        }
    }

    /// An epoch has begun.
    pub(super) fn begun(&mut self, epoch: u64) {
        if let Some(story) = &mut self.story {
            story.epoch = Some(epoch);
        }
    }

    /// What the session sends can be played, in these renditions.
    pub(super) fn playable(&mut self, now: WallTime, session: u64, renditions: &[Rendition]) {
        let path = format!("/live/{}/index.m3u8", self.stream);
        let url = self.herald.url(&path);
        self.push(now, Input::Playable { session }, |data| {
            let names: Vec<_> = renditions.iter().map(|name| name.name()).collect();
            data.insert("renditions".to_owned(), names.into());
            data.insert("playback_path".to_owned(), path.into());
            if let Some(url) = url {
                data.insert("playback_url".to_owned(), url.into());
            }
        });
    }

    /// Nothing arrives of the session.
    pub(super) fn silent(&mut self, now: WallTime, session: u64) {
        self.push(now, Input::Silent { session }, |data| {
            data.insert("cause".to_owned(), "silent".into());
        });
    }

    /// The session's publish ended.
    pub(super) fn departed(&mut self, now: WallTime, session: u64, departure: Departure) {
        let parting = self.dismissed(departure);
        let input = Input::Departed { session };
        self.push(now, input, |data| parted(data, &parting));
    }

    /// The publish ended, and with it the stream: [`Self::over`] follows.
    pub(super) fn dismissed(&mut self, departure: Departure) -> Parting {
        let parting = Parting::from(departure);
        if let Some(story) = &mut self.story {
            story.parting = parting.clone();
        }
        parting
    }

    /// These renditions have no pictures, or no sound; all others have.
    pub(super) fn lost(&mut self, now: WallTime, lost: &BTreeSet<Rendition>) {
        for rendition in Rendition::ALL {
            let input = match lost.contains(&rendition) {
                true => Input::Lost(rendition),
                false => Input::Back(rendition),
            };
            self.push(now, input, |_| {});
        }
    }

    /// The stream is over: because of `cause`, else because of how its last publish went.
    pub(super) fn over(
        &mut self,
        now: WallTime,
        cause: Option<(Cause, Option<String>)>,
        metered: u64,
    ) {
        let Some(story) = self.story.clone() else {
            return;
        };
        let (cause, reason) = cause.unwrap_or((story.parting.cause, story.parting.reason.clone()));
        let bytes = self.bytes(&story, metered);
        self.push(now, Input::Over(cause), |data| {
            parted(data, &Parting { cause, reason });
            let duration_ms = (now.0 - story.started_at.0).max(0);
            data.insert("duration_ms".to_owned(), duration_ms.into());
            data.insert("bytes".to_owned(), bytes.into());
        });
    }

    /// The stream was taken down, with these epochs.
    pub(super) fn taken_down(
        &self,
        now: WallTime,
        epochs: &[u64],
        purge_prefix: &str,
        reason: &str,
    ) {
        let mut data = self.data();
        data.insert("reason".to_owned(), reason.into());
        data.insert("epochs".to_owned(), epochs.into());
        data.insert("purge_prefix".to_owned(), purge_prefix.into());
        if let Some(url) = self.herald.url(purge_prefix) {
            data.insert("purge_url".to_owned(), url.into());
        }
        let stream = self.stream.as_str();
        info!(
            stream,
            session = self.session(),
            reason,
            "stream taken down"
        );
        self.herald
            .record(stream, TAKEN_DOWN, now, Life::Goes, data);
    }

    /// There is a new still. Of these only the latest matters.
    pub(super) fn pictured(&self, now: WallTime) {
        let path = format!("/live/{}/thumbnail.jpg", self.stream);
        let mut data = self.data();
        data.retain(|name, _| matches!(name.as_str(), "node" | "stream_id" | "epoch"));
        if let Some(url) = self.herald.url(&path) {
            data.insert("thumbnail_url".to_owned(), url.into());
        }
        data.insert("thumbnail_path".to_owned(), path.into());
        self.herald.outbox.tell(Volatile {
            kind: "thumbnail.updated",
            about: self.stream.to_string(),
            at: now,
            data,
            merge: Merge::Latest,
        });
    }

    /// Tells what is to be told of `input`, with what `describe` adds.
    fn push(&mut self, now: WallTime, input: Input, describe: impl FnOnce(&mut Data)) {
        let Some(fact) = self.lifecycle.push(input) else {
            return;
        };
        let mut data = self.data();
        match &fact {
            // Described for its first event and for a return alike.
            Fact::Started | Fact::Resumed | Fact::Recovered => {}
            Fact::Degraded { lost } => {
                let names: Vec<_> = lost.iter().map(|name| name.name()).collect();
                data.insert("lost".to_owned(), names.into());
            }
            Fact::Live | Fact::Interrupted | Fact::Takeover { .. } | Fact::Ended(_) => {
                describe(&mut data);
            }
        }
        if let Fact::Ended(cause) = fact {
            self.tell_all_placed(now);
            ended(cause);
        }
        let text = |name| data.get(name).and_then(Value::as_str);
        let (cause, reason) = (text("cause"), text("reason"));
        let lost = data.get("lost").map(ToString::to_string);
        let from = text("from_session_id");
        let stream = self.stream.as_str();
        info!(
            stream,
            session = self.session(),
            cause,
            reason,
            lost,
            from,
            "{}",
            fact.name()
        );
        self.herald.tell(stream, &fact, now, data);
    }

    fn session(&self) -> Option<&str> {
        self.story.as_ref().map(|story| story.session_id.as_str())
    }

    /// [`COMMON`].
    fn data(&self) -> Data {
        let mut data = Data::new();
        let mut set = |name: &str, value: Value| data.insert(name.to_owned(), value);
        set("node", (&*self.herald.node).into());
        set("stream_id", self.stream.as_str().into());
        if let Some(story) = &self.story {
            set("session_id", story.session_id.as_str().into());
            set("app", story.app.as_str().into());
            set("protocol", story.protocol.as_str().into());
            set("remote_addr", story.remote_addr.as_str().into());
            set("encoder", story.encoder.as_str().into());
            set("started_at", json!(story.started_at.to_string()));
            story.epoch.map(|epoch| set("epoch", epoch.into()));
            if !story.metadata.is_empty() {
                set("metadata", story.metadata.clone().into());
            }
        }
        data
    }

    fn bytes(&self, story: &Story, metered: u64) -> u64 {
        story.bytes + metered.saturating_sub(self.metered)
    }
}

fn clipped(words: &str) -> String {
    words.chars().take(limits::TOLD_CHARS_MAX).collect()
}

fn parted(data: &mut Data, parting: &Parting) {
    data.insert("cause".to_owned(), parting.cause.name().into());
    if let Some(reason) = &parting.reason {
        data.insert("reason".to_owned(), reason.as_str().into());
    }
}
