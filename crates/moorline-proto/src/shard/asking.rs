//! What waits for the authorizer. One question is asked at a time, so that what a session publishes, and what it asks of streams, keeps
//! its order.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Output, Peer, SessionKey, Shard, Ticket, Turn};
use crate::error::Rejection;
use crate::frame::Publish;
use crate::id::{RoomName, StreamName};
use crate::stream::Command;

/// What one connection asked for; no longer than its frames in flight. One word where nobody is asked.
pub(super) type Asking = Option<Box<VecDeque<Asked>>>;

/// One of them.
#[derive(Debug)]
pub(super) struct Asked {
    ticket: Ticket,
    wanted: Wanted,
}

/// What a client wants of the broker.
#[derive(Debug)]
pub(super) enum Wanted {
    Publish { sender: Arc<str>, publish: Box<Publish> },
    Stream { room: RoomName, stream: Option<StreamName>, command: Box<Command> },
}

impl Wanted {
    fn rooms(&self) -> Vec<RoomName> {
        match self {
            Self::Publish { publish, .. } => publish.to.room_names().collect(),
            Self::Stream { room, .. } => vec![room.clone()],
        }
    }

    pub(super) fn output(self, ticket: Ticket) -> Output {
        match self {
            Self::Publish { sender, publish } => Output::Publish { ticket, sender, publish },
            Self::Stream { room, stream, command } => Output::Stream { ticket, room, stream, command },
        }
    }
}

impl Shard {
    /// Asks whether a session may have what it wants, behind what was asked before.
    pub(super) fn ask(&mut self, ticket: Ticket, wanted: Wanted) {
        let key = ticket.peer.session;
        let Some(connected) = &mut self.session_mut(key).connected else { return };
        let asking = connected.asking.get_or_insert_default();
        asking.push_back(Asked { ticket, wanted });
        if asking.len() == 1 {
            self.ask_next(key);
        }
    }

    fn ask_next(&mut self, key: SessionKey) {
        let session = self.session(key);
        let Some(asked) = session.connected.as_ref().and_then(|connected| connected.asking.as_ref()?.front())
        else {
            return;
        };
        let (peer, id, user) = (asked.ticket.peer, session.id().clone(), session.user().cloned());
        let rooms = asked.wanted.rooms();
        self.outputs.push_back(Output::Authorize { peer, session: id, user, rooms });
    }

    pub(super) fn authorized(&mut self, turn: &mut Turn<'_>, peer: Peer, outcome: Result<(), Rejection>) {
        let Some(key) = self.resolve(peer) else { return };
        let Some(connected) = &mut self.session_mut(key).connected else { return };
        let Some(asked) = connected.asking.as_mut().and_then(|asking| asking.pop_front()) else { return };
        if connected.asking.as_ref().is_some_and(|asking| asking.is_empty()) {
            connected.asking = None;
        }
        let Asked { ticket, wanted } = asked;
        match outcome {
            Ok(()) => self.outputs.push_back(wanted.output(ticket)),
            Err(rejection) => {
                self.arrive(&ticket);
                self.answer(turn, key, ticket.reference, Err(rejection));
            }
        }
        self.ask_next(key);
    }
}
