//! The RTMP handshake (Adobe RTMP 1.0, section 5.2) over any byte stream: plain and digest, by rml_rtmp.
//!
//! The peer's C0-C2 may arrive split at any byte, and bytes behind C2 are handed on. Encrypted RTMP (RTMPE) is refused by
//! name. The limit on its time is kept here, so that a silent peer costs a socket and a timer and nothing else.

use std::{io, time::Duration};

use bytes::Bytes;
use rml_rtmp::handshake::{Handshake, HandshakeError, HandshakeProcessResult, PeerType};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// Why a handshake did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The peer closed before it was done; a port scan or a health check when it sent nothing.
    #[error("closed by the peer after {received} bytes of the handshake")]
    Closed {
        /// Bytes received until then.
        received: usize,
    },
    /// The peer asks for RTMPE, a broken cipher; RTMPS is the way to encrypt.
    #[error("unsupported encrypted RTMP (version {version}), use rtmps")]
    Encrypted {
        /// Version byte of C0.
        version: u8,
    },
    /// C0 is not RTMP's: HTTP or TLS sent to the wrong port, or noise.
    #[error("not RTMP: wanted version 3, got {version}")]
    NotRtmp {
        /// First byte received.
        version: u8,
    },
    /// C1 or C2 is malformed.
    #[error("malformed handshake: {0}")]
    Malformed(#[from] HandshakeError),
    /// The limit of time has passed.
    #[error("handshake not done within {} s", limit.as_secs())]
    Timeout {
        /// The limit.
        limit: Duration,
    },
    /// The socket's error.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Shakes hands as the server within `limit`; gives what the peer sent behind C2.
///
/// # Errors
/// Why the connection cannot go on; nothing need be sent any more.
pub(super) async fn accept<S>(stream: &mut S, limit: Duration) -> Result<Bytes, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    timeout(limit, exchange(stream))
        .await
        .unwrap_or(Err(Error::Timeout { limit }))
}

async fn exchange<S>(stream: &mut S) -> Result<Bytes, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut handshake = Handshake::new(PeerType::Server);
    let mut buffer = [0; 4096];
    let mut received = 0;
    loop {
        let count = stream.read(&mut buffer).await?;
        let bytes = &buffer[..count];
        match bytes.first() {
            None => return Err(Error::Closed { received }),
            Some(&version) if received == 0 => check_version(version)?,
            Some(_) => {}
        }
        received += count;
        match handshake.process_bytes(bytes)? {
            HandshakeProcessResult::InProgress { response_bytes } => {
                stream.write_all(&response_bytes).await?;
                stream.flush().await?;
            }
            HandshakeProcessResult::Completed {
                response_bytes,
                remaining_bytes,
            } => {
                stream.write_all(&response_bytes).await?;
                stream.flush().await?;
                return Ok(remaining_bytes.into());
            }
        }
    }
}

/// RTMPE announces itself as 6 (and 8, 9 in its later forms).
fn check_version(version: u8) -> Result<(), Error> {
    match version {
        3 => Ok(()),
        6 | 8 | 9 => Err(Error::Encrypted { version }),
        _ => Err(Error::NotRtmp { version }),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::duplex, time::Instant};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// C0 and C1 of the plain form: time, zero, and a pattern that holds no digest.
    fn plain_c0_c1() -> Vec<u8> {
        let mut bytes = vec![3, 0, 0, 0, 1, 0, 0, 0, 0];
        bytes.extend((0..1528).map(|index| index as u8));
        bytes
    }

    #[tokio::test]
    async fn a_plain_handshake_split_at_each_byte_is_accepted_and_later_bytes_are_handed_on() {
        let ends = 1537 + 1536;
        let borders = [1..20, 1520..1550, ends - 20..ends + 1];
        for split in borders.into_iter().flatten().chain((20..ends).step_by(101)) {
            let (mut client, mut server) = duplex(8192);
            let accepted = tokio::spawn(async move { (accept(&mut server, LIMIT).await, server) });
            let mut sent = plain_c0_c1();
            sent.extend([0; 1536]); // C2: not looked at
            sent.extend(b"later");
            client.write_all(&sent[..split]).await.expect("open");
            tokio::task::yield_now().await;
            client.write_all(&sent[split..]).await.expect("open");
            let mut answer = vec![0; 1 + 1536 + 1536];
            client.read_exact(&mut answer).await.expect("S0, S1 and S2");
            assert_eq!(answer[0], 3);
            assert_eq!(answer[1537..], sent[1..1537], "S2 echoes C1");
            drop(client);
            let (later, mut server) = accepted.await.expect("no panic");
            let mut later = later.expect("accepted").to_vec();
            server.read_to_end(&mut later).await.expect("open");
            assert_eq!(later, b"later", "split at {split}");
        }
    }

    #[tokio::test]
    async fn a_digest_handshake_is_answered_with_a_signature() {
        let (mut client, mut server) = duplex(8192);
        let accepted = tokio::spawn(async move { accept(&mut server, LIMIT).await });
        let mut peer = Handshake::new(PeerType::Client);
        let c0_c1 = peer.generate_outbound_p0_and_p1().expect("made");
        client.write_all(&c0_c1).await.expect("open");
        let mut answer = vec![0; 1 + 1536 + 1536];
        client.read_exact(&mut answer).await.expect("S0, S1 and S2");
        assert_ne!(answer[1537..], c0_c1[1..], "signed, not echoed");
        let Ok(HandshakeProcessResult::Completed { response_bytes, .. }) =
            peer.process_bytes(&answer)
        else {
            panic!("the client must be content");
        };
        client.write_all(&response_bytes).await.expect("open");
        client.write_all(b"connect").await.expect("open");
        accepted.await.expect("no panic").expect("accepted");
    }

    #[tokio::test]
    async fn rtmpe_http_and_tls_are_refused_by_name() {
        for (first, wanted) in [
            (6, "unsupported encrypted RTMP (version 6), use rtmps"),
            (8, "unsupported encrypted RTMP (version 8), use rtmps"),
            (b'G', "not RTMP: wanted version 3, got 71"),
            (0x16, "not RTMP: wanted version 3, got 22"),
        ] {
            let (mut client, mut server) = duplex(8192);
            client.write_all(&[first]).await.expect("open");
            let error = accept(&mut server, LIMIT).await.expect_err("refused");
            assert_eq!(error.to_string(), wanted);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_dribbles_bytes_is_cut_off_after_five_seconds() {
        let (mut client, mut server) = duplex(8192);
        tokio::spawn(async move {
            for byte in plain_c0_c1() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if client.write_all(&[byte]).await.is_err() {
                    break;
                }
            }
        });
        let start = Instant::now();
        assert!(matches!(
            accept(&mut server, LIMIT).await,
            Err(Error::Timeout { .. })
        ));
        assert_eq!(start.elapsed(), LIMIT);
    }

    #[tokio::test]
    async fn a_peer_that_leaves_is_told_from_one_that_errs() {
        let (mut client, mut server) = duplex(8192);
        let accepted = tokio::spawn(async move { accept(&mut server, LIMIT).await });
        client.write_all(&[3, 0, 0]).await.expect("open");
        client.read_exact(&mut [0; 1537]).await.expect("S0 and S1");
        drop(client);
        let error = accepted.await.expect("no panic").expect_err("closed");
        assert!(matches!(error, Error::Closed { received: 3 }), "{error}");
    }
}
