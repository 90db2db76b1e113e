//! The client against backends on loopback that answer, misbehave or are not there. Nothing asserts how long it took.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use vitrine_core::{
    limits::{HOOK_CALLS_MAX, HOOK_FAILURES_MAX, HOOK_WAITERS_MAX},
    wire::{
        hook::{Dialect, Publish},
        sign::{self, Secret},
    },
};
use vitrine_runtime::clock;

use super::*;
use crate::live::StreamId;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const YES: &str = r#"{"allow":true,"stream_id":"shop42"}"#;
const NO: &str = r#"{"allow":false,"reason":"no such key"}"#;

/// A backend that gives each request the answer that is set, raw bytes of HTTP/1.1, and closes.
struct Backend {
    address: SocketAddr,
    answer: Arc<Mutex<Vec<u8>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Backend {
    async fn start(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let backend = Self {
            address: listener.local_addr().expect("bound"),
            answer: Arc::new(Mutex::new(answer)),
            asked: Arc::default(),
        };
        let (answer, asked) = (Arc::clone(&backend.answer), Arc::clone(&backend.asked));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (answer, asked) = (Arc::clone(&answer), Arc::clone(&asked));
                tokio::spawn(async move { serve(socket, &answer, &asked).await });
            }
        });
        backend
    }

    fn says(&self, answer: Vec<u8>) {
        *self.answer.lock().expect("no panic") = answer;
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }

    fn settings(&self) -> Settings {
        settings(self.address)
    }
}

async fn serve(mut socket: TcpStream, answer: &Mutex<Vec<u8>>, asked: &Mutex<Vec<String>>) {
    let mut request = Vec::new();
    while !whole(&request) {
        if !matches!(socket.read_buf(&mut request).await, Ok(1..)) {
            return;
        }
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    asked.lock().expect("no panic").push(text);
    let answer = answer.lock().expect("no panic").clone();
    if answer.is_empty() {
        sleep(Duration::from_secs(60)).await;
    }
    // Whoever asked may have given up.
    let _ = socket.write_all(&answer).await;
}

/// Whether a request with `content-length` has come.
fn whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    let length = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length.is_some_and(|(_, length)| length.parse() == Ok(body.len()))
}

fn http(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
        .into_bytes()
}

fn settings(address: SocketAddr) -> Settings {
    let url = |path: &str| BackendUrl::parse(&format!("http://{address}{path}")).expect("a URL");
    Settings {
        dialect: Dialect::Vitrine,
        admission_url: url("/ask"),
        secrets: vec![Secret::parse(SECRET).expect("a secret")],
        deadline: Duration::from_millis(500),
        on_failure: OnFailure::Deny,
        name_is_public: false,
        done_url: Some(url("/done")),
        update: None,
    }
}

fn settings_of(address: SocketAddr, dialect: Dialect) -> Settings {
    Settings {
        dialect,
        ..settings(address)
    }
}

fn publish(key: &str) -> Publish {
    Publish {
        node: "n1".to_owned(),
        session: "ses_1".to_owned(),
        at: clock::wall(),
        app: "live".to_owned(),
        name: key.to_owned(),
        stream_key: key.to_owned(),
        query: String::new(),
        tc_url: "rtmp://host/live".to_owned(),
        protocol: "rtmp",
        peer: ([192, 0, 2, 1], 50312).into(),
        encoder: "test".to_owned(),
    }
}

/// The stream, or the reason.
fn told(answer: Answer) -> Result<String, String> {
    match answer {
        Answer::Allow(allowed) => Ok(allowed.stream.to_string()),
        Answer::Deny { reason } => Err(reason),
        Answer::Unknown { reason } => Err(reason.to_owned()),
    }
}

const UNCHECKED: &str = "the stream key cannot be checked at the moment, try again later";

#[tokio::test]
async fn questions_are_signed_with_every_secret_and_each_has_an_id_of_its_own() {
    let backend = Backend::start(http("200 OK", YES)).await;
    let hooks = Hooks::new(backend.settings()).expect("a client");
    assert_eq!(
        told(hooks.ask(&publish("a")).await),
        Ok("shop42".to_owned())
    );
    let other = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let secret = |text| Secret::parse(text).expect("a secret");
    hooks.replace_secrets(vec![secret(SECRET), secret(other)]);
    assert_eq!(
        told(hooks.ask(&publish("a")).await),
        Ok("shop42".to_owned())
    );
    let mut ids = std::collections::BTreeSet::new();
    for (asked, secret) in backend.asked().iter().zip([secret(SECRET), secret(other)]) {
        let (head, body) = asked.split_once("\r\n\r\n").expect("whole");
        let header = |wanted: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(name, _)| *name == wanted).expect(wanted).1
        };
        let (id, at) = (header(sign::ID), header(sign::TIMESTAMP));
        let now = at.parse().expect("seconds");
        let verified = sign::verify(
            &[secret],
            id,
            at,
            header(sign::SIGNATURE),
            body.as_bytes(),
            now,
        );
        assert_eq!(verified, Ok(()));
        assert!(id.starts_with("evt_") && ids.insert(id.to_owned()));
        assert!(head.starts_with("POST /ask HTTP/1.1\r\n"), "{head}");
    }
    assert_eq!(ids.len(), 2);
}

