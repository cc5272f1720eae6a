//! The resume rule: a reader's position against what the log still knows. Decides between replay and reset, and
//! nothing else does.

use crate::id::RoomName;
use crate::position::{Epoch, Offset, Position};

/// What a log knows of a room at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomState {
    /// The log's history.
    pub epoch: Epoch,
    /// The newest record; 0 for a room without any so far.
    pub head: Offset,
    /// Everything up to and including it is gone.
    pub cut: Offset,
    /// How much of `cut` the application cleared.
    pub cleared: Offset,
    /// The histories before this one that the log remembers.
    pub former: Formers,
}

/// The histories before a log's present one, each with the last of its records that the room kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Formers([Option<Position>; Self::MAX]);

impl Formers {
    /// How many a log remembers: each unclean end begins a new history, and who comes back from before more of them is told
    /// that its position means nothing any more.
    pub const MAX: usize = 8;

    /// Remembers one; beyond the bound the others stay.
    pub fn remember(&mut self, last: Position) {
        if let Some(free) = self.0.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(last);
        }
    }

    /// The last record of that history that the room kept.
    #[must_use]
    pub fn last(&self, epoch: Epoch) -> Option<Offset> {
        self.0.iter().flatten().find(|last| last.epoch == epoch).map(|last| last.offset)
    }
}

impl FromIterator<Position> for Formers {
    fn from_iter<T: IntoIterator<Item = Position>>(positions: T) -> Self {
        let mut formers = Self::default();
        positions.into_iter().for_each(|last| formers.remember(last));
        formers
    }
}

impl RoomState {
    /// The position at the head.
    #[must_use]
    pub const fn position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.head }
    }
}

/// Why records are lost to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetReason {
    /// A bound removed them.
    Retention,
    /// The application removed them.
    Cleared,
    /// The position belongs to another history.
    Epoch,
    /// The room never had that position.
    Ahead,
    /// The session that the position belonged to is gone.
    Expired,
}

impl ResetReason {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::Cleared => "cleared",
            Self::Epoch => "epoch",
            Self::Ahead => "ahead",
            Self::Expired => "expired",
        }
    }
}

/// How a reader goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// With what lies after this offset; nothing is lost.
    Continue(Offset),
    /// What lies after `from` up to and including `to` is lost; then with what lies after `to`.
    Reset {
        /// Why.
        reason: ResetReason,
        /// Where the reader stood; none where its number means nothing here.
        from: Option<Offset>,
        /// Where it stands now.
        to: Offset,
    },
}

/// A question about a room on behalf of one reader.
#[derive(Clone, Debug)]
pub struct SurveyRequest {
    /// The room.
    pub room: RoomName,
    /// From where it reads.
    pub since: Since,
    /// Where it says that it stands: that counts where it is the later of both, and means something in this history.
    pub named: Option<Position>,
}

impl SurveyRequest {
    /// About a reader that says nothing.
    #[must_use]
    pub const fn new(room: RoomName, since: Since) -> Self {
        Self { room, since, named: None }
    }

    /// Decides how the reader goes on in a room in this state.
    #[must_use]
    pub fn resume(&self, state: &RoomState) -> Resume {
        match (self.since, self.named) {
            (Since::Position(acked), Some(named)) => later(acked, named, state),
            (since, _) => since.resume(state),
        }
    }
}

/// From where a reader reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Only what comes.
    Now,
    /// Everything that is kept.
    Start,
    /// What lies after this.
    Position(Position),
}

impl Since {
    /// Decides how a reader goes on in a room in this state.
    #[must_use]
    pub fn resume(self, state: &RoomState) -> Resume {
        match self {
            Self::Now => Resume::Continue(state.head),
            Self::Start => Resume::Continue(state.cut),
            Self::Position(asked) => resume(asked, state),
        }
    }
}

/// The answer, all of it at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Survey {
    /// What the log knows of the room.
    pub state: RoomState,
    /// How the reader goes on.
    pub resume: Resume,
    /// How many kept records behind that are for this reader; chunks of streams are not counted.
    pub deliverable: u64,
    /// Whether a stream was open there and had text: the reader needs that before it goes on.
    pub has_texts: bool,
}

/// Decides between what a reader has acknowledged and what it names. Numbers of former histories that go on are this one's.
fn later(acked: Position, named: Position, state: &RoomState) -> Resume {
    if acked.epoch == named.epoch {
        return resume(Position { offset: acked.offset.max(named.offset), ..acked }, state);
    }
    match (resume(acked, state), resume(named, state)) {
        (Resume::Continue(acked), Resume::Continue(named)) => Resume::Continue(acked.max(named)),
        (Resume::Reset { .. }, goes_on @ Resume::Continue(_)) => goes_on,
        (_, ahead @ Resume::Reset { reason: ResetReason::Ahead, .. }) => ahead,
        (acked, Resume::Reset { .. }) => acked,
    }
}

