//! Inflating one message (RFC 7692 §7.2.2), never beyond the bound on its size.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

use super::{FLUSHED, Window};
use crate::violation::Violation;

/// The most times that a message may go on after a deflate block which calls itself the last one. One is what
/// senders need at most; each costs as much as a window is long, so they are not free.
pub const MAX_FINAL_BLOCKS: u32 = 16;

/// Follows [`FLUSHED`]: an empty block that is the last one. Deflate ends after it, exactly where it ends, if and
/// only if the message before it was whole.
const LAST: [u8; 5] = [0x01, 0x00, 0x00, 0xff, 0xff];

/// The most bytes that a compressed message may take where the inflated one may take `max_message_bytes`: deflate
/// can make things longer, by an eighth at the worst, as zlib has it.
#[must_use]
pub const fn max_compressed_bytes(max_message_bytes: usize) -> usize {
    max_message_bytes.saturating_add(max_message_bytes / 8 + max_message_bytes / 64 + 64)
}

/// What messages are inflated with: 47 KB, allocated when it is first used. It is lent to a decoder for one
/// call and keeps nothing of a message, so a thread needs one, whatever the number of its connections.
#[derive(Default)]
pub struct Inflater {
    context: Option<Decompress>,
}

impl Inflater {
    /// Allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { context: None }
    }

    /// Inflates a message that refers to nothing before it.
    pub(crate) fn inflate(&mut self, payload: &[u8], limit: usize) -> Result<Vec<u8>, Violation> {
        self.run(payload, &[], limit)
    }

    /// Inflates a message that may refer to what is in the window, and moves the window on.
    pub(crate) fn inflate_in(
        &mut self,
        window: &mut Window,
        payload: &[u8],
        limit: usize,
    ) -> Result<Vec<u8>, Violation> {
        let message = self.run(payload, window.last(), limit)?;
        window.push(&message);
        Ok(message)
    }

    fn run(&mut self, payload: &[u8], window: &[u8], limit: usize) -> Result<Vec<u8>, Violation> {
        // The RFC wants one byte for an empty message (§7.2.3.6), but not all senders know it.
        if payload.is_empty() {
            return Ok(Vec::new());
        }
        // Any stream fits into the largest window, and this one is reset without allocating.
        let context = self.context.get_or_insert_with(|| Decompress::new(false));
        let room = payload.len().saturating_mul(4).min(limit);
        let mut run = Run { context, window, limit, message: Vec::with_capacity(room), final_blocks: 0 };
        run.restart()?;
        if run.feed(payload)? == Ended::Open {
            run.finish()?;
        }
        run.message.shrink_to_fit();
        Ok(run.message)
    }
}

/// Without the remains of a message.
impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").field("is_allocated", &self.context.is_some()).finish()
    }
}

/// Where deflate stands after some input.
#[derive(PartialEq, Eq)]
enum Ended {
    /// A final block ended with the last byte.
    Final,
    /// It goes on.
    Open,
}

/// One message on its way.
struct Run<'a> {
    context: &'a mut Decompress,
    /// What was before the message.
    window: &'a [u8],
    limit: usize,
    message: Vec<u8>,
    final_blocks: u32,
}

impl Run<'_> {
    /// Begins a deflate stream, which may refer to the window and to what there is of the message.
    fn restart(&mut self) -> Result<(), Violation> {
        self.context.reset(false);
        for before in [self.window, &self.message] {
            if !before.is_empty() {
                self.context.set_dictionary(before).map_err(|_| Violation::InvalidDeflate)?;
            }
        }
        Ok(())
    }

    /// Inflates all of `input`. A final block is not the end: others may follow it, from the next byte on (§7.2.3.4).
    fn feed(&mut self, mut input: &[u8]) -> Result<Ended, Violation> {
        loop {
            let (status, used) = self.step(input)?;
            input = &input[used..];
            match status {
                Status::StreamEnd if input.is_empty() => return Ok(Ended::Final),
                Status::StreamEnd => {
                    self.final_blocks += 1;
                    if self.final_blocks > MAX_FINAL_BLOCKS {
                        return Err(Violation::InvalidDeflate);
                    }
                    self.restart()?;
                }
                Status::Ok | Status::BufError if self.message.len() == self.message.capacity() => {}
                Status::Ok | Status::BufError if input.is_empty() => return Ok(Ended::Open),
                Status::Ok => {}
                // With input and room there is always progress, or an error; a loop without end must not hang on that.
                Status::BufError => return Err(Violation::InvalidDeflate),
            }
        }
    }

    /// One call of the library, with room for a byte more than is allowed: so it shows that there is more.
    fn step(&mut self, input: &[u8]) -> Result<(Status, usize), Violation> {
        let len = self.message.len();
        if len == self.message.capacity() {
            let room = len.saturating_mul(2).max(64).min(self.limit.saturating_add(1));
            self.message.reserve_exact(room.saturating_sub(len));
        }
        let before = self.context.total_in();
        let status = self.context.decompress_vec(input, &mut self.message, FlushDecompress::None);
        if self.message.len() > self.limit {
            return Err(Violation::TooBig { limit: self.limit });
        }
        let status = status.map_err(|_| Violation::InvalidDeflate)?;
        let used =
            usize::try_from(self.context.total_in() - before).map_err(|_| Violation::InvalidDeflate)?;
        Ok((status, used))
    }

    /// Puts back what the sender took off the end, and sees whether that was the end.
    fn finish(&mut self) -> Result<(), Violation> {
        let len = self.message.len();
        let mut ended = self.feed(&FLUSHED)?;
        if ended == Ended::Open {
            ended = self.feed(&LAST)?;
        }
        if ended == Ended::Final && self.message.len() == len {
            Ok(())
        } else {
            Err(Violation::InvalidDeflate)
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};

    use super::*;

    #[test]
    fn a_bomb_is_given_no_more_room_than_the_limit() {
        let mut bomb = Vec::with_capacity(1 << 16);
        let zeroes = vec![0; 10 << 20];
        Compress::new(Compression::best(), false)
            .compress_vec(&zeroes, &mut bomb, FlushCompress::Sync)
            .unwrap();
        for limit in [0, 1, 100, 5000, 1 << 20] {
            let mut context = Decompress::new(false);
            let message = Vec::new();
            let mut run = Run { context: &mut context, window: &[], limit, message, final_blocks: 0 };
            assert!(matches!(run.feed(&bomb), Err(Violation::TooBig { .. })));
            assert_eq!((run.message.len(), run.message.capacity()), (limit + 1, limit + 1));
        }
    }

    #[test]
    fn nothing_is_allocated_before_the_first_message() {
        let mut inflater = Inflater::new();
        assert_eq!(inflater.inflate(&[], 10), Ok(Vec::new()));
        assert!(inflater.context.is_none());
        assert_eq!(inflater.inflate(&[0], 10), Ok(Vec::new()));
        assert!(inflater.context.is_some());
    }
}
