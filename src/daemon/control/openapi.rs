//! The contract as a document: OpenAPI 3.1, made from the handlers and types themselves, so that it cannot drift.
//!
//! What holds for every operation is said once, here: who may call, what an error looks like, and that nothing absent is
//! ever sent as null.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use utoipa::{
    Modify, OpenApi, ToSchema,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use super::Control;

/// What stands in the document beside the operations.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Vitrine control API",
        description = "What a Vitrine daemon does, how it fares, and what to do about it. Changes are additive: fields may \
                       appear, none disappears or changes its meaning, and readers ignore what they do not know. Times are \
                       RFC 3339 in UTC; every other figure carries its unit in its name.",
    ),
    tags(
        (name = "streams", description = "The live streams, and what is done to them"),
        (name = "bans", description = "Stream keys that are refused"),
        (name = "hooks", description = "What backends are told"),
        (name = "events", description = "Events of the shop, placed on the timelines of streams"),
        (name = "process", description = "The daemon itself"),
    ),
    components(schemas(Problem, Fault)),
    modifiers(&Bearer),
    security(("bearer" = [])),
)]
pub(super) struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "A token of [[control.tokens]]; access = \"read\" may GET and nothing else. A daemon on loopback without \
                 any token asks for none.",
            ))
            .build();
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// What went wrong (RFC 9457).
#[derive(ToSchema)]
#[schema(examples(json!({
    "type": "urn:vitrine:problem:invalid-field", "title": "Unprocessable Entity", "status": 422,
    "detail": "ban_seconds: expected a whole number from 0 to 31622400", "field": "ban_seconds",
    "errors": [{"field": "ban_seconds", "detail": "expected a whole number from 0 to 31622400"}]
})))]
#[allow(
    dead_code,
    reason = "the form of vitrine_runtime::problem, which knows no schema"
)]
struct Problem {
    /// The kind, for programs: `urn:vitrine:problem:` and a name that never changes its meaning.
    #[schema(format = "uri")]
    r#type: String,
    /// What the status is called.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What happened this time, for people.
    detail: Option<String>,
    /// The offending field, dotted; the first of several.
    field: Option<String>,
    /// Every offending field.
    errors: Option<Vec<Fault>>,
}

/// What is wrong with one field.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "the form of vitrine_runtime::problem, which knows no schema"
)]
struct Fault {
    /// Its name, dotted.
    field: String,
    /// What was expected of it, for people.
    detail: String,
}

/// This document
#[utoipa::path(
    get, path = "/v1/openapi.json", tag = "process", operation_id = "openapi",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
pub(super) async fn serve(State(control): State<Control>) -> Response {
    let media_type = [(header::CONTENT_TYPE, "application/json")];
    (media_type, control.document).into_response()
}

/// The whole document, ready to be sent.
pub(super) fn write(api: &utoipa::openapi::OpenApi) -> Bytes {
    let mut document = serde_json::to_value(api).expect("names and words serialize");
    if let Some(Value::Object(paths)) = document.get_mut("paths") {
        let items = paths.values_mut().filter_map(Value::as_object_mut);
        for operation in items.flat_map(Map::values_mut) {
            complete(operation);
        }
    }
    // In requests null is said, not meant.
    let patch = document["components"]["schemas"]["Patch"].take();
    without_null(&mut document);
    document["components"]["schemas"]["Patch"] = patch;
    document.to_string().into()
}

/// Adds what every operation has: refusals of callers, and the form of errors.
fn complete(operation: &mut Value) {
    let open = operation.get("security").is_some();
    let Some(responses) = operation["responses"].as_object_mut() else {
        return;
    };
    if !open {
        for (status, description) in [
            ("401", "No token, or one that is not known"),
            (
                "403",
                "The token may only look (`read-only`), or there is none and a page of another origin (`cross-origin`) or by another \
                 name (`foreign-host`) asks",
            ),
        ] {
            responses.insert(status.to_owned(), json!({ "description": description }));
        }
    }
    let problem = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
    for (_, response) in responses
        .iter_mut()
        .filter(|(status, _)| status.as_str() >= "400")
    {
        response["content"] = json!({ "application/problem+json": problem });
    }
}

/// What may be absent is never null.
fn without_null(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(members) => {
            if let Some(Value::Array(types)) = members.get_mut("type") {
                types.retain(|it| it != "null");
                if let [only] = &types[..] {
                    let only = only.clone();
                    members.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(forms)) = members.get_mut("oneOf") {
                forms.retain(|form| form.get("type").is_none_or(|it| it != "null"));
                if forms.len() == 1
                    && let Some(Value::Object(only)) = forms.pop()
                {
                    members.remove("oneOf");
                    members.extend(only);
                }
            }
            members.values_mut().for_each(without_null);
        }
        _ => {}
    }
}
