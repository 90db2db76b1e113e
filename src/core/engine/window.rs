//! The sliding list of one rendition, and its immutable published view (draft-pantos-hls-rfc8216bis, 6.2.2).
//!
//! Segments grow at one end, leave the list at the other, and stay fetchable for as long as the draft promises: all
//! counted in media time, never in segments. Invariants ([`Window::check_invariants`]): media sequence and part
//! numbers have no holes from the oldest retained segment to the newest part, and whatever a segment refers to is
//! there. A snapshot costs one reference count per segment. Where to cut is not decided here.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;

use super::saved;
use crate::{
    limits,
    media::{MediaTime, Part, Segment, Timescale, WallTime},
    wire::m3u8::{
        media::{Constants, Form, Playlist, Report},
        range::Range,
    },
};

/// One version of a rendition: everything a request can be answered from, immutable.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Timing promises of the epoch.
    pub constants: Constants,
    /// Clock of the ticks.
    pub timescale: Timescale,
    /// `EXT-X-DISCONTINUITY-SEQUENCE`.
    pub discontinuity_sequence: u64,
    /// Complete segments that left the list but stay fetchable, oldest first.
    pub retained: Vec<Arc<Segment>>,
    /// Complete segments in the list, oldest first.
    pub listed: Vec<Arc<Segment>>,
    /// The segment still growing; `None` between segments.
    pub open: Option<Arc<Segment>>,
    /// Number of the next part to come: the preload hint.
    pub next_part: u64,
    /// Number of the next segment to begin.
    pub next_msn: u64,
    /// Initialization segments by number: those that a segment above needs, and the newest.
    pub inits: BTreeMap<u32, Bytes>,
    /// What lasts in the shop, in the order in which it began; the same in every rendition.
    pub ranges: Arc<[Range]>,
    /// The other renditions, as they stood when this was published.
    pub reports: Vec<Report>,
    /// Whether `EXT-X-ENDLIST` was written.
    pub ended: bool,
}

impl Snapshot {
    /// The media playlist in `form`.
    pub fn playlist(&self, form: Form) -> String {
        Playlist {
            constants: &self.constants,
            timescale: self.timescale,
            discontinuity_sequence: self.discontinuity_sequence,
            segments: &self.listed,
            open: self.open.as_deref(),
            ranges: &self.ranges,
            hint: (!self.ended).then_some(self.next_part),
            reports: &self.reports,
            ended: self.ended,
        }
        .write(form)
    }

    /// The initialization segment `number`.
    pub fn init(&self, number: u32) -> Option<&Bytes> {
        self.inits.get(&number)
    }

    /// The complete segment `msn`, listed or retained; gaps included.
    pub fn segment(&self, msn: u64) -> Option<&Arc<Segment>> {
        [&self.listed, &self.retained].into_iter().find_map(|list| {
            let index = list
                .binary_search_by_key(&msn, |segment| segment.msn)
                .ok()?;
            list.get(index)
        })
    }

    /// The bytes of part `number`, listed or retained; `None` for a gap.
    pub fn part(&self, number: u64) -> Option<&Bytes> {
        let open = self.open.as_slice();
        let segment = [open, &self.listed, &self.retained]
            .into_iter()
            .find_map(|list| {
                let after = list.partition_point(|segment| first_part(segment) <= Some(number));
                list.get(after.checked_sub(1)?)
            })?;
        let index = usize::try_from(number - first_part(segment)?).ok()?;
        segment.parts.get(index)?.data.as_ref()
    }

    /// Whether this holds more than `former`: a part, the end of a segment, the end of the list. Otherwise it only
    /// reports on other renditions, and nobody who waited on `former` can be answered now.
    pub fn grew_from(&self, former: &Self) -> bool {
        let growth = |version: &Self| (version.next_part, version.open.is_none(), version.ended);
        growth(self) != growth(former)
    }

    /// Number of the newest segment, complete or not, and index of its newest part: what a rendition report says of
    /// this rendition. `None` before the first part.
    pub fn edge(&self) -> Option<(u64, u64)> {
        edge(self.open.as_ref().or(self.listed.last())?)
    }
}

