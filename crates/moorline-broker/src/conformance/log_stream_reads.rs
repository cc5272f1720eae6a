//! The contract of [`Log`]: what readers get of streams, from wherever they read.

use std::collections::BTreeMap;
use std::time::Duration;

use moorline_proto::batch::ReadFrom;
use moorline_proto::position::Offset;
use moorline_proto::stream::{CHUNK_MAX_BYTES, Command, Done, Entry, Open, Outcome, StreamError};

use super::log::{expire, roomy};
use super::stage::{Stage, appending, canceller, chunk, chunk_of, holder, json, lease, opening, points};
use super::stream_history::{Choose, History, Random, Reading, SplitAt};
use super::{ALL, message};
use crate::LogExt as _;
use crate::log::{Log, New, ReadLimit, Streamed};
use crate::memory_log::{Retention, RetentionRules};

/// Runs all clauses about reading.
pub fn all<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    pieces_are_shown_where_they_stood(make);
    pieces_of_a_stream_are_merged_where_the_first_stood(make);
    texts_stand_where_the_reader_stands(make);
    a_merged_chunk_has_its_bound(make);
    a_reader_goes_on_from_any_record_of_a_page(make);
    r27_streams_every_reader_gets_every_text_whole_before_its_end(make);
}

/// Each piece at the offset under which it was announced, with the data wherever a replay may begin.
pub fn pieces_are_shown_where_they_stood<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let (stage, news) = conversation(make);
    let mut shown = Vec::new();
    stage.log.visit(&stage.room, ReadFrom::After(Offset::START), &mut |entry| {
        shown.push(match entry {
            Entry::Record(record) => record.clone(),
            Entry::Piece(piece) => moorline_proto::stream::Piece { data: None, ..piece }.to_record(),
        });
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(shown, news.into_iter().map(|new| new.record).collect::<Vec<_>>());
}

/// Two streams and a few records between their pieces: `a` opens, `He`, 1, `b` opens, `x`, `llo`, 2, `a` ends, `y`.
fn conversation<L: Log>(make: &impl Fn(RetentionRules) -> L) -> (Stage<L>, Vec<New>) {
    let mut stage = Stage::new(make(roomy()));
    let mut news = stage.open_as("a", opening(super::stage::ME)).records;
    stage.millis = 100;
    let a = stage.opened("a", opening(super::stage::ME)).0;
    news.extend(stage.add("a", a, 0, "He"));
    let published = |stage: &mut Stage<L>, number| {
        let after = stage.head();
        New { after, record: stage.publish(number) }
    };
    news.push(published(&mut stage, 1));
    let opened = stage.open_as("b", opening(super::stage::ME));
    let Ok(Done::Opened { fence: b, .. }) = opened.result else { panic!("{opened:?}") };
    news.extend(opened.records);
    stage.millis = 200;
    news.extend(stage.add("b", b, 0, "x"));
    news.extend(stage.add("a", a, 2, "llo"));
    news.push(published(&mut stage, 2));
    news.extend(stage.finish("a", a));
    stage.millis = 300;
    news.extend(stage.add("b", b, 1, "y"));
    assert_eq!(news.len(), 9);
    (stage, news)
}

/// Who has a record has all that lies before the next one; only the last brings all of the page.
pub fn pieces_of_a_stream_are_merged_where_the_first_stood<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let (stage, news) = conversation(make);
    let place = |index: usize| news[index].record.offset;
    let plain = |index: usize| json(&news[index].record).to_owned();
    let page = |after, head, limit| stage.log.page(&stage.room, ReadFrom::After(after), head, limit);
    let told = |after, head| {
        let (records, reached, end) = page(after, head, ALL);
        let records = records.iter().map(|record| (record.offset, json(record).to_owned()));
        (records.zip(reached).collect::<Vec<_>>(), end)
    };
    let all = vec![
        ((place(0), chunk("a", 0, "Hello")), place(1)),
        ((place(2), plain(2)), place(2)),
        ((place(3), chunk("b", 0, "xy")), place(5)),
        ((place(6), plain(6)), place(6)),
        ((place(7), plain(7)), place(8)),
    ];
    assert_eq!(told(Offset::START, place(8)), (all, place(8)));
    let behind = vec![
        ((place(2), plain(2)), place(2)),
        ((place(3), chunk("b", 0, "x")), place(4)),
        ((place(5), chunk("a", 2, "llo")), place(5)),
        ((place(6), plain(6)), place(6)),
    ];
    assert_eq!(told(place(1), place(6)), (behind, place(6)), "no further than the head");
    let two = page(Offset::START, place(8), ReadLimit { records: 2, bytes: usize::MAX });
    assert_eq!((two.0.len(), two.2), (2, place(2)), "where the limit is reached the page ends");
    let (records, reached, end) = page(place(5), place(7), ALL);
    assert_eq!((records.len(), reached, end), (2, vec![], place(7)), "each brings a reader to itself");
    for at_end in [place(8), place(8).next()] {
        assert_eq!(page(at_end, place(8), ALL), (vec![], vec![], at_end));
    }
}

