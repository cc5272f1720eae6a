//! The connections of a shard, as it writes to them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use moorline_proto::coding::Coding;
use moorline_proto::identity::Identity;
use moorline_proto::shard::{ConnectionId, Host, SessionKey};
use moorline_proto::users::Users;

use crate::link::Link;
use crate::random::Random;

/// The connections of a shard.
pub struct Sockets {
    /// All of them.
    pub links: BTreeMap<ConnectionId, Link>,
    pub(super) slots: BTreeMap<SessionKey, ConnectionId>,
    pub(super) users: Rc<RefCell<Users>>,
    pub(super) random: Random,
    /// How likely a socket takes only a part.
    pub partial_percent: usize,
    /// The most that a write may offer while what waits is written.
    pub(super) offered: Option<usize>,
    pub(super) violations: Vec<String>,
}

impl Host for Sockets {
    fn write(&mut self, session: SessionKey, bytes: &[u8]) -> usize {
        if let Some(offered) = &mut self.offered {
            *offered = (*offered).max(bytes.len());
        }
        let Some(link) = self.slots.get(&session).and_then(|id| self.links.get_mut(id)) else {
            self.violations.push(format!("written to session {session:?}, which has no connection"));
            return bytes.len();
        };
        if link.is_broken() {
            return bytes.len();
        }
        let most = link.space().min(bytes.len());
        let count = if self.random.chance(self.partial_percent) { self.random.below(most + 1) } else { most };
        link.to_client.extend(&bytes[..count]);
        count
    }

    fn compress(&mut self, coding: Coding, frame: &[u8], out: &mut Vec<u8>) -> bool {
        crate::wire::compress(coding, frame, out)
    }

    fn bind(&mut self, connection: ConnectionId, session: SessionKey) {
        self.slots.insert(session, connection);
        if let Some(link) = self.links.get_mut(&connection) {
            link.bound = Some(session);
        }
    }

    fn with_users(&mut self, act: &mut dyn FnMut(&mut Users)) {
        act(&mut self.users.borrow_mut());
    }

    fn is_revoked(&mut self, _: &Identity) -> bool {
        false
    }
}
