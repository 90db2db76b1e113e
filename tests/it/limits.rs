//! Broken clients beside a good one: the daemon stays up, and the good stream misses nothing.
//!
//! The state machines have their own tests for each rule; here the whole daemon is attacked over real sockets, the
//! reproduced crashes of a well-known RTMP library among the attacks.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    daemon::{Config, Daemon},
    probe,
    publisher::{AUDIO, COMMAND, DATA, Publisher, VIDEO, body, chunks, flv},
    sources::{self, Encoder},
    viewer::Viewer,
};

#[tokio::test(flavor = "multi_thread")]
async fn broken_clients_cost_a_good_stream_nothing() {
    let config = Config::new().key("good-key", "good").key("odd-key", "odd");
    let mut daemon = Daemon::start(&config.publish("grace_after_stop = \"1s\""));
    let address = daemon.address("rtmp");
    let source = sources::B_FRAMES.file();
    let encoder = Encoder::ffmpeg(&source, &daemon.publish_url("good-key"));
    let viewer = Viewer::new(&daemon.url(""));
    viewer.multivariant("good").await;
    let attacks = tokio::task::spawn_blocking(move || {
        let half_open = half_handshakes(address);
        for (name, attack) in ATTACKS {
            // Being thrown out in the middle of an attack is the best that can happen to it.
            let _ = attack(address);
            assert!(answers(address), "after {name}");
        }
        drop(half_open);
    });
    let renditions = viewer.record("good").await;
    attacks.await.expect("the daemon answers after each attack");
    let (content, said) = encoder.wait();
    assert!(content, "{said}");
    assert!(daemon.alive());

    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("good.mp4");
    renditions["high"].write(&file);
    let hashes = |file| -> Vec<String> {
        let packets = probe::packets(file, "v:0").into_iter();
        packets.map(|packet| packet.hash).collect()
    };
    assert_eq!(hashes(&file), hashes(&source));
    let written = daemon.written();
    assert!(
        !written.contains("panicked"),
        "no task may panic:\n{written}"
    );
}

/// Whether the door still answers an honest client.
pub(crate) fn answers(address: SocketAddr) -> bool {
    Publisher::connect(address, "live").is_ok()
}

/// A deed on connections of its own, ending by itself.
pub(crate) type Attack = fn(SocketAddr) -> io::Result<()>;

/// Name and deed.
pub(crate) const ATTACKS: &[(&str, Attack)] = &[
    ("noise", |to| bytes(to, &[0xFF; 4096])),
    ("zeros", |to| bytes(to, &[0; 4096])),
    ("an HTTP request", |to| {
        bytes(to, b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
    }),
    ("a TLS hello", |to| {
        bytes(to, &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3])
    }),
    ("RTMPE", |to| bytes(to, &[6; 1537])),
    ("deep nesting", deep_nesting),
    ("short commands", short_commands),
    ("wild chunk sizes", wild_chunk_sizes),
    ("a message that never comes", promised_message),
    (
        "a partial message on each of many chunk streams",
        many_partial_messages,
    ),
    ("a continuation of nothing", |to| {
        after_handshake(to, &[0xC3; 512])
    }),
    ("streams without end", streams_without_end),
    ("media before publish", media_before_publish),
    ("bodies of one byte", one_byte_bodies),
    ("interleaved messages", interleaved),
    ("messages in messages", nested_aggregates),
];

/// Connections that begin a handshake and say no more; held by the caller.
fn half_handshakes(to: SocketAddr) -> Vec<TcpStream> {
    let open = |count: usize| {
        let mut socket = TcpStream::connect(to)?;
        socket.write_all(&vec![3; count])?;
        Ok(socket)
    };
    let opened: io::Result<Vec<TcpStream>> = [0, 1, 100, 1536, 1537, 2000]
        .map(open)
        .into_iter()
        .collect();
    opened.expect("the door is open")
}

/// Sends bytes as they are and reads until the server has had enough.
fn bytes(to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    let mut socket = TcpStream::connect(to)?;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    socket.write_all(bytes)?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    Ok(())
}

fn opened(to: SocketAddr) -> io::Result<Publisher> {
    Publisher::open(to, "rtmp://localhost/live")
}

fn after_handshake(to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    let mut publisher = opened(to)?;
    publisher.raw(bytes)?;
    publisher.closes_within(Duration::from_millis(300));
    Ok(())
}

/// AMF0 string.
pub(crate) fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("short");
    [&[2][..], &length.to_be_bytes(), text.as_bytes()].concat()
}

/// AMF0 number.
pub(crate) fn number(value: f64) -> Vec<u8> {
    [&[0][..], &value.to_be_bytes()].concat()
}

fn deep_nesting(to: SocketAddr) -> io::Result<()> {
    let mut command = [string("connect"), number(1.0)].concat();
    for _ in 0..200_000 {
        command.extend([3, 0, 1, b'a']); // an object whose first property is
    }
    for kind in [COMMAND, DATA] {
        after_handshake(to, &chunks(3, kind, 0, 0, &command, 128))?;
    }
    Ok(())
}

