//! The write side of one accepted publish: hand-off A.
//!
//! Media goes through a channel bounded by messages and by bytes; when it is full, [`Publisher::media`] waits and with
//! it the reading of the socket, so that TCP pushes back on the encoder. The end of the publish needs no room: it has a
//! channel of its own, whose breaking means that the publisher was lost.

use std::{fmt, sync::Arc};

use serde_json::{Map, Value};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::Instant,
};
use vitrine_core::{
    engine::{
        cues::{Clock, Placement, Refusal},
        publish::Metadata,
        stream::End,
    },
    limits,
    wire::{event::Event, flv},
};

use super::claim::{Busy, Claim, Terms};

/// Why a publish is not listened to any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// Another publisher holding the same key has taken over.
    Takeover,
    /// The server is going down.
    ShuttingDown,
    /// The stream's task is gone, by a fault of ours.
    Crashed,
    /// It sends MP3, which no player takes as it is, and nothing of it is encoded.
    Unplayable,
    /// An operator disconnected it; it may come back unless its key is banned.
    Kicked,
    /// An operator ended the stream.
    Ended,
    /// An operator took the stream down.
    TakenDown,
    /// The time that the verdict gave it is over. Said by the door.
    Expired,
    /// Asked again, admission said no. Said by the door.
    Revoked,
    /// It sent more than it may. Said by the door.
    TooFast {
        /// What it may, in thousand bits a second.
        max_kbps: u32,
    },
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooFast { max_kbps } => {
                return write!(f, "bitrate above the {max_kbps} kbit/s allowed");
            }
            Self::Takeover => "another publisher took over",
            Self::ShuttingDown => "the server is shutting down",
            Self::Crashed => "the stream failed",
            Self::Kicked => "disconnected by an operator",
            Self::Ended => "the broadcast was ended by an operator",
            Self::TakenDown => "the broadcast was taken down by an operator",
            Self::Expired => "the time allowed for this broadcast is over",
            Self::Revoked => "this broadcast is not allowed any longer",
            Self::Unplayable => {
                "unsupported MP3 audio, for nothing of this broadcast is encoded: set the encoder to AAC \
                 (OBS: Settings > Output > Audio Encoder)"
            }
        })
    }
}

/// The publish is fenced: nothing it sends is used, the connection should be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Gone(pub Fence);

/// What travels to a stream's task.
pub(super) enum Message {
    /// Somebody wants to publish.
    Claim {
        claim: Box<Claim>,
        answer: oneshot::Sender<Result<Publisher, Busy>>,
    },
    /// `onMetaData`.
    Metadata { session: u64, metadata: Metadata },
    /// An event that the encoder sent, with its RTMP timestamp in milliseconds.
    Event {
        session: u64,
        timestamp: u32,
        event: Box<Event>,
    },
    /// What its broadcaster should know.
    Notice { session: u64, words: String },
    /// A configuration or frame, when it was received, and its share of the byte budget.
    Media {
        session: u64,
        item: flv::Item,
        received: Instant,
        budget: OwnedSemaphorePermit,
    },
    /// An event of the shop is to be placed.
    Place {
        event: Box<Event>,
        answer: oneshot::Sender<Result<Placement, Refusal>>,
    },
    /// A state is to be repeated.
    Repeat {
        state: Map<String, Value>,
        seq: Option<u64>,
        answer: oneshot::Sender<Result<(), Refusal>>,
    },
    /// Somebody asks for the clock.
    Clock {
        answer: oneshot::Sender<Option<Clock>>,
    },
}

/// The task's end of one accepted publish.
pub(super) struct Held {
    /// Rises with every publish of the stream.
    pub(super) session: u64,
    /// Tells the publisher that it is not listened to.
    pub(super) fence: watch::Sender<Option<Fence>>,
    /// What the publisher may do; the door changes it too.
    pub(super) terms: watch::Sender<Terms>,
    /// How it ended; an error means that it was dropped.
    pub(super) ended: oneshot::Receiver<Departure>,
}

/// How a publish ended, as its connection saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// The publisher said so.
    Stopped,
    /// The connection ended without a word.
    Lost,
    /// We cut it.
    Cut(Fence),
}

impl Departure {
    /// How long the stream waits for its publisher: briefly for one that will not be back.
    pub(super) fn end(self) -> End {
        match self {
            Self::Stopped | Self::Cut(Fence::Expired | Fence::Revoked) => End::Stopped,
            Self::Lost | Self::Cut(_) => End::Lost,
        }
    }
}

