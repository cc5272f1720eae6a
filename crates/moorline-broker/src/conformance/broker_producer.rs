//! Who writes a stream in the clauses about them, and who reads it.

use bytes::Bytes;
use moorline_proto::batch::Page;
use moorline_proto::id::{RoomName, SessionId, StreamName};
use moorline_proto::position::Offset;
use moorline_proto::record::Record;
use moorline_proto::stream::{Canceller, Command, Done, Expected, Holder, Lease, Open, Outcome};
use serde_json::Value;

use super::{room, session};
use crate::broker::{Broker, BrokerError};

/// Asks things of one stream.
pub(super) struct Producer<'a, B> {
    pub(super) broker: &'a B,
    pub(super) room: RoomName,
    pub(super) stream: StreamName,
    pub(super) principal: &'static str,
    pub(super) session: Option<SessionId>,
    pub(super) fence: u64,
}

impl<'a, B: Broker> Producer<'a, B> {
    pub(super) fn new(broker: &'a B, stream: &str) -> Self {
        let stream = StreamName::new(stream).expect("a stream's name");
        let (room, session) = (room("a"), Some(session("p")));
        Self { broker, room, stream, principal: "user/u", session, fence: 0 }
    }

    pub(super) fn ask(&self, command: Command) -> impl Future<Output = Result<Done, BrokerError>> + use<B> {
        self.broker.stream(self.room.clone(), self.stream.clone(), command)
    }

    pub(super) async fn open(&mut self) -> Result<u64, BrokerError> {
        let open = Open {
            principal: self.principal.into(),
            session: self.session.clone(),
            data: Some(Bytes::from_static(br#"{"reply_to":7}"#)),
            except: None,
            lease: Lease::DEFAULT,
            expected: Expected::Any,
        };
        match self.ask(Command::Open(Box::new(open))).await? {
            Done::Opened { fence, at } => {
                self.fence = fence;
                Ok(at)
            }
            other => panic!("expected an open stream, got {other:?}"),
        }
    }

    pub(super) fn holder(&self) -> Holder {
        Holder { principal: self.principal.into(), session: self.session.clone(), fence: self.fence }
    }

    pub(super) fn append(
        &self,
        at: u64,
        content: &str,
    ) -> impl Future<Output = Result<Done, BrokerError>> + use<B> {
        self.ask(Command::Append { holder: self.holder(), at, content: content.into() })
    }

    pub(super) fn end(&self) -> impl Future<Output = Result<Done, BrokerError>> + use<B> {
        self.ask(Command::End { holder: self.holder(), outcome: outcome() })
    }

    pub(super) async fn ended(&self) -> Offset {
        match self.end().await {
            Ok(Done::Ended { message_id }) => message_id,
            other => panic!("expected an end, got {other:?}"),
        }
    }

    pub(super) async fn cancel(&self, by: &str) {
        let by = Canceller { session: Some(session(by)), user: None };
        assert_eq!(self.ask(Command::Cancel { by }).await, Ok(Done::Cancelled));
    }
}

pub(super) fn outcome() -> Outcome {
    Outcome::Complete { message: Some(Bytes::from_static(br#"{"tokens":2}"#)) }
}

pub(super) fn appended(at: u64) -> Result<Done, BrokerError> {
    Ok(Done::Appended { at, cancel: false })
}

/// What a reader keeps of one stream, by the rules for readers.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) text: String,
    pub(super) data: Option<Value>,
    pub(super) ends: Vec<String>,
    pub(super) records: Vec<Offset>,
}

impl Heard {
    pub(super) fn hear(&mut self, stream: &str, record: &Record) {
        self.records.push(record.offset);
        let frame: Value = serde_json::from_slice(record.message.as_bytes()).expect("JSON");
        if frame["stream"] != stream {
            return;
        }
        assert_eq!(self.ends, [""; 0], "something comes behind the end");
        if frame["type"] != "chunk" {
            self.ends.push(frame["type"].as_str().expect("a type").to_owned());
            return;
        }
        let at = usize::try_from(frame["at"].as_u64().expect("a place")).expect("a place");
        let content = frame["content"].as_str().expect("text");
        let known = self.text.chars().count();
        assert!(at <= known, "a gap before {at}, after {known}");
        self.text.extend(content.chars().skip(known - at));
        if let Some(data) = frame.get("data") {
            assert_eq!(at, 0, "only what begins the text carries the object");
            self.data = Some(data.clone());
        }
    }

    pub(super) fn of(stream: &str, page: &Page) -> Self {
        let mut heard = Self::default();
        page.records.iter().for_each(|record| heard.hear(stream, record));
        heard
    }

    pub(super) fn is_whole(&self, text: &str) -> bool {
        self.text == text && self.ends == ["complete"]
    }
}
