//! The contract of [`Log`]: what is kept, and for how long.

use std::time::Duration;

use moorline_proto::id::RoomName;
use moorline_proto::position::{Offset, Position};
use moorline_proto::resume::{ResetReason, Resume, resume};
use moorline_proto::time::{Now, Timestamp};

use super::log::{append, at, draft, expire, offsets, padded, roomy};
use super::{ALL, room};
use crate::LogExt as _;
use crate::log::Log;
use crate::memory_log::{PrefixRetention, Retention, RetentionRules};

/// Runs all clauses about retention.
pub fn all<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    a_room_keeps_so_many_records(make);
    a_room_keeps_so_many_bytes(make);
    a_record_that_alone_is_too_large_is_kept_until_the_next(make);
    what_is_too_old_goes_when_the_room_is_appended_to(make);
    what_is_too_old_goes_with_time(make);
    all_rooms_together_lose_the_oldest_record_first(make);
    the_newest_record_of_all_is_kept(make);
    a_wall_clock_that_jumps_expires_nothing(make);
    own_rooms_have_rules_of_their_own(make);
    the_longest_prefix_of_a_rooms_name_has_its_rules(make);
    statistics_count_what_is_kept(make);
}

/// What is kept is the newest end without a hole, and the cut lies right before it: at or above everything that went.
fn cut_from_the_old_end(log: &impl Log, name: &RoomName, appended: &[Offset], kept: usize) {
    let (gone, stays) = appended.split_at(appended.len() - kept);
    let expected: Vec<u64> = stays.iter().map(|offset| offset.0).collect();
    assert_eq!(offsets(log, name), expected);
    let state = log.state(name);
    assert_eq!(Some(state.head), appended.last().copied());
    assert!(gone.iter().all(|offset| *offset <= state.cut), "{:?} hides what went: {gone:?}", state.cut);
    assert!(stays.iter().all(|offset| *offset > state.cut), "{:?} denies what is kept", state.cut);
    for offset in appended {
        let stood = resume(Position { epoch: state.epoch, offset: *offset }, &state);
        let lost = gone.last().is_some_and(|last| offset < last);
        let told = matches!(stood, Resume::Reset { reason: ResetReason::Retention, from: Some(_), .. });
        assert_eq!(lost, told, "who stands at {offset:?}: {stood:?}");
    }
}

fn fill(log: &mut impl Log, name: &RoomName, count: u64, bytes: usize) -> Vec<Offset> {
    (0..count).map(|number| append(log, name, padded(number, bytes), 0).offset).collect()
}

/// Beyond its count a room loses the oldest.
pub fn a_room_keeps_so_many_records<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let rules = roomy();
    let mut log = make(RetentionRules { room: Retention { records: 5, ..rules.room }, ..rules });
    let five = fill(&mut log, &room("a"), 5, 0);
    cut_from_the_old_end(&log, &room("a"), &five, 5);
    let twelve = fill(&mut log, &room("b"), 12, 0);
    cut_from_the_old_end(&log, &room("b"), &twelve, 5);
}

/// Beyond its bytes a room loses the oldest.
pub fn a_room_keeps_so_many_bytes<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let rules = roomy();
    let cost = append(&mut make(rules.clone()), &room("a"), padded(0, 100), 0).cost_bytes();
    let mut log = make(RetentionRules { room: Retention { bytes: 3 * cost, ..rules.room }, ..rules });
    let three = fill(&mut log, &room("a"), 3, 100);
    cut_from_the_old_end(&log, &room("a"), &three, 3);
    let nine = fill(&mut log, &room("b"), 9, 100);
    cut_from_the_old_end(&log, &room("b"), &nine, 3);
}

