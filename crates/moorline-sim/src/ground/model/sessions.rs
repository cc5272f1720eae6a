//! Session records that are safe once a commit ended.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use moorline_broker::{Fence, MemorySessions, NodeId, SessionStore, StoreError, Stored};
use moorline_proto::id::SessionId;
use moorline_proto::session_record::SessionRecord;
use tokio::sync::oneshot;

use super::Outcome;

type Records = BTreeMap<SessionId, Arc<SessionRecord>>;
type Answer = oneshot::Sender<Result<(), StoreError>>;

/// The sessions as the node that is alive sees them, and those that a crash leaves.
#[derive(Default)]
pub(super) struct Sessions {
    inner: MemorySessions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    records: Records,
    safe: Records,
    /// What was safe before the last commit.
    before: Records,
    /// What the commit that was begun writes, and how many answers it brings.
    begun: Option<(Records, usize)>,
    answers: Vec<Answer>,
    has_changed: bool,
    is_full: bool,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a node finds that opens the store now.
    pub(super) fn reopened(&self) -> Self {
        let safe = self.lock().safe.clone();
        let state = State { records: safe.clone(), safe, ..State::default() };
        Self { inner: MemorySessions::new(), state: Mutex::new(state) }
    }

    /// Its sessions, claimed for the node.
    pub(super) fn restored(&self) -> Vec<(Arc<SessionRecord>, u64)> {
        let records: Vec<_> = self.lock().records.values().cloned().collect();
        let claimed = records.into_iter().filter_map(|record| {
            let stored = self.inner.claim(record.id.clone(), NodeId("n".into())).now_or_never()?.ok()?;
            self.inner.save(Arc::clone(&record), stored.fence).now_or_never()?.ok()?;
            Some((record, stored.fence.0))
        });
        claimed.collect()
    }

    /// The last commit was none.
    pub(super) fn forget_last(&self) {
        let state = &mut *self.lock();
        state.safe = std::mem::take(&mut state.before);
    }

    pub(super) fn waits(&self) -> bool {
        self.lock().has_changed
    }

    pub(super) fn begin(&self) {
        let state = &mut *self.lock();
        state.has_changed = false;
        state.begun = Some((state.records.clone(), state.answers.len()));
    }

    pub(super) fn end(&self, outcome: Outcome) {
        let state = &mut *self.lock();
        state.is_full = outcome == Outcome::Full;
        let Some((records, count)) = state.begun.take() else { return };
        match outcome {
            Outcome::Written => state.before = std::mem::replace(&mut state.safe, records),
            Outcome::Full => state.has_changed = true,
        }
        let answers = if state.is_full {
            std::mem::take(&mut state.answers)
        } else {
            state.answers.drain(..count).collect()
        };
        let result = if state.is_full { Err(StoreError::Unavailable) } else { Ok(()) };
        for answer in answers {
            let _gone = answer.send(result); // whoever asked may not wait any more
        }
    }
}

impl SessionStore for Sessions {
    fn load(&self, id: SessionId) -> BoxFuture<'static, Result<Option<Arc<SessionRecord>>, StoreError>> {
        self.inner.load(id)
    }

    fn claim(&self, id: SessionId, owner: NodeId) -> BoxFuture<'static, Result<Stored, StoreError>> {
        self.inner.claim(id, owner)
    }

    fn save(&self, record: Arc<SessionRecord>, fence: Fence) -> BoxFuture<'static, Result<(), StoreError>> {
        let state = &mut *self.lock();
        if state.is_full {
            return Box::pin(ready(Err(StoreError::Unavailable)));
        }
        match self.inner.save(Arc::clone(&record), fence).now_or_never() {
            Some(Ok(())) => {}
            failed => return Box::pin(ready(failed.unwrap_or(Err(StoreError::Unavailable)))),
        }
        state.records.insert(record.id.clone(), record);
        state.has_changed = true;
        let (answer, answered) = oneshot::channel();
        state.answers.push(answer);
        Box::pin(answered.map(|result| result.unwrap_or(Err(StoreError::Unavailable))))
    }

    fn settled(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(ready(Ok(()))) // nobody asks
    }

    fn remove(&self, id: SessionId, fence: Fence) -> BoxFuture<'static, Result<(), StoreError>> {
        let removed = self.inner.remove(id.clone(), fence).now_or_never();
        if removed == Some(Ok(())) {
            let state = &mut *self.lock();
            state.has_changed |= state.records.remove(&id).is_some();
        }
        Box::pin(ready(removed.unwrap_or(Err(StoreError::Unavailable))))
    }
}
