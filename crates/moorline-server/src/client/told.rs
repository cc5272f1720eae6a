//! How much of each stream's text was told. A session that takes another one's place gets texts from their beginning again.

use std::borrow::Cow;
use std::collections::HashMap;

use moorline_proto::stream::TYPES;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Of what a stream sends, what says so.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    stream: Option<Cow<'a, str>>,
}

/// A chunk, as it is written.
#[derive(Deserialize, Serialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    /// Where it begins, in code points.
    at: u64,
    content: String,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    room: &'a RawValue,
    #[serde(borrow)]
    message_id: &'a RawValue,
    #[serde(borrow)]
    timestamp: &'a RawValue,
}

/// The lengths of the texts of streams that have not ended, in code points: so many as the room has, and the protocol's client lets
/// through.
#[derive(Debug, Default)]
pub(super) struct Told(HashMap<String, u64>);

impl Told {
    /// Everything may come again.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// What of a message is to be told; none where all of it was.
    pub(super) fn rest(&mut self, envelope: String) -> Option<String> {
        let Ok(Head { r#type, stream: Some(stream) }) = serde_json::from_str(&envelope) else {
            return Some(envelope);
        };
        if r#type == "chunk" {
            let Ok(chunk) = serde_json::from_str::<Chunk<'_>>(&envelope) else { return Some(envelope) };
            return self.beyond(chunk).unwrap_or(Some(envelope));
        }
        if TYPES.contains(&&*r#type) {
            self.0.remove(&*stream);
        }
        Some(envelope)
    }

    /// The part of a chunk that was not told, or nothing; an error where that is all of it.
    fn beyond(&mut self, mut chunk: Chunk<'_>) -> Result<Option<String>, Whole> {
        let points = u64::try_from(chunk.content.chars().count()).unwrap_or(u64::MAX);
        let end = chunk.at.saturating_add(points);
        let Some(told) = self.0.get_mut(&*chunk.stream) else {
            self.0.insert(chunk.stream.into_owned(), end);
            return Err(Whole);
        };
        let known = std::mem::replace(told, end.max(*told));
        if end <= known {
            return Ok(None);
        }
        if chunk.at >= known {
            return Err(Whole);
        }
        let skip = usize::try_from(known - chunk.at).unwrap_or(usize::MAX);
        chunk.content = chunk.content.chars().skip(skip).collect();
        chunk.at = known;
        // It goes with the beginning alone.
        chunk.data = None;
        serde_json::to_string(&chunk).map(Some).map_err(|_| Whole)
    }
}

/// All of it is to be told.
struct Whole;

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(at: u64, content: &str, more: &str) -> String {
        format!(
            r#"{{"type":"chunk","stream":"a","at":{at},"content":"{content}"{more},"room":"r","message_id":7,"timestamp":"T"}}"#
        )
    }

    #[test]
    fn r27_streams_text_that_comes_again_is_told_once() {
        let mut told = Told::default();
        let data = r#","data":{"n":1.0}"#;
        let end = r#"{"type":"complete","stream":"a","room":"r","message_id":9,"timestamp":"T"}"#.to_owned();
        for (given, expected) in [
            (chunk(0, "", data), Some(chunk(0, "", data))),
            (chunk(0, "é😀", ""), Some(chunk(0, "é😀", ""))),
            (chunk(0, "", data), None),
            (chunk(0, "é", data), None),
            (chunk(0, "é😀b\\u001bc", data), Some(chunk(2, "b\\u001bc", ""))),
            (chunk(1, "😀b", ""), None),
            (chunk(5, "d", ""), Some(chunk(5, "d", ""))),
            (end.clone(), Some(end)),
            (chunk(0, "anew", ""), Some(chunk(0, "anew", ""))),
        ] {
            assert_eq!(told.rest(given.clone()), expected, "{given}");
        }
        told.clear();
        assert!(told.rest(chunk(0, "anew", "")).is_some());
    }

    #[test]
    fn r27_streams_messages_of_others_are_told_as_they_are() {
        let mut told = Told::default();
        for text in [
            r#"{"type":"chunk","at":0}"#,
            r#"{"type":"chunk","stream":"a"}"#,
            r#"{"type":"x","stream":1}"#,
            "x",
        ] {
            for _ in 0..2 {
                assert_eq!(told.rest(text.to_owned()).as_deref(), Some(text));
            }
        }
    }
}
