//! What the daemon refuses, and that it takes `conf/vitrine.toml` for its defaults.

#![allow(clippy::unwrap_used)]

use std::fs;

use super::*;

mod endpoints;
#[cfg(feature = "transcode")]
mod sample;
mod transcode;

/// Base64 of 32 bytes.
const BYTES: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

const CONF: &str = include_str!("../../../../conf/vitrine.toml");

/// What may sign.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn load_text(text: &str) -> Result<(Config, Report), String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("v.toml");
    fs::write(&file, text).unwrap();
    let path = format!("{}/", folder.path().display());
    load(Some(&file), Environment::empty(), Config::read)
        .map_err(|error| error.to_string().replace(&path, ""))
}

#[test]
fn the_sample_as_shipped_is_the_defaults() {
    assert_eq!(load_text(CONF).unwrap().0, Config::default());
}

#[test]
fn a_key_overrides_what_events_others_may_carry() {
    let text = "[publish]\namf_events = true\nevent_offset_ms = -250\n[[publish.keys]]\nkey = \"k\"\n\
                stream = \"a\"\namf_events = false\nevents = { per_second = 5 }";
    let publish = load_text(text).unwrap().0.publish;
    let wanted = Events {
        amf: Some(false),
        offset_ms: Some(-250),
        per_second: Some(5),
        bytes_per_second: Some(4096),
    };
    assert_eq!(publish.keys[0].events.or(publish.events), wanted);
}

