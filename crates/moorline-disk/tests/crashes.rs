//! Whatever is lost with the power: what was answered is there, and one position means one message.
//!
//! A failure prints the seed of its case; `MOORLINE_SEED=… cargo test -p moorline-disk --test crashes` repeats it,
//! `MOORLINE_CASES=10000` explores others.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use moorline_broker::{
    Broker as _, BrokerError, Durability, Keep, NodeId, Publication, PublishKey, Published, ReadLimit,
    Retention, RetentionRules, SessionStore as _, StoreError,
};
use moorline_disk::testing::VolatileDisk;
use moorline_disk::{Commit, Ground};
use moorline_proto::batch::ReadFrom;
use moorline_proto::id::{PublishId, RoomName, SessionId};
use moorline_proto::message::Message;
use moorline_proto::position::{Epoch, Offset, Position};
use moorline_proto::resume::{Resume, resume};
use moorline_proto::session_record::SessionRecord;
use moorline_proto::time::{Now, Timestamp};
use moorline_proto::token::{TokenHash, TokenSet};

const CASES: u64 = 150;
const STEPS: usize = 120;
const ROOMS: [&str; 3] = ["a", "b", "@all"];
const BEGIN: u64 = 1_700_000_000_000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap()
    }
}

type Answer = BoxFuture<'static, Result<Published, BrokerError>>;
type Saved = BoxFuture<'static, Result<(), StoreError>>;

struct World {
    random: Random,
    rules: RetentionRules,
    disk: VolatileDisk,
    ground: Option<Ground>,
    commit: Option<Commit>,
    epochs: u64,
    published: u64,
    /// Publishes that wait for their answers: the room, the number and the id.
    waiting: Vec<(Answer, usize, u64, String)>,
    saving: Vec<(Saved, u32)>,
    /// What each position that anybody was ever told means.
    meaning: BTreeMap<(usize, u64, u64), u64>,
    /// What was answered with durability `disk`: where, and its id.
    kept: Vec<(usize, Position, u64, String)>,
    /// How far readers have seen each room, in each epoch.
    seen: BTreeMap<(usize, u64), Offset>,
    /// The last save of the session that was answered, and the last that was asked for.
    saved: (u32, u32),
    fault: bool,
}

fn room(index: usize) -> RoomName {
    RoomName::stored(ROOMS[index]).unwrap()
}

