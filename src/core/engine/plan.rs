//! What an epoch promises, from what a probe found: part and segment lengths, what is passed through, what is encoded.
//!
//! Fixed for the epoch: no playlist of it may ever say anything else (draft-pantos-hls-rfc8216bis, 6.2.1). A session that
//! joins brings its own frame rate and sizes, never other promises.

use super::{
    ladder::{Ladder, Rung},
    probe::{Findings, Targets},
    saved,
};
use crate::{
    limits,
    media::{Config, Kind, MediaTime, Rendition, Timescale},
    wire::m3u8::media::Constants,
};

/// Why a source is not passed through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// Key frames are too far apart.
    #[error("keyframe interval {gop}: set it to 1 s in the encoder (OBS: Settings > Output > Keyframe Interval)", gop = gop_words(*gop_ms, *max_ms))]
    LongGop {
        /// Distance of key frames in milliseconds, where a second one came in time.
        gop_ms: Option<i64>,
        /// The longest that passes, in milliseconds.
        max_ms: i64,
    },
    /// Pictures refer across key frames, so that nobody can begin with one.
    #[error(
        "pictures refer across key frames (an open GOP): switch that off in the encoder (OBS: Settings > Output > x264 Options, open-gop=0)"
    )]
    OpenGop,
    /// More bits than viewers are to be sent.
    #[error(
        "{kbps} kb/s are more than the {max_kbps} kb/s that are passed through: set a lower bitrate in the encoder (OBS: Settings > Output > Video Bitrate)"
    )]
    Bitrate {
        /// What the pictures take, in kilobits per second.
        kbps: u32,
        /// The most that passes.
        max_kbps: u32,
    },
    /// Not every player can show it.
    #[error(
        "{codec} is not played everywhere: set the encoder to H.264 (OBS: Settings > Output > Video Encoder)"
    )]
    Codec {
        /// Its name.
        codec: &'static str,
    },
    /// Nor its pixels.
    #[error(
        "pictures of more than 8 bits, or other than 4:2:0, are not played everywhere: set the encoder to NV12 (OBS: Settings > Advanced > Color Format)"
    )]
    Pixels,
    /// The ladder says so.
    #[error("the ladder encodes every source")]
    Ladder,
}

fn gop_words(gop_ms: Option<i64>, max_ms: i64) -> String {
    match gop_ms {
        Some(gop_ms) => format!("is {gop_ms} ms, longer than {max_ms} ms"),
        None => format!("is longer than {max_ms} ms"),
    }
}

impl Findings {
    /// Why the pictures cannot be passed through beside renditions that are encoded; `None` if they can.
    pub fn obstacle(&self, targets: &Targets, ladder: &Ladder) -> Option<Obstacle> {
        let codec = match self.video.as_ref()? {
            Config::Hevc(_) => Some(Obstacle::Codec { codec: "H.265" }),
            Config::Av1(_) => Some(Obstacle::Codec { codec: "AV1" }),
            Config::Avc(avc) if !avc.is_common() => Some(Obstacle::Pixels),
            _ => None,
        };
        let bitrate = self.bitrate.filter(|bitrate| *bitrate > ladder.pass_max);
        let bitrate = bitrate.map(|bitrate| Obstacle::Bitrate {
            kbps: bitrate / 1000,
            max_kbps: ladder.pass_max / 1000,
        });
        let chosen = (!ladder.pass).then_some(Obstacle::Ladder);
        codec.or(self.long_gop(targets)).or(bitrate).or(chosen)
    }

    /// Key frames too far apart for a segment to begin with one, or none that pictures can begin with.
    pub fn long_gop(&self, targets: &Targets) -> Option<Obstacle> {
        let frame_ms = self.frame_rate.map_or(33, |(num, den)| {
            1000 * i64::from(den) / i64::from(num).max(1)
        });
        let max_ms = MediaTime::from_duration(targets.max_gop).ms();
        let fits = self
            .gop_ms
            .is_some_and(|gop_ms| gop_ms <= max_ms + frame_ms / 2 + 1);
        let long = match self.open_gop {
            true => Obstacle::OpenGop,
            false => Obstacle::LongGop {
                gop_ms: self.gop_ms,
                max_ms,
            },
        };
        (self.video.is_some() && !fits).then_some(long)
    }
}

