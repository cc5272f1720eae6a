//! The contract of [`Log`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use moorline_proto::id::RoomName;
use moorline_proto::position::{Offset, Position};
use moorline_proto::record::{Except, Record};
use moorline_proto::resume::{ResetReason, Resume, resume};
use moorline_proto::time::{Instant, Now, Timestamp};

use super::{
    ALL, log_ids, log_retention, log_stream_ends, log_stream_kept, log_stream_reads, log_stream_texts,
    log_stream_times, log_stream_walk, log_streams, message, room, session, sized,
};
use crate::LogExt as _;
use crate::log::{Appended, Draft, Log, LogStats, ReadLimit};
use crate::memory_log::{Retention, RetentionRules};

/// When the suites begin; all later moments are counted from it.
pub(super) const START: Timestamp = Timestamp(1_700_000_000_000);

/// Runs all clauses. `make` gives a new, empty log under these rules, each time of its own.
pub fn log<L: Log>(make: impl Fn(RetentionRules) -> L) {
    an_unknown_room_has_neither_head_nor_cut(&make);
    offsets_rise_and_each_record_names_the_head_before_it(&make);
    what_is_read_is_what_was_appended(&make);
    a_read_returns_what_lies_after_an_offset_up_to_its_limit(&make);
    a_held_rooms_head_is_never_forgotten(&make);
    holds_are_counted(&make);
    a_room_that_nobody_holds_is_forgotten_once_it_is_empty(&make);
    one_position_means_one_message_across_forgetting(&make);
    the_first_record_of_a_forgotten_room_is_no_loss_for_who_waited(&make);
    clearing_keeps_the_head_and_makes_it_the_cut(&make);
    clearing_an_unknown_room_does_nothing(&make);
    log_retention::all(&make);
    log_ids::all(&make);
    log_streams::all(&make);
    log_stream_texts::all(&make);
    log_stream_ends::all(&make);
    log_stream_times::all(&make);
    log_stream_kept::all(&make);
    log_stream_reads::all(&make);
    log_stream_walk::r27_streams_every_reader_gets_every_text_whole_before_its_end(&make);
}

/// Rules under which nothing is cut until a test says so.
pub(super) fn roomy() -> RetentionRules {
    let all = Retention { records: 1_000_000, bytes: 1 << 30, age: Duration::from_secs(3_600) };
    RetentionRules { room: all, own: all, total_bytes: 1 << 30, ..RetentionRules::default() }
}

pub(super) fn at(millis: u64) -> Now {
    let instant = Instant::since_start(Duration::from_millis(millis));
    Now { instant, timestamp: Timestamp(START.0 + millis) }
}

/// After everything that is kept for an hour is too old.
pub(super) const LATE: u64 = 3_600_000;

pub(super) fn draft(number: u64) -> Draft {
    Draft { message: message(number), except: None, key: None }
}

pub(super) fn padded(number: u64, bytes: usize) -> Draft {
    Draft { message: sized(number, bytes), except: None, key: None }
}

pub(super) fn append(log: &mut impl Log, room: &RoomName, draft: Draft, millis: u64) -> Record {
    match log.append(room, draft, at(millis)) {
        Ok(Appended::New { record, .. }) => record,
        other => panic!("expected a new record, got {other:?}"),
    }
}

/// So often that bounded calls get through.
pub(super) fn expire(log: &mut impl Log, millis: u64) {
    for _ in 0..64 {
        log.expire(at(millis));
    }
}

pub(super) fn offsets(log: &impl Log, room: &RoomName) -> Vec<u64> {
    log.read(room, Offset::START, ALL).iter().map(|record| record.offset.0).collect()
}

/// A room without an entry has head 0 and cut 0, and asking makes no entry.
pub fn an_unknown_room_has_neither_head_nor_cut<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let log = make(roomy());
    let state = log.state(&room("a"));
    assert_eq!((state.head, state.cut, state.cleared), (Offset(0), Offset(0), Offset(0)));
    assert_eq!(log.read(&room("a"), Offset(0), ALL), []);
    assert_eq!(log.stats(), LogStats::default());
}

