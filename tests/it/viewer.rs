//! A viewer: follows a stream the way a player does, by blocking reloads, and keeps all that it was served.
//!
//! Playlists are read by `m3u8-rs`, an independent parser that knows no low-latency tag. A sentinel segment is appended
//! before parsing so that the tags behind the last URI are not lost; the tags it does not know are read here. At every
//! version the rules a server must keep towards a player are checked (draft-pantos-hls-rfc8216bis; [`Playlist::check`]).
//! The viewer waits on the server, which holds its requests; the one exception is a stream nobody publishes yet.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs,
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use m3u8_rs::{ExtTag, MasterPlaylist};
use reqwest::{Client, Response, StatusCode};

use crate::ranges::{self, Ranges};

/// How long any one thing may take before the viewer gives up.
const PATIENCE: Duration = Duration::from_secs(40);

/// `EXT-X-PART`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) uri: String,
    /// Seconds.
    pub(crate) duration: f64,
    pub(crate) independent: bool,
    pub(crate) gap: bool,
}

/// A segment, complete or still growing.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) msn: u64,
    /// `None` while it grows.
    pub(crate) uri: Option<String>,
    /// Seconds; zero while it grows.
    pub(crate) duration: f64,
    pub(crate) discontinuity: bool,
    pub(crate) gap: bool,
    /// Milliseconds since the Unix epoch.
    pub(crate) program_date_time: Option<i64>,
    /// URI of its initialization segment.
    pub(crate) map: Option<String>,
    pub(crate) parts: Vec<Part>,
}

/// A media playlist.
#[derive(Clone, Debug)]
pub(crate) struct Playlist {
    pub(crate) text: String,
    pub(crate) target_duration: u64,
    /// `PART-TARGET`, seconds.
    pub(crate) part_target: f64,
    /// `EXT-X-SERVER-CONTROL`, attribute by attribute.
    pub(crate) server_control: BTreeMap<String, String>,
    pub(crate) discontinuity_sequence: u64,
    /// `SKIPPED-SEGMENTS`.
    pub(crate) skipped: u64,
    /// Those listed after the skipped ones; the last may still grow.
    pub(crate) segments: Vec<Segment>,
    /// URI of the preload hint.
    pub(crate) hint: Option<String>,
    /// Rendition reports: URI, last media sequence number, last part.
    pub(crate) reports: Vec<(String, u64, u64)>,
    /// Attributes of each `EXT-X-DATERANGE`, by its id.
    pub(crate) ranges: Ranges,
    pub(crate) ended: bool,
}

impl Playlist {
    /// Reads a media playlist.
    pub(crate) fn parse(text: &str) -> Self {
        let with_sentinel = format!("{text}\n#EXTINF:0,\nsentinel\n");
        let parsed = m3u8_rs::parse_media_playlist_res(with_sentinel.as_bytes())
            .unwrap_or_else(|error| panic!("m3u8-rs refuses it: {error}\n{text}"));
        let mut playlist = Self {
            text: text.to_owned(),
            target_duration: parsed.target_duration,
            part_target: 0.0,
            server_control: BTreeMap::new(),
            discontinuity_sequence: parsed.discontinuity_sequence,
            skipped: 0,
            segments: Vec::new(),
            hint: None,
            reports: Vec::new(),
            ranges: ranges::read(text),
            ended: text.lines().any(|line| line == "#EXT-X-ENDLIST"),
        };
        let mut map = None;
        for read in parsed.segments {
            let sentinel = read.uri == "sentinel";
            map = read.map.map(|map| map.uri).or(map);
            let mut segment = Segment {
                msn: 0,
                uri: (!sentinel).then_some(read.uri),
                duration: f64::from(read.duration),
                discontinuity: read.discontinuity,
                gap: false,
                program_date_time: read.program_date_time.map(|time| time.timestamp_millis()),
                map: map.clone(),
                parts: Vec::new(),
            };
            for tag in &read.unknown_tags {
                playlist.tag(tag, &mut segment);
            }
            if !sentinel || !segment.parts.is_empty() {
                playlist.segments.push(segment);
            }
        }
        let first = parsed.media_sequence + playlist.skipped;
        for (segment, msn) in playlist.segments.iter_mut().zip(first..) {
            segment.msn = msn;
        }
        playlist
    }

