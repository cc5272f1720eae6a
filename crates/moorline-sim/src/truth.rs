//! What was really published, removed and ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moorline_broker::{Announcement, BrokerError, Published as Answer};
use moorline_proto::batch::Batch;
use moorline_proto::id::{RoomName, SessionId, UserId};
use moorline_proto::position::{Epoch, Offset};
use moorline_proto::record::{Except, Reader, Record};
use moorline_proto::resume::RoomState;
use moorline_proto::time::{Instant, Now, Timestamp};

use crate::invariants::answers::{self, Tries};
use crate::invariants::meaning::Meanings;
use crate::invariants::order;
use crate::written::{Said, Streams};

/// A record, or an ephemeral message.
#[derive(Clone, Debug)]
pub struct Published {
    /// Its number; 0 for an ephemeral one.
    pub offset: u64,
    /// As members get it.
    pub envelope: String,
    /// Who it is not for.
    pub except: Option<Arc<Except>>,
    /// Whether it is text of a stream: who reads it later gets it in larger pieces.
    pub is_text: bool,
}

impl Published {
    /// Whether a member gets it.
    #[must_use]
    pub fn is_for(&self, session: &SessionId, user: Option<&UserId>) -> bool {
        !self.except.as_ref().is_some_and(|except| except.names(Reader { session, user }))
    }
}

/// What is true.
#[derive(Debug, Default)]
pub struct Truth {
    /// Every record that was ever visible, in order.
    pub rooms: BTreeMap<RoomName, Vec<Published>>,
    /// Ephemeral messages, by their text.
    pub ephemeral: BTreeMap<String, Published>,
    /// Which numbers each sender has had stored, by room.
    pub numbers: BTreeMap<(String, RoomName), BTreeSet<u64>>,
    /// Up to where a room's entry was forgotten, with all that it had: nobody was owed it.
    pub forgotten: BTreeMap<RoomName, u64>,
    /// Sessions that ended.
    pub ended: BTreeSet<SessionId>,
    /// What was tried to be published, and what the answers were.
    pub tries: Tries,
    /// What was gone when the store was opened last, perhaps before anybody saw it.
    pub gone: BTreeMap<RoomName, u64>,
    /// What may have been kept by the last commit before a crash, and was gone when the store was opened again, so that nobody saw it: after
    /// which numbers of a room, up to which.
    unseen: BTreeMap<RoomName, Vec<(u64, u64)>>,
    /// The head of each room when the store was opened last: pieces of a stream's text that nobody saw have numbers too.
    heads: BTreeMap<RoomName, u64>,
    /// The highest cut that each room had before a restart: what is told of it may arrive later, and a wall clock that was set back may
    /// make what was too old young again.
    pub was_cut: BTreeMap<RoomName, u64>,
    /// The latest that the wall clock ever showed to who published.
    pub latest: Timestamp,
    /// What each position means.
    pub meanings: Meanings,
    /// The epochs before the present one, once for each restart.
    pub former_epochs: Vec<Epoch>,
    /// How often the node ended as it should not.
    pub unclean_ends: usize,
    /// Messages that clients were given.
    pub deliveries: u64,
    /// Resets that clients were told.
    pub resets: u64,
    /// Replays that clients asked for.
    pub replays: u64,
    /// What producers wrote.
    pub streams: Streams,
}

impl Truth {
    /// The last record that was visible in a room; 0 where there was none.
    #[must_use]
    pub fn head(&self, room: &RoomName) -> u64 {
        let last = self.last(room);
        // What the last commit before a crash kept may have been too old when the store was opened again: nobody saw it.
        let unseen = self.gone.get(room).copied().filter(|gone| *gone != u64::MAX);
        let kept = self.heads.get(room).copied().unwrap_or_default();
        last.max(unseen.unwrap_or_default()).max(kept)
    }

    fn last(&self, room: &RoomName) -> u64 {
        self.rooms.get(room).and_then(|records| records.last()).map_or(0, |last| last.offset)
    }

