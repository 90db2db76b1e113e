//! The stream keys that are refused: who, until when, why; and the way back for one.
//!
//! A ban is known by its id. The key itself, and its digest, are in no answer.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;
use utoipa::ToSchema;
use vitrine_core::limits;

use super::{Control, error::Error, operations::Done};
use crate::live::bans;

/// A stream key that is refused.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({
    "id": "ban_01JABCDEFGHJKMNPQRSTVWXYZ0", "stream": "shop42", "reason": "disconnected by an operator",
    "since": "2026-01-01T12:00:00.000Z", "until": "2026-01-01T12:10:00.000Z"
})))]
pub(super) struct Ban {
    /// What it is lifted by.
    id: String,
    /// The stream that was published with the key.
    stream: String,
    /// Why, as the broadcaster is told.
    reason: String,
    /// When it began.
    #[schema(format = DateTime)]
    since: String,
    /// When it ends; absent: when it is lifted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    until: Option<String>,
}

impl From<bans::Ban> for Ban {
    fn from(ban: bans::Ban) -> Self {
        Self {
            id: ban.id,
            stream: ban.stream,
            reason: ban.reason,
            since: ban.since.to_string(),
            until: ban.until.map(|until| until.to_string()),
        }
    }
}

/// Every ban that stands.
#[derive(Serialize, ToSchema)]
pub(super) struct Bans {
    /// Oldest first.
    bans: Vec<Ban>,
}

/// Lists the keys that are refused
#[utoipa::path(
    get, path = "/v1/bans", tag = "bans", operation_id = "bans",
    responses((status = 200, description = "Every ban that stands", body = Bans))
)]
pub(super) async fn list(State(control): State<Control>) -> Json<Bans> {
    let bans = control.registry.bans().list();
    Json(Bans {
        bans: bans.into_iter().map(Ban::from).collect(),
    })
}

/// Lifts a ban: its key may publish again
#[utoipa::path(
    delete, path = "/v1/bans/{id}", tag = "bans", operation_id = "liftBan",
    params(("id" = String, Path, description = "Id of the ban")),
    responses(
        (status = 200, description = "The ban as it was", body = Ban),
        (status = 404, description = "No such ban, or not any more"),
    )
)]
pub(super) async fn lift(
    State(control): State<Control>,
    Path(id): Path<String>,
) -> Result<Done<Ban>, Error> {
    let Some(ban) = control.registry.bans().lift(&id).await else {
        let id = id.chars().take(limits::CONTROL_NAME_CHARS_MAX).collect();
        return Err(Error::NoSuchBan { id });
    };
    let from = match &ban.until {
        Some(until) => format!("key of {} refused until {until}", ban.stream),
        None => format!("key of {} refused", ban.stream),
    };
    Ok(Done::new(ban.into(), from, "lifted"))
}
