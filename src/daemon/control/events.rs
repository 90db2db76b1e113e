//! Events of the shop on a stream's timeline (contracts, section 5): posted, repeated, and the clock that they are placed by.
//!
//! What an event may look like is `vitrine_core::wire::event`'s to say, where it may stand the engine's; here a request
//! becomes one and its outcome an answer. An event is audited at level `debug`: there may be fifty a second, each of which
//! its backend knows of.

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{StatusCode, Uri},
};
use metrics::counter;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use vitrine_core::{
    engine::cues::{self, Placement},
    limits,
    wire::event::{self, Event},
};

use super::{
    Control,
    error::Error,
    fields::{self, Fields},
    operations::Done,
};
use crate::live::Unplaced;

/// What happened in the shop. Fields that are not known are left out.
#[derive(ToSchema)]
#[schema(
    as = Event,
    examples(json!({
        "id": "evt_01JABCDEFGHJKMNPQRSTVWXYZ0", "type": "listing.pinned", "seq": 1042, "data": {"listing": "lst_7", "price": {"amount": 198_000, "currency": "JPY"}}
    }))
)]
#[allow(dead_code, reason = "read by vitrine_core::wire::event")]
pub(super) struct EventBody {
    /// By which it is known for ever: posted again, it is not placed again, and has the same answer.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    id: String,
    /// What happened: `listing.pinned`, `price.changed`, `chat.batch` and so on.
    r#type: String,
    /// The show's own number, carried and not looked at.
    seq: Option<u64>,
    /// Always `media`; what is for now is not placed.
    sync: Option<String>,
    /// When it happened, or is to be seen: at most 60 s ahead. Without it, when it arrives.
    #[schema(format = DateTime)]
    at: Option<String>,
    /// Milliseconds after which it is too late to be placed (10,000).
    #[schema(minimum = 1, maximum = 600_000)]
    ttl_ms: Option<u32>,
    /// Milliseconds that it lasts: playlists list it as a range.
    #[schema(minimum = 1, maximum = 86_400_000)]
    duration_ms: Option<u32>,
    /// Id of the earlier event whose range it ends.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    close: Option<String>,
    /// What players get of it.
    #[schema(value_type = Option<Object>)]
    data: Option<Value>,
}

/// Where an event was placed; binding.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({
    "id": "evt_01JABCDEFGHJKMNPQRSTVWXYZ0", "epoch": 1_767_268_800, "media_time_ms": 12_480,
    "program_date_time": "2026-01-01T12:00:12.480Z", "shifted_ms": 240, "msn": 12, "part": 2
})))]
pub(super) struct PlacedEvent {
    /// Its id.
    id: String,
    /// The run of the stream.
    epoch: u64,
    /// Milliseconds since the epoch's first sample.
    media_time_ms: i64,
    /// The program date-time of that, as playlists have it.
    #[schema(format = DateTime)]
    program_date_time: String,
    /// Milliseconds that it stands behind where it was wanted, because that was published already; absent when it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    shifted_ms: Option<i64>,
    /// Media sequence number of the segment it is in; with `part` only if that is open in every rendition already.
    #[serde(skip_serializing_if = "Option::is_none")]
    msn: Option<u64>,
    /// Number of its part in that segment, from 0: what `_HLS_part` asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<u64>,
    /// Whether the range that it was to close was open; absent when it closes none.
    #[serde(skip_serializing_if = "Option::is_none")]
    closed: Option<bool>,
}

impl PlacedEvent {
    fn new(id: String, placement: Placement) -> Self {
        let place = placement.place;
        let (msn, part) = placement.part.unzip();
        Self {
            id,
            epoch: place.epoch,
            media_time_ms: place.media_time_ms,
            program_date_time: place.program_date_time.to_string(),
            shifted_ms: Some(placement.shifted_ms).filter(|shifted_ms| *shifted_ms != 0),
            msn,
            part,
            closed: placement.closed,
        }
    }
}

