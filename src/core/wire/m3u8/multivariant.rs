//! The multivariant playlist (draft-pantos-hls-rfc8216bis, 4.4.6), written by `m3u8-rs`.
//!
//! Names every rendition of an epoch once; the URIs are relative to the stable address of the stream. The same value
//! gives the same bytes. No `EXT-X-VERSION`: nothing in it needs one (section 8). What the numbers are is the
//! engine's to know.

use m3u8_rs::{
    AlternativeMedia, AlternativeMediaType, ClosedCaptionGroupId, InstreamId, MasterPlaylist,
    QuotedOrUnquoted, Resolution, VariantStream,
};

use crate::media::{Hdr, Rendition};

/// `GROUP-ID` of the one group of sound.
const AUDIO_GROUP: &str = "audio";
/// `GROUP-ID` of the one group of captions.
const CAPTIONS_GROUP: &str = "captions";

/// One `EXT-X-STREAM-INF`.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Its playlist.
    pub rendition: Rendition,
    /// `BANDWIDTH`, bits per second, audio included.
    pub bandwidth: u64,
    /// `AVERAGE-BANDWIDTH`, bits per second, audio included; at most `bandwidth`.
    pub average_bandwidth: u64,
    /// RFC 6381 strings, video before audio.
    pub codecs: Vec<String>,
    /// Width and height, for pictures.
    pub resolution: Option<(u32, u32)>,
    /// Frames per second as a fraction, for pictures.
    pub frame_rate: Option<(u32, u32)>,
    /// `VIDEO-RANGE`, for pictures beyond the standard one.
    pub hdr: Option<Hdr>,
}

/// The multivariant playlist of an epoch, ready to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Multivariant {
    /// The epoch: first path segment of every URI.
    pub epoch: u64,
    /// Best first.
    pub variants: Vec<Variant>,
    /// Output channels of the separate audio rendition, when there is one.
    pub audio_channels: Option<u8>,
    /// Whether the pictures bring captions: players look for them only where a playlist says so.
    pub captions: bool,
    /// `EXT-X-INDEPENDENT-SEGMENTS`: every segment begins with a sync sample, and that is kept.
    pub independent_segments: bool,
}

impl Multivariant {
    /// The text.
    pub fn write(&self) -> String {
        let playlist = MasterPlaylist {
            independent_segments: self.independent_segments,
            alternatives: { self.audio_channels.map(|channels| self.audio(channels)) }
                .into_iter()
                .chain(self.captions.then(captions))
                .collect(),
            variants: self
                .variants
                .iter()
                .map(|variant| self.variant(variant))
                .collect(),
            ..MasterPlaylist::default()
        };
        let mut text = Vec::new();
        playlist
            .write_to(&mut text)
            .expect("a Vec takes every write");
        String::from_utf8(text).expect("written from strings")
    }

    fn uri(&self, rendition: Rendition) -> String {
        format!("{}/{rendition}/index.m3u8", self.epoch)
    }

    /// What language is spoken no publisher says, and the authoring rules want one: `und` (RFC 5646, 4.1).
    fn audio(&self, channels: u8) -> AlternativeMedia {
        AlternativeMedia {
            media_type: AlternativeMediaType::Audio,
            uri: Some(self.uri(Rendition::Audio)),
            group_id: AUDIO_GROUP.to_owned(),
            language: Some("und".to_owned()),
            name: "Audio".to_owned(),
            default: true,
            autoselect: true,
            channels: Some(channels.to_string()),
            ..AlternativeMedia::default()
        }
    }

    fn variant(&self, variant: &Variant) -> VariantStream {
        // A variant of sound alone has it in its own playlist.
        let group = { self.audio_channels }.filter(|_| variant.rendition != Rendition::Audio);
        VariantStream {
            uri: self.uri(variant.rendition),
            bandwidth: variant.bandwidth,
            average_bandwidth: Some(variant.average_bandwidth),
            codecs: Some(variant.codecs.join(",")),
            resolution: variant.resolution.map(|(width, height)| Resolution {
                width: width.into(),
                height: height.into(),
            }),
            frame_rate: variant.frame_rate.and_then(rounded),
            audio: group.map(|_| AUDIO_GROUP.to_owned()),
            // "None" is said of all variants or of none.
            closed_captions: match (self.captions, variant.rendition) {
                (false, _) => Some(ClosedCaptionGroupId::None),
                (true, Rendition::Audio) => None,
                (true, _) => Some(ClosedCaptionGroupId::GroupId(CAPTIONS_GROUP.to_owned())),
            },
            other_attributes: variant.hdr.map(|hdr| {
                let range = QuotedOrUnquoted::Unquoted(hdr.name().to_owned());
                [("VIDEO-RANGE".to_owned(), range)].into()
            }),
            ..VariantStream::default()
        }
    }
}

/// The first channel, which broadcasts with captions have.
fn captions() -> AlternativeMedia {
    AlternativeMedia {
        media_type: AlternativeMediaType::ClosedCaptions,
        group_id: CAPTIONS_GROUP.to_owned(),
        language: Some("und".to_owned()),
        name: "Captions".to_owned(),
        autoselect: true,
        instream_id: Some(InstreamId::CC(1)),
        ..AlternativeMedia::default()
    }
}

