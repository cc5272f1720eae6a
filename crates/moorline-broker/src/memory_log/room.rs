//! One room's entry.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use moorline_proto::batch::ReadFrom;
use moorline_proto::id::StreamName;
use moorline_proto::position::{Epoch, Offset, Position};
use moorline_proto::record::Record;
use moorline_proto::resume::{Formers, RoomState};
use moorline_proto::stream::Entry;

use super::age::LogTime;
use super::class::Class;
use super::rules::Retention;
use super::streams::{self, Streams};
use crate::log::LogStats;

/// Below this capacity a queue is not worth shrinking.
const SMALL: usize = 16;

/// A record, its place among all records of the log, and when it came.
pub(super) struct Kept {
    pub(super) seq: u64,
    pub(super) at: LogTime,
    pub(super) record: Record,
}

/// What a room is called, and how far it has come, without its records: what outlives those.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomHead {
    /// Its newest record.
    pub head: Offset,
    /// Everything up to and including it is gone.
    pub cut: Offset,
    /// How much of that the application cleared.
    pub cleared: Offset,
    /// The history that its newest record belongs to.
    pub epoch: Epoch,
    /// The last records of the histories before, oldest first; at most [`Formers::MAX`].
    pub lasts: Vec<Position>,
}

/// A room's records and numbers. There are tens of thousands, so it is small: 120 bytes, and nothing more while empty.
#[derive(Default)]
pub(super) struct Room {
    /// The newest record's number; 0 where this entry never had one.
    head: Offset,
    /// Up to where this entry's records are gone; 0 as long as none is, see [`Room::state`].
    cut: Offset,
    cleared: Offset,
    /// The history of the newest record, and the last records of those before.
    epoch: Epoch,
    lasts: Option<Box<[Position]>>,
    bytes: usize,
    kept: VecDeque<Kept>,
    streams: Option<Box<Streams>>,
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
    pub(super) fn state(&self, epoch: Epoch, formers: &[Epoch]) -> RoomState {
        let former = self.formers(epoch, formers);
        RoomState { epoch, head: self.head, cut: self.cut, cleared: self.cleared, former }
    }

    /// The last record that the room had at the end of each of these histories, oldest first.
    fn formers(&self, present: Epoch, formers: &[Epoch]) -> Formers {
        let newest = Position { epoch: self.epoch, offset: self.head };
        let lasts = || self.lasts.as_deref().unwrap_or_default().iter().copied().chain([newest]);
        // Histories that the log has forgotten are older than all that it knows.
        let forgotten = lasts().filter(|last| last.epoch != present && !formers.contains(&last.epoch));
        let mut so_far = forgotten.map(|last| last.offset).max().unwrap_or_default();
        let ends = formers.iter().map(|&epoch| {
            let last = lasts().find(|last| last.epoch == epoch);
            so_far = so_far.max(last.map_or(Offset::START, |last| last.offset));
            Position { epoch, offset: so_far }
        });
        ends.collect()
    }

    /// What outlives its records.
    pub(super) fn to_head(&self) -> RoomHead {
        let lasts = self.lasts.as_deref().unwrap_or_default().to_vec();
        RoomHead { head: self.head, cut: self.cut, cleared: self.cleared, epoch: self.epoch, lasts }
    }

    /// A room as it was kept, without its records.
    pub(super) fn restored(class: Class, head: RoomHead) -> Self {
        let RoomHead { head, cut, cleared, epoch, lasts } = head;
        let lasts = (!lasts.is_empty()).then(|| lasts.into());
        Self { head, cut, cleared, epoch, lasts, class, ..Self::default() }
    }

    /// Its newest record, before which it stood at `before`, belongs to this history.
    pub(super) fn enter_epoch(&mut self, before: Offset, epoch: Epoch) {
        if self.epoch == epoch {
            return;
        }
        if before > Offset::START {
            let mut lasts = self.lasts.take().map_or_else(Vec::new, <[Position]>::into_vec);
            lasts.push(Position { epoch: self.epoch, offset: before });
            let surplus = lasts.len().saturating_sub(Formers::MAX);
            self.lasts = Some(lasts.split_off(surplus).into());
        }
        self.epoch = epoch;
    }

