//! No accepted message is silently lost: a member gets each one that is for it, or a reset that covers it.

use std::collections::{HashMap, HashSet};

use moorline_proto::id::RoomName;
use moorline_proto::position::Position;
use moorline_proto::time::Instant;

use super::super::spell::{Spell, spells};
use super::super::{Entry, Index, Outcome, Publication, Session, Violation, What, by_room};
use crate::content::{Content, Key};

type Accepted<'a> = HashMap<&'a RoomName, Vec<(&'a Publication, Instant, Position)>>;

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let mut accepted: Accepted<'_> = HashMap::new();
    for publication in &index.history.publications {
        if let Outcome::Accepted { at, position } = publication.outcome {
            accepted.entry(&publication.room).or_default().push((publication, at, position));
        }
    }
    index.sessions().flat_map(|(number, session)| of_session(number, session, &accepted)).collect()
}

fn of_session(number: usize, session: &Session, accepted: &Accepted<'_>) -> Vec<Violation> {
    let mut rooms = by_room(session);
    // Of an own room nothing at all may have arrived.
    for own in &session.own {
        rooms.entry(own).or_default();
    }
    let mut found = Vec::new();
    for (room, entries) in rooms {
        let Some(accepted) = accepted.get(room) else { continue };
        let received: HashSet<Key> = entries.iter().filter_map(|entry| fresh(entry)).collect();
        for spell in spells(session, room, &entries) {
            for (publication, at, position) in accepted {
                let missing = owed(&spell, (publication.sent, *at), *position)
                    && !publication.excluded.contains(&number)
                    && !received.contains(&publication.key)
                    && !entries.iter().any(|entry| covers(entry, *position, publication.sent));
                if missing {
                    found.push(Violation {
                        rule: "lost",
                        session: Some(number),
                        room: Some(room.clone()),
                        what: format!(
                            "{} never got {} (message {} of {room})",
                            session.name, publication.key, position.offset.0
                        ),
                    });
                }
            }
        }
    }
    found
}

fn fresh(entry: &Entry) -> Option<Key> {
    match &entry.what {
        What::Message { content: Content::Whole(key), fresh: true, .. } => Some(*key),
        _ => None,
    }
}

/// Whether a message that was sent and accepted at these moments is the member's beyond doubt.
fn owed(spell: &Spell, (sent, accepted): (Instant, Instant), position: Position) -> bool {
    let Some(begun) = spell.begun else { return false };
    let behind = spell.from.is_some_and(|from| from.epoch == position.epoch && from.offset < position.offset);
    (sent >= begun || behind) && spell.ending.is_none_or(|ending| accepted <= ending)
}

fn covers(entry: &Entry, lost: Position, sent: Instant) -> bool {
    let What::Reset { from, to, .. } = &entry.what else { return false };
    let until = if to.epoch == lost.epoch { lost.offset <= to.offset } else { sent <= entry.at };
    until && from.is_none_or(|from| from < lost.offset)
}

#[cfg(test)]
mod tests {
    use super::super::super::support::{Planted, key};
    use super::*;

    #[test]
    fn a_gap_without_a_reset_is_found() {
        let mut planted = Planted::new();
        planted.joined(0, 1, 0);
        for offset in 1..=5 {
            planted.accepted(10 * offset, key(1, offset), offset);
            if offset != 3 {
                planted.message(0, 10 * offset + 1, key(1, offset), offset);
            }
        }
        let found = check(&Index::new(planted.history()));
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("1.3"), "{found:?}");
    }

    #[test]
    fn a_reset_that_covers_the_gap_excuses_it_and_one_beside_it_does_not() {
        for (from, to, lost) in [(Some(2), 3, 0), (None, 3, 0), (Some(3), 4, 1), (Some(0), 2, 1)] {
            let mut planted = Planted::new();
            planted.joined(0, 1, 0);
            planted.accepted(10, key(1, 3), 3);
            planted.reset(0, 20, from, to);
            assert_eq!(check(&Index::new(planted.history())).len(), lost, "{from:?} {to}");
        }
    }

    #[test]
    fn nothing_is_owed_before_after_or_to_the_excluded() {
        let mut planted = Planted::new();
        planted.accepted(1, key(1, 1), 1);
        planted.joined(0, 5, 1);
        planted.accepted_except(10, key(1, 2), 2, &[0]);
        planted.leaving(0, 20);
        planted.accepted(30, key(1, 3), 3);
        planted.left(0, 40);
        assert_eq!(check(&Index::new(planted.history())), []);
    }

    #[test]
    fn an_own_room_is_owed_from_the_first_establishment() {
        let mut planted = Planted::new();
        planted.own(0, "@session/s0");
        planted.established(0, 5, 1, false);
        planted.accepted_in("@session/s0", 10, key(1, 1), 1);
        assert_eq!(check(&Index::new(planted.history())).len(), 1);
    }
}
