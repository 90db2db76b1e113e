//! Publisher's clock to media time: where each access unit of one session stands in the epoch.
//!
//! - RTMP milliseconds are unwrapped to 64 bit; encoders that wrap at 24 bit are followed too. Both tracks share one
//!   publisher's clock: when it jumps, the track that jumps second lands where the first did, so lip sync survives.
//! - Presentation times of pictures are kept as sent. Decode times are shifted by one constant per configuration so that
//!   a sync sample has composition offset 0: decode time x timescale then *is* media time, in every rendition.
//! - Sound is counted in samples, with a slow correction toward the wire clock (milliseconds round, and sound cards
//!   drift); a hole is filled with silence where the codec has any.
//!
//! It never reorders, and it never invents pictures.

use std::time::Duration;

use crate::{
    limits,
    media::{Config, Kind, MediaTime, Sample, Timescale, silence},
    wire::flv::Frame,
};

/// Ticks of the 90 kHz video clock in one millisecond.
const TICKS_PER_MS: i64 = 90;

/// Places the frames of one session.
#[derive(Debug)]
pub struct Timeline {
    base_ms: i64,
    video: Option<VideoClock>,
    audio: Option<AudioClock>,
}

impl Timeline {
    /// A session whose first picture (or first sound, without pictures) stands at `base`.
    ///
    /// `frame_ticks` is the nominal length of a picture on the 90 kHz clock.
    pub fn new(
        base: MediaTime,
        video: Option<&Config>,
        audio: Option<&Config>,
        frame_ticks: u32,
    ) -> Self {
        Self {
            base_ms: base.ticks_at_ceil(Timescale::MILLIS),
            video: video.map(|_| VideoClock {
                wire: None,
                shift_ms: None,
                last_dts: None,
                frame_ticks,
            }),
            audio: audio.map(AudioClock::new),
        }
    }

    /// Places `frame`, which arrived at `now` (monotonic); appends what results to `out`: nothing when it lies before
    /// the base or before the first sync sample, silence in front of it when sound was missing.
    pub fn place(&mut self, now: Duration, frame: Frame, out: &mut Vec<(Kind, Sample)>) {
        match frame.kind {
            Kind::Video => self.place_video(now, frame, out),
            Kind::Audio => self.place_audio(now, frame, out),
        }
    }

    /// The next sync sample starts a new configuration, with a decode time shift of its own.
    pub fn reconfigure_video(&mut self) {
        if let Some(video) = &mut self.video {
            video.shift_ms = None;
        }
    }

    /// The sound's configuration changed; its clock goes on.
    pub fn reconfigure_audio(&mut self, config: &Config) {
        if let Some(audio) = &mut self.audio {
            audio.config = config.clone();
        }
    }

    /// Appends silence up to the last frame boundary not after `until`, when the sound has fallen behind. Whether the
    /// codec has any.
    pub fn fill_silence(&mut self, until: MediaTime, out: &mut Vec<(Kind, Sample)>) -> bool {
        let base_ms = self.base_ms;
        let Some(audio) = &mut self.audio else {
            return false;
        };
        let from = audio.next.unwrap_or_else(|| audio.ticks(base_ms));
        audio.fill(from, until.ticks_at_floor(audio.scale), out);
        silence::frame(&audio.config).is_some()
    }

    /// End of the newest sound placed; `None` while there is none.
    pub fn audio_end(&self) -> Option<MediaTime> {
        self.audio
            .as_ref()
            .and_then(|audio| audio.next.map(|next| audio.scale.at(next)))
    }

    /// Where something stands that the publisher's clock, at `now` (monotonic), says `timestamp` of: as shown, not as decoded.
    /// `None` before the first frame.
    pub fn media_time(&self, now: Duration, timestamp: u32) -> Option<MediaTime> {
        let video = self.video.as_ref().and_then(|video| video.wire);
        let audio = self.audio.as_ref().and_then(|audio| audio.wire);
        video.or(audio)?;
        let ms = Wire::follow(video.or(audio), audio, now, timestamp);
        Some(MediaTime::from_ms(ms))
    }

