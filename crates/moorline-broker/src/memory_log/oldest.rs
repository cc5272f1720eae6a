//! Which room has the oldest record.

use std::collections::{BTreeMap, HashMap};

use moorline_proto::id::RoomName;

use super::class::Class;
use super::room::Room;

/// The rooms with records, in the order in which their oldest records were appended: one entry for each.
///
/// A room that cuts by its own bounds does not move at once: its place may be older than its oldest record, never
/// younger, and is put right when it comes first. So appending to a full room costs nothing here, and finding the oldest
/// record of all costs O(log rooms), amortised.
pub(super) struct Oldest {
    /// By class.
    places: Box<[BTreeMap<u64, RoomName>]>,
}

impl Oldest {
    /// For a log with so many prefixes.
    pub(super) fn new(prefixes: usize) -> Self {
        Self { places: Class::all(prefixes).map(|_| BTreeMap::new()).collect() }
    }

    /// How many rooms are filed.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.iter().map(BTreeMap::len).sum()
    }

    /// A room got its first record.
    pub(super) fn file(&mut self, name: &RoomName, room: &mut Room, seq: u64) {
        room.filed = seq;
        self.places[room.class.index()].insert(seq, name.clone());
    }

    /// A room lost its last record.
    pub(super) fn unfile(&mut self, room: &Room) {
        self.places[room.class.index()].remove(&room.filed);
    }

    /// The room with the oldest record of its class, and that record's place.
    pub(super) fn first(
        &mut self,
        class: Class,
        rooms: &mut HashMap<RoomName, Room>,
    ) -> Option<(u64, RoomName)> {
        let places = &mut self.places[class.index()];
        loop {
            let (&place, name) = places.first_key_value()?;
            let room = rooms.get_mut(name);
            let seq = room.as_ref().and_then(|room| room.oldest_seq());
            if seq == Some(place) {
                return Some((place, name.clone()));
            }
            let (_, name) = places.pop_first()?;
            // Only rooms with records are filed; one without would be dropped here.
            if let (Some(room), Some(seq)) = (room, seq) {
                room.filed = seq;
                places.insert(seq, name);
            }
        }
    }
}
