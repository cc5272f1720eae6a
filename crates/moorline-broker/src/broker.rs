//! The seam between nodes.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use moorline_proto::batch::{Batch, Ephemeral, Page, ReadFrom};
use moorline_proto::error::{ErrorCode, Rejection};
pub use moorline_proto::frame::Durability;
use moorline_proto::id::{RoomName, SessionId, StreamName, UserId};
use moorline_proto::message::Message;
use moorline_proto::position::Position;
use moorline_proto::record::Except;
use moorline_proto::resume::RoomState;
pub use moorline_proto::resume::{Survey, SurveyRequest};
use moorline_proto::stream::{Cancel, Command, Done, StreamError, StreamView};

use crate::log::{AppendError, LogStats, PublishKey, ReadLimit};

/// What is to be published to one room.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The room.
    pub room: RoomName,
    /// What.
    pub message: Message,
    /// Who it is not for.
    pub except: Option<Arc<Except>>,
    /// Stored, or for who is there alone.
    pub keep: Keep,
}

/// Whether and how a publication is stored.
#[derive(Clone, Debug)]
pub enum Keep {
    /// As a record.
    Record {
        /// What makes it idempotent.
        key: Option<PublishKey>,
        /// What the answer waits for; none for the strongest there is.
        durability: Option<Durability>,
    },
    /// Not at all: announced, never acknowledged.
    Ephemeral,
}

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// It has its place in the log.
    Stored {
        /// Where.
        position: Position,
        /// How safely.
        durability: Durability,
        /// Whether it stood there before, under the same key.
        duplicate: bool,
    },
    /// It was announced.
    Ephemeral,
}

/// Why a broker did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// The log refused it.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The stream refused it.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// No such durability here. The sender's fault.
    #[error("this node keeps records at durability {strongest:?} at most")]
    Durability {
        /// The strongest there is.
        strongest: Durability,
    },
    /// What is published cannot be kept at present, as for a full disk. Retry later.
    #[error("the store cannot write")]
    CannotKeep,
    /// More waits for the store than may. Retry later.
    #[error("too much waits to be kept")]
    Behind,
    /// It did not answer; whether a publish happened is unknown, repeating it with its id is safe. Retry later.
    #[error("no answer: it is not known whether this was done, and repeating a publish with its id is safe")]
    Unavailable,
}

impl BrokerError {
    /// The answer for whoever asked.
    #[must_use]
    pub fn rejection(&self) -> Rejection {
        let code = match self {
            Self::Append(AppendError::Conflict) => ErrorCode::Conflict,
            Self::Append(AppendError::TooManyIds) => ErrorCode::Overloaded,
            Self::Append(AppendError::OffsetsExhausted) => ErrorCode::Internal,
            Self::Durability { .. } => ErrorCode::DurabilityUnavailable,
            Self::Behind => ErrorCode::Overloaded,
            Self::CannotKeep | Self::Unavailable => ErrorCode::Unavailable,
            Self::Stream(error) => return error.rejection(),
        };
        Rejection::new(code, self.to_string())
    }
}

/// What a broker tells a node, in append order per room.
#[derive(Clone, Debug)]
pub enum Announcement {
    /// Records were appended.
    Batch(Batch),
    /// Something was said that is not stored.
    Ephemeral(Ephemeral),
    /// Somebody asks the producer of a stream to stop.
    Cancel(Cancel),
    /// Announcements were lost: any room may have records that were not announced. Read the logs.
    Lost,
}

/// A node's end of the announcements.
pub trait Announcements: Send + 'static {
    /// Waits for more, and takes up to `max` of them into `into`. Returns whether the broker still lives.
    ///
    /// Cancelling the future loses nothing.
    fn receive<'a>(&'a mut self, into: &'a mut Vec<Announcement>, max: usize) -> BoxFuture<'a, bool>;
}

/// Appends records and announces them. The broker alone appends.
///
/// The contract, which [`conformance::broker`](crate::conformance::broker()) checks:
/// - [`Broker::publish`] appends and announces as one step; announcements of one room come in append order, and none comes
///   before its record can be read. Nobody reads a record, or hears of it, before it is as safe as the broker's strongest durability;
///   a publish that asked for less is answered before that. Publications take effect in the order in which `publish` was *called*; the future only
///   waits for the answer, and dropping it withdraws nothing.
/// - A batch vouches that nothing of its room lies between `after` and its first record. What is not announced in time is
///   replaced by [`Announcement::Lost`]; memory for a node that does not listen is bounded.
/// - After [`Broker::subscribe`] answers a state, every later append to the room is announced to this node.
pub trait Broker: Send + Sync + 'static {
    /// Publishes to one room.
    ///
    /// # Errors
    /// Says why; nothing was stored then, unless it is [`BrokerError::Unavailable`].
    fn publish(&self, publication: Publication) -> BoxFuture<'static, Result<Published, BrokerError>>;

    /// From now on announces the room to this node and holds its head. Counted.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`].
    fn subscribe(&self, room: RoomName) -> BoxFuture<'static, Result<RoomState, BrokerError>>;

    /// The opposite of one [`Broker::subscribe`].
    fn unsubscribe(&self, room: RoomName);

    /// Asks something of a stream of a named room. What changes is announced as [`Broker::publish`] does, and answered as a publish
    /// with the broker's strongest durability is; repeating a command whose answer was lost is safe.
    ///
    /// # Errors
    /// Says why; nothing was changed then, unless it is [`BrokerError::Unavailable`] or [`StreamError::TooBig`].
    fn stream(
        &self,
        room: RoomName,
        stream: StreamName,
        command: Command,
    ) -> BoxFuture<'static, Result<Done, BrokerError>>;

    /// The open streams of a room, sorted, without their texts; their lengths as [`Broker::view_stream`] has them.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`].
    fn open_streams(&self, room: RoomName) -> BoxFuture<'static, Result<Vec<StreamView>, BrokerError>>;

    /// One stream, with all of its text that is kept, also what waits to be shown to readers; none where the stream is not kept.
    /// Text that is not yet as safe as the broker's strongest durability is not shown, and meanwhile what waits may be missing.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`].
    fn view_stream(
        &self,
        room: RoomName,
        stream: StreamName,
    ) -> BoxFuture<'static, Result<Option<StreamView>, BrokerError>>;

    /// Reads a page of a room's log.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`].
    fn read(
        &self,
        room: RoomName,
        from: ReadFrom,
        limit: ReadLimit,
    ) -> BoxFuture<'static, Result<Page, BrokerError>>;

    /// How a reader goes on in several rooms; answers in the order of the requests.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`].
    fn survey(
        &self,
        session: SessionId,
        user: Option<UserId>,
        requests: Vec<SurveyRequest>,
    ) -> BoxFuture<'static, Result<Vec<Survey>, BrokerError>>;

    /// Removes a room's records.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`].
    fn clear(&self, room: RoomName) -> BoxFuture<'static, Result<(), BrokerError>>;

    /// This node's end of the announcements; a second call ends the first one's.
    fn announcements(&self) -> Box<dyn Announcements>;

    /// What the log behind it holds, as far as this node knows.
    fn stats(&self) -> LogStats;
}
