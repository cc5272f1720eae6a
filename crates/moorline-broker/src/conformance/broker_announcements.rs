//! The contract of [`Broker`]: what it announces.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use moorline_proto::batch::{Batch, ReadFrom};
use moorline_proto::id::RoomName;
use moorline_proto::position::Offset;
use moorline_proto::record::Record;

use super::broker::{page, publication, publish, stored};
use super::{ALL, key, message, room};
use crate::broker::{Announcement, Announcements, Broker, Keep, Publication, Published};

/// A broker that announces nothing for this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// More publications than any node has use for when it comes back to listening.
const FLOOD: u64 = 70_000;

/// Runs all clauses about announcements.
pub async fn all<B: Broker>(make: &impl Fn() -> B) {
    every_append_after_subscribing_is_announced(make()).await;
    announcements_of_a_room_are_its_log_in_order(make()).await;
    no_record_is_announced_before_it_can_be_read(make()).await;
    what_stores_nothing_announces_no_record(make()).await;
    what_is_not_stored_is_announced_all_the_same(make()).await;
    no_more_is_received_than_asked_for(make()).await;
    cancelling_a_receive_loses_nothing(make()).await;
    who_does_not_listen_is_told_what_it_lost(make()).await;
    a_new_receiver_ends_the_one_before(make()).await;
    a_receiver_ends_with_its_broker(make()).await;
}

async fn receive(from: &mut Box<dyn Announcements>, max: usize) -> Vec<Announcement> {
    let mut into = Vec::new();
    let received = tokio::time::timeout(PATIENCE, from.receive(&mut into, max)).await;
    assert!(received.expect("nothing was announced"), "the broker is gone");
    assert!(!into.is_empty(), "woken for nothing");
    into
}

async fn receive_batch(from: &mut Box<dyn Announcements>) -> Batch {
    match receive(from, 1).await.pop() {
        Some(Announcement::Batch(batch)) => batch,
        other => panic!("expected a batch, got {other:?}"),
    }
}

/// What a reader of the announcements alone knows of rooms: each up to where its batches followed each other.
#[derive(Default)]
struct Heard {
    rooms: HashMap<RoomName, (Offset, Vec<Record>)>,
    records: usize,
}

impl Heard {
    /// Takes a batch, which must begin where the last one of its room ended.
    fn hear(&mut self, batch: Batch) {
        let (head, records) = self.rooms.entry(batch.room.clone()).or_default();
        assert_eq!(batch.after, *head, "a hole or a repetition in {}", batch.room);
        assert!(!batch.records.is_empty(), "an empty batch");
        assert!(batch.records.is_sorted_by(|a, b| a.offset < b.offset), "a batch out of order");
        *head = batch.last();
        self.records += batch.records.len();
        records.extend(batch.records);
    }
}

/// After subscribing answers a state, each append to the room is announced, beginning right after that state.
pub async fn every_append_after_subscribing_is_announced(broker: impl Broker) {
    let mut from = broker.announcements();
    publish(&broker, &room("a"), 1).await;
    let state = broker.subscribe(room("a")).await.expect("a state");
    let position = publish(&broker, &room("a"), 2).await;
    let batch = loop {
        let batch = receive_batch(&mut from).await;
        if batch.last() > state.head {
            break batch;
        }
    };
    assert!(batch.after <= state.head, "nothing lies between the state and the batch");
    assert_eq!((batch.last(), batch.epoch), (position.offset, position.epoch));
    assert_eq!(batch.records.last().map(|record| record.message.clone()), Some(message(2)));
}

/// However many publish at once: per room, the announced batches follow each other without a hole, and are the log.
pub async fn announcements_of_a_room_are_its_log_in_order(broker: impl Broker) {
    let broker = Arc::new(broker);
    let mut from = broker.announcements();
    let names = ["a", "b", "@all"].map(room);
    for name in &names {
        broker.subscribe(name.clone()).await.expect("a state");
    }
    let tasks: Vec<_> = (0..6)
        .map(|publisher| {
            let (broker, names) = (Arc::clone(&broker), names.clone());
            tokio::spawn(async move {
                for (number, name) in (0..45).zip(names.iter().cycle()) {
                    publish(&*broker, name, publisher * 1_000 + number).await;
                }
            })
        })
        .collect();
    let mut heard = Heard::default();
    while heard.records < 6 * 45 {
        for announcement in receive(&mut from, 7).await {
            let Announcement::Batch(batch) = announcement else { panic!("not a batch") };
            heard.hear(batch);
        }
    }
    for task in tasks {
        task.await.expect("a publisher");
    }
    for name in &names {
        let log = page(&*broker, name).await.records;
        assert_eq!(log.len(), 90);
        assert_eq!(heard.rooms[name].1, log, "{name}");
    }
}

