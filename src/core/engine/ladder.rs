//! The ladder: which renditions encoders make of a source, and what goes to the encoders and comes back.
//!
//! Rungs are named by their short side, so that portrait is as good as landscape; the aspect of the source is kept and
//! nothing is scaled up. Encoders see pictures and where key frames must stand, never a playlist: cuts stay the
//! segmenter's, and what comes back is cut at the same instants.

use std::fmt;

use crate::media::{Config, Rendition, Sample, Timescale};

/// One encoder's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// The rendition it makes.
    pub rendition: Rendition,
    /// Coded width in pixels, even; the pixels are as wide as the source's.
    pub width: u32,
    /// Coded height in pixels, even.
    pub height: u32,
    /// Frames per second at most, as a fraction: a faster source is thinned by whole factors.
    pub frame_rate: (u32, u32),
    /// Average bits per second, which no second exceeds by more than as much again (a VBV buffer of one second).
    pub bitrate: u32,
}

impl Rung {
    /// Distance of two pictures, in 90 kHz ticks.
    pub fn frame_ticks(&self) -> i64 {
        let (num, den) = self.frame_rate;
        (i64::from(Timescale::VIDEO.hz()) * i64::from(den) / i64::from(num).max(1)).max(1)
    }
}

/// What encoders take, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Feed {
    /// Pictures from here on are of `config`, and are made into `rungs`. The next picture is a sync sample. What was
    /// taken before is handed back first.
    Source {
        /// Configuration of the decoder.
        config: Config,
        /// Targets, largest first.
        rungs: Vec<Rung>,
    },
    /// The first picture that is shown at or after `at` (a 90 kHz media time), or less than half a picture before it, is
    /// a key frame in every rung. Never dropped, and neither is that picture.
    Key {
        /// Where.
        at: i64,
    },
    /// An access unit, in decode order, on the 90 kHz media clock.
    Picture(Sample),
    /// What is shown before `until` (a 90 kHz media time) is wanted now. Between two of these pictures may be handed back
    /// together: nobody can use one before its part is whole.
    Seal {
        /// Where a part ends.
        until: i64,
    },
    /// No source follows for a while: the picture that was shown last, of whatever source, is what [`Feed::Repeat`] shows,
    /// made into `rungs`. What was taken before is handed back first. Without such a picture every rung is lost.
    Slate {
        /// Targets, largest first.
        rungs: Vec<Rung>,
    },
    /// The picture of the slate is shown at `at`, a 90 kHz media time.
    Repeat {
        /// When.
        at: i64,
    },
    /// Nothing more of this rung is wanted until the next source.
    Stop {
        /// The rung.
        rendition: Rendition,
    },
    /// Nothing follows for a while: all that was taken is handed back, then [`Encoded::Drained`] of every rung.
    Drain,
}

/// What encoders hand back; of one rung in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Encoded {
    /// The rung is ready, or its pictures from here on have another configuration.
    Config {
        /// The rung.
        rendition: Rendition,
        /// What its parameter sets say.
        config: Config,
    },
    /// A picture, in presentation order: its decode time is its presentation time, that of the source's picture.
    Picture {
        /// The rung.
        rendition: Rendition,
        /// The access unit, on the 90 kHz media clock.
        sample: Sample,
    },
    /// The answer to one [`Feed::Drain`].
    Drained {
        /// The rung.
        rendition: Rendition,
    },
    /// The rung fails and makes nothing more until the next [`Feed::Source`] or [`Feed::Slate`].
    Lost {
        /// The rung.
        rendition: Rendition,
        /// Why.
        reason: Failure,
    },
}

impl Encoded {
    /// Whose it is.
    pub fn rendition(&self) -> Rendition {
        match self {
            Self::Config { rendition, .. }
            | Self::Picture { rendition, .. }
            | Self::Drained { rendition }
            | Self::Lost { rendition, .. } => *rendition,
        }
    }
}

/// Why a rung makes nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The source cannot be decoded.
    #[error("the source cannot be decoded")]
    Decoder,
    /// The encoder failed or cannot be had.
    #[error("the encoder failed")]
    Encoder,
    /// It fell too far behind: the machine is overloaded, or the encoder hangs.
    #[error("encoding cannot keep up")]
    Late,
}

/// How a stream is made into several renditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ladder {
    /// The wanted renditions; `None` for those that suit the source.
    pub targets: Option<Targets>,
    /// Whether a source fit for it is `high` as it came; if not, `high` is always encoded.
    pub pass: bool,
    /// Most bits per second of pictures that are passed through.
    pub pass_max: u32,
    /// Whether the sound is a variant of its own too, for who cannot receive pictures.
    pub audio_only: bool,
    /// Whether the last picture and silence go on while nothing arrives; else gaps do.
    pub slate: bool,
}

