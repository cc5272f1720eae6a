//! A log in memory.

mod age;
mod class;
mod ids;
mod oldest;
mod room;
mod rules;

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;

use moorline_proto::id::RoomName;
use moorline_proto::position::{Epoch, Offset, Position};
use moorline_proto::record::Record;
use moorline_proto::resume::RoomState;
use moorline_proto::time::Timestamp;

use self::age::is_over;
use self::class::Class;
use self::ids::{Claim, PublishIds};
use self::oldest::Oldest;
use self::room::Room;
pub use self::rules::{PrefixRetention, Retention, RetentionRules};
use crate::log::{AppendError, Appended, Draft, Log, LogStats};

/// How many records, rooms and publish ids one call of [`Log::expire`] drops at most, each: a few milliseconds.
const DROPPED_PER_EXPIRE: usize = 16_384;

/// Rooms' records in memory, within [`RetentionRules`]. Nothing survives the process.
///
/// - Appending costs O(1), and O(log rooms) where all rooms together are too large; reading O(log records) and the
///   records read.
/// - Memory: the records (`total_bytes`), the publish ids (`id_bytes`) and about 200 bytes for each room that has
///   records or is held. Others have no entry: those that are released while empty are forgotten at once, those that
///   become empty while nobody holds them by the next [`Log::expire`].
/// - A message is kept as it is handed in, as shared bytes: one that was cut out of a larger buffer keeps all of that.
/// - Age is checked when the room is appended to and in [`Log::expire`]: a read may return what is too old by less than
///   the time between two calls. Where the wall clock is set back, records and ids stay longer, by one age at most.
/// - The same calls make the same log: nothing depends on the order of a hash table.
pub struct MemoryLog {
    epoch: Epoch,
    rules: RetentionRules,
    rooms: HashMap<RoomName, Room>,
    oldest: Oldest,
    ids: PublishIds,
    /// Rooms that became empty while nobody held them; each once, marked by its `idle`.
    idle: VecDeque<RoomName>,
    /// The highest head of all rooms that were forgotten; rooms begin after it, so that no number is given twice.
    forgotten_high: Offset,
    /// Records appended so far.
    seq: u64,
    totals: LogStats,
}

impl MemoryLog {
    /// An empty log. Each gets an epoch that no log before it had, else positions of the former one seem to fit.
    ///
    /// # Panics
    /// With more than [`RetentionRules::PREFIXES_MAX`] prefixes.
    #[must_use]
    pub fn new(epoch: Epoch, rules: RetentionRules) -> Self {
        assert!(rules.prefixes.len() <= RetentionRules::PREFIXES_MAX, "too many prefixes");
        Self {
            epoch,
            rooms: HashMap::new(),
            oldest: Oldest::new(rules.prefixes.len()),
            ids: PublishIds::new(&rules),
            rules,
            idle: VecDeque::new(),
            forgotten_high: Offset::START,
            seq: 0,
            totals: LogStats::default(),
        }
    }

    /// The room's head, and the number for its next record.
    fn next_offset(&self, room: &RoomName) -> Result<(Offset, Offset), AppendError> {
        let head = self.rooms.get(room).map_or(Offset::START, Room::head);
        let before = if head == Offset::START { self.forgotten_high } else { head };
        if before >= Offset::MAX { Err(AppendError::OffsetsExhausted) } else { Ok((head, before.next())) }
    }

    fn keep(&mut self, name: &RoomName, record: Record) {
        self.seq += 1;
        let now = record.timestamp;
        let room = self.rooms.entry(name.clone()).or_insert_with(|| Room::new(self.rules.class(name)));
        if room.is_empty() {
            self.oldest.file(name, room, self.seq);
        }
        room.push(self.seq, record, &mut self.totals);
        room.trim(self.rules.of_class(room.class), now, &mut self.totals);
        while self.totals.bytes > self.rules.total_bytes && self.totals.records > 1 {
            self.cut_oldest_of_all();
        }
    }

    fn cut_oldest_of_all(&mut self) {
        let classes = Class::all(self.rules.prefixes.len());
        let firsts = classes.filter_map(|class| self.oldest.first(class, &mut self.rooms));
        if let Some((_, name)) = firsts.min_by_key(|(seq, _)| *seq) {
            self.cut_oldest(&name);
        }
    }

