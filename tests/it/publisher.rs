//! A test publisher: RTMP over a real socket, by rml_rtmp's own handshake and `ClientSession`.
//!
//! [`Publisher`] speaks as an encoder does (connect, publish, metadata, media, stop) and also as none should: any message
//! type and body on any chunk stream ([`Publisher::message_on`]), any bytes ([`Publisher::raw`]), an abrupt end
//! ([`Publisher::reset`]) or none. [`body`] builds legacy and enhanced RTMP bodies; [`flv`] reads files made by ffmpeg so
//! that exactly their bytes are pushed. Everything is blocking, each wait has a limit, and nothing asserts: tests do.
// A tool box: each test takes what it needs, and the daemon's unit tests include the file too.
#![allow(dead_code, unreachable_pub)]

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use rml_rtmp::{
    chunk_io::ChunkDeserializer,
    handshake::{Handshake, HandshakeProcessResult, PeerType},
    messages::{MessagePayload, RtmpMessage},
    sessions::{
        ClientSession, ClientSessionConfig, ClientSessionResult, PublishRequestType, StreamMetadata,
    },
};

/// RTMP message type of audio.
pub const AUDIO: u8 = 8;
/// RTMP message type of video.
pub const VIDEO: u8 = 9;
/// RTMP message type of AMF0 data (`@setDataFrame`, `onTextData`).
pub const DATA: u8 = 18;
/// RTMP message type of AMF0 commands.
pub const COMMAND: u8 = 20;

/// How long any single wait of the publisher lasts before it gives up.
pub const WAIT: Duration = Duration::from_secs(10);

/// Bytes per outbound chunk, announced once the application is connected.
const CHUNK_BYTES: usize = 4096;

/// An `onStatus` answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// For example `NetStream.Publish.Start`.
    pub code: String,
    /// `status` or `error`.
    pub level: String,
    /// The reason, in words.
    pub description: String,
}

/// One connection to the server.
pub struct Publisher {
    socket: TcpStream,
    session: ClientSession,
    /// Reads along beside the session, which keeps status codes but drops their descriptions.
    tap: ChunkDeserializer,
    chunk_bytes: usize,
    connected: bool,
    /// Message stream id that the server gave, once it did.
    stream_id: Option<u32>,
    statuses: VecDeque<Status>,
    closed: bool,
}

impl Publisher {
    /// Opens a socket and shakes hands (digest form), claiming `app` later.
    ///
    /// # Errors
    /// The socket's, or `InvalidData` when the handshake fails.
    pub fn open(address: SocketAddr, tc_url: &str) -> io::Result<Self> {
        Self::open_over(TcpStream::connect_timeout(&address, WAIT)?, tc_url)
    }

