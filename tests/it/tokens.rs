//! Viewer tokens at the origin (contracts, section 2): what they open, what is said without one, that they change nothing of
//! what is answered, and the commands that make them. Behind the edges: [`crate::edge`].

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use reqwest::{Method, Response, StatusCode};
use vitrine_core::wire::token::{KeyId, Signer};

use crate::{
    daemon::{Config, Daemon},
    sources::{self, Encoder},
    viewer::{Viewer, client},
};

/// A key of the configuration, and what it signs.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    id: &'static str,
    signer: Signer,
}

impl Key {
    pub(crate) fn hmac(id: &'static str) -> Self {
        let signer = Signer::hmac([id.as_bytes()[1]; 32]);
        Self { id, signer }
    }

    pub(crate) fn ed25519(id: &'static str) -> Self {
        let signer = Signer::ed25519([id.as_bytes()[1]; 32]);
        Self { id, signer }
    }

    /// Lines of `[playback]` that let its tokens in.
    pub(crate) fn signed(keys: &[&Self]) -> String {
        let entry = |key: &&Self| {
            let (algorithm, value) = key.signer.verifier().show();
            format!("{{ id = \"{}\", {algorithm} = \"{value}\" }}", key.id)
        };
        let keys: Vec<_> = keys.iter().map(entry).collect();
        format!("policy = \"signed\"\nkeys = [{}]", keys.join(", "))
    }

    /// A token that expires so many seconds from now.
    pub(crate) fn token(&self, stream: &str, seconds: i64) -> String {
        let id = KeyId::parse(self.id).expect("a name");
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = i64::try_from(now.expect("after 1970").as_secs()).expect("before 2262");
        let expires = u64::try_from(now + seconds).expect("after 1970");
        self.signer.sign(&id, stream, expires)
    }
}

fn published(config: Config) -> (Daemon, Encoder) {
    let daemon = Daemon::start(&config.key("k3y", "shop"));
    let encoder = Encoder::ffmpeg(&sources::LONG.file(), &daemon.publish_url("k3y"));
    (daemon, encoder)
}

async fn get(daemon: &Daemon, path: &str) -> Response {
    Viewer::new(&daemon.url("")).response(path).await
}

