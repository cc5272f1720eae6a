//! What is announced and not yet received.

use std::collections::VecDeque;

use moorline_proto::batch::{Batch, Ephemeral};
use moorline_proto::id::RoomName;
use moorline_proto::position::{Epoch, Offset};
use moorline_proto::record::Record;
use moorline_proto::stream::Cancel;

use crate::broker::Announcement;

/// How much waits for a node that does not listen; beyond it everything waiting is replaced by [`Announcement::Lost`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Records, ephemeral messages, and askings to stop.
    pub(super) announcements: usize,
    /// What they cost, in bytes.
    pub(super) bytes: usize,
}

impl Bounds {
    /// A quarter of a second at 250,000 a second: a pump that is further behind is better off with the logs.
    pub(super) const DEFAULT: Self = Self { announcements: 65_536, bytes: 64 * 1024 * 1024 };
}

/// A batch gets no further record once it has this many: it is posted as a whole.
const BATCH_RECORDS: usize = 256;
/// Or once its records cost this many bytes.
const BATCH_BYTES: usize = 256 * 1024;

/// A record that was appended.
pub(super) struct News<'a> {
    pub(super) room: &'a RoomName,
    pub(super) epoch: Epoch,
    pub(super) after: Offset,
    pub(super) record: Record,
}

/// Announcements in append order. Consecutive records of one room become one batch.
pub(super) struct Queue {
    bounds: Bounds,
    waiting: VecDeque<Announcement>,
    /// What the batch at the end costs; 0 where it is not to grow.
    last_batch_bytes: usize,
    announcements: usize,
    bytes: usize,
    /// Whether something before what waits was lost.
    lost: bool,
}

impl Queue {
    pub(super) const fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            waiting: VecDeque::new(),
            last_batch_bytes: 0,
            announcements: 0,
            bytes: 0,
            lost: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.lost && self.waiting.is_empty()
    }

    /// Forgets everything and says so to whoever receives next.
    pub(super) fn lose(&mut self) {
        *self = Self { lost: true, ..Self::new(self.bounds) };
    }

    pub(super) fn push_record(&mut self, news: News<'_>) {
        let cost = news.record.cost_bytes();
        if !self.admit(cost) {
            return;
        }
        if let Some(batch) = self.growing(&news) {
            batch.records.push(news.record);
            self.last_batch_bytes += cost;
            return;
        }
        self.last_batch_bytes = cost;
        let News { room, epoch, after, record } = news;
        let batch = Batch { room: room.clone(), epoch, after, records: vec![record], reached: vec![] };
        self.waiting.push_back(Announcement::Batch(batch));
    }

    pub(super) fn push_ephemeral(&mut self, ephemeral: Ephemeral) {
        if self.admit(ephemeral_cost_bytes(&ephemeral)) {
            self.waiting.push_back(Announcement::Ephemeral(ephemeral));
        }
    }

    pub(super) fn push_cancel(&mut self, cancel: Cancel) {
        if self.admit(cancel_cost_bytes(&cancel)) {
            self.waiting.push_back(Announcement::Cancel(cancel));
        }
    }

    /// Counts one more, or loses all with it.
    fn admit(&mut self, cost: usize) -> bool {
        if self.announcements >= self.bounds.announcements
            || self.bytes.saturating_add(cost) > self.bounds.bytes
        {
            self.lose();
            return false;
        }
        self.announcements += 1;
        self.bytes += cost;
        true
    }

    /// The batch at the end, where the record continues it.
    fn growing(&mut self, news: &News<'_>) -> Option<&mut Batch> {
        let Some(Announcement::Batch(batch)) = self.waiting.back_mut() else { return None };
        let continues = batch.room == *news.room && batch.epoch == news.epoch && batch.last() == news.after;
        let has_space = batch.records.len() < BATCH_RECORDS && self.last_batch_bytes < BATCH_BYTES;
        (continues && has_space).then_some(batch)
    }

    /// Moves up to `max` into `into`.
    pub(super) fn take(&mut self, into: &mut Vec<Announcement>, max: usize) {
        let mut left = max.max(1);
        if std::mem::take(&mut self.lost) {
            into.push(Announcement::Lost);
            left -= 1;
        }
        let count = left.min(self.waiting.len());
        for announcement in self.waiting.drain(..count) {
            let (announcements, bytes) = weight(&announcement);
            self.announcements -= announcements;
            self.bytes -= bytes;
            into.push(announcement);
        }
        if self.waiting.is_empty() {
            *self = Self::new(self.bounds);
        }
    }
}

/// How much an announcement counts against the bounds.
fn weight(announcement: &Announcement) -> (usize, usize) {
    match announcement {
        Announcement::Batch(batch) => {
            (batch.records.len(), batch.records.iter().map(Record::cost_bytes).sum())
        }
        Announcement::Ephemeral(ephemeral) => (1, ephemeral_cost_bytes(ephemeral)),
        Announcement::Cancel(cancel) => (1, cancel_cost_bytes(cancel)),
        Announcement::Lost => (0, 0),
    }
}

