//! Which key a token has to be signed with.

use std::collections::HashMap;
use std::sync::Arc;

use super::key::Key;
use super::refusal::Refusal;
use crate::settings::Algorithm;

/// Every key that counts, by the id that names it. Never changed: a new one takes its place.
#[derive(Clone, Debug, Default)]
pub(super) struct Keyring {
    by_id: HashMap<String, Arc<Key>>,
    unnamed: Option<Arc<Key>>,
}

/// Two keys that a token could not tell apart.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SameId {
    #[error("two keys have the id {0:?}")]
    Named(String),
    #[error("two keys have no id: give all but one an `id`")]
    Unnamed,
}

impl Keyring {
    /// A ring of keys of which no two are named alike.
    pub(super) fn of(keys: &[Arc<Key>]) -> Result<Self, SameId> {
        let mut ring = Self::default();
        for key in keys {
            let is_double = match &key.id {
                Some(id) => ring.by_id.insert(id.clone(), Arc::clone(key)).is_some(),
                None => ring.unnamed.replace(Arc::clone(key)).is_some(),
            };
            if is_double {
                return Err(key.id.clone().map_or(SameId::Unnamed, SameId::Named));
            }
        }
        Ok(ring)
    }

    /// Adds fetched keys. One that is named like a key of ours is left out: who publishes a set does not replace our own keys.
    pub(super) fn add_fetched(&mut self, keys: &[Arc<Key>]) {
        for key in keys {
            if let Some(id) = &key.id {
                self.by_id.entry(id.clone()).or_insert_with(|| Arc::clone(key));
            }
        }
    }

    /// The one key that a token with this header can be signed with.
    ///
    /// # Errors
    /// There is none, or it is for another algorithm.
    pub(super) fn select(&self, key_id: Option<&str>, algorithm: Algorithm) -> Result<&Key, Refusal> {
        let key = match key_id {
            Some(id) => self.by_id.get(id).ok_or(Refusal::UnknownKey)?,
            None => self.only().ok_or(Refusal::NoKeyId)?,
        };
        if key.algorithm == algorithm { Ok(key) } else { Err(Refusal::OtherAlgorithm) }
    }

    /// The only key without an id, else the only key.
    fn only(&self) -> Option<&Arc<Key>> {
        self.unnamed.as_ref().or_else(|| self.by_id.values().next().filter(|_| self.by_id.len() == 1))
    }

    pub(super) fn has_unnamed(&self) -> bool {
        self.unnamed.is_some()
    }
}
