//! The frames of the protocol (spec/protocol.md, sections 3 and 4), as the machines see them.

mod answer;

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

pub use self::answer::{Answer, PublishAnswer, PublishOutcome, Reply};
use crate::error::Rejection;
use crate::id::{Owner, PublishId, RoomName, SessionId, StreamName, UserId};
use crate::identity::Token;
use crate::message::Message;
use crate::position::{Epoch, Offset, Position};
use crate::record::Except;
use crate::resume::{ResetReason, Since};
use crate::stream::{Canceller, Command, Done, Expected, Holder, Lease, Open, Outcome};
use crate::token::ResumeToken;

/// What a client gave as `ref`, as it stood: a string or an integer.
#[derive(Clone, Debug)]
pub struct Ref(pub Arc<RawValue>);

impl Serialize for Ref {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// A client's frame with its `ref`.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// Where the client wants an answer.
    pub reference: Option<Ref>,
    /// The frame, or why it is none.
    pub frame: Result<ClientFrame, Rejection>,
}

/// What a client can say.
#[derive(Clone, Debug)]
pub enum ClientFrame {
    /// Name or resume a session.
    Hello(Box<Hello>),
    /// Become a member.
    Join {
        /// Of this room.
        room: RoomName,
        /// Reading from here.
        since: Since,
    },
    /// Cease to be a member.
    Leave {
        /// Of this room.
        room: RoomName,
    },
    /// Append a message.
    Publish(Box<Publish>),
    /// Something about a stream.
    Stream(Box<StreamFrame>),
    /// Everything up to here has been processed.
    Ack {
        /// In this room; none for the URL's.
        room: Option<RoomName>,
        /// Of this epoch; none for the current one.
        epoch: Option<Epoch>,
        /// Up to here.
        offset: Offset,
    },
    /// Replay on the open connection.
    Reconnect {
        /// In this room; none for the URL's.
        room: Option<RoomName>,
        /// What lies after this; none for what was not acknowledged.
        last: Option<Offset>,
    },
    /// Who is there.
    Presence {
        /// In this room.
        room: RoomName,
    },
    /// Answer me.
    Ping,
    /// The bare text `ping`.
    TextPing,
    /// A sign of life, which may acknowledge.
    Pong {
        /// Acknowledged positions.
        positions: Vec<(RoomName, Position)>,
    },
    /// A sign of life.
    HeartbeatResponse,
    /// A fresh token.
    Auth {
        /// The token.
        token: Token,
    },
    /// The application's own.
    Application {
        /// Its type.
        kind: String,
    },
}

impl ClientFrame {
    /// As how many frames it counts: a publish to several sessions is as many.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Publish(publish) => publish.to.rooms(),
            _ => 1,
        }
    }

    /// Its type, for counting: the application's own are one.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Join { .. } => "join",
            Self::Leave { .. } => "leave",
            Self::Publish(_) => "publish",
            Self::Stream(frame) => frame.act.kind(),
            Self::Ack { .. } => "ack",
            Self::Reconnect { .. } => "reconnect",
            Self::Presence { .. } => "presence",
            Self::Ping | Self::TextPing => "ping",
            Self::Pong { .. } => "pong",
            Self::HeartbeatResponse => "heartbeat_response",
            Self::Auth { .. } => "auth",
            Self::Application { .. } => "application",
        }
    }
}

/// A frame about a stream of a named room.
#[derive(Clone, Debug)]
pub struct StreamFrame {
    /// The room.
    pub room: RoomName,
    /// The stream; none where the server is to name it.
    pub stream: Option<StreamName>,
    /// What.
    pub act: StreamAct,
}

/// What is asked of a stream, without who asks; from a client or over HTTP.
#[derive(Clone, Debug)]
pub enum StreamAct {
    /// Begin it, or take it over.
    Open {
        /// The application's object for the readers, as JSON text.
        data: Option<Bytes>,
        /// Who it is not for.
        except: Option<Arc<Except>>,
        /// How long the producer may be silent.
        lease: Lease,
    },
    /// Add text.
    Append {
        /// The right to.
        fence: u64,
        /// Where the text stands.
        at: u64,
        /// The text.
        content: Box<str>,
    },
    /// End it.
    End {
        /// The right to.
        fence: u64,
        /// How.
        outcome: Outcome,
    },
    /// Ask its producer to stop.
    Cancel,
}

impl StreamAct {
    /// The type of its frame.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Open { .. } => "stream_open",
            Self::Append { .. } => "stream_append",
            Self::End { .. } => "stream_end",
            Self::Cancel => "stream_cancel",
        }
    }

    /// The command of whoever asks: its principal, its session (none over HTTP) and that session's user.
    #[must_use]
    pub fn command(self, principal: Arc<str>, session: Option<SessionId>, user: Option<UserId>) -> Command {
        match self {
            Self::Open { data, except, lease } => {
                let expected = Expected::Any;
                Command::Open(Box::new(Open { principal, session, data, except, lease, expected }))
            }
            Self::Append { fence, at, content } => {
                Command::Append { holder: Holder { principal, session, fence }, at, content }
            }
            Self::End { fence, outcome } => {
                Command::End { holder: Holder { principal, session, fence }, outcome }
            }
            Self::Cancel => Command::Cancel { by: Canceller { session, user } },
        }
    }
}

