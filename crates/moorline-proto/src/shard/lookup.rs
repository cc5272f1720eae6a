//! Look-ups (requirements R4, R5, R20, R31). None changes anything. Their answers are bounded by what they are asked for;
//! lists look at every session, or room, of the shard once.

use serde::Serialize;
use serde_json::value::RawValue;

use super::room::Standing;
use super::{SessionKey, Shard};
use crate::frame::PresentSession;
use crate::id::{RoomName, SessionId, UserId};
use crate::record::Except;
use crate::time::{Now, Timestamp};

/// A session as it is shown (spec/protocol.md, section 8).
#[derive(Clone, Debug, Serialize)]
pub struct SessionView {
    /// Its id.
    pub session: SessionId,
    /// Its user.
    pub user: Option<UserId>,
    /// Whether it has a connection.
    pub connected: bool,
    /// When that, or the last one, began.
    pub connected_at: Timestamp,
    /// When the last one ended.
    pub disconnected_at: Option<Timestamp>,
    /// When anything was received last.
    pub last_activity: Timestamp,
    /// The last sign that answered a ping, or the connect.
    pub last_heartbeat: Timestamp,
    /// How many times it was resumed.
    pub reconnection_count: u32,
    /// Its named rooms, sorted.
    pub rooms: Vec<RoomName>,
    /// The application's metadata.
    pub metadata: Box<RawValue>,
    /// Its connection's health.
    pub liveness: Liveness,
}

/// A connection's health (R20).
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Liveness {
    /// Whether there is a connection that was not declared dead.
    pub alive: bool,
    /// When it was pinged last.
    pub last_ping: Option<Timestamp>,
    /// When it answered last.
    pub last_pong: Option<Timestamp>,
    /// How long that answer took, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Pings since the last sign of life.
    pub missed: u32,
}

/// Which sessions to list.
#[derive(Clone, Debug, Default)]
pub struct SessionFilter {
    /// Only this user's.
    pub user: Option<UserId>,
    /// Only this room's members.
    pub room: Option<RoomName>,
    /// Only those with a connection.
    pub connected: bool,
    /// Only those whose id is behind this one.
    pub cursor: Option<SessionId>,
    /// At most this many; [`SessionFilter::MAX`] is the most there may be.
    pub limit: usize,
}

impl SessionFilter {
    /// How many sessions, rooms or messages one page has at most.
    pub const MAX: usize = 1_000;
}

/// How many members of a room a record is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// Connected ones.
    pub reached: u64,
    /// Absent ones.
    pub queued: u64,
}

/// A room's members on one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomView {
    /// Its name.
    pub room: RoomName,
    /// Connected members.
    pub connected: usize,
    /// Absent ones.
    pub absent: usize,
}

/// How much a shard holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardCounts {
    /// Sessions with a connection.
    pub connected: usize,
    /// Sessions without.
    pub absent: usize,
}

impl Shard {
    /// One session.
    #[must_use]
    pub fn view(&self, now: Now, id: &SessionId) -> Option<SessionView> {
        self.session_named(id).map(|key| self.show(now, key))
    }

    /// The sessions that a filter means: the first `limit`, sorted by id.
    #[must_use]
    pub fn views(&self, now: Now, filter: &SessionFilter, limit: usize) -> Vec<SessionView> {
        let mut keys: Vec<SessionKey> = match &filter.user {
            Some(user) => self.sessions_of(user).collect(),
            None => self.session_keys().collect(),
        };
        let room = filter.room.as_ref().map(|room| self.room_named(room));
        keys.retain(|&key| {
            let session = self.session(key);
            filter.cursor.as_ref().is_none_or(|cursor| session.id() > cursor)
                && (!filter.connected || session.connected.is_some())
                && room.is_none_or(|room| room.is_some_and(|room| session.membership(room).is_some()))
        });
        keys.sort_unstable_by(|&a, &b| self.session(a).id().cmp(self.session(b).id()));
        keys.truncate(limit);
        keys.into_iter().map(|key| self.show(now, key)).collect()
    }

