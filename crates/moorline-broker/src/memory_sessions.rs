//! Session records in memory.

use std::collections::HashMap;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use moorline_proto::id::SessionId;
use moorline_proto::session_record::SessionRecord;

use crate::session_store::{Fence, NodeId, SessionStore, StoreError, Stored};

/// Session records in memory, for one node or for several in one process. Nothing survives the process.
///
/// It keeps the very `Arc`s that it is given, and about 50 bytes for each. An entry lives from its claim to its removal,
/// also where nothing was ever saved: whoever claims an id and then does not establish the session removes it, else it
/// stays. Fences come from one counter, so that a removed id leaves nothing behind. Each call takes the lock for one
/// look-up, and its answer is ready at once.
#[derive(Default)]
pub struct MemorySessions {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<SessionId, Stored>,
    last_fence: u64,
}

impl Inner {
    fn claim(&mut self, id: SessionId) -> Stored {
        self.last_fence += 1;
        let fence = Fence(self.last_fence);
        let entry = self.entries.entry(id).or_insert(Stored { record: None, fence });
        entry.fence = fence;
        entry.clone()
    }

    fn save(&mut self, record: Arc<SessionRecord>, fence: Fence) -> Result<(), StoreError> {
        let entry = self.entries.get_mut(&record.id).filter(|entry| entry.fence == fence);
        entry.ok_or(StoreError::Fenced)?.record = Some(record);
        Ok(())
    }

    fn remove(&mut self, id: &SessionId, fence: Fence) -> Result<(), StoreError> {
        match self.entries.get(id) {
            Some(entry) if entry.fence != fence => return Err(StoreError::Fenced),
            Some(_) => self.entries.remove(id),
            None => None,
        };
        Ok(())
    }
}

impl MemorySessions {
    /// With the records that another store kept, which nobody has claimed yet.
    #[must_use]
    pub fn restored(records: impl IntoIterator<Item = Arc<SessionRecord>>) -> Self {
        let stored = |record: Arc<SessionRecord>| {
            (record.id.clone(), Stored { record: Some(record), fence: Fence::default() })
        };
        let entries = records.into_iter().map(stored).collect();
        Self { inner: Mutex::new(Inner { entries, last_fence: 0 }) }
    }

    /// Without any session.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionStore for MemorySessions {
    fn load(&self, id: SessionId) -> BoxFuture<'static, Result<Option<Arc<SessionRecord>>, StoreError>> {
        let record = self.lock().entries.get(&id).and_then(|entry| entry.record.clone());
        Box::pin(ready(Ok(record)))
    }

    fn claim(&self, id: SessionId, _owner: NodeId) -> BoxFuture<'static, Result<Stored, StoreError>> {
        Box::pin(ready(Ok(self.lock().claim(id))))
    }

    fn save(&self, record: Arc<SessionRecord>, fence: Fence) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(ready(self.lock().save(record, fence)))
    }

    /// Nothing is safer than memory here.
    fn settled(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(ready(Ok(())))
    }

    fn remove(&self, id: SessionId, fence: Fence) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(ready(self.lock().remove(&id, fence)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_claim_leaves_nothing_behind() {
        let sessions = MemorySessions::new();
        for n in 0..100 {
            let id = SessionId::new(&n.to_string()).unwrap();
            let fence = sessions.lock().claim(id.clone()).fence;
            assert_eq!(sessions.lock().remove(&id, fence), Ok(()));
        }
        assert!(sessions.lock().entries.is_empty());
    }
}
