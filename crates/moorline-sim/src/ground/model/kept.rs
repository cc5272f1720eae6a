//! The records that are safe: a log that outlives its node.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use moorline_broker::{
    AppendError, Appended, Draft, Log, LogStats, MemoryLog, New, PublishKey, RetentionRules, Streamed,
};
use moorline_proto::batch::ReadFrom;
use moorline_proto::id::{PublishId, RoomName, StreamName};
use moorline_proto::position::{Epoch, Offset, Position};
use moorline_proto::resume::{Formers, RoomState};
use moorline_proto::stream::{Command, Entry, Sight, StreamView};
use moorline_proto::time::{Instant, Now};

/// What is on the disk.
pub(super) struct Disk {
    content: Arc<Mutex<Content>>,
    /// Rooms that restored sessions hold.
    adopted: Vec<RoomName>,
}

struct Content {
    log: MemoryLog,
    epoch: Epoch,
    /// The epochs before, with the last offset of each room.
    formers: Vec<(Epoch, BTreeMap<RoomName, Offset>)>,
    /// Every room that was ever named.
    rooms: BTreeSet<RoomName>,
    /// What the node that is alive holds.
    holds: BTreeMap<RoomName, u32>,
    /// Stands before every publish id: another one makes all of them unknown.
    ids: u32,
}

impl Content {
    fn state(&self, room: &RoomName) -> RoomState {
        let state = self.log.state(room);
        // A room that had nothing goes on from before its first record.
        let last = |(epoch, lasts): &(Epoch, BTreeMap<RoomName, Offset>)| Position {
            epoch: *epoch,
            offset: lasts.get(room).copied().unwrap_or_default(),
        };
        let former: Formers = self.formers.iter().rev().map(last).take(Formers::MAX).collect();
        RoomState { epoch: self.epoch, former, ..state }
    }

    fn hold(&mut self, room: &RoomName) {
        self.rooms.insert(room.clone());
        *self.holds.entry(room.clone()).or_default() += 1;
        self.log.hold(room);
    }

    fn release(&mut self, room: &RoomName) {
        if let Some(holds) = self.holds.get_mut(room).filter(|holds| **holds > 0) {
            *holds -= 1;
            self.log.release(room);
        }
    }
}

impl Disk {
    pub(super) fn new(epoch: Epoch, rules: RetentionRules) -> Self {
        let content = Content {
            log: MemoryLog::new(epoch, rules),
            epoch,
            formers: Vec::new(),
            rooms: BTreeSet::new(),
            holds: BTreeMap::new(),
            ids: 0,
        };
        Self { content: Arc::new(Mutex::new(content)), adopted: Vec::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log as a node sees it.
    pub(super) fn log(&self) -> Kept {
        Kept(Arc::clone(&self.content))
    }

    /// A new history begins: the old one's node did not end as it should.
    pub(super) fn begin_epoch(&self) {
        let content = &mut *self.lock();
        let heads = content.rooms.iter().map(|room| (room.clone(), content.log.state(room).head));
        let lasts = heads.filter(|(_, head)| *head > Offset::START).collect();
        content.formers.push((content.epoch, lasts));
        content.epoch = Epoch(content.epoch.0 + 1);
    }

    pub(super) fn forget_ids(&self) {
        self.lock().ids += 1;
    }

    /// A node opens the store: the holds of the one before are void; restored sessions hold these rooms.
    pub(super) fn adopt(&mut self, rooms: Vec<RoomName>) {
        let content = &mut *self.content.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.iter().for_each(|room| content.log.hold(room));
        for (room, count) in std::mem::take(&mut content.holds) {
            (0..count).for_each(|_| content.log.release(&room));
        }
        for room in std::mem::replace(&mut self.adopted, rooms) {
            content.log.release(&room);
        }
    }

    /// Restored sessions hold nothing any more.
    pub(super) fn let_go(&mut self) {
        let content = &mut *self.content.lock().unwrap_or_else(PoisonError::into_inner);
        for room in std::mem::take(&mut self.adopted) {
            content.log.release(&room);
        }
    }
}

/// The log as a node sees it: its own epoch, and the former ones.
pub(super) struct Kept(Arc<Mutex<Content>>);

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for Kept {
    fn state(&self, room: &RoomName) -> RoomState {
        self.lock().state(room)
    }

    fn append(&mut self, room: &RoomName, draft: Draft, now: Now) -> Result<Appended, AppendError> {
        let content = &mut *self.lock();
        content.rooms.insert(room.clone());
        let key = draft.key.and_then(|PublishKey { sender, id }| {
            let id = PublishId::new(&format!("{}-{id}", content.ids)).ok()?;
            Some(PublishKey { sender, id })
        });
        let appended = content.log.append(room, Draft { key, ..draft }, now)?;
        Ok(match appended {
            Appended::Duplicate(at) => Appended::Duplicate(Position { epoch: content.epoch, ..at }),
            new @ Appended::New { .. } => new,
        })
    }

    fn stream(&mut self, room: &RoomName, stream: &StreamName, command: &Command, now: Now) -> Streamed {
        let content = &mut *self.lock();
        content.rooms.insert(room.clone());
        content.log.stream(room, stream, command, now)
    }

    fn lapse(&mut self, now: Now) -> Vec<(RoomName, New)> {
        self.lock().log.lapse(now)
    }

    fn renew_leases(&mut self, now: Now) {
        self.lock().log.renew_leases(now);
    }

    fn lapses_at(&self) -> Option<Instant> {
        self.lock().log.lapses_at()
    }

    fn open_streams(&self, room: &RoomName, sight: Sight) -> Vec<StreamView> {
        self.lock().log.open_streams(room, sight)
    }

    fn view_stream(&self, room: &RoomName, stream: &StreamName, sight: Sight) -> Option<StreamView> {
        self.lock().log.view_stream(room, stream, sight)
    }

    fn visit(&self, room: &RoomName, from: ReadFrom, visit: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>) {
        self.lock().log.visit(room, from, visit);
    }

    fn clear(&mut self, room: &RoomName) {
        self.lock().log.clear(room);
    }

    fn expire(&mut self, now: Now) {
        self.lock().log.expire(now);
    }

    fn hold(&mut self, room: &RoomName) {
        self.lock().hold(room);
    }

    fn release(&mut self, room: &RoomName) {
        self.lock().release(room);
    }

    fn stats(&self) -> LogStats {
        self.lock().log.stats()
    }
}
