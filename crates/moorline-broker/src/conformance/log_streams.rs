//! The contract of [`Log`]: what commands do to a stream.

use std::sync::Arc;

use moorline_proto::position::Offset;
use moorline_proto::record::Except;
use moorline_proto::stream::{
    CHUNK_MAX_BYTES, Canceller, Command, Done, Holder, Open, Outcome, StreamError, StreamState,
    TEXT_MAX_BYTES,
};

use super::log::roomy;
use super::stage::{
    ME, Stage, appending, canceller, chunk, chunk_of, complete, failed, holder, instant, joined, json, lease,
    messages, opening, points,
};
use super::{ALL, session};
use crate::LogExt as _;
use crate::log::{Log, LogStats};
use crate::memory_log::RetentionRules;

/// Runs all clauses about commands.
pub fn all<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    each_command_is_answered_by_state_and_fence(make);
    opening_shows_an_empty_chunk_that_carries_the_data(make);
    a_stream_is_kept_from_whom_it_is_not_for(make);
    a_fence_rises_with_each_opening(make);
    a_repeated_append_adds_what_is_new(make);
    an_append_that_differs_or_leaves_a_gap_changes_nothing(make);
    text_is_written_as_json(make);
    a_long_append_becomes_several_chunks(make);
    a_text_may_have_its_longest(make);
    a_text_that_gets_too_long_ends(make);
    the_same_end_is_answered_again(make);
    ends_say_what_the_producer_said(make);
    whoever_writes_is_asked_to_stop_once(make);
    a_room_has_so_many_open_streams(make);
    open_streams_are_shown_as_they_stood(make);
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
    let open = |principal: &str| Command::Open(Box::new(opening(principal)));
    in_each_state(make, Ok(()), |_, _| open(ME));
    for other in ["key/you", "user/me", "session/me"] {
        in_each_state(make, Err(StreamError::Taken), |_, _| open(other));
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
    let except = Except { sessions: vec![session("s")], users: vec![super::user("u")] };
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

/// Where code points of one to four bytes stand next to each other, and such as belong together.
const MIXED: &str = "aé日😀b\u{301}👩\u{200d}👧z";

/// Wherever it begins and ends; places are counted in code points.
pub fn a_repeated_append_adds_what_is_new<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut stage = Stage::new(make(roomy()));
    let fence = stage.open("s");
    stage.add("s", fence, 0, MIXED);
    let mut text = MIXED.to_owned();
    for (start, at) in (0..=MIXED.chars().count()).zip(0..) {
        stage.millis += 50;
        stage.lapse();
        let held: Vec<char> = text.chars().collect();
        for end in start..=held.len() {
            let content: String = held[start..end].iter().collect();
            let done = stage.append("s", fence, at, &content);
            assert_eq!(
                done.result,
                Ok(Done::Appended { at: points(&text), cancel: false }),
                "{start}..{end}"
            );
            assert_eq!(done.records, [], "nothing new in {start}..{end}");
        }
        let more: String = held[start..].iter().chain(&['😀', 'ü']).collect();
        text.push_str("😀ü");
        let done = stage.append("s", fence, at, &more);
        assert_eq!(done.result, Ok(Done::Appended { at: points(&text), cancel: false }), "from {start}");
    }
    stage.finish("s", fence);
    assert_eq!(stage.text("s"), text);
}

/// Nothing of it is added, not even what fits.
pub fn an_append_that_differs_or_leaves_a_gap_changes_nothing<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut stage = Stage::new(make(roomy()));
    let fence = stage.open("s");
    stage.add("s", fence, 0, MIXED);
    let (held, length) = (MIXED.chars().collect::<Vec<_>>(), points(MIXED));
    for wrong in 0..held.len() {
        for (start, at) in (0..=wrong).zip(0..) {
            let mut other = held.clone();
            other[wrong] = '😁';
            let content: String = other[start..].iter().collect();
            for content in [content.clone(), content + "more"] {
                let done = stage.append("s", fence, at, &content);
                assert_eq!((done.result, done.is_change), (Err(StreamError::Conflict), false), "{content:?}");
            }
        }
    }
    let composed = stage.append("s", fence, 0, "ae\u{301}");
    assert_eq!(composed.result, Err(StreamError::Conflict), "é in two code points is another text");
    let bytes = u64::try_from(MIXED.len()).unwrap_or(u64::MAX);
    let units = u64::try_from(MIXED.encode_utf16().count()).unwrap_or(u64::MAX);
    for beyond in [length + 1, units, bytes, 1 << 53, u64::MAX] {
        for content in ["", "more", MIXED] {
            let done = stage.append("s", fence, beyond, content);
            assert_eq!(done.result, Err(StreamError::AtMismatch { at: length }), "{content:?} at {beyond}");
        }
    }
    assert_eq!(stage.append("s", fence, 3, "").result, Ok(Done::Appended { at: length, cancel: false }));
    stage.finish("s", fence);
    assert_eq!(stage.text("s"), MIXED);
}

