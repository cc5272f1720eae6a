//! What a verifier works with, from the settings and the files that they name.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretSlice;

use super::claims::Rules;
use super::fetch::Source;
use super::jwks;
use super::key::Key;
use super::keyring::Keyring;
use crate::bounded_file;
use crate::causes::causes;
use crate::settings::{Algorithm, AuthSettings, JwksPlace, JwksSource, KeySource, SettingsError};

/// The largest file of one key, in bytes.
const KEY_FILE_BYTES_MAX: usize = 64 * 1024;

/// Claims that mean something else than a user or grants.
const TAKEN: [&str; 6] = ["exp", "nbf", "iat", "aud", "iss", "jti"];

/// Rules and keys of one moment.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) rules: Rules,
    pub(super) keyring: Arc<Keyring>,
    pub(super) refresh: Duration,
    /// Of `auth.key` and of key sets in files.
    from_files: Keyring,
    /// The first key that can sign; none of a set can.
    pub(super) signing_key: Option<Arc<Key>>,
    fetched: Vec<FetchedSet>,
}

#[derive(Clone, Debug)]
struct FetchedSet {
    source: Arc<Source>,
    /// None before the first success.
    keys: Option<Vec<Arc<Key>>>,
}

impl State {
    pub(super) fn load(settings: &AuthSettings) -> Result<Self, SettingsError> {
        check_claim_names(settings)?;
        let mut files = Vec::new();
        for source in &settings.keys {
            files.push(Arc::new(read_key(source)?));
        }
        let mut fetched = Vec::new();
        for set in &settings.jwks {
            check_algorithms(set)?;
            match &set.from {
                JwksPlace::File(path) => files.extend(read_set(path, &set.algorithms)?),
                JwksPlace::Url(url) => {
                    let source = Arc::new(Source::new(url, &set.algorithms)?);
                    fetched.push(FetchedSet { source, keys: None });
                }
            }
        }
        let from_files = Keyring::of(&files)
            .map_err(|error| SettingsError::new(format!("auth.key and auth.jwks: {error}")))?;
        Ok(Self {
            rules: Rules::of(settings),
            keyring: Arc::new(from_files.clone()),
            refresh: settings.jwks_refresh,
            from_files,
            signing_key: files.into_iter().find(|key| key.can_sign()),
            fetched,
        })
    }

    /// The same, with what was fetched for another state.
    pub(super) fn with_fetched_of(mut self, other: &Self) -> Self {
        for set in &mut self.fetched {
            let same = other.fetched.iter().find(|known| known.source == set.source);
            set.keys = same.and_then(|known| known.keys.clone());
        }
        self.with_keyring()
    }

    /// The same, with these keys for that source, where it is still wanted.
    pub(super) fn with_fetched(&self, source: &Source, keys: &[Arc<Key>]) -> Self {
        let mut state = self.clone();
        for set in state.fetched.iter_mut().filter(|set| *set.source == *source) {
            set.keys = Some(keys.to_vec());
        }
        state.with_keyring()
    }

    fn with_keyring(mut self) -> Self {
        let mut keyring = self.from_files.clone();
        for set in &self.fetched {
            keyring.add_fetched(set.keys.as_deref().unwrap_or_default());
        }
        self.keyring = Arc::new(keyring);
        self
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.fetched.iter().map(|set| &set.source)
    }

    pub(super) fn never_fetched(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.fetched.iter().filter(|set| set.keys.is_none()).map(|set| &set.source)
    }

    pub(super) fn has_fetched(&self, source: &Source) -> bool {
        self.fetched.iter().any(|set| *set.source == *source && set.keys.is_some())
    }
}

fn check_claim_names(settings: &AuthSettings) -> Result<(), SettingsError> {
    let (user, grants) = (settings.user_claim.as_str(), settings.grants_claim.as_str());
    if [user, grants].iter().any(|name| name.is_empty() || TAKEN.contains(name)) || user == grants {
        let why = "must be different names, and none of exp, nbf, iat, aud, iss and jti";
        return Err(SettingsError::new(format!("auth.user_claim and auth.grants_claim {why}")));
    }
    Ok(())
}

fn check_algorithms(set: &JwksSource) -> Result<(), SettingsError> {
    let public = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
    if set.algorithms.is_empty() || !set.algorithms.iter().all(|algorithm| public.contains(algorithm)) {
        let why = "must be some of RS256, ES256 and EdDSA: secrets do not come from key sets";
        return Err(SettingsError::new(format!("auth.jwks: its algorithms {why}")));
    }
    Ok(())
}

fn read_key(source: &KeySource) -> Result<Key, SettingsError> {
    let wrong = |why: &str| {
        let (algorithm, file) = (source.algorithm, source.file.display());
        SettingsError::new(format!("auth.key: the {algorithm:?} key in {file}: {why}"))
    };
    if source.id.as_ref().is_some_and(String::is_empty) {
        return Err(wrong("its id is empty: leave it out, or give it one"));
    }
    let bytes =
        bounded_file::read(&source.file, KEY_FILE_BYTES_MAX).map_err(|error| wrong(&causes(&error)))?;
    Key::from_file(source.id.clone(), source.algorithm, &SecretSlice::from(bytes))
        .map_err(|error| wrong(&causes(&error)))
}

fn read_set(path: &Path, algorithms: &[Algorithm]) -> Result<Vec<Arc<Key>>, SettingsError> {
    let wrong =
        |why: &str| SettingsError::new(format!("auth.jwks: the key set in {}: {why}", path.display()));
    let text = bounded_file::read(path, jwks::BYTES_MAX).map_err(|error| wrong(&causes(&error)))?;
    let keys = jwks::parse(&text, algorithms).map_err(|error| wrong(&causes(&error)))?;
    if keys.is_empty() {
        return Err(wrong("it has no key with a kid for these algorithms"));
    }
    Ok(keys)
}
