//! Compressing one message (RFC 7692 §7.2.1), if that makes it shorter.

use std::fmt;

use bytes::Bytes;
use flate2::{Compress, FlushCompress};

use super::{FLUSHED, Window, WindowBits, max_compressed_bytes};
use crate::frame::{self, OpCode};

/// The most room that is kept for the next message.
const KEPT_BYTES: usize = 64 * 1024;

/// Whether and how hard messages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// Shorter messages are sent as they are; 1 KiB by default. In bytes of payload.
    pub threshold_bytes: usize,
    /// 1, fastest, to 9, shortest; what is outside is taken as the nearest. 2 by default: JSON came out less
    /// than a tenth longer than at 6, in half of the time.
    pub level: u8,
}

impl Compression {
    /// From 1 KiB on, at level 2.
    pub const DEFAULT: Self = Self { threshold_bytes: 1024, level: 2 };
}

impl Default for Compression {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What messages are compressed with: 250 to 380 KB for each of the three sizes of window that it was used with,
/// allocated then. It keeps nothing of a message, so a thread needs one, whatever the number of its connections.
pub struct Deflater {
    compression: Compression,
    /// Of 9, 12 and 15 bits.
    contexts: [Option<Compress>; 3],
    compressed: Vec<u8>,
}

impl Deflater {
    /// Allocates nothing.
    #[must_use]
    pub const fn new(compression: Compression) -> Self {
        Self { compression, contexts: [const { None }; 3], compressed: Vec::new() }
    }

    /// A complete compressed frame of a server, to be shared by all connections whose
    /// [`Agreed::shared_window`](super::Agreed::shared_window) is `window`. `None` if the message is under the
    /// threshold, would not become shorter, or is no text or binary message: then the frame without compression is
    /// to be sent, to them as well.
    pub fn frame(&mut self, opcode: OpCode, payload: &[u8], window: WindowBits) -> Option<Bytes> {
        is_data(opcode).then(|| self.compress(payload, window))?.map(|it| frame::compressed(opcode, it))
    }

    /// Appends the compressed form of a complete frame that was made by this crate for a client, as [`frame`](Self::frame) makes it.
    /// False, and nothing is appended, where the frame is to be sent as it is.
    pub fn put_frame(&mut self, out: &mut Vec<u8>, plain: &[u8], window: WindowBits) -> bool {
        let Some((opcode, payload)) = frame::parts(plain).filter(|(opcode, _)| is_data(*opcode)) else {
            return false;
        };
        let compressed = self.compress(payload, window);
        if let Some(compressed) = compressed {
            frame::put_compressed(out, opcode, compressed);
        }
        compressed.is_some()
    }

    /// The same for one connection that takes its context over, which costs 20 to 70 µs more for a full window. Each
    /// frame must be sent, in this order.
    pub fn frame_in(&mut self, window: &mut Window, opcode: OpCode, payload: &[u8]) -> Option<Bytes> {
        is_data(opcode).then(|| self.compress_in(window, payload))?.map(|it| frame::compressed(opcode, it))
    }

    /// The compressed payload, for clients, who put it into a frame by [`frame::put_masked_compressed`]; `None` as
    /// with [`frame`](Self::frame).
    pub fn compress(&mut self, payload: &[u8], window: WindowBits) -> Option<&[u8]> {
        self.run(payload, window, &[])
    }

    /// [`compress`](Self::compress) where the context is taken over. Each result must be sent, in this order.
    pub fn compress_in(&mut self, window: &mut Window, payload: &[u8]) -> Option<&[u8]> {
        let compressed = self.run(payload, window.bits(), window.last())?;
        window.push(payload);
        Some(compressed)
    }

    fn run(&mut self, payload: &[u8], window: WindowBits, before: &[u8]) -> Option<&[u8]> {
        if payload.len() < self.compression.threshold_bytes {
            return None;
        }
        let bits = window.compressing();
        let level = flate2::Compression::new(self.compression.level.clamp(1, 9).into());
        let kept = &mut self.contexts[usize::from(bits.bits() / 3) - 3];
        let mut context =
            kept.take().unwrap_or_else(|| Compress::new_with_window_bits(level, false, bits.bits()));
        context.reset();
        // What lies further back could not be referred to.
        let before = &before[before.len().saturating_sub(bits.bytes())..];
        if !before.is_empty() {
            // It is only refused in the midst of a message.
            context.set_dictionary(before).ok()?;
        }
        make_room(&mut self.compressed, payload.len());
        context.compress_vec(payload, &mut self.compressed, FlushCompress::Sync).ok()?;
        let is_whole = usize::try_from(context.total_in()) == Ok(payload.len())
            && self.compressed.len() < self.compressed.capacity();
        // A context that has something left to write would not be as new after a reset: the library forgets what it
        // has, and not the place that it takes, and panics at the next message.
        if !is_whole {
            return None;
        }
        *kept = Some(context);
        let compressed = self.compressed.strip_suffix(&FLUSHED)?;
        (compressed.len() < payload.len()).then_some(compressed)
    }
}

/// Only these are compressed (RFC 7692 §5).
const fn is_data(opcode: OpCode) -> bool {
    matches!(opcode, OpCode::Text | OpCode::Binary)
}

/// Empties `out` and makes room for a message, however long it becomes, and its end; keeps large room for large messages
/// only.
fn make_room(out: &mut Vec<u8>, payload_len: usize) {
    let needed = max_compressed_bytes(payload_len);
    if out.capacity() > KEPT_BYTES && needed <= KEPT_BYTES {
        *out = Vec::new();
    }
    out.clear();
    out.reserve_exact(needed);
}

/// Without the remains of a message.
impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater").field("compression", &self.compression).finish_non_exhaustive()
    }
}