    fn is_unseen(&self, room: &RoomName, offset: u64) -> bool {
        let mut unseen = self.unseen.get(room).into_iter().flatten();
        unseen.any(|(after, up_to)| *after < offset && offset <= *up_to)
    }

    /// Up to where a room was forgotten.
    #[must_use]
    pub fn forgotten(&self, room: &RoomName) -> u64 {
        self.forgotten.get(room).copied().unwrap_or_default()
    }

    /// The record of that number.
    #[must_use]
    pub fn at(&self, room: &RoomName, offset: u64) -> Option<&Published> {
        let records = self.rooms.get(room)?;
        records.binary_search_by_key(&offset, |record| record.offset).ok().map(|index| &records[index])
    }

    /// Every room that something was published to.
    #[must_use]
    pub fn names(&self) -> BTreeSet<RoomName> {
        self.rooms.keys().chain(self.streams.rooms()).cloned().chain(self.tries.rooms()).collect()
    }

    /// The first record behind `after` and before `before` that is for the reader.
    #[must_use]
    pub fn owed(
        &self,
        room: &RoomName,
        (after, before): (u64, u64),
        session: &SessionId,
        user: Option<&UserId>,
    ) -> Option<u64> {
        let records = self.rooms.get(room)?;
        let after = after.max(self.forgotten(room));
        let start = records.partition_point(|record| record.offset <= after);
        let behind = records[start..].iter().take_while(|record| record.offset < before);
        let records = behind.filter(|record| !record.is_text);
        records.filter(|record| record.is_for(session, user)).map(|record| record.offset).next()
    }

    /// Something was announced. Returns what is wrong with it.
    pub fn announced(&mut self, announcement: &Announcement, now: Now) -> Vec<String> {
        match announcement {
            Announcement::Batch(batch) => self.batch(batch, now),
            Announcement::Ephemeral(ephemeral) => {
                let envelope = ephemeral.message.envelope(&ephemeral.room, None, ephemeral.timestamp);
                let envelope = String::from_utf8_lossy(&envelope).into_owned();
                let except = ephemeral.except.clone();
                self.ephemeral
                    .insert(envelope.clone(), Published { offset: 0, envelope, except, is_text: false });
                Vec::new()
            }
            Announcement::Cancel(_) | Announcement::Lost => Vec::new(),
        }
    }

    fn batch(&mut self, batch: &Batch, now: Now) -> Vec<String> {
        let Batch { room, epoch, after, records, .. } = batch;
        let head = self.head(room);
        if *after == Offset::START && head > 0 {
            self.forgotten.insert(room.clone(), head);
        }
        let mut found = Vec::new();
        if *after > Offset::START && after.0 != head {
            found.push(format!("{room} is announced after {} and its head is {head}", after.0));
        }
        for record in records {
            if record.timestamp > self.latest.max(now.timestamp) {
                found.push(format!("{room} has {record:?}, which is of the future"));
            }
            found.extend(self.appeared(room, *epoch, record, Some(now.instant)));
        }
        found
    }

    /// A record is visible for the first time; since this moment, where that is known.
    fn appeared(
        &mut self,
        room: &RoomName,
        epoch: Epoch,
        record: &Record,
        now: Option<Instant>,
    ) -> Vec<String> {
        let offset = record.offset.0;
        let said = Said::read(record.message.as_bytes());
        let number = number_of(said.as_ref(), record);
        let mut found = Vec::from_iter(self.meanings.is(room, (epoch, offset), number));
        if offset <= self.head(room) {
            found.push(format!("{room} has a new {offset} behind {}", self.head(room)));
            return found;
        }
        let is_text = said.as_ref().is_some_and(Said::is_chunk);
        match said {
            Some(said) => found.extend(self.streams.shown((room, &said), record, now)),
            None => found.extend(self.was_tried(room, number, record)),
        }
        let envelope = record.message.envelope(room, Some(record.offset), record.timestamp);
        let envelope = String::from_utf8_lossy(&envelope).into_owned();
        let published = Published { offset, envelope, except: record.except.clone(), is_text };
        // A room that was forgotten takes numbers beyond all that it had.
        for (_, up_to) in self.unseen.entry(room.clone()).or_default() {
            *up_to = offset.saturating_sub(1).min(*up_to);
        }
        self.rooms.entry(room.clone()).or_default().push(published);
        found
    }

