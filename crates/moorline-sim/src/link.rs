//! One connection: two queues, and who of both sides still holds an end.

use std::collections::VecDeque;

use moorline_proto::shard::{ConnectionId, Peer, SessionKey};

use crate::random::Random;

/// What a client sends.
#[derive(Debug)]
pub enum Up {
    /// A text frame.
    Text(String),
    /// The transport's pong.
    Pong,
}

/// A connection.
#[derive(Debug)]
pub struct Link {
    /// Its name.
    pub id: ConnectionId,
    /// Which client.
    pub client: usize,
    /// Whether the handshake is over.
    pub opened: bool,
    /// Whether the client said hello.
    pub greeted: bool,
    /// On its way up.
    pub to_server: VecDeque<Up>,
    /// On its way down.
    pub to_client: VecDeque<u8>,
    /// How many bytes wait at most.
    pub room_bytes: usize,
    /// Whether the client reads nothing for now.
    pub is_slow: bool,
    /// Whether the client still holds its end.
    pub client_here: bool,
    /// Whether the server never hears that the client is gone.
    pub half_open: bool,
    /// Whether the server still holds its end.
    pub server_here: bool,
    /// The session that it is written to for.
    pub bound: Option<SessionKey>,
    /// Set once frames are wanted.
    pub peer: Option<Peer>,
    /// Whether the shard was told that it is gone before it was established.
    pub told_lost: bool,
    /// Whether the shard wants to know when there is space.
    pub awaits_writable: bool,
    /// What of a frame has come so far.
    pub partial: Vec<u8>,
    /// Whether the client never hears that the server is gone.
    pub is_silent: bool,
}

impl Link {
    /// A connection that is being opened.
    #[must_use]
    pub fn new(id: ConnectionId, client: usize, room_bytes: usize) -> Self {
        Self {
            id,
            client,
            opened: false,
            greeted: false,
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            room_bytes,
            is_slow: false,
            client_here: true,
            half_open: false,
            server_here: true,
            bound: None,
            peer: None,
            told_lost: false,
            awaits_writable: false,
            partial: Vec::new(),
            is_silent: false,
        }
    }

    /// Whether the server's end knows that nobody reads.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        !self.client_here && !self.half_open
    }

    /// How many bytes it takes now.
    #[must_use]
    pub fn space(&self) -> usize {
        self.room_bytes.saturating_sub(self.to_client.len())
    }

    /// The server's process is gone: what it had written may still arrive, and perhaps nobody says that it is gone.
    pub(crate) fn sever(&mut self, random: &mut Random) {
        let arrives = random.below(self.to_client.len() + 1);
        self.is_silent = random.chance(30);
        if random.chance(50) || self.is_silent {
            self.to_client.truncate(arrives);
        }
        self.to_server.clear();
        self.server_here = false;
        self.awaits_writable = false;
        self.peer = None;
        self.bound = None;
    }
}
