//! What a broker announces, and its encoding: built once, shared by every member.

use std::sync::Arc;

use bytes::Bytes;

use crate::coding::{BURST_BYTES, Coded, Coding, Compress, Compressed, Frames};
use crate::id::RoomName;
use crate::message::Message;
use crate::position::{Epoch, Offset};
use crate::record::{Except, Record};
use crate::time::Timestamp;

/// Consecutive records of one room. Whoever made it vouches that nothing of the room lies between `after` and the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The room.
    pub room: RoomName,
    /// The log's history.
    pub epoch: Epoch,
    /// The offset before the first record.
    pub after: Offset,
    /// In order, never empty.
    pub records: Vec<Record>,
    /// Where a reader stands after each of them, where chunks of streams among them bring more than what stands at their own offsets;
    /// else empty: it stands at the record.
    pub reached: Vec<Offset>,
}

impl Batch {
    /// How far its last record brings a reader.
    #[must_use]
    pub fn last(&self) -> Offset {
        self.records.len().checked_sub(1).map_or(self.after, |last| self.reach(last))
    }

    /// Where a reader stands that has everything up to and including the record at `index`.
    #[must_use]
    pub fn reach(&self, index: usize) -> Offset {
        self.reached.get(index).copied().unwrap_or_else(|| self.records[index].offset)
    }
}

/// A publication that is not stored: for who is connected and up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ephemeral {
    /// The room.
    pub room: RoomName,
    /// Who it is not for.
    pub except: Option<Arc<Except>>,
    /// When it was published.
    pub timestamp: Timestamp,
    /// What was published.
    pub message: Message,
}

/// How frames are laid out on the transport; the core knows only their payloads. Each function appends to `out`.
#[derive(Clone, Copy, Debug)]
pub struct Framing {
    /// What stands before a text payload of that many bytes.
    pub text_header: fn(out: &mut Vec<u8>, payload_bytes: usize),
    /// A whole ping of the transport's, without a payload.
    pub ping: fn(out: &mut Vec<u8>),
    /// A whole pong of the transport's.
    pub pong: fn(out: &mut Vec<u8>, payload: &[u8]),
    /// A whole close frame.
    pub close: fn(out: &mut Vec<u8>, code: u16, reason: &str),
}

impl Framing {
    /// Appends a whole text frame.
    pub fn text(&self, out: &mut Vec<u8>, payload: &[u8]) {
        (self.text_header)(out, payload.len());
        out.extend_from_slice(payload);
    }
}

/// A batch with its records as complete frames, one behind the other.
#[derive(Clone, Debug)]
pub struct EncodedBatch {
    /// What was encoded.
    pub batch: Batch,
    /// All frames.
    pub wire: Bytes,
    /// Where each record's frame ends in `wire`.
    pub ends: Vec<usize>,
    coded: Coded,
    /// What it was joined of, where their compressed forms are to be shared with other shards.
    parts: Vec<Arc<Self>>,
}

impl EncodedBatch {
    /// Encodes every record once.
    #[must_use]
    pub fn new(batch: Batch, framing: &Framing) -> Self {
        let mut wire =
            Vec::with_capacity(batch.records.iter().map(|r| r.message.as_bytes().len() + 160).sum());
        let ends = batch
            .records
            .iter()
            .map(|record| {
                let envelope = record.message.envelope(&batch.room, Some(record.offset), record.timestamp);
                framing.text(&mut wire, &envelope);
                wire.len()
            })
            .collect();
        Self { batch, wire: wire.into(), ends, coded: Coded::default(), parts: Vec::new() }
    }

    /// How many of these, from the first on, follow each other without a gap.
    #[must_use]
    pub fn consecutive(parts: &[Arc<Self>]) -> usize {
        let follows = |pair: &&[Arc<Self>]| {
            let (before, next) = (&pair[0].batch, &pair[1].batch);
            next.epoch == before.epoch && next.after == before.last()
        };
        parts.len().min(1 + parts.windows(2).take_while(follows).count())
    }

