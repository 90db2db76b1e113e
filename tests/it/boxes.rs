//! Reads the events that a recording carries, as others than we would: boxes with the `mp4` crate, tags with the `id3` crate.
//!
//! [`Carried::of`] looks into every part and every segment that [`crate::viewer::Viewer::record`] downloaded and checks each
//! box where it stands (AOM "Carriage of ID3 Timed Metadata in CMAF"; contracts, section 5): in front of the fragment whose
//! media holds its time, naming the time that the playlist gives to that moment, in a part as in its segment.
//! [`compare`] then holds the renditions against each other, and against the ranges their playlists listed. All that is wrong
//! is told at once, as complaints; what is right is handed over for tests and proofs to compare with what was posted.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io::Cursor,
};

use bytes::Bytes;
use mp4::{BoxHeader, BoxType, EmsgBox, MoofBox, MoovBox, ReadBox as _};
use serde_json::Value;

use crate::{
    ranges::{self, Ranges},
    viewer::{Kept, Recording, part_number},
};

/// Times in boxes are whole milliseconds, those of samples are not.
const ROUNDING_MS: f64 = 1.5;
/// The date of a segment is told in whole milliseconds as well.
const DATE_ROUNDING_MS: f64 = ROUNDING_MS + 1.0;
/// Bytes of a box header.
const HEADER_BYTES: usize = 8;

/// An event as one rendition carries it.
#[derive(Clone, Debug)]
pub(crate) struct Cue {
    /// The whole box.
    pub(crate) bytes: Bytes,
    /// What players get.
    pub(crate) value: Value,
    /// Its moment, milliseconds of the epoch.
    pub(crate) media_time_ms: u64,
    /// Number of the segment it was found in, if in any.
    pub(crate) msn: Option<u64>,
    /// Number of the part it was found in, if in any.
    pub(crate) part: Option<u64>,
}

/// A stretch of media, and the boxes in front of it.
#[derive(Clone, Debug)]
struct Fragment {
    begins_ms: f64,
    ends_ms: f64,
    cues: Vec<Found>,
}

/// A box where it stands.
#[derive(Clone, Debug)]
struct Found {
    bytes: Bytes,
    emsg: EmsgBox,
    value: Value,
}

/// What one rendition carries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carried {
    /// By their ids.
    pub(crate) cues: BTreeMap<String, Cue>,
    /// From where to where there is media, milliseconds of the epoch, in order.
    media: Vec<(f64, f64)>,
    /// The date at which the segments end that were read so far, milliseconds since the Unix epoch.
    dates_end_ms: Option<f64>,
    /// What the playlists listed: attributes of each id, all versions taken together.
    ranges: Ranges,
    /// All that is wrong with it.
    pub(crate) complaints: Vec<String>,
}

impl Carried {
    /// Reads `recording` of the epoch with this number.
    pub(crate) fn of(epoch: u64, recording: &Recording) -> Self {
        let mut carried = Self {
            ranges: recording.ranges.clone(),
            ..Self::default()
        };
        let mut timescale = 0;
        let mut in_segments = BTreeMap::new();
        for kept in &recording.segments {
            let map = kept.segment.map.as_ref().expect("checked at every version");
            timescale = self::timescale(&recording.inits[map]);
            carried.segment(epoch, kept, timescale);
            for part in &kept.segment.parts {
                in_segments.insert(part_number(&part.uri), kept.segment.msn);
            }
        }
        for (&number, bytes) in &recording.parts {
            if timescale > 0 {
                let msn = in_segments.get(&number).copied();
                carried.part(epoch, number, msn, bytes, timescale);
            }
        }
        carried.media.sort_by(|a, b| a.0.total_cmp(&b.0));
        carried
    }

    /// The ids, in order of time.
    pub(crate) fn ids(&self) -> Vec<&str> {
        let mut cues: Vec<_> = self.cues.iter().collect();
        cues.sort_by_key(|(id, cue)| (cue.media_time_ms, *id));
        cues.into_iter().map(|(id, _)| id.as_str()).collect()
    }

    /// Bytes of all the boxes.
    #[allow(dead_code, reason = "for the proofs")]
    pub(crate) fn bytes(&self) -> usize {
        self.cues.values().map(|cue| cue.bytes.len()).sum()
    }