    fn tag(&mut self, tag: &ExtTag, segment: &mut Segment) {
        let attributes = attributes(tag.rest.as_deref().unwrap_or_default());
        let text = |name: &str| attributes.get(name).cloned().unwrap_or_default();
        let number = |name: &str| text(name).parse().unwrap_or(0);
        let yes = |name: &str| text(name) == "YES";
        match tag.tag.as_str() {
            "X-SERVER-CONTROL" => self.server_control = attributes,
            "X-PART-INF" => self.part_target = text("PART-TARGET").parse().expect("seconds"),
            "X-SKIP" => self.skipped = number("SKIPPED-SEGMENTS"),
            "X-PART" => segment.parts.push(Part {
                uri: text("URI"),
                duration: text("DURATION").parse().expect("seconds"),
                independent: yes("INDEPENDENT"),
                gap: yes("GAP"),
            }),
            "X-GAP" => segment.gap = true,
            "X-PRELOAD-HINT" if text("TYPE") == "PART" => self.hint = Some(text("URI")),
            "X-RENDITION-REPORT" => {
                let report = (text("URI"), number("LAST-MSN"), number("LAST-PART"));
                self.reports.push(report);
            }
            _ => {}
        }
    }

    /// The position a player asks for next: media sequence number and part.
    pub(crate) fn next(&self) -> (u64, u64) {
        match self.segments.last() {
            Some(open) if open.uri.is_none() => (open.msn, open.parts.len() as u64),
            Some(complete) => (complete.msn + 1, 0),
            None => (0, 0),
        }
    }

    /// `CAN-SKIP-UNTIL`, seconds.
    pub(crate) fn skip_boundary(&self) -> f64 {
        self.server_control["CAN-SKIP-UNTIL"]
            .parse()
            .expect("seconds")
    }

    /// Seconds from its first to its last listed moment.
    pub(crate) fn duration(&self) -> f64 {
        let open = self.segments.last().filter(|segment| segment.uri.is_none());
        let parts = open.iter().flat_map(|open| &open.parts);
        let complete = self.segments.iter().map(|segment| segment.duration);
        complete.chain(parts.map(|part| part.duration)).sum()
    }

    /// What each single version must keep; the rule is named where it is broken.
    pub(crate) fn check(&self) {
        let text = &self.text;
        let control = |name: &str| self.server_control.get(name).map_or("", String::as_str);
        let seconds = |name: &str| control(name).parse::<f64>().unwrap_or(0.0);
        assert_eq!(control("CAN-BLOCK-RELOAD"), "YES", "{text}");
        assert!(
            seconds("PART-HOLD-BACK") >= 3.0 * self.part_target - 1e-9,
            "T7\n{text}"
        );
        assert!(
            seconds("CAN-SKIP-UNTIL") >= 6.0 * self.target_duration as f64,
            "T9\n{text}"
        );
        assert_eq!(self.hint.is_none(), self.ended, "H1, H5\n{text}");
        for segment in &self.segments {
            assert!(
                segment.duration.round() as u64 <= self.target_duration,
                "T1\n{text}"
            );
            assert!(segment.map.is_some(), "P8\n{text}");
            assert!(segment.program_date_time.is_some(), "P7\n{text}");
            for (index, part) in segment.parts.iter().enumerate() {
                assert!(
                    part.duration <= self.part_target + 1e-9,
                    "T2 {}\n{text}",
                    part.uri
                );
                let last = index + 1 == segment.parts.len();
                let next_is_gap = segment.parts.get(index + 1).is_some_and(|next| next.gap);
                let may_be_short = part.independent || part.gap || last || next_is_gap;
                assert!(
                    may_be_short || part.duration >= 0.85 * self.part_target - 1e-9,
                    "T2 {}\n{text}",
                    part.uri
                );
            }
        }
    }
}

