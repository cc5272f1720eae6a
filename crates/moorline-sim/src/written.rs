//! What producers wrote to streams, and what of it was shown: what readers may see, and must.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use moorline_broker::BrokerError;
use moorline_proto::id::{RoomName, SessionId, StreamName, UserId};
use moorline_proto::record::{Except, Reader, Record};
use moorline_proto::stream::{Command, Done, Outcome, StreamError, TYPES};
use moorline_proto::time::Instant;
use serde::Deserialize;
use serde_json::Value;

use crate::invariants::{accepted, fencing, leases, terminals};
use crate::random::Random;

/// What every holder writes is its own, so that text says under which fence it was written.
#[must_use]
pub fn letter(stream: &str, fence: u64, at: usize) -> char {
    const LETTERS: [char; 16] =
        ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'k', ' ', '"', 'é', '漢', '😀', '\n'];
    let name = stream.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let place = name ^ fence.wrapping_mul(0x9e37_79b9) ^ (at as u64).wrapping_mul(0x0100_0000_01b3);
    *Random(place).pick(&LETTERS)
}

/// What a record of a stream says.
#[derive(Debug, Deserialize)]
pub struct Said {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its stream.
    pub stream: String,
    /// Where its text begins, in code points; a chunk has that alone.
    #[serde(default)]
    pub at: usize,
    /// Its text.
    #[serde(default)]
    pub content: String,
    /// The application's object.
    pub data: Option<Value>,
}

impl Said {
    /// Reads a message; none where it comes from no stream.
    #[must_use]
    pub fn read(message: &[u8]) -> Option<Self> {
        if message.starts_with(b"{\"type\":\"m\"") {
            return None;
        }
        let said: Self = serde_json::from_slice(message).ok()?;
        TYPES.contains(&&*said.kind).then_some(said)
    }

    /// Whether it is text, not an end.
    #[must_use]
    pub fn is_chunk(&self) -> bool {
        self.kind == "chunk"
    }

    /// What it means; where text is merged that is not the same.
    #[must_use]
    pub fn number(&self) -> u64 {
        let stream = self.stream.bytes().chain(self.kind.bytes());
        stream.fold(self.at as u64, |sum, byte| sum.wrapping_mul(131).wrapping_add(byte.into()))
    }
}

/// What the first producer of a stream was told to say with it; every later one says the same.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The application's object.
    pub data: Option<Value>,
    /// Who it is not for.
    pub except: Option<Arc<Except>>,
    /// How long producers may be silent.
    pub lease: Duration,
}

/// One stream from its first piece to its end, as far as it was shown.
#[derive(Debug)]
pub struct Life {
    /// The offset of its first piece.
    pub first: u64,
    /// Who it is not for.
    pub except: Option<Arc<Except>>,
    /// Its text.
    pub text: Vec<char>,
    /// Its pieces: the offset of each, and where it ends in the text.
    pub pieces: Vec<(u64, usize)>,
    /// The offset of its terminal record.
    pub end: Option<u64>,
}

impl Life {
    fn new(first: u64, except: Option<Arc<Except>>) -> Self {
        Self { first, except, text: Vec::new(), pieces: vec![(first, 0)], end: None }
    }

    /// Whether a member gets it.
    #[must_use]
    pub fn is_for(&self, session: &SessionId, user: Option<&UserId>) -> bool {
        !self.except.as_ref().is_some_and(|except| except.names(Reader { session, user }))
    }

    /// Whether the text has this at that place.
    #[must_use]
    pub fn has(&self, at: usize, content: &str) -> bool {
        let rest = self.text.get(at..).unwrap_or_default();
        content.chars().count() <= rest.len() && content.chars().zip(rest).all(|(one, other)| one == *other)
    }

    /// How long its text is at least for who has everything before an offset; none where nothing of it lies behind `after`.
    #[must_use]
    pub fn owed(&self, (after, before): (u64, u64)) -> Option<usize> {
        let index = self.pieces.partition_point(|(offset, _)| *offset < before).checked_sub(1)?;
        let (offset, end) = self.pieces[index];
        (offset > after).then_some(end)
    }
}

/// What one holder may write, and did.
#[derive(Clone, Debug)]
pub struct Right {
    /// Where the text stood when it began.
    pub at: usize,
    /// Up to where it sent text.
    pub sent: usize,
    /// How often the stream was opened when it was.
    pub opens: u64,
}

