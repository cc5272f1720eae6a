//! The seam of rooms' records.

use std::ops::ControlFlow;
use std::sync::Arc;

use moorline_proto::batch::ReadFrom;
use moorline_proto::id::{PublishId, RoomName, SessionId, StreamName};
use moorline_proto::message::Message;
use moorline_proto::position::{Offset, Position};
use moorline_proto::record::{Except, Record};
use moorline_proto::resume::RoomState;
use moorline_proto::stream::{Canceller, Command, Done, Entry, Merging, Sight, StreamError, StreamView};
use moorline_proto::time::{Instant, Now};

/// What makes a publish idempotent: its id, within the one who sent it (and the room).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublishKey {
    /// Who publishes: `key/…` for the application's own, `user/…` and `session/…` for clients.
    pub sender: Arc<str>,
    /// The id it gave.
    pub id: PublishId,
}

impl PublishKey {
    /// Whether the sender is a client: those have a share of the ids, so that no stranger can take away everybody's.
    #[must_use]
    pub fn is_clients(&self) -> bool {
        is_client(&self.sender)
    }
}

/// Whether whoever is called so is a client of the application's.
pub(crate) fn is_client(sender: &str) -> bool {
    sender.starts_with("user/") || sender.starts_with("session/")
}

/// A record before the log gave it its place.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What is published.
    pub message: Message,
    /// Who it is not for.
    pub except: Option<Arc<Except>>,
    /// What makes it idempotent.
    pub key: Option<PublishKey>,
}

/// What an append did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The record has its place; before it, the room's head was `after`.
    New {
        /// The head before.
        after: Offset,
        /// The record as it is kept.
        record: Record,
    },
    /// The same message was published under this key before, at this position.
    Duplicate(Position),
}

/// Why an append was refused. Nothing was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The publish id stands for another message. The sender's fault.
    #[error("the publish id was used for another message")]
    Conflict,
    /// There is no room for more publish ids until some are five minutes old: of anybody, of clients, or of this client. Retry
    /// later.
    #[error("no room to remember more publish ids (publish.id_max_bytes)")]
    TooManyIds,
    /// The room has used up its numbers (2^53). Never seen.
    #[error("the room has no numbers left")]
    OffsetsExhausted,
}

/// A record that has its place; before it, the room's head was `after`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct New {
    /// The head before.
    pub after: Offset,
    /// The record as readers get it.
    pub record: Record,
}

/// What became of a stream's command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streamed {
    /// The answer.
    pub result: Result<Done, StreamError>,
    /// What readers get, in order: pieces as chunks, the terminal record. A refusal may bring some too.
    pub records: Vec<New>,
    /// Whether anything was changed that is to be kept.
    pub is_change: bool,
    /// The session to be told that somebody asks to stop.
    pub asked: Option<(SessionId, Canceller)>,
}

/// How much one read returns. At least one record, where there is one.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimit {
    /// At most this many records.
    pub records: usize,
    /// No further record once this many bytes are reached ([`Record::cost_bytes`]).
    pub bytes: usize,
}

/// What a log holds, for statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Rooms with an entry.
    pub rooms: usize,
    /// Records kept.
    pub records: usize,
    /// What they cost ([`Record::cost_bytes`]).
    pub bytes: usize,
}

