//! Streams behind the local broker: when they are announced and answered, and how their pages are kept.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use moorline_broker::{
    Announcement, Announcements, Broker, BrokerError, Durability, Keep, LocalBroker, MemoryLog, Publication,
    ReadLimit, RetentionRules,
};
use moorline_proto::batch::{Page, ReadFrom};
use moorline_proto::id::{RoomName, SessionId, StreamName};
use moorline_proto::message::Message;
use moorline_proto::position::{Epoch, Offset};
use moorline_proto::stream::{
    Canceller, Command, Done, Expected, Holder, Lease, Open, Outcome, SHOW_EVERY, StreamError,
};
use moorline_proto::time::{Now, Timestamp};

type Answer = BoxFuture<'static, Result<Done, BrokerError>>;

const ALL: ReadLimit = ReadLimit { records: 100, bytes: 1024 * 1024 };

/// A broker, who listens to it, and the clock that it goes by.
struct Ground {
    broker: LocalBroker,
    announcements: Box<dyn Announcements>,
    clock: Arc<AtomicU64>,
}

fn ground(durability: Durability) -> Ground {
    let clock = Arc::new(AtomicU64::new(1_000));
    let hand = Arc::clone(&clock);
    let log = MemoryLog::new(Epoch(7), RetentionRules::default());
    let broker = LocalBroker::new(log, move || Now::at(Timestamp(hand.load(Ordering::Relaxed))), durability);
    let announcements = broker.announcements();
    Ground { broker, announcements, clock }
}

fn room() -> RoomName {
    RoomName::new("a").unwrap()
}

fn stream() -> StreamName {
    StreamName::new("s").unwrap()
}

fn producer() -> Option<SessionId> {
    SessionId::new("p").ok()
}

impl Ground {
    fn ask(&self, command: Command) -> Answer {
        self.broker.stream(room(), stream(), command)
    }

    fn open(&self) -> Answer {
        self.ask(Command::Open(Box::new(Open {
            principal: "key/k".into(),
            session: producer(),
            data: None,
            except: None,
            lease: Lease::DEFAULT,
            expected: Expected::Any,
        })))
    }

    fn append(&self, fence: u64, at: u64, content: &str) -> Answer {
        let holder = Holder { principal: "key/k".into(), session: producer(), fence };
        self.ask(Command::Append { holder, at, content: content.into() })
    }

    fn end(&self, fence: u64) -> Answer {
        let holder = Holder { principal: "key/k".into(), session: producer(), fence };
        self.ask(Command::End { holder, outcome: Outcome::Complete { message: None } })
    }

    fn cancel(&self) -> Answer {
        self.ask(Command::Cancel { by: Canceller { session: SessionId::new("c").ok(), user: None } })
    }

