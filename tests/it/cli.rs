//! The commands for people, against a real daemon with real publishers.

use std::{
    fs,
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use crate::{
    backend::SECRET,
    daemon::{CONTROL_TOKEN, Config, Daemon, READ_TOKEN},
    receiver::{Receiver, Reply},
    sources::{self, Encoder},
    viewer::Viewer,
};

/// Runs a command with nothing in its environment but what is given.
fn vitrine(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitrine"));
    let command = command.args(arguments).env_clear().stdin(Stdio::null());
    command.envs(environment.iter().copied());
    command.output().expect("it runs")
}

/// What a command that must succeed said, with full access to `daemon`.
fn told(daemon: &Daemon, arguments: &[&str]) -> String {
    let control = daemon.control_url("");
    let environment = [
        ("VITRINE_CONTROL", control.as_str()),
        ("VITRINE_TOKEN", CONTROL_TOKEN),
    ];
    let output = vitrine(arguments, &environment);
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{arguments:?}: {said}{wrong}"
    );
    assert!(
        !said.contains('\u{1b}'),
        "no colours without a terminal: {said}"
    );
    said
}

/// Exit status and complaint of one that must fail.
fn failed(arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
    let output = vitrine(arguments, environment);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    (output.status.code().expect("it ended by itself"), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_looks_kicks_and_lifts_the_ban() {
    let daemon = Daemon::start(&Config::new().key("k3y", "shop"));
    assert_eq!(told(&daemon, &["streams"]), "no stream is live\n");
    let encoder = Encoder::ffmpeg(&sources::LONG.file(), &daemon.publish_url("k3y"));
    Viewer::new(&daemon.url("")).multivariant("shop").await;

    let list = told(&daemon, &["streams"]);
    let [heading, row] = &list.lines().collect::<Vec<_>>()[..] else {
        panic!("one stream: {list}");
    };
    assert!(heading.starts_with("STREAM  STATE"), "{list}");
    for word in [
        "shop",
        "live",
        "b/s",
        "ms",
        "high audio",
        "127.0.0.1:",
        "Lavf",
    ] {
        assert!(row.contains(word), "{word} not in {list}");
    }
    let one = told(&daemon, &["streams", "shop"]);
    for word in [
        "session",
        "ses_",
        "avc1.",
        "mp4a.40.2",
        "RENDITION",
        "passthrough",
    ] {
        assert!(one.contains(word), "{word} not in {one}");
    }
    let json = told(&daemon, &["streams", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["streams"][0]["id"], "shop");

    let kicked = told(&daemon, &["kick", "shop", "--ban", "10m"]);
    assert!(
        kicked.contains("ses_") && kicked.contains("10 min"),
        "{kicked}"
    );
    let (content, said) = tokio::task::spawn_blocking(|| encoder.wait())
        .await
        .expect("ended");
    assert!(!content, "ffmpeg must not believe that all is well");
    assert!(
        said.contains("disconnected by an operator"),
        "ffmpeg shows why: {said}"
    );
    let again = Encoder::ffmpeg(&sources::SHORT.file(), &daemon.publish_url("k3y"));
    let (_, said) = tokio::task::spawn_blocking(|| again.wait())
        .await
        .expect("ended");
    assert!(
        said.contains("disconnected by an operator"),
        "ffmpeg shows why: {said}"
    );

    let bans = told(&daemon, &["bans"]);
    let id = bans
        .split_whitespace()
        .find(|word| word.starts_with("ban_"));
    let id = id.unwrap_or_else(|| panic!("a ban: {bans}"));
    assert!(told(&daemon, &["bans", "list"]).contains(id));
    assert!(told(&daemon, &["bans", "lift", id]).contains("may publish again"));
    assert_eq!(told(&daemon, &["bans"]), "no key is banned\n");
    assert!(told(&daemon, &["hooks", "list"]).contains("no delivery"));

    let control = daemon.control_url("");
    let environment = [
        ("VITRINE_CONTROL", control.as_str()),
        ("VITRINE_TOKEN", CONTROL_TOKEN),
    ];
    let (status, said) = failed(&["kick", "shop"], &environment);
    assert_eq!(
        (status, said.as_str()),
        (1, "vitrine: nobody publishes \"shop\" now\n")
    );
    let (status, said) = failed(&["streams", "nobody"], &environment);
    assert!(
        status == 1 && said.contains("no stream \"nobody\""),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_ended_and_taken_down_by_command() {
    let daemon = Daemon::start(&Config::new().key("k3y", "shop"));
    let _encoder = Encoder::ffmpeg(&sources::LONG.file(), &daemon.publish_url("k3y"));
    Viewer::new(&daemon.url("")).multivariant("shop").await;
    assert!(told(&daemon, &["end", "shop"]).starts_with("shop: ended"));
    let down = told(&daemon, &["takedown", "shop", "--reason", "stolen goods"]);
    assert!(
        down.contains("taken down") && down.contains("purge /live/shop"),
        "{down}"
    );
    assert!(told(&daemon, &["bans"]).contains("when lifted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_was_down_is_told_by_command() {
    let status = Arc::new(AtomicU16::new(503));
    let answer = Arc::clone(&status);
    let backend = Receiver::start(move |_, _| Reply::status(answer.load(Ordering::SeqCst))).await;
    let url = backend.url("/hooks?key=s3cret");
    let config = Config::new().key("k3y", "shop").hook_endpoint(&url, SECRET);
    let daemon = Daemon::start(&config);
    let _encoder = Encoder::ffmpeg(&sources::SHORT.file(), &daemon.publish_url("k3y"));
    Viewer::new(&daemon.url("")).multivariant("shop").await;
    backend
        .wait("a first attempt", |calls| !calls.is_empty())
        .await;
    let id_of = |list: &str| {
        let row = list.lines().find(|line| line.contains("stream.started"));
        let row = row.unwrap_or_else(|| panic!("it began: {list}"));
        row.split_whitespace().next().expect("an id").to_owned()
    };
    let mut list = told(&daemon, &["hooks", "list", "--stream", "shop"]);
    while !list.contains("503") {
        list = told(&daemon, &["hooks", "list", "--stream", "shop"]);
    }
    for word in [
        "DELIVERY",
        "pending",
        "stream.started",
        &backend.url("/hooks"),
        "in ",
    ] {
        assert!(list.contains(word), "{word} not in {list}");
    }
    assert!(!list.contains("s3cret"), "{list}");
    let delivered = ["hooks", "list", "--state", "delivered"];
    assert!(told(&daemon, &delivered).contains("no delivery"));

    status.store(204, Ordering::SeqCst);
    let delivery = id_of(&list);
    assert!(told(&daemon, &["hooks", "retry", &delivery]).contains("stream.started of shop"));
    let taken = |times: usize| {
        move |calls: &[crate::receiver::Call]| {
            let started = calls
                .iter()
                .filter(|call| call.json()["type"] == "stream.started");
            started.filter(|call| call.answered == Some(204)).count() >= times
        }
    };
    backend.wait("the retry", taken(1)).await;
    while told(&daemon, &delivered).contains("no delivery") {}
    assert_eq!(id_of(&told(&daemon, &delivered)), delivery);
    let replayed = told(&daemon, &["hooks", "replay", "--since", "1h"]);
    assert!(replayed.contains("deliveries begin anew"), "{replayed}");
    backend.wait("the replay", taken(2)).await;
    let calls = backend.calls().clone();
    let started = calls
        .iter()
        .filter(|call| call.json()["type"] == "stream.started");
    let ids: std::collections::BTreeSet<_> = started.map(crate::receiver::Call::id).collect();
    assert_eq!(ids.len(), 1, "a replayed event keeps its id: {ids:?}");

    let control = daemon.control_url("");
    let environment = [
        ("VITRINE_CONTROL", control.as_str()),
        ("VITRINE_TOKEN", CONTROL_TOKEN),
    ];
    let (status, said) = failed(&["hooks", "retry", "dlv_x"], &environment);
    assert!(
        status == 1 && said.contains("no delivery \"dlv_x\""),
        "{said}"
    );
    let (status, said) = failed(&["hooks", "list", "--state", "lost"], &environment);
    assert!(
        status == 1 && said.contains("pending, delivered, dead, parked"),
        "{said}"
    );
}

#[test]
fn whom_a_command_calls_is_told_by_flag_environment_or_configuration() {
    let daemon = Daemon::start(&Config::new());
    let (control, file) = (daemon.control_url(""), daemon.config_file());
    let config = fs::read_to_string(&file).expect("written");
    // The file that a daemon on a fixed port has.
    let port = format!("[control]\nlisten = \"{}\"", daemon.address("control"));
    let config = config.replace("[control]\nlisten = \"127.0.0.1:0\"", &port);
    let folder = tempfile::tempdir().expect("a folder");
    let fixed = folder.path().join("vitrine.toml");
    fs::write(&fixed, config).expect("written");
    let fixed = fixed.to_str().expect("UTF-8");
    let token = ("VITRINE_TOKEN", CONTROL_TOKEN);
    for (arguments, environment) in [
        (
            &[
                "streams",
                "--control",
                control.as_str(),
                "--token",
                CONTROL_TOKEN,
            ][..],
            &[][..],
        ),
        (
            &["streams"],
            &[("VITRINE_CONTROL", control.as_str()), token],
        ),
        (&["--config", fixed, "streams"], &[token]),
        (
            &["streams", "--config", fixed, "--control", control.as_str()],
            &[token],
        ),
    ] {
        let output = vitrine(arguments, environment);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
    }
    let output = vitrine(
        &["check"],
        &[("VITRINE_CONTROL", "x"), ("VITRINE_TOKEN", "x")],
    );
    assert!(output.status.success(), "they are no settings");
}

#[test]
fn what_goes_wrong_is_told_in_words_and_by_the_exit_status() {
    let daemon = Daemon::start(&Config::new());
    let control = daemon.control_url("");
    let own = ("VITRINE_CONTROL", control.as_str());
    let playback = daemon.url("");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let nobody = format!("http://{}", closed.local_addr().expect("an address"));
    drop(closed);
    for (arguments, environment, status, words) in [
        (
            &["streams"][..],
            &[("VITRINE_CONTROL", nobody.as_str())][..],
            69,
            &[nobody.as_str(), "refused", "--control", "--config"][..],
        ),
        (
            &["streams"],
            &[("VITRINE_CONTROL", playback.as_str())],
            69,
            &["not Vitrine's control API"],
        ),
        (&["streams"], &[own], 77, &["VITRINE_TOKEN", "--token"]),
        (
            &["streams"],
            &[own, ("VITRINE_TOKEN", "wrong")],
            77,
            &["not known"],
        ),
        (
            &["end", "shop"],
            &[own, ("VITRINE_TOKEN", READ_TOKEN)],
            77,
            &["\"look\"", "access = \"read\""],
        ),
        (
            &["streams", "--control", "ftp://x"],
            &[],
            2,
            &["http://127.0.0.1:8081"],
        ),
        (
            &["kick", "shop", "--ban", "10"],
            &[],
            2,
            &["--ban", "200ms"],
        ),
        (&["takedown", "shop"], &[], 2, &["--reason"]),
        (
            &["hooks", "replay", "--since", "yesterday"],
            &[own],
            2,
            &["1h", "2026-01-01T12:00:00Z"],
        ),
        (
            &["streams", "--config", "/nowhere.toml"],
            &[],
            64,
            &["/nowhere.toml"],
        ),
        (
            &["top"],
            &[own, ("VITRINE_TOKEN", CONTROL_TOKEN)],
            1,
            &["needs a terminal", "streams --json"],
        ),
    ] {
        let (code, said) = failed(arguments, environment);
        assert_eq!(code, status, "{arguments:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{arguments:?}: {word} not in {said}");
        }
        assert!(
            !said.contains(CONTROL_TOKEN) && !said.contains(READ_TOKEN),
            "{said}"
        );
    }
    let help = vitrine(&["--help"], &[("VITRINE_TOKEN", CONTROL_TOKEN)]);
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    for word in [
        "kick",
        "takedown",
        "hooks",
        "top",
        "VITRINE_TOKEN",
        "69",
        "77",
    ] {
        assert!(help.contains(word), "{word} not in {help}");
    }
    assert!(!help.contains(CONTROL_TOKEN));
}
