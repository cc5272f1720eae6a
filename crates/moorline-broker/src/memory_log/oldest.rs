//! Which room has the oldest record.

use std::collections::{BTreeMap, HashMap};

use moorline_proto::id::RoomName;

use super::room::Room;

/// Rooms that share an age bound, so that among them the record that was appended first is also too old first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Named,
    Own,
}

impl Class {
    pub(super) const ALL: [Self; 2] = [Self::Named, Self::Own];

    pub(super) fn of(room: &RoomName) -> Self {
        if room.is_own() { Self::Own } else { Self::Named }
    }
}

/// The rooms with records, in the order in which their oldest records were appended: one entry for each.
///
/// A room that cuts by its own bounds does not move at once: its place may be older than its oldest record, never
/// younger, and is put right when it comes first. So appending to a full room costs nothing here, and finding the oldest
/// record of all costs O(log rooms), amortised.
#[derive(Default)]
pub(super) struct Oldest {
    pub(super) named: BTreeMap<u64, RoomName>,
    pub(super) own: BTreeMap<u64, RoomName>,
}

impl Oldest {
    fn class(&mut self, class: Class) -> &mut BTreeMap<u64, RoomName> {
        match class {
            Class::Named => &mut self.named,
            Class::Own => &mut self.own,
        }
    }

    /// A room got its first record.
    pub(super) fn file(&mut self, name: &RoomName, room: &mut Room, seq: u64) {
        room.filed = seq;
        self.class(Class::of(name)).insert(seq, name.clone());
    }

    /// A room lost its last record.
    pub(super) fn unfile(&mut self, name: &RoomName, room: &Room) {
        self.class(Class::of(name)).remove(&room.filed);
    }

    /// The room with the oldest record of its class, and that record's place.
    pub(super) fn first(
        &mut self,
        class: Class,
        rooms: &mut HashMap<RoomName, Room>,
    ) -> Option<(u64, RoomName)> {
        let places = self.class(class);
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
