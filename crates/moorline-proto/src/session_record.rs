//! What is kept of a session so that it survives its connection: small and durable. Its messages are in the rooms.

use crate::id::{RoomName, SessionId, UserId};
use crate::identity::TokenId;
use crate::position::{Offset, Position};
use crate::time::Timestamp;
use crate::token::TokenSet;

/// How far a session has acknowledged a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The room.
    pub room: RoomName,
    /// Everything up to it has been processed.
    pub acked: Position,
    /// What lies up to here was for an earlier session of the same name.
    pub begin: Offset,
    /// Whether the application made the session a member: then no token's grants take it away.
    pub is_added: bool,
}

/// A session as a store keeps it.
#[derive(Clone, Debug)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// Its user.
    pub user: Option<UserId>,
    /// The token that its current, or last, connection came with: its revocation ends the session.
    pub token: Option<TokenId>,
    /// What resumes it.
    pub tokens: TokenSet,
    /// The application's own metadata: a JSON object as text; none for an empty one.
    pub metadata: Option<Box<str>>,
    /// When its current, or last, connection began.
    pub connected_at: Timestamp,
    /// Since when it is away; none while it is connected.
    pub disconnected_at: Option<Timestamp>,
    /// How many times it was resumed.
    pub reconnections: u32,
    /// Whether it is in its own rooms; a single-room endpoint's sessions are not.
    pub own_rooms: bool,
    /// Its rooms.
    pub rooms: Vec<Mark>,
}
