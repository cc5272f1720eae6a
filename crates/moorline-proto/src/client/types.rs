//! What goes into the machine and what comes out of it.

use std::time::Duration;

use serde_json::Value;

use crate::close::CloseCode;
use crate::id::{PublishId, RoomName, SessionId};
use crate::identity::Token;
use crate::position::{Offset, Position};
use crate::resume::{ResetReason, Since};
use crate::time::Instant;

/// What a client is told to be like.
#[derive(Clone, Debug, Default)]
pub struct ClientConfig {
    /// The session id to ask for; none to be given one.
    pub session: Option<SessionId>,
    /// What to tell the server about this session.
    pub metadata: Option<serde_json::Map<String, Value>>,
    /// Where its random delays begin. Every client of an application needs one of its own, from a true source.
    pub seed: u64,
}

/// A message to be published.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The protocol's `to`: `{"room":…}`, `{"user":…}`, `{"session":…}` or `"all"`.
    pub to: Value,
    /// The message as JSON text. Passes through as it stands.
    pub message: String,
    /// The protocol's `except`: `{"sessions":[…],"users":[…]}`.
    pub except: Option<Value>,
    /// What makes it happen once, however often it is sent.
    pub id: PublishId,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The connection is open.
    Opened,
    /// A text frame was received.
    TextReceived(String),
    /// The connection ended, with the code of its close frame where there was one, or could not be opened.
    Closed(Option<u16>),
    /// The application publishes.
    Publish(Publication),
    /// The application becomes a member of a room.
    Join {
        /// Which.
        room: RoomName,
        /// Reading from here.
        since: Since,
    },
    /// The application ceases to be a member.
    Leave {
        /// Of this room.
        room: RoomName,
    },
    /// The application wants again what lies after an offset that it got before.
    Replay {
        /// In this room.
        room: RoomName,
        /// After this.
        after: Offset,
    },
    /// The application has a fresh token for this connection. Without a connection nothing is done: the next one shows
    /// its token when it is opened.
    Authenticate {
        /// Of the same user.
        token: Token,
    },
    /// The application is done: the connection is closed, and nothing more is sent.
    Shutdown,
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a connection.
    Connect,
    /// Send a text frame.
    SendText(String),
    /// Close the connection, with this code; without one just drop it: its peer is silent, or not to be believed.
    Close(Option<CloseCode>),
    /// Tell the application.
    Event(Event),
}

/// What the application is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The session has a connection.
    Established {
        /// The session.
        session: SessionId,
        /// Whether it went on. If not, nothing that the former one was a member of is known any more.
        resumed: bool,
    },
    /// A message, once.
    Message {
        /// The room that it came through.
        room: RoomName,
        /// Its number there; none for an ephemeral one. A chunk's may be one that came before.
        message_id: Option<Offset>,
        /// The whole envelope as it was received; a chunk of which the application has a part, without that part.
        text: String,
    },
    /// What lies after `from` up to and including `to` will not come: fetch the state afresh.
    Reset {
        /// In this room.
        room: RoomName,
        /// Why.
        reason: ResetReason,
        /// After this; none where the old number means nothing any more: everything before.
        from: Option<Offset>,
        /// Up to and including this.
        to: Position,
    },
    /// The session is a member and gets what lies after this.
    Joined {
        /// Of this room.
        room: RoomName,
        /// After this.
        position: Position,
    },
    /// The session is no member any more.
    Left {
        /// Of this room.
        room: RoomName,
    },
    /// A publish has its place.
    Published {
        /// Which.
        id: PublishId,
        /// Its place; none where it went to several sessions.
        position: Option<Position>,
    },
    /// Something was refused, and is not tried again.
    Rejected {
        /// The publish that it was; none for anything else.
        id: Option<PublishId>,
        /// A code of the protocol's table.
        code: String,
        /// For people.
        message: String,
    },
    /// The connection's token ends soon: answer with [`Input::Authenticate`].
    TokenExpiring {
        /// After this.
        expires_in: Duration,
    },
    /// The connection is gone.
    Disconnected {
        /// When the next one is tried; none where the application has to act first, with a new client.
        retry_at: Option<Instant>,
    },
}