/// A frame rate to three decimals, as `FRAME-RATE` wants it; `None` for a zero denominator.
fn rounded((frames, seconds): (u32, u32)) -> Option<f64> {
    let (frames, seconds) = (u64::from(frames), u64::from(seconds));
    let millis = (2000 * frames + seconds).checked_div(2 * seconds)?;
    Some(millis as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder() -> Multivariant {
        let rung = |rendition, bandwidth, resolution| Variant {
            rendition,
            bandwidth,
            average_bandwidth: bandwidth * 4 / 5,
            codecs: vec!["avc1.64001F".to_owned(), "mp4a.40.2".to_owned()],
            resolution: Some(resolution),
            frame_rate: Some((30_000, 1001)),
            hdr: None,
        };
        Multivariant {
            epoch: 1_767_268_800,
            variants: vec![
                rung(Rendition::High, 3_000_000, (720, 1280)),
                rung(Rendition::Low, 700_000, (360, 640)),
            ],
            audio_channels: Some(2),
            captions: false,
            independent_segments: true,
        }
    }

    #[test]
    fn r4_r7_a_ladder_with_separate_sound() {
        let want = r#"#EXTM3U
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:TYPE=AUDIO,URI="1767268800/audio/index.m3u8",GROUP-ID="audio",LANGUAGE="und",NAME="Audio",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2"
#EXT-X-STREAM-INF:BANDWIDTH=3000000,AVERAGE-BANDWIDTH=2400000,CODECS="avc1.64001F,mp4a.40.2",RESOLUTION=720x1280,FRAME-RATE=29.97,AUDIO="audio",CLOSED-CAPTIONS=NONE
1767268800/high/index.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=700000,AVERAGE-BANDWIDTH=560000,CODECS="avc1.64001F,mp4a.40.2",RESOLUTION=360x640,FRAME-RATE=29.97,AUDIO="audio",CLOSED-CAPTIONS=NONE
1767268800/low/index.m3u8
"#;
        assert_eq!(ladder().write(), want);
    }

    #[test]
    fn an_audio_only_broadcast_is_its_own_variant() {
        let text = Multivariant {
            epoch: 7,
            variants: vec![Variant {
                rendition: Rendition::Audio,
                bandwidth: 140_000,
                average_bandwidth: 128_000,
                codecs: vec!["mp4a.40.2".to_owned()],
                resolution: None,
                frame_rate: None,
                hdr: None,
            }],
            audio_channels: None,
            captions: false,
            independent_segments: false,
        }
        .write();
        let want = r#"#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=140000,AVERAGE-BANDWIDTH=128000,CODECS="mp4a.40.2",CLOSED-CAPTIONS=NONE
7/audio/index.m3u8
"#;
        assert_eq!(text, want);
    }

    #[test]
    fn captions_are_named_where_there_are_some() {
        let mut playlist = ladder();
        playlist.captions = true;
        let text = playlist.write();
        let media = r#"#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID="captions",LANGUAGE="und",NAME="Captions",AUTOSELECT=YES,INSTREAM-ID="CC1""#;
        assert!(text.lines().any(|line| line == media), "{text}");
        let mut variants = text.lines().filter(|line| line.contains("-STREAM-INF"));
        assert!(
            variants.all(|line| line.contains("CLOSED-CAPTIONS=\"captions\"")),
            "{text}"
        );
    }

    #[test]
    fn a_range_beyond_the_standard_one_is_named() {
        let mut playlist = ladder();
        playlist.variants[0].hdr = Some(Hdr::Hlg);
        let text = playlist.write();
        let lines: Vec<_> = { text.lines() }
            .filter(|it| it.contains("-STREAM-INF"))
            .collect();
        assert!(lines[0].contains(",VIDEO-RANGE=HLG,"), "{}", lines[0]);
        assert!(!lines[1].contains("VIDEO-RANGE"), "{}", lines[1]);
    }

    #[test]
    fn a_variant_of_sound_alone_names_no_group_beside_those_that_do() {
        let mut playlist = ladder();
        let alone = Variant {
            rendition: Rendition::Audio,
            codecs: vec!["mp4a.40.2".to_owned()],
            resolution: None,
            frame_rate: None,
            ..playlist.variants[1].clone()
        };
        playlist.variants.push(alone);
        let text = playlist.write();
        let lines: Vec<_> = text.lines().filter(|line| line.contains("-INF")).collect();
        let groups = lines.iter().map(|line| line.contains("AUDIO=\"audio\""));
        assert_eq!(groups.collect::<Vec<_>>(), [true, true, false]);
    }

    #[test]
    fn the_parser_of_the_field_reads_it_back() {
        let text = ladder().write();
        let read = m3u8_rs::parse_master_playlist_res(text.as_bytes()).expect("it parses");
        assert!(read.independent_segments);
        assert_eq!(read.variants.len(), 2);
        assert_eq!(read.variants[0].frame_rate, Some(29.97));
        assert_eq!(read.alternatives[0].channels.as_deref(), Some("2"));
        assert!(read.unknown_tags.is_empty());
    }

    #[test]
    fn frame_rates_have_three_decimals_at_most() {
        let table = [
            ((24_000, 1001), Some(23.976)),
            ((60_000, 1001), Some(59.94)),
            ((25, 2), Some(12.5)),
            ((30, 1), Some(30.0)),
            ((u32::MAX, 1), Some(4_294_967_295.0)),
            ((30, 0), None),
        ];
        for (fraction, want) in table {
            assert_eq!(rounded(fraction), want, "{fraction:?}");
        }
    }
}