impl Ladder {
    /// The rungs of a source of this size (pixels) and rate that is passed through or not; see [`Targets::rungs`].
    pub fn rungs(&self, size: (u32, u32), frame_rate: (u32, u32), passes: bool) -> Vec<Rung> {
        let built_in = || Targets::built_in(size.0.min(size.1), passes);
        let targets = self.targets.unwrap_or_else(built_in);
        targets.rungs(size, frame_rate, passes)
    }
}

impl Default for Ladder {
    /// What suits the source.
    fn default() -> Self {
        Self {
            targets: None,
            pass: true,
            pass_max: PASS_MAX,
            audio_only: false,
            slate: true,
        }
    }
}

/// A wanted rendition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Lines, or columns of a portrait source.
    pub short_side: u32,
    /// Average bits per second.
    pub bitrate: u32,
}

/// The wanted renditions of a ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets {
    /// Of `high`, where it is encoded.
    pub high: Target,
    /// Of `mid`.
    pub mid: Target,
    /// Of `low`.
    pub low: Target,
}

impl Targets {
    /// The ladder for a source with this short side, in pixels, that is passed through or not.
    pub fn built_in(short_side: u32, passes: bool) -> Self {
        let target = |short_side, bitrate| Target {
            short_side,
            bitrate,
        };
        if passes && short_side >= LARGE {
            Self {
                high: target(short_side, 0),
                mid: target(720, 2_200_000),
                low: target(432, 800_000),
            }
        } else {
            Self {
                high: target(720, 2_500_000),
                mid: target(480, 1_200_000),
                low: target(360, 500_000),
            }
        }
    }

    /// The rungs of a source of this size (pixels) and rate, largest first; `high` among them unless it is passed
    /// through. None of a source too small for another rendition.
    pub fn rungs(&self, size: (u32, u32), frame_rate: (u32, u32), passes: bool) -> Vec<Rung> {
        let short = size.0.min(size.1);
        let mut rungs = Vec::new();
        let mut above = short;
        if !passes {
            let high = fitted(self.high, short);
            rungs.push(rung(Rendition::High, high, size, frame_rate));
            above = high.short_side;
        }
        if short < SMALLEST {
            return rungs;
        }
        for (rendition, wanted) in [(Rendition::Mid, self.mid), (Rendition::Low, self.low)] {
            let target = below(wanted, above);
            rungs.push(rung(rendition, target, size, capped(frame_rate)));
            above = target.short_side;
        }
        rungs
    }
}

/// Bits per second of pictures that are passed through, unless told otherwise: 1080p60 as encoders are advised to send it,
/// and what a household with one fast line can watch.
const PASS_MAX: u32 = 12_000_000;
/// Short side from which a source that is passed through has the large ladder.
const LARGE: u32 = 900;
/// Short side below which a source has no rendition but itself.
const SMALLEST: u32 = 240;
/// Frames per second that `mid` and `low` have at most.
const RATE_MAX: u32 = 30;
/// Stand-ins for rungs that are not below the one above them.
const STEPS: [Target; 6] = [
    Target {
        short_side: 720,
        bitrate: 2_200_000,
    },
    Target {
        short_side: 480,
        bitrate: 1_200_000,
    },
    Target {
        short_side: 360,
        bitrate: 500_000,
    },
    Target {
        short_side: 240,
        bitrate: 300_000,
    },
    Target {
        short_side: 180,
        bitrate: 200_000,
    },
    Target {
        short_side: 120,
        bitrate: 120_000,
    },
];

/// `wanted`, or of a source smaller than that its own size at as many bits per pixel.
fn fitted(wanted: Target, short: u32) -> Target {
    if short >= wanted.short_side {
        return wanted;
    }
    let area = |side: u32| u64::from(side) * u64::from(side);
    let bitrate = u64::from(wanted.bitrate) * area(short) / area(wanted.short_side).max(1);
    Target {
        short_side: short,
        bitrate: u32::try_from(bitrate).unwrap_or(u32::MAX).max(100_000),
    }
}

/// `wanted` where it is smaller than the rung above, else the next step that is.
fn below(wanted: Target, above: u32) -> Target {
    if wanted.short_side < above {
        return wanted;
    }
    let step = STEPS.into_iter().find(|step| step.short_side < above);
    step.unwrap_or(STEPS[STEPS.len() - 1])
}

