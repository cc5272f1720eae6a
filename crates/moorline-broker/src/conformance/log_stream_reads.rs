//! The contract of [`Log`]: what readers get of streams, from wherever they read.

use moorline_proto::batch::ReadFrom;
use moorline_proto::position::Offset;
use moorline_proto::stream::{CHUNK_MAX_BYTES, Done, Entry, Piece};

use super::ALL;
use super::log::roomy;
use super::stage::{ME, Stage, chunk, chunk_of, json, opening, points};
use super::stream_history::{History, Reading, SplitAt};
use crate::LogExt as _;
use crate::log::{Log, New, ReadLimit};
use crate::memory_log::RetentionRules;

/// Runs all clauses about reading.
pub fn all<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    pieces_are_shown_where_they_stood(make);
    pieces_of_a_stream_are_merged_where_the_first_stood(make);
    texts_stand_where_the_reader_stands(make);
    a_merged_chunk_has_its_bound(make);
    a_reader_goes_on_from_any_record_of_a_page(make);
}

/// Each piece at the offset under which it was announced, with the data wherever a replay may begin.
pub fn pieces_are_shown_where_they_stood<L: Log>(make: &impl Fn(RetentionRules) -> L) {
    let (stage, news) = conversation(make);
    let mut shown = Vec::new();
    stage.log.visit(&stage.room, ReadFrom::After(Offset::START), &mut |entry| {
        shown.push(match entry {
            Entry::Record(record) => record.clone(),
            Entry::Piece(piece) => Piece { data: None, ..piece }.to_record(),
        });
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(shown, news.into_iter().map(|new| new.record).collect::<Vec<_>>());
}

/// Two streams and a few records between their pieces: `a` opens, `He`, 1, `b` opens, `x`, `llo`, 2, `a` ends, `y`.
fn conversation<L: Log>(make: &impl Fn(RetentionRules) -> L) -> (Stage<L>, Vec<New>) {
    let mut stage = Stage::new(make(roomy()));
    let mut news = stage.open_as("a", opening(ME)).records;
    stage.millis = 100;
    let a = stage.opened("a", opening(ME)).0;
    news.extend(stage.add("a", a, 0, "He"));
    let published = |stage: &mut Stage<L>, number| {
        let after = stage.head();
        New { after, record: stage.publish(number) }
    };
    news.push(published(&mut stage, 1));
    let opened = stage.open_as("b", opening(ME));
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
        let done = stage.open_as(stream, opening(ME));
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
