//! A store that is open: the log, the sessions, and who writes them.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use moorline_broker::{Durability, LocalBroker, MemoryLog, MemorySessions, RetentionRules};
use moorline_proto::id::RoomName;
use moorline_proto::position::{Epoch, Offset};
use moorline_proto::session_record::SessionRecord;
use moorline_proto::time::{Now, Timestamp};

use crate::error::{CloseError, OpenError, WriteError};
use crate::journal::{self, Cleaning, Journal};
use crate::layout::RoomRow;
use crate::log::{self, DiskLog, Memory};
use crate::pending::{Batch, Pending};
use crate::place::{Directory, Place};
use crate::sessions::DiskSessions;

/// How long a commit that failed waits for its next try.
const RETRY: Duration = Duration::from_secs(1);
/// After a quiet time a commit waits for so small a share of the least time between two: what was published together is then in one,
/// and goes out in one write to each receiver.
const GATHER_SHARE: u32 = 10;
/// How often the log drops what is too old.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);

/// How a store keeps.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much it keeps, on disk and in memory.
    pub retention: RetentionRules,
    /// The least time between the beginnings of two commits: what comes meanwhile is kept in one. More costs latency, less costs
    /// processor time. Default 2 ms.
    pub commit_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { retention: RetentionRules::default(), commit_every: Duration::from_millis(2) }
    }
}

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

/// Whether a store can write. Cheap to clone.
#[derive(Clone)]
pub struct Health(Arc<Pending>);

impl Health {
    /// Why it cannot write, of its last try, which is about a second ago; none where it can.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.0.trouble().map(|trouble| trouble.to_string())
    }
}

/// Reads both clocks.
pub(crate) type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

fn system_clock() -> Clock {
    let start = Instant::now();
    Arc::new(move || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp = Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        Now { instant: moorline_proto::time::Instant::since_start(start.elapsed()), timestamp }
    })
}

/// A store without a thread of its own: whoever has it says when to commit. A [`Store`] does that.
pub struct Ground {
    pub(crate) broker: Arc<LocalBroker>,
    sessions: Arc<DiskSessions>,
    restored: Vec<Arc<SessionRecord>>,
    opened: Opened,
    memory: Memory,
    pending: Arc<Pending>,
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
        let stats = moorline_broker::Log::stats(&restored.log);
        let epoch = restored.log.history().epoch;
        let (memory, pending) = (Arc::new(Mutex::new(restored.log)), Arc::new(Pending::new(epoch.0)));
        let sessions = MemorySessions::restored(restored.sessions.iter().cloned());
        let held =
            restored.sessions.iter().flat_map(|record| record.rooms.iter().map(|mark| mark.room.clone()));
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
                tracing::warn!(%error, "the store could not be cleaned");
                journal.fail();
                None
            }
        };
        Some(Commit { batch, cleaning })
    }

    fn journal(&self) -> std::sync::MutexGuard<'_, Journal> {
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
        commit.batch.answer(Err(moorline_broker::StoreError::Unavailable));
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
        let (batch, rows) =
            self.broker.begin_commit(|| (self.pending.take(), rows(&log::lock(&self.memory))));
        if let Some(batch) = batch {
            let commit = Commit { batch, cleaning: None };
            self.write(&commit)?;
            self.end_commit(commit);
        }
        // Whoever still publishes is told that nothing is kept any more.
        self.broker.end_commit(false);
        self.journal.into_inner().unwrap_or_else(PoisonError::into_inner).close(&rows)
    }

    fn file_bytes(&self) -> u64 {
        self.journal().file_bytes()
    }
}

/// What the entries of rooms do not tell. A room of which nothing is gone begins with its entries.
pub(crate) fn rows(memory: &MemoryLog) -> Vec<(RoomName, RoomRow)> {
    let names = memory.room_names().into_iter();
    let rows = names.filter_map(|room| {
        let head = memory.room_head(&room)?;
        (head.cut > Offset::START).then(|| (room, RoomRow::of(&head)))
    });
    rows.collect()
}

/// A store in a directory, with a thread that commits.
///
/// One commit at a time, at most one each [`Options::commit_every`]; what comes in while one is being written is in the next.
/// Everything that is kept is in memory too: reading never waits for the disk. Opening takes time that grows with the file, about
/// two seconds for 1 GiB.
pub struct Store {
    ground: Arc<Ground>,
    restored: Vec<Arc<SessionRecord>>,
    committer: Committer,
}

