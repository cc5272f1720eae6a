//! What a client may do: the seam to an application that decides beyond what tokens say.

use futures_util::future::BoxFuture;
use moorline_proto::error::{ErrorCode, Rejection};
use moorline_proto::id::{RoomName, SessionId, UserId};

use crate::node::Node;

/// Asked, after the token's grants have allowed it, before a session joins a room or publishes to one by itself, and for the
/// room of each connection's URL. It can forbid, and never allow what the grants do not. One per node; see
/// [`crate::Node::start`].
///
/// A session's publishes wait for the answers in their order; what it waits for delays that session alone. Not asked: for
/// joining a session's own rooms, for rooms that a resumed session is in already, and for what the application does itself.
/// Clients whose session has ended are not told how their rooms stand, but `left`: they join again, and are asked about.
pub trait Authorizer: Send + Sync + 'static {
    /// Whether it may.
    ///
    /// # Errors
    /// Why not: [`AuthorizeError`].
    fn authorize<'a>(&'a self, request: AuthorizeRequest<'a>) -> BoxFuture<'a, Result<(), AuthorizeError>>;
}

/// Who wants to do what.
#[derive(Clone, Copy, Debug)]
pub struct AuthorizeRequest<'a> {
    /// The session; none while it is not yet known which it will be: for the room of a connection's URL.
    pub session: Option<&'a SessionId>,
    /// Its user; none for an anonymous one.
    pub user: Option<&'a UserId>,
    /// What it wants to do.
    pub action: Action,
    /// Where.
    pub room: &'a RoomName,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To become a member, and read what is kept.
    Join,
    /// To publish, also a stream: to open one, or to ask its producer to stop.
    Publish,
}

/// Why it may not. What it says goes to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorizeError {
    /// Answered by `forbidden`.
    #[error("{0}")]
    Forbidden(String),
    /// Nobody can say now. Answered by `unavailable`.
    #[error("{0}")]
    Unavailable(String),
}

impl Node {
    /// Asks the node's authorizer; where there is none, nobody objects.
    pub(crate) async fn authorize(&self, request: AuthorizeRequest<'_>) -> Result<(), Rejection> {
        let Some(authorizer) = &self.hooks().authorizer else { return Ok(()) };
        let answer = tokio::time::timeout(self.config().hello_timeout, authorizer.authorize(request)).await;
        match answer {
            Ok(Ok(())) => Ok(()),
            Ok(Err(AuthorizeError::Forbidden(why))) => Err(Rejection::new(ErrorCode::Forbidden, why)),
            Ok(Err(AuthorizeError::Unavailable(why))) => Err(Rejection::new(ErrorCode::Unavailable, why)),
            Err(_) => {
                Err(Rejection::new(ErrorCode::Unavailable, "nobody said in time whether this is allowed"))
            }
        }
    }
}
