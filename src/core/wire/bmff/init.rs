//! Initialization segments: the `CMAF header` of ISO/IEC 23000-19, 7.3.1.
//!
//! ```text
//! ftyp  cmfc; iso6 cmfc cmf2 aid3 (av01)     mp4 crate
//! moov
//!   mvhd                                     mp4 crate
//!   trak
//!     tkhd  id 1, displayed size             mp4 crate
//!     mdia
//!       mdhd  the track's clock              mp4 crate
//!       hdlr  vide | soun                    mp4 crate
//!       minf
//!         vmhd | smhd                        mp4 crate
//!         dinf > dref > url  this file       mp4 crate
//!         stbl
//!           stsd
//!             avc1 > avcC (pasp)
//!             hvc1 > hvcC (pasp)
//!             av01 > av1C
//!             mp4a > esds
//!             Opus > dOps
//!           stts stsc stsz stco  all empty   mp4 crate
//!   mvex
//!     trex  zeros: fragments say everything themselves, as cmf2 asks
//! ```
//!
//! There is no edit list: composition offsets are signed (`trun` version 1), which is what `cmf2` stands for. `aid3` says that
//! events may come along (AOM "Carriage of ID3 Timed Metadata in CMAF").

use bytes::{BufMut, Bytes};
use mp4::{FixedPointU8, FixedPointU16, FourCC, FtypBox, MoovBox, WriteBox};

use super::{TRACK_ID, write_box, write_full_box};
use crate::media::{Config, Kind};

const WRITES_TO_MEMORY: &str =
    "memory takes every byte, and these boxes are in their version's range";

/// The initialization segment of one track: `ftyp` + `moov` with a single `trak` of id 1.
pub fn init(config: &Config) -> Bytes {
    let mut out = Vec::with_capacity(1024);
    let mut brands = vec!["iso6", "cmfc", "cmf2", "aid3"];
    if let Config::Av1(_) = config {
        brands.push("av01");
    }
    let ftyp = FtypBox {
        major_brand: four_cc("cmfc"),
        minor_version: 0,
        compatible_brands: brands.into_iter().map(four_cc).collect(),
    };
    ftyp.write_box(&mut out).expect(WRITES_TO_MEMORY);

    let moov = leaves(config);
    write_box(&mut out, b"moov", |out| {
        moov.mvhd.write_box(out).expect(WRITES_TO_MEMORY);
        write_trak(out, config, &moov);
        write_box(out, b"mvex", |out| {
            write_full_box(out, b"trex", 0, 0, |out| {
                out.put_u32(TRACK_ID);
                out.put_u32(1); // default_sample_description_index
                out.put_bytes(0, 12); // duration, size, flags
            });
        });
    });
    out.into()
}

/// The tree as the `mp4` crate knows it, for the leaves that it writes right. Its box types can only be had inside it.
fn leaves(config: &Config) -> MoovBox {
    let mut moov = MoovBox::default();
    moov.mvhd.timescale = config.timescale().hz();
    moov.mvhd.next_track_id = TRACK_ID + 1;
    moov.traks.push(Default::default());
    let trak = &mut moov.traks[0];
    trak.tkhd.flags = 3; // enabled, in movie
    trak.tkhd.track_id = TRACK_ID;
    trak.mdia.mdhd.timescale = config.timescale().hz();
    match config.kind() {
        Kind::Video => {
            let (width, height) = displayed_size(config);
            trak.tkhd.volume = FixedPointU8::new(0);
            trak.tkhd.width = FixedPointU16::new(width);
            trak.tkhd.height = FixedPointU16::new(height);
            trak.mdia.hdlr.handler_type = four_cc("vide");
            trak.mdia.hdlr.name = "video".to_owned();
            let mut vmhd = trak.mdia.minf.vmhd.take().unwrap_or_default();
            vmhd.flags = 1; // by the standard (ISO/IEC 14496-12, 12.1.2)
            trak.mdia.minf.vmhd = Some(vmhd);
        }
        Kind::Audio => {
            trak.mdia.hdlr.handler_type = four_cc("soun");
            trak.mdia.hdlr.name = "audio".to_owned();
            trak.mdia.minf.smhd = Some(Default::default());
        }
    }
    moov
}

fn write_trak(out: &mut Vec<u8>, config: &Config, moov: &MoovBox) {
    let trak = &moov.traks[0];
    let (mdia, minf) = (&trak.mdia, &trak.mdia.minf);
    write_box(out, b"trak", |out| {
        trak.tkhd.write_box(out).expect(WRITES_TO_MEMORY);
        write_box(out, b"mdia", |out| {
            mdia.mdhd.write_box(out).expect(WRITES_TO_MEMORY);
            mdia.hdlr.write_box(out).expect(WRITES_TO_MEMORY);
            write_box(out, b"minf", |out| {
                if let Some(vmhd) = &minf.vmhd {
                    vmhd.write_box(out).expect(WRITES_TO_MEMORY);
                }
                if let Some(smhd) = &minf.smhd {
                    smhd.write_box(out).expect(WRITES_TO_MEMORY);
                }
                minf.dinf.write_box(out).expect(WRITES_TO_MEMORY);
                write_box(out, b"stbl", |out| {
                    write_full_box(out, b"stsd", 0, 0, |out| {
                        out.put_u32(1);
                        write_sample_entry(out, config);
                    });
                    let stbl = &minf.stbl;
                    stbl.stts.write_box(out).expect(WRITES_TO_MEMORY);
                    stbl.stsc.write_box(out).expect(WRITES_TO_MEMORY);
                    stbl.stsz.write_box(out).expect(WRITES_TO_MEMORY);
                    let stco = stbl.stco.clone().unwrap_or_default();
                    stco.write_box(out).expect(WRITES_TO_MEMORY);
                });
            });
        });
    });
}

