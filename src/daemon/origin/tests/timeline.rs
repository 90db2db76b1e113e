//! `timeline.json`: the newest epoch's at the stable address, each epoch's at its own; kept as long as contracts say.

use serde_json::Value;

use super::*;

fn events(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("vary"), "Accept-Encoding");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let page: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let events = page["events"].as_array().expect("a list").iter();
    let ids = events.map(|event| event["id"].as_str().expect("an id").to_owned());
    ids.collect()
}

#[tokio::test(start_paused = true)]
async fn the_events_of_an_epoch_are_listed_validated_and_kept_as_long_as_playlists() {
    let mut stage = live();
    let (stable, own) = ("/live/demo/timeline.json", "/live/demo/7/timeline.json");
    let empty = get(&stage, stable).await;
    assert!(events(&empty).is_empty());
    stage.event(7, "a");
    advance(limits::TIMELINE_REST).await;
    let listed = get(&stage, stable).await;
    assert_eq!(events(&listed), ["a"]);
    assert_eq!(listed.header("cache-control"), "max-age=1");
    assert_ne!(listed.header("etag"), empty.header("etag"));
    assert_eq!(get(&stage, own).await.body, listed.body);
    let etag = listed.header("etag");
    let known = send(&stage, "GET", stable, &[("if-none-match", etag)]).await;
    assert_eq!((known.status(), known.body.len()), (304, 0));
    let packed = send(&stage, "GET", stable, &[("accept-encoding", "gzip")]).await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    let mut text = Vec::new();
    let mut reader = flate2::read::GzDecoder::new(&packed.body[..]);
    std::io::Read::read_to_end(&mut reader, &mut text).expect("gzip");
    assert_eq!(text, listed.body);
    let head = send(&stage, "HEAD", stable, &[]).await;
    assert_eq!(head.header("content-length"), listed.body.len().to_string());

    // The epoch ends, and another goes on: its own address is final, the stable one is not.
    stage.end(7, true);
    for (path, cache) in [(own, "max-age=60"), (stable, "max-age=1")] {
        let ended = get(&stage, path).await;
        assert_eq!(
            (events(&ended), ended.header("cache-control")),
            (vec!["a".to_owned()], cache)
        );
    }
    stage.part(8, High);
    stage.event(8, "b");
    assert_eq!(events(&get(&stage, stable).await), ["b"]);
    stage.end(8, false);
    stage.state(State::Ended);
    let over = get(&stage, stable).await;
    assert_eq!(over.header("cache-control"), "max-age=60");
    assert!(over.text().contains("\"ended\":true"));
    advance(limits::ENDED_RETENTION).await;
    stage.expire();
    for path in [stable, own, "/live/demo/8/timeline.json"] {
        assert_eq!(get(&stage, path).await.status(), 404, "{path}");
    }
}
