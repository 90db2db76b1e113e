//! All that is unsafe: what `ffmpeg_next` has no safe word for, each as a safe function or type of few lines.
//!
//! Every pointer that is written through belongs to a value borrowed mutably here, and every pointer that is kept belongs
//! to a type that frees it. FFmpeg's own structures never leave this file but inside the types of `ffmpeg_next`.
//!
//! Not here: any decision. Which sizes, rates and options there are is said by those who call.

#![allow(unsafe_code)]

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    panic, ptr, slice,
    sync::OnceLock,
};

use ffmpeg_next::{
    Error, codec, error::ENOMEM, ffi::*, format::Pixel, frame::Video, software::scaling,
};

/// How pictures are meant to be shown: the shape of their samples and what their colours mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    sample_aspect_ratio: (c_int, c_int),
    primaries: AVColorPrimaries,
    transfer: AVColorTransferCharacteristic,
    matrix: AVColorSpace,
    range: AVColorRange,
    chroma: AVChromaLocation,
}

impl Look {
    pub(super) fn of(picture: &Video) -> Self {
        // SAFETY: a `Video` points to a frame for as long as it lives; its fields are read only.
        let frame = unsafe { &*picture.as_ptr() };
        let AVRational { num, den } = frame.sample_aspect_ratio;
        Self {
            sample_aspect_ratio: if num > 0 && den > 0 {
                (num, den)
            } else {
                (0, 1)
            },
            primaries: frame.color_primaries,
            transfer: frame.color_trc,
            matrix: frame.colorspace,
            range: frame.color_range,
            chroma: frame.chroma_location,
        }
    }

    /// Tells an encoder that is not open yet.
    pub(super) fn apply(&self, encoder: &mut codec::Context) {
        // SAFETY: a `Context` points to a codec context of its own; plain fields are written.
        let context = unsafe { &mut *encoder.as_mut_ptr() };
        let (num, den) = self.sample_aspect_ratio;
        context.sample_aspect_ratio = AVRational { num, den };
        context.color_primaries = self.primaries;
        context.color_trc = self.transfer;
        context.colorspace = self.matrix;
        context.color_range = self.range;
        context.chroma_sample_location = self.chroma;
    }
}

/// Whether samples use the full range of their numbers.
pub(super) fn is_full_range(picture: &Video) -> bool {
    Look::of(picture).range == AVColorRange::AVCOL_RANGE_JPEG
}

/// Says that samples of `picture` use the full range of their numbers, or that RGB became YUV in the way of high
/// definition: what the pixel format said is told by fields that travel on.
pub(super) fn restate(picture: &mut Video, format: Pixel, full_range: bool) {
    // SAFETY: as above, and the frame is borrowed mutably.
    let frame = unsafe { &mut *picture.as_mut_ptr() };
    frame.format = AVPixelFormat::from(format) as c_int;
    frame.color_range = if full_range {
        AVColorRange::AVCOL_RANGE_JPEG
    } else {
        AVColorRange::AVCOL_RANGE_MPEG
    };
    if frame.colorspace == AVColorSpace::AVCOL_SPC_RGB {
        frame.colorspace = AVColorSpace::AVCOL_SPC_BT709;
    }
}

/// Another owner of the same samples, which are not copied.
pub(super) fn shared(picture: &Video) -> Result<Video, Error> {
    let mut other = Video::empty();
    // SAFETY: both point to frames; `other` is empty, as av_frame_ref wants it.
    checked(unsafe { av_frame_ref(other.as_mut_ptr(), picture.as_ptr()) })?;
    Ok(other)
}

/// `picture`, shown again at `pts`: without its captions, which are said once.
pub(super) fn again(picture: &Video, pts: i64) -> Result<Video, Error> {
    let mut again = shared(picture)?;
    again.set_pts(Some(pts));
    // SAFETY: the frame is ours; its list of side data is its own, though what stands in it is shared.
    unsafe { av_frame_remove_side_data(again.as_mut_ptr(), CAPTIONS) };
    Ok(again)
}

/// Time, look and side data (such as captions) of `from`, but not its size and samples.
pub(super) fn copy_properties(from: &Video, to: &mut Video) -> Result<(), Error> {
    // SAFETY: both point to frames, and `to` is borrowed mutably.
    checked(unsafe { av_frame_copy_props(to.as_mut_ptr(), from.as_ptr()) })?;
    Ok(())
}

