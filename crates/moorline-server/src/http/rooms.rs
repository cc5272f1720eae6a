//! Rooms over HTTP.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use moorline::{ErrorCode, Node, Offset, RoomDetail, RoomView};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::problem::Problem;
use super::query::{self, Path, Query};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listing {
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct Rooms {
    rooms: Vec<Room>,
    next: Option<String>,
}

#[derive(Serialize)]
struct Room {
    room: String,
    connected: usize,
    absent: usize,
}

impl From<&RoomView> for Room {
    fn from(view: &RoomView) -> Self {
        Self { room: view.room.to_string(), connected: view.connected, absent: view.absent }
    }
}

pub(crate) async fn list(
    State(node): State<Node>,
    Query(listing): Query<Listing>,
) -> Result<Json<Rooms>, Problem> {
    let cursor = listing.cursor.as_deref().map(query::room).transpose()?;
    let page = node.rooms(cursor, query::limit(listing.limit)?).await;
    let next = page.items.last().filter(|_| page.more).map(|room| room.room.to_string());
    Ok(Json(Rooms { rooms: page.items.iter().map(Room::from).collect(), next }))
}

pub(crate) async fn show(
    State(node): State<Node>,
    Path(room): Path<String>,
) -> Result<Json<RoomDetail>, Problem> {
    Ok(Json(node.room(&query::any_room(&room)?).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reading {
    after: Option<u64>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(crate) struct Messages {
    room: String,
    epoch: String,
    messages: Vec<Box<RawValue>>,
    reset: Option<serde_json::Value>,
}

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

pub(crate) async fn clear(State(node): State<Node>, Path(room): Path<String>) -> Result<StatusCode, Problem> {
    node.clear(&query::any_room(&room)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
