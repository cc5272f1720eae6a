//! Frames as a client writes and reads them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr as _;

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use super::{ClientConfig, Publication};
use crate::id::{RoomName, SessionId};
use crate::identity::Token;
use crate::position::{Epoch, Offset, Position};
use crate::resume::{ResetReason, Since};
use crate::stream;

/// What the server said.
#[derive(Debug)]
pub(super) enum Received {
    Established(Established),
    Message {
        room: RoomName,
        message_id: Option<Offset>,
    },
    /// A part of a stream's text.
    Chunk {
        room: RoomName,
        message_id: Offset,
        chunk: Chunk,
    },
    /// A stream's terminal record.
    StreamEnded {
        room: RoomName,
        message_id: Offset,
        stream: String,
    },
    Reply {
        reference: u64,
        outcome: Result<(), (String, String)>,
        position: Option<Position>,
    },
    Error {
        code: String,
        message: String,
    },
    Ping,
    Pong,
    Joined {
        room: RoomName,
        position: Position,
    },
    Left {
        room: RoomName,
    },
    Reset {
        room: RoomName,
        reason: ResetReason,
        from: Option<Offset>,
        to: Position,
    },
    Position {
        room: RoomName,
        position: Position,
    },
    Closing {
        reconnect_in_ms: u64,
    },
    TokenExpiring {
        expires_in_ms: u64,
    },
    /// Something that a later version of the protocol may mean something by.
    Unknown,
}

/// What a chunk says of its stream.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) stream: String,
    /// Where it begins, in code points.
    pub(super) at: u64,
    pub(super) content: String,
}

impl Chunk {
    /// Its envelope without what lies before `length`, in code points. `data` goes with the beginning alone.
    pub(super) fn beyond(&self, envelope: &str, length: u64) -> Option<String> {
        let known = usize::try_from(length.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let content: String = self.content.chars().skip(known).collect();
        let mut fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(envelope).ok()?;
        let (at, content) = (to_raw_value(&length).ok()?, to_raw_value(&content).ok()?);
        fields.insert("at".into(), &at);
        fields.insert("content".into(), &content);
        fields.remove("data");
        serde_json::to_string(&fields).ok()
    }
}

/// `connection_established`.
#[derive(Debug, Deserialize)]
pub(super) struct Established {
    session: String,
    pub(super) resume_token: String,
    pub(super) resumed: bool,
    rooms: BTreeMap<String, RoomWire>,
    pub(super) heartbeat_ms: u64,
}

#[derive(Debug, Deserialize)]
struct RoomWire {
    epoch: String,
    message_id: Offset,
    replayed: u64,
}

impl Established {
    pub(super) fn session(&self) -> Option<SessionId> {
        SessionId::new(&self.session).ok()
    }

    /// Its rooms: where the replay of each ends, and how much it holds.
    pub(super) fn rooms(&self) -> impl Iterator<Item = (RoomName, Position, u64)> {
        self.rooms.iter().filter_map(|(name, wire)| {
            let position = Position { epoch: epoch(&wire.epoch), offset: wire.message_id };
            Some((RoomName::stored(name).ok()?, position, wire.replayed))
        })
    }
}

/// All fields that the frames of the server have and that a client looks at.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    room: Option<Cow<'a, str>>,
    message_id: Option<Offset>,
    #[serde(borrow)]
    epoch: Option<&'a RawValue>,
    #[serde(borrow)]
    from: Option<&'a RawValue>,
    #[serde(borrow)]
    to: Option<&'a RawValue>,
    #[serde(borrow)]
    reason: Option<&'a RawValue>,
    #[serde(rename = "ref", borrow)]
    reference: Option<&'a RawValue>,
    #[serde(borrow)]
    ok: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    reconnect_in_ms: Option<&'a RawValue>,
    #[serde(borrow)]
    expires_in_ms: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    at: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Failure {
    code: String,
    message: String,
}

impl Frame<'_> {
    fn room(&self) -> Option<RoomName> {
        RoomName::stored(self.room.as_deref()?).ok()
    }

    fn position(&self) -> Option<Position> {
        Some(Position { epoch: epoch(&field::<String>(self.epoch)?), offset: self.message_id? })
    }

    fn reset(&self) -> Option<Received> {
        let to = Position { epoch: epoch(&field::<String>(self.epoch)?), offset: field(self.to)? };
        Some(Received::Reset { room: self.room()?, reason: field(self.reason)?, from: field(self.from), to })
    }

    fn reply(&self) -> Option<Received> {
        let outcome = match (field::<bool>(self.ok)?, field::<Failure>(self.error)) {
            (true, _) => Ok(()),
            (false, failure) => {
                let Failure { code, message } = failure?;
                Err((code, message))
            }
        };
        Some(Received::Reply { reference: field(self.reference)?, outcome, position: self.position() })
    }

    fn error(&self) -> Option<Received> {
        Some(Received::Error { code: field(self.code)?, message: field(self.message)? })
    }

