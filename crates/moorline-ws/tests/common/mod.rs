//! Frames as a peer writes them, right or wrong, and a driver that feeds a decoder as the crate doc says.

#![allow(dead_code, reason = "each test crate uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "these are tests, though outside of a test function")]

use moorline_ws::{
    decoder::{Decoder, Limits},
    deflate::{Agreed, Inflater, WindowBits, max_compressed_bytes},
    event::Event,
    frame::Role,
    mask,
    violation::Violation,
};

pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;
pub(crate) const FIN: u8 = 0x80;
/// The reserved bit that tells a compressed message.
pub(crate) const RSV1: u8 = 0x40;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// How the length of a frame is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Minimal,
    Wide16,
    Wide64,
    /// 64 bits that need not be the truth.
    Declared(u64),
}

/// A frame of a client, with every field free to be wrong.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// FIN, reserved bits and opcode.
    pub(crate) first: u8,
    pub(crate) mask: Option<[u8; 4]>,
    pub(crate) length: Length,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(first: u8, payload: impl AsRef<[u8]>) -> Self {
        let payload = payload.as_ref().to_vec();
        Self { first, mask: Some(MASK), length: Length::Minimal, payload }
    }

    /// A frame that is a whole message or control frame.
    pub(crate) fn whole(opcode: u8, payload: impl AsRef<[u8]>) -> Self {
        Self::new(FIN | opcode, payload)
    }

    pub(crate) fn close(code: u16, reason: impl AsRef<[u8]>) -> Self {
        Self::whole(CLOSE, [&code.to_be_bytes(), reason.as_ref()].concat())
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.first];
        let mask_bit = if self.mask.is_some() { 0x80 } else { 0 };
        let len = self.payload.len();
        match (self.length, len) {
            (Length::Minimal, 0..=125) => bytes.push(mask_bit | u8::try_from(len).unwrap()),
            (Length::Minimal | Length::Wide16, 0..=0xffff) => {
                bytes.push(mask_bit | 126);
                bytes.extend(u16::try_from(len).unwrap().to_be_bytes());
            }
            (length, _) => {
                let declared = if let Length::Declared(declared) = length { declared } else { len as u64 };
                bytes.push(mask_bit | 127);
                bytes.extend(declared.to_be_bytes());
            }
        }
        bytes.extend(self.mask.iter().flatten());
        let start = bytes.len();
        bytes.extend(&self.payload);
        mask::apply(&mut bytes[start..], self.mask.unwrap_or_default(), 0);
        bytes
    }
}

pub(crate) fn stream(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(Frame::bytes).collect()
}

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Outcome {
    pub(crate) events: Vec<Event<'static>>,
    pub(crate) violation: Option<Violation>,
}

/// A decoder and what it has reported so far. It checks at each step what must hold at every step.
pub(crate) struct Driver {
    pub(crate) decoder: Decoder,
    pub(crate) outcome: Outcome,
    pub(crate) most_held: usize,
    /// The most that may be held for a message, and between messages.
    allowed: usize,
    inflater: Inflater,
}

impl Driver {
    /// What a decoder may hold beside the bytes of a message: its bookkeeping and one control frame.
    pub(crate) const OVERHEAD: usize = 512;

    pub(crate) fn new(role: Role, limit: usize) -> Self {
        let decoder = Decoder::new(role, Limits { max_message_bytes: limit });
        Self { decoder, outcome: Outcome::default(), most_held: 0, allowed: limit, inflater: Inflater::new() }
    }

    /// One that takes compressed messages, too.
    pub(crate) fn with_deflate(role: Role, limit: usize, agreed: &Agreed) -> Self {
        let mut driver = Self::new(role, limit);
        driver.decoder.set_deflate(agreed);
        let receiving = agreed.receiving(role);
        let window = if receiving.context_takeover { receiving.max_window_bits.bytes() } else { 0 };
        driver.allowed = max_compressed_bytes(limit) + window;
        driver
    }

    pub(crate) fn feed(&mut self, part: &[u8]) {
        let mut copy = part.to_vec();
        let mut input = &mut copy[..];
        while !input.is_empty() && self.outcome.violation.is_none() {
            let len = input.len();
            match self.decoder.decode_with(input, &mut self.inflater) {
                Ok(decoded) => {
                    let used = decoded.used;
                    assert!((1..=len).contains(&used), "used {used} of {len}");
                    self.outcome.events.extend(decoded.event.map(Event::into_owned));
                    input = &mut input[used..];
                }
                Err(violation) => {
                    self.outcome.violation = Some(violation);
                    assert!(self.decoder.is_idle(), "a decoder that ended holds nothing");
                }
            }
            self.check_held();
        }
    }

    fn check_held(&mut self) {
        let held = self.decoder.held_bytes();
        assert!(held <= self.allowed + Self::OVERHEAD, "{held} bytes held, allowed are {}", self.allowed);
        assert_eq!(self.decoder.is_idle(), held == 0);
        self.most_held = self.most_held.max(held);
    }
}

/// What is agreed where both directions are alike.
pub(crate) fn agreed(context_takeover: bool, bits: u8) -> Agreed {
    let max_window_bits = WindowBits::new(bits).unwrap();
    let direction = moorline_ws::deflate::Direction { context_takeover, max_window_bits };
    Agreed { server: direction, client: direction }
}

/// Decodes a client's stream that arrives cut at `cuts`, which must ascend.
pub(crate) fn decode_cut(bytes: &[u8], cuts: impl IntoIterator<Item = usize>, limit: usize) -> Outcome {
    let mut driver = Driver::new(Role::Server, limit);
    let mut start = 0;
    for cut in cuts {
        driver.feed(&bytes[start..cut]);
        start = cut;
    }
    driver.feed(&bytes[start..]);
    driver.outcome
}

pub(crate) fn decode(bytes: &[u8], limit: usize) -> Outcome {
    decode_cut(bytes, [], limit)
}

pub(crate) fn decode_by_byte(bytes: &[u8], limit: usize) -> Outcome {
    decode_cut(bytes, 0..bytes.len(), limit)
}