    fn was_tried(&mut self, room: &RoomName, number: u64, record: &Record) -> Option<String> {
        match self.tries.appeared(room, number, record) {
            Ok((sender, has_order)) => {
                let numbers = self.numbers.entry((sender.clone(), room.clone())).or_default();
                let found = order::publishers_order(numbers, (number, has_order), room, &sender);
                numbers.insert(number);
                found
            }
            Err(problem) => Some(problem),
        }
    }

    /// A publish was answered. Returns what is wrong with the answer.
    pub fn answered(
        &mut self,
        room: &RoomName,
        (number, sender): (u64, &str),
        answer: Result<Answer, BrokerError>,
    ) -> Vec<String> {
        let mut found = Vec::new();
        if let Ok(Answer::Stored { position, .. }) = answer {
            found.extend(self.meanings.is(room, (position.epoch, position.offset.0), number));
        }
        let at = |offset| match self.at(room, offset) {
            Some(record) => Some(answers::number_of(record.envelope.as_bytes())),
            // Its id is known for longer than it was kept.
            None if self.is_unseen(room, offset) => Some(number),
            None => None,
        };
        found.extend(answers::wrong(room, number, answer, at));
        self.tries.answered(room, number, sender, answer);
        found
    }

    /// A store was opened again and has these records. Returns what is wrong with them. The room was forgotten
    /// `up_to` there before, and perhaps begun anew by what was published last: then nothing is cut, and its former records are gone.
    pub fn reopened(
        &mut self,
        (room, up_to): (&RoomName, u64),
        state: &RoomState,
        records: &[Record],
        now: Instant,
    ) -> Vec<String> {
        let gone = if state.head == Offset::START { u64::MAX } else { state.cut.0 };
        let mut found = self.streams.reopened(room, records, (state.head.0, gone, now));
        if let Some(first) = records.first().filter(|_| state.cut == Offset::START) {
            let before = up_to.min(first.offset.0.saturating_sub(1));
            let forgotten = self.forgotten.entry(room.clone()).or_default();
            *forgotten = before.max(*forgotten);
        }
        self.gone.insert(room.clone(), gone);
        let last = self.last(room);
        if gone > last {
            self.unseen.entry(room.clone()).or_default().push((last, gone));
        }
        if state.head == Offset::START {
            self.forgotten.insert(room.clone(), self.head(room));
            return found;
        }
        let is_record = |record: &&Record| !is_text(record);
        for record in records.iter().filter(is_record) {
            match self.at(room, record.offset.0) {
                None => found.extend(self.appeared(room, state.epoch, record, None)),
                Some(known) => {
                    let envelope = record.message.envelope(room, Some(record.offset), record.timestamp);
                    if known.envelope.as_bytes() != &envelope[..] || known.except != record.except {
                        found.push(format!("{room} has {record:?} after a restart, and had {known:?}"));
                    }
                    let number = number_of(Said::read(record.message.as_bytes()).as_ref(), record);
                    found.extend(self.meanings.is(room, (state.epoch, record.offset.0), number));
                }
            }
        }
        let kept: BTreeSet<u64> = records.iter().map(|record| record.offset.0).collect();
        let after = state.cut.0.max(self.forgotten(room));
        let records = self.rooms.get(room).into_iter().flatten();
        let gone = records.filter(|record| !record.is_text).map(|record| record.offset);
        let gone = gone.filter(|offset| *offset > after && !kept.contains(offset));
        found.extend(gone.map(|offset| format!("{offset} of {room} is gone after a restart")));
        self.heads.insert(room.clone(), state.head.0);
        found
    }
}

fn is_text(record: &Record) -> bool {
    Said::read(record.message.as_bytes()).is_some_and(|said| said.is_chunk())
}

/// What tells a message from every other one.
fn number_of(said: Option<&Said>, record: &Record) -> u64 {
    said.map_or_else(|| answers::number_of(record.message.as_bytes()), Said::number)
}
