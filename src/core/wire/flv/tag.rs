//! The framing of audio and video message bodies: which codec, which packet of it, which track.
//!
//! Legacy headers are those of Adobe FLV 10.1 (E.4.2, E.4.3) with the codec id 12 that Chinese encoders use for H.265;
//! extended ones are those of Enhanced RTMP v2 (ExVideoTagHeader, ExAudioTagHeader). Both end up as [`Packet`]s of the
//! main track: track 0. Other tracks are stepped over, whatever their codec. Payloads are not looked into.

use bytes::{Buf, Bytes};

use crate::media::{Error, Kind};

/// A codec that we carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Aac,
    Av1,
    Avc,
    Hevc,
    Mp3,
    Opus,
}

/// One packet of the main track.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) codec: Codec,
    /// Nanoseconds to add to the message's timestamp.
    pub(super) nanos: u32,
    pub(super) content: Content,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The decoder configuration, in the codec's own format.
    Config(Bytes),
    /// One access unit.
    Frame { composition_ms: i32, data: Bytes },
}

// FrameType.
const COMMAND: u8 = 5;

// VideoPacketType and AudioPacketType, which agree where both have a member.
const START: u8 = 0;
const CODED: u8 = 1;
const CODED_WITHOUT_OFFSET: u8 = 3;
const METADATA: u8 = 4;
const MPEG2_TS_START: u8 = 5;
const VIDEO_MULTITRACK: u8 = 6;
const AUDIO_MULTITRACK: u8 = 5;
const MOD_EX: u8 = 7;

/// SoundFormat that marks the extended audio header.
const EXTENDED_AUDIO: u8 = 9;
/// Largest nanosecond offset: a millisecond is the timestamp's own business.
const MAX_NANOS: u64 = 999_999;

/// Appends the packets of a video message to `packets`.
///
/// # Errors
/// What is malformed, or unsupported by name; packets already appended stand.
pub(super) fn parse_video(body: &Bytes, packets: &mut Vec<Packet>) -> Result<(), Error> {
    let mut body = body.clone();
    let Ok(first) = body.try_get_u8() else {
        return Ok(());
    };
    let frame_type = first >> 4 & 7;
    if first & 0x80 != 0 {
        let message = Extended::new(Kind::Video, body, first & 0xf)?;
        if frame_type == COMMAND && message.packet_type != METADATA {
            return Ok(());
        }
        return message.parse(packets);
    }
    let codec = match first & 0xf {
        0 => return Ok(()),
        _ if frame_type == COMMAND => return Ok(()),
        7 => Codec::Avc,
        12 => Codec::Hevc,
        id => return unsupported(legacy_video_name(id)),
    };
    let packet_type = read(Kind::Video, &mut body, 1)? as u8;
    let composition_ms = composition_time(&mut body)?;
    packets.extend(packet(codec, 0, packet_type, composition_ms, body));
    Ok(())
}

/// Appends the packets of an audio message to `packets`.
///
/// # Errors
/// What is malformed, or unsupported by name; packets already appended stand.
pub(super) fn parse_audio(body: &Bytes, packets: &mut Vec<Packet>) -> Result<(), Error> {
    let mut body = body.clone();
    let Ok(first) = body.try_get_u8() else {
        return Ok(());
    };
    match first >> 4 {
        EXTENDED_AUDIO => Extended::new(Kind::Audio, body, first & 0xf)?.parse(packets),
        10 => {
            // A header alone is how some encoders say silence.
            if let Ok(packet_type) = body.try_get_u8() {
                packets.extend(packet(Codec::Aac, 0, packet_type, 0, body));
            }
            Ok(())
        }
        // MP3, and MP3 at 8 kHz: frames follow at once.
        2 | 14 => {
            packets.extend(packet(Codec::Mp3, 0, CODED, 0, body));
            Ok(())
        }
        format => unsupported(legacy_audio_name(format)),
    }
}

