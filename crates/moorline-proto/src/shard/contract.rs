//! What goes into a shard and what comes out of it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::{Claim, ConnectionId, Peer, RoomKey, SessionKey};
use crate::batch::{EncodedBatch, EncodedEphemeral, Page, ReadFrom};
use crate::close::CloseCode;
use crate::error::Rejection;
use crate::frame::{Answer, Inbound, Presence, Publish, Ref, ServerFrame};
use crate::id::{RoomName, SessionId, StreamName, UserId};
use crate::identity::{Identity, Token};
use crate::resume::{ResetReason, RoomState, Since, Survey, SurveyRequest};
use crate::session_record::SessionRecord;
use crate::stream::{Cancel, Command};

/// Why a connection gets no session, and what it is told.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Sent before the close.
    pub frame: Option<ServerFrame>,
    /// The close code.
    pub code: CloseCode,
    /// Its reason.
    pub reason: Cow<'static, str>,
}

impl Refusal {
    /// A close without a word before it.
    pub fn new(code: CloseCode, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { frame: None, code, reason: reason.into() }
    }

    /// An `error`, then a close.
    #[must_use]
    pub fn of(rejection: Rejection, code: CloseCode, reason: &'static str) -> Self {
        Self { frame: Some(ServerFrame::Error(rejection)), ..Self::new(code, reason) }
    }
}

/// Whom a survey is for.
#[derive(Clone, Debug)]
pub enum Surveyor {
    /// A connection that is being established.
    Establish(ConnectionId),
    /// A session that joins a room.
    Join(Box<Join>),
}

/// A join that waits for its survey.
#[derive(Clone, Debug)]
pub struct Join {
    pub(super) session: SessionKey,
    pub(super) room: RoomKey,
    /// The membership's number, so that a later join of the same room is told apart.
    pub(super) ticket: u32,
    /// Whether the membership began with it.
    pub(super) is_new: bool,
    pub(super) since: Since,
    /// Whether the client asked for it; the application needs nobody's leave.
    pub by_client: bool,
    /// On which connection it was asked for; only that one is answered.
    pub(super) connection: Option<ConnectionId>,
    pub(super) reference: Option<Ref>,
}

/// Whom a page is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageReader {
    /// A member that is not live.
    Member(Peer, RoomKey),
    /// All live members: the shard missed announcements.
    Room(RoomKey),
}

/// A publish, or something asked of a stream, that waits for its answer.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// Who asked.
    pub peer: Peer,
    /// Where it wants the answer.
    pub reference: Option<Ref>,
    /// How many of the connection's waiting answers it is: one for each room.
    pub(super) weight: u32,
}

