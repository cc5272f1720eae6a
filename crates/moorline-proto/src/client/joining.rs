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
    /// A join that changed nothing has no `joined`: of those the oldest are given up, so that they do not pile up.
    const MAX: usize = super::Client::REQUESTS_MAX;

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn answered(&mut self, join: Answered) {
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
