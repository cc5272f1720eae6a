//! What becomes of streams' commands, and of streams that nobody asks anything of.

use std::sync::Arc;

use bytes::Bytes;
use moorline_proto::id::{RoomName, StreamName};
use moorline_proto::message::Message;
use moorline_proto::position::{Epoch, Offset};
use moorline_proto::record::{Except, Record};
use moorline_proto::stream::{
    Canceller, Command, Done, EndStep, Expected, Holder, Lease, Open, Stream, StreamError, orphaned, too_big,
};
use moorline_proto::time::{Now, Timestamp};

use super::MemoryLog;
use super::age::LogTime;
use super::lapses::Reason;
use super::room::Room;
use super::streams::Kept;
use crate::log::{New, Streamed};

/// How many streams one call of [`Log::lapse`](crate::Log::lapse) looks at: a few milliseconds, where many leases end at one moment.
const LAPSED_PER_CALL: usize = 512;

/// What changed in a stream, for who keeps a journal. [`StreamId::first`] tells it from another one of that name.
#[derive(Clone, Copy, Debug)]
pub enum StreamChange<'a> {
    /// It was opened.
    Opened {
        /// Whom its producer speaks for.
        principal: &'a str,
        /// The present holder's right.
        fence: u64,
        /// How long its producer may be silent.
        lease: Lease,
        /// The application's object.
        data: Option<&'a Bytes>,
        /// Who it is not for.
        except: Option<&'a Arc<Except>>,
    },
    /// It was opened anew.
    Reopened {
        /// The present holder's right.
        fence: u64,
        /// How long its producer may be silent.
        lease: Lease,
    },
    /// It got text.
    Text(&'a str),
    /// All of its text up to there was shown at an offset.
    Shown {
        /// The piece's number.
        offset: Offset,
        /// When.
        timestamp: Timestamp,
        /// Where it ends, in bytes.
        end_bytes: usize,
    },
    /// Somebody asked its producer to stop.
    Cancelled,
    /// It has its terminal record.
    Ended(&'a Record),
    /// It is no longer kept.
    Gone,
}

/// Which stream changed.
#[derive(Clone, Copy, Debug)]
pub struct StreamId<'a> {
    /// Its room.
    pub room: &'a RoomName,
    /// Its name.
    pub stream: &'a StreamName,
    /// The offset of its first piece.
    pub first: Offset,
}

/// Told of every change, in order.
pub type Noting<'a> = &'a mut dyn FnMut(StreamId<'_>, StreamChange<'_>);

/// One call: where, when, and what it brought so far.
struct Call<'a> {
    room: &'a RoomName,
    name: &'a StreamName,
    now: Now,
    note: Noting<'a>,
    records: Vec<New>,
    is_change: bool,
}

impl Call<'_> {
    fn note(&mut self, first: Offset, change: StreamChange<'_>) {
        self.is_change = true;
        (self.note)(StreamId { room: self.room, stream: self.name, first }, change);
    }
}

impl MemoryLog {
    /// Does what [`Log::stream`](crate::Log::stream) does, and says what changed.
    pub fn stream_noting(
        &mut self,
        room: &RoomName,
        name: &StreamName,
        command: &Command,
        now: Now,
        note: Noting<'_>,
    ) -> Streamed {
        let mut call = Call { room, name, now, note, records: Vec::new(), is_change: false };
        if self.stream_of(room, name).is_some_and(|stream| stream.is_lapsed(now)) {
            self.orphan(&mut call);
        }
        let mut asked = None;
        let result = match command {
            Command::Open(open) => self.open(&mut call, open),
            Command::Append { holder, at, content } => self.append_text(&mut call, holder, *at, content),
            Command::End { holder, outcome } => {
                let step = self.stream_of(room, name).ok_or(StreamError::NotFound);
                match step.and_then(|stream| stream.check_end(holder, outcome)) {
                    Ok(EndStep::Repeated(message_id)) => Ok(Done::Ended { message_id }),
                    Ok(EndStep::End(message)) => self.end(&mut call, message),
                    Err(error) => Err(error),
                }
            }
            Command::Cancel { by } => self.ask_to_stop(&mut call, by, &mut asked),
        };
        Streamed { result, records: call.records, is_change: call.is_change, asked }
    }

    /// Does what [`Log::lapse`](crate::Log::lapse) does, and says what changed.
    pub fn lapse_noting(&mut self, now: Now, note: Noting<'_>) -> Vec<(RoomName, New)> {
        let mut all = Vec::new();
        for _ in 0..LAPSED_PER_CALL {
            let Some((room, name, reason)) = self.lapses.take_due(now.instant) else { break };
            let Some(kept) = self.stream_mut(&room, &name) else { continue };
            match reason {
                Reason::Lease => kept.lease = None,
                Reason::Show => kept.show = None,
            }
            let is_lapsed = kept.stream.is_lapsed(now);
            let mut call = Call {
                room: &room,
                name: &name,
                now,
                note: &mut *note,
                records: Vec::new(),
                is_change: false,
            };
            if is_lapsed {
                self.orphan(&mut call);
            } else {
                self.show(&mut call);
            }
            let made = call.records;
            self.attend(&room, &name);
            all.extend(made.into_iter().map(|new| (room.clone(), new)));
        }
        all
    }

