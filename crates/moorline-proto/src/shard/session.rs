//! A session as its shard knows it.

use std::sync::Arc;

use super::access::Access;
use super::asking::Asking;
use super::room::Standing;
use super::{ConnectionId, Peer, RoomKey, SessionKey};
use crate::batch::ReadFrom;
use crate::coding::Coding;
use crate::frame::ServerFrame;
use crate::heartbeat::Heartbeat;
use crate::id::{RoomName, SessionId, UserId};
use crate::outbox::Outbox;
use crate::position::{Epoch, Offset, Position};
use crate::record::Reader;
use crate::session_record::SessionRecord;
use crate::time::{Instant, Now};

/// A session's place in one room.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) room: RoomKey,
    /// Where it stands in the room's list of its standing.
    pub(super) slot: u32,
    /// Tells this membership from an earlier one of the same session in the same room.
    pub(super) ticket: u32,
    pub(super) standing: Standing,
    /// Whether the application made it a member: then no token's grants take it away.
    pub(super) is_added: bool,
    /// Whether the position moved on without anything being sent, since the last `position` frame.
    pub(super) skipped: bool,
    /// The history that the three offsets belong to.
    pub(super) epoch: Epoch,
    /// What lies up to here was for an earlier session of the same name; nothing in rooms that are not its own.
    pub(super) begin: Offset,
    /// Up to here the client has processed everything.
    pub(super) acked: Offset,
    /// A reader's position; a live member's is the room's.
    pub(super) position: Offset,
    /// The highest that this connection was sent while it was no live member.
    pub(super) sent: Offset,
    /// What it has to read before what lies behind its position.
    pub(super) texts: Texts,
}

/// How far a member has come in the texts of the streams that were open where it stands. Who has them not all gets nothing that lies
/// further, and is not live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Texts(Offset);

impl Texts {
    /// It has them all.
    pub(super) const DONE: Self = Self(Offset(u64::MAX));
    /// It has none of them.
    pub(super) const ALL: Self = Self(Offset::START);

    /// All of them, where there are any.
    pub(super) const fn due(has_texts: bool) -> Self {
        if has_texts { Self::ALL } else { Self::DONE }
    }

    /// What of them lies up to here it has.
    pub(super) const fn after(cursor: Offset) -> Self {
        Self(cursor)
    }

    /// The cursor; none where it has them all.
    pub(super) fn cursor(self) -> Option<Offset> {
        (self != Self::DONE).then_some(self.0)
    }
}

impl Membership {
    pub(super) const fn position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.position }
    }

    /// What it reads next.
    pub(super) fn reads_from(&self) -> ReadFrom {
        let at = self.position;
        self.texts.cursor().map_or(ReadFrom::After(at), |after| ReadFrom::Texts { at, after })
    }

    /// Whether it is known where it begins: a join that waits for its survey is not.
    pub(super) fn is_settled(&self) -> bool {
        self.epoch != Epoch::UNKNOWN
    }

    pub(super) const fn acked(&self) -> Position {
        Position { epoch: self.epoch, offset: self.acked }
    }
}

/// What a connection is told once its session is kept: first `connection_established`, the reply to `hello` and the resets before the
/// replay; later that it joined or left a room.
#[derive(Debug, Default)]
pub(super) struct Greeting {
    pub(super) frames: Vec<ServerFrame>,
    /// What was held back beyond the beginning, in bytes: bounded as what waits for a socket is.
    pub(super) held_bytes: usize,
    /// Whether nothing was told before, and if so whether the session went on.
    pub(super) first: Option<Resumed>,
    /// Saves that it waits for.
    pub(super) saves: u32,
    /// By when the session must be kept.
    pub(super) until: Instant,
}

/// Whether a session went on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Resumed(pub(super) bool);

impl Connected {
    /// Whether it was told that it is established.
    pub(super) fn is_greeted(&self) -> bool {
        self.greeting.as_ref().is_none_or(|greeting| greeting.first.is_none())
    }
}

/// A live connection.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) id: ConnectionId,
    pub(super) heartbeat: Heartbeat,
    /// What waits for the full socket.
    pub(super) outbox: Option<Box<Outbox>>,
    /// What it is told first, until the session is safely kept.
    pub(super) greeting: Option<Box<Greeting>>,
    /// How its messages are compressed; none where they are sent as they are. What else it is told never is: it holds a secret.
    pub(super) coding: Option<Coding>,
    /// Whether a page is on its way.
    pub(super) reading: bool,
    /// Frames that wait for their answers.
    pub(super) in_flight: u32,
    /// What it may do and until when; none where that is everything for ever.
    pub(super) access: Option<Box<Access>>,
    /// What waits for the authorizer.
    pub(super) asking: Asking,
}

/// A session, connected or absent.
#[derive(Debug)]
pub(super) struct Session {
    /// What is kept of it, as it was kept last.
    pub(super) record: Arc<SessionRecord>,
    pub(super) fence: u64,
    pub(super) connected: Option<Connected>,
    /// When it ends unless it comes back; meaningless while connected.
    pub(super) absent_until: Instant,
    /// The newest connection that it had.
    pub(super) newest: ConnectionId,
    /// Which absence this is, and what it is reckoned to cost; 0 while connected.
    pub(super) absence: u32,
    pub(super) absent_bytes: usize,
    pub(super) last_activity: Instant,
    pub(super) memberships: Vec<Membership>,
    /// The room of the connection's URL.
    pub(super) home: Option<RoomName>,
    /// Whether it is in its own rooms.
    pub(super) own_rooms: bool,
    /// The same user's session before this one.
    pub(super) older: Option<SessionKey>,
    /// By when acknowledgements are to be kept.
    pub(super) flush_at: Option<Instant>,
}

impl Session {
    pub(super) fn id(&self) -> &SessionId {
        &self.record.id
    }

    pub(super) fn user(&self) -> Option<&UserId> {
        self.record.user.as_ref()
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader { session: &self.record.id, user: self.record.user.as_ref() }
    }

    pub(super) fn peer(&self, key: SessionKey) -> Option<Peer> {
        self.connected.as_ref().map(|connected| Peer { session: key, connection: connected.id })
    }

    pub(super) fn membership(&self, room: RoomKey) -> Option<&Membership> {
        self.memberships.iter().find(|membership| membership.room == room)
    }

    pub(super) fn membership_mut(&mut self, room: RoomKey) -> Option<&mut Membership> {
        self.memberships.iter_mut().find(|membership| membership.room == room)
    }

    /// Something was received.
    pub(super) fn seen(&mut self, now: Now) {
        self.last_activity = now.instant;
        if let Some(connected) = &mut self.connected {
            connected.heartbeat.seen(now.instant);
        }
    }
}
