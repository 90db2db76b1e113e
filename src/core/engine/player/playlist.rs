//! The model player's own reading of a media playlist, sharing nothing with the writer.
//!
//! Line by line, because the order of tags is part of what is judged; what `m3u8-rs` can read too is compared with its
//! reading by [`Playlist::agrees_with_m3u8_rs`]. Lengths are whole microseconds. Strict: an unknown tag is an error.

use std::collections::BTreeMap;

use super::{Checked, Violation, ensure};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) uri: String,
    pub(super) micros: i64,
    pub(super) independent: bool,
    pub(super) gap: bool,
}

/// A segment; the last, still growing one has no URI and no length of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) msn: u64,
    pub(super) discontinuity: bool,
    /// The map in force, whether written here or before.
    pub(super) map: Option<String>,
    pub(super) date_time_ms: Option<i64>,
    pub(super) parts: Vec<Part>,
    pub(super) gap: bool,
    pub(super) micros: i64,
    pub(super) uri: String,
}

impl Segment {
    pub(super) fn parts_micros(&self) -> i64 {
        self.parts.iter().map(|part| part.micros).sum()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) uri: String,
    pub(super) edge: (u64, u64),
}

/// A date range, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) id: String,
    /// Every attribute, quotes and all.
    pub(super) attributes: BTreeMap<String, String>,
    /// When it ends in milliseconds, as far as it tells.
    pub(super) ends_ms: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Playlist {
    pub(super) version: u64,
    /// Whether it has an `EXT-X-PLAYLIST-TYPE`.
    pub(super) typed: bool,
    pub(super) target_duration: i64,
    pub(super) server_control: String,
    pub(super) can_block_reload: bool,
    pub(super) hold_back: Option<i64>,
    pub(super) part_hold_back: i64,
    pub(super) can_skip_until: i64,
    pub(super) part_target: i64,
    pub(super) media_sequence: u64,
    pub(super) discontinuity_sequence: Option<u64>,
    pub(super) skipped: u64,
    pub(super) ranges: Vec<Range>,
    pub(super) segments: Vec<Segment>,
    pub(super) open: Option<Segment>,
    pub(super) hints: Vec<String>,
    pub(super) reports: Vec<Report>,
    pub(super) ended: bool,
}

impl Playlist {
    pub(super) fn parse(text: &str) -> Checked<Self> {
        let mut lines = text.lines();
        ensure(lines.next() == Some("#EXTM3U"), "P0", || {
            "no EXTM3U first".to_owned()
        })?;
        let mut list = Self::default();
        let mut segment = Segment::default();
        // Whether anything of the next segment has been read; whether a map must be written anew.
        let (mut begun, mut map_due) = (false, false);
        for line in lines {
            ensure(!list.ended, "P0", || format!("{line} after ENDLIST"))?;
            let (tag, value) = line.split_once(':').unwrap_or((line, ""));
            let head = matches!(
                tag,
                "#EXT-X-DISCONTINUITY" | "#EXT-X-MAP" | "#EXT-X-PROGRAM-DATE-TIME"
            );
            ensure(!head || segment.parts.is_empty(), "P8", || {
                format!("{line} behind a part")
            })?;
            match tag {
                "#EXT-X-DISCONTINUITY" => (segment.discontinuity, map_due) = (true, true),
                "#EXT-X-MAP" => (segment.map, map_due) = (Some(quoted(value, "URI")?), false),
                "#EXT-X-PROGRAM-DATE-TIME" => segment.date_time_ms = Some(date_time(value)?),
                "#EXT-X-GAP" => segment.gap = true,
                "#EXT-X-PART" => {
                    ensure(!map_due, "P14", || {
                        format!("no MAP after DISCONTINUITY before {line}")
                    })?;
                    segment.parts.push(part(value)?);
                }
                "#EXTINF" => segment.micros = micros(value.trim_end_matches(','))?,
                _ if line.starts_with('#') => {
                    ensure(!begun || list.trailing(tag), "P0", || {
                        format!("{line} within a segment")
                    })?;
                    list.tag(tag, value)?;
                    continue;
                }
                _ => {
                    ensure(!map_due, "P14", || {
                        format!("no MAP after DISCONTINUITY before {line}")
                    })?;
                    line.clone_into(&mut segment.uri);
                    let next = Segment {
                        msn: segment.msn + 1,
                        map: segment.map.clone(),
                        ..Segment::default()
                    };
                    list.segments.push(std::mem::replace(&mut segment, next));
                    begun = false;
                    continue;
                }
            }
            begun = true;
        }
        list.open = begun.then_some(segment);
        list.number();
        Ok(list)
    }