/// Why a session was not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaveError {
    /// Another node claimed it since: it is that one's now.
    #[error("the session belongs to another node now")]
    Fenced,
    /// The store did not do it. It is tried again while the session is here.
    #[error(transparent)]
    Rejected(#[from] Rejection),
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A connection wants a session.
    Establish(Box<Claim>),
    /// A connection that was being established is gone.
    Abandoned(ConnectionId),
    /// Answers [`Output::Load`].
    Loaded(ConnectionId, Result<Option<Arc<SessionRecord>>, Rejection>),
    /// Answers [`Output::Claim`] with the fence.
    Claimed(ConnectionId, Result<u64, Rejection>),
    /// Answers [`Output::Survey`].
    Surveyed(Surveyor, Result<Vec<Survey>, Rejection>),
    /// Answers [`Output::Save`], every one, with what it named.
    Saved {
        /// The session of the record.
        session: SessionId,
        /// The right under which it was to be kept.
        fence: u64,
        /// Who waits.
        waiting: Option<Peer>,
        /// What became of it.
        result: Result<(), SaveError>,
    },
    /// A frame was received.
    Frame(Peer, Inbound),
    /// Something was received that asks for nothing, such as the transport's pong.
    Alive(Peer),
    /// The transport's ping was received.
    TransportPing(Peer, Box<[u8]>),
    /// The connection ended, or has to; with the close frame to send, where one is due: the answer to the peer's, or what rule
    /// of the transport it broke.
    Lost(Peer, Option<(u16, &'static str)>),
    /// Answers [`Output::AwaitWritable`].
    Writable(Peer),
    /// Records were announced.
    Batch(Arc<EncodedBatch>),
    /// An ephemeral message was announced.
    Ephemeral(Arc<EncodedEphemeral>),
    /// Somebody asks the producer of a stream to stop.
    StreamCancel(Arc<Cancel>),
    /// Announcements were lost.
    AnnouncementsLost,
    /// Answers [`Output::Subscribe`].
    Subscribed(RoomKey, RoomName, Result<RoomState, Rejection>),
    /// Answers [`Output::Read`].
    PageRead(PageReader, RoomName, Result<Page, Rejection>),
    /// Answers [`Output::Publish`] and [`Output::Stream`].
    Published(Ticket, Result<Answer, Rejection>),
    /// Answers [`Output::Presence`].
    Presence(Ticket, Presence),
    /// Answers [`Output::Authenticate`].
    Authenticated(Ticket, Result<Box<Identity>, Rejection>),
    /// Answers [`Output::Authorize`].
    Authorized(Peer, Result<(), Rejection>),
    /// Every connection is to go, told to come back at times spread over this long.
    Drain(Duration),
    /// A session that the store kept over a restart, with the fence under which it was claimed. Those that are away longest
    /// come first, and all of them before the first connection.
    Restore(Arc<SessionRecord>, u64),
}

/// What the driver has to do.
#[derive(Debug)]
pub enum Output {
    /// Look a session record up.
    Load(ConnectionId, SessionId),
    /// Take ownership of a session id.
    Claim(ConnectionId, SessionId),
    /// Ask the broker how a reader goes on.
    Survey {
        /// Whom the answer is for.
        surveyor: Surveyor,
        /// The reader.
        session: SessionId,
        /// Its user.
        user: Option<UserId>,
        /// The rooms.
        requests: Vec<SurveyRequest>,
    },
    /// Keep a session record.
    Save {
        /// What to keep.
        record: Arc<SessionRecord>,
        /// The right to.
        fence: u64,
        /// Who waits.
        waiting: Option<Peer>,
    },
    /// Forget a session record.
    Remove(SessionId, u64),
    /// Announce a room to this shard from now on.
    Subscribe(RoomKey, RoomName),
    /// No longer.
    Unsubscribe(RoomName),
    /// Read a room's log.
    Read {
        /// Whom for.
        reader: PageReader,
        /// The room.
        room: RoomName,
        /// From here.
        from: ReadFrom,
    },
    /// Publish. Publications reach the broker in the order of these outputs.
    Publish {
        /// Who waits.
        ticket: Ticket,
        /// Within whom its id is unique.
        sender: Arc<str>,
        /// What.
        publish: Box<Publish>,
    },
    /// Ask something of a stream. These reach the broker in the order of the outputs, as publications do.
    Stream {
        /// Who waits.
        ticket: Ticket,
        /// The room.
        room: RoomName,
        /// The stream; none where the driver is to name it.
        stream: Option<StreamName>,
        /// What.
        command: Box<Command>,
    },
    /// Ask all shards who is in a room.
    Presence(Ticket, RoomName),
    /// Find out whom a token speaks for.
    Authenticate(Ticket, Token),
    /// Ask the authorizer whether a session may publish to these rooms. One question per connection at a time.
    Authorize {
        /// Who waits.
        peer: Peer,
        /// The session.
        session: SessionId,
        /// Its user.
        user: Option<UserId>,
        /// The rooms.
        rooms: Vec<RoomName>,
    },
    /// The connection is this peer's: from now on its frames are wanted.
    Established(Peer),
    /// A connection gets no session.
    Refuse(ConnectionId, Box<Refusal>),
    /// Say when the connection takes bytes again.
    AwaitWritable(Peer),
    /// End the connection: what waits for it, which ends with the close frame, may still be written for a moment.
    Close {
        /// Whose.
        peer: Peer,
        /// What waits.
        rest: Vec<u8>,
    },
    /// The session's user has too many absent ones: this one expires, on whichever shard it is.
    Expire(SessionId),
    /// Something that logs, metrics and callbacks want to know.
    Event(Event),
}

/// What an observer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A session was established.
    Connected {
        /// Which.
        session: SessionId,
        /// Its user.
        user: Option<UserId>,
        /// Whether it went on.
        resumed: bool,
    },
    /// A session lost its connection.
    Disconnected {
        /// Which.
        session: SessionId,
        /// Its user.
        user: Option<UserId>,
        /// The close code, where one was sent or received.
        code: Option<u16>,
    },
    /// A peer was declared dead (R20).
    Dead {
        /// Which session's.
        session: SessionId,
        /// Its user.
        user: Option<UserId>,
    },
    /// A session was told that something is lost to it.
    Reset {
        /// Which.
        session: SessionId,
        /// Why.
        reason: ResetReason,
    },
    /// A session ended.
    Ended {
        /// Which.
        session: SessionId,
    },
}
