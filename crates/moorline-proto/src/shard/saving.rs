//! What is kept of a session, when, and what becomes of it where that fails.

use std::sync::Arc;
use std::time::Duration;

use super::room::Standing;
use super::session::{Connected, Greeting, Membership, Resumed};
use super::{Event, Output, Peer, RoomKey, SaveError, SessionKey, Shard, Turn};
use crate::close::CloseCode;
use crate::frame::ServerFrame;
use crate::id::SessionId;
use crate::session_record::Mark;
use crate::time::{Instant, Now};

/// When acknowledgements are handed to the store. A crash may forget the last second's: up to half a second of that is the wheel's, and the
/// commit takes its time too.
const FLUSH_WITHIN: Duration = Duration::from_millis(400);

impl Shard {
    pub(super) fn flush_soon(&mut self, now: Now, key: SessionKey) {
        let session = self.session_mut(key);
        if session.flush_at.is_none() {
            session.flush_at = Some(now.instant + FLUSH_WITHIN);
            self.reschedule(key);
        }
    }

    /// From now on a connection is told nothing but messages until its session is kept: what it joins and leaves must hold
    /// when it hears of it.
    pub(super) fn hold_back(&mut self, now: Now, key: SessionKey) {
        let until = now.instant + self.config.save_timeout;
        let Some(connected) = &mut self.session_mut(key).connected else { return };
        if connected.greeting.is_none() {
            connected.greeting = Some(Box::new(Greeting { until, ..Greeting::default() }));
            self.reschedule(key);
        }
    }

    /// Has a session's record kept. A connection that is held back, as it is until it was greeted, waits for that.
    pub(super) fn save(&mut self, key: SessionKey) {
        let marks = self.marks(key);
        let session = self.session_mut(key);
        session.flush_at = None;
        Arc::make_mut(&mut session.record).rooms = marks;
        let (record, fence) = (Arc::clone(&session.record), session.fence);
        let held = session.connected.as_mut().and_then(|connected| connected.greeting.as_mut());
        let waits = held.map(|greeting| greeting.saves += 1).is_some();
        let waiting = session.peer(key).filter(|_| waits);
        self.outputs.push_back(Output::Save { record, fence, waiting });
    }

    /// How far a session has acknowledged each of its rooms.
    pub(super) fn marks(&self, key: SessionKey) -> Vec<Mark> {
        // One whose survey is still out stands nowhere yet.
        let known = self.session(key).memberships.iter().filter(|m| m.is_settled());
        // As long as its session it is kept, so it takes no more room than it needs.
        let mut marks = Vec::with_capacity(known.clone().count());
        marks.extend(known.map(|m: &Membership| {
            let room = self.room(m.room).name.clone();
            Mark { room, acked: m.acked(), begin: m.begin, is_added: m.is_added }
        }));
        marks
    }

    /// A save was answered: a connection that waited for it is greeted, or sent away.
    pub(super) fn saved(
        &mut self,
        turn: &mut Turn<'_>,
        (id, fence): (&SessionId, u64),
        waiting: Option<Peer>,
        result: &Result<(), SaveError>,
    ) {
        let Some(key) = self.session_named(id) else { return };
        let waits = waiting.is_some_and(|peer| self.resolve(peer) == Some(key));
        match result {
            Ok(()) if waits => self.kept(turn, key),
            Ok(()) => {}
            // It was kept under a claim of ours that a newer one of ours outdated.
            Err(SaveError::Fenced) if fence < self.session(key).fence => self.save(key),
            Err(SaveError::Fenced) if self.is_being_claimed(id) => self.flush_soon(turn.now, key),
            Err(SaveError::Fenced) => self.taken_elsewhere(turn, key),
            Err(SaveError::Rejected(_)) if waits && self.greeted_until(key).is_some() => {
                self.not_kept(turn, key);
            }
            Err(SaveError::Rejected(_)) => self.flush_soon(turn.now, key),
        }
    }

    /// By when a connection that waits for its session to be kept must be greeted.
    pub(super) fn greeted_until(&self, key: SessionKey) -> Option<Instant> {
        Some(self.session(key).connected.as_ref()?.greeting.as_ref()?.until)
    }

    /// A connection whose session could not be kept goes, and may try again: what it was not told is not missed.
    pub(super) fn not_kept(&mut self, turn: &mut Turn<'_>, key: SessionKey) {
        const WHY: (CloseCode, &str) = (CloseCode::TryLater, "the session could not be kept");
        let session = self.session(key);
        let was_greeted = session.connected.as_ref().is_some_and(Connected::is_greeted);
        if !was_greeted && session.record.reconnections == 0 {
            // It never came to be: nobody knows of it, so nothing is missed, and strangers do not fill the memory with such.
            return self.end_now(turn, key, WHY);
        }
        self.close(turn, key, WHY.0.number(), WHY.1);
    }

    /// Another node has the session now: it is let go of here, and its record is not ours to remove.
    fn taken_elsewhere(&mut self, turn: &mut Turn<'_>, key: SessionKey) {
        if self.session(key).connected.is_some() {
            let why = (CloseCode::Replaced.number(), "replaced by a newer connection");
            self.drop_connection(turn, key, Some(why));
            if let Some(user) = self.session(key).user().cloned() {
                turn.host.with_users(&mut |users| users.close(&user));
            }
        }
        self.forget(turn, key);
    }

    /// The session is safely kept: its connection is told what waited for that.
    fn kept(&mut self, turn: &mut Turn<'_>, key: SessionKey) {
        let Some(connected) = &mut self.session_mut(key).connected else { return };
        let Some(greeting) = &mut connected.greeting else { return };
        greeting.saves = greeting.saves.saturating_sub(1);
        if greeting.saves > 0 {
            return;
        }
        let Some(greeting) = connected.greeting.take() else { return };
        match greeting.first {
            Some(resumed) => self.greet(turn, key, resumed, &greeting.frames),
            None => {
                greeting.frames.iter().for_each(|frame| self.send_frame(turn, key, frame));
                self.reschedule(key);
                self.advance(key);
            }
        }
    }

    /// A connection is told that it is established, and gets what it missed.
    fn greet(
        &mut self,
        turn: &mut Turn<'_>,
        key: SessionKey,
        Resumed(resumed): Resumed,
        frames: &[ServerFrame],
    ) {
        self.outputs.extend(self.session(key).peer(key).map(Output::Established));
        self.send_greeting(turn, key, frames);
        let (id, user) = (self.session(key).id().clone(), self.session(key).user().cloned());
        self.outputs.push_back(Output::Event(Event::Connected { session: id, user, resumed }));
        let joined: Vec<RoomKey> =
            self.session(key).memberships.iter().map(|membership| membership.room).collect();
        for room in joined {
            let is_settled = self.session(key).membership(room).is_some_and(Membership::is_settled);
            self.stand(key, room, if is_settled { Standing::Reading } else { Standing::Joining });
        }
        self.reschedule(key);
        self.advance(key);
    }
}
