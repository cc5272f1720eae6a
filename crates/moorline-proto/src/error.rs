//! The error codes: one table, equal to `spec/errors.md`.

use std::fmt;
use std::time::Duration;

use serde::ser::SerializeStruct as _;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal;)+) => {
        /// Why a frame or a request was refused. [`ErrorCode::as_str`] is what stands on the wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $name,)+ }

        impl ErrorCode {
            /// All of them, in the table's order.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The code on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// The HTTP status that goes with it.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }
        }
    };
}

error_codes! {
    /// Not JSON, not an object, no `type`, too deep, or a field missing, unknown or of the wrong kind.
    BadFrame = "bad_frame", 400;
    /// A second `hello`.
    AlreadyEstablished = "already_established", 409;
    /// Not a room name.
    RoomInvalid = "room_invalid", 400;
    /// No room given and the URL names none.
    RoomRequired = "room_required", 400;
    /// The session is not a member of that room.
    NotAMember = "not_a_member", 409;
    /// The session is in as many rooms as it may be.
    TooManyRooms = "too_many_rooms", 409;
    /// An acknowledgement of something this connection was not sent.
    AckBeyond = "ack_beyond", 409;
    /// A position of another epoch than the room's.
    EpochMismatch = "epoch_mismatch", 409;
    /// Not a message: no object, no type, a reserved name or type, or a key twice.
    MessageInvalid = "message_invalid", 400;
    /// `to` or `except` names nothing that can be addressed, or too many.
    TargetInvalid = "target_invalid", 400;
    /// Not an id of a session, user or publish.
    IdInvalid = "id_invalid", 400;
    /// Metadata that is no object, or too large.
    MetadataInvalid = "metadata_invalid", 400;
    /// A body or message over its limit.
    MessageTooBig = "message_too_big", 413;
    /// The publish id was used for another message.
    Conflict = "conflict", 409;
    /// Another principal holds the stream.
    StreamTaken = "stream_taken", 409;
    /// The stream has its terminal record.
    StreamEnded = "stream_ended", 409;
    /// The fence is not the present one of this principal.
    Fenced = "fenced", 409;
    /// An append beyond the stream's length.
    AtMismatch = "at_mismatch", 409;
    /// The append would make the stream's text too long.
    StreamTooBig = "stream_too_big", 413;
    /// A reader asked to stop.
    StreamCancelled = "stream_cancelled", 409;
    /// This node cannot keep a record that safely.
    DurabilityUnavailable = "durability_unavailable", 409;
    /// Nothing here handles application messages.
    NoHandler = "no_handler", 404;
    /// A token, and nothing to check it with.
    NoAuthenticator = "no_authenticator", 400;
    /// No token or API key, or one that is not accepted.
    NotAuthenticated = "not_authenticated", 401;
    /// The token, the API key or the application does not allow it.
    Forbidden = "forbidden", 403;
    /// Too many frames, bytes, handshakes or requests.
    RateLimited = "rate_limited", 429;
    /// A browser page of an origin that is not allowed.
    ForbiddenOrigin = "forbidden_origin", 403;
    /// There is no such thing.
    NotFound = "not_found", 404;
    /// A bound of the server is reached.
    Overloaded = "overloaded", 503;
    /// The log or the session store did not answer, or the server drains.
    Unavailable = "unavailable", 503;
    /// Our fault.
    Internal = "internal", 500;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ErrorCode {
    /// Whether it is the server's fault.
    #[must_use]
    pub const fn is_server_fault(self) -> bool {
        self.http_status() >= 500
    }

    /// Whether the same request can succeed later without being changed.
    #[must_use]
    pub const fn is_worth_a_retry(self) -> bool {
        self.is_server_fault() || matches!(self, Self::RateLimited)
    }
}

/// A refusal: the code for programs, the text for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Rejection {
    /// Which row of the table.
    pub code: ErrorCode,
    /// What exactly, and where possible how to mend it. Holds no secrets.
    pub message: String,
    /// When a later try may succeed, where that is known.
    pub retry_in: Option<Duration>,
    /// The length of the stream's text in code points, for `at_mismatch`.
    pub at: Option<u64>,
}

impl Rejection {
    /// A refusal with its explanation.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_in: None, at: None }
    }

    /// The same, saying when a later try may succeed.
    #[must_use]
    pub fn retry_in(self, retry_in: Duration) -> Self {
        Self { retry_in: Some(retry_in), ..self }
    }

    /// `retry_in` as the wire has it: in milliseconds, and never a moment too early.
    #[must_use]
    pub fn retry_in_ms(&self) -> Option<u64> {
        self.retry_in.map(|wait| u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX))
    }
}

/// As the wire has it: `code`, `message`, and `retry_in_ms` and `at` where they are known.
impl serde::Serialize for Rejection {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let retry_in_ms = self.retry_in_ms();
        let mut out = serializer.serialize_struct(
            "Rejection",
            2 + usize::from(retry_in_ms.is_some()) + usize::from(self.at.is_some()),
        )?;
        out.serialize_field("code", self.code.as_str())?;
        out.serialize_field("message", &self.message)?;
        if let Some(retry_in_ms) = retry_in_ms {
            out.serialize_field("retry_in_ms", &retry_in_ms)?;
        }
        if let Some(at) = self.at {
            out.serialize_field("at", &at)?;
        }
        out.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_the_spec_equals_the_enum() {
        let spec = include_str!("../../../spec/errors.md");
        let rows: Vec<(String, String, bool, bool)> = spec
            .lines()
            .filter(|line| line.starts_with("| ") && !line.starts_with("| code") && !line.starts_with("|--"))
            .map(|line| {
                let cells: Vec<&str> = line.split('|').map(str::trim).collect();
                (cells[1].to_owned(), cells[2].to_owned(), cells[3] == "server", cells[4] == "yes")
            })
            .collect();
        let ours: Vec<_> = ErrorCode::ALL
            .iter()
            .map(|code| {
                let status = code.http_status().to_string();
                (code.to_string(), status, code.is_server_fault(), code.is_worth_a_retry())
            })
            .collect();
        assert_eq!(rows, ours);
    }
}
