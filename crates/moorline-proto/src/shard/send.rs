//! What goes to a connection: straight to its socket, or into the outbox, which is bounded.

use super::{Event, Output, SessionKey, Shard, Turn};
use crate::batch::EncodedBatch;
use crate::codec;
use crate::coding::Frames;
use crate::frame::ServerFrame;
use crate::outbox::{Outbox, frames_kept};
use crate::time::Now;

/// So much may be held back until a session is kept, whatever may wait for a socket: a handful of joins at once.
const HELD_BYTES: usize = 16 * 1024;

/// Where bytes stand among those that wait for a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// A frame that overtakes messages.
    Control,
    /// A frame that keeps its place among them, because it says what they are.
    Placed,
    /// A message that is not stored.
    Message,
    /// What comes before everything else: nothing overtakes it.
    Greeting,
}

impl Lane {
    fn of(frame: &ServerFrame) -> Self {
        match frame {
            ServerFrame::ConnectionEstablished { .. }
            | ServerFrame::Joined { .. }
            | ServerFrame::Left { .. }
            | ServerFrame::Reset { .. }
            | ServerFrame::Position { .. } => Self::Placed,
            _ => Self::Control,
        }
    }
}

/// How much of a batch a connection took or keeps.
pub(super) enum Taken {
    All,
    /// So many records.
    Some(usize),
}

impl Shard {
    pub(super) fn send_frame(&mut self, turn: &mut Turn<'_>, key: SessionKey, frame: &ServerFrame) {
        self.send_frame_in(turn, key, Lane::of(frame), frame);
    }

    pub(super) fn send_frame_in(
        &mut self,
        turn: &mut Turn<'_>,
        key: SessionKey,
        lane: Lane,
        frame: &ServerFrame,
    ) {
        let max = self.config.pending_max_bytes.max(HELD_BYTES);
        let connected = self.session_mut(key).connected.as_mut();
        if let Some(greeting) = connected.and_then(|connected| connected.greeting.as_mut()) {
            // Nothing comes before `connection_established`.
            greeting.held_bytes += codec::encode(frame).len();
            greeting.frames.push(frame.clone());
            if greeting.held_bytes > max {
                self.too_slow(turn, key);
            }
            return;
        }
        self.note_reset(key, frame);
        self.send_text(turn, key, lane, &codec::encode(frame));
    }

    /// Sends what a connection is told first, as one piece.
    pub(super) fn send_greeting(&mut self, turn: &mut Turn<'_>, key: SessionKey, frames: &[ServerFrame]) {
        let mut bytes = Vec::new();
        for frame in frames {
            self.note_reset(key, frame);
            self.config.framing.text(&mut bytes, &codec::encode(frame));
        }
        self.send(turn, key, Lane::Greeting, &bytes);
    }

    fn note_reset(&mut self, key: SessionKey, frame: &ServerFrame) {
        if let ServerFrame::Reset { reason, .. } = frame {
            let event = Event::Reset { session: self.session(key).id().clone(), reason: *reason };
            self.outputs.push_back(Output::Event(event));
        }
    }

    pub(super) fn send_text(&mut self, turn: &mut Turn<'_>, key: SessionKey, lane: Lane, payload: &[u8]) {
        let mut bytes = Vec::with_capacity(payload.len() + 10);
        self.config.framing.text(&mut bytes, payload);
        self.send(turn, key, lane, &bytes);
    }

    /// Sends whole frames that are not to be dropped; a peer that never reads them is closed instead of kept for ever.
    pub(super) fn send(&mut self, turn: &mut Turn<'_>, key: SessionKey, lane: Lane, bytes: &[u8]) {
        let Some(connected) = &mut self.session_mut(key).connected else { return };
        let waiting = connected.outbox.as_ref().map(|outbox| outbox.control_len());
        let written = if waiting.is_none() { turn.host.write(key, bytes) } else { 0 };
        if written == bytes.len() {
            return;
        }
        // What a socket has begun to take is kept, whatever its length.
        if waiting.is_some_and(|waiting| waiting + bytes.len() > self.config.pending_max_bytes) {
            return self.too_slow(turn, key);
        }
        self.keep_waiting(turn.now, key, |outbox| match lane {
            Lane::Control => outbox.push_control(&bytes[written..]),
            Lane::Placed => outbox.push_placed(&bytes[written..], written > 0),
            Lane::Message => outbox.push_messages(bytes, &[bytes.len()], written),
            Lane::Greeting => outbox.push_placed(&bytes[written..], true),
        });
    }

    /// The messages of a batch in the form that a connection takes.
    pub(super) fn frames_for<'a>(
        &self,
        turn: &mut Turn<'_>,
        key: SessionKey,
        encoded: &'a EncodedBatch,
    ) -> Frames<'a> {
        match self.sessions[key.0 as usize].connected.as_ref().and_then(|connected| connected.coding) {
            None => encoded.plain(),
            Some(coding) => encoded.coded(coding, &mut turn.compress(coding)),
        }
    }

    /// Writes frames to a connection as far as it takes them, and keeps what the bound allows.
    pub(super) fn offer(
        &mut self,
        turn: &mut Turn<'_>,
        key: SessionKey,
        wire: &[u8],
        ends: &[usize],
    ) -> Taken {
        let max = self.config.pending_max_bytes;
        let Some(connected) = &mut self.sessions[key.0 as usize].connected else { return Taken::Some(0) };
        let waiting = connected.outbox.as_ref().map(|outbox| outbox.messages_len());
        let written = if waiting.is_none() { turn.host.write(key, wire) } else { 0 };
        if written == wire.len() {
            self.delivered += ends.len() as u64;
            return Taken::All;
        }
        let kept = frames_kept(ends, written, waiting.unwrap_or_default(), max);
        self.delivered += kept as u64;
        self.keep_waiting(turn.now, key, |outbox| outbox.push_messages(wire, &ends[..kept], written));
        if kept == ends.len() { Taken::All } else { Taken::Some(kept) }
    }

    /// A socket is full: what it did not take waits, until it says that it takes bytes again.
    fn keep_waiting(&mut self, now: Now, key: SessionKey, push: impl FnOnce(&mut Outbox)) {
        let session = self.session_mut(key);
        let peer = session.peer(key);
        let Some(connected) = &mut session.connected else { return };
        let is_new = connected.outbox.is_none();
        push(connected.outbox.get_or_insert_with(|| Box::new(Outbox::new(now.instant))));
        if is_new {
            self.outputs.extend(peer.map(Output::AwaitWritable));
            self.reschedule(key);
        }
    }
}
