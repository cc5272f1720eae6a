//! The contract of [`Log`]: streams in a random walk, against what was announced of them.

use std::collections::BTreeMap;
use std::time::Duration;

use moorline_proto::position::Offset;
use moorline_proto::stream::{Command, Done, Open, Outcome, StreamError};

use super::log::{expire, roomy};
use super::message;
use super::stage::{Stage, appending, canceller, holder, lease, name, opening, points, shown, terminal_of};
use super::stream_history::{Choose as _, History, Random, Reading};
use crate::log::{Log, New, Streamed};
use crate::memory_log::{Retention, RetentionRules};

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
            14 if self.random.choose(3) == 0 => {
                let done = self.stage.cancel(stream, canceller("reader"));
                self.told(&done.records);
            }
            _ => self.stage.millis += 7,
        }
        let due = self.stage.lapse();
        self.told(&due);
    }

    /// What comes out is what went in, and no stream is orphaned that need not be.
    fn told(&mut self, news: &[New]) {
        for new in news {
            let Some((kind, stream)) = terminal_of(&new.record) else { continue };
            let known = self.known.get_mut(stream).expect("a stream of ours");
            assert_eq!(known.ended, None, "one terminal record: {new:?}");
            assert!(kind != "orphaned" || self.stage.millis >= known.lives, "{stream} lives: {known:?}");
            known.ended = Some(new.record.offset);
        }
        self.history.take(news);
        for new in news {
            let Some((_, stream)) = terminal_of(&new.record) else { continue };
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
        let cut = self.stage.log.state(&self.stage.room).cut;
        let done = self.stage.ask(stream, &command);
        if let Ok(Done::Appended { at, .. }) = done.result {
            assert_eq!((at, known.ended), (points(&text), None));
            known.text = text;
            known.lives = self.stage.millis + known.lease;
        }
        self.answered(stream, cut, &done);
    }

    fn end(&mut self, stream: &'static str) {
        let Some(known) = self.known.get(stream) else { return };
        let (was, holder) = (known.ended, holder(known.principal, known.fence));
        let cut = self.stage.log.state(&self.stage.room).cut;
        let done = self.stage.ask(stream, &Command::End { holder, outcome: Outcome::Cancelled });
        if let Ok(Done::Ended { message_id }) = done.result {
            let new = done.records.last().map(|new| new.record.offset);
            assert_eq!(Some(message_id), was.or(new), "the first answer");
            assert!(was.is_none() || new.is_none(), "one terminal record: {done:?}");
        }
        self.answered(stream, cut, &done);
    }

    /// The holder is refused where its stream ended, or was forgotten before.
    fn answered(&mut self, stream: &'static str, cut: Offset, done: &Streamed) {
        self.told(&done.records);
        let ended = self.known.get(stream).and_then(|known| known.ended);
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
    let listed = stage.log.open_streams(&stage.room, shown(head)).into_iter();
    let listed: Vec<_> = listed.map(|view| (view.stream.as_str().to_owned(), view.at)).collect();
    let texts = history.texts(head);
    let expected: Vec<_> = texts.iter().map(|(stream, text)| (stream.clone(), points(text))).collect();
    assert_eq!(listed, expected, "open at {head:?}");
    for (stream, text) in texts {
        let view = stage.log.view_stream(&stage.room, &name(&stream), shown(head));
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
