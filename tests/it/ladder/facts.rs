//! What was served of a broadcast, rendition by rendition, as independent witnesses tell it; and what must hold.
//!
//! [`Facts::of`] asks ffprobe, ffmpeg's decoder and the `mp4` crate about a recording. The rules are plain functions
//! from facts to complaints, so that each is also shown facts that break it. What a particular source must become is
//! its test's business.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;

use crate::{
    probe::{self, Picture},
    viewer::{Kept, Recording},
};

/// Media times are whole 90 kHz ticks, which ffprobe tells in microseconds.
const EXACT: f64 = 0.000_02;
/// RTMP counts milliseconds: two times that are rounded each on their own.
const ROUNDING: f64 = 0.001_1;

/// A rendition.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) name: String,
    /// Between discontinuities.
    pub(super) runs: Vec<Run>,
    /// Its segments, gaps left out.
    pub(super) cuts: Vec<Cut>,
}

/// What one initialization segment is for.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// What ffprobe says of the stream.
    stream: Value,
    /// In presentation order, on the media clock.
    pub(super) pictures: Vec<Picture>,
    /// What the clock in each of them shows.
    pub(super) numbers: Vec<Option<u32>>,
}

/// A segment.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    pub(super) msn: u64,
    /// EXTINF.
    pub(super) seconds: f64,
    /// EXT-X-PROGRAM-DATE-TIME, milliseconds.
    pub(super) date_ms: i64,
    /// Number of its discontinuity: EXT-X-DISCONTINUITY-SEQUENCE and the tags since.
    pub(super) discontinuity: u64,
    /// Lengths of its parts, while they were listed.
    pub(super) parts: Vec<f64>,
    pub(super) map: String,
    /// Presentation time of its first sample.
    pub(super) start: f64,
}

impl Facts {
    /// All that was served of the rendition `name`; its files are kept in `folder`.
    pub(super) fn of(name: &str, recording: &Recording, folder: &Path) -> Self {
        let mut facts = Self {
            name: name.to_owned(),
            runs: Vec::new(),
            cuts: { &recording.segments }
                .iter()
                .map(|kept| Cut::of(kept, recording))
                .collect(),
        };
        if name != "audio" {
            for (index, bytes) in recording.files().iter().enumerate() {
                let file = folder.join(format!("{name}-{index}.mp4"));
                fs::write(&file, bytes).expect("a file is written");
                facts.runs.push(Run::of(&file, bytes));
            }
        }
        facts
    }

    /// The only run.
    pub(super) fn run(&self) -> &Run {
        let [run] = &self.runs[..] else {
            panic!("{}: {} runs", self.name, self.runs.len());
        };
        run
    }
}

impl Run {
    fn of(file: &Path, bytes: &[u8]) -> Self {
        let mut pictures = probe::pictures(file);
        // ffmpeg moves all times of a file by what makes the first decode time not negative.
        let moved = pictures[0].pts - probe::first_presentation(bytes);
        for picture in &mut pictures {
            picture.pts -= moved;
        }
        pictures.sort_by(|a, b| a.pts.total_cmp(&b.pts));
        probe::decodes(file);
        Self {
            stream: probe::video_stream(file),
            pictures,
            numbers: probe::numbers(file),
        }
    }

    /// Coded width and height.
    pub(super) fn size(&self) -> (u64, u64) {
        size(&self.stream)
    }

    /// See [`shown_aspect`].
    pub(super) fn shown_aspect(&self) -> f64 {
        shown_aspect(&self.stream)
    }

    /// Layout and depth of the pixels, by ffmpeg's name.
    pub(super) fn pixels(&self) -> &str {
        self.stream["pix_fmt"].as_str().expect("ffprobe tells")
    }

    /// What CODECS must say, but for the constraint flags: `avc1.64..1f`.
    pub(super) fn codecs(&self) -> String {
        let profile = match self.stream["profile"].as_str().expect("ffprobe tells") {
            "Constrained Baseline" | "Baseline" => 66,
            "Main" => 77,
            "High" => 100,
            "High 10" => 110,
            "High 4:2:2" => 122,
            other => panic!("a profile that no test pushes: {other}"),
        };
        let level = self.stream["level"].as_u64().expect("ffprobe tells");
        assert_eq!(self.stream["codec_name"], "h264");
        format!("avc1.{profile:02x}..{level:02x}")
    }

