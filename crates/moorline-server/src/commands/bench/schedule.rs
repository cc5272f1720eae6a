//! When messages are due.

use std::time::Duration;

/// The fixed moments of an open loop. A burst is due every so often, and the rooms take turns; no moment depends on how
/// the server does, so a slow one cannot make itself look fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    /// Messages per second, of all rooms together. At least 1.
    pub(super) per_second: u64,
    /// Messages that are due at one moment, in one room.
    pub(super) burst: u64,
    pub(super) rooms: u64,
}

impl Schedule {
    /// When a burst is due, counted from the beginning; bursts of all rooms are numbered from 0.
    pub(super) fn due(&self, burst: u64) -> Duration {
        const NANOS: u128 = 1_000_000_000;
        let nanos = u128::from(burst) * u128::from(self.burst) * NANOS / u128::from(self.per_second);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Whose turn it is.
    pub(super) fn room(&self, burst: u64) -> u64 {
        burst % self.rooms
    }

    /// When a room's own burst of that number is due.
    pub(super) fn due_in(&self, room: u64, own: u64) -> Duration {
        self.due(own.saturating_mul(self.rooms).saturating_add(room))
    }

    /// The bursts that are due before the end.
    pub(super) fn bursts_before(&self, end: Duration) -> u64 {
        const NANOS: u128 = 1_000_000_000;
        let bursts = (end.as_nanos() * u128::from(self.per_second)).div_ceil(NANOS * u128::from(self.burst));
        u64::try_from(bursts).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_fixed_and_do_not_drift() {
        let schedule = Schedule { per_second: 3, burst: 1, rooms: 1 };
        assert_eq!(schedule.due(0), Duration::ZERO);
        assert_eq!(schedule.due(1), Duration::from_nanos(333_333_333));
        assert_eq!(schedule.due(3_000_000), Duration::from_secs(1_000_000));
    }

    #[test]
    fn rooms_take_turns_and_each_knows_its_own_moments() {
        let schedule = Schedule { per_second: 1_000, burst: 10, rooms: 4 };
        for burst in 0..40 {
            let (room, own) = (schedule.room(burst), burst / 4);
            assert_eq!(schedule.due_in(room, own), schedule.due(burst), "burst {burst}");
        }
        assert_eq!(schedule.due(1), Duration::from_millis(10));
    }

    #[test]
    fn as_many_are_due_as_the_rate_says() {
        for (per_second, burst, seconds, expected) in
            [(1_000, 1, 2, 2_000), (1_000, 10, 2, 200), (3, 1, 1, 3), (1, 5, 1, 1), (7, 2, 3, 11)]
        {
            let schedule = Schedule { per_second, burst, rooms: 1 };
            let end = Duration::from_secs(seconds);
            let bursts = schedule.bursts_before(end);
            assert_eq!(bursts, expected, "{schedule:?}");
            assert!(schedule.due(bursts - 1) < end && schedule.due(bursts) >= end, "{schedule:?}");
        }
    }
}