/// Who may write to a stream, and what they were answered.
#[derive(Debug, Default)]
pub struct Rights {
    /// The principal that has it.
    pub principal: Option<Arc<str>>,
    /// By fence.
    pub given: BTreeMap<u64, Right>,
    /// How often somebody asked to open it.
    pub opens: u64,
    /// How much text its producers were told to be accepted.
    pub accepted: usize,
    /// Until when its lease is known to last.
    pub lease_until: Instant,
    /// How its producers asked to end it.
    pub ends: BTreeSet<&'static str>,
}

/// All of one name.
#[derive(Debug)]
pub struct Written {
    /// What is said when it is opened.
    pub plan: Plan,
    /// The streams that had the name, one after the other.
    pub lives: Vec<Life>,
    /// The last one's.
    pub rights: Rights,
}

impl Written {
    /// The one that is open.
    #[must_use]
    pub fn open(&self) -> Option<&Life> {
        self.lives.last().filter(|life| life.end.is_none())
    }

    fn begin(&mut self, first: u64) {
        self.lives.push(Life::new(first, self.plan.except.clone()));
        let opens = self.rights.opens;
        self.rights = Rights { opens, ..Rights::default() };
    }
}

/// When something was asked of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Called {
    /// The moment.
    pub at: Instant,
    /// Whether it was open then, as far as was visible.
    pub was_open: bool,
}

/// What was asked of a stream.
#[derive(Clone, Debug)]
pub enum Asked {
    /// To open it, for the so many-th time.
    Open(Arc<str>, u64),
    /// To add text up to there, under a fence; whether a newer one had been given.
    Append(u64, usize, bool),
    /// To end it, under a fence.
    End(u64),
    /// To ask its producer to stop.
    Cancel,
}

/// Every stream, by its room and its name.
#[derive(Debug, Default)]
pub struct Streams(BTreeMap<RoomName, BTreeMap<String, Written>>);

impl Streams {
    /// Somebody is going to open a stream; what was said of it before stays.
    pub fn plan(&mut self, room: &RoomName, stream: &str, plan: Plan) {
        let streams = self.0.entry(room.clone()).or_default();
        let written = || Written { plan, lives: Vec::new(), rights: Rights::default() };
        streams.entry(stream.to_owned()).or_insert_with(written);
    }

    /// All of one name.
    #[must_use]
    pub fn named(&self, room: &RoomName, stream: &str) -> Option<&Written> {
        self.0.get(room)?.get(stream)
    }

    /// All of a room.
    pub fn of(&self, room: &RoomName) -> impl Iterator<Item = (&str, &Written)> {
        self.0.get(room).into_iter().flatten().map(|(name, written)| (&**name, written))
    }

    /// The rooms.
    pub fn rooms(&self) -> impl Iterator<Item = &RoomName> {
        self.0.keys()
    }

    fn named_mut(&mut self, room: &RoomName, stream: &str) -> Option<&mut Written> {
        self.0.get_mut(room)?.get_mut(stream)
    }

    /// Something is asked of a stream, at this moment.
    pub fn asked(
        &mut self,
        (room, stream): (&RoomName, &StreamName),
        command: &Command,
        at: Instant,
    ) -> Option<(Asked, Called)> {
        let written = self.named_mut(room, stream.as_str())?;
        let (was_open, rights) = (written.open().is_some(), &mut written.rights);
        let asked = match command {
            Command::Open(open) => {
                rights.opens += 1;
                Asked::Open(Arc::clone(&open.principal), rights.opens)
            }
            Command::Append { holder, at, content } => {
                let end = usize::try_from(*at).unwrap_or(usize::MAX).saturating_add(content.chars().count());
                let is_old = rights.given.keys().next_back().is_some_and(|newest| *newest > holder.fence);
                if let Some(right) = rights.given.get_mut(&holder.fence) {
                    right.sent = right.sent.max(end);
                }
                Asked::Append(holder.fence, end, is_old)
            }
            Command::End { holder, outcome } => {
                rights.ends.insert(match outcome {
                    Outcome::Complete { .. } => "complete",
                    Outcome::Error { .. } => "error",
                    Outcome::Cancelled => "cancelled",
                });
                Asked::End(holder.fence)
            }
            Command::Cancel { .. } => Asked::Cancel,
        };
        Some((asked, Called { at, was_open }))
    }

