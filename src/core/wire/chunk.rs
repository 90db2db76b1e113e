//! Inbound RTMP chunk streams to messages (RTMP 1.0, section 5.3).
//!
//! [`Reader`] keeps one assembly buffer per chunk stream, so messages may interleave at any chunk; each payload byte is
//! copied once, from the socket's buffer into the message it belongs to. `Set Chunk Size` and `Abort` take effect here
//! and are not reported. Invariant: what is allocated grows with bytes received, never with a length announced.
//!
//! It does not write chunks (`rml_rtmp` does), count acknowledgements, or know what a message means.

#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::limits;

/// Message type ids (RTMP 1.0, sections 5.4 and 7.1).
pub mod kind {
    /// Set Chunk Size; handled by the reader.
    pub const SET_CHUNK_SIZE: u8 = 1;
    /// Abort; handled by the reader.
    pub const ABORT: u8 = 2;
    /// Acknowledgement.
    pub const ACKNOWLEDGEMENT: u8 = 3;
    /// User control.
    pub const USER_CONTROL: u8 = 4;
    /// Window Acknowledgement Size.
    pub const WINDOW_ACKNOWLEDGEMENT_SIZE: u8 = 5;
    /// Set Peer Bandwidth.
    pub const SET_PEER_BANDWIDTH: u8 = 6;
    /// Audio, an FLV tag body.
    pub const AUDIO: u8 = 8;
    /// Video, an FLV tag body.
    pub const VIDEO: u8 = 9;
    /// Data in AMF3 dress: a byte, then AMF0.
    pub const DATA_AMF3: u8 = 15;
    /// Command in AMF3 dress: a byte, then AMF0.
    pub const COMMAND_AMF3: u8 = 17;
    /// Data in AMF0.
    pub const DATA: u8 = 18;
    /// Command in AMF0.
    pub const COMMAND: u8 = 20;
    /// Aggregate: FLV tags in a row.
    pub const AGGREGATE: u8 = 22;
}

/// One whole RTMP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is, see [`kind`].
    pub type_id: u8,
    /// The message stream it belongs to; 0 is the connection itself.
    pub stream_id: u32,
    /// Milliseconds modulo 2^32 on the sender's clock.
    pub timestamp: u32,
    /// The body; its own allocation, so that slices of it can outlive the reader.
    pub payload: Bytes,
}

/// Why the byte stream cannot be followed any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes contradict the protocol.
    #[error("malformed {what} at byte {at}: wanted {want}, got {got}")]
    Malformed {
        /// The field being read.
        what: &'static str,
        /// Bytes received before the offending chunk.
        at: u64,
        /// What the protocol asks for.
        want: &'static str,
        /// What stood there instead.
        got: u64,
    },
    /// More than this server is willing to hold.
    #[error("{which} exceeds {max} at byte {at}")]
    Limit {
        /// The limit, in words.
        which: &'static str,
        /// Its value, in the unit the words name.
        max: u64,
        /// Bytes received before the offending chunk.
        at: u64,
    },
}

/// Reads the chunks of one connection, from the end of the handshake.
#[derive(Debug)]
pub struct Reader {
    /// In order of first use; few, so a scan beats a map.
    streams: Vec<Stream>,
    chunk_size: usize,
    /// The chunk whose payload is being read: index into `streams`, bytes still to come.
    open: Option<(usize, usize)>,
    /// Bytes kept aside: the beginning of a header whose end has not arrived.
    head: [u8; HEADER_MAX],
    head_len: usize,
    buffered: usize,
    buffered_max: usize,
    received: u64,
}

/// What is remembered of a chunk stream (RTMP 1.0, section 5.3.1.2): its last header, its unfinished message.
#[derive(Debug, Default)]
struct Stream {
    id: u32,
    timestamp: u32,
    delta: u32,
    /// The extended timestamp field of the last header that had one, as sent.
    extended: Option<u32>,
    length: u32,
    type_id: u8,
    stream_id: u32,
    /// Empty exactly between messages.
    buffer: Vec<u8>,
}

