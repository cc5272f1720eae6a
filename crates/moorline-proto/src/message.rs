//! The application's message: checked once where it enters, then raw bytes for ever.

use std::fmt;

use bytes::Bytes;
use serde::de::{IgnoredAny, MapAccess, Visitor};

use crate::error::{ErrorCode, Rejection};
use crate::id::RoomName;
use crate::position::Offset;
use crate::stream;
use crate::time::Timestamp;

/// How deep JSON from outside may be nested: what common parsers take without a stack overflow.
pub const MAX_DEPTH: usize = 128;

/// How many top-level keys a message may have: each is compared with each other.
pub const MAX_KEYS: usize = 256;

/// Names that the server adds, so no message may have them.
const RESERVED_KEYS: [&str; 3] = ["room", "message_id", "timestamp"];

/// Types of the server's own frames, so no message may have them; `error` is free.
pub const RESERVED_TYPES: [&str; 12] = [
    "connection_established",
    "reply",
    "ping",
    "pong",
    "joined",
    "left",
    "presence",
    "reset",
    "position",
    "token_expiring",
    "closing",
    "stream_cancel",
];

/// The key by which what streams send is known: a message of one of their types may not have it.
const STREAM_KEY: &str = "stream";

/// A JSON object with a string `type`, without reserved keys and types and without a key twice. Its bytes pass through
/// untouched. Cloning shares them.
#[derive(Clone, PartialEq, Eq)]
pub struct Message(Bytes);

impl Message {
    /// Checks the text of a message. White space around the object is dropped.
    ///
    /// # Errors
    /// `message_invalid`, with what is wrong.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the message keeps the bytes, without what surrounds it"
    )]
    pub fn parse(text: Bytes) -> Result<Self, Rejection> {
        let trimmed = text.trim_ascii();
        check_depth(trimmed).map_err(|error| invalid(error.to_string()))?;
        let keys: TopLevel = serde_json::from_slice(trimmed).map_err(|error| invalid(error.to_string()))?;
        match keys.kind {
            None => Err(invalid("a message needs a string \"type\"")),
            Some(kind) if RESERVED_TYPES.contains(&kind.as_str()) => {
                Err(invalid(format!("the type \"{kind}\" is the server's own")))
            }
            Some(kind) if keys.has_stream && stream::TYPES.contains(&kind.as_str()) => {
                Err(invalid(format!("\"{kind}\" with a \"{STREAM_KEY}\" comes from streams alone")))
            }
            Some(_) => Ok(Self(text.slice_ref(trimmed))),
        }
    }

    /// A message that was checked before it was stored.
    #[must_use]
    pub const fn stored(text: Bytes) -> Self {
        Self(text)
    }

    /// Its JSON text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Writes the envelope that members get: the message and the server's fields behind it.
    pub fn envelope(&self, room: &RoomName, offset: Option<Offset>, timestamp: Timestamp) -> Vec<u8> {
        use std::io::Write as _;
        let body = &self.0[..self.0.len() - 1];
        let mut out = Vec::with_capacity(body.len() + room.as_str().len() + 96);
        out.extend_from_slice(body);
        out.extend_from_slice(b",\"room\":");
        out.extend_from_slice(quoted(room.as_str()).as_bytes());
        // Writing to a Vec cannot fail.
        let _ok = match offset {
            Some(Offset(offset)) => write!(out, ",\"message_id\":{offset},\"timestamp\":\"{timestamp}\"}}"),
            None => write!(out, ",\"timestamp\":\"{timestamp}\"}}"),
        };
        out
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// `text` as a JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn invalid(why: impl Into<String>) -> Rejection {
    Rejection::new(ErrorCode::MessageInvalid, why)
}

/// JSON that is nested deeper than [`MAX_DEPTH`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nested deeper than {MAX_DEPTH}")]
pub struct TooDeep;

/// Checks how deep JSON text is nested, without recursion and whether or not it is well-formed.
///
/// # Errors
/// Where it is deeper than [`MAX_DEPTH`].
pub fn check_depth(text: &[u8]) -> Result<(), TooDeep> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for &byte in text {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' if depth == MAX_DEPTH => return Err(TooDeep),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// What the check of a message needs of its top level.
struct TopLevel {
    kind: Option<String>,
    has_stream: bool,
}

impl<'de> serde::Deserialize<'de> for TopLevel {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TopLevelVisitor)
    }
}

