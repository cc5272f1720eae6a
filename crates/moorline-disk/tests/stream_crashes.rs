//! Whatever is lost with the power: a stream has all the text that was answered, readers' text only grows, and it ends once.
//!
//! A failure prints the seed of its case; `MOORLINE_SEED=… cargo test -p moorline-disk --test stream_crashes` repeats it,
//! `MOORLINE_CASES=10000` explores others.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use moorline_broker::{Broker as _, BrokerError, Keep, Publication, ReadLimit, Retention, RetentionRules};
use moorline_disk::testing::VolatileDisk;
use moorline_disk::{Commit, Ground};
use moorline_proto::batch::{Page, ReadFrom};
use moorline_proto::id::{RoomName, StreamName};
use moorline_proto::message::Message;
use moorline_proto::position::{Epoch, Offset};
use moorline_proto::stream::{
    Command, Done, Expected, Holder, Lease, Open, Outcome, StreamError, StreamState, StreamView,
};
use moorline_proto::time::{Instant, Now, Timestamp};

const CASES: u64 = 150;
const LEASE_MS: u64 = 4_000;
const STEPS: usize = 160;
const BEGIN: u64 = 1_700_000_000_000;
const ALL: ReadLimit = ReadLimit { records: usize::MAX, bytes: usize::MAX };
/// A letter each of one, two, three and four bytes.
const LETTERS: [char; 4] = ['a', 'ö', '€', '🦀'];

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

    fn index(&mut self, bound: u64) -> usize {
        usize::try_from(self.below(bound)).unwrap()
    }
}

type Answer = BoxFuture<'static, Result<Done, BrokerError>>;

/// What is known of one stream from outside.
#[derive(Default)]
struct Told {
    fence: u64,
    /// All that was ever sent, in order; the server may have less.
    sent: String,
    /// How much of it was answered, in letters.
    answered: usize,
    /// What readers have seen.
    seen: String,
    /// Its terminal record, as it was answered or read.
    end: Option<Offset>,
    /// Whether an end was asked for, or the lease may have run out.
    may_be_over: bool,
    /// When it was asked for something last.
    asked_at: u64,
}

struct World {
    random: Random,
    rules: RetentionRules,
    disk: VolatileDisk,
    ground: Option<Ground>,
    commit: Option<Commit>,
    clock: Arc<AtomicU64>,
    epochs: u64,
    streams: BTreeMap<u64, Told>,
    waiting: Vec<(Answer, u64)>,
    fault: bool,
}

fn room() -> RoomName {
    RoomName::stored("r").unwrap()
}

fn name(number: u64) -> StreamName {
    StreamName::new(&format!("s{number}")).unwrap()
}

impl World {
    fn new(seed: u64) -> Self {
        let rules = RetentionRules::default();
        // Every other case keeps so little that the journal is cleaned all the time.
        let records = if seed.is_multiple_of(2) { 3 } else { rules.room.records };
        let mut world = Self {
            random: Random(seed),
            rules: RetentionRules { room: Retention { records, ..rules.room }, ..rules },
            disk: VolatileDisk::default(),
            ground: None,
            commit: None,
            clock: Arc::new(AtomicU64::new(0)),
            epochs: 0,
            streams: BTreeMap::new(),
            waiting: Vec::new(),
            fault: false,
        };
        world.open_ground();
        world
    }

    fn open_ground(&mut self) {
        self.epochs += 1;
        let time = Arc::clone(&self.clock);
        let clock = Arc::new(move || {
            let millis = time.load(Ordering::Relaxed);
            let instant = Instant::since_start(Duration::from_millis(millis));
            Now { instant, timestamp: Timestamp(BEGIN + millis) }
        });
        let opened = Ground::open(Box::new(self.disk.clone()), &self.rules, (clock, Epoch(self.epochs)));
        self.ground = Some(opened.unwrap_or_else(|error| panic!("{error}")));
        drop(self.ground().broker().subscribe(room()));
        self.check();
    }

    fn ground(&self) -> &Ground {
        self.ground.as_ref().unwrap()
    }

