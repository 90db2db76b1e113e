//! The outbox against endpoints of every temper: what is recorded arrives, signed, in order, at least once.
//!
//! The library is driven by itself, with a short schedule, where a rule is about endpoints; by a process that is killed
//! (`killed`) where it is about crashes; by the real daemon where it is about settings. Signatures are judged by other
//! people's reference library (`tests/oracle/webhook.mjs`).

mod killed;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use vitrine_core::{media::WallTime, wire::sign::Secret};
use vitrine_runtime::{
    clock::wall,
    deliver::{
        Delivery, Endpoint, Error, Event, Filter, Life, Merge, OpenError, Outbox, Schedule,
        Settings, State, Types, Volatile,
    },
};

use crate::{
    backend::SECRET,
    daemon::{Config, Daemon},
    judge,
    receiver::{Call, Receiver, Reply},
};

const OTHER_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// An endpoint with one secret that wants these types.
pub(crate) fn endpoint(url: &str, types: &[&str]) -> Endpoint {
    Endpoint {
        url: url.parse().expect("a URL"),
        secrets: vec![Secret::parse(SECRET).expect("a secret")],
        types: Types::new(types.iter().map(|it| (*it).to_owned()).collect()),
    }
}

/// The `n`-th event of a stream, which begins with the first and goes on.
pub(crate) fn event(stream: &str, n: u64) -> Event {
    let (kind, life) = match n {
        1 => ("stream.started", Life::Begins),
        _ => ("stream.live", Life::Goes),
    };
    let mut data = Map::new();
    data.insert("stream".into(), stream.into());
    data.insert("n".into(), n.into());
    Event {
        subject: stream.to_owned(),
        kind,
        at: wall(),
        data,
        life,
    }
}

/// Retries that come soon, and patience that ends soon.
fn settings(endpoints: Vec<Endpoint>, retries_ms: &[u64]) -> Settings {
    let retries = retries_ms.iter().copied().map(Duration::from_millis);
    Settings {
        endpoints,
        schedule: Schedule::new(retries.collect()),
        patience: Duration::from_millis(1500),
    }
}

