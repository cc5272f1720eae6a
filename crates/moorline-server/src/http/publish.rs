//! Publishing over HTTP.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::StringRejection;
use http::{HeaderMap, HeaderName};
use moorline::{Answer, ErrorCode, Node, Publish, PublishId, PublishOutcome, Rejection};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::body::{self, text};
use super::caller::Caller;
use super::openapi::{Conflicting, Invalid};
use super::problem::Problem;
use super::schema;

/// How many publishes one batch may have: as many as a room keeps by default.
const BATCH_MAX: usize = 1_000;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Publishes a message.
///
/// With an `id`, or the header `Idempotency-Key` in its place, a repetition is answered as the first was.
#[utoipa::path(post, path = "/v1/publish", tag = "messages",
    request_body(content = schema::Publish, content_type = "application/json"),
    params(("Idempotency-Key" = Option<schema::Id>, Header, description = "In place of `id`; where both stand they are the same")),
    responses((status = 200, description = "It is kept", body = schema::PublishAnswer), Invalid, Conflicting))]
pub(crate) async fn one(
    State(node): State<Node>,
    caller: Caller,
    headers: HeaderMap,
    body: Result<String, StringRejection>,
) -> Result<Json<Answer>, Problem> {
    let mut publish = parse(&text(body)?)?;
    if let Some(id) = idempotency_key(&headers)? {
        if publish.id.as_ref().is_some_and(|other| *other != id) {
            return Err(Problem::of(ErrorCode::IdInvalid, "Idempotency-Key and id differ"));
        }
        if publish.ephemeral {
            let why = "an ephemeral publish is never stored: it takes no Idempotency-Key";
            return Err(Problem::of(ErrorCode::BadFrame, why));
        }
        publish.id = Some(id);
    }
    Ok(Json(node.publish(publish, &caller.name).await?))
}

fn parse(text: &str) -> Result<Publish, Rejection> {
    body::check_object(text)?;
    Publish::parse(text)
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<PublishId>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let invalid = |why: String| Problem::of(ErrorCode::IdInvalid, format!("the Idempotency-Key {why}"));
    if values.next().is_some() {
        return Err(invalid("stands twice".to_owned()));
    }
    let text = value.to_str().map_err(|_| invalid("is not ASCII".to_owned()))?;
    PublishId::new(text).map(Some).map_err(|error| invalid(error.to_string()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<'a> {
    #[serde(borrow)]
    publishes: Vec<&'a RawValue>,
}

#[derive(Serialize)]
pub(crate) struct Results {
    results: Vec<serde_json::Value>,
}

/// Publishes several messages, one after the other.
///
/// One that fails does not keep the others from being published.
#[utoipa::path(post, path = "/v1/batch", tag = "messages",
    request_body(content = schema::Batch, content_type = "application/json"),
    responses((status = 200, description = "What became of each, in order", body = schema::Results), Invalid))]
pub(crate) async fn batch(
    State(node): State<Node>,
    caller: Caller,
    headers: HeaderMap,
    body: Result<String, StringRejection>,
) -> Result<Json<Results>, Problem> {
    if headers.contains_key(IDEMPOTENCY_KEY) {
        let why = "a batch takes no Idempotency-Key: give each of its publishes an id";
        return Err(Problem::of(ErrorCode::IdInvalid, why));
    }
    let text = text(body)?;
    let batch: Batch<'_> = body::fields(&text)?;
    if batch.publishes.len() > BATCH_MAX {
        return Err(Problem::of(ErrorCode::BadFrame, format!("a batch has up to {BATCH_MAX} publishes")));
    }
    let publishes: Vec<Result<Publish, Rejection>> =
        batch.publishes.iter().map(|raw| parse(raw.get())).collect();
    let rooms: usize = publishes.iter().flatten().map(|publish| publish.to.rooms()).sum();
    if rooms > BATCH_MAX {
        let why = format!("a batch reaches up to {BATCH_MAX} rooms, each session of a list counted");
        return Err(Problem::of(ErrorCode::BadFrame, why));
    }
    let answers = node.publish_all(publishes, &caller.name).await;
    Ok(Json(Results { results: answers.into_iter().map(outcome).collect() }))
}

fn outcome(answer: Result<Answer, Rejection>) -> serde_json::Value {
    let value = match answer {
        Ok(answer) => serde_json::to_value(answer),
        Err(rejection) => serde_json::to_value(PublishOutcome(Err(rejection))),
    };
    // Answers are made of strings and numbers: this cannot fail.
    value.unwrap_or_default()
}
