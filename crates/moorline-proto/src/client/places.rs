//! How far the client has come in each room, and so what is new to it.

use std::collections::{BTreeMap, BTreeSet};

use super::texts::{Texts, Verdict};
use super::wire::Chunk;
use crate::id::RoomName;
use crate::position::{Epoch, Offset, Position};
use crate::resume::Since;

/// How far the client has come in one room.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// The log's history; none for an own room that no frame with an epoch named so far.
    epoch: Option<Epoch>,
    /// Everything up to it was given to the application.
    offset: Offset,
    /// How far this connection has come: it cannot be told of more. A replay may begin behind `offset`.
    heard: Offset,
    /// Up to here the server was told so, on this connection.
    told: Offset,
    /// What a join named of another history, until it is known whether that went on in this one: a `reset` that is lost with its connection
    /// is told again to who names it again.
    asked: Option<Position>,
    /// How much of its streams' texts was given to the application.
    texts: Texts,
    /// Nothing has come from behind the place where it began: the texts of streams that were open there may not have come either.
    is_fresh: bool,
}

impl Place {
    fn at(epoch: Option<Epoch>, offset: Offset) -> Self {
        let texts = Texts::new(offset);
        Self { epoch, offset, heard: offset, told: Offset::START, asked: None, texts, is_fresh: true }
    }

    /// Something with this number was received.
    fn come_to(&mut self, offset: Offset) {
        self.asked = None;
        self.is_fresh &= offset <= self.offset;
        self.heard = self.heard.max(offset);
        self.offset = self.offset.max(offset);
        self.texts.come_to(offset);
    }

    /// What `hello` names.
    fn named(&self) -> Option<Position> {
        self.asked.or_else(|| Some(Position { epoch: self.epoch?, offset: self.offset }))
    }
}

/// All rooms. The only place that decides what is a duplicate.
#[derive(Debug, Default)]
pub(super) struct Places {
    rooms: BTreeMap<RoomName, Place>,
    /// What the histories of known rooms are called now, where that is another name than before: believed once no `reset`
    /// can come any more that says that the old numbers mean nothing.
    renamed: BTreeMap<RoomName, Epoch>,
}

impl Places {
    /// As many as `positions` in a `hello` may name.
    const MAX: usize = crate::codec::POSITIONS_MAX;

    /// Whether the message is beyond the position, which then moves to it.
    pub(super) fn accept(&mut self, room: &RoomName, offset: Offset) -> bool {
        let place = self.place_of(room);
        let is_new = offset > place.offset;
        place.come_to(offset);
        is_new
    }

    /// Judges a chunk of a stream. The position moves to it, but by a fault.
    pub(super) fn judge(&mut self, room: &RoomName, offset: Offset, chunk: &Chunk) -> Verdict {
        let place = self.place_of(room);
        let verdict = place.texts.judge(offset, chunk);
        if verdict != Verdict::Fault {
            place.come_to(offset);
        }
        verdict
    }

    /// A stream ended.
    pub(super) fn end_stream(&mut self, room: &RoomName, stream: &str) {
        if let Some(place) = self.rooms.get_mut(room) {
            place.texts.end(stream);
        }
    }

    fn place_of(&mut self, room: &RoomName) -> &mut Place {
        self.rooms.entry(room.clone()).or_insert_with(|| Place::at(None, Offset::START))
    }

    /// Moves to where the server says that the client stands now, back or forth. The texts of its streams come anew.
    pub(super) fn put(&mut self, room: &RoomName, position: Position) {
        self.renamed.remove(room);
        self.rooms.insert(room.clone(), Place::at(Some(position.epoch), position.offset));
    }

    /// The resets of this connection's beginning have come: rooms without one go on in the history that is theirs now.
    pub(super) fn settle(&mut self) {
        for (room, epoch) in std::mem::take(&mut self.renamed) {
            if let Some(place) = self.rooms.get_mut(&room) {
                place.epoch = Some(epoch);
                place.asked = None;
            }
        }
    }