/// One chunk header as sent; absent fields are those its format omits.
struct Header {
    id: u32,
    /// Timestamp (format 0) or delta (1, 2), and whether it came by way of the extended field.
    time: Option<(u32, bool)>,
    length_and_type: Option<(u32, u8)>,
    stream_id: Option<u32>,
}

/// Basic header of 3 bytes, message header of 11, extended timestamp of 4.
const HEADER_MAX: usize = 18;

/// The 24 bit time field that says: read the extended timestamp.
const EXTENDED: u32 = 0xFF_FFFF;

/// A format 3 header that begins a message after a format 0 header means "its timestamp is the delta" by the letter
/// (5.3.1.2.4), and so ffmpeg and rml_rtmp write it; librtmp writes it for "same time again". Only a short first
/// timestamp can truly be a delta; a long one taken for it would throw the clock hours ahead. In milliseconds.
const DELTA_AFTER_FULL_MAX: u32 = 1000;

impl Reader {
    /// A reader at the first byte after the handshake: chunk size 128 bytes, and the buffer limit of a stranger.
    pub fn new() -> Self {
        Self {
            streams: Vec::new(),
            chunk_size: 128,
            open: None,
            head: [0; HEADER_MAX],
            head_len: 0,
            buffered: 0,
            buffered_max: limits::CHUNK_BUFFERED_STRANGER_MAX,
            received: 0,
        }
    }

    /// Raises the limit on buffered bytes to that of a publisher whose verdict was an accepting one.
    pub fn trust(&mut self) {
        self.buffered_max = limits::CHUNK_BUFFERED_MAX;
    }

    /// Bytes consumed since [`Self::new`].
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Consumes `input` up to the end of the next message, or to its end if none is completed: call until `None`.
    ///
    /// # Errors
    /// [`Error`]; the connection must be closed, for where the next chunk begins is unknown.
    pub fn push(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        loop {
            let at = self.received;
            let stream = match self.open {
                Some((stream, missing)) => {
                    if !self.fill(stream, missing, input, at)? {
                        return Ok(None);
                    }
                    stream
                }
                None => {
                    let Some(header) = self.header(input) else {
                        return Ok(None);
                    };
                    let stream = self.begin(&header, at)?;
                    let missing = self.streams[stream].missing().min(self.chunk_size);
                    self.open = Some((stream, missing));
                    if missing > 0 {
                        continue;
                    }
                    stream
                }
            };
            self.open = None;
            if self.streams[stream].missing() > 0 {
                continue;
            }
            let message = self.streams[stream].take();
            self.buffered -= message.payload.len();
            match message.type_id {
                kind::SET_CHUNK_SIZE => self.chunk_size = chunk_size(&message.payload, at)?,
                kind::ABORT => self.abort(&message.payload),
                _ => return Ok(Some(message)),
            }
        }
    }

    /// Moves payload bytes into the open chunk's message; whether the chunk is now complete.
    fn fill(
        &mut self,
        stream: usize,
        missing: usize,
        input: &mut &[u8],
        at: u64,
    ) -> Result<bool, Error> {
        let kept = missing.min(self.head_len);
        let (bytes, rest) = input.split_at((missing - kept).min(input.len()));
        let filled = kept + bytes.len();
        if self.buffered + filled > self.buffered_max {
            return Err(Error::Limit {
                which: "bytes of unfinished messages",
                max: self.buffered_max as u64,
                at,
            });
        }
        if kept > 0 {
            self.streams[stream].append(&self.head[..kept]);
            self.shift(kept);
        }
        self.streams[stream].append(bytes);
        self.buffered += filled;
        self.received += bytes.len() as u64;
        *input = rest;
        self.open = Some((stream, missing - filled));
        Ok(missing == filled)
    }

