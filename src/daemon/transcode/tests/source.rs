//! Broadcasts for the tests: pictures whose brightness tells their number, encoded by FFmpeg's own encoders.

use bytes::{BufMut, Bytes, BytesMut};
use ffmpeg_next::{
    Dictionary, Packet, codec, encoder, format::Pixel, frame::Video, picture, threading,
};
use vitrine_core::media::{Config, Sample, av1, avc, hevc};

use super::super::{cadence::SECOND, ffi};

/// A broadcast that is to be.
#[derive(Clone)]
pub(super) struct Shape {
    pub(super) codec: &'static str,
    pub(super) size: (u32, u32),
    pub(super) rate: (u32, u32),
    pub(super) frames: usize,
    /// Frames from one key frame to the next.
    pub(super) gop: usize,
    pub(super) b_frames: usize,
    pub(super) format: Pixel,
    pub(super) sample_aspect_ratio: (i32, i32),
    pub(super) bt2020: bool,
    /// Number of the first frame.
    pub(super) first: usize,
    /// Bytes of captions on each frame.
    pub(super) captions: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            codec: "libx264",
            size: (320, 180),
            rate: (30, 1),
            frames: 90,
            gop: 30,
            b_frames: 0,
            format: Pixel::YUV420P,
            sample_aspect_ratio: (0, 1),
            bt2020: false,
            first: 0,
            captions: false,
        }
    }
}

/// A broadcast that is made.
pub(super) struct Clip {
    pub(super) config: Config,
    pub(super) samples: Vec<Sample>,
}

impl Shape {
    /// When frame `number` is shown.
    pub(super) fn pts(&self, number: usize) -> i64 {
        let (num, den) = self.rate;
        number as i64 * SECOND * i64::from(den) / i64::from(num)
    }

    /// Of every frame, in order.
    pub(super) fn all_pts(&self) -> Vec<i64> {
        let numbers = self.first..self.first + self.frames;
        numbers.map(|number| self.pts(number)).collect()
    }