    fn ask(&mut self, number: u64, command: Command) {
        self.streams.get_mut(&number).unwrap().asked_at = self.clock.load(Ordering::Relaxed);
        let answer = self.ground().broker().stream(room(), name(number), command);
        self.waiting.push((answer, number));
        self.hear();
    }

    fn holder(&self, number: u64) -> Holder {
        Holder { principal: "key/k".into(), session: None, fence: self.streams[&number].fence }
    }

    fn open(&mut self, number: u64) {
        let is_open = |view: StreamView| view.state == StreamState::Open;
        if self.streams.contains_key(&number) && !self.view(number).is_some_and(is_open) {
            // One that is over and forgotten would begin anew.
            return;
        }
        self.streams.entry(number).or_default();
        let open = Open {
            principal: "key/k".into(),
            session: None,
            data: None,
            except: None,
            lease: Lease::new(Duration::from_millis(LEASE_MS)).unwrap(),
            expected: Expected::Any,
        };
        self.ask(number, Command::Open(Box::new(open)));
    }

    /// Goes on where the last answer left it, so that what was not answered is sent again, and then some.
    fn append(&mut self, number: u64) {
        let letters = (0..self.random.below(40)).map(|_| LETTERS[self.random.index(4)]);
        let more: String = letters.collect();
        let told = self.streams.get_mut(&number).unwrap();
        told.sent.push_str(&more);
        let content: String = told.sent.chars().skip(told.answered).collect();
        let (at, holder) = (told.answered as u64, self.holder(number));
        self.ask(number, Command::Append { holder, at, content: content.into() });
    }

    fn end(&mut self, number: u64) {
        let (holder, outcome) = (self.holder(number), Outcome::Complete { message: None });
        self.streams.get_mut(&number).unwrap().may_be_over = true;
        self.ask(number, Command::End { holder, outcome });
    }

    fn hear(&mut self) {
        for (mut answer, number) in std::mem::take(&mut self.waiting) {
            let told = self.streams.get_mut(&number).unwrap();
            match (&mut answer).now_or_never() {
                None => self.waiting.push((answer, number)),
                Some(Ok(Done::Opened { fence, at })) => {
                    assert!(fence > told.fence, "s{number}: the fence fell to {fence}");
                    told.fence = fence;
                    told.take_length(number, at);
                }
                Some(Ok(Done::Appended { at, .. })) => told.take_length(number, at),
                Some(Ok(Done::Ended { message_id })) => told.take_end(number, message_id),
                Some(Ok(Done::Cancelled)) => panic!("nobody asked"),
                Some(Err(BrokerError::Stream(error))) => {
                    let is_over = matches!(error, StreamError::Ended | StreamError::NotFound);
                    assert!(is_over || error == StreamError::Fenced, "s{number}: {error}");
                }
                Some(Err(error)) => assert!(self.fault, "s{number}: {error} without a fault"),
            }
        }
    }

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

    fn view(&self, number: u64) -> Option<StreamView> {
        self.ground().broker().view_stream(room(), name(number)).now_or_never().unwrap().unwrap()
    }

    fn page(&self) -> Page {
        let from = ReadFrom::After(Offset::START);
        self.ground().broker().read(room(), from, ALL).now_or_never().unwrap().unwrap()
    }

    /// What a reader sees only grows, is what was sent, and has at least what was answered once everything is shown.
    fn read(&mut self) {
        let page = self.page();
        for record in &page.records {
            let message: serde_json::Value = serde_json::from_slice(record.message.as_bytes()).unwrap();
            let Some(stream) = message["stream"].as_str() else { continue };
            let number: u64 = stream[1..].parse().unwrap();
            let told = self.streams.get_mut(&number).unwrap();
            match message["type"].as_str().unwrap() {
                "chunk" => {
                    let at = usize::try_from(message["at"].as_u64().unwrap()).unwrap();
                    let text: String = told.sent.chars().take(at).collect();
                    told.take_text(number, &(text + message["content"].as_str().unwrap()));
                }
                _ => told.take_end(number, record.offset),
            }
        }
        for number in self.streams.keys().copied().collect::<Vec<_>>() {
            if let Some(view) = self.view(number) {
                let told = self.streams.get_mut(&number).unwrap();
                told.take_text(number, &view.content);
                assert!(told.end.is_none() || view.state != StreamState::Open, "s{number} rose again");
            }
        }
    }

