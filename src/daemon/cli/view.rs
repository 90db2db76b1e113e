//! The answers of the control API, as far as these commands show them. Fields that are missing are empty and fields that
//! are not known passed over: the daemon may be older or newer than this program.

use serde::Deserialize;

/// `GET /v1/streams`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Streams {
    pub(super) streams: Vec<Stream>,
}

/// `GET /v1/streams/{id}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stream {
    pub(super) id: String,
    pub(super) state: String,
    pub(super) session: Option<Session>,
    pub(super) tracks: Vec<Track>,
    pub(super) stopgap: Option<String>,
    pub(super) transcoding: Option<String>,
    pub(super) transcoding_detail: Option<String>,
    pub(super) renditions: Vec<Rendition>,
    pub(super) rates: Rates,
    pub(super) latency: Latency,
    pub(super) queues: Queues,
    pub(super) events_placed: u64,
    pub(super) requests: u64,
    pub(super) waiters: u64,
    pub(super) notices: Vec<Notice>,
}

/// `POST /v1/streams/{id}/events`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Placed {
    pub(super) epoch: u64,
    pub(super) media_time_ms: i64,
    pub(super) program_date_time: String,
    pub(super) shifted_ms: Option<i64>,
    pub(super) closed: Option<bool>,
}

/// `GET /v1/streams/{id}/clock`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Clock {
    pub(super) epoch: u64,
    pub(super) msn: u64,
    pub(super) media_time_ms: i64,
    pub(super) program_date_time: String,
    pub(super) pdt_minus_wall_ms: i64,
    pub(super) wall: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) peer: String,
    pub(super) protocol: String,
    pub(super) encoder: String,
    pub(super) since: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Track {
    pub(super) kind: String,
    pub(super) codecs: String,
    pub(super) width: Option<u32>,
    pub(super) height: Option<u32>,
    pub(super) frames_per_second: Option<f64>,
    pub(super) channels: Option<u8>,
    pub(super) sample_rate_hz: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rendition {
    pub(super) epoch: u64,
    pub(super) name: String,
    pub(super) source: Option<String>,
    pub(super) source_detail: Option<String>,
    pub(super) state: Option<String>,
    pub(super) state_detail: Option<String>,
    pub(super) codecs: Option<String>,
    pub(super) width: Option<u32>,
    pub(super) height: Option<u32>,
    pub(super) parts: u64,
    pub(super) bytes_retained: u64,
    pub(super) bandwidth: Option<u64>,
    pub(super) ended: bool,
}

impl Rendition {
    /// Whether it goes on without its encoder.
    pub(super) fn is_lost(&self) -> bool {
        self.state.as_deref() == Some("lost")
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rates {
    pub(super) in_kbps: u64,
    pub(super) in_bytes: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Latency {
    pub(super) part_publish_p50_ms: Option<f64>,
    pub(super) part_publish_p95_ms: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Queues {
    pub(super) inbox_messages: u64,
    pub(super) inbox_messages_max: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Notice {
    pub(super) at: String,
    pub(super) text: String,
}

impl Stream {
    /// The renditions of the newest epoch.
    pub(super) fn newest(&self) -> impl Iterator<Item = &Rendition> {
        let newest = self.renditions.iter().map(|it| it.epoch).max();
        let renditions = self.renditions.iter();
        renditions.filter(move |it| Some(it.epoch) == newest)
    }

    /// The state, and what stands in while nothing arrives.
    pub(super) fn standing(&self) -> String {
        match &self.stopgap {
            Some(stopgap) => format!("{} ({stopgap})", self.state),
            None => self.state.clone(),
        }
    }
}

/// `DELETE /v1/streams/{id}/session`, `POST /v1/streams/{id}/end`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Done {
    pub(super) session: String,
    pub(super) ban_seconds: Option<u64>,
    pub(super) purge_prefix: Option<String>,
}

/// `GET /v1/bans`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Bans {
    pub(super) bans: Vec<Ban>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Ban {
    pub(super) id: String,
    pub(super) stream: Option<String>,
    pub(super) since: Option<String>,
    pub(super) until: Option<String>,
    pub(super) reason: String,
}

/// `GET /v1/hooks/deliveries`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Deliveries {
    pub(super) deliveries: Vec<Delivery>,
    pub(super) next: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Delivery {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) stream: String,
    pub(super) hook_seq: u64,
    pub(super) at: String,
    pub(super) endpoint: String,
    pub(super) state: String,
    pub(super) attempts: u32,
    pub(super) last_status: Option<u16>,
    pub(super) last_error: Option<String>,
    pub(super) next_attempt: Option<String>,
}

/// `POST /v1/hooks/replay`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Replayed {
    pub(super) deliveries: u64,
}
