//! What a session writes down.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::history::{Entry, Publication, What};
use crate::run::{Run, count};

/// The entries that a session may have: more are a fault of the case.
const ENTRIES_MAX: usize = 2_000_000;

/// All that a session saw and did.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) entries: Vec<Entry>,
    pub(crate) publications: Vec<Publication>,
    /// How long each loss of the connection lasted.
    pub(crate) backs: Vec<Duration>,
    /// It saw more than is kept.
    pub(crate) truncated: bool,
}

/// The log while it is written.
#[derive(Debug)]
pub(super) struct Log {
    run: Arc<Run>,
    pub(super) record: Record,
}

impl Log {
    pub(super) fn new(run: Arc<Run>) -> Self {
        Self { run, record: Record::default() }
    }

    pub(super) fn push(&mut self, connection: u32, what: What) {
        let progress = &self.run.progress;
        match &what {
            What::Message { fresh: true, .. } => {
                progress.fresh.fetch_add(1, Ordering::Relaxed);
                if self.run.forgets() {
                    return;
                }
            }
            What::Text { .. } if self.run.forgets() => return,
            What::Message { .. } => drop(progress.dropped.fetch_add(1, Ordering::Relaxed)),
            What::Joined { .. } => count(&progress.joined),
            What::Reset { .. } => count(&progress.resets),
            What::Established { resumed: true } => count(&progress.resumed),
            _ => {}
        }
        if self.record.entries.len() >= ENTRIES_MAX {
            self.record.truncated = true;
            return;
        }
        self.record.entries.push(Entry { at: self.run.now(), connection, what });
    }
}