fn number(message: &[u8]) -> u64 {
    let text = std::str::from_utf8(message).unwrap();
    text.trim_start_matches(r#"{"type":"m","n":"#).split(',').next().unwrap().parse().unwrap()
}

fn session(reconnections: u32) -> Arc<SessionRecord> {
    Arc::new(SessionRecord {
        id: SessionId::new("s").unwrap(),
        user: None,
        token: None,
        tokens: TokenSet::new(TokenHash([1; 32])),
        metadata: None,
        connected_at: Timestamp(BEGIN),
        disconnected_at: None,
        reconnections,
        own_rooms: true,
        rooms: Vec::new(),
    })
}

/// Every other case keeps so little that the journal is cleaned all the time.
fn rules(seed: u64) -> RetentionRules {
    let rules = RetentionRules::default();
    let records = if seed.is_multiple_of(2) { 4 } else { rules.room.records };
    RetentionRules {
        room: Retention { records, ..rules.room },
        own: Retention { records: records.min(rules.own.records), ..rules.own },
        ..rules
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            random: Random(seed),
            rules: rules(seed),
            disk: VolatileDisk::default(),
            ground: None,
            commit: None,
            epochs: 0,
            published: 0,
            waiting: Vec::new(),
            saving: Vec::new(),
            meaning: BTreeMap::new(),
            kept: Vec::new(),
            seen: BTreeMap::new(),
            saved: (0, 0),
            fault: false,
        };
        world.open();
        world
    }

    fn open(&mut self) {
        self.epochs += 1;
        let clock = Arc::new(|| Now::at(Timestamp(BEGIN)));
        let opened = Ground::open(Box::new(self.disk.clone()), &self.rules, (clock, Epoch(self.epochs)));
        let ground = opened.unwrap_or_else(|error| panic!("{error}"));
        for room_of in ROOMS {
            // Somebody is a member: heads are kept.
            drop(ground.broker().subscribe(RoomName::stored(room_of).unwrap()));
        }
        self.ground = Some(ground);
        self.check();
    }

    fn ground(&self) -> &Ground {
        self.ground.as_ref().unwrap()
    }

    fn publish(&mut self) {
        self.published += 1;
        let (index, number) = (self.random.index(ROOMS.len()), self.published);
        let padding = "x".repeat(self.random.index(3) * self.random.index(900));
        let message = format!(r#"{{"type":"m","n":{number},"x":"{padding}"}}"#);
        let durability = (self.random.below(4) == 0).then_some(Durability::Memory);
        let id = format!("id-{number}");
        let key = PublishKey { sender: "s".into(), id: PublishId::new(&id).unwrap() };
        let answer = self.ground().broker().publish(Publication {
            room: room(index),
            message: Message::stored(message.into_bytes().into()),
            except: None,
            keep: Keep::Record { key: Some(key), durability },
        });
        self.waiting.push((answer, index, number, id));
        self.hear();
    }

    /// Notes what was answered by now.
    fn hear(&mut self) {
        for (mut answer, index, number, id) in std::mem::take(&mut self.waiting) {
            match (&mut answer).now_or_never() {
                None => self.waiting.push((answer, index, number, id)),
                Some(Ok(Published::Stored { position, durability, .. })) => {
                    self.mean(index, position, number);
                    if durability == Durability::Disk {
                        self.kept.push((index, position, number, id));
                    }
                }
                Some(_) => assert!(self.fault, "publish {number} was refused without a fault"),
            }
        }
        for (mut answer, number) in std::mem::take(&mut self.saving) {
            match (&mut answer).now_or_never() {
                None => self.saving.push((answer, number)),
                Some(Ok(())) => self.saved.0 = self.saved.0.max(number),
                Some(_) => assert!(self.fault, "save {number} was refused without a fault"),
            }
        }
    }

    fn mean(&mut self, index: usize, position: Position, number: u64) {
        let known = self.meaning.insert((index, position.epoch.0, position.offset.0), number);
        assert!(
            known.is_none_or(|known| known == number),
            "{position:?} of {} means two messages",
            ROOMS[index]
        );
    }

    fn save(&mut self) {
        self.saved.1 += 1;
        let number = self.saved.1;
        let sessions = self.ground().sessions();
        let stored =
            sessions.claim(SessionId::new("s").unwrap(), NodeId("n".into())).now_or_never().unwrap().unwrap();
        self.saving.push((sessions.save(session(number), stored.fence), number));
    }

    /// Begins a commit, or writes the one that was begun.
    fn commit(&mut self) {
        let Some(mut commit) = self.commit.take().or_else(|| self.ground().begin_commit()) else { return };
        if self.random.below(3) == 0 {
            self.commit = Some(commit);
            return;
        }
        match self.ground().write(&commit) {
            Ok(()) => self.ground().end_commit(commit),
            Err(error) => {
                assert!(self.fault, "{error}");
                self.ground().fail_commit(&mut commit, &error);
                self.commit = Some(commit);
            }
        }
        self.hear();
    }

    fn read(&mut self) {
        for index in 0..ROOMS.len() {
            let limit = ReadLimit { records: usize::MAX, bytes: usize::MAX };
            let page = self
                .ground()
                .broker()
                .read(room(index), ReadFrom::After(Offset::START), limit)
                .now_or_never()
                .unwrap()
                .unwrap();
            let epoch = page.state.epoch;
            for record in &page.records {
                let position = Position { epoch, offset: record.offset };
                self.mean(index, position, number(record.message.as_bytes()));
            }
            self.seen.insert((index, epoch.0), page.state.head);
        }
    }

    /// The power goes, or the process is killed, or both in the middle of a write.
    fn crash(&mut self) {
        if self.random.below(3) == 0 {
            self.fault = true;
            self.disk.die_after(self.random.index(12));
            self.publish();
            self.commit();
            self.commit();
        }
        self.hear();
        let (kill, half) = (self.random.below(3) == 0, self.random.below(100));
        let mut random = Random(self.random.next());
        match kill {
            true => self.disk.kill(),
            false => self.disk.lose_power(|| random.below(100) < half),
        }
        self.forget();
        self.open();
    }

    fn forget(&mut self) {
        (self.commit, self.ground, self.fault) = (None, None, false);
        self.disk.set_full(false);
        self.disk.set_sync_fails(false);
        self.waiting.clear();
        self.saving.clear();
    }

    fn close(&mut self) {
        if self.fault || self.commit.is_some() {
            return;
        }
        while let Some(commit) = self.ground().begin_commit() {
            self.ground().write(&commit).unwrap();
            self.ground().end_commit(commit);
        }
        self.hear();
        self.read();
        self.ground.take().unwrap().close().unwrap();
        self.disk.kill();
        self.forget();
        self.open();
    }

    /// Mends what is broken: then everything that waits is kept.
    fn heal(&mut self) {
        self.disk.set_full(false);
        self.disk.set_sync_fails(false);
        for _ in 0..9 {
            self.commit();
        }
        self.fault = self.commit.is_some();
    }

    /// What was answered is there, every position that was seen goes on, and nothing means two things.
    fn check(&mut self) {
        let broker = self.ground().broker();
        let limit = ReadLimit { records: usize::MAX, bytes: usize::MAX };
        for (index, name) in ROOMS.into_iter().enumerate() {
            let page = broker
                .read(room(index), ReadFrom::After(Offset::START), limit)
                .now_or_never()
                .unwrap()
                .unwrap();
            let found: BTreeMap<u64, u64> =
                page.records.iter().map(|r| (r.offset.0, number(r.message.as_bytes()))).collect();
            let answered = self.kept.iter().filter(|(of, ..)| *of == index);
            for (_, position, number, _) in answered {
                let is_there = found.get(&position.offset.0) == Some(number);
                assert!(is_there || position.offset <= page.state.cut, "{position:?} of {name} is gone");
            }
            let holes = page.records.first().map_or(page.state.cut < page.state.head, |first| {
                let last = first.offset.0 + page.records.len() as u64 - 1;
                first.offset.0 > page.state.cut.0 + 1 || last != page.state.head.0
            });
            assert!(!holes, "{:?} has holes: {found:?}", page.state);
            for ((_, epoch), seen) in self.seen.iter().filter(|((of, _), _)| *of == index) {
                let asked = Position { epoch: Epoch(*epoch), offset: *seen };
                let known = self.epochs.saturating_sub(*epoch) <= 8;
                let answer = resume(asked, &page.state);
                assert!(
                    !known || *seen < page.state.cut || answer == Resume::Continue(*seen),
                    "{asked:?} {answer:?} {:?}",
                    page.state
                );
            }
            for (&(of, epoch, offset), number) in &self.meaning {
                let asked = Position { epoch: Epoch(epoch), offset: Offset(offset) };
                let goes_on = of == index
                    && Offset(offset) > page.state.cut
                    && matches!(resume(asked, &page.state), Resume::Continue(_));
                assert!(
                    !goes_on || found.get(&offset) == Some(number),
                    "{asked:?} goes on as another message"
                );
            }
        }
        let stored =
            self.ground().sessions().load(SessionId::new("s").unwrap()).now_or_never().unwrap().unwrap();
        let number = stored.map_or(0, |record| record.reconnections);
        assert!((self.saved.0..=self.saved.1).contains(&number), "save {number}, {:?}", self.saved);
        self.saved = (number, self.saved.1);
        self.check_ids();
    }

    fn keeps(&self, index: usize, offset: Offset) -> bool {
        let limit = ReadLimit { records: 1, bytes: 1 };
        let before = Offset(offset.0 - 1);
        let page = self
            .ground()
            .broker()
            .read(room(index), ReadFrom::After(before), limit)
            .now_or_never()
            .unwrap()
            .unwrap();
        page.records.first().is_some_and(|record| record.offset == offset)
    }

    /// What was kept counts once.
    fn check_ids(&mut self) {
        let Some((index, position, number, id)) = self.kept.last().cloned() else { return };
        if !self.keeps(index, position.offset) {
            return;
        }
        let limit = ReadLimit { records: 1, bytes: 1 };
        let broker = self.ground().broker();
        let before = Offset(position.offset.0 - 1);
        let page = broker.read(room(index), ReadFrom::After(before), limit).now_or_never().unwrap().unwrap();
        let message = page.records[0].message.clone();
        let key = PublishKey { sender: "s".into(), id: PublishId::new(&id).unwrap() };
        let keep = Keep::Record { key: Some(key), durability: None };
        let again =
            broker.publish(Publication { room: room(index), message, except: None, keep }).now_or_never();
        let Some(Ok(Published::Stored { position: found, duplicate, .. })) = again else {
            panic!("{number} is not known any more: {again:?}");
        };
        assert!(duplicate && found.offset == position.offset, "{number} counts twice");
    }

    fn step(&mut self) {
        match self.random.below(40) {
            0..=15 => self.publish(),
            16..=18 => self.save(),
            19..=30 => self.commit(),
            31..=33 => self.read(),
            34 => self.crash(),
            35 => self.close(),
            36 => {
                self.fault = true;
                self.disk.set_full(true);
            }
            37 => {
                self.fault = true;
                self.disk.set_sync_fails(true);
            }
            _ => self.heal(),
        }
    }
}

#[test]
fn what_was_answered_is_there_and_one_position_means_one_message() {
    let given: Option<u64> = std::env::var("MOORLINE_SEED").ok().and_then(|text| text.parse().ok());
    let explored: Option<u64> = std::env::var("MOORLINE_CASES").ok().and_then(|text| text.parse().ok());
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    let mut random = Random(if explored.is_some() { u64::from(nanos) } else { 0 });
    for _ in 0..explored.unwrap_or(CASES) {
        let seed = given.unwrap_or_else(|| random.next());
        let case = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            (0..STEPS).for_each(|_| world.step());
            world.crash();
        });
        assert!(case.is_ok(), "MOORLINE_SEED={seed}");
        if given.is_some() {
            return;
        }
    }
}
