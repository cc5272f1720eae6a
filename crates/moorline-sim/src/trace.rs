//! What happened, for who reads a failure.

use std::collections::VecDeque;

/// The last of what happened, and a fingerprint of all of it.
#[derive(Debug)]
pub struct Trace {
    is_kept: bool,
    tail: VecDeque<String>,
    hash: u64,
}

impl Trace {
    /// How many lines are kept.
    const LINES: usize = 4_000;

    /// Empty. Nothing is kept unless it is wanted: a seed repeats, so a failure's trace can be made afterwards.
    #[must_use]
    pub const fn new(is_kept: bool) -> Self {
        Self { is_kept, tail: VecDeque::new(), hash: 0xcbf2_9ce4_8422_2325 }
    }

    /// Something happened.
    pub fn note(&mut self, text: impl FnOnce() -> String) {
        if !self.is_kept {
            return;
        }
        let text = text();
        for byte in text.bytes().chain([b'\n']) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.tail.len() >= Self::LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(text);
    }

    /// The last lines.
    pub fn tail(&self) -> impl Iterator<Item = &str> {
        self.tail.iter().map(String::as_str)
    }

    /// FNV-1a of all lines.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }
}