fn first_part(segment: &Arc<Segment>) -> Option<u64> {
    segment.parts.first().map(|part| part.number)
}

fn edge(newest: &Arc<Segment>) -> Option<(u64, u64)> {
    let last = newest.parts.len().checked_sub(1)?;
    Some((newest.msn, last as u64))
}

/// A segment that left the list.
#[derive(Clone, Debug)]
struct Retained {
    segment: Arc<Segment>,
    /// Media time, in ticks, at which nobody may ask for it any more.
    until: i64,
}

/// The list of one rendition while it grows.
#[derive(Clone, Debug)]
pub struct Window {
    constants: Constants,
    timescale: Timescale,
    /// Length of the list in ticks.
    length: i64,
    discontinuity_sequence: u64,
    retained: VecDeque<Retained>,
    listed: VecDeque<Arc<Segment>>,
    /// The segment begun last and not yet ended; it may still be without parts.
    open: Option<Arc<Segment>>,
    next_part: u64,
    next_msn: u64,
    inits: BTreeMap<u32, Bytes>,
    next_init: u32,
    /// A segment that was dropped for want of parts was to begin with a discontinuity: the next one does.
    discontinuity: bool,
    ended: bool,
}

impl Window {
    /// An empty list that keeps `length` of media listed, nine target durations at least.
    pub fn new(constants: Constants, timescale: Timescale, length: MediaTime) -> Self {
        let least = MediaTime::from_ms(
            limits::WINDOW_TARGET_DURATIONS_MIN * i64::from(constants.target_duration) * 1000,
        );
        Self {
            constants,
            timescale,
            length: length.max(least).ticks_at_ceil(timescale),
            discontinuity_sequence: 0,
            retained: VecDeque::new(),
            listed: VecDeque::new(),
            open: None,
            next_part: 0,
            next_msn: 0,
            inits: BTreeMap::new(),
            next_init: 0,
            discontinuity: false,
            ended: false,
        }
    }

    /// The number of the initialization segment `bytes`; that of an equal one still in use, if there is one. It is
    /// forgotten when the last segment that needs it is, unless it is the newest: ask again before coming back to it.
    pub fn add_init(&mut self, bytes: Bytes) -> u32 {
        if let Some((number, _)) = self.inits.iter().find(|(_, known)| **known == bytes) {
            return *number;
        }
        // The newest so far may have no segment yet, and now gets none.
        self.forget_inits(None);
        let number = self.next_init;
        self.next_init += 1;
        self.inits.insert(number, bytes);
        number
    }

    /// Begins a segment at `start`, in ticks; [`Self::end_segment`] comes first if one is open.
    pub fn begin_segment(
        &mut self,
        start: i64,
        program_date_time: WallTime,
        discontinuity: bool,
        init: u32,
    ) {
        debug_assert!(
            self.open.is_none() && !self.ended,
            "a segment begins after the last one ended"
        );
        debug_assert!(
            self.inits.contains_key(&init),
            "init {init} was added and is not forgotten"
        );
        self.open = Some(Arc::new(Segment {
            msn: self.next_msn,
            start,
            duration: 0,
            program_date_time,
            discontinuity: std::mem::take(&mut self.discontinuity) || discontinuity,
            init,
            parts: Vec::new(),
        }));
        self.next_msn += 1;
    }

    /// Adds a part of `duration` ticks to the open segment; `data` is `None` for missing media.
    pub fn add_part(&mut self, duration: u32, independent: bool, data: Option<Bytes>) {
        let Some(open) = &mut self.open else {
            debug_assert!(false, "a part belongs to an open segment");
            return;
        };
        let open = Arc::make_mut(open);
        open.duration += i64::from(duration);
        open.parts.push(Part {
            number: self.next_part,
            duration,
            independent,
            data,
        });
        self.next_part += 1;
    }

