//! One stream, as its log keeps it: who may write to it, its text, and what of that was shown.

use std::sync::Arc;

use bytes::Bytes;

use super::message::{outcome_of, terminal};
use super::{
    CHUNK_MAX_BYTES, Expected, Holder, Lease, Open, Outcome, Piece, SHOW_EVERY, Sight, StreamError,
    StreamState, StreamView, TEXT_MAX_BYTES,
};
use crate::id::{SessionId, StreamName};
use crate::message::Message;
use crate::position::Offset;
use crate::record::Except;
use crate::time::{Instant, Now, Timestamp};

/// What was shown at one offset: everything from where the piece before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    offset: Offset,
    timestamp: Timestamp,
    end_bytes: u32,
    /// The same end, in code points.
    end_at: u32,
}

/// What ended a stream.
#[derive(Clone, Debug)]
struct Ending {
    offset: Offset,
    /// The terminal record's.
    message: Message,
    is_orphaned: bool,
}

/// How a stream takes an end that its producer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndStep {
    /// With this terminal message.
    End(Message),
    /// It ended so before, at this offset.
    Repeated(Offset),
}

/// One stream. Text is *accepted* with an append and *shown* to readers as a piece, which has an offset in the room; what is shown never
/// changes.
#[derive(Clone, Debug)]
pub struct Stream {
    name: StreamName,
    first: Offset,
    principal: Arc<str>,
    fence: u64,
    /// The session that opened or appended last.
    session: Option<SessionId>,
    lease: Lease,
    lease_until: Instant,
    data: Option<Bytes>,
    except: Option<Arc<Except>>,
    text: String,
    /// The text's length, in code points.
    length: u32,
    shown: Vec<Shown>,
    /// When text was shown last; none where it never was.
    shown_at: Option<Instant>,
    cancel: bool,
    ending: Option<Ending>,
}

impl Stream {
    /// The flat share of bookkeeping in what a stream costs, in bytes.
    const BOOKKEEPING: usize = 512;

    /// A stream without text, of which nothing is shown. Its first piece will have the number `first`, its first holder's right is
    /// `fence`.
    #[must_use]
    pub fn new((name, first, fence): (StreamName, Offset, u64), open: &Open, now: Now) -> Self {
        Self {
            name,
            first,
            principal: Arc::clone(&open.principal),
            fence,
            session: open.session.clone(),
            lease: open.lease,
            lease_until: now.instant + open.lease.time(),
            data: open.data.clone(),
            except: open.except.clone(),
            text: String::new(),
            length: 0,
            shown: Vec::new(),
            shown_at: None,
            cancel: false,
            ending: None,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &StreamName {
        &self.name
    }

    /// Whom its producer speaks for.
    #[must_use]
    pub const fn principal(&self) -> &Arc<str> {
        &self.principal
    }

    /// The present holder's right.
    #[must_use]
    pub const fn fence(&self) -> u64 {
        self.fence
    }

    /// The length of its text, in code points.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.length.into()
    }

    /// How long its producer may be silent.
    #[must_use]
    pub const fn lease(&self) -> Lease {
        self.lease
    }

    /// The application's object, as JSON text.
    #[must_use]
    pub const fn data(&self) -> Option<&Bytes> {
        self.data.as_ref()
    }

    /// Who it is not for.
    #[must_use]
    pub const fn except(&self) -> Option<&Arc<Except>> {
        self.except.as_ref()
    }

    /// Whether it has no terminal record.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.ending.is_none()
    }

    /// Whether it is open and its lease ran out.
    #[must_use]
    pub fn is_lapsed(&self, now: Now) -> bool {
        self.is_open() && self.lease_until <= now.instant
    }

    /// When its lease runs out.
    #[must_use]
    pub const fn lease_until(&self) -> Instant {
        self.lease_until
    }

    /// The offset of its first piece, which tells it from another one of that name.
    #[must_use]
    pub const fn first(&self) -> Offset {
        self.first
    }