    /// Batches of one room that follow each other, as one; none where there are none or a gap lies between them.
    #[must_use]
    pub fn joined(parts: &[Arc<Self>]) -> Option<Self> {
        let first = parts.first()?;
        if Self::consecutive(parts) < parts.len() {
            return None;
        }
        let mut batch = Batch { records: Vec::new(), reached: Vec::new(), ..first.batch.clone() };
        let is_merged = parts.iter().any(|part| !part.batch.reached.is_empty());
        let mut wire = Vec::with_capacity(parts.iter().map(|part| part.wire.len()).sum());
        let mut ends = Vec::new();
        for part in parts {
            ends.extend(part.ends.iter().map(|end| wire.len() + end));
            wire.extend_from_slice(&part.wire);
            if is_merged {
                batch.reached.extend((0..part.batch.records.len()).map(|index| part.batch.reach(index)));
            }
            batch.records.extend_from_slice(&part.batch.records);
        }
        Some(Self { batch, wire: wire.into(), ends, coded: Coded::default(), parts: Vec::new() })
    }

    /// Remembers what it was [joined](Self::joined) of: its compressed forms are then put together of theirs, which all shards share.
    #[must_use]
    pub fn made_of(self, parts: Vec<Arc<Self>>) -> Self {
        Self { parts, ..self }
    }

    /// Its frames as they are.
    #[must_use]
    pub fn plain(&self) -> Frames<'_> {
        Frames { wire: &self.wire, ends: &self.ends }
    }

    /// Its frames for connections of a coding, compressed by `compress` where nobody needed them before.
    pub fn coded(&self, coding: Coding, compress: &mut Compress<'_>) -> Frames<'_> {
        self.compressed(coding, BURST_BYTES, compress).map_or(self.plain(), Compressed::frames)
    }

    /// Its parts share the budget; where nothing is left of it there is what was made before.
    fn compressed(&self, coding: Coding, budget: usize, compress: &mut Compress<'_>) -> Option<&Compressed> {
        if budget == 0 {
            return self.coded.made(coding);
        }
        self.coded.get_or_make(coding, || match &self.parts[..] {
            [] => Compressed::of(self.plain(), budget, compress),
            parts => {
                let mut left = budget;
                Compressed::joined(parts.iter().map(|part| {
                    let compressed = part.compressed(coding, left, compress);
                    left = left.saturating_sub(part.wire.len());
                    (part.plain(), compressed)
                }))
            }
        })
    }
}

/// An ephemeral publication as a complete frame.
#[derive(Clone, Debug)]
pub struct EncodedEphemeral {
    /// What was encoded.
    pub ephemeral: Ephemeral,
    /// Its frame.
    pub wire: Bytes,
    coded: Coded,
}

impl EncodedEphemeral {
    /// Encodes it once.
    #[must_use]
    pub fn new(ephemeral: Ephemeral, framing: &Framing) -> Self {
        let mut wire = Vec::new();
        framing.text(&mut wire, &ephemeral.message.envelope(&ephemeral.room, None, ephemeral.timestamp));
        Self { ephemeral, wire: wire.into(), coded: Coded::default() }
    }

    /// Its frame for connections of a coding, as in [`EncodedBatch::coded`].
    pub fn coded(&self, coding: Coding, compress: &mut Compress<'_>) -> &[u8] {
        let plain = Frames { wire: &self.wire, ends: &[self.wire.len()] };
        let compressed = self.coded.get_or_make(coding, || Compressed::of(plain, BURST_BYTES, compress));
        compressed.map_or(&self.wire, |compressed| compressed.frames().wire)
    }
}

/// From where a room's log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// Everything that lies after this. Pieces of streams are merged, and stand where the first of them stood.
    After(Offset),
    /// The text of the streams that were open at `at`, up to there, of which the pieces up to `after` are left out. All of it stands at
    /// `at`: what a reader needs before what lies after `at` makes sense to it.
    Texts {
        /// Where the reader stands.
        at: Offset,
        /// How far it has come in those texts.
        after: Offset,
    },
}

