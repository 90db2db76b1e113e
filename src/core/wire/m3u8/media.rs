//! The low-latency media playlist (draft-pantos-hls-rfc8216bis, 4.4.3 to 4.4.5), written by hand, for no crate has
//! its tags.
//!
//! One pass of appends into one `String`; the same value gives the same bytes. Invariant: but for the map of its first
//! segment, a delta update has from the line after `EXT-X-SKIP` on what the whole playlist has, so merging it back is exact.
//! Which segments are listed is [`crate::engine::window`]'s to know; nothing is parsed here.

use std::{fmt::Write as _, sync::Arc};

use super::range::Range;
use crate::media::{MediaTime, Part, Segment, Timescale};

/// `EXT-X-VERSION` of the whole playlist: `EXT-X-MAP` without `I-FRAMES-ONLY` (section 8).
const VERSION: u64 = 6;
/// `EXT-X-VERSION` of a delta update: `EXT-X-SKIP` (section 8).
const VERSION_DELTA: u64 = 9;
/// Parts stay listed this close to the end, in target durations (6.2.2).
const PARTS_TARGET_DURATIONS: i64 = 3;
/// `CAN-SKIP-UNTIL` in target durations: the least that 4.4.3.8 allows.
const SKIP_TARGET_DURATIONS: i64 = 6;

/// The timing promises of a playlist: fixed when its epoch begins, never changed in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constants {
    /// `EXT-X-TARGETDURATION`, seconds.
    pub target_duration: u32,
    /// `PART-TARGET`, milliseconds.
    pub part_target_ms: u32,
    /// `PART-HOLD-BACK`, milliseconds; at least three part targets.
    pub part_hold_back_ms: u32,
}

/// `EXT-X-RENDITION-REPORT`: how far another rendition has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Relative URI of the other playlist, e.g. `../audio/index.m3u8`.
    pub uri: String,
    /// Its last segment's number, complete or not.
    pub last_msn: u64,
    /// Index of the last part within that segment.
    pub last_part: u64,
}

/// Which text of a playlist: whole, or a delta update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Every segment in the window.
    Full,
    /// `EXT-X-SKIP` in place of the segments beyond the skip boundary.
    Delta,
}

/// A media playlist, ready to be written.
#[derive(Clone, Copy, Debug)]
pub struct Playlist<'a> {
    /// Timing promises.
    pub constants: &'a Constants,
    /// Clock of the segments' ticks.
    pub timescale: Timescale,
    /// `EXT-X-DISCONTINUITY-SEQUENCE`.
    pub discontinuity_sequence: u64,
    /// The complete segments in the window, oldest first.
    pub segments: &'a [Arc<Segment>],
    /// The segment still growing, with at least one part.
    pub open: Option<&'a Segment>,
    /// What lasts in the shop, in the order in which it began; the same in every rendition.
    pub ranges: &'a [Range],
    /// Number of the part that the preload hint names; `None` once ended.
    pub hint: Option<u64>,
    /// The other renditions.
    pub reports: &'a [Report],
    /// `EXT-X-ENDLIST`.
    pub ended: bool,
}

