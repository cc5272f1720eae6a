//! What the local broker adds to the contract: time, and who listens.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use moorline_broker::{
    Announcement, Announcements, Broker, Durability, Keep, LocalBroker, LogStats, MemoryLog, Publication,
    Published, ReadLimit, RetentionRules,
};
use moorline_proto::batch::ReadFrom;
use moorline_proto::id::RoomName;
use moorline_proto::message::Message;
use moorline_proto::position::{Epoch, Offset, Position};
use moorline_proto::time::{Now, Timestamp};

const HOUR_MS: u64 = 3_600_000;
const ALL: ReadLimit = ReadLimit { records: usize::MAX, bytes: usize::MAX };

/// A broker, and the clock that it goes by.
fn broker() -> (LocalBroker, Arc<AtomicU64>) {
    let clock = Arc::new(AtomicU64::new(1_000));
    let hand = Arc::clone(&clock);
    let log = MemoryLog::new(Epoch(7), RetentionRules::default());
    let read = move || Now::at(Timestamp(hand.load(Ordering::Relaxed)));
    (LocalBroker::new(log, read, Durability::Memory), clock)
}

fn room() -> RoomName {
    RoomName::new("a").unwrap()
}

fn publication(number: u64, keep: Keep) -> Publication {
    let text = format!(r#"{{"type":"m","n":{number}}}"#);
    Publication { room: room(), message: Message::stored(text.into_bytes().into()), except: None, keep }
}

async fn publish(broker: &LocalBroker, number: u64) -> Position {
    let keep = Keep::Record { key: None, durability: None };
    match broker.publish(publication(number, keep)).await {
        Ok(Published::Stored { position, .. }) => position,
        other => panic!("{other:?}"),
    }
}

/// What is announced, in short; empty where nothing waits.
async fn heard(from: &mut Box<dyn Announcements>) -> Vec<String> {
    let mut into = Vec::new();
    tokio::select! {
        biased;
        _ = from.receive(&mut into, 100) => {}
        () = std::future::ready(()) => {}
    }
    let short = |announcement: &Announcement| match announcement {
        Announcement::Batch(batch) => format!("{}-{}", batch.after.0, batch.last().0),
        Announcement::Ephemeral(_) => "ephemeral".to_owned(),
        Announcement::Cancel(_) => "cancel".to_owned(),
        Announcement::Lost => "lost".to_owned(),
    };
    into.iter().map(short).collect()
}

#[tokio::test]
async fn records_carry_the_clocks_time_and_expire_by_it() {
    let (broker, clock) = broker();
    publish(&broker, 1).await;
    clock.fetch_add(10, Ordering::Relaxed);
    publish(&broker, 2).await;
    let page = broker.read(room(), ReadFrom::After(Offset::START), ALL).await.unwrap();
    let times: Vec<u64> = page.records.iter().map(|record| record.timestamp.0).collect();
    assert_eq!(times, [1_000, 1_010]);
    clock.fetch_add(HOUR_MS - 10, Ordering::Relaxed);
    broker.expire();
    assert_eq!(broker.stats().records, 1);
    clock.fetch_add(10, Ordering::Relaxed);
    broker.expire();
    assert_eq!(broker.stats(), LogStats::default());
}

#[tokio::test]
async fn a_subscribed_room_keeps_its_head_until_the_last_one_leaves() {
    let (broker, clock) = broker();
    for _ in 0..2 {
        broker.subscribe(room()).await.unwrap();
    }
    let head = publish(&broker, 1).await;
    clock.fetch_add(HOUR_MS, Ordering::Relaxed);
    for subscribers in [2, 1] {
        broker.expire();
        let page = broker.read(room(), ReadFrom::After(Offset::START), ALL).await.unwrap();
        assert_eq!((page.state.position(), page.records.len()), (head, 0), "{subscribers} subscribers");
        broker.unsubscribe(room());
    }
    assert_eq!(broker.stats(), LogStats::default());
}

#[tokio::test]
async fn who_listened_from_the_beginning_lost_nothing() {
    let (broker, _) = broker();
    let mut from = broker.announcements();
    assert_eq!(heard(&mut from).await, [""; 0]);
    publish(&broker, 1).await;
    assert_eq!(heard(&mut from).await, ["0-1"]);
}

#[tokio::test]
async fn nothing_is_queued_while_nobody_listens_and_who_comes_then_is_told() {
    let (broker, _) = broker();
    publish(&broker, 1).await;
    let mut from = broker.announcements();
    publish(&broker, 2).await;
    assert_eq!(heard(&mut from).await, ["lost", "1-2"]);
    publish(&broker, 3).await;
    drop(from);
    publish(&broker, 4).await;
    assert_eq!(broker.publish(publication(5, Keep::Ephemeral)).await, Ok(Published::Ephemeral));
    let mut from = broker.announcements();
    assert_eq!(heard(&mut from).await, ["lost"]);
    publish(&broker, 6).await;
    assert_eq!(heard(&mut from).await, ["4-5"]);
}

#[tokio::test]
async fn a_receiver_that_was_replaced_does_not_silence_the_new_one_when_it_is_dropped() {
    let (broker, _) = broker();
    let former = broker.announcements();
    let mut from = broker.announcements();
    drop(former);
    publish(&broker, 1).await;
    assert_eq!(heard(&mut from).await, ["lost", "0-1"]);
}

#[tokio::test]
async fn what_waits_for_a_node_that_does_not_listen_is_bounded() {
    let (broker, _) = broker();
    let mut from = broker.announcements();
    for number in 0..70_000 {
        publish(&broker, number).await;
    }
    let mut batches = Vec::new();
    while let [first, ..] = &heard(&mut from).await[..] {
        batches.push(first.clone());
    }
    assert_eq!(batches[0], "lost", "65,536 may wait");
    assert!(batches.len() < 2 + 70_000 / 256 / 100);
}

#[tokio::test]
async fn a_panic_under_the_lock_harms_nobody_else() {
    let log = MemoryLog::new(Epoch(7), RetentionRules::default());
    let calls = AtomicU64::new(0);
    let clock = move || {
        assert_ne!(calls.fetch_add(1, Ordering::Relaxed), 1, "the clock panics once");
        Now::at(Timestamp(1))
    };
    let broker = Arc::new(LocalBroker::new(log, clock, Durability::Memory));
    publish(&broker, 1).await;
    let other = Arc::clone(&broker);
    let panicking = thread::spawn(move || drop(other.publish(publication(2, Keep::Ephemeral))));
    assert!(panicking.join().is_err());
    assert_eq!(publish(&broker, 3).await.offset, Offset(2));
}
