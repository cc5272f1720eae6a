//! One connection: two queues, and who of both sides still holds an end.

use std::collections::VecDeque;

use moorline_proto::shard::{ConnectionId, Peer, SessionKey};

/// What a client sends.
#[derive(Debug)]
pub enum Up {
    Text(String),
    Pong,
}

#[derive(Debug)]
pub struct Link {
    pub id: ConnectionId,
    /// Which client.
    pub client: usize,
    pub opened: bool,
    pub greeted: bool,
    pub to_server: VecDeque<Up>,
    pub to_client: VecDeque<u8>,
    /// How many bytes wait at most.
    pub room_bytes: usize,
    /// Whether the client reads nothing for now.
    pub is_slow: bool,
    /// Whether the client still holds its end.
    pub client_here: bool,
    /// Whether the server never hears that the client is gone.
    pub half_open: bool,
    pub server_here: bool,
    pub bound: Option<SessionKey>,
    /// Set once frames are wanted.
    pub peer: Option<Peer>,
    pub told_lost: bool,
    pub awaits_writable: bool,
    /// What of a frame has come so far.
    pub partial: Vec<u8>,
    /// The most that was offered of what waited.
    pub heads_before: Vec<u64>,
}

impl Link {
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
            heads_before: Vec::new(),
        }
    }

    /// Whether the server's end knows that nobody reads.
    pub fn is_broken(&self) -> bool {
        !self.client_here && !self.half_open
    }

    pub fn space(&self) -> usize {
        self.room_bytes.saturating_sub(self.to_client.len())
    }
}
