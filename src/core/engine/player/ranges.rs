//! The rules of date ranges: what one list keeps by itself, what may change from one version to the next, and what
//! renditions share.
//!
//! A range whose end nobody has told lasts. D1 for a single range is [`super::playlist`]'s, which reads its dates.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{
    Checked, ensure,
    playlist::{Playlist, Range},
};

/// Attributes of the draft that may stand beside those that begin with `X-`.
const KNOWN: [&str; 6] = [
    "ID",
    "CLASS",
    "START-DATE",
    "END-DATE",
    "DURATION",
    "END-ON-NEXT",
];

/// D1, D3, D5, D8: what each version of a list must hold.
pub(super) fn listed(list: &Playlist) -> Checked {
    let dated = list.all().all(|segment| segment.date_time_ms.is_some());
    ensure(list.ranges.is_empty() || dated, "D1", || {
        "ranges in a list without date-times".to_owned()
    })?;
    let mut ids: Vec<_> = list.ranges.iter().map(|range| &range.id).collect();
    ids.sort_unstable();
    let unique = ids.windows(2).all(|pair| pair[0] != pair[1]);
    ensure(unique, "D3", || format!("an id stands twice in {ids:?}"))?;
    for Range { id, attributes, .. } in &list.ranges {
        let has = |name: &str| attributes.contains_key(name);
        let next = !has("END-ON-NEXT") || (has("CLASS") && !has("DURATION") && !has("END-DATE"));
        ensure(next, "D5", || {
            format!("{id} ends where the next begins, and otherwise")
        })?;
        let mut names = attributes.keys();
        let known = names.all(|name| KNOWN.contains(&&**name) || name.starts_with("X-"));
        ensure(known, "D8", || format!("{id} has an attribute of nobody's"))?;
        ensure(tells_itself(id, attributes), "D8", || {
            format!("what {id} carries is not of it")
        })?;
    }
    Ok(())
}

/// Whether the event in `X-VITRINE` is what the attributes beside it say.
fn tells_itself(id: &str, attributes: &BTreeMap<String, String>) -> bool {
    let text = |name: &str| Some(attributes.get(name)?.trim_matches('"'));
    let event = || {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text("X-VITRINE")?).ok()?;
        let event: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
        let class = format!("vitrine.{}", event["type"].as_str()?);
        Some(event["id"] == id && text("CLASS")? == class && event["pdt"] == text("START-DATE")?)
    };
    event() == Some(true)
}

/// D2, D3: what may change; `gone` are the ids that left before.
pub(super) fn permitted(old: &Playlist, new: &Playlist, gone: &BTreeMap<String, Range>) -> Checked {
    let starts = new.all().find_map(|segment| segment.date_time_ms);
    for before in &old.ranges {
        let after = new.ranges.iter().find(|after| after.id == before.id);
        let over = before
            .ends_ms
            .zip(starts)
            .is_some_and(|(end, start)| end <= start);
        ensure(after.is_some() || over, "D2", || {
            format!("{} left before its time", before.id)
        })?;
        let Some(after) = after else { continue };
        let kept = before
            .attributes
            .iter()
            .all(|(name, value)| after.attributes.get(name) == Some(value));
        let mut added = after
            .attributes
            .keys()
            .filter(|name| !before.attributes.contains_key(*name));
        let only_its_end = added.all(|name| name == "END-DATE" || name == "DURATION");
        ensure(kept && only_its_end, "D3", || {
            format!("{} became another", before.id)
        })?;
    }
    for range in &new.ranges {
        let fresh = !gone.contains_key(&range.id);
        ensure(fresh, "D3", || format!("{} came back", range.id))?;
    }
    Ok(())
}

/// D7: a delta update leaves ranges out only where the list says that it may.
pub(super) fn in_a_delta(list: &Playlist, update: &Playlist) -> Checked {
    let may_skip = list.server_control.contains("CAN-SKIP-DATERANGES=YES");
    ensure(may_skip || update.ranges == list.ranges, "D7", || {
        format!("{:?} in a delta update", update.ranges)
    })
}

/// D4: what two renditions list at the same moment is the same.
pub(super) fn shared(ours: &Playlist, theirs: &Playlist) -> Checked {
    ensure(ours.ranges == theirs.ranges, "D4", || {
        let ids = |list: &Playlist| {
            list.ranges
                .iter()
                .map(|range| range.id.clone())
                .collect::<Vec<_>>()
        };
        format!("{:?} here, {:?} there", ids(ours), ids(theirs))
    })
}