    fn show(&self, now: Now, key: SessionKey) -> SessionView {
        let session = self.session(key);
        let record = &session.record;
        let mut rooms: Vec<RoomName> = session
            .memberships
            .iter()
            .map(|m| self.room(m.room).name.clone())
            .filter(|room| !room.is_own())
            .collect();
        rooms.sort_unstable();
        let metadata = record.metadata.as_deref().unwrap_or("{}");
        let heartbeat = session.connected.as_ref().map(|connected| connected.heartbeat);
        let last_pong = heartbeat.and_then(|heartbeat| heartbeat.last_pong()).map(|at| now.timestamp_of(at));
        SessionView {
            session: record.id.clone(),
            user: record.user.clone(),
            connected: heartbeat.is_some(),
            connected_at: record.connected_at,
            disconnected_at: record.disconnected_at,
            last_activity: now.timestamp_of(session.last_activity),
            last_heartbeat: last_pong.unwrap_or(record.connected_at),
            reconnection_count: record.reconnections,
            rooms,
            // What is kept was checked to be a JSON object.
            metadata: RawValue::from_string(metadata.to_owned()).unwrap_or_default(),
            liveness: Liveness {
                alive: heartbeat.is_some(),
                last_ping: heartbeat
                    .and_then(|heartbeat| heartbeat.last_ping())
                    .map(|at| now.timestamp_of(at)),
                last_pong,
                rtt_ms: heartbeat
                    .and_then(|heartbeat| heartbeat.round_trip())
                    .map(|rtt| rtt.as_secs_f64() * 1e3),
                missed: heartbeat.map_or(0, |heartbeat| heartbeat.missed()),
            },
        }
    }

    /// How many members here a record of a room is for.
    #[must_use]
    pub fn audience(&self, room: &RoomName, except: Option<&Except>) -> Audience {
        let mut excluded = Vec::new();
        if let Some(except) = except {
            self.named_by(except, &mut excluded);
            excluded.sort_unstable();
            excluded.dedup();
        }
        let mut audience = Audience::default();
        match (self.room_named(room), room.owner()) {
            (Some(key), _) => {
                let room = self.room(key);
                audience.reached = room.connected() as u64;
                audience.queued = room.absent.len() as u64;
                // By the list that counts it: a session that is being established may stand in another one than it will.
                for membership in excluded.iter().filter_map(|&member| self.session(member).membership(key)) {
                    let is_absent = membership.standing == Standing::Absent;
                    *(if is_absent { &mut audience.queued } else { &mut audience.reached }) -= 1;
                }
            }
            (None, Some(owner)) => {
                for member in
                    self.owners(&owner).into_iter().filter(|member| excluded.binary_search(member).is_err())
                {
                    let connected = self.session(member).connected.is_some();
                    *(if connected { &mut audience.reached } else { &mut audience.queued }) += 1;
                }
            }
            (None, None) => {}
        }
        audience
    }

    /// Named rooms with members here whose name is behind `cursor`: the first `limit`, sorted.
    #[must_use]
    pub fn room_views(&self, cursor: Option<&RoomName>, limit: usize) -> Vec<RoomView> {
        let mut views: Vec<RoomView> = self
            .rooms
            .iter()
            .map(|(_, room)| room)
            .filter(|room| {
                !room.name.is_own() && !room.is_empty() && cursor.is_none_or(|cursor| room.name > *cursor)
            })
            .map(|room| RoomView {
                room: room.name.clone(),
                connected: room.connected(),
                absent: room.absent.len(),
            })
            .collect();
        views.sort_unstable_by(|a, b| a.room.cmp(&b.room));
        views.truncate(limit);
        views
    }

    /// The connected members of a room here, the first `limit` by id, and how many there are.
    #[must_use]
    pub fn present(&self, room: &RoomName, limit: usize) -> (usize, Vec<PresentSession>) {
        let Some(key) = self.room_named(room) else { return (0, Vec::new()) };
        let room = self.room(key);
        let mut sessions: Vec<PresentSession> = room
            .live
            .iter()
            .chain(&room.readers)
            .map(|&key| self.session(key))
            .map(|session| PresentSession { session: session.id().clone(), user: session.user().cloned() })
            .collect();
        sessions.sort_unstable();
        sessions.truncate(limit);
        (room.connected(), sessions)
    }

    /// How many absent members a room has here.
    #[must_use]
    pub fn absent(&self, room: &RoomName) -> usize {
        self.room_named(room).map_or(0, |key| self.room(key).absent.len())
    }

    /// The named rooms with members here.
    #[must_use]
    pub fn room_names(&self) -> Vec<RoomName> {
        let rooms = self.rooms.iter().map(|(_, room)| room);
        rooms.filter(|room| !room.name.is_own() && !room.is_empty()).map(|room| room.name.clone()).collect()
    }

    /// How much it holds.
    #[must_use]
    pub fn counts(&self) -> ShardCounts {
        ShardCounts { connected: self.connected, absent: self.sessions.len() - self.connected }
    }

    /// How many connected sessions each of up to `limit` users has here, sorted by user, from behind `cursor`.
    #[must_use]
    pub fn user_counts(&self, limit: usize) -> Vec<(UserId, usize)> {
        let mut counts: std::collections::BTreeMap<&UserId, usize> = std::collections::BTreeMap::new();
        for (_, session) in &self.sessions {
            if let (Some(user), Some(_)) = (session.user(), &session.connected) {
                *counts.entry(user).or_default() += 1;
            }
        }
        counts.into_iter().take(limit).map(|(user, count)| (user.clone(), count)).collect()
    }
}
