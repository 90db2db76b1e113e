//! The outbox, seen and replayed: what backends were told, what they still have to be, and both anew.

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{StatusCode, Uri},
};
use serde::Serialize;
use utoipa::ToSchema;
use vitrine_core::limits;
use vitrine_runtime::{
    deliver::{self, Filter},
    problem::Fault,
};

use super::{Control, error::Error, fields::Fields, operations::Done};

/// One event on its way to one endpoint.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({
    "id": "dlv_01JABCDEFGHJKMNPQRSTVWXYZ0_1", "event": "evt_01JABCDEFGHJKMNPQRSTVWXYZ0", "type": "stream.live",
    "stream": "shop42", "hook_seq": 2, "at": "2026-01-01T12:00:00.000Z", "endpoint": "https://shop.example/hooks",
    "state": "pending", "attempts": 3, "last_status": 503, "last_error": "the endpoint answered 503",
    "next_attempt": "2026-01-01T12:01:22.000Z"
})))]
pub(super) struct Delivery {
    /// The same through all attempts.
    id: String,
    /// The event's id: `webhook-id` of every attempt.
    event: String,
    /// The event's `type`.
    #[serde(rename = "type")]
    kind: String,
    /// The stream it happened to.
    stream: String,
    /// Its number among the stream's events, without gaps.
    hook_seq: u64,
    /// When it happened.
    #[schema(format = DateTime)]
    at: String,
    /// The endpoint's URL, without what may be secret in it.
    endpoint: String,
    /// `pending`; `delivered`; `dead`: given up; `parked`: its endpoint is not configured any more, or has answered 410.
    state: &'static str,
    /// Attempts made since it was recorded, retried or replayed.
    attempts: u32,
    /// HTTP status of the latest attempt; absent when it was not answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_status: Option<u16>,
    /// What went wrong with the latest attempt, in words for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    /// When the next attempt is due; absent when none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    next_attempt: Option<String>,
    /// When it was delivered or given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    settled_at: Option<String>,
}

impl From<deliver::Delivery> for Delivery {
    fn from(it: deliver::Delivery) -> Self {
        Self {
            id: it.id,
            event: it.event,
            kind: it.kind,
            stream: it.subject,
            hook_seq: it.hook_seq,
            at: it.at.to_string(),
            endpoint: it.endpoint,
            state: it.state.name(),
            attempts: it.attempts,
            last_status: it.last_status,
            last_error: it.last_error,
            next_attempt: it.next_attempt.map(|at| at.to_string()),
            settled_at: it.settled_at.map(|at| at.to_string()),
        }
    }
}

/// Some deliveries.
#[derive(Serialize, ToSchema)]
pub(super) struct Deliveries {
    /// Newest first.
    deliveries: Vec<Delivery>,
    /// The `cursor` of the page with older ones; absent when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Lists deliveries, the newest first
#[utoipa::path(
    get, path = "/v1/hooks/deliveries", tag = "hooks", operation_id = "deliveries",
    params(
        ("state" = Option<String>, Query, description = "Only `pending`, `delivered`, `dead` or `parked` ones"),
        ("endpoint" = Option<String>, Query, description = "Only those to the endpoint of this URL"),
        ("stream" = Option<String>, Query, description = "Only those of this stream"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u64>, Query, description = "How many (100)", minimum = 1, maximum = 500),
    ),
    responses(
        (status = 200, description = "A page of them", body = Deliveries),
        (status = 422, description = "A wrong or unknown parameter"),
        (status = 503, description = "The disk does not answer"),
    )
)]
pub(super) async fn list(
    State(control): State<Control>,
    uri: Uri,
) -> Result<Json<Deliveries>, Error> {
    let mut fields = Fields::of_query(&uri);
    let state = fields.word("state", &deliver::State::ALL.map(deliver::State::name));
    let filter = Filter {
        state: state.and_then(deliver::State::parse),
        endpoint: fields.text("endpoint", limits::CONTROL_URL_BYTES_MAX),
        subject: fields.text("stream", limits::STREAM_ID_BYTES_MAX),
    };
    let cursor = fields.text("cursor", limits::CONTROL_URL_BYTES_MAX);
    let limit = fields.number("limit", 1..=limits::CONTROL_PAGE_MAX);
    fields.finish()?;
    let limit = limit.unwrap_or(limits::CONTROL_PAGE) as usize;
    let page = control.outbox.deliveries(&filter, cursor.as_deref(), limit);
    let page = page.await.map_err(told)?;
    Ok(Json(Deliveries {
        deliveries: page.deliveries.into_iter().map(Delivery::from).collect(),
        next: page.next,
    }))
}