    /// Ends the open segment where the next one starts, in ticks. Without an open segment nothing happens; one
    /// without parts is taken back as if it had never begun.
    pub fn end_segment(&mut self, next_start: i64) {
        let Some(mut segment) = self.open.take() else {
            return;
        };
        if segment.parts.is_empty() {
            self.next_msn = segment.msn;
            self.discontinuity = segment.discontinuity;
            return;
        }
        let duration = next_start.saturating_sub(segment.start).max(0);
        Arc::make_mut(&mut segment).duration = duration;
        self.listed.push_back(segment);
        self.trim();
    }

    /// Writes `EXT-X-ENDLIST`, after [`Self::end_segment`].
    pub fn end(&mut self) {
        debug_assert!(
            self.open.is_none(),
            "the last segment ends before the list does"
        );
        self.ended = true;
    }

    /// The list at rest; appends its bytes to `media`. `None` before the first segment and after the end.
    pub(super) fn save(&self, media: &mut Vec<Bytes>) -> Option<saved::List> {
        let open = self.open.as_ref().filter(|_| !self.ended)?;
        let first = self.all().next()?;
        media.extend(self.inits.values().cloned());
        let parts = || self.all().flat_map(|segment| &segment.parts);
        media.extend(parts().filter_map(|part| part.data.clone()));
        let listed = self.listed.iter().chain([open]);
        Some(saved::List {
            length: self.length,
            discontinuity_sequence: self.discontinuity_sequence,
            first: (
                first.msn,
                parts()
                    .next()
                    .map(|part| part.number)
                    .unwrap_or(self.next_part),
                first.start,
            ),
            retained: (self.retained.iter())
                .map(|left| (left.segment.save(), left.until))
                .collect(),
            listed: listed.map(|segment| segment.save()).collect(),
            discontinuity: self.discontinuity,
            inits: (self.inits.iter())
                .map(|(number, bytes)| (*number, length_of(bytes)))
                .collect(),
            next_init: self.next_init,
        })
    }

    /// The list that [`Self::save`] left, with its bytes from `media`.
    ///
    /// # Errors
    /// What in it cannot be.
    pub(super) fn restore(
        saved: saved::List,
        constants: Constants,
        timescale: Timescale,
        media: &mut impl Iterator<Item = Bytes>,
    ) -> Result<Self, saved::Error> {
        let (msn, part, start) = saved.first;
        let mut inits = BTreeMap::new();
        for (number, _) in saved.inits {
            // A copy: a slice would keep the whole saved file in memory for as long as the epoch lasts.
            let bytes = Bytes::copy_from_slice(&media.next().unwrap_or_default());
            saved::hold(
                !inits.values().any(|known| *known == bytes),
                "two equal initialization segments",
            )?;
            inits.insert(number, bytes);
        }
        let mut window = Self {
            length: saved::number(saved.length)?.max(1),
            discontinuity_sequence: saved::count(saved.discontinuity_sequence)?,
            next_part: saved::count(part)?,
            next_msn: saved::count(msn)?,
            next_init: saved.next_init,
            discontinuity: saved.discontinuity,
            inits,
            ..Self::new(constants, timescale, MediaTime::ZERO)
        };
        let mut at = saved::number(start)?;
        for (segment, until) in saved.retained {
            let segment = window.resume(segment, &mut at, media)?;
            saved::hold(
                !segment.parts.is_empty(),
                "a complete segment without parts",
            )?;
            let until = saved::number(until)?;
            window.retained.push_back(Retained { segment, until });
        }
        for segment in saved.listed {
            if let Some(complete) = window.open.take() {
                saved::hold(
                    !complete.parts.is_empty(),
                    "a complete segment without parts",
                )?;
                window.listed.push_back(complete);
            }
            window.open = Some(window.resume(segment, &mut at, media)?);
        }
        window.check()?;
        Ok(window)
    }