    /// A membership begins, or reads again. Returns where the application stands now.
    ///
    /// Where the log no longer has all that was asked for, the position stays where it was asked for: the `reset` that
    /// follows moves it, and if that is lost with the connection it is told again. A join that was sent twice, because its
    /// answer was lost, does not bring back what came in between; where nothing came, it is read from where the server says.
    pub(super) fn joined(
        &mut self,
        room: &RoomName,
        position: Position,
        asked: Since,
        again: bool,
    ) -> Position {
        let offset = match asked {
            // Also where it was a number of a former history: where that one went on it is the same number, else the reset
            // moves it all the same.
            Since::Position(asked) => asked.offset.min(position.offset),
            Since::Now | Since::Start => position.offset,
        };
        let is_known = |place: &&Place| !again && !place.is_fresh && place.epoch == Some(position.epoch);
        let known = self.rooms.get(room).filter(is_known);
        let texts = known.filter(|place| place.offset >= offset).map(|place| place.texts.clone());
        let other = match asked {
            Since::Position(asked) if known.is_none() && asked.epoch != position.epoch => Some(asked),
            _ => None,
        };
        let offset = known.map_or(offset, |place| place.offset.max(offset));
        let stands = Position { offset, ..position };
        self.put(room, stands);
        if let Some(place) = self.rooms.get_mut(room) {
            place.heard = position.offset;
            place.asked = other;
            if let Some(texts) = texts {
                (place.texts, place.is_fresh) = (texts, false);
            }
        }
        stands
    }

    /// Progress without anything for the client.
    pub(super) fn advance(&mut self, room: &RoomName, position: Position) {
        match self.rooms.get_mut(room) {
            Some(place) if place.epoch.is_none_or(|epoch| epoch == position.epoch) => {
                place.epoch = Some(position.epoch);
                place.come_to(position.offset);
            }
            _ => self.put(room, position),
        }
    }

    /// A room that `connection_established` names: what is known stays, since the replay begins there. A room that is
    /// new to the client begins at the end of its empty replay, or with the first message of one.
    ///
    /// One whose history has another name now goes on in that one with the same number, unless a `reset` follows.
    pub(super) fn established(&mut self, room: &RoomName, position: Position, replayed: u64) {
        match self.rooms.get_mut(room) {
            Some(place) if place.epoch.is_none() => place.epoch = Some(position.epoch),
            Some(place) if place.epoch != Some(position.epoch) || place.asked.is_some() => {
                self.renamed.insert(room.clone(), position.epoch);
            }
            Some(_) => {}
            // Of an own room nothing was heard so far: what a `reset` says next is lost of it is news.
            None if replayed == 0 && !room.is_own() => {
                self.put(room, position);
                // Chunks of streams are not counted: the replay may still hold texts.
                self.place_of(room).texts = Texts::default();
            }
            None => self.put(room, Position { offset: Offset::START, ..position }),
        }
    }

    /// A session that is not the former one: its positions mean nothing but where a reset or a join says so.
    pub(super) fn clear(&mut self) {
        self.rooms.clear();
        self.renamed.clear();
    }

    /// A connection begins: the server is told of every position anew.
    pub(super) fn begin(&mut self) {
        self.renamed.clear();
        for place in self.rooms.values_mut() {
            place.told = Offset::START;
            // What `hello` names the server starts behind.
            place.heard = if place.epoch.is_some() { place.offset } else { Offset::START };
        }
    }

    /// Whether it was known.
    pub(super) fn forget(&mut self, room: &RoomName) -> bool {
        self.renamed.remove(room);
        self.rooms.remove(room).is_some()
    }

    /// Whether one more room would be no more than a session can ever be in.
    pub(super) fn has_room_for(&self, room: &RoomName) -> bool {
        self.rooms.len() < Self::MAX || self.rooms.contains_key(room)
    }

    /// The application's rooms that are known and not in `rooms`.
    pub(super) fn named_rooms_beside(&self, rooms: &BTreeSet<RoomName>) -> Vec<RoomName> {
        self.rooms.keys().filter(|room| !room.is_own() && !rooms.contains(room)).cloned().collect()
    }

