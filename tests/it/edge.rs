//! Behind a real Varnish and a real nginx with the configurations of `conf/edge/`: what of a crowd reaches the origin, what
//! is one key, what is kept and for how long. Requests are counted between edge and origin ([`crate::edges::Tap`]).
//!
//! [`tokens`] shows who is let in, [`alike`] that two origins answer alike; [`browser`] that a player behind an edge outlives one of them.

mod alike;
mod browser;
mod tokens;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bytes::Bytes;
use reqwest::{Client, Method, StatusCode, header, header::HeaderMap};
use serde_json::Value;

use crate::{
    daemon::{CONTROL_TOKEN, Config, Daemon},
    edges::{self, Edge, Kind, Tap},
    shop::{Shop, event},
    sources::{self, Encoder},
    viewer::{Viewer, client},
};

/// An origin with a live stream `shop`, a tap, and an edge before it.
struct Stage {
    daemon: Daemon,
    tap: Tap,
    edge: Edge,
    client: Client,
    /// Folder of the video rendition.
    high: String,
    _encoder: Encoder,
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn field(&self, name: impl header::AsHeaderName) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().expect("ASCII"))
    }
}

impl Stage {
    async fn start(kind: Kind) -> Self {
        Self::with(kind, Config::new(), edges::STRICT, "shop").await
    }

    /// With edits of the edge's configuration; `stream` is `shop`, behind a token if the origin wants one.
    async fn with(kind: Kind, config: Config, edits: &[(&str, &str)], stream: &str) -> Self {
        let config = config.key("k3y", "shop").key("l4te", "late");
        let daemon = Daemon::start(&config);
        let encoder = Encoder::ffmpeg(&sources::LONG.file(), &daemon.publish_url("k3y"));
        let tap = Tap::start(daemon.address("http")).await;
        let edge = Edge::start(kind, [tap.address(); 2], edits).await;
        let viewer = Viewer::new(&daemon.url(""));
        let high = viewer.renditions(stream).await.remove("high");
        Self {
            daemon,
            tap,
            edge,
            client: client().build().expect("a client"),
            high: high.expect("a picture"),
            _encoder: encoder,
        }
    }

    async fn ask(&self, method: Method, path: &str, fields: &[(&str, &str)]) -> Answer {
        ask(&self.client, method, self.edge.url(path), fields).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[("accept-encoding", "gzip")])
            .await
    }

    /// Directives for a part that does not exist yet.
    async fn next(&self, ahead: u64) -> (u64, u64) {
        let viewer = Viewer::new(&self.daemon.url(""));
        let (msn, part) = viewer.playlist(&self.high, "").await.next();
        (msn, part + ahead)
    }
}

async fn ask(client: &Client, method: Method, url: String, fields: &[(&str, &str)]) -> Answer {
    let mut request = client.request(method, &url);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let response = request
        .send()
        .await
        .unwrap_or_else(|error| panic!("{url}: {error:?}"));
    Answer {
        status: response.status(),
        headers: response.headers().clone(),
        body: response.bytes().await.expect("a whole body"),
    }
}

fn unpacked(body: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(body), &mut text).expect("gzip");
    text
}

/// Each story is told of both edges.
macro_rules! of_both {
    ($($story:ident)*) => {
        mod varnish {
            use super::Kind;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() { super::$story(Kind::Varnish).await; })*
        }
        mod nginx {
            use super::Kind;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() { super::$story(Kind::Nginx).await; })*
        }
    };
}

of_both! {
    a_crowd_that_waits_for_one_playlist_is_one_request_to_the_origin
    a_crowd_that_waits_for_one_part_is_one_request_to_the_origin
    directives_in_any_order_are_one_key_and_other_parameters_none
    errors_pass_as_the_origin_means_them
    media_is_fetched_once_and_served_in_ranges
    an_old_playlist_is_never_served_as_a_new_one
    a_timeline_is_one_key_and_kept_as_long_as_it_says
    two_viewers_with_different_tokens_are_one_request_to_the_origin
    without_a_good_token_nothing_comes_out_of_the_cache
    behind_a_shield_each_viewer_is_judged_by_their_own_token
}

use tokens::{
    behind_a_shield_each_viewer_is_judged_by_their_own_token,
    two_viewers_with_different_tokens_are_one_request_to_the_origin,
    without_a_good_token_nothing_comes_out_of_the_cache,
};