/// Decides how a reader that stands at `asked` goes on in a room in this state.
#[must_use]
pub fn resume(asked: Position, state: &RoomState) -> Resume {
    let known =
        asked.epoch == state.epoch || state.former.last(asked.epoch).is_some_and(|last| asked.offset <= last);
    if !known {
        return Resume::Reset { reason: ResetReason::Epoch, from: None, to: state.cut };
    }
    if asked.offset > state.head {
        return Resume::Reset { reason: ResetReason::Ahead, from: None, to: state.cut };
    }
    if asked.offset < state.cut {
        let reason = if state.cut == state.cleared { ResetReason::Cleared } else { ResetReason::Retention };
        return Resume::Reset { reason, from: Some(asked.offset), to: state.cut };
    }
    Resume::Continue(asked.offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_as_a_table() {
        let state = RoomState {
            epoch: Epoch(2),
            head: Offset(20),
            cut: Offset(10),
            cleared: Offset(0),
            former: [(1, 15), (7, 12)]
                .map(|(epoch, last)| Position { epoch: Epoch(epoch), offset: Offset(last) })
                .into_iter()
                .collect(),
        };
        let reset =
            |reason, from: Option<u64>| Resume::Reset { reason, from: from.map(Offset), to: Offset(10) };
        for (epoch, offset, expected) in [
            (2, 20, Resume::Continue(Offset(20))),
            (2, 10, Resume::Continue(Offset(10))),
            (2, 9, reset(ResetReason::Retention, Some(9))),
            (2, 21, reset(ResetReason::Ahead, None)),
            (1, 15, Resume::Continue(Offset(15))),
            (1, 9, reset(ResetReason::Retention, Some(9))),
            (1, 16, reset(ResetReason::Epoch, None)),
            (3, 12, reset(ResetReason::Epoch, None)),
            (7, 12, Resume::Continue(Offset(12))),
            (7, 13, reset(ResetReason::Epoch, None)),
        ] {
            let asked = Position { epoch: Epoch(epoch), offset: Offset(offset) };
            assert_eq!(resume(asked, &state), expected, "{asked:?}");
        }
    }

    #[test]
    fn the_later_of_two_positions_counts_whatever_history_they_are_of() {
        let last = Position { epoch: Epoch(1), offset: Offset(15) };
        let state = RoomState {
            epoch: Epoch(2),
            head: Offset(20),
            cut: Offset(10),
            former: [last].into_iter().collect(),
            ..RoomState::default()
        };
        let at = |(epoch, offset)| Position { epoch: Epoch(epoch), offset: Offset(offset) };
        let reset =
            |reason, from: Option<u64>| Resume::Reset { reason, from: from.map(Offset), to: Offset(10) };
        for (acked, named, expected) in [
            ((1, 11), (2, 18), Resume::Continue(Offset(18))),
            ((2, 12), (1, 14), Resume::Continue(Offset(14))),
            ((2, 14), (1, 12), Resume::Continue(Offset(14))),
            ((2, 14), (1, 16), Resume::Continue(Offset(14))),
            ((2, 14), (9, 3), Resume::Continue(Offset(14))),
            ((1, 3), (2, 14), Resume::Continue(Offset(14))),
            ((9, 3), (2, 14), Resume::Continue(Offset(14))),
            ((1, 12), (2, 21), reset(ResetReason::Ahead, None)),
            ((2, 12), (2, 21), reset(ResetReason::Ahead, None)),
            ((1, 3), (2, 4), reset(ResetReason::Retention, Some(3))),
            ((9, 3), (8, 4), reset(ResetReason::Epoch, None)),
        ] {
            let since = Since::Position(at(acked));
            let room = RoomName::new("a").expect("a name");
            let request = SurveyRequest { named: Some(at(named)), ..SurveyRequest::new(room, since) };
            assert_eq!(request.resume(&state), expected, "{acked:?} {named:?}");
        }
    }

    #[test]
    fn what_the_application_removed_is_said_to_be_cleared() {
        let state = RoomState { cut: Offset(5), cleared: Offset(5), head: Offset(5), ..RoomState::default() };
        let asked = Position { epoch: Epoch(0), offset: Offset(3) };
        let expected = Resume::Reset { reason: ResetReason::Cleared, from: Some(Offset(3)), to: Offset(5) };
        assert_eq!(resume(asked, &state), expected);
    }
}
