//! One tokio task per stream: the sole owner of its `engine::stream::Stream`, of its publisher and of what it publishes.
//!
//! Everything enters by one bounded inbox, so the order of claims and media is total. The engine's usage law is kept in
//! one place, [`Task::carry_out`]. After its end the stream stays for its retention, and a publisher that comes in that
//! time starts it anew at the same address. When the server stops, what can go on in another process is the answer of
//! [`Task::run`]. A panic ends the task alone: the registry cleans up, readers see their
//! watches end, the publisher its fence.

use std::{future::pending, sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use vitrine_core::{
    engine::{
        ladder::{Encoded, Failure},
        saved::{self, Saved},
        sound,
        stream::{End, Input, Notice, Output, Settings, Stream},
    },
    limits,
    media::{Config, Kind},
    wire::flv,
};
use vitrine_runtime::clock::Clock;

use super::{
    Busy, Claim, Fence, Live, Publisher, StreamId,
    contest::Contest,
    encoders::{Encoders, Encoding, Sound},
    epochs::EpochStore,
    meters,
    publication::Publication,
    published::Shared,
    publisher::{Held, Message},
    status::{Session, State, Untranscoded},
};

/// The state of the task.
pub(super) struct Task {
    settings: Settings,
    stream: Stream,
    clock: Clock,
    epochs: EpochStore,
    stop: CancellationToken,
    inbox: mpsc::Receiver<Message>,
    /// Bytes that may wait in the inbox, in KiB.
    budget: Arc<Semaphore>,
    shared: Arc<Shared>,
    publication: Publication,
    contest: Contest,
    encoders: Encoders,
    sound: Sound,
    /// Whether anything is encoded of what the publisher sends.
    encodes: bool,
    /// Renditions that the encoders could not take.
    refused: Vec<Encoded>,
    /// Number of the latest publish.
    session: u64,
    held: Option<(Held, std::net::IpAddr)>,
    /// When the stream goes, once over.
    leaves: Option<Instant>,
    /// When the timer may fire again.
    rests: Instant,
}

impl Task {
    /// A task to be spawned, and the read side.
    pub(super) fn new(
        id: StreamId,
        settings: Settings,
        epochs: EpochStore,
        clock: Clock,
        stop: CancellationToken,
        encoding: Option<Encoding>,
    ) -> (Self, Live) {
        let (sender, inbox) = mpsc::channel(limits::INBOX_MESSAGES_MAX);
        let (master, presentation) = watch::channel(None);
        let span = tracing::info_span!("encode", stream = %id);
        let shared = Arc::new(Shared::new(id, sender, presentation));
        let publication = Publication::new(shared.clone(), master, settings.window);
        let live = Live(shared.clone());
        let task = Self {
            stream: Stream::new(settings.clone()),
            settings,
            clock,
            epochs,
            stop,
            inbox,
            budget: Arc::new(Semaphore::new(limits::INBOX_KIB_MAX as usize)),
            shared,
            publication,
            contest: Contest::default(),
            encoders: Encoders::new(encoding, span.clone()),
            sound: Sound::new(span),
            encodes: false,
            refused: Vec::new(),
            session: 0,
            held: None,
            // A stream whose first claim never comes would otherwise stay.
            leaves: Some(Instant::now() + limits::ENDED_RETENTION),
            rests: Instant::now(),
        };
        (task, live)
    }

    /// Goes on with what another process left, and publishes it.
    pub(super) async fn resume(&mut self, saved: Saved) -> Result<(), saved::Error> {
        self.stream = Stream::restore(self.settings.clone(), saved, self.clock.now())?;
        self.leaves = None;
        self.carry_out(None).await;
        Ok(())
    }

    /// Runs until the stream is over and its retention past, or until the server stops: then answers what can go on.
    pub(super) async fn run(mut self) -> Option<Saved> {
        while self.leaves.is_none_or(|at| Instant::now() < at) {
            let stop = self.stop.clone();
            let deadline = self.deadline();
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.save().await,
                () = async {
                    match deadline {
                        Some(at) => sleep_until(at.max(self.rests)).await,
                        None => pending().await,
                    }
                } => self.expire().await,
                (encoded, still) = self.encoders.next() => {
                    if let Some(still) = still {
                        self.publication.thumbnail(still);
                    }
                    self.encoded(encoded).await;
                }
                heard = self.sound.next() => self.heard(heard).await,
                // Before the end of the publish: what was sent before it is in the inbox by then.
                Some(message) = self.inbox.recv() => {
                    self.shared.take_up(Some(self.received(&message)));
                    self.take(message).await;
                    self.shared.take_up(None);
                }
                end = async {
                    match &mut self.held {
                        Some((held, _)) => (&mut held.ended).await.unwrap_or(End::Lost),
                        None => pending().await,
                    }
                } => self.close(end).await,
            }
        }
        None
    }

    /// The server stops. What was received is in the list; what can go on in another process is answered.
    async fn save(&mut self) -> Option<Saved> {
        // A claim among it is dropped unanswered, and refused when it is made again.
        while let Ok(message) = self.inbox.try_recv() {
            if !matches!(message, Message::Claim { .. }) {
                self.take(message).await;
            }
        }
        self.close_if_ended().await;
        self.finish_sound().await;
        self.fence(Fence::ShuttingDown);
        let saved = self.stream.save(self.clock.now());
        self.carry_out(None).await;
        saved
    }

    fn deadline(&self) -> Option<Instant> {
        let engine = self.stream.deadline().map(|mono| self.clock.instant(mono));
        [engine, self.publication.deadline(), self.leaves]
            .into_iter()
            .flatten()
            .min()
    }

    async fn expire(&mut self) {
        let now = Instant::now();
        // Media time is finer than the clock: a deadline rounded down is not due yet, and must not spin until it is.
        self.rests = now + limits::TIMER_REST;
        self.publication.expire(now);
        if self
            .stream
            .deadline()
            .is_some_and(|mono| self.clock.instant(mono) <= now)
        {
            self.stream.expire(self.clock.now());
            self.carry_out(None).await;
        }
    }

    /// When a message came, on the stream's clock; those that do not tell count from now.
    fn received(&self, message: &Message) -> Duration {
        let waited = match message {
            Message::Media { received, .. } => received.elapsed(),
            Message::Claim { .. } | Message::Metadata { .. } => Duration::ZERO,
        };
        self.clock.now().mono.saturating_sub(waited)
    }

    async fn take(&mut self, message: Message) {
        match message {
            Message::Claim { claim, answer } => self.claim(*claim, answer).await,
            Message::Metadata { session, metadata } => {
                self.push(Input::Metadata { session, metadata }, None).await;
            }
            Message::Media {
                session,
                item,
                received,
                budget,
            } => {
                if self
                    .held
                    .as_ref()
                    .is_some_and(|(held, _)| held.session == session)
                {
                    self.count(&item);
                    self.glance(&item);
                    if let Some(item) = self.divert(item).await {
                        let media = Input::Media { session, item };
                        self.push(media, Some(received)).await;
                    }
                }
                drop(budget);
            }
        }
    }

    async fn claim(&mut self, claim: Claim, answer: oneshot::Sender<Result<Publisher, Busy>>) {
        // A publisher that has ended is no incumbent, even if its end is still behind this claim.
        self.close_if_ended().await;
        let now = self.clock.now();
        if let Err(busy) = self.admit(&claim, now.mono) {
            // The claimant may have gone away meanwhile.
            let _ = answer.send(Err(busy));
            return;
        }
        let (named, newest) = (claim.epoch.is_some(), self.publication.newest());
        let epoch = (self.epochs)
            .next(&self.shared.id, now.wall, claim.epoch, newest)
            .await;
        let epoch = match epoch {
            Ok(epoch) => epoch,
            Err(unfit) => {
                let _ = answer.send(Err(unfit.into()));
                return;
            }
        };
        if self.held.is_some() {
            metrics::counter!("vitrine_takeovers_total").increment(1);
        }
        self.finish_sound().await;
        self.fence(Fence::Takeover);
        if self.leaves.take().is_some() {
            self.stream = Stream::new(self.settings.clone());
        }
        let ladder = self.encoders.admit(claim.ladder);
        if let Err(full @ Untranscoded::Full) = &ladder {
            self.say(full);
        }
        self.encodes = ladder.is_ok();
        self.session += 1;
        meters::accepted(claim.protocol);
        let session = self.session;
        let (publisher, held) =
            Publisher::pair(session, self.shared.inbox.clone(), self.budget.clone());
        self.held = Some((held, claim.peer.ip()));
        {
            let mut status = self.shared.status();
            status.tracks.clear();
            status.sound = None;
            status.transcoding = Some(ladder.map(|_| ()));
            status.session = Some(Session::new(claim, now.wall));
        }
        self.publication.opened();
        let open = Input::Open {
            session,
            epoch,
            named,
            ladder: ladder.ok(),
        };
        self.push(open, None).await;
        // A claimant that has gone away drops the publisher, which is then seen as lost.
        let _ = answer.send(Ok(publisher));
    }

    fn admit(&mut self, claim: &Claim, now: Duration) -> Result<(), Busy> {
        let Some((_, incumbent)) = self.held.as_ref() else {
            return Ok(());
        };
        if !claim.takeover {
            return Err(Busy::Live);
        }
        if !self.contest.takeover(now, *incumbent, claim.peer.ip()) {
            return Err(Busy::Contested);
        }
        Ok(())
    }

    async fn close_if_ended(&mut self) {
        let ended = self
            .held
            .as_mut()
            .and_then(|(held, _)| match held.ended.try_recv() {
                Ok(end) => Some(end),
                Err(oneshot::error::TryRecvError::Closed) => Some(End::Lost),
                Err(oneshot::error::TryRecvError::Empty) => None,
            });
        if let Some(end) = ended {
            self.close(end).await;
        }
    }

    /// The publisher is listened to no longer.
    fn fence(&mut self, fence: Fence) {
        if let Some((held, _)) = self.held.take() {
            held.fence.send_replace(Some(fence));
        }
    }

    async fn close(&mut self, end: End) {
        self.finish_sound().await;
        if let Some((held, _)) = self.held.take() {
            let session = held.session;
            self.shared.status().session = None;
            self.push(Input::Close { session, end }, None).await;
        }
    }

    /// Sends sound that not every player takes to its encoder; answers what the engine takes at once.
    async fn divert(&mut self, item: flv::Item) -> Option<flv::Item> {
        let config = match item {
            flv::Item::Config(config) if config.kind() == Kind::Audio => config,
            item => {
                let was_lost = self.sound.is_lost();
                let item = self.sound.take(item);
                if self.sound.is_lost() != was_lost {
                    self.tell_sound();
                }
                return item;
            }
        };
        self.finish_sound().await;
        let target = self.encodes.then(|| self.sound.open(&config)).flatten();
        let Some(target) = target else {
            self.shared.status().sound = None;
            if !sound::passes(&config) {
                self.reject().await;
                return None;
            }
            return Some(flv::Item::Config(config));
        };
        self.say(&target);
        let config = Config::Aac(target.config.clone());
        self.shared.status().sound = Some((target, false));
        self.tell_sound();
        Some(flv::Item::Config(config))
    }

    /// What came back of the sound.
    async fn heard(&mut self, heard: Result<flv::Frame, Failure>) {
        match heard {
            // As if it was received: a part of encoded sound is as fresh as its last frame.
            Ok(frame) => self.push_sound(frame, Some(Instant::now())).await,
            Err(failure) => {
                self.say(&format_args!(
                    "the sound: {failure}; silence stands in for it"
                ));
                self.tell_sound();
            }
        }
    }

    /// Nothing more of the present publish goes to the encoder of its sound: the engine takes what is still in there.
    async fn finish_sound(&mut self) {
        for frame in self.sound.finish().await {
            self.push_sound(frame, None).await;
        }
    }

    async fn push_sound(&mut self, frame: flv::Frame, received: Option<Instant>) {
        let (session, item) = (self.session, flv::Item::Frame(frame));
        self.push(Input::Media { session, item }, received).await;
    }

    fn tell_sound(&self) {
        if let Some((_, lost)) = &mut self.shared.status().sound {
            *lost = self.sound.is_lost();
        }
    }

    /// What no player can take ends the publish, and its encoder is told why.
    async fn reject(&mut self) {
        let session = self.session;
        self.say(&Fence::Unplayable);
        self.fence(Fence::Unplayable);
        self.shared.status().session = None;
        let end = End::Lost;
        self.push(Input::Close { session, end }, None).await;
    }

    /// Keeps the usage law: one input, then all outputs.
    async fn push(&mut self, input: Input, received: Option<Instant>) {
        self.stream.push(self.clock.now(), input);
        self.carry_out(received).await;
        // Of at most every rendition, once.
        for lost in std::mem::take(&mut self.refused) {
            self.stream.push(self.clock.now(), Input::Encoded(lost));
            self.carry_out(None).await;
        }
    }

    /// What encoders handed back.
    async fn encoded(&mut self, encoded: Vec<Encoded>) {
        for encoded in encoded {
            self.push(Input::Encoded(encoded), None).await;
        }
    }

    /// Of what can be played there are stills.
    fn glance(&mut self, item: &flv::Item) {
        let flv::Item::Frame(key) = item else { return };
        if key.kind == Kind::Video && key.sync && self.publication.ready() {
            let config = self.shared.status().tracks.get(&Kind::Video).cloned();
            if let Some(config) = config {
                self.encoders.glance(&config, key);
            }
        }
    }

    /// Tells the operator and the broadcaster.
    fn say(&self, words: &dyn std::fmt::Display) {
        tracing::warn!(stream = %self.shared.id, "{words}");
        let now = self.clock.now().wall;
        self.shared.status().notice(now, words.to_string());
    }

    /// Carries out what the engine wants, in order. `received` is when the frame that caused it came.
    async fn carry_out(&mut self, received: Option<Instant>) {
        let known = self.publication.newest().map(|newest| newest.number);
        // What another process left was counted by it.
        let counted = known.is_none() && self.session == 0;
        let (mut parts, mut lag_ms, mut sources) = (false, None, false);
        while let Some(output) = self.stream.poll() {
            match output {
                Output::Presentation(presentation) => {
                    if Some(presentation.epoch) > known {
                        // Before anybody can see a URI of it: a crash a moment later must not give it twice.
                        self.epochs
                            .remember(&self.shared.id, presentation.epoch)
                            .await;
                    }
                    sources = true;
                    self.shared.status().presentation = Some(presentation.clone());
                    self.publication.presentation(presentation);
                }
                Output::Snapshot {
                    epoch,
                    rendition,
                    snapshot,
                } => {
                    let new = (self.publication).snapshot(epoch, rendition, snapshot.clone());
                    if new > 0 {
                        parts = true;
                        if !counted {
                            meters::published(rendition, &snapshot, new);
                        }
                        let now = self.clock.now().wall;
                        // Of a part made of media that has just come, not of one that waited for its successor.
                        if received.is_some() {
                            let lag = meters::lag_ms(rendition, &snapshot, now);
                            lag_ms = lag_ms.max(lag);
                        }
                    }
                }
                Output::Feed(feeds) => {
                    sources = true;
                    self.refused.extend(self.encoders.feed(feeds));
                }
                Output::Ended { epoch } => {
                    self.publication
                        .ended(epoch, Instant::now(), self.held.is_some());
                }
                Output::Closed => {
                    self.encoders.stop();
                    self.leaves = Some(Instant::now() + self.publication.retention());
                }
                Output::Notice(notice) => {
                    if let Notice::Starving { .. } = notice {
                        metrics::counter!("vitrine_starvations_total").increment(1);
                    }
                    if let Notice::Unencoded = notice {
                        self.shared.status().transcoding = Some(Err(Untranscoded::Failed));
                    }
                    sources = true;
                    match notice {
                        Notice::Joined => tracing::info!(stream = %self.shared.id, "{notice}"),
                        _ => tracing::warn!(stream = %self.shared.id, "{notice}"),
                    }
                    self.shared
                        .status()
                        .notice(self.clock.now().wall, notice.to_string());
                }
            }
        }
        {
            let mut status = self.shared.status();
            status.state = self.state();
            status.stopgap = self.stream.stopgap();
            if let Some(sources) = sources.then(|| self.stream.sources()).flatten() {
                status.sources = Some(sources);
            }
            if let Some(received) = received.filter(|_| parts) {
                let latency = received.elapsed();
                status.latency.add(latency);
                status.media_lag_ms = lag_ms;
                meters::part_latency(latency);
            }
        }
    }

    fn state(&self) -> State {
        match (&self.held, self.leaves) {
            (_, Some(_)) => State::Ended,
            (None, None) => State::Grace,
            (Some(_), None) if self.publication.ready() => State::Live,
            (Some(_), None) => State::Connecting,
        }
    }

    fn count(&self, item: &flv::Item) {
        let mut status = self.shared.status();
        match item {
            flv::Item::Config(config) => {
                status.tracks.insert(config.kind(), config.clone());
            }
            flv::Item::Frame(frame) => {
                let bytes = frame.data.len() as u64;
                status.input.add(self.clock.now().mono, bytes);
                metrics::counter!("vitrine_ingest_media_bytes_total").increment(bytes);
            }
        }
    }
}