impl Playlist<'_> {
    /// The text in `form`; the delta falls back to the whole when there is nothing to skip, and once ended (6.2.5.1).
    pub fn write(&self, form: Form) -> String {
        let skipped = match form {
            Form::Delta if !self.ended => self.skippable(),
            Form::Delta | Form::Full => 0,
        };
        let listed = &self.segments[skipped..];
        let parts_from = self.end() - self.target_durations(PARTS_TARGET_DURATIONS);
        let with_parts = listed.partition_point(|segment| segment.end() < parts_from);

        let mut text = Text::with_capacity(self.estimated_len(listed.len(), &listed[with_parts..]));
        self.header(&mut text, skipped);
        // The map in force behind a skip is said again: Shaka Player 5.2 forgets it, and then finds no events in parts.
        let mut before = None;
        for (index, segment) in listed.iter().enumerate() {
            self.segment_head(&mut text, before, segment, index >= with_parts);
            if segment.gap() {
                text.line("#EXT-X-GAP");
            }
            text.str("#EXTINF:")
                .seconds(self.timescale.at(segment.duration))
                .line(",");
            text.str("s").number(segment.msn).line(".m4s");
            before = Some(&**segment);
        }
        if let Some(open) = self.open {
            self.segment_head(&mut text, before, open, true);
        }
        self.footer(&mut text);
        text.0
    }

    /// End of the newest part or of its segment, in ticks, whichever is later: lengths of parts are predictions, and
    /// a segment that ends a little early must not bring tags back that were gone.
    fn end(&self) -> i64 {
        let last = self.open.or(self.segments.last().map(|last| &**last));
        last.map_or(0, |last| {
            let parts: i64 = last.parts.iter().map(|part| i64::from(part.duration)).sum();
            last.end().max(last.start.saturating_add(parts))
        })
    }

    fn target_durations(&self, count: i64) -> i64 {
        count * i64::from(self.constants.target_duration) * i64::from(self.timescale.hz())
    }

    /// How many segments end further from the end of the last (parent) segment, its parts so far included, than the
    /// skip boundary (6.2.5.1).
    fn skippable(&self) -> usize {
        let boundary = self.end() - self.target_durations(SKIP_TARGET_DURATIONS);
        self.segments
            .partition_point(|segment| segment.end() < boundary)
    }

    fn estimated_len(&self, listed: usize, with_parts: &[Arc<Segment>]) -> usize {
        let parts: usize = with_parts.iter().map(|segment| segment.parts.len()).sum();
        let open = self.open.map_or(0, |open| open.parts.len());
        let ranges = self.ranges.iter().map(Range::line_bytes_max).sum::<usize>();
        512 + listed * 112 + (parts + open) * 72 + ranges + self.reports.len() * 96
    }

    fn header(&self, text: &mut Text, skipped: usize) {
        let constants = self.constants;
        let first = self.segments.first().map(|first| &**first).or(self.open);
        let version = if skipped > 0 { VERSION_DELTA } else { VERSION };
        text.line("#EXTM3U");
        text.str("#EXT-X-VERSION:").number(version).line("");
        text.str("#EXT-X-TARGETDURATION:")
            .number(constants.target_duration.into())
            .line("");
        text.str("#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=")
            .seconds(MediaTime::from_ms(constants.part_hold_back_ms.into()))
            .str(",CAN-SKIP-UNTIL=")
            .seconds(
                self.timescale
                    .at(self.target_durations(SKIP_TARGET_DURATIONS)),
            )
            .line("");
        text.str("#EXT-X-PART-INF:PART-TARGET=")
            .seconds(MediaTime::from_ms(constants.part_target_ms.into()))
            .line("");
        text.str("#EXT-X-MEDIA-SEQUENCE:")
            .number(first.map_or(0, |first| first.msn))
            .line("");
        text.str("#EXT-X-DISCONTINUITY-SEQUENCE:")
            .number(self.discontinuity_sequence)
            .line("");
        if skipped > 0 {
            text.str("#EXT-X-SKIP:SKIPPED-SEGMENTS=")
                .number(skipped as u64)
                .line("");
        }
        // Behind the skip and never part of it: a delta update hides none.
        for range in self.ranges {
            writeln!(text.0, "{range}").expect(INFALLIBLE);
        }
    }

    /// What precedes the URI of `segment`, its tags before its parts (4.4.4.9). `before` is the segment in front of it, whose
    /// map holds until the next one.
    fn segment_head(
        &self,
        text: &mut Text,
        before: Option<&Segment>,
        segment: &Segment,
        with_parts: bool,
    ) {
        if segment.discontinuity {
            text.line("#EXT-X-DISCONTINUITY");
        }
        if segment.discontinuity || before.is_none_or(|before| before.init != segment.init) {
            text.str("#EXT-X-MAP:URI=\"init")
                .number(segment.init.into())
                .line(".mp4\"");
        }
        writeln!(
            text.0,
            "#EXT-X-PROGRAM-DATE-TIME:{}",
            segment.program_date_time
        )
        .expect(INFALLIBLE);
        if with_parts {
            for part in &segment.parts {
                self.part(text, part);
            }
        }
    }

    fn part(&self, text: &mut Text, part: &Part) {
        text.str("#EXT-X-PART:DURATION=")
            .seconds(self.timescale.at(part.duration.into()))
            .str(",URI=\"p")
            .number(part.number)
            .str(".m4s\"");
        if part.independent {
            text.str(",INDEPENDENT=YES");
        }
        if part.data.is_none() {
            text.str(",GAP=YES");
        }
        text.line("");
    }

    fn footer(&self, text: &mut Text) {
        if let Some(hint) = self.hint.filter(|_| !self.ended) {
            text.str("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"p")
                .number(hint)
                .line(".m4s\"");
        }
        for report in self.reports {
            text.str("#EXT-X-RENDITION-REPORT:URI=\"").str(&report.uri);
            text.str("\",LAST-MSN=").number(report.last_msn);
            text.str(",LAST-PART=").number(report.last_part).line("");
        }
        if self.ended {
            text.line("#EXT-X-ENDLIST");
        }
    }
}

const INFALLIBLE: &str = "a String takes every write";

/// The text so far.
struct Text(String);

impl Text {
    fn with_capacity(bytes: usize) -> Self {
        Self(String::with_capacity(bytes))
    }

    fn str(&mut self, text: &str) -> &mut Self {
        self.0.push_str(text);
        self
    }

    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn number(&mut self, number: u64) -> &mut Self {
        write!(self.0, "{number}").expect(INFALLIBLE);
        self
    }

    /// Seconds with milliseconds where those are exact, else with microseconds: an hour of rounding stays far below
    /// one frame.
    fn seconds(&mut self, length: MediaTime) -> &mut Self {
        let micros = length.ticks_at(MICROS).max(0);
        let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
        if micros % 1000 == 0 {
            write!(self.0, "{seconds}.{:03}", micros / 1000).expect(INFALLIBLE);
        } else {
            write!(self.0, "{seconds}.{micros:06}").expect(INFALLIBLE);
        }
        self
    }
}

const MICROS: Timescale = Timescale::new(1_000_000).expect("not zero");

#[cfg(test)]
mod tests;
