//! What a WebSocket connection shows who it is.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::place::secret;
use super::{ClientError, Server};
use crate::exit::UsageError;

const TOKEN: &str = "MOORLINE_TOKEN";

/// What a token is to allow, where the server signs it for us. One that we were given allows what it allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant<'a> {
    pub(crate) user: &'a str,
    /// To join this room.
    pub(crate) room: &'a str,
    /// And to publish there.
    pub(crate) publishes: bool,
    /// None for as long as the server gives by itself.
    pub(crate) lifetime: Option<Duration>,
}

/// Where the tokens come from.
pub(crate) enum TokenSource {
    /// A file, read anew whenever one is needed: something else may keep it fresh.
    File(PathBuf),
    /// This one alone.
    Given(SecretString),
    /// The server signs them for us, since we have an API key.
    Minted,
    /// None: a server for development believes who we say that we are.
    Nobody,
}

impl TokenSource {
    /// Chooses: the file, else the variable, else the API key where there is one.
    ///
    /// # Errors
    /// The file or the variable holds no token.
    pub(crate) fn choose(file: Option<PathBuf>, server: &Server) -> Result<Self, UsageError> {
        if let Some(file) = file {
            secret(Some(&file), "--token-file", TOKEN)?;
            return Ok(Self::File(file));
        }
        Ok(match secret(None, "--token-file", TOKEN)? {
            Some(token) => Self::Given(token),
            None if server.has_key() => Self::Minted,
            None => Self::Nobody,
        })
    }

    /// A token for now; none where none is needed.
    pub(crate) async fn token(
        &self,
        server: &Server,
        grant: Grant<'_>,
    ) -> Result<Option<SecretString>, TokenError> {
        Ok(match self {
            Self::File(file) => secret(Some(file), "--token-file", TOKEN)?,
            Self::Given(token) => Some(token.clone()),
            Self::Minted => Some(server.mint(grant).await?),
            Self::Nobody => None,
        })
    }

    /// A token that goes on where `old` ends; none where there is no other.
    pub(super) async fn fresh(
        &self,
        server: &Server,
        grant: Grant<'_>,
        old: Option<&SecretString>,
    ) -> Result<Option<SecretString>, TokenError> {
        let token = self.token(server, grant).await?;
        let is_old =
            |token: &SecretString| old.is_some_and(|old| old.expose_secret() == token.expose_secret());
        Ok(token.filter(|token| !is_old(token)))
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error(transparent)]
    Unreadable(#[from] UsageError),
    #[error("no token could be had")]
    Refused(#[from] ClientError),
}
