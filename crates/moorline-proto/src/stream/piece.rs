//! Pieces of text, merged into the chunks of a page.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::message::chunk;
use super::{CHUNK_MAX_BYTES, Entry};
use crate::id::StreamName;
use crate::message::Message;
use crate::position::Offset;
use crate::record::{Except, Record};
use crate::time::Timestamp;

/// What was shown of a stream's text at one offset.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// Its number in the room.
    pub offset: Offset,
    /// When it was shown.
    pub timestamp: Timestamp,
    /// The stream.
    pub stream: &'a StreamName,
    /// Where it begins, in code points.
    pub at: u64,
    /// The text.
    pub content: &'a str,
    /// The application's object, as JSON text.
    pub data: Option<&'a Bytes>,
    /// Who the stream is not for.
    pub except: Option<&'a Arc<Except>>,
}

impl Piece<'_> {
    /// Alone, as a record. The application's object comes with the empty piece at the beginning, and not again with the first text.
    #[must_use]
    pub fn to_record(&self) -> Record {
        let data = self.data.filter(|_| self.content.is_empty());
        Record {
            offset: self.offset,
            timestamp: self.timestamp,
            except: self.except.cloned(),
            message: chunk(self.stream, self.at, self.content, data),
        }
    }
}

/// A page's records while it is read.
#[derive(Debug, Default)]
pub struct Merging {
    /// Where all of it stands; none for each where it stood.
    stand_at: Option<Offset>,
    records: Vec<Record>,
    /// How far each of them brings a reader.
    reached: Vec<Offset>,
    chunks: Vec<Chunk>,
    /// The chunk of each stream that may grow.
    growing: HashMap<StreamName, usize>,
    end: Offset,
    bytes: usize,
}

/// A chunk that is not written yet.
#[derive(Debug)]
struct Chunk {
    /// Which record it is.
    index: usize,
    stream: StreamName,
    at: u64,
    content: String,
    data: Option<Bytes>,
}

impl Merging {
    /// Nothing so far; with `stand_at` everything will stand there.
    #[must_use]
    pub fn new(stand_at: Option<Offset>) -> Self {
        Self { stand_at, ..Self::default() }
    }

    /// Takes what comes next, by its offset.
    pub fn push(&mut self, entry: Entry<'_>) {
        let before = std::mem::replace(&mut self.end, entry.offset());
        match entry {
            Entry::Record(record) => {
                self.bytes += record.cost_bytes();
                self.begin(before, record.clone());
            }
            Entry::Piece(piece) => {
                self.bytes += piece.content.len();
                if !self.grow(piece) {
                    self.begin_chunk(before, piece);
                }
            }
        }
    }

    fn grow(&mut self, piece: Piece<'_>) -> bool {
        let chunk = self.growing.get(piece.stream).and_then(|&index| self.chunks.get_mut(index));
        match chunk {
            Some(chunk) if chunk.content.len() + piece.content.len() <= CHUNK_MAX_BYTES => {
                chunk.content.push_str(piece.content);
                true
            }
            _ => false,
        }
    }

    fn begin_chunk(&mut self, before: Offset, piece: Piece<'_>) {
        self.growing.insert(piece.stream.clone(), self.chunks.len());
        self.chunks.push(Chunk {
            index: self.records.len(),
            stream: piece.stream.clone(),
            at: piece.at,
            content: piece.content.to_owned(),
            data: piece.data.cloned(),
        });
        self.begin(
            before,
            Record {
                offset: self.stand_at.unwrap_or(piece.offset),
                timestamp: piece.timestamp,
                except: piece.except.cloned(),
                // Written once it is whole.
                message: Message::stored(Bytes::new()),
            },
        );
    }

    /// Who has the records before this one has all that lies before it.
    fn begin(&mut self, before: Offset, record: Record) {
        self.reached.last_mut().into_iter().for_each(|last| *last = before);
        self.reached.push(self.end);
        self.records.push(record);
    }

    /// How many records it will be.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What they cost, about.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The offset of what was taken last.
    #[must_use]
    pub const fn end(&self) -> Offset {
        self.end
    }

    /// The records, and how far each brings a reader; the latter empty where that is its own offset.
    #[must_use]
    pub fn finish(mut self) -> (Vec<Record>, Vec<Offset>) {
        self.reached.last_mut().into_iter().for_each(|last| *last = self.end);
        if self.chunks.is_empty() {
            return (self.records, Vec::new());
        }
        for Chunk { index, stream, at, content, data } in self.chunks {
            self.records[index].message = chunk(&stream, at, &content, data.as_ref());
        }
        (self.records, self.reached)
    }
}
