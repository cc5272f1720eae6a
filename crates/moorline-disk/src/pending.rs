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

/// A commit that takes longer than this is told as trouble: a disk that hangs.
pub(crate) const HANGS_AFTER: Duration = Duration::from_secs(5);

/// How many may wait for a commit. All sessions of a node may save at one moment, when it drains or its network fails, and those of a
/// million take about 84 MiB.
const WAITING_MAX: usize = 1_048_576;

/// From where on nobody is let in to wait.
pub(crate) struct Limits {
    /// How long a commit may take.
    pub(crate) hangs_after: Duration,
    /// How many may wait.
    pub(crate) waiting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { hangs_after: HANGS_AFTER, waiting: WAITING_MAX }
    }
}

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
    /// How often something has changed.
    changes: u64,
    limits: Limits,
}

impl Inner {
    /// Why nothing can be written: the last commit failed, or one hangs.
    fn trouble(&self) -> Option<Arc<str>> {
        let hangs = || {
            let took = self.writing_since?.elapsed();
            let hangs = took > self.limits.hangs_after;
            hangs.then(|| format!("the store has not answered for {} s", took.as_secs()).into())
        };
        self.trouble.clone().or_else(hangs)
    }
}

/// Shared by the log, the sessions and the committer.
pub(crate) struct Pending {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Pending {
    pub(crate) fn new(epoch: u64) -> Self {
        let inner = Inner {
            batch: Batch::default(),
            epoch,
            trouble: None,
            writing_since: None,
            is_closing: false,
            changes: 0,
            limits: Limits::default(),
        };
        Self { inner: Mutex::new(inner), changed: Condvar::new() }
    }

    pub(crate) fn limit(&self, limits: Limits) {
        self.lock().limits = limits;
    }

    /// Nothing in here panics half way.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, act: impl FnOnce(&mut Inner)) {
        let mut inner = self.lock();
        let was_empty = inner.batch.is_empty();
        inner.changes += 1;
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

    /// Whether somebody may still wait for a commit. Else nothing should be begun that needs one.
    ///
    /// # Errors
    /// The store cannot write, or too many wait already.
    pub(crate) fn admit(&self) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let is_troubled = inner.trouble().is_some();
        if is_troubled {
            // Also who came before that was known.
            inner.batch.answer(Err(StoreError::Unavailable));
        }
        let is_full = inner.batch.waiting.len() >= inner.limits.waiting;
        if is_full || is_troubled { Err(StoreError::Unavailable) } else { Ok(()) }
    }

    /// A session to keep or to forget. The answer comes with the commit; at once where nobody may wait for one.
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
            if inner.trouble().is_some() {
                inner.batch.answer(Err(StoreError::Unavailable));
            } else if inner.batch.waiting.len() < inner.limits.waiting {
                return inner.batch.waiting.push(sender);
            }
            // Who asked may be gone.
            let _gone = sender.send(Err(StoreError::Unavailable));
        });
        receiver
    }

    /// Everything that has changed; none where nothing has.
    pub(crate) fn take(&self) -> Option<Batch> {
        let mut inner = self.lock();
        (!inner.batch.is_empty()).then(|| std::mem::take(&mut inner.batch))
    }

    /// Why the store cannot write: its last commit failed, or one hangs.
    pub(crate) fn trouble(&self) -> Option<Arc<str>> {
        self.lock().trouble()
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

    /// Waits until something has changed, or the store is to close, or for so long.
    pub(crate) fn wait(&self, at_most: Duration) {
        let is_quiet = |inner: &mut Inner| inner.batch.is_empty() && !inner.is_closing;
        let waited = self.changed.wait_timeout_while(self.lock(), at_most, is_quiet);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits for so long, or until the store is to close.
    pub(crate) fn pause(&self, at_most: Duration) {
        if at_most.is_zero() {
            return;
        }
        let waited = self.changed.wait_timeout_while(self.lock(), at_most, |inner| !inner.is_closing);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits for `rest`, and then until nothing has changed for as long as `quiet`, about `at_most` in all.
    pub(crate) fn gather(&self, rest: Duration, quiet: Duration, at_most: Duration) {
        let (begun, mut pause) = (Instant::now(), rest.max(quiet));
        loop {
            let before = self.lock().changes;
            self.pause(pause);
            pause = quiet;
            let inner = self.lock();
            if inner.changes == before || inner.is_closing || begun.elapsed() >= at_most {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    type Waits = oneshot::Receiver<Result<(), StoreError>>;

    const REFUSED: Result<Result<(), StoreError>, TryRecvError> = Ok(Err(StoreError::Unavailable));

    fn pending(hangs_after: Duration, waiting: usize) -> Pending {
        let pending = Pending::new(1);
        pending.limit(Limits { hangs_after, waiting });
        pending
    }

    fn waits(waits: &mut [Waits]) -> bool {
        waits.iter_mut().all(|waits| waits.try_recv() == Err(TryRecvError::Empty))
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let pending = pending(Duration::MAX, 3);
        let mut first: Vec<_> = (0..3).map(|_| pending.wait_for_commit()).collect();
        assert_eq!(pending.admit(), Err(StoreError::Unavailable));
        let id = SessionId::new("s").expect("an id");
        assert_eq!(pending.put_session(id, None).try_recv(), REFUSED);
        assert!(waits(&mut first));
        let mut batch = pending.take().expect("a batch");
        assert_eq!(batch.sessions.len(), 1, "it is forgotten all the same");
        assert_eq!(pending.admit(), Ok(()), "what is being written does not count: it ends or hangs");
        batch.answer(Ok(()));
        assert!(first.iter_mut().all(|waits| waits.try_recv() == Ok(Ok(()))));
    }

    #[test]
    fn nobody_waits_for_a_commit_that_hangs() {
        let pending = pending(Duration::ZERO, usize::MAX);
        let mut before = [pending.wait_for_commit()];
        assert!(pending.trouble().is_none() && pending.admit().is_ok());
        pending.while_writing(|| {
            while pending.trouble().is_none() {
                std::thread::yield_now();
            }
            assert!(waits(&mut before), "nobody has asked yet");
            assert_eq!(pending.admit(), Err(StoreError::Unavailable));
            assert_eq!(before[0].try_recv(), REFUSED, "whoever waits behind it is told too");
            assert_eq!(pending.wait_for_commit().try_recv(), REFUSED);
        });
        assert!(pending.trouble().is_none() && pending.admit().is_ok());
        assert!(waits(&mut [pending.wait_for_commit()]));
    }
}
