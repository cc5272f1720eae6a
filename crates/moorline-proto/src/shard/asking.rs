//! Publishes that wait for the authorizer. One is asked about at a time, so that a session's publishes keep their order.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Output, Peer, SessionKey, Shard, Ticket, Turn};
use crate::error::Rejection;
use crate::frame::Publish;

/// The publishes of one connection; no longer than its frames in flight. One word where nobody is asked.
pub(super) type Asking = Option<Box<VecDeque<Asked>>>;

/// One of them.
#[derive(Debug)]
pub(super) struct Asked {
    ticket: Ticket,
    sender: Arc<str>,
    publish: Box<Publish>,
}

impl Shard {
    /// Asks whether a session may publish, behind those that were asked before.
    pub(super) fn ask(&mut self, ticket: Ticket, sender: Arc<str>, publish: Box<Publish>) {
        let key = ticket.peer.session;
        let Some(connected) = &mut self.session_mut(key).connected else { return };
        let asking = connected.asking.get_or_insert_default();
        asking.push_back(Asked { ticket, sender, publish });
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
        let rooms = asked.publish.to.room_names().collect();
        let (peer, id, user) = (asked.ticket.peer, session.id().clone(), session.user().cloned());
        self.outputs.push_back(Output::Authorize { peer, session: id, user, rooms });
    }

    pub(super) fn authorized(&mut self, turn: &mut Turn<'_>, peer: Peer, outcome: Result<(), Rejection>) {
        let Some(key) = self.resolve(peer) else { return };
        let Some(connected) = &mut self.session_mut(key).connected else { return };
        let Some(asked) = connected.asking.as_mut().and_then(|asking| asking.pop_front()) else { return };
        if connected.asking.as_ref().is_some_and(|asking| asking.is_empty()) {
            connected.asking = None;
        }
        let Asked { ticket, sender, publish } = asked;
        match outcome {
            Ok(()) => self.outputs.push_back(Output::Publish { ticket, sender, publish }),
            Err(rejection) => {
                self.arrive(&ticket);
                self.answer(turn, key, ticket.reference, Err(rejection));
            }
        }
        self.ask_next(key);
    }
}
