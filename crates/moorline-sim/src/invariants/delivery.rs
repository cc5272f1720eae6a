//! What an application gets: every record once, in order, unless it is excluded; else a reset.

use std::collections::{BTreeMap, BTreeSet};

use moorline_proto::id::{RoomName, SessionId, UserId};
use moorline_proto::shard::ConnectionId;

use super::texts::Readings;
use super::{exclusion, membership};
use crate::truth::Truth;
use crate::written::Said;

/// Where an application stands in a room. What lies after `low` up to `high` may come or not: it was published while the
/// session began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// What lies up to here it has, or is not for it.
    pub low: u64,
    /// What lies beyond here it is owed.
    pub high: u64,
}

impl At {
    /// Where nothing is open.
    #[must_use]
    pub const fn exactly(offset: u64) -> Self {
        Self { low: offset, high: offset }
    }
}

/// What an application knows.
#[derive(Debug, Default)]
pub struct App {
    /// Its session.
    pub session: Option<SessionId>,
    /// Its user.
    pub user: Option<UserId>,
    /// Its rooms, and where it stands there.
    pub rooms: BTreeMap<RoomName, At>,
    /// Ephemeral messages that it had.
    pub ephemeral: BTreeSet<String>,
    /// Rooms whose membership ended, while it is open whether the application is told so; on which connection, and how often.
    pub unsure: BTreeMap<RoomName, (ConnectionId, u32)>,
    /// After which offsets a room may begin again on this connection: each once.
    pub replays: BTreeMap<RoomName, Vec<u64>>,
    /// Rooms that it asked to join at a position that they never had, or do not have any more: a join that is sent again is
    /// answered again.
    pub wild: BTreeSet<RoomName>,
    /// Where a room's head was when the application asked to join, by room; and how many answers are to come.
    pub asked: BTreeMap<RoomName, (u64, u32)>,
    /// What it has of streams.
    pub texts: Readings,
}

impl App {
    /// A record reached it. Returns what is wrong with that.
    pub fn message(&mut self, truth: &Truth, room: &RoomName, offset: u64, text: &str) -> Option<String> {
        let said = Said::read(text.as_bytes());
        if let Some(said) = said.as_ref().filter(|said| said.is_chunk()) {
            return self.chunk(truth, room, offset, said);
        }
        let whole = said.and_then(|said| self.stream_ended(truth, room, offset, &said));
        self.record(truth, room, offset, text).or(whole)
    }

    fn record(&mut self, truth: &Truth, room: &RoomName, offset: u64, text: &str) -> Option<String> {
        let session = self.session.clone()?;
        let user = self.user.as_ref();
        let Some(record) = truth.at(room, offset) else {
            return Some(format!("{session} got {offset} of {room}, which was never published"));
        };
        if record.envelope != text {
            return Some(format!("{session} got {text} as {offset} of {room}, not {}", record.envelope));
        }
        let wrong = exclusion::check(record, room, &session, user);
        if wrong.is_some() {
            return wrong;
        }
        let Some(at) = self.rooms.get_mut(room) else {
            return membership::check(false, room, &session);
        };
        let mut before = *at;
        *at = At::exactly(offset);
        if offset <= before.low
            && let Some(after) = take_before(self.replays.entry(room.clone()).or_default(), offset)
        {
            // What a replay brings again is lost where its connection ends: it was the application's before.
            before = At { low: after, high: u64::MAX };
        }
        if offset <= before.low {
            return Some(format!("{session} got {offset} of {room} and stood at {before:?}"));
        }
        let behind = (before.high, offset);
        let record = truth.owed(room, behind, &session, user).map(|record| record.to_string());
        let texts = if before.high == u64::MAX { before.high } else { self.texts.since(room, before.high) };
        self.texts.came_to_record(room);
        let missing = record.or_else(|| self.texts.owed(truth, room, (texts, offset), (&session, user)))?;
        if self.unsure.contains_key(room) {
            return None;
        }
        Some(format!("{session} in {room}: from {before:?} to {offset} without {missing}"))
    }

    /// A message that is not stored reached it. Returns what is wrong with that.
    pub fn ephemeral(&mut self, truth: &Truth, room: &RoomName, text: &str) -> Option<String> {
        let session = self.session.clone()?;
        let Some(record) = truth.ephemeral.get(text) else {
            return Some(format!("{session} got {text}, which was never said"));
        };
        let excluded = exclusion::check(record, room, &session, self.user.as_ref());
        let wrong = excluded.or_else(|| membership::check(self.rooms.contains_key(room), room, &session));
        if wrong.is_some() {
            return wrong;
        }
        let is_new = self.ephemeral.insert(text.to_owned());
        (!is_new).then(|| format!("{session} got {text} twice"))
    }

    /// A join is asked for; of two that overlap nobody knows which one is answered.
    pub fn ask(&mut self, room: &RoomName, head: u64) {
        match self.asked.get_mut(room) {
            Some((asked, times)) => (*asked, *times) = (0, *times + 1),
            // A member's join is told nothing of, or it is not known when it began.
            None if self.rooms.contains_key(room) => {}
            None => drop(self.asked.insert(room.clone(), (head, 1))),
        }
    }

    /// A membership ended; what is to be told of that is lost with the connection.
    pub fn ended(&mut self, room: &RoomName, connection: ConnectionId) {
        let times =
            self.unsure.get(room).filter(|unsure| unsure.0 == connection).map_or(0, |unsure| unsure.1);
        self.unsure.insert(room.clone(), (connection, times + 1));
    }

    /// The application is told that a membership began on this connection.
    pub fn sure(&mut self, room: &RoomName, connection: Option<ConnectionId>) {
        if self.unsure.get(room).is_some_and(|unsure| Some(unsure.0) != connection) {
            self.unsure.remove(room);
        }
    }

    /// The application is told that a membership ended: of several on one connection, the first.
    pub fn left(&mut self, room: &RoomName, connection: Option<ConnectionId>) {
        self.rooms.remove(room);
        self.texts.anew(room);
        match self.unsure.get_mut(room) {
            Some((unsure, times)) if Some(*unsure) == connection && *times > 1 => *times -= 1,
            _ => drop(self.unsure.remove(room)),
        }
    }

    /// A membership begins; the room has that head, and was forgotten up to there.
    pub fn joined(&mut self, (head, forgotten): (u64, u64), room: &RoomName, offset: u64) -> Option<String> {
        let (asked, times) = self.asked.remove(room).unwrap_or_default();
        if times > 1 {
            self.asked.insert(room.clone(), (0, times - 1));
        }
        self.replays.remove(room);
        self.texts.anew(room);
        self.rooms.insert(room.clone(), At::exactly(offset));
        (offset < asked && asked > forgotten || offset > head).then(|| {
            format!("{:?} joined {room} at {offset}, asked at {asked}, the head is {head}", self.session)
        })
    }
}

/// Takes the first replay that may bring this offset.
fn take_before(replays: &mut Vec<u64>, offset: u64) -> Option<u64> {
    let index = replays.iter().position(|after| *after < offset)?;
    Some(replays.remove(index))
}
