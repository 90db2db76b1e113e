//! The rules that one list keeps by itself, and those between one version of a list and the next.
//!
//! Pure functions of what [`super::playlist`] read; the rules that need bytes, other renditions or the clock are the
//! player's own.

use super::{
    Checked, ROUNDING_MICROS, ensure,
    playlist::{Part, Playlist, Segment},
    ranges,
};

/// T7, T8, T9, P2, P5, P6, H1, H5: what each version of a list must hold above and below its segments.
pub(super) fn header(list: &Playlist) -> Checked {
    let control = || list.server_control.clone();
    ensure(list.version == 6, "P6", || {
        format!("version {}", list.version)
    })?;
    ensure(!list.typed, "P5", || "it slides".to_owned())?;
    ensure(list.skipped == 0, "B8", || "skips unasked".to_owned())?;
    ensure(list.can_block_reload, "B0", control)?;
    ensure(
        list.part_target > 0 && list.part_hold_back >= 3 * list.part_target,
        "T7",
        control,
    )?;
    ensure(
        list.hold_back
            .is_none_or(|hold_back| hold_back >= 3 * list.target_duration),
        "T8",
        control,
    )?;
    ensure(
        list.can_skip_until >= 6 * list.target_duration,
        "T9",
        control,
    )?;
    ensure(list.discontinuity_sequence.is_some(), "P2", || {
        "no DISCONTINUITY-SEQUENCE".to_owned()
    })?;
    if list.ended {
        ensure(list.hints.is_empty(), "H5", || {
            "a hint after the end".to_owned()
        })
    } else {
        ensure(list.hints.len() == 1, "H1", || {
            format!("{} hints", list.hints.len())
        })
    }
}

/// T2: parts are as long as promised.
pub(super) fn part_lengths(list: &Playlist, segment: &Segment) -> Checked {
    for (index, part) in segment.parts.iter().enumerate() {
        let what = || format!("{} lasts {} us", part.uri, part.micros);
        ensure(part.micros <= list.part_target, "T2", what)?;
        let Some(next) = segment.parts.get(index + 1) else {
            continue;
        };
        let short = part.micros * 100 + ROUNDING_MICROS < list.part_target * 85;
        ensure(
            !short || part.independent || part.gap || next.gap,
            "T2",
            what,
        )?;
    }
    Ok(())
}

/// T1, T11, P1, P3, P9, H2: what may change from one version of a list to the next.
pub(super) fn permitted(old: &Playlist, new: &Playlist) -> Checked {
    if old.ended {
        return ensure(old == new, "P3", || "changed after the end".to_owned());
    }
    ensure(old.target_duration == new.target_duration, "T1", || {
        "the target duration changed".to_owned()
    })?;
    ensure(old.part_target == new.part_target, "T2", || {
        "the part target changed".to_owned()
    })?;
    ensure(old.server_control == new.server_control, "P11", || {
        "the server control changed".to_owned()
    })?;
    let rises = new.media_sequence >= old.media_sequence && new.edge() >= old.edge();
    ensure(rises, "P1", || "the list went back".to_owned())?;
    let gone: Vec<_> = old
        .segments
        .iter()
        .filter(|segment| segment.msn < new.media_sequence)
        .collect();
    let discontinuities = gone.iter().filter(|segment| segment.discontinuity).count() as u64;
    let sequence = old
        .discontinuity_sequence
        .map(|sequence| sequence + discontinuities);
    // Where more left than the old version listed, how many discontinuities they held is unknown.
    let all_seen = (new.media_sequence - old.media_sequence) as usize == gone.len();
    let right = new.discontinuity_sequence == sequence
        || (!all_seen && new.discontinuity_sequence > sequence);
    ensure(right, "P1", || {
        format!("the discontinuity sequence is not {sequence:?}")
    })?;
    let long = new
        .segments
        .iter()
        .map(|segment| segment.micros)
        .sum::<i64>()
        >= 3 * new.target_duration;
    ensure(
        new.media_sequence == old.media_sequence || long,
        "T11",
        || "the list became too short".to_owned(),
    )?;
    for before in old.all() {
        let Some(after) = new.all().find(|after| after.msn == before.msn) else {
            ensure(before.msn < new.media_sequence, "P3", || {
                format!("segment {} vanished", before.msn)
            })?;
            continue;
        };
        same_segment(before, after)?;
        same_parts(new, before, after)?;
    }
    hint_came_true(old, new)
}