    fn check(&mut self) {
        self.read();
        let cut = self.page().state.cut;
        for number in self.streams.keys().copied().collect::<Vec<_>>() {
            let (view, told) = (self.view(number), &self.streams[&number]);
            match told.end {
                Some(end) => assert_eq!(view.is_some(), end > cut, "s{number} ended at {end:?}, cut {cut:?}"),
                None if told.answered > 0 && !told.may_be_over => {
                    assert!(view.is_some(), "s{number} is gone")
                }
                None => {}
            }
        }
    }

    fn publish(&mut self) {
        let message = Message::stored(br#"{"type":"m"}"#.to_vec().into());
        let keep = Keep::Record { key: None, durability: None };
        let publication = Publication { room: room(), message, except: None, keep };
        drop(self.ground().broker().publish(publication));
    }

    fn wait(&mut self) {
        let millis = [10, 60, 700][self.random.index(3)];
        let now = self.clock.fetch_add(millis, Ordering::Relaxed) + millis;
        for told in self.streams.values_mut() {
            // A refused append renewed nothing.
            told.may_be_over |= told.asked_at + LEASE_MS / 2 <= now;
        }
        self.ground().broker().lapse();
        self.ground().broker().expire();
        // A lease may be over: then there is an end that nobody asked for.
        self.read();
    }

    fn crash(&mut self) {
        if self.random.below(3) == 0 {
            self.fault = true;
            self.disk.die_after(self.random.index(12));
            self.step_stream();
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
        self.open_ground();
    }

    fn forget(&mut self) {
        (self.commit, self.ground, self.fault) = (None, None, false);
        self.disk.set_full(false);
        self.disk.set_sync_fails(false);
        self.waiting.clear();
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
        self.ground.take().unwrap().close().unwrap();
        self.disk.kill();
        self.forget();
        self.open_ground();
    }

    fn heal(&mut self) {
        self.disk.set_full(false);
        self.disk.set_sync_fails(false);
        for _ in 0..9 {
            self.commit();
        }
        self.fault = self.commit.is_some();
    }

    fn step_stream(&mut self) {
        let count = self.streams.len() as u64;
        if count == 0 || self.random.below(12) == 0 {
            return self.open(count);
        }
        let number = count - 1 - self.random.below(count.min(3));
        match self.random.below(12) {
            0 => self.end(number),
            1 | 2 => self.open(number),
            _ => self.append(number),
        }
    }

    fn step(&mut self) {
        match self.random.below(40) {
            0..=16 => self.step_stream(),
            17 => self.publish(),
            18..=29 => self.commit(),
            30 | 31 => self.read(),
            32 | 33 => self.wait(),
            34 => self.crash(),
            35 => self.close(),
            36 => {
                self.fault = true;
                self.disk.set_full(true);
            }
            _ => self.heal(),
        }
    }
}

impl Told {
    fn take_length(&mut self, number: u64, at: u64) {
        let at = usize::try_from(at).unwrap();
        assert!(at >= self.answered, "s{number}: {at} letters, {} were answered", self.answered);
        assert!(at <= self.sent.chars().count(), "s{number}: {at} letters are more than were sent");
        self.answered = at;
    }

    fn take_text(&mut self, number: u64, text: &str) {
        assert!(self.sent.starts_with(text), "s{number}: {text:?} was not sent");
        if text.len() > self.seen.len() {
            self.seen = text.to_owned();
        }
    }

    fn take_end(&mut self, number: u64, end: Offset) {
        assert!(
            self.end.is_none_or(|known| known == end),
            "s{number} ended at {:?} and at {end:?}",
            self.end
        );
        self.end = Some(end);
    }
}

#[test]
fn r27_streams_have_what_was_answered_and_end_once_whatever_is_lost() {
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
