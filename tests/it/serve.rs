//! Playlists and media over HTTP: blocking reload, delta updates, caching, ranges, every transport.

use std::{io::Read, thread::JoinHandle, time::Duration};

use reqwest::{Client, Method, Response, StatusCode, Version, header};
use tempfile::TempDir;

use crate::{
    daemon::{Config, Daemon},
    publisher::{Publisher, flv},
    sources::{self, Encoder},
    viewer::{Playlist, Segment, Viewer, client, part_number},
};

/// A daemon with one live stream that goes on for as long as the tests of this file need.
pub(crate) struct Live {
    pub(crate) daemon: Daemon,
    pub(crate) viewer: Viewer,
    /// Folder of the video rendition.
    pub(crate) high: String,
    _encoder: Option<Encoder>,
}

impl Live {
    pub(crate) async fn start(config: Config) -> Self {
        let daemon = Daemon::start(&config.key("k3y", "shop"));
        let encoder = Encoder::ffmpeg(&sources::LONG.file(), &daemon.publish_url("k3y"));
        Self::of(daemon, Some(encoder)).await
    }

    /// With a list long enough for delta updates; the publisher leaves when the daemon does.
    pub(crate) async fn with_history() -> (Self, JoinHandle<()>) {
        let daemon = Daemon::start(&Config::new().key("k3y", "shop"));
        let address = daemon.address("rtmp");
        // Nine seconds at once, as after a stall of the network; the rest in real time.
        let tags = flv::read(sources::LONG.file()).expect("made just now");
        let split = tags.partition_point(|tag| tag.timestamp < 9000);
        let push = std::thread::spawn(move || {
            let (mut publisher, _) = Publisher::publish(address, "live", "k3y").expect("connected");
            publisher.push(&tags[..split], 0, None).expect("taken");
            // Ends with the daemon.
            let _ = publisher.push(&tags[split..], 0, Some(1.0));
        });
        let live = Self::of(daemon, None).await;
        let long_enough = |list: &Playlist| list.duration() > list.skip_boundary() + 2.5;
        live.viewer.follow_until(&live.high, long_enough).await;
        (live, push)
    }