fn same_segment(before: &Segment, after: &Segment) -> Checked {
    let complete = !before.uri.is_empty();
    let same = before.discontinuity == after.discontinuity
        && before.map == after.map
        && before.date_time_ms == after.date_time_ms
        && (!complete
            || (&before.uri, before.micros, before.gap) == (&after.uri, after.micros, after.gap));
    ensure(same, "P3", || {
        format!(
            "segment {} changed: {before:?} became {after:?}",
            before.msn
        )
    })
}

fn same_parts(new: &Playlist, before: &Segment, after: &Segment) -> Checked {
    if after.parts.is_empty() && !before.parts.is_empty() {
        let live = new.micros_after(after.msn) + ROUNDING_MICROS < 3 * new.target_duration;
        return ensure(!live, "P9", || {
            format!("segment {} lost its parts early", after.msn)
        });
    }
    let may_grow = before.uri.is_empty();
    let same = after.parts.starts_with(&before.parts) && (may_grow || after.parts == before.parts);
    ensure(same, "P3", || {
        format!("the parts of segment {} changed", after.msn)
    })
}

/// H2: what comes after the newest part is what was hinted.
fn hint_came_true(old: &Playlist, new: &Playlist) -> Checked {
    let newest = old.parts().last().map(|part| &part.uri);
    let mut parts = new.parts().skip_while(|part| Some(&part.uri) != newest);
    let next: Option<&Part> = if newest.is_some() { parts.nth(1) } else { None };
    let Some(next) = next else { return Ok(()) };
    ensure(old.hints.contains(&next.uri), "H2", || {
        format!("{:?} was hinted, {} came", old.hints, next.uri)
    })
}

/// B8, B9: the delta update skips what it must, no more, and what the player had makes up for it.
pub(super) fn delta_update(
    old: Option<&Playlist>,
    new: &Playlist,
    full: &str,
    delta: &str,
) -> Checked {
    if full == delta {
        let boundary = new.can_skip_until + ROUNDING_MICROS;
        let skippable = new
            .segments
            .first()
            .is_some_and(|first| new.micros_after(first.msn) > boundary);
        return ensure(new.ended || !skippable, "B8", || {
            "nothing is skipped".to_owned()
        });
    }
    ensure(!new.ended, "B8", || "skips after the end".to_owned())?;
    let update = Playlist::parse(delta)?;
    ranges::in_a_delta(new, &update)?;
    let skipped = usize::try_from(update.skipped).expect("a 64-bit machine runs the tests");
    ensure(update.version == 9, "P6", || {
        format!("version {} of a delta update", update.version)
    })?;
    ensure(skipped > 0 && skipped < new.segments.len(), "B9", || {
        format!("{skipped} skipped")
    })?;
    for (index, segment) in new.segments.iter().enumerate() {
        let beyond = new.micros_after(segment.msn) - new.can_skip_until;
        let right = if index < skipped {
            beyond > -ROUNDING_MICROS
        } else {
            beyond <= ROUNDING_MICROS
        };
        ensure(right, "B9", || {
            format!(
                "segment {} is {beyond} us beyond the skip boundary",
                segment.msn
            )
        })?;
    }
    // As a client does: what was skipped is taken from the version it has, or here, without one, from the whole.
    let source = old.filter(|old| {
        old.media_sequence + old.segments.len() as u64 >= new.media_sequence + update.skipped
    });
    let had = source
        .unwrap_or(new)
        .segments
        .iter()
        .filter(|segment| segment.msn >= new.media_sequence);
    let had: Vec<_> = had
        .take(skipped)
        .map(|segment| Segment {
            parts: Vec::new(),
            ..segment.clone()
        })
        .collect();
    let mut merged = update;
    let mut map = had.last().and_then(|last| last.map.clone());
    for segment in merged.segments.iter_mut().chain(&mut merged.open) {
        map = segment.map.take().or(map);
        segment.map.clone_from(&map);
    }
    merged.segments.splice(0..0, had);
    (merged.skipped, merged.version) = (0, new.version);
    ensure(merged == *new, "B9", || format!("merged into {merged:?}"))
}