    fn segment(&mut self, epoch: u64, kept: &Kept, timescale: u32) {
        let msn = kept.segment.msn;
        let what = format!("segment {msn}");
        let fragments = self.fragments(&what, &kept.bytes, timescale);
        let Some(begins_ms) = fragments.first().map(|fragment| fragment.begins_ms) else {
            return;
        };
        let date_time_ms = kept.segment.program_date_time.expect("P7") as f64;
        // Where another session begins its dates may be later: what was bound to the end of the one before is of its dates.
        let hole_ms = match self.dates_end_ms {
            Some(end_ms) if kept.segment.discontinuity => (date_time_ms - end_ms).max(0.0),
            _ => 0.0,
        };
        for fragment in fragments {
            for found in &fragment.cues {
                let cue = self.check(epoch, &what, &fragment, found);
                let into_ms = cue.media_time_ms as f64 - begins_ms;
                let shown_ms = date_time_ms + into_ms;
                let told_ms = ranges::date_time(&found.value).unwrap_or(0) as f64;
                let early_ms = if into_ms < ROUNDING_MS { hole_ms } else { 0.0 };
                let right = shown_ms - early_ms - DATE_ROUNDING_MS..=shown_ms + DATE_ROUNDING_MS;
                if fragment.holds(&cue) && !right.contains(&told_ms) {
                    let text = format!("{what}: pdt {told_ms}, listed {shown_ms}: {}", found.value);
                    self.complaints.push(text);
                }
                self.keep(&what, Some(msn), None, cue);
            }
            self.dates_end_ms = Some(date_time_ms + fragment.ends_ms - begins_ms);
            self.media.push((fragment.begins_ms, fragment.ends_ms));
        }
    }

    fn part(&mut self, epoch: u64, number: u64, msn: Option<u64>, bytes: &Bytes, timescale: u32) {
        let what = format!("part {number}");
        for fragment in self.fragments(&what, bytes, timescale) {
            for found in &fragment.cues {
                let cue = self.check(epoch, &what, &fragment, found);
                self.keep(&what, None, Some(number), cue);
            }
            if msn.is_none() {
                self.media.push((fragment.begins_ms, fragment.ends_ms));
            }
        }
    }

    /// Remembers a copy, which must be the one in its part or its segment that is known, or the first.
    fn keep(&mut self, what: &str, msn: Option<u64>, part: Option<u64>, cue: Cue) {
        let id = cue.value["id"].as_str().unwrap_or_default().to_owned();
        match self.cues.entry(id) {
            Entry::Vacant(new) => {
                new.insert(Cue { msn, part, ..cue });
            }
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                let twice = (msn.is_some() && known.msn.is_some())
                    || (part.is_some() && known.part.is_some());
                if twice || known.bytes != cue.bytes {
                    let text = format!("{what}: again, or another: {} {known:?}", cue.value);
                    self.complaints.push(text);
                }
                known.msn = known.msn.or(msn);
                known.part = known.part.or(part);
            }
        }
    }

    /// What one box must be, wherever it stands.
    fn check(&mut self, epoch: u64, what: &str, fragment: &Fragment, found: &Found) -> Cue {
        let Found { emsg, value, bytes } = found;
        let media_time_ms = emsg.presentation_time.unwrap_or(0);
        let faults = [
            ("version", emsg.version == 1 && emsg.flags == 0),
            ("timescale", emsg.timescale == 1000),
            (
                "scheme",
                emsg.scheme_id_uri == "https://aomedia.org/emsg/ID3",
            ),
            ("value of the box", emsg.value.is_empty()),
            ("t", value["t"].as_u64() == Some(media_time_ms)),
            ("epoch", value["epoch"].as_u64() == Some(epoch)),
            ("pdt", ranges::date_time(value).is_some()),
            ("id", value["id"].is_string()),
            ("type", value["type"].is_string()),
            ("sync", value["sync"] == "media"),
            (
                "at or ttl_ms",
                value.get("at").is_none() && value.get("ttl_ms").is_none(),
            ),
            (
                "duration",
                value["duration_ms"]
                    .as_u64()
                    .is_none_or(|ms| ms == u64::from(emsg.event_duration)),
            ),
            (
                "ends before",
                (media_time_ms as f64) < fragment.ends_ms + ROUNDING_MS,
            ),
        ];
        for (fault, _) in faults.iter().filter(|(_, right)| !right) {
            let (from, to) = (fragment.begins_ms, fragment.ends_ms);
            let text = format!("{what} ({from:.1}..{to:.1} ms): {fault}: {emsg:?} {value}");
            self.complaints.push(text);
        }
        // What was bound to a hole is carried by the media behind it; anything else stands where it belongs.
        let cue = Cue {
            bytes: bytes.clone(),
            value: value.clone(),
            media_time_ms,
            msn: None,
            part: None,
        };
        let early = media_time_ms as f64 + ROUNDING_MS < fragment.begins_ms;
        if early && self.has_media(media_time_ms) {
            let text = format!("{what}: belongs to media before it: {value}");
            self.complaints.push(text);
        }
        cue
    }

    /// Whether media is known for a moment, well inside of a fragment.
    fn has_media(&self, media_time_ms: u64) -> bool {
        let at = media_time_ms as f64;
        (self.media.iter()).any(|(from, to)| from + ROUNDING_MS < at && at < to - ROUNDING_MS)
    }

    /// Splits media into its fragments.
    fn fragments(&mut self, what: &str, bytes: &Bytes, timescale: u32) -> Vec<Fragment> {
        let mut fragments = Vec::new();
        let mut cues = Vec::new();
        for (name, bytes) in boxes(bytes) {
            match name {
                BoxType::EmsgBox => match found(&bytes) {
                    Ok(found) => cues.push(found),
                    Err(error) => self.complaints.push(format!("{what}: {error}")),
                },
                BoxType::MoofBox => {
                    let (begins_ms, ends_ms) = stretch(&bytes, timescale);
                    let cues = std::mem::take(&mut cues);
                    fragments.push(Fragment {
                        begins_ms,
                        ends_ms,
                        cues,
                    });
                }
                _ => {}
            }
        }
        if !cues.is_empty() {
            self.complaints
                .push(format!("{what}: {} boxes behind all media", cues.len()));
        }
        fragments
    }
}

