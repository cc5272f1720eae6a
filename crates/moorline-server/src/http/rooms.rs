//! Rooms over HTTP.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use moorline::{ErrorCode, Node, Offset, RoomDetail, RoomView};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::openapi::{Invalid, Missing};
use super::problem::Problem;
use super::query::{self, Path, Query};
use super::schema;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// How many at most; 100 by default.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// The `next` of the page before.
    #[param(value_type = schema::Room, required = false)]
    cursor: Option<String>,
}

/// A page of rooms.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rooms {
    /// They, sorted by name.
    rooms: Vec<RoomCount>,
    /// The next page's `cursor`, or null.
    #[schema(required)]
    next: Option<String>,
}

/// A room and how many members it has.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RoomCount {
    room: String,
    connected: usize,
    absent: usize,
}

impl From<&RoomView> for RoomCount {
    fn from(view: &RoomView) -> Self {
        Self { room: view.room.to_string(), connected: view.connected, absent: view.absent }
    }
}

/// Lists named rooms with members.
#[utoipa::path(get, path = "/v1/rooms", tag = "rooms", params(Listing),
    responses((status = 200, description = "A page of them", body = Rooms), Invalid))]
pub(crate) async fn list(
    State(node): State<Node>,
    Query(listing): Query<Listing>,
) -> Result<Json<Rooms>, Problem> {
    let cursor = listing.cursor.as_deref().map(query::room).transpose()?;
    let page = node.rooms(cursor, query::limit(listing.limit)?).await;
    let next = page.items.last().filter(|_| page.more).map(|room| room.room.to_string());
    Ok(Json(Rooms { rooms: page.items.iter().map(RoomCount::from).collect(), next }))
}

/// Shows a room.
#[utoipa::path(get, path = "/v1/rooms/{room}", tag = "rooms", params(("room" = schema::AnyRoom, Path, description = "The room's name")),
    responses((status = 200, description = "The room", body = schema::RoomDetail), Invalid, Missing))]
pub(crate) async fn show(
    State(node): State<Node>,
    Path(room): Path<String>,
) -> Result<Json<RoomDetail>, Problem> {
    Ok(Json(node.room(&query::any_room(&room)?).await?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Reading {
    /// A `message_id`: what lies behind it. Without it from the oldest that is kept.
    #[param(value_type = u64, required = false, maximum = 9_007_199_254_740_991_u64)]
    after: Option<u64>,
    /// How many at most; 100 by default.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// A piece of a room's log.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Messages {
    room: String,
    epoch: String,
    #[schema(value_type = Vec<schema::Envelope>)]
    messages: Vec<Box<RawValue>>,
    /// What is lost behind `after`, or null.
    #[schema(required, value_type = Option<schema::Reset>)]
    reset: Option<serde_json::Value>,
}

/// Reads a room's messages.
#[utoipa::path(get, path = "/v1/rooms/{room}/messages", tag = "rooms", params(("room" = schema::AnyRoom, Path, description = "The room's name"), Reading),
    responses((status = 200, description = "Some of them, in order", body = Messages), Invalid))]
pub(crate) async fn messages(
    State(node): State<Node>,
    Path(room): Path<String>,
    Query(reading): Query<Reading>,
) -> Result<Json<Messages>, Problem> {
    let room = query::any_room(&room)?;
    let after = reading.after.map(Offset);
    if after.is_some_and(|after| after > Offset::MAX) {
        return Err(Problem::of(ErrorCode::BadFrame, "after is a message_id: at most 2^53-1"));
    }
    let history = node.history(&room, after, query::limit(reading.limit)?).await?;
    let messages = history.records.iter().map(|record| {
        let envelope = record.message.envelope(&room, Some(record.offset), record.timestamp);
        // A message was checked to be JSON before it was kept.
        RawValue::from_string(String::from_utf8_lossy(&envelope).into_owned()).unwrap_or_default()
    });
    let reset = history
        .reset
        .map(|(reason, from, to)| serde_json::json!({ "reason": reason, "from": from, "to": to }));
    Ok(Json(Messages {
        room: room.to_string(),
        epoch: history.epoch.to_string(),
        messages: messages.collect(),
        reset,
    }))
}

/// Removes a room's messages.
///
/// Members go on; who had not read them is told by `reset`.
#[utoipa::path(delete, path = "/v1/rooms/{room}/messages", tag = "rooms", params(("room" = schema::AnyRoom, Path, description = "The room's name")),
    responses((status = 204, description = "They are gone"), Invalid))]
pub(crate) async fn clear(State(node): State<Node>, Path(room): Path<String>) -> Result<StatusCode, Problem> {
    node.clear(&query::any_room(&room)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
