//! The smallest HTTP/1.1 client that can play: keep-alive, Content-Length, nothing else.
//!
//! It shares the machine with the servers it measures, so it must cost little: one buffer per thread, playlists are read
//! where they lie, and the bytes of media are thrown away by the kernel (`MSG_TRUNC`, recv(2)) without being copied. It
//! understands what the servers of these proofs send, and reports everything else as an error.

use std::{cell::RefCell, io, mem::MaybeUninit, net::SocketAddr};

use socket2::SockRef;
use tokio::{io::Interest, net::TcpStream};

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
}

/// Bytes one read can take: a playlist and its head fit.
const SCRATCH_BYTES: usize = 256 * 1024;

/// Bytes thrown away at once.
const DISCARD_BYTES: usize = 512 * 1024;

/// recv(2): throw the bytes away instead of copying them. The same on every Linux.
const MSG_TRUNC: i32 = 0x20;

/// What an answer's head says.
#[derive(Clone, Copy, Debug)]
struct Head {
    status: u16,
    /// Bytes of the head itself.
    size: usize,
    /// Bytes of the body.
    body: usize,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection(TcpStream);

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// The socket's.
    pub(super) async fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self(socket))
    }

    /// Asks for `path` and lets `read` see status and body. Nothing is kept while the answer is waited for.
    ///
    /// # Errors
    /// The socket's, or `InvalidData` for an answer without a length.
    pub(super) async fn text<T>(
        &mut self,
        path: &str,
        read: impl FnOnce(u16, &[u8]) -> T,
    ) -> io::Result<T> {
        self.ask(path).await?;
        let (mut held, mut read) = (Vec::new(), Some(read));
        loop {
            self.0.readable().await?;
            let done = SCRATCH.with_borrow_mut(|scratch| {
                let new = read_some(&self.0, scratch)?;
                if !held.is_empty() {
                    held.extend_from_slice(new);
                }
                let bytes = if held.is_empty() { new } else { &held };
                if let Some(head) = Head::read(bytes)?.filter(|head| head.ends(bytes)) {
                    let read = read.take().expect("called once");
                    return Ok(Some(read(head.status, &bytes[head.size..])));
                }
                if held.is_empty() {
                    held.extend_from_slice(new);
                }
                io::Result::Ok(None)
            })?;
            if let Some(done) = done {
                return Ok(done);
            }
        }
    }

    /// Asks for `path` and throws the body away; answers status and bytes of the body.
    ///
    /// # Errors
    /// As [`Connection::text`].
    pub(super) async fn media(&mut self, path: &str) -> io::Result<(u16, usize)> {
        self.ask(path).await?;
        let mut held = Vec::new();
        let (head, mut left) = loop {
            self.0.readable().await?;
            let found = SCRATCH.with_borrow_mut(|scratch| {
                // Little is read with the head, so that most of the body need not be copied.
                let new = read_some(&self.0, &mut scratch[..1024])?;
                held.extend_from_slice(new);
                Head::read(&held)
            })?;
            if let Some(head) = found {
                break (head, (head.size + head.body).saturating_sub(held.len()));
            }
        };
        while left > 0 {
            self.0.readable().await?;
            let discard = || {
                let nowhere: &mut [MaybeUninit<u8>] = &mut [MaybeUninit::uninit(); DISCARD_BYTES];
                SockRef::from(&self.0)
                    .recv_with_flags(&mut nowhere[..left.min(DISCARD_BYTES)], MSG_TRUNC)
            };
            match self.0.try_io(Interest::READABLE, discard) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(gone) => left -= gone,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok((head.status, head.body))
    }

    async fn ask(&mut self, path: &str) -> io::Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut rest = request.as_bytes();
        while !rest.is_empty() {
            match self.0.try_write(rest) {
                Ok(sent) => rest = &rest[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.0.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What is there to be read, perhaps nothing.
fn read_some<'a>(socket: &TcpStream, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    match socket.try_read(buffer) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(size) => Ok(&buffer[..size]),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(&[]),
        Err(error) => Err(error),
    }
}

impl Head {
    /// Reads a head, `None` while it is not complete.
    fn read(bytes: &[u8]) -> io::Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut headers);
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let parsed = response
            .parse(bytes)
            .map_err(|why| invalid(why.to_string()))?;
        let httparse::Status::Complete(size) = parsed else {
            return Ok(None);
        };
        let length = (response.headers.iter())
            .find(|header| header.name.eq_ignore_ascii_case("content-length"))
            .and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
        Ok(Some(Self {
            status: response.code.unwrap_or(0),
            size,
            body: length.ok_or_else(|| invalid("no Content-Length".to_owned()))?,
        }))
    }

    fn ends(&self, bytes: &[u8]) -> bool {
        bytes.len() >= self.size + self.body
    }
}
