//! What clients ask of streams (spec/protocol.md, section 12), and what a producer is told.

use std::sync::Arc;

use super::asking::Wanted;
use super::{Peer, SessionKey, Shard, Ticket, Turn};
use crate::error::Rejection;
use crate::frame::{Ref, ServerFrame, StreamAct, StreamFrame, Target};
use crate::stream::Cancel;

impl Shard {
    /// Who opens or cancels a stream needs what a publish to its room needs. Who appends or ends has its right by the fence, and is
    /// checked against its grants alone: no chunk waits for the application.
    pub(super) fn stream_frame(
        &mut self,
        peer: Peer,
        frame: StreamFrame,
        reference: Option<Ref>,
    ) -> Result<(), Rejection> {
        let StreamFrame { room, stream, act } = frame;
        self.check_publish(peer.session, &Target::Room(room.clone()))?;
        self.depart(peer.session, 1)?;
        let principal = self.principal(peer.session);
        let session = self.session(peer.session);
        let is_asked = self.config.authorizes && matches!(act, StreamAct::Open { .. } | StreamAct::Cancel);
        let command = act.command(principal, Some(session.id().clone()), session.user().cloned());
        let ticket = Ticket { peer, reference, weight: 1 };
        let wanted = Wanted::Stream { room, stream, command: Box::new(command) };
        if is_asked {
            self.ask(ticket, wanted);
        } else {
            self.outputs.push_back(wanted.output(ticket));
        }
        Ok(())
    }

    /// Whom a session publishes for: its user, or itself.
    pub(super) fn principal(&self, key: SessionKey) -> Arc<str> {
        let session = self.session(key);
        match session.user() {
            Some(user) => format!("user/{user}").into(),
            None => format!("session/{}", session.id()).into(),
        }
    }

    /// Tells the holder of a stream, where it is here and connected, that somebody asks it to stop. Whoever appends next is told anyway.
    pub(super) fn stream_cancel(&mut self, turn: &mut Turn<'_>, cancel: &Cancel) {
        let Some(key) = self.session_named(&cancel.holder) else { return };
        let Cancel { room, stream, by, .. } = cancel.clone();
        self.send_frame(turn, key, &ServerFrame::StreamCancel { room, stream, by });
    }
}
