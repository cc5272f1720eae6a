//! Chunks read back: two threads read and decode, and whoever restores gets them in their order.

use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex};

use moorline_broker::Claim;
use moorline_proto::id::RoomName;
use moorline_proto::position::{Epoch, Offset};
use moorline_proto::record::Record;
use moorline_proto::time::Timestamp;
use redb::{AccessGuard, ReadOnlyTable, ReadTransaction, StorageError, TableError};

use crate::entry::{self, ChunkError, IdRow};
use crate::error::OpenError;
use crate::layout::{CHUNKS, space_bytes};
use crate::stream_row::Change;

/// Threads that decode; with more, all wait for the one who restores.
const THREADS: usize = 2;
/// How many chunks a thread takes at a time.
const TURN: usize = 8;
/// How many turns may wait, decoded or not, to be restored. With those at which the threads are that is 32 chunks: two megabytes of small messages,
/// and a chunk is never longer than its bound and one message.
const TURNS_AHEAD: usize = 2;

/// A chunk as the log takes it.
pub(super) struct Chunk {
    /// The number after its own.
    pub(super) next: u64,
    /// What it takes of the file.
    pub(super) bytes: u64,
    pub(super) entries: Vec<Entry>,
}

/// An entry, in memory of its own.
pub(crate) enum Entry {
    Record {
        offset: Offset,
        timestamp: Timestamp,
        claim: Option<Claim>,
        /// With its room and its history; none where only the publish id is left.
        record: Option<(RoomName, Epoch, Record)>,
    },
    Stream(Epoch, Box<Change>),
}

/// The entries of a chunk. Rooms that were met before are in `names`.
pub(crate) fn decode(chunk: &[u8], names: &mut HashMap<String, RoomName>) -> Result<Vec<Entry>, ChunkError> {
    let (epoch, entries) = entry::read_chunk(chunk)?;
    let mut name = |room: &str| match names.get(room) {
        Some(name) => Ok::<_, ChunkError>(name.clone()),
        None => {
            let name = RoomName::stored(room).map_err(|error| ChunkError::Name(error.to_string()))?;
            Ok(names.entry(room.to_owned()).or_insert(name).clone())
        }
    };
    let decoded = entries.into_iter().map(|entry| match entry {
        entry::Entry::Record { room, offset, timestamp, except, message, id } => {
            let record = entry::record(offset, timestamp, except.as_ref(), message)?;
            let name = name(room)?;
            let (offset, timestamp) = (Offset(offset), Timestamp(timestamp));
            let claim = id.map(IdRow::claim);
            Ok(Entry::Record { offset, timestamp, claim, record: Some((name, Epoch(epoch), record)) })
        }
        entry::Entry::Id { offset, timestamp, id } => Ok(Entry::Record {
            offset: Offset(offset),
            timestamp: Timestamp(timestamp),
            claim: Some(id.claim()),
            record: None,
        }),
        entry::Entry::Stream { room, stream, first, change } => {
            let change = Change::read(name(room)?, (stream, first), &change)?;
            Ok(Entry::Stream(Epoch(epoch), Box::new(change)))
        }
    });
    decoded.collect()
}

type Turn = Result<Vec<Chunk>, OpenError>;
type Row = (AccessGuard<'static, u64>, AccessGuard<'static, &'static [u8]>);
type Rows = Result<Vec<Row>, StorageError>;

/// Which chunks come next, and where what becomes of them is handed in: in their order, whoever is done first.
struct Source {
    next: u64,
    turns: SyncSender<Receiver<Turn>>,
}

impl Source {
    /// Chunks that nobody has taken; none after the last, or where nobody restores any more.
    fn take(&mut self, table: &ReadOnlyTable<u64, &'static [u8]>) -> Option<(Rows, SyncSender<Turn>)> {
        let rows = self.rows(table);
        if rows.as_ref().is_ok_and(Vec::is_empty) {
            return None;
        }
        let (sender, receiver) = mpsc::sync_channel(1);
        self.turns.send(receiver).ok()?;
        Some((rows, sender))
    }

    fn rows(&mut self, table: &ReadOnlyTable<u64, &'static [u8]>) -> Rows {
        let rows: Vec<Row> = table.range(self.next..)?.take(TURN).collect::<Result<_, _>>()?;
        if let Some((key, _)) = rows.last() {
            self.next = key.value().saturating_add(1);
        }
        Ok(rows)
    }
}

/// Shows all chunks of a file, in order.
///
/// # Errors
/// One cannot be read.
pub(super) fn each(
    transaction: &ReadTransaction,
    path: &Path,
    mut act: impl FnMut(Chunk),
) -> Result<(), OpenError> {
    let open = || transaction.open_table(CHUNKS);
    let tables: Vec<_> = match (0..THREADS).map(|_| open()).collect::<Result<_, _>>() {
        Ok(tables) => tables,
        Err(TableError::TableDoesNotExist(_)) => return Ok(()),
        Err(error) => return Err(OpenError::damaged(path, error.to_string())),
    };
    let (sender, turns) = mpsc::sync_channel(TURNS_AHEAD);
    std::thread::scope(|scope| {
        let source = Arc::new(Mutex::new(Source { next: 0, turns: sender }));
        let spawn = |table| {
            let (source, thread) = (Arc::clone(&source), std::thread::Builder::new());
            thread.spawn_scoped(scope, move || decode_turns(&source, &table, path))
        };
        let threads: Result<Vec<_>, _> = tables.into_iter().map(spawn).collect();
        // The threads alone have it now: once they are gone, no turn comes any more.
        drop(source);
        let threads = threads.map_err(|error| OpenError::io(path, error))?;
        let gave_up = || OpenError::damaged(path, "the engine gave up on it");
        for turn in turns {
            turn.recv().unwrap_or_else(|_| Err(gave_up()))?.into_iter().for_each(&mut act);
        }
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| gave_up()))
    })
}

fn decode_turns(source: &Mutex<Source>, table: &ReadOnlyTable<u64, &'static [u8]>, path: &Path) {
    let mut names = HashMap::new();
    // After a panic of the other thread there is nothing to be had.
    while let Some((rows, done)) = source.lock().ok().and_then(|mut source| source.take(table)) {
        let damaged = |error: &dyn std::fmt::Display| OpenError::damaged(path, error.to_string());
        let turn = rows.map_err(|error| damaged(&error)).and_then(|rows| {
            let chunks = rows.iter().map(|(key, chunk)| {
                let next = key.value().checked_add(1);
                let next = next.ok_or_else(|| damaged(&"its chunks have used up their numbers"))?;
                let entries = decode(chunk.value(), &mut names).map_err(|error| damaged(&error))?;
                Ok(Chunk { next, bytes: space_bytes(chunk.value()), entries })
            });
            chunks.collect()
        });
        let is_over = turn.is_err();
        if done.send(turn).is_err() || is_over {
            return;
        }
    }
}
