//! A model player: reads every version of every playlist as a viewer would and judges it by the rules of low-latency
//! HLS (draft-pantos-hls-rfc8216bis). For tests only; a broken rule is a panic that names it and shows the text.
//!
//! Rule ids, by group: T timing, P text and permitted changes, H hints, parts and availability, B blocking and delta
//! updates, R renditions, D date ranges; P0 is plain well-formedness. Independent of the writer: it has its own parser, sees bytes
//! only through URIs, and takes `now` as an argument. It does not decode media.

mod playlist;
mod ranges;
mod rules;

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use self::{
    playlist::{Playlist, Range},
    rules::{delta_update, header, part_lengths, permitted},
};
use super::{gate, window::Snapshot};
use crate::{
    media::Rendition,
    wire::{directive::Directive, m3u8::media::Form},
};

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Violation {
    rule: &'static str,
    what: String,
}

impl Violation {
    fn new(rule: &'static str, what: String) -> Self {
        Self { rule, what }
    }
}

type Checked<T = ()> = Result<T, Violation>;

thread_local! {
    /// The one rule to judge by, all of them if none is named; and how often it was judged by since.
    static JUDGE: Cell<(Option<&'static str>, u64)> = const { Cell::new((None, 0)) };
}

/// Lets every player of this thread judge by `rule` alone while `play` runs; how often it did.
///
/// # Panics
/// When the rule is broken.
pub(crate) fn judged_by(rule: &'static str, play: impl FnOnce()) -> u64 {
    JUDGE.set((Some(rule), 0));
    play();
    JUDGE.replace((None, 0)).1
}

fn ensure(holds: bool, rule: &'static str, what: impl FnOnce() -> String) -> Checked {
    let (only, times) = JUDGE.get();
    let judging = only.is_none_or(|only| only == rule);
    JUDGE.set((only, times + u64::from(judging)));
    if holds || !judging {
        Ok(())
    } else {
        Err(Violation::new(rule, what()))
    }
}

/// What a URI answers with at this moment: a fingerprint of the bytes, or 404.
type Fetch<'a> = &'a dyn Fn(&str) -> Option<u64>;

/// Rounding of a length to microseconds, many times over.
const ROUNDING_MICROS: i64 = 100;

/// What the player remembers of one rendition.
#[derive(Debug, Default)]
struct View {
    playlist: Playlist,
    /// When a part was last added.
    grew_at_ms: i64,
    /// Every URI ever listed, with the bytes it stood for; `None` for missing media.
    known: BTreeMap<String, Option<u64>>,
    /// URIs that left the list, and until when they must answer.
    leaving: Vec<(String, i64)>,
    /// Number of discontinuities up to and in each listed segment, with its date-time: what renditions must share.
    alignment: BTreeMap<u64, (u64, i64)>,
    /// Ranges that were listed and left.
    gone: BTreeMap<String, Range>,
    /// The furthest that a report of another rendition said of this one.
    reported: Option<(u64, u64)>,
}

/// A viewer of all renditions of one epoch.
#[derive(Debug)]
pub(crate) struct Player {
    frame_micros: i64,
    spread_micros: i64,
    independent: bool,
    now_ms: i64,
    views: BTreeMap<Rendition, View>,
}

impl Player {
    /// A player of media whose longest frame, in any rendition, lasts `frame_duration_ms`.
    pub(crate) fn new(frame_duration_ms: f64) -> Self {
        Self {
            frame_micros: (frame_duration_ms * 1000.0).ceil() as i64,
            spread_micros: i64::MAX,
            independent: false,
            now_ms: i64::MIN,
            views: BTreeMap::new(),
        }
    }

    /// Also wants every segment to have an independent part (H8).
    pub(crate) fn wanting_independent_segments(mut self) -> Self {
        self.independent = true;
        self
    }

    /// Also wants the ends of all renditions within `spread_ms` of one another whenever time moves on (R2).
    pub(crate) fn wanting_spread_ms(mut self, spread_ms: i64) -> Self {
        self.spread_micros = spread_ms * 1000;
        self
    }

    /// Takes a version of a playlist that was published at `now_ms` (wall time, never falling).
    ///
    /// # Panics
    /// When a rule is broken.
    pub(crate) fn observe(&mut self, now_ms: i64, rendition: Rendition, snapshot: &Snapshot) {
        let (full, delta) = (
            snapshot.playlist(Form::Full),
            snapshot.playlist(Form::Delta),
        );
        let checked = blocking(snapshot).and_then(|()| {
            self.check(now_ms, rendition, &full, &delta, &|uri| {
                fetch(snapshot, uri)
            })
        });
        if let Err(Violation { rule, what }) = checked {
            panic!(
                "{rule}: {what}\nat {now_ms} ms in {rendition}:\n{full}\nand as a delta update:\n{delta}"
            );
        }
    }

    /// The broadcast is over, or the test is.
    ///
    /// # Panics
    /// When a rule is broken, or nothing was ever played.
    pub(crate) fn finish(&mut self) {
        assert!(
            self.views
                .values()
                .any(|view| view.playlist.edge().is_some()),
            "no rendition ever had a part"
        );
        if let Err(Violation { rule, what }) = self.settle() {
            panic!("{rule}: {what}\nat the end");
        }
    }

    fn check(
        &mut self,
        now_ms: i64,
        rendition: Rendition,
        full: &str,
        delta: &str,
        fetch: Fetch<'_>,
    ) -> Checked {
        if now_ms != self.now_ms {
            assert!(now_ms > self.now_ms, "time does not go back");
            self.settle()?;
            self.now_ms = now_ms;
        }
        let new = Playlist::parse(full)?;
        header(&new)?;
        self.segments(&new)?;
        ranges::listed(&new)?;
        let old = self.views.get(&rendition).map(|view| &view.playlist);
        if old.is_none_or(|old| old.media_sequence != new.media_sequence || new.ended) {
            new.agrees_with_m3u8_rs(full)?;
        }
        if let Some(view) = self.views.get(&rendition) {
            permitted(&view.playlist, &new)?;
            ranges::permitted(&view.playlist, &new, &view.gone)?;
        }
        delta_update(old, &new, full, delta)?;
        let view = self.views.entry(rendition).or_default();
        view.available(now_ms, &new, fetch)?;
        view.adopt(now_ms, new);
        self.reports(rendition)?;
        self.aligned(rendition)
    }

    /// What each version of a list must hold in itself, segment by segment.
    fn segments(&self, list: &Playlist) -> Checked {
        let slack = self.frame_micros + 1000;
        let (mut expected, mut with_parts) = (None::<i64>, false);
        for segment in list.all() {
            let at = |what: &str| format!("segment {} {what}", segment.msn);
            let dated = segment.date_time_ms;
            ensure(dated.is_some(), "P7", || at("has no date-time"))?;
            let date_time_ms = dated.unwrap_or_default();
            ensure(segment.map.is_some(), "P14", || at("has no map"))?;
            if let Some(expected) = expected.filter(|_| !segment.discontinuity) {
                let off = date_time_ms * 1000 - expected;
                ensure(off.abs() <= slack, "T3", || {
                    at(&format!("is {off} us off its date-time"))
                })?;
            }
            let anchor = expected
                .filter(|_| !segment.discontinuity)
                .unwrap_or(date_time_ms * 1000);
            expected = Some(anchor + segment.micros);
            ensure(!with_parts || !segment.parts.is_empty(), "P9", || {
                at("lost its parts out of order")
            })?;
            with_parts = !segment.parts.is_empty();
            let rounded = (segment.micros + 500_000) / 1_000_000 * 1_000_000;
            ensure(rounded <= list.target_duration, "T1", || {
                at("is longer than the target duration")
            })?;
            part_lengths(list, segment)?;
            let complete = !segment.uri.is_empty();
            if complete && with_parts {
                let off = segment.micros - segment.parts_micros();
                ensure(off.abs() <= slack, "T3", || {
                    at(&format!("is {off} us longer than its parts"))
                })?;
                let after = list.micros_after(segment.msn);
                ensure(
                    after <= 3 * list.target_duration + ROUNDING_MICROS,
                    "P9",
                    || at("still lists parts"),
                )?;
                let all = segment.parts.iter().all(|part| part.gap);
                ensure(segment.gap == all, "P10", || {
                    at("and its parts disagree about the gap")
                })?;
                let independent = segment.gap
                    || segment
                        .parts
                        .iter()
                        .any(|part| part.independent && !part.gap);
                ensure(independent || !self.independent, "H8", || {
                    at("has no independent part")
                })?;
            }
        }
        Ok(())
    }

    /// R1: what the newest version of `rendition` says of the others is what they are at.
    fn reports(&mut self, rendition: Rendition) -> Checked {
        let mut said = BTreeMap::new();
        for report in &self.views[&rendition].playlist.reports {
            let name = report
                .uri
                .strip_prefix("../")
                .and_then(|rest| rest.strip_suffix("/index.m3u8"));
            let other = name
                .and_then(|name| name.parse().ok())
                .filter(|other| *other != rendition);
            let first =
                other.is_some_and(|other: Rendition| said.insert(other, report.edge).is_none());
            ensure(first, "R1", || {
                format!("{} is reported wrongly", report.uri)
            })?;
        }
        for (other, seen) in &mut self.views {
            if *other == rendition {
                continue;
            }
            let (at, said) = (seen.playlist.edge(), said.get(other).copied());
            // In one moment the others may have moved on since, or be about to: `settle` looks again.
            let grew_before = seen.grew_at_ms < self.now_ms;
            ensure(said >= at || !grew_before, "R1", || {
                format!("{other} is at {at:?}, not at {said:?}")
            })?;
            seen.reported = seen.reported.max(said);
        }
        Ok(())
    }

    /// R2, R3, T7, P11: what renditions share.
    fn aligned(&self, rendition: Rendition) -> Checked {
        let view = &self.views[&rendition];
        for (other, seen) in &self.views {
            let with = |what: &str| format!("{what} not shared with {other}");
            let (ours, theirs) = (&view.playlist, &seen.playlist);
            ensure(ours.target_duration == theirs.target_duration, "R2", || {
                with("target duration")
            })?;
            ensure(ours.part_target == theirs.part_target, "T7", || {
                with("part target")
            })?;
            ensure(ours.server_control == theirs.server_control, "P11", || {
                with("server control")
            })?;
            for (msn, (discontinuities, at_ms)) in &view.alignment {
                let Some((their_discontinuities, their_at_ms)) = seen.alignment.get(msn) else {
                    continue;
                };
                ensure(discontinuities == their_discontinuities, "R2", || {
                    with(&format!("discontinuity sequence of segment {msn}"))
                })?;
                let off_micros = (at_ms - their_at_ms).abs() * 1000;
                ensure(off_micros <= self.frame_micros + 1000, "R3", || {
                    with(&format!("start of segment {msn}"))
                })?;
            }
        }
        Ok(())
    }

    /// What must hold when all versions of one moment have been seen.
    fn settle(&self) -> Checked {
        for (rendition, view) in &self.views {
            let edge = view.playlist.edge();
            ensure(view.reported <= edge, "R1", || {
                format!(
                    "{rendition} was reported at {:?} but is at {edge:?}",
                    view.reported
                )
            })?;
        }
        let mut lists = self.views.values().map(|view| &view.playlist);
        if let Some(first) = lists.next() {
            lists.try_for_each(|list| ranges::shared(first, list))?;
        }
        // Counted from the newest segment that all have: date-times jump at a discontinuity, media does not.
        let views = || self.views.values().filter(|view| !view.playlist.ended);
        let newest = |view: &View| Some(view.playlist.all().next_back()?.msn);
        let common = views().filter_map(newest).min().unwrap_or(0);
        let ends = views().map(|view| match common.checked_sub(1) {
            Some(before) => view.playlist.micros_after(before),
            None => view.playlist.micros(),
        });
        let (first, last) = ends.fold((i64::MAX, i64::MIN), |(first, last), end| {
            (first.min(end), last.max(end))
        });
        ensure(
            last.saturating_sub(first) <= self.spread_micros,
            "R2",
            || format!("the renditions end {} us apart", last - first),
        )
    }
}

impl View {
    /// H6, H7, P4: what is listed or promised is there, and is what it was.
    fn available(&mut self, now_ms: i64, new: &Playlist, fetch: Fetch<'_>) -> Checked {
        let mut listed = BTreeSet::new();
        for segment in new.all() {
            let map = segment.map.as_ref().map(|map| (map, false));
            let own = (!segment.uri.is_empty()).then_some((&segment.uri, segment.gap));
            let parts = segment.parts.iter().map(|part| (&part.uri, part.gap));
            for (uri, gap) in map.into_iter().chain(own).chain(parts) {
                listed.insert(uri.clone());
                let bytes = fetch(uri);
                ensure(gap || bytes.is_some(), "H7", || {
                    format!("{uri} is listed but 404")
                })?;
                let known = self.known.entry(uri.clone()).or_insert(bytes);
                ensure(*known == bytes, "P4", || {
                    format!("{uri} stands for other bytes than before")
                })?;
            }
        }
        for hint in &new.hints {
            let early = self.known.contains_key(hint) || fetch(hint).is_some();
            ensure(!early, "H2", || {
                format!("{hint} is hinted but was already there")
            })?;
        }
        self.leave(now_ms, &listed);
        for (uri, until) in &self.leaving {
            let same = fetch(uri) == self.known[uri];
            ensure(same, "H6", || {
                format!("{uri} left the list and must answer until {until} ms")
            })?;
        }
        Ok(())
    }

    /// Notes what the former version listed and the new one does not.
    fn leave(&mut self, now_ms: i64, listed: &BTreeSet<String>) {
        self.leaving
            .retain(|(uri, until)| *until > now_ms && !listed.contains(uri));
        let old = &self.playlist;
        let ms = |micros: i64| now_ms.saturating_add(micros / 1000);
        for segment in old.all() {
            let until = ms(segment.micros + old.micros());
            let uris = (!segment.uri.is_empty())
                .then_some(&segment.uri)
                .into_iter()
                .chain(&segment.map);
            let parts = segment
                .parts
                .iter()
                .map(|part| (&part.uri, ms(3 * old.target_duration)));
            for (uri, until) in uris.map(|uri| (uri, until)).chain(parts) {
                if !listed.contains(uri) && !self.leaving.iter().any(|(known, _)| known == uri) {
                    self.leaving.push((uri.clone(), until));
                }
            }
        }
    }

    fn adopt(&mut self, now_ms: i64, new: Playlist) {
        if new.edge() != self.playlist.edge() {
            self.grew_at_ms = now_ms;
        }
        for range in std::mem::take(&mut self.playlist.ranges) {
            if new.ranges.iter().all(|kept| kept.id != range.id) {
                self.gone.insert(range.id.clone(), range);
            }
        }
        self.alignment.clear();
        let mut discontinuities = new.discontinuity_sequence.unwrap_or(0);
        for segment in new.all() {
            discontinuities += u64::from(segment.discontinuity);
            let at_ms = segment.date_time_ms.unwrap_or(0);
            self.alignment.insert(segment.msn, (discontinuities, at_ms));
        }
        self.playlist = new;
    }
}

/// B5, B11, H3: a request for what is there is answered, one for what comes next waits.
fn blocking(snapshot: &Snapshot) -> Checked {
    let Some((msn, part)) = snapshot.edge() else {
        return Ok(());
    };
    let ask = |msn, part| {
        gate::playlist(
            snapshot,
            Directive {
                at_least: Some((msn, part)),
                skip: false,
            },
        )
    };
    let now = gate::Playlist::Serve(Form::Full);
    ensure(
        ask(0, Some(0)) == now && ask(msn, Some(part)) == now,
        "B5",
        || format!("({msn}, {part}) is there but not served"),
    )?;
    if snapshot.ended {
        return ensure(
            gate::part(snapshot, snapshot.next_part) == gate::Media::Missing,
            "H5",
            || "waits".to_owned(),
        );
    }
    let next = ask(msn, Some(part + 1)) == gate::Playlist::Wait
        && ask(msn + 1, None) == gate::Playlist::Wait;
    ensure(next, "B11", || {
        format!("what follows ({msn}, {part}) is not waited for")
    })?;
    let hinted = gate::part(snapshot, snapshot.next_part) == gate::Media::Wait;
    ensure(hinted, "H3", || {
        "the hinted part is not waited for".to_owned()
    })
}

/// What a viewer would get for `uri`, as a fingerprint.
fn fetch(snapshot: &Snapshot, uri: &str) -> Option<u64> {
    let number = |prefix: &str, suffix: &str| {
        uri.strip_prefix(prefix)?
            .strip_suffix(suffix)?
            .parse::<u64>()
            .ok()
    };
    let mut hasher = DefaultHasher::new();
    if let Some(number) = number("init", ".mp4") {
        hasher.write(snapshot.init(u32::try_from(number).ok()?)?);
    } else if let Some(msn) = number("s", ".m4s") {
        let segment = snapshot
            .segment(msn)
            .filter(|_| gate::segment(snapshot, msn) == gate::Media::Serve)?;
        segment
            .parts
            .iter()
            .filter_map(|part| part.data.as_ref())
            .for_each(|data| hasher.write(data));
    } else {
        let number = number("p", ".m4s")?;
        snapshot
            .part(number)
            .filter(|_| gate::part(snapshot, number) == gate::Media::Serve)?
            .hash(&mut hasher);
    }
    Some(hasher.finish())
}

#[cfg(test)]
mod tests;
