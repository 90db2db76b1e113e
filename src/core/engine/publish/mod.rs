//! The server side of one RTMP connection that publishes (RTMP 1.0, section 7; Enhanced RTMP v2), from the end of the
//! handshake to the end of the connection.
//!
//! [`Session`] takes bytes and a [`Verdict`], and gives bytes to send, one [`Request`] per publish, metadata and media.
//! Invariants: no success status and no media before an accepting verdict; before it only the last metadata and each
//! track's configuration are kept; [`Output::Stopped`] comes once per publish; a key is in no reply, error or `Debug`.
//!
//! The handshake, the deadline of the verdict and the pace of the media are the door's; what a media message holds is
//! [`flv`]'s. `command` answers calls, `target` finds the key in what encoders send, `reply` writes. [`event`] is what they
//! tell between their media: before the verdict there is no picture for it, and it is dropped.

mod command;
pub mod event;
mod metadata;
mod reply;
mod target;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, time::Duration};

use bytes::Bytes;

use self::{event::Sent, reply::Outbox, target::Target};
use crate::{
    limits,
    media::{self, Config, Kind},
    wire::{
        amf0,
        chunk::{self, Message, kind},
        flv,
    },
};

/// What the publisher asks for, in its own words; the door adds session id, protocol and address. Its `Debug` is fit
/// for a log: it withholds what may be secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Application name, without query and key.
    pub app: String,
    /// The stream name as sent, without its query; the secret may be in it. Never logged.
    pub name: String,
    /// The secret: the stream name, or `key`/`token` of a query when given there. Never logged.
    pub stream_key: String,
    /// Raw query of the stream name, tcUrl or app; may hold secrets.
    pub query: String,
    /// `tcUrl` as sent, without query and key.
    pub tc_url: String,
    /// `flashVer`, or the encoder named in metadata.
    pub encoder: String,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &str| match self.stream_key.as_str() {
            "" => text.to_owned(),
            key => text.replace(key, "[key]"),
        };
        f.debug_struct("Request")
            .field("app", &shown(&self.app))
            .field("tc_url", &shown(&self.tc_url))
            .field("encoder", &self.encoder)
            .finish_non_exhaustive()
    }
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `NetStream.Publish.Start`; media flows from the next sync sample.
    Accept,
    /// `NetStream.Publish.Denied` with this reason, then close.
    Deny(String),
    /// `NetStream.Publish.BadName` with this reason, then close.
    Busy(String),
}

/// What the door must do next.
#[derive(Debug)]
pub enum Output {
    /// Write these bytes to the peer.
    Send(Bytes),
    /// Ask whether it may publish, and answer with [`Session::verdict`].
    Publish(Request),
    /// `onMetaData`, numbers and strings by name; a hint only.
    Metadata(Metadata),
    /// An event for the pictures around it, only after an accepting verdict; whether it may is the door's to know.
    Event(Sent),
    /// A configuration or a frame, only after an accepting verdict.
    Media(flv::Item),
    /// The publisher ended its publish deliberately (FCUnpublish, deleteStream, closeStream), or withdrew a request
    /// whose verdict is pending: that one must not be given any more.
    Stopped,
    /// Send what is pending, then close. The text is for the log.
    Close(String),
}

/// The fields of `onMetaData` that a server may use as hints.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// Frames per second as announced.
    pub frame_rate: Option<f64>,
    /// Announced width in pixels.
    pub width: Option<f64>,
    /// Announced height in pixels.
    pub height: Option<f64>,
    /// Whether a video codec is announced.
    pub video: bool,
    /// Whether an audio codec is announced.
    pub audio: bool,
    /// Encoder name.
    pub encoder: Option<String>,
}

/// Why the connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The chunk stream cannot be followed.
    #[error(transparent)]
    Chunk(#[from] chunk::Error),
    /// An audio or video message contradicts its format.
    #[error("media message that ends at byte {at}: {source}")]
    Media {
        /// Bytes received up to the end of the message.
        at: u64,
        /// What is wrong with it.
        source: flv::Error,
    },
    /// An aggregate message (RTMP 1.0, 7.1.6) ends inside one of its tags.
    #[error("truncated aggregate message that ends at byte {at}")]
    Aggregate {
        /// Bytes received up to the end of the message.
        at: u64,
    },
    /// More, or longer, than this server is willing to hold or wait.
    #[error("{which} exceeds {max} at byte {at}")]
    Limit {
        /// The limit, in words.
        which: &'static str,
        /// Its value, in the unit the words name.
        max: u64,
        /// Bytes received.
        at: u64,
    },
}