    fn publish(&self) {
        let message = Message::stored(br#"{"type":"m"}"#.to_vec().into());
        let keep = Keep::Record { key: None, durability: None };
        drop(self.broker.publish(Publication { room: room(), message, except: None, keep }));
    }

    fn pass(&self, time: Duration) {
        self.clock.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }

    fn commit(&self) {
        self.broker.begin_commit(|| ());
        self.broker.end_commit(true);
    }

    /// Opens it, and returns its fence.
    fn opened(&self) -> u64 {
        let mut open = self.open();
        if self.answered(&mut open).is_none() {
            self.commit();
        }
        match open.now_or_never() {
            Some(Ok(Done::Opened { fence, at: 0 })) => fence,
            other => panic!("{other:?}"),
        }
    }

    /// In memory an answer is there at once: taking it would lose it.
    fn answered(&self, answer: &mut Answer) -> Option<()> {
        let is_there = answer.now_or_never();
        is_there.map(|outcome| *answer = Box::pin(std::future::ready(outcome)))
    }

    /// What is announced: the types of the records, or what else it is.
    fn heard(&mut self) -> Vec<String> {
        let mut into = Vec::new();
        let _ready = self.announcements.receive(&mut into, 100).now_or_never(); // nothing waits where it is not
        let told = |announcement: &Announcement| match announcement {
            Announcement::Batch(batch) => batch.records.iter().map(|record| short(&record.message)).collect(),
            Announcement::Ephemeral(_) => vec!["ephemeral".to_owned()],
            Announcement::Cancel(cancel) => vec![format!("{} to stop {}", cancel.holder, cancel.stream)],
            Announcement::Lost => vec!["lost".to_owned()],
        };
        into.iter().flat_map(told).collect()
    }

    fn read(&self, from: ReadFrom) -> Page {
        self.broker.read(room(), from, ALL).now_or_never().unwrap().unwrap()
    }

    /// What a reader finds in the log.
    fn seen(&self) -> Vec<String> {
        let page = self.read(ReadFrom::After(Offset::START));
        page.records.iter().map(|record| short(&record.message)).collect()
    }
}

/// `chunk at content`, or the message's type.
fn short(message: &Message) -> String {
    let text = String::from_utf8(message.as_bytes().to_vec()).unwrap();
    let field = |name: &str| {
        let rest = text.split_once(&format!("\"{name}\":"))?.1;
        Some(rest.split([',', '}']).next()?.trim_matches('"').to_owned())
    };
    match (field("type"), field("at"), field("content")) {
        (Some(kind), Some(at), Some(content)) => format!("{kind} {at} {content}"),
        (kind, ..) => kind.unwrap(),
    }
}

fn now(answer: Answer) -> Option<Result<Done, BrokerError>> {
    answer.now_or_never()
}

#[test]
fn r27_streams_nobody_sees_text_that_is_not_kept() {
    let mut ground = ground(Durability::Disk);
    let mut open = ground.open();
    assert!((&mut open).now_or_never().is_none());
    assert_eq!((ground.heard().len(), ground.seen().len()), (0, 0));
    let list = |ground: &Ground| ground.broker.open_streams(room()).now_or_never().unwrap().unwrap().len();
    let view = |ground: &Ground| ground.broker.view_stream(room(), stream()).now_or_never().unwrap().unwrap();
    assert_eq!((list(&ground), view(&ground)), (0, None));
    ground.commit();
    let Some(Ok(Done::Opened { fence, .. })) = now(open) else { panic!("not opened") };
    assert_eq!((ground.heard(), list(&ground)), (vec!["chunk 0 ".to_owned()], 1));
    ground.pass(SHOW_EVERY);
    let append = ground.append(fence, 0, "one");
    let end = ground.end(fence);
    assert_eq!(ground.seen(), ["chunk 0 "]);
    ground.commit();
    assert_eq!(now(append), Some(Ok(Done::Appended { at: 3, cancel: false })));
    assert!(matches!(now(end), Some(Ok(Done::Ended { .. }))));
    assert_eq!(ground.heard(), ["chunk 0 one", "complete"]);
    assert_eq!((ground.seen(), list(&ground)), (vec!["chunk 0 one".to_owned(), "complete".to_owned()], 0));
    assert_eq!(view(&ground).unwrap().content, "one");
}

#[test]
fn r27_streams_a_repetition_is_not_answered_before_what_it_repeats_is_kept() {
    let ground = ground(Durability::Disk);
    let fence = ground.opened();
    let mut answers = [(0, "one"), (0, "one"), (0, "other"), (9, "gap")]
        .map(|(at, content)| ground.append(fence, at, content));
    for answer in &mut answers {
        assert!(answer.now_or_never().is_none());
    }
    ground.commit();
    let told: Vec<_> = answers.into_iter().map(|answer| now(answer).unwrap()).collect();
    let (kept, at) = (Ok(Done::Appended { at: 3, cancel: false }), 3);
    let refused = [StreamError::Conflict, StreamError::AtMismatch { at }].map(|error| Err(error.into()));
    assert_eq!(told, [&[kept.clone(), kept.clone()], &refused[..]].concat());
    assert_eq!(now(ground.append(fence, 0, "one")), Some(kept), "nothing waits that it could repeat");
}

#[test]
fn r27_streams_text_that_waits_is_shown_by_the_timer() {
    let mut ground = ground(Durability::Disk);
    let fence = ground.opened();
    ground.pass(SHOW_EVERY);
    let first = ground.append(fence, 0, "one");
    ground.pass(Duration::from_millis(10));
    let second = ground.append(fence, 3, "two");
    ground.commit();
    assert!(matches!((now(first), now(second)), (Some(Ok(_)), Some(Ok(Done::Appended { at: 6, .. })))));
    assert_eq!(ground.heard(), ["chunk 0 ", "chunk 0 one"], "the answer does not wait for the readers");
    assert_eq!(ground.broker.lapses_in(), Some(Duration::from_millis(40)));
    ground.broker.lapse();
    ground.pass(Duration::from_millis(40));
    assert_eq!(ground.broker.lapses_in(), Some(Duration::ZERO));
    ground.broker.lapse();
    assert_eq!(ground.heard(), [""; 0]);
    ground.commit();
    assert_eq!((ground.heard(), ground.seen()), (vec!["chunk 3 two".into()], vec!["chunk 0 onetwo".into()]));
    assert!(ground.broker.lapses_in() > Some(SHOW_EVERY), "the lease is left");
}

#[test]
fn r27_streams_nothing_lapses_while_the_store_cannot_write_and_nothing_is_lost() {
    let mut ground = ground(Durability::Disk);
    let fence = ground.opened();
    let (append, _) = (ground.append(fence, 0, "one"), ground.broker.begin_commit(|| ()));
    ground.broker.end_commit(false);
    assert_eq!(now(append), Some(Err(BrokerError::Unavailable)));
    assert_eq!(now(ground.append(fence, 0, "one")), Some(Err(BrokerError::CannotKeep)));
    ground.pass(Lease::DEFAULT.time() * 2);
    assert_eq!(ground.broker.lapses_in(), None);
    ground.broker.lapse();
    ground.broker.end_commit(true);
    assert!(ground.broker.lapses_sooner().now_or_never().is_some(), "the timer is told");
    ground.broker.lapse();
    ground.commit();
    assert_eq!(ground.seen(), ["chunk 0 one"], "nobody could renew its lease: it begins anew");
    ground.pass(Lease::DEFAULT.time());
    ground.broker.lapse();
    ground.commit();
    assert_eq!(ground.seen(), ["chunk 0 one", "orphaned"]);
    assert_eq!(ground.heard().last().unwrap(), "orphaned");
}

#[test]
fn r27_streams_the_timer_is_told_where_it_is_to_ring_earlier() {
    let ground = ground(Durability::Memory);
    let is_told = |ground: &Ground| ground.broker.lapses_sooner().now_or_never().is_some();
    ground.publish();
    assert!(!is_told(&ground) && ground.broker.lapses_at().is_none());
    let fence = ground.opened();
    assert!(is_told(&ground), "there is a lease");
    ground.pass(SHOW_EVERY);
    drop((ground.append(fence, 0, "one"), ground.append(fence, 3, "two")));
    assert!(is_told(&ground), "text waits");
    drop(ground.append(fence, 6, "three"));
    assert!(!is_told(&ground), "it waited before");
}

#[test]
fn r27_streams_who_asks_to_stop_is_announced_once_and_in_its_turn() {
    let mut disk = ground(Durability::Disk);
    let fence = disk.opened();
    assert_eq!(disk.heard(), ["chunk 0 "]);
    disk.publish();
    let mut first = disk.cancel();
    let second = disk.cancel();
    assert!((&mut first).now_or_never().is_none() && disk.heard().is_empty());
    disk.commit();
    assert_eq!((now(first), now(second)), (Some(Ok(Done::Cancelled)), Some(Ok(Done::Cancelled))));
    assert_eq!(disk.heard(), ["m", "p to stop s"]);
    let append = disk.append(fence, 0, "one");
    disk.commit();
    assert_eq!(now(append), Some(Ok(Done::Appended { at: 3, cancel: true })));

    let mut memory = ground(Durability::Memory);
    memory.opened();
    assert_eq!(now(memory.cancel()), Some(Ok(Done::Cancelled)));
    assert_eq!(memory.heard(), ["chunk 0 ", "p to stop s"]);
}

#[test]
fn r27_streams_a_store_that_is_behind_refuses() {
    let ground = ground(Durability::Disk);
    let fence = ground.opened();
    assert!(now(ground.append(fence, 0, "")).is_some(), "it changes nothing, and nothing waits");
    assert!(now(ground.append(fence, 0, "one")).is_none());
    let mut refused = (1..70_000).map(|number| (number, now(ground.append(fence, 3, ""))));
    let first = refused.find_map(|(number, answer)| answer.map(|answer| (number, answer)));
    assert_eq!(first, Some((65_536, Err(BrokerError::Behind))));
    ground.commit();
    assert!(now(ground.append(fence, 3, "")).is_some());
}

/// Whether both have their text from one place: put together once.
fn is_shared(one: &Page, other: &Page) -> bool {
    let first = |page: &Page| page.records[0].message.as_bytes().as_ptr();
    first(one) == first(other)
}

#[test]
fn r27_streams_a_page_of_text_is_put_together_once() {
    let ground = ground(Durability::Memory);
    let fence = ground.opened();
    ground.pass(SHOW_EVERY);
    drop(ground.append(fence, 0, "one"));
    let head = ground.read(ReadFrom::After(Offset::START)).end;
    let (texts, all) = (ReadFrom::Texts { at: head, after: Offset::START }, ReadFrom::After(Offset::START));
    let former = [texts, all].map(|from| ground.read(from));
    for (from, former) in [texts, all].into_iter().zip(&former) {
        assert!(is_shared(former, &ground.read(from)) && former.is_last());
    }
    ground.pass(SHOW_EVERY);
    drop(ground.append(fence, 3, "two"));
    assert!(is_shared(&former[0], &ground.read(texts)), "what stood there stands there for ever");
    assert_eq!(ground.seen(), ["chunk 0 onetwo"], "a page is as long as it may be");
    drop(ground.end(fence));
    assert_eq!(ground.read(texts).records, former[0].records, "it ended behind that place");
}

#[test]
fn r27_streams_what_was_removed_is_not_read_from_a_kept_page() {
    let ground = ground(Durability::Memory);
    let fence = ground.opened();
    ground.publish();
    drop(ground.end(fence));
    let all = ReadFrom::After(Offset::START);
    let (head, length) = (ground.read(all).end, ground.read(all).records.len());
    let texts = ReadFrom::Texts { at: Offset(1), after: Offset::START };
    assert_eq!((length, ground.read(texts).records.len()), (3, 1));
    assert_eq!(ground.broker.clear(room()).now_or_never(), Some(Ok(())));
    assert_eq!((ground.read(all).records.len(), ground.read(texts).records.len()), (0, 0));
    // Nobody holds it: it is forgotten, and begins anew behind its former numbers.
    ground.broker.expire();
    ground.publish();
    let page = ground.read(all);
    assert_eq!((page.records.len(), page.state.cut), (1, Offset(0)));
    assert!(page.records[0].offset > head);
}