    /// What was asked at that moment is answered. Returns what is wrong with that.
    pub fn answered(
        &mut self,
        (room, stream): (&RoomName, &StreamName),
        (asked, called): (&Asked, Called),
        answer: &Result<Done, BrokerError>,
    ) -> Option<String> {
        let written = self.named_mut(room, stream.as_str())?;
        let found = match answer {
            Ok(done) => written.done(asked, called.at, done),
            Err(BrokerError::Stream(why)) => written.refused(asked, called, *why),
            Err(_) => None,
        };
        found.map(|found| format!("{stream} of {room}: {found}"))
    }

    /// A producer believes what only a planted bug told it.
    pub(crate) fn believed(&mut self, room: &RoomName, stream: &StreamName, done: &Done) {
        if let (Some(written), Done::Appended { at, .. }) = (self.named_mut(room, stream.as_str()), done) {
            written.rights.accepted = written.rights.accepted.max(usize::try_from(*at).unwrap_or(usize::MAX));
        }
    }

    /// A record of a stream is visible, since that moment where it was not found after a restart. Returns what is wrong with that.
    pub fn shown(
        &mut self,
        (room, said): (&RoomName, &Said),
        record: &Record,
        now: Option<Instant>,
    ) -> Vec<String> {
        let name = &said.stream;
        let Some(written) = self.named_mut(room, name) else {
            return vec![format!("{room} has {record:?} of a stream that nobody opened")];
        };
        let found = if said.is_chunk() {
            written.chunk(said, record)
        } else {
            Vec::from_iter(written.end(said, record.offset.0, now))
        };
        found.into_iter().map(|found| format!("{name} of {room}: {found}")).collect()
    }

    /// A room was read from its beginning after a restart, of which everything up to `gone` is gone. Returns what is wrong with its
    /// streams. Leases begin afresh.
    pub fn reopened(
        &mut self,
        room: &RoomName,
        records: &[Record],
        (head, gone, now): (u64, u64, Instant),
    ) -> Vec<String> {
        let mut kept: BTreeMap<String, (u64, String)> = BTreeMap::new();
        for (record, said) in records.iter().filter_map(|record| Some((record, chunk_of(record)?))) {
            let text = kept.entry(said.stream).or_insert_with(|| (record.offset.0, String::new()));
            text.1.push_str(&said.content);
        }
        let mut found = Vec::new();
        for (name, written) in self.0.get_mut(room).into_iter().flatten() {
            let text = kept.remove(name);
            if text.is_none() {
                written.may_have_ended(gone, now);
            }
            let wrong = written.reopened(name, text, head);
            found.extend(wrong.map(|wrong| format!("{name} of {room} after a restart: {wrong}")));
            written.rights.lease_until = now + written.plan.lease;
        }
        found.extend(kept.keys().map(|name| format!("{room} has a stream {name} that nobody opened")));
        found
    }
}

fn chunk_of(record: &Record) -> Option<Said> {
    Said::read(record.message.as_bytes()).filter(Said::is_chunk)
}

impl Written {
    fn chunk(&mut self, said: &Said, record: &Record) -> Vec<String> {
        let offset = record.offset.0;
        let mut found = Vec::new();
        if record.except != self.plan.except {
            found.push(format!("{offset} is kept from {:?}, not {:?}", record.except, self.plan.except));
        }
        if said.at == 0 && said.content.is_empty() && self.open().is_none() {
            if said.data != self.plan.data {
                found.push(format!("it begins with {:?}, not {:?}", said.data, self.plan.data));
            }
            self.begin(offset);
            return found;
        }
        found.extend(terminals::text(self.lives.last(), offset));
        let Self { lives, rights, .. } = self;
        let Some(life) = lives.last_mut().filter(|_| found.is_empty()) else { return found };
        if said.at != life.text.len() {
            found.push(format!("text at {} behind {}", said.at, life.text.len()));
            return found;
        }
        found.extend(fencing::text(rights, &said.stream, said.at, &said.content));
        life.text.extend(said.content.chars());
        life.pieces.push((offset, life.text.len()));
        found
    }

