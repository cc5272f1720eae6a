//! The messages that readers of a stream get.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Outcome;
use crate::codec::present;
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

/// The end of a stream that got too much text.
#[must_use]
pub fn too_big(stream: &StreamName) -> Message {
    terminal(stream, &Outcome::Error { error: Some(Bytes::from_static(b"\"too_big\"")) })
}

/// How a terminal message says that a stream ended.
pub(super) fn outcome_of(message: &Message) -> Outcome {
    #[derive(Deserialize)]
    struct Terminal<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        #[serde(borrow, default, deserialize_with = "present")]
        message: Option<&'a RawValue>,
        #[serde(borrow, default, deserialize_with = "present")]
        error: Option<&'a RawValue>,
    }
    let json = |raw: Option<&RawValue>| raw.map(|raw| Bytes::copy_from_slice(raw.get().as_bytes()));
    match serde_json::from_slice::<Terminal<'_>>(message.as_bytes()) {
        Ok(Terminal { kind: "complete", message, .. }) => Outcome::Complete { message: json(message) },
        Ok(Terminal { kind: "error", error, .. }) => Outcome::Error { error: json(error) },
        _ => Outcome::Cancelled,
    }
}

/// The end of a stream whose producer is gone.
#[must_use]
pub fn orphaned(stream: &StreamName) -> Message {
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