    /// Tags that may stand behind the parts of an unfinished segment.
    fn trailing(&self, tag: &str) -> bool {
        matches!(
            tag,
            "#EXT-X-PRELOAD-HINT" | "#EXT-X-RENDITION-REPORT" | "#EXT-X-ENDLIST"
        )
    }

    fn tag(&mut self, tag: &str, value: &str) -> Checked {
        match tag {
            "#EXT-X-VERSION" => self.version = number(value)?,
            "#EXT-X-TARGETDURATION" => self.target_duration = number(value)? as i64 * 1_000_000,
            "#EXT-X-SERVER-CONTROL" => {
                value.clone_into(&mut self.server_control);
                self.can_block_reload = attribute(value, "CAN-BLOCK-RELOAD") == Some("YES");
                self.hold_back = attribute(value, "HOLD-BACK").map(micros).transpose()?;
                self.part_hold_back = micros(required(value, "PART-HOLD-BACK")?)?;
                self.can_skip_until = micros(required(value, "CAN-SKIP-UNTIL")?)?;
            }
            "#EXT-X-PART-INF" => self.part_target = micros(required(value, "PART-TARGET")?)?,
            "#EXT-X-MEDIA-SEQUENCE" => self.media_sequence = number(value)?,
            "#EXT-X-DISCONTINUITY-SEQUENCE" => self.discontinuity_sequence = Some(number(value)?),
            "#EXT-X-SKIP" => self.skipped = number(required(value, "SKIPPED-SEGMENTS")?)?,
            "#EXT-X-DATERANGE" => self.ranges.push(range(value)?),
            "#EXT-X-PRELOAD-HINT" => {
                ensure(attribute(value, "TYPE") == Some("PART"), "H1", || {
                    value.to_owned()
                })?;
                self.hints.push(quoted(value, "URI")?);
            }
            "#EXT-X-RENDITION-REPORT" => self.reports.push(Report {
                uri: quoted(value, "URI")?,
                edge: (
                    number(required(value, "LAST-MSN")?)?,
                    number(required(value, "LAST-PART")?)?,
                ),
            }),
            "#EXT-X-ENDLIST" => self.ended = true,
            "#EXT-X-PLAYLIST-TYPE" => self.typed = true,
            _ => return Err(Violation::new("P0", format!("unknown tag {tag}"))),
        }
        Ok(())
    }

    /// Numbers the segments, now that where they start is known wherever the tag stood.
    fn number(&mut self) {
        let first = self.media_sequence + self.skipped;
        for (msn, segment) in (first..).zip(self.segments.iter_mut().chain(&mut self.open)) {
            segment.msn = msn;
        }
    }

    /// Every segment, the growing one last.
    pub(super) fn all(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.segments.iter().chain(&self.open)
    }

