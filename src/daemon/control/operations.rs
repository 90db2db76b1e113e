//! What is done to a live stream: its publisher cut, its end, a takedown, other terms.
//!
//! The stream's task does it (`live::operations`); here a request becomes an operation and its outcome an answer. Asked
//! again, each says what there is to say: a stream without a publisher has none to cut (409), one that is over stays over.

use std::time::Duration;

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use vitrine_core::{limits, wire::hook::Events};

use super::{Caller, Control, audit::Change as Changed, error::Error, fields::Fields};
use crate::live::{
    Live, Terms,
    operations::{Change, Refused},
};

/// An answer, and what is told of it in the audit.
pub(super) struct Done<T> {
    pub(super) status: StatusCode,
    pub(super) body: T,
    pub(super) changed: Changed,
}

impl<T> Done<T> {
    /// Done, from one thing to another.
    pub(super) fn new(body: T, from: impl Into<String>, to: impl Into<String>) -> Self {
        Self {
            status: StatusCode::OK,
            body,
            changed: Changed {
                from: from.into(),
                to: to.into(),
            },
        }
    }
}

impl<T: Serialize> IntoResponse for Done<T> {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        response.extensions_mut().insert(self.changed);
        response
    }
}

/// A publisher was cut.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"stream": "shop42", "session": "ses_01JABCDEFGHJKMNPQRSTVWXYZ0", "ban_seconds": 600})))]
pub(super) struct Disconnected {
    /// Id of the stream, which waits for its publisher's return.
    stream: String,
    /// Id of the publish that was cut.
    session: String,
    /// How long the publisher's key is refused; absent when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    ban_seconds: Option<u64>,
}

/// Disconnects the publisher
///
/// The broadcaster is told why; players see the stream go on without its publisher for `publish.grace`. With
/// `ban_seconds` the key it used is refused for so long.
#[utoipa::path(
    delete, path = "/v1/streams/{id}/session", tag = "streams", operation_id = "disconnect",
    params(
        ("id" = String, Path, description = "Id of the stream", example = "shop42"),
        ("ban_seconds" = Option<u64>, Query, description = "Refuse the publisher's key for so long; 0: not at all", maximum = 31_622_400),
    ),
    responses(
        (status = 200, description = "Disconnected", body = Disconnected),
        (status = 404, description = "No such stream"),
        (status = 409, description = "Nobody publishes it (`no-publisher`), or it is over (`stream-over`)"),
        (status = 422, description = "A wrong or unknown parameter"),
        (status = 503, description = "The stream does not answer"),
    )
)]
pub(super) async fn disconnect(
    State(control): State<Control>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Done<Disconnected>, Error> {
    let mut fields = Fields::of_query(&uri);
    let ban_seconds = fields.number("ban_seconds", 0..=limits::CONTROL_SECONDS_MAX);
    fields.finish()?;
    let ban_seconds = ban_seconds.filter(|seconds| *seconds > 0);
    let live = control.stream(&id)?;
    let from = live.status().state.name();
    let ban = ban_seconds.map(Duration::from_secs);
    let session = live.disconnect(&caller.0, ban).await;
    let session = session.map_err(|refused| told(refused, &id))?.to_string();
    let to = match ban_seconds {
        Some(seconds) => format!("{session} disconnected, key refused for {seconds} s"),
        None => format!("{session} disconnected"),
    };
    let body = Disconnected {
        stream: id,
        session,
        ban_seconds,
    };
    Ok(Done::new(body, from, to))
}

/// How a stream is to end; an empty body is the same as `{}`.
#[derive(ToSchema)]
#[schema(examples(json!({"takedown": true, "reason": "stolen goods"}), json!({"ban_seconds": 600})))]
#[allow(dead_code, reason = "read field by field")]
pub(super) struct End {
    /// Takes the stream down: nothing of it is served any more, and its key is refused until somebody lifts that.
    takedown: Option<bool>,
    /// Why; told to the backend and kept. A takedown needs one, and nothing else has one.
    #[schema(min_length = 1, max_length = 500)]
    reason: Option<String>,
    /// How long the key is refused after the end (30), because encoders come back by themselves; 0: not at all.
    #[schema(maximum = 31_622_400)]
    ban_seconds: Option<u64>,
}

/// A stream is over.
#[derive(Serialize, ToSchema)]
#[schema(examples(
    json!({"stream": "shop42", "takedown": false, "ban_seconds": 30}),
    json!({"stream": "shop42", "takedown": true, "epochs": [1_767_268_800], "purge_prefix": "/live/shop42/"})
))]
pub(super) struct Ended {
    /// Id of the stream.
    stream: String,
    /// Whether nothing of it is served any more.
    takedown: bool,
    /// How long the key is refused; absent after a takedown: until somebody lifts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    ban_seconds: Option<u64>,
    /// The epochs that were taken down.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    epochs: Vec<u64>,
    /// Path under which every copy in a cache has to go.
    #[serde(skip_serializing_if = "Option::is_none")]
    purge_prefix: Option<String>,
}