/// The captions that a picture brings (CEA-608 and 708, three bytes per pair).
pub(super) fn captions(picture: &Video) -> &[u8] {
    // SAFETY: side data belongs to the frame, is as long as it says and stays while the picture is borrowed.
    unsafe {
        let data = av_frame_get_side_data(picture.as_ptr(), CAPTIONS);
        match data.as_ref() {
            Some(data) if !data.data.is_null() => slice::from_raw_parts(data.data, data.size),
            _ => &[],
        }
    }
}

/// Gives a picture other captions.
pub(super) fn set_captions(picture: &mut Video, captions: &[u8]) {
    // SAFETY: the frame is borrowed mutably; new side data is as long as asked for, or null.
    unsafe {
        let frame = picture.as_mut_ptr();
        av_frame_remove_side_data(frame, CAPTIONS);
        if let Some(data) = av_frame_new_side_data(frame, CAPTIONS, captions.len()).as_mut() {
            ptr::copy_nonoverlapping(captions.as_ptr(), data.data, captions.len());
        }
    }
}

const CAPTIONS: AVFrameSideDataType = AVFrameSideDataType::AV_FRAME_DATA_A53_CC;

/// What a decoder is told out of band, before it is opened.
pub(super) fn set_extradata(decoder: &mut codec::Context, data: &[u8]) -> Result<(), Error> {
    let size = c_int::try_from(data.len()).map_err(|_| Error::InvalidData)?;
    // SAFETY: av_mallocz gives the bytes and their padding, or null; the context takes them over and frees them.
    unsafe {
        let copy = av_mallocz(data.len() + AV_INPUT_BUFFER_PADDING_SIZE as usize).cast::<u8>();
        if copy.is_null() {
            return Err(Error::Other { errno: ENOMEM });
        }
        ptr::copy_nonoverlapping(data.as_ptr(), copy, data.len());
        let context = &mut *decoder.as_mut_ptr();
        av_freep((&raw mut context.extradata).cast());
        context.extradata = copy;
        context.extradata_size = size;
    }
    Ok(())
}

/// What an open encoder tells out of band.
pub(super) fn extradata(encoder: &codec::Context) -> &[u8] {
    // SAFETY: an open context's extradata is as long as it says and stays where it is while the context is borrowed.
    unsafe {
        let context = &*encoder.as_ptr();
        match usize::try_from(context.extradata_size) {
            Ok(size) if !context.extradata.is_null() => {
                slice::from_raw_parts(context.extradata, size)
            }
            _ => &[],
        }
    }
}

/// Most pixels of a picture that a decoder makes.
pub(super) fn limit_pixels(decoder: &mut codec::Context, pixels: u32) {
    // SAFETY: a plain field of a context borrowed mutably.
    unsafe { (*decoder.as_mut_ptr()).max_pixels = pixels.into() };
}

/// The length of the buffer, in bits, that a decoder of what an encoder makes needs at most.
pub(super) fn set_buffer_bits(encoder: &mut codec::Context, bits: u32) {
    // SAFETY: a plain field of a context borrowed mutably.
    unsafe { (*encoder.as_mut_ptr()).rc_buffer_size = c_int::try_from(bits).unwrap_or(c_int::MAX) };
}

/// Makes pictures of one size and format out of pictures of others, bicubic.
pub(super) struct Scaler {
    sws: *mut SwsContext,
    pool: Pool,
    from: (Pixel, u32, u32),
    ranges: (bool, bool),
}

impl Scaler {
    /// Reads pictures like `from`, but in the sense of `from_format`, and makes them `to` pixels wide and high; `ranges`
    /// says whether what is read and what is made use the full range of their numbers.
    pub(super) fn new(
        from: &Video,
        from_format: Pixel,
        ranges: (bool, bool),
        to: (u32, u32),
        to_format: Pixel,
    ) -> Result<Self, Error> {
        let side = |side: u32| c_int::try_from(side).map_err(|_| Error::InvalidData);
        // SAFETY: sws_getContext takes numbers and optional filters; it answers a context of ours or null.
        let sws = unsafe {
            sws_getContext(
                side(from.width())?,
                side(from.height())?,
                from_format.into(),
                side(to.0)?,
                side(to.1)?,
                to_format.into(),
                scaling::Flags::BICUBIC.bits(),
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null(),
            )
        };
        if sws.is_null() {
            return Err(Error::InvalidData);
        }
        let pool = Pool::new(to_format, to.0, to.1);
        let scaler = Self {
            sws,
            pool: pool.inspect_err(|_| {
                // SAFETY: made above and known to nobody else.
                unsafe { sws_freeContext(sws) }
            })?,
            from: (from.format(), from.width(), from.height()),
            ranges,
        };
        // SAFETY: the tables are static; the context is ours. It answers -1 for formats without a range, which is well.
        unsafe {
            let table = sws_getCoefficients(SWS_CS_ITU709);
            let (read, write) = (ranges.0.into(), ranges.1.into());
            sws_setColorspaceDetails(scaler.sws, table, read, table, write, 0, 1 << 16, 1 << 16);
        }
        Ok(scaler)
    }

