//! Two origins that a splitting publisher feeds under one epoch answer alike, to the byte and to the validator.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use reqwest::{Client, StatusCode};

use crate::{
    daemon::{Config, Daemon},
    edges::{Edge, Kind},
    publisher::{
        Publisher,
        flv::{self, Tag},
    },
    sources,
    splitter::{Splitter, unix_seconds},
    viewer::{Playlist, Viewer, client},
};

/// A key whose publisher names the epoch. Starvation is an affair of each origin's own clock: it is kept far away.
fn config() -> Config {
    let config = Config::new().key("k3y", "shop").hls("max_gop = \"10s\"");
    config.key_option("epoch = \"publisher\"")
}

/// What an origin says of one URL: everything but the time of the answer.
async fn said(client: &Client, url: String, gzip: bool) -> (StatusCode, Vec<String>, Bytes) {
    let coding = if gzip { "gzip" } else { "identity" };
    let response = client
        .get(&url)
        .header("accept-encoding", coding)
        .send()
        .await;
    let response = response.unwrap_or_else(|error| panic!("{url}: {error:?}"));
    let mut fields: Vec<String> = response
        .headers()
        .iter()
        .filter(|(name, _)| *name != "date")
        .map(|(name, value)| format!("{name}: {value:?}"))
        .collect();
    fields.sort();
    let status = response.status();
    (status, fields, response.bytes().await.expect("a body"))
}

/// Compares every URL of the stream as it stands; gives how many there were.
async fn compare(origins: &[Daemon; 2], folders: &BTreeSet<String>) -> usize {
    let client = client().build().expect("a client");
    let mut paths = BTreeSet::from(["/live/shop/index.m3u8".to_owned()]);
    for folder in folders {
        let viewer = Viewer::new(&origins[0].url(""));
        let list = viewer.playlist(folder, "").await;
        let (msn, part) = list.next();
        for query in [
            "",
            "?_HLS_skip=YES",
            "?_HLS_msn=0",
            "?_HLS_msn=99999",
            "?_HLS_part=1",
        ] {
            paths.insert(format!("{folder}index.m3u8{query}"));
        }
        if part > 0 {
            let query = format!("?_HLS_msn={msn}&_HLS_part={}&_HLS_skip=YES", part - 1);
            paths.insert(format!("{folder}index.m3u8{query}"));
        }
        for segment in &list.segments {
            let uris = segment.map.iter().chain(&segment.uri);
            for uri in uris.chain(segment.parts.iter().map(|part| &part.uri)) {
                paths.insert(format!("{folder}{uri}"));
            }
        }
        // Media that is no longer listed in parts, or not yet there at all.
        paths.extend(
            ["p0.m4s", "p7.m4s", "s0.m4s", "p99999.m4s"].map(|name| format!("{folder}{name}")),
        );
    }
    for path in &paths {
        for gzip in [false, true] {
            let [one, other] = origins
                .each_ref()
                .map(|origin| said(&client, origin.url(path), gzip));
            let (one, other) = tokio::join!(one, other);
            assert_eq!(one, other, "{path}, gzip {gzip}");
        }
    }
    paths.len()
}

/// Waits until both have taken the media of `tags`; the rest of their way is [`settle`]'s.
async fn take(origins: &[Daemon; 2], tags: &[Tag]) {
    let sent: usize = tags.iter().map(media_bytes).sum();
    let line = format!("vitrine_ingest_media_bytes_total {sent}");
    for origin in origins {
        let mut page = String::new();
        let mut takes = 0..150;
        while !page.lines().any(|it| it == line) {
            assert!(takes.next().is_some(), "never {line}:\n{page}");
            tokio::time::sleep(Duration::from_millis(100)).await;
            page = origin.control("/metrics").await;
        }
    }
}

/// The access unit in a tag of H.264 or AAC; none in one of configuration or metadata.
fn media_bytes(tag: &Tag) -> usize {
    let header = match tag.kind {
        9 => 5,
        8 => 2,
        _ => return 0,
    };
    match tag.body.get(1) {
        Some(1) => tag.body.len() - header,
        _ => 0,
    }
}

