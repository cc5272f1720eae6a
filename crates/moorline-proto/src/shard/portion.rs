//! What of a batch is for one session, and the pages that were encoded for one reader and serve the next.

use std::borrow::Cow;
use std::sync::Arc;

use super::RoomKey;
use crate::batch::{Batch, EncodedBatch, Framing, Page};
use crate::id::RoomName;
use crate::judge::{Judgement, judge};
use crate::position::Offset;
use crate::record::Reader;

/// The frames of a batch that are for a session.
pub(super) struct Portion<'a> {
    pub(super) wire: Cow<'a, [u8]>,
    /// Where each frame ends.
    pub(super) ends: Cow<'a, [usize]>,
    /// Which records they are; none where they are all.
    chosen: Option<Vec<Offset>>,
    batch: &'a Batch,
}

impl<'a> Portion<'a> {
    /// For a session that has everything up to `position`. Costs nothing where all of it is for everybody and is missing there.
    pub(super) fn of(encoded: &'a EncodedBatch, mut position: Offset, reader: Reader<'_>) -> Self {
        let batch = &encoded.batch;
        if position == batch.after && batch.records.iter().all(|record| record.except.is_none()) {
            let (wire, ends) = (Cow::Borrowed(&encoded.wire[..]), Cow::Borrowed(&encoded.ends[..]));
            return Self { wire, ends, chosen: None, batch };
        }
        let (mut wire, mut ends, mut chosen) = (Vec::new(), Vec::new(), Vec::new());
        let mut after = batch.after;
        for (index, record) in batch.records.iter().enumerate() {
            if judge(position, after, record, reader) == Judgement::Deliver {
                wire.extend_from_slice(encoded.frame(index));
                ends.push(wire.len());
                chosen.push(record.offset);
            }
            position = position.max(record.offset);
            after = record.offset;
        }
        Self { wire: wire.into(), ends: ends.into(), chosen: Some(chosen), batch }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Where a session stands that was at `before` and took the first `count` frames.
    pub(super) fn reached(&self, count: usize, before: Offset) -> Offset {
        let Some(last) = count.checked_sub(1) else { return before };
        let offset = match &self.chosen {
            Some(chosen) => chosen.get(last).copied(),
            None => self.batch.records.get(last).map(|record| record.offset),
        };
        offset.map_or(before, |offset| offset.max(before))
    }
}

/// How many encoded pages a shard keeps. When a network comes back thousands read the same page of a few rooms; more pages would
/// cost more memory than they save time.
const PAGES: usize = 8;

/// The pages that were read last, one for each place that rooms share.
#[derive(Debug, Default)]
pub(super) struct Pages([Option<Arc<EncodedBatch>>; PAGES]);

impl Pages {
    /// A page as frames, encoded for whoever reads it first.
    pub(super) fn encoded(
        &mut self,
        (key, name): (RoomKey, &RoomName),
        page: &Page,
        framing: &Framing,
    ) -> Arc<EncodedBatch> {
        let slot = &mut self.0[key.0 as usize % PAGES];
        match slot {
            Some(kept) if is_same(&kept.batch, name, page) => Arc::clone(kept),
            _ => {
                let records = page.records.clone();
                let (room, epoch) = (name.clone(), page.state.epoch);
                let batch =
                    Batch { room, epoch, after: page.after(), records, reached: page.reached.clone() };
                Arc::clone(slot.insert(Arc::new(EncodedBatch::new(batch, framing))))
            }
        }
    }
}

/// Whether a page has the records of a batch: within an epoch a number means one record for ever, and both leave none out.
fn is_same(batch: &Batch, name: &RoomName, page: &Page) -> bool {
    let ends = |records: &[crate::record::Record]| {
        (
            records.len(),
            records.first().map(|record| record.offset),
            records.last().map(|record| record.offset),
        )
    };
    batch.room == *name
        && batch.epoch == page.state.epoch
        && batch.after == page.after()
        && ends(&batch.records) == ends(&page.records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SessionId;
    use crate::message::Message;
    use crate::position::Epoch;
    use crate::record::{Except, Record};
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
        let portion = Portion::of(&encoded, Offset(4), reader);
        assert_eq!(portion.ends.len(), 3);
        let reached: Vec<u64> = (0..=3).map(|count| portion.reached(count, Offset(4)).0).collect();
        assert_eq!(reached, [4, 5, 7, 8], "6 is not for it: two frames reach to 7");
        assert_eq!(Portion::of(&encoded, Offset(7), reader).reached(1, Offset(7)), Offset(8));
    }

    #[test]
    fn a_batch_for_everybody_is_lent_only_to_who_stands_before_it() {
        let mut encoded = encoded();
        encoded.batch.records.iter_mut().for_each(|record| record.except = None);
        let session = SessionId::new("s").unwrap();
        let reader = Reader { session: &session, user: None };
        let whole = Portion::of(&encoded, Offset(4), reader);
        assert!(matches!(whole.wire, Cow::Borrowed(_)));
        assert_eq!((whole.reached(2, Offset(4)), whole.reached(4, Offset(4))), (Offset(6), Offset(8)));
        let rest = Portion::of(&encoded, Offset(6), reader);
        assert_eq!((rest.ends.len(), rest.reached(1, Offset(6))), (2, Offset(7)));
        assert!(Portion::of(&encoded, Offset(8), reader).is_empty());
    }
}
