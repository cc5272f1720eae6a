//! What was really published, removed and ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moorline_proto::id::{RoomName, SessionId, UserId};
use moorline_proto::record::{Except, Reader};

#[derive(Clone, Debug)]
pub struct Published {
    pub offset: u64,
    /// As members get it.
    pub envelope: String,
    pub except: Option<Arc<Except>>,
}

impl Published {
    pub fn is_for(&self, session: &SessionId, user: Option<&UserId>) -> bool {
        !self.except.as_ref().is_some_and(|except| except.names(Reader { session, user }))
    }
}

#[derive(Debug, Default)]
pub struct Truth {
    pub rooms: BTreeMap<RoomName, Vec<Published>>,
    /// Ephemeral messages, by their text.
    pub ephemeral: BTreeMap<String, Published>,
    /// Which numbers each sender has had stored, by room.
    pub numbers: BTreeMap<(String, RoomName), Vec<u64>>,
    /// Up to where a room's entry was forgotten, with all that it had: nobody was owed it.
    pub forgotten: BTreeMap<RoomName, u64>,
    pub ended: BTreeSet<SessionId>,
    pub deliveries: u64,
    pub resets: u64,
    pub replays: u64,
}

impl Truth {
    pub fn head(&self, room: &RoomName) -> u64 {
        self.rooms.get(room).and_then(|records| records.last()).map_or(0, |last| last.offset)
    }

    pub fn forgotten(&self, room: &RoomName) -> u64 {
        self.forgotten.get(room).copied().unwrap_or_default()
    }

    pub fn at(&self, room: &RoomName, offset: u64) -> Option<&Published> {
        let records = self.rooms.get(room)?;
        records.binary_search_by_key(&offset, |record| record.offset).ok().map(|index| &records[index])
    }

    /// The first record behind `after` and before `before` that is for the reader.
    pub fn owed(
        &self,
        room: &RoomName,
        (after, before): (u64, u64),
        session: &SessionId,
        user: Option<&UserId>,
    ) -> Option<u64> {
        let records = self.rooms.get(room)?;
        let after = after.max(self.forgotten(room));
        let start = records.partition_point(|record| record.offset <= after);
        let behind = records[start..].iter().take_while(|record| record.offset < before);
        behind.filter(|record| record.is_for(session, user)).map(|record| record.offset).next()
    }
}