    /// The offset of its last piece.
    #[must_use]
    pub fn last(&self) -> Option<Offset> {
        self.shown.last().map(|shown| shown.offset)
    }

    /// The offset of its terminal record.
    #[must_use]
    pub fn end(&self) -> Option<Offset> {
        self.ending.as_ref().map(|ending| ending.offset)
    }

    /// What keeping it costs a log, in bytes.
    #[must_use]
    pub fn cost_bytes(&self) -> usize {
        let except = self.except.as_ref().map_or(0, |except| except.cost_bytes());
        let names = self.name.as_str().len() + self.principal.len();
        let data = self.data.as_ref().map_or(0, Bytes::len);
        Self::BOOKKEEPING
            + names
            + data
            + except
            + self.text.len()
            + self.shown.len() * std::mem::size_of::<Shown>()
    }

    /// A new holder takes it over, with a right above all that were given.
    ///
    /// # Errors
    /// It ended, is another principal's, or stands otherwise than expected.
    pub fn reopen(&mut self, open: &Open, fence: u64, now: Now) -> Result<(), StreamError> {
        if !self.is_open() {
            return Err(StreamError::Ended);
        }
        if self.principal != open.principal {
            return Err(StreamError::Taken);
        }
        match open.expected {
            Expected::Nothing => return Err(StreamError::Exists),
            Expected::Length(at) if at != self.at() => return Err(StreamError::AtMismatch { at: self.at() }),
            Expected::Any | Expected::Length(_) => {}
        }
        self.fence = fence;
        self.session.clone_from(&open.session);
        self.lease = open.lease;
        self.renew(now);
        Ok(())
    }