    pub(super) fn stream_of(&self, room: &RoomName, name: &StreamName) -> Option<&Stream> {
        self.rooms.get(room)?.streams()?.get(name).map(|kept| &kept.stream)
    }

    pub(super) fn stream_mut(&mut self, room: &RoomName, name: &StreamName) -> Option<&mut Kept> {
        self.rooms.get_mut(room)?.streams_mut()?.get_mut(name)
    }

    fn open(&mut self, call: &mut Call<'_>, open: &Open) -> Result<Done, StreamError> {
        let fence = self.next_fence(call.now);
        let change = if let Some(kept) = self.stream_mut(call.room, call.name) {
            kept.stream.reopen(open, fence, call.now)?;
            self.forget_lease(call.room, call.name);
            StreamChange::Reopened { fence, lease: open.lease }
        } else {
            self.begin(call, open, fence)?;
            let (principal, lease) = (&*open.principal, open.lease);
            let (data, except) = (open.data.as_ref(), open.except.as_ref());
            StreamChange::Opened { principal, fence, lease, data, except }
        };
        self.last_fence = fence;
        let Some(stream) = self.stream_of(call.room, call.name) else { return Err(StreamError::NotFound) };
        let at = stream.at();
        call.note(stream.first(), change);
        self.show(call);
        self.attend(call.room, call.name);
        Ok(Done::Opened { fence, at })
    }

    /// Above all that were given, whatever became of their streams: milliseconds, so that nothing has to be kept for it.
    fn next_fence(&self, now: Now) -> u64 {
        now.timestamp.0.max(self.last_fence + 1)
    }

    fn begin(&mut self, call: &Call<'_>, open: &Open, fence: u64) -> Result<(), StreamError> {
        if matches!(open.expected, Expected::Length(1..)) {
            return Err(StreamError::NotFound);
        }
        // The empty piece that says that it begins takes the next number.
        let (_, first) = self.next_offset(call.room).map_err(|_| StreamError::OffsetsExhausted)?;
        let stream = Stream::new((call.name.clone(), first, fence), open, call.now);
        let streams = self.rooms.get(call.room).and_then(Room::streams);
        if streams.is_some_and(|streams| !streams.has_place_for(&open.principal)) {
            return Err(StreamError::TooMany);
        }
        self.open_cost.admit(&open.principal, stream.cost_bytes())?;
        self.add_stream(call.room, stream);
        Ok(())
    }

    /// A room has one more open stream.
    pub(super) fn add_stream(&mut self, name: &RoomName, stream: Stream) {
        let class = || Room::new(self.rules.class(name));
        let room = self.rooms.entry(name.clone()).or_insert_with(class);
        let cost = stream.cost_bytes();
        self.open_cost.change(stream.principal(), 0, cost);
        room.charge(0, cost, &mut self.totals);
        room.add_stream(Kept { stream, lease: None, show: None });
    }

    fn append_text(
        &mut self,
        call: &mut Call<'_>,
        holder: &Holder,
        at: u64,
        content: &str,
    ) -> Result<Done, StreamError> {
        let stream = self.stream_of(call.room, call.name).ok_or(StreamError::NotFound)?;
        let fresh = match stream.check_append(holder, at, content) {
            Err(StreamError::TooBig) => {
                self.end(call, too_big(call.name))?;
                return Err(StreamError::TooBig);
            }
            checked => checked?,
        };
        if !fresh.is_empty() {
            // A piece, too, costs something.
            self.open_cost.admit(&holder.principal, fresh.len() + 24)?;
        }
        let (first, now) = (stream.first(), call.now);
        self.with_stream(call.room, call.name, |kept| kept.stream.accept(holder, fresh, now));
        if !fresh.is_empty() {
            call.note(first, StreamChange::Text(fresh));
            self.show(call);
            self.attend(call.room, call.name);
            self.enforce(call.room, LogTime::of(call.now));
        }
        let stream = self.stream_of(call.room, call.name).ok_or(StreamError::NotFound)?;
        Ok(Done::Appended { at: stream.at(), cancel: stream.is_asked_to_stop() })
    }

    /// Changes an open stream, and counts what it costs then.
    pub(super) fn with_stream(&mut self, room: &RoomName, name: &StreamName, change: impl FnOnce(&mut Kept)) {
        let Some(kept) = self.stream_mut(room, name) else { return };
        let before = kept.stream.cost_bytes();
        change(kept);
        let (after, principal) = (kept.stream.cost_bytes(), Arc::clone(kept.stream.principal()));
        self.open_cost.change(&principal, before, after);
        if let Some(room) = self.rooms.get_mut(room) {
            room.charge(before, after, &mut self.totals);
        }
    }

