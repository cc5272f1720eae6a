//! The error codes: one table, equal to `spec/errors.md`.

use std::fmt;

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
    /// This node cannot keep a record that safely.
    DurabilityUnavailable = "durability_unavailable", 409;
    /// Nothing here handles application messages.
    NoHandler = "no_handler", 404;
    /// A token, and nothing to check it with.
    NoAuthenticator = "no_authenticator", 400;
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
    /// Whether it is the server's fault; then the same request can succeed later.
    #[must_use]
    pub const fn is_server_fault(self) -> bool {
        self.http_status() >= 500
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
}

impl Rejection {
    /// A refusal with its explanation.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_the_spec_equals_the_enum() {
        let spec = include_str!("../../../spec/errors.md");
        let rows: Vec<(String, String, bool)> = spec
            .lines()
            .filter(|line| line.starts_with("| ") && !line.starts_with("| code") && !line.starts_with("|--"))
            .map(|line| {
                let cells: Vec<&str> = line.split('|').map(str::trim).collect();
                assert_eq!(cells[3] == "server", cells[4] == "yes", "{line}");
                (cells[1].to_owned(), cells[2].to_owned(), cells[3] == "server")
            })
            .collect();
        let ours: Vec<_> = ErrorCode::ALL
            .iter()
            .map(|code| (code.to_string(), code.http_status().to_string(), code.is_server_fault()))
            .collect();
        assert_eq!(rows, ours);
    }
}
