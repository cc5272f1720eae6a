//! Sessions and users over HTTP.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::StringRejection;
use http::StatusCode;
use moorline::{ErrorCode, Node, SessionFilter, SessionView, UserView};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::problem::Problem;
use super::publish::text;
use super::query::{self, Path, Query};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listing {
    user: Option<String>,
    room: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct Sessions {
    sessions: Vec<SessionView>,
    next: Option<String>,
}

pub(crate) async fn list(
    State(node): State<Node>,
    Query(listing): Query<Listing>,
) -> Result<Json<Sessions>, Problem> {
    let page = node
        .sessions(SessionFilter {
            user: listing.user.as_deref().map(query::user).transpose()?,
            room: listing.room.as_deref().map(query::room).transpose()?,
            cursor: listing.cursor.as_deref().map(query::session).transpose()?,
            limit: query::limit(listing.limit)?,
            connected: false,
        })
        .await;
    let next = page.items.last().filter(|_| page.more).map(|session| session.session.to_string());
    Ok(Json(Sessions { sessions: page.items, next }))
}

pub(crate) async fn show(
    State(node): State<Node>,
    Path(id): Path<String>,
) -> Result<Json<SessionView>, Problem> {
    Ok(Json(node.session(&query::session(&id)?).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

pub(crate) async fn update(
    State(node): State<Node>,
    Path(id): Path<String>,
    body: Result<String, StringRejection>,
) -> Result<Json<SessionView>, Problem> {
    let text = text(body)?;
    let update: Update<'_> =
        serde_json::from_str(&text).map_err(|error| Problem::of(ErrorCode::BadFrame, error.to_string()))?;
    let patch = update.metadata.get().to_owned();
    Ok(Json(node.update_metadata(&query::session(&id)?, patch).await?))
}

pub(crate) async fn end(State(node): State<Node>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    node.disconnect(&query::session(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn join(
    State(node): State<Node>,
    Path((id, room)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    node.add_to_room(&query::session(&id)?, query::room(&room)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn leave(
    State(node): State<Node>,
    Path((id, room)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    node.remove_from_room(&query::session(&id)?, query::room(&room)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn user(
    State(node): State<Node>,
    Path(id): Path<String>,
) -> Result<Json<UserView>, Problem> {
    Ok(Json(node.user(&query::user(&id)?).await?))
}

#[derive(Serialize)]
pub(crate) struct Disconnected {
    disconnected: usize,
}

pub(crate) async fn end_all(
    State(node): State<Node>,
    Path(id): Path<String>,
) -> Result<Json<Disconnected>, Problem> {
    Ok(Json(Disconnected { disconnected: node.disconnect_user(&query::user(&id)?).await }))
}
