//! The one place that reads clocks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use moorline_proto::time::{Instant, Now, Timestamp};

/// Reads both clocks. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: tokio::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: tokio::time::Instant::now() }
    }

    pub(crate) fn now(self) -> Now {
        Now { instant: Instant::since_start(self.start.elapsed()), timestamp: timestamp() }
    }

    /// When the runtime's clock will show `instant`.
    pub(crate) fn runtime(self, instant: Instant) -> tokio::time::Instant {
        self.start + instant.elapsed()
    }

    pub(crate) fn uptime(self) -> Duration {
        self.start.elapsed()
    }
}

/// The wall clock.
pub(crate) fn timestamp() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