/// Of the streams that were open there, and no others; what the cursor has passed is left out.
pub fn texts_stand_where_the_reader_stands<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let (stage, news) = conversation(make);
    let place = |index: usize| news[index].record.offset;
    let texts = |at: Offset, after: Offset| {
        let (records, _, end) = stage.log.page(&stage.room, ReadFrom::Texts { at, after }, place(8), ALL);
        assert_eq!(end, at);
        assert!(records.iter().all(|record| record.offset == at));
        let written = records.iter().map(|record| json(record).to_owned());
        written.filter(|json| !json.contains(r#""content":"""#)).collect::<Vec<_>>()
    };
    let none = Vec::<String>::new();
    for (at, expected) in [
        (Offset::START, none.clone()),
        (place(0), none.clone()),
        (place(1), vec![chunk("a", 0, "He")]),
        (place(3), vec![chunk("a", 0, "He")]),
        (place(4), vec![chunk("a", 0, "He"), chunk("b", 0, "x")]),
        (place(6), vec![chunk("a", 0, "Hello"), chunk("b", 0, "x")]),
        (place(7), vec![chunk("b", 0, "x")]),
        (place(8), vec![chunk("b", 0, "xy")]),
    ] {
        assert_eq!(texts(at, Offset::START), expected, "at {at:?}");
        assert_eq!(texts(at, at), none, "all read at {at:?}");
    }
    assert_eq!(texts(place(6), place(1)), [chunk("b", 0, "x"), chunk("a", 2, "llo")]);
    assert_eq!(texts(place(6), place(4)), [chunk("a", 2, "llo")]);
    assert_eq!(texts(place(8), place(4)), [chunk("b", 1, "y")]);
}

/// Two streams with long pieces by turns, records between them: so much that chunks cannot hold it.
fn long<L: Log>(make: &impl Fn(RetentionRules) -> L) -> (Stage<L>, History) {
    let mut stage = Stage::new(make(roomy()));
    let mut history = History::default();
    let mut open = |stage: &mut Stage<L>, stream| {
        let done = stage.open_as(stream, opening(super::stage::ME));
        history.take(&done.records);
        let Ok(Done::Opened { fence, .. }) = done.result else { panic!("{done:?}") };
        fence
    };
    let fences = [("a", open(&mut stage, "a")), ("b", open(&mut stage, "b"))];
    let mut lengths = [0, 0];
    for number in 0..12 {
        stage.millis += 100;
        let which = number % 5 % 2;
        let (stream, fence) = fences[which];
        let content = "日é".repeat(1_500 * (number + 1));
        history.take(&stage.add(stream, fence, lengths[which], &content));
        lengths[which] += points(&content);
        if number % 3 == 2 {
            history.push(&stage.publish(u64::try_from(number).unwrap_or(0)));
        }
    }
    history.take(&stage.finish("a", fences[0].1));
    history.push(&stage.publish(99));
    (stage, history)
}

/// And it is used: two chunks of a stream that follow each other would not fit into one.
pub fn a_merged_chunk_has_its_bound<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let (stage, _) = long(make);
    let (records, _, _) = stage.log.page(&stage.room, ReadFrom::After(Offset::START), stage.head(), ALL);
    for stream in ["a", "b"] {
        let of_stream = |record| chunk_of(record).filter(|(name, ..)| *name == stream);
        let sizes: Vec<usize> = records.iter().filter_map(of_stream).map(|(.., text)| text.len()).collect();
        assert!(sizes.len() > 2 && sizes.iter().all(|size| *size <= CHUNK_MAX_BYTES), "{sizes:?}");
        assert!(sizes.windows(2).all(|two| two[0] + two[1] > CHUNK_MAX_BYTES), "{sizes:?}");
    }
}