/// Waits until both have worked up what they took: equal, and still so a little later.
async fn settle(origins: &[Daemon; 2], folder: &str) {
    let path = format!("{folder}index.m3u8");
    let mut before = String::new();
    for _ in 0..150 {
        let mut texts = Vec::new();
        for origin in origins {
            texts.push(Viewer::new(&origin.url("")).text(&path).await);
        }
        if texts[0] == texts[1] && texts[0] == before {
            return;
        }
        before = texts.swap_remove(0);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("they never agree:\n{before}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_origins_fed_the_same_bytes_and_epoch_answer_alike() {
    let origins = [Daemon::start(&config()), Daemon::start(&config())];
    let doors = origins.each_ref().map(|origin| origin.address("rtmp"));
    let tags = flv::read(sources::LONG.file()).expect("made just now");
    let mut splitter = Splitter::connect(&doors, "k3y", unix_seconds()).expect("both accept");
    let mut recordings = Vec::new();
    let (mut folders, mut from, mut compared) = (BTreeSet::new(), 0, 0);
    // In the middle of the window, of a segment, of a part.
    for until_ms in [2500, 4980, 9333, 16_017, 21_000] {
        let to = tags.partition_point(|tag| tag.timestamp < until_ms);
        let batch = tags[from..to].to_vec();
        from = to;
        splitter = tokio::task::spawn_blocking(move || {
            splitter.push(&batch, 4.0);
            splitter
        })
        .await
        .expect("pushed");
        if recordings.is_empty() {
            for origin in &origins {
                let viewer = Viewer::new(&origin.url(""));
                folders.extend(viewer.renditions("shop").await.into_values());
                // Beside all pauses: what both serve while it runs.
                recordings.push(tokio::spawn(async move { viewer.record("shop").await }));
            }
            assert_eq!(folders.len(), 2, "the same names in both: {folders:?}");
        }
        take(&origins, &tags[..to]).await;
        for folder in &folders {
            settle(&origins, folder).await;
        }
        compared += compare(&origins, &folders).await;
    }
    assert!(compared > 200, "{compared} URLs");
    splitter.stop();
    let one = recordings.remove(0).await.expect("recorded");
    let other = recordings.remove(0).await.expect("recorded");
    for (rendition, one) in &one {
        let other = &other[rendition];
        assert_eq!(one.inits, other.inits, "{rendition}");
        // Who came a moment later has not seen the first ones listed.
        let both = one
            .parts
            .iter()
            .filter(|(number, _)| other.parts.contains_key(number));
        let alike =
            both.inspect(|(number, part)| assert_eq!(*part, &other.parts[number], "p{number}"));
        assert!(alike.count() > 50, "{rendition}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn program_date_time_begins_with_the_epoch_and_a_return_goes_on_with_it() {
    let origins = [Daemon::start(&config()), Daemon::start(&config())];
    let doors = origins.each_ref().map(|origin| origin.address("rtmp"));
    let tags = flv::read(sources::SHORT.file()).expect("made just now");
    let epoch = unix_seconds() - 5;
    let mut folder = String::new();
    for _ in 0..2 {
        let mut splitter = Splitter::connect(&doors, "k3y", epoch).expect("both accept");
        splitter.push(&tags, 4.0);
        let viewer = Viewer::new(&origins[0].url(""));
        folder = viewer
            .renditions("shop")
            .await
            .remove("high")
            .expect("a picture");
        // Lost, not stopped: the second round goes on within grace.
        drop(splitter);
        settle(&origins, &folder).await;
    }
    let text = Viewer::new(&origins[0].url(""))
        .text(&format!("{folder}index.m3u8"))
        .await;
    let playlist = Playlist::parse(&text);
    let first = playlist.segments[0].program_date_time;
    assert_eq!(first, i64::try_from(epoch * 1000).ok(), "{text}");
    let breaks = playlist
        .segments
        .iter()
        .filter(|segment| segment.discontinuity);
    assert_eq!(breaks.count(), 1, "{text}");
    compare(&origins, &BTreeSet::from([folder])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_cannot_be_had_is_refused_with_the_reason() {
    let daemon = Daemon::start(&config());
    let refused = |query: String| {
        let name = format!("k3y?epoch={query}");
        let (_, status) = Publisher::publish(daemon.address("rtmp"), "live", &name).expect("told");
        assert_eq!(
            status.code, "NetStream.Publish.Denied",
            "{query}: {status:?}"
        );
        status.description
    };
    let now = unix_seconds();
    assert!(refused("soon".to_owned()).contains("Unix seconds"));
    assert!(refused((now + 7200).to_string()).contains("within an hour"));
    assert!(refused("7".to_owned()).contains("within an hour"));
    // One that ran and ended: its URIs have a meaning.
    let tags = flv::read(sources::SHORT.file()).expect("made just now");
    let mut splitter = Splitter::connect(&[daemon.address("rtmp")], "k3y", now).expect("accepted");
    splitter.push(&tags, 4.0);
    let viewer = Viewer::new(&daemon.url(""));
    let folder = viewer
        .renditions("shop")
        .await
        .remove("high")
        .expect("a picture");
    splitter.stop();
    viewer.follow(&folder).await;
    assert!(refused(now.to_string()).contains("begun before"));
    Splitter::connect(&[daemon.address("rtmp")], "k3y", now + 1).expect("another may");
}

/// The player's way, without a browser: playlists by blocked reloads and all that they list, checked at every version.
async fn outlives(kind: Kind) {
    let origins = [Daemon::start(&config()), Daemon::start(&config())];
    let doors = origins.each_ref().map(|origin| origin.address("rtmp"));
    let tags = flv::read(sources::LONG.file()).expect("made just now");
    let mut splitter = Splitter::connect(&doors, "k3y", unix_seconds()).expect("both accept");
    let splitting = std::thread::spawn(move || {
        splitter.push(
            &tags[..tags.partition_point(|tag| tag.timestamp < 16_000)],
            1.0,
        );
        splitter.stop();
    });
    let https = origins.each_ref().map(|origin| origin.address("http"));
    let edge = Edge::start(kind, https, &[]).await;
    let viewer = Viewer::new(&edge.url(""));
    let folder = viewer
        .renditions("shop")
        .await
        .remove("high")
        .expect("a picture");
    let until = |seconds: f64| move |playlist: &Playlist| playlist.duration() > seconds;
    viewer.follow_until(&folder, until(5.0)).await;
    let crowd: Vec<_> = (0..8)
        .map(|_| {
            let (viewer, folder) = (viewer.clone(), folder.clone());
            tokio::spawn(async move { viewer.follow(&folder).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let [first, _second] = origins;
    first.kill();
    for viewer in crowd {
        let recording = viewer.await.expect("a rule was broken: see above");
        let last = recording.last.expect("followed");
        assert!(last.ended && last.duration() > 15.0, "{}", last.text);
    }
    splitting.join().expect("sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_behind_varnish_go_on_when_an_origin_is_killed() {
    outlives(Kind::Varnish).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_behind_nginx_go_on_when_an_origin_is_killed() {
    outlives(Kind::Nginx).await;
}
