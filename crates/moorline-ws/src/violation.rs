//! What a peer can do wrong, and the close code that answers it.

use thiserror::Error;

/// A breach of RFC 6455 or RFC 7692 by the peer, after which the connection must be failed (§7.1.7).
///
/// The first violation ends a [`Decoder`](crate::decoder::Decoder): it drops what it held and ignores all
/// further bytes. Answer with a close frame of [`close_code`](Self::close_code), then close the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Violation {
    /// A client must mask every frame (§5.1).
    #[error("the frame is not masked, but a client must mask every frame")]
    Unmasked,
    /// A server must not mask (§5.1).
    #[error("the frame is masked, but a server must not mask")]
    Masked,
    /// No extension was agreed that gives the reserved bit a meaning on such a frame (§5.2). Compression gives one
    /// to the first bit, on the first frame of a data message (RFC 7692 §6).
    #[error("a reserved bit is set that has no meaning on this frame")]
    ReservedBits,
    /// The opcode is one of those reserved for later use (§5.2).
    #[error("the opcode {0:#x} has no meaning")]
    UnknownOpcode(u8),
    /// Control frames must not be fragmented (§5.5).
    #[error("a control frame must not be fragmented")]
    FragmentedControl,
    /// Control frames carry at most 125 bytes (§5.5).
    #[error("a control frame carries at most 125 bytes")]
    LongControl,
    /// The payload length must be encoded in the fewest bytes possible (§5.2).
    #[error("the payload length is not encoded in the fewest bytes")]
    NonMinimalLength,
    /// The top bit of a 64-bit payload length must be zero (§5.2).
    #[error("the top bit of the payload length is set")]
    LengthOverflow,
    /// A continuation frame came, but no message was begun (§5.4).
    #[error("a continuation frame came, but no message was begun")]
    UnexpectedContinuation,
    /// A new message was begun before the fragmented one was finished (§5.4).
    #[error("a new message was begun before the fragmented one was finished")]
    InterruptedMessage,
    /// The message is larger than [`Limits`](crate::decoder::Limits) permits.
    #[error("the message is larger than {limit} bytes")]
    TooBig {
        /// The bound that was exceeded, in bytes of payload.
        limit: usize,
    },
    /// A text message or a close reason is not valid UTF-8 (§8.1).
    #[error("the text is not valid UTF-8")]
    InvalidUtf8,
    /// A compressed message is not what deflate makes, or is cut off (RFC 7692 §7.2.2).
    #[error("the compressed message cannot be inflated")]
    InvalidDeflate,
    /// The payload of a close frame is one byte, too short for a code (§5.5.1).
    #[error("the close frame is too short to carry a code")]
    TruncatedCloseCode,
    /// The code of a close frame may not be sent (§7.4).
    #[error("the close code {0} must not be sent")]
    CloseCode(u16),
}

impl Violation {
    /// The close code to fail the connection with (§7.4.1): 1007 for data that is not what its message says it
    /// is, as text that is not UTF-8 and a compressed message that cannot be inflated; 1009 for a message that is
    /// too big, compressed or inflated; 1002 for all else. RFC 7692 gives no code of its own.
    #[must_use]
    pub const fn close_code(&self) -> u16 {
        match self {
            Self::InvalidUtf8 | Self::InvalidDeflate => 1007,
            Self::TooBig { .. } => 1009,
            _ => 1002,
        }
    }
}
