//! Vectors of both versions over real sockets: whole, split at every byte, broken.

#![allow(clippy::unwrap_used)]

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;

/// Behind every header: an RTMP client's first bytes, one of which looks like an end of line.
const BEHIND: &[u8] = b"\x03\n\r\nPROXY ";

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (client, server) = tokio::join!(client, listener.accept());
    let client = client.unwrap();
    client.set_nodelay(true).unwrap();
    (client, server.unwrap().0)
}

/// Sends `pieces` one by one, each once the one before has been taken, then closes.
async fn send(pieces: &[&[u8]]) -> Result<Option<SocketAddr>, Error> {
    let (mut client, mut server) = pair().await;
    let read = async {
        let outcome = accept(&mut server).await;
        if outcome.is_ok() {
            let mut rest = Vec::new();
            server.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, BEHIND, "not a byte behind the header is taken");
        }
        outcome
    };
    let write = async {
        for piece in pieces {
            // A refused peer may find the socket closed.
            client.write_all(piece).await.ok();
            tokio::task::yield_now().await;
        }
        client.shutdown().await.ok();
    };
    tokio::join!(read, write).0
}

fn v2(command: u8, family: u8, length: usize, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(length).unwrap().to_be_bytes();
    [v2::PROTOCOL_PREFIX, &[command, family], &length, body].concat()
}

const IPV4: [u8; 12] = [203, 0, 113, 7, 10, 0, 0, 1, 0xC3, 0x50, 7, 0x8F];

fn ipv6() -> Vec<u8> {
    let address = |last| [&[0x20, 1, 0xD, 0xB8][..], &[0; 11], &[last]].concat();
    [address(7), address(1), vec![0xC3, 0x50, 7, 0x8F]].concat()
}

/// Headers, and what they carry.
fn right() -> Vec<(Vec<u8>, Option<&'static str>)> {
    let tlvs = [&IPV4[..], &[4, 0, 2, 0, 0, 0xEE, 0, 1, 0xFF]].concat();
    let text = |line: &str| line.as_bytes().to_vec();
    let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(91));
    assert_eq!(longest.len(), TEXT_MAX_BYTES);
    vec![
        (
            text("PROXY TCP4 203.0.113.7 10.0.0.1 50000 1935\r\n"),
            Some("203.0.113.7:50000"),
        ),
        (
            text("PROXY TCP6 2001:db8::7 2001:db8::1 50000 1935\r\n"),
            Some("[2001:db8::7]:50000"),
        ),
        (text("PROXY UNKNOWN\r\n"), None),
        (
            text("PROXY UNKNOWN ffff:f::1 ffff:f::2 65535 65535\r\n"),
            None,
        ),
        (text(&longest), None),
        (v2(0x21, 0x11, 12, &IPV4), Some("203.0.113.7:50000")),
        (v2(0x21, 0x21, 36, &ipv6()), Some("[2001:db8::7]:50000")),
        (v2(0x21, 0x11, tlvs.len(), &tlvs), Some("203.0.113.7:50000")),
        (v2(0x20, 0x00, 0, &[]), None),
        (v2(0x20, 0x11, 12, &IPV4), None), // LOCAL: the addresses mean nothing
        (v2(0x21, 0x00, 3, &[4, 0, 0]), None),
        (v2(0x21, 0x31, 216, &[b'/'; 216]), None),
    ]
}

#[tokio::test]
async fn both_versions_are_read_wherever_they_are_split() {
    for (header, carried) in right() {
        let carried = carried.map(|address| address.parse().unwrap());
        let whole = [&header, BEHIND].concat();
        for split in 0..=header.len() {
            let (front, back) = whole.split_at(split);
            let got = send(&[front, back]).await.unwrap();
            assert_eq!(got, carried, "{header:x?} split at {split}");
        }
    }
    let (header, carried) = right().swap_remove(0);
    let bytes: Vec<&[u8]> = header.chunks(1).chain([BEHIND]).collect();
    let got = send(&bytes).await.unwrap();
    assert_eq!(got, carried.map(|address| address.parse().unwrap()));
}

#[tokio::test]
async fn what_breaks_the_grammar_is_refused_by_its_kind() {
    let text = |line: &str| line.as_bytes().to_vec();
    let (missing, malformed) = ("proxy_header_missing", "proxy_header_malformed");
    for (bytes, reason) in [
        (vec![], missing),
        (vec![3; 1537], missing), // RTMP
        (vec![3], missing),
        (text("GET / HTTP/1.1\r\n\r\n"), missing),
        (vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3, 0, 0], missing), // TLS
        (text("PROXY TCP4 203.0.113.7 10.0.0.1 50000 19"), missing),  // closed in the middle
        (v2(0x21, 0x11, 12, &IPV4[..8]), missing),
        (text("PROXY TCP4 203.0.113.7 10.0.0.1 50000\r\n"), malformed),
        (
            text("PROXY TCP4 203.0.113.7 10.0.0.1 70000 1935\r\n"),
            malformed,
        ),
        (
            text("PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n"),
            malformed,
        ),
        (text("PROXY TCP4 203.0.113.7 10.0.0.1 1 2\n"), malformed),
        (text("PROXY TCP5 203.0.113.7 10.0.0.1 1 2\r\n"), malformed),
        (text("PROXY \u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\r\n"), malformed),
        (
            text(&format!("PROXY UNKNOWN {}\r\n", "f".repeat(92))),
            malformed,
        ),
        (v2(0x11, 0x11, 12, &IPV4), malformed), // version 1 in binary
        (v2(0x22, 0x11, 12, &IPV4), malformed), // a command that is none
        (v2(0x21, 0x51, 12, &IPV4), malformed), // a family that is none
        (v2(0x21, 0x11, 8, &IPV4[..8]), malformed),
        (v2(0x21, 0x11, 65535, &[0; 4000]), malformed),
    ] {
        let refused = send(&[&bytes]).await.unwrap_err();
        assert_eq!(refused.reason(), reason, "{bytes:x?}: {refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_header_is_not_waited_for() {
    let (mut client, mut server) = pair().await;
    client.write_all(b"PROXY TCP4 203.").await.unwrap();
    let refused = accept(&mut server).await.unwrap_err();
    assert_eq!(refused.reason(), "proxy_header_timeout");
}
