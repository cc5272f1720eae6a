//! What waits for a connection is bounded.

/// More than one frame of the world's has.
const FRAME_MAX_BYTES: usize = 600;

/// What is wrong with so many bytes that wait for a connection, of which that many may: control frames may double it, and a frame
/// that has begun is finished.
#[must_use]
pub fn pending(waiting_bytes: usize, pending_max_bytes: usize) -> Option<String> {
    let bound = pending_max_bytes * 2 + FRAME_MAX_BYTES;
    (waiting_bytes > bound)
        .then(|| format!("{waiting_bytes} bytes wait for a connection; the bound is {bound}"))
}
