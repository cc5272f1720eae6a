//! What is written down.

use moorline_proto::id::RoomName;
use moorline_proto::position::{Epoch, Offset, Position};
use moorline_proto::resume::ResetReason;
use moorline_proto::time::Instant;

use crate::content::{Content, Key};

/// A message that somebody published, or tried to.
#[derive(Clone, Debug)]
pub(crate) struct Publication {
    pub(crate) key: Key,
    pub(crate) room: RoomName,
    /// When it was sent first.
    pub(crate) sent: Instant,
    pub(crate) outcome: Outcome,
    /// Whom it is not for: indices of the sessions.
    pub(crate) excluded: Vec<usize>,
}

/// What the server said of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has a place; `at`: when that was known.
    Accepted { at: Instant, position: Position },
    /// It never will.
    Refused,
    /// Nothing, or that it may be tried later: it may appear or not.
    Unknown,
}

/// A stream that somebody wrote.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) room: RoomName,
    pub(crate) stream: String,
    /// When it was opened first, or tried to be.
    pub(crate) opened: Instant,
    /// Whether that was answered.
    pub(crate) began: bool,
    /// How much of its text was answered to be there.
    pub(crate) accepted: usize,
    pub(crate) end: End,
    /// Whom it is not for: indices of the sessions.
    pub(crate) excluded: Vec<usize>,
    /// Answers that its producer should not have got.
    pub(crate) wrong: Vec<String>,
}

/// How a stream ended, as far as its producer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As it was answered.
    Told(&'static str),
    /// Its lease ran out.
    Orphaned,
    /// There was no answer.
    Unknown,
}

/// One client session as its client saw it.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) name: String,
    /// The own rooms that it receives through.
    pub(crate) own: Vec<RoomName>,
    pub(crate) entries: Vec<Entry>,
}

/// One thing that a client saw or did.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) at: Instant,
    /// On which of the session's connections, counted from 1.
    pub(crate) connection: u32,
    pub(crate) what: What,
}

/// What it was.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Established {
        resumed: bool,
    },
    /// The application asked to become a member.
    Joining {
        room: RoomName,
    },
    Joined {
        room: RoomName,
        position: Position,
    },
    /// The application asked to be none any more.
    Leaving {
        room: RoomName,
    },
    Left {
        room: RoomName,
    },
    /// `fresh`: the client gave it to the application; otherwise it dropped it as one that it had.
    Message {
        room: RoomName,
        epoch: Option<Epoch>,
        offset: Offset,
        content: Content,
        fresh: bool,
    },
    Reset {
        room: RoomName,
        reason: ResetReason,
        from: Option<Offset>,
        to: Position,
    },
    /// Text of a stream that the client gave to the application.
    Text {
        room: RoomName,
        stream: String,
        at: usize,
        content: String,
    },
    /// The same, its terminal record.
    StreamEnded {
        room: RoomName,
        stream: String,
        kind: String,
    },
    /// The server confirmed an acknowledgement.
    Acked {
        room: RoomName,
        offset: Offset,
    },
    /// The connection was broken or taken away on purpose.
    Broken,
    Closed(Ending),
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The server's close frame.
    Code(u16),
    /// Without one.
    Gone,
    /// The client ended it.
    Ours,
}

impl What {
    pub(crate) fn room(&self) -> Option<&RoomName> {
        match self {
            Self::Joining { room }
            | Self::Joined { room, .. }
            | Self::Leaving { room }
            | Self::Left { room }
            | Self::Message { room, .. }
            | Self::Reset { room, .. }
            | Self::Text { room, .. }
            | Self::StreamEnded { room, .. }
            | Self::Acked { room, .. } => Some(room),
            Self::Established { .. } | Self::Broken | Self::Closed(_) => None,
        }
    }
}

/// The server's process ended and came back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    pub(crate) at: Instant,
    /// When it answered again.
    pub(crate) back: Instant,
    /// Whether it was asked to end, and had the time to.
    pub(crate) clean: bool,
}
