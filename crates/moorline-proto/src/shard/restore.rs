//! Sessions that outlived a process, or a shard's knowledge of them: back in its tables, with their places in rooms.

use std::sync::Arc;
use std::time::Duration;

use super::membership::lazy_rooms;
use super::{Event, Output, RoomKey, SessionKey, Shard, Turn};
use crate::position::{Offset, Position};
use crate::session_record::{Mark, SessionRecord};
use crate::time::Now;

impl Shard {
    /// A session that a store kept becomes an absent one of this shard, as if it had disconnected when its record says; one
    /// that was connected until the end is absent since now. One that is over its lifetime ends.
    pub(super) fn restore(&mut self, turn: &mut Turn<'_>, record: &Arc<SessionRecord>, fence: u64) {
        if self.session_named(&record.id).is_some() {
            return;
        }
        let now = turn.now;
        let (id, user, since) = (record.id.clone(), record.user.clone(), record.disconnected_at);
        // A wall clock that was set back does not prolong a life.
        let away = since.map_or(0, |since| now.timestamp.0.saturating_sub(since.0));
        let left = self.config.session_lifetime.saturating_sub(Duration::from_millis(away));
        if left.is_zero() {
            self.outputs.push_back(Output::Remove(id.clone(), fence));
            return self.outputs.push_back(Output::Event(Event::Ended { session: id }));
        }
        let key = self.revive(record, fence, now);
        self.session_mut(key).absent_until = now.instant + left;
        if since.is_none() {
            Arc::make_mut(&mut self.session_mut(key).record).disconnected_at = Some(now.timestamp);
            self.save(key);
        }
        if let Some(user) = user {
            let mut expired = None;
            let since = since.unwrap_or(now.timestamp);
            turn.host.with_users(&mut |users| expired = users.restore(&user, &id, since));
            self.outputs.extend(expired.map(Output::Expire));
        }
        self.reschedule(key);
        self.count_absent(key);
        self.enter_unmarked(key);
    }

    /// Puts a session that was kept into the shard's tables, and into its rooms where it acknowledged them. Those positions
    /// may be of former histories: how it goes on from there is decided when it comes back.
    pub(super) fn revive(&mut self, record: &Arc<SessionRecord>, fence: u64, now: Now) -> SessionKey {
        let key = self.insert(Arc::clone(record), fence, record.own_rooms, now);
        for mark in &record.rooms {
            let room = self.open_room(&mark.room);
            self.enter(key, room, mark.acked);
            self.mark(key, room, mark);
        }
        key
    }

    fn mark(&mut self, key: SessionKey, room: RoomKey, mark: &Mark) {
        if let Some(membership) = self.session_mut(key).membership_mut(room) {
            membership.is_added = mark.is_added;
            membership.begin = mark.begin;
            membership.acked = mark.acked.offset;
        }
    }

    /// An own room without a mark had no record when the session was kept last: it begins at that room's start, if it has
    /// records by now. One that has none is closed again once that is known.
    pub(super) fn enter_unmarked(&mut self, key: SessionKey) {
        let session = self.session(key);
        if !session.own_rooms {
            return;
        }
        let record = Arc::clone(&session.record);
        for name in lazy_rooms(&record.id, record.user.as_ref()) {
            let room = self.open_room(&name);
            if self.session(key).membership(room).is_none() {
                let known = if self.room(room).is_open() { room } else { self.everyone };
                let epoch = self.room(known).position.epoch;
                self.enter(key, room, Position { epoch, offset: Offset::START });
            }
        }
    }
}
