//! Streams from what a journal kept of them.

use std::sync::Arc;

use moorline_proto::id::{RoomName, StreamName};
use moorline_proto::position::Epoch;
use moorline_proto::record::Record;
use moorline_proto::stream::{Expected, Open, Stream};
use moorline_proto::time::Now;

use super::MemoryLog;
use super::room::Room;
use super::streaming::{StreamChange, StreamId};

/// Restoring: changes in the order in which they were noted, among the records.
impl MemoryLog {
    /// A change as it was kept, of that history. Leases start afresh. What is about a stream that is not kept is left out.
    pub fn restore_stream(&mut self, id: StreamId<'_>, epoch: Epoch, change: StreamChange<'_>, now: Now) {
        let is_known = self.keeps_stream(id);
        match change {
            StreamChange::Opened { principal, fence, lease, data, except } => {
                let principal = Arc::from(principal);
                let (data, except) = (data.cloned(), except.cloned());
                if !is_known {
                    self.drop_stream(id.room, id.stream);
                    self.cut_to_end(id.room, id.stream);
                    let open =
                        Open { principal, session: None, data, except, lease, expected: Expected::Any };
                    self.add_stream(id.room, Stream::new((id.stream.clone(), id.first, fence), &open, now));
                }
                self.last_fence = self.last_fence.max(fence);
            }
            StreamChange::Reopened { fence, lease } if is_known => {
                self.with_stream(id.room, id.stream, |kept| kept.stream.restore_fence(fence, lease, now));
                self.last_fence = self.last_fence.max(fence);
                self.forget_lease(id.room, id.stream);
            }
            StreamChange::Text(content) if is_known => {
                self.with_stream(id.room, id.stream, |kept| kept.stream.restore_text(content));
            }
            StreamChange::Shown { offset, timestamp, end_bytes } if is_known => {
                let mut is_good = false;
                self.with_stream(id.room, id.stream, |kept| {
                    is_good = kept.stream.restore_shown(offset, timestamp, end_bytes);
                });
                if is_good {
                    self.move_head(id.room, offset, epoch);
                }
            }
            StreamChange::Cancelled if is_known => {
                self.with_stream(id.room, id.stream, |kept| kept.stream.restore_cancel());
            }
            StreamChange::Ended(record) => return self.restore_end(id, is_known, (epoch, record), now),
            StreamChange::Gone if is_known => return self.drop_stream(id.room, id.stream),
            _ => return,
        }
        self.attend(id.room, id.stream);
    }

    fn restore_end(&mut self, id: StreamId<'_>, is_known: bool, (epoch, record): (Epoch, &Record), now: Now) {
        let cut = self.rooms.get(id.room).map(Room::cut).unwrap_or_default();
        if is_known && record.offset <= cut {
            return self.drop_stream(id.room, id.stream);
        }
        if is_known {
            self.end_with(id.room, id.stream, record);
        }
        self.restore_record(id.room, epoch, record.clone(), now);
    }

    /// The present right to write to a stream; none where it is not kept.
    #[must_use]
    pub fn fence(&self, id: StreamId<'_>) -> Option<u64> {
        self.stream_of(id.room, id.stream).filter(|_| self.keeps_stream(id)).map(Stream::fence)
    }

    /// Whether a stream is still kept: that one, and no other of its name.
    #[must_use]
    pub fn keeps_stream(&self, id: StreamId<'_>) -> bool {
        let stream = self.stream_of(id.room, id.stream);
        stream.is_some_and(|stream| stream.first() == id.first)
    }

    /// A name was free again, so the stream that had it before was gone, with all that is older than its end: time had cut it, of which
    /// nothing is kept.
    fn cut_to_end(&mut self, room: &RoomName, name: &StreamName) {
        let is_there = |log: &Self| {
            log.stream_of(room, name).is_some() && log.rooms.get(room).is_some_and(|room| !room.is_empty())
        };
        while is_there(self) {
            self.cut_oldest(room);
        }
    }

