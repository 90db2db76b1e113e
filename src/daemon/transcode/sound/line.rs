//! The way of sound from one codec to the other, and its time: access units on the publisher's clock in, frames of AAC on
//! the same clock out.
//!
//! An encoder counts samples and knows no clock. So sound is encoded in runs: a run begins at a time of the publisher's
//! clock and is counted from there, with a slow correction toward that clock, for milliseconds round and sound cards drift.
//! A short hole is filled with silence; at a longer one, and where the clock goes back, a run ends and another begins.
//! What a decoder gives for an access unit is taken to begin at its timestamp: that is how encoders stamp. Where
//! the codec says what to leave out (the pre-skip of Opus), the decoder does so and moves the time along.

use bytes::Bytes;
use ffmpeg_next::{
    ChannelLayout, Dictionary, Error, Packet, codec, decoder, frame::Audio, software::resampling,
    threading,
};
use vitrine_core::{
    engine::sound::Target,
    limits,
    media::{Config, Kind},
    wire::flv::Frame,
};

use super::{
    super::{decode::is_again, ffi, meters},
    aac::{self, Encoder},
};

const SECOND: i64 = 1_000_000_000;
const MILLISECOND: i64 = 1_000_000;

/// Takes access units of one configuration.
pub(super) struct Line {
    config: Config,
    decoder: decoder::Audio,
    /// Loudspeakers that the configuration speaks of, where it does.
    layout: ChannelLayout,
    target: Target,
    /// Timestamp of the newest access unit, and its nanoseconds, unwrapped.
    newest: Option<(u32, i64)>,
    run: Option<Run>,
}

/// Sound without a hole.
struct Run {
    resampler: resampling::Context,
    encoder: Encoder,
    rate: u32,
    /// When it began, in nanoseconds of the publisher's clock, as far as that is known by now.
    began: i64,
    /// Samples of the source.
    taken: i64,
}

impl Line {
    /// # Errors
    /// [`Error::InvalidData`] for pictures, or what FFmpeg says.
    pub(super) fn open(config: &Config, target: &Target) -> Result<Self, Error> {
        let decoder = decoder(config)?;
        Ok(Self {
            config: config.clone(),
            layout: decoder.channel_layout(),
            decoder,
            target: target.clone(),
            newest: None,
            run: None,
        })
    }

    /// Takes an access unit; `emit` gets what is ready. One that cannot be decoded is counted and left out.
    ///
    /// # Errors
    /// What FFmpeg says of resampling and encoding: then nothing more can be taken.
    pub(super) fn take(&mut self, unit: &Frame, emit: &mut impl FnMut(Frame)) -> Result<(), Error> {
        let at = self.unwrap(unit);
        // FFmpeg takes nothing for the end.
        if !(1..=limits::SOUND_UNIT_BYTES_MAX).contains(&unit.data.len()) {
            meters::undecodable(1);
            return Ok(());
        }
        let mut packet = Packet::copy(&unit.data);
        packet.set_pts(Some(at));
        packet.set_dts(Some(at));
        if self.decoder.send_packet(&packet).is_err() {
            meters::undecodable(1);
        }
        loop {
            let mut sound = Audio::empty();
            match self.decoder.receive_frame(&mut sound) {
                Ok(()) => self.hear(sound, emit)?,
                Err(Error::Eof) => return Ok(()),
                again if is_again(&again) => return Ok(()),
                Err(_) => {
                    meters::undecodable(1);
                    return Ok(());
                }
            }
        }
    }

    /// Nothing follows: `emit` gets the rest.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub(super) fn finish(&mut self, emit: &mut impl FnMut(Frame)) -> Result<(), Error> {
        match self.run.take() {
            Some(run) => run.finish(emit),
            None => Ok(()),
        }
    }

    /// Takes what was decoded.
    fn hear(&mut self, mut sound: Audio, emit: &mut impl FnMut(Frame)) -> Result<(), Error> {
        if sound.samples() == 0 || sound.rate() == 0 {
            return Ok(());
        }
        if self.is_mistaken(&sound) {
            meters::undecodable(1);
            self.decoder = decoder(&self.config)?;
            return Ok(());
        }
        if sound.channel_layout().is_empty() {
            sound.set_channel_layout(ChannelLayout::default(sound.channels().into()));
        }
        let next = self.run.as_ref().map(Run::end);
        let newest = self.newest.map_or(0, |(_, at)| at);
        let at = sound.pts().or(next).unwrap_or(newest);
        let goes_on = |run: &&mut Run| {
            let apart = at - run.end();
            run.reads(&sound) && apart.abs() <= limits::SOUND_HOLE_MS * MILLISECOND
        };
        match self.run.as_mut().filter(goes_on) {
            Some(run) => run.follow(at, emit)?,
            None => {
                let Ok(resampler) = resampler(&sound, &self.target) else {
                    meters::undecodable(1); // no loudspeakers that anybody has
                    return Ok(());
                };
                self.finish(emit)?;
                self.run = Some(Run::begin(at, resampler, &self.target)?);
            }
        }
        match &mut self.run {
            Some(run) => run.push(&sound, emit),
            None => Ok(()),
        }
    }

    /// Whether the decoder takes the sound for another than was configured: a broken access unit of AAC may tell it so, and
    /// it stays with that. Of mono, stereo may come (parametric stereo, which the configuration need not tell).
    fn is_mistaken(&self, sound: &Audio) -> bool {
        let (layout, told) = (sound.channel_layout(), self.layout);
        let stereo = told == ChannelLayout::MONO && layout == ChannelLayout::STEREO;
        matches!(self.config, Config::Aac(_)) && !told.is_empty() && layout != told && !stereo
    }

    /// The publisher's clock without its wrap, in nanoseconds.
    fn unwrap(&mut self, unit: &Frame) -> i64 {
        let at = match self.newest {
            // As signed: the nearest way round the circle.
            Some((timestamp, at)) => {
                let step_ms = unit.timestamp.wrapping_sub(timestamp) as i32;
                at + i64::from(step_ms) * MILLISECOND
            }
            None => i64::from(unit.timestamp) * MILLISECOND,
        };
        self.newest = Some((unit.timestamp, at));
        at + i64::from(unit.nanos)
    }
}

