//! The memory log against a model that is too simple to be wrong: one list of what is kept, searched from the front.
//!
//! A failure prints the seed; `MOORLINE_SEED=… cargo test` repeats it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use moorline_broker::LogExt as _;
use moorline_broker::{
    AppendError, Appended, Draft, Log, LogStats, MemoryLog, PrefixRetention, PublishKey, ReadLimit,
    Retention, RetentionRules,
};
use moorline_proto::id::{PublishId, RoomName};
use moorline_proto::message::Message;
use moorline_proto::position::{Epoch, Offset, Position};
use moorline_proto::record::Record;
use moorline_proto::resume::{Formers, RoomState};
use moorline_proto::time::{Now, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

const ROOMS: [&str; 6] = ["a", "b", "c", "@all", "@user/u", "@session/s"];
const EPOCH: Epoch = Epoch(3);
const IDS: usize = 6;

/// What a room keeps: own rooms, those that begin with `b`, and the others.
fn bounds(room: usize) -> Retention {
    let (records, bytes, age) = match ROOMS[room].as_bytes()[0] {
        b'@' => (3, 900, 40),
        b'b' => (4, 700, 70),
        _ => (6, 1_200, 100),
    };
    Retention { records, bytes, age: Duration::from_millis(age) }
}

fn rules() -> RetentionRules {
    RetentionRules {
        prefixes: vec![PrefixRetention { prefix: "b".into(), keep: bounds(1) }],
        room: bounds(0),
        own: bounds(3),
        total_bytes: 2_400,
        id_age: Duration::from_millis(60),
        id_bytes: IDS * RetentionRules::ID_COST_BYTES,
    }
}

#[derive(Clone, Debug)]
enum Op {
    Append { room: usize, bytes: usize, id: Option<(u8, u8)> },
    Clear(usize),
    Expire,
    Wait(u64),
    Hold(usize),
    Release(usize),
    Read { room: usize, after: u64, limit: (usize, usize) },
}

fn op() -> impl Strategy<Value = Op> {
    let room = 0..ROOMS.len();
    let bytes = prop_oneof![8 => 0..200_usize, 1 => 1_000..3_000_usize];
    let id = prop::option::weighted(0.4, (0..4_u8, 0..9_u8));
    prop_oneof![
        12 => (room.clone(), bytes, id).prop_map(|(room, bytes, id)| Op::Append { room, bytes, id }),
        1 => room.clone().prop_map(Op::Clear),
        2 => Just(Op::Expire),
        4 => (0..60_u64).prop_map(Op::Wait),
        2 => room.clone().prop_map(Op::Hold),
        2 => room.clone().prop_map(Op::Release),
        3 => (room, 0..60_u64, (0..5_usize, 0..600_usize))
            .prop_map(|(room, after, limit)| Op::Read { room, after, limit }),
    ]
}

#[derive(Default)]
struct Entry {
    head: u64,
    cut: u64,
    cleared: u64,
    holds: u32,
    /// Became empty while nobody held it: forgotten by the next expiry, not before.
    idle: bool,
}

struct Known {
    name: (usize, u8, u8),
    message: Message,
    offset: Offset,
    at: u64,
}

#[derive(Default)]
struct Model {
    /// Everything kept, in the order of the appends.
    kept: Vec<(usize, Record)>,
    rooms: BTreeMap<usize, Entry>,
    ids: Vec<Known>,
    forgotten_high: u64,
}

impl Model {
    fn of(&self, room: usize) -> Vec<Record> {
        self.kept.iter().filter(|(at, _)| *at == room).map(|(_, record)| record.clone()).collect()
    }

    fn cut(&mut self, index: usize) {
        let (room, record) = self.kept.remove(index);
        self.rooms.get_mut(&room).unwrap().cut = record.offset.0;
        self.note_idle(room);
    }

    fn note_idle(&mut self, room: usize) {
        let is_empty = self.of(room).is_empty();
        let entry = self.rooms.get_mut(&room).unwrap();
        entry.idle |= is_empty && entry.holds == 0;
    }

    fn append(
        &mut self,
        room: usize,
        record: Record,
        id: Option<(u8, u8)>,
        now: u64,
    ) -> Result<Appended, AppendError> {
        if let Some((sender, id)) = id {
            self.ids.retain(|known| now - known.at < 60);
            match self.ids.iter().find(|known| known.name == (room, sender, id)) {
                Some(known) if known.message == record.message => {
                    return Ok(Appended::Duplicate(Position { epoch: EPOCH, offset: known.offset }));
                }
                Some(_) => return Err(AppendError::Conflict),
                None if self.ids.len() >= IDS => return Err(AppendError::TooManyIds),
                None => {}
            }
        }
        let entry = self.rooms.entry(room).or_default();
        let after = Offset(entry.head);
        entry.head = 1 + if entry.head == 0 { self.forgotten_high } else { entry.head };
        let record = Record { offset: Offset(entry.head), ..record };
        if let Some((sender, id)) = id {
            let name = (room, sender, id);
            self.ids.push(Known { name, message: record.message.clone(), offset: record.offset, at: now });
        }
        self.kept.push((room, record.clone()));
        self.retain(room, now);
        Ok(Appended::New { after, record })
    }

    fn retain(&mut self, room: usize, now: u64) {
        let bounds = bounds(room);
        loop {
            let records = self.of(room);
            let bytes: usize = records.iter().map(Record::cost_bytes).sum();
            let is_old = now - records[0].timestamp.0 >= u64::try_from(bounds.age.as_millis()).unwrap();
            if records.len() < 2 || !(records.len() > bounds.records || bytes > bounds.bytes || is_old) {
                break;
            }
            self.cut(self.kept.iter().position(|(at, _)| *at == room).unwrap());
        }
        while self.stats().bytes > rules().total_bytes && self.kept.len() > 1 {
            self.cut(0);
        }
    }

    fn expire(&mut self, now: u64) {
        let is_old = |(room, record): &(usize, Record)| {
            now - record.timestamp.0 >= u64::try_from(bounds(*room).age.as_millis()).unwrap()
        };
        while let Some(index) = self.kept.iter().position(is_old) {
            self.cut(index);
        }
        for room in 0..ROOMS.len() {
            if self.rooms.get_mut(&room).is_some_and(|entry| std::mem::take(&mut entry.idle)) {
                self.forget(room);
            }
        }
    }

    fn forget(&mut self, room: usize) {
        let is_empty = self.of(room).is_empty();
        if let Some(entry) = self.rooms.get(&room).filter(|entry| is_empty && entry.holds == 0 && !entry.idle)
        {
            self.forgotten_high = self.forgotten_high.max(entry.head);
            self.rooms.remove(&room);
        }
    }

    fn clear(&mut self, room: usize) {
        let had_records = !self.of(room).is_empty();
        self.kept.retain(|(at, _)| *at != room);
        if let Some(entry) = self.rooms.get_mut(&room) {
            (entry.cut, entry.cleared) = (entry.head, entry.head);
        }
        if had_records {
            self.note_idle(room);
        }
    }

    fn release(&mut self, room: usize) {
        if let Some(entry) = self.rooms.get_mut(&room) {
            entry.holds = entry.holds.saturating_sub(1);
            self.forget(room);
        }
    }

    fn state(&self, room: usize) -> RoomState {
        let fresh = Entry::default();
        let entry = self.rooms.get(&room).unwrap_or(&fresh);
        let [head, cut, cleared] = [entry.head, entry.cut, entry.cleared].map(Offset);
        RoomState { epoch: EPOCH, head, cut, cleared, former: Formers::default() }
    }

    fn read(&self, room: usize, after: u64, limit: ReadLimit) -> Vec<Record> {
        let (mut read, mut bytes) = (Vec::new(), 0);
        for record in self.of(room).into_iter().filter(|record| record.offset.0 > after) {
            if !read.is_empty() && (read.len() >= limit.records || bytes >= limit.bytes) {
                break;
            }
            bytes += record.cost_bytes();
            read.push(record);
        }
        read
    }

    fn stats(&self) -> LogStats {
        let bytes = self.kept.iter().map(|(_, record)| record.cost_bytes()).sum();
        LogStats { rooms: self.rooms.len(), records: self.kept.len(), bytes }
    }
}

/// The log and the model, side by side.
struct Pair {
    log: MemoryLog,
    model: Model,
    names: [RoomName; 6],
    now: u64,
    /// What each position was given to, by its time of birth in steps.
    given: BTreeMap<(usize, u64), usize>,
}

impl Pair {
    fn new() -> Self {
        let names = ROOMS.map(|name| RoomName::stored(name).unwrap());
        let log = MemoryLog::new(EPOCH, rules());
        Self { log, model: Model::default(), names, now: 1_000, given: BTreeMap::new() }
    }

    fn append(&mut self, step: usize, room: usize, bytes: usize, id: Option<(u8, u8)>) {
        let text =
            format!(r#"{{"type":"m","x":"{}"}}"#, "x".repeat(if id.is_some() { bytes % 3 } else { bytes }));
        let message = Message::stored(text.into_bytes().into());
        let key = id.map(|(sender, id)| PublishKey {
            sender: sender.to_string().into(),
            id: PublishId::new(&id.to_string()).unwrap(),
        });
        let now = Now::at(Timestamp(self.now));
        let record =
            Record { offset: Offset(0), timestamp: now.timestamp, except: None, message: message.clone() };
        let draft = Draft { message, except: None, key };
        let appended = self.log.append(&self.names[room], draft, now);
        assert_eq!(appended, self.model.append(room, record, id, self.now));
        if let Ok(Appended::New { record, .. }) = appended {
            let former = self.given.insert((room, record.offset.0), step);
            assert_eq!(former, None, "{} {:?} was given twice", ROOMS[room], record.offset);
        }
    }

    fn step(&mut self, step: usize, op: &Op) {
        match *op {
            Op::Append { room, bytes, id } => self.append(step, room, bytes, id),
            Op::Clear(room) => {
                self.log.clear(&self.names[room]);
                self.model.clear(room);
            }
            Op::Expire => {
                self.log.expire(Now::at(Timestamp(self.now)));
                self.model.expire(self.now);
            }
            Op::Wait(millis) => self.now += millis,
            Op::Hold(room) => {
                self.log.hold(&self.names[room]);
                self.model.rooms.entry(room).or_default().holds += 1;
            }
            Op::Release(room) => {
                self.log.release(&self.names[room]);
                self.model.release(room);
            }
            Op::Read { room, after, limit: (records, bytes) } => {
                let limit = ReadLimit { records, bytes };
                let read = self.log.read(&self.names[room], Offset(after), limit);
                assert_eq!(read, self.model.read(room, after, limit));
            }
        }
    }

    fn compare(&self) {
        assert_eq!(self.log.stats(), self.model.stats());
        let all = ReadLimit { records: usize::MAX, bytes: usize::MAX };
        for (room, name) in self.names.iter().enumerate() {
            assert_eq!(self.log.state(name), self.model.state(room), "{name}");
            assert_eq!(self.log.read(name, Offset::START, all), self.model.of(room), "{name}");
        }
    }
}

fn seed() -> u64 {
    let given = std::env::var("MOORLINE_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos()))
}

#[test]
fn the_log_does_what_the_model_does() {
    let seed = seed();
    println!("MOORLINE_SEED={seed}");
    let config = ProptestConfig {
        cases: 256,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let outcome = TestRunner::new(config).run(&prop::collection::vec(op(), 1..150), |ops| {
        let mut pair = Pair::new();
        for (step, op) in ops.iter().enumerate() {
            pair.step(step, op);
            pair.compare();
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("MOORLINE_SEED={seed}: {failure}");
    }
}
