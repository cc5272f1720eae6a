//! What chunks are made of.

use std::sync::Arc;

use moorline_broker::{Claim, StreamChange, StreamId};
use moorline_proto::id::{SessionId, UserId};
use moorline_proto::message::Message;
use moorline_proto::position::Offset;
use moorline_proto::record::{Except, Record};
use moorline_proto::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::stream_row::StreamRow;

/// Bytes of the epoch before the entries of a chunk.
const EPOCH_BYTES: usize = 8;

/// One append, or what is left of one.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Entry<'a> {
    /// A record, and what makes its publish idempotent.
    Record {
        #[serde(borrow)]
        room: &'a str,
        offset: u64,
        timestamp: u64,
        except: Option<ExceptRow<'a>>,
        #[serde(with = "serde_bytes")]
        message: &'a [u8],
        id: Option<IdRow>,
    },
    /// A publish id whose record is gone.
    Id { offset: u64, timestamp: u64, id: IdRow },
    /// What happened to a stream.
    Stream {
        #[serde(borrow)]
        room: &'a str,
        #[serde(borrow)]
        stream: &'a str,
        /// The offset of its first piece, which tells it from another one of that name.
        first: u64,
        #[serde(borrow)]
        change: StreamRow<'a>,
    },
}

/// Who a record is not for.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExceptRow<'a> {
    #[serde(borrow)]
    sessions: Vec<&'a str>,
    #[serde(borrow)]
    users: Vec<&'a str>,
}

impl<'a> ExceptRow<'a> {
    pub(crate) fn of(except: &'a Except) -> Self {
        Self {
            sessions: except.sessions.iter().map(SessionId::as_str).collect(),
            users: except.users.iter().map(UserId::as_str).collect(),
        }
    }
}

/// A publish id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdRow {
    key: [u8; 16],
    content: [u8; 16],
    client: Option<u64>,
}

impl IdRow {
    pub(crate) fn of(claim: &Claim) -> Self {
        Self { key: claim.key, content: claim.content, client: claim.client }
    }

    pub(crate) fn claim(self) -> Claim {
        Claim { key: self.key, content: self.content, client: self.client }
    }
}

/// Why a chunk could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChunkError {
    #[error("a chunk has no epoch")]
    NoEpoch,
    #[error("an entry of a chunk cannot be read")]
    Entry(#[from] postcard::Error),
    #[error("an entry of a chunk has a name that cannot be: {0}")]
    Name(String),
    #[error("an entry of a chunk has the number {0}")]
    Offset(u64),
    #[error("an entry of a chunk has a message that is none")]
    Message,
    #[error("an entry of a chunk has a stream that cannot be")]
    Stream,
}

impl<'a> Entry<'a> {
    /// An append.
    pub(crate) fn of(room: &'a str, record: &'a Record, claim: Option<&Claim>) -> Self {
        Self::Record {
            room,
            offset: record.offset.0,
            timestamp: record.timestamp.0,
            except: record.except.as_deref().map(ExceptRow::of),
            message: record.message.as_bytes(),
            id: claim.map(IdRow::of),
        }
    }

    /// A change of a stream.
    pub(crate) fn of_stream(id: StreamId<'a>, change: &'a StreamChange<'a>) -> Self {
        let (room, stream, first) = (id.room.as_str(), id.stream.as_str(), id.first.0);
        Self::Stream { room, stream, first, change: StreamRow::of(change) }
    }

    /// Writes it behind the others.
    pub(crate) fn put(&self, chunk: &mut Vec<u8>) {
        let before = chunk.len();
        // Lengths are known and a vector takes everything: nothing is left that could fail.
        if let Err(error) = postcard::to_io(self, &mut *chunk) {
            chunk.truncate(before);
            tracing::error!(%error, "an entry could not be encoded");
        }
    }
}

/// A chunk of that epoch without entries.
pub(crate) fn new_chunk(epoch: u64) -> Vec<u8> {
    epoch.to_le_bytes().to_vec()
}

/// The epoch and the entries of a chunk.
pub(crate) fn read_chunk(chunk: &[u8]) -> Result<(u64, Vec<Entry<'_>>), ChunkError> {
    let (epoch, mut rest) = chunk.split_first_chunk::<EPOCH_BYTES>().ok_or(ChunkError::NoEpoch)?;
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (entry, behind) = postcard::take_from_bytes(rest)?;
        entries.push(entry);
        rest = behind;
    }
    Ok((u64::from_le_bytes(*epoch), entries))
}

/// Who a record is not for, as the log has it.
pub(crate) fn except(row: &ExceptRow<'_>) -> Result<Arc<Except>, ChunkError> {
    let wrong = |error: &dyn std::fmt::Display| ChunkError::Name(error.to_string());
    let sessions = row.sessions.iter().map(|id| SessionId::new(id).map_err(|error| wrong(&error)));
    let users = row.users.iter().map(|id| UserId::new(id).map_err(|error| wrong(&error)));
    Ok(Arc::new(Except {
        sessions: sessions.collect::<Result<_, _>>()?,
        users: users.collect::<Result<_, _>>()?,
    }))
}

/// A number that a room may have given.
pub(crate) fn offset(offset: u64) -> Result<Offset, ChunkError> {
    if (1..=Offset::MAX.0).contains(&offset) { Ok(Offset(offset)) } else { Err(ChunkError::Offset(offset)) }
}

/// A record as the log has it. The message gets memory of its own: a chunk is larger.
pub(crate) fn record(
    offset: u64,
    timestamp: u64,
    row: Option<&ExceptRow<'_>>,
    message: &[u8],
) -> Result<Record, ChunkError> {
    let offset = self::offset(offset)?;
    if !message.starts_with(b"{") || !message.ends_with(b"}") || std::str::from_utf8(message).is_err() {
        return Err(ChunkError::Message);
    }
    Ok(Record {
        offset,
        timestamp: Timestamp(timestamp),
        except: row.map(except).transpose()?,
        message: Message::stored(message.to_vec().into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry<'static>> {
        let id = IdRow { key: [1; 16], content: [2; 16], client: Some(u64::MAX) };
        let except = ExceptRow { sessions: vec!["s", "ö"], users: vec![] };
        let message = br#"{"type":"m"}"#;
        vec![
            Entry::Record { room: "a", offset: 1, timestamp: 2, except: None, message, id: None },
            Entry::Record {
                room: "@all",
                offset: u64::MAX,
                timestamp: 0,
                except: Some(except),
                message: b"",
                id: Some(id),
            },
            Entry::Id { offset: 3, timestamp: 4, id },
            Entry::Stream { room: "a", stream: "s", first: 7, change: StreamRow::Text("ö") },
            Entry::Stream { room: "a", stream: "s", first: 7, change: StreamRow::Gone },
        ]
    }

    #[test]
    fn a_chunk_is_read_as_it_was_written() {
        let mut chunk = new_chunk(7);
        entries().iter().for_each(|entry| entry.put(&mut chunk));
        let (epoch, read) = read_chunk(&chunk).expect("a chunk");
        assert_eq!((epoch, read), (7, entries()));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut chunk = new_chunk(7);
        entries().iter().for_each(|entry| entry.put(&mut chunk));
        for end in 0..chunk.len() {
            // Whether it is readable depends on where it was cut.
            let _either = read_chunk(&chunk[..end]).is_ok();
        }
        for index in 0..chunk.len() {
            for bit in 0..8 {
                let mut damaged = chunk.clone();
                damaged[index] ^= 1 << bit;
                let _either = read_chunk(&damaged).is_ok();
            }
        }
    }
}
