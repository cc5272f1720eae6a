//! Announced records to the members of a room. The hot path: no wake, allocation or lock per member.

use std::sync::Arc;

use super::portion::Portion;
use super::room::{Opening, Standing};
use super::send::{Lane, Taken};
use super::{Host, Input, RoomKey, SessionKey, Shard, Turn};
use crate::batch::{Batch, EncodedBatch, EncodedEphemeral};
use crate::position::Position;
use crate::record::Except;
use crate::time::Now;

/// A batch on its way to the live members.
#[derive(Debug)]
pub(super) struct FanOut {
    room: RoomKey,
    batch: Arc<EncodedBatch>,
    /// Where the room stood before.
    before: Position,
    /// How many of the live members have been served.
    served: usize,
    /// Members here that some record of the batch is not for, sorted.
    excluded: Vec<SessionKey>,
}

impl Shard {
    /// Whether it is announced to a room that is known here: its members get it with what waits for them, in one write.
    pub(super) fn joins_what_waits(&self, input: &Input) -> bool {
        // While members are being served, the sessions that end behind an input could take the room with them.
        let is_serving = self.current.is_some();
        !is_serving && matches!(input, Input::Batch(batch) if self.room_named(&batch.batch.room).is_some())
    }

    pub(super) fn announced(&mut self, batch: Arc<EncodedBatch>) {
        let name = &batch.batch.room;
        let Some(key) = self.room_named(name).or_else(|| self.first_record_of_an_own_room(&batch.batch))
        else {
            return;
        };
        let room = self.room_mut(key);
        if let Opening::Waiting(announced) = &mut room.opening {
            *announced = (*announced).max(batch.batch.last());
            return;
        }
        if room.run.is_empty() {
            self.queue.push_back(key);
        }
        self.room_mut(key).run.push(batch);
    }

    /// An own room becomes known here with its first record.
    fn first_record_of_an_own_room(&mut self, batch: &Batch) -> Option<RoomKey> {
        let owner = batch.room.owner()?;
        if self.owners(&owner).is_empty() {
            return None;
        }
        Some(self.open_room(&batch.room))
    }

    /// Hands announced records to up to `budget` members. Returns whether there is more to do.
    pub fn fan_out(&mut self, now: Now, budget: usize, host: &mut dyn Host) -> bool {
        self.serve_members(&mut Turn { now, host }, budget)
    }

    pub(super) fn serve_members(&mut self, turn: &mut Turn<'_>, budget: usize) -> bool {
        let Some(mut current) = self.current.take().or_else(|| self.next_fan_out()) else {
            return !self.queue.is_empty();
        };
        for _ in 0..budget {
            let Some(&key) = self.room(current.room).live.get(current.served) else {
                self.finish(current.room);
                return !self.queue.is_empty();
            };
            if self.serve(turn, key, &current) {
                current.served += 1;
            }
        }
        self.current = Some(current);
        true
    }

    /// Takes the next room's announcements as one batch; what lies behind a hole among them comes next.
    fn next_fan_out(&mut self) -> Option<FanOut> {
        let key = self.queue.pop_front()?;
        let mut run = std::mem::take(&mut self.rooms.get_mut(key.0 as usize)?.run);
        let behind = run.split_off(EncodedBatch::consecutive(&run));
        if !behind.is_empty() {
            self.room_mut(key).run = behind;
            self.queue.push_front(key);
        }
        let batch = match run.as_slice() {
            [one] => Arc::clone(one),
            several => {
                let joined = EncodedBatch::joined(several)?;
                Arc::new(if self.compresses { joined.made_of(run) } else { joined })
            }
        };
        self.begin_fan_out(key, batch)
    }

    fn begin_fan_out(&mut self, key: RoomKey, batch: Arc<EncodedBatch>) -> Option<FanOut> {
        let before = self.room(key).position;
        let same_epoch = batch.batch.epoch == before.epoch;
        if same_epoch && batch.batch.last() <= before.offset {
            self.read_on(key);
            return None;
        }
        if !same_epoch || batch.batch.after > before.offset {
            self.read_room(key);
            return None;
        }
        let overlaps = batch.batch.records.first().is_some_and(|record| record.offset <= before.offset);
        if overlaps && !batch.batch.reached.is_empty() {
            // Its chunks hold text from both sides of the position: what lies behind it is read alone.
            self.read_room(key);
            return None;
        }
        let batch = if overlaps { Arc::new(self.rest_of(&batch, before)) } else { batch };
        self.room_mut(key).position.offset = batch.batch.last();
        let mut excluded = Vec::new();
        for except in batch.batch.records.iter().filter_map(|record| record.except.as_deref()) {
            self.named_by(except, &mut excluded);
        }
        excluded.sort_unstable();
        excluded.dedup();
        Some(FanOut { room: key, batch, before, served: 0, excluded })
    }

