//! What all parts of a run share: its clock, its counters, and the fault that is planted into the recording.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use moorline_proto::time::Instant;

/// Between two looks at the counters.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A defect that is put in on purpose: the verdict must be red.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Plant {
    /// The recorder leaves out every 997th message, or part of a stream, that an application got
    #[value(name = "drop-997")]
    Drop997,
    /// The server keeps everything in memory, and is treated as if it kept it on disk
    AckBeforeCommit,
}

/// Numbers that change while it runs.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Sessions that are connected.
    pub(crate) established: AtomicUsize,
    /// Memberships that were confirmed, ever.
    pub(crate) joined: AtomicUsize,
    /// Establishments that went on with a session.
    pub(crate) resumed: AtomicUsize,
    /// Messages that applications got.
    pub(crate) fresh: AtomicU64,
    /// Messages that clients dropped, since their applications had them.
    pub(crate) dropped: AtomicU64,
    pub(crate) resets: AtomicUsize,
    /// Sessions that have no question open, and said how many rooms' last messages they wait for.
    pub(crate) settled: AtomicUsize,
    /// How many last messages are waited for.
    pub(crate) due: AtomicUsize,
    /// How many came.
    pub(crate) last: AtomicUsize,
}

/// Shared by everything in one run.
#[derive(Debug)]
pub(crate) struct Run {
    began: std::time::Instant,
    pub(crate) seed: u64,
    pub(crate) progress: Progress,
    pub(crate) plant: Option<Plant>,
    recorded: AtomicU64,
}

impl Run {
    pub(crate) fn new(seed: u64, plant: Option<Plant>) -> Self {
        let (began, progress) = (std::time::Instant::now(), Progress::default());
        Self { began, seed, progress, plant, recorded: AtomicU64::new(0) }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::since_start(self.began.elapsed())
    }

    /// Whether the planted fault lets the next message be forgotten.
    pub(crate) fn forgets(&self) -> bool {
        self.plant == Some(Plant::Drop997)
            && (self.recorded.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(997)
    }

    /// Waits until the counters say so, at most for `limit`. Whether they did.
    pub(crate) async fn until(&self, limit: Duration, is_so: impl Fn(&Progress) -> bool) -> bool {
        let begun = std::time::Instant::now();
        while !is_so(&self.progress) {
            if begun.elapsed() > limit {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        true
    }
}

/// Adds one.
pub(crate) fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Takes one away.
pub(crate) fn uncount(counter: &AtomicUsize) {
    counter.fetch_sub(1, Ordering::Relaxed);
}

/// What a counter says.
pub(crate) fn read(counter: &AtomicUsize) -> usize {
    counter.load(Ordering::Relaxed)
}
