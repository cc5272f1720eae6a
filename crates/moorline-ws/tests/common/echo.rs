//! A server that sends every message back, driven as the crate's documentation says, and what a client reads of it.

#![allow(dead_code, reason = "each test crate uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "these are tests, though outside of a test function")]

use moorline_ws::{
    close,
    decoder::{Decoder, Limits},
    deflate::{Agreed, Compression, Deflater, Inflater, Window},
    event::Event,
    frame::{self, OpCode, Role},
};

use super::Frame;

/// However short a message is.
pub(crate) const COMPRESSION: Compression = Compression { threshold_bytes: 0, level: 2 };

/// What one end compresses with.
pub(crate) struct Sender {
    deflater: Deflater,
    /// `None` where each message is compressed by itself.
    window: Option<Window>,
    agreed: Agreed,
    role: Role,
}

impl Sender {
    pub(crate) fn new(role: Role, agreed: &Agreed) -> Self {
        let direction = agreed.sending(role);
        let window = direction.context_takeover.then(|| Window::new(direction.max_window_bits));
        Self { deflater: Deflater::new(COMPRESSION), window, agreed: *agreed, role }
    }

    /// The compressed payload, if it is shorter.
    pub(crate) fn compress(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let compressed = match &mut self.window {
            Some(window) => self.deflater.compress_in(window, payload),
            None => self.deflater.compress(payload, self.agreed.sending(self.role).max_window_bits),
        };
        compressed.map(<[u8]>::to_vec)
    }

    fn put(&mut self, out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
        let frame = match &mut self.window {
            Some(window) => self.deflater.frame_in(window, opcode, payload),
            None => self.deflater.frame(opcode, payload, self.agreed.shared_window(self.role).unwrap()),
        };
        match frame {
            Some(frame) => out.extend_from_slice(&frame),
            None => put(out, opcode, payload),
        }
    }
}

fn put(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    frame::put_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// The server, and the client that reads its answers.
pub(crate) struct Echo {
    decoder: Decoder,
    sender: Option<Sender>,
    reader: Decoder,
    inflater: Inflater,
    is_over: bool,
    /// What the server has written and the client has not read.
    written: Vec<u8>,
    /// All that the server has written, in bytes.
    pub(crate) written_bytes: usize,
}

impl Echo {
    pub(crate) fn new(limit: usize, agreed: Option<&Agreed>) -> Self {
        let limits = Limits { max_message_bytes: limit };
        let mut echo = Self {
            decoder: Decoder::new(Role::Server, limits),
            sender: agreed.map(|agreed| Sender::new(Role::Server, agreed)),
            reader: Decoder::new(Role::Client, limits),
            inflater: Inflater::new(),
            is_over: false,
            written: Vec::new(),
            written_bytes: 0,
        };
        if let Some(agreed) = agreed {
            echo.decoder.set_deflate(agreed);
            echo.reader.set_deflate(agreed);
        }
        echo
    }

    /// The server receives this; it has been answered when this returns.
    pub(crate) fn receive(&mut self, part: &[u8]) {
        let mut copy = part.to_vec();
        let mut input = &mut copy[..];
        while !input.is_empty() && !self.is_over {
            let out = &mut self.written;
            match self.decoder.decode_with(input, &mut self.inflater) {
                Ok(decoded) => {
                    match decoded.event {
                        Some(Event::Text(text)) => echo(&mut self.sender, out, OpCode::Text, text.as_bytes()),
                        Some(Event::Binary(bytes)) => echo(&mut self.sender, out, OpCode::Binary, &bytes),
                        Some(Event::Ping(payload)) => frame::put_pong(out, &payload),
                        Some(Event::Close(said)) => {
                            out.extend_from_slice(&close::reply(said.as_ref()));
                            self.is_over = true;
                        }
                        Some(Event::Pong(_)) | None => {}
                    }
                    let used = decoded.used;
                    input = &mut input[used..];
                }
                Err(violation) => {
                    frame::put_close(out, violation.close_code(), "");
                    self.is_over = true;
                }
            }
        }
    }

    /// What the client has read since it was last asked.
    pub(crate) fn replies(&mut self) -> Vec<Event<'static>> {
        let mut written = std::mem::take(&mut self.written);
        self.written_bytes += written.len();
        let mut input = &mut written[..];
        let mut replies = Vec::new();
        while !input.is_empty() {
            let decoded = self.reader.decode_with(input, &mut self.inflater).unwrap();
            replies.extend(decoded.event.map(Event::into_owned));
            let used = decoded.used;
            input = &mut input[used..];
        }
        replies
    }
}

fn echo(sender: &mut Option<Sender>, out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    match sender {
        Some(sender) => sender.put(out, opcode, payload),
        None => put(out, opcode, payload),
    }
}

/// How what is sent is cut into what arrives at once.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    Nowhere,
    BetweenFrames,
    /// After this many bytes each.
    Every(usize),
}

impl Cut {
    pub(crate) fn parts(self, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
        match self {
            Self::Nowhere => vec![frames.concat()],
            Self::BetweenFrames => frames.to_vec(),
            Self::Every(length) => frames.concat().chunks(length).map(<[u8]>::to_vec).collect(),
        }
    }
}

/// The frames as they travel.
pub(crate) fn encoded(frames: &[Frame]) -> Vec<Vec<u8>> {
    frames.iter().map(Frame::bytes).collect()
}
