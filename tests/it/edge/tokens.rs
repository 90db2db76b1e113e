//! Viewer tokens at the shipped edges: verified there, taken out, and one copy of everything for all who may watch.

use std::collections::BTreeSet;

use super::*;
use crate::tokens::Key;

/// A signed origin behind an edge that has its own leave.
struct Signed {
    key: Key,
    /// How the origin sees what the edge fetches: behind `/live/`.
    own: String,
    stage: Stage,
}

impl Signed {
    /// A session is a second, so that a token that is over is over for everything.
    async fn start(kind: Kind) -> Self {
        Self::with_session(kind, "1s").await
    }

    async fn with_session(kind: Kind, session: &str) -> Self {
        let key = Key::hmac("k1");
        let own = format!("~{}/", key.token("*", 3600));
        let config = Config::new().playback(&Key::signed(&[&key]));
        let config = config.playback(&format!("max_session = \"{session}\""));
        let edit = leave(kind, &own);
        let edits = [edges::STRICT, &[(edit.0, &edit.1)]].concat();
        let stage = Stage::with(kind, config, &edits, &format!("{own}shop")).await;
        Self { key, own, stage }
    }

    /// The video folder as a viewer with this token sees it.
    fn folder(&self, token: &str) -> String {
        self.stage
            .high
            .replacen(&self.own, &format!("~{token}/"), 1)
    }
}

/// What gives an edge its own leave.
fn leave(kind: Kind, own: &str) -> (&'static str, String) {
    match kind {
        Kind::Nginx => ("default \"\";", format!("default \"{own}\";")),
        Kind::Varnish => ("X-Own-Token = \"\"", format!("X-Own-Token = \"{own}\"")),
    }
}

pub(super) async fn two_viewers_with_different_tokens_are_one_request_to_the_origin(kind: Kind) {
    let signed = Signed::start(kind).await;
    let (stage, origin) = (&signed.stage, &signed.stage.high);
    let tokens = [600, 601].map(|seconds| signed.key.token("shop", seconds));
    let both = async |name: &str| {
        let ask = tokens.each_ref().map(|token| {
            let url = stage.edge.url(&format!("{}{name}", signed.folder(token)));
            // Each on a connection of its own, as viewers are.
            let client = client().build().expect("a client");
            let fields = &[("accept-encoding", "gzip")];
            tokio::spawn(async move { ask(&client, Method::GET, url, fields).await })
        });
        let mut bodies = BTreeSet::new();
        for answer in ask {
            let answer = answer.await.expect("answered");
            assert_eq!(answer.status, StatusCode::OK, "{name}: {answer:?}");
            bodies.insert((answer.field("etag").to_owned(), answer.body));
        }
        assert_eq!(bodies.len(), 1, "{name}");
        let asked = stage.tap.count(&format!("{origin}{name}"));
        assert_eq!(asked, 1, "{name}: {:#?}", stage.tap.seen());
    };
    for round in 0..4 {
        let direct = Viewer::new(&stage.daemon.url(""));
        let list = direct.playlist(origin, "").await;
        let (msn, part) = list.next();
        both(&format!(
            "index.m3u8?_HLS_msn={msn}&_HLS_part={}",
            part + round
        ))
        .await;
        both(&list.hint.expect("live")).await;
    }
    both("init0.mp4").await;
    // The multivariant playlist is asked for again when its second is over.
    for token in &tokens {
        let path = format!("/live/~{token}/shop/index.m3u8");
        assert_eq!(stage.get(&path).await.status, StatusCode::OK);
    }
    // Nothing was fetched in a viewer's name, and each was asked about once for each of the two needs.
    for seen in stage.tap.seen() {
        assert!(
            seen.target.starts_with(&format!("/live/{}", signed.own)),
            "{seen:?}"
        );
    }
    let mut verdicts = stage.tap.verdicts();
    verdicts.sort();
    let mut wanted: Vec<_> = tokens
        .iter()
        .flat_map(|token| {
            ["enter", "stay"].map(|need| format!("/live/~{token}/shop/verify/{need}"))
        })
        .collect();
    wanted.sort();
    // Two that are asked for at the same moment may both be the first.
    verdicts.dedup();
    assert_eq!(verdicts, wanted);
}