impl Run {
    fn begin(at: i64, resampler: resampling::Context, target: &Target) -> Result<Self, Error> {
        Ok(Self {
            rate: resampler.input().rate,
            resampler,
            encoder: Encoder::open(target)?,
            began: at,
            taken: 0,
        })
    }

    /// Whether it can go on with `sound`.
    fn reads(&self, sound: &Audio) -> bool {
        let input = self.resampler.input();
        (input.format, input.channel_layout, input.rate)
            == (sound.format(), sound.channel_layout(), sound.rate())
    }

    /// When its last sample ends, by count.
    fn end(&self) -> i64 {
        self.began + self.taken * SECOND / i64::from(self.rate)
    }

    /// The next sample stands at `at`, which is not far from the end.
    fn follow(&mut self, at: i64, emit: &mut impl FnMut(Frame)) -> Result<(), Error> {
        let apart = at - self.end();
        if apart <= limits::SOUND_JITTER_MS * MILLISECOND {
            self.began += apart / limits::SOUND_CORRECTION;
            return Ok(());
        }
        let input = *self.resampler.input();
        let missing = apart * i64::from(self.rate) / SECOND;
        let mut silence = Audio::new(input.format, missing as usize, input.channel_layout);
        silence.set_rate(input.rate);
        for plane in 0..silence.planes() {
            silence.data_mut(plane).fill(0);
        }
        self.push(&silence, emit)
    }

    fn push(&mut self, sound: &Audio, emit: &mut impl FnMut(Frame)) -> Result<(), Error> {
        let (from, to) = (
            i64::from(self.rate),
            i64::from(self.resampler.output().rate),
        );
        let held = self.resampler.delay().map_or(0, |delay| delay.output);
        let samples = sound.samples() as i64;
        self.taken += samples;
        let mut resampled = self.room(held + samples * to / from);
        self.resampler.run(sound, &mut resampled)?;
        self.encode(&resampled, emit)
    }

    fn finish(mut self, emit: &mut impl FnMut(Frame)) -> Result<(), Error> {
        if let Some(held) = self.resampler.delay() {
            let mut rest = self.room(held.output);
            self.resampler.flush(&mut rest)?;
            self.encode(&rest, emit)?;
        }
        let (began, rate) = (self.began, self.resampler.output().rate);
        let made = &mut |count, data| emit(frame(began, rate, count, data));
        self.encoder.finish(made)
    }

    fn encode(&mut self, samples: &Audio, emit: &mut impl FnMut(Frame)) -> Result<(), Error> {
        if samples.samples() == 0 {
            return Ok(());
        }
        let (began, rate) = (self.began, self.resampler.output().rate);
        let made = &mut |count, data| emit(frame(began, rate, count, data));
        self.encoder.send(samples, made)
    }

    /// Room for so many samples, and some that rounding may add.
    fn room(&self, samples: i64) -> Audio {
        let output = self.resampler.output();
        let mut room = Audio::new(
            output.format,
            samples.max(0) as usize + 64,
            output.channel_layout,
        );
        room.set_rate(output.rate);
        room
    }
}

/// A decoder of `config`.
fn decoder(config: &Config) -> Result<decoder::Audio, Error> {
    let (id, record) = match config {
        Config::Aac(config) => (codec::Id::AAC, config.record().clone()),
        Config::Mp3(_) => (codec::Id::MP3, Bytes::new()),
        Config::Opus(config) => (codec::Id::OPUS, config.head()),
        Config::Av1(_) | Config::Avc(_) | Config::Hevc(_) => return Err(Error::InvalidData),
    };
    let codec = decoder::find(id).ok_or(Error::DecoderNotFound)?;
    let mut context = codec::Context::new_with_codec(codec);
    if !record.is_empty() {
        ffi::set_extradata(&mut context, &record)?;
    }
    context.set_threading(threading::Config {
        count: 1,
        ..threading::Config::default()
    });
    let mut decoder = context.decoder();
    decoder.set_packet_time_base((1, SECOND as i32));
    decoder.open_as(codec)?.audio()
}

/// From what `sound` is to what the encoder takes. Its filters begin in such a way that they delay nothing.
fn resampler(sound: &Audio, target: &Target) -> Result<resampling::Context, Error> {
    // What many channels add up to is never louder than one can be.
    let quiet = Dictionary::from_iter([("rematrix_maxval", "1")]);
    resampling::Context::get_with(
        sound.format(),
        sound.channel_layout(),
        sound.rate(),
        aac::FORMAT,
        aac::layout(target.config.channels()),
        target.config.timescale().hz(),
        quiet,
    )
}

/// A frame whose first sample is number `count` of a run that began at `began`.
fn frame(began: i64, rate: u32, count: i64, data: Bytes) -> Frame {
    let at = began + count * SECOND / i64::from(rate);
    Frame {
        kind: Kind::Audio,
        timestamp: at.div_euclid(MILLISECOND) as u32, // which wraps, as the publisher's does
        nanos: at.rem_euclid(MILLISECOND) as u32,
        composition_ms: 0,
        sync: true,
        data,
    }
}
