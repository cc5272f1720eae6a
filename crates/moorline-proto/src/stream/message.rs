//! The messages that readers of a stream get.

use bytes::Bytes;

use super::Outcome;
use crate::id::StreamName;
use crate::message::Message;

/// The types that come from streams alone, where they have a key `stream`.
pub const TYPES: [&str; 5] = ["chunk", "complete", "error", "cancelled", "orphaned"];

/// Text of a stream that begins at `at`. The one at 0 carries the application's object.
pub(super) fn chunk(stream: &StreamName, at: u64, content: &str, data: Option<&Bytes>) -> Message {
    let mut out = begin("chunk", stream, content.len() + 64);
    put(&mut out, "at", at.to_string().as_bytes());
    put(&mut out, "content", &quoted(content));
    if at == 0
        && let Some(data) = data
    {
        put(&mut out, "data", data);
    }
    end(out)
}

/// The end that a producer asked for.
pub(super) fn terminal(stream: &StreamName, outcome: &Outcome) -> Message {
    let (kind, extra) = match outcome {
        Outcome::Complete { message } => ("complete", message.as_ref().map(|json| ("message", json))),
        Outcome::Error { error } => ("error", error.as_ref().map(|json| ("error", json))),
        Outcome::Cancelled => ("cancelled", None),
    };
    let mut out = begin(kind, stream, extra.map_or(0, |(_, json)| json.len()));
    if let Some((key, json)) = extra {
        put(&mut out, key, json);
    }
    end(out)
}

/// The end of a stream whose producer is gone.
pub(super) fn orphaned(stream: &StreamName) -> Message {
    end(begin("orphaned", stream, 0))
}

fn begin(kind: &str, stream: &StreamName, more: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(kind.len() + stream.as_str().len() + more + 48);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.push(b'"');
    put(&mut out, "stream", &quoted(stream.as_str()));
    out
}

fn put(out: &mut Vec<u8>, key: &str, json: &[u8]) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(json);
}

fn end(mut out: Vec<u8>) -> Message {
    out.push(b'}');
    Message::stored(out.into())
}

/// `text` as a JSON string.
fn quoted(text: &str) -> Vec<u8> {
    // A string always serialises.
    serde_json::to_vec(text).unwrap_or_default()
}