#[test]
fn what_cannot_work_is_refused_with_the_reason() {
    let hex = "ab".repeat(32);
    for (text, expect) in [
        (
            "hls.part = \"100ms\"",
            "hls.part = \"100ms\": expected at least 150ms",
        ),
        (
            "hls.part = \"1200ms\"",
            "hls.part = \"1200ms\": expected at most hls.segment",
        ),
        (
            "hls.segment = \"3s\"",
            "hls.max_gop = \"2s\": expected at least hls.segment",
        ),
        ("hls.max_gop = \"11s\"", "expected at most 10s"),
        (
            "hls.window = \"1s\"",
            "hls.window = \"1s\": expected hls.max_gop to 10m",
        ),
        (
            "hls.part_hold_back = \"500ms\"",
            "expected at least three times hls.part",
        ),
        (
            "rtmp.listen = \"localhost:1935\"",
            "expected an IP address and a port",
        ),
        ("rtmp.idle_timeout = \"0s\"", "expected at least 1s"),
        ("rtmp.max_connections = 0", "expected at least 1"),
        (
            "rtmp.trusted_proxies = [\"10.0.0.0/8\"]",
            "rtmp.trusted_proxies = [\"10.0.0.0/8\"]: expected rtmp.proxy_protocol = true beside it",
        ),
        (
            "http.trusted_proxies = [\"10.1.2.3/8\"]",
            "http.trusted_proxies = [\"10.1.2.3/8\"]: expected a list of IP addresses and networks",
        ),
        (
            "http.trusted_proxies = \"10.0.0.0/8\"",
            "http.trusted_proxies = \"10.0.0.0/8\": expected a list",
        ),
        (
            "http.max_connections_per_address = 0",
            "expected at least 1",
        ),
        (
            "http.public_url = \"live.shop.example\"",
            "http.public_url = \"live.shop.example\": expected http:// or https:// and a host",
        ),
        (
            "http.public_url = \"https://live.shop.example/\"",
            "without a slash at the end",
        ),
        (
            "http.static_dir = \"/nonexistent\"",
            "expected a folder that exists",
        ),
        (
            "[rtmps]",
            "rtmps.listen = \"0.0.0.0:1936\": expected a section [tls] with cert and key",
        ),
        (
            "[https]\nlisten = \"0.0.0.0:1\"",
            "v.toml:2: https.listen = \"0.0.0.0:1\": expected a section [tls]",
        ),
        (
            "[tls]\ncert = \"/nonexistent.pem\"\nkey = \"k\"",
            "v.toml:2: tls.cert = \"/nonexistent.pem\": expected a certificate with its key: no certificate in /nonexistent.pem",
        ),
        (
            "[tls]\ncert = \"c\"",
            "v.toml:1: tls.key is missing: expected a path",
        ),
        (
            "control.listen = \"0.0.0.0:8081\"",
            "expected a loopback address, or at least one [[control.tokens]]",
        ),
        (
            "[[publish.keys]]\nkey = \"k\"",
            "v.toml:1: publish.keys[0].stream is missing: expected a stream id",
        ),
        (
            "[[publish.keys]]\nkey = \"k\"\nstream = \"a/b\"",
            "publish.keys[0].stream = \"a/b\": expected a stream id",
        ),
        (
            "[[publish.keys]]\nstream = \"a\"",
            "v.toml:1: publish.keys[0].key = (unset): expected exactly one of key and key_sha256",
        ),
        (
            "[[publish.keys]]\nkey = \"k\"\nkey_sha256 = \"HEX\"\nstream = \"a\"",
            "v.toml:2: publish.keys[0].key = (secret): expected exactly one",
        ),
        (
            "[[publish.keys]]\nkey_sha256 = \"abc\"\nstream = \"a\"",
            "key_sha256 = (secret): expected a SHA-256 as 64 hexadecimal digits",
        ),
        (
            "publish.event_offset_ms = 30001",
            "publish.event_offset_ms = 30001: expected milliseconds from -30000 to 30000",
        ),
        (
            "publish.events = { per_second = 0 }",
            "publish.events.per_second = 0: expected 1 to 1000",
        ),
        (
            "[[publish.keys]]\nkey = \"k\"\nstream = \"a\"\nevents = { bytes_per_second = 1000 }",
            "publish.keys[0].events.bytes_per_second = 1000: expected 1024 to 65536",
        ),
        (
            "[[publish.keys]]\nkey = \"k\"\nstream = \"a\"\nmax_kbps = 0",
            "publish.keys[0].max_kbps = 0: expected at least 1",
        ),
        (
            "[[publish.keys]]\nkey = \"k\"\nstream = \"a\"\n[[publish.keys]]\nkey = \"k\"\nstream = \"b\"",
            "v.toml:5: publish.keys[1].key = (secret): expected another key",
        ),
        (
            "hooks.admission_url = \"shop.example\"",
            "hooks.admission_url = \"shop.example\": expected a URL that begins with http:// or https://",
        ),
        (
            "hooks.admission_url = \"https://shop.example\"",
            "hooks.secret = (secret): expected at least one secret to sign with",
        ),
        (
            "hooks.secret = [\"whsec_c2hvcnQ=\"]",
            "hooks.secret = (secret): expected a list of secrets, each whsec_ and",
        ),
        (
            "hooks.done_url = \"https://shop.example\"",
            "hooks.done_url = \"https://shop.example/\": expected hooks.admission_url beside it",
        ),
        (
            "hooks = { admission_url = \"https://shop.example\", dialect = \"srs\" }",
            "expected a secret to make public names with",
        ),
        (
            "hooks = { admission_url = \"https://shop.example\", dialect = \"nginx\", secret = \"SECRET\" }",
            "hooks.dialect = \"nginx\": expected \"vitrine\", \"srs\", \"nginx-rtmp\" or \"mediamtx\"",
        ),
        (
            "hooks = { admission_url = \"https://shop.example\", secret = \"SECRET\", name_is_public = true }",
            "hooks.name_is_public = true: expected false",
        ),
        (
            "hooks = { admission_url = \"https://shop.example\", secret = \"SECRET\", deadline = \"11s\" }",
            "hooks.deadline = \"11s\": expected 100ms to 10s",
        ),
        (
            "hooks = { admission_url = \"https://shop.example\", secret = \"SECRET\", known_for = \"1m\" }",
            "hooks.known_for = \"1m\": expected hooks.on_failure = \"allow_known\" beside it",
        ),
        (
            "hooks = { admission_url = \"https://shop.example\", secret = \"SECRET\", done_url = \"https://shop.example?s3cr3t\" }",
            "hooks.done_url = \"https://shop.example/\": expected none: only the dialects",
        ),
        (
            "playback.policy = \"secret\"",
            "playback.policy = \"secret\": expected \"public\" or \"signed\"",
        ),
        (
            "playback.policy = \"signed\"",
            "playback.policy = \"signed\": expected at least one [[playback.keys]]",
        ),
        (
            "playback.max_session = \"25h\"",
            "playback.max_session = \"25h\": expected at most 24h",
        ),
        (
            "[[playback.keys]]\nid = \"k.1\"\nhmac = \"B64\"",
            "playback.keys[0].id = \"k.1\": expected a name of 1 to 32 letters",
        ),
        (
            "[[playback.keys]]\nid = \"k1\"\nhmac = \"s3cret\"",
            "playback.keys[0].hmac = (secret): expected the base64 of 32 to 64 random bytes",
        ),
        (
            "[[playback.keys]]\nid = \"k1\"\ned25519 = \"s3cret\"",
            "playback.keys[0].ed25519 = \"s3cret\": expected the base64 of an Ed25519 public key",
        ),
        (
            "[[playback.keys]]\nid = \"k1\"",
            "playback.keys[0].hmac = (unset): expected exactly one of hmac and ed25519",
        ),
        (
            "[[playback.keys]]\nid = \"k1\"\nhmac = \"B64\"\n[[playback.keys]]\nid = \"k1\"\nhmac = \"B64\"",
            "v.toml:5: playback.keys[1].id = \"k1\": expected another name than those before",
        ),
    ] {
        let text = text.replace("HEX", &hex).replace("SECRET", SECRET);
        let error = load_text(&text.replace("B64", BYTES)).unwrap_err();
        assert!(
            error.contains(expect) && error.lines().count() == 1,
            "{text}\n{error}"
        );
    }
}

