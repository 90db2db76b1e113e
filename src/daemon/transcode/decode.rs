//! The decoder: access units as the segmenter has them, pictures in the order in which they are shown.
//!
//! One thread and no frame threads, so that nothing is held back but what B-frames need. What cannot be decoded is an
//! error of its access unit alone. Not here: what becomes of the pictures.

use ffmpeg_next::{Error, Packet, codec, decoder, error::EAGAIN, frame::Video, threading};
use vitrine_core::{
    limits,
    media::{Config, Sample},
};

use super::ffi;

/// A decoder of one configuration.
pub(super) struct Decoder(decoder::Video);

impl Decoder {
    /// # Errors
    /// [`Error::InvalidData`] for sound and for pictures larger than [`limits::TRANSCODE_PIXELS_MAX`], or what FFmpeg says.
    pub(super) fn open(config: &Config) -> Result<Self, Error> {
        let (id, record) = match config {
            Config::Avc(config) => (codec::Id::H264, config.record()),
            Config::Hevc(config) => (codec::Id::HEVC, config.record()),
            Config::Av1(config) => (codec::Id::AV1, config.record()),
            Config::Aac(_) | Config::Mp3(_) | Config::Opus(_) => return Err(Error::InvalidData),
        };
        let (width, height) = config.resolution().unwrap_or_default();
        if u64::from(width) * u64::from(height) > limits::TRANSCODE_PIXELS_MAX.into() {
            return Err(Error::InvalidData);
        }
        let codec = decoder::find(id).ok_or(Error::DecoderNotFound)?;
        let mut context = codec::Context::new_with_codec(codec);
        ffi::set_extradata(&mut context, record)?;
        ffi::limit_pixels(&mut context, limits::TRANSCODE_PIXELS_MAX);
        context.set_threading(threading::Config {
            kind: threading::Type::None,
            count: 1,
            ..threading::Config::default()
        });
        let mut decoder = context.decoder();
        decoder.set_packet_time_base((1, super::cadence::SECOND as i32));
        Ok(Self(decoder.open_as(codec)?.video()?))
    }

    /// Takes an access unit and hands `shown` what can be shown now, in order. Answers how many errors there were.
    pub(super) fn decode(&mut self, sample: &Sample, shown: &mut impl FnMut(Video)) -> u32 {
        if sample.data.is_empty() {
            return 1; // which FFmpeg would take for the end
        }
        let mut packet = Packet::copy(&sample.data);
        packet.set_pts(Some(
            sample.dts.saturating_add(sample.composition_offset.into()),
        ));
        packet.set_dts(Some(sample.dts));
        let mut answer = self.0.send_packet(&packet);
        let mut errors = 0;
        if is_again(&answer) {
            errors += self.receive(shown); // an error left pictures behind
            answer = self.0.send_packet(&packet);
        }
        errors + u32::from(answer.is_err()) + self.receive(shown)
    }

    /// Hands `shown` all that was held back. The next access unit is a sync sample.
    pub(super) fn drain(&mut self, shown: &mut impl FnMut(Video)) -> u32 {
        let mut errors = 0;
        if self.0.send_eof().is_ok() {
            errors += self.receive(shown);
        }
        self.0.flush();
        errors
    }

    fn receive(&mut self, shown: &mut impl FnMut(Video)) -> u32 {
        let mut errors = 0;
        // An error may stand before pictures; more errors than a decoder can hold pictures are no such case.
        while errors < 32 {
            let mut picture = Video::empty();
            match self.0.receive_frame(&mut picture) {
                Ok(()) => shown(picture),
                Err(Error::Eof) => break,
                again if is_again(&again) => break,
                Err(_) => errors += 1,
            }
        }
        errors
    }
}

pub(super) fn is_again<T>(answer: &Result<T, Error>) -> bool {
    matches!(answer, Err(Error::Other { errno: EAGAIN }))
}
