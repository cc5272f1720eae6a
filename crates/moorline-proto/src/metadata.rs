//! The application's own metadata of a session: a small JSON object (requirement R5).

use serde_json::{Map, Value};

use crate::error::{ErrorCode, Rejection};
use crate::message::check_depth;

/// Checks that `text` is a JSON object of at most `max_bytes`, and returns it in its shortest form; none for an empty one.
///
/// # Errors
/// `metadata_invalid`.
pub fn parse(text: &str, max_bytes: usize) -> Result<Option<Box<str>>, Rejection> {
    stored(object(text)?, max_bytes)
}

/// Merges `patch` into `current` as RFC 7396 says: a null removes its key, objects are merged, anything else replaces.
///
/// # Errors
/// `metadata_invalid` where the patch is no object, or the result is larger than `max_bytes`; `current` then stays.
pub fn merge(current: Option<&str>, patch: &str, max_bytes: usize) -> Result<Option<Box<str>>, Rejection> {
    let mut target = match current {
        Some(text) => object(text)?,
        None => Map::new(),
    };
    merge_into(&mut target, object(patch)?);
    stored(target, max_bytes)
}

fn merge_into(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.remove(&key);
            }
            Value::Object(inner) => {
                let slot = target.entry(key).or_insert(Value::Null);
                if !slot.is_object() {
                    *slot = Value::Object(Map::new());
                }
                if let Value::Object(existing) = slot {
                    merge_into(existing, inner);
                }
            }
            other => {
                target.insert(key, other);
            }
        }
    }
}

fn object(text: &str) -> Result<Map<String, Value>, Rejection> {
    check_depth(text.as_bytes()).map_err(|error| invalid(error.to_string()))?;
    serde_json::from_str(text).map_err(|_| invalid("metadata is a JSON object"))
}

fn stored(object: Map<String, Value>, max_bytes: usize) -> Result<Option<Box<str>>, Rejection> {
    if object.is_empty() {
        return Ok(None);
    }
    let text = Value::Object(object).to_string();
    if text.len() > max_bytes {
        return Err(invalid(format!("metadata may have {max_bytes} bytes, this has {}", text.len())));
    }
    Ok(Some(text.into()))
}

fn invalid(why: impl Into<String>) -> Rejection {
    Rejection::new(ErrorCode::MetadataInvalid, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_merges() {
        for (current, patch, expected) in [
            (None, r#"{"a":1}"#, Some(r#"{"a":1}"#)),
            (Some(r#"{"a":1}"#), r#"{"b":2}"#, Some(r#"{"a":1,"b":2}"#)),
            (Some(r#"{"a":1,"b":2}"#), r#"{"a":null}"#, Some(r#"{"b":2}"#)),
            (Some(r#"{"a":{"x":1}}"#), r#"{"a":{"y":null,"z":3}}"#, Some(r#"{"a":{"x":1,"z":3}}"#)),
            (Some(r#"{"a":1}"#), r#"{"a":null}"#, None),
            (Some(r#"{"a":[1]}"#), r#"{"a":{"b":{"c":null}}}"#, Some(r#"{"a":{"b":{}}}"#)),
        ] {
            assert_eq!(merge(current, patch, 4096).unwrap().as_deref(), expected);
        }
    }

    #[test]
    fn what_is_no_object_or_too_large_is_refused() {
        for text in ["[]", "1", "", "{", "{\"a\":\"xxxxxxxxxxxxxxxxxxxxxxxx\"}"] {
            assert_eq!(parse(text, 16).unwrap_err().code, ErrorCode::MetadataInvalid, "{text}");
        }
    }
}