/// An extended message behind its first byte and its modifiers.
struct Extended {
    kind: Kind,
    body: Bytes,
    packet_type: u8,
    nanos: u32,
}

impl Extended {
    /// Reads the ModEx loop: each round costs at least three bytes, so the message bounds it.
    fn new(kind: Kind, body: Bytes, packet_type: u8) -> Result<Self, Error> {
        const TIMESTAMP_OFFSET_NANO: u8 = 0;
        let mut this = Self {
            kind,
            body,
            packet_type,
            nanos: 0,
        };
        while this.packet_type == MOD_EX {
            let mut size = this.read(1)? + 1;
            if size == 256 {
                size = this.read(2)? + 1;
            }
            let mut data = this.take(size)?;
            let types = this.read(1)? as u8;
            if types >> 4 == TIMESTAMP_OFFSET_NANO {
                let nanos = read(kind, &mut data, 3)?;
                if nanos > MAX_NANOS {
                    return Err(this.malformed("a nanosecond offset of at most 999999", nanos));
                }
                this.nanos = nanos as u32;
            }
            this.packet_type = types & 0xf;
        }
        Ok(this)
    }

    fn parse(mut self, packets: &mut Vec<Packet>) -> Result<(), Error> {
        if self.packet_type == self.multitrack() {
            return self.parse_tracks(packets);
        }
        let four_cc = self.four_cc()?;
        packets.extend(self.packet(four_cc, self.body.clone())?);
        Ok(())
    }

    /// The tracks of a multitrack message, to its end.
    fn parse_tracks(mut self, packets: &mut Vec<Packet>) -> Result<(), Error> {
        const ONE_TRACK: u8 = 0;
        const MANY_TRACKS_MANY_CODECS: u8 = 2;
        let types = self.read(1)? as u8;
        let form = types >> 4;
        self.packet_type = types & 0xf;
        if form > MANY_TRACKS_MANY_CODECS {
            return Err(self.malformed("a multitrack type of at most 2", form.into()));
        }
        if self.packet_type == self.multitrack() || self.packet_type == MOD_EX {
            return Err(self.malformed("a plain packet inside multitrack", self.packet_type.into()));
        }
        let shared = match form {
            MANY_TRACKS_MANY_CODECS => None,
            _ => Some(self.four_cc()?),
        };
        loop {
            let four_cc = match shared {
                Some(four_cc) => four_cc,
                None => self.four_cc()?,
            };
            let track = self.read(1)?;
            let size = match form {
                ONE_TRACK => self.body.len() as u64,
                _ => self.read(3)?,
            };
            let payload = self.take(size)?;
            if track == 0 {
                packets.extend(self.packet(four_cc, payload)?);
            }
            if self.body.is_empty() {
                return Ok(());
            }
        }
    }

    fn packet(&self, four_cc: [u8; 4], payload: Bytes) -> Result<Option<Packet>, Error> {
        match self.kind {
            Kind::Video => self.video_packet(four_cc, payload),
            Kind::Audio => self.audio_packet(four_cc, payload),
        }
    }

    fn video_packet(&self, four_cc: [u8; 4], mut payload: Bytes) -> Result<Option<Packet>, Error> {
        if self.packet_type == METADATA {
            return Ok(None);
        }
        let codec = match &four_cc {
            b"av01" => Codec::Av1,
            b"avc1" => Codec::Avc,
            b"hvc1" => Codec::Hevc,
            b"hev1" => return unsupported("hev1 video (hvc1 is supported)"),
            b"vp08" => return unsupported("VP8 video"),
            b"vp09" => return unsupported("VP9 video"),
            b"vvc1" | b"vvi1" => return unsupported("VVC video"),
            _ => return unsupported("video codec"),
        };
        let (packet_type, composition_ms) = match self.packet_type {
            MPEG2_TS_START => return unsupported("MPEG-2 TS sequence start"),
            // Only codecs that reorder frames have the field (ExVideoTagBody).
            CODED if codec != Codec::Av1 => (CODED, composition_time(&mut payload)?),
            CODED_WITHOUT_OFFSET => (CODED, 0),
            other => (other, 0),
        };
        Ok(packet(
            codec,
            self.nanos,
            packet_type,
            composition_ms,
            payload,
        ))
    }

