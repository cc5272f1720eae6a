//! When each append is due: all streams in turns, at one pace, whether or not the server keeps up.

use std::time::Duration;

/// Of how many streams, and how many appends each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) rooms: u32,
    pub(crate) streams_per_room: u32,
    /// Of each stream.
    pub(crate) appends: u32,
    pub(crate) token_bytes: usize,
    /// Appends of each stream; `None` is as fast as they are answered.
    pub(crate) per_second: Option<u32>,
}

impl Plan {
    pub(crate) fn streams(&self) -> usize {
        self.rooms as usize * self.streams_per_room as usize
    }

    pub(crate) fn total(&self) -> u64 {
        self.streams() as u64 * u64::from(self.appends)
    }

    pub(crate) fn room_of(&self, stream: usize) -> usize {
        stream / self.streams_per_room as usize
    }

    /// The stream of this append, and the append's number within it.
    pub(crate) fn place(&self, append: u64) -> (usize, u64) {
        let streams = self.streams() as u64;
        #[expect(clippy::cast_possible_truncation, reason = "it is less than the streams there are")]
        let stream = (append % streams) as usize;
        (stream, append / streams)
    }

    /// How many appends are due so long after the beginning.
    pub(crate) fn due(&self, elapsed: Duration) -> u64 {
        let due = match self.pace() {
            None => self.total(),
            #[expect(clippy::cast_possible_truncation, reason = "it is positive and less than 2^53")]
            Some(pace) => (elapsed.as_secs_f64() * pace) as u64 + 1,
        };
        due.min(self.total())
    }

    /// When an append of a stream is due, after the beginning.
    pub(crate) fn when(&self, stream: usize, number: u64) -> Duration {
        let append = number * self.streams() as u64 + stream as u64;
        self.pace().map_or(Duration::ZERO, |pace| Duration::from_secs_f64(append as f64 / pace))
    }

    /// How long the appends take that are sent at a rate.
    pub(crate) fn length(&self) -> Duration {
        self.per_second
            .map_or(Duration::ZERO, |rate| Duration::from_secs_f64(f64::from(self.appends) / f64::from(rate)))
    }

    /// Appends per second of all streams.
    fn pace(&self) -> Option<f64> {
        self.per_second.map(|rate| self.streams() as f64 * f64::from(rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan =
        Plan { rooms: 5, streams_per_room: 2, appends: 30, token_bytes: 9, per_second: Some(20) };

    #[test]
    fn appends_are_due_in_turns_at_the_pace() {
        assert_eq!((PLAN.streams(), PLAN.total(), PLAN.room_of(3)), (10, 300, 1));
        assert_eq!(PLAN.length(), Duration::from_millis(1_500));
        assert_eq!(PLAN.due(Duration::ZERO), 1);
        assert_eq!(PLAN.due(Duration::from_millis(502)), 101);
        assert_eq!(PLAN.due(Duration::from_secs(99)), 300);
        assert_eq!(PLAN.place(123), (3, 12));
        for append in 0..PLAN.total() {
            let (stream, number) = PLAN.place(append);
            let when = PLAN.when(stream, number);
            assert!(PLAN.due(when + Duration::from_micros(1)) > append, "{append}");
        }
    }

    #[test]
    fn without_a_rate_all_are_due_at_once() {
        let plan = Plan { per_second: None, ..PLAN };
        assert_eq!(plan.due(Duration::ZERO), 300);
        assert_eq!(plan.length(), Duration::ZERO);
    }
}
