//! What one connection carries: only what is for it, of rooms that it is in, with rising numbers, and nothing again that
//! was acknowledged before it began.

use std::collections::{BTreeMap, BTreeSet};

use moorline_proto::id::{RoomName, SessionId, UserId};
use serde_json::Value;

use crate::truth::Truth;

/// What one connection carried so far.
#[derive(Debug, Default)]
pub struct Stream {
    session: Option<SessionId>,
    /// The last offset of each room that it carries.
    rooms: BTreeMap<RoomName, u64>,
    /// What the session had acknowledged when the connection was bound.
    pub acked: BTreeMap<RoomName, u64>,
    /// Replays that were asked for, by `ref`.
    replays: BTreeMap<u64, RoomName>,
    /// Streams whose end it carried.
    ended: BTreeSet<(RoomName, String)>,
}

impl Stream {
    /// How far it has brought a room.
    #[must_use]
    pub fn brought(&self, room: &RoomName) -> u64 {
        self.rooms.get(room).copied().unwrap_or_default()
    }

    /// A frame that the client sends. Returns which room it wants again, and after what, where it is a `reconnect`.
    pub fn sent(&mut self, text: &str) -> Option<(RoomName, u64)> {
        if !text.contains("\"reconnect\"") {
            return None;
        }
        let frame: Value =
            serde_json::from_str(text).ok().filter(|frame: &Value| frame["type"] == "reconnect")?;
        let room = RoomName::stored(frame["room"].as_str()?).ok()?;
        self.replays.insert(frame["ref"].as_u64()?, room.clone());
        Some((room, frame["last_message_id"].as_u64()?))
    }

    /// The room that is read again from here on, where a frame that the client receives is the answer to its `reconnect`.
    #[must_use]
    pub fn replayed(&self, text: &str) -> Option<RoomName> {
        let is_reply = !self.replays.is_empty() && text.starts_with("{\"type\":\"reply\"");
        let frame: Value = is_reply.then(|| serde_json::from_str(text).ok())??;
        frame["ref"].as_u64().and_then(|reference| self.replays.get(&reference).cloned())
    }

    /// A frame that the client receives.
    pub fn received(&mut self, truth: &Truth, user: Option<&UserId>, text: &str) -> Option<String> {
        let frame: Value = serde_json::from_str(text).ok()?;
        let room = frame["room"].as_str().and_then(|room| RoomName::stored(room).ok());
        let offset = frame["message_id"].as_u64();
        match (frame["type"].as_str().unwrap_or_default(), room, offset) {
            ("connection_established", ..) => self.established(&frame),
            ("joined", Some(room), Some(offset)) => self.begins(room, offset),
            ("left", Some(room), _) => drop(self.rooms.remove(&room)),
            ("reset", Some(room), _) => {
                return self.reset(truth, &room, &frame);
            }
            ("position", Some(room), Some(offset)) => return self.position(&room, offset),
            ("reply", ..) => self.reply(&frame),
            ("m", Some(room), Some(offset)) => return self.record(truth, user, &room, offset),
            ("m", Some(room), None) => return self.member(&room),
            (_, Some(room), Some(offset)) if frame["stream"].is_string() => {
                return self.of_stream((truth, user), &room, offset, &frame);
            }
            _ => {}
        }
        None
    }

    /// A room is read from there on; texts come anew.
    fn begins(&mut self, room: RoomName, offset: u64) {
        self.ended.retain(|(name, _)| *name != room);
        self.rooms.insert(room, offset);
    }

    /// Text of a stream may stand where something stood before, never before it, nor behind the stream's end.
    fn of_stream(
        &mut self,
        (truth, user): (&Truth, Option<&UserId>),
        room: &RoomName,
        offset: u64,
        frame: &Value,
    ) -> Option<String> {
        let key = (room.clone(), frame["stream"].as_str()?.to_owned());
        if frame["type"] != "chunk" {
            let is_second = !self.ended.insert(key);
            let second = is_second.then(|| format!("{:?} is sent a second end: {frame}", self.session));
            return second.or_else(|| self.record(truth, user, room, offset));
        }
        if let Some(stranger) = self.member(room) {
            return Some(stranger);
        }
        let is_first = frame["at"] == 0 && frame["content"] == "";
        if self.ended.contains(&key) && !is_first {
            return Some(format!("{:?} is sent text behind the end: {frame}", self.session));
        }
        if is_first {
            self.ended.remove(&key);
        }
        let start = self.acked.get(room).copied().unwrap_or_default();
        let last = self.rooms.insert(room.clone(), offset).unwrap_or(start);
        (offset < last).then(|| format!("{:?} is sent {frame} behind {last}", self.session))
    }

    fn established(&mut self, frame: &Value) {
        self.session = frame["session"].as_str().and_then(|id| SessionId::new(id).ok());
        if frame["resumed"] == false {
            self.acked.clear();
        }
        let rooms = frame["rooms"].as_object().into_iter().flatten();
        for room in rooms.filter_map(|(room, _)| RoomName::stored(room).ok()) {
            let start = self.acked.get(&room).copied().unwrap_or_default();
            self.rooms.insert(room, start);
        }
    }

    fn reply(&mut self, frame: &Value) {
        let Some(room) = frame["ref"].as_u64().and_then(|reference| self.replays.remove(&reference)) else {
            return;
        };
        if let Some(start) = frame["message_id"].as_u64() {
            self.begins(room, start);
        }
    }

    fn member(&self, room: &RoomName) -> Option<String> {
        let is_member = room.is_own() || self.rooms.contains_key(room);
        (!is_member).then(|| format!("{:?} is sent something of {room} and is no member", self.session))
    }

    /// It goes back alone where the log has forgotten the room with its numbers: nobody has them any more.
    fn reset(&mut self, truth: &Truth, room: &RoomName, frame: &Value) -> Option<String> {
        let to = frame["to"].as_u64().unwrap_or_default();
        let start = self.acked.get(room).copied().unwrap_or_default();
        let last = self.rooms.get(room).copied().unwrap_or(start);
        self.begins(room.clone(), to);
        let is_gone = frame["reason"] == "ahead" && frame["from"].is_null() && truth.head(room) >= last;
        (to < last && !is_gone)
            .then(|| format!("{:?} is reset in {room} to {to}, back from {last}", self.session))
    }

    fn position(&mut self, room: &RoomName, offset: u64) -> Option<String> {
        let last = self.rooms.insert(room.clone(), offset).unwrap_or_default();
        (offset < last).then(|| format!("{:?} is told {offset} of {room} behind {last}", self.session))
    }

    fn record(
        &mut self,
        truth: &Truth,
        user: Option<&UserId>,
        room: &RoomName,
        offset: u64,
    ) -> Option<String> {
        let session = self.session.as_ref()?;
        if let Some(stranger) = self.member(room) {
            return Some(stranger);
        }
        if truth.at(room, offset).is_some_and(|record| !record.is_for(session, user)) {
            return Some(format!("{session} is sent {offset} of {room}, which is not for it"));
        }
        let start = self.acked.get(room).copied().unwrap_or_default();
        let last = self.rooms.insert(room.clone(), offset).unwrap_or(start);
        (offset <= last).then(|| format!("{session} is sent {offset} of {room} behind {last}"))
    }
}
