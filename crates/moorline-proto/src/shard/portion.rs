//! What of a batch is for one session, and the pages that were encoded for one reader and serve the next.

use std::borrow::Cow;
use std::sync::Arc;

use super::RoomKey;
use crate::batch::{Batch, EncodedBatch, Framing, Page, ReadFrom};
use crate::coding::Frames;
use crate::id::RoomName;
use crate::judge::{Judgement, judge, judge_text};
use crate::position::Offset;
use crate::record::{Reader, Record};

/// The frames of a batch that are for a session.
pub(super) struct Portion<'a> {
    pub(super) wire: Cow<'a, [u8]>,
    /// Where each frame ends.
    pub(super) ends: Cow<'a, [usize]>,
    /// Which records they are; none where they are all.
    chosen: Option<Vec<usize>>,
    batch: &'a Batch,
}

impl<'a> Portion<'a> {
    /// For a session that has everything up to `position`, of the batch's `frames` in the form that it takes. Costs nothing where all
    /// of it is for everybody and is missing there.
    pub(super) fn of(batch: &'a Batch, frames: Frames<'a>, mut position: Offset, reader: Reader<'_>) -> Self {
        if position == batch.after && is_for_everybody(batch) {
            return Self::whole(batch, frames);
        }
        let mut after = batch.after;
        Self::chosen(batch, frames, |record| {
            let judgement = judge(position, after, record, reader);
            position = position.max(record.offset);
            after = record.offset;
            judgement
        })
    }

    /// Of a page of texts.
    pub(super) fn of_texts(batch: &'a Batch, frames: Frames<'a>, reader: Reader<'_>) -> Self {
        if is_for_everybody(batch) {
            return Self::whole(batch, frames);
        }
        Self::chosen(batch, frames, |record| judge_text(record, reader))
    }

    fn whole(batch: &'a Batch, frames: Frames<'a>) -> Self {
        let (wire, ends) = (Cow::Borrowed(frames.wire), Cow::Borrowed(frames.ends));
        Self { wire, ends, chosen: None, batch }
    }

