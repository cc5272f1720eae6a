//! The way in for connections, in front of the router. A handshake passes what every request passes, and pays for nothing
//! that it has no use for: the router and its layers were two fifths of a connection's instructions.
//!
//! What is not to the letter a handshake of `/ws` or `/ws/{room}` is the router's, which comes to the same answer.

use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{Method, Request};

use super::metrics::Requests;
use super::observe::Observed;
use super::problem::Problem;
use super::{origin, ws};
use crate::app::{App, Mode};

/// Answers handshakes.
pub(crate) struct Door {
    app: App,
    requests: Arc<Requests>,
}

impl Door {
    pub(super) const fn new(app: App, requests: Arc<Requests>) -> Self {
        Self { app, requests }
    }

    /// Whether it answers this request.
    pub(crate) fn is_for<B>(request: &Request<B>) -> bool {
        let headers = request.headers();
        request.method() == Method::GET
            && headers.contains_key(UPGRADE)
            // A body has bounds that the router knows.
            && !headers.contains_key(CONTENT_LENGTH)
            && !headers.contains_key(TRANSFER_ENCODING)
            && room(request.uri().path()).is_some()
    }

    pub(crate) fn answer<B>(&self, request: Request<B>) -> Response {
        let observed = Observed::begin(&request);
        let route = if request.uri().path() == OWN { OWN } else { ROOM };
        let response = self.judge(request).unwrap_or_else(Problem::into_response);
        observed.end(&self.requests, route, response)
    }

    fn judge<B>(&self, request: Request<B>) -> Result<Response, Problem> {
        if self.app.mode() == Mode::Development {
            origin::judge(request.headers())?;
        }
        let path = request.uri().clone();
        ws::answer(&self.app, room(path.path()).flatten(), request)
    }
}

/// The two routes, as the router has them.
pub(super) const OWN: &str = "/ws";
pub(super) const ROOM: &str = "/ws/{room}";

/// The room of a path, which may be none; no answer where the path is another, or its name must be decoded first.
fn room(path: &str) -> Option<Option<&str>> {
    if path == OWN {
        return Some(None);
    }
    let name = path.strip_prefix("/ws/")?;
    let is_plain = !name.is_empty() && !name.contains(['/', '%']) && !ws::RESOURCES.contains(&name);
    is_plain.then_some(Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plain_handshake_is_the_routers() {
        for (path, found) in [
            ("/ws", Some(None)),
            ("/ws/lobby", Some(Some("lobby"))),
            ("/ws/", None),
            ("/ws/a/b", None),
            ("/ws/a%20b", None),
            ("/ws/stats", None),
            ("/ws/status", None),
            ("/wss", None),
            ("/v1/stats", None),
        ] {
            assert_eq!(room(path), found, "{path}");
        }
        let asks = |request: http::request::Builder| Door::is_for(&request.body(()).unwrap());
        assert!(asks(Request::get("/ws/lobby?user=ann").header("upgrade", "websocket")));
        assert!(!asks(Request::get("/ws/lobby")));
        assert!(!asks(Request::post("/ws/lobby").header("upgrade", "websocket")));
        assert!(!asks(
            Request::get("/ws/lobby").header("upgrade", "websocket").header("content-length", "1")
        ));
    }
}
