//! Stub.

use crate::settings::{SettingsError, TlsSettings};

pub(crate) struct Tls;

impl Tls {
    pub(crate) fn load(settings: &TlsSettings) -> Result<Self, SettingsError> {
        for path in [&settings.certificate, &settings.key] {
            std::fs::read(path)
                .map_err(|error| SettingsError::new(format!("tls: {}: {error}", path.display())))?;
        }
        Ok(Self)
    }

    pub(crate) fn reload(&self, settings: &TlsSettings) -> Result<(), SettingsError> {
        Self::load(settings).map(|_| ())
    }
}
