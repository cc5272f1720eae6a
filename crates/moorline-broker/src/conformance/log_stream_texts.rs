//! The contract of [`Log`]: what appends do to a stream's text.

use moorline_proto::position::Offset;
use moorline_proto::stream::{CHUNK_MAX_BYTES, Done, StreamError, StreamState, TEXT_MAX_BYTES};

use super::ALL;
use super::log::roomy;
use super::stage::{Stage, chunk_of, failed, joined, json, messages, points};
use crate::LogExt as _;
use crate::log::Log;
use crate::memory_log::RetentionRules;

/// Runs all clauses about text.
pub fn all<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    a_repeated_append_adds_what_is_new(make);
    an_append_that_differs_or_leaves_a_gap_changes_nothing(make);
    text_is_written_as_json(make);
    a_long_append_becomes_several_chunks(make);
    a_text_may_have_its_longest(make);
    a_text_that_gets_too_long_ends(make);
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
