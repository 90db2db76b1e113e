//! Real sockets on loopback; no test asserts how long something took.

#![allow(clippy::unwrap_used)]

use std::{convert::Infallible, fs, path::PathBuf, sync::Arc};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{mpsc, oneshot},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};

use super::*;

fn loopback() -> Listener {
    Listener::bind("test", "127.0.0.1:0".parse().unwrap()).unwrap()
}

async fn read_all(mut stream: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut text = String::new();
    // A reset is as good an end as any here.
    stream.read_to_string(&mut text).await.ok();
    text
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_names_it() {
    let first = loopback();
    let error = Listener::bind("rtmp", first.local_addr())
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(&format!(
            "cannot listen for rtmp on {}: ",
            first.local_addr()
        )),
        "{error}"
    );
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_and_a_panic_frees_its_slot() {
    let listener = loopback();
    let address = listener.local_addr();
    let (served, mut seen) = mpsc::channel(4);
    let shutdown = CancellationToken::new();
    let serve = move |mut stream: Stream, peer: SocketAddr| {
        let served = served.clone();
        async move {
            served.send(peer).await.unwrap();
            assert!(stream.read_u8().await.is_ok(), "a handler's bug");
        }
    };
    let door = tokio::spawn(connections(
        listener,
        Admission::new(1),
        None,
        shutdown.clone(),
        serve,
    ));

    let first = TcpStream::connect(address).await.unwrap();
    assert_eq!(seen.recv().await.unwrap(), first.local_addr().unwrap());
    assert_eq!(
        read_all(TcpStream::connect(address).await.unwrap()).await,
        ""
    );
    drop(first); // the handler panics
    let mut again = loop {
        let stream = TcpStream::connect(address).await.unwrap();
        let local = stream.local_addr().unwrap();
        tokio::select! {
            peer = seen.recv() => { assert_eq!(peer.unwrap(), local); break stream; }
            _ = stream.readable() => {}
        }
    };
    shutdown.cancel();
    again.write_u8(1).await.unwrap();
    door.await.unwrap(); // drained: the last connection has ended
    assert!(TcpStream::connect(address).await.is_err());
}

async fn hello(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from(format!(
        "{:?} {}",
        request.version(),
        request.uri().path()
    ))))
}

#[tokio::test]
async fn http_1_is_answered_and_a_drain_lets_the_request_under_way_finish() {
    let listener = loopback();
    let address = listener.local_addr();
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let service = move |_peer| {
        let stop = stop.clone();
        service_fn(move |request| {
            stop.cancel();
            hello(request)
        })
    };
    let door = tokio::spawn(http(listener, Admission::new(9), None, shutdown, service));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let answer = read_all(stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("HTTP/1.1 /a"),
        "{answer}"
    );
    door.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn clients_that_say_nothing_or_half_a_preface_or_half_a_head_are_dropped() {
    let listener = loopback();
    let address = listener.local_addr();
    let door = http(
        listener,
        Admission::new(9),
        None,
        CancellationToken::new(),
        |_| service_fn(hello),
    );
    let _door = tokio::spawn(door);
    let preface_and_settings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for words in [
        &b""[..],
        b"PRI * HT",
        b"GET / HTTP/1.1\r\nHost:",
        preface_and_settings,
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(words).await.unwrap();
        // Ends at all: only because somebody gave up on us.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.ok();
    }
}

#[tokio::test]
async fn a_head_beyond_the_buffer_is_refused() {
    let listener = loopback();
    let address = listener.local_addr();
    let door = http(
        listener,
        Admission::new(9),
        None,
        CancellationToken::new(),
        |_| service_fn(hello),
    );
    let _door = tokio::spawn(door);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n",
        "x".repeat(40_000)
    );
    stream.write_all(head.as_bytes()).await.ok();
    let answer = read_all(stream).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
}

struct Files {
    _folder: tempfile::TempDir,
    cert: PathBuf,
    key: PathBuf,
}

/// A fresh self-signed pair in a folder of its own.
fn pair() -> Files {
    let folder = tempfile::tempdir().unwrap();
    let files = Files {
        cert: folder.path().join("cert.pem"),
        key: folder.path().join("key.pem"),
        _folder: folder,
    };
    renew(&files);
    files
}

fn renew(files: &Files) {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(&files.cert, pair.cert.pem()).unwrap();
    fs::write(&files.key, pair.signing_key.serialize_pem()).unwrap();
}

/// A client that trusts nothing but the certificate in `files` now.
fn client(files: &Files, alpn: &[&[u8]]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&files.cert).unwrap())
        .unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn https_speaks_what_alpn_chose_and_a_reload_changes_the_certificate() {
    let files = pair();
    let identity = tls::Identity::load(&files.cert, &files.key).unwrap();
    let listener = loopback();
    let address = listener.local_addr();
    let tls = identity.acceptor(tls::HTTP);
    let door = http(
        listener,
        Admission::new(9),
        Some(tls),
        CancellationToken::new(),
        |_| service_fn(hello),
    );
    let _door = tokio::spawn(door);
    let connect = async |client: TlsConnector| {
        let stream = TcpStream::connect(address).await.unwrap();
        client
            .connect(ServerName::try_from("localhost").unwrap(), stream)
            .await
    };

    let h2 = connect(client(&files, &[b"h2", b"http/1.1"]))
        .await
        .unwrap();
    assert_eq!(h2.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut request, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(h2),
    )
    .await
    .unwrap();
    tokio::spawn(connection);
    let ask = Request::get("https://localhost/b")
        .body(Full::<Bytes>::default())
        .unwrap();
    assert_eq!(request.send_request(ask).await.unwrap().status(), 200);

    let h1 = connect(client(&files, &[b"http/1.1"])).await.unwrap();
    assert_eq!(h1.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));

    renew(&files);
    assert!(
        connect(client(&files, &[])).await.is_err(),
        "the old certificate is still served"
    );
    identity.reload().unwrap();
    connect(client(&files, &[])).await.unwrap();
    fs::write(&files.key, "").unwrap();
    identity.reload().unwrap_err();
    connect(client(&files, &[])).await.unwrap();
}

