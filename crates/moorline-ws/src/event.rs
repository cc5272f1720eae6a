//! What a decoder reports.

use std::borrow::Cow;

use crate::{close::Close, frame::OpCode, violation::Violation};

/// A whole message or control frame.
///
/// What lay whole in the input is borrowed from it, without a copy. What arrived in parts was gathered by the
/// decoder and is handed over as its own allocation, so that the decoder keeps nothing of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// A text message, checked to be UTF-8 (RFC 6455 §5.6).
    Text(Cow<'a, str>),
    /// A binary message (§5.6).
    Binary(Cow<'a, [u8]>),
    /// A ping, to be answered by a pong with the same payload of at most 125 bytes (§5.5.2).
    Ping(Cow<'a, [u8]>),
    /// A pong, asked for or not (§5.5.3); at most 125 bytes.
    Pong(Cow<'a, [u8]>),
    /// The peer closes (§5.5.1): answer with [`close::reply`](crate::close::reply). Nothing follows; the
    /// decoder ignores all further bytes.
    Close(Option<Close<'a>>),
}

impl<'a> Event<'a> {
    /// The event of a message or control frame whose whole unmasked payload is here.
    pub(crate) fn of_payload(opcode: OpCode, payload: Cow<'a, [u8]>) -> Result<Self, Violation> {
        Ok(match opcode {
            OpCode::Text => Self::Text(cow_text(payload)?),
            OpCode::Binary | OpCode::Continuation => Self::Binary(payload),
            OpCode::Ping => Self::Ping(payload),
            OpCode::Pong => Self::Pong(payload),
            OpCode::Close => Self::Close(Close::parse(payload)?),
        })
    }

    /// The same event with its payload owned, to be kept beyond the input it was borrowed from. Copies what
    /// is borrowed, moves what is owned.
    #[must_use]
    pub fn into_owned(self) -> Event<'static> {
        match self {
            Self::Text(text) => Event::Text(Cow::Owned(text.into_owned())),
            Self::Binary(bytes) => Event::Binary(Cow::Owned(bytes.into_owned())),
            Self::Ping(bytes) => Event::Ping(Cow::Owned(bytes.into_owned())),
            Self::Pong(bytes) => Event::Pong(Cow::Owned(bytes.into_owned())),
            Self::Close(close) => {
                Event::Close(close.map(|c| Close { code: c.code, reason: Cow::Owned(c.reason.into_owned()) }))
            }
        }
    }
}

/// Text that is whole and at hand.
pub(crate) fn cow_text(bytes: Cow<'_, [u8]>) -> Result<Cow<'_, str>, Violation> {
    match bytes {
        Cow::Borrowed(bytes) => simdutf8::basic::from_utf8(bytes).map(Cow::Borrowed).ok(),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).ok(),
    }
    .ok_or(Violation::InvalidUtf8)
}
