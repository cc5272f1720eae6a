//! Streams and their readers, against the shard alone: what is read before a reader goes on, what becomes of a part, and who is asked.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[allow(unreachable_pub, dead_code, reason = "the other tests use it too")]
mod support;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use moorline_proto::batch::{Batch, EncodedBatch, Page, ReadFrom};
use moorline_proto::error::{ErrorCode, Rejection};
use moorline_proto::frame::Answer;
use moorline_proto::id::{RoomName, SessionId, StreamName};
use moorline_proto::message::Message;
use moorline_proto::position::Offset;
use moorline_proto::record::{Except, Record};
use moorline_proto::resume::RoomState;
use moorline_proto::session_record::Mark;
use moorline_proto::shard::{Input, Output, ShardConfig};
use moorline_proto::stream::{Cancel, Canceller, Command, Entry, Merging, Piece};
use moorline_proto::time::Timestamp;
use serde_json::{Value, json};
use support::{FRAMING, Log, NEW, Stage, config, now, position, room};

/// One number of the room.
#[derive(Clone)]
enum Kept {
    Message,
    Piece {
        stream: String,
        at: u64,
        content: String,
    },
    /// The terminal record of a stream.
    End(String),
}

/// The room `r`: its numbers begin with 1.
#[derive(Clone, Default)]
struct Book {
    kept: Vec<Kept>,
    cut: u64,
    /// A stream of this name is not for the session.
    secret: Option<&'static str>,
    /// How many records a page has.
    page: usize,
}

impl Book {
    fn head(&self) -> u64 {
        self.kept.len() as u64
    }

    fn say(&mut self, stream: &str, content: &str) {
        let at = self.text(stream, self.head()).chars().count() as u64;
        self.kept.push(Kept::Piece { stream: stream.to_owned(), at, content: content.to_owned() });
    }

    fn text(&self, name: &str, up_to: u64) -> String {
        let pieces = self.kept[..usize::try_from(up_to).unwrap()].iter();
        let of_it = pieces.filter_map(|kept| match kept {
            Kept::Piece { stream, content, .. } if stream == name => Some(content.as_str()),
            _ => None,
        });
        of_it.collect()
    }

    fn end_of(&self, name: &str) -> u64 {
        let is_end = |kept: &Kept| matches!(kept, Kept::End(stream) if stream == name);
        self.kept.iter().position(is_end).map_or(u64::MAX, |index| index as u64 + 1)
    }

    fn state(&self) -> RoomState {
        RoomState { epoch: NEW, head: Offset(self.head()), cut: Offset(self.cut), ..RoomState::default() }
    }

    fn except(&self, stream: &str) -> Option<Arc<Except>> {
        let session = SessionId::new("s").unwrap();
        (self.secret == Some(stream)).then(|| Arc::new(Except { sessions: vec![session], users: vec![] }))
    }

