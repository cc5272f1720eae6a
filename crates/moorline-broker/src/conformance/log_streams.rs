//! The contract of [`Log`]: what commands do to a stream.

use std::sync::Arc;

use moorline_proto::position::Offset;
use moorline_proto::record::Except;
use moorline_proto::stream::{Canceller, Command, Done, Holder, Open, Outcome, StreamError};

use super::log::roomy;
use super::stage::{ME, Stage, appending, chunk, holder, json, lease, messages, opened_by, opening, points};
use super::{ALL, session, user};
use crate::LogExt as _;
use crate::log::{Log, LogStats};
use crate::memory_log::RetentionRules;

/// Runs all clauses about commands.
pub fn all<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    each_command_is_answered_by_state_and_fence(make);
    opening_shows_an_empty_chunk_that_carries_the_data(make);
    a_stream_is_kept_from_whom_it_is_not_for(make);
    a_fence_rises_with_each_opening(make);
}

const TEXT: &str = "so far";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Absent,
    Open,
    Ended,
    Lapsed,
}

/// A stream in that state, with its present fence and a former one.
fn set<L: Log>(make: &impl Fn(RetentionRules) -> L, is: Is) -> (Stage<L>, u64, u64) {
    let mut stage = Stage::new(make(roomy()));
    if is == Is::Absent {
        return (stage, 2, 1);
    }
    let old = stage.open("s");
    let right = stage.opened("s", Open { lease: lease(1_000), ..opening(ME) }).0;
    stage.millis = 100;
    stage.add("s", right, 0, TEXT);
    match is {
        Is::Ended => drop(stage.finish("s", right)),
        Is::Lapsed => stage.millis = 1_100,
        Is::Absent | Is::Open => {}
    }
    (stage, right, old)
}

fn expected(is: Is, on_open: Result<(), StreamError>) -> Result<(), StreamError> {
    match is {
        Is::Absent => Err(StreamError::NotFound),
        Is::Open => on_open,
        Is::Ended | Is::Lapsed => Err(StreamError::Ended),
    }
}

