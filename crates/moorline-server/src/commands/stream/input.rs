//! Standard input, as it comes.

use std::io::{self, Read as _};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream;
use tokio::sync::mpsc;

/// What is read at once, in bytes.
const READ_MAX: usize = 8 * 1024;
/// What is appended at once, in bytes.
pub(super) const TAKE_MAX: usize = 16 * 1024;
/// What is read and not appended: what is on its way to the server, what was gathered meanwhile, what waits for a place there, and what
/// the reader has in hand and in `Stdin`.
const AHEAD_MAX: usize = TAKE_MAX + (TAKE_MAX + READ_MAX) + READ_MAX + 2 * READ_MAX;
const _: () = assert!(AHEAD_MAX <= 64 * 1024, "the rest stays in the pipe, where its writer feels it");

/// What comes on standard input. Read on a thread of its own, which the end of the program ends: a read cannot be broken off.
pub(super) fn stdin() -> impl Stream<Item = io::Result<Bytes>> + Unpin {
    let (sender, mut receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        // It ends where nobody takes what was read.
        let mut read = reader();
        while let Some(part) = read()
            && sender.blocking_send(part).is_ok()
        {}
    });
    stream::poll_fn(move |cx| receiver.poll_recv(cx))
}

/// Reads the next part; none at the end, and behind an error.
fn reader() -> impl FnMut() -> Option<io::Result<Bytes>> {
    let (mut input, mut buffer, mut has_failed) = (io::stdin().lock(), vec![0; READ_MAX], false);
    move || {
        if has_failed {
            return None;
        }
        loop {
            match input.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => return Some(Ok(Bytes::copy_from_slice(&buffer[..count]))),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    has_failed = true;
                    return Some(Err(error));
                }
            }
        }
    }
}
