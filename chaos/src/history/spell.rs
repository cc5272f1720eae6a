//! From when to when a session was a member of a room.

use moorline_proto::id::RoomName;
use moorline_proto::position::Position;
use moorline_proto::time::Instant;

use super::{Entry, Session, What};

/// One membership, bounded from both sides: what the client cannot have known exactly lies between.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spell {
    /// When it was asked for: it did not begin before.
    pub(super) asked: Instant,
    /// When it was confirmed: it had begun.
    pub(super) begun: Option<Instant>,
    /// What comes after this is the session's.
    pub(super) from: Option<Position>,
    /// When its end was asked for: until then it lasted.
    pub(super) ending: Option<Instant>,
    /// When the end was confirmed: it is over.
    pub(super) over: Option<Instant>,
}

/// The memberships of a session in a room, from its entries there.
pub(super) fn spells(session: &Session, room: &RoomName, entries: &[&Entry]) -> Vec<Spell> {
    if session.own.contains(room) {
        return own(session);
    }
    let mut spells: Vec<Spell> = Vec::new();
    let fresh_starts: Vec<Instant> = session
        .entries
        .iter()
        .filter(|entry| matches!(entry.what, What::Established { resumed: false }))
        .map(|entry| entry.at)
        .collect();
    for entry in entries {
        let at = entry.at;
        // A session that began anew is no member of what the former one was.
        if let Some(open) = spells.last_mut().filter(|spell| spell.over.is_none())
            && let Some(start) = fresh_starts.iter().find(|start| open.asked < **start && **start <= at)
        {
            open.ending = open.ending.or(Some(*start));
            open.over = Some(*start);
        }
        let open = spells.last_mut().filter(|spell| spell.over.is_none());
        match (&entry.what, open) {
            (What::Joining { .. }, None) => spells.push(Spell { asked: at, ..Spell::default() }),
            (What::Joined { position, .. }, Some(spell)) if spell.begun.is_none() => {
                spell.begun = Some(at);
                spell.from = Some(*position);
            }
            (What::Joined { position, .. }, None) => {
                spells.push(Spell { asked: at, begun: Some(at), from: Some(*position), ..Spell::default() });
            }
            (What::Leaving { .. }, Some(spell)) => spell.ending = spell.ending.or(Some(at)),
            (What::Left { .. }, Some(spell)) => {
                spell.ending = spell.ending.or(Some(at));
                spell.over = Some(at);
            }
            _ => {}
        }
    }
    spells
}

/// Own rooms begin with the session.
fn own(session: &Session) -> Vec<Spell> {
    let mut spells: Vec<Spell> = Vec::new();
    for entry in
        session.entries.iter().filter(|entry| matches!(entry.what, What::Established { resumed: false }))
    {
        if let Some(former) = spells.last_mut() {
            former.ending = Some(entry.at);
            former.over = Some(entry.at);
        }
        spells.push(Spell { begun: Some(entry.at), ..Spell::default() });
    }
    spells
}
