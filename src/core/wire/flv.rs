//! FLV audio and video bodies, as RTMP messages carry them, to configurations and frames.
//!
//! Legacy bodies (Adobe FLV 10.1, E.4.2 and E.4.3; H.265 as codec 12) and Enhanced RTMP v2 ones. What an encoder says
//! beside the bitstream is not believed: key frames are found in the NAL units, parameter sets in band count, ADTS
//! headers are stripped, and MP3 configures itself. Equal configurations are told once. Times stay the publisher's: unwrapping and smoothing
//! them is the engine's, and so are silence and gaps. After an error the next message is read as if nothing had been.

mod tag;
#[cfg(test)]
mod tests;

use std::mem;

use bytes::Bytes;

use crate::{
    limits,
    media::{self, Config, Kind, aac, av1, avc, hevc, mp3, opus},
};
use tag::{Codec, Content, Packet};

/// What one audio or video message holds, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The track's decoder configuration; repeated equal ones are not reported.
    Config(Config),
    /// One access unit.
    Frame(Frame),
}

/// One access unit as it came off the wire, on the publisher's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The track it belongs to.
    pub kind: Kind,
    /// RTMP message timestamp in milliseconds: decode time modulo 2^32.
    pub timestamp: u32,
    /// Nanoseconds to add to the timestamp (enhanced RTMP ModEx), 0..=999_999.
    pub nanos: u32,
    /// Presentation minus decode time in milliseconds (signed 24 bit on the wire).
    pub composition_ms: i32,
    /// Whether decoding can start here; judged from the bitstream.
    pub sync: bool,
    /// The access unit, fit for `mdat`.
    pub data: Bytes,
}

/// Why a message cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The message contradicts the format, or ([`media::Error::Unsupported`]) holds a codec we do not carry: the
    /// broadcaster is then to be told its name.
    #[error(transparent)]
    Media(#[from] media::Error),
}

/// Reads the audio and video messages of one publisher; holds each track's current configuration.
#[derive(Debug, Default)]
pub struct Demuxer {
    video: Option<Config>,
    audio: Option<Config>,
    /// SEI that came as an access unit of its own, for the next one.
    pending: Bytes,
}

impl Demuxer {
    /// Reads the body of a video message (type 9), appending what it holds to `out`. Frames before their configuration
    /// hold nothing, and so do commands, metadata and ends of sequence.
    ///
    /// # Errors
    /// What is malformed or unsupported; items already appended stand.
    pub fn video(
        &mut self,
        timestamp: u32,
        body: &Bytes,
        out: &mut Vec<Item>,
    ) -> Result<(), Error> {
        let mut packets = Vec::new();
        let parsed = tag::parse_video(body, &mut packets);
        for Packet {
            codec,
            nanos,
            content,
        } in packets
        {
            match content {
                Content::Config(record) => {
                    self.pending = Bytes::new();
                    configure(&mut self.video, parse_config(codec, &record)?, out);
                }
                Content::Frame {
                    composition_ms,
                    data,
                } => {
                    let Some((sync, data)) = self.video_unit(codec, &data, out)? else {
                        continue;
                    };
                    out.push(Item::Frame(Frame {
                        kind: Kind::Video,
                        timestamp,
                        nanos,
                        composition_ms,
                        sync,
                        data,
                    }));
                }
            }
        }
        Ok(parsed?)
    }

    /// Reads the body of an audio message (type 8), appending what it holds to `out`. Frames before their configuration
    /// hold nothing, and so do empty ones.
    ///
    /// # Errors
    /// What is malformed or unsupported; items already appended stand.
    pub fn audio(
        &mut self,
        timestamp: u32,
        body: &Bytes,
        out: &mut Vec<Item>,
    ) -> Result<(), Error> {
        let mut packets = Vec::new();
        let parsed = tag::parse_audio(body, &mut packets);
        for Packet {
            codec,
            nanos,
            content,
        } in packets
        {
            match content {
                // Every frame of it is its own configuration.
                Content::Config(_) if codec == Codec::Mp3 => {}
                Content::Config(record) => {
                    configure(&mut self.audio, parse_config(codec, &record)?, out);
                }
                Content::Frame { data, .. } => {
                    let Some(data) = self.audio_unit(codec, data, out)? else {
                        continue;
                    };
                    out.push(Item::Frame(Frame {
                        kind: Kind::Audio,
                        timestamp,
                        nanos,
                        composition_ms: 0,
                        sync: true,
                        data,
                    }));
                }
            }
        }
        Ok(parsed?)
    }

    /// The access unit in `data` with whether it is a sync sample; `None` when there is no picture to show for it.
    fn video_unit(
        &mut self,
        codec: Codec,
        data: &Bytes,
        out: &mut Vec<Item>,
    ) -> Result<Option<(bool, Bytes)>, Error> {
        let pending = mem::take(&mut self.pending);
        let unit = match (codec, &self.video) {
            (Codec::Avc, Some(Config::Avc(config))) => config.unit(data)?.map_config(Config::Avc),
            (Codec::Hevc, Some(Config::Hevc(config))) => {
                config.unit(data)?.map_config(Config::Hevc)
            }
            (Codec::Av1, Some(Config::Av1(config))) => config.unit(data)?.map_config(Config::Av1),
            _ => return Ok(None),
        };
        if let Some(config) = unit.config {
            configure(&mut self.video, config, out);
        }
        let data = match pending.is_empty() {
            true => unit.data,
            false => [pending, unit.data].concat().into(),
        };
        if unit.picture {
            return Ok(Some((unit.sync, data)));
        }
        if data.len() <= limits::MAX_PENDING_SEI_BYTES {
            self.pending = data;
        }
        Ok(None)
    }

    fn audio_unit(
        &mut self,
        codec: Codec,
        mut data: Bytes,
        out: &mut Vec<Item>,
    ) -> Result<Option<Bytes>, Error> {
        if codec == Codec::Aac
            && let Some(adts) = aac::Adts::detect(&data)
        {
            if self.audio.is_none() {
                configure(&mut self.audio, parse_config(codec, &adts.config)?, out);
            }
            data = data.slice(adts.header_bytes..);
        }
        if codec == Codec::Mp3
            && let Some(config) = mp3::Config::detect(&data)
        {
            configure(&mut self.audio, Config::Mp3(config), out);
        }
        Ok(match (codec, &self.audio) {
            (Codec::Aac, Some(Config::Aac(_)))
            | (Codec::Mp3, Some(Config::Mp3(_)))
            | (Codec::Opus, Some(Config::Opus(_))) => Some(data),
            _ => None,
        })
    }
}

fn parse_config(codec: Codec, record: &Bytes) -> Result<Config, media::Error> {
    Ok(match codec {
        Codec::Aac => Config::Aac(aac::Config::parse(record)?),
        Codec::Av1 => Config::Av1(av1::Config::parse(record)?),
        Codec::Avc => Config::Avc(avc::Config::parse(record)?),
        Codec::Hevc => Config::Hevc(hevc::Config::parse(record)?),
        Codec::Mp3 => Config::Mp3(mp3::Config::parse(record)?),
        Codec::Opus => Config::Opus(opus::Config::parse(record)?),
    })
}

fn configure(current: &mut Option<Config>, config: Config, out: &mut Vec<Item>) {
    if current.as_ref() != Some(&config) {
        *current = Some(config.clone());
        out.push(Item::Config(config));
    }
}