/// The constants of an epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Configuration of the pictures at the epoch's start.
    pub video: Option<Config>,
    /// Configuration of the sound at the epoch's start.
    pub audio: Option<Config>,
    /// Whether the pictures bring captions.
    pub captions: bool,
    /// Frames per second as a fraction, with pictures.
    pub frame_rate: Option<(u32, u32)>,
    /// Nominal length of a picture on the 90 kHz clock.
    pub frame_ticks: u32,
    /// Planned part length; what sound alone is cut by.
    pub part: MediaTime,
    /// Wanted segment length.
    pub segment: MediaTime,
    /// Length at which a segment is cut without a sync sample.
    pub segment_max: MediaTime,
    /// How far sound may fall behind pictures before silence stands in.
    pub audio_late: MediaTime,
    /// Promises that every playlist of the epoch makes.
    pub constants: Constants,
    /// Whether every segment can be promised to begin with a sync sample.
    pub independent: bool,
    /// Whether the best picture is the source itself, whose sync samples segments begin with; otherwise encoders make
    /// them where a segment is to begin.
    pub passes: bool,
    /// Why it is not, while that is known.
    pub obstacle: Option<Obstacle>,
    /// How the pictures are made into several renditions.
    pub ladder: Option<Ladder>,
    /// What encoders make of them.
    pub rungs: Vec<Rung>,
}

impl Plan {
    /// The plan that follows from `findings`, with a `ladder` or without.
    pub fn new(targets: &Targets, findings: &Findings, ladder: Option<&Ladder>) -> Self {
        let obstacle = ladder.and_then(|ladder| findings.obstacle(targets, ladder));
        Self {
            obstacle,
            ..Self::passing(targets, findings, ladder, obstacle.is_none())
        }
    }

    fn passing(
        targets: &Targets,
        findings: &Findings,
        ladder: Option<&Ladder>,
        passes: bool,
    ) -> Self {
        let (num, den) = findings.frame_rate.unwrap_or((30, 1));
        let second = i64::from(Timescale::VIDEO.hz());
        let frame_ticks = (second * i64::from(den) * 2 + i64::from(num)) / (2 * i64::from(num));
        let frame_ticks = frame_ticks.clamp(1, second);
        let (part, part_target_ms) = Self::part(targets, findings, frame_ticks);
        let segment = MediaTime::from_duration(targets.segment);
        let max_gop = MediaTime::from_duration(targets.max_gop);
        let segment_max = if findings.video.is_some() && passes {
            max_gop.max(segment)
        } else {
            segment
        };
        let target_duration = (segment_max.ms() + 999) / 1000;
        let hold_back_ms = targets
            .part_hold_back
            .map_or(0, |wanted| wanted.as_millis());
        let constants = Constants {
            target_duration: u32::try_from(target_duration).unwrap_or(u32::MAX),
            part_target_ms,
            part_hold_back_ms: u32::try_from(hold_back_ms)
                .unwrap_or(u32::MAX)
                .max(3 * part_target_ms),
        };
        Self {
            video: findings.video.clone(),
            audio: findings.audio.clone(),
            captions: findings.captions,
            frame_rate: findings.frame_rate,
            frame_ticks: u32::try_from(frame_ticks).unwrap_or(u32::MAX),
            part,
            segment,
            segment_max,
            audio_late: MediaTime::from_ms(limits::AUDIO_LATE_MS + findings.audio_lag_ms),
            constants,
            independent: !passes || findings.long_gop(targets).is_none(),
            passes,
            obstacle: None,
            ladder: ladder.copied(),
            rungs: rungs(ladder, findings.video.as_ref(), (num, den), passes),
        }
    }

    /// The pictures go on with `config`: of what is encoded, the size may change.
    pub(super) fn replace_video(&mut self, config: Config) {
        let frame_rate = self.frame_rate.unwrap_or((30, 1));
        let had = std::mem::take(&mut self.rungs);
        self.rungs = rungs(self.ladder.as_ref(), Some(&config), frame_rate, self.passes);
        { &mut self.rungs }.retain(|rung| had.iter().any(|it| it.rendition == rung.rendition));
        self.video = Some(config);
    }