/// As much as a record of the same message.
pub(super) fn ephemeral_cost_bytes(ephemeral: &Ephemeral) -> usize {
    let Ephemeral { except, timestamp, message, .. } = ephemeral.clone();
    Record { offset: Offset::START, timestamp, except, message }.cost_bytes()
}

/// Its names.
pub(super) fn cancel_cost_bytes(cancel: &Cancel) -> usize {
    let Cancel { holder, room, stream, by } = cancel;
    let by = by.session.as_ref().map_or(0, |session| session.as_str().len())
        + by.user.as_ref().map_or(0, |user| user.as_str().len());
    holder.as_str().len() + room.as_str().len() + stream.as_str().len() + by
}

#[cfg(test)]
mod tests {
    use super::*;
    use moorline_proto::id::{SessionId, StreamName};
    use moorline_proto::message::Message;
    use moorline_proto::stream::Canceller;
    use moorline_proto::time::Timestamp;

    fn record(offset: u64) -> Record {
        let message = Message::stored(br#"{"type":"m"}"#.to_vec().into());
        Record { offset: Offset(offset), timestamp: Timestamp(0), except: None, message }
    }

    fn push(queue: &mut Queue, room: &str, offset: u64) {
        let room = RoomName::new(room).unwrap();
        let after = Offset(offset - 1);
        queue.push_record(News { room: &room, epoch: Epoch(1), after, record: record(offset) });
    }

    fn take(queue: &mut Queue, max: usize) -> Vec<String> {
        let mut into = Vec::new();
        queue.take(&mut into, max);
        let name = |announcement: &Announcement| match announcement {
            Announcement::Batch(batch) => format!("{} {}-{}", batch.room, batch.after.0, batch.last().0),
            Announcement::Ephemeral(_) => "ephemeral".to_owned(),
            Announcement::Cancel(_) => "cancel".to_owned(),
            Announcement::Lost => "lost".to_owned(),
        };
        into.iter().map(name).collect()
    }

    #[test]
    fn what_follows_each_other_is_one_batch_up_to_its_bound() {
        let mut queue = Queue::new(Bounds::DEFAULT);
        for offset in 1..=300 {
            push(&mut queue, "a", offset);
        }
        push(&mut queue, "b", 7);
        push(&mut queue, "a", 301);
        push(&mut queue, "a", 303);
        assert_eq!(take(&mut queue, 2), ["a 0-256", "a 256-300"]);
        assert_eq!(take(&mut queue, 9), ["b 6-7", "a 300-301", "a 302-303"]);
        assert!(queue.is_empty() && queue.bytes == 0 && queue.announcements == 0);
    }

    #[test]
    fn a_message_that_is_not_stored_keeps_its_place() {
        let mut queue = Queue::new(Bounds::DEFAULT);
        let Record { timestamp, message, except, .. } = record(1);
        push(&mut queue, "a", 1);
        queue.push_ephemeral(Ephemeral { room: RoomName::new("a").unwrap(), except, timestamp, message });
        push(&mut queue, "a", 2);
        assert_eq!(take(&mut queue, 9), ["a 0-1", "ephemeral", "a 1-2"]);
    }

    #[test]
    fn askings_to_stop_keep_their_place_and_count() {
        let mut queue = Queue::new(Bounds { announcements: 3, bytes: usize::MAX });
        let cancel = Cancel {
            holder: SessionId::new("p").unwrap(),
            room: RoomName::new("a").unwrap(),
            stream: StreamName::new("s").unwrap(),
            by: Canceller::default(),
        };
        push(&mut queue, "a", 1);
        queue.push_cancel(cancel.clone());
        push(&mut queue, "a", 2);
        assert_eq!(take(&mut queue, 9), ["a 0-1", "cancel", "a 1-2"]);
        assert!(queue.bytes == 0 && queue.announcements == 0);
        (0..4).for_each(|_| queue.push_cancel(cancel.clone()));
        assert_eq!(take(&mut queue, 9), ["lost"]);
    }

    #[test]
    fn beyond_the_bounds_everything_is_lost_once() {
        let cost = record(1).cost_bytes();
        for bounds in
            [Bounds { announcements: 3, bytes: usize::MAX }, Bounds { announcements: 9, bytes: 3 * cost }]
        {
            let mut queue = Queue::new(bounds);
            for offset in 1..=5 {
                push(&mut queue, "a", offset);
            }
            assert_eq!(take(&mut queue, 9), ["lost", "a 4-5"]);
            for offset in 6..=8 {
                push(&mut queue, "a", offset);
            }
            assert_eq!(take(&mut queue, 9), ["a 5-8"], "the bounds count what waits");
        }
    }
}
