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
                    let open =
                        Open { principal, session: None, data, except, lease, expected: Expected::Any };
                    self.add_stream(id.room, Stream::new((id.stream.clone(), id.first), &open, now));
                }
                self.with_stream(id.room, id.stream, |kept| kept.stream.restore_fence(fence, lease, now));
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

    /// Whether a stream is still kept: that one, and no other of its name.
    #[must_use]
    pub fn keeps_stream(&self, id: StreamId<'_>) -> bool {
        let stream = self.stream_of(id.room, id.stream);
        stream.is_some_and(|stream| stream.first() == id.first)
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
