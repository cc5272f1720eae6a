//! From received bytes to events.

use std::{borrow::Cow, mem};

use crate::{
    deflate::{Agreed, Inflater, Window, WindowBits, max_compressed_bytes},
    event::Event,
    frame::{OpCode, Role},
    header::{self, Header, Rules},
    mask,
    message::{Message, Whole},
    violation::Violation,
};

/// The bounds a peer must keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of payload in one message, all its fragments together; 64 KiB by default. A larger one
    /// is refused with 1009 as soon as a frame header declares it. It also bounds the memory a peer can make
    /// the decoder hold. Values above 4 GiB are taken as 4 GiB. A compressed message is refused as soon as it has
    /// inflated to more, or if what came of it is more than [`max_compressed_bytes`] of this.
    pub max_message_bytes: usize,
}

impl Limits {
    /// Messages of up to 64 KiB.
    pub const DEFAULT: Self = Self { max_message_bytes: 64 * 1024 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What one call of [`Decoder::decode`] did.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// How many bytes were consumed from the front of the input: at least one, unless the input was empty.
    pub used: usize,
    /// The message or control frame that these bytes completed.
    pub event: Option<Event<'a>>,
}

/// Takes the bytes of one connection, in order and in parts of any size, and reports whole messages.
///
/// Idle, it is 16 bytes and nothing else (a window too, where the peer takes its context over). Only between
/// the parts of a frame or of a fragmented message does it hold an allocation: what was received of it, at
/// most [`Limits::max_message_bytes`] and a small constant, however much was declared and in however many
/// fragments it comes.
///
/// It refuses what RFC 6455 forbids: frames masked wrongly for the role, reserved bits and opcodes, control
/// frames that are fragmented or over 125 bytes, lengths not in the fewest bytes, fragments out of order,
/// text that is not UTF-8 (at the first wrong byte, even inside an incomplete frame), close codes that must
/// not be sent. Where compression was agreed it refuses what RFC 7692 forbids, too: the compressed bit
/// anywhere but on the first frame of a data message, and messages that cannot be inflated. After a close
/// frame or a [`Violation`] it holds nothing and ignores all that follows.
#[derive(Debug)]
pub struct Decoder {
    held: Option<Box<Held>>,
    max_message_bytes: u32,
    role: Role,
    ended: bool,
    deflate: Deflate,
}

/// Whether messages may be compressed, and what they may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deflate {
    Off,
    EachByItself,
    Takeover(WindowBits),
}

/// What is kept between two reads.
#[derive(Debug, Default)]
struct Held {
    /// The front of a header that is incomplete.
    head: [u8; header::MAX_LEN],
    head_len: u8,
    /// The frame whose payload is incomplete.
    open: Option<Open>,
    /// The data message that is incomplete: its frame is, or fragments of it are to come.
    message: Option<Message>,
    /// What came of the payload of the control frame that is open.
    control: Vec<u8>,
    /// What compressed messages to come may refer to.
    window: Option<Window>,
}

#[derive(Debug)]
struct Open {
    header: Header,
    received: usize,
}

impl Decoder {
    /// A decoder for the bytes received by the given end of the connection.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the value was compared with the bound")]
    pub const fn new(role: Role, limits: Limits) -> Self {
        let max = limits.max_message_bytes;
        let max_message_bytes = if max > u32::MAX as usize { u32::MAX } else { max as u32 };
        Self { held: None, max_message_bytes, role, ended: false, deflate: Deflate::Off }
    }

    /// Other limits from now on; for a message that has begun too.
    pub fn set_limits(&mut self, limits: Limits) {
        self.max_message_bytes = Self::new(self.role, limits).max_message_bytes;
    }

    /// Messages may be compressed from now on, as was agreed. To be called before the first byte is decoded.
    pub fn set_deflate(&mut self, agreed: &Agreed) {
        let receiving = agreed.receiving(self.role);
        self.deflate = match receiving.context_takeover {
            true => Deflate::Takeover(receiving.max_window_bits),
            false => Deflate::EachByItself,
        };
    }

    /// Whether messages may be compressed, and so become larger than what was received of them.
    #[must_use]
    pub const fn may_inflate(&self) -> bool {
        !matches!(self.deflate, Deflate::Off)
    }