#[tokio::test]
async fn a_raw_connection_may_be_under_tls() {
    let files = pair();
    let listener = loopback();
    let address = listener.local_addr();
    let tls = tls::Identity::load(&files.cert, &files.key)
        .unwrap()
        .acceptor(&[]);
    let (done, byte) = oneshot::channel();
    let done = Arc::new(std::sync::Mutex::new(Some(done)));
    let serve = move |mut stream: Stream, _| {
        let done = done.lock().unwrap().take();
        async move {
            let byte = stream.read_u8().await.unwrap();
            done.unwrap().send(byte).unwrap();
        }
    };
    let _door = tokio::spawn(connections(
        listener,
        Admission::new(9),
        Some(tls),
        CancellationToken::new(),
        serve,
    ));
    let stream = TcpStream::connect(address).await.unwrap();
    let mut stream = client(&files, &[])
        .connect(ServerName::try_from("localhost").unwrap(), stream)
        .await
        .unwrap();
    stream.write_u8(3).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(byte.await.unwrap(), 3);
}

#[test]
fn a_wrong_identity_is_an_error_that_names_the_file() {
    let (files, other) = (pair(), pair());
    let absent = PathBuf::from("/nonexistent.pem");
    for (cert, key, expect) in [
        (&absent, &files.key, "no certificate in /nonexistent.pem: "),
        (&files.key, &files.key, "no certificate in "),
        (&files.cert, &absent, "no private key in /nonexistent.pem: "),
        (&files.cert, &files.cert, "no private key in "),
        (&files.cert, &other.key, " do not make a pair: "),
    ] {
        let error = tls::Identity::load(cert, key).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }
}

#[tokio::test]
async fn behind_a_proxy_the_carried_address_is_the_peer_and_is_limited() {
    let listener = loopback().behind(Networks::default());
    let address = listener.local_addr();
    let (served, mut seen) = mpsc::channel(4);
    let serve = move |mut stream: Stream, peer: SocketAddr| {
        let served = served.clone();
        async move {
            served.send(peer).await.unwrap();
            stream.read_u8().await.ok();
        }
    };
    let admission = Admission::with_max_per_address(9, 1);
    let shutdown = CancellationToken::new();
    let _door = tokio::spawn(connections(listener, admission, None, shutdown, serve));
    let connect = async |header: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(header.as_bytes()).await.unwrap();
        stream
    };
    let one = "PROXY TCP4 203.0.113.1 10.0.0.1 50001 1935\r\n";
    let other = "PROXY TCP4 203.0.113.2 10.0.0.1 50002 1935\r\n";
    let _first = connect(one).await;
    assert_eq!(
        seen.recv().await.unwrap(),
        "203.0.113.1:50001".parse().unwrap()
    );
    assert_eq!(read_all(connect(one).await).await, "", "it has its share");
    let _second = connect(other).await;
    assert_eq!(
        seen.recv().await.unwrap(),
        "203.0.113.2:50002".parse().unwrap()
    );
    let check = connect("PROXY UNKNOWN\r\n").await;
    assert_eq!(seen.recv().await.unwrap(), check.local_addr().unwrap());
    assert_eq!(read_all(connect("\x03").await).await, "", "no header");
    assert!(seen.try_recv().is_err());
}

#[tokio::test]
async fn a_proxy_that_is_not_trusted_is_refused_before_a_word() {
    let elsewhere = "192.0.2.0/24".parse().unwrap();
    let listener = loopback().behind([elsewhere].into_iter().collect());
    let address = listener.local_addr();
    let serve = |_: Stream, _| async { panic!("nobody gets here") };
    let (admission, shutdown) = (Admission::new(9), CancellationToken::new());
    let _door = tokio::spawn(connections(listener, admission, None, shutdown, serve));
    assert_eq!(
        read_all(TcpStream::connect(address).await.unwrap()).await,
        ""
    );
}

#[tokio::test]
async fn the_header_comes_before_tls() {
    let files = pair();
    let tls = tls::Identity::load(&files.cert, &files.key)
        .unwrap()
        .acceptor(&[]);
    let listener = loopback().behind(Networks::default());
    let address = listener.local_addr();
    let (served, mut seen) = mpsc::channel(1);
    let serve = move |_: Stream, peer: SocketAddr| {
        let served = served.clone();
        async move { served.send(peer).await.unwrap() }
    };
    let (admission, shutdown) = (Admission::new(9), CancellationToken::new());
    let _door = tokio::spawn(connections(listener, admission, Some(tls), shutdown, serve));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let header = b"PROXY TCP6 2001:db8::7 2001:db8::1 50000 1936\r\n";
    stream.write_all(header).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    client(&files, &[]).connect(name, stream).await.unwrap();
    let peer = seen.recv().await.unwrap();
    assert_eq!(peer, "[2001:db8::7]:50000".parse().unwrap());
}