    /// The part of a batch behind a position.
    fn rest_of(&self, batch: &EncodedBatch, position: Position) -> EncodedBatch {
        let batch = &batch.batch;
        let records =
            batch.records.iter().filter(|record| record.offset > position.offset).cloned().collect();
        let rest = Batch {
            room: batch.room.clone(),
            epoch: batch.epoch,
            after: position.offset,
            records,
            reached: Vec::new(),
        };
        EncodedBatch::new(rest, &self.config.framing)
    }

    /// The sessions here that `except` names.
    pub(super) fn named_by(&self, except: &Except, keys: &mut Vec<SessionKey>) {
        keys.extend(except.sessions.iter().filter_map(|id| self.session_named(id)));
        keys.extend(except.users.iter().flat_map(|user| self.sessions_of(user)));
    }

    /// Serves one live member. False where another one stands in its place now, because it had to be taken off the list.
    fn serve(&mut self, turn: &mut Turn<'_>, key: SessionKey, current: &FanOut) -> bool {
        if current.excluded.binary_search(&key).is_ok() {
            return self.serve_carefully(turn, key, current);
        }
        let frames = self.frames_for(turn, key, &current.batch);
        match self.offer(turn, key, frames.wire, frames.ends) {
            Taken::All => true,
            Taken::Some(records) => {
                let offset = match records.checked_sub(1) {
                    Some(last) => current.batch.batch.reach(last),
                    None => current.before.offset,
                };
                self.demote(key, current.room, Position { offset, ..current.before });
                false
            }
        }
    }

    /// Judges each record for a member that is excluded from some.
    fn serve_carefully(&mut self, turn: &mut Turn<'_>, key: SessionKey, current: &FanOut) -> bool {
        let frames = self.frames_for(turn, key, &current.batch);
        let reader = self.session(key).reader();
        let portion = Portion::of(&current.batch.batch, frames, current.before.offset, reader);
        if portion.is_empty() {
            if let Some(membership) = self.session_mut(key).membership_mut(current.room) {
                membership.skipped = true;
            }
            return true;
        }
        match self.offer(turn, key, &portion.wire, &portion.ends) {
            Taken::All => true,
            Taken::Some(records) => {
                let offset = portion.reached(records, current.before.offset);
                self.demote(key, current.room, Position { offset, ..current.before });
                false
            }
        }
    }

    /// All live members have the batch: readers that waited for it go on, and so does a shard that is behind.
    fn finish(&mut self, room: RoomKey) {
        self.read_on(room);
        for key in self.room(room).readers.clone() {
            self.advance(key);
        }
    }

    /// To who is connected and up to date, never stored.
    pub(super) fn ephemeral(&mut self, turn: &mut Turn<'_>, encoded: &EncodedEphemeral) {
        let ephemeral = &encoded.ephemeral;
        let members = match (self.room_named(&ephemeral.room), ephemeral.room.owner()) {
            (Some(key), _) => self.room(key).live.clone(),
            (None, Some(owner)) => self.owners(&owner),
            (None, None) => return,
        };
        let mut excluded = Vec::new();
        if let Some(except) = ephemeral.except.as_deref() {
            self.named_by(except, &mut excluded);
        }
        for key in members {
            let connected = self.session(key).connected.as_ref();
            let Some(connected) = connected.filter(|c| c.outbox.is_none() && c.is_greeted()) else {
                continue;
            };
            if !excluded.contains(&key) {
                let wire = match connected.coding {
                    None => &encoded.wire,
                    Some(coding) => encoded.coded(coding, &mut turn.compress(coding)),
                };
                self.delivered += 1;
                self.send(turn, key, Lane::Message, wire);
            }
        }
    }

    /// Whether a session is live in a room; for tests of the two roads.
    #[must_use]
    pub fn is_live(&self, session: SessionKey, room: &crate::id::RoomName) -> bool {
        let Some(room) = self.room_named(room) else { return false };
        let membership = self.sessions.get(session.0 as usize).and_then(|session| session.membership(room));
        membership.is_some_and(|membership| membership.standing == Standing::Live)
    }
}
