//! `moorline store export`: records as lines of JSON.

use std::io::IsTerminal as _;
use std::ops::ControlFlow;

use moorline::{Epoch, Offset, RoomName, SessionId, Timestamp, UserId};
use moorline_proto::record::{Except, Record};
use serde::Serialize;

use crate::exit::UsageError;
use crate::output::Out;
use crate::text;

/// So much is written at once, in bytes: a line at a time would be slow.
const CHUNK_BYTES: usize = 64 * 1024;

/// A room's name as it is typed: own rooms too.
pub(super) fn room(text: &str) -> Result<RoomName, UsageError> {
    RoomName::stored(text).map_err(|error| UsageError::new(format!("the room name {error}")))
}

/// A record, without its message: that one follows as it was published.
#[derive(Serialize)]
struct Head<'a> {
    room: &'a RoomName,
    epoch: Epoch,
    message_id: Offset,
    timestamp: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    except: Option<Excepted<'a>>,
}

/// Whom a record is not for, in the form of a publish.
#[derive(Serialize)]
struct Excepted<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    sessions: &'a [SessionId],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    users: &'a [UserId],
}

impl<'a> Excepted<'a> {
    fn of(except: &'a Except) -> Self {
        Self { sessions: &except.sessions, users: &except.users }
    }
}

/// Adds a record's line. Line ends in a message can only stand between its parts, and become spaces; all else is untouched.
fn put(lines: &mut Vec<u8>, (room, epoch): (&RoomName, Epoch), record: &Record) -> anyhow::Result<()> {
    let except = record.except.as_deref().map(Excepted::of);
    let head = Head { room, epoch, message_id: record.offset, timestamp: record.timestamp, except };
    serde_json::to_writer(&mut *lines, &head)?;
    // The object is closed behind the message.
    lines.pop();
    lines.extend_from_slice(b",\"message\":");
    let line_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    lines.extend(record.message.as_bytes().iter().map(|byte| if line_end(byte) { b' ' } else { *byte }));
    lines.extend_from_slice(b"}\n");
    Ok(())
}

/// Writes records to standard output until that is closed.
pub(super) struct Printer {
    out: Out,
    /// On a terminal nothing is shown that it would act on.
    is_terminal: bool,
    waiting: Vec<u8>,
    written: anyhow::Result<()>,
}

impl Printer {
    pub(super) fn new(out: Out) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        Self { out, is_terminal, waiting: Vec::with_capacity(CHUNK_BYTES), written: Ok(()) }
    }

    /// Breaks off where nothing can be written any more.
    pub(super) fn visit(&mut self, room: &RoomName, epoch: Epoch, record: &Record) -> ControlFlow<()> {
        self.written = put(&mut self.waiting, (room, epoch), record);
        if self.written.is_ok() && self.waiting.len() >= CHUNK_BYTES {
            self.written = self.flush();
        }
        if self.written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// Why not everything could be written.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        std::mem::replace(&mut self.written, Ok(())).and_then(|()| self.flush())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let lines = std::mem::take(&mut self.waiting);
        if !self.is_terminal {
            return self.out.bytes(&lines);
        }
        String::from_utf8_lossy(&lines).lines().try_for_each(|line| self.out.line(text::compact(line)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use moorline::Message;

    use super::*;

    fn line(except: Option<Except>, message: &'static str) -> String {
        let room = RoomName::new("a \"room\"").unwrap();
        let message = Message::parse(message.into()).unwrap();
        let timestamp = Timestamp(1_704_110_400_000);
        let record = Record { offset: Offset(7), timestamp, except: except.map(Arc::new), message };
        let mut lines = Vec::new();
        put(&mut lines, (&room, Epoch(0xab)), &record).unwrap();
        String::from_utf8(lines).unwrap()
    }

    #[test]
    fn a_line_is_the_record_with_its_message_as_it_was() {
        let head = r#"{"room":"a \"room\"","epoch":"00000000000000ab","message_id":7,"timestamp":"2024-01-01T12:00:00.000Z","#;
        assert_eq!(
            line(None, r#"{"type" : "x","n":1.50}"#),
            format!("{head}\"message\":{{\"type\" : \"x\",\"n\":1.50}}}}\n")
        );
        let ids = |ids: &[&str]| ids.iter().map(|id| SessionId::new(id).unwrap()).collect();
        let except = Except { sessions: ids(&["s1"]), users: Vec::new() };
        assert_eq!(
            line(Some(except), "{\n\t\"type\":\"x\\n\"\r\n}"),
            format!("{head}\"except\":{{\"sessions\":[\"s1\"]}},\"message\":{{ \t\"type\":\"x\\n\"  }}}}\n")
        );
        let except = Except { sessions: Vec::new(), users: vec![UserId::new("ann").unwrap()] };
        let parsed: serde_json::Value = serde_json::from_str(&line(Some(except), r#"{"type":"x"}"#)).unwrap();
        assert_eq!(parsed["except"], serde_json::json!({"users": ["ann"]}));
    }

    #[test]
    fn rooms_are_named_as_the_store_has_them() {
        assert!(room("lobby").is_ok() && room("@user/ann").is_ok() && room("@all").is_ok());
        assert_eq!(room("").unwrap_err().to_string(), "the room name is empty");
        assert!(room("@nobody").is_err());
    }
}
