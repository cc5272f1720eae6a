//! The log: in memory, with a journal of what changes.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moorline_broker::{AppendError, Appended, Draft, Log, LogStats, MemoryLog, New, Streamed};
use moorline_proto::batch::ReadFrom;
use moorline_proto::id::{RoomName, StreamName};
use moorline_proto::resume::RoomState;
use moorline_proto::stream::{Command, Entry as LogEntry, Sight, StreamView};
use moorline_proto::time::{Instant, Now};

use crate::entry::Entry;
use crate::layout::RoomRow;
use crate::pending::Pending;

/// How long the rooms of restored sessions are held: until then the node has taken up the sessions, and holds them itself.
const HELD_FOR: Duration = Duration::from_secs(60);

/// Shared with the committer, which asks it what is still kept.
pub(crate) type Memory = Arc<Mutex<MemoryLog>>;

/// Nothing in a memory log panics half way.
pub(crate) fn lock(memory: &Memory) -> MutexGuard<'_, MemoryLog> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A [`MemoryLog`] whose changes go to a journal. What it answers is as safe as memory; a
/// [`LocalBroker`](moorline_broker::LocalBroker) stages it until the journal has it.
pub(crate) struct DiskLog {
    memory: Memory,
    pending: Arc<Pending>,
    /// Rooms of sessions that the node has not taken up yet, and until when.
    held: Option<(Vec<RoomName>, Instant)>,
}

impl DiskLog {
    pub(crate) fn new(memory: Memory, pending: Arc<Pending>, held: Vec<RoomName>, now: Now) -> Self {
        held.iter().for_each(|room| lock(&memory).hold(room));
        Self { memory, pending, held: Some((held, now.instant + HELD_FOR)) }
    }

    /// Has it written down that rooms were forgotten.
    fn note_forgotten(&self) {
        let mut memory = lock(&self.memory);
        let forgotten = memory.take_forgotten();
        if forgotten.is_empty() {
            return;
        }
        let high = memory.history().forgotten_high;
        drop(memory);
        self.pending.raise_forgotten(high);
        for (room, head) in forgotten {
            self.pending.put_room(room, RoomRow::forgotten(&head));
        }
    }
}

impl Log for DiskLog {
    fn state(&self, room: &RoomName) -> RoomState {
        lock(&self.memory).state(room)
    }

    fn append(&mut self, room: &RoomName, draft: Draft, now: Now) -> Result<Appended, AppendError> {
        let (appended, claim) = lock(&self.memory).append_claiming(room, draft, now)?;
        if let Appended::New { record, .. } = &appended {
            self.pending.push_entry(&Entry::of(room.as_str(), record, claim.as_ref()));
        }
        Ok(appended)
    }

    fn stream(&mut self, room: &RoomName, stream: &StreamName, command: &Command, now: Now) -> Streamed {
        let pending = &self.pending;
        lock(&self.memory).stream_noting(room, stream, command, now, &mut |id, change| {
            pending.push_entry(&Entry::of_stream(id, &change));
        })
    }

    fn lapse(&mut self, now: Now) -> Vec<(RoomName, New)> {
        let pending = &self.pending;
        lock(&self.memory).lapse_noting(now, &mut |id, change| {
            pending.push_entry(&Entry::of_stream(id, &change));
        })
    }

    fn lapses_at(&self) -> Option<Instant> {
        lock(&self.memory).lapses_at()
    }

    fn renew_leases(&mut self, now: Now) {
        lock(&self.memory).renew_leases(now);
    }

    fn open_streams(&self, room: &RoomName, sight: Sight) -> Vec<StreamView> {
        lock(&self.memory).open_streams(room, sight)
    }

    fn view_stream(&self, room: &RoomName, stream: &StreamName, sight: Sight) -> Option<StreamView> {
        lock(&self.memory).view_stream(room, stream, sight)
    }

    fn visit(&self, room: &RoomName, from: ReadFrom, visit: &mut dyn FnMut(LogEntry<'_>) -> ControlFlow<()>) {
        lock(&self.memory).visit(room, from, visit);
    }

    fn clear(&mut self, room: &RoomName) {
        let mut memory = lock(&self.memory);
        memory.clear(room);
        let head = memory.room_head(room);
        drop(memory);
        if let Some(head) = head {
            self.pending.put_room(room.clone(), RoomRow::of(&head));
        }
    }

    fn expire(&mut self, now: Now) {
        if let Some((rooms, _)) = self.held.take_if(|(_, until)| *until <= now.instant) {
            rooms.iter().for_each(|room| lock(&self.memory).release(room));
        }
        lock(&self.memory).expire(now);
        self.note_forgotten();
    }

    fn hold(&mut self, room: &RoomName) {
        lock(&self.memory).hold(room);
    }

    fn release(&mut self, room: &RoomName) {
        lock(&self.memory).release(room);
        self.note_forgotten();
    }

    fn stats(&self) -> LogStats {
        lock(&self.memory).stats()
    }
}
