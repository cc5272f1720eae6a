//! What happens by itself: pings, death, stalls, expiry; and how a connection ends.

use std::sync::Arc;
use std::time::Duration;

use super::room::Standing;
use super::send::Lane;
use super::session::Connected;
use super::{Event, Host, Output, Peer, RoomKey, SessionKey, Shard, Turn};
use crate::close::CloseCode;
use crate::frame::ServerFrame;
use crate::heartbeat::Action;
use crate::time::{Instant, Now};

impl Shard {
    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now, host: &mut dyn Host) {
        let turn = &mut Turn { now, host };
        while self.serve_members(turn, usize::MAX) {}
        self.retry(now);
        let mut due = Vec::new();
        self.wheel.expire(turn.now.instant, &mut due);
        for key in due {
            let key = SessionKey(key);
            if self.sessions.contains(key.0 as usize) {
                self.timeout(turn, key);
            }
        }
        self.end_outlived(turn);
    }

    fn timeout(&mut self, turn: &mut Turn<'_>, key: SessionKey) {
        if self.session(key).flush_at.is_some_and(|at| at <= turn.now.instant) {
            self.save(key);
        }
        if self.session(key).connected.is_none() {
            let end = self.session(key).absent_until;
            return if turn.now.instant >= end { self.end(turn, key) } else { self.reschedule(key) };
        }
        if let Some(until) = self.greeted_until(key) {
            return if turn.now.instant >= until { self.not_kept(turn, key) } else { self.reschedule(key) };
        }
        if self.expire_access(turn, key) {
            return;
        }
        if self.stalls_at(key).is_some_and(|at| at <= turn.now.instant) {
            return self.too_slow(turn, key);
        }
        self.beat(turn, key);
    }

    /// Pings a peer, or gives it up.
    fn beat(&mut self, turn: &mut Turn<'_>, key: SessionKey) {
        let policy = self.config.heartbeat;
        let Some(connected) = &mut self.session_mut(key).connected else { return };
        match connected.heartbeat.due(turn.now.instant, &policy) {
            Action::Wait => {}
            Action::Ping => {
                let ping = Arc::clone(&self.ping);
                self.send(turn, key, Lane::Control, &ping);
                self.tell_progress(turn, key);
            }
            Action::Dead => {
                let session = self.session(key);
                let event = Event::Dead { session: session.id().clone(), user: session.user().cloned() };
                self.outputs.push_back(Output::Event(event));
                return self.close(turn, key, CloseCode::GoingAway.number(), "no sign of life");
            }
        }
        self.reschedule(key);
    }

    /// Tells a client of progress without anything for it, so that it need not be replayed past it.
    fn tell_progress(&mut self, turn: &mut Turn<'_>, key: SessionKey) {
        let skipped: Vec<RoomKey> = self
            .session_mut(key)
            .memberships
            .iter_mut()
            .filter_map(|membership| std::mem::take(&mut membership.skipped).then_some(membership.room))
            .collect();
        for room in skipped {
            if let Some(position) = self.standpoint(key, room) {
                let room = self.room(room).name.clone();
                self.send_frame(turn, key, &ServerFrame::Position { room, position });
            }
        }
    }

    pub(super) fn alive(&mut self, now: Now, peer: Peer) {
        if let Some(key) = self.resolve(peer) {
            self.ponged(now, key);
        }
    }

    /// An answer to a ping.
    pub(super) fn ponged(&mut self, now: Now, key: SessionKey) {
        let session = self.session_mut(key);
        session.last_activity = now.instant;
        if let Some(connected) = &mut session.connected {
            connected.heartbeat.ponged(now.instant);
        }
    }

    pub(super) fn transport_ping(&mut self, turn: &mut Turn<'_>, peer: Peer, payload: &[u8]) {
        let Some(key) = self.resolve(peer) else { return };
        self.session_mut(key).seen(turn.now);
        let mut pong = Vec::new();
        (self.config.framing.pong)(&mut pong, payload);
        self.send(turn, key, Lane::Control, &pong);
    }

    /// The socket takes bytes again.
    pub(super) fn writable(&mut self, turn: &mut Turn<'_>, peer: Peer) {
        let Some(key) = self.resolve(peer) else { return };
        let Some(connected) = &mut self.session_mut(key).connected else { return };
        let Some(outbox) = &mut connected.outbox else { return };
        while !outbox.is_empty() {
            let offered = outbox.next().len();
            let written = turn.host.write(key, outbox.next());
            outbox.took(written, turn.now.instant);
            if written < offered {
                break;
            }
        }
        if outbox.is_empty() {
            connected.outbox = None;
            self.advance(key);
        } else {
            self.outputs.push_back(Output::AwaitWritable(peer));
        }
        self.reschedule(key);
    }

    pub(super) fn too_slow(&mut self, turn: &mut Turn<'_>, key: SessionKey) {
        self.close(turn, key, CloseCode::TryLater.number(), "too slow");
    }

    fn stalls_at(&self, key: SessionKey) -> Option<Instant> {
        let outbox = self.session(key).connected.as_ref()?.outbox.as_ref()?;
        Some(outbox.progress_at() + self.config.stall_timeout)
    }

    /// Puts a session's next deadline on the wheel.
    pub(super) fn reschedule(&mut self, key: SessionKey) {
        let session = self.session(key);
        let next = match &session.connected {
            None => session.absent_until,
            Some(Connected { greeting: Some(greeting), .. }) if greeting.first.is_some() => greeting.until,
            Some(connected) => {
                let beat = connected.heartbeat.next(&self.config.heartbeat);
                connected.greeting.as_ref().map_or(beat, |greeting| greeting.until.min(beat))
            }
        };
        let expiry = session.connected.as_ref().filter(|c| c.is_greeted());
        let expiry = expiry.and_then(|connected| connected.access.as_ref()?.next());
        let next = [Some(next), self.stalls_at(key), session.flush_at, expiry].into_iter().flatten().min();
        if let Some(next) = next {
            self.wheel.schedule(key.0, next);
        }
    }

    /// The session that a peer speaks for, if the connection is still the session's.
    pub(super) fn resolve(&self, peer: Peer) -> Option<SessionKey> {
        let session = self.sessions.get(peer.session.0 as usize)?;
        let connected = session.connected.as_ref()?;
        (connected.id == peer.connection).then_some(peer.session)
    }

    pub(super) fn lost(&mut self, turn: &mut Turn<'_>, peer: Peer, why: Option<(u16, &'static str)>) {
        let Some(key) = self.resolve(peer) else { return };
        self.drop_connection(turn, key, why);
        self.go_absent(turn, key);
    }

    /// Closes a session's connection; the session becomes absent.
    pub(super) fn close(&mut self, turn: &mut Turn<'_>, key: SessionKey, code: u16, reason: &str) {
        self.drop_connection(turn, key, Some((code, reason)));
        self.go_absent(turn, key);
    }

    /// Takes a session's connection from it, with a close frame where one is due: it overtakes the messages that wait, which
    /// come again where the session goes on.
    pub(super) fn drop_connection(
        &mut self,
        turn: &mut Turn<'_>,
        key: SessionKey,
        close: Option<(u16, &str)>,
    ) {
        let end = turn.now.instant + self.config.session_lifetime;
        let session = self.session_mut(key);
        let Some(peer) = session.peer(key) else { return };
        let Some(connected) = session.connected.take() else { return };
        session.absent_until = end;
        let mut rest = connected.outbox.map_or_else(Vec::new, |outbox| outbox.last_words());
        if let Some((code, reason)) = close {
            (self.config.framing.close)(&mut rest, code, reason);
        } else {
            rest.clear();
        }
        self.connected -= 1;
        self.outputs.push_back(Output::Close { peer, rest });
        let session = self.session(key);
        let (id, user) = (session.id().clone(), session.user().cloned());
        let code = close.map(|(code, _)| code);
        self.outputs.push_back(Output::Event(Event::Disconnected { session: id, user, code }));
        self.stand_down(key);
    }

    fn stand_down(&mut self, key: SessionKey) {
        let rooms: Vec<RoomKey> =
            self.session(key).memberships.iter().map(|membership| membership.room).collect();
        for room in rooms {
            self.stand(key, room, Standing::Absent);
            if let Some(membership) = self.session_mut(key).membership_mut(room) {
                membership.sent = crate::position::Offset::START;
                membership.skipped = false;
            }
        }
    }

    /// Sends every connection away, told to come back at times spread evenly.
    pub(super) fn drain(&mut self, turn: &mut Turn<'_>, spread: Duration) {
        self.draining = true;
        let keys: Vec<SessionKey> = self.session_keys().collect();
        let connected: Vec<SessionKey> =
            keys.into_iter().filter(|&key| self.session(key).connected.is_some()).collect();
        let count = connected.len().max(1);
        for (index, key) in connected.into_iter().enumerate() {
            // The middle of its share, so that a lone client too leaves the next process a moment to start.
            let share = spread.mul_f64((index as f64 + 0.5) / count as f64);
            let reconnect_in_ms = u64::try_from(share.as_millis()).unwrap_or(u64::MAX);
            self.send_frame(turn, key, &ServerFrame::Closing { reconnect_in_ms, reason: "drain" });
            self.close(turn, key, CloseCode::GoingAway.number(), "going away");
        }
    }
}
