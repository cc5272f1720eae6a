//! The contract of [`Log`]: when a stream's text is shown, and when its lease is over.
//!
//! Each clause asks little of its log: leases start afresh where a log is closed and opened again in between.

use moorline_proto::stream::{Done, Open, SHOW_EVERY, StreamError, StreamState};

use super::log::{append, at, draft, roomy};
use super::stage::{
    ME, Stage, canceller, chunk, instant, joined, json, lease, messages, opening, terminal_of,
};
use super::{message, room};
use crate::log::{Log, New};
use crate::memory_log::RetentionRules;

/// Runs all clauses about time.
pub fn all<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    nothing_lapses_where_there_is_no_stream(make);
    text_is_shown_at_once_and_then_together(make);
    what_follows_opening_is_shown_soon(make);
    what_waits_is_shown_before_the_end(make);
    text_of_several_streams_is_shown_when_it_is_due(make);
    a_lease_is_over_when_it_is_over(make);
    what_is_not_refused_renews_the_lease(make);
    all_leases_can_begin_anew(make);
    what_is_refused_renews_nothing(make);
    a_take_over_begins_a_lease_of_its_own(make);
    what_waits_is_shown_before_a_stream_is_orphaned(make);
    many_streams_lapse_at_once(make);
}

const ORPHANED: &str = r#"{"type":"orphaned","stream":"s"}"#;

/// Streams that ended are none.
pub fn nothing_lapses_where_there_is_no_stream<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut stage = Stage::new(make(roomy()));
    assert_eq!(stage.log.lapses_at(), None);
    stage.publish(1);
    assert_eq!(stage.log.lapses_at(), None);
    let fence = stage.open("s");
    assert!(stage.log.lapses_at().is_some());
    stage.finish("s", fence);
    assert_eq!(stage.log.lapses_at(), None);
    stage.millis = 10_000_000;
    assert_eq!(stage.lapse(), []);
}

/// What comes within `SHOW_EVERY` of a chunk comes together when that is over, no earlier; who looks sees what was shown.
pub fn text_is_shown_at_once_and_then_together<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut stage = Stage::new(make(roomy()));
    let fence = stage.open("s");
    stage.millis = 1_000;
    assert_eq!(messages(&stage.add("s", fence, 0, "a")), [chunk("s", 0, "a")], "at once");
    assert_eq!(stage.add("s", fence, 1, "b"), [], "too soon");
    stage.millis = 1_049;
    assert_eq!(stage.add("s", fence, 2, "c"), [], "too soon");
    assert_eq!(stage.text("s"), "a");
    assert_eq!(stage.log.lapses_at(), Some(instant(1_000) + SHOW_EVERY));
    assert_eq!(stage.lapse(), [], "too soon");
    stage.millis = 1_050;
    assert_eq!(messages(&stage.lapse()), [chunk("s", 1, "bc")], "together");
    assert_eq!(stage.text("s"), "abc");
    stage.millis = 1_099;
    assert_eq!(stage.add("s", fence, 3, "d"), [], "too soon");
    stage.millis = 1_100;
    assert_eq!(messages(&stage.add("s", fence, 4, "e")), [chunk("s", 3, "de")], "with what waited");
    assert_eq!(stage.lapse(), [], "nothing waits");
    stage.millis = 2_000;
    assert_eq!(messages(&stage.add("s", fence, 5, "f")), [chunk("s", 5, "f")], "at once");
}

/// No later than `SHOW_EVERY` after it, and once.
pub fn what_follows_opening_is_shown_soon<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    for soon in [0, 1, 49, 50] {
        let mut stage = Stage::new(make(roomy()));
        let fence = stage.open("s");
        stage.millis = soon;
        let mut news = stage.add("s", fence, 0, "a");
        assert!(soon < 50 || !news.is_empty(), "at once");
        if news.is_empty() {
            assert_eq!(stage.log.lapses_at(), Some(instant(50)));
        }
        stage.millis = 50;
        news.extend(stage.lapse());
        assert_eq!(messages(&news), [chunk("s", 0, "a")], "{soon} ms after opening");
    }
}

