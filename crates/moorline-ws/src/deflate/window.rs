//! The sliding window of LZ77: how large it is, and what context takeover keeps of it.

use std::fmt;

/// The size of a sliding window as a power of two: 8 to 15 bits, 256 bytes to 32 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowBits(u8);

impl WindowBits {
    /// 256 bytes, the least that can be agreed.
    pub const MIN: Self = Self(8);
    /// 32 KiB, the most that can be agreed, and what holds where nothing is agreed.
    pub const MAX: Self = Self(15);

    /// `None` unless 8 to 15.
    #[must_use]
    pub const fn new(bits: u8) -> Option<Self> {
        if bits >= Self::MIN.0 && bits <= Self::MAX.0 { Some(Self(bits)) } else { None }
    }

    /// The number of bits, 8 to 15.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The size of the window in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        1 << self.0
    }

    /// The parameter's value (§7.1.2): a decimal integer without leading zeroes.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let is_canonical = value.bytes().all(|byte| byte.is_ascii_digit()) && !value.starts_with('0');
        value.parse().ok().filter(|_| is_canonical).and_then(Self::new)
    }

    /// The size that frames are compressed with: 15, 12 or 9, so that a broadcast is compressed three times at
    /// most, whatever the clients ask for. A smaller window than agreed is always allowed.
    ///
    /// 8 becomes 9, though that is larger: zlib cannot make a window of 8 bits. It never refers back further than
    /// its window less 262 bytes, though, which at 9 bits are 250, so a window of 256 bytes can follow.
    pub(super) const fn compressing(self) -> Self {
        match self.0 {
            15.. => Self(15),
            12.. => Self(12),
            _ => Self(9),
        }
    }
}

impl Default for WindowBits {
    fn default() -> Self {
        Self::MAX
    }
}

impl fmt::Display for WindowBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What one direction of a connection with context takeover keeps: the last bytes of its compressed messages, as
/// they were before compression, at most [`WindowBits::bytes`]. Nothing is allocated before the first message.
pub struct Window {
    bits: WindowBits,
    last: Vec<u8>,
}

impl Window {
    /// An empty one, for the size that was agreed.
    #[must_use]
    pub const fn new(bits: WindowBits) -> Self {
        Self { bits, last: Vec::new() }
    }

    /// The size that was agreed.
    #[must_use]
    pub const fn bits(&self) -> WindowBits {
        self.bits
    }

    /// The bytes of heap it holds; at most the window, and no more than was sent but for what doubling left over.
    #[must_use]
    pub const fn held_bytes(&self) -> usize {
        self.last.capacity()
    }

    pub(super) fn last(&self) -> &[u8] {
        &self.last
    }

    /// Moves on by a message.
    pub(super) fn push(&mut self, message: &[u8]) {
        let most = self.bits.bytes();
        let message = &message[message.len().saturating_sub(most)..];
        let over = (self.last.len() + message.len()).saturating_sub(most);
        self.last.drain(..over);
        let needed = self.last.len() + message.len();
        if needed > self.last.capacity() {
            let capacity = needed.max(self.last.capacity().saturating_mul(2)).min(most);
            self.last.reserve_exact(capacity - self.last.len());
        }
        self.last.extend_from_slice(message);
    }
}

/// Without the messages.
impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window").field("bits", &self.bits).field("len", &self.last.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_8_to_15_without_leading_zeroes() {
        for bits in 8..=15 {
            assert_eq!(WindowBits::parse(&bits.to_string()).map(WindowBits::bits), Some(bits));
        }
        for value in ["", "0", "7", "16", "08", "010", "+9", "-9", "9.0", "0x9", "９", "1e1", "264", "300"] {
            assert_eq!(WindowBits::parse(value), None, "{value}");
        }
    }

    #[test]
    fn a_window_has_the_last_bytes_and_no_more_room_than_they_can_take() {
        let all: Vec<u8> = (0..=255).cycle().take(2000).collect();
        for step in [1, 7, 100, 255, 256, 257, 900] {
            let mut window = Window::new(WindowBits::MIN);
            assert_eq!(window.held_bytes(), 0);
            let mut sent = 0;
            for part in all.chunks(step) {
                window.push(part);
                sent += part.len();
                assert_eq!(window.last(), &all[sent.saturating_sub(256)..sent], "{step}");
                assert!(window.held_bytes() <= 256);
            }
        }
    }
}
