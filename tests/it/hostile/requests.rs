//! Attacks by requests: for what is not there, taken back at once, and answers that are never read.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
};

use super::{connect_from, connect_with, source};

/// Absent streams asked for on one connection at once.
const PIPELINED: usize = 250;

/// `count` requests for the playlists of streams that are not there, each another, pipelined on four connections. All
/// must be answered 404.
pub(super) fn absent(http: SocketAddr, count: usize) {
    let poll = |worker: usize| {
        let mut socket = connect_from(source(worker), http).expect("the door is open");
        let ask = |name: &str, path: &str| {
            format!("GET /live/{name}/{path} HTTP/1.1\r\nHost: shop\r\n\r\n")
        };
        let words = ask("absent", "index.m3u8");
        socket.write_all(words.as_bytes()).expect("taken");
        let mut answer = [0; 4096];
        let length = socket.read(&mut answer).expect("answered");
        assert!(answer[..length].ends_with(b"not found\n"));
        // All further answers are of that length.
        let mut answers = vec![0; length * PIPELINED];
        for batch in 0..count / 4 / PIPELINED {
            let asked: String = (0..PIPELINED)
                .map(|n| {
                    let path = ["index.m3u8", "7/high/index.m3u8", "7/high/p1.m4s"][n % 3];
                    ask(&format!("absent-{worker}-{batch}-{n}"), path)
                })
                .collect();
            socket.write_all(asked.as_bytes()).expect("taken");
            socket.read_exact(&mut answers).expect("answered");
            for answer in answers.chunks(length) {
                assert!(answer.starts_with(b"HTTP/1.1 404 "), "{answer:?}");
            }
        }
    };
    thread::scope(|scope| {
        for worker in 0..4 {
            scope.spawn(move || poll(worker));
        }
    });
}

/// `count` HTTP/2 connections that open a stream and reset it, two thousand times each (CVE-2023-44487). The daemon must
/// end every one of them.
pub(super) fn rapid_reset(http: SocketAddr, folder: &str, count: usize) {
    let path = format!("{folder}index.m3u8?_HLS_msn=4000000");
    let path = path.as_bytes();
    // HPACK (RFC 7541): GET, http and / from the static table; path and authority as literals, not indexed.
    let mut head = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).expect("short")];
    head.extend(path);
    head.extend([0x01, 4]);
    head.extend(b"shop");
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    for id in (1..4000).step_by(2) {
        bytes.extend(frame(1, 0x5, id, &head)); // HEADERS with END_STREAM and END_HEADERS
        bytes.extend(frame(3, 0, id, &8_u32.to_be_bytes())); // RST_STREAM, CANCEL
    }
    for n in 0..count {
        let mut socket = connect_from(source(n), http).expect("the door is open");
        let _ = socket.write_all(&bytes);
        let mut answer = Vec::new();
        match socket.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("still open after {} bytes: {error}", answer.len()),
        }
    }
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

/// `count` connections that ask for the playlist hundreds of times and read no answer.
pub(super) fn never_reading(http: SocketAddr, folder: &str, count: usize) -> Vec<TcpStream> {
    let ask = format!("GET {folder}index.m3u8 HTTP/1.1\r\nHost: shop\r\n\r\n").repeat(256);
    (0..count)
        .map(|n| {
            let narrow = |socket: &socket2::Socket| socket.set_recv_buffer_size(4096);
            let socket = connect_with(source(n), http, narrow).expect("the door is open");
            socket.set_nonblocking(true).expect("a socket");
            let _ = (&socket).write(ask.as_bytes());
            socket
        })
        .collect()
}