/// How long a [`Session`] waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the end of the handshake, or of the former publish, to the next `publish`.
    pub connect_to_publish: Duration,
    /// Without an audio or video message after the verdict.
    pub idle: Duration,
}

impl Default for Limits {
    /// [`limits::CONNECT_TO_PUBLISH`] and [`limits::PUBLISH_IDLE`].
    fn default() -> Self {
        Self {
            connect_to_publish: limits::CONNECT_TO_PUBLISH,
            idle: limits::PUBLISH_IDLE,
        }
    }
}

/// The state of one connection.
pub struct Session {
    limits: Limits,
    reader: chunk::Reader,
    outbox: Outbox,
    state: State,
    deadline: Option<Duration>,
    target: Target,
    /// Whether the client announced that it follows ReconnectRequest.
    reconnects: bool,
    /// Whether the client called FCPublish, and so expects onFCPublish.
    fc_publish: bool,
    /// Message stream ids in use, ascending.
    streams: Vec<u32>,
    /// Events sent so far, whatever became of them.
    told: u32,
    demuxer: flv::Demuxer,
    items: Vec<flv::Item>,
    /// Bytes after which the peer wants an acknowledgement.
    window: u64,
    acknowledged: u64,
}

#[derive(Debug)]
enum State {
    /// Before `connect`.
    Connecting,
    /// Between `connect` and `publish`.
    Connected,
    /// A [`Request`] awaits its verdict.
    Asked { stream: u32, held: Held },
    /// Accepted; `video` once a sync sample has come.
    Live { stream: u32, video: bool },
    /// Nothing is read any more.
    Closed,
}

/// What is kept of a publish until its verdict.
#[derive(Debug, Default)]
struct Held {
    metadata: Option<Metadata>,
    /// By kind, with the bytes of the message it keeps alive.
    configs: BTreeMap<Kind, (Config, usize)>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("state", &self.state)
            .field("received", &self.reader.received())
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// A session whose handshake ended at `now` (monotonic).
    pub fn new(now: Duration) -> Self {
        Self::with_limits(now, Limits::default())
    }

    /// The same with other waits.
    pub fn with_limits(now: Duration, limits: Limits) -> Self {
        Self {
            limits,
            reader: chunk::Reader::new(),
            outbox: Outbox::new(),
            state: State::Connecting,
            deadline: Some(now.saturating_add(limits.connect_to_publish)),
            target: Target::default(),
            reconnects: false,
            fc_publish: false,
            streams: Vec::new(),
            told: 0,
            demuxer: flv::Demuxer::default(),
            items: Vec::new(),
            window: u64::from(reply::WINDOW_BYTES),
            acknowledged: 0,
        }
    }

    /// Takes bytes the peer sent. After an error, drain [`Self::poll`] and close. Bytes after the end are ignored.
    ///
    /// # Errors
    /// What the peer did wrong, and where.
    pub fn push(&mut self, now: Duration, bytes: &[u8]) -> Result<(), Error> {
        let done = self.read(now, bytes);
        if done.is_err() {
            self.end();
        }
        done
    }

    /// Answers the pending [`Output::Publish`]; without one it has no effect.
    pub fn verdict(&mut self, now: Duration, verdict: Verdict) {
        let State::Asked { stream, held } = &mut self.state else {
            return;
        };
        let (stream, held) = (*stream, std::mem::take(held));
        let (code, reason) = match verdict {
            Verdict::Accept => return self.accept(now, stream, held),
            Verdict::Deny(reason) => ("NetStream.Publish.Denied", reason),
            Verdict::Busy(reason) => ("NetStream.Publish.BadName", reason),
        };
        self.refuse(stream, code, &reason);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outbox.poll()
    }

