//! How old something is.

use std::time::Duration;

use moorline_proto::time::{Now, Timestamp};

/// A moment by the monotonic clock, in milliseconds; negative for what was appended before this process. The wall clock
/// decides nothing while a log is open: who sets it expires nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogTime(i64);

impl LogTime {
    pub(super) fn of(now: Now) -> Self {
        Self(i64::try_from(now.instant.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    /// When something was that bears a time stamp of an earlier process: both wall clocks are believed, but nothing is
    /// younger than now.
    pub(super) fn restored(at: Timestamp, now: Now) -> Self {
        let age = i64::try_from(now.timestamp.0.saturating_sub(at.0)).unwrap_or(i64::MAX);
        Self(Self::of(now).0.saturating_sub(age))
    }

    /// Whether that is at least `age` ago.
    pub(super) fn is_over(self, now: Self, age: Duration) -> bool {
        i128::from(now.0) - i128::from(self.0) >= i128::try_from(age.as_millis()).unwrap_or(i128::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moorline_proto::time::Instant;

    fn now(uptime_ms: u64, wall_ms: u64) -> Now {
        let instant = Instant::since_start(Duration::from_millis(uptime_ms));
        Now { instant, timestamp: Timestamp(wall_ms) }
    }

    #[test]
    fn a_wall_clock_that_jumps_makes_nothing_old() {
        let at = LogTime::of(now(5, 1_000));
        let age = Duration::from_millis(10);
        for (uptime, wall, over) in [(14, 9_999_999, false), (14, 0, false), (15, 1_000, true)] {
            assert_eq!(at.is_over(LogTime::of(now(uptime, wall)), age), over, "{uptime} {wall}");
        }
    }

    #[test]
    fn time_went_on_while_the_process_was_down() {
        let restored = |at| LogTime::restored(Timestamp(at), now(3, 1_000));
        assert_eq!(restored(400), LogTime(-597));
        assert_eq!(restored(2_000), LogTime(3), "a clock that was ahead makes nothing younger than now");
        assert!(restored(400).is_over(LogTime::of(now(3, 0)), Duration::from_millis(600)));
    }
}
