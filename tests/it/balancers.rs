//! Behind balancers: the PROXY protocol on RTMP and RTMPS, forwarded addresses on HTTP. What the daemon says of a client
//! is what the balancer says of it, and nobody else is believed.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use reqwest::StatusCode;
use serde_json::Value;

use crate::{
    daemon::{Config, Daemon},
    publisher::{Publisher, flv},
    sources::{self, Encoder},
    viewer::{Viewer, client},
};

/// A balancer of TCP: puts `header` in front of every connection and passes all else on. It ends with the test.
fn balancer(to: SocketAddr, header: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let pipe = |mut from: TcpStream, mut to: TcpStream| {
        thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        });
    };
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(mut server) = TcpStream::connect(to) else {
                return;
            };
            let _ = server.write_all(&header);
            let both = client
                .try_clone()
                .and_then(|it| Ok((it, server.try_clone()?)));
            if let Ok((client_too, server_too)) = both {
                pipe(client, server);
                pipe(server_too, client_too);
            }
        }
    });
    address
}

/// Version 2 with an IPv6 address and a TLV behind it.
fn version_2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x29".to_vec();
    header.extend([0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    header.extend([0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    header.extend([0xC3, 0x50, 7, 0x8F]);
    header.extend([4, 0, 2, 0, 0]);
    header
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_behind_a_balancer_has_its_own_address() {
    let config = Config::new().tls().key("k3y", "shop").key("s3cure", "safe");
    let daemon = Daemon::start(&config.rtmp("proxy_protocol = true"));
    let text = b"PROXY TCP4 203.0.113.7 192.0.2.1 50000 1935\r\n".to_vec();
    let rtmp = balancer(daemon.address("rtmp"), text);
    let rtmps = balancer(daemon.address("rtmps"), version_2());
    let source = sources::LONG.file();
    let _encoders = [
        Encoder::ffmpeg(&source, &format!("rtmp://{rtmp}/live/k3y")),
        Encoder::ffmpeg(&source, &format!("rtmps://{rtmps}/live/s3cure")),
    ];
    let viewer = Viewer::new(&daemon.url(""));
    for (stream, peer) in [
        ("shop", "203.0.113.7:50000"),
        ("safe", "[2001:db8::7]:50000"),
    ] {
        viewer.multivariant(stream).await;
        let status = daemon.control(&format!("/v1/streams/{stream}")).await;
        let status: Value = serde_json::from_str(&status).expect("JSON");
        assert_eq!(status["session"]["peer"], peer, "{status:#}");
        let said = daemon.written();
        let named = |line: &str| line.contains("\"published\"") && line.contains(peer);
        assert!(said.lines().any(named), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_header_nobody_gets_in() {
    let config = Config::new().key("k3y", "shop");
    let daemon = Daemon::start(&config.rtmp("proxy_protocol = true"));
    let rtmp = daemon.address("rtmp");
    let refused = tokio::task::spawn_blocking(move || {
        for _ in 0..20 {
            assert!(Publisher::connect(rtmp, "live").is_err());
        }
        let mut socket = TcpStream::connect(rtmp).expect("the door is open");
        let _ = socket.write_all(b"PROXY TCP9 1 2 3 4\r\n\x03");
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a socket");
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        assert_eq!(answer, b"", "not a word to a stranger");
    });
    refused.await.expect("see above");
    let metrics = daemon.control("/metrics").await;
    for (reason, count) in [("missing", 20), ("malformed", 1)] {
        let name = "vitrine_connections_refused_total{listener=\"rtmp\",reason=\"proxy_header_";
        let line = format!("{name}{reason}\"}} {count}");
        assert!(metrics.lines().any(|it| it == line), "{line}\n{metrics}");
    }
    let told = daemon.written().matches("\"connection refused\"").count();
    assert!((2..20).contains(&told), "told {told} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_trusted_balancers_may_speak_for_others() {
    let config = Config::new().key("k3y", "shop");
    let config = config.rtmp("proxy_protocol = true\ntrusted_proxies = [\"192.0.2.0/24\"]");
    let daemon = Daemon::start(&config);
    let header = b"PROXY TCP4 203.0.113.7 192.0.2.1 50000 1935\r\n".to_vec();
    let rtmp = balancer(daemon.address("rtmp"), header);
    let refused = tokio::task::spawn_blocking(move || Publisher::connect(rtmp, "live").is_err());
    assert!(refused.await.expect("no panic"));
    // The series is there from the start, at zero.
    let line = "vitrine_connections_refused_total{listener=\"rtmp\",reason=\"untrusted_proxy\"} 1";
    let metrics = daemon.control("/metrics").await;
    assert!(metrics.lines().any(|it| it == line), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_log_names_the_client_a_trusted_proxy_names() {
    for (trusted, logged) in [("127.0.0.0/8", "203.0.113.7"), ("192.0.2.1", "127.0.0.1")] {
        let config = Config::new().http(&format!("trusted_proxies = [\"{trusted}\"]"));
        let daemon = Daemon::start(&config);
        let request = client().build().expect("a client");
        let request = request.get(daemon.url("/live/nobody/index.m3u8"));
        let request = request.header("X-Forwarded-For", "192.0.2.66, 203.0.113.7");
        let answer = request.send().await.expect("answered");
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        daemon.control("/metrics").await; // what was logged before has been written
        let said = daemon.written();
        let line = said.lines().find(|line| line.contains("vitrine::access"));
        let line = line.unwrap_or_else(|| panic!("no such line:\n{said}"));
        assert!(line.contains(&format!("\"client\":\"{logged}\"")), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_is_reset_or_falls_silent_is_lost_and_its_stream_waits_for_it() {
    let config = Config::new()
        .key("k3y", "shop")
        .rtmp("idle_timeout = \"3s\"");
    // Made before anybody publishes: making it takes longer than a publisher may be silent.
    let tags = flv::read(sources::SHORT.file()).expect("made just now");
    let daemon = Daemon::start(&config.publish("grace = \"40s\"\ngrace_after_stop = \"1s\""));
    let address = daemon.address("rtmp");
    let viewer = Viewer::new(&daemon.url(""));
    for silent in [true, false] {
        let tags = tags.clone();
        let published = tokio::task::spawn_blocking(move || {
            let (mut publisher, status) =
                Publisher::publish(address, "live", "k3y").expect("connected");
            assert_eq!(status.code, "NetStream.Publish.Start");
            publisher.push(&tags, 0, None).expect("taken");
            publisher
        });
        let publisher = published.await.expect("published");
        viewer.multivariant("shop").await;
        let ended = format!("\"cause\":\"{}", if silent { "milliseconds" } else { "" });
        let before = count(&daemon, "\"ended\"");
        // No FIN in either case: the silent one keeps its socket open.
        let _kept = match silent {
            true => Some(publisher),
            false => {
                publisher.reset().expect("a socket");
                None
            }
        };
        let end = tokio::time::Instant::now() + Duration::from_secs(30);
        while count(&daemon, "\"ended\"") == before {
            assert!(tokio::time::Instant::now() < end, "not noticed");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let said = daemon.written();
        let line = said.lines().rfind(|line| line.contains("\"ended\""));
        assert!(line.is_some_and(|line| line.contains(&ended)), "{line:?}");
        let status = daemon.control("/v1/streams/shop").await;
        let status: Value = serde_json::from_str(&status).expect("JSON");
        assert_eq!(status["state"], "grace", "{status:#}");
    }
}

fn count(daemon: &Daemon, word: &str) -> usize {
    daemon.written().matches(word).count()
}
