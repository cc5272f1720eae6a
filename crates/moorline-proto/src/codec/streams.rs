//! What is asked of streams, as frames and as bodies of HTTP requests.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::{bad, except, id, parse, present, room};
use crate::error::Rejection;
use crate::frame::{StreamAct, StreamFrame};
use crate::id::StreamName;
use crate::message::check_depth;
use crate::stream::{DATA_MAX_BYTES, Lease, Outcome};

wire!(OpenWire<'a> {
    room: Option<String>,
    stream: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    except: Option<&'a RawValue>,
    lease_ms: Option<Whole>,
});
wire!(AppendWire { room: Option<String>, stream: Option<String>, fence: Whole, at: Whole, content: String, });
wire!(EndWire<'a> {
    room: Option<String>,
    stream: Option<String>,
    fence: Whole,
    outcome: OutcomeWire,
    #[serde(borrow, default, deserialize_with = "present")]
    message: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
});
wire!(CancelWire { room: Option<String>, stream: Option<String>, });

/// A number without a fraction, however it is written (up to 2^53 as `2.0`): in JSON `2.0` is the same number as `2`.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "serde_json::Number")]
struct Whole(u64);

impl TryFrom<serde_json::Number> for Whole {
    type Error = &'static str;

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is within the bounds, without a fraction"
    )]
    fn try_from(number: serde_json::Number) -> Result<Self, Self::Error> {
        const MAX: f64 = 9_007_199_254_740_992.0;
        let float = || number.as_f64().filter(|float| float.fract() == 0.0 && (0.0..=MAX).contains(float));
        let whole = number.as_u64().or_else(|| float().map(|float| float as u64));
        whole.map(Self).ok_or("a whole number from 0 on is wanted")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum OutcomeWire {
    Complete,
    Error,
    Cancelled,
}

/// Where a wire says that it belongs: a frame says it, a body leaves it to its path.
struct Place {
    room: Option<String>,
    stream: Option<String>,
}

/// Reads a frame of one of the four types.
pub(super) fn frame(kind: &str, text: &str) -> Result<StreamFrame, Rejection> {
    let (place, act) = match kind {
        "stream_open" => open(parse(text)?)?,
        "stream_append" => append(parse(text)?),
        "stream_end" => end(parse(text)?)?,
        _ => cancel(parse(text)?),
    };
    let named = place.room.ok_or_else(|| bad("missing field `room`"))?;
    if place.stream.is_none() && !matches!(act, StreamAct::Open { .. }) {
        return Err(bad("missing field `stream`"));
    }
    Ok(StreamFrame { room: room(&named)?, stream: place.stream.as_deref().map(stream).transpose()?, act })
}

fn open(wire: OpenWire<'_>) -> Result<(Place, StreamAct), Rejection> {
    let act = StreamAct::Open {
        data: wire.data.map(data).transpose()?,
        except: wire.except.map(|raw| except(raw.get())).transpose()?.flatten(),
        lease: wire.lease_ms.map_or(Ok(Lease::DEFAULT), |Whole(millis)| lease(millis))?,
    };
    Ok((Place { room: wire.room, stream: wire.stream }, act))
}

fn append(wire: AppendWire) -> (Place, StreamAct) {
    let AppendWire { room, stream, fence, at, content, .. } = wire;
    (Place { room, stream }, StreamAct::Append { fence: fence.0, at: at.0, content: content.into() })
}

fn end(wire: EndWire<'_>) -> Result<(Place, StreamAct), Rejection> {
    let outcome = match (wire.outcome, wire.message, wire.error) {
        (OutcomeWire::Complete, message, None) => Outcome::Complete { message: message.map(json) },
        (OutcomeWire::Error, None, error) => Outcome::Error { error: error.map(json) },
        (OutcomeWire::Cancelled, None, None) => Outcome::Cancelled,
        _ => return Err(bad("\"message\" goes with the outcome complete, \"error\" with error")),
    };
    Ok((Place { room: wire.room, stream: wire.stream }, StreamAct::End { fence: wire.fence.0, outcome }))
}

fn cancel(wire: CancelWire) -> (Place, StreamAct) {
    (Place { room: wire.room, stream: wire.stream }, StreamAct::Cancel)
}

fn data(raw: &RawValue) -> Result<Bytes, Rejection> {
    if !raw.get().starts_with('{') || raw.get().len() > DATA_MAX_BYTES {
        return Err(bad(format!("\"data\" is a JSON object of up to {DATA_MAX_BYTES} bytes")));
    }
    Ok(json(raw))
}

fn lease(millis: u64) -> Result<Lease, Rejection> {
    Lease::new(Duration::from_millis(millis)).ok_or_else(|| {
        let (min, max) = (Lease::MIN.as_millis(), Lease::MAX.as_millis());
        bad(format!("\"lease_ms\" is {min} to {max}"))
    })
}

/// JSON as it stood, without white space around it.
fn json(raw: &RawValue) -> Bytes {
    Bytes::copy_from_slice(raw.get().trim_ascii().as_bytes())
}

/// Checks the name of a stream.
///
/// # Errors
/// `id_invalid`.
pub fn stream(text: &str) -> Result<StreamName, Rejection> {
    id(StreamName::new(text), "stream")
}

/// What a body says; where it belongs its path says.
fn body<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Rejection> {
    check_depth(text.as_bytes()).map_err(bad)?;
    parse(text)
}

fn placed_by_path(name: Option<&String>, field: &str) -> Result<(), Rejection> {
    name.map_or(Ok(()), |_| Err(bad(format!("unknown field `{field}`: the path says it"))))
}

impl StreamAct {
    /// Reads the body of an HTTP request that opens a stream: the fields of a `stream_open` frame but `room`, as JSON text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse_open(text: &str) -> Result<(Option<StreamName>, Self), Rejection> {
        let (place, act) = open(body(text)?)?;
        placed_by_path(place.room.as_ref(), "room")?;
        Ok((place.stream.as_deref().map(stream).transpose()?, act))
    }

    /// Reads the body of an HTTP request that appends: the fields of a `stream_append` frame but `room` and `stream`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse_append(text: &str) -> Result<Self, Rejection> {
        let (place, act) = append(body(text)?);
        place.by_path().map(|()| act)
    }

    /// Reads the body of an HTTP request that ends a stream: the fields of a `stream_end` frame but `room` and `stream`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse_end(text: &str) -> Result<Self, Rejection> {
        let (place, act) = end(body(text)?)?;
        place.by_path().map(|()| act)
    }
}

