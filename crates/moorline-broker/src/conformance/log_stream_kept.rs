//! The contract of [`Log`]: how long streams are kept, and what they count for.

use std::time::Duration;

use moorline_proto::batch::ReadFrom;
use moorline_proto::position::Offset;
use moorline_proto::stream::{Command, Done, Open, Outcome, StreamError, StreamState};

use super::log::{append, at, expire, offsets, padded, roomy};
use super::stage::{
    ME, Stage, appending, chunk_of, complete, holder, json, lease, name, opened_by, opening, terminal_of,
};
use super::{ALL, room};
use crate::LogExt as _;
use crate::log::{Log, LogStats};
use crate::memory_log::{Retention, RetentionRules};

/// Runs all clauses about keeping.
pub fn all<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    an_open_stream_outlives_every_bound_of_its_room(make);
    a_stream_that_ended_goes_with_its_terminal_record(make);
    the_text_goes_with_age_once_it_ended(make);
    clearing_leaves_open_streams(make);
    an_open_stream_outlives_what_all_rooms_may_hold(make);
    text_counts_by_its_bytes(make);
    a_stream_counts_as_one_record_once_it_ended(make);
    a_room_with_an_open_stream_is_not_forgotten(make);
    what_is_too_old_names_a_new_stream(make);
    open_streams_share_a_quarter_of_the_memory(make);
    a_client_has_a_share_of_the_memory(make);
}

fn within(room: Retention) -> RetentionRules {
    RetentionRules { room, ..roomy() }
}

/// The text of the streams that are open at the head, as a reader there gets it.
fn open_text<L: Log>(stage: &Stage<L>) -> String {
    let head = stage.head();
    let from = ReadFrom::Texts { at: head, after: Offset::START };
    let (records, _, end) = stage.log.page(&stage.room, from, head, ALL);
    assert_eq!(end, head);
    assert!(records.iter().all(|record| record.offset == head), "{records:?} do not stand at {head:?}");
    records.iter().map(|record| chunk_of(record).expect("a chunk").2).collect()
}

/// Records, bytes and age; the plain records go. When it ends all of it is there.
pub fn an_open_stream_outlives_every_bound_of_its_room<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let keep = Retention { records: 3, bytes: 2_000, age: Duration::from_millis(500) };
    let mut stage = Stage::new(make(within(keep)));
    let fence = stage.open("s");
    let mut text = String::new();
    for number in 0..20 {
        let more = format!("{number:0100};");
        stage.add("s", fence, 101 * number, &more);
        text.push_str(&more);
        stage.publish(number);
        stage.millis += 100;
        stage.lapse();
        expire(&mut stage.log, stage.millis);
        assert_eq!(open_text(&stage), text);
    }
    stage.millis += 5_000;
    expire(&mut stage.log, stage.millis);
    assert_eq!((open_text(&stage), stage.text("s")), (text.clone(), text.clone()));
    assert_eq!(stage.log.stats().records, 0, "the plain records are too old");
    stage.finish("s", fence);
    assert_eq!(stage.text("s"), text, "it ended and is kept");
}

fn gone<L: Log>(stage: &mut Stage<L>) {
    assert_eq!(stage.view("s"), None);
    let fence = stage.opened("s", opening(ME));
    assert_eq!(fence.1, 0, "it begins anew");
    assert_eq!(open_text(stage), "", "nothing is left of the former one");
}

/// The terminal record counts as one, so it is cut as one: all of the text with it, none of it before.
pub fn a_stream_that_ended_goes_with_its_terminal_record<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let keep = Retention { records: 4, ..roomy().room };
    let mut stage = Stage::new(make(within(keep)));
    let fence = stage.open("s");
    stage.millis = 100;
    stage.add("s", fence, 0, "early");
    let early = stage.head();
    for number in 0..6 {
        stage.publish(number);
    }
    assert!(stage.log.state(&stage.room).cut > early, "the text lies before the cut");
    stage.add("s", fence, 5, " late");
    stage.finish("s", fence);
    let ended = stage.head();
    for number in 0..3 {
        stage.publish(number);
        assert_eq!(stage.text("s"), "early late");
        let cut = stage.log.state(&stage.room).cut;
        assert!(cut < ended);
        let from = ReadFrom::Texts { at: cut, after: Offset::START };
        let (texts, _, _) = stage.log.page(&stage.room, from, Offset::MAX, ALL);
        let behind = stage.log.read(&stage.room, cut, ALL);
        let text: String =
            texts.iter().chain(&behind).filter_map(chunk_of).map(|(_, _, content)| content).collect();
        assert_eq!(text, "early late", "who stands at the cut gets all of it");
    }
    assert_eq!(stage.open_as("s", opening(ME)).result, Err(StreamError::Ended));
    stage.publish(3);
    assert!(stage.log.state(&stage.room).cut >= ended);
    assert_eq!(stage.log.read(&stage.room, ended, ALL), stage.log.read(&stage.room, Offset::START, ALL));
    gone(&mut stage);
}