async fn a_crowd_that_waits_for_one_playlist_is_one_request_to_the_origin(kind: Kind) {
    let stage = Stage::start(kind).await;
    for round in 0..3 {
        let (msn, part) = stage.next(1 + round).await;
        let origin = format!("{}index.m3u8?_HLS_msn={msn}&_HLS_part={part}", stage.high);
        let crowd = (0..50).map(|viewer| {
            let token = stage
                .high
                .replacen("/live/", &format!("/live/~t{viewer}/"), 1);
            let folder = if viewer % 2 == 0 { &stage.high } else { &token };
            let path = if viewer % 3 == 0 {
                format!("{folder}index.m3u8?v={viewer}&_HLS_part={part}&_HLS_msn={msn}")
            } else {
                format!("{folder}index.m3u8?_HLS_msn={msn}&_HLS_part={part}&v={viewer}")
            };
            // Each on a connection of its own, as viewers are.
            let client = client().build().expect("a client");
            let url = stage.edge.url(&path);
            tokio::spawn(async move {
                ask(&client, Method::GET, url, &[("accept-encoding", "gzip")]).await
            })
        });
        let (mut bodies, mut etags) = (BTreeSet::new(), BTreeSet::new());
        for answer in crowd.collect::<Vec<_>>() {
            let answer = answer.await.expect("answered");
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            assert_eq!(answer.field("content-encoding"), "gzip");
            etags.insert(answer.field("etag").to_owned());
            bodies.insert(answer.body);
        }
        assert_eq!(stage.tap.count(&origin), 1, "{:#?}", stage.tap.seen());
        assert_eq!((bodies.len(), etags.len()), (1, 1));
        let etag = etags.first().expect("one");
        assert!(etag.starts_with('"'), "a strong validator, kept: {etag}");
    }
    // Nothing else was asked for: no form twice, no token, no foreign parameter.
    let seen = stage.tap.seen();
    assert_eq!(seen.len(), 3, "{seen:#?}");
    assert!(seen.iter().all(|seen| seen.gzip));
}

async fn a_crowd_that_waits_for_one_part_is_one_request_to_the_origin(kind: Kind) {
    let stage = Stage::start(kind).await;
    let viewer = Viewer::new(&stage.daemon.url(""));
    let hint = viewer.playlist(&stage.high, "").await.hint.expect("live");
    let path = format!("{}{hint}", stage.high);
    let crowd = (0..50).map(|_| {
        let (client, url) = (client().build().expect("a client"), stage.edge.url(&path));
        tokio::spawn(async move { ask(&client, Method::GET, url, &[]).await })
    });
    for answer in crowd.collect::<Vec<_>>() {
        let answer = answer.await.expect("answered");
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.body, viewer.bytes(&path).await);
    }
    assert_eq!(stage.tap.count(&path), 1, "{:#?}", stage.tap.seen());
}

async fn directives_in_any_order_are_one_key_and_other_parameters_none(kind: Kind) {
    let stage = Stage::start(kind).await;
    let (msn, part) = stage.next(0).await;
    let token = stage.high.replacen("/live/", "/live/~eyJ.a-b_c/", 1);
    let (msn, part) = (format!("_HLS_msn={msn}"), format!("_HLS_part={part}"));
    let mut bodies = BTreeSet::new();
    for query in [
        format!("{msn}&{part}&_HLS_skip=YES"),
        format!("_HLS_skip=YES&{part}&{msn}"),
        format!("{part}&_HLS_skip=YES&{msn}&_HLS_later=1"),
        format!("a=b&{msn}&c&{part}&&d=&_HLS_skip=YES&"),
        format!("x_HLS_msn=1&_HLS_skip=YES&{msn}&hls_part=3&{part}&=&utm=%F0%9F%9B%92"),
    ] {
        for folder in [&stage.high, &token] {
            let answer = stage.get(&format!("{folder}index.m3u8?{query}")).await;
            assert_eq!(answer.status, StatusCode::OK, "{query}: {answer:?}");
            bodies.insert(answer.body);
        }
    }
    let canonical = format!("{}index.m3u8?{msn}&{part}&_HLS_skip=YES", stage.high);
    let seen = stage.tap.seen();
    assert_eq!(
        (seen.len(), seen[0].target.as_str()),
        (1, canonical.as_str())
    );
    assert_eq!(bodies.len(), 1);

    // Another directive is another key, and no query means none.
    for (query, canonical) in [
        (format!("?{part}&{msn}"), format!("?{msn}&{part}")),
        (format!("?{msn}"), format!("?{msn}")),
        ("?_HLS_skip=YES".to_owned(), "?_HLS_skip=YES".to_owned()),
        ("?viewer=7".to_owned(), String::new()),
        ("?".to_owned(), String::new()),
    ] {
        let answer = stage.get(&format!("{}index.m3u8{query}", stage.high)).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {answer:?}");
        let origin = format!("{}index.m3u8{canonical}", stage.high);
        assert_eq!(stage.tap.count(&origin), 1, "{query}");
    }
    for path in [
        "/live/shop/index.m3u8?a=1",
        "/live/~t/shop/index.m3u8?_HLS_msn=3",
    ] {
        assert_eq!(stage.get(path).await.status, StatusCode::OK);
    }
    assert!(stage.tap.count("/live/shop/index.m3u8") >= 1);
    let all = stage.tap.seen();
    assert!(
        all.iter().all(|seen| !seen.target.contains('~')),
        "{all:#?}"
    );
}

