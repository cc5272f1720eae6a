//! A log in memory.

mod age;
mod class;
mod ids;
mod lapses;
mod oldest;
mod open_cost;
mod restore;
mod restore_streams;
mod room;
mod rules;
mod streaming;
mod streams;

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;

use moorline_proto::batch::ReadFrom;
use moorline_proto::id::{RoomName, StreamName};
use moorline_proto::position::{Epoch, Offset, Position};
use moorline_proto::record::Record;
use moorline_proto::resume::RoomState;
use moorline_proto::stream::{Command, Entry, Sight, StreamView};
use moorline_proto::time::{Instant, Now};

use self::age::LogTime;
use self::class::Class;
use self::ids::PublishIds;
pub use self::ids::{Claim, Client, Fingerprint};
use self::lapses::Lapses;
use self::oldest::Oldest;
use self::open_cost::OpenCost;
pub use self::restore::History;
pub use self::room::RoomHead;
use self::room::{Kept, Room};
pub use self::rules::{PrefixRetention, Retention, RetentionRules};
pub use self::streaming::{Noting, StreamChange, StreamId};
use self::streams::Streams;
use crate::log::{AppendError, Appended, Draft, Log, LogStats, New, Streamed};

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
///   the time between two calls.
/// - The same calls make the same log: nothing depends on the order of a hash table.
pub struct MemoryLog {
    history: History,
    rules: RetentionRules,
    rooms: HashMap<RoomName, Room>,
    oldest: Oldest,
    ids: PublishIds,
    /// What open streams cost.
    open_cost: OpenCost,
    /// When streams are to be looked at.
    lapses: Lapses,
    /// The highest right that was given to a producer.
    last_fence: u64,
    /// Rooms that became empty while nobody held them; each once, marked by its `idle`.
    idle: VecDeque<RoomName>,
    /// Rooms that were forgotten, for who keeps a journal; none where nobody does.
    forgotten: Option<Vec<(RoomName, RoomHead)>>,
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
        Self::with_history(History { epoch, ..History::default() }, rules)
    }

    fn with_history(history: History, rules: RetentionRules) -> Self {
        assert!(rules.prefixes.len() <= RetentionRules::PREFIXES_MAX, "too many prefixes");
        Self {
            history,
            rooms: HashMap::new(),
            oldest: Oldest::new(rules.prefixes.len()),
            ids: PublishIds::new(&rules),
            open_cost: OpenCost::new(rules.total_bytes),
            lapses: Lapses::default(),
            last_fence: 0,
            rules,
            idle: VecDeque::new(),
            forgotten: None,
            seq: 0,
            totals: LogStats::default(),
        }
    }

    /// The room's head, and the number for its next record.
    fn next_offset(&self, room: &RoomName) -> Result<(Offset, Offset), AppendError> {
        let head = self.rooms.get(room).map_or(Offset::START, Room::head);
        let before = if head == Offset::START { self.history.forgotten_high } else { head };
        if before >= Offset::MAX { Err(AppendError::OffsetsExhausted) } else { Ok((head, before.next())) }
    }

    /// Keeps a record of that history, unless its room has cut it already.
    fn keep(&mut self, name: &RoomName, (epoch, record): (Epoch, Record), at: LogTime, now: LogTime) {
        let room = match self.rooms.get_mut(name) {
            Some(room) => room,
            None => self.rooms.entry(name.clone()).or_insert_with(|| Room::new(self.rules.class(name))),
        };
        if record.offset <= room.cut() {
            return;
        }
        self.seq += 1;
        let before = room.head();
        if record.offset > before {
            room.enter_epoch(before, epoch);
        }
        if room.is_empty() {
            self.oldest.file(name, room, self.seq);
        }
        room.push(Kept { seq: self.seq, at, record }, &mut self.totals);
        self.enforce(name, now);
    }

    /// Cuts what the bounds no longer cover, after a room has grown.
    fn enforce(&mut self, name: &RoomName, now: LogTime) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.trim(self.rules.of_class(room.class), now, &mut self.totals);
        }
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

    pub(super) fn cut_oldest(&mut self, name: &RoomName) {
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

    fn expire_records(&mut self, class: Class, now: LogTime) {
        let age = self.rules.of_class(class).age;
        for _ in 0..DROPPED_PER_EXPIRE {
            let Some((_, name)) = self.oldest.first(class, &mut self.rooms) else { break };
            let at = self.rooms.get(&name).and_then(Room::oldest_at);
            if !at.is_some_and(|at| at.is_over(now, age)) {
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
            let high = &mut self.history.forgotten_high;
            *high = room.head().max(*high);
            if let Some(room) = self.rooms.remove(name)
                && let Some(forgotten) = &mut self.forgotten
                && room.head() > Offset::START
            {
                forgotten.push((name.clone(), room.to_head()));
            }
        }
    }
}

impl MemoryLog {
    /// Appends as [`Log::append`] does, and says what makes the draft idempotent, for who keeps a journal.
    ///
    /// # Errors
    /// Says why nothing was kept.
    pub fn append_claiming(
        &mut self,
        room: &RoomName,
        draft: Draft,
        now: Now,
    ) -> Result<(Appended, Option<Claim>), AppendError> {
        let (claim, at) = (draft.key.as_ref().map(|key| Claim::new(room, key, &draft)), LogTime::of(now));
        if let Some(claim) = &claim
            && let Some(offset) = self.ids.find(claim, at)?
        {
            return Ok((Appended::Duplicate(Position { epoch: self.history.epoch, offset }), None));
        }
        let (after, offset) = self.next_offset(room)?;
        if let Some(claim) = &claim {
            self.ids.remember(claim, offset, at);
        }
        let record =
            Record { offset, timestamp: now.timestamp, except: draft.except, message: draft.message };
        self.keep(room, (self.history.epoch, record.clone()), at, at);
        Ok((Appended::New { after, record }, claim))
    }
}

impl Log for MemoryLog {
    fn state(&self, room: &RoomName) -> RoomState {
        let History { epoch, formers, .. } = &self.history;
        match self.rooms.get(room) {
            Some(room) => room.state(*epoch, formers),
            None => Room::default().state(*epoch, formers),
        }
    }

    fn append(&mut self, room: &RoomName, draft: Draft, now: Now) -> Result<Appended, AppendError> {
        self.append_claiming(room, draft, now).map(|(appended, _)| appended)
    }

    fn stream(&mut self, room: &RoomName, stream: &StreamName, command: &Command, now: Now) -> Streamed {
        self.stream_noting(room, stream, command, now, &mut |_, _| {})
    }

    fn lapse(&mut self, now: Now) -> Vec<(RoomName, New)> {
        self.lapse_noting(now, &mut |_, _| {})
    }

    fn lapses_at(&self) -> Option<Instant> {
        self.lapses.first_at()
    }

    fn renew_leases(&mut self, now: Now) {
        self.renew_all(now);
    }

    fn open_streams(&self, room: &RoomName, sight: Sight) -> Vec<StreamView> {
        let streams = self.rooms.get(room).and_then(Room::streams).into_iter().flat_map(Streams::iter);
        streams.filter_map(|stream| stream.glance(sight)).collect()
    }

    fn view_stream(&self, room: &RoomName, stream: &StreamName, sight: Sight) -> Option<StreamView> {
        self.stream_of(room, stream)?.view(sight)
    }

    fn visit(&self, room: &RoomName, from: ReadFrom, visit: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>) {
        if let Some(room) = self.rooms.get(room) {
            room.visit(from, visit);
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

    fn expire(&mut self, now: Now) {
        let now = LogTime::of(now);
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
    use std::time::Duration;

    use moorline_proto::message::Message;

    fn append(log: &mut MemoryLog, room: &RoomName) {
        let message = Message::stored(br#"{"type":"m"}"#.to_vec().into());
        log.append(room, Draft { message, except: None, key: None }, Now::default()).unwrap();
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
            log.expire(Now { instant: Instant::since_start(Duration::from_secs(3_600)), ..Now::default() });
        }
        assert_eq!(log.stats(), LogStats::default());
        assert!(log.rooms.capacity() < 2_000 && log.idle.capacity() < 2_000);
    }
}
