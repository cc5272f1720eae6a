//! What was acknowledged does not come back on a later connection; a crash may forget the last second's. What a connection was told in its
//! last second may never have arrived, and nothing does on one whose server is gone.

use std::collections::HashMap;
use std::time::Duration;

use moorline_proto::position::Offset;
use moorline_proto::time::Instant;

use super::super::{Entry, Index, Session, Violation, What, by_room};
use crate::content::{Content, Key};

/// How much of its acknowledgements a crash may forget.
const FORGOTTEN: Duration = Duration::from_secs(1);

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for (number, session) in index.sessions() {
        let lives = Lives::of(session);
        for (room, entries) in by_room(session) {
            for (key, acked) in returned(index, &lives, &entries) {
                found.push(Violation {
                    rule: "acked",
                    session: Some(number),
                    room: Some(room.clone()),
                    what: format!(
                        "{} got {key} of {room} again, which it had acknowledged {:?} into the run",
                        session.name,
                        acked.elapsed()
                    ),
                });
            }
        }
    }
    found
}

/// When each connection was established, and when it was over.
struct Lives {
    began: HashMap<u32, Instant>,
    ended: HashMap<u32, Instant>,
}

impl Lives {
    fn of(session: &Session) -> Self {
        let (mut began, mut ended) = (HashMap::new(), HashMap::new());
        for entry in &session.entries {
            match entry.what {
                What::Established { .. } => {
                    began.insert(entry.connection, entry.at);
                }
                What::Closed(_) => {
                    ended.entry(entry.connection).or_insert(entry.at);
                }
                _ => {}
            }
        }
        Self { began, ended }
    }

    /// Whether what was said then on that connection must have arrived.
    fn arrives(&self, index: &Index<'_>, connection: u32, said: Instant) -> bool {
        let lives_on = self.ended.get(&connection).is_none_or(|ended| ended.since(said) >= FORGOTTEN);
        let began = self.began.get(&connection).copied().unwrap_or_default();
        let has_lost_its_server = index.history.stops.iter().any(|stop| began <= stop.at && stop.at <= said);
        lives_on && !has_lost_its_server
    }
}

fn returned(index: &Index<'_>, lives: &Lives, entries: &[&Entry]) -> Vec<(Key, Instant)> {
    // Where each message was when it was given to the application, and the acknowledgements so far.
    let mut places: HashMap<Key, (Instant, Offset)> = HashMap::new();
    let mut acks: Vec<(Instant, Offset)> = Vec::new();
    let mut found = Vec::new();
    for entry in entries {
        match &entry.what {
            What::Acked { offset, .. } if lives.arrives(index, entry.connection, entry.at) => {
                acks.push((entry.at, *offset));
            }
            What::Message { content: Content::Whole(key), offset, fresh, .. } => {
                if *fresh {
                    places.entry(*key).or_insert((entry.at, *offset));
                    continue;
                }
                let (Some(began), Some((given, place))) =
                    (lives.began.get(&entry.connection), places.get(key))
                else {
                    continue;
                };
                let told = |(at, acked): &&(Instant, Offset)| {
                    *at >= *given && *acked >= *place && at < began && !forgotten(index, *at, *began)
                };
                found.extend(acks.iter().find(told).map(|(at, _)| (*key, *at)));
            }
            // Another history: its numbers are not those that were acknowledged.
            What::Reset { .. } => {
                places.clear();
                acks.clear();
            }
            _ => {}
        }
    }
    found
}

/// Whether a crash between the two may have forgotten what was acknowledged then.
fn forgotten(index: &Index<'_>, acked: Instant, began: Instant) -> bool {
    let stop = index.history.stops.iter().find(|stop| !stop.clean && acked <= stop.back && stop.at <= began);
    stop.is_some_and(|stop| {
        stop.at.since(acked).saturating_sub(index.history.paused(acked, stop.at)) <= FORGOTTEN
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::support::{Planted, key};
    use super::*;

    /// A message is acknowledged at that second, comes again after a crash in second 10: how often that is found.
    fn found(acked_at: u64, crash: bool) -> usize {
        let mut planted = Planted::new();
        planted.established(0, 0, 1, false);
        planted.message(0, 1_000, key(1, 1), 1);
        planted.acked(0, acked_at * 1_000, 1);
        if crash {
            planted.stop(10_000, 11_000);
        }
        planted.connection(2);
        planted.established(0, 12_000, 2, true);
        planted.dropped(0, 12_500, key(1, 1), 1);
        check(&Index::new(planted.history())).len()
    }

    #[test]
    fn what_was_acknowledged_in_time_is_found_when_it_comes_again() {
        assert_eq!(found(5, true), 1);
        assert_eq!(found(10, false), 1, "without a crash nothing is forgotten");
    }

    #[test]
    fn what_was_said_to_a_server_that_is_gone_was_not_heard() {
        let mut planted = Planted::new();
        planted.established(0, 0, 1, false);
        planted.message(0, 1_000, key(1, 1), 1);
        planted.stop(2_000, 3_000);
        planted.acked(0, 9_000, 1);
        planted.connection(2);
        planted.established(0, 12_000, 2, true);
        planted.dropped(0, 12_500, key(1, 1), 1);
        assert_eq!(check(&Index::new(planted.history())), []);
    }

    #[test]
    fn a_paused_server_writes_nothing_and_one_that_goes_on_does() {
        for (paused, expected) in [((8_100, 9_600), 0), ((8_100, 8_900), 1), ((5_000, 8_000), 1)] {
            let mut planted = Planted::new();
            planted.established(0, 0, 1, false);
            planted.message(0, 1_000, key(1, 1), 1);
            planted.acked(0, 8_000, 1);
            planted.pause(paused.0, paused.1);
            planted.stop(10_000, 11_000);
            planted.connection(2);
            planted.established(0, 12_000, 2, true);
            planted.dropped(0, 12_500, key(1, 1), 1);
            assert_eq!(check(&Index::new(planted.history())).len(), expected, "{paused:?}");
        }
    }

    #[test]
    fn the_last_second_may_be_forgotten_by_a_crash() {
        assert_eq!(found(10, true), 0);
    }
}
