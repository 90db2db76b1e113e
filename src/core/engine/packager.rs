//! One rendition: marked samples in, parts in its window out.
//!
//! Cuts are the segmenter's; the packager only carries them out. A part's bytes are one CMAF chunk, written when the
//! part is sealed and never touched again.

use bytes::Bytes;

use super::{
    cues::{Cue, queue::Landing},
    saved,
    segmenter::Op,
    window::{Snapshot, Window},
};
use crate::{
    media::{Config, Kind, MediaTime, Rendition, Sample, WallTime},
    wire::{
        bmff,
        m3u8::media::{Constants, Report},
    },
};

/// Which wall time a session's media time has: program date-time = `wall` + (media time - `media`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anchor {
    /// Media time of the anchored instant.
    pub media: MediaTime,
    /// Its wall time.
    pub wall: WallTime,
}

impl Anchor {
    /// Program date-time of `at`.
    pub fn program_date_time(self, at: MediaTime) -> WallTime {
        WallTime(self.wall.0 + at.ms() - self.media.ms())
    }
}

/// The packager of one rendition.
#[derive(Debug)]
pub struct Packager {
    rendition: Rendition,
    config: Config,
    init: u32,
    window: Window,
    /// Samples of the open part.
    open: Vec<Sample>,
    /// Where the open part began.
    part_start: i64,
    /// No fragment of the newest segment is written yet.
    starts_segment: bool,
    fragments: u32,
    /// Events for the next part with media.
    cues: Vec<Cue>,
    /// What became of those before.
    landings: Vec<Landing>,
}

impl Packager {
    /// The packager of a track with `config`, in an epoch with these promises; `length` is the wanted list.
    pub fn new(
        rendition: Rendition,
        config: Config,
        constants: Constants,
        length: MediaTime,
    ) -> Self {
        let mut window = Window::new(constants, config.timescale(), length);
        let init = window.add_init(bmff::init(&config));
        Self {
            rendition,
            config,
            init,
            window,
            open: Vec::new(),
            part_start: 0,
            starts_segment: false,
            fragments: 0,
            cues: Vec::new(),
            landings: Vec::new(),
        }
    }

    /// The rendition at rest, no sample held; appends its bytes to `media`. `None` while it has no segment.
    pub(super) fn save(&self, media: &mut Vec<Bytes>) -> Option<saved::Track> {
        let (codec, record) = saved::Codec::of(&self.config);
        Some(saved::Track {
            rendition: saved::index(self.rendition),
            codec,
            record: record.to_vec(),
            init: self.init,
            fragments: self.fragments,
            list: self.window.save(media)?,
        })
    }

    /// The rendition that [`Self::save`] left, with its bytes from `media`.
    ///
    /// # Errors
    /// What in it cannot be.
    pub(super) fn restore(
        saved: saved::Track,
        constants: Constants,
        media: &mut impl Iterator<Item = Bytes>,
    ) -> Result<Self, saved::Error> {
        let rendition = saved::rendition(saved.rendition)?;
        let config = saved.codec.config(saved.record)?;
        let audible = config.kind() == Kind::Audio;
        saved::hold(
            audible == (rendition == Rendition::Audio),
            "a rendition of the wrong kind",
        )?;
        let window = Window::restore(saved.list, constants, config.timescale(), media)?;
        saved::hold(
            window.has_init(saved.init),
            "no initialization segment to go on with",
        )?;
        Ok(Self {
            rendition,
            config,
            init: saved.init,
            open: Vec::new(),
            part_start: window.end_time(),
            // Media goes on with a new segment.
            starts_segment: false,
            fragments: saved.fragments,
            cues: Vec::new(),
            landings: Vec::new(),
            window,
        })
    }

    /// Which rendition this is.
    pub fn rendition(&self) -> Rendition {
        self.rendition
    }

    /// Pictures or sound.
    pub fn kind(&self) -> Kind {
        self.config.kind()
    }

    /// The current configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The list.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// Segments from the next one on need `config`.
    pub fn reconfigure(&mut self, config: Config) {
        self.init = self.window.add_init(bmff::init(&config));
        self.config = config;
    }

    /// Carries out `op`. Whether the list changed.
    pub fn push(&mut self, op: Op, anchor: Anchor) -> bool {
        match op {
            Op::Begin { at, discontinuity } => self.begin_segment(at, discontinuity, anchor),
            Op::Sample(sample) => {
                self.open.push(sample);
                return false;
            }
            Op::Cue(cue) => {
                self.cues.push(cue);
                return false;
            }
            Op::Seal { until, next } => self.seal(until, next),
        }
        true
    }

    /// No media follows soon: events that wait for it are told missing.
    pub(super) fn give_up_cues(&mut self) {
        let missing = self.cues.drain(..).map(|cue| (cue.number, None));
        self.landings.extend(missing);
    }

    /// What became of events since it was last asked.
    pub(super) fn landings(&mut self) -> impl Iterator<Item = Landing> {
        self.landings.drain(..)
    }

    /// `EXT-X-ENDLIST`, after the last part was sealed.
    pub fn end(&mut self) {
        self.window.end_segment(self.part_start);
        self.window.end();
    }

    /// The list as it stands, reporting on the other renditions.
    pub fn snapshot(&self, reports: Vec<Report>) -> Snapshot {
        self.window.snapshot(reports)
    }

    /// Asserts what must always hold; for tests and fuzzing.
    ///
    /// # Panics
    /// When it does not hold.
    pub fn check_invariants(&self) {
        self.window.check_invariants();
        if let Some(segment) = self.window.newest_complete() {
            let parts: i64 = segment
                .parts
                .iter()
                .map(|part| i64::from(part.duration))
                .sum();
            assert_eq!(parts, segment.duration, "parts tile their segment");
        }
    }

    fn begin_segment(&mut self, at: i64, discontinuity: bool, anchor: Anchor) {
        let date_time = anchor.program_date_time(self.config.timescale().at(at));
        self.window.end_segment(at);
        self.window
            .begin_segment(at, date_time, discontinuity, self.init);
        self.part_start = at;
        self.starts_segment = true;
    }

    /// Closes the open part at `until`; `next` is the decode time of what follows its samples.
    fn seal(&mut self, until: i64, next: i64) {
        let independent = self.open.iter().any(|sample| sample.sync);
        let data = (!self.open.is_empty()).then(|| {
            self.fragments = self.fragments.wrapping_add(1);
            let starts_segment = std::mem::take(&mut self.starts_segment);
            let place = self.window.next();
            let landings = { self.cues.iter() }.map(|cue| (cue.number, place));
            self.landings.extend(landings);
            let cues: Vec<_> = self.cues.drain(..).map(|cue| cue.emsg).collect();
            bmff::fragment(
                self.kind(),
                self.fragments,
                starts_segment,
                &cues,
                &self.open,
                next,
            )
        });
        self.open.clear();
        let duration = u32::try_from(until - self.part_start).unwrap_or(0);
        self.window.add_part(duration, independent, data);
        self.part_start = until;
    }
}