    fn chosen(batch: &'a Batch, frames: Frames<'a>, mut judge: impl FnMut(&Record) -> Judgement) -> Self {
        let (mut wire, mut ends, mut chosen) = (Vec::new(), Vec::new(), Vec::new());
        for (index, record) in batch.records.iter().enumerate() {
            if judge(record) == Judgement::Deliver {
                wire.extend_from_slice(frames.frame(index));
                ends.push(wire.len());
                chosen.push(index);
            }
        }
        Self { wire: wire.into(), ends: ends.into(), chosen: Some(chosen), batch }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Where a session stands that was at `before` and took the first `count` frames.
    pub(super) fn reached(&self, count: usize, before: Offset) -> Offset {
        let Some(last) = count.checked_sub(1) else { return before };
        let index = match &self.chosen {
            Some(chosen) => chosen.get(last).copied(),
            None => Some(last).filter(|&last| last < self.batch.records.len()),
        };
        index.map_or(before, |index| self.batch.reach(index).max(before))
    }
}

fn is_for_everybody(batch: &Batch) -> bool {
    batch.records.iter().all(|record| record.except.is_none())
}

/// How many encoded pages of each kind a shard keeps. When a network comes back thousands read the same page of a few rooms; more pages would
/// cost more memory than they save time.
const PAGES: usize = 8;

/// The pages that were read last, one for each place that rooms share; texts have places of their own, since readers ask for both in
/// turn.
#[derive(Debug, Default)]
pub(super) struct Pages([Option<Shared>; 2 * PAGES]);

/// A page as frames, and where it was read.
#[derive(Debug)]
struct Shared {
    from: ReadFrom,
    end: Offset,
    encoded: Arc<EncodedBatch>,
}

impl Pages {
    /// A page as frames, encoded for whoever reads it first.
    pub(super) fn encoded(
        &mut self,
        (key, name): (RoomKey, &RoomName),
        page: &Page,
        framing: &Framing,
    ) -> Arc<EncodedBatch> {
        let is_texts = matches!(page.from, ReadFrom::Texts { .. });
        let slot = &mut self.0[key.0 as usize % PAGES * 2 + usize::from(is_texts)];
        match slot {
            Some(kept) if kept.is(name, page) => Arc::clone(&kept.encoded),
            _ => {
                let batch = Batch {
                    room: name.clone(),
                    epoch: page.state.epoch,
                    after: page.after(),
                    records: page.records.clone(),
                    reached: page.reached.clone(),
                };
                let encoded = Arc::new(EncodedBatch::new(batch, framing));
                let shared = Shared { from: page.from, end: page.end, encoded: Arc::clone(&encoded) };
                *slot = Some(shared);
                encoded
            }
        }
    }
}

impl Shared {
    /// Whether a page has these records: within an epoch a number means one record, or one piece of a text, for ever, both leave none
    /// out, and both merged the same pieces where they begin and end in the same places.
    fn is(&self, name: &RoomName, page: &Page) -> bool {
        let ends = |records: &[Record]| {
            (
                records.len(),
                records.first().map(|record| record.offset),
                records.last().map(|record| record.offset),
            )
        };
        let batch = &self.encoded.batch;
        batch.room == *name
            && batch.epoch == page.state.epoch
            && self.from == page.from
            && self.end == page.end
            && ends(&batch.records) == ends(&page.records)
            && batch.reached == page.reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SessionId;
    use crate::message::Message;
    use crate::position::Epoch;
    use crate::record::Except;
    use crate::resume::RoomState;
    use crate::time::Timestamp;

    const FRAMING: Framing =
        Framing { text_header: |out, _| out.push(b'|'), ping: |_| {}, pong: |_, _| {}, close: |_, _, _| {} };

    /// The records 5 to 8; 6 is not for `s`.
    fn encoded() -> EncodedBatch {
        let session = SessionId::new("s").unwrap();
        let except = Arc::new(Except { sessions: vec![session], users: vec![] });
        let record = |offset: u64| Record {
            offset: Offset(offset),
            timestamp: Timestamp(0),
            except: (offset == 6).then(|| Arc::clone(&except)),
            message: Message::parse(br#"{"type":"m"}"#.to_vec().into()).unwrap(),
        };
        let records = (5..=8).map(record).collect();
        let room = RoomName::new("r").unwrap();
        EncodedBatch::new(
            Batch { room, epoch: Epoch(1), after: Offset(4), records, reached: vec![] },
            &FRAMING,
        )
    }

    #[test]
    fn who_took_a_part_stands_behind_the_last_record_it_took() {
        let (encoded, session) = (encoded(), SessionId::new("s").unwrap());
        let reader = Reader { session: &session, user: None };
        let portion = Portion::of(&encoded.batch, encoded.plain(), Offset(4), reader);
        assert_eq!(portion.ends.len(), 3);
        let reached: Vec<u64> = (0..=3).map(|count| portion.reached(count, Offset(4)).0).collect();
        assert_eq!(reached, [4, 5, 7, 8], "6 is not for it: two frames reach to 7");
        assert_eq!(
            Portion::of(&encoded.batch, encoded.plain(), Offset(7), reader).reached(1, Offset(7)),
            Offset(8)
        );
    }

    #[test]
    fn a_batch_for_everybody_is_lent_only_to_who_stands_before_it() {
        let mut encoded = encoded();
        encoded.batch.records.iter_mut().for_each(|record| record.except = None);
        let session = SessionId::new("s").unwrap();
        let reader = Reader { session: &session, user: None };
        let whole = Portion::of(&encoded.batch, encoded.plain(), Offset(4), reader);
        assert!(matches!(whole.wire, Cow::Borrowed(_)));
        assert_eq!((whole.reached(2, Offset(4)), whole.reached(4, Offset(4))), (Offset(6), Offset(8)));
        let rest = Portion::of(&encoded.batch, encoded.plain(), Offset(6), reader);
        assert_eq!((rest.ends.len(), rest.reached(1, Offset(6))), (2, Offset(7)));
        assert!(Portion::of(&encoded.batch, encoded.plain(), Offset(8), reader).is_empty());
    }

    /// Records at these offsets, each as far as it reaches; those that say so are not for `s`.
    fn merged(records: &[(u64, u64, bool)]) -> Page {
        let session = SessionId::new("s").unwrap();
        let except = Arc::new(Except { sessions: vec![session], users: vec![] });
        let record = |&(offset, _, is_excepted): &(u64, u64, bool)| Record {
            offset: Offset(offset),
            timestamp: Timestamp(0),
            except: is_excepted.then(|| Arc::clone(&except)),
            message: Message::parse(br#"{"type":"m"}"#.to_vec().into()).unwrap(),
        };
        Page {
            state: RoomState { epoch: Epoch(1), head: Offset(20), ..RoomState::default() },
            from: ReadFrom::After(Offset(4)),
            records: records.iter().map(record).collect(),
            reached: records.iter().map(|&(_, reached, _)| Offset(reached)).collect(),
            end: Offset(20),
        }
    }

    #[test]
    fn r27_streams_who_took_a_part_of_a_merged_page_stands_as_far_as_that_reaches() {
        let session = SessionId::new("s").unwrap();
        let reader = Reader { session: &session, user: None };
        for excepted in [false, true] {
            // The chunk at 6 holds what stands at 9 too, and is not for everybody in one case.
            let page = merged(&[(5, 5, false), (6, 7, excepted), (8, 10, false)]);
            let encoded =
                Pages::default().encoded((RoomKey(0), &RoomName::new("r").unwrap()), &page, &FRAMING);
            let portion = Portion::of(&encoded.batch, encoded.plain(), Offset(4), reader);
            let reached: Vec<u64> =
                (0..=portion.ends.len()).map(|count| portion.reached(count, Offset(4)).0).collect();
            assert_eq!(reached, if excepted { vec![4, 5, 10] } else { vec![4, 5, 7, 10] });
        }
    }

    #[test]
    fn r27_streams_a_page_of_texts_is_no_duplicate_and_moves_the_cursor() {
        let session = SessionId::new("s").unwrap();
        let reader = Reader { session: &session, user: None };
        let from = ReadFrom::Texts { at: Offset(12), after: Offset(2) };
        let page = Page { from, ..merged(&[(12, 3, false), (12, 4, true), (12, 9, false)]) };
        let encoded = Pages::default().encoded((RoomKey(0), &RoomName::new("r").unwrap()), &page, &FRAMING);
        let portion = Portion::of_texts(&encoded.batch, encoded.plain(), reader);
        let reached: Vec<u64> = (0..=2).map(|count| portion.reached(count, Offset(2)).0).collect();
        assert_eq!((portion.ends.len(), reached), (2, vec![2, 3, 9]));
    }

    #[test]
    fn r27_streams_pages_are_shared_where_they_are_the_same_and_nowhere_else() {
        let name = RoomName::new("r").unwrap();
        let texts = |at, after| ReadFrom::Texts { at: Offset(at), after: Offset(after) };
        let page = merged(&[(5, 6, false)]);
        let with = |from, end| Page { from, end: Offset(end), ..page.clone() };
        let mut pages = Pages::default();
        let mut encode = |page: &Page| pages.encoded((RoomKey(8), &name), page, &FRAMING);
        let after = encode(&page);
        let first = encode(&with(texts(4, 0), 4));
        assert!(Arc::ptr_eq(&after, &encode(&page)), "the one does not push the other out");
        assert!(Arc::ptr_eq(&first, &encode(&with(texts(4, 0), 4))));
        let others = [with(texts(4, 1), 4), with(texts(5, 0), 4), with(texts(4, 0), 3), with(texts(0, 4), 4)];
        for (index, other) in others.iter().enumerate() {
            assert!(!Arc::ptr_eq(&first, &encode(other)), "{index}");
        }
        assert!(!Arc::ptr_eq(&after, &encode(&Page { reached: vec![Offset(7)], ..page.clone() })));
    }
}
