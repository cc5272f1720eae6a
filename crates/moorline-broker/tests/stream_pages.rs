//! Pages that were kept for the next reader are what would be read anew, whatever happened in between.
//!
//! A failure prints the seed; `MOORLINE_SEED=… cargo test` repeats it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use moorline_broker::{
    Broker, Durability, Keep, LocalBroker, MemoryLog, Publication, ReadLimit, Retention, RetentionRules,
};
use moorline_proto::batch::{Page, ReadFrom};
use moorline_proto::id::{RoomName, StreamName};
use moorline_proto::message::Message;
use moorline_proto::position::{Epoch, Offset};
use moorline_proto::stream::{Command, Done, Expected, Holder, Lease, Open, Outcome};
use moorline_proto::time::{Now, Timestamp};

const STEPS: usize = 4_000;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn seed() -> u64 {
    let given = std::env::var("MOORLINE_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos()) | 1
    })
}

struct Ground {
    random: Random,
    broker: LocalBroker,
    clock: Arc<AtomicU64>,
    durability: Durability,
    /// Read limits that nobody read with before find nothing that was kept.
    fresh: usize,
    /// How many pages had text of streams.
    with_text: usize,
}

impl Ground {
    fn new(seed: u64, durability: Durability) -> Self {
        let clock = Arc::new(AtomicU64::new(1_000));
        let hand = Arc::clone(&clock);
        let room = Retention { records: 6, bytes: 8 * 1024, ..RetentionRules::default().room };
        let log = MemoryLog::new(Epoch(7), RetentionRules { room, ..RetentionRules::default() });
        let read = move || Now::at(Timestamp(hand.load(Ordering::Relaxed)));
        let broker = LocalBroker::new(log, read, durability);
        Self { random: Random(seed), broker, clock, durability, fresh: 0, with_text: 0 }
    }

    fn room(&mut self) -> RoomName {
        RoomName::new(["a", "b"][usize::try_from(self.random.below(2)).unwrap()]).unwrap()
    }

    fn step(&mut self) {
        let room = self.room();
        match self.random.below(20) {
            0..=9 => self.write(room),
            10 | 11 => {
                let message = Message::stored(br#"{"type":"m"}"#.to_vec().into());
                let keep = Keep::Record { key: None, durability: None };
                drop(self.broker.publish(Publication { room, message, except: None, keep }));
            }
            12 => drop(self.broker.clear(room)),
            13 => self.broker.expire(),
            14 => self.broker.lapse(),
            15 => drop(self.broker.subscribe(room)),
            16 => self.broker.unsubscribe(room),
            17 if self.random.below(30) == 0 => drop(self.clock.fetch_add(3_600_000, Ordering::Relaxed)),
            17 => drop(self.clock.fetch_add(self.random.below(90), Ordering::Relaxed)),
            _ if self.durability == Durability::Disk => {
                self.broker.begin_commit(|| ());
                self.broker.end_commit(self.random.below(5) > 0);
            }
            _ => {}
        }
    }

    /// Asks something of a stream; each has been opened by then, or is not known.
    fn write(&mut self, room: RoomName) {
        let stream =
            StreamName::new(["s", "t", "u"][usize::try_from(self.random.below(3)).unwrap()]).unwrap();
        let holder = |fence| Holder { principal: "key/k".into(), session: None, fence };
        let open = || {
            let principal = "key/k".into();
            Open {
                principal,
                session: None,
                data: None,
                except: None,
                lease: Lease::DEFAULT,
                expected: Expected::Any,
            }
        };
        let command = match self.random.below(8) {
            0 | 1 => Command::Open(Box::new(open())),
            2 => Command::End { holder: holder(1), outcome: Outcome::Cancelled },
            _ => {
                let view = self.broker.view_stream(room.clone(), stream.clone()).now_or_never().unwrap();
                let at = view.unwrap().map_or(0, |view| view.at);
                let content = "x".repeat(usize::try_from(self.random.below(400)).unwrap()).into();
                Command::Append { holder: holder(1), at, content }
            }
        };
        let answer = self.broker.stream(room, stream, command).now_or_never();
        assert!(!matches!(answer, Some(Ok(Done::Cancelled))));
    }

    fn read(&self, room: &RoomName, from: ReadFrom, limit: ReadLimit) -> Page {
        self.broker.read(room.clone(), from, limit).now_or_never().unwrap().unwrap()
    }

    /// Reads as many do, and as nobody did before.
    fn compare(&mut self) {
        let room = self.room();
        let head = self.broker.subscribe(room.clone()).now_or_never().unwrap().unwrap().head;
        self.broker.unsubscribe(room.clone());
        let place = Offset(self.random.below(head.0 + 1));
        let from = match self.random.below(4) {
            0 => ReadFrom::After(Offset::START),
            1 => ReadFrom::After(place),
            2 => ReadFrom::Texts { at: head, after: Offset::START },
            _ => ReadFrom::Texts { at: head, after: place },
        };
        let bytes = [300, 1_000, usize::MAX][usize::try_from(self.random.below(3)).unwrap()];
        self.fresh += 1;
        let kept = self.read(&room, from, ReadLimit { records: usize::MAX, bytes });
        let fresh = self.read(&room, from, ReadLimit { records: usize::MAX - self.fresh, bytes });
        assert_eq!(kept.records, fresh.records, "{from:?}");
        assert_eq!((kept.reached, kept.end, kept.state), (fresh.reached, fresh.end, fresh.state), "{from:?}");
        self.with_text += usize::from(
            kept.records.iter().any(|record| record.message.as_bytes().starts_with(br#"{"type":"chunk""#)),
        );
    }
}

#[test]
fn r27_streams_a_kept_page_is_what_would_be_read_anew() {
    for durability in [Durability::Memory, Durability::Disk] {
        let seed = seed();
        eprintln!("MOORLINE_SEED={seed} ({durability:?})");
        let mut ground = Ground::new(seed, durability);
        for _ in 0..STEPS {
            ground.step();
            for _ in 0..3 {
                ground.compare();
            }
        }
        assert!(ground.with_text > STEPS / 10, "{} pages with text", ground.with_text);
    }
}