/// The write side of one accepted publish. Dropping it without [`Publisher::close`] means that the publisher was lost.
pub struct Publisher {
    session: u64,
    inbox: mpsc::Sender<Message>,
    /// Bytes that may still wait in the inbox, in KiB.
    budget: Arc<Semaphore>,
    fence: watch::Receiver<Option<Fence>>,
    terms: watch::Sender<Terms>,
    end: oneshot::Sender<Departure>,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("session", &self.session)
            .field("fence", &*self.fence.borrow())
            .finish_non_exhaustive()
    }
}

impl Publisher {
    /// Both ends of publish number `session`, which may do what `terms` say.
    pub(super) fn pair(
        session: u64,
        terms: Terms,
        inbox: mpsc::Sender<Message>,
        budget: Arc<Semaphore>,
    ) -> (Self, Held) {
        let (fence, fenced) = watch::channel(None);
        let terms = watch::Sender::new(terms);
        let (end, ended) = oneshot::channel();
        let publisher = Self {
            session,
            inbox,
            budget,
            fence: fenced,
            terms: terms.clone(),
            end,
        };
        let held = Held {
            session,
            fence,
            terms,
            ended,
        };
        (publisher, held)
    }

    /// Waits until the publish is fenced, and says why. Cancel safe; borrow it beside the reading of the socket.
    pub async fn fenced(&self) -> Fence {
        let mut fence = self.fence.clone();
        match fence.wait_for(Option::is_some).await {
            Ok(fence) => fence.unwrap_or(Fence::Crashed),
            Err(_) => Fence::Crashed,
        }
    }

    /// Hands over a configuration or frame whose last byte was received at `received`. Waits while the stream is behind.
    ///
    /// # Errors
    /// [`Gone`] when the publish is fenced.
    pub async fn media(&self, item: flv::Item, received: Instant) -> Result<(), Gone> {
        let kib = kib(&item);
        self.unless_fenced(async {
            let budget = self.budget.clone().acquire_many_owned(kib).await.ok()?;
            let session = self.session;
            let message = Message::Media {
                session,
                item,
                received,
                budget,
            };
            self.inbox.send(message).await.ok()
        })
        .await
    }

    /// Hands over `onMetaData`.
    ///
    /// # Errors
    /// [`Gone`] when the publish is fenced.
    pub async fn metadata(&self, metadata: Metadata) -> Result<(), Gone> {
        let session = self.session;
        self.unless_fenced(async {
            let message = Message::Metadata { session, metadata };
            self.inbox.send(message).await.ok()
        })
        .await
    }

    /// Hands over an event that the encoder sent with `timestamp`, behind the media before it.
    ///
    /// # Errors
    /// [`Gone`] when the publish is fenced.
    pub async fn event(&self, timestamp: u32, event: Event) -> Result<(), Gone> {
        let (session, event) = (self.session, Box::new(event));
        let message = Message::Event {
            session,
            timestamp,
            event,
        };
        self.unless_fenced(async { self.inbox.send(message).await.ok() })
            .await
    }

    /// Tells the broadcaster something, in the notices of its stream.
    ///
    /// # Errors
    /// [`Gone`] when the publish is fenced.
    pub async fn notice(&self, words: String) -> Result<(), Gone> {
        let session = self.session;
        let message = Message::Notice { session, words };
        self.unless_fenced(async { self.inbox.send(message).await.ok() })
            .await
    }

    /// What it may do, as the verdict, an operator or a later verdict said last: the one truth of it, to be enforced by the
    /// door, which also writes down what the backend changes.
    pub fn terms(&self) -> watch::Sender<Terms> {
        self.terms.clone()
    }

    /// Ends the publish, after all media handed over.
    pub async fn close(self, end: End) {
        self.depart(match end {
            End::Stopped => Departure::Stopped,
            End::Lost => Departure::Lost,
        });
    }

    /// Ends the publish because the door does not let it go on; `why` is what the broadcaster is told.
    pub async fn cut(self, why: Fence) {
        self.depart(Departure::Cut(why));
    }

    fn depart(self, departure: Departure) {
        // Refused only when the stream is gone, which ends the publish as well.
        let _ = self.end.send(departure);
    }

    async fn unless_fenced(&self, send: impl Future<Output = Option<()>>) -> Result<(), Gone> {
        tokio::select! {
            biased;
            fence = self.fenced() => Err(Gone(fence)),
            sent = send => sent.ok_or(Gone(Fence::Crashed)),
        }
    }
}

/// What an item weighs in the byte budget, in KiB; never more than the whole budget, or it could not pass at all.
fn kib(item: &flv::Item) -> u32 {
    let bytes = match item {
        flv::Item::Config(_) => 0,
        flv::Item::Frame(frame) => frame.data.len(),
    };
    u32::try_from(bytes.div_ceil(1024))
        .unwrap_or(u32::MAX)
        .clamp(1, limits::INBOX_KIB_MAX)
}