    pub(super) const fn cut(&self) -> Offset {
        self.cut
    }

    pub(super) fn keeps(&self, offset: Offset) -> bool {
        self.kept.binary_search_by_key(&offset, |kept| kept.record.offset).is_ok()
    }

    pub(super) const fn head(&self) -> Offset {
        self.head
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Whether nothing speaks against forgetting it.
    pub(super) fn is_unused(&self) -> bool {
        self.holds == 0 && self.kept.is_empty() && self.streams.as_ref().is_none_or(|s| s.is_empty())
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

    pub(super) fn oldest_at(&self) -> Option<LogTime> {
        self.kept.front().map(|kept| kept.at)
    }

    pub(super) fn push(&mut self, kept: Kept, totals: &mut LogStats) {
        let cost = kept.record.cost_bytes();
        self.head = self.head.max(kept.record.offset);
        self.bytes += cost;
        totals.bytes += cost;
        totals.records += 1;
        self.kept.push_back(kept);
    }

    /// Cuts what its bounds no longer cover; the newest record stays.
    pub(super) fn trim(&mut self, bounds: &Retention, now: LogTime, totals: &mut LogStats) {
        while self.kept.len() > 1 && self.is_over(bounds, now) {
            self.cut_oldest(totals);
        }
    }

    fn is_over(&self, bounds: &Retention, now: LogTime) -> bool {
        self.kept.len() > bounds.records
            || self.bytes > bounds.bytes
            || self.oldest_at().is_some_and(|at| at.is_over(now, bounds.age))
    }

    pub(super) fn cut_oldest(&mut self, totals: &mut LogStats) {
        let Some(Kept { record, .. }) = self.kept.pop_front() else { return };
        let cost = record.cost_bytes();
        let cost = cost + self.streams.as_mut().map_or(0, |streams| streams.drop_ended(record.offset));
        self.cut = record.offset;
        self.bytes -= cost;
        totals.bytes -= cost;
        totals.records -= 1;
        self.streams.take_if(|streams| streams.is_empty());
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
        let open = self.streams.as_mut().map_or(0, |streams| streams.drop_all_ended());
        totals.bytes -= self.bytes - open;
        totals.records -= self.kept.len();
        self.bytes = open;
        self.kept = VecDeque::new();
        self.cut = self.head;
        self.cleared = self.head;
    }

    pub(super) fn visit(&self, from: ReadFrom, visit: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>) {
        let records = || {
            let ReadFrom::After(after) = from else { return self.kept.range(self.kept.len()..) };
            self.kept.range(self.kept.partition_point(|kept| kept.record.offset <= after)..)
        };
        let mut records = records().map(|kept| Entry::Record(&kept.record));
        // Whether the visitor broke off or came to the end, it knows.
        let _known = match self.streams() {
            None => records.try_for_each(visit),
            Some(streams) => streams.visit(records, from, visit),
        };
    }

    /// Its streams; none where it has none.
    pub(super) fn streams(&self) -> Option<&Streams> {
        self.streams.as_deref()
    }

    pub(super) fn streams_mut(&mut self) -> Option<&mut Streams> {
        self.streams.as_deref_mut()
    }

    pub(super) fn add_stream(&mut self, kept: streams::Kept) {
        self.streams.get_or_insert_default().insert(kept);
    }

    /// Takes an open stream out.
    pub(super) fn remove_open_stream(
        &mut self,
        name: &StreamName,
        totals: &mut LogStats,
    ) -> Option<streams::Kept> {
        let kept = self.streams.as_mut()?.remove_open(name)?;
        self.charge(kept.stream.cost_bytes(), 0, totals);
        self.streams.take_if(|streams| streams.is_empty());
        Some(kept)
    }

    /// A stream of it costs so much instead.
    pub(super) const fn charge(&mut self, before: usize, after: usize, totals: &mut LogStats) {
        self.bytes = self.bytes + after - before;
        totals.bytes = totals.bytes + after - before;
    }

    /// A piece of a stream took a number. One that was kept may lie before the head that its room was kept with.
    pub(super) fn move_head(&mut self, offset: Offset, epoch: Epoch) {
        if offset <= self.head {
            return;
        }
        self.enter_epoch(self.head, epoch);
        self.head = self.head.max(offset);
    }
}