    /// First and last presentation time.
    pub(super) fn span(&self) -> (f64, f64) {
        let pts = |picture: Option<&Picture>| picture.expect("a run has pictures").pts;
        (pts(self.pictures.first()), pts(self.pictures.last()))
    }

    /// Times of the key frames.
    pub(super) fn keys(&self) -> Vec<f64> {
        let keys = self.pictures.iter().filter(|picture| picture.key);
        keys.map(|picture| picture.pts).collect()
    }
}

fn size(stream: &Value) -> (u64, u64) {
    let side = |name: &str| stream[name].as_u64().expect("ffprobe tells");
    (side("width"), side("height"))
}

/// Width over height of the picture as it is shown, of a stream as ffprobe tells it.
pub(super) fn shown_aspect(stream: &Value) -> f64 {
    let (width, height) = size(stream);
    let pixels = stream["sample_aspect_ratio"].as_str().unwrap_or("1:1");
    let (across, down) = pixels.split_once(':').expect("a ratio");
    let number = |text: &str| text.parse::<f64>().expect("a number");
    width as f64 / height as f64 * number(across) / number(down)
}

impl Cut {
    fn of(Kept { segment, bytes }: &Kept, recording: &Recording) -> Self {
        let last = recording.last.as_ref().expect("followed to its end");
        let listed = last
            .segments
            .iter()
            .filter(|listed| listed.msn <= segment.msn);
        let tags = listed.filter(|listed| listed.discontinuity).count() as u64;
        let map = segment.map.clone().expect("checked at every version");
        let file = [&recording.inits[&map][..], bytes].concat();
        Self {
            msn: segment.msn,
            seconds: segment.duration,
            date_ms: segment.program_date_time.expect("checked at every version"),
            discontinuity: last.discontinuity_sequence + tags,
            parts: segment.parts.iter().map(|part| part.duration).collect(),
            start: probe::first_presentation(&file),
            map,
        }
    }
}

/// The facts of every rendition of a recorded broadcast.
pub(super) fn facts(
    recordings: &BTreeMap<String, Recording>,
    folder: &Path,
) -> BTreeMap<String, Facts> {
    fs::create_dir_all(folder).expect("a folder");
    let of = |(name, recording): (&String, &Recording)| {
        (name.clone(), Facts::of(name, recording, folder))
    };
    recordings.iter().map(of).collect()
}

/// What holds in every rendition by itself: segments begin with a key frame and nothing else has one, and they are as
/// long as their playlist says.
pub(super) fn segments_begin_with_keys(facts: &Facts) -> Vec<String> {
    let name = &facts.name;
    let starts: Vec<f64> = facts.cuts.iter().map(|cut| cut.start).collect();
    let keys: Vec<f64> = facts.runs.iter().flat_map(Run::keys).collect();
    let mut complaints = Vec::new();
    if !same_times(&starts, &keys) {
        complaints.push(format!(
            "{name}: segments begin at {starts:?}, key frames stand at {keys:?}"
        ));
    }
    for pair in facts.cuts.windows(2) {
        let [cut, next] = pair else { continue };
        let long = next.start - cut.start;
        let follows = next.msn == cut.msn + 1 && next.discontinuity == cut.discontinuity;
        if follows && (long - cut.seconds).abs() > ROUNDING {
            complaints.push(format!(
                "{name} {}: EXTINF {}, but {long} s to the next",
                cut.msn, cut.seconds
            ));
        }
    }
    complaints
}

/// What lets a player switch between two renditions of the same pictures at every segment.
pub(super) fn together(one: &Facts, other: &Facts) -> Vec<String> {
    let mut complaints = Vec::new();
    let msns = |facts: &Facts| -> Vec<u64> { facts.cuts.iter().map(|cut| cut.msn).collect() };
    if msns(one) != msns(other) {
        complaints.push(format!("segments {:?} and {:?}", msns(one), msns(other)));
    }
    for (a, b) in one.cuts.iter().zip(&other.cuts) {
        // Part tags leave a list all at once, and not at the same moment in each.
        let parts = a.parts == b.parts || a.parts.is_empty() || b.parts.is_empty();
        let told = |cut: &Cut| (cut.seconds.to_bits(), cut.date_ms, cut.discontinuity);
        if told(a) != told(b) || !parts || !same_times(&[a.start], &[b.start]) {
            complaints.push(format!("segment {}:\n{a:?}\n{b:?}", a.msn));
        }
    }
    let complain = |complaint| format!("{} and {}: {complaint}", one.name, other.name);
    complaints.into_iter().map(complain).collect()
}

