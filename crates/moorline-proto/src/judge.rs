//! The delivery rule: one record, one session, one room. Live and replayed records are judged alike, and nowhere else.

use crate::position::Offset;
use crate::record::{Reader, Record};

/// What to do with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Send it; the position moves to it.
    Deliver,
    /// `except` names the reader: the position moves to it, nothing is sent.
    Skip,
    /// The reader has it: nothing happens.
    Duplicate,
    /// Something lies between the reader's position and this record: read the log first.
    Gap,
}

/// Judges `record` for `reader`, who has everything up to `position`, where nothing of the room lies between
/// `after` and the record.
#[must_use]
pub fn judge(position: Offset, after: Offset, record: &Record, reader: Reader<'_>) -> Judgement {
    if record.offset <= position {
        Judgement::Duplicate
    } else if after > position {
        Judgement::Gap
    } else {
        judge_text(record, reader)
    }
}

/// Judges a chunk of a stream that was open where `reader` stands, and that it reads before it goes on: it stands there too, and is
/// none that the reader has.
#[must_use]
pub fn judge_text(record: &Record, reader: Reader<'_>) -> Judgement {
    if record.excludes(reader) { Judgement::Skip } else { Judgement::Deliver }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{SessionId, UserId};
    use crate::message::Message;
    use crate::record::Except;
    use crate::time::Timestamp;
    use std::sync::Arc;

    fn record(offset: u64, except: Option<Except>) -> Record {
        Record {
            offset: Offset(offset),
            timestamp: Timestamp(0),
            except: except.map(Arc::new),
            message: Message::parse(br#"{"type":"m"}"#.to_vec().into()).unwrap(),
        }
    }

    #[test]
    fn the_four_judgements() {
        let (session, user) = (SessionId::new("s").unwrap(), UserId::new("u").unwrap());
        let reader = Reader { session: &session, user: Some(&user) };
        let by_session = Except { sessions: vec![session.clone()], users: vec![] };
        let by_user = Except { sessions: vec![], users: vec![user.clone()] };
        for (position, after, record, expected) in [
            (4, 4, record(5, None), Judgement::Deliver),
            (4, 3, record(5, None), Judgement::Deliver),
            (4, 4, record(9, None), Judgement::Deliver),
            (4, 4, record(5, Some(by_session.clone())), Judgement::Skip),
            (4, 4, record(5, Some(by_user)), Judgement::Skip),
            (5, 4, record(5, Some(by_session)), Judgement::Duplicate),
            (6, 4, record(5, None), Judgement::Duplicate),
            (3, 4, record(5, None), Judgement::Gap),
        ] {
            assert_eq!(judge(Offset(position), Offset(after), &record, reader), expected);
        }
    }
}