/// Ends the stream, or takes it down
///
/// Every playlist gets its `EXT-X-ENDLIST` now and the publisher is disconnected. With `takedown` every playlist, part
/// and thumbnail answers 410 from then on, to those who wait too.
#[utoipa::path(
    post, path = "/v1/streams/{id}/end", tag = "streams", operation_id = "end",
    params(("id" = String, Path, description = "Id of the stream", example = "shop42")),
    request_body(content = Option<End>, content_type = "application/json"),
    responses(
        (status = 200, description = "Over", body = Ended),
        (status = 400, description = "The body is no JSON object"),
        (status = 404, description = "No such stream"),
        (status = 409, description = "It is over already (`stream-over`); it can still be taken down"),
        (status = 413, description = "The body is too large"),
        (status = 422, description = "A wrong or unknown field"),
        (status = 503, description = "The stream does not answer"),
    )
)]
pub(super) async fn end(
    State(control): State<Control>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    uri: Uri,
    body: Body,
) -> Result<Done<Ended>, Error> {
    let mut fields = Fields::of_body(&uri, body).await?;
    let takedown = fields.flag("takedown").unwrap_or(false);
    let reason = fields.text("reason", limits::REASON_CHARS_MAX);
    let ban_seconds = fields.number("ban_seconds", 0..=limits::CONTROL_SECONDS_MAX);
    match (takedown, &reason, ban_seconds) {
        (true, None, _) => fields.require("reason", "a takedown needs one"),
        (true, _, Some(_)) => fields.refuse(
            "ban_seconds",
            "a takedown refuses the key until somebody lifts that: DELETE /v1/bans/{id}",
        ),
        (false, Some(_), _) => fields.refuse("reason", "only a takedown has one"),
        _ => {}
    }
    fields.finish()?;
    let live = control.stream(&id)?;
    let from = live.status().state.name();
    if let Some(reason) = reason {
        let down = live.take_down(&caller.0, reason).await;
        let down = down.map_err(|refused| told(refused, &id))?;
        let body = Ended {
            stream: id,
            takedown: true,
            ban_seconds: None,
            epochs: down.epochs,
            purge_prefix: Some(down.purge_prefix),
        };
        return Ok(Done::new(body, from, "taken down, key refused"));
    }
    let ban = ban_seconds.map(Duration::from_secs);
    let ended = live.end(&caller.0, ban).await;
    ended.map_err(|refused| told(refused, &id))?;
    let seconds = ban.unwrap_or(limits::END_BAN).as_secs();
    let body = Ended {
        stream: id,
        takedown: false,
        ban_seconds: Some(seconds).filter(|seconds| *seconds > 0),
        epochs: Vec::new(),
        purge_prefix: None,
    };
    Ok(Done::new(
        body,
        from,
        format!("ended, key refused for {seconds} s"),
    ))
}

/// What the publish may do; what is left out stays as it is, `null` takes a limit away.
#[derive(ToSchema)]
#[schema(examples(json!({"max_kbps": 6000, "lifetime_seconds": null})))]
#[allow(dead_code, reason = "read field by field")]
pub(super) struct Patch {
    /// Whether another publisher may take the stream.
    takeover: Option<bool>,
    /// Highest bitrate, in thousand bits a second.
    #[schema(minimum = 1)]
    max_kbps: Option<u32>,
    /// Seconds from its acceptance after which the publish ends; null: never.
    #[schema(minimum = 1, maximum = 31_622_400)]
    lifetime_seconds: Option<u64>,
    /// Seconds after which the backend is asked again, each time; null: never.
    #[schema(minimum = 1, maximum = 31_622_400)]
    revalidate_seconds: Option<u64>,
    /// Whether the events that the encoder sends are placed.
    amf_events: Option<bool>,
    /// Milliseconds added to where an event without a time of its own is placed.
    #[schema(minimum = -30_000, maximum = 30_000)]
    event_offset_ms: Option<i32>,
    /// What events the stream may carry.
    events: Option<BudgetPatch>,
    /// What is told with every event of the stream, in place of what was, at most 4,096 bytes of JSON; null: nothing.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
}

