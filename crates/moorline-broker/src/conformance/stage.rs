//! One room's log under a clock that is set by hand, asked as producers ask. Checks what every answer owes.

use moorline_proto::id::{RoomName, StreamName};
use moorline_proto::position::Offset;
use moorline_proto::record::Record;
use moorline_proto::stream::{
    Canceller, Command, Done, Expected, Holder, Lease, Open, Outcome, Sight, StreamError, StreamView,
};
use moorline_proto::time::Instant;

use super::log::{append, at, draft};
use super::{room, session};
use crate::log::{Log, New, Streamed};

/// Who writes where nothing else is said: no client, so it has no client's share of the memory.
pub(super) const ME: &str = "key/me";

pub(super) fn name(stream: &str) -> StreamName {
    StreamName::new(stream).expect("a stream's name")
}

pub(super) fn lease(millis: u64) -> Lease {
    Lease::new(std::time::Duration::from_millis(millis)).expect("a lease")
}

pub(super) fn instant(millis: u64) -> Instant {
    at(millis).instant
}

/// How many code points.
pub(super) fn points(text: &str) -> u64 {
    u64::try_from(text.chars().count()).unwrap_or(u64::MAX)
}

pub(super) fn opening(principal: &str) -> Open {
    let (session, data, except, expected) = (None, None, None, Expected::Any);
    Open { principal: principal.into(), session, data, except, lease: lease(600_000), expected }
}

pub(super) fn opened_by(principal: &str) -> Command {
    Command::Open(Box::new(opening(principal)))
}

pub(super) fn holder(principal: &str, fence: u64) -> Holder {
    Holder { principal: principal.into(), session: None, fence }
}

pub(super) fn appending(holder: Holder, at: u64, content: &str) -> Command {
    Command::Append { holder, at, content: content.into() }
}

pub(super) fn complete(message: &str) -> Outcome {
    Outcome::Complete { message: Some(message.to_owned().into_bytes().into()) }
}

pub(super) fn failed(error: &str) -> Outcome {
    Outcome::Error { error: Some(error.to_owned().into_bytes().into()) }
}

pub(super) fn canceller(id: &str) -> Canceller {
    Canceller { session: Some(session(id)), user: None }
}

