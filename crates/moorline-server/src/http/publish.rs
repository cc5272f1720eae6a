//! Publishing over HTTP.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::StringRejection;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use moorline::{Answer, ErrorCode, Node, Publish, PublishId, PublishOutcome, Rejection, check_depth};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::problem::Problem;

/// How many publishes one batch may have: as many as a room keeps by default.
const BATCH_MAX: usize = 1_000;

/// Without keys every caller is the same one.
const SENDER: &str = "development";

/// The body as text, with its limits answered as problems.
pub(crate) fn text(body: Result<String, StringRejection>) -> Result<String, Problem> {
    let text = body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::of(ErrorCode::MessageTooBig, "the body is over its limit"),
        _ => Problem::of(ErrorCode::BadFrame, error.body_text()),
    })?;
    check_depth(text.as_bytes()).map_err(|error| Problem::of(ErrorCode::BadFrame, error.to_string()))?;
    Ok(text)
}

pub(crate) async fn one(
    State(node): State<Node>,
    headers: HeaderMap,
    body: Result<String, StringRejection>,
) -> Result<Json<Answer>, Problem> {
    let mut publish = Publish::parse(&text(body)?)?;
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
    Ok(Json(node.publish(publish, SENDER).await?))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<PublishId>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let invalid = |why: String| Problem::of(ErrorCode::IdInvalid, format!("the Idempotency-Key {why}"));
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
struct Results {
    results: Vec<serde_json::Value>,
}

pub(crate) async fn batch(
    State(node): State<Node>,
    body: Result<String, StringRejection>,
) -> Result<Response, Problem> {
    let text = text(body)?;
    let batch: Batch<'_> =
        serde_json::from_str(&text).map_err(|error| Problem::of(ErrorCode::BadFrame, error.to_string()))?;
    if batch.publishes.len() > BATCH_MAX {
        return Err(Problem::of(ErrorCode::BadFrame, format!("a batch has up to {BATCH_MAX} publishes")));
    }
    let publishes: Vec<Result<Publish, Rejection>> =
        batch.publishes.iter().map(|raw| Publish::parse(raw.get())).collect();
    let rooms: usize = publishes.iter().flatten().map(|publish| publish.to.rooms()).sum();
    if rooms > BATCH_MAX {
        let why = format!("a batch reaches up to {BATCH_MAX} rooms, each session of a list counted");
        return Err(Problem::of(ErrorCode::BadFrame, why));
    }
    let answers = node.publish_all(publishes, SENDER).await;
    Ok(Json(Results { results: answers.into_iter().map(outcome).collect() }).into_response())
}

fn outcome(answer: Result<Answer, Rejection>) -> serde_json::Value {
    let value = match answer {
        Ok(answer) => serde_json::to_value(answer),
        Err(rejection) => serde_json::to_value(PublishOutcome(Err(rejection))),
    };
    // Answers are made of strings and numbers: this cannot fail.
    value.unwrap_or_default()
}