/// Offsets of a room rise, from a number above 0; `after` is the head before, and the state shows the head after.
pub fn offsets_rise_and_each_record_names_the_head_before_it<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut log = make(roomy());
    let epoch = log.state(&room("a")).epoch;
    for (number, name) in (0..100).zip(["a", "b", "@all"].map(room).iter().cycle()) {
        let before = log.state(name).head;
        let Ok(Appended::New { after, record }) = log.append(name, draft(number), at(number)) else {
            panic!("not appended")
        };
        assert_eq!(after, before, "the head before");
        assert!(record.offset > after, "{:?} does not rise above {after:?}", record.offset);
        let state = log.state(name);
        assert_eq!((state.head, state.epoch), (record.offset, epoch));
    }
}

/// Message, time and exclusion are read as they were appended; the answer to the append is the record.
pub fn what_is_read_is_what_was_appended<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut log = make(roomy());
    let except = Except { sessions: vec![session("s")], users: vec![super::user("u")] };
    let excluding = Draft { except: Some(Arc::new(except.clone())), ..draft(2) };
    let kept = [append(&mut log, &room("a"), draft(1), 5), append(&mut log, &room("a"), excluding, 6)];
    assert_eq!(log.read(&room("a"), Offset::START, ALL), kept);
    assert_eq!(kept.each_ref().map(|record| record.timestamp), [at(5).timestamp, at(6).timestamp]);
    assert_eq!(kept.each_ref().map(|record| record.message.clone()), [message(1), message(2)]);
    assert_eq!((kept[0].except.as_deref(), kept[1].except.as_deref()), (None, Some(&except)));
}

/// A read is a piece of the log without a hole: up to a number of records, or until a number of bytes is reached, but at
/// least one record where there is one.
pub fn a_read_returns_what_lies_after_an_offset_up_to_its_limit<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut log = make(roomy());
    let name = room("a");
    let kept: Vec<Record> = (0..10).map(|number| append(&mut log, &name, draft(number), 0)).collect();
    let cost = kept[0].cost_bytes();
    for (start, after) in kept.iter().map(|record| record.offset).enumerate() {
        let rest = &kept[start + 1..];
        assert_eq!(log.read(&name, after, ALL), rest);
        for (limit, count) in [
            (ReadLimit { records: 3, bytes: usize::MAX }, 3),
            (ReadLimit { records: usize::MAX, bytes: 2 * cost }, 2),
            (ReadLimit { records: usize::MAX, bytes: 2 * cost + 1 }, 3),
            (ReadLimit { records: usize::MAX, bytes: 0 }, 1),
            (ReadLimit { records: 0, bytes: usize::MAX }, 1),
        ] {
            let expected = &rest[..count.min(rest.len())];
            assert_eq!(log.read(&name, after, limit), expected, "{limit:?} after {after:?}");
        }
    }
}

/// While somebody holds a room its head stays, whatever became of its records.
pub fn a_held_rooms_head_is_never_forgotten<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut log = make(roomy());
    let name = room("a");
    log.hold(&name);
    let head = append(&mut log, &name, draft(1), 0).offset;
    expire(&mut log, LATE);
    assert_eq!(offsets(&log, &name), [0; 0], "the record is too old");
    let state = log.state(&name);
    assert_eq!((state.head, state.cut), (head, head), "head and cut of a held room");
    let Ok(Appended::New { after, .. }) = log.append(&name, draft(2), at(LATE)) else {
        panic!("not appended")
    };
    assert_eq!(after, head, "a reader at the head has missed nothing");
}

/// A room is held until each hold was released.
pub fn holds_are_counted<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut log = make(roomy());
    let name = room("a");
    log.hold(&name);
    log.hold(&name);
    let head = append(&mut log, &name, draft(1), 0).offset;
    log.release(&name);
    expire(&mut log, LATE);
    assert_eq!(log.state(&name).head, head, "one hold is left");
    log.release(&name);
    expire(&mut log, LATE);
    assert_eq!(log.stats(), LogStats::default(), "no hold is left");
}

