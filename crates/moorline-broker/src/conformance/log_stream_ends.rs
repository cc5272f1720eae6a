//! The contract of [`Log`]: how streams end, and what is seen of them from outside.

use moorline_proto::position::Offset;
use moorline_proto::stream::{Canceller, Command, Done, Holder, Open, Outcome, StreamError, StreamState};

use super::log::roomy;
use super::stage::{
    ME, Stage, appending, canceller, complete, failed, holder, instant, json, messages, name, opening,
    points, shown,
};
use super::{ALL, room, session};
use crate::LogExt as _;
use crate::log::Log;
use crate::memory_log::RetentionRules;

/// Runs all clauses about ends.
pub fn all<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    the_same_end_is_answered_again(make);
    ends_say_what_the_producer_said(make);
    whoever_writes_is_asked_to_stop_once(make);
    a_room_has_so_many_open_streams(make);
    one_client_has_half_of_a_rooms_streams_and_all_of_them_three_quarters(make);
    a_right_is_given_once(make);
    open_streams_are_shown_as_they_stood(make);
}

/// The same outcome with the same bytes, by the same principal and fence, from whatever session. All else finds it ended.
pub fn the_same_end_is_answered_again<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let outcomes = [
        Outcome::Complete { message: None },
        complete("null"),
        complete(r#"{"n":1}"#),
        complete(r#"{"n": 1}"#),
        Outcome::Error { error: None },
        failed("null"),
        failed(r#"{"n":1}"#),
        Outcome::Cancelled,
    ];
    for first in &outcomes {
        let mut stage = Stage::new(make(roomy()));
        let old = stage.open("s");
        let fence = stage.open("s");
        let ended = stage.end("s", fence, first.clone());
        assert_eq!((ended.records.len(), ended.is_change), (1, true));
        assert_eq!(ended.result, Ok(Done::Ended { message_id: stage.head() }));
        for again in &outcomes {
            let wanted = if again == first { ended.result.clone() } else { Err(StreamError::Ended) };
            let mut ask = |holder: Holder| {
                let done = stage.ask("s", &Command::End { holder, outcome: again.clone() });
                assert_eq!((done.records.len(), done.is_change), (0, false), "one terminal record");
                done.result
            };
            assert_eq!(ask(holder(ME, fence)), wanted, "{first:?}, then {again:?}");
            assert_eq!(ask(Holder { session: Some(session("other")), ..holder(ME, fence) }), wanted);
            for wrong in [holder(ME, old), holder(ME, fence + 1), holder("key/you", fence)] {
                assert_eq!(ask(wrong), Err(StreamError::Ended));
            }
        }
    }
}

/// The terminal record, and whoever looks at the stream.
pub fn ends_say_what_the_producer_said<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    for (outcome, terminal) in [
        (Outcome::Complete { message: None }, r#"{"type":"complete","stream":"s"}"#),
        (complete(r#"{"n":1}"#), r#"{"type":"complete","stream":"s","message":{"n":1}}"#),
        (Outcome::Error { error: None }, r#"{"type":"error","stream":"s"}"#),
        (failed(r#""why""#), r#"{"type":"error","stream":"s","error":"why"}"#),
        (Outcome::Cancelled, r#"{"type":"cancelled","stream":"s"}"#),
    ] {
        let mut stage = Stage::new(make(roomy()));
        let fence = stage.open("s");
        let done = stage.end("s", fence, outcome.clone());
        assert_eq!(messages(&done.records), [terminal]);
        assert_eq!(stage.view("s").expect("the stream").state, StreamState::Ended(outcome));
        assert_eq!(stage.log.read(&stage.room, Offset::START, ALL).last().map(json), Some(terminal));
        assert_eq!(
            (stage.log.lapses_at(), stage.log.open_streams(&stage.room, shown(stage.head()))),
            (None, vec![])
        );
    }
}

/// The session that opened or appended last; later ones who ask change nothing, and every append from then on is told, whoever
/// holds the stream.
pub fn whoever_writes_is_asked_to_stop_once<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let by = |id: &str| Holder { session: Some(session(id)), ..holder(ME, 0) };
    let opened_by = |id: &str| Open { session: Some(session(id)), ..opening(ME) };
    for (takes_over, appends, asked) in
        [(None, None, "one"), (Some("two"), None, "two"), (None, Some("three"), "three")]
    {
        let mut stage = Stage::new(make(roomy()));
        let mut fence = stage.opened("s", opened_by("one")).0;
        if let Some(id) = takes_over {
            fence = stage.opened("s", opened_by(id)).0;
        }
        if let Some(id) = appends {
            stage.ask("s", &appending(Holder { fence, ..by(id) }, 0, "x"));
        }
        assert!(!stage.view("s").expect("the stream").cancel);
        let first = stage.cancel("s", canceller("reader"));
        assert_eq!((&first.result, first.is_change), (&Ok(Done::Cancelled), true));
        assert_eq!((first.records.len(), first.asked), (0, Some((session(asked), canceller("reader")))));
        let second = stage.cancel("s", Canceller::default());
        assert_eq!((second.result, second.is_change), (Ok(Done::Cancelled), false));
        assert_eq!((second.records.len(), second.asked), (0, None));
        assert!(stage.view("s").expect("the stream").cancel);
        for _ in 0..2 {
            let told = stage.append("s", fence, 0, "x").result;
            assert_eq!(told, Ok(Done::Appended { at: 1, cancel: true }));
            fence = stage.opened("s", opened_by("four")).0;
        }
    }
    let mut stage = Stage::new(make(roomy()));
    stage.open("s");
    let nobody = stage.cancel("s", canceller("reader"));
    assert_eq!((nobody.result, nobody.asked), (Ok(Done::Cancelled), None), "no session holds it");
}

/// What a client opens and leaves takes no place from the application, nor all of them from other clients.
pub fn one_client_has_half_of_a_rooms_streams_and_all_of_them_three_quarters<L: Log>(
    make: &impl Fn(RetentionRules) -> L,
) {
    let mut stage = Stage::new(make(roomy()));
    let mut counts = Vec::new();
    for who in ["user/a", "session/b", "user/c", "key/k"] {
        let is_open = |number: &u32| stage.open_as(&format!("{who} {number}"), opening(who)).result.is_ok();
        counts.push((0..100).take_while(is_open).count());
    }
    assert_eq!(counts, [32, 16, 0, 16]);
    let fence = stage.opened("user/a 0", opening("user/a")).0;
    let holder = holder("user/a", fence);
    assert!(stage.ask("user/a 0", &Command::End { holder, outcome: Outcome::Cancelled }).result.is_ok());
    assert!(stage.open_as("e", opening("user/e")).result.is_ok(), "one that ended makes room");
}

/// Also where the stream that it was given for is gone, and another one has its name.
pub fn a_right_is_given_once<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut stage = Stage::new(make(roomy()));
    let mut last = 0;
    for _ in 0..4 {
        let mut fence = 0;
        for _ in 0..9 {
            fence = stage.open("s");
            assert!(fence > last, "{fence} after {last}");
            last = fence;
        }
        stage.finish("s", fence);
        stage.log.clear(&stage.room);
    }
}

/// 64, each of which may be taken over; one that ended makes room.
pub fn a_room_has_so_many_open_streams<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut stage = Stage::new(make(roomy()));
    let fences: Vec<u64> = (0..64).map(|number| stage.open(&number.to_string())).collect();
    let head = stage.head();
    for other in ["64", "65"] {
        let done = stage.open_as(other, opening(ME));
        assert_eq!((done.result, done.is_change), (Err(StreamError::TooMany), false));
        assert_eq!(stage.append(other, 1, 0, "").result, Err(StreamError::NotFound));
    }
    assert_eq!(stage.head(), head);
    let fence = stage.open("7");
    assert!(fence > fences[7]);
    stage.finish("7", fence);
    stage.open("64");
    assert_eq!(stage.open_as("65", opening(ME)).result, Err(StreamError::TooMany));
    assert_eq!(stage.log.open_streams(&stage.room, shown(stage.head())).len(), 64);
    stage.room = room("b");
    stage.open("65");
}

/// At every offset, with what readers may see there; the list sorted and without texts.
pub fn open_streams_are_shown_as_they_stood<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut stage = Stage::new(make(roomy()));
    // At each of the offsets: the streams that are open, and how long the text of `b` is.
    let mut seen = vec![(stage.head(), "", None)];
    let fence = stage.open("b");
    seen.push((stage.head(), "b", Some(0)));
    stage.millis = 100;
    stage.add("b", fence, 0, "é😀");
    seen.push((stage.head(), "b", Some(2)));
    let other = stage.opened("a", opening("key/you")).0;
    seen.push((stage.head(), "ab", Some(2)));
    stage.add("b", fence, 2, "waits");
    assert_eq!((stage.text("b").as_str(), stage.log.lapses_at()), ("é😀", Some(instant(150))));
    stage.millis = 150;
    stage.lapse();
    seen.push((stage.head(), "ab", Some(7)));
    stage.finish("b", fence);
    seen.push((stage.head(), "a", Some(7)));
    stage.ask("a", &Command::End { holder: holder("key/you", other), outcome: Outcome::Cancelled });
    seen.push((stage.head(), "", Some(7)));
    for (head, open, length) in seen {
        let listed = stage.log.open_streams(&stage.room, shown(head));
        let names: String = listed.iter().map(|view| view.stream.as_str()).collect();
        assert_eq!(names, open, "at {head:?}");
        assert!(listed.iter().all(|view| view.content.is_empty() && view.state == StreamState::Open));
        let view = stage.log.view_stream(&stage.room, &name("b"), shown(head));
        assert_eq!(view.as_ref().map(|view| view.at), length, "at {head:?}");
        let Some(view) = view else { continue };
        let text: String = "é😀waits".chars().take(view.content.chars().count()).collect();
        assert_eq!((points(&view.content), view.content.as_str()), (view.at, text.as_str()));
        assert_eq!(view.state == StreamState::Open, open.contains('b'), "at {head:?}");
        let in_list = listed.iter().find(|listed| listed.stream == view.stream);
        assert_eq!(in_list.map(|listed| listed.at), open.contains('b').then_some(view.at));
    }
    assert_eq!(stage.log.view_stream(&stage.room, &name("c"), shown(Offset::MAX)), None);
}
