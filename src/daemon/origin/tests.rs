//! The HTTP contract of the origin, on a stream whose parts are placed by hand and a clock that stands still.

mod takedown;
mod timeline;

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::{Request, Response, header};
use tokio::{task::JoinHandle, time::advance};
use vitrine_core::{
    limits,
    media::Rendition::{Audio, High},
};

use super::{Origin, body::Body};
use crate::live::{
    fixture::{PARTS, Stage},
    status::State,
};

/// An answer, its body read.
struct Answer {
    head: Response<()>,
    body: Vec<u8>,
}

impl Answer {
    async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        Self {
            head: Response::from_parts(parts, ()),
            body: body.collect().await.expect("no I/O").to_bytes().to_vec(),
        }
    }

    fn status(&self) -> u16 {
        self.head.status().as_u16()
    }

    fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.head
            .headers()
            .get(name)
            .map_or("", |value| value.to_str().expect("ASCII"))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }
}

async fn send(stage: &Stage, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let origin = Origin::new(stage.registry.clone(), None);
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(origin.handle(request.body(()).expect("valid")).await).await
}

async fn get(stage: &Stage, path: &str) -> Answer {
    send(stage, "GET", path, &[]).await
}

/// Asks, and gives the request the time to find out that it must wait.
async fn ask(stage: &Stage, path: &str) -> JoinHandle<Answer> {
    let origin = Origin::new(stage.registry.clone(), None);
    let request = Request::builder().uri(path).body(()).expect("valid");
    let asked = tokio::spawn(async move { Answer::of(origin.handle(request).await).await });
    tokio::task::yield_now().await;
    asked
}

/// A live stream with one whole segment and one part of the next in each rendition.
fn live() -> Stage {
    let mut stage = Stage::new();
    for _ in 0..=PARTS {
        stage.part(7, High);
        stage.part(7, Audio);
    }
    stage.present(7);
    stage.state(State::Live);
    stage
}

#[tokio::test(start_paused = true)]
async fn w3_w5_each_resource_has_its_type_and_lifetime() {
    let mut stage = live();
    let long = "max-age=31536000, immutable";
    let playlist = "application/vnd.apple.mpegurl";
    for (path, media_type, cache) in [
        ("/live/demo/index.m3u8", playlist, "max-age=1"),
        (
            "/live/demo/index.m3u8?_HLS_msn=9&x=y",
            playlist,
            "max-age=1",
        ),
        ("/live/demo/7/high/index.m3u8", playlist, "max-age=1"),
        (
            "/live/demo/7/high/index.m3u8?_HLS_skip=YES",
            playlist,
            "max-age=1",
        ),
        (
            "/live/demo/7/high/index.m3u8?_HLS_msn=0",
            playlist,
            "max-age=12",
        ),
        (
            "/live/demo/7/high/index.m3u8?_HLS_msn=1&_HLS_part=0",
            playlist,
            "max-age=12",
        ),
        ("/live/demo/7/high/init0.mp4", "video/mp4", long),
        ("/live/demo/7/audio/init0.mp4", "audio/mp4", long),
        ("/live/demo/7/high/s0.m4s", "video/iso.segment", long),
        ("/live/demo/7/audio/s0.m4s", "audio/mp4", long),
        (
            "/live/demo/7/high/p5.m4s?anything",
            "video/iso.segment",
            long,
        ),
    ] {
        let answer = get(&stage, path).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.header("content-type"), media_type, "{path}");
        assert_eq!(answer.header("cache-control"), cache, "{path}");
        assert_eq!(
            answer.header("content-length"),
            answer.body.len().to_string(),
            "{path}"
        );
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
        assert_eq!(
            answer.header("access-control-expose-headers"),
            "Age, Date, ETag, Content-Range"
        );
        let head = send(&stage, "HEAD", path, &[]).await;
        assert_eq!((head.status(), head.body.len()), (200, 0), "{path}");
        assert_eq!(head.head.headers(), answer.head.headers(), "{path}");
    }
    assert_eq!(
        get(&stage, "/live/demo/7/high/s0.m4s").await.text(),
        "high0high1high2high3high4"
    );
    stage.end(7, false);
    for query in ["", "?_HLS_msn=99", "?_HLS_skip=YES"] {
        let ended = get(&stage, &format!("/live/demo/7/high/index.m3u8{query}")).await;
        assert_eq!(
            (ended.status(), ended.header("cache-control")),
            (200, "max-age=60"),
            "B7 {query}"
        );
        assert!(ended.text().contains("#EXT-X-ENDLIST"));
    }
}

