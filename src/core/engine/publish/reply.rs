//! What a session says: outputs in order, replies as chunks (RTMP 1.0, sections 5.4 and 7.1.7; written by `rml_rtmp`).
//!
//! Replies that follow one another leave as one [`Output::Send`]. Every reply is one chunk with a full header, which
//! the simplest client can read. Nothing a client sent as a name or URL is ever repeated in a reply.

use std::collections::VecDeque;

use bytes::Bytes;
use rml_rtmp::{
    chunk_io::{ChunkSerializer, Packet},
    messages::MessagePayload,
    time::RtmpTimestamp,
};

use super::Output;
use crate::{
    limits,
    wire::{
        amf0::{self, Value},
        chunk::kind,
    },
};

/// Window and bandwidth announced, in bytes; what Flash Media Server announced, and so every client has seen it.
pub(super) const WINDOW_BYTES: u32 = 2_500_000;

/// Chunk size announced, in bytes: no reply is longer.
const CHUNK_BYTES: u32 = 4096;

/// `Set Peer Bandwidth`, limit type "dynamic" (5.4.5).
const DYNAMIC: u8 = 2;

/// User control event "ping response" (7.1.7).
const PING_RESPONSE: u16 = 7;

/// Outputs not yet taken, in order.
pub(super) struct Outbox {
    serializer: ChunkSerializer,
    outputs: VecDeque<Output>,
    /// Replies that come after all of `outputs`.
    replies: Vec<u8>,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            serializer: ChunkSerializer::new(),
            outputs: VecDeque::new(),
            replies: Vec::new(),
        }
    }

    pub(super) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front().or_else(|| self.flush())
    }

    pub(super) fn push(&mut self, output: Output) {
        let replies = self.flush();
        self.outputs.extend(replies);
        self.outputs.push_back(output);
    }

    fn flush(&mut self) -> Option<Output> {
        let replies = std::mem::take(&mut self.replies);
        (!replies.is_empty()).then(|| Output::Send(Bytes::from(replies)))
    }

    /// What goes before the answer to `connect`.
    pub(super) fn preface(&mut self) {
        let window = WINDOW_BYTES.to_be_bytes();
        self.write(kind::WINDOW_ACKNOWLEDGEMENT_SIZE, 0, &window);
        self.write(
            kind::SET_PEER_BANDWIDTH,
            0,
            &[&window[..], &[DYNAMIC]].concat(),
        );
        let packet = self
            .serializer
            .set_max_chunk_size(CHUNK_BYTES, RtmpTimestamp::new(0));
        self.append(packet.ok());
    }

    /// `Acknowledgement`: bytes received in all, modulo 2^32 (5.4.3).
    pub(super) fn acknowledge(&mut self, received: u64) {
        self.write(kind::ACKNOWLEDGEMENT, 0, &(received as u32).to_be_bytes());
    }

    /// The answer to a ping request, its timestamp returned.
    pub(super) fn pong(&mut self, time: &[u8]) {
        if let Some(time) = time.first_chunk::<4>() {
            self.write(
                kind::USER_CONTROL,
                0,
                &[&PING_RESPONSE.to_be_bytes()[..], time].concat(),
            );
        }
    }

    /// `_result` of the call `transaction`.
    pub(super) fn result(&mut self, transaction: f64, properties: Value, information: Value) {
        self.command(0, "_result", transaction, [properties, information]);
    }

    /// `_error` of the call `transaction`.
    pub(super) fn error(&mut self, transaction: f64, code: &'static str, reason: &str) {
        self.command(
            0,
            "_error",
            transaction,
            [Value::Null, info("error", code, reason)],
        );
    }

    /// `onStatus` on message stream `stream`; on 0 it is NetConnection's.
    pub(super) fn status(&mut self, stream: u32, level: &str, code: &'static str, reason: &str) {
        self.command(
            stream,
            "onStatus",
            0.0,
            [Value::Null, info(level, code, reason)],
        );
    }

    /// `onFCPublish` or `onFCUnpublish`, which some hardware waits for.
    pub(super) fn fc(&mut self, stream: u32, name: &'static str, code: &'static str) {
        self.command(stream, name, 0.0, [Value::Null, info("status", code, "")]);
    }

    fn command(&mut self, stream: u32, name: &'static str, transaction: f64, values: [Value; 2]) {
        let mut body = Vec::new();
        for value in [name.into(), transaction.into()].iter().chain(&values) {
            amf0::write(value, &mut body);
        }
        self.write(kind::COMMAND, stream, &body);
    }

    fn write(&mut self, type_id: u8, stream: u32, body: &[u8]) {
        let message = MessagePayload {
            timestamp: RtmpTimestamp::new(0),
            type_id,
            message_stream_id: stream,
            data: Bytes::copy_from_slice(body),
        };
        let packet = self.serializer.serialize(&message, true, false);
        self.append(packet.ok());
    }

    fn append(&mut self, packet: Option<Packet>) {
        let packet = packet.expect("a reply is shorter than 16 MiB and written to memory");
        self.replies.extend(packet.bytes);
    }
}

/// An object from its properties, in order.
pub(super) fn object<const N: usize>(properties: [(&str, Value); N]) -> Value {
    Value::Object(
        properties
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

/// An information object (7.2.2). The reason is cut to [`limits::REASON_MAX`] characters.
pub(super) fn info(level: &str, code: &str, reason: &str) -> Value {
    let description: String = reason.chars().take(limits::REASON_MAX).collect();
    object([
        ("level", level.into()),
        ("code", code.into()),
        ("description", Value::String(description)),
    ])
}