impl Fragment {
    fn holds(&self, cue: &Cue) -> bool {
        let at = cue.media_time_ms as f64;
        self.begins_ms - ROUNDING_MS <= at && at < self.ends_ms + ROUNDING_MS
    }
}

/// All renditions of a broadcast.
pub(crate) type Renditions = BTreeMap<String, Carried>;

/// Reads every rendition of the epoch with this number.
pub(crate) fn read(epoch: u64, recordings: &BTreeMap<String, Recording>) -> Renditions {
    let read =
        |(name, recording): (&String, &Recording)| (name.clone(), Carried::of(epoch, recording));
    recordings.iter().map(read).collect()
}

/// What the renditions of one broadcast must share: the same boxes wherever there is media for them, in every rendition of
/// pictures and in no other; the same ranges in all, each also a box. Complaints of each by itself are among these.
pub(crate) fn compare(renditions: &Renditions) -> Vec<String> {
    let mut complaints: Vec<String> = Vec::new();
    for (name, carried) in renditions {
        complaints.extend(
            carried
                .complaints
                .iter()
                .map(|text| format!("{name}: {text}")),
        );
    }
    let pictures = renditions.keys().any(|name| name != "audio");
    let (carriers, others): (Vec<_>, Vec<_>) = renditions
        .iter()
        .partition(|(name, _)| !pictures || *name != "audio");
    for (name, carried) in others {
        let count = carried.cues.len();
        complaints.extend((count > 0).then(|| format!("{name}: {count} boxes beside pictures")));
    }
    for (name, carried) in &carriers {
        for (id, cue) in &carried.cues {
            for (other, peer) in &carriers {
                match peer.cues.get(id) {
                    Some(copy) if copy.bytes == cue.bytes => {}
                    Some(copy) => {
                        complaints.push(format!("{id}: {name} {cue:?}, {other} {copy:?}"))
                    }
                    None if peer.has_media(cue.media_time_ms) => {
                        complaints.push(format!("{id}: in {name}, not in {other}: {}", cue.value));
                    }
                    None => {}
                }
            }
        }
    }
    let carriers: Vec<_> = carriers.iter().map(|(_, carried)| *carried).collect();
    for (name, carried) in renditions {
        for (other, peer) in renditions {
            let differ = ranges::differences(&carried.ranges, &peer.ranges);
            complaints.extend(differ.map(|text| format!("{name}, {other}: {text}")));
        }
        for (id, attributes) in &carried.ranges {
            let boxed = carriers.iter().find_map(|carrier| carrier.cues.get(id));
            let faults = ranges::faults(attributes, boxed.map(|cue| &cue.value));
            complaints.extend(
                faults
                    .into_iter()
                    .map(|fault| format!("{name}: range {id}: {fault}")),
            );
        }
    }
    complaints
}

/// The boxes on the first level.
fn boxes(bytes: &Bytes) -> Vec<(BoxType, Bytes)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let header = BoxHeader::read(&mut Cursor::new(&bytes[at..])).expect("a box header");
        let size = usize::try_from(header.size).expect("it was downloaded");
        assert!(
            size >= HEADER_BYTES && at + size <= bytes.len(),
            "{header:?} at {at}"
        );
        found.push((header.name, bytes.slice(at..at + size)));
        at += size;
    }
    found
}