/// Where a page of a room's log was read, and what lay there.
#[derive(Clone, Debug)]
pub struct Page {
    /// What the log knew of the room when it was read.
    pub state: crate::resume::RoomState,
    /// Where reading began.
    pub from: ReadFrom,
    /// What lies there, in order, as much as the limit allowed; nothing lies between them.
    pub records: Vec<Record>,
    /// As in [`Batch::reached`]. Where texts are read: how far a reader has come in those texts.
    pub reached: Vec<Offset>,
    /// How far it goes.
    pub end: Offset,
}

impl Page {
    /// Whether nothing lies behind it.
    #[must_use]
    pub fn is_last(&self) -> bool {
        match self.from {
            ReadFrom::After(_) => self.end >= self.state.head,
            ReadFrom::Texts { at, .. } => self.end >= at,
        }
    }

    /// The offset after which its batch begins.
    #[must_use]
    pub const fn after(&self) -> Offset {
        match self.from {
            ReadFrom::After(after) | ReadFrom::Texts { after, .. } => after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMING: Framing =
        Framing { text_header: |_, _| {}, ping: |_| {}, pong: |_, _| {}, close: |_, _, _| {} };

    /// Records at these offsets, behind `after`.
    fn part(after: u64, offsets: &[u64], reached: &[u64]) -> Arc<EncodedBatch> {
        let record = |&offset: &u64| Record {
            offset: Offset(offset),
            timestamp: Timestamp(0),
            except: None,
            message: Message::stored(Bytes::from_static(b"{}")),
        };
        let batch = Batch {
            room: RoomName::new("r").unwrap(),
            epoch: Epoch(1),
            after: Offset(after),
            records: offsets.iter().map(record).collect(),
            reached: reached.iter().copied().map(Offset).collect(),
        };
        Arc::new(EncodedBatch::new(batch, &FRAMING))
    }

    #[test]
    fn r27_streams_batches_that_follow_merged_ones_keep_how_far_each_record_reaches() {
        for (parts, reached) in [
            (vec![part(4, &[5, 6], &[5, 9]), part(9, &[10], &[])], vec![5, 9, 10]),
            (vec![part(3, &[4], &[]), part(4, &[5, 6], &[5, 9])], vec![4, 5, 9]),
            (vec![part(3, &[4], &[]), part(4, &[5], &[])], vec![]),
        ] {
            let joined = EncodedBatch::joined(&parts).unwrap();
            assert_eq!(joined.batch.reached, reached.into_iter().map(Offset).collect::<Vec<_>>());
        }
        assert!(EncodedBatch::joined(&[part(4, &[5, 6], &[5, 9]), part(6, &[7], &[])]).is_none());
    }

    #[test]
    fn batches_are_consecutive_up_to_a_gap_an_overlap_or_another_history() {
        let elsewhere = |part: Arc<EncodedBatch>| {
            let batch = Batch { epoch: Epoch(2), ..part.batch.clone() };
            Arc::new(EncodedBatch::new(batch, &FRAMING))
        };
        for (parts, count) in [
            (vec![], 0),
            (vec![part(3, &[4], &[])], 1),
            (vec![part(3, &[4], &[]), part(4, &[5, 6], &[])], 2),
            (vec![part(3, &[4], &[]), part(5, &[6], &[]), part(6, &[7], &[])], 1),
            (vec![part(3, &[4], &[]), part(4, &[5], &[]), part(4, &[5, 6], &[])], 2),
            (vec![part(3, &[4], &[]), part(4, &[5], &[]), elsewhere(part(5, &[6], &[]))], 2),
        ] {
            assert_eq!(EncodedBatch::consecutive(&parts), count, "{parts:?}");
            assert_eq!(EncodedBatch::joined(&parts).is_some(), count > 0 && count == parts.len());
        }
    }
}
