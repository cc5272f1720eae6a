//! Making room: chunks without what is no longer kept.
//!
//! The log cuts records without a word here. When the chunks have grown well beyond what the log keeps, the oldest ones are read again, and
//! what is left of them is written in their place, in the same order, together with the heads of the rooms that lost entries.

use std::collections::{BTreeSet, HashMap};

use moorline_broker::{Log as _, MemoryLog, StreamId};
use moorline_proto::id::{NameError, RoomName, StreamName};
use moorline_proto::position::Offset;
use redb::{ReadableDatabase as _, ReadableTable as _, WriteTransaction};

use super::Journal;
use crate::entry::{self, ChunkError, Entry};
use crate::error::WriteError;
use crate::layout::{CHUNKS, ROOMS, RoomRow, space_bytes};
use crate::log::{self, Memory};
use crate::pending::CHUNK_BYTES;
use crate::stream_row::StreamRow;

/// What a record costs in memory and not in a chunk, in bytes.
const IN_MEMORY_ALONE: usize = 64;

/// The longest text of a stream in one entry after cleaning: half a chunk.
const TEXT_BYTES: usize = CHUNK_BYTES / 2;

/// Where cleaning goes on.
#[derive(Debug, Default)]
pub(super) struct Progress {
    next: u64,
    /// After a pass over everything: nothing is to be had before the chunks have grown beyond this.
    rest_until_bytes: u64,
    /// Whether a chunk could not be read: trying again with every commit would cost as much and find the same.
    stopped: bool,
}

impl Progress {
    pub(super) fn done(&mut self, cleaning: &Cleaning, chunk_bytes: u64) {
        match cleaning.next {
            Some(next) => self.next = next,
            None => *self = Self { rest_until_bytes: chunk_bytes + chunk_bytes / 4, ..Self::default() },
        }
    }
}

/// One step of it, to be written with the next commit.
pub(crate) struct Cleaning {
    /// Chunks that were read.
    read: Vec<u64>,
    read_bytes: u64,
    /// What takes their place.
    written: Vec<(u64, Vec<u8>)>,
    /// Of rooms that lost entries.
    rows: Vec<(RoomName, RoomRow)>,
    /// Where the next step goes on; none at the end.
    next: Option<u64>,
    /// Rows of forgotten rooms that say nothing any more.
    obsolete: Vec<RoomName>,
    tombstones: usize,
}

impl Cleaning {
    pub(super) fn freed_bytes(&self) -> u64 {
        let written: u64 = self.written.iter().map(|(_, chunk)| space_bytes(chunk)).sum();
        self.read_bytes.saturating_sub(written)
    }

    pub(super) const fn tombstones(&self) -> usize {
        self.tombstones
    }

    pub(super) fn write(&self, transaction: &WriteTransaction) -> Result<(), WriteError> {
        let mut chunks = transaction.open_table(CHUNKS)?;
        for key in &self.read {
            chunks.remove(key)?;
        }
        for (key, chunk) in &self.written {
            chunks.insert(key, chunk.as_slice())?;
        }
        let mut rooms = transaction.open_table(ROOMS)?;
        for room in &self.obsolete {
            rooms.remove(room.as_str())?;
        }
        for (room, row) in &self.rows {
            rooms.insert(room.as_str(), super::encode(row)?.as_slice())?;
        }
        Ok(())
    }
}

/// Entries of one epoch behind each other.
#[derive(Default)]
struct Packing {
    keys: std::vec::IntoIter<u64>,
    written: Vec<(u64, Vec<u8>)>,
    epoch: u64,
}

impl Packing {
    /// There are never more chunks than were read: a new one is begun where one read begins, or where one is full.
    fn put(&mut self, epoch: u64, entry: &Entry<'_>) {
        let is_open =
            self.written.last().is_some_and(|(_, chunk)| self.epoch == epoch && chunk.len() < CHUNK_BYTES);
        if !is_open && let Some(key) = self.keys.next() {
            self.written.push((key, entry::new_chunk(epoch)));
            self.epoch = epoch;
        }
        self.written.last_mut().into_iter().for_each(|(_, chunk)| entry.put(chunk));
    }
}

/// The oldest chunks, read to be cleaned.
pub(crate) struct Soiled {
    chunks: Vec<(u64, Vec<u8>)>,
    next: Option<u64>,
    /// The oldest chunk there is.
    oldest: u64,
}