#[tokio::test(start_paused = true)]
async fn w5_w8_errors_have_their_lifetime_and_can_be_read_by_pages() {
    let mut stage = live();
    stage.gap(7, High);
    for (path, status, cache) in [
        ("/live/nobody/index.m3u8", 404, "max-age=1"),
        ("/live/demo/8/high/index.m3u8", 404, "max-age=1"),
        ("/live/demo/7/mid/index.m3u8", 404, "max-age=1"),
        ("/live/demo/7/high/init1.mp4", 404, "max-age=1"),
        ("/live/demo/7/high/s9.m4s", 404, "max-age=1"),
        ("/live/demo/7/high/p99.m4s", 404, "max-age=1"),
        ("/live/demo/7/high/p6.m4s", 404, "max-age=1"),
        ("/live/demo/thumbnail.jpg", 404, "max-age=1"),
        ("/live/nobody/timeline.json", 404, "max-age=1"),
        ("/live/demo/8/timeline.json", 404, "max-age=1"),
        ("/elsewhere", 404, "max-age=1"),
        ("/live/demo/7/high/index.m3u8?_HLS_part=0", 400, "max-age=1"),
        ("/live/demo/7/high/index.m3u8?_HLS_msn=x", 400, "max-age=1"),
        ("/live/demo/7/high/index.m3u8?_HLS_msn=3", 400, "max-age=1"),
    ] {
        let answer = get(&stage, path).await;
        assert_eq!(
            (answer.status(), answer.header("cache-control")),
            (status, cache),
            "{path}"
        );
        assert_eq!(
            answer.header("access-control-allow-origin"),
            "*",
            "W8 {path}"
        );
        assert_eq!(
            answer.header("content-length"),
            answer.body.len().to_string(),
            "{path}"
        );
    }
    let post = send(&stage, "POST", "/live/demo/index.m3u8", &[]).await;
    assert_eq!(
        (post.status(), post.header("allow")),
        (405, "GET, HEAD, OPTIONS")
    );
    let preflight = send(
        &stage,
        "OPTIONS",
        "/live/demo/7/high/p5.m4s",
        &[("origin", "https://shop.example")],
    )
    .await;
    assert_eq!(preflight.status(), 204);
    assert_eq!(
        preflight.header("access-control-allow-methods"),
        "GET, HEAD, OPTIONS"
    );
}

#[tokio::test(start_paused = true)]
async fn b11_a_blocked_reload_is_answered_by_the_part_it_asked_for() {
    let mut stage = live();
    let asked = ask(
        &stage,
        "/live/demo/7/high/index.m3u8?_HLS_msn=1&_HLS_part=2",
    )
    .await;
    assert_eq!(stage.live.waiters(), 1);
    stage.part(7, High);
    tokio::task::yield_now().await;
    assert!(
        !asked.is_finished(),
        "B11: never less than what was asked for"
    );
    stage.part(7, High);
    let answer = asked.await.expect("answered");
    assert_eq!(
        (answer.status(), answer.header("cache-control")),
        (200, "max-age=12")
    );
    assert!(answer.text().contains("p7.m4s"));
    assert_eq!(stage.live.waiters(), 0);
}

