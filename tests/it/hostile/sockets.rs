//! Attacks below any protocol: garbage, openings that are never finished, and sheer numbers.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread::sleep,
    time::Duration,
};

use super::{connect_from, source};

/// `count` connections to each door, with 4 KiB of noise each.
pub(super) fn garbage(doors: &[SocketAddr], count: usize) {
    let mut seed = 0x9E37_79B9_u32;
    let mut noise = || {
        // xorshift: the same noise in every run.
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed.to_le_bytes()[0]
    };
    for door in doors {
        for n in 0..count {
            let mut socket = connect_from(source(n), *door).expect("the door is open");
            let bytes: Vec<u8> = (0..4096).map(|_| noise()).collect();
            let _ = socket.write_all(&bytes);
        }
    }
}

/// `count` handshakes of which one byte comes at a time, until the daemon has lost its patience with every one.
pub(super) fn half_handshakes(rtmp: SocketAddr, count: usize) {
    let mut sockets: Vec<TcpStream> = (0..count)
        .map(|n| connect_from(source(n), rtmp).expect("the door is open"))
        .collect();
    for _ in 0..10 {
        for socket in &mut sockets {
            let _ = socket.write_all(&[3]);
        }
        sleep(Duration::from_millis(100));
    }
    for mut socket in sockets {
        // A reset is as good an end as a FIN; only a wait without end is none.
        let end = socket.read_to_end(&mut Vec::new());
        let waited = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
        assert!(!end.is_err_and(|error| waited(&error)), "still open");
    }
}

/// `count` requests whose heads grow by a byte at a time. They are given up by us: the daemon's patience with a head is
/// half a minute, and its own tests have it.
pub(super) fn slow_heads(http: SocketAddr, count: usize) {
    let mut sockets: Vec<TcpStream> = (0..count)
        .map(|n| connect_from(source(n), http).expect("the door is open"))
        .collect();
    for byte in b"GET /live/good/index.m3u8" {
        for socket in &mut sockets {
            let _ = socket.write_all(&[*byte]);
        }
        sleep(Duration::from_millis(80));
    }
}

/// `viewers` connections to one door and `publishers` to the other, more than it admits, all open at once and silent.
pub(super) fn hold(
    http: SocketAddr,
    viewers: usize,
    rtmp: SocketAddr,
    publishers: usize,
) -> Vec<TcpStream> {
    let http = (0..viewers).map(|n| (n, http));
    let rtmp = (0..publishers).map(|n| (n, rtmp));
    http.chain(rtmp)
        .map(|(n, door)| {
            if n % BATCH == 0 {
                sleep(Duration::from_millis(25));
            }
            connect_from(source(n / 40), door).expect("the door is open")
        })
        .collect()
}

/// Connections opened without a breath: ten thousand a second are more than a network brings, and enough.
const BATCH: usize = 250;
