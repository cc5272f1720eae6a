//! Nothing reaches a session that is no member, or that is excluded.

use moorline_proto::time::Instant;

use super::super::spell::{Spell, spells};
use super::super::{Index, Outcome, Publication, Violation, What, by_room};
use crate::content::Content;

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for (number, session) in index.sessions() {
        for (room, entries) in by_room(session) {
            let spells = spells(session, room, &entries);
            for entry in &entries {
                let What::Message { content: Content::Whole(key), .. } = &entry.what else { continue };
                let Some(publication) = index.publication(*key) else { continue };
                let what = if publication.excluded.contains(&number) {
                    "though excluded"
                } else if spells.iter().any(|spell| may_get(spell, publication, entry.at)) {
                    continue;
                } else {
                    "though no member"
                };
                found.push(Violation {
                    rule: "membership",
                    session: Some(number),
                    room: Some(room.clone()),
                    what: format!("{} got {key} of {room} {what}", session.name),
                });
            }
        }
    }
    found
}

/// Whether the message may have been published within the membership.
fn may_get(spell: &Spell, publication: &Publication, received: Instant) -> bool {
    let published_by = match publication.outcome {
        Outcome::Accepted { at, .. } => at.min(received),
        Outcome::Refused | Outcome::Unknown => received,
    };
    spell.asked <= published_by && spell.over.is_none_or(|over| publication.sent <= over)
}

#[cfg(test)]
mod tests {
    use super::super::super::support::{Planted, key};
    use super::*;

    #[test]
    fn what_was_published_before_or_after_a_membership_is_found() {
        let mut planted = Planted::new();
        planted.accepted(1, key(1, 1), 1);
        planted.joined(0, 10, 1);
        planted.accepted(20, key(1, 2), 2);
        planted.message(0, 21, key(1, 2), 2);
        planted.leaving(0, 30);
        planted.left(0, 40);
        assert_eq!(check(&Index::new(planted.history())), []);
        planted.message(0, 22, key(1, 1), 1);
        planted.accepted(50, key(1, 3), 3);
        planted.message(0, 51, key(1, 3), 3);
        assert_eq!(check(&Index::new(planted.history())).len(), 2);
    }

    #[test]
    fn an_excluded_session_is_found_and_so_is_one_that_never_joined() {
        let mut planted = Planted::new();
        planted.joined(0, 1, 0);
        planted.accepted_except(10, key(1, 1), 1, &[0]);
        planted.message(0, 11, key(1, 1), 1);
        planted.accepted(20, key(1, 2), 2);
        planted.message(1, 21, key(1, 2), 2);
        assert_eq!(check(&Index::new(planted.history())).len(), 2);
    }
}