    pub(super) fn clip(&self) -> Clip {
        super::super::prepare();
        let codec = encoder::find_by_name(self.codec).expect("Debian's FFmpeg has it");
        let context = codec::Context::new_with_codec(codec).encoder();
        let mut encoder = context.video().expect("video");
        encoder.set_width(self.size.0);
        encoder.set_height(self.size.1);
        encoder.set_format(self.format);
        encoder.set_time_base((1, SECOND as i32));
        encoder.set_frame_rate(Some((self.rate.0 as i32, self.rate.1 as i32)));
        encoder.set_max_b_frames(self.b_frames);
        encoder.set_gop(self.gop as u32);
        encoder.set_bit_rate(1_000_000);
        encoder.set_flags(codec::Flags::GLOBAL_HEADER);
        encoder.set_threading(threading::Config::count(1));
        let first = self.picture(self.first);
        ffi::Look::of(&first).apply(&mut encoder);
        encoder.set_aspect_ratio(self.sample_aspect_ratio);
        let options: Dictionary<'_> = match self.codec {
            "libx264" => [
                ("preset", "ultrafast"),
                ("x264-params", "annexb=0:scenecut=0:open-gop=0:force-cfr=1"),
            ]
            .into_iter()
            .collect(),
            "libx265" => [
                ("preset", "ultrafast"),
                (
                    "x265-params",
                    "log-level=none:pools=none:frame-threads=1:open-gop=0",
                ),
            ]
            .into_iter()
            .collect(),
            _ => [("cpu-used", "8"), ("usage", "realtime")]
                .into_iter()
                .collect(),
        };
        let mut opened = encoder.open_as_with(codec, options).expect("opens");
        let extradata = Bytes::copy_from_slice(ffi::extradata(&opened));
        let mut packets = Vec::new();
        let mut receive = |opened: &mut encoder::video::Encoder| {
            let mut packet = Packet::empty();
            while opened.receive_packet(&mut packet).is_ok() {
                packets.push(packet.clone());
            }
        };
        for number in self.first..self.first + self.frames {
            let mut picture = self.picture(number);
            if (number - self.first).is_multiple_of(self.gop) {
                picture.set_kind(picture::Type::I);
            }
            opened.send_frame(&picture).expect("taken");
            receive(&mut opened);
        }
        opened.send_eof().expect("taken");
        receive(&mut opened);
        assert_eq!(packets.len(), self.frames);
        let config = self.config(&extradata, packets[0].data().expect("full"));
        let samples = packets.iter().map(|packet| self.sample(&config, packet));
        let samples = samples.collect();
        Clip { config, samples }
    }

    fn sample(&self, config: &Config, packet: &Packet) -> Sample {
        let (pts, dts) = (packet.pts().expect("timed"), packet.dts().expect("timed"));
        let data = Bytes::copy_from_slice(packet.data().expect("full"));
        let data = match config {
            Config::Avc(config) => config.unit(&data).expect("well-formed").data,
            Config::Hevc(config) => config.unit(&data).expect("well-formed").data,
            Config::Av1(config) => config.unit(&data).expect("well-formed").data,
            _ => unreachable!("a video encoder"),
        };
        Sample {
            dts,
            composition_offset: (pts - dts) as i32,
            duration: super::super::cadence::nominal_ticks(self.rate),
            sync: packet.is_key(),
            data,
        }
    }

    /// Of what is said out of band, or for AV1 in the first access unit.
    fn config(&self, extradata: &Bytes, first: &[u8]) -> Config {
        match self.codec {
            "libx264" => Config::Avc(avc::Config::announced_in(extradata).expect("SPS and PPS")),
            "libx265" => {
                Config::Hevc(hevc::Config::parse(&hvcc(extradata)).expect("VPS, SPS and PPS"))
            }
            _ => {
                // A temporal delimiter, then the sequence header.
                let [0x12, 0, 0x0a, length, ..] = first[..] else {
                    panic!("other OBUs: {first:02x?}");
                };
                let record = [&[0x81, 0, 0, 0], &first[2..4 + usize::from(length)]].concat();
                Config::Av1(av1::Config::parse(&record.into()).expect("a sequence header"))
            }
        }
    }

    fn picture(&self, number: usize) -> Video {
        let mut grey = ffi::grey(Pixel::YUV420P, self.size.0, self.size.1);
        let lines = grey.plane_height(0) as usize;
        let stride = grey.stride(0);
        for line in 0..lines {
            let row = &mut grey.data_mut(0)[line * stride..(line + 1) * stride];
            // The upper quarter moves, so that there is something to encode.
            for (column, sample) in row.iter_mut().enumerate() {
                *sample = if line < lines / 4 {
                    (column * 3 + line * 5 + number * 7) as u8 | 16
                } else {
                    brightness(number)
                };
            }
        }
        let mut picture = if self.format == Pixel::YUV420P {
            grey
        } else {
            convert(&grey, self.format)
        };
        picture.set_pts(Some(self.pts(number)));
        if self.bt2020 {
            picture.set_color_primaries(ffmpeg_next::color::Primaries::BT2020);
            picture.set_color_space(ffmpeg_next::color::Space::BT2020NCL);
            picture.set_color_transfer_characteristic(
                ffmpeg_next::color::TransferCharacteristic::ARIB_STD_B67,
            );
            picture.set_color_range(ffmpeg_next::color::Range::MPEG);
        }
        if self.captions {
            ffi::set_captions(&mut picture, &captions(number));
        }
        picture
    }
}

/// The captions on a frame: two pairs, of which one says something.
pub(super) fn captions(number: usize) -> [u8; 6] {
    [0xfc, number as u8, 1, 0xf8, 0, 0]
}

/// What the lower part of frame `number` is painted with.
pub(super) fn brightness(number: usize) -> u8 {
    40 + (number * 8 % 160) as u8
}

/// What the lower part of `picture` is painted with.
pub(super) fn brightness_of(picture: &Video) -> u8 {
    let (lines, columns) = (picture.height() as usize, picture.width() as usize);
    picture.data(0)[picture.stride(0) * (lines * 3 / 4) + columns / 2]
}

fn convert(grey: &Video, format: Pixel) -> Video {
    use ffmpeg_next::software::scaling;
    let (width, height) = (grey.width(), grey.height());
    let mut converted = Video::empty();
    let mut scaler = scaling::Context::get(
        grey.format(),
        width,
        height,
        format,
        width,
        height,
        scaling::Flags::BICUBIC,
    )
    .expect("known formats");
    scaler.run(grey, &mut converted).expect("converted");
    converted
}

/// HEVCDecoderConfigurationRecord of the parameter sets in `units`, which stand behind start codes.
fn hvcc(units: &Bytes) -> Bytes {
    let mut record = BytesMut::zeroed(23);
    (record[0], record[21]) = (1, 3);
    let starts: Vec<usize> = (3..units.len())
        .filter(|at| units[at - 3..*at] == [0, 0, 1])
        .collect();
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).map_or(units.len(), |next| next - 3);
        let zeros = units[..end].iter().rev().take_while(|it| **it == 0);
        let unit = &units[*start..end - zeros.count()];
        let kind = unit[0] >> 1 & 0x3f;
        if (32..=34).contains(&kind) {
            record[22] += 1;
            record.put_u8(kind);
            record.put_u16(1);
            record.put_u16(unit.len() as u16);
            record.extend_from_slice(unit);
        }
    }
    record.freeze()
}