impl Journal {
    /// Reads what is to be cleaned next, where there is enough to be had.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn read_oldest(&self, memory: &Memory) -> Result<Option<Soiled>, WriteError> {
        let stats = log::lock(memory).stats();
        let kept = stats.bytes.saturating_sub(stats.records * IN_MEMORY_ALONE) as u64;
        let is_due = self.chunk_bytes > kept + kept / 4 + self.slack_bytes
            && self.chunk_bytes > self.cleaning.rest_until_bytes;
        let is_due = is_due && !self.cleaning.stopped;
        let Some(database) = self.database.as_ref().filter(|_| is_due) else { return Ok(None) };
        let transaction = database.begin_read()?;
        let table = transaction.open_table(CHUNKS)?;
        let mut chunks = Vec::new();
        let (mut bytes, mut next) = (0, None);
        for chunk in table.range(self.cleaning.next..)? {
            let (key, value) = chunk?;
            if bytes >= self.slack_bytes {
                next = Some(key.value());
                break;
            }
            bytes += value.value().len() as u64;
            chunks.push((key.value(), value.value().to_vec()));
        }
        let oldest = table.first()?.map_or(self.next_chunk, |(key, _)| key.value());
        Ok(Some(Soiled { chunks, next, oldest }))
    }

    /// From now on nothing is cleaned.
    pub(crate) fn stop_cleaning(&mut self) {
        self.cleaning.stopped = true;
    }

    /// Leaves out what the log no longer keeps. To be called at one moment with taking the batch that it is written with: the heads
    /// and cuts of rooms must be neither older nor newer than that.
    ///
    /// # Errors
    /// A chunk cannot be read.
    pub(crate) fn clean(&self, soiled: &Soiled, memory: &MemoryLog) -> Result<Cleaning, WriteError> {
        let Soiled { chunks, next, oldest } = soiled;
        let (written, rows) =
            repack(chunks, memory).map_err(|error| WriteError::Io(std::io::Error::other(error)))?;
        let past: Vec<_> = self.tombstones.iter().take_while(|(before, _)| before <= oldest).collect();
        let is_last = |(before, room): &&&(u64, RoomName)| self.last_tombstones.get(room) == Some(before);
        let dead = past.iter().filter(is_last).map(|(_, room)| room.clone());
        Ok(Cleaning {
            read: chunks.iter().map(|(key, _)| *key).collect(),
            read_bytes: chunks.iter().map(|(_, chunk)| space_bytes(chunk)).sum(),
            written,
            rows,
            next: *next,
            obsolete: dead.filter(|room| memory.room_head(room).is_none()).collect(),
            tombstones: past.len(),
        })
    }
}

/// All the text that each stream got in these chunks. It may stand where the first of it stood: what was shown of it, and at which offset, is
/// told by how much it is.
fn texts<'a>(chunks: &[(u64, Vec<Entry<'a>>)]) -> HashMap<(&'a str, &'a str, u64), String> {
    let mut texts: HashMap<_, String> = HashMap::new();
    for entry in chunks.iter().flat_map(|(_, entries)| entries) {
        if let Entry::Stream { room, stream, first, change: StreamRow::Text(text) } = entry {
            texts.entry((*room, *stream, *first)).or_default().push_str(text);
        }
    }
    texts
}

/// A text in pieces that fit into chunks.
fn pieces(mut text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    while !text.is_empty() {
        let end = (0..=text.len().min(TEXT_BYTES)).rev().find(|&end| text.is_char_boundary(end));
        let (piece, rest) = text.split_at(end.unwrap_or(text.len()));
        pieces.push(piece);
        text = rest;
    }
    pieces
}

type Repacked = (Vec<(u64, Vec<u8>)>, Vec<(RoomName, RoomRow)>);

/// What is left of chunks, and the heads of rooms that lost entries.
fn repack(chunks: &[(u64, Vec<u8>)], memory: &MemoryLog) -> Result<Repacked, ChunkError> {
    let keys: Vec<u64> = chunks.iter().map(|(key, _)| *key).collect();
    let mut packing = Packing { keys: keys.into_iter(), ..Packing::default() };
    let mut losers = BTreeSet::new();
    let chunks = chunks.iter().map(|(_, chunk)| entry::read_chunk(chunk)).collect::<Result<Vec<_>, _>>()?;
    let mut texts = texts(&chunks);
    for (epoch, entries) in chunks {
        for entry in entries {
            let Some(rest) = rest_of(entry, memory, &mut losers)? else { continue };
            let Entry::Stream { room, stream, first, change: StreamRow::Text(_) } = rest else {
                packing.put(epoch, &rest);
                continue;
            };
            for text in pieces(&texts.remove(&(room, stream, first)).unwrap_or_default()) {
                let change = StreamRow::Text(text);
                packing.put(epoch, &Entry::Stream { room, stream, first, change });
            }
        }
    }
    let rows = losers.into_iter().filter_map(|room| RoomRow::needed(memory, &room).map(|row| (room, row)));
    Ok((packing.written, rows.collect()))
}

/// What is left of an entry.
fn rest_of<'a>(
    entry: Entry<'a>,
    memory: &MemoryLog,
    losers: &mut BTreeSet<RoomName>,
) -> Result<Option<Entry<'a>>, ChunkError> {
    Ok(match entry {
        Entry::Record { room, offset, timestamp, except, message, id } => {
            let name = RoomName::stored(room).map_err(|error| ChunkError::Name(error.to_string()))?;
            let id = id.filter(|id| memory.knows_id(&id.claim().key));
            if memory.keeps(&name, Offset(offset)) {
                return Ok(Some(Entry::Record { room, offset, timestamp, except, message, id }));
            }
            losers.insert(name);
            id.map(|id| Entry::Id { offset, timestamp, id })
        }
        Entry::Stream { room, stream, first, change } => {
            let wrong = |error: NameError| ChunkError::Name(error.to_string());
            let name = RoomName::stored(room).map_err(wrong)?;
            let stream_name = StreamName::new(stream).map_err(wrong)?;
            let id = StreamId { room: &name, stream: &stream_name, first: entry::offset(first)? };
            let is_replaced =
                matches!(change, StreamRow::Reopened { fence, .. } if memory.fence(id) != Some(fence));
            if is_replaced && memory.keeps_stream(id) {
                return Ok(None);
            }
            if memory.keeps_stream(id) {
                return Ok(Some(Entry::Stream { room, stream, first, change }));
            }
            let ended = matches!(change, StreamRow::Ended { .. });
            losers.insert(name);
            ended.then_some(Entry::Stream { room, stream, first, change: StreamRow::Gone })
        }
        Entry::Id { id, .. } if !memory.knows_id(&id.claim().key) => None,
        id @ Entry::Id { .. } => Some(id),
    })
}
