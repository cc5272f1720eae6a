//! Stub.

use std::path::Path;

use moorline::Timestamp;

use crate::settings::SettingsError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Publish,
    Read,
    Manage,
    Tokens,
    Metrics,
}

#[derive(Debug, Default)]
pub(crate) struct ApiKeys;

impl ApiKeys {
    pub(crate) fn load(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path);
        text.map(|_| Self)
            .map_err(|error| SettingsError::new(format!("keys.file: {}: {error}", path.display())))
    }
}

pub(crate) fn generate(
    name: &str,
    scopes: &[Scope],
    expires: Option<Timestamp>,
    now: Timestamp,
) -> Result<(String, String), anyhow::Error> {
    Ok(("mk_stub".to_owned(), format!("# {name} {scopes:?} {expires:?} {now}\n")))
}
