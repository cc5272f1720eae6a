//! Who is at the other end of a connection, and what shows it.

use std::fmt;
use std::sync::Arc;

use arcstr::ArcStr;

use crate::grants::Grants;
use crate::id::{NameError, UserId};
use crate::time::Timestamp;

/// The id of a token (its `jti`), by which it can be revoked alone: 1 to 128 bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(ArcStr);

impl TokenId {
    /// Checks an id.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, NameError> {
        // The rules are a user id's.
        UserId::new(text).map(|id| Self(id.as_str().into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a client presents to say who it is. Never logged: its `Debug` says nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Arc<str>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// The longest text that is looked at: more would let strangers make us work.
    pub const MAX_BYTES: usize = 8192;

    /// What a client presents. Text that is too long becomes empty, which nobody accepts.
    #[must_use]
    pub fn presented(text: &str) -> Self {
        if text.len() > Self::MAX_BYTES { Self(Arc::from("")) } else { Self(text.into()) }
    }

    /// The text, for the one who checks it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Who a connection speaks for, as an authenticator or the application found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user; none for an anonymous one.
    pub user: Option<UserId>,
    /// What it may do by itself.
    pub grants: Grants,
    /// When its right to be connected ends; none where it does not.
    pub expires_at: Option<Timestamp>,
    /// Since when it has that right: what is revoked of a user is what was issued until then. None counts as for ever.
    pub issued_at: Option<Timestamp>,
    /// The id of the token that shows it.
    pub token: Option<TokenId>,
}

impl Identity {
    /// That user, with every right, for as long as it likes.
    #[must_use]
    pub fn user(user: UserId) -> Self {
        Self { user: Some(user), ..Self::anonymous() }
    }

    /// Nobody in particular, with every right, for as long as it likes.
    #[must_use]
    pub const fn anonymous() -> Self {
        Self { user: None, grants: Grants::ALL, expires_at: None, issued_at: None, token: None }
    }
}
