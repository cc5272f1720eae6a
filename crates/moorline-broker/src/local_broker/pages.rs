//! Pages that hold text of streams: put together once for many readers.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use moorline_proto::batch::{Page, ReadFrom};
use moorline_proto::id::RoomName;
use moorline_proto::position::{Epoch, Offset};
use moorline_proto::record::Record;
use moorline_proto::resume::RoomState;

use crate::log::{Log, LogExt as _, ReadLimit};

/// How many pages are kept. When a network comes back thousands read the same page of a few rooms; more pages would cost more memory
/// than they save time.
const PAGES: usize = 8;
/// A page is kept up to this many bytes. What a connection is given at once is less.
const PAGE_MAX_BYTES: usize = 1024 * 1024;

/// What is to be read.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) room: &'a RoomName,
    pub(super) from: ReadFrom,
    pub(super) limit: ReadLimit,
}

/// A page that was read before. What lies between two numbers never changes but by being cut.
struct Kept {
    room: RoomName,
    epoch: Epoch,
    from: ReadFrom,
    limit: ReadLimit,
    /// What lies first in it.
    first: Offset,
    records: Vec<Record>,
    reached: Vec<Offset>,
    end: Offset,
    /// Whether more lay behind it: then what came later changes nothing.
    is_full: bool,
}

/// The pages that were read last, the last one first.
#[derive(Default)]
pub(super) struct Pages(VecDeque<Kept>);

impl Pages {
    /// Reads a page, or finds it. `cut` is the log's, `state` what may be seen of it.
    pub(super) fn read(
        &mut self,
        log: &dyn Log,
        wanted: Wanted<'_>,
        (cut, state): (Offset, RoomState),
    ) -> Page {
        if let Some(kept) = self.take(&wanted)
            && kept.holds(log, cut, &state)
        {
            let (records, reached, end) = (kept.records.clone(), kept.reached.clone(), kept.end);
            self.0.push_front(kept);
            return Page { state, from: wanted.from, records, reached, end };
        }
        let Wanted { room, from, limit } = wanted;
        let (records, reached, end) = log.page(room, from, state.head, limit);
        let page = Page { state, from, records, reached, end };
        self.keep(log, (room, limit), &page);
        page
    }

    fn take(&mut self, wanted: &Wanted<'_>) -> Option<Kept> {
        let is_wanted = |kept: &Kept| {
            kept.from == wanted.from
                && kept.limit.records == wanted.limit.records
                && kept.limit.bytes == wanted.limit.bytes
                && kept.room == *wanted.room
        };
        let index = self.0.iter().position(is_wanted)?;
        self.0.remove(index)
    }

    /// Only text that had to be put together is worth keeping: other records are shared with the log.
    fn keep(&mut self, log: &dyn Log, (room, limit): (&RoomName, ReadLimit), page: &Page) {
        let bytes: usize = page.records.iter().map(Record::cost_bytes).sum();
        if page.reached.is_empty() || bytes > PAGE_MAX_BYTES {
            return;
        }
        let Some(first) = first_of(log, room, page.from) else { return };
        self.0.truncate(PAGES - 1);
        self.0.push_front(Kept {
            room: room.clone(),
            epoch: page.state.epoch,
            from: page.from,
            limit,
            first,
            records: page.records.clone(),
            reached: page.reached.clone(),
            end: page.end,
            is_full: !page.is_last(),
        });
    }
}

impl Kept {
    /// Whether it would be read now as it was read then.
    fn holds(&self, log: &dyn Log, cut: Offset, state: &RoomState) -> bool {
        let (start, is_whole) = match self.from {
            // Else something may lie behind it that belongs into it.
            ReadFrom::After(after) => (after, self.is_full || self.end == state.head),
            ReadFrom::Texts { at, .. } => (at, true),
        };
        // A log cuts from the old end. A room that was forgotten has no cut: then what lay first is gone, for ever.
        let is_there = cut <= start && first_of(log, &self.room, self.from) == Some(self.first);
        is_whole && is_there && self.epoch == state.epoch
    }
}

fn first_of(log: &dyn Log, room: &RoomName, from: ReadFrom) -> Option<Offset> {
    let mut first = None;
    log.visit(room, from, &mut |entry| {
        first = Some(entry.offset());
        ControlFlow::Break(())
    });
    first
}
