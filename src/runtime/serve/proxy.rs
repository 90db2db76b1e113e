//! The PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): how a balancer tells whom it speaks for.
//!
//! The header is framed here, so that not one byte behind it is taken and no more than its bound is ever held; `ppp`
//! reads what is in it. A connection without a header is refused, never guessed to be a direct one (section 2 of the
//! specification). `LOCAL` and `UNKNOWN` speak for the balancer itself; TLVs are skipped. Whether the sender may be
//! believed is decided before, by its address.

use std::{io, net::SocketAddr, time::Duration};

use ppp::{v1, v2};
use tokio::{io::AsyncReadExt as _, net::TcpStream, time};

/// Why a connection has no header that can be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The peer closed before the header was whole: a health check that only connects, or a scan.
    #[error("closed before the PROXY header was whole")]
    Closed,
    /// What came first is no header.
    #[error("no PROXY header in front")]
    Missing,
    /// Longer than is ever sent.
    #[error("PROXY header of more than {max} bytes")]
    TooLong {
        /// The bound.
        max: usize,
    },
    /// Version 1 that breaks its grammar.
    #[error("malformed PROXY header: {0}")]
    Text(#[from] v1::BinaryParseError),
    /// Version 2 that breaks its grammar.
    #[error("malformed PROXY header: {0}")]
    Binary(#[from] v2::ParseError),
    /// Not whole in time.
    #[error("no PROXY header within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// The socket's error.
    #[error(transparent)]
    Io(io::Error),
}

impl Error {
    /// The name in metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Closed | Self::Missing | Self::Io(_) => "proxy_header_missing",
            Self::TooLong { .. } | Self::Text(_) | Self::Binary(_) => "proxy_header_malformed",
            Self::Timeout => "proxy_header_timeout",
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// Takes the header off the front of `stream`. The address it carries; `None` when it speaks for the sender itself, or
/// for something that has no IP address.
pub(super) async fn accept(stream: &mut TcpStream) -> Result<Option<SocketAddr>, Error> {
    time::timeout(TIMEOUT, read(stream))
        .await
        .unwrap_or(Err(Error::Timeout))
}

async fn read(stream: &mut TcpStream) -> Result<Option<SocketAddr>, Error> {
    let mut header = [0; MAX_BYTES];
    // Both versions are longer than the part that tells them apart.
    let begin = v2::PROTOCOL_PREFIX.len();
    let mut begun = 0;
    while begun < begin {
        match stream.read(&mut header[begun..begin]).await? {
            0 => return Err(Error::Closed),
            count => begun += count,
        }
        // At the first byte that fits neither: who speaks RTMP waits for an answer and says no more.
        let fits = |prefix: &[u8]| header[..begun].iter().zip(prefix).all(|(a, b)| a == b);
        if !fits(v2::PROTOCOL_PREFIX) && !fits(TEXT_PREFIX) {
            return Err(Error::Missing);
        }
    }
    if header.starts_with(TEXT_PREFIX) {
        let length = read_line(stream, &mut header, begin).await?;
        return Ok(text(&v1::Header::try_from(&header[..length])?));
    }
    stream.read_exact(&mut header[begin..begin + 4]).await?;
    let length = u16::from_be_bytes([header[begin + 2], header[begin + 3]]);
    let length = begin + 4 + usize::from(length);
    let rest = header.get_mut(begin + 4..length);
    let rest = rest.ok_or(Error::TooLong { max: MAX_BYTES })?;
    stream.read_exact(rest).await?;
    Ok(binary(&v2::Header::try_from(&header[..length])?))
}

/// Reads up to the end of the line, not a byte beyond, behind the `have` bytes that are there; gives its length.
async fn read_line(
    stream: &mut TcpStream,
    header: &mut [u8; MAX_BYTES],
    mut have: usize,
) -> Result<usize, Error> {
    loop {
        let room = &mut header[have..TEXT_MAX_BYTES];
        if room.is_empty() {
            let max = TEXT_MAX_BYTES;
            return Err(Error::TooLong { max });
        }
        let seen = stream.peek(room).await?;
        if seen == 0 {
            return Err(Error::Closed);
        }
        let end = room[..seen].iter().position(|byte| *byte == b'\n');
        let take = end.map_or(seen, |end| end + 1);
        stream.read_exact(&mut room[..take]).await?;
        have += take;
        if end.is_some() {
            return Ok(have);
        }
    }
}

fn text(header: &v1::Header<'_>) -> Option<SocketAddr> {
    match header.addresses {
        v1::Addresses::Unknown => None,
        v1::Addresses::Tcp4(it) => Some((it.source_address, it.source_port).into()),
        v1::Addresses::Tcp6(it) => Some((it.source_address, it.source_port).into()),
    }
}

fn binary(header: &v2::Header<'_>) -> Option<SocketAddr> {
    if header.command == v2::Command::Local {
        return None;
    }
    match header.addresses {
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
        v2::Addresses::IPv4(it) => Some((it.source_address, it.source_port).into()),
        v2::Addresses::IPv6(it) => Some((it.source_address, it.source_port).into()),
    }
}

/// What a header of version 1 begins with.
const TEXT_PREFIX: &[u8] = b"PROXY ";

/// Bytes of a version 1 header, by its specification.
const TEXT_MAX_BYTES: usize = 107;

/// Bytes of a header: balancers send a few hundred, more only when they pass on a client's certificate, which means
/// nothing here.
const MAX_BYTES: usize = 2048;

/// For the whole header. Balancers send it with the connection, so this is only for lost packets.
const TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
