//! One rendition: marked samples in, parts in its window out.
//!
//! Cuts are the segmenter's; the packager only carries them out. A part's bytes are one CMAF chunk, written when the
//! part is sealed and never touched again.

use bytes::Bytes;

use super::{
    segmenter::{Op, SegmentStart},
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    part_target: MediaTime,
    window: Window,
    open: Vec<Sample>,
    starts_segment: bool,
    parts: u32,
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
            part_target: MediaTime::from_ms(i64::from(constants.part_target_ms)),
            window,
            open: Vec::new(),
            starts_segment: false,
            parts: 0,
        }
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
            Op::Sample {
                sample,
                segment,
                part,
                seals,
            } => {
                let mut changed = part && self.seal(sample.dts);
                if let Some(start) = segment {
                    self.begin_segment(sample.dts, start, anchor);
                    changed = true;
                }
                let end = sample.dts + i64::from(sample.duration);
                self.open.push(sample);
                changed | (seals && self.seal(end))
            }
            Op::Gap {
                from,
                until,
                segment,
            } => {
                self.seal(from);
                if let Some(start) = segment {
                    self.begin_segment(from, start, anchor);
                }
                self.window
                    .add_part(self.listed_ticks(until - from), false, None);
                self.starts_segment = false;
                true
            }
        }
    }

    /// The publish ended: seals what is open at its predicted end. Whether the list changed.
    pub fn flush(&mut self) -> bool {
        let end = self
            .open
            .last()
            .map(|sample| sample.dts + i64::from(sample.duration));
        end.is_some_and(|end| self.seal(end))
    }

    /// `EXT-X-ENDLIST`.
    pub fn end(&mut self) {
        self.flush();
        self.window.end_segment(self.window.end_time());
        self.window.end();
    }

    /// The list as it stands, reporting on the other renditions.
    pub fn snapshot(&self, reports: Vec<Report>) -> Snapshot {
        self.window.snapshot(reports)
    }

    fn begin_segment(&mut self, start: i64, segment: SegmentStart, anchor: Anchor) {
        let at = self.config.timescale().at(start);
        self.window.end_segment(start);
        self.window.begin_segment(
            start,
            anchor.program_date_time(at),
            segment.discontinuity,
            self.init,
        );
        self.starts_segment = true;
    }

    /// Closes the open part at `end`, the decode time of what follows. Whether there was one.
    fn seal(&mut self, end: i64) -> bool {
        let Some(first) = self.open.first() else {
            return false;
        };
        let length = end - first.dts;
        let independent = self.open.iter().any(|sample| sample.sync);
        let data: Bytes = bmff::fragment(
            self.kind(),
            self.parts,
            self.starts_segment,
            &self.open,
            end,
        );
        self.window
            .add_part(self.listed_ticks(length), independent, Some(data));
        self.parts = self.parts.wrapping_add(1);
        self.starts_segment = false;
        self.open.clear();
        true
    }

    /// The length as listed. A picture that stayed longer than its part could is whole in the media, but the list may
    /// not exceed the part target: Apple's players stop for good when it does.
    fn listed_ticks(&self, length: i64) -> u32 {
        let longest = self.part_target.ticks_at_floor(self.config.timescale());
        u32::try_from(length.clamp(1, longest)).unwrap_or(1)
    }
}