    /// Shows what may be shown.
    fn show(&mut self, call: &mut Call<'_>) {
        let may_show =
            |log: &Self| log.stream_of(call.room, call.name).is_some_and(|stream| stream.may_show(call.now));
        if may_show(self) {
            self.show_all(call);
        }
    }

    /// Shows all that waits; where nothing was shown so far at least the empty piece.
    fn show_all(&mut self, call: &mut Call<'_>) {
        loop {
            let Some(stream) = self.stream_of(call.room, call.name) else { return };
            if !stream.has_more() {
                return;
            }
            // It was looked at before: there is one.
            let Ok((after, offset)) = self.next_offset(call.room) else { return };
            let (mut end_bytes, now) = (0, call.now);
            self.with_stream(call.room, call.name, |kept| end_bytes = kept.stream.show(offset, now));
            self.move_head(call.room, offset, self.history.epoch);
            let Some(stream) = self.stream_of(call.room, call.name) else { return };
            let (first, Some(piece)) = (stream.first(), stream.newest()) else { return };
            let record = piece.to_record();
            call.note(first, StreamChange::Shown { offset, timestamp: record.timestamp, end_bytes });
            call.records.push(New { after, record });
        }
    }

    /// A piece took a number in that history.
    pub(super) fn move_head(&mut self, room: &RoomName, offset: Offset, epoch: Epoch) {
        self.rooms.get_mut(room).into_iter().for_each(|room| room.move_head(offset, epoch));
    }

    /// A new lease may end before the former one would.
    pub(super) fn forget_lease(&mut self, room: &RoomName, name: &StreamName) {
        let former = self.stream_mut(room, name).and_then(|kept| kept.lease.take());
        self.lapses.remove(former);
    }

    /// The leases of all open streams begin anew.
    pub(super) fn renew_all(&mut self, now: Now) {
        for (room, name) in self.lapses.leased() {
            if let Some(kept) = self.stream_mut(&room, &name) {
                kept.stream.renew(now);
            }
        }
    }

    /// Puts a stream into the queue for its next moments, where it is not there.
    pub(super) fn attend(&mut self, room: &RoomName, name: &StreamName) {
        let streams = self.rooms.get_mut(room).and_then(Room::streams_mut);
        let Some(kept) = streams.and_then(|streams| streams.get_mut(name)) else { return };
        if !kept.stream.is_open() {
            return;
        }
        if kept.lease.is_none() {
            let until = kept.stream.lease_until();
            kept.lease = Some(self.lapses.add(until, room, name, Reason::Lease));
        }
        if let (None, Some(at)) = (kept.show, kept.stream.show_at()) {
            kept.show = Some(self.lapses.add(at, room, name, Reason::Show));
        }
    }

    fn orphan(&mut self, call: &mut Call<'_>) {
        // Where the room has no numbers left it stays; never seen.
        let _ended = self.end(call, orphaned(call.name));
    }

    /// Gives a stream its terminal record, behind all of its text.
    fn end(&mut self, call: &mut Call<'_>, message: Message) -> Result<Done, StreamError> {
        self.show_all(call);
        let (after, offset) = self.next_offset(call.room).map_err(|_| StreamError::OffsetsExhausted)?;
        let Some(stream) = self.stream_of(call.room, call.name) else { return Err(StreamError::NotFound) };
        let (except, first) = (stream.except().cloned(), stream.first());
        let record = Record { offset, timestamp: call.now.timestamp, except, message };
        self.end_with(call.room, call.name, &record);
        let at = LogTime::of(call.now);
        self.keep(call.room, (self.history.epoch, record.clone()), at, at);
        call.note(first, StreamChange::Ended(&record));
        call.records.push(New { after, record });
        Ok(Done::Ended { message_id: offset })
    }

    /// A stream ends with a record that is kept from now on.
    pub(super) fn end_with(&mut self, room: &RoomName, name: &StreamName, record: &Record) {
        let Some(streams) = self.rooms.get_mut(room).and_then(Room::streams_mut) else { return };
        let Some(kept) = streams.get_mut(name) else { return };
        self.lapses.remove(kept.lease.take());
        self.lapses.remove(kept.show.take());
        self.open_cost.release(&kept.stream);
        kept.stream.ended(record.offset, record.message.clone());
        streams.ended(name, record.offset);
    }

    fn ask_to_stop(
        &mut self,
        call: &mut Call<'_>,
        by: &Canceller,
        asked: &mut Option<(moorline_proto::id::SessionId, Canceller)>,
    ) -> Result<Done, StreamError> {
        let kept = self.stream_mut(call.room, call.name).ok_or(StreamError::NotFound)?;
        let (is_new, session) = kept.stream.ask_to_stop()?;
        let first = kept.stream.first();
        if is_new {
            call.note(first, StreamChange::Cancelled);
            *asked = session.map(|session| (session, by.clone()));
        }
        Ok(Done::Cancelled)
    }
}
