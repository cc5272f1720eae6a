//! Where connections come in.

use std::net::IpAddr;

use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use http::request::Parts;
use moorline::transport::UpgradeError;
use moorline::transport::axum::Upgrade;
use moorline::{Endpoint, ErrorCode, Identity, Node, Offset, ResumeToken, RoomName, Token};
use serde::Deserialize;

use super::presented;
use super::problem::Problem;
use super::query::{self, Path, Query};
use crate::app::{App, Mode};
use crate::proxy;

/// What is not a room under `/ws/` (spec/protocol.md, section 2).
pub(super) const RESOURCES: [&str; 2] = ["stats", "status"];

/// What a client may say in the URL.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    user: Option<String>,
    token: Option<String>,
    session: Option<String>,
    resume_token: Option<String>,
    last_message_id: Option<u64>,
}

/// A connection that asks to come in: who it may be, and what it asks for.
pub(crate) struct Visitor {
    parameters: Parameters,
    identity: Option<Identity>,
    token: Option<Token>,
    address: IpAddr,
    mode: Mode,
}

impl FromRequestParts<App> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Self::of(parts, app)
    }
}

impl Visitor {
    fn of(parts: &Parts, app: &App) -> Result<Self, Problem> {
        let Query(parameters) = Query::<Parameters>::of(parts)?;
        let mode = app.mode();
        let client = proxy::client(parts, app.proxies());
        let mut token = presented::presented(parts, parameters.token.as_deref());
        if let (Mode::Serving, None, Some(name)) = (mode, &token, app.cookie()) {
            let origin = app.origins().judge(&parts.headers, &client);
            token = presented::from_cookie(&parts.headers, &name, origin)?;
        }
        let identity = identity(mode, parameters.user.as_deref())?;
        Ok(Self { parameters, identity, token, address: client.address, mode })
    }
}

/// Whom development believes the client to be.
fn identity(mode: Mode, user: Option<&str>) -> Result<Option<Identity>, Problem> {
    match (mode, user) {
        (Mode::Serving, Some(_)) => {
            let why = "the user is whom the token says: `user` is for `moorline dev`";
            Err(Problem::of(ErrorCode::BadFrame, why))
        }
        (_, user) => Ok(user.map(query::user).transpose()?.map(Identity::user)),
    }
}

pub(crate) async fn own(
    State(node): State<Node>,
    visitor: Visitor,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    upgrade.accept(&node, endpoint(None, visitor)?).map_err(problem)
}

pub(crate) async fn room(
    State(node): State<Node>,
    Path(room): Path<String>,
    visitor: Visitor,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    upgrade.accept(&node, endpoint(Some(named(&room)?), visitor)?).map_err(problem)
}

/// Answers a handshake at once: `room` is what stands behind `/ws/` in the URL, where that is a name as it is.
pub(super) fn answer<B>(
    app: &App,
    room: Option<&str>,
    request: http::Request<B>,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let visitor = Visitor::of(&parts, app)?;
    let endpoint = endpoint(room.map(named).transpose()?, visitor)?;
    let mut request = http::Request::from_parts(parts, body);
    let response = app.node().upgrade(&mut request, endpoint).map_err(problem)?;
    Ok(response.map(|()| Body::empty()))
}

/// The room of a URL. What is a resource beside the rooms is no room, in whatever way it is encoded.
fn named(room: &str) -> Result<RoomName, Problem> {
    if RESOURCES.contains(&room) {
        return Err(Problem::of(ErrorCode::RoomInvalid, "no room has this name in a URL"));
    }
    query::room(room)
}

fn endpoint(room: Option<RoomName>, visitor: Visitor) -> Result<Endpoint, Problem> {
    let Visitor { parameters, identity, token, address, mode } = visitor;
    if room.is_none() && parameters.last_message_id.is_some() {
        let why = "last_message_id needs a room in the URL: /ws/{room}";
        return Err(Problem::of(ErrorCode::RoomRequired, why));
    }
    let last_message_id = parameters.last_message_id.map(Offset);
    if last_message_id.is_some_and(|offset| offset > Offset::MAX) {
        return Err(Problem::of(ErrorCode::BadFrame, "last_message_id is at most 2^53-1"));
    }
    Ok(Endpoint {
        room,
        identity,
        token,
        address: Some(address),
        session: parameters.session.as_deref().map(query::session).transpose()?,
        may_choose_session: mode == Mode::Development,
        resume_token: parameters.resume_token.as_deref().map(ResumeToken::presented),
        last_message_id,
        single_room: false,
    })
}

/// Why it is no handshake, with the headers that say how it would be one.
fn problem(error: UpgradeError) -> Problem {
    let code = match error {
        UpgradeError::Limited(rejection) => return rejection.into(),
        UpgradeError::Draining => ErrorCode::Unavailable,
        UpgradeError::NotUpgradable => ErrorCode::Internal,
        UpgradeError::Handshake(_) | UpgradeError::Subprotocol => ErrorCode::BadFrame,
    };
    let response = error.response();
    Problem::of(code, error.to_string()).with_status(error.status()).with_headers(response.headers().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serving_believes_nobody() {
        assert!(identity(Mode::Serving, Some("ann")).is_err());
        assert_eq!(identity(Mode::Serving, None).unwrap(), None);
        let ann = identity(Mode::Development, Some("ann")).unwrap().and_then(|identity| identity.user);
        assert_eq!(ann.unwrap().as_str(), "ann");
        assert_eq!(identity(Mode::Development, None).unwrap(), None);
    }

    #[test]
    fn resources_are_no_rooms() {
        for name in ["stats", "status"] {
            let problem = format!("{:?}", named(name).unwrap_err());
            assert!(problem.contains("RoomInvalid"), "{problem}");
        }
        assert!(named("statistics").is_ok());
    }

    /// What is wrong with a URL is told without what stood in it.
    #[test]
    fn a_refused_url_does_not_come_back() {
        for query in [
            "token=SECRET&token=SECRET",
            "token=SECRET&more=1",
            "eyJh.SECRET.x=",
            "SECRET",
            "last_message_id=SECRET",
            "token=SECRET&last_message_id=-1",
            "token=SECRET%",
            "token=SECRET%ff",
        ] {
            let request = http::Request::builder().uri(format!("/ws?{query}")).body(()).unwrap();
            let (parts, ()) = request.into_parts();
            let Err(problem) = Query::<Parameters>::of(&parts) else {
                panic!("{query} is no query");
            };
            assert!(!format!("{problem:?}").contains("SECRET"), "{problem:?}");
        }
    }
}
