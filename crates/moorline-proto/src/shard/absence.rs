//! Sessions without a connection: how long they wait, what they may cost together, and how they end.

use std::sync::Arc;

use super::{Event, Output, RoomKey, SessionKey, Shard, Turn};

/// What an absent session is reckoned to cost with its record and its places in tables.
const SESSION_BYTES: usize = 1024;
/// What each of its rooms is reckoned to cost, where nobody else is in it.
const MEMBERSHIP_BYTES: usize = 800;

impl Shard {
    /// A session without a connection waits for its next one, as long as its lifetime.
    pub(super) fn go_absent(&mut self, turn: &mut Turn<'_>, key: SessionKey) {
        let session = self.session_mut(key);
        Arc::make_mut(&mut session.record).disconnected_at = Some(turn.now.timestamp);
        let (id, user) = (session.id().clone(), session.user().cloned());
        if let Some(user) = user {
            let mut expired = None;
            let now = turn.now.timestamp;
            turn.host.with_users(&mut |users| expired = users.leave(&user, &id, now));
            self.outputs.extend(expired.map(Output::Expire));
        }
        self.save(key);
        self.reschedule(key);
        if self.config.session_lifetime.is_zero() {
            self.ended.push(key);
        }
        self.count_absent(key);
    }

    /// Counts what an absent session costs. Where all of them cost too much, those that are away longest end.
    pub(super) fn count_absent(&mut self, key: SessionKey) {
        let absence = self.tickets;
        self.tickets = self.tickets.wrapping_add(1);
        let session = self.session_mut(key);
        let metadata = session.record.metadata.as_ref().map_or(0, |metadata| metadata.len());
        session.absence = absence;
        session.absent_bytes = SESSION_BYTES + MEMBERSHIP_BYTES * session.memberships.len() + metadata;
        self.absent_bytes += session.absent_bytes;
        self.absent.push_back((key, absence));
        while self.absent_bytes > self.config.absent_max_bytes {
            let Some((oldest, absence)) = self.absent.pop_front() else { return };
            if self.is_away(oldest, absence) {
                self.no_longer_absent(oldest);
                self.ended.push(oldest);
            }
        }
        self.drop_returned();
    }

    /// A session that comes back, or ends, costs nothing as an absent one any more.
    pub(super) fn no_longer_absent(&mut self, key: SessionKey) {
        self.absent_bytes -= std::mem::take(&mut self.session_mut(key).absent_bytes);
    }

    fn is_away(&self, key: SessionKey, absence: u32) -> bool {
        let session = self.sessions.get(key.0 as usize);
        session.is_some_and(|session| session.absent_bytes > 0 && session.absence == absence)
    }

    /// Takes those that came back off the queue, rarely enough that it costs nothing.
    fn drop_returned(&mut self) {
        let away = self.sessions.len() - self.connected;
        if self.absent.len() > 2 * away + 64 {
            let mut absent = std::mem::take(&mut self.absent);
            absent.retain(|&(key, absence)| self.is_away(key, absence));
            self.absent = absent;
        }
    }

    /// Ends sessions that do not outlive their connections, once nothing works with them any more.
    pub(super) fn end_outlived(&mut self, turn: &mut Turn<'_>) {
        for key in std::mem::take(&mut self.ended) {
            if self.sessions.get(key.0 as usize).is_some_and(|session| session.connected.is_none()) {
                self.end(turn, key);
            }
        }
    }

    /// Ends an absent session: nothing of it stays.
    pub(super) fn end(&mut self, turn: &mut Turn<'_>, key: SessionKey) {
        let (id, fence) = (self.session(key).id().clone(), self.session(key).fence);
        self.forget(turn, key);
        self.outputs.push_back(Output::Remove(id.clone(), fence));
        self.outputs.push_back(Output::Event(Event::Ended { session: id }));
    }

    /// Takes an absent session out of the shard's tables.
    pub(super) fn forget(&mut self, turn: &mut Turn<'_>, key: SessionKey) {
        self.wheel.cancel(key.0);
        self.no_longer_absent(key);
        let rooms: Vec<RoomKey> =
            self.session(key).memberships.iter().map(|membership| membership.room).collect();
        for room in rooms {
            self.exit(key, room);
        }
        self.unindex_session(key);
        let session = self.sessions.remove(key.0 as usize);
        let id = session.id().clone();
        if let Some(user) = session.user() {
            turn.host.with_users(&mut |users| users.forget(user, &id));
        }
    }
}
