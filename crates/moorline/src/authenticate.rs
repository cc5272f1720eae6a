//! Who a client is: the seam to whatever knows.

use std::time::Duration;

use futures_util::future::BoxFuture;
use moorline_proto::identity::{Identity, Token};

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
    /// Ours: it cannot be checked now. Answered by `unavailable` and close 1013; the client comes back.
    #[error("{why}")]
    Unavailable {
        /// What is missing.
        why: String,
        /// When it may be there.
        retry_in: Duration,
    },
}
