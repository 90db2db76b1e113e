//! FFmpeg's own encoder of AAC-LC: samples in, access units out, each with the count of its first sample.
//!
//! The encoder begins with a frame of nothing (its priming), which is left out: a count is that of the samples that were
//! sent. Not here: what the counts mean.

use bytes::Bytes;
use ffmpeg_next::{
    ChannelLayout, Error, Packet, codec, encoder,
    format::{Sample, sample::Type},
    frame::Audio,
    threading,
};
use vitrine_core::engine::sound::Target;

use super::super::decode::is_again;

/// What the encoder takes: 32 bit floating point numbers, channel by channel.
pub(super) const FORMAT: Sample = Sample::F32(Type::Planar);

/// An open encoder.
pub(super) struct Encoder {
    opened: encoder::audio::Encoder,
    layout: ChannelLayout,
    rate: u32,
    /// Samples that were sent, of one channel.
    sent: i64,
    /// Samples that wait to fill a frame, channel by channel.
    waiting: Vec<Vec<f32>>,
}

/// Samples of a frame, of one channel.
const FRAME: usize = 1024;

/// `channels` loudspeakers.
pub(super) fn layout(channels: u8) -> ChannelLayout {
    match channels {
        1 => ChannelLayout::MONO,
        _ => ChannelLayout::STEREO,
    }
}

impl Encoder {
    pub(super) fn open(target: &Target) -> Result<Self, Error> {
        let (rate, channels) = (target.config.timescale().hz(), target.config.channels());
        let layout = layout(channels);
        let codec = encoder::find_by_name("aac").ok_or(Error::EncoderNotFound)?;
        let mut encoder = codec::Context::new_with_codec(codec).encoder().audio()?;
        encoder.set_rate(i32::try_from(rate).map_err(|_| Error::InvalidData)?);
        encoder.set_channel_layout(layout);
        encoder.set_format(FORMAT);
        encoder.set_bit_rate(target.bitrate as usize);
        encoder.set_time_base((1, rate as i32));
        encoder.set_flags(codec::Flags::GLOBAL_HEADER);
        encoder.set_threading(threading::Config {
            count: 1,
            ..threading::Config::default()
        });
        Ok(Self {
            opened: encoder.open_as(codec)?,
            layout,
            rate,
            sent: 0,
            waiting: vec![Vec::with_capacity(2 * FRAME); channels.into()],
        })
    }

    /// The AudioSpecificConfig that it announces.
    #[cfg(test)]
    pub(super) fn record(&self) -> &[u8] {
        super::super::ffi::extradata(&self.opened)
    }

    /// Takes what `samples` holds, in [`FORMAT`] and the target's layout and rate; `made` gets what is ready.
    pub(super) fn send(
        &mut self,
        samples: &Audio,
        made: &mut impl FnMut(i64, Bytes),
    ) -> Result<(), Error> {
        for (channel, waiting) in self.waiting.iter_mut().enumerate() {
            waiting.extend_from_slice(samples.plane::<f32>(channel));
        }
        while self.waiting[0].len() >= FRAME {
            self.encode(FRAME, made)?;
        }
        Ok(())
    }

    /// `made` gets all that is inside; nothing may be sent any more.
    pub(super) fn finish(mut self, made: &mut impl FnMut(i64, Bytes)) -> Result<(), Error> {
        let rest = self.waiting[0].len();
        if rest > 0 {
            self.encode(rest, made)?;
        }
        self.opened.send_eof()?;
        self.receive(made)
    }

    fn encode(&mut self, samples: usize, made: &mut impl FnMut(i64, Bytes)) -> Result<(), Error> {
        let mut frame = Audio::new(FORMAT, samples, self.layout);
        frame.set_rate(self.rate);
        frame.set_pts(Some(self.sent));
        for (channel, waiting) in self.waiting.iter_mut().enumerate() {
            let plane = frame.plane_mut::<f32>(channel);
            plane.copy_from_slice(&waiting[..samples]);
            waiting.drain(..samples);
        }
        self.sent += samples as i64;
        self.opened.send_frame(&frame)?;
        self.receive(made)
    }

    fn receive(&mut self, made: &mut impl FnMut(i64, Bytes)) -> Result<(), Error> {
        loop {
            let mut packet = Packet::empty();
            match self.opened.receive_packet(&mut packet) {
                Ok(()) => {}
                Err(Error::Eof) => return Ok(()),
                again if is_again(&again) => return Ok(()),
                Err(error) => return Err(error),
            }
            // Before the first sample stands the priming, behind the last one padding.
            let count = packet.pts().unwrap_or(-1);
            if (0..self.sent).contains(&count) {
                made(
                    count,
                    Bytes::copy_from_slice(packet.data().unwrap_or_default()),
                );
            }
        }
    }
}