/// Reads an attribute list (8216bis, 4.2); quotes are taken off.
pub(crate) fn attributes(list: &str) -> BTreeMap<String, String> {
    let mut quoted = false;
    list.split(|c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .filter_map(|pair| pair.split_once('='))
    .map(|(name, value)| (name.trim().to_owned(), value.trim_matches('"').to_owned()))
    .collect()
}

/// One segment as it was downloaded.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// As listed when it was complete.
    pub(crate) segment: Segment,
    pub(crate) bytes: Bytes,
}

/// Everything one rendition served.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    /// Initialization segments by URI.
    pub(crate) inits: BTreeMap<String, Bytes>,
    /// Complete segments in order; gaps are left out.
    pub(crate) segments: Vec<Kept>,
    /// Parts by number.
    pub(crate) parts: BTreeMap<u64, Bytes>,
    /// Every date range that any version listed, as it was last.
    pub(crate) ranges: Ranges,
    /// The last version seen.
    pub(crate) last: Option<Playlist>,
}

impl Recording {
    /// One playable file for each run of segments between discontinuities.
    pub(crate) fn files(&self) -> Vec<Vec<u8>> {
        let mut files: Vec<Vec<u8>> = Vec::new();
        for Kept { segment, bytes } in &self.segments {
            if segment.discontinuity || files.is_empty() {
                let map = segment.map.as_ref().expect("checked at every version");
                files.push(self.inits[map].to_vec());
            }
            files.last_mut().expect("one was pushed").extend(bytes);
        }
        files
    }

    /// Writes the only run to `path`.
    pub(crate) fn write(&self, path: &Path) {
        let files = self.files();
        let segments = self.segments.iter().map(|kept| &kept.segment);
        let begins: Vec<_> = segments.filter(|segment| segment.discontinuity).collect();
        assert_eq!(
            files.len(),
            1,
            "one run expected, others begin at {begins:?}"
        );
        fs::write(path, &files[0]).expect("a file is written");
    }
}

/// A player's HTTP side.
#[derive(Clone)]
pub(crate) struct Viewer {
    client: Client,
    root: String,
}

impl Viewer {
    /// A viewer of `root` (`http://127.0.0.1:8080`) over HTTP/1.1.
    pub(crate) fn new(root: &str) -> Self {
        Self::with(client().build().expect("a client"), root)
    }

    /// A viewer with a client of its own.
    pub(crate) fn with(client: Client, root: &str) -> Self {
        let root = root.trim_end_matches('/').to_owned();
        Self { client, root }
    }

    /// Any path, as it is answered.
    pub(crate) async fn response(&self, path: &str) -> Response {
        let request = self.client.get(format!("{}{path}", self.root));
        request
            .send()
            .await
            .unwrap_or_else(|error| panic!("{path}: {error:?}"))
    }