    fn place_video(&mut self, now: Duration, mut frame: Frame, out: &mut Vec<(Kind, Sample)>) {
        let audio_wire = self.audio.as_ref().and_then(|audio| audio.wire);
        let Some(video) = &mut self.video else { return };
        // The wire has room for hours, and the shift of a new configuration moves everything after it.
        let longest = limits::COMPOSITION_MAX_MS;
        frame.composition_ms = frame.composition_ms.clamp(-longest, longest);
        let shift_ms = match video.shift_ms {
            Some(shift_ms) => shift_ms,
            // The shift of a configuration is known at its first sync sample; nothing before it can be decoded.
            None if !frame.sync => return,
            None => *video.shift_ms.insert(i64::from(frame.composition_ms)),
        };
        let decode_ms = match video.wire.or(audio_wire) {
            Some(_) => Wire::follow(video.wire, audio_wire, now, frame.timestamp),
            None => self.base_ms - shift_ms,
        };
        video.wire = Some(Wire::after(video.wire, now, frame.timestamp, decode_ms));

        let sent =
            (decode_ms + shift_ms) * TICKS_PER_MS + nanos_to_ticks(frame.nanos, Timescale::VIDEO);
        let presentation = sent + (i64::from(frame.composition_ms) - shift_ms) * TICKS_PER_MS;
        // Equal or falling decode times become the smallest rise; the presentation time stays as sent.
        let dts = video.last_dts.map_or(sent, |last| sent.max(last + 1));
        if dts < self.base_ms * TICKS_PER_MS {
            return;
        }
        video.last_dts = Some(dts);
        let sample = Sample {
            dts,
            composition_offset: i32::try_from(presentation - dts).unwrap_or(0),
            duration: video.frame_ticks,
            sync: frame.sync,
            data: frame.data,
        };
        out.push((Kind::Video, sample));
    }

    fn place_audio(&mut self, now: Duration, frame: Frame, out: &mut Vec<(Kind, Sample)>) {
        let video_wire = self.video.as_ref().and_then(|video| video.wire);
        if self.video.is_some() && video_wire.is_none() {
            return;
        }
        let base_ms = self.base_ms;
        let Some(audio) = &mut self.audio else { return };
        let media_ms = match audio.wire.or(video_wire) {
            Some(_) => Wire::follow(audio.wire, video_wire, now, frame.timestamp),
            None => base_ms,
        };
        audio.wire = Some(Wire::after(audio.wire, now, frame.timestamp, media_ms));
        let sent = audio.ticks(media_ms) + nanos_to_ticks(frame.nanos, audio.scale);
        if sent < audio.ticks(base_ms) {
            return;
        }
        audio.push(sent, frame, out);
    }
}

#[derive(Debug)]
struct VideoClock {
    wire: Option<Wire>,
    /// Composition offset of the configuration's first sync sample.
    shift_ms: Option<i64>,
    last_dts: Option<i64>,
    frame_ticks: u32,
}

/// Where a track's newest frame stood, on the publisher's clock and on ours.
#[derive(Clone, Copy, Debug)]
struct Wire {
    timestamp: u32,
    media_ms: i64,
    arrival: Duration,
    /// Distance of the last two frames: where a frame stands whose clock jumped.
    step_ms: i64,
}

impl Wire {
    /// Media milliseconds of a frame stamped `timestamp`, given the newest frame of its own track and of the other.
    fn follow(own: Option<Self>, other: Option<Self>, now: Duration, timestamp: u32) -> i64 {
        let from_other =
            other.map(|other| other.media_ms + difference_ms(timestamp, other.timestamp));
        let Some(own) = own else {
            return from_other.unwrap_or_default();
        };
        let media_ms = own.media_ms + difference_ms(timestamp, own.timestamp);
        if own.plausible(now, media_ms) {
            return media_ms;
        }
        from_other
            .filter(|&ms| own.plausible(now, ms))
            .unwrap_or(own.media_ms + own.step_ms)
    }

    fn after(own: Option<Self>, now: Duration, timestamp: u32, media_ms: i64) -> Self {
        let step_ms = own.map_or(0, |own| (media_ms - own.media_ms).clamp(1, 100));
        Self {
            timestamp,
            media_ms,
            arrival: now,
            step_ms,
        }
    }

    /// Whether the publisher's clock can have moved to `media_ms` since this frame: not back by more than reordering
    /// explains, not ahead by more than the time that passed and a burst.
    fn plausible(&self, now: Duration, media_ms: i64) -> bool {
        let elapsed_ms =
            i64::try_from(now.saturating_sub(self.arrival).as_millis()).unwrap_or(i64::MAX / 2);
        let moved_ms = media_ms - self.media_ms;
        moved_ms >= -limits::CLOCK_BACKWARD_MS && moved_ms <= elapsed_ms + limits::CLOCK_FORWARD_MS
    }
}