struct TopLevelVisitor;

impl<'de> Visitor<'de> for TopLevelVisitor {
    type Value = TopLevel;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TopLevel, A::Error> {
        use serde::de::Error as _;
        let mut keys: Vec<String> = Vec::new();
        let mut kind = None;
        while let Some(key) = map.next_key::<String>()? {
            if RESERVED_KEYS.contains(&key.as_str()) {
                return Err(A::Error::custom(format!("\"{key}\" is the server's to add")));
            }
            if keys.contains(&key) {
                return Err(A::Error::custom(format!("\"{key}\" stands twice")));
            }
            if keys.len() == MAX_KEYS {
                return Err(A::Error::custom(format!("more than {MAX_KEYS} top-level keys")));
            }
            if key == "type" {
                kind = Some(map.next_value::<String>()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            keys.push(key);
        }
        let has_stream = keys.iter().any(|key| key == STREAM_KEY);
        Ok(TopLevel { kind, has_stream })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Message, Rejection> {
        Message::parse(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for text in [
            "",
            "null",
            "[]",
            "\"m\"",
            "{}",
            r#"{"type":1}"#,
            r#"{"type":null}"#,
            r#"{"type":"m"} x"#,
            r#"{"type":"m","type":"n"}"#,
            r#"{"type":"m","t\u0079pe":"n"}"#,
            r#"{"type":"m","room":"r"}"#,
            r#"{"type":"m","r\u006fom":"r"}"#,
            r#"{"type":"m","message_id":1}"#,
            r#"{"type":"m","timestamp":"t"}"#,
            r#"{"type":"reply"}"#,
            r#"{"type":"re\u0070ly"}"#,
            r#"{"type":"stream_cancel"}"#,
            r#"{"type":"chunk","stream":"s"}"#,
            r#"{"str\u0065am":null,"type":"orph\u0061ned"}"#,
            r#"{"type":"m","a":1,"a":2}"#,
            "{\"type\":\"m\",\"a\":\"\n\"}",
        ] {
            assert_eq!(parse(text).unwrap_err().code, ErrorCode::MessageInvalid, "{text}");
        }
        let keys: String = (0..MAX_KEYS).map(|i| format!(",\"k{i}\":0")).collect();
        assert!(parse(&format!("{{\"type\":\"m\"{keys}}}")).is_err());
    }

    #[test]
    fn nesting_is_bounded_without_recursion() {
        let deep = |levels| format!("{{\"type\":\"m\",\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(&deep(MAX_DEPTH - 1)).is_ok());
        assert!(parse(&deep(MAX_DEPTH)).is_err());
        assert!(parse(&deep(100_000)).is_err());
        assert_eq!(check_depth(br#"{"a":"[[[[\"[[[["}"#), Ok(()));
    }

    #[test]
    fn the_envelope_keeps_the_bytes_and_adds_three_fields() {
        let message = parse(" {\"type\":\"m\", \"n\": 1.50,\"room2\":{\"room\":1}} ").unwrap();
        let room = RoomName::new("a\"b").unwrap();
        let envelope = message.envelope(&room, Some(Offset(7)), Timestamp(0));
        assert_eq!(
            String::from_utf8(envelope).unwrap(),
            "{\"type\":\"m\", \"n\": 1.50,\"room2\":{\"room\":1},\"room\":\"a\\\"b\",\"message_id\":7,\
             \"timestamp\":\"1970-01-01T00:00:00.000Z\"}"
        );
        let ephemeral = String::from_utf8(message.envelope(&room, None, Timestamp(0))).unwrap();
        assert!(!ephemeral.contains("message_id"));
    }

    #[test]
    fn the_types_of_streams_are_free_where_nothing_says_stream() {
        for text in [
            r#"{"type":"error","error":"no"}"#,
            r#"{"type":"chunk","at":0,"data":{"stream":1}}"#,
            r#"{"type":"m","stream":"s"}"#,
        ] {
            assert!(parse(text).is_ok(), "{text}");
        }
    }
}
