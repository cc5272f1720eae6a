//! What a session receives and its application is told, written down.

use std::sync::atomic::Ordering;

use moorline_proto::client::{Event, Input, Output};
use moorline_proto::error::ErrorCode;
use moorline_proto::id::{PublishId, RoomName};
use serde_json::json;

use super::driver::Driver;
use super::frames::{Greeting, Heard, of_stream};
use crate::content::{Content, LAST};
use crate::history::{Outcome, What};
use crate::run::count;

/// Refusals after which the message may still appear.
const OPEN: [ErrorCode; 3] = [ErrorCode::Unavailable, ErrorCode::Overloaded, ErrorCode::Internal];

impl Driver {
    pub(super) fn hear(&mut self, text: String) {
        if let Some(greeting) = Greeting::read(&text) {
            self.epochs.extend(greeting.epochs());
            return self.tell(Input::TextReceived(text));
        }
        match Heard::read(&text) {
            Heard::Message { room, offset, content } => {
                self.tell(Input::TextReceived(text));
                let fresh = self.given().is_some();
                let epoch = self.epochs.get(&room).copied();
                if fresh {
                    self.fresh(&room, &content);
                }
                self.log.push(self.connection, What::Message { room, epoch, offset, content, fresh });
            }
            Heard::OfStream => {
                self.tell(Input::TextReceived(text));
                // Of a chunk only what is new is given.
                let what = self.given().and_then(|given| of_stream(&given));
                what.into_iter().for_each(|what| self.log.push(self.connection, what));
            }
            Heard::Epoch(room, epoch) => {
                self.epochs.insert(room, epoch);
                self.tell(Input::TextReceived(text));
            }
            Heard::Answer { reference, ok } if self.acked(&reference, ok) => {}
            Heard::Answer { .. } | Heard::Other => self.tell(Input::TextReceived(text)),
        }
    }

    /// What the machine gave to the application of the message that it just got.
    fn given(&mut self) -> Option<String> {
        let mut given = None;
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Event(Event::Message { text, .. }) => given = Some(text),
                other => self.todo.push_back(other),
            }
        }
        given
    }

    fn fresh(&mut self, room: &RoomName, content: &Content) {
        let is_last = matches!(content, Content::Whole(key) if key.publisher == LAST);
        if is_last && self.awaited.remove(room) {
            count(&self.run.progress.last);
        }
        if self.seat.acks_every == 0 {
            return;
        }
        let unacked = self.unacked.entry(room.clone()).or_insert(0);
        *unacked += 1;
        if *unacked >= self.seat.acks_every || is_last {
            *unacked = 0;
            self.acknowledge(room);
        }
    }

    fn acknowledge(&mut self, room: &RoomName) {
        let Some((_, offset)) = self.machine.position(room) else { return };
        self.acks_sent += 1;
        self.acks.insert(self.acks_sent, (room.clone(), offset));
        let reference = format!("ack {}", self.acks_sent);
        let frame = json!({"type": "ack", "ref": reference, "room": room.as_str(), "message_id": offset.0});
        self.todo.push_back(Output::SendText(frame.to_string()));
    }

    /// Whether the answer is to an acknowledgement.
    fn acked(&mut self, reference: &str, ok: bool) -> bool {
        let number = reference.strip_prefix("ack ").and_then(|number| number.parse().ok());
        let Some((room, offset)) = number.and_then(|number: u32| self.acks.remove(&number)) else {
            return false;
        };
        if ok {
            self.log.push(self.connection, What::Acked { room, offset });
        }
        true
    }

    pub(super) fn event(&mut self, event: Event) {
        match event {
            Event::Established { resumed, .. } => self.established(resumed),
            Event::Joined { room, position } => {
                self.joining.remove(&room);
                self.members.insert(room.clone());
                self.log.push(self.connection, What::Joined { room, position });
            }
            Event::Left { room } => {
                self.members.remove(&room);
                self.log.push(self.connection, What::Left { room });
            }
            Event::Reset { room, reason, from, to } => {
                self.log.push(self.connection, What::Reset { room, reason, from, to });
            }
            Event::Published { id, position: Some(position) } => {
                let at = self.run.now();
                self.answered(&id, Outcome::Accepted { at, position });
            }
            Event::Rejected { id: Some(id), code, .. } if !OPEN.iter().any(|open| open.as_str() == code) => {
                self.answered(&id, Outcome::Refused);
            }
            // A message is written down where it is received.
            Event::Message { .. }
            | Event::Published { .. }
            | Event::Rejected { .. }
            | Event::TokenExpiring { .. }
            | Event::Disconnected { .. } => {}
        }
    }

    fn established(&mut self, resumed: bool) {
        self.log.push(self.connection, What::Established { resumed });
        self.is_up = true;
        self.run.progress.established.fetch_add(1, Ordering::Relaxed);
        if let Some(lost) = self.lost_at.take() {
            let back = self.run.now().since(lost);
            self.log.record.backs.push(back);
        }
        if !resumed {
            self.members.clear();
            self.joining.clear();
            self.seat.rooms.clone().into_iter().for_each(|room| self.join(room));
        }
    }

    fn answered(&mut self, id: &PublishId, outcome: Outcome) {
        let index = self.publishes.remove(id.as_str());
        if let Some(publication) = index.and_then(|index| self.log.record.publications.get_mut(index)) {
            publication.outcome = outcome;
        }
    }
}