/// Status, error text.
async fn told(daemon: &Daemon, path: &str) -> (u16, String) {
    let answer = get(daemon, path).await;
    let status = answer.status().as_u16();
    (status, answer.text().await.expect("a body"))
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_token_plays_and_nobody_else() {
    let (hmac, ed25519) = (Key::hmac("k1"), Key::ed25519("k2"));
    let config = Config::new().playback(&Key::signed(&[&hmac, &ed25519]));
    let (daemon, _encoder) = published(config);
    let viewer = Viewer::new(&daemon.url(""));
    for key in [&hmac, &ed25519] {
        for stream in ["shop", "*"] {
            // Everything is reached by relative URIs.
            let stream = format!("~{}/shop", key.token(stream, 60));
            for folder in viewer.renditions(&stream).await.values() {
                let list = viewer.playlist(folder, "").await;
                let hint = list.hint.expect("live");
                let map = list.segments[0].map.clone().expect("an init");
                for uri in [hint, map] {
                    viewer.bytes(&format!("{folder}{uri}")).await;
                }
            }
        }
    }
    let high = viewer
        .renditions(&format!("~{}/shop", hmac.token("shop", 60)))
        .await
        .remove("high")
        .expect("a picture");
    let (_, rest) = high.split_once("/shop/").expect("as asked for");

    let good = hmac.token("shop", 60);
    let other = Key::hmac("k9");
    for (token, status, words) in [
        (None, 401, "this stream is for viewers with a token"),
        (
            Some(String::new()),
            401,
            "this stream is for viewers with a token",
        ),
        (
            Some("x".to_owned()),
            403,
            "the viewer token is not of the form",
        ),
        (
            Some(other.token("shop", 60)),
            403,
            "the viewer token is signed with a key",
        ),
        (
            Some(good.replace(".shop.", ".shop2.")),
            403,
            "the viewer token is for another",
        ),
        (
            Some(format!("{}AAAA", &good[..good.len() - 4])),
            403,
            "the viewer token's signature",
        ),
        (
            Some(hmac.token("other", 60)),
            403,
            "the viewer token is for another stream",
        ),
        // Beyond the session, too.
        (
            Some(ed25519.token("shop", -6 * 3600)),
            403,
            "the viewer token has expired",
        ),
    ] {
        let token = token.map_or(String::new(), |token| format!("~{token}/"));
        let names = [
            "index.m3u8",
            "thumbnail.jpg",
            "timeline.json",
            "verify/enter",
            "verify/stay",
        ];
        let media = ["index.m3u8", "init0.mp4", "p0.m4s", "s0.m4s"];
        let media = media.map(|name| format!("{rest}{name}"));
        for name in names.map(str::to_owned).iter().chain(&media) {
            let answer = get(&daemon, &format!("/live/{token}shop/{name}")).await;
            assert_eq!(answer.status().as_u16(), status, "{token}{name}");
            let field = |name: &str| {
                answer
                    .headers()
                    .get(name)
                    .map(|it| it.to_str().unwrap_or(""))
            };
            assert_eq!(field("cache-control"), Some("no-store"));
            assert_eq!(field("access-control-allow-origin"), Some("*"));
            assert_eq!(field("www-authenticate").is_some(), status == 401);
            let text = answer.text().await.expect("a body");
            assert!(text.starts_with(words), "{token}{name}: {text}");
        }
        // Preflights are about methods, not about who asks; and nobody learns which streams there are.
        let url = daemon.url(&format!("/live/{token}shop/index.m3u8"));
        let client = client().build().expect("a client");
        let preflight = client.request(Method::OPTIONS, url).send().await;
        assert_eq!(
            preflight.expect("answered").status(),
            StatusCode::NO_CONTENT
        );
        let nobody = get(&daemon, &format!("/live/{token}nobody/index.m3u8")).await;
        assert!([401, 403].contains(&nobody.status().as_u16()), "{token}");
    }
    // Expired: no beginning, but going on.
    let expired = ed25519.token("shop", -10);
    let (status, words) = told(&daemon, &format!("/live/~{expired}/shop/index.m3u8")).await;
    assert_eq!(
        (status, words.as_str()),
        (403, "the viewer token has expired\n")
    );
    viewer
        .playlist(&format!("/live/~{expired}/shop/{rest}"), "")
        .await;
    let verdict = get(
        &daemon,
        &format!("/live/~{}/shop/verify/enter", hmac.token("shop", 30)),
    )
    .await;
    assert_eq!(verdict.status(), StatusCode::NO_CONTENT);
    let cached = verdict.headers()["cache-control"].to_str().expect("ASCII");
    let seconds: u32 = cached
        .trim_start_matches("max-age=")
        .parse()
        .expect("seconds");
    assert!((1..=30).contains(&seconds), "{cached}");

    let logs = daemon.written();
    let signature = good.rsplit_once('.').expect("signed").1;
    assert!(!logs.contains(signature), "a token in the log");
    assert!(
        logs.contains("/live/~/shop/index.m3u8"),
        "requests are in the log"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_equal_with_and_without_a_token() {
    let key = Key::hmac("k1");
    for (config, tokens) in [
        (
            Config::new(),
            [String::new(), "~x/".to_owned(), "~/".to_owned()],
        ),
        (
            Config::new().playback(&Key::signed(&[&key])),
            [60, 70, 80].map(|seconds| format!("~{}/", key.token("shop", seconds))),
        ),
    ] {
        let (daemon, _encoder) = published(config);
        let viewer = Viewer::new(&daemon.url(""));
        let stream = format!("{}shop", tokens[0]);
        let folders = viewer.renditions(&stream).await;
        for folder in folders.values() {
            let (_, rest) = folder.split_once("/shop/").expect("as asked for");
            let list = viewer.playlist(folder, "").await;
            // The next version: all wait for it, so all are told the same.
            let (msn, part) = list.next();
            let part = part + 1;
            for name in [
                "../../index.m3u8".to_owned(),
                format!("index.m3u8?_HLS_msn={msn}&_HLS_part={part}"),
                format!("index.m3u8?_HLS_msn={msn}&_HLS_part={part}&_HLS_skip=YES"),
                list.hint.clone().expect("live"),
                list.segments[0].map.clone().expect("an init"),
            ] {
                let path = match name.strip_prefix("../../") {
                    Some(name) => format!("shop/{name}"),
                    None => format!("shop/{rest}{name}"),
                };
                let answers = tokens.each_ref().map(|token| {
                    let (viewer, path) = (viewer.clone(), format!("/live/{token}{path}"));
                    tokio::spawn(async move {
                        let answer = viewer.response(&path).await;
                        assert_eq!(answer.status(), StatusCode::OK, "{path}");
                        let etag = answer.headers()["etag"].clone();
                        (etag, answer.bytes().await.expect("a body"))
                    })
                });
                let mut seen = Vec::new();
                for answer in answers {
                    seen.push(answer.await.expect("answered"));
                }
                assert!(seen.iter().all(|answer| *answer == seen[0]), "{path}");
                if path.contains(".m3u8") {
                    let text = String::from_utf8(seen[0].1.to_vec()).expect("text");
                    assert!(!text.contains("://") && !text.contains("/live/"), "{text}");
                    let absolute = |line: &str| line.starts_with('/') || line.contains("URI=\"/");
                    assert!(!text.lines().any(absolute), "{text}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_policy_change_while_a_viewer_watches() {
    let (old, new) = (Key::hmac("k1"), Key::ed25519("k2"));
    let base = Config::new().key("k3y", "shop");
    let of = |keys: &[&Key]| base.clone().playback(&Key::signed(keys));
    let daemon = Daemon::start(&base);
    let _encoder = Encoder::ffmpeg(&sources::LONG.file(), &daemon.publish_url("k3y"));
    let viewer = Viewer::new(&daemon.url(""));
    viewer.multivariant("shop").await;
    let (by_old, by_new) = (old.token("shop", 600), new.token("shop", 600));
    let with_old = format!("/live/~{by_old}/shop/index.m3u8");
    let with_new = format!("/live/~{by_new}/shop/index.m3u8");
    let without = "/live/shop/index.m3u8";
    for (config, statuses) in [
        (of(&[&old]), [200, 403, 401]),
        (of(&[&old, &new]), [200, 200, 401]),
        (of(&[&new]), [403, 200, 401]),
        // What is wrong changes nothing.
        (
            base.clone().playback("policy = \"signed\""),
            [403, 200, 401],
        ),
        (base.clone(), [200, 200, 200]),
    ] {
        let before = daemon.written().matches("reloaded").count();
        daemon.reload(&config);
        for _ in 0..500 {
            if daemon.written().matches("reloaded").count() > before {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut got = [0; 3];
        for (got, path) in got.iter_mut().zip([&with_old, &with_new, without]) {
            *got = get(&daemon, path).await.status().as_u16();
        }
        assert_eq!(got, statuses, "{config:?}");
    }
}

/// What the command prints; with `input` as its variable `KEY`.
fn vitrine(arguments: &[&str], key: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_vitrine"))
        .args(arguments)
        .env("KEY", key)
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    std::io::stderr()
        .write_all(&output.stderr)
        .expect("written");
    assert!(output.status.success(), "{arguments:?}: {}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_commands_make_plays() {
    for algorithm in [&[][..], &["--ed25519"]] {
        let printed = vitrine(
            &[&["token", "keygen", "--key-id", "web"], algorithm].concat(),
            "",
        );
        let (section, signs) = printed
            .split_once("# For whoever signs")
            .expect("two parts");
        let line = |name: &str, text: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.unwrap_or_else(|| panic!("{name}: {text}")).to_owned()
        };
        let (kind, value) = match algorithm {
            [] => ("hmac", line("hmac = ", section)),
            _ => ("ed25519", line("ed25519 = ", section)),
        };
        let key = line(&format!("{kind}:"), signs);
        let playback = format!("policy = \"signed\"\nkeys = [{{ id = \"web\", {value} }}]");
        let (daemon, _encoder) = published(Config::new().playback(&playback));
        let url = daemon.url("/");
        let sign = [
            "token",
            "sign",
            "--stream",
            "shop",
            "--for",
            "2h",
            "--key-env",
            "KEY",
        ];
        let address = vitrine(
            &[&sign[..], &["--key-id", "web", "--url", &url]].concat(),
            &key,
        );
        let path = address
            .strip_prefix(&daemon.url("/live/"))
            .expect("the server's");
        let stream = path
            .trim()
            .strip_suffix("/index.m3u8")
            .expect("an address to play");
        // Waits until the broadcast is there.
        Viewer::new(&daemon.url("")).multivariant(stream).await;
    }
}