/// From its end on, not from its beginning.
pub fn the_text_goes_with_age_once_it_ended<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let keep = Retention { age: Duration::from_millis(500), ..roomy().room };
    let mut stage = Stage::new(make(within(keep)));
    let fence = stage.open("s");
    stage.add("s", fence, 0, "text");
    stage.millis = 400;
    stage.finish("s", fence);
    expire(&mut stage.log, 899);
    stage.millis = 899;
    assert_eq!(stage.text("s"), "text");
    stage.millis = 900;
    expire(&mut stage.log, 900);
    assert_eq!((stage.log.stats(), stage.view("s")), (LogStats::default(), None));
    gone(&mut stage);
}

/// With all of their text; those that ended go with everything else.
pub fn clearing_leaves_open_streams<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut stage = Stage::new(make(roomy()));
    let ended = stage.open("s");
    stage.finish("s", ended);
    let fence = stage.open("t");
    stage.millis = 100;
    stage.add("t", fence, 0, "shown");
    stage.publish(1);
    assert_eq!(stage.add("t", fence, 5, " waits"), []);
    let head = stage.head();
    stage.log.clear(&stage.room);
    let state = stage.log.state(&stage.room);
    assert_eq!((state.head, state.cut, state.cleared), (head, head, head));
    assert_eq!((open_text(&stage), stage.view("s")), ("shown".into(), None));
    assert_eq!(stage.log.read(&stage.room, head, ALL), []);
    assert_eq!(stage.log.stats().records, 0);
    stage.millis = 200;
    stage.lapse();
    assert_eq!(open_text(&stage), "shown waits");
    stage.add("t", fence, 11, "!");
    stage.finish("t", fence);
    assert_eq!(stage.text("t"), "shown waits!");
    stage.log.clear(&stage.room);
    assert_eq!((stage.view("t"), stage.log.stats().bytes), (None, 0));
    gone(&mut stage);
}

/// What is appended elsewhere cuts plain records, the oldest first, and no open stream.
pub fn an_open_stream_outlives_what_all_rooms_may_hold<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut stage = Stage::new(make(RetentionRules { total_bytes: 64 * 1_024, ..roomy() }));
    let fence = stage.open("s");
    let text = "x".repeat(8 * 1_024);
    stage.add("s", fence, 0, &text);
    stage.publish(1);
    for number in 0..100 {
        append(&mut stage.log, &room("b"), padded(number, 2_000), stage.millis);
        assert!(stage.log.stats().bytes <= 64 * 1_024);
    }
    stage.millis = 100;
    stage.lapse();
    assert_eq!(open_text(&stage), text);
    assert_eq!(stage.log.stats().records, offsets(&stage.log, &room("b")).len(), "the record before went");
    stage.finish("s", fence);
    for number in 0..100 {
        append(&mut stage.log, &room("b"), padded(number, 2_000), stage.millis);
    }
    gone(&mut stage);
}

/// Of the room: where an open stream takes them all, the newest record alone is kept beside it.
pub fn text_counts_by_its_bytes<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    for (bytes, kept) in [(1_000, 10), (20_000, 1)] {
        let keep = Retention { bytes: 20_000, ..roomy().room };
        let mut stage = Stage::new(make(within(keep)));
        let fence = stage.open("s");
        stage.millis = 100;
        let before = stage.log.stats().bytes;
        stage.add("s", fence, 0, &"é".repeat(bytes / 2));
        let taken = stage.log.stats().bytes - before;
        assert!((bytes..bytes + 1_000).contains(&taken), "{bytes} bytes of text take {taken}");
        for number in 0..10 {
            stage.publish(number);
        }
        assert_eq!(stage.log.stats().records, kept, "beside {bytes} bytes of text");
        stage.finish("s", fence);
        assert!(stage.log.stats().bytes >= bytes, "it is kept");
        let records = stage.log.stats().records;
        stage.publish(10);
        let left = if kept == 1 { 1 } else { records + 1 };
        assert_eq!(stage.log.stats().records, left, "the text of what ended counts too");
    }
}

/// Open it is none, however many chunks there were.
pub fn a_stream_counts_as_one_record_once_it_ended<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut stage = Stage::new(make(roomy()));
    let fence = stage.open("s");
    stage.publish(1);
    for at in 0..9 {
        stage.millis += 100;
        stage.add("s", fence, at, "x");
    }
    assert_eq!((stage.log.stats().records, stage.log.stats().rooms), (1, 1));
    stage.finish("s", fence);
    assert_eq!(stage.log.stats().records, 2);
    let bytes = stage.log.stats().bytes;
    assert_eq!(stage.end("s", fence, complete("1")).result, Err(StreamError::Ended));
    assert_eq!((stage.log.stats().records, stage.log.stats().bytes), (2, bytes));
}

