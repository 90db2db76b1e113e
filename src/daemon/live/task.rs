//! One tokio task per stream: the sole owner of its `engine::stream::Stream`, of its publisher and of what it publishes.
//!
//! Everything enters by one bounded inbox, so the order of claims and media is total. The engine's usage law is kept in
//! one place, [`Task::carry_out`]. After its end the stream stays for its retention, and a publisher that comes in that
//! time starts it anew at the same address. When the server stops, what can go on in another process is the answer of
//! [`Task::run`]. A panic ends the task alone: the registry cleans up, readers see their
//! watches end, the publisher its fence.
//!
//! What operators order comes by a channel of its own, before everything that waits (`orders`); what backends are told is
//! noted as it happens ([`super::chronicle`]).

mod events;
mod notes;
mod orders;
mod sound;

use std::{collections::BTreeSet, future::pending, sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use vitrine_core::{
    engine::{
        ladder::Encoded,
        lifecycle::Cause,
        saved,
        stream::{Input, Notice, Output, Settings, Stream},
    },
    limits,
    media::{Kind, Rendition},
    wire::flv,
};
use vitrine_runtime::clock::Clock;

use super::{
    Busy, Claim, Fence, Publisher,
    contest::Contest,
    encoders::{Encoders, Encoding, Sound},
    meters,
    orders::Order,
    publication::Publication,
    published::{Master, Shared},
    publisher::{Departure, Held, Message},
    states::Left,
    status::{Session, State, Untranscoded},
};

/// The state of the task.
pub(super) struct Task {
    settings: Settings,
    stream: Stream,
    clock: Clock,
    stop: CancellationToken,
    orders: mpsc::Receiver<Order>,
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
    /// Whether others may take the stream from it, where an operator has said.
    yields: Option<bool>,
    /// Whether the present publish was noted to play, or to be silent, with its number.
    noted: Option<(u64, bool)>,
    /// Renditions that have failed and not come back.
    lost: BTreeSet<Rendition>,
    /// When the stream goes, once over.
    leaves: Option<Instant>,
    /// When the timer may fire again.
    rests: Instant,
}

/// The ends of a stream's channels that its task has.
pub(super) struct Ends {
    pub(super) inbox: mpsc::Receiver<Message>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) master: watch::Sender<Option<Arc<Master>>>,
}

impl Task {
    /// A task to be spawned; `shared` is its read side, `inbox`, `orders` and `master` the other ends of it.
    pub(super) fn new(
        settings: Settings,
        clock: Clock,
        stop: CancellationToken,
        encoding: Option<Encoding>,
        shared: Arc<Shared>,
        ends: Ends,
    ) -> Self {
        let Ends {
            inbox,
            orders,
            master,
        } = ends;
        let span = tracing::info_span!("encode", stream = %shared.id);
        let publication = Publication::new(shared.clone(), master, settings.window);
        Self {
            stream: Stream::new(settings.clone()),
            settings,
            clock,
            stop,
            orders,
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
            yields: None,
            noted: None,
            lost: BTreeSet::new(),
            // A stream whose first claim never comes would otherwise stay.
            leaves: Some(Instant::now() + limits::ENDED_RETENTION),
            rests: Instant::now(),
        }
    }

    /// Goes on with what another process left, and publishes it.
    pub(super) async fn resume(&mut self, left: Left) -> Result<(), saved::Error> {
        let now = self.clock.now();
        self.stream = Stream::restore(self.settings.clone(), left.saved, now)?;
        self.leaves = None;
        if let Some(story) = left.story {
            self.lost = story.lost().clone();
            self.shared.chronicle().resume(now.wall, story);
        }
        self.carry_out(None).await;
        if let Some(timeline) = left.timeline {
            self.publication.resume_timeline(&timeline);
        }
        Ok(())
    }

