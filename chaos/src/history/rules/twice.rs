//! The application gets nothing twice.

use std::collections::HashMap;

use super::super::{Index, Violation, What, by_room};
use crate::content::{Content, Key};

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for (number, session) in index.sessions() {
        for (room, entries) in by_room(session) {
            let mut seen: HashMap<Key, u64> = HashMap::new();
            for entry in entries {
                let What::Message { content: Content::Whole(key), offset, fresh: true, .. } = &entry.what
                else {
                    continue;
                };
                if let Some(before) = seen.insert(*key, offset.0) {
                    found.push(Violation {
                        rule: "twice",
                        session: Some(number),
                        room: Some(room.clone()),
                        what: format!(
                            "{} got {key} as message {before} and as {} of {room}",
                            session.name, offset.0
                        ),
                    });
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::super::support::{Planted, key};
    use super::*;

    #[test]
    fn a_message_that_comes_again_is_found_and_one_that_the_client_dropped_is_not() {
        let mut planted = Planted::new();
        planted.message(0, 1, key(1, 1), 1);
        planted.dropped(0, 2, key(1, 1), 1);
        assert_eq!(check(&Index::new(planted.history())), []);
        planted.message(0, 3, key(1, 1), 2);
        assert_eq!(check(&Index::new(planted.history())).len(), 1);
    }
}
