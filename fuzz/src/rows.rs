//! The rows of a store's file: what becomes of them where no checksum tells that they are not ours.
//!
//! Input: rows behind each other, each a byte for its table, its length in two bytes and then
//! - 0: a room: the length of its name in a byte, the name and its row;
//! - 1: a chunk of the journal: records, publish ids, streams;
//! - 2: a session: the length of its id in a byte, the id and its row;
//! - 3: which history the log is in; the first row alone may be one.
//!
//! What was restored is then used: nothing in it may make the server fail.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use moorline_broker::{
    Broker as _, Durability, Keep, LocalBroker, Log as _, MemoryLog, Publication, ReadLimit,
};
use moorline_disk::testing::Rows;
use moorline_proto::batch::ReadFrom;
use moorline_proto::id::{RoomName, StreamName};
use moorline_proto::message::Message;
use moorline_proto::position::Offset;
use moorline_proto::stream::{Command, Expected, Lease, Open};
use moorline_proto::time::{Now, Timestamp};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
/// Epoch 7, nothing before it.
const STATE: &[u8] = &[7, 0, 0, 0];

pub(crate) fn run(input: &[u8]) {
    if let Some(log) = restored(input) {
        make_use(log);
    }
}

/// The log of a file with these rows; none where one of them cannot be believed.
fn restored(input: &[u8]) -> Option<MemoryLog> {
    let mut rest = input;
    let state = match take(&mut rest) {
        Some((3, state)) => state,
        _ => {
            rest = input;
            STATE
        }
    };
    let mut rows = Rows::begin(state, Now::at(NOW)).ok()?;
    while let Some((table, row)) = take(&mut rest) {
        let read = match table % 3 {
            0 => named(row).map(|(name, row)| rows.room(name, row)),
            1 => Some(rows.chunk(row)),
            _ => named(row).map(|(id, row)| rows.session(id, row)),
        };
        read?.ok()?;
    }
    Some(rows.end().0)
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&[table, low, high], behind) = rest.split_first_chunk()?;
    let (row, behind) = behind.split_at_checked(usize::from(u16::from_le_bytes([low, high])))?;
    *rest = behind;
    Some((table, row))
}

fn named(row: &[u8]) -> Option<(&str, &[u8])> {
    let (&length, rest) = row.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(length))?;
    Some((std::str::from_utf8(name).ok()?, rest))
}

fn make_use(mut log: MemoryLog) {
    let rooms = log.room_names();
    for room in &rooms {
        let state = log.state(room);
        log.visit(room, ReadFrom::After(Offset::START), &mut |entry| {
            assert!(
                entry.offset() <= state.head,
                "{room:?} has {:?} beyond {:?}",
                entry.offset(),
                state.head
            );
            ControlFlow::Continue(())
        });
    }
    log.lapse(Now::at(NOW));
    let broker = LocalBroker::new(log, || Now::at(NOW), Durability::Memory);
    for room in rooms {
        // Each may be refused, by a room that is at its end.
        drop(publish(&broker, &room));
        drop(open(&broker, &room));
        let limit = ReadLimit { records: 100, bytes: 100_000 };
        let page = broker.read(room, ReadFrom::After(Offset::START), limit).now_or_never();
        assert!(page.is_some_and(|page| page.is_ok()));
    }
    broker.expire();
}

fn publish(broker: &LocalBroker, room: &RoomName) -> impl Sized + use<> {
    let message = Message::stored(br#"{"type":"m"}"#.to_vec().into());
    let keep = Keep::Record { key: None, durability: None };
    broker.publish(Publication { room: room.clone(), message, except: None, keep }).now_or_never()
}

fn open(broker: &LocalBroker, room: &RoomName) -> impl Sized + use<> {
    let open = Open {
        principal: Arc::from("p"),
        session: None,
        data: None,
        except: None,
        lease: Lease::new(Duration::from_secs(30)).expect("a lease"),
        expected: Expected::Any,
    };
    let stream = StreamName::new("s").expect("a name");
    broker.stream(room.clone(), stream, Command::Open(Box::new(open))).now_or_never()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_holds_rows_that_are_believed() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/rows");
        let inputs = std::fs::read_dir(folder).expect("a corpus");
        let inputs = inputs.map(|entry| std::fs::read(entry.expect("an entry").path()).expect("an input"));
        let records = |input: Vec<u8>| restored(&input).map_or(0, |log| log.stats().records);
        assert!(inputs.map(records).max() >= Some(3));
    }
}