    fn audio_packet(&self, four_cc: [u8; 4], payload: Bytes) -> Result<Option<Packet>, Error> {
        let codec = match &four_cc {
            b"mp4a" => Codec::Aac,
            b"Opus" => Codec::Opus,
            b".mp3" => Codec::Mp3,
            b"ac-3" => return unsupported("AC-3 audio"),
            b"ec-3" => return unsupported("E-AC-3 audio"),
            b"fLaC" => return unsupported("FLAC audio"),
            _ => return unsupported("audio codec"),
        };
        Ok(packet(codec, self.nanos, self.packet_type, 0, payload))
    }

    /// The packet type that means multitrack.
    fn multitrack(&self) -> u8 {
        match self.kind {
            Kind::Video => VIDEO_MULTITRACK,
            Kind::Audio => AUDIO_MULTITRACK,
        }
    }

    fn four_cc(&mut self) -> Result<[u8; 4], Error> {
        Ok((self.read(4)? as u32).to_be_bytes())
    }

    fn read(&mut self, bytes: usize) -> Result<u64, Error> {
        read(self.kind, &mut self.body, bytes)
    }

    fn take(&mut self, bytes: u64) -> Result<Bytes, Error> {
        match usize::try_from(bytes) {
            Ok(bytes) if bytes <= self.body.len() => Ok(self.body.split_to(bytes)),
            _ => Err(Error::Truncated {
                what: message(self.kind),
            }),
        }
    }

    fn malformed(&self, want: &'static str, got: u64) -> Error {
        Error::Malformed {
            what: message(self.kind),
            want,
            got,
        }
    }
}

/// A packet when it holds something: ends of sequence, empty frames and types yet unknown hold nothing.
fn packet(
    codec: Codec,
    nanos: u32,
    packet_type: u8,
    composition_ms: i32,
    payload: Bytes,
) -> Option<Packet> {
    let content = match packet_type {
        START => Content::Config(payload),
        CODED if !payload.is_empty() => Content::Frame {
            composition_ms,
            data: payload,
        },
        _ => return None,
    };
    Some(Packet {
        codec,
        nanos,
        content,
    })
}

fn read(kind: Kind, body: &mut Bytes, bytes: usize) -> Result<u64, Error> {
    body.try_get_uint(bytes).map_err(|_| Error::Truncated {
        what: message(kind),
    })
}

fn message(kind: Kind) -> &'static str {
    match kind {
        Kind::Video => "video message",
        Kind::Audio => "audio message",
    }
}

/// SI24: presentation minus decode time in milliseconds.
fn composition_time(body: &mut Bytes) -> Result<i32, Error> {
    let unsigned = read(Kind::Video, body, 3)? as i32;
    Ok(unsigned << 8 >> 8)
}

fn unsupported<T>(what: &'static str) -> Result<T, Error> {
    Err(Error::Unsupported { what })
}

fn legacy_video_name(codec_id: u8) -> &'static str {
    match codec_id {
        1 => "JPEG video",
        2 => "Sorenson H.263 video",
        3 | 6 => "screen video",
        4 | 5 => "VP6 video",
        8 => "H.263 video",
        9 => "MPEG-4 Part 2 video",
        13 => "AV1 video as codec 13 (enhanced RTMP is supported)",
        _ => "video codec",
    }
}

fn legacy_audio_name(sound_format: u8) -> &'static str {
    match sound_format {
        0 | 3 => "PCM audio",
        1 => "ADPCM audio",
        4..=6 => "Nellymoser audio",
        7 | 8 => "G.711 audio",
        11 => "Speex audio",
        13 => "Opus audio as format 13 (enhanced RTMP is supported)",
        _ => "audio codec",
    }
}