    /// When [`Self::expire`] must be called next; `None` while only a verdict is awaited, or after the end.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// A deadline has come: idle, or too long without publishing. Harmless when called early.
    ///
    /// # Errors
    /// The limit that was passed.
    pub fn expire(&mut self, now: Duration) -> Result<(), Error> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let (which, max) = match self.state {
            State::Live { stream, .. } => {
                let code = "NetStream.Publish.Idle";
                self.outbox
                    .status(stream, "error", code, "no audio or video arrives");
                ("milliseconds without media", self.limits.idle)
            }
            _ => (
                "milliseconds without a publish",
                self.limits.connect_to_publish,
            ),
        };
        self.end();
        Err(Error::Limit {
            which,
            max: u64::try_from(max.as_millis()).unwrap_or(u64::MAX),
            at: self.reader.received(),
        })
    }

    /// Ends the publish against the publisher's will (takeover, bitrate cap, shutdown): an error status with `reason`,
    /// then [`Output::Close`].
    pub fn kick(&mut self, reason: &str) {
        match self.state {
            State::Asked { stream, .. } | State::Live { stream, .. } => {
                self.refuse(stream, "NetStream.Publish.Rejected", reason);
            }
            State::Connecting | State::Connected => self.close(reason.to_owned()),
            State::Closed => {}
        }
    }

    /// Asks the client to connect anew elsewhere or later, if it announced that it can (Enhanced RTMP v2, "Reconnect
    /// Request"); whether it did. The session goes on until the client leaves.
    pub fn drain(&mut self, reason: &str) -> bool {
        let asked = self.reconnects && !matches!(self.state, State::Closed);
        if asked {
            let code = "NetConnection.Connect.ReconnectRequest";
            self.outbox.status(0, "status", code, reason);
        }
        asked
    }

    /// Bytes taken from the peer so far, handshake apart.
    pub fn received(&self) -> u64 {
        self.reader.received()
    }

    fn read(&mut self, now: Duration, mut bytes: &[u8]) -> Result<(), Error> {
        while !matches!(self.state, State::Closed) {
            let Some(message) = self.reader.push(&mut bytes)? else {
                break;
            };
            self.message(now, message)?;
        }
        let received = self.reader.received();
        if received - self.acknowledged >= self.window {
            self.acknowledged = received;
            self.outbox.acknowledge(received);
        }
        Ok(())
    }

    fn message(&mut self, now: Duration, message: Message) -> Result<(), Error> {
        let body = &message.payload;
        match message.type_id {
            kind::AUDIO | kind::VIDEO => self.media(now, &message)?,
            kind::AGGREGATE => self.aggregate(now, &message)?,
            kind::DATA => self.data(message.timestamp, body),
            kind::DATA_AMF3 => self.data(message.timestamp, amf0_in_amf3(body)),
            kind::COMMAND => self.command(now, message.stream_id, body),
            kind::COMMAND_AMF3 => self.command(now, message.stream_id, amf0_in_amf3(body)),
            kind::USER_CONTROL => {
                if let [0, 6, time @ ..] = &body[..] {
                    self.outbox.pong(time);
                }
            }
            kind::WINDOW_ACKNOWLEDGEMENT_SIZE => {
                if let Some(size) = body.first_chunk() {
                    self.window = u64::from(u32::from_be_bytes(*size).max(1));
                }
            }
            // Acknowledgements, bandwidth wishes, shared objects and the unknown need no answer.
            _ => {}
        }
        Ok(())
    }

    /// An audio or video message of the publish in progress.
    fn media(&mut self, now: Duration, message: &Message) -> Result<(), Error> {
        let (State::Asked { stream, .. } | State::Live { stream, .. }) = self.state else {
            return Ok(());
        };
        // Encoders that begin a chunk stream with format 1 leave the message stream id out; only media of another
        // stream that does exist is not ours.
        if message.stream_id != stream && self.streams.contains(&message.stream_id) {
            return Ok(());
        }
        if matches!(self.state, State::Live { .. }) {
            self.deadline = Some(now.saturating_add(self.limits.idle));
        }
        let mut items = std::mem::take(&mut self.items);
        let read = if message.payload.is_empty() {
            Ok(())
        } else if message.type_id == kind::VIDEO {
            self.demuxer
                .video(message.timestamp, &message.payload, &mut items)
        } else {
            self.demuxer
                .audio(message.timestamp, &message.payload, &mut items)
        };
        let kept = items
            .drain(..)
            .try_for_each(|item| self.item(item, message));
        self.items = items;
        kept?;
        if let Err(source) = read {
            self.refuse(stream, "NetStream.Publish.Rejected", &source.to_string());
            if !matches!(source, flv::Error::Media(media::Error::Unsupported { .. })) {
                let at = self.reader.received();
                return Err(Error::Media { at, source });
            }
        }
        Ok(())
    }

    /// Hands an item on; before the verdict, keeps a configuration and drops a frame.
    fn item(&mut self, item: flv::Item, message: &Message) -> Result<(), Error> {
        match (&mut self.state, item) {
            (State::Asked { held, .. }, flv::Item::Config(config)) => {
                let kept = (config, message.payload.len());
                held.configs.insert(kept.0.kind(), kept);
                let bytes: usize = held.configs.values().map(|(_, bytes)| bytes).sum();
                if bytes > limits::PUBLISH_HELD_MAX {
                    return Err(Error::Limit {
                        which: "bytes of configurations before the verdict",
                        max: limits::PUBLISH_HELD_MAX as u64,
                        at: self.reader.received(),
                    });
                }
            }
            (State::Live { video, .. }, flv::Item::Frame(frame)) => {
                *video |= frame.kind == Kind::Video && frame.sync;
                if *video || frame.kind == Kind::Audio {
                    self.outbox.push(Output::Media(flv::Item::Frame(frame)));
                }
            }
            (State::Live { .. }, config) => self.outbox.push(Output::Media(config)),
            _ => {}
        }
        Ok(())
    }

    /// Unpacks FLV tags in a row (RTMP 1.0, 7.1.6); their times are rebased so that the first has the message's.
    fn aggregate(&mut self, now: Duration, message: &Message) -> Result<(), Error> {
        let mut rest = message.payload.clone();
        let mut base = None;
        while !rest.is_empty() {
            let at = self.reader.received();
            let head: [u8; 11] = *rest.first_chunk().ok_or(Error::Aggregate { at })?;
            let [type_id, l2, l1, l0, t2, t1, t0, t3, ..] = head;
            let end = head.len() + u32::from_be_bytes([0, l2, l1, l0]) as usize;
            if rest.len() < end {
                return Err(Error::Aggregate { at });
            }
            let time = u32::from_be_bytes([t3, t2, t1, t0]);
            let since = time.wrapping_sub(*base.get_or_insert(time));
            let tag = rest.split_to(end);
            // The size of the tag, once more; encoders leave the last one out.
            let _ = rest.split_to(rest.len().min(4));
            if type_id != kind::AGGREGATE {
                self.message(
                    now,
                    Message {
                        type_id,
                        stream_id: message.stream_id,
                        timestamp: message.timestamp.wrapping_add(since),
                        payload: tag.slice(head.len()..),
                    },
                )?;
            }
        }
        Ok(())
    }

    /// A data message: metadata and events are taken, anything else passed over.
    fn data(&mut self, timestamp: u32, body: &[u8]) {
        if let Some(metadata) = metadata::parse(amf0::parse(body)) {
            match &mut self.state {
                State::Asked { held, .. } => held.metadata = Some(metadata),
                State::Live { .. } => self.outbox.push(Output::Metadata(metadata)),
                State::Connecting | State::Connected | State::Closed => {}
            }
        } else if let State::Live { .. } = self.state
            && let Some(sent) = event::parse(timestamp, self.told, amf0::parse(body))
        {
            self.told = self.told.wrapping_add(1);
            self.outbox.push(Output::Event(sent));
        }
    }

    fn accept(&mut self, now: Duration, stream: u32, held: Held) {
        self.reader.trust();
        self.deadline = Some(now.saturating_add(self.limits.idle));
        self.state = State::Live {
            stream,
            video: false,
        };
        if self.fc_publish {
            self.outbox
                .fc(stream, "onFCPublish", "NetStream.Publish.Start");
        }
        let code = "NetStream.Publish.Start";
        self.outbox.status(stream, "status", code, "publishing");
        if let Some(metadata) = held.metadata {
            self.outbox.push(Output::Metadata(metadata));
        }
        for (config, _) in held.configs.into_values() {
            self.outbox.push(Output::Media(flv::Item::Config(config)));
        }
    }

    /// An error status, then the end.
    fn refuse(&mut self, stream: u32, code: &'static str, reason: &str) {
        self.outbox.status(stream, "error", code, reason);
        self.close(format!("{code}: {reason}"));
    }

    fn close(&mut self, why: String) {
        self.outbox.push(Output::Close(why));
        self.end();
    }

    fn end(&mut self) {
        self.state = State::Closed;
        self.deadline = None;
    }
}

/// The AMF0 inside a message that claims AMF3: encoders put a zero byte in front, or nothing (type ids 15 and 17).
fn amf0_in_amf3(body: &[u8]) -> &[u8] {
    body.strip_prefix(&[0]).unwrap_or(body)
}