    /// Consumes bytes from the front of `input`, unmasking them in place, and reports at most one event.
    ///
    /// Call it until the input is used up:
    ///
    /// ```
    /// use moorline_ws::{decoder::{Decoder, Limits}, event::Event, frame::{self, OpCode, Role}};
    ///
    /// let mut received = Vec::new();
    /// frame::put_masked(&mut received, OpCode::Text, b"one", [1, 2, 3, 4]);
    /// frame::put_masked(&mut received, OpCode::Ping, b"two", [5, 6, 7, 8]);
    ///
    /// let mut decoder = Decoder::new(Role::Server, Limits::DEFAULT);
    /// let mut seen = Vec::new();
    /// let mut input = &mut received[..];
    /// while !input.is_empty() {
    ///     let decoded = decoder.decode(input)?;
    ///     let used = decoded.used;
    ///     match decoded.event {
    ///         Some(Event::Text(text)) => seen.push(text.to_string()),
    ///         Some(Event::Ping(payload)) => assert_eq!(&frame::pong(&payload)[..], b"\x8a\x03two"),
    ///         _ => {}
    ///     }
    ///     input = &mut input[used..];
    /// }
    /// assert_eq!(seen, ["one"]);
    /// assert!(decoder.is_idle());
    /// # Ok::<(), moorline_ws::violation::Violation>(())
    /// ```
    ///
    /// A message in a single frame that lies whole in `input` is borrowed from it and costs no allocation.
    /// A compressed one is inflated with an [`Inflater`] of its own; see [`decode_with`](Self::decode_with).
    ///
    /// # Errors
    /// The [`Violation`] by which the peer broke the protocol. The decoder has then ended.
    pub fn decode<'a>(&mut self, input: &'a mut [u8]) -> Result<Decoded<'a>, Violation> {
        self.decode_with(input, &mut Inflater::new())
    }

    /// [`decode`](Self::decode) where messages may be compressed, with the inflater of the thread.
    ///
    /// # Errors
    /// As there.
    pub fn decode_with<'a>(
        &mut self,
        input: &'a mut [u8],
        inflater: &mut Inflater,
    ) -> Result<Decoded<'a>, Violation> {
        if self.ended {
            return Ok(Decoded { used: input.len(), event: None });
        }
        let result = self.step(input, inflater);
        let ended = matches!(result, Err(_) | Ok(Decoded { event: Some(Event::Close(_)), .. }));
        self.ended = ended;
        if ended || self.held.as_ref().is_some_and(|held| held.is_empty()) {
            self.held = None;
        }
        result
    }

    /// Whether no memory is held: no frame and no message is incomplete, and there is no window.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.held.is_none()
    }

    /// The bytes of heap held for what is incomplete, and of the window; 0 when idle.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held.as_ref().map_or(0, |held| mem::size_of::<Held>() + held.capacity())
    }

    fn step<'a>(&mut self, input: &'a mut [u8], inflater: &mut Inflater) -> Result<Decoded<'a>, Violation> {
        match &self.held {
            Some(held) if held.open.is_some() => self.payload(0, input, inflater),
            Some(held) if held.head_len > 0 => self.rest_of_header(input, inflater),
            _ => self.frame(input, inflater),
        }
    }

    fn rules(&self) -> Rules {
        let message = self.held.as_ref().and_then(|held| held.message.as_ref());
        Rules {
            role: self.role,
            begun: message.map(Message::begun),
            limit: self.max_message_bytes as usize,
            deflate: self.deflate != Deflate::Off,
        }
    }

    /// At the boundary of two frames.
    fn frame<'a>(&mut self, input: &'a mut [u8], inflater: &mut Inflater) -> Result<Decoded<'a>, Violation> {
        let Some(header) = Header::parse(input, &self.rules())? else {
            self.hold().keep_head(input);
            return Ok(Decoded { used: input.len(), event: None });
        };
        let rest = &mut input[header.len..];
        if header.is_whole_event() && rest.len() >= header.payload_len {
            let payload = &mut rest[..header.payload_len];
            mask::apply(payload, header.mask, 0);
            let event = match header.compressed {
                true => self.inflate(header.opcode, payload, inflater)?,
                false => Event::of_payload(header.opcode, Cow::Borrowed(payload))?,
            };
            return Ok(Decoded { used: header.len + header.payload_len, event: Some(event) });
        }
        self.hold().begin(header);
        self.payload(header.len, rest, inflater)
    }

    /// Completes a header whose front is held, a byte at a time: it is 14 bytes at most.
    fn rest_of_header(
        &mut self,
        input: &mut [u8],
        inflater: &mut Inflater,
    ) -> Result<Decoded<'static>, Violation> {
        let rules = self.rules();
        let held = self.hold();
        for used in 1..=input.len() {
            held.keep_head(&input[used - 1..used]);
            if let Some(header) = Header::parse(held.head(), &rules)? {
                held.begin(header);
                return self.payload(used, &mut input[used..], inflater);
            }
        }
        Ok(Decoded { used: input.len(), event: None })
    }

    /// Takes what there is of the payload of the open frame, after `used` bytes of its header.
    fn payload(
        &mut self,
        used: usize,
        input: &mut [u8],
        inflater: &mut Inflater,
    ) -> Result<Decoded<'static>, Violation> {
        let limit = self.max_message_bytes as usize;
        let held = self.hold();
        let used = used + held.take_payload(input, limit)?;
        let event = match held.finish()? {
            Some(Whole::Compressed(opcode, payload)) => Some(self.inflate(opcode, &payload, inflater)?),
            Some(Whole::Event(event)) => Some(event),
            None => None,
        };
        Ok(Decoded { used, event })
    }

    /// A compressed message that is whole.
    fn inflate(
        &mut self,
        opcode: OpCode,
        payload: &[u8],
        inflater: &mut Inflater,
    ) -> Result<Event<'static>, Violation> {
        let limit = self.max_message_bytes as usize;
        let message = if let Deflate::Takeover(bits) = self.deflate {
            let window = self.hold().window.get_or_insert(Window::new(bits));
            inflater.inflate_in(window, payload, limit)?
        } else {
            inflater.inflate(payload, limit)?
        };
        Event::of_payload(opcode, Cow::Owned(message))
    }

    fn hold(&mut self) -> &mut Held {
        self.held.get_or_insert_default()
    }
}