    /// The next chunk header, or `None` with all of `input` kept aside when its end has not arrived.
    fn header(&mut self, input: &mut &[u8]) -> Option<Header> {
        let kept = self.head_len;
        let taken = input.len().min(HEADER_MAX - kept);
        let parsed = if kept == 0 {
            self.parse(input)
        } else {
            self.head[kept..kept + taken].copy_from_slice(&input[..taken]);
            self.parse(&self.head[..kept + taken])
        };
        let used = match &parsed {
            // Bytes kept as a likely extended timestamp have turned out to be payload, and stay kept.
            Some((_, length)) if *length < kept => {
                self.shift(*length);
                0
            }
            Some((_, length)) => {
                self.head_len = 0;
                length - kept
            }
            None => {
                self.head[kept..kept + taken].copy_from_slice(&input[..taken]);
                self.head_len = kept + taken;
                taken
            }
        };
        *input = &input[used..];
        self.received += used as u64;
        parsed.map(|(header, _)| header)
    }

    /// Drops the first `count` of the bytes kept aside.
    fn shift(&mut self, count: usize) {
        self.head.copy_within(count..self.head_len, 0);
        self.head_len -= count;
    }

    /// Reads a chunk header (5.3.1) at the start of `bytes`; with its length.
    fn parse(&self, bytes: &[u8]) -> Option<(Header, usize)> {
        let first = *bytes.first()?;
        let (id, mut length) = match first & 0x3F {
            0 => (64 + u32::from(*bytes.get(1)?), 2),
            1 => {
                let low = u32::from(*bytes.get(1)?);
                (64 + low + 256 * u32::from(*bytes.get(2)?), 3)
            }
            id => (u32::from(id), 1),
        };
        let format = first >> 6;
        let fields = bytes.get(length..length + [11, 7, 3, 0][usize::from(format)])?;
        length += fields.len();
        let mut header = Header {
            id,
            time: None,
            length_and_type: None,
            stream_id: None,
        };
        if let [a, b, c, rest @ ..] = fields {
            let mut time = (be24([*a, *b, *c]), false);
            if let [a, b, c, type_id, rest @ ..] = rest {
                header.length_and_type = Some((be24([*a, *b, *c]), *type_id));
                header.stream_id = rest.try_into().ok().map(u32::from_le_bytes);
            }
            if time.0 == EXTENDED {
                let field = bytes.get(length..length + 4)?;
                time = (field.try_into().ok().map(u32::from_be_bytes)?, true);
                length += 4;
            }
            header.time = Some(time);
        } else if self.extension_repeated(id, &bytes[length..])? {
            length += 4;
        }
        Some((header, length))
    }

    /// Whether a format 3 header repeats the extended timestamp (5.3.1.3). By the letter it does, and ffmpeg, FMLE and
    /// WeChat's SDK do; rtmpdump's descendants do not. So the bytes are compared with what would be repeated: the field
    /// as last sent, or, from FMLE, the absolute time. `None` while too few bytes have come to tell.
    fn extension_repeated(&self, id: u32, next: &[u8]) -> Option<bool> {
        let Some(stream) = self.streams.iter().find(|stream| stream.id == id) else {
            return Some(false);
        };
        let Some(field) = stream.extended else {
            return Some(false);
        };
        let seen = &next[..next.len().min(4)];
        let possible = [field, stream.timestamp]
            .iter()
            .any(|value| value.to_be_bytes().starts_with(seen));
        (!possible || seen.len() == 4).then_some(possible)
    }

