//! Attacks on the stream keys: thousands of guesses, from many addresses and from one.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
    thread,
};

use super::{connect_from, source};
use crate::{
    limits::{number, string},
    publisher::{COMMAND, chunks},
};

/// Wrong keys from one address that the daemon forgives before it makes it wait.
const FORGIVEN: usize = 10;

/// `count` wrong keys, as many from each address as are forgiven; every one must be denied. Then one address goes on, and
/// a right key from it still gets through.
pub(super) fn wrong(rtmp: SocketAddr, count: usize) {
    let guess = move |worker: usize| {
        for n in (worker..count).step_by(4) {
            // Addresses of their own in each round, which differ in size.
            let from = source(n / FORGIVEN + count);
            let answer = publish(from, rtmp, &format!("guess-{n}")).expect("answered");
            assert!(contains(&answer, "NetStream.Publish.Denied"), "guess {n}");
        }
    };
    thread::scope(|scope| {
        for worker in 0..4 {
            scope.spawn(move || guess(worker));
        }
    });
    let sinner = source(count);
    for _ in 0..2 {
        let answer = publish(sinner, rtmp, "one-guess-more").expect("answered");
        assert!(contains(&answer, "NetStream.Publish.Denied"));
    }
    let answer = publish(sinner, rtmp, "late-key").expect("answered");
    assert!(contains(&answer, "NetStream.Publish.Start"), "{answer:?}");
}

/// All that a publisher says until its publish is decided about, in one breath; gives what was answered until the close.
fn publish(from: Ipv4Addr, rtmp: SocketAddr, key: &str) -> io::Result<Vec<u8>> {
    let mut socket = connect_from(from, rtmp)?;
    let mut words = vec![3; 1 + 1536];
    words[5..9].fill(0); // a plain handshake
    words.extend([0; 1536]);
    let app = [&[0, 3][..], b"app", &string("live"), &[0, 0, 9]].concat();
    let connect = [string("connect"), number(1.0), vec![3], app].concat();
    words.extend(chunks(3, COMMAND, 0, 0, &connect, 128));
    let create = [string("createStream"), number(2.0), vec![5]].concat();
    words.extend(chunks(3, COMMAND, 0, 0, &create, 128));
    let publish = [
        string("publish"),
        number(3.0),
        vec![5],
        string(key),
        string("live"),
    ];
    words.extend(chunks(3, COMMAND, 1, 0, &publish.concat(), 128));
    socket.write_all(&words)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let read = socket.read(&mut buffer)?;
        answer.extend(&buffer[..read]);
        if read == 0 || contains(&answer, "NetStream.Publish.Start") {
            return Ok(answer);
        }
    }
}

fn contains(bytes: &[u8], word: &str) -> bool {
    (bytes.windows(word.len())).any(|window| window == word.as_bytes())
}