fn found(bytes: &Bytes) -> Result<Found, String> {
    let mut reader = Cursor::new(&bytes[..]);
    let header = BoxHeader::read(&mut reader).map_err(|error| error.to_string())?;
    let emsg = EmsgBox::read_box(&mut reader, header.size).map_err(|error| error.to_string())?;
    let tag =
        id3::Tag::read_from2(Cursor::new(&emsg.message_data)).map_err(|error| error.to_string())?;
    let texts: Vec<_> = tag.extended_texts().collect();
    let (id3::Version::Id3v24, [text], 1) = (tag.version(), &texts[..], tag.frames().count())
    else {
        return Err(format!("expected one TXXX frame, ID3v2.4: {tag:?}"));
    };
    if text.description != "vitrine" {
        return Err(format!("expected the description vitrine: {tag:?}"));
    }
    let value = serde_json::from_str(&text.value).map_err(|error| error.to_string())?;
    let bytes = bytes.clone();
    Ok(Found { bytes, emsg, value })
}

/// Begin and end of the media of a `moof`, milliseconds.
fn stretch(bytes: &Bytes, timescale: u32) -> (f64, f64) {
    let mut reader = Cursor::new(&bytes[..]);
    let header = BoxHeader::read(&mut reader).expect("a box header");
    let moof = MoofBox::read_box(&mut reader, header.size).expect("a moof box");
    let [traf] = &moof.trafs[..] else {
        panic!("one track each: {moof:?}");
    };
    let begins = traf.tfdt.as_ref().expect("a tfdt").base_media_decode_time;
    let trun = traf.trun.as_ref().expect("samples");
    let each = u64::from(traf.tfhd.default_sample_duration.unwrap_or(0));
    let lasts = match &trun.sample_durations[..] {
        [] => each * u64::from(trun.sample_count),
        durations => durations.iter().copied().map(u64::from).sum(),
    };
    assert!(lasts > 0, "no duration: {moof:?}");
    let milliseconds = |ticks: u64| ticks as f64 * 1000.0 / f64::from(timescale);
    (milliseconds(begins), milliseconds(begins + lasts))
}

/// The ticks in a second of the only track.
fn timescale(init: &Bytes) -> u32 {
    let moov = boxes(init)
        .into_iter()
        .find(|(name, _)| *name == BoxType::MoovBox);
    let (_, moov) = moov.expect("a moov box");
    let mut reader = Cursor::new(&moov[..]);
    let header = BoxHeader::read(&mut reader).expect("a box header");
    let moov = MoovBox::read_box(&mut reader, header.size).expect("a moov box");
    moov.traks[0].mdia.mdhd.timescale
}

#[cfg(test)]
mod tests {
    use mp4::WriteBox as _;
    use vitrine_core::{
        media::WallTime,
        wire::event::{Event, Place, Placed},
    };

    use super::*;
    use crate::viewer::Segment;

    const EPOCH: u64 = 7;