async fn errors_pass_as_the_origin_means_them(kind: Kind) {
    let stage = Stage::start(kind).await;
    // Refused by the origin, with a reason.
    let far = stage
        .get(&format!("{}index.m3u8?_HLS_msn=999999", stage.high))
        .await;
    assert_eq!(far.status, StatusCode::BAD_REQUEST, "{far:?}");
    assert_eq!(far.field("cache-control"), "max-age=1");
    let posted = stage.ask(Method::POST, "/live/shop/index.m3u8", &[]).await;
    let refused = [StatusCode::METHOD_NOT_ALLOWED, StatusCode::FORBIDDEN];
    assert!(refused.contains(&posted.status), "{posted:?}");
    let preflight = stage
        .ask(Method::OPTIONS, "/live/shop/index.m3u8", &[])
        .await;
    assert!(
        preflight
            .field("access-control-allow-methods")
            .contains("GET")
    );

    // A stream that is not there yet is not missing for long.
    let late = "/live/late/index.m3u8";
    let missing = stage.get(late).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND, "{missing:?}");
    let _encoder = Encoder::ffmpeg(&sources::LONG.file(), &stage.daemon.publish_url("l4te"));
    eventually(&stage, late, StatusCode::OK).await;

    // No origin at all: an error that scripts may read, and that goes when the origin is back.
    let nobody = Tap::start(edges::free_address()).await;
    let lonely = Edge::start(kind, [nobody.address(); 2], edges::STRICT).await;
    let url = lonely.url("/live/shop/index.m3u8");
    let failed = ask(&stage.client, Method::GET, url.clone(), &[]).await;
    assert!(failed.status.is_server_error(), "{failed:?}");
    for answer in [&failed, &far, &missing] {
        let all: Vec<_> = answer
            .headers
            .get_all("access-control-allow-origin")
            .iter()
            .collect();
        assert_eq!(all, ["*"], "once, on every answer: {answer:?}");
    }
    assert_eq!(failed.field("cache-control"), "no-store");
    nobody.aim(stage.daemon.address("http"));
    let mut status = failed.status;
    for _ in 0..200 {
        if status == StatusCode::OK {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        status = ask(&stage.client, Method::GET, url.clone(), &[])
            .await
            .status;
    }
    panic!("still {status} though the origin is back");
}

