//! Writing frames (RFC 6455 §5.2): complete server frames to be shared by many receivers, headers to be put
//! before a payload, and the masked frames of a client.

use bytes::Bytes;

use crate::{close, mask};

/// The most bytes a control frame may carry (§5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// The most bytes the header of a server's frame takes.
pub const MAX_HEADER_LEN: usize = 10;

const FIN: u8 = 0x80;
const COMPRESSED: u8 = 0x40;
const MASKED: u8 = 0x80;

/// Which end of the connection *we* are: a server receives masked frames only, a client unmasked ones (§5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The end that accepted the connection.
    Server,
    /// The end that opened it.
    Client,
}

/// What a frame is (§5.2). The reserved values have no variant: they are a
/// [`Violation`](crate::violation::Violation).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum OpCode {
    /// The next part of a message.
    Continuation = 0x0,
    /// A text message, or its first part.
    Text = 0x1,
    /// A binary message, or its first part.
    Binary = 0x2,
    /// Begins or answers the closing handshake.
    Close = 0x8,
    /// Asks for a pong.
    Ping = 0x9,
    /// Answers a ping.
    Pong = 0xa,
}

impl OpCode {
    /// The opcode of a number of four bits, if it has a meaning.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    /// Whether frames of this kind stand between the parts of a message and must be short (§5.5).
    #[must_use]
    pub const fn is_control(self) -> bool {
        self as u8 >= 0x8
    }
}