    /// Whether this was made for pictures like this one.
    pub(super) fn reads(&self, picture: &Video, ranges: (bool, bool)) -> bool {
        self.ranges == ranges && self.fits(picture)
    }

    fn fits(&self, picture: &Video) -> bool {
        self.from == (picture.format(), picture.width(), picture.height())
    }

    /// `picture` in the other size, without its properties.
    ///
    /// # Errors
    /// [`Error::InputChanged`] for a picture that this was not made for, or what FFmpeg says.
    pub(super) fn run(&mut self, picture: &Video) -> Result<Video, Error> {
        if !self.fits(picture) {
            return Err(Error::InputChanged);
        }
        let mut scaled = self.pool.picture()?;
        // SAFETY: the context was made for pictures of the size and format of both, which is checked above for the one
        // and true of the pool for the other.
        checked(unsafe {
            let from = &*picture.as_ptr();
            let to = &*scaled.as_mut_ptr();
            sws_scale(
                self.sws,
                from.data.as_ptr().cast(),
                from.linesize.as_ptr(),
                0,
                from.height,
                to.data.as_ptr(),
                to.linesize.as_ptr(),
            )
        })?;
        Ok(scaled)
    }
}

impl Drop for Scaler {
    fn drop(&mut self) {
        // SAFETY: made in `new`, freed once.
        unsafe { sws_freeContext(self.sws) }
    }
}

/// Memory of pictures of one size, which comes back when nobody holds them: thirty times a second it would otherwise be
/// mapped anew.
struct Pool {
    pool: *mut AVBufferPool,
    format: AVPixelFormat,
    width: c_int,
    height: c_int,
}

/// Bytes that lines are aligned to, and that are free behind the last one: what vector units write at once.
const ALIGNMENT: c_int = 64;

impl Pool {
    fn new(format: Pixel, width: u32, height: u32) -> Result<Self, Error> {
        let side = |side: u32| c_int::try_from(side).map_err(|_| Error::InvalidData);
        let (width, height) = (side(width)?, side(height)?);
        let format = AVPixelFormat::from(format);
        // SAFETY: arithmetic on numbers; a pool of ours, or null. Without a function it allocates by itself.
        let pool = unsafe {
            let size = checked(av_image_get_buffer_size(format, width, height, ALIGNMENT))?;
            av_buffer_pool_init((size + ALIGNMENT) as usize, None)
        };
        if pool.is_null() {
            return Err(Error::InvalidData);
        }
        Ok(Self {
            pool,
            format,
            width,
            height,
        })
    }

    fn picture(&self) -> Result<Video, Error> {
        let mut picture = Video::empty();
        // SAFETY: the frame is new and ours. It takes over one buffer of the pool, as large as the arrays laid out in it;
        // a buffer outlives its pool.
        unsafe {
            let frame = &mut *picture.as_mut_ptr();
            let buffer = av_buffer_pool_get(self.pool);
            if buffer.is_null() {
                return Err(Error::Other { errno: ENOMEM });
            }
            frame.buf[0] = buffer;
            frame.format = self.format as c_int;
            frame.width = self.width;
            frame.height = self.height;
            checked(av_image_fill_arrays(
                frame.data.as_mut_ptr(),
                frame.linesize.as_mut_ptr(),
                (*buffer).data,
                self.format,
                self.width,
                self.height,
                ALIGNMENT,
            ))?;
            frame.extended_data = frame.data.as_mut_ptr();
        }
        Ok(picture)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: made in `new`, let go once; buffers that are in use keep it alive.
        unsafe { av_buffer_pool_uninit(&mut self.pool) }
    }
}

/// Surfaces of a VAAPI device, for the one encoder that reads no memory of ours.
pub(super) struct Surfaces(*mut AVBufferRef);

// SAFETY: an AVBufferRef is counted atomically and what it refers to is used by one thread at a time.
unsafe impl Send for Surfaces {}

