//! What happened in a run, as its publishers and receivers saw it, and the rules that judge it. Pure: no clock, no I/O.

mod entry;
mod rules;
mod spell;
#[cfg(test)]
mod support;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use moorline_proto::id::RoomName;
use moorline_proto::time::Instant;

pub(crate) use self::entry::{End, Ending, Entry, Outcome, Publication, Session, Stop, What, Written};
use crate::content::Key;

/// All that was written down.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) publications: Vec<Publication>,
    pub(crate) streams: Vec<Written>,
    pub(crate) sessions: Vec<Session>,
    /// When the server's process ended, in order.
    pub(crate) stops: Vec<Stop>,
    /// From when to when it was kept from running, in order.
    pub(crate) pauses: Vec<(Instant, Instant)>,
    /// Resets that are no fault; `None`: as many as there are, since the case destroys data.
    pub(crate) resets_allowed: Option<usize>,
}

impl History {
    /// For how long of that time the server was kept from running.
    pub(crate) fn paused(&self, from: Instant, to: Instant) -> Duration {
        self.pauses.iter().map(|&(at, until)| until.min(to).since(at.max(from))).sum()
    }
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) rule: &'static str,
    /// Whose history shows it: an index of `History::sessions`.
    pub(crate) session: Option<usize>,
    pub(crate) room: Option<RoomName>,
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// The history with what the rules look up in it.
pub(crate) struct Index<'a> {
    pub(crate) history: &'a History,
    by_key: HashMap<Key, &'a Publication>,
}

impl<'a> Index<'a> {
    pub(crate) fn new(history: &'a History) -> Self {
        let by_key = history.publications.iter().map(|publication| (publication.key, publication)).collect();
        Self { history, by_key }
    }

    pub(crate) fn publication(&self, key: Key) -> Option<&'a Publication> {
        self.by_key.get(&key).copied()
    }

    fn sessions(&self) -> impl Iterator<Item = (usize, &'a Session)> + use<'a> {
        self.history.sessions.iter().enumerate()
    }

    /// The first end of the server's process within the span.
    fn stop_within(&self, from: Instant, to: Instant) -> Option<&'a Stop> {
        self.history.stops.iter().find(|stop| from <= stop.back && stop.at <= to)
    }
}

/// Applies all rules.
pub(crate) fn check(history: &History) -> Vec<Violation> {
    let index = Index::new(history);
    rules::ALL.iter().flat_map(|rule| rule(&index)).collect()
}

/// A session's entries of each room, in order.
fn by_room(session: &Session) -> BTreeMap<&RoomName, Vec<&Entry>> {
    let mut rooms: BTreeMap<&RoomName, Vec<&Entry>> = BTreeMap::new();
    for entry in &session.entries {
        if let Some(room) = entry.what.room() {
            rooms.entry(room).or_default().push(entry);
        }
    }
    rooms
}
