//! Random walks of a room with streams, a shard, and who reads: a reader that forgets its texts with its connection, and the reference
//! client.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[allow(unreachable_pub, dead_code, reason = "the other tests use it too")]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use moorline_proto::client::{self, Client, ClientConfig, Event};
use moorline_proto::position::Offset;
use moorline_proto::shard::ShardConfig;
use moorline_proto::time::Instant;
use serde_json::{Value, json};
use support::book::{Book, Dice, Kept, Scene, grow};
use support::{NEW, config, position, room};

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
    fn take(&mut self, frame: &Value) {
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

/// Who reads in a walk.
trait Reading {
    /// A connection begins. Returns the position that it names.
    fn open(&mut self) -> Option<u64>;
    fn hear(&mut self, frame: &Value);
    /// The connection is lost.
    fn lose(&mut self);
    /// Asks for what lies behind an offset that it was given.
    fn replay(&mut self, dice: &mut Dice) -> Value;
    /// What it has of streams that have not ended, and of those that have.
    fn texts(&self) -> impl Iterator<Item = (&String, &String)>;
    fn has_text(&self, stream: &str) -> bool;
    fn has_end(&self, stream: &str) -> bool;
    fn has_message(&self, id: u64) -> bool;
    fn is_lost(&self, id: u64) -> bool;
}

impl Reading for Reader {
    fn open(&mut self) -> Option<u64> {
        Some(self.position)
    }

    fn hear(&mut self, frame: &Value) {
        self.take(frame);
    }

    /// What of the texts it had is forgotten.
    fn lose(&mut self) {
        self.texts.clear();
    }

    fn replay(&mut self, dice: &mut Dice) -> Value {
        let last = self.position - dice.below(self.position + 1) / 3;
        json!({"type": "reconnect", "room": "r", "last_message_id": last, "ref": 1})
    }

    fn texts(&self) -> impl Iterator<Item = (&String, &String)> {
        self.texts.iter().chain(&self.ended)
    }

    fn has_text(&self, stream: &str) -> bool {
        self.texts.contains_key(stream)
    }

    fn has_end(&self, stream: &str) -> bool {
        self.ended.contains_key(stream)
    }

    fn has_message(&self, id: u64) -> bool {
        self.messages.contains(&id)
    }

    fn is_lost(&self, id: u64) -> bool {
        self.lost.iter().any(|&(after, to)| after < id && id <= to)
    }
}

/// An application behind the reference client.
struct Application {
    client: Client,
    /// What it makes of what the client gives it, which it believes.
    reader: Reader,
    replays: u64,
}

impl Application {
    fn new() -> Self {
        let client = Client::new(ClientConfig::default(), Instant::default());
        Self { client, reader: Reader::default(), replays: 0 }
    }

    /// Takes the client's events; returns what it sends.
    fn settle(&mut self) -> Vec<Value> {
        let mut sent = Vec::new();
        while let Some(output) = self.client.poll_output() {
            match output {
                client::Output::SendText(text) => sent.push(serde_json::from_str(&text).unwrap()),
                client::Output::Close(_) => panic!("the client does not believe the server"),
                client::Output::Event(Event::Message { text, .. }) => {
                    self.given(&serde_json::from_str(&text).unwrap());
                }
                client::Output::Event(Event::Reset { from, to, .. }) => {
                    self.reader.lost.push((from.unwrap_or_default().0, to.offset.0));
                    self.reader.texts.clear();
                }
                _ => {}
            }
        }
        sent
    }

    fn given(&mut self, frame: &Value) {
        let reader = &mut self.reader;
        let stream = frame["stream"].as_str().unwrap_or_default().to_owned();
        match frame["type"].as_str().unwrap() {
            "m" => {
                let is_new = reader.messages.insert(frame["message_id"].as_u64().unwrap());
                assert!(is_new || self.replays > 0, "twice: {frame}");
            }
            "complete" => {
                let text = reader.texts.remove(&stream).unwrap_or_default();
                let before = reader.ended.insert(stream, text);
                assert!(before.is_none() || self.replays > 0, "twice: {frame}");
            }
            _ => {
                let (at, text) = (frame["at"].as_u64().unwrap(), reader.texts.entry(stream).or_default());
                if at == 0 && self.replays > 0 {
                    text.clear();
                }
                assert_eq!(at, text.chars().count() as u64, "{frame}");
                text.push_str(frame["content"].as_str().unwrap());
            }
        }
    }
}

impl Reading for Application {
    fn open(&mut self) -> Option<u64> {
        self.client.handle(Instant::default(), client::Input::Opened);
        let hello = self.settle().pop().unwrap();
        hello["positions"]["r"]["message_id"].as_u64()
    }

    fn hear(&mut self, frame: &Value) {
        // As the server writes it: the type first.
        let mut fields = frame.as_object().unwrap().clone();
        let kind = fields.remove("type").unwrap();
        let text = format!("{{\"type\":{kind},{}", &Value::Object(fields).to_string()[1..]);
        self.client.handle(Instant::default(), client::Input::TextReceived(text));
        self.settle();
    }

    fn lose(&mut self) {
        self.client.handle(Instant::default(), client::Input::Closed(None));
        self.client.handle_timeout(Instant::default() + Duration::from_secs(60));
        self.settle();
    }

    fn replay(&mut self, dice: &mut Dice) -> Value {
        self.replays += 1;
        let (_, Offset(stands)) = self.client.position(&room("r")).unwrap_or_default();
        let after = Offset(stands - dice.below(stands + 1) / 3);
        self.client.handle(Instant::default(), client::Input::Replay { room: room("r"), after });
        self.settle().pop().unwrap()
    }

    fn texts(&self) -> impl Iterator<Item = (&String, &String)> {
        self.reader.texts()
    }

    fn has_text(&self, stream: &str) -> bool {
        self.reader.has_text(stream)
    }

    fn has_end(&self, stream: &str) -> bool {
        self.reader.has_end(stream)
    }

    fn has_message(&self, id: u64) -> bool {
        self.reader.has_message(id)
    }

    fn is_lost(&self, id: u64) -> bool {
        self.reader.is_lost(id)
    }
}

/// A room, a shard and who reads.
struct Walk<R> {
    scene: Scene,
    reader: R,
    dice: Dice,
    replays: bool,
}

impl<R: Reading> Walk<R> {
    fn new(seed: u64, reader: R, replays: bool) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let pending_max_bytes = usize::try_from(20 + dice.below(600)).unwrap();
        let config = ShardConfig { pending_max_bytes, ..config() };
        let scene = Scene::with(config, Book { page: 1, ..Book::default() }, 0);
        let mut walk = Self { scene, reader, dice, replays };
        walk.connect();
        walk
    }

    fn connect(&mut self) {
        self.scene.stage.sockets.room = usize::MAX;
        let named = self.reader.open().map(|offset| ("r", position(NEW, offset)));
        for frame in self.scene.stage.connect(named.as_slice()) {
            self.reader.hear(&frame);
        }
    }

    fn room(&mut self, bound: u64) -> usize {
        usize::try_from(self.dice.below(bound)).unwrap()
    }

    fn hear(&mut self) {
        for frame in self.scene.stage.heard() {
            self.reader.hear(&frame);
        }
    }

    fn step(&mut self) {
        self.scene.book.borrow_mut().page = 1 + self.room(6);
        match self.dice.below(12) {
            0..=4 => self.grow(),
            5 => self.scene.stage.sockets.room = self.room(900),
            6..=8 => {
                let room = self.room(900);
                self.scene.writable(room);
            }
            9 => {
                // Half a frame is lost with its connection.
                self.hear();
                self.scene.stage.sockets.written.clear();
                self.scene.stage.drop_connection();
                self.reader.lose();
                self.connect();
            }
            10 => {
                let mut book = self.scene.book.borrow_mut();
                book.cut += self.dice.below(book.head() - book.cut + 1) / 4;
            }
            _ if self.replays => self.replay(),
            _ => {}
        }
        self.hear();
    }

    fn grow(&mut self) {
        let before = self.scene.book.borrow().head();
        for _ in 0..=self.dice.below(3) {
            grow(&mut self.scene.book.borrow_mut(), &mut self.dice);
        }
        let head = self.scene.book.borrow().head();
        let batch = self.scene.book.borrow().live(before, head);
        self.scene.announce(batch);
    }

    fn replay(&mut self) {
        // Else the reply may be more than may wait, and the connection would be closed.
        self.scene.writable(usize::MAX);
        self.hear();
        let frame = self.reader.replay(&mut self.dice);
        self.scene.stage.sockets.room = self.room(300);
        for frame in self.scene.stage.say(&frame) {
            self.reader.hear(&frame);
        }
    }

    fn finish(mut self) {
        self.scene.writable(usize::MAX);
        self.hear();
        assert!(self.scene.is_live());
        let book = self.scene.book.borrow();
        for (id, kept) in (1..).zip(&book.kept).filter(|&(id, _)| !self.reader.is_lost(id)) {
            match kept {
                Kept::Message => assert!(self.reader.has_message(id), "{id} is missing"),
                Kept::End(name) => assert!(self.reader.has_end(name), "the end of {name} is missing"),
                Kept::Piece { stream, .. } if book.end_of(stream) == u64::MAX => {
                    assert!(self.reader.has_text(stream), "{stream} is missing");
                }
                Kept::Piece { .. } => {}
            }
        }
        for (name, text) in self.reader.texts() {
            assert_eq!(*text, book.text(name, book.head()), "{name}");
            assert!(self.reader.has_end(name) || book.end_of(name) == u64::MAX, "{name} never ends");
        }
    }
}

const SEEDS: u64 = 100;
const STEPS: usize = 120;

fn walk<R: Reading>(seed: u64, reader: R, replays: bool) {
    let run = || {
        let mut walk = Walk::new(seed, reader, replays);
        (0..STEPS).for_each(|_| walk.step());
        walk.finish();
    };
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(run));
    assert!(outcome.is_ok(), "the seed is {seed}");
}

#[test]
fn r27_streams_every_text_is_whole_and_every_record_comes_once() {
    (0..SEEDS).for_each(|seed| walk(seed, Reader::default(), true));
}

#[test]
fn r27_streams_the_client_gives_every_part_of_a_text_once() {
    (0..SEEDS).for_each(|seed| walk(seed, Application::new(), false));
}

#[test]
fn r27_streams_the_client_gives_texts_anew_where_a_replay_is_asked_for() {
    (0..SEEDS).for_each(|seed| walk(seed, Application::new(), true));
}
