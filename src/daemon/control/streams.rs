//! A stream as the control API tells it. Additive changes only: programs read this.
//!
//! Absent is left out, never null. Times are RFC 3339; everything else carries its unit in its name.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State as Shared},
};
use serde::Serialize;
use utoipa::ToSchema;
use vitrine_core::{
    engine::stream::{Notice as Told, Source, Stopgap},
    limits,
    media::{Config, Hdr, Kind, Rendition},
};

use super::{Control, error::Error, operations::TermsReport};
use crate::live::{
    Live,
    published::Rendered,
    status::{State, Status, Untranscoded},
};

/// Every stream.
#[derive(Serialize, ToSchema)]
pub(super) struct Streams {
    /// By name; ended ones that are still fetchable too.
    streams: Vec<Stream>,
}

/// Lists the streams
#[utoipa::path(
    get, path = "/v1/streams", tag = "streams", operation_id = "streams",
    responses((status = 200, description = "Every stream", body = Streams))
)]
pub(super) async fn list(Shared(control): Shared<Control>) -> Json<Streams> {
    let now = control.registry.clock().now().mono;
    let streams = control.registry.streams();
    Json(Streams {
        streams: streams.iter().map(|live| Stream::of(live, now)).collect(),
    })
}

/// Tells all about one stream
#[utoipa::path(
    get, path = "/v1/streams/{id}", tag = "streams", operation_id = "stream",
    params(("id" = String, Path, description = "Id of the stream", example = "shop42")),
    responses(
        (status = 200, description = "The stream", body = Stream),
        (status = 404, description = "No such stream"),
    )
)]
pub(super) async fn one(
    Shared(control): Shared<Control>,
    Path(id): Path<String>,
) -> Result<Json<Stream>, Error> {
    let now = control.registry.clock().now().mono;
    Ok(Json(Stream::of(&control.stream(&id)?, now)))
}

/// A live stream.
#[derive(Serialize, ToSchema)]
pub(super) struct Stream {
    /// Its public name.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$", examples("shop42"))]
    id: String,
    /// `connecting`, `live`, `grace` or `ended`.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<Session>,
    tracks: Vec<Track>,
    /// What playlists grow with while nothing arrives: `slate`, the last picture and silence, or `gaps`; else absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopgap: Option<&'static str>,
    /// Whether renditions are encoded: `on`, `off` or `full`; absent before the first publish.
    #[serde(skip_serializing_if = "Option::is_none")]
    transcoding: Option<&'static str>,
    /// Why none are, in words for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    transcoding_detail: Option<String>,
    /// Oldest epoch first.
    renditions: Vec<RenditionReport>,
    rates: Rates,
    latency: Latency,
    queues: Queues,
    /// Events of the shop that were placed, since the stream began.
    events_placed: u64,
    /// Of playlists and media, since the stream began.
    requests: u64,
    /// Requests that wait right now.
    waiters: usize,
    /// Oldest first; only the latest are kept.
    notices: Vec<Notice>,
}

/// The publish that is listened to.
#[derive(Serialize, ToSchema)]
struct Session {
    /// `ses_` and a ULID.
    id: String,
    /// The publisher's address.
    #[schema(examples("203.0.113.7:50312"))]
    peer: String,
    /// `rtmp` or `rtmps`.
    protocol: &'static str,
    /// The encoder as it calls itself.
    encoder: String,
    /// When it was accepted.
    #[schema(format = DateTime)]
    since: String,
    /// What it may do, by its verdict or by what was changed since.
    terms: TermsReport,
}

/// What the publisher sends of one kind.
#[derive(Serialize, ToSchema)]
struct Track {
    /// `video` or `audio`.
    kind: &'static str,
    /// RFC 6381.
    codecs: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frames_per_second: Option<f64>,
    /// `PQ` or `HLG`; absent of standard dynamic range and where the bitstream does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    hdr: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sample_rate_hz: Option<u32>,
}

