//! What a node lives on: where its records and sessions are, and what of them a crash leaves.

mod disk;
mod memory;
mod model;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moorline_broker::{Broker, SessionStore};
use moorline_proto::session_record::SessionRecord;
use moorline_proto::time::{Instant, Now, Timestamp};

pub use self::disk::Disk;
pub use self::memory::Memory;
pub use self::model::Model;

/// The world's clocks, for who asks for the time by himself.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<(AtomicU64, AtomicU64)>);

impl Clock {
    /// Moves both clocks.
    pub fn set(&self, now: Now) {
        let micros = u64::try_from(now.instant.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.0.store(micros, Ordering::Relaxed);
        self.0.1.store(now.timestamp.0, Ordering::Relaxed);
    }

    /// What they show.
    #[must_use]
    pub fn now(&self) -> Now {
        let elapsed = std::time::Duration::from_micros(self.0.0.load(Ordering::Relaxed));
        Now { instant: Instant::since_start(elapsed), timestamp: Timestamp(self.0.1.load(Ordering::Relaxed)) }
    }
}

/// A store that a node opened.
pub struct Open {
    /// Its records.
    pub broker: Arc<dyn Broker>,
    /// Its sessions.
    pub sessions: Arc<dyn SessionStore>,
    /// The sessions that it had, each with the fence that holds it now.
    pub restored: Vec<(Arc<SessionRecord>, u64)>,
}

/// How a commit ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Written, and safe.
    Written,
    /// There is no space: nothing was written, and it is to be tried again.
    Full,
}

/// What becomes of a commit that was begun and has not ended when the node crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// It is gone, as after a loss of power.
    Lost,
    /// It was just written, as after kill -9; nobody was told.
    Kept,
    /// The process was killed after so many of its writes to the disk: these are kept.
    Killed(usize),
    /// Power was lost after so many of its writes: each sector of these is kept or lost.
    Torn(usize),
}

/// What a node lives on.
pub trait Ground {
    /// Opens it.
    ///
    /// # Errors
    /// Says why it could not be opened: a violation, since no fault of the world destroys a store.
    fn open(&mut self) -> Result<Open, String>;

    /// Whether something waits for a commit to be visible.
    fn waits(&self) -> bool;

    /// Drops what is too old: the node's timer.
    fn expire(&mut self);

    /// Shows text of streams that waited, and ends streams whose producers are gone: the node's other timer.
    fn lapse(&mut self);

    /// When that has something to do.
    fn lapses_at(&self) -> Option<Instant>;

    /// The first half of a commit: takes what changed. Nothing where one was begun already.
    fn begin(&mut self);

    /// Its second half. Nothing where none was begun.
    fn end(&mut self, outcome: Outcome);

    /// The node dies.
    fn crash(&mut self, unsynced: Unsynced);

    /// The node ends as it should: everything that waits is kept.
    ///
    /// # Errors
    /// Says why it could not be closed.
    fn close(&mut self) -> Result<(), String>;

    /// The shards have taken in the restored sessions: what these hold is held by them from now on.
    fn let_go(&mut self);
}
