//! Reads `EXT-X-DATERANGE` (8216bis, 4.4.5.1) as others would, by its attributes, and knows what must hold: of one version of
//! a playlist, between two of them, between renditions, and between a range and the event that it is made of (contracts,
//! section 5).

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::viewer::{Playlist, attributes};

/// The attributes of a range, quotes taken off.
pub(crate) type Attributes = BTreeMap<String, String>;

/// Ranges by their ids.
pub(crate) type Ranges = BTreeMap<String, Attributes>;

/// The date ranges of a playlist by their ids, which are unique in it (8216bis, 4.4.5.1).
pub(crate) fn read(text: &str) -> Ranges {
    let mut ranges = BTreeMap::new();
    for line in text.lines() {
        let Some(list) = line.strip_prefix("#EXT-X-DATERANGE:") else {
            continue;
        };
        let attributes = attributes(list);
        let twice = ranges.insert(attributes["ID"].clone(), attributes);
        assert!(twice.is_none(), "D3: {line} again\n{text}");
    }
    ranges
}

/// When a date range ends, if that is known, in milliseconds since the Unix epoch.
fn end_ms(attributes: &Attributes) -> Option<i64> {
    let time = |name: &str| -> Option<i64> {
        let time: jiff::Timestamp = attributes.get(name)?.parse().ok()?;
        Some(time.as_millisecond())
    };
    let duration = || attributes.get("DURATION")?.parse::<f64>().ok();
    let by_duration = || Some(time("START-DATE")? + (duration()? * 1000.0).round() as i64);
    time("END-DATE").or_else(by_duration)
}

/// What becomes of date ranges between two versions: nothing but an end is ever added to one, and it stays while any of it
/// is inside the window.
pub(crate) fn check_succession(old: &Playlist, new: &Playlist) {
    let context = || format!("\nold:\n{}\nnew:\n{}", old.text, new.text);
    let window = new.segments.first().filter(|_| new.skipped == 0);
    let window_ms = window.and_then(|segment| segment.program_date_time);
    for (id, before) in &old.ranges {
        if let Some(after) = new.ranges.get(id) {
            let kept = before
                .iter()
                .all(|(name, value)| after.get(name) == Some(value));
            let mut added = after.keys().filter(|name| !before.contains_key(*name));
            let ends = added.all(|name| matches!(name.as_str(), "END-DATE" | "DURATION"));
            assert!(kept && ends, "D3: {id}{}", context());
        } else if let Some(window_ms) = window_ms {
            let over = end_ms(before).is_some_and(|end_ms| end_ms <= window_ms);
            assert!(over, "D2: {id}{}", context());
        }
    }
}

/// Ranges that are not the same in both.
pub(crate) fn differences(one: &Ranges, other: &Ranges) -> impl Iterator<Item = String> {
    let differ = one
        .iter()
        .filter(|(id, attributes)| other.get(*id) != Some(*attributes));
    differ.map(|(id, attributes)| format!("range {id}: {attributes:?}, {:?}", other.get(id)))
}

/// What is wrong with a range, of which `event` is what players get in its box, if there is one.
pub(crate) fn faults(attributes: &Attributes, event: Option<&Value>) -> Vec<String> {
    let attribute = |name: &str| attributes.get(name).map_or("", String::as_str);
    let payload = BASE64_URL_SAFE_NO_PAD.decode(attribute("X-VITRINE")).ok();
    let payload: Option<Value> = payload.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some(value) = payload else {
        return vec![format!("X-VITRINE: {attributes:?}")];
    };
    let mut faults = Vec::new();
    let class = format!("vitrine.{}", value["type"].as_str().unwrap_or_default());
    if attribute("CLASS") != class {
        faults.push(format!("CLASS, expected {class}"));
    }
    let start: Option<jiff::Timestamp> = attribute("START-DATE").parse().ok();
    if start.map(jiff::Timestamp::as_millisecond) != date_time(&value) {
        faults.push(format!("START-DATE {start:?}, its event {}", value["pdt"]));
    }
    match event {
        Some(event) if *event == value => {}
        Some(event) => faults.push(format!("its box says {event}, it {value}")),
        None => faults.push("it has no box".to_owned()),
    }
    faults
}

/// The `pdt` of an event, milliseconds since the Unix epoch.
pub(crate) fn date_time(value: &Value) -> Option<i64> {
    let text: jiff::Timestamp = value["pdt"].as_str()?.parse().ok()?;
    Some(text.as_millisecond())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:4\n\
        #EXT-X-MAP:URI=\"init0.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:2026-01-01T12:00:00.000Z\n";

    #[test]
    fn a_range_may_end_and_leave_but_not_change() {
        let with =
            |line: &str| Playlist::parse(&format!("{TEXT}{line}\n#EXTINF:0.40000,\ns4.m4s\n"));
        let range =
            "#EXT-X-DATERANGE:ID=\"a\",CLASS=\"vitrine.x\",START-DATE=\"2026-01-01T11:59:50.000Z\"";
        let [open, other] = [range.to_owned(), range.replace("vitrine.x", "vitrine.y")];
        let [early, late] = ["11:59:59.999", "12:00:00.001"]
            .map(|end| format!("{range},END-DATE=\"2026-01-01T{end}Z\""));
        let long = format!("{range},DURATION=10.001");
        let broken = |old: &str, new: &str| {
            let [old, new] = [old, new].map(with);
            let check = std::panic::AssertUnwindSafe(|| check_succession(&old, &new));
            std::panic::catch_unwind(check).is_err()
        };
        for (old, new, wanted) in [
            (&*open, &*late, false),
            ("", &open, false),
            (&early, "", false),
            (&late, "", true),
            (&long, "", true),
            (&open, "", true),
            (&open, &other, true),
            (&late, &open, true),
            (&early, &late, true),
        ] {
            assert_eq!(broken(old, new), wanted, "{old}, then {new}");
        }
    }

    #[test]
    fn a_range_that_its_event_contradicts_is_noticed() {
        let event =
            json!({ "id": "a", "type": "listing.pinned", "pdt": "2026-01-01T12:00:00.500Z" });
        let right: Attributes = [
            ("ID", "a".to_owned()),
            ("CLASS", "vitrine.listing.pinned".to_owned()),
            ("START-DATE", "2026-01-01T12:00:00.500Z".to_owned()),
            (
                "X-VITRINE",
                BASE64_URL_SAFE_NO_PAD.encode(event.to_string()),
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        assert_eq!(faults(&right, Some(&event)), Vec::<String>::new());
        assert!(!faults(&right, None).is_empty());
        for name in ["CLASS", "START-DATE", "X-VITRINE"] {
            let mut wrong = right.clone();
            wrong.insert(name.to_owned(), "wrong".to_owned());
            assert!(
                !faults(&wrong, Some(&event)).is_empty(),
                "{name} went unnoticed"
            );
            let [one, other] =
                [&right, &wrong].map(|range| [("a".to_owned(), range.clone())].into());
            assert_eq!(differences(&one, &other).count(), 1);
        }
    }
}
