//! The only place that names backends: what a command runs on.

use std::sync::Arc;

use moorline::{Config, Hooks, Node, StartError};

use crate::app::Mode;
use crate::auth::Verifier;
use crate::keys::ApiKeys;
use crate::settings::{Settings, SettingsError};
use crate::tls::Tls;

/// What is in the files that settings name.
pub(crate) struct Files {
    /// None in development.
    pub(crate) verifier: Option<Arc<Verifier>>,
    /// Empty in development, which asks for none.
    pub(crate) keys: Arc<ApiKeys>,
    /// None where connections are not encrypted here.
    pub(crate) tls: Option<Arc<Tls>>,
}

impl Files {
    /// Reads them.
    ///
    /// # Errors
    /// Says what is wrong with each.
    pub(crate) fn load(settings: &Settings, mode: Mode) -> Result<Self, SettingsError> {
        let mut mistakes = Vec::new();
        let mut noted = |error: SettingsError| mistakes.push(error.to_string());
        let verifier = (mode == Mode::Serving).then(|| Verifier::load(&settings.auth));
        let verifier = verifier.transpose().map_err(&mut noted).ok().flatten();
        let keys = settings.keys_file.as_deref().map(ApiKeys::load);
        let keys = keys.transpose().map_err(&mut noted).ok().flatten();
        let tls = settings.tls.as_ref().map(Tls::load);
        let tls = tls.transpose().map_err(&mut noted).ok().flatten();
        if !mistakes.is_empty() {
            return Err(SettingsError::new(mistakes.join("\n")));
        }
        let keys = Arc::new(keys.unwrap_or_default());
        Ok(Self { verifier: verifier.map(Arc::new), keys, tls: tls.map(Arc::new) })
    }
}

/// A node that keeps everything in memory, and lets in whom the verifier knows.
///
/// # Errors
/// Names the setting that cannot be, or what is missing.
pub(crate) fn node(config: Config, verifier: Option<&Arc<Verifier>>) -> Result<Node, StartError> {
    let authenticator = verifier.map(|verifier| Arc::clone(verifier) as _);
    Node::in_memory_with(config, Hooks { authenticator, ..Hooks::default() })
}
