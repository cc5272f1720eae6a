//! What a room's readers were told, in order, and a reader that reads it from the log again.

use std::collections::BTreeMap;

use moorline_proto::batch::ReadFrom;
use moorline_proto::id::RoomName;
use moorline_proto::position::Offset;
use moorline_proto::record::Record;
use moorline_proto::stream::CHUNK_MAX_BYTES;

use super::stage::{chunk_of, points, terminal_of};
use crate::LogExt as _;
use crate::log::{Log, New, ReadLimit};

/// What stood at one offset.
#[derive(Clone, Debug)]
enum Told {
    Piece {
        stream: String,
        at: u64,
        content: String,
    },
    /// A record of any other kind; with the stream that it ends.
    Record(Record, Option<String>),
}

/// Texts by stream.
pub(super) type Texts = BTreeMap<String, String>;

/// All that was told of a room.
#[derive(Debug, Default)]
pub(super) struct History(Vec<(Offset, Told)>);

impl History {
    pub(super) fn take(&mut self, news: &[New]) {
        news.iter().for_each(|new| self.push(&new.record));
    }

    pub(super) fn push(&mut self, record: &Record) {
        let told = match chunk_of(record) {
            Some((stream, at, content)) => Told::Piece { stream: stream.into(), at, content: content.into() },
            None => Told::Record(record.clone(), terminal_of(record).map(|(_, stream)| stream.to_owned())),
        };
        self.0.push((record.offset, told));
    }

    /// The places after `cut`, and that.
    pub(super) fn places(&self, cut: Offset) -> Vec<Offset> {
        let behind = self.0.iter().map(|(offset, _)| *offset).filter(|offset| *offset > cut);
        std::iter::once(cut).chain(behind).collect()
    }

    /// The texts of the streams that were open at an offset, up to there.
    pub(super) fn texts(&self, at: Offset) -> Texts {
        let mut texts = Texts::new();
        for (_, told) in self.0.iter().take_while(|(offset, _)| *offset <= at) {
            match told {
                Told::Piece { stream, at, content } => {
                    let text = texts.entry(stream.clone()).or_default();
                    assert_eq!(*at, points(text), "a piece of {stream} begins where the one before ended");
                    text.push_str(content);
                }
                Told::Record(_, ends) => drop(ends.as_ref().and_then(|stream| texts.remove(stream))),
            }
        }
        texts
    }

    /// What lies after one offset, up to another, but pieces.
    fn records(&self, after: Offset, head: Offset) -> Vec<Record> {
        let within = self.0.iter().filter(|(offset, _)| *offset > after && *offset <= head);
        let records = within.filter_map(|(_, told)| match told {
            Told::Record(record, _) => Some(record.clone()),
            Told::Piece { .. } => None,
        });
        records.collect()
    }
}

/// Decides what nobody else does: limits, and how much of a page a reader gets before it begins anew.
pub(super) trait Choose {
    /// One of `0..count`.
    fn choose(&mut self, count: usize) -> usize;

    fn limit(&mut self) -> ReadLimit {
        match self.choose(4) {
            0 => super::ALL,
            1 => ReadLimit { records: 1, bytes: usize::MAX },
            2 => ReadLimit { records: self.choose(6), bytes: usize::MAX },
            _ => ReadLimit { records: usize::MAX, bytes: self.choose(2_000) },
        }
    }
}

/// `SplitMix64`, which is as random as tests need it.
pub(super) struct Random(pub(super) u64);

impl Random {
    /// With a seed that is shown where the test fails; `MOORLINE_SEED` repeats one.
    pub(super) fn seeded() -> Self {
        use std::hash::{BuildHasher as _, Hasher as _};
        let fresh = || std::hash::RandomState::new().build_hasher().finish();
        let seed =
            std::env::var("MOORLINE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(fresh);
        eprintln!("MOORLINE_SEED={seed}");
        Self(seed)
    }
}

impl Choose for Random {
    fn choose(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let count = u64::try_from(count).unwrap_or(u64::MAX).max(1);
        usize::try_from((mixed ^ (mixed >> 31)) % count).unwrap_or(0)
    }
}

/// Everything with one limit; of the first page only so many records.
pub(super) struct SplitAt {
    pub(super) limit: ReadLimit,
    pub(super) records: Option<usize>,
}

impl Choose for SplitAt {
    fn choose(&mut self, count: usize) -> usize {
        self.records.take().unwrap_or(count).min(count).saturating_sub(1)
    }