/// Both with one answer; a take-over hastens nothing.
pub fn what_waits_is_shown_before_the_end<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut stage = Stage::new(make(roomy()));
    let fence = stage.open("s");
    stage.millis = 100;
    stage.add("s", fence, 0, "shown");
    assert_eq!(stage.add("s", fence, 5, " waits"), []);
    let (fence, at) = stage.opened("s", opening(ME));
    assert_eq!((at, stage.text("s").as_str()), (11, "shown"), "the length counts what waits");
    let ended = stage.finish("s", fence);
    assert_eq!(messages(&ended), [chunk("s", 5, " waits").as_str(), r#"{"type":"complete","stream":"s"}"#]);
    assert_eq!(stage.text("s"), "shown waits");
    stage.millis = 200;
    assert_eq!(stage.lapse(), []);
}

/// Each at its own time, whatever room it is in.
pub fn text_of_several_streams_is_shown_when_it_is_due<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut stage = Stage::new(make(roomy()));
    let names = ["a", "b"].map(room);
    for (millis, name) in [(0, &names[0]), (20, &names[1])] {
        stage.room = name.clone();
        stage.millis = millis;
        let fence = stage.open("s");
        stage.millis = millis + 100;
        stage.add("s", fence, 0, "at once");
        stage.add("s", fence, 7, "!");
    }
    for (due, name, millis) in [(150, 0, 149), (150, 0, 150), (170, 1, 169), (170, 1, 170)] {
        assert_eq!(stage.log.lapses_at(), Some(instant(due)));
        let shown = stage.log.lapse(at(millis));
        let wanted = (millis == due).then(|| (names[name].clone(), chunk("s", 7, "!")));
        let shown: Vec<_> =
            shown.iter().map(|(room, new)| (room.clone(), json(&new.record).to_owned())).collect();
        assert_eq!(shown, Vec::from_iter(wanted), "at {millis} ms");
    }
    assert!(stage.log.lapses_at().is_some_and(|due| due > instant(1_000)), "only leases are left");
}

/// Follows `lapses_at` to the end of that time, as an owner does.
fn run<L: Log>(stage: &mut Stage<L>, until: u64) -> Vec<(u64, New)> {
    let mut news = Vec::new();
    for _ in 0..8 {
        match stage.log.lapses_at() {
            Some(due) if due <= instant(until) => {
                let due = u64::try_from(due.elapsed().as_millis()).unwrap_or(u64::MAX);
                stage.millis = stage.millis.max(due);
                let millis = stage.millis;
                news.extend(stage.lapse().into_iter().map(|new| (millis, new)));
            }
            _ => {
                stage.millis = until;
                return news;
            }
        }
    }
    panic!("lapse is asked for again and again")
}

fn leased(millis: u64) -> Open {
    Open { lease: lease(millis), ..opening(ME) }
}

/// Not a millisecond before; the stream is orphaned once, by whatever comes first.
pub fn a_lease_is_over_when_it_is_over<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    for millis in [1_000, 15_000, 600_000] {
        let mut stage = Stage::new(make(roomy()));
        let fence = stage.opened("s", leased(millis)).0;
        assert_eq!(run(&mut stage, millis - 1), []);
        assert_eq!(stage.lapse(), [], "too soon");
        assert_eq!(stage.view("s").expect("the stream").state, StreamState::Open);
        let over = run(&mut stage, millis + 5);
        assert_eq!(over.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [millis]);
        assert_eq!(json(&over[0].1.record), ORPHANED);
        assert_eq!(stage.view("s").expect("the stream").state, StreamState::Orphaned);
        assert!(!stage.lives("s", fence));
        stage.millis += 600_000;
        assert_eq!(run(&mut stage, 10_000_000), [], "once");

        let mut stage = Stage::new(make(roomy()));
        let fence = stage.opened("s", leased(millis)).0;
        stage.millis = millis - 1;
        assert!(stage.lives("s", fence));
        stage.millis += millis;
        let late = stage.append("s", fence, 0, "late");
        assert_eq!((late.result, late.is_change), (Err(StreamError::Ended), true));
        assert_eq!(messages(&late.records), [ORPHANED]);
        assert_eq!(stage.lapse(), [], "once");
        assert_eq!(stage.log.lapses_at(), None);
    }
}

/// An append, be it empty or a repetition, and a take-over.
pub fn what_is_not_refused_renews_the_lease<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    for (at, content) in [(0, ""), (2, ""), (1, ""), (0, "hi"), (1, "i!"), (2, "!")] {
        let mut stage = Stage::new(make(roomy()));
        let fence = stage.opened("s", leased(1_000)).0;
        stage.add("s", fence, 0, "hi");
        stage.millis = 50;
        stage.lapse();
        stage.millis = 999;
        let done = stage.append("s", fence, at, content);
        assert!(matches!(done.result, Ok(Done::Appended { .. })), "{done:?}");
        assert_eq!(run(&mut stage, 1_998), [], "renewed by {content:?} at {at}");
        let over = run(&mut stage, 1_999);
        assert_eq!(over.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1_999]);
    }
}