    fn end(&mut self, said: &Said, offset: u64, now: Option<Instant>) -> Option<String> {
        let second = terminals::end(self.lives.last(), offset);
        let life = self.lives.last_mut().filter(|_| second.is_none());
        let Some(life) = life else { return second };
        life.end = Some(offset);
        let lost = accepted::text(life.text.len(), self.rights.accepted);
        let early = || leases::end(&self.rights, &said.kind, now);
        lost.or_else(early).or_else(|| terminals::asked(&self.rights, &said.kind))
    }

    /// Nothing of it is there any more: it may have ended in the last commit before a crash, which took the end away too, so that nobody
    /// saw that.
    fn may_have_ended(&mut self, gone: u64, now: Instant) {
        let may_end = !self.rights.ends.is_empty() || now >= self.rights.lease_until;
        let life = self.lives.last_mut().filter(|life| may_end && life.end.is_none());
        let last = |life: &Life| life.pieces.last().map_or(life.first, |(offset, _)| *offset);
        if let Some(life) = life.filter(|life| last(life) < gone) {
            life.end = Some(last(life) + 1);
        }
    }

    /// What a restart left of it: where it begins, and its text.
    fn reopened(&mut self, name: &str, kept: Option<(u64, String)>, head: u64) -> Option<String> {
        let Some((first, text)) = kept else {
            let life = self.open()?;
            return Some(format!("it was open with {} of text, and is gone", life.text.len()));
        };
        if self.lives.last().is_none_or(|life| life.first != first) {
            self.begin(first);
        }
        let life = self.lives.last_mut()?;
        let known: String = life.text.iter().collect();
        let Some(fresh) = text.strip_prefix(&known) else {
            return Some(format!("it has {text:?}, and had {known:?}"));
        };
        if fresh.is_empty() {
            return None;
        }
        let found = fencing::text(&self.rights, name, life.text.len(), fresh);
        life.text.extend(fresh.chars());
        // Where each of its pieces stands is not known.
        life.pieces.push((head, life.text.len()));
        found
    }

    /// Something was done.
    fn done(&mut self, asked: &Asked, called: Instant, done: &Done) -> Option<String> {
        let Self { lives, rights, plan } = self;
        match (asked, done) {
            (Asked::Open(principal, opens), Done::Opened { fence, at }) => {
                let at = usize::try_from(*at).unwrap_or(usize::MAX);
                let wrong = fencing::opened(rights, principal, *fence);
                rights.principal = Some(Arc::clone(principal));
                rights.given.insert(*fence, Right { at, sent: at, opens: *opens });
                rights.lease_until = rights.lease_until.max(called + plan.lease);
                wrong.or_else(|| accepted::told(at, rights.accepted))
            }
            (Asked::Append(fence, end, is_old), Done::Appended { at, .. }) => {
                let at = usize::try_from(*at).unwrap_or(usize::MAX);
                let wrong = fencing::appended(*fence, *is_old);
                let lost = accepted::told(at, rights.accepted.max(*end));
                rights.accepted = rights.accepted.max(at);
                rights.lease_until = rights.lease_until.max(called + plan.lease);
                wrong.or(lost)
            }
            (Asked::End(_), Done::Ended { message_id }) => terminals::answered(lives, message_id.0),
            (Asked::Cancel, Done::Cancelled) => None,
            _ => Some(format!("{asked:?} was answered by {done:?}")),
        }
    }

    /// Something was refused.
    fn refused(&self, asked: &Asked, called: Called, why: StreamError) -> Option<String> {
        let Self { lives, rights, .. } = self;
        let is_true = match (why, asked) {
            (StreamError::Ended | StreamError::NotFound, _) => !called.was_open || self.open().is_none(),
            (StreamError::Taken, Asked::Open(principal, _)) => {
                rights.principal.as_ref().is_none_or(|own| own != principal)
            }
            (StreamError::Fenced, Asked::Append(fence, ..) | Asked::End(fence)) => {
                rights.given.get(fence).is_none_or(|right| right.opens < rights.opens)
            }
            (StreamError::AtMismatch { at }, Asked::Append(_, end, _)) => {
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                at < *end && at >= rights.accepted
            }
            _ => false,
        };
        (!is_true).then(|| format!("{asked:?} was refused: {why}; {rights:?}, {:?}", lives.last()))
    }
}
