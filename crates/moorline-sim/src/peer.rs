//! One client with its application, and what is checked of them.

use std::collections::{BTreeMap, BTreeSet};

use moorline_proto::client::{Client, ClientConfig};
use moorline_proto::id::{RoomName, SessionId, UserId};
use moorline_proto::shard::ConnectionId;
use moorline_proto::time::Instant;

use crate::invariants::acks::Acks;
use crate::invariants::delivery::App;
use crate::invariants::stream::Stream;

/// Where a room's head was when a session began to begin, and when it had begun.
#[derive(Clone, Debug, Default)]
pub struct Birth {
    /// When it began to begin.
    pub before: BTreeMap<RoomName, u64>,
    /// When it had begun.
    pub after: BTreeMap<RoomName, u64>,
}

/// A client with its application.
pub struct Peer {
    /// The machine.
    pub client: Client,
    /// What its application knows.
    pub app: App,
    /// What its connection carries.
    pub stream: Stream,
    /// The shard and the connection.
    pub link: Option<(usize, ConnectionId)>,
    /// The room of its URL.
    pub home: Option<RoomName>,
    /// What its session is owed first.
    pub birth: Birth,
    /// How far this session has acknowledged, by what its server was told.
    pub acked: BTreeMap<RoomName, u64>,
    /// The same, told over a connection that its client had given up: the server may know it.
    pub crossed: BTreeMap<RoomName, u64>,
    /// What of it must survive a crash.
    pub acks: Acks,
    /// Rooms that it left, or read again from before: what it acknowledged there may come once more.
    pub reread: BTreeSet<RoomName>,
    /// Since when it connects no more.
    pub ended_at: Option<Instant>,
    /// Every session that it ever was.
    pub sessions: Vec<SessionId>,
    /// The session id that it asks for at first.
    pub wanted: Option<SessionId>,
}

impl Peer {
    /// A client that connects at once.
    #[must_use]
    pub fn new(config: ClientConfig, user: Option<UserId>, home: Option<RoomName>, now: Instant) -> Self {
        Self {
            client: Client::new(config, now),
            app: App { user, ..App::default() },
            stream: Stream::default(),
            link: None,
            home,
            birth: Birth::default(),
            acked: BTreeMap::new(),
            crossed: BTreeMap::new(),
            acks: Acks::default(),
            reread: BTreeSet::new(),
            ended_at: None,
            sessions: Vec::new(),
            wanted: None,
        }
    }

    /// The server was told how far the session has come.
    pub(crate) fn acknowledged(&mut self, micros: u64, room: &RoomName, offset: u64) {
        self.acked.insert(room.clone(), offset);
        self.acks.told(micros, room, offset);
    }

    /// What it acknowledged in a room may come once more.
    pub(crate) fn reads_again(&mut self, room: &RoomName) {
        self.reread.insert(room.clone());
        self.acked.remove(room);
        self.acks.forget(room);
    }

    /// Whether it connects no more.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.ended_at.is_some()
    }
}