/// The first frame.
#[derive(Clone, Debug, Default)]
pub struct Hello {
    /// What says who it is.
    pub token: Option<Token>,
    /// The session asked for.
    pub session: Option<SessionId>,
    /// What proves that it is the client's.
    pub resume_token: Option<ResumeToken>,
    /// Where the client stands.
    pub positions: Vec<(RoomName, Position)>,
    /// The application's metadata as JSON text.
    pub metadata: Option<String>,
}

/// Where a publish goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To one room, own rooms included.
    Room(RoomName),
    /// To several sessions, each in its own room.
    Sessions(Vec<SessionId>),
}

impl Target {
    /// How many sessions one publish may name: each is a publish of its own.
    pub const MAX_SESSIONS: usize = 100;

    /// The rooms that it means, in order.
    pub fn room_names(&self) -> impl Iterator<Item = RoomName> + '_ {
        let (room, sessions): (Option<&RoomName>, &[SessionId]) = match self {
            Self::Room(room) => (Some(room), &[]),
            Self::Sessions(ids) => (None, ids),
        };
        room.cloned().into_iter().chain(sessions.iter().map(|id| RoomName::own(&Owner::Session(id.clone()))))
    }

    /// How many rooms it means: so many publishes it is.
    #[must_use]
    pub fn rooms(&self) -> usize {
        match self {
            Self::Room(_) => 1,
            Self::Sessions(ids) => ids.len(),
        }
    }
}

/// A publish, from a client or over HTTP.
#[derive(Clone, Debug)]
pub struct Publish {
    /// Where to.
    pub to: Target,
    /// What.
    pub message: Message,
    /// Who it is not for.
    pub except: Option<Arc<Except>>,
    /// What makes it idempotent.
    pub id: Option<PublishId>,
    /// Not to be stored.
    pub ephemeral: bool,
    /// What the answer waits for: `memory`, `disk` or `broker`.
    pub durability: Option<Durability>,
}

/// How safely a record is kept before its sender is answered, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Survives a dropped socket.
    Memory,
    /// Survives the process and a power cut.
    Disk,
    /// Survives the node.
    Broker,
}

/// What the server says on its own account. Records have their own encoding ([`crate::batch`]).
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame {
    /// The first frame of a connection.
    ConnectionEstablished {
        /// The session's id.
        session: SessionId,
        /// What resumes it.
        resume_token: String,
        /// Whether it went on.
        resumed: bool,
        /// Where its rooms stand.
        rooms: RoomsEstablished,
        /// How often the server pings.
        heartbeat_ms: u64,
    },
    /// The answer to a frame with a `ref`.
    Reply(Reply),
    /// A refusal of a frame without one.
    Error(Rejection),
    /// The answer to `ping`.
    Pong,
    /// Membership began.
    Joined {
        /// Of this room.
        room: RoomName,
        /// Reading from here.
        #[serde(flatten)]
        position: Position,
    },
    /// Membership ended.
    Left {
        /// Of this room.
        room: RoomName,
        /// Why.
        reason: LeftReason,
    },
    /// Who is there.
    Presence(Presence),
    /// Something is lost.
    Reset {
        /// In this room.
        room: RoomName,
        /// Why.
        reason: ResetReason,
        /// The epoch from now on.
        epoch: Epoch,
        /// After this; null where the old number means nothing.
        from: Option<Offset>,
        /// Up to and including this.
        to: Offset,
    },
    /// Progress without anything for the client.
    Position {
        /// In this room.
        room: RoomName,
        /// Up to here.
        #[serde(flatten)]
        position: Position,
    },
    /// Somebody asks the producer of a stream to stop.
    StreamCancel {
        /// The room.
        room: RoomName,
        /// The stream.
        stream: StreamName,
        /// Who asks.
        by: Canceller,
    },
    /// The connection's token ends soon.
    TokenExpiring {
        /// When.
        expires_in_ms: u64,
    },
    /// A close follows, and the client should come back.
    Closing {
        /// When.
        reconnect_in_ms: u64,
        /// Why.
        reason: &'static str,
    },
}

/// The rooms in `connection_established`, in a JSON object in their order.
#[derive(Clone, Debug, Default)]
pub struct RoomsEstablished(pub Vec<(RoomName, RoomEstablished)>);

impl Serialize for RoomsEstablished {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(room, established)| (room, established)))
    }
}

/// One room in `connection_established`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RoomEstablished {
    /// Where the replay ends.
    #[serde(flatten)]
    pub position: Position,
    /// How many messages it holds for this session.
    pub replayed: u64,
}

/// Why a membership ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftReason {
    /// The client asked.
    Left,
    /// The application did it.
    Removed,
    /// The token no longer allows it.
    Forbidden,
}

/// The connected members of a room.
#[derive(Clone, Debug, Serialize)]
pub struct Presence {
    /// The room.
    pub room: RoomName,
    /// How many there are.
    pub count: usize,
    /// They, sorted by id, as far as the bound allows.
    pub sessions: Vec<PresentSession>,
}

impl Presence {
    /// How many sessions one answer lists.
    pub const MAX_LISTED: usize = 1_000;
}

/// One connected member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PresentSession {
    /// Its session.
    pub session: SessionId,
    /// Its user.
    pub user: Option<UserId>,
}

impl Answer {
    /// What became of a stream's command.
    #[must_use]
    pub fn of_stream(room: RoomName, stream: StreamName, done: &Done) -> Self {
        match *done {
            Done::Opened { fence, at } => Self::Opened { room, stream, fence, at },
            Done::Appended { at, cancel } => Self::Appended { at, cancel },
            Done::Ended { message_id } => Self::Ended { message_id },
            Done::Cancelled => Self::Done {},
        }
    }
}
