//! Calls of a publisher and their answers (RTMP 1.0, section 7.2; Enhanced RTMP v2, "Enhancing NetConnection connect
//! Command").
//!
//! Encoders call more than any document lists, with transaction ids that are zero, repeated or absent: whatever is not
//! understood is answered emptily or passed over, and never ends the connection.

use std::time::Duration;

use super::{
    Held, Output, Session, State,
    reply::{info, object},
    target::Target,
};
use crate::{
    limits,
    wire::{
        amf0::{self, Value},
        flv,
    },
};

/// One call.
struct Command {
    /// The message stream it came on.
    stream: u32,
    transaction: f64,
    object: Value,
    arguments: Vec<Value>,
}

/// Video codecs passed through, by FourCC.
const VIDEO_FOURCCS: [&str; 3] = ["avc1", "hvc1", "av01"];

/// Audio codecs passed through, by FourCC.
const AUDIO_FOURCCS: [&str; 2] = ["mp4a", "Opus"];

/// `FourCcInfoMask`: we forward what we take in.
const CAN_FORWARD: f64 = 4.0;

/// `CapsExMask`: the client follows ReconnectRequest.
const CAPS_RECONNECT: u32 = 1;

/// `CapsExMask`: reconnect, multitrack, ModEx, nanosecond offset.
const CAPS_ALL: u32 = CAPS_RECONNECT | 2 | 4 | 8;

impl Session {
    /// Takes a command message that came on message stream `stream`; what of it cannot be read counts as absent.
    pub(super) fn command(&mut self, now: Duration, stream: u32, body: &[u8]) {
        let mut values = amf0::parse(body).map_while(Result::ok);
        let Some(Value::String(name)) = values.next() else {
            return;
        };
        let command = Command {
            stream,
            transaction: match values.next() {
                Some(Value::Number(transaction)) => transaction,
                _ => 0.0,
            },
            object: values.next().unwrap_or(Value::Undefined),
            arguments: values.collect(),
        };
        match (name.as_str(), &self.state) {
            ("connect", State::Connecting) => self.connect(&command),
            // Nothing else may come first: a stranger must not make us work.
            (_, State::Connecting | State::Closed) => {}
            ("connect", _) => {
                let code = "NetConnection.Connect.Rejected";
                self.outbox
                    .error(command.transaction, code, "already connected");
            }
            ("createStream", _) => self.create_stream(&command),
            ("publish", _) => self.publish(&command),
            ("play" | "play2", _) => {
                let reason = "playing over RTMP is not offered, watch over HLS";
                self.refuse(stream, "NetStream.Play.Failed", reason);
            }
            ("FCUnpublish", _) => {
                self.unpublish(now, true);
                self.answer(&command, Value::Undefined);
            }
            ("deleteStream" | "closeStream", _) => self.delete_stream(now, &command),
            ("getStreamLength", _) => self.answer(&command, Value::Number(0.0)),
            ("_result" | "_error" | "onStatus", _) => {}
            ("FCPublish", _) => {
                self.fc_publish = true;
                self.answer(&command, Value::Undefined);
            }
            // releaseStream, _checkbw, and whatever encoders yet invent.
            _ => self.answer(&command, Value::Undefined),
        }
    }

    /// Answers a call that wants an answer.
    fn answer(&mut self, command: &Command, value: Value) {
        if command.transaction != 0.0 {
            self.outbox.result(command.transaction, Value::Null, value);
        }
    }

    fn connect(&mut self, command: &Command) {
        self.target = Target::parse(&command.object);
        self.state = State::Connected;
        self.outbox.preface();
        if self.target.wants_authmod() {
            // Not the words that would start the challenge.
            let reason = "user and password are not supported: give the key as stream name";
            let code = "NetConnection.Connect.Rejected";
            self.outbox.error(command.transaction, code, reason);
            return self.close(format!("{code}: {reason}"));
        }
        let capabilities = self.capabilities(&command.object);
        let mut properties = object([
            ("fmsVer", "FMS/3,5,7,7009".into()),
            ("capabilities", 31.0.into()),
        ]);
        let code = "NetConnection.Connect.Success";
        let mut information = info("status", code, "connected");
        // "One of the parameters" carries the capabilities: clients look in either.
        for place in [&mut properties, &mut information] {
            if let Value::Object(place) = place {
                place.extend(capabilities.iter().cloned());
            }
        }
        if let Value::Object(information) = &mut information {
            // 0 even when 3 was asked for: commands in AMF3 are not read.
            information.push(("objectEncoding".to_owned(), 0.0.into()));
        }
        self.outbox
            .result(command.transaction, properties, information);
    }