/// Rooms that nobody holds cost nothing once their records are gone; while they have records, releasing changes nothing.
pub fn a_room_that_nobody_holds_is_forgotten_once_it_is_empty<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut log = make(roomy());
    for number in 0..20 {
        let name = room(&format!("room {number}"));
        log.hold(&name);
        append(&mut log, &name, draft(number), 0);
        log.release(&name);
        assert_eq!(offsets(&log, &name).len(), 1, "a record outlives who held its room");
    }
    log.hold(&room("never used"));
    log.release(&room("never used"));
    log.clear(&room("room 3"));
    expire(&mut log, LATE - 1);
    assert_eq!(log.stats().records, 19, "not too old yet");
    expire(&mut log, LATE);
    assert_eq!(log.stats(), LogStats::default());
}

/// No offset of a room is given twice, whatever is cut, cleared, expired, forgotten, held or released in between.
pub fn one_position_means_one_message_across_forgetting<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut log = make(roomy());
    let mut meaning: HashMap<(RoomName, Offset), u64> = HashMap::new();
    for number in 0..400_u64 {
        let name = room(&format!("room {}", number * number % 7));
        let now = number * LATE / 10;
        let record = append(&mut log, &name, draft(number), now);
        let former = meaning.insert((name.clone(), record.offset), number);
        assert_eq!(former, None, "{name} {:?} was another message's", record.offset);
        match number % 5 {
            0 => log.clear(&name),
            1 => log.hold(&name),
            2 => log.release(&name),
            3 => expire(&mut log, now + number % 3 * LATE / 2),
            _ => expire(&mut log, now + LATE),
        }
    }
}

/// Who joined a room while it was unknown, at position 0, is at its head until the first record, and gets that without a
/// reset, whatever its number. Once a record is cut, it is told.
pub fn the_first_record_of_a_forgotten_room_is_no_loss_for_who_waited<L: Log>(
    make: &impl Fn(RetentionRules) -> L,
) {
    let mut log = make(roomy());
    let name = room("a");
    let former = append(&mut log, &name, draft(1), 0).offset;
    expire(&mut log, LATE);
    log.hold(&name);
    let joined = log.state(&name).position();
    assert_eq!(joined.offset, Offset(0), "a forgotten room is an unknown one");
    let Ok(Appended::New { after, record }) = log.append(&name, draft(2), at(LATE)) else {
        panic!("not appended")
    };
    assert_eq!(after, joined.offset);
    assert!(record.offset > former);
    assert_eq!(resume(joined, &log.state(&name)), Resume::Continue(Offset(0)), "nothing is lost");
    expire(&mut log, 2 * LATE);
    let told = Resume::Reset { reason: ResetReason::Retention, from: Some(Offset(0)), to: record.offset };
    assert_eq!(resume(joined, &log.state(&name)), told, "the record is lost");
}

/// Clearing removes every record and no number; readers are told that it was the application.
pub fn clearing_keeps_the_head_and_makes_it_the_cut<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut log = make(roomy());
    let name = room("a");
    let first = append(&mut log, &name, draft(1), 0).offset;
    let head = append(&mut log, &name, draft(2), 0).offset;
    log.clear(&name);
    let state = log.state(&name);
    assert_eq!((state.head, state.cut, state.cleared), (head, head, head));
    assert_eq!(offsets(&log, &name), [0; 0]);
    let stood = Position { epoch: state.epoch, offset: first };
    let told = Resume::Reset { reason: ResetReason::Cleared, from: Some(first), to: head };
    assert_eq!(resume(stood, &state), told);
    assert_eq!(resume(state.position(), &state), Resume::Continue(head), "who had read all lost nothing");
    let next = append(&mut log, &name, draft(3), 0).offset;
    assert!(next > head);
    assert_eq!(offsets(&log, &name), [next.0]);
    assert_eq!((log.stats().rooms, log.stats().records), (1, 1));
}

/// Clearing what is not there makes no entry.
pub fn clearing_an_unknown_room_does_nothing<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut log = make(roomy());
    log.clear(&room("a"));
    assert_eq!(log.stats(), LogStats::default());
    assert_eq!(log.state(&room("a")).head, Offset(0));
}