    /// The body of a path that must be answered 200.
    pub(crate) async fn bytes(&self, path: &str) -> Bytes {
        let response = self.response(path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response
            .bytes()
            .await
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// As [`Self::bytes`], as text.
    pub(crate) async fn text(&self, path: &str) -> String {
        String::from_utf8(self.bytes(path).await.to_vec()).expect("UTF-8")
    }

    /// The multivariant playlist, once the stream is there. The server itself holds the request until every rendition has
    /// a part; before its publisher is accepted a stream is unknown (404), which only asking again can tell the end of.
    pub(crate) async fn multivariant(&self, stream: &str) -> MasterPlaylist {
        let path = format!("/live/{stream}/index.m3u8");
        let end = Instant::now() + PATIENCE;
        loop {
            let response = self.response(&path).await;
            if response.status() == StatusCode::NOT_FOUND && Instant::now() < end {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            let text = response.text().await.expect("a body");
            return m3u8_rs::parse_master_playlist_res(text.as_bytes())
                .unwrap_or_else(|error| panic!("m3u8-rs refuses it: {error}\n{text}"));
        }
    }

    /// Folders of the renditions of a stream once it is there, by name: `/live/shop/17/high/`.
    pub(crate) async fn renditions(&self, stream: &str) -> BTreeMap<String, String> {
        let multivariant = self.multivariant(stream).await;
        folders(stream, &multivariant)
    }

    /// A media playlist; `query` with its `?`, or empty.
    pub(crate) async fn playlist(&self, folder: &str, query: &str) -> Playlist {
        let playlist = Playlist::parse(&self.text(&format!("{folder}index.m3u8{query}")).await);
        playlist.check();
        playlist
    }

    /// Records every rendition of a stream from now to its end, side by side.
    pub(crate) async fn record(&self, stream: &str) -> BTreeMap<String, Recording> {
        let mut tasks = Vec::new();
        for (name, folder) in self.renditions(stream).await {
            let viewer = self.clone();
            let task = tokio::spawn(async move { viewer.follow(&folder).await });
            tasks.push((name, task));
        }
        let mut recordings = BTreeMap::new();
        for (name, task) in tasks {
            recordings.insert(name, task.await.expect("a rule was broken: see above"));
        }
        recordings
    }

    /// Follows a rendition by blocking reloads until its ENDLIST, downloading all that it lists.
    pub(crate) async fn follow(&self, folder: &str) -> Recording {
        self.follow_until(folder, |_| false).await
    }

    /// As [`Self::follow`], until `enough` says so of a version.
    pub(crate) async fn follow_until(
        &self,
        folder: &str,
        enough: impl Fn(&Playlist) -> bool,
    ) -> Recording {
        let mut recording = Recording::default();
        let mut playlist = self.playlist(folder, "").await;
        loop {
            self.keep(folder, &playlist, &mut recording).await;
            if playlist.ended || enough(&playlist) {
                recording.last = Some(playlist);
                return recording;
            }
            let asked = playlist.next();
            let (msn, part) = asked;
            let query = format!("?_HLS_msn={msn}&_HLS_part={part}");
            let newer = tokio::time::timeout(PATIENCE, self.playlist(folder, &query))
                .await
                .unwrap_or_else(|_| panic!("{folder}: not answered: {query}"));
            check_succession(&playlist, &newer);
            assert!(
                newer.ended || newer.next() > asked,
                "B11 {query}\n{}",
                newer.text
            );
            playlist = newer;
        }
    }

    /// Downloads what is new in a version.
    async fn keep(&self, folder: &str, playlist: &Playlist, recording: &mut Recording) {
        recording.ranges.extend(playlist.ranges.clone());
        let known = recording.segments.last().map(|kept| kept.segment.msn);
        for segment in &playlist.segments {
            for part in segment.parts.iter().filter(|part| !part.gap) {
                let number = part_number(&part.uri);
                if let Entry::Vacant(new) = recording.parts.entry(number) {
                    new.insert(self.bytes(&format!("{folder}{}", part.uri)).await);
                }
            }
            let Some(uri) = &segment.uri else { continue };
            if segment.gap || known.is_some_and(|known| segment.msn <= known) {
                continue;
            }
            let map = segment.map.clone().expect("checked");
            if let Entry::Vacant(new) = recording.inits.entry(map) {
                let init = self.bytes(&format!("{folder}{}", new.key())).await;
                new.insert(init);
            }
            let bytes = self.bytes(&format!("{folder}{uri}")).await;
            if !segment.parts.is_empty() && segment.parts.iter().all(|part| !part.gap) {
                let numbers = segment.parts.iter().map(|part| part_number(&part.uri));
                let chain: Vec<u8> = numbers
                    .flat_map(|number| recording.parts[&number].to_vec())
                    .collect();
                assert!(
                    chain == bytes,
                    "{folder}{uri} is not the chain of its parts"
                );
            }
            recording.segments.push(Kept {
                segment: segment.clone(),
                bytes,
            });
        }
    }
}

/// A client that follows no redirect and does not unpack what it is sent.
pub(crate) fn client() -> reqwest::ClientBuilder {
    Client::builder()
        .no_gzip()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        // Sooner than the edges close what is idle (Varnish: 5 s): a request must not meet that.
        .pool_idle_timeout(std::time::Duration::from_secs(2))
        .timeout(PATIENCE)
}

/// Folders of the renditions a multivariant playlist names, by name.
pub(crate) fn folders(stream: &str, multivariant: &MasterPlaylist) -> BTreeMap<String, String> {
    let variants = multivariant
        .variants
        .iter()
        .map(|variant| variant.uri.clone());
    let alternatives = multivariant
        .alternatives
        .iter()
        .filter_map(|media| media.uri.clone());
    variants
        .chain(alternatives)
        .map(|uri| {
            let folder = uri.strip_suffix("index.m3u8").expect("a playlist");
            let name = folder
                .trim_end_matches('/')
                .rsplit('/')
                .next()
                .expect("a name");
            (name.to_owned(), format!("/live/{stream}/{folder}"))
        })
        .collect()
}

/// `7` of `p7.m4s`.
pub(crate) fn part_number(uri: &str) -> u64 {
    let digits = uri
        .strip_prefix('p')
        .and_then(|rest| rest.strip_suffix(".m4s"));
    digits
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("{uri} is not a part's name"))
}

/// What two versions of one playlist must keep between them.
pub(crate) fn check_succession(old: &Playlist, new: &Playlist) {
    let context = || format!("\nold:\n{}\nnew:\n{}", old.text, new.text);
    assert_eq!(
        (old.target_duration, old.part_target, &old.server_control),
        (new.target_duration, new.part_target, &new.server_control),
        "T1: constants of an epoch{}",
        context()
    );
    assert!(
        new.discontinuity_sequence >= old.discontinuity_sequence,
        "P1{}",
        context()
    );
    assert!(new.next() >= old.next(), "P1{}", context());
    ranges::check_succession(old, new);
    for before in &old.segments {
        let Some(after) = new
            .segments
            .iter()
            .find(|segment| segment.msn == before.msn)
        else {
            continue;
        };
        if before.uri.is_some() {
            assert_eq!(before.uri, after.uri, "P4{}", context());
        }
        // The part tags of a segment may leave all at once (P9), but never change.
        if !after.parts.is_empty() {
            assert!(after.parts.starts_with(&before.parts), "P3{}", context());
        }
    }
    if let (Some(hint), Some(part)) = (&old.hint, part_behind(old, new)) {
        assert_eq!(hint, &part.uri, "H2{}", context());
    }
}

/// The first part that `new` lists beyond what `old` listed, unless that has left the list again.
fn part_behind<'a>(old: &Playlist, new: &'a Playlist) -> Option<&'a Part> {
    let (msn, index) = old.next();
    let of = |msn| new.segments.iter().find(|segment| segment.msn == msn);
    let index = usize::try_from(index).ok()?;
    let parts = &of(msn)?.parts;
    if parts.len() == index && index > 0 {
        return of(msn + 1)?.parts.first();
    }
    parts.get(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n\
        #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.645,CAN-SKIP-UNTIL=12\n\
        #EXT-X-PART-INF:PART-TARGET=0.215\n#EXT-X-MEDIA-SEQUENCE:4\n#EXT-X-DISCONTINUITY-SEQUENCE:1\n\
        #EXT-X-MAP:URI=\"init0.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:2026-01-01T12:00:00.000Z\n\
        #EXTINF:0.40000,\ns4.m4s\n#EXT-X-PROGRAM-DATE-TIME:2026-01-01T12:00:00.400Z\n\
        #EXT-X-PART:DURATION=0.20000,URI=\"p2.m4s\",INDEPENDENT=YES\n#EXT-X-PART:DURATION=0.20000,URI=\"p3.m4s\"\n\
        #EXTINF:0.40000,\ns5.m4s\n#EXT-X-PROGRAM-DATE-TIME:2026-01-01T12:00:00.800Z\n\
        #EXT-X-PART:DURATION=0.20000,URI=\"p4.m4s\",INDEPENDENT=YES\n\
        #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"p5.m4s\"\n\
        #EXT-X-RENDITION-REPORT:URI=\"../audio/index.m3u8\",LAST-MSN=6,LAST-PART=0\n";

    #[test]
    fn a_playlist_is_read_to_its_last_tag() {
        let playlist = Playlist::parse(TEXT);
        playlist.check();
        let msns: Vec<u64> = playlist
            .segments
            .iter()
            .map(|segment| segment.msn)
            .collect();
        assert_eq!(msns, [4, 5, 6]);
        assert_eq!(playlist.next(), (6, 1));
        assert_eq!(playlist.hint.as_deref(), Some("p5.m4s"));
        assert_eq!(playlist.reports, [("../audio/index.m3u8".to_owned(), 6, 0)]);
        assert_eq!(playlist.segments[2].map.as_deref(), Some("init0.mp4"));
        assert_eq!(playlist.segments[1].parts[0].uri, "p2.m4s");
        assert_eq!(playlist.part_target, 0.215);
        assert!(!playlist.ended);
    }

    #[test]
    fn a_broken_succession_is_noticed() {
        let old = Playlist::parse(TEXT);
        let grown = TEXT.replace(
            "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"p5.m4s\"",
            "#EXT-X-PART:DURATION=0.20000,URI=\"p5.m4s\"\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"p6.m4s\"",
        );
        check_succession(&old, &Playlist::parse(&grown));
        for (rule, broken) in [
            ("H2", grown.replace("URI=\"p5.m4s\"", "URI=\"p9.m4s\"")),
            ("P3", grown.replace("URI=\"p3.m4s\"", "URI=\"p8.m4s\"")),
            ("P4", grown.replace("s5.m4s", "s7.m4s")),
            ("T1", grown.replace("PART-TARGET=0.215", "PART-TARGET=0.3")),
        ] {
            let broken = Playlist::parse(&broken);
            let check = std::panic::AssertUnwindSafe(|| check_succession(&old, &broken));
            assert!(
                std::panic::catch_unwind(check).is_err(),
                "{rule} went unnoticed"
            );
        }
    }

    #[test]
    fn a_hint_cannot_be_judged_when_its_part_has_left_the_list() {
        let old = Playlist::parse(TEXT);
        let part = "#EXT-X-PART:DURATION=0.20000,URI=\"p4.m4s\",INDEPENDENT=YES\n";
        let later = "#EXTINF:0.40000,\ns6.m4s\n#EXT-X-PROGRAM-DATE-TIME:2026-01-01T12:00:01.200Z\n\
            #EXT-X-PART:DURATION=0.20000,URI=\"p6.m4s\",INDEPENDENT=YES\n";
        let new = TEXT.replace(part, later).replace("p5.m4s", "p7.m4s");
        check_succession(&old, &Playlist::parse(&new));
    }

    #[test]
    fn a_delta_update_numbers_what_it_lists() {
        let delta = TEXT.replace(
            "#EXT-X-MAP:URI=\"init0.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:2026-01-01T12:00:00.000Z\n#EXTINF:0.40000,\ns4.m4s\n",
            "#EXT-X-SKIP:SKIPPED-SEGMENTS=1\n",
        );
        let playlist = Playlist::parse(&delta);
        assert_eq!(playlist.skipped, 1);
        assert_eq!(playlist.segments[0].msn, 5);
    }

    #[test]
    fn attribute_lists_may_hold_commas_in_quotes() {
        let read = attributes("CODECS=\"avc1.64001f,mp4a.40.2\",BANDWIDTH=7");
        assert_eq!(read["CODECS"], "avc1.64001f,mp4a.40.2");
        assert_eq!(read["BANDWIDTH"], "7");
    }
}
