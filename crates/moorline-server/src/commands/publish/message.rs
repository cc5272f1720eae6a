//! A message as it is typed.

use std::collections::HashMap;

use serde_json::value::RawValue;

/// Why text is no message.
#[derive(Debug, thiserror::Error)]
pub(super) enum MessageError {
    #[error("the message is not a JSON object ({0}): it is like '{{\"type\":\"note\",\"text\":\"hi\"}}'")]
    NotAnObject(String),
    #[error("the message has no `type`: add one to the object, or say --type TYPE")]
    NoType,
    #[error("the message has a `type` already, {0}: leave --type out")]
    OtherType(String),
    #[error("the message's `type` must be a string")]
    TypeIsNoString,
}

/// The text of a JSON object with a `type`. What else the protocol wants of it, the server checks.
#[derive(Debug)]
pub(super) struct Message(String);

impl Message {
    /// Takes it as it stands; a `type` that it lacks is put before the rest.
    pub(super) fn parse(text: &str, kind: Option<&str>) -> Result<Self, MessageError> {
        let text = text.trim_ascii();
        let fields: HashMap<String, &RawValue> =
            serde_json::from_str(text).map_err(|error| MessageError::NotAnObject(error.to_string()))?;
        let Some(raw) = fields.get("type") else {
            let kind = serde_json::Value::from(kind.ok_or(MessageError::NoType)?);
            let comma = if fields.is_empty() { "" } else { "," };
            let rest = text.strip_prefix('{').unwrap_or_default();
            return Ok(Self(format!("{{\"type\":{kind}{comma}{rest}")));
        };
        let own: String = serde_json::from_str(raw.get()).map_err(|_| MessageError::TypeIsNoString)?;
        match kind {
            Some(kind) if kind != own => Err(MessageError::OtherType(own)),
            _ => Ok(Self(text.to_owned())),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stays_as_it_was_written_and_gets_a_type_where_it_has_none() {
        let table = [
            (r#" {"type":"a", "n":1.0} "#, None, Ok(r#"{"type":"a", "n":1.0}"#)),
            (r#"{"type":"a"}"#, Some("a"), Ok(r#"{"type":"a"}"#)),
            (r#"{ "n":1}"#, Some("a\"b"), Ok(r#"{"type":"a\"b", "n":1}"#)),
            ("{ }", Some("a"), Ok(r#"{"type":"a" }"#)),
            (r#"{"type":"a"}"#, Some("b"), Err("leave --type out")),
            (r#"{"n":1}"#, None, Err("--type TYPE")),
            (r#"{"type":1}"#, Some("b"), Err("must be a string")),
            ("[1]", Some("a"), Err("not a JSON object")),
            ("hi", Some("a"), Err("not a JSON object")),
            ("", Some("a"), Err("not a JSON object")),
        ];
        for (text, kind, expected) in table {
            let got = Message::parse(text, kind);
            match expected {
                Ok(expected) => assert_eq!(got.unwrap().as_str(), expected),
                Err(part) => assert!(got.unwrap_err().to_string().contains(part), "{text}"),
            }
        }
    }
}