/// One media playlist's worth of media.
#[derive(Serialize, ToSchema)]
struct RenditionReport {
    /// The run of the stream, Unix seconds of its beginning unless named.
    epoch: u64,
    /// `high`, `mid`, `low` or `audio`.
    name: &'static str,
    /// `passthrough`: as the publisher sent it, or `encoded`; this and `state` of the newest epoch only.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'static str>,
    /// Why the source, or its sound, is not passed through, in words for the broadcaster.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_detail: Option<String>,
    /// `ok`, or `lost`: its encoder failed, and it goes on with gaps.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    /// Why it is lost, in words for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    state_detail: Option<String>,
    /// How its colours differ from the source's, in words for the broadcaster.
    #[serde(skip_serializing_if = "Option::is_none")]
    colours_detail: Option<String>,
    /// RFC 6381, as declared in the multivariant playlist, sound beside pictures included.
    #[serde(skip_serializing_if = "Option::is_none")]
    codecs: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frames_per_second: Option<f64>,
    /// The newest segment, complete or not; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    msn: Option<u64>,
    /// Parts published so far.
    parts: u64,
    /// Media that can be fetched.
    bytes_retained: usize,
    /// Bits per second as declared in the multivariant playlist, sound included; absent where it declares none.
    #[serde(skip_serializing_if = "Option::is_none")]
    bandwidth: Option<u64>,
    /// The same of AVERAGE-BANDWIDTH.
    #[serde(skip_serializing_if = "Option::is_none")]
    average_bandwidth: Option<u64>,
    /// Whether nothing more is coming.
    ended: bool,
}

/// How much comes in.
#[derive(Serialize, ToSchema)]
struct Rates {
    /// Media received, mean of the last five whole seconds.
    in_kbps: u64,
    /// Media received since the stream began.
    in_bytes: u64,
}

/// Receipt of a part's last frame to its publication, over the latest parts.
#[derive(Serialize, ToSchema)]
struct Latency {
    #[serde(skip_serializing_if = "Option::is_none")]
    part_publish_p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    part_publish_p95_ms: Option<f64>,
}

/// What waits.
#[derive(Serialize, ToSchema)]
struct Queues {
    /// Messages that wait for the stream's task.
    inbox_messages: usize,
    /// Room for them; when it is full, the publisher's socket is not read.
    inbox_messages_max: usize,
}

/// Something that somebody should read.
#[derive(Serialize, ToSchema)]
struct Notice {
    #[schema(format = DateTime)]
    at: String,
    /// In words for people.
    text: String,
}

impl Stream {
    /// The stream at `now` (monotonic).
    pub(super) fn of(live: &Live, now: Duration) -> Self {
        let status = live.status();
        let ms = |percent| {
            status
                .latency
                .percentile(percent)
                .map(|at| at.as_secs_f64() * 1000.0)
        };
        Self {
            id: live.id().to_string(),
            state: status.state.name(),
            session: status.session.as_ref().map(|session| Session {
                id: session.id.to_string(),
                peer: session.peer.to_string(),
                protocol: session.protocol,
                encoder: session.encoder.clone(),
                since: session.since.to_string(),
                terms: TermsReport::from(&*session.terms.borrow()),
            }),
            tracks: (status.tracks.values())
                .map(|config| Track::of(config, &status))
                .collect(),
            stopgap: { status.stopgap }
                .filter(|_| matches!(status.state, State::Live | State::Grace))
                .map(|stopgap| match stopgap {
                    Stopgap::Slate => "slate",
                    Stopgap::Gaps => "gaps",
                }),
            transcoding: status.transcoding.map(|transcoding| match transcoding {
                Ok(()) => "on",
                Err(Untranscoded::Full) => "full",
                Err(_) => "off",
            }),
            transcoding_detail: transcoding_detail(&status),
            renditions: (live.renditions().iter())
                .map(|(epoch, name, version)| RenditionReport::of(*epoch, *name, version, &status))
                .collect(),
            rates: Rates {
                in_kbps: status.input.kbps(now),
                in_bytes: status.input.total(),
            },
            latency: Latency {
                part_publish_p50_ms: ms(50),
                part_publish_p95_ms: ms(95),
            },
            queues: Queues {
                inbox_messages: live.inbox_depth(),
                inbox_messages_max: limits::INBOX_MESSAGES_MAX,
            },
            events_placed: status.events_placed,
            requests: live.requests(),
            waiters: live.waiters(),
            notices: (status.notices.iter())
                .map(|(at, text)| Notice {
                    at: at.to_string(),
                    text: text.clone(),
                })
                .collect(),
        }
    }
}