    /// The box of an event at `t`, in an epoch that began with the Unix epoch.
    fn event(id: &str, t: i64) -> Vec<u8> {
        let json = format!(r#"{{"id":"{id}","type":"listing.pinned"}}"#);
        let event = Event::parse(json.as_bytes()).expect("right");
        let place = Place {
            epoch: EPOCH,
            media_time_ms: t,
            program_date_time: WallTime(t),
        };
        Placed::new(event, place).emsg(1).to_vec()
    }

    fn a_box(name: &[u8; 4], body: &[&[u8]]) -> Vec<u8> {
        let body = body.concat();
        let size = u32::try_from(HEADER_BYTES + body.len()).expect("small");
        [&size.to_be_bytes(), &name[..], &body].concat()
    }

    /// A second of media without its bytes.
    fn media(begins_ms: u64, cues: &[Vec<u8>]) -> Bytes {
        let begins = (begins_ms * 90).to_be_bytes();
        let number = |number: u32| number.to_be_bytes();
        let traf = [
            // For all samples: their duration. Then the decode time in 64 bits, and one sample.
            a_box(b"tfhd", &[&number(0x08), &number(1), &number(90_000)]),
            a_box(b"tfdt", &[&number(1 << 24), &begins]),
            a_box(b"trun", &[&number(0), &number(1)]),
        ];
        let mfhd = a_box(b"mfhd", &[&number(0), &number(1)]);
        let moof = a_box(b"moof", &[&mfhd, &a_box(b"traf", &[&traf.concat()])]);
        [cues.concat(), moof].concat().into()
    }

    fn init() -> Bytes {
        let mut moov = MoovBox::default();
        moov.traks.push(Default::default());
        moov.traks[0].mdia.mdhd.timescale = 90_000;
        moov.traks[0].mdia.minf.stbl.stco = Some(Default::default());
        let mut bytes = Vec::new();
        moov.write_box(&mut bytes).expect("written");
        bytes.into()
    }

    /// Segments of a second, from 0 on.
    fn recording(segments: &[Bytes]) -> Recording {
        let mut recording = Recording::default();
        recording.inits.insert("init0.mp4".to_owned(), init());
        for (msn, bytes) in (0..).zip(segments) {
            let segment = Segment {
                msn,
                uri: Some(format!("s{msn}.m4s")),
                duration: 1.0,
                discontinuity: false,
                gap: false,
                program_date_time: Some(msn as i64 * 1000),
                map: Some("init0.mp4".to_owned()),
                parts: Vec::new(),
            };
            let bytes = bytes.clone();
            recording.segments.push(Kept { segment, bytes });
        }
        recording
    }

    fn complaints(renditions: &[(&str, &[Bytes])]) -> Vec<String> {
        let of = |(name, segments): &(&str, &[Bytes])| (name.to_string(), recording(segments));
        let recordings = renditions.iter().map(of).collect();
        compare(&read(EPOCH, &recordings))
    }

    #[test]
    fn what_is_in_its_place_everywhere_is_right() {
        let segments = [
            media(0, &[]),
            media(1000, &[event("a", 1000), event("b", 1999)]),
        ];
        let read = read(EPOCH, &[("high".to_owned(), recording(&segments))].into());
        assert_eq!(read["high"].ids(), ["a", "b"]);
        assert_eq!(compare(&read), Vec::<String>::new());
        let audio = [media(0, &[]), media(1000, &[])];
        let all: [(&str, &[Bytes]); 3] =
            [("high", &segments), ("low", &segments), ("audio", &audio)];
        assert_eq!(complaints(&all), Vec::<String>::new());
    }

    #[test]
    fn what_was_bound_to_a_hole_may_stand_behind_it() {
        let with_a_hole = [media(0, &[]), media(5000, &[event("a", 3000)])];
        assert_eq!(complaints(&[("high", &with_a_hole)]), Vec::<String>::new());
    }

    #[test]
    fn a_date_may_be_before_those_of_a_session_only_where_that_begins() {
        let joined = |at_ms: i64, jump_ms: i64| {
            let segments = [media(0, &[]), media(1000, &[event("a", at_ms)])];
            let mut recording = recording(&segments);
            let joins = &mut recording.segments[1].segment;
            joins.discontinuity = true;
            joins.program_date_time = joins.program_date_time.map(|date_ms| date_ms + jump_ms);
            Carried::of(EPOCH, &recording).complaints.len()
        };
        assert_eq!(
            [joined(1000, 0), joined(1000, 60), joined(1500, 0)],
            [0, 0, 0]
        );
        assert_eq!([joined(1500, 60), joined(1000, -60)], [1, 1]);
    }

    #[test]
    fn every_misplaced_box_is_noticed() {
        let right = [media(0, &[event("a", 500)]), media(1000, &[])];
        let none = [media(0, &[]), media(1000, &[])];
        let late = [media(0, &[]), media(1000, &[event("a", 500)])];
        let early = [media(0, &[event("a", 1500)]), media(1000, &[])];
        let twice = [
            media(0, &[event("a", 500)]),
            media(1000, &[event("a", 500)]),
        ];
        let other = [media(0, &[event("a", 501)]), media(1000, &[])];
        for (what, renditions) in [
            ("in one only", &[("high", &right), ("low", &none)][..]),
            ("late", &[("high", &late)]),
            ("early", &[("high", &early)]),
            ("twice", &[("high", &twice)]),
            ("another", &[("high", &right), ("low", &other)]),
            ("beside pictures", &[("high", &right), ("audio", &right)]),
        ] {
            let renditions: Vec<(&str, &[Bytes])> = renditions
                .iter()
                .map(|(name, segments)| (*name, &segments[..]))
                .collect();
            assert!(!complaints(&renditions).is_empty(), "{what} went unnoticed");
        }
        let epoch = Carried::of(EPOCH + 1, &recording(&right));
        assert!(!epoch.complaints.is_empty(), "another epoch went unnoticed");
    }
}