/// What a chunk says, where its text needs no escapes: stream, place, content.
pub(super) fn chunk_of(record: &Record) -> Option<(&str, u64, &str)> {
    let rest = json(record).strip_prefix(r#"{"type":"chunk","stream":""#)?;
    let (stream, rest) = rest.split_once(r#"","at":"#)?;
    let (at, rest) = rest.split_once(r#","content":""#)?;
    let (content, _) = rest.split_once('"')?;
    Some((stream, at.parse().ok()?, content))
}

/// The kind of a terminal record, and its stream.
pub(super) fn terminal_of(record: &Record) -> Option<(&str, &str)> {
    let (kind, rest) = json(record).strip_prefix(r#"{"type":""#)?.split_once(r#"","stream":""#)?;
    let (stream, _) = rest.split_once('"')?;
    (kind != "chunk").then_some((kind, stream))
}

pub(super) fn json(record: &Record) -> &str {
    std::str::from_utf8(record.message.as_bytes()).expect("UTF-8")
}

/// The messages, one after the other.
pub(super) fn messages(news: &[New]) -> Vec<&str> {
    news.iter().map(|new| json(&new.record)).collect()
}

/// The text that chunks bring, each behind the one before it.
pub(super) fn joined(news: &[New]) -> String {
    news.iter().filter_map(|new| chunk_of(&new.record)).map(|(_, _, content)| content).collect()
}

pub(super) fn chunk(stream: &str, at: u64, content: &str) -> String {
    format!(r#"{{"type":"chunk","stream":"{stream}","at":{at},"content":"{content}"}}"#)
}

/// The log, its room and the time.
pub(super) struct Stage<L> {
    pub(super) log: L,
    pub(super) room: RoomName,
    pub(super) millis: u64,
}

impl<L: Log> Stage<L> {
    pub(super) fn new(log: L) -> Self {
        Self { log, room: room("a"), millis: 0 }
    }

    pub(super) fn head(&self) -> Offset {
        self.log.state(&self.room).head
    }

    /// Each record names the head before it, and the state shows the head after the last.
    fn follow(&self, before: Offset, news: &[New]) {
        let mut head = before;
        for New { after, record } in news {
            assert_eq!(*after, head, "the head before {record:?}");
            assert!(record.offset > head, "{record:?} does not rise above {head:?}");
            head = record.offset;
        }
        assert_eq!(self.head(), head, "the head after {news:?}");
    }

    pub(super) fn ask(&mut self, stream: &str, command: &Command) -> Streamed {
        let before = self.head();
        let done = self.log.stream(&self.room, &name(stream), command, at(self.millis));
        self.follow(before, &done.records);
        assert!(done.is_change || done.records.is_empty(), "records are kept: {done:?}");
        done
    }

    pub(super) fn open_as(&mut self, stream: &str, open: Open) -> Streamed {
        self.ask(stream, &Command::Open(Box::new(open)))
    }

    /// Opens and returns the fence.
    pub(super) fn open(&mut self, stream: &str) -> u64 {
        self.opened(stream, opening(ME)).0
    }

    /// Opens and returns the fence and the length.
    pub(super) fn opened(&mut self, stream: &str, open: Open) -> (u64, u64) {
        match self.open_as(stream, open).result {
            Ok(Done::Opened { fence, at }) => (fence, at),
            other => panic!("{stream} was not opened: {other:?}"),
        }
    }

    pub(super) fn append(&mut self, stream: &str, fence: u64, at: u64, content: &str) -> Streamed {
        self.ask(stream, &appending(holder(ME, fence), at, content))
    }

    /// Appends and returns what readers get.
    pub(super) fn add(&mut self, stream: &str, fence: u64, at: u64, content: &str) -> Vec<New> {
        let done = self.append(stream, fence, at, content);
        let length = at + points(content);
        assert_eq!(done.result, Ok(Done::Appended { at: length, cancel: false }), "{content:?} at {at}");
        done.records
    }

    pub(super) fn end(&mut self, stream: &str, fence: u64, outcome: Outcome) -> Streamed {
        self.ask(stream, &Command::End { holder: holder(ME, fence), outcome })
    }

    /// Ends and returns what readers get.
    pub(super) fn finish(&mut self, stream: &str, fence: u64) -> Vec<New> {
        let done = self.end(stream, fence, Outcome::Complete { message: None });
        let last = done.records.last().map(|new| Done::Ended { message_id: new.record.offset });
        assert_eq!(done.result.ok(), last, "the answer names the terminal record");
        done.records
    }

    pub(super) fn cancel(&mut self, stream: &str, by: Canceller) -> Streamed {
        self.ask(stream, &Command::Cancel { by })
    }

    pub(super) fn publish(&mut self, number: u64) -> Record {
        append(&mut self.log, &self.room, draft(number), self.millis)
    }

    /// All that is due now.
    pub(super) fn lapse(&mut self) -> Vec<New> {
        let before = self.head();
        let mut news = Vec::new();
        for _ in 0..1_000 {
            let due = self.log.lapse(at(self.millis));
            news.extend(due.into_iter().filter(|(room, _)| *room == self.room).map(|(_, new)| new));
            if self.log.lapses_at().is_none_or(|due| due > instant(self.millis)) {
                self.follow(before, &news);
                return news;
            }
        }
        panic!("lapse has something to do for ever at {} ms", self.millis)
    }

    /// Asks whether the holder may still write, which renews the lease.
    pub(super) fn lives(&mut self, stream: &str, fence: u64) -> bool {
        match self.append(stream, fence, 0, "").result {
            Ok(_) => true,
            Err(StreamError::Ended) => false,
            Err(other) => panic!("{stream}: {other:?}"),
        }
    }

    /// The stream as it stands at the head.
    pub(super) fn view(&self, stream: &str) -> Option<StreamView> {
        self.log.view_stream(&self.room, &name(stream), shown(self.head()))
    }

    /// What readers may see of its text.
    pub(super) fn text(&self, stream: &str) -> String {
        self.view(stream).expect("the stream").content
    }
}

/// What was shown up to there.
pub(super) const fn shown(head: Offset) -> Sight {
    Sight { head, accepted: false }
}
