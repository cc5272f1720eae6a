//! A transport that is as simple as can be: a letter, a length, a payload.

use moorline_proto::batch::Framing;
use moorline_proto::coding::Coding;
use moorline_proto::shard::ConnectionId;

/// How frames are laid out.
pub const FRAMING: Framing = Framing {
    text_header: |out, bytes| header(out, b'T', bytes),
    ping: |out| header(out, b'P', 0),
    pong: |out, payload| {
        header(out, b'O', payload.len());
        out.extend_from_slice(payload);
    },
    close: |out, code, _| {
        header(out, b'C', 2);
        out.extend_from_slice(&code.to_be_bytes());
    },
};

fn header(out: &mut Vec<u8>, kind: u8, bytes: usize) {
    out.push(kind);
    out.extend_from_slice(&u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes());
}

/// How a connection's messages are compressed: not at all, or in one of two ways.
#[must_use]
pub const fn coding_of(connection: ConnectionId) -> Option<Coding> {
    match connection.0 % 4 {
        1 => Some(Coding::Deflate9),
        2 => Some(Coding::Deflate15),
        _ => None,
    }
}

/// What stands for compression: another letter, and no byte that is the same. It leaves out the texts whose length is odd.
pub fn compress(coding: Coding, frame: &[u8], out: &mut Vec<u8>) -> bool {
    let is_compressed = frame[0] == b'T' && frame.len() % 2 == 1;
    if is_compressed {
        out.push(b'0' + coding as u8);
        out.extend_from_slice(&frame[1..5]);
        out.extend(frame[5..].iter().map(|byte| byte ^ MASK));
    }
    is_compressed
}

const MASK: u8 = 0xa5;
const CODINGS: [Coding; Coding::COUNT] = [Coding::Deflate9, Coding::Deflate12, Coding::Deflate15];

/// A frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// A text.
    Text(String),
    /// A text that was compressed.
    Coded(Coding, String),
    /// A ping.
    Ping,
    /// A pong.
    Pong,
    /// The end, with its code.
    Close(u16),
}

/// Takes the first whole frame off `bytes`.
pub fn take(bytes: &mut Vec<u8>) -> Option<Frame> {
    let length: [u8; 4] = bytes.get(1..5)?.try_into().ok()?;
    let end = 5 + u32::from_be_bytes(length) as usize;
    let payload = bytes.get(5..end)?.to_vec();
    let text = |payload| String::from_utf8(payload).unwrap_or_else(|_| panic!("not UTF-8"));
    let frame = match bytes[0] {
        b'T' => Frame::Text(text(payload)),
        coded @ b'0'..=b'2' => {
            let payload = payload.iter().map(|byte| byte ^ MASK).collect();
            Frame::Coded(CODINGS[usize::from(coded - b'0')], text(payload))
        }
        b'P' => Frame::Ping,
        b'O' => Frame::Pong,
        b'C' => Frame::Close(u16::from_be_bytes([payload[0], payload[1]])),
        other => panic!("the letter {other} begins no frame"),
    };
    bytes.drain(..end);
    Some(frame)
}
