//! What a connection could not take yet. Exists only while its socket is full, and is bounded by its owner.
//!
//! There are two lanes: messages, and what is said about them and about nothing else (`joined`, `reset` …), keep their order;
//! everything else overtakes them, but never within a frame that has begun.

use std::collections::VecDeque;

use crate::time::Instant;

/// Bytes that wait for a full socket.
#[derive(Debug)]
pub struct Outbox {
    messages: Lane,
    /// The frames of the message lane, in order.
    frames: VecDeque<Waiting>,
    /// Whether the first of them has begun: nothing overtakes it any more.
    begun: bool,
    control: Lane,
    /// How many bytes of the message lane are no messages.
    placed: usize,
    progress_at: Instant,
}

/// What of a frame is still to be written.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    bytes: usize,
    is_message: bool,
}

/// Bytes in order, of which the first were written.
#[derive(Debug, Default)]
struct Lane {
    bytes: Vec<u8>,
    sent: usize,
}

impl Lane {
    fn waiting(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn took(&mut self, count: usize) {
        self.sent += count;
        if self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

impl Outbox {
    /// One in which nothing waits yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            messages: Lane::default(),
            frames: VecDeque::new(),
            begun: false,
            control: Lane::default(),
            placed: 0,
            progress_at: now,
        }
    }

    /// Adds whole messages, of which the socket took the first `written` bytes: those that end at `ends`.
    pub fn push_messages(&mut self, wire: &[u8], ends: &[usize], written: usize) {
        let mut start = 0;
        for &end in ends {
            if end > written {
                self.begun |= written > start;
                self.frames.push_back(Waiting { bytes: end - start.max(written), is_message: true });
            }
            start = end;
        }
        self.messages.push(&wire[written.min(start)..start]);
    }

    /// Adds a frame that keeps its place among the messages: its rest where it `has_begun`, which nothing overtakes.
    pub fn push_placed(&mut self, rest: &[u8], has_begun: bool) {
        self.begun |= has_begun;
        self.frames.push_back(Waiting { bytes: rest.len(), is_message: false });
        self.placed += rest.len();
        self.messages.push(rest);
    }

    /// Adds frames that overtake the messages, or the rest of them where they have begun.
    pub fn push_control(&mut self, bytes: &[u8]) {
        self.control.push(bytes);
    }

    /// What to write next: the rest of a frame that has begun, then what overtakes, then everything else.
    #[must_use]
    pub fn next(&self) -> &[u8] {
        match self.frames.front() {
            Some(first) if self.begun => &self.messages.waiting()[..first.bytes],
            _ if self.control.len() > 0 => self.control.waiting(),
            _ => self.messages.waiting(),
        }
    }

    /// The socket took this many bytes of what [`Outbox::next`] said.
    pub fn took(&mut self, count: usize, now: Instant) {
        if count == 0 {
            return;
        }
        self.progress_at = now;
        if !self.begun && self.control.len() > 0 {
            return self.control.took(count);
        }
        self.messages.took(count);
        let mut left = count;
        while let Some(first) = self.frames.front_mut().filter(|_| left > 0) {
            let taken = left.min(first.bytes);
            first.bytes -= taken;
            left -= taken;
            self.placed -= if first.is_message { 0 } else { taken };
            self.begun = first.bytes > 0;
            if !self.begun {
                self.frames.pop_front();
            }
        }
    }

    /// What a connection that ends is still sent before its close frame: no message that has not begun.
    #[must_use]
    pub fn last_words(&self) -> Vec<u8> {
        let begun = self.frames.front().filter(|_| self.begun).map_or(0, |first| first.bytes);
        [&self.messages.waiting()[..begun], self.control.waiting()].concat()
    }

    /// How many bytes wait in the order of the messages.
    #[must_use]
    pub fn messages_len(&self) -> usize {
        self.messages.len()
    }

    /// How many bytes wait that are no messages, in either lane.
    #[must_use]
    pub fn control_len(&self) -> usize {
        self.control.len() + self.placed
    }

    /// Whether nothing waits any more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.len() + self.control.len() == 0
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

    /// Takes up to `room` bytes, as a socket does.
    fn take(outbox: &mut Outbox, mut room: usize) -> String {
        let mut taken = Vec::new();
        while room > 0 && !outbox.is_empty() {
            let next = outbox.next();
            let count = next.len().min(room);
            taken.extend_from_slice(&next[..count]);
            outbox.took(count, Instant::default());
            room -= count;
        }
        String::from_utf8(taken).unwrap()
    }

    #[test]
    fn control_frames_overtake_messages_but_not_one_that_has_begun() {
        let mut outbox = Outbox::new(Instant::default());
        outbox.push_messages(b"aaabbbccc", &[3, 6, 9], 1);
        outbox.push_control(b"PP");
        assert_eq!((outbox.messages_len(), outbox.control_len()), (8, 2));
        assert_eq!(outbox.last_words(), b"aaPP");
        assert_eq!(take(&mut outbox, 1), "a");
        outbox.push_control(b"Q");
        assert_eq!(take(&mut outbox, 3), "aPP");
        outbox.push_placed(b"JJ", false);
        assert_eq!(take(&mut outbox, 2), "Qb");
        outbox.push_control(b"R");
        assert_eq!(outbox.last_words(), b"bbR");
        assert_eq!(take(&mut outbox, 4), "bbRc");
        assert_eq!(take(&mut outbox, 9), "ccJJ");
        assert!(outbox.is_empty());
        assert_eq!(outbox.control_len(), 0);
    }

    #[test]
    fn what_has_begun_is_finished_also_where_the_socket_took_nothing_of_it() {
        let mut outbox = Outbox::new(Instant::default());
        outbox.push_placed(b"hello", true);
        outbox.push_control(b"P");
        assert_eq!(take(&mut outbox, 4), "hell");
        assert_eq!(outbox.control_len(), 2);
        assert_eq!(take(&mut outbox, 9), "oP");
        outbox.push_messages(b"aabb", &[2, 4], 2);
        outbox.push_control(b"P");
        assert_eq!(take(&mut outbox, 9), "Pbb");
    }
}