    fn push(&self, merging: &mut Merging, offset: u64) {
        let (timestamp, offset) = (Timestamp(0), Offset(offset));
        match &self.kept[usize::try_from(offset.0).unwrap() - 1] {
            Kept::Piece { stream, at, content } => {
                let (name, except) = (StreamName::new(stream).unwrap(), self.except(stream));
                let piece = Piece {
                    offset,
                    timestamp,
                    stream: &name,
                    at: *at,
                    content,
                    data: None,
                    except: except.as_ref(),
                };
                merging.push(Entry::Piece(piece));
            }
            other => {
                let (text, except) = match other {
                    Kept::End(stream) => {
                        (format!(r#"{{"type":"complete","stream":"{stream}"}}"#), self.except(stream))
                    }
                    _ => (format!(r#"{{"type":"m","n":{}}}"#, offset.0), None),
                };
                let message = Message::stored(text.into());
                merging.push(Entry::Record(&Record { offset, timestamp, except, message }));
            }
        }
    }

    fn is_text(&self, offset: u64, at: Offset) -> bool {
        let kept = &self.kept[usize::try_from(offset).unwrap() - 1];
        matches!(kept, Kept::Piece { stream, .. } if self.end_of(stream) > at.0)
    }

    fn page(&self, from: ReadFrom) -> Page {
        let (stand_at, offsets, whole): (_, Vec<u64>, _) = match from {
            ReadFrom::After(after) => {
                (None, (after.0.max(self.cut) + 1..=self.head()).collect(), Offset(self.head()).max(after))
            }
            ReadFrom::Texts { at, after } => {
                let offsets = (after.0 + 1..=at.0).filter(|&offset| self.is_text(offset, at));
                (Some(at), offsets.collect(), at)
            }
        };
        let (mut merging, mut end) = (Merging::new(stand_at), whole);
        for offset in offsets {
            if merging.len() >= self.page {
                end = merging.end();
                break;
            }
            self.push(&mut merging, offset);
        }
        let (records, reached) = merging.finish();
        Page { state: self.state(), from, records, reached, end }
    }

    /// What lies there, as it is announced while it is new.
    fn live(&self, after: u64, up_to: u64) -> Batch {
        let records = (after + 1..=up_to).map(|offset| {
            let mut merging = Merging::new(None);
            self.push(&mut merging, offset);
            merging.finish().0.remove(0)
        });
        let (room, epoch, after) = (room("r"), NEW, Offset(after));
        Batch { room, epoch, after, records: records.collect(), reached: Vec::new() }
    }
}

#[derive(Clone)]
struct Shared(Rc<RefCell<Book>>);

impl Log for Shared {
    fn state(&mut self, name: &RoomName) -> RoomState {
        if *name == room("r") {
            return self.0.borrow().state();
        }
        RoomState { epoch: NEW, ..RoomState::default() }
    }

    fn page(&mut self, name: &RoomName, from: ReadFrom) -> Page {
        assert_eq!(*name, room("r"));
        self.0.borrow().page(from)
    }

    fn has_texts(&mut self, name: &RoomName, at: Offset) -> bool {
        let book = self.0.borrow();
        *name == room("r") && (1..=at.0).any(|offset| book.is_text(offset, at))
    }
}

/// A session that acknowledged the room up to `acked`, and is away.
struct Scene {
    stage: Stage,
    book: Rc<RefCell<Book>>,
}

impl Scene {
    fn new(book: Book, acked: u64) -> Self {
        Self::with(config(), book, acked)
    }

    fn with(config: ShardConfig, book: Book, acked: u64) -> Self {
        let book = Rc::new(RefCell::new(book));
        let mark = Mark { room: room("r"), acked: position(NEW, acked), begin: Offset(0), is_added: false };
        Self { stage: Stage::with(config, Shared(Rc::clone(&book)), vec![mark]), book }
    }

    /// What was read of the room since the last call.
    fn reads(&mut self) -> Vec<ReadFrom> {
        std::mem::take(&mut self.stage.reads).into_iter().map(|(_, from)| from).collect()
    }

    fn is_live(&self) -> bool {
        self.stage.shard.is_live(self.stage.peer.unwrap().session, &room("r"))
    }

    fn announce(&mut self, batch: Batch) {
        self.stage.handle(Input::Batch(Arc::new(EncodedBatch::new(batch, &FRAMING))));
        while self.stage.shard.fan_out(now(), 16, &mut self.stage.sockets) {}
        // What the fan-out asked for is performed.
        let peer = self.stage.peer;
        self.stage.handle(Input::Alive(peer.unwrap()));
        while self.stage.shard.fan_out(now(), 16, &mut self.stage.sockets) {}
    }

    fn writable(&mut self, room: usize) {
        self.stage.sockets.room = room;
        let peer = self.stage.peer.unwrap();
        self.stage.handle(Input::Writable(peer));
    }
}

/// Two streams: `a`, which goes on, and `b`, which ends at 7; messages at 2 and 5. Pages of one record.
fn book() -> Book {
    let mut book = Book { page: 1, ..Book::default() };
    book.say("a", ""); // 1
    book.kept.push(Kept::Message);
    book.say("a", "one "); // 3
    book.say("b", "other"); // 4
    book.kept.push(Kept::Message);
    book.say("a", "two "); // 6
    book.kept.push(Kept::End("b".to_owned())); // 7
    book.say("a", "three"); // 8
    book
}

/// A frame in few words: `a@6:0=text` for a chunk.
fn brief(frame: &Value) -> String {
    let id = &frame["message_id"];
    match frame["type"].as_str().unwrap() {
        "chunk" => {
            let (stream, content) = (frame["stream"].as_str().unwrap(), frame["content"].as_str().unwrap());
            format!("{stream}@{id}:{}={content}", frame["at"])
        }
        "complete" => format!("{}@{id} ends", frame["stream"].as_str().unwrap()),
        "m" => format!("m@{id}"),
        other => other.to_owned(),
    }
}

fn briefs(frames: &[Value]) -> Vec<String> {
    frames.iter().map(brief).collect()
}

fn texts(at: u64, after: u64) -> ReadFrom {
    ReadFrom::Texts { at: Offset(at), after: Offset(after) }
}

fn after(offset: u64) -> ReadFrom {
    ReadFrom::After(Offset(offset))
}

#[test]
fn r27_streams_who_comes_back_reads_the_texts_first() {
    let mut scene = Scene::new(book(), 5);
    let frames = scene.stage.connect(&[]);
    let expected = [
        "connection_established",
        "a@5:0=",
        "a@5:0=one ",
        "b@5:0=other",
        "a@6:4=two ",
        "b@7 ends",
        "a@8:8=three",
    ];
    assert_eq!(briefs(&frames), expected);
    assert_eq!(scene.reads(), [texts(5, 0), texts(5, 1), texts(5, 3), after(5), after(6), after(7)]);
    assert!(scene.is_live());
    // Also where nothing lies behind the position, and what was sent can be acknowledged.
    let acked = scene.stage.say(&json!({"type": "ack", "room": "r", "message_id": 8, "ref": 1}));
    assert_eq!(acked[0]["ok"], json!(true));
    scene.stage.drop_connection();
    scene.book.borrow_mut().page = 100;
    assert_eq!(briefs(&scene.stage.connect(&[])), ["connection_established", "a@8:0=one two three"]);
    assert_eq!(scene.reads(), [texts(8, 0)]);
    let acked = scene.stage.say(&json!({"type": "ack", "room": "r", "message_id": 8, "ref": 2}));
    assert_eq!(acked[0]["message_id"], json!(8));
    assert!(scene.is_live());
}

#[test]
fn r27_streams_texts_are_not_looked_for_where_there_are_none() {
    let mut book = book();
    book.kept.push(Kept::End("a".to_owned()));
    for (acked, expected) in [(9, vec![]), (0, vec![after(0)])] {
        let mut scene = Scene::new(Book { page: 100, ..book.clone() }, acked);
        scene.stage.connect(&[]);
        assert_eq!(scene.reads(), expected, "{acked}");
        assert!(scene.is_live());
    }
}

#[test]
fn r27_streams_who_joins_gets_what_is_open_whatever_its_since() {
    for (since, expected) in [
        (Value::Null, vec!["joined", "a@8:0=one two three"]),
        (json!("start"), vec!["joined", "a@1:0=one two three", "m@2", "b@4:0=other", "m@5", "b@7 ends"]),
        (json!(position(NEW, 6)), vec!["joined", "a@6:0=one two ", "b@6:0=other", "b@7 ends", "a@8:8=three"]),
    ] {
        let book = Rc::new(RefCell::new(Book { page: 100, ..book() }));
        let mut stage = Stage::new(Shared(book), vec![]);
        stage.connect(&[]);
        let join = match &since {
            Value::Null => json!({"type": "join", "room": "r"}),
            since => json!({"type": "join", "room": "r", "since": since}),
        };
        assert_eq!(briefs(&stage.say(&join)), expected, "{since}");
    }
}

#[test]
fn r27_streams_a_part_of_a_page_of_texts_is_gone_on_from() {
    let config = ShardConfig { pending_max_bytes: 300, ..config() };
    let mut scene = Scene::with(config, Book { page: 100, ..book() }, 6);
    // The greeting fits, and a part of the first text.
    scene.stage.sockets.room = 330;
    let mut frames = scene.stage.connect(&[]);
    assert!(!scene.is_live());
    let batch = scene.book.borrow().live(7, 8);
    scene.announce(batch);
    assert!(!scene.is_live(), "it has not all of the texts");
    while !scene.is_live() {
        frames.extend(scene.stage.heard());
        scene.writable(90);
    }
    scene.writable(usize::MAX);
    frames.extend(scene.stage.heard());
    let expected = ["connection_established", "a@6:0=one two ", "b@6:0=other", "b@7 ends", "a@8:8=three"];
    assert_eq!(briefs(&frames), expected);
    let reads = scene.reads();
    assert_eq!(reads[0], texts(6, 0));
    assert!(reads.contains(&after(6)), "{reads:?}");
}

#[test]
fn r27_streams_the_cursor_moves_to_what_was_taken() {
    let config = ShardConfig { pending_max_bytes: 20, ..config() };
    let mut book = Book { page: 100, ..Book::default() };
    ["a", "b", "c"].into_iter().for_each(|stream| book.say(stream, "some words of it"));
    let mut scene = Scene::with(config, book, 3);
    // Less than the greeting: each page finds an empty outbox only once all before was written.
    scene.stage.sockets.room = 10;
    let mut frames = scene.stage.connect(&[]);
    for _ in 0..200 {
        scene.writable(40);
        frames.extend(scene.stage.heard());
    }
    let expected = [
        "connection_established",
        "a@3:0=some words of it",
        "b@3:0=some words of it",
        "c@3:0=some words of it",
    ];
    assert_eq!(briefs(&frames), expected);
    assert_eq!(scene.reads(), [texts(3, 0), texts(3, 1), texts(3, 2)]);
    assert!(scene.is_live());
}

#[test]
fn r27_streams_a_reset_in_the_middle_begins_the_texts_anew() {
    let config = ShardConfig { pending_max_bytes: 20, ..config() };
    let mut scene = Scene::with(config, book(), 4);
    scene.stage.sockets.room = 300;
    let mut frames = scene.stage.connect(&[]);
    assert_eq!(scene.reads(), [texts(4, 0)]);
    // Meanwhile what it would read next is gone; the text of the open stream is kept.
    scene.book.borrow_mut().cut = 7;
    scene.writable(usize::MAX);
    frames.extend(scene.stage.heard());
    assert_eq!(briefs(&frames)[2..], ["reset", "a@7:0=", "a@7:0=one ", "a@7:4=two ", "a@8:8=three"]);
    assert_eq!(scene.reads(), [texts(4, 1), texts(7, 0), texts(7, 1), texts(7, 3), after(7)]);
    assert!(scene.is_live());
}

#[test]
fn r27_streams_a_replay_on_an_open_connection_begins_with_the_texts() {
    let mut scene = Scene::new(Book { page: 100, ..book() }, 8);
    scene.stage.connect(&[]);
    scene.reads();
    let frames = scene.stage.say(&json!({"type": "reconnect", "room": "r", "last_message_id": 5, "ref": 1}));
    let expected = ["reply", "a@5:0=one ", "b@5:0=other", "a@6:4=two three", "b@7 ends"];
    assert_eq!(briefs(&frames), expected);
    assert_eq!(scene.reads(), [texts(5, 0), after(5)]);
    assert!(scene.is_live());
}

#[test]
fn r27_streams_a_stream_is_kept_from_whom_it_is_not_for() {
    for page in [1, 100] {
        let mut scene = Scene::new(Book { secret: Some("b"), page, ..book() }, 5);
        let frames = scene.stage.connect(&[]);
        let text: String = frames.iter().filter_map(|frame| frame["content"].as_str()).collect();
        assert_eq!(text, "one two three");
        assert!(frames.iter().all(|frame| frame["stream"] != json!("b")), "{frames:?}");
        assert!(scene.is_live());
        scene.book.borrow_mut().secret = Some("a");
        scene.book.borrow_mut().say("a", "!");
        let batch = scene.book.borrow().live(8, 9);
        scene.announce(batch);
        assert!(scene.stage.heard().is_empty());
        assert!(scene.is_live());
    }
}

#[test]
fn r27_streams_merged_chunks_that_begin_before_the_shards_place_are_read_from_there() {
    let mut scene = Scene::new(Book { page: 100, ..book() }, 5);
    scene.stage.connect(&[]);
    scene.book.borrow_mut().say("a", " four");
    scene.book.borrow_mut().kept.push(Kept::Message);
    scene.reads();
    // From 7 on: the chunk of `a` at 8, which every live member has, brings 9 too.
    let page = scene.book.borrow().page(after(7));
    let batch =
        Batch { room: room("r"), epoch: NEW, after: Offset(7), records: page.records, reached: page.reached };
    assert_eq!(batch.records[0].offset, Offset(8));
    scene.announce(batch);
    assert_eq!(scene.reads(), [after(8)]);
    assert_eq!(briefs(&scene.stage.heard()), ["a@9:13= four", "m@10"]);
    assert!(scene.is_live());
}

#[test]
fn r27_streams_who_lags_reads_merged_chunks_and_no_texts_again() {
    let config = ShardConfig { pending_max_bytes: 100, ..config() };
    let mut scene = Scene::with(config, Book { page: 100, ..book() }, 8);
    scene.stage.connect(&[]);
    scene.stage.sockets.room = 0;
    for number in 9..=14 {
        scene.book.borrow_mut().say("a", ".");
        let batch = scene.book.borrow().live(number - 1, number);
        scene.announce(batch);
    }
    assert!(!scene.is_live());
    scene.reads();
    scene.writable(usize::MAX);
    let frames = scene.stage.heard();
    let content: String = frames.iter().filter_map(|frame| frame["content"].as_str()).collect();
    assert_eq!((content.as_str(), frames.len()), ("......", 2), "{:?}", briefs(&frames));
    assert!(scene.reads().iter().all(|from| matches!(from, ReadFrom::After(_))));
    assert!(scene.is_live());
}

#[test]
fn r27_streams_what_is_asked_names_whom_the_session_speaks_for() {
    let mut scene = Scene::new(Book::default(), 0);
    scene.stage.connect(&[]);
    scene.stage.say(&json!({"type": "stream_open", "room": "q", "stream": "x", "ref": 1}));
    scene.stage.say(
        &json!({"type": "stream_append", "room": "q", "stream": "x", "fence": 3, "at": 0, "content": "c"}),
    );
    let [Output::Stream { room: name, stream, command, ticket, .. }, Output::Stream { command: append, .. }] =
        &scene.stage.asked[..]
    else {
        panic!("{:?}", scene.stage.asked)
    };
    assert_eq!((name, stream.as_ref().map(StreamName::as_str)), (&room("q"), Some("x")));
    let Command::Open(open) = &**command else { panic!("{command:?}") };
    assert_eq!((&*open.principal, open.session.as_ref().map(SessionId::as_str)), ("session/s", Some("s")));
    let Command::Append { holder, .. } = &**append else { panic!("{append:?}") };
    assert_eq!((&*holder.principal, holder.fence), ("session/s", 3));
    let answer = Answer::Opened { room: room("q"), stream: StreamName::new("x").unwrap(), fence: 3, at: 0 };
    let ticket = ticket.clone();
    scene.stage.handle(Input::Published(ticket, Ok(answer)));
    let expected =
        json!({"type": "reply", "ref": 1, "ok": true, "room": "q", "stream": "x", "fence": 3, "at": 0});
    assert_eq!(scene.stage.heard(), [expected]);
}

#[test]
fn r27_streams_as_many_wait_for_their_answers_as_publishes() {
    let mut scene = Scene::new(Book::default(), 0);
    scene.stage.connect(&[]);
    let append =
        json!({"type": "stream_append", "room": "q", "stream": "x", "fence": 3, "at": 0, "content": "c"});
    let max = usize::try_from(config().in_flight_max).unwrap();
    for _ in 0..max {
        assert!(scene.stage.say(&append).is_empty());
    }
    assert_eq!(scene.stage.say(&append)[0]["code"], json!("overloaded"));
    let Output::Stream { ticket, .. } = scene.stage.asked.remove(0) else { panic!() };
    scene.stage.handle(Input::Published(ticket, Ok(Answer::Appended { at: 1, cancel: false })));
    assert!(scene.stage.say(&append).is_empty());
    assert_eq!(scene.stage.asked.len(), max);
}

#[test]
fn r27_streams_the_authorizer_is_asked_about_opening_and_cancelling_in_order_with_publishes() {
    let config = ShardConfig { authorizes: true, ..config() };
    let mut scene = Scene::with(config, Book::default(), 0);
    scene.stage.connect(&[]);
    scene.stage.say(&json!({"type": "stream_open", "room": "q", "stream": "x"}));
    scene.stage.say(&json!({"type": "publish", "to": {"room": "p"}, "message": {"type": "m"}}));
    scene.stage.say(&json!({"type": "stream_cancel", "room": "q", "stream": "x", "ref": 9}));
    scene
        .stage
        .say(&json!({"type": "stream_end", "room": "q", "stream": "x", "fence": 1, "outcome": "cancelled"}));
    let asked = |scene: &mut Scene| -> Vec<String> {
        let name = |output: Output| match output {
            Output::Authorize { rooms, .. } => format!("asks {}", rooms[0]),
            Output::Publish { .. } => "publish".to_owned(),
            Output::Stream { command, .. } => match *command {
                Command::Open(_) => "open".to_owned(),
                Command::End { .. } => "end".to_owned(),
                other => format!("{other:?}"),
            },
            other => format!("{other:?}"),
        };
        std::mem::take(&mut scene.stage.asked).into_iter().map(name).collect()
    };
    // Who ends has its right by the fence: it waits for nobody.
    assert_eq!(asked(&mut scene), ["asks q", "end"]);
    let peer = scene.stage.peer.unwrap();
    scene.stage.handle(Input::Authorized(peer, Ok(())));
    assert_eq!(asked(&mut scene), ["open", "asks p"]);
    scene.stage.handle(Input::Authorized(peer, Ok(())));
    assert_eq!(asked(&mut scene), ["publish", "asks q"]);
    let no = Rejection::new(ErrorCode::Forbidden, "no");
    scene.stage.handle(Input::Authorized(peer, Err(no)));
    assert!(asked(&mut scene).is_empty());
    assert_eq!(scene.stage.heard()[0]["error"]["code"], json!("forbidden"));
}

#[test]
fn r27_streams_a_cancel_reaches_the_holder_where_it_is_connected() {
    let mut scene = Scene::new(Book::default(), 0);
    let cancel = |holder: &str| {
        let by = Canceller { session: SessionId::new("other").ok(), user: None };
        let (holder, stream) = (SessionId::new(holder).unwrap(), StreamName::new("x").unwrap());
        Input::StreamCancel(Arc::new(Cancel { holder, room: room("q"), stream, by }))
    };
    scene.stage.handle(cancel("s"));
    assert!(scene.stage.heard().is_empty(), "absent");
    scene.stage.connect(&[]);
    scene.stage.handle(cancel("nobody"));
    assert!(scene.stage.heard().is_empty(), "unknown");
    scene.stage.handle(cancel("s"));
    let by = json!({"session": "other", "user": null});
    assert_eq!(scene.stage.heard(), [json!({"type": "stream_cancel", "room": "q", "stream": "x", "by": by})]);
}

/// Numbers that look random: xorshift.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What one client has made of its frames.
#[derive(Default)]
struct Reader {
    position: u64,
    texts: BTreeMap<String, String>,
    ended: BTreeMap<String, String>,
    messages: BTreeSet<u64>,
    /// What it was told is lost: after the one, up to the other.
    lost: Vec<(u64, u64)>,
}

impl Reader {
    fn hear(&mut self, frame: &Value) {
        match frame["type"].as_str().unwrap() {
            "reset" => {
                let to = frame["to"].as_u64().unwrap();
                self.lost.push((self.position, to));
                self.go_to(to);
            }
            "reply" => self.go_to(frame["message_id"].as_u64().unwrap()),
            _ => self.hear_message(frame),
        }
    }

    /// The texts come anew, and so may what lies behind `position`.
    fn go_to(&mut self, position: u64) {
        self.position = position;
        self.texts.clear();
    }

    fn is_lost(&self, id: u64) -> bool {
        self.lost.iter().any(|&(after, to)| after < id && id <= to)
    }

    fn hear_message(&mut self, frame: &Value) {
        let Some(id) = frame["message_id"].as_u64() else { return };
        let new = id > self.position;
        assert!(id >= self.position, "message ids never fall: {id} after {}", self.position);
        self.position = id;
        match frame["type"].as_str().unwrap() {
            "m" if new => drop(self.messages.insert(id)),
            "complete" if new => {
                let name = frame["stream"].as_str().unwrap();
                let text = self.texts.remove(name).unwrap_or_default();
                self.ended.insert(name.to_owned(), text);
            }
            "chunk" => {
                let name = frame["stream"].as_str().unwrap().to_owned();
                let text = self.texts.entry(name).or_default();
                let at = usize::try_from(frame["at"].as_u64().unwrap()).unwrap();
                let length = text.chars().count();
                assert!(at <= length, "a gap: {frame} at {length}");
                text.extend(frame["content"].as_str().unwrap().chars().skip(length - at));
            }
            _ => {}
        }
    }
}

/// Grows, reads in pages of any size through a socket that takes little, and comes back with its position and without its texts.
fn run(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let pending_max_bytes = usize::try_from(20 + dice.below(600)).unwrap();
    let config = ShardConfig { pending_max_bytes, ..config() };
    let mut scene = Scene::with(config, Book { page: 1, ..Book::default() }, 0);
    let mut reader = Reader::default();
    scene.stage.sockets.room = usize::MAX;
    scene.stage.connect(&[]);
    for _ in 0..120 {
        scene.book.borrow_mut().page = usize::try_from(1 + dice.below(6)).unwrap();
        match dice.below(12) {
            10 => {
                let mut book = scene.book.borrow_mut();
                book.cut += dice.below(book.head() - book.cut + 1) / 4;
            }
            11 => {
                // Else the reply may be more than may wait, and the connection would be closed.
                scene.writable(usize::MAX);
                scene.stage.heard().iter().for_each(|frame| reader.hear(frame));
                let last = reader.position - dice.below(reader.position + 1) / 3;
                let frame = json!({"type": "reconnect", "room": "r", "last_message_id": last, "ref": 1});
                scene.stage.sockets.room = usize::try_from(dice.below(300)).unwrap();
                let heard = scene.stage.say(&frame);
                heard.iter().for_each(|frame| reader.hear(frame));
            }
            0..=4 => {
                let before = scene.book.borrow().head();
                for _ in 0..=dice.below(3) {
                    grow(&mut scene.book.borrow_mut(), &mut dice);
                }
                let head = scene.book.borrow().head();
                let batch = scene.book.borrow().live(before, head);
                scene.announce(batch);
            }
            5 => {
                let room = usize::try_from(dice.below(900)).unwrap();
                scene.stage.sockets.room = room;
            }
            6..=8 => scene.writable(usize::try_from(dice.below(900)).unwrap()),
            _ => {
                // Half a frame is lost with its connection, and what of the text it had is forgotten.
                scene.stage.heard().iter().for_each(|frame| reader.hear(frame));
                scene.stage.sockets.written.clear();
                scene.stage.drop_connection();
                reader.texts.clear();
                scene.stage.sockets.room = usize::MAX;
                for frame in scene.stage.connect(&[("r", position(NEW, reader.position))]) {
                    reader.hear(&frame);
                }
            }
        }
        scene.stage.heard().iter().for_each(|frame| reader.hear(frame));
    }
    scene.writable(usize::MAX);
    scene.stage.heard().iter().for_each(|frame| reader.hear(frame));
    let book = scene.book.borrow();
    assert!(scene.is_live());
    let is_there = |&(id, _): &(u64, &Kept)| !reader.is_lost(id);
    for (id, kept) in (1..).zip(&book.kept).filter(is_there) {
        match kept {
            Kept::Message => assert!(reader.messages.contains(&id), "{id} is missing"),
            Kept::End(name) => assert!(reader.ended.contains_key(name), "the end of {name} is missing"),
            Kept::Piece { stream, .. } if book.end_of(stream) == u64::MAX => {
                assert!(reader.texts.contains_key(stream), "{stream} is missing");
            }
            Kept::Piece { .. } => {}
        }
    }
    for (name, text) in reader.texts.iter().chain(&reader.ended) {
        assert_eq!(*text, book.text(name, book.head()), "{name}");
    }
    assert!(reader.texts.keys().all(|name| book.end_of(name) == u64::MAX), "{:?}", reader.texts.keys());
}

fn name_of(kept: &Kept) -> &str {
    match kept {
        Kept::Piece { stream, .. } | Kept::End(stream) => stream,
        Kept::Message => "",
    }
}

/// Something more in the room. Streams have each name once.
fn grow(book: &mut Book, dice: &mut Dice) {
    let name = format!("s{}", book.head() / 12 + dice.below(3));
    let has_ended = book.end_of(&name) < u64::MAX;
    let has_begun = book.kept.iter().any(|kept| name_of(kept) == name);
    match dice.below(5) {
        0 => book.kept.push(Kept::Message),
        1 if has_begun && !has_ended => book.kept.push(Kept::End(name)),
        _ if has_ended => book.kept.push(Kept::Message),
        _ => book.say(&name, &"añ😀 ".repeat(usize::try_from(dice.below(9)).unwrap())),
    }
}

#[test]
fn r27_streams_every_text_is_whole_and_every_record_comes_once() {
    for seed in 0..300 {
        let outcome = std::panic::catch_unwind(|| run(seed));
        assert!(outcome.is_ok(), "the seed is {seed}");
    }
}