/// What events a stream may carry in its media; what is left out stays as it is.
#[derive(ToSchema)]
#[allow(dead_code, reason = "read field by field")]
pub(super) struct BudgetPatch {
    /// Events a second; twice as many may come at once.
    #[schema(minimum = 1, maximum = 1000)]
    per_second: Option<u32>,
    /// Bytes of their JSON texts a second; four times as many may come at once.
    #[schema(minimum = 1024, maximum = 65_536)]
    bytes_per_second: Option<u32>,
}

/// What events a stream may carry in its media.
#[derive(Clone, Copy, Serialize, ToSchema)]
pub(super) struct Budget {
    /// Events a second; twice as many may come at once.
    #[schema(minimum = 1, maximum = 1000)]
    per_second: u32,
    /// Bytes of their JSON texts a second; four times as many may come at once.
    #[schema(minimum = 1024, maximum = 65_536)]
    bytes_per_second: u32,
}

/// What a publish may do.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"takeover": true, "max_kbps": 6000, "lifetime_seconds": 7200, "amf_events": false, "event_offset_ms": 0, "events": {"per_second": 50, "bytes_per_second": 4096}, "metadata": {"show": "s1"}})))]
pub(super) struct TermsReport {
    /// Whether another publisher may take the stream.
    takeover: bool,
    /// Highest bitrate, in thousand bits a second.
    max_kbps: u32,
    /// Seconds from its acceptance after which the publish ends; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    lifetime_seconds: Option<u64>,
    /// Seconds after which the backend is asked again, each time; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    revalidate_seconds: Option<u64>,
    /// Whether the events that the encoder sends are placed.
    amf_events: bool,
    /// Milliseconds added to where an event without a time of its own is placed.
    event_offset_ms: i32,
    /// What events the stream may carry.
    events: Budget,
    /// What is told with every event of the stream.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
}

impl From<&Terms> for TermsReport {
    fn from(terms: &Terms) -> Self {
        Self {
            takeover: terms.takeover,
            max_kbps: terms.max_kbps,
            lifetime_seconds: terms.lifetime.map(|it| it.as_secs()),
            revalidate_seconds: terms.revalidate.map(|it| it.as_secs()),
            amf_events: terms.amf_events,
            event_offset_ms: terms.events.offset_ms,
            events: Budget {
                per_second: terms.events.per_second,
                bytes_per_second: terms.events.bytes_per_second,
            },
            metadata: terms.metadata.clone(),
        }
    }
}

impl TermsReport {
    /// For the audit: without metadata, which is the backend's own.
    fn words(&self) -> String {
        let never =
            |seconds: Option<u64>| seconds.map_or("never".to_owned(), |it| format!("{it} s"));
        format!(
            "takeover {}, max_kbps {}, lifetime {}, revalidate {}, amf_events {}, event_offset_ms {}, events {}/s {} B/s, {} of \
             metadata",
            self.takeover,
            self.max_kbps,
            never(self.lifetime_seconds),
            never(self.revalidate_seconds),
            self.amf_events,
            self.event_offset_ms,
            self.events.per_second,
            self.events.bytes_per_second,
            self.metadata.len(),
        )
    }
}

