//! Tokens (spec/protocol.md, section 11): checks them, keeps the keys for that, and signs some.

mod claims;
mod fetch;
mod header;
mod inspect;
mod jwks;
mod key;
mod keyring;
mod load;
mod object;
mod refusal;
mod sign;
#[cfg(test)]
mod tests;

use std::future::pending;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::{BoxFuture, join_all, ready};
use moorline::{AuthenticateError, Authenticator, Identity, Timestamp, Token};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub(crate) use self::fetch::fetchable;
pub(crate) use self::inspect::Inspection;
pub(crate) use self::sign::{SignError, SignedToken, TokenRequest};

use self::fetch::Source;
use self::header::Compact;
use self::load::State;
use self::refusal::Refusal;
use crate::settings::{AuthSettings, SettingsError};

/// When a client may come back while keys have never been fetched.
const RETRY_IN: Duration = Duration::from_secs(5);

/// Checks tokens, with keys from files and from key sets. Shared in an `Arc`.
pub(crate) struct Verifier {
    /// Replaced as a whole; the lock is held for no longer than that takes.
    state: RwLock<Arc<State>>,
    reloaded: Notify,
    now: fn() -> Timestamp,
}

impl Verifier {
    /// Reads what the settings name. Key sets with a URL have no keys before [`Self::refresh`].
    ///
    /// # Errors
    /// A file cannot be read, or holds no key that is good enough; two keys have the same id; a URL is not safe.
    pub(crate) fn load(settings: &AuthSettings) -> Result<Self, SettingsError> {
        Self::with_clock(settings, wall_clock)
    }

    pub(crate) fn with_clock(settings: &AuthSettings, now: fn() -> Timestamp) -> Result<Self, SettingsError> {
        let state = RwLock::new(Arc::new(State::load(settings)?));
        Ok(Self { state, reloaded: Notify::new(), now })
    }

    /// Works from now on with what another one has loaded. Fetched keys of a URL that is still named with the same algorithms
    /// stay.
    pub(crate) fn take_over(&self, prepared: &Self) {
        let fresh = State::clone(&prepared.state());
        self.replace(|current| fresh.with_fetched_of(current));
        self.reloaded.notify_one();
    }

    /// Fetches the key sets at once and again and again, until told to stop. One task runs this, so that no set is fetched twice at
    /// a time.
    pub(crate) async fn refresh(self: Arc<Self>, stopped: CancellationToken) {
        loop {
            let state = self.state();
            let sets = state.sources().map(|source| self.keep_fresh(Arc::clone(source), state.refresh));
            let all = join_all(sets.collect::<Vec<_>>());
            tokio::select! {
                () = stopped.cancelled() => return,
                () = self.reloaded.notified() => {}
                () = async { all.await; pending().await } => {}
            }
        }
    }

    /// Fetches every key set once.
    pub(crate) async fn fetch(&self) {
        let state = self.state();
        join_all(state.sources().map(|source| self.fetch_one(source))).await;
    }

    /// Why tokens cannot all be checked yet: key sets that were never fetched.
    pub(crate) fn missing(&self) -> Vec<String> {
        let state = self.state();
        state.never_fetched().map(|set| format!("the key set {} was never fetched", set.shown())).collect()
    }

    /// Signs a token with the first key of `auth.key` that can.
    ///
    /// # Errors
    /// No key can, or the request is out of bounds.
    pub(crate) fn sign(&self, request: &TokenRequest) -> Result<SignedToken, SignError> {
        let state = self.state();
        let key = state.signing_key.as_ref().ok_or(SignError::NoKey)?;
        sign::sign(key, &state.rules, request, (self.now)())
    }

    /// Whom a token speaks for, here and now.
    pub(crate) fn check(&self, token: &str) -> Result<Identity, AuthenticateError> {
        let token = Compact::parse(token)?;
        let state = self.state();
        let header = &token.header;
        let key = state.keyring.select(header.key_id.as_deref(), header.algorithm);
        // The key, or one beside the only one, may be in a set that has not arrived.
        let may_be_fetched = match header.key_id {
            Some(_) => matches!(key, Err(Refusal::UnknownKey)),
            None => !state.keyring.has_unnamed(),
        };
        if may_be_fetched && state.never_fetched().next().is_some() {
            return Err(unavailable());
        }
        let key = key?;
        if !key.verify(token.signed, &token.signature) {
            return Err(Refusal::Signature.into());
        }
        Ok(state.rules.check(&token.claims, (self.now)())?)
    }

    async fn fetch_one(&self, source: &Source) {
        if let Some(keys) = source.fetch_and_tell().await {
            self.replace(|current| current.with_fetched(source, &keys));
        }
    }

    async fn keep_fresh(&self, source: Arc<Source>, refresh: Duration) {
        let mut waits = fetch::waits(refresh);
        loop {
            self.fetch_one(&source).await;
            let has_keys = self.state().has_fetched(&source);
            let wait = waits.next().filter(|_| !has_keys).unwrap_or_else(|| fetch::pause(refresh));
            tokio::time::sleep(wait).await;
        }
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, fresh: impl FnOnce(&State) -> State) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = Arc::new(fresh(&state));
    }
}

impl Authenticator for Verifier {
    fn authenticate<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Identity, AuthenticateError>> {
        Box::pin(ready(self.check(token.expose())))
    }
}

fn unavailable() -> AuthenticateError {
    let why = "the keys that would check the token have never been fetched".to_owned();
    AuthenticateError::Unavailable { why, retry_in: RETRY_IN }
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
