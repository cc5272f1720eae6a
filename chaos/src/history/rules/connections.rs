//! A session never has two live connections: the newer one ends the older, with close 4001.

use std::collections::BTreeMap;

use moorline_proto::time::Instant;

use super::super::{Ending, Entry, Index, Session, Violation, What};
use crate::content::Content;

const REPLACED: u16 = 4001;
/// The older one was found dead, or the server went away, before the newer one came.
const GOING_AWAY: u16 = 1001;

#[derive(Default)]
struct Connection<'a> {
    established: Option<Instant>,
    ended: Option<(Instant, Ending)>,
    broken: bool,
    messages: Vec<&'a Entry>,
}

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for (number, session) in index.sessions() {
        let connections = of(session);
        for (id, connection) in &connections {
            let Some(begun) = connection.established else { continue };
            let newer = connections.range(id + 1..).find_map(|(_, newer)| newer.established);
            let Some(taken_over) = newer.filter(|at| connection.ended.is_none_or(|(end, _)| end > *at))
            else {
                continue;
            };
            let faults = [
                ending(index, connection, begun),
                connection.messages.iter().find_map(|entry| late(index, entry, taken_over)),
            ];
            found.extend(faults.into_iter().flatten().map(|what| Violation {
                rule: "connections",
                session: Some(number),
                room: None,
                what: format!("the replaced connection {id} of {} {what}", session.name),
            }));
        }
    }
    found
}

fn of(session: &Session) -> BTreeMap<u32, Connection<'_>> {
    let mut connections: BTreeMap<u32, Connection<'_>> = BTreeMap::new();
    for entry in &session.entries {
        let connection = connections.entry(entry.connection).or_default();
        match &entry.what {
            What::Established { .. } => connection.established = Some(entry.at),
            What::Closed(ending) => connection.ended = Some((entry.at, *ending)),
            What::Broken => connection.broken = true,
            What::Message { .. } => connection.messages.push(entry),
            _ => {}
        }
    }
    connections
}

/// What is wrong with how the loser ended.
fn ending(index: &Index<'_>, connection: &Connection<'_>, begun: Instant) -> Option<String> {
    match connection.ended {
        None => Some("was never closed".to_owned()),
        Some((_, Ending::Code(REPLACED | GOING_AWAY) | Ending::Ours)) => None,
        Some((_, Ending::Code(code))) => Some(format!("was closed with {code}")),
        Some((at, Ending::Gone)) if connection.broken || index.stop_within(begun, at).is_some() => None,
        Some((_, Ending::Gone)) => Some("ended without a close frame".to_owned()),
    }
}

/// A message that came to exist only after the newer connection did, and reached the older one.
fn late(index: &Index<'_>, entry: &Entry, taken_over: Instant) -> Option<String> {
    let What::Message { content: Content::Whole(key), .. } = &entry.what else { return None };
    let sent = index.publication(*key)?.sent;
    (sent > taken_over).then(|| format!("got {key}, which was published after it was replaced"))
}

#[cfg(test)]
mod tests {
    use super::super::super::support::{Planted, key};
    use super::*;

    fn taken_over(end: Option<Ending>) -> Planted {
        let mut planted = Planted::new();
        planted.established(0, 1, 1, false);
        planted.established(0, 10, 2, true);
        if let Some(end) = end {
            planted.closed(0, 20, 1, end);
        }
        planted
    }

    #[test]
    fn the_loser_is_closed_with_4001() {
        assert_eq!(check(&Index::new(taken_over(Some(Ending::Code(4001))).history())), []);
        for end in [None, Some(Ending::Gone), Some(Ending::Code(1000))] {
            assert_eq!(check(&Index::new(taken_over(end).history())).len(), 1, "{end:?}");
        }
    }

    #[test]
    fn a_crash_explains_a_connection_that_is_just_gone() {
        let mut planted = taken_over(Some(Ending::Gone));
        planted.stop(5, 8);
        assert_eq!(check(&Index::new(planted.history())), []);
    }

    #[test]
    fn a_message_that_is_newer_than_the_take_over_is_found_on_the_loser() {
        let mut planted = taken_over(Some(Ending::Code(4001)));
        planted.accepted(15, key(1, 1), 1);
        planted.connection(1);
        planted.dropped(0, 16, key(1, 1), 1);
        assert_eq!(check(&Index::new(planted.history())).len(), 1);
    }
}
