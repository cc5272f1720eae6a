//! A transport that is as simple as can be: a letter, a length, a payload.

use moorline_proto::batch::Framing;

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

/// A frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// A text.
    Text(String),
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
    let frame = match bytes[0] {
        b'T' => Frame::Text(String::from_utf8(payload).unwrap_or_else(|_| panic!("not UTF-8"))),
        b'P' => Frame::Ping,
        b'O' => Frame::Pong,
        b'C' => Frame::Close(u16::from_be_bytes([payload[0], payload[1]])),
        other => panic!("the letter {other} begins no frame"),
    };
    bytes.drain(..end);
    Some(frame)
}
