//! What was taken down is gone: 410 for whoever asks or waits, at every address of it, until another broadcast begins.

use super::*;

/// Every URL of the stage's broadcast that a playlist lists or might have listed, and some that never were.
fn urls(epoch: u64) -> Vec<String> {
    let mut urls = vec![
        "/live/demo/index.m3u8".to_owned(),
        "/live/demo/thumbnail.jpg".to_owned(),
        "/live/demo/timeline.json".to_owned(),
        format!("/live/demo/{epoch}/timeline.json"),
    ];
    for rendition in ["high", "mid", "low", "audio"] {
        let names = ["index.m3u8", "index.m3u8?_HLS_msn=1&_HLS_part=0"].map(str::to_owned);
        let names = names.into_iter().chain(["init0.mp4".to_owned()]);
        let media = (0..9).flat_map(|n| [format!("s{n}.m4s"), format!("p{n}.m4s")]);
        let folder = format!("/live/demo/{epoch}/{rendition}/");
        urls.extend(names.chain(media).map(|name| format!("{folder}{name}")));
    }
    urls
}

async fn all_gone(stage: &Stage, urls: &[String]) {
    for url in urls {
        for method in ["GET", "HEAD"] {
            let gone = send(stage, method, url, &[("accept-encoding", "gzip")]).await;
            assert_eq!(gone.status(), 410, "{method} {url}");
            assert_eq!(gone.header("cache-control"), "no-store", "{url}");
            assert_eq!(gone.header("access-control-allow-origin"), "*", "{url}");
            assert_eq!(gone.header("etag"), "", "{url}");
        }
        let ranged = send(stage, "GET", url, &[("range", "bytes=0-1")]).await;
        assert_eq!(ranged.status(), 410, "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_of_it_is_served_and_whoever_waits_is_told_at_once() {
    let mut stage = live();
    stage.thumbnail(b"a still");
    let playlist = get(&stage, "/live/demo/7/high/index.m3u8").await;
    let etag = playlist.header("etag").to_owned();
    let mut waiting = Vec::new();
    for n in 0..50 {
        let rendition = ["high", "audio"][n % 2];
        let path = match n % 3 {
            0 => format!("/live/demo/7/{rendition}/p6.m4s"),
            1 => format!("/live/demo/7/{rendition}/index.m3u8?_HLS_msn=1&_HLS_part=1"),
            _ => format!("/live/demo/7/{rendition}/index.m3u8?_HLS_msn=2&_HLS_skip=YES"),
        };
        waiting.push(ask(&stage, &path).await);
    }
    assert!(waiting.iter().all(|request| !request.is_finished()));
    assert_eq!(stage.live.waiters(), 50);
    stage.take_down();
    stage.state(State::Ended);
    // The clock stands still: they are not answered because their time is over.
    for request in waiting {
        let answer = request.await.expect("no panic");
        assert_eq!(answer.status(), 410);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("retry-after"), "");
    }
    all_gone(&stage, &urls(7)).await;
    let known = [("if-none-match", etag.as_str())];
    let known = send(&stage, "GET", "/live/demo/7/high/index.m3u8", &known).await;
    assert_eq!(known.status(), 410, "not even what is known already");
    assert_eq!(get(&stage, "/live/demo/6/high/s0.m4s").await.status(), 404);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_broadcast_to_begin_is_told_too() {
    let mut stage = Stage::new();
    let waiting = ask(&stage, "/live/demo/index.m3u8").await;
    assert!(!waiting.is_finished());
    stage.take_down();
    assert_eq!(waiting.await.expect("no panic").status(), 410);
}

#[tokio::test(start_paused = true)]
async fn the_next_broadcast_is_served_at_the_stable_address_and_the_old_one_stays_down() {
    let mut stage = live();
    stage.thumbnail(b"a still");
    stage.take_down();
    stage.opened();
    stage.state(State::Connecting);
    let waiting = ask(&stage, "/live/demo/index.m3u8").await;
    assert!(!waiting.is_finished(), "somebody publishes");
    assert_eq!(get(&stage, "/live/demo/thumbnail.jpg").await.status(), 404);
    for rendition in [High, Audio] {
        stage.part(8, rendition);
    }
    stage.present(8);
    let served = waiting.await.expect("no panic");
    assert_eq!(served.status(), 200);
    assert!(served.text().contains("8/high/index.m3u8") && !served.text().contains("7/"));
    let part = get(&stage, "/live/demo/8/high/p0.m4s").await;
    assert_eq!(part.status(), 200);
    all_gone(&stage, &urls(7)[3..]).await;
}