/// Places an event on the timeline
///
/// In every rendition at the same picture, the newest one unless `at` says otherwise. The answer binds; an id that was
/// placed before has the same answer again.
#[utoipa::path(
    post, path = "/v1/streams/{id}/events", tag = "events", operation_id = "placeEvent",
    params(("id" = String, Path, description = "Id of the stream", example = "shop42")),
    request_body(content = EventBody, content_type = "application/json"),
    responses(
        (status = 202, description = "It has its place", body = PlacedEvent),
        (status = 400, description = "The body is no JSON object"),
        (status = 404, description = "No such stream (`not-found`), or no broadcast (`not-live`)"),
        (status = 409, description = "No media arrives (`starving`): again after `Retry-After`"),
        (status = 410, description = "Older than its `ttl_ms` (`stale`)"),
        (status = 413, description = "More bytes than an event of its kind may take in the stream (`event-too-large`), or all ranges in playlists (`ranges-too-large`); or the body is too large"),
        (status = 422, description = "A wrong field (`invalid-field`), or a time that is too far ahead (`too-far-ahead`)"),
        (status = 429, description = "More events, or bytes, than the stream may carry (`too-many`), or as many ranges as playlists list (`ranges-full`): again after `Retry-After`"),
        (status = 503, description = "The stream does not answer: again, by the same id"),
    )
)]
pub(super) async fn place(
    State(control): State<Control>,
    Path(stream): Path<String>,
    uri: Uri,
    body: Body,
) -> Result<Done<PlacedEvent>, Error> {
    let bytes = fields::whole(&uri, body).await?;
    let event = read(&bytes)?;
    let live = control.stream(&stream)?;
    let (id, kind) = (event.id.clone(), event.kind.name);
    let placed = live.place(event).await;
    let placed = PlacedEvent::new(id, placed.map_err(|unplaced| told(unplaced, stream))?);
    let to = format!("{} {kind} at {} ms", placed.id, placed.media_time_ms);
    Ok(Done {
        status: StatusCode::ACCEPTED,
        ..Done::new(placed, "", to)
    })
}

fn read(bytes: &[u8]) -> Result<Event, Error> {
    Event::parse(bytes).map_err(|error| {
        let outcome = match error {
            event::Error::TooLarge { .. } => "too_large",
            event::Error::Syntax | event::Error::Fields(_) => "invalid",
        };
        counter!("vitrine_events_total", "outcome" => outcome).increment(1);
        match error {
            event::Error::Syntax => Error::no_object(bytes),
            error => Error::Event(error),
        }
    })
}

/// A state that is repeated for players that come late.
#[derive(ToSchema)]
#[schema(as = State, examples(json!({"seq": 1042, "data": {"listing": "lst_7", "price_version": 7}}), json!({"data": {}})))]
#[allow(dead_code, reason = "read field by field")]
pub(super) struct StateBody {
    /// Number of the last event that it takes into account.
    seq: Option<u64>,
    /// The state, in place of what was; an empty one is repeated no more.
    #[schema(value_type = Object)]
    data: Value,
}

/// What is repeated.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"stream": "shop42", "seq": 1042, "every_seconds": 10})))]
pub(super) struct Repeated {
    /// Id of the stream.
    stream: String,
    /// Number of the last event that the state takes into account.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    /// Seconds between two repetitions; absent when there are none any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    every_seconds: Option<u64>,
}

/// Sets the state that is repeated for those who come late
///
/// Every ten seconds as an event `state.repeat`, until another state, an empty one, or the end of the stream.
#[utoipa::path(
    put, path = "/v1/streams/{id}/state", tag = "events", operation_id = "setState",
    params(("id" = String, Path, description = "Id of the stream", example = "shop42")),
    request_body(content = StateBody, content_type = "application/json"),
    responses(
        (status = 200, description = "It is repeated", body = Repeated),
        (status = 400, description = "The body is no JSON object"),
        (status = 404, description = "No such stream (`not-found`), or no broadcast (`not-live`)"),
        (status = 413, description = "More bytes than an event may take in the stream (`event-too-large`); or the body is too large"),
        (status = 422, description = "A wrong, unknown or missing field"),
        (status = 503, description = "The stream does not answer"),
    )
)]
pub(super) async fn set_state(
    State(control): State<Control>,
    Path(stream): Path<String>,
    uri: Uri,
    body: Body,
) -> Result<Done<Repeated>, Error> {
    let mut fields = Fields::of_body(&uri, body).await?;
    let seq = fields.number("seq", 0..=u64::MAX);
    let data = fields.required("data", Fields::object);
    fields.finish()?;
    let data = data.unwrap_or_default();
    fits(&data, seq)?;
    let live = control.stream(&stream)?;
    let every_seconds = (!data.is_empty()).then_some(limits::STATE_REPEAT.as_secs());
    let repeated = live.repeat(data, seq).await;
    repeated.map_err(|unplaced| told(unplaced, stream.clone()))?;
    let to = match every_seconds {
        Some(_) => "state repeated",
        None => "no state repeated",
    };
    let body = Repeated {
        stream,
        seq,
        every_seconds,
    };
    Ok(Done::new(body, "", to))
}

