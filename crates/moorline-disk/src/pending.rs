//! What has changed since the last commit took it.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moorline_broker::StoreError;
use moorline_proto::id::{RoomName, SessionId};
use moorline_proto::position::Offset;
use moorline_proto::session_record::SessionRecord;
use tokio::sync::oneshot;

use crate::entry::{self, Entry};
use crate::layout::RoomRow;

/// A chunk gets no further entry once it has this many bytes: the engine rounds large values up to powers of two pages.
pub(crate) const CHUNK_BYTES: usize = 56 * 1024;

/// What one commit writes.
#[derive(Default)]
pub(crate) struct Batch {
    /// Chunks of new entries, in order.
    pub(crate) chunks: Vec<Vec<u8>>,
    /// Rows of rooms, in order.
    pub(crate) rooms: Vec<(RoomName, RoomRow)>,
    /// The highest head of a forgotten room, where it rose.
    pub(crate) forgotten_high: Option<Offset>,
    /// Sessions to keep, or to forget.
    pub(crate) sessions: BTreeMap<SessionId, Option<Arc<SessionRecord>>>,
    /// Who waits for it.
    pub(crate) waiting: Vec<oneshot::Sender<Result<(), StoreError>>>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
            && self.rooms.is_empty()
            && self.forgotten_high.is_none()
            && self.sessions.is_empty()
            && self.waiting.is_empty()
    }

    /// Tells who waits.
    pub(crate) fn answer(&mut self, result: Result<(), StoreError>) {
        for waiting in self.waiting.drain(..) {
            // Who asked may be gone.
            let _gone = waiting.send(result);
        }
    }
}

struct Inner {
    batch: Batch,
    epoch: u64,
    /// Why the last commit failed; none where it came through.
    trouble: Option<Arc<str>>,
    /// Since when a commit is being written.
    writing_since: Option<Instant>,
    is_closing: bool,
}

/// Shared by the log, the sessions and the committer.
pub(crate) struct Pending {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Pending {
    pub(crate) fn new(epoch: u64) -> Self {
        let inner =
            Inner { batch: Batch::default(), epoch, trouble: None, writing_since: None, is_closing: false };
        Self { inner: Mutex::new(inner), changed: Condvar::new() }
    }

    /// Nothing in here panics half way.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, act: impl FnOnce(&mut Inner)) {
        let mut inner = self.lock();
        let was_empty = inner.batch.is_empty();
        act(&mut inner);
        drop(inner);
        if was_empty {
            self.changed.notify_one();
        }
    }

    pub(crate) fn push_entry(&self, entry: &Entry<'_>) {
        self.change(|inner| {
            let is_full = inner.batch.chunks.last().is_none_or(|chunk| chunk.len() >= CHUNK_BYTES);
            if is_full {
                inner.batch.chunks.push(entry::new_chunk(inner.epoch));
            }
            inner.batch.chunks.last_mut().into_iter().for_each(|chunk| entry.put(chunk));
        });
    }

    pub(crate) fn put_room(&self, room: RoomName, row: RoomRow) {
        self.change(|inner| inner.batch.rooms.push((room, row)));
    }

    pub(crate) fn raise_forgotten(&self, high: Offset) {
        self.change(|inner| inner.batch.forgotten_high = Some(high));
    }

    /// A session to keep or to forget. The answer comes with the commit; at once where the store cannot write.
    pub(crate) fn put_session(
        &self,
        id: SessionId,
        record: Option<Arc<SessionRecord>>,
    ) -> oneshot::Receiver<Result<(), StoreError>> {
        self.change(|inner| {
            inner.batch.sessions.insert(id, record);
        });
        self.wait_for_commit()
    }

    /// Waits for the next commit, with which everything that came before is kept.
    pub(crate) fn wait_for_commit(&self) -> oneshot::Receiver<Result<(), StoreError>> {
        let (sender, receiver) = oneshot::channel();
        self.change(|inner| {
            inner.batch.waiting.push(sender);
            if inner.trouble.is_some() {
                inner.batch.answer(Err(StoreError::Unavailable));
            }
        });
        receiver
    }

    /// Everything that has changed; none where nothing has.
    pub(crate) fn take(&self) -> Option<Batch> {
        let mut inner = self.lock();
        (!inner.batch.is_empty()).then(|| std::mem::take(&mut inner.batch))
    }

    /// Why the store cannot write.
    pub(crate) fn trouble(&self) -> Option<Arc<str>> {
        self.lock().trouble.clone()
    }

    /// For how long a commit has been written by now; none where none is.
    pub(crate) fn writing_for(&self) -> Option<Duration> {
        Some(self.lock().writing_since?.elapsed())
    }

    /// Runs `write`, and says meanwhile that something is being written.
    pub(crate) fn while_writing<T>(&self, write: impl FnOnce() -> T) -> T {
        self.lock().writing_since = Some(Instant::now());
        let result = write();
        self.lock().writing_since = None;
        result
    }

    /// How the last commit ended. Where it failed, who waits for the next one is told too.
    pub(crate) fn set_trouble(&self, trouble: Option<Arc<str>>) {
        let mut inner = self.lock();
        if trouble.is_some() {
            inner.batch.answer(Err(StoreError::Unavailable));
        }
        inner.trouble = trouble;
    }

    pub(crate) fn close(&self) {
        self.lock().is_closing = true;
        self.changed.notify_one();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.lock().is_closing
    }

    pub(crate) fn has_changes(&self) -> bool {
        !self.lock().batch.is_empty()
    }

    /// Waits until something has changed, or the store is to close, or for so long. False after the last.
    pub(crate) fn wait(&self, at_most: Duration) -> bool {
        let is_quiet = |inner: &mut Inner| inner.batch.is_empty() && !inner.is_closing;
        let waited = self.changed.wait_timeout_while(self.lock(), at_most, is_quiet);
        let (inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !inner.batch.is_empty() || inner.is_closing
    }

    /// Waits for so long, or until the store is to close.
    pub(crate) fn pause(&self, at_most: Duration) {
        let waited = self.changed.wait_timeout_while(self.lock(), at_most, |inner| !inner.is_closing);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}
