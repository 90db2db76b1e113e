//! One encoder: pictures in, access units fit for `mdat` out, and the configuration that its own parameter sets announce.
//!
//! No delay, no B-frames, no scene cuts and no key frame but where one is asked for: cuts are the segmenter's. Options are
//! a wish (`profile=high` with the fastest presets is not High), so what `CODECS` says is read from the SPS. Not here:
//! which pictures come, and when.

use bytes::Bytes;
use ffmpeg_next::{
    Dictionary, Error as Ffmpeg, Packet, codec, encoder, error::EINVAL, format::Pixel,
    frame::Video, picture, threading,
};
use vitrine_core::{
    engine::ladder::Rung,
    media::{self, Rendition, avc},
};

use super::{
    cadence::{self, SECOND},
    decode::is_again,
    ffi::{self, Look},
    settings::{self, Settings},
};

/// Why an encoder cannot be used; fit for the operator's eyes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// FFmpeg was built without it.
    #[error(
        "the FFmpeg on this machine (libavcodec {version}) has no encoder {encoder}: install an FFmpeg that does, or \
         choose another"
    )]
    Missing {
        /// FFmpeg's name of the encoder.
        encoder: &'static str,
        /// Of the library that runs.
        version: String,
    },
    /// It is there and does not open.
    #[error("the encoder {encoder} does not open: {reason}; {}", advice(.encoder))]
    Refused {
        /// FFmpeg's name of the encoder.
        encoder: &'static str,
        /// FFmpeg's words.
        reason: Ffmpeg,
    },
    /// It fails at a picture.
    #[error("the encoder {encoder} fails: {reason}")]
    Failed {
        /// FFmpeg's name of the encoder.
        encoder: &'static str,
        /// FFmpeg's words.
        reason: Ffmpeg,
    },
    /// What it makes cannot be served.
    #[error("the encoder {encoder} makes no H.264 that can be served: {reason}")]
    Unfit {
        /// FFmpeg's name of the encoder.
        encoder: &'static str,
        /// What is wrong with its parameter sets or access units.
        reason: media::Error,
    },
    /// It took a picture and gave none.
    #[error("the encoder {encoder} took a picture and made nothing of it")]
    Silent {
        /// FFmpeg's name of the encoder.
        encoder: &'static str,
    },
}

fn advice(encoder: &str) -> &'static str {
    match encoder {
        "h264_vaapi" => {
            "is there a device /dev/dri/renderD128 with its VA-API driver, and may the daemon's user open it (group \
             `render`)?"
        }
        "h264_nvenc" => "are an NVIDIA graphics processor and its driver there (`nvidia-smi`)?",
        "h264_qsv" => "are Intel graphics and the runtime of oneVPL or Media SDK there?",
        _ => "see what target `ffmpeg` said in the log",
    }
}

impl Settings {
    /// Makes one picture, as a start-up check that broadcasts can rely on.
    ///
    /// # Errors
    /// [`Error`], in words that an operator can act on.
    pub fn probe(&self) -> Result<(), Error> {
        super::prepare();
        let rung = Rung {
            rendition: Rendition::Low,
            width: 640,
            height: 360,
            frame_rate: (30, 1),
            bitrate: 500_000,
        };
        let mut picture = ffi::grey(format(self), rung.width, rung.height);
        picture.set_pts(Some(0));
        let mut encoder = Encoder::open(self, &rung, Look::of(&picture))?;
        encoder.send(picture, true)?;
        encoder.finish()?;
        let made = encoder.receive()?.filter(|unit| unit.sync);
        made.map(drop).ok_or(Error::Silent {
            encoder: self.encoder.name(),
        })
    }
}

/// A picture, encoded.
pub(super) struct Unit {
    pub(super) pts: i64,
    pub(super) sync: bool,
    pub(super) data: Bytes,
    /// The encoder changed its mind: what holds from this picture on.
    pub(super) config: Option<avc::Config>,
}

/// An open encoder.
pub(super) struct Encoder {
    name: &'static str,
    opened: encoder::video::Encoder,
    surfaces: Option<ffi::Surfaces>,
    config: avc::Config,
    rung: Rung,
    look: Look,
    /// Pictures taken and not handed back.
    inside: u32,
}

impl Encoder {
    pub(super) fn open(settings: &Settings, rung: &Rung, look: Look) -> Result<Self, Error> {
        let name = settings.encoder.name();
        let refused = |reason| Error::Refused {
            encoder: name,
            reason,
        };
        let codec = encoder::find_by_name(name).ok_or_else(|| Error::Missing {
            encoder: name,
            version: ffi::version(),
        })?;
        let context = codec::Context::new_with_codec(codec).encoder();
        let mut encoder = context.video().map_err(refused)?;
        encoder.set_width(rung.width);
        encoder.set_height(rung.height);
        encoder.set_format(format(settings));
        encoder.set_time_base((1, SECOND as i32));
        let (num, den) = rung.frame_rate;
        let fraction = |of: u32| i32::try_from(of).map_err(|_| refused(Ffmpeg::InvalidData));
        encoder.set_frame_rate(Some((fraction(num)?, fraction(den)?)));
        encoder.set_bit_rate(rung.bitrate as usize);
        encoder.set_max_bit_rate(rung.bitrate as usize);
        ffi::set_buffer_bits(&mut encoder, rung.bitrate); // one second
        encoder.set_max_b_frames(0);
        encoder.set_flags(codec::Flags::GLOBAL_HEADER | codec::Flags::CLOSED_GOP);
        encoder.set_threading(threading::Config {
            count: 1,
            ..threading::Config::default()
        });
        look.apply(&mut encoder);
        let surfaces = match settings.encoder {
            settings::Encoder::X264 => None,
            hardware => {
                encoder.set_gop(GOP_MAX);
                let on_device = hardware == settings::Encoder::Vaapi;
                on_device
                    .then(|| ffi::Surfaces::new(&mut encoder))
                    .transpose()
                    .map_err(refused)?
            }
        };
        let opened = encoder
            .open_as_with(codec, options(settings))
            .map_err(refused)?;
        let extradata = Bytes::copy_from_slice(ffi::extradata(&opened));
        let config = avc::Config::announced_in(&extradata).map_err(|reason| Error::Unfit {
            encoder: name,
            reason,
        })?;
        Ok(Self {
            name,
            opened,
            surfaces,
            config,
            rung: *rung,
            look,
            inside: 0,
        })
    }