/// Sound is cut at its first frame boundary at or after the pictures' cuts, one frame of `frame` seconds late at most.
pub(super) fn sound_follows(pictures: &Facts, sound: &Facts, frame: f64) -> Vec<String> {
    let of = |msn: u64| sound.cuts.iter().find(|cut| cut.msn == msn);
    let late = |cut: &&Cut| {
        let behind = of(cut.msn).map(|sound| sound.start - cut.start);
        !behind.is_some_and(|behind| (-ROUNDING..frame + ROUNDING).contains(&behind))
    };
    let late = pictures.cuts.iter().skip(1).filter(late); // what came before the first key frame is not there
    late.map(|cut| {
        format!(
            "sound of segment {}: {:?}, pictures {cut:?}",
            cut.msn,
            of(cut.msn)
        )
    })
    .collect()
}

/// No picture is missing and none is doubled: they are `frame` seconds apart.
pub(super) fn steady(name: &str, run: &Run, frame: f64) -> Vec<String> {
    let apart = |pair: &[Picture]| pair[1].pts - pair[0].pts;
    let odd = { &run.pictures }
        .windows(2)
        .filter(|pair| (apart(pair) - frame).abs() > ROUNDING);
    odd.map(|pair| {
        format!(
            "{name}: {} s after {}, not {frame}",
            apart(pair),
            pair[0].pts
        )
    })
    .collect()
}

/// `rung` has the first picture of `high`, and each second (third...) one after it, to the end.
pub(super) fn one_of(factor: usize, high: &Run, rung: &Run) -> Vec<String> {
    let times =
        |run: &Run| -> Vec<f64> { run.pictures.iter().map(|picture| picture.pts).collect() };
    let (high, rung) = (times(high), times(rung));
    let expect: Vec<f64> = high.iter().step_by(factor).copied().collect();
    // Pictures are counted anew at each key frame, so a second may hold one more.
    let left = |last: &f64| high.iter().filter(|time| **time > last + EXACT).count();
    let first = { high.first().zip(rung.first()) }
        .is_some_and(|(high, rung)| same_times(&[*high], &[*rung]));
    let complete = expect.len().abs_diff(rung.len()) * 20 <= expect.len()
        && first
        && rung.last().is_some_and(|last| left(last) < factor);
    let every = |time: &f64| high.iter().any(|known| (known - time).abs() < EXACT);
    let strange = rung.iter().find(|time| !every(time));
    match (complete, strange) {
        (true, None) if factor > 1 || same_times(&expect, &rung) => Vec::new(),
        _ => vec![format!(
            "1 of {factor} of {high:?} is not {rung:?}, {strange:?} the strangest"
        )],
    }
}

/// Each picture is that of its time: the clock in it shows how many frames of `rate` a second came before. A clock that
/// cannot be read is forgiven now and then.
pub(super) fn shows_its_time(name: &str, run: &Run, rate: f64) -> Vec<String> {
    let (pictures, numbers) = (&run.pictures, &run.numbers);
    if pictures.len() != numbers.len() {
        return vec![format!(
            "{name}: {} pictures, {} decoded",
            pictures.len(),
            numbers.len()
        )];
    }
    let read = numbers.iter().flatten().count();
    let mut complaints = Vec::new();
    if read * 10 < numbers.len() * 9 {
        complaints.push(format!(
            "{name}: the clock is readable in {read} of {} pictures",
            numbers.len()
        ));
    }
    let first = pictures
        .iter()
        .zip(numbers)
        .find_map(|(picture, number)| Some(f64::from((*number)?) - picture.pts * rate));
    let first = first.unwrap_or_default();
    for (picture, number) in pictures.iter().zip(numbers) {
        let expect = picture.pts * rate + first;
        let number = number.map(f64::from);
        if number.is_some_and(|number| (number - expect).abs() > 0.5) {
            complaints.push(format!(
                "{name}: {number:?} at {}, not {expect}",
                picture.pts
            ));
        }
    }
    complaints
}