impl Surfaces {
    /// Opens the machine's first device and hands it to `encoder`, whose size is set.
    pub(super) fn new(encoder: &mut codec::Context) -> Result<Self, Error> {
        // SAFETY: the device is ours until it is let go below (the frames hold it too); the frames are freed by drop; the
        // encoder gets a reference of its own.
        unsafe {
            let mut device = ptr::null_mut();
            checked(av_hwdevice_ctx_create(
                &mut device,
                AVHWDeviceType::AV_HWDEVICE_TYPE_VAAPI,
                ptr::null(),
                ptr::null_mut(),
                0,
            ))?;
            let frames = Self(av_hwframe_ctx_alloc(device));
            av_buffer_unref(&mut device);
            if frames.0.is_null() {
                return Err(Error::Other { errno: ENOMEM });
            }
            let context = &mut *encoder.as_mut_ptr();
            let wanted = &mut *(*frames.0).data.cast::<AVHWFramesContext>();
            wanted.format = AVPixelFormat::AV_PIX_FMT_VAAPI;
            wanted.sw_format = AVPixelFormat::AV_PIX_FMT_NV12;
            (wanted.width, wanted.height) = (context.width, context.height);
            wanted.initial_pool_size = 16;
            checked(av_hwframe_ctx_init(frames.0))?;
            context.pix_fmt = AVPixelFormat::AV_PIX_FMT_VAAPI;
            context.hw_frames_ctx = av_buffer_ref(frames.0);
            Ok(frames)
        }
    }

    /// `picture` on the device.
    pub(super) fn upload(&self, picture: &Video) -> Result<Video, Error> {
        let mut surface = Video::empty();
        // SAFETY: `surface` is a new frame, `picture` one with samples; FFmpeg checks sizes and formats itself.
        unsafe {
            checked(av_hwframe_get_buffer(self.0, surface.as_mut_ptr(), 0))?;
            checked(av_hwframe_transfer_data(
                surface.as_mut_ptr(),
                picture.as_ptr(),
                0,
            ))?;
        }
        copy_properties(picture, &mut surface)?;
        Ok(surface)
    }
}

impl Drop for Surfaces {
    fn drop(&mut self) {
        // SAFETY: a reference of ours or null, let go once.
        unsafe { av_buffer_unref(&mut self.0) }
    }
}

/// Takes a line of FFmpeg's log: its level (`AV_LOG_*`) and text.
pub(super) type LogLine = fn(level: c_int, text: &str);

static LOG_LINE: OnceLock<LogLine> = OnceLock::new();

/// How a C function passes the arguments of `printf` on.
#[cfg(target_arch = "x86_64")]
type Arguments = *mut __va_list_tag;
#[cfg(not(target_arch = "x86_64"))]
type Arguments = va_list;

/// From now on `take` has every line that is no more talkative than `AV_LOG_INFO`. The first call is the one that counts.
pub(super) fn on_log(take: LogLine) {
    if LOG_LINE.set(take).is_ok() {
        // SAFETY: the callback is a function and lives for ever.
        unsafe { av_log_set_callback(Some(log_callback)) }
    }
}

unsafe extern "C" fn log_callback(
    who: *mut c_void,
    level: c_int,
    format: *const c_char,
    arguments: Arguments,
) {
    let Some(take) = LOG_LINE.get().filter(|_| level <= AV_LOG_INFO) else {
        return;
    };
    let mut line = [0 as c_char; 1024];
    let mut with_prefix = 1;
    // SAFETY: `who`, `format` and `arguments` are what FFmpeg calls its callbacks with; `line` is as long as is said, and
    // what is written there ends in zero.
    let text = unsafe {
        let size = line.len() as c_int;
        let to = line.as_mut_ptr();
        av_log_format_line2(who, level, format, arguments, to, size, &mut with_prefix);
        CStr::from_ptr(line.as_ptr())
    };
    // A panic must not unwind into C.
    let _ = panic::catch_unwind(|| take(level, text.to_string_lossy().trim_end()));
}

/// The version of libavcodec that runs, which need not be the one this was built with.
pub(super) fn version() -> String {
    // SAFETY: a function without arguments that answers a number.
    let version = unsafe { avcodec_version() };
    let (major, minor, micro) = (version >> 16, version >> 8 & 0xff, version & 0xff);
    format!("{major}.{minor}.{micro}")
}

fn checked(answer: c_int) -> Result<c_int, Error> {
    if answer < 0 {
        Err(Error::from(answer))
    } else {
        Ok(answer)
    }
}

/// A picture of one grey, in 8 bit 4:2:0.
pub(super) fn grey(format: Pixel, width: u32, height: u32) -> Video {
    let mut picture = Video::new(format, width, height);
    for plane in 0..picture.planes() {
        picture.data_mut(plane).fill(0x80);
    }
    picture
}
