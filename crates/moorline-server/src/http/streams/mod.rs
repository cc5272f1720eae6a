//! Streams over HTTP (spec/protocol.md, section 12).

mod put;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::StringRejection;
use bytes::Bytes;
use http::StatusCode;
use moorline::{Answer, ErrorCode, Node, Rejection, RoomName};
use moorline_proto::frame::StreamAct;
use moorline_proto::id::StreamName;
use moorline_proto::stream::{Outcome, StreamState, StreamView};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

pub(crate) use self::put::{__path_put, PATH, put};
use super::body::{self, text};
use super::caller::Caller;
use super::openapi::{Conflicting, Invalid, Missing};
use super::problem::Problem;
use super::query::{self, Path};
use super::schema;

/// Opens a stream, or takes one's own over from its former holder.
#[utoipa::path(post, path = "/v1/rooms/{room}/streams", tag = "streams", params(("room" = schema::Room, Path, description = "The room's name")),
    request_body(content = schema::StreamOpen, content_type = "application/json"),
    responses((status = 201, description = "It is open", body = schema::StreamOpened), Invalid, Conflicting))]
pub(crate) async fn open(
    State(node): State<Node>,
    caller: Caller,
    Path(room): Path<String>,
    body: Result<String, StringRejection>,
) -> Result<(StatusCode, Json<Answer>), Problem> {
    let room = query::room(&room)?;
    let (stream, act) = read(body, StreamAct::parse_open)?;
    let answer = node.stream(room, stream, act, &caller.name).await?;
    Ok((StatusCode::CREATED, Json(answer)))
}

/// The open streams of a room.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Streams {
    room: String,
    /// They, sorted by name.
    streams: Vec<OpenStream>,
}

/// A stream that is open.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OpenStream {
    stream: String,
    /// The length of its text in Unicode code points: of all that is kept, also what is not sent to readers yet; the last 50 ms may be
    /// missing while the store writes.
    at: u64,
    /// What opening gave for the readers, or null.
    #[schema(required, value_type = Option<Object>)]
    data: Option<Box<RawValue>>,
    /// Whether somebody asked its producer to stop.
    cancel: bool,
}

/// Lists the open streams of a room.
#[utoipa::path(get, path = "/v1/rooms/{room}/streams", tag = "streams", params(("room" = schema::Room, Path, description = "The room's name")),
    responses((status = 200, description = "They", body = Streams), Invalid))]
pub(crate) async fn list(
    State(node): State<Node>,
    Path(room): Path<String>,
) -> Result<Json<Streams>, Problem> {
    let room = query::room(&room)?;
    let streams = node.open_streams(&room).await?;
    let streams = streams.into_iter().map(|view| OpenStream {
        stream: view.stream.to_string(),
        at: view.at,
        data: view.data.as_ref().map(raw),
        cancel: view.cancel,
    });
    Ok(Json(Streams { room: room.to_string(), streams: streams.collect() }))
}

/// A stream as it stands.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stream {
    room: String,
    stream: String,
    state: Standing,
    /// The length of its text in Unicode code points.
    at: u64,
    /// All of its text that is kept, also what is not sent to readers yet; the last 50 ms may be missing while the store writes.
    content: String,
    /// What opening gave for the readers, or null.
    #[schema(required, value_type = Option<Object>)]
    data: Option<Box<RawValue>>,
    /// Whether somebody asked its producer to stop.
    cancel: bool,
    /// What the end carried, where it is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value)]
    message: Option<Box<RawValue>>,
    /// What the end carried, where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value)]
    error: Option<Box<RawValue>>,
}

/// How a stream stands.
#[derive(Serialize, ToSchema)]
#[schema(as = StreamState)]
#[serde(rename_all = "lowercase")]
enum Standing {
    Open,
    Complete,
    Error,
    Cancelled,
    Orphaned,
}

impl Stream {
    fn of(room: &RoomName, view: StreamView) -> Self {
        let (state, message, error) = match view.state {
            StreamState::Open => (Standing::Open, None, None),
            StreamState::Ended(Outcome::Complete { message }) => (Standing::Complete, message, None),
            StreamState::Ended(Outcome::Error { error }) => (Standing::Error, None, error),
            StreamState::Ended(Outcome::Cancelled) => (Standing::Cancelled, None, None),
            StreamState::Orphaned => (Standing::Orphaned, None, None),
        };
        Self {
            room: room.to_string(),
            stream: view.stream.to_string(),
            state,
            at: view.at,
            content: view.content,
            data: view.data.as_ref().map(raw),
            cancel: view.cancel,
            message: message.as_ref().map(raw),
            error: error.as_ref().map(raw),
        }
    }
}