fn same_times(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < EXACT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three segments of a second, ten pictures each, in a rendition that has one picture of `factor`.
    fn rendition(factor: usize) -> Facts {
        let picture = |index: usize| Picture {
            pts: index as f64 / 10.0,
            key: index % 10 == 0,
            bytes: 100,
        };
        let cut = |msn: u64| Cut {
            msn,
            seconds: 1.0,
            date_ms: 1_000 * msn as i64,
            discontinuity: 0,
            parts: vec![0.5, 0.5],
            map: "init0.mp4".to_owned(),
            start: msn as f64,
        };
        Facts {
            name: "high".to_owned(),
            runs: vec![Run {
                stream: serde_json::json!({ "width": 720, "height": 576, "sample_aspect_ratio": "16:11",
                    "codec_name": "h264", "profile": "High", "level": 31, "pix_fmt": "yuv420p" }),
                pictures: (0..30).step_by(factor).map(picture).collect(),
                numbers: (0..30).step_by(factor).map(Some).collect(),
            }],
            cuts: (0..3).map(cut).collect(),
        }
    }

    /// All rules, of a rendition beside a good one.
    fn complaints(facts: &Facts) -> Vec<String> {
        let good = rendition(1);
        let run = facts.run();
        let mut complaints = segments_begin_with_keys(facts);
        complaints.extend(together(&good, facts));
        complaints.extend(steady("", run, 0.1));
        complaints.extend(one_of(1, good.run(), run));
        complaints.extend(shows_its_time("", run, 10.0));
        complaints
    }

    #[test]
    fn a_good_rendition_is_good() {
        assert_eq!(complaints(&rendition(1)), Vec::<String>::new());
        let run = rendition(1).runs.remove(0);
        assert_eq!(
            (run.size(), run.codecs().as_str()),
            ((720, 576), "avc1.64..1f")
        );
        assert!((run.shown_aspect() - 20.0 / 11.0).abs() < 1e-9);
        let thin = rendition(2);
        assert_eq!(one_of(2, &run, thin.run()), Vec::<String>::new());
        assert_eq!(shows_its_time("", thin.run(), 10.0), Vec::<String>::new());
        let mut sound = rendition(1);
        sound.cuts.iter_mut().for_each(|cut| cut.start += 0.021);
        assert_eq!(
            sound_follows(&rendition(1), &sound, 0.0214),
            Vec::<String>::new()
        );
        sound.cuts[2].start += 0.01;
        assert_eq!(sound_follows(&rendition(1), &sound, 0.0214).len(), 1);
    }

    #[test]
    fn what_breaks_a_rule_is_noticed() {
        let spoils: [(&str, fn(&mut Facts)); 14] = [
            ("a key frame that is none", |facts| {
                facts.runs[0].pictures[10].key = false
            }),
            ("a key frame within", |facts| {
                facts.runs[0].pictures[13].key = true
            }),
            ("a lost picture", |facts| {
                facts.runs[0].pictures.retain(|it| it.pts != 0.7)
            }),
            ("a late picture", |facts| {
                facts.runs[0].pictures[7].pts += 0.002
            }),
            ("an early end", |facts| facts.runs[0].pictures.truncate(27)),
            ("another picture", |facts| {
                facts.runs[0].numbers[7] = Some(8)
            }),
            ("pictures that cannot be read", |facts| {
                facts.runs[0].numbers[5..].fill(None)
            }),
            ("a length", |facts| facts.cuts[1].seconds = 1.01),
            ("a date", |facts| facts.cuts[1].date_ms += 1),
            ("a discontinuity", |facts| facts.cuts[2].discontinuity += 1),
            ("parts", |facts| facts.cuts[2].parts[0] = 0.4),
            ("a start", |facts| facts.cuts[2].start += 0.001),
            ("a number", |facts| facts.cuts[2].msn = 7),
            ("one less", |facts| drop(facts.cuts.pop())),
        ];
        for (what, spoil) in spoils {
            let mut facts = rendition(1);
            spoil(&mut facts);
            assert!(!complaints(&facts).is_empty(), "{what} went unnoticed");
        }
    }

    #[test]
    fn a_rung_that_is_thinned_unevenly_is_noticed() {
        let high = rendition(1);
        let mut thin = rendition(2);
        thin.runs[0].pictures.truncate(10);
        assert_eq!(one_of(2, high.run(), thin.run()).len(), 1, "half of it");
        let mut thin = rendition(2);
        thin.runs[0].pictures[3].pts += 0.05;
        assert_eq!(one_of(2, high.run(), thin.run()).len(), 1, "between two");
    }
}