/// Rooms' records: synchronous, with one owner. [`LocalBroker`](crate::LocalBroker) makes a broker of any.
///
/// The contract, which [`conformance::log`](crate::conformance::log()) checks:
/// - A log has one epoch at a time. Offsets of a room rise and are never given twice in one epoch: one position means one
///   message, for everyone and for ever, also after the room's records expired and its entry was forgotten.
/// - A room without an entry has head 0 and cut 0. The first record of a forgotten room gets a number beyond all its
///   former ones; `after` is then 0, and the cut stays 0 until a record after it is gone: who joined before it, at
///   position 0, had nothing to miss.
/// - A room that nobody holds is forgotten once it has no records: at the latest by the next [`Log::expire`].
/// - A held room's head is never forgotten.
/// - The records read after an offset are all that are kept, without a hole: the log cuts from the old end alone. A room's
///   newest record outlives every bound on its room but age; the record appended last outlives every bound but age.
/// - A publish id is known for its whole time, whatever became of its record, and free again after it.
/// - Ages are measured by `now.instant`; `now.timestamp` is only written into the records.
pub trait Log: Send + 'static {
    /// What is known of a room.
    fn state(&self, room: &RoomName) -> RoomState;

    /// Gives a draft its place, or finds it by its key. Cuts what retention no longer covers.
    ///
    /// # Errors
    /// Says why nothing was kept.
    fn append(&mut self, room: &RoomName, draft: Draft, now: Now) -> Result<Appended, AppendError>;

    /// Asks something of a stream. A command finds the lease as it is at `now`: one that ran out is over.
    fn stream(&mut self, room: &RoomName, stream: &StreamName, command: &Command, now: Now) -> Streamed;

    /// Shows text that waited ([`SHOW_EVERY`](moorline_proto::stream::SHOW_EVERY)), and ends streams whose lease ran out, as orphaned. Bounded
    /// work per call; the time of the next one is [`Log::lapses_at`].
    fn lapse(&mut self, now: Now) -> Vec<(RoomName, New)>;

    /// When [`Log::lapse`] has something to do; none as long as nothing is asked of a stream.
    fn lapses_at(&self) -> Option<Instant>;

    /// Leases begin anew: nobody could renew one until now.
    fn renew_leases(&mut self, now: Now);

    /// The open streams of a room, sorted, without their texts, as far as they are in sight.
    fn open_streams(&self, room: &RoomName, sight: Sight) -> Vec<StreamView>;

    /// One stream, as far as it is in sight.
    fn view_stream(&self, room: &RoomName, stream: &StreamName, sight: Sight) -> Option<StreamView>;

    /// Shows what is kept of a room, in order, until `visit` breaks off. Nothing is copied: who only counts
    /// pays for counting.
    fn visit(&self, room: &RoomName, from: ReadFrom, visit: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>);

    /// Removes a room's records; its head stays, and becomes its cut.
    fn clear(&mut self, room: &RoomName);

    /// Drops what is too old: records, publish ids, entries of rooms that nobody holds. Bounded work per call.
    fn expire(&mut self, now: Now);

    /// Somebody refers to the room: its head must not be forgotten. Counted.
    fn hold(&mut self, room: &RoomName);

    /// The opposite of one [`Log::hold`].
    fn release(&mut self, room: &RoomName);

    /// What it holds.
    fn stats(&self) -> LogStats;
}

/// What follows from [`Log::visit`].
pub trait LogExt: Log {
    /// What is kept after an offset, in order, up to the limit.
    fn read(&self, room: &RoomName, after: Offset, limit: ReadLimit) -> Vec<Record> {
        self.page(room, ReadFrom::After(after), Offset::MAX, limit).0
    }

    /// What is kept from there, in order, up to the limit and no further than `head`, with the pieces of streams merged into chunks: the records
    /// of a [`Page`](moorline_proto::batch::Page), its `reached` and its `end`.
    fn page(
        &self,
        room: &RoomName,
        from: ReadFrom,
        head: Offset,
        limit: ReadLimit,
    ) -> (Vec<Record>, Vec<Offset>, Offset) {
        let (stand_at, mut end) = match from {
            ReadFrom::After(after) => (None, head.max(after)),
            ReadFrom::Texts { at, .. } => (Some(at), at),
        };
        let mut merging = Merging::new(stand_at);
        self.visit(room, from, &mut |entry| {
            if entry.offset() > head {
                return ControlFlow::Break(());
            }
            let is_full = merging.len() >= limit.records || merging.bytes() >= limit.bytes;
            if is_full && !merging.is_empty() {
                end = merging.end();
                return ControlFlow::Break(());
            }
            merging.push(entry);
            ControlFlow::Continue(())
        });
        let (records, reached) = merging.finish();
        (records, reached, end)
    }
}

impl<T: Log + ?Sized> LogExt for T {}
