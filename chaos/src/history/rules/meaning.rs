//! A position means one message: for all clients and publishers, and across restarts.

use std::collections::HashMap;

use moorline_proto::id::RoomName;
use moorline_proto::position::{Epoch, Offset, Position};

use super::super::{Index, Outcome, Violation, What};
use crate::content::{Content, Key};

#[derive(Default)]
struct Meanings<'a> {
    known: HashMap<(&'a RoomName, Epoch, Offset), Key>,
    found: Vec<Violation>,
}

impl<'a> Meanings<'a> {
    fn note(&mut self, session: Option<usize>, room: &'a RoomName, position: Position, key: Key) {
        let Position { epoch, offset } = position;
        let known = *self.known.entry((room, epoch, offset)).or_insert(key);
        if known != key {
            self.found.push(Violation {
                rule: "meaning",
                session,
                room: Some(room.clone()),
                what: format!("message {} of {room} in {epoch} is {known} and {key}", offset.0),
            });
        }
    }
}

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let mut meanings = Meanings::default();
    for publication in &index.history.publications {
        if let Outcome::Accepted { position, .. } = publication.outcome {
            meanings.note(None, &publication.room, position, publication.key);
        }
    }
    for (number, session) in index.sessions() {
        for entry in &session.entries {
            if let What::Message { room, epoch: Some(epoch), offset, content: Content::Whole(key), .. } =
                &entry.what
            {
                meanings.note(Some(number), room, Position { epoch: *epoch, offset: *offset }, *key);
            }
        }
    }
    meanings.found
}

#[cfg(test)]
mod tests {
    use super::super::super::support::{Planted, key};
    use super::*;

    #[test]
    fn two_meanings_of_a_position_are_found() {
        let mut planted = Planted::new();
        planted.message(0, 1, key(1, 1), 7);
        planted.message(1, 1, key(1, 1), 7);
        assert_eq!(check(&Index::new(planted.history())), []);
        planted.message(2, 1, key(1, 2), 7);
        assert_eq!(check(&Index::new(planted.history())).len(), 1);
    }

    #[test]
    fn what_a_publisher_was_told_counts_too() {
        let mut planted = Planted::new();
        planted.accepted(1, key(1, 1), 7);
        planted.message(0, 1, key(1, 2), 7);
        assert_eq!(check(&Index::new(planted.history())).len(), 1);
    }
}