/// Nobody holds it and it has no records: its head stays as long as the stream is open, then its terminal record, then nothing.
pub fn a_room_with_an_open_stream_is_not_forgotten<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let keep = Retention { age: Duration::from_millis(100), ..roomy().room };
    let mut stage = Stage::new(make(within(keep)));
    stage.log.hold(&stage.room);
    stage.opened("s", Open { lease: lease(5_000), ..opening(ME) });
    stage.publish(1);
    stage.log.release(&stage.room);
    let head = stage.head();
    for millis in [100, 1_000, 4_999] {
        stage.millis = millis;
        expire(&mut stage.log, millis);
        assert_eq!((stage.head(), stage.log.stats().rooms), (head, 1), "after {millis} ms");
    }
    // Where the log was opened again the lease is over that much later.
    stage.millis = 10_000;
    let ended = stage.lapse();
    assert_eq!(ended.last().map(|new| json(&new.record)), Some(r#"{"type":"orphaned","stream":"s"}"#));
    assert_eq!(ended.first().map(|new| new.after), Some(head));
    expire(&mut stage.log, 10_099);
    assert_eq!((stage.log.stats().rooms, stage.log.stats().records), (1, 1));
    assert_eq!(stage.view("s").expect("the stream").state, StreamState::Orphaned);
    expire(&mut stage.log, 10_100);
    assert_eq!(stage.log.stats(), LogStats::default());
    stage.millis = 10_100;
    stage.open("s");
    assert!(stage.head() > head, "numbers go on");
}

/// Its name is free, and the numbers of the room are new.
pub fn what_is_too_old_names_a_new_stream<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let keep = Retention { records: 2, ..roomy().room };
    let mut stage = Stage::new(make(within(keep)));
    let (mut last, mut head) = (0, Offset::START);
    for number in 0..6 {
        let fence = stage.open("s");
        assert!(fence > last && stage.head() > head);
        let stale = stage.append("s", last, 0, "stale");
        assert_eq!(stale.result, Err(StreamError::Fenced), "of the stream before");
        stage.add("s", fence, 0, &number.to_string());
        stage.finish("s", fence);
        assert_eq!(stage.text("s"), number.to_string());
        let records = stage.log.read(&stage.room, stage.log.state(&stage.room).cut, ALL);
        assert_eq!(records.iter().filter_map(terminal_of).count(), 1, "{records:?}");
        (last, head) = (fence, stage.head());
        stage.publish(1);
        stage.publish(2);
    }
}

/// Opens streams in as many rooms as it takes, until it is refused; how many there are.
fn open_many<L: Log>(log: &mut L, who: &str) -> Vec<(String, u64)> {
    let mut opened = Vec::new();
    for number in 0..1_000 {
        let stream = format!("{who} {number:04}");
        let command = opened_by(who);
        let room = room(&format!("{who} {}", number / 8));
        match log.stream(&room, &name(&stream), &command, at(0)).result {
            Ok(Done::Opened { fence, .. }) => opened.push((stream, fence)),
            Err(StreamError::NoSpace) => return opened,
            other => panic!("{other:?}"),
        }
    }
    panic!("{who} may open as many as it likes")
}

/// Each is reckoned as 512 bytes and what it holds. Text is refused as streams are, and what ends gives its share back.
pub fn open_streams_share_a_quarter_of_the_memory<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut log = make(RetentionRules { total_bytes: 256 * 1_024, ..roomy() });
    let opened = open_many(&mut log, "key/a");
    assert!((80..=128).contains(&opened.len()), "{} streams in 64 KiB", opened.len());
    assert!(open_many(&mut log, "key/b").is_empty(), "whoever asks");
    let mut stage = Stage::new(log);
    stage.room = room("key/a 0");
    let (first, fence) = &opened[0];
    let command = appending(holder("key/a", *fence), 0, &"x".repeat(2_000));
    let refused = stage.ask(first, &command);
    assert_eq!((refused.result, refused.is_change), (Err(StreamError::NoSpace), false));
    assert_eq!(stage.view(first).map(|view| (view.state, view.at)), Some((StreamState::Open, 0)));
    for (index, (stream, fence)) in opened.iter().enumerate().take(20).skip(1) {
        stage.room = room(&format!("key/a {}", index / 8));
        let outcome = Outcome::Cancelled;
        let end = Command::End { holder: holder("key/a", *fence), outcome };
        assert!(stage.ask(stream, &end).result.is_ok());
    }
    stage.room = room("key/a 0");
    let taken = stage.ask(first, &command).result;
    assert_eq!(taken, Ok(Done::Appended { at: 2_000, cancel: false }), "what ended gives back");
    assert!(!open_many(&mut stage.log, "key/c").is_empty());
}

/// A sixteenth of the clients' half; clients together no more than that half.
pub fn a_client_has_a_share_of_the_memory<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut log = make(RetentionRules { total_bytes: 1 << 20, ..roomy() });
    for who in ["user/a", "session/a"] {
        let opened = open_many(&mut log, who).len();
        assert!((10..=16).contains(&opened), "{opened} streams of {who} in 8 KiB");
    }
    let mut all = 0;
    for number in 0..40 {
        all += open_many(&mut log, &format!("user/{number}")).len();
    }
    assert!((150..256).contains(&all), "{all} streams of clients in what is left of 128 KiB");
    let keys = open_many(&mut log, "key/a").len();
    assert!((150..=300).contains(&keys), "{keys} streams of the application in the other half");
}