    /// Takes an open stream away that ended before, as it turns out.
    fn drop_stream(&mut self, room: &RoomName, name: &StreamName) {
        let Some(entry) = self.rooms.get_mut(room) else { return };
        let Some(kept) = entry.remove_open_stream(name, &mut self.totals) else { return };
        self.lapses.remove(kept.lease);
        self.lapses.remove(kept.show);
        self.open_cost.release(&kept.stream);
        if self.rooms.get(room).is_some_and(Room::is_empty) {
            self.became_empty(room);
        }
    }
}

#[cfg(test)]
mod tests {
    use moorline_proto::position::{Offset, Position};
    use moorline_proto::stream::{Lease, Sight, orphaned};
    use moorline_proto::time::Timestamp;

    use super::super::RoomHead;
    use super::*;
    use crate::log::{Log as _, LogExt as _, ReadLimit};
    use crate::{History, RetentionRules};

    #[test]
    fn r27_streams_pieces_from_before_a_rooms_head_leave_its_histories_alone() {
        let history = History { epoch: Epoch(3), formers: vec![Epoch(1), Epoch(2)], ..History::default() };
        let mut log = MemoryLog::restored(history, RetentionRules::default());
        let (room, stream, now) =
            (RoomName::new("a").unwrap(), StreamName::new("s").unwrap(), Now::default());
        let lasts = vec![Position { epoch: Epoch(1), offset: Offset(2) }];
        let (head, cut) = (Offset(3), Offset(3));
        log.restore_room(&room, RoomHead { head, cut, cleared: Offset::START, epoch: Epoch(2), lasts });
        let opened = StreamChange::Opened {
            principal: "key/a",
            fence: 1,
            lease: Lease::DEFAULT,
            data: None,
            except: None,
        };
        let shown =
            |offset| StreamChange::Shown { offset: Offset(offset), timestamp: Timestamp(0), end_bytes: 0 };
        let id = StreamId { room: &room, stream: &stream, first: Offset(1) };
        for (epoch, change) in [(1, opened), (1, shown(1)), (2, shown(3)), (2, shown(4))] {
            log.restore_stream(id, Epoch(epoch), change, now);
        }
        let former = log.state(&room).former;
        assert_eq!([1, 2].map(|epoch| former.last(Epoch(epoch))), [2, 4].map(|last| Some(Offset(last))));
    }

    #[test]
    fn r27_streams_a_name_that_was_taken_again_keeps_its_new_stream() {
        let history = History { epoch: Epoch(1), ..History::default() };
        let mut log = MemoryLog::restored(history, RetentionRules::default());
        let (room, stream, now) =
            (RoomName::new("a").unwrap(), StreamName::new("s").unwrap(), Now::default());
        let opened = || StreamChange::Opened {
            principal: "key/a",
            fence: 1,
            lease: Lease::DEFAULT,
            data: None,
            except: None,
        };
        let shown = |offset, end_bytes| StreamChange::Shown { offset, timestamp: Timestamp(0), end_bytes };
        let end =
            Record { offset: Offset(3), timestamp: Timestamp(0), except: None, message: orphaned(&stream) };
        let former = StreamId { room: &room, stream: &stream, first: Offset(1) };
        let present = StreamId { first: Offset(4), ..former };
        for (id, change) in [
            (former, opened()),
            (former, shown(Offset(1), 0)),
            (former, StreamChange::Text("old")),
            (former, shown(Offset(2), 3)),
            (former, StreamChange::Ended(&end)),
            (present, opened()),
            (present, shown(Offset(4), 0)),
            (present, StreamChange::Text("new")),
            (present, shown(Offset(5), 3)),
        ] {
            log.restore_stream(id, Epoch(1), change, now);
        }
        assert!(log.keeps_stream(present));
        assert_eq!(log.state(&room).cut, Offset(3), "time had cut the former one");
        log.expire(now);
        let view = log.view_stream(&room, &stream, Sight { head: Offset::MAX, accepted: false }).unwrap();
        assert_eq!(view.content, "new");
        let all = log.read(&room, Offset::START, ReadLimit { records: 9, bytes: usize::MAX });
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].offset, Offset(4));
    }
}