    /// A segment at `at`, counted on; moves `at` to its end.
    fn resume(
        &mut self,
        saved: saved::Segment,
        at: &mut i64,
        media: &mut impl Iterator<Item = Bytes>,
    ) -> Result<Arc<Segment>, saved::Error> {
        let mut segment = Segment {
            msn: self.next_msn,
            start: *at,
            duration: 0,
            program_date_time: WallTime(saved::number(saved.program_date_time_ms)?),
            discontinuity: saved.discontinuity,
            init: saved.init,
            parts: Vec::with_capacity(saved.parts.len()),
        };
        for part in saved.parts {
            saved::hold(part.duration > 0, "a part without length")?;
            segment.duration = saved::number(segment.duration + i64::from(part.duration))?;
            segment.parts.push(Part {
                number: self.next_part,
                duration: part.duration,
                independent: part.independent,
                data: part.bytes.and_then(|_| media.next()),
            });
            self.next_part += 1;
        }
        self.next_msn += 1;
        *at = saved::number(segment.end())?;
        saved::hold(
            self.inits.contains_key(&segment.init),
            "a segment without its initialization segment",
        )?;
        Ok(Arc::new(segment))
    }

    /// What [`Self::check_invariants`] asserts, of a list that was read.
    fn check(&self) -> Result<(), saved::Error> {
        let last_init = self.inits.keys().next_back();
        saved::hold(
            last_init.is_some_and(|last| self.next_init == last.saturating_add(1))
                && i64::from(self.next_init) <= limits::STATE_INITS_MAX,
            "the newest initialization segment is not there",
        )?;
        saved::hold(self.edge().is_some(), "a list without parts")?;
        let (Some(front), Some(back)) = (self.listed.front(), self.listed.back()) else {
            return saved::hold(self.retained.is_empty(), "a list shorter than it was");
        };
        let long = back.end() - front.start >= self.length;
        saved::hold(
            (long || self.retained.is_empty()) && back.end() - front.end() < self.length,
            "a list of another length",
        )
    }

    /// Whether there is an initialization segment `number`.
    pub(super) fn has_init(&self, number: u32) -> bool {
        self.inits.contains_key(&number)
    }

    /// Number of the newest segment and index of its newest part, as rendition reports tell it.
    pub fn edge(&self) -> Option<(u64, u64)> {
        edge(self.newest()?)
    }

    /// Numbers of the open segment and of its part to come.
    pub(super) fn next(&self) -> Option<(u64, u64)> {
        Some((self.open.as_ref()?.msn, self.next_part))
    }

    /// Number of the open segment and index of its part to come.
    pub(super) fn growing(&self) -> Option<(u64, u64)> {
        let open = self.open.as_ref()?;
        Some((open.msn, open.parts.len() as u64))
    }

    /// Program date-time at which the list begins.
    pub(super) fn oldest(&self) -> Option<WallTime> {
        let first = self.listed.front().or(self.open.as_ref())?;
        Some(first.program_date_time)
    }

    /// End of the newest part, in ticks; zero before the first.
    pub fn end_time(&self) -> i64 {
        self.newest().map_or(0, |newest| newest.end())
    }

    /// The newest complete segment still listed.
    pub fn newest_complete(&self) -> Option<&Segment> {
        self.listed.back().map(|segment| &**segment)
    }

    /// The listed or open segment `msn`.
    pub fn segment(&self, msn: u64) -> Option<&Segment> {
        let mut newest_first = self.open.iter().chain(self.listed.iter().rev());
        newest_first
            .find(|segment| segment.msn == msn)
            .map(|segment| &**segment)
    }

    /// Bytes of media held, each counted once; initialization segments are not media.
    pub fn retained_bytes(&self) -> usize {
        self.all().map(|segment| segment.bytes()).sum()
    }

    /// The state as requests may see it, beside what is known of the other renditions.
    pub fn snapshot(&self, reports: Vec<Report>) -> Snapshot {
        let open = self.open.as_ref().filter(|open| !open.parts.is_empty());
        let begun = u64::from(self.open.is_some() && open.is_none());
        Snapshot {
            constants: self.constants,
            timescale: self.timescale,
            discontinuity_sequence: self.discontinuity_sequence,
            retained: self
                .retained
                .iter()
                .map(|left| Arc::clone(&left.segment))
                .collect(),
            listed: self.listed.iter().cloned().collect(),
            open: open.cloned(),
            next_part: self.next_part,
            next_msn: self.next_msn - begun,
            inits: self.inits.clone(),
            ranges: Arc::default(),
            reports,
            ended: self.ended,
        }
    }