/// Quotes and control characters in text and in names.
pub fn text_is_written_as_json<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut stage = Stage::new(make(roomy()));
    let fence = stage.open("a\"b");
    stage.millis = 100;
    let shown = stage.add("a\"b", fence, 0, "\"\\\n\u{1}é");
    let expected = r#"{"type":"chunk","stream":"a\"b","at":0,"content":"\"\\\n\u0001é"}"#;
    assert_eq!(messages(&shown), [expected]);
    let ended = stage.finish("a\"b", fence);
    assert_eq!(messages(&ended), [r#"{"type":"complete","stream":"a\"b"}"#]);
}

/// Each within its bound, at whole code points, and hardly more of them than there must be.
pub fn a_long_append_becomes_several_chunks<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let long = "x😀é日".repeat(21_000);
    let halves = long.split_at(long.len() / 20);
    for waits in [false, true] {
        let mut stage = Stage::new(make(roomy()));
        let fence = stage.open("s");
        stage.millis = 100;
        let mut news = stage.add("s", fence, 0, if waits { halves.0 } else { "" });
        let (at, rest) = if waits { (points(halves.0), halves.1) } else { (0, long.as_str()) };
        news.extend(stage.add("s", fence, at, rest));
        assert_eq!(waits, joined(&news) != long, "the second of two waits");
        stage.millis = 150;
        news.extend(stage.lapse());
        let mut length = 0;
        for (_, at, content) in news.iter().filter_map(|new| chunk_of(&new.record)) {
            assert_eq!(at, length, "in code points");
            assert!(content.len() <= CHUNK_MAX_BYTES, "a chunk of {} bytes", content.len());
            length += points(content);
        }
        assert_eq!(joined(&news), long);
        assert!(news.len() <= long.len() / (CHUNK_MAX_BYTES - 3) + 2, "{} chunks", news.len());
        assert_eq!(stage.text("s"), long);
        let read = stage.log.read(&stage.room, Offset::START, ALL);
        let read: String = read.iter().filter_map(chunk_of).map(|(_, _, content)| content).collect();
        assert_eq!(read, long);
    }
}

/// To the last byte, and what is repeated of it is no more.
pub fn a_text_may_have_its_longest<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let mut stage = Stage::new(make(roomy()));
    let fence = stage.open("s");
    let longest = "é".repeat(TEXT_MAX_BYTES / 2);
    stage.add("s", fence, 0, &longest);
    stage.add("s", fence, 0, &longest);
    stage.add("s", fence, points(&longest), "");
    stage.finish("s", fence);
    assert_eq!(stage.text("s"), longest);
}

/// By one byte: the producer is refused, nothing of it is added, and readers are told the reason behind all of the text. Who
/// is refused anyway ends nothing.
pub fn a_text_that_gets_too_long_ends<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let longest = "x".repeat(TEXT_MAX_BYTES);
    for (held, more) in
        [("", format!("{longest}x")), ("held", longest.clone()), ("held", longest[4..].into())]
    {
        let mut stage = Stage::new(make(roomy()));
        let former = stage.open("s");
        let fence = stage.open("s");
        stage.millis = 100;
        stage.add("s", fence, 0, held);
        let length = points(held);
        let refused = stage.append("s", former, length, &more).result;
        assert_eq!(refused, Err(StreamError::Fenced));
        assert_eq!(
            stage.append("s", fence, length + 1, &more).result,
            Err(StreamError::AtMismatch { at: length })
        );
        if !held.is_empty() {
            let other = format!("other{longest}");
            assert_eq!(stage.append("s", fence, 0, &other).result, Err(StreamError::Conflict));
        }
        stage.add("s", fence, length, "!");
        let done = stage.append("s", fence, length + 1, &more);
        assert_eq!((done.result, done.is_change), (Err(StreamError::TooBig), true));
        let told = done.records.last().map(|new| json(&new.record));
        assert_eq!(told, Some(r#"{"type":"error","stream":"s","error":"too_big"}"#));
        let view = stage.view("s").expect("the stream");
        assert_eq!(view.content, format!("{held}!"));
        assert_eq!(view.state, StreamState::Ended(failed(r#""too_big""#)));
        let after = stage.append("s", fence, length + 1, "x");
        assert_eq!((after.result, after.records), (Err(StreamError::Ended), vec![]));
        assert_eq!(stage.log.lapses_at(), None);
    }
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
            (stage.log.lapses_at(), stage.log.open_streams(&stage.room, stage.head())),
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
    assert_eq!(stage.log.open_streams(&stage.room, stage.head()).len(), 64);
    stage.room = super::room("b");
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
        let listed = stage.log.open_streams(&stage.room, head);
        let names: String = listed.iter().map(|view| view.stream.as_str()).collect();
        assert_eq!(names, open, "at {head:?}");
        assert!(listed.iter().all(|view| view.content.is_empty() && view.state == StreamState::Open));
        let view = stage.log.view_stream(&stage.room, &super::stage::name("b"), head);
        assert_eq!(view.as_ref().map(|view| view.at), length, "at {head:?}");
        let Some(view) = view else { continue };
        let text: String = "é😀waits".chars().take(view.content.chars().count()).collect();
        assert_eq!((points(&view.content), view.content.as_str()), (view.at, text.as_str()));
        assert_eq!(view.state == StreamState::Open, open.contains('b'), "at {head:?}");
        let in_list = listed.iter().find(|listed| listed.stream == view.stream);
        assert_eq!(in_list.map(|listed| listed.at), open.contains('b').then_some(view.at));
    }
    assert_eq!(stage.log.view_stream(&stage.room, &super::stage::name("c"), Offset::MAX), None);
}
