//! The door as a publisher meets it: a loopback listener, an in-memory registry, and rml_rtmp's own client.
//!
//! The client is blocking and runs on the blocking pool; only what the server says is asserted, never how long it took.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use tokio::{net::TcpListener, task::spawn_blocking};
use vitrine_core::{engine::stream, wire::hook::Events};
use vitrine_runtime::{bearer::Digest, clock::Clock, deliver::Outbox};

use super::{
    admission::{Grant, StaticKeys},
    *,
};
use crate::live::{Herald, Stores};

#[path = "../../../tests/it/publisher.rs"]
mod publisher;

use publisher::{Publisher as Client, WAIT};

struct Rig {
    door: Arc<Ingest>,
    keys: Arc<StaticKeys>,
    registry: Registry,
    address: SocketAddr,
}

fn grant(stream: &str) -> Grant {
    Grant::of(stream.parse().expect("a stream id"))
}

/// A door on loopback: key `key` publishes `shop`, `stay` publishes `held` without takeover, `slow` is capped.
async fn rig() -> Rig {
    let capped = Grant {
        max_kbps: Some(8),
        ..grant("capped")
    };
    let untakeable = Grant {
        takeover: Some(false),
        ..grant("held")
    };
    let keys = Arc::new(StaticKeys::new([
        (Digest::of(b"key"), grant("shop")),
        (Digest::of(b"stay"), untakeable),
        (Digest::of(b"slow"), capped),
    ]));
    let streams = stream::Settings {
        part: Duration::from_millis(200),
        segment: Duration::from_secs(1),
        max_gop: Duration::from_secs(2),
        window: Duration::from_secs(12),
        part_hold_back: None,
        grace: Duration::from_secs(20),
        grace_after_stop: Duration::from_secs(3),
    };
    let herald = Herald::new(Outbox::none(), "n1", None);
    let registry = Registry::new(streams, None, Stores::forgetful(), herald, Clock::start());
    let settings = Settings {
        handshake_timeout: Duration::from_secs(5),
        session: publish::Limits::default(),
        takeover: true,
        max_kbps: 20_000,
        events: Events::default(),
    };
    let door = Ingest::new(
        settings,
        Admission::new(Arc::clone(&keys)),
        registry.clone(),
        Outbox::none(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let serving = Arc::clone(&door);
    tokio::spawn(async move {
        while let Ok((socket, peer)) = listener.accept().await {
            tokio::spawn(Arc::clone(&serving).serve(socket, peer, "rtmp"));
        }
    });
    Rig {
        door,
        keys,
        registry,
        address,
    }
}

impl Rig {
    /// Runs a blocking story of clients.
    async fn play<T: Send + 'static>(
        &self,
        story: impl FnOnce(SocketAddr) -> T + Send + 'static,
    ) -> T {
        let address = self.address;
        spawn_blocking(move || story(address))
            .await
            .expect("the story holds")
    }
}

fn publish(address: SocketAddr, key: &str) -> (Client, publisher::Status) {
    Client::publish(address, "live", key).expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_key_is_accepted_and_an_unknown_one_denied_with_a_reason_then_closed() {
    let rig = rig().await;
    let client = rig.play(|address| {
        let (mut stranger, status) = publish(address, "guess");
        assert_eq!(status.code, "NetStream.Publish.Denied");
        assert_eq!(status.level, "error");
        assert_eq!(status.description, "unknown stream key");
        assert!(stranger.closes_within(WAIT));
        let (client, status) = publish(address, "key");
        assert_eq!(status.code, "NetStream.Publish.Start");
        client
    });
    let _client = client.await; // still publishing
    assert!(rig.registry.lookup("shop").is_some());
    assert!(rig.registry.lookup("key").is_none(), "the key is no name");
}

#[tokio::test(flavor = "multi_thread")]
async fn takeover_fences_the_old_connection_with_a_reason_and_closes_it() {
    let rig = rig().await;
    let client = rig.play(|address| {
        let (mut old, _) = publish(address, "key");
        let (new, status) = publish(address, "key");
        assert_eq!(status.code, "NetStream.Publish.Start");
        let last = old.status().expect("told");
        assert_eq!(last.level, "error");
        assert_eq!(last.description, "another publisher took over");
        assert!(old.closes_within(WAIT));
        new
    });
    client.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_stream_without_takeover_is_answered_bad_name() {
    let rig = rig().await;
    rig.play(|address| {
        let (first, status) = publish(address, "stay");
        assert_eq!(status.code, "NetStream.Publish.Start");
        let (mut second, status) = publish(address, "stay");
        assert_eq!(status.code, "NetStream.Publish.BadName");
        assert_eq!(status.description, "stream is already live");
        assert!(second.closes_within(WAIT));
        drop(first);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_removed_by_a_reload_keeps_its_session_but_admits_nobody() {
    let rig = rig().await;
    let mut client = rig.play(|address| publish(address, "key").0).await;
    rig.keys.replace([(Digest::of(b"fresh"), grant("shop"))]);
    rig.play(move |address| {
        let (_, status) = publish(address, "key");
        assert_eq!(status.code, "NetStream.Publish.Denied");
        client
            .audio(0, &publisher::body::aac(0, &[0x11, 0x90]))
            .expect("still taken");
        let (_, status) = publish(address, "fresh");
        assert_eq!(status.code, "NetStream.Publish.Start");
        assert!(client.closes_within(WAIT), "the fresh key takes over");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_above_its_cap_is_told_the_cap_and_closed() {
    let rig = rig().await;
    rig.play(|address| {
        let (mut client, status) = publish(address, "slow");
        assert_eq!(status.code, "NetStream.Publish.Start");
        // 8 kbit/s for the 15 s of burst are 15,000 bytes.
        let body = publisher::body::aac(1, &[0; 8000]);
        for timestamp in 0..8 {
            if client.audio(timestamp, &body).is_err() {
                break;
            }
        }
        let last = client.status().expect("told");
        assert_eq!(last.description, "bitrate above the 8 kbit/s allowed");
        assert!(client.closes_within(WAIT));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_refuses_new_publishes_waits_for_live_ones_and_ends_the_rest() {
    let rig = rig().await;
    let mut client = rig.play(|address| publish(address, "key").0).await;
    let door = Arc::clone(&rig.door);
    let drained = tokio::spawn(async move { door.drain(Duration::from_secs(3600)).await });
    rig.door.draining.cancelled().await;
    rig.play(move |address| {
        let (_, status) = publish(address, "stay");
        assert_eq!(status.code, "NetStream.Publish.Denied");
        assert_eq!(status.description, "server is shutting down");
        client.stop().expect("still connected");
        assert!(
            client.closes_within(WAIT),
            "the door stops once nobody publishes"
        );
    })
    .await;
    drained.await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_stays_is_ended_when_patience_is_over() {
    let rig = rig().await;
    let mut client = rig.play(|address| publish(address, "key").0).await;
    rig.door.drain(Duration::ZERO).await;
    rig.play(move |_| {
        assert_eq!(
            client.status().expect("told").description,
            "server is shutting down"
        );
        assert!(client.closes_within(WAIT));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_rtmp_ends_its_connection_and_nothing_else() {
    let rig = rig().await;
    rig.play(|address| {
        let (mut good, _) = publish(address, "key");
        let mut bad = Client::open(address, "rtmp://localhost/live").expect("open");
        // A command of 16 MiB less one byte.
        bad.raw(&[3, 0, 0, 0, 0xFF, 0xFF, 0xFF, 20, 0, 0, 0, 0])
            .expect("sent");
        assert!(bad.closes_within(WAIT));
        let mut http = TcpStream::connect(address).expect("open");
        http.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
        http.set_read_timeout(Some(WAIT)).expect("set");
        // Closed, by FIN or by RST, without an answer.
        assert!(!matches!(http.read(&mut [0; 1]), Ok(1..)));
        assert!(!good.closes_within(Duration::from_millis(50)));
    })
    .await;
}
