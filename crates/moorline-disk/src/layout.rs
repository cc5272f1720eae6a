//! What lies where in the file.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `format` | the version of this layout, four bytes |
//! | | `state` | [`State`] |
//! | `chunks` | a rising number | an epoch, eight bytes, and [entries](crate::entry::Entry) behind each other, in the order of their appends |
//! | `rooms` | a room | [`RoomRow`]: what its entries do not tell |
//! | `sessions` | a session | [`SessionRow`](crate::session_row::SessionRow) |

use moorline_broker::{History, MemoryLog, RoomHead};
use moorline_proto::id::RoomName;
use moorline_proto::position::{Epoch, Offset, Position};
use redb::TableDefinition;
use serde::{Deserialize, Serialize};

/// The version of this layout. A file with a higher one is refused.
pub(crate) const FORMAT: u32 = 1;

pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
pub(crate) const CHUNKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("chunks");
pub(crate) const ROOMS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("rooms");
pub(crate) const SESSIONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("sessions");

pub(crate) const FORMAT_KEY: &str = "format";
pub(crate) const STATE_KEY: &str = "state";

/// The engine's page.
const PAGE_BYTES: usize = 4096;

/// What a chunk takes of the file: small ones share a page, others get pages of their own, a power of two of them.
pub(crate) const fn space_bytes(chunk: &[u8]) -> u64 {
    let bytes = chunk.len();
    let space = if bytes <= PAGE_BYTES / 2 { bytes } else { bytes.next_power_of_two() };
    space as u64
}

/// Which history the log is in, and whether somebody has it open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) epoch: u64,
    pub(crate) formers: Vec<u64>,
    pub(crate) forgotten_high: u64,
    /// Whether it was not closed: what was answered with durability `memory` alone may be gone.
    pub(crate) is_open: bool,
}

impl State {
    pub(crate) fn of(history: &History, is_open: bool) -> Self {
        Self {
            epoch: history.epoch.0,
            formers: history.formers.iter().map(|epoch| epoch.0).collect(),
            forgotten_high: history.forgotten_high.0,
            is_open,
        }
    }

    pub(crate) fn history(&self) -> History {
        History {
            epoch: Epoch(self.epoch),
            formers: self.formers.iter().copied().map(Epoch).collect(),
            forgotten_high: Offset(self.forgotten_high),
        }
    }
}

/// What the entries of a room do not tell. A room without a row begins with its first entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoomRow {
    pub(crate) head: u64,
    /// Entries up to here are gone, also where a chunk still has them.
    pub(crate) cut: u64,
    pub(crate) cleared: u64,
    pub(crate) epoch: u64,
    pub(crate) lasts: Vec<(u64, u64)>,
    /// Whether the room was forgotten: the row only says which entries are gone.
    pub(crate) is_forgotten: bool,
}

impl RoomRow {
    pub(crate) fn of(head: &RoomHead) -> Self {
        let RoomHead { head, cut, cleared, epoch, lasts } = head;
        let lasts = lasts.iter().map(|last| (last.epoch.0, last.offset.0)).collect();
        Self { head: head.0, cut: cut.0, cleared: cleared.0, epoch: epoch.0, lasts, is_forgotten: false }
    }

    /// The row of a room that has an entry, where its entries do not tell all. One of which nothing is gone begins with them, and must
    /// have none: a row there may say which entries a forgotten room of its name left.
    pub(crate) fn needed(memory: &MemoryLog, room: &RoomName) -> Option<Self> {
        let head = memory.room_head(room)?;
        (head.cut > Offset::START).then(|| Self::of(&head))
    }

    pub(crate) fn forgotten(head: &RoomHead) -> Self {
        Self { cut: head.head.0, is_forgotten: true, ..Self::of(head) }
    }

    pub(crate) fn head(&self) -> RoomHead {
        let position =
            |&(epoch, offset): &(u64, u64)| Position { epoch: Epoch(epoch), offset: Offset(offset) };
        RoomHead {
            head: Offset(self.head),
            cut: Offset(self.cut),
            cleared: Offset(self.cleared),
            epoch: Epoch(self.epoch),
            lasts: self.lasts.iter().map(position).collect(),
        }
    }
}
