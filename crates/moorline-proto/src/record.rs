//! What is stored per publication.

use std::sync::Arc;

use crate::id::{SessionId, UserId};
use crate::message::Message;
use crate::position::Offset;
use crate::time::Timestamp;

/// Who a record is not for. Stored in the record, so that it holds on replay and on every node (requirement R9).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Except {
    /// These sessions.
    pub sessions: Vec<SessionId>,
    /// Every session of these users.
    pub users: Vec<UserId>,
}

impl Except {
    /// How many ids one publication may exclude: each is compared with each careful reader.
    pub const MAX: usize = 256;

    /// Whether nobody is excluded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.users.is_empty()
    }

    /// What keeping it costs, in bytes.
    #[must_use]
    pub fn cost_bytes(&self) -> usize {
        let sessions: usize = self.sessions.iter().map(|id| id.as_str().len() + 32).sum();
        let users: usize = self.users.iter().map(|id| id.as_str().len() + 32).sum();
        sessions + users
    }

    /// Whether `reader` is excluded.
    #[must_use]
    pub fn names(&self, reader: Reader<'_>) -> bool {
        self.sessions.contains(reader.session) || reader.user.is_some_and(|user| self.users.contains(user))
    }
}

/// For whom a record is judged.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// The session.
    pub session: &'a SessionId,
    /// Its user.
    pub user: Option<&'a UserId>,
}

/// One entry of a room's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number in the room.
    pub offset: Offset,
    /// When the log took it.
    pub timestamp: Timestamp,
    /// Who it is not for; none for everyone.
    pub except: Option<Arc<Except>>,
    /// What was published.
    pub message: Message,
}

impl Record {
    /// Whether `except` keeps this record from `reader`.
    #[must_use]
    pub fn excludes(&self, reader: Reader<'_>) -> bool {
        self.except.as_ref().is_some_and(|except| except.names(reader))
    }

    /// What keeping it costs a log, in bytes: the message, the excluded ids and a flat share for bookkeeping.
    #[must_use]
    pub fn cost_bytes(&self) -> usize {
        const BOOKKEEPING: usize = 96;
        let except = self.except.as_ref().map_or(0, |except| except.cost_bytes());
        BOOKKEEPING + except + self.message.as_bytes().len()
    }
}
