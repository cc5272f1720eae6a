//! What a server sends, as far as it matters here.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use moorline_proto::error::ErrorCode;
use serde::Deserialize;

use super::room::Answer;

/// How long a refusal counts that does not say when to come back.
const LATER: Duration = Duration::from_millis(100);

/// The `type` of the messages that are published.
pub(super) const MESSAGE: &str = "bench";

/// Any frame; of most only some fields are there.
#[derive(Deserialize)]
pub(super) struct Frame<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) room: Option<Cow<'a, str>>,
    pub(super) message_id: Option<u64>,
    /// The sender's number, and when it was due.
    pub(super) n: Option<u64>,
    pub(super) t: Option<u64>,
    /// Of a `reset`.
    pub(super) to: Option<u64>,
    /// Of a `reply`.
    #[serde(borrow)]
    pub(super) error: Option<Refused<'a>>,
    /// Of an `error`.
    #[serde(borrow)]
    pub(super) code: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) message: Option<Cow<'a, str>>,
    /// Of a `closing`.
    pub(super) reconnect_in_ms: Option<u64>,
    /// Of `connection_established`.
    #[serde(borrow)]
    pub(super) session: Option<Cow<'a, str>>,
    pub(super) rooms: Option<HashMap<String, Place>>,
}

/// Where a member stands in a room.
#[derive(Deserialize)]
pub(super) struct Place {
    pub(super) message_id: u64,
}

/// Why not.
#[derive(Deserialize)]
pub(super) struct Refused<'a> {
    #[serde(borrow)]
    pub(super) code: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) message: Cow<'a, str>,
    pub(super) retry_in_ms: Option<u64>,
}

/// What a refusal of a publish means for a benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A limit of the server's: it works as it should.
    Limit,
    /// It may work later.
    Passing,
    /// It will never work.
    Final,
}

/// What this code means.
pub(super) fn kind(code: &str) -> Kind {
    match ErrorCode::ALL.iter().find(|known| known.as_str() == code) {
        Some(ErrorCode::RateLimited | ErrorCode::Overloaded) => Kind::Limit,
        Some(known) if known.is_worth_a_retry() => Kind::Passing,
        _ => Kind::Final,
    }
}

impl Refused<'_> {
    pub(super) fn answer(&self) -> Answer {
        match kind(&self.code) {
            Kind::Limit | Kind::Passing => Answer::Later(later(self.retry_in_ms)),
            Kind::Final => Answer::Refused,
        }
    }
}

/// How long to wait where the server says that, or nothing.
pub(super) fn later(retry_in_ms: Option<u64>) -> Duration {
    retry_in_ms.map_or(LATER, Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_far_as_they_matter() {
        let frame = |text| serde_json::from_str::<Frame<'_>>(text).unwrap();
        let message = r#"{"type":"bench","n":7,"t":9,"data":"xx","room":"r","message_id":3,"timestamp":"2026-11-21T12:00:00.000Z"}"#;
        let Frame { kind, room, message_id, n, t, .. } = frame(message);
        assert_eq!(
            (&*kind, room.as_deref(), message_id, n, t),
            (MESSAGE, Some("r"), Some(3), Some(7), Some(9))
        );
        let refused = frame(
            r#"{"type":"reply","ref":0,"ok":false,"error":{"code":"rate_limited","message":"m","retry_in_ms":5}}"#,
        );
        let answer = refused.error.unwrap().answer();
        assert!(matches!(answer, Answer::Later(wait) if wait == Duration::from_millis(5)));
        let reset =
            frame(r#"{"type":"reset","room":"r","reason":"retention","epoch":"aa","from":null,"to":5}"#);
        assert_eq!(reset.to, Some(5));
        let established = frame(
            r#"{"type":"connection_established","session":"s","rooms":{"r":{"epoch":"aa","message_id":4,"replayed":0}}}"#,
        );
        assert_eq!(established.rooms.unwrap()["r"].message_id, 4);
    }

    #[test]
    fn limits_are_told_from_what_may_pass_and_what_never_will() {
        for (code, expected) in [
            ("rate_limited", Kind::Limit),
            ("overloaded", Kind::Limit),
            ("unavailable", Kind::Passing),
            ("forbidden", Kind::Final),
            ("from the future", Kind::Final),
        ] {
            assert_eq!(kind(code), expected, "{code}");
        }
    }
}