    /// Every listed part, in order.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.all().flat_map(|segment| &segment.parts)
    }

    /// From the start of the first segment to the end of the newest part.
    pub(super) fn micros(&self) -> i64 {
        let complete: i64 = self.segments.iter().map(|segment| segment.micros).sum();
        complete + self.open.as_ref().map_or(0, Segment::parts_micros)
    }

    /// From the end of segment `msn` to the end of the newest part, or of its segment if that is later.
    pub(super) fn micros_after(&self, msn: u64) -> i64 {
        let after = self.all().filter(|segment| segment.msn > msn);
        let newest = self.all().next_back().map(|newest| newest.msn);
        after
            .map(|segment| match Some(segment.msn) == newest {
                true => segment.micros.max(segment.parts_micros()),
                false => segment.micros,
            })
            .sum()
    }

    /// Number of the newest segment and index of its newest part, if any of its parts is listed.
    pub(super) fn edge(&self) -> Option<(u64, u64)> {
        let newest = self.all().next_back()?;
        Some((newest.msn, (newest.parts.len() as u64).checked_sub(1)?))
    }

    /// Compares this reading with that of `m3u8-rs`, which drops what stands behind the last URI: hence the sentinel.
    pub(super) fn agrees_with_m3u8_rs(&self, text: &str) -> Checked {
        let text = format!("{text}#EXTINF:0,\n__tail\n");
        let theirs = m3u8_rs::parse_media_playlist_res(text.as_bytes())
            .map_err(|error| Violation::new("P0", format!("m3u8-rs: {error}")))?;
        let differ = |what: &str| Violation::new("P0", format!("m3u8-rs reads another {what}"));
        let header = (
            theirs.version,
            theirs.target_duration as i64 * 1_000_000,
            theirs.media_sequence,
            Some(theirs.discontinuity_sequence),
            theirs.end_list,
            theirs.segments.len(),
        );
        let ours = (
            Some(self.version as usize),
            self.target_duration,
            self.media_sequence,
            self.discontinuity_sequence,
            self.ended,
            self.segments.len() + 1,
        );
        if header != ours {
            return Err(differ("header"));
        }
        // It keeps the last of those in front of a segment.
        let range = theirs
            .segments
            .first()
            .and_then(|first| first.daterange.as_ref());
        let range = range.map(|range| (range.id.clone(), range.start_date.timestamp_millis()));
        let last = self.ranges.last().map(|last| {
            let start = date_time(last.attributes.get("START-DATE")?.trim_matches('"'));
            Some((last.id.clone(), start.ok()?))
        });
        if range != last.flatten() {
            return Err(differ("range"));
        }
        let mut map = None;
        for (theirs, ours) in theirs.segments.iter().zip(self.all()) {
            map = theirs.map.as_ref().map(|map| map.uri.clone()).or(map);
            let date_time_ms = theirs.program_date_time.map(|at| at.timestamp_millis());
            let parts = theirs
                .unknown_tags
                .iter()
                .filter(|tag| tag.tag == "X-PART")
                .count();
            let gap = theirs.unknown_tags.iter().any(|tag| tag.tag == "X-GAP");
            let micros = (f64::from(theirs.duration) * 1e6) as i64;
            let same = (ours.uri.is_empty() || theirs.uri == ours.uri)
                && (micros - ours.micros).abs() < 100
                && theirs.discontinuity == ours.discontinuity
                && (date_time_ms, &map, parts, gap)
                    == (ours.date_time_ms, &ours.map, ours.parts.len(), ours.gap);
            if !same {
                return Err(differ(&format!("segment {}", ours.msn)));
            }
        }
        Ok(())
    }
}

fn malformed(value: &str) -> Violation {
    Violation::new("P0", format!("malformed {value:?}"))
}

fn number(value: &str) -> Checked<u64> {
    value.parse().map_err(|_| malformed(value))
}

fn micros(value: &str) -> Checked<i64> {
    let (seconds, fraction) = value.split_once('.').unwrap_or((value, "0"));
    ensure(fraction.len() <= 6, "P0", || {
        format!("{value} is finer than microseconds")
    })?;
    Ok(number(seconds)? as i64 * 1_000_000 + number(&format!("{fraction:0<6}"))? as i64)
}

fn date_time(value: &str) -> Checked<i64> {
    let at: jiff::Timestamp = value.parse().map_err(|_| malformed(value))?;
    Ok(at.as_millisecond())
}

fn part(value: &str) -> Checked<Part> {
    Ok(Part {
        uri: quoted(value, "URI")?,
        micros: micros(required(value, "DURATION")?)?,
        independent: attribute(value, "INDEPENDENT") == Some("YES"),
        gap: attribute(value, "GAP") == Some("YES"),
    })
}

/// A range, its dates in order (D1).
fn range(value: &str) -> Checked<Range> {
    let dated = |name| match attribute(value, name) {
        Some(_) => date_time(&quoted(value, name)?).map(Some),
        None => Ok(None),
    };
    let start = dated("START-DATE")?;
    ensure(start.is_some(), "D1", || {
        format!("no START-DATE in {value}")
    })?;
    let start = start.unwrap_or_default();
    let lasts = attribute(value, "DURATION").map(micros).transpose()?;
    let (end, by_length) = (dated("END-DATE")?, lasts.map(|lasts| start + lasts / 1000));
    let agree = end.is_none_or(|end| end >= start && by_length.is_none_or(|at| at == end));
    ensure(agree, "D1", || format!("the dates of {value} disagree"))?;
    Ok(Range {
        id: quoted(value, "ID")?,
        attributes: attributes(value)
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        ends_ms: end.or(by_length),
    })
}

/// The value of an attribute, quotes and all.
fn attribute<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    attributes(list).find_map(|(known, value)| (known == name).then_some(value))
}

/// Every attribute, in order.
fn attributes(list: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut inside = false;
    list.split(move |char| {
        inside ^= char == '"';
        char == ',' && !inside
    })
    .filter_map(|pair| pair.split_once('='))
}

fn required<'a>(list: &'a str, name: &str) -> Checked<&'a str> {
    attribute(list, name).ok_or_else(|| Violation::new("P0", format!("no {name} in {list}")))
}

fn quoted(list: &str, name: &str) -> Checked<String> {
    let value = required(list, name)?;
    let inner = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner.map(str::to_owned).ok_or_else(|| malformed(value))
}