    /// `high` is encoded from now on, on a grid of segments. Whether there is a ladder that can.
    pub(super) fn stop_passing(&mut self) -> bool {
        let Some((ladder, video)) = self.ladder.zip(self.video.as_ref()) else {
            return false;
        };
        let frame_rate = self.frame_rate.unwrap_or((30, 1));
        let had = std::mem::take(&mut self.rungs);
        self.rungs = rungs(Some(&ladder), Some(video), frame_rate, false);
        let stays = |rendition| had.iter().any(|it| it.rendition == rendition);
        { &mut self.rungs }.retain(|it| it.rendition == Rendition::High || stays(it.rendition));
        self.passes = false;
        self.obstacle = Some(Obstacle::LongGop {
            gop_ms: None,
            max_ms: self.segment_max.ms(),
        });
        self.segment_max = self.segment;
        !self.rungs.is_empty()
    }

    /// The plan of a slate, which encodes `high` too; `None` where none is wanted, or nothing is encoded that could go on.
    pub(super) fn slate(&self) -> Option<Self> {
        let ladder = self.ladder.filter(|ladder| ladder.slate)?;
        let video = self.video.as_ref()?;
        let mut rungs = self.rungs.clone();
        rungs.first()?;
        if self.passes {
            let frame_rate = self.frame_rate.unwrap_or((30, 1));
            let encoded = ladder.rungs(video.resolution()?, frame_rate, false);
            rungs.insert(0, *encoded.first()?);
        }
        Some(Self {
            rungs,
            passes: false,
            segment_max: self.segment,
            ..self.clone()
        })
    }

    /// The configuration of a track.
    pub fn track(&self, kind: Kind) -> Option<&Config> {
        match kind {
            Kind::Video => self.video.as_ref(),
            Kind::Audio => self.audio.as_ref(),
        }
    }

    /// The plan at rest, but for the tracks.
    pub(super) fn save(&self) -> saved::Plan {
        let ticks = |time: MediaTime| time.ticks_at(Timescale::VIDEO);
        saved::Plan {
            frame_rate: self.frame_rate,
            frame_ticks: self.frame_ticks,
            part: ticks(self.part),
            segment: ticks(self.segment),
            segment_max: ticks(self.segment_max),
            audio_late: ticks(self.audio_late),
            target_duration: self.constants.target_duration,
            part_target_ms: self.constants.part_target_ms,
            part_hold_back_ms: self.constants.part_hold_back_ms,
            independent: self.independent,
            passes: self.passes,
        }
    }

    /// The plan that [`Self::save`] left, of these tracks.
    ///
    /// # Errors
    /// What in it cannot be.
    pub(super) fn restore(
        saved: &saved::Plan,
        video: Option<Config>,
        audio: Option<Config>,
    ) -> Result<Self, saved::Error> {
        let possible = saved.frame_rate.is_none_or(|(num, den)| num > 0 && den > 0)
            && (1..=Timescale::VIDEO.hz()).contains(&saved.frame_ticks)
            && saved.part >= limits::STATE_PART_MIN_MS * 90
            && saved.segment > 0
            && saved.segment_max > 0
            && (1..=3600).contains(&saved.target_duration)
            && i64::from(saved.part_target_ms) * 90 >= saved.part;
        saved::hold(possible, "a plan that none could be")?;
        let time = |ticks| saved::number(ticks).map(|ticks| Timescale::VIDEO.at(ticks));
        Ok(Self {
            video,
            audio,
            captions: false, // until a session brings some again
            frame_rate: saved.frame_rate,
            frame_ticks: saved.frame_ticks,
            part: time(saved.part)?,
            segment: time(saved.segment)?,
            segment_max: time(saved.segment_max)?,
            audio_late: time(saved.audio_late)?,
            constants: Constants {
                target_duration: saved.target_duration,
                part_target_ms: saved.part_target_ms,
                part_hold_back_ms: saved.part_hold_back_ms,
            },
            independent: saved.independent,
            passes: saved.passes,
            obstacle: None,
            ladder: None,
            rungs: Vec::new(),
        })
    }

