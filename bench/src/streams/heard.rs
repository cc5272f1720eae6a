//! A frame of the server, as far as this measurement reads it.

use std::borrow::Cow;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::frame::shown;

#[derive(Debug, Deserialize)]
pub(crate) struct Frame<'a> {
    #[serde(rename = "type")]
    pub(crate) kind: &'a str,
    #[serde(rename = "ref")]
    pub(crate) reference: Option<usize>,
    #[serde(default)]
    pub(crate) ok: bool,
    pub(crate) room: Option<&'a str>,
    pub(crate) message_id: Option<u64>,
    /// Named as `name` does.
    pub(crate) stream: Option<&'a str>,
    pub(crate) fence: Option<u64>,
    pub(crate) at: Option<u64>,
    #[serde(borrow, default)]
    pub(crate) content: Cow<'a, str>,
}

impl<'a> Frame<'a> {
    pub(crate) fn parse(payload: &'a [u8]) -> Result<Self> {
        serde_json::from_slice(payload).with_context(|| format!("the server sent {}", shown(payload)))
    }

    /// The number of the stream that it is about.
    pub(crate) fn stream(&self) -> Result<usize> {
        let number = self.stream.and_then(|name| name.strip_prefix('s')).and_then(|text| text.parse().ok());
        number.with_context(|| format!("{} of an unknown stream: {:?}", self.kind, self.stream))
    }
}

/// A stream's name.
pub(crate) fn name(stream: usize) -> String {
    format!("s{stream}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_and_replies_are_read() {
        let chunk = r#"{"type":"chunk","stream":"s12","at":3,"content":"·a\n","room":"r1","message_id":9,"timestamp":"t"}"#;
        let frame = Frame::parse(chunk.as_bytes()).unwrap();
        assert_eq!((frame.kind, frame.stream().unwrap(), frame.at), ("chunk", 12, Some(3)));
        assert_eq!(frame.content, "·a\n");
        assert_eq!(name(12), "s12");
        let reply = Frame::parse(br#"{"type":"reply","ref":4,"ok":true,"fence":7,"at":0}"#).unwrap();
        assert_eq!((reply.reference, reply.ok, reply.fence), (Some(4), true, Some(7)));
        let refused = Frame::parse(br#"{"type":"reply","ref":4,"ok":false,"error":{"code":"x"}}"#).unwrap();
        assert!(!refused.ok && refused.stream().is_err());
        assert!(Frame::parse(b"ping").is_err());
    }
}