/// Whoever hears of a record finds it in the log, at once.
pub async fn no_record_is_announced_before_it_can_be_read(broker: impl Broker) {
    let broker = Arc::new(broker);
    let mut from = broker.announcements();
    broker.subscribe(room("a")).await.expect("a state");
    let publisher = Arc::clone(&broker);
    let task = tokio::spawn(async move {
        for number in 0..80 {
            publish(&*publisher, &room("a"), number).await;
        }
    });
    let mut heard = 0;
    while heard < 80 {
        let batch = receive_batch(&mut from).await;
        let page = broker.read(batch.room.clone(), ReadFrom::After(batch.after), ALL).await.expect("a page");
        assert_eq!(page.records.get(..batch.records.len()), Some(&batch.records[..]));
        assert!(page.state.head >= batch.last());
        heard += batch.records.len();
    }
    task.await.expect("the publisher");
}

/// A duplicate and a refused publish announce nothing: the next batch follows the first record.
pub async fn what_stores_nothing_announces_no_record(broker: impl Broker) {
    let mut from = broker.announcements();
    let name = room("a");
    broker.subscribe(name.clone()).await.expect("a state");
    let keep = Keep::Record { key: Some(key("s", "1")), durability: None };
    let keyed = Publication { keep, ..publication(&name, message(1)) };
    let first = stored(&broker, keyed.clone()).await;
    assert_eq!(receive_batch(&mut from).await.last(), first.offset);
    assert!(broker.publish(keyed.clone()).await.is_ok());
    assert!(broker.publish(Publication { message: message(2), ..keyed }).await.is_err());
    let third = publish(&broker, &name, 3).await;
    let batch = receive_batch(&mut from).await;
    assert_eq!((batch.after, batch.last()), (first.offset, third.offset));
    assert_eq!(batch.records.len(), 1);
}

/// An ephemeral publication is announced with all it has, between the records that it was published between, and leaves no
/// trace in the log.
pub async fn what_is_not_stored_is_announced_all_the_same(broker: impl Broker) {
    let mut from = broker.announcements();
    let name = room("a");
    broker.subscribe(name.clone()).await.expect("a state");
    publish(&broker, &name, 1).await;
    let except =
        Some(Arc::new(moorline_proto::record::Except { users: vec![super::user("u")], sessions: vec![] }));
    let keep = Keep::Ephemeral;
    let ephemeral = Publication { keep, except: except.clone(), ..publication(&name, message(2)) };
    assert_eq!(broker.publish(ephemeral).await, Ok(Published::Ephemeral));
    publish(&broker, &name, 3).await;
    assert_eq!(receive_batch(&mut from).await.records.len(), 1);
    let Some(Announcement::Ephemeral(heard)) = receive(&mut from, 1).await.pop() else { panic!("not heard") };
    assert_eq!((heard.room, heard.message, heard.except), (name.clone(), message(2), except));
    assert_eq!(receive_batch(&mut from).await.records.len(), 1);
    assert_eq!(page(&broker, &name).await.records.len(), 2);
}

/// `receive` takes up to `max` and leaves the rest for the next one.
pub async fn no_more_is_received_than_asked_for(broker: impl Broker) {
    let mut from = broker.announcements();
    for (number, name) in (0..20).zip(["a", "b"].map(room).iter().cycle()) {
        broker.subscribe(name.clone()).await.expect("a state");
        publish(&broker, name, number).await;
    }
    let mut heard = Heard::default();
    while heard.records < 20 {
        let announcements = receive(&mut from, 3).await;
        assert!(announcements.len() <= 3);
        for announcement in announcements {
            let Announcement::Batch(batch) = announcement else { panic!("not a batch") };
            heard.hear(batch);
        }
    }
}