    /// The length of a part, and the part target in milliseconds: the longest part of any rendition and a millisecond.
    fn part(targets: &Targets, findings: &Findings, frame_ticks: i64) -> (MediaTime, u32) {
        let wanted = MediaTime::from_duration(targets.part);
        let wanted_ticks = wanted.ticks_at(Timescale::VIDEO);
        let mut frames = ((2 * wanted_ticks + frame_ticks) / (2 * frame_ticks)).max(1);
        loop {
            let part = match findings.video {
                Some(_) => Timescale::VIDEO.at(frames * frame_ticks),
                None => wanted,
            };
            // Pictures stand on whole milliseconds, so a cut may come one later than planned.
            let longest_cut = Timescale::VIDEO.at(part.ticks_at(Timescale::VIDEO) + 90);
            let longest = match findings.audio.as_ref().map(audio_frame) {
                Some(frame) => {
                    let cut = longest_cut.ticks_at_ceil(frame.scale);
                    let frames = (cut + frame.ticks - 1) / frame.ticks;
                    longest_cut.max(frame.scale.at(frames * frame.ticks))
                }
                None => longest_cut,
            };
            let target_ms = (longest.ticks_at_ceil(Timescale::VIDEO) + 89) / 90 + 1;
            // Pictures may not be listed in parts much shorter than the target; a few more of them meet it.
            let long_enough =
                part.ticks_at(Timescale::VIDEO) * 100 >= target_ms * 90 * limits::PART_MIN_PERCENT;
            if long_enough || findings.video.is_none() {
                return (part, u32::try_from(target_ms).unwrap_or(u32::MAX));
            }
            frames += 1;
        }
    }

    /// The plan of a session with `findings` that joins the epoch: the epoch's promises, the session's frame rate. `None`
    /// when it cannot join: other tracks, other clocks, or parts that the part target does not fit.
    pub fn join(
        &self,
        targets: &Targets,
        findings: &Findings,
        ladder: Option<&Ladder>,
    ) -> Option<Self> {
        let findings = Findings {
            frame_rate: findings.frame_rate.or(self.frame_rate),
            ..findings.clone()
        };
        let fits = Self::passing(targets, &findings, ladder, self.passes);
        let part_target_ms = i64::from(self.constants.part_target_ms);
        // Who is passed through stays so; who is encoded needs encoders, which take any pictures.
        let (video, found) = (self.video.as_ref(), findings.video.as_ref());
        let pictures_fit = match self.passes {
            true => same_shape(video, found),
            false => ladder.is_some() && video.is_some() == found.is_some(),
        };
        let joins = pictures_fit
            && same_shape(self.audio.as_ref(), findings.audio.as_ref())
            && i64::from(fits.constants.part_target_ms) <= part_target_ms
            && fits.part.ms() * 100 >= part_target_ms * 85;
        joins.then_some(Self {
            constants: self.constants,
            captions: self.captions || fits.captions,
            independent: self.independent,
            obstacle: self.obstacle,
            ..fits
        })
    }
}

fn rungs(
    ladder: Option<&Ladder>,
    video: Option<&Config>,
    frame_rate: (u32, u32),
    passes: bool,
) -> Vec<Rung> {
    let size = video.and_then(Config::resolution);
    let rungs = { ladder }
        .zip(size)
        .map(|(ladder, size)| ladder.rungs(size, frame_rate, passes));
    rungs.unwrap_or_default()
}

/// Whether both are absent, or of one codec on one clock.
pub(super) fn same_shape(a: Option<&Config>, b: Option<&Config>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => {
            std::mem::discriminant(a) == std::mem::discriminant(b)
                && a.timescale() == b.timescale()
                && audio_frame(a) == audio_frame(b)
        }
        _ => false,
    }
}

/// Length of an audio frame; 20 ms for Opus, whose packets say their own.
pub(super) fn audio_frame(config: &Config) -> MediaTime {
    let scale = config.timescale();
    match config {
        Config::Aac(aac) => scale.at(aac.frame_samples().into()),
        Config::Mp3(mp3) => scale.at(mp3.frame_samples().into()),
        _ => scale.at(i64::from(scale.hz()) / 50),
    }
}
