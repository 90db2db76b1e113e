//! A backend decides who may publish: every dialect, every way to misbehave, and what broadcasters read.

use std::{
    io::{self, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use vitrine_core::wire::sign::{self, Secret};

use crate::{
    backend::{self, Asked, Backend, SECRET, answer},
    daemon::{CONTROL_TOKEN, Config, Daemon},
    edges::free_address,
    publisher::{Publisher, Status},
    sources::{self, Encoder},
    viewer::Viewer,
};

const START: &str = "NetStream.Publish.Start";
const DENIED: &str = "NetStream.Publish.Denied";
const YES: &str = r#"{"allow":true,"stream_id":"shop42"}"#;
const UNCHECKED: &str = "the stream key cannot be checked at the moment, try again later";
/// What the tests present as keys; nothing that is written may have it.
const KEY: &str = "s3cr3t-stream-key";
/// How long the server may take to close a connection it refused.
const CLOSING: Duration = Duration::from_secs(8);

/// A daemon that asks at `url`, and does not wait long.
fn asking(url: &str) -> Config {
    Config::new()
        .hooks(&format!("admission_url = {url:?}"))
        .hooks(&format!("secret = [{SECRET:?}]"))
        .hooks("deadline = \"500ms\"")
}

fn publish(daemon: &Daemon, name: &str) -> (Publisher, Status) {
    Publisher::publish(daemon.address("rtmp"), "live", name).expect("answered")
}

/// Publishes and is refused: in words, then the connection is closed.
fn refused(daemon: &Daemon, name: &str) -> String {
    let (mut publisher, status) = publish(daemon, name);
    assert_eq!(
        (&*status.code, &*status.level),
        (DENIED, "error"),
        "{status:?}"
    );
    assert!(publisher.closes_within(CLOSING), "it is let go");
    status.description
}

fn accepted(daemon: &Daemon, name: &str) -> Publisher {
    let (publisher, status) = publish(daemon, name);
    assert_eq!(status.code, START, "{}", status.description);
    publisher
}

fn says(
    status: &'static str,
    body: &'static str,
) -> impl Fn(&Asked, &mut TcpStream) -> io::Result<()> {
    move |_, socket| answer(socket, status, body)
}

type Misbehave = fn(&Asked, &mut TcpStream) -> io::Result<()>;

/// Ways to give no verdict.
const MISBEHAVIOURS: [(&str, Misbehave); 9] = [
    ("fails", |_, socket| answer(socket, "500 Broken", YES)),
    ("redirects", |_, socket| {
        answer(socket, "307 Elsewhere\r\nlocation: /elsewhere", YES)
    }),
    ("says too much", |_, socket| {
        answer(socket, "200 OK", &format!("{YES}{}", " ".repeat(1 << 20)))
    }),
    ("speaks no JSON", |_, socket| {
        answer(socket, "200 OK", "yes")
    }),
    ("never answers", |_, _| {
        sleep(Duration::from_secs(62));
        Ok(())
    }),
    ("trickles", |_, socket| {
        let length = YES.len();
        write!(
            socket,
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"
        )?;
        YES.bytes().try_for_each(|byte| {
            sleep(Duration::from_millis(100));
            socket.write_all(&[byte])
        })
    }),
    ("answers late", |_, socket| {
        sleep(Duration::from_millis(900));
        answer(socket, "200 OK", YES)
    }),
    ("closes early", |_, socket| {
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"allow\":true")?;
        socket.shutdown(std::net::Shutdown::Both)
    }),
    ("closes at once", |_, socket| {
        socket.shutdown(std::net::Shutdown::Both)
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_backend_does_it_denies_and_other_streams_go_on() {
    let backend = Backend::start(says("200 OK", YES));
    let daemon = Daemon::start(&asking(&backend.url("/ask")).key("static-key", "steady"));
    let _encoder = Encoder::ffmpeg(&sources::LONG.file(), &daemon.publish_url("static-key"));
    let viewer = Viewer::new(&daemon.url(""));
    let folders = viewer.renditions("steady").await;
    let (_, folder) = folders.first_key_value().expect("a rendition");
    let (before, _) = viewer.playlist(folder, "").await.next();
    let daemon = tokio::task::spawn_blocking(move || {
        for (label, misbehave) in MISBEHAVIOURS {
            backend.behave(misbehave);
            let asked = backend.asked().len();
            assert_eq!(refused(&daemon, KEY), UNCHECKED, "a backend that {label}");
            assert_eq!(backend.asked().len(), asked + 1, "a backend that {label}");
            backend.behave(says("200 OK", YES));
            drop(accepted(&daemon, KEY));
        }
        backend.stop();
        // There is one line a second for each kind of trouble.
        sleep(Duration::from_millis(1100));
        assert_eq!(refused(&daemon, KEY), UNCHECKED, "a backend that is gone");
        for status in ["401 No", "403 No", "404 No"] {
            let backend = Backend::start(says(status, ""));
            let daemon = Daemon::start(&asking(&backend.url("/ask")));
            assert_eq!(refused(&daemon, KEY), "not allowed to publish");
        }
        daemon
    });
    let daemon = daemon.await.expect("denied");
    let (after, _) = viewer.playlist(folder, "").await.next();
    assert!(after > before, "the other stream goes on: {before} {after}");
    let metrics = daemon.control("/metrics").await;
    assert!(
        metrics.contains("\nvitrine_starvations_total 0\n"),
        "{metrics}"
    );
    let exit = tokio::task::spawn_blocking(move || daemon.stop());
    let written = exit.await.expect("it leaves").written;
    for words in [
        "the backend answered 500",
        "the backend answered 307, expected 200 with a verdict",
        "no whole answer within 500 ms",
        "Connection refused",
    ] {
        assert!(written.contains(words), "the log does not say: {words}");
    }
    assert!(!written.contains(KEY) && !metrics.contains(KEY) && !written.contains(SECRET));
}

#[test]
fn the_question_is_signed_and_says_what_the_contract_says() {
    let backend = Backend::start(says("200 OK", YES));
    let daemon = Daemon::start(&asking(&backend.url("/ask")).tls());
    drop(accepted(&daemon, &format!("{KEY}?a=b")));
    let asked = backend.asked().remove(0);
    let secret = Secret::parse(SECRET).expect("a secret");
    let [id, at, signatures] =
        [sign::ID, sign::TIMESTAMP, sign::SIGNATURE].map(|name| asked.header(name));
    let body = asked.body.as_bytes();
    let now = std::time::UNIX_EPOCH
        .elapsed()
        .expect("past 1970")
        .as_secs();
    let verified = sign::verify(&[secret], id, at, signatures, body, now);
    assert_eq!(verified, Ok(()), "{asked:?}");
    assert_eq!(asked.header("content-type"), "application/json");
    let body: serde_json::Value = serde_json::from_str(&asked.body).expect("JSON");
    let data = &body["data"];
    assert_eq!(body["type"], "publish.requested");
    for (field, wanted) in [
        ("node", "it"),
        ("app", "live"),
        ("stream_key", KEY),
        ("query", "a=b"),
        ("protocol", "rtmp"),
        ("encoder", "FMLE/3.0 (compatible; vitrine-test)"),
    ] {
        assert_eq!(data[field], wanted, "{field}");
    }
    let begins = |field: &str, with: &str| {
        let text = data[field].as_str().unwrap_or_default();
        assert!(text.starts_with(with), "{field}: {text}");
    };
    begins("session_id", "ses_");
    begins("tc_url", "rtmp://127.0.0.1:");
    begins("remote_addr", "127.0.0.1:");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_must_name_the_backend() {
    let folder = TempDir::new().expect("a folder");
    let names = vec!["localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let root = folder.path().join("root.pem");
    std::fs::write(&root, made.cert.pem()).expect("written");
    let port = tls_backend(&made).await;
    let ask = |host: &str| {
        let config = asking(&format!("https://{host}:{port}/ask"));
        Daemon::start(&config.env("SSL_CERT_FILE", root.to_str().expect("a path")))
    };
    let (right, wrong) = (ask("localhost"), ask("127.0.0.1"));
    tokio::task::spawn_blocking(move || {
        drop(accepted(&right, KEY));
        assert_eq!(refused(&wrong, KEY), UNCHECKED);
        let written = wrong.stop().written;
        assert!(written.contains("invalid peer certificate"), "{written}");
    })
    .await
    .expect("as it should");
}

/// A backend over TLS that allows; gives its port.
async fn tls_backend(made: &rcgen::CertifiedKey<rcgen::KeyPair>) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_rustls::{TlsAcceptor, rustls};
    let chain = vec![made.cert.der().clone()];
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key.expect("a key"))
        .expect("fit");
    let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(mut socket) = acceptor.accept(socket).await else {
                continue;
            };
            let mut bytes = Vec::new();
            while backend::parse(&bytes).is_none() {
                if !matches!(socket.read_buf(&mut bytes).await, Ok(1..)) {
                    break;
                }
            }
            let mut said = Vec::new();
            answer(&mut said, "200 OK\r\nconnection: close", YES).expect("in memory");
            let _ = socket.write_all(&said).await;
            let _ = socket.shutdown().await;
        }
    });
    port
}

#[test]
fn encoders_show_why_they_are_denied() {
    let reason = r#"{"allow":false,"reason":"your shop is closed until Monday"}"#;
    let backend = Backend::start(move |_, socket| answer(socket, "200 OK", reason));
    let daemon = Daemon::start(&asking(&backend.url("/ask")));
    let url = daemon.publish_url(KEY);
    let (content, said) = Encoder::ffmpeg(&sources::SHORT.file(), &url).wait();
    let shown = "your shop is closed until Monday";
    assert!(!content && said.contains(shown), "ffmpeg: {said}");
    let folder = TempDir::new().expect("a folder");
    let copy = folder.path().join("copy.flv");
    let (_, said) = Encoder::gstreamer(1, &copy, &url).wait();
    assert!(said.contains(shown), "GStreamer: {said}");
}

#[test]
fn keys_that_are_known_outlive_their_backend_and_a_publish_that_runs_too() {
    let backend = Backend::start(|asked, socket| {
        let known = asked.body.contains(r#""known-key""#);
        let verdict = r#"{"allow":true,"stream_id":"shop42","revalidate_seconds":1}"#;
        answer(
            socket,
            "200 OK",
            if known { verdict } else { r#"{"allow":false}"# },
        )
    });
    let config = asking(&backend.url("/ask")).hooks("on_failure = \"allow_known\"");
    let daemon = Daemon::start(&config);
    let mut running = accepted(&daemon, "known-key");
    assert_eq!(refused(&daemon, "unknown-key"), "not allowed to publish");
    backend.stop();
    assert_eq!(refused(&daemon, "another-key"), UNCHECKED);
    // It was to be asked about meanwhile, and nobody was there.
    assert!(!running.closes_within(Duration::from_millis(1500)));
    drop(running);
    drop(accepted(&daemon, "known-key"));
}

#[test]
fn a_publish_ends_at_its_age_and_when_its_backend_says_so() {
    let aged = r#"{"allow":true,"stream_id":"aged","lifetime_seconds":1}"#;
    let backend = Backend::start(move |_, socket| answer(socket, "200 OK", aged));
    let daemon = Daemon::start(&asking(&backend.url("/ask")));
    let mut aged = accepted(&daemon, KEY);
    let last = aged.status().expect("told");
    assert_eq!(
        (&*last.level, &*last.description),
        ("error", "the time allowed for this broadcast is over (1 s)")
    );
    assert!(aged.closes_within(CLOSING));

    let watched = r#"{"allow":true,"stream_id":"watched","revalidate_seconds":1}"#;
    backend.behave(move |_, socket| answer(socket, "200 OK", watched));
    let mut watched = accepted(&daemon, KEY);
    let again = |asked: &[Asked]| {
        let kind = "publish.revalidated";
        asked.iter().filter(|it| it.body.contains(kind)).count()
    };
    let asked = backend.wait_for(|asked| again(asked) >= 1);
    let last: serde_json::Value =
        serde_json::from_str(&asked.last().expect("one").body).expect("JSON");
    assert_eq!(last["data"]["stream_id"], "watched");
    backend.behave(says("503 Later", ""));
    backend.wait_for(|asked| again(asked) >= 3);
    assert!(
        !watched.closes_within(Duration::from_millis(100)),
        "it runs on"
    );
    backend.behave(says(
        "200 OK",
        r#"{"allow":false,"reason":"the show is over"}"#,
    ));
    let last = watched.status().expect("told");
    assert_eq!(last.description, "the show is over");
    assert!(watched.closes_within(CLOSING));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_publish_may_do_is_what_was_said_last_by_backend_or_operator() {
    let backend = Backend::start(|asked, socket| {
        let terms = match asked.body.contains("publish.revalidated") {
            false => r#""lifetime_seconds":600,"revalidate_seconds":1"#,
            true => r#""lifetime_seconds":9000,"revalidate_seconds":7000"#,
        };
        let yes = format!(r#"{{"allow":true,"stream_id":"shop42",{terms}}}"#);
        answer(socket, "200 OK", &yes)
    });
    let daemon = Daemon::start(&asking(&backend.url("/ask")));
    let asked = async |count: usize| {
        tokio::task::block_in_place(|| backend.wait_for(|asked| asked.len() >= count));
    };
    let mut publisher = tokio::task::block_in_place(|| accepted(&daemon, KEY));
    asked(2).await;
    let told = async |wanted: &str| {
        for _ in 0..200 {
            if daemon.control("/v1/streams/shop42").await.contains(wanted) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never {wanted}");
    };
    told(r#""lifetime_seconds":9000,"revalidate_seconds":7000"#).await;
    // As the verdict had it at first: said again, it holds again.
    let change = async |body: &'static str| {
        let url = daemon.control_url("/v1/streams/shop42");
        let request = reqwest::Client::new().patch(url).bearer_auth(CONTROL_TOKEN);
        let answer = request.body(body).send().await.expect("answered");
        assert_eq!(answer.status(), 200, "{answer:?}");
    };
    change(r#"{"revalidate_seconds":1}"#).await;
    asked(3).await;
    told(r#""lifetime_seconds":9000,"revalidate_seconds":7000"#).await;
    change(r#"{"lifetime_seconds":1}"#).await;
    let last = tokio::task::block_in_place(|| publisher.status().expect("told"));
    assert!(last.description.contains("is over (1 s)"), "{last:?}");
}

#[test]
fn a_flood_of_wrong_keys_reaches_the_backend_as_a_trickle() {
    let backend = Backend::start(says("200 OK", r#"{"allow":false}"#));
    let daemon = Daemon::start(&asking(&backend.url("/ask")));
    for _ in 0..5 {
        refused(&daemon, KEY);
    }
    let calls = backend.asked().len();
    assert!(calls < 5, "the same key again and again: {calls} calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_of_srs_and_mediamtx_work_unchanged() {
    let srs = Backend::start(|asked, socket| {
        let known = asked.body.contains(r#""param":"?token=t0ken""#);
        answer(
            socket,
            "200 OK",
            if known { r#"{"code":0}"# } else { "403" },
        )
    });
    let config = Config::new()
        .hooks("dialect = \"srs\"")
        .hooks(&format!("secret = {SECRET:?}"))
        .hooks(&format!("admission_url = {:?}", srs.url("/publish")))
        .hooks(&format!("done_url = {:?}", srs.url("/unpublish")));
    let daemon = Daemon::start(&config);
    let (daemon, srs) = tokio::task::spawn_blocking(move || {
        assert_eq!(
            refused(&daemon, "cam1?token=other"),
            "not allowed to publish"
        );
        drop(accepted(&daemon, "cam1?token=t0ken"));
        let asked = srs.wait_for(|asked| asked.len() == 3);
        let calls = asked.iter().map(|asked| {
            let body: serde_json::Value = serde_json::from_str(&asked.body).expect("JSON");
            format!("{} {} {}", asked.path, body["action"], body["stream"])
        });
        let wanted = [
            r#"/publish "on_publish" "cam1""#,
            r#"/publish "on_publish" "cam1""#,
            r#"/unpublish "on_unpublish" "cam1""#,
        ];
        assert_eq!(calls.collect::<Vec<_>>(), wanted);
        (daemon, srs)
    })
    .await
    .expect("as SRS would");
    let streams = daemon.control("/v1/streams").await;
    assert!(streams.contains(r#""cam1""#), "{streams}");
    drop(srs);

    let mediamtx = Backend::start(|asked, socket| {
        let body: serde_json::Value = serde_json::from_str(&asked.body).expect("JSON");
        let right =
            body["user"] == "shop" && body["password"] == "pa55" && body["path"] == "live/cam2";
        answer(socket, if right { "204 Yes" } else { "401 No" }, "")
    });
    let config = Config::new()
        .hooks("dialect = \"mediamtx\"")
        .hooks("name_is_public = true")
        .hooks(&format!("admission_url = {:?}", mediamtx.url("/auth")));
    let daemon = Daemon::start(&config);
    let daemon = tokio::task::spawn_blocking(move || {
        refused(&daemon, "cam2?user=shop&pass=wrong");
        let _live = accepted(&daemon, "cam2?user=shop&pass=pa55");
        (daemon, _live)
    });
    let (daemon, _live) = daemon.await.expect("as MediaMTX would");
    let streams = daemon.control("/v1/streams").await;
    assert!(streams.contains(r#""cam2""#), "{streams}");
}

#[test]
fn in_other_servers_words_a_ban_is_of_the_stream_and_a_name_of_its_application() {
    let backend = Backend::start(says("200 OK", "0"));
    let config = Config::new()
        .hooks("dialect = \"srs\"")
        .hooks(&format!("secret = {SECRET:?}"))
        .hooks(&format!("admission_url = {:?}", backend.url("/publish")))
        .hooks(&format!("done_url = {:?}", backend.url("/unpublish")));
    let daemon = Daemon::start(&config);
    let mut first = accepted(&daemon, "cam1?token=shared");
    let elsewhere = Publisher::publish(daemon.address("rtmp"), "other", "cam1?token=shared");
    let (_, status) = elsewhere.expect("answered");
    assert_eq!(
        (&*status.code, &*status.description),
        (
            "NetStream.Publish.BadName",
            "a stream of this name is live from another application"
        )
    );
    let cut = daemon.control_url("/v1/streams/cam1/session?ban_seconds=600");
    let request = reqwest::Client::new()
        .delete(cut)
        .bearer_auth(CONTROL_TOKEN);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let done = runtime.block_on(request.send()).expect("answered");
    assert_eq!(done.status(), 200);
    assert!(first.closes_within(CLOSING));
    for name in ["cam1?token=shared", "cam1?key=stray&token=shared"] {
        let said = refused(&daemon, name);
        assert!(said.contains("refused until"), "{name}: {said}");
    }
    // Who else has the same secret is not meant.
    let _other = accepted(&daemon, "cam2?token=shared");
    // And what no key has is not even asked about.
    let before = backend.asked().len();
    for name in [
        "cam3%00?token=shared",
        "cam3?token=shared&x=%0a",
        "cam\u{1}3",
    ] {
        assert!(refused(&daemon, name).contains("control character"));
    }
    let asked = backend.asked();
    let began = |asked: &&Asked| asked.path == "/publish";
    assert_eq!(asked[before..].iter().filter(began).count(), 0);
}

/// Debian's nginx with its RTMP module, in a folder of its own.
struct Nginx {
    child: Child,
    rtmp: std::net::SocketAddr,
    _folder: TempDir,
}

impl Nginx {
    fn start(backend: &Backend) -> Self {
        let folder = TempDir::with_prefix("vitrine-nginx-").expect("a folder");
        let rtmp = free_address();
        let configuration = format!(
            "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;\n\
             daemon off; master_process off; pid pid; error_log log info;\n\
             events {{}}\n\
             rtmp {{ access_log off; server {{ listen {rtmp}; application live {{ live on;\n\
             on_publish {}; on_publish_done {}; on_update {}; notify_update_timeout 1s;\n\
             }} }} }}\n",
            backend.url("/publish"),
            backend.url("/done"),
            backend.url("/update"),
        );
        let path = folder.path();
        std::fs::write(path.join("nginx.conf"), configuration).expect("written");
        let child = Command::new("/usr/sbin/nginx")
            .args([
                "-p".as_ref(),
                path.as_os_str(),
                "-c".as_ref(),
                Path::new("nginx.conf").as_os_str(),
            ])
            .args(["-e", "log"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx starts");
        let nginx = Self {
            child,
            rtmp,
            _folder: folder,
        };
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(rtmp).is_err() {
            assert!(Instant::now() < end, "nginx does not listen");
            sleep(Duration::from_millis(20));
        }
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Names and values of a form, in order, without what cannot be equal: the connection's number, how far it has come, and
/// the port of the server. `s` is the path it was posted to.
fn form(asked: &Asked, port: u16) -> String {
    let pairs = asked
        .body
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name @ ("clientid" | "time" | "timestamp"), _)) => format!("{name}=?"),
            _ => pair.replace(&format!(":{port}/"), ":port/"),
        });
    let pairs: Vec<_> = pairs.collect();
    let kind = asked.header("content-type");
    format!("{} {kind} {}", asked.path, pairs.join("&"))
}

/// Publishes for some seconds as ffmpeg does; gives the calls of a backend, those on the way once.
fn calls(backend: &Backend, rtmp: std::net::SocketAddr, name: &str) -> Vec<String> {
    let before = backend.asked().len();
    let url = format!("rtmp://{rtmp}/live/{name}");
    let (content, said) = Encoder::ffmpeg(&sources::SHORT.file(), &url).wait();
    assert!(content, "{said}");
    let ended = |asked: &[Asked]| asked[before..].iter().any(|asked| asked.path == "/done");
    let asked = backend.wait_for(ended);
    let mut calls: Vec<_> = asked[before..]
        .iter()
        .map(|it| form(it, rtmp.port()))
        .collect();
    // Of updates there are several, and the last may still be on its way when the end is told.
    let mut seen = std::collections::BTreeSet::new();
    calls.retain(|call| seen.insert(call.clone()));
    calls
}

#[test]
fn a_backend_of_nginx_rtmp_sees_the_same_calls_as_from_nginx() {
    let backend = Backend::start(says("200 OK", ""));
    let nginx = Nginx::start(&backend);
    let config = Config::new()
        .hooks("dialect = \"nginx-rtmp\"")
        .hooks(&format!("secret = {SECRET:?}"))
        .hooks(&format!("admission_url = {:?}", backend.url("/publish")))
        .hooks(&format!("done_url = {:?}", backend.url("/done")))
        .hooks(&format!("update_url = {:?}", backend.url("/update")))
        .hooks("update_every = \"1s\"");
    let daemon = Daemon::start(&config);
    for name in ["cam1?psk=a%26b&x=y", "k3y+%20&x"] {
        let theirs = calls(&backend, nginx.rtmp, name);
        let ours = calls(&backend, daemon.address("rtmp"), name);
        assert_eq!(ours, theirs, "{name}");
        assert_eq!(ours.len(), 3, "publish, update, done: {ours:#?}");
    }
    // Its strictness: what is no 2xx or 3xx ends the publish; a new name is taken, another server is not.
    backend.behave(|asked, socket| match &*asked.path {
        "/publish" => answer(socket, "302 Found\r\nlocation: shop42", ""),
        _ => answer(socket, "404 Not Found", ""),
    });
    let mut live = accepted(&daemon, "k3y");
    let last = live.status().expect("told");
    assert_eq!(last.description, "this broadcast is not allowed any longer");
    backend.behave(says("302 Found\r\nlocation: rtmp://elsewhere/live/x", ""));
    assert_eq!(refused(&daemon, "k3y"), UNCHECKED);
    assert!(
        daemon
            .written()
            .contains("relaying it to another server is not supported")
    );
}
