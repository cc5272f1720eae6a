//! What the bodies ask of a stream.

use bytes::Bytes;
use moorline::{Publish, Rejection};
use moorline_proto::codec;
use moorline_proto::error::ErrorCode;
use moorline_proto::frame::StreamAct;
use moorline_proto::id::StreamName;
use moorline_proto::stream::{Lease, Outcome};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenWire<'a> {
    stream: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    except: Option<&'a RawValue>,
    lease_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AppendWire {
    fence: u64,
    at: u64,
    content: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndWire<'a> {
    fence: u64,
    outcome: String,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

fn bad(why: impl std::fmt::Display) -> Rejection {
    Rejection::new(ErrorCode::BadFrame, why.to_string())
}

pub(super) fn parse_open(text: &str) -> Result<(Option<StreamName>, StreamAct), Rejection> {
    let wire: OpenWire<'_> = serde_json::from_str(text).map_err(bad)?;
    let stream = wire.stream.map(|name| codec::id(StreamName::new(&name), "stream")).transpose()?;
    let except = match wire.except {
        None => None,
        Some(raw) => {
            let publish = format!(r#"{{"to":"all","message":{{"type":"x"}},"except":{}}}"#, raw.get());
            Publish::parse(&publish)?.except
        }
    };
    let lease = match wire.lease_ms {
        None => Lease::DEFAULT,
        Some(ms) => Lease::new(Duration::from_millis(ms)).ok_or_else(|| bad("lease_ms"))?,
    };
    let data = wire.data.map(bytes);
    Ok((stream, StreamAct::Open { data, except, lease }))
}

pub(super) fn parse_append(text: &str) -> Result<StreamAct, Rejection> {
    let AppendWire { fence, at, content } = serde_json::from_str(text).map_err(bad)?;
    Ok(StreamAct::Append { fence, at, content: content.into() })
}

pub(super) fn parse_end(text: &str) -> Result<StreamAct, Rejection> {
    let wire: EndWire<'_> = serde_json::from_str(text).map_err(bad)?;
    let outcome = match wire.outcome.as_str() {
        "complete" => Outcome::Complete { message: wire.message.map(bytes) },
        "error" => Outcome::Error { error: wire.error.map(bytes) },
        "cancelled" => Outcome::Cancelled,
        _ => return Err(bad("outcome")),
    };
    Ok(StreamAct::End { fence: wire.fence, outcome })
}

fn bytes(raw: &RawValue) -> Bytes {
    Bytes::copy_from_slice(raw.get().as_bytes())
}
