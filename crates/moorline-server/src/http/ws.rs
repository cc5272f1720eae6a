//! Where connections come in.

use axum::extract::State;
use axum::response::Response;
use moorline::transport::UpgradeError;
use moorline::transport::axum::Upgrade;
use moorline::{Endpoint, ErrorCode, Identity, Node, Offset, ResumeToken, RoomName};
use serde::Deserialize;

use super::problem::Problem;
use super::query::{self, Path, Query};

/// What a client may say in the URL.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    user: Option<String>,
    session: Option<String>,
    resume_token: Option<String>,
    last_message_id: Option<u64>,
}

pub(crate) async fn own(
    State(node): State<Node>,
    Query(parameters): Query<Parameters>,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    if parameters.last_message_id.is_some() {
        return Err(Problem::of(
            ErrorCode::RoomRequired,
            "last_message_id needs a room in the URL: /ws/{room}",
        ));
    }
    accept(&node, None, &parameters, upgrade)
}

pub(crate) async fn room(
    State(node): State<Node>,
    Path(room): Path<String>,
    Query(parameters): Query<Parameters>,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    accept(&node, Some(query::room(&room)?), &parameters, upgrade)
}

fn accept(
    node: &Node,
    room: Option<RoomName>,
    parameters: &Parameters,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    let last_message_id = parameters.last_message_id.map(Offset);
    if last_message_id.is_some_and(|offset| offset > Offset::MAX) {
        return Err(Problem::of(ErrorCode::BadFrame, "last_message_id is at most 2^53-1"));
    }
    let endpoint = Endpoint {
        room,
        identity: parameters.user.as_deref().map(query::user).transpose()?.map(Identity::user),
        session: parameters.session.as_deref().map(query::session).transpose()?,
        may_choose_session: true,
        resume_token: parameters.resume_token.as_deref().map(ResumeToken::presented),
        last_message_id,
        ..Endpoint::default()
    };
    upgrade.accept(node, endpoint).map_err(|error| problem(&error))
}

/// Why it is no handshake, with the headers that say how it would be one.
fn problem(error: &UpgradeError) -> Problem {
    let code = match error {
        UpgradeError::Limited(rejection) => rejection.code,
        UpgradeError::Draining => ErrorCode::Unavailable,
        UpgradeError::NotUpgradable => ErrorCode::Internal,
        _ => ErrorCode::BadFrame,
    };
    let response = error.response();
    Problem::of(code, error.to_string()).with_status(error.status()).with_headers(response.headers().clone())
}