/// An outbox at work in a folder of its own.
struct Rig {
    outbox: Outbox,
    folder: TempDir,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Rig {
    fn start(settings: Settings) -> Self {
        Self::start_in(TempDir::new().expect("a folder"), settings)
    }

    fn start_in(folder: TempDir, settings: Settings) -> Self {
        let outbox = Outbox::open(&database(folder.path()), settings).expect("it opens");
        let shutdown = CancellationToken::new();
        Self {
            task: tokio::spawn(outbox.clone().run(shutdown.clone())),
            outbox,
            folder,
            shutdown,
        }
    }

    fn record(&self, stream: &str, numbers: impl IntoIterator<Item = u64>) {
        for n in numbers {
            self.outbox.record(event(stream, n));
        }
    }

    async fn deliveries(&self, state: Option<State>) -> Vec<Delivery> {
        let filter = Filter {
            state,
            ..Filter::default()
        };
        let page = self.outbox.deliveries(&filter, None, 1000).await;
        page.expect("read").deliveries
    }

    /// Waits until as many deliveries are in this state.
    async fn wait(&self, state: State, count: usize) -> Vec<Delivery> {
        self.wait_for(state, |found| found.len() == count).await
    }

    /// Waits until the deliveries in this state are as they should be: an endpoint knows of an attempt before it is
    /// written down.
    async fn wait_for(&self, state: State, fit: impl Fn(&[Delivery]) -> bool) -> Vec<Delivery> {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let found = self.deliveries(Some(state)).await;
            if fit(&found) {
                return found;
            }
            assert!(Instant::now() < end, "{state:?}: {found:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it in good order and returns its folder.
    async fn stop(self) -> TempDir {
        self.shutdown.cancel();
        self.task.await.expect("it ends");
        self.outbox.close().await;
        self.folder
    }
}

fn database(folder: &Path) -> PathBuf {
    folder.join("outbox.db")
}

/// What the reference library says of calls signed with a secret: `None` of genuine ones.
fn verdicts<'a>(calls: impl IntoIterator<Item = &'a Call>, secret: &str) -> Vec<Option<String>> {
    let calls: Vec<_> = { calls.into_iter() }
        .map(|call| json!({ "headers": call.headers, "body": String::from_utf8_lossy(&call.body) }))
        .collect();
    let verdicts = judge::ask("webhook.mjs", &json!({ "secret": secret, "verify": calls }));
    serde_json::from_value(verdicts["verified"].clone()).expect("one for each")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_posted_as_the_contract_says_and_other_peoples_library_takes_it() {
    let receiver = Receiver::willing().await;
    let rig = Rig::start(settings(
        vec![endpoint(&receiver.url("/hooks?of=shop"), &["stream.*"])],
        &[],
    ));
    rig.record("shop", 1..=2);
    receiver.wait("two events", |calls| calls.len() == 2).await;
    let calls = receiver.calls().clone();
    assert_eq!(calls[0].line, "POST /hooks?of=shop HTTP/1.1");
    assert_eq!(calls[0].headers["content-type"], "application/json");
    assert!(calls[0].headers["user-agent"].starts_with("Vitrine/"));
    assert!(calls[0].id().starts_with("evt_"));
    let body = calls[0].json();
    assert_eq!(body["type"], "stream.started");
    assert_eq!(
        body["data"],
        json!({"stream": "shop", "n": 1, "hook_seq": 1})
    );
    assert_eq!(body.as_object().expect("an object").len(), 3);
    let at = body["timestamp"].as_str().expect("text");
    assert!(at.ends_with('Z') && at.len() == 24, "{at}");
    assert_eq!(calls[1].hook_seq(), 2);

    assert_eq!(verdicts(&calls, SECRET), [None, None]);
    assert!(verdicts(&calls, OTHER_SECRET).iter().all(Option::is_some));
    let mut forged = calls[0].clone();
    forged.body[20] ^= 1;
    assert!(verdicts([&forged], SECRET)[0].is_some());
    assert_eq!(
        rig.wait(State::Delivered, 2).await[0].last_status,
        Some(204)
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_secret_rotates_receivers_of_either_are_satisfied() {
    let receiver = Receiver::willing().await;
    let mut rotating = endpoint(&receiver.url("/"), &["*"]);
    let rig = Rig::start(settings(vec![rotating.clone()], &[]));
    rotating.secrets = [OTHER_SECRET, SECRET]
        .map(|secret| Secret::parse(secret).expect("a secret"))
        .into();
    let stranger = endpoint("http://127.0.0.1:9/", &["*"]);
    let unknown = rig.outbox.reconfigure(vec![rotating, stranger.clone()]);
    assert_eq!(unknown, [stranger]);
    rig.record("shop", 1..=1);
    receiver.wait("an event", |calls| calls.len() == 1).await;
    let calls = receiver.calls().clone();
    assert_eq!(verdicts(&calls, SECRET), [None]);
    assert_eq!(verdicts(&calls, OTHER_SECRET), [None]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_first_attempt_holds_nothing_back() {
    let receiver = Receiver::start(|call, _| match call.hook_seq() {
        2 => Reply::status(500),
        _ => Reply::status(200),
    })
    .await;
    let rig = Rig::start(settings(
        vec![endpoint(&receiver.url("/"), &["*"])],
        &[300, 3_600_000],
    ));
    rig.record("shop", 1..=5);
    receiver
        .wait("five and a retry", |calls| calls.len() == 6)
        .await;
    let seen: Vec<_> = receiver.calls().iter().map(Call::hook_seq).collect();
    assert_eq!(seen, [1, 2, 3, 4, 5, 2]);
    let calls = receiver.calls().clone();
    assert_eq!(calls[1].id(), calls[5].id());
    assert_eq!(calls[1].body, calls[5].body);
    let tried_twice = |found: &[Delivery]| matches!(found, [waiting] if waiting.attempts == 2);
    let waiting = rig.wait_for(State::Pending, tried_twice).await.remove(0);
    assert_eq!(waiting.last_status, Some(500));
    let error = waiting.last_error.expect("told");
    assert_eq!(error, "HTTP 500 Internal Server Error");
    let ahead_ms = waiting.next_attempt.expect("due").0 - wall().0;
    assert!(ahead_ms > 3_000_000, "{ahead_ms}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_asks_for_time_is_given_it() {
    let receiver = Receiver::start(|call, _| {
        let later = "Retry-After: 3600\r\n".to_owned();
        match call.hook_seq() {
            1 => Reply::Status(429, later),
            2 => Reply::Status(503, later),
            _ => Reply::Status(500, later),
        }
    })
    .await;
    let rig = Rig::start(settings(
        vec![endpoint(&receiver.url("/"), &["*"])],
        &[60_000; 3],
    ));
    rig.record("shop", 1..=3);
    receiver.wait("three", |calls| calls.len() == 3).await;
    let waiting = rig
        .wait_for(State::Pending, |found| {
            found.len() == 3 && found.iter().all(|delivery| delivery.attempts == 1)
        })
        .await;
    let hours: Vec<_> = { waiting.iter().rev() }
        .map(|it| it.next_attempt.expect("due").0 - wall().0 > 3_000_000)
        .collect();
    assert_eq!(hours, [true, true, false], "only 429 and 503 may ask");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let elsewhere = Receiver::willing().await;
    let location = format!("Location: {}\r\n", elsewhere.url("/"));
    let receiver = Receiver::start(move |_, _| Reply::Status(307, location.clone())).await;
    let rig = Rig::start(settings(vec![endpoint(&receiver.url("/"), &["*"])], &[]));
    rig.record("shop", 1..=1);
    let dead = rig.wait(State::Dead, 1).await;
    let error = dead[0].last_error.as_deref();
    assert_eq!(
        error,
        Some("HTTP 307 Temporary Redirect: redirects are not followed")
    );
    assert!(elsewhere.calls().is_empty());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_410_is_told_no_more_until_somebody_asks_for_it() {
    static STATUS: AtomicU16 = AtomicU16::new(410);
    let receiver = Receiver::start(|_, _| Reply::status(STATUS.load(Ordering::SeqCst))).await;
    let rig = Rig::start(settings(
        vec![endpoint(&receiver.url("/"), &["*"])],
        &[10; 9],
    ));
    rig.record("shop", 1..=1);
    let dead = rig.wait(State::Dead, 1).await.remove(0);
    assert_eq!(dead.last_status, Some(410));
    rig.record("shop", 2..=3);
    assert_eq!(rig.wait(State::Parked, 2).await[0].next_attempt, None);
    assert_eq!(receiver.calls().len(), 1);
    STATUS.store(204, Ordering::SeqCst);
    // Delivered by now, perhaps.
    let retried = rig.outbox.retry(&dead.id).await.expect("known");
    assert_eq!(retried.id, dead.id);
    rig.wait(State::Delivered, 3).await;
    let seen: Vec<_> = receiver.calls().iter().map(Call::hook_seq).collect();
    assert_eq!(seen, [1, 1, 2, 3]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_kept_and_can_be_retried_and_all_can_be_replayed() {
    static WELL: AtomicU16 = AtomicU16::new(0);
    let receiver = Receiver::start(|_, _| match WELL.load(Ordering::SeqCst) {
        0 => Reply::Close,
        _ => Reply::status(200),
    })
    .await;
    let rig = Rig::start(settings(
        vec![endpoint(&receiver.url("/"), &["*"])],
        &[5, 5],
    ));
    rig.record("shop", 1..=3);
    let dead = rig.wait(State::Dead, 3).await;
    assert_eq!(receiver.calls().len(), 9, "an attempt and two retries each");
    let newest = &dead[0];
    assert_eq!((newest.hook_seq, newest.attempts), (3, 3));
    let error = newest.last_error.as_deref().expect("told");
    assert!(
        error.starts_with("the connection failed before an answer"),
        "{error}"
    );
    assert!(!error.contains(&receiver.url("")), "{error}");
    assert!(newest.settled_at.is_some() && newest.next_attempt.is_none());

    WELL.store(1, Ordering::SeqCst);
    rig.outbox.retry(&newest.id).await.expect("known");
    let delivered = rig.wait(State::Delivered, 1).await;
    assert_eq!(delivered[0].id, newest.id);
    let unknown = ["dlv_01ARZ3NDEKTSV4RRFFQ69G5FAV_1", "dlv_x", ""];
    for id in unknown {
        let refused = rig.outbox.retry(id).await;
        assert!(matches!(refused, Err(Error::Unknown(_))), "{id}");
    }

    receiver.calls().clear();
    let since = dead[1].at;
    let name = receiver.url("/");
    assert_eq!(
        rig.outbox
            .replay(WallTime(since.0 + 3_600_000), None)
            .await
            .expect("read"),
        0
    );
    assert_eq!(
        rig.outbox
            .replay(WallTime(0), Some(&name))
            .await
            .expect("read"),
        3
    );
    rig.wait(State::Delivered, 3).await;
    receiver.wait("all again", |calls| calls.len() == 3).await;
    let seen: Vec<_> = receiver.calls().iter().map(Call::hook_seq).collect();
    assert_eq!(seen, [1, 2, 3]);
    let nobody = rig.outbox.replay(WallTime(0), Some("nobody")).await;
    assert!(matches!(nobody, Err(Error::NoEndpoint(_))));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_endpoints_delay_nobody() {
    let hanging = Receiver::start(|_, _| Reply::Hang).await;
    let good = Receiver::willing().await;
    let refusing = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("http://{}/", listener.local_addr().expect("bound"))
    };
    let urls = [hanging.url("/"), refusing, good.url("/")];
    let endpoints = urls.map(|url| endpoint(&url, &["*"]));
    let rig = Rig::start(Settings {
        patience: Duration::from_secs(3600),
        ..settings(endpoints.into(), &[3_600_000])
    });
    for stream in 0..50 {
        rig.record(&format!("s{stream}"), 1..=4);
    }
    good.wait("all", |calls| calls.len() == 200).await;
    assert!(hanging.calls().len() <= 8, "its attempts are bounded");
    let shutdown = Instant::now();
    rig.stop().await;
    // Not a measurement: with the hour of patience it would not end.
    assert!(shutdown.elapsed() < Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_an_endpoint_that_is_gone_from_the_settings_is_kept_and_told() {
    let receiver = Receiver::willing().await;
    let (url, gone) = (receiver.url("/"), "http://127.0.0.1:9/gone?key=s3cret");
    let both = vec![endpoint(&url, &["*"]), endpoint(gone, &["*"])];
    let rig = Rig::start(settings(both.clone(), &[3_600_000]));
    rig.record("shop", 1..=2);
    rig.wait(State::Delivered, 2).await;
    rig.wait(State::Pending, 2).await;
    let folder = rig.stop().await;

    let rig = Rig::start_in(folder, settings(vec![endpoint(&url, &["*"])], &[]));
    let parked = rig.wait(State::Parked, 2).await;
    assert_eq!(parked[0].endpoint, "http://127.0.0.1:9/gone");
    assert_eq!(parked[0].next_attempt, None);
    let of = Filter {
        endpoint: Some("http://127.0.0.1:9/gone".into()),
        ..Filter::default()
    };
    let page = rig.outbox.deliveries(&of, None, 10).await.expect("read");
    assert_eq!(page.deliveries.len(), 2);
    rig.record("shop", 3..=3);
    rig.wait(State::Delivered, 3).await;
    let folder = rig.stop().await;

    let rig = Rig::start_in(folder, settings(both, &[3_600_000]));
    rig.wait(State::Parked, 0).await;
    rig.wait(State::Pending, 2).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_told_what_it_wants_and_numbers_count_everything() {
    let receivers = [Receiver::willing().await, Receiver::willing().await];
    let endpoints = vec![
        endpoint(&receivers[0].url("/"), &["*"]),
        endpoint(&receivers[1].url("/"), &["stream.started"]),
    ];
    let rig = Rig::start(settings(endpoints, &[]));
    rig.record("a", 1..=3);
    rig.record("b", 1..=1);
    rig.outbox.tell(Volatile {
        kind: "thumbnail.updated",
        about: "a".into(),
        at: wall(),
        data: Map::new(),
        merge: Merge::Latest,
    });
    receivers[0].wait("all", |calls| calls.len() == 5).await;
    receivers[1].wait("two", |calls| calls.len() == 2).await;
    rig.wait(State::Delivered, 6).await;
    assert_eq!(receivers[1].calls().len(), 2);
    let calls = receivers[0].calls().clone();
    let thumbnail = calls
        .iter()
        .find(|call| call.json()["type"] == "thumbnail.updated");
    let thumbnail = thumbnail.expect("told");
    assert_eq!(thumbnail.json()["data"], json!({}), "outside the numbers");
    assert_eq!(verdicts([thumbnail], SECRET), [None]);

    let filter = Filter {
        subject: Some("a".into()),
        ..Filter::default()
    };
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = rig
            .outbox
            .deliveries(&filter, cursor.as_deref(), 3)
            .await
            .expect("read");
        seen.extend(page.deliveries.iter().map(|delivery| delivery.hook_seq));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, [3, 2, 1, 1], "the newest first, each once");
    let wrong = rig.outbox.deliveries(&filter, Some("page2"), 3).await;
    assert!(matches!(wrong, Err(Error::Cursor)));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_finds_the_lives_that_the_one_before_it_has_left() {
    let folder = TempDir::new().expect("a folder");
    let rig = Rig::start_in(folder, settings(Vec::new(), &[]));
    assert_eq!(rig.outbox.unfinished(), []);
    rig.record("cut", 1..=2);
    rig.record("ended", 1..=1);
    let over = |life| Event {
        life,
        ..event("ended", 9)
    };
    rig.outbox.record(over(Life::Ends));
    rig.outbox.record(over(Life::Goes));
    let folder = rig.stop().await;
    let rig = Rig::start_in(folder, settings(Vec::new(), &[]));
    let left = rig.outbox.unfinished();
    let data = json!({"stream": "cut", "n": 2, "hook_seq": 2});
    assert_eq!(left.len(), 1);
    assert_eq!(
        (left[0].0.as_str(), Value::Object(left[0].1.clone())),
        ("cut", data)
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_tells_nobody_has_an_outbox_that_does_nothing() {
    let outbox = Outbox::none();
    outbox.record(event("shop", 1));
    assert_eq!(outbox.unfinished(), []);
    let page = outbox.deliveries(&Filter::default(), None, 10).await;
    assert_eq!(page.expect("nothing to read").deliveries, []);
    assert_eq!(outbox.replay(WallTime(0), None).await.expect("nothing"), 0);
    assert!(outbox.retry("dlv_x_1").await.is_err());
    outbox.flush().await;
    outbox.close().await;
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    outbox.run(shutdown).await;
}

#[test]
fn a_file_that_is_no_outbox_is_told_with_what_to_do() {
    let folder = TempDir::new().expect("a folder");
    let path = database(folder.path());
    let open = || Outbox::open(&path, settings(Vec::new(), &[])).map(drop);
    std::fs::write(
        &path,
        "not a database, but long enough to be taken for one".repeat(9),
    )
    .expect("written");
    let error = open().expect_err("no database");
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("outbox.db: damaged (") && text.contains("move it"),
        "{text}"
    );

    let nowhere = Path::new("/nonexistent/outbox.db");
    let error = Outbox::open(nowhere, settings(Vec::new(), &[])).expect_err("no folder");
    assert!(matches!(error, OpenError::File { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_has_an_outbox_when_there_is_somebody_to_tell() {
    let none = Daemon::start(&Config::new()).stop();
    assert!(!none.data().join("outbox.db").exists());

    let receiver = Receiver::willing().await;
    let config = Config::new().hook_endpoint(&receiver.url("/hooks?key=s3cret"), SECRET);
    let exit = Daemon::start(&config).stop();
    assert_eq!(exit.code, Some(0), "{}", exit.written);
    assert!(exit.data().join("outbox.db").exists());
    assert!(!exit.written.contains("s3cret") && !exit.written.contains(SECRET));
}