fn write_sample_entry(out: &mut Vec<u8>, config: &Config) {
    match config {
        Config::Avc(avc) => write_visual(out, config, b"avc1", b"avcC", avc.record()),
        Config::Hevc(hevc) => write_visual(out, config, b"hvc1", b"hvcC", hevc.record()),
        Config::Av1(av1) => write_visual(out, config, b"av01", b"av1C", av1.record()),
        Config::Aac(aac) => write_audio(out, config, b"mp4a", |out| {
            write_esds(out, AUDIO_ISO_14496_3, Some(aac.record()));
        }),
        Config::Mp3(_) => write_audio(out, config, b"mp4a", |out| {
            write_esds(out, AUDIO_ISO_11172_3, None);
        }),
        Config::Opus(opus) => write_audio(out, config, b"Opus", |out| {
            write_box(out, b"dOps", |out| {
                out.extend_from_slice(opus.specific_box())
            });
        }),
    }
}

/// VisualSampleEntry (ISO/IEC 14496-12, 12.1.3).
fn write_visual(
    out: &mut Vec<u8>,
    config: &Config,
    name: &[u8; 4],
    record_name: &[u8; 4],
    record: &[u8],
) {
    let (width, height) = config.resolution().unwrap_or_default();
    write_box(out, name, |out| {
        out.put_bytes(0, 6);
        out.put_u16(1); // data_reference_index
        out.put_bytes(0, 16);
        out.put_u16(width as u16);
        out.put_u16(height as u16);
        out.put_u32(72 << 16); // 72 dpi across
        out.put_u32(72 << 16); // and down
        out.put_u32(0);
        out.put_u16(1); // frame_count
        out.put_bytes(0, 32); // compressorname
        out.put_u16(24); // depth: colour without alpha
        out.put_u16(0xffff);
        write_box(out, record_name, |out| out.extend_from_slice(record));
        let (across, down) = sample_aspect_ratio(config);
        if across != down {
            write_box(out, b"pasp", |out| {
                out.put_u32(across);
                out.put_u32(down);
            });
        }
    });
}

/// AudioSampleEntry (ISO/IEC 14496-12, 12.2.3).
fn write_audio(
    out: &mut Vec<u8>,
    config: &Config,
    name: &[u8; 4],
    specific: impl FnOnce(&mut Vec<u8>),
) {
    write_box(out, name, |out| {
        out.put_bytes(0, 6);
        out.put_u16(1); // data_reference_index
        out.put_bytes(0, 8);
        out.put_u16(config.channels().unwrap_or_default().into());
        out.put_u16(16); // samplesize, whatever the coding
        out.put_u32(0);
        // 16.16: a rate that does not fit is left to the decoder's own configuration.
        out.put_u16(u16::try_from(config.timescale().hz()).unwrap_or(0));
        out.put_u16(0);
        specific(out);
    });
}

// objectTypeIndication (ISO/IEC 14496-1, 7.2.6.6).
const AUDIO_ISO_14496_3: u8 = 0x40;
const AUDIO_ISO_11172_3: u8 = 0x6b;

/// `esds` (ISO/IEC 14496-14, 5.6): the whole AudioSpecificConfig, where there is one, inside its descriptors (ISO/IEC
/// 14496-1, 7.2.6).
fn write_esds(out: &mut Vec<u8>, object_type: u8, record: Option<&Bytes>) {
    const AUDIO_STREAM: u8 = 5 << 2 | 1;
    const PREDEFINED_FOR_MP4: u8 = 2;
    write_full_box(out, b"esds", 0, 0, |out| {
        write_descriptor(out, 3, |out| {
            out.put_u16(0); // ES_ID: the track says it
            out.put_u8(0); // no dependency, no URL, no clock of its own
            write_descriptor(out, 4, |out| {
                out.put_u8(object_type);
                out.put_u8(AUDIO_STREAM);
                out.put_bytes(0, 11); // bufferSizeDB, maxBitrate, avgBitrate: unknown
                if let Some(record) = record {
                    write_descriptor(out, 5, |out| out.extend_from_slice(record));
                }
            });
            write_descriptor(out, 6, |out| out.put_u8(PREDEFINED_FOR_MP4));
        });
    });
}

/// A descriptor: tag, length in base 128 (ISO/IEC 14496-1, 8.3.3), body.
fn write_descriptor(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    body(&mut inner);
    out.put_u8(tag);
    let digits = (inner.len().max(1).ilog2() / 7) as usize;
    for digit in (0..=digits).rev() {
        let more = if digit > 0 { 0x80 } else { 0 };
        out.put_u8((inner.len() >> (7 * digit)) as u8 & 0x7f | more);
    }
    out.extend_from_slice(&inner);
}

fn sample_aspect_ratio(config: &Config) -> (u32, u32) {
    match config {
        Config::Avc(config) => config.sample_aspect_ratio(),
        Config::Hevc(config) => config.sample_aspect_ratio(),
        _ => (1, 1),
    }
}

/// The size on a screen of square pixels: the width stretched by the sample aspect ratio.
fn displayed_size(config: &Config) -> (u16, u16) {
    let (width, height) = config.resolution().unwrap_or_default();
    let (across, down) = sample_aspect_ratio(config);
    let stretched = u64::from(width) * u64::from(across) / u64::from(down);
    (
        u16::try_from(stretched).unwrap_or(u16::MAX),
        u16::try_from(height).unwrap_or(u16::MAX),
    )
}

fn four_cc(name: &str) -> FourCC {
    name.parse().expect("four characters")
}
