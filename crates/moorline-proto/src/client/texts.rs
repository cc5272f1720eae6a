//! How much of each stream's text the application has. Chunks are judged by where they begin in the text, not by their number: a replay
//! begins a text anew, and merges what came in pieces before.

use std::collections::BTreeMap;

use super::wire::Chunk;
use crate::position::Offset;

/// What to do with a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All of it is new.
    New,
    /// What lies beyond this length is new.
    Beyond(u64),
    /// The application has it.
    Known,
    /// It leaves a gap, or is of one stream too many: what the application has cannot be put right by going on.
    Fault,
}

/// The texts of one room's streams that have not ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Texts {
    /// How long they are, in code points.
    lengths: BTreeMap<Box<str>, u64>,
    /// A stream that began before this and has no length here has ended, and the application has all of it.
    since: Offset,
}

impl Texts {
    /// A server has 64 open streams in a room: so many lengths are never needed, and a server that opens more without an end is not to
    /// fill the memory. None is forgotten to make place, since what comes of that stream would then be given to the application again, or
    /// not be told from a gap.
    const MAX: usize = 1_024;

    /// Nothing is known of what was said before `since`.
    pub(super) fn new(since: Offset) -> Self {
        Self { lengths: BTreeMap::new(), since }
    }

    /// Everything up to this number was given to the application.
    pub(super) fn come_to(&mut self, offset: Offset) {
        self.since = self.since.max(offset);
    }

    /// Judges a chunk, and counts it as given.
    pub(super) fn judge(&mut self, offset: Offset, chunk: &Chunk) -> Verdict {
        let points = u64::try_from(chunk.content.chars().count()).unwrap_or(u64::MAX);
        let end = chunk.at.saturating_add(points);
        let Some(length) = self.lengths.get_mut(&*chunk.stream) else {
            return self.judge_first(offset, chunk, end);
        };
        let before = *length;
        *length = before.max(if chunk.at <= before { end } else { before });
        match chunk.at {
            at if at > before => Verdict::Fault,
            _ if end <= before => Verdict::Known,
            at if at == before => Verdict::New,
            _ => Verdict::Beyond(before),
        }
    }

    fn judge_first(&mut self, offset: Offset, chunk: &Chunk, end: u64) -> Verdict {
        if offset < self.since {
            return Verdict::Known;
        }
        if chunk.at > 0 || self.lengths.len() >= Self::MAX {
            return Verdict::Fault;
        }
        self.lengths.insert(chunk.stream.as_str().into(), end);
        Verdict::New
    }

    /// A stream ended.
    pub(super) fn end(&mut self, stream: &str) {
        self.lengths.remove(stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(stream: &str, at: u64, content: &str) -> Chunk {
        Chunk { stream: stream.to_owned(), at, content: content.to_owned() }
    }

    #[test]
    fn r27_streams_chunks_are_judged_by_where_they_begin() {
        let mut texts = Texts::default();
        for (at, content, expected) in [
            (0, "", Verdict::New),
            (0, "", Verdict::Known),
            (0, "aé", Verdict::New),
            (0, "aé", Verdict::Known),
            (1, "é", Verdict::Known),
            (1, "é😀c", Verdict::Beyond(2)),
            (4, "d", Verdict::New),
            (6, "f", Verdict::Fault),
            (5, "", Verdict::Known),
            (u64::MAX, "x", Verdict::Fault),
            (5, "e", Verdict::New),
        ] {
            assert_eq!(texts.judge(Offset(7), &chunk("s", at, content)), expected, "{at} {content:?}");
        }
    }

    #[test]
    fn r27_streams_what_is_not_known_has_ended_or_begins() {
        let mut texts = Texts::new(Offset(5));
        assert_eq!(texts.judge(Offset(4), &chunk("ended", 0, "abc")), Verdict::Known);
        assert_eq!(texts.judge(Offset(4), &chunk("ended", 3, "d")), Verdict::Known);
        assert_eq!(texts.judge(Offset(5), &chunk("open", 0, "abc")), Verdict::New);
        assert_eq!(texts.judge(Offset(6), &chunk("new", 1, "b")), Verdict::Fault);
        texts.come_to(Offset(9));
        assert_eq!(texts.judge(Offset(6), &chunk("open", 0, "abcd")), Verdict::Beyond(3));
        texts.end("open");
        assert_eq!(texts.judge(Offset(6), &chunk("open", 0, "abcde")), Verdict::Known);
        assert_eq!(texts.judge(Offset(9), &chunk("open", 0, "again")), Verdict::New);
    }

    #[test]
    fn r27_streams_lengths_are_bounded_and_none_is_forgotten_for_another() {
        let mut texts = Texts::default();
        for number in 0..Texts::MAX {
            assert_eq!(texts.judge(Offset(1), &chunk(&number.to_string(), 0, "x")), Verdict::New);
        }
        assert_eq!(texts.judge(Offset(1), &chunk("more", 0, "x")), Verdict::Fault);
        assert_eq!(texts.judge(Offset(1), &chunk("0", 0, "xy")), Verdict::Beyond(1));
        texts.end("1");
        assert_eq!(texts.judge(Offset(1), &chunk("more", 0, "x")), Verdict::New);
    }
}