    async fn of(daemon: Daemon, encoder: Option<Encoder>) -> Self {
        let viewer = Viewer::new(&daemon.url(""));
        let high = viewer
            .renditions("shop")
            .await
            .remove("high")
            .expect("a picture");
        Self {
            daemon,
            viewer,
            high,
            _encoder: encoder,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.viewer.response(path).await
    }

    pub(crate) async fn playlist(&self) -> Playlist {
        self.viewer.playlist(&self.high, "").await
    }

    /// A request with one more header.
    async fn with(
        &self,
        method: Method,
        path: &str,
        name: header::HeaderName,
        value: &str,
    ) -> Response {
        let client = client().build().expect("a client");
        let request = client
            .request(method, self.daemon.url(path))
            .header(name, value);
        request.send().await.expect("answered")
    }
}

/// A header as text; empty when absent.
pub(crate) fn field(response: &Response, name: header::HeaderName) -> String {
    let value = response.headers().get(name);
    value.map_or_else(String::new, |value| {
        value.to_str().expect("ASCII").to_owned()
    })
}

/// The seconds of `max-age`.
fn max_age(response: &Response) -> Option<u64> {
    let value = field(response, header::CACHE_CONTROL);
    let mut directives = value.split(',').map(str::trim);
    directives.find_map(|directive| directive.strip_prefix("max-age=")?.parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn b4_b5_b11_r1_blocking_reloads_are_answered_with_what_was_asked_for() {
    let live = Live::start(Config::new()).await;
    let folder = &live.high;
    for _ in 0..8 {
        let (msn, part) = live.playlist().await.next();
        let newer = live
            .viewer
            .playlist(folder, &format!("?_HLS_msn={msn}&_HLS_part={part}"))
            .await;
        assert!(newer.next() > (msn, part), "B11\n{}", newer.text);
    }

    // Without a part, the whole segment is meant.
    let (msn, _) = live.playlist().await.next();
    let whole = live
        .viewer
        .playlist(folder, &format!("?_HLS_msn={msn}"))
        .await;
    let done = |segment: &Segment| segment.msn == msn && segment.uri.is_some();
    assert!(whole.segments.iter().any(done), "B11 {msn}\n{}", whole.text);

    // A part past the end of a segment is the first of the next (B4); what is long past is answered at once (B5).
    let complete = whole.segments.iter().find(|segment| segment.msn == msn);
    let past = complete.map_or(0, |segment| segment.parts.len());
    let query = format!("?_HLS_msn={msn}&_HLS_part={past}");
    let next = live.viewer.playlist(folder, &query).await;
    assert!(next.next() > (msn + 1, 0), "B4 {query}\n{}", next.text);
    live.viewer
        .playlist(folder, "?_HLS_msn=0&_HLS_part=0")
        .await;

    // Reports tell where the other rendition is (R1).
    let playlist = live.playlist().await;
    let [(uri, last_msn, _)] = &playlist.reports[..] else {
        panic!("R1\n{}", playlist.text);
    };
    assert_eq!(uri, "../audio/index.m3u8");
    assert!(
        last_msn.abs_diff(playlist.next().0) <= 1,
        "R2\n{}",
        playlist.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn b1_b2_b3_b10_w8_directives_that_make_no_sense_are_400() {
    let live = Live::start(Config::new()).await;
    let (msn, part) = live.playlist().await.next();
    for (rule, query) in [
        ("B1", "_HLS_part=1".to_owned()),
        ("B2", format!("_HLS_msn={}", msn + 50)),
        ("B3", format!("_HLS_msn={msn}&_HLS_part={}", part + 500)),
        ("a number", "_HLS_msn=soon".to_owned()),
    ] {
        let response = live.get(&format!("{}index.m3u8?{query}", live.high)).await;
        assert_eq!(
            response.status(),
            StatusCode::BAD_REQUEST,
            "{rule}: {query}"
        );
        assert_eq!(max_age(&response), Some(1), "{rule}");
        assert_eq!(
            field(&response, header::ACCESS_CONTROL_ALLOW_ORIGIN),
            "*",
            "W8 {rule}"
        );
    }
    // Unknown parameters never change an answer, directives to come (B10) included.
    for query in [
        "?viewer=7",
        "?_HLS_later=1",
        "?utm=%F0%9F%9B%92&&=",
        "?_HLS_skip=no",
    ] {
        live.viewer.playlist(&live.high, query).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_h3_h4_a_hinted_part_is_held_until_it_is_whole() {
    let live = Live::start(Config::new()).await;
    for _ in 0..5 {
        let playlist = live.playlist().await;
        let hint = playlist.hint.expect("live");
        let path = format!("{}{hint}", live.high);
        let held = live.viewer.bytes(&path).await;
        assert_eq!(&held[4..8], if held[4] == b's' { b"styp" } else { b"moof" });
        assert_eq!(held, live.viewer.bytes(&path).await, "P4");
        let listed = live.playlist().await;
        let parts = listed.segments.iter().flat_map(|segment| &segment.parts);
        assert!(
            parts.into_iter().any(|part| part.uri == hint),
            "H2 {hint}\n{}",
            listed.text
        );
    }
    // H4: neither listed nor hinted.
    let number = part_number(&live.playlist().await.hint.expect("live"));
    let far = live
        .get(&format!("{}p{}.m4s", live.high, number + 500))
        .await;
    assert_eq!(far.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn b9_a_delta_update_skips_what_is_older_than_the_boundary() {
    let (live, push) = Live::with_history().await;
    let boundary = live.playlist().await.skip_boundary();
    let (msn, part) = live.playlist().await.next();
    let query = format!("?_HLS_msn={msn}&_HLS_part={part}&_HLS_skip=YES");
    let text = live
        .viewer
        .text(&format!("{}index.m3u8{query}", live.high))
        .await;
    let delta = Playlist::parse(&text);
    assert!(delta.skipped > 0, "{text}");
    assert!(
        !text.contains("#EXT-X-MAP") || delta.segments[0].map.is_some(),
        "{text}"
    );
    let full = live
        .viewer
        .playlist(&live.high, &format!("?_HLS_msn={msn}&_HLS_part={part}"))
        .await;
    // The full one may be younger; by what it still lists, the skipped ones end before the boundary (B9).
    let first = delta
        .segments
        .first()
        .expect("newer segments are listed")
        .msn;
    let full_end: f64 = full.duration();
    let mut start = 0.0;
    for segment in full.segments.iter().filter(|segment| segment.uri.is_some()) {
        let from_end = full_end - (start + segment.duration);
        if segment.msn < first {
            assert!(
                from_end >= boundary - 0.001,
                "B9: {} skipped\n{text}\n{}",
                segment.msn,
                full.text
            );
        }
        start += segment.duration;
    }
    let tail: f64 = delta.duration();
    assert!(tail >= boundary - 0.001, "B9: too much skipped\n{text}");
    drop(live);
    push.join().expect("pushed");
}

#[tokio::test(flavor = "multi_thread")]
async fn w3_w5_w8_everything_says_how_long_it_may_be_kept() {
    let live = Live::start(Config::new()).await;
    let playlist = live.playlist().await;
    let td = playlist.target_duration;
    let (msn, part) = playlist.next();
    let segment = playlist
        .segments
        .iter()
        .find(|segment| segment.uri.is_some());
    let segment = segment.expect("the probe waited for two key frames");
    let folder = &live.high;
    let listed = segment.uri.clone().expect("complete");
    let map = segment.map.clone().expect("checked");
    const PLAYLIST: &str = "application/vnd.apple.mpegurl";
    const YEAR: u64 = 31_536_000;
    for (path, age, kind) in [
        ("/live/shop/index.m3u8".to_owned(), 1, PLAYLIST),
        (format!("{folder}index.m3u8"), (td / 2).max(1), PLAYLIST),
        (
            format!("{folder}index.m3u8?_HLS_msn={msn}&_HLS_part={part}"),
            6 * td,
            PLAYLIST,
        ),
        (format!("{folder}{map}"), YEAR, "video/mp4"),
        (format!("{folder}{listed}"), YEAR, "video/"),
        (format!("{folder}p0.m4s"), YEAR, "video/"),
    ] {
        let response = live.get(&path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(max_age(&response), Some(age), "{path}");
        let immutable = field(&response, header::CACHE_CONTROL).contains("immutable");
        assert_eq!(immutable, age == YEAR, "{path}");
        let told = field(&response, header::CONTENT_TYPE).to_lowercase();
        assert!(told.starts_with(kind), "{path}: {told}");
        assert_eq!(
            field(&response, header::ACCESS_CONTROL_ALLOW_ORIGIN),
            "*",
            "{path}"
        );
        let exposed = field(&response, header::ACCESS_CONTROL_EXPOSE_HEADERS).to_lowercase();
        for name in ["age", "date", "etag", "content-range"] {
            assert!(exposed.contains(name), "{path}: {name} not in {exposed}");
        }
        assert!(response.headers().contains_key(header::DATE), "{path}");
    }
    for path in [
        "/live/unknown/index.m3u8".to_owned(),
        "/live/shop/1/high/index.m3u8".to_owned(),
        format!("{folder}s999999.m4s"),
        format!("{folder}init77.mp4"),
        format!("{folder}p.m4s"),
        format!("{folder}s-1.m4s"),
        folder.replace("/high/", "/huge/") + "index.m3u8",
        "/live/".to_owned(),
        "/live/shop/../shop/index.m3u8%00".to_owned(),
    ] {
        let response = live.get(&path).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(max_age(&response), Some(1), "{path}");
        assert_eq!(
            field(&response, header::ACCESS_CONTROL_ALLOW_ORIGIN),
            "*",
            "W8 {path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w7_media_is_fetched_in_ranges_and_asked_about_by_etag() {
    let live = Live::start(Config::new()).await;
    let path = format!("{}p0.m4s", live.high);
    let whole = live.get(&path).await;
    let etag = field(&whole, header::ETAG);
    assert!(etag.starts_with('"'), "a strong validator: {etag}");
    let whole = whole.bytes().await.expect("a body");
    let length = whole.len();

    for (range, from, to) in [
        ("bytes=0-99".to_owned(), 0, 99),
        ("bytes=100-".to_owned(), 100, length - 1),
        ("bytes=-10".to_owned(), length - 10, length - 1),
        (format!("bytes=5-{}", length * 2), 5, length - 1),
    ] {
        let response = live.with(Method::GET, &path, header::RANGE, &range).await;
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT, "{range}");
        let told = field(&response, header::CONTENT_RANGE);
        assert_eq!(told, format!("bytes {from}-{to}/{length}"), "{range}");
        assert_eq!(
            response.bytes().await.expect("a body"),
            whole[from..=to],
            "{range}"
        );
    }
    let beyond = format!("bytes={length}-");
    let response = live.with(Method::GET, &path, header::RANGE, &beyond).await;
    assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(
        field(&response, header::CONTENT_RANGE),
        format!("bytes */{length}")
    );

    let response = live
        .with(Method::GET, &path, header::IF_NONE_MATCH, &etag)
        .await;
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(field(&response, header::ETAG), etag);
    let response = live
        .with(Method::GET, &path, header::IF_NONE_MATCH, "\"other\"")
        .await;
    assert_eq!(response.status(), StatusCode::OK);

    let response = live.with(Method::HEAD, &path, header::ACCEPT, "*/*").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(field(&response, header::CONTENT_LENGTH), length.to_string());
    assert!(response.bytes().await.expect("no body").is_empty());

    let origin = live
        .with(
            Method::OPTIONS,
            &path,
            header::ORIGIN,
            "https://shop.example",
        )
        .await;
    assert!(origin.status().is_success(), "{}", origin.status());
    let allowed = field(&origin, header::ACCESS_CONTROL_ALLOW_METHODS);
    assert!(
        allowed.contains("GET") && allowed.contains("HEAD"),
        "{allowed}"
    );
    let posted = live.with(Method::POST, &path, header::ACCEPT, "*/*").await;
    assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(flavor = "multi_thread")]
async fn w2_playlists_are_packed_for_those_who_ask() {
    let live = Live::start(Config::new()).await;
    let (msn, _) = live.playlist().await.next();
    // One version, asked for twice: as text and packed.
    let path = format!("{}index.m3u8?_HLS_msn={}&_HLS_part=0", live.high, msn);
    for path in ["/live/shop/index.m3u8", &path] {
        let packed = live
            .with(Method::GET, path, header::ACCEPT_ENCODING, "br, gzip")
            .await;
        assert_eq!(field(&packed, header::CONTENT_ENCODING), "gzip", "{path}");
        assert!(
            field(&packed, header::VARY)
                .to_lowercase()
                .contains("accept-encoding"),
            "{path}"
        );
        let packed_etag = field(&packed, header::ETAG);
        let packed = packed.bytes().await.expect("a body");
        let mut text = String::new();
        let mut reader = flate2::read::GzDecoder::new(&packed[..]);
        reader.read_to_string(&mut text).expect("gzip");
        assert!(text.starts_with("#EXTM3U"), "{text}");
        let plain = live
            .with(Method::GET, path, header::ACCEPT_ENCODING, "gzip;q=0, br")
            .await;
        assert_eq!(field(&plain, header::CONTENT_ENCODING), "", "{path}");
        assert!(
            field(&plain, header::VARY)
                .to_lowercase()
                .contains("accept-encoding"),
            "{path}"
        );
        assert_ne!(
            field(&plain, header::ETAG),
            packed_etag,
            "other bytes, other validator"
        );
    }
    let media = format!("{}p0.m4s", live.high);
    let media = live
        .with(Method::GET, &media, header::ACCEPT_ENCODING, "gzip")
        .await;
    assert_eq!(
        field(&media, header::CONTENT_ENCODING),
        "",
        "media is not packed again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn w1_w2_every_door_serves_the_same_stream() {
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("index.html"), "<title>shop</title>").expect("written");
    std::fs::write(folder.path().join("app.js"), "let shop").expect("written");
    std::fs::write(folder.path().with_extension("outside"), "secret").expect("written");
    let config = Config::new()
        .tls()
        .static_dir(folder.path())
        .key("k3y", "shop");
    let daemon = Daemon::start(&config.publish("grace_after_stop = \"1s\""));
    let url = format!("rtmps://{}/live/k3y", daemon.address("rtmps"));
    let encoder = Encoder::ffmpeg(&sources::LONG.file(), &url);
    let live = Live::of(daemon, Some(encoder)).await;

    let certificate = live.daemon.certificate();
    let certificate = reqwest::Certificate::from_pem(&certificate).expect("PEM");
    let trusting = || client().add_root_certificate(certificate.clone());
    let http = live.daemon.url("");
    let https = format!("https://{}", live.daemon.address("https"));
    let transports: [(&str, Client, &str, Version); 4] = [
        (
            "h1",
            client().http1_only().build().expect("a client"),
            &http,
            Version::HTTP_11,
        ),
        (
            "h2c",
            client().http2_prior_knowledge().build().expect("a client"),
            &http,
            Version::HTTP_2,
        ),
        (
            "h1 over TLS",
            trusting().http1_only().build().expect("a client"),
            &https,
            Version::HTTP_11,
        ),
        (
            "h2 by ALPN",
            trusting().build().expect("a client"),
            &https,
            Version::HTTP_2,
        ),
    ];
    let segment = live.playlist().await.segments[0]
        .uri
        .clone()
        .expect("complete");
    let wanted = live.viewer.bytes(&format!("{}{segment}", live.high)).await;
    for (name, client, root, version) in transports {
        let viewer = Viewer::with(client, root);
        let response = viewer.response("/live/shop/index.m3u8").await;
        assert_eq!(
            (response.status(), response.version()),
            (StatusCode::OK, version),
            "{name}"
        );
        let (msn, part) = viewer.playlist(&live.high, "").await.next();
        let query = format!("?_HLS_msn={msn}&_HLS_part={part}");
        viewer.playlist(&live.high, &query).await;
        let got = viewer.bytes(&format!("{}{segment}", live.high)).await;
        assert_eq!(got, wanted, "{name}");
    }

    let page = live.get("/").await;
    assert!(field(&page, header::CONTENT_TYPE).starts_with("text/html"));
    assert_eq!(page.text().await.expect("a body"), "<title>shop</title>");
    let script = live.get("/app.js").await;
    assert!(field(&script, header::CONTENT_TYPE).contains("javascript"));
    let outside = folder.path().with_extension("outside");
    let outside = outside
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    for path in [
        "/nothing.html".to_owned(),
        format!("/..%2f{outside}"),
        format!("/%2e%2e/{outside}"),
        format!("//{outside}"),
    ] {
        assert_eq!(
            live.get(&path).await.status(),
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    std::fs::remove_file(folder.path().with_extension("outside")).expect("removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_h5_an_ended_stream_can_be_finished() {
    let config = Config::new().key("k3y", "shop");
    let daemon = Daemon::start(&config.publish("grace_after_stop = \"1s\""));
    let address = daemon.address("rtmp");
    let viewer = Viewer::new(&daemon.url(""));
    let push = tokio::task::spawn_blocking(move || {
        let (mut publisher, _) = Publisher::publish(address, "live", "k3y").expect("connected");
        let tags = flv::read(sources::SHORT.file()).expect("made just now");
        publisher.push(&tags, 0, None).expect("taken");
        publisher.stop().expect("stopped");
        publisher
    });
    let renditions = viewer.renditions("shop").await;
    let recording = viewer.follow(&renditions["high"]).await;
    push.await.expect("pushed");
    // Ended playlists and media stay, directives are ignored (B7), and caches may keep the playlist for a minute.
    let path = format!("{}index.m3u8?_HLS_msn=900&_HLS_part=0", renditions["high"]);
    let response = viewer.response(&path).await;
    assert_eq!(
        (response.status(), max_age(&response)),
        (StatusCode::OK, Some(60))
    );
    let text = response.text().await.expect("a body");
    assert!(text.trim_end().ends_with("#EXT-X-ENDLIST"), "{text}");
    assert!(!text.contains("PRELOAD-HINT"), "H5\n{text}");
    for kept in &recording.segments {
        let uri = kept.segment.uri.as_deref().expect("complete");
        let again = viewer.bytes(&format!("{}{uri}", renditions["high"])).await;
        assert_eq!(again, kept.bytes, "{uri}");
    }
    tokio::time::timeout(
        Duration::from_secs(10),
        viewer.response("/live/shop/index.m3u8"),
    )
    .await
    .expect("an ended stream is not waited for");
}
