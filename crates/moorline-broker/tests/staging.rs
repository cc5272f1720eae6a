//! A broker whose log lasts: what is not kept yet is seen by nobody.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use moorline_broker::{
    Announcement, Announcements, Broker, BrokerError, Durability, Keep, LocalBroker, MemoryLog, Publication,
    PublishKey, Published, ReadLimit, Retention, RetentionRules,
};
use moorline_proto::batch::ReadFrom;
use moorline_proto::id::{PublishId, RoomName};
use moorline_proto::message::Message;
use moorline_proto::position::{Epoch, Offset};
use moorline_proto::time::{Instant, Now, Timestamp};

type Answer = BoxFuture<'static, Result<Published, BrokerError>>;

fn room(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

fn broker() -> (LocalBroker, Box<dyn Announcements>) {
    let rules = RetentionRules {
        room: Retention { records: 3, ..RetentionRules::default().room },
        ..RetentionRules::default()
    };
    let broker =
        LocalBroker::new(MemoryLog::new(Epoch(7), rules), || Now::at(Timestamp(1)), Durability::Disk);
    let announcements = broker.announcements();
    (broker, announcements)
}

fn publish(broker: &LocalBroker, name: &str, number: u64, keep: Keep) -> Answer {
    let text = format!(r#"{{"type":"m","n":{number}}}"#);
    let message = Message::stored(text.into_bytes().into());
    broker.publish(Publication { room: room(name), message, except: None, keep })
}

fn record() -> Keep {
    Keep::Record { key: None, durability: None }
}

fn with_id(id: &str, durability: Option<Durability>) -> Keep {
    Keep::Record { key: Some(PublishKey { sender: "s".into(), id: PublishId::new(id).unwrap() }), durability }
}

/// `message_id durability duplicate`, or why not; none where the answer is not there.
fn answered(answer: &mut Answer) -> Option<String> {
    Some(match answer.now_or_never()? {
        Ok(Published::Stored { position, durability, duplicate }) => {
            format!("{} {durability:?} {duplicate}", position.offset.0)
        }
        Ok(Published::Ephemeral) => "ephemeral".to_owned(),
        Err(error) => format!("{error:?}"),
    })
}

fn heard(from: &mut Box<dyn Announcements>) -> Vec<String> {
    let mut into = Vec::new();
    // Nothing waits where it is not ready.
    let _ready = from.receive(&mut into, 100).now_or_never();
    let short = |announcement: &Announcement| match announcement {
        Announcement::Batch(batch) => format!("{} {}-{}", batch.room, batch.after.0, batch.last().0),
        Announcement::Ephemeral(ephemeral) => format!("{} ephemeral", ephemeral.room),
        Announcement::Cancel(_) => "cancel".to_owned(),
        Announcement::Lost => "lost".to_owned(),
    };
    into.iter().map(short).collect()
}

/// `cut head [offsets]`, as a reader sees it.
fn seen(broker: &LocalBroker, name: &str) -> String {
    let limit = ReadLimit { records: 100, bytes: usize::MAX };
    let page =
        broker.read(room(name), ReadFrom::After(Offset::START), limit).now_or_never().unwrap().unwrap();
    let offsets: Vec<u64> = page.records.iter().map(|record| record.offset.0).collect();
    format!("{} {} {offsets:?}", page.state.cut.0, page.state.head.0)
}

fn commit(broker: &LocalBroker) {
    broker.begin_commit(|| ());
    broker.end_commit(true);
}

#[test]
fn nobody_sees_what_is_not_kept() {
    let (broker, mut announcements) = broker();
    let mut first = publish(&broker, "a", 1, record());
    assert_eq!(answered(&mut first), None);
    assert_eq!((seen(&broker, "a"), heard(&mut announcements)), ("0 0 []".to_owned(), vec![]));
    let state = broker.subscribe(room("a")).now_or_never().unwrap().unwrap();
    assert_eq!(state.head, Offset(0));
    broker.begin_commit(|| ());
    let mut second = publish(&broker, "a", 2, record());
    broker.end_commit(true);
    assert_eq!(answered(&mut first).as_deref(), Some("1 Disk false"));
    assert_eq!(answered(&mut second), None, "it came after the commit began");
    assert_eq!(
        (seen(&broker, "a"), heard(&mut announcements)),
        ("0 1 [1]".to_owned(), vec!["a 0-1".to_owned()])
    );
    commit(&broker);
    assert_eq!(answered(&mut second).as_deref(), Some("2 Disk false"));
    assert_eq!(
        (seen(&broker, "a"), heard(&mut announcements)),
        ("0 2 [1, 2]".to_owned(), vec!["a 1-2".to_owned()])
    );
}

#[test]
fn memory_is_answered_at_once_and_seen_later() {
    let (broker, mut announcements) = broker();
    let mut answer = publish(&broker, "a", 1, with_id("x", Some(Durability::Memory)));
    assert_eq!(answered(&mut answer).as_deref(), Some("1 Memory false"));
    assert!(heard(&mut announcements).is_empty());
    let mut again = publish(&broker, "a", 1, with_id("x", None));
    assert_eq!(answered(&mut again), None, "the repetition asks for more than there is");
    let mut other = publish(&broker, "a", 2, with_id("x", None));
    assert_eq!(answered(&mut other).as_deref(), Some("Append(Conflict)"));
    commit(&broker);
    assert_eq!(answered(&mut again).as_deref(), Some("1 Disk true"));
    let mut once_more = publish(&broker, "a", 1, with_id("x", Some(Durability::Memory)));
    assert_eq!(answered(&mut once_more).as_deref(), Some("1 Disk true"));
    assert_eq!(heard(&mut announcements), ["a 0-1"]);
    let mut stronger =
        publish(&broker, "a", 1, Keep::Record { key: None, durability: Some(Durability::Broker) });
    assert_eq!(answered(&mut stronger).as_deref(), Some("Durability { strongest: Disk }"));
}

#[test]
fn ephemeral_messages_keep_their_place() {
    let (broker, mut announcements) = broker();
    let _one = publish(&broker, "a", 1, record());
    let _ephemeral = publish(&broker, "a", 2, Keep::Ephemeral);
    let _elsewhere = publish(&broker, "b", 3, Keep::Ephemeral);
    assert_eq!(heard(&mut announcements), ["b ephemeral"]);
    broker.begin_commit(|| ());
    let _behind = publish(&broker, "a", 4, Keep::Ephemeral);
    broker.end_commit(true);
    assert_eq!(
        heard(&mut announcements),
        ["a 0-1", "a ephemeral", "a ephemeral"],
        "none waits for another commit"
    );
}

#[test]
fn a_store_that_cannot_write_accepts_nothing_and_goes_on_where_it_stopped() {
    let (broker, mut announcements) = broker();
    let mut first = publish(&broker, "a", 1, with_id("x", None));
    broker.begin_commit(|| ());
    let mut second = publish(&broker, "a", 2, record());
    broker.end_commit(false);
    for answer in [&mut first, &mut second] {
        assert_eq!(answered(answer).as_deref(), Some("Unavailable"), "it may be kept later");
    }
    let mut refused = publish(&broker, "a", 3, record());
    assert_eq!(answered(&mut refused).as_deref(), Some("CannotKeep"));
    let cleared = broker.clear(room("a")).now_or_never().unwrap();
    assert_eq!(cleared, Err(BrokerError::CannotKeep));
    assert_eq!((seen(&broker, "a"), heard(&mut announcements)), ("0 0 []".to_owned(), vec![]));
    broker.end_commit(true);
    assert_eq!(heard(&mut announcements), ["a 0-1"], "the second came after that commit began");
    let mut again = publish(&broker, "a", 1, with_id("x", None));
    assert_eq!(answered(&mut again).as_deref(), Some("1 Disk true"), "what was not known counts once");
    commit(&broker);
    assert_eq!(
        (seen(&broker, "a"), heard(&mut announcements)),
        ("0 2 [1, 2]".to_owned(), vec!["a 1-2".to_owned()])
    );
}

#[test]
fn what_staged_records_push_out_is_gone_for_readers_too() {
    let (broker, _announcements) = broker();
    for number in 1..=3 {
        let _answer = publish(&broker, "a", number, record());
    }
    commit(&broker);
    for number in 4..=6 {
        let _answer = publish(&broker, "a", number, record());
    }
    assert_eq!(seen(&broker, "a"), "3 3 []");
    commit(&broker);
    assert_eq!(seen(&broker, "a"), "3 6 [4, 5, 6]");
}

#[test]
fn a_room_with_staged_records_is_not_forgotten_however_old_they_are() {
    let uptime = Arc::new(AtomicU64::new(0));
    let clock = {
        let uptime = Arc::clone(&uptime);
        move || {
            let elapsed = Duration::from_secs(uptime.load(Ordering::Relaxed));
            Now { instant: Instant::since_start(elapsed), timestamp: Timestamp(1) }
        }
    };
    let log = MemoryLog::new(Epoch(7), RetentionRules::default());
    let broker = LocalBroker::new(log, clock, Durability::Disk);
    let mut announcements = broker.announcements();
    let _answer = publish(&broker, "a", 1, record());
    uptime.store(100_000, Ordering::Relaxed);
    broker.expire();
    let state = broker.subscribe(room("a")).now_or_never().unwrap().unwrap();
    assert_eq!(state.head, Offset(0));
    commit(&broker);
    // Who subscribed at 0 and hears of 1 finds in the log that it is gone.
    assert_eq!(
        (heard(&mut announcements), seen(&broker, "a")),
        (vec!["a 0-1".to_owned()], "1 1 []".to_owned())
    );
    broker.unsubscribe(room("a"));
    assert_eq!(broker.stats().rooms, 0);
}

#[test]
fn clearing_is_answered_when_it_is_kept() {
    let (broker, mut announcements) = broker();
    let _state = broker.subscribe(room("a")).now_or_never().unwrap().unwrap();
    let mut first = publish(&broker, "a", 1, record());
    let mut cleared = broker.clear(room("a"));
    assert!((&mut cleared).now_or_never().is_none());
    commit(&broker);
    assert_eq!(answered(&mut first).as_deref(), Some("1 Disk false"));
    assert_eq!(cleared.now_or_never(), Some(Ok(())));
    assert_eq!(heard(&mut announcements), ["a 0-1"]);
    assert_eq!(seen(&broker, "a"), "1 1 []");
}

#[test]
fn so_much_waits_and_no_more() {
    let (broker, _announcements) = broker();
    let refused = (0..70_000).map(|number| publish(&broker, "a", number, record()).now_or_never());
    let first = refused.enumerate().find_map(|(number, answer)| answer.map(|answer| (number, answer)));
    assert_eq!(first, Some((65_536, Err(BrokerError::Behind))));
    commit(&broker);
    assert!(publish(&broker, "a", 0, record()).now_or_never().is_none());
}
