//! Joins that were answered and whose `joined` is to come.

use std::collections::VecDeque;

use crate::id::RoomName;
use crate::position::Position;
use crate::resume::Since;

/// A join that succeeded.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) room: RoomName,
    /// Where its answer says that it begins; its `joined` says the same.
    pub(super) position: Position,
    pub(super) since: Since,
    /// Whether the application was in the room when it asked.
    pub(super) again: bool,
}

/// In the order of their answers, which may overtake the `joined` of joins before.
#[derive(Debug, Default)]
pub(super) struct Joining(VecDeque<Answered>);

impl Joining {
    /// Every `joined` comes, unless its connection ends: a server that sends none is not to fill the memory.
    const MAX: usize = super::Client::REQUESTS_MAX;

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// A join was answered; `is_known`: the application has been told of the room. Then, or where another join's `joined` is to
    /// come, one from now on changes nothing and has none.
    pub(super) fn answered(&mut self, join: Answered, is_known: bool) {
        if join.since == Since::Now && (is_known || self.0.iter().any(|other| other.room == join.room)) {
            return;
        }
        if self.0.len() >= Self::MAX {
            self.0.pop_front();
        }
        self.0.push_back(join);
    }

    /// What the join asked for whose `joined` is here, and whether the application was in the room; none where the server had it
    /// join. No `joined` of those before is to come any more.
    pub(super) fn take(&mut self, room: &RoomName, position: Position) -> Option<(Since, bool)> {
        let index = self.0.iter().position(|join| join.room == *room && join.position == position)?;
        let Answered { since, again, .. } = self.0.remove(index)?;
        let mut seen = 0;
        self.0.retain(|join| {
            seen += 1;
            seen > index || join.room != *room
        });
        Some((since, again))
    }
}