fn short_commands(to: SocketAddr) -> io::Result<()> {
    let name = string("connect");
    let with_number = [name.clone(), number(1.0)].concat();
    let truncated = name[..4].to_vec();
    let set_data_frame = string("@setDataFrame");
    let set_data_frame_name = [set_data_frame.clone(), string("onMetaData")].concat();
    for (kind, command) in [
        (COMMAND, vec![]),
        (COMMAND, name),
        (COMMAND, with_number),
        (COMMAND, truncated),
        (17, vec![0]),
        (DATA, set_data_frame),
        (DATA, set_data_frame_name),
    ] {
        after_handshake(to, &chunks(3, kind, 0, 0, &command, 128))?;
    }
    Ok(())
}

fn wild_chunk_sizes(to: SocketAddr) -> io::Result<()> {
    for size in [0, 1, 0x7FFF_FFFF, 0x8000_0001, u32::MAX] {
        let mut attack = chunks(2, 1, 0, 0, &size.to_be_bytes(), 128);
        attack.extend(chunks(3, COMMAND, 0, 0, &string("connect"), 128));
        after_handshake(to, &attack)?;
    }
    Ok(())
}

/// 16 MiB announced, 64 KiB sent.
fn promised_message(to: SocketAddr) -> io::Result<()> {
    let mut attack = vec![3, 0, 0, 0, 0xFF, 0xFF, 0xFF, COMMAND, 0, 0, 0, 0];
    attack.extend([0; 65536]);
    after_handshake(to, &attack)
}

fn many_partial_messages(to: SocketAddr) -> io::Result<()> {
    let mut attack = Vec::new();
    for csid in 3..2000 {
        let message = chunks(csid, VIDEO, 1, 0, &[0; 65536], 128);
        attack.extend(&message[..128]);
        attack.resize(attack.len() + 14, 0);
    }
    after_handshake(to, &attack)
}

fn streams_without_end(to: SocketAddr) -> io::Result<()> {
    let create = [string("createStream"), number(2.0), vec![5]].concat();
    let one = chunks(3, COMMAND, 0, 0, &create, 128);
    after_handshake(to, &one.repeat(10_000))
}

fn media_before_publish(to: SocketAddr) -> io::Result<()> {
    let mut publisher = Publisher::connect(to, "live")?;
    for tag in flv::read(sources::SHORT.file())? {
        publisher.message(tag.kind, tag.timestamp, &tag.body)?;
    }
    Ok(())
}

fn one_byte_bodies(to: SocketAddr) -> io::Result<()> {
    let (mut publisher, _) = Publisher::publish(to, "live", "odd-key")?;
    for first in 0..=255 {
        for kind in [AUDIO, VIDEO, DATA, 15, 17, 22] {
            publisher.message(kind, 0, &[first])?;
        }
    }
    Ok(())
}

/// An audio message between the chunks of a video message, then one dropped by Abort: legal, and once deadly.
fn interleaved(to: SocketAddr) -> io::Result<()> {
    let (mut publisher, _) = Publisher::publish(to, "live", "odd-key")?;
    let video = chunks(70, VIDEO, 1, 0, &body::avc(true, 1, 0, &[0; 8000]), 4096);
    let audio = chunks(71, AUDIO, 1, 0, &body::aac(1, &[0; 100]), 4096);
    let abort = chunks(2, 2, 0, 0, &70_u32.to_be_bytes(), 4096);
    publisher.raw(&video[..4096])?;
    publisher.raw(&audio)?;
    publisher.raw(&abort)?;
    publisher.raw(&video)?;
    publisher.closes_within(Duration::from_millis(100));
    Ok(())
}

/// Aggregates within aggregates (RTMP 1.0, 7.1.6), each the only message of the one around it, and one that promises more
/// than it holds.
fn nested_aggregates(to: SocketAddr) -> io::Result<()> {
    const AGGREGATE: u8 = 22;
    let (mut publisher, _) = Publisher::publish(to, "live", "odd-key")?;
    let wrap = |inner: &[u8], length: usize| {
        let length = (length as u32).to_be_bytes();
        let head = [
            AGGREGATE, length[1], length[2], length[3], 0, 0, 0, 0, 0, 0, 0,
        ];
        [&head[..], inner, &(inner.len() as u32 + 11).to_be_bytes()].concat()
    };
    let mut nested = vec![0; 16];
    for _ in 0..2000 {
        nested = wrap(&nested, nested.len());
    }
    publisher.message(AGGREGATE, 0, &nested)?;
    publisher.message(AGGREGATE, 0, &wrap(&[0; 64], 0xFF_FFFF))?;
    publisher.closes_within(Duration::from_millis(100));
    Ok(())
}
