//! Streams: text that grows inside a room (spec/protocol.md, section 12).
//!
//! A [`Stream`] is the pure machine of one of them. A log keeps it, gives its pieces and its terminal record their offsets, and asks it
//! with every [`Command`] what follows.

mod machine;
mod message;
mod piece;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

pub use self::machine::{EndStep, Stream};
pub use self::message::{TYPES, orphaned, too_big};
pub use self::piece::{Merging, Piece};
use crate::error::{ErrorCode, Rejection};
use crate::id::{RoomName, SessionId, StreamName, UserId};
use crate::position::Offset;
use crate::record::{Except, Record};

/// The longest text of a stream, in bytes of UTF-8: more is a file, not an answer.
pub const TEXT_MAX_BYTES: usize = 1024 * 1024;
/// The longest content of one chunk, in bytes of UTF-8: two of them fit what may wait for a connection by default.
pub const CHUNK_MAX_BYTES: usize = 64 * 1024;
/// The longest `data` of a stream, in bytes of JSON.
pub const DATA_MAX_BYTES: usize = 4096;
/// The least time between two chunks of one stream: what is appended meanwhile comes together. 20 a second are as smooth as
/// anybody sees.
pub const SHOW_EVERY: Duration = Duration::from_millis(50);

/// How long a producer may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease(Duration);

impl Lease {
    /// The shortest there may be.
    pub const MIN: Duration = Duration::from_secs(1);
    /// The longest there may be.
    pub const MAX: Duration = Duration::from_secs(600);
    /// Where the producer says nothing.
    pub const DEFAULT: Self = Self(Duration::from_secs(15));

    /// Checks a lease; none outside of its bounds.
    #[must_use]
    pub fn new(time: Duration) -> Option<Self> {
        (Self::MIN..=Self::MAX).contains(&time).then_some(Self(time))
    }

    /// The time.
    #[must_use]
    pub const fn time(self) -> Duration {
        self.0
    }
}

/// What somebody asks of a stream.
#[derive(Clone, Debug)]
pub enum Command {
    /// Begin it, or take it over from an earlier holder of the same principal.
    Open(Box<Open>),
    /// Add text, and renew the lease.
    Append {
        /// By which right.
        holder: Holder,
        /// Where the text stands, in code points.
        at: u64,
        /// The text.
        content: Box<str>,
    },
    /// End it.
    End {
        /// By which right.
        holder: Holder,
        /// How.
        outcome: Outcome,
    },
    /// Ask its producer to stop.
    Cancel {
        /// Who asks.
        by: Canceller,
    },
}

/// What opening says.
#[derive(Clone, Debug)]
pub struct Open {
    /// Whom the producer speaks for: `user/…`, `key/…` or `session/…`.
    pub principal: Arc<str>,
    /// The session that asks; none over HTTP.
    pub session: Option<SessionId>,
    /// The application's object for the readers, as JSON text of up to [`DATA_MAX_BYTES`].
    pub data: Option<Bytes>,
    /// Who it is not for.
    pub except: Option<Arc<Except>>,
    /// How long the producer may be silent.
    pub lease: Lease,
    /// What there must be.
    pub expected: Expected,
}

/// What there must be for opening to change anything: who is mistaken takes nothing over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// No such stream, or an open one of the same principal.
    #[default]
    Any,
    /// No such stream.
    Nothing,
    /// An open one of the same principal whose text has this length in code points; for 0 also none.
    Length(u64),
}

/// By which right somebody writes.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Whom it speaks for.
    pub principal: Arc<str>,
    /// The session that asks; none over HTTP.
    pub session: Option<SessionId>,
    /// What opening gave it.
    pub fence: u64,
}

/// Who asks a producer to stop; neither where it is the application.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Canceller {
    /// The session.
    pub session: Option<SessionId>,
    /// Its user.
    pub user: Option<UserId>,
}

/// That somebody asks the producer of a stream to stop. Nothing is lost where it is: the next append is answered by it too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// The session that opened or appended last.
    pub holder: SessionId,
    /// The room.
    pub room: RoomName,
    /// The stream.
    pub stream: StreamName,
    /// Who asks.
    pub by: Canceller,
}