impl Store {
    /// Opens the store in a directory, or makes both. Blocks.
    ///
    /// # Errors
    /// Says why not, and whose fault that is.
    pub fn open(directory: &Path, options: &Options) -> Result<Self, OpenError> {
        let place = Box::new(Directory::create(directory)?);
        Self::open_in(place, options, system_clock())
    }

    /// The same, somewhere else than in a directory.
    fn open_in(place: Box<dyn Place>, options: &Options, clock: Clock) -> Result<Self, OpenError> {
        let path = place.path().to_owned();
        let io = |error| OpenError::io(&path, error);
        let random = getrandom::u64().map_err(|error| io(std::io::Error::other(error)))?;
        let mut ground = Ground::open(place, &options.retention, (clock, Epoch(random.max(1))))?;
        let restored = ground.take_restored();
        let ground = Arc::new(ground);
        let committer = Committer::start(&ground, options.commit_every).map_err(io)?;
        Ok(Self { ground, restored, committer })
    }

    /// The broker over it.
    #[must_use]
    pub fn broker(&self) -> Arc<LocalBroker> {
        self.ground.broker()
    }

    /// The session records in it.
    #[must_use]
    pub fn sessions(&self) -> Arc<DiskSessions> {
        self.ground.sessions()
    }

    /// The sessions that it had when it was opened, those that are away longest first; a second call returns none.
    pub fn take_restored(&mut self) -> Vec<Arc<SessionRecord>> {
        std::mem::take(&mut self.restored)
    }

    /// What it had in it when it was opened.
    #[must_use]
    pub fn opened(&self) -> Opened {
        self.ground.opened
    }

    /// Whether it can write.
    #[must_use]
    pub fn health(&self) -> Health {
        Health(Arc::clone(&self.ground.pending))
    }

    /// Keeps what waits, and closes: the next start is a clean one. Blocks. What is published afterwards is never answered by anything
    /// but that the broker is unavailable.
    ///
    /// # Errors
    /// It could not write: the next start is an unclean one.
    pub fn close(self) -> Result<(), CloseError> {
        let Self { ground, committer, .. } = self;
        drop(committer);
        match Arc::try_unwrap(ground) {
            Ok(ground) => Ok(ground.close()?),
            // The committer alone shared it, and has ended.
            Err(_) => Ok(()),
        }
    }
}

/// The thread that commits. Ends when it is dropped, after what waits.
struct Committer {
    pending: Arc<Pending>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    fn start(ground: &Arc<Ground>, every: Duration) -> std::io::Result<Self> {
        let (worker, pending) = (Arc::clone(ground), Arc::clone(&ground.pending));
        let thread = std::thread::Builder::new().name("moorline-store".to_owned());
        let thread = thread.spawn(move || commit_until_closed(&worker, every))?;
        Ok(Self { pending, thread: Some(thread) })
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.pending.close();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the store's thread has failed");
        }
    }
}

/// The thread.
fn commit_until_closed(ground: &Ground, every: Duration) {
    let mut expired = Instant::now();
    loop {
        let was_quiet = !ground.pending.has_changes();
        let has_changes = ground.pending.wait(EXPIRE_EVERY);
        if was_quiet && has_changes {
            ground.pending.pause(every / GATHER_SHARE);
        }
        let begun = Instant::now();
        let commit = if has_changes { ground.begin_commit() } else { None };
        if let Some(commit) = commit {
            write_until_kept(ground, commit);
        } else if ground.pending.is_closing() {
            return;
        }
        if expired.elapsed() >= EXPIRE_EVERY {
            expired = Instant::now();
            ground.broker.expire();
            metrics::gauge!("moorline_store_bytes").set(ground.file_bytes() as f64);
        }
        ground.pending.pause(every.saturating_sub(begun.elapsed()));
    }
}

fn write_until_kept(ground: &Ground, mut commit: Commit) {
    loop {
        let begun = Instant::now();
        match ground.write(&commit) {
            Ok(()) => {
                metrics::histogram!("moorline_store_commit_seconds").record(begun.elapsed().as_secs_f64());
                metrics::counter!("moorline_store_commits_total", "outcome" => "ok").increment(1);
                if ground.pending.trouble().is_some() {
                    tracing::info!("the store writes again");
                }
                return ground.end_commit(commit);
            }
            Err(error) => {
                metrics::counter!("moorline_store_commits_total", "outcome" => "failed").increment(1);
                if ground.pending.trouble().is_none() {
                    tracing::error!(%error, "nothing is acknowledged until the store can write");
                }
                ground.fail_commit(&mut commit, &error);
            }
        }
        if ground.pending.is_closing() {
            return;
        }
        ground.pending.pause(RETRY);
    }
}
