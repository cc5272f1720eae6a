//! Streams and their readers, against the shard alone: what is read before a reader goes on, what becomes of a part, and who is asked.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[allow(unreachable_pub, dead_code, reason = "the other tests use it too")]
mod support;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use moorline_proto::batch::{Batch, ReadFrom};
use moorline_proto::error::{ErrorCode, Rejection};
use moorline_proto::frame::Answer;
use moorline_proto::id::{SessionId, StreamName};
use moorline_proto::position::Offset;
use moorline_proto::shard::{Input, Output, ShardConfig};
use moorline_proto::stream::{Cancel, Canceller, Command};
use serde_json::{Value, json};
use support::book::{Book, Kept, Scene, Shared};
use support::{NEW, Stage, config, position, room};

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
