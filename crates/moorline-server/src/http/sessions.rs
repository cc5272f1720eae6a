//! Sessions and users over HTTP.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::StringRejection;
use http::StatusCode;
use moorline::{Node, SessionFilter, SessionView, UserView};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::body::{self, text};
use super::openapi::{Conflicting, Invalid, Missing};
use super::problem::Problem;
use super::query::{self, Path, Query};
use super::schema;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// Only this user's.
    #[param(value_type = schema::Id, required = false)]
    user: Option<String>,
    /// Only this room's members.
    #[param(value_type = schema::Room, required = false)]
    room: Option<String>,
    /// How many at most; 100 by default.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// The `next` of the page before.
    #[param(value_type = schema::Id, required = false)]
    cursor: Option<String>,
}

/// A page of sessions.
#[derive(Serialize, ToSchema)]
pub(crate) struct Sessions {
    /// They, sorted by id.
    #[schema(value_type = Vec<schema::Session>)]
    sessions: Vec<SessionView>,
    /// The next page's `cursor`, or null.
    #[schema(required)]
    next: Option<String>,
}

/// Lists sessions.
#[utoipa::path(get, path = "/v1/sessions", tag = "sessions", params(Listing),
    responses((status = 200, description = "A page of them", body = Sessions), Invalid))]
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

/// Shows a session.
#[utoipa::path(get, path = "/v1/sessions/{id}", tag = "sessions", params(("id" = schema::Id, Path, description = "The session's id")),
    responses((status = 200, description = "The session", body = schema::Session), Invalid, Missing))]
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

/// Merges into a session's metadata (RFC 7396).
#[utoipa::path(patch, path = "/v1/sessions/{id}", tag = "sessions", params(("id" = schema::Id, Path, description = "The session's id")),
    request_body(content = schema::Patch, content_type = "application/json"),
    responses((status = 200, description = "The session", body = schema::Session), Invalid, Missing))]
pub(crate) async fn update(
    State(node): State<Node>,
    Path(id): Path<String>,
    body: Result<String, StringRejection>,
) -> Result<Json<SessionView>, Problem> {
    let text = text(body)?;
    let update: Update<'_> = body::fields(&text)?;
    let patch = update.metadata.get().to_owned();
    Ok(Json(node.update_metadata(&query::session(&id)?, patch).await?))
}

/// Ends a session.
///
/// Its connection is closed with 4002, and it cannot be resumed. Idempotent.
#[utoipa::path(delete, path = "/v1/sessions/{id}", tag = "sessions", params(("id" = schema::Id, Path, description = "The session's id")),
    responses((status = 204, description = "There is none any more"), Invalid))]
pub(crate) async fn end(State(node): State<Node>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    node.disconnect(&query::session(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a session a member of a room. Idempotent.
#[utoipa::path(put, path = "/v1/sessions/{id}/rooms/{room}", tag = "sessions", params(("id" = schema::Id, Path, description = "The session's id"), ("room" = schema::Room, Path, description = "The room's name")),
    responses((status = 204, description = "It is one"), Invalid, Missing, Conflicting))]
pub(crate) async fn join(
    State(node): State<Node>,
    Path((id, room)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    node.add_to_room(&query::session(&id)?, query::room(&room)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a session's membership of a room. Idempotent.
#[utoipa::path(delete, path = "/v1/sessions/{id}/rooms/{room}", tag = "sessions", params(("id" = schema::Id, Path, description = "The session's id"), ("room" = schema::Room, Path, description = "The room's name")),
    responses((status = 204, description = "It is none any more"), Invalid, Missing))]
pub(crate) async fn leave(
    State(node): State<Node>,
    Path((id, room)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    node.remove_from_room(&query::session(&id)?, query::room(&room)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Shows a user's sessions.
#[utoipa::path(get, path = "/v1/users/{id}", tag = "users", params(("id" = schema::Id, Path, description = "The user's id")),
    responses((status = 200, description = "They", body = schema::User), Invalid, Missing))]
pub(crate) async fn user(
    State(node): State<Node>,
    Path(id): Path<String>,
) -> Result<Json<UserView>, Problem> {
    Ok(Json(node.user(&query::user(&id)?).await?))
}

/// How many sessions ended.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Disconnected {
    pub(crate) disconnected: usize,
}

/// Ends every session of a user.
#[utoipa::path(delete, path = "/v1/users/{id}/sessions", tag = "users", params(("id" = schema::Id, Path, description = "The user's id")),
    responses((status = 200, description = "How many there were", body = Disconnected), Invalid))]
pub(crate) async fn end_all(
    State(node): State<Node>,
    Path(id): Path<String>,
) -> Result<Json<Disconnected>, Problem> {
    Ok(Json(Disconnected { disconnected: node.disconnect_user(&query::user(&id)?).await? }))
}