/// Asks it of a stream in each state. What is refused changes nothing, but a lease that ran out is over.
fn in_each_state<L: Log>(
    make: &impl Fn(RetentionRules) -> L,
    on_open: Result<(), StreamError>,
    command: impl Fn(u64, u64) -> Command,
) {
    for is in [Is::Absent, Is::Open, Is::Ended, Is::Lapsed] {
        let (mut stage, right, old) = set(make, is);
        let command = command(right, old);
        let is_open = matches!(command, Command::Open(_));
        let wanted = if is_open && is == Is::Absent { Ok(()) } else { expected(is, on_open) };
        let (stats, view) = (stage.log.stats(), stage.view("s"));
        let done = stage.ask("s", &command);
        let case = format!("{command:?} where it is {is:?}: {done:?}");
        assert_eq!(done.result.as_ref().map(drop).map_err(|error| *error), wanted, "{case}");
        if is == Is::Lapsed {
            assert_eq!(messages(&done.records), [r#"{"type":"orphaned","stream":"s"}"#], "{case}");
            assert!(done.is_change, "{case}");
            assert_eq!(stage.lapse(), [], "it is orphaned once: {case}");
        } else if wanted.is_err() {
            assert_eq!((done.records.len(), done.is_change, &done.asked), (0, false, &None), "{case}");
            assert_eq!((stage.log.stats(), stage.view("s")), (stats, view), "{case}");
        }
        if is == Is::Open && wanted.is_err() {
            stage.add("s", right, points(TEXT), "!");
        }
        if is == Is::Absent && wanted.is_err() {
            assert_eq!(stage.log.stats(), LogStats::default(), "{case}");
        }
    }
}

/// Whether it is absent, open, ended or its lease has run out; by the present fence, a former one, a guess or somebody else:
/// one answer for each.
pub fn each_command_is_answered_by_state_and_fence<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    in_each_state(make, Ok(()), |_, _| opened_by(ME));
    for other in ["key/you", "user/me", "session/me"] {
        in_each_state(make, Err(StreamError::Taken), |_, _| opened_by(other));
    }
    in_each_state(make, Ok(()), |_, _| Command::Cancel { by: Canceller::default() });
    let cancelled = |holder: Holder| Command::End { holder, outcome: Outcome::Cancelled };
    in_each_state(make, Ok(()), |right, _| cancelled(holder(ME, right)));
    in_each_state(make, Ok(()), |right, _| appending(holder(ME, right), 0, TEXT));
    for who in 0..6 {
        let wrong = move |right: u64, old: u64| match who {
            0 => holder(ME, old),
            1 => holder(ME, right + 1),
            2 => holder(ME, 0),
            3 => holder(ME, u64::MAX),
            4 => holder("key/you", right),
            _ => holder("user/me", right),
        };
        for (at, content) in [(points(TEXT), "more"), (0, TEXT), (0, "other"), (99, "gap"), (0, "")] {
            in_each_state(make, Err(StreamError::Fenced), |right, old| {
                appending(wrong(right, old), at, content)
            });
        }
        in_each_state(make, Err(StreamError::Fenced), |right, old| cancelled(wrong(right, old)));
    }
    for (at, content) in [(0, "other"), (99, "gap")] {
        let error =
            if at == 0 { StreamError::Conflict } else { StreamError::AtMismatch { at: points(TEXT) } };
        in_each_state(make, Err(error), |right, _| appending(holder(ME, right), at, content));
    }
}

/// Live the first chunk alone carries it, the empty one; in a replay the chunk at 0. A take-over shows nothing and changes
/// neither.
pub fn opening_shows_an_empty_chunk_that_carries_the_data<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut stage = Stage::new(make(roomy()));
    let with = |data: &str| Open { data: Some(data.to_owned().into_bytes().into()), ..opening(ME) };
    let done = stage.open_as("s", with(r#"{"n":1}"#));
    let first = r#"{"type":"chunk","stream":"s","at":0,"content":"","data":{"n":1}}"#;
    assert_eq!(messages(&done.records), [first]);
    let opened = stage.head();
    let again = stage.open_as("s", with(r#"{"n":2}"#));
    let Ok(Done::Opened { fence, at: 0 }) = again.result else { panic!("{again:?}") };
    assert_eq!(again.records, [], "a take-over is no news to readers");
    stage.millis = 100;
    assert_eq!(messages(&stage.add("s", fence, 0, "hi")), [chunk("s", 0, "hi")]);
    stage.millis = 200;
    assert_eq!(messages(&stage.add("s", fence, 2, "!")), [chunk("s", 2, "!")]);
    let replay = r#"{"type":"chunk","stream":"s","at":0,"content":"hi!","data":{"n":1}}"#;
    for after in [Offset::START, opened] {
        let read = stage.log.read(&stage.room, after, ALL);
        assert_eq!(read.iter().map(json).collect::<Vec<_>>(), [replay], "after {after:?}");
    }
    let data = stage.view("s").and_then(|view| view.data);
    assert_eq!(data.as_deref(), Some(br#"{"n":1}"#.as_slice()));
}

/// Every chunk and the terminal record, live and in a replay.
pub fn a_stream_is_kept_from_whom_it_is_not_for<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let except = Except { sessions: vec![session("s")], users: vec![user("u")] };
    let with = |except: Option<&Except>| Open { except: except.cloned().map(Arc::new), ..opening(ME) };
    let mut stage = Stage::new(make(roomy()));
    let mut news = stage.open_as("s", with(Some(&except))).records;
    let fence = stage.opened("s", with(None)).0;
    stage.millis = 100;
    news.extend(stage.add("s", fence, 0, "shown"));
    news.extend(stage.add("s", fence, 5, "waits"));
    news.extend(stage.finish("s", fence));
    assert_eq!(news.len(), 4);
    let kept = stage.log.read(&stage.room, Offset::START, ALL);
    assert_eq!(kept.len(), 2);
    for record in news.iter().map(|new| &new.record).chain(&kept) {
        assert_eq!(record.except.as_deref(), Some(&except), "{record:?}");
    }
}

/// Of one that is open, and of one that is new where a former one was forgotten: no old producer writes into it.
pub fn a_fence_rises_with_each_opening<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut stage = Stage::new(make(roomy()));
    let mut last = 0;
    for number in 0..20 {
        let (fence, at) = stage.opened("s", opening(ME));
        assert!(fence > last, "{fence} does not rise above {last}");
        assert_eq!(at, number % 4, "where its text stands");
        assert_eq!(stage.append("s", last, at, "no").result, Err(StreamError::Fenced));
        stage.add("s", fence, at, "x");
        last = fence;
        if number % 4 == 3 {
            stage.finish("s", fence);
            stage.log.clear(&stage.room);
        }
    }
}