impl Header {
    /// Whether the frame is reported by itself, not as a part of a fragmented message.
    fn is_whole_event(&self) -> bool {
        self.fin && self.opcode != OpCode::Continuation
    }
}

impl Held {
    fn is_empty(&self) -> bool {
        let has_window = self.window.as_ref().is_some_and(|window| window.held_bytes() > 0);
        self.head_len == 0 && self.open.is_none() && self.message.is_none() && !has_window
    }

    fn capacity(&self) -> usize {
        self.control.capacity()
            + self.message.as_ref().map_or(0, Message::capacity)
            + self.window.as_ref().map_or(0, Window::held_bytes)
    }

    fn head(&self) -> &[u8] {
        &self.head[..usize::from(self.head_len)]
    }

    /// Keeps more of a header; never more than fit, as that many bytes would be a whole one.
    fn keep_head(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.head[usize::from(self.head_len)] = byte;
            self.head_len += 1;
        }
    }

    fn begin(&mut self, header: Header) {
        self.head_len = 0;
        self.open = Some(Open { header, received: 0 });
        if matches!(header.opcode, OpCode::Text | OpCode::Binary) {
            self.message = Some(Message::new(&header));
        }
    }

    /// Unmasks and keeps what belongs to the open frame; returns how much that was.
    fn take_payload(&mut self, input: &mut [u8], limit: usize) -> Result<usize, Violation> {
        let Some(open) = &mut self.open else { return Ok(0) };
        let missing = open.header.payload_len - open.received;
        let used = missing.min(input.len());
        let part = &mut input[..used];
        mask::apply(part, open.header.mask, open.received);
        open.received += used;
        match &mut self.message {
            Some(message) if !open.header.opcode.is_control() => {
                let most = match open.header.fin {
                    true => message.len() + missing,
                    false if message.is_compressed() => max_compressed_bytes(limit),
                    false => limit,
                };
                message.push(part, most)?;
            }
            _ => self.control.extend_from_slice(part),
        }
        Ok(used)
    }

    /// The event of the open frame, if it is complete and has one.
    fn finish(&mut self) -> Result<Option<Whole>, Violation> {
        let Some(Open { header, .. }) = self.open.take_if(|open| open.received == open.header.payload_len)
        else {
            return Ok(None);
        };
        if header.opcode.is_control() {
            let payload = mem::take(&mut self.control);
            let event = Event::of_payload(header.opcode, Cow::Owned(payload))?;
            return Ok(Some(Whole::Event(event)));
        }
        let message = self.message.take_if(|_| header.fin);
        message.map(Message::finish).transpose()
    }
}