    fn cut_oldest(&mut self, name: &RoomName) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        room.cut_oldest(&mut self.totals);
        if room.is_empty() {
            self.became_empty(name);
        }
    }

    fn became_empty(&mut self, name: &RoomName) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        self.oldest.unfile(room);
        if room.is_unused() && !room.idle {
            room.idle = true;
            self.idle.push_back(name.clone());
        }
    }

    fn expire_records(&mut self, class: Class, now: Timestamp) {
        let age = self.rules.of_class(class).age;
        for _ in 0..DROPPED_PER_EXPIRE {
            let Some((_, name)) = self.oldest.first(class, &mut self.rooms) else { break };
            let at = self.rooms.get(&name).and_then(Room::oldest_timestamp);
            if !at.is_some_and(|at| is_over(at, now, age)) {
                break;
            }
            self.cut_oldest(&name);
        }
    }

    fn forget_idle(&mut self) {
        for _ in 0..DROPPED_PER_EXPIRE {
            let Some(name) = self.idle.pop_front() else { break };
            let Some(room) = self.rooms.get_mut(&name) else { continue };
            room.idle = false;
            self.forget_unused(&name);
        }
        if self.rooms.capacity() > 1_024 && self.rooms.len() < self.rooms.capacity() / 4 {
            self.rooms.shrink_to(self.rooms.capacity() / 2);
            self.idle.shrink_to(self.rooms.len());
        }
    }

    /// Forgets the room if nothing speaks against it. One that stands in the queue is left to that.
    fn forget_unused(&mut self, name: &RoomName) {
        let Some(room) = self.rooms.get(name) else { return };
        if room.is_unused() && !room.idle {
            self.forgotten_high = self.forgotten_high.max(room.head());
            self.rooms.remove(name);
        }
    }
}

impl Log for MemoryLog {
    fn state(&self, room: &RoomName) -> RoomState {
        let nothing = RoomState { epoch: self.epoch, ..RoomState::default() };
        self.rooms.get(room).map_or(nothing, |room| room.state(self.epoch))
    }

    fn append(&mut self, room: &RoomName, draft: Draft, now: Timestamp) -> Result<Appended, AppendError> {
        let claim = draft.key.as_ref().map(|key| Claim::new(room, key, &draft));
        if let Some(claim) = &claim
            && let Some(offset) = self.ids.find(claim, now)?
        {
            return Ok(Appended::Duplicate(Position { epoch: self.epoch, offset }));
        }
        let (after, offset) = self.next_offset(room)?;
        if let Some(claim) = &claim {
            self.ids.remember(claim, offset, now);
        }
        let record = Record { offset, timestamp: now, except: draft.except, message: draft.message };
        self.keep(room, record.clone());
        Ok(Appended::New { after, record })
    }

    fn visit(&self, room: &RoomName, after: Offset, visit: &mut dyn FnMut(&Record) -> ControlFlow<()>) {
        if let Some(room) = self.rooms.get(room) {
            room.visit(after, visit);
        }
    }

    fn clear(&mut self, room: &RoomName) {
        let Some(entry) = self.rooms.get_mut(room) else { return };
        let had_records = !entry.is_empty();
        entry.clear(&mut self.totals);
        if had_records {
            self.became_empty(room);
        }
    }

    fn expire(&mut self, now: Timestamp) {
        self.ids.expire(now, DROPPED_PER_EXPIRE);
        for class in Class::all(self.rules.prefixes.len()) {
            self.expire_records(class, now);
        }
        self.forget_idle();
    }

    fn hold(&mut self, room: &RoomName) {
        let class = || Room::new(self.rules.class(room));
        self.rooms.entry(room.clone()).or_insert_with(class).hold();
    }

    fn release(&mut self, room: &RoomName) {
        let Some(entry) = self.rooms.get_mut(room) else { return };
        entry.release();
        self.forget_unused(room);
    }

    fn stats(&self) -> LogStats {
        LogStats { rooms: self.rooms.len(), ..self.totals }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moorline_proto::message::Message;

    fn append(log: &mut MemoryLog, room: &RoomName) {
        let message = Message::stored(br#"{"type":"m"}"#.to_vec().into());
        log.append(room, Draft { message, except: None, key: None }, Timestamp(0)).unwrap();
    }

    #[test]
    fn bookkeeping_never_outgrows_the_rooms() {
        let mut log = MemoryLog::new(Epoch(1), RetentionRules::default());
        let names = ["a", "@all", "b"].map(|name| RoomName::stored(name).unwrap());
        for room in names.iter().cycle().take(3_000) {
            append(&mut log, room);
            log.clear(room);
            log.hold(room);
            append(&mut log, room);
            log.release(room);
            log.clear(room);
        }
        assert!(log.idle.len() <= 3 && log.oldest.len() == 0);
        for _ in 0..5_000 {
            append(&mut log, &names[0]);
        }
        assert_eq!(log.oldest.len(), 1);
    }

    #[test]
    fn a_crowd_that_left_takes_its_memory_along() {
        let mut log = MemoryLog::new(Epoch(1), RetentionRules::default());
        for number in 0..50_000 {
            append(&mut log, &RoomName::new(&number.to_string()).unwrap());
        }
        for _ in 0..32 {
            log.expire(Timestamp(3_600_000));
        }
        assert_eq!(log.stats(), LogStats::default());
        assert!(log.rooms.capacity() < 2_000 && log.idle.capacity() < 2_000);
    }
}