impl Place {
    fn by_path(&self) -> Result<(), Rejection> {
        placed_by_path(self.room.as_ref(), "room")?;
        placed_by_path(self.stream.as_ref(), "stream")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn r27_streams_bodies_leave_the_place_to_their_path() {
        let (stream, act) =
            StreamAct::parse_open(r#"{"stream":"s","data": {"a": 1.0} ,"lease_ms":1000}"#).unwrap();
        assert_eq!(stream, StreamName::new("s").ok());
        let StreamAct::Open { data, except, lease } = act else { panic!("{act:?}") };
        assert_eq!(data.as_deref(), Some(&br#"{"a": 1.0}"#[..]));
        assert!(except.is_none());
        assert_eq!(lease.time(), Duration::from_secs(1));
        assert!(matches!(StreamAct::parse_open("{}"), Ok((None, StreamAct::Open { data: None, .. }))));
        let append = StreamAct::parse_append(r#"{"fence":1,"at":2,"content":"\u00e9"}"#).unwrap();
        assert!(matches!(append, StreamAct::Append { fence: 1, at: 2, content } if &*content == "é"));
        let end = StreamAct::parse_end(r#"{"fence":1,"outcome":"complete","message": null }"#).unwrap();
        let StreamAct::End { outcome: Outcome::Complete { message }, .. } = end else { panic!("{end:?}") };
        assert_eq!(message.as_deref(), Some(&b"null"[..]));
    }

    #[test]
    fn r27_streams_bodies_are_refused_for_what_frames_are_refused_for() {
        let deep = format!(r#"{{"data":{{"a":{}{}}}}}"#, "[".repeat(200), "]".repeat(200));
        for text in
            ["", "[]", r#"{"room":"r"}"#, r#"{"what":1}"#, r#"{"data":[]}"#, r#"{"lease_ms":999}"#, &deep]
        {
            assert_eq!(StreamAct::parse_open(text).unwrap_err().code, ErrorCode::BadFrame, "{text}");
        }
        assert_eq!(StreamAct::parse_open(r#"{"stream":"@s"}"#).unwrap_err().code, ErrorCode::IdInvalid);
        for text in [
            r#"{"fence":1,"at":0,"content":"","stream":"s"}"#,
            r#"{"fence":1,"at":0,"content":"","room":"r"}"#,
            r#"{"fence":-1,"at":0,"content":""}"#,
            r#"{"fence":1,"at":0.5,"content":""}"#,
            r#"{"fence":1,"at":0}"#,
            r#"{"fence":1,"at":0,"content":"\ud800"}"#,
        ] {
            assert_eq!(StreamAct::parse_append(text).unwrap_err().code, ErrorCode::BadFrame, "{text}");
        }
        for text in [
            r#"{"fence":1,"outcome":"complete","error":1}"#,
            r#"{"fence":1,"outcome":"error","message":1}"#,
            r#"{"fence":1,"outcome":"cancelled","message":null}"#,
            r#"{"fence":1,"outcome":"orphaned"}"#,
            r#"{"fence":1}"#,
        ] {
            assert_eq!(StreamAct::parse_end(text).unwrap_err().code, ErrorCode::BadFrame, "{text}");
        }
    }

    #[test]
    fn r27_streams_a_lease_out_of_bounds_is_told_the_bounds() {
        let refused = StreamAct::parse_open(r#"{"lease_ms":600001}"#).unwrap_err();
        assert!(refused.message.contains("1000 to 600000"), "{refused}");
    }
}