    /// The newest segment with a part.
    fn newest(&self) -> Option<&Arc<Segment>> {
        let open = self.open.as_ref().filter(|open| !open.parts.is_empty());
        open.or(self.listed.back())
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Segment>> {
        let retained = self.retained.iter().map(|left| &left.segment);
        retained.chain(&self.listed).chain(&self.open)
    }

    /// Takes off the list what the rest of it does not need, and forgets what nobody may ask for any more.
    fn trim(&mut self) {
        let now = self.end_time();
        while let Some(front) = self.listed.front()
            && now - front.end() >= self.length
            && let Some(segment) = self.listed.pop_front()
        {
            self.discontinuity_sequence += u64::from(segment.discontinuity);
            // 6.2.2: its own duration and that of the longest list it was in, which ended here.
            let promised = segment.duration + (now - segment.start);
            let until = now
                + promised
                + MediaTime::from_ms(limits::RETENTION_SLACK_MS).ticks_at_ceil(self.timescale);
            self.retained.push_back(Retained { segment, until });
        }
        // In order, so that numbers keep no holes: one waits for a longer one before it.
        while self.retained.front().is_some_and(|left| left.until <= now) {
            self.retained.pop_front();
        }
        self.forget_inits(self.next_init.checked_sub(1));
    }

    /// Forgets the initialization segments that no segment needs, but for `newest`.
    fn forget_inits(&mut self, newest: Option<u32>) {
        let needed: Vec<u32> = match self.inits.len() {
            0 | 1 if newest.is_some() => return,
            _ => self
                .all()
                .map(|segment| segment.init)
                .chain(newest)
                .collect(),
        };
        self.inits.retain(|number, _| needed.contains(number));
    }

    /// Asserts what holds between any two calls; for tests and fuzzing.
    ///
    /// # Panics
    /// When it does not hold.
    pub fn check_invariants(&self) {
        let segments: Vec<_> = self.all().collect();
        let parts = segments.iter().flat_map(|segment| &segment.parts);
        consecutive(segments.iter().map(|segment| segment.msn), self.next_msn);
        consecutive(parts.map(|part| part.number), self.next_part);
        for pair in segments.windows(2) {
            assert!(pair[0].end() <= pair[1].start, "segments do not overlap");
            assert!(
                !pair[0].parts.is_empty(),
                "only the newest may be without parts"
            );
        }
        for segment in &segments {
            assert!(
                self.inits.contains_key(&segment.init),
                "init {} is there",
                segment.init
            );
        }
        let mut inits: Vec<_> = self.inits.values().collect();
        inits.sort();
        inits.dedup();
        assert_eq!(inits.len(), self.inits.len(), "equal inits share a number");
        if let (Some(front), Some(back)) = (self.listed.front(), self.listed.back()) {
            let long = back.end() - front.start >= self.length;
            assert!(
                long || self.retained.is_empty(),
                "the list keeps its length"
            );
            assert!(
                back.end() - front.end() < self.length,
                "the list is no longer than it must be"
            );
        }
    }
}

impl Segment {
    fn save(&self) -> saved::Segment {
        let part = |part: &Part| saved::Part {
            duration: part.duration,
            independent: part.independent,
            bytes: part.data.as_ref().map(length_of),
        };
        saved::Segment {
            program_date_time_ms: self.program_date_time.0,
            discontinuity: self.discontinuity,
            init: self.init,
            parts: self.parts.iter().map(part).collect(),
        }
    }
}

/// Far below 4 GiB: a part is a second of media at most, of messages that are bounded.
fn length_of(bytes: &Bytes) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// Asserts that `numbers` have no holes, and that `next` follows the last.
fn consecutive(numbers: impl Iterator<Item = u64>, next: u64) {
    let last = numbers.reduce(|last, number| {
        assert_eq!(last + 1, number, "numbers have no holes");
        number
    });
    assert!(
        last.is_none_or(|last| last + 1 == next),
        "{next} follows {last:?}"
    );
}

#[cfg(test)]
mod tests;