#[tokio::test]
async fn what_is_no_verdict_denies_in_words_that_tell_a_broadcaster_nothing_else() {
    let backend = Backend::start(Vec::new()).await;
    let hooks = Hooks::new(backend.settings()).expect("a client");
    let huge = format!("{{\"x\":\"{}\"}}", "x".repeat(HUGE));
    for (answer, label) in [
        (Vec::new(), "never"),
        (http("500 No", YES), "500"),
        (http("200 OK", "yes"), "no JSON"),
        (http("200 OK", "{}"), "no verdict"),
        (
            http("200 OK", r#"{"allow":true,"stream_id":"a/b"}"#),
            "no name",
        ),
        (http("302 Found\r\nlocation: /ask", YES), "redirect"),
        (http("200 OK", &huge), "huge"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_vec(),
            "closes early",
        ),
        (b"HTTP/1.1 200".to_vec(), "closes sooner"),
        (b"RTSP/1.0 200 OK\r\n\r\n".to_vec(), "no HTTP"),
    ] {
        let before = backend.asked().len();
        backend.says(answer);
        let answer = hooks.ask(&publish("a")).await;
        assert!(
            matches!(answer, Answer::Unknown { reason: UNCHECKED }),
            "{label}: {answer:?}"
        );
        assert_eq!(backend.asked().len(), before + 1, "{label}: asked once");
        // The breaker counts failures in a row only.
        backend.says(http("200 OK", YES));
        assert!(told(hooks.ask(&publish("a")).await).is_ok(), "{label}");
    }
    for status in ["401 No", "403 No", "404 No"] {
        backend.says(http(status, ""));
        let reason = told(hooks.ask(&publish(status)).await).expect_err(status);
        assert_eq!(reason, "not allowed to publish");
    }
}

const HUGE: usize = 1 << 20;

#[tokio::test]
async fn a_wrong_key_is_denied_again_without_a_call_but_only_to_who_presented_it() {
    let backend = Backend::start(http("200 OK", NO)).await;
    let hooks = Hooks::new(backend.settings()).expect("a client");
    let asked = publish("wrong");
    let denied = Err("no such key".to_owned());
    for _ in 0..3 {
        assert_eq!(told(hooks.ask(&asked).await), denied);
    }
    assert_eq!(backend.asked().len(), 1);
    let elsewhere = Publish {
        peer: ([192, 0, 2, 2], 1).into(),
        ..asked.clone()
    };
    assert_eq!(told(hooks.ask(&elsewhere).await), denied);
    assert_eq!(told(hooks.ask(&publish("other")).await), denied);
    assert_eq!(backend.asked().len(), 3);
}

#[tokio::test]
async fn a_known_key_is_let_in_while_the_backend_is_down_and_no_other() {
    let backend = Backend::start(http("200 OK", YES)).await;
    let settings = Settings {
        on_failure: OnFailure::AllowKnown(Duration::from_secs(60)),
        ..backend.settings()
    };
    let hooks = Hooks::new(settings).expect("a client");
    let yes = Ok("shop42".to_owned());
    assert_eq!(told(hooks.ask(&publish("known")).await), yes);
    assert_eq!(told(hooks.ask(&publish("revoked")).await), yes);
    backend.says(http("403 No", ""));
    assert!(told(hooks.ask(&publish("revoked")).await).is_err());
    backend.says(http("503 Later", ""));
    assert_eq!(told(hooks.ask(&publish("known")).await), yes);
    for unknown in ["revoked", "new"] {
        // From another address, which was not denied.
        let asked = Publish {
            peer: ([192, 0, 2, 2], 1).into(),
            ..publish(unknown)
        };
        assert_eq!(
            told(hooks.ask(&asked).await),
            Err(UNCHECKED.to_owned()),
            "{unknown}"
        );
    }
}

#[tokio::test]
async fn a_dead_backend_is_left_alone_and_probed() {
    let backend = Backend::start(http("503 Later", "")).await;
    let hooks = Hooks::new(backend.settings()).expect("a client");
    for n in 0..20 {
        let asked = Publish {
            peer: ([192, 0, 2, n], 1).into(),
            ..publish("a")
        };
        assert!(told(hooks.ask(&asked).await).is_err());
    }
    let calls = backend.asked().len();
    assert_eq!(calls, HOOK_FAILURES_MAX as usize);
    backend.says(http("200 OK", YES));
    let mut allowed = false;
    for _ in 0..100 {
        sleep(Duration::from_millis(100)).await;
        allowed = told(hooks.ask(&publish("a")).await).is_ok();
        if allowed {
            break;
        }
    }
    assert!(allowed, "it was never asked again");
    assert_eq!(backend.asked().len(), calls + 1, "one probe");
}

#[tokio::test]
async fn questions_beyond_the_bulkhead_are_answered_at_once() {
    let backend = Backend::start(Vec::new()).await;
    let settings = Settings {
        deadline: Duration::from_secs(10),
        ..backend.settings()
    };
    let hooks = Hooks::new(settings).expect("a client");
    let full = Arc::new(AtomicUsize::new(0));
    let asking: Vec<_> = (0..HOOK_CALLS_MAX + HOOK_WAITERS_MAX + 5)
        .map(|n| {
            let (hooks, full) = (hooks.clone(), Arc::clone(&full));
            tokio::spawn(async move {
                if let Answer::Unknown { reason } = hooks.ask(&publish(&n.to_string())).await
                    && reason.starts_with("too many")
                {
                    full.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    while full.load(Ordering::Relaxed) < 5 {
        sleep(Duration::from_millis(10)).await;
    }
    asking.iter().for_each(tokio::task::JoinHandle::abort);
    assert!(backend.asked().len() <= HOOK_CALLS_MAX);
}

#[tokio::test]
async fn names_of_other_servers_are_public_only_where_their_secret_is_elsewhere() {
    let backend = Backend::start(http("200 OK", "0")).await;
    let of = |name: &str, query: &str| Publish {
        query: query.to_owned(),
        ..publish(name)
    };
    let with = |name_is_public| {
        let dialect = Dialect::Srs;
        let settings = Settings {
            dialect,
            name_is_public,
            ..backend.settings()
        };
        Hooks::new(settings).expect("a client")
    };
    let hidden = with(false);
    for query in ["token=t", "user=u&pass=p", "a=b&key=k"] {
        let named = told(hidden.ask(&of("cam1", query)).await);
        assert_eq!(named, Ok("cam1".to_owned()), "{query}");
    }
    let name = told(hidden.ask(&of("s3cr3t", "")).await).expect("allowed");
    // printf %s live/s3cr3t | openssl dgst -sha256 -hmac <the secret's bytes> -binary | head -c 10 | base32
    assert_eq!(name, "hcqdk64wrjqq2ib3");
    assert_ne!(
        told(hidden.ask(&of("other", "a=b")).await),
        Ok("other".to_owned())
    );
    let public = with(true);
    assert_eq!(
        told(public.ask(&of("cam1", "")).await),
        Ok("cam1".to_owned())
    );
    let reason = told(public.ask(&of("cam/1", "")).await).expect_err("no stream id");
    assert!(
        reason.starts_with("the name of the stream cannot be used: "),
        "{reason}"
    );
}

#[tokio::test]
async fn nginx_rtmp_renames_without_a_second_call() {
    let backend = Backend::start(http("302 Found\r\nlocation: shop42", "")).await;
    let settings = Settings {
        dialect: Dialect::NginxRtmp,
        ..backend.settings()
    };
    let hooks = Hooks::new(settings).expect("a client");
    assert_eq!(
        told(hooks.ask(&publish("a")).await),
        Ok("shop42".to_owned())
    );
    backend.says(http("302 Found\r\nlocation: rtmp://elsewhere/live/a", ""));
    assert_eq!(
        told(hooks.ask(&publish("a")).await),
        Err(UNCHECKED.to_owned())
    );
    assert_eq!(backend.asked().len(), 2);
    assert!(
        backend
            .asked()
            .iter()
            .all(|asked| !asked.contains(sign::SIGNATURE))
    );
}

#[tokio::test]
async fn the_end_of_a_publish_is_told_once_and_again_after_a_failure() {
    let backend = Backend::start(http("200 OK", "0")).await;
    let settings = Settings {
        dialect: Dialect::Srs,
        ..backend.settings()
    };
    let hooks = Hooks::new(settings).expect("a client");
    let stream: StreamId = "a".parse().expect("a stream id");
    let allowance = Allowance::new(hooks.clone(), publish("a"), stream);
    assert_eq!(
        allowance.ask_again().await,
        Again::Unknown,
        "not in this dialect"
    );
    assert!(allowance.update(1).await);
    assert!(backend.asked().is_empty());
    backend.says(http("503 Later", ""));
    drop(allowance);
    while backend.asked().is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    backend.says(http("200 OK", "0"));
    hooks.flush().await;
    let asked = backend.asked();
    assert_eq!(asked.len(), 2);
    for asked in asked {
        assert!(
            asked.starts_with("POST /done ") && asked.contains("on_unpublish"),
            "{asked}"
        );
    }
}

#[tokio::test]
async fn a_yes_that_nobody_reads_is_told_as_ended_and_a_no_is_not() {
    let backend = Backend::start(Vec::new()).await;
    let settings = settings_of(backend.address, Dialect::Srs);
    let hooks = Hooks::new(settings.clone()).expect("a client");
    let wait = async |calls: usize| {
        while backend.asked().len() < calls {
            sleep(Duration::from_millis(10)).await;
        }
    };
    // The publisher hangs up while its backend is asked.
    let asking = tokio::spawn({
        let hooks = hooks.clone();
        async move { hooks.ask(&publish("hangs up")).await }
    });
    wait(1).await;
    asking.abort();
    // It takes too long to answer.
    assert!(told(hooks.ask(&publish("too late")).await).is_err());
    // It says yes to what cannot be a stream.
    backend.says(http("200 OK", "0"));
    let public = Settings {
        name_is_public: true,
        ..settings.clone()
    };
    let public = Hooks::new(public).expect("a client");
    assert!(told(public.ask(&publish("no/name")).await).is_err());
    for answer in [http("200 OK", "403"), http("500 Broken", "")] {
        backend.says(answer);
        assert!(told(hooks.ask(&publish("denied")).await).is_err());
    }
    // Its end is told when it ends.
    backend.says(http("200 OK", "0"));
    assert!(told(hooks.ask(&publish("read")).await).is_ok());
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let nowhere = settings_of(nobody.local_addr().expect("bound"), Dialect::Srs);
    drop(nobody);
    let nowhere = Settings {
        done_url: settings.done_url,
        ..nowhere
    };
    let nowhere = Hooks::new(nowhere).expect("a client");
    assert!(told(nowhere.ask(&publish("unreachable")).await).is_err());
    for hooks in [hooks, public, nowhere] {
        hooks.flush().await;
    }
    let asked = backend.asked();
    let mut ended: Vec<_> = { asked.iter() }
        .filter(|asked| asked.starts_with("POST /done "))
        .map(|asked| asked.split(r#""stream":""#).nth(1).expect("a name"))
        .map(|rest| rest.split('"').next().expect("closed"))
        .collect();
    ended.sort_unstable();
    assert_eq!(ended, ["hangs up", "no/name", "too late"]);
}

#[tokio::test]
async fn an_update_that_the_backend_fails_at_ends_nothing_and_a_no_is_remembered() {
    let backend = Backend::start(http("200 OK", "")).await;
    let settings = settings_of(backend.address, Dialect::NginxRtmp);
    let settings = Settings {
        on_failure: OnFailure::AllowKnown(Duration::from_secs(60)),
        update: Some((settings.admission_url.clone(), Duration::from_secs(1))),
        ..settings
    };
    let hooks = Hooks::new(settings).expect("a client");
    let stream = told(hooks.ask(&publish("a")).await).expect("allowed");
    let stream = stream.parse().expect("a stream id");
    let allowance = Allowance::new(hooks.clone(), publish("a"), stream);
    for answer in [http("503 Later", ""), http("500 Broken", ""), Vec::new()] {
        backend.says(answer);
        assert!(allowance.update(1).await);
        assert!(
            told(hooks.ask(&publish("a")).await).is_ok(),
            "still known, its backend failing"
        );
    }
    backend.says(http("404 No", ""));
    assert!(!allowance.update(1).await);
    backend.says(http("503 Later", ""));
    assert!(told(hooks.ask(&publish("a")).await).is_err(), "forgotten");
}

#[tokio::test]
async fn a_backend_that_changed_its_mind_is_believed_and_a_silent_one_changes_nothing() {
    let backend = Backend::start(http("200 OK", YES)).await;
    let hooks = Hooks::new(backend.settings()).expect("a client");
    let allowance = Allowance::new(hooks, publish("a"), "shop42".parse().expect("a stream id"));
    let yes = r#"{"allow":true,"stream_id":"other","lifetime_seconds":9,"revalidate_seconds":3}"#;
    backend.says(http("200 OK", yes));
    let wanted = Again::Allow {
        lifetime: Some(Duration::from_secs(9)),
        revalidate: Some(Duration::from_secs(3)),
    };
    assert_eq!(allowance.ask_again().await, wanted);
    backend.says(http("500 No", ""));
    assert_eq!(allowance.ask_again().await, Again::Unknown);
    backend.says(http("200 OK", NO));
    let reason = "no such key".to_owned();
    assert_eq!(allowance.ask_again().await, Again::Deny { reason });
    for asked in backend.asked() {
        assert!(
            asked.contains("publish.revalidated") && asked.contains("shop42"),
            "{asked}"
        );
    }
}
