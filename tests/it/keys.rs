//! Who may publish, and what the others are told: wrong keys, keys in queries, takeover, SIGHUP.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    daemon::{Config, Daemon},
    probe,
    publisher::{Publisher, Status, flv},
    sources::{self, Encoder},
    viewer::{Recording, Viewer},
};

const START: &str = "NetStream.Publish.Start";
const DENIED: &str = "NetStream.Publish.Denied";
const BAD_NAME: &str = "NetStream.Publish.BadName";
/// How long the server may take to close a connection it refused.
const CLOSING: Duration = Duration::from_secs(8);

/// A refused publisher must read why, at level `error`, and then be let go.
fn assert_refused((mut publisher, status): (Publisher, Status), code: &str) {
    assert_eq!(
        (status.code.as_str(), status.level.as_str()),
        (code, "error")
    );
    assert!(!status.description.is_empty(), "a refusal says why");
    assert!(
        publisher.closes_within(CLOSING),
        "a refused publisher is let go"
    );
}

#[test]
fn a_wrong_key_is_denied_in_words_and_let_go() {
    let daemon = Daemon::start(&Config::new().key("right-key", "shop"));
    for key in ["wrong-key", "right-key-", "", "shop", "wrong?key=right-kez"] {
        match Publisher::publish(daemon.address("rtmp"), "live", key) {
            Ok(refused) => assert_refused(refused, DENIED),
            Err(error) => panic!("{key:?}: no status: {error}"),
        }
    }
    let encoder = Encoder::ffmpeg(&sources::SHORT.file(), &daemon.publish_url("wrong-key"));
    let (content, said) = encoder.wait();
    assert!(!content, "ffmpeg must not believe it is live");
    assert!(
        said.contains("Server error"),
        "ffmpeg shows the reason: {said}"
    );
}

#[test]
fn a_key_is_found_wherever_encoders_put_it() {
    let daemon = Daemon::start(&Config::new().key("k3y", "shop"));
    for (app, name) in [
        ("live", "k3y"),
        ("live", "k3y?encoder=7"),
        ("live", "shop?key=k3y"),
        ("live", "shop?token=k3y"),
        ("live", "shop?a=b&token=k3y"),
        ("live?key=k3y", "shop"),
        ("live?token=k3y", ""),
    ] {
        let (_publisher, status) = Publisher::publish(daemon.address("rtmp"), app, name)
            .unwrap_or_else(|error| panic!("{app:?} {name:?}: {error}"));
        assert_eq!(
            status.code, START,
            "{app:?} {name:?}: {}",
            status.description
        );
    }
}