fn rung(rendition: Rendition, target: Target, size: (u32, u32), frame_rate: (u32, u32)) -> Rung {
    let (width, height) = size;
    let short = u64::from(width.min(height)).max(1);
    // Chroma has half the lines and columns.
    let scaled = |side: u32| {
        let side = (u64::from(side) * u64::from(target.short_side) + short) / (2 * short) * 2;
        u32::try_from(side).unwrap_or(u32::MAX).max(2)
    };
    Rung {
        rendition,
        width: scaled(width),
        height: scaled(height),
        frame_rate,
        bitrate: target.bitrate,
    }
}

/// The rate by the smallest whole factor that brings it to [`RATE_MAX`] or below; 25 of 50, 29.97 of 59.94.
fn capped((num, den): (u32, u32)) -> (u32, u32) {
    let factor = thinning((num, den), (RATE_MAX, 1));
    (num, den.saturating_mul(factor))
}

/// Of how many pictures one is kept so that `rate` becomes no more than `max`, with a tenth more where a source jitters.
pub fn thinning(rate: (u32, u32), max: (u32, u32)) -> u32 {
    let cross = |a: u32, b: u32| u64::from(a) * u64::from(b);
    let (have, want) = (cross(rate.0, max.1), cross(max.0, rate.1).max(1));
    u32::try_from((have * 100).div_ceil(want * 110))
        .unwrap_or(u32::MAX)
        .max(1)
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kbps = self.bitrate / 1000;
        write!(
            f,
            "{} {}x{} {kbps} kb/s",
            self.rendition, self.width, self.height
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(size: (u32, u32), rate: (u32, u32), passes: bool) -> Vec<String> {
        let targets = Targets::built_in(size.0.min(size.1), passes);
        let rungs = targets.rungs(size, rate, passes);
        let fps = |rung: &Rung| f64::from(rung.frame_rate.0) / f64::from(rung.frame_rate.1);
        rungs
            .iter()
            .map(|rung| format!("{rung} {:.2}", fps(rung)))
            .collect()
    }

    #[test]
    fn the_built_in_ladder_follows_the_source() {
        for (size, rate, passes, wanted) in [
            (
                (1920, 1080),
                (30, 1),
                true,
                vec!["mid 1280x720 2200 kb/s 30.00", "low 768x432 800 kb/s 30.00"],
            ),
            (
                (1080, 1920),
                (60, 1),
                true,
                vec!["mid 720x1280 2200 kb/s 30.00", "low 432x768 800 kb/s 30.00"],
            ),
            (
                (1280, 720),
                (50, 1),
                true,
                vec!["mid 854x480 1200 kb/s 25.00", "low 640x360 500 kb/s 25.00"],
            ),
            (
                (1080, 1080),
                (30_000, 1001),
                true,
                vec!["mid 720x720 2200 kb/s 29.97", "low 432x432 800 kb/s 29.97"],
            ),
            (
                (1280, 720),
                (60_000, 1001),
                false,
                vec![
                    "high 1280x720 2500 kb/s 59.94",
                    "mid 854x480 1200 kb/s 29.97",
                    "low 640x360 500 kb/s 29.97",
                ],
            ),
            (
                (640, 360),
                (25, 1),
                false,
                vec![
                    "high 640x360 625 kb/s 25.00",
                    "mid 426x240 300 kb/s 25.00",
                    "low 320x180 200 kb/s 25.00",
                ],
            ),
        ] {
            assert_eq!(shown(size, rate, passes), wanted, "{size:?}");
        }
    }

    #[test]
    fn down_to_240_lines_there_are_three_renditions_and_none_is_scaled_up() {
        for short in 2..=2160 {
            for passes in [false, true] {
                let rungs = shown((short * 16 / 9, short), (30, 1), passes).len();
                let wanted = if short < SMALLEST { 0 } else { 2 } + usize::from(!passes);
                assert_eq!(rungs, wanted, "{short}");
                let targets = Targets::built_in(short, passes);
                let mut above = short + 1;
                for rung in targets.rungs((short * 2, short), (30, 1), passes) {
                    assert!(
                        rung.height <= above && rung.height % 2 == 0,
                        "{rung} of {short}"
                    );
                    above = rung.height - 1;
                }
            }
        }
    }

    #[test]
    fn rates_are_thinned_by_whole_factors() {
        for (rate, factor) in [
            ((30, 1), 1),
            ((60_000, 1001), 2),
            ((50, 1), 2),
            ((90, 1), 3),
            ((120, 1), 4),
            ((61, 2), 1),
            ((1, 1), 1),
        ] {
            assert_eq!(thinning(rate, (30, 1)), factor, "{rate:?}");
        }
    }
}
