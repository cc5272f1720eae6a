//! What one publisher sent to a room comes in the order in which it was sent.

use std::collections::HashMap;

use moorline_proto::id::RoomName;
use moorline_proto::position::{Epoch, Offset};

use super::super::{Index, Outcome, Violation, What, by_room};
use crate::content::Content;

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let mut found = of_answers(index);
    for (number, session) in index.sessions() {
        for (room, entries) in by_room(session) {
            let mut last: HashMap<u32, u32> = HashMap::new();
            for entry in entries {
                let What::Message { content: Content::Whole(key), fresh: true, .. } = &entry.what else {
                    continue;
                };
                if let Some(before) =
                    last.insert(key.publisher, key.number).filter(|before| *before > key.number)
                {
                    found.push(Violation {
                        rule: "publisher order",
                        session: Some(number),
                        room: Some(room.clone()),
                        what: format!(
                            "{} got {key} of {room} after {}.{before}",
                            session.name, key.publisher
                        ),
                    });
                }
            }
        }
    }
    found
}

/// The places that a publisher was told rise as it sent.
fn of_answers(index: &Index<'_>) -> Vec<Violation> {
    let mut by_publisher: HashMap<(u32, &RoomName, Epoch), (u32, Offset)> = HashMap::new();
    let mut publications: Vec<_> = index.history.publications.iter().collect();
    publications.sort_by_key(|publication| publication.key);
    let mut found = Vec::new();
    for publication in publications {
        let Outcome::Accepted { position, .. } = publication.outcome else { continue };
        let key = publication.key;
        let lane = (key.publisher, &publication.room, position.epoch);
        let before = by_publisher.insert(lane, (key.number, position.offset));
        if let Some((number, _)) = before.filter(|(_, offset)| *offset >= position.offset) {
            found.push(Violation {
                rule: "publisher order",
                session: None,
                room: Some(publication.room.clone()),
                what: format!(
                    "{key} has a lower place in {} than {}.{number}",
                    publication.room, key.publisher
                ),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::super::support::{Planted, key};
    use super::*;

    #[test]
    fn publishers_are_independent_and_each_is_in_order() {
        let mut planted = Planted::new();
        planted.message(0, 1, key(1, 2), 1);
        planted.message(0, 2, key(2, 1), 2);
        assert_eq!(check(&Index::new(planted.history())), []);
        planted.message(0, 3, key(1, 1), 3);
        assert_eq!(check(&Index::new(planted.history())).len(), 1);
    }

    #[test]
    fn places_that_fall_are_found() {
        let mut planted = Planted::new();
        planted.accepted(1, key(1, 1), 5);
        planted.accepted(2, key(1, 2), 4);
        assert_eq!(check(&Index::new(planted.history())).len(), 1);
    }
}