/// How a producer ends a stream. What it carries is JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is said.
    Complete {
        /// What the application adds.
        message: Option<Bytes>,
    },
    /// It failed.
    Error {
        /// Why.
        error: Option<Bytes>,
    },
    /// Somebody asked to stop.
    Cancelled,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// It is open.
    Opened {
        /// The right of the one who opened it.
        fence: u64,
        /// The length of its text, in code points.
        at: u64,
    },
    /// It has the text.
    Appended {
        /// The length of its text, in code points.
        at: u64,
        /// Whether somebody asked to stop.
        cancel: bool,
    },
    /// It ended.
    Ended {
        /// The terminal record.
        message_id: Offset,
    },
    /// Its producer is asked.
    Cancelled,
}

/// Why a command was refused. Nothing was changed, but by [`StreamError::TooBig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Another principal holds it.
    #[error("another principal holds the stream")]
    Taken,
    /// It has its terminal record.
    #[error("the stream has ended")]
    Ended,
    /// It is open, where nothing was expected.
    #[error("the stream is open already")]
    Exists,
    /// Not the present fence of that principal.
    #[error("not the present fence of this principal: it stands in the reply to the last opening")]
    Fenced,
    /// There is other text in that place.
    #[error("the stream has other text there")]
    Conflict,
    /// The append would leave a gap, or another length was expected.
    #[error("the stream's text has another length: {at} code points")]
    AtMismatch {
        /// The length of its text, in code points.
        at: u64,
    },
    /// The text would be too long; the stream ended.
    #[error("a stream has up to {TEXT_MAX_BYTES} bytes of text: it ended")]
    TooBig,
    /// There is no such stream.
    #[error("there is no such stream")]
    NotFound,
    /// The room has as many open streams as it may have, of anybody, of clients, or of this client. Retry when one has ended.
    #[error("the room has too many open streams: 64, of clients 48, of one client 32")]
    TooMany,
    /// Open streams, of anybody, of clients, or of this client, take as much memory as they may. Retry when some have ended.
    #[error(
        "no space for more of open streams: a quarter of retention.total_bytes, clients half of that, one client a sixteenth of theirs"
    )]
    NoSpace,
    /// The room has used up its numbers. Never seen.
    #[error("the room has no numbers left")]
    OffsetsExhausted,
}

impl StreamError {
    /// The answer for whoever asked.
    #[must_use]
    pub fn rejection(&self) -> Rejection {
        let code = match self {
            Self::Taken => ErrorCode::StreamTaken,
            Self::Ended => ErrorCode::StreamEnded,
            Self::Fenced => ErrorCode::Fenced,
            Self::Exists | Self::Conflict => ErrorCode::Conflict,
            Self::AtMismatch { .. } => ErrorCode::AtMismatch,
            Self::TooBig => ErrorCode::StreamTooBig,
            Self::NotFound => ErrorCode::NotFound,
            Self::TooMany | Self::NoSpace => ErrorCode::Overloaded,
            Self::OffsetsExhausted => ErrorCode::Internal,
        };
        let at = if let Self::AtMismatch { at } = self { Some(*at) } else { None };
        Rejection { at, ..Rejection::new(code, self.to_string()) }
    }
}

/// What of a room's streams may be seen by who looks at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Streams as they stood at this offset.
    pub head: Offset,
    /// With the text that was accepted and not shown so far.
    pub accepted: bool,
}

/// How a stream stands, for who looks at it from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamView {
    /// Its name.
    pub stream: StreamName,
    /// How it stands.
    pub state: StreamState,
    /// The length of its text, in code points.
    pub at: u64,
    /// Its text; empty in a list.
    pub content: String,
    /// The application's object, as JSON text.
    pub data: Option<Bytes>,
    /// Whether somebody asked to stop.
    pub cancel: bool,
}

/// How a stream stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamState {
    /// It may grow.
    Open,
    /// Its producer ended it.
    Ended(Outcome),
    /// Its lease ran out.
    Orphaned,
}

/// What a log shows of a room.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// A record.
    Record(&'a Record),
    /// What was shown of a stream's text at one offset.
    Piece(Piece<'a>),
}

impl Entry<'_> {
    /// Its number in the room.
    #[must_use]
    pub const fn offset(&self) -> Offset {
        match self {
            Self::Record(record) => record.offset,
            Self::Piece(piece) => piece.offset,
        }
    }
}