#[tokio::test(start_paused = true)]
async fn b12_all_waiters_of_a_version_share_one_text() {
    let mut stage = live();
    let mut asked = Vec::new();
    for _ in 0..100 {
        asked.push(
            ask(
                &stage,
                "/live/demo/7/high/index.m3u8?_HLS_msn=1&_HLS_part=1",
            )
            .await,
        );
    }
    assert_eq!(stage.live.waiters(), 100);
    stage.part(7, High);
    let mut etags = Vec::new();
    for asked in asked {
        etags.push(asked.await.expect("answered").header("etag").to_owned());
    }
    etags.dedup();
    assert_eq!(etags.len(), 1, "B12");
}

#[tokio::test(start_paused = true)]
async fn h3_the_hinted_part_is_held_until_it_is_whole() {
    let mut stage = live();
    let asked = ask(&stage, "/live/demo/7/high/p6.m4s").await;
    assert!(!asked.is_finished());
    stage.part(7, High);
    let answer = asked.await.expect("answered");
    assert_eq!((answer.status(), answer.text()), (200, "high6"));
    assert_eq!(
        answer.header("cache-control"),
        "max-age=31536000, immutable"
    );
}

#[tokio::test(start_paused = true)]
async fn h2_w5_a_hint_that_never_comes_true_is_a_404_for_four_target_durations() {
    for end in [false, true] {
        let mut stage = live();
        let asked = ask(&stage, "/live/demo/7/high/p6.m4s").await;
        if end {
            stage.end(7, false)
        } else {
            stage.gap(7, High)
        }
        let answer = asked.await.expect("answered");
        assert_eq!(
            (answer.status(), answer.header("cache-control")),
            (404, "max-age=8"),
            "{end}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn b6_a_wait_of_three_target_durations_is_a_503() {
    let stage = live();
    for path in [
        "/live/demo/7/high/index.m3u8?_HLS_msn=2",
        "/live/demo/7/high/p6.m4s",
    ] {
        let asked = ask(&stage, path).await;
        advance(Duration::from_millis(5_999)).await;
        tokio::task::yield_now().await;
        assert!(!asked.is_finished(), "{path}");
        advance(Duration::from_millis(2)).await;
        let answer = asked.await.expect("answered");
        assert_eq!(
            (answer.status(), answer.header("cache-control")),
            (503, "no-store"),
            "B6 {path}"
        );
        assert_eq!(answer.header("retry-after"), "1");
    }
    assert_eq!(stage.live.waiters(), 0);
}

#[tokio::test(start_paused = true)]
async fn too_many_waiters_are_turned_away() {
    let stage = live();
    let waiters: Vec<_> = (0..limits::WAITERS_PER_STREAM_MAX)
        .map(|_| stage.live.wait())
        .collect();
    let answer = get(&stage, "/live/demo/7/high/p6.m4s").await;
    assert_eq!(
        (answer.status(), answer.header("cache-control")),
        (503, "no-store")
    );
    drop(waiters);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_vanishes_leaves_nobody_waiting() {
    let stage = live();
    let asked = ask(&stage, "/live/demo/7/high/p6.m4s").await;
    drop(stage);
    assert_eq!(asked.await.expect("answered").status(), 503);
}

#[tokio::test(start_paused = true)]
async fn the_stable_address_waits_for_a_stream_that_is_about_to_begin() {
    let mut stage = Stage::new();
    let asked = ask(&stage, "/live/demo/index.m3u8").await;
    stage.present(7);
    stage.part(7, High);
    tokio::task::yield_now().await;
    assert!(!asked.is_finished(), "audio is listed and has no part");
    stage.part(7, Audio);
    let answer = asked.await.expect("answered");
    assert!(
        answer.text().contains("7/high/index.m3u8"),
        "{}",
        answer.text()
    );

    let stage = Stage::new();
    let asked = ask(&stage, "/live/demo/index.m3u8").await;
    advance(limits::MULTIVARIANT_WAIT).await;
    assert_eq!(
        asked.await.expect("answered").status(),
        503,
        "not 404: it is live"
    );
    stage.state(State::Ended);
    assert_eq!(get(&stage, "/live/demo/index.m3u8").await.status(), 404);
}

#[tokio::test(start_paused = true)]
async fn w2_playlists_are_compressed_and_validated() {
    let stage = live();
    for path in ["/live/demo/index.m3u8", "/live/demo/7/high/index.m3u8"] {
        let plain = get(&stage, path).await;
        assert_eq!(plain.header("vary"), "Accept-Encoding");
        assert_eq!(plain.header("content-encoding"), "");
        let gzip = send(
            &stage,
            "GET",
            path,
            &[("accept-encoding", "br, gzip;q=0.5")],
        )
        .await;
        assert_eq!(
            (gzip.header("content-encoding"), gzip.header("vary")),
            ("gzip", "Accept-Encoding")
        );
        let mut text = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&gzip.body[..]), &mut text)
            .expect("gzip");
        assert_eq!(text, plain.text());
        assert_ne!(
            gzip.header("etag"),
            plain.header("etag"),
            "two representations"
        );
        for refusal in ["identity", "gzip;q=0", "*;q=0", ""] {
            let answer = send(&stage, "GET", path, &[("accept-encoding", refusal)]).await;
            assert_eq!(answer.header("content-encoding"), "", "{refusal}");
        }
        let same = send(
            &stage,
            "GET",
            path,
            &[("if-none-match", plain.header("etag"))],
        )
        .await;
        assert_eq!((same.status(), same.body.len()), (304, 0));
        assert_eq!(
            (same.header("etag"), same.header("vary")),
            (plain.header("etag"), "Accept-Encoding")
        );
        assert_eq!(same.header("cache-control"), "max-age=1");
        let other = send(&stage, "GET", path, &[("if-none-match", "\"other\"")]).await;
        assert_eq!(other.status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn w7_media_is_sent_in_ranges() {
    let stage = live();
    let path = "/live/demo/7/high/s0.m4s";
    let whole = get(&stage, path).await;
    assert_eq!(whole.header("accept-ranges"), "bytes");
    let etag = whole.header("etag").to_owned();
    let answer = send(&stage, "GET", path, &[("range", "bytes=3-11")]).await;
    assert_eq!((answer.status(), answer.text()), (206, "h0high1hi"));
    assert_eq!(
        (
            answer.header("content-range"),
            answer.header("content-length")
        ),
        ("bytes 3-11/25", "9")
    );
    let answer = send(&stage, "GET", path, &[("range", "bytes=25-")]).await;
    assert_eq!(
        (answer.status(), answer.header("content-range")),
        (416, "bytes */25")
    );
    assert_eq!(answer.header("cache-control"), "max-age=1");
    let answer = send(&stage, "GET", path, &[("range", "bytes=-4")]).await;
    assert_eq!((answer.status(), answer.text()), (206, "igh4"));
    let head = send(&stage, "HEAD", path, &[("range", "bytes=3-11")]).await;
    assert_eq!(head.status(), 200, "a range is of GET alone");
    for (header, status) in [
        (("if-range", etag.as_str()), 206),
        (("if-range", "\"other\""), 200),
    ] {
        let answer = send(&stage, "GET", path, &[("range", "bytes=0-0"), header]).await;
        assert_eq!(answer.status(), status, "{header:?}");
    }
    let same = send(
        &stage,
        "GET",
        path,
        &[("if-none-match", &etag), ("range", "bytes=0-0")],
    )
    .await;
    assert_eq!(same.status(), 304);
    let playlist = send(
        &stage,
        "GET",
        "/live/demo/index.m3u8",
        &[("range", "bytes=0-0")],
    )
    .await;
    assert_eq!(playlist.status(), 200);
}

#[tokio::test]
async fn a_folder_is_served_at_the_root_and_nothing_outside_it() {
    let stage = live();
    let folder = tempfile::tempdir().expect("temporary folder");
    let public = folder.path().join("public");
    std::fs::create_dir(&public).expect("made");
    std::fs::write(public.join("index.html"), "<title>demo</title>").expect("written");
    std::fs::write(folder.path().join("secret"), "s").expect("written");
    let origin = Origin::new(stage.registry.clone(), Some(&public));
    for (path, status) in [
        ("/", 200),
        ("/index.html", 200),
        ("/none", 404),
        ("/../secret", 404),
        ("/%2e%2e/secret", 404),
    ] {
        let request = Request::builder().uri(path).body(()).expect("valid");
        let answer = Answer::of(origin.handle(request).await).await;
        assert_eq!(answer.status(), status, "{path}");
    }
}

/// The whole table of lifetimes: every path, by what becomes of it, in every state of the stream.
#[tokio::test(start_paused = true)]
async fn w5_every_path_in_every_state_says_how_long_it_may_be_kept() {
    const YEAR: &str = "max-age=31536000, immutable";
    const MISSING: (u16, &str) = (404, "max-age=1");
    const REFUSED: (u16, &str) = (400, "max-age=1");
    // Path; answer while live; answer after the end.
    let table = [
        (
            "/live/demo/index.m3u8",
            (200, "max-age=1"),
            (200, "max-age=1"),
        ),
        (
            "/live/demo/7/high/index.m3u8",
            (200, "max-age=1"),
            (200, "max-age=60"),
        ),
        (
            "/live/demo/7/high/index.m3u8?x=1",
            (200, "max-age=1"),
            (200, "max-age=60"),
        ),
        (
            "/live/demo/7/high/index.m3u8?_HLS_skip=YES",
            (200, "max-age=1"),
            (200, "max-age=60"),
        ),
        (
            "/live/demo/7/high/index.m3u8?_HLS_msn=0",
            (200, "max-age=12"),
            (200, "max-age=60"),
        ),
        (
            "/live/demo/7/high/index.m3u8?_HLS_msn=1&_HLS_part=0",
            (200, "max-age=12"),
            (200, "max-age=60"),
        ),
        (
            "/live/demo/7/high/index.m3u8?_HLS_msn=1&_HLS_part=0&_HLS_skip=v2",
            (200, "max-age=12"),
            (200, "max-age=60"),
        ),
        // Held, and nothing comes.
        (
            "/live/demo/7/high/index.m3u8?_HLS_msn=1&_HLS_part=1",
            (503, "no-store"),
            (200, "max-age=60"),
        ),
        (
            "/live/demo/7/high/index.m3u8?_HLS_msn=2",
            (503, "no-store"),
            (200, "max-age=60"),
        ),
        ("/live/demo/7/high/p6.m4s", (503, "no-store"), MISSING),
        (
            "/live/demo/7/high/index.m3u8?_HLS_msn=9",
            REFUSED,
            (200, "max-age=60"),
        ),
        ("/live/demo/7/high/index.m3u8?_HLS_part=1", REFUSED, REFUSED),
        (
            "/live/demo/7/high/index.m3u8?_HLS_msn=soon",
            REFUSED,
            REFUSED,
        ),
        ("/live/demo/7/high/init0.mp4", (200, YEAR), (200, YEAR)),
        ("/live/demo/7/high/s0.m4s", (200, YEAR), (200, YEAR)),
        ("/live/demo/7/high/p0.m4s", (200, YEAR), (200, YEAR)),
        ("/live/demo/7/audio/p5.m4s", (200, YEAR), (200, YEAR)),
        ("/live/demo/7/high/s1.m4s", MISSING, (200, YEAR)),
        ("/live/demo/7/high/p7.m4s", MISSING, MISSING),
        ("/live/demo/7/high/init9.mp4", MISSING, MISSING),
        ("/live/demo/7/low/index.m3u8", MISSING, MISSING),
        ("/live/demo/6/high/index.m3u8", MISSING, MISSING),
        ("/live/nobody/index.m3u8", MISSING, MISSING),
        (
            "/live/demo/thumbnail.jpg",
            (200, "max-age=5"),
            (200, "max-age=5"),
        ),
        ("/live/nobody/thumbnail.jpg", MISSING, MISSING),
        ("/live/", MISSING, MISSING),
    ];
    let mut stage = live();
    stage.thumbnail(b"still");
    for ended in [false, true] {
        if ended {
            stage.end(7, false);
            stage.state(State::Ended);
        }
        for (path, live, after) in table {
            let (status, cache) = if ended { after } else { live };
            for method in ["GET", "HEAD"] {
                let answer = send(&stage, method, path, &[]).await;
                let got = (answer.status(), answer.header("cache-control"));
                assert_eq!(got, (status, cache), "{method} {path}, ended: {ended}");
                assert_eq!(
                    answer.header("access-control-allow-origin"),
                    "*",
                    "W8 {path}"
                );
                if status == 200 {
                    let again = [("if-none-match", answer.header("etag"))];
                    let same = send(&stage, method, path, &again).await;
                    let got = (same.status(), same.header("cache-control"));
                    assert_eq!(got, (304, cache), "{method} {path}, ended: {ended}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p12_nothing_says_when_it_was_last_modified() {
    let mut stage = live();
    for ended in [false, true] {
        if ended {
            stage.end(7, false);
        }
        for path in ["index.m3u8?_HLS_msn=0", "index.m3u8", "s0.m4s", "p0.m4s"] {
            let answer = get(&stage, &format!("/live/demo/7/high/{path}")).await;
            assert_eq!(
                (answer.status(), answer.header("last-modified")),
                (200, ""),
                "{path}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_thumbnail_is_the_last_still_and_stays_until_another_broadcast() {
    let path = "/live/demo/thumbnail.jpg";
    let mut stage = live();
    let none = get(&stage, path).await;
    assert_eq!(
        (none.status(), none.header("cache-control")),
        (404, "max-age=1")
    );
    stage.thumbnail(b"first still");
    let first = get(&stage, path).await;
    assert_eq!((first.status(), first.text()), (200, "first still"));
    for (name, value) in [
        ("content-type", "image/jpeg"),
        ("cache-control", "max-age=5"),
        ("content-length", "11"),
        ("accept-ranges", "bytes"),
        ("vary", ""),
        ("access-control-allow-origin", "*"),
    ] {
        assert_eq!(first.header(name), value, "{name}");
    }
    let etag = first.header("etag");
    assert!(etag.starts_with('"'), "strong: {etag}");
    let head = send(&stage, "HEAD", path, &[]).await;
    assert_eq!((head.status(), head.body.len()), (200, 0));
    assert_eq!(head.head.headers(), first.head.headers());
    let known = [("if-none-match", etag)];
    let same = send(&stage, "GET", path, &known).await;
    assert_eq!((same.status(), same.body.len()), (304, 0));
    assert_eq!(send(&stage, "POST", path, &[]).await.status(), 405);
    let queried = get(&stage, "/live/demo/thumbnail.jpg?t=1").await;
    assert_eq!(queried.status(), 200);

    stage.thumbnail(b"second still");
    let second = send(&stage, "GET", path, &known).await;
    assert_eq!((second.status(), second.text()), (200, "second still"));

    stage.state(State::Ended);
    stage.end(7, false);
    assert_eq!(get(&stage, path).await.status(), 200, "in retention");
    stage.opened();
    assert_eq!(get(&stage, path).await.status(), 404, "another broadcast");
    assert_eq!(
        get(&stage, "/live/nobody/thumbnail.jpg").await.status(),
        404
    );
}