/// From every place, to every head, after any number of records of a page, with any limit.
pub fn a_reader_goes_on_from_any_record_of_a_page<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let limits = [
        ALL,
        ReadLimit { records: 1, bytes: usize::MAX },
        ReadLimit { records: 3, bytes: usize::MAX },
        ReadLimit { records: usize::MAX, bytes: 0 },
        ReadLimit { records: usize::MAX, bytes: 100_000 },
    ];
    let (stage, news) = conversation(make);
    let mut history = History::default();
    history.take(&news);
    let places = history.places(Offset::START);
    for (index, from) in places.iter().enumerate() {
        for (head, limit) in places[index..].iter().flat_map(|head| limits.map(|limit| (head, limit))) {
            for records in (1..=places.len()).map(Some).chain([None]) {
                let reading = Reading { room: &stage.room, from: *from, head: *head };
                reading.check(&stage.log, &history, &mut SplitAt { limit, records });
            }
        }
    }
    let (stage, history) = long(make);
    for (from, limit) in history.places(Offset::START).iter().zip(limits.iter().cycle()) {
        for records in [None, Some(1), Some(3)] {
            let reading = Reading { room: &stage.room, from: *from, head: stage.head() };
            reading.check(&stage.log, &history, &mut SplitAt { limit: *limit, records });
        }
    }
}

/// A stream as its producers know it.
#[derive(Debug)]
struct Known {
    principal: &'static str,
    fence: u64,
    text: String,
    /// Before this no lease is over.
    lives: u64,
    lease: u64,
    /// Its terminal record.
    ended: Option<Offset>,
}

/// A log that is asked this and that, with what is known of it.
struct Walk<L> {
    stage: Stage<L>,
    history: History,
    known: BTreeMap<&'static str, Known>,
    random: Random,
    published: u64,
}

const STREAMS: [&str; 5] = ["a", "b", "c", "d", "e"];
const PRINCIPALS: [&str; 2] = ["key/me", "user/me"];

impl<L: Log> Walk<L> {
    fn step(&mut self) {
        let stream = STREAMS[self.random.choose(STREAMS.len())];
        match self.random.choose(16) {
            0..=2 => self.open(stream),
            3..=7 => self.append(stream),
            8 => self.end(stream),
            9 | 10 => {
                self.published += 1;
                let record = self.stage.publish(self.published);
                assert_eq!(record.message, message(self.published));
                self.history.push(&record);
            }
            11 => self.stage.millis += [1, 20, 50, 60, 300, 1_500][self.random.choose(6)],
            12 => expire(&mut self.stage.log, self.stage.millis),
            13 if self.random.choose(4) == 0 => self.stage.log.clear(&self.stage.room),
            14 if self.random.choose(3) == 0 => drop(self.stage.cancel(stream, canceller("reader")).asked),
            _ => self.stage.millis += 7,
        }
        let due = self.stage.lapse();
        self.told(&due);
    }

    /// What comes out is what went in, and no stream is orphaned that need not be.
    fn told(&mut self, news: &[New]) {
        for new in news {
            let Some((kind, stream)) = super::stage::terminal_of(&new.record) else { continue };
            let known = self.known.get_mut(stream).expect("a stream of ours");
            assert_eq!(known.ended, None, "one terminal record: {new:?}");
            assert!(kind != "orphaned" || self.stage.millis >= known.lives, "{stream} lives: {known:?}");
            known.ended = Some(new.record.offset);
        }
        self.history.take(news);
        for new in news {
            let Some((_, stream)) = super::stage::terminal_of(&new.record) else { continue };
            let shown = self.history.texts(Offset(new.record.offset.0 - 1)).remove(stream);
            assert_eq!(shown.as_ref(), self.known.get(stream).map(|known| &known.text), "all of {stream}");
        }
    }

    fn open(&mut self, stream: &'static str) {
        let principal = PRINCIPALS[self.random.choose(4) / 3];
        let millis = [1_000, 5_000, 600_000][self.random.choose(3)];
        let cut_before = self.stage.log.state(&self.stage.room).cut;
        let done = self.stage.open_as(stream, Open { lease: lease(millis), ..opening(principal) });
        let former = self.known.get(stream);
        let is_open = former.is_some_and(|known| known.ended.is_none());
        match done.result {
            Ok(Done::Opened { fence, at }) => {
                assert!(former.is_none_or(|known| fence > known.fence), "{fence} rises above {former:?}");
                let text = match former {
                    Some(known) if is_open => {
                        assert_eq!(principal, known.principal);
                        known.text.clone()
                    }
                    _ => String::new(),
                };
                assert_eq!(at, points(&text));
                let cut = self.stage.log.state(&self.stage.room).cut;
                assert!(former.and_then(|known| known.ended).is_none_or(|ended| ended <= cut), "{former:?}");
                let lives = self.stage.millis + millis;
                let known = Known { principal, fence, text, lives, lease: millis, ended: None };
                self.known.insert(stream, known);
            }
            Err(StreamError::Taken) => {
                assert!(is_open && former.is_some_and(|known| known.principal != principal), "{former:?}");
            }
            Err(StreamError::Ended) => {
                let kept = former.and_then(|known| known.ended).is_some_and(|ended| ended > cut_before);
                assert!(kept || !done.records.is_empty(), "{former:?}");
            }
            other => panic!("{other:?}"),
        }
        self.told(&done.records);
    }

