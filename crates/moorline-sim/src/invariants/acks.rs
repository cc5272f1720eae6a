//! What was acknowledged more than a second before a crash never comes again.

use std::collections::BTreeMap;

use moorline_proto::id::RoomName;
use moorline_proto::session_record::SessionRecord;

/// What one session acknowledged, and how safe that is.
#[derive(Clone, Debug, Default)]
pub struct Acks {
    /// When, in microseconds, and up to where; in order.
    recent: Vec<(u64, RoomName, u64)>,
    /// What the commit that was begun has to keep.
    begun: BTreeMap<RoomName, u64>,
    /// What is kept.
    safe: BTreeMap<RoomName, u64>,
}

impl Acks {
    const SAFE_AFTER_MICROS: u64 = 1_000_000;
    /// More than a client acknowledges within a second.
    const RECENT_MAX: usize = 256;

    /// The shard was told.
    pub fn told(&mut self, micros: u64, room: &RoomName, offset: u64) {
        if self.recent.len() < Self::RECENT_MAX {
            self.recent.push((micros, room.clone(), offset));
        }
    }

    /// A commit begins: it holds everything that is a second old.
    pub fn begun(&mut self, micros: u64) {
        self.begun.clone_from(&self.safe);
        let is_old = |(at, ..): &&(u64, RoomName, u64)| at + Self::SAFE_AFTER_MICROS <= micros;
        for (_, room, offset) in self.recent.iter().filter(is_old) {
            let known = self.begun.entry(room.clone()).or_default();
            *known = (*known).max(*offset);
        }
        self.recent.retain(|(at, ..)| at + Self::SAFE_AFTER_MICROS > micros);
    }

    /// It ended.
    pub fn written(&mut self) {
        self.safe.clone_from(&self.begun);
    }

    /// The store could not write: who acknowledged meanwhile was promised nothing.
    pub fn failed(&mut self) {
        self.recent.clear();
    }

    /// The session is no member of the room any more, or reads it again.
    pub fn forget(&mut self, room: &RoomName) {
        self.recent.retain(|(_, name, _)| name != room);
        self.begun.remove(room);
        self.safe.remove(room);
    }

    /// What is wrong with what a crash left of the session.
    pub fn restored(&mut self, record: &SessionRecord) -> Vec<String> {
        self.recent.clear();
        let mut found = Vec::new();
        for (room, offset) in &self.safe {
            let mark = record.rooms.iter().find(|mark| mark.room == *room);
            if let Some(mark) = mark.filter(|mark| mark.acked.offset.0 < *offset) {
                let kept = mark.acked.offset.0;
                found.push(format!("{} acknowledged {offset} of {room}, and {kept} was kept", record.id));
            }
        }
        found
    }
}