/// `timestamp - last` on a clock that wraps at 32 bit, or at 24 bit for encoders without extended timestamps.
fn difference_ms(timestamp: u32, last: u32) -> i64 {
    const WRAP_24: i64 = 1 << 24;
    // Reinterpreting as signed makes the nearest way round the 32-bit circle.
    let difference = i64::from(timestamp.wrapping_sub(last) as i32);
    if (difference + WRAP_24).abs() <= limits::CLOCK_WRAP_SLACK_MS {
        difference + WRAP_24
    } else {
        difference
    }
}

fn nanos_to_ticks(nanos: u32, scale: Timescale) -> i64 {
    i64::from(nanos) * i64::from(scale.hz()) / 1_000_000_000
}

#[derive(Debug)]
struct AudioClock {
    config: Config,
    scale: Timescale,
    wire: Option<Wire>,
    /// Where the next frame stands by count.
    next: Option<i64>,
    /// Smoothed distance of the wire clock from the count, in 1/64 ticks.
    error: i64,
    /// Silence stands in up to `next`: what comes late for it is left out to the frame, not moved.
    filled: bool,
}

impl AudioClock {
    fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            scale: config.timescale(),
            wire: None,
            next: None,
            error: 0,
            filled: false,
        }
    }

    fn ticks(&self, ms: i64) -> i64 {
        MediaTime::from_ms(ms).ticks_at(self.scale)
    }

    fn push(&mut self, sent: i64, frame: Frame, out: &mut Vec<(Kind, Sample)>) {
        let Some(length) = self.config.frame_samples(&frame.data) else {
            return;
        };
        let resync = i64::from(self.scale.hz()) * limits::AUDIO_RESYNC_MS / 1000;
        let next = self.next.unwrap_or(sent);
        let next = if sent - next > resync {
            self.error = 0;
            self.fill(next, sent, out);
            // What silence cannot fill stays a hole.
            self.next.map_or(sent, |filled| {
                if sent - filled > i64::from(length) {
                    sent
                } else {
                    filled
                }
            })
        } else if next - sent
            > if self.filled {
                i64::from(length) / 2
            } else {
                resync
            }
        {
            // Sound already stands there, or silence; counting goes on when it has caught up.
            return;
        } else {
            next
        };
        self.filled = false;
        self.error += (sent - next) - self.error / 64;
        let correction = (self.error / 64 / 64).clamp(-4, 4);
        let duration = u32::try_from(i64::from(length) + correction).unwrap_or(length);
        self.next = Some(next + i64::from(duration));
        out.push((
            Kind::Audio,
            Sample {
                dts: next,
                composition_offset: 0,
                duration,
                sync: true,
                data: frame.data,
            },
        ));
    }

    /// Whole frames of silence from `from`, none ending after `until`.
    fn fill(&mut self, from: i64, until: i64, out: &mut Vec<(Kind, Sample)>) {
        let Some((data, length)) = silence::frame(&self.config) else {
            return;
        };
        let longest = i64::from(self.scale.hz()) * limits::SILENCE_MAX_MS / 1000;
        let mut at = from.max(until - longest);
        while at + i64::from(length) <= until {
            out.push((
                Kind::Audio,
                Sample {
                    dts: at,
                    composition_offset: 0,
                    duration: length,
                    sync: true,
                    data: data.clone(),
                },
            ));
            at += i64::from(length);
        }
        if at > from {
            self.next = Some(at);
            self.filled = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::media::aac;

    #[test]
    fn sound_that_comes_late_for_its_silence_is_left_out_until_it_is_in_time() {
        let config = Config::Aac(aac::Config::low_complexity(48_000, 2).expect("indexed"));
        let mut timeline = Timeline::new(MediaTime::ZERO, None, Some(&config), 3000);
        let frame = |number: u32| Frame {
            kind: Kind::Audio,
            timestamp: number * 64 / 3,
            nanos: 0,
            composition_ms: 0,
            sync: true,
            data: Bytes::from_static(b"sound"),
        };
        let mut placed = Vec::new();
        let now = |number: u32| Duration::from_millis(u64::from(number) * 64 / 3);
        for number in 0..50 {
            timeline.place(now(number), frame(number), &mut placed);
        }
        // Four frames and a half are missed, and come all at once: within what a clock may be off.
        timeline.fill_silence(MediaTime::from_ms(1_163), &mut placed);
        let silent = placed.split_off(50);
        assert_eq!(silent.len(), 4);
        for number in 50..100 {
            timeline.place(now(54), frame(number), &mut placed);
        }
        let late = placed.split_off(50);
        assert_eq!(
            late.len(),
            46,
            "as many are left out as there is silence for"
        );
        for (number, (_, sample)) in (54..).zip(&late) {
            let off = sample.dts - number * 1024;
            assert!(off.abs() < 48, "{off} ticks at {number}");
        }
    }
}
