//! Who a client is: the seam to whatever knows.

use std::time::Duration;

use futures_util::future::BoxFuture;
use moorline_proto::error::{ErrorCode, Rejection};
use moorline_proto::identity::{Identity, Token};

use crate::node::Node;
use crate::telemetry;

/// Finds out whom a token speaks for. One per node; see [`crate::Node::start`].
///
/// It is asked once for each connection and for each `auth` frame, concurrently. What it waits for delays that client alone;
/// a caller that cannot wait for ever bounds its own waits. The node checks expiry and revocation by itself, from what
/// [`Identity`] says.
///
/// ```
/// use futures_util::future::BoxFuture;
/// use moorline::{AuthenticateError, Authenticator, Identity, Token, UserId};
///
/// struct Passwords;
///
/// impl Authenticator for Passwords {
///     fn authenticate<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Identity, AuthenticateError>> {
///         Box::pin(async move {
///             let user = token.expose().strip_prefix("open sesame ").and_then(|user| UserId::new(user).ok());
///             user.map(Identity::user).ok_or_else(|| AuthenticateError::Refused("it is another password".into()))
///         })
///     }
/// }
/// ```
pub trait Authenticator: Send + Sync + 'static {
    /// Checks a token.
    ///
    /// # Errors
    /// See [`AuthenticateError`].
    fn authenticate<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Identity, AuthenticateError>>;
}

/// Why a token was not accepted. What it says goes to the client and to the log: it holds nothing of the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticateError {
    /// The client's fault: this token will never do. Answered by `not_authenticated` and close 1008.
    #[error("{0}")]
    Refused(String),
    /// There is nobody to ask. Answered by `no_authenticator` and close 1008.
    #[error("this endpoint checks no tokens; in development say who you are by ?user=")]
    NoAuthenticator,
    /// Ours: it cannot be checked now. Answered by `unavailable` and close 1013; the client comes back.
    #[error("{why}")]
    Unavailable {
        /// What is missing.
        why: String,
        /// When it may be there.
        retry_in: Duration,
    },
}

impl AuthenticateError {
    /// The answer for the client.
    #[must_use]
    pub fn rejection(&self) -> Rejection {
        match self {
            Self::Refused(why) => Rejection::new(ErrorCode::NotAuthenticated, why.as_str()),
            Self::NoAuthenticator => Rejection::new(ErrorCode::NoAuthenticator, self.to_string()),
            Self::Unavailable { why, retry_in } => {
                Rejection::new(ErrorCode::Unavailable, why.as_str()).retry_in(*retry_in)
            }
        }
    }
}

impl Node {
    /// Asks the node's authenticator. It has as long as a client has for its `hello`.
    ///
    /// # Errors
    /// See [`AuthenticateError`].
    pub(crate) async fn authenticate(&self, token: &Token) -> Result<Identity, AuthenticateError> {
        let Some(authenticator) = &self.hooks().authenticator else {
            return Err(AuthenticateError::NoAuthenticator);
        };
        let within = self.config().hello_timeout;
        let asked = tokio::time::timeout(within, authenticator.authenticate(token)).await;
        let identity = asked.unwrap_or_else(|_| {
            let why = "the token could not be checked in time".to_owned();
            Err(AuthenticateError::Unavailable { why, retry_in: within })
        });
        telemetry::token(match &identity {
            Ok(_) => "accepted",
            Err(AuthenticateError::Unavailable { .. }) => "unavailable",
            Err(_) => "refused",
        });
        identity
    }
}
