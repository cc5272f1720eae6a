//! A copy of a store's file that is put back: what became of it since is another history.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;

use moorline_broker::{Broker as _, Keep, Publication, Published, ReadLimit};
use moorline_disk::{FILE, Options, Store, begin_new_epoch};
use moorline_proto::batch::ReadFrom;
use moorline_proto::id::RoomName;
use moorline_proto::message::Message;
use moorline_proto::position::{Offset, Position};
use moorline_proto::resume::{ResetReason, Resume, RoomState, resume};

fn room() -> RoomName {
    RoomName::new("a").unwrap()
}

fn open(directory: &Path) -> Store {
    Store::open(directory, &Options::default()).unwrap()
}

async fn publish(store: &Store) -> Position {
    let message = Message::stored(br#"{"type":"m"}"#.to_vec().into());
    let keep = Keep::Record { key: None, durability: None };
    match store.broker().publish(Publication { room: room(), message, except: None, keep }).await.unwrap() {
        Published::Stored { position, .. } => position,
        Published::Ephemeral => unreachable!("it is stored"),
    }
}

async fn state(store: &Store) -> RoomState {
    let limit = ReadLimit { records: 1, bytes: 1 };
    store.broker().read(room(), ReadFrom::After(Offset::START), limit).await.unwrap().state
}

/// Makes a copy behind the first of two messages, and puts it back. Returns where both were.
async fn put_a_copy_back(directory: &Path) -> (Position, Position) {
    let (file, copy) = (directory.join(FILE), directory.join("copy"));
    let store = open(directory);
    let first = publish(&store).await;
    store.close().unwrap();
    std::fs::copy(&file, &copy).unwrap();
    let store = open(directory);
    let second = publish(&store).await;
    store.close().unwrap();
    std::fs::rename(&copy, &file).unwrap();
    (first, second)
}

#[tokio::test]
async fn a_copy_that_is_told_so_begins_a_new_epoch() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = put_a_copy_back(directory.path()).await;
    for _ in 0..2 {
        assert_eq!(begin_new_epoch(directory.path()).unwrap(), first.epoch);
    }
    assert!(!moorline_disk::stats(directory.path()).unwrap().was_clean);
    assert_eq!(moorline_disk::check(directory.path()).unwrap(), Vec::<String>::new());
    let store = open(directory.path());
    let third = publish(&store).await;
    assert!(third.epoch != second.epoch && third.offset == second.offset, "{third:?}");
    let state = state(&store).await;
    assert_eq!(resume(first, &state), Resume::Continue(first.offset), "the copy has it");
    let reset = Resume::Reset { reason: ResetReason::Epoch, from: None, to: Offset::START };
    assert_eq!(resume(second, &state), reset, "the copy never had it");
    store.close().unwrap();
    assert_eq!(publish(&open(directory.path())).await.epoch, third.epoch, "that one goes on");
}

#[tokio::test]
async fn one_that_is_not_told_gives_out_the_same_numbers_again() {
    let directory = tempfile::tempdir().unwrap();
    let (_, second) = put_a_copy_back(directory.path()).await;
    assert_eq!(publish(&open(directory.path())).await, second, "which is what the command is for");
}
