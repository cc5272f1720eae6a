//! The session records: in memory, with a journal of what changes.

use std::future::ready;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use moorline_broker::{Fence, MemorySessions, NodeId, SessionStore, StoreError, Stored};
use moorline_proto::id::SessionId;
use moorline_proto::session_record::SessionRecord;
use tokio::sync::oneshot;

use crate::pending::Pending;

/// Session records that survive the process. A save is answered when a commit has it; while the store cannot write it is answered at once
/// that this is not known.
pub struct DiskSessions {
    memory: MemorySessions,
    pending: Arc<Pending>,
}

impl DiskSessions {
    pub(crate) const fn new(memory: MemorySessions, pending: Arc<Pending>) -> Self {
        Self { memory, pending }
    }

    /// Whether a record was saved under that id, and not removed since.
    fn is_kept(&self, id: &SessionId) -> bool {
        at_once(self.memory.load(id.clone())).is_ok_and(|record| record.is_some())
    }
}

/// What a memory store answers is there at once.
fn at_once<T>(future: BoxFuture<'static, Result<T, StoreError>>) -> Result<T, StoreError> {
    future.now_or_never().unwrap_or(Err(StoreError::Unavailable))
}

fn kept(receiver: oneshot::Receiver<Result<(), StoreError>>) -> BoxFuture<'static, Result<(), StoreError>> {
    receiver.map(|answer| answer.unwrap_or(Err(StoreError::Unavailable))).boxed()
}

impl SessionStore for DiskSessions {
    fn load(&self, id: SessionId) -> BoxFuture<'static, Result<Option<Arc<SessionRecord>>, StoreError>> {
        self.memory.load(id)
    }

    fn claim(&self, id: SessionId, owner: NodeId) -> BoxFuture<'static, Result<Stored, StoreError>> {
        self.memory.claim(id, owner)
    }

    fn save(&self, record: Arc<SessionRecord>, fence: Fence) -> BoxFuture<'static, Result<(), StoreError>> {
        // One that is kept already is written with the first commit that comes through, as what waits for one that failed is: who
        // saves may not be there by then to try again. A new one is nobody's while nothing can be kept.
        if !self.is_kept(&record.id)
            && let Err(error) = self.pending.admit()
        {
            return Box::pin(ready(Err(error)));
        }
        match at_once(self.memory.save(Arc::clone(&record), fence)) {
            Ok(()) => kept(self.pending.put_session(record.id.clone(), Some(record))),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }

    fn settled(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        kept(self.pending.wait_for_commit())
    }

    fn remove(&self, id: SessionId, fence: Fence) -> BoxFuture<'static, Result<(), StoreError>> {
        let was_kept = self.is_kept(&id);
        match at_once(self.memory.remove(id.clone(), fence)) {
            // Of one that never came to be there is nothing to forget.
            Ok(()) if !was_kept => Box::pin(ready(Ok(()))),
            Ok(()) => kept(self.pending.put_session(id, None)),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }
}