#[test]
fn a_door_with_tokens_may_be_anywhere_and_one_without_only_on_loopback() {
    let token = format!(
        "[[control.tokens]]\nname = \"ops\"\nsha256 = \"{}\"\n",
        "ab".repeat(32)
    );
    for (listen, tokens, right) in [
        ("0.0.0.0:1", token.as_str(), true),
        ("0.0.0.0:1", "", false),
        ("127.0.0.2:1", "", true),
        ("[::1]:1", "", true),
        ("[::ffff:127.0.0.1]:1", "", true),
        ("[::]:1", "", false),
    ] {
        let text = format!("control.listen = \"{listen}\"\n{tokens}");
        assert_eq!(load_text(&text).is_ok(), right, "{text}");
    }
}

#[test]
fn keys_are_kept_as_digests_and_may_be_given_as_such() {
    let hashed = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"; // printf %s key | sha256sum
    let clear = "[[publish.keys]]\nkey = \"key\"\nstream = \"demo\"\nname = \"a\"\n";
    let digest =
        format!("[[publish.keys]]\nkey_sha256 = \"{hashed}\"\nstream = \"demo\"\nname = \"a\"\n");
    let (config, report) = load_text(clear).unwrap();
    assert_eq!(config, load_text(&digest).unwrap().0);
    let shown: Vec<_> = report
        .settings()
        .map(|(key, value, _)| (key, value))
        .collect();
    assert!(
        shown.contains(&("publish.keys[0].key", "(secret)")),
        "{report}"
    );
    assert!(!format!("{config:?}").contains("\"key\""));
}

#[test]
fn keys_of_viewer_tokens_wait_for_the_policy_and_secrets_are_not_shown() {
    let keys = format!("[[playback.keys]]\nid = \"k1\"\nhmac = \"{BYTES}\"\n");
    assert_eq!(load_text(&keys).unwrap().0.playback, Policy::Public);
    let signed = format!("[playback]\npolicy = \"signed\"\nmax_session = \"1h\"\n{keys}");
    let (config, report) = load_text(&signed).unwrap();
    let Policy::Signed { keys, max_session } = &config.playback else {
        panic!("{config:?}");
    };
    assert_eq!((keys.len(), *max_session), (1, Duration::from_secs(3600)));
    assert!(!format!("{config:?}{report}").contains("AAEC"));
}

#[test]
fn secrets_of_hooks_are_one_or_several_and_never_shown() {
    let hooks = "hooks.admission_url = \"https://u:s3cr3t@shop.example/h?s3cr3t\"\nhooks.secret = ";
    for (secrets, count) in [
        (format!("\"{SECRET}\""), 1),
        (format!("[\"{SECRET}\", \"{SECRET}\"]"), 2),
    ] {
        let (config, report) = load_text(&format!("{hooks}{secrets}")).unwrap();
        let admission = config.hooks.admission.as_ref().unwrap();
        assert_eq!(admission.secrets.len(), count);
        assert_eq!(admission.deadline, Duration::from_secs(3));
        for printed in [report.to_string(), format!("{config:?}")] {
            assert!(
                !printed.contains("whsec_") && !printed.contains("s3cr3t"),
                "{printed}"
            );
        }
    }
    assert_eq!(Config::default().hooks.admission, None);
}

#[test]
fn connections_beyond_the_descriptors_of_the_process_are_refused() {
    let config = Config::default();
    let wanted = 1000 + 16_384 + u64::from(CONTROL_MAX_CONNECTIONS);
    config
        .check_descriptors(wanted + descriptors::RESERVED)
        .unwrap();
    config
        .check_descriptors(wanted + descriptors::RESERVED - 1)
        .unwrap_err();
}