/// JSON as it was given.
fn raw(json: &Bytes) -> Box<RawValue> {
    // It was checked to be JSON before it was kept.
    RawValue::from_string(String::from_utf8_lossy(json).into_owned()).unwrap_or_default()
}

/// Shows a stream, also one that has ended, as long as it is kept.
#[utoipa::path(get, path = "/v1/rooms/{room}/streams/{stream}", tag = "streams", params(("room" = schema::Room, Path, description = "The room's name"), ("stream" = schema::StreamName, Path, description = "The stream's name")),
    responses((status = 200, description = "The stream", body = Stream), Invalid, Missing))]
pub(crate) async fn show(
    State(node): State<Node>,
    Path((room, stream)): Path<(String, String)>,
) -> Result<Json<Stream>, Problem> {
    let (room, stream) = (query::room(&room)?, query::stream(&stream)?);
    match node.view_stream(&room, &stream).await? {
        Some(view) => Ok(Json(Stream::of(&room, view))),
        None => Err(Problem::of(ErrorCode::NotFound, "there is no such stream")),
    }
}

/// Adds text to a stream, and renews its lease. A repetition does no harm.
#[utoipa::path(post, path = "/v1/rooms/{room}/streams/{stream}/append", tag = "streams", params(("room" = schema::Room, Path, description = "The room's name"), ("stream" = schema::StreamName, Path, description = "The stream's name")),
    request_body(content = schema::StreamAppend, content_type = "application/json"),
    responses((status = 200, description = "It has the text", body = schema::StreamAppended), Invalid, Missing, Conflicting))]
pub(crate) async fn append(
    State(node): State<Node>,
    caller: Caller,
    Path(names): Path<(String, String)>,
    body: Result<String, StringRejection>,
) -> Result<Json<Answer>, Problem> {
    ask(&node, &caller, names, read(body, StreamAct::parse_append)?).await.map(Json)
}

/// Ends a stream. The same end again is answered as the first was.
#[utoipa::path(post, path = "/v1/rooms/{room}/streams/{stream}/end", tag = "streams", params(("room" = schema::Room, Path, description = "The room's name"), ("stream" = schema::StreamName, Path, description = "The stream's name")),
    request_body(content = schema::StreamEnd, content_type = "application/json"),
    responses((status = 200, description = "It has ended", body = schema::StreamEnded), Invalid, Missing, Conflicting))]
pub(crate) async fn end(
    State(node): State<Node>,
    caller: Caller,
    Path(names): Path<(String, String)>,
    body: Result<String, StringRejection>,
) -> Result<Json<Answer>, Problem> {
    ask(&node, &caller, names, read(body, StreamAct::parse_end)?).await.map(Json)
}

/// Asks the producer of a stream to stop. Idempotent.
#[utoipa::path(post, path = "/v1/rooms/{room}/streams/{stream}/cancel", tag = "streams", params(("room" = schema::Room, Path, description = "The room's name"), ("stream" = schema::StreamName, Path, description = "The stream's name")),
    responses((status = 204, description = "It is asked"), Invalid, Missing, Conflicting))]
pub(crate) async fn cancel(
    State(node): State<Node>,
    caller: Caller,
    Path(names): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    ask(&node, &caller, names, StreamAct::Cancel).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn read<T>(
    body: Result<String, StringRejection>,
    parse: impl FnOnce(&str) -> Result<T, Rejection>,
) -> Result<T, Problem> {
    let text = text(body)?;
    body::check_object(&text)?;
    Ok(parse(&text)?)
}

async fn ask(
    node: &Node,
    caller: &Caller,
    (room, stream): (String, String),
    act: StreamAct,
) -> Result<Answer, Problem> {
    let (room, stream): (RoomName, StreamName) = (query::room(&room)?, query::stream(&stream)?);
    Ok(node.stream(room, Some(stream), act, &caller.name).await?)
}

#[cfg(test)]
mod tests;