    fn open_over(mut socket: TcpStream, tc_url: &str) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(WAIT))?;
        socket.set_write_timeout(Some(WAIT))?;
        let early = shake_hands(&mut socket)?;
        let mut config = ClientSessionConfig::new();
        config.tc_url = Some(tc_url.to_owned());
        config.chunk_size = u32::try_from(CHUNK_BYTES).expect("small");
        config.flash_version = "FMLE/3.0 (compatible; vitrine-test)".to_owned();
        let (session, _) = ClientSession::new(config).map_err(invalid)?;
        let mut publisher = Self {
            socket,
            session,
            tap: ChunkDeserializer::new(),
            chunk_bytes: 128,
            connected: false,
            stream_id: None,
            statuses: VecDeque::new(),
            closed: false,
        };
        publisher.take(&early)?;
        Ok(publisher)
    }

    /// Opens a socket and connects to `app`, waiting for the server's `_result`.
    ///
    /// # Errors
    /// The socket's; `TimedOut` without an answer; `ConnectionAborted` when the server closes.
    pub fn connect(address: SocketAddr, app: &str) -> io::Result<Self> {
        Self::connect_over(TcpStream::connect_timeout(&address, WAIT)?, app)
    }

    /// As [`Self::connect`], over a socket that is connected.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn connect_over(socket: TcpStream, app: &str) -> io::Result<Self> {
        let tc_url = format!("rtmp://{}/{app}", socket.peer_addr()?);
        let mut publisher = Self::open_over(socket, &tc_url)?;
        let request = publisher.session.request_connection(app.to_owned());
        publisher.carry_out(vec![request.map_err(invalid)?])?;
        publisher.until(|publisher| publisher.connected.then_some(()))?;
        Ok(publisher)
    }

    /// As [`Self::connect`], announcing that it follows ReconnectRequest (Enhanced RTMP v2, `capsEx`), which the session
    /// has no words for: its own are replaced.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn connect_reconnecting(address: SocketAddr, app: &str) -> io::Result<Self> {
        let mut publisher = Self::open(address, &format!("rtmp://{address}/{app}"))?;
        let request = publisher.session.request_connection(app.to_owned());
        let ClientSessionResult::OutboundResponse(packet) = request.map_err(invalid)? else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let text = |text: &str| [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
        let number = [&[0], &1.0_f64.to_be_bytes()[..]].concat();
        let body = [
            &[2][..],
            &text("connect"),
            &number,
            &[3],
            &text("app"),
            &[2],
            &text(app),
            &text("capsEx"),
            &number,
            &[0, 0, 9],
        ];
        let csid = u32::from(packet.bytes[0] & 0x3f);
        publisher.raw(&chunks(csid, COMMAND, 0, 0, &body.concat(), 128))?;
        publisher.until(|publisher| publisher.connected.then_some(()))?;
        Ok(publisher)
    }

    /// Connects to `app` and publishes `key`; the first status tells how it went.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn publish(address: SocketAddr, app: &str, key: &str) -> io::Result<(Self, Status)> {
        let mut publisher = Self::connect(address, app)?;
        let status = publisher.request_publish(key)?;
        Ok((publisher, status))
    }

    /// Asks to publish `key` on this connection and waits for the first status.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn request_publish(&mut self, key: &str) -> io::Result<Status> {
        let request = self
            .session
            .request_publishing(key.to_owned(), PublishRequestType::Live);
        self.carry_out(vec![request.map_err(invalid)?])?;
        self.status()
    }

    /// The next status the server sent, waiting for it.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn status(&mut self) -> io::Result<Status> {
        self.until(|publisher| publisher.statuses.pop_front())
    }

    /// Whether the server closes the connection within `wait`, by FIN or RST.
    pub fn closes_within(&mut self, wait: Duration) -> bool {
        let end = Instant::now() + wait;
        while !self.closed && Instant::now() < end {
            if self
                .read_once(end.saturating_duration_since(Instant::now()))
                .is_err()
            {
                self.closed = true;
            }
        }
        self.closed
    }

    /// Sends `@setDataFrame onMetaData`.
    ///
    /// # Errors
    /// The socket's.
    pub fn metadata(&mut self, metadata: &StreamMetadata) -> io::Result<()> {
        let packet = self.session.publish_metadata(metadata).map_err(invalid)?;
        self.carry_out(vec![packet])
    }

    /// Sends a video message; `body` starts at the FLV tag's first body byte.
    ///
    /// # Errors
    /// The socket's.
    pub fn video(&mut self, timestamp: u32, body: &[u8]) -> io::Result<()> {
        self.message(VIDEO, timestamp, body)
    }

    /// Sends an audio message; `body` starts at the FLV tag's first body byte.
    ///
    /// # Errors
    /// The socket's.
    pub fn audio(&mut self, timestamp: u32, body: &[u8]) -> io::Result<()> {
        self.message(AUDIO, timestamp, body)
    }

    /// Sends a message of any type on the published stream, each type on a chunk stream of its own.
    ///
    /// # Errors
    /// The socket's.
    pub fn message(&mut self, kind: u8, timestamp: u32, body: &[u8]) -> io::Result<()> {
        self.message_on(32 + u32::from(kind % 32), kind, timestamp, body)
    }

    /// Sends a message of any type on chunk stream `csid` (2..=65599; the session itself writes on 2..=6).
    ///
    /// # Errors
    /// The socket's.
    pub fn message_on(
        &mut self,
        csid: u32,
        kind: u8,
        timestamp: u32,
        body: &[u8],
    ) -> io::Result<()> {
        let stream_id = self.stream_id.unwrap_or(1);
        let bytes = chunks(csid, kind, stream_id, timestamp, body, self.chunk_bytes);
        self.raw(&bytes)?;
        self.drain()
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The socket's.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Pushes `tags` in order; `speed` 1.0 is real time, `None` as fast as the server reads. Timestamps are sent as
    /// they stand plus `shift_ms`, wrapping.
    ///
    /// # Errors
    /// The socket's.
    pub fn push(&mut self, tags: &[flv::Tag], shift_ms: u32, speed: Option<f64>) -> io::Result<()> {
        let start = Instant::now();
        let first = tags.first().map_or(0, |tag| tag.timestamp);
        for tag in tags {
            if let Some(speed) = speed {
                let at = f64::from(tag.timestamp.saturating_sub(first)) / 1000.0 / speed;
                let due = start + Duration::from_secs_f64(at);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            self.message(tag.kind, tag.timestamp.wrapping_add(shift_ms), &tag.body)?;
        }
        Ok(())
    }

    /// Ends the publish in words (`deleteStream`), leaving the socket open.
    ///
    /// # Errors
    /// The socket's.
    pub fn stop(&mut self) -> io::Result<()> {
        let packets = self.session.stop_publishing().map_err(invalid)?;
        self.carry_out(packets)
    }

    /// Ends the connection politely and without a word (FIN).
    ///
    /// # Errors
    /// The socket's.
    pub fn finish(self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }

    /// Ends the connection abruptly (RST), as a crashed encoder or a stateful firewall does.
    ///
    /// # Errors
    /// The socket's.
    pub fn reset(self) -> io::Result<()> {
        socket2::SockRef::from(&self.socket).set_linger(Some(Duration::ZERO))
    }

    /// Reads until `done` finds what it looks for.
    fn until<T>(&mut self, mut done: impl FnMut(&mut Self) -> Option<T>) -> io::Result<T> {
        let end = Instant::now() + WAIT;
        loop {
            if let Some(found) = done(self) {
                return Ok(found);
            }
            if self.closed {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.read_once(left)?;
        }
    }

    fn read_once(&mut self, wait: Duration) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        self.socket
            .set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
        match self.socket.read(&mut buffer) {
            Ok(0) => self.closed = true,
            Ok(count) => self.take(&buffer[..count])?,
            Err(error) if would_wait(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Takes what has already arrived (acknowledgements, pings), so that the server never waits for us to read.
    fn drain(&mut self) -> io::Result<()> {
        self.socket.set_nonblocking(true)?;
        let mut buffer = [0; 4096];
        let read = self.socket.read(&mut buffer);
        self.socket.set_nonblocking(false)?;
        match read {
            Ok(0) => self.closed = true,
            Ok(count) => self.take(&buffer[..count])?,
            Err(error) if would_wait(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut input = bytes;
        while let Some(payload) = self.tap.get_next_message(input).map_err(invalid)? {
            input = &[];
            self.note(&payload)?;
        }
        // The session fails on a status it did not expect (a second Publish.Start): the tap has it all the same.
        if let Ok(results) = self.session.handle_input(bytes) {
            self.carry_out(results)?;
        }
        Ok(())
    }

    fn note(&mut self, payload: &MessagePayload) -> io::Result<()> {
        match payload.to_rtmp_message() {
            Ok(RtmpMessage::SetChunkSize { size }) => self
                .tap
                .set_max_chunk_size(usize::try_from(size).expect("32 bits fit"))
                .map_err(invalid)?,
            Ok(RtmpMessage::Amf0Command {
                command_name,
                additional_arguments,
                ..
            }) => {
                let argument = additional_arguments.into_iter().next();
                match command_name.as_str() {
                    "_result" if !self.connected => {
                        self.connected = true;
                        self.chunk_bytes = CHUNK_BYTES; // the session announces it in this very turn
                    }
                    "_result" => {
                        let id = argument.and_then(|id| id.get_number());
                        self.stream_id = self.stream_id.or(id.map(|id| id as u32));
                    }
                    "onStatus" => {
                        let fields = argument.and_then(|info| info.get_object_properties());
                        let mut fields = fields.unwrap_or_default();
                        let mut text = |name| {
                            let field = fields.remove(name).and_then(|value| value.get_string());
                            field.unwrap_or_default()
                        };
                        self.statuses.push_back(Status {
                            code: text("code"),
                            level: text("level"),
                            description: text("description"),
                        });
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn carry_out(&mut self, results: Vec<ClientSessionResult>) -> io::Result<()> {
        for result in results {
            if let ClientSessionResult::OutboundResponse(packet) = result {
                self.socket.write_all(&packet.bytes)?;
            }
        }
        Ok(())
    }
}

/// Shakes hands as a client; gives what the server sent beyond S2.
fn shake_hands(socket: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut handshake = Handshake::new(PeerType::Client);
    socket.write_all(&handshake.generate_outbound_p0_and_p1().map_err(invalid)?)?;
    let mut buffer = [0; 4096];
    loop {
        let count = socket.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match handshake.process_bytes(&buffer[..count]).map_err(invalid)? {
            HandshakeProcessResult::InProgress { response_bytes } => {
                socket.write_all(&response_bytes)?;
            }
            HandshakeProcessResult::Completed {
                response_bytes,
                remaining_bytes,
            } => {
                socket.write_all(&response_bytes)?;
                return Ok(remaining_bytes);
            }
        }
    }
}

/// One message as chunks: a full header (fmt 0), then continuations (fmt 3), extended timestamp in both when needed.
pub fn chunks(
    csid: u32,
    kind: u8,
    stream_id: u32,
    timestamp: u32,
    body: &[u8],
    chunk_bytes: usize,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + body.len() / chunk_bytes * 8 + 32);
    let extended = timestamp >= 0xFF_FFFF;
    basic_header(&mut out, 0, csid);
    out.extend(&timestamp.min(0xFF_FFFF).to_be_bytes()[1..]);
    out.extend(
        &u32::try_from(body.len())
            .expect("a message fits")
            .to_be_bytes()[1..],
    );
    out.push(kind);
    out.extend(stream_id.to_le_bytes());
    if extended {
        out.extend(timestamp.to_be_bytes());
    }
    for (index, piece) in body.chunks(chunk_bytes).enumerate() {
        if index > 0 {
            basic_header(&mut out, 3, csid);
            if extended {
                out.extend(timestamp.to_be_bytes());
            }
        }
        out.extend(piece);
    }
    out
}

fn basic_header(out: &mut Vec<u8>, format: u8, csid: u32) {
    let format = format << 6;
    match csid {
        2..=63 => out.push(format | csid as u8),
        64..=319 => out.extend([format, (csid - 64) as u8]),
        _ => {
            let rest = csid - 64;
            out.extend([format | 1, rest as u8, (rest >> 8) as u8]);
        }
    }
}

fn would_wait(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

fn invalid(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

/// Bodies of audio and video messages, legacy FLV and enhanced RTMP v2.
pub mod body {
    /// Packet type "sequence start": `data` is the codec's configuration record.
    pub const START: u8 = 0;
    /// Packet type "coded frames"; avc1 and hvc1 carry a signed 24-bit composition offset in front.
    pub const FRAMES: u8 = 1;
    /// Packet type "coded frames" without a composition offset (video only).
    pub const FRAMES_X: u8 = 3;

    /// Legacy H.264 (codec id 7); packet type 0 is the configuration, 1 a frame, 2 the end of sequence.
    pub fn avc(sync: bool, packet: u8, composition_ms: i32, data: &[u8]) -> Vec<u8> {
        let mut out = vec![if sync { 0x17 } else { 0x27 }, packet];
        out.extend(&composition_ms.to_be_bytes()[1..]);
        out.extend(data);
        out
    }

    /// Legacy AAC (sound format 10); packet type 0 is the configuration, 1 a frame.
    pub fn aac(packet: u8, data: &[u8]) -> Vec<u8> {
        let mut out = vec![0xAF, packet];
        out.extend(data);
        out
    }

    /// Enhanced video: `sync` as the FLV frame type says it.
    pub fn video(sync: bool, packet: u8, fourcc: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let mut out = vec![0x80 | (if sync { 1 } else { 2 } << 4) | packet];
        out.extend(fourcc);
        out.extend(data);
        out
    }

    /// Enhanced audio.
    pub fn audio(packet: u8, fourcc: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let mut out = vec![0x90 | packet];
        out.extend(fourcc);
        out.extend(data);
        out
    }

    /// Enhanced multitrack video of one codec ("many tracks"): track id and data of each.
    pub fn video_tracks(
        sync: bool,
        packet: u8,
        fourcc: &[u8; 4],
        tracks: &[(u8, &[u8])],
    ) -> Vec<u8> {
        multitrack(
            0x80 | (if sync { 1 } else { 2 } << 4) | 6,
            packet,
            fourcc,
            tracks,
        )
    }

    /// Enhanced multitrack audio of one codec ("many tracks"): track id and data of each.
    pub fn audio_tracks(packet: u8, fourcc: &[u8; 4], tracks: &[(u8, &[u8])]) -> Vec<u8> {
        multitrack(0x90 | 5, packet, fourcc, tracks)
    }

    fn multitrack(head: u8, packet: u8, fourcc: &[u8; 4], tracks: &[(u8, &[u8])]) -> Vec<u8> {
        let mut out = vec![head, 0x10 | packet];
        out.extend(fourcc);
        for (id, data) in tracks {
            out.push(*id);
            out.extend(
                &u32::try_from(data.len())
                    .expect("a track fits")
                    .to_be_bytes()[1..],
            );
            out.extend(*data);
        }
        out
    }
}

/// FLV files, tag by tag.
pub mod flv {
    use std::{io, path::Path};

    /// One tag, ready to be pushed as an RTMP message.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Tag {
        /// 8 audio, 9 video, 18 script data.
        pub kind: u8,
        /// Milliseconds, 32 bits.
        pub timestamp: u32,
        /// The tag's body.
        pub body: Vec<u8>,
    }

    /// Reads the tags of a file; a tag cut off at the end of the file is left out.
    ///
    /// # Errors
    /// The file's, or `InvalidData` when it is not FLV.
    pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<Tag>> {
        parse(&std::fs::read(path)?)
    }

    /// As [`read`], from memory.
    ///
    /// # Errors
    /// `InvalidData` when the bytes are not FLV.
    pub fn parse(bytes: &[u8]) -> io::Result<Vec<Tag>> {
        let header = bytes
            .first_chunk::<9>()
            .filter(|head| head.starts_with(b"FLV"));
        let header = header.ok_or(io::ErrorKind::InvalidData)?;
        let start = u32::from_be_bytes([header[5], header[6], header[7], header[8]]) as usize;
        // Each tag is preceded by the size of the one before it.
        let mut rest = bytes.get(start + 4..).unwrap_or_default();
        let mut tags = Vec::new();
        while let Some(head) = rest.first_chunk::<11>() {
            let size = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
            let Some(body) = rest.get(11..11 + size) else {
                break;
            };
            tags.push(Tag {
                kind: head[0] & 0x1F,
                timestamp: u32::from_be_bytes([head[7], head[4], head[5], head[6]]),
                body: body.to_vec(),
            });
            rest = rest.get(11 + size + 4..).unwrap_or_default();
        }
        Ok(tags)
    }
}
