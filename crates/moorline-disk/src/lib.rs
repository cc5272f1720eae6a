//! Messages and sessions on disk: what survives kill -9 and loss of power.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use moorline_broker::{LocalBroker, MemorySessions, RetentionRules};
use moorline_proto::id::RoomName;
use moorline_proto::position::Epoch;
use moorline_proto::record::Record;
use moorline_proto::session_record::SessionRecord;

/// How a store keeps.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much it keeps.
    pub retention: RetentionRules,
    /// The least time between the beginnings of two commits: what comes meanwhile is kept in one. Default 2 ms.
    pub commit_every: Duration,
}

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use: another server, or another `moorline store`, has it open", .0.display())]
    InUse(PathBuf),
    /// A newer Moorline wrote it.
    #[error("{} was written by a newer Moorline (format {found}; this one knows {known}): use that one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: u32,
        /// What this program knows.
        known: u32,
    },
    /// Something else is in its place.
    #[error("{} is not Moorline's: {why}", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        why: &'static str,
    },
    /// It is Moorline's, and cannot be read.
    #[error("{} is damaged: {why}; `moorline store check` says more", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The operating system refuses.
    #[error("{} cannot be opened", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A store could not be closed cleanly: the next start is an unclean one.
#[derive(Debug, thiserror::Error)]
#[error("what was published last could not be kept: {0}")]
pub struct CloseError(pub String);

/// An open store.
pub struct Store {
    broker: Arc<LocalBroker>,
}

/// What a store had in it when it was opened.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// Whether it had been closed; else the log has a new epoch.
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

/// Whether a store can write.
#[derive(Clone, Debug, Default)]
pub struct Health;

impl Health {
    /// Why it cannot write; none where it can.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        None
    }
}

impl Store {
    /// Opens the store in a directory, or makes one there.
    ///
    /// # Errors
    /// Says why not.
    pub fn open(_directory: &Path, _options: &Options) -> Result<Self, OpenError> {
        Err(OpenError::Io { path: PathBuf::new(), source: std::io::Error::other("not there yet") })
    }

    /// The broker over it.
    #[must_use]
    pub fn broker(&self) -> Arc<LocalBroker> {
        Arc::clone(&self.broker)
    }

    /// The session records in it.
    #[must_use]
    pub fn sessions(&self) -> Arc<MemorySessions> {
        Arc::default()
    }

    /// The sessions that it had when it was opened; a second call returns none.
    pub fn take_restored(&mut self) -> Vec<Arc<SessionRecord>> {
        Vec::new()
    }

    /// What it had in it when it was opened.
    #[must_use]
    pub fn opened(&self) -> Opened {
        Opened { was_clean: true, rooms: 0, records: 0, sessions: 0, took: Duration::ZERO }
    }

    /// Whether it can write.
    #[must_use]
    pub fn health(&self) -> Health {
        Health
    }

    /// Keeps what waits, and closes: the next start is a clean one. Blocks.
    ///
    /// # Errors
    /// It could not write.
    pub fn close(self) -> Result<(), CloseError> {
        Ok(())
    }
}

/// What is in a store that nobody has open.
#[derive(Clone, Copy, Debug)]
pub struct Stats {
    /// The version of its format.
    pub format: u32,
    /// The log's epoch.
    pub epoch: Epoch,
    /// Whether it was closed.
    pub was_clean: bool,
    /// Rooms.
    pub rooms: usize,
    /// Records.
    pub records: usize,
    /// What they cost, in bytes.
    pub record_bytes: usize,
    /// Publish ids.
    pub publish_ids: usize,
    /// Sessions.
    pub sessions: usize,
    /// The file, in bytes.
    pub file_bytes: u64,
}

/// What is in a store that nobody has open. Changes nothing.
///
/// # Errors
/// Says why it could not be opened.
pub fn stats(_directory: &Path) -> Result<Stats, OpenError> {
    todo_stub()
}

/// Looks for damage: every page's checksum, and whether all entries can be read and fit together. Returns what is wrong, empty
/// where nothing is.
///
/// # Errors
/// Says why it could not be opened.
pub fn check(_directory: &Path) -> Result<Vec<String>, OpenError> {
    todo_stub()
}

/// Makes the file as small as it can be. Returns its size before and after, in bytes.
///
/// # Errors
/// Says why it could not be opened or written.
pub fn compact(_directory: &Path) -> Result<(u64, u64), OpenError> {
    todo_stub()
}

/// Shows every record that is kept, of one room or of all, each room's in order, until `visit` breaks off.
///
/// # Errors
/// Says why it could not be opened.
pub fn export(
    _directory: &Path,
    _room: Option<&RoomName>,
    _visit: &mut dyn FnMut(&RoomName, Epoch, &Record) -> ControlFlow<()>,
) -> Result<(), OpenError> {
    todo_stub()
}

fn todo_stub<T>() -> Result<T, OpenError> {
    Err(OpenError::Io { path: PathBuf::new(), source: std::io::Error::other("not there yet") })
}
