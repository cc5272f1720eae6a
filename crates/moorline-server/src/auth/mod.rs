//! Stub.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use moorline::{AuthenticateError, Authenticator, Identity, Token};
use tokio_util::sync::CancellationToken;

use crate::settings::{AuthSettings, SettingsError};

pub(crate) struct Verifier;

impl Verifier {
    pub(crate) fn load(settings: &AuthSettings) -> Result<Self, SettingsError> {
        for key in &settings.keys {
            std::fs::read(&key.file)
                .map_err(|error| SettingsError::new(format!("auth.key: {}: {error}", key.file.display())))?;
        }
        Ok(Self)
    }

    pub(crate) fn reload(&self, settings: &AuthSettings) -> Result<(), SettingsError> {
        Self::load(settings).map(|_| ())
    }

    pub(crate) async fn refresh(self: Arc<Self>, stopped: CancellationToken) {
        stopped.cancelled().await;
    }
}

impl Authenticator for Verifier {
    fn authenticate<'a>(&'a self, _token: &'a Token) -> BoxFuture<'a, Result<Identity, AuthenticateError>> {
        Box::pin(async { Err(AuthenticateError::Refused("stub".into())) })
    }
}
