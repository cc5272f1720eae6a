//! A store that is open, with the thread that writes it.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use moorline_broker::{LocalBroker, RetentionRules};
use moorline_proto::position::Epoch;
use moorline_proto::session_record::SessionRecord;
use moorline_proto::time::{Now, Timestamp};

use crate::error::{CloseError, OpenError, WriteError};
use crate::ground::{Clock, Commit, Ground, Opened};
use crate::pending::{HANGS_AFTER, Limits, Pending};
use crate::place::{Directory, Place};
use crate::sessions::DiskSessions;

/// How long a commit that failed waits for its next try.
const RETRY: Duration = Duration::from_secs(1);
/// After a quiet time a commit waits until nothing has come for so small a share of the least time between two: what was published
/// together is then in one, and goes out in one write to each receiver.
const GATHER_SHARE: u32 = 10;
/// How often the log drops what is too old.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);
/// The least time between two looks at streams: clocks are not so exact that a shorter wait would find more.
const LAPSE_EVERY: Duration = Duration::from_millis(1);

/// How a store keeps.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much it keeps, on disk and in memory.
    pub retention: RetentionRules,
    /// The least time between the beginnings of two commits: what comes meanwhile is kept in one. More costs latency, less costs
    /// processor time. Default 2 ms.
    pub commit_every: Duration,
    /// A commit that takes longer than this is a disk that hangs: it is told as trouble, and sessions are refused at once. Default 5 s.
    pub hangs_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retention: RetentionRules::default(),
            commit_every: Duration::from_millis(2),
            hangs_after: HANGS_AFTER,
        }
    }
}

/// Whether a store can write. Cheap to clone.
#[derive(Clone)]
pub struct Health(Arc<Pending>);

impl Health {
    /// Why it cannot write: what its last try, about a second ago, came to, or that one takes more than
    /// [`Options::hangs_after`]; none where it can.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.0.trouble().map(|trouble| trouble.to_string())
    }
}

fn system_clock() -> Clock {
    let start = Instant::now();
    Arc::new(move || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp = Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        Now { instant: moorline_proto::time::Instant::since_start(start.elapsed()), timestamp }
    })
}

/// A store in a directory, with a thread that commits.
///
/// One commit at a time, at most one each [`Options::commit_every`]; what comes in while one is being written is in the next.
/// Everything that is kept is in memory too: reading never waits for the disk. Opening reads the whole file: the example `store_figures`
/// says how long that takes on a machine.
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
        let place = Directory::create(directory)?;
        // What was begun here and could not be, for want of space, must not stand in the way of the next try.
        let begun = place.begins();
        Self::open_in(Box::new(place), options).inspect_err(|_| {
            if let Some(file) = begun {
                let _not_there = std::fs::remove_file(file); // or it never was
            }
        })
    }

    /// The same, somewhere else than in a directory: tests have a disk that fails.
    ///
    /// # Errors
    /// Says why not.
    pub fn open_in(place: Box<dyn Place>, options: &Options) -> Result<Self, OpenError> {
        let clock = system_clock();
        let path = place.path().to_owned();
        let io = |error| OpenError::io(&path, error);
        let random = getrandom::u64().map_err(|error| io(std::io::Error::other(error)))?;
        let mut ground = Ground::open(place, &options.retention, (clock, Epoch(random.max(1))))?;
        let restored = ground.take_restored();
        ground.pending.limit(Limits { hangs_after: options.hangs_after, ..Limits::default() });
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
    /// but that nothing can be kept.
    ///
    /// # Errors
    /// It could not write: the next start is an unclean one.
    pub fn close(self) -> Result<(), CloseError> {
        let Self { ground, committer, .. } = self;
        drop(committer);
        match Arc::try_unwrap(ground) {
            Ok(ground) => Ok(ground.close()?),
            // The committer alone shared it, and has ended.
            Err(_) => Err(WriteError::Unfinished("somebody still uses the store".into()).into()),
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

/// Where the thread fails, which is a fault of ours, nothing more is accepted: nobody would be answered.
struct Alarm<'a>(&'a Ground);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.pending.set_trouble(Some("the store's thread has failed: restart the server".into()));
            self.0.broker.end_commit(false);
        }
    }
}

/// The thread.
fn commit_until_closed(ground: &Ground, every: Duration) {
    let _alarm = Alarm(ground);
    let (mut expired, mut begun) = (None::<Instant>, None::<Instant>);
    loop {
        let was_quiet = !ground.pending.has_changes();
        ground.pending.wait(quiet_for(ground));
        // What that shows is in the commit. While none comes through it would show nothing.
        ground.broker.lapse();
        let has_changes = ground.pending.has_changes();
        if has_changes {
            let rest = begun.map_or(Duration::ZERO, |begun| every.saturating_sub(begun.elapsed()));
            match was_quiet {
                true => ground.pending.gather(rest, every / GATHER_SHARE, every),
                false => ground.pending.pause(rest),
            }
            begun = Some(Instant::now());
        }
        let commit = if has_changes { ground.pending.while_writing(|| ground.begin_commit()) } else { None };
        if let Some(commit) = commit {
            if !write_until_kept(ground, commit) {
                return;
            }
        } else if ground.pending.is_closing() {
            return;
        }
        if expired.is_none_or(|at| at.elapsed() >= EXPIRE_EVERY) {
            expired = Some(Instant::now());
            ground.broker.expire();
            metrics::gauge!("moorline_store_bytes").set(ground.file_bytes() as f64);
        }
    }
}

/// How long there is nothing to do, if nothing changes.
fn quiet_for(ground: &Ground) -> Duration {
    let lapses_in = ground.broker.lapses_in().unwrap_or(EXPIRE_EVERY);
    lapses_in.clamp(LAPSE_EVERY, EXPIRE_EVERY)
}

/// False where the store is to close and it could not be written: the trouble stays, and nothing else may be written behind it.
fn write_until_kept(ground: &Ground, mut commit: Commit) -> bool {
    loop {
        let begun = Instant::now();
        match ground.pending.while_writing(|| ground.write(&commit)) {
            Ok(()) => {
                metrics::histogram!("moorline_store_commit_seconds").record(begun.elapsed().as_secs_f64());
                metrics::counter!("moorline_store_commits_total", "outcome" => "ok").increment(1);
                if ground.pending.trouble().is_some() {
                    tracing::info!("the store writes again");
                }
                ground.end_commit(commit);
                return true;
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
            return false;
        }
        ground.broker.expire();
        ground.pending.pause(RETRY);
    }
}