/// A future that was polled and dropped took nothing with it, and does not keep the next one from waking.
pub async fn cancelling_a_receive_loses_nothing(broker: impl Broker) {
    let mut from = broker.announcements();
    broker.subscribe(room("a")).await.expect("a state");
    for number in 0..10 {
        let mut into = Vec::new();
        let mut waiting = from.receive(&mut into, 1);
        let polled = std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx))).await;
        assert!(polled.is_pending(), "nothing was published");
        if number % 2 == 0 {
            drop(waiting);
            publish(&broker, &room("a"), number).await;
            assert_eq!(receive_batch(&mut from).await.records[0].message, message(number));
        } else {
            let position = publish(&broker, &room("a"), number).await;
            drop(waiting);
            assert!(into.is_empty(), "a future took something without being polled");
            let batch = receive_batch(&mut from).await;
            assert_eq!(batch.last(), position.offset);
        }
    }
}

/// Up to the first `Lost` no announcement is missing, and none after it that is not told by `after`. What can be heard at
/// once is bounded.
pub async fn who_does_not_listen_is_told_what_it_lost(broker: impl Broker) {
    let mut from = broker.announcements();
    let name = room("a");
    broker.subscribe(name.clone()).await.expect("a state");
    let mut last = Offset::START;
    for number in 0..FLOOD {
        last = publish(&broker, &name, number).await.offset;
    }
    let mut heard = Heard::default();
    let mut is_lost = false;
    loop {
        for announcement in receive(&mut from, 64).await {
            match announcement {
                Announcement::Lost => {
                    is_lost = true;
                    // Whoever is told reads the log, and goes on from its head.
                    heard.rooms.insert(name.clone(), (page(&broker, &name).await.state.head, vec![]));
                }
                Announcement::Batch(batch) if batch.last() <= heard_up_to(&heard, &name) => {}
                Announcement::Batch(batch) => heard.hear(batch),
                Announcement::Ephemeral(_) | Announcement::Cancel(_) => panic!("not published"),
            }
        }
        if heard_up_to(&heard, &name) == last {
            break;
        }
    }
    assert!(is_lost || heard.records as u64 == FLOOD);
    let next = publish(&broker, &name, FLOOD).await.offset;
    while heard_up_to(&heard, &name) < next {
        let batch = receive_batch(&mut from).await;
        if batch.last() > heard_up_to(&heard, &name) {
            heard.hear(batch);
        }
    }
}

fn heard_up_to(heard: &Heard, room: &RoomName) -> Offset {
    heard.rooms.get(room).map_or(Offset::START, |(head, _)| *head)
}

/// A second call of [`Broker::announcements`] ends the first one's receiver, also one that waits; the new one hears what is
/// published from then on.
pub async fn a_new_receiver_ends_the_one_before(broker: impl Broker) {
    let mut former = broker.announcements();
    broker.subscribe(room("a")).await.expect("a state");
    let waiting = tokio::spawn(async move {
        let mut into = Vec::new();
        (former.receive(&mut into, 9).await, into.len())
    });
    tokio::task::yield_now().await;
    let mut from = broker.announcements();
    let ended = tokio::time::timeout(PATIENCE, waiting).await.expect("the former one still waits");
    assert_eq!(ended.expect("a receiver"), (false, 0));
    let position = publish(&broker, &room("a"), 1).await;
    loop {
        let last = receive(&mut from, 9).await.pop();
        if let Some(Announcement::Batch(batch)) = last {
            assert_eq!(batch.last(), position.offset);
            break;
        }
    }
}

/// When the broker is gone its receiver is told, at once where it waits, and after what was announced.
pub async fn a_receiver_ends_with_its_broker(broker: impl Broker) {
    let mut from = broker.announcements();
    broker.subscribe(room("a")).await.expect("a state");
    publish(&broker, &room("a"), 1).await;
    assert_eq!(receive_batch(&mut from).await.records.len(), 1);
    let waiting = tokio::spawn(async move {
        let mut into = Vec::new();
        from.receive(&mut into, 9).await
    });
    tokio::task::yield_now().await;
    drop(broker);
    let ended = tokio::time::timeout(PATIENCE, waiting).await.expect("it waits for a broker that is gone");
    assert!(!ended.expect("a receiver"));
}
