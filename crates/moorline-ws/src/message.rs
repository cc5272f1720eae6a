//! The data message that arrives in parts: kept as it comes, checked as it comes, never larger than what came.

use std::borrow::Cow;

use crate::{
    event::Event,
    frame::OpCode,
    header::{Begun, Header},
    violation::Violation,
};

/// A message of which some parts are still to come.
#[derive(Debug)]
pub(crate) enum Message {
    Text(Text),
    Binary(Vec<u8>),
    /// Of either kind, to be inflated once it is whole: until then it takes no more memory than what came.
    Compressed(OpCode, Vec<u8>),
}

/// A message that is whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    Event(Event<'static>),
    Compressed(OpCode, Vec<u8>),
}

impl Message {
    /// Nothing is allocated until the first byte comes.
    pub(crate) fn new(first: &Header) -> Self {
        match first.opcode {
            opcode if first.compressed => Self::Compressed(opcode, Vec::new()),
            OpCode::Text => Self::Text(Text::default()),
            _ => Self::Binary(Vec::new()),
        }
    }

    pub(crate) fn begun(&self) -> Begun {
        Begun { len: self.len(), compressed: self.is_compressed() }
    }

    pub(crate) const fn is_compressed(&self) -> bool {
        matches!(self, Self::Compressed(..))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.checked.len() + text.pending().len(),
            Self::Binary(bytes) | Self::Compressed(_, bytes) => bytes.len(),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        match self {
            Self::Text(text) => text.checked.capacity(),
            Self::Binary(bytes) | Self::Compressed(_, bytes) => bytes.capacity(),
        }
    }

    /// Adds an unmasked part. `most` bounds the length of the message, and with it the room kept for it.
    pub(crate) fn push(&mut self, part: &[u8], most: usize) -> Result<(), Violation> {
        let more = growth(self.len() + part.len(), self.capacity(), most);
        match self {
            Self::Text(text) => {
                text.checked.reserve_exact(more.saturating_sub(text.checked.len()));
                text.push(part)
            }
            Self::Binary(bytes) | Self::Compressed(_, bytes) => {
                bytes.reserve_exact(more.saturating_sub(bytes.len()));
                bytes.extend_from_slice(part);
                Ok(())
            }
        }
    }

    pub(crate) fn finish(self) -> Result<Whole, Violation> {
        Ok(match self {
            Self::Text(text) if !text.pending().is_empty() => return Err(Violation::InvalidUtf8),
            Self::Text(text) => Whole::Event(Event::Text(Cow::Owned(text.checked))),
            Self::Binary(bytes) => Whole::Event(Event::Binary(Cow::Owned(bytes))),
            Self::Compressed(opcode, bytes) => Whole::Compressed(opcode, bytes),
        })
    }
}

/// The capacity to have for `needed` bytes: doubled each time, so that a message which comes byte by byte is
/// not copied at every byte, but by what was received and not by what was declared, and never above `most`.
fn growth(needed: usize, capacity: usize, most: usize) -> usize {
    if needed <= capacity { capacity } else { needed.max(capacity.saturating_mul(2).min(most)) }
}

/// Text checked while it comes: whole characters in `checked`, the bytes of one that is cut in `pending`.
#[derive(Debug, Default)]
pub(crate) struct Text {
    checked: String,
    pending: [u8; 4],
    pending_len: u8,
}

impl Text {
    fn pending(&self) -> &[u8] {
        &self.pending[..usize::from(self.pending_len)]
    }

    fn push(&mut self, mut part: &[u8]) -> Result<(), Violation> {
        while self.pending_len > 0 {
            let Some((&byte, rest)) = part.split_first() else { return Ok(()) };
            part = rest;
            self.pend(byte)?;
        }
        let error = match simdutf8::compat::from_utf8(part) {
            Ok(text) => {
                self.checked.push_str(text);
                return Ok(());
            }
            Err(error) => error,
        };
        if error.error_len().is_some() {
            return Err(Violation::InvalidUtf8);
        }
        let (whole, cut) = part.split_at(error.valid_up_to());
        self.checked.push_str(std::str::from_utf8(whole).map_err(|_| Violation::InvalidUtf8)?);
        cut.iter().try_for_each(|&byte| self.pend(byte))
    }

    /// Adds one byte to the cut character and moves it to the text when it is whole. Four bytes are always
    /// whole or wrong, so `pending` cannot overflow.
    fn pend(&mut self, byte: u8) -> Result<(), Violation> {
        self.pending[usize::from(self.pending_len)] = byte;
        self.pending_len += 1;
        match std::str::from_utf8(&self.pending[..usize::from(self.pending_len)]) {
            Ok(character) => {
                self.checked.push_str(character);
                self.pending_len = 0;
                Ok(())
            }
            Err(error) if error.error_len().is_none() => Ok(()),
            Err(_) => Err(Violation::InvalidUtf8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(parts: &[&[u8]]) -> Result<Whole, Violation> {
        let mut message = Message::Text(Text::default());
        for part in parts {
            message.push(part, 1000)?;
        }
        message.finish()
    }

    #[test]
    fn characters_may_be_cut_anywhere() {
        let text = "κόσμε 𝄞 é";
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let bytes = text.as_bytes();
                let parts = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(text_of(&parts), Ok(Whole::Event(Event::Text(text.into()))), "{first} {second}");
            }
        }
    }

    #[test]
    fn a_wrong_byte_fails_at_once() {
        let table: [&[&[u8]]; 5] =
            [&[b"\xff"], &[b"a\xf4", b"\x90"], &[b"\xed", b"\xa0"], &[b"\xe2\x82", b"a"], &[b"ok\xc0"]];
        for parts in table {
            let mut message = Message::Text(Text::default());
            let (last, before) = parts.split_last().unwrap();
            before.iter().for_each(|part| message.push(part, 1000).unwrap());
            assert_eq!(message.push(last, 1000), Err(Violation::InvalidUtf8), "{parts:x?}");
        }
    }

    #[test]
    fn a_cut_character_at_the_end_is_wrong() {
        assert_eq!(text_of(&[b"a\xe2\x82"]), Err(Violation::InvalidUtf8));
    }

    #[test]
    fn room_is_kept_for_what_came_and_at_most_the_bound() {
        let mut message = Message::Binary(Vec::new());
        assert_eq!(message.capacity(), 0);
        let mut capacities = vec![];
        for byte in 0..100 {
            message.push(&[byte], 100).unwrap();
            assert!(message.capacity() <= 2 * message.len() && message.capacity() <= 100);
            capacities.push(message.capacity());
        }
        capacities.dedup();
        assert_eq!(capacities, [1, 2, 4, 8, 16, 32, 64, 100]);
    }
}
