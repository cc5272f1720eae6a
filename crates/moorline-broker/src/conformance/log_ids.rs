//! The contract of [`Log`]: publish ids.

use std::sync::Arc;
use std::time::Duration;

use moorline_proto::id::RoomName;
use moorline_proto::position::Position;
use moorline_proto::record::Except;

use super::log::{append, at, draft, expire, offsets, roomy};
use super::{key, room, session, user};
use crate::log::{AppendError, Appended, Draft, Log};
use crate::memory_log::RetentionRules;

/// Five minutes, as long as [`roomy`] rules remember an id.
const AGE: u64 = 300_000;

/// Runs all clauses about publish ids.
pub fn all<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    the_same_message_under_its_id_is_kept_once(make);
    an_id_belongs_to_one_sender_in_one_room(make);
    another_message_under_an_id_is_refused(make);
    an_id_outlives_its_record(make);
    an_id_is_free_again_after_its_time(make);
    no_young_id_is_forgotten_for_another(make);
}

fn keyed(number: u64, sender: &str, id: &str) -> Draft {
    Draft { key: Some(key(sender, id)), ..draft(number) }
}

/// Always of the same sender under the same id.
fn excluding(sessions: &[&str], users: &[&str]) -> Draft {
    let sessions = sessions.iter().map(|id| session(id)).collect();
    let users = users.iter().map(|id| user(id)).collect();
    Draft { except: Some(Arc::new(Except { sessions, users })), ..keyed(1, "s", "excluding") }
}

fn again(log: &mut impl Log, name: &RoomName, draft: Draft, millis: u64) -> Result<Position, AppendError> {
    match log.append(name, draft, at(millis))? {
        Appended::Duplicate(position) => Ok(position),
        Appended::New { record, .. } => panic!("kept again as {:?}", record.offset),
    }
}

/// Repeating a publish within five minutes answers where it stands, and keeps nothing.
pub fn the_same_message_under_its_id_is_kept_once<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut log = make(roomy());
    let name = room("a");
    let offset = append(&mut log, &name, keyed(1, "s", "1"), 0).offset;
    append(&mut log, &name, draft(2), 0);
    let (state, stats) = (log.state(&name), log.stats());
    for millis in [0, 1, AGE / 2, AGE - 1] {
        log.expire(at(millis));
        let found = again(&mut log, &name, keyed(1, "s", "1"), millis);
        assert_eq!(found, Ok(Position { epoch: state.epoch, offset }));
    }
    assert_eq!((log.state(&name), log.stats()), (state, stats));
}

/// The same id of another sender, or in another room, is another id; a record without one is never a duplicate.
pub fn an_id_belongs_to_one_sender_in_one_room<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut log = make(roomy());
    append(&mut log, &room("a"), keyed(1, "s", "1"), 0);
    append(&mut log, &room("a"), keyed(1, "t", "1"), 0);
    append(&mut log, &room("b"), keyed(1, "s", "1"), 0);
    append(&mut log, &room("a"), keyed(1, "s", "2"), 0);
    // Written one behind the other, these look the same.
    append(&mut log, &room("a"), keyed(1, "s1", "2"), 0);
    append(&mut log, &room("a"), keyed(1, "s", "12"), 0);
    append(&mut log, &room("a"), draft(1), 0);
    append(&mut log, &room("a"), draft(1), 0);
    assert_eq!(log.stats().records, 8);
}

/// An id stands for one message for the same receivers.
pub fn another_message_under_an_id_is_refused<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut log = make(roomy());
    let name = room("a");
    append(&mut log, &name, keyed(1, "s", "1"), 0);
    append(&mut log, &name, excluding(&["x"], &["y"]), 0);
    let stats = log.stats();
    for other in [
        keyed(2, "s", "1"),
        Draft { key: Some(key("s", "1")), ..excluding(&["x"], &[]) },
        excluding(&[], &[]),
        excluding(&["x"], &["z"]),
        excluding(&["x", "y"], &[]),
        excluding(&[], &["x", "y"]),
    ] {
        assert_eq!(log.append(&name, other, at(AGE - 1)), Err(AppendError::Conflict));
    }
    assert_eq!(log.stats(), stats, "nothing was kept");
    for same in [keyed(1, "s", "1"), excluding(&["x"], &["y"])] {
        assert!(again(&mut log, &name, same, AGE - 1).is_ok(), "a conflict changes nothing");
    }
}

/// A duplicate is found though its record is cut, cleared, or its room forgotten.
pub fn an_id_outlives_its_record<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let rules = roomy();
    let brief = crate::Retention { age: Duration::from_millis(10), ..rules.room };
    let mut log = make(RetentionRules { room: brief, ..rules });
    let offset = append(&mut log, &room("a"), keyed(1, "s", "1"), 0).offset;
    let cleared = append(&mut log, &room("b"), keyed(2, "s", "1"), 0).offset;
    log.clear(&room("b"));
    expire(&mut log, 10);
    assert_eq!(log.stats().rooms, 0);
    let found = again(&mut log, &room("a"), keyed(1, "s", "1"), 20).map(|position| position.offset);
    assert_eq!(found, Ok(offset));
    let found = again(&mut log, &room("b"), keyed(2, "s", "1"), 20).map(|position| position.offset);
    assert_eq!(found, Ok(cleared));
    assert_eq!(offsets(&log, &room("a")), [0; 0]);
}

/// After five minutes an id may stand for something new, whether or not somebody expired the log; that lives as long.
pub fn an_id_is_free_again_after_its_time<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    for expires in [false, true] {
        let mut log = make(roomy());
        let name = room("a");
        append(&mut log, &name, keyed(1, "s", "1"), 0);
        if expires {
            expire(&mut log, AGE);
        }
        append(&mut log, &name, keyed(2, "s", "1"), AGE);
        expire(&mut log, AGE + 1);
        assert!(again(&mut log, &name, keyed(2, "s", "1"), 2 * AGE - 1).is_ok());
        let other = log.append(&name, keyed(3, "s", "1"), at(2 * AGE - 1));
        assert_eq!(other, Err(AppendError::Conflict));
    }
}

/// Where the ids have used up their memory, new ones are refused and the known ones stay known, until they are old.
/// Publishes without an id go on.
pub fn no_young_id_is_forgotten_for_another<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut log = make(RetentionRules { id_bytes: 10_000, ..roomy() });
    let name = room("a");
    let mut taken = 0_u64;
    let refused = loop {
        match log.append(&name, keyed(taken, "s", &taken.to_string()), at(taken)) {
            Ok(_) => taken += 1,
            Err(why) => break why,
        }
        assert!(taken < 10_000, "ids are not bounded");
    };
    assert_eq!(refused, AppendError::TooManyIds);
    assert!(taken >= 10, "only {taken} ids in 10,000 bytes");
    assert_eq!(log.stats().records as u64, taken, "a refused publish is not kept");
    append(&mut log, &name, draft(0), AGE - 1);
    for number in 0..taken {
        assert!(again(&mut log, &name, keyed(number, "s", &number.to_string()), AGE - 1).is_ok());
    }
    append(&mut log, &name, keyed(0, "s", "new"), AGE);
    assert!(again(&mut log, &name, keyed(taken - 1, "s", &(taken - 1).to_string()), AGE).is_ok());
}