    /// Runs until the stream is over and its retention past, or until the server stops: then answers what can go on.
    pub(super) async fn run(mut self) -> Option<Left> {
        while self.leaves.is_none_or(|at| Instant::now() < at) {
            let stop = self.stop.clone();
            let deadline = self.deadline();
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.save().await,
                Some(order) = self.orders.recv() => self.obey(order).await,
                () = async {
                    match deadline {
                        Some(at) => sleep_until(at.max(self.rests)).await,
                        None => pending().await,
                    }
                } => self.expire().await,
                (encoded, still) = self.encoders.next() => {
                    if let Some(still) = still {
                        self.publication.thumbnail(still);
                        self.shared.chronicle().pictured(self.clock.now().wall);
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
                        Some((held, _)) => (&mut held.ended).await.unwrap_or(Departure::Lost),
                        None => pending().await,
                    }
                } => self.close(end).await,
            }
        }
        None
    }

    /// The server stops. What was received is in the list; what can go on in another process is answered.
    async fn save(&mut self) -> Option<Left> {
        // A claim among it is dropped unanswered, and refused when it is made again.
        while let Ok(message) = self.inbox.try_recv() {
            if !matches!(message, Message::Claim { .. }) {
                self.take(message).await;
            }
        }
        self.close_if_ended().await;
        self.finish_sound().await;
        self.fence(Fence::ShuttingDown);
        let now = self.clock.now();
        let saved = self.stream.save(now);
        self.carry_out(None).await;
        let metered = self.metered();
        let mut chronicle = self.shared.chronicle();
        chronicle.tell_all_placed(now.wall);
        let Some(saved) = saved else {
            let why = Fence::ShuttingDown.to_string();
            chronicle.over(now.wall, Some((Cause::Ended, Some(why))), metered);
            return None;
        };
        let story = chronicle.rest(metered);
        let timeline = self.publication.leave_timeline();
        Some(Left {
            saved,
            story,
            timeline,
        })
    }

    fn deadline(&self) -> Option<Instant> {
        let engine = self.stream.deadline().map(|mono| self.clock.instant(mono));
        let placed = self.shared.chronicle().placed_due();
        [engine, placed, self.publication.deadline(), self.leaves]
            .into_iter()
            .flatten()
            .min()
    }

    async fn expire(&mut self) {
        let now = Instant::now();
        // Media time is finer than the clock: a deadline rounded down is not due yet, and must not spin until it is.
        self.rests = now + limits::TIMER_REST;
        self.publication.expire(now);
        self.tell_placed();
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
            _ => Duration::ZERO,
        };
        self.clock.now().mono.saturating_sub(waited)
    }

    async fn take(&mut self, message: Message) {
        match message {
            Message::Claim { claim, answer } => self.claim(*claim, answer).await,
            Message::Metadata { session, metadata } => {
                self.push(Input::Metadata { session, metadata }, None).await;
            }
            Message::Event {
                session,
                timestamp,
                event,
            } => {
                let event = Input::Event {
                    session,
                    timestamp,
                    event: *event,
                };
                self.push(event, None).await;
            }
            Message::Notice { session, words } => {
                if self.holds(session) {
                    self.say(&words);
                }
            }
            Message::Media {
                session,
                item,
                received,
                budget,
            } => {
                if self.holds(session) {
                    self.count(&item);
                    self.glance(&item);
                    if let Some(item) = self.divert(item).await {
                        let media = Input::Media { session, item };
                        self.push(media, Some(received)).await;
                    }
                }
                drop(budget);
            }
            Message::Place { event, answer } => {
                // Whoever posted it may have gone away meanwhile; so below.
                let _ = answer.send(self.place(*event));
                self.carry_out(None).await;
            }
            Message::Repeat { state, seq, answer } => {
                let now = self.clock.now();
                let _ = answer.send(self.stream.repeat(now, state, seq));
                self.carry_out(None).await;
            }
            Message::Clock { answer } => {
                let _ = answer.send(self.stream.clock(self.clock.now()));
            }
        }
    }

    /// Whether publish number `session` is the one that is listened to.
    fn holds(&self, session: u64) -> bool {
        let held = self.held.as_ref();
        held.is_some_and(|(held, _)| held.session == session)
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
        let epochs = &self.shared.stores.epochs;
        let epoch = epochs
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
            self.lost.clear();
        }
        let ladder = self.encoders.admit(claim.ladder);
        if let Err(full @ Untranscoded::Full) = &ladder {
            self.say(full);
        }
        self.encodes = ladder.is_ok();
        let events = claim.terms.events;
        self.session += 1;
        meters::accepted(claim.protocol);
        let session = self.session;
        let (terms, inbox) = (claim.terms.clone(), self.shared.inbox.clone());
        let (publisher, held) = Publisher::pair(session, terms, inbox, self.budget.clone());
        let terms = held.terms.subscribe();
        self.held = Some((held, claim.peer.ip()));
        self.yields = None;
        let metered = self.metered();
        { self.shared.chronicle() }.accepted(now.wall, session, &claim, epoch, metered);
        {
            let mut status = self.shared.status();
            status.tracks.clear();
            status.sound = None;
            status.transcoding = Some(ladder.map(|_| ()));
            status.session = Some(Session::new(claim, terms, now.wall));
        }
        let takedowns = &self.shared.stores.takedowns;
        if takedowns.reopen(&self.shared.id) {
            let takedowns = takedowns.clone();
            tokio::spawn(async move { takedowns.keep().await });
        }
        self.publication.opened();
        let open = Input::Open {
            session,
            epoch,
            named,
            ladder: ladder.ok(),
            events,
        };
        self.push(open, None).await;
        // A claimant that has gone away drops the publisher, which is then seen as lost.
        let _ = answer.send(Ok(publisher));
    }

    fn admit(&mut self, claim: &Claim, now: Duration) -> Result<(), Busy> {
        if self.shared.stores.bans.find(&claim.identity).is_some() {
            return Err(Busy::Banned);
        }
        // Also while its publisher is away: the stream is still that one's.
        if claim.own_name && self.shared.chronicle().is_of_other_app(&claim.app) {
            return Err(Busy::OtherApp);
        }
        let Some((_, incumbent)) = self.held.as_ref() else {
            return Ok(());
        };
        if !self.yields.unwrap_or(claim.terms.takeover) {
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
                Err(oneshot::error::TryRecvError::Closed) => Some(Departure::Lost),
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

    /// Cuts the publisher, which may be back unless it is told otherwise.
    async fn cut(&mut self, fence: Fence) {
        if let Some((held, _)) = &self.held {
            held.fence.send_replace(Some(fence));
            self.close(Departure::Cut(fence)).await;
        }
    }

    async fn close(&mut self, departure: Departure) {
        self.finish_sound().await;
        if let Some((held, _)) = self.held.take() {
            let session = held.session;
            self.shared.status().session = None;
            let now = self.clock.now().wall;
            { self.shared.chronicle() }.departed(now, session, departure);
            let end = departure.end();
            self.push(Input::Close { session, end }, None).await;
        }
    }

    /// Media bytes received since the task began.
    fn metered(&self) -> u64 {
        self.shared.status().input.total()
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
        let mut back = BTreeSet::new();
        while let Some(output) = self.stream.poll() {
            match output {
                Output::Presentation(presentation) => {
                    if Some(presentation.epoch) > known {
                        // Before anybody can see a URI of it: a crash a moment later must not give it twice.
                        let epochs = &self.shared.stores.epochs;
                        epochs.remember(&self.shared.id, presentation.epoch).await;
                    }
                    self.shared.chronicle().begun(presentation.epoch);
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
                        // Nor is what it made back: it may have been lost after.
                        if !counted && self.lost.contains(&rendition) && notes::has_media(&snapshot)
                        {
                            back.insert(rendition);
                        }
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
                Output::Placed(confirmation) => self.confirm(&confirmation),
                Output::Ended { epoch } => {
                    self.publication
                        .ended(epoch, Instant::now(), self.held.is_some());
                }
                Output::Closed => {
                    self.encoders.stop();
                    self.leaves = Some(Instant::now() + self.publication.retention());
                    let (now, metered) = (self.clock.now().wall, self.metered());
                    self.shared.chronicle().over(now, None, metered);
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
        self.note(sources || !back.is_empty(), &back);
        self.tell_placed();
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
