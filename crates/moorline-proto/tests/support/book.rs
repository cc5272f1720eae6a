//! A room with streams in it, as a log shows it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use moorline_proto::batch::{Batch, EncodedBatch, Page, ReadFrom};
use moorline_proto::id::{RoomName, SessionId, StreamName};
use moorline_proto::message::Message;
use moorline_proto::position::Offset;
use moorline_proto::record::{Except, Record};
use moorline_proto::resume::RoomState;
use moorline_proto::session_record::Mark;
use moorline_proto::shard::{Input, ShardConfig};
use moorline_proto::stream::{Entry, Merging, Piece};
use moorline_proto::time::Timestamp;

use super::{FRAMING, Log, NEW, Stage, config, now, position, room};

/// One number of the room.
#[derive(Clone)]
pub enum Kept {
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
pub struct Book {
    pub kept: Vec<Kept>,
    pub cut: u64,
    /// A stream of this name is not for the session.
    pub secret: Option<&'static str>,
    /// How many records a page has.
    pub page: usize,
}

impl Book {
    pub fn head(&self) -> u64 {
        self.kept.len() as u64
    }

    pub fn say(&mut self, stream: &str, content: &str) {
        let at = self.text(stream, self.head()).chars().count() as u64;
        self.kept.push(Kept::Piece { stream: stream.to_owned(), at, content: content.to_owned() });
    }

    pub fn text(&self, name: &str, up_to: u64) -> String {
        let pieces = self.kept[..usize::try_from(up_to).unwrap()].iter();
        let of_it = pieces.filter_map(|kept| match kept {
            Kept::Piece { stream, content, .. } if stream == name => Some(content.as_str()),
            _ => None,
        });
        of_it.collect()
    }

    pub fn end_of(&self, name: &str) -> u64 {
        let is_end = |kept: &Kept| matches!(kept, Kept::End(stream) if stream == name);
        self.kept.iter().position(is_end).map_or(u64::MAX, |index| index as u64 + 1)
    }

    pub fn state(&self) -> RoomState {
        RoomState { epoch: NEW, head: Offset(self.head()), cut: Offset(self.cut), ..RoomState::default() }
    }

    pub fn except(&self, stream: &str) -> Option<Arc<Except>> {
        let session = SessionId::new("s").unwrap();
        (self.secret == Some(stream)).then(|| Arc::new(Except { sessions: vec![session], users: vec![] }))
    }

    pub fn push(&self, merging: &mut Merging, offset: u64) {
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

    pub fn is_text(&self, offset: u64, at: Offset) -> bool {
        let kept = &self.kept[usize::try_from(offset).unwrap() - 1];
        matches!(kept, Kept::Piece { stream, .. } if self.end_of(stream) > at.0)
    }

    pub fn page(&self, from: ReadFrom) -> Page {
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
    pub fn live(&self, after: u64, up_to: u64) -> Batch {
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
pub struct Shared(pub Rc<RefCell<Book>>);

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
pub struct Scene {
    pub stage: Stage,
    pub book: Rc<RefCell<Book>>,
}

impl Scene {
    pub fn new(book: Book, acked: u64) -> Self {
        Self::with(config(), book, acked)
    }

    pub fn with(config: ShardConfig, book: Book, acked: u64) -> Self {
        let book = Rc::new(RefCell::new(book));
        let mark = Mark { room: room("r"), acked: position(NEW, acked), begin: Offset(0), is_added: false };
        Self { stage: Stage::with(config, Shared(Rc::clone(&book)), vec![mark]), book }
    }

    /// What was read of the room since the last call.
    pub fn reads(&mut self) -> Vec<ReadFrom> {
        std::mem::take(&mut self.stage.reads).into_iter().map(|(_, from)| from).collect()
    }

    pub fn is_live(&self) -> bool {
        self.stage.shard.is_live(self.stage.peer.unwrap().session, &room("r"))
    }

    pub fn announce(&mut self, batch: Batch) {
        self.stage.handle(Input::Batch(Arc::new(EncodedBatch::new(batch, &FRAMING))));
        while self.stage.shard.fan_out(now(), 16, &mut self.stage.sockets) {}
        // What the fan-out asked for is performed.
        let peer = self.stage.peer;
        self.stage.handle(Input::Alive(peer.unwrap()));
        while self.stage.shard.fan_out(now(), 16, &mut self.stage.sockets) {}
    }

    pub fn writable(&mut self, room: usize) {
        self.stage.sockets.room = room;
        let peer = self.stage.peer.unwrap();
        self.stage.handle(Input::Writable(peer));
    }
}

/// Numbers that look random: xorshift.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

pub fn name_of(kept: &Kept) -> &str {
    match kept {
        Kept::Piece { stream, .. } | Kept::End(stream) => stream,
        Kept::Message => "",
    }
}

/// Something more in the room. Streams have each name once.
pub fn grow(book: &mut Book, dice: &mut Dice) {
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
