//! What a node runs on, and how the sessions that it kept come back.

use std::fmt;
use std::sync::Arc;

use futures_util::future::join_all;
use moorline_broker::{Broker, SessionStore, StoreError, Stored};
use moorline_proto::session_record::SessionRecord;
use moorline_proto::shard::Input;
use tokio_util::sync::CancellationToken;

use crate::shard::Driver;

/// How many sessions are restored before other tasks get their turn; so many claims are made at once, too.
const RESTORED: usize = 256;

/// What a node runs on.
#[derive(Clone)]
pub struct Backend {
    /// Keeps the records, and tells of them.
    pub broker: Arc<dyn Broker>,
    /// Keeps the sessions.
    pub sessions: Arc<dyn SessionStore>,
    /// What of them is there from before. They are absent ones of this node from the beginning on: their rooms are held, and
    /// they end when their lifetime is over.
    pub restored: Vec<Arc<SessionRecord>>,
}

impl Backend {
    /// One that has no sessions from before.
    #[must_use]
    pub fn new(broker: Arc<dyn Broker>, sessions: Arc<dyn SessionStore>) -> Self {
        Self { broker, sessions, restored: Vec::new() }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("restored", &self.restored.len()).finish_non_exhaustive()
    }
}

/// Those that are away longest first; who was connected until the end is not away yet.
pub(crate) fn by_absence(mut restored: Vec<Arc<SessionRecord>>) -> Vec<Arc<SessionRecord>> {
    restored.sort_by_key(|record| record.disconnected_at.map_or(u64::MAX, |at| at.0));
    restored
}

impl Driver {
    /// Takes over the sessions that were kept, before anything else comes to the shard.
    pub(crate) async fn restore(&mut self, restored: Vec<Arc<SessionRecord>>, stopped: &CancellationToken) {
        let mut restored = restored.into_iter();
        loop {
            let records: Vec<_> = restored.by_ref().take(RESTORED).collect();
            if records.is_empty() || stopped.is_cancelled() {
                return;
            }
            let claims = records.iter().map(|record| self.store.claim(record.id.clone(), self.owner.clone()));
            let claims = join_all(claims).await;
            for (record, claim) in records.into_iter().zip(claims) {
                self.restore_one(record, claim);
                self.settle().await;
            }
            tokio::task::yield_now().await;
        }
    }

    fn restore_one(&mut self, record: Arc<SessionRecord>, claim: Result<Stored, StoreError>) {
        match claim {
            Ok(Stored { record: kept, fence }) => {
                self.handle(Input::Restore(kept.unwrap_or(record), fence.0));
            }
            // It stays in the store, and is found there when it comes back.
            Err(error) => {
                tracing::error!(session = record.id.as_str(), %error, "a session could not be restored");
            }
        }
    }
}