    /// What this server takes of Enhanced RTMP, said in the terms in which the client asked; nothing to a legacy client.
    fn capabilities(&mut self, asked: &Value) -> Vec<(String, Value)> {
        let forward = |fourccs: &[&str]| {
            let flags = fourccs
                .iter()
                .map(|name| (String::from(*name), CAN_FORWARD.into()));
            Value::Object(flags.collect())
        };
        let list = VIDEO_FOURCCS
            .iter()
            .chain(&AUDIO_FOURCCS)
            .map(|name| Value::from(*name));
        let caps = asked
            .property("capsEx")
            .and_then(Value::as_number)
            .unwrap_or(0.0) as u32;
        self.reconnects = caps & CAPS_RECONNECT != 0;
        [
            ("fourCcList", Value::Array(list.collect())),
            ("videoFourCcInfoMap", forward(&VIDEO_FOURCCS)),
            ("audioFourCcInfoMap", forward(&AUDIO_FOURCCS)),
            ("capsEx", f64::from(CAPS_ALL).into()),
        ]
        .into_iter()
        .filter(|(name, _)| asked.property(name).is_some())
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    fn create_stream(&mut self, command: &Command) {
        let free = (1..=limits::MESSAGE_STREAMS_MAX).find(|id| !self.streams.contains(id));
        match free {
            Some(id) => {
                self.streams.push(id);
                let id = Value::Number(f64::from(id));
                self.outbox.result(command.transaction, Value::Null, id);
            }
            None => {
                let code = "NetConnection.Call.Failed";
                self.outbox
                    .error(command.transaction, code, "too many message streams");
            }
        }
    }

    fn publish(&mut self, command: &Command) {
        if let State::Asked { stream, .. } | State::Live { stream, .. } = self.state {
            if stream != command.stream {
                let reason = "this connection already publishes";
                let code = "NetStream.Publish.BadName";
                self.outbox.status(command.stream, "error", code, reason);
            }
            return;
        }
        // The type (live, record, append) is an encoder's default, not a wish: all are live.
        let name = command
            .arguments
            .first()
            .and_then(Value::as_str)
            .unwrap_or_default();
        let Some(request) = self.target.request(name) else {
            let code = "NetStream.Publish.Denied";
            return self.refuse(command.stream, code, "no stream key was given");
        };
        self.demuxer = flv::Demuxer::default();
        self.deadline = None;
        self.state = State::Asked {
            stream: command.stream,
            held: Held::default(),
        };
        self.outbox.push(Output::Publish(request));
    }

    /// Ends the publish that is asked for or live, if any. The connection may publish again.
    fn unpublish(&mut self, now: Duration, fc: bool) {
        let (State::Asked { stream, .. } | State::Live { stream, .. }) = self.state else {
            return;
        };
        let code = "NetStream.Unpublish.Success";
        if fc {
            self.outbox.fc(stream, "onFCUnpublish", code);
        }
        self.outbox.status(stream, "status", code, "unpublished");
        self.outbox.push(Output::Stopped);
        self.state = State::Connected;
        self.deadline = Some(now.saturating_add(self.limits.connect_to_publish));
    }

    /// deleteStream names its stream; closeStream comes on it, and some encoders give neither.
    fn delete_stream(&mut self, now: Duration, command: &Command) {
        let named = command.arguments.first().and_then(Value::as_number);
        let id = named.map_or(command.stream, |id| id as u32);
        self.streams.retain(|stream| *stream != id);
        if let State::Asked { stream, .. } | State::Live { stream, .. } = self.state
            && (id == stream || id == 0)
        {
            self.unpublish(now, false);
        }
    }
}