pub(super) async fn without_a_good_token_nothing_comes_out_of_the_cache(kind: Kind) {
    let signed = Signed::start(kind).await;
    let stage = &signed.stage;
    let short = signed.key.token("shop", 8);
    let names = ["index.m3u8", "init0.mp4", "p0.m4s", "s0.m4s"];
    let good = signed.folder(&signed.key.token("shop", 600));
    for name in names {
        for folder in [&good, &signed.folder(&short)] {
            let answer = stage.get(&format!("{folder}{name}")).await;
            assert_eq!(answer.status, StatusCode::OK, "{name}: {answer:?}");
        }
    }
    let fetched = stage.tap.seen().len();
    let forged = Key::hmac("k2")
        .token("shop", 600)
        .replacen("v1.k2.", "v1.k1.", 1);
    let other = signed.key.token("other", 600);
    let cut = &good.split('/').nth(2).expect("a token")[1..];
    let refused = |folder: String| async move {
        for name in names.iter().copied().chain(["../../index.m3u8"]) {
            let path = match name.strip_prefix("../../") {
                None => format!("{folder}{name}"),
                Some(name) => {
                    let (stream, _) = folder.split_once("shop/").expect("of that stream");
                    format!("{stream}shop/{name}")
                }
            };
            for method in [Method::GET, Method::HEAD] {
                let range = &[("range", "bytes=0-9")];
                let answer = stage.ask(method, &path, range).await;
                let wanted = match path.contains('~') && !path.contains("~/") {
                    true => StatusCode::FORBIDDEN,
                    false => StatusCode::UNAUTHORIZED,
                };
                assert_eq!(answer.status, wanted, "{path}: {answer:?}");
                let lifetime: Vec<_> = answer.headers.get_all("cache-control").iter().collect();
                assert_eq!(lifetime, ["no-store"], "{path}");
                let cors = answer.headers.get_all("access-control-allow-origin");
                assert_eq!(cors.iter().collect::<Vec<_>>(), ["*"], "{path}");
                let words = String::from_utf8_lossy(&answer.body);
                assert!(
                    words.is_empty() || words.contains("token"),
                    "{path}: {words}"
                );
            }
        }
    };
    for token in [
        forged.as_str(),
        &other,
        &cut[..cut.len() - 4],
        "x",
        "a.b.c",
        "é",
        "%0d%0a",
        "",
    ] {
        refused(signed.folder(token)).await;
    }
    refused(stage.high.replacen(&signed.own, "", 1)).await;
    // Under the name of a stream that may be watched, written as no client does.
    for up in ["..", "%2e%2e", "%2E.", "./.."] {
        let path = format!("/live/~{other}/other/{up}/shop/index.m3u8");
        let answer = raw(stage.edge.address(), &path).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    // One that was good and is over, be it for what it was given before; a session is a second here.
    tokio::time::sleep(Duration::from_secs(10)).await;
    refused(signed.folder(&short)).await;
    assert_eq!(stage.tap.seen().len(), fetched, "{:#?}", stage.tap.seen());
    let answer = stage.get(&format!("{good}p0.m4s")).await;
    assert_eq!(answer.field("x-cache").to_lowercase(), "hit", "{answer:?}");
}

pub(super) async fn behind_a_shield_each_viewer_is_judged_by_their_own_token(kind: Kind) {
    let signed = Signed::with_session(kind, "10m").await;
    let (stage, shield) = (&signed.stage, &signed.stage.edge);
    let own = format!("~{}/", signed.key.token("*", 3599));
    let edit = leave(kind, &own);
    let edits = [edges::STRICT, &[(edit.0, &edit.1)]].concat();
    let outer = Edge::start(kind, [shield.address(); 2], &edits).await;
    let status = async |edge: &Edge, path: &str| {
        let answer = ask(&stage.client, Method::GET, edge.url(path), &[]).await;
        answer.status
    };
    let [short, good] = [15, 600].map(|seconds| signed.key.token("shop", seconds));
    let begin = |token: &str| format!("/live/~{token}/shop/index.m3u8");
    let go_on = |token: &str| format!("{}p0.m4s", signed.folder(token));
    for token in [&short, &good] {
        assert_eq!(status(&outer, &begin(token)).await, StatusCode::OK);
        assert_eq!(status(&outer, &go_on(token)).await, StatusCode::OK);
    }
    // A verdict lasts no longer than the token, however often and through whatever it is asked for.
    for edge in [shield, &outer] {
        let mut left = u64::MAX;
        for _ in 0..2 {
            let path = format!("/live/~{short}/shop/verify/enter?v=1");
            let verdict = ask(&stage.client, Method::GET, edge.url(&path), &[]).await;
            let age = verdict.field("cache-control").replace("max-age=", "");
            let age: u64 = age.parse().unwrap_or_else(|_| panic!("{verdict:?}"));
            assert!(age < left.min(16), "{age} of {left}: {verdict:?}");
            left = age;
            tokio::time::sleep(Duration::from_millis(1100)).await;
        }
    }
    // Over to begin with, and good to go on.
    let mut begins = StatusCode::OK;
    for _ in 0..200 {
        begins = status(&outer, &begin(&short)).await;
        if begins != StatusCode::OK {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(begins, StatusCode::FORBIDDEN);
    assert_eq!(status(&outer, &go_on(&short)).await, StatusCode::OK);
    assert_eq!(status(&outer, &begin(&good)).await, StatusCode::OK);
    for (token, wanted) in [(&short, 403), (&good, 204)] {
        let path = format!("/live/~{token}/shop/verify/enter");
        assert_eq!(status(shield, &path).await, wanted);
        assert_eq!(status(&outer, &path).await, wanted);
    }
    for (path, wanted) in [
        ("/live/shop/verify/enter".to_owned(), 401),
        ("/live/~x/shop/verify/stay".to_owned(), 403),
        (begin(&signed.key.token("other", 600)), 403),
    ] {
        assert_eq!(status(&outer, &path).await, wanted, "{path}");
    }
    // A `#` is no way to have one thing judged and another one fetched.
    for tail in ["#", "?#", "?_HLS_msn=1#", "#/p0.m4s"] {
        let path = format!("{}{tail}", begin(&short));
        for edge in [shield, &outer] {
            let answer = raw(edge.address(), &path).await;
            assert!(!answer.starts_with("HTTP/1.1 2"), "{path}: {answer}");
        }
    }
}

/// The answer to a request whose path is sent as it is written.
async fn raw(address: std::net::SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut socket = tokio::net::TcpStream::connect(address)
        .await
        .expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("taken");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.expect("answered");
    String::from_utf8_lossy(&answer).into_owned()
}
