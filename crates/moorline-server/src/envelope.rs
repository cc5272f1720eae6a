//! A message in its envelope, as one line for people.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::text;

/// What the line shows by itself, and the rest as it stands.
#[derive(Default)]
struct Envelope<'a> {
    timestamp: Option<Cow<'a, str>>,
    message_id: Option<u64>,
    kind: Option<Cow<'a, str>>,
    /// The application's other fields, in its order.
    rest: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// Borrows text that has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Envelope<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields(std::marker::PhantomData))
    }
}

struct Fields<'a>(std::marker::PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for Fields<'a> {
    type Value = Envelope<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message in its envelope")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Envelope<'a>, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(Text(name)) = fields.next_key()? {
            match &*name {
                "timestamp" => envelope.timestamp = Some(fields.next_value::<Text<'a>>()?.0),
                "type" => envelope.kind = Some(fields.next_value::<Text<'a>>()?.0),
                "message_id" => envelope.message_id = Some(fields.next_value()?),
                "room" => drop(fields.next_value::<&'a RawValue>()?),
                _ => envelope.rest.push((name, fields.next_value()?)),
            }
        }
        Ok(envelope)
    }
}

/// Moment, id, type and the message's other fields. Safe to show on a terminal, whatever is in it.
pub(crate) fn line(json: &str) -> String {
    let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(json) else {
        // Not of the protocol: shown as it is, rather than not at all.
        return text::compact(json);
    };
    let id = envelope.message_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let fields: Vec<String> = envelope
        .rest
        .iter()
        .map(|(name, value)| format!("{}:{}", serde_json::Value::from(&**name), value.get()))
        .collect();
    let rest = text::compact(&format!("{{{}}}", fields.join(",")));
    let timestamp = envelope.timestamp.as_deref().unwrap_or("-");
    let kind = envelope.kind.as_deref().unwrap_or("-");
    format!("{} {id} {} {rest}", text::escape(timestamp), text::escape(kind))
}

/// What is said of messages that will not come.
pub(crate) fn lost(reason: &str, from: Option<u64>, to: u64) -> String {
    let what = from.map_or_else(
        || format!("everything up to {to}"),
        |from| format!("what lies after {from} up to {to}"),
    );
    format!("reset ({reason}): {what} is lost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_what_came_and_drives_no_terminal() {
        let json = r#"{"type":"no\u001bte","n" : 1.50,"x":{"b":1,"a":"\u001b[2J"},"room":"r","message_id":7,"timestamp":"T"}"#;
        assert_eq!(line(json), r#"T 7 no\u001bte {"n":1.50,"x":{"b":1,"a":"\u001b[2J"}}"#);
        assert_eq!(line(r#"{"type":"a","room":"r","timestamp":"T"}"#), "T - a {}");
        assert_eq!(line("\u{1b}[2J"), "\\u001b[2J");
    }
}