    /// A message. What comes from a stream says so: nobody else's message of these types may have a `stream`.
    fn of_room(&self, room: RoomName) -> Option<Received> {
        let stream = self.stream.filter(|_| stream::TYPES.contains(&&*self.kind));
        let (Some(message_id), Some(stream)) = (self.message_id, stream) else {
            return Some(Received::Message { room, message_id: self.message_id });
        };
        let stream: String = field(Some(stream))?;
        Some(if self.kind == "chunk" {
            let chunk = Chunk { stream, at: field(self.at)?, content: field(self.content)? };
            Received::Chunk { room, message_id, chunk }
        } else {
            Received::StreamEnded { room, message_id, stream }
        })
    }

    fn own(&self) -> Option<Received> {
        Some(match &*self.kind {
            "reply" => self.reply()?,
            "ping" => Received::Ping,
            "pong" => Received::Pong,
            "joined" => Received::Joined { room: self.room()?, position: self.position()? },
            "left" => Received::Left { room: self.room()? },
            "reset" => self.reset()?,
            "position" => Received::Position { room: self.room()?, position: self.position()? },
            "closing" => Received::Closing { reconnect_in_ms: field(self.reconnect_in_ms)? },
            "token_expiring" => Received::TokenExpiring { expires_in_ms: field(self.expires_in_ms)? },
            "presence" | "stream_cancel" => Received::Unknown,
            _ => match self.room() {
                Some(room) => self.of_room(room)?,
                None if self.kind == "error" => self.error()?,
                // An endpoint may give its pings another type.
                None => Received::Ping,
            },
        })
    }
}

/// A field that only some frames have, in the shape that those have.
fn field<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

fn epoch(text: &str) -> Epoch {
    Epoch::from_str(text).unwrap_or(Epoch::UNKNOWN)
}

/// Reads one text frame of the server's.
pub(super) fn read(text: &str) -> Received {
    if text == "pong" {
        return Received::Pong;
    }
    if text.starts_with(r#"{"type":"connection_established""#) {
        return serde_json::from_str(text).map_or(Received::Unknown, Received::Established);
    }
    let frame: Option<Frame<'_>> = serde_json::from_str(text).ok();
    frame.and_then(|frame| frame.own()).unwrap_or(Received::Unknown)
}

pub(super) fn hello<'a>(
    config: &ClientConfig,
    identity: Option<&(SessionId, String)>,
    positions: impl Iterator<Item = (&'a RoomName, Position)>,
) -> String {
    let mut frame = Map::new();
    frame.insert("type".into(), "hello".into());
    match (identity, &config.session) {
        (Some((session, token)), _) => {
            frame.insert("session".into(), session.as_str().into());
            frame.insert("resume_token".into(), token.as_str().into());
        }
        (None, Some(session)) => drop(frame.insert("session".into(), session.as_str().into())),
        (None, None) => {}
    }
    let positions: Map<String, Value> =
        positions.map(|(room, position)| (room.to_string(), json!(position))).collect();
    if !positions.is_empty() {
        frame.insert("positions".into(), positions.into());
    }
    if let Some(metadata) = &config.metadata {
        frame.insert("metadata".into(), Value::Object(metadata.clone()));
    }
    Value::Object(frame).to_string()
}

/// The `pong` that acknowledges, and an `ack` for each position whose epoch is not known.
pub(super) fn pong(positions: Vec<(RoomName, Option<Epoch>, Offset)>) -> Vec<String> {
    let mut named = Map::new();
    let mut acks = Vec::new();
    for (room, epoch, offset) in positions {
        match epoch {
            Some(epoch) => drop(named.insert(room.to_string(), json!(Position { epoch, offset }))),
            None => acks.push(json!({"type": "ack", "room": room, "message_id": offset}).to_string()),
        }
    }
    let pong =
        if named.is_empty() { json!({"type": "pong"}) } else { json!({"type": "pong", "positions": named}) };
    std::iter::once(pong.to_string()).chain(acks).collect()
}

pub(super) fn publish(reference: u64, publication: &Publication) -> String {
    // The message stands as the application wrote it: its bytes are not parsed and written again.
    let mut frame = json!({"type": "publish", "ref": reference, "to": publication.to, "id": publication.id});
    if let (Some(except), Some(fields)) = (&publication.except, frame.as_object_mut()) {
        fields.insert("except".into(), except.clone());
    }
    let mut text = frame.to_string();
    text.pop();
    format!("{text},\"message\":{}}}", publication.message)
}

pub(super) fn join(reference: u64, room: &RoomName, since: Since) -> String {
    let mut frame = json!({"type": "join", "ref": reference, "room": room});
    let since = match since {
        Since::Now => None,
        Since::Start => Some(json!("start")),
        Since::Position(position) => Some(json!(position)),
    };
    if let (Some(since), Some(fields)) = (since, frame.as_object_mut()) {
        fields.insert("since".into(), since);
    }
    frame.to_string()
}

/// Without a `ref`: only its refusal is answered.
pub(super) fn authenticate(token: &Token) -> String {
    json!({"type": "auth", "token": token.expose()}).to_string()
}

pub(super) fn leave(reference: u64, room: &RoomName) -> String {
    json!({"type": "leave", "ref": reference, "room": room}).to_string()
}

pub(super) fn replay(reference: u64, room: &RoomName, after: Offset) -> String {
    json!({"type": "reconnect", "ref": reference, "room": room, "last_message_id": after}).to_string()
}