/// No bound of its room keeps the newest record from who is about to read it.
pub fn a_record_that_alone_is_too_large_is_kept_until_the_next<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let rules = roomy();
    let mut log = make(RetentionRules { room: Retention { bytes: 300, ..rules.room }, ..rules });
    let name = room("a");
    let mut appended = fill(&mut log, &name, 2, 0);
    appended.push(append(&mut log, &name, padded(2, 5_000), 0).offset);
    cut_from_the_old_end(&log, &name, &appended, 1);
    appended.push(append(&mut log, &name, draft(3), 0).offset);
    cut_from_the_old_end(&log, &name, &appended, 1);
}

fn brief(millis: u64) -> Retention {
    Retention { age: Duration::from_millis(millis), ..roomy().room }
}

/// Appending to a room drops what is too old in it.
pub fn what_is_too_old_goes_when_the_room_is_appended_to<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut log = make(RetentionRules { room: brief(100), ..roomy() });
    let name = room("a");
    let mut appended = Vec::new();
    for (now, kept) in [(0, 1), (99, 2), (100, 2), (150, 3), (199, 3), (1_000, 1)] {
        appended.push(append(&mut log, &name, draft(now), now).offset);
        cut_from_the_old_end(&log, &name, &appended, kept);
    }
}

/// Expiring drops what is too old in every room, and nothing younger.
pub fn what_is_too_old_goes_with_time<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut log = make(RetentionRules { room: brief(100), ..roomy() });
    let names = ["a", "b", "c"].map(room);
    for (number, name) in (0..30).zip(names.iter().cycle()) {
        append(&mut log, name, draft(number), number * 3);
    }
    for millis in [50, 99, 100, 101, 103, 150, 186, 187] {
        expire(&mut log, millis);
        let kept = (0..30).filter(|number| number * 3 + 100 > millis).count();
        assert_eq!(log.stats().records, kept, "after {millis} ms");
        let records = names.iter().flat_map(|name| log.read(name, Offset::START, ALL));
        assert!(records.into_iter().all(|record| record.timestamp.0 + 100 > at(millis).timestamp.0));
    }
    assert_eq!(log.stats().rooms, 0);
}

/// Whoever sets the wall clock makes nothing older or younger.
pub fn a_wall_clock_that_jumps_expires_nothing<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let rules = roomy();
    let mut log = make(RetentionRules { room: brief(100), ..rules });
    let jumped = |millis: u64, wall: u64| Now { timestamp: Timestamp(wall), ..at(millis) };
    for (millis, wall) in [(0, 5_000_000_000_000), (40, 0), (60, 1_700_000_000_000)] {
        let appended = log.append(&room("a"), draft(millis), jumped(millis, wall));
        assert!(appended.is_ok());
    }
    for (millis, wall, kept) in [(99, 0, 3), (99, u64::MAX, 3), (139, 7, 2), (159, 7, 1), (160, 7, 0)] {
        log.expire(jumped(millis, wall));
        assert_eq!(offsets(&log, &room("a")).len(), kept, "after {millis} ms");
    }
}

/// Where all rooms together are too large, the record that was appended first goes first, whatever room it is in.
pub fn all_rooms_together_lose_the_oldest_record_first<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let rules = roomy();
    let cost = append(&mut make(rules.clone()), &room("a"), padded(0, 100), 0).cost_bytes();
    let mut log = make(RetentionRules { total_bytes: 10 * cost, ..rules });
    let names = ["a", "@user/u", "b", "@all"].map(room);
    let order = [0, 0, 1, 2, 2, 3, 0, 1, 1, 3, 2, 0, 3, 3, 1, 2, 0, 0, 1, 3];
    let mut appended = Vec::new();
    for (number, which) in (0_u64..).zip(order) {
        let record = append(&mut log, &names[which], padded(number % 10, 100), 0);
        appended.push((which, record.offset.0));
        let oldest = appended.len().saturating_sub(10);
        for (index, name) in names.iter().enumerate() {
            let of_room = appended[oldest..].iter().filter(|(which, _)| *which == index);
            let expected: Vec<u64> = of_room.map(|(_, offset)| *offset).collect();
            assert_eq!(offsets(&log, name), expected, "{name} after {} appends", appended.len());
        }
        assert!(log.stats().bytes <= 10 * cost);
    }
}

