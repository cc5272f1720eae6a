//! The only place that names backends: what a command runs on.

pub(crate) mod store;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use moorline::{Backend, Config, Hooks, Node, StartError};
use moorline_disk::Store;
use sha2::{Digest as _, Sha256};

use crate::app::Mode;
use crate::auth::Verifier;
use crate::bounded_file;
use crate::keys::ApiKeys;
use crate::settings::{JwksPlace, JwksSource, Settings, SettingsError, TlsSettings};
use crate::tls::Tls;

/// No file that a setting names may be longer.
const FILE_MAX_BYTES: usize = 1024 * 1024;

/// What is in the files that settings name.
pub(crate) struct Files {
    /// None in development.
    pub(crate) verifier: Option<Arc<Verifier>>,
    /// Empty in development, which asks for none.
    pub(crate) keys: Arc<ApiKeys>,
    /// None where connections are not encrypted here.
    pub(crate) tls: Option<Arc<Tls>>,
    /// Taken before the rest was read: where a file changes meanwhile, the next reload names it once more than needed.
    pub(crate) prints: Prints,
}

impl Files {
    /// Reads them.
    ///
    /// # Errors
    /// Says what is wrong with each.
    pub(crate) fn load(settings: &Settings, mode: Mode) -> Result<Self, SettingsError> {
        let prints = prints(settings);
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
        if keys.as_ref().is_some_and(ApiKeys::is_empty) {
            tracing::warn!(
                "keys.file has no key: nobody can use the HTTP interface; `moorline keys create` makes one"
            );
        }
        let keys = Arc::new(keys.unwrap_or_default());
        Ok(Self { verifier: verifier.map(Arc::new), keys, tls: tls.map(Arc::new), prints })
    }
}

/// The settings that name files, each with a hash of what is in them, so that a reload can say which of them changed.
pub(crate) type Prints = BTreeMap<&'static str, [u8; 32]>;

/// What is in the files now. One that cannot be read says so elsewhere.
fn prints(settings: &Settings) -> Prints {
    let tls = |path: fn(&TlsSettings) -> &PathBuf| settings.tls.iter().map(path).collect();
    let key_set = |jwks: &JwksSource| match &jwks.from {
        JwksPlace::File(path) => Some(path.clone()),
        JwksPlace::Url(_) => None,
    };
    let sets: Vec<PathBuf> = settings.auth.jwks.iter().filter_map(key_set).collect();
    let files: [(&'static str, Vec<&PathBuf>); 5] = [
        ("auth.key", settings.auth.keys.iter().map(|key| &key.file).collect()),
        ("auth.jwks", sets.iter().collect()),
        ("keys.file", settings.keys_file.iter().collect()),
        ("tls.certificate", tls(|tls| &tls.certificate)),
        ("tls.key", tls(|tls| &tls.key)),
    ];
    let print = |paths: Vec<&PathBuf>| {
        let mut hash = Sha256::new();
        for path in paths {
            hash.update(bounded_file::read(path, FILE_MAX_BYTES).unwrap_or_default());
        }
        hash.finalize().into()
    };
    files.into_iter().map(|(name, paths)| (name, print(paths))).collect()
}

/// Says why the store cannot write, for as long as it cannot.
pub(crate) type Trouble = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// A node, and how the store that it is on does.
pub(crate) struct Assembled {
    pub(crate) node: Node,
    /// None in memory, which always takes what it is given.
    pub(crate) trouble: Option<Trouble>,
}

/// A node on the store, or in memory where there is none, that lets in whom the verifier knows.
///
/// # Errors
/// Names the setting that cannot be, or what is missing.
pub(crate) fn node(
    config: Config,
    store: Option<&mut Store>,
    verifier: Option<&Arc<Verifier>>,
) -> Result<Assembled, StartError> {
    let authenticator = verifier.map(|verifier| Arc::clone(verifier) as _);
    let hooks = Hooks { authenticator, ..Hooks::default() };
    let Some(store) = store else {
        return Ok(Assembled { node: Node::in_memory_with(config, hooks)?, trouble: None });
    };
    let health = store.health();
    let backend =
        Backend { broker: store.broker(), sessions: store.sessions(), restored: store.take_restored() };
    let node = Node::start(config, backend, hooks)?;
    Ok(Assembled { node, trouble: Some(Arc::new(move || health.trouble())) })
}