    /// By its right, wherever its text may be repeated from.
    fn append(&mut self, stream: &'static str) {
        let Some(known) = self.known.get_mut(stream) else { return };
        let count = known.text.chars().count();
        let from = count - self.random.choose(count.min(4) + 1);
        let mut content: String = known.text.chars().skip(from).collect();
        let more = ["", "x", "é", "日本", "😀 and a few words", "👩\u{200d}👧"][self.random.choose(6)];
        content.push_str(&more.repeat([1, 1, 1, 40][self.random.choose(4)]));
        let text: String = known.text.chars().take(from).chain(content.chars()).collect();
        let command =
            appending(holder(known.principal, known.fence), u64::try_from(from).unwrap_or(0), &content);
        let done = self.stage.ask(stream, &command);
        if let Ok(Done::Appended { at, .. }) = done.result {
            assert_eq!((at, known.ended), (points(&text), None));
            known.text = text;
            known.lives = self.stage.millis + known.lease;
        }
        self.answered(stream, &done);
    }

    fn end(&mut self, stream: &'static str) {
        let Some(known) = self.known.get(stream) else { return };
        let (was, holder) = (known.ended, holder(known.principal, known.fence));
        let done = self.stage.ask(stream, &Command::End { holder, outcome: Outcome::Cancelled });
        if let Ok(Done::Ended { message_id }) = done.result {
            let new = done.records.last().map(|new| new.record.offset);
            assert_eq!(Some(message_id), was.or(new), "the first answer");
            assert!(was.is_none() || new.is_none(), "one terminal record: {done:?}");
        }
        self.answered(stream, &done);
    }

    /// The holder is refused where its stream ended, or is forgotten.
    fn answered(&mut self, stream: &'static str, done: &Streamed) {
        self.told(&done.records);
        let ended = self.known.get(stream).and_then(|known| known.ended);
        let cut = self.stage.log.state(&self.stage.room).cut;
        match &done.result {
            Ok(_) => {}
            Err(StreamError::Ended) => assert!(ended.is_some_and(|ended| ended > cut), "{stream}"),
            Err(StreamError::NotFound) => assert!(ended.is_some_and(|ended| ended <= cut), "{stream}"),
            other => panic!("{other:?}"),
        }
    }

    fn check(&mut self) {
        let Self { stage, history, random, .. } = self;
        let state = stage.log.state(&stage.room);
        let places = history.places(state.cut);
        for _ in 0..3 {
            let from = random.choose(places.len());
            let head = from + random.choose(places.len() - from);
            let head = if random.choose(2) == 0 { state.head } else { places[head] };
            let reading = Reading { room: &stage.room, from: places[from], head: head.max(places[from]) };
            reading.check(&stage.log, history, random);
            open_ones(stage, history, reading.head);
        }
    }
}

/// Whoever looks sees the same as readers do.
fn open_ones<L: Log>(stage: &Stage<L>, history: &History, head: Offset) {
    let listed = stage.log.open_streams(&stage.room, head).into_iter();
    let listed: Vec<_> = listed.map(|view| (view.stream.as_str().to_owned(), view.at)).collect();
    let texts = history.texts(head);
    let expected: Vec<_> = texts.iter().map(|(stream, text)| (stream.clone(), points(text))).collect();
    assert_eq!(listed, expected, "open at {head:?}");
    for (stream, text) in texts {
        let view = stage.log.view_stream(&stage.room, &super::stage::name(&stream), head);
        assert_eq!(view.map(|view| view.content), Some(text), "{stream} at {head:?}");
    }
}

/// Whatever is asked of streams, published, cleared and too old in between: from every place that is not cut, to every head, the
/// texts there and what lies behind are what was announced, each text whole before its end.
pub fn r27_streams_every_reader_gets_every_text_whole_before_its_end<L: Log>(
    make: &impl Fn(RetentionRules) -> L,
) {
    let mut random = Random::seeded();
    for _ in 0..24 {
        let keep =
            Retention { records: 4 + random.choose(12), bytes: 3_000, age: Duration::from_millis(2_000) };
        let mut stage = Stage::new(make(RetentionRules { room: keep, ..roomy() }));
        stage.log.hold(&stage.room);
        let seed = Random(u64::try_from(random.choose(usize::MAX)).unwrap_or(0));
        let (history, known) = (History::default(), BTreeMap::new());
        let mut walk = Walk { stage, history, known, random: seed, published: 0 };
        for _ in 0..150 {
            walk.step();
            walk.check();
        }
    }
}