/// How many bytes the header of an unmasked frame takes: 2, 4 or 10.
///
/// ```
/// # use moorline_ws::frame::header_len;
/// assert_eq!([header_len(125), header_len(126), header_len(65_536)], [2, 4, 10]);
/// ```
#[must_use]
pub const fn header_len(payload_len: usize) -> usize {
    match payload_len {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

/// Appends the header of an unmasked, unfragmented frame. The caller appends exactly `payload_len` bytes
/// next, in as many parts as it likes: this is how a frame is built in place, without copying its payload.
///
/// ```
/// # use moorline_ws::frame::{OpCode, put_header};
/// let (head, tail) = ("{\"data\":", "1}");
/// let mut out = Vec::new();
/// put_header(&mut out, OpCode::Text, head.len() + tail.len());
/// out.extend_from_slice(head.as_bytes());
/// out.extend_from_slice(tail.as_bytes());
/// assert_eq!(out, b"\x81\x0a{\"data\":1}");
/// ```
pub fn put_header(out: &mut Vec<u8>, opcode: OpCode, payload_len: usize) {
    put_length(out, FIN | opcode as u8, 0, payload_len);
}

/// [`put_header`] of a text frame.
pub fn put_text_header(out: &mut Vec<u8>, payload_len: usize) {
    put_header(out, OpCode::Text, payload_len);
}

/// The first byte, then the length in the fewest bytes, as §5.2 demands.
#[expect(clippy::cast_possible_truncation, reason = "each arm bounds the length it casts")]
fn put_length(out: &mut Vec<u8>, first: u8, mask_bit: u8, payload_len: usize) {
    match payload_len {
        0..=125 => out.extend_from_slice(&[first, mask_bit | payload_len as u8]),
        126..=0xffff => {
            out.extend_from_slice(&[first, mask_bit | 126]);
            out.extend_from_slice(&(payload_len as u16).to_be_bytes());
        }
        _ => {
            out.extend_from_slice(&[first, mask_bit | 127]);
            out.extend_from_slice(&(payload_len as u64).to_be_bytes());
        }
    }
}

/// Appends a complete text frame. The payload must be UTF-8, which is the caller's promise and is not
/// checked: frames are built from text that was checked on its way in or was serialised here.
pub fn put_text(out: &mut Vec<u8>, payload: &[u8]) {
    out.reserve(header_len(payload.len()) + payload.len());
    put_text_header(out, payload.len());
    out.extend_from_slice(payload);
}

/// A complete text frame, to be shared by all who receive it. For the payload, see [`put_text`].
///
/// ```
/// # use moorline_ws::frame;
/// assert_eq!(&frame::text(b"Hello")[..], b"\x81\x05Hello");
/// ```
#[must_use]
pub fn text(payload: &[u8]) -> Bytes {
    let mut out = Vec::new();
    put_text(&mut out, payload);
    out.into()
}

/// What an unmasked, complete frame of ours is and carries; `None` if it is cut off.
pub(crate) fn parts(frame: &[u8]) -> Option<(OpCode, &[u8])> {
    let [first, length, ..] = *frame else { return None };
    let header_len = match length {
        ..=125 => 2,
        126 => 4,
        _ => MAX_HEADER_LEN,
    };
    Some((OpCode::from_bits(first & 0x0f)?, frame.get(header_len..)?))
}

/// A complete frame with a compressed payload, which the first reserved bit tells (RFC 7692 §6).
pub(crate) fn compressed(opcode: OpCode, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(header_len(payload.len()) + payload.len());
    put_compressed(&mut out, opcode, payload);
    out.into()
}

/// Appends one.
pub(crate) fn put_compressed(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    put_length(out, FIN | COMPRESSED | opcode as u8, 0, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a complete ping frame (§5.5.2).
///
/// # Panics
/// If the payload is longer than [`MAX_CONTROL_PAYLOAD`], which no peer would accept.
pub fn put_ping(out: &mut Vec<u8>, payload: &[u8]) {
    put_control(out, OpCode::Ping, payload);
}

/// Appends a complete pong frame (§5.5.3); the payload of a received ping always fits.
///
/// # Panics
/// If the payload is longer than [`MAX_CONTROL_PAYLOAD`], which no peer would accept.
pub fn put_pong(out: &mut Vec<u8>, payload: &[u8]) {
    put_control(out, OpCode::Pong, payload);
}

/// Appends a complete close frame (§5.5.1). The reason is cut to [`close::MAX_REASON_LEN`] bytes, between
/// characters.
pub fn put_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    debug_assert!(close::is_valid_code(code), "{code} must not be sent");
    let reason = close::truncate(reason);
    put_header(out, OpCode::Close, 2 + reason.len());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

fn put_control(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    assert!(payload.len() <= MAX_CONTROL_PAYLOAD, "a control frame carries at most 125 bytes");
    put_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// A complete ping frame, see [`put_ping`].
///
/// # Panics
/// If the payload is longer than [`MAX_CONTROL_PAYLOAD`].
#[must_use]
pub fn ping(payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(2 + payload.len());
    put_ping(&mut out, payload);
    out.into()
}

/// A complete pong frame, see [`put_pong`].
///
/// # Panics
/// If the payload is longer than [`MAX_CONTROL_PAYLOAD`].
#[must_use]
pub fn pong(payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(2 + payload.len());
    put_pong(&mut out, payload);
    out.into()
}

/// A complete close frame, see [`put_close`].
///
/// ```
/// # use moorline_ws::frame;
/// assert_eq!(&frame::close(1000, "bye")[..], b"\x88\x05\x03\xe8bye");
/// ```
#[must_use]
pub fn close(code: u16, reason: &str) -> Bytes {
    let mut out = Vec::with_capacity(4 + reason.len().min(close::MAX_REASON_LEN));
    put_close(&mut out, code, reason);
    out.into()
}

/// Appends a complete frame of a client, masked with `mask` (§5.3). The mask must be unpredictable to whoever
/// chose the payload; this crate has no randomness, so the caller draws it anew for each frame.
///
/// # Panics
/// If it is a control frame whose payload is longer than [`MAX_CONTROL_PAYLOAD`].
pub fn put_masked(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8], mask: [u8; 4]) {
    assert!(!opcode.is_control() || payload.len() <= MAX_CONTROL_PAYLOAD, "the control frame is too long");
    put_masked_payload(out, FIN | opcode as u8, payload, mask);
}

/// [`put_masked`] of a message that was compressed by
/// [`Deflater::compress`](crate::deflate::Deflater::compress).
///
/// # Panics
/// If it is a control frame: these are never compressed (RFC 7692 §5).
pub fn put_masked_compressed(out: &mut Vec<u8>, opcode: OpCode, compressed: &[u8], mask: [u8; 4]) {
    assert!(!opcode.is_control(), "a control frame is never compressed");
    put_masked_payload(out, FIN | COMPRESSED | opcode as u8, compressed, mask);
}

fn put_masked_payload(out: &mut Vec<u8>, first: u8, payload: &[u8], mask: [u8; 4]) {
    out.reserve(header_len(payload.len()) + 4 + payload.len());
    put_length(out, first, MASKED, payload.len());
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    mask::apply(&mut out[start..], mask, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_fewest_bytes() {
        let table: [(usize, &[u8]); 5] = [
            (0, &[0x81, 0]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (65_535, &[0x81, 126, 0xff, 0xff]),
            (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ];
        for (len, header) in table {
            let mut out = Vec::new();
            put_text_header(&mut out, len);
            assert_eq!(out, header, "{len}");
            assert_eq!(header_len(len), header.len(), "{len}");
            assert_eq!(text(&vec![b'a'; len]).len(), header.len() + len);
        }
    }

    #[test]
    fn control_frames_are_complete() {
        assert_eq!(&ping(b"")[..], b"\x89\x00");
        assert_eq!(&pong(b"Hello")[..], b"\x8a\x05Hello");
        assert_eq!(&close(1001, "")[..], b"\x88\x02\x03\xe9");
        assert_eq!(close(1001, &"x".repeat(500)).len(), 2 + 125);
    }

    #[test]
    fn a_masked_frame_is_the_example_of_the_rfc() {
        let mut out = Vec::new();
        put_masked(&mut out, OpCode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(out, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    #[test]
    #[should_panic(expected = "at most 125 bytes")]
    fn a_long_ping_is_a_mistake_of_the_caller() {
        let _ = ping(&[0; 126]);
    }

    #[test]
    fn opcodes_and_their_bits_agree() {
        for bits in 0..16 {
            if let Some(opcode) = OpCode::from_bits(bits) {
                assert_eq!(opcode as u8, bits);
            }
        }
        assert_eq!((0..16).filter_map(OpCode::from_bits).count(), 6);
    }
}