impl Track {
    fn of(config: &Config, status: &Status) -> Self {
        let video = config.kind() == Kind::Video;
        let (width, height) = config.resolution().unzip();
        let probed = (status.presentation.as_ref()).and_then(|presentation| {
            presentation
                .variants
                .iter()
                .find_map(|variant| variant.frame_rate)
        });
        let frame_rate = config.frame_rate().or(probed).filter(|_| video);
        Self {
            kind: if video { "video" } else { "audio" },
            codecs: config.codecs(),
            width,
            height,
            frames_per_second: frame_rate.map(per_second),
            hdr: config.hdr().map(Hdr::name),
            channels: config.channels(),
            sample_rate_hz: (!video).then(|| config.timescale().hz()),
        }
    }
}

impl RenditionReport {
    fn of(epoch: u64, name: Rendition, version: &Rendered, status: &Status) -> Self {
        let snapshot = version.snapshot();
        let presentation = { status.presentation.as_deref() }.filter(|it| it.epoch == epoch);
        let variants = presentation.map_or(&[][..], |it| &it.variants);
        let variant = variants.iter().find(|variant| variant.rendition == name);
        let (width, height) = variant.and_then(|variant| variant.resolution).unzip();
        let sources = status.sources.as_ref().filter(|(of, _)| *of == epoch);
        let source = sources.and_then(|(_, sources)| sources.get(&name).copied());
        let sound = { status.sound.as_ref() }.filter(|_| name == Rendition::Audio);
        let (encoded, because, lost) = match (source, sound) {
            (Some(_), Some((target, lost))) => (
                true,
                Some(target.to_string()),
                lost.then(|| SILENT.to_owned()),
            ),
            (Some(Source::Encoded { because, lost }), None) => (
                true,
                because.map(|because| because.to_string()),
                lost.map(|lost| lost.to_string()),
            ),
            (Some(Source::Passthrough) | None, _) => (false, None, None),
        };
        let pictures = encoded && name != Rendition::Audio;
        let sent = { status.tracks.get(&Kind::Video) }.filter(|_| pictures);
        let hdr = sent.and_then(Config::hdr);
        // Sound beside pictures is no variant: it is what each of them names last.
        let sound = { variants.first() }
            .filter(|_| name == Rendition::Audio)
            .and_then(|variant| variant.codecs.last().cloned());
        Self {
            epoch,
            name: name.name(),
            source: source.map(|_| if encoded { "encoded" } else { "passthrough" }),
            source_detail: because,
            state: source.map(|_| if lost.is_some() { "lost" } else { "ok" }),
            state_detail: lost,
            colours_detail: hdr.map(|hdr| Told::Colours(hdr).to_string()),
            codecs: variant.map(|variant| variant.codecs.join(",")).or(sound),
            width,
            height,
            frames_per_second: variant
                .and_then(|variant| variant.frame_rate)
                .map(per_second),
            msn: snapshot.edge().map(|(msn, _)| msn),
            parts: snapshot.next_part,
            bytes_retained: version.bytes_retained(),
            bandwidth: variant.map(|variant| variant.bandwidth),
            average_bandwidth: variant.map(|variant| variant.average_bandwidth),
            ended: snapshot.ended,
        }
    }
}

/// Why nothing is encoded of what is sent, if it is not.
fn transcoding_detail(status: &Status) -> Option<String> {
    match (status.transcoding?, &status.sources) {
        (Err(untranscoded), _) => Some(untranscoded.to_string()),
        (Ok(()), Some((_, sources))) => {
            let encoded = |source: &Source| matches!(source, Source::Encoded { .. });
            let alone = sources.contains_key(&Rendition::High) && !sources.values().any(encoded);
            alone.then(|| ALONE.to_owned())
        }
        (Ok(()), None) => None,
    }
}

/// Of sound whose encoder is gone for a while.
const SILENT: &str =
    "its encoder failed, which the notices tell; silence stands in, and it is tried again";

/// Of pictures that have no other rendition although there are encoders.
const ALONE: &str = "no other rendition is made of this source: it has fewer than 240 lines, or its encoders failed, \
                     which the notices tell";

fn per_second((frames, seconds): (u32, u32)) -> f64 {
    f64::from(frames) / f64::from(seconds.max(1))
}
