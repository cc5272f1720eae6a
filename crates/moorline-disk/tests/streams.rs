//! Streams in a store with its thread: what waits is shown without anybody asking.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use moorline_broker::{Announcement, Announcements, Broker};
use moorline_disk::{Options, Store};
use moorline_proto::id::{RoomName, StreamName};
use moorline_proto::stream::{Command, Done, Expected, Holder, Lease, Open, StreamState};

/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// The next record that is announced, as text.
async fn heard(from: &mut Box<dyn Announcements>, waiting: &mut Vec<String>) -> String {
    while waiting.is_empty() {
        let mut into = Vec::new();
        assert!(
            tokio::time::timeout(PATIENCE, from.receive(&mut into, 1)).await.expect("nothing was announced")
        );
        let Some(Announcement::Batch(batch)) = into.pop() else { panic!("not a batch") };
        let text = |record: &moorline_proto::record::Record| {
            String::from_utf8(record.message.as_bytes().to_vec()).unwrap()
        };
        waiting.extend(batch.records.iter().map(text));
    }
    waiting.remove(0)
}

#[tokio::test]
async fn r27_streams_a_store_shows_what_waits_and_ends_what_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), &Options::default()).unwrap();
    let broker = store.broker();
    let mut from = broker.announcements();
    let (room, stream) = (RoomName::new("a").unwrap(), StreamName::new("s").unwrap());
    let ask = |command| broker.stream(room.clone(), stream.clone(), command);
    let open = Open {
        principal: "key/k".into(),
        session: None,
        data: None,
        except: None,
        lease: Lease::new(Lease::MIN).unwrap(),
        expected: Expected::Any,
    };
    let Ok(Done::Opened { fence, .. }) = ask(Command::Open(Box::new(open))).await else {
        panic!("not opened")
    };
    let mut at = 0;
    for content in ["one", "two"] {
        let holder = Holder { principal: "key/k".into(), session: None, fence };
        let appended = ask(Command::Append { holder, at, content: content.into() }).await;
        at += 3;
        assert_eq!(appended, Ok(Done::Appended { at, cancel: false }));
    }
    // Nobody asks anything from here on.
    let (mut waiting, mut text) = (Vec::new(), Vec::new());
    while !text.last().is_some_and(|last: &String| last.contains("orphaned")) {
        text.push(heard(&mut from, &mut waiting).await);
    }
    let content: String = text
        .iter()
        .filter_map(|text| text.split_once("\"content\":\""))
        .map(|(_, rest)| rest.trim_end_matches("\"}"))
        .collect();
    assert_eq!(content, "onetwo", "{text:?}");
    let view = broker.view_stream(room.clone(), stream.clone()).await.unwrap().unwrap();
    assert_eq!((view.state, &view.content[..]), (StreamState::Orphaned, "onetwo"));
    drop(broker);
    store.close().unwrap();
}
