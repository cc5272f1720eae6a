//! What a connection could not take yet. Exists only while its socket is full, and is bounded by its owner.

use crate::time::Instant;

/// Bytes that wait for a full socket, in order.
#[derive(Debug)]
pub struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    progress_at: Instant,
}

impl Outbox {
    /// The rest of a write that fell short.
    #[must_use]
    pub fn new(rest: &[u8], now: Instant) -> Self {
        Self { bytes: rest.to_vec(), sent: 0, progress_at: now }
    }

    /// Adds behind what waits.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What waits.
    #[must_use]
    pub fn waiting(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// How many bytes wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Whether nothing waits any more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The socket took this many of the waiting bytes.
    pub fn took(&mut self, count: usize, now: Instant) {
        if count > 0 {
            self.progress_at = now;
        }
        self.sent += count;
        if self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// When the socket last took anything.
    #[must_use]
    pub const fn progress_at(&self) -> Instant {
        self.progress_at
    }
}

/// How many whole frames, of those that end at `ends`, a connection keeps when its socket took `written` bytes of them and
/// `waiting` bytes wait already: always the one that was begun, then further ones while less than `max` bytes wait.
#[must_use]
pub fn frames_kept(ends: &[usize], written: usize, waiting: usize, max: usize) -> usize {
    let mut kept = ends.partition_point(|&end| end <= written);
    let start = kept.checked_sub(1).map_or(0, |before| ends[before]);
    if written > start {
        kept += 1;
    }
    while kept < ends.len() {
        let pending = kept.checked_sub(1).map_or(0, |before| ends[before].saturating_sub(written));
        if waiting + pending >= max {
            break;
        }
        kept += 1;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_begun_frame_is_always_kept_and_the_bound_holds() {
        for (written, waiting, max, kept) in [
            (0, 0, 1, 1),
            (5, 0, 0, 1),
            (10, 0, 0, 1),
            (11, 0, 0, 2),
            (10, 0, 10, 2),
            (10, 0, 11, 3),
            (0, 50, 50, 0),
            (0, 0, 1000, 3),
            (30, 0, 0, 3),
        ] {
            assert_eq!(frames_kept(&[10, 20, 30], written, waiting, max), kept, "{written} {waiting} {max}");
        }
    }

    #[test]
    fn bytes_leave_in_order() {
        let mut outbox = Outbox::new(b"abc", Instant::default());
        outbox.push(b"def");
        outbox.took(2, Instant::default());
        assert_eq!(outbox.waiting(), b"cdef");
        outbox.took(3, Instant::default());
        outbox.push(b"g");
        assert_eq!(outbox.waiting(), b"fg");
        outbox.took(2, Instant::default());
        assert!(outbox.is_empty());
    }
}