/// Changes what the publish may do, while it lasts
///
/// What the verdict set (or the configuration, where it was silent) holds until here. Nothing of it outlives the publish.
#[utoipa::path(
    patch, path = "/v1/streams/{id}", tag = "streams", operation_id = "change",
    params(("id" = String, Path, description = "Id of the stream", example = "shop42")),
    request_body(content = Patch, content_type = "application/json"),
    responses(
        (status = 200, description = "What holds now", body = TermsReport),
        (status = 400, description = "The body is no JSON object"),
        (status = 404, description = "No such stream"),
        (status = 409, description = "Nobody publishes it (`no-publisher`), or it is over (`stream-over`)"),
        (status = 413, description = "The body is too large"),
        (status = 422, description = "A wrong or unknown field, or one that cannot be changed yet (`not-supported`)"),
        (status = 503, description = "The stream does not answer"),
    )
)]
pub(super) async fn change(
    State(control): State<Control>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    uri: Uri,
    body: Body,
) -> Result<Done<TermsReport>, Error> {
    let mut fields = Fields::of_body(&uri, body).await?;
    let nothing = fields.is_empty();
    let change = read_change(&mut fields);
    for name in FIXED {
        fields.unsupported(name);
    }
    if nothing {
        fields.refuse("", "nothing to change: name at least one field");
    }
    fields.finish()?;
    let live = control.stream(&id)?;
    let before = live
        .status()
        .session
        .as_ref()
        .map(|it| TermsReport::from(&*it.terms.borrow()));
    let from = before.map(|terms| terms.words()).unwrap_or_default();
    let terms = live.change(&caller.0, change).await;
    let terms = TermsReport::from(&terms.map_err(|refused| told(refused, &id))?);
    let to = terms.words();
    Ok(Done::new(terms, from, to))
}

/// What a verdict sets and nothing changes while the publish lasts.
const FIXED: [&str; 3] = ["ladder", "epoch", "record"];

fn read_change(fields: &mut Fields) -> Change {
    let mut seconds = |name: &str| match fields.null(name) {
        true => Some(None),
        false => { fields.number(name, 1..=limits::CONTROL_SECONDS_MAX) }
            .map(|seconds| Some(Duration::from_secs(seconds))),
    };
    let (lifetime, revalidate) = (seconds("lifetime_seconds"), seconds("revalidate_seconds"));
    let max_kbps = fields.number("max_kbps", 1..=u64::from(u32::MAX));
    let metadata = match fields.null("metadata") {
        true => Some(Map::new()),
        false => fields.object("metadata"),
    };
    // It is in every event, and an event is thin.
    let bytes = { metadata.as_ref() }.map_or(0, |it| Value::from(it.clone()).to_string().len());
    let most = limits::VERDICT_METADATA_BYTES;
    if bytes > most {
        fields.refuse(
            "metadata",
            format_args!("{bytes} bytes, expected at most {most}"),
        );
    }
    Change {
        takeover: fields.flag("takeover"),
        max_kbps: max_kbps.and_then(|kbps| kbps.try_into().ok()),
        lifetime,
        revalidate,
        events: read_events(fields),
        metadata,
    }
}

fn read_events(fields: &mut Fields) -> Events {
    let number = |fields: &mut Fields, name: &str, least: u32, most: u32| {
        let number = fields.number(name, least.into()..=most.into())?;
        u32::try_from(number).ok()
    };
    let offset = i64::from(limits::EVENT_OFFSET_MS_MAX);
    let offset_ms = fields.signed("event_offset_ms", -offset..=offset);
    let amf = fields.flag("amf_events");
    let budget = fields.within("events", |fields| Events {
        per_second: number(fields, "per_second", 1, limits::EVENTS_PER_SECOND_MAX),
        bytes_per_second: number(
            fields,
            "bytes_per_second",
            limits::EVENT_BYTES_PER_SECOND_MIN,
            limits::EVENT_BYTES_PER_SECOND_MAX,
        ),
        ..Events::default()
    });
    Events {
        amf,
        offset_ms: offset_ms.and_then(|ms| ms.try_into().ok()),
        ..budget
    }
}

impl Control {
    /// The stream of this id, over or not.
    pub(super) fn stream(&self, id: &str) -> Result<Live, Error> {
        let live = self.registry.lookup(id);
        live.ok_or_else(|| Error::NoSuchStream {
            stream: id.chars().take(limits::STREAM_ID_BYTES_MAX).collect(),
        })
    }
}

fn told(refused: Refused, stream: &str) -> Error {
    let stream = stream.to_owned();
    match refused {
        Refused::NotPublishing => Error::NoPublisher { stream },
        Refused::Ended => Error::Over { stream },
        Refused::Unavailable => {
            Error::Unavailable("the stream does not answer: it or the server is about to end")
        }
    }
}