    /// Lets a header take effect; the index of its chunk stream.
    fn begin(&mut self, header: &Header, at: u64) -> Result<usize, Error> {
        let index = match self
            .streams
            .iter()
            .position(|stream| stream.id == header.id)
        {
            Some(index) => index,
            None if self.streams.len() == limits::CHUNK_STREAMS_MAX => {
                return Err(Error::Limit {
                    which: "number of chunk streams",
                    max: limits::CHUNK_STREAMS_MAX as u64,
                    at,
                });
            }
            None => {
                self.streams.push(Stream {
                    id: header.id,
                    ..Stream::default()
                });
                self.streams.len() - 1
            }
        };
        let stream = &mut self.streams[index];
        if !stream.buffer.is_empty() {
            // In mid-message, rml_rtmp may repeat the full header; only another length or type begins anew (as ffmpeg
            // reads it), and then the unfinished message is lost.
            let same = (stream.length, stream.type_id);
            if header.length_and_type.is_none_or(|given| given == same) {
                return Ok(index);
            }
            self.buffered -= stream.buffer.len();
            stream.buffer = Vec::new();
        }
        stream.start(header);
        let max = message_max(stream.type_id);
        if stream.length > max {
            return Err(Error::Limit {
                which: "length of a message in bytes",
                max: u64::from(max),
                at,
            });
        }
        Ok(index)
    }

    /// Drops the unfinished message of the chunk stream named (5.4.2); a short body names none.
    fn abort(&mut self, payload: &[u8]) {
        let id = payload.first_chunk().copied().map(u32::from_be_bytes);
        if let Some(stream) = self.streams.iter_mut().find(|stream| Some(stream.id) == id) {
            self.buffered -= stream.buffer.len();
            stream.buffer = Vec::new();
        }
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Stream {
    /// Begins a message; what the header omits is as in the last one, or zero (DJI and librtmp begin with format 1, 2).
    fn start(&mut self, header: &Header) {
        if let Some((length, type_id)) = header.length_and_type {
            (self.length, self.type_id) = (length, type_id);
        }
        if let Some((time, extended)) = header.time {
            self.extended = extended.then_some(time);
            self.delta = time;
        }
        match (header.stream_id, header.time) {
            (Some(stream_id), Some((time, _))) => {
                self.stream_id = stream_id;
                self.timestamp = time;
                if time > DELTA_AFTER_FULL_MAX {
                    self.delta = 0;
                }
            }
            _ => self.timestamp = self.timestamp.wrapping_add(self.delta),
        }
    }

    /// Bytes the message still lacks.
    fn missing(&self) -> usize {
        self.length as usize - self.buffer.len()
    }

    /// Copies payload in. Capacity at most quadruples what has arrived and never exceeds the message: a frame ends up in
    /// an allocation of its own size, reached in few steps.
    fn append(&mut self, bytes: &[u8]) {
        let needed = self.buffer.len() + bytes.len();
        if needed > self.buffer.capacity() {
            let wanted = limits::CHUNK_RESERVE.max(4 * self.buffer.len()).max(needed);
            let capacity = wanted.min(self.length as usize);
            self.buffer.reserve_exact(capacity - self.buffer.len());
        }
        self.buffer.extend_from_slice(bytes);
    }

    fn take(&mut self) -> Message {
        Message {
            type_id: self.type_id,
            stream_id: self.stream_id,
            timestamp: self.timestamp,
            payload: Bytes::from(std::mem::take(&mut self.buffer)),
        }
    }
}

/// The longest message of a type, in bytes.
fn message_max(type_id: u8) -> u32 {
    match type_id {
        kind::AUDIO | kind::VIDEO | kind::AGGREGATE => limits::MEDIA_MESSAGE_MAX,
        kind::DATA | kind::DATA_AMF3 => limits::DATA_MESSAGE_MAX,
        _ => limits::COMMAND_MESSAGE_MAX,
    }
}

/// Reads Set Chunk Size (5.4.1). Sizes beyond the longest message are legal and mean just that.
fn chunk_size(payload: &[u8], at: u64) -> Result<usize, Error> {
    let size = payload.first_chunk().copied().map_or(0, u32::from_be_bytes);
    if size == 0 || size >> 31 == 1 {
        return Err(Error::Malformed {
            what: "Set Chunk Size",
            at,
            want: "1 to 2147483647",
            got: u64::from(size),
        });
    }
    Ok(size.min(limits::CHUNK_SIZE_MAX) as usize)
}

fn be24([a, b, c]: [u8; 3]) -> u32 {
    u32::from_be_bytes([0, a, b, c])
}
