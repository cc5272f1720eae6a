//! When which stream is to be looked at: one queue for all of them, no timer for each.

use std::collections::BTreeMap;

use moorline_proto::id::{RoomName, StreamName};
use moorline_proto::time::Instant;

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(Instant, u64);

/// Why a stream is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Its lease may have run out.
    Lease,
    /// Text may be shown.
    Show,
}

/// At most two for each open stream.
#[derive(Default)]
pub(super) struct Lapses {
    queue: BTreeMap<Ticket, (RoomName, StreamName, Reason)>,
    issued: u64,
}

impl Lapses {
    pub(super) fn add(
        &mut self,
        at: Instant,
        room: &RoomName,
        stream: &StreamName,
        reason: Reason,
    ) -> Ticket {
        self.issued += 1;
        let ticket = Ticket(at, self.issued);
        self.queue.insert(ticket, (room.clone(), stream.clone(), reason));
        ticket
    }

    pub(super) fn remove(&mut self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            self.queue.remove(&ticket);
        }
    }

    pub(super) fn first_at(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|(ticket, _)| ticket.0)
    }

    /// Every open stream.
    pub(super) fn leased(&self) -> Vec<(RoomName, StreamName)> {
        let leased = self.queue.values().filter(|(_, _, reason)| *reason == Reason::Lease);
        leased.map(|(room, stream, _)| (room.clone(), stream.clone())).collect()
    }

    /// The next one whose moment has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<(RoomName, StreamName, Reason)> {
        let first = self.queue.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}