/// Whether the state fits into the event that it will be, by the longest id there is.
fn fits(data: &Map<String, Value>, seq: Option<u64>) -> Result<(), Error> {
    let id = "x".repeat(limits::EVENT_ID_BYTES_MAX);
    let mut event = json!({ "id": id, "type": "state.repeat", "data": data });
    if let Some(seq) = seq {
        event["seq"] = seq.into();
    }
    let event = Event::parse(event.to_string().as_bytes());
    event.map(drop).map_err(Error::Event)
}

/// Where a stream's clock stands.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({
    "stream": "shop42", "epoch": 1_767_268_800, "msn": 12, "media_time_ms": 12_680,
    "program_date_time": "2026-01-01T12:00:12.680Z", "pdt_minus_wall_ms": -45, "wall": "2026-01-01T12:00:12.725Z"
})))]
pub(super) struct ClockReport {
    /// Id of the stream.
    stream: String,
    /// The run of the stream.
    epoch: u64,
    /// Media sequence number of the newest segment.
    msn: u64,
    /// The newest media time: milliseconds since the epoch's first sample.
    media_time_ms: i64,
    /// The program date-time of that, as playlists have it.
    #[schema(format = DateTime)]
    program_date_time: String,
    /// Milliseconds that the program date-time of what arrives now is ahead of the wall clock; negative when it is behind.
    pdt_minus_wall_ms: i64,
    /// The daemon's wall clock.
    #[schema(format = DateTime)]
    wall: String,
}

impl ClockReport {
    fn new(stream: String, clock: &cues::Clock) -> Self {
        Self {
            stream,
            epoch: clock.newest.epoch,
            msn: clock.msn,
            media_time_ms: clock.newest.media_time_ms,
            program_date_time: clock.newest.program_date_time.to_string(),
            pdt_minus_wall_ms: clock.pdt_minus_wall_ms,
            wall: clock.wall.to_string(),
        }
    }
}

/// Tells where the stream's clock stands
///
/// What an event would be placed by that was posted now without `at`.
#[utoipa::path(
    get, path = "/v1/streams/{id}/clock", tag = "events", operation_id = "clock",
    params(("id" = String, Path, description = "Id of the stream", example = "shop42")),
    responses(
        (status = 200, description = "The clock", body = ClockReport),
        (status = 404, description = "No such stream (`not-found`), or no broadcast (`not-live`)"),
        (status = 503, description = "The stream does not answer"),
    )
)]
pub(super) async fn clock(
    State(control): State<Control>,
    Path(stream): Path<String>,
) -> Result<Json<ClockReport>, Error> {
    let live = control.stream(&stream)?;
    let clock = live.clock().await;
    let clock = clock.map_err(|unplaced| told(unplaced, stream.clone()))?;
    Ok(Json(ClockReport::new(stream, &clock)))
}

fn told(unplaced: Unplaced, stream: String) -> Error {
    match unplaced {
        Unplaced::Refused(cues::Refusal::NotLive) => Error::NotLive { stream },
        Unplaced::Refused(refusal) => Error::Refused(refusal),
        Unplaced::Busy => Error::Unavailable(
            "the stream does not answer: it is busy, or it or the server is about to end",
        ),
    }
}
