//! A store without a thread: what one opens, commits step by step, and closes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moorline_broker::{
    Durability, LocalBroker, Log as _, MemoryLog, MemorySessions, RetentionRules, StoreError,
};
use moorline_proto::id::{Owner, RoomName};
use moorline_proto::position::Epoch;
use moorline_proto::session_record::SessionRecord;
use moorline_proto::time::Now;

use crate::error::{OpenError, WriteError};
use crate::journal::{self, Cleaning, Journal};
use crate::layout::RoomRow;
use crate::log::{self, DiskLog, Memory};
use crate::pending::{Batch, Pending};
use crate::place::Place;
use crate::sessions::DiskSessions;

/// What a store had in it when it was opened.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// Whether it had been closed, or is new; else the log has a new epoch.
    pub was_clean: bool,
    /// Rooms.
    pub rooms: usize,
    /// Records.
    pub records: usize,
    /// Sessions.
    pub sessions: usize,
    /// How long opening took.
    pub took: Duration,
}

/// Reads both clocks.
pub(crate) type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// A store without a thread of its own: whoever has it says when to commit. A [`Store`](crate::Store) does that.
pub struct Ground {
    pub(crate) broker: Arc<LocalBroker>,
    sessions: Arc<DiskSessions>,
    restored: Vec<Arc<SessionRecord>>,
    pub(crate) opened: Opened,
    memory: Memory,
    pub(crate) pending: Arc<Pending>,
    journal: Mutex<Journal>,
}

/// A commit that was begun and is not through.
pub struct Commit {
    batch: Batch,
    cleaning: Option<Cleaning>,
}

impl Ground {
    /// Opens the store in a place, or makes one there.
    ///
    /// # Errors
    /// Says why not.
    pub fn open(
        place: Box<dyn Place>,
        rules: &RetentionRules,
        (clock, fresh_epoch): (Clock, Epoch),
    ) -> Result<Self, OpenError> {
        let (begun, now) = (Instant::now(), clock());
        let (journal, restored) = journal::restore(place, rules, (now, fresh_epoch))?;
        let stats = restored.log.stats();
        let epoch = restored.log.history().epoch;
        let (memory, pending) = (Arc::new(Mutex::new(restored.log)), Arc::new(Pending::new(epoch.0)));
        let sessions = MemorySessions::restored(restored.sessions.iter().cloned());
        let held = restored.sessions.iter().flat_map(|record| rooms_of(record));
        let log = DiskLog::new(Arc::clone(&memory), Arc::clone(&pending), held.collect(), now);
        let broker = LocalBroker::new(log, move || clock(), Durability::Disk);
        broker.expire();
        let opened = Opened {
            was_clean: restored.found.is_none_or(|state| !state.is_open),
            rooms: stats.rooms,
            records: stats.records,
            sessions: restored.sessions.len(),
            took: begun.elapsed(),
        };
        Ok(Self {
            broker: Arc::new(broker),
            sessions: Arc::new(DiskSessions::new(sessions, Arc::clone(&pending))),
            restored: restored.sessions,
            opened,
            memory,
            pending,
            journal: Mutex::new(journal),
        })
    }

    /// The broker over it.
    #[must_use]
    pub fn broker(&self) -> Arc<LocalBroker> {
        Arc::clone(&self.broker)
    }

    /// The session records in it.
    #[must_use]
    pub fn sessions(&self) -> Arc<DiskSessions> {
        Arc::clone(&self.sessions)
    }

    /// The sessions that it had when it was opened, those that are away longest first; a second call returns none.
    pub fn take_restored(&mut self) -> Vec<Arc<SessionRecord>> {
        std::mem::take(&mut self.restored)
    }

    /// Takes what has changed since the last one; none where nothing has. Reads a little of the file, so that it can be cleaned.
    #[must_use]
    pub fn begin_commit(&self) -> Option<Commit> {
        let mut journal = self.journal();
        let soiled = journal.read_oldest(&self.memory);
        let begun = self.broker.begin_commit(|| {
            let batch = self.pending.take()?;
            let soiled = soiled.as_ref().ok().and_then(Option::as_ref);
            Some((batch, soiled.map(|soiled| journal.clean(soiled, &log::lock(&self.memory)))))
        });
        let (batch, cleaned) = begun?;
        let cleaning = match soiled.and_then(|_| cleaned.transpose()) {
            Ok(cleaning) => cleaning,
            Err(error) => {
                // The commit goes without: it tells whether the file can be written all the same.
                tracing::error!(%error, "the store is not cleaned any more, and grows until it is opened again");
                journal.stop_cleaning();
                None
            }
        };
        Some(Commit { batch, cleaning })
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes it. Blocks. After a failure it is to be written again, before any other is begun.
    ///
    /// # Errors
    /// It is not known whether it was written.
    pub fn write(&self, commit: &Commit) -> Result<(), WriteError> {
        self.journal().commit(&commit.batch, commit.cleaning.as_ref())
    }

    /// It is written: tells who waits, and lets everybody see it.
    pub fn end_commit(&self, mut commit: Commit) {
        self.pending.set_trouble(None);
        commit.batch.answer(Ok(()));
        self.broker.end_commit(true);
    }

    /// It could not be written and will be tried again: tells who waits that it is not known.
    pub fn fail_commit(&self, commit: &mut Commit, error: &WriteError) {
        self.pending.set_trouble(Some(error.to_string().into()));
        commit.batch.answer(Err(StoreError::Unavailable));
        self.broker.end_commit(false);
    }

    /// Keeps what waits, and closes: the next start is a clean one.
    ///
    /// # Errors
    /// It could not be written: the next start is an unclean one.
    pub fn close(self) -> Result<(), WriteError> {
        if let Some(trouble) = self.pending.trouble() {
            return Err(WriteError::Unfinished(trouble));
        }
        let take = || (self.pending.take(), rows(&log::lock(&self.memory)));
        let (batch, rows) = self.broker.begin_last_commit(take);
        if let Some(batch) = batch {
            let commit = Commit { batch, cleaning: None };
            self.write(&commit)?;
            self.end_commit(commit);
        }
        self.journal.into_inner().unwrap_or_else(PoisonError::into_inner).close(&rows)
    }

    /// The file, in bytes.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.journal().file_bytes()
    }
}

/// The rooms that a session is a member of: also its own, which have no mark before they have a record.
fn rooms_of(record: &SessionRecord) -> Vec<RoomName> {
    let user = record.user.clone().map(Owner::User);
    let owners = [Some(Owner::Session(record.id.clone())), Some(Owner::All), user];
    let own = owners.iter().flatten().filter(|_| record.own_rooms).map(RoomName::own);
    record.rooms.iter().map(|mark| mark.room.clone()).chain(own).collect()
}

/// What the entries of all rooms do not tell.
pub(crate) fn rows(memory: &MemoryLog) -> Vec<(RoomName, RoomRow)> {
    let names = memory.room_names().into_iter();
    names.filter_map(|room| RoomRow::needed(memory, &room).map(|row| (room, row))).collect()
}
