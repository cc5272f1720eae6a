//! What stands in URLs, checked.

use axum::extract::FromRequestParts;
use axum::extract::rejection::PathRejection;
use http::request::Parts;
use moorline::{ErrorCode, RoomName, SessionId, UserId};
use moorline_proto::id::StreamName;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Query parameters: an unknown one, one that stands twice or a malformed value is refused.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Self::of(parts)
    }
}

impl<T: DeserializeOwned> Query<T> {
    /// # Errors
    /// Says what is wrong with it.
    pub(crate) fn of(parts: &Parts) -> Result<Self, Problem> {
        let text = parts.uri.query().unwrap_or_default();
        check_encoding(text)?;
        serde_urlencoded::from_str(text).map(Self).map_err(|error| refused(text, &error))
    }
}

/// Says what is wrong with a query. The reason may name a parameter: it is told where none of the names can be something
/// else that slipped to its place, a token for instance.
fn refused(text: &str, why: &serde_urlencoded::de::Error) -> Problem {
    const NAME_BYTES_MAX: usize = 32;
    let is_name = |name: &str| {
        name.len() <= NAME_BYTES_MAX && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase())
    };
    let detail = if text.split('&').all(|pair| is_name(pair.split('=').next().unwrap_or_default())) {
        format!("the query: {why}")
    } else {
        "the query has a parameter that this resource does not know".to_owned()
    };
    Problem::of(ErrorCode::BadFrame, detail)
}

/// Path parameters, decoded.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        check_encoding(parts.uri.path())?;
        axum::extract::Path::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(value)| Self(value))
            .map_err(|error: PathRejection| Problem::of(ErrorCode::BadFrame, error.body_text()))
    }
}

/// Refuses percent signs that encode nothing, and bytes that are no UTF-8: a lenient decoder makes other names of them.
fn check_encoding(text: &str) -> Result<(), Problem> {
    let mut rest = text.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let [first, behind @ ..] = rest {
        let (byte, behind) = match (first, behind) {
            (b'%', [high, low, behind @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, behind),
                _ => {
                    return Err(Problem::of(
                        ErrorCode::BadFrame,
                        "the URL has a percent sign that encodes nothing",
                    ));
                }
            },
            (b'%', _) => return Err(Problem::of(ErrorCode::BadFrame, "the URL ends in a percent sign")),
            (byte, behind) => (*byte, behind),
        };
        decoded.push(byte);
        rest = behind;
    }
    std::str::from_utf8(&decoded).map_err(|_| Problem::of(ErrorCode::BadFrame, "the URL is not UTF-8"))?;
    Ok(())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The name of a room of the application's.
pub(crate) fn room(text: &str) -> Result<RoomName, Problem> {
    RoomName::new(text).map_err(|error| Problem::of(ErrorCode::RoomInvalid, format!("the room name {error}")))
}

/// The name of a room to read, own rooms included.
pub(crate) fn any_room(text: &str) -> Result<RoomName, Problem> {
    RoomName::stored(text)
        .map_err(|error| Problem::of(ErrorCode::RoomInvalid, format!("the room name {error}")))
}

/// The name of a stream.
pub(crate) fn stream(text: &str) -> Result<StreamName, Problem> {
    StreamName::new(text)
        .map_err(|error| Problem::of(ErrorCode::IdInvalid, format!("the stream name {error}")))
}

/// A session's id.
pub(crate) fn session(text: &str) -> Result<SessionId, Problem> {
    SessionId::new(text).map_err(|error| Problem::of(ErrorCode::IdInvalid, format!("the session id {error}")))
}

/// A user's id.
pub(crate) fn user(text: &str) -> Result<UserId, Problem> {
    UserId::new(text).map_err(|error| Problem::of(ErrorCode::IdInvalid, format!("the user id {error}")))
}

/// How many a page may have: `limit`, or 100.
pub(crate) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    const DEFAULT: usize = 100;
    match asked.unwrap_or(DEFAULT) {
        limit if (1..=moorline::SessionFilter::MAX).contains(&limit) => Ok(limit),
        _ => Err(Problem::of(ErrorCode::BadFrame, "limit is 1 to 1000")),
    }
}
