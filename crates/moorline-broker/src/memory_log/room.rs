//! One room's entry.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use moorline_proto::position::{Epoch, Offset};
use moorline_proto::record::Record;
use moorline_proto::resume::{Formers, RoomState};
use moorline_proto::time::Timestamp;

use super::age::is_over;
use super::class::Class;
use super::rules::Retention;
use crate::log::LogStats;

/// Below this capacity a queue is not worth shrinking.
const SMALL: usize = 16;

/// A record, and its place among all records of the log.
struct Kept {
    seq: u64,
    record: Record,
}

/// A room's records and numbers. There are tens of thousands, so it is small: 96 bytes, and nothing more while empty.
#[derive(Default)]
pub(super) struct Room {
    /// The newest record's number; 0 where this entry never had one.
    head: Offset,
    /// Up to where this entry's records are gone; 0 as long as none is, see [`Room::state`].
    cut: Offset,
    cleared: Offset,
    bytes: usize,
    kept: VecDeque<Kept>,
    /// The place under which [`Oldest`](super::oldest::Oldest) has the room, while it has records.
    pub(super) filed: u64,
    holds: u32,
    /// Whose bounds it has.
    pub(super) class: Class,
    /// Whether it stands in the queue of rooms to forget.
    pub(super) idle: bool,
}

impl Room {
    pub(super) fn new(class: Class) -> Self {
        Self { class, ..Self::default() }
    }

    /// What readers are told.
    ///
    /// The first record of a forgotten room comes after all its former ones: numbers are left out, but nothing that was
    /// published to whoever holds the room now. So `cut` stays 0 until a record of *this* entry is gone: a position of
    /// 0 (of who joined while there was nothing) goes on without a reset. A position of the former entry goes on
    /// silently too; nobody who is owed a record has one, because sessions hold their rooms: who comes back with it
    /// belongs to a session that was forgotten, and is answered by the reset `expired`.
    pub(super) fn state(&self, epoch: Epoch) -> RoomState {
        RoomState { epoch, head: self.head, cut: self.cut, cleared: self.cleared, former: Formers::default() }
    }

    pub(super) const fn head(&self) -> Offset {
        self.head
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Whether nothing speaks against forgetting it.
    pub(super) fn is_unused(&self) -> bool {
        self.holds == 0 && self.kept.is_empty()
    }

    pub(super) const fn hold(&mut self) {
        self.holds += 1;
    }

    pub(super) const fn release(&mut self) {
        self.holds = self.holds.saturating_sub(1);
    }

    /// The place of its oldest record among all records of the log.
    pub(super) fn oldest_seq(&self) -> Option<u64> {
        self.kept.front().map(|kept| kept.seq)
    }

    pub(super) fn oldest_timestamp(&self) -> Option<Timestamp> {
        self.kept.front().map(|kept| kept.record.timestamp)
    }

    pub(super) fn push(&mut self, seq: u64, record: Record, totals: &mut LogStats) {
        let cost = record.cost_bytes();
        self.head = record.offset;
        self.bytes += cost;
        totals.bytes += cost;
        totals.records += 1;
        self.kept.push_back(Kept { seq, record });
    }

    /// Cuts what its bounds no longer cover; the newest record stays.
    pub(super) fn trim(&mut self, bounds: &Retention, now: Timestamp, totals: &mut LogStats) {
        while self.kept.len() > 1 && self.is_over(bounds, now) {
            self.cut_oldest(totals);
        }
    }

    fn is_over(&self, bounds: &Retention, now: Timestamp) -> bool {
        self.kept.len() > bounds.records
            || self.bytes > bounds.bytes
            || self.oldest_timestamp().is_some_and(|at| is_over(at, now, bounds.age))
    }

    pub(super) fn cut_oldest(&mut self, totals: &mut LogStats) {
        let Some(Kept { record, .. }) = self.kept.pop_front() else { return };
        let cost = record.cost_bytes();
        self.cut = record.offset;
        self.bytes -= cost;
        totals.bytes -= cost;
        totals.records -= 1;
        self.shrink();
    }

    /// Gives back the memory of a room that became quiet; rarely enough that appending stays O(1).
    fn shrink(&mut self) {
        if self.kept.is_empty() {
            self.kept = VecDeque::new();
        } else if self.kept.capacity() > SMALL && self.kept.len() < self.kept.capacity() / 4 {
            self.kept.shrink_to(self.kept.capacity() / 2);
        }
    }

    pub(super) fn clear(&mut self, totals: &mut LogStats) {
        totals.bytes -= self.bytes;
        totals.records -= self.kept.len();
        self.bytes = 0;
        self.kept = VecDeque::new();
        self.cut = self.head;
        self.cleared = self.head;
    }

    pub(super) fn visit(&self, after: Offset, visit: &mut dyn FnMut(&Record) -> ControlFlow<()>) {
        let start = self.kept.partition_point(|kept| kept.record.offset <= after);
        // Whether the visitor broke off or came to the end, it knows.
        let _known = self.kept.range(start..).try_for_each(|kept| visit(&kept.record));
    }
}
