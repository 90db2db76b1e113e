//! A still of the broadcast, every five seconds of media: JPEG, short side 480 at most, pixels square.
//!
//! Made in the decoder's thread of a picture that is there anyway; whoever wants it finds the last one. One that cannot be
//! made is left out, and the broadcast does not notice.

use bytes::Bytes;
use ffmpeg_next::{Error, Packet, codec, encoder, format::Pixel, frame::Video, picture, threading};
use tokio::sync::watch;

use super::{
    cadence::SECOND,
    ffi,
    scale::{Range, Scaler},
};

/// Ticks of the media clock from one still to the next.
const INTERVAL: i64 = 5 * SECOND;
/// Lines of a landscape still, columns of a portrait one, at most.
const SHORT_SIDE_MAX: u64 = 480;
/// The quantizer of MJPEG: 2 is best, 31 worst; some 30 KB.
const QUANTIZER: i32 = 5;

/// Makes stills.
pub(super) struct Thumbnails {
    out: watch::Sender<Option<Bytes>>,
    /// When the last one was shown.
    last: Option<i64>,
    size: (u32, u32),
    scaler: Option<Scaler>,
}

impl Thumbnails {
    pub(super) fn new(out: watch::Sender<Option<Bytes>>) -> Self {
        Self {
            out,
            last: None,
            size: (0, 0),
            scaler: None,
        }
    }

    /// Makes a still of `picture`, shown at `pts`, if it is time for one.
    pub(super) fn consider(&mut self, picture: &Video, pts: i64) {
        let is_recent = |last: i64| (last..last.saturating_add(INTERVAL)).contains(&pts);
        if self.last.is_some_and(is_recent) {
            return;
        }
        self.last = Some(pts);
        match self.make(picture) {
            Ok(still) => drop(self.out.send_replace(Some(still))),
            Err(error) => tracing::debug!("no thumbnail: {error}"),
        }
    }

    fn make(&mut self, picture: &Video) -> Result<Bytes, Error> {
        let shape = picture.aspect_ratio();
        let shape = (shape.numerator(), shape.denominator());
        let size = size_of_still((picture.width(), picture.height()), shape);
        if self.size != size || self.scaler.is_none() {
            (self.size, self.scaler) = (size, Some(Scaler::new(size, Pixel::YUV420P, Range::Full)));
        }
        let scaler = self.scaler.as_mut().ok_or(Error::Bug)?;
        let mut still = scaler.run(picture)?;
        ffi::restate(&mut still, Pixel::YUVJ420P, true);
        still.set_kind(picture::Type::None);
        still.set_pts(Some(0));
        let codec = encoder::find(codec::Id::MJPEG).ok_or(Error::EncoderNotFound)?;
        let mut encoder = codec::Context::new_with_codec(codec).encoder().video()?;
        encoder.set_width(size.0);
        encoder.set_height(size.1);
        encoder.set_format(Pixel::YUVJ420P);
        encoder.set_color_range(ffmpeg_next::color::Range::JPEG);
        encoder.set_time_base((1, 1));
        encoder.set_qmin(QUANTIZER);
        encoder.set_qmax(QUANTIZER);
        encoder.set_threading(threading::Config::count(1));
        let mut opened = encoder.open_as(codec)?;
        opened.send_frame(&still)?;
        opened.send_eof()?;
        let mut packet = Packet::empty();
        opened.receive_packet(&mut packet)?;
        Ok(Bytes::copy_from_slice(packet.data().unwrap_or_default()))
    }
}

/// Even, no larger than the picture, and in the shape that it is shown in.
fn size_of_still((width, height): (u32, u32), samples: (i32, i32)) -> (u32, u32) {
    let (mut width, height) = (u64::from(width), u64::from(height));
    if let (Ok(num @ 1..), Ok(den @ 1..)) = (u64::try_from(samples.0), u64::try_from(samples.1)) {
        // A stranger's number: no more than eight times as wide or narrow.
        width = (width * num / den).clamp(width.div_ceil(8), width * 8);
    }
    let short = width.min(height).max(1);
    let scaled = |side: u64| {
        let side = side * SHORT_SIDE_MAX.min(short) / short / 2 * 2;
        u32::try_from(side).unwrap_or(u32::MAX).clamp(2, 4096)
    };
    (scaled(width), scaled(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_still_has_the_shape_that_is_seen() {
        for (size, samples, wanted) in [
            ((1920, 1080), (1, 1), (852, 480)),
            ((1080, 1920), (0, 1), (480, 852)),
            ((320, 180), (1, 1), (320, 180)),
            ((720, 576), (16, 11), (872, 480)),
            ((640, 360), (i32::MAX, 1), (4096, 360)),
        ] {
            assert_eq!(size_of_still(size, samples), wanted, "{size:?}");
        }
    }

    #[test]
    fn there_is_one_every_five_seconds_and_it_is_a_jpeg() {
        let (out, seen) = watch::channel(None);
        let mut thumbnails = Thumbnails::new(out);
        let mut made = 0;
        let mut seen = seen;
        for number in 0..30 {
            let mut picture = ffi::grey(Pixel::YUV420P, 1280, 720);
            picture.set_pts(Some(number * SECOND));
            thumbnails.consider(&picture, number * SECOND);
            made += usize::from(seen.has_changed().expect("open"));
            let still = seen
                .borrow_and_update()
                .clone()
                .expect("from the first picture on");
            assert!(still.starts_with(&[0xff, 0xd8, 0xff]) && still.ends_with(&[0xff, 0xd9]));
        }
        assert_eq!(made, 6);
        thumbnails.consider(&ffi::grey(Pixel::YUV420P, 64, 64), 0);
        assert!(seen.has_changed().expect("open"), "a clock that goes back");
    }
}
