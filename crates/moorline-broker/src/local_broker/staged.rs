//! What was published and is not kept yet: nobody sees it, and its senders wait.

use std::collections::{HashMap, VecDeque};

use moorline_proto::batch::Ephemeral;
use moorline_proto::id::RoomName;
use moorline_proto::position::{Epoch, Offset};
use moorline_proto::record::Record;
use moorline_proto::resume::RoomState;
use tokio::sync::oneshot;

use super::queue::ephemeral_cost_bytes;
use crate::broker::{BrokerError, Published};

/// How many publications may wait; the bytes are bounded too. A disk takes some milliseconds for a commit: this is what
/// comes in while it takes a second.
const STAGED_MAX: usize = 65_536;
const STAGED_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Whoever waits for an answer; none where it was given, or nobody wants it.
pub(super) type Waiting = Option<(oneshot::Sender<Result<Published, BrokerError>>, Published)>;

/// Something that takes its turn behind what is not kept yet.
pub(super) enum Staged {
    /// A record, or a change without one: needs a commit.
    Change { waiting: Waiting, record: Option<StagedRecord> },
    /// What only keeps its place: an ephemeral message, or the repetition of a publish that is staged.
    Follower { waiting: Waiting, ephemeral: Option<Ephemeral> },
}

impl Staged {
    /// What it counts against the bound.
    fn cost_bytes(&self) -> usize {
        match self {
            Self::Change { record: Some(staged), .. } => staged.record.cost_bytes(),
            Self::Follower { ephemeral: Some(ephemeral), .. } => ephemeral_cost_bytes(ephemeral),
            Self::Change { .. } | Self::Follower { .. } => 0,
        }
    }
}

/// A record that the log holds and nobody may see.
pub(super) struct StagedRecord {
    pub(super) room: RoomName,
    pub(super) epoch: Epoch,
    pub(super) after: Offset,
    pub(super) record: Record,
}

/// Up to where a room may be seen.
struct Visible {
    head: Offset,
    staged: usize,
}

/// In the order of publishing.
#[derive(Default)]
pub(super) struct Stage {
    waiting: VecDeque<Staged>,
    bytes: usize,
    /// How many of the first belong to the commit that is being written.
    marked: usize,
    /// Rooms with staged records.
    rooms: HashMap<RoomName, Visible>,
    /// Whether the last commit failed.
    failing: bool,
    /// Whether the store closes: nothing is accepted for ever.
    closed: bool,
}

impl Stage {
    /// From now on nothing may be staged.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Whether one more may be staged.
    pub(super) fn admit(&self) -> Result<(), BrokerError> {
        if self.failing || self.closed {
            return Err(BrokerError::CannotKeep);
        }
        let is_full = self.waiting.len() >= STAGED_MAX || self.bytes >= STAGED_MAX_BYTES;
        if is_full { Err(BrokerError::Behind) } else { Ok(()) }
    }

    pub(super) fn push(&mut self, staged: Staged) {
        self.bytes += staged.cost_bytes();
        if let Staged::Change { record: Some(staged), .. } = &staged {
            let visible = Visible { head: staged.after, staged: 0 };
            self.rooms.entry(staged.room.clone()).or_insert(visible).staged += 1;
        }
        self.waiting.push_back(staged);
    }

    /// Whether a room has records that nobody may see yet.
    pub(super) fn hides(&self, room: &RoomName) -> bool {
        self.rooms.contains_key(room)
    }

    /// The newest record of a room that may be seen; none where all may.
    pub(super) fn visible_head(&self, room: &RoomName) -> Option<Offset> {
        self.rooms.get(room).map(|visible| visible.head)
    }

    /// What may be seen of a room's state.
    pub(super) fn visible(&self, room: &RoomName, state: RoomState) -> RoomState {
        let Some(head) = self.visible_head(room) else { return state };
        RoomState {
            head: state.head.min(head),
            cut: state.cut.min(head),
            cleared: state.cleared.min(head),
            ..state
        }
    }

    /// All that is staged now belongs to the commit that begins.
    pub(super) fn mark(&mut self) {
        self.marked = self.waiting.len();
    }

    /// The commit failed, and will be tried again: who waits is told that it is not known.
    pub(super) fn fail(&mut self) {
        self.failing = true;
        for staged in &mut self.waiting {
            let (Staged::Change { waiting, .. } | Staged::Follower { waiting, .. }) = staged;
            if let Some((sender, _)) = waiting.take() {
                // Who asked may be gone.
                let _gone = sender.send(Err(BrokerError::Unavailable));
            }
        }
    }

    /// The commit is through.
    pub(super) fn succeed(&mut self) {
        self.failing = false;
    }

    /// The next one that may be seen, once its commit is through.
    pub(super) fn pop_kept(&mut self) -> Option<Staged> {
        let follows = matches!(self.waiting.front(), Some(Staged::Follower { .. }));
        if self.marked == 0 && !follows {
            return None;
        }
        self.marked = self.marked.saturating_sub(1);
        let staged = self.waiting.pop_front()?;
        self.bytes -= staged.cost_bytes();
        if let Staged::Change { record: Some(staged), .. } = &staged {
            self.show(staged);
        }
        Some(staged)
    }

    fn show(&mut self, staged: &StagedRecord) {
        let Some(visible) = self.rooms.get_mut(&staged.room) else { return };
        visible.head = staged.record.offset;
        visible.staged -= 1;
        if visible.staged == 0 {
            self.rooms.remove(&staged.room);
        }
    }
}