    /// What an append would add: the part of `content` behind the text.
    ///
    /// # Errors
    /// Says why it is refused; then nothing is to be changed, but [`StreamError::TooBig`] is to end the stream.
    pub fn check_append<'a>(
        &self,
        holder: &Holder,
        at: u64,
        content: &'a str,
    ) -> Result<&'a str, StreamError> {
        self.check(holder)?;
        let fresh = self.fresh(at, content)?;
        if self.text.len() + fresh.len() > TEXT_MAX_BYTES {
            return Err(StreamError::TooBig);
        }
        Ok(fresh)
    }

    /// Takes what [`Stream::check_append`] let through, and renews the lease.
    pub fn accept(&mut self, holder: &Holder, fresh: &str, now: Now) {
        self.put(fresh);
        self.renew(now);
        if holder.session != self.session {
            self.session.clone_from(&holder.session);
        }
    }

    /// Its lease begins anew.
    pub fn renew(&mut self, now: Now) {
        self.lease_until = now.instant + self.lease.time();
    }

    fn put(&mut self, fresh: &str) {
        self.text.push_str(fresh);
        self.length = self.length.saturating_add(small(fresh.chars().count()));
    }

    /// Only the present holder writes.
    fn check(&self, holder: &Holder) -> Result<(), StreamError> {
        if !self.is_open() {
            return Err(StreamError::Ended);
        }
        if self.principal != holder.principal || self.fence != holder.fence {
            return Err(StreamError::Fenced);
        }
        Ok(())
    }

    fn fresh<'a>(&self, at: u64, content: &'a str) -> Result<&'a str, StreamError> {
        let length = self.at();
        if at == length {
            return Ok(content);
        }
        if at > length {
            return Err(StreamError::AtMismatch { at: length });
        }
        let known = &self.text[self.byte_of(at)..];
        match content.strip_prefix(known) {
            Some(fresh) => Ok(fresh),
            None if known.starts_with(content) => Ok(""),
            None => Err(StreamError::Conflict),
        }
    }

    /// Where the code point `at`, which the text has, begins.
    fn byte_of(&self, at: u64) -> usize {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        if self.text.len() == self.length as usize {
            return at;
        }
        let before = self.shown.partition_point(|shown| shown.end_at as usize <= at);
        let (bytes, code_points) = self.piece_start(before);
        let rest = &self.text[bytes..];
        rest.char_indices().nth(at - code_points).map_or(self.text.len(), |(index, _)| bytes + index)
    }

    /// Where the piece at `index` begins, in bytes and in code points.
    fn piece_start(&self, index: usize) -> (usize, usize) {
        let before = index.checked_sub(1).and_then(|before| self.shown.get(before));
        before.map_or((0, 0), |shown| (shown.end_bytes as usize, shown.end_at as usize))
    }

    /// When text that waits may be shown; none where none waits.
    #[must_use]
    pub fn show_at(&self) -> Option<Instant> {
        let waits = self.text.len() > self.piece_start(self.shown.len()).0;
        waits.then(|| self.shown_at.map_or(Instant::default(), |shown| shown + SHOW_EVERY))
    }

    /// Whether there is something to show: the empty piece that says that it begins, or text.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.shown.is_empty() || self.show_at().is_some()
    }

    /// Whether a piece may be shown now: the empty one that says that a stream begins, or text that waited long enough.
    #[must_use]
    pub fn may_show(&self, now: Now) -> bool {
        self.shown.is_empty() || self.show_at().is_some_and(|at| at <= now.instant)
    }

    /// Shows what waits, up to the bound of one chunk, at an offset behind all that were given. Returns where it ends, in bytes.
    pub fn show(&mut self, offset: Offset, now: Now) -> usize {
        let start = self.piece_start(self.shown.len()).0;
        let end = floor_char_boundary(&self.text, start + CHUNK_MAX_BYTES);
        self.shown_at = (end > start).then_some(now.instant);
        self.show_to(offset, now.timestamp, end);
        end
    }

    fn show_to(&mut self, offset: Offset, timestamp: Timestamp, end: usize) {
        let (start, at) = self.piece_start(self.shown.len());
        let code_points = self.text[start..end].chars().count();
        self.shown.push(Shown { offset, timestamp, end_bytes: small(end), end_at: small(at + code_points) });
    }

    /// How its producer's end is to be taken.
    ///
    /// # Errors
    /// It is not the present holder's to end, or ended otherwise.
    pub fn check_end(&self, holder: &Holder, outcome: &Outcome) -> Result<EndStep, StreamError> {
        let message = terminal(&self.name, outcome);
        match &self.ending {
            None => self.check(holder).map(|()| EndStep::End(message)),
            Some(ending)
                if ending.message == message
                    && self.principal == holder.principal
                    && self.fence == holder.fence =>
            {
                Ok(EndStep::Repeated(ending.offset))
            }
            Some(_) => Err(StreamError::Ended),
        }
    }

    /// It has its terminal record.
    pub fn ended(&mut self, offset: Offset, message: Message) {
        let is_orphaned = message == super::message::orphaned(&self.name);
        self.ending = Some(Ending { offset, message, is_orphaned });
        self.session = None;
        self.text.shrink_to_fit();
        self.shown.shrink_to_fit();
    }

    /// Somebody asks its producer to stop. Returns whether that is new, and the session to tell.
    ///
    /// # Errors
    /// It ended.
    pub fn ask_to_stop(&mut self) -> Result<(bool, Option<SessionId>), StreamError> {
        if !self.is_open() {
            return Err(StreamError::Ended);
        }
        let is_new = !std::mem::replace(&mut self.cancel, true);
        Ok((is_new, self.session.clone().filter(|_| is_new)))
    }

    /// Whether somebody asked its producer to stop.
    #[must_use]
    pub const fn is_asked_to_stop(&self) -> bool {
        self.cancel
    }

    /// The pieces behind an offset.
    pub fn pieces(&self, after: Offset) -> impl Iterator<Item = Piece<'_>> {
        let from = self.shown.partition_point(|shown| shown.offset <= after);
        (from..self.shown.len()).map(|index| self.piece(index))
    }

    /// The newest piece, as live readers get it: `data` comes with the first one alone.
    #[must_use]
    pub fn newest(&self) -> Option<Piece<'_>> {
        let index = self.shown.len().checked_sub(1)?;
        let piece = self.piece(index);
        Some(Piece { data: piece.data.filter(|_| index == 0), ..piece })
    }

    fn piece(&self, index: usize) -> Piece<'_> {
        let Shown { offset, timestamp, end_bytes, .. } = self.shown[index];
        let (start, at) = self.piece_start(index);
        Piece {
            offset,
            timestamp,
            stream: &self.name,
            at: at as u64,
            content: &self.text[start..end_bytes as usize],
            data: self.data.as_ref(),
            except: self.except.as_ref(),
        }
    }

    /// As far as it is in sight; none where it is not.
    #[must_use]
    pub fn view(&self, sight: Sight) -> Option<StreamView> {
        let (bytes, at) = self.length_in(sight)?;
        let state = match self.ending.as_ref().filter(|ending| ending.offset <= sight.head) {
            None => StreamState::Open,
            Some(ending) if ending.is_orphaned => StreamState::Orphaned,
            Some(ending) => StreamState::Ended(outcome_of(&ending.message)),
        };
        let (stream, content) = (self.name.clone(), self.text[..bytes].to_owned());
        Some(StreamView { stream, state, at, content, data: self.data.clone(), cancel: self.cancel })
    }

    /// The same of one that is open there, without its text; none where it is not.
    #[must_use]
    pub fn glance(&self, sight: Sight) -> Option<StreamView> {
        if self.end().is_some_and(|end| end <= sight.head) {
            return None;
        }
        let (_, at) = self.length_in(sight)?;
        Some(StreamView {
            stream: self.name.clone(),
            state: StreamState::Open,
            at,
            content: String::new(),
            data: self.data.clone(),
            cancel: self.cancel,
        })
    }

    /// How much of its text is in sight, in bytes and in code points; none where it is not.
    fn length_in(&self, Sight { head, accepted }: Sight) -> Option<(usize, u64)> {
        let shown = self.shown.partition_point(|shown| shown.offset <= head);
        let last = self.shown.get(shown.checked_sub(1)?)?;
        Some(match accepted {
            true => (self.text.len(), self.at()),
            false => (last.end_bytes as usize, last.end_at.into()),
        })
    }
}