async fn eventually(stage: &Stage, path: &str, wanted: StatusCode) {
    for _ in 0..200 {
        let answer = stage.get(path).await;
        if answer.status == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{path} never became {wanted}");
}

async fn media_is_fetched_once_and_served_in_ranges(kind: Kind) {
    let stage = Stage::start(kind).await;
    let direct = Viewer::new(&stage.daemon.url(""));
    for name in ["init0.mp4", "p0.m4s", "s0.m4s"] {
        let path = format!("{}{name}", stage.high);
        let whole = direct.response(&path).await;
        let etag = whole.headers()["etag"].to_str().expect("ASCII").to_owned();
        let whole = whole.bytes().await.expect("a body");
        // The very first request may ask for a range: the edge fetches the whole all the same.
        let range = stage
            .ask(Method::GET, &path, &[("range", "bytes=10-19")])
            .await;
        assert_eq!(range.status, StatusCode::PARTIAL_CONTENT, "{range:?}");
        assert_eq!(range.body, whole[10..20]);
        assert_eq!(
            range.field("content-range"),
            format!("bytes 10-19/{}", whole.len())
        );
        for path in [
            path.clone(),
            format!("{path}?v=1"),
            path.replacen("/live/", "/live/~t/", 1),
        ] {
            let answer = stage.get(&path).await;
            assert_eq!(
                (answer.status, &answer.body),
                (StatusCode::OK, &whole),
                "{path}"
            );
            assert_eq!(answer.field("etag"), etag, "{path}");
            assert_eq!(answer.field("cache-control"), "max-age=31536000, immutable");
            assert_eq!(answer.field("access-control-allow-origin"), "*");
            assert_eq!(answer.field("x-cache").to_lowercase(), "hit");
        }
        let head = stage.ask(Method::HEAD, &path, &[]).await;
        assert_eq!(head.field("content-length"), whole.len().to_string());
        let known = stage
            .ask(Method::GET, &path, &[("if-none-match", &etag)])
            .await;
        assert_eq!(known.status, StatusCode::NOT_MODIFIED, "{known:?}");
        assert_eq!(stage.tap.count(&path), 1, "{:#?}", stage.tap.seen());
    }
}

async fn an_old_playlist_is_never_served_as_a_new_one(kind: Kind) {
    let stage = Stage::start(kind).await;
    let path = format!("{}index.m3u8", stage.high);
    let (msn, part) = stage.next(1).await;
    let blocked = format!("{path}?_HLS_msn={msn}&_HLS_part={part}");
    let fresh = stage.get(&blocked).await;
    let first = stage.ask(Method::GET, &path, &[]).await;
    let packed = stage.get(&path).await;
    assert_eq!(first.field("content-encoding"), "");
    assert_eq!(packed.field("content-encoding"), "gzip");
    for answer in [&first, &packed] {
        assert!(
            answer
                .field("vary")
                .to_lowercase()
                .contains("accept-encoding"),
            "{answer:?}"
        );
    }
    if stage.tap.count(&path) == 1 {
        assert_eq!(
            unpacked(&packed.body),
            first.body,
            "one version in two forms"
        );
    }
    // Longer than its lifetime (1 s), shorter than any usual grace.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let second = stage.ask(Method::GET, &path, &[]).await;
    assert_ne!(second.body, first.body, "three seconds later");
    // What was asked for by number is the same answer for its lifetime, and says how old it is.
    let again = stage.get(&blocked).await;
    assert_eq!(
        (again.field("etag"), &again.body),
        (fresh.field("etag"), &fresh.body)
    );
    assert_eq!(stage.tap.count(&blocked), 1);
    match kind {
        Kind::Varnish => {
            let age: u64 = again.field("age").parse().expect("W6: seconds");
            assert!(age >= 3, "{again:?}");
        }
        // It knows no Age; the date of the answer is the origin's, which says the same.
        Kind::Nginx => assert_eq!(again.field("date"), fresh.field("date")),
    }
}

async fn a_timeline_is_one_key_and_kept_as_long_as_it_says(kind: Kind) {
    let stage = Stage::start(kind).await;
    let shop = Shop::of(&stage.daemon, "shop");
    let (placed, _) = shop.place(&event("evt_1", "listing.pinned")).await;
    let own = format!("/live/shop/{}/timeline.json", placed["epoch"]);
    let stable = "/live/shop/timeline.json";
    let listed = |answer: &Answer| {
        let body = match answer.field("content-encoding") {
            "gzip" => unpacked(&answer.body),
            _ => answer.body.to_vec(),
        };
        let page: Value = serde_json::from_slice(&body).expect("JSON");
        page["events"][0]["id"] == "evt_1"
    };
    for path in [stable, &own] {
        let end = Instant::now() + Duration::from_secs(30);
        while !listed(&stage.get(path).await) {
            assert!(Instant::now() < end, "{path}: never listed");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let end = stage.daemon.control_url("/v1/streams/shop/end");
    let end = stage.client.post(end).bearer_auth(CONTROL_TOKEN);
    let ended = end.send().await.expect("answered").status();
    assert!(ended.is_success(), "{ended}");
    // What was kept of the live one goes in a second; then it is kept for a minute, whoever asks and however.
    let end = Instant::now() + Duration::from_secs(30);
    while stage.get(stable).await.field("cache-control") != "max-age=60" {
        assert!(Instant::now() < end, "never over");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let before = stage.tap.count(stable);
    for path in [
        stable,
        "/live/~t1/shop/timeline.json",
        "/live/shop/timeline.json?x=1",
    ] {
        let kept = stage.get(path).await;
        assert_eq!(kept.status, StatusCode::OK, "{path}: {kept:?}");
        assert!(listed(&kept), "{path}");
    }
    assert_eq!(stage.tap.count(stable), before, "{:#?}", stage.tap.seen());
}
