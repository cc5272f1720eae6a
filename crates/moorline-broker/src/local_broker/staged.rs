//! What was published and is not kept yet: nobody sees it, and its senders wait.

use std::collections::{HashMap, VecDeque};

use moorline_proto::batch::Ephemeral;
use moorline_proto::id::RoomName;
use moorline_proto::position::{Epoch, Offset};
use moorline_proto::record::Record;
use moorline_proto::resume::RoomState;
use moorline_proto::stream::Cancel;

use super::queue::{cancel_cost_bytes, ephemeral_cost_bytes};
use super::waiting::Waiting;
use crate::broker::BrokerError;

/// How many publications may wait; the bytes are bounded too. A disk takes some milliseconds for a commit: this is what
/// comes in while it takes a second.
const STAGED_MAX: usize = 65_536;
const STAGED_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Something that takes its turn behind what is not kept yet.
pub(super) struct Staged {
    pub(super) until: Until,
    /// What is told then.
    pub(super) told: Option<Told>,
    /// Who waits for it; none where it was answered, or nobody wants it.
    pub(super) waiting: Option<Waiting>,
    /// Text of a stream of that room that is to be written and not told yet, in bytes.
    pub(super) text: Option<(RoomName, usize)>,
}

/// How long something is staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Until the commit that takes it is through: a change.
    Commit,
    /// Until everything before it is through: what only keeps its place, as an ephemeral message does, or the repetition of
    /// something that is staged.
    Turn,
}

/// What is announced once it may be seen.
pub(super) enum Told {
    Record(StagedRecord),
    Ephemeral(Ephemeral),
    Cancel(Cancel),
}

impl Staged {
    /// What it counts against the bound.
    fn cost_bytes(&self) -> usize {
        let told = match &self.told {
            Some(Told::Record(staged)) => staged.record.cost_bytes(),
            Some(Told::Ephemeral(ephemeral)) => ephemeral_cost_bytes(ephemeral),
            Some(Told::Cancel(cancel)) => cancel_cost_bytes(cancel),
            None => 0,
        };
        told + self.text.as_ref().map_or(0, |(_, bytes)| *bytes)
    }

    /// Something to be told.
    pub(super) fn of(until: Until, told: Told) -> Self {
        Self { until, told: Some(told), waiting: None, text: None }
    }

    /// The record that it shows.
    pub(super) fn record(&self) -> Option<&StagedRecord> {
        match &self.told {
            Some(Told::Record(record)) => Some(record),
            _ => None,
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
    /// How many staged texts rooms have.
    texts: HashMap<RoomName, usize>,
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

    /// Whether the store can write, as far as is known.
    pub(super) fn can_keep(&self) -> bool {
        !self.failing && !self.closed
    }

    /// Whether nothing is staged.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether one more may be staged.
    pub(super) fn admit(&self) -> Result<(), BrokerError> {
        if !self.can_keep() {
            return Err(BrokerError::CannotKeep);
        }
        let is_full = self.waiting.len() >= STAGED_MAX || self.bytes >= STAGED_MAX_BYTES;
        if is_full { Err(BrokerError::Behind) } else { Ok(()) }
    }

    pub(super) fn push(&mut self, staged: Staged) {
        self.bytes += staged.cost_bytes();
        if let Some(record) = staged.record() {
            let visible = Visible { head: record.after, staged: 0 };
            self.rooms.entry(record.room.clone()).or_insert(visible).staged += 1;
        }
        if let Some((room, _)) = &staged.text {
            *self.texts.entry(room.clone()).or_default() += 1;
        }
        self.waiting.push_back(staged);
    }

    /// Whether text of a room's streams is not kept yet.
    pub(super) fn holds_text(&self, room: &RoomName) -> bool {
        self.texts.contains_key(room)
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
        self.waiting.iter_mut().filter_map(|staged| staged.waiting.take()).for_each(Waiting::give_up);
    }

    /// The commit is through. Returns whether the one before had failed.
    pub(super) fn succeed(&mut self) -> bool {
        std::mem::take(&mut self.failing)
    }

    /// The next one that may be seen, once its commit is through.
    pub(super) fn pop_kept(&mut self) -> Option<Staged> {
        let follows = self.waiting.front().is_some_and(|staged| staged.until == Until::Turn);
        if self.marked == 0 && !follows {
            return None;
        }
        self.marked = self.marked.saturating_sub(1);
        let staged = self.waiting.pop_front()?;
        self.bytes -= staged.cost_bytes();
        staged.record().into_iter().for_each(|record| show(&mut self.rooms, record));
        staged.text.iter().for_each(|(room, _)| self.text_kept(room));
        Some(staged)
    }

    fn text_kept(&mut self, room: &RoomName) {
        let Some(texts) = self.texts.get_mut(room) else { return };
        *texts -= 1;
        if *texts == 0 {
            self.texts.remove(room);
        }
    }
}

fn show(rooms: &mut HashMap<RoomName, Visible>, shown: &StagedRecord) {
    let Some(visible) = rooms.get_mut(&shown.room) else { return };
    visible.head = shown.record.offset;
    visible.staged -= 1;
    if visible.staged == 0 {
        rooms.remove(&shown.room);
    }
}