#[test]
fn with_takeover_off_a_live_stream_is_a_bad_name() {
    let config = Config::new().key("k3y", "shop").publish("takeover = false");
    let daemon = Daemon::start(&config);
    let address = daemon.address("rtmp");
    let (mut incumbent, status) = Publisher::publish(address, "live", "k3y").expect("connected");
    assert_eq!(status.code, START);
    assert_refused(
        Publisher::publish(address, "live", "k3y").expect("connected"),
        BAD_NAME,
    );
    assert!(
        !incumbent.closes_within(Duration::from_millis(200)),
        "the incumbent stays"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_continues_the_stream_behind_one_discontinuity() {
    let config = Config::new().key("k3y", "shop");
    let daemon = Daemon::start(&config.publish("grace_after_stop = \"1s\""));
    let address = daemon.address("rtmp");
    let source = sources::SHORT.file();
    let tags = flv::read(&source).expect("made just now");
    let again = tags.clone();
    let publish = move |tags: Vec<flv::Tag>| {
        let (mut publisher, status) =
            Publisher::publish(address, "live", "k3y").expect("connected");
        assert_eq!(status.code, START);
        publisher.push(&tags, 0, None).expect("taken");
        publisher
    };
    let mut first = tokio::task::spawn_blocking(move || publish(tags))
        .await
        .expect("published");

    let viewer = Viewer::new(&daemon.url(""));
    viewer.multivariant("shop").await; // its first part is out
    let recording = tokio::spawn({
        let viewer = viewer.clone();
        async move { viewer.record("shop").await }
    });
    tokio::task::spawn_blocking(move || {
        let mut second = publish(again);
        assert!(first.closes_within(CLOSING), "the old connection is closed");
        second.stop().expect("stopped");
    })
    .await
    .expect("taken over");

    let renditions = recording.await.expect("served by the rules");
    let breaks: Vec<Vec<u64>> = renditions.values().map(discontinuities).collect();
    assert_eq!(breaks.len(), 2, "picture and sound");
    assert_eq!(breaks[0].len(), 1, "one discontinuity: {breaks:?}");
    assert_eq!(breaks[0], breaks[1], "at one media sequence number");
    let folder = TempDir::new().expect("a folder");
    let pushed = probe::packets(&source, "v:0");
    let runs = renditions["high"].files();
    for (index, run) in runs.iter().enumerate() {
        let file = folder.path().join(format!("run{index}.mp4"));
        std::fs::write(&file, run).expect("written");
        probe::decodes(&file);
        let served = probe::packets(&file, "v:0");
        assert!(!served.is_empty());
        let hashes = |packets: &[probe::Packet]| -> Vec<String> {
            packets.iter().map(|packet| packet.hash.clone()).collect()
        };
        // The takeover may come before the first session's last frames; the second session is whole.
        let wanted = if index == 0 {
            &pushed[..served.len()]
        } else {
            &pushed[..]
        };
        assert_eq!(hashes(&served), hashes(wanted), "run {index}");
    }
}

/// Media sequence numbers of the segments behind a discontinuity.
fn discontinuities(recording: &Recording) -> Vec<u64> {
    let broken = recording
        .segments
        .iter()
        .filter(|kept| kept.segment.discontinuity);
    broken.map(|kept| kept.segment.msn).collect()
}

#[test]
fn after_three_takeovers_between_addresses_the_incumbent_stays() {
    let daemon = Daemon::start(&Config::new().key("k3y", "shop"));
    let here = daemon.address("rtmp");
    let there = relay(Ipv4Addr::new(127, 0, 0, 2).into(), here).expect("a relay");
    let mut incumbent = None;
    for address in [here, there, here, there] {
        let (publisher, status) = Publisher::publish(address, "live", "k3y").expect("connected");
        assert_eq!(status.code, START, "{}", status.description);
        incumbent = Some(publisher);
    }
    assert_refused(
        Publisher::publish(here, "live", "k3y").expect("connected"),
        BAD_NAME,
    );
    let mut incumbent = incumbent.expect("four published");
    assert!(
        !incumbent.closes_within(Duration::from_millis(200)),
        "the incumbent stays"
    );
}

/// Listens on a port of its own and carries each connection to `to`, coming from the address `from`.
fn relay(from: IpAddr, to: SocketAddr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for inbound in listener.incoming().flatten() {
            let _ = carry(inbound, from, to);
        }
    });
    Ok(address)
}

fn carry(mut inbound: TcpStream, from: IpAddr, to: SocketAddr) -> io::Result<()> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect(&to.into())?;
    let mut outbound = TcpStream::from(socket);
    let (mut inbound_back, mut outbound_back) = (inbound.try_clone()?, outbound.try_clone()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut inbound, &mut outbound);
        outbound.shutdown(std::net::Shutdown::Write)
    });
    std::thread::spawn(move || {
        let _ = io::copy(&mut outbound_back, &mut inbound_back);
        inbound_back.shutdown(std::net::Shutdown::Both)
    });
    Ok(())
}

#[test]
fn keys_are_read_again_on_sighup() {
    let before = Config::new().key("old-key", "old").key("kept-key", "kept");
    let daemon = Daemon::start(&before);
    let address = daemon.address("rtmp");
    let (mut live, status) = Publisher::publish(address, "live", "kept-key").expect("connected");
    assert_eq!(status.code, START);

    daemon.reload(&before.without_key("old-key").key("new-key", "new"));
    // A signal has no answer: ask until the change is there, at most so often.
    let added = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(25));
        let (_publisher, status) =
            Publisher::publish(address, "live", "new-key").expect("connected");
        status.code == START
    });
    assert!(added, "the new key never came into force");
    assert_refused(
        Publisher::publish(address, "live", "old-key").expect("connected"),
        DENIED,
    );
    assert!(
        !live.closes_within(Duration::from_millis(200)),
        "a kept key goes on undisturbed"
    );
}