/// Delivers one again, now
///
/// Whatever became of it; its schedule begins anew. The event keeps its id and its bytes.
#[utoipa::path(
    post, path = "/v1/hooks/deliveries/{id}/retry", tag = "hooks", operation_id = "retry",
    params(("id" = String, Path, description = "Id of the delivery")),
    responses(
        (status = 202, description = "Due now", body = Delivery),
        (status = 404, description = "No such delivery, or not any more"),
        (status = 503, description = "The disk does not answer"),
    )
)]
pub(super) async fn retry(
    State(control): State<Control>,
    Path(id): Path<String>,
) -> Result<Done<Delivery>, Error> {
    let delivery = control.outbox.retry(&id).await.map_err(told)?;
    let (kind, stream) = (delivery.kind.clone(), delivery.subject.clone());
    let to = format!("{kind} of {stream} due now");
    Ok(Done {
        status: StatusCode::ACCEPTED,
        ..Done::new(delivery.into(), "", to)
    })
}

/// What is to be delivered again.
#[derive(ToSchema)]
#[schema(examples(json!({"since": "2026-01-01T12:00:00Z"})))]
#[allow(dead_code, reason = "read field by field")]
pub(super) struct Replay {
    /// Every event from then on that is still kept.
    #[schema(format = DateTime)]
    since: String,
    /// Only to the endpoint of this URL.
    endpoint: Option<String>,
}

/// What begins anew.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"deliveries": 120})))]
pub(super) struct Replayed {
    /// How many deliveries.
    deliveries: u64,
}

/// Delivers again everything that happened since then
///
/// With the ids it had: backends that keep them see what they know. In the order in which it happened.
#[utoipa::path(
    post, path = "/v1/hooks/replay", tag = "hooks", operation_id = "replay",
    request_body(content = Replay, content_type = "application/json"),
    responses(
        (status = 202, description = "Due now", body = Replayed),
        (status = 400, description = "The body is no JSON object"),
        (status = 413, description = "The body is too large"),
        (status = 422, description = "A wrong or unknown field, no such endpoint, or more than may wait for one (100,000)"),
        (status = 503, description = "The disk does not answer"),
    )
)]
pub(super) async fn replay(
    State(control): State<Control>,
    uri: Uri,
    body: Body,
) -> Result<Done<Replayed>, Error> {
    let mut fields = Fields::of_body(&uri, body).await?;
    let since = fields.required("since", Fields::time);
    let endpoint = fields.text("endpoint", limits::CONTROL_URL_BYTES_MAX);
    fields.finish()?;
    let since = since.unwrap_or_default();
    let replayed = control.outbox.replay(since, endpoint.as_deref()).await;
    let deliveries = replayed.map_err(told)?;
    let to = format!("{deliveries} deliveries since {since} due now");
    Ok(Done {
        status: StatusCode::ACCEPTED,
        ..Done::new(Replayed { deliveries }, "", to)
    })
}

fn told(error: deliver::Error) -> Error {
    let fault = |field: &str, detail: String| {
        Error::Fields(vec![Fault {
            field: field.to_owned(),
            detail,
        }])
    };
    match error {
        deliver::Error::Cursor => fault("cursor", error.to_string()),
        deliver::Error::NoEndpoint(_) => fault("endpoint", error.to_string()),
        deliver::Error::TooMany { .. } => fault("since", error.to_string()),
        deliver::Error::Unknown(id) => Error::NoSuchDelivery {
            id: id.chars().take(limits::CONTROL_NAME_CHARS_MAX).collect(),
        },
        deliver::Error::Disk(_) | deliver::Error::Unanswered => {
            tracing::error!(%error, "outbox does not answer the control API");
            Error::Unavailable("the outbox cannot be read or written: the log tells why")
        }
    }
}
