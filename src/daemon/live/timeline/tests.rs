//! What a page says, what makes way in a full one, and what a restart keeps.

use std::time::Duration;

use serde_json::json;
use tokio::time::advance;
use vitrine_core::wire::event::{Event, Place};

use super::*;

fn timeline(epoch: u64) -> Timeline {
    Timeline::new("shop42".parse().expect("valid"), epoch)
}

/// An event at so many milliseconds of the epoch 7, which began at noon.
fn placed(media_time_ms: i64, event: &Value) -> Placed {
    let event = Event::parse(event.to_string().as_bytes()).expect("an event");
    let place = Place {
        epoch: 7,
        media_time_ms,
        program_date_time: WallTime(1_767_268_800_000 + media_time_ms),
    };
    Placed::new(event, place)
}

fn read(page: &Page) -> Value {
    serde_json::from_slice(&page.text.plain().bytes).expect("JSON")
}

/// Fields of all events.
fn all<'a>(page: &'a Value, name: &str) -> Vec<&'a Value> {
    let events = page["events"].as_array().expect("a list");
    events.iter().map(|event| &event[name]).collect()
}

#[tokio::test(start_paused = true)]
async fn a_page_lists_events_as_players_get_them_and_where_ranges_end() {
    let timeline = timeline(7);
    let empty = read(&timeline.write());
    let wanted = json!({"stream": "shop42", "epoch": 7, "ended": false, "events": []});
    assert_eq!(empty, wanted);
    let pinned = placed(
        400,
        &json!({"id": "a", "type": "listing.pinned", "seq": 3, "data": {"listing": "l1"}}),
    );
    timeline.add(&pinned);
    timeline.add(&placed(
        200,
        &json!({"id": "b", "type": "notice.posted", "duration_ms": 5000}),
    ));
    timeline.add(&placed(
        9000,
        &json!({"id": "c", "type": "listing.pinned", "close": "a"}),
    ));
    // Of a known length, and not there: neither is ended.
    for (id, close) in [("d", "b"), ("e", "nothing")] {
        let event = json!({"id": id, "type": "price.changed", "close": close});
        timeline.add(&placed(9500, &event));
    }
    advance(limits::TIMELINE_REST).await;
    let page = read(&timeline.write());
    assert_eq!(all(&page, "id"), ["b", "a", "c", "d", "e"]);
    assert_eq!(all(&page, "t"), [200, 400, 9000, 9500, 9500]);
    let mut first = page["events"][1].clone();
    assert_eq!(first["end"], "2026-01-01T12:00:09.000Z");
    first.as_object_mut().expect("an event").remove("end");
    let carried: Value = serde_json::from_str(pinned.value()).expect("JSON");
    assert_eq!(first, carried);
    for event in [0, 2, 3, 4] {
        assert!(page["events"][event].get("end").is_none(), "{page}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_is_written_once_in_a_while_and_at_once_when_the_epoch_has_ended() {
    let timeline = timeline(7);
    assert!(timeline.page().is_none());
    let first = timeline.write();
    let event = |id| placed(1, &json!({"id": id, "type": "like.count"}));
    timeline.add(&event("a"));
    let same = |page: Option<Arc<Page>>| page.is_some_and(|page| Arc::ptr_eq(&page, &first));
    assert!(same(timeline.page()), "it rests");
    advance(limits::TIMELINE_REST).await;
    assert!(timeline.page().is_none(), "it has changed");
    let second = timeline.write();
    assert_eq!(all(&read(&second), "id"), ["a"]);
    advance(Duration::from_secs(3600)).await;
    assert!(timeline.page().is_some(), "nothing has changed");
    timeline.end();
    assert!(timeline.page().is_none(), "never an end that comes late");
    assert!(timeline.write().ended);
}

#[tokio::test(start_paused = true)]
async fn a_full_timeline_forgets_chat_and_counters_before_state_and_says_so() {
    let timeline = timeline(7);
    let words = "x".repeat(800);
    let count = limits::TIMELINE_BYTES_MAX / 800;
    timeline.add(&placed(
        0,
        &json!({"id": "pinned", "type": "listing.pinned"}),
    ));
    for n in 0..count {
        let event = json!({"id": n.to_string(), "type": "stamp.sent", "data": {"words": words}});
        timeline.add(&placed(n as i64, &event));
    }
    let page = read(&timeline.write());
    let kept = all(&page, "id");
    let dropped = page["dropped"].as_u64().expect("a number") as usize;
    assert_eq!(kept.len() + dropped, count + 1);
    assert!(dropped > 100, "{dropped}");
    assert_eq!(kept[0], "pinned");
    assert_eq!(kept[1], &json!(dropped.to_string()), "the oldest went");
    assert!(timeline.log().bytes <= limits::TIMELINE_BYTES_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_timeline_goes_on_in_another_process_with_its_open_ranges_and_only_of_its_epoch() {
    let before = timeline(7);
    assert_eq!(before.leave(), None, "nothing is worth no file");
    for (at, id, kind) in [
        (1, "a", "listing.pinned"),
        (2, "b", "coupon.pinned"),
        (3, "c", "like.count"),
    ] {
        before.add(&placed(at, &json!({"id": id, "type": kind})));
    }
    before.add(&placed(
        5,
        &json!({"id": "d", "type": "price.changed", "close": "b"}),
    ));
    let left = before.leave().expect("events");
    let after = timeline(7);
    after.resume(&left);
    let known = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let again = after.leave().expect("events");
    assert_eq!(known(&again), known(&left));
    for close in ["a", "b"] {
        let id = format!("close-{close}");
        after.add(&placed(
            9,
            &json!({"id": id, "type": "price.changed", "close": close}),
        ));
    }
    let page = read(&after.write());
    assert_eq!(page["events"][0]["end"], "2026-01-01T12:00:00.009Z");
    assert_eq!(page["events"][1]["end"], "2026-01-01T12:00:00.005Z");
    let other = timeline(8);
    other.resume(&left);
    for damaged in [
        "",
        "{",
        "[]",
        r#"{"epoch":8,"events":[{"id":1},7,{"type":"x"}]}"#,
    ] {
        other.resume(damaged);
    }
    assert_eq!(other.leave(), None);
}
