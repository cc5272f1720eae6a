//! The ids of a room never fall: for the application, and within each connection.

use std::collections::HashMap;

use moorline_proto::position::Offset;

use super::super::{Entry, Index, Violation, What, by_room};

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for (number, session) in index.sessions() {
        for (room, entries) in by_room(session) {
            for (before, after, seen) in falls(&entries) {
                found.push(Violation {
                    rule: "order",
                    session: Some(number),
                    room: Some(room.clone()),
                    what: format!(
                        "{} got message {} of {room} after {}, {seen}",
                        session.name, after.0, before.0
                    ),
                });
            }
        }
    }
    found
}

fn falls(entries: &[&Entry]) -> Vec<(Offset, Offset, &'static str)> {
    let mut given = Offset::START;
    let mut on_connection: HashMap<u32, Offset> = HashMap::new();
    let mut found = Vec::new();
    for entry in entries {
        let last = on_connection.entry(entry.connection).or_default();
        match &entry.what {
            // What they name may lie anywhere: another history, a membership that begins anew.
            What::Reset { to: position, .. } | What::Joined { position, .. } => {
                given = position.offset;
                *last = Offset::START;
            }
            What::Message { offset, fresh, .. } => {
                if *offset <= *last {
                    found.push((*last, *offset, "on one connection"));
                } else if *fresh && *offset <= given {
                    found.push((given, *offset, "in the application"));
                }
                *last = *offset;
                if *fresh {
                    given = *offset;
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::super::support::{Planted, key};
    use super::*;

    #[test]
    fn a_falling_id_is_found() {
        let mut planted = Planted::new();
        planted.message(0, 1, key(1, 1), 2);
        planted.message(0, 2, key(1, 2), 1);
        assert_eq!(check(&Index::new(planted.history())).len(), 1);
    }

    #[test]
    fn a_replay_may_begin_further_back_on_a_new_connection_and_after_a_reset() {
        let mut planted = Planted::new();
        planted.message(0, 1, key(1, 1), 2);
        planted.connection(2);
        planted.dropped(0, 2, key(1, 0), 1);
        planted.message(0, 3, key(1, 3), 3);
        planted.reset(0, 4, None, 0);
        planted.message(0, 5, key(1, 4), 1);
        assert_eq!(check(&Index::new(planted.history())), []);
    }

    #[test]
    fn a_replay_that_falls_within_itself_is_found_though_the_client_drops_it() {
        let mut planted = Planted::new();
        planted.dropped(0, 1, key(1, 1), 2);
        planted.dropped(0, 2, key(1, 2), 1);
        assert_eq!(check(&Index::new(planted.history())).len(), 1);
    }
}