    fn limit(&mut self) -> ReadLimit {
        self.limit
    }
}

/// A reader that judges chunks by their places, as clients do.
#[derive(Debug, Default)]
struct Reader {
    texts: Texts,
    records: Vec<Record>,
}

impl Reader {
    fn take(&mut self, record: &Record, history: &History) {
        if let Some((stream, at, content)) = chunk_of(record) {
            assert!(content.len() <= CHUNK_MAX_BYTES, "a chunk of {} bytes", content.len());
            let text = self.texts.entry(stream.to_owned()).or_default();
            let length = points(text);
            assert!(at <= length, "a gap in {stream}: {at} where {length} is");
            let again = usize::try_from(length - at).expect("a length");
            let begins =
                text.char_indices().rev().take(again).last().map_or(text.len(), |(begins, _)| begins);
            let held = &text[begins..];
            let fits = held.starts_with(content) || content.starts_with(held);
            assert!(fits, "{stream} has other text at {at}");
            text.push_str(content.get(held.len()..).unwrap_or_default());
            return;
        }
        if let Some((_, stream)) = terminal_of(record) {
            let whole = history.texts(Offset(record.offset.0 - 1)).remove(stream);
            let had = self.texts.remove(stream).unwrap_or_default();
            assert_eq!(Some(had), whole, "the text of {stream} comes before its end");
        }
        self.records.push(record.clone());
    }
}

/// What is read of a room's log, and from where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading<'a> {
    pub(super) room: &'a RoomName,
    pub(super) from: Offset,
    pub(super) head: Offset,
}

impl Reading<'_> {
    /// Reads the texts at `from` and what lies after it, in pages and parts of them: that is what was told.
    pub(super) fn check(&self, log: &impl Log, history: &History, choose: &mut impl Choose) {
        let mut reader = Reader::default();
        self.read_texts(log, history, &mut reader, choose);
        let texts = written(history.texts(self.from));
        assert_eq!(written(reader.texts.clone()), texts, "texts at {self:?}");
        self.read_behind(log, history, &mut reader, choose);
        assert_eq!(reader.records, history.records(self.from, self.head), "{self:?}");
        assert_eq!(written(reader.texts), written(history.texts(self.head)), "texts at the head of {self:?}");
    }

    fn read_texts(&self, log: &impl Log, history: &History, reader: &mut Reader, choose: &mut impl Choose) {
        let (at, mut after) = (self.from, Offset::START);
        let open = history.texts(at);
        while after < at {
            let from = ReadFrom::Texts { at, after };
            let (records, reached, end) = log.page(self.room, from, self.head, choose.limit());
            for record in &records {
                let (stream, ..) = chunk_of(record).expect("texts come in chunks");
                assert!(open.contains_key(stream), "{stream} was not open at {at:?}");
                assert_eq!(record.offset, at, "it stands where the reader stands");
            }
            after = self.take(&records, (&reached, after, end), reader, (history, choose));
            assert!(after <= at);
        }
    }

    fn read_behind(&self, log: &impl Log, history: &History, reader: &mut Reader, choose: &mut impl Choose) {
        let mut after = self.from;
        while after < self.head {
            let from = ReadFrom::After(after);
            let (records, reached, end) = log.page(self.room, from, self.head, choose.limit());
            let mut last = after;
            for record in &records {
                assert!(
                    record.offset > last && record.offset <= end,
                    "{record:?} between {last:?} and {end:?}"
                );
                last = record.offset;
            }
            after = self.take(&records, (&reached, after, end), reader, (history, choose));
        }
    }

    /// Takes the first few, and says from where it goes on.
    fn take(
        &self,
        records: &[Record],
        (reached, after, end): (&[Offset], Offset, Offset),
        reader: &mut Reader,
        (history, choose): (&History, &mut impl Choose),
    ) -> Offset {
        assert!(reached.is_empty() || reached.len() == records.len(), "{reached:?} of {}", records.len());
        assert!(
            reached.is_sorted() && reached.last().is_none_or(|last| *last <= end),
            "{reached:?} to {end:?}"
        );
        if records.is_empty() {
            assert!(end > after, "{self:?} comes to an end");
            return end;
        }
        let count = choose.choose(records.len()) + 1;
        records[..count].iter().for_each(|record| reader.take(record, history));
        let goes_on = if count == records.len() {
            end
        } else {
            reached.get(count - 1).copied().unwrap_or(records[count - 1].offset)
        };
        assert!(goes_on > after, "{self:?} comes further than {after:?}");
        goes_on
    }
}

/// Those that have text: nobody misses the others.
fn written(texts: Texts) -> Texts {
    texts.into_iter().filter(|(_, text)| !text.is_empty()).collect()
}
