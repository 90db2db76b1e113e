//! The size and format that an encoder wants: 8 bit 4:2:0, bicubic, and untouched where a picture is that already.
//!
//! A picture keeps its time, the shape of its samples, the meaning of its colours and its captions. What the formats of
//! FFmpeg say by their names (`yuvj420p`: full range) is said by fields, so that it reaches the encoder.

use ffmpeg_next::{Error, format::Pixel, frame::Video};

use super::ffi;

/// Scales to one size.
pub(super) struct Scaler {
    size: (u32, u32),
    format: Pixel,
    range: Range,
    context: Option<ffi::Scaler>,
}

/// Which numbers samples use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Range {
    /// Those of the source; of RGB the usual ones.
    Kept,
    /// All there are, as JPEG has it.
    Full,
}

impl Scaler {
    /// Makes pictures of `size`, in pixels, in one of the formats of 8 bit 4:2:0.
    pub(super) fn new(size: (u32, u32), format: Pixel, range: Range) -> Self {
        Self {
            size,
            format,
            range,
            context: None,
        }
    }

    /// `picture` in that size: the same samples where nothing is to do.
    ///
    /// # Errors
    /// What FFmpeg says of a format that it cannot read.
    pub(super) fn run(&mut self, picture: &Video) -> Result<Video, Error> {
        let named = picture.format();
        let (format, full_range) = match named {
            Pixel::YUVJ420P => (Pixel::YUV420P, true),
            Pixel::YUVJ422P => (Pixel::YUV422P, true),
            Pixel::YUVJ444P => (Pixel::YUV444P, true),
            Pixel::YUVJ440P => (Pixel::YUV440P, true),
            format => (format, ffi::is_full_range(picture)),
        };
        let is_rgb = is_rgb(format);
        let made_full = self.range == Range::Full || full_range && !is_rgb;
        let unchanged = self.size == (picture.width(), picture.height());
        let mut scaled = if unchanged && format == self.format && full_range == made_full {
            ffi::shared(picture)?
        } else {
            let ranges = (full_range || is_rgb, made_full);
            let known = self.context.take();
            let context = match known.filter(|context| context.reads(picture, ranges)) {
                Some(context) => self.context.insert(context),
                None => self.context.insert(ffi::Scaler::new(
                    picture,
                    format,
                    ranges,
                    self.size,
                    self.format,
                )?),
            };
            let mut scaled = context.run(picture)?;
            ffi::copy_properties(picture, &mut scaled)?;
            scaled
        };
        ffi::restate(&mut scaled, self.format, made_full);
        Ok(scaled)
    }
}

fn is_rgb(format: Pixel) -> bool {
    let descriptor = format.descriptor();
    descriptor
        .is_some_and(|format| format.name().starts_with("gbr") || format.name().contains("rgb"))
}
