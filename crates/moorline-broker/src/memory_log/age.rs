//! When something is too old.

use std::time::Duration;

use moorline_proto::time::Timestamp;

/// Whether what happened `at` is at least `age` away from `now`.
///
/// In both directions: the wall clock may be set back, and what it stamped while it was wrong must not stay, and hold up
/// everything that was kept after it, until the clock is there again.
pub(super) fn is_over(at: Timestamp, now: Timestamp, age: Duration) -> bool {
    u128::from(now.0.abs_diff(at.0)) >= age.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_wrong_delays_by_one_age_at_most() {
        let age = Duration::from_millis(10);
        for (at, now, over) in [(100, 109, false), (100, 110, true), (100, 91, false), (100, 90, true)] {
            assert_eq!(is_over(Timestamp(at), Timestamp(now), age), over, "{at} at {now}");
        }
    }
}
