//! API keys: who may use the HTTP interface, and for what (spec/protocol.md, section 8).
//!
//! A key's secret is `mk_{id}_{256 random bits in base64url}`. The file keeps hashes. A plain SHA-256 is enough: nobody
//! guesses 256 random bits, however quickly.

mod file;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use moorline::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

pub(crate) use self::file::{KeysFile, KeysFileError, KeysLock, NewKey, check_name};
use crate::causes::causes;
use crate::settings::SettingsError;

/// The most keys in one file.
const KEYS_MAX: usize = 1_000;
/// The longest secret that is looked at, in bytes.
const SECRET_MAX_BYTES: usize = 256;
/// The longest id, in bytes.
const ID_MAX_BYTES: usize = 64;
/// What every secret begins with, so that scanners find one that was published by mistake.
const PREFIX: &str = "mk_";

/// What a key allows.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scope {
    /// Publish.
    Publish,
    /// Look at sessions, rooms and users.
    Read,
    /// End sessions, change rooms, revoke tokens, reload.
    Manage,
    /// Have tokens signed.
    Tokens,
    /// Read metrics.
    Metrics,
}

impl Scope {
    /// The word in files and on the command line.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Read => "read",
            Self::Manage => "manage",
            Self::Tokens => "tokens",
            Self::Metrics => "metrics",
        }
    }
}

/// A key, as it is known: by its hash.
#[derive(Clone, Debug)]
pub(crate) struct ApiKey {
    pub(crate) id: String,
    /// Whose key it is. Publish ids are unique within it; several keys may share it, so that one can replace another.
    pub(crate) name: String,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) created: Timestamp,
    /// From then on it does not count; none where it does not end.
    pub(crate) expires: Option<Timestamp>,
    hash: Hash,
}

impl ApiKey {
    /// Whether it allows that.
    pub(crate) fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether its end has come.
    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| now >= end)
    }
}

/// The SHA-256 of a secret. Not shown.
#[derive(Clone)]
struct Hash([u8; 32]);

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(…)")
    }
}

impl Hash {
    fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }
}

/// The keys of one reading of the file.
#[derive(Debug, Default)]
pub(crate) struct ApiKeys {
    by_id: BTreeMap<String, Arc<ApiKey>>,
}

impl ApiKeys {
    /// Reads a file of keys: up to 1 MiB and 1,000 keys.
    ///
    /// # Errors
    /// It cannot be read, or a key in it cannot be.
    pub(crate) fn load(path: &Path) -> Result<Self, SettingsError> {
        let wrong = |error: KeysFileError| {
            SettingsError::new(format!("keys.file: {}: {}", path.display(), causes(&error)))
        };
        let file = KeysFile::read(path).map_err(wrong)?;
        Ok(Self { by_id: file.keys().map(|key| (key.id.clone(), Arc::new(key.clone()))).collect() })
    }

    /// Whether there is none, so that nothing that wants one can be asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The key of which that is the secret. How long it takes says nothing about the secret.
    pub(crate) fn verify(&self, presented: &str, now: Timestamp) -> Option<Arc<ApiKey>> {
        if presented.len() > SECRET_MAX_BYTES {
            return None;
        }
        let id = presented.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).map(|(id, _)| id);
        let key = id.and_then(|id| self.by_id.get(id));
        // An unknown id takes as long as a wrong secret.
        let hash = key.map_or(&Hash([0; 32]), |key| &key.hash).0;
        let is_same: bool = hash.ct_eq(&Hash::of(presented).0).into();
        key.filter(|key| is_same && !key.has_expired(now)).cloned()
    }
}

#[cfg(test)]
mod tests;