    /// What its parameter sets say.
    pub(super) fn config(&self) -> &avc::Config {
        &self.config
    }

    /// Whether this is what would be opened for `rung` and `look`.
    pub(super) fn fits(&self, rung: &Rung, look: Look) -> bool {
        self.rung == *rung && self.look == look
    }

    /// Takes a picture, in the size of the rung and the encoder's [`format()`]; its presentation time is what comes back.
    pub(super) fn send(&mut self, mut picture: Video, key: bool) -> Result<(), Error> {
        // A decoded picture has the type that the source gave it, which is an order to an encoder.
        let kind = if key {
            picture::Type::I
        } else {
            picture::Type::None
        };
        picture.set_kind(kind);
        let failed = |reason| self.failed(reason);
        let picture = match &self.surfaces {
            Some(surfaces) => surfaces.upload(&picture).map_err(failed)?,
            None => picture,
        };
        let size = (picture.width(), picture.height());
        if size != (self.rung.width, self.rung.height) {
            return Err(self.failed(Ffmpeg::Other { errno: EINVAL }));
        }
        self.opened
            .send_frame(&picture)
            .map_err(|reason| self.failed(reason))?;
        self.inside += 1;
        Ok(())
    }

    /// The next picture, if it is ready.
    pub(super) fn receive(&mut self) -> Result<Option<Unit>, Error> {
        let mut packet = Packet::empty();
        match self.opened.receive_packet(&mut packet) {
            Ok(()) => {}
            Err(Ffmpeg::Eof) => return Ok(None),
            again if is_again(&again) => return Ok(None),
            Err(reason) => return Err(self.failed(reason)),
        }
        self.inside = self.inside.saturating_sub(1);
        let data = Bytes::copy_from_slice(packet.data().unwrap_or_default());
        let unit = self.config.unit(&data).map_err(|reason| Error::Unfit {
            encoder: self.name,
            reason,
        })?;
        if let Some(config) = &unit.config {
            self.config = config.clone();
        }
        Ok(Some(Unit {
            pts: packet.pts().unwrap_or_default(),
            sync: unit.sync,
            data: unsigned(unit.data),
            config: unit.config,
        }))
    }

    /// Ticks of the media clock that a frame lasts.
    pub(super) fn frame_ticks(&self) -> u32 {
        cadence::nominal_ticks(self.rung.frame_rate)
    }

    /// Whether it holds pictures back.
    pub(super) fn holds_back(&self) -> bool {
        self.inside > 0
    }

    /// Lets it hand back all; it takes nothing more.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        self.opened.send_eof().map_err(|reason| self.failed(reason))
    }

    fn failed(&self, reason: Ffmpeg) -> Error {
        Error::Failed {
            encoder: self.name,
            reason,
        }
    }
}

/// The format of pictures that the encoder takes: that of x264, or what graphics processors have in common.
pub(super) fn format(settings: &Settings) -> Pixel {
    match settings.encoder {
        settings::Encoder::X264 => Pixel::YUV420P,
        _ => Pixel::NV12,
    }
}

/// Pictures between key frames that nobody asked for, where "never" cannot be said: more than an hour.
const GOP_MAX: u32 = 1_000_000;

/// Without threads, lookahead, scene cuts, B-frames; NAL units behind their lengths; what is asked to be a key frame an IDR.
const X264: &str =
    "annexb=0:scenecut=0:keyint=infinite:open-gop=0:bframes=0:rc-lookahead=0:sync-lookahead=0";

fn options(settings: &Settings) -> Dictionary<'static> {
    let options: &[(&str, &str)] = match settings.encoder {
        settings::Encoder::X264 => &[
            ("preset", settings.preset.name()),
            ("tune", "zerolatency"),
            ("profile", "high"),
            ("forced-idr", "1"),
            ("x264-params", X264),
        ],
        settings::Encoder::Vaapi => &[("profile", "high"), ("async_depth", "1")],
        settings::Encoder::Nvenc => &[
            ("tune", "ll"),
            ("profile", "high"),
            ("rc", "cbr"),
            ("zerolatency", "1"),
            ("delay", "0"),
            ("forced-idr", "1"),
        ],
        settings::Encoder::Qsv => &[
            ("profile", "high"),
            ("async_depth", "1"),
            ("forced_idr", "1"),
        ],
    };
    options.iter().copied().collect()
}

/// Without the SEI in front in which an encoder signs with its settings: 700 bytes for nobody.
fn unsigned(mut data: Bytes) -> Bytes {
    const SEI: u8 = 6;
    const USER_DATA_UNREGISTERED: u8 = 5; // ITU-T H.264, D.1.1
    while let [a, b, c, d, header, kind, ..] = data[..] {
        let end = 4 + u32::from_be_bytes([a, b, c, d]) as usize;
        if header & 0x1f != SEI || kind != USER_DATA_UNREGISTERED || end >= data.len() {
            break;
        }
        data = data.slice(end..);
    }
    data
}