/// Where nobody could, the log does it for all.
pub fn all_leases_can_begin_anew<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut stage = Stage::new(make(roomy()));
    stage.opened("s", leased(1_000));
    stage.opened("t", leased(2_000));
    stage.millis = 999;
    stage.log.renew_leases(at(stage.millis));
    let over = run(&mut stage, 3_000);
    assert_eq!(over.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1_999, 2_999]);
}

/// Neither what is refused nor who asks to stop nor who looks.
pub fn what_is_refused_renews_nothing<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut stage = Stage::new(make(roomy()));
    let old = stage.open("s");
    let fence = stage.opened("s", leased(1_000)).0;
    stage.millis = 100;
    stage.add("s", fence, 0, "hi");
    stage.millis = 1_099;
    assert_eq!(stage.append("s", old, 2, "!").result, Err(StreamError::Fenced));
    assert_eq!(stage.append("s", fence, 0, "ho").result, Err(StreamError::Conflict));
    assert_eq!(stage.append("s", fence, 3, "!").result, Err(StreamError::AtMismatch { at: 2 }));
    assert_eq!(stage.open_as("s", opening("key/you")).result, Err(StreamError::Taken));
    assert_eq!(stage.cancel("s", canceller("reader")).result, Ok(Done::Cancelled));
    let over = run(&mut stage, 1_100);
    assert_eq!(over.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1_100]);
}

/// Be it longer or shorter than the former one.
pub fn a_take_over_begins_a_lease_of_its_own<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    for (first, second) in [(1_000, 2_000), (10_000, 1_000), (1_000, 1_000)] {
        let mut stage = Stage::new(make(roomy()));
        stage.opened("s", leased(first));
        stage.millis = 500;
        let fence = stage.opened("s", leased(second)).0;
        assert_eq!(run(&mut stage, 500 + second - 1), []);
        assert!(stage.lives("s", fence));
        stage.millis += second - 1;
        assert!(stage.lives("s", fence), "renewed by the new one");
        let end = stage.millis + second;
        let over = run(&mut stage, end);
        assert_eq!(over.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [end], "{first}, then {second} ms");
    }
}

/// Whether a command finds the lease over or it lapses.
pub fn what_waits_is_shown_before_a_stream_is_orphaned<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    for by_command in [false, true] {
        let mut stage = Stage::new(make(roomy()));
        let fence = stage.opened("s", leased(1_000)).0;
        stage.millis = 100;
        stage.add("s", fence, 0, "shown");
        assert_eq!(stage.add("s", fence, 5, " waits"), []);
        stage.millis = 1_100;
        let news = if by_command { stage.append("s", fence, 11, "late").records } else { stage.lapse() };
        assert_eq!(messages(&news), [chunk("s", 5, " waits").as_str(), ORPHANED]);
        assert_eq!(stage.text("s"), "shown waits");
    }
}

/// However much one call does: all of them, once each, and rooms' records stay in order.
pub fn many_streams_lapse_at_once<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut stage = Stage::new(make(roomy()));
    let (mut left, names) = (Vec::new(), ["a", "b", "c", "d", "e"].map(room));
    for name in &names {
        stage.room = name.clone();
        for number in 0..60 {
            let stream = number.to_string();
            let fence = stage.opened(&stream, opening(ME)).0;
            stage.add(&stream, fence, 0, "x");
            left.push((name.clone(), stream));
        }
        append(&mut stage.log, name, draft(1), 0);
    }
    let mut heads: Vec<_> = names.iter().map(|name| (name, stage.log.state(name).head)).collect();
    // Later each time: where the log is opened again in between, leases start afresh.
    for late in (1..10_000).map(|number| number * 1_000_000) {
        for (name, new) in stage.log.lapse(at(late)) {
            let head = heads.iter_mut().find(|(known, _)| **known == name).expect("a room of ours");
            assert_eq!(new.after, head.1, "the head before");
            head.1 = new.record.offset;
            assert_ne!(new.record.message, message(1));
            if let Some((kind, stream)) = terminal_of(&new.record) {
                assert_eq!(kind, "orphaned");
                let place = left.iter().position(|(room, open)| *room == name && open == stream);
                left.swap_remove(place.expect("it is orphaned once"));
            } else {
                assert_eq!(joined(std::slice::from_ref(&new)), "x");
            }
        }
        if stage.log.lapses_at().is_none() {
            break;
        }
    }
    assert_eq!(left, [], "all are orphaned");
    assert!(heads.iter().all(|(name, head)| stage.log.state(name).head == *head));
}