/// The last record appended stays, even where it alone is larger than everything may be.
pub fn the_newest_record_of_all_is_kept<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut log = make(RetentionRules { total_bytes: 1_000, ..roomy() });
    append(&mut log, &room("a"), draft(1), 0);
    append(&mut log, &room("b"), padded(2, 5_000), 0);
    assert_eq!((offsets(&log, &room("a")).len(), offsets(&log, &room("b")).len()), (0, 1));
    append(&mut log, &room("a"), draft(3), 0);
    assert_eq!((offsets(&log, &room("a")).len(), offsets(&log, &room("b")).len()), (1, 0));
}

/// `@user/…`, `@session/…` and `@all` keep what the rules for own rooms say, and named rooms what theirs say.
pub fn own_rooms_have_rules_of_their_own<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let rules = roomy();
    let own = Retention { records: 2, ..brief(50) };
    let mut log = make(RetentionRules { own, room: Retention { records: 4, ..brief(100) }, ..rules });
    let names = ["@user/u", "@session/s", "@all", "a"].map(room);
    for name in &names {
        fill(&mut log, name, 9, 0);
    }
    assert_eq!(names.each_ref().map(|name| offsets(&log, name).len()), [2, 2, 2, 4]);
    expire(&mut log, 49);
    assert_eq!(names.each_ref().map(|name| offsets(&log, name).len()), [2, 2, 2, 4]);
    expire(&mut log, 50);
    assert_eq!(names.each_ref().map(|name| offsets(&log, name).len()), [0, 0, 0, 4]);
}

/// A room whose name begins as a rule says keeps what that rule says, the longest one counts, and none is for own rooms.
pub fn the_longest_prefix_of_a_rooms_name_has_its_rules<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let rule = |prefix: &str, records, age| PrefixRetention {
        prefix: prefix.into(),
        keep: Retention { records, ..brief(age) },
    };
    let prefixes = vec![rule("a", 2, 50), rule("a:b", 6, 200), rule("a:", 3, 10), rule("@", 1, 1)];
    let own = Retention { records: 4, ..brief(100) };
    let mut log =
        make(RetentionRules { prefixes, own, room: Retention { records: 5, ..brief(100) }, ..roomy() });
    let names = ["a", "a:", "a:b:c", "ab", "ba", "@user/a"].map(room);
    let kept = |log: &L| names.each_ref().map(|name| offsets(log, name).len());
    log.hold(&names[1]);
    for name in &names {
        fill(&mut log, name, 9, 0);
    }
    assert_eq!(kept(&log), [2, 3, 6, 2, 5, 4]);
    for (millis, left) in [(10, [2, 0, 6, 2, 5, 4]), (50, [0, 0, 6, 0, 5, 4]), (100, [0, 0, 6, 0, 0, 0])] {
        expire(&mut log, millis);
        assert_eq!(kept(&log), left, "after {millis} ms");
    }
    expire(&mut log, 200);
    assert_eq!(log.stats().records, 0);
}

/// Statistics are the sum of what can be read.
pub fn statistics_count_what_is_kept<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let rules = roomy();
    let mut log = make(RetentionRules { room: Retention { records: 7, ..rules.room }, ..rules });
    let names = ["a", "b", "@all"].map(room);
    for ((number, size), name) in (0..40).zip(0..).zip(names.iter().cycle()) {
        append(&mut log, name, padded(number, size * 9), 0);
        if number == 30 {
            log.clear(&names[1]);
        }
        let records = names.iter().flat_map(|name| log.read(name, Offset::START, ALL));
        let (count, bytes) = records.fold((0, 0), |(n, b), record| (n + 1, b + record.cost_bytes()));
        assert_eq!((log.stats().records, log.stats().bytes), (count, bytes));
    }
    assert_eq!(log.stats().rooms, 3);
}