/// For a log that was kept: what happened to a stream, in its order.
impl Stream {
    /// It was opened anew, with this fence; its lease starts afresh.
    pub fn restore_fence(&mut self, fence: u64, lease: Lease, now: Now) {
        self.fence = fence;
        self.lease = lease;
        self.renew(now);
    }

    /// It got text.
    pub fn restore_text(&mut self, content: &str) {
        if self.text.len() + content.len() <= TEXT_MAX_BYTES {
            self.put(content);
        }
    }

    /// Its text was shown up to `end_bytes`. Returns whether that can be.
    pub fn restore_shown(&mut self, offset: Offset, timestamp: Timestamp, end_bytes: usize) -> bool {
        let start = self.piece_start(self.shown.len()).0;
        let is_good = self.last().is_none_or(|last| last < offset)
            && end_bytes >= start
            && self.text.is_char_boundary(end_bytes);
        if is_good {
            self.show_to(offset, timestamp, end_bytes);
        }
        is_good
    }

    /// Somebody asked to stop.
    pub const fn restore_cancel(&mut self) {
        self.cancel = true;
    }
}

/// The last boundary between characters up to `index`.
fn floor_char_boundary(text: &str, index: usize) -> usize {
    if index >= text.len() {
        return text.len();
    }
    (0..=index).rev().find(|&index| text.is_char_boundary(index)).unwrap_or_default()
}

/// A length of a text, which has at most [`TEXT_MAX_BYTES`].
fn small(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