    pub(super) fn get(&self, room: &RoomName) -> Option<(Option<Epoch>, Offset)> {
        self.rooms.get(room).map(|place| (place.epoch, place.offset))
    }

    /// The positions that `hello` names.
    pub(super) fn named(&self) -> impl Iterator<Item = (&RoomName, Position)> {
        self.rooms.iter().filter_map(|(room, place)| Some((room, place.named()?)))
    }

    /// What the server has not been told yet; it counts as told. Without an epoch it takes an `ack` of its own.
    pub(super) fn untold(&mut self) -> Vec<(RoomName, Option<Epoch>, Offset)> {
        let known = self.rooms.iter_mut().filter(|(_, place)| place.asked.is_none());
        let behind = known.filter(|(_, place)| place.offset.min(place.heard) > place.told);
        behind
            .map(|(room, place)| {
                place.told = place.offset.min(place.heard);
                (room.clone(), place.epoch, place.told)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> RoomName {
        RoomName::new("r").unwrap()
    }

    fn at(offset: u64) -> Position {
        Position { epoch: Epoch(7), offset: Offset(offset) }
    }

    #[test]
    fn what_is_not_beyond_the_position_is_a_duplicate() {
        let mut places = Places::default();
        places.put(&room(), at(3));
        let accepted = [2, 3, 4, 4, 9, 8].map(|offset| places.accept(&room(), Offset(offset)));
        assert_eq!(accepted, [false, false, true, false, true, false]);
    }

    #[test]
    fn a_known_place_stays_when_the_replay_begins_there() {
        let mut places = Places::default();
        places.put(&room(), at(3));
        places.established(&room(), at(9), 6);
        assert_eq!(places.get(&room()), Some((Some(Epoch(7)), Offset(3))));
        places.clear();
        places.established(&room(), at(9), 6);
        assert_eq!(places.get(&room()), Some((Some(Epoch(7)), Offset(0))));
        places.clear();
        places.established(&room(), at(9), 0);
        assert_eq!(places.get(&room()), Some((Some(Epoch(7)), Offset(9))));
    }

    #[test]
    fn a_join_whose_past_is_lost_waits_for_the_reset() {
        let mut places = Places::default();
        assert_eq!(places.joined(&room(), at(9), Since::Position(at(4)), false), at(4));
        assert_eq!(places.joined(&room(), at(9), Since::Start, false), at(9));
    }

    #[test]
    fn a_join_that_was_sent_twice_brings_nothing_back_but_one_that_asks_again_does() {
        let mut places = Places::default();
        places.established(&room(), at(9), 6);
        assert!(places.accept(&room(), Offset(5)));
        assert_eq!(places.joined(&room(), at(0), Since::Start, false), at(5));
        assert_eq!(places.joined(&room(), at(0), Since::Start, true), at(0));
    }

    #[test]
    fn r27_streams_a_join_that_overtakes_the_texts_of_another_brings_them() {
        let chunk = |at, content: &str| Chunk { stream: "s".to_owned(), at, content: content.to_owned() };
        let mut places = Places::default();
        assert_eq!(places.joined(&room(), at(7), Since::Now, false), at(7));
        assert_eq!(places.joined(&room(), at(1), Since::Position(at(1)), false), at(1));
        assert_eq!(places.judge(&room(), Offset(5), &chunk(0, "abc")), Verdict::New);
        assert!(places.accept(&room(), Offset(6)));
        assert_eq!(places.joined(&room(), at(1), Since::Position(at(1)), false), at(6));
        assert_eq!(places.judge(&room(), Offset(5), &chunk(0, "abc")), Verdict::Known);
        assert_eq!(places.judge(&room(), Offset(5), &chunk(0, "abcd")), Verdict::Beyond(3));
    }

    #[test]
    fn a_position_is_told_once_for_each_connection() {
        let mut places = Places::default();
        places.put(&room(), at(3));
        assert_eq!(places.untold().len(), 1);
        assert_eq!(places.untold(), []);
        places.begin();
        assert_eq!(places.untold().len(), 1);
    }
}
